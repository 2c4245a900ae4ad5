/*
 * Changes of the machine's state over ranks: start, stop, restart, power-off. Any rank's main loop may begin one. It
 * takes the lock "machine.state" (and "world" while the harts stand), and each step carries that grant's fence: who
 * gets one smaller than it has seen refuses it.
 *
 *   stop       BEGIN to all; each stops its harts: STOPPED to all; when all have: READY to all
 *   restart    as stop, but each resets its part before READY; when all are: RESUME to all; DONE to the beginner
 *   go on      as restart, without the reset; this is also how the machine starts
 *   power-off  OFF to all; rank 0 ends the cluster, when what was printed is there (ranks_port.c)
 *
 * STOPPED and READY go from each rank to each: as messages of a pair stay in order, they also say that everything which
 * that rank sent before has arrived. So no interrupt from before a restart is seen after it. STOPPED says when the
 * guest's clock stood still there, RESUME what it counts from: the latest of those, so it steps back on no hart.
 *
 * Everything is done by the main loop, with the BQL, and waits for nothing but harts of this rank.
 */
#include "ranks_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "virt.h"
#include "weft/log.h"

enum world_step { STEP_BEGIN, STEP_STOPPED, STEP_READY, STEP_RESUME, STEP_DONE, STEP_OFF, STEPS };

/* The operator's end does not wait longer than this for the lock: whoever has it may be in trouble. */
#define OFF_WAIT_NS 1000000000ull

struct event {
    struct event *next;
    unsigned src;
    struct world_post post;
};

/*
 * Legend: (c) fixed at create  [W] lock, a leaf  (m) main loop
 */
struct ranks_world {
    struct ranks *ranks; /* (c) */
    struct loop_bh *bh;  /* (c) */
    struct loop_timer *off_timer;
    int state_lock, world_lock; /* (c) */
    pthread_mutex_t lock;
    struct event *first, **last;    /* [W] steps that came */
    bool wanted[WORLD_OPS];         /* [W] */
    int status;                     /* [W] of the wanted power-off; the first counts */
    uint64_t restarts;              /* [W] begun so far */
    uint64_t restarts_seen;         /* [W] of those, when the last one was asked for */
    bool granted;                   /* [W] the lock came that was asked for */
    struct lock_fence grant;        /* [W] */
    struct cluster_lock_request rq; /* the one under way */

    /* (m) this rank begins something */
    enum { IDLE, STATE_ASKED, WORLD_ASKED, CHANGING } own;
    enum world_op op; /* while CHANGING or WORLD_ASKED */
    struct lock_fence own_fence;
    bool has_world; /* holds "world" */
    uint64_t done;  /* ranks */

    /* (m) the change that goes on, of whatever rank */
    struct lock_fence fence;
    uint64_t stopped, ready; /* ranks that said so under `fence` */
    bool begun, resume_came;
    uint8_t current; /* enum world_op */
    unsigned beginner;
    uint64_t base_ns;
    uint64_t still_ns; /* when the guest's clock stood still, the latest of all ranks */
    bool off_armed;
    bool off_came;  /* rank 0: it ends when no other rank uses the UART */
    int off_status; /* of that */
};

static uint64_t everyone(const struct ranks *r)
{
    return r->members.ranks == 64 ? UINT64_MAX : (1ull << r->members.ranks) - 1;
}

/* ---- sending ---- */

static void handle(struct ranks_world *w, unsigned src, const struct world_post *p);

static void tell(struct ranks_world *w, unsigned rank, enum world_step step, uint64_t ns)
{
    struct ranks *r = w->ranks;
    struct world_post p = {.step = (uint8_t)step, .op = w->current, .fence = w->fence, .ns = ns, .status = w->status};
    if (rank == r->members.self) {
        handle(w, rank, &p);
    } else {
        cluster_post(r->cluster, rank, POST_WORLD, &p, sizeof(p));
    }
}

static void tell_all(struct ranks_world *w, enum world_step step, uint64_t ns)
{
    struct ranks *r = w->ranks;
    for (unsigned i = 0; i < r->members.ranks; i++) {
        if (i != r->members.self) {
            tell(w, i, step, ns);
        }
    }
    tell(w, r->members.self, step, ns);
}

/* ---- locks ---- */

static void on_grant(struct cluster_lock_request *request, bool ok, struct lock_fence fence)
{
    struct ranks_world *w = (struct ranks_world *)((char *)request - offsetof(struct ranks_world, rq));
    pthread_mutex_lock(&w->lock);
    w->granted = ok; /* else this rank is cut off, and the cluster ends the machine */
    w->grant = fence;
    pthread_mutex_unlock(&w->lock);
    loop_bh_schedule(w->bh);
}

static void ask_lock(struct ranks_world *w, int lock)
{
    w->rq = (struct cluster_lock_request){.done = on_grant};
    cluster_lock_acquire(w->ranks->cluster, lock, LOCK_EXCLUSIVE, &w->rq);
}

static void give_world_back(struct ranks_world *w)
{
    if (w->has_world) {
        w->has_world = false;
        cluster_unlock(w->ranks->cluster, w->world_lock, LOCK_EXCLUSIVE);
    }
}

/* What this rank began is over. */
static void finished(struct ranks_world *w)
{
    struct machine *m = w->ranks->m;
    w->own = IDLE;
    cluster_unlock(w->ranks->cluster, w->state_lock, LOCK_EXCLUSIVE);
    machine_paused(m, atomic_load(&m->state) == MACHINE_PAUSED);
    loop_bh_schedule(w->bh);
}

/* ---- steps ---- */

static void reset_done(struct ranks *r, bool ok)
{
    struct ranks_world *w = r->world;
    if (!ok) {
        ranks_shutdown_now(r->m, 1, "the guest's images could not be put into its memory again");
        return;
    }
    tell_all(w, STEP_READY, 0);
}

/* All harts of all ranks stand, and nothing that they sent is on its way any more. */
static void world_stands(struct ranks_world *w)
{
    if (w->current == WORLD_RESET) {
        pthread_mutex_lock(&w->lock);
        w->restarts++;
        pthread_mutex_unlock(&w->lock);
        machine_reset_here(w->ranks->m, reset_done, w->ranks);
    } else {
        tell_all(w, STEP_READY, 0);
    }
}

static void begin(struct ranks_world *w, unsigned src)
{
    struct machine *m = w->ranks->m;
    w->begun = true;
    w->beginner = src;
    int running = MACHINE_RUNNING;
    atomic_compare_exchange_strong(&m->state, &running, w->current == WORLD_RESET ? MACHINE_RESET : MACHINE_PAUSED);
    page_users_park(w->ranks->users, true); /* a hart may wait for what a device holds */
    cpu_stop_all(m);
    ranks_port_return(w->ranks);
    tell_all(w, STEP_STOPPED, cpu_paused_at_ns(m));
}

static void resume(struct ranks_world *w)
{
    struct machine *m = w->ranks->m;
    int state = atomic_load(&m->state);
    if (state == MACHINE_RESET || state == MACHINE_PAUSED) { /* unless a shutdown came meanwhile */
        atomic_compare_exchange_strong(&m->state, &state, MACHINE_RUNNING);
    }
    page_users_park(w->ranks->users, false);
    cpu_resume_all_at(m, w->base_ns);
    machine_paused(m, false);
    loop_bh_schedule(w->bh); /* a restart may have been put off */
    tell(w, w->beginner, STEP_DONE, 0);
}

/* The beginner, when all are ready. */
static void let_go_on(struct ranks_world *w)
{
    struct machine *m = w->ranks->m;
    uint64_t base = __atomic_load_n(&m->clock_base_ns, __ATOMIC_RELAXED);
    tell_all(w, STEP_RESUME, base + guest_clock_ns(m) - w->still_ns);
}

static void on_ready(struct ranks_world *w)
{
    struct ranks *r = w->ranks;
    if (w->ready != everyone(r)) {
        return;
    }
    if (w->resume_came) {
        resume(w);
    }
    if (w->current == WORLD_STOP) {
        machine_paused(r->m, true);
    }
    if (w->beginner != r->members.self) {
        return;
    }
    if (w->current == WORLD_STOP) {
        finished(w);
    } else if (!w->resume_came) {
        let_go_on(w);
    }
}

/* A step of a change that is not the one known: a newer one begins here. False: it is an old one. */
static bool adopt(struct ranks_world *w, const struct world_post *p)
{
    if (lock_fence_less(p->fence, w->fence)) {
        log_warn("a step of a change of the machine's state came under an old grant of its lock and was refused");
        return false;
    }
    if (lock_fence_less(w->fence, p->fence)) {
        w->fence = p->fence;
        w->current = p->op;
        w->stopped = w->ready = 0;
        w->begun = w->resume_came = false;
        w->still_ns = 0;
    }
    return true;
}

static void arm_off(struct ranks_world *w)
{
    if (!w->off_armed) {
        w->off_armed = true;
        loop_timer_arm(w->off_timer, loop_now_ns() + OFF_WAIT_NS);
    }
}

static void shut_down(void *opaque)
{
    struct ranks_world *w = opaque;
    int status = w->off_came ? w->off_status : w->status;
    w->off_came = false;
    ranks_shutdown_now(w->ranks->m, status, "the machine was shut down");
}

static void off(struct ranks_world *w, int status)
{
    struct ranks *r = w->ranks;
    if (r->members.self != 0) {
        ranks_port_return(r);
        return;
    }
    w->off_came = true;
    w->off_status = status;
    if (ranks_port_recall(r)) {
        arm_off(w);
    } else {
        shut_down(w);
    }
}

static void handle(struct ranks_world *w, unsigned src, const struct world_post *p)
{
    struct ranks *r = w->ranks;
    if (!adopt(w, p)) {
        return;
    }
    switch (p->step) {
    case STEP_BEGIN:
        begin(w, src);
        break;
    case STEP_STOPPED:
        w->stopped |= 1ull << src;
        w->still_ns = p->ns > w->still_ns ? p->ns : w->still_ns;
        if (w->stopped == everyone(r)) {
            world_stands(w);
        }
        break;
    case STEP_READY:
        w->ready |= 1ull << src;
        on_ready(w);
        break;
    case STEP_RESUME:
        w->base_ns = p->ns;
        w->beginner = src;
        if (w->ready == everyone(r)) {
            resume(w);
        } else {
            w->resume_came = true;
        }
        give_world_back(w);
        break;
    case STEP_DONE:
        w->done |= 1ull << src;
        if (w->own == CHANGING && w->done == everyone(r)) {
            finished(w);
        }
        break;
    case STEP_OFF:
        off(w, p->status);
        break;
    }
}

/* ---- beginning ---- */

/* What a hart asked for just before the operator stopped the machine is done when it goes on: until then "world" is
 * with the one who stopped it. */
static bool put_off(const struct ranks_world *w, enum world_op op)
{
    return op == WORLD_RESET && atomic_load(&w->ranks->m->state) == MACHINE_PAUSED;
}

static bool take_want(struct ranks_world *w, enum world_op op)
{
    if (put_off(w, op)) {
        return false;
    }
    pthread_mutex_lock(&w->lock);
    bool wanted = w->wanted[op];
    w->wanted[op] = false;
    if (op == WORLD_RESET && w->restarts_seen != w->restarts) {
        wanted = false; /* it was asked for before the last restart */
    }
    pthread_mutex_unlock(&w->lock);
    return wanted;
}

/* Holds "machine.state" now: the most pressing of what is wanted. */
static void choose(struct ranks_world *w, struct lock_fence fence)
{
    static const enum world_op order[] = {WORLD_OFF, WORLD_RESET, WORLD_STOP, WORLD_CONT};
    struct machine *m = w->ranks->m;
    w->own_fence = fence;
    for (unsigned i = 0; i < WORLD_OPS; i++) {
        if (!take_want(w, order[i])) {
            continue;
        }
        w->op = order[i];
        bool paused = atomic_load(&m->state) == MACHINE_PAUSED;
        if ((w->op == WORLD_STOP && paused) || (w->op == WORLD_CONT && !paused)) {
            break; /* it is so already */
        }
        bool stops = w->op == WORLD_STOP || w->op == WORLD_RESET;
        if (stops && !w->has_world) {
            w->own = WORLD_ASKED;
            ask_lock(w, w->world_lock);
            return;
        }
        w->own = CHANGING;
        return;
    }
    finished(w);
}

static void start_change(struct ranks_world *w)
{
    struct ranks *r = w->ranks;
    if (!cluster_locks_valid(r->cluster)) {
        return; /* cut off: the cluster ends this machine */
    }
    w->done = 0;
    w->fence = w->own_fence;
    w->current = (uint8_t)w->op;
    w->stopped = w->ready = 0;
    w->begun = w->resume_came = false;
    w->beginner = r->members.self;
    w->still_ns = 0;
    tell_all(w, w->op == WORLD_OFF ? STEP_OFF : STEP_BEGIN, 0);
}

static bool anything_wanted(struct ranks_world *w)
{
    bool any = false;
    pthread_mutex_lock(&w->lock);
    for (unsigned i = 0; i < WORLD_OPS; i++) {
        any |= w->wanted[i] && !put_off(w, (enum world_op)i);
    }
    pthread_mutex_unlock(&w->lock);
    return any;
}

/* True once for each grant. */
static bool take_grant(struct ranks_world *w, struct lock_fence *fence)
{
    pthread_mutex_lock(&w->lock);
    bool granted = w->granted;
    w->granted = false;
    *fence = w->grant;
    pthread_mutex_unlock(&w->lock);
    return granted;
}

static void go_on(struct ranks_world *w)
{
    struct lock_fence fence;
    if (w->own == IDLE && anything_wanted(w)) {
        w->own = STATE_ASKED;
        ask_lock(w, w->state_lock);
    }
    pthread_mutex_lock(&w->lock);
    bool wanted = w->wanted[WORLD_OFF];
    pthread_mutex_unlock(&w->lock);
    if (wanted) {
        arm_off(w);
    }
    if (!take_grant(w, &fence)) {
        return;
    }
    if (w->own == STATE_ASKED) {
        choose(w, fence);
    } else if (w->own == WORLD_ASKED) {
        w->has_world = true;
        w->own = CHANGING;
    }
    if (w->own == CHANGING) {
        start_change(w);
    }
}

/* Main loop. */
static void serve(void *opaque)
{
    struct ranks_world *w = opaque;
    pthread_mutex_lock(&w->lock);
    struct event *e = w->first;
    w->first = NULL;
    w->last = &w->first;
    pthread_mutex_unlock(&w->lock);
    ranks_serve_asks(w->ranks); /* what was asked of the devices before these steps came */
    while (e) {
        struct event *next = e->next;
        handle(w, e->src, &e->post);
        free(e);
        e = next;
    }
    go_on(w);
}

void ranks_world_port_back(struct ranks *r)
{
    struct ranks_world *w = r->world;
    if (w && w->off_came) {
        shut_down(w);
    }
}

void ranks_want(struct machine *m, enum world_op op, int status)
{
    struct ranks_world *w = m->ranks->world;
    if (!w) { /* the ranks are not together yet, or apart again */
        machine_ended(m, status);
        return;
    }
    pthread_mutex_lock(&w->lock);
    if (op == WORLD_OFF && !w->wanted[op]) {
        w->status = status;
    }
    if (op == WORLD_RESET) {
        w->restarts_seen = w->restarts;
    }
    w->wanted[op] = true;
    pthread_mutex_unlock(&w->lock);
    loop_bh_schedule(w->bh);
}

bool ranks_world_post(struct ranks *r, unsigned src, const struct world_post *p)
{
    struct ranks_world *w = r->world;
    if (!w || p->step >= STEPS || p->op >= WORLD_OPS) {
        return false;
    }
    struct event *e = malloc(sizeof(*e));
    assert(e);
    *e = (struct event){.src = src, .post = *p};
    pthread_mutex_lock(&w->lock);
    *w->last = e;
    w->last = &e->next;
    pthread_mutex_unlock(&w->lock);
    loop_bh_schedule(w->bh);
    return true;
}

/* ---- frame ---- */

void ranks_world_create(struct ranks *r)
{
    struct ranks_world *w = calloc(1, sizeof(*w));
    assert(w);
    w->ranks = r;
    w->last = &w->first;
    pthread_mutex_init(&w->lock, NULL);
    w->bh = loop_bh_create(r->m->loop, serve, w);
    w->off_timer = loop_timer_create(r->m->loop, shut_down, w);
    w->state_lock = cluster_lock_open(r->cluster, "machine.state");
    w->world_lock = cluster_lock_open(r->cluster, "world");
    assert(w->state_lock >= 0 && w->world_lock >= 0);
    r->world = w;
}

void ranks_world_destroy(struct ranks *r)
{
    struct ranks_world *w = r->world;
    if (!w) {
        return;
    }
    for (struct event *e = w->first, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    loop_bh_destroy(&w->bh);
    loop_timer_destroy(&w->off_timer);
    pthread_mutex_destroy(&w->lock);
    free(w);
    r->world = NULL;
}
