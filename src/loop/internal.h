/* What the files of this room share: the layout of a loop and of a bottom half. */
#ifndef WEFT_LOOP_INTERNAL_H
#define WEFT_LOOP_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "weft/loop.h"

enum { BH_SCHEDULED = 1, BH_DELETED = 2, BH_ONESHOT = 4 };

/* [a] atomic  (c) fixed at create  (s) written by the thread that set BH_SCHEDULED, read by the loop that took it */
struct loop_bh {
    struct loop *loop;        /* (c) */
    void (*cb)(void *opaque); /* (c) */
    void *opaque;             /* (c) */
    _Atomic unsigned flags;   /* [a] BH_* */
    struct loop_bh *next;     /* (s) */
};

/* Prepares a bottom half that lives in another object. BH_ONESHOT: also run once by loop_destroy when still queued. */
void bh_init(struct loop_bh *bh, struct loop *loop, void (*cb)(void *opaque), void *opaque, unsigned flags);
/* Runs what was scheduled before the call, oldest first. */
void bh_run_all(struct loop *loop);
/* Frees deleted ones and runs one-shots that the loop did not come to. */
void bh_drain(struct loop *loop);

struct loop_timer {
    struct loop *loop;
    void (*cb)(void *opaque);
    void *opaque;
    uint64_t deadline_ns;
    uint64_t pass; /* the loop's pass in which it was armed */
    size_t index;  /* place in the heap, or TIMER_IDLE */
};
#define TIMER_IDLE SIZE_MAX

/* A binary heap, earliest first. */
struct timer_heap {
    struct loop_timer **at;
    size_t count, room;
};

/* The earliest deadline, or UINT64_MAX. */
uint64_t timer_next(const struct loop *loop);
/* Runs the timers that are due. One that is armed again for the past runs in the next pass. */
void timer_run_due(struct loop *loop);

struct fd_handler {
    void (*cb)(void *opaque, unsigned events);
    void *opaque;
    unsigned events;     /* 0: no handler */
    uint32_t generation; /* tells an event of an earlier owner of the fd from ours */
    bool always;         /* epoll does not take it (a regular file): ready at any time */
};

/*
 * (c) fixed at create  [a] atomic  [L] the loop's own thread, or any thread before loop_run; where `bql` is set: any
 * thread that holds the BQL
 */
struct loop {
    const char *name; /* (c) */
    bool bql;         /* (c) */
    int epoll_fd;     /* (c) */
    int wake_fd;      /* (c) eventfd */
    bool no_pwait2;   /* own thread: the kernel or a filter refuses epoll_pwait2 */

    _Atomic bool stop;                 /* [a] */
    _Atomic int owner;                 /* [a] thread id that runs the loop, 0 = none */
    _Atomic(struct loop_bh *) bh_list; /* [a] newest first */
    struct timer_heap timers;          /* [L] */
    uint64_t pass;                     /* [L] */
    uint64_t polled_deadline;          /* [L] what the loop sleeps for; 0 while it is awake */
    struct fd_handler *fds;            /* [L] index = fd */
    size_t num_fds;                    /* [L] */
    unsigned num_always;               /* [L] */
    uint32_t next_generation;          /* [L] */
};

/* Makes the loop look again. Any thread, and signal handlers. */
void loop_wake(struct loop *loop);
bool loop_on_own_thread(const struct loop *loop);

#endif
