/*
 * CSR instructions, ecall and sret. What a kernel does at each trap and each interrupt switch is done in line or by a
 * light call that saves no vector register; everything else, and every doubtful case, by the interpreter.
 */
#include "tcg/translate.h"

enum { CSR_SSTATUS = 0x100, CSR_SSCRATCH = 0x140, CSR_SEPC = 0x141, CSR_SCAUSE = 0x142, CSR_STVAL = 0x143 };

static struct x64_mem field(int32_t disp)
{
    return x64_at(RBP, disp);
}

/* Leads to `c` unless the hart is in S or M. */
static void need_supervisor(struct tr *t, struct cold *c)
{
    x64_rm(&t->e, false, 0x80, 7, field(CPU_DISP(priv)));
    x64_b(&t->e, PRIV_S);
    c->from[0] = x64_jcc(&t->e, CC_B);
}

static int32_t plain_csr(int32_t num)
{
    switch (num) {
    case CSR_SSCRATCH:
        return CPU_DISP(sscratch);
    case CSR_SEPC:
        return CPU_DISP(sepc);
    case CSR_SCAUSE:
        return CPU_DISP(scause);
    case CSR_STVAL:
        return CPU_DISP(stval);
    default:
        return 0;
    }
}

/* csrr and csrw of a register that is plain storage. */
static bool plain(struct tr *t)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    int32_t disp = plain_csr(in->imm);
    bool reads_only = in->op == OP_CSRRS && in->rs1 == 0;
    if (!disp || !(in->op == OP_CSRRW || reads_only)) {
        return false;
    }
    struct cold *c = tr_cold_interp(t);
    need_supervisor(t, c);
    if (in->op == OP_CSRRW) {
        x64_mov(e, RCX, tr_src(t, in->rs1, RCX));
        if (in->imm == CSR_SEPC) {
            x64_alu_imm(e, true, ALU_AND, RCX, -2);
        }
    }
    if (in->rd) {
        int d = tr_dst(t, in->rd, RAX);
        x64_load(e, d, field(disp));
        tr_put(t, in->rd, d);
    }
    if (in->op == OP_CSRRW) {
        x64_store(e, field(disp), RCX);
    }
    c->back = e->p;
    return true;
}

/* A light call: the operand goes through memory, and so does the result. */
static struct cold *cold_light(struct tr *t)
{
    struct cold *c = tr_cold(t, COLD_LIGHT);
    c->insn = t->in;
    return c;
}

static void light(struct tr *t)
{
    struct cold *c = cold_light(t);
    c->from[0] = x64_jmp(&t->e);
    c->back = t->e.p;
    t->fp_checked = false;
}

/* Interrupt off and on: csrrci, csrrsi and csrrs of sstatus that touch SIE only, with nothing pending. */
static bool interrupt_switch(struct tr *t)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    bool off = in->op == OP_CSRRCI && in->rs1 == 2, on = in->op == OP_CSRRSI && in->rs1 == 2;
    bool restore = in->op == OP_CSRRS && in->rs1 && in->rd == 0;
    if (!off && !((on || restore) && in->rd == 0)) {
        return false;
    }
    struct cold *c = cold_light(t);
    need_supervisor(t, c);
    if (off) {
        if (in->rd) {
            int d = tr_dst(t, in->rd, RAX);
            x64_imm(e, d, (int64_t)SSTATUS_READ);
            x64_alu_rm(e, true, ALU_AND, d, field(CPU_DISP(mstatus)));
            tr_put(t, in->rd, d);
        }
        x64_alu_mem_imm(e, true, ALU_AND, field(CPU_DISP(mstatus)), ~2);
    } else {
        int v = 0;
        if (restore) {
            v = tr_src(t, in->rs1, RCX);
            x64_rr(e, true, 0xf7, 0, v);
            x64_d(e, (uint32_t)~2);
            c->from[1] = x64_jcc(e, CC_NE);
        }
        x64_load(e, RAX, field(CPU_DISP(mip)));
        x64_rm(e, true, 0x85, RAX, field(CPU_DISP(mie)));
        struct cold *pending = cold_light(t);
        pending->from[0] = x64_jcc(e, CC_NE);
        if (restore) {
            x64_alu_mr(e, true, ALU_OR, field(CPU_DISP(mstatus)), v);
        } else {
            x64_alu_mem_imm(e, true, ALU_OR, field(CPU_DISP(mstatus)), 2);
        }
        pending->back = e->p;
    }
    c->back = e->p;
    return true;
}

/* Reading frm and setting bits of fflags need not look at MXCSR, which would wait for the FPU: software floating point
 * does both all the time. */
static bool fp_status(struct tr *t)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    if (in->imm == 2 && in->op == OP_CSRRS && in->rs1 == 0) {
        tr_fp_check(t);
        int d = tr_dst(t, in->rd, RAX);
        x64_rm(e, false, 0x0fb6, d, field(CPU_DISP(frm)));
        tr_put(t, in->rd, d);
        return true;
    }
    if (in->imm == 1 && in->op == OP_CSRRS && in->rd == 0) {
        tr_fp_check(t);
        x64_mov32(e, RAX, tr_src(t, in->rs1, RAX));
        x64_alu_imm(e, false, ALU_AND, RAX, 31);
        x64_rm(e, false, 0x08, RAX, field(CPU_DISP(fflags))); /* or [fflags], al */
        return true;
    }
    return false;
}

bool tr_system(struct tr *t)
{
    const struct insn *in = &t->in;
    switch (in->op) {
    case OP_ECALL:
    case OP_SRET: {
        struct cold *c = cold_light(t);
        c->from[0] = x64_jmp(&t->e);
        t->end = true;
        return true;
    }
    case OP_CSRRW ... OP_CSRRCI:
        if (plain(t)) {
            return true;
        }
        if (in->imm >= 1 && in->imm <= 3) { /* fflags, frm, fcsr */
            if (!fp_status(t)) {
                light(t);
            }
            return true;
        }
        if (in->imm != CSR_SSTATUS) {
            return false;
        }
        if (!interrupt_switch(t)) {
            light(t);
        }
        return true;
    default:
        return false;
    }
}
