/*
 * The interpreter's handlers: one function per row of insn.def, exec_NAME. Private to the interp*.c files.
 *
 * A handler returns INTERP_NEXT, _WFI, _YIELD or _FENCE_I with pc still at the instruction (interp_exec moves it), or
 * INTERP_JUMP with pc already where execution goes on.
 */
#ifndef WEFT_TCG_EXEC_INSN_H
#define WEFT_TCG_EXEC_INSN_H

#include "tcg/interp.h"

typedef enum interp_result insn_handler(struct cpu *cpu, const struct insn *in);

#define INSN(name, text, mask, match, fmt, ext) insn_handler exec_##name;
#include "tcg/insn.def"
#undef INSN

#define HANDLER(name) enum interp_result exec_##name(struct cpu *cpu, const struct insn *in)

static inline enum interp_result set_x(struct cpu *cpu, const struct insn *in, uint64_t value)
{
    if (in->rd) {
        cpu->x[in->rd] = value;
    }
    return INTERP_NEXT;
}

static inline uint64_t sext32(uint64_t v)
{
    return (uint64_t)(int64_t)(int32_t)(uint32_t)v;
}

/* Base register plus immediate. */
static inline uint64_t address(const struct cpu *cpu, const struct insn *in)
{
    return cpu->x[in->rs1] + (uint64_t)(int64_t)in->imm;
}

/* Ends an instruction that retired but after which the caller must look at everything anew. */
static inline enum interp_result jump_to(struct cpu *cpu, uint64_t pc)
{
    cpu->pc = pc;
    return INTERP_JUMP;
}

/* Takes a trap instead of the instruction. The caller will count one instruction off the budget; moving icount_end
 * along keeps the number of retired ones as it was, while trap loops still use up their slice. */
static inline enum interp_result take_trap(struct cpu *cpu, uint32_t cause, uint64_t tval)
{
    cpu->icount_end--;
    cpu_take_exception(cpu, cause, tval);
    return INTERP_JUMP;
}

static inline enum interp_result take_illegal(struct cpu *cpu, const struct insn *in)
{
    return take_trap(cpu, EXC_ILLEGAL, in->raw);
}

/* The fault a memory access left in exc_cause. */
static inline enum interp_result take_fault(struct cpu *cpu)
{
    return take_trap(cpu, cpu->exc_cause, cpu->exc_tval);
}

#endif
