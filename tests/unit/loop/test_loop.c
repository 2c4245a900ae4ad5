/* The event loop: timers, descriptors, bottom halves, workers. Runs under ThreadSanitizer as well. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "weft/cpu.h"
#include "weft/loop.h"

static struct loop *loop;
static unsigned count;
static char order[64];

static void setup(void)
{
    loop = loop_create("test", true);
}

static void teardown(void)
{
    loop_destroy(&loop);
    ck_assert_ptr_null(loop);
}

static void note(void *opaque)
{
    ck_assert(bql_held());
    strcat(order, opaque);
}

static void stop(void *opaque)
{
    loop_stop(loop);
}

/* ---- timers ---- */

START_TEST(timers_fire_in_order)
{
    static const char *const name[] = {"e", "b", "d", "a", "c"};
    static const unsigned at[] = {5, 2, 4, 1, 3};
    struct loop_timer *t[5], *end = loop_timer_create(loop, stop, NULL), *never = loop_timer_create(loop, note, "x");
    uint64_t now = loop_now_ns();
    for (unsigned i = 0; i < 5; i++) {
        t[i] = loop_timer_create(loop, note, (void *)(uintptr_t)name[i]);
        loop_timer_arm(t[i], now + at[i] * 1000000);
    }
    loop_timer_arm(t[1], now + 4500000); /* moved: after d */
    loop_timer_arm(never, now + 1000000);
    loop_timer_cancel(never);
    loop_timer_cancel(never);
    loop_timer_arm(end, now + 8000000);
    loop_run(loop);
    ck_assert_str_eq(order, "acdbe");
    ck_assert_uint_ge(loop_now_ns(), now + 8000000);
    for (unsigned i = 0; i < 5; i++) {
        loop_timer_destroy(&t[i]);
    }
    loop_timer_destroy(&never);
    loop_timer_destroy(&end);
}
END_TEST

enum { MANY = 500 };
static struct loop_timer *many[MANY];
static uint64_t due[MANY], last_due;

static void check_due(void *opaque)
{
    uint64_t *d = opaque;
    ck_assert_uint_ge(loop_now_ns(), *d);
    ck_assert_uint_ge(*d, last_due);
    last_due = *d;
    *d = 0;
    if (++count == MANY / 2) {
        loop_stop(loop);
    }
}

/* Random arming, moving and cancelling: what is left fires in order, and nothing else does. */
START_TEST(timer_heap)
{
    uint64_t now = loop_now_ns(), random = 12345;
    for (unsigned i = 0; i < MANY; i++) {
        many[i] = loop_timer_create(loop, check_due, &due[i]);
    }
    for (unsigned step = 0; step < 20 * MANY; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned i = (unsigned)(random >> 33) % MANY;
        due[i] = now + 20000000 + (random >> 40) % 10000000;
        loop_timer_arm(many[i], due[i]);
    }
    for (unsigned i = 0; i < MANY; i += 2) {
        loop_timer_cancel(many[i]);
    }
    for (unsigned i = 1; i < MANY; i += 2) {
        due[i] = due[i] ? due[i] : now;
        loop_timer_arm(many[i], due[i]);
    }
    loop_run(loop);
    ck_assert_uint_eq(count, MANY / 2);
    for (unsigned i = 0; i < MANY; i++) {
        ck_assert(i % 2 == 0 || due[i] == 0);
        loop_timer_destroy(&many[i]);
    }
}
END_TEST

static struct loop_timer *again;

static void rearm_past(void *opaque)
{
    loop_timer_arm(again, loop_now_ns() - 1000);
    if (++count == 1000) {
        loop_stop(loop);
    }
}

/* A timer that is always due does not keep the loop from anything else. */
START_TEST(greedy_timer)
{
    again = loop_timer_create(loop, rearm_past, NULL);
    struct loop_timer *other = loop_timer_create(loop, note, "o");
    loop_timer_arm(again, 0);
    loop_timer_arm(other, loop_now_ns());
    struct loop_bh *bh = loop_bh_create(loop, note, "b");
    loop_bh_schedule(bh);
    loop_run(loop);
    ck_assert_uint_eq(count, 1000);
    ck_assert_uint_eq(strlen(order), 2);
    loop_bh_destroy(&bh);
    loop_timer_destroy(&again);
    loop_timer_destroy(&other);
}
END_TEST

static void *arm_from_outside(void *arg)
{
    usleep(20000);
    bql_lock();
    loop_timer_arm(again, loop_now_ns() + 1000000);
    bql_unlock();
    return NULL;
}

static void too_late(void *opaque)
{
    count++;
    loop_stop(loop);
}

/* The holder of the BQL may arm a timer of the main loop while that sleeps for a later one. */
START_TEST(timer_from_another_thread)
{
    again = loop_timer_create(loop, stop, NULL);
    struct loop_timer *late = loop_timer_create(loop, too_late, NULL);
    loop_timer_arm(late, loop_now_ns() + 30000000000u);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, arm_from_outside, NULL), 0);
    loop_run(loop);
    ck_assert_uint_eq(count, 0);
    pthread_join(thread, NULL);
    loop_timer_destroy(&again);
    loop_timer_destroy(&late);
}
END_TEST

/* ---- descriptors ---- */

static int pipes[2][2];

static void on_read(void *opaque, unsigned events)
{
    int *p = opaque;
    char c;
    ck_assert_uint_eq(events, LOOP_READ);
    ck_assert_int_eq((int)read(p[0], &c, 1), 1);
    /* Both are ready in the same batch: the first to run removes the other, which must not run then. */
    loop_fd(loop, pipes[p == pipes[0]][0], 0, NULL, NULL);
    count++;
    loop_stop(loop);
}

START_TEST(handler_removes_another)
{
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(pipe(pipes[i]), 0);
        ck_assert_int_eq((int)write(pipes[i][1], "x", 1), 1);
        ck_assert_int_eq(loop_fd(loop, pipes[i][0], LOOP_READ, on_read, pipes[i]), 0);
    }
    loop_run(loop);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(loop_fd(loop, -1, LOOP_READ, on_read, NULL), -EBADF);
}
END_TEST

static void on_file(void *opaque, unsigned events)
{
    ck_assert_uint_eq(events, LOOP_READ);
    if (++count == 3) {
        loop_fd(loop, *(int *)opaque, 0, NULL, NULL);
        loop_stop(loop);
    }
}

/* epoll refuses regular files; standard input may be one. */
START_TEST(regular_file_is_always_ready)
{
    int fd = open("/proc/self/exe", O_RDONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(loop_fd(loop, fd, LOOP_READ, on_file, &fd), 0);
    loop_run(loop);
    ck_assert_uint_eq(count, 3);
    close(fd);
}
END_TEST

static void on_writable(void *opaque, unsigned events)
{
    ck_assert_uint_eq(events, LOOP_WRITE);
    if (++count == 2) {
        loop_fd(loop, pipes[0][1], 0, NULL, NULL);
        loop_stop(loop);
    }
}

START_TEST(changing_events)
{
    ck_assert_int_eq(pipe(pipes[0]), 0);
    ck_assert_int_eq(loop_fd(loop, pipes[0][1], LOOP_READ, on_writable, NULL), 0);
    ck_assert_int_eq(loop_fd(loop, pipes[0][1], LOOP_WRITE, on_writable, NULL), 0);
    loop_run(loop);
    ck_assert_uint_eq(count, 2);
}
END_TEST

/* ---- bottom halves ---- */

static struct loop_bh *victim;

static void destroy_victim(void *opaque)
{
    strcat(order, opaque);
    loop_bh_destroy(&victim);
}

static void again_from_itself(void *opaque)
{
    if (++count < 5) {
        loop_bh_schedule(*(struct loop_bh **)opaque);
    } else {
        loop_bh_destroy(opaque);
        loop_stop(loop);
    }
}

START_TEST(bottom_halves)
{
    static struct loop_bh *self;
    struct loop_bh *a = loop_bh_create(loop, destroy_victim, "a"), *b = loop_bh_create(loop, note, "b");
    victim = loop_bh_create(loop, note, "v");
    self = loop_bh_create(loop, again_from_itself, &self);
    loop_bh_schedule(a);
    loop_bh_schedule(b);
    loop_bh_schedule(b);
    loop_bh_schedule(victim);
    loop_bh_schedule(self);
    loop_run(loop);
    ck_assert_str_eq(order, "ab");
    ck_assert_uint_eq(count, 5);
    ck_assert_ptr_null(victim);
    loop_bh_destroy(&a);
    loop_bh_schedule(b);
    loop_bh_destroy(&b); /* still queued: the loop frees it */
}
END_TEST

enum { BH_THREADS = 4, BH_ROUNDS = 20000 };
static struct loop_bh *shared_bh[3];
static uint64_t posted[3][BH_THREADS]; /* [own thread]; read with the flag's order by the loop */
static _Atomic uint64_t posts[3];
static uint64_t seen[3];

static void on_shared(void *opaque)
{
    unsigned i = (unsigned)(uintptr_t)opaque;
    seen[i] = atomic_load(&posts[i]);
    count++;
    if (seen[0] + seen[1] + seen[2] == (uint64_t)BH_THREADS * BH_ROUNDS) {
        loop_stop(loop);
    }
}

static void *poster(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    for (unsigned n = 0; n < BH_ROUNDS; n++) {
        unsigned i = (n + me) % 3;
        posted[i][me]++;
        atomic_fetch_add(&posts[i], 1);
        loop_bh_schedule(shared_bh[i]);
        if (n % 64 == 0) {
            usleep(10);
        }
    }
    return NULL;
}

/* No schedule and no wake-up is lost: the loop ends once it has seen all that was posted. */
START_TEST(bh_stress)
{
    pthread_t thread[BH_THREADS];
    for (unsigned i = 0; i < 3; i++) {
        shared_bh[i] = loop_bh_create(loop, on_shared, (void *)(uintptr_t)i);
    }
    for (uintptr_t i = 0; i < BH_THREADS; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, poster, (void *)i), 0);
    }
    loop_run(loop);
    for (unsigned i = 0; i < BH_THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(seen[i], atomic_load(&posts[i]));
        loop_bh_destroy(&shared_bh[i]);
    }
    ck_assert_uint_le(count, BH_THREADS * BH_ROUNDS);
}
END_TEST

/* ---- workers ---- */

enum { JOBS = 200 };
static struct worker_pool *pool;
static pthread_t loop_thread;

struct job_arg {
    unsigned in, out;
};

static void work(void *arg)
{
    struct job_arg *j = arg;
    char name[16];
    ck_assert(!pthread_equal(pthread_self(), loop_thread));
    pthread_getname_np(pthread_self(), name, sizeof(name));
    ck_assert_msg(strncmp(name, "worker-", 7) == 0, "%s", name);
    j->out = j->in * 3;
}

static void done(void *arg)
{
    struct job_arg *j = arg;
    ck_assert(pthread_equal(pthread_self(), loop_thread));
    ck_assert_uint_eq(j->out, j->in * 3);
    free(j);
    if (++count == JOBS) {
        loop_stop(loop);
    }
}

static void submit(unsigned n)
{
    struct job_arg *j = malloc(sizeof(*j));
    j->in = n;
    worker_submit(pool, loop, work, done, j);
}

START_TEST(workers)
{
    loop_thread = pthread_self();
    pool = worker_pool_create(3);
    for (unsigned i = 0; i < JOBS; i++) {
        submit(i);
    }
    loop_run(loop);
    ck_assert_uint_eq(count, JOBS);
    worker_pool_destroy(&pool);
    ck_assert_ptr_null(pool);
}
END_TEST

/* Jobs that were submitted are done, also when the loop runs no more. */
START_TEST(workers_at_the_end)
{
    loop_thread = pthread_self();
    pool = worker_pool_create(2);
    for (unsigned i = 0; i < 10; i++) {
        submit(i);
    }
    worker_pool_destroy(&pool);
    loop_destroy(&loop);
    ck_assert_uint_eq(count, 10);
}
END_TEST

static void *run_iothread(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void no_bql(void *opaque)
{
    ck_assert(!bql_held());
    loop_stop(*(struct loop **)opaque);
}

START_TEST(iothread_runs_without_bql)
{
    static struct loop *io;
    io = loop_create("io", false);
    struct loop_bh *bh = loop_bh_create(io, no_bql, &io);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run_iothread, io), 0);
    loop_bh_schedule(bh);
    pthread_join(thread, NULL);
    loop_bh_destroy(&bh);
    loop_destroy(&io);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("loop");
    TCase *tc = tcase_create("loop");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, timers_fire_in_order);
    tcase_add_test(tc, timer_heap);
    tcase_add_test(tc, greedy_timer);
    tcase_add_test(tc, timer_from_another_thread);
    tcase_add_test(tc, handler_removes_another);
    tcase_add_test(tc, regular_file_is_always_ready);
    tcase_add_test(tc, changing_events);
    tcase_add_test(tc, bottom_halves);
    tcase_add_test(tc, bh_stress);
    tcase_add_test(tc, workers);
    tcase_add_test(tc, workers_at_the_end);
    tcase_add_test(tc, iothread_runs_without_bql);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
