# A bare-metal guest for the views of a cluster: two harts, on two ranks, that use the same pages all the time.
# Hart 0 starts hart 1, sends it interrupts and fences; hart 1 writes to the console; both add to one counter, write into
# each other's pages and read on through memory of the other node. Once a round each; hart 0 tells "R" after each 64.
# FAR is memory of the second node.
    .option norelax
    .section .text.start, "ax"
    .globl _start
_start:
    mv      s0, a0                  # hart
    la      s1, shared_counter
    la      s2, shared_words
    li      s3, FAR
    li      s4, 0                   # round
    la      t0, trap
    csrw    stvec, t0
    bnez    s0, interrupted
    li      a0, 1                   # sbi_hart_start(1, _start, 0)
    la      a1, _start
    li      a2, 0
    li      a7, 0x48534d
    li      a6, 0
    ecall
    j       round
interrupted:
    li      t0, 2                   # sie.SSIE, sstatus.SIE
    csrs    sie, t0
    csrs    sstatus, t0
round:
    li      t0, 1
    amoadd.d zero, t0, (s1)
    slli    t1, s0, 3               # my word in the shared page, then the other's
    add     t1, t1, s2
    sd      s4, 0(t1)
    xori    t2, s0, 1
    slli    t2, t2, 3
    add     t2, t2, s2
    ld      t3, 0(t2)
    andi    t4, s4, 31              # every 32nd round: 16 pages in a row of what hart 1 wrote
    bnez    t4, 2f
    li      t5, 16
    mv      t6, s3
1:  bnez    s0, 3f
    ld      t3, 0(t6)
    j       4f
3:  sd      s4, 0(t6)
4:  li      t3, 4096
    add     t6, t6, t3
    addi    t5, t5, -1
    bnez    t5, 1b
    bnez    s0, 5f
    li      a7, 0x735049            # sbi_send_ipi(2, 0)
    li      a6, 0
    li      a0, 2
    li      a1, 0
    ecall
    li      a7, 0x52464e43          # sbi_remote_fence_i(2, 0)
    li      a6, 0
    li      a0, 2
    li      a1, 0
    ecall
    j       2f
5:  li      t0, 0x10000000          # a register of the UART, on rank 0
    lbu     t1, 5(t0)
2:  addi    s4, s4, 1
    andi    t4, s4, 63
    bnez    t4, round
    bnez    s0, round
    li      t0, 0x10000000
    li      t1, 'R'
    sb      t1, 0(t0)
    j       round

    .balign 4
trap:
    csrci   sip, 2
    sret

    .section .data, "aw"
    .balign 4096
    .globl shared_counter, shared_words
shared_counter:
    .dword  0
    .balign 4096
shared_words:
    .dword  0, 0
    .balign 4096
