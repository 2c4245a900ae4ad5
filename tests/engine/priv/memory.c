/* Physical memory protection, and code that changes. */
#include "priv.h"

static uint64_t area[1024] __attribute__((aligned(8192)));

static uint64_t load(uint64_t a)
{
    return *(volatile uint64_t *)a;
}

static uint64_t load_byte(uint64_t a)
{
    return *(volatile uint8_t *)a;
}

static uint64_t store(uint64_t a)
{
    *(volatile uint64_t *)a = 0x1122334455667788;
    return 0;
}

static uint64_t store_byte(uint64_t a)
{
    *(volatile uint8_t *)a = 1;
    return 0;
}

static void entry0(uint64_t addr, uint64_t cfg)
{
    csr_write("pmpaddr0", addr >> 2);
    csr_op(PRV_M, 0x3a0, OP_RW, cfg);
}

static void test_pmp_kinds(unsigned priv)
{
    uint64_t a = (uint64_t)area;
    /* NAPOT, 64 bytes, nothing allowed, at +64. */
    csr_write("pmpaddr0", (a + 64) >> 2 | 7);
    csr_write("pmpcfg0", 0x18);
    EXPECT_NONE(lower(priv, load, a, 0));
    EXPECT_TRAP(5, lower(priv, load, a + 64, 0));
    CHECK_EQ(m_trap.tval, a + 64);
    EXPECT_TRAP(7, lower(priv, store, a + 120, 0));
    EXPECT_NONE(lower(priv, load, a + 128, 0));
    EXPECT_NONE(lower(priv, store, a + 56, 0));
    /* An access that lies across the border. */
    EXPECT_TRAP(5, lower(priv, load, a + 60, 0));
    EXPECT_TRAP(7, lower(priv, store, a + 124, 0));
    CHECK_EQ(area[16], 0);     /* nothing of it was done */
    EXPECT_NONE(load(a + 64)); /* M mode is not bound */
    /* Read-only, then execute-only. */
    csr_write("pmpcfg0", 0x19);
    EXPECT_NONE(lower(priv, load, a + 64, 0));
    EXPECT_TRAP(7, lower(priv, store, a + 64, 0));
    csr_write("pmpcfg0", 0x1c);
    EXPECT_TRAP(5, lower(priv, load, a + 64, 0));
    csr_write("pmpcfg0", 0x1a); /* W without R is reserved: not taken */
    CHECK((csr_read("pmpcfg0") & 3) != 2);
    /* NA4. */
    csr_write("pmpaddr0", (a + 4) >> 2);
    csr_write("pmpcfg0", 0x10);
    EXPECT_NONE(lower(priv, load_byte, a + 3, 0));
    EXPECT_TRAP(5, lower(priv, load_byte, a + 4, 0));
    EXPECT_TRAP(7, lower(priv, store_byte, a + 7, 0));
    EXPECT_NONE(lower(priv, load_byte, a + 8, 0));
    EXPECT_TRAP(5, lower(priv, load, a, 0));
    /* TOR: from entry 0's address up to entry 1's. */
    csr_write("pmpaddr0", (a + 4096 - 16) >> 2);
    csr_write("pmpaddr1", (a + 4096 + 32) >> 2);
    csr_write("pmpcfg0", 0x0900); /* entry 1: TOR, R */
    EXPECT_NONE(lower(priv, store, a + 4096 - 24, 0));
    EXPECT_TRAP(7, lower(priv, store, a + 4096 - 16, 0));
    EXPECT_NONE(lower(priv, load, a + 4096 - 4, 0)); /* over a page's end, all in the entry */
    EXPECT_TRAP(7, lower(priv, store_byte, a + 4096 + 31, 0));
    EXPECT_NONE(lower(priv, store_byte, a + 4096 + 32, 0));
    csr_write("pmpcfg0", 0);
    EXPECT_NONE(lower(priv, store, a + 4096, 0));
    area[16] = area[512] = 0;
    memset(area, 0, sizeof(area));
}

static void test_pmp_rules(void)
{
    uint64_t a = (uint64_t)area, code = (uint64_t)one_return;
    /* The entry of the lowest number decides. */
    csr_write("pmpaddr0", a >> 2 | 7);
    csr_write("pmpaddr1", a >> 2 | 7);
    csr_write("pmpcfg0", 0x181f);
    EXPECT_NONE(lower(PRV_S, load, a, 0));
    csr_write("pmpcfg0", 0x1f18);
    EXPECT_TRAP(5, lower(PRV_S, load, a, 0));
    /* Execution. */
    csr_write("pmpaddr0", code >> 2);
    csr_write("pmpcfg0", 0x13); /* NA4, RW */
    EXPECT_TRAP(1, lower(PRV_S, one_return, 0, 0));
    CHECK_EQ(m_trap.epc, code);
    csr_write("pmpcfg0", 0x17);
    EXPECT_NONE(lower(PRV_S, one_return, 0, 0));
    csr_write("pmpcfg0", 0);
    /* MPRV: M mode's data accesses as if from S. */
    entry0(a, 0x10);
    csr_clear("mstatus", MPP);
    csr_set("mstatus", 1ull << 11);
    m_trap.count = 0;
    csr_set("mstatus", MPRV);
    load_byte(a);
    csr_clear("mstatus", MPRV);
    CHECK_EQ(m_trap.count, 1);
    CHECK_EQ(m_trap.cause, 5);
    /* No entry matches: S and U may nothing, M may all. */
    csr_write("pmpcfg0", 0);
    csr_write("pmpcfg2", 0);
    back_to_m = true; /* not even the way back may be fetched */
    EXPECT_TRAP(1, lower(PRV_S, one_return, 0, 0));
    EXPECT_NONE(load(a));
    csr_write("pmpcfg2", 0x1full << 56);
    /* A locked entry binds M mode, and stays. */
    static uint64_t word[2];
    uint64_t locked = (uint64_t)word;
    csr_write("pmpaddr7", locked >> 2);
    csr_write("pmpcfg0", 0x91ull << 56); /* L, NA4, R */
    EXPECT_NONE(load_byte(locked));
    EXPECT_TRAP(7, store_byte(locked));
    csr_write("pmpcfg0", 0);
    csr_write("pmpaddr7", 0);
    CHECK_EQ(csr_read("pmpcfg0") >> 56, 0x91);
    CHECK_EQ(csr_read("pmpaddr7"), locked >> 2);
    EXPECT_TRAP(7, store_byte(locked));
}

void test_pmp(void)
{
    csr_write("pmpcfg0", 0);
    test_pmp_kinds(PRV_S);
    test_pmp_kinds(PRV_U);
    test_pmp_rules();
}

/* ---- code that changes ---- */

static uint32_t code_here[1024] __attribute__((aligned(4096))), code_there[1024] __attribute__((aligned(4096)));
static volatile uint32_t round_asked, round_done;
static volatile uint64_t there_result;
enum { ROUNDS = 500 };

static uint32_t li_a0(uint32_t value)
{
    return value << 20 | 10u << 7 | 0x13;
}

static uint64_t call(uint32_t *code)
{
    return ((uint64_t(*)(uint64_t))(uintptr_t)code)(0);
}

/* Thousands of instructions in straight line, most of which do nothing: each counts, and a trap among them is precise.
 */
static void test_long_run(void)
{
    enum { LENGTH = 4000, EVERY = 250, TRAP_AT = 1234 };
    static const uint16_t nothing[] = {0x0001, 0x8296, 0x839e}; /* c.nop, c.mv t0,t0, c.mv t2,t2 */
    static uint16_t run[LENGTH + 1] __attribute__((aligned(4096)));
    uint64_t (*fn)(uint64_t) = (uint64_t(*)(uint64_t))(uintptr_t)run;
    uint64_t counts[2];
    for (unsigned n = 0; n < 2; n++) {
        unsigned length = n ? LENGTH : 0;
        for (unsigned i = 0; i < length; i++) {
            run[i] = i % EVERY == 0 ? 0x0505 : nothing[i % 3]; /* c.addi a0,1 */
        }
        run[length] = 0x8082; /* c.ret */
        insn("fence.i");
        CHECK_EQ(fn(5), 5 + length / EVERY);
        uint64_t before = csr_read("minstret");
        fn(0);
        counts[n] = csr_read("minstret") - before;
    }
    CHECK_EQ(counts[1] - counts[0], LENGTH);
    run[TRAP_AT] = 0; /* not an instruction */
    insn("fence.i");
    EXPECT_TRAP(2, CHECK_EQ(fn(5), 5 + LENGTH / EVERY));
    CHECK_EQ(m_trap.epc, &run[TRAP_AT]);
}

/* Before test_code_changes has begun there is nothing to do: the counters are zero. */
void serve_code_changes(void)
{
    for (uint32_t n = 1; n <= ROUNDS; n++) {
        while (__atomic_load_n(&round_asked, __ATOMIC_ACQUIRE) != n) {
        }
        insn("fence.i");
        there_result = call(code_there);
        __atomic_store_n(&round_done, n, __ATOMIC_RELEASE);
    }
}

void test_code_changes(void)
{
    test_long_run();
    /* Local: the same place, a place in another page's flow, and in the middle of a loop that runs. */
    for (uint32_t n = 0; n < ROUNDS; n++) {
        code_here[n % 7] = 0x13;
        for (unsigned i = 0; i < 8; i++) {
            code_here[i] = 0x13; /* nop */
        }
        code_here[n % 7] = li_a0(n & 2047);
        code_here[8] = 0x00008067;
        insn("fence.i");
        CHECK_EQ(call(code_here), n & 2047);
        CHECK_EQ(call(code_here), n & 2047);
    }
    /* Over a page's end: the last halfword of one page and the first of the next. */
    uint16_t *half = (uint16_t *)(void *)code_here;
    (void)half;
    static uint16_t across[4096] __attribute__((aligned(4096)));
    for (uint32_t n = 1; n < 200; n++) {
        across[2047] = (uint16_t)li_a0(n);
        across[2048] = (uint16_t)(li_a0(n) >> 16);
        across[2049] = 0x8082; /* c.ret */
        insn("fence.i");
        CHECK_EQ(((uint64_t(*)(uint64_t))(uintptr_t)&across[2047])(0), n);
        across[2048] = (uint16_t)(li_a0(n + 1) >> 16); /* only the second half */
        insn("fence.i");
        CHECK_EQ(((uint64_t(*)(uint64_t))(uintptr_t)&across[2047])(0), n + 1);
    }
    /* Remote: this hart writes, the other one fences and runs it. */
    __atomic_store_n(&bare_go, 1, __ATOMIC_RELEASE);
    code_there[1] = 0x00008067;
    for (uint32_t n = 1; n <= ROUNDS; n++) {
        code_there[0] = li_a0(n & 2047);
        __atomic_store_n(&round_asked, n, __ATOMIC_RELEASE);
        while (__atomic_load_n(&round_done, __ATOMIC_ACQUIRE) != n) {
        }
        CHECK_EQ(there_result, n & 2047);
    }
}

/* ---- cache blocks, hints ---- */

static uint64_t block_op(uint64_t which)
{
    register uint64_t a0 __asm__("a0") = (uint64_t)area + 64 + 5;
    switch (which) {
    case 0:
        __asm__ volatile(".4byte 0x0005200f" ::"r"(a0) : "memory"); /* cbo.inval (a0) */
        break;
    case 1:
        __asm__ volatile(".4byte 0x0015200f" ::"r"(a0) : "memory"); /* cbo.clean */
        break;
    case 2:
        __asm__ volatile(".4byte 0x0025200f" ::"r"(a0) : "memory"); /* cbo.flush */
        break;
    default:
        __asm__ volatile(".4byte 0x0045200f" ::"r"(a0) : "memory"); /* cbo.zero */
        break;
    }
    return 0;
}

void test_cache_blocks(void)
{
    static const uint64_t gate[4] = {0x30, 0x40, 0x40, 0x80};
    uint64_t value = 1;
    for (unsigned which = 0; which < 4; which++) {
        csr_write("0x30a", 0);
        csr_write("0x10a", 0);
        EXPECT_NONE(block_op(which));
        EXPECT_TRAP(2, lower(PRV_S, block_op, which, 0));
        EXPECT_TRAP(2, lower(PRV_U, block_op, which, 0));
        csr_write("0x30a", gate[which]);
        EXPECT_NONE(lower(PRV_S, block_op, which, 0));
        EXPECT_TRAP(2, lower(PRV_U, block_op, which, 0));
        csr_write("0x10a", gate[which]);
        EXPECT_NONE(lower(PRV_U, block_op, which, 0));
    }
    for (unsigned i = 0; i < 32; i++) {
        area[i] = ~0ull;
    }
    block_op(3);
    for (unsigned i = 0; i < 32; i++) {
        CHECK_EQ(area[i], i >= 8 && i < 16 ? 0 : ~0ull);
    }
    memset(area, 0, sizeof(area));
    csr_write("0x30a", 0);
    csr_write("0x10a", 0);
    EXPECT_NONE(insn(".4byte 0x0100000f")); /* pause */
    EXPECT_NONE(insn(".4byte 0x00d00073")); /* wrs.nto: no reservation, goes on at once */
    EXPECT_NONE(insn(".4byte 0x01d00073")); /* wrs.sto */
    __asm__ volatile("lr.w t0, (%0)\n .4byte 0x01d00073" ::"r"(&value) : "t0", "memory");
    CHECK_EQ(m_trap.count, 0);
}
