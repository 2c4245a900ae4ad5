/*
 * One decode table for all tiers. insn.def lists every instruction once:
 *     INSN(NAME, "mnemonic", mask, match, FORMAT, EXT)
 * NAME is the upper-case mnemonic with dots as underscores (OP_FADD_D, OP_AMOADD_W, OP_C_* do not exist: compressed
 * instructions expand to their base form with len = 2). Names follow the RISC-V unprivileged specification.
 */
#ifndef WEFT_TCG_INSN_H
#define WEFT_TCG_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum op {
    OP_ILLEGAL,
#define INSN(name, text, mask, match, fmt, ext) OP_##name,
#include "tcg/insn.def"
#undef INSN
    OP_COUNT,
};

/* imm: the full sign-extended immediate (lui/auipc: already shifted; branches and jumps: byte offset; shifts: shamt;
 * csr*: the CSR number, with rs1 = register or uimm; fence: the raw 12-bit fm|pred|succ).
 * rm: FP rounding mode field; for LR/SC/AMO: aq << 1 | rl. */
struct insn {
    uint16_t op;
    uint8_t rd, rs1, rs2, rs3, rm, len;
    int32_t imm;
    uint32_t raw; /* as fetched (16 bits when len is 2): what tval shows for an illegal instruction */
};

/* Decodes the bytes in raw (2 or 4 of them valid, by the low bits). isa_ext: bit per enum cpu_ext. An encoding that
 * is not there gives op = OP_ILLEGAL with len set. */
void insn_decode(uint32_t raw, uint64_t isa_ext, struct insn *out);
static inline unsigned insn_length(uint32_t raw)
{
    return (raw & 3) == 3 ? 4 : 2;
}
/* Writes "addi    a0,a0,-1" in objdump's manner; pc for branch targets. */
void insn_format(const struct insn *in, uint64_t pc, char *buf, size_t size);

#endif
