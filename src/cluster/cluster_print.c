/* The cluster's figures as tables of at most 80 columns. Pure: JSON in, text out. */
#include "weft/cluster_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "weft/text.h"

enum { MANY_RANKS = 8, MOST_ROWS = 24, MOST_HOT = 16, MATRIX_RANKS = 10 };

static const char *const fault_names[DIR_FAULTS] = {"read", "write", "upgrade", "prefetch"};

static uint64_t number(const json_t *o, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(o, key));
    return n > 0 ? (uint64_t)n : 0;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "-";
}

/* ---- page faults ---- */

static void print_fault_row(FILE *to, const char *who, const char *what, const json_t *h)
{
    if (number(h, "count")) {
        fprintf(to, "%-8s %-14s %8s %8s %8s %10.3f", who, what, text_count(number(h, "count")).s,
                text_us(number(h, "p50_ns")).s, text_us(number(h, "p99_ns")).s, (double)number(h, "sum_ns") / 1e9);
        if (json_object_get(h, "home")) {
            fprintf(to, " %8s %8s", text_count(number(json_object_get(h, "home"), "count")).s,
                    text_count(number(json_object_get(h, "third_rank"), "count")).s);
        }
        fputc('\n', to);
    }
}

static void print_faults_of(FILE *to, const char *who, const json_t *rank)
{
    const json_t *faults = json_object_get(rank, "faults");
    for (unsigned f = 0; f < DIR_FAULTS; f++) {
        print_fault_row(to, who, fault_names[f], json_object_get(faults, fault_names[f]));
    }
    print_fault_row(to, who, "remote access", json_object_get(rank, "remote_access"));
}

static void print_faults(const json_t *ranks, const json_t *total, FILE *to)
{
    size_t i;
    json_t *rank;
    fprintf(to, "%-8s %-14s %8s %8s %8s %10s %8s %8s\n", "rank", "page fault", "count", "p50 us", "p99 us", "sum s",
            "by home", "by third");
    json_array_foreach(ranks, i, rank)
    {
        char who[24];
        snprintf(who, sizeof(who), "%" PRIu64, number(rank, "rank"));
        print_faults_of(to, who, rank);
    }
    print_faults_of(to, "all", total);
}

/* ---- pairs ---- */

struct pair {
    unsigned from, to;
    uint64_t weight;
    const json_t *peer;
};

static int heavier(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    return x->weight != y->weight ? (x->weight < y->weight ? 1 : -1) : 0;
}

/* All pairs that did something, the heaviest first where there are many. To free(). */
static struct pair *pairs_collect(const json_t *ranks, uint64_t (*weigh)(const json_t *peer), size_t *n)
{
    size_t i, k, count = json_array_size(ranks);
    json_t *rank, *peer;
    struct pair *pairs = calloc(count * WEFT_MAX_RANKS + 1, sizeof(*pairs));
    *n = 0;
    json_array_foreach(ranks, i, rank)
    {
        json_array_foreach(json_object_get(rank, "peers"), k, peer)
        {
            if (pairs && *n < count * WEFT_MAX_RANKS && weigh(peer)) {
                pairs[(*n)++] = (struct pair){.from = (unsigned)number(rank, "rank"),
                                              .to = (unsigned)number(peer, "rank"),
                                              .weight = weigh(peer),
                                              .peer = peer};
            }
        }
    }
    if (count > MANY_RANKS) {
        qsort(pairs, *n, sizeof(*pairs), heavier);
    }
    return pairs;
}

static uint64_t bytes_weight(const json_t *peer)
{
    return number(peer, "bytes_sent");
}

static uint64_t faults_weight(const json_t *peer)
{
    uint64_t sum = 0;
    for (unsigned f = 0; f < DIR_FAULTS; f++) {
        sum += number(json_object_get(json_object_get(peer, "faults"), fault_names[f]), "count");
    }
    return sum;
}

static void print_rest(FILE *to, size_t n, size_t shown)
{
    if (n > shown) {
        fprintf(to, "... and %zu pairs with less (--json has them)\n", n - shown);
    }
}

static void print_pair_traffic(const json_t *ranks, FILE *to)
{
    size_t n;
    struct pair *p = pairs_collect(ranks, bytes_weight, &n);
    fprintf(to, "\n%-14s %8s %10s %9s %9s %9s\n", "traffic", "pages", "zero pages", "bytes", "messages", "beat us");
    for (size_t i = 0; i < n && i < MANY_RANKS * MOST_ROWS / 2; i++) {
        char who[32];
        snprintf(who, sizeof(who), "%u -> %u", p[i].from, p[i].to);
        fprintf(to, "%-14s %8s %10s %9s %9s %9s\n", who, text_count(number(p[i].peer, "pages_sent")).s,
                text_count(number(p[i].peer, "zero_pages_sent")).s, text_count(p[i].weight).s,
                text_count(number(p[i].peer, "messages_sent")).s, text_us(number(p[i].peer, "beat_rtt_ns")).s);
    }
    print_rest(to, n, MANY_RANKS * MOST_ROWS / 2);
    free(p);
}

static void print_pair_faults(const json_t *ranks, FILE *to)
{
    size_t n;
    struct pair *p = pairs_collect(ranks, faults_weight, &n);
    if (n) {
        fprintf(to, "\n%-10s %6s %13s %6s %13s %7s %12s %6s\n", "faults, us", "read", "", "write", "", "upgrade", "",
                "ahead");
        fprintf(to, "rank home   count    p50    p99  count    p50    p99  count    p50    p99  count\n");
    }
    for (size_t i = 0; i < n && i < MANY_RANKS * MOST_ROWS / 2; i++) {
        fprintf(to, "%4u %4u ", p[i].from, p[i].to);
        for (unsigned f = 0; f < DIR_FAULTS; f++) {
            const json_t *h = json_object_get(json_object_get(p[i].peer, "faults"), fault_names[f]);
            fprintf(to, " %6s", text_count(number(h, "count")).s);
            if (f != DIR_FAULT_PREFETCH) {
                fprintf(to, " %6s %6s", text_us(number(h, "p50_ns")).s, text_us(number(h, "p99_ns")).s);
            }
        }
        fputc('\n', to);
    }
    print_rest(to, n, MANY_RANKS * MOST_ROWS / 2);
    free(p);
}

/* ---- the rest per rank ---- */

static void print_rank_figures(const char *who, const json_t *o, FILE *to)
{
    uint64_t mmio = number(o, "device_accesses");
    fprintf(to, "%-4s %6s %6s %5s %5s %6s %6s %6s %6s %6s %6s %6s\n", who, text_count(number(o, "coalesced")).s,
            text_count(number(o, "invalidations")).s, text_count(number(o, "held")).s,
            text_count(number(o, "served_terms")).s, text_count(number(o, "accesses_served")).s,
            text_count(number(o, "prefetch_stored")).s, text_count(number(o, "prefetch_hits")).s,
            text_count(number(o, "interrupts_sent")).s, text_count(number(o, "remote_fences")).s, text_count(mmio).s,
            mmio ? text_us(number(o, "device_access_ns") / mmio).s : "-");
}

static void print_figures(const json_t *ranks, const json_t *total, FILE *to)
{
    size_t i;
    json_t *rank;
    fprintf(to, "\n%-4s %6s %6s %5s %5s %6s %6s %6s %6s %6s %6s %6s\n", "rank", "joined", "inval.", "held", "terms",
            "served", "ahead", "hits", "irqs", "fences", "mmio", "us");
    json_array_foreach(ranks, i, rank)
    {
        char who[24];
        snprintf(who, sizeof(who), "%" PRIu64, number(rank, "rank"));
        print_rank_figures(who, rank, to);
    }
    print_rank_figures("all", total, to);
}

/* ---- hot pages ---- */

struct hot {
    uint64_t home, weight;
    const json_t *page;
};

static int hotter(const void *a, const void *b)
{
    const struct hot *x = a, *y = b;
    return x->weight != y->weight ? (x->weight < y->weight ? 1 : -1) : 0;
}

static void print_hot(const json_t *ranks, unsigned most, int width, FILE *to)
{
    size_t i, k, n = 0;
    json_t *rank, *page;
    struct hot *hot = calloc(json_array_size(ranks) * 2 * CLUSTER_HOT + 1, sizeof(*hot));
    json_array_foreach(ranks, i, rank)
    {
        json_array_foreach(json_object_get(rank, "hot_pages"), k, page)
        {
            if (hot && k < 2 * CLUSTER_HOT) {
                hot[n++] = (struct hot){.home = number(rank, "rank"),
                                        .weight = number(page, "transfers") + number(page, "served"),
                                        .page = page};
            }
        }
    }
    if (n > 1) {
        qsort(hot, n, sizeof(*hot), hotter);
    }
    for (size_t h = 0; h < n && h < most; h++) {
        if (h == 0) {
            fprintf(to, "\n%-14s %5s %7s %7s  %s\n", "hot page", "home", "moved", "served", "holds");
        }
        fprintf(to, "0x%-12" PRIx64 " %5" PRIu64 " %7s %7s  %.*s\n", number(hot[h].page, "address"), hot[h].home,
                text_count(number(hot[h].page, "transfers")).s, text_count(number(hot[h].page, "served")).s, width,
                text_of(hot[h].page, "holds"));
    }
    free(hot);
}

void cluster_print_coherence(const json_t *ranks, const json_t *total, FILE *to)
{
    print_faults(ranks, total, to);
    print_pair_faults(ranks, to);
    print_pair_traffic(ranks, to);
    print_figures(ranks, total, to);
    print_hot(ranks, MOST_HOT, 41, to);
}

static void print_sums(const json_t *o, FILE *to)
{
    uint64_t mmio = number(o, "device_accesses");
    fprintf(to, "\ninvalidations %s, joined requests %s, held back %s\n", text_count(number(o, "invalidations")).s,
            text_count(number(o, "coalesced")).s, text_count(number(o, "held")).s);
    fprintf(to, "served at home %s times, %s accesses; ahead %s, of use %s\n", text_count(number(o, "served_terms")).s,
            text_count(number(o, "accesses_served")).s, text_count(number(o, "prefetch_stored")).s,
            text_count(number(o, "prefetch_hits")).s);
    fprintf(to, "interrupts %s, fences %s, device accesses %s (%s us each)\n",
            text_count(number(o, "interrupts_sent")).s, text_count(number(o, "remote_fences")).s, text_count(mmio).s,
            mmio ? text_us(number(o, "device_access_ns") / mmio).s : "-");
}

void cluster_print_summary(const json_t *ranks, const json_t *total, FILE *to)
{
    fprintf(to, "%-14s %8s %8s %8s %10s\n", "page fault", "count", "p50 us", "p99 us", "sum s");
    const json_t *faults = json_object_get(total, "faults");
    for (unsigned f = 0; f <= DIR_FAULTS; f++) {
        const json_t *h =
            f < DIR_FAULTS ? json_object_get(faults, fault_names[f]) : json_object_get(total, "remote_access");
        if (number(h, "count") == 0) {
            continue;
        }
        fprintf(to, "%-14s %8s %8s %8s %10.3f\n", f < DIR_FAULTS ? fault_names[f] : "remote access",
                text_count(number(h, "count")).s, text_us(number(h, "p50_ns")).s, text_us(number(h, "p99_ns")).s,
                (double)number(h, "sum_ns") / 1e9);
    }
    print_pair_traffic(ranks, to);
    print_sums(total, to);
    print_hot(ranks, MOST_HOT / 2, 26, to);
}

/* ---- locks ---- */

static const char *token_text(const char *token)
{
    return strcmp(token, "exclusive") == 0 ? "excl" : strcmp(token, "shared") == 0 ? "share" : "-";
}

void cluster_print_locks(const json_t *ranks, FILE *to)
{
    size_t i, k;
    json_t *rank, *lock;
    fprintf(to, "%-20s %4s %4s %-5s %4s %4s %5s %6s %6s %6s %6s\n", "lock", "rank", "mstr", "token", "held", "wait",
            "taken", "handed", "p50 us", "p99 us", "fence");
    json_array_foreach(ranks, i, rank)
    {
        json_array_foreach(json_object_get(rank, "locks"), k, lock)
        {
            const json_t *waits = json_object_get(lock, "waits");
            fprintf(to, "%-20.20s %4" PRIu64 " %4" PRIu64 " %-5s %4s %4s %5s %6s %6s %6s %6s\n", text_of(lock, "name"),
                    number(rank, "rank"), number(lock, "master"), token_text(text_of(lock, "token")),
                    text_count(number(lock, "holders")).s,
                    text_count(number(lock, "waiters") + number(lock, "waiting_ranks")).s,
                    text_count(number(lock, "acquires")).s, text_count(number(lock, "handoffs")).s,
                    text_us(number(waits, "p50_ns")).s, text_us(number(waits, "p99_ns")).s,
                    text_count(number(lock, "fence")).s);
        }
    }
}

/* ---- ranks ---- */

static void print_round_trips(const json_t *ranks, FILE *to)
{
    size_t i, n = json_array_size(ranks);
    json_t *rank;
    if (n > MATRIX_RANKS) {
        fprintf(to, "\n(--json has the round trips of %zu ranks)\n", n);
        return;
    }
    fprintf(to, "\nround trip, us");
    json_array_foreach(ranks, i, rank)
    {
        fprintf(to, " %5" PRIu64, number(rank, "rank"));
    }
    json_array_foreach(ranks, i, rank)
    {
        const json_t *row = json_object_get(rank, "round_trip_ns");
        fprintf(to, "\n%14" PRIu64, number(rank, "rank"));
        for (size_t k = 0; k < json_array_size(row); k++) {
            json_int_t ns = json_integer_value(json_array_get(row, k));
            fprintf(to, " %5s", ns > 0 ? text_us((uint64_t)ns).s : "-");
        }
    }
    fputc('\n', to);
}

void cluster_print_ranks(const json_t *ranks, FILE *to)
{
    size_t i;
    json_t *rank;
    fprintf(to, "%-4s %-19s %8s %-9s %-9s %8s %10s %6s\n", "rank", "host", "pid", "nodes", "harts", "MiB", "clock us",
            "+- us");
    json_array_foreach(ranks, i, rank)
    {
        const json_t *residual = json_object_get(rank, "clock_residual_ns");
        fprintf(to, "%4" PRIu64 " %-19.19s %8" PRIu64 " %-9.9s %-9.9s %8" PRIu64 " %10.1f %6s\n", number(rank, "rank"),
                text_of(rank, "host"), number(rank, "pid"), text_of(rank, "nodes"), text_of(rank, "harts"),
                number(rank, "memory") >> 20,
                (double)json_integer_value(json_object_get(rank, "clock_offset_ns")) / 1e3,
                json_is_integer(residual) ? text_us(number(rank, "clock_residual_ns")).s : "-");
    }
    uint64_t dilation = number(json_array_get(ranks, 0), "time_dilation"); /* all ranks have the same */
    if (dilation > 1) {
        fprintf(to, "%s; the times here are the host's\n", text_dilation((unsigned)dilation).s);
    }
    print_round_trips(ranks, to);
}
