/*
 * T0: the floating-point instructions (F and D), over the pure functions of fp.h.
 */
#include "tcg/csr.h"
#include "tcg/exec_insn.h"
#include "tcg/fp.h"

#define SIGN32 0x80000000u
#define SIGN64 (1ull << 63)

static bool fp_enabled(const struct cpu *cpu)
{
    return (cpu->mstatus & MSTATUS_FS) != 0;
}

static void raise_flags(struct cpu *cpu, unsigned flags)
{
    if (flags) {
        cpu->fflags |= (uint8_t)flags;
        fp_mark_dirty(cpu);
    }
}

static enum interp_result set_f64(struct cpu *cpu, const struct insn *in, uint64_t v)
{
    cpu->f[in->rd] = v;
    fp_mark_dirty(cpu);
    return INTERP_NEXT;
}

static enum interp_result set_f32(struct cpu *cpu, const struct insn *in, uint32_t v)
{
    return set_f64(cpu, in, FP_BOX | v);
}

/* The handlers name their operands a, b, c (FP registers, unboxed in the 32-bit forms), x (rs1) and rm, and raise
 * exceptions in `flags`. An FP instruction with FS = Off, or with a rounding mode that does not exist, is illegal. */
#define FP_HANDLER(name, body)                                                                                         \
    HANDLER(name)                                                                                                      \
    {                                                                                                                  \
        unsigned flags = 0, rm = in->rm == RM_DYN ? cpu->frm : in->rm;                                                 \
        enum interp_result result;                                                                                     \
        if (!fp_enabled(cpu) || rm > RM_RMM) {                                                                         \
            return take_illegal(cpu, in);                                                                              \
        }                                                                                                              \
        body;                                                                                                          \
        raise_flags(cpu, flags);                                                                                       \
        return result;                                                                                                 \
    }

#define A32 fp_unbox(cpu->f[in->rs1])
#define B32 fp_unbox(cpu->f[in->rs2])
#define C32 fp_unbox(cpu->f[in->rs3])
#define A64 cpu->f[in->rs1]
#define B64 cpu->f[in->rs2]
#define C64 cpu->f[in->rs3]
#define X1 cpu->x[in->rs1]

#define TO_F32(name, expr) FP_HANDLER(name, result = set_f32(cpu, in, (expr)))
#define TO_F64(name, expr) FP_HANDLER(name, result = set_f64(cpu, in, (expr)))
#define TO_X(name, expr) FP_HANDLER(name, result = set_x(cpu, in, (expr)))

#define ARITH(name, op)                                                                                                \
    TO_F32(name##_S, fp32_arith(op, A32, B32, 0, rm, &flags))                                                          \
    TO_F64(name##_D, fp64_arith(op, A64, B64, 0, rm, &flags))
#define FUSED(name, sign_a, sign_c)                                                                                    \
    TO_F32(name##_S, fp32_arith(FP_FMA, A32 ^ (sign_a ? SIGN32 : 0), B32, C32 ^ (sign_c ? SIGN32 : 0), rm, &flags))    \
    TO_F64(name##_D, fp64_arith(FP_FMA, A64 ^ (sign_a ? SIGN64 : 0), B64, C64 ^ (sign_c ? SIGN64 : 0), rm, &flags))

ARITH(FADD, FP_ADD)
ARITH(FSUB, FP_SUB)
ARITH(FMUL, FP_MUL)
ARITH(FDIV, FP_DIV)
ARITH(FSQRT, FP_SQRT)
FUSED(FMADD, false, false)
FUSED(FMSUB, false, true)
FUSED(FNMSUB, true, false)
FUSED(FNMADD, true, true)

TO_F32(FSGNJ_S, (A32 & ~SIGN32) | (B32 & SIGN32))
TO_F64(FSGNJ_D, (A64 & ~SIGN64) | (B64 & SIGN64))
TO_F32(FSGNJN_S, (A32 & ~SIGN32) | (~B32 & SIGN32))
TO_F64(FSGNJN_D, (A64 & ~SIGN64) | (~B64 & SIGN64))
TO_F32(FSGNJX_S, A32 ^ (B32 & SIGN32))
TO_F64(FSGNJX_D, A64 ^ (B64 & SIGN64))
TO_F32(FMIN_S, fp32_minmax(false, A32, B32, &flags))
TO_F64(FMIN_D, fp64_minmax(false, A64, B64, &flags))
TO_F32(FMAX_S, fp32_minmax(true, A32, B32, &flags))
TO_F64(FMAX_D, fp64_minmax(true, A64, B64, &flags))
TO_X(FEQ_S, fp32_compare(FP_EQ, A32, B32, &flags))
TO_X(FEQ_D, fp64_compare(FP_EQ, A64, B64, &flags))
TO_X(FLT_S, fp32_compare(FP_LT, A32, B32, &flags))
TO_X(FLT_D, fp64_compare(FP_LT, A64, B64, &flags))
TO_X(FLE_S, fp32_compare(FP_LE, A32, B32, &flags))
TO_X(FLE_D, fp64_compare(FP_LE, A64, B64, &flags))
TO_X(FCLASS_S, fp32_class(A32))
TO_X(FCLASS_D, fp64_class(A64))

TO_X(FCVT_W_S, fp32_to_int(A32, 32, true, rm, &flags))
TO_X(FCVT_WU_S, fp32_to_int(A32, 32, false, rm, &flags))
TO_X(FCVT_L_S, fp32_to_int(A32, 64, true, rm, &flags))
TO_X(FCVT_LU_S, fp32_to_int(A32, 64, false, rm, &flags))
TO_X(FCVT_W_D, fp64_to_int(A64, 32, true, rm, &flags))
TO_X(FCVT_WU_D, fp64_to_int(A64, 32, false, rm, &flags))
TO_X(FCVT_L_D, fp64_to_int(A64, 64, true, rm, &flags))
TO_X(FCVT_LU_D, fp64_to_int(A64, 64, false, rm, &flags))
TO_F32(FCVT_S_W, fp32_from_int(X1, 32, true, rm, &flags))
TO_F32(FCVT_S_WU, fp32_from_int(X1, 32, false, rm, &flags))
TO_F32(FCVT_S_L, fp32_from_int(X1, 64, true, rm, &flags))
TO_F32(FCVT_S_LU, fp32_from_int(X1, 64, false, rm, &flags))
TO_F64(FCVT_D_W, fp64_from_int(X1, 32, true, rm, &flags))
TO_F64(FCVT_D_WU, fp64_from_int(X1, 32, false, rm, &flags))
TO_F64(FCVT_D_L, fp64_from_int(X1, 64, true, rm, &flags))
TO_F64(FCVT_D_LU, fp64_from_int(X1, 64, false, rm, &flags))
TO_F32(FCVT_S_D, fp64_to_fp32(A64, rm, &flags))
TO_F64(FCVT_D_S, fp32_to_fp64(A32, &flags))

/* Moves and memory do not look at the box. */
TO_X(FMV_X_W, sext32(A64))
TO_X(FMV_X_D, A64)
TO_F32(FMV_W_X, (uint32_t)X1)
TO_F64(FMV_D_X, X1)

static enum interp_result load(struct cpu *cpu, const struct insn *in, unsigned size, uint64_t box)
{
    uint64_t v;
    if (!fp_enabled(cpu)) {
        return take_illegal(cpu, in);
    }
    if (!tlb_load(cpu, address(cpu, in), size, &v)) {
        return take_fault(cpu);
    }
    return set_f64(cpu, in, box | v);
}

static enum interp_result store(struct cpu *cpu, const struct insn *in, unsigned size)
{
    if (!fp_enabled(cpu)) {
        return take_illegal(cpu, in);
    }
    return tlb_store(cpu, address(cpu, in), size, cpu->f[in->rs2]) ? INTERP_NEXT : take_fault(cpu);
}

HANDLER(FLW)
{
    return load(cpu, in, 4, FP_BOX);
}

HANDLER(FLD)
{
    return load(cpu, in, 8, 0);
}

HANDLER(FSW)
{
    return store(cpu, in, 4);
}

HANDLER(FSD)
{
    return store(cpu, in, 8);
}
