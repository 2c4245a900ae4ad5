/* Estimates another clock from timed round trips. Pure: times are arguments. */
#ifndef WEFT_CLOCK_SYNC_H
#define WEFT_CLOCK_SYNC_H

#include <stdint.h>

enum { CLOCK_SAMPLES = 16 };

struct clock_sync {
    int64_t offset[CLOCK_SAMPLES]; /* other minus own */
    uint64_t rtt[CLOCK_SAMPLES];
    unsigned next, count;
    int64_t target;      /* the best offset known */
    int64_t applied;     /* what clock_sync_now() adds; moves towards target */
    uint64_t applied_at; /* own time of the last move */
    uint64_t last;       /* the greatest time given out */
};

/* One round trip: own `sent` and `now`, the other's `received` and `echoed`. */
void clock_sync_sample(struct clock_sync *s, uint64_t sent, uint64_t received, uint64_t echoed, uint64_t now);

/* The other clock at own time `now`. Never less than before: corrections are slewed at 500 ppm, or waited out. */
uint64_t clock_sync_now(struct clock_sync *s, uint64_t now);

/* Half of the best round trip among the samples: the offset is at most so wrong. UINT64_MAX before the first. */
uint64_t clock_sync_residual(const struct clock_sync *s);

#endif
