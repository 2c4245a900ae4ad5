/* -accel tcg,thread=multi: a thread per hart. */
#include "internal.h"

#include <sched.h>

/* Asleep in WFI or stopped. `before` is a time from before hart_runnable said no. */
static void sleep_hart(struct vcpu_thread *t, struct cpu *cpu, uint32_t seq, uint64_t before)
{
    uint64_t deadline = hart_deadline(cpu, before);
    uint64_t start = now_ns();
    thread_sleep(t, seq, deadline == UINT64_MAX ? deadline : guest_ticks_to_host_ns(cpu->machine, deadline));
    if (atomic_load(&cpu->hart_state) == HART_STARTED) {
        cpu->stats.wfi_ns += now_ns() - start;
        cpu->stats.wfi_count++;
    }
}

enum {
    SPIN_INSNS = 256,      /* a hart that yields again after fewer instructions is waiting for another one */
    SPIN_FREE = 32,        /* that often it just tries again, */
    SPIN_YIELDS = 64,      /* then it lets other threads run, */
    SPIN_SLEEP_NS = 10000, /* and where harts outnumber cores it sleeps, longer each time up to 16 times that: the hart
                            * it waits for may need this core. Anything that concerns it wakes it. */
};

/* After a spin hint. A guest that spins for a lock whose holder's thread is not running would keep it from running. */
static void spin_wait(struct vcpu_thread *t, struct cpu *cpu, uint32_t seq)
{
    uint64_t done = cpu_instret(cpu);
    t->spins = done - t->spin_instret < SPIN_INSNS ? t->spins + 1 : 0;
    t->spin_instret = done;
    if (t->spins < SPIN_FREE) {
        return;
    }
    if (t->spins < SPIN_YIELDS || t->accel->may_poll) {
        sched_yield();
        return;
    }
    unsigned longer = t->spins / SPIN_YIELDS;
    thread_sleep(t, seq, now_ns() + (uint64_t)SPIN_SLEEP_NS * (longer < 16 ? longer : 16));
}

static void *vcpu_main(void *arg)
{
    struct vcpu_thread *t = arg;
    struct cpu *cpu = t->hart->cpu;
    thread_begin(t);
    uint32_t seq;
    while (thread_serve(t, &seq)) {
        uint64_t before = cpu->wfi ? guest_ticks(cpu->machine) : 0;
        if (!hart_runnable(cpu)) {
            sleep_hart(t, cpu, seq, before);
            continue;
        }
        enum cpu_exit why = thread_exec(t, cpu, 0);
        if (why == CPU_EXIT_WFI) {
            cpu->wfi = true;
        } else if (why == CPU_EXIT_YIELD) {
            spin_wait(t, cpu, seq);
        }
    }
    thread_end(t);
    return NULL;
}

static bool create_vcpu_threads(struct machine *m, struct error *err)
{
    return accel_start(m, false, vcpu_main, err);
}

const struct accel_ops accel_mttcg = {
    .name = "tcg,thread=multi",
    .create_vcpu_threads = create_vcpu_threads,
    .kick = cpu_kick,
    .synchronize = accel_synchronize,
};
