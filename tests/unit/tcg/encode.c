#include "encode.h"

#include <stdlib.h>

static uint64_t state = 0x9e3779b97f4a7c15ull;

uint64_t random64(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1dull;
}

static bool has_rm(enum insn_fmt fmt)
{
    return fmt == FMT_F4 || fmt == FMT_F3 || fmt == FMT_F2 || fmt == FMT_FTOX || fmt == FMT_XTOF;
}

uint32_t random_word(enum op op)
{
    const struct insn_row *row = &insn_rows[op];
    uint32_t raw = row->match | ((uint32_t)random64() & ~row->mask);
    unsigned rm = raw >> 12 & 7;
    if (has_rm(row->fmt) && (rm == 5 || rm == 6)) {
        raw |= 7u << 12;
    }
    return raw;
}

/* Bits [hi:lo] of v at position `to`. */
static uint32_t put(uint32_t v, unsigned hi, unsigned lo, unsigned to)
{
    return (v >> lo & ((2u << (hi - lo)) - 1)) << to;
}

uint32_t encode(const struct insn *in)
{
    const struct insn_row *row = &insn_rows[in->op];
    uint32_t i = (uint32_t)in->imm, w = row->match;
    uint32_t rd = (uint32_t)in->rd << 7, rs1 = (uint32_t)in->rs1 << 15, rs2 = (uint32_t)in->rs2 << 20;
    uint32_t rm = (uint32_t)in->rm << 12;
    switch ((enum insn_fmt)row->fmt) {
    case FMT_R:
    case FMT_F3N:
    case FMT_FCMP:
        return w | rd | rs1 | rs2;
    case FMT_R2:
    case FMT_FTOXN:
    case FMT_XTOFN:
        return w | rd | rs1;
    case FMT_I:
    case FMT_L:
    case FMT_FL:
    case FMT_JR:
    case FMT_SH:
    case FMT_CSR:
    case FMT_CSRI:
        return w | rd | rs1 | i << 20;
    case FMT_FENCE:
        return w | rd | rs1 | i << 20;
    case FMT_S:
    case FMT_FS:
        return w | rs1 | rs2 | put(i, 11, 5, 25) | put(i, 4, 0, 7);
    case FMT_B:
        return w | rs1 | rs2 | put(i, 12, 12, 31) | put(i, 10, 5, 25) | put(i, 4, 1, 8) | put(i, 11, 11, 7);
    case FMT_U:
        return w | rd | (i & 0xfffff000);
    case FMT_J:
        return w | rd | put(i, 20, 20, 31) | put(i, 10, 1, 21) | put(i, 11, 11, 20) | put(i, 19, 12, 12);
    case FMT_LR:
        return w | rd | rs1 | (uint32_t)in->rm << 25;
    case FMT_AMO:
        return w | rd | rs1 | rs2 | (uint32_t)in->rm << 25;
    case FMT_SFENCE:
        return w | rs1 | rs2;
    case FMT_CBO:
        return w | rs1;
    case FMT_F4:
        return w | rd | rs1 | rs2 | (uint32_t)in->rs3 << 27 | rm;
    case FMT_F3:
        return w | rd | rs1 | rs2 | rm;
    case FMT_F2:
    case FMT_FTOX:
    case FMT_XTOF:
        return w | rd | rs1 | rm;
    case FMT_NONE:
        return w;
    }
    abort();
}
