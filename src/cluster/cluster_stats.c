/* Histograms, statistics and the cluster's time: what others may ask of the coherence thread. */
#include "cluster_state.h"

#include <string.h>

/* Four buckets per power of two: the two bits below the leading one choose. */
static unsigned bucket_of(uint64_t ns)
{
    if (ns < 4) {
        return (unsigned)ns;
    }
    unsigned log = 63 - (unsigned)__builtin_clzll(ns);
    unsigned b = (log - 1) * 4 + (unsigned)(ns >> (log - 2) & 3);
    return b < CLUSTER_BUCKETS ? b : CLUSTER_BUCKETS - 1;
}

static uint64_t bucket_floor(unsigned b)
{
    return b < 4 ? b : (uint64_t)(4 + b % 4) << (b / 4 - 1);
}

void cluster_histogram_add(struct cluster_histogram *h, uint64_t ns)
{
    h->count++;
    h->sum_ns += ns;
    h->bucket[bucket_of(ns)]++;
}

void cluster_histogram_merge(struct cluster_histogram *to, const struct cluster_histogram *from)
{
    to->count += from->count;
    to->sum_ns += from->sum_ns;
    for (unsigned b = 0; b < CLUSTER_BUCKETS; b++) {
        to->bucket[b] += from->bucket[b];
    }
}

uint64_t cluster_percentile_ns(const struct cluster_histogram *h, double percent)
{
    double rank = (double)h->count * percent / 100;
    uint64_t seen = 0;
    for (unsigned b = 0; b < CLUSTER_BUCKETS; b++) {
        seen += h->bucket[b];
        if (seen && (double)seen >= rank) {
            return (bucket_floor(b) + bucket_floor(b + 1)) / 2;
        }
    }
    return 0;
}

/* ---- counted by the coherence thread ---- */

/* `count` is the page's own total. The entry moves up to its place; the last one falls out. */
static void raise_to(struct hot_page *table, uint64_t page, uint64_t count)
{
    unsigned at = 0;
    while (at < CLUSTER_HOT - 1 && table[at].transfers && table[at].page != page) {
        at++;
    }
    while (at > 0 && table[at - 1].transfers < count) {
        table[at] = table[at - 1];
        at--;
    }
    table[at] = (struct hot_page){.page = page, .transfers = count};
}

void cluster_stats_moved(struct cluster *c, uint64_t page)
{
    if (directory_home(c->directory, page) != c->self) {
        return;
    }
    /* Counts only grow, so a page that belongs into the table comes in by its own last transfer. */
    uint64_t moves = directory_view(c->directory, page).moves;
    if (moves > c->stats.moved[CLUSTER_HOT - 1].transfers) {
        raise_to(c->stats.moved, page, moves);
    }
}

/* Nobody counts the accesses of each page: a page that comes in takes over the count of the one that it puts out
 * ("space saving"), so that no page with many is missed. */
void cluster_stats_served(struct cluster *c, uint64_t page)
{
    struct hot_page *t = c->stats.served;
    unsigned at = 0;
    while (at < CLUSTER_HOT - 1 && t[at].page != page && t[at].transfers) {
        at++;
    }
    raise_to(t, page, t[at].transfers + 1);
}

void cluster_stats_fault(struct cluster *c, const struct dir_action *a)
{
    unsigned home = directory_home(c->directory, a->page);
    cluster_histogram_add(&c->stats.fault[a->fault][a->hops == 3], a->waited_ns);
    cluster_histogram_add(&c->stats.peer[home].fault[a->fault], a->waited_ns);
    if (home == c->self) {
        cluster_stats_moved(c, a->page);
    }
}

static const struct cluster_stats *gather(struct cluster *c)
{
    c->stats.directory = *directory_stats(c->directory);
    c->stats.clock_raised = c->clock.raised;
    c->stats.clock_raised_max_ns = c->clock.raised_max;
    return &c->stats;
}

/* [C], or after that thread has ended. */
void cluster_stats_answer(struct cluster *c)
{
    if (!atomic_load(&c->stats_asked)) {
        return;
    }
    pthread_mutex_lock(&c->stats_mutex);
    atomic_store(&c->stats_asked, false);
    if (c->stats_wanted) {
        *c->stats_wanted = *gather(c);
        c->stats_wanted = NULL;
        pthread_cond_broadcast(&c->stats_done);
    }
    pthread_mutex_unlock(&c->stats_mutex);
}

void cluster_stats_get(struct cluster *c, struct cluster_stats *stats)
{
    pthread_mutex_lock(&c->stats_mutex);
    while (c->stats_wanted) {
        pthread_cond_wait(&c->stats_done, &c->stats_mutex);
    }
    if (!c->started) {
        *stats = *gather(c);
    } else {
        c->stats_wanted = stats;
        atomic_store(&c->stats_asked, true);
        cluster_wake(c);
        while (c->stats_wanted == stats) {
            pthread_cond_wait(&c->stats_done, &c->stats_mutex);
        }
    }
    pthread_mutex_unlock(&c->stats_mutex);
}

unsigned cluster_hot_pages(struct cluster *c, struct hot_page *pages, unsigned max)
{
    unsigned n = 0;
    for (uint64_t p = 0; p < c->source.pages; p++) {
        if (directory_home(c->directory, p) != c->self) {
            continue;
        }
        uint64_t moves = directory_view(c->directory, p).moves;
        if (!moves || (n == max && pages[n - 1].transfers >= moves)) {
            continue;
        }
        unsigned at = n < max ? n++ : n - 1;
        while (at > 0 && pages[at - 1].transfers < moves) {
            pages[at] = pages[at - 1];
            at--;
        }
        pages[at] = (struct hot_page){.page = p, .transfers = moves};
    }
    return n;
}

uint64_t cluster_time_ns(struct cluster *c)
{
    return clock_sync_now(&c->clock, cluster_now_ns());
}

bool cluster_clock_known(struct cluster *c)
{
    return c->clock.same || clock_sync_error(&c->clock) <= CLOCK_ERROR_MAX_NS;
}

int64_t cluster_clock_offset_ns(struct cluster *c, uint64_t *residual_ns)
{
    *residual_ns = c->self == 0 ? 0 : clock_sync_error(&c->clock);
    return c->self == 0 ? 0 : atomic_load_explicit(&c->clock.applied, memory_order_relaxed);
}
