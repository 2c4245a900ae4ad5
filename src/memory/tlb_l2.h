/*
 * The second-level TLB of one hart and what goes with it. Own thread only.
 *
 * An entry's key is the virtual address of its first byte | space. A space is an internal name of one ASID, or of the
 * global mappings, for as long as nothing of it was flushed: a flush gives the ASID a new name, so that what was kept
 * under the old one can never match again and need not be searched for. Name 0 is never given. Entries are placed by
 * page number alone, so that a flush of one address in all spaces looks at one set.
 *
 * A first-level entry that is a piece of a large leaf has that leaf here, under a name that is not void, or its region
 * is in `lost`: so a flush of one address learns here whether it must drop more than one page from the first level.
 */
#ifndef WEFT_MEMORY_TLB_L2_H
#define WEFT_MEMORY_TLB_L2_H

#include "memory/mmu.h"
#include "weft/cpu.h"

enum { L2_WAYS = 4, L2_SETS_4K = 2048, L2_SETS_64K = 64, L2_SETS_2M = 256, L2_SETS_1G = 16 };
enum { PWC_SIZE = 1024, FETCH_CACHE_SIZE = 16, HINT_SIZE = 512, REGION_SLOTS = 16 };
enum { SPACE_MAX = 4095 };

/* In an entry beside the low 8 bits of the PTE: the leaf does not lie in RAM with all its bytes. */
#define L2_NOT_RAM (1ull << 8)
#define L2_FLAGS 0xfffull

struct l2_set {
    uint64_t key[L2_WAYS];
    uint64_t val[L2_WAYS]; /* host address (L2_NOT_RAM: gpa) of the entry's first byte | L2_FLAGS */
} __attribute__((aligned(64)));

/* A last-level page table known from a walk: key = va of its 2 MiB | space. */
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

/* A set of regions of 2 MiB. It may claim to hold more than was put in, never less. Slots are chosen by the GiB. */
struct region_set {
    bool any, all;
    uint64_t gib[REGION_SLOTS]; /* va >> 30 | REGION_USED, or REGION_MIXED: regions of several GiB share the slot */
    uint64_t map[REGION_SLOTS][8];
};
#define REGION_USED (1ull << 63)
#define REGION_MIXED (~0ull)

struct tlb_l2 {
    struct l2_set t4k[L2_SETS_4K], t64k[L2_SETS_64K], t2m[L2_SETS_2M], t1g[L2_SETS_1G];
    struct pwc_entry pwc[PWC_SIZE];
    struct fetch_entry fetch[FETCH_CACHE_SIZE];
    bool large[HINT_SIZE]; /* by va >> 21: the leaf last found there was of 2 MiB (only a hint) */

    uint64_t name[2];               /* of the current ASID and of the global mappings */
    _Atomic uint8_t *flags_of_host; /* page_flags by host page number */
    uint64_t satp;                  /* the value name[0] and the two below belong to */
    struct tlb_ctx *user, *sum;     /* contexts of satp in the pools, or NULL when not looked up yet */
    uint64_t clock;                 /* for the pools' LRU */
    uint32_t next_space;
    uint32_t floor;          /* names below this are void */
    unsigned victim;         /* round robin over the ways */
    bool has_64k, has_1g;    /* something was entered in these tables since the last reset of names */
    bool exact;              /* enter nothing in the first level */
    struct region_set lost;  /* regions of larger leaves that are no longer in the tables, or never were */
    struct region_set split; /* regions of leaves that are kept in pieces: a flush of any address there voids all */
    uint16_t asid_space[1 << 16];
};
enum { SPACE_OWN = 0, SPACE_GLOBAL = 1 };

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

/* Key without the space. */
static inline uint64_t l2_key(gva_t va, unsigned bits)
{
    return va >> bits << bits;
}

static inline struct pwc_entry *pwc_slot(struct tlb_l2 *l2, gva_t va)
{
    return &l2->pwc[va >> 21 & (PWC_SIZE - 1)];
}

static inline struct fetch_entry *fetch_slot(struct tlb_l2 *l2, gva_t va)
{
    return &l2->fetch[va >> GUEST_PAGE_BITS & (FETCH_CACHE_SIZE - 1)];
}

static inline bool *l2_hint(struct tlb_l2 *l2, gva_t va)
{
    return &l2->large[va >> 21 & (HINT_SIZE - 1)];
}

static inline uint64_t *code_seen_slot(struct tlb_ctx *ctx, gva_t va)
{
    return &ctx->code_seen[va >> GUEST_PAGE_BITS & (CODE_SEEN - 1)];
}

static inline bool *write_filter_slot(struct tlb_ctx *ctx, uint64_t host)
{
    return &ctx->write_filter[host >> GUEST_PAGE_BITS & (WRITE_FILTER - 1)];
}

/* tlb_l2.c: enters a leaf found by a walk. */
void l2_insert(struct cpu *cpu, gva_t va, const struct mmu_leaf *leaf);
/* tlb_l2.c: drops one address from every table: only in space `space` if that is not 0, else in all spaces. Returns
 * log2 of the largest piece around va that the first level may hold: 12, 21, 30, or 64 when everything was voided. */
unsigned l2_drop(struct tlb_l2 *l2, gva_t va, uint64_t space);
/* tlb_l2.c: the leaf of 2^bits bytes around va is not kept (whole); or it is kept in pieces. */
void l2_note_lost(struct tlb_l2 *l2, gva_t va, unsigned bits);
void l2_note_split(struct tlb_l2 *l2, gva_t va, unsigned bits);
/* tlb_l2.c: a name for asid, given now if it has none. There must be room (l2_names_full). */
uint64_t l2_space(struct tlb_l2 *l2, uint16_t asid);
/* Names are nearly used up: everything must be flushed (l2_void). */
static inline bool l2_names_full(const struct tlb_l2 *l2)
{
    return l2->next_space + 4 > SPACE_MAX;
}
/* tlb_l2.c: voids every name, and names the global mappings and the current ASID anew. All contexts are flushed too. */
void l2_void(struct tlb_l2 *l2);
void l2_fetch_clear(struct tlb_l2 *l2);

/* Is anything entered for data? */
static inline bool ctx_filled(const struct tlb_ctx *ctx)
{
    return ctx->half[0] | ctx->half[1];
}
/* tlb_context.c: empties a context (data and code), its code only. */
void ctx_flush(struct tlb_ctx *ctx);
void ctx_flush_code(struct tlb_ctx *ctx);
/* tlb_context.c: empties it at once when it is current, else marks it. */
void ctx_flush_or_defer(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg);
/* tlb_context.c: derives how data accesses are judged from the context's mode. */
void ctx_judge(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg);
struct tlb_ctx *ctx_create(struct cpu *cpu, enum tlb_ctx_kind kind, uint8_t priv);
void ctx_destroy(struct tlb_ctx *ctx);
/* tlb_context.c: calls fn for every context of the hart that exists. */
void ctx_for_each(struct cpu *cpu, void (*fn)(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg), const void *arg);

#endif
