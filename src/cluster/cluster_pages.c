/* Carries out what the directory decides: rights, bytes, answers to those who wait. Coherence thread, but for the port.
 */
#include "cluster_state.h"

#include <assert.h>
#include <string.h>

#include "weft/remote_access.h"

static uint8_t *page_bytes(const struct cluster *c, uint64_t page)
{
    return c->config.ram + page * MSG_PAGE_SIZE;
}

/* A fresh page is often all zero, and then need not travel: the first word tells in most other cases. */
static bool is_zero(const uint8_t *bytes)
{
    uint64_t first;
    memcpy(&first, bytes, sizeof(first));
    return first == 0 && !memcmp(bytes, bytes + sizeof(first), MSG_PAGE_SIZE - sizeof(first));
}

static void send_action(struct cluster *c, struct dir_action *a)
{
    struct message m = {.header = a->message.header};
    memcpy(&m.body, &a->message.body, sizeof(a->message.body));
    const uint8_t *page = NULL;
    if (m.header.type == MSG_GRANT && m.body.page.grant.data == GRANT_PAGE) {
        page = page_bytes(c, a->page);
        struct cluster_peer_stats *s = &c->stats.peer[a->peer];
        if (is_zero(page)) {
            m.body.page.grant.data = GRANT_ZEROES;
            page = NULL;
            s->zero_pages_sent++;
        } else {
            s->pages_sent++;
        }
    }
    if (m.header.type == MSG_GRANT && m.body.page.grant.over) {
        cluster_stats_moved(c, a->page);
    }
    cluster_send(c, a->peer, &m, page);
}

static void set_right(struct cluster *c, uint64_t page, enum page_right right)
{
    uint8_t old = atomic_load_explicit(&c->source.rights[page], memory_order_relaxed);
    uint8_t served = right == PAGE_NONE ? old & PAGE_SERVED : 0;
    atomic_store_explicit(&c->source.rights[page], (uint8_t)(right | served), memory_order_seq_cst);
}

static void set_served(struct cluster *c, uint64_t page, bool served)
{
    uint8_t old = atomic_load_explicit(&c->source.rights[page], memory_order_relaxed);
    uint8_t new = served ? old | PAGE_SERVED : (uint8_t)(old & ~PAGE_SERVED);
    atomic_store_explicit(&c->source.rights[page], new, memory_order_seq_cst);
}

static void execute(struct cluster *c, const struct dir_action *a)
{
    const struct msg_op *op = &a->message.body.op;
    uint64_t old = remote_access(page_bytes(c, a->page), op);
    cluster_stats_served(c, a->page);
    if (op->op != REMOTE_LOAD && c->source.users->changed) {
        c->source.users->changed(c->source.opaque, a->page, true);
    }
    struct message m = {.header = message_header(MSG_OP_REPLY, c->self, 0)};
    m.body.page.op_reply =
        (struct msg_op_reply){.page = a->page, .value = old, .ticket = op->ticket, .status = OP_DONE};
    cluster_send(c, a->peer, &m, NULL);
}

static enum page_status status_of(enum dir_status status)
{
    switch (status) {
    case DIR_GRANTED:
        return PAGE_GRANTED;
    case DIR_SERVED:
        return PAGE_REMOTE;
    case DIR_RETRY:
        return PAGE_TRY_AGAIN;
    default:
        return PAGE_RANK_LOST;
    }
}

static void complete(struct cluster *c, const struct dir_action *a)
{
    struct page_request *r = (struct page_request *)(uintptr_t)a->cookie;
    if (a->kind == DIR_COMPLETE) {
        if (a->status == DIR_SERVED) {
            set_served(c, a->page, true);
        } else if (a->status == DIR_GRANTED && a->hops) {
            cluster_stats_fault(c, a);
        }
    } else {
        r->value = a->value;
        if (a->status == DIR_RETRY) {
            set_served(c, a->page, false);
        } else if (a->status == DIR_GRANTED) {
            cluster_histogram_add(&c->stats.remote_access, a->waited_ns);
        }
    }
    r->over = true;
    if (c->assistant == &r->over && !cluster_assisting()) {
        transport_assist_end(c->config.transport);
    }
    if (r->wake) {
        r->next = c->to_wake;
        c->to_wake = r;
    }
    r->done(r, status_of(a->status));
}

static void carry_out(struct cluster *c, const uint8_t *page)
{
    for (unsigned i = 0; i < c->actions.count; i++) {
        struct dir_action *a = &c->actions.at[i];
        switch (a->kind) {
        case DIR_SEND:
            send_action(c, a);
            break;
        case DIR_TAKE:
            set_right(c, a->page, a->right);
            c->source.users->take(c->source.opaque, a->page, a->right);
            break;
        case DIR_DATA:
            if (a->data == GRANT_PAGE) {
                memcpy(page_bytes(c, a->page), page, MSG_PAGE_SIZE);
            } else {
                memset(page_bytes(c, a->page), 0, MSG_PAGE_SIZE);
            }
            if (c->source.users->changed) {
                c->source.users->changed(c->source.opaque, a->page, false);
            }
            break;
        case DIR_RIGHT:
            set_right(c, a->page, a->right);
            break;
        case DIR_EXECUTE:
            execute(c, a);
            break;
        case DIR_COMPLETE:
        case DIR_RESULT:
            complete(c, a);
            break;
        }
    }
}

void cluster_pages_request(struct cluster *c, struct page_request *r)
{
    c->actions.count = 0;
    uint64_t now = cluster_now_ns();
    idle_poll_message(&c->idle, now);
    if (r->is_op) {
        r->op.page = r->page;
        directory_operate(c->directory, now, &r->op, (uintptr_t)r, &c->actions);
    } else if (!r->context) {
        directory_acquire(c->directory, now, r->page, r->right, r->flags, (uintptr_t)r, &c->actions);
    } else {
        directory_fault(c->directory, now, r->page, r->right, r->flags, r->who, r->context, (uintptr_t)r, &c->actions);
    }
    carry_out(c, NULL);
}

void cluster_pages_taken(struct cluster *c, const struct taken *taken)
{
    c->actions.count = 0;
    directory_taken(c->directory, cluster_now_ns(), taken->page, taken->how, &c->actions);
    carry_out(c, NULL);
}

const char *cluster_pages_message(struct cluster *c, const struct message *message, const uint8_t *page)
{
    struct page_message m = {.header = message->header, .body = message->body.page};
    c->actions.count = 0;
    if (page) {
        c->stats.peer[message->header.src].pages_received++;
    }
    uint64_t now = cluster_now_ns();
    idle_poll_message(&c->idle, now);
    const char *wrong = directory_message(c->directory, now, &m, &c->actions);
    carry_out(c, page);
    if (m.header.type == MSG_DONE && !wrong) {
        cluster_stats_moved(c, m.body.page);
    }
    return wrong;
}

void cluster_pages_tick(struct cluster *c, uint64_t now)
{
    if (directory_deadline(c->directory) <= now) {
        c->actions.count = 0;
        directory_tick(c->directory, now, &c->actions);
        carry_out(c, NULL);
    }
}

void cluster_pages_lost(struct cluster *c)
{
    c->actions.count = 0;
    directory_lost(c->directory, &c->actions);
    carry_out(c, NULL);
}

/* ---- the port: any thread ---- */

/* Does the step here, if no other thread is at it: nobody has to be woken for it. */
static void submit(struct cluster *c, struct page_request *r)
{
    r->over = false;
    if (cluster_enter(c)) {
        cluster_pages_request(c, r);
        while (cluster_drain_pages(c)) {
        }
        cluster_leave(c);
        return;
    }
    r->next = NULL;
    pthread_mutex_lock(&c->inbox_mutex);
    *c->inbox.last = r;
    c->inbox.last = &r->next;
    pthread_mutex_unlock(&c->inbox_mutex);
    cluster_wake(c);
}

void page_source_acquire(struct page_source *ps, struct page_request *r, uint64_t page, enum page_right right,
                         bool whole)
{
    assert(page < ps->pages);
    r->page = page;
    r->right = (uint8_t)right;
    r->flags = whole ? GET_WHOLE : 0;
    r->is_op = false;
    submit((struct cluster *)ps, r);
}

void page_source_wait(struct page_source *ps, struct page_request *r)
{
    struct cluster *c = (struct cluster *)ps;
    if (cluster_enter(c)) {
        cluster_assist(c, &r->over);
        cluster_leave(c);
    }
}

void page_source_operate(struct page_source *ps, struct page_request *r, uint64_t page, const struct msg_op *op)
{
    assert(page < ps->pages && op->offset + op->size <= MSG_PAGE_SIZE);
    r->page = page;
    r->op = *op;
    r->is_op = true;
    submit((struct cluster *)ps, r);
}

void page_source_taken(struct page_source *ps, uint64_t page, unsigned how)
{
    struct cluster *c = (struct cluster *)ps;
    if (cluster_enter(c)) {
        cluster_pages_taken(c, &(struct taken){.page = page, .how = (uint8_t)how});
        while (cluster_drain_pages(c)) {
        }
        cluster_leave(c);
        return;
    }
    pthread_mutex_lock(&c->inbox_mutex);
    assert(c->inbox.num_taken < c->ranks * DIR_REQUESTS);
    c->inbox.taken[c->inbox.num_taken++] = (struct taken){.page = page, .how = (uint8_t)how};
    pthread_mutex_unlock(&c->inbox_mutex);
    cluster_wake(c);
}
