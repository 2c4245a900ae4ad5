/*
 * Reset, exceptions and interrupts (privileged specification 3.1.6 to 3.1.9, 3.4, 12.1).
 */
#include "tcg/csr.h"

#include <inttypes.h>
#include <string.h>
#include "weft/log.h"
#include "weft/machine.h"

#define CAUSE_INTERRUPT (1ull << 63)
#define STCE (1ull << 63)
#define UXL_SXL_64 (2ull << 32 | 2ull << 34)

/* What firmware leaves behind for the supervisor it starts: everything delegated, all extensions switched on. */
static void reset_under_builtin_sbi(struct cpu *cpu)
{
    uint64_t ext = cpu->isa_ext;
    cpu->medeleg = 0xb1ff;
    cpu->mideleg = 1ull << IRQ_SSI | 1ull << IRQ_STI | 1ull << IRQ_SEI;
    cpu->mcounteren = 0xffffffff;
    cpu->scounteren = 7;
    cpu->menvcfg = (ext >> EXT_ZICBOM & 1 ? 0x70 : 0) | (ext >> EXT_ZICBOZ & 1 ? 0x80 : 0) |
                   (ext >> EXT_SVADU & 1) << 61 | (ext >> EXT_SVPBMT & 1) << 62 | (ext >> EXT_SSTC & 1) << 63;
}

void cpu_reset(struct cpu *cpu, gva_t pc, uint64_t a0, uint64_t a1, uint8_t priv)
{
    cpu->resets++;
    memset(cpu->x, 0, sizeof(cpu->x));
    memset(cpu->f, 0, sizeof(cpu->f));
    cpu->x[10] = a0;
    cpu->x[11] = a1;
    cpu->pc = pc;
    cpu->priv = priv;
    cpu->wfi = false;
    cpu->lr_addr = ~0ull;
    cpu->exc_cause = EXC_NONE;
    cpu->exc_tval = 0;
    cpu->mstatus = UXL_SXL_64;
    cpu->misa = cpu->misa_reset;
    cpu->medeleg = cpu->mideleg = cpu->mie = cpu->mtvec = cpu->mcounteren = cpu->mscratch = 0;
    cpu->mepc = cpu->mcause = cpu->mtval = cpu->menvcfg = cpu->mseccfg = 0;
    cpu->stvec = cpu->scounteren = cpu->sscratch = cpu->sepc = cpu->scause = cpu->stval = 0;
    cpu->senvcfg = cpu->satp = cpu->mcountinhibit = 0;
    cpu->mcycle_off = cpu->minstret_off = -(int64_t)cpu_instret(cpu);
    cpu->miselect = cpu->siselect = cpu->mvien = cpu->mvip = 0;
    memset(cpu->mhpmevent, 0, sizeof(cpu->mhpmevent));
    memset(cpu->mhpmcounter, 0, sizeof(cpu->mhpmcounter));
    memset(cpu->pmpcfg, 0, sizeof(cpu->pmpcfg));
    memset(cpu->pmpaddr, 0, sizeof(cpu->pmpaddr));
    cpu->pmp_active = cpu->builtin_sbi ? 0 : 1;
    atomic_store(&cpu->stimecmp, ~0ull);
    atomic_store(&cpu->mtimecmp, ~0ull);
    /* The controllers' lines are theirs to change; what software set goes away. */
    atomic_fetch_and(&cpu->mip, 1ull << IRQ_MSI | 1ull << IRQ_MEI | 1ull << IRQ_SEI);
    if (cpu->builtin_sbi) {
        reset_under_builtin_sbi(cpu);
    }
    fp_set_fcsr(cpu, 0, 0);
    tlb_flush_all(cpu);
    tlb_context_update(cpu);
}

/* Follows a timer with its bit of mip: (now >= compare). */
static void follow_timer(struct cpu *cpu, unsigned irq, uint64_t compare, uint64_t now)
{
    uint64_t bit = 1ull << irq, mip = atomic_load_explicit(&cpu->mip, memory_order_relaxed);
    if (now >= compare && !(mip & bit)) {
        atomic_fetch_or(&cpu->mip, bit);
    } else if (now < compare && (mip & bit)) {
        atomic_fetch_and(&cpu->mip, ~bit);
    }
}

uint64_t cpu_mip(struct cpu *cpu)
{
    uint64_t s = atomic_load_explicit(&cpu->stimecmp, memory_order_relaxed);
    uint64_t m = atomic_load_explicit(&cpu->mtimecmp, memory_order_relaxed);
    uint64_t lines = atomic_load_explicit(&cpu->mip, memory_order_relaxed);
    bool stimecmp_drives = (cpu->menvcfg & STCE) || cpu->builtin_sbi;
    bool timer_bits = lines & (1ull << IRQ_MTI | 1ull << IRQ_STI);
    /* Reading the clock costs more than the rest: not while both timers are off. */
    if ((stimecmp_drives && s != ~0ull) || m != ~0ull || timer_bits) {
        uint64_t now = guest_ticks(cpu->machine);
        if (stimecmp_drives) {
            follow_timer(cpu, IRQ_STI, s, now);
        }
        follow_timer(cpu, IRQ_MTI, m, now);
    }
    return atomic_load(&cpu->mip) | cpu->mvip;
}

bool cpu_interrupt_pending(struct cpu *cpu)
{
    return (cpu_mip(cpu) & cpu->mie) != 0;
}

int cpu_highest_interrupt(uint64_t set)
{
    static const uint8_t order[] = {IRQ_MEI, IRQ_MSI, IRQ_MTI, IRQ_SEI, IRQ_SSI, IRQ_STI};
    for (unsigned i = 0; i < sizeof(order); i++) {
        if (set >> order[i] & 1) {
            return order[i];
        }
    }
    return -1;
}

static uint64_t vector(uint64_t tvec, bool is_interrupt, uint64_t code)
{
    return (tvec & ~3ull) + (is_interrupt && (tvec & 1) ? 4 * code : 0);
}

static void enter_supervisor(struct cpu *cpu, bool is_interrupt, uint64_t code, uint64_t tval)
{
    uint64_t s = cpu->mstatus & ~(MSTATUS_SPP | MSTATUS_SPIE | MSTATUS_SIE);
    s |= cpu->priv == PRIV_S ? MSTATUS_SPP : 0;
    s |= cpu->mstatus & MSTATUS_SIE ? MSTATUS_SPIE : 0;
    cpu->mstatus = s;
    cpu->scause = code | (is_interrupt ? CAUSE_INTERRUPT : 0);
    cpu->sepc = cpu->pc;
    cpu->stval = tval;
    cpu->priv = PRIV_S;
    cpu->pc = vector(cpu->stvec, is_interrupt, code);
}

static void enter_machine(struct cpu *cpu, bool is_interrupt, uint64_t code, uint64_t tval)
{
    uint64_t s = cpu->mstatus & ~(MSTATUS_MPP | MSTATUS_MPIE | MSTATUS_MIE);
    s |= (uint64_t)cpu->priv << 11;
    s |= cpu->mstatus & MSTATUS_MIE ? MSTATUS_MPIE : 0;
    cpu->mstatus = s;
    cpu->mcause = code | (is_interrupt ? CAUSE_INTERRUPT : 0);
    cpu->mepc = cpu->pc;
    cpu->mtval = tval;
    cpu->priv = PRIV_M;
    cpu->pc = vector(cpu->mtvec, is_interrupt, code);
}

static void enter(struct cpu *cpu, bool is_interrupt, uint64_t code, uint64_t tval)
{
    uint64_t deleg = is_interrupt ? cpu->mideleg : cpu->medeleg;
    bool to_supervisor = cpu->priv <= PRIV_S && (deleg >> code & 1);
    if (log_on(LOG_INT)) {
        log_write("hart %u: %s %" PRIu64 " at %016" PRIx64 " in priv %u to %c, tval %" PRIx64 "\n", cpu->hart,
                  is_interrupt ? "interrupt" : "exception", code, cpu->pc, cpu->priv, to_supervisor ? 'S' : 'M', tval);
    }
    (is_interrupt ? cpu->stats.interrupts : cpu->stats.traps)[code & 15]++;
    cpu->lr_addr = ~0ull;
    cpu->exc_cause = EXC_NONE;
    (to_supervisor ? enter_supervisor : enter_machine)(cpu, is_interrupt, code, tval);
    tlb_context_update(cpu);
}

void cpu_take_exception(struct cpu *cpu, uint32_t cause, uint64_t tval)
{
    if (cause == EXC_ECALL_S && cpu->builtin_sbi) {
        cpu->stats.sbi_calls++;
        sbi_ecall(cpu);
        return;
    }
    enter(cpu, false, cause, tval);
}

bool cpu_take_interrupt(struct cpu *cpu)
{
    uint64_t pending = cpu_mip(cpu) & cpu->mie;
    if (!pending) {
        return false;
    }
    bool m_enabled = cpu->priv < PRIV_M || (cpu->mstatus & MSTATUS_MIE);
    bool s_enabled = cpu->priv < PRIV_S || (cpu->priv == PRIV_S && (cpu->mstatus & MSTATUS_SIE));
    uint64_t set = m_enabled ? pending & ~cpu->mideleg : 0;
    if (!set && s_enabled) {
        set = pending & cpu->mideleg;
    }
    int irq = cpu_highest_interrupt(set);
    if (irq < 0) {
        return false;
    }
    cpu->wfi = false;
    enter(cpu, true, (uint64_t)irq, 0);
    return true;
}
