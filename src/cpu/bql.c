/*
 * The big lock. A mutex with its owner known, and figures that cost next to nothing: the clock is read only when one
 * has to wait, and for the holding time on each 64th acquisition (then counted 64 times).
 */
#include "internal.h"

#include <assert.h>

enum { HOLD_SAMPLE = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local bool held;

/* Written by the holder; read at any time by the report. */
static _Atomic uint64_t acquisitions, contended, hold_ns, wait_ns, max_hold_ns, max_wait_ns;
static uint64_t sampled_since_ns; /* the holder's; 0 = this acquisition is not sampled */

static uint64_t get(_Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static void add(_Atomic uint64_t *v, uint64_t n)
{
    atomic_store_explicit(v, get(v) + n, memory_order_relaxed);
}

static void raise_to(_Atomic uint64_t *v, uint64_t n)
{
    if (n > get(v)) {
        atomic_store_explicit(v, n, memory_order_relaxed);
    }
}

void bql_lock(void)
{
    assert(!held);
    if (pthread_mutex_trylock(&lock) != 0) {
        uint64_t start = now_ns();
        pthread_mutex_lock(&lock);
        uint64_t waited = now_ns() - start;
        add(&contended, 1);
        add(&wait_ns, waited);
        raise_to(&max_wait_ns, waited);
    }
    held = true;
    sampled_since_ns = get(&acquisitions) % HOLD_SAMPLE == 0 ? now_ns() : 0;
    add(&acquisitions, 1);
}

void bql_unlock(void)
{
    assert(held);
    if (sampled_since_ns) {
        uint64_t ns = now_ns() - sampled_since_ns;
        add(&hold_ns, ns * HOLD_SAMPLE);
        raise_to(&max_hold_ns, ns);
    }
    held = false;
    pthread_mutex_unlock(&lock);
}

bool bql_held(void)
{
    return held;
}

void bql_read_stats(struct bql_stats *out)
{
    *out = (struct bql_stats){
        .acquisitions = get(&acquisitions),
        .contended = get(&contended),
        .hold_ns = get(&hold_ns),
        .wait_ns = get(&wait_ns),
        .max_hold_ns = get(&max_hold_ns),
        .max_wait_ns = get(&max_wait_ns),
    };
}
