/*
 * Floating point as RISC-V defines it (unprivileged specification, chapters "F" and "D"), on raw bit patterns.
 *
 * Pure functions: results that are NaN are canonical, exceptions are or-ed into *flags (enum fp_flag), rm is a
 * rounding mode 0..4. Binary32 values are passed without their NaN box. Any thread; the host's MXCSR is left as found.
 */
#ifndef WEFT_TCG_FP_H
#define WEFT_TCG_FP_H

#include <stdbool.h>
#include <stdint.h>

enum fp_rm { RM_RNE, RM_RTZ, RM_RDN, RM_RUP, RM_RMM, RM_DYN = 7 };
enum fp_flag { FP_NX = 1, FP_UF = 2, FP_OF = 4, FP_DZ = 8, FP_NV = 16, FP_ALL_FLAGS = 31 };
enum fp_op { FP_ADD, FP_SUB, FP_MUL, FP_DIV, FP_SQRT, FP_FMA };

#define FP32_NAN 0x7fc00000u
#define FP64_NAN 0x7ff8000000000000ull
#define FP_BOX 0xffffffff00000000ull

/* The host's MXCSR control bits for a rounding mode 0..3: all exceptions masked, no flags, no DAZ or FTZ. */
static inline uint32_t fp_mxcsr(unsigned rm)
{
    static const uint8_t rc[4] = {0, 3, 1, 2};
    return 0x1f80u | (uint32_t)rc[rm & 3] << 13;
}

/* The flags raised in an MXCSR value, as fflags (the denormal-operand flag has no counterpart). */
static inline unsigned fp_flags_of_mxcsr(uint32_t mxcsr)
{
    return (mxcsr & 1) << 4 | (mxcsr & 4) << 1 | (mxcsr & 8) >> 1 | (mxcsr & 16) >> 3 | (mxcsr & 32) >> 5;
}

/* The value of a register read as binary32: the canonical NaN when the box is not intact. */
static inline uint32_t fp_unbox(uint64_t f)
{
    return (f & FP_BOX) == FP_BOX ? (uint32_t)f : FP32_NAN;
}

/* a op b; sqrt of a; a * b + c. On the host's FPU where it can do it exactly, otherwise in integers. */
uint64_t fp64_arith(enum fp_op op, uint64_t a, uint64_t b, uint64_t c, unsigned rm, unsigned *flags);
uint32_t fp32_arith(enum fp_op op, uint32_t a, uint32_t b, uint32_t c, unsigned rm, unsigned *flags);
/* The same, always in integers: what RMM takes, and what the tests compare the host with. */
uint64_t fp64_arith_soft(enum fp_op op, uint64_t a, uint64_t b, uint64_t c, unsigned rm, unsigned *flags);
uint32_t fp32_arith_soft(enum fp_op op, uint32_t a, uint32_t b, uint32_t c, unsigned rm, unsigned *flags);

uint32_t fp64_to_fp32(uint64_t a, unsigned rm, unsigned *flags);
uint64_t fp32_to_fp64(uint32_t a, unsigned *flags);

/* To a 32- or 64-bit integer, saturating; 32-bit results are sign-extended to XLEN, unsigned ones too. */
uint64_t fp64_to_int(uint64_t a, unsigned bits, bool is_signed, unsigned rm, unsigned *flags);
uint64_t fp32_to_int(uint32_t a, unsigned bits, bool is_signed, unsigned rm, unsigned *flags);
/* From the low `bits` of v. */
uint64_t fp64_from_int(uint64_t v, unsigned bits, bool is_signed, unsigned rm, unsigned *flags);
uint32_t fp32_from_int(uint64_t v, unsigned bits, bool is_signed, unsigned rm, unsigned *flags);

enum fp_cmp { FP_EQ, FP_LT, FP_LE };
bool fp64_compare(enum fp_cmp cmp, uint64_t a, uint64_t b, unsigned *flags);
bool fp32_compare(enum fp_cmp cmp, uint32_t a, uint32_t b, unsigned *flags);
/* minimumNumber and maximumNumber of IEEE 754-2019, with -0 < +0. */
uint64_t fp64_minmax(bool is_max, uint64_t a, uint64_t b, unsigned *flags);
uint32_t fp32_minmax(bool is_max, uint32_t a, uint32_t b, unsigned *flags);
/* The ten-bit mask of fclass. */
unsigned fp64_class(uint64_t a);
unsigned fp32_class(uint32_t a);

#endif
