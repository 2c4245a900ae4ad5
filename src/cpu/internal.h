/*
 * How harts and host threads hang together.
 *
 * A vcpu_thread is a host thread that runs one hart (multi) or all of them (single). It is ACTIVE while it may run
 * guest code or touch engine state, and RESTING otherwise: asleep in WFI or stopped, parked, or waiting for others.
 * RESTING threads are never waited for; what they are asked to do is done before they are ACTIVE again.
 *
 * Every protocol here is the same one (two sides, each of which writes its own word and then reads the other's, all
 * sequentially consistent, so that at least one of them sees the other):
 *
 *     who asks                                      the thread
 *     -----------------------------------------     ------------------------------------------------
 *     posts (work list, mip, halt, hart_state)      loop head: seq = wake; request = 0
 *     request = 1                                   looks at halt, work, mip, hart_state
 *     exit_request of `current` = 1                 exit_request = 0; current = hart
 *     wake += 1                                     request != 0 ? back to the head : runs guest code
 *     phase == RESTING ? futex wake
 *
 * Leaving guest code. If the thread's last look at `request` came after the asker's write, it goes back to the head.
 * Otherwise that look, and therefore the write to `current` and the clearing of exit_request before it, came first:
 * the asker then reads the right `current` and its exit_request stays set. Clearing request before the look, not after
 * it, is what keeps a post between the two from being forgotten.
 *
 * Falling asleep. The thread reads wake (seq), clears request, looks for reasons to run, becomes RESTING, and sleeps in
 * the kernel only while wake == seq. A post that the look missed is followed by wake += 1 after seq was read, so either
 * the kernel's comparison fails, or the thread was queued before the increment: its RESTING was then written before
 * too, the asker reads it and wakes the futex. Whoever finds request already set leaves the waking to the one who set
 * it: that one came after the thread's clearing, hence after seq, and its increment is still to come or breaks the
 * sleep. (Were seq read after the clearing, a kick between the two would be lost, and with it all later ones.)
 */
#ifndef WEFT_CPU_INTERNAL_H
#define WEFT_CPU_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include "weft/cpu.h"
#include "weft/machine.h"

typedef void cpu_work_fn(struct cpu *cpu, uint64_t a, uint64_t b);

enum { WORK_QUEUED, WORK_DONE, WORK_AWAITED /* queued, and somebody sleeps on it */ };

/* One call for one hart. Held by the list it stands in and by the poster while that waits. */
struct work {
    struct work *next;
    cpu_work_fn *fn;
    uint64_t a, b;
    _Atomic uint32_t state; /* [a] futex */
    _Atomic uint32_t refs;  /* [a] */
};

enum { PHASE_RESTING, PHASE_ACTIVE };

/* (c) fixed at create  [a] atomic  (o) own thread */
struct vcpu_thread {
    struct accel_state *accel; /* (c) */
    struct hart_run *hart;     /* (c) the first of its harts */
    unsigned num_harts;        /* (c) */
    unsigned index;            /* (c) */
    pthread_t thread;          /* (c) */
    bool started;              /* (c) */

    _Atomic uint32_t phase;        /* [a] PHASE_*; written by own thread */
    _Atomic uint32_t wake;         /* [a] futex: counts kicks */
    _Atomic uint32_t request;      /* [a] something is to be looked at */
    _Atomic(struct cpu *) current; /* [a] hart that runs or ran last; written by own thread */
    _Atomic int tid;               /* [a] 0 before it runs and after it ended */
    uint64_t spins, spin_instret;  /* (o) spin hints in a row, and the instructions retired at the last one */
    uint64_t poll_ns;              /* (o) how long it watches wake before it sleeps */
    uint64_t user_us, sys_us;      /* (o) set when the thread ends; others after that */
} __attribute__((aligned(64)));

/* What src/cpu keeps per hart (cpu->thread). */
struct hart_run {
    struct cpu *cpu;             /* (c) */
    struct vcpu_thread *thread;  /* (c) NULL: the hart runs on another rank */
    _Atomic(struct work *) work; /* [a] newest first */
    _Atomic uint32_t queued;     /* [a] length of the list, roughly */
    _Atomic uint64_t kicks;      /* [a] */
} __attribute__((aligned(64)));

enum { HALT_EXCLUSIVE = 1, HALT_PAUSED = 2 };

/* Per machine (m->accel_data). [x] accel->exclusive */
struct accel_state {
    struct machine *m;          /* (c) */
    struct vcpu_thread *thread; /* (c) */
    unsigned num_threads;       /* (c) */
    struct hart_run *hart;      /* (c) */
    unsigned num_harts;         /* (c) */
    bool single;                /* (c) one thread for all harts */
    unsigned spin;              /* (c) how often a short wait looks before it sleeps */
    bool may_poll;              /* (c) a core for each thread: watching for a moment before sleeping pays */

    _Atomic uint32_t halt;     /* [a] futex: HALT_* why nobody may be ACTIVE; set under [x] */
    _Atomic uint32_t rest_seq; /* [a] futex: counts threads that came to rest while halt was set */
    _Atomic bool quit;         /* [a] */
    pthread_mutex_t exclusive; /* held through an exclusive section */

    _Atomic uint64_t paused_at_ns; /* [a] the clock stands still since then; 0 = it runs */

    /* -icount */
    bool icount;                /* (c) */
    unsigned icount_shift;      /* (c) */
    _Atomic uint64_t icount_ns; /* [a] virtual time at the last slice's end; written by the vCPU thread */
    struct cpu *slice_cpu;      /* (o) hart in guest code, or NULL */
    uint64_t slice_instret;     /* (o) its count when the slice began */
};

/* The machine's, NULL while there are no threads. */
struct accel_state *accel_current(void);

static inline struct hart_run *hart_run_of(const struct cpu *cpu)
{
    return cpu->thread;
}

/* ---- futex.c ---- */

/* Sleeps while *word == value, until deadline_ns (CLOCK_MONOTONIC; UINT64_MAX = for ever); may return early. */
void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);
void futex_wake_all(_Atomic uint32_t *word);
/* Looks at *word up to `times` times; true as soon as it is not `value`. */
bool spin_while(_Atomic uint32_t *word, uint32_t value, unsigned times);
uint64_t now_ns(void);

/* ---- thread.c: what both thread models share ---- */

/* Makes the state and starts the threads with `entry`: one per hart, or a single one for all. */
bool accel_start(struct machine *m, bool single, void *(*entry)(void *thread), struct error *err);
/* First and last thing a thread does. */
void thread_begin(struct vcpu_thread *t);
void thread_end(struct vcpu_thread *t);
/* Head of the loop: parks while halted, does the queued work. False when the thread is to end. *seq is for
 * thread_sleep.
 */
bool thread_serve(struct vcpu_thread *t, uint32_t *seq);
/* Runs guest code of `cpu`, at most `quantum` instructions (0: no limit), unless there is a request. */
enum cpu_exit thread_exec(struct vcpu_thread *t, struct cpu *cpu, uint64_t quantum);
/* Sleeps as long as t->wake == seq, until deadline_ns. ACTIVE before and after. */
void thread_sleep(struct vcpu_thread *t, uint32_t seq, uint64_t deadline_ns);
void thread_kick(struct vcpu_thread *t);
/* accel_ops.synchronize of both. */
void accel_synchronize(struct cpu *cpu);
/* What cpu_current says on this thread; returns what it said before. */
struct cpu *thread_set_current(struct cpu *cpu);
/* The calling thread if it runs harts, else NULL. */
struct vcpu_thread *thread_self(void);

/* ---- hart.c: may a hart run, and until when may it sleep ---- */

/* Own thread. Carries out pending state changes. */
bool hart_runnable(struct cpu *cpu);
/* When a timer will make the hart runnable: guest ticks, UINT64_MAX = never. A compare value that had passed at
 * `before`, a time read before hart_runnable said no, is not enabled, and is left out. */
uint64_t hart_deadline(const struct cpu *cpu, uint64_t before);

/* ---- world.c ---- */

/* RESTING <-> ACTIVE. thread_resume parks while halted and does the queued work before it returns. */
void thread_rest(struct vcpu_thread *t);
void thread_resume(struct vcpu_thread *t);

/* ---- work.c ---- */

void work_drain_hart(struct hart_run *h);
void work_drain(struct vcpu_thread *t);
/* Frees what was queued for a hart whose thread has ended. */
void work_discard(struct hart_run *h);
/* As thread_rest, for a wait for others: what they may be waiting for is done first. */
void thread_rest_served(struct vcpu_thread *t);

#endif
