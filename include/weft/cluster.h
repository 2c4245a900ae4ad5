/*
 * One rank's part in the cluster: the `coherence` thread, which owns the transport, the directory and the timers and
 * never waits for a reply; the lock service; beats, clock estimate and the end of the run.
 *
 * Call sequence: cluster_create(); cluster_start(); pages through cluster_pages() (weft/page_source.h), locks and posts
 * from any thread; cluster_end() once on some rank; when on_end() was called on this rank: cluster_stop();
 * cluster_destroy().
 *
 * Threads: [C] coherence thread, or another one in its role for a step (cluster->owner); [L] cluster->lock_mutex, [I]
 * cluster->inbox_mutex: no callback is made under these two but by such a step. Callbacks of struct cluster_ops run on
 * the coherence thread and must not block.
 */
#ifndef WEFT_CLUSTER_H
#define WEFT_CLUSTER_H

#include "weft/directory.h"
#include "weft/lockservice.h"
#include "weft/membership.h"
#include "weft/page_source.h"
#include "weft/transport.h"

struct cluster;

struct cluster_ops {
    /* A message that another rank posted (cluster_post). In the order in which that rank posted to this one. */
    void (*on_post)(void *opaque, unsigned src, uint32_t kind, const void *bytes, size_t length);
    /* The run ends: status for mpirun; if a rank was lost, lost >= 0 and the sentence names it. Called once, also on
     * the rank that called cluster_end. */
    void (*on_end)(void *opaque, int status, int lost, const char *sentence);
};

struct cluster_config {
    const struct membership *members; /* borrowed */
    struct transport *transport;      /* taken: destroyed with the cluster */
    unsigned num_ranges;
    const struct home_range *ranges; /* copied */
    uint8_t *ram;                    /* first byte of page 0; pages are contiguous */
    const struct page_user_ops *users;
    void *users_opaque;
    const struct cluster_ops *ops;
    void *opaque;
    /* Tuning; 0 = default. */
    uint64_t hold_us;       /* a page that bounces stays at least so long */
    unsigned hot_transfers; /* transfers in 10 ms that make a page be served at home */
    bool no_hot, no_prefetch;
    unsigned silence_ms;   /* a rank that is silent so long is lost */
    uint64_t idle_poll_us; /* its processor does not go to sleep so long after a message about pages; 0 = it may */
};

enum {
    CLUSTER_DEFAULT_HOLD_US = 60,
    CLUSTER_DEFAULT_HOT = 24,
    CLUSTER_SILENCE_MS = 3500,
    CLUSTER_PREFETCH = 16,
    CLUSTER_FOLLOW = 12
};

struct cluster *cluster_create(const struct cluster_config *config);
/* Starts the thread (named "coherence"). After all ranks have connected. */
bool cluster_start(struct cluster *c, struct error *err);
struct page_source *cluster_pages(struct cluster *c);
/* Thread id for placement. */
int cluster_thread_tid(const struct cluster *c);

/* One-way message to a handler on another rank: at most MSG_POST_MAX bytes, urgent, in order. Any thread, never blocks.
 */
void cluster_post(struct cluster *c, unsigned rank, uint32_t kind, const void *bytes, size_t length);

/* Ends the run on every rank with this status. Any thread. */
void cluster_end(struct cluster *c, int status, const char *sentence);
/* Ends the thread: everything queued has been given to the transport. Not from the coherence thread. */
void cluster_stop(struct cluster *c);
void cluster_destroy(struct cluster **c);

/* ---- durations ---- */

enum { CLUSTER_BUCKETS = 160 };

/* Durations: four buckets per power of two of nanoseconds. */
struct cluster_histogram {
    uint64_t count, sum_ns;
    uint64_t bucket[CLUSTER_BUCKETS];
};

uint64_t cluster_percentile_ns(const struct cluster_histogram *h, double percent);
/* Adds what another histogram has counted. */
void cluster_histogram_merge(struct cluster_histogram *to, const struct cluster_histogram *from);

/* ---- locks over ranks ---- */

struct cluster_lock_request {
    /* Called by any thread, also from inside cluster_lock_acquire; `ok` false: this rank is cut off. Must not block. */
    void (*done)(struct cluster_lock_request *request, bool ok, struct lock_fence fence);
    struct cluster_lock_request *next; /* private */
    struct lock_fence fence;           /* private */
    bool ok;                           /* private */
};

/* The number of a lock, for the calls below; -1 if the name is too long or there are too many. */
int cluster_lock_open(struct cluster *c, const char *name);
void cluster_lock_acquire(struct cluster *c, int lock, enum lock_mode mode, struct cluster_lock_request *request);
/* Waits. Not for vCPU threads, loops or the coherence thread. False: this rank is cut off. */
bool cluster_lock(struct cluster *c, int lock, enum lock_mode mode, struct lock_fence *fence);
void cluster_unlock(struct cluster *c, int lock, enum lock_mode mode);
/* True while what this rank holds counts. */
bool cluster_locks_valid(struct cluster *c);
/* For `info locks`; false past the last. The name stays valid as long as the cluster. */
bool cluster_lock_view(struct cluster *c, unsigned index, struct lock_view *view);
/* How long the grants of that lock on this rank had to wait that were not immediate. */
void cluster_lock_waits(struct cluster *c, unsigned index, struct cluster_histogram *waits);

/* ---- time ---- */

/* The clock of all ranks, in ns: rank 0's CLOCK_MONOTONIC as this rank knows it. Whoever has seen what another did, on
 * whatever rank, reads no earlier time than that one read before it. 0: not known yet. Any thread, never waits. */
uint64_t cluster_time_ns(struct cluster *c);
/* It is known well enough to begin (docs/protocol.md, Time). Any thread. */
bool cluster_clock_known(struct cluster *c);
/* What has to be added to this rank's CLOCK_MONOTONIC for rank 0's, as measured; on rank 0's host, where nothing is
 * added, that is for show. *residual_ns: a bound of its error; UINT64_MAX: nothing is known. Any thread. */
int64_t cluster_clock_offset_ns(struct cluster *c, uint64_t *residual_ns);

/* ---- statistics ---- */

struct cluster_peer_stats {
    uint64_t messages_sent[MSG_TYPES], messages_received[MSG_TYPES];
    uint64_t bytes_sent, bytes_received, pages_sent, zero_pages_sent, pages_received;
    uint64_t beat_rtt_ns;                       /* last */
    struct cluster_histogram fault[DIR_FAULTS]; /* on pages that are homed on this peer */
};

struct hot_page {
    uint64_t page, transfers; /* transfers of the page, or accesses that were served for others */
};

enum { CLUSTER_HOT = 16 };

struct cluster_stats {
    struct directory_stats directory;
    struct cluster_histogram fault[DIR_FAULTS][2]; /* [][0]: answered by the home alone, [][1]: by a third rank too */
    struct cluster_histogram remote_access;
    struct cluster_peer_stats peer[WEFT_MAX_RANKS];
    uint64_t bad_messages;
    /* Times of other ranks that were ahead of this one's estimate, and the most. */
    uint64_t clock_raised, clock_raised_max_ns;
    /* Pages homed here, most first, up to one with a count of 0: those that moved most; those served most, where a
     * count is an upper bound once more than CLUSTER_HOT pages were served. */
    struct hot_page moved[CLUSTER_HOT], served[CLUSTER_HOT];
};

/* A copy, as of some moment. Any thread but the coherence thread; asks that thread and waits for it shortly. */
void cluster_stats_get(struct cluster *c, struct cluster_stats *stats);

/* The pages homed on this rank that moved most, most first; returns how many. After cluster_stop(). */
unsigned cluster_hot_pages(struct cluster *c, struct hot_page *pages, unsigned max);

#endif
