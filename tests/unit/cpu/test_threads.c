/* Threads of the harts: sleep and wake, timers, hart states, pause, round robin, -icount, statistics. */
#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <sys/resource.h>
#include "fake.h"

static _Atomic uint64_t reached;
static uint64_t log_hart[4096], log_ticks[4096];
static unsigned log_len;

/* ---- sleep and wake ---- */

static int timer_guest(struct cpu *cpu)
{
    uint64_t now = guest_ticks(&fake.m), due = atomic_load(&cpu->stimecmp);
    if (cpu->x[6] > 0) {
        ck_assert_uint_ge(now, due);
        if (now - due < cpu->x[7]) {
            cpu->x[7] = now - due;
        }
    }
    if (++cpu->x[6] == 20) {
        atomic_fetch_add(&reached, 1);
        atomic_store(&cpu->stimecmp, UINT64_MAX);
    } else {
        atomic_store(&cpu->stimecmp, now + 20000); /* 2 ms */
    }
    return CPU_EXIT_WFI;
}

static void check_timers(const struct accel_ops *accel, unsigned dilation)
{
    fake_create(2, timer_guest);
    atomic_store(&reached, 0);
    fake.m.time_dilation = dilation;
    fake.m.cpus[0]->x[7] = fake.m.cpus[1]->x[7] = UINT64_MAX;
    uint64_t start = fake_now_ns();
    fake_start(accel);
    fake_await(&reached, 2);
    ck_assert_uint_ge(fake_now_ns() - start, 19 * 2000000u * dilation);
    cpu_threads_destroy(&fake.m);
    for (unsigned i = 0; i < 2; i++) {
        struct cpu *cpu = fake.m.cpus[i];
        /* The best of them: each other one may have waited for the host. */
        ck_assert_uint_lt(cpu->x[7], 500000);
        ck_assert_uint_ge(cpu->stats.wfi_count, 19);
        ck_assert_uint_ge(cpu->stats.wfi_ns, 1000000u);
        ck_assert_uint_ge(cpu->stats.exits[CPU_EXIT_WFI], 20);
    }
    fake_destroy();
}

START_TEST(timers_multi)
{
    check_timers(&accel_mttcg, 1);
    check_timers(&accel_mttcg, 5);
}
END_TEST

START_TEST(timers_single)
{
    check_timers(&accel_rr, 1);
    check_timers(&accel_rr, 5);
}
END_TEST

/* Wakes each 4 ms, as a guest with a tick does. */
static int idle_guest(struct cpu *cpu)
{
    atomic_store(&cpu->stimecmp, guest_ticks(&fake.m) + 40000);
    return CPU_EXIT_WFI;
}

static uint64_t process_cpu_us(void)
{
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
    return (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
}

START_TEST(idle_costs_little)
{
    fake_create(4, idle_guest);
    fake_start(_i ? &accel_rr : &accel_mttcg);
    fake_sleep_ns(200000000);
    uint64_t best = 100;
    for (unsigned i = 0; i < 5 && best >= 10; i++) { /* what a host that is short of CPU charges for a wake-up varies */
        uint64_t before = process_cpu_us(), start = fake_now_ns();
        fake_sleep_ns(1000000000);
        uint64_t percent = (process_cpu_us() - before) * 100000 / (fake_now_ns() - start);
        best = percent < best ? percent : best;
    }
    fake_destroy();
    ck_assert_msg(best < 10, "an idle machine used %lu %% of a core", (unsigned long)best);
}
END_TEST

/* A timer compare value in the past that mie does not enable must not keep the hart awake. */
static int deaf_guest(struct cpu *cpu)
{
    atomic_fetch_add(&reached, 1);
    atomic_fetch_and(&cpu->mip, ~(uint64_t)(1u << IRQ_SSI));
    return CPU_EXIT_WFI;
}

START_TEST(disabled_timer_sleeps)
{
    fake_create(1, deaf_guest);
    fake.m.cpus[0]->mie = 1u << IRQ_SSI;
    atomic_store(&fake.m.cpus[0]->stimecmp, 1);
    fake_start(&accel_mttcg);
    fake_await(&reached, 1);
    fake_sleep_ns(50000000);
    ck_assert_uint_eq(atomic_load(&reached), 1);
    cpu_kick(fake.m.cpus[0]); /* a kick alone wakes nobody's guest code */
    fake_sleep_ns(20000000);
    ck_assert_uint_eq(atomic_load(&reached), 1);
    cpu_irq_set(fake.m.cpus[0], 1u << IRQ_SSI, true);
    fake_await(&reached, 2);
    cpu_stats_update(fake.m.cpus[0]);
    ck_assert_uint_eq(fake.m.cpus[0]->stats.kicks, 2);
    fake_destroy();
}
END_TEST

/* ---- work ---- */

/* A counter of one thread that others look at. */
static void add_one(uint64_t *counter)
{
    __atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

static uint64_t look_at(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static int spin_guest(struct cpu *cpu)
{
    add_one(&cpu->x[6]);
    return cpu->x[8] ? CPU_EXIT_WFI : FAKE_RUN;
}

static void log_work(struct cpu *cpu, uint64_t a, uint64_t b)
{
    ck_assert_ptr_eq(cpu_current(), cpu);
    ck_assert_uint_eq(b, a * 2);
    log_ticks[log_len++] = a;
    if (b == 198) {
        atomic_store(&reached, 1);
    }
}

START_TEST(work_runs_in_order)
{
    fake_create(1, spin_guest);
    fake_start(_i ? &accel_rr : &accel_mttcg);
    for (uint64_t a = 0; a < 100; a++) {
        cpu_run_async(fake.m.cpus[0], log_work, a, 2 * a);
    }
    fake_await(&reached, 1);
    fake_destroy();
    ck_assert_uint_eq(log_len, 100);
    for (unsigned i = 0; i < 100; i++) {
        ck_assert_uint_eq(log_ticks[i], i);
    }
}
END_TEST

static void count_work(struct cpu *cpu, uint64_t a, uint64_t b)
{
    add_one(&cpu->x[9]);
}

/* Sleeping and stopped harts are not waited for, and their list does not grow without bound. */
START_TEST(sleepers_are_not_waited_for)
{
    fake_create(2, spin_guest);
    fake.m.cpus[0]->x[8] = 1;
    atomic_store(&fake.m.cpus[1]->hart_state, HART_STOPPED);
    fake_start(_i ? &accel_rr : &accel_mttcg);
    fake_sleep_ns(20000000);
    struct bitmap all;
    bitmap_zero(&all);
    bitmap_set(&all, 0);
    bitmap_set(&all, 1);
    for (unsigned i = 0; i < 1000; i++) {
        cpu_run_on_all(NULL, &all, count_work, 0, 0);
    }
    fake.m.accel->synchronize(fake.m.cpus[0]);
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned t = 0; t < 2000 && look_at(&fake.m.cpus[i]->x[9]) < 500; t++) {
            fake_sleep_ns(20000000);
        }
    }
    bql_lock();
    cpu_stop_all(&fake.m);
    bql_unlock();
    ck_assert_uint_ge(fake.m.cpus[0]->x[9], 500);
    ck_assert_uint_ge(fake.m.cpus[1]->x[9], 500);
    ck_assert_uint_eq(fake.m.cpus[1]->x[6], 0);
    fake_destroy();
}
END_TEST

/* ---- hart states ---- */

static int start_stop_guest(struct cpu *cpu)
{
    struct cpu *other = fake.m.cpus[1];
    if (cpu->hart == 1) {
        ck_assert_uint_eq(cpu->pc, 0x80000000 + cpu->x[11]);
        ck_assert_uint_eq(cpu->x[10], 1);
        ck_assert_uint_eq(cpu->priv, PRIV_S);
        atomic_fetch_add(&reached, 1);
        atomic_store(&cpu->hart_state, HART_STOP_PENDING);
        return CPU_EXIT_HALTED;
    }
    if (atomic_load(&other->hart_state) == HART_STOPPED && cpu->x[6] < 1000) {
        cpu->x[6]++;
        other->start_addr = 0x80000000 + cpu->x[6];
        other->start_opaque = cpu->x[6];
        atomic_store(&other->hart_state, HART_START_PENDING);
        cpu_kick(other);
    }
    return cpu->x[6] % 2 ? CPU_EXIT_YIELD : FAKE_RUN;
}

START_TEST(start_and_stop)
{
    fake_create(2, start_stop_guest);
    atomic_store(&fake.m.cpus[1]->hart_state, HART_STOPPED);
    fake_start(_i ? &accel_rr : &accel_mttcg);
    fake_await(&reached, 1000);
    fake_destroy();
}
END_TEST

static int suspend_guest(struct cpu *cpu)
{
    atomic_fetch_and(&cpu->mip, ~(uint64_t)(1u << IRQ_SSI));
    if (cpu->x[6]++ == 0) {
        cpu->start_addr = 0;
    } else if (cpu->x[6] == 2) {
        ck_assert_uint_eq(cpu->pc, 0); /* retentive */
        cpu->start_addr = 0x80200000;
        cpu->start_opaque = 7;
    } else {
        ck_assert_uint_eq(cpu->pc, 0x80200000);
        ck_assert_uint_eq(cpu->x[11], 7);
    }
    atomic_fetch_add(&reached, 1);
    atomic_store(&cpu->hart_state, HART_SUSPENDED);
    return CPU_EXIT_HALTED;
}

START_TEST(suspend)
{
    fake_create(1, suspend_guest);
    fake_start(&accel_mttcg);
    for (uint64_t n = 1; n < 3; n++) {
        fake_await(&reached, n);
        fake_sleep_ns(5000000);
        ck_assert_uint_eq(atomic_load(&reached), n);
        cpu_irq_set(fake.m.cpus[0], 1u << IRQ_SSI, true);
    }
    fake_await(&reached, 3);
    fake_destroy();
}
END_TEST

/* ---- pause, end ---- */

START_TEST(created_paused)
{
    fake_create(2, spin_guest);
    fake.cfg.start_paused = true;
    fake_start(_i ? &accel_rr : &accel_mttcg);
    fake_sleep_ns(20000000);
    ck_assert_uint_eq(fake.m.cpus[0]->x[6], 0);
    uint64_t ticks = guest_ticks(&fake.m), resumed_ns = fake_now_ns();
    cpu_resume_all(&fake.m);
    uint64_t since = guest_ticks(&fake.m) - ticks;
    ck_assert_uint_le(since, (fake_now_ns() - resumed_ns) / 100 + 1);
    for (unsigned i = 0; i < 200 && look_at(&fake.m.cpus[0]->x[6]) == 0; i++) {
        fake_sleep_ns(50000000);
    }
    cpu_stop_all(&fake.m);
    ck_assert_uint_gt(fake.m.cpus[0]->x[6], 0);
    uint64_t steps = fake.m.cpus[0]->x[6];
    fake_sleep_ns(20000000);
    ck_assert_uint_eq(fake.m.cpus[0]->x[6], steps);
    fake_destroy(); /* a paused machine ends too */
}
END_TEST

START_TEST(shutdown_rests)
{
    fake_create(2, spin_guest);
    fake_start(_i ? &accel_rr : &accel_mttcg);
    fake_sleep_ns(5000000);
    atomic_store(&fake.m.state, MACHINE_SHUTDOWN);
    cpu_kick(fake.m.cpus[0]);
    cpu_kick(fake.m.cpus[1]);
    for (unsigned i = 0; i < 500 && atomic_load(&fake.in_guest[0]) + atomic_load(&fake.in_guest[1]); i++) {
        fake_sleep_ns(20000000);
    }
    ck_assert_int_eq(atomic_load(&fake.in_guest[0]) + atomic_load(&fake.in_guest[1]), 0);
    fake_destroy();
}
END_TEST

static unsigned threads_named(const char *name)
{
    unsigned found = 0;
    DIR *dir = opendir("/proc/self/task");
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        char path[300], line[64] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
        FILE *f = fopen(path, "r");
        if (f) {
            if (fgets(line, sizeof(line), f)) {
                line[strcspn(line, "\n")] = '\0';
            }
            fclose(f);
        }
        found += strcmp(line, name) == 0;
    }
    closedir(dir);
    return found;
}

START_TEST(thread_names_and_times)
{
    fake_create(3, spin_guest);
    fake_start(_i ? &accel_rr : &accel_mttcg);
    /* On a loaded host the threads may wait long for their turns. */
    struct timespec used;
    unsigned tries = 0;
    do {
        fake_sleep_ns(100000000);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    } while (
        ((used.tv_sec == 0 && used.tv_nsec < 200000000) || threads_named(_i ? "ALL CPUs/TCG" : "CPU 2/TCG") == 0) &&
        ++tries < 300);
    ck_assert_uint_eq(threads_named("ALL CPUs/TCG"), _i ? 1 : 0);
    ck_assert_uint_eq(threads_named("CPU 2/TCG"), _i ? 0 : 1);
    cpu_threads_destroy(&fake.m);
    struct cpu_stats *first = &fake.m.cpus[0]->stats, *last = &fake.m.cpus[2]->stats;
    ck_assert_uint_gt(first->user_us + first->sys_us, 1000);
    ck_assert(_i ? last->user_us == 0 : last->user_us + last->sys_us > 1000);
    fake_destroy();
}
END_TEST

START_TEST(unbound_thread_ends_the_machine)
{
    fake_create(1, spin_guest);
    fake.m.placement = (struct placement *)&fake;
    fake_start(&accel_mttcg);
    for (unsigned i = 0; i < 1500 && atomic_load(&fake.shutdowns) == 0; i++) {
        fake_sleep_ns(20000000);
    }
    ck_assert_int_eq(atomic_load(&fake.shutdowns), 1);
    fake_destroy();
}
END_TEST

/* ---- round robin ---- */

static int turns_guest(struct cpu *cpu)
{
    if (log_len == 0 || log_hart[log_len - 1] != cpu->hart) {
        if (log_len == 60) {
            atomic_store(&reached, 1);
            return FAKE_RUN;
        }
        log_hart[log_len++] = cpu->hart;
    }
    return cpu->hart == 2 ? CPU_EXIT_YIELD : FAKE_RUN;
}

/* Each hart gets its turn; a spin hint ends one early; nobody gets more than a short quantum. */
START_TEST(turns)
{
    fake_create(3, turns_guest);
    fake_start(&accel_rr);
    fake_await(&reached, 1);
    fake_destroy();
    for (unsigned i = 0; i < 60; i++) {
        ck_assert_uint_eq(log_hart[i], i % 3);
    }
}
END_TEST

/* ---- -icount ---- */

enum { ICOUNT_EVENTS = 400 };

static int icount_guest(struct cpu *cpu)
{
    uint64_t now = guest_ticks(&fake.m);
    ck_assert(log_len == 0 || now >= log_ticks[log_len - 1]);
    if (log_len == ICOUNT_EVENTS) {
        atomic_store(&reached, 1);
        return CPU_EXIT_WFI;
    }
    log_hart[log_len] = cpu->hart << 16 | (uint16_t)cpu_instret(cpu);
    log_ticks[log_len++] = now;
    cpu->x[5] = cpu->x[5] * 6364136223846793005u + 1442695040888963407u + cpu->hart;
    switch (cpu->x[5] >> 60) {
    case 0:
    case 1:
        atomic_store(&cpu->stimecmp, now + (cpu->x[5] >> 40) % 5000); /* to 0.5 ms */
        return CPU_EXIT_WFI;
    case 2:
        cpu_irq_set(fake.m.cpus[(cpu->hart + 1) % 3], 1u << IRQ_SSI, true);
        return FAKE_RUN;
    case 3:
        atomic_fetch_and(&cpu->mip, ~(uint64_t)(1u << IRQ_SSI));
        return CPU_EXIT_YIELD;
    default:
        return FAKE_RUN;
    }
}

static void *disturb(void *arg)
{
    while (!atomic_load(&reached)) {
        for (unsigned i = 0; i < 3; i++) {
            cpu_kick(fake.m.cpus[i]);
        }
        fake_sleep_ns(150000);
    }
    return NULL;
}

/* The same run, once undisturbed and once with kicks from outside, gives the same log. */
START_TEST(icount_is_deterministic)
{
    static uint64_t hart[2][ICOUNT_EVENTS], ticks[2][ICOUNT_EVENTS];
    for (unsigned run = 0; run < 2; run++) {
        log_len = 0;
        atomic_store(&reached, 0);
        fake_create(3, icount_guest);
        fake.cfg.icount = true;
        fake.cfg.icount_shift = 3;
        fake_start(&accel_rr);
        pthread_t thread;
        if (run == 1) {
            ck_assert_int_eq(pthread_create(&thread, NULL, disturb, NULL), 0);
        }
        fake_await(&reached, 1);
        if (run == 1) {
            pthread_join(thread, NULL);
        }
        fake_destroy();
        memcpy(hart[run], log_hart, sizeof(hart[run]));
        memcpy(ticks[run], log_ticks, sizeof(ticks[run]));
    }
    ck_assert_mem_eq(hart[0], hart[1], sizeof(hart[0]));
    ck_assert_mem_eq(ticks[0], ticks[1], sizeof(ticks[0]));
    ck_assert_uint_gt(ticks[0][ICOUNT_EVENTS - 1], 1000);
}
END_TEST

/* One hart that computes: time is instructions << shift, exactly; and its timer fires at the slice that reaches it. */
static int count_guest(struct cpu *cpu)
{
    uint64_t insns = cpu_instret(cpu);
    ck_assert_uint_eq(guest_ticks(&fake.m), (insns << 2) / 100);
    uint64_t due = atomic_load(&cpu->stimecmp);
    if (guest_ticks(&fake.m) >= due) {
        ck_assert_uint_le(insns - cpu->x[6], (FAKE_SLICE + 123456 / 4) * 1ull);
        cpu->x[7]++;
        atomic_store(&cpu->stimecmp, UINT64_MAX);
    }
    if (due == UINT64_MAX) {
        cpu->x[6] = insns;
        atomic_store(&cpu->stimecmp, guest_ticks(&fake.m) + 1234);
    }
    if (cpu->x[7] == 50) {
        atomic_store(&reached, 1);
    }
    return FAKE_RUN;
}

START_TEST(icount_clock)
{
    fake_create(1, count_guest);
    fake.cfg.icount = true;
    fake.cfg.icount_shift = 2;
    fake_start(&accel_rr);
    fake_await(&reached, 1);
    fake_destroy();
}
END_TEST

/* ---- clock, lock ---- */

START_TEST(clock_conversion)
{
    fake_create(1, spin_guest);
    uint64_t ns = guest_ticks_to_host_ns(&fake.m, 12345);
    ck_assert_uint_eq(ns, fake.m.clock_base_ns + 1234500);
    ck_assert_uint_eq(guest_ticks_to_host_ns(&fake.m, UINT64_MAX), UINT64_MAX);
    ck_assert_uint_eq(guest_ticks_to_host_ns(&fake.m, UINT64_MAX / 2), UINT64_MAX);
    uint64_t a = guest_ticks(&fake.m);
    fake_sleep_ns(2000000);
    uint64_t b = guest_ticks(&fake.m);
    ck_assert_uint_ge(b - a, 20000);
    fake_destroy();
}
END_TEST

/* A clock that goes where it is put, as the cluster's is not the host's. */
static _Atomic uint64_t set_clock;

static uint64_t clock_as_set(struct machine *m)
{
    return atomic_load(&set_clock);
}

static const unsigned dilations[] = {0, 1, 2, 10, 999, TIME_DILATION_MAX};
enum { NUM_DILATIONS = sizeof(dilations) / sizeof(dilations[0]) };

/* A tick lasts 100 ns times the dilation, from its first nanosecond to its last, also when the host has run for many
 * years. */
START_TEST(dilated_ticks)
{
    uint64_t n = dilations[_i] ? dilations[_i] : 1, year = 31557600ull * 10000000 / n; /* of the host, in ticks */
    const uint64_t ticks[] = {0, 1, 2, 12345, 10000000, year, 200 * year};
    fake_create(1, spin_guest);
    fake.m.time_dilation = dilations[_i];
    fake.m.clock_ns = clock_as_set;
    for (unsigned i = 0; i < sizeof(ticks) / sizeof(ticks[0]); i++) {
        uint64_t begin = fake.m.clock_base_ns + ticks[i] * 100 * n;
        atomic_store(&set_clock, begin);
        ck_assert_uint_eq(guest_ticks(&fake.m), ticks[i]);
        atomic_store(&set_clock, begin + 100 * n - 1);
        ck_assert_uint_eq(guest_ticks(&fake.m), ticks[i]);
        atomic_store(&set_clock, begin + 100 * n);
        ck_assert_uint_eq(guest_ticks(&fake.m), ticks[i] + 1);
    }
    atomic_store(&set_clock, fake.m.clock_base_ns - 1); /* another rank's is a trifle behind */
    ck_assert_uint_eq(guest_ticks(&fake.m), 0);
    fake_destroy();
}
END_TEST

/* Deadlines are the inverse of that; what is centuries of the host away never comes, and nothing wraps around. */
START_TEST(dilated_deadlines)
{
    uint64_t n = dilations[_i] ? dilations[_i] : 1, last = (UINT64_MAX >> 1) / (100 * n);
    fake_create(1, spin_guest);
    fake.m.time_dilation = dilations[_i];
    ck_assert_uint_eq(guest_ticks_to_host_ns(&fake.m, 12345), fake.m.clock_base_ns + 1234500 * n);
    ck_assert_uint_eq(guest_ticks_to_host_ns(&fake.m, last), fake.m.clock_base_ns + last * 100 * n);
    ck_assert_uint_eq(guest_ticks_to_host_ns(&fake.m, last + 1), UINT64_MAX);
    ck_assert_uint_eq(guest_ticks_to_host_ns(&fake.m, UINT64_MAX), UINT64_MAX);
    /* By the cluster's clock: as far ahead as the guest's clock has to go yet. */
    fake.m.clock_ns = clock_as_set;
    atomic_store(&set_clock, fake.m.clock_base_ns + 5000000 * n);
    uint64_t before = fake_now_ns(), at = guest_ticks_to_host_ns(&fake.m, 80000), after = fake_now_ns();
    ck_assert_uint_ge(at, before + 3000000 * n);
    ck_assert_uint_le(at, after + 3000000 * n);
    at = guest_ticks_to_host_ns(&fake.m, 49999); /* past */
    ck_assert_uint_le(at, fake_now_ns());
    at = guest_ticks_to_host_ns(&fake.m, last);
    ck_assert(at == UINT64_MAX || at > UINT64_MAX >> 2);
    fake_destroy();
}
END_TEST

/* The guest's clock stands still while the machine does, and goes on from there. */
START_TEST(dilated_pause)
{
    uint64_t n = dilations[_i] ? dilations[_i] : 1;
    fake_create(1, spin_guest);
    fake.m.time_dilation = dilations[_i];
    fake.m.clock_ns = clock_as_set;
    atomic_store(&set_clock, fake.m.clock_base_ns + 777 * 100 * n + 99);
    fake_start(&accel_mttcg);
    for (unsigned i = 0; i < 3; i++) {
        cpu_stop_all(&fake.m);
        ck_assert_uint_eq(guest_ticks(&fake.m), 777);
        atomic_fetch_add(&set_clock, 3600ull * 1000000000 + 17);
        ck_assert_uint_eq(guest_ticks(&fake.m), 777);
        cpu_resume_all(&fake.m);
        ck_assert_uint_eq(guest_ticks(&fake.m), 777);
    }
    atomic_fetch_add(&set_clock, 100 * n);
    ck_assert_uint_eq(guest_ticks(&fake.m), 778);
    fake_destroy();
}
END_TEST

START_TEST(bql_twice_is_an_error)
{
    bql_lock();
    ck_assert(bql_held());
    bql_lock();
}
END_TEST

START_TEST(bql_unlock_by_another_is_an_error)
{
    ck_assert(!bql_held());
    bql_unlock();
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_test(tc, timers_multi);
    tcase_add_test(tc, timers_single);
    tcase_add_loop_test(tc, idle_costs_little, 0, 2);
    tcase_add_test(tc, disabled_timer_sleeps);
    tcase_add_loop_test(tc, work_runs_in_order, 0, 2);
    tcase_add_loop_test(tc, sleepers_are_not_waited_for, 0, 2);
    tcase_add_loop_test(tc, start_and_stop, 0, 2);
    tcase_add_test(tc, suspend);
    tcase_add_loop_test(tc, created_paused, 0, 2);
    tcase_add_loop_test(tc, shutdown_rests, 0, 2);
    tcase_add_loop_test(tc, thread_names_and_times, 0, 2);
    tcase_add_test(tc, unbound_thread_ends_the_machine);
    tcase_add_test(tc, turns);
    tcase_add_test(tc, icount_is_deterministic);
    tcase_add_test(tc, icount_clock);
    tcase_add_test(tc, clock_conversion);
    tcase_add_loop_test(tc, dilated_ticks, 0, NUM_DILATIONS);
    tcase_add_loop_test(tc, dilated_deadlines, 0, NUM_DILATIONS);
    tcase_add_loop_test(tc, dilated_pause, 0, NUM_DILATIONS);
    tcase_add_test_raise_signal(tc, bql_twice_is_an_error, SIGABRT);
    tcase_add_test_raise_signal(tc, bql_unlock_by_another_is_an_error, SIGABRT);
}

int main(void)
{
    Suite *s = suite_create("cpu threads");
    TCase *tc = tcase_create("threads");
    tcase_set_timeout(tc, 60);
    add_tests(tc);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
