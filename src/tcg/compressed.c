/*
 * The C extension: every 16-bit instruction is a base instruction written shorter (unprivileged specification,
 * chapter "C"). Reserved encodings stay OP_ILLEGAL; hints become the base instruction that does nothing.
 */
#include "tcg/decode.h"

/* Bits [hi:lo] of v, moved to position `to`. */
static uint32_t field(uint32_t v, unsigned hi, unsigned lo, unsigned to)
{
    return (v >> lo & ((2u << (hi - lo)) - 1)) << to;
}

/* The six-bit signed immediate of the CI format. */
static int32_t imm_ci(uint32_t v)
{
    return (int32_t)field(v, 6, 2, 0) - (int32_t)field(v, 12, 12, 5);
}

static uint32_t shamt_ci(uint32_t v)
{
    return field(v, 6, 2, 0) | field(v, 12, 12, 5);
}

static uint8_t reg_low(uint32_t v)
{
    return (uint8_t)(8 + (v >> 2 & 7));
}

static uint8_t reg_high(uint32_t v)
{
    return (uint8_t)(8 + (v >> 7 & 7));
}

static void set(struct insn *out, enum op op, unsigned rd, unsigned rs1, unsigned rs2, int64_t imm)
{
    out->op = (uint16_t)op;
    out->rd = (uint8_t)rd;
    out->rs1 = (uint8_t)rs1;
    out->rs2 = (uint8_t)rs2;
    out->imm = (int32_t)imm;
}

static void quadrant0(uint32_t v, struct insn *out)
{
    uint32_t off_d = field(v, 12, 10, 3) | field(v, 6, 5, 6);
    uint32_t off_w = field(v, 12, 10, 3) | field(v, 6, 6, 2) | field(v, 5, 5, 6);
    uint32_t imm;
    switch (v >> 13) {
    case 0:
        imm = field(v, 12, 11, 4) | field(v, 10, 7, 6) | field(v, 6, 6, 2) | field(v, 5, 5, 3);
        if (imm) {
            set(out, OP_ADDI, reg_low(v), 2, 0, imm);
        }
        break;
    case 1:
        set(out, OP_FLD, reg_low(v), reg_high(v), 0, off_d);
        break;
    case 2:
        set(out, OP_LW, reg_low(v), reg_high(v), 0, off_w);
        break;
    case 3:
        set(out, OP_LD, reg_low(v), reg_high(v), 0, off_d);
        break;
    case 5:
        set(out, OP_FSD, 0, reg_high(v), reg_low(v), off_d);
        break;
    case 6:
        set(out, OP_SW, 0, reg_high(v), reg_low(v), off_w);
        break;
    case 7:
        set(out, OP_SD, 0, reg_high(v), reg_low(v), off_d);
        break;
    default:
        break;
    }
}

/* C.SRLI .. C.ADDW */
static void misc_alu(uint32_t v, struct insn *out)
{
    static const uint16_t ops[8] = {OP_SUB, OP_XOR, OP_OR, OP_AND, OP_SUBW, OP_ADDW, OP_ILLEGAL, OP_ILLEGAL};
    unsigned rd = reg_high(v);
    switch (v >> 10 & 3) {
    case 0:
        set(out, OP_SRLI, rd, rd, 0, shamt_ci(v));
        break;
    case 1:
        set(out, OP_SRAI, rd, rd, 0, shamt_ci(v));
        break;
    case 2:
        set(out, OP_ANDI, rd, rd, 0, imm_ci(v));
        break;
    default: {
        enum op op = ops[(v >> 10 & 4) | (v >> 5 & 3)];
        if (op != OP_ILLEGAL) {
            set(out, op, rd, rd, reg_low(v), 0);
        }
        break;
    }
    }
}

/* C.ADDI16SP and C.LUI */
static void lui_addi16sp(uint32_t v, unsigned rd, struct insn *out)
{
    if (rd == 2) {
        int32_t imm = (int32_t)(field(v, 6, 6, 4) | field(v, 5, 5, 6) | field(v, 4, 3, 7) | field(v, 2, 2, 5)) -
                      (int32_t)field(v, 12, 12, 9);
        if (imm) {
            set(out, OP_ADDI, 2, 2, 0, imm);
        }
    } else if (imm_ci(v)) {
        set(out, OP_LUI, rd, 0, 0, imm_ci(v) * 4096);
    }
}

static void quadrant1(uint32_t v, struct insn *out)
{
    unsigned rd = v >> 7 & 31;
    int32_t imm_cb = (int32_t)(field(v, 11, 10, 3) | field(v, 6, 5, 6) | field(v, 4, 3, 1) | field(v, 2, 2, 5)) -
                     (int32_t)field(v, 12, 12, 8);
    int32_t imm_cj = (int32_t)(field(v, 11, 11, 4) | field(v, 10, 9, 8) | field(v, 8, 8, 10) | field(v, 7, 7, 6) |
                               field(v, 6, 6, 7) | field(v, 5, 3, 1) | field(v, 2, 2, 5)) -
                     (int32_t)field(v, 12, 12, 11);
    switch (v >> 13) {
    case 0:
        set(out, OP_ADDI, rd, rd, 0, imm_ci(v));
        break;
    case 1:
        if (rd) {
            set(out, OP_ADDIW, rd, rd, 0, imm_ci(v));
        }
        break;
    case 2:
        set(out, OP_ADDI, rd, 0, 0, imm_ci(v));
        break;
    case 3:
        lui_addi16sp(v, rd, out);
        break;
    case 4:
        misc_alu(v, out);
        break;
    case 5:
        set(out, OP_JAL, 0, 0, 0, imm_cj);
        break;
    case 6:
        set(out, OP_BEQ, 0, reg_high(v), 0, imm_cb);
        break;
    default:
        set(out, OP_BNE, 0, reg_high(v), 0, imm_cb);
        break;
    }
}

/* C.JR, C.MV, C.EBREAK, C.JALR, C.ADD */
static void jump_move_add(uint32_t v, unsigned rd, struct insn *out)
{
    unsigned rs2 = v >> 2 & 31;
    bool bit12 = v >> 12 & 1;
    if (rs2) {
        set(out, OP_ADD, rd, bit12 ? rd : 0, rs2, 0);
    } else if (rd) {
        set(out, OP_JALR, bit12, rd, 0, 0);
    } else if (bit12) {
        set(out, OP_EBREAK, 0, 0, 0, 0);
    }
}

static void quadrant2(uint32_t v, struct insn *out)
{
    unsigned rd = v >> 7 & 31, rs2 = v >> 2 & 31;
    uint32_t load_d = field(v, 12, 12, 5) | field(v, 6, 5, 3) | field(v, 4, 2, 6);
    uint32_t load_w = field(v, 12, 12, 5) | field(v, 6, 4, 2) | field(v, 3, 2, 6);
    uint32_t store_d = field(v, 12, 10, 3) | field(v, 9, 7, 6);
    uint32_t store_w = field(v, 12, 9, 2) | field(v, 8, 7, 6);
    switch (v >> 13) {
    case 0:
        set(out, OP_SLLI, rd, rd, 0, shamt_ci(v));
        break;
    case 1:
        set(out, OP_FLD, rd, 2, 0, load_d);
        break;
    case 2:
        if (rd) {
            set(out, OP_LW, rd, 2, 0, load_w);
        }
        break;
    case 3:
        if (rd) {
            set(out, OP_LD, rd, 2, 0, load_d);
        }
        break;
    case 4:
        jump_move_add(v, rd, out);
        break;
    case 5:
        set(out, OP_FSD, 0, 2, rs2, store_d);
        break;
    case 6:
        set(out, OP_SW, 0, 2, rs2, store_w);
        break;
    default:
        set(out, OP_SD, 0, 2, rs2, store_d);
        break;
    }
}

void insn_decode_compressed(uint16_t raw, struct insn *out)
{
    out->raw = raw;
    out->len = 2;
    switch (raw & 3) {
    case 0:
        quadrant0(raw, out);
        break;
    case 1:
        quadrant1(raw, out);
        break;
    default:
        quadrant2(raw, out);
        break;
    }
}
