/* -numa node|cpu|dist|hmat-lb|hmat-cache: the words; the rules are in src/machine/shape_numa.c. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"

static bool numa_node(struct parse *p, struct error *err)
{
    static const char *const keys[] = {"type", "nodeid", "cpus", "mem", "memdev", "initiator", "rank", NULL};
    struct numa_node_request rq = {.nodeid = -1, .initiator = -1};
    unsigned nodeid = 0, initiator = 0, rank = 0;
    if (!kv_check_keys(&p->kv, keys, err) || !kv_unsigned(&p->kv, "nodeid", 0, UINT16_MAX, &nodeid, err) ||
        !kv_bitmap(&p->kv, "cpus", BITMAP_BITS, &rq.cpus, err) || !kv_size(&p->kv, "mem", 1 << 20, &rq.mem, err) ||
        !kv_string(&p->kv, "memdev", rq.memdev, sizeof(rq.memdev), err) ||
        !kv_unsigned(&p->kv, "initiator", 0, WEFT_MAX_NODES - 1, &initiator, err) ||
        !kv_unsigned(&p->kv, "rank", 0, WEFT_MAX_RANKS - 1, &rank, err)) {
        return false;
    }
    if (kv_get(&p->kv, "memdev") && !rq.memdev[0]) {
        return error_set(err,
                         "-numa node,memdev=: the name is empty; write memdev=ID of an -object memory-backend-ram");
    }
    if (kv_get(&p->kv, "nodeid")) {
        rq.nodeid = (int)nodeid;
    }
    if (kv_get(&p->kv, "initiator")) {
        rq.initiator = (int)initiator;
    }
    rq.rank_plus_1 = kv_get(&p->kv, "rank") ? rank + 1 : 0;
    rq.has_mem = kv_get(&p->kv, "mem") != NULL;
    if (rq.initiator >= 0 && p->hmat_off) {
        return error_set(err,
                         "-numa node,initiator=%d with -machine hmat=off: initiators are part of the HMAT; say hmat=on",
                         rq.initiator);
    }
    return shape_numa_node(&p->numa, p->cfg, &rq, err);
}

static bool numa_cpu(struct parse *p, struct error *err)
{
    static const char *const keys[] = {"type",       "node-id",   "drawer-id", "book-id",   "socket-id", "die-id",
                                       "cluster-id", "module-id", "core-id",   "thread-id", NULL};
    unsigned node = 0;
    int ids[LEVEL_COUNT];
    if (!kv_check_keys(&p->kv, keys, err) || !kv_need(&p->kv, "node-id", "0", err) ||
        !kv_unsigned(&p->kv, "node-id", 0, WEFT_MAX_NODES - 1, &node, err)) {
        return false;
    }
    for (int i = 0; i < LEVEL_COUNT; i++) {
        unsigned id = 0;
        const char *key = keys[2 + i]; /* in the order of the levels */
        if (!kv_unsigned(&p->kv, key, 0, WEFT_MAX_HARTS - 1, &id, err)) {
            return false;
        }
        ids[i] = kv_get(&p->kv, key) ? (int)id : -1;
    }
    return shape_numa_cpu(&p->numa, p->cfg, node, ids, err);
}

static bool numa_dist(struct parse *p, struct error *err)
{
    static const char *const keys[] = {"type", "src", "dst", "val", NULL};
    unsigned src = 0, dst = 0, val = 0;
    return kv_check_keys(&p->kv, keys, err) && kv_need(&p->kv, "src", "0", err) && kv_need(&p->kv, "dst", "1", err) &&
           kv_need(&p->kv, "val", "20", err) && kv_unsigned(&p->kv, "src", 0, WEFT_MAX_NODES - 1, &src, err) &&
           kv_unsigned(&p->kv, "dst", 0, WEFT_MAX_NODES - 1, &dst, err) &&
           kv_unsigned(&p->kv, "val", 10, 255, &val, err) && shape_numa_dist(&p->numa, src, dst, val, err);
}

static bool need_hmat(struct parse *p, struct error *err)
{
    if (p->hmat_off) {
        return error_set(err, "-numa %s with -machine hmat=off: there is no HMAT to put it in; say hmat=on",
                         p->kv.type);
    }
    if (!p->cfg->numa_given) {
        return error_set(err, "-numa %s: there are no nodes to describe; add -numa node", p->kv.type);
    }
    p->cfg->hmat = true;
    return true;
}

static bool numa_hmat_lb(struct parse *p, struct error *err)
{
    static const char *const keys[] = {"type",      "initiator", "target",    "hierarchy",
                                       "data-type", "latency",   "bandwidth", NULL};
    static const char *const hierarchies[] = {"memory", "first-level", "second-level", "third-level", NULL};
    static const char *const types[] = {"access-latency",
                                        "read-latency",
                                        "write-latency",
                                        "access-bandwidth",
                                        "read-bandwidth",
                                        "write-bandwidth",
                                        NULL};
    struct hmat_lb lb = {0};
    int type = 0;
    if (!kv_check_keys(&p->kv, keys, err) || !need_hmat(p, err) || !kv_need(&p->kv, "initiator", "0", err) ||
        !kv_need(&p->kv, "target", "0", err) || !kv_need(&p->kv, "hierarchy", "memory", err) ||
        !kv_need(&p->kv, "data-type", "access-latency", err) ||
        !kv_unsigned(&p->kv, "initiator", 0, WEFT_MAX_NODES - 1, &lb.initiator, err) ||
        !kv_unsigned(&p->kv, "target", 0, WEFT_MAX_NODES - 1, &lb.target, err) ||
        !kv_enum(&p->kv, "hierarchy", hierarchies, &lb.hierarchy, err) ||
        !kv_enum(&p->kv, "data-type", types, &type, err)) {
        return false;
    }
    lb.is_bandwidth = type >= 3;
    lb.data_type = type % 3;
    const char *wanted = lb.is_bandwidth ? "bandwidth" : "latency", *other = lb.is_bandwidth ? "latency" : "bandwidth";
    if (kv_get(&p->kv, other)) {
        return error_set(err, "-numa hmat-lb,data-type=%s,%s=%.64s: the two do not fit; give %s= instead", types[type],
                         other, kv_get(&p->kv, other), wanted);
    }
    if (!kv_need(&p->kv, wanted, lb.is_bandwidth ? "10G" : "100", err)) {
        return false;
    }
    bool ok = lb.is_bandwidth ? kv_size(&p->kv, wanted, 1, &lb.value, err) : kv_u64(&p->kv, wanted, &lb.value, err);
    return ok && shape_hmat_lb(p->cfg, &lb, err);
}

static bool numa_hmat_cache(struct parse *p, struct error *err)
{
    static const char *const keys[] = {"type", "node-id", "size", "level", "associativity", "policy", "line", NULL};
    static const char *const associativities[] = {"none", "direct", "complex", NULL};
    static const char *const policies[] = {"none", "write-back", "write-through", NULL};
    struct hmat_cache cache = {.line = 64};
    if (!kv_check_keys(&p->kv, keys, err) || !need_hmat(p, err) || !kv_need(&p->kv, "node-id", "0", err) ||
        !kv_need(&p->kv, "size", "16M", err) || !kv_need(&p->kv, "level", "1", err) ||
        !kv_unsigned(&p->kv, "node-id", 0, WEFT_MAX_NODES - 1, &cache.node, err) ||
        !kv_size(&p->kv, "size", 1, &cache.size, err) || !kv_unsigned(&p->kv, "level", 0, 255, &cache.level, err) ||
        !kv_enum(&p->kv, "associativity", associativities, &cache.associativity, err) ||
        !kv_enum(&p->kv, "policy", policies, &cache.policy, err) ||
        !kv_unsigned(&p->kv, "line", 0, UINT16_MAX, &cache.line, err)) {
        return false;
    }
    return shape_hmat_cache(p->cfg, &cache, err);
}

bool opt_numa(struct parse *p, const char *value, struct error *err)
{
    static const char *const types[] = {"node", "cpu", "dist", "hmat-lb", "hmat-cache", NULL};
    static const enum phase phases[] = {PHASE_NODES, PHASE_CPUS, PHASE_DISTANCES, PHASE_HMAT, PHASE_CACHES};
    static bool (*const readers[])(struct parse *, struct error *) = {numa_node, numa_cpu, numa_dist, numa_hmat_lb,
                                                                      numa_hmat_cache};
    static const struct kv_rules rules = {.implied = "type"};
    int type = 0;
    if (!kv_parse(&p->kv, "-numa", value, &rules, err) || !kv_need(&p->kv, "type", "node", err) ||
        !kv_enum(&p->kv, "type", types, &type, err)) {
        return false;
    }
    return p->phase != phases[type] || readers[type](p, err);
}
