/* The two interchange formats, and their special values. Private to the fp_*.c files. */
#ifndef WEFT_TCG_FP_FORMAT_H
#define WEFT_TCG_FP_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

struct fp_format {
    unsigned mant_bits, sign_bit;
    unsigned exp_max; /* the biased exponent of infinities and NaNs */
    int bias;
    uint64_t mant_mask, quiet_bit;
};

static const struct fp_format fp_format32 = {23, 31, 0xff, 127, (1ull << 23) - 1, 1ull << 22};
static const struct fp_format fp_format64 = {52, 63, 0x7ff, 1023, (1ull << 52) - 1, 1ull << 51};

static inline uint64_t fp_zero(const struct fp_format *f, bool sign)
{
    return (uint64_t)sign << f->sign_bit;
}

static inline uint64_t fp_inf(const struct fp_format *f, bool sign)
{
    return fp_zero(f, sign) | (uint64_t)f->exp_max << f->mant_bits;
}

static inline uint64_t fp_nan(const struct fp_format *f)
{
    return fp_inf(f, false) | f->quiet_bit;
}

/* v without its sign bit is above infinity exactly for NaNs. */
static inline bool fp_is_nan(const struct fp_format *f, uint64_t v)
{
    return (v & ~fp_zero(f, true)) > fp_inf(f, false);
}

static inline bool fp_is_snan(const struct fp_format *f, uint64_t v)
{
    return fp_is_nan(f, v) && !(v & f->quiet_bit);
}

#endif
