/*
 * F and D on the host's FPU. MXCSR holds the guest's rounding mode and collects its flags while generated code runs.
 * A result that is NaN becomes the canonical one in a cold path: the host has raised NV where RISC-V does, but for one
 * case of the fused operations (inf * 0 + a quiet NaN). Those with a NaN result, an operand that is not NaN-boxed, and
 * a conversion out of range go to the interpreter, which does the instruction again from its unchanged operands; the
 * host flags raised on the way are the same ones. x86 and RISC-V both detect tininess after rounding (unprivileged
 * specification 21.2).
 */
#include "tcg/translate.h"

enum { PP_NONE, PP_66, PP_F3, PP_F2 };

static unsigned pp_of(bool d)
{
    return d ? PP_F2 : PP_F3;
}

static struct x64_mem f_mem(unsigned r)
{
    return x64_at(RBP, F_DISP(r));
}

/* xmm register that holds FPR r now; loaded into tmp when it lives in memory. */
static int fsrc(struct tr *t, unsigned r, int tmp)
{
    if (host_xmm[r] >= 0) {
        return host_xmm[r];
    }
    x64_vex_m(&t->e, PP_F2, 1, false, 0x10, tmp, 0, f_mem(r));
    return tmp;
}

static void vmov(struct tr *t, int dst, int src)
{
    if (dst != src) {
        x64_vex(&t->e, PP_NONE, 1, false, 0x28, dst, 0, src); /* vmovaps */
    }
}

static void fput(struct tr *t, unsigned rd, int src, bool boxed)
{
    if (host_xmm[rd] >= 0) {
        vmov(t, host_xmm[rd], src);
    } else {
        x64_vex_m(&t->e, PP_F2, 1, false, 0x11, src, 0, f_mem(rd));
    }
    t->boxed = boxed ? t->boxed | 1u << rd : t->boxed & ~(1u << rd);
}

/* Jumps of one instruction to its interpreter path: more than two, so they meet in short jumps to one. */
struct fixup {
    struct cold *cold;
    unsigned n;
};

static void to_cold(struct tr *t, struct fixup *f, enum x64_cc cc)
{
    if (!f->cold || f->n == 2) {
        f->cold = tr_cold_interp(t);
        f->n = 0;
    }
    f->cold->from[f->n++] = x64_jcc(&t->e, cc);
}

/* All cold paths made since `first` come back here. */
static void done(struct tr *t, unsigned first)
{
    for (unsigned i = first; i < t->num_cold; i++) {
        if (t->cold[i].kind == COLD_INTERP) {
            t->cold[i].back = t->e.p;
        }
    }
}

static void check_boxed(struct tr *t, struct fixup *f, unsigned r)
{
    struct x64 *e = &t->e;
    if (t->boxed >> r & 1) {
        return;
    }
    if (host_xmm[r] >= 0) {
        x64_vex(e, PP_66, 3, false, 0x16, host_xmm[r], 0, RAX); /* vpextrd eax, xmm, 1 */
        x64_b(e, 1);
        x64_alu_imm(e, false, ALU_CMP, RAX, -1);
    } else {
        x64_alu_mem_imm(e, false, ALU_CMP, x64_at(RBP, F_DISP(r) + 4), -1);
    }
    to_cold(t, f, CC_NE);
}

static void check_nan(struct tr *t, struct fixup *f, int reg, bool d)
{
    x64_vex(&t->e, d ? PP_66 : PP_NONE, 1, false, 0x2e, reg, 0, reg); /* vucomis */
    to_cold(t, f, CC_P);
}

/* Makes a NaN in xmm register `reg` the canonical one; goes on here. */
static void canonical_nan(struct tr *t, int reg, bool d)
{
    struct cold *c = tr_cold(t, COLD_NAN);
    x64_vex(&t->e, d ? PP_66 : PP_NONE, 1, false, 0x2e, reg, 0, reg);
    c->from[0] = x64_jcc(&t->e, CC_P);
    c->value = (uint8_t)reg;
    c->mem = d;
    c->back = t->e.p;
}

/* The register to compute rd in. */
static int result_reg(const struct insn *in)
{
    int d = host_xmm[in->rd];
    return d >= 0 ? d : 0;
}

static void arith(struct tr *t, unsigned opcode, bool d)
{
    const struct insn *in = &t->in;
    struct fixup f = {0};
    unsigned first = t->num_cold;
    if (!d) {
        check_boxed(t, &f, in->rs1);
        check_boxed(t, &f, in->rs2);
    }
    int r = result_reg(in);
    int a = fsrc(t, in->rs1, 1), b = fsrc(t, in->rs2, 2);
    x64_vex(&t->e, pp_of(d), 1, false, opcode, r, a, b);
    canonical_nan(t, r, d);
    fput(t, in->rd, r, !d);
    done(t, first);
}

static void square_root(struct tr *t, bool d)
{
    const struct insn *in = &t->in;
    struct fixup f = {0};
    unsigned first = t->num_cold;
    if (!d) {
        check_boxed(t, &f, in->rs1);
    }
    int r = result_reg(in), a = fsrc(t, in->rs1, 1);
    x64_vex(&t->e, pp_of(d), 1, false, 0x51, r, a, a);
    canonical_nan(t, r, d);
    fput(t, in->rd, r, !d);
    done(t, first);
}

static void fused(struct tr *t, bool d)
{
    const struct insn *in = &t->in;
    static const uint8_t form213[] = {0xa9, 0xab, 0xad, 0xaf}; /* fmadd fmsub fnmsub fnmadd */
    unsigned n = d ? (unsigned)(in->op - OP_FMADD_D) : (unsigned)(in->op - OP_FMADD_S);
    struct fixup f = {0};
    unsigned first = t->num_cold;
    if (!d) {
        check_boxed(t, &f, in->rs1);
        check_boxed(t, &f, in->rs2);
        check_boxed(t, &f, in->rs3);
    }
    int a = fsrc(t, in->rs1, 0);
    vmov(t, 0, a);
    int b = fsrc(t, in->rs2, 1), c = fsrc(t, in->rs3, 2);
    x64_vex(&t->e, PP_66, 2, d, form213[n], 0, b, c); /* xmm0 = +-(xmm0 * b) +- c */
    check_nan(t, &f, 0, d);
    fput(t, in->rd, 0, !d);
    done(t, first);
}

static void min_max(struct tr *t, bool max, bool d)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    struct fixup f = {0};
    unsigned first = t->num_cold, pp = d ? PP_66 : PP_NONE;
    if (!d) {
        check_boxed(t, &f, in->rs1);
        check_boxed(t, &f, in->rs2);
    }
    int a = fsrc(t, in->rs1, 1), b = fsrc(t, in->rs2, 2);
    x64_vex(e, pp, 1, false, 0x2e, a, 0, b);
    to_cold(t, &f, CC_P);
    uint8_t *differ = x64_jcc8(e, CC_NE);
    /* Equal: only zeros of different sign are not the same: -0 is the smaller. */
    x64_vex(e, pp, 1, false, max ? 0x54 : 0x56, 0, a, b);
    uint8_t *join = x64_jmp8(e);
    x64_here8(e, differ);
    x64_vex(e, pp_of(d), 1, false, max ? 0x5f : 0x5d, 0, a, b);
    x64_here8(e, join);
    fput(t, in->rd, 0, !d);
    done(t, first);
}

static void compare(struct tr *t, enum op op, bool d)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    struct fixup f = {0};
    unsigned first = t->num_cold, pp = d ? PP_66 : PP_NONE;
    if (!d) {
        check_boxed(t, &f, in->rs1);
        check_boxed(t, &f, in->rs2);
    }
    int a = fsrc(t, in->rs1, 1), b = fsrc(t, in->rs2, 2);
    if (op == OP_FEQ_D) {
        x64_vex(e, pp, 1, false, 0x2e, a, 0, b); /* quiet */
        x64_setcc(e, CC_NP, RAX);
        x64_setcc(e, CC_E, RCX);
        x64_alu(e, false, ALU_AND, RAX, RCX);
    } else {
        x64_vex(e, pp, 1, false, 0x2f, b, 0, a); /* signaling; a < b is b > a */
        x64_setcc(e, op == OP_FLT_D ? CC_A : CC_AE, RAX);
    }
    int r = tr_dst(t, in->rd, RAX);
    x64_movzx8(e, r, RAX);
    tr_put(t, in->rd, r);
    done(t, first);
}

static void sign_inject(struct tr *t, unsigned kind, bool d)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    struct fixup f = {0};
    unsigned first = t->num_cold;
    int32_t sign = CPU_DISP(fp_const) + (d ? 0 : 32), magnitude = sign + 16;
    if (!d) {
        check_boxed(t, &f, in->rs1);
        check_boxed(t, &f, in->rs2);
    }
    int a = fsrc(t, in->rs1, 1);
    if (in->rs1 == in->rs2 && kind == 0) {
        fput(t, in->rd, a, !d);
    } else if (in->rs1 == in->rs2) {
        x64_vex_m(e, PP_66, 1, false, kind == 1 ? 0x57 : 0x54, 0, a, x64_at(RBP, kind == 1 ? sign : magnitude));
        fput(t, in->rd, 0, !d);
    } else {
        int b = fsrc(t, in->rs2, 2);
        x64_vex_m(e, PP_66, 1, false, 0x54, 0, b, x64_at(RBP, sign));
        if (kind == 1) {
            x64_vex_m(e, PP_66, 1, false, 0x57, 0, 0, x64_at(RBP, sign));
        }
        if (kind != 2) {
            x64_vex_m(e, PP_66, 1, false, 0x54, 1, a, x64_at(RBP, magnitude));
            x64_vex(e, PP_66, 1, false, 0x56, 0, 0, 1);
        } else {
            x64_vex(e, PP_66, 1, false, 0x57, 0, 0, a);
        }
        fput(t, in->rd, 0, !d);
    }
    done(t, first);
}

/* fcvt.w/l from float: the host gives 0x80..0 for what does not fit, NaN included. */
static void to_int(struct tr *t, bool is64, bool d)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    struct fixup f = {0};
    unsigned first = t->num_cold, opcode = 0x2c;
    static const int8_t round_imm[] = {0, -1, 1, 2};
    if (!d) {
        check_boxed(t, &f, in->rs1);
    }
    int a = fsrc(t, in->rs1, 1);
    if (in->rm == 7) {
        opcode = 0x2d;
    } else if (in->rm != 1) {
        x64_vex(e, PP_66, 3, false, d ? 0x0b : 0x0a, 0, a, a); /* vrounds */
        x64_b(e, (unsigned)round_imm[in->rm]);
        a = 0;
    }
    x64_vex(e, pp_of(d), 1, is64, opcode, RAX, 0, a);
    if (is64) {
        x64_imm(e, RCX, INT64_MIN);
        x64_alu(e, true, ALU_CMP, RAX, RCX);
    } else {
        x64_rr(e, false, 0x81, 7, RAX);
        x64_d(e, 0x80000000u);
    }
    to_cold(t, &f, CC_E);
    if (!is64) {
        x64_movsxd(e, RAX, RAX);
    }
    tr_put(t, in->rd, RAX);
    done(t, first);
}

/* fcvt from a signed integer, or from an unsigned one of 32 bits. */
static void from_int(struct tr *t, bool is64, bool is_unsigned, bool d)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    int s = tr_src(t, in->rs1, RAX);
    if (is_unsigned) { /* from 32 bits: widen, then it is a signed 64-bit number */
        x64_mov32(e, RAX, s);
        s = RAX;
    }
    if (d) {
        x64_vex(e, PP_NONE, 1, false, 0x57, 0, 0, 0);
    } else {
        x64_vex(e, PP_66, 1, false, 0x76, 0, 0, 0); /* ones above the single */
    }
    x64_vex(e, pp_of(d), 1, is64 || is_unsigned, 0x2a, 0, 0, s);
    fput(t, in->rd, 0, !d);
}

/* Unsigned 64-bit source: the host's signed conversion serves while the top bit is clear. */
static void from_unsigned(struct tr *t, bool d)
{
    struct fixup f = {0};
    unsigned first = t->num_cold;
    int s = tr_src(t, t->in.rs1, RAX);
    x64_test(&t->e, true, s, s);
    to_cold(t, &f, CC_S);
    from_int(t, true, false, d);
    done(t, first);
}

/* To an unsigned integer, toward zero: 0 <= x < 2^63 (2^32) by the signed conversion; anything else is told by the
 * bits of the operand before it can raise a wrong flag. */
static void to_unsigned(struct tr *t, bool is64)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    struct fixup f = {0};
    unsigned first = t->num_cold;
    int a = fsrc(t, in->rs1, 1);
    x64_vex(e, PP_66, 1, true, 0x7e, a, 0, RAX); /* vmovq rax, xmm */
    x64_imm(e, RCX, is64 ? 0x43e0000000000000 : 0x41f0000000000000);
    x64_alu(e, true, ALU_CMP, RAX, RCX);
    to_cold(t, &f, CC_AE);
    x64_vex(e, PP_F2, 1, true, 0x2c, RAX, 0, a);
    if (!is64) {
        x64_movsxd(e, RAX, RAX);
    }
    tr_put(t, in->rd, RAX);
    done(t, first);
}

static void between(struct tr *t, bool to_double)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    struct fixup f = {0};
    unsigned first = t->num_cold;
    if (to_double) {
        check_boxed(t, &f, in->rs1);
    }
    int a = fsrc(t, in->rs1, 1);
    if (to_double) {
        x64_vex(e, PP_F3, 1, false, 0x5a, 0, a, a);
    } else {
        x64_vex(e, PP_66, 1, false, 0x76, 0, 0, 0);
        x64_vex(e, PP_F2, 1, false, 0x5a, 0, 0, a);
    }
    canonical_nan(t, 0, to_double);
    fput(t, in->rd, 0, !to_double);
    done(t, first);
}

static void move_between(struct tr *t)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    int x;
    switch (in->op) {
    case OP_FMV_X_D:
    case OP_FMV_X_W:
        x = tr_dst(t, in->rd, RAX);
        if (host_xmm[in->rs1] >= 0) {
            x64_vex(e, PP_66, 1, in->op == OP_FMV_X_D, 0x7e, host_xmm[in->rs1], 0, x);
        } else {
            x64_rm(e, in->op == OP_FMV_X_D, 0x8b, x, f_mem(in->rs1));
        }
        if (in->op == OP_FMV_X_W) {
            x64_movsxd(e, x, x);
        }
        tr_put(t, in->rd, x);
        break;
    case OP_FMV_D_X:
        x = tr_src(t, in->rs1, RAX);
        if (host_xmm[in->rd] >= 0) {
            x64_vex(e, PP_66, 1, true, 0x6e, host_xmm[in->rd], 0, x);
        } else {
            x64_store(e, f_mem(in->rd), x);
        }
        t->boxed &= ~(1u << in->rd);
        break;
    default: /* fmv.w.x */
        x = tr_src(t, in->rs1, RAX);
        x64_vex(e, PP_66, 1, false, 0x76, 0, 0, 0);
        x64_vex(e, PP_66, 3, false, 0x22, 0, 0, x); /* vpinsrd */
        x64_b(e, 0);
        fput(t, in->rd, 0, true);
        break;
    }
}

static bool float_compute(struct tr *t)
{
    const struct insn *in = &t->in;
    bool dynamic = in->rm == 7;
    switch (in->op) {
    case OP_FADD_S:
    case OP_FADD_D:
        arith(t, 0x58, in->op == OP_FADD_D);
        return dynamic;
    case OP_FSUB_S:
    case OP_FSUB_D:
        arith(t, 0x5c, in->op == OP_FSUB_D);
        return dynamic;
    case OP_FMUL_S:
    case OP_FMUL_D:
        arith(t, 0x59, in->op == OP_FMUL_D);
        return dynamic;
    case OP_FDIV_S:
    case OP_FDIV_D:
        arith(t, 0x5e, in->op == OP_FDIV_D);
        return dynamic;
    case OP_FSQRT_S:
    case OP_FSQRT_D:
        square_root(t, in->op == OP_FSQRT_D);
        return dynamic;
    case OP_FMADD_S ... OP_FNMADD_S:
        fused(t, false);
        return dynamic;
    case OP_FMADD_D ... OP_FNMADD_D:
        fused(t, true);
        return dynamic;
    default:
        return false;
    }
}

static bool has_rounding(enum op op)
{
    switch (op) {
    case OP_FADD_S ... OP_FSQRT_S:
    case OP_FADD_D ... OP_FSQRT_D:
    case OP_FMADD_S ... OP_FNMADD_S:
    case OP_FMADD_D ... OP_FNMADD_D:
        return true;
    default:
        return false;
    }
}

static bool float_move(struct tr *t)
{
    const struct insn *in = &t->in;
    switch (in->op) {
    case OP_FSGNJ_S ... OP_FSGNJX_S:
        sign_inject(t, in->op - OP_FSGNJ_S, false);
        return true;
    case OP_FSGNJ_D ... OP_FSGNJX_D:
        sign_inject(t, in->op - OP_FSGNJ_D, true);
        return true;
    case OP_FMIN_S:
    case OP_FMAX_S:
        min_max(t, in->op == OP_FMAX_S, false);
        return true;
    case OP_FMIN_D:
    case OP_FMAX_D:
        min_max(t, in->op == OP_FMAX_D, true);
        return true;
    case OP_FEQ_S ... OP_FLE_S:
        compare(t, in->op - OP_FEQ_S + OP_FEQ_D, false);
        return true;
    case OP_FEQ_D ... OP_FLE_D:
        compare(t, in->op, true);
        return true;
    case OP_FMV_X_W:
    case OP_FMV_W_X:
    case OP_FMV_X_D:
    case OP_FMV_D_X:
        move_between(t);
        return true;
    default:
        return false;
    }
}

static bool float_convert(struct tr *t)
{
    const struct insn *in = &t->in;
    bool dynamic = in->rm == 7, rounds_here = dynamic || in->rm <= 3;
    switch (in->op) {
    case OP_FCVT_W_S:
    case OP_FCVT_W_D:
        if (!dynamic && in->rm != 1) {
            return false; /* rounding first would raise NX where only NV is due */
        }
        to_int(t, false, in->op == OP_FCVT_W_D);
        return true;
    case OP_FCVT_L_S:
    case OP_FCVT_L_D:
        if (!rounds_here) {
            return false;
        }
        to_int(t, true, in->op == OP_FCVT_L_D);
        return true;
    case OP_FCVT_D_W:
    case OP_FCVT_D_WU:
        from_int(t, false, in->op == OP_FCVT_D_WU, true);
        return true;
    case OP_FCVT_D_L:
    case OP_FCVT_S_W:
    case OP_FCVT_S_WU:
    case OP_FCVT_S_L:
        if (!dynamic) {
            return false;
        }
        from_int(t, in->op == OP_FCVT_D_L || in->op == OP_FCVT_S_L, in->op == OP_FCVT_S_WU, in->op == OP_FCVT_D_L);
        return true;
    case OP_FCVT_D_LU:
    case OP_FCVT_S_LU:
        if (!dynamic) {
            return false;
        }
        from_unsigned(t, in->op == OP_FCVT_D_LU);
        return true;
    case OP_FCVT_WU_D:
    case OP_FCVT_LU_D:
        if (in->rm != 1) {
            return false;
        }
        to_unsigned(t, in->op == OP_FCVT_LU_D);
        return true;
    case OP_FCVT_S_D:
        if (!dynamic) {
            return false;
        }
        between(t, false);
        return true;
    case OP_FCVT_D_S:
        between(t, true);
        return true;
    default:
        return false;
    }
}

bool tr_float(struct tr *t)
{
    const struct insn *in = &t->in;
    if (in->op < OP_FMADD_S || in->op > OP_FCVT_D_S || in->op == OP_FLD || in->op == OP_FSD) {
        return false;
    }
    if (has_rounding(in->op) && in->rm != 7) {
        return false; /* a static rounding mode in arithmetic is rare: the interpreter */
    }
    tr_fp_check(t);
    return float_compute(t) || float_move(t) || float_convert(t);
}
