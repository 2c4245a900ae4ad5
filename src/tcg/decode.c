/*
 * Decoding of 32-bit instructions: a table of buckets by major opcode and funct3, split further by funct7 where a
 * bucket holds many rows. Both are built from insn.def when the program starts.
 */
#include "tcg/decode.h"

#include <assert.h>
#include <string.h>
#include "weft/config.h"

#define NEED_I 0
#define NEED_ZBA (1ull << EXT_ZBA)
#define NEED_ZBB (1ull << EXT_ZBB)
#define NEED_ZBS (1ull << EXT_ZBS)
#define NEED_ZICOND (1ull << EXT_ZICOND)
#define NEED_ZICBOM (1ull << EXT_ZICBOM)
#define NEED_ZICBOZ (1ull << EXT_ZICBOZ)
#define NEED_SVINVAL (1ull << EXT_SVINVAL)
#define NEED_ZAWRS (1ull << EXT_ZAWRS)
#define NEED_ZIHINTPAUSE (1ull << EXT_ZIHINTPAUSE)

const struct insn_row insn_rows[OP_COUNT] = {
    [OP_ILLEGAL] = {"illegal", 0, 0, FMT_NONE, 0},
#define INSN(name, text, mask, match, fmt, ext) [OP_##name] = {text, mask, match, FMT_##fmt, NEED_##ext},
#include "tcg/insn.def"
#undef INSN
};

enum {
    NUM_KEYS = 32 * 8, /* opcode[6:2], funct3 */
    NUM_SPLIT = 48,    /* keys with more than SPLIT_ABOVE rows */
    SPLIT_ABOVE = 2,
    NUM_CANDIDATES = 4096,
};

/* A run of candidate ops, in the order of insn.def. */
struct bucket {
    uint16_t first;
    uint8_t count;
};

static struct bucket direct[NUM_KEYS];
static uint8_t split_of[NUM_KEYS]; /* 0 = not split, else 1 + index into split_bucket */
static struct bucket split_bucket[NUM_SPLIT][128];
static uint16_t candidate[NUM_CANDIDATES];
static unsigned num_candidates, num_split;

/* Collects the rows that can match an instruction whose bits under keymask are key. */
static struct bucket collect(uint32_t keymask, uint32_t key)
{
    struct bucket b = {.first = (uint16_t)num_candidates};
    for (unsigned op = OP_ILLEGAL + 1; op < OP_COUNT; op++) {
        if (((insn_rows[op].match ^ key) & insn_rows[op].mask & keymask) == 0) {
            assert(num_candidates < NUM_CANDIDATES);
            candidate[num_candidates++] = (uint16_t)op;
            b.count++;
        }
    }
    return b;
}

__attribute__((constructor)) static void build_tables(void)
{
    for (uint32_t k = 0; k < NUM_KEYS; k++) {
        uint32_t key = (k >> 3) << 2 | (k & 7) << 12 | 3;
        unsigned start = num_candidates;
        direct[k] = collect(0x707f, key);
        if (direct[k].count <= SPLIT_ABOVE) {
            continue;
        }
        num_candidates = start;
        assert(num_split < NUM_SPLIT);
        for (uint32_t f7 = 0; f7 < 128; f7++) {
            split_bucket[num_split][f7] = collect(0xfe00707f, key | f7 << 25);
        }
        split_of[k] = (uint8_t)++num_split;
    }
}

static enum op find_op(uint32_t raw, uint64_t isa_ext)
{
    unsigned key = (raw >> 2 & 31) << 3 | (raw >> 12 & 7);
    const struct bucket *b = split_of[key] ? &split_bucket[split_of[key] - 1][raw >> 25] : &direct[key];
    const uint16_t *c = &candidate[b->first];
    for (unsigned i = 0; i < b->count; i++) {
        const struct insn_row *row = &insn_rows[c[i]];
        if ((raw & row->mask) == row->match && (row->ext & ~isa_ext) == 0) {
            return c[i];
        }
    }
    return OP_ILLEGAL;
}

static int32_t imm_i(uint32_t raw)
{
    return (int32_t)raw >> 20;
}

static int32_t imm_s(uint32_t raw)
{
    return ((int32_t)raw >> 25) * 32 + (int32_t)(raw >> 7 & 31);
}

static int32_t imm_b(uint32_t raw)
{
    uint32_t lo = (raw >> 7 & 0x1e) | (raw >> 20 & 0x7e0) | (raw << 4 & 0x800);
    return (int32_t)(lo | ((int32_t)raw < 0 ? 0xfffff000u : 0));
}

static int32_t imm_j(uint32_t raw)
{
    uint32_t lo = (raw >> 20 & 0x7fe) | (raw >> 9 & 0x800) | (raw & 0xff000);
    return (int32_t)(lo | ((int32_t)raw < 0 ? 0xfff00000u : 0));
}

/* The rounding modes 5 and 6 are reserved; 7 (dynamic) is judged when the instruction runs. */
static void decode_rm(uint32_t raw, struct insn *out)
{
    out->rm = raw >> 12 & 7;
    if (out->rm == 5 || out->rm == 6) {
        out->op = OP_ILLEGAL;
    }
}

static void decode_operands(uint32_t raw, enum insn_fmt fmt, struct insn *out)
{
    switch (fmt) {
    case FMT_I:
    case FMT_L:
    case FMT_FL:
    case FMT_JR:
        out->imm = imm_i(raw);
        break;
    case FMT_SH:
        /* The masks of the 32-bit shifts leave five bits free. */
        out->imm = (int32_t)(raw >> 20 & 63 & ~(insn_rows[out->op].mask >> 20));
        break;
    case FMT_S:
    case FMT_FS:
        out->imm = imm_s(raw);
        break;
    case FMT_B:
        out->imm = imm_b(raw);
        break;
    case FMT_U:
        out->imm = (int32_t)(raw & 0xfffff000);
        break;
    case FMT_J:
        out->imm = imm_j(raw);
        break;
    case FMT_CSR:
    case FMT_CSRI:
    case FMT_FENCE:
        out->imm = (int32_t)(raw >> 20);
        break;
    case FMT_LR:
    case FMT_AMO:
        out->rm = raw >> 25 & 3;
        break;
    case FMT_F4:
        out->rs3 = (uint8_t)(raw >> 27);
        decode_rm(raw, out);
        break;
    case FMT_F3:
    case FMT_F2:
    case FMT_FTOX:
    case FMT_XTOF:
        decode_rm(raw, out);
        break;
    default:
        break;
    }
}

void insn_decode(uint32_t raw, uint64_t isa_ext, struct insn *out)
{
    memset(out, 0, sizeof(*out));
    if ((raw & 3) != 3) {
        insn_decode_compressed((uint16_t)raw, out);
        return;
    }
    out->raw = raw;
    out->len = 4;
    out->op = (uint16_t)find_op(raw, isa_ext);
    if (out->op != OP_ILLEGAL) {
        out->rd = raw >> 7 & 31;
        out->rs1 = raw >> 15 & 31;
        out->rs2 = raw >> 20 & 31;
        decode_operands(raw, insn_rows[out->op].fmt, out);
    }
}
