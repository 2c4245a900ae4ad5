/* -numa: nodes, who owns which hart and which memory, and how far they are from each other. */
#include "weft/shape.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LOCAL_DISTANCE = 10, REMOTE_DISTANCE = 20 };

void shape_numa_init(struct shape_numa *numa)
{
    memset(numa, 0, sizeof(*numa));
    for (unsigned i = 0; i < WEFT_MAX_HARTS; i++) {
        numa->cpu_node[i] = -1;
    }
}

/* Gives one hart to a node; a hart has one node only. */
static bool assign(struct shape_numa *numa, unsigned hart, unsigned node, struct error *err)
{
    int now = numa->cpu_node[hart];
    if (now >= 0 && (unsigned)now != node) {
        return error_set(err, "-numa: hart %u is given to node %d and to node %u; name it in one node only", hart, now,
                         node);
    }
    numa->cpu_node[hart] = (int)node;
    return true;
}

bool shape_numa_node(struct shape_numa *numa, const struct machine_config *cfg, const struct numa_node_request *node,
                     struct error *err)
{
    unsigned id = node->nodeid >= 0 ? (unsigned)node->nodeid : numa->count;
    if (id >= WEFT_MAX_NODES) {
        return error_set(err, "-numa node,nodeid=%u: the machine has at most %d nodes; number them 0 to %d", id,
                         WEFT_MAX_NODES, WEFT_MAX_NODES - 1);
    }
    if (numa->present[id]) {
        return error_set(err, "-numa node,nodeid=%u: there is a node %u already; give each node a number of its own",
                         id, id);
    }
    if (node->has_mem && node->memdev[0]) {
        return error_set(err, "-numa node,nodeid=%u,memdev=%s: mem= and memdev= exclude each other; leave one out", id,
                         node->memdev);
    }
    bitmap_for_each(cpu, &node->cpus)
    {
        if ((unsigned)cpu >= cfg->smp.maxcpus) {
            return error_set(err, "-numa node,nodeid=%u: there is no hart %d; -smp has maxcpus=%u, so name 0 to %u", id,
                             cpu, cfg->smp.maxcpus, cfg->smp.maxcpus - 1);
        }
        if (!assign(numa, (unsigned)cpu, id, err)) {
            return false;
        }
    }
    numa->present[id] = true;
    numa->node[id] = *node;
    numa->node[id].nodeid = (int)id;
    numa->count++;
    if (id >= numa->end) {
        numa->end = id + 1;
    }
    return true;
}

/* The hart's ids as an array, to compare level by level. */
static void ids_array(const struct machine_config *cfg, unsigned hart, unsigned out[LEVEL_COUNT])
{
    struct hart_ids h;
    shape_hart_ids(cfg, hart, &h);
    const unsigned v[LEVEL_COUNT] = {h.drawer, h.book, h.socket, h.die, h.cluster, h.module, h.core, h.thread};
    memcpy(out, v, sizeof(v));
}

static bool ids_match(const struct machine_config *cfg, unsigned hart, const int ids[LEVEL_COUNT], bool core_alone)
{
    if (core_alone) {
        return hart / cfg->smp.threads == (unsigned)ids[LEVEL_CORE];
    }
    unsigned mine[LEVEL_COUNT];
    ids_array(cfg, hart, mine);
    for (int i = 0; i < LEVEL_COUNT; i++) {
        if (ids[i] >= 0 && mine[i] != (unsigned)ids[i]) {
            return false;
        }
    }
    return true;
}

bool shape_numa_cpu(struct shape_numa *numa, const struct machine_config *cfg, unsigned node,
                    const int ids[LEVEL_COUNT], struct error *err)
{
    if (node >= WEFT_MAX_NODES || !numa->present[node]) {
        return error_set(err, "-numa cpu,node-id=%u: there is no node %u; declare it with -numa node,nodeid=%u", node,
                         node, node);
    }
    unsigned given = 0;
    for (int i = 0; i < LEVEL_COUNT; i++) {
        given += ids[i] >= 0;
    }
    if (given == 0) {
        return error_set(err, "-numa cpu,node-id=%u: no hart is named; add socket-id=, core-id= or another id", node);
    }
    bool core_alone = given == 1 && ids[LEVEL_CORE] >= 0;
    for (int i = 0; i < LEVEL_COUNT; i++) {
        unsigned limit = core_alone ? cfg->smp.maxcpus / cfg->smp.threads : shape_smp_level(&cfg->smp, i);
        if (ids[i] >= 0 && (unsigned)ids[i] >= limit) {
            return error_set(err, "-numa cpu,node-id=%u,%s-id=%d: -smp has %u %s%s there; number them 0 to %u", node,
                             shape_level_name(i), ids[i], limit, shape_level_name(i), limit == 1 ? "" : "s", limit - 1);
        }
    }
    for (unsigned hart = 0; hart < cfg->smp.maxcpus; hart++) {
        if (ids_match(cfg, hart, ids, core_alone) && !assign(numa, hart, node, err)) {
            return false;
        }
    }
    return true;
}

bool shape_numa_dist(struct shape_numa *numa, unsigned src, unsigned dst, unsigned val, struct error *err)
{
    unsigned missing = src < WEFT_MAX_NODES && numa->present[src] ? dst : src;
    if (missing >= WEFT_MAX_NODES || !numa->present[missing]) {
        return error_set(err, "-numa dist,src=%u,dst=%u: there is no node %u; declare it with -numa node,nodeid=%u",
                         src, dst, missing, missing);
    }
    if (src == dst && val != LOCAL_DISTANCE) {
        return error_set(err, "-numa dist,src=%u,dst=%u,val=%u: a node is at distance 10 from itself; give val=10", src,
                         dst, val);
    }
    if (src != dst && (val <= LOCAL_DISTANCE || val > 255)) {
        return error_set(err,
                         "-numa dist,src=%u,dst=%u,val=%u: another node is farther than 10; give 11 to 254, or 255 "
                         "for unreachable",
                         src, dst, val);
    }
    if (numa->distance[src][dst] != 0 && numa->distance[src][dst] != val) {
        return error_set(err, "-numa dist,src=%u,dst=%u,val=%u: the same pair was given val=%u before; give it once",
                         src, dst, val, numa->distance[src][dst]);
    }
    numa->distance[src][dst] = (uint8_t)val;
    numa->have_distance = true;
    return true;
}

/* QEMU's rule: one direction of each pair is enough while no pair is asymmetric; else every direction must be told. */
static bool complete_distances(const struct shape_numa *numa, struct machine_config *cfg, struct error *err)
{
    unsigned n = cfg->num_nodes;
    bool asymmetric = false;
    for (unsigned a = 0; a < n; a++) {
        for (unsigned b = a + 1; b < n; b++) {
            unsigned ab = numa->distance[a][b], ba = numa->distance[b][a];
            if (numa->have_distance && ab == 0 && ba == 0) {
                return error_set(err,
                                 "-numa dist: the distance between node %u and node %u is missing; add -numa "
                                 "dist,src=%u,dst=%u,val=N, or give no distances at all",
                                 a, b, a, b);
            }
            asymmetric |= ab != 0 && ba != 0 && ab != ba;
        }
    }
    for (unsigned a = 0; a < n; a++) {
        for (unsigned b = 0; b < n; b++) {
            unsigned v = numa->distance[a][b];
            if (v == 0 && a != b && asymmetric) {
                return error_set(err,
                                 "-numa dist: some pair differs by direction, so every direction must be given; add "
                                 "-numa dist,src=%u,dst=%u,val=N",
                                 a, b);
            }
            if (v == 0) {
                v = a == b ? LOCAL_DISTANCE : numa->have_distance ? numa->distance[b][a] : REMOTE_DISTANCE;
            }
            cfg->distance[a][b] = (uint8_t)v;
        }
    }
    cfg->have_distance = numa->have_distance;
    return true;
}

static int find_backend(const struct machine_config *cfg, const char *id)
{
    for (unsigned i = 0; i < cfg->num_backends; i++) {
        if (strcmp(cfg->backend[i].id, id) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* Gives node `id` the memory of its memdev, which no other node may use. */
static bool take_memdev(struct machine_config *cfg, unsigned id, const char *memdev, struct error *err)
{
    int b = find_backend(cfg, memdev);
    if (b < 0) {
        return error_set(err,
                         "-numa node,nodeid=%u,memdev=%s: there is no such backend; add -object "
                         "memory-backend-ram,id=%s,size=...",
                         id, memdev, memdev);
    }
    for (unsigned other = 0; other < id; other++) {
        if (cfg->node[other].backend == b) {
            return error_set(err,
                             "-numa node,nodeid=%u,memdev=%s: node %u uses that backend already; give each node one of "
                             "its own",
                             id, memdev, other);
        }
    }
    cfg->node[id].backend = b;
    cfg->node[id].mem = cfg->backend[b].size;
    return true;
}

static bool finish_memory(const struct shape_numa *numa, struct machine_config *cfg, struct error *err)
{
    int with_mem = -1, with_dev = -1, without = -1;
    for (unsigned i = 0; i < cfg->num_nodes; i++) {
        const struct numa_node_request *rq = &numa->node[i];
        if (rq->has_mem) {
            with_mem = (int)i;
        } else if (rq->memdev[0]) {
            with_dev = (int)i;
        } else {
            without = (int)i;
        }
        cfg->node[i].mem = rq->mem;
        if (rq->mem % 4096 != 0) {
            return error_set(err,
                             "-numa node,nodeid=%u,mem=%" PRIu64 "b: a node holds whole pages; give a multiple of 4K",
                             i, rq->mem);
        }
        if (rq->memdev[0] && !take_memdev(cfg, i, rq->memdev, err)) {
            return false;
        }
    }
    if (with_mem >= 0 && with_dev >= 0) {
        return error_set(err, "-numa node: node %d has mem= and node %d has memdev=; use the same one for all nodes",
                         with_mem, with_dev);
    }
    if (without >= 0 && (with_mem >= 0 || with_dev >= 0)) {
        return error_set(err, "-numa node,nodeid=%d: the other nodes say their memory and this one does not; add %s",
                         without, with_mem >= 0 ? "mem=SIZE (mem=0 for none)" : "memdev=ID");
    }
    uint64_t sum = 0;
    for (unsigned i = 0; i < cfg->num_nodes; i++) {
        if (sum + cfg->node[i].mem < sum) {
            return error_set(
                err, "-numa node,nodeid=%u: the nodes' memory is more than any machine has; make it smaller", i);
        }
        sum += cfg->node[i].mem;
    }
    if (sum != cfg->mem_size) {
        return error_set(err,
                         "-m %" PRIu64 "M: the nodes' memory sums to %" PRIu64 " bytes and -m is %" PRIu64 " bytes; %s",
                         cfg->mem_size >> 20, sum, cfg->mem_size,
                         sum == 0 ? "give each -numa node a mem= or a memdev=" : "make them equal");
    }
    return true;
}

/* QEMU's riscv machine: hart i goes to node i / (cpus / nodes), what is left over to the last node. */
static bool spread_harts(const struct shape_numa *numa, struct machine_config *cfg, void (*warn)(const char *fmt, ...),
                         struct error *err)
{
    struct bitmap left;
    bitmap_zero(&left);
    for (unsigned hart = 0; hart < cfg->smp.cpus; hart++) {
        if (numa->cpu_node[hart] >= 0) {
            bitmap_set(&cfg->node[numa->cpu_node[hart]].cpus, hart);
        } else {
            bitmap_set(&left, hart);
        }
    }
    unsigned n = bitmap_count(&left);
    if (n == 0) {
        return true;
    }
    if (cfg->num_nodes > cfg->smp.cpus) {
        return error_set(err, "-numa: %u nodes cannot share %u hart%s evenly; say with cpus= which nodes get one",
                         cfg->num_nodes, cfg->smp.cpus, cfg->smp.cpus == 1 ? "" : "s");
    }
    unsigned per_node = cfg->smp.cpus / cfg->num_nodes;
    bitmap_for_each(hart, &left)
    {
        unsigned node = (unsigned)hart / per_node;
        bitmap_set(&cfg->node[node < cfg->num_nodes ? node : cfg->num_nodes - 1].cpus, (unsigned)hart);
    }
    if (n != cfg->smp.cpus && warn) {
        char text[512];
        warn("-numa: hart%s %s %s in no node and go%s to the default one; name all of them with cpus=",
             n == 1 ? "" : "s", bitmap_format(&left, text, sizeof(text)), n == 1 ? "is" : "are", n == 1 ? "es" : "");
    }
    return true;
}

/* An initiator is the node with harts that is nearest to a node; a node with harts is its own (ACPI 6.5 5.2.28.3). */
static bool finish_initiators(const struct shape_numa *numa, struct machine_config *cfg, struct error *err)
{
    for (unsigned i = 0; i < cfg->num_nodes; i++) {
        int initiator = numa->node[i].initiator;
        bool has_cpu = bitmap_count(&cfg->node[i].cpus) > 0;
        if (initiator >= (int)cfg->num_nodes) {
            return error_set(err, "-numa node,nodeid=%u,initiator=%d: there is no node %d; name one of 0 to %u", i,
                             initiator, initiator, cfg->num_nodes - 1);
        }
        if (initiator >= 0 && has_cpu && initiator != (int)i) {
            return error_set(err,
                             "-numa node,nodeid=%u,initiator=%d: a node with harts is its own initiator; give "
                             "initiator=%u or leave it out",
                             i, initiator, i);
        }
        if (initiator >= 0 && bitmap_count(&cfg->node[initiator].cpus) == 0) {
            return error_set(err, "-numa node,nodeid=%u,initiator=%d: node %d has no harts; name a node that has some",
                             i, initiator, initiator);
        }
        if (initiator < 0 && !has_cpu && numa->hmat_required) {
            return error_set(err,
                             "-machine hmat=on: node %u has no harts and no initiator; add initiator=NODE to its -numa "
                             "node",
                             i);
        }
        cfg->node[i].initiator = has_cpu ? (int)i : initiator;
    }
    return true;
}

bool shape_numa_finish(const struct shape_numa *numa, struct machine_config *cfg, void (*warn)(const char *fmt, ...),
                       struct error *err)
{
    for (unsigned i = 0; i < numa->end; i++) {
        if (!numa->present[i]) {
            return error_set(err, "-numa node: node %u is missing below node %u; number the nodes from 0 without gaps",
                             i, numa->end - 1);
        }
    }
    cfg->numa_given = numa->count > 0;
    cfg->num_nodes = numa->count > 0 ? numa->count : 1;
    for (unsigned i = 0; i < cfg->num_nodes; i++) {
        int backend = cfg->numa_given ? -1 : cfg->node[i].backend;
        cfg->node[i] =
            (struct node_config){.backend = backend, .initiator = -1, .rank = (int)numa->node[i].rank_plus_1 - 1};
    }
    if (!cfg->numa_given) {
        cfg->node[0].mem = cfg->mem_size;
        cfg->node[0].initiator = 0;
        for (unsigned hart = 0; hart < cfg->smp.cpus; hart++) {
            bitmap_set(&cfg->node[0].cpus, hart);
        }
        cfg->distance[0][0] = LOCAL_DISTANCE;
        return true;
    }
    return finish_memory(numa, cfg, err) && spread_harts(numa, cfg, warn, err) && finish_initiators(numa, cfg, err) &&
           complete_distances(numa, cfg, err);
}

unsigned shape_hart_node(const struct machine_config *cfg, unsigned hart)
{
    assert(hart < cfg->smp.cpus);
    for (unsigned i = 0; i < cfg->num_nodes; i++) {
        if (bitmap_test(&cfg->node[i].cpus, hart)) {
            return i;
        }
    }
    assert(!"every hart that starts has a node");
    return 0;
}
