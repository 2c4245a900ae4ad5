/*
 * T0: dispatch over the handlers, and the integer instructions.
 */
#include "tcg/exec_insn.h"

#include <stdatomic.h>

static enum interp_result exec_illegal(struct cpu *cpu, const struct insn *in)
{
    return take_illegal(cpu, in);
}

static insn_handler *const handler[OP_COUNT] = {
    [OP_ILLEGAL] = exec_illegal,
#define INSN(name, text, mask, match, fmt, ext) [OP_##name] = exec_##name,
#include "tcg/insn.def"
#undef INSN
};

enum interp_result interp_exec(struct cpu *cpu, const struct insn *in)
{
    enum interp_result result = handler[in->op](cpu, in);
    if (result != INTERP_JUMP) {
        cpu->pc += in->len;
    }
    return result;
}

/* What this thread decoded lately, found by the encoding itself: it does not depend on where the instruction stands,
 * so nothing ever makes an entry stale. len is 0 in an empty one. */
enum { DECODED_BITS = 9 };
struct decoded {
    uint64_t isa_ext;
    struct insn insn;
};
static _Thread_local struct decoded decoded[1 << DECODED_BITS];

static const struct insn *decode_cached(uint32_t raw, uint64_t isa_ext)
{
    if (insn_length(raw) == 2) {
        raw &= 0xffff;
    }
    struct decoded *d = &decoded[raw * 0x9e3779b1u >> (32 - DECODED_BITS)];
    if (__builtin_expect(d->insn.raw != raw || d->isa_ext != isa_ext || !d->insn.len, 0)) {
        insn_decode(raw, isa_ext, &d->insn);
        d->isa_ext = isa_ext;
    }
    return &d->insn;
}

enum interp_result interp_step(struct cpu *cpu)
{
    enum interp_result result;
    uint32_t raw;
    if (tlb_fetch(cpu, cpu->pc, &raw)) {
        result = interp_exec(cpu, decode_cached(raw, cpu->isa_ext));
    } else {
        result = take_fault(cpu);
    }
    cpu->budget--;
    cpu->stats.interp_insns++;
    return result;
}

/* ---- register-register and register-immediate: a = rs1, b = rs2, i = immediate ---- */

#define ALU(name, expr)                                                                                                \
    HANDLER(name)                                                                                                      \
    {                                                                                                                  \
        const uint64_t a = cpu->x[in->rs1], b = cpu->x[in->rs2], i = (uint64_t)(int64_t)in->imm;                       \
        (void)a, (void)b, (void)i;                                                                                     \
        return set_x(cpu, in, (expr));                                                                                 \
    }

static uint64_t sra(uint64_t v, unsigned n)
{
    return (uint64_t)((int64_t)v >> n);
}

static uint64_t sraw(uint64_t v, unsigned n)
{
    return (uint64_t)(int64_t)((int32_t)(uint32_t)v >> n);
}

static uint64_t rotate_right(uint64_t v, unsigned n)
{
    return v >> (n & 63) | v << (-n & 63);
}

static uint64_t rotate_right_w(uint64_t v, unsigned n)
{
    uint32_t w = (uint32_t)v;
    return sext32(w >> (n & 31) | w << (-n & 31));
}

ALU(LUI, i)
ALU(AUIPC, cpu->pc + i)
ALU(ADDI, a + i)
ALU(SLTI, (int64_t)a < (int64_t)i)
ALU(SLTIU, a < i)
ALU(XORI, a ^ i)
ALU(ORI, a | i)
ALU(ANDI, a &i)
ALU(SLLI, a << i)
ALU(SRLI, a >> i)
ALU(SRAI, sra(a, (unsigned)i))
ALU(ADD, a + b)
ALU(SUB, a - b)
ALU(SLL, a << (b & 63))
ALU(SLT, (int64_t)a < (int64_t)b)
ALU(SLTU, a < b)
ALU(XOR, a ^ b)
ALU(SRL, a >> (b & 63))
ALU(SRA, sra(a, b & 63))
ALU(OR, a | b)
ALU(AND, a &b)
ALU(ADDIW, sext32(a + i))
ALU(SLLIW, sext32(a << i))
ALU(SRLIW, sext32((uint32_t)a >> i))
ALU(SRAIW, sraw(a, (unsigned)i))
ALU(ADDW, sext32(a + b))
ALU(SUBW, sext32(a - b))
ALU(SLLW, sext32(a << (b & 31)))
ALU(SRLW, sext32((uint32_t)a >> (b & 31)))
ALU(SRAW, sraw(a, b & 31))

/* M. Division never traps: by zero gives all ones and the dividend; the overflowing quotient wraps. */

static uint64_t div_signed(int64_t a, int64_t b)
{
    if (b == 0) {
        return ~0ull;
    }
    return b == -1 ? 0 - (uint64_t)a : (uint64_t)(a / b);
}

static uint64_t rem_signed(int64_t a, int64_t b)
{
    if (b == 0) {
        return (uint64_t)a;
    }
    return b == -1 ? 0 : (uint64_t)(a % b);
}

static uint64_t mulh(uint64_t a, uint64_t b)
{
    return (uint64_t)(((__int128)(int64_t)a * (int64_t)b) >> 64);
}

static uint64_t mulhu(uint64_t a, uint64_t b)
{
    return (uint64_t)(((unsigned __int128)a * b) >> 64);
}

ALU(MUL, a *b)
ALU(MULH, mulh(a, b))
ALU(MULHSU, mulhu(a, b) - ((int64_t)a < 0 ? b : 0))
ALU(MULHU, mulhu(a, b))
ALU(DIV, div_signed((int64_t)a, (int64_t)b))
ALU(DIVU, b ? a / b : ~0ull)
ALU(REM, rem_signed((int64_t)a, (int64_t)b))
ALU(REMU, b ? a % b : a)
ALU(MULW, sext32(a *b))
ALU(DIVW, sext32(div_signed((int32_t)(uint32_t)a, (int32_t)(uint32_t)b)))
ALU(DIVUW, (uint32_t)b ? sext32((uint32_t)a / (uint32_t)b) : ~0ull)
ALU(REMW, sext32(rem_signed((int32_t)(uint32_t)a, (int32_t)(uint32_t)b)))
ALU(REMUW, (uint32_t)b ? sext32((uint32_t)a % (uint32_t)b) : sext32(a))

/* Zba, Zbb, Zbs, Zicond */

static uint64_t orc_b(uint64_t v)
{
    /* The high bit of each byte that is not zero, then spread over the byte. */
    uint64_t low7 = 0x7f7f7f7f7f7f7f7full, high = ((v & low7) + low7) | v;
    high = (high & ~low7) >> 7;
    return high * 0xff;
}

ALU(ADD_UW, (uint32_t)a + b)
ALU(SLLI_UW, (uint64_t)(uint32_t)a << i)
ALU(SH1ADD, (a << 1) + b)
ALU(SH2ADD, (a << 2) + b)
ALU(SH3ADD, (a << 3) + b)
ALU(SH1ADD_UW, ((uint64_t)(uint32_t)a << 1) + b)
ALU(SH2ADD_UW, ((uint64_t)(uint32_t)a << 2) + b)
ALU(SH3ADD_UW, ((uint64_t)(uint32_t)a << 3) + b)
ALU(ANDN, a & ~b)
ALU(ORN, a | ~b)
ALU(XNOR, ~(a ^ b))
ALU(MIN, (int64_t)a < (int64_t)b ? a : b)
ALU(MINU, a < b ? a : b)
ALU(MAX, (int64_t)a > (int64_t)b ? a : b)
ALU(MAXU, a > b ? a : b)
ALU(ROL, rotate_right(a, -(unsigned)b))
ALU(ROR, rotate_right(a, (unsigned)b))
ALU(RORI, rotate_right(a, (unsigned)i))
ALU(ROLW, rotate_right_w(a, -(unsigned)b))
ALU(RORW, rotate_right_w(a, (unsigned)b))
ALU(RORIW, rotate_right_w(a, (unsigned)i))
ALU(CLZ, a ? (uint64_t)__builtin_clzll(a) : 64)
ALU(CTZ, a ? (uint64_t)__builtin_ctzll(a) : 64)
ALU(CPOP, (uint64_t)__builtin_popcountll(a))
ALU(CLZW, (uint32_t)a ? (uint64_t)__builtin_clz((uint32_t)a) : 32)
ALU(CTZW, (uint32_t)a ? (uint64_t)__builtin_ctz((uint32_t)a) : 32)
ALU(CPOPW, (uint64_t)__builtin_popcount((uint32_t)a))
ALU(SEXT_B, (uint64_t)(int64_t)(int8_t)(uint8_t)a)
ALU(SEXT_H, (uint64_t)(int64_t)(int16_t)(uint16_t)a)
ALU(ZEXT_H, (uint16_t)a)
ALU(ORC_B, orc_b(a))
ALU(REV8, __builtin_bswap64(a))
ALU(BCLR, a & ~(1ull << (b & 63)))
ALU(BCLRI, a & ~(1ull << i))
ALU(BEXT, a >> (b & 63) & 1)
ALU(BEXTI, a >> i & 1)
ALU(BINV, a ^ (1ull << (b & 63)))
ALU(BINVI, a ^ (1ull << i))
ALU(BSET, a | (1ull << (b & 63)))
ALU(BSETI, a | (1ull << i))
ALU(CZERO_EQZ, b ? a : 0)
ALU(CZERO_NEZ, b ? 0 : a)

/* ---- control flow. IALIGN is 16, so no target is misaligned ---- */

HANDLER(JAL)
{
    uint64_t link = cpu->pc + in->len, target = cpu->pc + (uint64_t)(int64_t)in->imm;
    set_x(cpu, in, link);
    return jump_to(cpu, target);
}

HANDLER(JALR)
{
    uint64_t link = cpu->pc + in->len, target = address(cpu, in) & ~1ull;
    set_x(cpu, in, link);
    return jump_to(cpu, target);
}

#define BRANCH(name, type, cmp)                                                                                        \
    HANDLER(name)                                                                                                      \
    {                                                                                                                  \
        if ((type)cpu->x[in->rs1] cmp(type) cpu->x[in->rs2]) {                                                         \
            return jump_to(cpu, cpu->pc + (uint64_t)(int64_t)in->imm);                                                 \
        }                                                                                                              \
        return INTERP_NEXT;                                                                                            \
    }

BRANCH(BEQ, uint64_t, ==)
BRANCH(BNE, uint64_t, !=)
BRANCH(BLT, int64_t, <)
BRANCH(BGE, int64_t, >=)
BRANCH(BLTU, uint64_t, <)
BRANCH(BGEU, uint64_t, >=)

/* ---- loads and stores ---- */

#define LOAD(name, type)                                                                                               \
    HANDLER(name)                                                                                                      \
    {                                                                                                                  \
        uint64_t v;                                                                                                    \
        if (!tlb_load(cpu, address(cpu, in), sizeof(type), &v)) {                                                      \
            return take_fault(cpu);                                                                                    \
        }                                                                                                              \
        return set_x(cpu, in, (uint64_t)(type)v);                                                                      \
    }

LOAD(LB, int8_t)
LOAD(LH, int16_t)
LOAD(LW, int32_t)
LOAD(LD, int64_t)
LOAD(LBU, uint8_t)
LOAD(LHU, uint16_t)
LOAD(LWU, uint32_t)

#define STORE(name, size)                                                                                              \
    HANDLER(name)                                                                                                      \
    {                                                                                                                  \
        return tlb_store(cpu, address(cpu, in), size, cpu->x[in->rs2]) ? INTERP_NEXT : take_fault(cpu);                \
    }

STORE(SB, 1)
STORE(SH, 2)
STORE(SW, 4)
STORE(SD, 8)

/* ---- A: on host atomics. x86 orders everything but an earlier store before a later load; a locked instruction orders
 * that too, so aq and rl ask for nothing more ---- */

static enum interp_result load_reserved(struct cpu *cpu, const struct insn *in, unsigned size)
{
    uint64_t va = cpu->x[in->rs1], v;
    if (va & (size - 1)) {
        return take_trap(cpu, EXC_LOAD_MISALIGNED, va);
    }
    void *p = tlb_atomic_ptr(cpu, va, size, false);
    if (!p) {
        return take_fault(cpu);
    }
    if (size == 4) {
        v = sext32(__atomic_load_n((uint32_t *)p, __ATOMIC_SEQ_CST));
    } else {
        v = __atomic_load_n((uint64_t *)p, __ATOMIC_SEQ_CST);
    }
    cpu->lr_addr = va;
    cpu->lr_value = v;
    return set_x(cpu, in, v);
}

static enum interp_result store_conditional(struct cpu *cpu, const struct insn *in, unsigned size)
{
    uint64_t va = cpu->x[in->rs1];
    bool stored = false;
    if (va & (size - 1)) {
        return take_trap(cpu, EXC_STORE_MISALIGNED, va);
    }
    if (cpu->lr_addr == va) {
        void *p = tlb_atomic_ptr(cpu, va, size, true);
        if (!p) {
            return take_fault(cpu);
        }
        uint64_t old = cpu->lr_value;
        uint32_t old_w = (uint32_t)old;
        stored = size == 4 ? __atomic_compare_exchange_n((uint32_t *)p, &old_w, (uint32_t)cpu->x[in->rs2], false,
                                                         __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
                           : __atomic_compare_exchange_n((uint64_t *)p, &old, cpu->x[in->rs2], false, __ATOMIC_SEQ_CST,
                                                         __ATOMIC_SEQ_CST);
    }
    cpu->lr_addr = ~0ull;
    return set_x(cpu, in, !stored);
}

HANDLER(LR_W)
{
    return load_reserved(cpu, in, 4);
}

HANDLER(LR_D)
{
    return load_reserved(cpu, in, 8);
}

HANDLER(SC_W)
{
    return store_conditional(cpu, in, 4);
}

HANDLER(SC_D)
{
    return store_conditional(cpu, in, 8);
}

/* AMO: m = what memory holds, v = rs2, both of the given type. */
#define AMO(name, type, utype, expr)                                                                                   \
    HANDLER(name)                                                                                                      \
    {                                                                                                                  \
        uint64_t va = cpu->x[in->rs1];                                                                                 \
        if (va & (sizeof(type) - 1)) {                                                                                 \
            return take_trap(cpu, EXC_STORE_MISALIGNED, va);                                                           \
        }                                                                                                              \
        utype *p = tlb_atomic_ptr(cpu, va, sizeof(type), true);                                                        \
        if (!p) {                                                                                                      \
            return take_fault(cpu);                                                                                    \
        }                                                                                                              \
        const type v = (type)cpu->x[in->rs2];                                                                          \
        utype old = __atomic_load_n(p, __ATOMIC_RELAXED);                                                              \
        type m;                                                                                                        \
        do {                                                                                                           \
            m = (type)old;                                                                                             \
        } while (!__atomic_compare_exchange_n(p, &old, (utype)(expr), true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));      \
        return set_x(cpu, in, sizeof(type) == 4 ? sext32((uint64_t)m) : (uint64_t)m);                                  \
    }

#define AMO_BOTH(name, sign, expr) AMO(name##_W, sign##32_t, uint32_t, expr) AMO(name##_D, sign##64_t, uint64_t, expr)

AMO_BOTH(AMOSWAP, uint, ((void)m, v))
AMO_BOTH(AMOADD, uint, m + v)
AMO_BOTH(AMOXOR, uint, m ^ v)
AMO_BOTH(AMOAND, uint, m &v)
AMO_BOTH(AMOOR, uint, m | v)
AMO_BOTH(AMOMIN, int, m < v ? m : v)
AMO_BOTH(AMOMAX, int, m > v ? m : v)
AMO_BOTH(AMOMINU, uint, m < v ? m : v)
AMO_BOTH(AMOMAXU, uint, m > v ? m : v)

HANDLER(FENCE)
{
    atomic_thread_fence(memory_order_seq_cst);
    return INTERP_NEXT;
}

HANDLER(FENCE_I)
{
    atomic_thread_fence(memory_order_seq_cst);
    return INTERP_FENCE_I;
}
