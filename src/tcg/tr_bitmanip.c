/* Zba, Zbb, Zbs, Zicond. */
#include "tcg/translate.h"

static int get_copy(struct tr *t, int dst, unsigned r)
{
    x64_mov(&t->e, dst, tr_src(t, r, dst));
    return dst;
}

static void op_rr(struct tr *t, bool w, unsigned pre, unsigned op, int dst, int src)
{
    x64_rr_p(&t->e, pre, w, op, dst, src, false);
}

/* rd = (rs1 << n) + rs2, rs1 zero-extended from 32 bits with uw. */
static void shadd(struct tr *t, unsigned n, bool uw)
{
    const struct insn *in = &t->in;
    int a = tr_src(t, in->rs1, RAX);
    if (uw) {
        x64_mov32(&t->e, RAX, a);
    } else {
        x64_mov(&t->e, RAX, a);
    }
    if (n) {
        x64_shift_imm(&t->e, true, SH_SHL, RAX, n);
    }
    x64_alu(&t->e, true, ALU_ADD, RAX, tr_src(t, in->rs2, RCX));
    tr_put(t, in->rd, RAX);
}

/* and, or, xor with one side inverted. */
static void logic_not(struct tr *t)
{
    const struct insn *in = &t->in;
    get_copy(t, RCX, in->rs2);
    x64_unary(&t->e, true, 2, RCX);
    enum x64_alu op = in->op == OP_ANDN ? ALU_AND : in->op == OP_ORN ? ALU_OR : ALU_XOR;
    x64_alu(&t->e, true, op, RCX, tr_src(t, in->rs1, RAX));
    tr_put(t, in->rd, RCX);
}

static void min_max(struct tr *t)
{
    const struct insn *in = &t->in;
    enum x64_cc cc = in->op == OP_MIN ? CC_G : in->op == OP_MAX ? CC_L : in->op == OP_MINU ? CC_A : CC_B;
    get_copy(t, RAX, in->rs1);
    int b = tr_src(t, in->rs2, RCX);
    x64_alu(&t->e, true, ALU_CMP, RAX, b);
    x64_cmov(&t->e, cc, RAX, b);
    tr_put(t, in->rd, RAX);
}

static void rotate(struct tr *t)
{
    const struct insn *in = &t->in;
    bool word = in->op == OP_ROLW || in->op == OP_RORW || in->op == OP_RORIW;
    if (in->op == OP_RORI || in->op == OP_RORIW) {
        x64_rorx(&t->e, !word, RAX, tr_src(t, in->rs1, RAX), (unsigned)in->imm);
    } else {
        get_copy(t, RCX, in->rs2);
        get_copy(t, RAX, in->rs1);
        x64_shift_cl(&t->e, !word, in->op == OP_ROL || in->op == OP_ROLW ? SH_ROL : SH_ROR, RAX);
    }
    if (word) {
        x64_movsxd(&t->e, RAX, RAX);
    }
    tr_put(t, in->rd, RAX);
}

static void count(struct tr *t)
{
    const struct insn *in = &t->in;
    bool word = in->op == OP_CLZW || in->op == OP_CTZW || in->op == OP_CPOPW;
    unsigned op = in->op == OP_CLZ || in->op == OP_CLZW   ? 0x0fbd
                  : in->op == OP_CTZ || in->op == OP_CTZW ? 0x0fbc
                                                          : 0x0fb8;
    op_rr(t, !word, 0xf3, op, RAX, tr_src(t, in->rs1, RAX));
    tr_put(t, in->rd, RAX);
}

/* bts, btr, btc, bt with a register or an immediate index. */
static void single_bit(struct tr *t, unsigned n, bool imm)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    get_copy(t, RAX, in->rs1);
    if (imm) {
        x64_rr(e, true, 0x0fba, (int)n, RAX);
        x64_b(e, (unsigned)in->imm);
    } else {
        x64_rr(e, true, 0x0f83 | n << 3, tr_src(t, in->rs2, RCX), RAX);
    }
    if (n == 4) {
        x64_setcc(e, CC_B, RAX);
        x64_movzx8(e, RAX, RAX);
    }
    tr_put(t, in->rd, RAX);
}

static void czero(struct tr *t)
{
    const struct insn *in = &t->in;
    get_copy(t, RAX, in->rs1);
    int c = tr_src(t, in->rs2, RCX);
    x64_imm_keep_flags(&t->e, RDX, 0);
    x64_test(&t->e, true, c, c);
    x64_cmov(&t->e, in->op == OP_CZERO_EQZ ? CC_E : CC_NE, RAX, RDX);
    tr_put(t, in->rd, RAX);
}

static void extend(struct tr *t)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    int s = tr_src(t, in->rs1, RAX);
    if (in->op == OP_SEXT_B) {
        x64_rr_p(e, 0, true, 0x0fbe, RAX, s, true);
    } else {
        x64_rr_p(e, 0, in->op == OP_SEXT_H, in->op == OP_SEXT_H ? 0x0fbf : 0x0fb7, RAX, s, false);
    }
    tr_put(t, in->rd, RAX);
}

bool tr_bitmanip(struct tr *t)
{
    const struct insn *in = &t->in;
    switch (in->op) {
    case OP_ADD_UW:
        shadd(t, 0, true);
        return true;
    case OP_SH1ADD:
    case OP_SH1ADD_UW:
        shadd(t, 1, in->op == OP_SH1ADD_UW);
        return true;
    case OP_SH2ADD:
    case OP_SH2ADD_UW:
        shadd(t, 2, in->op == OP_SH2ADD_UW);
        return true;
    case OP_SH3ADD:
    case OP_SH3ADD_UW:
        shadd(t, 3, in->op == OP_SH3ADD_UW);
        return true;
    case OP_SLLI_UW:
        x64_mov32(&t->e, RAX, tr_src(t, in->rs1, RAX));
        x64_shift_imm(&t->e, true, SH_SHL, RAX, (unsigned)in->imm);
        tr_put(t, in->rd, RAX);
        return true;
    case OP_ANDN:
    case OP_ORN:
    case OP_XNOR:
        logic_not(t);
        return true;
    case OP_MIN:
    case OP_MINU:
    case OP_MAX:
    case OP_MAXU:
        min_max(t);
        return true;
    case OP_ROL:
    case OP_ROR:
    case OP_ROLW:
    case OP_RORW:
    case OP_RORI:
    case OP_RORIW:
        rotate(t);
        return true;
    case OP_CLZ:
    case OP_CTZ:
    case OP_CPOP:
    case OP_CLZW:
    case OP_CTZW:
    case OP_CPOPW:
        count(t);
        return true;
    case OP_SEXT_B:
    case OP_SEXT_H:
    case OP_ZEXT_H:
        extend(t);
        return true;
    case OP_REV8:
        get_copy(t, RAX, in->rs1);
        x64_b(&t->e, 0x48); /* bswap rax */
        x64_b(&t->e, 0x0f);
        x64_b(&t->e, 0xc8);
        tr_put(t, in->rd, RAX);
        return true;
    case OP_BSET:
    case OP_BSETI:
        single_bit(t, 5, in->op == OP_BSETI);
        return true;
    case OP_BCLR:
    case OP_BCLRI:
        single_bit(t, 6, in->op == OP_BCLRI);
        return true;
    case OP_BINV:
    case OP_BINVI:
        single_bit(t, 7, in->op == OP_BINVI);
        return true;
    case OP_BEXT:
    case OP_BEXTI:
        single_bit(t, 4, in->op == OP_BEXTI);
        return true;
    case OP_CZERO_EQZ:
    case OP_CZERO_NEZ:
        czero(t);
        return true;
    default:
        return false; /* orc.b: the interpreter */
    }
}
