#include "weft/bitmap.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* Reads a decimal number below limit at *p and moves *p behind it. */
static bool number(const char **p, unsigned limit, unsigned *out)
{
    if (!isdigit((unsigned char)**p)) {
        return false;
    }
    char *end;
    unsigned long v = strtoul(*p, &end, 10);
    if (v >= limit || v >= BITMAP_BITS) {
        return false;
    }
    *p = end;
    *out = (unsigned)v;
    return true;
}

bool bitmap_parse(struct bitmap *b, const char *text, unsigned limit)
{
    bitmap_zero(b);
    const char *p = text;
    for (;;) {
        bool take_out = *p == '^';
        p += take_out;
        unsigned lo, hi;
        if (!number(&p, limit, &lo)) {
            return false;
        }
        hi = lo;
        if (*p == '-') {
            p++;
            if (!number(&p, limit, &hi) || hi < lo) {
                return false;
            }
        }
        for (unsigned i = lo; i <= hi; i++) {
            if (take_out) {
                bitmap_clear(b, i);
            } else {
                bitmap_set(b, i);
            }
        }
        if (*p == '\0') {
            return true;
        }
        if (*p++ != ',') {
            return false;
        }
    }
}

char *bitmap_format(const struct bitmap *b, char *buf, size_t size)
{
    size_t n = 0;
    buf[0] = '\0';
    for (int lo = bitmap_next(b, 0); lo >= 0;) {
        int hi = lo;
        while (bitmap_test(b, (unsigned)hi + 1)) {
            hi++;
        }
        int r = snprintf(buf + n, size - n, hi > lo ? "%s%d-%d" : "%s%d", n ? "," : "", lo, hi);
        if (r < 0 || (size_t)r >= size - n) {
            break;
        }
        n += (size_t)r;
        lo = bitmap_next(b, (unsigned)hi + 1);
    }
    return buf;
}
