/* What ranks.c, ranks_post.c, ranks_bus.c and ranks_world.c share: state, and the bodies of their posts. */
#ifndef WEFT_RANKS_STATE_H
#define WEFT_RANKS_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "ranks.h"
#include "weft/cluster.h"
#include "weft/page_user.h"

/* What a hart has asked of another rank and waits for; one at a time. */
struct call {
    _Atomic uint32_t over; /* [a] futex */
    _Atomic uint32_t left; /* [a] answers to come */
    uint32_t port_writes;  /* (o) since it last waited for one */
    uint32_t number;       /* (o) tells answers of an earlier one apart */
    uint64_t value;        /* written before `over` */
    uint8_t bytes[RANKS_CONSOLE_MAX];
};

enum post_kind { POST_ASK = 1, POST_ANSWER, POST_IRQ, POST_STORE, POST_WORLD };
enum ask_what { ASK_READ, ASK_WRITE, ASK_PORT_WRITE, ASK_FENCE, ASK_START, ASK_STATUS, ASK_PUT, ASK_GET };

/* ASK: a hart waits for the answer, but for that to PORT_WRITE. */
struct ask {
    uint16_t hart; /* who asks */
    uint8_t what;  /* enum ask_what */
    uint8_t size;  /* READ, WRITE, PORT_WRITE: of the access; PUT, GET: bytes */
    uint32_t number;
    uint64_t a, b, c;
    uint64_t harts[WEFT_MAX_HARTS / 64]; /* FENCE */
};

struct put_ask {
    struct ask ask;
    uint8_t bytes[RANKS_CONSOLE_MAX];
};

struct answer {
    uint16_t hart, length;
    uint32_t number;
    uint64_t value;
    uint8_t bytes[RANKS_CONSOLE_MAX];
};

/* IRQ: interrupt lines of one hart. */
struct irq_post {
    uint32_t hart, level;
    uint64_t mask;
    uint64_t fence; /* of the ownership of the interrupt controllers; 0 with a software interrupt */
};

/* STORE: to a register that belongs to a hart (ACLINT, IMSIC): one way, nobody waits. */
struct store_post {
    uint64_t gpa, value;
    uint32_t size, pad;
};

/* WORLD: a step of a change of the machine's state (ranks_world.c). */
struct world_post {
    uint8_t step, op;
    uint16_t pad;
    int32_t status; /* OFF */
    struct lock_fence fence;
    uint64_t ns; /* STOPPED: when the guest's clock stood still here; RESUME: clock_base_ns from now on */
};

_Static_assert(sizeof(struct put_ask) <= MSG_POST_MAX && sizeof(struct answer) <= MSG_POST_MAX, "fits one message");

struct queued_ask;
struct ranks_world;

/*
 * Legend: (c) fixed before the threads start  [a] atomic  [Q] queue_lock  (o) the hart's own thread
 */
struct ranks {
    struct machine *m;
    struct membership members; /* (c) */
    struct cluster *cluster;   /* (c) */
    struct page_users *users;  /* (c) */
    uint16_t rank_of_hart[WEFT_MAX_HARTS];
    bool ready;        /* main thread: all ranks were there */
    _Atomic int lost;  /* [a] */
    _Atomic bool over; /* [a] no answer will come any more */
    struct call call[WEFT_MAX_HARTS];

    /* Rank 0: asks that need the devices, in order; served by the main loop. */
    struct loop_bh *service_bh;
    pthread_mutex_t queue_lock;
    struct queued_ask *first, **last; /* [Q] */

    /* Rank 0: of its hold of "device.interrupts", (c). Others: the newest seen; coherence thread. */
    uint64_t device_fence;
    struct ranks_world *world; /* ranks_world.c */

    struct ranks_view *view;      /* ranks_view.h */
    struct ranks_figures figures; /* counters by __atomic_fetch_add */
};

/* ---- run.c, for ranks_world.c; main loop ---- */

/* Tells the machine that the run is over. Any thread. */
void machine_ended(struct machine *m, int status);
/* The machine's reset on this rank, with its harts stopped: devices, images (rank 0), harts. Calls done(r, ok), perhaps
 * later: nothing blocks the loop. */
void machine_reset_here(struct machine *m, void (*done)(struct ranks *r, bool ok), struct ranks *r);
/* Tells who waits in machine_pause that the whole machine stands, or runs. */
void machine_paused(struct machine *m, bool paused);

/* ---- ranks_post.c ---- */

static inline void ranks_count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

void ranks_on_post(void *opaque, unsigned src, uint32_t kind, const void *bytes, size_t length);
void ranks_remote_irq(struct cpu *cpu, uint64_t mask, bool level);
void ranks_serve_asks(void *opaque);
void ranks_calls_fail(struct ranks *r);
void ranks_queue_clear(struct ranks *r);
/* The hart's next call, of so many answers. Own thread. */
struct call *ranks_call_begin(struct cpu *cpu, struct ask *ask, unsigned answers);
void ranks_answer(struct ranks *r, unsigned src, const struct ask *ask, uint64_t value, const void *bytes,
                  unsigned length);

/* ---- ranks_bus.c ---- */

/* What another rank asked of a device. Main loop of rank 0, with the BQL. */
uint64_t ranks_bus_access(struct machine *m, const struct ask *ask);
/* The same of a register of a hart of this rank: done and answered here; false if it is none. Coherence thread. */
bool ranks_bus_hart_access(struct ranks *r, unsigned src, const struct ask *ask);
bool ranks_bus_stored(struct ranks *r, const struct store_post *p);

/* ---- ranks_world.c ---- */

void ranks_world_create(struct ranks *r);
void ranks_world_destroy(struct ranks *r);
/* Coherence thread. */
bool ranks_world_post(struct ranks *r, unsigned src, const struct world_post *p);

/* This host has a processor for each hart of each of its ranks, if all have as many as this one. Before the call below.
 */
bool ranks_have_processors(unsigned num_harts);
/* Before MPI and any thread: see ranks_share.c. */
void ranks_take_share(const struct machine_config *cfg);

#endif
