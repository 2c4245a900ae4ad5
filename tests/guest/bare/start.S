/*
 * Entry of every bare-metal program: a0 = hart, a1 = the device tree. Each hart gets a stack of its own; hart 0 goes to
 * main_hart0(fdt), the others wait until it has set bare_go and then go to main_other(hart). In a program started by SBI
 * the others come in by bare_start_other instead.
 */
    .section .text.start, "ax"
    .globl _start
_start:
    li      t0, BARE_MAX_HARTS
    bgeu    a0, t0, park
    la      sp, stacks
    addi    t1, a0, 1
    slli    t1, t1, STACK_SHIFT
    add     sp, sp, t1
    bnez    a0, 1f
    mv      a0, a1
    call    main_hart0
    j       finish_with
1:  la      t0, bare_go
2:  lw      t1, 0(t0)
    fence   r, rw
    beqz    t1, 2b
    call    main_other
park:
    wfi
    j       park

    .globl bare_start_other
bare_start_other:
    la      sp, stacks
    addi    t1, a0, 1
    slli    t1, t1, STACK_SHIFT
    add     sp, sp, t1
    call    main_other
    j       park

    .bss
    .balign 4096
stacks:
    .space  BARE_MAX_HARTS << STACK_SHIFT
