/* State shared by ranks.c and ranks_post.c. */
#ifndef WEFT_RANKS_STATE_H
#define WEFT_RANKS_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "ranks.h"
#include "weft/cluster.h"
#include "weft/page_user.h"

/* What a hart has asked of another rank and waits for; one at a time. */
struct call {
    _Atomic uint32_t over; /* [a] futex */
    _Atomic uint32_t left; /* [a] answers to come */
    uint32_t number;       /* (o) tells answers of an earlier one apart */
    uint64_t value;        /* written before `over` */
    uint8_t bytes[RANKS_CONSOLE_MAX];
};

struct queued_ask;

/*
 * Legend: (c) fixed before the threads start  [a] atomic  [Q] queue_lock  (o) the hart's own thread
 */
struct ranks {
    struct machine *m;
    struct membership members; /* (c) */
    struct cluster *cluster;   /* (c) */
    struct page_users *users;  /* (c) */
    uint16_t rank_of_hart[WEFT_MAX_HARTS];
    bool ready;        /* main thread: all ranks were there */
    _Atomic int lost;  /* [a] */
    _Atomic bool over; /* [a] no answer will come any more */
    struct call call[WEFT_MAX_HARTS];

    /* Rank 0: asks that need the devices, in order; served by the main loop. */
    struct loop_bh *service_bh;
    pthread_mutex_t queue_lock;
    struct queued_ask *first, **last; /* [Q] */

    struct ranks_view *view;      /* ranks_view.h */
    struct ranks_figures figures; /* counters by __atomic_fetch_add */
};

/* Tells the machine that the run is over (run.c). */
void machine_ended(struct machine *m, int status);

/* ranks_post.c */
void ranks_on_post(void *opaque, unsigned src, uint32_t kind, const void *bytes, size_t length);
void ranks_remote_irq(struct cpu *cpu, uint64_t mask, bool level);
void ranks_serve_asks(void *opaque);
void ranks_calls_fail(struct ranks *r);
void ranks_queue_clear(struct ranks *r);

#endif
