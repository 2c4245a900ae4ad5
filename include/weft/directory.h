/*
 * The directory: which rank may read and write which page of guest memory. A pure step function.
 *
 * Each page has a home rank that keeps its entry and settles one conflicting transaction at a time; each rank keeps a
 * line per page (none, read, write). Every event below changes the state and appends actions for the caller to carry
 * out, in order. Nothing here sends, waits, reads a clock, starts a thread or allocates (directory_create() does,
 * once), so the simulator in tests/sim drives this very code. The protocol is told in docs/protocol.md and modelled in
 * directory.pml.
 *
 * Call sequence: directory_create(); then events in any order, one at a time; directory_destroy().
 * Threads: one caller at a time (the coherence thread).
 * Errors: a peer that breaks the protocol gets a constant sentence from directory_message(); the state is unchanged
 * then.
 */
#ifndef WEFT_DIRECTORY_H
#define WEFT_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>
#include "weft/message.h"

enum {
    DIR_REQUESTS = 512,  /* outstanding requests a rank may have, prefetch included */
    DIR_WAITERS = 1024,  /* local threads and DMA transfers waiting for pages */
    DIR_OPS = 512,       /* outstanding remote accesses a rank may have */
    DIR_PREFETCHES = 64, /* outstanding prefetches */
    DIR_FOLLOWERS = 64,  /* threads whose faults are told apart */
    DIR_FOLLOW_MAX = 16,
    DIR_ACTIONS = DIR_WAITERS + DIR_OPS + 256,
};

/* Guest pages `first` .. `first + count - 1` are homed on `rank`. Ranges ascend and leave no hole. */
struct home_range {
    uint64_t first, count;
    uint16_t rank;
};

struct directory_config {
    unsigned self, ranks;
    unsigned num_ranges;
    const struct home_range *ranges; /* copied */
    uint64_t hold_ns;                /* a page that bounces stays at least so long; 0 = no hold */
    uint64_t hot_ns;                 /* window over which transfers are counted, and length of a term at home */
    unsigned hot_transfers;          /* transfers in a window that make a page hot; 0 = never */
    unsigned prefetch_depth;         /* pages ahead of a sequential reader or writer; 0 = none */
    unsigned follow_depth;           /* pages asked for because they followed before, at most DIR_FOLLOW_MAX */
};

enum dir_action_kind {
    DIR_SEND,     /* send `message` to rank `peer`; a GRANT with GRANT_PAGE is followed by the page as it is now */
    DIR_TAKE,     /* bring every local user down to `right`, then call directory_taken() */
    DIR_DATA,     /* store the page that came with the message (or zeroes) into local memory; local right is none */
    DIR_RIGHT,    /* local users may now have `right` */
    DIR_COMPLETE, /* the waiter `cookie` is done: `status` */
    DIR_EXECUTE,  /* home: perform message.body.op for rank `peer` on local memory, send the OP_REPLY */
    DIR_RESULT,   /* the remote access of `cookie` is done: `status`, `value` */
};

enum dir_status {
    DIR_GRANTED, /* the right is here */
    DIR_SERVED,  /* the page stays at its home: use directory_operate() */
    DIR_RETRY,   /* of an operation: the page is no longer served, acquire it. Of a waiter: pool empty, ask again */
    DIR_LOST,    /* a rank was lost: the page will not come */
};

enum dir_fault { DIR_FAULT_READ, DIR_FAULT_WRITE, DIR_FAULT_UPGRADE, DIR_FAULT_PREFETCH, DIR_FAULTS };

struct dir_action {
    enum dir_action_kind kind;
    uint8_t right;  /* TAKE, RIGHT: enum page_right */
    uint8_t status; /* COMPLETE, RESULT: enum dir_status */
    uint8_t fault;  /* COMPLETE: enum dir_fault */
    uint8_t data;   /* DATA: enum grant_data */
    uint8_t hops;   /* COMPLETE: 2 or 3; 0 = nothing travelled */
    uint16_t peer;
    uint64_t page, cookie, value;
    uint64_t waited_ns; /* COMPLETE, RESULT: since the request was made */
    struct page_message message;
};

struct dir_actions {
    unsigned count;
    struct dir_action at[DIR_ACTIONS];
};

struct directory_stats {
    uint64_t faults[DIR_FAULTS];
    uint64_t coalesced; /* waiters that found a leader */
    uint64_t grants_data, grants_same;
    uint64_t invalidations; /* sent as home */
    uint64_t held;          /* transactions put off by the hold time */
    uint64_t hot_begun, hot_ended, ops_served, ops_refused;
    uint64_t follow_asked, follow_used, follow_wasted; /* pages that were foretold; when they left: used or not */
    uint64_t prefetch_asked, prefetch_refused, prefetch_stored, prefetch_hits; /* hits: pages a reader then passed */
};

struct directory;

struct directory *directory_create(const struct directory_config *config);
void directory_destroy(struct directory **directory);

/* A local thread or transfer wants `right` on `page`. Flags: GET_WHOLE. Ends in one COMPLETE (perhaps at once). */
void directory_acquire(struct directory *d, uint64_t now, uint64_t page, enum page_right right, unsigned flags,
                       uint64_t cookie, struct dir_actions *out);

/* The same for thread `who`, whose next faults can be foretold: `context` is a number that is the same when the same
 * code faults on the same page. Learns what follows what, and asks also for what followed the last times; asks for
 * WRITE at once where that was always wanted next. */
void directory_fault(struct directory *d, uint64_t now, uint64_t page, enum page_right right, unsigned flags,
                     unsigned who, uint32_t context, uint64_t cookie, struct dir_actions *out);

/* A local thread performs one access at the home of a page that is served there. Ends in one RESULT. */
void directory_operate(struct directory *d, uint64_t now, const struct msg_op *op, uint64_t cookie,
                       struct dir_actions *out);

/* A valid message from another rank. Returns NULL, or what the peer did wrong. */
const char *directory_message(struct directory *d, uint64_t now, const struct page_message *message,
                              struct dir_actions *out);

/* Every local user is down to what the TAKE said. */
void directory_taken(struct directory *d, uint64_t now, uint64_t page, unsigned how, struct dir_actions *out);

/* Time has passed. Call at directory_deadline() (UINT64_MAX: no need). */
void directory_tick(struct directory *d, uint64_t now, struct dir_actions *out);
uint64_t directory_deadline(const struct directory *d);

/* A rank is gone: every waiter and operation, now and later, that needs another rank ends with DIR_LOST. */
void directory_lost(struct directory *d, struct dir_actions *out);

unsigned directory_home(const struct directory *d, uint64_t page);
enum page_right directory_right(const struct directory *d, uint64_t page);
uint64_t directory_version(const struct directory *d, uint64_t page);
const struct directory_stats *directory_stats(const struct directory *d);
/* Requests this rank has outstanding and transactions it is settling as home: 0 when nothing is under way. */
unsigned directory_busy(const struct directory *d);
/* Home only: the entry as "exclusive?, holders, transfers in this window, served here?". For `info coherence`. */
struct dir_view {
    uint64_t holders;
    bool exclusive, hot, busy;
    unsigned heat;
    uint64_t moves; /* transfers since the start */
};
struct dir_view directory_view(const struct directory *d, uint64_t page);

#endif
