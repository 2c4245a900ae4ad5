/*
 * Drives the production directory of several ranks through seeded worlds: any order and delay of messages (per
 * connection and class in order, or only those about the same page), repeated delivery by a second connection, slow
 * safe points, time that jumps, ranks that die. After each step the invariants of DESIGN.md 6 are checked on what the
 * vCPUs of the simulated ranks could do:
 *
 *   one writer     a rank that may write a page is alone with it
 *   last write     whoever may read a page sees the last value written, also by a remote access
 *   ends           every request completes once the network has delivered everything, or a rank was lost
 *
 * A failure prints the seed and how to run it again with a trace.
 */
#include "sim.h"

#include "weft/directory.h"
#include "weft/remote_access.h"

enum { RANKS = 5, PAGES = 12, VCPUS = 3, CHANNELS = RANKS * RANKS * 2, QUEUE = 4096, RUN_STEPS = 20000 };

struct packet {
    struct page_message message;
    uint64_t data; /* of a GRANT_PAGE */
};

/* One direction of one traffic class between two ranks. */
struct channel {
    unsigned head, tail;
    struct packet queue[QUEUE];
    struct packet last; /* what a second connection may deliver again */
    bool any;
};

enum vcpu_state { IDLE, WAITING, READY, OPERATING };

struct vcpu {
    enum vcpu_state state;
    uint64_t page;
    enum page_right want;
    enum { ACCESS_LOAD, ACCESS_STORE, ACCESS_ADD, ACCESS_FETCH } access;
    uint8_t tlb[PAGES];
    bool drop[PAGES]; /* asked to come down to the rank's right at the next safe point */
};

struct rank {
    struct directory *dir;
    bool dead, told;
    uint8_t right[PAGES];
    bool served[PAGES], dirty[PAGES], taking[PAGES];
    uint64_t memory[PAGES];
    struct vcpu vcpu[VCPUS];
    struct peer_link link[RANKS];
};

static struct world {
    uint64_t stamp;
    uint64_t calls; /* steps of the production state machine: what --steps counts */
    unsigned ranks, pages, vcpus;
    bool ordered, repeats, exact_dirty, any_dead, draining;
    unsigned write_percent, scan_percent, fetch_percent, safe_percent;
    struct sim_random random;
    struct rank rank[RANKS];
    struct channel channel[CHANNELS];
    unsigned busy[CHANNELS], num_busy; /* channels with something in them */
    uint64_t oracle[PAGES];
} w;

static uint64_t total_served, total_held, total_prefetched, total_same, total_repeats, total_grants;

static struct channel *channel_of(unsigned src, unsigned dst, unsigned class)
{
    return &w.channel[(src * RANKS + dst) * 2 + class];
}

static void channel_push(unsigned src, unsigned dst, unsigned class, const struct packet *p)
{
    struct channel *c = channel_of(src, dst, class);
    if (c->head == c->tail) {
        w.busy[w.num_busy++] = (unsigned)(c - w.channel);
    }
    if (c->tail - c->head == QUEUE) {
        sim_fail("more than %d messages under way from rank %u to rank %u", QUEUE, src, dst);
    }
    c->queue[c->tail++ % QUEUE] = *p;
}

/* What a rank's threads could do with a page at this moment: a lowered right counts only when no TLB still grants more.
 */
static enum page_right effective(unsigned r, unsigned page)
{
    enum page_right right = w.rank[r].right[page];
    for (unsigned v = 0; v < w.vcpus; v++) {
        if (w.rank[r].vcpu[v].tlb[page] > right) {
            right = w.rank[r].vcpu[v].tlb[page];
        }
    }
    return right;
}

static void check_page(unsigned page)
{
    int writer = -1, reader = -1;
    for (unsigned r = 0; r < w.ranks; r++) {
        enum page_right right = w.rank[r].dead ? PAGE_NONE : effective(r, page);
        if (right == PAGE_NONE) {
            continue;
        }
        if (w.rank[r].memory[page] != w.oracle[page]) {
            sim_fail("rank %u may read page %u and sees %llu, the last write was %llu", r, page,
                     (unsigned long long)w.rank[r].memory[page], (unsigned long long)w.oracle[page]);
        }
        if (writer >= 0 || (right == PAGE_WRITE && reader >= 0)) {
            sim_fail("page %u: rank %u may %s while rank %d may %s", page, r, right == PAGE_WRITE ? "write" : "read",
                     writer >= 0 ? writer : reader, writer >= 0 ? "write" : "read");
        }
        if (right == PAGE_WRITE) {
            writer = (int)r;
        } else {
            reader = (int)r;
        }
    }
}

static void carry_out(unsigned r, struct dir_actions *actions, uint64_t data);

/* Calls the directory back if nobody on the rank still uses more than the rank's right. */
static void finish_take(unsigned r, unsigned page)
{
    struct rank *k = &w.rank[r];
    for (unsigned v = 0; v < w.vcpus; v++) {
        if (k->vcpu[v].tlb[page] > k->right[page]) {
            return;
        }
    }
    static struct dir_actions pool[64];
    static unsigned depth;
    struct dir_actions *out = &pool[depth++];
    out->count = 0;
    k->taking[page] = false;
    bool dirty = !w.exact_dirty || k->dirty[page];
    k->dirty[page] = false;
    sim_trace("rank %u: page %u is down to %u%s", r, page, k->right[page], dirty ? ", dirty" : "");
    w.calls++;
    directory_taken(k->dir, sim.now, page, (dirty ? TAKEN_DIRTY : 0) | (sim_chance(&w.random, 70) ? TAKEN_USED : 0),
                    out);
    carry_out(r, out, 0);
    depth--;
}

static void send_action(unsigned r, const struct dir_action *a)
{
    struct packet p = {.message = a->message};
    struct message whole = {.header = a->message.header};
    memcpy(&whole.body, &a->message.body, sizeof(a->message.body));
    if (p.message.header.type == MSG_GRANT && p.message.body.grant.data == GRANT_PAGE) {
        p.data = w.rank[r].memory[a->page];
        if (p.data == 0) {
            p.message.body.grant.data = GRANT_ZEROES;
        }
    }
    unsigned class = message_urgent(&whole) ? 0 : 1;
    p.message.header.sequence = w.rank[r].link[a->peer].next_out[class]++;
    if (!w.rank[a->peer].dead) {
        sim_trace("rank %u -> %u: %s page %llu", r, a->peer, message_name(p.message.header.type),
                  (unsigned long long)a->page);
        channel_push(r, a->peer, class, &p);
    }
}

/* The home performs a remote access exactly as the driver does. */
static void execute_action(unsigned r, const struct dir_action *a)
{
    struct rank *k = &w.rank[r];
    unsigned page = (unsigned)a->page;
    if (k->right[page] != PAGE_WRITE) {
        sim_fail("rank %u serves page %u that it may not write", r, page);
    }
    uint64_t before = k->memory[page];
    uint64_t old = remote_access(&k->memory[page], &a->message.body.op);
    if (k->memory[page] != before) {
        /* Not dirty: that is what local users did, and the directory must know of this itself. */
        w.oracle[page] = k->memory[page];
    }
    struct dir_action reply = {.kind = DIR_SEND, .peer = a->peer, .page = page};
    reply.message.header = message_header(MSG_OP_REPLY, r, 0);
    reply.message.body.op_reply =
        (struct msg_op_reply){.page = page, .value = old, .ticket = a->message.body.op.ticket, .status = OP_DONE};
    send_action(r, &reply);
}

static void complete_action(unsigned r, const struct dir_action *a)
{
    struct vcpu *v = &w.rank[r].vcpu[a->cookie];
    if (v->state != WAITING || v->page != a->page) {
        sim_fail("rank %u: a completion for vCPU %u that does not wait for page %u", r, (unsigned)a->cookie,
                 (unsigned)a->page);
    }
    sim_trace("rank %u: vCPU %u gets status %u for page %u", r, (unsigned)a->cookie, a->status, (unsigned)a->page);
    if (a->status == DIR_GRANTED) {
        if (w.rank[r].right[a->page] < v->want) {
            sim_fail("rank %u: vCPU %u is told it has a right that the rank has not", r, (unsigned)a->cookie);
        }
        v->tlb[a->page] = w.rank[r].right[a->page];
        v->state = READY;
        return;
    }
    if (a->status == DIR_LOST && !w.any_dead) {
        sim_fail("rank %u lost a page though no rank died", r);
    }
    if (a->status == DIR_SERVED) {
        if (v->access == ACCESS_FETCH) {
            sim_fail("rank %u: a fetch was told to use remote access", r);
        }
        w.rank[r].served[a->page] = true;
    }
    v->state = IDLE;
}

static void carry_out(unsigned r, struct dir_actions *actions, uint64_t data)
{
    struct rank *k = &w.rank[r];
    for (unsigned i = 0; i < actions->count; i++) {
        const struct dir_action *a = &actions->at[i];
        switch (a->kind) {
        case DIR_SEND:
            send_action(r, a);
            break;
        case DIR_TAKE:
            k->right[a->page] = a->right;
            k->taking[a->page] = true;
            for (unsigned v = 0; v < w.vcpus; v++) {
                k->vcpu[v].drop[a->page] = k->vcpu[v].tlb[a->page] > a->right;
            }
            finish_take(r, (unsigned)a->page);
            break;
        case DIR_DATA:
            k->memory[a->page] = a->data == GRANT_ZEROES ? 0 : data;
            break;
        case DIR_RIGHT:
            k->right[a->page] = a->right;
            break;
        case DIR_COMPLETE:
            complete_action(r, a);
            break;
        case DIR_EXECUTE:
            execute_action(r, a);
            break;
        case DIR_RESULT:
            if (a->status == DIR_RETRY) {
                k->served[a->page] = false;
            }
            if (k->vcpu[a->cookie].state != OPERATING) {
                sim_fail("rank %u: a result for vCPU %u that does not wait", r, (unsigned)a->cookie);
            }
            k->vcpu[a->cookie].state = IDLE;
            break;
        }
        check_page((unsigned)a->page);
    }
}

static void perform(unsigned r, struct vcpu *v)
{
    struct rank *k = &w.rank[r];
    if (v->access == ACCESS_STORE) {
        w.oracle[v->page] = k->memory[v->page] = sim_chance(&w.random, 10) ? 0 : ++w.stamp;
        k->dirty[v->page] = true;
    } else if (v->access == ACCESS_ADD) {
        w.oracle[v->page] = ++k->memory[v->page];
        k->dirty[v->page] = true;
    }
    v->state = IDLE;
    check_page((unsigned)v->page);
}

static void safe_point(unsigned r, struct vcpu *v)
{
    if (v->state == READY) {
        return;
    }
    for (unsigned p = 0; p < w.pages; p++) {
        if (v->drop[p]) {
            v->drop[p] = false;
            if (v->tlb[p] > w.rank[r].right[p]) {
                v->tlb[p] = w.rank[r].right[p];
            }
            if (w.rank[r].taking[p]) {
                finish_take(r, p);
            }
        }
    }
}

static void choose_access(struct vcpu *v)
{
    /* A third of the pages are hot: sharing is what the protocol is about. */
    if (sim_chance(&w.random, w.scan_percent)) {
        v->page = (v->page + 1) % w.pages;
    } else {
        v->page = sim_chance(&w.random, 60) ? sim_below(&w.random, (w.pages + 2) / 3) : sim_below(&w.random, w.pages);
    }
    if (sim_chance(&w.random, w.write_percent)) {
        v->access = sim_chance(&w.random, 50) ? ACCESS_STORE : ACCESS_ADD;
    } else {
        v->access = sim_chance(&w.random, w.fetch_percent) ? ACCESS_FETCH : ACCESS_LOAD;
    }
    v->want = v->access == ACCESS_STORE || v->access == ACCESS_ADD ? PAGE_WRITE : PAGE_READ;
}

static void step_vcpu(unsigned r, unsigned index)
{
    struct rank *k = &w.rank[r];
    struct vcpu *v = &k->vcpu[index];
    static struct dir_actions out;
    if (v->state == READY) {
        perform(r, v);
        return;
    }
    if (v->state != IDLE || w.draining) {
        return;
    }
    choose_access(v);
    if (v->tlb[v->page] >= v->want) {
        perform(r, v);
        return;
    }
    if (k->right[v->page] >= v->want) {
        v->tlb[v->page] = k->right[v->page];
        perform(r, v);
        return;
    }
    out.count = 0;
    if (k->served[v->page] && v->access != ACCESS_FETCH) {
        struct msg_op op = {.page = v->page, .size = 8};
        op.op = v->access == ACCESS_LOAD ? REMOTE_LOAD : v->access == ACCESS_STORE ? REMOTE_STORE : REMOTE_ADD;
        op.value = v->access == ACCESS_ADD ? 1 : ++w.stamp;
        v->state = OPERATING;
        w.calls++;
        directory_operate(k->dir, sim.now, &op, index, &out);
    } else {
        v->state = WAITING;
        sim_trace("rank %u: vCPU %u wants %u of page %llu", r, index, v->want, (unsigned long long)v->page);
        w.calls++;
        /* Few places in the code, so that the same paths come again. */
        uint32_t context = (v->page * 4 + v->want + 64 * sim_below(&w.random, 2)) * 0x9e3779b9u | 1;
        directory_fault(k->dir, sim.now, v->page, v->want, v->access == ACCESS_FETCH ? GET_WHOLE : 0, index, context,
                        index, &out);
    }
    carry_out(r, &out, 0);
}

/* The next message of the channel, or the next one about any page: a peer's messages about one page, in one class, are
 * in order in any case (see struct peer_link), and the directory builds on that. */
static struct packet channel_pull(struct channel *c)
{
    unsigned at = c->head;
    if (!w.ordered) {
        uint64_t page = c->queue[(c->head + sim_below(&w.random, c->tail - c->head)) % QUEUE].message.body.page;
        while (c->queue[at % QUEUE].message.body.page != page) {
            at++;
        }
    }
    struct packet p = c->queue[at % QUEUE];
    for (; at != c->head; at--) {
        c->queue[at % QUEUE] = c->queue[(at - 1) % QUEUE];
    }
    c->head++;
    return p;
}

static void deliver(void)
{
    if (!w.num_busy) {
        return;
    }
    unsigned pick = sim_below(&w.random, w.num_busy), number = w.busy[pick];
    struct channel *c = &w.channel[number];
    unsigned class = number % 2, dst = number / 2 % RANKS, src = number / 2 / RANKS;
    struct packet p;
    bool again = w.ordered && w.repeats && c->any && sim_chance(&w.random, 5);
    if (again) {
        p = c->last;
    } else {
        p = channel_pull(c);
        if (c->head == c->tail) {
            w.busy[pick] = w.busy[--w.num_busy];
        }
        c->last = p;
        c->any = true;
    }
    struct rank *k = &w.rank[dst];
    if (k->dead || (w.rank[src].dead && k->told)) {
        return;
    }
    if (w.ordered) {
        enum link_verdict verdict = peer_link_accept(&k->link[src], class, p.message.header.sequence);
        if (verdict == LINK_HOLE) {
            sim_fail("rank %u misses a message of rank %u", dst, src);
        }
        if (verdict == LINK_REPEAT) {
            total_repeats++;
            return;
        }
    }
    static struct dir_actions out;
    out.count = 0;
    sim_trace("rank %u <- %u: %s page %llu", dst, src, message_name(p.message.header.type),
              (unsigned long long)p.message.body.page);
    w.calls++;
    const char *wrong = directory_message(k->dir, sim.now, &p.message, &out);
    if (wrong) {
        sim_fail("rank %u refuses %s of rank %u: %s", dst, message_name(p.message.header.type), src, wrong);
    }
    carry_out(dst, &out, p.data);
}

static void kill_rank(void)
{
    unsigned victim = sim_below(&w.random, w.ranks);
    sim_trace("rank %u dies", victim);
    w.rank[victim].dead = true;
    w.any_dead = true;
}

/* Each survivor learns of a death at a time of its own. */
static void tell_lost(unsigned r)
{
    static struct dir_actions out;
    struct rank *k = &w.rank[r];
    if (w.any_dead && !k->dead && !k->told) {
        sim_trace("rank %u learns of it", r);
        k->told = true;
        out.count = 0;
        w.calls++;
        directory_lost(k->dir, &out);
        carry_out(r, &out, 0);
    }
}

static void step(void)
{
    static struct dir_actions out;
    sim.steps++;
    unsigned r = sim_below(&w.random, w.ranks), what = sim_below(&w.random, 100);
    struct rank *k = &w.rank[r];
    if (what < 45) {
        deliver();
    } else if (what < 75) {
        if (!k->dead) {
            step_vcpu(r, sim_below(&w.random, w.vcpus));
        }
    } else if (what < 75 + w.safe_percent) {
        if (!k->dead) {
            safe_point(r, &k->vcpu[sim_below(&w.random, w.vcpus)]);
        }
    } else if (what < 99) {
        sim.now += sim_below(&w.random, 40);
        if (!k->dead && directory_deadline(k->dir) <= sim.now) {
            out.count = 0;
            w.calls++;
            directory_tick(k->dir, sim.now, &out);
            carry_out(r, &out, 0);
        }
    } else if (sim_chance(&w.random, 10)) {
        tell_lost(r);
    }
}

static void check_all(void)
{
    for (unsigned p = 0; p < w.pages; p++) {
        check_page(p);
    }
}

static bool is_quiet(void)
{
    if (w.num_busy) {
        return false;
    }
    for (unsigned r = 0; r < w.ranks; r++) {
        struct rank *k = &w.rank[r];
        if (k->dead) {
            continue;
        }
        if ((w.any_dead && !k->told) || directory_busy(k->dir)) {
            return false;
        }
        for (unsigned v = 0; v < w.vcpus; v++) {
            if (k->vcpu[v].state != IDLE) {
                return false;
            }
        }
    }
    return true;
}

/* No new accesses: everything under way must end. */
static void drain(void)
{
    w.draining = true;
    for (unsigned i = 0; i < 20000 && !is_quiet(); i++) {
        for (unsigned r = 0; r < w.ranks; r++) {
            if (i > 100) {
                tell_lost(r);
            }
        }
        step();
    }
    if (!is_quiet()) {
        for (unsigned r = 0; r < w.ranks; r++) {
            for (unsigned v = 0; v < w.vcpus && !w.rank[r].dead; v++) {
                const struct vcpu *c = &w.rank[r].vcpu[v];
                if (c->state != IDLE) {
                    sim_fail("rank %u: vCPU %u still waits (state %u) for page %llu when nothing is under way", r, v,
                             c->state, (unsigned long long)c->page);
                }
            }
        }
        sim_fail("transactions are left when nothing is under way");
    }
    check_all();
}

/* When all is quiet every home's entry must say what the ranks have. */
static void check_entries(void)
{
    for (unsigned p = 0; p < w.pages && !w.any_dead; p++) {
        struct dir_view view = directory_view(w.rank[directory_home(w.rank[0].dir, p)].dir, p);
        for (unsigned r = 0; r < w.ranks; r++) {
            enum page_right right = directory_right(w.rank[r].dir, p);
            enum page_right told = !(view.holders >> r & 1) ? PAGE_NONE : view.exclusive ? PAGE_WRITE : PAGE_READ;
            if (right != told || right != w.rank[r].right[p]) {
                sim_fail("page %u: the home thinks rank %u has %u, it has %u", p, r, told, right);
            }
        }
    }
}

static void create_world(void)
{
    w.calls = w.stamp = 0;
    w.num_busy = 0;
    w.any_dead = w.draining = false;
    w.random.state = sim.seed;
    w.ranks = 2 + sim_below(&w.random, RANKS - 1);
    w.pages = 1 + sim_below(&w.random, sim_chance(&w.random, 50) ? 3 : PAGES);
    w.vcpus = 1 + sim_below(&w.random, VCPUS);
    w.ordered = sim_chance(&w.random, 50);
    w.repeats = sim_chance(&w.random, 50);
    w.exact_dirty = sim_chance(&w.random, 50);
    w.write_percent = 5 + sim_below(&w.random, 70);
    w.scan_percent = sim_chance(&w.random, 30) ? 90 : 0;
    w.fetch_percent = sim_chance(&w.random, 50) ? 20 : 0;
    w.safe_percent = 8 + sim_below(&w.random, 12);
    memset(w.oracle, 0, sizeof(w.oracle));
    memset(w.rank, 0, sizeof(w.rank));
    for (unsigned i = 0; i < CHANNELS; i++) {
        w.channel[i].head = w.channel[i].tail = 0;
        w.channel[i].any = false;
    }
    struct home_range ranges[PAGES];
    unsigned count = 0, per_range = 1 + sim_below(&w.random, w.pages);
    for (uint64_t first = 0; first < w.pages; first += per_range, count++) {
        uint64_t left = w.pages - first;
        ranges[count].first = first;
        ranges[count].count = left < per_range ? left : per_range;
        ranges[count].rank = (uint16_t)sim_below(&w.random, w.ranks);
    }
    struct directory_config config = {.ranks = w.ranks, .num_ranges = count, .ranges = ranges};
    config.hold_ns = sim_chance(&w.random, 50) ? 200 : 0;
    config.hot_ns = 2000;
    config.hot_transfers = sim_chance(&w.random, 60) ? 4 + sim_below(&w.random, 12) : 0;
    config.prefetch_depth = sim_chance(&w.random, 60) ? 1 + sim_below(&w.random, 4) : 0;
    config.follow_depth = sim_chance(&w.random, 60) ? 1 + sim_below(&w.random, 4) : 0;
    for (unsigned r = 0; r < w.ranks; r++) {
        config.self = r;
        w.rank[r].dir = directory_create(&config);
        for (unsigned p = 0; p < w.pages; p++) {
            w.rank[r].right[p] = directory_right(w.rank[r].dir, p);
        }
    }
}

static void destroy_world(void)
{
    for (unsigned r = 0; r < w.ranks; r++) {
        const struct directory_stats *s = directory_stats(w.rank[r].dir);
        total_served += s->ops_served;
        total_held += s->held;
        total_prefetched += s->prefetch_stored;
        total_same += s->grants_same;
        total_grants += s->grants_same + s->grants_data;
        directory_destroy(&w.rank[r].dir);
    }
}

static uint64_t run(void)
{
    create_world();
    bool crash = sim_chance(&w.random, 25);
    uint64_t crash_at = sim_below(&w.random, RUN_STEPS);
    for (unsigned i = 0; i < RUN_STEPS; i++) {
        if (crash && i == crash_at) {
            kill_rank();
        }
        step();
    }
    drain();
    check_entries();
    destroy_world();
    return w.calls;
}

int main(int argc, char **argv)
{
    sim_main(argc, argv, "sim_directory", run);
    printf("%llu grants (%llu without bytes), %llu remote accesses, %llu holds, "
           "%llu prefetched pages, %llu repeats dropped; every invariant held\n",
           (unsigned long long)total_grants, (unsigned long long)total_same, (unsigned long long)total_served,
           (unsigned long long)total_held, (unsigned long long)total_prefetched, (unsigned long long)total_repeats);
    return 0;
}
