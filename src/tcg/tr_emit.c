/* What the parts of the translator share: registers, constants, jumps between blocks. */
#include "tcg/translate.h"

static struct x64_mem cpu_mem(int32_t disp)
{
    return x64_at(RBP, disp);
}

struct cold *tr_cold(struct tr *t, enum cold_kind kind)
{
    assert(t->num_cold < TR_MAX_COLD);
    struct cold *c = &t->cold[t->num_cold++];
    memset(c, 0, offsetof(struct cold, insn));
    c->kind = (uint8_t)kind;
    c->bb = t->bb;
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
    if (t->rax_at == t->e.p && t->rax_reg == r) {
        x64_mov(&t->e, tmp, RAX);
        return tmp;
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

void tr_put_near(struct tr *t, unsigned rd, int reg)
{
    tr_put(t, rd, reg);
    if (rd && reg == RAX && t->reg[rd] < 0) {
        t->rax_reg = (uint8_t)rd;
        t->rax_at = t->e.p;
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
void tr_align_patch(struct x64 *e, unsigned skip)
{
    while ((((uintptr_t)e->p + skip) & 63) > 60) {
        x64_b(e, 0x90);
    }
}

uint8_t *tr_compare_page(struct tr *t, int64_t off, uint32_t id)
{
    struct x64 *e = &t->e;
    x64_load(e, RAX, cpu_mem(CPU_DISP(pc_page)));
    x64_alu_imm(e, true, ALU_ADD, RAX, (int32_t)(off & (int64_t)GUEST_PAGE_MASK));
    tr_align_patch(e, 3);
    x64_alu_rm(e, true, ALU_CMP, RAX, x64_at(R15, CTX_CODE_VA + (int32_t)id * 8));
    return e->p - 4;
}

void tr_goto_far(struct tr *t, int64_t off)
{
    struct x64 *e = &t->e;
    struct cold *c = tr_cold(t, COLD_LINK);
    c->imm = (int32_t)off;
    c->guard = tr_compare_page(t, off, 0); /* id 0 never matches; linking writes the id's displacement */
    c->from[0] = x64_jcc(e, CC_NE);
    x64_store(e, cpu_mem(CPU_DISP(pc_page)), RAX);
    tr_align_patch(e, 1);
    c->from[1] = x64_jmp(e);
}

void tr_goto(struct tr *t, int64_t off)
{
    if (off >= 0 && off < (int64_t)GUEST_PAGE_SIZE) {
        tr_align_patch(&t->e, 1);
        t->direct[t->num_direct].off = (uint16_t)off;
        t->direct[t->num_direct++].patch = x64_jmp(&t->e);
    } else if (off >= INT32_MIN && off <= INT32_MAX) {
        tr_goto_far(t, off);
    } else {
        tr_pc(t, RAX, off);
        x64_jmp_to(&t->e, t->stubs->lookup);
    }
}

void tr_leave_to(struct tr *t, int64_t off)
{
    tr_give_back(t, tr_borrow_of(t));
    tr_goto(t, off);
}
