#include "weft/cluster_report.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cluster_state.h"

static const char *const fault_names[DIR_FAULTS] = {"read", "write", "upgrade", "prefetch"};
static const char *const mode_names[] = {"none", "shared", "exclusive"};

/* The statistics are too large for a small stack. */
static struct cluster_stats *stats_copy(struct cluster *c)
{
    struct cluster_stats *s = malloc(sizeof(*s));
    if (s) {
        cluster_stats_get(c, s);
    }
    return s;
}

static double us(uint64_t ns)
{
    return (double)ns / 1000;
}

static uint64_t total(const uint64_t *counts)
{
    uint64_t n = 0;
    for (unsigned t = 0; t < MSG_TYPES; t++) {
        n += counts[t];
    }
    return n;
}

static void print_faults(const struct cluster_stats *s, FILE *to)
{
    fprintf(to, "%-22s %10s %10s %10s\n", "fault", "count", "p50 us", "p99 us");
    for (unsigned f = 0; f < DIR_FAULTS; f++) {
        for (unsigned h = 0; h < 2; h++) {
            const struct cluster_histogram *g = &s->fault[f][h];
            if (g->count) {
                fprintf(to, "%-9s %-12s %10" PRIu64 " %10.1f %10.1f\n", fault_names[f], h ? "third rank" : "home",
                        g->count, us(cluster_percentile_ns(g, 50)), us(cluster_percentile_ns(g, 99)));
            }
        }
    }
    if (s->remote_access.count) {
        fprintf(to, "%-22s %10" PRIu64 " %10.1f %10.1f\n", "remote access", s->remote_access.count,
                us(cluster_percentile_ns(&s->remote_access, 50)), us(cluster_percentile_ns(&s->remote_access, 99)));
    }
}

static void print_directory(const struct directory_stats *d, FILE *to)
{
    fprintf(to, "waited with another thread %" PRIu64 ", grants with bytes %" PRIu64 ", without %" PRIu64 "\n",
            d->coalesced, d->grants_data, d->grants_same);
    fprintf(to, "as home: invalidations %" PRIu64 ", put off by hold time %" PRIu64 "\n", d->invalidations, d->held);
    fprintf(to, "served pages: terms begun %" PRIu64 ", ended %" PRIu64 ", accesses %" PRIu64 ", refused %" PRIu64 "\n",
            d->hot_begun, d->hot_ended, d->ops_served, d->ops_refused);
    fprintf(to, "prefetch: asked %" PRIu64 ", refused %" PRIu64 ", stored %" PRIu64 "\n", d->prefetch_asked,
            d->prefetch_refused, d->prefetch_stored);
}

void cluster_report_coherence(struct cluster *c, FILE *to)
{
    struct cluster_stats *s = stats_copy(c);
    if (!s) {
        return;
    }
    fprintf(to, "rank %u of %u\n", c->self, c->ranks);
    print_faults(s, to);
    print_directory(&s->directory, to);
    fprintf(to, "%-6s %10s %10s %12s %12s %10s %10s %10s %10s\n", "peer", "sent", "received", "bytes out", "bytes in",
            "pages out", "zero out", "pages in", "beat us");
    for (unsigned r = 0; r < c->ranks; r++) {
        const struct cluster_peer_stats *p = &s->peer[r];
        if (r != c->self) {
            fprintf(to,
                    "%-6u %10" PRIu64 " %10" PRIu64 " %12" PRIu64 " %12" PRIu64 " %10" PRIu64 " %10" PRIu64
                    " %10" PRIu64 " %10.1f\n",
                    r, total(p->messages_sent), total(p->messages_received), p->bytes_sent, p->bytes_received,
                    p->pages_sent, p->zero_pages_sent, p->pages_received, us(p->beat_rtt_ns));
        }
    }
    uint64_t residual;
    cluster_time_ns(c, &residual);
    if (c->self) {
        fprintf(to, "clock: rank 0's, known to %.1f us\n", residual == UINT64_MAX ? -1.0 : us(residual));
    }
    free(s);
}

void cluster_report_locks(struct cluster *c, FILE *to)
{
    struct lock_view v;
    fprintf(to, "%-20s %6s %-10s %8s %8s %10s %10s %10s %10s %12s\n", "lock", "master", "token", "holders", "waiters",
            "acquires", "cached", "hand-offs", "wait us", "worst us");
    for (unsigned i = 0; cluster_lock_view(c, i, &v); i++) {
        const struct lock_stats *s = &v.stats;
        fprintf(to, "%-20s %6u %-10s %8u %8u %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10.1f %12.1f\n", v.name,
                v.master, mode_names[v.token], v.shared_holders + v.exclusive_holder, v.waiters + v.master_waiters,
                s->acquires, s->cached, s->handoffs, s->waits ? us(s->wait_ns / s->waits) : 0, us(s->wait_max_ns));
    }
}

static json_t *histogram_json(const struct cluster_histogram *h)
{
    return json_pack("{s:I, s:f, s:f, s:f}", "count", (json_int_t)h->count, "mean_us",
                     h->count ? us(h->sum_ns / h->count) : 0.0, "p50_us", us(cluster_percentile_ns(h, 50)), "p99_us",
                     us(cluster_percentile_ns(h, 99)));
}

static json_t *peer_json(const struct cluster_peer_stats *p, unsigned rank)
{
    json_t *sent = json_object(), *received = json_object();
    for (unsigned t = MSG_NONE + 1; t < MSG_TYPES; t++) {
        if (p->messages_sent[t]) {
            json_object_set_new(sent, message_name((enum msg_type)t), json_integer((json_int_t)p->messages_sent[t]));
        }
        if (p->messages_received[t]) {
            json_object_set_new(received, message_name((enum msg_type)t),
                                json_integer((json_int_t)p->messages_received[t]));
        }
    }
    return json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:f, s:o, s:o}", "rank", (int)rank, "bytes_sent",
                     (json_int_t)p->bytes_sent, "bytes_received", (json_int_t)p->bytes_received, "pages_sent",
                     (json_int_t)p->pages_sent, "zero_pages_sent", (json_int_t)p->zero_pages_sent, "pages_received",
                     (json_int_t)p->pages_received, "beat_rtt_us", us(p->beat_rtt_ns), "sent", sent, "received",
                     received);
}

static json_t *locks_json(struct cluster *c)
{
    json_t *locks = json_array();
    struct lock_view v;
    for (unsigned i = 0; cluster_lock_view(c, i, &v); i++) {
        const struct lock_stats *s = &v.stats;
        json_array_append_new(locks,
                              json_pack("{s:s, s:i, s:s, s:I, s:I, s:I, s:I, s:f, s:f}", "name", v.name, "master",
                                        (int)v.master, "token", mode_names[v.token], "acquires",
                                        (json_int_t)s->acquires, "cached", (json_int_t)s->cached, "handoffs",
                                        (json_int_t)s->handoffs, "recalls", (json_int_t)s->recalls, "wait_mean_us",
                                        s->waits ? us(s->wait_ns / s->waits) : 0.0, "wait_max_us", us(s->wait_max_ns)));
    }
    return locks;
}

json_t *cluster_report_json(struct cluster *c)
{
    struct cluster_stats *s = stats_copy(c);
    if (!s) {
        return NULL;
    }
    json_t *faults = json_object(), *peers = json_array();
    for (unsigned f = 0; f < DIR_FAULTS; f++) {
        if (s->fault[f][0].count + s->fault[f][1].count) {
            json_object_set_new(faults, fault_names[f],
                                json_pack("{s:o, s:o}", "home", histogram_json(&s->fault[f][0]), "third_rank",
                                          histogram_json(&s->fault[f][1])));
        }
    }
    for (unsigned r = 0; r < c->ranks; r++) {
        if (r != c->self) {
            json_array_append_new(peers, peer_json(&s->peer[r], r));
        }
    }
    const struct directory_stats *d = &s->directory;
    json_t *all = json_pack(
        "{s:i, s:i, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "rank", (int)c->self, "ranks",
        (int)c->ranks, "faults", faults, "remote_access", histogram_json(&s->remote_access), "coalesced",
        (json_int_t)d->coalesced, "grants_with_bytes", (json_int_t)d->grants_data, "grants_without_bytes",
        (json_int_t)d->grants_same, "invalidations", (json_int_t)d->invalidations, "held", (json_int_t)d->held,
        "accesses_served", (json_int_t)d->ops_served, "prefetch_asked", (json_int_t)d->prefetch_asked,
        "prefetch_stored", (json_int_t)d->prefetch_stored, "peers", peers, "locks", locks_json(c));
    free(s);
    return all;
}
