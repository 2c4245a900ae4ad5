/*
 * Light calls: privileged instructions done while the guest's FP registers stay in the host's. General registers only,
 * and so are the CSR and trap files this calls into.
 */
#include "tcg/csr.h"
#include "tcg/exec_insn.h"
#include "tcg/helpers.h"
#include "weft/log.h"

static void *code_at_pc(struct cpu *cpu)
{
    void *code = tcg_lookup_fast(cpu, cpu->pc);
    return code ? code : (void *)LIGHT_EXIT;
}

static bool interrupt_may_wait(struct cpu *cpu)
{
    return (atomic_load_explicit(&cpu->mip, memory_order_relaxed) & cpu->mie) != 0;
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
        return status_access(cpu, in);
    }
}
