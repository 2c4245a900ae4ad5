/*
 * Groups: several loads and stores of one block off the same unmodified base register share one probe, whose limit
 * covers all of them. rdx then holds the base's host address up to the last access of the group; what lies between may
 * neither fault nor touch rdx. A miss is filled in for the whole range at once. What no probe can admit as one range
 * (it crosses a page, or is a device) goes on in the plain translation of the same instructions, made when first
 * needed.
 */
#include "tcg/translate.h"

enum {
    GROUP_SPAN = 1024, /* bytes from the first to the last: the longer, the more often a page's edge is inside */
    GROUP_INSNS = 96   /* from the first to the last: a block is not cut inside a group */
};

/* Size of a plain load or store, or 0. */
static unsigned access_size(const struct insn *in, bool *store)
{
    *store = (in->op >= OP_SB && in->op <= OP_SD) || in->op == OP_FSW || in->op == OP_FSD;
    switch (in->op) {
    case OP_LB:
    case OP_LBU:
    case OP_SB:
        return 1;
    case OP_LH:
    case OP_LHU:
    case OP_SH:
        return 2;
    case OP_LW:
    case OP_LWU:
    case OP_SW:
    case OP_FLW:
    case OP_FSW:
        return 4;
    case OP_LD:
    case OP_SD:
    case OP_FLD:
    case OP_FSD:
        return 8;
    default:
        return 0;
    }
}

/* Leaves rdx alone and has no cold path. */
static bool harmless(const struct insn *in)
{
    switch (in->op) {
    case OP_LUI:
    case OP_ADDI:
    case OP_ANDI:
    case OP_ORI:
    case OP_XORI:
    case OP_ADD:
    case OP_SUB:
    case OP_AND:
    case OP_OR:
    case OP_XOR:
    case OP_ADDIW:
    case OP_ADDW:
    case OP_SUBW:
    case OP_SLLI:
    case OP_SRLI:
    case OP_SRAI:
    case OP_SLLIW:
    case OP_SRLIW:
    case OP_SRAIW:
    case OP_SLL:
    case OP_SRL:
    case OP_SRA:
    case OP_SLLW:
    case OP_SRLW:
    case OP_SRAW:
    case OP_SLT:
    case OP_SLTU:
    case OP_SLTI:
    case OP_SLTIU:
    case OP_MUL:
    case OP_MULW:
        return true;
    default:
        return false;
    }
}

struct range {
    int32_t lo, hi; /* imm of the first byte, of the byte behind the last */
    bool store;
    unsigned accesses, insns; /* up to the last access */
};

/* The group that `in`, which is dec[at - 1], begins. */
static struct range find(const struct tr *t)
{
    unsigned base = t->in.rs1;
    struct range r = {.lo = INT32_MAX, .hi = INT32_MIN};
    for (unsigned i = t->at - 1; i < t->dec_n && i < t->at + GROUP_INSNS; i++) {
        const struct insn *in = &t->dec[i];
        bool store;
        unsigned size = access_size(in, &store);
        bool writes_base = !store && in->rd == base && in->op != OP_FLW && in->op != OP_FLD;
        if (size) {
            if (in->rs1 != base) {
                break;
            }
            int32_t lo = in->imm < r.lo ? in->imm : r.lo;
            int32_t hi = in->imm + (int32_t)size > r.hi ? in->imm + (int32_t)size : r.hi;
            if (hi - lo > GROUP_SPAN) {
                break;
            }
            r.lo = lo;
            r.hi = hi;
            r.store |= store;
            r.accesses++;
            r.insns = i + 2 - t->at;
            if (writes_base) {
                break;
            }
        } else if (!harmless(in) || writes_base) {
            break;
        }
    }
    return r;
}

static void begin(struct tr *t, const struct range *r)
{
    struct x64 *e = &t->e;
    struct cold *c = tr_cold(t, COLD_GROUP);
    t->group_left = r->accesses;
    t->group_open = true;
    int b = tr_src(t, t->in.rs1, RAX);
    if (r->lo) {
        x64_lea(e, RDX, x64_at(b, r->lo));
        x64_bextr(e, RCX, RDX, R15);
    } else {
        x64_bextr(e, RCX, b, R15);
        x64_mov(e, RDX, b);
    }
    x64_alu_rm(e, true, ALU_SUB, RDX, x64_idx8(R15, RCX, r->store ? CTX_WTAG : CTX_RTAG));
    x64_alu_imm(e, true, ALU_CMP, RDX, (int32_t)GUEST_PAGE_SIZE - (r->hi - r->lo));
    c->from[0] = x64_jcc(e, CC_A);
    x64_load(e, RDX, x64_idx8(R15, RCX, CTX_ADDEND));
    x64_alu(e, true, ALU_ADD, RDX, b);
    bool first_stores;
    access_size(&t->in, &first_stores);
    c->ea_reg = (uint8_t)b;
    c->imm = t->in.imm;
    c->reload = (int32_t)GROUP_ARG(r->hi - r->lo, t->in.imm - r->lo, first_stores);
    c->mem = r->store;
    c->back = e->p;
}

struct cold *tr_access(struct tr *t, enum cold_kind kind, unsigned size, struct x64_mem *m)
{
    if (!t->group_open && t->groups && t->in.rs1) {
        struct range r = find(t);
        if (r.accesses > 1) {
            begin(t, &r);
        }
    }
    if (t->group_open) {
        t->group_open = --t->group_left != 0;
        *m = x64_at(RDX, t->in.imm);
        return &t->no_cold;
    }
    struct cold *c = tr_cold(t, kind);
    *m = tr_probe(t, c, t->in.rs1, t->in.imm, size, kind == COLD_STORE);
    return c;
}
