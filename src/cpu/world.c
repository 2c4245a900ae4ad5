/*
 * Stopping the world: an exclusive section (short, from anywhere) and the machine-wide pause (long, main loop).
 *
 * Who stops sets its bit in `halt`, kicks the ACTIVE threads and waits until none is. A thread that becomes ACTIVE
 * reads halt afterwards and goes back to rest; one that comes to rest reads halt afterwards and tells (rest_seq).
 * `exclusive` makes exclusive sections and the setting of HALT_PAUSED follow one another, so a hart never begins an
 * exclusive section in a machine that is paused, and a pause never begins inside one.
 */
#include "internal.h"

#include <assert.h>

void thread_rest(struct vcpu_thread *t)
{
    struct accel_state *s = t->accel;
    atomic_store(&t->phase, PHASE_RESTING);
    if (atomic_load(&s->halt)) {
        atomic_fetch_add(&s->rest_seq, 1);
        futex_wake_all(&s->rest_seq);
    }
}

void thread_resume(struct vcpu_thread *t)
{
    struct accel_state *s = t->accel;
    for (;;) {
        atomic_store(&t->phase, PHASE_ACTIVE);
        uint32_t halt = atomic_load(&s->halt);
        if (halt == 0) {
            break;
        }
        thread_rest(t);
        futex_wait(&s->halt, halt, UINT64_MAX);
    }
    work_drain(t);
}

/* Waits until no thread but `me` is ACTIVE; halt is set. */
static void wait_all_resting(struct accel_state *s, const struct vcpu_thread *me)
{
    for (unsigned i = 0; i < s->num_threads; i++) {
        struct vcpu_thread *t = &s->thread[i];
        if (t != me && atomic_load(&t->phase) == PHASE_ACTIVE) {
            thread_kick(t);
        }
    }
    for (unsigned i = 0; i < s->num_threads; i++) {
        struct vcpu_thread *t = &s->thread[i];
        if (t == me || spin_while(&t->phase, PHASE_ACTIVE, s->spin)) {
            continue;
        }
        for (;;) {
            uint32_t seq = atomic_load(&s->rest_seq);
            if (atomic_load(&t->phase) != PHASE_ACTIVE) {
                break;
            }
            futex_wait(&s->rest_seq, seq, UINT64_MAX);
        }
    }
}

static void clear_halt(struct accel_state *s, uint32_t bit)
{
    atomic_fetch_and(&s->halt, ~bit);
    futex_wake_all(&s->halt);
}

void cpu_exclusive_begin(struct machine *m, struct cpu *self)
{
    struct accel_state *s = m->accel_data;
    struct vcpu_thread *me = self ? hart_run_of(self)->thread : NULL;
    assert(!bql_held());
    if (me) {
        thread_rest(me);
    }
    for (;;) {
        pthread_mutex_lock(&s->exclusive);
        uint32_t halt = atomic_load(&s->halt);
        if (!me || !(halt & HALT_PAUSED)) {
            break;
        }
        pthread_mutex_unlock(&s->exclusive);
        futex_wait(&s->halt, halt, UINT64_MAX);
    }
    atomic_fetch_or(&s->halt, HALT_EXCLUSIVE);
    wait_all_resting(s, me);
}

void cpu_exclusive_end(struct machine *m, struct cpu *self)
{
    struct accel_state *s = m->accel_data;
    clear_halt(s, HALT_EXCLUSIVE);
    pthread_mutex_unlock(&s->exclusive);
    if (self) {
        thread_resume(hart_run_of(self)->thread);
    }
}

void cpu_stop_all(struct machine *m)
{
    struct accel_state *s = m->accel_data;
    assert(!thread_self());
    /* A hart may be waiting for the BQL in the middle of an access; it has to get it to come to rest. */
    bool had_bql = bql_held();
    if (had_bql) {
        bql_unlock();
    }
    pthread_mutex_lock(&s->exclusive);
    if (!(atomic_fetch_or(&s->halt, HALT_PAUSED) & HALT_PAUSED)) {
        wait_all_resting(s, NULL);
        atomic_store(&s->paused_at_ns, guest_clock_ns(m));
    }
    pthread_mutex_unlock(&s->exclusive);
    if (had_bql) {
        bql_lock();
    }
}

uint64_t cpu_paused_at_ns(struct machine *m)
{
    struct accel_state *s = m->accel_data;
    return atomic_load(&s->paused_at_ns);
}

void cpu_resume_all(struct machine *m)
{
    struct accel_state *s = m->accel_data;
    if (atomic_load(&s->halt) & HALT_PAUSED) {
        /* The guest does not see the time that it stood still. */
        uint64_t base = __atomic_load_n(&m->clock_base_ns, __ATOMIC_RELAXED);
        cpu_resume_all_at(m, base + guest_clock_ns(m) - atomic_load(&s->paused_at_ns));
    }
}

void cpu_resume_all_at(struct machine *m, uint64_t clock_base_ns)
{
    struct accel_state *s = m->accel_data;
    assert(!thread_self());
    if (!(atomic_load(&s->halt) & HALT_PAUSED)) {
        return;
    }
    __atomic_store_n(&m->clock_base_ns, clock_base_ns, __ATOMIC_RELAXED);
    atomic_store(&s->paused_at_ns, 0);
    clear_halt(s, HALT_PAUSED);
    /* What the main loop changed meanwhile (a reset, the machine's state) may give sleeping harts something to do. */
    for (unsigned i = 0; i < s->num_threads; i++) {
        thread_kick(&s->thread[i]);
    }
}
