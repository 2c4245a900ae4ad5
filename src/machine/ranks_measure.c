/* Round trips between the ranks when they have joined, and the guest's node distances that follow from them. */
#include "ranks_view_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "distances.h"
#include "weft/placement.h"

enum { PINGS = 32, PING_WAIT_S = 10 };

struct ping {
    uint32_t number, pad;
};

/* Coherence thread. */
bool ranks_measure_post(struct ranks *r, unsigned src, uint32_t kind, const void *bytes, size_t length)
{
    struct ranks_view *v = r->view;
    struct ping p;
    if (length != sizeof(p) || (kind != POST_PING && kind != POST_PONG)) {
        return false;
    }
    memcpy(&p, bytes, sizeof(p));
    if (kind == POST_PING) {
        cluster_post(r->cluster, src, POST_PONG, &p, sizeof(p));
        return true;
    }
    uint64_t now = loop_now_ns();
    pthread_mutex_lock(&v->lock);
    if (p.number == v->ping_number && !v->pong_at) {
        v->pong_at = now;
        pthread_cond_signal(&v->told);
    }
    pthread_mutex_unlock(&v->lock);
    return true;
}

/* Nanoseconds, or 0 when no answer came. */
static uint64_t ping(struct ranks *r, unsigned rank)
{
    struct ranks_view *v = r->view;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PING_WAIT_S;
    pthread_mutex_lock(&v->lock);
    struct ping p = {.number = ++v->ping_number};
    v->pong_at = 0;
    pthread_mutex_unlock(&v->lock);
    uint64_t sent = loop_now_ns();
    cluster_post(r->cluster, rank, POST_PING, &p, sizeof(p));
    pthread_mutex_lock(&v->lock);
    int rc = 0;
    while (!v->pong_at && rc == 0 && !atomic_load(&r->over)) {
        rc = pthread_cond_timedwait(&v->told, &v->lock, &until);
    }
    uint64_t took = v->pong_at ? v->pong_at - sent + 1 : 0;
    pthread_mutex_unlock(&v->lock);
    return took;
}

bool ranks_measure(struct machine *m, struct error *err)
{
    struct ranks *r = m->ranks;
    struct ranks_view *v = r->view;
    unsigned n = r->members.ranks, silent = n;
    for (unsigned k = 0; k < n && silent == n; k++) {
        /* The least of many: what disturbs only adds. */
        for (unsigned i = 0; k != r->members.self && i < PINGS && silent == n; i++) {
            uint64_t took = ping(r, k);
            silent = took ? n : k;
            v->rtt_ns[k] = i == 0 || took < v->rtt_ns[k] ? took : v->rtt_ns[k];
        }
    }
    if (silent < n) {
        error_set(err, "rank %u gets no answer from rank %u; look at the network between %s and %s", r->members.self,
                  silent, r->members.member[r->members.self].hostname, r->members.member[silent].hostname);
    }
    if (!ranks_agree(m, silent == n, err)) {
        return false;
    }
    uint64_t(*all)[WEFT_MAX_RANKS] = calloc(n, sizeof(*all));
    assert(all);
    membership_exchange(&r->members, v->rtt_ns, sizeof(v->rtt_ns), all);
    memcpy(v->all_ns, all, n * sizeof(*all));
    free(all);
    return true;
}

/* Of both directions the shorter: it was disturbed less. */
static uint64_t pair_ns(const struct ranks_view *v, unsigned a, unsigned b)
{
    return v->all_ns[a][b] < v->all_ns[b][a] ? v->all_ns[a][b] : v->all_ns[b][a];
}

static uint64_t nearest_ns(const struct ranks_view *v, unsigned ranks)
{
    uint64_t nearest = 0;
    for (unsigned a = 0; a < ranks; a++) {
        for (unsigned b = 0; b < a; b++) {
            uint64_t ns = pair_ns(v, a, b);
            nearest = ns && (!nearest || ns < nearest) ? ns : nearest;
        }
    }
    return nearest;
}

typedef uint8_t distances[WEFT_MAX_NODES][WEFT_MAX_NODES];

/* Between this rank's own guest nodes, by the host nodes of their harts and memory; 0 for others. */
static void inside(const struct machine *m, distances out)
{
    const struct plan *plan = placement_get_plan(m->placement);
    const struct host_shape *host = placement_get_host(m->placement);
    unsigned self = ranks_self(m);
    memset(out, 0, sizeof(distances));
    for (unsigned a = 0; a < m->cfg->num_nodes; a++) {
        for (unsigned b = 0; b < m->cfg->num_nodes; b++) {
            if ((unsigned)m->cfg->node[a].rank == self && (unsigned)m->cfg->node[b].rank == self) {
                int from = plan->node[a].cpu_node, to = plan->node[b].mem_node;
                int back_from = plan->node[b].cpu_node, back_to = plan->node[a].mem_node;
                double there = from >= 0 && to >= 0 ? host_cost(host, (unsigned)from, (unsigned)to) : -1;
                double back =
                    back_from >= 0 && back_to >= 0 ? host_cost(host, (unsigned)back_from, (unsigned)back_to) : there;
                out[a][b] = distance_inside_rank(there >= 0 ? there : back, back);
            }
        }
    }
}

void ranks_distances(struct machine *m, struct machine_config *cfg)
{
    struct ranks *r = m->ranks;
    struct ranks_view *v = r->view;
    unsigned n = cfg->num_nodes, ranks = r->members.ranks;
    distances *own = calloc(ranks, sizeof(*own)), mine;
    assert(own);
    inside(m, mine);
    membership_exchange(&r->members, mine, sizeof(mine), own);
    uint64_t nearest = nearest_ns(v, ranks);
    for (unsigned a = 0; a < n; a++) {
        for (unsigned b = 0; b < n; b++) {
            unsigned ra = (unsigned)cfg->node[a].rank, rb = (unsigned)cfg->node[b].rank;
            mine[a][b] = a == b     ? DISTANCE_LOCAL
                         : ra == rb ? own[ra][a][b]
                                    : distance_between_ranks(pair_ns(v, ra, rb), nearest);
        }
    }
    /* All have the same figures; that rank 0's count needs no proof then. */
    membership_exchange(&r->members, mine, sizeof(mine), own);
    memcpy(cfg->distance, own[0], sizeof(cfg->distance));
    cfg->have_distance = true;
    v->distances_measured = true;
    free(own);
}

json_t *ranks_distances_json(struct machine *m)
{
    struct ranks_view *v = m->ranks->view;
    const struct machine_config *cfg = m->cfg;
    json_t *rows = json_array(), *trips = json_array();
    for (unsigned a = 0; a < cfg->num_nodes; a++) {
        json_t *row = json_array();
        for (unsigned b = 0; b < cfg->num_nodes; b++) {
            json_array_append_new(row, json_integer(cfg->distance[a][b]));
        }
        json_array_append_new(rows, row);
    }
    for (unsigned a = 0; a < m->ranks->members.ranks; a++) {
        json_t *row = json_array();
        for (unsigned b = 0; b < m->ranks->members.ranks; b++) {
            json_array_append_new(row, json_integer((json_int_t)v->all_ns[a][b]));
        }
        json_array_append_new(trips, row);
    }
    return json_pack("{s:s, s:o, s:o}", "from", v->distances_measured ? "measured" : "options", "matrix", rows,
                     "round_trip_ns", trips);
}

void ranks_distances_print(struct machine *m, FILE *to)
{
    struct ranks_view *v = m->ranks->view;
    const struct machine_config *cfg = m->cfg;
    unsigned shown = cfg->num_nodes < 16 ? cfg->num_nodes : 16, ranks = m->ranks->members.ranks;
    uint64_t nearest = nearest_ns(v, ranks), farthest = 0;
    for (unsigned a = 0; a < ranks; a++) {
        for (unsigned b = 0; b < a; b++) {
            farthest = pair_ns(v, a, b) > farthest ? pair_ns(v, a, b) : farthest;
        }
    }
    fprintf(to, "\nDistances between guest nodes, 10 = local: %s\n",
            v->distances_measured ? "round trips between ranks, hwloc's inside a rank" : "as -numa dist says");
    fprintf(to, "Round trip between ranks: %.1f us", (double)nearest / 1e3);
    if (ranks > 2) {
        fprintf(to, " between the nearest, %.1f us between the farthest", (double)farthest / 1e3);
    }
    fprintf(to, "\n%-10s", "node");
    for (unsigned b = 0; b < shown; b++) {
        fprintf(to, " %3u", b);
    }
    for (unsigned a = 0; a < shown; a++) {
        fprintf(to, "\n%-10u", a);
        for (unsigned b = 0; b < shown; b++) {
            fprintf(to, " %3u", cfg->distance[a][b]);
        }
    }
    fprintf(to, "%s\n", shown < cfg->num_nodes ? "\n(--json has all of them)" : "");
}
