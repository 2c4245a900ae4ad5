/* Floating point: corner cases by table, and the host's FPU against integer arithmetic on operands near the corners. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include "encode.h"
#include "tcg/fp.h"

#define INF64 0x7ff0000000000000ull
#define SNAN64 0x7ff0000000000001ull
#define ONE64 0x3ff0000000000000ull
#define MAX64 0x7fefffffffffffffull
#define MINNORM64 0x0010000000000000ull
#define NEG64 (1ull << 63)
#define INF32 0x7f800000u
#define SNAN32 0x7f800001u
#define ONE32 0x3f800000u
#define MAX32 0x7f7fffffu
#define NEG32 (1u << 31)

static const struct {
    enum fp_op op;
    uint64_t a, b, c;
    unsigned rm;
    uint64_t result;
    unsigned flags;
} cases64[] = {
    /* NaNs are canonical whatever came in; only signalling ones are invalid. */
    {FP_ADD, FP64_NAN | 5, ONE64, 0, RM_RNE, FP64_NAN, 0},
    {FP_ADD, NEG64 | FP64_NAN, ONE64, 0, RM_RNE, FP64_NAN, 0},
    {FP_ADD, SNAN64, ONE64, 0, RM_RNE, FP64_NAN, FP_NV},
    {FP_ADD, INF64, NEG64 | INF64, 0, RM_RNE, FP64_NAN, FP_NV},
    {FP_SUB, INF64, INF64, 0, RM_RMM, FP64_NAN, FP_NV},
    {FP_MUL, INF64, 0, 0, RM_RNE, FP64_NAN, FP_NV},
    {FP_DIV, 0, NEG64, 0, RM_RNE, FP64_NAN, FP_NV},
    {FP_DIV, INF64, INF64, 0, RM_RMM, FP64_NAN, FP_NV},
    {FP_DIV, ONE64, NEG64, 0, RM_RNE, NEG64 | INF64, FP_DZ},
    {FP_DIV, ONE64, NEG64, 0, RM_RMM, NEG64 | INF64, FP_DZ},
    {FP_DIV, INF64, 0, 0, RM_RNE, INF64, 0},
    {FP_SQRT, NEG64 | ONE64, 0, 0, RM_RNE, FP64_NAN, FP_NV},
    {FP_SQRT, NEG64, 0, 0, RM_RMM, NEG64, 0},
    /* inf * 0 is invalid even where the addend is a quiet NaN (unprivileged specification, "F": fused multiply-add). */
    {FP_FMA, INF64, 0, FP64_NAN, RM_RNE, FP64_NAN, FP_NV},
    {FP_FMA, 0, NEG64 | INF64, FP64_NAN, RM_RMM, FP64_NAN, FP_NV},
    {FP_FMA, INF64, ONE64, NEG64 | INF64, RM_RUP, FP64_NAN, FP_NV},
    {FP_FMA, INF64, FP64_NAN, 0, RM_RNE, FP64_NAN, 0},
    /* An exact zero sum is -0 only when rounding down, or when both are. */
    {FP_SUB, ONE64, ONE64, 0, RM_RDN, NEG64, 0},
    {FP_SUB, ONE64, ONE64, 0, RM_RMM, 0, 0},
    {FP_ADD, NEG64, NEG64, 0, RM_RMM, NEG64, 0},
    {FP_FMA, ONE64, ONE64, NEG64 | ONE64, RM_RDN, NEG64, 0},
    /* Halfway: 1 + 2^-53 */
    {FP_ADD, ONE64, 0x3ca0000000000000ull, 0, RM_RNE, ONE64, FP_NX},
    {FP_ADD, ONE64, 0x3ca0000000000000ull, 0, RM_RMM, ONE64 + 1, FP_NX},
    {FP_ADD, ONE64, 0x3c9fffffffffffffull, 0, RM_RMM, ONE64, FP_NX},
    {FP_ADD, NEG64 | ONE64, NEG64 | 0x3ca0000000000000ull, 0, RM_RMM, NEG64 | (ONE64 + 1), FP_NX},
    /* Overflow by direction. */
    {FP_ADD, MAX64, MAX64, 0, RM_RNE, INF64, FP_OF | FP_NX},
    {FP_ADD, MAX64, MAX64, 0, RM_RMM, INF64, FP_OF | FP_NX},
    {FP_ADD, MAX64, MAX64, 0, RM_RTZ, MAX64, FP_OF | FP_NX},
    {FP_ADD, MAX64, MAX64, 0, RM_RDN, MAX64, FP_OF | FP_NX},
    {FP_MUL, NEG64 | MAX64, MAX64, 0, RM_RUP, NEG64 | MAX64, FP_OF | FP_NX},
    {FP_MUL, NEG64 | MAX64, MAX64, 0, RM_RDN, NEG64 | INF64, FP_OF | FP_NX},
    /* Underflow: exact subnormals raise nothing; tininess is judged after rounding. */
    {FP_MUL, MINNORM64, 0x3fe0000000000000ull, 0, RM_RNE, MINNORM64 >> 1, 0},
    {FP_MUL, 1, 0x3fe0000000000000ull, 0, RM_RNE, 0, FP_UF | FP_NX},
    {FP_MUL, 1, 0x3fe0000000000000ull, 0, RM_RMM, 1, FP_UF | FP_NX},
    {FP_MUL, MINNORM64, ONE64 - 1, 0, RM_RNE, MINNORM64, FP_NX | FP_UF},
    {FP_MUL, MINNORM64 + 1, ONE64 - 1, 0, RM_RUP, MINNORM64 + 1, FP_NX},
};

START_TEST(corners64)
{
    for (size_t i = 0; i < sizeof(cases64) / sizeof(cases64[0]); i++) {
        for (int soft = 0; soft < 2; soft++) {
            unsigned flags = 0;
            uint64_t r = (soft ? fp64_arith_soft : fp64_arith)(cases64[i].op, cases64[i].a, cases64[i].b, cases64[i].c,
                                                               cases64[i].rm, &flags);
            ck_assert_msg(r == cases64[i].result && flags == cases64[i].flags, "case %zu (%d): %lx, flags %x", i, soft,
                          (unsigned long)r, flags);
        }
    }
}
END_TEST

static uint64_t corner(unsigned mant_bits, unsigned exp_bits)
{
    uint64_t mant_mask = (1ull << mant_bits) - 1, exp_max = (1ull << exp_bits) - 1, r = random64();
    uint64_t mant = r & mant_mask, exp = r >> 52 & exp_max, pick = random64();
    switch (pick & 7) {
    case 0:
        mant = 0;
        break;
    case 1:
        mant = mant_mask;
        break;
    case 2:
        mant = 1ull << (pick >> 8) % mant_bits;
        break;
    default:
        break;
    }
    switch (pick >> 3 & 7) {
    case 0:
        exp = 0;
        break;
    case 1:
        exp = 1 + (pick >> 20 & 1);
        break;
    case 2:
        exp = exp_max - (pick >> 20 & 1);
        break;
    case 3:
    case 4:
        exp = (exp_max >> 1) + (pick >> 20 & 3);
        break;
    default:
        break;
    }
    return (pick >> 40 & 1) << (mant_bits + exp_bits) | exp << mant_bits | mant;
}

START_TEST(host_agrees_with_integers)
{
    for (int i = 0; i < 200000; i++) {
        enum fp_op op = (enum fp_op)(i % 6);
        unsigned rm = (unsigned)(random64() % 4), f1 = 0, f2 = 0;
        uint64_t a = corner(52, 11), b = corner(52, 11), c = corner(52, 11);
        uint64_t r1 = fp64_arith(op, a, b, c, rm, &f1), r2 = fp64_arith_soft(op, a, b, c, rm, &f2);
        ck_assert_msg(r1 == r2 && f1 == f2, "op %d rm %u %lx %lx %lx: %lx/%x, %lx/%x", op, rm, (unsigned long)a,
                      (unsigned long)b, (unsigned long)c, (unsigned long)r1, f1, (unsigned long)r2, f2);
        uint32_t x = (uint32_t)corner(23, 8), y = (uint32_t)corner(23, 8), z = (uint32_t)corner(23, 8);
        f1 = f2 = 0;
        uint32_t s1 = fp32_arith(op, x, y, z, rm, &f1), s2 = fp32_arith_soft(op, x, y, z, rm, &f2);
        ck_assert_msg(s1 == s2 && f1 == f2, "op %d rm %u %x %x %x: %x/%x, %x/%x", op, rm, x, y, z, s1, f1, s2, f2);
    }
}
END_TEST

START_TEST(host_mode_is_left_as_found)
{
    uint32_t before, after, mine = 0x1f80 | 2u << 13 | 0x20;
    __asm__ volatile("stmxcsr %0" : "=m"(before));
    __asm__ volatile("ldmxcsr %0" : : "m"(mine));
    unsigned flags = 0;
    fp64_arith(FP_DIV, ONE64, 0, 0, RM_RTZ, &flags);
    __asm__ volatile("stmxcsr %0" : "=m"(after));
    __asm__ volatile("ldmxcsr %0" : : "m"(before));
    ck_assert_uint_eq(after, mine);
    ck_assert_uint_eq(flags, FP_DZ);
}
END_TEST

static const struct {
    uint64_t a;
    unsigned bits, is_signed, rm;
    uint64_t result;
    unsigned flags;
} to_int_cases[] = {
    {FP64_NAN, 32, 1, RM_RNE, 0x7fffffff, FP_NV},
    {NEG64 | FP64_NAN, 32, 0, RM_RNE, ~0ull, FP_NV},
    {SNAN64, 64, 1, RM_RNE, INT64_MAX, FP_NV},
    {FP64_NAN, 64, 0, RM_RNE, UINT64_MAX, FP_NV},
    {INF64, 32, 1, RM_RTZ, 0x7fffffff, FP_NV},
    {NEG64 | INF64, 32, 1, RM_RTZ, 0xffffffff80000000ull, FP_NV},
    {NEG64 | INF64, 64, 0, RM_RTZ, 0, FP_NV},
    {0x41dfffffffc00000ull, 32, 1, RM_RNE, 0x7fffffff, 0},         /* 2^31 - 1 */
    {0x41e0000000000000ull, 32, 1, RM_RNE, 0x7fffffff, FP_NV},     /* 2^31 */
    {0x41e0000000000000ull, 32, 0, RM_RNE, 0xffffffff80000000, 0}, /* sign-extended */
    {0x41dfffffffe00000ull, 32, 1, RM_RTZ, 0x7fffffff, FP_NX},     /* 2^31 - 1/2 */
    {0x41dfffffffe00000ull, 32, 1, RM_RNE, 0x7fffffff, FP_NV},     /* NV, and then not NX */
    {0xc1e0000000000000ull, 32, 1, RM_RNE, 0xffffffff80000000ull, 0},
    {0xc3e0000000000000ull, 64, 1, RM_RNE, (uint64_t)INT64_MIN, 0},
    {0x43e0000000000000ull, 64, 1, RM_RNE, INT64_MAX, FP_NV},
    {0x43f0000000000000ull, 64, 0, RM_RNE, UINT64_MAX, FP_NV},
    {0xbfe0000000000000ull, 32, 0, RM_RTZ, 0, FP_NX}, /* -0.5 */
    {0xbfe0000000000000ull, 32, 0, RM_RNE, 0, FP_NX},
    {0xbfe0000000000000ull, 32, 0, RM_RMM, 0, FP_NV},
    {0xbfe0000000000000ull, 64, 0, RM_RDN, 0, FP_NV},
    {0xbfe0000000000000ull, 64, 1, RM_RMM, ~0ull, FP_NX},
    {0x4004000000000000ull, 32, 1, RM_RNE, 2, FP_NX}, /* 2.5 */
    {0x4004000000000000ull, 32, 1, RM_RMM, 3, FP_NX},
    {0x400c000000000000ull, 32, 1, RM_RNE, 4, FP_NX}, /* 3.5 */
    {1, 64, 1, RM_RUP, 1, FP_NX},
    {NEG64, 64, 0, RM_RDN, 0, 0},
};

START_TEST(conversions_to_integers)
{
    for (size_t i = 0; i < sizeof(to_int_cases) / sizeof(to_int_cases[0]); i++) {
        unsigned flags = 0;
        uint64_t r =
            fp64_to_int(to_int_cases[i].a, to_int_cases[i].bits, to_int_cases[i].is_signed, to_int_cases[i].rm, &flags);
        ck_assert_msg(r == to_int_cases[i].result && flags == to_int_cases[i].flags, "case %zu: %lx, flags %x", i,
                      (unsigned long)r, flags);
    }
}
END_TEST

START_TEST(other_conversions)
{
    unsigned flags = 0;
    ck_assert_uint_eq(fp64_from_int(UINT64_MAX, 64, false, RM_RNE, &flags), 0x43f0000000000000ull);
    ck_assert_uint_eq(flags, FP_NX);
    flags = 0;
    ck_assert_uint_eq(fp64_from_int(UINT64_MAX, 64, true, RM_RNE, &flags), NEG64 | ONE64);
    ck_assert_uint_eq(fp64_from_int(0xdead0000ffffffffull, 32, true, RM_RNE, &flags), NEG64 | ONE64);
    ck_assert_uint_eq(fp64_from_int(0xdead0000ffffffffull, 32, false, RM_RNE, &flags), 0x41efffffffe00000ull);
    ck_assert_uint_eq(fp32_from_int(0, 64, true, RM_RDN, &flags), 0);
    ck_assert_uint_eq(flags, 0);
    ck_assert_uint_eq(fp32_from_int(16777217, 64, true, RM_RMM, &flags), 0x4b800001);
    ck_assert_uint_eq(flags, FP_NX);
    flags = 0;
    ck_assert_uint_eq(fp64_to_fp32(MAX64, RM_RTZ, &flags), MAX32);
    ck_assert_uint_eq(flags, FP_OF | FP_NX);
    flags = 0;
    ck_assert_uint_eq(fp64_to_fp32(SNAN64, RM_RNE, &flags), FP32_NAN);
    ck_assert_uint_eq(fp32_to_fp64(SNAN32 | NEG32, &flags), FP64_NAN);
    ck_assert_uint_eq(flags, FP_NV);
    flags = 0;
    ck_assert_uint_eq(fp32_to_fp64(1, &flags), 0x36a0000000000000ull); /* the smallest subnormal */
    ck_assert_uint_eq(fp64_to_fp32(0x36a0000000000000ull, RM_RNE, &flags), 1);
    ck_assert_uint_eq(flags, 0);
    ck_assert_uint_eq(fp64_to_fp32(0x3690000000000000ull, RM_RMM, &flags), 1); /* half of it */
    ck_assert_uint_eq(flags, FP_UF | FP_NX);
}
END_TEST

START_TEST(minimum_and_maximum)
{
    unsigned flags = 0;
    ck_assert_uint_eq(fp64_minmax(false, 0, NEG64, &flags), NEG64);
    ck_assert_uint_eq(fp64_minmax(false, NEG64, 0, &flags), NEG64);
    ck_assert_uint_eq(fp64_minmax(true, NEG64, 0, &flags), 0);
    ck_assert_uint_eq(fp64_minmax(true, FP64_NAN | 1, ONE64, &flags), ONE64);
    ck_assert_uint_eq(fp64_minmax(false, ONE64, NEG64 | FP64_NAN, &flags), ONE64);
    ck_assert_uint_eq(fp64_minmax(false, FP64_NAN | 1, NEG64 | FP64_NAN, &flags), FP64_NAN);
    ck_assert_uint_eq(fp32_minmax(true, NEG32 | INF32, NEG32 | ONE32, &flags), NEG32 | ONE32);
    ck_assert_uint_eq(flags, 0);
    ck_assert_uint_eq(fp32_minmax(true, SNAN32, ONE32, &flags), ONE32);
    ck_assert_uint_eq(flags, FP_NV);
    flags = 0;
    ck_assert_uint_eq(fp32_minmax(true, SNAN32, FP32_NAN, &flags), FP32_NAN);
    ck_assert_uint_eq(flags, FP_NV);
}
END_TEST

START_TEST(comparisons)
{
    unsigned flags = 0;
    ck_assert(fp64_compare(FP_EQ, 0, NEG64, &flags));
    ck_assert(!fp64_compare(FP_LT, NEG64, 0, &flags));
    ck_assert(fp64_compare(FP_LE, 0, NEG64, &flags));
    ck_assert(fp64_compare(FP_LT, NEG64 | INF64, NEG64 | MAX64, &flags));
    ck_assert(!fp64_compare(FP_LT, ONE64, NEG64 | ONE64, &flags));
    ck_assert(fp32_compare(FP_LE, NEG32 | 1, 0, &flags));
    ck_assert(!fp64_compare(FP_EQ, FP64_NAN, FP64_NAN, &flags));
    ck_assert_uint_eq(flags, 0);
    ck_assert(!fp64_compare(FP_EQ, SNAN64, ONE64, &flags));
    ck_assert_uint_eq(flags, FP_NV);
    flags = 0;
    ck_assert(!fp64_compare(FP_LE, FP64_NAN, ONE64, &flags));
    ck_assert_uint_eq(flags, FP_NV);
}
END_TEST

START_TEST(classes)
{
    static const uint64_t v64[10] = {NEG64 | INF64, NEG64 | ONE64, NEG64 | 1, NEG64,           0, 1,
                                     MINNORM64,     INF64,         SNAN64,    NEG64 | FP64_NAN};
    static const uint32_t v32[10] = {NEG32 | INF32, NEG32 | MAX32, NEG32 | 0x7fffff, NEG32,   0, 1,
                                     ONE32,         INF32,         SNAN32,           FP32_NAN};
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_uint_eq(fp64_class(v64[i]), 1u << i);
        ck_assert_uint_eq(fp32_class(v32[i]), 1u << i);
    }
}
END_TEST

START_TEST(mxcsr)
{
    ck_assert_uint_eq(fp_flags_of_mxcsr(0x1f80), 0);
    ck_assert_uint_eq(fp_flags_of_mxcsr(1), FP_NV);
    ck_assert_uint_eq(fp_flags_of_mxcsr(2), 0); /* denormal operand */
    ck_assert_uint_eq(fp_flags_of_mxcsr(4), FP_DZ);
    ck_assert_uint_eq(fp_flags_of_mxcsr(8), FP_OF);
    ck_assert_uint_eq(fp_flags_of_mxcsr(16), FP_UF);
    ck_assert_uint_eq(fp_flags_of_mxcsr(32), FP_NX);
    ck_assert_uint_eq(fp_mxcsr(RM_RNE), 0x1f80);
    ck_assert_uint_eq(fp_mxcsr(RM_RTZ), 0x7f80);
    ck_assert_uint_eq(fp_mxcsr(RM_RDN), 0x3f80);
    ck_assert_uint_eq(fp_mxcsr(RM_RUP), 0x5f80);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fp");
    TCase *t = tcase_create("fp");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, corners64);
    tcase_add_test(t, host_agrees_with_integers);
    tcase_add_test(t, host_mode_is_left_as_found);
    tcase_add_test(t, conversions_to_integers);
    tcase_add_test(t, other_conversions);
    tcase_add_test(t, minimum_and_maximum);
    tcase_add_test(t, comparisons);
    tcase_add_test(t, classes);
    tcase_add_test(t, mxcsr);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
