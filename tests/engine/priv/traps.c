/* Exceptions: causes, values, delegation, returns. */
#include "priv.h"

static uint64_t do_ecall(uint64_t a)
{
    insn("li a7, 0; ecall");
    return a + 1;
}

static uint64_t do_insn(uint64_t which)
{
    switch (which) {
    case 0:
        insn(".option push; .option norvc; ebreak; .option pop");
        break;
    case 1:
        insn(".4byte 0xffffffff");
        break;
    case 2:
        insn("mret");
        break;
    case 3:
        insn("sret");
        break;
    case 4:
        insn("wfi");
        break;
    case 5:
        insn("sfence.vma");
        break;
    case 6:
        (void)csr_read("satp");
        break;
    case 7:
        insn(".4byte 0x16000073"); /* sinval.vma x0, x0 */
        break;
    case 8:
        insn(".4byte 0x18000073"); /* sfence.w.inval */
        break;
    case 9:
        insn(".4byte 0x18100073"); /* sfence.inval.ir */
        break;
    default:
        break;
    }
    return which;
}

static void test_causes(void)
{
    EXPECT_TRAP(11, insn("ecall"));
    CHECK_EQ(m_trap.tval, 0);
    CHECK_EQ(m_trap.status & MPP, MPP);
    EXPECT_TRAP(9, CHECK_EQ(lower(PRV_S, do_ecall, 41, 0), 42));
    CHECK_EQ(m_trap.status & MPP, 1ull << 11);
    EXPECT_TRAP(8, CHECK_EQ(lower(PRV_U, do_ecall, 41, 0), 42));
    CHECK_EQ(m_trap.status & MPP, 0);
    EXPECT_TRAP(3, insn("ebreak"));
    EXPECT_TRAP(3, insn("c.ebreak"));
    EXPECT_TRAP(2, insn(".4byte 0xffffffff"));
    CHECK_EQ(m_trap.tval, 0xffffffff);
    EXPECT_TRAP(2, insn(".2byte 0x0000"));
    CHECK_EQ(m_trap.tval, 0);
    EXPECT_TRAP(2, insn(".2byte 0x9c41")); /* reserved compressed */
    CHECK_EQ(m_trap.tval, 0x9c41);
    EXPECT_TRAP(2, insn(".4byte 0x7c002573")); /* csrr of a CSR that is not there */
    CHECK_EQ(m_trap.tval, 0x7c002573);
}

/* Registers before and after a fault in the middle of straight code. */
static void test_precise(void)
{
    uint64_t before, after, base = 0x18000, got = 77, label;
    m_trap.count = 0;
    __asm__ volatile("li %0, 5\n addi %0, %0, 6\n li %1, 1\n"
                     "la %3, 1f\n"
                     "addi %0, %0, 100\n"
                     "1: ld %2, 0(%4)\n"
                     "addi %1, %1, 1\n addi %0, %0, 1\n"
                     : "=&r"(before), "=&r"(after), "+r"(got), "=&r"(label)
                     : "r"(base));
    CHECK_EQ(m_trap.count, 1);
    CHECK_EQ(m_trap.cause, 5);
    CHECK_EQ(m_trap.epc, label);
    CHECK_EQ(m_trap.tval, 0x18000);
    CHECK_EQ(before, 112);
    CHECK_EQ(after, 2);
    CHECK_EQ(got, 77);
}

static void test_access(void)
{
    volatile uint8_t *nothing = (volatile uint8_t *)0x18003;
    static uint64_t word[4] __attribute__((aligned(16)));
    uint64_t r = 5;
    EXPECT_TRAP(5, (void)*nothing);
    CHECK_EQ(m_trap.tval, 0x18003);
    EXPECT_TRAP(7, *nothing = 1);
    CHECK_EQ(m_trap.tval, 0x18003);
    EXPECT_TRAP(7, __asm__ volatile("amoadd.w %0, %0, (%1)" : "+r"(r) : "r"(0x18000)));
    EXPECT_TRAP(5, __asm__ volatile("lr.w %0, (%1)" : "=r"(r) : "r"(0x18000)));
    EXPECT_TRAP(1, ((void (*)(void))0x18000ul)());
    CHECK_EQ(m_trap.epc, 0x18000);
    CHECK_EQ(m_trap.tval, 0x18000);
    /* AMOs, LR and SC ask for alignment, loads and stores do not. */
    char *odd = (char *)word + 2;
    EXPECT_TRAP(6, __asm__ volatile("amoswap.w %0, %0, (%1)" : "+r"(r) : "r"(odd) : "memory"));
    CHECK_EQ(m_trap.tval, (uint64_t)odd);
    EXPECT_TRAP(6, __asm__ volatile("amoswap.d %0, %0, (%1)" : "+r"(r) : "r"((char *)word + 4) : "memory"));
    EXPECT_TRAP(4, __asm__ volatile("lr.w %0, (%1)" : "=r"(r) : "r"(odd) : "memory"));
    EXPECT_TRAP(4, __asm__ volatile("lr.d %0, (%1)" : "=r"(r) : "r"((char *)word + 4) : "memory"));
    EXPECT_NONE(__asm__ volatile("sd %0, 1(%1)\n ld %0, 3(%1)" : "+r"(r) : "r"(word) : "memory"));
    /* A jump clears bit 0. */
    EXPECT_NONE(((void (*)(void))((uintptr_t)one_return | 1))());
}

static void test_delegation(void)
{
    static const struct {
        uint8_t cause, which;
    } cases[] = {{3, 0}, {2, 1}, {2, 2}};
    for (unsigned p = 0; p < 2; p++) {
        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            csr_write("medeleg", 1ul << cases[i].cause);
            s_trap.count = m_trap.count = 0;
            CHECK_EQ(lower(p, do_insn, cases[i].which, SPIE), cases[i].which);
            CHECK_EQ(s_trap.count, 1);
            CHECK_EQ(m_trap.count, 0);
            CHECK_EQ(s_trap.cause, cases[i].cause);
            CHECK_EQ(s_trap.status >> 8 & 1, p);
            csr_write("medeleg", 0);
            EXPECT_TRAP(cases[i].cause, lower(p, do_insn, cases[i].which, 0));
            CHECK_EQ(s_trap.count, 1);
        }
    }
    csr_write("medeleg", 1 << 8);
    s_trap.count = m_trap.count = 0;
    lower(PRV_U, do_ecall, 0, 0);
    CHECK(s_trap.count >= 1 && s_trap.cause == 8);
    /* What is delegated and happens in M mode stays there. */
    csr_write("medeleg", 1 << 3);
    EXPECT_TRAP(3, insn("ebreak"));
    csr_write("medeleg", 0);
}

/* TVM, TW, TSR, and what U mode may not do. */
static void test_gates(void)
{
    EXPECT_TRAP(2, lower(PRV_S, do_insn, 2, 0));
    for (unsigned which = 2; which < 10; which++) {
        if (which != 4) {
            EXPECT_TRAP(2, lower(PRV_U, do_insn, which, 0));
        }
    }
    EXPECT_NONE(lower(PRV_S, do_insn, 5, 0));
    EXPECT_TRAP(2, lower(PRV_S, do_insn, 5, TVM));
    EXPECT_NONE(lower(PRV_S, do_insn, 6, 0));
    EXPECT_TRAP(2, lower(PRV_S, do_insn, 6, TVM));
    EXPECT_NONE(lower(PRV_S, do_insn, 7, 0));
    EXPECT_TRAP(2, lower(PRV_S, do_insn, 7, TVM));
    EXPECT_NONE(lower(PRV_S, do_insn, 8, TVM));
    EXPECT_NONE(lower(PRV_S, do_insn, 9, TVM));
    EXPECT_TRAP(2, lower(PRV_S, do_insn, 4, TW));
    EXPECT_TRAP(2, lower(PRV_S, do_insn, 3, TSR));
}

/* The stack of status bits, and MPRV's end at a return to a lower mode. */
static void test_returns(void)
{
    uint64_t status;
    csr_set("mstatus", MIE | MPP);
    csr_clear("mstatus", MPIE);
    __asm__ volatile("la %0, 1f\n csrw mepc, %0\n mret\n 1: csrr %0, mstatus" : "=&r"(status)::"memory");
    CHECK_EQ(status & (MIE | MPIE | MPP), MPIE); /* MIE = old MPIE; MPP = U, the least */
    csr_set("mstatus", MPP | MPRV | MPIE);
    __asm__ volatile("la %0, 1f\n csrw mepc, %0\n mret\n 1: csrr %0, mstatus" : "=&r"(status)::"memory");
    CHECK_EQ(status & (MIE | MPRV), MIE | MPRV);
    csr_clear("mstatus", MIE | MPRV);
    csr_set("mstatus", MPRV);
    EXPECT_TRAP(8, lower(PRV_U, do_ecall, 0, 0));
    CHECK_EQ(m_trap.status & MPRV, 0);
    /* sret from M: SPP says S; the ecall there is made to come back to M. */
    csr_set("mstatus", SPP | SPIE);
    csr_clear("mstatus", SIE);
    m_trap.count = 0;
    back_to_m = true;
    __asm__ volatile("la t0, 1f\n csrw sepc, t0\n sret\n 1: csrr t0, sstatus\n mv %0, t0\n ecall"
                     : "=r"(status)::"t0", "memory");
    CHECK_EQ(m_trap.count, 1);
    CHECK_EQ(m_trap.cause, 9);
    CHECK_EQ(status & (SIE | SPIE | SPP), SIE | SPIE);
}

void test_traps(void)
{
    test_causes();
    test_precise();
    test_access();
    test_delegation();
    test_gates();
    test_returns();
}
