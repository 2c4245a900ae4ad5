/* The directory's frame and the rank's side: requests, waiters, takes, operations, prefetch. */
#include "directory_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { TICKET_INDEX = 0xfff };

static const struct home_range *range_of(const struct directory *d, uint64_t page)
{
    unsigned lo = 0, hi = d->config.num_ranges;
    assert(page < d->pages);
    while (hi - lo > 1) {
        unsigned mid = (lo + hi) / 2;
        if (d->ranges[mid].first <= page) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return &d->ranges[lo];
}

unsigned directory_home(const struct directory *d, uint64_t page)
{
    return range_of(d, page)->rank;
}

struct entry *dir_entry(struct directory *d, uint64_t page)
{
    const struct home_range *r = range_of(d, page);
    assert(r->rank == d->config.self);
    return &d->entry[d->entry_base[r - d->ranges] + (page - r->first)];
}

struct dir_action *dir_emit(struct dir_actions *out, enum dir_action_kind kind, uint64_t page)
{
    assert(out->count < DIR_ACTIONS);
    struct dir_action *a = &out->at[out->count++];
    memset(a, 0, sizeof(*a));
    a->kind = kind;
    a->page = page;
    return a;
}

union page_body *dir_send(struct directory *d, struct dir_actions *out, unsigned dst, enum msg_type type, uint64_t page)
{
    struct page_message *m;
    if (dst == d->config.self) {
        assert(d->loop_tail - d->loop_head < LOOP_MAX);
        m = &d->loop[d->loop_tail++ % LOOP_MAX];
        memset(m, 0, sizeof(*m));
    } else {
        struct dir_action *a = dir_emit(out, DIR_SEND, page);
        a->peer = (uint16_t)dst;
        m = &a->message;
    }
    m->header = message_header(type, d->config.self, 0);
    m->body.page = page;
    return &m->body;
}

static void complete(struct directory *d, struct dir_actions *out, uint64_t page, uint16_t index,
                     enum dir_status status, const struct request *r)
{
    struct waiter *w = &d->waiters[index - 1];
    struct dir_action *a = dir_emit(out, DIR_COMPLETE, page);
    a->cookie = w->cookie;
    a->status = (uint8_t)status;
    a->waited_ns = d->now - w->start;
    a->hops = r->hops;
    a->fault = r->upgrade ? DIR_FAULT_UPGRADE : w->want == PAGE_WRITE ? DIR_FAULT_WRITE : DIR_FAULT_READ;
    w->next = d->free_waiter;
    d->free_waiter = index;
}

/* A waiter that needs nothing from anyone. */
static void complete_now(struct dir_actions *out, uint64_t page, uint64_t cookie, enum dir_status status)
{
    struct dir_action *a = dir_emit(out, DIR_COMPLETE, page);
    a->cookie = cookie;
    a->status = (uint8_t)status;
}

static struct request *request_new(struct directory *d, uint64_t page, enum page_right want, unsigned flags)
{
    uint16_t index = d->free_request;
    if (!index) {
        return NULL;
    }
    struct request *r = &d->requests[index - 1];
    d->free_request = r->next_free;
    *r = (struct request){.page = page, .start = d->now, .want = (uint8_t)want, .flags = (uint8_t)flags, .used = true};
    d->lines[page].request = index;
    d->requests_used++;
    d->prefetches += (flags & GET_PREFETCH) != 0;
    return r;
}

static void request_free(struct directory *d, struct request *r)
{
    assert(!r->waiters);
    d->lines[r->page].request = NONE;
    d->requests_used--;
    r->used = false;
    r->next_free = d->free_request;
    d->free_request = (uint16_t)(r - d->requests + 1);
}

/* A new name for the request, so that an answer to an older one cannot be taken for its own. */
static void request_renew(struct directory *d, struct request *r)
{
    r->ticket = ++d->generation << 12 | (uint32_t)(r - d->requests);
    r->granted = r->acks = r->acks_got = r->hops = 0;
    r->over = false;
    r->upgrade = d->lines[r->page].state == PAGE_READ;
}

void dir_request_send(struct directory *d, struct request *r, struct dir_actions *out)
{
    request_renew(d, r);
    struct msg_get *m = &dir_send(d, out, directory_home(d, r->page), MSG_GET, r->page)->get;
    m->have = d->lines[r->page].version;
    m->ticket = r->ticket;
    m->right = r->want;
    m->flags = r->flags;
}

bool dir_ask_for_home(struct directory *d, uint64_t page, uint32_t *ticket)
{
    if (d->lines[page].request || d->lost) {
        return false;
    }
    struct request *r = request_new(d, page, PAGE_WRITE, GET_WHOLE);
    if (!r) {
        return false;
    }
    request_renew(d, r);
    *ticket = r->ticket;
    return true;
}

static struct request *request_find(struct directory *d, uint64_t page, uint32_t ticket)
{
    uint16_t index = d->lines[page].request;
    struct request *r = index ? &d->requests[index - 1] : NULL;
    return r && r->ticket == ticket ? r : NULL;
}

/* Half of the pool is kept for those who wait. */
struct request *dir_request_ahead(struct directory *d, uint64_t page, enum page_right right, unsigned flags)
{
    return d->requests_used < DIR_REQUESTS / 2 ? request_new(d, page, right, GET_PREFETCH | flags) : NULL;
}

/* Asks for the pages behind a sequential reader or writer. Depth doubles while the stream goes on. */
static void prefetch(struct directory *d, uint64_t page, enum page_right right, struct dir_actions *out)
{
    unsigned oldest = 0;
    struct stream *s = NULL;
    for (unsigned i = 0; i < STREAMS && !s; i++) {
        struct stream *c = &d->streams[i];
        if (c->used && c->right == right && page >= c->next && page <= c->next + c->depth) {
            s = c;
        } else if (c->used < d->streams[oldest].used) {
            oldest = i;
        }
    }
    unsigned depth = 0;
    if (s) {
        depth = s->depth ? s->depth * 2u : 1;
        d->stats.prefetch_hits += page - s->next < s->asked ? page - s->next : s->asked;
        depth = depth > d->config.prefetch_depth ? d->config.prefetch_depth : depth;
    } else {
        s = &d->streams[oldest];
    }
    s->used = ++d->stream_clock;
    s->next = page + 1;
    s->right = (uint8_t)right;
    s->depth = (uint8_t)depth;
    s->asked = 0;
    for (unsigned i = 1; i <= depth && page + i < d->pages && d->prefetches < DIR_PREFETCHES; i++) {
        struct line *l = &d->lines[page + i];
        if (l->state != PAGE_NONE || l->request || l->take || l->served ||
            directory_home(d, page + i) == d->config.self) {
            continue;
        }
        /* Half of the pool is kept for those who wait. */
        struct request *r = d->requests_used < DIR_REQUESTS / 2 ? request_new(d, page + i, right, GET_PREFETCH) : NULL;
        if (!r) {
            return;
        }
        d->stats.prefetch_asked++;
        s->asked++;
        dir_request_send(d, r, out);
    }
}

static void add_waiter(struct directory *d, struct request *r, uint16_t index)
{
    d->waiters[index - 1].next = NONE;
    if (r->waiters) {
        d->waiters[r->last_waiter - 1].next = index;
    } else {
        r->waiters = index;
    }
    r->last_waiter = index;
}

/* Ends, in order, the waiters that `keep` does not hold back; those stay with the request. */
static void release_waiters(struct directory *d, struct request *r, enum dir_status status,
                            bool (*keep)(const struct waiter *, const struct request *), struct dir_actions *out)
{
    uint16_t index = r->waiters;
    r->waiters = r->last_waiter = NONE;
    while (index) {
        uint16_t next = d->waiters[index - 1].next;
        if (keep && keep(&d->waiters[index - 1], r)) {
            add_waiter(d, r, index);
        } else {
            complete(d, out, r->page, index, status, r);
        }
        index = next;
    }
}

/* Asks again for the waiters that are left, or lets the request go. */
static void request_continue(struct directory *d, struct request *r, struct dir_actions *out)
{
    d->prefetches -= (r->flags & GET_PREFETCH) != 0;
    r->flags = 0;
    if (!r->waiters) {
        request_free(d, r);
        return;
    }
    r->want = PAGE_NONE;
    for (uint16_t i = r->waiters; i; i = d->waiters[i - 1].next) {
        const struct waiter *w = &d->waiters[i - 1];
        r->want = w->want > r->want ? w->want : r->want;
        r->flags |= w->flags;
    }
    dir_request_send(d, r, out);
}

enum { WROTE_TRUST = 2, WROTE_MAX = 3, WROTE_PROBE = 16 };

enum page_right dir_right_to_ask(struct directory *d, struct line *l, enum page_right right)
{
    if (right != PAGE_READ || l->state != PAGE_NONE || l->wrote < WROTE_TRUST) {
        return right;
    }
    /* Whether it still is so shows only when it asks for no more than it needs. */
    if (++d->migrations % WROTE_PROBE == 0) {
        l->wrote = WROTE_TRUST - 1;
        return right;
    }
    return PAGE_WRITE;
}

void directory_acquire(struct directory *d, uint64_t now, uint64_t page, enum page_right right, unsigned flags,
                       uint64_t cookie, struct dir_actions *out)
{
    assert(page < d->pages && (right == PAGE_READ || right == PAGE_WRITE) && !(flags & ~GET_WHOLE));
    d->now = now;
    struct line *l = &d->lines[page];
    if (directory_right(d, page) >= right) {
        complete_now(out, page, cookie, DIR_GRANTED);
        return;
    }
    if (d->lost) {
        complete_now(out, page, cookie, DIR_LOST);
        return;
    }
    uint16_t index = d->free_waiter;
    bool leader = !l->request;
    if (!index || (leader && !d->free_request)) {
        complete_now(out, page, cookie, DIR_RETRY);
        return;
    }
    struct request *r =
        leader ? request_new(d, page, dir_right_to_ask(d, l, right), flags) : &d->requests[l->request - 1];
    struct waiter *w = &d->waiters[index - 1];
    d->free_waiter = w->next;
    *w = (struct waiter){.cookie = cookie, .start = now, .want = (uint8_t)right, .flags = (uint8_t)flags};
    add_waiter(d, r, index);
    l->served = false;
    if (leader) {
        unsigned fault = right == PAGE_READ ? DIR_FAULT_READ : l->state ? DIR_FAULT_UPGRADE : DIR_FAULT_WRITE;
        d->stats.faults[fault]++;
        l->wrote += fault == DIR_FAULT_UPGRADE && l->wrote < WROTE_MAX;
        dir_request_send(d, r, out);
    } else {
        d->stats.coalesced++;
    }
    /* Who catches up with its prefetch keeps the stream ahead of it full. An upgrade is no stream. */
    bool goes_on = (leader && l->state == PAGE_NONE) || get_is_stream(r->flags);
    if (goes_on && d->config.prefetch_depth && directory_home(d, page) != d->config.self) {
        prefetch(d, page, right, out);
    }
    dir_drain_loop(d, out);
}

/* The transaction is over when the grant and every acknowledgement are here. */
static bool wants_more(const struct waiter *w, const struct request *r)
{
    return w->want > r->want;
}

static void request_settle(struct directory *d, struct request *r, struct dir_actions *out)
{
    if (!r->granted || r->acks != r->acks_got) {
        return;
    }
    struct line *l = &d->lines[r->page];
    l->state = r->want;
    struct dir_action *a = dir_emit(out, DIR_RIGHT, r->page);
    a->right = r->want;
    if (r->flags & GET_PREFETCH && !(r->flags & GET_FOLLOW)) {
        d->stats.prefetch_stored++;
    } else if (r->flags & GET_FOLLOW) {
        l->foretold = true;
        l->by = r->by;
        if (r->waiters) {
            dir_follow_judge(d, l, true);
        }
    }
    if (!r->over) {
        dir_send(d, out, directory_home(d, r->page), MSG_DONE, r->page)->done.ticket = r->ticket;
    }
    release_waiters(d, r, DIR_GRANTED, wants_more, out);
    request_continue(d, r, out);
}

static const char *on_grant(struct directory *d, unsigned src, const struct msg_grant *m, struct dir_actions *out)
{
    struct request *r = request_find(d, m->page, m->ticket);
    struct line *l = &d->lines[m->page];
    if (!r || r->granted) {
        return "GRANT that nobody asked for";
    }
    if (m->right != r->want) {
        return "GRANT of another right than was asked";
    }
    if (m->acks < r->acks_got) {
        return "GRANT counts fewer acknowledgements than have come";
    }
    unsigned home = directory_home(d, m->page);
    if (m->over && (src != home || m->acks)) {
        return "GRANT ends a transaction that only the home can end";
    }
    bool current = m->version == HAVE_CURRENT ? l->state == PAGE_READ : m->version == l->version && m->version;
    if (m->data == GRANT_SAME && !current) {
        return "GRANT without bytes for a version this rank does not have";
    }
    if (m->data != GRANT_SAME && l->state != PAGE_NONE) {
        return "GRANT brings bytes for a page this rank is using";
    }
    if (m->data != GRANT_SAME) {
        struct dir_action *a = dir_emit(out, DIR_DATA, m->page);
        a->data = m->data;
        l->version = m->version;
    }
    r->granted = true;
    r->acks = m->acks;
    r->over = m->over;
    r->hops = home == d->config.self || (src == home && !m->acks) ? 2 : 3;
    request_settle(d, r, out);
    return NULL;
}

static const char *on_invalidated(struct directory *d, const struct msg_invalidated *m, struct dir_actions *out)
{
    struct request *r = request_find(d, m->page, m->ticket);
    if (!r || r->want != PAGE_WRITE || r->acks_got >= (r->granted ? r->acks : d->config.ranks)) {
        return "INVALIDATED that nobody waits for";
    }
    r->acks_got++;
    request_settle(d, r, out);
    return NULL;
}

/* The stream has come to pages that others use. */
static void stream_stop(struct directory *d, uint64_t page)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream *s = &d->streams[i];
        if (page >= s->next && page < s->next + s->depth) {
            s->depth = 0;
        }
    }
}

static const char *on_refused(struct directory *d, const struct msg_refused *m, struct dir_actions *out)
{
    struct request *r = request_find(d, m->page, m->ticket);
    if (!r || !(r->flags & GET_PREFETCH)) {
        return "REFUSED for something else than a prefetch";
    }
    stream_stop(d, m->page);
    d->stats.prefetch_refused += !(r->flags & GET_FOLLOW);
    request_continue(d, r, out);
    return NULL;
}

static bool wants_whole(const struct waiter *w, const struct request *r)
{
    return w->flags & GET_WHOLE;
}

static const char *on_served(struct directory *d, const struct msg_served *m, struct dir_actions *out)
{
    struct request *r = request_find(d, m->page, m->ticket);
    if (!r || r->flags & (GET_WHOLE | GET_PREFETCH)) {
        return "SERVED for a request that needs the page itself";
    }
    d->lines[m->page].served = true;
    release_waiters(d, r, DIR_SERVED, wants_whole, out);
    request_continue(d, r, out);
    return NULL;
}

static void answer_take(struct directory *d, const struct take *t, struct dir_actions *out)
{
    if (t->invalidate) {
        dir_send(d, out, t->requester, MSG_INVALIDATED, t->page)->invalidated.ticket = t->ticket;
        return;
    }
    uint64_t version = d->lines[t->page].version;
    struct msg_grant *g = &dir_send(d, out, t->requester, MSG_GRANT, t->page)->grant;
    g->version = version;
    g->ticket = t->ticket;
    g->right = t->right == PAGE_NONE ? PAGE_WRITE : PAGE_READ;
    g->data = t->have == version || t->have == HAVE_CURRENT ? GRANT_SAME : GRANT_PAGE;
    g->acks = t->acks;
    g->over = !t->acks && dir_home_grants(d, t->page, t->requester, t->ticket);
    if (g->data == GRANT_SAME) {
        d->stats.grants_same++;
    } else {
        d->stats.grants_data++;
    }
    if (g->over) {
        dir_home_granted(d, t->page, t->requester, t->ticket, out);
    }
}

/* Brings local users down to t->right and answers then; at once if they are there already. */
static void begin_take(struct directory *d, const struct take *t, struct dir_actions *out)
{
    struct line *l = &d->lines[t->page];
    if (l->state <= t->right) {
        answer_take(d, t, out);
        return;
    }
    uint16_t index = d->free_take;
    assert(index);
    d->free_take = d->takes[index - 1].next_free;
    d->takes[index - 1] = *t;
    l->take = index;
    struct dir_action *a = dir_emit(out, DIR_TAKE, t->page);
    a->right = t->right;
}

static const char *on_forward(struct directory *d, unsigned src, const struct msg_forward *m, struct dir_actions *out)
{
    struct line *l = &d->lines[m->page];
    if (src != directory_home(d, m->page)) {
        return "FORWARD from a rank that is not the page's home";
    }
    if (l->state == PAGE_NONE || l->take) {
        return "FORWARD for a page this rank does not hold";
    }
    struct take t = {.page = m->page,
                     .have = m->have,
                     .ticket = m->ticket,
                     .requester = m->requester,
                     .right = m->right == PAGE_WRITE ? PAGE_NONE : PAGE_READ,
                     .acks = m->acks};
    begin_take(d, &t, out);
    return NULL;
}

static const char *on_invalidate(struct directory *d, unsigned src, const struct msg_invalidate *m,
                                 struct dir_actions *out)
{
    struct line *l = &d->lines[m->page];
    if (src != directory_home(d, m->page)) {
        return "INVALIDATE from a rank that is not the page's home";
    }
    if (l->state != PAGE_READ || l->take) {
        return "INVALIDATE for a page this rank does not share";
    }
    struct take t = {.page = m->page, .ticket = m->ticket, .requester = m->requester, .right = PAGE_NONE};
    t.invalidate = true;
    begin_take(d, &t, out);
    return NULL;
}

void directory_taken(struct directory *d, uint64_t now, uint64_t page, unsigned how, struct dir_actions *out)
{
    d->now = now;
    struct line *l = &d->lines[page];
    assert(l->take);
    struct take t = d->takes[l->take - 1];
    d->takes[l->take - 1].next_free = d->free_take;
    d->free_take = l->take;
    l->take = NONE;
    if (l->state == PAGE_WRITE && how & TAKEN_DIRTY) {
        l->version++;
    }
    l->wrote -= l->state == PAGE_READ && t.right == PAGE_NONE && l->wrote;
    dir_follow_judge(d, l, how & TAKEN_USED);
    l->state = t.right;
    if (!d->lost) {
        answer_take(d, &t, out);
        dir_drain_loop(d, out);
    }
}

void directory_operate(struct directory *d, uint64_t now, const struct msg_op *op, uint64_t cookie,
                       struct dir_actions *out)
{
    d->now = now;
    uint16_t index = d->free_operation;
    bool here = directory_home(d, op->page) == d->config.self || !d->lines[op->page].served;
    if (d->lost || here || !index) {
        struct dir_action *a = dir_emit(out, DIR_RESULT, op->page);
        a->cookie = cookie;
        a->status = d->lost ? DIR_LOST : DIR_RETRY;
        return;
    }
    struct operation *o = &d->operations[index - 1];
    d->free_operation = o->next_free;
    uint32_t ticket = ++d->generation << 12 | (uint32_t)(index - 1);
    *o = (struct operation){.page = op->page, .cookie = cookie, .start = now, .ticket = ticket, .used = true};
    struct msg_op *m = &dir_send(d, out, directory_home(d, op->page), MSG_OP, op->page)->op;
    *m = *op;
    m->ticket = ticket;
}

static void operation_end(struct directory *d, struct operation *o, enum dir_status status, uint64_t value,
                          struct dir_actions *out)
{
    struct dir_action *a = dir_emit(out, DIR_RESULT, o->page);
    a->cookie = o->cookie;
    a->status = (uint8_t)status;
    a->value = value;
    a->waited_ns = d->now - o->start;
    o->used = false;
    o->next_free = d->free_operation;
    d->free_operation = (uint16_t)(o - d->operations + 1);
}

static const char *on_op_reply(struct directory *d, const struct msg_op_reply *m, struct dir_actions *out)
{
    unsigned index = m->ticket & TICKET_INDEX;
    if (index >= DIR_OPS || !d->operations[index].used || d->operations[index].ticket != m->ticket ||
        d->operations[index].page != m->page) {
        return "OP_REPLY that nobody waits for";
    }
    if (m->status == OP_NOT_SERVED) {
        d->lines[m->page].served = false;
    }
    operation_end(d, &d->operations[index], m->status == OP_DONE ? DIR_GRANTED : DIR_RETRY, m->value, out);
    return NULL;
}

static const char *deliver(struct directory *d, const struct page_message *message, struct dir_actions *out)
{
    const union page_body *b = &message->body;
    unsigned src = message->header.src;
    switch (message->header.type) {
    case MSG_GET:
        return dir_home_get(d, src, &b->get, out);
    case MSG_DONE:
        return dir_home_done(d, src, &b->done, out);
    case MSG_OP:
        return dir_home_op(d, src, &b->op, out);
    case MSG_FORWARD:
        return on_forward(d, src, &b->forward, out);
    case MSG_INVALIDATE:
        return on_invalidate(d, src, &b->invalidate, out);
    case MSG_GRANT:
        return on_grant(d, src, &b->grant, out);
    case MSG_INVALIDATED:
        return on_invalidated(d, &b->invalidated, out);
    case MSG_REFUSED:
        return on_refused(d, &b->refused, out);
    case MSG_SERVED:
        return on_served(d, &b->served, out);
    case MSG_OP_REPLY:
        return on_op_reply(d, &b->op_reply, out);
    default:
        return "message is not the directory's";
    }
}

/* Delivers what this rank said to itself, until it has nothing more to say. */
void dir_drain_loop(struct directory *d, struct dir_actions *out)
{
    while (d->loop_head != d->loop_tail) {
        struct page_message m = d->loop[d->loop_head++ % LOOP_MAX];
        const char *wrong = deliver(d, &m, out);
        assert(!wrong);
    }
}

const char *directory_message(struct directory *d, uint64_t now, const struct page_message *message,
                              struct dir_actions *out)
{
    d->now = now;
    if (d->lost) {
        return NULL;
    }
    const char *wrong = deliver(d, message, out);
    dir_drain_loop(d, out);
    return wrong;
}

void directory_tick(struct directory *d, uint64_t now, struct dir_actions *out)
{
    d->now = now;
    if (!d->lost) {
        dir_home_tick(d, out);
        dir_drain_loop(d, out);
    }
}

void directory_lost(struct directory *d, struct dir_actions *out)
{
    d->lost = true;
    for (unsigned i = 0; i < DIR_REQUESTS; i++) {
        struct request *r = &d->requests[i];
        if (r->used) {
            release_waiters(d, r, DIR_LOST, NULL, out);
            request_free(d, r);
        }
    }
    for (unsigned i = 0; i < DIR_OPS; i++) {
        if (d->operations[i].used) {
            operation_end(d, &d->operations[i], DIR_LOST, 0, out);
        }
    }
    d->num_parked = 0;
    d->txns_used = 0;
}

enum page_right directory_right(const struct directory *d, uint64_t page)
{
    const struct line *l = &d->lines[page];
    return l->take ? d->takes[l->take - 1].right : l->state;
}

uint64_t directory_version(const struct directory *d, uint64_t page)
{
    return d->lines[page].version;
}

const struct directory_stats *directory_stats(const struct directory *d)
{
    return &d->stats;
}

unsigned directory_busy(const struct directory *d)
{
    return d->requests_used + d->txns_used;
}

/* Everything starts at home: written there, held by nobody else. */
static void place_at_home(struct directory *d)
{
    for (unsigned i = 0; i < d->config.num_ranges; i++) {
        const struct home_range *r = &d->ranges[i];
        if (r->rank != d->config.self) {
            continue;
        }
        for (uint64_t p = 0; p < r->count; p++) {
            d->lines[r->first + p] = (struct line){.version = 1, .state = PAGE_WRITE};
            d->entry[d->entry_base[i] + p] = (struct entry){.holders = rank_bit(d->config.self), .exclusive = true};
        }
    }
}

static void fill_pools(struct directory *d)
{
    for (unsigned i = 0; i < DIR_REQUESTS; i++) {
        d->requests[i].next_free = (uint16_t)(i + 1 < DIR_REQUESTS ? i + 2 : NONE);
    }
    for (unsigned i = 0; i < DIR_WAITERS; i++) {
        d->waiters[i].next = (uint16_t)(i + 1 < DIR_WAITERS ? i + 2 : NONE);
    }
    for (unsigned i = 0; i < DIR_OPS; i++) {
        d->operations[i].next_free = (uint16_t)(i + 1 < DIR_OPS ? i + 2 : NONE);
    }
    for (unsigned i = 0; i < d->num_txns; i++) {
        d->txns[i].next = d->takes[i].next_free = (uint16_t)(i + 1 < d->num_txns ? i + 2 : NONE);
    }
    d->free_request = d->free_waiter = d->free_operation = d->free_txn = d->free_take = 1;
}

struct directory *directory_create(const struct directory_config *config)
{
    assert(config->ranks <= WEFT_MAX_RANKS && config->self < config->ranks);
    assert(config->num_ranges && config->num_ranges <= DIR_MAX_RANGES);
    struct directory *d = calloc(1, sizeof(*d));
    assert(d);
    d->config = *config;
    memcpy(d->ranges, config->ranges, config->num_ranges * sizeof(d->ranges[0]));
    d->config.ranges = d->ranges;
    for (unsigned i = 0; i < config->num_ranges; i++) {
        assert(d->ranges[i].first == d->pages && d->ranges[i].rank < config->ranks);
        d->pages += d->ranges[i].count;
        if (d->ranges[i].rank == config->self) {
            d->entry_base[i] = d->entries;
            d->entries += d->ranges[i].count;
        }
    }
    d->num_txns = config->ranks * DIR_REQUESTS;
    d->lines = calloc(d->pages, sizeof(*d->lines));
    d->entry = calloc(d->entries + 1, sizeof(*d->entry));
    d->txns = calloc(d->num_txns, sizeof(*d->txns));
    d->takes = calloc(d->num_txns, sizeof(*d->takes));
    d->follow = calloc(1u << FOLLOW_BITS, sizeof(*d->follow));
    assert(d->lines && d->entry && d->txns && d->takes && d->follow);
    fill_pools(d);
    place_at_home(d);
    return d;
}

void directory_destroy(struct directory **directory)
{
    struct directory *d = *directory;
    if (d) {
        free(d->lines);
        free(d->entry);
        free(d->txns);
        free(d->takes);
        free(d->follow);
        free(d);
    }
    *directory = NULL;
}
