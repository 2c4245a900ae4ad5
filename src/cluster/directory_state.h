/* The state of the directory, shared by its two halves: directory.c (the rank's side) and directory_home.c. */
#ifndef WEFT_DIRECTORY_STATE_H
#define WEFT_DIRECTORY_STATE_H

#include "weft/directory.h"

enum {
    NONE = 0,         /* indexes below are stored plus one */
    LOOP_MAX = 512,   /* messages of a rank to itself in one step */
    PARKED_MAX = 256, /* entries put off by the hold time */
    STREAMS = 8,
    FOLLOW_BITS = 14, /* of the number of an entry of the table of what follows what */
    DIR_MAX_RANGES = 128,
};

/*
 * What this rank holds of a page. Invariants:
 *   state == WRITE at this rank  =>  state == NONE at every other rank, or they have an INVALIDATE or FORWARD on the
 * way take != NONE                 =>  the home waits for it: no second take of the page can be asked version names the
 * bytes in local memory, also while state == NONE (0: never held)
 */
struct line {
    uint64_t version;
    uint16_t request, take;
    uint8_t state;  /* enum page_right */
    uint8_t served; /* the home said so; forgotten when it says otherwise */
    bool foretold;  /* it came before anyone asked, and is not known to have been used */
    uint16_t by;    /* if foretold: the entry of the table that did */
    uint8_t wrote;  /* how often lately a read here was followed by a write: see dir_right_to_ask() */
};

/* The leader of all local waiters for a page. In the pool or named by exactly one line. */
struct request {
    uint64_t page, start;
    uint32_t ticket;
    uint16_t waiters, last_waiter; /* first in, first out */
    uint16_t next_free;
    uint8_t want, flags;
    uint8_t granted, acks, acks_got, hops, upgrade;
    bool over; /* the home wants no DONE */
    bool used;
    uint16_t by; /* GET_FOLLOW: the entry of the table that foretold the page */
};

struct waiter {
    uint64_t cookie, start;
    uint16_t next;
    uint8_t want, flags;
};

/* Local users are being brought down; then the answer goes out. */
struct take {
    uint64_t page, have;
    uint32_t ticket;
    uint16_t requester, next_free;
    uint8_t right; /* what stays here */
    uint8_t acks;
    bool invalidate; /* answer INVALIDATED, else GRANT */
};

struct operation {
    uint64_t page, cookie, start;
    uint32_t ticket;
    uint16_t next_free;
    bool used;
};

/* A GET at its home: queued in its entry, or active (out of the queue, DONE not yet seen). */
struct txn {
    uint64_t page, have;
    uint32_t ticket;
    uint16_t requester, next; /* next in queue, in the active list or in the pool */
    uint8_t right, flags;
};

/*
 * Home side of a page. Invariants:
 *   holders != 0; exclusive => one bit
 *   active transactions: any number of reads served from a shared page, or exactly one that changes the holders
 * (settling)
 */
struct entry {
    uint64_t holders; /* ranks */
    uint64_t until;   /* end of the hold time or, if hot, of the term at home */
    uint32_t window;  /* the heat window that `heat` counts */
    uint32_t moves;   /* transfers since the start, saturating */
    uint16_t head, tail, active;
    uint16_t ops;        /* remote accesses in this term, saturating */
    uint8_t heat;        /* transfers in this window, saturating */
    uint8_t shuns;       /* terms at home that did not pay */
    uint32_t shunned_to; /* the window in which the page may be served again, if shuns */
    bool exclusive, settling, hot, heating, parked;
};

struct stream {
    uint64_t next;
    uint32_t used;
    uint8_t right; /* enum page_right: what the stream does with the pages */
    uint8_t depth;
    uint8_t asked; /* of the `depth` pages from `next` on: those that were not here already */
};

/* After a fault in `context` came one on `page` in `next`. Direct mapped by context. */
struct follow {
    uint32_t context, next;
    uint64_t page;
    uint8_t right;
    uint8_t trust; /* how often lately: at FOLLOW_TRUST it is acted upon */
};

/* The last fault of a thread and what was foretold to come after it. */
struct trail {
    unsigned length;
    uint32_t context[DIR_FOLLOW_MAX + 1];
};

struct directory {
    struct directory_config config;
    struct home_range ranges[DIR_MAX_RANGES];
    uint64_t entry_base[DIR_MAX_RANGES]; /* index of the range's first entry, if homed here */
    uint64_t pages, entries;
    uint64_t now; /* of the current step */
    bool lost;
    struct line *lines;
    struct entry *entry;
    struct request requests[DIR_REQUESTS];
    struct waiter waiters[DIR_WAITERS];
    struct operation operations[DIR_OPS];
    struct take *takes; /* one per transaction that can exist */
    struct txn *txns;
    unsigned num_txns;
    uint16_t free_request, free_waiter, free_operation, free_take, free_txn;
    uint16_t outstanding[WEFT_MAX_RANKS]; /* home: transactions of each rank */
    unsigned requests_used, txns_used, prefetches, generation;
    uint64_t parked[PARKED_MAX];
    unsigned num_parked;
    struct stream streams[STREAMS];
    uint32_t stream_clock;
    unsigned migrations;   /* reads that asked for WRITE */
    struct follow *follow; /* 1 << FOLLOW_BITS */
    struct trail trail[DIR_FOLLOWERS];
    struct page_message loop[LOOP_MAX];
    unsigned loop_head, loop_tail;
    struct directory_stats stats;
};

static inline uint64_t rank_bit(unsigned rank)
{
    return 1ull << rank;
}

struct dir_action *dir_emit(struct dir_actions *out, enum dir_action_kind kind, uint64_t page);
/* Sends now, or queues for this very step if dst is this rank. The caller fills the body it gets back. */
union page_body *dir_send(struct directory *d, struct dir_actions *out, unsigned dst, enum msg_type type,
                          uint64_t page);
struct entry *dir_entry(struct directory *d, uint64_t page);
/* Rank side: READ, or WRITE for a page that each rank reads and then writes before the next one does (migratory). */
enum page_right dir_right_to_ask(struct directory *d, struct line *l, enum page_right right);
/* A page that was foretold leaves or is asked for: what foretold it learns whether it was right. */
void dir_follow_judge(struct directory *d, struct line *l, bool used);

/* Rank side: a request that nobody waits for yet. NULL when the pool is too full. */
struct request *dir_request_ahead(struct directory *d, uint64_t page, enum page_right right, unsigned flags);
void dir_request_send(struct directory *d, struct request *r, struct dir_actions *out);
void dir_drain_loop(struct directory *d, struct dir_actions *out);
/* Rank side: makes this rank ask for the page with no waiter, for the home's own use. False if it cannot now. */
bool dir_ask_for_home(struct directory *d, uint64_t page, uint32_t *ticket);

const char *dir_home_get(struct directory *d, unsigned src, const struct msg_get *m, struct dir_actions *out);
const char *dir_home_done(struct directory *d, unsigned src, const struct msg_done *m, struct dir_actions *out);
const char *dir_home_op(struct directory *d, unsigned src, const struct msg_op *m, struct dir_actions *out);
/*
 * This rank answers a FORWARD. If it is the home itself, what it says to the requester later comes behind this GRANT:
 * it need not be told of the end. Then dir_home_grants() is true, the GRANT says so, and dir_home_granted() ends the
 * transaction once the GRANT is among the actions.
 */
bool dir_home_grants(struct directory *d, uint64_t page, unsigned requester, uint32_t ticket);
void dir_home_granted(struct directory *d, uint64_t page, unsigned requester, uint32_t ticket, struct dir_actions *out);
void dir_home_tick(struct directory *d, struct dir_actions *out);

#endif
