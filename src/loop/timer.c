#include "internal.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

uint64_t loop_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void put(struct timer_heap *h, size_t i, struct loop_timer *t)
{
    h->at[i] = t;
    t->index = i;
}

/* Moves t, which belongs at or above place i, up to where its parent is not later. */
static void sift_up(struct timer_heap *h, size_t i, struct loop_timer *t)
{
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (h->at[parent]->deadline_ns <= t->deadline_ns) {
            break;
        }
        put(h, i, h->at[parent]);
        i = parent;
    }
    put(h, i, t);
}

static void sift_down(struct timer_heap *h, size_t i, struct loop_timer *t)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->count) {
            break;
        }
        if (child + 1 < h->count && h->at[child + 1]->deadline_ns < h->at[child]->deadline_ns) {
            child++;
        }
        if (t->deadline_ns <= h->at[child]->deadline_ns) {
            break;
        }
        put(h, i, h->at[child]);
        i = child;
    }
    put(h, i, t);
}

static void heap_remove(struct timer_heap *h, struct loop_timer *t)
{
    size_t i = t->index;
    t->index = TIMER_IDLE;
    struct loop_timer *last = h->at[--h->count];
    if (last == t) {
        return;
    }
    sift_down(h, i, last);
    sift_up(h, last->index, last);
}

static void heap_insert(struct timer_heap *h, struct loop_timer *t)
{
    if (h->count == h->room) {
        h->room = h->room ? 2 * h->room : 16;
        h->at = realloc(h->at, h->room * sizeof(*h->at));
        assert(h->at);
    }
    h->count++;
    sift_up(h, h->count - 1, t);
}

struct loop_timer *loop_timer_create(struct loop *loop, void (*cb)(void *opaque), void *opaque)
{
    struct loop_timer *t = calloc(1, sizeof(*t));
    assert(t);
    t->loop = loop;
    t->cb = cb;
    t->opaque = opaque;
    t->index = TIMER_IDLE;
    return t;
}

void loop_timer_arm(struct loop_timer *t, uint64_t deadline_ns)
{
    struct loop *loop = t->loop;
    if (t->index != TIMER_IDLE) {
        heap_remove(&loop->timers, t);
    }
    t->deadline_ns = deadline_ns;
    t->pass = loop->pass;
    heap_insert(&loop->timers, t);
    /* A holder of the BQL armed it while the loop sleeps for something later. */
    if (deadline_ns < loop->polled_deadline && !loop_on_own_thread(loop)) {
        loop_wake(loop);
    }
}

void loop_timer_cancel(struct loop_timer *t)
{
    if (t->index != TIMER_IDLE) {
        heap_remove(&t->loop->timers, t);
    }
}

void loop_timer_destroy(struct loop_timer **t)
{
    if (*t) {
        loop_timer_cancel(*t);
        free(*t);
        *t = NULL;
    }
}

uint64_t timer_next(const struct loop *loop)
{
    return loop->timers.count ? loop->timers.at[0]->deadline_ns : UINT64_MAX;
}

void timer_run_due(struct loop *loop)
{
    struct timer_heap *h = &loop->timers;
    if (h->count == 0) {
        return;
    }
    uint64_t now = loop_now_ns();
    loop->pass++;
    while (h->count > 0 && h->at[0]->deadline_ns <= now && h->at[0]->pass != loop->pass) {
        struct loop_timer *t = h->at[0];
        heap_remove(h, t);
        t->cb(t->opaque); /* may destroy t */
    }
}
