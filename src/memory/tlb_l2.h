/*
 * The second-level TLB of one hart and what goes with it. Own thread only.
 *
 * An entry's key is its virtual page number (in units of the entry's size) << 16 | space. A space is an internal name
 * of one ASID, or of the global mappings, for as long as nothing of it was flushed: a flush gives the ASID a new name,
 * so that what was kept under the old one can never match again and need not be searched for. Name 0 is never given.
 * Entries are placed by page number alone, so that a flush of one address in all spaces looks at one set.
 */
#ifndef WEFT_MEMORY_TLB_L2_H
#define WEFT_MEMORY_TLB_L2_H

#include "memory/mmu.h"
#include "weft/cpu.h"

enum { L2_WAYS = 4, L2_SETS_4K = 2048, L2_SETS_64K = 64, L2_SETS_2M = 256, L2_SETS_1G = 16 };
enum { PWC_SIZE = 1024, FETCH_CACHE_SIZE = 16 };

struct l2_set {
    uint64_t key[L2_WAYS];
    uint64_t val[L2_WAYS]; /* gpa of the entry's first byte | low 8 PTE bits */
} __attribute__((aligned(64)));

/* A last-level page table known from a walk: key = va >> 21 << 16 | space. */
struct pwc_entry {
    uint64_t key;
    gpa_t table;
};

/* A page instructions were fetched from. ctx is NULL in an empty entry. */
struct fetch_entry {
    uint64_t page;
    const struct tlb_ctx *ctx;
    const uint8_t *host;
};

struct tlb_l2 {
    struct l2_set t4k[L2_SETS_4K], t64k[L2_SETS_64K], t2m[L2_SETS_2M], t1g[L2_SETS_1G];
    struct pwc_entry pwc[PWC_SIZE];
    struct fetch_entry fetch[FETCH_CACHE_SIZE];

    uint64_t satp;              /* the value the fields below belong to */
    uint64_t space, gspace;     /* names of its ASID and of the global mappings */
    struct tlb_ctx *user, *sum; /* contexts of satp in the pools, or NULL when not looked up yet */
    uint64_t clock;             /* for the pools' LRU */
    uint32_t next_space;
    uint32_t floor;       /* names below this are void */
    unsigned victim;      /* round robin over the ways */
    bool has_64k, has_1g; /* something was entered in these tables since the last reset of names */
    uint64_t split;       /* filter by va >> 30: pieces of larger leaves are kept there; all ones: anywhere */
    bool exact;           /* enter nothing in the first level */
    uint16_t asid_space[1 << 16];
};

static inline struct l2_set *l2_set_4k(struct tlb_l2 *l2, gva_t va)
{
    return &l2->t4k[(va >> 12 ^ va >> 23) & (L2_SETS_4K - 1)];
}

static inline struct l2_set *l2_set_64k(struct tlb_l2 *l2, gva_t va)
{
    return &l2->t64k[va >> 16 & (L2_SETS_64K - 1)];
}

static inline struct l2_set *l2_set_2m(struct tlb_l2 *l2, gva_t va)
{
    return &l2->t2m[(va >> 21 ^ va >> 29) & (L2_SETS_2M - 1)];
}

static inline struct l2_set *l2_set_1g(struct tlb_l2 *l2, gva_t va)
{
    return &l2->t1g[va >> 30 & (L2_SETS_1G - 1)];
}

/* Key without the space. For 4 KiB pages the upper four bits of va are lost: look-ups check that they are a sign. */
static inline uint64_t l2_key(gva_t va, unsigned bits)
{
    return va >> bits << 16;
}

static inline struct pwc_entry *pwc_slot(struct tlb_l2 *l2, gva_t va)
{
    return &l2->pwc[va >> 21 & (PWC_SIZE - 1)];
}

static inline struct fetch_entry *fetch_slot(struct tlb_l2 *l2, gva_t va)
{
    return &l2->fetch[va >> GUEST_PAGE_BITS & (FETCH_CACHE_SIZE - 1)];
}

static inline bool filter_test(const uint64_t *filter, unsigned words, uint64_t number)
{
    return filter[number >> 6 & (words - 1)] >> (number & 63) & 1;
}

static inline void filter_set(uint64_t *filter, unsigned words, uint64_t number)
{
    filter[number >> 6 & (words - 1)] |= 1ull << (number & 63);
}
enum { WRITE_FILTER_WORDS = 16, FETCH_FILTER_WORDS = 16, LARGE_FILTER_WORDS = 8 };

/* tlb.c: enters a leaf found by a walk. */
void l2_insert(struct tlb_l2 *l2, gva_t va, const struct mmu_leaf *leaf);
/* tlb.c: drops one address from every table: only in space `space` if that is not 0, else in all spaces. */
void l2_drop(struct tlb_l2 *l2, gva_t va, uint64_t space);
/* tlb.c: notes that the entry of va is a piece of a leaf of 2^bits bytes: a flush of any address of that leaf must void
 * it. */
void l2_note_split(struct tlb_l2 *l2, gva_t va, unsigned bits);
/* tlb.c: a name for asid, given now if it has none. */
uint64_t l2_space(struct tlb_l2 *l2, uint16_t asid);
void l2_fetch_clear(struct tlb_l2 *l2);

/* tlb_context.c: empties a context (data and code), its code only. */
void ctx_flush(struct tlb_ctx *ctx);
void ctx_flush_code(struct tlb_ctx *ctx);
struct tlb_ctx *ctx_create(enum tlb_ctx_kind kind, uint8_t priv);
void ctx_destroy(struct tlb_ctx *ctx);
/* tlb_context.c: calls fn for every context of the hart that exists. */
void ctx_for_each(struct cpu *cpu, void (*fn)(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg), const void *arg);

#endif
