/* The guest's side of a plan: nodes, vCPUs, memory, and who is expected to access whose memory. */
#include "placement/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <linux/magic.h>

/* Without a measurement: this share of a vCPU's accesses stays in its own node (a NUMA-aware guest kernel's first
 * touch), the rest goes to the other nodes' memory, more to larger and to nearer ones. See docs/placement.md. */
static const double local_share = 0.8;

static void traffic_normalise(struct guest_shape *g)
{
    double sum = 0;
    for (unsigned i = 0; i < g->num_nodes; i++) {
        for (unsigned j = 0; j < g->num_nodes; j++) {
            sum += g->traffic[i][j];
        }
    }
    for (unsigned i = 0; sum > 0 && i < g->num_nodes; i++) {
        for (unsigned j = 0; j < g->num_nodes; j++) {
            g->traffic[i][j] /= sum;
        }
    }
}

static void traffic_model(struct guest_shape *g, const struct machine_config *cfg)
{
    for (unsigned i = 0; i < g->num_nodes; i++) {
        double weight[WEFT_MAX_NODES], sum = 0;
        bool has_local = g->node[i].mem > 0;
        for (unsigned j = 0; j < g->num_nodes; j++) {
            double d = cfg->have_distance ? cfg->distance[i][j] : j == i ? 10 : 20;
            weight[j] = j == i || d <= 0 || d >= 255 ? 0 : (double)g->node[j].mem / d;
            sum += weight[j];
        }
        double remote = has_local ? 1 - local_share : 1;
        for (unsigned j = 0; j < g->num_nodes; j++) {
            double share = j == i    ? (has_local ? (sum > 0 ? local_share : 1) : 0)
                           : sum > 0 ? remote * weight[j] / sum
                                     : 0;
            g->traffic[i][j] = g->node[i].num_cpus * share;
        }
    }
    traffic_normalise(g);
}

static uint64_t backend_page_size(const struct mem_backend *b)
{
    if (b->kind == BACKEND_MEMFD && b->hugetlb) {
        return b->hugetlb_size != 0 ? b->hugetlb_size : 2ull << 20;
    }
    struct statfs fs;
    if (b->kind == BACKEND_FILE && statfs(b->mem_path, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC) {
        return (uint64_t)fs.f_bsize;
    }
    return 0;
}

static void node_from_config(struct guest_shape *g, const struct machine_config *cfg, unsigned i, int rank)
{
    const struct node_config *c = &cfg->node[i];
    struct guest_node *n = &g->node[i];
    n->rank = c->rank;
    n->thp = -1;
    bool mine = rank < 0 || c->rank < 0 || c->rank == rank;
    if (mine) {
        n->cpus = c->cpus;
        n->mem = c->mem;
    }
    int last_core = -1;
    bitmap_for_each(v, &n->cpus)
    {
        if (v >= WEFT_MAX_HARTS) {
            break;
        }
        n->num_cpus++;
        g->vcpu_node[v] = (uint8_t)i;
        n->num_cores += (int)g->vcpu_core[v] != last_core;
        last_core = g->vcpu_core[v];
    }
    if (c->backend >= 0) {
        const struct mem_backend *b = &cfg->backend[c->backend];
        n->told_memory = bitmap_count(&b->host_nodes) > 0 && b->policy != MEM_POLICY_DEFAULT;
        n->told_nodes = b->host_nodes;
        n->told_policy = b->policy;
        n->page_size = backend_page_size(b);
    }
}

void guest_shape_from_config(struct guest_shape *g, const struct machine_config *cfg, int rank)
{
    memset(g, 0, sizeof(*g));
    g->num_nodes = cfg->num_nodes;
    g->num_vcpus = cfg->smp.maxcpus > 0 ? cfg->smp.maxcpus : cfg->smp.cpus;
    g->threads_per_core = cfg->smp.threads > 0 ? cfg->smp.threads : 1;
    g->single_thread = cfg->icount || cfg->thread == ACCEL_THREAD_SINGLE;
    for (unsigned v = 0; v < g->num_vcpus && v < WEFT_MAX_HARTS; v++) {
        g->vcpu_core[v] = (uint16_t)(v / g->threads_per_core);
    }
    for (unsigned i = 0; i < g->num_nodes; i++) {
        node_from_config(g, cfg, i, rank);
    }
    for (unsigned i = 0; i < PLACE_MAX_IOTHREADS; i++) {
        g->iothread_node[i] = -1;
    }
    traffic_model(g, cfg);
}

bool guest_traffic_load(struct guest_shape *g, const char *path, struct error *err)
{
    json_error_t je;
    json_t *root = json_load_file(path, 0, &je);
    if (root == NULL) {
        return error_set(err, "--traffic %s: line %d: %s; give a JSON file with an access_matrix", path, je.line,
                         je.text);
    }
    json_t *m = json_is_array(root) ? root : json_object_get(root, "access_matrix");
    bool ok = json_is_array(m) && json_array_size(m) == g->num_nodes;
    double sum = 0;
    for (unsigned i = 0; ok && i < g->num_nodes; i++) {
        json_t *row = json_array_get(m, i);
        ok = json_is_array(row) && json_array_size(row) == g->num_nodes;
        for (unsigned j = 0; ok && j < g->num_nodes; j++) {
            json_t *v = json_array_get(row, j);
            ok = json_is_number(v) && json_number_value(v) >= 0;
            g->traffic[i][j] = json_number_value(v);
            sum += g->traffic[i][j];
        }
    }
    json_decref(root);
    if (!ok || sum <= 0) {
        return error_set(
            err,
            "--traffic %s: access_matrix must be %u rows of %u numbers, not negative and not all zero, one "
            "row and column for each guest node",
            path, g->num_nodes, g->num_nodes);
    }
    g->traffic_measured = true;
    traffic_normalise(g);
    return true;
}

bool guest_thp_from_options(struct guest_shape *g, const struct place_options *opt, struct error *err)
{
    for (unsigned i = 0; i < WEFT_MAX_NODES; i++) {
        bool named = opt->explicit_ != NULL && opt->explicit_->has_thp[i];
        if (named && (i >= g->num_nodes || g->node[i].page_size > 0)) {
            return error_set(err,
                             i >= g->num_nodes ? "--place: node %u thp %s: the guest has no such node; leave it out"
                                               : "--place: node %u thp %s: this node's backend has hugepages of its "
                                                 "own, which transparent ones do not go with; leave one of them out",
                             i, opt->explicit_->thp[i] ? "on" : "off");
        }
        if (i < g->num_nodes && g->node[i].page_size == 0) {
            g->node[i].thp = named ? opt->explicit_->thp[i] : opt->has_thp ? opt->thp : -1;
        }
    }
    return true;
}
