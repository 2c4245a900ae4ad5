/*
 * Floating point in integers: arithmetic with exact rounding in every mode, and all conversions.
 *
 * A finite number is sig * 2^exp with a 128-bit significand. Where bits are lost on the way, the lowest bit of sig is
 * set ("jammed"), far below the rounding position, so that the one rounding at the end comes out as if sig were exact.
 */
#include "tcg/fp.h"

#include <assert.h>
#include "tcg/fp_format.h"

typedef unsigned __int128 u128;

enum { TOP = 125 }; /* position of the highest bit of operands that are added: one for the carry, one to spare */

struct number {
    bool sign, is_nan, is_snan, is_inf;
    int exp;
    u128 sig; /* 0 for zero */
};

static struct number unpack(const struct fp_format *f, uint64_t v)
{
    struct number n = {.sign = v >> f->sign_bit & 1};
    uint64_t mant = v & f->mant_mask;
    int biased = (int)(v >> f->mant_bits & f->exp_max);
    if (biased == (int)f->exp_max) {
        n.is_nan = mant != 0;
        n.is_inf = mant == 0;
        n.is_snan = n.is_nan && !(mant & f->quiet_bit);
    } else {
        n.sig = biased ? mant | (f->mant_mask + 1) : mant;
        n.exp = (biased ? biased : 1) - f->bias - (int)f->mant_bits;
    }
    return n;
}

static int top_bit(u128 v)
{
    uint64_t hi = (uint64_t)(v >> 64);
    return hi ? 127 - __builtin_clzll(hi) : 63 - __builtin_clzll((uint64_t)v);
}

static u128 shift_right_jam(u128 v, unsigned n)
{
    if (n == 0) {
        return v;
    }
    if (n > 127) {
        return v != 0;
    }
    return v >> n | ((v << (128 - n)) != 0);
}

/* Drops the low `shift` bits of sig by rounding mode rm; *inexact says whether they were not all zero. */
static u128 round_shift(u128 sig, int shift, bool sign, unsigned rm, bool *inexact)
{
    if (shift <= 0) {
        *inexact = false;
        return sig << -shift;
    }
    if (shift > 127) {
        /* Less than a quarter: keep a jammed bit well below the half. */
        sig = sig != 0;
        shift = 2;
    }
    u128 kept = sig >> shift, rest = sig & (((u128)1 << shift) - 1), half = (u128)1 << (shift - 1);
    bool up = false;
    *inexact = rest != 0;
    switch (rm) {
    case RM_RNE:
        up = rest > half || (rest == half && (kept & 1));
        break;
    case RM_RDN:
        up = sign && rest;
        break;
    case RM_RUP:
        up = !sign && rest;
        break;
    case RM_RMM:
        up = rest >= half;
        break;
    default:
        break;
    }
    return kept + up;
}

static uint64_t overflow(const struct fp_format *f, bool sign, unsigned rm, unsigned *flags)
{
    bool to_inf = rm == RM_RNE || rm == RM_RMM || (rm == RM_RDN && sign) || (rm == RM_RUP && !sign);
    *flags |= FP_OF | FP_NX;
    return fp_inf(f, sign) - !to_inf;
}

/* Rounds sign * sig * 2^exp to the format. Tininess is detected after rounding. */
static uint64_t round_pack(const struct fp_format *f, bool sign, int exp, u128 sig, unsigned rm, unsigned *flags)
{
    if (sig == 0) {
        return fp_zero(f, sign);
    }
    int mant_bits = (int)f->mant_bits, emin = 1 - f->bias, e = exp + top_bit(sig);
    int ulp = (e > emin ? e : emin) - mant_bits;
    bool inexact, ignored;
    u128 kept = round_shift(sig, ulp - exp, sign, rm, &inexact);
    if (inexact) {
        *flags |= FP_NX;
        /* Rounded as if the exponent had no lower bound, is it still below the smallest normal number? */
        if (e < emin - 1 ||
            (e == emin - 1 && round_shift(sig, e - mant_bits - exp, sign, rm, &ignored) >> (mant_bits + 1) == 0)) {
            *flags |= FP_UF;
        }
    }
    if (kept >> (mant_bits + 1)) {
        kept >>= 1;
        ulp++;
    }
    if (kept >> mant_bits == 0) {
        return fp_zero(f, sign) | (uint64_t)kept;
    }
    int biased = ulp + mant_bits + f->bias;
    if (biased >= (int)f->exp_max) {
        return overflow(f, sign, rm, flags);
    }
    return fp_zero(f, sign) | (uint64_t)biased << mant_bits | ((uint64_t)kept & f->mant_mask);
}

static uint64_t invalid(const struct fp_format *f, unsigned *flags)
{
    *flags |= FP_NV;
    return fp_nan(f);
}

/* a + b of finite numbers. */
static uint64_t add(const struct fp_format *f, struct number a, struct number b, unsigned rm, unsigned *flags)
{
    if (a.sig == 0 && b.sig == 0) {
        return fp_zero(f, a.sign == b.sign ? a.sign : rm == RM_RDN);
    }
    if (a.sig == 0 || b.sig == 0) {
        const struct number *n = a.sig ? &a : &b;
        return round_pack(f, n->sign, n->exp, n->sig, rm, flags);
    }
    int up_a = TOP - top_bit(a.sig), up_b = TOP - top_bit(b.sig);
    a.sig <<= up_a;
    a.exp -= up_a;
    b.sig <<= up_b;
    b.exp -= up_b;
    if (a.exp < b.exp) {
        struct number t = a;
        a = b;
        b = t;
    }
    b.sig = shift_right_jam(b.sig, (unsigned)(a.exp - b.exp));
    if (a.sign == b.sign) {
        return round_pack(f, a.sign, a.exp, a.sig + b.sig, rm, flags);
    }
    if (a.sig == b.sig) {
        return fp_zero(f, rm == RM_RDN);
    }
    return a.sig > b.sig ? round_pack(f, a.sign, a.exp, a.sig - b.sig, rm, flags)
                         : round_pack(f, b.sign, a.exp, b.sig - a.sig, rm, flags);
}

static uint64_t arith_add(const struct fp_format *f, struct number a, struct number b, unsigned rm, unsigned *flags)
{
    if (a.is_inf && b.is_inf && a.sign != b.sign) {
        return invalid(f, flags);
    }
    if (a.is_inf || b.is_inf) {
        return fp_inf(f, a.is_inf ? a.sign : b.sign);
    }
    return add(f, a, b, rm, flags);
}

/* The exact product; neither is NaN, and not zero times infinity. */
static struct number product(struct number a, struct number b)
{
    return (struct number){
        .sign = a.sign != b.sign, .is_inf = a.is_inf || b.is_inf, .exp = a.exp + b.exp, .sig = a.sig * b.sig};
}

static uint64_t arith_div(const struct fp_format *f, struct number a, struct number b, unsigned rm, unsigned *flags)
{
    bool sign = a.sign != b.sign;
    if ((a.is_inf && b.is_inf) || (!a.is_inf && !b.is_inf && a.sig == 0 && b.sig == 0)) {
        return invalid(f, flags);
    }
    if (a.is_inf) {
        return fp_inf(f, sign);
    }
    if (b.is_inf || a.sig == 0) {
        return fp_zero(f, sign);
    }
    if (b.sig == 0) {
        *flags |= FP_DZ;
        return fp_inf(f, sign);
    }
    int up = TOP - top_bit(a.sig);
    u128 n = a.sig << up;
    return round_pack(f, sign, a.exp - up - b.exp - 1, n / b.sig << 1 | (n % b.sig != 0), rm, flags);
}

static uint64_t arith_sqrt(const struct fp_format *f, struct number a, unsigned rm, unsigned *flags)
{
    if (!a.is_inf && a.sig == 0) {
        return fp_zero(f, a.sign);
    }
    if (a.sign) {
        return invalid(f, flags);
    }
    if (a.is_inf) {
        return fp_inf(f, false);
    }
    int up = TOP - top_bit(a.sig);
    up += (a.exp - up) & 1; /* an even exponent halves exactly; bit 126 is there to spare */
    u128 rest = a.sig << up, root = 0;
    for (u128 bit = (u128)1 << 126; bit; bit >>= 2) {
        if (rest >= root + bit) {
            rest -= root + bit;
            root = root >> 1 | bit;
        } else {
            root >>= 1;
        }
    }
    return round_pack(f, false, (a.exp - up) / 2 - 1, root << 1 | (rest != 0), rm, flags);
}

static uint64_t arith(const struct fp_format *f, enum fp_op op, uint64_t va, uint64_t vb, uint64_t vc, unsigned rm,
                      unsigned *flags)
{
    struct number a = unpack(f, va), b = unpack(f, vb), c = unpack(f, vc);
    bool two = op != FP_SQRT, three = op == FP_FMA;
    bool zero_by_inf = two && ((a.is_inf && !b.is_inf && !b.is_nan && b.sig == 0) ||
                               (b.is_inf && !a.is_inf && !a.is_nan && a.sig == 0));
    if (a.is_snan || (two && b.is_snan) || (three && c.is_snan) || ((op == FP_MUL || three) && zero_by_inf)) {
        return invalid(f, flags);
    }
    if (a.is_nan || (two && b.is_nan) || (three && c.is_nan)) {
        return fp_nan(f);
    }
    switch (op) {
    case FP_SUB:
        b.sign = !b.sign;
        return arith_add(f, a, b, rm, flags);
    case FP_ADD:
        return arith_add(f, a, b, rm, flags);
    case FP_MUL:
        a = product(a, b);
        return a.is_inf ? fp_inf(f, a.sign) : round_pack(f, a.sign, a.exp, a.sig, rm, flags);
    case FP_DIV:
        return arith_div(f, a, b, rm, flags);
    case FP_SQRT:
        return arith_sqrt(f, a, rm, flags);
    default:
        return arith_add(f, product(a, b), c, rm, flags);
    }
}

uint64_t fp64_arith_soft(enum fp_op op, uint64_t a, uint64_t b, uint64_t c, unsigned rm, unsigned *flags)
{
    return arith(&fp_format64, op, a, b, c, rm, flags);
}

uint32_t fp32_arith_soft(enum fp_op op, uint32_t a, uint32_t b, uint32_t c, unsigned rm, unsigned *flags)
{
    return (uint32_t)arith(&fp_format32, op, a, b, c, rm, flags);
}

/* ---- conversions ---- */

static uint64_t convert(const struct fp_format *to, struct number n, unsigned rm, unsigned *flags)
{
    if (n.is_nan) {
        *flags |= n.is_snan ? FP_NV : 0;
        return fp_nan(to);
    }
    return n.is_inf ? fp_inf(to, n.sign) : round_pack(to, n.sign, n.exp, n.sig, rm, flags);
}

uint32_t fp64_to_fp32(uint64_t a, unsigned rm, unsigned *flags)
{
    return (uint32_t)convert(&fp_format32, unpack(&fp_format64, a), rm, flags);
}

uint64_t fp32_to_fp64(uint32_t a, unsigned *flags)
{
    return convert(&fp_format64, unpack(&fp_format32, a), RM_RNE, flags);
}

static uint64_t to_int(struct number n, unsigned bits, bool is_signed, unsigned rm, unsigned *flags)
{
    uint64_t max = is_signed ? (1ull << (bits - 1)) - 1 : ~0ull >> (64 - bits);
    uint64_t limit = n.sign ? (is_signed ? max + 1 : 0) : max; /* largest magnitude */
    bool inexact = false;
    u128 mag = 0;
    if (n.is_nan) {
        n.sign = false;
    }
    bool too_big = n.is_nan || n.is_inf || (n.sig && n.exp + top_bit(n.sig) > 64);
    if (!too_big) {
        mag = round_shift(n.sig, -n.exp, n.sign, rm, &inexact);
        too_big = mag > limit;
    }
    uint64_t v = (uint64_t)mag;
    if (too_big) {
        *flags |= FP_NV;
        v = n.is_nan ? max : limit;
    } else if (inexact) {
        *flags |= FP_NX;
    }
    v = n.sign ? 0 - v : v;
    return bits == 32 ? (uint64_t)(int64_t)(int32_t)(uint32_t)v : v;
}

uint64_t fp64_to_int(uint64_t a, unsigned bits, bool is_signed, unsigned rm, unsigned *flags)
{
    return to_int(unpack(&fp_format64, a), bits, is_signed, rm, flags);
}

uint64_t fp32_to_int(uint32_t a, unsigned bits, bool is_signed, unsigned rm, unsigned *flags)
{
    return to_int(unpack(&fp_format32, a), bits, is_signed, rm, flags);
}

static uint64_t from_int(const struct fp_format *f, uint64_t v, unsigned bits, bool is_signed, unsigned rm,
                         unsigned *flags)
{
    if (bits == 32) {
        v = is_signed ? (uint64_t)(int64_t)(int32_t)(uint32_t)v : (uint32_t)v;
    }
    bool sign = is_signed && v >> 63;
    return round_pack(f, sign, 0, sign ? 0 - v : v, rm, flags);
}

uint64_t fp64_from_int(uint64_t v, unsigned bits, bool is_signed, unsigned rm, unsigned *flags)
{
    return from_int(&fp_format64, v, bits, is_signed, rm, flags);
}

uint32_t fp32_from_int(uint64_t v, unsigned bits, bool is_signed, unsigned rm, unsigned *flags)
{
    return (uint32_t)from_int(&fp_format32, v, bits, is_signed, rm, flags);
}
