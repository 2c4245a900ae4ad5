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

/* [C], or after that thread has ended. */
void cluster_stats_answer(struct cluster *c)
{
    if (!atomic_load(&c->stats_asked)) {
        return;
    }
    pthread_mutex_lock(&c->stats_mutex);
    atomic_store(&c->stats_asked, false);
    if (c->stats_wanted) {
        c->stats.directory = *directory_stats(c->directory);
        *c->stats_wanted = c->stats;
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
        c->stats.directory = *directory_stats(c->directory);
        *stats = c->stats;
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

uint64_t cluster_time_ns(struct cluster *c, uint64_t *residual_ns)
{
    uint64_t now = cluster_now_ns();
    if (c->self == 0) {
        *residual_ns = 0;
        return now;
    }
    pthread_mutex_lock(&c->clock_mutex);
    uint64_t time = clock_sync_now(&c->clock, now);
    *residual_ns = clock_sync_residual(&c->clock);
    pthread_mutex_unlock(&c->clock_mutex);
    return time;
}
