/*
 * Changes of the machine's state over ranks: src/machine/ranks_world.c of three ranks in one process, in an order drawn
 * by seed. Messages of a pair of ranks stay in order, all else comes when it comes.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "machine/ranks_state.h"
#include "weft/loop.h"

enum { RANKS = 3, LOCKS = 2, QUEUE = 4096, GUEST = 99, LINE = 100 };

struct loop_bh {
    void (*fn)(void *opaque);
    void *opaque;
    bool scheduled;
};

struct packet {
    uint32_t kind;
    struct world_post post;
    unsigned epoch; /* GUEST: restarts of the sender when it sent this */
};

/* One rank: the machine, what its stubs know. */
static struct rank {
    struct machine m;
    struct ranks r;
    struct loop_bh bh;
    bool stopped, parked, told_paused, off;
    uint64_t paused_at;
    unsigned resets; /* restarts carried out */
    void (*reset_done)(struct ranks *r, bool ok);
    int status;
} rank[RANKS];

static struct {
    struct packet at[QUEUE];
    unsigned head, tail;
} wire[RANKS][RANKS]; /* [from][to] */

static struct {
    int owner; /* -1: free */
    unsigned num_waiters, waiter[RANKS];
    struct cluster_lock_request *request[RANKS];
    uint64_t fence;
} lock[LOCKS];

static uint64_t now, latest, seed;
static bool locks_work;

static unsigned draw(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % n);
}

/* ---- what ranks_world.c calls ---- */

static unsigned of_cluster(const struct cluster *c)
{
    return (unsigned)((const struct rank *)(const void *)c - rank);
}

static void send(unsigned from, unsigned to, const struct packet *p)
{
    ck_assert_uint_lt(wire[from][to].tail - wire[from][to].head, QUEUE);
    wire[from][to].at[wire[from][to].tail++ % QUEUE] = *p;
}

void cluster_post(struct cluster *c, unsigned to, uint32_t kind, const void *bytes, size_t length)
{
    struct packet p = {.kind = kind};
    ck_assert_uint_eq(kind, POST_WORLD);
    ck_assert_uint_eq(length, sizeof(p.post));
    memcpy(&p.post, bytes, length);
    send(of_cluster(c), to, &p);
}

int cluster_lock_open(struct cluster *c, const char *name)
{
    return strcmp(name, "machine.state") == 0 ? 0 : 1;
}

void cluster_lock_acquire(struct cluster *c, int l, enum lock_mode mode, struct cluster_lock_request *request)
{
    unsigned n = lock[l].num_waiters++;
    ck_assert_uint_lt(n, RANKS);
    lock[l].waiter[n] = of_cluster(c);
    lock[l].request[n] = request;
}

void cluster_unlock(struct cluster *c, int l, enum lock_mode mode)
{
    ck_assert_int_eq(lock[l].owner, (int)of_cluster(c));
    lock[l].owner = -1;
}

bool cluster_locks_valid(struct cluster *c)
{
    return true;
}

struct loop_bh *loop_bh_create(struct loop *loop, void (*fn)(void *opaque), void *opaque)
{
    struct rank *k = (struct rank *)(void *)loop;
    k->bh = (struct loop_bh){.fn = fn, .opaque = opaque};
    return &k->bh;
}

void loop_bh_schedule(struct loop_bh *bh)
{
    bh->scheduled = true;
}

void loop_bh_destroy(struct loop_bh **bh)
{
    *bh = NULL;
}

struct loop_timer *loop_timer_create(struct loop *loop, void (*fn)(void *opaque), void *opaque)
{
    return NULL;
}

static bool timer_armed;

void loop_timer_arm(struct loop_timer *t, uint64_t deadline_ns)
{
    timer_armed = true;
}

void loop_timer_destroy(struct loop_timer **t)
{
}

uint64_t loop_now_ns(void)
{
    return now;
}

static struct rank *of_machine(struct machine *m)
{
    return (struct rank *)(void *)m;
}

void cpu_stop_all(struct machine *m)
{
    struct rank *k = of_machine(m);
    ck_assert(k->parked); /* else a hart may wait for what a device holds */
    if (!k->stopped) {
        k->stopped = true;
        k->paused_at = ++now;
    }
}

uint64_t cpu_paused_at_ns(struct machine *m)
{
    return of_machine(m)->paused_at;
}

void cpu_resume_all_at(struct machine *m, uint64_t base)
{
    struct rank *k = of_machine(m);
    ck_assert(k->stopped && !k->parked);
    k->stopped = false;
    m->clock_base_ns = base;
}

uint64_t guest_clock_ns(struct machine *m)
{
    return ++now;
}

void page_users_park(struct page_users *users, bool park)
{
    ((struct rank *)(void *)users)->parked = park;
}

void machine_reset_here(struct machine *m, void (*done)(struct ranks *r, bool ok), struct ranks *r)
{
    struct rank *k = of_machine(m);
    for (unsigned i = 0; i < RANKS; i++) {
        ck_assert(rank[i].stopped);
    }
    k->resets++;
    if (r->members.self == 0) {
        k->reset_done = done; /* later: the images */
        for (unsigned i = 1; i < RANKS; i++) {
            send(0, i, &(struct packet){.kind = LINE}); /* the devices' reset lowers their lines */
        }
    } else {
        done(r, true);
    }
}

void machine_paused(struct machine *m, bool paused)
{
    of_machine(m)->told_paused = paused;
}

void machine_ended(struct machine *m, int status)
{
    ck_abort_msg("machine_ended while the ranks are together");
}

void ranks_serve_asks(void *opaque)
{
}

/* Ends the cluster: all ranks hear of it. */
void ranks_shutdown_now(struct machine *m, int status, const char *sentence)
{
    for (unsigned i = 0; i < RANKS; i++) {
        rank[i].off = true;
        rank[i].status = status;
    }
}

static bool port_out; /* another rank than 0 has the UART's transmitter */
static unsigned port_asked, port_returned;

bool ranks_port_recall(struct ranks *r)
{
    port_asked++;
    return port_out;
}

void ranks_port_return(struct ranks *r)
{
    port_returned++;
}

/* ---- the world goes round ---- */

static void deliver(unsigned from, unsigned to)
{
    struct packet *p = &wire[from][to].at[wire[from][to].head++ % QUEUE];
    if (p->kind == GUEST) {
        ck_assert_uint_eq(p->epoch, rank[to].resets); /* nothing from before a restart is seen after it */
    } else if (p->kind == LINE) {
        ck_assert(rank[to].stopped); /* nor what the restart itself sent, once harts run */
    } else {
        ck_assert(ranks_world_post(&rank[to].r, from, &p->post));
    }
}

static void grant(unsigned l)
{
    if (lock[l].owner >= 0 || lock[l].num_waiters == 0 || !locks_work) {
        return;
    }
    struct cluster_lock_request *request = lock[l].request[0];
    lock[l].owner = (int)lock[l].waiter[0];
    lock[l].num_waiters--;
    memmove(lock[l].waiter, lock[l].waiter + 1, lock[l].num_waiters * sizeof(lock[l].waiter[0]));
    memmove(lock[l].request, lock[l].request + 1, lock[l].num_waiters * sizeof(lock[l].request[0]));
    lock[l].fence++;
    request->done(request, true, (struct lock_fence){.token = lock[l].fence});
}

/* A running guest reads the time and sends to the others. */
static void guest_acts(struct rank *k)
{
    if (k->stopped) {
        return;
    }
    uint64_t time = ++now - k->m.clock_base_ns;
    ck_assert_uint_ge(time, latest);
    latest = time;
    struct packet p = {.kind = GUEST, .epoch = k->resets};
    unsigned to = draw(RANKS);
    if (&rank[to] != k) {
        send((unsigned)(k - rank), to, &p);
    }
}

static void step(void)
{
    struct rank *k = &rank[draw(RANKS)];
    unsigned self = (unsigned)(k - rank), from = draw(RANKS);
    switch (draw(5)) {
    case 0:
        if (k->bh.scheduled) {
            k->bh.scheduled = false;
            k->bh.fn(k->bh.opaque);
        }
        break;
    case 1:
        if (wire[from][self].head != wire[from][self].tail) {
            deliver(from, self);
        }
        break;
    case 2:
        grant(draw(LOCKS));
        break;
    case 3:
        guest_acts(k);
        break;
    case 4:
        if (k->reset_done) {
            void (*done)(struct ranks * r, bool ok) = k->reset_done;
            k->reset_done = NULL;
            done(&k->r, true);
        }
        break;
    }
}

static void steps(unsigned n)
{
    while (n--) {
        step();
    }
}

static void setup(void)
{
    memset(rank, 0, sizeof(rank));
    memset(wire, 0, sizeof(wire));
    memset(lock, 0, sizeof(lock));
    timer_armed = false;
    locks_work = true;
    now = 1000000;
    latest = 0;
    for (unsigned l = 0; l < LOCKS; l++) {
        lock[l].owner = -1;
    }
    for (unsigned i = 0; i < RANKS; i++) {
        struct rank *k = &rank[i];
        k->m.ranks = &k->r;
        k->m.loop = (struct loop *)(void *)k;
        k->m.clock_base_ns = 1000000;
        k->m.state = MACHINE_PAUSED;
        k->r.m = &k->m;
        k->r.members.self = i;
        k->r.members.ranks = RANKS;
        k->r.cluster = (struct cluster *)(void *)k;
        k->r.users = (struct page_users *)(void *)k;
        k->stopped = true;
        k->paused_at = now;
        ranks_world_create(&k->r);
    }
    ranks_want(&rank[0].m, WORLD_CONT, 0);
    steps(2000);
    for (unsigned i = 0; i < RANKS; i++) {
        ck_assert_int_eq(rank[i].m.state, MACHINE_RUNNING);
        ck_assert(!rank[i].stopped);
    }
}

static void finish(void)
{
    for (unsigned i = 0; i < RANKS; i++) {
        ranks_world_destroy(&rank[i].r);
    }
}

static void all_agree(int state)
{
    for (unsigned i = 0; i < RANKS; i++) {
        ck_assert_int_eq(rank[i].m.state, state);
        ck_assert_int_eq(rank[i].stopped, state == MACHINE_PAUSED);
        ck_assert_int_eq(rank[i].told_paused, state == MACHINE_PAUSED);
        ck_assert_uint_eq(rank[i].m.clock_base_ns, rank[0].m.clock_base_ns);
        ck_assert_uint_eq(rank[i].resets, rank[0].resets);
    }
    ck_assert_int_eq(lock[0].owner, -1);
    ck_assert_uint_eq(lock[0].num_waiters + lock[1].num_waiters, 0);
    ck_assert_int_eq(lock[1].owner >= 0, state == MACHINE_PAUSED); /* "world" while it stands */
}

START_TEST(any_order)
{
    for (uint64_t s = 1; s <= 200; s++) {
        seed = s * 0x9e3779b97f4a7c15ull;
        setup();
        unsigned restarts = 0;
        for (unsigned i = 0; i < 12; i++) {
            enum world_op op = (enum world_op)(WORLD_RESET + draw(3));
            restarts += op == WORLD_RESET;
            ranks_want(&rank[draw(RANKS)].m, op, 0);
            steps(draw(1500));
        }
        steps(20000);
        ck_assert_uint_le(rank[0].resets, restarts);
        all_agree(rank[0].m.state);
        /* Whatever it came to, it still does what is asked, and does it once. */
        ranks_want(&rank[draw(RANKS)].m, WORLD_CONT, 0);
        steps(10000);
        all_agree(MACHINE_RUNNING);
        unsigned before = rank[0].resets;
        ranks_want(&rank[1].m, WORLD_RESET, 0);
        ranks_want(&rank[2].m, WORLD_RESET, 0); /* for the same reason, before the first was done */
        steps(15000);
        all_agree(MACHINE_RUNNING);
        ck_assert_uint_eq(rank[0].resets, before + 1);
        ranks_want(&rank[1].m, WORLD_STOP, 0);
        steps(10000);
        all_agree(MACHINE_PAUSED);
        port_out = draw(2);
        port_asked = port_returned = 0;
        ranks_want(&rank[2].m, WORLD_OFF, 7);
        steps(10000);
        ck_assert_uint_gt(port_asked, 0);
        ck_assert_uint_gt(port_returned, 0);
        if (port_out) { /* what was printed is still to come */
            ck_assert(!rank[0].off && timer_armed);
            port_out = false;
            ranks_world_port_back(&rank[0].r);
        }
        for (unsigned i = 0; i < RANKS; i++) {
            ck_assert(rank[i].off);
            ck_assert_int_eq(rank[i].status, 7);
        }
        finish();
    }
}
END_TEST

/* A step under an old grant, as of a rank that was cut off and does not know it, does nothing. */
START_TEST(old_fence)
{
    seed = 4711;
    setup();
    ranks_want(&rank[1].m, WORLD_STOP, 0);
    steps(10000);
    all_agree(MACHINE_PAUSED);
    ranks_want(&rank[1].m, WORLD_CONT, 0);
    steps(10000);
    all_agree(MACHINE_RUNNING);
    for (uint8_t kind = 0; kind < 6; kind++) {
        for (uint8_t op = 0; op < WORLD_OPS; op++) {
            struct packet p = {.kind = POST_WORLD};
            p.post = (struct world_post){.step = kind, .op = op, .fence = {.token = 1}, .status = 3, .ns = 5};
            send(2, 0, &p);
        }
    }
    steps(10000);
    ck_assert(!rank[0].off);
    all_agree(MACHINE_RUNNING);
    finish();
}
END_TEST

/* The operator's end does not depend on a lock whose holder is gone. */
START_TEST(end_without_lock)
{
    seed = 17;
    setup();
    locks_work = false;
    ranks_want(&rank[1].m, WORLD_OFF, 143);
    steps(2000);
    ck_assert(!rank[1].off);
    ck_assert(timer_armed);
    finish();
}
END_TEST

START_TEST(nonsense)
{
    setup();
    struct world_post p = {.step = 200};
    ck_assert(!ranks_world_post(&rank[0].r, 1, &p));
    p = (struct world_post){.op = WORLD_OPS};
    ck_assert(!ranks_world_post(&rank[0].r, 1, &p));
    finish();
}
END_TEST

int main(void)
{
    seed = 1;
    Suite *s = suite_create("world");
    TCase *t = tcase_create("world");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, any_order);
    tcase_add_test(t, old_fence);
    tcase_add_test(t, end_without_lock);
    tcase_add_test(t, nonsense);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
