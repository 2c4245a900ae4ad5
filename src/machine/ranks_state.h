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

enum post_kind { POST_ASK = 1, POST_ANSWER, POST_IRQ, POST_STORE, POST_WORLD, POST_RECALL };
enum ask_what {
    ASK_READ,
    ASK_WRITE,
    ASK_PORT_WRITE,
    ASK_PORT_BYTES,
    ASK_FENCE,
    ASK_START,
    ASK_STATUS,
    ASK_PUT,
    ASK_GET
};

/* ASK: a hart waits for the answer, but for PORT_WRITE and PORT_BYTES there is none. */
struct ask {
    uint16_t hart; /* who asks */
    uint8_t what;  /* enum ask_what */
    uint8_t size;  /* READ, WRITE, PORT_WRITE: of the access; PUT, GET, PORT_BYTES: bytes */
    uint32_t number;
    uint64_t a, b, c;                    /* PORT_BYTES: a = the transmitter comes back */
    uint64_t harts[WEFT_MAX_HARTS / 64]; /* FENCE */
};

struct put_ask {
    struct ask ask;
    uint8_t bytes[RANKS_CONSOLE_MAX];
};

struct answer {
    uint16_t hart;
    uint8_t length;
    uint8_t lent; /* the transmitter of the UART comes with it (ranks_port.c) */
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

struct ranks_world;

/* An ask that needs the devices, on its way to whoever serves it with the BQL. */
struct queued_ask {
    struct queued_ask *next;
    unsigned src;
    struct put_ask put;
};

/* The UART's transmitter, as another rank than 0 has it: ranks_port.c. [P] lock; nothing but posting is done under it
 */
struct port_tenant {
    pthread_mutex_t lock;
    bool held;      /* [P] */
    bool armed;     /* [P] the flush is coming */
    unsigned left;  /* [P] bytes that this tenure may still write */
    unsigned count; /* [P] gathered */
    uint8_t bytes[RANKS_CONSOLE_MAX];
    uint16_t hart; /* (c) one of this rank's: a post names one */
    struct loop_bh *arm;
    struct loop_timer *flush;
};

/* The same as rank 0 sees it. Under the BQL where nothing else is said. */
struct port_owner {
    unsigned tenant; /* rank, or 0: nobody else */
    bool recalled;
    struct queued_ask *deferred, **last;           /* accesses that wait for it to come back */
    _Atomic uint64_t waiting[WEFT_MAX_HARTS / 64]; /* [a] harts of rank 0 that do */
    struct mmio_ops ops;                           /* (c) */
};

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

    struct port_tenant tenant;
    struct port_owner owner;

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

/* ---- ranks_port.c ---- */

void ranks_port_create(struct ranks *r);
void ranks_port_destroy(struct ranks *r);
/* The tenant's harts: true if the access is done. Else the transmitter is not here (any more): ask rank 0. */
bool ranks_port_read(struct ranks *r, uint64_t offset, uint64_t *value);
bool ranks_port_write(struct ranks *r, uint64_t offset, uint64_t value);
/* The answer that came lends the transmitter. Coherence thread. */
void ranks_port_lent(struct ranks *r);
/* Gives the transmitter back, if it is here. Any thread of another rank than 0. */
void ranks_port_return(struct ranks *r);

/* Rank 0, with the BQL: the answer to this ask may lend the transmitter. */
bool ranks_port_lend(struct ranks *r, unsigned to, const struct ask *ask);
/* True if the ask has to wait; then it is kept. Those whose turn has come are taken one by one, in order. */
bool ranks_port_defer(struct ranks *r, unsigned src, const struct ask *ask, struct queued_ask *q);
struct queued_ask *ranks_port_deferred(struct ranks *r);
void ranks_port_bytes(struct ranks *r, unsigned src, const struct ask *ask, const uint8_t *bytes);
/* Asks for the transmitter. False: it is here. */
bool ranks_port_recall(struct ranks *r);
/* What this rank's harts may wait for has come. Any thread. */
void ranks_port_wake(struct ranks *r);
/* The UART of rank 0 from now on waits for the transmitter. */
void ranks_port_guard(struct ranks *r, struct mmio_region *region);

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
/* Rank 0, with the BQL: no other rank uses the UART any more. */
void ranks_world_port_back(struct ranks *r);

/* This host has a processor for each hart of each of its ranks, if all have as many as this one. Before the call below.
 */
bool ranks_have_processors(unsigned num_harts);
/* Before MPI and any thread: see ranks_share.c. */
void ranks_take_share(const struct machine_config *cfg);

#endif
