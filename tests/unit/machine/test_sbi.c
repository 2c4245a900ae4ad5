/* The builtin SBI, call by call, on harts without an engine. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "machine/sbi.h"
#include "unit/devices/fake.h"

enum { RAM_SIZE = 1 << 16 };
#define BASE 0x80000000ull

static struct machine m;
static uint8_t memory[RAM_SIZE];
static _Atomic uint8_t flags[RAM_SIZE >> 12];
static struct sbi *sbi;
static struct uart *uart;

/* What the SBI asked the engine for. */
static struct {
    unsigned fence_i, remote_runs, flushes, full_flushes, asid_flushes;
    uint64_t last_va;
    uint16_t last_asid;
    struct bitmap mask;
    bool load_faults;
} asked;

struct sbi *virt_sbi(struct machine *machine)
{
    return sbi;
}

struct uart *virt_uart(struct machine *machine)
{
    return uart;
}

void bql_lock(void)
{
}

void bql_unlock(void)
{
}

void tcg_fence_i(struct cpu *cpu)
{
    asked.fence_i++;
}

void tlb_context_update(struct cpu *cpu)
{
}

void tlb_flush(struct cpu *cpu, bool has_va, gva_t va, bool has_asid, uint16_t asid)
{
    asked.flushes++;
    asked.full_flushes += !has_va;
    asked.asid_flushes += has_asid;
    asked.last_va = va;
    asked.last_asid = asid;
}

bool tlb_load(struct cpu *cpu, gva_t va, unsigned size, uint64_t *value)
{
    memcpy(value, memory + va, size);
    return !asked.load_faults;
}

void cpu_run_on_all(struct cpu *self, const struct bitmap *mask, void (*fn)(struct cpu *, uint64_t, uint64_t),
                    uint64_t a, uint64_t b)
{
    asked.remote_runs++;
    asked.mask = *mask;
    bitmap_for_each(i, mask)
    {
        if (m.cpus[i] != self) {
            fn(m.cpus[i], a, b);
        }
    }
}

static void setup(void)
{
    fake_reset();
    memset(&asked, 0, sizeof(asked));
    memset(&m, 0, sizeof(m));
    memset(memory, 0, sizeof(memory));
    m.ram = (struct ram){.host = memory, .base = BASE, .size = RAM_SIZE, .page_flags = flags};
    m.num_cpus = FAKE_HARTS;
    for (unsigned h = 0; h < FAKE_HARTS; h++) {
        m.cpus[h] = &fake.cpu[h];
        fake.cpu[h].machine = &m;
        atomic_store(&fake.cpu[h].hart_state, h == 0 ? HART_STARTED : HART_STOPPED);
    }
    sbi = sbi_create(&m);
    uart = uart_create(NULL, (struct chardev *)&fake, fake_line());
}

static void teardown(void)
{
    uart_destroy(&uart);
    sbi_destroy(&sbi);
}

/* Executes an ecall of hart 0; checks that it goes on behind it. */
static int64_t call(uint64_t eid, uint64_t fid, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4)
{
    struct cpu *c = &fake.cpu[0];
    uint64_t args[] = {a0, a1, a2, a3, a4, 0, fid, eid}, pc = c->pc;
    memcpy(&c->x[10], args, sizeof(args));
    sbi_ecall(c);
    ck_assert_uint_eq(c->pc, pc + 4);
    return (int64_t)c->x[10];
}
#define A1 (fake.cpu[0].x[11])

START_TEST(base)
{
    static const uint64_t there[] = {0x10,     0x54494d45, 0x735049,   0x52464e43,
                                     0x48534d, 0x53525354, 0x4442434e, 0x504d55};
    ck_assert_int_eq(call(0x10, 0, 0, 0, 0, 0, 0), 0);
    ck_assert_uint_eq(A1, 2u << 24);
    for (unsigned i = 0; i < sizeof(there) / sizeof(there[0]); i++) {
        ck_assert_int_eq(call(0x10, 3, there[i], 0, 0, 0, 0), 0);
        ck_assert_uint_eq(A1, 1);
        ck_assert_int_eq(call(there[i], 99, 0, 0, 0, 0, 0), SBI_ERR_NOT_SUPPORTED);
    }
    call(0x10, 3, 0x12345678, 0, 0, 0, 0);
    ck_assert_uint_eq(A1, 0);
    ck_assert_int_eq(call(0x12345678, 0, 0, 0, 0, 0, 0), SBI_ERR_NOT_SUPPORTED);
}
END_TEST

START_TEST(timer)
{
    ck_assert_int_eq(call(0x54494d45, 0, 12345, 0, 0, 0, 0), 0);
    ck_assert_uint_eq(atomic_load(&fake.cpu[0].stimecmp), 12345);
    ck_assert_uint_eq(atomic_load(&fake.cpu[0].exit_request), 1);
    ck_assert_int_eq(call(0, 0, 777, 0, 0, 0, 0), 0);
    ck_assert_uint_eq(atomic_load(&fake.cpu[0].stimecmp), 777);
}
END_TEST

START_TEST(ipi)
{
    ck_assert_int_eq(call(0x735049, 0, 0x5, 1, 0, 0, 0), 0); /* harts 1 and 3 */
    ck_assert_uint_eq(atomic_load(&fake.cpu[1].mip), 2);
    ck_assert_uint_eq(atomic_load(&fake.cpu[2].mip), 0);
    ck_assert_uint_eq(atomic_load(&fake.cpu[3].mip), 2);
    ck_assert_int_eq(call(0x735049, 0, 0, UINT64_MAX, 0, 0, 0), 0);
    ck_assert_uint_eq(atomic_load(&fake.cpu[0].mip) & atomic_load(&fake.cpu[2].mip), 2);
    ck_assert_int_eq(call(0x735049, 0, 1, 4, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    ck_assert_int_eq(call(0x735049, 0, 1ull << 63, 3, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    ck_assert_int_eq(call(0x735049, 0, 1, UINT64_MAX - 1, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    /* Legacy: the mask is read through the page tables; clear_ipi tells what was there. */
    memory[0x100] = 4;
    atomic_store(&fake.cpu[2].mip, 0);
    ck_assert_int_eq(call(4, 0, 0x100, 0, 0, 0, 0), 0);
    ck_assert_uint_eq(atomic_load(&fake.cpu[2].mip), 2);
    ck_assert_int_eq(call(3, 0, 0, 0, 0, 0, 0), 1);
    ck_assert_int_eq(call(3, 0, 0, 0, 0, 0, 0), 0);
    asked.load_faults = true;
    ck_assert_int_eq(call(4, 0, 0x100, 0, 0, 0, 0), SBI_ERR_INVALID_PARAM);
}
END_TEST

START_TEST(fences)
{
    const uint64_t E = 0x52464e43;
    ck_assert_int_eq(call(E, 0, 0xf, 0, 0, 0, 0), 0);
    ck_assert_uint_eq(asked.fence_i, 4);
    ck_assert_int_eq(call(E, 0, 1, 0, 0, 0, 0), 0); /* itself only: nobody else is asked */
    ck_assert_uint_eq(asked.fence_i, 5);
    ck_assert_uint_eq(asked.remote_runs, 1);
    /* Three pages, the first and the last only touched. */
    ck_assert_int_eq(call(E, 1, 2, 0, 0x1ff8, 0x1010, 0), 0);
    ck_assert_uint_eq(asked.flushes, 3);
    ck_assert_uint_eq(asked.last_va, 0x3000);
    ck_assert_uint_eq(asked.asid_flushes, 0);
    ck_assert_int_eq(call(E, 2, 2, 0, 0x5000, 0x1000, 0x77), 0);
    ck_assert_uint_eq(asked.flushes, 4);
    ck_assert_uint_eq(asked.last_asid, 0x77);
    ck_assert_uint_eq(asked.asid_flushes, 1);
    /* Everything: zero range, all ones, too many pages. */
    static const uint64_t all[][2] = {{0, 0}, {0x1000, UINT64_MAX}, {0, 1 << 20}, {0x4000, 65 * 0x1000}};
    for (unsigned i = 0; i < 4; i++) {
        memset(&asked, 0, sizeof(asked));
        ck_assert_int_eq(call(E, 1, 2, 0, all[i][0], all[i][1], 0), 0);
        ck_assert_uint_eq(asked.full_flushes, 1);
        ck_assert_uint_eq(asked.flushes, 1);
    }
    ck_assert_int_eq(call(E, 1, 1, 9, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    ck_assert_int_eq(call(E, 3, 1, 0, 0, 0, 0), SBI_ERR_NOT_SUPPORTED);
}
END_TEST

START_TEST(harts)
{
    const uint64_t E = 0x48534d;
    ck_assert_int_eq(call(E, 0, 2, BASE + 0x100, 42, 0, 0), 0);
    ck_assert_int_eq(atomic_load(&fake.cpu[2].hart_state), HART_START_PENDING);
    ck_assert_uint_eq(fake.cpu[2].start_addr, BASE + 0x100);
    ck_assert_uint_eq(fake.cpu[2].start_opaque, 42);
    ck_assert_uint_ge(fake.kicks, 1);
    ck_assert_int_eq(call(E, 0, 2, BASE, 0, 0, 0), SBI_ERR_ALREADY_AVAILABLE);
    ck_assert_int_eq(call(E, 0, 0, BASE, 0, 0, 0), SBI_ERR_ALREADY_AVAILABLE);
    ck_assert_int_eq(call(E, 0, 4, BASE, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    ck_assert_int_eq(call(E, 0, 1, 0x1000, 0, 0, 0), SBI_ERR_INVALID_ADDRESS);
    ck_assert_int_eq(call(E, 2, 0, 0, 0, 0, 0), 0);
    ck_assert_uint_eq(A1, HART_STARTED);
    call(E, 2, 1, 0, 0, 0, 0);
    ck_assert_uint_eq(A1, HART_STOPPED);
    call(E, 2, 2, 0, 0, 0, 0);
    ck_assert_uint_eq(A1, HART_START_PENDING);
    ck_assert_int_eq(call(E, 2, 99, 0, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    call(E, 1, 0, 0, 0, 0, 0);
    ck_assert_int_eq(atomic_load(&fake.cpu[0].hart_state), HART_STOPPED);
    ck_assert_uint_eq(atomic_load(&fake.cpu[0].exit_request), 1);
}
END_TEST

START_TEST(suspend)
{
    const uint64_t E = 0x48534d;
    struct cpu *c = &fake.cpu[0];
    ck_assert_int_eq(call(E, 3, 0, 0, 0, 0, 0), 0);
    ck_assert_int_eq(atomic_load(&c->hart_state), HART_SUSPENDED);
    ck_assert_int_eq(call(E, 3, 1, 0, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    ck_assert_int_eq(call(E, 3, 0x10000000, 0, 0, 0, 0), SBI_ERR_NOT_SUPPORTED);
    ck_assert_int_eq(call(E, 3, 0x80000000, 0x1000, 0, 0, 0), SBI_ERR_INVALID_ADDRESS);
    c->satp = 8ull << 60;
    c->mstatus = MSTATUS_SIE | MSTATUS_SUM;
    c->x[10] = 0x80000000;
    c->x[11] = BASE + 0x200;
    c->x[12] = 99;
    c->x[16] = 3;
    c->x[17] = E;
    sbi_ecall(c);
    ck_assert_uint_eq(c->pc, BASE + 0x200);
    ck_assert_uint_eq(c->x[10], 0);
    ck_assert_uint_eq(c->x[11], 99);
    ck_assert_uint_eq(c->satp, 0);
    ck_assert_uint_eq(c->mstatus & MSTATUS_SIE, 0);
    ck_assert_uint_eq(c->start_addr, 0);
}
END_TEST

START_TEST(reset)
{
    const uint64_t E = 0x53525354;
    ck_assert_int_eq(call(E, 0, 3, 0, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    ck_assert_int_eq(call(E, 0, 0, 2, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    ck_assert_int_eq(call(E, 0, 0xf0000000, 0, 0, 0, 0), SBI_ERR_NOT_SUPPORTED);
    ck_assert_int_eq(fake.shutdowns + fake.resets, 0);
    call(E, 0, 0, 0, 0, 0, 0);
    ck_assert_int_eq(fake.shutdowns, 1);
    ck_assert_int_eq(fake.last_status, 0);
    ck_assert_int_eq(atomic_load(&fake.cpu[0].hart_state), HART_STOPPED);
    call(E, 0, 0, 1, 0, 0, 0);
    ck_assert_int_eq(fake.last_status, 1);
    call(E, 0, 1, 0, 0, 0, 0);
    ck_assert_int_eq(fake.resets, 1);
}
END_TEST

START_TEST(console)
{
    const uint64_t E = 0x4442434e;
    memcpy(memory + 0x80, "debug\n", 6);
    ck_assert_int_eq(call(E, 0, 6, BASE + 0x80, 0, 0, 0), 0);
    ck_assert_uint_eq(A1, 6);
    ck_assert_int_eq(call(E, 2, 0x1234567800000000 | 'c', 0, 0, 0, 0), 0);
    ck_assert_int_eq(call(1, 0, 'l', 0, 0, 0, 0), 0);
    fake_loop_turn();
    ck_assert_str_eq(fake.out, "debug\ncl");
    ck_assert_int_eq(call(E, 0, 6, BASE + RAM_SIZE - 3, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    ck_assert_int_eq(call(E, 0, 6, BASE, 1, 0, 0), SBI_ERR_INVALID_PARAM);
    ck_assert_int_eq(call(E, 0, UINT64_MAX, BASE, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    fake_input("k", 1);
    ck_assert_int_eq(call(E, 1, 16, BASE + 0x400, 0, 0, 0), 0);
    ck_assert_uint_eq(A1, 1);
    ck_assert_uint_eq(memory[0x400], 'k');
    fake_input("g", 1);
    ck_assert_int_eq(call(2, 0, 0, 0, 0, 0, 0), 'g');
    ck_assert_int_eq(call(2, 0, 0, 0, 0, 0, 0), -1);
}
END_TEST

/* A byte that the console cannot take now is not lost: the ecall is executed again. */
START_TEST(full_console_repeats_the_call)
{
    struct cpu *c = &fake.cpu[0];
    unsigned sent = 0;
    for (;; sent++) {
        c->pc = BASE;
        c->x[10] = 'z';
        c->x[17] = 1;
        sbi_ecall(c);
        if (c->pc == BASE) {
            break;
        }
        ck_assert_uint_lt(sent, 100000);
    }
    ck_assert_uint_eq(c->x[10], 'z');
    fake_loop_turn();
    ck_assert_uint_eq(fake.out_len, sent);
    sbi_ecall(c);
    ck_assert_uint_eq(c->pc, BASE + 4);
}
END_TEST

START_TEST(counters)
{
    const uint64_t E = 0x504d55;
    struct cpu *c = &fake.cpu[0];
    ck_assert_int_eq(call(E, 0, 0, 0, 0, 0, 0), 0);
    uint64_t n = A1;
    ck_assert_int_eq(call(E, 1, 0, 0, 0, 0, 0), 0);
    ck_assert_uint_eq(A1, 63u << 12 | 0xc00);
    ck_assert_int_eq(call(E, 1, 1, 0, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    ck_assert_int_eq(call(E, 1, 2, 0, 0, 0, 0), 0);
    ck_assert_uint_eq(A1, 63u << 12 | 0xc02);
    ck_assert_int_eq(call(E, 1, n, 0, 0, 0, 0), SBI_ERR_INVALID_PARAM);
    /* Instructions: counter 2, from a given value. */
    ck_assert_int_eq(call(E, 2, 0, (1ull << n) - 1, 0, 2, 0), 0);
    ck_assert_uint_eq(A1, 2);
    c->icount_end = 5000;
    ck_assert_int_eq(call(E, 3, 2, 1, 1, 100, 0), 0);
    ck_assert_int_eq(c->minstret_off, 100 - 5000);
    ck_assert_int_eq(call(E, 3, 2, 1, 1, 100, 0), SBI_ERR_ALREADY_STARTED);
    /* A firmware event: IPIs sent. */
    ck_assert_int_eq(call(E, 2, 0, (1ull << n) - 1, 4, 15u << 16 | 6, 0), 0);
    uint64_t fw = A1;
    ck_assert_uint_ge(fw, 3);
    call(0x735049, 0, 2, 0, 0, 0, 0);
    call(0x735049, 0, 2, 0, 0, 0, 0);
    ck_assert_int_eq(call(E, 5, fw, 0, 0, 0, 0), 0);
    ck_assert_uint_eq(A1, 2);
    ck_assert_int_eq(call(E, 4, fw, 1, 0, 0, 0), 0);
    call(0x735049, 0, 2, 0, 0, 0, 0);
    call(E, 5, fw, 0, 0, 0, 0);
    ck_assert_uint_eq(A1, 2);
    ck_assert_int_eq(call(E, 4, fw, 1, 1, 0, 0), SBI_ERR_ALREADY_STOPPED);
    ck_assert_int_eq(call(E, 5, fw, 0, 0, 0, 0), SBI_ERR_INVALID_PARAM); /* given back */
    ck_assert_int_eq(call(E, 2, 0, (1ull << n) - 1, 0, 1u << 16, 0), SBI_ERR_NOT_SUPPORTED);
    ck_assert_int_eq(call(E, 2, 0, UINT64_MAX, 0, 1, 0), SBI_ERR_INVALID_PARAM);
    ck_assert_int_eq(call(E, 2, 64, 1, 0, 1, 0), SBI_ERR_INVALID_PARAM);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sbi");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, base);
    tcase_add_test(t, timer);
    tcase_add_test(t, ipi);
    tcase_add_test(t, fences);
    tcase_add_test(t, harts);
    tcase_add_test(t, suspend);
    tcase_add_test(t, reset);
    tcase_add_test(t, console);
    tcase_add_test(t, full_console_repeats_the_call);
    tcase_add_test(t, counters);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
