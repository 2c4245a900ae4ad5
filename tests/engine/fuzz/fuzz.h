/*
 * The differential fuzzer's guest: it makes random instruction streams from a seed, runs them, and prints hashes of
 * what they left behind. The same image runs under each engine; tests/engine/fuzz/fuzz.py compares.
 *
 * An iteration = one stream. Nothing is carried from one to the next, so that (seed, iteration) replays alone.
 */
#ifndef FUZZ_H
#define FUZZ_H

#define CTX_X 0
#define CTX_F 256
#define CTX_PC 512
#define CTX_STATUS 520
#define CTX_FCSR 528
#define CTX_HOST_SP 536
#define CTX_CAUSE 544
#define CTX_TVAL 552
#define CTX_DUMMY 560

#ifndef __ASSEMBLER__
#include "bare.h"

enum {
    MAX_HARTS = 4,
    PAGE = 4096,
    CODE_PAGES = 6,
    WINDOW_PAGES = 4,
    MAX_GROUPS = 1024,
    MAX_LOG = 64,
    HOT_BELOW = 256, /* bytes before and behind a page boundary of the window that streams read and write */
    HOT_ABOVE = 384,
    NUM_CONSTANTS = 64,
    CONSTANTS_AT = 3 * PAGE + 2048, /* in the window: a table of telling values, only read */
};

enum mode { MODE_M, MODE_S39, MODE_U39, MODE_S48, MODE_U48, MODE_S57, MODE_U57, NUM_MODES };

/* Virtual addresses in the paged modes; in M mode everything is physical. */
#define VA_BASE 0x1234000000ul
#define VA_CODE VA_BASE
#define VA_ALIAS (VA_BASE + 0x40000)
#define VA_WINDOW (VA_BASE + 0x100000)
#define VA_HOLE (VA_BASE + 0x180000)

/* Which extensions the engines all have. */
enum need {
    NEED_I,
    NEED_ZBA,
    NEED_ZBB,
    NEED_ZBS,
    NEED_ZICOND,
    NEED_ZICBOM,
    NEED_ZICBOZ,
    NEED_SVINVAL,
    NEED_ZAWRS,
    NEED_ZIHINTPAUSE
};

struct trap {
    uint64_t cause, pc, tval;
};

/* What run_stream (run.S) loads, and what the stream leaves. */
struct context {
    uint64_t x[32], f[32];
    uint64_t pc, status, fcsr, host_sp, cause, tval, dummy;
    /* beyond what run.S knows */
    uint64_t end_pc, code_va;
    unsigned num_traps, run_traps;
    struct trap log[MAX_LOG];
    uint64_t trap_hash, exact_hash;
};

/* A stream under construction. */
struct stream {
    uint64_t rng;
    enum mode mode;
    bool odd_page;     /* a page of the window is not there, or may not be written */
    uint32_t ext;      /* bit per enum need */
    uint32_t reserved; /* registers that random instructions leave alone */
    uint8_t base, ptr[3], count[2], link, tmp;
    uint64_t code_va;  /* of the first instruction */
    uint64_t alias_va; /* the same bytes, writable */
    uint64_t window_va;
    uint16_t code[CODE_PAGES * PAGE / 2];
    unsigned len; /* bytes */
    unsigned num_groups;
    uint16_t group_at[MAX_GROUPS + 1];
    unsigned num_fixups;
    struct {
        uint8_t kind;
        uint16_t at, group;
    } fixup[MAX_GROUPS];
    const char *drop; /* groups to leave out: "3,7-9", or NULL */
    unsigned insns;   /* made */
};

/* Fills in the stream's code; its last instruction is an ecall at the returned offset. */
unsigned stream_generate(struct stream *s, unsigned groups);
uint64_t random_integer(uint64_t *rng);
uint64_t random_float(uint64_t *rng);

void run_stream(struct context *ctx);
extern char trap_entry[];
bool on_trap(struct context *ctx); /* called by run.S; true: the stream is over */
#endif
#endif
