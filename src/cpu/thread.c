#include "internal.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "weft/log.h"
#include "weft/placement.h"

/* Watching for a wake-up before sleeping: how long at least and at most. A sleep and wake by the kernel takes about
 * as long as the minimum. */
enum { POLL_MIN_NS = 8000, POLL_MAX_NS = 64000, SPIN_LOOKS = 400 };

static _Thread_local struct vcpu_thread *self;
static _Thread_local struct cpu *current;
static struct accel_state *running; /* one machine per process; set before its threads start */

struct accel_state *accel_current(void)
{
    return running;
}

struct vcpu_thread *thread_self(void)
{
    return self;
}

struct cpu *cpu_current(void)
{
    return current;
}

struct cpu *thread_set_current(struct cpu *cpu)
{
    struct cpu *before = current;
    current = cpu;
    return before;
}

/* ---- kicks ---- */

void thread_kick(struct vcpu_thread *t)
{
    uint32_t before = atomic_exchange(&t->request, 1);
    struct cpu *cpu = atomic_load(&t->current);
    if (cpu) {
        atomic_store(&cpu->exit_request, 1);
    }
    /* Somebody else's kick that was not looked at yet wakes the thread for us too: our post came before the exchange,
     * and the thread clears the word before it looks. */
    if (before || t == self) {
        return;
    }
    atomic_fetch_add(&t->wake, 1);
    if (atomic_load(&t->phase) == PHASE_RESTING) {
        futex_wake_all(&t->wake);
    }
}

void cpu_kick(struct cpu *cpu)
{
    struct hart_run *h = hart_run_of(cpu);
    if (!h || !h->thread) {
        return; /* no threads yet: they look at everything when they start; or not a hart of this rank */
    }
    atomic_fetch_add_explicit(&h->kicks, 1, memory_order_relaxed);
    if (h->thread == self && cpu != atomic_load(&self->current)) {
        return; /* single: that hart is not in guest code, and will be looked at in turn */
    }
    thread_kick(h->thread);
}

void cpu_irq_set(struct cpu *cpu, uint64_t mask, bool level)
{
    if (cpu->remote) {
        cpu->machine->remote_irq(cpu, mask, level);
    } else if (!level) {
        atomic_fetch_and(&cpu->mip, ~mask);
    } else if (~atomic_fetch_or(&cpu->mip, mask) & mask) {
        cpu_kick(cpu);
    }
}

/* ---- the thread ---- */

void thread_begin(struct vcpu_thread *t)
{
    struct machine *m = t->accel->m;
    char name[32];
    if (t->accel->single) {
        snprintf(name, sizeof(name), "ALL CPUs/TCG");
    } else {
        snprintf(name, sizeof(name), "CPU %u/TCG", t->hart->cpu->hart);
    }
    self = t;
    pthread_setname_np(pthread_self(), name);
    atomic_store(&t->tid, (int)syscall(SYS_gettid));
    prctl(PR_SET_TIMERSLACK, 1000ul, 0, 0, 0);
    if (m->placement) {
        struct error err = {0};
        if (!placement_bind_thread(m->placement, PLACE_VCPU, t->index, 0, name, &err)) {
            error_report(&err);
            machine_request_shutdown(m, 1);
        }
    }
    thread_resume(t);
}

void thread_end(struct vcpu_thread *t)
{
    thread_rest(t);
    /* Somebody may have seen us ACTIVE after the last look and be waiting. Later ones see RESTING for ever. */
    work_drain(t);
    struct rusage ru;
    if (getrusage(RUSAGE_THREAD, &ru) == 0) {
        t->user_us = (uint64_t)ru.ru_utime.tv_sec * 1000000u + (uint64_t)ru.ru_utime.tv_usec;
        t->sys_us = (uint64_t)ru.ru_stime.tv_sec * 1000000u + (uint64_t)ru.ru_stime.tv_usec;
    }
    atomic_store(&t->tid, 0);
    if (t->accel->m->placement) {
        placement_thread_unregister(t->accel->m->placement, (pid_t)syscall(SYS_gettid));
    }
    current = NULL;
    self = NULL;
}

bool thread_serve(struct vcpu_thread *t, uint32_t *seq)
{
    struct accel_state *s = t->accel;
    *seq = atomic_load(&t->wake);
    atomic_store(&t->request, 0);
    if (atomic_load(&s->quit)) {
        return false;
    }
    if (atomic_load(&s->halt)) {
        thread_rest(t);
        thread_resume(t);
    } else {
        work_drain(t);
    }
    return !atomic_load(&s->quit);
}

enum cpu_exit thread_exec(struct vcpu_thread *t, struct cpu *cpu, uint64_t quantum)
{
    atomic_store(&cpu->exit_request, 0);
    atomic_store(&t->current, cpu);
    enum cpu_exit why = CPU_EXIT_REQUEST;
    current = cpu;
    if (!atomic_load(&t->request)) {
        why = tcg_cpu_exec(cpu, quantum);
    }
    cpu->stats.exits[why]++;
    return why;
}

/*
 * A sleep that ends within microseconds costs less when it is spent watching. The window follows what sleeps turn out
 * to be: an idle guest sleeps for milliseconds and watches not at all.
 */
static void adapt_poll(struct vcpu_thread *t, uint64_t slept_ns)
{
    if (slept_ns > POLL_MAX_NS) {
        t->poll_ns /= 2;
        if (t->poll_ns < POLL_MIN_NS) {
            t->poll_ns = 0;
        }
    } else if (slept_ns > t->poll_ns) {
        uint64_t longer = t->poll_ns ? 2 * t->poll_ns : POLL_MIN_NS;
        t->poll_ns = longer < POLL_MAX_NS ? longer : POLL_MAX_NS;
    }
}

void thread_sleep(struct vcpu_thread *t, uint32_t seq, uint64_t deadline_ns)
{
    thread_rest(t);
    uint64_t start = now_ns(), now = start;
    while (now < start + t->poll_ns && now < deadline_ns && !spin_while(&t->wake, seq, 16)) {
        now = now_ns();
    }
    if (atomic_load(&t->wake) == seq && now < deadline_ns) {
        futex_wait(&t->wake, seq, deadline_ns);
    }
    if (t->accel->may_poll) {
        adapt_poll(t, now_ns() - start);
    }
    thread_resume(t);
}

/* ---- creation and end ---- */

static unsigned host_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        return (unsigned)CPU_COUNT(&set);
    }
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

static struct accel_state *state_create(struct machine *m, bool single)
{
    struct accel_state *s = calloc(1, sizeof(*s));
    unsigned num_threads = single ? 1 : 0;
    for (unsigned i = 0; !single && i < m->num_cpus; i++) {
        num_threads += !m->cpus[i]->remote;
    }
    size_t threads = num_threads * sizeof(struct vcpu_thread), harts = m->num_cpus * sizeof(struct hart_run);
    assert(s);
    s->thread = aligned_alloc(64, threads);
    s->hart = aligned_alloc(64, harts);
    assert(s->thread && s->hart);
    memset(s->thread, 0, threads);
    memset(s->hart, 0, harts);
    s->m = m;
    s->single = single;
    s->num_threads = num_threads;
    s->num_harts = m->num_cpus;
    unsigned cpus = host_cpus();
    s->may_poll = num_threads <= cpus;
    /* More threads than cores: whom one waits for may need this very core. */
    s->spin = num_threads <= cpus ? SPIN_LOOKS : num_threads <= 2 * cpus ? SPIN_LOOKS / 8 : 0;
    s->icount = m->cfg && m->cfg->icount;
    s->icount_shift = s->icount ? (unsigned)m->cfg->icount_shift : 0;
    pthread_mutex_init(&s->exclusive, NULL);
    for (unsigned i = 0, n = 0; i < s->num_harts; i++) {
        s->hart[i].cpu = m->cpus[i];
        m->cpus[i]->thread = &s->hart[i];
        if (m->cpus[i]->remote) {
            continue;
        }
        struct vcpu_thread *t = s->hart[i].thread = &s->thread[n];
        if (single && i > 0) {
            continue;
        }
        t->accel = s;
        t->index = i;
        t->hart = &s->hart[i];
        t->num_harts = single ? s->num_harts : 1;
        n += !single;
    }
    if (atomic_load(&m->state) == MACHINE_PAUSED || (m->cfg && m->cfg->start_paused)) {
        atomic_store(&s->halt, HALT_PAUSED);
        atomic_store(&s->paused_at_ns, guest_clock_ns(m));
    }
    return s;
}

bool accel_start(struct machine *m, bool single, void *(*entry)(void *thread), struct error *err)
{
    assert(!running && m->num_cpus > 0);
    struct accel_state *s = state_create(m, single);
    m->accel_data = s;
    running = s;
    /* Signals belong to the main thread; faults are delivered wherever they happen. */
    sigset_t block, old;
    sigfillset(&block);
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        sigdelset(&block, faults[i]);
    }
    pthread_sigmask(SIG_BLOCK, &block, &old);
    int r = 0;
    for (unsigned i = 0; i < s->num_threads && r == 0; i++) {
        r = pthread_create(&s->thread[i].thread, NULL, entry, &s->thread[i]);
        s->thread[i].started = r == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0) {
        cpu_threads_destroy(m);
        return error_set_errno(err, r,
                               "-smp %u: cannot start a thread for each hart; use fewer harts or "
                               "-accel tcg,thread=single",
                               m->num_cpus);
    }
    return true;
}

/* User and system time so far, from /proc, in clock ticks of the kernel's statistics. */
static bool live_usage(int tid, uint64_t *user_us, uint64_t *sys_us)
{
    char path[64], line[1024];
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
    FILE *f = fopen(path, "re");
    if (!f) {
        return false;
    }
    size_t n = fread(line, 1, sizeof(line) - 1, f);
    fclose(f);
    line[n] = '\0';
    unsigned long long user, sys;
    const char *after_name = strrchr(line, ')'); /* proc(5): fields 14 and 15; the name is the second */
    if (!after_name ||
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &sys) != 2) {
        return false;
    }
    uint64_t us_per_tick = 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    *user_us = user * us_per_tick;
    *sys_us = sys * us_per_tick;
    return true;
}

void cpu_stats_update(struct cpu *cpu)
{
    struct hart_run *h = hart_run_of(cpu);
    if (!h || !h->thread) {
        return; /* the threads have ended: final */
    }
    cpu->stats.kicks = atomic_load_explicit(&h->kicks, memory_order_relaxed);
    if (h->thread->hart != h) {
        return; /* single: the thread's time is shown at its first hart */
    }
    int tid = atomic_load(&h->thread->tid);
    if (tid) {
        live_usage(tid, &cpu->stats.user_us, &cpu->stats.sys_us);
    } else {
        cpu->stats.user_us = h->thread->user_us;
        cpu->stats.sys_us = h->thread->sys_us;
    }
}

void cpu_threads_destroy(struct machine *m)
{
    struct accel_state *s = m->accel_data;
    if (!s) {
        return;
    }
    assert(!bql_held() && !self);
    atomic_store(&s->quit, true);
    atomic_fetch_and(&s->halt, ~(uint32_t)HALT_PAUSED);
    futex_wake_all(&s->halt);
    for (unsigned i = 0; i < s->num_threads; i++) {
        thread_kick(&s->thread[i]);
    }
    for (unsigned i = 0; i < s->num_threads; i++) {
        if (s->thread[i].started) {
            pthread_join(s->thread[i].thread, NULL);
        }
    }
    for (unsigned i = 0; i < s->num_harts; i++) {
        work_discard(&s->hart[i]);
        cpu_stats_update(s->hart[i].cpu);
        s->hart[i].cpu->thread = NULL;
    }
    pthread_mutex_destroy(&s->exclusive);
    free(s->thread);
    free(s->hart);
    free(s);
    m->accel_data = NULL;
    running = NULL;
}

static void nothing(struct cpu *cpu, uint64_t a, uint64_t b)
{
}

/* The state in memory is current at any safe point; a thread that rests is at one. */
void accel_synchronize(struct cpu *cpu)
{
    struct bitmap mask;
    bitmap_zero(&mask);
    bitmap_set(&mask, (unsigned)(hart_run_of(cpu) - accel_current()->hart));
    cpu_run_on_all(cpu_current(), &mask, nothing, 0, 0);
}
