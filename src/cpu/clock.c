/*
 * Guest time. Ticks of 100 ns since clock_base_ns, by CLOCK_MONOTONIC, which never steps back between threads, or over
 * several hosts by a clock that does not between their threads either; it stands still while the machine is paused.
 * Under time dilation a tick takes so many times longer; everything below the ticks, clock_base_ns too, stays host
 * time. Under -icount it is the number of instructions that all harts have executed, scaled, plus the time that all of
 * them slept.
 */
#include "internal.h"

enum { NS_PER_TICK = 1000000000 / GUEST_TIMEBASE_HZ };

static uint64_t host_ns_per_tick(const struct machine *m)
{
    return (uint64_t)NS_PER_TICK * (m->time_dilation > 1 ? m->time_dilation : 1);
}

static uint64_t base_ns(const struct machine *m)
{
    return __atomic_load_n(&m->clock_base_ns, __ATOMIC_RELAXED);
}

uint64_t guest_clock_ns(struct machine *m)
{
    return m->clock_ns ? m->clock_ns(m) : now_ns();
}

/* The vCPU thread sees its own slice as it goes on; others see the end of the last one. */
static uint64_t icount_now_ns(struct accel_state *s)
{
    uint64_t ns = atomic_load_explicit(&s->icount_ns, memory_order_relaxed);
    if (thread_self() && s->slice_cpu) {
        ns += (cpu_instret(s->slice_cpu) - s->slice_instret) << s->icount_shift;
    }
    return ns;
}

uint64_t guest_ticks(struct machine *m)
{
    struct accel_state *s = m->accel_data;
    uint64_t now;
    if (s && s->icount) {
        return icount_now_ns(s) / NS_PER_TICK;
    }
    uint64_t paused_at = s ? atomic_load_explicit(&s->paused_at_ns, memory_order_relaxed) : 0;
    now = paused_at ? paused_at : guest_clock_ns(m);
    uint64_t base = base_ns(m); /* another rank may have chosen it by a clock that is a trifle ahead */
    uint64_t host = now > base ? now - base : 0;
    /* Guests read the clock often: the division by a constant is a multiplication. */
    return m->time_dilation <= 1 ? host / NS_PER_TICK : host / host_ns_per_tick(m);
}

uint64_t guest_ticks_to_host_ns(struct machine *m, uint64_t ticks)
{
    struct accel_state *s = m->accel_data;
    uint64_t per_tick = s && s->icount ? NS_PER_TICK : host_ns_per_tick(m);
    if (ticks > (UINT64_MAX >> 1) / per_tick) {
        return UINT64_MAX; /* centuries away: never */
    }
    uint64_t ns = ticks * per_tick;
    if (s && s->icount) {
        uint64_t virtual_now = icount_now_ns(s);
        return now_ns() + (ns > virtual_now ? ns - virtual_now : 0);
    }
    if (m->clock_ns) {
        uint64_t there = m->clock_ns(m), when = base_ns(m) + ns;
        return now_ns() + (when > there ? when - there : 0);
    }
    return base_ns(m) + ns;
}
