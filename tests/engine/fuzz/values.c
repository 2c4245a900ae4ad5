/* Random values of registers and memory: what finds bugs more often than chance would. */
#include "fuzz.h"

uint64_t random_integer(uint64_t *rng)
{
    uint64_t r = rng_next(rng), v = rng_next(rng);
    switch (r & 7) {
    case 0:
        return (uint64_t)((int64_t)v >> 59);
    case 1:
        return (1ull << (v & 63)) + (uint64_t)((int64_t)(v >> 8 & 3) - 1);
    case 2:
        return ~0ull << (v & 63);
    case 3:
        return (uint64_t)(int64_t)(int32_t)v;
    case 4:
        return (uint32_t)v;
    default:
        return v;
    }
}

static uint64_t random_double(uint64_t r, uint64_t v)
{
    static const uint64_t special[] = {
        0,
        1ull << 63,
        0x7ff0000000000000ull,
        0xfff0000000000000ull,
        0x7ff8000000000000ull,
        0x7ff0000000000001ull,
        0xfff7ffffffffffffull,
        0x000fffffffffffffull,
        0x0000000000000001ull,
        0x0010000000000000ull,
        0x8010000000000000ull,
        0x7fefffffffffffffull,
        0xffefffffffffffffull,
        0x3ff0000000000000ull,
        0x3ff0000000000001ull,
        0xbff0000000000000ull,
        0x3fefffffffffffffull,
        0x3fe0000000000000ull,
        0x3ff8000000000000ull,
        0x4004000000000000ull,
        0x41dfffffffc00000ull,
        0x41e0000000000000ull,
        0xc1e0000000000000ull,
        0x41dfffffffe00000ull,
        0x41efffffffe00000ull,
        0x41f0000000000000ull,
        0x43e0000000000000ull,
        0xc3e0000000000000ull,
        0x43f0000000000000ull,
        0x47efffffe0000000ull,
        0x47effffff0000000ull,
        0x3810000000000000ull,
        0x380fffffffffffffull,
        0x36a0000000000000ull,
        0x3690000000000000ull,
        0xc3e0000000000001ull,
    };
    uint64_t near_one = (v & 0x800fffffffffffffull) | (1023 - 16 + (r >> 8 & 31)) << 52;
    uint64_t low = (v & 0x800fffffffffffffull) | (r >> 8 & 63) << 52;
    uint64_t sparse = v & 0xfff00000000000ffull;
    switch (r >> 4 & 7) {
    case 0:
    case 1:
        return special[v % (sizeof(special) / 8)];
    case 2:
        return low;
    case 3:
        return sparse;
    default:
        return near_one;
    }
}

static uint32_t random_single(uint64_t r, uint64_t v)
{
    static const uint32_t special[] = {
        0,          0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffbfffff, 0x007fffff,
        0x00000001, 0x80000001, 0x00800000, 0x80800000, 0x7f7fffff, 0xff7fffff, 0x3f800000, 0x3f800001,
        0xbf800000, 0x3f7fffff, 0x3f000000, 0x3fc00000, 0x40200000, 0x4effffff, 0x4f000000, 0xcf000000,
        0x4f7fffff, 0x4f800000, 0x5effffff, 0x5f000000, 0xdf000000, 0x5f7fffff, 0x5f800000, 0xcf000001,
    };
    switch (r >> 4 & 7) {
    case 0:
    case 1:
        return special[v % (sizeof(special) / 4)];
    case 2:
        return ((uint32_t)v & 0x807fffff) | (uint32_t)(r >> 8 & 31) << 23;
    case 3:
        return (uint32_t)v & 0xff80000f;
    default:
        return ((uint32_t)v & 0x807fffff) | (uint32_t)(127 - 16 + (r >> 8 & 31)) << 23;
    }
}

uint64_t random_float(uint64_t *rng)
{
    uint64_t r = rng_next(rng), v = rng_next(rng);
    switch (r & 15) {
    case 0:
        return v;
    case 1: /* a single that is not boxed */
        return random_single(r, v) | (v & 0x0fffffff00000000ull);
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
        return random_single(r, v) | 0xffffffff00000000ull;
    default:
        return random_double(r, v);
    }
}
