/*
 * Moves bytes between ranks; knows no message's meaning. Two kinds: ZeroMQ between processes, loopback inside one
 * (tests).
 *
 * Each pair of ranks has two ordered streams, urgent and bulk, so that a page never stands before an invalidation.
 * Delivery is in order per stream or the peer is reported as lost: connections are not made a second time. Between
 * ranks of one host bytes travel over ipc, between hosts over tcp with CURVE: only the ranks of this run, whose keys
 * came by MPI, are let in.
 *
 * Call sequence (ZeroMQ): transport_zmq_bind(); exchange the addresses (weft/membership.h); transport_zmq_connect();
 * then send, receive, wait, lost; transport_destroy(). All calls on one transport come from one thread at a time, but
 * wake: any thread.
 */
#ifndef WEFT_TRANSPORT_H
#define WEFT_TRANSPORT_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "weft/config.h"
#include "weft/error.h"

enum traffic { TRAFFIC_URGENT, TRAFFIC_BULK, TRAFFIC_CLASSES };

enum { TRANSPORT_MESSAGE_MAX = 65536 };

struct transport;

/* Who may send and receive. Threads that only try it give way to one that waits for it: a stream of them could keep it
 * from the coherence thread for seconds otherwise. */
struct transport_owner {
    pthread_mutex_t mutex;
    _Atomic unsigned waiting;
};

static inline void transport_owner_lock(struct transport_owner *o)
{
    atomic_fetch_add(&o->waiting, 1);
    pthread_mutex_lock(&o->mutex);
    atomic_fetch_sub(&o->waiting, 1);
}

static inline bool transport_owner_try(struct transport_owner *o)
{
    return !atomic_load_explicit(&o->waiting, memory_order_relaxed) && !pthread_mutex_trylock(&o->mutex);
}

static inline void transport_owner_unlock(struct transport_owner *o)
{
    pthread_mutex_unlock(&o->mutex);
}

struct transport_ops {
    int (*send)(struct transport *t, unsigned rank, enum traffic traffic, const void *head, size_t head_length,
                const void *tail, size_t tail_length);
    ssize_t (*receive)(struct transport *t, int *src, enum traffic *traffic, const void **bytes);
    int (*wait)(struct transport *t, int64_t timeout_ns, struct transport_owner *owner);
    void (*wake)(struct transport *t);
    int (*assist)(struct transport *t, struct transport_owner *owner);
    void (*assist_end)(struct transport *t);
    int (*lost)(struct transport *t);
    void (*destroy)(struct transport *t);
};

/* First member of each kind's own struct. */
struct transport {
    const struct transport_ops *ops;
    unsigned self, ranks;
};

/* Queues head and tail as one message (both are copied: never a pointer into guest memory later). Does not block.
 * 0, -EAGAIN when the peer takes nothing any more, or -EHOSTUNREACH when its connection is gone. */
static inline int transport_send(struct transport *t, unsigned rank, enum traffic traffic, const void *head,
                                 size_t head_length, const void *tail, size_t tail_length)
{
    return t->ops->send(t, rank, traffic, head, head_length, tail, tail_length);
}

/* The next message, urgent ones first. Returns its length, or -EAGAIN. *src is the rank whose connection it came by, -1
 * if the connection belongs to no rank; *bytes holds until the next call. */
static inline ssize_t transport_receive(struct transport *t, int *src, enum traffic *traffic, const void **bytes)
{
    return t->ops->receive(t, src, traffic, bytes);
}

/* Waits until there may be something to receive, a rank was lost, transport_wake() was called (since the last wait
 * too), or the time is over (nanoseconds, -1 = none). Returns 0, or -errno. May return early. `owner` (or NULL) is held
 * by the caller and let go of while it sleeps: others may send and receive meanwhile, under it. */
static inline int transport_wait(struct transport *t, int64_t timeout_ns, struct transport_owner *owner)
{
    return t->ops->wait(t, timeout_ns, owner);
}

/* Ends the wait under way, or else the next one. Any thread. */
static inline void transport_wake(struct transport *t)
{
    t->ops->wake(t);
}

/* Waits for messages in place of the thread in transport_wait(), which sleeps on: for one that receives what it waits
 * for itself. Ends with a message or transport_assist_end(); may end early. -ENOTSUP where there is no such thing. One
 * thread at a time; `owner` as above. */
static inline int transport_assist(struct transport *t, struct transport_owner *owner)
{
    return t->ops->assist ? t->ops->assist(t, owner) : -ENOTSUP;
}

/* Any thread; does nothing where there is no such thing. */
static inline void transport_assist_end(struct transport *t)
{
    if (t->ops->assist_end) {
        t->ops->assist_end(t);
    }
}

/* A rank whose connection broke, each once; -1 if there is none. */
static inline int transport_lost(struct transport *t)
{
    return t->ops->lost(t);
}

/* Drops what is still queued after a short while, closes, frees, sets *t to NULL. */
static inline void transport_destroy(struct transport **t)
{
    if (*t) {
        (*t)->ops->destroy(*t);
        *t = NULL;
    }
}

/* The calling thread handles messages: the host's scheduler shall run it soon after it wakes. For the thread's whole
 * life. */
void transport_thread_urgent(void);

/* Those threads, if they start later than this call, get SCHED_FIFO where it is permitted: for a process that has a
 * processor for each of its harts. */
void transport_threads_realtime(bool on);

/* ---- ZeroMQ ---- */

enum { TRANSPORT_ADDRESSES = 8, TRANSPORT_KEY = 41 };

/* What a rank tells the others about how to reach it: fixed size, no pointers, sent by MPI. */
struct transport_address {
    uint32_t host; /* ranks with the same number share a host */
    uint16_t tcp_port[TRAFFIC_CLASSES];
    char ipc[TRAFFIC_CLASSES][96]; /* ipc://... */
    uint16_t num_addresses;
    struct {
        uint8_t family, prefix; /* 4 or 6, bits of the network part */
        uint8_t address[16];
    } addresses[TRANSPORT_ADDRESSES];
    char public_key[TRANSPORT_KEY]; /* CURVE, Z85 */
};

struct transport_zmq_config {
    unsigned self, ranks;
    uint32_t host;       /* from membership */
    bool several_hosts;  /* bind tcp too */
    const char *run_dir; /* for ipc sockets; made by membership, mode 0700 */
    int io_threads;      /* >= 1 */
    const int *io_cpus;  /* PUs for the I/O threads, or NULL */
    unsigned num_io_cpus;
    int silence_ms; /* a connection that is silent so long is broken */
};

/* Opens the sockets that others connect to and says where they are. NULL with a sentence on failure. */
struct transport *transport_zmq_bind(const struct transport_zmq_config *config, struct transport_address *mine,
                                     struct error *err);

/* Connects to every other rank and waits until all connections stand, both ways. all[rank]. */
bool transport_zmq_connect(struct transport *t, const struct transport_address *all, int timeout_ms, struct error *err);

struct membership;

/* All of it for a run with several ranks: bind, exchange addresses, connect, agree. Where it fails on one rank every
 * rank gets that rank's sentence and NULL. The thread that called membership_start. `io_cpus` as above, or NULL. */
struct transport *transport_join(const struct membership *members, int silence_ms, const int *io_cpus,
                                 unsigned num_io_cpus, struct error *err);

/* ---- loopback: ranks are threads of one process ---- */

struct transport_hub;
struct transport_hub *transport_hub_create(unsigned ranks);
/* Cuts a rank off: the others find it lost, what it sends goes nowhere. Any thread. */
void transport_hub_cut(struct transport_hub *hub, unsigned rank);
void transport_hub_destroy(struct transport_hub **hub);
struct transport *transport_loopback(struct transport_hub *hub, unsigned self);

#endif
