/* Host registers that a block borrows (struct borrow). */
#include "tcg/decode.h"
#include "tcg/translate.h"

static struct x64_mem cpu_mem(int32_t disp)
{
    return x64_at(RBP, disp);
}

/* Puts borrowed registers back where code outside the block expects them. Touches no flags and no scratch register. */
void tr_give_back(struct tr *t, const struct borrow *b)
{
    for (unsigned i = 0; i < b->n; i++) {
        if (b->written >> b->guest[i] & 1) {
            x64_store(&t->e, cpu_mem(X_DISP(b->guest[i])), b->host[i]);
        }
        x64_load(&t->e, b->host[i], cpu_mem(X_DISP(b->pinned[i])));
    }
}

void tr_take_again(struct tr *t, const struct borrow *b)
{
    for (unsigned i = 0; i < b->n; i++) {
        x64_load(&t->e, b->host[i], cpu_mem(X_DISP(b->guest[i])));
    }
}

const struct borrow *tr_borrow_of(const struct tr *t)
{
    return &t->borrow[t->bb];
}

/* Bits of the general registers an instruction reads and writes, by its operand format. */
static uint32_t reads_of(const struct insn *in)
{
    switch (insn_rows[in->op].fmt) {
    case FMT_R:
    case FMT_S:
    case FMT_B:
    case FMT_AMO:
    case FMT_SFENCE:
        return 1u << in->rs1 | 1u << in->rs2;
    case FMT_R2:
    case FMT_I:
    case FMT_SH:
    case FMT_L:
    case FMT_FL:
    case FMT_FS:
    case FMT_JR:
    case FMT_LR:
    case FMT_CSR:
    case FMT_CBO:
    case FMT_XTOF:
    case FMT_XTOFN:
        return 1u << in->rs1;
    default:
        return 0;
    }
}

static uint32_t writes_of(const struct insn *in)
{
    switch (insn_rows[in->op].fmt) {
    case FMT_R:
    case FMT_R2:
    case FMT_I:
    case FMT_SH:
    case FMT_L:
    case FMT_U:
    case FMT_J:
    case FMT_JR:
    case FMT_LR:
    case FMT_AMO:
    case FMT_CSR:
    case FMT_CSRI:
    case FMT_FCMP:
    case FMT_FTOX:
    case FMT_FTOXN:
        return 1u << in->rd;
    default:
        return 0;
    }
}

bool tr_no_effect(const struct insn *in)
{
    bool first = in->rd == in->rs1, second = in->rd == in->rs2;
    switch (in->op) {
    case OP_ADDI:
    case OP_ORI:
    case OP_XORI:
    case OP_SLLI:
    case OP_SRLI:
    case OP_SRAI:
        return first && in->imm == 0;
    case OP_ADD:
    case OP_XOR:
        return (first && in->rs2 == 0) || (second && in->rs1 == 0);
    case OP_OR:
        return (first && (second || in->rs2 == 0)) || (second && in->rs1 == 0);
    case OP_SUB:
        return first && in->rs2 == 0;
    case OP_AND:
        return first && second;
    default:
        return false;
    }
}

/* Chooses what to borrow for the block in dec[]: guest registers used so often that two loads and two stores pay. */
void tr_choose_borrow(struct tr *t, struct borrow *b)
{
    uint16_t uses[32] = {0};
    uint32_t used = 0, written = 0;
    b->n = 0;
    memcpy(t->reg, host_reg, sizeof(t->reg));
    const struct insn *last = t->dec_n ? &t->dec[t->dec_n - 1] : NULL;
    bool loop = last && last->op >= OP_BEQ && last->op <= OP_BGEU && last->imm < 0;
    if (t->dec_n < 5 && !loop) {
        return;
    }
    unsigned off = t->off;
    for (unsigned i = 0; i < t->dec_n; i++) {
        off += t->dec[i].len;
        if (tr_no_effect(&t->dec[i])) {
            continue;
        }
        uint32_t r = reads_of(&t->dec[i]), w = writes_of(&t->dec[i]);
        used |= r | w;
        written |= w;
        for (uint32_t m = r; m; m &= m - 1) {
            uses[__builtin_ctz(m)]++;
        }
        for (uint32_t m = w; m; m &= m - 1) {
            uses[__builtin_ctz(m)]++;
        }
    }
    loop = loop && (int64_t)off - last->len + last->imm == (int64_t)t->off;
    unsigned least = loop ? 2 : 5;
    for (unsigned p = 1; p < 32; p++) {
        if (host_reg[p] < 0 || (used >> p & 1)) {
            continue;
        }
        unsigned best = 0;
        for (unsigned g = 1; g < 32; g++) {
            if (t->reg[g] < 0 && uses[g] >= least && (!best || uses[g] > uses[best])) {
                best = g;
            }
        }
        if (!best) {
            break;
        }
        b->guest[b->n] = (uint8_t)best;
        b->pinned[b->n] = (uint8_t)p;
        b->host[b->n++] = host_reg[p];
        t->reg[best] = host_reg[p];
        t->reg[p] = X64_NOREG;
    }
    b->written = written;
}
