/* Waiting for other ranks, and work for harts that another rank asked for. Over ranks only. */
#include "internal.h"

#include <assert.h>
#include <stdlib.h>

#include "weft/page_user.h"

void cpu_rest_wait(struct cpu *cpu, _Atomic uint32_t *word)
{
    struct vcpu_thread *me = hart_run_of(cpu)->thread;
    assert(!bql_held() && thread_self() == me);
    tlb_rest_begin(cpu);
    if (!spin_while(word, 0, me->accel->spin)) {
        thread_rest_served(me);
        while (!atomic_load(word)) {
            futex_wait(word, 0, UINT64_MAX);
        }
        thread_resume(me);
    }
    tlb_rest_end(cpu);
}

void cpu_away_wait(struct cpu *cpu, _Atomic uint32_t *word)
{
    assert(!bql_held());
    tlb_rest_begin(cpu);
    if (!spin_while(word, 0, accel_current()->spin)) {
        while (!atomic_load(word)) {
            futex_wait(word, 0, UINT64_MAX);
        }
    }
    tlb_rest_end(cpu);
}

void cpu_wait_wake(_Atomic uint32_t *word)
{
    atomic_store(word, 1);
    futex_wake_all(word);
}

/* ---- work for several harts, with an end that nobody waits for ---- */

/* One hart's part. Settled once: by the hart, or by the poster when it finds the hart at rest. */
struct piece {
    struct counted *of;
    _Atomic bool settled;
};

struct counted {
    void (*fn)(struct cpu *cpu, uint64_t a, uint64_t b);
    uint64_t a, b;
    void (*done)(void *opaque);
    void *opaque;
    _Atomic uint32_t left, refs; /* [a] parts, and the poster */
    struct piece piece[];
};

static void put(struct counted *c)
{
    if (atomic_fetch_sub(&c->refs, 1) == 1) {
        free(c);
    }
}

static void left_down(struct counted *c)
{
    if (atomic_fetch_sub(&c->left, 1) == 1) {
        c->done(c->opaque);
    }
}

static void settle(struct piece *p)
{
    if (!atomic_exchange(&p->settled, true)) {
        left_down(p->of);
    }
}

static void run_piece(struct cpu *cpu, uint64_t a, uint64_t b)
{
    struct piece *p = (struct piece *)(uintptr_t)a;
    p->of->fn(cpu, p->of->a, p->of->b);
    settle(p);
    put(p->of);
}

void cpu_run_counted(const struct bitmap *mask, cpu_work_fn *fn, uint64_t a, uint64_t b, void (*done)(void *opaque),
                     void *opaque)
{
    struct accel_state *s = accel_current();
    unsigned n = 0, k = 0;
    for (unsigned i = 0; s && i < s->num_harts; i++) {
        n += s->hart[i].thread && bitmap_test(mask, i);
    }
    struct counted *c = malloc(sizeof(*c) + n * sizeof(c->piece[0]));
    assert(c);
    c->fn = fn;
    c->a = a;
    c->b = b;
    c->done = done;
    c->opaque = opaque;
    atomic_init(&c->left, n + 1);
    atomic_init(&c->refs, n + 1);
    for (unsigned i = 0; k < n; i++) {
        struct hart_run *h = &s->hart[i];
        if (!h->thread || !bitmap_test(mask, i)) {
            continue;
        }
        struct piece *p = &c->piece[k++];
        p->of = c;
        atomic_init(&p->settled, false);
        cpu_run_async(h->cpu, run_piece, (uintptr_t)p, 0);
        if (atomic_load(&h->thread->phase) == PHASE_RESTING) {
            settle(p);
        }
    }
    left_down(c);
    put(c);
}
