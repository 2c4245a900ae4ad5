/* One rank's figures as JSON, and what the figures of all ranks add up to. */
#include "weft/cluster_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cluster_state.h"

static const char *const fault_names[DIR_FAULTS] = {"read", "write", "upgrade", "prefetch"};
static const char *const mode_names[] = {"none", "shared", "exclusive"};

static void put(json_t *o, const char *key, uint64_t value)
{
    json_object_set_new(o, key, json_integer((json_int_t)value));
}

static json_t *histogram_json(const struct cluster_histogram *h)
{
    json_t *o = json_object();
    put(o, "count", h->count);
    put(o, "sum_ns", h->sum_ns);
    put(o, "p50_ns", cluster_percentile_ns(h, 50));
    put(o, "p99_ns", cluster_percentile_ns(h, 99));
    return o;
}

/* Pairs of bucket and count: what cluster_report_total() makes the common percentiles from. */
static void put_buckets(json_t *o, const struct cluster_histogram *h)
{
    json_t *buckets = json_array();
    for (unsigned b = 0; b < CLUSTER_BUCKETS; b++) {
        if (h->bucket[b]) {
            json_array_append_new(buckets, json_pack("[i, I]", (int)b, (json_int_t)h->bucket[b]));
        }
    }
    json_object_set_new(o, "buckets", buckets);
}

static void buckets_add(struct cluster_histogram *h, const json_t *o)
{
    json_t *pair, *buckets = json_object_get(o, "buckets");
    size_t i;
    h->count += (uint64_t)json_integer_value(json_object_get(o, "count"));
    h->sum_ns += (uint64_t)json_integer_value(json_object_get(o, "sum_ns"));
    json_array_foreach(buckets, i, pair)
    {
        json_int_t b = json_integer_value(json_array_get(pair, 0));
        if (b >= 0 && b < CLUSTER_BUCKETS) {
            h->bucket[b] += (uint64_t)json_integer_value(json_array_get(pair, 1));
        }
    }
}

static json_t *faults_json(const struct cluster_stats *s)
{
    json_t *faults = json_object();
    for (unsigned f = 0; f < DIR_FAULTS; f++) {
        struct cluster_histogram both = s->fault[f][0];
        cluster_histogram_merge(&both, &s->fault[f][1]);
        json_t *o = histogram_json(&both);
        json_object_set_new(o, "home", histogram_json(&s->fault[f][0]));
        json_object_set_new(o, "third_rank", histogram_json(&s->fault[f][1]));
        put_buckets(o, &both);
        json_object_set_new(faults, fault_names[f], o);
    }
    return faults;
}

static json_t *messages_json(const uint64_t *counts, uint64_t *sum)
{
    json_t *o = json_object();
    for (unsigned t = MSG_NONE + 1; t < MSG_TYPES; t++) {
        *sum += counts[t];
        if (counts[t]) {
            put(o, message_name((enum msg_type)t), counts[t]);
        }
    }
    return o;
}

static json_t *peer_json(const struct cluster_peer_stats *p, unsigned rank)
{
    json_t *o = json_object(), *faults = json_object();
    uint64_t sent = 0, received = 0;
    put(o, "rank", rank);
    put(o, "pages_sent", p->pages_sent);
    put(o, "zero_pages_sent", p->zero_pages_sent);
    put(o, "pages_received", p->pages_received);
    put(o, "bytes_sent", p->bytes_sent);
    put(o, "bytes_received", p->bytes_received);
    put(o, "beat_rtt_ns", p->beat_rtt_ns);
    json_object_set_new(o, "sent", messages_json(p->messages_sent, &sent));
    json_object_set_new(o, "received", messages_json(p->messages_received, &received));
    put(o, "messages_sent", sent);
    put(o, "messages_received", received);
    for (unsigned f = 0; f < DIR_FAULTS; f++) {
        if (p->fault[f].count) {
            json_object_set_new(faults, fault_names[f], histogram_json(&p->fault[f]));
        }
    }
    json_object_set_new(o, "faults", faults);
    return o;
}

static json_t *locks_json(struct cluster *c)
{
    json_t *locks = json_array();
    struct lock_view v;
    for (unsigned i = 0; cluster_lock_view(c, i, &v); i++) {
        struct cluster_histogram waits;
        cluster_lock_waits(c, i, &waits);
        const struct lock_stats *s = &v.stats;
        json_t *o = json_pack("{s:s, s:i, s:s, s:b}", "name", v.name, "master", (int)v.master, "token",
                              mode_names[v.token], "recalled", (int)v.recalled);
        put(o, "holders", v.shared_holders + (v.exclusive_holder ? 1 : 0));
        put(o, "waiters", v.waiters);
        put(o, "waiting_ranks", v.master_waiters);
        put(o, "fence", v.fence);
        put(o, "acquires", s->acquires);
        put(o, "cached", s->cached);
        put(o, "handoffs", s->handoffs);
        put(o, "early_handoffs", s->early);
        put(o, "recalls", s->recalls);
        json_object_set_new(o, "waits", histogram_json(&waits));
        put(o, "wait_max_ns", s->wait_max_ns);
        json_array_append_new(locks, o);
    }
    return locks;
}

/* One list of both kinds: a page that bounced until it was served is in both tables. */
static json_t *hot_json(const struct cluster_stats *s)
{
    json_t *hot = json_array();
    for (unsigned i = 0; i < CLUSTER_HOT && s->moved[i].transfers; i++) {
        json_array_append_new(hot, json_pack("{s:I, s:I, s:I}", "page", (json_int_t)s->moved[i].page, "transfers",
                                             (json_int_t)s->moved[i].transfers, "served", (json_int_t)0));
    }
    for (unsigned i = 0; i < CLUSTER_HOT && s->served[i].transfers; i++) {
        json_t *o, *found = NULL;
        size_t k;
        json_array_foreach(hot, k, o)
        {
            found = json_integer_value(json_object_get(o, "page")) == (json_int_t)s->served[i].page ? o : found;
        }
        if (!found) {
            found = json_pack("{s:I, s:i}", "page", (json_int_t)s->served[i].page, "transfers", 0);
            json_array_append_new(hot, found);
        }
        put(found, "served", s->served[i].transfers);
    }
    return hot;
}

static void put_directory(json_t *o, const struct directory_stats *d)
{
    put(o, "coalesced", d->coalesced);
    put(o, "grants_with_bytes", d->grants_data);
    put(o, "grants_without_bytes", d->grants_same);
    put(o, "invalidations", d->invalidations);
    put(o, "held", d->held);
    put(o, "served_terms", d->hot_begun);
    put(o, "accesses_served", d->ops_served);
    put(o, "accesses_refused", d->ops_refused);
    put(o, "prefetch_asked", d->prefetch_asked);
    put(o, "prefetch_refused", d->prefetch_refused);
    put(o, "prefetch_stored", d->prefetch_stored);
    put(o, "prefetch_hits", d->prefetch_hits);
}

json_t *cluster_report_json(struct cluster *c)
{
    struct cluster_stats *s = malloc(sizeof(*s)); /* too large for a small stack */
    if (!s) {
        return NULL;
    }
    cluster_stats_get(c, s);
    json_t *o = json_object(), *peers = json_array(), *remote = histogram_json(&s->remote_access);
    put(o, "rank", c->self);
    put(o, "ranks", c->ranks);
    json_object_set_new(o, "faults", faults_json(s));
    put_buckets(remote, &s->remote_access);
    json_object_set_new(o, "remote_access", remote);
    put_directory(o, &s->directory);
    put(o, "bad_messages", s->bad_messages);
    for (unsigned r = 0; r < c->ranks; r++) {
        if (r != c->self) {
            json_array_append_new(peers, peer_json(&s->peer[r], r));
        }
    }
    json_object_set_new(o, "peers", peers);
    json_object_set_new(o, "hot_pages", hot_json(s));
    json_object_set_new(o, "locks", locks_json(c));
    uint64_t residual;
    int64_t offset = cluster_clock_offset_ns(c, &residual);
    json_object_set_new(o, "clock_offset_ns", json_integer((json_int_t)offset));
    json_object_set_new(o, "clock_residual_ns",
                        residual == UINT64_MAX ? json_null() : json_integer((json_int_t)residual));
    put(o, "clock_raised", s->clock_raised);
    put(o, "clock_raised_max_ns", s->clock_raised_max_ns);
    free(s);
    return o;
}

/* ---- all ranks ---- */

static json_t *total_histogram(json_t *ranks, const char *group, const char *key)
{
    struct cluster_histogram all = {0};
    json_t *rank;
    size_t i;
    json_array_foreach(ranks, i, rank)
    {
        json_t *o = json_object_get(group ? json_object_get(rank, group) : rank, key);
        buckets_add(&all, o);
        json_object_del(o, "buckets");
    }
    return histogram_json(&all);
}

/* Numbers of the ranks are added; of the peers, all that are plain numbers too. */
static void add_number(json_t *total, const char *key, const json_t *value)
{
    if (json_is_integer(value)) {
        put(total, key, (uint64_t)(json_integer_value(json_object_get(total, key)) + json_integer_value(value)));
    }
}

json_t *cluster_report_total(json_t *ranks)
{
    static const char *const not_sums[] = {
        "rank", "ranks", "pid", "clock_offset_ns", "clock_residual_ns", "clock_raised_max_ns", "time_dilation", NULL};
    static const char *const of_peers[] = {"pages_sent", "zero_pages_sent", "bytes_sent", "messages_sent", NULL};
    json_t *total = json_object(), *faults = json_object(), *rank, *peer, *value;
    const char *key;
    size_t i, k;
    json_array_foreach(ranks, i, rank)
    {
        json_object_foreach(rank, key, value)
        {
            bool sum = true;
            for (unsigned n = 0; not_sums[n]; n++) {
                sum = sum && strcmp(key, not_sums[n]) != 0;
            }
            if (sum) {
                add_number(total, key, value);
            }
        }
        json_array_foreach(json_object_get(rank, "peers"), k, peer)
        {
            for (unsigned n = 0; of_peers[n]; n++) {
                add_number(total, of_peers[n], json_object_get(peer, of_peers[n]));
            }
        }
    }
    for (unsigned f = 0; f < DIR_FAULTS; f++) {
        json_object_set_new(faults, fault_names[f], total_histogram(ranks, "faults", fault_names[f]));
    }
    json_object_set_new(total, "faults", faults);
    json_object_set_new(total, "remote_access", total_histogram(ranks, NULL, "remote_access"));
    return total;
}
