/*
 * RV64A on the host's locked instructions. Every one of them is a full barrier on x86, which covers aq and rl; a plain
 * load covers LR (TSO). The probe wants the write right, and a miss or a misaligned address goes to the interpreter.
 */
#include "tcg/translate.h"

static struct x64_mem amo_probe(struct tr *t, struct cold *c, bool word, bool store)
{
    const struct insn *in = &t->in;
    int b = tr_src(t, in->rs1, RAX);
    x64_test_imm8(&t->e, b, word ? 3 : 7);
    c->from[1] = x64_jcc(&t->e, CC_NE);
    return tr_probe(t, c, in->rs1, 0, word ? 4 : 8, store);
}

static void finish(struct tr *t, struct cold *c, bool word, int reg)
{
    if (t->in.rd) {
        if (word) {
            x64_movsxd(&t->e, reg, reg);
        }
        tr_put(t, t->in.rd, reg);
    }
    c->back = t->e.p;
}

static void lock_rm(struct tr *t, bool w, unsigned op, int reg, struct x64_mem m)
{
    x64_b(&t->e, 0xf0);
    x64_rm(&t->e, w, op, reg, m);
}

/* rdx = address, rax = old value; computes rcx and tries until nobody was in between. */
static void amo_loop(struct tr *t, struct x64_mem m, bool word)
{
    struct x64 *e = &t->e;
    const struct insn *in = &t->in;
    int op = word ? in->op : in->op - OP_AMOSWAP_D + OP_AMOSWAP_W;
    x64_lea(e, RDX, m);
    x64_rm(e, !word, 0x8b, RAX, x64_at(RDX, 0));
    uint8_t *again = e->p;
    x64_mov(e, RCX, RAX);
    struct x64_mem src = x64_at(RBP, X_DISP(in->rs2));
    bool in_reg = in->rs2 && t->reg[in->rs2] >= 0;
    if (op >= OP_AMOMIN_W) {
        enum x64_cc cc = op == OP_AMOMIN_W ? CC_G : op == OP_AMOMAX_W ? CC_L : op == OP_AMOMINU_W ? CC_A : CC_B;
        if (in_reg) {
            x64_alu(e, !word, ALU_CMP, RAX, t->reg[in->rs2]);
            x64_cmov(e, cc, RCX, t->reg[in->rs2]);
        } else {
            x64_alu_rm(e, !word, ALU_CMP, RAX, src);
            x64_rm(e, true, 0x0f40 | (unsigned)cc, RCX, src);
        }
    } else {
        enum x64_alu alu = op == OP_AMOXOR_W ? ALU_XOR : op == OP_AMOAND_W ? ALU_AND : ALU_OR;
        if (in_reg) {
            x64_alu(e, true, alu, RCX, t->reg[in->rs2]);
        } else {
            x64_alu_rm(e, true, alu, RCX, src);
        }
    }
    lock_rm(t, !word, 0x0fb1, RCX, x64_at(RDX, 0));
    uint8_t *retry = x64_jcc8(e, CC_NE);
    *retry = (uint8_t)(again - (retry + 1));
}

static void amo(struct tr *t, bool word)
{
    struct x64 *e = &t->e;
    const struct insn *in = &t->in;
    int op = word ? in->op : in->op - OP_AMOSWAP_D + OP_AMOSWAP_W;
    struct cold *c = tr_cold_interp(t);
    struct x64_mem m = amo_probe(t, c, word, true);
    int result = RCX;
    if (op == OP_AMOSWAP_W || op == OP_AMOADD_W) {
        x64_mov(e, RCX, tr_src(t, in->rs2, RCX));
        if (op == OP_AMOSWAP_W) {
            x64_rm(e, !word, 0x87, RCX, m);
        } else {
            lock_rm(t, !word, 0x0fc1, RCX, m);
        }
    } else if (in->rd == 0 && op <= OP_AMOOR_W) {
        int v = tr_src(t, in->rs2, RCX);
        lock_rm(t, !word, op == OP_AMOXOR_W ? 0x31 : op == OP_AMOAND_W ? 0x21 : 0x09, v, m);
    } else {
        amo_loop(t, m, word);
        result = RAX;
    }
    finish(t, c, word, result);
}

static void lr(struct tr *t, bool word)
{
    struct x64 *e = &t->e;
    struct cold *c = tr_cold_interp(t);
    struct x64_mem m = amo_probe(t, c, word, false);
    if (word) {
        x64_rm(e, true, 0x63, RCX, m);
    } else {
        x64_load(e, RCX, m);
    }
    int b = tr_src(t, t->in.rs1, RDX);
    x64_store(e, x64_at(RBP, CPU_DISP(lr_addr)), b);
    x64_store(e, x64_at(RBP, CPU_DISP(lr_value)), RCX);
    finish(t, c, false, RCX);
}

static void sc(struct tr *t, bool word)
{
    struct x64 *e = &t->e;
    struct cold *c = tr_cold_interp(t);
    struct x64_mem m = amo_probe(t, c, word, true);
    x64_lea(e, RDX, m);
    int b = tr_src(t, t->in.rs1, RAX);
    x64_alu_rm(e, true, ALU_CMP, b, x64_at(RBP, CPU_DISP(lr_addr)));
    uint8_t *fail = x64_jcc8(e, CC_NE);
    int v = tr_src(t, t->in.rs2, RCX);
    x64_load(e, RAX, x64_at(RBP, CPU_DISP(lr_value)));
    lock_rm(t, !word, 0x0fb1, v, x64_at(RDX, 0));
    x64_here8(e, fail);
    x64_setcc(e, CC_NE, RAX);
    x64_movzx8(e, RCX, RAX);
    x64_store_imm(e, x64_at(RBP, CPU_DISP(lr_addr)), -1);
    finish(t, c, false, RCX);
}

bool tr_atomic(struct tr *t)
{
    switch (t->in.op) {
    case OP_LR_W:
        lr(t, true);
        return true;
    case OP_LR_D:
        lr(t, false);
        return true;
    case OP_SC_W:
        sc(t, true);
        return true;
    case OP_SC_D:
        sc(t, false);
        return true;
    case OP_AMOSWAP_W ... OP_AMOMAXU_W:
        amo(t, true);
        return true;
    case OP_AMOSWAP_D ... OP_AMOMAXU_D:
        amo(t, false);
        return true;
    default:
        return false;
    }
}
