/*
 * A hart's FP control state: fcsr, its image in MXCSR, and whether generated code may use the host's FPU as it is.
 */
#include "tcg/csr.h"
#include "tcg/fp.h"

enum { MXCSR_FLAGS = 0x3f };

uint8_t fp_fflags(const struct cpu *cpu)
{
    return (uint8_t)(cpu->fflags | fp_flags_of_mxcsr(cpu->guest_mxcsr));
}

void fp_set_fcsr(struct cpu *cpu, uint8_t fflags, uint8_t frm)
{
    cpu->fflags = fflags & FP_ALL_FLAGS;
    cpu->frm = frm & 7;
    cpu->guest_mxcsr = 0;
    fp_update_fast(cpu);
}

void fp_update_fast(struct cpu *cpu)
{
    bool direct = cpu->frm <= RM_RUP;
    cpu->guest_mxcsr = (cpu->guest_mxcsr & MXCSR_FLAGS) | fp_mxcsr(direct ? cpu->frm : RM_RNE);
    cpu->fp_fast = direct && (cpu->mstatus & MSTATUS_FS) == MSTATUS_FS;
}

void fp_mark_dirty(struct cpu *cpu)
{
    if ((cpu->mstatus & MSTATUS_FS) != MSTATUS_FS) {
        cpu->mstatus |= MSTATUS_FS | MSTATUS_SD;
        fp_update_fast(cpu);
    }
}
