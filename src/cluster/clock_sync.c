#include "clock_sync.h"

enum {
    SLEW = 2000,   /* one part in so many */
    DRIFT = 10000, /* clocks of two hosts run apart by less than one part in so many */
};

/* No host is up for a century and a half: what differs by less can be added and subtracted. */
#define UPTIME_MAX_NS (1ull << 62)

static uint64_t error_of(const struct clock_sync *s, unsigned i, uint64_t now)
{
    return s->rtt[i] / 2 + (now > s->taken[i] ? (now - s->taken[i]) / DRIFT : 0);
}

static unsigned best(const struct clock_sync *s, uint64_t now)
{
    unsigned b = 0;
    for (unsigned i = 1; i < s->count; i++) {
        b = error_of(s, i, now) < error_of(s, b, now) ? i : b;
    }
    return b;
}

void clock_sync_init(struct clock_sync *s, bool same)
{
    *s = (struct clock_sync){.same = same, .error = UINT64_MAX};
}

void clock_sync_sample(struct clock_sync *s, uint64_t sent, uint64_t received, uint64_t echoed, uint64_t now)
{
    if (now < sent || now >= UPTIME_MAX_NS || echoed < received || echoed >= UPTIME_MAX_NS ||
        echoed - received > now - sent) {
        return;
    }
    s->rtt[s->next] = (now - sent) - (echoed - received);
    s->offset[s->next] = (int64_t)(received - sent) / 2 + (int64_t)(echoed - now) / 2;
    s->taken[s->next] = now;
    s->next = (s->next + 1) % CLOCK_SAMPLES;
    s->count += s->count < CLOCK_SAMPLES;
    unsigned b = best(s, now);
    int64_t applied = atomic_load_explicit(&s->applied, memory_order_relaxed);
    int64_t gap = s->offset[b] - applied, step = now > s->slewed ? (int64_t)((now - s->slewed) / SLEW) : 0;
    bool first = clock_sync_error(s) == UINT64_MAX; /* it may jump: nobody was told a time before */
    applied += first ? gap : gap > step ? step : gap < -step ? -step : gap;
    s->slewed = first || step ? now : s->slewed;
    uint64_t left = (uint64_t)(s->offset[b] > applied ? s->offset[b] - applied : applied - s->offset[b]);
    atomic_store_explicit(&s->applied, applied, memory_order_relaxed);
    /* Release: who sees that the clock is known uses this offset, not the zero before. */
    atomic_store_explicit(&s->error, error_of(s, b, now) + left, memory_order_release);
}

/* Moves the floor up to `time`; returns what it is then. One variable has one order for all threads, so no stronger
 * order is needed for a time that never decreases. */
static uint64_t raise_floor(struct clock_sync *s, uint64_t time)
{
    uint64_t floor = atomic_load_explicit(&s->floor, memory_order_relaxed);
    while (floor < time && !atomic_compare_exchange_weak_explicit(&s->floor, &floor, time, memory_order_release,
                                                                  memory_order_relaxed)) {
    }
    return floor < time ? time : floor;
}

static uint64_t estimate(const struct clock_sync *s, uint64_t now)
{
    return s->same ? now : now + (uint64_t)atomic_load_explicit(&s->applied, memory_order_relaxed);
}

uint64_t clock_sync_now(struct clock_sync *s, uint64_t now)
{
    if (s->same) {
        /* The clock of one host does not step back between its threads: what is told need not be noted. */
        uint64_t floor = atomic_load_explicit(&s->floor, memory_order_acquire);
        return floor > now ? floor : now;
    }
    return clock_sync_error(s) == UINT64_MAX ? 0 : raise_floor(s, estimate(s, now));
}

bool clock_sync_hear(struct clock_sync *s, uint64_t now, uint64_t time)
{
    if (!s->same && clock_sync_error(s) == UINT64_MAX) {
        return true;
    }
    uint64_t here = estimate(s, now);
    if (time > here && time - here > CLOCK_AHEAD_MAX_NS) {
        return false;
    }
    if (time > here) {
        s->raised++;
        s->raised_max = time - here > s->raised_max ? time - here : s->raised_max;
        raise_floor(s, time);
    }
    return true;
}

uint64_t clock_sync_error(const struct clock_sync *s)
{
    return atomic_load_explicit(&s->error, memory_order_acquire);
}
