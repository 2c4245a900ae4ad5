/* --ranks and what a guest over several ranks asks of the other options. */
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"

/* Open MPI tells each process it starts how many there are, and which it is. */
static unsigned from_environment(const char *name, unsigned fallback)
{
    const char *text = getenv(name);
    char *end;
    unsigned long v = text ? strtoul(text, &end, 10) : 0;
    return text && *text && *end == '\0' && v <= WEFT_MAX_RANKS ? (unsigned)v : fallback;
}

bool ranks_launched(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") != NULL;
}

void ranks_defaults(struct machine_config *cfg)
{
    cfg->ranks = from_environment("OMPI_COMM_WORLD_SIZE", 1);
    cfg->rank = from_environment("OMPI_COMM_WORLD_RANK", 0);
}

bool opt_ranks(struct parse *p, const char *value, struct error *err)
{
    unsigned n;
    if (!kv_parse_decimal(value, 1, WEFT_MAX_RANKS, &n)) {
        return error_set(err, "--ranks %.32s: give a number from 1 to %d", value, WEFT_MAX_RANKS);
    }
    if (ranks_launched() && n != p->cfg->ranks) {
        return error_set(err, "--ranks %u, but mpirun started %u: leave --ranks out, or say mpirun -n %u", n,
                         p->cfg->ranks, n);
    }
    p->cfg->ranks = n;
    return true;
}

bool opt_idle_poll(struct parse *p, const char *value, struct error *err)
{
    unsigned us;
    if (!kv_parse_decimal(value, 0, IDLE_POLL_MAX_US, &us)) {
        return error_set(err, "--idle-poll %.32s is no time that is known; use microseconds from 0 (never) to %d",
                         value, IDLE_POLL_MAX_US);
    }
    p->cfg->idle_poll_us = us;
    return true;
}

/* Without -numa each rank gets a node of its own: an equal part of the memory, whole MiB, the rest to the last. */
static bool make_nodes(struct parse *p, struct error *err)
{
    struct machine_config *c = p->cfg;
    uint64_t each = c->mem_size / c->ranks & ~((1ull << 21) - 1);
    if (each == 0) {
        return error_set(err, "-m %lluM is too little for %u ranks; give each at least 2M",
                         (unsigned long long)(c->mem_size >> 20), c->ranks);
    }
    for (unsigned r = 0; r < c->ranks; r++) {
        struct numa_node_request rq = {.nodeid = (int)r, .initiator = -1, .has_mem = true};
        rq.mem = r + 1 < c->ranks ? each : c->mem_size - each * (c->ranks - 1);
        if (!shape_numa_node(&p->numa, c, &rq, err)) {
            return false;
        }
    }
    return true;
}

bool ranks_nodes(struct parse *p, struct error *err)
{
    struct machine_config *c = p->cfg;
    if (c->ranks <= 1) {
        return true;
    }
    if (c->smp.cpus < c->ranks) {
        return error_set(err, "-smp %u with %u ranks: each rank runs at least one hart; give -smp %u or more",
                         c->smp.cpus, c->ranks, c->ranks);
    }
    if (p->ext_given[EXT_SVADU] && c->ext[EXT_SVADU]) {
        return error_set(err,
                         "-cpu rv64,svadu=on with %u ranks: page tables are shared between ranks, so the guest's "
                         "kernel sets A and D itself; leave svadu out",
                         c->ranks);
    }
    c->ext[EXT_SVADU] = false;
    return p->numa.count > 0 || p->machine_backend[0] || make_nodes(p, err);
}

/* What is not there over ranks is refused here, with what to say instead. */
static bool supported(const struct machine_config *c, struct error *err)
{
    if (c->icount || c->thread == ACCEL_THREAD_SINGLE) {
        return error_set(err, "%s with %u ranks: harts of several ranks run at the same time; leave it out",
                         c->icount ? "-icount" : "-accel tcg,thread=single", c->ranks);
    }
    if (c->start_paused && !c->place_control[0]) {
        return error_set(err,
                         "-S with %u ranks: there is nobody to start the harts later; say --control FILE too, and "
                         "then weft placement FILE cont",
                         c->ranks);
    }
    return true;
}

/* Nodes that were not given a rank are dealt out in order. */
static bool deal_nodes(struct machine_config *c, struct error *err)
{
    uint64_t with_harts = 0;
    for (unsigned n = 0; n < c->num_nodes; n++) {
        struct node_config *node = &c->node[n];
        if (node->rank >= (int)c->ranks) {
            return error_set(err, "-numa node,nodeid=%u,rank=%d: there are %u ranks; name one of 0 to %u", n,
                             node->rank, c->ranks, c->ranks - 1);
        }
        if (node->rank < 0) {
            node->rank = (int)(n * c->ranks / c->num_nodes);
        }
        if (bitmap_count(&node->cpus) > 0) {
            with_harts |= 1ull << node->rank;
        }
        if (bitmap_test(&node->cpus, 0) && node->rank != 0) {
            return error_set(err,
                             "-numa node,nodeid=%u,rank=%d: hart 0 starts the guest and belongs to rank 0, where "
                             "the devices are; give that node rank=0",
                             n, node->rank);
        }
    }
    for (unsigned r = 0; r < c->ranks; r++) {
        if (!(with_harts >> r & 1)) {
            return error_set(err,
                             "-numa: no node with harts is left for rank %u of %u; give each rank a node with "
                             "rank=, or use fewer ranks",
                             r, c->ranks);
        }
    }
    return true;
}

/* Files that a rank writes get its number, or they would overwrite one another. */
static void number_file(char *path, size_t size, unsigned rank)
{
    size_t n = strlen(path);
    if (n > 0 && rank > 0) {
        snprintf(path + n, size - n, ".rank%u", rank);
    }
}

bool ranks_finish(struct parse *p, struct error *err)
{
    struct machine_config *c = p->cfg;
    if (c->ranks <= 1) {
        for (unsigned n = 0; n < c->num_nodes; n++) {
            if (c->node[n].rank > 0) {
                return error_set(err,
                                 "-numa node,nodeid=%u,rank=%d: there is one rank; say --ranks %d, or start weft "
                                 "with mpirun -n %d",
                                 n, c->node[n].rank, c->node[n].rank + 1, c->node[n].rank + 1);
            }
        }
        return true;
    }
    if (!supported(c, err) || !deal_nodes(c, err)) {
        return false;
    }
    number_file(c->pidfile, sizeof(c->pidfile), c->rank);
    number_file(c->log_file, sizeof(c->log_file), c->rank);
    number_file(c->stats_json, sizeof(c->stats_json), c->rank);
    number_file(c->proof_file, sizeof(c->proof_file), c->rank);
    number_file(c->place_control, sizeof(c->place_control), c->rank);
    return true;
}
