/* Cold paths: what lies behind a unit and is reached on a miss, a fault, or a link not yet made. */
#include "tcg/translate.h"

static struct x64_mem cpu_mem(int32_t disp)
{
    return x64_at(RBP, disp);
}

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
    tr_give_back(t, b);
    x64_imm_keep_flags(e, RDX, c->info);
    x64_call_to(e, c->kind == COLD_STORE ? t->stubs->store[c->mem] : t->stubs->load[c->mem]);
    tr_take_again(t, b);
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
    tr_give_back(t, b);
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
        tr_take_again(t, b);
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

static void link_call(struct tr *t, int32_t off, const uint8_t *patch, const uint8_t *guard, uint32_t id)
{
    struct x64 *e = &t->e;
    x64_imm_keep_flags(e, RDX, (uint32_t)off);
    x64_call_to(e, t->stubs->link);
    struct link_site site = {.patch = (int32_t)(patch - e->p), .guard = guard ? (int32_t)(guard - e->p) : 0, .id = id};
    memcpy(e->p, &site, sizeof(site));
    e->p += sizeof(site);
}

/* rax = address of the first access -> rdx = host address of the group's base, or on in the plain translation, which
 * counts the instructions from there on itself. */
static void cold_emit_group(struct tr *t, struct cold *c)
{
    struct x64 *e = &t->e;
    const struct borrow *b = &t->borrow[c->bb];
    if (c->ea_reg != RAX || c->imm) {
        x64_lea(e, RAX, x64_at(c->ea_reg, c->imm));
    }
    tr_give_back(t, b);
    x64_imm_keep_flags(e, RCX, (uint32_t)c->reload);
    x64_imm_keep_flags(e, RDX, c->info);
    x64_call_to(e, t->stubs->group[c->mem]);
    x64_lea(e, RDX, x64_at(RAX, -c->imm));
    x64_test(e, true, RAX, RAX);
    uint8_t *none = x64_jcc8(e, CC_E);
    tr_take_again(t, b);
    x64_jmp_to(e, c->back);
    x64_here8(e, none);
    x64_alu_imm(e, true, ALU_ADD, R14, (int32_t)INFO_LEFT(c->info));
    tr_align_patch(e, 1);
    uint8_t *patch = x64_jmp(e);
    x64_patch(patch, e->p);
    link_call(t, (int32_t)INFO_OFF(c->info), patch, NULL, t->page->id | LINK_PLAIN);
}

/* rax divided by 0, or by -1 where that is signed: quotient -1 and the dividend as the rest, or its negative and 0. */
static void cold_emit_divide(struct tr *t, const struct cold *c)
{
    struct x64 *e = &t->e;
    bool word = c->mem & 1, rem = c->mem & 2;
    x64_test(e, !word, c->ea_reg, c->ea_reg);
    uint8_t *zero = x64_jcc8(e, CC_E);
    if (rem) {
        x64_rr(e, false, 0x31, RDX, RDX);
    } else {
        x64_unary(e, !word, 3, RAX);
    }
    x64_jmp_to(e, c->back);
    x64_here8(e, zero);
    if (rem) {
        x64_mov(e, RDX, RAX);
    } else {
        x64_imm(e, RAX, -1);
    }
    x64_jmp_to(e, c->back);
}

void tr_cold_emit(struct tr *t, struct cold *c)
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
    case COLD_NAN:
        x64_imm(&t->e, RAX, c->mem ? 0x7ff8000000000000 : (int64_t)0xffffffff7fc00000);
        x64_vex(&t->e, 1, 1, true, 0x6e, c->value, 0, RAX); /* vmovq xmm, rax */
        x64_jmp_to(&t->e, c->back);
        break;
    case COLD_GROUP:
        cold_emit_group(t, c);
        break;
    case COLD_INTERP:
    case COLD_LIGHT:
        cold_emit_interp(t, c);
        break;
    case COLD_FP_EXIT:
        tr_give_back(t, &t->borrow[c->bb]);
        x64_imm_keep_flags(&t->e, RDX, c->info);
        x64_jmp_to(&t->e, t->stubs->interp_exit);
        break;
    case COLD_BUDGET:
        tr_give_back(t, &t->borrow[c->bb]);
        x64_imm_keep_flags(&t->e, RDX, c->info);
        x64_jmp_to(&t->e, t->stubs->budget);
        break;
    case COLD_DIVIDE:
        cold_emit_divide(t, c);
        break;
    case COLD_CROSSING: /* rax = the page behind */
        x64_lea(&t->e, RAX, x64_at(RAX, CODE_CROSS_OFF - (int32_t)GUEST_PAGE_SIZE));
        x64_store(&t->e, cpu_mem(CPU_DISP(pc)), RAX);
        x64_imm(&t->e, RAX, TCG_EXIT_LOOKUP);
        x64_jmp_to(&t->e, t->stubs->exit);
        break;
    case COLD_LINK:
        link_call(t, c->imm, c->from[1] ? c->from[1] : c->from[0], c->guard, t->page->id);
        break;
    }
}
