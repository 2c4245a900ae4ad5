/* What both simulators share: a seeded generator and the words they end with. */
#ifndef WEFT_TESTS_SIM_H
#define WEFT_TESTS_SIM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_random {
    uint64_t state;
};

/* splitmix64: every seed, also 0 and 1, gives a good stream. */
static inline uint64_t sim_next(struct sim_random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* 0 .. n-1 */
static inline unsigned sim_below(struct sim_random *r, unsigned n)
{
    return (unsigned)((sim_next(r) >> 32) * n >> 32);
}

static inline bool sim_chance(struct sim_random *r, unsigned percent)
{
    return sim_below(r, 100) < percent;
}

#endif
