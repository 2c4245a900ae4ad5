/*
 * -accel tcg,thread=single: one thread runs all harts in turn. It goes on to the next at WFI, at a spin hint and when
 * the quantum is used up; being asked something (CPU_EXIT_REQUEST) is no reason to go on, which also keeps -icount
 * deterministic.
 *
 * -icount: virtual time is the number of instructions of all harts, scaled. Slices end at the next timer of any hart,
 * so timers fire at the same instruction in each run. When all harts sleep, the thread sleeps as long as the guest
 * would, and the clock is then set to exactly the next timer's time.
 */
#include "internal.h"

enum { QUANTUM = 50000 };

/* (o) */
struct round_robin {
    struct vcpu_thread *t;
    struct accel_state *s;
    unsigned at;                           /* whose turn it is */
    uint64_t left;                         /* of its quantum */
    uint64_t warp_target_ns, warp_host_ns; /* -icount: the sleep under way, virtual and host end */
};

/* The hart to run now, or NULL when all sleep. */
static struct cpu *pick(struct round_robin *rr)
{
    unsigned n = rr->s->num_harts;
    if (rr->left > 0 && hart_runnable(rr->s->hart[rr->at].cpu)) {
        return rr->s->hart[rr->at].cpu;
    }
    for (unsigned i = 1; i <= n; i++) {
        unsigned next = (rr->at + i) % n;
        if (hart_runnable(rr->s->hart[next].cpu)) {
            rr->at = next;
            rr->left = QUANTUM;
            return rr->s->hart[next].cpu;
        }
    }
    rr->left = 0;
    return NULL;
}

/* The earliest timer of all harts in ticks. */
static uint64_t earliest(const struct round_robin *rr, uint64_t before)
{
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < rr->s->num_harts; i++) {
        uint64_t d = hart_deadline(rr->s->hart[i].cpu, before);
        first = d < first ? d : first;
    }
    return first;
}

/* -icount: instructions until the next timer, at least 1, at most `most`. */
static uint64_t until_timer(const struct round_robin *rr, uint64_t most)
{
    uint64_t ticks = earliest(rr, guest_ticks(rr->s->m));
    uint64_t now = atomic_load_explicit(&rr->s->icount_ns, memory_order_relaxed);
    if (ticks > (UINT64_MAX >> 1) / 100 || ticks * 100 <= now) {
        return most;
    }
    uint64_t step = 1ull << rr->s->icount_shift;
    uint64_t insns = (ticks * 100 - now + step - 1) >> rr->s->icount_shift;
    return insns < most ? insns : most;
}

static void run(struct round_robin *rr, struct cpu *cpu)
{
    struct accel_state *s = rr->s;
    work_drain_hart(hart_run_of(cpu));
    uint64_t quantum = s->icount ? until_timer(rr, rr->left) : rr->left;
    uint64_t start = cpu_instret(cpu);
    s->slice_cpu = cpu;
    s->slice_instret = start;
    enum cpu_exit why = thread_exec(rr->t, cpu, quantum);
    uint64_t used = cpu_instret(cpu) - start;
    s->slice_cpu = NULL;
    if (why == CPU_EXIT_QUANTUM && used < quantum) {
        used = quantum; /* a loop of traps retires nothing, and takes its time all the same */
    }
    if (s->icount) {
        uint64_t ns = atomic_load_explicit(&s->icount_ns, memory_order_relaxed);
        atomic_store_explicit(&s->icount_ns, ns + (used << s->icount_shift), memory_order_relaxed);
    }
    rr->left = rr->left > used ? rr->left - used : 0;
    rr->warp_target_ns = 0;
    if (why == CPU_EXIT_WFI) {
        cpu->wfi = true;
    }
    if (why == CPU_EXIT_WFI || why == CPU_EXIT_YIELD || why == CPU_EXIT_HALTED) {
        rr->left = 0;
    }
}

static bool any_runnable(const struct round_robin *rr)
{
    for (unsigned i = 0; i < rr->s->num_harts; i++) {
        if (hart_runnable(rr->s->hart[i].cpu)) {
            return true;
        }
    }
    return false;
}

/*
 * -icount: sleeps towards the next timer (deadline in ticks, UINT64_MAX = none). A wake-up that makes no hart runnable
 * changes nothing; one by an interrupt from outside lets the slept time count, for then the run depends on the outside
 * anyway.
 */
static void sleep_icount(struct round_robin *rr, uint32_t seq, uint64_t deadline)
{
    struct accel_state *s = rr->s;
    uint64_t virtual_now = atomic_load_explicit(&s->icount_ns, memory_order_relaxed);
    uint64_t target = deadline > (UINT64_MAX >> 1) / 100 ? UINT64_MAX : deadline * 100;
    uint64_t start = now_ns();
    if (rr->warp_target_ns != target || target == UINT64_MAX) {
        rr->warp_target_ns = target;
        rr->warp_host_ns = target == UINT64_MAX ? target : start + (target - virtual_now);
    }
    thread_sleep(rr->t, seq, rr->warp_host_ns);
    uint64_t now = now_ns();
    if (now >= rr->warp_host_ns) {
        atomic_store_explicit(&s->icount_ns, target, memory_order_relaxed);
    } else if (any_runnable(rr)) {
        uint64_t slept = now - start;
        if (slept < target - virtual_now) {
            atomic_store_explicit(&s->icount_ns, virtual_now + slept, memory_order_relaxed);
        }
    }
}

static void sleep_all(struct round_robin *rr, uint32_t seq, uint64_t before)
{
    uint64_t deadline = earliest(rr, before);
    uint64_t start = now_ns();
    if (rr->s->icount) {
        sleep_icount(rr, seq, deadline);
    } else {
        thread_sleep(rr->t, seq, deadline == UINT64_MAX ? deadline : guest_ticks_to_host_ns(rr->s->m, deadline));
    }
    uint64_t slept = now_ns() - start;
    for (unsigned i = 0; i < rr->s->num_harts; i++) {
        struct cpu *cpu = rr->s->hart[i].cpu;
        if (cpu->wfi && atomic_load(&cpu->hart_state) == HART_STARTED) {
            cpu->stats.wfi_ns += slept;
            cpu->stats.wfi_count++;
        }
    }
}

static void *all_vcpus_main(void *arg)
{
    struct vcpu_thread *t = arg;
    struct round_robin rr = {.t = t, .s = t->accel, .at = t->accel->num_harts - 1};
    thread_begin(t);
    uint32_t seq;
    while (thread_serve(t, &seq)) {
        uint64_t before = guest_ticks(rr.s->m);
        struct cpu *cpu = pick(&rr);
        if (cpu) {
            run(&rr, cpu);
        } else {
            sleep_all(&rr, seq, before);
        }
    }
    thread_end(t);
    return NULL;
}

static bool create_vcpu_threads(struct machine *m, struct error *err)
{
    return accel_start(m, true, all_vcpus_main, err);
}

const struct accel_ops accel_rr = {
    .name = "tcg,thread=single",
    .create_vcpu_threads = create_vcpu_threads,
    .kick = cpu_kick,
    .synchronize = accel_synchronize,
};
