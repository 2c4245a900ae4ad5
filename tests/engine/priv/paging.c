/* Sv39, Sv48 and Sv57 (privileged specification 12.3 to 12.6), Svnapot, Svpbmt, Svadu, Svinval. */
#include "priv.h"

#define V 1ull
#define R 2ull
#define W 4ull
#define X 8ull
#define U 16ull
#define G 32ull
#define A 64ull
#define D 128ull
#define RWX (V | R | W | X | A | D)
#define ADUE (1ull << 61)
#define PBMTE (1ull << 62)
#define TEST_VA 0x2000000000ul /* bit 37: slot 128 of the level 2 table */
#define ram_base 0x80000000ul

static uint64_t table[5][512] __attribute__((aligned(4096)));
static uint64_t other_table[512] __attribute__((aligned(4096)));
static uint64_t page[16][512] __attribute__((aligned(65536)));
static uint32_t code_page[1024] __attribute__((aligned(4096)));
static unsigned levels;

static uint64_t pte_of(const void *p, uint64_t flags)
{
    return (uint64_t)p >> 12 << 10 | flags;
}

static void flush(void)
{
    insn("sfence.vma");
}

/* The identity for S mode, U_ALIAS for U mode, and tables down to TEST_VA. */
static void make_tables(unsigned n)
{
    levels = n;
    memset(table, 0, sizeof(table));
    for (unsigned i = 4; i > 2; i--) {
        table[i][0] = pte_of(table[i - 1], V);
    }
    table[2][0] = RWX; /* devices */
    table[2][2] = pte_of((void *)ram_base, RWX);
    table[2][3] = pte_of((void *)ram_base, RWX | U);
    table[2][TEST_VA >> 30] = pte_of(table[1], V);
    table[1][0] = pte_of(table[0], V);
    for (unsigned i = 0; i < 16; i++) {
        table[0][i] = pte_of(page[i], RWX);
        page[i][0] = 0x1000 + i;
        page[i][511] = 0x2000 + i;
    }
    csr_write("satp", (uint64_t)(n + 5) << 60 | (uint64_t)table[n - 1] >> 12);
    flush();
}

static void set_leaf(unsigned i, uint64_t pte)
{
    table[0][i] = pte;
    flush();
}

static uint64_t load(uint64_t va)
{
    return *(volatile uint64_t *)va;
}

static uint64_t store(uint64_t va)
{
    *(volatile uint64_t *)va = 0xabcdef;
    return 0;
}

static uint64_t amo(uint64_t va)
{
    uint64_t v = 1;
    __asm__ volatile("amoadd.d %0, %0, (%1)" : "+r"(v) : "r"(va) : "memory");
    return v;
}

/* A load of M mode through MPRV. */
static uint64_t mprv_load(unsigned priv, uint64_t va, uint64_t status)
{
    csr_clear("mstatus", MPP | SUM | MXR);
    csr_set("mstatus", (uint64_t)priv << 11 | status);
    uint64_t v, mprv = MPRV;
    __asm__ volatile("csrs mstatus, %1\n ld %0, 0(%2)\n csrc mstatus, %1" : "=&r"(v) : "r"(mprv), "r"(va) : "memory");
    csr_clear("mstatus", SUM | MXR);
    return v;
}

static void test_basic(void)
{
    for (unsigned i = 0; i < 16; i++) {
        EXPECT_NONE(CHECK_EQ(lower(PRV_S, load, TEST_VA + i * 4096, 0), 0x1000 + i));
        EXPECT_NONE(CHECK_EQ(mprv_load(PRV_S, TEST_VA + i * 4096, 0), 0x1000 + i));
    }
    /* An access over two pages that do not lie together. */
    table[0][1] = pte_of(page[7], RWX);
    flush();
    page[0][511] = 0x1122334455667788;
    page[7][0] = 0x99aabbccddeeff00;
    EXPECT_NONE(CHECK_EQ(lower(PRV_S, load, TEST_VA + 4096 - 4, 0), 0xddeeff0011223344));
    EXPECT_NONE(lower(PRV_S, store, TEST_VA + 4096 - 3, 0));
    CHECK_EQ(page[0][511], 0xabcdef4455667788);
    CHECK_EQ(page[7][0], 0x99aabb0000000000);
    /* The second page is missing: its address in stval, nothing of the store done. */
    set_leaf(1, 0);
    page[0][511] = 5;
    EXPECT_TRAP(15, lower(PRV_S, store, TEST_VA + 4096 - 3, 0));
    CHECK_EQ(m_trap.tval, TEST_VA + 4096);
    CHECK_EQ(page[0][511], 5);
    EXPECT_TRAP(13, lower(PRV_S, load, TEST_VA + 4096 - 1, 0));
    CHECK_EQ(m_trap.tval, TEST_VA + 4096);
    EXPECT_TRAP(13, lower(PRV_S, load, TEST_VA + 2 * 4096 - 4, 0));
    CHECK_EQ(m_trap.tval, TEST_VA + 2 * 4096 - 4);
    EXPECT_TRAP(15, lower(PRV_S, amo, TEST_VA + 4096, 0));
    EXPECT_TRAP(12, lower(PRV_S, (void *)(TEST_VA + 4096), 0, 0));
    CHECK_EQ(m_trap.tval, TEST_VA + 4096);
}

static void test_permissions(void)
{
    static const struct {
        uint64_t flags;
        bool s_load, s_store, u_load, u_store;
    } cases[] = {
        {V | R | A | D, true, false, false, false},
        {V | R | W | A | D, true, true, false, false},
        {V | X | A | D, false, false, false, false},
        {V | R | X | A | D, true, false, false, false},
        {V | R | U | A | D, false, false, true, false},
        {V | R | W | U | A | D, false, false, true, true},
        {V | W | A | D, false, false, false, false},     /* reserved */
        {V | W | X | A | D, false, false, false, false}, /* reserved */
        {R | W | A | D, false, false, false, false},
        {V | A | D, false, false, false, false},                      /* a pointer at the last level */
        {V | R | W | A | D | 1ull << 54, false, false, false, false}, /* reserved bit */
        {V | R | W | A | D | 3ull << 61, false, false, false, false}, /* reserved memory type */
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set_leaf(2, pte_of(page[2], cases[i].flags));
        m_trap.count = 0;
        lower(PRV_S, load, TEST_VA + 0x2000, 0);
        CHECK_EQ(m_trap.count, !cases[i].s_load);
        CHECK(!m_trap.count || m_trap.cause == 13);
        m_trap.count = 0;
        lower(PRV_S, store, TEST_VA + 0x2000, 0);
        CHECK_EQ(m_trap.count, !cases[i].s_store);
        CHECK(!m_trap.count || m_trap.cause == 15);
        m_trap.count = 0;
        lower(PRV_U, load, TEST_VA + 0x2000, 0);
        CHECK_EQ(m_trap.count, !cases[i].u_load);
        m_trap.count = 0;
        lower(PRV_U, store, TEST_VA + 0x2000, 0);
        CHECK_EQ(m_trap.count, !cases[i].u_store);
        m_trap.count = 0;
        mprv_load(PRV_S, TEST_VA + 0x2000, 0);
        CHECK_EQ(m_trap.count, !cases[i].s_load);
    }
    /* SUM and MXR. */
    set_leaf(2, pte_of(page[2], V | R | W | U | A | D));
    EXPECT_NONE(lower(PRV_S, load, TEST_VA + 0x2000, SUM));
    EXPECT_NONE(lower(PRV_S, store, TEST_VA + 0x2000, SUM));
    EXPECT_NONE(mprv_load(PRV_S, TEST_VA + 0x2000, SUM));
    EXPECT_TRAP(13, mprv_load(PRV_S, TEST_VA + 0x2000, 0));
    set_leaf(2, pte_of(page[2], V | X | A | D));
    EXPECT_NONE(lower(PRV_S, load, TEST_VA + 0x2000, MXR));
    EXPECT_TRAP(15, lower(PRV_S, store, TEST_VA + 0x2000, MXR));
    set_leaf(2, pte_of(page[2], V | X | U | A | D));
    EXPECT_NONE(lower(PRV_U, load, TEST_VA + 0x2000, MXR));
    EXPECT_TRAP(13, lower(PRV_U, load, TEST_VA + 0x2000, 0));
}

static void test_execution(void)
{
    uint64_t va = TEST_VA + 0x3000;
    code_page[0] = 0x02a00513; /* li a0, 42 */
    code_page[1] = 0x00008067;
    insn("fence.i");
    set_leaf(3, pte_of(code_page, V | R | X | A));
    EXPECT_NONE(CHECK_EQ(lower(PRV_S, (void *)va, 0, 0), 42));
    EXPECT_TRAP(12, lower(PRV_U, (void *)va, 0, 0));
    CHECK_EQ(m_trap.epc, va);
    CHECK_EQ(m_trap.tval, va);
    set_leaf(3, pte_of(code_page, V | R | X | U | A));
    EXPECT_NONE(CHECK_EQ(lower(PRV_U, (void *)va, 0, 0), 42));
    EXPECT_TRAP(12, lower(PRV_S, (void *)va, 0, 0));
    EXPECT_TRAP(12, lower(PRV_S, (void *)va, 0, SUM)); /* SUM is for data only */
    set_leaf(3, pte_of(code_page, V | R | W | A | D));
    EXPECT_TRAP(12, lower(PRV_S, (void *)va, 0, 0));
    set_leaf(3, pte_of(code_page, V | X | A));
    EXPECT_NONE(CHECK_EQ(lower(PRV_S, (void *)va, 0, 0), 42));
    /* An instruction of which the second half lies in a missing page. */
    uint16_t *half = (uint16_t *)(void *)code_page;
    half[2047] = 0x0513;
    set_leaf(4, 0);
    EXPECT_TRAP(12, lower(PRV_S, (void *)(va + 4094), 0, 0));
    CHECK_EQ(m_trap.epc, va + 4094);
    CHECK_EQ(m_trap.tval, va + 4096);
}

/* What lies behind the page's end decides what the instruction there is: with several pages in turn, one of which
 * changes, the page itself among them, and none in between. */
static void test_crossing(void)
{
    enum { PAGES = 6, CHANGED = 3 };
    uint64_t end = TEST_VA + 0x3000 + 4094;
    uint16_t *half = (uint16_t *)(void *)code_page;
    uint32_t first = code_page[0];
    half[2047] = 0x0513; /* li a0, what the next half says */
    set_leaf(3, pte_of(code_page, V | R | X | A));
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < PAGES; i++) {
            uint16_t *behind = i + 1 < PAGES ? (uint16_t *)(void *)page[i] : half;
            uint64_t n = 100 * i + (i == CHANGED ? round : 0);
            behind[0] = (uint16_t)(n << 4);
            behind[1] = 0x8082; /* c.ret */
            insn("fence.i");
            set_leaf(4, pte_of(behind, V | R | X | A));
            EXPECT_NONE(CHECK_EQ(lower(PRV_S, (void *)end, 0, 0), n));
            EXPECT_NONE(CHECK_EQ(lower(PRV_S, (void *)end, 0, 0), n));
            if (i % 4 == 1) {
                set_leaf(4, 0);
                EXPECT_TRAP(12, lower(PRV_S, (void *)end, 0, 0));
                CHECK_EQ(m_trap.epc, end);
                CHECK_EQ(m_trap.tval, end + 2);
            }
        }
    }
    code_page[0] = first;
    insn("fence.i");
}

static void test_accessed_dirty(void)
{
    csr_write("0x30a", 0);
    set_leaf(5, pte_of(page[5], V | R | W | D));
    EXPECT_TRAP(13, lower(PRV_S, load, TEST_VA + 0x5000, 0));
    set_leaf(5, pte_of(page[5], V | R | W | A));
    EXPECT_NONE(lower(PRV_S, load, TEST_VA + 0x5000, 0));
    EXPECT_TRAP(15, lower(PRV_S, store, TEST_VA + 0x5000, 0));
    EXPECT_TRAP(15, lower(PRV_S, amo, TEST_VA + 0x5000, 0));
    csr_write("0x30a", ADUE);
    flush();
    set_leaf(5, pte_of(page[5], V | R | W));
    EXPECT_NONE(lower(PRV_S, load, TEST_VA + 0x5000, 0));
    CHECK_EQ(table[0][5] & (A | D), A);
    EXPECT_NONE(lower(PRV_S, store, TEST_VA + 0x5000, 0));
    CHECK_EQ(table[0][5] & (A | D), A | D);
    set_leaf(5, pte_of(page[5], V | R));
    EXPECT_TRAP(15, lower(PRV_S, store, TEST_VA + 0x5000, 0)); /* no right: no bit set */
    CHECK_EQ(table[0][5] & (A | D), 0);
    set_leaf(5, pte_of(code_page, V | X));
    EXPECT_NONE(CHECK_EQ(lower(PRV_S, (void *)(TEST_VA + 0x5000), 0, 0), 42));
    CHECK_EQ(table[0][5] & (A | D), A);
    csr_write("0x30a", 0);
    flush();
}

/* Leaves at each level, aligned and not. */
static void test_superpages(void)
{
    for (unsigned level = 1; level < levels; level++) {
        uint64_t va = 1ull << (12 + 9 * level), size = va, slot = 1;
        if (level == 2) { /* slots 0, 2 and 3 are in use */
            va = 5ull << 30;
            slot = 5;
        }
        uint64_t base = ram_base & ~(size - 1), *t = level == 1 ? table[1] : table[level];
        if (level == 1) {
            va += TEST_VA;
        }
        t[slot] = pte_of((void *)base, RWX);
        flush();
        uint64_t at = va + ((uint64_t)page[3] & (size - 1));
        EXPECT_NONE(CHECK_EQ(lower(PRV_S, load, at, 0), 0x1003));
        t[slot] |= 1ull << 10; /* misaligned */
        flush();
        EXPECT_TRAP(13, lower(PRV_S, load, at, 0));
        t[slot] = 0;
        flush();
    }
    /* A pointer with A, D or U set is reserved. */
    for (uint64_t bit = U; bit <= D; bit <<= 1) {
        if (bit != G) {
            table[1][0] = pte_of(table[0], V | bit);
            flush();
            EXPECT_TRAP(13, lower(PRV_S, load, TEST_VA, 0));
        }
    }
    table[1][0] = pte_of((void *)0x18000, V); /* no memory there */
    flush();
    EXPECT_TRAP(5, lower(PRV_S, load, TEST_VA, 0));
    EXPECT_TRAP(7, lower(PRV_S, store, TEST_VA, 0));
    EXPECT_TRAP(1, lower(PRV_S, (void *)TEST_VA, 0, 0));
    table[1][0] = pte_of(table[0], V);
    flush();
    /* Not the sign extension of what is translated. */
    EXPECT_TRAP(13, lower(PRV_S, load, 1ull << 62, 0));
    EXPECT_TRAP(13, lower(PRV_S, load, TEST_VA | 1ull << (12 + 9 * levels), 0));
    EXPECT_TRAP(15, lower(PRV_S, store, 1ull << 63, 0));
    EXPECT_TRAP(12, lower(PRV_S, (void *)(TEST_VA | 1ull << 60), 0, 0));
}

static void test_napot_pbmt(void)
{
    uint64_t napot = 1ull << 63, first = (uint64_t)page >> 12 | 8;
    for (unsigned i = 0; i < 16; i++) {
        table[0][16 + i] = first << 10 | RWX | napot;
    }
    flush();
    for (unsigned i = 0; i < 16; i++) {
        EXPECT_NONE(CHECK_EQ(lower(PRV_S, load, TEST_VA + (16 + i) * 4096, 0), 0x1000 + i));
    }
    for (unsigned i = 0; i < 16; i++) {
        table[0][16 + i] = ((first & ~15ull) | 4) << 10 | RWX | napot; /* a size that is reserved */
    }
    flush();
    EXPECT_TRAP(13, lower(PRV_S, load, TEST_VA + 16 * 4096, 0));
    set_leaf(16, pte_of(page[1], RWX | 1ull << 61)); /* PBMT = NC while it is off: reserved */
    EXPECT_TRAP(13, lower(PRV_S, load, TEST_VA + 16 * 4096, 0));
    csr_write("0x30a", PBMTE);
    flush();
    EXPECT_NONE(CHECK_EQ(lower(PRV_S, load, TEST_VA + 16 * 4096, 0), 0x1001));
    set_leaf(16, pte_of(page[1], RWX | 3ull << 61));
    EXPECT_TRAP(13, lower(PRV_S, load, TEST_VA + 16 * 4096, 0));
    csr_write("0x30a", 0);
    flush();
}

static uint64_t reload_after(uint64_t how)
{
    uint64_t before = load(TEST_VA + 0x9000);
    table[0][9] = pte_of(page[8], RWX);
    switch (how) {
    case 0:
        insn("sfence.vma");
        break;
    case 1:
        __asm__ volatile("sfence.vma %0, x0" ::"r"(TEST_VA + 0x9000) : "memory");
        break;
    case 2:
        __asm__ volatile("sfence.vma x0, %0" ::"r"(0ul) : "memory");
        break;
    case 3:
        __asm__ volatile("sfence.vma %0, %1" ::"r"(TEST_VA + 0x9008), "r"(0ul) : "memory");
        break;
    default: { /* sfence.w.inval; sinval.vma a0, x0; sfence.inval.ir */
        register uint64_t a0 __asm__("a0") = TEST_VA + 0x9000;
        __asm__ volatile(".4byte 0x18000073\n .4byte 0x16050073\n .4byte 0x18100073" ::"r"(a0) : "memory");
        break;
    }
    }
    return before << 32 | load(TEST_VA + 0x9000);
}

static void test_fences(void)
{
    for (unsigned how = 0; how < 5; how++) {
        set_leaf(9, pte_of(page[9], RWX));
        EXPECT_NONE(CHECK_EQ(lower(PRV_S, reload_after, how, 0), 0x100900001008));
    }
    /* Two address spaces by ASID, with and without going back and forth. */
    uint64_t a = csr_read("satp") | 1ull << 44;
    memcpy(other_table, table[levels - 1], sizeof(other_table));
    uint64_t b = (csr_read("satp") >> 60) << 60 | 2ull << 44 | (uint64_t)other_table >> 12;
    unsigned slot = levels == 3 ? TEST_VA >> 30 : 0;
    for (unsigned i = 0; i < 8; i++) {
        csr_write("satp", a);
        EXPECT_NONE(CHECK_EQ(lower(PRV_S, load, TEST_VA + 0x6000, 0), 0x1006));
        if (levels == 3) {
            other_table[slot] = 0;
            csr_write("satp", b);
            if (i == 0) {
                flush();
            }
            EXPECT_TRAP(13, lower(PRV_S, load, TEST_VA + 0x6000, 0));
        }
    }
    csr_write("satp", a & ~(0xffffull << 44));
    flush();
}

void test_paging(void)
{
    for (unsigned n = 3; n <= 5; n++) {
        make_tables(n);
        CHECK_EQ(csr_read("satp") >> 60, n + 5);
        test_basic();
        make_tables(n);
        test_permissions();
        test_execution();
        test_accessed_dirty();
        test_superpages();
        make_tables(n);
        test_napot_pbmt();
        test_fences();
        make_tables(n);
        test_crossing();
        csr_write("satp", 0);
        flush();
    }
}
