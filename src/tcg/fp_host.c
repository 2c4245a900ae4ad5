/*
 * Arithmetic on the host's FPU (SSE2 and FMA), with MXCSR set to the guest's rounding mode for the one operation.
 * SSE detects tininess after rounding, as RISC-V does. Everything between the two changes of MXCSR is volatile
 * assembly, so that no compiler can move or fold it. What SSE cannot do (RMM, and FMA on old hosts) goes to fp_soft.c.
 */
#include "tcg/fp.h"

#include <string.h>
#include "tcg/fp_format.h"

#ifndef __x86_64__
#error "fp_host.c knows x86-64 only"
#endif

static bool host_has_fma;

__attribute__((constructor)) static void probe_host(void)
{
    __builtin_cpu_init();
    host_has_fma = __builtin_cpu_supports("fma");
}

static inline uint32_t fpu_enter(unsigned rm)
{
    uint32_t saved, mine = fp_mxcsr(rm);
    __asm__ volatile("stmxcsr %0" : "=m"(saved));
    __asm__ volatile("ldmxcsr %0" : : "m"(mine));
    return saved;
}

static inline unsigned fpu_leave(uint32_t saved)
{
    uint32_t mine;
    __asm__ volatile("stmxcsr %0" : "=m"(mine));
    __asm__ volatile("ldmxcsr %0" : : "m"(saved));
    return fp_flags_of_mxcsr(mine);
}

/* One instruction of two operands, or of three with the FMA in 213 form (x = y * x + z). */
#define RUN2(insn, x, y) __asm__ volatile(insn " %1, %0" : "+x"(x) : "x"(y))
#define RUN3(insn, x, y, z) __asm__ volatile(insn " %2, %1, %0" : "+x"(x) : "x"(y), "x"(z))

uint64_t fp64_arith(enum fp_op op, uint64_t a, uint64_t b, uint64_t c, unsigned rm, unsigned *flags)
{
    if (rm > RM_RUP || (op == FP_FMA && !host_has_fma)) {
        return fp64_arith_soft(op, a, b, c, rm, flags);
    }
    double x, y, z;
    uint64_t r;
    memcpy(&x, &a, sizeof(x));
    memcpy(&y, &b, sizeof(y));
    memcpy(&z, &c, sizeof(z));
    uint32_t saved = fpu_enter(rm);
    switch (op) {
    case FP_ADD:
        RUN2("addsd", x, y);
        break;
    case FP_SUB:
        RUN2("subsd", x, y);
        break;
    case FP_MUL:
        RUN2("mulsd", x, y);
        break;
    case FP_DIV:
        RUN2("divsd", x, y);
        break;
    case FP_SQRT:
        RUN2("sqrtsd", x, x);
        break;
    default:
        RUN3("vfmadd213sd", x, y, z);
        break;
    }
    *flags |= fpu_leave(saved);
    memcpy(&r, &x, sizeof(r));
    if (fp_is_nan(&fp_format64, r)) {
        /* x86 leaves NV clear for inf * 0 + qNaN, and propagates payloads: take both from the reference. */
        return fp64_arith_soft(op, a, b, c, rm, flags);
    }
    return r;
}

uint32_t fp32_arith(enum fp_op op, uint32_t a, uint32_t b, uint32_t c, unsigned rm, unsigned *flags)
{
    if (rm > RM_RUP || (op == FP_FMA && !host_has_fma)) {
        return fp32_arith_soft(op, a, b, c, rm, flags);
    }
    float x, y, z;
    uint32_t r;
    memcpy(&x, &a, sizeof(x));
    memcpy(&y, &b, sizeof(y));
    memcpy(&z, &c, sizeof(z));
    uint32_t saved = fpu_enter(rm);
    switch (op) {
    case FP_ADD:
        RUN2("addss", x, y);
        break;
    case FP_SUB:
        RUN2("subss", x, y);
        break;
    case FP_MUL:
        RUN2("mulss", x, y);
        break;
    case FP_DIV:
        RUN2("divss", x, y);
        break;
    case FP_SQRT:
        RUN2("sqrtss", x, x);
        break;
    default:
        RUN3("vfmadd213ss", x, y, z);
        break;
    }
    *flags |= fpu_leave(saved);
    memcpy(&r, &x, sizeof(r));
    if (fp_is_nan(&fp_format32, r)) {
        return fp32_arith_soft(op, a, b, c, rm, flags);
    }
    return r;
}
