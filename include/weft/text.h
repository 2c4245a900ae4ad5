/* Figures for tables that have to stay narrow. Pure, any thread. */
#ifndef WEFT_TEXT_H
#define WEFT_TEXT_H

#include <stdint.h>

/* Returned by value, so that it can stand in the arguments of a printf: text_count(n).s */
struct text_figure {
    char s[12];
};

/* At most five characters: "99999", then three digits and k, M, G, T, P or E (powers of 1000): "123k", "1.23M". */
struct text_figure text_count(uint64_t n);
/* At most six characters: nanoseconds as microseconds "0.4" to "9999", then "12.3ms", "1.23s". */
struct text_figure text_us(uint64_t ns);

struct text_phrase {
    char s[72];
};

/* "time dilation 10: a guest second is 10 host seconds"; n > 1. */
struct text_phrase text_dilation(unsigned n);

#endif
