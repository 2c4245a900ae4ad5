/*
 * x86-64 encoder: appends instructions at `p` (the writable alias of the code cache). Needs AVX, FMA, BMI1, BMI2.
 * Register numbers are the hardware's. Names follow the Intel SDM, operands destination first.
 */
#ifndef WEFT_TCG_X64_H
#define WEFT_TCG_X64_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum x64_reg { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15, X64_NOREG = -1 };

/* Condition codes of jcc, setcc and cmovcc. */
enum x64_cc { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

/* Second byte of the eight arithmetic groups: opcode /n and base opcode n * 8. */
enum x64_alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };
enum x64_shift { SH_ROL = 0, SH_ROR = 1, SH_SHL = 4, SH_SHR = 5, SH_SAR = 7 };

struct x64 {
    uint8_t *p;
};

static inline void x64_b(struct x64 *e, unsigned v)
{
    *e->p++ = (uint8_t)v;
}

static inline void x64_d(struct x64 *e, uint32_t v)
{
    memcpy(e->p, &v, 4);
    e->p += 4;
}

static inline void x64_q(struct x64 *e, uint64_t v)
{
    memcpy(e->p, &v, 8);
    e->p += 8;
}

/* A memory operand [base + (index << scale) + disp]; index X64_NOREG = none. */
struct x64_mem {
    int base, index;
    int32_t disp;
    unsigned scale; /* 0..3 */
};

static inline struct x64_mem x64_at(int base, int32_t disp)
{
    return (struct x64_mem){base, X64_NOREG, disp, 0};
}

static inline struct x64_mem x64_idx(int base, int index, int32_t disp)
{
    return (struct x64_mem){base, index, disp, 0};
}

static inline struct x64_mem x64_idx8(int base, int index, int32_t disp)
{
    return (struct x64_mem){base, index, disp, 3};
}

static inline void x64_modrm_mem(struct x64 *e, int reg, struct x64_mem m)
{
    unsigned r = (unsigned)(reg & 7) << 3, base = (unsigned)m.base & 7;
    unsigned mod = m.disp == 0 && base != RBP ? 0 : m.disp >= -128 && m.disp <= 127 ? 1 : 2;
    if (m.index != X64_NOREG) {
        x64_b(e, mod << 6 | r | 4);
        x64_b(e, m.scale << 6 | ((unsigned)m.index & 7) << 3 | base);
    } else if (base == RSP) {
        x64_b(e, mod << 6 | r | 4);
        x64_b(e, 0x24);
    } else {
        x64_b(e, mod << 6 | r | base);
    }
    if (mod == 1) {
        x64_b(e, (uint8_t)m.disp);
    } else if (mod == 2) {
        x64_d(e, (uint32_t)m.disp);
    }
}

/* op may carry a 0x0F escape (0x0Fxx) and `pre` a mandatory prefix (0x66, 0xF2, 0xF3) or 0. */
static inline void x64_opcode(struct x64 *e, unsigned op)
{
    if (op > 0xff) {
        x64_b(e, op >> 8);
    }
    x64_b(e, op & 0xff);
}

static inline void x64_rr_p(struct x64 *e, unsigned pre, bool w, unsigned op, int reg, int rm, bool byte_reg)
{
    unsigned rex = (unsigned)w << 3 | (unsigned)(reg >> 3 & 1) << 2 | (unsigned)(rm >> 3 & 1);
    if (pre) {
        x64_b(e, pre);
    }
    if (rex || (byte_reg && (reg >= 4 || rm >= 4))) {
        x64_b(e, 0x40 | rex);
    }
    x64_opcode(e, op);
    x64_b(e, 0xc0 | (unsigned)(reg & 7) << 3 | (unsigned)(rm & 7));
}

static inline void x64_rr(struct x64 *e, bool w, unsigned op, int reg, int rm)
{
    x64_rr_p(e, 0, w, op, reg, rm, false);
}

static inline void x64_rm_p(struct x64 *e, unsigned pre, bool w, unsigned op, int reg, struct x64_mem m, bool byte_reg)
{
    unsigned rex = (unsigned)w << 3 | (unsigned)(reg >> 3 & 1) << 2 | (unsigned)(m.base >> 3 & 1);
    if (m.index != X64_NOREG) {
        rex |= (unsigned)(m.index >> 3 & 1) << 1;
    }
    if (pre) {
        x64_b(e, pre);
    }
    if (rex || (byte_reg && reg >= 4)) {
        x64_b(e, 0x40 | rex);
    }
    x64_opcode(e, op);
    x64_modrm_mem(e, reg, m);
}

static inline void x64_rm(struct x64 *e, bool w, unsigned op, int reg, struct x64_mem m)
{
    x64_rm_p(e, 0, w, op, reg, m, false);
}

/* ---- moves ---- */

static inline void x64_mov(struct x64 *e, int dst, int src)
{
    if (dst != src) {
        x64_rr(e, true, 0x8b, dst, src);
    }
}

static inline void x64_mov32(struct x64 *e, int dst, int src)
{
    x64_rr(e, false, 0x8b, dst, src);
}

static inline void x64_load(struct x64 *e, int dst, struct x64_mem m)
{
    x64_rm(e, true, 0x8b, dst, m);
}

static inline void x64_load32(struct x64 *e, int dst, struct x64_mem m)
{
    x64_rm(e, false, 0x8b, dst, m);
}

static inline void x64_store(struct x64 *e, struct x64_mem m, int src)
{
    x64_rm(e, true, 0x89, src, m);
}

static inline void x64_store32(struct x64 *e, struct x64_mem m, int src)
{
    x64_rm(e, false, 0x89, src, m);
}

static inline void x64_imm(struct x64 *e, int dst, int64_t v)
{
    if (v == 0) {
        x64_rr(e, false, 0x31, dst, dst);
    } else if (v > 0 && v <= UINT32_MAX) {
        if (dst >= 8) {
            x64_b(e, 0x41);
        }
        x64_b(e, 0xb8 | (unsigned)(dst & 7));
        x64_d(e, (uint32_t)v);
    } else if (v >= INT32_MIN && v <= INT32_MAX) {
        x64_rr(e, true, 0xc7, 0, dst);
        x64_d(e, (uint32_t)v);
    } else {
        x64_b(e, 0x48 | (unsigned)(dst >> 3));
        x64_b(e, 0xb8 | (unsigned)(dst & 7));
        x64_q(e, (uint64_t)v);
    }
}

/* mov dst, imm that must not touch the flags. */
static inline void x64_imm_keep_flags(struct x64 *e, int dst, uint32_t v)
{
    if (dst >= 8) {
        x64_b(e, 0x41);
    }
    x64_b(e, 0xb8 | (unsigned)(dst & 7));
    x64_d(e, v);
}

static inline void x64_store_imm(struct x64 *e, struct x64_mem m, int32_t v)
{
    x64_rm(e, true, 0xc7, 0, m);
    x64_d(e, (uint32_t)v);
}

static inline void x64_lea(struct x64 *e, int dst, struct x64_mem m)
{
    x64_rm(e, true, 0x8d, dst, m);
}

static inline void x64_movsxd(struct x64 *e, int dst, int src)
{
    x64_rr(e, true, 0x63, dst, src);
}

static inline void x64_movzx8(struct x64 *e, int dst, int src)
{
    x64_rr_p(e, 0, false, 0x0fb6, dst, src, src >= 4);
}

/* ---- arithmetic ---- */

static inline void x64_alu(struct x64 *e, bool w, enum x64_alu op, int dst, int src)
{
    x64_rr(e, w, (unsigned)op * 8 + 3, dst, src);
}

static inline void x64_alu_rm(struct x64 *e, bool w, enum x64_alu op, int dst, struct x64_mem m)
{
    x64_rm(e, w, (unsigned)op * 8 + 3, dst, m);
}

static inline void x64_alu_mr(struct x64 *e, bool w, enum x64_alu op, struct x64_mem m, int src)
{
    x64_rm(e, w, (unsigned)op * 8 + 1, src, m);
}

static inline void x64_alu_imm(struct x64 *e, bool w, enum x64_alu op, int dst, int32_t v)
{
    if (v >= -128 && v <= 127) {
        x64_rr(e, w, 0x83, (int)op, dst);
        x64_b(e, (uint8_t)v);
    } else {
        x64_rr(e, w, 0x81, (int)op, dst);
        x64_d(e, (uint32_t)v);
    }
}

static inline void x64_alu_mem_imm(struct x64 *e, bool w, enum x64_alu op, struct x64_mem m, int32_t v)
{
    if (v >= -128 && v <= 127) {
        x64_rm(e, w, 0x83, (int)op, m);
        x64_b(e, (uint8_t)v);
    } else {
        x64_rm(e, w, 0x81, (int)op, m);
        x64_d(e, (uint32_t)v);
    }
}

static inline void x64_test(struct x64 *e, bool w, int a, int b)
{
    x64_rr(e, w, 0x85, b, a);
}

static inline void x64_test_imm8(struct x64 *e, int reg, unsigned v)
{
    x64_rr_p(e, 0, false, 0xf6, 0, reg, reg >= 4);
    x64_b(e, v);
}

static inline void x64_shift_imm(struct x64 *e, bool w, enum x64_shift op, int dst, unsigned n)
{
    x64_rr(e, w, 0xc1, (int)op, dst);
    x64_b(e, n);
}

static inline void x64_shift_cl(struct x64 *e, bool w, enum x64_shift op, int dst)
{
    x64_rr(e, w, 0xd3, (int)op, dst);
}

static inline void x64_unary(struct x64 *e, bool w, unsigned n,
                             int reg) /* 2 not, 3 neg, 4 mul, 5 imul, 6 div, 7 idiv */
{
    x64_rr(e, w, 0xf7, (int)n, reg);
}

static inline void x64_imul(struct x64 *e, bool w, int dst, int src)
{
    x64_rr(e, w, 0x0faf, dst, src);
}

static inline void x64_setcc(struct x64 *e, enum x64_cc cc, int dst)
{
    x64_rr_p(e, 0, false, 0x0f90 | (unsigned)cc, 0, dst, dst >= 4);
}

static inline void x64_cmov(struct x64 *e, enum x64_cc cc, int dst, int src)
{
    x64_rr(e, true, 0x0f40 | (unsigned)cc, dst, src);
}

/* ---- control ---- */

static inline void x64_rel32(struct x64 *e, const uint8_t *target)
{
    int64_t d = target - (e->p + 4);
    x64_d(e, (uint32_t)(int32_t)d);
}

/* Patches the 4-byte displacement at `at` to reach target (both in the same alias). */
static inline void x64_patch(uint8_t *at, const uint8_t *target)
{
    int32_t d = (int32_t)(target - (at + 4));
    memcpy(at, &d, 4);
}

/* jcc and jmp with a displacement to be patched; return where it lies. */
static inline uint8_t *x64_jcc(struct x64 *e, enum x64_cc cc)
{
    x64_b(e, 0x0f);
    x64_b(e, 0x80 | (unsigned)cc);
    x64_d(e, 0);
    return e->p - 4;
}

static inline uint8_t *x64_jmp(struct x64 *e)
{
    x64_b(e, 0xe9);
    x64_d(e, 0);
    return e->p - 4;
}

static inline void x64_jmp_to(struct x64 *e, const uint8_t *target)
{
    x64_b(e, 0xe9);
    x64_rel32(e, target);
}

static inline void x64_call_to(struct x64 *e, const uint8_t *target)
{
    x64_b(e, 0xe8);
    x64_rel32(e, target);
}

static inline uint8_t *x64_jcc8(struct x64 *e, enum x64_cc cc)
{
    x64_b(e, 0x70 | (unsigned)cc);
    x64_b(e, 0);
    return e->p - 1;
}

static inline uint8_t *x64_jmp8(struct x64 *e)
{
    x64_b(e, 0xeb);
    x64_b(e, 0);
    return e->p - 1;
}

static inline void x64_here8(struct x64 *e, uint8_t *at)
{
    int64_t d = e->p - (at + 1);
    assert(d >= -128 && d <= 127);
    *at = (uint8_t)d;
}

static inline void x64_push(struct x64 *e, int r)
{
    if (r >= 8) {
        x64_b(e, 0x41);
    }
    x64_b(e, 0x50 | (unsigned)(r & 7));
}

static inline void x64_pop(struct x64 *e, int r)
{
    if (r >= 8) {
        x64_b(e, 0x41);
    }
    x64_b(e, 0x58 | (unsigned)(r & 7));
}

static inline void x64_ret(struct x64 *e)
{
    x64_b(e, 0xc3);
}

/* ---- VEX: pp 0 none, 1 66, 2 F3, 3 F2; map 1 0F, 2 0F38, 3 0F3A ---- */

static inline void x64_vex(struct x64 *e, unsigned pp, unsigned map, bool w, unsigned op, int reg, int vvvv, int rm)
{
    if (map == 1 && !w && rm < 8) {
        x64_b(e, 0xc5);
        x64_b(e, (reg >= 8 ? 0u : 0x80u) | (~(unsigned)vvvv & 15) << 3 | pp);
    } else {
        x64_b(e, 0xc4);
        x64_b(e, (reg >= 8 ? 0u : 0x80u) | 0x40 | (rm >= 8 ? 0u : 0x20u) | map);
        x64_b(e, (unsigned)w << 7 | (~(unsigned)vvvv & 15) << 3 | pp);
    }
    x64_b(e, op);
    x64_b(e, 0xc0 | (unsigned)(reg & 7) << 3 | (unsigned)(rm & 7));
}

static inline void x64_vex_m(struct x64 *e, unsigned pp, unsigned map, bool w, unsigned op, int reg, int vvvv,
                             struct x64_mem m)
{
    bool x = m.index != X64_NOREG && m.index >= 8;
    x64_b(e, 0xc4);
    x64_b(e, (reg >= 8 ? 0u : 0x80u) | (x ? 0u : 0x40u) | (m.base >= 8 ? 0u : 0x20u) | map);
    x64_b(e, (unsigned)w << 7 | (~(unsigned)vvvv & 15) << 3 | pp);
    x64_b(e, op);
    x64_modrm_mem(e, reg, m);
}

static inline void x64_rorx(struct x64 *e, bool w, int dst, int src, unsigned n)
{
    x64_vex(e, 3, 3, w, 0xf0, dst, 0, src);
    x64_b(e, n);
}

/* shlx (pp 1), sarx (pp 2), shrx (pp 3): dst = src shifted by count. */
static inline void x64_shiftx(struct x64 *e, unsigned pp, bool w, int dst, int src, int count)
{
    x64_vex(e, pp, 2, w, 0xf7, dst, count, src);
}

/* dst = the bits of src that `control` names: bits 7:0 the first, 15:8 how many; the rest of it does not matter. */
static inline void x64_bextr(struct x64 *e, int dst, int src, int control)
{
    x64_vex(e, 0, 2, false, 0xf7, dst, control, src);
}

/* dst = ~a & b. */
static inline void x64_andn(struct x64 *e, bool w, int dst, int a, int b)
{
    x64_vex(e, 0, 2, w, 0xf2, dst, a, b);
}

#endif
