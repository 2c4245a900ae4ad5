/*
 * T0: CSR instructions, privileged instructions, cache-block operations and hints.
 */
#include "tcg/csr.h"
#include "tcg/exec_insn.h"

/* ---- CSRs ---- */

static enum interp_result access(struct cpu *cpu, const struct insn *in, enum csr_kind kind, uint64_t operand)
{
    /* csrrs and csrrc with rs1 = x0 (or a zero immediate) do not write at all. */
    bool writes = kind == CSR_SWAP || in->rs1 != 0, effect;
    uint64_t old;
    if (!csr_access(cpu, (unsigned)in->imm, kind, operand, writes, &old, &effect)) {
        return take_illegal(cpu, in);
    }
    set_x(cpu, in, old);
    return effect ? jump_to(cpu, cpu->pc + in->len) : INTERP_NEXT;
}

HANDLER(CSRRW)
{
    return access(cpu, in, CSR_SWAP, cpu->x[in->rs1]);
}

HANDLER(CSRRS)
{
    return access(cpu, in, CSR_SET, cpu->x[in->rs1]);
}

HANDLER(CSRRC)
{
    return access(cpu, in, CSR_CLEAR, cpu->x[in->rs1]);
}

HANDLER(CSRRWI)
{
    return access(cpu, in, CSR_SWAP, in->rs1);
}

HANDLER(CSRRSI)
{
    return access(cpu, in, CSR_SET, in->rs1);
}

HANDLER(CSRRCI)
{
    return access(cpu, in, CSR_CLEAR, in->rs1);
}

/* ---- environment calls and returns ---- */

HANDLER(ECALL)
{
    return take_trap(cpu, EXC_ECALL_U + cpu->priv, 0);
}

HANDLER(EBREAK)
{
    return take_trap(cpu, EXC_BREAKPOINT, cpu->pc);
}

/* Ends mret and sret: `s` is the new mstatus. MPRV does not survive into a mode below M. */
static enum interp_result return_to(struct cpu *cpu, uint64_t s, uint8_t priv, uint64_t pc)
{
    cpu->mstatus = priv == PRIV_M ? s : s & ~MSTATUS_MPRV;
    cpu->priv = priv;
    cpu->lr_addr = ~0ull;
    tlb_context_update(cpu);
    return jump_to(cpu, pc);
}

HANDLER(MRET)
{
    if (cpu->priv != PRIV_M) {
        return take_illegal(cpu, in);
    }
    uint64_t s = cpu->mstatus & ~(MSTATUS_MIE | MSTATUS_MPP);
    s |= (cpu->mstatus & MSTATUS_MPIE ? MSTATUS_MIE : 0) | MSTATUS_MPIE;
    return return_to(cpu, s, cpu->mstatus >> 11 & 3, cpu->mepc);
}

HANDLER(SRET)
{
    if (cpu->priv == PRIV_U || (cpu->priv == PRIV_S && (cpu->mstatus & MSTATUS_TSR))) {
        return take_illegal(cpu, in);
    }
    uint64_t s = cpu->mstatus & ~(MSTATUS_SIE | MSTATUS_SPP);
    s |= (cpu->mstatus & MSTATUS_SPIE ? MSTATUS_SIE : 0) | MSTATUS_SPIE;
    return return_to(cpu, s, cpu->mstatus & MSTATUS_SPP ? PRIV_S : PRIV_U, cpu->sepc);
}

HANDLER(WFI)
{
    if (cpu->priv == PRIV_U || (cpu->priv == PRIV_S && (cpu->mstatus & MSTATUS_TW))) {
        return take_illegal(cpu, in);
    }
    if (cpu_interrupt_pending(cpu)) {
        /* Firmware waits like this in a loop, with an interrupt that it does not take: others may have more to do. */
        return cpu->priv == PRIV_M ? INTERP_YIELD : INTERP_NEXT;
    }
    cpu->wfi = true;
    return INTERP_WFI;
}

/* Zawrs: waiting may end at any time; giving way once is as long as this hart waits. */
static enum interp_result wait_reservation(struct cpu *cpu)
{
    return cpu->lr_addr == ~0ull ? INTERP_NEXT : INTERP_YIELD;
}

HANDLER(WRS_NTO)
{
    return wait_reservation(cpu);
}

HANDLER(WRS_STO)
{
    return wait_reservation(cpu);
}

HANDLER(PAUSE)
{
    return INTERP_YIELD;
}

/* ---- address-translation fences ---- */

static enum interp_result fence_vma(struct cpu *cpu, const struct insn *in)
{
    if (cpu->priv == PRIV_U || (cpu->priv == PRIV_S && (cpu->mstatus & MSTATUS_TVM))) {
        return take_illegal(cpu, in);
    }
    tlb_flush(cpu, in->rs1 != 0, cpu->x[in->rs1], in->rs2 != 0, (uint16_t)cpu->x[in->rs2]);
    return jump_to(cpu, cpu->pc + in->len);
}

HANDLER(SFENCE_VMA)
{
    return fence_vma(cpu, in);
}

HANDLER(SINVAL_VMA)
{
    return fence_vma(cpu, in);
}

/* sinval.vma has already done its work: these only order it. */
HANDLER(SFENCE_W_INVAL)
{
    return cpu->priv == PRIV_U ? take_illegal(cpu, in) : INTERP_NEXT;
}

HANDLER(SFENCE_INVAL_IR)
{
    return cpu->priv == PRIV_U ? take_illegal(cpu, in) : INTERP_NEXT;
}

/* ---- cache blocks of 64 bytes (Zicbom, Zicboz) ---- */

enum { CACHE_BLOCK = 64 };

/* menvcfg rules over S and U, senvcfg over U besides. */
static bool envcfg_allows(const struct cpu *cpu, uint64_t field)
{
    return (cpu->priv == PRIV_M || (cpu->menvcfg & field)) && (cpu->priv != PRIV_U || (cpu->senvcfg & field));
}

/* Memory is coherent, so there is nothing to do but to check: a block that may be read or written may be managed, any
 * fault is a store's. */
static enum interp_result manage_block(struct cpu *cpu, const struct insn *in, uint64_t field)
{
    uint64_t va = cpu->x[in->rs1] & ~(uint64_t)(CACHE_BLOCK - 1);
    struct translation t;
    if (!envcfg_allows(cpu, field)) {
        return take_illegal(cpu, in);
    }
    if (!tlb_translate(cpu, va, ACCESS_LOAD, &t) && !tlb_translate(cpu, va, ACCESS_STORE, &t)) {
        return take_fault(cpu);
    }
    if (!t.is_ram && !bus_find(cpu->bus, t.gpa)) {
        return take_trap(cpu, EXC_STORE_ACCESS, va);
    }
    return INTERP_NEXT;
}

HANDLER(CBO_INVAL)
{
    return manage_block(cpu, in, 0x30);
}

HANDLER(CBO_CLEAN)
{
    return manage_block(cpu, in, 0x40);
}

HANDLER(CBO_FLUSH)
{
    return manage_block(cpu, in, 0x40);
}

HANDLER(CBO_ZERO)
{
    uint64_t va = cpu->x[in->rs1] & ~(uint64_t)(CACHE_BLOCK - 1);
    if (!envcfg_allows(cpu, 0x80)) {
        return take_illegal(cpu, in);
    }
    for (unsigned i = 0; i < CACHE_BLOCK; i += 8) {
        if (!tlb_store(cpu, va + i, 8, 0)) {
            return take_fault(cpu);
        }
    }
    return INTERP_NEXT;
}
