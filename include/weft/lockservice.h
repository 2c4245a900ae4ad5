/*
 * The lock service: named locks over ranks, shared and exclusive. A pure step function, as the directory is.
 *
 * The master of a lock is chosen by its name among the ranks alive. A rank keeps the token of a lock until another rank
 * asks, so a repeat costs no message; local waiters queue in order and the token leaves after a budget of local grants;
 * the holder passes it straight to the next rank. Each grant carries a fence that only grows: a receiver of work done
 * under a lock refuses a smaller one than it has seen. Leases make a cut-off rank stop before its locks go to others;
 * when a rank dies, masters are chosen anew and learn from the survivors who holds what.
 *
 * What spans ranks goes through it (machine state, device ownership, stop-the-world); never guest atomics or pages.
 *
 * Call sequence: lock_service_create(); lock_service_open() names; then events one at a time; lock_service_destroy().
 * Threads: one caller at a time (the cluster's lock mutex).
 * No upgrade in place: a holder releases before it acquires the same lock again.
 */
#ifndef WEFT_LOCKSERVICE_H
#define WEFT_LOCKSERVICE_H

#include <stdbool.h>
#include <stdint.h>
#include "weft/message.h"

enum {
    LOCKS_MAX = 128,
    LOCK_WAITERS = 512,
    LOCK_BUDGET = 8, /* local grants after another rank has asked */
    LOCK_ACTIONS = LOCK_WAITERS + 2 * LOCKS_MAX + WEFT_MAX_RANKS * 4,
};

/* Ordered by token first. Every exclusive grant is greater than all grants before it. */
struct lock_fence {
    uint64_t token; /* of the rank's token */
    uint64_t local; /* of the grant under that token */
};

static inline bool lock_fence_less(struct lock_fence a, struct lock_fence b)
{
    return a.token < b.token || (a.token == b.token && a.local < b.local);
}

struct lock_service_config {
    unsigned self, ranks;
    uint64_t lease_ns;  /* a rank that hears nothing of a peer so long stops granting */
    uint64_t margin_ns; /* how far two clocks may drift apart over a lease */
};

enum lock_action_kind {
    LOCK_SEND,     /* send `message` to rank `peer` */
    LOCK_GRANTED,  /* the waiter `cookie` holds the lock under `fence` */
    LOCK_FAILED,   /* the waiter `cookie` will not get it: this rank is cut off from the majority */
    LOCK_ISOLATED, /* this rank is fenced: whatever it held counts no more; the machine here must end */
};

struct lock_action {
    enum lock_action_kind kind;
    uint16_t peer;
    uint16_t lock;
    uint64_t cookie;
    uint64_t waited_ns;
    struct lock_fence fence;
    struct lock_message message;
};

struct lock_actions {
    unsigned count;
    struct lock_action at[LOCK_ACTIONS];
};

struct lock_stats {
    uint64_t acquires, cached, waits, handoffs, early, recalls, wait_ns, wait_max_ns;
};

/* For `info locks`. */
struct lock_view {
    const char *name;
    unsigned master;
    enum lock_mode token;
    unsigned shared_holders, waiters;
    bool exclusive_holder, recalled;
    uint64_t master_holders; /* ranks; at the master only */
    unsigned master_waiters;
    uint64_t fence;
    struct lock_stats stats;
};

struct lock_service;

struct lock_service *lock_service_create(const struct lock_service_config *config, uint64_t now);
void lock_service_destroy(struct lock_service **service);

/* The number of a lock by name (made at first use), or -1 when the table is full or the name too long. */
int lock_service_open(struct lock_service *s, const char *name);

/* Ends in one GRANTED or FAILED, perhaps at once. First come, first served on this rank. */
void lock_service_acquire(struct lock_service *s, uint64_t now, unsigned lock, enum lock_mode mode, uint64_t cookie,
                          struct lock_actions *out);
/* The holder of a grant of that mode gives it back. */
void lock_service_release(struct lock_service *s, uint64_t now, unsigned lock, enum lock_mode mode,
                          struct lock_actions *out);
/* Takes the quickest way: true and the fence if the lock is granted without a wait. Nothing is queued otherwise. */
bool lock_service_try(struct lock_service *s, uint64_t now, unsigned lock, enum lock_mode mode,
                      struct lock_fence *fence);

/* A valid lock message. NULL, or what the peer did wrong. */
const char *lock_service_message(struct lock_service *s, uint64_t now, const struct lock_message *message,
                                 struct lock_actions *out);
/* A beat of this peer was heard / an echo of the beat that this rank sent at `sent` came back. */
void lock_service_heard(struct lock_service *s, uint64_t now, unsigned peer);
void lock_service_echoed(struct lock_service *s, uint64_t now, unsigned peer, uint64_t sent, struct lock_actions *out);
/* These ranks are dead (more may be known already). */
void lock_service_dead(struct lock_service *s, uint64_t now, uint64_t dead, struct lock_actions *out);
void lock_service_tick(struct lock_service *s, uint64_t now, struct lock_actions *out);
uint64_t lock_service_deadline(const struct lock_service *s);

/* True while what this rank holds counts: its lease lasts and it is not fenced. */
bool lock_service_valid(const struct lock_service *s, uint64_t now);
uint64_t lock_service_dead_ranks(const struct lock_service *s);
unsigned lock_service_count(const struct lock_service *s);
struct lock_view lock_service_view(const struct lock_service *s, unsigned lock);

#endif
