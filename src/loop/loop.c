/*
 * The loop: wait (epoll_pwait2, without the BQL), then dispatch with the BQL where asked: fd handlers, timers, bottom
 * halves. What other threads may touch while the loop sleeps is either atomic (the list of bottom halves) or under
 * the BQL; both end in loop_wake.
 */
#include "internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "weft/cpu.h"

enum { BATCH = 32 };
static const uint64_t wake_token = UINT64_MAX;

struct loop *loop_create(const char *name, bool bql)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    assert(loop);
    loop->name = name;
    loop->bql = bql;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert(loop->epoll_fd >= 0 && loop->wake_fd >= 0);
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = wake_token};
    int r = epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev);
    assert(r == 0);
    return loop;
}

void loop_destroy(struct loop **loop)
{
    struct loop *l = *loop;
    if (!l) {
        return;
    }
    assert(atomic_load(&l->owner) == 0);
    bh_drain(l);
    close(l->epoll_fd);
    close(l->wake_fd);
    free(l->timers.at);
    free(l->fds);
    free(l);
    *loop = NULL;
}

bool loop_on_own_thread(const struct loop *loop)
{
    static _Thread_local int tid;
    if (tid == 0) {
        tid = (int)syscall(SYS_gettid);
    }
    return atomic_load_explicit(&loop->owner, memory_order_relaxed) == tid;
}

void loop_wake(struct loop *loop)
{
    /* EAGAIN means that the counter is full, that is, that the loop will wake anyway. */
    int saved = errno;
    uint64_t one = 1;
    ssize_t r = write(loop->wake_fd, &one, sizeof(one));
    (void)r;
    errno = saved;
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stop, true);
    loop_wake(loop);
}

/* ---- fd handlers ---- */

static bool grow(struct loop *loop, int fd)
{
    if ((size_t)fd < loop->num_fds) {
        return true;
    }
    size_t n = loop->num_fds ? loop->num_fds : 32;
    while (n <= (size_t)fd) {
        n *= 2;
    }
    struct fd_handler *fds = realloc(loop->fds, n * sizeof(*fds));
    if (!fds) {
        return false;
    }
    memset(fds + loop->num_fds, 0, (n - loop->num_fds) * sizeof(*fds));
    loop->fds = fds;
    loop->num_fds = n;
    return true;
}

static uint32_t to_epoll(unsigned events)
{
    return (events & LOOP_READ ? (uint32_t)EPOLLIN : 0) | (events & LOOP_WRITE ? (uint32_t)EPOLLOUT : 0);
}

static int remove_handler(struct loop *loop, int fd)
{
    struct fd_handler *h = &loop->fds[fd];
    if (h->always) {
        loop->num_always--;
    } else {
        /* Fails only when the owner closed the fd first, which has removed it as well. */
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    }
    memset(h, 0, sizeof(*h));
    return 0;
}

int loop_fd(struct loop *loop, int fd, unsigned events, void (*cb)(void *opaque, unsigned events), void *opaque)
{
    if (fd < 0) {
        return -EBADF;
    }
    if (!grow(loop, fd)) {
        return -ENOMEM;
    }
    struct fd_handler *h = &loop->fds[fd];
    if (events == 0) {
        return h->events ? remove_handler(loop, fd) : 0;
    }
    bool fresh = h->events == 0;
    uint32_t generation = fresh ? ++loop->next_generation & 0x7fffffff : h->generation;
    struct epoll_event ev = {.events = to_epoll(events), .data.u64 = (uint64_t)generation << 32 | (uint32_t)fd};
    if (!h->always && epoll_ctl(loop->epoll_fd, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &ev) < 0) {
        if (errno != EPERM) {
            return -errno;
        }
        h->always = true;
        loop->num_always++;
        if (!loop_on_own_thread(loop)) {
            loop_wake(loop);
        }
    }
    h->cb = cb;
    h->opaque = opaque;
    h->events = events;
    h->generation = generation;
    return 0;
}

/* Errors and hang-ups are reported as whatever the handler asked for: its read or write then says what it is. */
static void dispatch_fd(struct loop *loop, const struct epoll_event *ev)
{
    struct fd_handler *h = &loop->fds[(uint32_t)ev->data.u64];
    if (h->events == 0 || h->generation != (uint32_t)(ev->data.u64 >> 32)) {
        return; /* removed by an earlier handler of this batch */
    }
    unsigned events = 0;
    if (ev->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        events |= LOOP_READ;
    }
    if (ev->events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
        events |= LOOP_WRITE;
    }
    events &= h->events;
    if (events) {
        h->cb(h->opaque, events);
    }
}

static void dispatch_always(struct loop *loop)
{
    for (size_t fd = 0; fd < loop->num_fds && loop->num_always > 0; fd++) {
        struct fd_handler *h = &loop->fds[fd];
        if (h->always) {
            h->cb(h->opaque, h->events);
        }
    }
}

/* ---- the loop ---- */

/* Waits until deadline_ns (UINT64_MAX = for ever). Returns the number of events. */
static int wait_events(struct loop *loop, struct epoll_event *ev, uint64_t deadline_ns)
{
    uint64_t left = 0;
    if (deadline_ns != UINT64_MAX && deadline_ns != 0) {
        uint64_t now = loop_now_ns();
        left = deadline_ns > now ? deadline_ns - now : 0;
    }
    int n = -1;
    if (!loop->no_pwait2) {
        struct timespec ts = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
        n = epoll_pwait2(loop->epoll_fd, ev, BATCH, deadline_ns == UINT64_MAX ? NULL : &ts, NULL);
        if (n < 0 && (errno == ENOSYS || errno == EPERM)) {
            loop->no_pwait2 = true;
        }
    }
    if (loop->no_pwait2) {
        uint64_t ms = (left + 999999) / 1000000;
        n = epoll_wait(loop->epoll_fd, ev, BATCH, deadline_ns == UINT64_MAX ? -1 : ms > 3600000 ? 3600000 : (int)ms);
    }
    assert(n >= 0 || errno == EINTR);
    return n < 0 ? 0 : n;
}

static void dispatch(struct loop *loop, const struct epoll_event *ev, int n)
{
    for (int i = 0; i < n; i++) {
        if (ev[i].data.u64 != wake_token) {
            dispatch_fd(loop, &ev[i]);
        }
    }
    dispatch_always(loop);
    timer_run_due(loop);
    bh_run_all(loop);
}

/* What to sleep for; decided with the BQL held, so that a timer armed later by another thread wakes us. */
static uint64_t decide_deadline(struct loop *loop)
{
    if (loop->num_always > 0 || atomic_load(&loop->bh_list) || atomic_load(&loop->stop)) {
        return 0;
    }
    return timer_next(loop);
}

void loop_run(struct loop *loop)
{
    prctl(PR_SET_TIMERSLACK, 1000ul, 0, 0, 0);
    loop_on_own_thread(loop);
    atomic_store(&loop->owner, (int)syscall(SYS_gettid));
    if (loop->bql) {
        bql_lock();
    }
    while (!atomic_load(&loop->stop)) {
        struct epoll_event ev[BATCH];
        uint64_t deadline = decide_deadline(loop);
        loop->polled_deadline = deadline;
        if (loop->bql) {
            bql_unlock();
        }
        int n = wait_events(loop, ev, deadline);
        for (int i = 0; i < n; i++) {
            if (ev[i].data.u64 == wake_token) {
                uint64_t count;
                ssize_t r = read(loop->wake_fd, &count, sizeof(count));
                (void)r;
            }
        }
        if (loop->bql) {
            bql_lock();
        }
        loop->polled_deadline = 0;
        dispatch(loop, ev, n);
    }
    atomic_store(&loop->stop, false);
    atomic_store(&loop->owner, 0);
    if (loop->bql) {
        bql_unlock();
    }
}
