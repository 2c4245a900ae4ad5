/*
 * T1: the one-pass translator, riscv64 -> x86-64.
 *
 * Registers inside generated code:
 *     rbp = &cpu->x[16]   r15 = cpu->ctx + CTX_BIAS   r14 = budget   rax rcx rdx xmm0-2 = scratch
 *     the guest registers of HOST_REG / HOST_XMM live in host registers across blocks; all others in memory.
 * Nothing is kept in a register that memory does not describe at an instruction's edge, so every trap is precise: what
 * a faulting call site needs (page offset of the instruction, instructions of its block not yet retired) is an
 * immediate in its cold path.
 *
 * A unit is a run of basic blocks in straight line. Each block starts with `sub r14, n; js out`: it counts instructions
 * exactly and is the interrupt check. Blocks do not know their virtual address, only their page offset:
 * cpu->pc_page holds the virtual page of the running code, so that one translation serves all address spaces.
 */
#ifndef WEFT_TCG_TRANSLATE_H
#define WEFT_TCG_TRANSLATE_H

#include "tcg/codecache.h"
#include "tcg/insn.h"
#include "tcg/x64.h"

/* Why generated code was left; the value of tcg_enter. */
enum tcg_exit {
    TCG_EXIT_BUDGET, /* the slice is used up; pc set */
    TCG_EXIT_LOOKUP, /* pc set, no code known for it */
    TCG_EXIT_LINK,   /* as LOOKUP; cpu->scratch[0] = address of the site's struct link_site */
    TCG_EXIT_INTERP, /* pc set: interpret one instruction there */
    TCG_EXIT_EVENT,  /* an instruction ended the block: trap, privilege change, ...; pc set */
    TCG_EXIT_WFI,
    TCG_EXIT_YIELD,
    TCG_EXIT_FENCE_I,
};

/* Immediate of a call site: what is needed to be precise. */
#define INFO(off, left) ((uint32_t)(off) | (uint32_t)(left) << 12)
#define INFO_OFF(info) ((info)&0xfff)
#define INFO_LEFT(info) ((info) >> 12)

#define LINK_PLAIN 0x80000000u

/* What a group's stub gets besides the first address: bytes of the range, how far in it the first address is, and
 * whether the first access is a store. */
#define GROUP_ARG(span, before, store) ((uint32_t)(span) | (uint32_t)(before) << 12 | (uint32_t)(store) << 24)
#define GROUP_SPAN_OF(arg) ((arg)&0xfff)
#define GROUP_BEFORE(arg) ((arg) >> 12 & 0xfff)
#define GROUP_STORES_FIRST(arg) ((arg) >> 24 & 1)

/* Behind the call of the link stub. */
struct link_site {
    int32_t patch; /* where the displacement to patch lies, relative to this struct */
    int32_t guard; /* where the code_va displacement lies (jumps to another page), or 0 */
    uint32_t id;   /* of the page the site is in; | LINK_PLAIN: to the plain translation */
} __attribute__((packed));

#define CPU_DISP(field) ((int32_t)offsetof(struct cpu, field) - 128)
#define X_DISP(r) ((int32_t)(r)*8 - 128)
#define F_DISP(r) (CPU_DISP(f) + (int32_t)(r)*8)
/* r15 - cpu->ctx. Contexts are 64 KiB aligned, so that the low half of r15 is a constant: the bextr control of a TLB
 * index (from bit GUEST_PAGE_BITS, TLB_BITS long). One register, two uses, and the index is one instruction. */
#define CTX_BIAS (TLB_BITS << 8 | GUEST_PAGE_BITS)
#define CTX_RTAG ((int32_t)offsetof(struct tlb_ctx, rtag) - CTX_BIAS)
#define CTX_WTAG ((int32_t)offsetof(struct tlb_ctx, wtag) - CTX_BIAS)
#define CTX_ADDEND ((int32_t)offsetof(struct tlb_ctx, addend) - CTX_BIAS)
#define CTX_JC ((int32_t)offsetof(struct tlb_ctx, jc) - CTX_BIAS)
#define CTX_CODE_VA ((int32_t)offsetof(struct tlb_ctx, code_va) - CTX_BIAS)

extern const int8_t host_reg[32]; /* guest GPR -> host register, or X64_NOREG */
extern const int8_t host_xmm[32]; /* guest FPR -> xmm, or X64_NOREG */

enum mem_kind { MEM_U8, MEM_S8, MEM_U16, MEM_S16, MEM_U32, MEM_S32, MEM_64, MEM_KINDS };

/* Code made once, at the start of the cache. Addresses are those of the rw alias, but for enter and leave. */
struct stubs {
    uint32_t (*enter)(struct cpu *cpu, void *code);
    void (*leave)(struct cpu *cpu, uint32_t reason) __attribute__((noreturn));
    const uint8_t *exit;                                  /* eax = reason, all state in registers */
    const uint8_t *load[MEM_KINDS], *store[4], *group[2]; /* group: read, write */
    const uint8_t *interp, *light, *interp_exit, *budget, *lookup, *link;
    size_t size; /* bytes of all stubs */
};

enum {
    TR_UNIT_INSNS = 96,   /* a unit that has as many gets no further block */
    TR_BLOCK_INSNS = 384, /* of one block, of which TR_UNIT_INSNS do something */
    TR_MAX_COLD = 320,
    TR_COLD_ROOM = 200, /* bytes of a cold path at most */
    TR_NOWHERE = 2 * GUEST_PAGE_SIZE
};

enum cold_kind {
    COLD_LOAD,
    COLD_STORE,
    COLD_INTERP,
    COLD_FP_EXIT,
    COLD_BUDGET,
    COLD_LINK,
    COLD_LIGHT,
    COLD_GROUP,
    COLD_NAN,
    COLD_DIVIDE,
    COLD_CROSSING
};

/* Code off the hot path, emitted behind the unit. */
struct cold {
    uint8_t kind, mem, ea_reg, value; /* ea_reg: base host register of the effective address; value: register */
    uint8_t bb;                       /* block it belongs to: index of t->borrow */
    bool fp;                          /* value is an xmm register */
    uint8_t *from[2];                 /* displacements that lead here */
    uint8_t *back;                    /* where it goes on, or NULL */
    uint32_t info;
    int32_t reload;   /* COLD_STORE: where rbp-relative the value lies, when `value` is rcx; COLD_GROUP: GROUP_ARG */
    int32_t imm;      /* of the effective address; target offset of links */
    uint8_t *guard;   /* COLD_LINK: displacement of the code_va compare, or NULL */
    struct insn insn; /* COLD_INTERP, COLD_LIGHT */
};

/* A block that uses guest registers which live in memory, and leaves some pinned ones alone, borrows the host registers
 * of the latter: from its start to its end, and around the loop when it jumps back to its own start. Cold paths put
 * things back before they call anything. */
struct borrow {
    uint8_t n, guest[9], pinned[9];
    int8_t host[9];
    uint32_t written; /* guest registers the block writes */
};

struct tr {
    struct x64 e;
    struct cpu *cpu;
    struct codecache *cc;
    const struct stubs *stubs;
    struct code_page *page;
    const uint8_t *bytes; /* of the page, host address */
    uint32_t crossing;    /* the unit is this instruction, which crosses the page; or 0 */
    struct insn in;
    struct insn dec[TR_BLOCK_INSNS]; /* the block, decoded; `at` is the next one to translate */
    unsigned dec_n, at;
    int8_t reg[32]; /* host_reg, as it is in this block */
    struct borrow borrow[TR_UNIT_INSNS + 1];
    uint8_t *rax_at; /* while e.p is this, rax holds guest register rax_reg, which lives in memory */
    uint8_t rax_reg;
    uint8_t *flags_at; /* while e.p is this, the host flags tell sign and zero of guest register flags_reg */
    uint8_t flags_reg;
    uint8_t *inner;                           /* where a jump back to the own start goes: behind the borrowing */
    uint8_t bb;                               /* the block: index of borrow */
    unsigned bb_off;                          /* page offset of the block's start */
    uint8_t entry_index[GUEST_PAGE_SIZE / 2]; /* entry + 1 of this unit at a page offset, or 0 */
    unsigned off;                             /* page offset of `in` */
    unsigned index;                           /* of `in` in its block */
    uint8_t *bb_sub;                          /* immediate of the block's sub */
    bool bb_long;                             /* it has four bytes */
    unsigned bb_cold;                         /* first cold path of the block */
    bool end;                                 /* `in` ended the unit */
    bool fp_checked;                          /* fp_fast was tested in this block */
    uint32_t boxed;                           /* FPRs known to hold a NaN-boxed single */
    bool plain;                               /* the unit is a block without groups */
    bool groups;                              /* accesses may share a probe */
    bool group_open;                          /* rdx is a group's base */
    unsigned group_left;                      /* accesses still to come in the open group */
    struct cold no_cold;                      /* what is said about an access in a group goes here */
    unsigned num_cold, num_entries, num_direct;
    struct cold cold[TR_MAX_COLD];
    struct {
        uint16_t off;
        uint8_t *code;
    } entry[TR_UNIT_INSNS + 1];
    struct {
        uint16_t off;
        uint8_t *patch;
    } direct[TR_UNIT_INSNS * 2 + 2]; /* jumps inside the page */
};

void stubs_create(struct codecache *cc, struct stubs *s);
extern struct stubs tcg_stubs; /* (c) after tcg_create */

/* Translates from page offset `off` of `bytes` on and publishes the blocks. With CODE_PLAIN in `off`: one block in
 * which each access has its own probe. page->lock held, codecache_room done. */
void translate_unit(struct tr *t, struct code_page *page, const uint8_t *bytes, unsigned off);
/* Translates the instruction `raw` at CODE_CROSS_OFF, whose second half lies in the page `behind`. Under the same
 * conditions; false when the page has had too many of them. */
bool translate_crossing(struct tr *t, struct code_page *page, const struct code_page *behind, uint32_t raw);

/* ---- between the parts of the translator ---- */

struct cold *tr_cold(struct tr *t, enum cold_kind kind);
/* Runs `in` by the interpreter in line, and goes on behind it unless it jumped. */
void tr_interp(struct tr *t);
/* A cold path that runs `in` by the interpreter: jump there with a displacement in from[0]. */
struct cold *tr_cold_interp(struct tr *t);
/* Host register that holds guest register r now; loads it into tmp when it lives in memory. */
int tr_src(struct tr *t, unsigned r, int tmp);
/* Where to compute guest register rd: its host register, or tmp. */
int tr_dst(const struct tr *t, unsigned rd, int tmp);
/* Ends a computation begun with tr_dst. */
void tr_put(struct tr *t, unsigned rd, int reg);
/* As tr_put, where no cold path comes back behind it: the next instruction may find the value still in rax. */
void tr_put_near(struct tr *t, unsigned rd, int reg);
/* The instruction behind `in` in this block, or NULL; tr_take makes it `in` (two were done in one). */
const struct insn *tr_peek(const struct tr *t);
void tr_take(struct tr *t);
/* rd = constant. */
void tr_put_imm(struct tr *t, unsigned rd, int64_t v);
/* rax = virtual address of page offset `off` (may be outside the page). */
void tr_pc(struct tr *t, int reg, int64_t off);
/* Direct jump to page offset `off` of this or another page. */
void tr_goto(struct tr *t, int64_t off);

/* Emits the TLB probe for guest address x[base] + imm and returns the operand of the access; the cold path `c` gets the
 * address and is jumped to on a miss. Clobbers rax, rcx, rdx. */
struct x64_mem tr_probe(struct tr *t, struct cold *c, unsigned base, int32_t imm, unsigned size, bool store);
/* The operand of the load or store `in`: in a group, or by a probe of its own. Returns its cold path (to be filled in;
 * COLD_LOAD or COLD_STORE). May clobber rax, rcx, rdx; rdx must then stay as it is up to the end of the instruction. */
struct cold *tr_access(struct tr *t, enum cold_kind kind, unsigned size, struct x64_mem *m);
/* Leaves the block for the interpreter unless the FPU may be used as it is; once per block. */
void tr_fp_check(struct tr *t);

/* Pads so that a 4-byte displacement `skip` bytes from here lies in one cache line: it is patched while others run. */
void tr_align_patch(struct x64 *e, unsigned skip);
/* Jump to page offset `off` of another page, guarded by what is mapped there. */
void tr_goto_far(struct tr *t, int64_t off);
/* Ends the block: borrowed registers go back, then to page offset `off`. */
void tr_leave_to(struct tr *t, int64_t off);
/* Compares the page `off` bytes behind pc_page with what is known to be mapped: code_va[id]; rax = that page's address.
 * Returns where the displacement lies that names the id. */
uint8_t *tr_compare_page(struct tr *t, int64_t off, uint32_t id);
/* Emits one cold path and leads its jumps there. */
void tr_cold_emit(struct tr *t, struct cold *c);

/* Borrowed registers: chooses for the block in dec[], puts them back where code outside the block expects them (no
 * flags, no scratch register touched), takes them again. */
void tr_choose_borrow(struct tr *t, struct borrow *b);
void tr_give_back(struct tr *t, const struct borrow *b);
void tr_take_again(struct tr *t, const struct borrow *b);
const struct borrow *tr_borrow_of(const struct tr *t);
/* The instruction changes nothing but pc: a move of a register to itself and the like. */
bool tr_no_effect(const struct insn *in);

bool tr_integer(struct tr *t); /* false: not one of its instructions */
bool tr_bitmanip(struct tr *t);
bool tr_memory(struct tr *t);
bool tr_atomic(struct tr *t);
bool tr_float(struct tr *t);
bool tr_control(struct tr *t);
bool tr_system(struct tr *t);

/* ---- between its files ---- */
void tr_unit_begin(struct tr *t, struct code_page *page, const uint8_t *bytes, unsigned off);
/* One block from t->off on, `max` instructions at most that do something. True when it ended with a branch: the code
 * behind it is still to come. */
bool tr_block(struct tr *t, unsigned max);
/* Resolves jumps and emits the cold paths. */
void tr_unit_end(struct tr *t);

/* Called from generated code. */
struct value_ok {
    uint64_t value, ok;
};
void tcg_leave(struct cpu *cpu, enum tcg_exit reason) __attribute__((noreturn));
void *tcg_lookup_fast(struct cpu *cpu, gva_t va);

#endif
