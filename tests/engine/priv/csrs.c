/* Which CSRs there are, from which mode, and what their bits take (privileged specification, chapters 2, 3 and 12). */
#include "priv.h"

/* Whether the base machine (no AIA) has it. */
static bool exists(unsigned n)
{
    static const uint16_t single[] = {0x001, 0x002, 0x003, 0x100, 0x104, 0x105, 0x106, 0x10a, 0x140, 0x141,
                                      0x142, 0x143, 0x144, 0x14d, 0x180, 0xf11, 0xf12, 0xf13, 0xf14, 0xf15,
                                      0x300, 0x301, 0x302, 0x303, 0x304, 0x305, 0x306, 0x30a, 0x320, 0x340,
                                      0x341, 0x342, 0x343, 0x344, 0x3a0, 0x3a2, 0xb00, 0xb02};
    for (unsigned i = 0; i < sizeof(single) / 2; i++) {
        if (single[i] == n) {
            return true;
        }
    }
    return (n >= 0xc00 && n <= 0xc1f) || (n >= 0x323 && n <= 0x33f) || (n >= 0x3b0 && n <= 0x3bf) ||
           (n >= 0xb03 && n <= 0xb1f) || (n >= 0x7a0 && n <= 0x7a3);
}

static void test_existence(void)
{
    csr_write("mcounteren", ~0ull);
    csr_write("scounteren", ~0ull);
    csr_write("0x30a", 1ull << 63); /* STCE: stimecmp for S */
    for (unsigned n = 0; n < 4096; n++) {
        bool is_m_only = (n >> 8 & 3) == 3, is_s = (n >> 8 & 3) == 1;
        for (unsigned p = 0; p < 4; p++) {
            if (p == 2) {
                continue;
            }
            bool allowed = exists(n) && (p == PRV_M || !is_m_only) && (p != PRV_U || !is_s);
            m_trap.count = 0;
            csr_op(p, n, OP_RS, 0); /* rs1 is a0: this writes zeros, which read-only ones refuse */
            bool read_only = n >> 10 == 3;
            if ((m_trap.count == 0) != (allowed && !read_only)) {
                print("CSR %x in mode %u\n", (uint64_t)n, (uint64_t)p);
            }
            CHECK_EQ(m_trap.count, allowed && !read_only ? 0 : 1);
            CHECK(m_trap.count == 0 || m_trap.cause == 2);
        }
    }
    /* Read-only ones may be read, by csrrs with x0. */
    EXPECT_NONE(csr_read("cycle"));
    EXPECT_NONE(csr_read("time"));
    EXPECT_NONE(csr_read("instret"));
    EXPECT_NONE(csr_read("hpmcounter3"));
    EXPECT_NONE(csr_read("mvendorid"));
    EXPECT_NONE(csr_read("marchid"));
    EXPECT_NONE(csr_read("mimpid"));
    EXPECT_NONE(CHECK_EQ(csr_read("mhartid"), 0));
    EXPECT_NONE(csr_read("0xf15"));
}

/* Writes all ones and all zeros and looks at which bits moved. */
static void check_bits(unsigned n, uint64_t writable, uint64_t fixed_ones)
{
    uint64_t old = csr_op(PRV_M, n, OP_RS, 0);
    csr_op(PRV_M, n, OP_RW, ~0ull);
    uint64_t ones = csr_op(PRV_M, n, OP_RS, 0);
    csr_op(PRV_M, n, OP_RW, 0);
    uint64_t zeros = csr_op(PRV_M, n, OP_RS, 0);
    csr_op(PRV_M, n, OP_RW, old);
    if (ones != (writable | fixed_ones) || zeros != fixed_ones) {
        print("CSR %x: ones %x zeros %x\n", (uint64_t)n, ones, zeros);
    }
    CHECK_EQ(ones, writable | fixed_ones);
    CHECK_EQ(zeros, fixed_ones);
}

static void test_bits(void)
{
    uint64_t sxl = 0xaull << 32; /* SXL and UXL: 64 bits */
    check_bits(0x302, 0xb3ff, 0);
    check_bits(0x303, 0x222, 0);
    check_bits(0x304, 0xaaa, 0);
    check_bits(0x306, 0xffffffff, 0);
    check_bits(0x106, 0xffffffff, 0);
    check_bits(0x340, ~0ull, 0);
    check_bits(0x140, ~0ull, 0);
    check_bits(0x341, ~1ull, 0);
    check_bits(0x141, ~1ull, 0);
    check_bits(0x142, ~0ull, 0);
    check_bits(0x143, ~0ull, 0);
    check_bits(0x343, ~0ull, 0);
    check_bits(0x14d, ~0ull, 0);
    check_bits(0x320, 5, 0);
    check_bits(0x3b3, (1ull << 54) - 1, 0);
    check_bits(0x001, 0x1f, 0);
    check_bits(0x002, 7, 0);
    check_bits(0x003, 0xff, 0);
    csr_write("mstatus", ~0ull & ~(MPRV | MIE | SIE));
    CHECK_EQ(csr_read("mstatus"), (SPIE | MPIE | SPP | MPP | FS | SUM | MXR | TVM | TW | TSR) | sxl | 1ull << 63);
    csr_write("mstatus", FS | 2ull << 11); /* there is no mode 2 */
    CHECK_EQ(csr_read("mstatus") & MPP, MPP);
    csr_write("mstatus", FS);
    CHECK_EQ(csr_read("mstatus"), FS | sxl | 1ull << 63);
    csr_write("sstatus", ~0ull & ~SIE);
    CHECK_EQ(csr_read("sstatus"), SPIE | SPP | FS | SUM | MXR | 2ull << 32 | 1ull << 63);
    CHECK_EQ(csr_read("mstatus") & (TVM | TW | TSR | MPRV | MPP | MPIE), 0);
    csr_write("sstatus", FS);
    CHECK_EQ(csr_read("misa"), 2ull << 62 | 0x14112d);
    csr_write("misa", 0);
    CHECK_EQ(csr_read("misa"), 2ull << 62 | 0x14112d);
    csr_write("mtvec", (uint64_t)vector_table | 1);
    CHECK_EQ(csr_read("mtvec"), (uint64_t)vector_table | 1);
    csr_write("mtvec", (uint64_t)trap_entry | 2); /* a reserved mode */
    CHECK((csr_read("mtvec") & 3) < 2);
    csr_write("mtvec", trap_entry);
    /* sie and sip show what is delegated. */
    csr_write("mie", 0xaaa);
    csr_write("mideleg", 0x020);
    CHECK_EQ(csr_read("sie"), 0x020);
    csr_write("sie", 0);
    CHECK_EQ(csr_read("mie"), 0xa8a);
    csr_write("mie", 0);
    csr_write("mideleg", 0x222);
    csr_write("sip", 0x222);
    CHECK_EQ(csr_read("mip") & 0x222, 2);
    csr_write("sip", 0);
    CHECK_EQ(csr_read("mip") & 0x222, 0);
    csr_write("mideleg", 0);
    csr_write("sip", 2); /* not delegated: not there */
    CHECK_EQ(csr_read("mip") & 2, 0);
    csr_write("satp", 8ull << 60 | 0xffffull << 44 | 0x80000);
    CHECK_EQ(csr_read("satp"), 8ull << 60 | 0xffffull << 44 | 0x80000);
    csr_write("satp", 7ull << 60); /* an unknown mode leaves all as it was */
    CHECK_EQ(csr_read("satp"), 8ull << 60 | 0xffffull << 44 | 0x80000);
    csr_write("satp", 0);
    CHECK_EQ(csr_read("satp"), 0);
}

static void test_float_state(void)
{
    csr_clear("mstatus", FS);
    EXPECT_TRAP(2, insn(".option push; .option arch,+d; fmv.d.x fa0, x0; .option pop"));
    EXPECT_TRAP(2, insn(".option push; .option arch,+d; fld fa0, 0(sp); .option pop"));
    EXPECT_TRAP(2, csr_read("fcsr"));
    EXPECT_TRAP(2, csr_write("frm", 0));
    csr_set("mstatus", 1ull << 13); /* Initial */
    EXPECT_NONE(csr_read("fcsr"));
    CHECK_EQ(csr_read("mstatus") & FS, 1ull << 13);
    EXPECT_NONE(insn(".option push; .option arch,+d; fmv.d.x fa0, x0; .option pop"));
    CHECK_EQ(csr_read("mstatus") & FS, FS);
    CHECK(csr_read("mstatus") >> 63);
    csr_clear("mstatus", 1ull << 13); /* Clean */
    EXPECT_NONE(csr_write("frm", 0));
    CHECK_EQ(csr_read("mstatus") & FS, FS);
    /* A reserved rounding mode traps where it is used, static or dynamic. */
    for (uint64_t rm = 5; rm < 8; rm++) {
        csr_write("frm", rm);
        EXPECT_TRAP(2, insn(".option push; .option arch,+d; fadd.d fa0, fa0, fa0, dyn; .option pop"));
        EXPECT_NONE(insn(".option push; .option arch,+d; fadd.d fa0, fa0, fa0, rtz; .option pop"));
        EXPECT_NONE(insn(".option push; .option arch,+d; fsgnj.d fa0, fa0, fa0; .option pop"));
    }
    csr_write("frm", 0);
    EXPECT_TRAP(2, insn(".4byte 0x02a55553")); /* fadd.d with rm = 5 */
    EXPECT_TRAP(2, insn(".4byte 0x02a56553")); /* rm = 6 */
}

void test_csrs(void)
{
    test_existence();
    test_bits();
    test_float_state();
}
