/* The lock service among threads: a cached lock is taken by the caller itself, under lock_mutex. */
#include "cluster_state.h"

#include <assert.h>
#include <string.h>

/* What became ready while the mutex was held; told afterwards. */
struct told {
    struct cluster_lock_request *first, **last;
    bool isolated;
};

/* Requests are their own list of who is to be told; messages go through the coherence thread. Holds lock_mutex. */
static void carry_out_locked(struct cluster *c, struct told *told)
{
    for (unsigned i = 0; i < c->lock_actions.count; i++) {
        const struct lock_action *a = &c->lock_actions.at[i];
        struct cluster_lock_request *r = (struct cluster_lock_request *)(uintptr_t)a->cookie;
        struct message m = {.header = a->message.header};
        switch (a->kind) {
        case LOCK_SEND:
            m.body.lock = a->message.body;
            cluster_queue(c, a->peer, &m);
            break;
        case LOCK_GRANTED:
            if (a->waited_ns) {
                cluster_histogram_add(&c->lock_wait[a->lock], a->waited_ns);
            }
            /* fall through */
        case LOCK_FAILED:
            r->ok = a->kind == LOCK_GRANTED;
            r->fence = a->fence;
            r->next = NULL;
            *told->last = r;
            told->last = &r->next;
            break;
        case LOCK_ISOLATED:
            told->isolated = true;
            break;
        }
    }
    c->lock_actions.count = 0;
}

static void begin(struct cluster *c, struct told *told)
{
    *told = (struct told){0};
    told->last = &told->first;
    pthread_mutex_lock(&c->lock_mutex);
    c->lock_actions.count = 0;
}

static bool finish(struct cluster *c, struct told *told)
{
    carry_out_locked(c, told);
    pthread_mutex_unlock(&c->lock_mutex);
    for (struct cluster_lock_request *r = told->first, *next; r; r = next) {
        next = r->next;
        r->done(r, r->ok, r->fence);
    }
    return told->isolated;
}

void cluster_locks_cut_off(struct cluster *c)
{
    if (c->cut_off) {
        cluster_finish(c, 1, -1, "this rank is cut off from most of the others");
    }
}

/* A loss of the majority ends the run, on the coherence thread: at once if it is this one. */
static void finish_here(struct cluster *c, struct told *told)
{
    if (finish(c, told)) {
        c->cut_off = true;
    }
    if (!cluster_assisting()) {
        cluster_locks_cut_off(c);
    }
}

int cluster_lock_open(struct cluster *c, const char *name)
{
    pthread_mutex_lock(&c->lock_mutex);
    int lock = lock_service_open(c->locks, name);
    pthread_mutex_unlock(&c->lock_mutex);
    return lock;
}

void cluster_lock_acquire(struct cluster *c, int lock, enum lock_mode mode, struct cluster_lock_request *r)
{
    struct told told;
    begin(c, &told);
    uint64_t now = cluster_now_ns();
    if (lock_service_try(c->locks, now, (unsigned)lock, mode, &r->fence)) {
        pthread_mutex_unlock(&c->lock_mutex);
        r->done(r, true, r->fence);
        return;
    }
    lock_service_acquire(c->locks, now, (unsigned)lock, mode, (uintptr_t)r, &c->lock_actions);
    finish(c, &told);
}

void cluster_unlock(struct cluster *c, int lock, enum lock_mode mode)
{
    struct told told;
    begin(c, &told);
    lock_service_release(c->locks, cluster_now_ns(), (unsigned)lock, mode, &c->lock_actions);
    finish(c, &told);
}

struct blocked {
    struct cluster_lock_request request;
    struct transport *transport;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    _Atomic uint8_t over;
    bool ok, receives; /* under mutex */
    struct lock_fence fence;
};

static void unblock(struct cluster_lock_request *request, bool ok, struct lock_fence fence)
{
    struct blocked *b = (struct blocked *)request;
    pthread_mutex_lock(&b->mutex);
    b->over = true;
    b->ok = ok;
    b->fence = fence;
    /* It may sleep in the transport, unless it is this thread. */
    if (b->receives && !cluster_assisting()) {
        transport_assist_end(b->transport);
    }
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->mutex);
}

/* The waiter receives the grant itself, if no other thread is at it: the coherence thread need not wake first. */
static void receive_grant(struct cluster *c, struct blocked *b)
{
    pthread_mutex_lock(&b->mutex);
    b->receives = true;
    pthread_mutex_unlock(&b->mutex);
    cluster_assist(c, &b->over);
    pthread_mutex_lock(&b->mutex);
    b->receives = false;
    pthread_mutex_unlock(&b->mutex);
}

bool cluster_lock(struct cluster *c, int lock, enum lock_mode mode, struct lock_fence *fence)
{
    /* The repeat of a lock whose token is here: no queue, no condition. */
    pthread_mutex_lock(&c->lock_mutex);
    bool cached = lock_service_try(c->locks, cluster_now_ns(), (unsigned)lock, mode, fence);
    pthread_mutex_unlock(&c->lock_mutex);
    if (cached) {
        return true;
    }
    struct blocked b = {.request.done = unblock, .transport = c->config.transport};
    pthread_mutex_init(&b.mutex, NULL);
    pthread_cond_init(&b.cond, NULL);
    bool entered = cluster_enter(c);
    cluster_lock_acquire(c, lock, mode, &b.request);
    if (entered) {
        cluster_flush(c);
    } else {
        cluster_enter_wait(c); /* until the coherence thread, which sends what was queued, has nothing to do */
    }
    receive_grant(c, &b);
    cluster_leave(c);
    pthread_mutex_lock(&b.mutex);
    while (!b.over) {
        pthread_cond_wait(&b.cond, &b.mutex);
    }
    pthread_mutex_unlock(&b.mutex);
    pthread_mutex_destroy(&b.mutex);
    pthread_cond_destroy(&b.cond);
    *fence = b.fence;
    return b.ok;
}

bool cluster_locks_valid(struct cluster *c)
{
    pthread_mutex_lock(&c->lock_mutex);
    bool valid = lock_service_valid(c->locks, cluster_now_ns());
    pthread_mutex_unlock(&c->lock_mutex);
    return valid;
}

bool cluster_lock_view(struct cluster *c, unsigned index, struct lock_view *view)
{
    pthread_mutex_lock(&c->lock_mutex);
    bool there = index < lock_service_count(c->locks);
    if (there) {
        *view = lock_service_view(c->locks, index);
    }
    pthread_mutex_unlock(&c->lock_mutex);
    return there;
}

void cluster_lock_waits(struct cluster *c, unsigned index, struct cluster_histogram *waits)
{
    assert(index < LOCKS_MAX);
    pthread_mutex_lock(&c->lock_mutex);
    *waits = c->lock_wait[index];
    pthread_mutex_unlock(&c->lock_mutex);
}

const char *cluster_locks_message(struct cluster *c, const struct message *message)
{
    struct told told;
    begin(c, &told);
    struct lock_message m = {.header = message->header, .body = message->body.lock};
    const char *wrong = lock_service_message(c->locks, cluster_now_ns(), &m, &c->lock_actions);
    finish_here(c, &told);
    return wrong;
}

void cluster_locks_beat(struct cluster *c, unsigned src, uint64_t dead)
{
    struct told told;
    begin(c, &told);
    uint64_t now = cluster_now_ns();
    lock_service_dead(c->locks, now, dead, &c->lock_actions);
    lock_service_heard(c->locks, now, src);
    finish_here(c, &told);
}

void cluster_locks_echo(struct cluster *c, unsigned src, uint64_t sent)
{
    struct told told;
    begin(c, &told);
    lock_service_echoed(c->locks, cluster_now_ns(), src, sent, &c->lock_actions);
    finish_here(c, &told);
}

void cluster_locks_dead(struct cluster *c, uint64_t dead)
{
    struct told told;
    begin(c, &told);
    lock_service_dead(c->locks, cluster_now_ns(), dead, &c->lock_actions);
    finish_here(c, &told);
}

uint64_t cluster_locks_tick(struct cluster *c, uint64_t now)
{
    struct told told;
    begin(c, &told);
    uint64_t due = lock_service_deadline(c->locks);
    if (due <= now) {
        lock_service_tick(c->locks, now, &c->lock_actions);
        due = lock_service_deadline(c->locks);
    }
    finish_here(c, &told);
    return due;
}
