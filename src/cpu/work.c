/*
 * Work for harts. Lists are pushed lock-free by anybody and taken whole by the hart's thread.
 *
 * A poster that finds the thread RESTING does not wait: the thread looks at its lists after it has become ACTIVE and
 * before it runs guest code, and the poster pushed before it read the phase. One that finds it ACTIVE kicks and waits:
 * either the loop head sees the work, or the thread goes to rest (its sleep then fails because of the kick) and does
 * the work when it resumes. While it waits, a vCPU thread is itself RESTING, so that one that stops the world does not
 * wait for it. Work that was posted to it before it came to rest has somebody waiting who may be the very one it waits
 * for: it looks once more after it came to rest, and does that work first. What comes later is not waited for.
 */
#include "internal.h"

#include <assert.h>
#include <stdlib.h>

/* A sleeping hart is woken to do its work when so much has gathered. */
enum { WORK_QUEUE_MAX = 256 };

static struct work *work_new(cpu_work_fn *fn, uint64_t a, uint64_t b, uint32_t refs)
{
    struct work *w = malloc(sizeof(*w));
    assert(w);
    w->next = NULL;
    w->fn = fn;
    w->a = a;
    w->b = b;
    atomic_init(&w->state, WORK_QUEUED);
    atomic_init(&w->refs, refs);
    return w;
}

static void work_put(struct work *w)
{
    if (atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) == 1) {
        free(w);
    }
}

/* Returns how many stand in the list now. */
static uint32_t push(struct hart_run *h, struct work *w)
{
    uint32_t n = atomic_fetch_add_explicit(&h->queued, 1, memory_order_relaxed) + 1;
    struct work *head = atomic_load_explicit(&h->work, memory_order_relaxed);
    do {
        w->next = head;
    } while (!atomic_compare_exchange_weak(&h->work, &head, w));
    return n;
}

static void complete(struct work *w)
{
    if (atomic_exchange(&w->state, WORK_DONE) == WORK_AWAITED) {
        futex_wake_all(&w->state);
    }
    work_put(w);
}

void work_drain_hart(struct hart_run *h)
{
    while (atomic_load(&h->work)) {
        struct work *w = atomic_exchange(&h->work, NULL);
        struct work *first = NULL;
        uint32_t n = 0;
        while (w) { /* oldest first */
            struct work *next = w->next;
            w->next = first;
            first = w;
            w = next;
            n++;
        }
        atomic_fetch_sub_explicit(&h->queued, n, memory_order_relaxed);
        struct cpu *before = thread_set_current(h->cpu);
        while (first) {
            struct work *next = first->next;
            first->fn(h->cpu, first->a, first->b);
            complete(first);
            first = next;
        }
        thread_set_current(before);
    }
}

void work_drain(struct vcpu_thread *t)
{
    for (unsigned i = 0; i < t->num_harts; i++) {
        work_drain_hart(&t->hart[i]);
    }
}

static bool work_pending(const struct vcpu_thread *t)
{
    for (unsigned i = 0; i < t->num_harts; i++) {
        if (atomic_load(&t->hart[i].work)) {
            return true;
        }
    }
    return false;
}

void work_discard(struct hart_run *h)
{
    struct work *w = atomic_exchange(&h->work, NULL);
    while (w) {
        struct work *next = w->next;
        complete(w);
        w = next;
    }
}

void cpu_run_async(struct cpu *cpu, cpu_work_fn *fn, uint64_t a, uint64_t b)
{
    struct hart_run *h = hart_run_of(cpu);
    uint32_t n = push(h, work_new(fn, a, b, 1));
    if (thread_self() == h->thread && atomic_load(&h->thread->current) != cpu) {
        return; /* single: done before that hart is run next */
    }
    if (atomic_load(&h->thread->phase) == PHASE_ACTIVE || n > WORK_QUEUE_MAX) {
        thread_kick(h->thread);
    }
}

static void wait_done(struct accel_state *s, struct work *w)
{
    if (!spin_while(&w->state, WORK_QUEUED, s->spin)) {
        uint32_t queued = WORK_QUEUED;
        atomic_compare_exchange_strong(&w->state, &queued, WORK_AWAITED);
        while (atomic_load(&w->state) != WORK_DONE) {
            futex_wait(&w->state, WORK_AWAITED, UINT64_MAX);
        }
    }
    work_put(w);
}

void thread_rest_served(struct vcpu_thread *t)
{
    thread_rest(t);
    while (work_pending(t)) {
        thread_resume(t);
        thread_rest(t);
    }
}

void cpu_run_on_all(struct cpu *self, const struct bitmap *mask, cpu_work_fn *fn, uint64_t a, uint64_t b)
{
    struct accel_state *s = accel_current();
    struct vcpu_thread *me = thread_self();
    struct work *waiting[WEFT_MAX_HARTS];
    unsigned n = 0;
    assert(!bql_held());
    for (int i = bitmap_next(mask, 0); i >= 0 && (unsigned)i < s->num_harts; i = bitmap_next(mask, (unsigned)i + 1)) {
        struct hart_run *h = &s->hart[i];
        if (h->cpu == self || !h->thread) {
            continue;
        }
        if (h->thread == me) { /* single: that hart is at a safe point, and this is its thread */
            work_drain_hart(h);
            struct cpu *before = thread_set_current(h->cpu);
            fn(h->cpu, a, b);
            thread_set_current(before);
            continue;
        }
        struct work *w = work_new(fn, a, b, 2);
        uint32_t queued = push(h, w);
        if (atomic_load(&h->thread->phase) == PHASE_ACTIVE) {
            thread_kick(h->thread);
            waiting[n++] = w;
        } else {
            work_put(w);
            if (queued > WORK_QUEUE_MAX) {
                thread_kick(h->thread);
            }
        }
    }
    if (n == 0) {
        return;
    }
    if (me) {
        thread_rest_served(me);
    }
    for (unsigned i = 0; i < n; i++) {
        wait_done(s, waiting[i]);
    }
    if (me) {
        thread_resume(me);
    }
}
