/* Fixed-size sets of small integers: harts, guest nodes, host nodes, PUs. */
#ifndef WEFT_BITMAP_H
#define WEFT_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BITMAP_BITS 1024
struct bitmap {
    uint64_t w[BITMAP_BITS / 64];
};

static inline void bitmap_zero(struct bitmap *b)
{
    memset(b, 0, sizeof(*b));
}

static inline void bitmap_set(struct bitmap *b, unsigned i)
{
    b->w[i / 64] |= 1ull << (i % 64);
}

static inline void bitmap_clear(struct bitmap *b, unsigned i)
{
    b->w[i / 64] &= ~(1ull << (i % 64));
}

static inline bool bitmap_test(const struct bitmap *b, unsigned i)
{
    return i < BITMAP_BITS && (b->w[i / 64] >> (i % 64) & 1);
}

static inline unsigned bitmap_count(const struct bitmap *b)
{
    unsigned n = 0;
    for (unsigned i = 0; i < BITMAP_BITS / 64; i++) {
        n += (unsigned)__builtin_popcountll(b->w[i]);
    }
    return n;
}

/* Returns the lowest member at or after `from`, or -1. */
static inline int bitmap_next(const struct bitmap *b, unsigned from)
{
    for (unsigned i = from; i < BITMAP_BITS; i++) {
        if (b->w[i / 64] == 0) {
            i |= 63;
            continue;
        }
        if (bitmap_test(b, i)) {
            return (int)i;
        }
    }
    return -1;
}

#define bitmap_for_each(i, b) for (int i = bitmap_next((b), 0); i >= 0; i = bitmap_next((b), (unsigned)i + 1))

/* Parses "0-3,8,^2" (libvirt's grammar: ^n takes n out again). Returns false at a syntax error or a number >= limit. */
bool bitmap_parse(struct bitmap *b, const char *text, unsigned limit);

/* Writes "0-3,8" into buf (always terminated); returns buf. */
char *bitmap_format(const struct bitmap *b, char *buf, size_t size);

#endif
