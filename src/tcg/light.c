/*
 * Light calls: privileged instructions done while the guest's FP registers stay in the host's. General registers only,
 * and so are the CSR and trap files this calls into.
 */
#include "tcg/csr.h"
#include "tcg/exec_insn.h"
#include "tcg/fp.h"
#include "tcg/helpers.h"
#include "weft/log.h"

static void *code_at_pc(struct cpu *cpu)
{
    void *code = tcg_lookup_fast(cpu, cpu->pc);
    return code ? code : (void *)LIGHT_EXIT;
}

static bool interrupt_may_wait(struct cpu *cpu)
{
    return ((atomic_load_explicit(&cpu->mip, memory_order_relaxed) | cpu->mvip) & cpu->mie) != 0;
}

static void *environment_call(struct cpu *cpu)
{
    if (cpu->priv != PRIV_U) {
        return (void *)LIGHT_FULL;
    }
    cpu->icount_end--; /* an ecall does not retire, but its block has counted it */
    cpu_take_exception(cpu, EXC_ECALL_U, 0);
    return code_at_pc(cpu);
}

static void *supervisor_return(struct cpu *cpu, const struct insn *in)
{
    if (cpu->priv != PRIV_S || (cpu->mstatus & MSTATUS_TSR)) {
        return (void *)LIGHT_FULL;
    }
    exec_SRET(cpu, in);
    return interrupt_may_wait(cpu) ? (void *)LIGHT_EXIT : code_at_pc(cpu);
}

static void *status_access(struct cpu *cpu, const struct insn *in)
{
    if (cpu->priv < PRIV_S) {
        return (void *)LIGHT_FULL;
    }
    uint64_t operand = in->op >= OP_CSRRWI ? in->rs1 : cpu->x[in->rs1], old = cpu->mstatus & SSTATUS_READ, v;
    if (in->op == OP_CSRRW || in->op == OP_CSRRWI) {
        v = operand;
    } else if (in->op == OP_CSRRS || in->op == OP_CSRRSI) {
        v = old | operand;
    } else {
        v = old & ~operand;
    }
    if (v != old) {
        cpu_write_mstatus(cpu, v, SSTATUS_MASK);
    }
    if (in->rd) {
        cpu->x[in->rd] = old;
    }
    if ((v & ~old & MSTATUS_SIE) && interrupt_may_wait(cpu)) {
        cpu->pc += in->len;
        return (void *)LIGHT_EXIT;
    }
    return (void *)LIGHT_DONE;
}

/* fflags, frm, fcsr: the flags are in the live MXCSR besides cpu->fflags. */
static void *fp_status_access(struct cpu *cpu, const struct insn *in)
{
    uint32_t live;
    if ((cpu->mstatus & MSTATUS_FS) != MSTATUS_FS || cpu->frm > 3) {
        return (void *)LIGHT_FULL;
    }
    __asm__ volatile("stmxcsr %0" : "=m"(live));
    unsigned shift = in->imm == CSR_FRM ? 5 : 0, mask = in->imm == CSR_FFLAGS ? 31 : in->imm == CSR_FRM ? 7 : 255;
    uint32_t all = (uint32_t)cpu->frm << 5 | cpu->fflags | fp_flags_of_mxcsr(live);
    uint64_t operand = in->op >= OP_CSRRWI ? in->rs1 : cpu->x[in->rs1], old = all >> shift & mask, v;
    if (in->op == OP_CSRRW || in->op == OP_CSRRWI) {
        v = operand & mask;
    } else if (in->op == OP_CSRRS || in->op == OP_CSRRSI) {
        v = (old | operand) & mask;
    } else {
        v = old & ~operand;
    }
    if (v != old) {
        uint32_t next = (uint32_t)((all & ~(mask << shift)) | v << shift);
        if (next >> 5 > 3) {
            return (void *)LIGHT_FULL;
        }
        cpu->fflags = next & 31;
        cpu->frm = (uint8_t)(next >> 5);
        live = fp_mxcsr(cpu->frm);
        __asm__ volatile("ldmxcsr %0" : : "m"(live));
    }
    if (in->rd) {
        cpu->x[in->rd] = old;
    }
    return (void *)LIGHT_DONE;
}

void *tcg_light_insn(struct cpu *cpu, const struct insn *in, uint32_t info)
{
    if (log_on(LOG_INT)) {
        return (void *)LIGHT_FULL;
    }
    cpu->pc = cpu->pc_page + INFO_OFF(info);
    switch (in->op) {
    case OP_ECALL:
        return environment_call(cpu);
    case OP_SRET:
        return supervisor_return(cpu, in);
    default:
        return in->imm <= CSR_FCSR ? fp_status_access(cpu, in) : status_access(cpu, in);
    }
}
