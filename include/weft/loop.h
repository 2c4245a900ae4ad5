/*
 * Event loop: fd handlers, timers, bottom halves; and the worker pool. One loop per rank is the main loop; iothreads
 * have one of their own. A handler never blocks. The main loop takes the BQL around each dispatch of handlers
 * (loop_create's `bql`), never while it polls.
 *
 * Threads: loop_bh_schedule and loop_stop are for any thread and for signal handlers; loop_bh_create, loop_now_ns and
 * worker_submit for any thread. All others are for the loop's own thread, for before it runs, and, for a loop that
 * takes the BQL, for any thread that holds it (a device's register write may arm its timer).
 */
#ifndef WEFT_LOOP_H
#define WEFT_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_timer;
struct loop_bh;
struct worker_pool;

enum { LOOP_READ = 1, LOOP_WRITE = 2 };

struct loop *loop_create(const char *name, bool bql);
/* After its handlers', bottom halves' and worker pools' owners have destroyed them. Jobs that workers have finished and
 * whose done() the loop did not come to are done here. */
void loop_destroy(struct loop **loop);
/* Runs until loop_stop. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Sets, changes (events) or removes (events = 0) the handler of fd. Returns 0 or -errno. */
int loop_fd(struct loop *loop, int fd, unsigned events, void (*cb)(void *opaque, unsigned events), void *opaque);

/* Timers on CLOCK_MONOTONIC, nanoseconds. Arming an armed timer moves it. */
struct loop_timer *loop_timer_create(struct loop *loop, void (*cb)(void *opaque), void *opaque);
void loop_timer_arm(struct loop_timer *t, uint64_t deadline_ns);
void loop_timer_cancel(struct loop_timer *t);
void loop_timer_destroy(struct loop_timer **t);
uint64_t loop_now_ns(void);

/* Bottom halves: scheduled from any thread (lock-free, wakes the loop through an eventfd), run once per schedule burst.
 */
struct loop_bh *loop_bh_create(struct loop *loop, void (*cb)(void *opaque), void *opaque);
void loop_bh_schedule(struct loop_bh *bh);
void loop_bh_destroy(struct loop_bh **bh);

/* Worker threads "worker-n" for work that has no non-blocking form; done() runs in `loop`. */
struct worker_pool *worker_pool_create(unsigned max_threads);
void worker_submit(struct worker_pool *pool, struct loop *loop, void (*work)(void *arg), void (*done)(void *arg),
                   void *arg);
void worker_pool_destroy(struct worker_pool **pool);

#endif
