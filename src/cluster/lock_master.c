/* The master's side of the lock service: who waits, who gets the token next, and what is known after a rank has died.
 */
#include "lock_state.h"

#include <string.h>

unsigned lock_master_rank(const struct lock_service *s, const char *name)
{
    /* Rendezvous hashing: a death moves only the locks of the dead rank. */
    uint64_t best = 0;
    unsigned rank = s->config.self;
    for (unsigned r = 0; r < s->config.ranks; r++) {
        if (s->dead & lock_rank_bit(r)) {
            continue;
        }
        uint64_t h = 0xcbf29ce484222325ull ^ (r + 1) * 0x9e3779b97f4a7c15ull;
        for (const char *p = name; *p; p++) {
            h = (h ^ (uint8_t)*p) * 0x100000001b3ull;
        }
        h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9ull;
        h ^= h >> 32;
        if (h >= best) {
            best = h;
            rank = r;
        }
    }
    return rank;
}

/* True once nothing of the time before the last death can be held by anyone unknown. */
static bool may_grant(const struct lock_service *s)
{
    if (s->isolated || s->free_at) {
        return false;
    }
    for (unsigned r = 0; s->dead && r < s->config.ranks; r++) {
        bool alive = !(s->dead & lock_rank_bit(r));
        if (alive && (!s->expected[r] || s->reports[r] != s->expected[r] - 1)) {
            return false;
        }
    }
    return true;
}

/* Starts the transfer to the first that waits. */
static void pump(struct lock_service *s, struct lock *l, struct lock_actions *out)
{
    if (l->moving || !l->num_asks || !may_grant(s)) {
        return;
    }
    struct lock_ask ask = l->asks[0];
    l->num_asks--;
    memmove(l->asks, l->asks + 1, l->num_asks * sizeof(ask));
    l->moving = true;
    l->moving_to = ask.rank;
    l->moving_mode = ask.mode;
    uint64_t fence = ++l->next_fence;
    uint64_t others = l->holders & ~lock_rank_bit(ask.rank);
    bool recall = others && (ask.mode == LOCK_EXCLUSIVE || l->exclusive);
    /* The rank has asked the holder of this very token, too, which may have released it already. */
    bool early = recall && l->exclusive && ask.hint == l->tenure;
    unsigned recalled = 0;
    for (uint64_t rest = recall ? others : 0; rest; rest &= rest - 1) {
        struct msg_lock *m = lock_send(s, out, (unsigned)__builtin_ctzll(rest), MSG_LOCK_RECALL, l, ask.mode, fence);
        m->to = ask.rank;
        m->early = early;
        l->stats.recalls++;
        recalled++;
    }
    /* The one holder of the exclusive token hands it over itself; else the grant comes from here. */
    if (!(recall && l->exclusive) || early) {
        struct msg_lock *m = lock_send(s, out, ask.rank, MSG_LOCK_GRANT, l, ask.mode, fence);
        m->acks = (uint8_t)recalled;
        m->early = early;
    }
}

static const char *ask(struct lock *l, unsigned src, enum lock_mode mode, uint64_t hint)
{
    for (unsigned i = 0; i < l->num_asks; i++) {
        if (l->asks[i].rank == src) {
            return "LOCK_REQUEST for a lock this rank already waits for";
        }
    }
    l->asks[l->num_asks++] = (struct lock_ask){.hint = hint, .rank = (uint16_t)src, .mode = (uint8_t)mode};
    return NULL;
}

const char *lock_master_request(struct lock_service *s, struct lock *l, unsigned src, const struct msg_lock *m,
                                struct lock_actions *out)
{
    if (lock_master_rank(s, l->name) != s->config.self) {
        return "LOCK_REQUEST reached a rank that is not the lock's master";
    }
    const char *wrong = ask(l, src, m->mode, m->fence);
    if (!wrong) {
        pump(s, l, out);
    }
    return wrong;
}

const char *lock_master_owned(struct lock_service *s, struct lock *l, unsigned src, const struct msg_lock *m,
                              struct lock_actions *out)
{
    if (!l->moving || l->moving_to != src || l->moving_mode != m->mode || l->next_fence != m->fence) {
        return "LOCK_OWNED for a transfer that is not under way";
    }
    if (m->mode == LOCK_EXCLUSIVE) {
        l->holders = lock_rank_bit(src);
        l->tenure = m->fence;
    } else {
        l->holders |= lock_rank_bit(src);
    }
    l->exclusive = m->mode == LOCK_EXCLUSIVE;
    l->moving = false;
    pump(s, l, out);
    return NULL;
}

void lock_master_forget(struct lock_service *s)
{
    memset(s->reports, 0, sizeof(s->reports));
    memset(s->expected, 0, sizeof(s->expected));
    /* The number of deaths leads the fence: a new master need not know what the old one had given out. */
    uint64_t base = (uint64_t)__builtin_popcountll(s->dead) << 48;
    for (unsigned i = 0; i < s->num_locks; i++) {
        struct lock *l = &s->lock[i];
        l->holders = 0;
        l->exclusive = l->moving = false;
        l->tenure = 0;
        l->num_asks = 0;
        l->next_fence = l->next_fence > base ? l->next_fence : base;
    }
}

const char *lock_master_report(struct lock_service *s, struct lock *l, unsigned src, const struct msg_lock *m,
                               struct lock_actions *out)
{
    if (lock_master_rank(s, l->name) != s->config.self) {
        return "LOCK_REPORT reached a rank that is not the lock's master";
    }
    if (m->mode == LOCK_EXCLUSIVE && l->holders) {
        return "LOCK_REPORT of a second holder";
    }
    if (m->mode != LOCK_NONE) {
        l->holders |= lock_rank_bit(src);
        l->exclusive = m->mode == LOCK_EXCLUSIVE;
        l->tenure = m->fence;
        l->next_fence = m->fence > l->next_fence ? m->fence : l->next_fence;
    }
    const char *wrong = m->wants != LOCK_NONE ? ask(l, src, m->wants, 0) : NULL;
    s->reports[src]++;
    lock_master_tick(s, out);
    return wrong;
}

void lock_master_report_end(struct lock_service *s, unsigned src, const struct msg_lock *m, struct lock_actions *out)
{
    s->expected[src] = (uint16_t)(m->fence + 1);
    lock_master_tick(s, out);
}

void lock_master_tick(struct lock_service *s, struct lock_actions *out)
{
    if (s->now >= s->free_at) {
        s->free_at = 0;
    }
    if (!may_grant(s)) {
        return;
    }
    for (unsigned i = 0; i < s->num_locks; i++) {
        pump(s, &s->lock[i], out);
    }
}

uint64_t lock_service_deadline(const struct lock_service *s)
{
    return s->free_at && !s->isolated ? s->free_at : UINT64_MAX;
}
