/* The lock service's frame and the client's side: tokens, local queues, hand-off, leases, deaths. */
#include "lock_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct msg_lock *lock_send(struct lock_service *s, struct lock_actions *out, unsigned dst, enum msg_type type,
                           const struct lock *l, enum lock_mode mode, uint64_t fence)
{
    struct lock_message *m;
    if (dst == s->config.self) {
        assert(s->loop_tail - s->loop_head < LOOP_LOCKS);
        m = &s->loop[s->loop_tail++ % LOOP_LOCKS];
    } else {
        assert(out->count < LOCK_ACTIONS);
        struct lock_action *a = &out->at[out->count++];
        memset(a, 0, sizeof(*a));
        a->kind = LOCK_SEND;
        a->peer = (uint16_t)dst;
        m = &a->message;
    }
    memset(m, 0, sizeof(*m));
    m->header = message_header(type, s->config.self, 0);
    m->body.dead = s->dead;
    m->body.fence = fence;
    m->body.mode = (uint8_t)mode;
    if (l) {
        memcpy(m->body.name, l->name, sizeof(m->body.name));
    }
    return &m->body;
}

static struct lock_action *emit(struct lock_actions *out, enum lock_action_kind kind)
{
    assert(out->count < LOCK_ACTIONS);
    struct lock_action *a = &out->at[out->count++];
    memset(a, 0, sizeof(*a));
    a->kind = kind;
    return a;
}

static bool compatible(const struct lock *l, enum lock_mode mode)
{
    return !l->exclusive_holder && (mode == LOCK_SHARED || !l->shared_holders);
}

static struct lock_fence hold(struct lock *l, enum lock_mode mode)
{
    if (mode == LOCK_EXCLUSIVE) {
        l->exclusive_holder = true;
    } else {
        l->shared_holders++;
    }
    l->stats.acquires++;
    return (struct lock_fence){.token = l->fence, .local = ++l->local};
}

static void pop_waiter(struct lock_service *s, struct lock *l)
{
    uint16_t index = l->head;
    struct lock_waiter *w = &s->waiter[index - 1];
    l->head = w->next;
    if (!l->head) {
        l->tail = 0;
    }
    w->next = s->free_waiter;
    s->free_waiter = index;
}

static void grant_head(struct lock_service *s, struct lock *l, struct lock_actions *out)
{
    const struct lock_waiter *w = &s->waiter[l->head - 1];
    struct lock_action *a = emit(out, LOCK_GRANTED);
    a->lock = (uint16_t)(l - s->lock);
    a->cookie = w->cookie;
    a->waited_ns = s->now - w->start;
    a->fence = hold(l, w->mode);
    l->stats.wait_ns += a->waited_ns;
    l->stats.wait_max_ns = a->waited_ns > l->stats.wait_max_ns ? a->waited_ns : l->stats.wait_max_ns;
    pop_waiter(s, l);
}

/* For a hint: to whom the token goes, and under which fence, is not decided yet. */
static void release_early(struct lock_service *s, struct lock *l, struct lock_actions *out)
{
    l->token = LOCK_NONE;
    l->recalled = l->recall_hinted = false;
    l->given_to = (uint16_t)(l->recall_to + 1);
    lock_send(s, out, l->recall_to, MSG_LOCK_RELEASED, l, LOCK_EXCLUSIVE, l->fence)->early = true;
}

static void note_hand_off(struct lock *l, unsigned to, uint64_t fence)
{
    l->stats.handoffs++;
    l->hint_rank = (uint16_t)to;
    l->hint_fence = fence;
}

/* Gives up what the recall asks for, if no local holder stands against it. */
static bool hand_off(struct lock_service *s, struct lock *l, struct lock_actions *out)
{
    if (l->exclusive_holder || (l->recall_mode == LOCK_EXCLUSIVE && l->shared_holders)) {
        return false;
    }
    if (l->recall_hinted) {
        release_early(s, l, out);
        return true;
    }
    bool grant = l->token == LOCK_EXCLUSIVE && !l->recall_release;
    l->token = l->recall_mode == LOCK_EXCLUSIVE ? LOCK_NONE : LOCK_SHARED;
    l->recalled = false;
    note_hand_off(l, l->recall_to, l->recall_mode == LOCK_EXCLUSIVE ? l->recall_fence : 0);
    lock_send(s, out, l->recall_to, grant ? MSG_LOCK_GRANT : MSG_LOCK_RELEASED, l, l->recall_mode, l->recall_fence);
    return true;
}

/* Asks the master; and tells the rank that seems to hold the token, if the way by the master is longer. */
static void request(struct lock_service *s, struct lock *l, struct lock_actions *out)
{
    unsigned master = lock_master_rank(s, l->name);
    l->asked = s->waiter[l->head - 1].mode;
    bool third = master != s->config.self && master != l->hint_rank;
    l->hinted = l->asked == LOCK_EXCLUSIVE && third ? l->hint_fence : 0;
    lock_send(s, out, master, MSG_LOCK_REQUEST, l, l->asked, l->hinted);
    if (l->hinted) {
        lock_send(s, out, l->hint_rank, MSG_LOCK_HINT, l, LOCK_EXCLUSIVE, l->hinted);
    }
}

/* Grants to local waiters in order, hands the token on when its time has come, asks for what is missing. */
static void pump(struct lock_service *s, struct lock *l, struct lock_actions *out)
{
    bool leased = lock_service_valid(s, s->now);
    while (l->head && leased) {
        enum lock_mode mode = s->waiter[l->head - 1].mode;
        if (l->token < mode || (l->recalled && !l->budget) || !compatible(l, mode)) {
            break;
        }
        l->budget -= l->recalled;
        grant_head(s, l, out);
    }
    if (l->recalled) {
        bool stuck = l->head && l->token < s->waiter[l->head - 1].mode;
        if (!l->head || !l->budget || stuck || !leased) {
            hand_off(s, l, out);
        }
    }
    if (l->head && !l->asked && !l->recalled && l->token < s->waiter[l->head - 1].mode) {
        request(s, l, out);
    }
}

static void drain_loop(struct lock_service *s, struct lock_actions *out);

bool lock_service_try(struct lock_service *s, uint64_t now, unsigned lock, enum lock_mode mode,
                      struct lock_fence *fence)
{
    struct lock *l = &s->lock[lock];
    if (l->token < mode || l->head || l->recalled || !compatible(l, mode) || now >= s->lease_until || s->isolated) {
        return false;
    }
    l->stats.cached++;
    *fence = hold(l, mode);
    return true;
}

void lock_service_acquire(struct lock_service *s, uint64_t now, unsigned lock, enum lock_mode mode, uint64_t cookie,
                          struct lock_actions *out)
{
    assert(lock < s->num_locks && (mode == LOCK_SHARED || mode == LOCK_EXCLUSIVE));
    s->now = now;
    if (s->isolated) {
        struct lock_action *a = emit(out, LOCK_FAILED);
        a->lock = (uint16_t)lock;
        a->cookie = cookie;
        return;
    }
    struct lock *l = &s->lock[lock];
    uint16_t index = s->free_waiter;
    assert(index);
    struct lock_waiter *w = &s->waiter[index - 1];
    s->free_waiter = w->next;
    *w = (struct lock_waiter){.cookie = cookie, .start = now, .mode = (uint8_t)mode};
    if (l->tail) {
        s->waiter[l->tail - 1].next = index;
    } else {
        l->head = index;
    }
    l->tail = index;
    l->stats.waits++;
    pump(s, l, out);
    drain_loop(s, out);
}

void lock_service_release(struct lock_service *s, uint64_t now, unsigned lock, enum lock_mode mode,
                          struct lock_actions *out)
{
    s->now = now;
    struct lock *l = &s->lock[lock];
    if (mode == LOCK_EXCLUSIVE) {
        assert(l->exclusive_holder);
        l->exclusive_holder = false;
    } else {
        assert(l->shared_holders);
        l->shared_holders--;
    }
    if (!s->isolated) {
        pump(s, l, out);
        drain_loop(s, out);
    }
}

static void forget_hints(struct lock *l)
{
    l->hint_fence = l->hinted = 0;
    l->offered = l->incoming_early = false;
    l->given_to = 0;
}

static unsigned released(const struct lock *l, bool early_counts)
{
    return l->acks_got + (early_counts && l->offered);
}

/* The token is here when the grant and every RELEASED are. */
static void settle_incoming(struct lock_service *s, struct lock *l, struct lock_actions *out)
{
    if (l->incoming == LOCK_NONE || released(l, l->incoming_early) != l->acks) {
        return;
    }
    l->token = l->incoming;
    l->fence = l->incoming_fence;
    l->local = 0;
    l->incoming = LOCK_NONE;
    l->acks = l->acks_got = 0;
    l->asked = LOCK_NONE;
    forget_hints(l);
    lock_send(s, out, lock_master_rank(s, l->name), MSG_LOCK_OWNED, l, l->token, l->fence);
    pump(s, l, out);
}

static const char *on_grant(struct lock_service *s, struct lock *l, const struct msg_lock *m, struct lock_actions *out)
{
    if (l->asked != m->mode || l->incoming != LOCK_NONE || m->acks < released(l, m->early)) {
        return "LOCK_GRANT that nobody asked for";
    }
    if (m->fence <= l->fence) {
        return "LOCK_GRANT with a fence that does not grow";
    }
    l->incoming = m->mode;
    l->incoming_fence = m->fence;
    l->acks = m->acks;
    l->incoming_early = m->early;
    settle_incoming(s, l, out);
    return NULL;
}

static const char *on_released(struct lock_service *s, struct lock *l, const struct msg_lock *m,
                               struct lock_actions *out)
{
    if (m->early) {
        /* It counts if the master finds that very token there. Of an older request: nobody waits for it any more. */
        l->offered |= l->hinted && l->hinted == m->fence;
        settle_incoming(s, l, out);
        return NULL;
    }
    if (l->asked != LOCK_EXCLUSIVE || released(l, l->incoming_early) >= (l->incoming ? l->acks : s->config.ranks)) {
        return "LOCK_RELEASED that nobody waits for";
    }
    l->acks_got++;
    settle_incoming(s, l, out);
    return NULL;
}

static const char *on_recall(struct lock_service *s, struct lock *l, unsigned src, const struct msg_lock *m,
                             struct lock_actions *out)
{
    if (src != lock_master_rank(s, l->name)) {
        return "LOCK_RECALL from a rank that is not the lock's master";
    }
    if (m->fence < l->fence) {
        return NULL; /* that token left early, and a later one came here by a quicker way than this */
    }
    if (l->given_to) {
        bool agreed = m->early && m->to == l->given_to - 1;
        l->given_to = 0;
        if (agreed) {
            l->stats.early++;
            note_hand_off(l, m->to, m->fence);
            return NULL;
        }
        l->token = LOCK_EXCLUSIVE; /* another was first: what was released early does not count */
    }
    bool pointless = m->mode == LOCK_SHARED && l->token != LOCK_EXCLUSIVE;
    if (l->token == LOCK_NONE || (l->recalled && !l->recall_hinted) || pointless || m->to == s->config.self) {
        return "LOCK_RECALL of a token this rank does not have";
    }
    if (!l->recalled) {
        l->budget = LOCK_BUDGET;
    }
    l->recalled = true;
    l->recall_hinted = false;
    l->recall_release = m->early;
    l->recall_mode = m->mode;
    l->recall_to = m->to;
    l->recall_fence = m->fence;
    pump(s, l, out);
    return NULL;
}

/* A request that names the token here is on its way to the master: the token will be recalled, for that rank or one
 * before it. */
static const char *on_hint(struct lock_service *s, struct lock *l, unsigned src, const struct msg_lock *m,
                           struct lock_actions *out)
{
    if (l->token == LOCK_EXCLUSIVE && l->fence == m->fence && !l->recalled) {
        l->recalled = l->recall_hinted = true;
        l->recall_mode = LOCK_EXCLUSIVE;
        l->recall_to = (uint16_t)src;
        l->budget = LOCK_BUDGET;
        pump(s, l, out);
    }
    return NULL;
}

static const char *deliver(struct lock_service *s, const struct lock_message *message, struct lock_actions *out)
{
    const struct msg_lock *m = &message->body;
    unsigned src = message->header.src, type = message->header.type;
    if (type == MSG_LOCK_REPORT_END) {
        lock_master_report_end(s, src, m, out);
        return NULL;
    }
    int index = lock_service_open(s, m->name);
    if (index < 0) {
        return "lock message for more locks than there may be";
    }
    struct lock *l = &s->lock[index];
    switch (type) {
    case MSG_LOCK_REQUEST:
        return lock_master_request(s, l, src, m, out);
    case MSG_LOCK_HINT:
        return on_hint(s, l, src, m, out);
    case MSG_LOCK_RECALL:
        return on_recall(s, l, src, m, out);
    case MSG_LOCK_GRANT:
        return on_grant(s, l, m, out);
    case MSG_LOCK_RELEASED:
        return on_released(s, l, m, out);
    case MSG_LOCK_OWNED:
        return lock_master_owned(s, l, src, m, out);
    case MSG_LOCK_REPORT:
        return lock_master_report(s, l, src, m, out);
    default:
        return "message is not the lock service's";
    }
}

static void drain_loop(struct lock_service *s, struct lock_actions *out)
{
    while (s->loop_head != s->loop_tail) {
        struct lock_message m = s->loop[s->loop_head++ % LOOP_LOCKS];
        /* What this rank said to itself before it learned of a death counts no more than what others said. */
        if (m.body.dead == s->dead) {
            const char *wrong = deliver(s, &m, out);
            assert(!wrong);
        }
    }
}

const char *lock_service_message(struct lock_service *s, uint64_t now, const struct lock_message *message,
                                 struct lock_actions *out)
{
    s->now = now;
    unsigned src = message->header.src;
    if (s->isolated || (s->dead & lock_rank_bit(src))) {
        return NULL;
    }
    if (message->body.dead & ~s->dead) {
        lock_service_dead(s, now, message->body.dead, out);
    }
    /* The sender has not learned of a death yet: it will report what it holds when it does. */
    if (s->isolated || message->body.dead != s->dead) {
        return NULL;
    }
    const char *wrong = deliver(s, message, out);
    drain_loop(s, out);
    return wrong;
}

/* ---- leases and deaths ---- */

bool lock_service_valid(const struct lock_service *s, uint64_t now)
{
    return !s->isolated && now < s->lease_until;
}

/*
 * The lease lasts as long as the peer that was heard least must still count this rank among the living. After a death
 * it is not prolonged before every peer left has echoed a beat that told of the death: one that counts this rank among
 * the dead instead never will, so leaving out a silent peer cannot by itself win a lease back.
 */
static void renew_lease(struct lock_service *s)
{
    uint64_t until = UINT64_MAX;
    for (unsigned r = 0; r < s->config.ranks; r++) {
        if (r != s->config.self && !(s->dead & lock_rank_bit(r))) {
            if (s->dead && s->echoed[r] <= s->epoch_start) {
                return;
            }
            uint64_t end = s->echoed[r] + s->config.lease_ns;
            until = end < until ? end : until;
        }
    }
    s->lease_until = until;
}

void lock_service_heard(struct lock_service *s, uint64_t now, unsigned peer)
{
    if (!(s->dead & lock_rank_bit(peer))) {
        s->heard[peer] = now;
    }
}

void lock_service_echoed(struct lock_service *s, uint64_t now, unsigned peer, uint64_t sent, struct lock_actions *out)
{
    s->now = now;
    if (s->isolated || (s->dead & lock_rank_bit(peer)) || sent <= s->echoed[peer] || sent > now) {
        return;
    }
    bool was_valid = now < s->lease_until;
    s->echoed[peer] = sent;
    renew_lease(s);
    if (!was_valid && now < s->lease_until) {
        for (unsigned i = 0; i < s->num_locks; i++) {
            pump(s, &s->lock[i], out);
        }
        drain_loop(s, out);
    }
}

static void isolate(struct lock_service *s, struct lock_actions *out)
{
    s->isolated = true;
    emit(out, LOCK_ISOLATED);
    for (unsigned i = 0; i < s->num_locks; i++) {
        struct lock *l = &s->lock[i];
        l->token = LOCK_NONE;
        l->recalled = false;
        while (l->head) {
            struct lock_action *a = emit(out, LOCK_FAILED);
            a->lock = (uint16_t)i;
            a->cookie = s->waiter[l->head - 1].cookie;
            pop_waiter(s, l);
        }
    }
}

/* More than half of the ranks, or half with rank 0 among them. */
static bool has_majority(const struct lock_service *s)
{
    unsigned alive = s->config.ranks - (unsigned)__builtin_popcountll(s->dead);
    return alive * 2 > s->config.ranks || (alive * 2 == s->config.ranks && !(s->dead & 1));
}

/* Tells the masters of the new epoch what this rank holds and waits for. Transfers under way are void: a grant of the
 * old epoch is refused from now on, so a token on its way is nobody's and the master makes a new one. So is one that
 * was released early. */
static void report(struct lock_service *s, struct lock_actions *out)
{
    unsigned sent[WEFT_MAX_RANKS] = {0};
    for (unsigned i = 0; i < s->num_locks; i++) {
        struct lock *l = &s->lock[i];
        l->recalled = l->recall_hinted = false;
        l->incoming = LOCK_NONE;
        l->acks = l->acks_got = 0;
        forget_hints(l);
        bool needs = l->head && l->token < s->waiter[l->head - 1].mode;
        l->asked = needs ? s->waiter[l->head - 1].mode : LOCK_NONE;
        if (l->token != LOCK_NONE || l->asked != LOCK_NONE) {
            unsigned master = lock_master_rank(s, l->name);
            lock_send(s, out, master, MSG_LOCK_REPORT, l, l->token, l->fence)->wants = l->asked;
            sent[master]++;
        }
    }
    for (unsigned r = 0; r < s->config.ranks; r++) {
        if (!(s->dead & lock_rank_bit(r))) {
            lock_send(s, out, r, MSG_LOCK_REPORT_END, NULL, LOCK_NONE, sent[r]);
        }
    }
}

void lock_service_dead(struct lock_service *s, uint64_t now, uint64_t dead, struct lock_actions *out)
{
    s->now = now;
    uint64_t fresh = dead & ~s->dead;
    if (!fresh || s->isolated) {
        return;
    }
    s->dead |= dead;
    if ((s->dead & lock_rank_bit(s->config.self)) || !has_majority(s)) {
        isolate(s, out);
        return;
    }
    for (uint64_t rest = fresh; rest; rest &= rest - 1) {
        uint64_t over = s->heard[__builtin_ctzll(rest)] + s->config.lease_ns + s->config.margin_ns;
        s->free_at = over > s->free_at ? over : s->free_at;
    }
    s->epoch_start = now;
    renew_lease(s);
    lock_master_forget(s);
    report(s, out);
    for (unsigned i = 0; i < s->num_locks; i++) {
        pump(s, &s->lock[i], out);
    }
    drain_loop(s, out);
}

void lock_service_tick(struct lock_service *s, uint64_t now, struct lock_actions *out)
{
    s->now = now;
    if (!s->isolated) {
        lock_master_tick(s, out);
        drain_loop(s, out);
    }
}

/* ---- frame ---- */

int lock_service_open(struct lock_service *s, const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length >= MSG_LOCK_NAME) {
        return -1;
    }
    for (unsigned i = 0; i < s->num_locks; i++) {
        if (!strcmp(s->lock[i].name, name)) {
            return (int)i;
        }
    }
    if (s->num_locks == LOCKS_MAX) {
        return -1;
    }
    struct lock *l = &s->lock[s->num_locks];
    memcpy(l->name, name, length + 1);
    l->next_fence = (uint64_t)__builtin_popcountll(s->dead) << 48;
    return (int)s->num_locks++;
}

uint64_t lock_service_dead_ranks(const struct lock_service *s)
{
    return s->dead;
}

unsigned lock_service_count(const struct lock_service *s)
{
    return s->num_locks;
}

struct lock_view lock_service_view(const struct lock_service *s, unsigned lock)
{
    const struct lock *l = &s->lock[lock];
    struct lock_view v = {.name = l->name,
                          .master = lock_master_rank(s, l->name),
                          .token = l->token,
                          .shared_holders = l->shared_holders,
                          .exclusive_holder = l->exclusive_holder,
                          .recalled = l->recalled,
                          .master_holders = l->holders,
                          .master_waiters = l->num_asks,
                          .fence = l->fence,
                          .stats = l->stats};
    for (uint16_t i = l->head; i; i = s->waiter[i - 1].next) {
        v.waiters++;
    }
    return v;
}

struct lock_service *lock_service_create(const struct lock_service_config *config, uint64_t now)
{
    assert(config->ranks <= WEFT_MAX_RANKS && config->self < config->ranks);
    struct lock_service *s = calloc(1, sizeof(*s));
    assert(s);
    s->config = *config;
    s->now = now;
    for (unsigned r = 0; r < config->ranks; r++) {
        s->echoed[r] = s->heard[r] = now;
    }
    for (unsigned i = 0; i < LOCK_WAITERS; i++) {
        s->waiter[i].next = (uint16_t)(i + 1 < LOCK_WAITERS ? i + 2 : 0);
    }
    s->free_waiter = 1;
    renew_lease(s);
    return s;
}

void lock_service_destroy(struct lock_service **service)
{
    free(*service);
    *service = NULL;
}
