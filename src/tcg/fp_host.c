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

/* The operations in one format: `type` is the host's, `f` the instructions' last letter. x86 leaves NV clear for
 * inf * 0 + qNaN, and propagates payloads: a result that is a NaN is the reference's, with its flags. */
#define ARITH(bits, type, f)                                                                                           \
    uint##bits##_t fp##bits##_arith(enum fp_op op, uint##bits##_t a, uint##bits##_t b, uint##bits##_t c, unsigned rm,  \
                                    unsigned *flags)                                                                   \
    {                                                                                                                  \
        if (rm > RM_RUP || (op == FP_FMA && !host_has_fma)) {                                                          \
            return fp##bits##_arith_soft(op, a, b, c, rm, flags);                                                      \
        }                                                                                                              \
        type x, y, z;                                                                                                  \
        uint##bits##_t r;                                                                                              \
        memcpy(&x, &a, sizeof(x));                                                                                     \
        memcpy(&y, &b, sizeof(y));                                                                                     \
        memcpy(&z, &c, sizeof(z));                                                                                     \
        uint32_t saved = fpu_enter(rm);                                                                                \
        switch (op) {                                                                                                  \
        case FP_ADD:                                                                                                   \
            RUN2("adds" f, x, y);                                                                                      \
            break;                                                                                                     \
        case FP_SUB:                                                                                                   \
            RUN2("subs" f, x, y);                                                                                      \
            break;                                                                                                     \
        case FP_MUL:                                                                                                   \
            RUN2("muls" f, x, y);                                                                                      \
            break;                                                                                                     \
        case FP_DIV:                                                                                                   \
            RUN2("divs" f, x, y);                                                                                      \
            break;                                                                                                     \
        case FP_SQRT:                                                                                                  \
            RUN2("sqrts" f, x, x);                                                                                     \
            break;                                                                                                     \
        default:                                                                                                       \
            RUN3("vfmadd213s" f, x, y, z);                                                                             \
            break;                                                                                                     \
        }                                                                                                              \
        unsigned raised = fpu_leave(saved);                                                                            \
        memcpy(&r, &x, sizeof(r));                                                                                     \
        if (fp_is_nan(&fp_format##bits, r)) {                                                                          \
            return fp##bits##_arith_soft(op, a, b, c, rm, flags);                                                      \
        }                                                                                                              \
        *flags |= raised;                                                                                              \
        return r;                                                                                                      \
    }

ARITH(64, double, "d")
ARITH(32, float, "s")
