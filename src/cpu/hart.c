#include "internal.h"

/* The machine goes down or is about to be reset: no hart may run on behind its back. */
static bool machine_ends(const struct machine *m)
{
    int state = atomic_load(&m->state);
    return state == MACHINE_SHUTDOWN || state == MACHINE_RESET;
}

/* SBI HSM hart_start (SBI 2.0 chapter 9): S mode at start_addr, a0 = hart id, a1 = opaque. */
static void start(struct cpu *cpu)
{
    cpu_reset(cpu, cpu->start_addr, cpu->hart, cpu->start_opaque, PRIV_S);
    cpu->wfi = false;
    atomic_store(&cpu->hart_state, HART_STARTED);
}

bool hart_runnable(struct cpu *cpu)
{
    if (machine_ends(cpu->machine)) {
        return false;
    }
    switch (atomic_load(&cpu->hart_state)) {
    case HART_STARTED:
        if (cpu->wfi && !cpu_interrupt_pending(cpu)) {
            return false;
        }
        cpu->wfi = false;
        return true;
    case HART_START_PENDING:
        start(cpu);
        return true;
    case HART_SUSPENDED:
        if (!cpu_interrupt_pending(cpu)) {
            return false;
        }
        if (cpu->start_addr) { /* non-retentive: registers are lost, execution resumes as at a start */
            start(cpu);
        } else {
            cpu->wfi = false;
            atomic_store(&cpu->hart_state, HART_STARTED);
        }
        return true;
    case HART_STOP_PENDING:
        /* From here on another hart may start it again. */
        atomic_store(&cpu->hart_state, HART_STOPPED);
        return false;
    default:
        return false;
    }
}

uint64_t hart_deadline(const struct cpu *cpu, uint64_t before)
{
    int state = atomic_load(&cpu->hart_state);
    uint64_t deadline = UINT64_MAX;
    if ((state != HART_STARTED && state != HART_SUSPENDED) || machine_ends(cpu->machine)) {
        return deadline;
    }
    if (cpu->mie >> IRQ_STI & 1) {
        uint64_t t = atomic_load_explicit(&cpu->stimecmp, memory_order_relaxed);
        deadline = t > before ? t : deadline;
    }
    if (cpu->mie >> IRQ_MTI & 1) {
        uint64_t t = atomic_load_explicit(&cpu->mtimecmp, memory_order_relaxed);
        deadline = t > before && t < deadline ? t : deadline;
    }
    return deadline;
}

bool cpu_has_work(struct cpu *cpu)
{
    struct accel_state *s = cpu->machine->accel_data;
    return !atomic_load(&s->halt) && !atomic_load(&s->quit) && hart_runnable(cpu);
}
