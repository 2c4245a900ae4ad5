/*
 * Keeps processors from going to sleep while many pages travel. A fault of a hart is a chain of short steps by threads
 * that each wait for the one before, so a processor falls idle several times per fault; to enter and leave idle (the
 * tick is stopped, an interrupt wakes, in a virtual machine by way of its host) takes longer than the steps.
 *
 * Where /dev/cpu_dma_latency may be opened (root, mostly) Linux is asked for idle without latency meanwhile: it then
 * polls in its idle loop, on all processors of the host (Documentation/power/pm_qos_interface.rst). Elsewhere a thread
 * of the policy SCHED_IDLE spins, which everything else preempts at once: that helps half as much.
 */
#ifndef WEFT_IDLE_POLL_H
#define WEFT_IDLE_POLL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Legend: (c) fixed at start  [a] atomic  [C] see cluster_state.h */
struct idle_poll {
    uint64_t linger_ns; /* (c) */
    int fd;             /* (c) /dev/cpu_dma_latency, or -1 */
    pthread_t thread;   /* (c) "idle poll"; bound as the coherence thread is */
    bool started;
    uint64_t window;         /* [C] since when `messages` are counted */
    unsigned messages;       /* [C] */
    _Atomic uint64_t until;  /* [a] CLOCK_MONOTONIC: no sleep before */
    _Atomic uint32_t asleep; /* [a] futex: 1 while the thread waits for work, or is about to */
    _Atomic bool stop;       /* [a] */
};

/* linger_ns: how long processors stay awake after dense traffic; 0: none of this. Without the thread (it may be
 * refused) all works, slower. */
void idle_poll_start(struct idle_poll *p, uint64_t linger_ns);
/* A message about pages came or goes. [C]; a system call only when the thread slept. */
void idle_poll_message(struct idle_poll *p, uint64_t now_ns);
void idle_poll_stop(struct idle_poll *p);

#endif
