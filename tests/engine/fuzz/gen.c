/*
 * The stream generator. A stream is a row of groups; a group is a few instructions that stay together (branches lead to
 * groups' beginnings only), and can be left out of a replay without moving the random numbers of the others.
 *
 * What random instructions may not do: write the reserved registers, and store outside the hot parts of the window.
 */
#include "fuzz.h"
#include "tcg/decode.h"

struct row {
    uint32_t mask, match;
    uint8_t fmt, need;
};

static const struct row rows[OP_COUNT] = {
#define INSN(name, text, mask, match, fmt, ext) [OP_##name] = {mask, match, FMT_##fmt, NEED_##ext},
#include "tcg/insn.def"
#undef INSN
};

enum fixup_kind { FIX_B, FIX_J, FIX_CB, FIX_CJ, FIX_PCREL };

/* A call notes subroutine n as group SUB_MARK + n until it is known where that begins. */
enum { SUB_MARK = MAX_GROUPS, SUB_GROUPS = 6, NO_SLOT = 0xffff };

/* ---- random numbers ---- */

static uint32_t pick(struct stream *s, uint32_t n)
{
    return (uint32_t)((rng_next(&s->rng) >> 32) * n >> 32);
}

static bool chance(struct stream *s, unsigned percent)
{
    return pick(s, 100) < percent;
}

/* ---- registers ---- */

/* Any register but the reserved ones; x0 at times. */
static unsigned any_rd(struct stream *s)
{
    for (;;) {
        unsigned r = pick(s, 32);
        if (!(s->reserved >> r & 1)) {
            return r;
        }
    }
}

static unsigned any_rs(struct stream *s)
{
    return pick(s, 32);
}

static unsigned any_pointer(struct stream *s)
{
    return s->ptr[pick(s, 3)];
}

/* ---- encoding ---- */

static void emit16(struct stream *s, uint32_t v)
{
    s->code[s->len / 2] = (uint16_t)v;
    s->len += 2;
}

static void emit(struct stream *s, uint32_t v)
{
    emit16(s, v & 0xffff);
    emit16(s, v >> 16);
    s->insns++;
}

static void emit_c(struct stream *s, uint32_t v)
{
    emit16(s, v);
    s->insns++;
}

static uint32_t enc_r(enum op op, unsigned rd, unsigned rs1, unsigned rs2)
{
    return rows[op].match | rd << 7 | rs1 << 15 | rs2 << 20;
}

static uint32_t enc_i(enum op op, unsigned rd, unsigned rs1, int imm)
{
    return rows[op].match | rd << 7 | rs1 << 15 | (uint32_t)imm << 20;
}

static uint32_t enc_s(enum op op, unsigned rs2, unsigned rs1, int imm)
{
    uint32_t i = (uint32_t)imm;
    return rows[op].match | rs1 << 15 | rs2 << 20 | (i & 31) << 7 | (i >> 5 & 127) << 25;
}

static uint32_t enc_u(enum op op, unsigned rd, uint32_t imm20)
{
    return rows[op].match | rd << 7 | imm20 << 12;
}

static uint32_t bits_b(int d)
{
    uint32_t i = (uint32_t)d;
    return (i >> 12 & 1) << 31 | (i >> 5 & 63) << 25 | (i >> 1 & 15) << 8 | (i >> 11 & 1) << 7;
}

static uint32_t bits_j(int d)
{
    uint32_t i = (uint32_t)d;
    return (i >> 20 & 1) << 31 | (i >> 1 & 0x3ff) << 21 | (i >> 11 & 1) << 20 | (i >> 12 & 0xff) << 12;
}

static uint32_t bits_cb(int d)
{
    uint32_t i = (uint32_t)d;
    return (i >> 8 & 1) << 12 | (i >> 3 & 3) << 10 | (i >> 6 & 3) << 5 | (i >> 1 & 3) << 3 | (i >> 5 & 1) << 2;
}

static uint32_t bits_cj(int d)
{
    uint32_t i = (uint32_t)d;
    return (i >> 11 & 1) << 12 | (i >> 4 & 1) << 11 | (i >> 8 & 3) << 9 | (i >> 10 & 1) << 8 | (i >> 6 & 1) << 7 |
           (i >> 7 & 1) << 6 | (i >> 1 & 7) << 3 | (i >> 5 & 1) << 2;
}

static void fix_later(struct stream *s, enum fixup_kind kind, unsigned group)
{
    s->fixup[s->num_fixups].kind = (uint8_t)kind;
    s->fixup[s->num_fixups].at = (uint16_t)s->len;
    s->fixup[s->num_fixups++].group = (uint16_t)group;
}

/* A group a little ahead; what lies behind the part's end is cut to its end when resolved. */
static unsigned ahead(struct stream *s, unsigned reach)
{
    return s->num_groups + 1 + pick(s, reach);
}

/* ---- groups of one random instruction ---- */

static void random_csr(struct stream *s, enum op op)
{
    /* FP state, scratch, and numbers that do not exist or are read-only: those trap. */
    static const uint16_t csrs[] = {0x001, 0x002, 0x003, 0x001, 0x002, 0x003, 0x140,
                                    0x140, 0x7c0, 0x5c0, 0x8ff, 0x300, 0x301, 0xc03};
    unsigned csr = csrs[pick(s, sizeof(csrs) / 2)], src = any_rs(s), rd = any_rd(s);
    bool writes_frm = csr == 2 || csr == 3;
    if (csr == 0x300 || csr == 0x301 || csr == 0xc03) {
        /* Only looked at where that traps. */
        if (s->mode == MODE_M || csr == 0xc03) {
            csr = 0x7c0;
        }
    }
    if (writes_frm && !chance(s, 10)) {
        op = OP_CSRRWI;
        src = csr == 2 ? pick(s, 5) : pick(s, 32);
    }
    emit(s, rows[op].match | rd << 7 | src << 15 | csr << 20);
}

static unsigned random_rm(struct stream *s)
{
    unsigned r = pick(s, 16);
    return r < 9 ? 7 : r < 15 ? pick(s, 5) : pick(s, 8);
}

static void aligned_address(struct stream *s, unsigned size, bool may_misalign)
{
    emit(s, enc_i(OP_ANDI, s->tmp, any_pointer(s), -8));
    if (size == 4 && chance(s, 40)) {
        emit(s, enc_i(OP_ADDI, s->tmp, s->tmp, 4));
    }
    if (may_misalign && chance(s, 5)) {
        emit(s, enc_i(OP_ADDI, s->tmp, s->tmp, (int)(1 + pick(s, size - 1))));
    }
}

static void random_atomic(struct stream *s, enum op op)
{
    bool sc = op == OP_SC_W || op == OP_SC_D;
    unsigned size = rows[op].match >> 12 & 1 ? 8 : 4;
    unsigned rs2 = rows[op].fmt == FMT_LR ? 0 : any_rs(s), aqrl = pick(s, 4) << 25;
    if (sc) {
        /* A pair, mostly one that succeeds. Whether it does when the widths differ is left open. */
        aligned_address(s, size, false);
        emit(s, enc_r(size == 4 ? OP_LR_W : OP_LR_D, any_rd(s), s->tmp, 0) | pick(s, 4) << 25);
        for (unsigned n = pick(s, 3); n; n--) {
            emit(s, enc_i(OP_ADDI, any_rd(s), any_rs(s), (int)pick(s, 4096) - 2048));
        }
        if (chance(s, 15)) {
            emit(s, enc_i(OP_ADDI, s->tmp, s->tmp, 8));
        }
    } else {
        aligned_address(s, size, true);
    }
    emit(s, enc_r(op, any_rd(s), s->tmp, rs2) | aqrl);
}

static int memory_offset(struct stream *s, unsigned size)
{
    int off = (int)pick(s, 240) - 120;
    return chance(s, 60) ? off & -(int)size : off;
}

static void random_memory(struct stream *s, enum op op)
{
    static const uint8_t size_of[8] = {1, 2, 4, 8, 1, 2, 4, 8};
    const struct row *r = &rows[op];
    int off = memory_offset(s, size_of[r->match >> 12 & 7]);
    unsigned base = any_pointer(s);
    if (chance(s, 15)) { /* an index from any register */
        emit(s, enc_i(OP_ANDI, s->tmp, any_rs(s), 0xf8));
        emit(s, enc_r(OP_ADD, s->tmp, s->tmp, base));
        base = s->tmp;
        off = (int)pick(s, 2) * (int)pick(s, 8);
        off -= (int)pick(s, 128);
    }
    switch (r->fmt) {
    case FMT_L:
        emit(s, enc_i(op, any_rd(s), base, off));
        break;
    case FMT_FL:
        emit(s, enc_i(op, any_rs(s), base, off));
        break;
    default:
        emit(s, enc_s(op, any_rs(s), base, off));
        break;
    }
}

static bool allowed(struct stream *s, enum op op)
{
    bool user = s->mode == MODE_U39 || s->mode == MODE_U48 || s->mode == MODE_U57;
    if (!(s->ext >> rows[op].need & 1)) {
        return false;
    }
    switch (op) {
    case OP_ILLEGAL:
    case OP_WFI:
        return false;
    case OP_MRET:
        return s->mode != MODE_M;
    case OP_SRET:
        return user;
    case OP_SFENCE_W_INVAL: /* QEMU lets them pass in U mode */
    case OP_SFENCE_INVAL_IR:
        return !user;
    case OP_SC_W: /* whether one that fails also faults is left open */
    case OP_SC_D:
        return !s->odd_page;
    default:
        return true;
    }
}

static void random_row(struct stream *s, enum op op)
{
    const struct row *r = &rows[op];
    unsigned rd = any_rd(s), rs1 = any_rs(s), rs2 = any_rs(s);
    uint32_t rm = random_rm(s) << 12;
    switch (r->fmt) {
    case FMT_R:
    case FMT_R2:
        emit(s, r->match | rd << 7 | rs1 << 15 | (r->fmt == FMT_R ? rs2 << 20 : 0));
        break;
    case FMT_I:
        emit(s, enc_i(op, rd, rs1, (int)(chance(s, 30) ? pick(s, 3) - 1 : pick(s, 4096))));
        break;
    case FMT_SH:
        emit(s, r->match | rd << 7 | rs1 << 15 | (pick(s, 64) << 20 & ~r->mask));
        break;
    case FMT_L:
    case FMT_FL:
    case FMT_S:
    case FMT_FS:
        random_memory(s, op);
        break;
    case FMT_B:
        fix_later(s, FIX_B, ahead(s, 12));
        emit(s, r->match | rs1 << 15 | (chance(s, 25) ? 0 : rs2 << 20));
        break;
    case FMT_U:
        emit(s, enc_u(op, rd, pick(s, 1 << 20)));
        break;
    case FMT_J:
        fix_later(s, FIX_J, ahead(s, 8));
        emit(s, r->match | rd << 7);
        break;
    case FMT_JR:
        fix_later(s, FIX_PCREL, ahead(s, 8));
        emit(s, enc_u(OP_AUIPC, s->tmp, 0));
        emit(s, enc_i(OP_JALR, chance(s, 30) ? s->tmp : rd, s->tmp, 0));
        break;
    case FMT_LR:
    case FMT_AMO:
        random_atomic(s, op);
        break;
    case FMT_CSR:
    case FMT_CSRI:
        random_csr(s, op);
        break;
    case FMT_FENCE:
        emit(s, r->match | pick(s, 256) << 20);
        break;
    case FMT_SFENCE:
        emit(s, r->match | rs1 << 15 | rs2 << 20);
        break;
    case FMT_CBO:
        emit(s, r->match | any_pointer(s) << 15);
        break;
    case FMT_F4:
        emit(s, r->match | any_rs(s) << 7 | rs1 << 15 | rs2 << 20 | any_rs(s) << 27 | rm);
        break;
    case FMT_F3:
        emit(s, r->match | any_rs(s) << 7 | rs1 << 15 | rs2 << 20 | rm);
        break;
    case FMT_F3N:
        emit(s, r->match | any_rs(s) << 7 | rs1 << 15 | rs2 << 20);
        break;
    case FMT_FCMP:
        emit(s, r->match | rd << 7 | rs1 << 15 | rs2 << 20);
        break;
    case FMT_F2:
    case FMT_XTOF:
        emit(s, r->match | any_rs(s) << 7 | rs1 << 15 | rm);
        break;
    case FMT_XTOFN:
        emit(s, r->match | any_rs(s) << 7 | rs1 << 15);
        break;
    case FMT_FTOX:
        emit(s, r->match | rd << 7 | rs1 << 15 | rm);
        break;
    case FMT_FTOXN:
        emit(s, r->match | rd << 7 | rs1 << 15);
        break;
    default:
        emit(s, r->match);
        break;
    }
}

/* ---- compressed ---- */

static bool is_store(unsigned op)
{
    return (op >= OP_SB && op <= OP_SD) || op == OP_FSD;
}

static bool is_load(unsigned op)
{
    return (op >= OP_LB && op <= OP_LWU) || op == OP_FLD;
}

static bool is_pointer(const struct stream *s, unsigned r)
{
    return r == s->ptr[0] || r == s->ptr[1] || r == s->ptr[2];
}

/* Any 16-bit pattern which is harmless; branches and jumps get a target ahead. */
static void random_compressed(struct stream *s)
{
    for (unsigned tries = 0; tries < 64; tries++) {
        uint16_t v = (uint16_t)rng_next(&s->rng);
        struct insn in = {0};
        if ((v & 3) == 3) {
            continue;
        }
        insn_decode_compressed(v, &in);
        bool writes_x = in.op != OP_FLD && !is_store(in.op);
        if ((is_load(in.op) || is_store(in.op)) && (!is_pointer(s, in.rs1) || in.imm > 248)) {
            continue;
        }
        if (in.op == OP_JALR || (writes_x && in.op != OP_ILLEGAL && (s->reserved >> in.rd & 1))) {
            continue;
        }
        bool jumps = in.op == OP_BEQ || in.op == OP_BNE || in.op == OP_JAL;
        if (jumps && !chance(s, 15)) {
            continue;
        }
        if (in.op == OP_BEQ || in.op == OP_BNE) {
            v &= 0xe383;
            fix_later(s, FIX_CB, ahead(s, 8));
        } else if (in.op == OP_JAL) {
            v &= 0xe003;
            fix_later(s, FIX_CJ, ahead(s, 8));
        } else if (in.op == OP_ILLEGAL && !chance(s, 5)) {
            continue;
        }
        emit_c(s, v);
        return;
    }
    emit_c(s, 1);
}

/* ---- groups with a purpose ---- */

static void group_pointer(struct stream *s)
{
    unsigned p = any_pointer(s);
    int d = (int)pick(s, 257) - 128;
    if (chance(s, 30)) {
        d = (int)pick(s, 17) - 8;
    }
    emit(s, enc_u(OP_LUI, p, 1 + pick(s, 3)));
    emit(s, enc_r(OP_ADD, p, p, s->base));
    emit(s, enc_i(OP_ADDI, p, p, chance(s, 60) ? d & ~7 : d));
}

static void group_constant(struct stream *s)
{
    int off = 8 * (int)pick(s, NUM_CONSTANTS);
    emit(s, enc_u(OP_LUI, s->tmp, CONSTANTS_AT / PAGE + 1));
    emit(s, enc_r(OP_ADD, s->tmp, s->tmp, s->base));
    off += CONSTANTS_AT % PAGE - PAGE;
    for (unsigned n = 1 + pick(s, 3); n; n--) {
        switch (pick(s, 4)) {
        case 0:
            emit(s, enc_i(OP_LD, any_rd(s), s->tmp, off));
            break;
        case 1:
            emit(s, enc_i(OP_FLW, any_rs(s), s->tmp, off));
            break;
        default:
            emit(s, enc_i(OP_FLD, any_rs(s), s->tmp, off));
            break;
        }
        off = 8 * (int)pick(s, NUM_CONSTANTS) + CONSTANTS_AT % PAGE - PAGE;
    }
}

static void group_rounding(struct stream *s)
{
    unsigned rm = chance(s, 99) ? pick(s, 5) : 5 + pick(s, 3);
    emit(s, rows[OP_CSRRWI].match | any_rd(s) << 7 | rm << 15 | 0x002u << 20);
}

/* Writes another instruction over one some way ahead and makes it visible. Its slot, a group of its own, comes with
 * this group's index + distance; until then the slot is a nop. */
static unsigned group_modify(struct stream *s, uint16_t *slot_insn_at)
{
    uint32_t insn = enc_r(OP_XOR, any_rd(s), any_rs(s), any_rs(s));
    switch (pick(s, 4)) {
    case 0:
        insn = enc_i(OP_ADDI, any_rd(s), any_rs(s), (int)pick(s, 4096));
        break;
    case 1:
        insn = enc_i(OP_LD, any_rd(s), any_pointer(s), 8);
        break;
    case 2:
        insn = rows[OP_EBREAK].match;
        break;
    default:
        break;
    }
    uint32_t hi = insn + 0x800;
    unsigned value = any_rd(s);
    emit(s, enc_u(OP_LUI, value, hi >> 12));
    emit(s, enc_i(OP_ADDIW, value, value, (int)insn));
    *slot_insn_at = (uint16_t)s->len; /* auipc tmp, hi; addi tmp, tmp, lo: set when the slot is known */
    emit(s, enc_u(OP_AUIPC, s->tmp, 0));
    emit(s, enc_i(OP_ADDI, s->tmp, s->tmp, 0));
    if (chance(s, 50)) {
        emit(s, enc_s(OP_SW, value, s->tmp, 0));
    } else { /* in two halves */
        emit(s, enc_s(OP_SH, value, s->tmp, 0));
        emit(s, rows[OP_SRLI].match | value << 7 | value << 15 | 16u << 20);
        emit(s, enc_s(OP_SH, value, s->tmp, 2));
    }
    emit(s, enc_i(OP_ADDI, s->tmp, 0, 0));
    emit(s, rows[OP_FENCE_I].match);
    return 1 + pick(s, 6);
}

/* An access that faults: to nowhere, or through any register where paging makes that harmless. */
static void group_wild(struct stream *s)
{
    static const uint16_t loads[] = {OP_LB, OP_LH, OP_LW, OP_LD, OP_LBU, OP_LHU, OP_LWU};
    static const uint16_t stores[] = {OP_SB, OP_SH, OP_SW, OP_SD};
    unsigned kind = pick(s, 4);
    if (kind == 0 && s->mode != MODE_M) {
        emit(s, enc_i(loads[pick(s, 7)], any_rd(s), any_rs(s), (int)pick(s, 4096)));
        return;
    }
    if (s->mode == MODE_M) {
        emit(s, enc_u(OP_LUI, s->tmp, 0x18)); /* no device there */
    } else if (kind == 1) {
        emit(s, enc_u(OP_LUI, s->tmp, 0x80));
        emit(s, enc_r(OP_ADD, s->tmp, s->tmp, s->base));
    } else { /* the window's upper end, half in and half out */
        emit(s, enc_u(OP_LUI, s->tmp, WINDOW_PAGES));
        emit(s, enc_r(OP_ADD, s->tmp, s->tmp, s->base));
        emit(s, enc_i(OP_ADDI, s->tmp, s->tmp, -4));
    }
    switch (pick(s, 4)) {
    case 0:
        emit(s, enc_i(OP_FLD, any_rs(s), s->tmp, (int)pick(s, 4)));
        break;
    case 1:
        emit(s, enc_s(stores[pick(s, 4)], any_rs(s), s->tmp, (int)pick(s, 8)));
        break;
    default:
        emit(s, enc_i(loads[pick(s, 7)], any_rd(s), s->tmp, (int)pick(s, 8)));
        break;
    }
}

/* FS = Off: the next FP instruction traps, and the handler turns it on again. */
static void group_fp_off(struct stream *s)
{
    unsigned csr = s->mode == MODE_M ? 0x300 : 0x100;
    emit(s, enc_u(OP_LUI, s->tmp, 6)); /* 3 << 13 */
    emit(s, rows[OP_CSRRC].match | s->tmp << 15 | csr << 20);
}

static void group_interrupt(struct stream *s)
{
    emit(s, rows[OP_CSRRSI].match | 2u << 15 | 0x344u << 20); /* mip.SSIP */
}

/* As compiled code has them: several accesses off one pointer, with computation between. */
static void group_frame(struct stream *s)
{
    static const uint16_t loads[] = {OP_LB, OP_LH, OP_LW, OP_LD, OP_LBU, OP_LHU, OP_LWU};
    static const uint16_t stores[] = {OP_SB, OP_SH, OP_SW, OP_SD};
    static const uint16_t between[] = {OP_ADD, OP_SUB, OP_XOR, OP_ADDW, OP_SLLW, OP_SLTU, OP_MUL, OP_MULW};
    unsigned p = any_pointer(s), span = chance(s, 70) ? 64 : 600, kind = pick(s, 3);
    for (unsigned n = 2 + pick(s, 7); n; n--) {
        int off = (int)pick(s, span) - (int)(span / 2);
        if (chance(s, 80)) {
            off &= ~7;
        }
        if (kind == 0 || (kind == 2 && chance(s, 50))) {
            emit(s, chance(s, 85) ? enc_i(loads[pick(s, 7)], any_rd(s), p, off) : enc_i(OP_FLD, any_rs(s), p, off));
        } else {
            emit(s, chance(s, 85) ? enc_s(stores[pick(s, 4)], any_rs(s), p, off) : enc_s(OP_FSD, any_rs(s), p, off));
        }
        for (unsigned k = pick(s, 3); k; k--) {
            emit(s, enc_r((enum op)between[pick(s, 8)], any_rd(s), any_rs(s), any_rs(s)));
        }
    }
}

/* Two shifts that extend a part of a register, as compiled code has them. */
static void group_extend(struct stream *s)
{
    static const uint8_t parts[] = {8, 16, 32};
    static const uint16_t right[2][2] = {{OP_SRLI, OP_SRAI}, {OP_SRLIW, OP_SRAIW}};
    bool word = chance(s, 50);
    unsigned part = parts[pick(s, word ? 2 : 3)], up = (word ? 32 : 64) - part, first = any_rd(s);
    unsigned second = chance(s, 70) ? first : any_rd(s);
    emit(s, enc_i(word ? OP_SLLIW : OP_SLLI, first, any_rs(s), (int)up));
    emit(s, enc_i(right[word][pick(s, 2)], second, first, (int)(chance(s, 60) ? up : pick(s, word ? 32 : 64))));
}

static void group_random(struct stream *s)
{
    unsigned k = pick(s, 100);
    bool user = s->mode == MODE_U39 || s->mode == MODE_U48 || s->mode == MODE_U57;
    if (k < 30) {
        random_compressed(s);
    } else if (k < 38) {
        group_pointer(s);
    } else if (k < 46) {
        group_constant(s);
    } else if (k < 48) {
        group_rounding(s);
    } else if (k < 49) {
        if (chance(s, 30)) {
            group_wild(s);
        } else if (!user && chance(s, 50)) {
            group_fp_off(s);
        } else if (s->mode == MODE_M) {
            group_interrupt(s);
        } else {
            group_constant(s);
        }
    } else if (k < 52) {
        group_frame(s);
    } else if (k < 54) {
        group_extend(s);
    } else {
        enum op op = (enum op)(1 + pick(s, OP_COUNT - 1));
        bool rare = rows[op].fmt == FMT_NONE || rows[op].fmt == FMT_SFENCE || rows[op].fmt == FMT_CBO;
        if (!allowed(s, op) || (rare && !chance(s, 20))) {
            op = OP_ADD;
        }
        random_row(s, op);
    }
}

/* ---- the stream ---- */

static bool dropped(const struct stream *s, unsigned group)
{
    for (const char *p = s->drop; p && *p && *p != ' ';) {
        uint64_t from = parse_number(&p), to = from;
        if (*p == '-') {
            p++;
            to = parse_number(&p);
        }
        if (group >= from && group <= to) {
            return true;
        }
        if (*p != ',') {
            break;
        }
        p++;
    }
    return false;
}

struct part {
    unsigned loop_head[2], loop_end[2]; /* groups; 0 = no loop open */
    unsigned slot_group;                /* 0 = no slot is due */
    uint16_t slot_ref;
};

static void patch32(struct stream *s, unsigned at, uint32_t v)
{
    s->code[at / 2] = (uint16_t)v;
    s->code[at / 2 + 1] = (uint16_t)(v >> 16);
}

static uint32_t get32(const struct stream *s, unsigned at)
{
    return s->code[at / 2] | (uint32_t)s->code[at / 2 + 1] << 16;
}

/* Points the auipc/addi pair at `at` to `delta` bytes from the auipc. */
static void set_pcrel(struct stream *s, unsigned at, int64_t delta)
{
    uint32_t hi = (uint32_t)((delta + 0x800) >> 12);
    patch32(s, at, (get32(s, at) & 0xfff) | hi << 12);
    patch32(s, at + 4, (get32(s, at + 4) & 0xfffff) | (uint32_t)delta << 20);
}

/* The place that an earlier group_modify writes to. */
static void fill_slot(struct stream *s, struct part *p)
{
    if (p->slot_ref != NO_SLOT) {
        set_pcrel(s, p->slot_ref, (int64_t)(s->alias_va - s->code_va) + (int)s->len - p->slot_ref);
    }
    emit(s, enc_i(OP_ADDI, 0, 0, 0));
    p->slot_group = 0;
}

static void loop_open(struct stream *s, struct part *p, unsigned n)
{
    unsigned times = 2 + pick(s, n ? 12 : 24);
    if (n == 0 && chance(s, 3)) {
        times = 300 + pick(s, 1700); /* long enough for whatever an engine does for hot code */
    }
    emit(s, enc_i(OP_ADDI, s->count[n], 0, (int)times));
    p->loop_head[n] = s->num_groups + 1;
    p->loop_end[n] = s->num_groups + 4 + pick(s, n ? 8 : 24);
}

static void loop_close(struct stream *s, struct part *p, unsigned n)
{
    emit(s, enc_i(OP_ADDI, s->count[n], s->count[n], -1));
    fix_later(s, FIX_B, p->loop_head[n]);
    emit(s, enc_r(OP_BLT, 0, 0, s->count[n]));
    p->loop_head[n] = 0;
}

static void make_group(struct stream *s, struct part *p, unsigned num_subs)
{
    for (unsigned n = 0; n < 2; n++) {
        if (p->loop_head[n] && s->num_groups >= p->loop_end[n]) {
            loop_close(s, p, n);
            return;
        }
    }
    if (p->slot_group && s->num_groups >= p->slot_group) {
        fill_slot(s, p);
        return;
    }
    unsigned k = pick(s, 100);
    if (k < 5 && !p->loop_head[0] && !p->loop_head[1]) {
        loop_open(s, p, 0);
    } else if (k < 9 && p->loop_head[0] && !p->loop_head[1]) {
        loop_open(s, p, 1);
    } else if (k < 11 && num_subs) {
        fix_later(s, FIX_J, SUB_MARK + pick(s, num_subs));
        emit(s, enc_r(OP_JAL, s->link, 0, 0));
    } else if (k < 12 && !p->slot_group && !p->loop_head[0]) {
        unsigned distance = group_modify(s, &p->slot_ref);
        p->slot_group = s->num_groups + distance;
    } else {
        group_random(s);
    }
}

/* Makes one group, or goes through the motions and leaves it out. */
static void add_group(struct stream *s, struct part *p, unsigned num_subs)
{
    unsigned len = s->len, fixups = s->num_fixups, insns = s->insns;
    s->group_at[s->num_groups] = (uint16_t)s->len;
    make_group(s, p, num_subs);
    if (s->drop && dropped(s, s->num_groups)) {
        s->len = len;
        s->num_fixups = fixups;
        s->insns = insns;
        if (p->slot_group > s->num_groups && p->slot_ref >= len) {
            p->slot_ref = NO_SLOT; /* who would have filled it was left out */
        }
    }
    s->num_groups++;
}

static void resolve(struct stream *s, unsigned from, unsigned part_begin, unsigned part_end, unsigned first_sub)
{
    for (unsigned i = from; i < s->num_fixups; i++) {
        unsigned at = s->fixup[i].at, g = s->fixup[i].group;
        bool call = g >= first_sub && s->fixup[i].kind == FIX_J && (get32(s, at) >> 7 & 31) == s->link;
        if (!call && (g > part_end || g < part_begin)) {
            g = part_end;
        }
        int d = (int)s->group_at[g] - (int)at;
        switch (s->fixup[i].kind) {
        case FIX_B:
            patch32(s, at, get32(s, at) | bits_b(d));
            break;
        case FIX_J:
            patch32(s, at, get32(s, at) | bits_j(d));
            break;
        case FIX_CB:
            s->code[at / 2] = (uint16_t)(d < 256 ? s->code[at / 2] | bits_cb(d) : 1);
            break;
        case FIX_CJ:
            s->code[at / 2] = (uint16_t)(d < 2048 ? s->code[at / 2] | bits_cj(d) : 1);
            break;
        default:
            set_pcrel(s, at, d);
            break;
        }
    }
}

static void choose_registers(struct stream *s)
{
    uint8_t *const role[] = {&s->base,     &s->ptr[0],   &s->ptr[1], &s->ptr[2],
                             &s->count[0], &s->count[1], &s->link,   &s->tmp};
    s->reserved = 0;
    for (unsigned i = 0; i < 8; i++) {
        unsigned r;
        do {
            /* Pointers where compressed loads and stores can use them. */
            r = i == 1 && chance(s, 80) ? 8 + pick(s, 8) : i == 2 && chance(s, 60) ? 2 : 1 + pick(s, 31);
        } while (s->reserved >> r & 1);
        *role[i] = (uint8_t)r;
        s->reserved |= 1u << r;
    }
}

unsigned stream_generate(struct stream *s, unsigned groups)
{
    unsigned num_subs = pick(s, 4);
    s->len = s->num_groups = s->num_fixups = s->insns = 0;
    choose_registers(s);
    struct part p = {{0}, {0}, 0, 0};
    while (s->num_groups < groups) {
        add_group(s, &p, num_subs);
    }
    /* Close what is open, then end. First all loops, then a slot that is due. */
    for (unsigned n = 2; n--;) {
        s->group_at[s->num_groups] = (uint16_t)s->len;
        if (p.loop_head[n]) {
            loop_close(s, &p, n);
        }
        s->num_groups++;
    }
    s->group_at[s->num_groups++] = (uint16_t)s->len;
    if (p.slot_group) {
        fill_slot(s, &p);
    }
    unsigned end = s->len, end_group = s->num_groups;
    s->group_at[s->num_groups++] = (uint16_t)s->len;
    emit(s, rows[OP_ECALL].match);
    unsigned main_fixups = s->num_fixups, sub_at[4];
    for (unsigned n = 0; n < num_subs; n++) {
        unsigned fixups = s->num_fixups, begin = s->num_groups;
        sub_at[n] = begin;
        p = (struct part){{0}, {0}, 0, 0};
        for (unsigned g = 0; g < SUB_GROUPS; g++) {
            s->group_at[s->num_groups] = (uint16_t)s->len;
            unsigned len = s->len, f = s->num_fixups;
            group_random(s);
            if (s->drop && dropped(s, s->num_groups)) {
                s->len = len;
                s->num_fixups = f;
            }
            s->num_groups++;
        }
        s->group_at[s->num_groups++] = (uint16_t)s->len;
        emit(s, enc_i(OP_JALR, 0, s->link, 0));
        resolve(s, fixups, begin, s->num_groups - 1, ~0u);
    }
    for (unsigned i = 0; i < main_fixups; i++) {
        if (s->fixup[i].group >= SUB_MARK) {
            s->fixup[i].group = (uint16_t)sub_at[s->fixup[i].group - SUB_MARK];
        }
    }
    unsigned all = s->num_fixups;
    s->num_fixups = main_fixups;
    resolve(s, 0, 0, end_group, end_group + 1);
    s->num_fixups = all;
    return end;
}
