/* The part of the closing report that tells of the other ranks. */
#include "report_ranks.h"

#include <inttypes.h>

#include "ranks.h"
#include "weft/cluster.h"

static const char *const fault_names[DIR_FAULTS] = {"read", "write", "upgrade", "prefetch"};

/* Both by two and by three hops. */
static struct cluster_histogram both(const struct cluster_stats *s, unsigned fault)
{
    struct cluster_histogram h = s->fault[fault][0];
    const struct cluster_histogram *third = &s->fault[fault][1];
    h.count += third->count;
    h.sum_ns += third->sum_ns;
    for (unsigned b = 0; b < CLUSTER_BUCKETS; b++) {
        h.bucket[b] += third->bucket[b];
    }
    return h;
}

static double us(uint64_t ns)
{
    return (double)ns / 1e3;
}

static void print_faults(const struct cluster_stats *s, FILE *f)
{
    fprintf(f, "%-14s %10s %10s %10s %10s\n", "page faults", "count", "p50 us", "p99 us", "sum s");
    for (unsigned i = 0; i < DIR_FAULTS; i++) {
        struct cluster_histogram h = both(s, i);
        fprintf(f, "%-14s %10" PRIu64 " %10.1f %10.1f %10.3f\n", fault_names[i], h.count,
                us(cluster_percentile_ns(&h, 50)), us(cluster_percentile_ns(&h, 99)), (double)h.sum_ns / 1e9);
    }
    const struct cluster_histogram *r = &s->remote_access;
    fprintf(f, "%-14s %10" PRIu64 " %10.1f %10.1f %10.3f\n", "remote access", r->count,
            us(cluster_percentile_ns(r, 50)), us(cluster_percentile_ns(r, 99)), (double)r->sum_ns / 1e9);
}

static void print_peers(const struct machine *m, const struct cluster_stats *s, FILE *f)
{
    fprintf(f, "%-6s %12s %12s %12s %12s %14s %14s %10s\n", "rank", "pages sent", "zero pages", "pages got", "messages",
            "bytes sent", "bytes got", "beat us");
    for (unsigned r = 0; r < m->cfg->ranks; r++) {
        const struct cluster_peer_stats *p = &s->peer[r];
        uint64_t messages = 0;
        for (unsigned t = 0; t < MSG_TYPES; t++) {
            messages += p->messages_sent[t];
        }
        if (r != ranks_self(m)) {
            fprintf(f,
                    "%-6u %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %14" PRIu64 " %14" PRIu64 " %10.1f\n",
                    r, p->pages_sent, p->zero_pages_sent, p->pages_received, messages, p->bytes_sent, p->bytes_received,
                    us(p->beat_rtt_ns));
        }
    }
}

void report_ranks_print(struct machine *m, FILE *f)
{
    static struct cluster_stats s; /* large; the main thread writes one report */
    struct ranks_figures g;
    if (!ranks_figures(m, &g, &s)) {
        return;
    }
    const struct directory_stats *d = &s.directory;
    fprintf(f, "rank %u of %u\n", ranks_self(m), m->cfg->ranks);
    print_faults(&s, f);
    fprintf(f,
            "coalesced %" PRIu64 ", invalidations %" PRIu64 ", held back %" PRIu64 ", served at home %" PRIu64
            " (%" PRIu64 " accesses), prefetched %" PRIu64 " of %" PRIu64 "\n",
            d->coalesced, d->invalidations, d->held, d->hot_begun, d->ops_served, d->prefetch_stored,
            d->prefetch_asked);
    print_peers(m, &s, f);
    fprintf(f,
            "device accesses on rank 0: %" PRIu64 " (%.1f us each); interrupts sent %" PRIu64 ", remote fences %" PRIu64
            ", asks served %" PRIu64 "; clock known to %.1f us\n",
            g.mmio_sent, g.mmio_sent ? us(g.mmio_ns / g.mmio_sent) : 0.0, g.irqs_sent, g.fences_sent, g.asks_served,
            us(g.clock_residual_ns));
    for (unsigned i = 0; i < g.num_hot; i++) {
        fprintf(f, "%s0x%" PRIx64 " moved %" PRIu64 " times%s",
                i ? ", " : "hot pages: ", m->ram.base + (g.hot[i].page << GUEST_PAGE_BITS), g.hot[i].transfers,
                i + 1 < g.num_hot ? "" : "\n");
    }
}

json_t *report_ranks_json(struct machine *m)
{
    static struct cluster_stats s;
    struct ranks_figures g;
    if (!ranks_figures(m, &g, &s)) {
        return json_null();
    }
    json_t *faults = json_object(), *hot = json_array(), *peers = json_array();
    for (unsigned i = 0; i < DIR_FAULTS; i++) {
        struct cluster_histogram h = both(&s, i);
        json_object_set_new(faults, fault_names[i],
                            json_pack("{s:I s:I s:I s:I}", "count", (json_int_t)h.count, "sum_ns", (json_int_t)h.sum_ns,
                                      "p50_ns", (json_int_t)cluster_percentile_ns(&h, 50), "p99_ns",
                                      (json_int_t)cluster_percentile_ns(&h, 99)));
    }
    for (unsigned r = 0; r < m->cfg->ranks; r++) {
        const struct cluster_peer_stats *p = &s.peer[r];
        json_array_append_new(peers,
                              json_pack("{s:i s:I s:I s:I s:I s:I}", "rank", (int)r, "pages_sent",
                                        (json_int_t)p->pages_sent, "zero_pages_sent", (json_int_t)p->zero_pages_sent,
                                        "pages_received", (json_int_t)p->pages_received, "bytes_sent",
                                        (json_int_t)p->bytes_sent, "bytes_received", (json_int_t)p->bytes_received));
    }
    for (unsigned i = 0; i < g.num_hot; i++) {
        json_array_append_new(hot, json_pack("{s:I s:I}", "address",
                                             (json_int_t)(m->ram.base + (g.hot[i].page << GUEST_PAGE_BITS)),
                                             "transfers", (json_int_t)g.hot[i].transfers));
    }
    json_t *o = json_pack("{s:i s:i s:I s:I s:I s:I s:I s:I s:I}", "rank", (int)ranks_self(m), "ranks",
                          (int)m->cfg->ranks, "invalidations", (json_int_t)s.directory.invalidations, "device_accesses",
                          (json_int_t)g.mmio_sent, "device_access_ns", (json_int_t)g.mmio_ns, "interrupts_sent",
                          (json_int_t)g.irqs_sent, "remote_fences", (json_int_t)g.fences_sent, "asks_served",
                          (json_int_t)g.asks_served, "clock_residual_ns", (json_int_t)g.clock_residual_ns);
    json_object_set_new(o, "faults", faults);
    json_object_set_new(o, "peers", peers);
    json_object_set_new(o, "hot_pages", hot);
    return o;
}
