#include "distances.h"

static uint8_t clip(unsigned distance)
{
    return (uint8_t)(distance < DISTANCE_NEAREST    ? DISTANCE_NEAREST
                     : distance > DISTANCE_FARTHEST ? DISTANCE_FARTHEST
                                                    : distance);
}

uint8_t distance_between_ranks(uint64_t rtt_ns, uint64_t nearest_ns)
{
    unsigned distance = DISTANCE_RANKS;
    for (uint64_t limit = DISTANCE_NEAR_NS; nearest_ns >= limit && distance < DISTANCE_FARTHEST; limit *= 8) {
        distance += DISTANCE_STEP;
    }
    /* Rounded powers of 4: the borders are at 2, 8, 32 times. */
    uint64_t nearest = nearest_ns ? nearest_ns : rtt_ns;
    for (uint64_t factor = 2; nearest && rtt_ns / factor >= nearest && distance < DISTANCE_FARTHEST; factor *= 4) {
        distance += DISTANCE_STEP;
    }
    return clip(distance);
}

uint8_t distance_inside_rank(double there, double back)
{
    if (there < 0 || back < 0) {
        return 20;
    }
    double mean = (there + back) / 2;
    return clip(mean < DISTANCE_FARTHEST ? (unsigned)(mean + 0.5) : DISTANCE_FARTHEST);
}
