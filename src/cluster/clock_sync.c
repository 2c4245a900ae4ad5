#include "clock_sync.h"

enum { SLEW = 2000 }; /* one part in so many */

static unsigned best(const struct clock_sync *s)
{
    unsigned b = 0;
    for (unsigned i = 1; i < s->count; i++) {
        b = s->rtt[i] < s->rtt[b] ? i : b;
    }
    return b;
}

void clock_sync_sample(struct clock_sync *s, uint64_t sent, uint64_t received, uint64_t echoed, uint64_t now)
{
    if (now < sent || echoed < received || echoed - received > now - sent) {
        return;
    }
    s->rtt[s->next] = (now - sent) - (echoed - received);
    s->offset[s->next] = (int64_t)(received - sent) / 2 + (int64_t)(echoed - now) / 2;
    s->next = (s->next + 1) % CLOCK_SAMPLES;
    s->count += s->count < CLOCK_SAMPLES;
    s->target = s->offset[best(s)];
    if (s->applied_at == 0) {
        /* The first sample may step: nobody was told a time before, or `last` holds it back. */
        s->applied = s->target;
        s->applied_at = now;
    }
}

uint64_t clock_sync_now(struct clock_sync *s, uint64_t now)
{
    if (s->applied_at && now > s->applied_at) {
        int64_t step = (int64_t)((now - s->applied_at) / SLEW), gap = s->target - s->applied;
        if (step) {
            s->applied += gap > step ? step : gap < -step ? -step : gap;
            s->applied_at = now;
        }
    }
    uint64_t time = now + (uint64_t)s->applied;
    s->last = time > s->last ? time : s->last;
    return s->last;
}

uint64_t clock_sync_residual(const struct clock_sync *s)
{
    return s->count ? s->rtt[best(s)] / 2 : UINT64_MAX;
}
