/* Interrupts: enabling, delegation, order, vectors, wfi; timers (ACLINT, Sstc); counters. */
#include "priv.h"

#define MSIP (*(volatile uint32_t *)0x2000000)
#define MTIMECMP (*(volatile uint64_t *)0x2004000)
#define MTIME (*(volatile uint64_t *)0x200bff8)
#define STCE (1ull << 63)
#define ALL 0xaaaull

/* Gives a line that another part of the machine drives time to arrive: a minute, for a host that is short of it. */
static void settle(uint64_t mask, uint64_t want)
{
    uint64_t begin = csr_read("time");
    while ((csr_read("mip") & mask) != want && csr_read("time") - begin < 600000000) {
    }
    CHECK_EQ(csr_read("mip") & mask, want);
}

static void raise_all(void)
{
    csr_write("0x30a", 0);
    MSIP = 1;
    MTIMECMP = 0;
    csr_set("mip", 0x222); /* SSIP, STIP, and the software half of SEIP */
    settle(0x2aa, 0x2aa);
}

static void clear_all(void)
{
    MSIP = 0;
    MTIMECMP = ~0ull;
    csr_clear("mip", 0x222);
    settle(ALL, 0);
}

static uint64_t spin(uint64_t n)
{
    for (volatile uint64_t i = 0; i < n; i++) {
    }
    return n;
}

static void test_order(void)
{
    /* MEI first, but nothing here drives it: MSI, MTI, then SEI, SSI, STI. */
    static const uint8_t order[] = {3, 7, 9, 1, 5};
    uint64_t enabled = ALL;
    raise_all();
    for (unsigned i = 0; i < sizeof(order); i++) {
        m_trap.count = 0;
        csr_write("mie", enabled);
        CHECK_EQ(m_trap.count, 0); /* MIE is off */
        csr_set("mstatus", MIE);
        csr_clear("mstatus", MIE);
        CHECK_EQ(m_trap.count, 1);
        CHECK_EQ(m_trap.cause, 1ull << 63 | order[i]);
        CHECK_EQ(m_trap.tval, 0);
        CHECK_EQ(m_trap.status & MPIE, MPIE);
        enabled &= ~(1ull << order[i]);
    }
    /* From a lower mode M's interrupts are taken whatever MIE says. */
    m_trap.count = 0;
    csr_write("mie", ALL);
    lower(PRV_S, spin, 10, 0);
    CHECK_EQ(m_trap.count, 1);
    CHECK_EQ(m_trap.cause, 1ull << 63 | 3);
    m_trap.count = 0;
    csr_write("mie", ALL);
    lower(PRV_U, spin, 10, 0);
    CHECK_EQ(m_trap.count, 1);
    clear_all();
}

static void test_delegated(void)
{
    static const uint8_t lines[] = {9, 1, 5};
    raise_all();
    csr_write("mideleg", 0x222);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t bit = 1ull << lines[i];
        s_trap.count = m_trap.count = 0;
        csr_write("mie", bit);
        csr_set("mstatus", MIE | SIE);
        csr_clear("mstatus", MIE | SIE);
        CHECK_EQ(s_trap.count + m_trap.count, 0); /* not in M mode */
        lower(PRV_S, spin, 10, 0);
        CHECK_EQ(s_trap.count, 0); /* not in S mode with SIE off */
        lower(PRV_S, spin, 10, SIE);
        CHECK_EQ(s_trap.count, 1);
        CHECK_EQ(s_trap.cause, 1ull << 63 | lines[i]);
        csr_set("mip", 2);
        csr_write("mie", bit);
        lower(PRV_U, spin, 10, 0);
        CHECK_EQ(s_trap.count, 2);
        CHECK_EQ(m_trap.count, 0);
        csr_set("mip", 2);
    }
    /* The more important of those enabled, by S mode's order. */
    s_trap.count = 0;
    csr_write("mie", 0x222);
    lower(PRV_U, spin, 10, 0);
    CHECK_EQ(s_trap.cause, 1ull << 63 | 9);
    csr_write("mideleg", 0);
    clear_all();
}

static void test_vectors(void)
{
    static const uint8_t lines[] = {3, 7, 9, 1, 5};
    csr_write("mtvec", (uint64_t)vector_table | 1);
    raise_all();
    for (unsigned i = 0; i < sizeof(lines); i++) {
        csr_write("sepc", 0);
        m_trap.count = 0;
        csr_write("mie", 1ull << lines[i]);
        csr_set("mstatus", MIE);
        csr_clear("mstatus", MIE);
        CHECK_EQ(m_trap.count, 1);
        CHECK_EQ(csr_read("sepc"), 4 * lines[i]);
    }
    EXPECT_TRAP(3, insn("ebreak")); /* exceptions go to the base */
    CHECK_EQ(csr_read("sepc"), 0);
    csr_write("mtvec", trap_entry);
    clear_all();
}

static uint64_t read_stimecmp(uint64_t unused)
{
    return csr_read("0x14d");
}

static uint64_t write_stimecmp(uint64_t value)
{
    csr_write("0x14d", value);
    return csr_read("sip");
}

static void test_sstc(void)
{
    csr_write("mcounteren", ~0ull);
    csr_write("0x30a", 0);
    EXPECT_TRAP(2, lower(PRV_S, read_stimecmp, 0, 0));
    csr_write("0x30a", STCE);
    csr_write("0x14d", ~0ull);
    EXPECT_NONE(lower(PRV_S, read_stimecmp, 0, 0));
    csr_write("mcounteren", 0);
    EXPECT_TRAP(2, lower(PRV_S, read_stimecmp, 0, 0));
    csr_write("mcounteren", ~0ull);
    csr_write("mideleg", 0x20);
    CHECK_EQ(lower(PRV_S, write_stimecmp, 0, 0) & 0x20, 0x20);
    csr_clear("mip", 0x20); /* stimecmp drives it, nobody else */
    CHECK_EQ(csr_read("mip") & 0x20, 0x20);
    CHECK_EQ(lower(PRV_S, write_stimecmp, ~0ull, 0) & 0x20, 0);
    csr_set("mip", 0x20);
    CHECK_EQ(csr_read("mip") & 0x20, 0);
    /* In a while, while the hart computes, and while it sleeps. */
    s_trap.count = 0;
    csr_write("mie", 0x20);
    uint64_t begin = csr_read("time");
    csr_write("0x14d", begin + 20000);
    while (!s_trap.count) {
        lower(PRV_S, spin, 100, SIE);
        CHECK(csr_read("time") - begin < 600000000);
    }
    CHECK_EQ(s_trap.cause, 1ull << 63 | 5);
    CHECK(csr_read("time") - begin >= 20000);
    begin = csr_read("time"); /* before the deadline: the host may take its time between the two */
    csr_write("0x14d", begin + 20000);
    csr_write("mie", 0x20);
    while (!(csr_read("mip") & 0x20)) {
        insn("wfi"); /* wakes although MIE is off */
    }
    CHECK(csr_read("time") - begin >= 20000);
    csr_write("mie", 0);
    csr_write("0x14d", ~0ull);
    csr_write("mideleg", 0);
    csr_write("0x30a", 0);
}

static void test_aclint(void)
{
    uint64_t a = MTIME, b = csr_read("time"), c = MTIME;
    CHECK(a <= b && b <= c);
    MTIMECMP = MTIME + 600000000; /* far off, however the host takes its time here */
    CHECK_EQ(csr_read("mip") & 0x80, 0);
    MTIMECMP = MTIME + 20000;
    csr_write("mie", 0x80);
    while (!(csr_read("mip") & 0x80)) {
        insn("wfi");
    }
    CHECK(MTIME - a >= 20000);
    MTIMECMP = ~0ull;
    settle(0x80, 0);
    csr_write("mie", 0);
    MSIP = 1;
    settle(8, 8);
    csr_write("mip", 0); /* the controller's bit is read-only */
    CHECK_EQ(csr_read("mip") & 8, 8);
    MSIP = 0;
    settle(8, 0);
}

void test_interrupts(void)
{
    clear_all();
    test_order();
    test_delegated();
    test_vectors();
    test_sstc();
    MSIP = 1;
    csr_write("mie", 8);
    MSIP = 0;
    csr_write("mie", 0);
    test_aclint();
}

/* ---- counters ---- */

static uint64_t read_cycle(uint64_t unused)
{
    return csr_read("cycle");
}

static uint64_t read_time(uint64_t unused)
{
    return csr_read("time");
}

static uint64_t read_instret(uint64_t unused)
{
    return csr_read("instret");
}

void test_counters(void)
{
    static uint64_t (*const readers[])(uint64_t) = {read_cycle, read_time, read_instret};
    uint64_t a, b;
    __asm__ volatile("csrr %0, minstret\n nop\n nop\n nop\n nop\n nop\n csrr %1, minstret" : "=&r"(a), "=&r"(b));
    CHECK_EQ(b - a, 6);
    __asm__ volatile("csrr %0, minstret\n beqz x0, 1f\n nop\n 1: j 2f\n nop\n 2: csrr %1, minstret"
                     : "=&r"(a), "=&r"(b));
    CHECK_EQ(b - a, 3);
    /* An instruction that traps does not retire; the handler's do. */
    csr_write("minstret", 1000);
    a = csr_read("minstret");
    CHECK(a >= 1000 && a < 1004);
    __asm__ volatile("csrw minstret, %1\n csrr %0, minstret" : "=r"(a) : "r"(5000ul));
    CHECK_EQ(a, 5000);
    csr_write("mcountinhibit", 4);
    a = csr_read("minstret");
    spin(100);
    CHECK_EQ(csr_read("minstret"), a);
    csr_write("mcountinhibit", 0);
    spin(10);
    b = csr_read("minstret");
    CHECK(b > a && b < a + 2000);
    for (unsigned i = 0; i < 3; i++) {
        csr_write("mcounteren", ~(1ull << i));
        csr_write("scounteren", ~0ull);
        EXPECT_TRAP(2, lower(PRV_S, readers[i], 0, 0));
        EXPECT_TRAP(2, lower(PRV_U, readers[i], 0, 0));
        csr_write("mcounteren", 1ull << i);
        EXPECT_NONE(lower(PRV_S, readers[i], 0, 0));
        EXPECT_NONE(lower(PRV_U, readers[i], 0, 0));
        csr_write("scounteren", ~(1ull << i));
        EXPECT_NONE(lower(PRV_S, readers[i], 0, 0));
        EXPECT_TRAP(2, lower(PRV_U, readers[i], 0, 0));
    }
    a = csr_read("time");
    while (csr_read("time") - a < 1000) {
    }
}
