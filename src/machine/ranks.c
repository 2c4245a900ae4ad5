/* One guest over several ranks: the frame. What travels is in ranks_post.c. */
#include "ranks_state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ranks_view.h"
#include "virt.h"
#include "weft/log.h"

enum { END_WAIT_S = 5, CLOCK_WAIT_MS = 5000 };

/* Outlives the machine: MPI ends last. */
static struct ranks *process_ranks;

unsigned ranks_self(const struct machine *m)
{
    return m->ranks->members.self;
}

unsigned ranks_of_hart(const struct machine *m, unsigned hart)
{
    return m->ranks->rank_of_hart[hart];
}

int ranks_lost(const struct machine *m)
{
    return atomic_load(&m->ranks->lost);
}

static unsigned rank_of_node(const struct machine_config *cfg, unsigned node)
{
    return (unsigned)cfg->node[node].rank;
}

bool ranks_begin(struct machine *m, struct error *err)
{
    struct ranks *r = calloc(1, sizeof(*r));
    assert(r);
    m->ranks = process_ranks = r;
    r->m = m;
    atomic_init(&r->lost, -1);
    pthread_mutex_init(&r->queue_lock, NULL);
    ranks_view_create(r);
    unsigned harts_here = 0;
    for (unsigned n = 0; n < m->cfg->num_nodes; n++) {
        bitmap_for_each(h, &m->cfg->node[n].cpus)
        {
            r->rank_of_hart[h] = (uint16_t)rank_of_node(m->cfg, n);
            harts_here += r->rank_of_hart[h] == m->cfg->rank;
        }
    }
    transport_threads_realtime(ranks_have_processors(harts_here));
    ranks_take_share(m->cfg);
    if (!membership_start(&r->members, WEFT_VERSION, m->cfg->command_line, err)) {
        return false;
    }
    if (r->members.ranks != m->cfg->ranks) {
        return error_set(err, "--ranks %u, but %u ranks were started: leave --ranks out under mpirun", m->cfg->ranks,
                         r->members.ranks);
    }
    return true;
}

bool ranks_agree(struct machine *m, bool ok, struct error *err)
{
    return membership_agree(&m->ranks->members, ok, err);
}

/* ---- the end of the run ---- */

void ranks_shutdown_now(struct machine *m, int status, const char *sentence)
{
    struct ranks *r = m->ranks;
    if (r->cluster) {
        cluster_end(r->cluster, status, sentence);
    }
}

/* Coherence thread. */
static void on_end(void *opaque, int status, int lost, const char *sentence)
{
    struct ranks *r = opaque;
    if (lost >= 0) {
        atomic_store(&r->lost, lost);
        fprintf(stderr, "weft: rank %u: %s\n", r->members.self, sentence);
    }
    machine_ended(r->m, status);
    ranks_calls_fail(r);
}

static const struct cluster_ops cluster_ops = {.on_post = ranks_on_post, .on_end = on_end};

/* ---- joining ---- */

static unsigned home_ranges(const struct machine *m, struct home_range *out)
{
    const struct ram *ram = &m->ram;
    for (unsigned i = 0; i < ram->num_ranges; i++) {
        out[i] = (struct home_range){.first = (ram->range[i].base - ram->base) >> GUEST_PAGE_BITS,
                                     .count = ram->range[i].size >> GUEST_PAGE_BITS,
                                     .rank = (uint16_t)rank_of_node(m->cfg, ram->range[i].node)};
    }
    return ram->num_ranges;
}

bool ranks_join(struct machine *m, struct error *err)
{
    struct ranks *r = m->ranks;
    struct home_range ranges[WEFT_MAX_NODES];
    struct transport *t = transport_join(&r->members, CLUSTER_SILENCE_MS, NULL, 0, err);
    if (!t) {
        return false;
    }
    r->users = page_users_create(&m->ram);
    struct cluster_config config = {
        .members = &r->members,
        .transport = t,
        .num_ranges = home_ranges(m, ranges),
        .ranges = ranges,
        .ram = m->ram.host,
        .users = &page_users_ops,
        .users_opaque = r->users,
        .ops = &cluster_ops,
        .opaque = r,
        .idle_poll_us = m->cfg->idle_poll_us,
    };
    r->cluster = cluster_create(&config);
    ranks_world_create(r);
    struct page_port port = {.source = cluster_pages(r->cluster),
                             .acquire = page_source_acquire,
                             .operate = page_source_operate,
                             .wait = page_source_wait,
                             .taken = page_source_taken};
    page_users_attach(r->users, &port);
    m->remote_irq = ranks_remote_irq;
    r->service_bh = loop_bh_create(m->loop, ranks_serve_asks, r);
    ranks_port_create(r);
    ranks_view_start(r);
    return cluster_start(r->cluster, err);
}

static uint64_t clock_ns(struct machine *m)
{
    return cluster_time_ns(m->ranks->cluster);
}

/* The ranks of one host have one clock. If there are several hosts rank 0's must be known before a hart reads it; and
 * rank 0 itself, too, may hear of a time that is ahead of its own. */
static bool wait_for_clock(struct machine *m, struct error *err)
{
    struct ranks *r = m->ranks;
    if (r->members.hosts <= 1) {
        return true;
    }
    m->clock_ns = clock_ns;
    for (unsigned ms = 0; ms < CLOCK_WAIT_MS; ms++) {
        if (cluster_clock_known(r->cluster)) {
            return true;
        }
        usleep(1000);
    }
    return error_set(err,
                     "rank %u gets no answer, or none within half a second, to its clock's questions from rank 0; look "
                     "at the network between %s and %s",
                     r->members.self, r->members.member[r->members.self].hostname, r->members.member[0].hostname);
}

/* Rank 0 has the devices and says so as long as it runs: who has the interrupt controllers, the console and each virtio
 * device is the holder of their lock. */
static bool own_devices(struct machine *m, struct error *err)
{
    struct ranks *r = m->ranks;
    char names[2 + sizeof(m->cfg->virtio) / sizeof(m->cfg->virtio[0])][32] = {"device.interrupts", "device.console"};
    unsigned n = 2;
    for (unsigned i = 0; i < m->cfg->num_virtio; i++) {
        snprintf(names[n++], sizeof(names[0]), "device.virtio%u", i);
    }
    for (unsigned i = 0; i < n; i++) {
        struct lock_fence fence;
        int lock = cluster_lock_open(r->cluster, names[i]);
        if (lock < 0 || !cluster_lock(r->cluster, lock, LOCK_EXCLUSIVE, &fence)) {
            return error_set(err, "rank 0 cannot take the lock %s: it is cut off from the others", names[i]);
        }
        r->device_fence = i == 0 ? fence.token : r->device_fence;
    }
    return true;
}

struct shared {
    uint64_t now;
    uint8_t bytes[RANKS_SHARE_MAX];
};

bool ranks_ready(struct machine *m, bool ok, void *share, size_t size, struct error *err)
{
    struct ranks *r = m->ranks;
    struct shared mine = {.now = loop_now_ns()}, all[WEFT_MAX_RANKS];
    assert(size <= sizeof(mine.bytes));
    ok = ok && wait_for_clock(m, err) && (r->members.self != 0 || own_devices(m, err));
    if (!membership_agree(&r->members, ok, err)) {
        return false;
    }
    memcpy(mine.bytes, share, size);
    membership_exchange(&r->members, &mine, sizeof(mine), all);
    memcpy(share, all[0].bytes, size);
    m->clock_base_ns = all[0].now;
    r->ready = true;
    return true;
}

/* ---- leaving ---- */

struct watch {
    struct ranks *ranks;
    int status;
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool done;
};

/* A rank that dies now is missed by nobody but MPI, which would wait for it. */
static void *watch_end(void *opaque)
{
    struct watch *w = opaque;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += END_WAIT_S;
    pthread_mutex_lock(&w->lock);
    int rc = 0;
    while (!w->done && rc == 0) {
        rc = pthread_cond_timedwait(&w->over, &w->lock, &until);
    }
    if (!w->done) {
        fprintf(stderr, "weft: rank %u: another rank does not come to its end; going without it\n",
                w->ranks->members.self);
        membership_abandon(&w->ranks->members, w->status);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void with_watch(struct ranks *r, int status, void (*fn)(struct ranks *r))
{
    struct watch w = {.ranks = r, .status = status};
    pthread_t thread;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.over, NULL);
    bool watched = pthread_create(&thread, NULL, watch_end, &w) == 0;
    fn(r);
    if (watched) {
        pthread_mutex_lock(&w.lock);
        w.done = true;
        pthread_cond_signal(&w.over);
        pthread_mutex_unlock(&w.lock);
        pthread_join(thread, NULL);
    }
    pthread_cond_destroy(&w.over);
    pthread_mutex_destroy(&w.lock);
}

static void meet(struct ranks *r)
{
    membership_barrier(&r->members);
}

void ranks_leave(struct machine *m, int status)
{
    struct ranks *r = m->ranks;
    if (!r->cluster) {
        return;
    }
    if (r->ready && ranks_lost(m) < 0) {
        with_watch(r, status, meet); /* nobody may take a closed connection for a death */
    }
    cluster_stop(r->cluster);
    if (r->ready && ranks_lost(m) < 0) {
        with_watch(r, status, ranks_view_exchange);
    }
}

void ranks_free(struct machine *m)
{
    struct ranks *r = m->ranks;
    if (r->service_bh) {
        loop_bh_destroy(&r->service_bh);
        ranks_port_destroy(r);
    }
    ranks_view_destroy(r);
    if (r->cluster) {
        cluster_destroy(&r->cluster);
        ranks_world_destroy(r);
        page_users_destroy(&r->users);
    }
    ranks_queue_clear(r);
    m->ranks = NULL;
}

static void end_mpi(struct ranks *r)
{
    membership_end(&r->members);
}

void machine_leave(int status)
{
    struct ranks *r = process_ranks;
    if (!r) {
        return;
    }
    if (atomic_load(&r->lost) >= 0) {
        membership_abandon(&r->members, status);
    }
    with_watch(r, status, end_mpi);
    pthread_mutex_destroy(&r->queue_lock);
    free(r);
    process_ranks = NULL;
}
