/* The coherence thread's state, shared by the files of the driver. */
#ifndef WEFT_CLUSTER_STATE_H
#define WEFT_CLUSTER_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "clock_sync.h"
#include "idle_poll.h"
#include "weft/cluster.h"

enum {
    BEAT_MS = 250,
    LEASE_MS = 2000,
    MARGIN_MS = 50,
    CLUSTER_MAX_TAKEN = WEFT_MAX_RANKS * DIR_REQUESTS,
};

struct taken {
    uint64_t page;
    uint8_t how;
};

/* A message from another thread of this rank, to be sent by the coherence thread. */
struct outgoing {
    struct outgoing *next;
    uint16_t rank;
    struct message message;
};

/* Messages of one step to one rank and class: they leave as one frame, one after the other, each with its page. */
struct bundle {
    size_t length;
    uint8_t bytes[TRANSPORT_MESSAGE_MAX];
};

/* A frame that the coherence thread has to receive itself. */
struct kept_frame {
    bool there;
    int src;
    enum traffic traffic;
    size_t length;
    uint8_t bytes[TRANSPORT_MESSAGE_MAX];
};

struct inbox {
    struct page_request *first, **last;
    struct outgoing *out_first, **out_last;
    struct taken *taken;
    unsigned num_taken;
};

/*
 * Legend: (c) fixed at create  [C] coherence thread  [L] lock_mutex  [I] inbox_mutex  [a] atomic
 */
struct cluster {
    struct page_source source;    /* (c); the rights are written by [C] */
    struct cluster_config config; /* (c) */
    unsigned self, ranks;         /* (c) */
    struct msg_context context;   /* (c) */
    pthread_t thread;             /* (c) after start */
    bool started;
    atomic_int tid;

    /* Of all that is marked [C]. The coherence thread lets go of it only while it waits; meanwhile a thread that wants
     * something does the coherence thread's step itself, if it gets the mutex at once. */
    struct transport_owner owner;

    struct directory *directory;                            /* [C] */
    struct dir_actions actions;                             /* [C] */
    struct taken *taken_work;                               /* [C] swapped with inbox.taken */
    struct peer_link link[WEFT_MAX_RANKS];                  /* [C] */
    uint64_t heard[WEFT_MAX_RANKS];                         /* [C] */
    struct bundle *bundle[WEFT_MAX_RANKS][TRAFFIC_CLASSES]; /* [C] */
    uint64_t bundled[TRAFFIC_CLASSES];                      /* [C] ranks for which something waits */
    const _Atomic uint8_t *assistant; /* [C] what the thread waits for that receives in place of the coherence thread */
    bool cut_off;                     /* [C] found by an assistant: the coherence thread ends the run */
    struct page_request *to_wake;     /* [C] over, but their threads sleep yet; linked by next */
    struct kept_frame *kept;          /* [C] */
    uint64_t bad;                     /* [C] ranks that broke the protocol and are not fenced yet */
    const char *wrong[WEFT_MAX_RANKS]; /* [C] how */
    uint64_t lost, send_failed;        /* [C] ranks */
    uint64_t due;                      /* [C] when the coherence thread looks again, unless woken */
    uint64_t beat_due;                 /* [C] */
    bool ended;                        /* [C] on_end was called */
    struct cluster_stats stats;        /* [C] */

    pthread_mutex_t inbox_mutex;
    struct inbox inbox; /* [I] */
    atomic_bool stop;   /* [a] */

    pthread_mutex_t lock_mutex;
    struct lock_service *locks;                    /* [L] */
    struct lock_actions lock_actions;              /* [L] */
    struct cluster_histogram lock_wait[LOCKS_MAX]; /* [L] */

    struct clock_sync clock; /* samples and what is heard: [C]; told to any thread */
    bool tells_time;         /* (c) there are several hosts: each frame begins with TIME */

    struct idle_poll idle; /* its own legend */

    pthread_mutex_t stats_mutex;
    pthread_cond_t stats_done;
    struct cluster_stats *stats_wanted; /* under stats_mutex */
    atomic_bool stats_asked;            /* [a] there may be one */
};

uint64_t cluster_now_ns(void);
/* Queues a message, to be given to the transport by cluster_flush. [C] */
void cluster_send(struct cluster *c, unsigned rank, struct message *message, const void *page);
/* Gives what was queued to the transport. [C], at the end of each step. */
void cluster_flush(struct cluster *c);
/* Takes the coherence thread's role for one step: true, or false if another thread has it (or this one already). Any
 * thread; never waits. */
bool cluster_enter(struct cluster *c);
/* The same for a thread that has to wait anyway. */
void cluster_enter_wait(struct cluster *c);
void cluster_leave(struct cluster *c);
/* Receives until it is over, if nobody else does. Who sets `over` without being the owner calls transport_assist_end
 * afterwards. [C] */
void cluster_assist(struct cluster *c, const _Atomic uint8_t *over);
/* The calling thread is in cluster_assist. */
bool cluster_assisting(void);
/* Does what the inbox holds about pages. False: nothing. [C] */
bool cluster_drain_pages(struct cluster *c);
/* Sends a message, or queues it for the coherence thread to send. Any thread. */
void cluster_queue(struct cluster *c, unsigned rank, const struct message *message);
void cluster_wake(struct cluster *c);
/* This rank must do without that one. [C] */
void cluster_rank_lost(struct cluster *c, unsigned rank, const char *why);
/* Ends the run here. [C] */
void cluster_finish(struct cluster *c, int status, int lost, const char *sentence);

/* cluster_pages.c [C] */
void cluster_pages_request(struct cluster *c, struct page_request *request);
void cluster_pages_taken(struct cluster *c, const struct taken *taken);
const char *cluster_pages_message(struct cluster *c, const struct message *message, const uint8_t *page);
void cluster_pages_tick(struct cluster *c, uint64_t now);
void cluster_pages_lost(struct cluster *c);

/* cluster_locks.c [C] */
const char *cluster_locks_message(struct cluster *c, const struct message *message);
void cluster_locks_beat(struct cluster *c, unsigned src, uint64_t dead);
void cluster_locks_echo(struct cluster *c, unsigned src, uint64_t sent);
void cluster_locks_dead(struct cluster *c, uint64_t dead);
/* Does what is due; returns when something is due next. */
uint64_t cluster_locks_tick(struct cluster *c, uint64_t now);
/* Ends a run that is cut off from the majority of its ranks. [C] */
void cluster_locks_cut_off(struct cluster *c);

/* cluster_stats.c */
void cluster_histogram_add(struct cluster_histogram *h, uint64_t ns);
void cluster_stats_answer(struct cluster *c);
/* A request for the page ended after so long; it had to travel. [C] */
void cluster_stats_fault(struct cluster *c, const struct dir_action *done);
/* A transaction of this page is over / the page, homed here, was used for another rank. [C] */
void cluster_stats_moved(struct cluster *c, uint64_t page);
void cluster_stats_served(struct cluster *c, uint64_t page);

#endif
