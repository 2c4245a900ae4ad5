/* Host shapes: this machine, an lstopo XML, or a synthetic description, all through hwloc. */
#include "placement/internal.h"

#include <hwloc.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "placement/probe.h"

/* What is taken from one hwloc topology before the shapes of several hosts are put together. */
struct one_host {
    struct host_shape *shape;
    unsigned host, first_node, num_nodes;
    hwloc_topology_t topo;
    double *slit, *latency, *bandwidth; /* [num_nodes * num_nodes]; NAN where not known */
    bool memory_unknown;
    const char *dist_text; /* "dist=" of a synthetic description, or NULL */
};

static void bitmap_from_hwloc(struct bitmap *out, hwloc_const_bitmap_t set)
{
    bitmap_zero(out);
    for (int i = hwloc_bitmap_first(set); i >= 0 && i < BITMAP_BITS; i = hwloc_bitmap_next(set, i)) {
        bitmap_set(out, (unsigned)i);
    }
}

/* Splits " dist=..." off a synthetic description; text is changed. */
static char *dist_split(char *text)
{
    char *at = strstr(text, "dist=");
    if (at == NULL) {
        return NULL;
    }
    *at = 0;
    for (size_t n = strlen(text); n > 0 && text[n - 1] == ' '; n--) {
        text[n - 1] = 0;
    }
    return at + 5;
}

static bool topology_open(struct one_host *o, const char *source, char *synthetic, struct error *err)
{
    hwloc_topology_t t;
    if (hwloc_topology_init(&t) < 0) {
        return error_set(err, "hwloc could not be initialised, so the host's topology is not known");
    }
    /* No I/O objects are used here, and their discovery (PCI, GL, OpenCL plugins) would cost most of the start-up. */
    hwloc_topology_set_components(t, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
                                  "pci,opencl,cuda,nvml,rsmi,levelzero,gl");
    hwloc_topology_set_flags(t, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
    bool ok = true;
    if (source != NULL && source[0] != 0) {
        if (access(source, R_OK) == 0) {
            ok = hwloc_topology_set_xml(t, source) == 0 ||
                 error_set(err, "--host-topology %s: hwloc cannot read this file; export one with `lstopo file.xml`",
                           source);
        } else {
            o->dist_text = dist_split(synthetic);
            ok = hwloc_topology_set_synthetic(t, synthetic) == 0 ||
                 error_set(err,
                           "--host-topology %s: neither a file that can be read nor a synthetic description such as "
                           "\"numa:4(memory=8GiB) core:8 pu:2\"",
                           source);
        }
    }
    if (ok && hwloc_topology_load(t) < 0) {
        ok = error_set(err, "--host-topology %s: hwloc cannot make a topology of it; export one with `lstopo file.xml`",
                       source != NULL ? source : "(this machine)");
    }
    if (!ok) {
        hwloc_topology_destroy(t);
        return false;
    }
    o->topo = t;
    return true;
}

static void node_caches_read(struct host_node *node, hwloc_topology_t t)
{
    static const hwloc_obj_type_t type[4] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE,
                                             HWLOC_OBJ_L4CACHE};
    int pu = bitmap_next(&node->pus, 0);
    hwloc_obj_t obj = pu < 0 ? NULL : hwloc_get_pu_obj_by_os_index(t, (unsigned)pu);
    for (; obj != NULL; obj = obj->parent) {
        for (unsigned l = 0; l < 4; l++) {
            if (obj->type == type[l]) {
                node->cache_size[l] = obj->attr->cache.size;
            }
        }
    }
}

/* Some saved topologies do not say how much memory there is; then there is enough of it. */
static void memory_unknown_fill(struct one_host *o)
{
    struct host_shape *s = o->shape;
    bool known = s->host[o->host].this_system;
    for (unsigned x = o->first_node; x < s->num_nodes; x++) {
        known = known || s->node[x].capacity > 0;
    }
    for (unsigned x = o->first_node; x < s->num_nodes && !known; x++) {
        s->node[x].capacity = 1ull << 40;
    }
    o->memory_unknown = !known;
}

static void nodes_read(struct one_host *o)
{
    struct host_shape *s = o->shape;
    hwloc_const_nodeset_t allowed = hwloc_topology_get_allowed_nodeset(o->topo);
    hwloc_obj_t obj = NULL;
    while ((obj = hwloc_get_next_obj_by_type(o->topo, HWLOC_OBJ_NUMANODE, obj)) != NULL &&
           s->num_nodes < PLACE_MAX_HOST_NODES) {
        struct host_node *n = &s->node[s->num_nodes++];
        memset(n, 0, sizeof(*n));
        n->os_index = obj->os_index;
        n->host = o->host;
        n->capacity = obj->attr->numanode.local_memory;
        n->memory_allowed = hwloc_bitmap_isset(allowed, obj->os_index);
        snprintf(n->kind, sizeof(n->kind), "%s", obj->subtype != NULL ? obj->subtype : "");
        for (unsigned i = 0; i < obj->attr->numanode.page_types_len; i++) {
            uint64_t size = obj->attr->numanode.page_types[i].size, count = obj->attr->numanode.page_types[i].count;
            if (size > 65536 && count > 0 && n->num_page_sizes < PLACE_MAX_PAGE_SIZES) {
                n->page_size[n->num_page_sizes++] = (struct host_page_size){size, count, count};
            }
        }
        if (s->host[o->host].this_system) {
            struct sysfs_node now;
            sysfs_node_read(n->os_index, &now);
            n->have_free = now.exists;
            n->free = now.available;
            sysfs_hugepages_read(n);
        }
    }
    o->num_nodes = s->num_nodes - o->first_node;
    memory_unknown_fill(o);
}

/*
 * Which node a PU belongs to. hwloc lists a CPU-less node (HBM, CXL) under the PUs nearest to it, so a PU can be under
 * several nodes; the kernel's cpulist tells on this machine, elsewhere the node with the smallest P# has the PUs.
 */
static int node_of_pu(const struct one_host *o, hwloc_obj_t pu, const struct sysfs_node *sys)
{
    hwloc_obj_t obj = NULL;
    int best = -1;
    for (unsigned i = 0; (obj = hwloc_get_next_obj_by_type(o->topo, HWLOC_OBJ_NUMANODE, obj)) != NULL; i++) {
        if (i >= o->num_nodes) {
            break;
        }
        if (sys != NULL && sys[i].has_cpulist) {
            if (bitmap_test(&sys[i].pus, pu->os_index)) {
                return (int)(o->first_node + i);
            }
        } else if (hwloc_bitmap_isset(obj->cpuset, pu->os_index) &&
                   (best < 0 || obj->os_index < o->shape->node[best].os_index)) {
            best = (int)(o->first_node + i);
        }
    }
    return best >= 0 ? best : (int)o->first_node;
}

static void core_of_pu(hwloc_topology_t t, hwloc_obj_t pu, unsigned *core, unsigned *smt)
{
    hwloc_obj_t c = hwloc_get_ancestor_obj_by_type(t, HWLOC_OBJ_CORE, pu);
    *core = c != NULL ? c->logical_index : pu->logical_index;
    *smt = 0;
    for (hwloc_obj_t q = pu; c != NULL && (q = q->prev_cousin) != NULL && hwloc_obj_is_in_subtree(t, q, c);) {
        ++*smt;
    }
}

static void pus_read(struct one_host *o)
{
    struct host_shape *s = o->shape;
    struct sysfs_node *sys = NULL;
    struct bitmap allowed;
    bitmap_from_hwloc(&allowed, hwloc_topology_get_allowed_cpuset(o->topo));
    if (s->host[o->host].this_system) {
        cpu_set_t *mine = CPU_ALLOC(BITMAP_BITS);
        size_t size = CPU_ALLOC_SIZE(BITMAP_BITS);
        if (sched_getaffinity(0, size, mine) == 0) {
            for (unsigned i = 0; i < BITMAP_BITS; i++) {
                if (!CPU_ISSET_S(i, size, mine)) {
                    bitmap_clear(&allowed, i);
                }
            }
        }
        CPU_FREE(mine);
        sys = calloc(o->num_nodes, sizeof(*sys));
        for (unsigned i = 0; sys != NULL && i < o->num_nodes; i++) {
            sysfs_node_read(s->node[o->first_node + i].os_index, &sys[i]);
        }
    }
    unsigned core_base = 0, first_pu = s->num_pus;
    for (unsigned i = 0; i < first_pu; i++) {
        core_base = s->pu[i].core >= core_base ? s->pu[i].core + 1 : core_base;
    }
    int num = hwloc_get_nbobjs_by_type(o->topo, HWLOC_OBJ_PU);
    s->pu = realloc(s->pu, (s->num_pus + (size_t)num) * sizeof(*s->pu));
    for (int i = 0; i < num; i++) {
        hwloc_obj_t obj = hwloc_get_obj_by_type(o->topo, HWLOC_OBJ_PU, (unsigned)i);
        int node = node_of_pu(o, obj, sys);
        if (obj->os_index >= BITMAP_BITS || !bitmap_test(&allowed, obj->os_index)) {
            s->node[node].pus_offline++;
            continue;
        }
        struct host_pu *pu = &s->pu[s->num_pus++];
        *pu = (struct host_pu){.os_index = obj->os_index, .logical = obj->logical_index, .node = (unsigned)node};
        core_of_pu(o->topo, obj, &pu->core, &pu->smt);
        pu->core += core_base;
        s->smt = s->smt || pu->smt > 0;
        struct host_node *n = &s->node[node];
        bitmap_set(&n->pus, pu->os_index);
        n->num_pus++;
        /* PUs come in L# order, so those of one core are neighbours. */
        bool new_core = s->num_pus - 1 == first_pu || pu[-1].core != pu->core;
        n->num_cores += new_core;
    }
    free(sys);
    for (unsigned i = o->first_node; i < s->num_nodes; i++) {
        node_caches_read(&s->node[i], o->topo);
    }
}

static void slit_read(struct one_host *o)
{
    unsigned n = o->num_nodes, nr = 1;
    struct hwloc_distances_s *d = NULL;
    if (hwloc_distances_get_by_type(o->topo, HWLOC_OBJ_NUMANODE, &nr, &d, HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
        nr < 1 || d == NULL) {
        return;
    }
    for (unsigned i = 0; i < d->nbobjs; i++) {
        for (unsigned j = 0; j < d->nbobjs; j++) {
            unsigned a = d->objs[i] != NULL ? d->objs[i]->logical_index : n;
            unsigned b = d->objs[j] != NULL ? d->objs[j]->logical_index : n;
            if (a < n && b < n) {
                o->slit[a * n + b] = (double)d->values[i * d->nbobjs + j];
            }
        }
    }
    hwloc_distances_release(o->topo, d);
}

static bool dist_parse(struct one_host *o, struct error *err)
{
    unsigned n = o->num_nodes;
    const char *at = o->dist_text;
    for (unsigned i = 0; at != NULL && i < n * n; i++) {
        char *end;
        double v = strtod(at, &end);
        bool last = i + 1 == n * n, row_end = (i + 1) % n == 0;
        if (end == at || v < 10 || v > 100000 || (last ? *end != 0 : *end != (row_end ? '/' : ','))) {
            return error_set(err,
                             "--host-topology: dist=%s is not a matrix of %u x %u distances of at least 10; write rows "
                             "as 10,20/20,10",
                             o->dist_text, n, n);
        }
        o->slit[i] = v;
        at = end + 1;
    }
    return true;
}

/* HMAT values through hwloc's memory attributes: mostly only those of the best initiator of each node are there. */
static void memattr_read(struct one_host *o, hwloc_memattr_id_t attr, double *out)
{
    unsigned n = o->num_nodes;
    for (unsigned t = 0; t < n; t++) {
        hwloc_obj_t target = hwloc_get_obj_by_type(o->topo, HWLOC_OBJ_NUMANODE, t);
        for (unsigned i = 0; i < n; i++) {
            const struct host_node *from = &o->shape->node[o->first_node + i];
            int pu = bitmap_next(&from->pus, 0);
            hwloc_obj_t obj = pu < 0 ? NULL : hwloc_get_pu_obj_by_os_index(o->topo, (unsigned)pu);
            hwloc_uint64_t value;
            if (obj == NULL) {
                continue;
            }
            struct hwloc_location where = {.type = HWLOC_LOCATION_TYPE_CPUSET, .location.cpuset = obj->cpuset};
            if (hwloc_memattr_get_value(o->topo, attr, target, &where, 0, &value) == 0 && value > 0) {
                out[i * n + t] = (double)value;
            }
        }
    }
}

static bool any_known(const double *m, unsigned n)
{
    for (unsigned i = 0; i < n * n; i++) {
        if (!isnan(m[i])) {
            return true;
        }
    }
    return false;
}

/*
 * Completes a latency matrix that HMAT gave in part: an unknown (i, t) is the known value of the same target, scaled
 * by how much farther i is by the SLIT. Then the least local latency becomes 10.
 */
static void hmat_to_cost(const struct one_host *o, double *cost)
{
    unsigned n = o->num_nodes;
    double least = INFINITY;
    for (unsigned i = 0; i < n * n; i++) {
        least = !isnan(o->latency[i]) && o->latency[i] < least ? o->latency[i] : least;
    }
    for (unsigned t = 0; t < n; t++) {
        unsigned known = n;
        for (unsigned i = 0; i < n; i++) {
            if (!isnan(o->latency[i * n + t]) && (known == n || o->slit[i * n + t] < o->slit[known * n + t])) {
                known = i;
            }
        }
        for (unsigned i = 0; i < n; i++) {
            double direct = o->latency[i * n + t];
            if (!isnan(direct)) {
                cost[i * n + t] = 10 * direct / least;
            } else if (known < n) {
                cost[i * n + t] = 10 * o->latency[known * n + t] / least * o->slit[i * n + t] / o->slit[known * n + t];
            } else {
                cost[i * n + t] = o->slit[i * n + t];
            }
        }
    }
}

static void hash_make(struct one_host *o)
{
    struct host_shape *s = o->shape;
    uint64_t h = 14695981039346656037ull;
    for (unsigned i = o->first_node; i < s->num_nodes; i++) {
        const struct host_node *n = &s->node[i];
        /* Balloons and kernel updates change the capacity, a cpuset what is allowed: still the same machine. */
        unsigned magnitude = n->capacity == 0 ? 0 : 64 - (unsigned)__builtin_clzll(n->capacity - 1);
        uint32_t key[3] = {n->os_index, magnitude, n->num_pus + n->pus_offline};
        h = fnv1a(h, key, sizeof(key));
    }
    h = fnv1a(h, o->slit, sizeof(double) * o->num_nodes * o->num_nodes);
    snprintf(s->host[o->host].hash, sizeof(s->host[o->host].hash), "%016llx", (unsigned long long)h);
}

static void restriction_describe(struct one_host *o)
{
    struct host_shape *s = o->shape;
    struct host_info *info = &s->host[o->host];
    unsigned off = 0, all = 0, mem = 0;
    for (unsigned i = o->first_node; i < s->num_nodes; i++) {
        off += s->node[i].pus_offline;
        all += s->node[i].pus_offline + s->node[i].num_pus;
        mem += !s->node[i].memory_allowed;
    }
    size_t at = 0;
    if (off > 0) {
        at +=
            (size_t)snprintf(info->restriction, sizeof(info->restriction),
                             "only %u of %u PUs are allowed here (cgroup cpuset, taskset or numactl)", all - off, all);
    }
    if (o->memory_unknown) {
        at += (size_t)snprintf(info->restriction + at, sizeof(info->restriction) - at,
                               "%sthe topology does not say how much memory its nodes have, so it is taken as enough",
                               at > 0 ? "; " : "");
    }
    if (mem > 0) {
        snprintf(info->restriction + at, sizeof(info->restriction) - at,
                 "%sthe memory of %u of %u nodes is not allowed here (cgroup cpuset.mems)", at > 0 ? "; " : "", mem,
                 o->num_nodes);
    }
}

static bool matrices_read(struct one_host *o, struct error *err)
{
    unsigned n = o->num_nodes;
    for (unsigned i = 0; i < n * n; i++) {
        o->slit[i] = o->latency[i] = o->bandwidth[i] = NAN;
    }
    slit_read(o);
    if (!dist_parse(o, err)) {
        return false;
    }
    for (unsigned i = 0; i < n * n; i++) {
        if (isnan(o->slit[i]) || o->slit[i] <= 0) {
            o->slit[i] = i % (n + 1) == 0 ? 10 : 20;
        }
    }
    double local = INFINITY;
    for (unsigned i = 0; i < n; i++) {
        local = o->slit[i * n + i] < local ? o->slit[i * n + i] : local;
    }
    for (unsigned i = 0; i < n * n; i++) { /* files of hwloc 1 count from 1, not from 10 */
        o->slit[i] *= 10 / local;
    }
    memattr_read(o, HWLOC_MEMATTR_ID_LATENCY, o->latency);
    memattr_read(o, HWLOC_MEMATTR_ID_BANDWIDTH, o->bandwidth);
    return true;
}

/* Where a page on another host costs this much more than a local one: a page fetch over TCP against a cache miss. */
static const double other_host_cost = 2000;

static double *matrix_grow(double *old, unsigned from, unsigned to, double fill)
{
    double *m = malloc(sizeof(double) * to * to);
    for (unsigned i = 0; i < to; i++) {
        for (unsigned j = 0; j < to; j++) {
            m[i * to + j] = i < from && j < from && old != NULL ? old[i * from + j] : fill;
        }
    }
    free(old);
    return m;
}

static void matrix_insert(double *m, unsigned total, unsigned first, const double *part, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        memcpy(&m[(first + i) * total + first], &part[i * n], sizeof(double) * n);
    }
}

static void matrices_merge(struct one_host *o)
{
    struct host_shape *s = o->shape;
    unsigned n = o->num_nodes, total = s->num_nodes, first = o->first_node;
    double *cost = malloc(sizeof(double) * n * n);
    enum cost_source source = COST_SLIT;
    if (probe_cache_load(s->host[o->host].hash, n, o->latency, o->bandwidth)) {
        source = COST_PROBE;
        hmat_to_cost(o, cost);
    } else if (any_known(o->latency, n)) {
        source = COST_HMAT;
        hmat_to_cost(o, cost);
    } else {
        memcpy(cost, o->slit, sizeof(double) * n * n);
    }
    s->cost = matrix_grow(s->cost, first, total, other_host_cost);
    matrix_insert(s->cost, total, first, cost, n);
    if (any_known(o->latency, n) || s->latency_ns != NULL) {
        s->latency_ns = matrix_grow(s->latency_ns, first, total, NAN);
        matrix_insert(s->latency_ns, total, first, o->latency, n);
    }
    if (any_known(o->bandwidth, n) || s->bandwidth_mbs != NULL) {
        s->bandwidth_mbs = matrix_grow(s->bandwidth_mbs, first, total, NAN);
        matrix_insert(s->bandwidth_mbs, total, first, o->bandwidth, n);
    }
    s->cost_source = o->host == 0 || source > s->cost_source ? source : s->cost_source;
    free(cost);
}

static bool host_read(struct host_shape *s, const char *source, struct error *err)
{
    struct one_host o = {.shape = s, .host = s->num_hosts, .first_node = s->num_nodes};
    struct host_info *info = &s->host[s->num_hosts];
    char *synthetic = strdup(source != NULL ? source : "");
    memset(info, 0, sizeof(*info));
    if (synthetic == NULL || !topology_open(&o, source, synthetic, err)) {
        free(synthetic);
        return false;
    }
    s->num_hosts++;
    info->this_system = hwloc_topology_is_thissystem(o.topo);
    snprintf(info->source, sizeof(info->source), "%s",
             source != NULL && source[0] != 0 ? source
             : info->this_system              ? "this machine"
                                              : "another machine (HWLOC_XMLFILE or HWLOC_SYNTHETIC is set)");
    const char *name = hwloc_obj_get_info_by_name(hwloc_get_root_obj(o.topo), "HostName");
    if (name != NULL) {
        snprintf(info->name, sizeof(info->name), "%s", name);
    } else if (info->this_system) {
        gethostname(info->name, sizeof(info->name) - 1);
    } else {
        snprintf(info->name, sizeof(info->name), "host%u", o.host);
    }
    nodes_read(&o);
    pus_read(&o);
    o.slit = malloc(sizeof(double) * 3 * o.num_nodes * o.num_nodes);
    o.latency = o.slit + o.num_nodes * o.num_nodes;
    o.bandwidth = o.latency + o.num_nodes * o.num_nodes;
    bool ok = matrices_read(&o, err);
    if (ok) {
        hash_make(&o);
        restriction_describe(&o);
        matrices_merge(&o);
    }
    free(o.slit);
    free(synthetic);
    hwloc_topology_destroy(o.topo);
    return ok;
}

struct host_shape *host_shape_load(const char *const *sources, unsigned n, struct error *err)
{
    struct host_shape *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        error_set(err, "out of memory while reading the host's topology");
        return NULL;
    }
    bool ok = true;
    if (n > PLACE_MAX_HOSTS) {
        ok = error_set(err, "--host-topology was given %u times; at most %d hosts can be planned for at once", n,
                       PLACE_MAX_HOSTS);
    }
    for (unsigned i = 0; ok && i < (n == 0 ? 1 : n); i++) {
        ok = host_read(s, n == 0 ? NULL : sources[i], err);
    }
    if (ok && s->num_pus == 0) {
        ok = error_set(err, "--host-topology %s: it has no PU that may be used", s->host[0].source);
    }
    if (!ok) {
        host_shape_destroy(&s);
    }
    return s;
}

void host_shape_destroy(struct host_shape **host)
{
    if (*host != NULL) {
        free((*host)->pu);
        free((*host)->cost);
        free((*host)->latency_ns);
        free((*host)->bandwidth_mbs);
        free(*host);
        *host = NULL;
    }
}

int host_node_by_os(const struct host_shape *h, unsigned host, unsigned os_index)
{
    for (unsigned i = 0; i < h->num_nodes; i++) {
        if (h->node[i].host == host && h->node[i].os_index == os_index) {
            return (int)i;
        }
    }
    return -1;
}

const struct host_pu *host_pu_by_os(const struct host_shape *h, unsigned host, unsigned os_index)
{
    for (unsigned i = 0; i < h->num_pus; i++) {
        if (h->pu[i].os_index == os_index && h->node[h->pu[i].node].host == host) {
            return &h->pu[i];
        }
    }
    return NULL;
}
