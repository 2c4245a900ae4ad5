/* The home's side of the directory: entries, the queue of each page, hold time, pages served in place. */
#include "directory_state.h"

#include <assert.h>
#include <string.h>

enum {
    OPS_PER_TRANSFER = 2, /* accesses at home that cost as much as one transfer */
    SHUN_WINDOWS = 8,
    SHUNS_MAX = 8,
};

static struct txn *txn_at(struct directory *d, uint16_t index)
{
    return index ? &d->txns[index - 1] : NULL;
}

static uint16_t txn_new(struct directory *d, unsigned requester, const struct msg_get *m)
{
    uint16_t index = d->free_txn;
    assert(index);
    struct txn *t = txn_at(d, index);
    d->free_txn = t->next;
    *t = (struct txn){.page = m->page,
                      .have = m->have,
                      .ticket = m->ticket,
                      .requester = (uint16_t)requester,
                      .right = m->right,
                      .flags = m->flags};
    d->outstanding[requester]++;
    d->txns_used++;
    return index;
}

static void txn_free(struct directory *d, uint16_t index)
{
    struct txn *t = txn_at(d, index);
    d->outstanding[t->requester]--;
    d->txns_used--;
    t->next = d->free_txn;
    d->free_txn = index;
}

static void queue_push(struct directory *d, struct entry *e, uint16_t index)
{
    if (e->tail) {
        txn_at(d, e->tail)->next = index;
    } else {
        e->head = index;
    }
    e->tail = index;
}

static void queue_push_front(struct directory *d, struct entry *e, uint16_t index)
{
    txn_at(d, index)->next = e->head;
    e->head = index;
    if (!e->tail) {
        e->tail = index;
    }
}

static uint16_t queue_pop(struct directory *d, struct entry *e)
{
    uint16_t index = e->head;
    e->head = txn_at(d, index)->next;
    if (!e->head) {
        e->tail = NONE;
    }
    txn_at(d, index)->next = NONE;
    return index;
}

static bool list_has(struct directory *d, uint16_t first, unsigned rank)
{
    for (uint16_t i = first; i; i = txn_at(d, i)->next) {
        if (txn_at(d, i)->requester == rank) {
            return true;
        }
    }
    return false;
}

static uint32_t window_of(const struct directory *d)
{
    return (uint32_t)(d->now / d->config.hot_ns);
}

/* Lets the count of transfers fade by half per window. */
static void cool_down(struct directory *d, struct entry *e)
{
    if (!d->config.hot_ns) {
        return;
    }
    uint32_t window = window_of(d);
    uint32_t passed = window - e->window;
    e->heat = passed < 8 ? (uint8_t)(e->heat >> passed) : 0;
    e->window = window;
}

static bool is_home_only(const struct directory *d, const struct entry *e)
{
    return e->exclusive && e->holders == rank_bit(d->config.self);
}

static void begin_term(struct directory *d, struct entry *e)
{
    e->hot = true;
    e->ops = 0;
    e->until = d->now + d->config.hot_ns;
    d->stats.hot_begun++;
}

static void end_term(struct directory *d, struct entry *e)
{
    e->hot = false;
    e->heat = 0;
    e->until = 0;
    d->stats.hot_ended++;
}

/* Serving pays while a visit is one access or two. Who makes many accesses per visit is quicker with the page itself:
 * the term ends early, and each time it does the page is left alone for longer.
 */
static bool term_pays(const struct directory *d, const struct entry *e)
{
    return e->ops < OPS_PER_TRANSFER * d->config.hot_transfers;
}

static void shun(struct directory *d, struct entry *e)
{
    e->shuns += e->shuns < SHUNS_MAX;
    e->shunned_to = window_of(d) + (SHUN_WINDOWS << e->shuns);
}

/* At the end of its term a served page stays only if it was still asked for often enough. */
static void review_term(struct directory *d, struct entry *e)
{
    if (e->hot && !term_pays(d, e)) {
        shun(d, e);
        end_term(d, e);
    } else if (e->hot && d->now >= e->until) {
        if (e->ops >= d->config.hot_transfers) {
            e->ops = 0;
            e->until = d->now + d->config.hot_ns;
        } else {
            end_term(d, e);
        }
    }
}

/* Moves so often that it is worth a try at home. */
static bool is_hot(const struct directory *d, const struct entry *e)
{
    return d->config.hot_transfers && e->heat >= d->config.hot_transfers &&
           (!e->shuns || window_of(d) - e->shunned_to < UINT32_MAX / 2);
}

/* Puts the home's own request first, so that the page comes home before it is served there. */
static void begin_heating(struct directory *d, struct entry *e, uint64_t page)
{
    uint32_t ticket;
    if (is_home_only(d, e)) {
        begin_term(d, e);
    } else if (!list_has(d, e->head, d->config.self) && dir_ask_for_home(d, page, &ticket)) {
        struct msg_get own = {.page = page, .ticket = ticket, .right = PAGE_WRITE, .flags = GET_WHOLE};
        own.have = d->lines[page].version;
        queue_push_front(d, e, txn_new(d, d->config.self, &own));
        e->heating = true;
    }
}

/* True if the first transaction must wait for the page's minimum stay where it is. */
static bool is_held(struct directory *d, struct entry *e, const struct txn *t)
{
    bool disturbs = e->exclusive || t->right == PAGE_WRITE;
    if (d->now >= e->until || e->heating || !disturbs || !(e->holders & ~rank_bit(t->requester))) {
        return false;
    }
    if (!e->parked) {
        if (d->num_parked == PARKED_MAX) {
            return false;
        }
        d->parked[d->num_parked++] = t->page;
        e->parked = true;
        d->stats.held++;
    }
    return true;
}

static void send_forward(struct directory *d, struct dir_actions *out, unsigned source, const struct txn *t,
                         unsigned acks)
{
    struct msg_forward *f = &dir_send(d, out, source, MSG_FORWARD, t->page)->forward;
    /* `have` was written when the request left; a sharer has what everyone has, whatever it wrote then. */
    f->have = dir_entry(d, t->page)->holders & rank_bit(t->requester) ? HAVE_CURRENT : t->have;
    f->ticket = t->ticket;
    f->requester = t->requester;
    f->right = t->right;
    f->acks = (uint8_t)acks;
}

/* Picks who sends the bytes: the home if it holds them, else any holder (the lowest: no clock, no chance in here). */
static unsigned pick_source(const struct directory *d, uint64_t holders)
{
    return holders & rank_bit(d->config.self) ? d->config.self : (unsigned)__builtin_ctzll(holders);
}

static void begin_read(struct directory *d, struct entry *e, const struct txn *t, struct dir_actions *out)
{
    e->settling = e->exclusive;
    send_forward(d, out, pick_source(d, e->holders), t, 0);
}

/* The transaction of this rank in the active list and the one before it, or NONE. */
static uint16_t active_find(struct directory *d, const struct entry *e, unsigned rank, uint32_t ticket,
                            uint16_t *before)
{
    *before = NONE;
    for (uint16_t i = e->active; i; *before = i, i = txn_at(d, i)->next) {
        const struct txn *t = txn_at(d, i);
        if (t->requester == rank && t->ticket == ticket) {
            return i;
        }
    }
    return NONE;
}

/* The requester holds the page. False if there is no such transaction. */
static bool txn_end(struct directory *d, struct entry *e, unsigned requester, uint32_t ticket)
{
    uint16_t before, index = active_find(d, e, requester, ticket, &before);
    if (!index) {
        return false;
    }
    *(before ? &txn_at(d, before)->next : &e->active) = txn_at(d, index)->next;
    bool write = txn_at(d, index)->right == PAGE_WRITE;
    bool moved = e->exclusive || (write && (e->holders & ~rank_bit(requester)));
    txn_free(d, index);
    cool_down(d, e);
    if (write) {
        e->exclusive = true;
        e->holders = rank_bit(requester);
    } else {
        e->exclusive = false;
        e->holders |= rank_bit(requester);
    }
    e->settling = false;
    if (moved) {
        e->heat += e->heat < UINT8_MAX;
        e->moves += e->moves < UINT32_MAX;
        /* The first transfers of a page are free; one that bounces stays a while, so that each stay does some work. */
        e->until = d->config.hold_ns && e->heat >= 3 ? d->now + d->config.hold_ns : 0;
    }
    if (e->heating && requester == d->config.self && write) {
        e->heating = false;
        begin_term(d, e);
    }
    return true;
}

/* Nobody has to tell the home of the end. Not for what travels as bulk: its next message may come before that. */
static bool ends_with_grant(const struct directory *d, const struct txn *t)
{
    return t->requester != d->config.self && !get_is_stream(t->flags);
}

/* All invalidations leave together; the requester gathers the acknowledgements. */
static void begin_write(struct directory *d, struct entry *e, const struct txn *t, struct dir_actions *out)
{
    uint64_t targets = e->holders & ~rank_bit(t->requester);
    bool upgrade = e->holders & rank_bit(t->requester);
    unsigned home = d->config.self;
    int source = -1;
    if (targets && (!upgrade || (targets & rank_bit(home)))) {
        source = (int)pick_source(d, targets);
        targets &= ~rank_bit((unsigned)source);
    }
    unsigned acks = (unsigned)__builtin_popcountll(targets);
    e->settling = true;
    for (uint64_t rest = targets; rest; rest &= rest - 1) {
        struct msg_invalidate *i =
            &dir_send(d, out, (unsigned)__builtin_ctzll(rest), MSG_INVALIDATE, t->page)->invalidate;
        i->ticket = t->ticket;
        i->requester = t->requester;
        d->stats.invalidations++;
    }
    if (source >= 0) {
        send_forward(d, out, (unsigned)source, t, acks);
    } else {
        struct msg_grant *g = &dir_send(d, out, t->requester, MSG_GRANT, t->page)->grant;
        g->version = HAVE_CURRENT;
        g->ticket = t->ticket;
        g->right = PAGE_WRITE;
        g->data = GRANT_SAME;
        g->acks = (uint8_t)acks;
        g->over = acks == 0 && ends_with_grant(d, t);
        d->stats.grants_same++;
        if (g->over) {
            txn_end(d, e, t->requester, t->ticket);
        }
    }
}

static void serve(struct directory *d, uint16_t index, struct dir_actions *out)
{
    struct txn *t = txn_at(d, index);
    dir_send(d, out, t->requester, MSG_SERVED, t->page)->served.ticket = t->ticket;
    txn_free(d, index);
}

/* Starts what can start: the head of the queue, and reads behind a read as long as the page is shared. */
static void pump(struct directory *d, struct entry *e, uint64_t page, struct dir_actions *out)
{
    while (e->head && !e->settling) {
        struct txn *t = txn_at(d, e->head);
        if (t->right == PAGE_WRITE && e->active) {
            return;
        }
        review_term(d, e);
        if (e->hot) {
            if (!(t->flags & GET_WHOLE)) {
                serve(d, queue_pop(d, e), out);
                continue;
            }
            end_term(d, e);
        } else if (!e->active && !e->heating && is_hot(d, e) && !(t->flags & GET_WHOLE)) {
            begin_heating(d, e, page);
            if (e->hot || e->heating) {
                continue;
            }
        }
        if (is_held(d, e, t)) {
            return;
        }
        uint16_t index = queue_pop(d, e);
        t->next = e->active;
        e->active = index;
        if (t->right == PAGE_WRITE) {
            begin_write(d, e, t, out);
        } else {
            begin_read(d, e, t, out);
        }
    }
}

const char *dir_home_get(struct directory *d, unsigned src, const struct msg_get *m, struct dir_actions *out)
{
    if (directory_home(d, m->page) != d->config.self) {
        return "GET reached a rank that is not the page's home";
    }
    struct entry *e = dir_entry(d, m->page);
    if (d->outstanding[src] >= DIR_REQUESTS) {
        return "GET exceeds the requests a rank may have outstanding";
    }
    /* An active one may be there: its DONE and this GET travel in different classes. */
    if (list_has(d, e->head, src)) {
        return "GET for a page this rank has already asked for";
    }
    /* While a transaction settles, a holder may ask again for what is just being taken from it. */
    bool holds = !e->settling && (e->holders & rank_bit(src));
    if (holds && (m->right == PAGE_READ || e->exclusive)) {
        return "GET for a right this rank already has";
    }
    cool_down(d, e);
    if (m->flags & GET_FOLLOW) {
        if (e->active || e->head || e->hot || e->heating || is_hot(d, e) || d->now < e->until) {
            dir_send(d, out, src, MSG_REFUSED, m->page)->refused.ticket = m->ticket;
            return NULL;
        }
    } else if (m->flags & GET_PREFETCH) {
        bool calm = !e->active && !e->head && !e->hot && e->heat == 0 && (e->holders & rank_bit(d->config.self));
        /* Ownership is given ahead of time only the first time: nobody has shown an interest in the page yet. */
        bool fresh = m->right == PAGE_READ || (is_home_only(d, e) && e->moves == 0);
        if (!calm || !fresh) {
            dir_send(d, out, src, MSG_REFUSED, m->page)->refused.ticket = m->ticket;
            return NULL;
        }
    }
    queue_push(d, e, txn_new(d, src, m));
    pump(d, e, m->page, out);
    return NULL;
}

const char *dir_home_done(struct directory *d, unsigned src, const struct msg_done *m, struct dir_actions *out)
{
    if (directory_home(d, m->page) != d->config.self) {
        return "DONE reached a rank that is not the page's home";
    }
    struct entry *e = dir_entry(d, m->page);
    if (!txn_end(d, e, src, m->ticket)) {
        return "DONE for a transaction that is not under way";
    }
    pump(d, e, m->page, out);
    return NULL;
}

bool dir_home_grants(struct directory *d, uint64_t page, unsigned requester, uint32_t ticket)
{
    uint16_t before, index = NONE;
    if (directory_home(d, page) == d->config.self) {
        index = active_find(d, dir_entry(d, page), requester, ticket, &before);
    }
    return index && ends_with_grant(d, txn_at(d, index));
}

void dir_home_granted(struct directory *d, uint64_t page, unsigned requester, uint32_t ticket, struct dir_actions *out)
{
    struct entry *e = dir_entry(d, page);
    bool ended = txn_end(d, e, requester, ticket);
    assert(ended);
    pump(d, e, page, out);
}

const char *dir_home_op(struct directory *d, unsigned src, const struct msg_op *m, struct dir_actions *out)
{
    if (directory_home(d, m->page) != d->config.self) {
        return "OP reached a rank that is not the page's home";
    }
    struct entry *e = dir_entry(d, m->page);
    review_term(d, e);
    if (!e->hot) {
        struct msg_op_reply *r = &dir_send(d, out, src, MSG_OP_REPLY, m->page)->op_reply;
        r->ticket = m->ticket;
        r->status = OP_NOT_SERVED;
        d->stats.ops_refused++;
        return NULL;
    }
    assert(is_home_only(d, e) && !e->settling && !e->active);
    e->ops += e->ops < UINT16_MAX;
    d->stats.ops_served++;
    if (m->op != REMOTE_LOAD) {
        /* No local user wrote, so nobody will call the page dirty; yet older bytes are stale from here on. */
        d->lines[m->page].version++;
    }
    struct dir_action *a = dir_emit(out, DIR_EXECUTE, m->page);
    a->peer = (uint16_t)src;
    a->message.body.op = *m;
    return NULL;
}

void dir_home_tick(struct directory *d, struct dir_actions *out)
{
    for (unsigned i = 0; i < d->num_parked;) {
        uint64_t page = d->parked[i];
        struct entry *e = dir_entry(d, page);
        if (d->now < e->until && !e->hot) {
            i++;
            continue;
        }
        d->parked[i] = d->parked[--d->num_parked];
        e->parked = false;
        pump(d, e, page, out);
    }
}

uint64_t directory_deadline(const struct directory *d)
{
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < d->num_parked; i++) {
        const struct entry *e = dir_entry((struct directory *)d, d->parked[i]);
        first = e->until < first ? e->until : first;
    }
    return first;
}

struct dir_view directory_view(const struct directory *d, uint64_t page)
{
    const struct entry *e = dir_entry((struct directory *)d, page);
    return (struct dir_view){.holders = e->holders,
                             .exclusive = e->exclusive,
                             .hot = e->hot,
                             .busy = e->active || e->head,
                             .heat = e->heat,
                             .moves = e->moves};
}
