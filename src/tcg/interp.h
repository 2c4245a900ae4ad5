/*
 * T0: the interpreter; the reference for T1, and what T1 calls for whatever it does not translate itself.
 */
#ifndef WEFT_TCG_INTERP_H
#define WEFT_TCG_INTERP_H

#include "tcg/insn.h"
#include "weft/cpu.h"

enum interp_result {
    INTERP_NEXT,  /* done; cpu->pc was moved to the next instruction in sequence, nothing else changed */
    INTERP_JUMP,  /* done; pc, privilege, context, interrupt enables or translations may have changed; a trap was taken
                   */
    INTERP_WFI,   /* wfi retired with nothing pending: cpu->wfi is set, pc is behind it */
    INTERP_YIELD, /* pause hint retired, pc is behind it */
    INTERP_FENCE_I, /* fence.i retired: the caller must synchronise translated code (tcg_fence_i) */
};

/* Executes one decoded instruction at cpu->pc. Guest faults are taken as traps (INTERP_JUMP, not retired). A retired
 * instruction costs budget 1 — the caller subtracts it, and does so after a trap too: there icount_end was moved down
 * by 1, so that traps use up the slice but do not count as retired. Own thread, outside generated code (all state in
 * memory; FP flags go to cpu->fflags, host MXCSR is the host's own and is left as found). */
enum interp_result interp_exec(struct cpu *cpu, const struct insn *in);

/* Fetch, decode and execute one instruction at cpu->pc; budget and statistics included. */
enum interp_result interp_step(struct cpu *cpu);

#endif
