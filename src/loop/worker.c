/*
 * A pool of threads for calls that can only block (file system, name resolution). Threads start when there is work
 * for one more and none is idle, and stay. The answer travels as a one-shot bottom half inside the job.
 */
#include "internal.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct job {
    struct loop_bh bh;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
    struct job *next;
};

/* (c) fixed at create  [p] pool->lock */
struct worker_pool {
    unsigned max_threads; /* (c) */
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct job *first, **last;  /* [p] oldest first */
    unsigned num_threads, idle; /* [p] */
    unsigned queued;            /* [p] */
    bool stop;                  /* [p] */
    pthread_t thread[];
};

static void job_done(void *opaque)
{
    struct job *job = opaque;
    if (job->done) {
        job->done(job->arg);
    }
    free(job);
}

static struct job *next_job_locked(struct worker_pool *pool)
{
    while (!pool->first && !pool->stop) {
        pool->idle++;
        pthread_cond_wait(&pool->more, &pool->lock);
        pool->idle--;
    }
    struct job *job = pool->first;
    if (job) {
        pool->first = job->next;
        if (!pool->first) {
            pool->last = &pool->first;
        }
        pool->queued--;
    }
    return job;
}

static void *worker_main(void *arg)
{
    struct worker_pool *pool = arg;
    for (;;) {
        pthread_mutex_lock(&pool->lock);
        struct job *job = next_job_locked(pool);
        pthread_mutex_unlock(&pool->lock);
        if (!job) {
            return NULL;
        }
        job->work(job->arg);
        loop_bh_schedule(&job->bh);
    }
}

struct worker_pool *worker_pool_create(unsigned max_threads)
{
    assert(max_threads > 0);
    struct worker_pool *pool = calloc(1, sizeof(*pool) + max_threads * sizeof(pthread_t));
    assert(pool);
    pool->max_threads = max_threads;
    pool->last = &pool->first;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->more, NULL);
    return pool;
}

/* One more thread when the idle ones do not suffice. Failing to get one is no error while there is at least one. */
static void start_thread_locked(struct worker_pool *pool)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int r = pthread_create(&pool->thread[pool->num_threads], NULL, worker_main, pool);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    assert(r == 0 || pool->num_threads > 0);
    if (r == 0) {
        char name[16];
        snprintf(name, sizeof(name), "worker-%u", pool->num_threads % 10000000);
        pthread_setname_np(pool->thread[pool->num_threads], name);
        pool->num_threads++;
    }
}

void worker_submit(struct worker_pool *pool, struct loop *loop, void (*work)(void *arg), void (*done)(void *arg),
                   void *arg)
{
    struct job *job = calloc(1, sizeof(*job));
    assert(job);
    bh_init(&job->bh, loop, job_done, job, BH_ONESHOT);
    job->work = work;
    job->done = done;
    job->arg = arg;
    pthread_mutex_lock(&pool->lock);
    assert(!pool->stop);
    *pool->last = job;
    pool->last = &job->next;
    pool->queued++;
    if (pool->queued > pool->idle && pool->num_threads < pool->max_threads) {
        start_thread_locked(pool);
    }
    pthread_cond_signal(&pool->more);
    pthread_mutex_unlock(&pool->lock);
}

void worker_pool_destroy(struct worker_pool **pool)
{
    struct worker_pool *p = *pool;
    if (!p) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->num_threads; i++) {
        pthread_join(p->thread[i], NULL);
    }
    assert(!p->first);
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->lock);
    free(p);
    *pool = NULL;
}
