/*
 * Translated code: where it lives, which guest page it came from, and when it dies.
 *
 * The cache is one memfd mapped twice: writable at `rw`, executable at `rx` (W^X). It is cut into regions; each hart
 * takes chunks from the current region and translates into its own without a lock. When the last region is full the
 * oldest one is emptied in a stop-the-world section.
 *
 * A code page is one version of the code of one guest physical page; it has an id. Its blocks are found by page offset.
 * Jumps inside a page are chained directly: they can never see another version. Jumps between pages compare
 * ctx->code_va[id] first, so a retired id (fence.i found the page changed) needs no unlinking: once a hart has flushed
 * its code_va, nothing leads there. Memory of retired pages is reused after the next stop-the-world section; an id only
 * once the whole cache was emptied, because jumps from pages that live on still compare with it.
 *
 * Keys: (c) fixed at create  [a] atomic  [L] cache->lock  [P] page->lock  [X] changed only while all harts are stopped
 */
#ifndef WEFT_TCG_CODECACHE_H
#define WEFT_TCG_CODECACHE_H

#include <pthread.h>
#include "weft/cpu.h"
#include "weft/machine.h"

enum {
    CODE_CHUNK_SIZE = 128 << 10,
    CODE_TRIM_EVERY = 1 << 20, /* bytes of new code after which the writable alias is dropped from the page table */
    CODE_UNIT_ROOM = 40 << 10, /* a unit is not begun with less room than this left in the chunk */
    CODE_REGIONS = 8,
    CODE_PLAIN = 1 << 12, /* in an offset: the block's plain translation (tr_group.c) */
    SLOT_CHUNKS = 64,     /* 64 offsets of 2 bytes each; the upper half for plain ones */
    FETCH_CACHE_SIZE = 1024,
    CODE_CROSS_OFF = GUEST_PAGE_SIZE - 2, /* where an instruction begins that crosses the page */
    CODE_CROSSINGS = 4,
    CODE_CROSSINGS_MADE = 64, /* in a page's life; then that instruction is interpreted */
};

struct code_slots {
    _Atomic uint32_t code[64]; /* [a] offset of the block in the cache, 0 = none */
};

/* A translation of the instruction that crosses the page, made for one version of the page behind. */
struct code_crossing {
    uint32_t id;    /* of the page behind */
    uint8_t *code;  /* rw alias */
    uint8_t *other; /* displacement of the jump that is taken where another page is behind: to the next of them */
};

struct code_page {
    gpa_t gpa;            /* (c) */
    uint32_t id;          /* (c) */
    _Atomic bool retired; /* [a] set once: no new translation, no new entry in any jump cache */
    bool listed;          /* [L] on the dirty list */
    _Atomic bool unsure;  /* [a] translated while another hart may have been writing: retire at the next fence.i */
    uint64_t hash;        /* [P] of the page's bytes when it was first translated */
    _Atomic uint64_t armed_epoch; /* written under [L]: all harts must have served this request to drop write rights;
                                   * 0 = they have */
    uint32_t regions;             /* [P] bit per region that holds code of it */
    uint8_t num_crossings, crossings_made;         /* [P] */
    uint8_t *crossing_head;                        /* [P] displacement of the jump to the first */
    struct code_crossing crossing[CODE_CROSSINGS]; /* [P] */
    _Atomic(struct code_slots *) slots[SLOT_CHUNKS];
    pthread_mutex_t lock; /* taken by the hart that translates */
};

struct codecache {
    uint8_t *rw, *rx; /* (c) */
    size_t size, region_size;
    pthread_mutex_t lock;
    unsigned region;                                  /* [L] chunks come from here */
    size_t region_used;                               /* [L] bytes */
    size_t base_used;                                 /* (c) bytes of stubs at the start of region 0 */
    bool wrapped;                                     /* [L] region + 1 holds old code */
    uint64_t evictions;                               /* [X] regions emptied */
    _Atomic(struct code_page *) *by_page;             /* [a] per RAM page */
    _Atomic(struct code_page *) page[CODE_PAGES_MAX]; /* [a] by id; id 0 is never used */
    uint32_t next_id;                                 /* [L] ids are used once until everything is emptied */
    struct code_page **dirty;                         /* [L] pages fence.i has to look at */
    _Atomic unsigned num_dirty;                       /* written under [L], read by fence.i without */
    unsigned cap_dirty;
    struct code_page **retired; /* [L] to be freed at the next stop-the-world section */
    _Atomic unsigned num_retired;
    unsigned cap_retired;
    _Atomic uint64_t epoch; /* [a] grows when a page is retired: harts flush jump caches at their next fence.i */
    _Atomic uint64_t wflush_request; /* [a] grows: harts drop write rights to pages with code */
    _Atomic unsigned num_pages;
};

/* What the hart's thread keeps for translating and looking up. */
struct fetch_entry {
    uint64_t va_page;
    struct tlb_ctx *ctx;
    uint32_t id;
};

struct tcg_cpu {
    struct codecache *cc;       /* (c) */
    uint8_t *chunk, *chunk_end; /* (o) room for new code, rw alias */
    unsigned chunk_region;
    struct fetch_entry fetch[FETCH_CACHE_SIZE];
    void *tr;                      /* struct tr */
    uint8_t copy[GUEST_PAGE_SIZE]; /* of a page that others may be writing */
};

struct codecache *codecache_of(const struct machine *m);
bool codecache_create(struct codecache **out, struct machine *m, size_t size, struct error *err);
void codecache_destroy(struct codecache **cc);

static inline uint8_t *codecache_to_rx(const struct codecache *cc, const uint8_t *rw)
{
    return cc->rx + (rw - cc->rw);
}

/* Makes sure the hart's chunk has room for a unit. False when the cache is full: the dispatcher must evict. */
bool codecache_room(struct codecache *cc, struct tcg_cpu *t);
/* Stops the world and empties the oldest region (and frees what is retired). The caller is at a safe point. */
void codecache_evict(struct machine *m, struct cpu *self);

/* The current version of the code page at gpa; created when there is none. NULL when ids have run out (evict). */
struct code_page *codecache_page_get(struct codecache *cc, struct cpu *cpu, gpa_t gpa);
/* What to translate from, with page->lock held: the page itself, or, when others may be writing it, a copy. What is
 * made of a copy that is not what the page's hash was taken of is retired by the next fence.i. */
const uint8_t *codecache_page_bytes(struct codecache *cc, struct cpu *cpu, struct code_page *page);
/* With page->lock still held, when all was read: has anybody begun to write meanwhile? */
void codecache_page_read(struct codecache *cc, struct cpu *cpu, struct code_page *page, const uint8_t *bytes);

static inline uint32_t code_page_find(const struct code_page *p, unsigned off)
{
    struct code_slots *s = atomic_load_explicit(&p->slots[off >> 7], memory_order_acquire);
    return s ? atomic_load_explicit(&s->code[off >> 1 & 63], memory_order_acquire) : 0;
}

/* Publishes the block at offset `off` of the page. page->lock held. */
void code_page_publish(struct code_page *p, unsigned off, uint32_t code);

/* For code_page_written, which is given only the RAM. */
void codecache_set_machine(struct machine *m);

/* fence.i of one hart (Zifencei): pages written since are compared and retired; this hart's jump caches are flushed if
 * anything was retired since its last one. */
void tcg_fence_i(struct cpu *cpu);
/* Serves a request to drop write rights; the hart's own thread outside generated code. */
void codecache_serve_wflush(struct codecache *cc, struct cpu *cpu);

#endif
