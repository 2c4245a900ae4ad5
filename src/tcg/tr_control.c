/* Branches, jumps, fences, and what ends a block. */
#include "tcg/translate.h"

static struct x64_mem cpu_mem(int32_t disp)
{
    return x64_at(RBP, disp);
}

static void tr_branch(struct tr *t)
{
    static const uint8_t cc[] = {CC_E, CC_NE, CC_L, CC_GE, CC_B, CC_AE};
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    enum x64_cc c = cc[in->op - OP_BEQ];
    int64_t off = (int64_t)t->off + in->imm;
    if (in->rs2 == 0 && in->rs1 && in->op <= OP_BGE && t->flags_reg == in->rs1 && t->flags_at == e->p) {
        c = c == CC_L ? CC_S : c == CC_GE ? CC_NS : c;
    } else if (in->rs2 == 0) {
        int a = tr_src(t, in->rs1, RAX);
        x64_test(e, true, a, a);
        /* test clears CF and OF: b never taken, ae always; l and ge look at the sign. */
    } else if (in->rs1 != 0 && t->reg[in->rs1] < 0 && t->reg[in->rs2] >= 0) {
        x64_rm(e, true, 0x39, t->reg[in->rs2], cpu_mem(X_DISP(in->rs1)));
    } else {
        int a = tr_src(t, in->rs1, RAX);
        if (t->reg[in->rs2] >= 0) {
            x64_alu(e, true, ALU_CMP, a, t->reg[in->rs2]);
        } else {
            x64_alu_rm(e, true, ALU_CMP, a, cpu_mem(X_DISP(in->rs2)));
        }
    }
    if (off == (int64_t)t->bb_off) {
        x64_patch(x64_jcc(e, c), t->inner);
        tr_give_back(t, tr_borrow_of(t));
        return;
    }
    tr_give_back(t, tr_borrow_of(t));
    if (off >= 0 && off < (int64_t)GUEST_PAGE_SIZE) {
        tr_align_patch(e, 2);
        t->direct[t->num_direct].off = (uint16_t)off;
        t->direct[t->num_direct++].patch = x64_jcc(e, c);
    } else {
        uint8_t *skip = x64_jcc8(e, (enum x64_cc)(c ^ 1));
        tr_goto_far(t, off);
        x64_here8(e, skip);
    }
}

static void tr_link_register(struct tr *t, unsigned rd)
{
    if (rd) {
        int d = tr_dst(t, rd, RCX);
        tr_pc(t, d, t->off + t->in.len);
        tr_put(t, rd, d);
    }
}

/* rax = target. Probes the jump cache. */
static void jump_indirect(struct tr *t)
{
    struct x64 *e = &t->e;
    _Static_assert(sizeof(struct jc_entry) == 16 && JC_BITS < 20, "index below");
    x64_mov32(e, RCX, RAX);
    x64_alu_imm(e, false, ALU_AND, RCX, (JC_SIZE - 1) << 1);
    x64_alu_rm(e, true, ALU_CMP, RAX, x64_idx8(R15, RCX, CTX_JC));
    x64_b(e, 0x0f);
    x64_b(e, 0x80 | CC_NE);
    x64_rel32(e, t->stubs->lookup);
    x64_alu_imm(e, true, ALU_AND, RAX, -4096);
    x64_store(e, cpu_mem(CPU_DISP(pc_page)), RAX);
    x64_rm(e, false, 0xff, 4, x64_idx8(R15, RCX, CTX_JC + 8));
}

static void tr_jalr(struct tr *t)
{
    const struct insn *in = &t->in;
    struct x64 *e = &t->e;
    int b = tr_src(t, in->rs1, RAX);
    if (b != RAX) {
        if (in->imm) {
            x64_lea(e, RAX, x64_at(b, in->imm));
        } else {
            x64_mov(e, RAX, b);
        }
    } else if (in->imm) {
        x64_alu_imm(e, true, ALU_ADD, RAX, in->imm);
    }
    tr_link_register(t, in->rd);
    tr_give_back(t, tr_borrow_of(t));
    jump_indirect(t);
}

/* auipc rd, hi and what follows it: a direct call or jump, or an address. */
static void tr_auipc(struct tr *t)
{
    const struct insn *n = tr_peek(t);
    unsigned rd = t->in.rd;
    int64_t base = (int64_t)t->off + t->in.imm;
    if (n && rd && n->op == OP_ADDI && n->rs1 == rd && n->rd == rd) {
        base += n->imm;
        tr_take(t);
    } else if (n && rd && n->op == OP_JALR && n->rs1 == rd) {
        int64_t target = (base + n->imm) & -2;
        if (n->rd != rd) {
            int d = tr_dst(t, rd, RCX);
            tr_pc(t, d, base);
            tr_put(t, rd, d);
        }
        tr_take(t);
        tr_link_register(t, t->in.rd);
        tr_leave_to(t, target);
        t->end = true;
        return;
    }
    int d = tr_dst(t, rd, RAX);
    tr_pc(t, d, base);
    tr_put(t, rd, d);
}

bool tr_control(struct tr *t)
{
    const struct insn *in = &t->in;
    switch (in->op) {
    case OP_BEQ ... OP_BGEU:
        tr_branch(t);
        return true;
    case OP_JAL:
        tr_link_register(t, in->rd);
        tr_leave_to(t, (int64_t)t->off + in->imm);
        t->end = true;
        return true;
    case OP_JALR:
        tr_jalr(t);
        t->end = true;
        return true;
    case OP_AUIPC:
        tr_auipc(t);
        return true;
    case OP_FENCE:
        /* TSO keeps every order but earlier writes before later reads: pred W (bit 4) with succ R (bit 1), unless
         * it is fence.tso (fm = 8). */
        if ((in->imm & 0x10) && (in->imm & 0x2) && (in->imm >> 8 & 15) != 8) {
            x64_b(&t->e, 0xf0);
            x64_alu_mem_imm(&t->e, false, ALU_OR, x64_at(RSP, 0), 0);
        }
        return true;
    case OP_EBREAK:
    case OP_MRET:
    case OP_ILLEGAL: {
        struct cold *c = tr_cold_interp(t);
        c->from[0] = x64_jmp(&t->e);
        t->end = true;
        return true;
    }
    case OP_WFI:
    case OP_FENCE_I:
    case OP_PAUSE:
    case OP_WRS_NTO:
    case OP_WRS_STO:
    case OP_SFENCE_VMA:
        tr_interp(t);
        tr_leave_to(t, t->off + in->len);
        t->end = true;
        return true;
    default:
        return false;
    }
}
