/* Loads and stores: the soft TLB's probe in line, the miss behind the unit (weft/tlb.h). */
#include "tcg/translate.h"

static const uint8_t kind_size[MEM_KINDS] = {1, 1, 2, 2, 4, 4, 8};

struct x64_mem tr_probe(struct tr *t, struct cold *c, unsigned base, int32_t imm, unsigned size, bool store)
{
    struct x64 *e = &t->e;
    int b = tr_src(t, base, RAX);
    int ea = b;
    if (imm) {
        x64_lea(e, RDX, x64_at(b, imm));
        ea = RDX;
    }
    x64_bextr(e, RCX, ea, R15);
    if (!imm) {
        x64_mov(e, RDX, b);
    }
    x64_alu_rm(e, true, ALU_SUB, RDX, x64_idx8(R15, RCX, store ? CTX_WTAG : CTX_RTAG));
    x64_alu_imm(e, true, ALU_CMP, RDX, (int32_t)(GUEST_PAGE_SIZE - size));
    c->from[0] = x64_jcc(e, CC_A);
    c->ea_reg = (uint8_t)b;
    c->imm = imm;
    if (b == RAX) {
        x64_alu_rm(e, true, ALU_ADD, RAX, x64_idx8(R15, RCX, CTX_ADDEND));
        return x64_at(RAX, imm);
    }
    x64_load(e, RAX, x64_idx8(R15, RCX, CTX_ADDEND));
    return x64_idx(RAX, b, imm);
}

static void load(struct tr *t, enum mem_kind kind)
{
    struct x64 *e = &t->e;
    const struct insn *in = &t->in;
    struct x64_mem m;
    struct cold *c = tr_access(t, COLD_LOAD, kind_size[kind], &m);
    c->mem = (uint8_t)kind;
    int d = tr_dst(t, in->rd, RAX);
    switch (kind) {
    case MEM_U8:
        x64_rm(e, false, 0x0fb6, d, m);
        break;
    case MEM_S8:
        x64_rm(e, true, 0x0fbe, d, m);
        break;
    case MEM_U16:
        x64_rm(e, false, 0x0fb7, d, m);
        break;
    case MEM_S16:
        x64_rm(e, true, 0x0fbf, d, m);
        break;
    case MEM_U32:
        x64_load32(e, d, m);
        break;
    case MEM_S32:
        x64_rm(e, true, 0x63, d, m);
        break;
    default:
        x64_load(e, d, m);
        break;
    }
    c->value = (uint8_t)d;
    c->back = e->p;
    tr_put_near(t, in->rd, d);
}

/* log2size: 0..3 */
static void store(struct tr *t, unsigned log2size)
{
    struct x64 *e = &t->e;
    const struct insn *in = &t->in;
    struct x64_mem m;
    struct cold *c = tr_access(t, COLD_STORE, 1u << log2size, &m);
    c->mem = (uint8_t)log2size;
    int v = tr_src(t, in->rs2, RCX);
    switch (log2size) {
    case 0:
        x64_rm_p(e, 0, false, 0x88, v, m, true);
        break;
    case 1:
        x64_rm_p(e, 0x66, false, 0x89, v, m, false);
        break;
    case 2:
        x64_store32(e, m, v);
        break;
    default:
        x64_store(e, m, v);
        break;
    }
    c->value = (uint8_t)v;
    c->reload = v == RCX ? X_DISP(in->rs2) : 0;
    c->back = e->p;
}

void tr_fp_check(struct tr *t)
{
    if (t->fp_checked) {
        return;
    }
    x64_alu_mem_imm(&t->e, false, ALU_CMP, x64_at(RBP, CPU_DISP(fp_fast)), 0);
    struct cold *c = tr_cold(t, COLD_FP_EXIT);
    c->from[0] = x64_jcc(&t->e, CC_E);
    t->fp_checked = true;
}

static void fp_load(struct tr *t, bool is_double)
{
    struct x64 *e = &t->e;
    const struct insn *in = &t->in;
    tr_fp_check(t);
    struct x64_mem m;
    struct cold *c = tr_access(t, COLD_LOAD, is_double ? 8 : 4, &m);
    c->mem = is_double ? MEM_64 : MEM_U32;
    int d = host_xmm[in->rd];
    if (is_double) {
        if (d >= 0) {
            x64_vex_m(e, 3, 1, false, 0x10, d, 0, m); /* vmovsd */
            c->fp = true;
            c->value = (uint8_t)d;
            c->back = e->p;
        } else {
            x64_load(e, RAX, m);
            c->value = RAX;
            c->back = e->p;
            x64_store(e, x64_at(RBP, F_DISP(in->rd)), RAX);
        }
        t->boxed &= ~(1u << in->rd);
        return;
    }
    x64_load32(e, RAX, m);
    c->value = RAX;
    c->back = e->p;
    if (d >= 0) {
        x64_vex(e, 1, 1, false, 0x76, 0, 0, 0);   /* vpcmpeqd xmm0, xmm0, xmm0 */
        x64_vex(e, 1, 3, false, 0x22, d, 0, RAX); /* vpinsrd d, xmm0, eax, 0 */
        x64_b(e, 0);
    } else {
        x64_store32(e, x64_at(RBP, F_DISP(in->rd)), RAX);
        x64_rm(e, false, 0xc7, 0, x64_at(RBP, F_DISP(in->rd) + 4));
        x64_d(e, UINT32_MAX);
    }
    t->boxed |= 1u << in->rd;
}

static void fp_store(struct tr *t, bool is_double)
{
    struct x64 *e = &t->e;
    const struct insn *in = &t->in;
    tr_fp_check(t);
    struct x64_mem m;
    struct cold *c = tr_access(t, COLD_STORE, is_double ? 8 : 4, &m);
    c->mem = is_double ? 3 : 2;
    int v = host_xmm[in->rs2];
    if (v >= 0) {
        x64_vex_m(e, is_double ? 3 : 2, 1, false, 0x11, v, 0, m); /* vmovsd / vmovss */
        c->fp = true;
        c->value = (uint8_t)v;
    } else {
        x64_load(e, RCX, x64_at(RBP, F_DISP(in->rs2)));
        x64_rm(e, is_double, 0x89, RCX, m);
        c->value = RCX;
        c->reload = F_DISP(in->rs2);
    }
    c->back = e->p;
}

/* cbo.zero in S or M mode where it is allowed, with an aligned address: four vector stores. */
static void zero_block(struct tr *t)
{
    struct x64 *e = &t->e;
    struct cold *c = tr_cold_interp(t), *misaligned = tr_cold_interp(t);
    x64_rm(e, false, 0x80, 7, x64_at(RBP, CPU_DISP(priv)));
    x64_b(e, PRIV_S);
    c->from[1] = x64_jcc(e, CC_B);
    x64_rm(e, false, 0xf6, 0, x64_at(RBP, CPU_DISP(menvcfg))); /* CBZE */
    x64_b(e, 0x80);
    misaligned->from[0] = x64_jcc(e, CC_E);
    x64_test_imm8(e, tr_src(t, t->in.rs1, RAX), 63);
    misaligned->from[1] = x64_jcc(e, CC_NE);
    struct x64_mem m = tr_probe(t, c, t->in.rs1, 0, 64, true);
    x64_vex(e, 0, 1, false, 0x57, 0, 0, 0); /* vxorps xmm0 */
    for (unsigned i = 0; i < 4; i++, m.disp += 16) {
        x64_vex_m(e, 0, 1, false, 0x11, 0, 0, m); /* vmovups */
    }
    c->back = misaligned->back = e->p;
}

bool tr_memory(struct tr *t)
{
    switch (t->in.op) {
    case OP_LB:
        load(t, MEM_S8);
        return true;
    case OP_LBU:
        load(t, MEM_U8);
        return true;
    case OP_LH:
        load(t, MEM_S16);
        return true;
    case OP_LHU:
        load(t, MEM_U16);
        return true;
    case OP_LW:
        load(t, MEM_S32);
        return true;
    case OP_LWU:
        load(t, MEM_U32);
        return true;
    case OP_LD:
        load(t, MEM_64);
        return true;
    case OP_SB:
        store(t, 0);
        return true;
    case OP_SH:
        store(t, 1);
        return true;
    case OP_SW:
        store(t, 2);
        return true;
    case OP_SD:
        store(t, 3);
        return true;
    case OP_CBO_ZERO:
        zero_block(t);
        return true;
    case OP_FLD:
        fp_load(t, true);
        return true;
    case OP_FLW:
        fp_load(t, false);
        return true;
    case OP_FSD:
        fp_store(t, true);
        return true;
    case OP_FSW:
        fp_store(t, false);
        return true;
    default:
        return false;
    }
}
