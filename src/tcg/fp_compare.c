/* Comparison, minimum and maximum, classification: on bit patterns, for both formats. */
#include "tcg/fp.h"

#include "tcg/fp_format.h"

/* Maps a number to an integer of the same order; -0 and +0 become neighbours. */
static int64_t ordinal(const struct fp_format *f, uint64_t v)
{
    uint64_t mag = v & ~fp_zero(f, true);
    return v >> f->sign_bit & 1 ? -(int64_t)mag - 1 : (int64_t)mag;
}

static bool compare(const struct fp_format *f, enum fp_cmp cmp, uint64_t a, uint64_t b, unsigned *flags)
{
    if (fp_is_nan(f, a) || fp_is_nan(f, b)) {
        if (cmp != FP_EQ || fp_is_snan(f, a) || fp_is_snan(f, b)) {
            *flags |= FP_NV;
        }
        return false;
    }
    bool both_zero = ((a | b) & ~fp_zero(f, true)) == 0;
    switch (cmp) {
    case FP_EQ:
        return a == b || both_zero;
    case FP_LT:
        return ordinal(f, a) < ordinal(f, b) && !both_zero;
    default:
        return ordinal(f, a) <= ordinal(f, b) || both_zero;
    }
}

static uint64_t minmax(const struct fp_format *f, bool is_max, uint64_t a, uint64_t b, unsigned *flags)
{
    bool nan_a = fp_is_nan(f, a), nan_b = fp_is_nan(f, b);
    if (fp_is_snan(f, a) || fp_is_snan(f, b)) {
        *flags |= FP_NV;
    }
    if (nan_a || nan_b) {
        return nan_a && nan_b ? fp_nan(f) : nan_a ? b : a;
    }
    return (ordinal(f, a) < ordinal(f, b)) != is_max ? a : b;
}

/* Bits of the result: -inf, -normal, -subnormal, -0, +0, +subnormal, +normal, +inf, sNaN, qNaN. */
static unsigned classify(const struct fp_format *f, uint64_t v)
{
    bool sign = v >> f->sign_bit & 1;
    uint64_t mag = v & ~fp_zero(f, true);
    if (fp_is_nan(f, v)) {
        return 1u << (fp_is_snan(f, v) ? 8 : 9);
    }
    if (mag == fp_inf(f, false)) {
        return 1u << (sign ? 0 : 7);
    }
    if (mag == 0) {
        return 1u << (sign ? 3 : 4);
    }
    if (mag >> f->mant_bits == 0) {
        return 1u << (sign ? 2 : 5);
    }
    return 1u << (sign ? 1 : 6);
}

bool fp64_compare(enum fp_cmp cmp, uint64_t a, uint64_t b, unsigned *flags)
{
    return compare(&fp_format64, cmp, a, b, flags);
}

bool fp32_compare(enum fp_cmp cmp, uint32_t a, uint32_t b, unsigned *flags)
{
    return compare(&fp_format32, cmp, a, b, flags);
}

uint64_t fp64_minmax(bool is_max, uint64_t a, uint64_t b, unsigned *flags)
{
    return minmax(&fp_format64, is_max, a, b, flags);
}

uint32_t fp32_minmax(bool is_max, uint32_t a, uint32_t b, unsigned *flags)
{
    return (uint32_t)minmax(&fp_format32, is_max, a, b, flags);
}

unsigned fp64_class(uint64_t a)
{
    return classify(&fp_format64, a);
}

unsigned fp32_class(uint32_t a)
{
    return classify(&fp_format32, a);
}
