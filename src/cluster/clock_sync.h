/*
 * The one clock of all ranks: rank 0's, estimated from timed round trips, and never behind what any rank has heard of.
 *
 * An estimate is wrong by half a round trip at most, so two ranks differ, and a hart could read an earlier time than
 * the one that it was told of by another. Therefore what leaves a rank carries its time, and a receiver whose clock is
 * behind moves it forward to that before anything else of what came is seen: time = max(estimate, times told or heard).
 * No rank's time is ever ahead of the estimate that is furthest ahead, so they do not drive one another on.
 *
 * Pure: times are arguments. Threads: clock_sync_sample and clock_sync_hear from one at a time, the rest from any.
 */
#ifndef WEFT_CLOCK_SYNC_H
#define WEFT_CLOCK_SYNC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    CLOCK_SAMPLES = 16,
    /* A rank begins when it knows the clock so well. */
    CLOCK_ERROR_MAX_NS = 250000000,
    /* A time that is further ahead of the receiver's estimate is none: two errors, and twice as much for a host that
     * was itself stopped for a moment. */
    CLOCK_AHEAD_MAX_NS = 1000000000,
};

/* Legend: (c) fixed at init  [S] whoever samples and hears  [a] atomic, written by [S]  [w] atomic, written by any */
struct clock_sync {
    bool same;                     /* (c) own clock and the other one are one; samples are for show */
    int64_t offset[CLOCK_SAMPLES]; /* [S] other minus own */
    uint64_t rtt[CLOCK_SAMPLES];   /* [S] */
    uint64_t taken[CLOCK_SAMPLES]; /* [S] own time */
    unsigned next, count;          /* [S] */
    uint64_t slewed;               /* [S] own time of the last move */
    _Atomic int64_t applied;       /* [a] what is added to the own clock; moves towards the best offset known */
    _Atomic uint64_t error;        /* [a] bound of its error; UINT64_MAX before the first sample */
    _Atomic uint64_t floor;        /* [w] the greatest time told or heard */
    uint64_t raised, raised_max;   /* [S] times heard that were ahead; the most, in ns */
};

/* `same`: both ranks are on one host, whose clock is known without an estimate. */
void clock_sync_init(struct clock_sync *s, bool same);

/* One round trip: own `sent` and `now`, the other's `received` and `echoed`. Nonsense is not taken. Corrections are
 * slewed at 500 ppm. */
void clock_sync_sample(struct clock_sync *s, uint64_t sent, uint64_t received, uint64_t echoed, uint64_t now);

/* The clock at own time `now`: never less than what was told before, to whatever thread, or heard. 0: not known yet. */
uint64_t clock_sync_now(struct clock_sync *s, uint64_t now);

/* Another rank's time came at own time `now`. False: no clock of this run can be so far ahead, and nothing was done.
 * Before the first sample nothing is known and nothing done. */
bool clock_sync_hear(struct clock_sync *s, uint64_t now, uint64_t time);

/* The estimate is at most so wrong: half of a round trip, what clocks of two hosts drift since, and what is not slewed
 * yet. UINT64_MAX before the first sample. */
uint64_t clock_sync_error(const struct clock_sync *s);

#endif
