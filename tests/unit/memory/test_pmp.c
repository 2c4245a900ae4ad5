/* Physical memory protection: matching, priority, locks, granularity, and what it does to the TLBs. */
#include "fixture.h"

enum { L = 0x80, TOR = 1 << 3, NA4 = 2 << 3, NAPOT = 3 << 3 };
#define P (RAM_BASE + 0x10000)

static void entry(unsigned i, uint8_t cfg, uint64_t addr)
{
    fx.cpu->pmpcfg[i] = cfg;
    fx.cpu->pmpaddr[i] = addr;
    fx.cpu->pmp_active = 16;
    tlb_flush_all(fx.cpu);
}

static uint64_t napot(gpa_t base, uint64_t size)
{
    return (base | (size / 2 - 1)) >> 2;
}

START_TEST(defaults)
{
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 4096, PRIV_U), PMP_RWX); /* none in force */
    fx.cpu->pmp_active = 16;
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 4096, PRIV_M), PMP_RWX);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 4096, PRIV_S), 0);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 4096, PRIV_U), 0);
}
END_TEST

START_TEST(matching)
{
    entry(0, NA4 | PMP_R, P >> 2);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 4, PRIV_S), PMP_R);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P + 4, 4, PRIV_S), 0);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P - 4, 4, PRIV_S), 0);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 8, PRIV_S), PMP_MIXED);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P - 2, 4, PRIV_S), PMP_MIXED);
    entry(0, NAPOT | PMP_R | PMP_W, napot(P, 8));
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 8, PRIV_S), PMP_R | PMP_W);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P + 8, 1, PRIV_S), 0);
    entry(0, NAPOT | PMP_R | PMP_X, napot(P, 0x10000));
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 0x10000, PRIV_S), PMP_R | PMP_X);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P - 1, 1, PRIV_S), 0);
    entry(0, NAPOT | PMP_RWX, (1ull << 54) - 1);
    ck_assert_uint_eq(pmp_rights(fx.cpu, 0, 1ull << 56, PRIV_S), PMP_RWX);
    entry(0, TOR | PMP_R, P >> 2); /* from 0 */
    ck_assert_uint_eq(pmp_rights(fx.cpu, 0, P, PRIV_U), PMP_R);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 1, PRIV_U), 0);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P - 4, 8, PRIV_U), PMP_MIXED);
    entry(0, 0, P >> 2);
    entry(1, TOR | PMP_W | PMP_R, (P + 0x1000) >> 2); /* an entry that is off still gives the bottom */
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 0x1000, PRIV_U), PMP_R | PMP_W);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P - 4, 4, PRIV_U), 0);
    entry(0, 0, (P + 0x2000) >> 2); /* bottom above top: matches nothing */
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 0x1000, PRIV_U), 0);
    entry(0, TOR | PMP_RWX, 0); /* empty */
    ck_assert_uint_eq(pmp_rights(fx.cpu, 0, 4, PRIV_U), PMP_R | PMP_W);
}
END_TEST

START_TEST(priority_and_lock)
{
    entry(0, NAPOT | PMP_R, napot(P, 0x1000));
    entry(1, NAPOT | PMP_RWX, napot(RAM_BASE, RAM_SIZE));
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 8, PRIV_S), PMP_R);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P + 0x1000, 8, PRIV_S), PMP_RWX);
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 8, PRIV_M), PMP_RWX);
    entry(0, L | NAPOT | PMP_R, napot(P, 0x1000));
    ck_assert_uint_eq(pmp_rights(fx.cpu, P, 8, PRIV_M), PMP_R);
    uint64_t v;
    enter_space(0, PRIV_M);
    ck_assert(tlb_load(fx.cpu, P, 8, &v));
    ck_assert(!tlb_store(fx.cpu, P, 8, v));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_STORE_ACCESS);
    ck_assert(tlb_store(fx.cpu, P + 0x1000, 8, v));
}
END_TEST

/* An access is matched as a whole, and a page that is not of one kind never gets into a TLB. */
START_TEST(mixed_page)
{
    entry(0, NAPOT | PMP_R, napot(P + 0x100, 0x10));
    entry(1, NAPOT | PMP_RWX, napot(P, 0x800));
    enter_space(0, PRIV_S);
    uint64_t v;
    for (unsigned again = 0; again < 2; again++) {
        ck_assert(tlb_store(fx.cpu, P, 8, 1));
        ck_assert(!tlb_store(fx.cpu, P + 0x100, 8, 1));
        ck_assert(tlb_load(fx.cpu, P + 0x100, 8, &v));
        ck_assert(!tlb_load(fx.cpu, P + 0xfc, 8, &v)); /* half in, half out */
        ck_assert(!tlb_load(fx.cpu, P + 0x800, 1, &v));
        ck_assert_uint_eq(fx.cpu->exc_cause, EXC_LOAD_ACCESS);
    }
    uint32_t raw;
    *pte_host(P + 0xf8) = 0x0000001300000013;
    ck_assert(tlb_fetch(fx.cpu, P + 0xfc, &raw));
    ck_assert_uint_eq(raw, 0x13);
    ck_assert(!tlb_fetch(fx.cpu, P + 0xfe + 2, &raw));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_FETCH_ACCESS);
}
END_TEST

/* The walk's own reads and writes are those of supervisor mode. */
START_TEST(walk_is_checked)
{
    gpa_t root = table_new(), data = RAM_BASE + 0x200000;
    gpa_t at = map_at(root, 3, 0x5000, data, PTE_V | PTE_R | PTE_W, 0);
    entry(0, NAPOT | PMP_RWX, napot(RAM_BASE, RAM_SIZE));
    enter_space(satp_of(SATP_SV39, 0, root), PRIV_S);
    fx.cpu->menvcfg = MENVCFG_ADUE;
    expect_ok(0x5000, ACCESS_LOAD, data);
    entry(0, NAPOT | PMP_R, napot(at & GUEST_PAGE_MASK, 0x1000)); /* A/D cannot be written */
    entry(1, NAPOT | PMP_RWX, napot(RAM_BASE, RAM_SIZE));
    *pte_host(at) &= ~(PTE_A | PTE_D);
    expect_fault(0x5000, ACCESS_LOAD, EXC_LOAD_ACCESS);
    *pte_host(at) |= PTE_A;
    expect_ok(0x5000, ACCESS_LOAD, data);
    expect_fault(0x5000, ACCESS_STORE, EXC_STORE_ACCESS);
    entry(0, NAPOT, napot(root, 0x1000)); /* the root cannot be read */
    expect_fault(0x5000, ACCESS_FETCH, EXC_FETCH_ACCESS);
    expect_fault(0x5000, ACCESS_LOAD, EXC_LOAD_ACCESS);
}
END_TEST

/* A large page of which the PMP forbids a part is kept in pieces; a flush of one address voids all of them. */
START_TEST(superpage_in_pieces)
{
    gpa_t root = table_new();
    gpa_t at = map_at(root, 3, 0x40000000, RAM_BASE, LEAF_RW, 2);
    entry(0, NAPOT, napot(RAM_BASE + 0x3000, 0x1000));
    entry(1, NAPOT | PMP_RWX, (1ull << 54) - 1);
    enter_space(satp_of(SATP_SV39, 0, root), PRIV_S);
    uint64_t v;
    ck_assert(tlb_load(fx.cpu, 0x40000000, 8, &v));
    ck_assert(tlb_load(fx.cpu, 0x40000000 + 0x600008, 8, &v));
    ck_assert(!tlb_load(fx.cpu, 0x40003ff8, 8, &v));
    ck_assert(!tlb_load(fx.cpu, 0x40003ff8, 8, &v));
    ck_assert(!tlb_load(fx.cpu, 0x40002ffc, 8, &v));
    ck_assert(tlb_load(fx.cpu, 0x40002ff8, 8, &v));
    uint64_t walks = fx.cpu->stats.miss[MISS_L2];
    ck_assert(tlb_load(fx.cpu, 0x40000000 + 0x7ff008, 8, &v)); /* its 2 MiB piece is known */
    ck_assert_uint_eq(fx.cpu->stats.miss[MISS_L2], walks);
    *pte_host(at) = 0;
    tlb_flush(fx.cpu, true, 0x40000000 + 0x3200000, false, 0);
    ck_assert(!tlb_load(fx.cpu, 0x40000000, 8, &v));
    ck_assert(!tlb_load(fx.cpu, 0x40000000 + 0x7ff008, 8, &v));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_LOAD_PAGE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("memory-pmp");
    TCase *t = tcase_create("pmp");
    tcase_add_checked_fixture(t, fixture_setup, fixture_teardown);
    tcase_add_test(t, defaults);
    tcase_add_test(t, matching);
    tcase_add_test(t, priority_and_lock);
    tcase_add_test(t, mixed_page);
    tcase_add_test(t, walk_is_checked);
    tcase_add_test(t, superpage_in_pieces);
    suite_add_tcase(s, t);
    return run_suite(s);
}
