/*
 * Drives the production lock service of several ranks through seeded worlds: messages in order per connection or in
 * none, clocks that run apart, ranks that die, links that are cut (both ways or one way). Checked after each step:
 *
 *   exclusion   two ranks whose leases both last never hold a lock in modes that exclude each other
 *   fences      an exclusive grant has a greater fence than every grant before it, a shared one than all exclusive ones
 *   ends        each acquire ends in a grant, or fails because its rank is cut off; no lock is lost with a dead rank
 *
 * A failure prints the seed and how to run it again with a trace.
 */
#include "sim.h"

#include "weft/lockservice.h"

enum { RANKS = 5, LOCKS = 3, THREADS = 4, CHANNELS = RANKS * RANKS, QUEUE = 4096, RUN_STEPS = 20000 };
enum { BEAT_EVERY = 100, LEASE = 1000, MARGIN = 40 };

enum packet_kind { PACKET_LOCK, PACKET_BEAT, PACKET_ECHO };

struct packet {
    enum packet_kind kind;
    uint64_t sent, dead;
    struct lock_message message;
};

struct channel {
    unsigned head, tail;
    bool cut;
    struct packet queue[QUEUE];
};

enum thread_state { IDLE, WAITING, HOLDING, GONE };

struct thread {
    enum thread_state state;
    unsigned lock;
    enum lock_mode mode;
};

struct rank {
    struct lock_service *service;
    bool dead, isolated;
    int64_t drift, offset;
    uint64_t beat_due;
    uint64_t heard[RANKS];
    struct thread thread[THREADS];
};

static struct world {
    uint64_t calls; /* steps of the production state machine: what --steps counts */
    unsigned ranks, locks, threads, shared_percent;
    unsigned eager;   /* percent: how soon an idle thread wants a lock */
    uint64_t silence; /* after which a peer is declared dead */
    bool ordered, draining, faults;
    unsigned deaths;
    struct sim_random random;
    struct rank rank[RANKS];
    struct channel channel[CHANNELS];
    struct lock_fence last_any[LOCKS], last_exclusive[LOCKS];
} w;

static uint64_t total_grants, total_cached, total_handoffs, total_early, total_isolated, total_regranted;

/* The rank's own clock: another zero, another speed. */
static uint64_t clock_of(unsigned r)
{
    const struct rank *k = &w.rank[r];
    return (uint64_t)((int64_t)sim.now + (int64_t)sim.now * k->drift / 1000 + k->offset);
}

static bool counts(unsigned r)
{
    return !w.rank[r].dead && lock_service_valid(w.rank[r].service, clock_of(r));
}

static void check_lock(unsigned lock)
{
    int holder = -1;
    enum lock_mode mode = LOCK_NONE;
    for (unsigned r = 0; r < w.ranks; r++) {
        for (unsigned t = 0; t < w.threads; t++) {
            const struct thread *h = &w.rank[r].thread[t];
            if (h->state != HOLDING || h->lock != lock || !counts(r)) {
                continue;
            }
            if (holder >= 0 && (mode == LOCK_EXCLUSIVE || h->mode == LOCK_EXCLUSIVE)) {
                sim_fail("lock %u is held by rank %d and by rank %u", lock, holder, r);
            }
            holder = (int)r;
            mode = h->mode;
        }
    }
}

static void send(unsigned src, unsigned dst, const struct packet *p)
{
    struct channel *c = &w.channel[src * RANKS + dst];
    if (w.rank[dst].dead) {
        return;
    }
    if (c->tail - c->head == QUEUE) {
        if (c->cut) {
            return;
        }
        sim_fail("more than %d messages under way from rank %u to rank %u", QUEUE, src, dst);
    }
    c->queue[c->tail++ % QUEUE] = *p;
}

static void granted(unsigned r, unsigned index, struct lock_fence fence)
{
    struct thread *t = &w.rank[r].thread[index];
    if (t->state != WAITING) {
        sim_fail("rank %u: a grant for thread %u that does not wait", r, index);
    }
    if (!counts(r)) {
        sim_fail("rank %u grants lock %u without a lease", r, t->lock);
    }
    sim_trace("rank %u: thread %u holds lock %u in mode %u, fence %llx.%llu", r, index, t->lock, t->mode,
              (unsigned long long)fence.token, (unsigned long long)fence.local);
    struct lock_fence *any = &w.last_any[t->lock], *exclusive = &w.last_exclusive[t->lock];
    if (t->mode == LOCK_EXCLUSIVE ? !lock_fence_less(*any, fence) : !lock_fence_less(*exclusive, fence)) {
        sim_fail("rank %u: lock %u is granted in mode %u with a fence that does not grow", r, t->lock, t->mode);
    }
    if (lock_fence_less(*any, fence)) {
        *any = fence;
    }
    if (t->mode == LOCK_EXCLUSIVE) {
        *exclusive = fence;
    }
    t->state = HOLDING;
    total_grants++;
    total_regranted += w.deaths > 0;
    check_lock(t->lock);
}

static void carry_out(unsigned r, const struct lock_actions *out)
{
    for (unsigned i = 0; i < out->count; i++) {
        const struct lock_action *a = &out->at[i];
        struct packet p = {.kind = PACKET_LOCK, .message = a->message};
        switch (a->kind) {
        case LOCK_SEND:
            sim_trace("rank %u -> %u: %s %s mode %u fence %llx dead %llx", r, a->peer,
                      message_name(a->message.header.type), a->message.body.name, a->message.body.mode,
                      (unsigned long long)a->message.body.fence, (unsigned long long)a->message.body.dead);
            send(r, a->peer, &p);
            break;
        case LOCK_GRANTED:
            granted(r, (unsigned)a->cookie, a->fence);
            break;
        case LOCK_FAILED:
            if (!w.rank[r].isolated) {
                sim_fail("rank %u: an acquire fails though the rank is not cut off", r);
            }
            w.rank[r].thread[a->cookie].state = GONE;
            break;
        case LOCK_ISOLATED:
            sim_trace("rank %u is cut off", r);
            w.rank[r].isolated = true;
            total_isolated++;
            break;
        }
    }
}

static struct lock_actions *calling(void)
{
    static struct lock_actions out;
    out.count = 0;
    w.calls++;
    return &out;
}

static bool may_talk(unsigned r, unsigned peer)
{
    return !(lock_service_dead_ranks(w.rank[r].service) >> peer & 1) && !w.rank[r].isolated;
}

static void deliver(void)
{
    unsigned src = sim_below(&w.random, w.ranks), dst = sim_below(&w.random, w.ranks);
    struct channel *c = &w.channel[src * RANKS + dst];
    struct rank *k = &w.rank[dst];
    if (c->head == c->tail || c->cut || k->dead) {
        return;
    }
    unsigned at = w.ordered ? c->head : c->head + sim_below(&w.random, c->tail - c->head);
    struct packet p = c->queue[at % QUEUE];
    c->queue[at % QUEUE] = c->queue[c->head % QUEUE];
    c->head++;
    if (!may_talk(dst, src)) {
        return;
    }
    uint64_t now = clock_of(dst);
    k->heard[src] = sim.now;
    struct lock_actions *out = calling();
    if (p.kind == PACKET_LOCK) {
        sim_trace("rank %u <- %u: %s %s", dst, src, message_name(p.message.header.type), p.message.body.name);
        const char *wrong = lock_service_message(k->service, now, &p.message, out);
        if (wrong) {
            sim_fail("rank %u refuses %s of rank %u: %s", dst, message_name(p.message.header.type), src, wrong);
        }
    } else if (p.kind == PACKET_BEAT) {
        lock_service_dead(k->service, now, p.dead, out);
        if (may_talk(dst, src)) {
            lock_service_heard(k->service, now, src);
            struct packet echo = {.kind = PACKET_ECHO, .sent = p.sent};
            send(dst, src, &echo);
        }
    } else {
        lock_service_echoed(k->service, now, src, p.sent, out);
    }
    carry_out(dst, out);
}

static void step_thread(unsigned r, unsigned index)
{
    struct rank *k = &w.rank[r];
    struct thread *t = &k->thread[index];
    uint64_t now = clock_of(r);
    if (t->state == HOLDING) {
        sim_trace("rank %u: thread %u releases lock %u", r, index, t->lock);
        t->state = IDLE;
        struct lock_actions *out = calling();
        lock_service_release(k->service, now, t->lock, t->mode, out);
        carry_out(r, out);
    } else if (t->state == IDLE && !w.draining && !k->isolated && sim_chance(&w.random, w.eager)) {
        t->lock = sim_below(&w.random, w.locks);
        t->mode = sim_chance(&w.random, w.shared_percent) ? LOCK_SHARED : LOCK_EXCLUSIVE;
        t->state = WAITING;
        sim_trace("rank %u: thread %u wants lock %u in mode %u", r, index, t->lock, t->mode);
        struct lock_fence fence;
        if (lock_service_try(k->service, now, t->lock, t->mode, &fence)) {
            w.calls++;
            total_cached++;
            granted(r, index, fence);
            return;
        }
        struct lock_actions *out = calling();
        lock_service_acquire(k->service, now, t->lock, t->mode, index, out);
        carry_out(r, out);
    }
}

static void beat_and_watch(unsigned r)
{
    struct rank *k = &w.rank[r];
    uint64_t now = clock_of(r);
    if (sim.now >= k->beat_due) {
        k->beat_due = sim.now + BEAT_EVERY;
        for (unsigned p = 0; p < w.ranks; p++) {
            struct packet beat = {.kind = PACKET_BEAT, .sent = now, .dead = lock_service_dead_ranks(k->service)};
            if (p != r && may_talk(r, p)) {
                send(r, p, &beat);
            }
        }
    }
    for (unsigned p = 0; p < w.ranks; p++) {
        bool closed = w.rank[p].dead && sim_chance(&w.random, 1);
        if (p != r && may_talk(r, p) && (sim.now - k->heard[p] > w.silence || closed)) {
            sim_trace("rank %u gives up rank %u", r, p);
            struct lock_actions *out = calling();
            lock_service_dead(k->service, now, 1ull << p, out);
            carry_out(r, out);
        }
    }
    if (lock_service_deadline(k->service) <= now) {
        struct lock_actions *out = calling();
        lock_service_tick(k->service, now, out);
        carry_out(r, out);
    }
}

/* A rank dies, or links of one rank are cut, at times for good. */
static void fault(void)
{
    unsigned victim = sim_below(&w.random, w.ranks), how = sim_below(&w.random, 4);
    if (how == 0) {
        sim_trace("rank %u dies", victim);
        w.rank[victim].dead = true;
        w.deaths++;
        return;
    }
    for (unsigned p = 0; p < w.ranks; p++) {
        if (sim_chance(&w.random, how == 1 ? 100 : 50)) {
            bool cut = how != 3;
            w.channel[victim * RANKS + p].cut = cut;
            w.channel[p * RANKS + victim].cut = how == 2 ? sim_chance(&w.random, 50) : cut;
            sim_trace("links of rank %u and %u are %s", victim, p, cut ? "cut" : "healed");
        }
    }
}

static void step(void)
{
    sim.steps++;
    unsigned r = sim_below(&w.random, w.ranks), what = sim_below(&w.random, 100);
    if (what < 60) {
        deliver();
    } else if (what < 80) {
        if (!w.rank[r].dead) {
            step_thread(r, sim_below(&w.random, w.threads));
        }
    } else if (what < 90) {
        sim.now += sim_below(&w.random, 12);
    } else if (!w.rank[r].dead && !w.rank[r].isolated) {
        beat_and_watch(r);
    }
    for (unsigned l = 0; l < w.locks; l++) {
        check_lock(l);
    }
}

static bool is_quiet(void)
{
    for (unsigned r = 0; r < w.ranks; r++) {
        for (unsigned t = 0; t < w.threads && !w.rank[r].dead; t++) {
            enum thread_state state = w.rank[r].thread[t].state;
            if (state == WAITING || state == HOLDING) {
                return false;
            }
        }
    }
    return true;
}

static void drain(void)
{
    w.draining = true;
    for (unsigned i = 0; i < 400000 && !is_quiet(); i++) {
        step();
    }
    for (unsigned r = 0; r < w.ranks; r++) {
        for (unsigned t = 0; t < w.threads && !w.rank[r].dead; t++) {
            if (w.rank[r].thread[t].state == WAITING) {
                sim_fail("rank %u: thread %u never gets lock %u", r, t, w.rank[r].thread[t].lock);
            }
        }
    }
}

static void create_world(void)
{
    w.calls = 0;
    w.deaths = 0;
    w.draining = false;
    w.random.state = sim.seed;
    w.ranks = 2 + sim_below(&w.random, RANKS - 1);
    w.locks = 1 + sim_below(&w.random, LOCKS);
    w.threads = 1 + sim_below(&w.random, THREADS);
    w.shared_percent = sim_chance(&w.random, 30) ? 0 : sim_below(&w.random, 90);
    w.eager = sim_chance(&w.random, 50) ? 100 : 1 + sim_below(&w.random, 30);
    w.ordered = sim_chance(&w.random, 50);
    w.faults = sim_chance(&w.random, 60);
    w.silence = w.faults ? 500 + sim_below(&w.random, 2000) : UINT64_MAX;
    memset(w.rank, 0, sizeof(w.rank));
    memset(w.last_any, 0, sizeof(w.last_any));
    memset(w.last_exclusive, 0, sizeof(w.last_exclusive));
    for (unsigned i = 0; i < CHANNELS; i++) {
        w.channel[i].head = w.channel[i].tail = 0;
        w.channel[i].cut = false;
    }
    for (unsigned r = 0; r < w.ranks; r++) {
        struct rank *k = &w.rank[r];
        k->offset = sim_below(&w.random, 1000000);
        k->drift = (int64_t)sim_below(&w.random, 21) - 10;
        struct lock_service_config config = {.self = r, .ranks = w.ranks, .lease_ns = LEASE, .margin_ns = MARGIN};
        k->service = lock_service_create(&config, clock_of(r));
        for (unsigned l = 0; l < w.locks; l++) {
            char name[8] = {'l', 'o', 'c', 'k', (char)('0' + l)};
            lock_service_open(k->service, name);
        }
    }
}

static uint64_t run(void)
{
    create_world();
    uint64_t at[3];
    for (unsigned i = 0; i < 3; i++) {
        at[i] = w.faults ? sim_below(&w.random, RUN_STEPS) : UINT64_MAX;
    }
    for (unsigned i = 0; i < RUN_STEPS; i++) {
        if (i == at[0] || i == at[1] || i == at[2]) {
            fault();
        }
        step();
    }
    drain();
    for (unsigned r = 0; r < w.ranks; r++) {
        for (unsigned l = 0; l < w.locks; l++) {
            struct lock_view v = lock_service_view(w.rank[r].service, l);
            total_handoffs += v.stats.handoffs;
            total_early += v.stats.early;
        }
        lock_service_destroy(&w.rank[r].service);
    }
    return w.calls;
}

int main(int argc, char **argv)
{
    sim_main(argc, argv, "sim_lock", run);
    printf("%llu grants (%llu without a message), %llu hand-offs (%llu early), %llu grants after a death, "
           "%llu ranks cut off; every invariant held\n",
           (unsigned long long)total_grants, (unsigned long long)total_cached, (unsigned long long)total_handoffs,
           (unsigned long long)total_early, (unsigned long long)total_regranted, (unsigned long long)total_isolated);
    return 0;
}
