/* The interpreter's architecture: traps, CSR rules, atomics, counters, FP state. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "encode.h"
#include "fixture.h"
#include "tcg/fp.h"
#include "weft/aia.h"

#define DATA (RAM_BASE + 0x8000)
#define HANDLER (RAM_BASE + 0x4000)
#define S_HANDLER (RAM_BASE + 0x6000)

static void enter(uint8_t priv)
{
    /* All of memory for S and U. */
    fx.cpu->pmpcfg[0] = 0x1f;
    fx.cpu->pmpaddr[0] = (1ull << 54) - 1;
    fx.cpu->pmp_active = 1;
    fx.cpu->mtvec = HANDLER;
    fx.cpu->stvec = S_HANDLER;
    fx.cpu->priv = priv;
    fx.cpu->pc = RAM_BASE + 0x100;
    tlb_flush_all(fx.cpu);
    tlb_context_update(fx.cpu);
}

START_TEST(illegal_instruction_trap)
{
    enter(PRIV_U);
    uint64_t at = fx.cpu->pc, retired = cpu_instret(fx.cpu);
    int64_t budget = fx.cpu->budget;
    ck_assert_int_eq(run_word(0xffffffff), INTERP_JUMP);
    ck_assert_uint_eq(fx.cpu->mcause, EXC_ILLEGAL);
    ck_assert_uint_eq(fx.cpu->mtval, 0xffffffff);
    ck_assert_uint_eq(fx.cpu->mepc, at);
    ck_assert_uint_eq(fx.cpu->pc, HANDLER);
    ck_assert_uint_eq(fx.cpu->priv, PRIV_M);
    ck_assert_uint_eq(fx.cpu->mstatus >> 11 & 3, PRIV_U);
    ck_assert_uint_eq(cpu_instret(fx.cpu), retired);
    ck_assert_int_eq(fx.cpu->budget, budget - 1);
    run_word(0xdead0000); /* a 16-bit illegal instruction shows 16 bits */
    ck_assert_uint_eq(fx.cpu->mtval, 0);
    fx.cpu->pc = RAM_BASE;
    run_word(0x12348000);
    ck_assert_uint_eq(fx.cpu->mtval, 0x8000);
}
END_TEST

START_TEST(delegation)
{
    enter(PRIV_S);
    fx.cpu->medeleg = 1ull << EXC_BREAKPOINT | 1ull << EXC_ECALL_S;
    fx.cpu->mstatus |= MSTATUS_SIE;
    uint64_t at = fx.cpu->pc;
    run_word(0x00100073); /* ebreak */
    ck_assert_uint_eq(fx.cpu->scause, EXC_BREAKPOINT);
    ck_assert_uint_eq(fx.cpu->stval, at);
    ck_assert_uint_eq(fx.cpu->sepc, at);
    ck_assert_uint_eq(fx.cpu->pc, S_HANDLER);
    ck_assert_uint_eq(fx.cpu->priv, PRIV_S);
    ck_assert_uint_eq(fx.cpu->mstatus & (MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP), MSTATUS_SPIE | MSTATUS_SPP);
    run_word(0x10200073); /* sret */
    ck_assert_uint_eq(fx.cpu->pc, at);
    ck_assert_uint_eq(fx.cpu->mstatus & (MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP), MSTATUS_SIE | MSTATUS_SPIE);
    enter(PRIV_M); /* a trap in M is never delegated */
    run_word(0x00100073);
    ck_assert_uint_eq(fx.cpu->mcause, EXC_BREAKPOINT);
    ck_assert_uint_eq(fx.cpu->pc, HANDLER);
}
END_TEST

START_TEST(builtin_sbi_gets_ecalls_of_s)
{
    fx.cpu->builtin_sbi = true;
    cpu_reset(fx.cpu, RAM_BASE, 3, DATA, PRIV_S);
    ck_assert_uint_eq(fx.cpu->x[10], 3);
    ck_assert_uint_eq(fx.cpu->x[11], DATA);
    fx.cpu->stvec = S_HANDLER;
    run_word(0x00000073);
    ck_assert_uint_eq(fx.sbi_ecalls, 1);
    ck_assert_uint_eq(fx.cpu->pc, RAM_BASE + 4);
    fx.cpu->priv = PRIV_U;
    tlb_context_update(fx.cpu);
    run_word(0x00000073);
    ck_assert_uint_eq(fx.sbi_ecalls, 1);
    ck_assert_uint_eq(fx.cpu->scause, EXC_ECALL_U);
}
END_TEST

START_TEST(interrupt_priority_and_vectors)
{
    enter(PRIV_U);
    fx.cpu->mtvec = HANDLER | 1;
    fx.cpu->stvec = S_HANDLER | 1;
    fx.cpu->mideleg = 0x222;
    fx.cpu->mie = 0xaaa;
    atomic_store(&fx.cpu->mip, 1ull << IRQ_SEI | 1ull << IRQ_SSI | 1ull << IRQ_MSI);
    uint64_t at = fx.cpu->pc;
    ck_assert(cpu_take_interrupt(fx.cpu));
    ck_assert_uint_eq(fx.cpu->mcause, 1ull << 63 | IRQ_MSI);
    ck_assert_uint_eq(fx.cpu->pc, HANDLER + 4 * IRQ_MSI);
    ck_assert_uint_eq(fx.cpu->mepc, at);
    ck_assert(!cpu_take_interrupt(fx.cpu)); /* M with MIE clear */
    enter(PRIV_U);
    fx.cpu->stvec = S_HANDLER | 1;
    atomic_fetch_and(&fx.cpu->mip, ~(1ull << IRQ_MSI));
    ck_assert(cpu_take_interrupt(fx.cpu)); /* S interrupts are always enabled in U; SEI before SSI */
    ck_assert_uint_eq(fx.cpu->scause, 1ull << 63 | IRQ_SEI);
    ck_assert_uint_eq(fx.cpu->pc, S_HANDLER + 4 * IRQ_SEI);
    ck_assert_uint_eq(fx.cpu->priv, PRIV_S);
    ck_assert(!cpu_take_interrupt(fx.cpu)); /* SIE is clear now */
    fx.cpu->mstatus |= MSTATUS_SIE;
    fx.cpu->mie = 1ull << IRQ_SSI;
    ck_assert(cpu_take_interrupt(fx.cpu));
    ck_assert_uint_eq(fx.cpu->scause, 1ull << 63 | IRQ_SSI);
    enter(PRIV_M); /* delegated interrupts do not interrupt M */
    fx.cpu->mstatus |= MSTATUS_MIE | MSTATUS_SIE;
    ck_assert(!cpu_take_interrupt(fx.cpu));
    ck_assert(cpu_interrupt_pending(fx.cpu));
}
END_TEST

START_TEST(sstc)
{
    enter(PRIV_S);
    csr_swap(0x14d, 100);
    ck_assert(trapped); /* menvcfg.STCE is clear */
    enter(PRIV_S);
    fx.cpu->menvcfg = 1ull << 63;
    csr_swap(0x14d, 100);
    ck_assert(trapped); /* mcounteren.TM is clear */
    enter(PRIV_S);
    fx.cpu->mcounteren = 2;
    fx.cpu->mideleg = 0x222;
    fx.cpu->mie = 1ull << IRQ_STI;
    fx.now = 99;
    csr_swap(0x14d, 100);
    ck_assert(!trapped);
    ck_assert(!cpu_interrupt_pending(fx.cpu));
    fx.now = 100;
    ck_assert(cpu_interrupt_pending(fx.cpu));
    ck_assert_uint_eq(csr_get(0x144), 1ull << IRQ_STI);
    csr_swap(0x14d, ~0ull);
    ck_assert_uint_eq(csr_get(0x144), 0);
}
END_TEST

START_TEST(csr_permissions)
{
    enter(PRIV_U);
    csr_get(0x100);
    ck_assert(trapped); /* sstatus from U */
    enter(PRIV_S);
    csr_get(0x300);
    ck_assert(trapped); /* mstatus from S */
    enter(PRIV_M);
    csr_swap(0xf14, 1);
    ck_assert(trapped); /* a read-only register */
    enter(PRIV_M);
    csr_get(0xf14);
    ck_assert(!trapped); /* csrrs with x0 does not write */
    csr_get(0x5c0);
    ck_assert(trapped); /* no such register */
    enter(PRIV_S);
    fx.cpu->mstatus |= MSTATUS_TVM;
    csr_get(0x180);
    ck_assert(trapped);
    enter(PRIV_S);
    run_word(0x12000073); /* sfence.vma */
    ck_assert(trapped);
    enter(PRIV_S);
    run_word(0x18000073); /* sfence.w.inval is not subject to TVM */
    ck_assert(!trapped);
}
END_TEST

START_TEST(counters)
{
    enter(PRIV_M);
    uint64_t first = csr_get(0xb02), second = csr_get(0xb02);
    ck_assert_uint_eq(second, first + 1);
    csr_swap(0xb02, 1000);
    ck_assert_uint_eq(csr_get(0xb02), 1000);
    ck_assert_uint_eq(csr_get(0xc02), 1001);
    csr_swap(0x320, 4); /* mcountinhibit.IR */
    uint64_t still = csr_get(0xb02);
    ck_assert_uint_eq(csr_get(0xb02), still);
    csr_swap(0xb02, 5);
    ck_assert_uint_eq(csr_get(0xb02), 5);
    csr_swap(0x320, 0);
    ck_assert_uint_le(csr_get(0xb02) - 5, 2);
    enter(PRIV_S);
    csr_get(0xc01);
    ck_assert(trapped); /* mcounteren.TM is clear */
    enter(PRIV_S);
    fx.cpu->mcounteren = 2;
    fx.now = 77;
    ck_assert_uint_eq(csr_get(0xc01), 77);
    enter(PRIV_U);
    csr_get(0xc01);
    ck_assert(trapped); /* scounteren.TM is clear */
    enter(PRIV_U);
    fx.cpu->scounteren = 2;
    csr_get(0xc01);
    ck_assert(!trapped);
}
END_TEST

START_TEST(mstatus_fields)
{
    enter(PRIV_M);
    csr_swap(0x300, ~0ull);
    /* MPP cannot hold 2 and takes 3; there is no VS and no XS; UXL and SXL stay 2; SD follows FS. */
    ck_assert_uint_eq(csr_get(0x300), 0x8000000a007e79aaull);
    csr_swap(0x300, 2ull << 11);
    ck_assert_uint_eq(csr_get(0x300), 0xa00001800ull);
    fx.cpu->mstatus = 0xa00000000ull;
    csr_swap(0x100, ~0ull);
    ck_assert_uint_eq(fx.cpu->mstatus, 0x8000000a000c6122ull);
    ck_assert_uint_eq(csr_get(0x100), 0x80000002000c6122ull);
}
END_TEST

START_TEST(warl_fields)
{
    enter(PRIV_M);
    csr_swap(0x302, ~0ull);
    ck_assert_uint_eq(csr_get(0x302), 0xb3ff);
    csr_swap(0x303, ~0ull);
    ck_assert_uint_eq(csr_get(0x303), 0x222);
    csr_swap(0x304, ~0ull);
    ck_assert_uint_eq(csr_get(0x304), 0xaaa);
    csr_swap(0x341, ~0ull);
    ck_assert_uint_eq(csr_get(0x341), ~1ull);
    csr_swap(0x305, HANDLER | 2); /* a reserved mode changes nothing */
    ck_assert_uint_eq(csr_get(0x305), HANDLER);
    csr_swap(0x180, 8ull << 60 | 0xabcdull << 44 | 0x12345);
    ck_assert_uint_eq(csr_get(0x180), 8ull << 60 | 0xabcdull << 44 | 0x12345);
    csr_swap(0x180, 11ull << 60 | 5); /* no such mode */
    ck_assert_uint_eq(csr_get(0x180), 8ull << 60 | 0xabcdull << 44 | 0x12345);
    fx.cpu->isa_ext &= ~(1ull << EXT_SV57);
    csr_swap(0x180, 10ull << 60 | 5);
    ck_assert_uint_eq(csr_get(0x180) >> 60, 8);
    csr_swap(0x30a, 0x10);
    csr_swap(0x30a, 0x20); /* CBIE has no value 2 */
    ck_assert_uint_eq(csr_get(0x30a) & 0x30, 0x10);
    csr_swap(0x301, 0);
    ck_assert_uint_eq(csr_get(0x301), fx.cpu->misa_reset);
}
END_TEST

START_TEST(external_interrupt_bit_is_two_bits)
{
    enter(PRIV_M);
    atomic_store(&fx.cpu->mip, 1ull << IRQ_SEI);
    /* csrrs of another bit must not copy the controller's line into the software bit. */
    fx.cpu->x[11] = 1ull << IRQ_SSI;
    run_insn((struct insn){.op = OP_CSRRS, .rd = 10, .rs1 = 11, .imm = 0x344});
    ck_assert_uint_eq(fx.cpu->x[10], 1ull << IRQ_SEI);
    atomic_fetch_and(&fx.cpu->mip, ~(1ull << IRQ_SEI));
    ck_assert_uint_eq(csr_get(0x344), 1ull << IRQ_SSI);
    csr_swap(0x344, 1ull << IRQ_SEI);
    ck_assert_uint_eq(csr_get(0x344), 1ull << IRQ_SEI);
    csr_swap(0x344, 0);
    ck_assert_uint_eq(csr_get(0x344), 0);
}
END_TEST

START_TEST(pmp_locks)
{
    enter(PRIV_M);
    csr_swap(0x3b0, 0x100);
    csr_swap(0x3b1, 0x200);
    csr_swap(0x3a0, 0x8f00 | 0x06); /* entry 1 locked TOR; W without R is not kept */
    ck_assert_uint_eq(csr_get(0x3a0), 0x8f04);
    ck_assert_uint_eq(fx.cpu->pmp_active, 2);
    csr_swap(0x3b0, 0x111);
    ck_assert_uint_eq(csr_get(0x3b0), 0x100); /* bottom of a locked TOR */
    csr_swap(0x3b1, 0x111);
    ck_assert_uint_eq(csr_get(0x3b1), 0x200);
    csr_swap(0x3a0, 0x1f1f1f);
    ck_assert_uint_eq(csr_get(0x3a0), 0x1f8f1f);
    csr_swap(0x3b2, ~0ull);
    ck_assert_uint_eq(csr_get(0x3b2), (1ull << 54) - 1);
    csr_get(0x3a1);
    ck_assert(trapped); /* odd ones do not exist in RV64 */
}
END_TEST

START_TEST(atomics)
{
    struct cpu *c = fx.cpu;
    enter(PRIV_M);
    uint64_t *mem = ram_ptr(c->ram, DATA);
    *mem = 0xffffffff80000000ull;
    c->x[5] = DATA;
    c->x[6] = 1;
    run_insn((struct insn){.op = OP_AMOMAX_W, .rd = 7, .rs1 = 5, .rs2 = 6});
    ck_assert_uint_eq(c->x[7], 0xffffffff80000000ull);
    ck_assert_uint_eq(*mem, 0xffffffff00000001ull);
    run_insn((struct insn){.op = OP_AMOMINU_D, .rd = 7, .rs1 = 5, .rs2 = 6});
    ck_assert_uint_eq(*mem, 1);
    run_insn((struct insn){.op = OP_SC_D, .rd = 7, .rs1 = 5, .rs2 = 6});
    ck_assert_uint_eq(c->x[7], 1); /* no reservation */
    run_insn((struct insn){.op = OP_LR_D, .rd = 8, .rs1 = 5});
    ck_assert_uint_eq(c->x[8], 1);
    c->x[6] = 42;
    run_insn((struct insn){.op = OP_SC_D, .rd = 7, .rs1 = 5, .rs2 = 6});
    ck_assert_uint_eq(c->x[7], 0);
    ck_assert_uint_eq(*mem, 42);
    run_insn((struct insn){.op = OP_LR_W, .rd = 8, .rs1 = 5});
    *mem = 43;
    run_insn((struct insn){.op = OP_SC_W, .rd = 7, .rs1 = 5, .rs2 = 6});
    ck_assert_uint_eq(c->x[7], 1); /* somebody wrote */
    ck_assert_uint_eq(*mem, 43);
    c->x[5] = DATA + 2;
    run_insn((struct insn){.op = OP_AMOADD_W, .rd = 7, .rs1 = 5, .rs2 = 6});
    ck_assert(trapped);
    ck_assert_uint_eq(c->mcause, EXC_STORE_MISALIGNED);
    ck_assert_uint_eq(c->mtval, DATA + 2);
    run_insn((struct insn){.op = OP_LR_W, .rd = 7, .rs1 = 5});
    ck_assert_uint_eq(c->mcause, EXC_LOAD_MISALIGNED);
    run_insn((struct insn){.op = OP_LW, .rd = 7, .rs1 = 5});
    ck_assert(!trapped); /* ordinary accesses may be misaligned */
}
END_TEST

START_TEST(fp_state)
{
    struct cpu *c = fx.cpu;
    enter(PRIV_M);
    run_insn((struct insn){.op = OP_FMV_D_X, .rd = 1, .rs1 = 0});
    ck_assert(trapped); /* FS is Off */
    enter(PRIV_M);
    csr_get(0x003);
    ck_assert(trapped);
    enter(PRIV_M);
    csr_swap(0x300, 1ull << 13);
    ck_assert(!c->fp_fast);
    run_insn((struct insn){.op = OP_FMV_X_D, .rd = 1, .rs1 = 0});
    ck_assert_uint_eq(csr_get(0x300) & MSTATUS_FS, 1ull << 13); /* nothing of FP changed */
    c->x[5] = 0x3ff0000000000000ull;
    run_insn((struct insn){.op = OP_FMV_D_X, .rd = 1, .rs1 = 5});
    ck_assert_uint_eq(csr_get(0x300) & (MSTATUS_FS | MSTATUS_SD), MSTATUS_FS | MSTATUS_SD);
    ck_assert(c->fp_fast);
    run_insn((struct insn){.op = OP_FDIV_D, .rd = 2, .rs1 = 1, .rs2 = 0, .rm = RM_DYN});
    ck_assert_uint_eq(csr_get(0x001), FP_DZ);
    c->guest_mxcsr |= 1 | 2; /* generated code left IE and DE */
    ck_assert_uint_eq(csr_get(0x001), FP_DZ | FP_NV);
    csr_swap(0x002, RM_RUP);
    ck_assert_uint_eq(c->guest_mxcsr, fp_mxcsr(RM_RUP));
    ck_assert_uint_eq(csr_get(0x003), RM_RUP << 5 | FP_DZ | FP_NV);
    csr_swap(0x002, RM_RMM);
    ck_assert(!c->fp_fast);
    csr_swap(0x003, 5 << 5);
    ck_assert_uint_eq(fp_fflags(c), 0);
    run_insn((struct insn){.op = OP_FADD_D, .rd = 2, .rs1 = 1, .rs2 = 1, .rm = RM_DYN});
    ck_assert(trapped); /* frm = 5 */
    enter(PRIV_M);
    run_insn((struct insn){.op = OP_FADD_D, .rd = 2, .rs1 = 1, .rs2 = 1, .rm = RM_RNE});
    ck_assert(!trapped);
    /* A value that is not boxed reads as NaN in single precision, but moves unchanged. */
    run_insn((struct insn){.op = OP_FSGNJ_S, .rd = 3, .rs1 = 1, .rs2 = 1});
    ck_assert_uint_eq(c->f[3], FP_BOX | FP32_NAN);
    c->f[1] = 0x12345678;
    run_insn((struct insn){.op = OP_FMV_X_W, .rd = 7, .rs1 = 1});
    ck_assert_uint_eq(c->x[7], 0x12345678);
}
END_TEST

START_TEST(waiting)
{
    struct cpu *c = fx.cpu;
    enter(PRIV_M);
    uint64_t at = c->pc;
    ck_assert_int_eq(run_word(0x10500073), INTERP_WFI);
    ck_assert(c->wfi);
    ck_assert_uint_eq(c->pc, at + 4);
    c->mie = 1ull << IRQ_MSI;
    atomic_store(&c->mip, 1ull << IRQ_MSI);
    c->wfi = false;
    /* Pending, though not enabled by MIE: it does not wait, but firmware in a loop of these gives way. */
    ck_assert_int_eq(run_word(0x10500073), INTERP_YIELD);
    ck_assert(!c->wfi);
    enter(PRIV_S);
    ck_assert_int_eq(run_word(0x10500073), INTERP_NEXT);
    ck_assert(!trapped && !c->wfi);
    enter(PRIV_M);
    ck_assert_int_eq(run_word(0x0100000f), INTERP_YIELD);
    ck_assert_int_eq(run_word(0x0000100f), INTERP_FENCE_I);
    enter(PRIV_S);
    c->mstatus |= MSTATUS_TW;
    run_word(0x10500073);
    ck_assert(trapped);
    enter(PRIV_U);
    c->mstatus &= ~MSTATUS_TW;
    run_word(0x10500073);
    ck_assert(trapped);
}
END_TEST

START_TEST(cache_blocks)
{
    struct cpu *c = fx.cpu;
    const struct insn zero = {.op = OP_CBO_ZERO, .rs1 = 5}, flush = {.op = OP_CBO_FLUSH, .rs1 = 5},
                      inval = {.op = OP_CBO_INVAL, .rs1 = 5};
    uint8_t *mem = ram_ptr(c->ram, DATA);
    memset(mem, 0xaa, 256);
    c->x[5] = DATA + 64 + 17;
    enter(PRIV_M);
    run_insn(zero);
    ck_assert(!trapped);
    for (unsigned i = 0; i < 192; i++) {
        ck_assert_uint_eq(mem[i], i >= 64 && i < 128 ? 0 : 0xaa);
    }
    enter(PRIV_S);
    run_insn(zero);
    ck_assert(trapped);
    enter(PRIV_S);
    c->menvcfg = 0xd0;
    run_insn(zero);
    run_insn(flush);
    run_insn(inval);
    ck_assert(!trapped);
    enter(PRIV_U);
    run_insn(flush);
    ck_assert(trapped); /* senvcfg */
    enter(PRIV_U);
    c->senvcfg = 0xd0;
    run_insn(flush);
    ck_assert(!trapped);
    c->x[5] = 0x1000;
    run_insn(flush);
    ck_assert(trapped);
    ck_assert_uint_eq(c->mcause, EXC_STORE_ACCESS);
}
END_TEST

/* An interrupt file with one register and one pending identity. */
static uint32_t file_pending = 7;
static uint64_t file_register;

static bool file_read(void *opaque, enum imsic_file file, unsigned select, uint64_t *value)
{
    *value = file_register;
    return select == ISELECT_EIDELIVERY;
}

static bool file_write(void *opaque, enum imsic_file file, unsigned select, uint64_t value)
{
    file_register = value;
    return select == ISELECT_EIDELIVERY;
}

static uint32_t file_topei(void *opaque, enum imsic_file file)
{
    return file_pending << 16 | file_pending;
}

static void file_claim(void *opaque, enum imsic_file file, uint32_t topei)
{
    ck_assert_uint_eq(topei, file_pending << 16 | file_pending);
    file_pending = 0;
}

START_TEST(aia)
{
    static const struct imsic_ops ops = {file_read, file_write, file_topei, file_claim};
    static struct imsic_port port = {&ops, NULL};
    enter(PRIV_S);
    csr_get(0x15c);
    ck_assert(trapped); /* stopei without an IMSIC */
    enter(PRIV_S);
    csr_swap(0x150, 0x30);
    ck_assert_uint_eq(csr_get(0x151), 0);
    ck_assert(!trapped);
    csr_swap(0x150, 0x31);
    csr_get(0x151);
    ck_assert(trapped);
    enter(PRIV_S);
    fx.cpu->imsic = &port;
    csr_swap(0x150, ISELECT_EIDELIVERY);
    csr_swap(0x151, 1);
    ck_assert_uint_eq(file_register, 1);
    ck_assert_uint_eq(csr_swap(0x15c, 0), 7u << 16 | 7);
    ck_assert_uint_eq(file_pending, 0);
    fx.cpu->mideleg = 0x222;
    fx.cpu->mie = 0xaaa;
    atomic_store(&fx.cpu->mip, 1ull << IRQ_SSI | 1ull << IRQ_SEI);
    ck_assert_uint_eq(csr_get(0xdb0), (uint64_t)IRQ_SEI << 16 | 1);
    enter(PRIV_M);
    ck_assert_uint_eq(csr_get(0xfb0), 0);
    atomic_fetch_or(&fx.cpu->mip, 1ull << IRQ_MSI);
    ck_assert_uint_eq(csr_get(0xfb0), (uint64_t)IRQ_MSI << 16 | 1);
    fx.cpu->isa_ext &= ~(1ull << EXT_SMAIA | 1ull << EXT_SSAIA);
    csr_get(0xfb0);
    ck_assert(trapped);
}
END_TEST

START_TEST(mprv_ends_with_mret)
{
    enter(PRIV_M);
    fx.cpu->mstatus |= MSTATUS_MPRV | MSTATUS_MPP;
    fx.cpu->mepc = RAM_BASE + 0x200;
    run_word(0x30200073);
    ck_assert(fx.cpu->mstatus & MSTATUS_MPRV); /* back to M */
    ck_assert_uint_eq(fx.cpu->mstatus & MSTATUS_MPP, 0);
    run_word(0x30200073);
    ck_assert(!(fx.cpu->mstatus & MSTATUS_MPRV));
    ck_assert_uint_eq(fx.cpu->priv, PRIV_U);
    run_word(0x30200073);
    ck_assert(trapped);
}
END_TEST

static const struct {
    uint16_t op;
    uint64_t a, b, result;
} alu_cases[] = {
    {OP_DIV, 5, 0, ~0ull},
    {OP_REM, 5, 0, 5},
    {OP_DIV, 1ull << 63, ~0ull, 1ull << 63},
    {OP_REM, 1ull << 63, ~0ull, 0},
    {OP_DIVW, 0x80000000, 0xffffffff, 0xffffffff80000000ull},
    {OP_REMW, 0x80000000, 0xffffffff, 0},
    {OP_DIVUW, 0xdead000080000000ull, 0, ~0ull},
    {OP_REMUW, 0xdead000080000000ull, 0x100000000ull, 0xffffffff80000000ull},
    {OP_MULHSU, ~0ull, ~0ull, ~0ull},
    {OP_MULH, ~0ull, ~0ull, 0},
    {OP_MULHU, ~0ull, ~0ull, ~1ull},
    {OP_SRA, 1ull << 63, 127, ~0ull},
    {OP_SLLW, 1, 63, 0xffffffff80000000ull},
    {OP_SRAW, 0x80000000, 31, ~0ull},
    {OP_ROL, 1ull << 63, 1, 1},
    {OP_ROR, 1, 64, 1},
    {OP_RORW, 1, 1, 0xffffffff80000000ull},
    {OP_ROLW, 0x80000000, 0, 0xffffffff80000000ull},
    {OP_CLZ, 0, 0, 64},
    {OP_CTZW, 1ull << 32, 0, 32},
    {OP_CPOPW, ~0ull, 0, 32},
    {OP_ORC_B, 0x0100800000ff0010ull, 0, 0xff00ff0000ff00ffull},
    {OP_ORC_B, ~0ull, 0, ~0ull},
    {OP_REV8, 0x0102030405060708ull, 0, 0x0807060504030201ull},
    {OP_ZEXT_H, ~0ull, 0, 0xffff},
    {OP_SH3ADD_UW, 0xffffffff00000001ull, 2, 10},
    {OP_ADD_UW, ~0ull, 1, 0x100000000ull},
    {OP_BEXT, 1ull << 63, 127, 1},
    {OP_MAX, ~0ull, 1, 1},
    {OP_MAXU, ~0ull, 1, ~0ull},
    {OP_CZERO_EQZ, 5, 0, 0},
    {OP_CZERO_NEZ, 5, 0, 5},
};

START_TEST(integer_corners)
{
    enter(PRIV_M);
    for (size_t i = 0; i < sizeof(alu_cases) / sizeof(alu_cases[0]); i++) {
        fx.cpu->x[5] = alu_cases[i].a;
        fx.cpu->x[6] = alu_cases[i].b;
        ck_assert_int_eq(run_insn((struct insn){.op = alu_cases[i].op, .rd = 7, .rs1 = 5, .rs2 = 6}), INTERP_NEXT);
        ck_assert_msg(fx.cpu->x[7] == alu_cases[i].result, "case %zu: %lx", i, (unsigned long)fx.cpu->x[7]);
        run_insn((struct insn){.op = alu_cases[i].op, .rd = 0, .rs1 = 5, .rs2 = 6});
        ck_assert_uint_eq(fx.cpu->x[0], 0);
    }
    fx.cpu->x[5] = RAM_BASE + 0x301; /* jalr clears bit 0, and rd may be rs1 */
    uint64_t at = fx.cpu->pc;
    ck_assert_int_eq(run_insn((struct insn){.op = OP_JALR, .rd = 5, .rs1 = 5, .imm = -256}), INTERP_JUMP);
    ck_assert_uint_eq(fx.cpu->pc, RAM_BASE + 0x200);
    ck_assert_uint_eq(fx.cpu->x[5], at + 4);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hart");
    TCase *t = tcase_create("hart");
    tcase_add_checked_fixture(t, fixture_setup, fixture_teardown);
    tcase_add_test(t, illegal_instruction_trap);
    tcase_add_test(t, delegation);
    tcase_add_test(t, builtin_sbi_gets_ecalls_of_s);
    tcase_add_test(t, interrupt_priority_and_vectors);
    tcase_add_test(t, sstc);
    tcase_add_test(t, csr_permissions);
    tcase_add_test(t, counters);
    tcase_add_test(t, mstatus_fields);
    tcase_add_test(t, warl_fields);
    tcase_add_test(t, external_interrupt_bit_is_two_bits);
    tcase_add_test(t, pmp_locks);
    tcase_add_test(t, atomics);
    tcase_add_test(t, fp_state);
    tcase_add_test(t, waiting);
    tcase_add_test(t, cache_blocks);
    tcase_add_test(t, aia);
    tcase_add_test(t, mprv_ends_with_mret);
    tcase_add_test(t, integer_corners);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
