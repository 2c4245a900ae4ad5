#include "cluster_state.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    PAUSES = 32, /* between two looks at the clock */
    WINDOW_NS = 10000000,
    DENSE = 40, /* messages in a window: a guest that does nothing has fewer */
    NO_LATENCY_US = 0,
    ANY_LATENCY_US = 2000000000, /* what Linux itself starts with */
};

static uint64_t until(const struct idle_poll *p)
{
    return atomic_load_explicit(&p->until, memory_order_relaxed);
}

static void spin(const struct idle_poll *p)
{
    while (cluster_now_ns() < until(p)) {
        for (unsigned i = 0; i < PAUSES; i++) {
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
    }
}

static void set_latency(const struct idle_poll *p, int32_t us)
{
    ssize_t n = write(p->fd, &us, sizeof(us));
    (void)n; /* then processors sleep as before */
}

/* Another wake-up in the middle only makes it look again. */
static void hold(const struct idle_poll *p)
{
    set_latency(p, NO_LATENCY_US);
    for (uint64_t end; cluster_now_ns() < (end = until(p));) {
        struct timespec ts = {.tv_sec = (time_t)(end / 1000000000), .tv_nsec = (long)(end % 1000000000)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
    }
    set_latency(p, ANY_LATENCY_US);
}

static void *run(void *opaque)
{
    struct idle_poll *p = opaque;
    struct sched_param none = {0};
    pthread_setname_np(pthread_self(), "idle poll");
    if (p->fd < 0 && sched_setscheduler(0, SCHED_IDLE, &none)) {
        return NULL; /* at any other priority it would be in the way */
    }
    while (!atomic_load(&p->stop)) {
        if (p->fd >= 0) {
            hold(p);
        } else {
            spin(p);
        }
        atomic_store(&p->asleep, 1);
        /* Who has a message looks at `asleep` after it has set `until`: one of both sees the other. */
        if (cluster_now_ns() >= atomic_load(&p->until) && !atomic_load(&p->stop)) {
            syscall(SYS_futex, &p->asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
        }
        atomic_store(&p->asleep, 0);
    }
    return NULL;
}

static void wake(struct idle_poll *p)
{
    if (atomic_load(&p->asleep) && atomic_exchange(&p->asleep, 0)) {
        syscall(SYS_futex, &p->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

void idle_poll_start(struct idle_poll *p, uint64_t linger_ns)
{
    p->linger_ns = linger_ns;
    if (linger_ns) {
        p->fd = open("/dev/cpu_dma_latency", O_RDWR | O_CLOEXEC);
        p->started = pthread_create(&p->thread, NULL, run, p) == 0;
        if (!p->started && p->fd >= 0) {
            close(p->fd);
        }
    }
}

void idle_poll_message(struct idle_poll *p, uint64_t now)
{
    if (!p->started) {
        return;
    }
    if (now - p->window > WINDOW_NS) {
        p->window = now;
        p->messages = 0;
    }
    if (++p->messages >= DENSE) {
        atomic_store(&p->until, now + p->linger_ns);
        wake(p);
    }
}

void idle_poll_stop(struct idle_poll *p)
{
    if (p->started) {
        atomic_store(&p->stop, true);
        atomic_store(&p->until, 0);
        wake(p);
        pthread_join(p->thread, NULL);
        p->started = false;
        if (p->fd >= 0) {
            close(p->fd);
        }
    }
}
