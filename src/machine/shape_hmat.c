/* -numa hmat-lb and hmat-cache: the heterogeneous memory attributes (ACPI 6.5 5.2.28). */
#include "weft/shape.h"

#include <inttypes.h>
#include <string.h>

bool shape_hmat_lb(struct machine_config *cfg, const struct hmat_lb *lb, struct error *err)
{
    const char *key = lb->is_bandwidth ? "bandwidth" : "latency";
    if (lb->initiator >= cfg->num_nodes || lb->target >= cfg->num_nodes) {
        bool is_target = lb->initiator < cfg->num_nodes;
        return error_set(err, "-numa hmat-lb,%s=%u: there is no such node; name one of 0 to %u",
                         is_target ? "target" : "initiator", is_target ? lb->target : lb->initiator,
                         cfg->num_nodes - 1);
    }
    if (bitmap_count(&cfg->node[lb->initiator].cpus) == 0) {
        return error_set(err,
                         "-numa hmat-lb,initiator=%u: node %u has no harts, so nothing starts there; name a node with "
                         "harts",
                         lb->initiator, lb->initiator);
    }
    if (lb->is_bandwidth && lb->value % (1u << 20) != 0) {
        return error_set(err,
                         "-numa hmat-lb,bandwidth=%" PRIu64 ": the table counts whole MiB per second; give a multiple "
                         "of 1M",
                         lb->value);
    }
    for (unsigned i = 0; i < cfg->num_hmat_lb; i++) {
        const struct hmat_lb *o = &cfg->hmat_lb[i];
        if (o->initiator == lb->initiator && o->target == lb->target && o->hierarchy == lb->hierarchy &&
            o->data_type == lb->data_type && o->is_bandwidth == lb->is_bandwidth) {
            return error_set(err,
                             "-numa hmat-lb,initiator=%u,target=%u,%s=%" PRIu64 ": that %s was given before; give it "
                             "once",
                             lb->initiator, lb->target, key, lb->value, key);
        }
    }
    unsigned room = sizeof(cfg->hmat_lb) / sizeof(cfg->hmat_lb[0]);
    if (cfg->num_hmat_lb == room) {
        return error_set(err, "-numa hmat-lb: there is room for %u of them; leave some out", room);
    }
    cfg->hmat_lb[cfg->num_hmat_lb++] = *lb;
    return true;
}

/* True when the node's main memory has latency (or bandwidth) figures as a target. */
static bool has_figures(const struct machine_config *cfg, unsigned node, bool bandwidth)
{
    for (unsigned i = 0; i < cfg->num_hmat_lb; i++) {
        if (cfg->hmat_lb[i].target == node && cfg->hmat_lb[i].is_bandwidth == bandwidth) {
            return true;
        }
    }
    return false;
}

static const struct hmat_cache *find_cache(const struct machine_config *cfg, unsigned node, unsigned level)
{
    for (unsigned i = 0; i < cfg->num_hmat_cache; i++) {
        if (cfg->hmat_cache[i].node == node && cfg->hmat_cache[i].level == level) {
            return &cfg->hmat_cache[i];
        }
    }
    return NULL;
}

bool shape_hmat_cache(struct machine_config *cfg, const struct hmat_cache *cache, struct error *err)
{
    unsigned node = cache->node, level = cache->level;
    if (node >= cfg->num_nodes) {
        return error_set(err, "-numa hmat-cache,node-id=%u: there is no such node; name one of 0 to %u", node,
                         cfg->num_nodes - 1);
    }
    if (level < 1 || level > 3) {
        return error_set(err, "-numa hmat-cache,level=%u: memory-side caches have levels 1 to 3; give one of them",
                         level);
    }
    if (!has_figures(cfg, node, false) || !has_figures(cfg, node, true)) {
        return error_set(
            err,
            "-numa hmat-cache,node-id=%u: node %u needs a latency and a bandwidth first; add -numa hmat-lb "
            "with target=%u for both",
            node, node, node);
    }
    if (find_cache(cfg, node, level)) {
        return error_set(err, "-numa hmat-cache,node-id=%u,level=%u: that level was given before; give it once", node,
                         level);
    }
    const struct hmat_cache *inner = find_cache(cfg, node, level - 1);
    if (level > 1 && !inner) {
        return error_set(err, "-numa hmat-cache,node-id=%u,level=%u: level %u comes first; give it before", node, level,
                         level - 1);
    }
    if (inner && cache->size <= inner->size) {
        return error_set(err,
                         "-numa hmat-cache,level=%u,size=%" PRIu64 ": level %u has %" PRIu64
                         " bytes and an outer level "
                         "is larger; give more",
                         level, cache->size, level - 1, inner->size);
    }
    cfg->hmat_cache[cfg->num_hmat_cache++] = *cache;
    return true;
}
