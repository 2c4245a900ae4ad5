/* Unit tests of the cluster's pure parts, and of locks, posts and the end of a run over the loopback transport. */
#include <check.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../../src/cluster/clock_sync.h"
#include "../../../src/cluster/cluster_state.h"
#include "weft/cluster_report.h"
#include "weft/remote_access.h"

static const struct msg_context context = {.self = 1, .ranks = 3, .session = 7, .pages = 100};

/* A valid GET of rank 0, to be spoilt. */
static struct message good_get(void)
{
    struct message m = {.header = message_header(MSG_GET, 0, 0)};
    m.header.session = 7;
    m.body.page.get = (struct msg_get){.page = 5, .ticket = 9, .right = PAGE_READ};
    return m;
}

static const char *judge(const void *bytes, size_t length)
{
    struct message out;
    const uint8_t *page;
    return message_invalid(bytes, length, &context, &out, &page);
}

START_TEST(test_message_valid)
{
    struct message m = good_get(), out;
    const uint8_t *page;
    ck_assert_ptr_null(message_invalid(&m, m.header.size, &context, &out, &page));
    ck_assert_ptr_null(page);
    ck_assert_uint_eq(out.body.page.get.page, 5);

    uint8_t big[64 + MSG_PAGE_SIZE] = {0};
    struct message g = {.header = message_header(MSG_GRANT, 2, 0)};
    g.header.session = 7;
    g.body.page.grant = (struct msg_grant){.page = 1, .right = PAGE_WRITE, .data = GRANT_PAGE, .acks = 1};
    memcpy(big, &g, g.header.size);
    ck_assert_ptr_null(message_invalid(big, g.header.size + MSG_PAGE_SIZE, &context, &out, &page));
    ck_assert_ptr_eq(page, big + g.header.size);
    ck_assert_str_eq(judge(big, g.header.size), "GRANT and its page differ in length");
    ck_assert_str_eq(judge(big, g.header.size + MSG_PAGE_SIZE - 1), "GRANT and its page differ in length");
}
END_TEST

#define SPOIL(change, sentence)                                                                                        \
    do {                                                                                                               \
        struct message m = good_get();                                                                                 \
        size_t length = m.header.size;                                                                                 \
        change;                                                                                                        \
        const char *why = judge(&m, length);                                                                           \
        ck_assert_ptr_nonnull(why);                                                                                    \
        ck_assert_str_eq(why, sentence);                                                                               \
    } while (0)

/* A frame of three messages, the second with a page; then what may be wrong with the first bytes of one. */
START_TEST(test_message_extent)
{
    static uint8_t frame[3 * sizeof(struct message) + MSG_PAGE_SIZE];
    struct message get = {.header = message_header(MSG_GET, 1, 0)};
    struct message grant = {.header = message_header(MSG_GRANT, 1, 0)},
                   done = {.header = message_header(MSG_DONE, 1, 0)};
    grant.body.page.grant.data = GRANT_PAGE;
    size_t with_page = grant.header.size + (size_t)MSG_PAGE_SIZE;
    size_t length = get.header.size + with_page + done.header.size;
    memcpy(frame, &get, get.header.size);
    memcpy(frame + get.header.size, &grant, grant.header.size);
    memcpy(frame + get.header.size + with_page, &done, done.header.size);
    ck_assert_uint_eq(message_extent(frame, length), get.header.size);
    ck_assert_uint_eq(message_extent(frame + get.header.size, length - get.header.size), with_page);
    ck_assert_uint_eq(message_extent(frame + get.header.size + with_page, done.header.size), done.header.size);
    /* Cut short, shorter than a header, a size that would never end: all that is left is one wrong message. */
    ck_assert_uint_eq(message_extent(frame + get.header.size, with_page - 1), with_page - 1);
    ck_assert_uint_eq(message_extent(frame, 3), 3);
    get.header.size = 0;
    memcpy(frame, &get, sizeof(get.header));
    ck_assert_uint_eq(message_extent(frame, length), length);
}
END_TEST

START_TEST(test_message_invalid)
{
    SPOIL(length = 15, "message is shorter than a header");
    SPOIL(m.header.magic++, "message does not start with weft's mark");
    SPOIL(m.header.protocol++, "message is of another protocol version");
    SPOIL(m.header.session++, "message is of another run");
    SPOIL(m.header.src = 1, "message comes from no other rank");
    SPOIL(m.header.src = 3, "message comes from no other rank");
    SPOIL(m.header.type = MSG_TYPES, "message type is unknown");
    SPOIL(m.header.type = MSG_NONE, "message type is unknown");
    SPOIL(length--, "message is truncated");
    SPOIL(m.header.size--, "message has the wrong length for its type");
    SPOIL(length += 8, "bytes follow a message that carries no page");
    SPOIL(m.body.page.page = 100, "page is outside guest memory");
    SPOIL(m.body.page.get.right = 3, "GET asks for a right that does not exist");
    SPOIL(m.body.page.get.flags = 8, "GET has unknown flags");
    SPOIL(m.body.page.get.flags = GET_FOLLOW, "GET has flags that exclude one another");
    SPOIL(m.body.page.get.flags = GET_PREFETCH | GET_WHOLE, "GET has flags that exclude one another");
}
END_TEST

/* Every type can be sealed and read back; names are there for statistics. */
START_TEST(test_message_types)
{
    for (unsigned type = MSG_NONE + 1; type < MSG_TYPES; type++) {
        struct msg_header h = message_header((enum msg_type)type, 2, 10);
        ck_assert_uint_gt(h.size, sizeof(h));
        ck_assert_uint_le(h.size, sizeof(struct message));
        ck_assert_str_ne(message_name((enum msg_type)type), "?");
    }
}
END_TEST

START_TEST(test_link)
{
    struct peer_link link = {0};
    ck_assert_int_eq(peer_link_accept(&link, 0, 0), LINK_ACCEPT);
    ck_assert_int_eq(peer_link_accept(&link, 0, 1), LINK_ACCEPT);
    ck_assert_int_eq(peer_link_accept(&link, 1, 0), LINK_ACCEPT);
    ck_assert_int_eq(peer_link_accept(&link, 0, 1), LINK_REPEAT);
    ck_assert_int_eq(peer_link_accept(&link, 0, 3), LINK_HOLE);
    link.next_in[0] = UINT32_MAX;
    ck_assert_int_eq(peer_link_accept(&link, 0, UINT32_MAX), LINK_ACCEPT);
    ck_assert_int_eq(peer_link_accept(&link, 0, 0), LINK_ACCEPT);
}
END_TEST

static uint64_t operate(void *page, enum remote_op op, unsigned size, uint64_t value)
{
    struct msg_op m = {.op = (uint8_t)op, .size = (uint8_t)size, .offset = 8, .value = value, .expected = 5};
    return remote_access(page, &m);
}

START_TEST(test_remote_access)
{
    uint64_t page[2] = {0, 5};
    ck_assert_uint_eq(operate(page, REMOTE_CAS, 8, 9), 5);
    ck_assert_uint_eq(page[1], 9);
    ck_assert_uint_eq(operate(page, REMOTE_CAS, 8, 1), 9);
    ck_assert_uint_eq(page[1], 9);
    ck_assert_uint_eq(operate(page, REMOTE_ADD, 8, (uint64_t)-10), 9);
    ck_assert_int_eq((int64_t)page[1], -1);
    ck_assert_uint_eq(operate(page, REMOTE_MINU, 8, 3), UINT64_MAX);
    ck_assert_uint_eq(page[1], 3);
    ck_assert_uint_eq(operate(page, REMOTE_MAX, 8, (uint64_t)-4), 3);
    ck_assert_uint_eq(page[1], 3);
    ck_assert_uint_eq(operate(page, REMOTE_MIN, 4, (uint32_t)-4), 3);
    ck_assert_uint_eq(page[1], 0xfffffffc);
    /* A 32-bit old value comes back zero-extended; the caller sign-extends as its instruction says. */
    ck_assert_uint_eq(operate(page, REMOTE_SWAP, 4, 7), 0xfffffffc);
    operate(page, REMOTE_STORE, 1, 0xab);
    ck_assert_uint_eq(page[1], 0xab);
    ck_assert_uint_eq(operate(page, REMOTE_LOAD, 2, 0), 0xab);
    ck_assert_uint_eq(page[0], 0);
}
END_TEST

START_TEST(test_clock)
{
    struct clock_sync s;
    clock_sync_init(&s, false);
    ck_assert_uint_eq(clock_sync_error(&s), UINT64_MAX);
    /* Own time is not told as the other's: that may be far less. */
    ck_assert_uint_eq(clock_sync_now(&s, 2000000), 0);
    /* The other clock is 1,000,000 ahead; the way takes 50 there and 150 back. */
    clock_sync_sample(&s, 1000, 1001050, 1001060, 1210);
    ck_assert_uint_eq(clock_sync_error(&s), 100);
    uint64_t first = clock_sync_now(&s, 2000), error = first - 1002000;
    ck_assert(error + 100 <= 200);
    /* Better samples move the estimate slowly, what is left to move counts as error, and time never goes back. */
    clock_sync_sample(&s, 3000, 1002910, 1002910, 3020);
    ck_assert_uint_eq(clock_sync_error(&s), 10 + 50);
    uint64_t last = first;
    for (uint64_t now = 4000; now < 2000000; now += 1000) {
        clock_sync_sample(&s, now, now + 999910, now + 999910, now + 20);
        uint64_t time = clock_sync_now(&s, now + 20);
        ck_assert_uint_ge(time, last);
        last = time;
    }
    ck_assert_int_le(llabs(s.applied - 999900), 10);
    ck_assert_uint_le(clock_sync_error(&s), 20);
    /* Nonsense is not taken. */
    clock_sync_sample(&s, 5000, 10, 9, 4000);
    clock_sync_sample(&s, 5000, 10, 11, 5000);
    clock_sync_sample(&s, 5000, UINT64_MAX - 5, UINT64_MAX - 5, 5010);
    ck_assert_uint_le(clock_sync_error(&s), 20);
    /* An old sample is worth less than it was: the two clocks have run on. */
    clock_sync_sample(&s, 1002000000, 1003000000, 1003000000, 1002200000);
    ck_assert_uint_ge(clock_sync_error(&s), 90000);
}
END_TEST

/* What another rank has told is not taken back, wherever this one's estimate is; an absurd time is refused. */
START_TEST(test_clock_heard)
{
    struct clock_sync s;
    clock_sync_init(&s, false);
    ck_assert(clock_sync_hear(&s, 5000, UINT64_MAX)); /* nothing is known, so nothing is believed */
    clock_sync_sample(&s, 1000, 1001000, 1001000, 1000);
    ck_assert_uint_eq(clock_sync_now(&s, 5000), 1005000);
    ck_assert(clock_sync_hear(&s, 5000, 1009000));
    ck_assert_uint_eq(clock_sync_now(&s, 5000), 1009000);
    ck_assert_uint_eq(clock_sync_now(&s, 8000), 1009000);
    ck_assert_uint_eq(clock_sync_now(&s, 9500), 1009500);
    ck_assert(clock_sync_hear(&s, 9500, 1000)); /* from behind: nothing */
    ck_assert_uint_eq(clock_sync_now(&s, 9500), 1009500);
    ck_assert_uint_eq(s.raised, 1);
    ck_assert_uint_eq(s.raised_max, 4000);
    /* The limit is counted from the estimate: many words do not add up. */
    ck_assert(clock_sync_hear(&s, 10000, 1010000 + CLOCK_AHEAD_MAX_NS));
    ck_assert(!clock_sync_hear(&s, 10000, 1010001 + CLOCK_AHEAD_MAX_NS));
    ck_assert(!clock_sync_hear(&s, 10000, UINT64_MAX));
    ck_assert_uint_eq(clock_sync_now(&s, 10000), 1010000 + CLOCK_AHEAD_MAX_NS);
    /* On rank 0's host the clock is its own; but it, too, hears of later times. */
    clock_sync_init(&s, true);
    ck_assert_uint_eq(clock_sync_now(&s, 7000), 7000);
    clock_sync_sample(&s, 7000, 9000, 9000, 7000);
    ck_assert_uint_eq(clock_sync_now(&s, 7000), 7000);
    ck_assert(clock_sync_hear(&s, 7000, 7300));
    ck_assert_uint_eq(clock_sync_now(&s, 7100), 7300);
    ck_assert_uint_eq(clock_sync_now(&s, 7400), 7400);
    ck_assert(!clock_sync_hear(&s, 7400, 7401 + CLOCK_AHEAD_MAX_NS));
}
END_TEST

START_TEST(test_histogram)
{
    struct cluster_histogram h = {0};
    for (uint64_t i = 1; i <= 1000; i++) {
        cluster_histogram_add(&h, i * 1000);
    }
    ck_assert_uint_eq(h.count, 1000);
    uint64_t p50 = cluster_percentile_ns(&h, 50), p99 = cluster_percentile_ns(&h, 99);
    ck_assert(p50 > 430000 && p50 < 580000);
    ck_assert(p99 > 850000 && p99 < 1150000);
}
END_TEST

/* ---- two and more ranks over loopback ---- */

enum { RANKS = 3, RAM_PAGES = 6 };

struct node {
    struct membership members;
    struct cluster *cluster;
    uint8_t ram[RAM_PAGES * MSG_PAGE_SIZE];
    sem_t ended, posted;
    int status, lost;
    char sentence[256];
    uint32_t kind;
    unsigned from;
    char text[64];
};

static struct node nodes[RANKS];
static struct transport_hub *hub;

static void on_post(void *opaque, unsigned src, uint32_t kind, const void *bytes, size_t length)
{
    struct node *n = opaque;
    n->kind = kind;
    n->from = src;
    memcpy(n->text, bytes, length);
    sem_post(&n->posted);
}

static void on_end(void *opaque, int status, int lost, const char *sentence)
{
    struct node *n = opaque;
    n->status = status;
    n->lost = lost;
    snprintf(n->sentence, sizeof(n->sentence), "%s", sentence);
    sem_post(&n->ended);
}

static const struct cluster_ops ops = {.on_post = on_post, .on_end = on_end};

/* Nobody holds anything here but through requests that are over at once. */
static void take(void *opaque, uint64_t page, enum page_right right)
{
    struct node *n = opaque;
    page_source_taken(cluster_pages(n->cluster), page, true);
}

static const struct page_user_ops users = {.take = take};

static void start_nodes_on(unsigned hosts)
{
    static const struct home_range ranges[RANKS] = {{0, 2, 0}, {2, 2, 1}, {4, 2, 2}};
    hub = transport_hub_create(RANKS);
    for (unsigned r = 0; r < RANKS; r++) {
        struct node *n = &nodes[r];
        memset(n, 0, sizeof(*n));
        n->members = (struct membership){.self = r, .ranks = RANKS, .hosts = hosts, .session = 77};
        for (unsigned i = 0; i < RANKS; i++) {
            snprintf(n->members.member[i].hostname, 64, "host%u", i);
            n->members.member[i].pid = 100 + (int)i;
            n->members.member[i].host = i % hosts;
        }
        sem_init(&n->ended, 0, 0);
        sem_init(&n->posted, 0, 0);
        struct cluster_config c = {
            .members = &n->members, .transport = transport_loopback(hub, r), .num_ranges = RANKS};
        c.ranges = ranges;
        c.ram = n->ram;
        c.users = &users;
        c.users_opaque = n;
        c.ops = &ops;
        c.opaque = n;
        n->cluster = cluster_create(&c);
    }
    for (unsigned r = 0; r < RANKS; r++) {
        struct error err = {0};
        ck_assert(cluster_start(nodes[r].cluster, &err));
    }
}

static void start_nodes(void)
{
    start_nodes_on(1);
}

static void stop_nodes(void)
{
    for (unsigned r = 0; r < RANKS; r++) {
        cluster_stop(nodes[r].cluster);
    }
    for (unsigned r = 0; r < RANKS; r++) {
        cluster_destroy(&nodes[r].cluster);
    }
    transport_hub_destroy(&hub);
}

START_TEST(test_post_and_end)
{
    start_nodes();
    cluster_post(nodes[0].cluster, 2, 42, "hart 3", 7);
    sem_wait(&nodes[2].posted);
    ck_assert_uint_eq(nodes[2].kind, 42);
    ck_assert_uint_eq(nodes[2].from, 0);
    ck_assert_str_eq(nodes[2].text, "hart 3");
    cluster_post(nodes[1].cluster, 1, 43, "self", 5);
    sem_wait(&nodes[1].posted);
    ck_assert_str_eq(nodes[1].text, "self");
    cluster_end(nodes[1].cluster, 17, "the guest powered off");
    for (unsigned r = 0; r < RANKS; r++) {
        sem_wait(&nodes[r].ended);
        ck_assert_int_eq(nodes[r].status, 17);
        ck_assert_int_eq(nodes[r].lost, -1);
        ck_assert_str_eq(nodes[r].sentence, "the guest powered off");
    }
    stop_nodes();
}
END_TEST

START_TEST(test_rank_lost)
{
    start_nodes();
    transport_hub_cut(hub, 1);
    for (unsigned r = 0; r < RANKS; r += 2) {
        sem_wait(&nodes[r].ended);
        ck_assert_int_eq(nodes[r].lost, 1);
        ck_assert_str_eq(nodes[r].sentence, "rank 1 (process 101 on host1) was lost: its connection broke");
    }
    stop_nodes();
}
END_TEST

/* A peer that speaks nonsense is named and fenced. */
START_TEST(test_bad_peer)
{
    start_nodes();
    struct transport *evil = transport_loopback(hub, 2);
    struct message m = good_get();
    m.header.src = 2;
    m.header.session = 77;
    m.body.page.page = RAM_PAGES;
    ck_assert_int_eq(transport_send(evil, 0, TRAFFIC_URGENT, &m, m.header.size, NULL, 0), 0);
    sem_wait(&nodes[0].ended);
    ck_assert_int_eq(nodes[0].lost, 2);
    ck_assert_str_eq(nodes[0].sentence,
                     "rank 2 (process 102 on host2) was lost: its message breaks the protocol (page is "
                     "outside guest memory)");
    sem_wait(&nodes[1].ended);
    ck_assert_int_eq(nodes[1].lost, 2);
    static struct cluster_stats s;
    cluster_stats_get(nodes[0].cluster, &s);
    ck_assert_uint_ge(s.bad_messages, 1);
    transport_destroy(&evil);
    stop_nodes();
}
END_TEST

static unsigned shared_counter;

static void *lock_loop(void *opaque)
{
    struct node *n = opaque;
    int lock = cluster_lock_open(n->cluster, "counter");
    struct lock_fence last = {0}, fence;
    for (unsigned i = 0; i < 300; i++) {
        ck_assert(cluster_lock(n->cluster, lock, LOCK_EXCLUSIVE, &fence));
        ck_assert(lock_fence_less(last, fence));
        last = fence;
        /* Not atomic on purpose: only the lock keeps the three ranks apart. */
        unsigned c = *(volatile unsigned *)&shared_counter;
        if (i % 16 == 0) {
            sched_yield();
        }
        *(volatile unsigned *)&shared_counter = c + 1;
        cluster_unlock(n->cluster, lock, LOCK_EXCLUSIVE);
    }
    return NULL;
}

START_TEST(test_locks)
{
    start_nodes();
    pthread_t t[RANKS * 2];
    shared_counter = 0;
    for (unsigned i = 0; i < RANKS * 2; i++) {
        pthread_create(&t[i], NULL, lock_loop, &nodes[i % RANKS]);
    }
    for (unsigned i = 0; i < RANKS * 2; i++) {
        pthread_join(t[i], NULL);
    }
    ck_assert_uint_eq(shared_counter, RANKS * 2 * 300);
    ck_assert_int_eq(cluster_lock_open(nodes[0].cluster, "a name that is far too long for a lock"), -1);
    struct lock_view v;
    ck_assert(cluster_lock_view(nodes[0].cluster, 0, &v));
    ck_assert_str_eq(v.name, "counter");
    ck_assert(!v.exclusive_holder);
    struct cluster_histogram waits;
    cluster_lock_waits(nodes[0].cluster, 0, &waits);
    ck_assert_uint_eq(waits.count, v.stats.waits);
    stop_nodes();
}
END_TEST

struct waiting {
    struct page_request request;
    sem_t done;
    enum page_status status;
};

static void page_done(struct page_request *r, enum page_status status)
{
    struct waiting *w = (struct waiting *)r;
    w->status = status;
    sem_post(&w->done);
}

static enum page_status acquire(unsigned r, uint64_t page, enum page_right right)
{
    struct waiting w = {.request.done = page_done};
    sem_init(&w.done, 0, 0);
    page_source_acquire(cluster_pages(nodes[r].cluster), &w.request, page, right, true);
    sem_wait(&w.done);
    sem_destroy(&w.done);
    return w.status;
}

/* Bytes follow the rights; an untouched page travels as a word; an upgrade brings no bytes. */
START_TEST(test_pages)
{
    start_nodes();
    strcpy((char *)nodes[0].ram, "first");
    ck_assert_int_eq(acquire(1, 0, PAGE_READ), PAGE_GRANTED);
    ck_assert_str_eq((char *)nodes[1].ram, "first");
    ck_assert_int_eq(page_source_right(cluster_pages(nodes[0].cluster), 0), PAGE_READ);
    ck_assert_int_eq(acquire(1, 0, PAGE_WRITE), PAGE_GRANTED);
    ck_assert_int_eq(page_source_right(cluster_pages(nodes[0].cluster), 0), PAGE_NONE);
    strcpy((char *)nodes[1].ram, "second");
    ck_assert_int_eq(acquire(2, 0, PAGE_WRITE), PAGE_GRANTED);
    ck_assert_str_eq((char *)nodes[2].ram, "second");
    memset(nodes[1].ram + 5 * MSG_PAGE_SIZE, 1, MSG_PAGE_SIZE);
    ck_assert_int_eq(acquire(1, 5, PAGE_READ), PAGE_GRANTED);
    ck_assert_int_eq(nodes[1].ram[5 * MSG_PAGE_SIZE + 9], 0);
    static struct cluster_stats s;
    cluster_stats_get(nodes[0].cluster, &s);
    ck_assert_uint_eq(s.peer[1].pages_sent, 1);
    ck_assert_uint_eq(s.peer[1].messages_sent[MSG_GRANT], 2); /* the page, and the upgrade without bytes */
    cluster_stats_get(nodes[1].cluster, &s);
    ck_assert_uint_eq(s.peer[2].messages_sent[MSG_GRANT], 1);
    ck_assert_uint_eq(s.fault[DIR_FAULT_UPGRADE][0].count, 1);
    cluster_stats_get(nodes[2].cluster, &s);
    ck_assert_uint_eq(s.peer[1].zero_pages_sent, 1);
    ck_assert_uint_eq(s.fault[DIR_FAULT_WRITE][1].count, 1);
    cluster_stop(nodes[0].cluster);
    struct hot_page hot[4];
    ck_assert_uint_eq(cluster_hot_pages(nodes[0].cluster, hot, 4), 1);
    ck_assert_uint_eq(hot[0].page, 0);
    stop_nodes();
}
END_TEST

/* Lets each rank know rank 0's clock, then moves what one of them thinks of it. */
static void start_with_clock_off(unsigned rank, int64_t ns)
{
    start_nodes_on(RANKS);
    for (unsigned r = 0; r < RANKS; r++) {
        while (!cluster_clock_known(nodes[r].cluster)) {
            usleep(1000);
        }
    }
    struct cluster *c = nodes[rank].cluster;
    while (!cluster_enter(c)) {
        usleep(10);
    }
    c->clock.applied += ns;
    cluster_leave(c);
}

static uint64_t time_on(unsigned r)
{
    return cluster_time_ns(nodes[r].cluster);
}

/* Rank `ahead` reads the clock, and then does something that each of the others gets to know: nobody who knows reads
 * less. Nor does who knows it from one of them only. */
START_TEST(test_clock_over_ranks)
{
    enum { AHEAD_NS = 200000000 };
    for (unsigned ahead = 1; ahead < RANKS; ahead++) {
        unsigned other = 3 - ahead;
        start_with_clock_off(ahead, AHEAD_NS);
        ck_assert_int_eq(acquire(ahead, 0, PAGE_WRITE), PAGE_GRANTED); /* rank 0 knows from this that it is late */
        for (unsigned i = 0; i < 200; i++) {
            uint64_t told = time_on(ahead), heard;
            memcpy(nodes[ahead].ram, &told, sizeof(told));
            ck_assert_int_eq(acquire(0, 0, PAGE_WRITE), PAGE_GRANTED);
            memcpy(&heard, nodes[0].ram, sizeof(heard));
            ck_assert_uint_eq(heard, told);
            ck_assert_uint_ge(time_on(0), told);
            ck_assert_int_eq(acquire(other, 0, PAGE_WRITE), PAGE_GRANTED);
            ck_assert_uint_ge(time_on(other), told);
            told = time_on(other);
            cluster_post(nodes[other].cluster, 0, 1, "now", 4);
            sem_wait(&nodes[0].posted);
            ck_assert_uint_ge(time_on(0), told);
            ck_assert_int_eq(acquire(ahead, 0, PAGE_WRITE), PAGE_GRANTED);
        }
        static struct cluster_stats s;
        cluster_stats_get(nodes[0].cluster, &s);
        ck_assert_uint_gt(s.clock_raised, 0);
        ck_assert_uint_le(s.clock_raised_max_ns, AHEAD_NS + CLOCK_ERROR_MAX_NS);
        ck_assert_uint_gt(s.peer[1].messages_sent[MSG_TIME], 0);
        stop_nodes();
    }
}
END_TEST

/* One host has one clock: no frame says a time. */
START_TEST(test_clock_of_one_host)
{
    start_nodes();
    ck_assert_int_eq(acquire(1, 0, PAGE_WRITE), PAGE_GRANTED);
    static struct cluster_stats s;
    cluster_stats_get(nodes[1].cluster, &s);
    ck_assert_uint_gt(s.peer[0].messages_sent[MSG_GET], 0);
    ck_assert_uint_eq(s.peer[0].messages_sent[MSG_TIME], 0);
    uint64_t before = cluster_now_ns();
    ck_assert(cluster_clock_known(nodes[1].cluster));
    ck_assert_uint_ge(time_on(1), before);
    ck_assert_uint_le(time_on(1), cluster_now_ns());
    stop_nodes();
}
END_TEST

/* A time that no clock of this run can show ends the run and moves no clock. */
START_TEST(test_clock_absurd)
{
    start_with_clock_off(2, 10000000000);
    cluster_post(nodes[2].cluster, 0, 1, "then", 5);
    sem_wait(&nodes[0].ended);
    ck_assert_int_eq(nodes[0].lost, 2);
    ck_assert_str_eq(
        nodes[0].sentence,
        "rank 2 (process 102 on host2) was lost: its message breaks the protocol (its clock is more than a "
        "second ahead of what clocks of this run can be)");
    uint64_t time = time_on(0);
    ck_assert_uint_le(time, cluster_now_ns() + CLOCK_ERROR_MAX_NS);
    stop_nodes();
}
END_TEST

/* The reports say what happened. */
START_TEST(test_reports)
{
    start_nodes();
    struct lock_fence fence;
    strcpy((char *)nodes[0].ram, "x");
    ck_assert_int_eq(acquire(1, 0, PAGE_READ), PAGE_GRANTED);
    int lock = cluster_lock_open(nodes[1].cluster, "machine");
    ck_assert(cluster_lock(nodes[1].cluster, lock, LOCK_SHARED, &fence));
    cluster_unlock(nodes[1].cluster, lock, LOCK_SHARED);
    json_t *j = cluster_report_json(nodes[1].cluster);
    ck_assert_ptr_nonnull(j);
    json_t *home = json_object_get(json_object_get(json_object_get(j, "faults"), "read"), "home");
    ck_assert_int_eq(json_integer_value(json_object_get(home, "count")), 1);
    ck_assert(json_integer_value(json_object_get(home, "p50_ns")) > 0);
    json_t *peer = json_array_get(json_object_get(j, "peers"), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(peer, "pages_received")), 1);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(peer, "received"), "GRANT")), 1);
    json_t *read = json_object_get(json_object_get(peer, "faults"), "read");
    ck_assert_int_eq(json_integer_value(json_object_get(read, "count")), 1);
    json_t *first = json_array_get(json_object_get(j, "locks"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(first, "token")), "shared");
    ck_assert(json_is_object(json_object_get(first, "waits")));
    json_decref(j);
    json_t *ranks = json_array();
    for (unsigned r = 0; r < RANKS; r++) {
        json_array_append_new(ranks, cluster_report_json(nodes[r].cluster));
    }
    json_t *total = cluster_report_total(ranks);
    ck_assert_int_eq(json_integer_value(json_object_get(total, "pages_sent")), 1);
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    cluster_print_coherence(ranks, total, f);
    cluster_print_locks(ranks, f);
    cluster_print_ranks(ranks, f);
    cluster_print_summary(ranks, total, f);
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "0 -> 1"));
    ck_assert_ptr_nonnull(strstr(text, "machine                 1 "));
    for (char *line = text; *line; line += strcspn(line, "\n") + 1) {
        ck_assert_msg(strcspn(line, "\n") <= 80, "%.100s", line);
    }
    free(text);
    json_decref(total);
    json_decref(ranks);
    stop_nodes();
}
END_TEST

/* When a rank is lost nobody waits for a page for ever, also who comes later. */
START_TEST(test_pages_after_loss)
{
    start_nodes();
    transport_hub_cut(hub, 2);
    ck_assert_int_eq(acquire(0, 4, PAGE_READ), PAGE_RANK_LOST);
    ck_assert_int_eq(acquire(0, 4, PAGE_READ), PAGE_RANK_LOST);
    ck_assert_int_eq(acquire(0, 1, PAGE_WRITE), PAGE_GRANTED);
    stop_nodes();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cluster");
    TCase *pure = tcase_create("pure"), *threads = tcase_create("threads");
    tcase_add_test(pure, test_message_valid);
    tcase_add_test(pure, test_message_invalid);
    tcase_add_test(pure, test_message_extent);
    tcase_add_test(pure, test_message_types);
    tcase_add_test(pure, test_link);
    tcase_add_test(pure, test_remote_access);
    tcase_add_test(pure, test_clock);
    tcase_add_test(pure, test_clock_heard);
    tcase_add_test(pure, test_histogram);
    tcase_set_timeout(threads, 30);
    tcase_add_test(threads, test_post_and_end);
    tcase_add_test(threads, test_rank_lost);
    tcase_add_test(threads, test_bad_peer);
    tcase_add_test(threads, test_locks);
    tcase_add_test(threads, test_pages);
    tcase_add_test(threads, test_pages_after_loss);
    tcase_add_test(threads, test_clock_over_ranks);
    tcase_add_test(threads, test_clock_of_one_host);
    tcase_add_test(threads, test_clock_absurd);
    tcase_add_test(threads, test_reports);
    suite_add_tcase(s, pure);
    suite_add_tcase(s, threads);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
