#include "tcg/translate.h"

#include <stdio.h>
#include <stdlib.h>
#include "tcg/decode.h"
#include "weft/log.h"

static struct x64_mem cpu_mem(int32_t disp)
{
    return x64_at(RBP, disp);
}

/* ---- pieces shared by the parts of the translator ---- */

struct cold *tr_cold(struct tr *t, enum cold_kind kind)
{
    assert(t->num_cold < TR_MAX_COLD);
    struct cold *c = &t->cold[t->num_cold++];
    memset(c, 0, offsetof(struct cold, insn));
    c->kind = (uint8_t)kind;
    c->bb = (uint8_t)(t->num_entries - 1);
    c->info = INFO(t->off, t->index);
    return c;
}

struct cold *tr_cold_interp(struct tr *t)
{
    struct cold *c = tr_cold(t, COLD_INTERP);
    c->insn = t->in;
    return c;
}

void tr_interp(struct tr *t)
{
    struct cold *c = tr_cold_interp(t);
    c->from[0] = x64_jmp(&t->e);
    c->back = t->e.p;
    t->fp_checked = false;
    t->boxed = 0;
}

int tr_src(struct tr *t, unsigned r, int tmp)
{
    if (r == 0) {
        x64_imm_keep_flags(&t->e, tmp, 0);
        return tmp;
    }
    if (t->reg[r] >= 0) {
        return t->reg[r];
    }
    x64_load(&t->e, tmp, cpu_mem(X_DISP(r)));
    return tmp;
}

int tr_dst(const struct tr *t, unsigned rd, int tmp)
{
    return rd && t->reg[rd] >= 0 ? t->reg[rd] : tmp;
}

const struct insn *tr_peek(const struct tr *t)
{
    return t->at < t->dec_n ? &t->dec[t->at] : NULL;
}

void tr_take(struct tr *t)
{
    t->off += t->in.len;
    t->index++;
    t->in = t->dec[t->at++];
}

/* Puts borrowed registers back where code outside the block expects them. Touches no flags and no scratch register. */
static void give_back(struct tr *t, const struct borrow *b)
{
    for (unsigned i = 0; i < b->n; i++) {
        if (b->written >> b->guest[i] & 1) {
            x64_store(&t->e, cpu_mem(X_DISP(b->guest[i])), b->host[i]);
        }
        x64_load(&t->e, b->host[i], cpu_mem(X_DISP(b->pinned[i])));
    }
}

static void take_again(struct tr *t, const struct borrow *b)
{
    for (unsigned i = 0; i < b->n; i++) {
        x64_load(&t->e, b->host[i], cpu_mem(X_DISP(b->guest[i])));
    }
}

static const struct borrow *borrow_of(const struct tr *t)
{
    return &t->borrow[t->num_entries - 1];
}

void tr_put(struct tr *t, unsigned rd, int reg)
{
    if (rd == 0) {
        return;
    }
    if (t->reg[rd] >= 0) {
        x64_mov(&t->e, t->reg[rd], reg);
    } else {
        x64_store(&t->e, cpu_mem(X_DISP(rd)), reg);
    }
}

void tr_put_imm(struct tr *t, unsigned rd, int64_t v)
{
    if (rd == 0) {
        return;
    }
    if (t->reg[rd] >= 0) {
        x64_imm(&t->e, t->reg[rd], v);
    } else if (v >= INT32_MIN && v <= INT32_MAX) {
        x64_store_imm(&t->e, cpu_mem(X_DISP(rd)), (int32_t)v);
    } else {
        x64_imm(&t->e, RAX, v);
        x64_store(&t->e, cpu_mem(X_DISP(rd)), RAX);
    }
}

void tr_pc(struct tr *t, int reg, int64_t off)
{
    x64_load(&t->e, reg, cpu_mem(CPU_DISP(pc_page)));
    if (off >= INT32_MIN && off <= INT32_MAX) {
        if (off) {
            x64_alu_imm(&t->e, true, ALU_ADD, reg, (int32_t)off);
        }
    } else {
        int tmp = reg == RDX ? RCX : RDX;
        x64_imm(&t->e, tmp, off);
        x64_alu(&t->e, true, ALU_ADD, reg, tmp);
    }
}

/* Pads so that a 4-byte displacement `skip` bytes from here lies in one cache line: it is patched while others run. */
static void align_patch(struct x64 *e, unsigned skip)
{
    while ((((uintptr_t)e->p + skip) & 63) > 60) {
        x64_b(e, 0x90);
    }
}

static void goto_far(struct tr *t, int64_t off)
{
    struct x64 *e = &t->e;
    struct cold *c = tr_cold(t, COLD_LINK);
    c->imm = (int32_t)off;
    x64_load(e, RAX, cpu_mem(CPU_DISP(pc_page)));
    x64_alu_imm(e, true, ALU_ADD, RAX, (int32_t)(off & (int64_t)GUEST_PAGE_MASK));
    align_patch(e, 3);
    /* cmp rax, [r15 + code_va[0]]: id 0 never matches; linking writes the id's displacement. */
    x64_alu_rm(e, true, ALU_CMP, RAX, x64_at(R15, CTX_CODE_VA));
    c->guard = e->p - 4;
    c->from[0] = x64_jcc(e, CC_NE);
    x64_store(e, cpu_mem(CPU_DISP(pc_page)), RAX);
    align_patch(e, 1);
    c->from[1] = x64_jmp(e);
}

void tr_goto(struct tr *t, int64_t off)
{
    if (off >= 0 && off < (int64_t)GUEST_PAGE_SIZE) {
        align_patch(&t->e, 1);
        t->direct[t->num_direct].off = (uint16_t)off;
        t->direct[t->num_direct++].patch = x64_jmp(&t->e);
    } else if (off >= INT32_MIN && off <= INT32_MAX) {
        goto_far(t, off);
    } else {
        tr_pc(t, RAX, off);
        x64_jmp_to(&t->e, t->stubs->lookup);
    }
}

/* ---- control flow ---- */

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
        give_back(t, borrow_of(t));
        return;
    }
    give_back(t, borrow_of(t));
    if (off >= 0 && off < (int64_t)GUEST_PAGE_SIZE) {
        align_patch(e, 2);
        t->direct[t->num_direct].off = (uint16_t)off;
        t->direct[t->num_direct++].patch = x64_jcc(e, c);
    } else {
        uint8_t *skip = x64_jcc8(e, (enum x64_cc)(c ^ 1));
        goto_far(t, off);
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
    _Static_assert(sizeof(struct jc_entry) == 16 && JC_SIZE == 4096, "index below");
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
    give_back(t, borrow_of(t));
    jump_indirect(t);
}

/* Leaves the block for page offset `off`. */
static void leave_to(struct tr *t, int64_t off)
{
    give_back(t, borrow_of(t));
    tr_goto(t, off);
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
        leave_to(t, target);
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
        leave_to(t, (int64_t)t->off + in->imm);
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
        leave_to(t, t->off + in->len);
        t->end = true;
        return true;
    default:
        return false;
    }
}

/* ---- cold paths ---- */

static void cold_emit_memory(struct tr *t, struct cold *c)
{
    struct x64 *e = &t->e;
    if (c->kind == COLD_STORE) {
        if (c->fp) {
            x64_vex(e, 1, 1, true, 0x7e, c->value, 0, RCX); /* vmovq rcx, xmm */
        } else if (c->value != RCX) {
            x64_mov(e, RCX, c->value);
        } else {
            x64_load(e, RCX, x64_at(RBP, c->reload));
        }
    }
    if (c->ea_reg != RAX || c->imm) {
        x64_lea(e, RAX, x64_at(c->ea_reg, c->imm));
    }
    const struct borrow *b = &t->borrow[c->bb];
    give_back(t, b);
    x64_imm_keep_flags(e, RDX, c->info);
    x64_call_to(e, c->kind == COLD_STORE ? t->stubs->store[c->mem] : t->stubs->load[c->mem]);
    take_again(t, b);
    if (c->kind == COLD_LOAD) {
        if (c->fp) {
            x64_vex(e, 1, 1, true, 0x6e, c->value, 0, RAX); /* vmovq xmm, rax */
        } else {
            x64_mov(e, c->value, RAX);
        }
    }
    x64_jmp_to(e, c->back);
}

/* The general registers of an instruction that a light call sees only in memory. */
static void sync_register(struct tr *t, unsigned r, bool to_memory)
{
    if (r && host_reg[r] >= 0) {
        if (to_memory) {
            x64_store(&t->e, cpu_mem(X_DISP(r)), host_reg[r]);
        } else {
            x64_load(&t->e, host_reg[r], cpu_mem(X_DISP(r)));
        }
    }
}

static void cold_emit_interp(struct tr *t, struct cold *c)
{
    struct x64 *e = &t->e;
    bool light = c->kind == COLD_LIGHT, is_csr = c->insn.op >= OP_CSRRW && c->insn.op <= OP_CSRRC;
    const struct borrow *b = &t->borrow[c->bb];
    give_back(t, b);
    if (light && is_csr) {
        sync_register(t, c->insn.rs1, true);
    }
    x64_b(e, 0x48); /* lea rax, [rip + insn] */
    x64_b(e, 0x8d);
    x64_b(e, 0x05);
    uint8_t *at = e->p;
    x64_d(e, 0);
    x64_imm_keep_flags(e, RDX, c->info);
    x64_call_to(e, light ? t->stubs->light : t->stubs->interp);
    if (light && c->back) {
        sync_register(t, c->insn.rd, false);
    }
    if (c->back) {
        take_again(t, b);
        x64_jmp_to(e, c->back);
    } else {
        x64_b(e, 0x0f); /* ud2: the instruction never goes on */
        x64_b(e, 0x0b);
    }
    while ((uintptr_t)e->p & 3) {
        x64_b(e, 0);
    }
    x64_patch(at, e->p);
    memcpy(e->p, &c->insn, sizeof(c->insn));
    e->p += sizeof(c->insn);
}

static void cold_emit_link(struct tr *t, struct cold *c)
{
    struct x64 *e = &t->e;
    x64_imm_keep_flags(e, RDX, (uint32_t)c->imm);
    x64_call_to(e, t->stubs->link);
    struct link_site site = {.id = t->page->id};
    uint8_t *patch = c->from[1] ? c->from[1] : c->from[0];
    site.patch = (int32_t)(patch - e->p);
    site.guard = c->guard ? (int32_t)(c->guard - e->p) : 0;
    memcpy(e->p, &site, sizeof(site));
    e->p += sizeof(site);
}

static void cold_emit(struct tr *t, struct cold *c)
{
    for (unsigned i = 0; i < 2; i++) {
        if (c->from[i]) {
            x64_patch(c->from[i], t->e.p);
        }
    }
    switch (c->kind) {
    case COLD_LOAD:
    case COLD_STORE:
        cold_emit_memory(t, c);
        break;
    case COLD_INTERP:
    case COLD_LIGHT:
        cold_emit_interp(t, c);
        break;
    case COLD_FP_EXIT:
        give_back(t, &t->borrow[c->bb]);
        x64_imm_keep_flags(&t->e, RDX, c->info);
        x64_jmp_to(&t->e, t->stubs->interp_exit);
        break;
    case COLD_BUDGET:
        give_back(t, &t->borrow[c->bb]);
        x64_imm_keep_flags(&t->e, RDX, c->info);
        x64_jmp_to(&t->e, t->stubs->budget);
        break;
    case COLD_LINK:
        cold_emit_link(t, c);
        break;
    }
}

/* ---- blocks and units ---- */

static uint8_t *known_code(struct tr *t, unsigned off)
{
    unsigned i = t->entry_index[off >> 1];
    if (i) {
        return t->entry[i - 1].code;
    }
    uint32_t code = code_page_find(t->page, off);
    return code ? t->cc->rw + code : NULL;
}

static bool ends_block(enum op op)
{
    switch (op) {
    case OP_BEQ ... OP_BGEU:
    case OP_JAL:
    case OP_JALR:
    case OP_ILLEGAL:
    case OP_ECALL:
    case OP_EBREAK:
    case OP_MRET:
    case OP_SRET:
    case OP_WFI:
    case OP_FENCE_I:
    case OP_PAUSE:
    case OP_WRS_NTO:
    case OP_WRS_STO:
    case OP_SFENCE_VMA:
        return true;
    default:
        return false;
    }
}

/* Decodes the block at t->off, `max` instructions at most: up to a jump, known code, or an instruction that crosses the
 * page. */
static void scan_block(struct tr *t, unsigned max)
{
    unsigned off = t->off;
    t->dec_n = t->at = 0;
    while (t->dec_n < max && off < GUEST_PAGE_SIZE && (t->dec_n == 0 || !known_code(t, off))) {
        uint32_t raw = 0;
        bool last_half = off + 4 > GUEST_PAGE_SIZE;
        memcpy(&raw, t->bytes + off, last_half ? 2 : 4);
        if (last_half && insn_length(raw) == 4) {
            break;
        }
        struct insn *in = &t->dec[t->dec_n++];
        insn_decode(raw, t->cpu->isa_ext, in);
        off += in->len;
        if (ends_block(in->op)) {
            break;
        }
    }
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

/* Chooses what to borrow for the block in dec[]: guest registers used so often that two loads and two stores pay. */
static void choose_borrow(struct tr *t, struct borrow *b)
{
    uint8_t uses[32] = {0};
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
        uint32_t r = reads_of(&t->dec[i]), w = writes_of(&t->dec[i]);
        used |= r | w;
        written |= w;
        for (uint32_t m = r; m; m &= m - 1) {
            uses[__builtin_ctz(m)]++;
        }
        for (uint32_t m = w; m; m &= m - 1) {
            uses[__builtin_ctz(m)]++;
        }
        off += t->dec[i].len;
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

static void block_begin(struct tr *t, unsigned max)
{
    scan_block(t, max);
    t->index = 0;
    t->fp_checked = false;
    t->boxed = 0;
    t->flags_at = NULL;
    t->bb_cold = t->num_cold;
    t->bb_off = t->off;
    struct borrow *b = &t->borrow[t->num_entries];
    choose_borrow(t, b);
    t->entry[t->num_entries].off = (uint16_t)t->off;
    t->entry[t->num_entries++].code = t->e.p;
    t->entry_index[t->off >> 1] = (uint8_t)t->num_entries;
    for (unsigned i = 0; i < b->n; i++) {
        x64_store(&t->e, cpu_mem(X_DISP(b->pinned[i])), b->host[i]);
    }
    take_again(t, b);
    t->inner = t->e.p;
    x64_b(&t->e, 0x49); /* sub r14, imm8 */
    x64_b(&t->e, 0x83);
    x64_b(&t->e, 0xee);
    t->bb_sub = t->e.p;
    x64_b(&t->e, 0);
    struct cold *c = tr_cold(t, COLD_BUDGET);
    c->from[0] = x64_jcc(&t->e, CC_S);
}

/* `index` instructions are in the block: fix its count, and in its cold paths index -> instructions left. */
static void block_end(struct tr *t)
{
    *t->bb_sub = (uint8_t)t->index;
    for (unsigned i = t->bb_cold; i < t->num_cold; i++) {
        struct cold *c = &t->cold[i];
        c->info = INFO(INFO_OFF(c->info), t->index - INFO_LEFT(c->info));
    }
}

static void resolve_direct(struct tr *t)
{
    for (unsigned i = 0; i < t->num_direct; i++) {
        uint8_t *code = known_code(t, t->direct[i].off);
        if (code) {
            x64_patch(t->direct[i].patch, code);
        } else {
            struct cold *c = tr_cold(t, COLD_LINK);
            c->from[0] = t->direct[i].patch;
            c->imm = t->direct[i].off;
        }
    }
}

static void translate_insn(struct tr *t)
{
    if (!tr_integer(t) && !tr_memory(t) && !tr_control(t) && !tr_system(t) && !tr_float(t) && !tr_atomic(t) &&
        !tr_bitmanip(t)) {
        tr_interp(t);
    }
}

static void log_unit(struct tr *t, unsigned from, const uint8_t *code, const uint8_t *end)
{
    char text[128];
    if (log_on(LOG_IN_ASM)) {
        log_write("----------------\nIN: page 0x%llx\n", (unsigned long long)t->page->gpa);
        for (unsigned off = from; off < t->off;) {
            uint32_t raw = 0;
            memcpy(&raw, t->bytes + off, off + 4 <= GUEST_PAGE_SIZE ? 4 : 2);
            struct insn in;
            insn_decode(raw, t->cpu->isa_ext, &in);
            insn_format(&in, t->page->gpa + off, text, sizeof(text));
            log_write("0x%08llx:  %08x  %s\n", (unsigned long long)(t->page->gpa + off), in.raw, text);
            off += in.len;
        }
    }
    if (log_on(LOG_OUT_ASM)) {
        log_write("OUT: [size=%ld] page 0x%llx+0x%x at %p\n", (long)(end - code), (unsigned long long)t->page->gpa,
                  from, (const void *)codecache_to_rx(t->cc, code));
        for (const uint8_t *p = code; p < end; p++) {
            log_write("%02x%s", *p, (p - code) % 32 == 31 || p + 1 == end ? "\n" : "");
        }
    }
}

/* One block from t->off on. True when the unit goes on with the block behind it. */
static bool translate_block(struct tr *t, unsigned max)
{
    block_begin(t, max);
    if (t->dec_n == 0) {
        /* The dispatcher fetches an instruction that crosses the page and has it interpreted. */
        struct cold *c = tr_cold(t, COLD_FP_EXIT);
        c->from[0] = x64_jmp(&t->e);
        t->index = 1;
        block_end(t);
        return false;
    }
    while (t->at < t->dec_n) {
        t->in = t->dec[t->at++];
        translate_insn(t);
        t->index++;
        t->off += t->in.len;
    }
    bool branch = t->in.op >= OP_BEQ && t->in.op <= OP_BGEU;
    if (!t->end && !branch) {
        leave_to(t, t->off);
    }
    block_end(t);
    return branch;
}

/* A run of blocks in straight line; returns the number of instructions. */
static unsigned translate_run(struct tr *t)
{
    unsigned insns = 0;
    while (translate_block(t, TR_MAX_INSNS - insns)) {
        insns += t->index;
        bool crosses = t->off + 4 > GUEST_PAGE_SIZE; /* maybe: leave it to a unit of its own */
        if (insns >= TR_MAX_INSNS || crosses || known_code(t, t->off)) {
            tr_goto(t, t->off);
            return insns;
        }
    }
    return insns + t->index;
}

void translate_unit(struct tr *t, struct code_page *page, unsigned off)
{
    struct tcg_cpu *tc = t->cpu->tcg;
    t->e.p = tc->chunk;
    t->page = page;
    t->bytes = ram_ptr(t->cpu->ram, page->gpa);
    t->off = off;
    t->end = false;
    t->num_cold = t->num_entries = t->num_direct = 0;
    unsigned insns = translate_run(t);
    resolve_direct(t);
    for (unsigned i = 0; i < t->num_cold; i++) {
        cold_emit(t, &t->cold[i]);
    }
    assert(t->e.p < tc->chunk_end);
    if (log_mask & (LOG_IN_ASM | LOG_OUT_ASM)) {
        log_unit(t, off, tc->chunk, t->e.p);
    }
    for (unsigned i = 0; i < t->num_entries; i++) {
        t->entry_index[t->entry[i].off >> 1] = 0;
    }
    page->regions |= 1u << tc->chunk_region;
    for (unsigned i = 0; i < t->num_entries; i++) {
        code_page_publish(page, t->entry[i].off, (uint32_t)(t->entry[i].code - t->cc->rw));
    }
    t->cpu->stats.blocks_translated += t->num_entries;
    t->cpu->stats.insns_translated += insns;
    t->cpu->stats.code_bytes += (uint64_t)(t->e.p - tc->chunk);
    tc->chunk = t->e.p;
}
