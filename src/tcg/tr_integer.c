/* RV64IM: computation between registers. */
#include "tcg/translate.h"

static struct x64_mem x_mem(unsigned r)
{
    return x64_at(RBP, X_DISP(r));
}

/* op dst, guest register rs (in a register or in memory). */
static void alu_guest(struct tr *t, bool w, enum x64_alu op, int dst, unsigned rs)
{
    if (rs == 0) {
        x64_alu_imm(&t->e, w, op, dst, 0);
    } else if (t->reg[rs] >= 0) {
        x64_alu(&t->e, w, op, dst, t->reg[rs]);
    } else if (t->rax_at == t->e.p && t->rax_reg == rs) {
        x64_alu(&t->e, w, op, dst, RAX);
    } else {
        x64_alu_rm(&t->e, w, op, dst, x_mem(rs));
    }
}

/* Brings guest register rs into host register dst. */
static void get(struct tr *t, int dst, unsigned rs)
{
    int s = tr_src(t, rs, dst);
    x64_mov(&t->e, dst, s);
}

/* The host flags are those of the value just put into rd. */
static void note_flags(struct tr *t, unsigned rd)
{
    t->flags_reg = (uint8_t)rd;
    t->flags_at = t->e.p;
}

/* rd = rs1 op rs2 for add, sub, and, or, xor. */
static void alu3(struct tr *t, enum x64_alu op, bool commutes)
{
    const struct insn *in = &t->in;
    unsigned rd = in->rd, a = in->rs1, b = in->rs2;
    struct x64 *e = &t->e;
    if (rd == 0) {
        return;
    }
    if (a == 0 && (op == ALU_ADD || op == ALU_OR || op == ALU_XOR)) {
        a = b;
        b = 0;
    }
    if (b == 0 && op != ALU_AND) {
        int s = tr_src(t, a, RAX);
        tr_put_near(t, rd, s);
        return;
    }
    if (commutes && rd == b && rd != a) {
        unsigned x = a;
        a = b;
        b = x;
    }
    int d = t->reg[rd];
    if (d < 0) {
        if (rd == a && t->reg[b] >= 0) {
            x64_alu_mr(e, true, op, x_mem(rd), t->reg[b]);
            note_flags(t, rd);
            return;
        }
        d = RAX;
    } else if (op == ALU_SUB && a == 0) { /* neg */
        get(t, d, b);
        x64_unary(e, true, 3, d);
        return;
    } else if (rd == b && rd != a) { /* sub rd, rs1, rd */
        get(t, RAX, a);
        alu_guest(t, true, op, RAX, b);
        x64_mov(e, d, RAX);
        note_flags(t, rd);
        return;
    }
    if (op == ALU_ADD && d != RAX && rd != a && t->reg[a] >= 0 && t->reg[b] >= 0) {
        x64_lea(e, d, x64_idx(t->reg[a], t->reg[b], 0));
        return;
    }
    get(t, d, a);
    alu_guest(t, true, op, d, b);
    tr_put_near(t, rd, d);
    note_flags(t, rd);
}

static void alu_imm3(struct tr *t, enum x64_alu op)
{
    const struct insn *in = &t->in;
    unsigned rd = in->rd, a = in->rs1;
    struct x64 *e = &t->e;
    if (rd == 0) {
        return;
    }
    if (a == 0 && op != ALU_AND) {
        tr_put_imm(t, rd, in->imm);
        return;
    }
    if (rd == a && t->reg[rd] < 0) {
        if (op != ALU_ADD || in->imm) {
            x64_alu_mem_imm(e, true, op, x_mem(rd), in->imm);
            note_flags(t, rd);
        }
        return;
    }
    int d = tr_dst(t, rd, RAX);
    if (op == ALU_ADD && rd != a && t->reg[a] >= 0 && in->imm) {
        x64_lea(e, d, x64_at(t->reg[a], in->imm));
    } else if (op == ALU_AND && in->imm == 0xff) {
        int s = tr_src(t, a, RAX);
        x64_movzx8(e, d, s);
    } else {
        get(t, d, a);
        if (op == ALU_XOR && in->imm == -1) {
            x64_unary(e, true, 2, d);
        } else if (op != ALU_ADD || in->imm) {
            x64_alu_imm(e, true, op, d, in->imm);
            tr_put_near(t, rd, d);
            note_flags(t, rd);
            return;
        }
    }
    tr_put_near(t, rd, d);
}

/* addw, subw, addiw. */
static void alu_word(struct tr *t, enum x64_alu op, bool imm)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    if (in->rd == 0) {
        return;
    }
    int d = tr_dst(t, in->rd, RAX);
    if (imm && in->imm == 0) { /* sext.w */
        if (in->rs1 && t->reg[in->rs1] < 0) {
            x64_rm(e, true, 0x63, d, x_mem(in->rs1));
        } else {
            x64_movsxd(e, d, tr_src(t, in->rs1, RAX));
        }
        tr_put_near(t, in->rd, d);
        return;
    }
    if (imm) {
        int s = tr_src(t, in->rs1, RAX);
        if (s == d || s == RAX) {
            x64_alu_imm(e, false, op, s, in->imm);
            x64_movsxd(e, d, s);
        } else {
            x64_rm(e, false, 0x8d, RAX, x64_at(s, in->imm)); /* lea eax, [s + imm] */
            x64_movsxd(e, d, RAX);
        }
    } else if (op == ALU_ADD && in->rs1 && in->rs2 && t->reg[in->rs1] >= 0 && t->reg[in->rs2] >= 0) {
        x64_rm(e, false, 0x8d, RAX, x64_idx(t->reg[in->rs1], t->reg[in->rs2], 0)); /* lea eax, [a + b] */
        x64_movsxd(e, d, RAX);
    } else {
        get(t, RAX, in->rs1);
        alu_guest(t, false, op, RAX, in->rs2);
        x64_movsxd(e, d, RAX);
    }
    tr_put_near(t, in->rd, d);
}

/* d = the low 64 - a (32 or 16) bits of s, at bit `up`. */
static void extend_at(struct x64 *e, int d, int s, unsigned a, unsigned up)
{
    if (a == 32) {
        x64_mov32(e, d, s);
    } else {
        x64_rr(e, false, 0x0fb7, d, s);
    }
    if (up) {
        x64_shift_imm(e, true, SH_SHL, d, up);
    }
}

/* slli r1, rs, a; srli r2, r1, b with a = 32 or 48 and b <= a: r2 gets the low 64 - a bits of rs at bit a - b. It does
 * not wait for r1, which needs no computing when it is r2. */
static bool zero_extend(struct tr *t)
{
    const struct insn *in = &t->in, *n = tr_peek(t);
    struct x64 *e = &t->e;
    if (!n || n->op != OP_SRLI || n->rs1 != in->rd || n->imm > in->imm || (in->imm != 32 && in->imm != 48)) {
        return false;
    }
    unsigned a = (unsigned)in->imm, up = a - (unsigned)n->imm, r1 = in->rd, r2 = n->rd, rs = in->rs1;
    if (r1 != r2 && (r2 == 0 || rs == 0 || t->reg[r1] < 0 || t->reg[r2] < 0 || t->reg[rs] < 0)) {
        return false;
    }
    int s = tr_src(t, rs, RAX), d = tr_dst(t, r2, RAX);
    if (r1 != r2 && r1 != rs) {
        x64_mov(e, t->reg[r1], s);
        x64_shift_imm(e, true, SH_SHL, t->reg[r1], a);
    }
    extend_at(e, d, s, a, up);
    if (r1 == rs && r1 != r2) {
        x64_shift_imm(e, true, SH_SHL, s, a);
    }
    tr_put_near(t, r2, d);
    tr_take(t);
    return true;
}

/* slliw rd, rs, a; sraiw rd, rd, b, or slli and srai, that leave 8 or 16 bits of rs, sign-extended, at bit a - b; and
 * slliw with srliw, zero-extended. */
static bool extend_short(struct tr *t, bool word)
{
    const struct insn *in = &t->in, *n = tr_peek(t);
    struct x64 *e = &t->e;
    int bits = (word ? 32 : 64) - in->imm;
    bool is_signed = n && n->op == (word ? OP_SRAIW : OP_SRAI), is_unsigned = n && word && n->op == OP_SRLIW;
    if (!(is_signed || is_unsigned) || n->rd != in->rd || n->rs1 != in->rd || n->imm > in->imm || n->imm == 0 ||
        (bits != 8 && bits != 16)) {
        return false;
    }
    int s = tr_src(t, in->rs1, RAX), d = tr_dst(t, in->rd, RAX);
    if (bits == 16) {
        x64_rr(e, is_signed, is_signed ? 0x0fbf : 0x0fb7, d, s);
    } else if (is_signed) {
        x64_rr_p(e, 0, true, 0x0fbe, d, s, true);
    } else {
        x64_movzx8(e, d, s);
    }
    if (in->imm != n->imm) {
        x64_shift_imm(e, true, SH_SHL, d, (unsigned)(in->imm - n->imm));
    }
    tr_put_near(t, in->rd, d);
    tr_take(t);
    return true;
}

static void shift_imm(struct tr *t, enum x64_shift op, bool word)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    if (in->rd == 0 || (op == SH_SHL && ((!word && zero_extend(t)) || extend_short(t, word)))) {
        return;
    }
    int d = tr_dst(t, in->rd, RAX);
    if (word && op == SH_SHR && in->imm) { /* the sign bit is clear already */
        if (in->rs1 && t->reg[in->rs1] < 0 && t->rax_at != e->p) {
            x64_load32(e, d, x_mem(in->rs1));
        } else {
            x64_mov32(e, d, tr_src(t, in->rs1, RAX));
        }
        x64_shift_imm(e, false, op, d, (unsigned)in->imm);
    } else if (word) {
        int s = tr_src(t, in->rs1, RAX);
        if (s == d || s == RAX) {
            x64_shift_imm(e, false, op, s, (unsigned)in->imm);
            x64_movsxd(e, d, s);
        } else {
            x64_mov32(e, RAX, s);
            x64_shift_imm(e, false, op, RAX, (unsigned)in->imm);
            x64_movsxd(e, d, RAX);
        }
    } else {
        get(t, d, in->rs1);
        if (in->imm) {
            x64_shift_imm(e, true, op, d, (unsigned)in->imm);
        }
    }
    tr_put_near(t, in->rd, d);
}

/* Variable shifts; pp as in x64_shiftx. The hardware masks the count as RISC-V does. */
static void shift_reg(struct tr *t, unsigned pp, bool word)
{
    const struct insn *in = &t->in;
    if (in->rd == 0) {
        return;
    }
    int s = tr_src(t, in->rs1, RAX), c = tr_src(t, in->rs2, RCX);
    int d = word ? RAX : tr_dst(t, in->rd, RAX);
    x64_shiftx(&t->e, pp, !word, d, s, c);
    if (word) {
        d = tr_dst(t, in->rd, RAX);
        x64_movsxd(&t->e, d, RAX);
    }
    tr_put_near(t, in->rd, d);
}

static void set_less(struct tr *t, enum x64_cc cc, bool imm)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    if (in->rd == 0) {
        return;
    }
    if (imm && in->imm == 1 && cc == CC_B) { /* seqz */
        int s = tr_src(t, in->rs1, RAX);
        x64_test(e, true, s, s);
        cc = CC_E;
    } else if (!imm && in->rs1 == 0 && cc == CC_B) { /* snez */
        int s = tr_src(t, in->rs2, RAX);
        x64_test(e, true, s, s);
        cc = CC_NE;
    } else {
        int s = tr_src(t, in->rs1, RAX);
        if (imm) {
            x64_alu_imm(e, true, ALU_CMP, s, in->imm);
        } else {
            alu_guest(t, true, ALU_CMP, s, in->rs2);
        }
    }
    x64_setcc(e, cc, RAX);
    int d = tr_dst(t, in->rd, RAX);
    x64_movzx8(e, d, RAX);
    tr_put_near(t, in->rd, d);
}

static void mul(struct tr *t, bool word)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    if (in->rd == 0) {
        return;
    }
    get(t, RAX, in->rs1);
    if (in->rs2 && t->reg[in->rs2] < 0) {
        x64_rm(e, !word, 0x0faf, RAX, x_mem(in->rs2));
    } else {
        x64_imul(e, !word, RAX, tr_src(t, in->rs2, RCX));
    }
    if (word) {
        x64_movsxd(e, RAX, RAX);
    }
    tr_put_near(t, in->rd, RAX);
}

static void mul_high(struct tr *t)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    if (in->rd == 0) {
        return;
    }
    get(t, RAX, in->rs1);
    int b = tr_src(t, in->rs2, RCX);
    x64_unary(e, true, in->op == OP_MULH ? 5 : 4, b);
    if (in->op == OP_MULHSU) {
        /* The unsigned product has counted a negative rs1 as rs1 + 2^64: take rs2 off the high half. */
        int a = tr_src(t, in->rs1, RAX);
        x64_mov(e, RAX, a);
        x64_shift_imm(e, true, SH_SAR, RAX, 63);
        x64_alu(e, true, ALU_AND, RAX, b);
        x64_alu(e, true, ALU_SUB, RDX, RAX);
    }
    tr_put_near(t, in->rd, RDX);
}

/* Division: the host traps where RISC-V defines a result (x / 0; most negative / -1), so those are done in a cold path.
 */
static void divide(struct tr *t)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    bool word = in->op >= OP_DIVW;
    bool is_signed = in->op == OP_DIV || in->op == OP_REM || in->op == OP_DIVW || in->op == OP_REMW;
    bool rem = in->op == OP_REM || in->op == OP_REMU || in->op == OP_REMW || in->op == OP_REMUW;
    if (in->rd == 0) {
        return;
    }
    int by = tr_src(t, in->rs2, RCX), r = rem ? RDX : RAX;
    get(t, RAX, in->rs1);
    struct cold *c = tr_cold(t, COLD_DIVIDE);
    c->ea_reg = (uint8_t)by;
    c->mem = (uint8_t)(word | rem << 1);
    if (is_signed) {
        x64_rm(e, !word, 0x8d, RDX, x64_at(by, 1)); /* lea */
        x64_alu_imm(e, !word, ALU_CMP, RDX, 1);
        c->from[0] = x64_jcc(e, CC_BE);
        if (!word) {
            x64_b(e, 0x48);
        }
        x64_b(e, 0x99); /* cdq, cqo */
        x64_unary(e, !word, 7, by);
    } else {
        x64_test(e, !word, by, by);
        c->from[0] = x64_jcc(e, CC_E);
        x64_rr(e, false, 0x31, RDX, RDX);
        x64_unary(e, !word, 6, by);
    }
    c->back = e->p;
    if (word) {
        int d = tr_dst(t, in->rd, RAX);
        x64_movsxd(e, d, r);
        r = d;
    }
    tr_put_near(t, in->rd, r);
}

/* lui, with the addi or addiw that completes the constant. */
static void load_upper(struct tr *t)
{
    const struct insn *n = tr_peek(t);
    int64_t v = t->in.imm;
    if (n && (n->op == OP_ADDI || n->op == OP_ADDIW) && n->rd == t->in.rd && n->rs1 == t->in.rd) {
        v = n->op == OP_ADDI ? v + n->imm : (int32_t)((uint32_t)v + (uint32_t)n->imm);
        tr_take(t);
    }
    tr_put_imm(t, t->in.rd, v);
}

bool tr_integer(struct tr *t)
{
    const struct insn *in = &t->in;
    switch (in->op) {
    case OP_LUI:
        load_upper(t);
        return true;
    case OP_ADDI:
        alu_imm3(t, ALU_ADD);
        return true;
    case OP_XORI:
        alu_imm3(t, ALU_XOR);
        return true;
    case OP_ORI:
        alu_imm3(t, ALU_OR);
        return true;
    case OP_ANDI:
        alu_imm3(t, ALU_AND);
        return true;
    case OP_ADD:
        alu3(t, ALU_ADD, true);
        return true;
    case OP_SUB:
        alu3(t, ALU_SUB, false);
        return true;
    case OP_XOR:
        alu3(t, ALU_XOR, true);
        return true;
    case OP_OR:
        alu3(t, ALU_OR, true);
        return true;
    case OP_AND:
        alu3(t, ALU_AND, true);
        return true;
    case OP_ADDIW:
        alu_word(t, ALU_ADD, true);
        return true;
    case OP_ADDW:
        alu_word(t, ALU_ADD, false);
        return true;
    case OP_SUBW:
        alu_word(t, ALU_SUB, false);
        return true;
    case OP_SLLI:
        shift_imm(t, SH_SHL, false);
        return true;
    case OP_SRLI:
        shift_imm(t, SH_SHR, false);
        return true;
    case OP_SRAI:
        shift_imm(t, SH_SAR, false);
        return true;
    case OP_SLLIW:
        shift_imm(t, SH_SHL, true);
        return true;
    case OP_SRLIW:
        shift_imm(t, SH_SHR, true);
        return true;
    case OP_SRAIW:
        shift_imm(t, SH_SAR, true);
        return true;
    case OP_SLL:
        shift_reg(t, 1, false);
        return true;
    case OP_SRA:
        shift_reg(t, 2, false);
        return true;
    case OP_SRL:
        shift_reg(t, 3, false);
        return true;
    case OP_SLLW:
        shift_reg(t, 1, true);
        return true;
    case OP_SRAW:
        shift_reg(t, 2, true);
        return true;
    case OP_SRLW:
        shift_reg(t, 3, true);
        return true;
    case OP_SLT:
        set_less(t, CC_L, false);
        return true;
    case OP_SLTU:
        set_less(t, CC_B, false);
        return true;
    case OP_SLTI:
        set_less(t, CC_L, true);
        return true;
    case OP_SLTIU:
        set_less(t, CC_B, true);
        return true;
    case OP_MUL:
        mul(t, false);
        return true;
    case OP_MULW:
        mul(t, true);
        return true;
    case OP_MULH:
    case OP_MULHU:
    case OP_MULHSU:
        mul_high(t);
        return true;
    case OP_DIV ... OP_REMU:
    case OP_DIVW ... OP_REMUW:
        divide(t);
        return true;
    default:
        return false;
    }
}
