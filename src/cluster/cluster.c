/* The coherence thread: one loop over inbox, transport and timers. It waits in one place only, for all three. What it
 * owns is under the owner mutex, which it holds but while it waits. */
#include "cluster_state.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "weft/log.h"

enum { BATCH = 32 }; /* messages taken before the inbox is looked at again */

#define MS 1000000ull

uint64_t cluster_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* ---- to other threads and from them ---- */

/* The cluster whose owner mutex this thread has, and whose inbox it will look at before it lets go. */
static _Thread_local struct cluster *owned;
/* This thread is in cluster_assist. */
static _Thread_local bool assisting;

void cluster_wake(struct cluster *c)
{
    if (owned != c) {
        transport_wake(c->config.transport);
    }
}

static bool inbox_empty(struct cluster *c)
{
    pthread_mutex_lock(&c->inbox_mutex);
    bool empty = !c->inbox.first && !c->inbox.out_first && !c->inbox.num_taken;
    pthread_mutex_unlock(&c->inbox_mutex);
    return empty;
}

static bool needs_coherence_thread(struct cluster *c)
{
    return c->send_failed || c->bad || c->cut_off || c->kept->there || directory_deadline(c->directory) < c->due ||
           !inbox_empty(c);
}

bool cluster_enter(struct cluster *c)
{
    if (owned == c || !transport_owner_try(&c->owner)) {
        return false;
    }
    owned = c;
    return true;
}

/* Lets those run whose requests ended. Not with the owner mutex: on their processor they run at once, and want it. */
static void wake_all(struct page_request *r)
{
    while (r) {
        struct page_request *next = r->next; /* once woken it is used anew */
        r->wake(r);
        r = next;
    }
}

static bool let_run(struct cluster *c)
{
    struct page_request *r = c->to_wake;
    if (!r) {
        return false;
    }
    c->to_wake = NULL;
    owned = NULL;
    transport_owner_unlock(&c->owner);
    wake_all(r);
    transport_owner_lock(&c->owner);
    owned = c;
    return true;
}

void cluster_enter_wait(struct cluster *c)
{
    assert(owned != c);
    transport_owner_lock(&c->owner);
    owned = c;
}

/* What others put into the inbox meanwhile has woken the coherence thread; what this thread's own callbacks put there
 * has not. */
void cluster_leave(struct cluster *c)
{
    cluster_flush(c);
    bool called = needs_coherence_thread(c);
    struct page_request *ended = c->to_wake;
    c->to_wake = NULL;
    owned = NULL;
    transport_owner_unlock(&c->owner);
    if (called) {
        transport_wake(c->config.transport);
    }
    wake_all(ended);
}

/* Sends at once if this thread has the owner mutex or gets it, and nothing waits that was queued before. */
static bool send_directly(struct cluster *c, unsigned rank, const struct message *message)
{
    bool entered = cluster_enter(c);
    if (owned != c) {
        return false;
    }
    pthread_mutex_lock(&c->inbox_mutex);
    bool first = !c->inbox.out_first;
    pthread_mutex_unlock(&c->inbox_mutex);
    if (first) {
        struct message m;
        memcpy(&m, message, message->header.size);
        cluster_send(c, rank, &m, NULL);
    }
    if (entered) {
        cluster_leave(c);
    }
    return first;
}

void cluster_queue(struct cluster *c, unsigned rank, const struct message *message)
{
    /* To this rank itself: the coherence thread, not a vCPU in the middle of something, tells of the end. */
    if (rank != c->self && send_directly(c, rank, message)) {
        return;
    }
    struct outgoing *o = malloc(sizeof(*o));
    assert(o);
    o->next = NULL;
    o->rank = (uint16_t)rank;
    memcpy(&o->message, message, message->header.size);
    pthread_mutex_lock(&c->inbox_mutex);
    *c->inbox.out_last = o;
    c->inbox.out_last = &o->next;
    pthread_mutex_unlock(&c->inbox_mutex);
    cluster_wake(c);
}

void cluster_post(struct cluster *c, unsigned rank, uint32_t kind, const void *bytes, size_t length)
{
    assert(rank < c->ranks && length <= MSG_POST_MAX);
    struct message m = {.header = message_header(MSG_POST, c->self, length)};
    m.body.post.kind = kind;
    m.body.post.length = (uint32_t)length;
    if (length) {
        memcpy(m.body.post.bytes, bytes, length);
    }
    cluster_queue(c, rank, &m);
}

void cluster_end(struct cluster *c, int status, const char *sentence)
{
    struct message m = {.header = message_header(MSG_END, c->self, 0)};
    m.body.end.status = status;
    snprintf(m.body.end.reason, sizeof(m.body.end.reason), "%s", sentence);
    for (unsigned r = 0; r < c->ranks; r++) {
        cluster_queue(c, r, &m); /* this rank too: on_end comes from its coherence thread */
    }
}

/* ---- sending, and the end ---- */

static void flush_one(struct cluster *c, unsigned rank, enum traffic traffic)
{
    struct bundle *b = c->bundle[rank][traffic];
    if (c->tells_time) {
        /* Read now, when all that the frame speaks of has happened. */
        struct msg_time time = {.ns = cluster_time_ns(c)};
        memcpy(b->bytes + sizeof(struct msg_header), &time, sizeof(time));
    }
    int r = transport_send(c->config.transport, rank, traffic, b->bytes, b->length, NULL, 0);
    if (r < 0) {
        c->send_failed |= 1ull << rank; /* told by the loop, not in the middle of the directory's actions */
    }
    b->length = 0;
    c->bundled[traffic] &= ~(1ull << rank);
}

static void append(struct cluster *c, unsigned rank, enum traffic traffic, struct message *m, const void *page)
{
    m->header.session = c->context.session;
    m->header.sequence = c->link[rank].next_out[traffic]++;
    size_t tail = page ? MSG_PAGE_SIZE : 0;
    struct cluster_peer_stats *s = &c->stats.peer[rank];
    s->messages_sent[m->header.type]++;
    s->bytes_sent += m->header.size + tail;
    struct bundle *b = c->bundle[rank][traffic];
    memcpy(b->bytes + b->length, m, m->header.size);
    b->length += m->header.size;
    if (page) {
        memcpy(b->bytes + b->length, page, tail);
        b->length += tail;
    }
    c->bundled[traffic] |= 1ull << rank;
}

void cluster_send(struct cluster *c, unsigned rank, struct message *m, const void *page)
{
    if (c->lost >> rank & 1) {
        return;
    }
    enum traffic traffic = message_urgent(m) ? TRAFFIC_URGENT : TRAFFIC_BULK;
    struct bundle *b = c->bundle[rank][traffic];
    if (b->length + m->header.size + (page ? MSG_PAGE_SIZE : 0) > sizeof(b->bytes)) {
        flush_one(c, rank, traffic);
    }
    if (c->tells_time && !b->length) {
        struct message time = {.header = message_header(MSG_TIME, c->self, 0)}; /* filled in when the frame leaves */
        append(c, rank, traffic, &time, NULL);
    }
    append(c, rank, traffic, m, page);
}

void cluster_flush(struct cluster *c)
{
    for (unsigned t = 0; t < TRAFFIC_CLASSES; t++) {
        for (uint64_t rest = c->bundled[t]; rest; rest &= rest - 1) {
            flush_one(c, (unsigned)__builtin_ctzll(rest), (enum traffic)t);
        }
    }
}

void cluster_finish(struct cluster *c, int status, int lost, const char *sentence)
{
    if (c->ended) {
        return;
    }
    c->ended = true;
    /* Whoever waits for a page must come free, or the machine could not stop. */
    cluster_pages_lost(c);
    c->config.ops->on_end(c->config.opaque, status, lost, sentence);
}

/* Names the lost rank, here and to the others, so that all say the same. */
static void tell_loss(struct cluster *c, unsigned rank, const char *why)
{
    const struct member *m = &c->config.members->member[rank];
    struct message end = {.header = message_header(MSG_END, c->self, 0)};
    end.body.end.status = 1;
    end.body.end.lost = rank + 1;
    snprintf(end.body.end.reason, sizeof(end.body.end.reason), "rank %u (process %d on %.60s) was lost: %s", rank,
             m->pid, m->hostname, why);
    for (unsigned r = 0; r < c->ranks; r++) {
        if (r != c->self) {
            struct message copy = end;
            cluster_send(c, r, &copy, NULL);
        }
    }
    cluster_finish(c, 1, (int)rank, end.body.end.reason);
}

void cluster_rank_lost(struct cluster *c, unsigned rank, const char *why)
{
    if (c->lost >> rank & 1) {
        return;
    }
    c->lost |= 1ull << rank;
    if (!c->ended) {
        tell_loss(c, rank, why);
    }
    /* After the sentence that names the rank: this one may now find itself in the smaller part. */
    cluster_locks_dead(c, c->lost);
}

/* ---- receiving ---- */

static void on_beat(struct cluster *c, const struct message *m)
{
    unsigned src = m->header.src;
    struct message echo = {.header = message_header(MSG_BEAT_ECHO, c->self, 0)};
    echo.body.beat.dead = c->lost;
    echo.body.beat.sent = m->body.beat.sent;
    echo.body.beat.received = cluster_now_ns();
    cluster_locks_beat(c, src, m->body.beat.dead);
    echo.body.beat.echoed = cluster_now_ns();
    cluster_send(c, src, &echo, NULL);
}

static void on_echo(struct cluster *c, const struct message *m)
{
    unsigned src = m->header.src;
    const struct msg_beat *b = &m->body.beat;
    uint64_t now = cluster_now_ns();
    cluster_locks_echo(c, src, b->sent);
    if (b->sent <= now) {
        c->stats.peer[src].beat_rtt_ns = now - b->sent;
    }
    if (src == 0) {
        clock_sync_sample(&c->clock, b->sent, b->received, b->echoed, now);
    }
}

static const char *dispatch(struct cluster *c, const struct message *m, const uint8_t *page)
{
    switch (m->header.type) {
    case MSG_TIME:
        return clock_sync_hear(&c->clock, cluster_now_ns(), m->body.time.ns)
                   ? NULL
                   : "its clock is more than a second ahead of what clocks of this run can be";
    case MSG_BEAT:
        on_beat(c, m);
        return NULL;
    case MSG_BEAT_ECHO:
        on_echo(c, m);
        return NULL;
    case MSG_POST:
        if (!c->ended && c->config.ops->on_post) {
            c->config.ops->on_post(c->config.opaque, m->header.src, m->body.post.kind, m->body.post.bytes,
                                   m->body.post.length);
        }
        return NULL;
    case MSG_END:
        cluster_finish(c, m->body.end.status, (int)m->body.end.lost - 1, m->body.end.reason);
        return NULL;
    default:
        return m->header.type <= MSG_OP_REPLY ? cluster_pages_message(c, m, page) : cluster_locks_message(c, m);
    }
}

/* A peer whose message breaks a rule is not asked twice: it is named, counted, and this run goes on without it. */
static void fence(struct cluster *c, unsigned rank, const char *wrong)
{
    char why[MSG_REASON_MAX];
    c->stats.bad_messages++;
    snprintf(why, sizeof(why), "its message breaks the protocol (%s)", wrong);
    cluster_rank_lost(c, rank, why);
}

/* One message of a frame. Returns what is wrong with it. */
static const char *receive_one(struct cluster *c, unsigned src, enum traffic traffic, const uint8_t *bytes,
                               size_t length)
{
    struct message m;
    const uint8_t *page;
    const char *wrong = message_invalid(bytes, length, &c->context, &m, &page);
    if (!wrong && m.header.src != src) {
        wrong = "it names another rank as its sender";
    }
    if (wrong) {
        return wrong;
    }
    switch (peer_link_accept(&c->link[src], traffic, m.header.sequence)) {
    case LINK_REPEAT:
        return NULL;
    case LINK_HOLE:
        return "messages before it are missing";
    case LINK_ACCEPT:
        break;
    }
    c->stats.peer[src].messages_received[m.header.type]++;
    c->stats.peer[src].bytes_received += length;
    return dispatch(c, &m, page);
}

static void receive_frame(struct cluster *c, int src, enum traffic traffic, const uint8_t *bytes, size_t length)
{
    if (src < 0) {
        c->stats.bad_messages++;
        log_warn("a message by a connection that belongs to no rank was dropped");
        return;
    }
    c->heard[src] = cluster_now_ns();
    do {
        size_t extent = message_extent(bytes, length);
        if ((c->lost | c->bad) >> src & 1) {
            return;
        }
        c->wrong[src] = receive_one(c, (unsigned)src, traffic, bytes, extent);
        c->bad |= (uint64_t)(c->wrong[src] != NULL) << src;
        bytes += extent;
        length -= extent;
    } while (length);
}

/* The end of the run is the coherence thread's affair. */
static void fence_bad(struct cluster *c)
{
    while (c->bad) {
        unsigned src = (unsigned)__builtin_ctzll(c->bad);
        c->bad &= c->bad - 1;
        fence(c, src, c->wrong[src]);
    }
}

/* Messages about pages and locks can be received by any thread; what concerns the machine cannot. */
static bool for_any_thread(const uint8_t *bytes, size_t length)
{
    struct msg_header h;
    while (length >= sizeof(h)) {
        size_t extent = message_extent(bytes, length);
        memcpy(&h, bytes, sizeof(h));
        if (h.type > MSG_LOCK_REPORT_END && h.type != MSG_TIME) {
            return false;
        }
        bytes += extent;
        length -= extent;
    }
    return length == 0;
}

static void keep(struct cluster *c, int src, enum traffic traffic, const void *bytes, size_t length)
{
    struct kept_frame *k = c->kept;
    k->there = true;
    k->src = src;
    k->traffic = traffic;
    k->length = length;
    memcpy(k->bytes, bytes, length);
}

/* Returns false when there was nothing, or nothing for this thread. */
static bool receive_batch(struct cluster *c)
{
    unsigned n = 0;
    if (c->kept->there) {
        if (assisting) {
            return false;
        }
        c->kept->there = false;
        receive_frame(c, c->kept->src, c->kept->traffic, c->kept->bytes, c->kept->length);
        n++;
    }
    for (; n < BATCH; n++) {
        int src;
        enum traffic traffic;
        const void *bytes;
        ssize_t length = transport_receive(c->config.transport, &src, &traffic, &bytes);
        if (length < 0) {
            break;
        }
        if (assisting && !for_any_thread(bytes, (size_t)length)) {
            keep(c, src, traffic, bytes, (size_t)length);
            return false;
        }
        receive_frame(c, src, traffic, bytes, (size_t)length);
        if (n == 0) {
            cluster_flush(c); /* mostly it is the only one: its answer does not wait until that is known */
        }
    }
    if (!assisting) {
        fence_bad(c);
    }
    return n > 0;
}

bool cluster_assisting(void)
{
    return assisting;
}

void cluster_assist(struct cluster *c, const _Atomic uint8_t *over)
{
    if (c->assistant) {
        return;
    }
    c->assistant = over;
    assisting = true;
    while (!*over) {
        bool any = receive_batch(c);
        any |= cluster_drain_pages(c);
        if (any) {
            continue;
        }
        cluster_flush(c);
        if (*over || c->kept->there || c->bad || c->cut_off) {
            break;
        }
        if (let_run(c)) {
            continue;
        }
        if (needs_coherence_thread(c)) {
            transport_wake(c->config.transport);
        }
        owned = NULL;
        int e = transport_assist(c->config.transport, &c->owner);
        owned = c;
        if (e < 0) {
            break;
        }
    }
    c->assistant = NULL;
    /* Whatever is left in the sockets would wake nobody else. But this thread has something better to do. */
    if (receive_batch(c) && receive_batch(c)) {
        transport_wake(c->config.transport);
    }
    assisting = false;
}

/* ---- inbox ---- */

static void send_queued(struct cluster *c, struct outgoing *o)
{
    while (o) {
        struct outgoing *next = o->next;
        if (o->rank == c->self) {
            dispatch(c, &o->message, NULL);
        } else {
            cluster_send(c, o->rank, &o->message, NULL);
        }
        free(o);
        o = next;
    }
}

/* Page requests and pages taken: whoever owns. */
bool cluster_drain_pages(struct cluster *c)
{
    pthread_mutex_lock(&c->inbox_mutex);
    struct page_request *r = c->inbox.first;
    unsigned num_taken = c->inbox.num_taken;
    struct taken *taken = c->inbox.taken;
    c->inbox.first = NULL;
    c->inbox.last = &c->inbox.first;
    c->inbox.num_taken = 0;
    c->inbox.taken = c->taken_work;
    c->taken_work = taken;
    pthread_mutex_unlock(&c->inbox_mutex);
    for (unsigned i = 0; i < num_taken; i++) {
        cluster_pages_taken(c, &taken[i]);
    }
    bool any = r || num_taken;
    while (r) {
        struct page_request *next = r->next; /* done() may hand the request out again */
        cluster_pages_request(c, r);
        r = next;
    }
    return any;
}

static bool drain_inbox(struct cluster *c)
{
    bool any = cluster_drain_pages(c);
    pthread_mutex_lock(&c->inbox_mutex);
    struct outgoing *o = c->inbox.out_first;
    c->inbox.out_first = NULL;
    c->inbox.out_last = &c->inbox.out_first;
    pthread_mutex_unlock(&c->inbox_mutex);
    send_queued(c, o);
    return any || o;
}

/* ---- timers and the loop ---- */

static void beat(struct cluster *c, uint64_t now, bool all_read)
{
    uint64_t silence = (c->config.silence_ms ? c->config.silence_ms : CLUSTER_SILENCE_MS) * MS;
    /* A thread that was stopped itself knows nothing about the silence of others in that time. */
    uint64_t late = c->beat_due && now > c->beat_due + BEAT_MS * MS ? now - c->beat_due : 0;
    c->beat_due = now + BEAT_MS * MS;
    for (unsigned r = 0; r < c->ranks; r++) {
        if (r == c->self || c->lost >> r & 1) {
            continue;
        }
        c->heard[r] += late;
        if (all_read && now > c->heard[r] && now - c->heard[r] > silence) {
            cluster_rank_lost(c, r, "it was silent for too long");
            continue;
        }
        struct message m = {.header = message_header(MSG_BEAT, c->self, 0)};
        m.body.beat.dead = c->lost;
        m.body.beat.sent = cluster_now_ns();
        cluster_send(c, r, &m, NULL);
    }
}

/* Sleeps until a message, another thread or a timer has something. What was put into the inbox since it was emptied has
 * woken us already: the wait then returns at once. */
static void sleep_until_needed(struct cluster *c, uint64_t locks_due)
{
    uint64_t due = directory_deadline(c->directory);
    due = c->beat_due < due ? c->beat_due : due;
    due = locks_due < due ? locks_due : due;
    uint64_t now = cluster_now_ns();
    if (due <= now || !inbox_empty(c)) { /* our own callbacks do not wake us */
        return;
    }
    c->due = due;
    owned = NULL;
    transport_wait(c->config.transport, (int64_t)(due - now), &c->owner);
    owned = c;
}

static void *run(void *opaque)
{
    struct cluster *c = opaque;
    pthread_setname_np(pthread_self(), "coherence");
    transport_thread_urgent();
    atomic_store(&c->tid, (int)syscall(SYS_gettid));
    transport_owner_lock(&c->owner);
    owned = c;
    uint64_t now = cluster_now_ns();
    for (unsigned r = 0; r < c->ranks; r++) {
        c->heard[r] = now;
    }
    for (;;) {
        bool busy = receive_batch(c);
        busy |= drain_inbox(c);
        cluster_flush(c);
        busy |= let_run(c);
        if (busy && c->beat_due > cluster_now_ns()) {
            continue;
        }
        uint64_t failed = c->send_failed;
        for (c->send_failed = 0; failed; failed &= failed - 1) {
            cluster_rank_lost(c, (unsigned)__builtin_ctzll(failed), "its connection broke");
        }
        for (int lost; (lost = transport_lost(c->config.transport)) >= 0;) {
            cluster_rank_lost(c, (unsigned)lost, "its connection broke");
        }
        cluster_locks_cut_off(c);
        now = cluster_now_ns();
        cluster_pages_tick(c, now);
        uint64_t locks_due = cluster_locks_tick(c, now);
        if (now >= c->beat_due) {
            beat(c, now, !busy);
        }
        cluster_stats_answer(c);
        cluster_flush(c);
        busy |= let_run(c);
        if (busy || c->send_failed) {
            continue;
        }
        if (atomic_load(&c->stop) && inbox_empty(c)) {
            c->due = UINT64_MAX; /* others may still enter: nobody waits for a deadline any more */
            owned = NULL;
            transport_owner_unlock(&c->owner);
            return NULL;
        }
        sleep_until_needed(c, locks_due);
    }
}

/* ---- frame ---- */

static struct directory *make_directory(struct cluster *c)
{
    const struct cluster_config *k = &c->config;
    struct directory_config d = {.self = c->self, .ranks = c->ranks, .num_ranges = k->num_ranges, .ranges = k->ranges};
    d.hold_ns = (k->hold_us ? k->hold_us : CLUSTER_DEFAULT_HOLD_US) * 1000;
    d.hot_ns = 10 * MS;
    d.hot_transfers = k->no_hot ? 0 : k->hot_transfers ? k->hot_transfers : CLUSTER_DEFAULT_HOT;
    d.prefetch_depth = k->no_prefetch ? 0 : CLUSTER_PREFETCH;
    d.follow_depth = k->no_prefetch ? 0 : CLUSTER_FOLLOW;
    return directory_create(&d);
}

struct cluster *cluster_create(const struct cluster_config *config)
{
    struct cluster *c = calloc(1, sizeof(*c));
    assert(c);
    c->config = *config;
    c->kept = calloc(1, sizeof(*c->kept));
    assert(c->kept);
    c->self = config->members->self;
    c->ranks = config->members->ranks;
    c->directory = make_directory(c);
    for (unsigned i = 0; i < config->num_ranges; i++) {
        c->source.pages += config->ranges[i].count;
    }
    for (unsigned r = 0; r < c->ranks; r++) {
        for (unsigned t = 0; t < TRAFFIC_CLASSES; t++) {
            c->bundle[r][t] = calloc(1, sizeof(struct bundle));
            assert(c->bundle[r][t]);
        }
    }
    c->source.rights = calloc(c->source.pages, sizeof(*c->source.rights));
    c->source.users = config->users;
    c->source.opaque = config->users_opaque;
    c->inbox.taken = calloc(c->ranks * DIR_REQUESTS, sizeof(*c->inbox.taken));
    c->taken_work = calloc(c->ranks * DIR_REQUESTS, sizeof(*c->taken_work));
    assert(c->source.rights && c->inbox.taken && c->taken_work);
    for (uint64_t p = 0; p < c->source.pages; p++) {
        atomic_init(&c->source.rights[p], (uint8_t)directory_right(c->directory, p));
    }
    c->context = (struct msg_context){
        .self = c->self, .ranks = c->ranks, .session = config->members->session, .pages = c->source.pages};
    c->tells_time = config->members->hosts > 1;
    clock_sync_init(&c->clock, config->members->member[c->self].host == config->members->member[0].host);
    struct lock_service_config l = {
        .self = c->self, .ranks = c->ranks, .lease_ns = LEASE_MS * MS, .margin_ns = MARGIN_MS * MS};
    c->locks = lock_service_create(&l, cluster_now_ns());
    c->inbox.last = &c->inbox.first;
    c->inbox.out_last = &c->inbox.out_first;
    pthread_mutex_init(&c->owner.mutex, NULL);
    pthread_mutex_init(&c->inbox_mutex, NULL);
    pthread_mutex_init(&c->lock_mutex, NULL);
    pthread_mutex_init(&c->stats_mutex, NULL);
    pthread_cond_init(&c->stats_done, NULL);
    return c;
}

bool cluster_start(struct cluster *c, struct error *err)
{
    int r = pthread_create(&c->thread, NULL, run, c);
    if (r) {
        return error_set_errno(err, r, "cannot start the coherence thread of rank %u", c->self);
    }
    c->started = true;
    idle_poll_start(&c->idle, c->config.idle_poll_us * 1000);
    while (!atomic_load(&c->tid)) {
        usleep(100);
    }
    return true;
}

struct page_source *cluster_pages(struct cluster *c)
{
    return &c->source;
}

int cluster_thread_tid(const struct cluster *c)
{
    return atomic_load(&c->tid);
}

void cluster_stop(struct cluster *c)
{
    if (c->started) {
        atomic_store(&c->stop, true);
        cluster_wake(c);
        pthread_join(c->thread, NULL);
        idle_poll_stop(&c->idle);
        pthread_mutex_lock(&c->stats_mutex);
        c->started = false;
        pthread_mutex_unlock(&c->stats_mutex);
        cluster_stats_answer(c);
    }
}

void cluster_destroy(struct cluster **cluster)
{
    struct cluster *c = *cluster;
    if (!c) {
        return;
    }
    cluster_stop(c);
    transport_destroy(&c->config.transport);
    directory_destroy(&c->directory);
    lock_service_destroy(&c->locks);
    for (unsigned r = 0; r < c->ranks; r++) {
        for (unsigned t = 0; t < TRAFFIC_CLASSES; t++) {
            free(c->bundle[r][t]);
        }
    }
    free(c->kept);
    free(c->inbox.taken);
    free(c->taken_work);
    free((void *)c->source.rights);
    pthread_mutex_destroy(&c->owner.mutex);
    pthread_mutex_destroy(&c->inbox_mutex);
    pthread_mutex_destroy(&c->lock_mutex);
    pthread_mutex_destroy(&c->stats_mutex);
    pthread_cond_destroy(&c->stats_done);
    free(c);
    *cluster = NULL;
}
