/* Node distances as a SLIT has them (10 = local), from what was measured. Pure. */
#ifndef WEFT_DISTANCES_H
#define WEFT_DISTANCES_H

#include <stdint.h>

enum {
    DISTANCE_LOCAL = 10,
    DISTANCE_NEAREST = 11, /* the least that another node may have */
    DISTANCE_FARTHEST = 254,
    DISTANCE_RANKS = 40, /* the nearest two ranks, when a round trip takes less than DISTANCE_NEAR_NS */
    DISTANCE_STEP = 20,
    DISTANCE_NEAR_NS = 250000,
};

/*
 * Between two ranks whose round trip is rtt_ns, when the shortest of all pairs is nearest_ns (0: not known, taken as
 * near). Steps are wide, so that the noise of a measurement does not change them: 20 for each factor of 8 that the
 * nearest pair takes above 250 us, and 20 for each factor of 4 (rounded) that this pair takes longer than the nearest.
 */
uint8_t distance_between_ranks(uint64_t rtt_ns, uint64_t nearest_ns);
/* Inside a rank: host cost (10 = local) of each direction between two host nodes; < 0: not known. */
uint8_t distance_inside_rank(double there, double back);

#endif
