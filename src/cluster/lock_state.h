/* The state of the lock service, shared by its two halves: lockservice.c (every rank) and lock_master.c. */
#ifndef WEFT_LOCK_STATE_H
#define WEFT_LOCK_STATE_H

#include "weft/lockservice.h"

enum { LOOP_LOCKS = 512 };

struct lock_waiter {
    uint64_t cookie, start;
    uint16_t next; /* index plus one, 0 = none */
    uint8_t mode;
};

struct lock_ask {
    uint64_t hint; /* the token of which the rank has told its holder */
    uint16_t rank;
    uint8_t mode;
};

/*
 * Invariants over all ranks that have the same set of dead ranks:
 *   at most one rank has the exclusive token, and then no other rank has a shared one
 *   exclusive_holder => token == EXCLUSIVE; shared_holders => token != NONE
 *   the master's `holders` are the ranks with a token or given_to, but for the transfer under way
 *   given_to => no exclusive token, and a request of that rank is under way
 */
struct lock {
    char name[MSG_LOCK_NAME];
    /* This rank as a client. */
    uint8_t token; /* enum lock_mode */
    uint8_t asked; /* what the master was asked for and has not given yet */
    bool exclusive_holder;
    uint32_t shared_holders;
    uint64_t fence, local;
    uint16_t head, tail; /* waiters */
    /* A grant that still lacks RELEASED messages. They may come before it. */
    uint8_t incoming; /* mode, or NONE */
    uint8_t acks, acks_got;
    uint64_t incoming_fence;
    /* Who got the token from here, and under which fence: it may still be there. The next request tells that rank, too,
     * which may then release early. 0: not known. */
    uint16_t hint_rank;
    uint64_t hint_fence;
    uint64_t hinted;              /* of the request under way */
    bool offered, incoming_early; /* RELEASED for the hint is here / counts, says the grant */
    /* The master wants the token to go to another rank; or it will, as that rank's hint says (recall_hinted). */
    bool recalled, recall_hinted;
    bool recall_release; /* the grant comes from the master */
    uint8_t recall_mode, budget;
    uint16_t recall_to;
    uint64_t recall_fence;
    /* Released early for that rank, plus one: its master's recall will come, and may be for another rank. */
    uint16_t given_to;
    /* This rank as the master. */
    uint64_t holders;
    bool exclusive;
    uint64_t tenure; /* fence of the exclusive token */
    bool moving;     /* a transfer to `moving_to` is under way */
    uint8_t moving_mode;
    uint16_t moving_to;
    uint64_t next_fence;
    uint8_t num_asks;
    struct lock_ask asks[WEFT_MAX_RANKS]; /* first come, first served; one per rank */
    struct lock_stats stats;
};

struct lock_service {
    struct lock_service_config config;
    uint64_t now, dead;
    bool isolated;
    uint64_t lease_until, epoch_start;
    uint64_t echoed[WEFT_MAX_RANKS]; /* when the last beat that the peer echoed was sent */
    uint64_t heard[WEFT_MAX_RANKS];
    /* Masters after a death: grant nothing until every rank alive has told what it holds and the dead rank's lease is
     * over. */
    uint64_t free_at;
    uint16_t reports[WEFT_MAX_RANKS];  /* received */
    uint16_t expected[WEFT_MAX_RANKS]; /* announced by REPORT_END, plus one; 0 = not announced */
    unsigned num_locks;
    struct lock lock[LOCKS_MAX];
    struct lock_waiter waiter[LOCK_WAITERS];
    uint16_t free_waiter;
    struct lock_message loop[LOOP_LOCKS];
    unsigned loop_head, loop_tail;
};

static inline uint64_t lock_rank_bit(unsigned rank)
{
    return 1ull << rank;
}

/* Sends now, or queues for this very step if dst is this rank. The caller fills what differs by type. */
struct msg_lock *lock_send(struct lock_service *s, struct lock_actions *out, unsigned dst, enum msg_type type,
                           const struct lock *l, enum lock_mode mode, uint64_t fence);
unsigned lock_master_rank(const struct lock_service *s, const char *name);

const char *lock_master_request(struct lock_service *s, struct lock *l, unsigned src, const struct msg_lock *m,
                                struct lock_actions *out);
const char *lock_master_owned(struct lock_service *s, struct lock *l, unsigned src, const struct msg_lock *m,
                              struct lock_actions *out);
const char *lock_master_report(struct lock_service *s, struct lock *l, unsigned src, const struct msg_lock *m,
                               struct lock_actions *out);
void lock_master_report_end(struct lock_service *s, unsigned src, const struct msg_lock *m, struct lock_actions *out);
void lock_master_forget(struct lock_service *s);
void lock_master_tick(struct lock_service *s, struct lock_actions *out);

#endif
