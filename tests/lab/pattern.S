# A bare-metal guest for placement tests: hart n writes and checks a pattern in guest node n's memory, for ever.
# Each page's words hold address ^ round; a wrong word is told as "BAD", a finished round as the hart's digit.
# NODE_BYTES (a power of two) and WORK_BYTES come from the command line of the assembler; with OTHER, hart n works in the
# memory of guest node n ^ OTHER instead.
#ifndef OTHER
#define OTHER 0
#endif
    .option norelax
    .section .text.start, "ax"
    .globl _start
_start:
    csrr    s0, mhartid
    li      s1, 0x10000000          # UART
    li      s2, 0x80000000
    li      t0, NODE_BYTES
    xori    t1, s0, OTHER
    mul     t1, t1, t0
    add     s2, s2, t1
    li      t0, NODE_BYTES - WORK_BYTES
    add     s2, s2, t0              # the work area is the end of the node
    li      t0, WORK_BYTES
    add     s3, s2, t0
    li      s4, 0                   # round
fill:                               # first round: write only
    mv      a0, s2
1:  sd      a0, 0(a0)
    addi    a0, a0, 64
    bltu    a0, s3, 1b
round:
    addi    s5, s4, 1
    mv      a0, s2
2:  ld      a1, 0(a0)
    xor     a2, a0, s4
    bne     a1, a2, bad
    xor     a2, a0, s5
    sd      a2, 0(a0)
    addi    a0, a0, 64
    bltu    a0, s3, 2b
    mv      s4, s5
    addi    t0, s0, '0'
    sb      t0, 0(s1)
    j       round
bad:
    la      a0, text
3:  lbu     t0, 0(a0)
    beqz    t0, 4f
    sb      t0, 0(s1)
    addi    a0, a0, 1
    j       3b
4:  wfi
    j       4b
text:
    .asciz  "\nBAD\n"
