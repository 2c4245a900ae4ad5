/*
 * What the decoder, the formatter and the tests share about the rows of insn.def.
 */
#ifndef WEFT_TCG_DECODE_H
#define WEFT_TCG_DECODE_H

#include "tcg/insn.h"

/* Operand layouts. X = integer register, F = FP register; a trailing N = no rounding mode in funct3. */
enum insn_fmt {
    FMT_R,     /* Xd, Xs1, Xs2 */
    FMT_R2,    /* Xd, Xs1 */
    FMT_I,     /* Xd, Xs1, imm */
    FMT_SH,    /* Xd, Xs1, shamt */
    FMT_L,     /* Xd, imm(Xs1) */
    FMT_FL,    /* Fd, imm(Xs1) */
    FMT_S,     /* Xs2, imm(Xs1) */
    FMT_FS,    /* Fs2, imm(Xs1) */
    FMT_B,     /* Xs1, Xs2, target */
    FMT_U,     /* Xd, imm */
    FMT_J,     /* Xd, target */
    FMT_JR,    /* Xd, imm(Xs1) */
    FMT_LR,    /* Xd, (Xs1) */
    FMT_AMO,   /* Xd, Xs2, (Xs1) */
    FMT_CSR,   /* Xd, csr, Xs1 */
    FMT_CSRI,  /* Xd, csr, uimm */
    FMT_FENCE, /* pred, succ */
    FMT_NONE,
    FMT_SFENCE, /* Xs1, Xs2 */
    FMT_CBO,    /* (Xs1) */
    FMT_F4,     /* Fd, Fs1, Fs2, Fs3, rm */
    FMT_F3,     /* Fd, Fs1, Fs2, rm */
    FMT_F3N,    /* Fd, Fs1, Fs2 */
    FMT_FCMP,   /* Xd, Fs1, Fs2 */
    FMT_F2,     /* Fd, Fs1, rm */
    FMT_FTOX,   /* Xd, Fs1, rm */
    FMT_FTOXN,  /* Xd, Fs1 */
    FMT_XTOF,   /* Fd, Xs1, rm */
    FMT_XTOFN,  /* Fd, Xs1 */
};

struct insn_row {
    const char *text;
    uint32_t mask, match;
    uint8_t fmt;
    uint64_t ext; /* bits of enum cpu_ext the hart must have, all of them; 0 = always there */
};

/* Indexed by enum op; row 0 (OP_ILLEGAL) is empty. */
extern const struct insn_row insn_rows[OP_COUNT];

/* Expands a 16-bit encoding (compressed.c); op stays OP_ILLEGAL when it is reserved. */
void insn_decode_compressed(uint16_t raw, struct insn *out);

#endif
