/* Binding on this machine, whatever it is: threads, memory, prealloc, what is found when somebody changes it. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <numaif.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "placement/internal.h"

enum { NODE_BYTES = 32 << 20 };

static struct machine_config cfg;
static struct placement *p;
static struct error err;
static uint8_t *ram[2];

static void setup(const char *place, bool strict)
{
    memset(&cfg, 0, sizeof(cfg));
    memset(&err, 0, sizeof(err));
    cfg.smp.cpus = cfg.smp.maxcpus = 2;
    cfg.smp.threads = 1;
    cfg.num_nodes = 2;
    cfg.place_strict = strict;
    snprintf(cfg.place, sizeof(cfg.place), "%s", place);
    for (unsigned i = 0; i < 2; i++) {
        cfg.node[i].backend = -1;
        cfg.node[i].rank = -1;
        cfg.node[i].mem = NODE_BYTES;
        bitmap_set(&cfg.node[i].cpus, i);
    }
    p = placement_create(&cfg, -1, &err);
    ck_assert_msg(p != NULL, "%s", err.text);
    for (unsigned i = 0; i < 2; i++) {
        ram[i] = mmap(NULL, NODE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(ram[i], MAP_FAILED);
        ck_assert_msg(placement_bind_memory(p, i, ram[i], NODE_BYTES, &err), "%s", err.text);
    }
}

static void teardown(void)
{
    placement_destroy(&p);
    for (unsigned i = 0; i < 2; i++) {
        munmap(ram[i], NODE_BYTES);
    }
}

static atomic_bool stop;
static atomic_uint running; /* threads that are bound and named */

/* Until n threads have said so and no other but the main one is left: one that was joined is listed for a moment more.
 */
static void await_running(unsigned n)
{
    unsigned listed = 0;
    for (unsigned i = 0; i < 10000 && (listed != n + 1 || atomic_load(&running) < n); i++) {
        usleep(2000);
        listed = 0;
        DIR *dir = opendir("/proc/self/task");
        for (struct dirent *e; (e = readdir(dir));) {
            listed += e->d_name[0] != '.';
        }
        closedir(dir);
    }
    ck_assert_uint_eq(listed, n + 1);
}

static void *vcpu_thread(void *arg)
{
    struct error e = {0};
    bool ok = placement_bind_thread(p, PLACE_VCPU, (unsigned)(uintptr_t)arg, 0, NULL, &e);
    atomic_fetch_add(&running, 1);
    while (!atomic_load(&stop)) {
        usleep(2000);
    }
    return (void *)(uintptr_t)ok;
}

static unsigned progress_calls;
static uint64_t progress_last;

static bool progress(void *arg, uint64_t done, uint64_t total)
{
    progress_calls++;
    ck_assert(done <= total && done >= progress_last);
    progress_last = done;
    return arg == NULL;
}

START_TEST(threads_and_pages)
{
    static const char *const places[] = {"", "match,overcommit=on", "pack,bind=pu,overcommit=on",
                                         "interleave,overcommit=on", "none"};
    setup(places[_i], true);
    pthread_t t[2];
    atomic_store(&stop, false);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&t[i], NULL, vcpu_thread, (void *)(uintptr_t)i), 0);
        progress_calls = 0;
        progress_last = 0;
        ck_assert_msg(placement_prealloc(p, i, ram[i], NODE_BYTES, 0, progress, NULL, &err), "%s", err.text);
        ck_assert_uint_gt(progress_calls, 0);
        ck_assert(progress_last == NODE_BYTES);
    }
    await_running(2);
    struct proof proof;
    ck_assert(placement_verify(p, NULL, &proof, &err));
    char text[1024];
    proof_deviations(&proof, text, sizeof(text), 4);
    ck_assert_msg(proof.ok, "%s", text);
    ck_assert_uint_eq(proof.num_threads, 3); /* and this one, which nobody bound */
    ck_assert_uint_eq(proof.num_ranges, 2);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert(proof.range[i].present == NODE_BYTES / 4096);
        ck_assert(proof.range[i].looked_at == NODE_BYTES / 4096);
        ck_assert(!proof.thread[i].gone && proof.thread[i].ok);
        ck_assert_int_ge(proof.thread[i].last_pu, 0);
    }
    proof_fini(&proof);
    char *reply = placement_command(p, "verify exact", NULL, NULL);
    ck_assert(strstr(reply, "\"ok\":true") != NULL);
    free(reply);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++) {
        void *ok;
        pthread_join(t[i], &ok);
        ck_assert_ptr_nonnull(ok);
    }
    await_running(0);
    ck_assert(placement_verify(p, NULL, &proof, &err)); /* the threads have ended: told, not a deviation */
    ck_assert(proof.ok && proof.thread[0].gone);
    proof_fini(&proof);
    teardown();
}
END_TEST

static void *named_thread(void *arg)
{
    pthread_setname_np(pthread_self(), arg);
    atomic_fetch_add(&running, 1);
    while (!atomic_load(&stop)) {
        usleep(2000);
    }
    return NULL;
}

/* Another process looks at each thread of this one; returns how many are not in the proof or not where it says. */
static int strangers_seen_from_outside(const struct proof *proof)
{
    pid_t target = getpid(), child = fork();
    if (child == 0) {
        char command[128], line[512];
        int wrong = 0, seen = 0;
        snprintf(command, sizeof(command), "grep -H Cpus_allowed_list /proc/%d/task/*/status", target);
        FILE *f = popen(command, "r");
        while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
            int tid = atoi(strstr(line, "/task/") + 6), ok = 0;
            char *list = strrchr(line, '\t') + 1, found[256];
            list[strcspn(list, "\n")] = 0;
            for (unsigned i = 0; i < proof->num_threads; i++) {
                bitmap_format(&proof->thread[i].wanted, found, sizeof(found));
                ok |= proof->thread[i].tid == tid && strcmp(found, list) == 0;
            }
            wrong += !ok;
            seen++;
        }
        _exit(seen == (int)proof->num_threads ? wrong : 99);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

START_TEST(every_thread_is_placed)
{
    static char *const name[] = {"worker-7", "coherence", "ZMQbg/IO/0", "stranger"};
    static const enum place_thread_kind kind[] = {PLACE_WORKER, PLACE_COHERENCE, PLACE_ZMQ_IO, PLACE_MAIN};
    setup("pack,bind=pu,overcommit=on", true);
    pthread_t t[4];
    atomic_store(&stop, false);
    ck_assert(placement_bind_thread(p, PLACE_MAIN, 0, 0, NULL, &err));
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_create(&t[i], NULL, named_thread, name[i]), 0);
    }
    await_running(4);
    struct proof proof;
    ck_assert(placement_verify(p, NULL, &proof, &err));
    ck_assert_uint_eq(proof.num_threads, 5);
    ck_assert(proof.ok);
    for (unsigned i = 0; i < 4; i++) {
        const struct proof_thread *f = NULL;
        for (unsigned k = 0; k < 5; k++) {
            f = strcmp(proof.thread[k].name, name[i]) == 0 ? &proof.thread[k] : f;
        }
        ck_assert_msg(f != NULL && f->kind == kind[i] && f->bound, "%s", name[i]);
        ck_assert_uint_eq(f->index, i == 0 ? 7 : i == 3 ? 1 : 0);
    }
    ck_assert_int_eq(strangers_seen_from_outside(&proof), 0);
    proof_fini(&proof);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
    }
    await_running(0);
    ck_assert(placement_verify(p, NULL, &proof, &err)); /* and those that ended are no longer listed */
    ck_assert_uint_eq(proof.num_threads, 1);
    proof_fini(&proof);
    teardown();
}
END_TEST

START_TEST(changed_affinity_is_found)
{
    setup("match,bind=pu,overcommit=on", false);
    if (placement_get_host(p)->num_pus < 2) {
        return;
    }
    pthread_t t;
    atomic_store(&stop, false);
    ck_assert_int_eq(pthread_create(&t, NULL, vcpu_thread, (void *)0), 0);
    await_running(1);
    struct proof proof;
    ck_assert(placement_verify(p, NULL, &proof, &err) && proof.ok);
    struct bitmap all = {0};
    for (unsigned i = 0; i < placement_get_host(p)->num_pus; i++) {
        bitmap_set(&all, placement_get_host(p)->pu[i].os_index);
    }
    ck_assert_int_eq(thread_affinity_apply(proof.thread[0].tid, &all), 0);
    proof_fini(&proof);
    ck_assert(placement_verify(p, NULL, &proof, &err));
    ck_assert(!proof.ok && proof.drift_threads == 1);
    char text[512];
    ck_assert_uint_eq(proof_deviations(&proof, text, sizeof(text), 4), 1);
    ck_assert(strstr(text, "thread CPU 0/TCG") != NULL);
    proof_fini(&proof);
    char *reply = placement_command(p, "rebalance", NULL, NULL);
    ck_assert(strstr(reply, "\"ok\":true") != NULL);
    free(reply);
    ck_assert(placement_verify(p, NULL, &proof, &err) && proof.ok);
    proof_fini(&proof);
    atomic_store(&stop, true);
    pthread_join(t, NULL);
    teardown();
}
END_TEST

START_TEST(replacing_keeps_the_data)
{
    setup("spread,overcommit=on", true);
    for (unsigned i = 0; i < NODE_BYTES; i += 64) {
        memcpy(ram[i / 64 % 2] + i, &i, sizeof(i));
    }
    uint64_t moved;
    double seconds;
    static const char *const places[] = {"interleave,overcommit=on", "pack,overcommit=on", "none",
                                         "match,overcommit=on"};
    for (unsigned k = 0; k < 4; k++) {
        ck_assert_msg(placement_set(p, places[k], progress, NULL, &moved, &seconds, &err), "%s", err.text);
        progress_last = 0;
        struct proof proof;
        ck_assert(placement_verify(p, NULL, &proof, &err) && proof.ok);
        proof_fini(&proof);
    }
    for (unsigned i = 0; i < NODE_BYTES; i += 64) {
        ck_assert_int_eq(memcmp(ram[i / 64 % 2] + i, &i, sizeof(i)), 0);
    }
    ck_assert(!placement_set(p, "vcpu 9 0", NULL, NULL, NULL, NULL, &err));
    ck_assert(strstr(err.text, "vcpu 9 does not exist") != NULL);
    memset(&err, 0, sizeof(err));
    ck_assert(placement_get_plan(p)->policy == PLACE_MATCH); /* a plan that fails changes nothing */
    teardown();
}
END_TEST

START_TEST(cancelled_prealloc)
{
    setup("", false);
    size_t len = 1ull << 30;
    uint8_t *big = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    progress_last = 0;
    ck_assert(!placement_prealloc(p, 0, big, len, 1, progress, big, &err));
    ck_assert(strstr(err.text, "cancelled") != NULL);
    munmap(big, len);
    teardown();
}
END_TEST

static atomic_uint reports;

static void report(void *arg, const struct proof *proof)
{
    ck_assert(proof->num_ranges == 2);
    atomic_fetch_add(&reports, 1);
}

START_TEST(verifies_periodically)
{
    setup("", false);
    ck_assert(placement_verify_every(p, 0.02, true, report, NULL, &err));
    for (unsigned i = 0; i < 5000 && atomic_load(&reports) < 3; i++) {
        usleep(10000);
    }
    ck_assert_uint_ge(atomic_load(&reports), 3);
    teardown(); /* ends the thread */
    unsigned n = atomic_load(&reports);
    usleep(60000);
    ck_assert_uint_eq(atomic_load(&reports), n);
}
END_TEST

/* As a container's default profile does: what binds is refused with EPERM. This test runs in a process of its own. */
static void seccomp_refuse(void)
{
    static const unsigned refused[] = {SYS_mbind, SYS_move_pages, SYS_sched_setaffinity};
    struct sock_filter f[16];
    unsigned n = 0;
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < 3; i++) {
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused[i], 0, 1);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    }
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog prog = {.len = (unsigned short)n, .filter = f};
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}

START_TEST(refused_by_seccomp)
{
    bool strict = _i == 1;
    const char *fork_mode = getenv("CK_FORK");
    if (fork_mode != NULL && strcmp(fork_mode, "no") == 0) {
        return; /* the filter would stay for the other tests */
    }
    seccomp_refuse();
    memset(&cfg, 0, sizeof(cfg));
    cfg.num_nodes = 1;
    cfg.smp.cpus = cfg.smp.maxcpus = 1;
    cfg.node[0].backend = cfg.node[0].rank = -1;
    cfg.node[0].mem = 1 << 20;
    cfg.place_strict = strict;
    bitmap_set(&cfg.node[0].cpus, 0);
    p = placement_create(&cfg, -1, &err);
    ck_assert_msg(p != NULL, "%s", err.text);
    void *at = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_int_eq(placement_bind_memory(p, 0, at, 1 << 20, &err), !strict);
    ck_assert_int_eq(strstr(err.text, "a seccomp filter") != NULL, strict);
    ck_assert_int_eq(strstr(err.text, "memory of guest node 0: mbind") != NULL, strict);
    memset(&err, 0, sizeof(err));
    ck_assert_int_eq(placement_bind_thread(p, PLACE_VCPU, 0, 0, "CPU 0/TCG", &err), !strict);
    ck_assert_int_eq(strstr(err.text, "sched_setaffinity: not permitted") != NULL, strict);
    memset(&err, 0, sizeof(err));
    struct proof proof; /* what cannot be looked at is not called proven */
    ck_assert(placement_verify(p, NULL, &proof, &err));
    ck_assert(!proof.ok);
    ck_assert(strstr(proof.refused, "move_pages: not permitted") != NULL);
    proof_fini(&proof);
    placement_destroy(&p);
    munmap(at, 1 << 20);
}
END_TEST

START_TEST(foreign_topology_is_refused)
{
    setenv("HWLOC_SYNTHETIC", "numa:2 core:2 pu:1", 1);
    memset(&cfg, 0, sizeof(cfg));
    cfg.num_nodes = 1;
    cfg.smp.maxcpus = 1;
    cfg.node[0].backend = -1;
    ck_assert_ptr_null(placement_create(&cfg, -1, &err));
    ck_assert(strstr(err.text, "not this machine's") != NULL);
}
END_TEST

static void traffic_crossed(void *arg, double *matrix, unsigned n)
{
    ck_assert_uint_eq(n, 2);
    matrix[0] = 1;
    matrix[1] = 6; /* node 0 uses node 1's memory */
    matrix[2] = 0;
    matrix[3] = 3;
    *(int *)arg += 1;
}

START_TEST(counted_accesses_choose_the_plan)
{
    int asked = 0;
    setup("match,overcommit=on", false);
    char *reply = placement_command(p, "traffic", NULL, NULL);
    ck_assert(strstr(reply, "--access-matrix sampled") != NULL);
    free(reply);
    placement_traffic_source(p, traffic_crossed, &asked);
    reply = placement_command(p, "traffic", NULL, NULL);
    ck_assert_msg(strstr(reply, "[[1,6],[0,3]]") != NULL && strstr(reply, "\"local\":0.4") != NULL, "%s", reply);
    free(reply);
    memset(ram[0], 0x5a, NODE_BYTES);
    reply = placement_command(p, "rebalance traffic", NULL, NULL);
    ck_assert_msg(strstr(reply, "\"ok\":true") != NULL, "%s", reply);
    free(reply);
    ck_assert_int_eq(asked, 2);
    ck_assert(p->guest.traffic_measured && p->guest.traffic[0][1] == 0.6 && p->guest.traffic[1][0] == 0);
    ck_assert(ram[0][12345] == 0x5a && placement_get_plan(p)->policy == PLACE_MATCH);
    double none[4] = {0};
    ck_assert(!placement_set_traffic(p, none, 2, &err));
    ck_assert(strstr(err.text, "access matrix is empty") != NULL);
    teardown();
}
END_TEST

START_TEST(commands)
{
    setup("", false);
    static const struct {
        const char *line, *part;
    } rows[] = {{"show", "\"weft_plan\""},
                {"verify", "\"weft_proof\""},
                {"set nonsense", "neither a policy"},
                {"set pack,overcommit=on", "\"moved_bytes\""},
                {"dance", "use show, set POLICY"},
                {"", "use show"}};
    for (unsigned i = 0; i < 6; i++) {
        char *reply = placement_command(p, rows[i].line, NULL, NULL);
        ck_assert_msg(strstr(reply, rows[i].part) != NULL, "%s: %s", rows[i].line, reply);
        free(reply);
    }
    teardown();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("apply");
    TCase *t = tcase_create("apply");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, threads_and_pages, 0, 5);
    tcase_add_test(t, every_thread_is_placed);
    tcase_add_test(t, changed_affinity_is_found);
    tcase_add_test(t, replacing_keeps_the_data);
    tcase_add_test(t, cancelled_prealloc);
    tcase_add_test(t, verifies_periodically);
    tcase_add_loop_test(t, refused_by_seccomp, 0, 2);
    tcase_add_test(t, foreign_topology_is_refused);
    tcase_add_test(t, counted_accesses_choose_the_plan);
    tcase_add_test(t, commands);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
