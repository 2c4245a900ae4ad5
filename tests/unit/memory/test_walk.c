/* Page walks: modes, permissions, A/D, superpages, Svnapot, Svpbmt, faults of the walk itself. */
#include "fixture.h"

#define VA 0x12345000ull
#define PA (RAM_BASE + 0x5000)

static gpa_t root;

static void setup(void)
{
    fixture_setup();
    root = table_new();
}

/* Maps VA as `flags` at `level` in Sv39 and enters the space. */
static gpa_t one(uint64_t flags, unsigned level, gpa_t gpa, uint8_t priv)
{
    gpa_t at = map_at(root, 3, VA, gpa, flags, level);
    enter_space(satp_of(SATP_SV39, 1, root), priv);
    tlb_flush_all(fx.cpu);
    return at;
}

START_TEST(modes)
{
    static const struct {
        unsigned mode, levels;
        gva_t va, bad;
    } m[] = {
        {SATP_SV39, 3, 0x0000003fffffe000, 0x0000004000000000}, {SATP_SV39, 3, 0xffffffc000001000, 0xffffffbfffffe000},
        {SATP_SV48, 4, 0x00007ffffffff000, 0x0000800000000000}, {SATP_SV48, 4, 0xffff800000000000, 0xffff7ffffffff000},
        {SATP_SV57, 5, 0x00fffffffffff000, 0x0100000000000000}, {SATP_SV57, 5, 0xff00000000000000, 0xfeffffffffff0000},
        {SATP_SV57, 5, 0x0012345678abc000, 0x1012345678abc000},
    };
    gpa_t r = table_new();
    map_at(r, m[_i].levels, m[_i].va, PA, LEAF_RWX, 0);
    enter_space(satp_of(m[_i].mode, 3, r), PRIV_S);
    for (enum tlb_access a = ACCESS_FETCH; a <= ACCESS_AMO; a++) {
        expect_ok(m[_i].va + 0x10, a, PA + 0x10);
        expect_ok(m[_i].va + 0x18, a, PA + 0x18);
    }
    expect_fault(m[_i].bad, ACCESS_LOAD, EXC_LOAD_PAGE);
    expect_fault(m[_i].bad, ACCESS_STORE, EXC_STORE_PAGE);
    expect_fault(m[_i].bad, ACCESS_AMO, EXC_STORE_PAGE);
    expect_fault(m[_i].bad, ACCESS_FETCH, EXC_FETCH_PAGE);
    expect_fault(m[_i].va ^ 1ull << 60, ACCESS_LOAD, EXC_LOAD_PAGE);
    uint64_t v;
    ck_assert(!tlb_load(fx.cpu, m[_i].va ^ 1ull << 60, 8, &v));
}
END_TEST

START_TEST(permission_matrix)
{
    static const uint32_t page_fault[] = {EXC_FETCH_PAGE, EXC_LOAD_PAGE, EXC_STORE_PAGE, EXC_STORE_PAGE};
    for (unsigned rwxu = 0; rwxu < 16; rwxu++) {
        for (unsigned status = 0; status < 4; status++) {
            for (unsigned priv = PRIV_U; priv <= PRIV_S; priv++) {
                uint64_t flags = PTE_V | (uint64_t)rwxu << 1 | PTE_A | PTE_D;
                bool r = rwxu & 1, w = rwxu & 2, x = rwxu & 4, u = rwxu & 8;
                bool sum = status & 1, mxr = status & 2;
                one(flags, 0, PA, (uint8_t)priv);
                set_status((sum ? MSTATUS_SUM : 0) | (mxr ? MSTATUS_MXR : 0));
                bool valid = (r || x) && !(w && !r);
                bool data = u ? priv == PRIV_U || sum : priv == PRIV_S;
                bool ok[] = {valid && x && u == (priv == PRIV_U), valid && data && (r || (mxr && x)),
                             valid && data && w, valid && data && w};
                for (unsigned a = 0; a < 4; a++) {
                    for (unsigned again = 0; again < 2; again++) {
                        expect(VA, a, ok[a] ? EXC_NONE : page_fault[a], PA);
                    }
                }
                /* The first level, filled by all these, must say the same. */
                uint64_t v;
                ck_assert_int_eq(tlb_load(fx.cpu, VA, 8, &v), ok[ACCESS_LOAD]);
                ck_assert_int_eq(tlb_store(fx.cpu, VA, 8, 0), ok[ACCESS_STORE]);
                ck_assert_int_eq(tlb_atomic_ptr(fx.cpu, VA, 8, true) != NULL, ok[ACCESS_AMO]);
            }
        }
    }
}
END_TEST

START_TEST(mprv)
{
    one(LEAF_RW, 0, PA, PRIV_M);
    expect_ok(PA, ACCESS_LOAD, PA); /* machine mode does not translate */
    set_status(MSTATUS_MPRV | (uint64_t)PRIV_S << 11);
    expect_ok(VA, ACCESS_LOAD, PA);
    expect_ok(PA, ACCESS_FETCH, PA); /* fetches stay those of machine mode */
    set_status(MSTATUS_MPRV | (uint64_t)PRIV_U << 11);
    expect_fault(VA, ACCESS_LOAD, EXC_LOAD_PAGE);
    set_status(MSTATUS_MPRV | (uint64_t)PRIV_M << 11);
    expect_ok(PA, ACCESS_LOAD, PA);
    /* Execute-only page, MXR. */
    one(PTE_V | PTE_X | PTE_U | PTE_A, 0, PA, PRIV_M);
    set_status(MSTATUS_MPRV | (uint64_t)PRIV_S << 11 | MSTATUS_SUM);
    expect_fault(VA, ACCESS_LOAD, EXC_LOAD_PAGE);
    set_status(MSTATUS_MPRV | (uint64_t)PRIV_S << 11 | MSTATUS_SUM | MSTATUS_MXR);
    expect_ok(VA, ACCESS_LOAD, PA);
    uint64_t v;
    ck_assert(tlb_load(fx.cpu, VA, 8, &v));
    set_status(MSTATUS_MPRV | (uint64_t)PRIV_S << 11 | MSTATUS_SUM);
    ck_assert(!tlb_load(fx.cpu, VA, 8, &v));
}
END_TEST

START_TEST(accessed_dirty_by_fault)
{
    gpa_t at = one(PTE_V | PTE_R | PTE_W, 0, PA, PRIV_S);
    expect_fault(VA, ACCESS_LOAD, EXC_LOAD_PAGE);
    *pte_host(at) |= PTE_A;
    expect_ok(VA, ACCESS_LOAD, PA);
    expect_fault(VA, ACCESS_STORE, EXC_STORE_PAGE);
    *pte_host(at) |= PTE_D;
    expect_ok(VA, ACCESS_STORE, PA);
}
END_TEST

START_TEST(accessed_dirty_by_hardware)
{
    gpa_t at = one(PTE_V | PTE_R | PTE_W, 0, PA, PRIV_S);
    fx.cpu->menvcfg = MENVCFG_ADUE;
    uint64_t v;
    ck_assert(tlb_load(fx.cpu, VA, 4, &v));
    ck_assert_uint_eq(*pte_host(at) & (PTE_A | PTE_D), PTE_A);
    ck_assert(tlb_store(fx.cpu, VA, 4, 1));
    ck_assert_uint_eq(*pte_host(at) & (PTE_A | PTE_D), PTE_A | PTE_D);
    /* Without the extension the switch means nothing. */
    at = one(PTE_V | PTE_R | PTE_W, 0, PA, PRIV_S);
    fx.cpu->isa_ext &= ~(1ull << EXT_SVADU);
    ck_assert(!tlb_load(fx.cpu, VA, 4, &v));
    ck_assert_uint_eq(*pte_host(at) & (PTE_A | PTE_D), 0);
}
END_TEST

START_TEST(reserved_bits)
{
    static const struct {
        uint64_t leaf, off_ext;
        bool ok;
    } t[] = {
        {1ull << 54, 0, false},
        {1ull << 60, 0, false},
        {1ull << 58, 0, false},
        {3ull << 8, 0, true},
        {1ull << 61, 0, true},
        {2ull << 61, 0, true},
        {3ull << 61, 0, false},
        {1ull << 61, 1ull << EXT_SVPBMT, false},
        {PTE_N | 8ull << 10, 0, true},
        {PTE_N | 8ull << 10, 1ull << EXT_SVNAPOT, false},
        {PTE_N, 0, false},
        {PTE_N | 4ull << 10, 0, false},
        {PTE_N | 9ull << 10, 0, false},
    };
    fx.cpu->menvcfg = MENVCFG_PBMTE;
    fx.cpu->isa_ext &= ~t[_i].off_ext;
    gpa_t base = RAM_BASE + 0x40000;
    one(LEAF_RW | t[_i].leaf, 0, base, PRIV_S);
    gpa_t expected = t[_i].leaf & PTE_N ? base | (VA & 0xffff) : base;
    expect(VA, ACCESS_LOAD, t[_i].ok ? EXC_NONE : EXC_LOAD_PAGE, expected);
    expect(VA, ACCESS_STORE, t[_i].ok ? EXC_NONE : EXC_STORE_PAGE, expected);
}
END_TEST

START_TEST(reserved_in_pointers)
{
    static const uint64_t bits[] = {PTE_A, PTE_D, PTE_U, PTE_N, 1ull << 61, 1ull << 55};
    fx.cpu->menvcfg = MENVCFG_PBMTE;
    one(LEAF_RW, 0, PA, PRIV_S);
    expect_ok(VA, ACCESS_LOAD, PA);
    *pte_host(root + (VA >> 30) * 8) |= bits[_i];
    tlb_flush(fx.cpu, false, 0, false, 0);
    expect_fault(VA, ACCESS_LOAD, EXC_LOAD_PAGE);
}
END_TEST

START_TEST(pbmt_needs_its_switch)
{
    one(LEAF_RW | 1ull << 61, 0, PA, PRIV_S);
    expect_fault(VA, ACCESS_LOAD, EXC_LOAD_PAGE);
    fx.cpu->builtin_sbi = true;
    expect_ok(VA, ACCESS_LOAD, PA);
}
END_TEST

START_TEST(superpages)
{
    one(LEAF_RWX, 1, RAM_BASE + (2 << 20), PRIV_S);
    gva_t low = VA & ~0x1fffffull;
    for (unsigned off = 0; off < 2 << 20; off += 0x11230) {
        expect_ok(low + off, ACCESS_LOAD, RAM_BASE + (2 << 20) + off);
    }
    expect_fault(low + (2 << 20), ACCESS_LOAD, EXC_LOAD_PAGE);
    expect_fault(low - 1, ACCESS_LOAD, EXC_LOAD_PAGE);
    one(LEAF_RWX, 1, RAM_BASE + (2 << 20) + 0x1000, PRIV_S); /* misaligned */
    expect_fault(VA, ACCESS_LOAD, EXC_LOAD_PAGE);
    one(LEAF_RWX, 2, RAM_BASE, PRIV_S);
    gva_t giga = VA & ~0x3fffffffull;
    expect_ok(giga + 0x1234567, ACCESS_STORE, RAM_BASE + 0x1234567);
    expect_ok(giga + 0x3ffffff, ACCESS_FETCH, RAM_BASE + 0x3ffffff);
    one(LEAF_RWX, 2, RAM_BASE + (2 << 20), PRIV_S); /* misaligned */
    expect_fault(VA, ACCESS_LOAD, EXC_LOAD_PAGE);
    one(LEAF_RWX | PTE_N, 1, RAM_BASE + (2 << 20), PRIV_S); /* N in a superpage is reserved */
    expect_fault(VA, ACCESS_LOAD, EXC_LOAD_PAGE);
}
END_TEST

START_TEST(huge_leaves)
{
    /* 512 GiB and 256 TiB leaves that begin at 0. */
    gpa_t r = table_new();
    map_at(r, 5, 0, 0, LEAF_RW, 4);
    map_at(r, 5, 1ull << 48, 0, LEAF_RW, 3);
    enter_space(satp_of(SATP_SV57, 1, r), PRIV_S);
    expect_ok(RAM_BASE + 0x123, ACCESS_LOAD, RAM_BASE + 0x123);
    expect_ok(RAM_BASE + 0x123, ACCESS_LOAD, RAM_BASE + 0x123);
    expect_ok((1ull << 48) + RAM_BASE + 0x200123, ACCESS_STORE, RAM_BASE + 0x200123);
    uint64_t v;
    ck_assert(tlb_load(fx.cpu, RAM_BASE + 0x123, 1, &v));
    ck_assert(tlb_load(fx.cpu, (1ull << 48) + RAM_BASE + 0x123, 1, &v));
    /* A fence on any address of the leaf voids all of it. */
    *pte_host(r) = 0;
    tlb_flush(fx.cpu, true, 77ull << 30, false, 0);
    ck_assert(!tlb_load(fx.cpu, RAM_BASE + 0x123, 1, &v));
    ck_assert(tlb_load(fx.cpu, (1ull << 48) + RAM_BASE + 0x123, 1, &v));
    *pte_host(r + 8) = 0;
    tlb_flush(fx.cpu, false, 0, false, 0);
    ck_assert(!tlb_load(fx.cpu, (1ull << 48) + RAM_BASE + 0x123, 1, &v));
}
END_TEST

START_TEST(walk_faults)
{
    /* No leaf at the last level, a table outside RAM, a leaf outside RAM and devices. */
    one(PTE_V, 0, PA, PRIV_S);
    expect_fault(VA, ACCESS_LOAD, EXC_LOAD_PAGE);
    one(PTE_V | PTE_W | PTE_A | PTE_D, 0, PA, PRIV_S);
    expect_fault(VA, ACCESS_STORE, EXC_STORE_PAGE);
    one(PTE_V | PTE_W | PTE_X | PTE_A | PTE_D, 0, PA, PRIV_S);
    expect_fault(VA, ACCESS_FETCH, EXC_FETCH_PAGE);
    gpa_t r = table_new();
    map_at(r, 3, VA, DEV_BASE, PTE_V, 2);
    enter_space(satp_of(SATP_SV39, 2, r), PRIV_S);
    expect_fault(VA, ACCESS_LOAD, EXC_LOAD_ACCESS);
    expect_fault(VA, ACCESS_AMO, EXC_STORE_ACCESS);
    expect_fault(VA, ACCESS_FETCH, EXC_FETCH_ACCESS);
    enter_space(satp_of(SATP_SV39, 2, 0x1000), PRIV_S);
    expect_fault(VA, ACCESS_STORE, EXC_STORE_ACCESS);
    one(LEAF_RW, 0, RAM_BASE + RAM_SIZE, PRIV_S);
    uint64_t v;
    ck_assert(!tlb_load(fx.cpu, VA, 4, &v));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_LOAD_ACCESS);
    ck_assert(!tlb_store(fx.cpu, VA + 8, 4, v));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_STORE_ACCESS);
    ck_assert_uint_eq(fx.cpu->exc_tval, VA + 8);
    ck_assert_ptr_null(tlb_atomic_ptr(fx.cpu, VA, 4, true));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_STORE_ACCESS);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("memory-walk");
    TCase *t = tcase_create("walk");
    tcase_add_checked_fixture(t, setup, fixture_teardown);
    tcase_add_loop_test(t, modes, 0, 7);
    tcase_add_test(t, permission_matrix);
    tcase_add_test(t, mprv);
    tcase_add_test(t, accessed_dirty_by_fault);
    tcase_add_test(t, accessed_dirty_by_hardware);
    tcase_add_loop_test(t, reserved_bits, 0, 13);
    tcase_add_loop_test(t, reserved_in_pointers, 0, 6);
    tcase_add_test(t, pbmt_needs_its_switch);
    tcase_add_test(t, superpages);
    tcase_add_test(t, huge_leaves);
    tcase_add_test(t, walk_faults);
    suite_add_tcase(s, t);
    return run_suite(s);
}
