/*
 * The protocols between harts under load: remote fences, interrupts against WFI, stopping the world. These run under
 * ThreadSanitizer as well; what is not atomic here is ordered by the protocol under test, or the run fails.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include "fake.h"

#if defined(__SANITIZE_THREAD__) /* ten times slower */
enum { ROUNDS = 1500, PING_ROUNDS = 3000 };
#else
enum { ROUNDS = 6000, PING_ROUNDS = 20000 };
#endif

static _Atomic uint64_t finished;

static unsigned next_random(struct cpu *cpu)
{
    cpu->x[5] = cpu->x[5] * 6364136223846793005u + 1442695040888963407u + cpu->hart;
    return (unsigned)(cpu->x[5] >> 33);
}

static void others_of(struct cpu *cpu, struct bitmap *mask)
{
    bitmap_zero(mask);
    for (unsigned i = 0; i < fake.m.num_cpus; i++) {
        if (i != cpu->hart) {
            bitmap_set(mask, i);
        }
    }
}

/* What an SBI call does: at a safe point, outside guest code. */
static void fence_others(struct cpu *cpu, void (*fn)(struct cpu *, uint64_t, uint64_t))
{
    struct bitmap mask;
    others_of(cpu, &mask);
    atomic_store(&fake.in_guest[cpu->hart], 0);
    cpu_run_on_all(cpu, &mask, fn, 0, 0);
    atomic_store(&fake.in_guest[cpu->hart], 1);
}

/* ---- remote fences: a page table word, copies of it in each hart, and a promise ---- */

static _Atomic uint64_t table, promised;
static uint64_t copy[WEFT_MAX_HARTS]; /* own hart only; 0 = none */
static uint64_t fences[WEFT_MAX_HARTS];

static void drop_copy(struct cpu *cpu, uint64_t a, uint64_t b)
{
    ck_assert_ptr_eq(cpu_current(), cpu);
    copy[cpu->hart] = 0;
    fences[cpu->hart]++;
}

/* Whoever reads a promise must not use a copy that is older. */
static int fence_guest(struct cpu *cpu)
{
    unsigned h = cpu->hart;
    uint64_t at_least = atomic_load(&promised);
    if (copy[h] == 0) {
        copy[h] = atomic_load(&table) + 1;
    }
    if (copy[h] - 1 < at_least) {
        ck_abort_msg("hart %u used %lu after %lu was promised", h, (unsigned long)copy[h] - 1, (unsigned long)at_least);
    }
    if (cpu->x[6] >= ROUNDS) {
        if (cpu->x[6]++ == ROUNDS) {
            atomic_fetch_add(&finished, 1);
        }
        atomic_fetch_and(&cpu->mip, ~(uint64_t)(1u << IRQ_SSI));
        return CPU_EXIT_WFI;
    }
    unsigned dice = next_random(cpu) % 8;
    if (dice < 3) {
        uint64_t mine = atomic_fetch_add(&table, 1) + 1;
        cpu->x[6]++;
        copy[h] = 0;
        fence_others(cpu, drop_copy);
        uint64_t seen = atomic_load(&promised);
        while (seen < mine && !atomic_compare_exchange_weak(&promised, &seen, mine)) {
        }
    } else if (dice == 3) {
        atomic_store(&cpu->stimecmp, guest_ticks(&fake.m) + next_random(cpu) % 300);
        return CPU_EXIT_WFI;
    } else if (dice == 4) {
        cpu_irq_set(fake.m.cpus[next_random(cpu) % fake.m.num_cpus], 1u << IRQ_SSI, true);
    } else if (dice == 5) {
        atomic_fetch_and(&cpu->mip, ~(uint64_t)(1u << IRQ_SSI));
    }
    return FAKE_RUN;
}

static void run_fences(const struct accel_ops *accel, unsigned harts)
{
    atomic_store(&finished, 0);
    fake_create(harts, fence_guest);
    fake_start(accel);
    fake_await(&finished, harts);
    fake_destroy();
    ck_assert_uint_gt(atomic_load(&promised), ROUNDS);
}

START_TEST(fence_multi_2)
{
    run_fences(&accel_mttcg, 2);
}
END_TEST

START_TEST(fence_multi_5)
{
    run_fences(&accel_mttcg, 5);
}
END_TEST

START_TEST(fence_single)
{
    run_fences(&accel_rr, 4);
}
END_TEST

/* ---- interrupts and WFI: a ball between two harts; a lost wake-up ends the game ---- */

static int ping_guest(struct cpu *cpu)
{
    if (atomic_fetch_and(&cpu->mip, ~(uint64_t)(1u << IRQ_SSI)) & 1u << IRQ_SSI) {
        if (++cpu->x[6] == PING_ROUNDS) {
            atomic_fetch_add(&finished, 1);
        }
        cpu_irq_set(fake.m.cpus[(cpu->hart + 1) % fake.m.num_cpus], 1u << IRQ_SSI, true);
    }
    return CPU_EXIT_WFI;
}

static void run_ping(const struct accel_ops *accel, unsigned harts)
{
    atomic_store(&finished, 0);
    fake_create(harts, ping_guest);
    fake_start(accel);
    cpu_irq_set(fake.m.cpus[0], 1u << IRQ_SSI, true);
    fake_await(&finished, harts);
    fake_destroy();
}

START_TEST(ping_multi)
{
    run_ping(&accel_mttcg, 2);
}
END_TEST

START_TEST(ping_single)
{
    run_ping(&accel_rr, 3);
}
END_TEST

/* ---- stop the world ---- */

static uint64_t plain[2]; /* written in exclusive sections, read by guest code */
static _Atomic int inside;
static _Atomic bool stopped; /* between cpu_stop_all and cpu_resume_all */

static void exclusive_section(struct cpu *self)
{
    cpu_exclusive_begin(&fake.m, self);
    ck_assert_int_eq(atomic_fetch_add(&inside, 1), 0);
    for (unsigned i = 0; i < fake.m.num_cpus; i++) {
        ck_assert(i == (self ? self->hart : UINT32_MAX) || !atomic_load(&fake.in_guest[i]));
    }
    ck_assert(!self || !atomic_load(&stopped));
    plain[0]++;
    plain[1]++;
    atomic_fetch_sub(&inside, 1);
    cpu_exclusive_end(&fake.m, self);
}

static void count_work(struct cpu *cpu, uint64_t a, uint64_t b)
{
    ck_assert_int_eq(atomic_load(&inside), 0);
    cpu->x[7]++;
}

static int world_guest(struct cpu *cpu)
{
    ck_assert_int_eq(atomic_load(&inside), 0);
    ck_assert(!atomic_load(&stopped));
    ck_assert_uint_eq(plain[0], plain[1]);
    unsigned dice = next_random(cpu) % 64;
    if (dice == 0) {
        atomic_store(&fake.in_guest[cpu->hart], 0);
        exclusive_section(cpu);
        atomic_store(&fake.in_guest[cpu->hart], 1);
        if (++cpu->x[6] == ROUNDS / 10) {
            atomic_fetch_add(&finished, 1);
        }
    } else if (dice < 4) {
        fence_others(cpu, count_work);
    } else if (dice == 4) {
        cpu_run_async(fake.m.cpus[next_random(cpu) % fake.m.num_cpus], count_work, 0, 0);
    } else if (dice < 8) {
        atomic_store(&cpu->stimecmp, guest_ticks(&fake.m) + next_random(cpu) % 200);
        return CPU_EXIT_WFI;
    } else if (dice < 12) {
        bql_lock(); /* a device access */
        bql_unlock();
    }
    return FAKE_RUN;
}

static void *outsider(void *arg)
{
    struct bitmap all;
    bitmap_zero(&all);
    for (unsigned i = 0; i < fake.m.num_cpus; i++) {
        bitmap_set(&all, i);
    }
    for (unsigned i = 0; atomic_load(&finished) < fake.m.num_cpus; i++) {
        if (i % 4 == 0) {
            exclusive_section(NULL);
        } else {
            cpu_run_on_all(NULL, &all, count_work, 0, 0);
        }
        fake_sleep_ns(100000);
    }
    return NULL;
}

/* The main loop: stops and resumes with the BQL held, as a handler would. */
static void run_world(const struct accel_ops *accel, unsigned harts)
{
    atomic_store(&finished, 0);
    fake_create(harts, world_guest);
    fake_start(accel);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, outsider, NULL), 0);
    while (atomic_load(&finished) < harts) {
        bql_lock();
        cpu_stop_all(&fake.m);
        ck_assert(bql_held());
        atomic_store(&stopped, true);
        for (unsigned i = 0; i < harts; i++) {
            ck_assert_int_eq(atomic_load(&fake.in_guest[i]), 0);
        }
        uint64_t ticks = guest_ticks(&fake.m);
        fake_sleep_ns(300000);
        ck_assert_uint_eq(guest_ticks(&fake.m), ticks);
        atomic_store(&stopped, false);
        cpu_resume_all(&fake.m);
        bql_unlock();
        fake_sleep_ns(1000000);
    }
    pthread_join(thread, NULL);
    fake_destroy();
}

START_TEST(world_multi)
{
    run_world(&accel_mttcg, 4);
}
END_TEST

START_TEST(world_single)
{
    run_world(&accel_rr, 4);
}
END_TEST

/* ---- many more harts than cores ---- */

static int crowd_guest(struct cpu *cpu)
{
    fence_others(cpu, count_work);
    if (++cpu->x[6] == 20) {
        atomic_fetch_add(&finished, 1);
    }
    return cpu->x[6] >= 20 ? CPU_EXIT_WFI : FAKE_RUN;
}

START_TEST(crowd)
{
    atomic_store(&finished, 0);
    fake_create(64, crowd_guest);
    fake_start(&accel_mttcg);
    fake_await(&finished, 64);
    fake_destroy();
}
END_TEST

/* ---- the big lock ---- */

static uint64_t guarded;

static void *bql_user(void *arg)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        bql_lock();
        guarded++;
        bql_unlock();
    }
    return NULL;
}

START_TEST(bql)
{
    struct bql_stats before, after;
    bql_read_stats(&before);
    pthread_t thread[4];
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, bql_user, NULL), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
    }
    bql_read_stats(&after);
    ck_assert_uint_eq(guarded, 4 * ROUNDS);
    ck_assert_uint_eq(after.acquisitions - before.acquisitions, 4 * ROUNDS);
    ck_assert_uint_ge(after.acquisitions - before.acquisitions, after.contended - before.contended);
    ck_assert_uint_gt(after.hold_ns, before.hold_ns);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu stress");
    TCase *tc = tcase_create("stress");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, bql);
    tcase_add_test(tc, ping_multi);
    tcase_add_test(tc, ping_single);
    tcase_add_test(tc, fence_multi_2);
    tcase_add_test(tc, fence_multi_5);
    tcase_add_test(tc, fence_single);
    tcase_add_test(tc, world_multi);
    tcase_add_test(tc, world_single);
    tcase_add_test(tc, crowd);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
