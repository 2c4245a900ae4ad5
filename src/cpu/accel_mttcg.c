/* -accel tcg,thread=multi: a thread per hart. */
#include "internal.h"

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
        } else if (thread_exec(t, cpu, 0) == CPU_EXIT_WFI) {
            cpu->wfi = true;
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
