/* Touching guest memory before the guest does: in parallel, from the node it belongs to. */
#include "placement/internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { MOST_THREADS = 16, STEP = 16 << 20 };

/*
 * (c) fixed before the threads start  [a] atomic
 */
struct populate {
    uint8_t *addr;                   /* (c) */
    uint64_t len, step;              /* (c) bytes; a step is what a thread takes at once */
    uint64_t page_size;              /* (c) */
    struct bitmap pus;               /* (c) P#; empty: not pinned */
    atomic_uint_fast64_t next, done; /* [a] bytes */
    atomic_int error;                /* [a] the first errno */
    atomic_bool stop;                /* [a] */
    atomic_uint running;             /* [a] threads */
};

static int touch(const struct populate *p, uint8_t *at, uint64_t len)
{
    if (madvise(at, len, MADV_POPULATE_WRITE) == 0) {
        return 0;
    }
    if (errno != EINVAL) {
        return errno;
    }
    /* A kernel before 5.14: write back what is there, page by page. Nobody else uses this memory yet. */
    for (uint64_t i = 0; i < len; i += p->page_size) {
        volatile uint8_t *byte = at + i;
        *byte = *byte;
    }
    return 0;
}

static void *populate_thread(void *arg)
{
    struct populate *p = arg;
    if (bitmap_count(&p->pus) > 0) {
        thread_affinity_apply(0, &p->pus); /* where it may not, it touches from elsewhere: slower, not wrong */
    }
    while (!atomic_load(&p->stop)) {
        uint64_t at = atomic_fetch_add(&p->next, p->step);
        if (at >= p->len) {
            break;
        }
        uint64_t n = p->len - at < p->step ? p->len - at : p->step;
        int e = touch(p, p->addr + at, n);
        if (e != 0) {
            int none = 0;
            atomic_compare_exchange_strong(&p->error, &none, e);
            atomic_store(&p->stop, true);
            break;
        }
        atomic_fetch_add(&p->done, n);
    }
    atomic_fetch_sub(&p->running, 1);
    return NULL;
}

int memory_populate(void *addr, size_t len, uint64_t page_size, const struct bitmap *pus, unsigned threads,
                    placement_progress_fn *progress, void *arg, bool *cancelled)
{
    uint64_t base = page_size > 0 ? page_size : (uint64_t)sysconf(_SC_PAGESIZE);
    struct populate p = {.addr = addr, .len = len, .page_size = base, .step = base > STEP ? base : STEP, .pus = *pus};
    unsigned most = threads > 0 ? threads : bitmap_count(pus);
    uint64_t steps = (len + p.step - 1) / p.step;
    most = most == 0 ? 1 : most > MOST_THREADS ? MOST_THREADS : most;
    most = most > steps ? (unsigned)steps : most;
    pthread_t tid[MOST_THREADS];
    unsigned n = 0;
    atomic_store(&p.running, most);
    for (; n < most; n++) {
        if (pthread_create(&tid[n], NULL, populate_thread, &p) != 0) {
            atomic_fetch_sub(&p.running, most - n);
            break;
        }
    }
    *cancelled = false;
    while (n > 0 && progress != NULL && atomic_load(&p.running) > 0) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        if (!*cancelled && !progress(arg, atomic_load(&p.done), len)) {
            *cancelled = true;
            atomic_store(&p.stop, true);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(tid[i], NULL);
    }
    if (n == 0) {
        atomic_store(&p.running, 1);
        struct bitmap none = {0};
        p.pus = none; /* the caller's own affinity is not ours to change */
        populate_thread(&p);
    }
    if (progress != NULL && !*cancelled && atomic_load(&p.error) == 0) {
        progress(arg, len, len);
    }
    return atomic_load(&p.error);
}

bool placement_progress_line(void *arg, uint64_t done, uint64_t total)
{
    if (isatty(STDERR_FILENO)) {
        /* One space behind: the cursor must not hide the last character. */
        fprintf(stderr, "\rweft: %s: %3.0f %% of %llu MiB ", (const char *)arg,
                total > 0 ? (double)done / (double)total * 100 : 100, (unsigned long long)(total >> 20));
        if (done >= total) {
            fputs("\r\033[K", stderr);
        }
    }
    return true;
}
