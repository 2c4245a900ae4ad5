/*
 * The translator against the interpreter: random programs, run by both from the same state, must leave the same
 * registers, memory, flags, traps and count of retired instructions.
 *
 * A program is a loop over random instructions with short forward branches, calls and returns; it is entered in M, S
 * or U mode, with and without paging, and ends with an illegal instruction in the place the handler knows. Traps on
 * the way are counted by a handler that skips the instruction.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "encode.h"
#include "fixture.h"
#include "tcg/fp.h"

#define CODE (RAM_BASE + 0x10000)
#define HANDLER_AT (RAM_BASE + 0x1000)
#define TABLE (RAM_BASE + 0x2000) /* root page table */
#define DATA (RAM_BASE + 0x40000)
#define DATA_SIZE 0x3000u
#define END_MARK 0x0000000b /* not an instruction; a0 of the handler's comparison */

enum { BODY = 120, CODE_WORDS = 4 * BODY };

/* x2: middle of the data, x3: aligned data, x4: misaligned, x31: loop count; x26, x27: the handler's own. */
static const uint8_t free_regs[] = {0, 1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 28, 29};

static uint32_t code[CODE_WORDS];
static unsigned num_words;

static uint8_t reg(void)
{
    return free_regs[random64() % sizeof(free_regs)];
}

static void emit(uint32_t word)
{
    ck_assert_uint_lt(num_words, CODE_WORDS);
    code[num_words++] = word;
}

static void emit_insn(struct insn in)
{
    emit(encode(&in));
}

static bool is_plain(enum op op)
{
    switch ((enum insn_fmt)insn_rows[op].fmt) {
    case FMT_B:
    case FMT_J:
    case FMT_JR:
    case FMT_CSR:
    case FMT_CSRI:
    case FMT_NONE:
    case FMT_SFENCE:
    case FMT_CBO:
        return false;
    default:
        return op != OP_AUIPC;
    }
}

/* Puts the operands of a random word where the program can bear them. */
static void tame(struct insn *in)
{
    int32_t near = (int32_t)(random64() % 128) - 64, far = (int32_t)(random64() % 0xfc0) - 0x7e0;
    in->rd = reg();
    in->rs1 = reg();
    in->rs2 = reg();
    switch ((enum insn_fmt)insn_rows[in->op].fmt) {
    case FMT_L:
    case FMT_S:
        in->rs1 = 2;
        in->imm = random64() & 1 ? near : far;
        break;
    case FMT_FL:
    case FMT_FS:
        in->rs1 = 2;
        in->imm = random64() & 1 ? near : far;
        in->rd = random64() & 31;
        in->rs2 = random64() & 31;
        break;
    case FMT_LR:
    case FMT_AMO:
        in->rs1 = random64() % 8 ? 3 : 4;
        break;
    case FMT_F4:
    case FMT_F3:
    case FMT_F3N:
    case FMT_F2:
        in->rd = random64() & 31;
        /* fall through */
    case FMT_FCMP:
    case FMT_FTOX:
    case FMT_FTOXN:
        in->rs1 = random64() & 31;
        in->rs2 = random64() & 31;
        break;
    case FMT_XTOF:
    case FMT_XTOFN:
        in->rd = random64() & 31;
        break;
    default:
        break;
    }
}

static void emit_plain(void)
{
    enum op op;
    do {
        op = (enum op)(1 + random64() % (OP_COUNT - 1));
    } while (!is_plain(op));
    struct insn in;
    insn_decode(random_word(op), ~0ull, &in);
    in.op = (uint16_t)op;
    tame(&in);
    emit_insn(in);
}

/* One to three instructions that change nothing, or nearly so. */
static void emit_nothing(void)
{
    static const uint16_t shifts[] = {OP_SLLI, OP_SRLI, OP_SRAI, OP_ADDI, OP_ORI, OP_XORI, OP_ANDI, OP_SLLIW};
    static const uint16_t ops[] = {OP_ADD, OP_SUB, OP_XOR, OP_OR, OP_AND, OP_SLL, OP_ADDW, OP_MUL};
    for (uint64_t n = 1 + random64() % 3; n; n--) {
        uint8_t r = reg();
        struct insn with_imm = {.op = shifts[random64() % 8], .rd = r, .rs1 = r};
        struct insn with_reg = {.op = ops[random64() % 8], .rd = r, .rs1 = random64() & 1 ? r : 0};
        with_reg.rs2 = with_reg.rs1 == 0 || random64() & 1 ? r : 0;
        emit_insn(random64() & 1 ? with_imm : with_reg);
    }
}

static void emit_other(unsigned pick)
{
    static const uint16_t branches[] = {OP_BEQ, OP_BNE, OP_BLT, OP_BGE, OP_BLTU, OP_BGEU};
    static const uint16_t csr_ops[] = {OP_CSRRW, OP_CSRRS, OP_CSRRC, OP_CSRRWI, OP_CSRRSI, OP_CSRRCI};
    switch (pick) {
    case 0: /* over one or two instructions */
        emit_insn((struct insn){.op = branches[random64() % 6], .rs1 = reg(), .rs2 = reg(), .imm = 8});
        emit_plain();
        break;
    case 1: /* a call over its body, which returns: jal ra, 12; plain; ret-like */
        emit_insn((struct insn){.op = OP_JAL, .rd = 1, .imm = 12});
        emit_plain();
        emit_insn((struct insn){.op = OP_JAL, .rd = 0, .imm = 8});
        emit_insn((struct insn){.op = OP_JALR, .rd = 5, .rs1 = 1});
        break;
    case 2: /* fcsr, frm (also reserved modes), fflags */
        emit_insn((struct insn){
            .op = csr_ops[random64() % 6], .rd = reg(), .rs1 = reg(), .imm = 1 + (int32_t)(random64() % 3)});
        break;
    case 3:
        emit_insn((struct insn){.op = OP_CSRRWI, .rd = reg(), .rs1 = random64() % 5, .imm = 2});
        break;
    case 4:
        emit_insn((struct insn){.op = OP_LR_D, .rd = reg(), .rs1 = 3});
        emit_insn((struct insn){.op = OP_SC_D, .rd = reg(), .rs1 = 3, .rs2 = reg()});
        break;
    case 5: /* an instruction count, which must be the same */
        emit_insn((struct insn){.op = OP_CSRRS, .rd = reg(), .imm = 0xc02});
        break;
    case 6:
        emit(random64() & 1 ? 0x00000073 : 0x00100073); /* ecall, ebreak */
        break;
    case 7: /* two compressed ones: c.addi a0, c.mv a1,a0 */
        emit(0x85aa0000u | 0x0505u | (random64() & 0x7c));
        break;
    case 8: /* a load that faults */
        emit_insn((struct insn){.op = OP_LW, .rd = reg(), .rs1 = 0, .imm = 0x100});
        break;
    case 9:
        emit_nothing();
        break;
    default: /* a new value */
        emit_insn((struct insn){.op = OP_LD, .rd = reg(), .rs1 = 2, .imm = (int32_t)(random64() % 128) * 8 - 512});
        break;
    }
}

static void make_program(void)
{
    num_words = 0;
    while (num_words < BODY) {
        uint64_t pick = random64() % 41;
        if (pick < 28) {
            emit_plain();
        } else {
            emit_other((unsigned)pick - 28);
        }
    }
    int32_t back = -4 * ((int32_t)num_words + 1);
    emit_insn((struct insn){.op = OP_ADDI, .rd = 31, .rs1 = 31, .imm = -1});
    emit_insn((struct insn){.op = OP_BNE, .rs1 = 31, .rs2 = 0, .imm = back});
    emit(END_MARK);
}

/* Counts the trap's cause and value into x26 (by way of mscratch and x27), then skips the instruction, or waits at the
 * end mark. All in M mode; instructions are four bytes long except where a pair of compressed ones traps, which they
 * cannot. */
static void place_handler(void)
{
    const struct insn handler[] = {
        {.op = OP_CSRRS, .rd = 27, .imm = 0x342},
        {.op = OP_SLLI, .rd = 25, .rs1 = 26, .imm = 5},
        {.op = OP_ADD, .rd = 26, .rs1 = 26, .rs2 = 25},
        {.op = OP_XOR, .rd = 26, .rs1 = 26, .rs2 = 27},
        {.op = OP_CSRRS, .rd = 27, .imm = 0x343},
        {.op = OP_ADD, .rd = 26, .rs1 = 26, .rs2 = 27},
        {.op = OP_ADDI, .rd = 25, .rs1 = 0, .imm = END_MARK},
        {.op = OP_BEQ, .rs1 = 25, .rs2 = 27, .imm = 20},
        {.op = OP_CSRRS, .rd = 27, .imm = 0x341},
        {.op = OP_ADDI, .rd = 27, .rs1 = 27, .imm = 4},
        {.op = OP_CSRRW, .rd = 0, .rs1 = 27, .imm = 0x341},
        {.op = OP_MRET},
        {.op = OP_WFI},
    };
    for (size_t i = 0; i < sizeof(handler) / sizeof(handler[0]); i++) {
        uint32_t word = encode(&handler[i]);
        memcpy((uint8_t *)ram_ptr(fx.cpu->ram, HANDLER_AT) + 4 * i, &word, 4);
    }
}

static uint64_t special(void)
{
    static const uint64_t values[] = {0,
                                      1,
                                      ~0ull,
                                      1ull << 63,
                                      INT64_MAX,
                                      0x7ff0000000000000ull,
                                      0x7ff0000000000001ull,
                                      FP64_NAN,
                                      0x3ff0000000000000ull,
                                      1ull << 52,
                                      0x7fefffffffffffffull,
                                      FP_BOX | 0x7f800000,
                                      FP_BOX | 0x7f800001,
                                      FP_BOX | 0x3f800000,
                                      FP_BOX | 1,
                                      FP_BOX | 0x7f7fffff,
                                      FP_BOX | 0x80000000,
                                      FP_BOX | 0x4f000000};
    switch (random64() % 4) {
    case 0:
        return random64();
    case 1:
        return FP_BOX | (uint32_t)random64();
    default:
        return values[random64() % (sizeof(values) / sizeof(values[0]))];
    }
}

/* Registers, memory and mode before a run; priv 0, 1 or 3; below M, odd runs have Sv39 with an identity mapping. */
static void set_up(uint64_t seed, uint8_t priv, bool paged)
{
    struct cpu *c = fx.cpu;
    cpu_reset(c, CODE, 0, 0, PRIV_M);
    c->icount_end = 0;
    c->budget = 0;
    c->mcycle_off = c->minstret_off = 0;
    srandom((unsigned)seed);
    for (unsigned i = 1; i < 32; i++) {
        c->x[i] = (uint64_t)random() << 40 ^ (uint64_t)random() << 16 ^ (uint64_t)random();
        c->f[i] = c->x[i] & 1 ? c->x[i] * 0x9e3779b97f4a7c15ull : FP_BOX | (uint32_t)c->x[i];
    }
    c->x[2] = DATA + DATA_SIZE / 2 + 4;
    c->x[3] = DATA + 0x40;
    c->x[4] = DATA + 0x82;
    c->x[26] = 0;
    c->x[31] = 7;
    c->mtvec = HANDLER_AT;
    c->mcounteren = c->scounteren = 7;
    c->menvcfg = c->senvcfg = 0xf0;
    c->mstatus |= (seed / 2 % 4) << 13 | MSTATUS_SUM; /* FS: Off, Initial, Clean, Dirty */
    c->mstatus |= seed / 2 % 4 == 3 ? MSTATUS_SD : 0;
    c->pmpcfg[0] = 0x1f;
    c->pmpaddr[0] = (1ull << 54) - 1;
    c->priv = priv;
    if (priv != PRIV_M && paged) {
        uint64_t *root = ram_ptr(c->ram, TABLE);
        memset(root, 0, 4096);
        root[2] = RAM_BASE >> 12 << 10 | (priv == PRIV_U ? 0xdf : 0xcf);
        c->satp = 8ull << 60 | 5ull << 44 | TABLE >> 12;
    }
    fp_update_fast(c);
    tlb_flush_all(c);
    tlb_context_update(c);
    tcg_fence_i(c);
}

struct result {
    uint64_t x[32], f[32], pc, mepc, mstatus, retired;
    uint8_t fflags, frm, priv;
    uint8_t data[DATA_SIZE];
};

static void fill_data(const uint64_t *from)
{
    memcpy(ram_ptr(fx.cpu->ram, DATA), from, DATA_SIZE);
}

static void keep(struct result *r)
{
    const struct cpu *c = fx.cpu;
    memset(r, 0, sizeof(*r));
    memcpy(r->x, c->x, sizeof(r->x));
    memcpy(r->f, c->f, sizeof(r->f));
    r->pc = c->pc;
    r->mepc = c->mepc;
    r->mstatus = c->mstatus;
    r->retired = cpu_instret(c);
    r->fflags = fp_fflags(c);
    r->frm = c->frm;
    r->priv = c->priv;
    memcpy(r->data, ram_ptr(c->ram, DATA), DATA_SIZE);
}

static void compare(uint64_t seed, uint64_t quantum, const struct result *a, const struct result *b)
{
    for (unsigned i = 0; i < 32; i++) {
        ck_assert_msg(a->x[i] == b->x[i], "seed %lu quantum %lu: x%u = %lx, translated %lx", seed, quantum, i, a->x[i],
                      b->x[i]);
        ck_assert_msg(a->f[i] == b->f[i], "seed %lu quantum %lu: f%u = %lx, translated %lx", seed, quantum, i, a->f[i],
                      b->f[i]);
    }
    ck_assert_msg(a->fflags == b->fflags && a->frm == b->frm, "seed %lu: fcsr", seed);
    ck_assert_msg(a->pc == b->pc && a->mepc == b->mepc && a->priv == b->priv, "seed %lu: pc", seed);
    ck_assert_msg(a->mstatus == b->mstatus, "seed %lu: mstatus %lx, %lx", seed, a->mstatus, b->mstatus);
    ck_assert_msg(a->retired == b->retired, "seed %lu quantum %lu: retired %lu, %lu", seed, quantum, a->retired,
                  b->retired);
    ck_assert_msg(memcmp(a->data, b->data, DATA_SIZE) == 0, "seed %lu: memory", seed);
}

static void run_program(uint64_t seed)
{
    static struct result reference, translated;
    static uint64_t data[DATA_SIZE / 8];
    static const uint8_t privs[] = {PRIV_M, PRIV_S, PRIV_U};
    static const uint64_t quanta[] = {0, 1000000, 97};
    uint8_t priv = privs[seed % 3];
    uint64_t quantum = quanta[seed / 3 % 3];
    make_program();
    for (unsigned i = 0; i < DATA_SIZE / 8; i++) {
        data[i] = special();
    }
    memcpy(ram_ptr(fx.cpu->ram, CODE), code, num_words * 4);
    ram_dma_mark(fx.cpu->ram, CODE, num_words * 4);

    set_up(seed, priv, seed & 1);
    fill_data(data);
    unsigned steps = 0;
    while (interp_step(fx.cpu) != INTERP_WFI) {
        ck_assert_uint_lt(steps++, 100000);
    }
    keep(&reference);

    set_up(seed, priv, seed & 1);
    fill_data(data);
    for (steps = 0; !fx.cpu->wfi; steps++) {
        ck_assert_uint_lt(steps, 100000);
        tcg_cpu_exec(fx.cpu, quantum);
    }
    keep(&translated);
    compare(seed, quantum, &reference, &translated);
}

START_TEST(random_programs)
{
    struct error err = {0};
    ck_assert(tcg_create(&fx.machine, &err));
    ck_assert(tcg_cpu_create(fx.cpu, &err));
    place_handler();
    for (uint64_t seed = 0; seed < 300; seed++) {
        run_program(seed);
    }
    tcg_cpu_destroy(fx.cpu);
    tcg_destroy(&fx.machine);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tiers");
    TCase *t = tcase_create("tiers");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, fixture_setup, fixture_teardown);
    tcase_add_test(t, random_programs);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
