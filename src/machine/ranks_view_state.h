/* What ranks_view.c and ranks_measure.c share. */
#ifndef WEFT_RANKS_VIEW_STATE_H
#define WEFT_RANKS_VIEW_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "ranks_state.h"
#include "ranks_view.h"
#include "weft/symbols.h"

enum {
    VIEW_WAIT_MS = 3000,      /* a rank that has not told by then is left out */
    VIEW_MAX_BYTES = 4 << 20, /* of one rank's text */
    VIEW_TEXTS = 2,           /* a view, a table */
};

/* A text that comes in parts, in order. */
struct incoming {
    uint32_t number;
    size_t have, total;
    char *text;
};

/*
 * Legend: (c) fixed before the threads start  [C] coherence thread  [V] lock  [a] atomic  [M] main thread
 */
struct ranks_view {
    struct ranks *r;                                      /* (c) */
    struct symbols *symbols;                              /* (c) rank 0, or NULL */
    struct loop_bh *bh;                                   /* (c) main loop: answers asks, prints tables */
    struct incoming incoming[VIEW_TEXTS][WEFT_MAX_RANKS]; /* [C] */
    _Atomic uint64_t asked;                               /* [a] ranks that wait for this one's view */
    _Atomic uint32_t ask_number[WEFT_MAX_RANKS];          /* [a] */

    pthread_mutex_t gather_lock; /* one gathering at a time; taken before `lock` */
    pthread_mutex_t lock;        /* leaf */
    pthread_cond_t told;
    uint32_t number;             /* [V] of the gathering under way */
    char *view[WEFT_MAX_RANKS];  /* [V] what came for it */
    char *table[WEFT_MAX_RANKS]; /* [V] to be printed by the main loop */

    /* Round trips. */
    uint64_t pong_at;                                /* [V] when the answer to ping_number came, or 0 */
    uint32_t ping_number;                            /* [V] */
    uint64_t rtt_ns[WEFT_MAX_RANKS];                 /* (c) this rank's */
    uint64_t all_ns[WEFT_MAX_RANKS][WEFT_MAX_RANKS]; /* (c) everybody's */
    bool distances_measured;                         /* (c) */

    json_t *all; /* [M] what the ranks told at the end */
};

bool ranks_measure_post(struct ranks *r, unsigned src, uint32_t kind, const void *bytes, size_t length);

#endif
