#include "weft/text.h"

#include <inttypes.h>
#include <stdio.h>

/* Three digits: 1.23, 12.3, 123. `value` is below 999.5. */
static void three_digits(struct text_figure *t, double value, const char *unit)
{
    snprintf(t->s, sizeof(t->s), "%.*f%s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, unit);
}

struct text_figure text_count(uint64_t n)
{
    static const char *const units[] = {"k", "M", "G", "T", "P", "E"};
    struct text_figure t;
    if (n < 100000) {
        snprintf(t.s, sizeof(t.s), "%" PRIu64, n);
        return t;
    }
    double value = (double)n / 1000;
    unsigned unit = 0;
    while (value >= 999.5) {
        value /= 1000;
        unit++;
    }
    three_digits(&t, value, units[unit]);
    return t;
}

struct text_figure text_us(uint64_t ns)
{
    struct text_figure t;
    if (ns < 99950) {
        snprintf(t.s, sizeof(t.s), "%.1f", (double)ns / 1e3);
    } else if (ns < 9999500) {
        snprintf(t.s, sizeof(t.s), "%.0f", (double)ns / 1e3);
    } else if (ns < 999500000) {
        three_digits(&t, (double)ns / 1e6, "ms");
    } else if (ns < 999500000000ull) {
        three_digits(&t, (double)ns / 1e9, "s");
    } else {
        uint64_t seconds = ns / 1000000000ull;
        snprintf(t.s, sizeof(t.s), "%" PRIu64 "s", seconds < 99999 ? seconds : 99999); /* a day and more: no figure */
    }
    return t;
}

struct text_phrase text_dilation(unsigned n)
{
    struct text_phrase t;
    snprintf(t.s, sizeof(t.s), "time dilation %u: a guest second is %u host seconds", n, n);
    return t;
}
