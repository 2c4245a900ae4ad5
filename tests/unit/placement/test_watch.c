/* Looking at a process from outside, the control socket, the probe: on this process and this machine. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "placement/internal.h"

static struct error err;

START_TEST(sees_itself)
{
    struct watch_sample s;
    ck_assert_msg(watch_sample(getpid(), &s, &err), "%s", err.text);
    ck_assert_int_eq(s.pid, getpid());
    ck_assert(!s.have_proof);
    ck_assert_uint_ge(s.num_threads, 1);
    ck_assert_int_eq(s.thread[0].tid, (int)syscall(SYS_gettid));
    ck_assert_str_eq(s.thread[0].name, "a (b) c");
    struct bitmap mine;
    ck_assert_int_eq(thread_affinity_read(0, &mine), 0);
    ck_assert_mem_eq(&mine, &s.thread[0].allowed, sizeof(mine));
    uint64_t bytes = 0;
    for (unsigned x = 0; x < PLACE_MAX_HOST_NODES; x++) {
        bytes += s.bytes_on_node[x];
    }
    ck_assert(bytes == 0 || bytes > 100000); /* 0: a kernel without numa_maps */
    watch_sample_fini(&s);
    ck_assert(!watch_sample(0x3ffffff, &s, &err));
    ck_assert(strstr(err.text, "does not exist") != NULL);
}
END_TEST

START_TEST(measures_run_time)
{
    struct watch_sample a, b;
    ck_assert(watch_sample(getpid(), &a, &err));
    for (volatile unsigned i = 0; i < 50000000; i++) {
    }
    ck_assert(watch_sample(getpid(), &b, &err));
    ck_assert(b.thread[0].run_ns >= a.thread[0].run_ns);
    ck_assert(b.thread[0].user + b.thread[0].system >= a.thread[0].user + a.thread[0].system);
    ck_assert(b.at > a.at);
    watch_sample_fini(&a);
    watch_sample_fini(&b);
}
END_TEST

static struct placement *placement_here(void)
{
    static struct machine_config cfg;
    memset(&cfg, 0, sizeof(cfg));
    cfg.smp.cpus = cfg.smp.maxcpus = 1;
    cfg.num_nodes = 1;
    cfg.node[0].backend = cfg.node[0].rank = -1;
    cfg.node[0].mem = 1 << 20;
    bitmap_set(&cfg.node[0].cpus, 0);
    struct placement *p = placement_create(&cfg, -1, &err);
    ck_assert_msg(p != NULL, "%s", err.text);
    return p;
}

static int client(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

START_TEST(control_socket)
{
    char path[] = "/tmp/weft-control-XXXXXX", line[65536];
    struct placement *p = placement_here();
    close(mkstemp(path));
    ck_assert(!placement_control_open(p, path, &err)); /* a file that is no socket stays */
    ck_assert(strstr(err.text, "no socket") != NULL);
    unlink(path);
    memset(&err, 0, sizeof(err));
    ck_assert_msg(placement_control_open(p, path, &err), "%s", err.text);
    int fd = client(path);
    FILE *f = fdopen(fd, "r+");
    /* Several lines at once, a line in pieces, an empty one, one from another system. */
    ck_assert_int_eq(send(fd, "show\nverify\r\n\nver", 17, 0), 17);
    const char *parts[] = {"\"weft_plan\"", "\"weft_proof\"", "not known", "\"weft_proof\""};
    for (unsigned i = 0; i < 4; i++) {
        if (i == 3) {
            usleep(20000);
            ck_assert_int_eq(send(fd, "ify exact\n", 10, 0), 10);
        }
        ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
        ck_assert_msg(strstr(line, parts[i]) != NULL, "%s", line);
    }
    struct placement *q = placement_here();
    memset(&err, 0, sizeof(err));
    ck_assert(!placement_control_open(q, path, &err));
    ck_assert(strstr(err.text, "another weft answers") != NULL);
    placement_destroy(&q);
    char *flood = malloc(9000);
    memset(flood, 'x', 9000);
    ck_assert_int_gt(send(fd, flood, 9000, MSG_NOSIGNAL), 0);
    ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
    ck_assert(strstr(line, "too long") != NULL);
    free(flood);
    fclose(f);
    fd = client(path); /* one that hangs there does not keep the machine from ending */
    placement_destroy(&p);
    close(fd);
    ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

START_TEST(probe_is_cached_and_preferred)
{
    char dir[] = "/tmp/weft-probe-XXXXXX", written[256];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    setenv("WEFT_PROBE_DIR", dir, 1);
    struct host_shape *host = host_shape_load(NULL, 0, &err);
    ck_assert_ptr_nonnull(host);
    ck_assert_int_ne(host->cost_source, COST_PROBE);
    struct probe_options opt = {.seconds = 0.005, .bytes = 8 << 20};
    struct probe_result r;
    ck_assert_msg(placement_probe(host, &opt, NULL, NULL, &r, &err), "%s", err.text);
    for (unsigned i = 0; i < r.nodes; i++) {
        for (unsigned t = 0; t < r.nodes; t++) {
            if (host->node[i].num_pus > 0 && host->node[t].capacity > 0) {
                ck_assert(r.latency_ns[i * r.nodes + t] > 0.1 && r.latency_ns[i * r.nodes + t] < 1e9);
                ck_assert(r.read_mbs[i * r.nodes + t] > 0 && r.write_mbs[i * r.nodes + t] > 0);
            }
        }
    }
    ck_assert_msg(probe_save(&r, NULL, written, sizeof(written), &err), "%s", err.text);
    struct host_shape *again = host_shape_load(NULL, 0, &err);
    ck_assert_int_eq(again->cost_source, COST_PROBE);
    ck_assert_double_ge(host_cost(again, 0, 0), 10 - 1e-6);
    host_shape_destroy(&again);
    FILE *f = fopen(written, "w"); /* a damaged file counts as none */
    fputs("{\"topology_hash\": 3", f);
    fclose(f);
    again = host_shape_load(NULL, 0, &err);
    ck_assert_int_ne(again->cost_source, COST_PROBE);
    host_shape_destroy(&again);
    host_shape_destroy(&host);
    probe_result_fini(&r);
    unlink(written);
    rmdir(dir);
}
END_TEST

static const struct {
    const char *text;
    bool ok, start, exact;
    double every;
} requests[] = {{"", true, false, false, 0},           {"start", true, true, false, 0},
                {"every=10s", true, true, false, 10},  {"every=500ms,exact", true, true, true, 0.5},
                {"every=2m", true, true, false, 120},  {"exact", true, true, true, 0},
                {"every=", false, false, false, 0},    {"every=10h", false, false, false, 0},
                {"every=0", false, false, false, 0},   {"every=-1s", false, false, false, 0},
                {"sometimes", false, false, false, 0}, {"every=nan", false, false, false, 0}};

START_TEST(verify_requests)
{
    struct verify_request r;
    struct error e = {0};
    bool ok = verify_request_parse(&r, requests[_i].text, &e);
    ck_assert_msg(ok == requests[_i].ok, "%s: %s", requests[_i].text, e.text);
    if (ok) {
        ck_assert(r.start == requests[_i].start && r.exact == requests[_i].exact);
        ck_assert_double_eq_tol(r.every, requests[_i].every, 1e-9);
    } else {
        ck_assert(strstr(e.text, "--verify") != NULL);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("watch");
    TCase *t = tcase_create("watch");
    pthread_setname_np(pthread_self(), "a (b) c");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, sees_itself);
    tcase_add_test(t, measures_run_time);
    tcase_add_test(t, control_socket);
    tcase_add_test(t, probe_is_cached_and_preferred);
    tcase_add_loop_test(t, verify_requests, 0, sizeof(requests) / sizeof(requests[0]));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
