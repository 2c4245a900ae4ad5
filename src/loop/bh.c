#include "internal.h"

#include <assert.h>
#include <stdlib.h>

void bh_init(struct loop_bh *bh, struct loop *loop, void (*cb)(void *opaque), void *opaque, unsigned flags)
{
    bh->loop = loop;
    bh->cb = cb;
    bh->opaque = opaque;
    bh->next = NULL;
    atomic_init(&bh->flags, flags);
}

struct loop_bh *loop_bh_create(struct loop *loop, void (*cb)(void *opaque), void *opaque)
{
    struct loop_bh *bh = malloc(sizeof(*bh));
    assert(bh);
    bh_init(bh, loop, cb, opaque, 0);
    return bh;
}

/*
 * The flag makes each bottom half stand in the list at most once, so `next` belongs to the thread that set it. Only
 * the push onto an empty list wakes the loop: whoever found it non-empty follows a push whose wake is still to be
 * seen, because the loop empties the eventfd before it takes the list (never the other way round).
 */
void loop_bh_schedule(struct loop_bh *bh)
{
    if (atomic_fetch_or_explicit(&bh->flags, BH_SCHEDULED, memory_order_acq_rel) & BH_SCHEDULED) {
        return;
    }
    /* Once pushed, a one-shot may be run and freed at any moment: nothing of *bh is read after the exchange. */
    struct loop *loop = bh->loop;
    struct loop_bh *head = atomic_load_explicit(&loop->bh_list, memory_order_relaxed);
    do {
        bh->next = head;
    } while (
        !atomic_compare_exchange_weak_explicit(&loop->bh_list, &head, bh, memory_order_seq_cst, memory_order_relaxed));
    if (!head) {
        loop_wake(loop);
    }
}

/* Takes the whole list and returns it oldest first. */
static struct loop_bh *take(struct loop *loop)
{
    struct loop_bh *bh = atomic_exchange_explicit(&loop->bh_list, NULL, memory_order_seq_cst);
    struct loop_bh *first = NULL;
    while (bh) {
        struct loop_bh *next = bh->next;
        bh->next = first;
        first = bh;
        bh = next;
    }
    return first;
}

void bh_run_all(struct loop *loop)
{
    struct loop_bh *bh = take(loop);
    while (bh) {
        /* Clearing the flag lets others push it again, and with that change `next`: read that first. The callback may
         * destroy its own bottom half; a later one of this list that it destroys is only marked, and freed here. */
        struct loop_bh *next = bh->next;
        unsigned flags = atomic_fetch_and_explicit(&bh->flags, ~(unsigned)BH_SCHEDULED, memory_order_acq_rel);
        if (flags & BH_DELETED) {
            free(bh);
        } else {
            bh->cb(bh->opaque);
        }
        bh = next;
    }
}

void bh_drain(struct loop *loop)
{
    struct loop_bh *bh = take(loop);
    while (bh) {
        struct loop_bh *next = bh->next;
        unsigned flags = atomic_fetch_and_explicit(&bh->flags, ~(unsigned)BH_SCHEDULED, memory_order_acq_rel);
        if (flags & BH_DELETED) {
            free(bh);
        } else if (flags & BH_ONESHOT) {
            bh->cb(bh->opaque);
        }
        bh = next;
    }
}

void loop_bh_destroy(struct loop_bh **bh)
{
    if (!*bh) {
        return;
    }
    /* In the list: the loop frees it when it comes by. Else nobody else knows it any more. */
    if (!(atomic_fetch_or_explicit(&(*bh)->flags, BH_DELETED, memory_order_acq_rel) & BH_SCHEDULED)) {
        free(*bh);
    }
    *bh = NULL;
}
