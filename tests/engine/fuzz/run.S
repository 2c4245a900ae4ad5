/* Enters a stream and comes back from it; takes its traps. */
#include "fuzz.h"

    .option norelax
    .option arch, +d
    .text

.macro each_x op, from, to
    .set    i, \from
    .rept   \to - \from + 1
    .if     i != 31
    one_x   \op, %i
    .endif
    .set    i, i + 1
    .endr
.endm
.altmacro
.macro one_x op, n
    \op     x\n, CTX_X + 8 * \n(x31)
.endm
.macro one_f op, n
    \op     f\n, CTX_F + 8 * \n(a0)
.endm
.macro each_f op
    .set    i, 0
    .rept   32
    one_f   \op, %i
    .set    i, i + 1
    .endr
.endm

    .globl run_stream
run_stream:
    addi    sp, sp, -128
    .set    i, 0
    .irp    r, ra, gp, tp, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11
    sd      \r, i(sp)
    .set    i, i + 8
    .endr
    sd      sp, CTX_HOST_SP(a0)
    li      t0, 3 << 13
    csrs    mstatus, t0
    each_f  fld
    ld      t0, CTX_FCSR(a0)
    fscsr   t0
    csrw    mscratch, a0
resume:
    ld      t0, CTX_STATUS(a0)
    csrw    mstatus, t0
    ld      t0, CTX_PC(a0)
    csrw    mepc, t0
    mv      x31, a0
    each_x  ld, 1, 30
    ld      x31, CTX_X + 8 * 31(x31)
    mret

    .balign 4
    .globl trap_entry
trap_entry:
    csrrw   x31, mscratch, x31
    each_x  sd, 1, 30
    mv      a0, x31
    csrrw   t0, mscratch, a0
    sd      t0, CTX_X + 8 * 31(a0)
    addi    t0, a0, CTX_DUMMY       /* what a trap does to a reservation is left open: end it */
    sc.d    x0, x0, (t0)
    csrr    t0, mepc
    sd      t0, CTX_PC(a0)
    csrr    t0, mstatus
    sd      t0, CTX_STATUS(a0)
    csrr    t0, mcause
    sd      t0, CTX_CAUSE(a0)
    csrr    t0, mtval
    sd      t0, CTX_TVAL(a0)
    ld      sp, CTX_HOST_SP(a0)
    call    on_trap
    mv      t0, a0
    csrr    a0, mscratch
    beqz    t0, resume
    li      t0, 3 << 13
    csrs    mstatus, t0
    each_f  fsd
    frcsr   t0
    sd      t0, CTX_FCSR(a0)
    .set    i, 0
    .irp    r, ra, gp, tp, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11
    ld      \r, i(sp)
    .set    i, i + 8
    .endr
    addi    sp, sp, 128
    ret
