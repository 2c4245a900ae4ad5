/* Ways down and up. */
#include "priv.h"
    .option norelax
    .text

.macro all_x op, base
    .set    i, 1
    .rept   31
    .if     i != 2
    one_x   \op, %i, \base
    .endif
    .set    i, i + 1
    .endr
.endm
.altmacro
.macro one_x op, n, base
    \op     x\n, 8 * \n(\base)
.endm

.macro one_vector n
    j       vector_\n
.endm
.macro one_target n
vector_\n:
    csrw    sscratch, t0
    li      t0, 4 * \n
    csrw    sepc, t0
    csrr    t0, sscratch
    j       trap_entry
.endm

    .balign 64
    .globl trap_entry
trap_entry:
    csrrw   sp, mscratch, sp
    addi    sp, sp, -272
    all_x   sd, sp
    csrr    t0, mscratch
    sd      t0, 16(sp)
    addi    t0, sp, 272
    csrw    mscratch, t0
    csrr    t0, mepc
    sd      t0, 256(sp)
    mv      a0, sp
    call    on_trap
    bnez    a0, 1f
    ld      t0, 256(sp)
    csrw    mepc, t0
    all_x   ld, sp
    ld      sp, 16(sp)
    mret
1:  ld      a0, 80(sp)
    li      a7, 0
    la      t0, enter_save
    .set    i, 0
    .irp    r, ra, sp, gp, tp, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11
    ld      \r, i(t0)
    .set    i, i + 8
    .endr
    ret

    .globl enter_lower
enter_lower:
    la      t0, enter_save
    .set    i, 0
    .irp    r, ra, sp, gp, tp, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11
    sd      \r, i(t0)
    .set    i, i + 8
    .endr
    csrw    mepc, a0
    mv      a0, a1
    mv      sp, a2
    la      ra, lower_return
    add     ra, ra, a3
    li      a7, 0
    mret
/* One of these is not delegated and brings us back. */
    .option norvc
    .balign 4
lower_return:
    li      a7, MAGIC
    ecall
    .4byte  0xffffffff
    ebreak
    lw      x0, 0(x0)
    j       lower_return

/* S mode's handler: writes down, skips, clears what interrupted. */
    .balign 4
    .globl s_entry
s_entry:
    csrw    sscratch, t6
    la      t6, s_save
    sd      t5, 0(t6)
    la      t6, s_trap
    ld      t5, 0(t6)
    addi    t5, t5, 1
    sd      t5, 0(t6)
    csrr    t5, sepc
    sd      t5, 16(t6)
    csrr    t5, stval
    sd      t5, 24(t6)
    csrr    t5, sstatus
    sd      t5, 32(t6)
    csrr    t5, scause
    sd      t5, 8(t6)
    bltz    t5, 2f
    li      t6, 12
    beq     t5, t6, 1f
    csrr    t5, sepc
    addi    t5, t5, 4           /* tests trap on long instructions */
    csrw    sepc, t5
    j       3f
1:  csrw    sepc, ra
    j       3f
2:  csrw    sie, x0
    csrci   sip, 2
3:  la      t6, s_save
    ld      t5, 0(t6)
    csrr    t6, sscratch
    sret

/* Vectored mode: entry N leaves N in sepc. */
    .balign 256
    .globl vector_table
vector_table:
    .set    i, 0
    .rept   16
    one_vector %i
    .set    i, i + 1
    .endr
    .set    i, 0
    .rept   16
    one_target %i
    .set    i, i + 1
    .endr

    .globl one_return
    .balign 4
one_return:
    ret

    .bss
    .balign 16
enter_save: .space 128
s_save:     .space 64
    .space  8192
    .globl trap_stack_top
trap_stack_top:
