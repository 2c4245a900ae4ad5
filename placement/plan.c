/* The planner: turns shapes and a policy into an instance for the solver, and its answer into places. Pure. */
#include "placement/internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The exact search is left to guests up to this many nodes; docs/placement.md has the times. */
enum { EXACT_NODES = 10, EXACT_STEPS = 300000 };

/* How host CPUs are counted: whole cores first, PUs when cores are short or siblings are asked for. */
enum cpu_unit { UNIT_CORES, UNIT_PUS };

struct maker {
    const struct host_shape *host;
    const struct guest_shape *guest;
    const struct place_options *opt;
    struct plan *plan;
    struct solve_problem problem;
    struct solve_result result;
    enum cpu_unit unit;
    unsigned cpu_scale, mem_scale; /* > 1: overcommitted so many times */
    bool pages_plenty;             /* as if there were hugepages without end: to find out what is short */
};

void plan_note(struct plan *plan, const char *fmt, ...)
{
    if (plan->num_notes < sizeof(plan->note) / sizeof(plan->note[0])) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(plan->note[plan->num_notes++], sizeof(plan->note[0]), fmt, ap);
        va_end(ap);
    }
}

const char *place_policy_name(enum place_policy policy)
{
    static const char *const name[] = {"match", "pack", "spread", "interleave", "none", "explicit"};
    return name[policy];
}

const char *place_mem_policy_name(enum place_mem_policy policy)
{
    static const char *const name[] = {"default", "bind", "preferred", "interleave", "restrictive"};
    return name[policy];
}

const char *place_kind_name(enum place_thread_kind kind)
{
    static const char *const name[] = {"vcpu",   "main", "iothread", "worker",   "coherence",
                                       "zmq-io", "mpi",  "vnc",      "migration"};
    return kind < PLACE_KINDS ? name[kind] : "other";
}

const char *size_text(uint64_t bytes, char *buf, size_t size)
{
    if (bytes >= 1ull << 30) {
        snprintf(buf, size, "%.1f GiB", (double)bytes / (1ull << 30));
    } else {
        snprintf(buf, size, "%.0f MiB", (double)bytes / (1ull << 20));
    }
    return buf;
}

static bool node_has_memory(const struct host_node *n)
{
    return n->capacity > 0 && n->memory_allowed;
}

static uint64_t node_room(const struct host_node *n)
{
    return n->have_free ? n->free : n->capacity;
}

static unsigned cpu_need_of(const struct maker *m, const struct guest_node *g)
{
    if (g->num_cpus == 0) {
        return 0;
    }
    if (m->guest->single_thread) {
        return 1;
    }
    /* A guest core's threads share a host core, but only where host cores have siblings at all. */
    return m->unit == UNIT_CORES && m->host->smt ? g->num_cores : g->num_cpus;
}

static int page_kind_of(const struct host_shape *host, unsigned x, uint64_t page_size)
{
    for (unsigned k = 0; k < host->node[x].num_page_sizes; k++) {
        if (host->node[x].page_size[k].size == page_size) {
            return (int)k;
        }
    }
    return -1;
}

/* Hugepage pools are numbered alike on all nodes of the problem: by the sizes that guest nodes ask for. */
static int pool_number(uint64_t *sizes, uint64_t page_size)
{
    for (unsigned k = 0; k < PLACE_MAX_PAGE_SIZES; k++) {
        if (sizes[k] == page_size || sizes[k] == 0) {
            sizes[k] = page_size;
            return (int)k;
        }
    }
    return 0;
}

static void problem_memory(struct maker *m, unsigned i, uint64_t *sizes)
{
    struct solve_problem *p = &m->problem;
    const struct guest_node *g = &m->guest->node[i];
    bitmap_zero(&p->mem_allowed[i]);
    p->page_kind[i] = -1;
    p->mem_need[i] = g->mem;
    if (g->mem == 0 || m->opt->policy == PLACE_INTERLEAVE) {
        p->mem_need[i] = g->told_memory && g->mem > 0 ? 1 : 0;
    }
    unsigned told = 0;
    for (unsigned x = 0; x < p->h; x++) {
        const struct host_node *n = &m->host->node[x];
        bool named = bitmap_test(&g->told_nodes, n->os_index);
        if (g->told_memory && named) {
            /* The operator's word counts; for the search all of it is on the first node named, the room it takes is
             * taken off each of them. */
            uint64_t part = g->mem / (bitmap_count(&g->told_nodes) > 0 ? bitmap_count(&g->told_nodes) : 1);
            p->mem_free[x] -= part < p->mem_free[x] ? part : p->mem_free[x];
            if (told++ == 0) {
                bitmap_set(&p->mem_allowed[i], x);
            }
        } else if (!g->told_memory && node_has_memory(n)) {
            bitmap_set(&p->mem_allowed[i], x);
        }
    }
    if (g->told_memory) {
        p->mem_need[i] = p->mem_need[i] > 0 ? 1 : 0;
    } else if (g->page_size > 0 && p->mem_need[i] > 0) {
        p->page_kind[i] = pool_number(sizes, g->page_size);
        p->page_need[i] = (g->mem + g->page_size - 1) / g->page_size;
        for (unsigned x = 0; x < p->h; x++) {
            int k = page_kind_of(m->host, x, g->page_size);
            p->pages_free[x][p->page_kind[i]] = m->pages_plenty ? UINT64_MAX / 2
                                                : k >= 0        ? m->host->node[x].page_size[k].free
                                                                : 0;
        }
    }
}

static void problem_make(struct maker *m)
{
    struct solve_problem *p = &m->problem;
    uint64_t sizes[PLACE_MAX_PAGE_SIZES] = {0};
    memset(p, 0, sizeof(*p));
    p->n = m->guest->num_nodes;
    p->h = m->host->num_nodes;
    p->cost = m->host->cost;
    p->distinct = m->opt->distinct;
    p->max_steps = m->opt->seconds > 0 ? (uint64_t)(m->opt->seconds * EXACT_STEPS) : EXACT_STEPS;
    for (unsigned x = 0; x < p->h; x++) {
        const struct host_node *n = &m->host->node[x];
        unsigned have = m->unit == UNIT_CORES ? n->num_cores : n->num_pus;
        p->cpu_free[x] = m->guest->single_thread && have > 0 ? SOLVE_NODES : have * m->cpu_scale;
        p->mem_free[x] = node_has_memory(n) ? node_room(n) * m->mem_scale : 0;
        p->group[x] = n->host;
    }
    for (unsigned i = 0; i < p->n; i++) {
        p->cpu_need[i] = cpu_need_of(m, &m->guest->node[i]);
        for (unsigned x = 0; x < p->h; x++) {
            if (p->cpu_free[x] > 0) {
                bitmap_set(&p->cpu_allowed[i], x);
            }
        }
        problem_memory(m, i, sizes);
        for (unsigned j = 0; j < p->n; j++) {
            p->traffic[i][j] = m->guest->traffic[i][j];
        }
    }
}

static bool solve_by_policy(struct maker *m)
{
    struct solve_result *r = &m->result;
    memset(r, 0, sizeof(*r));
    switch (m->opt->policy) {
    case PLACE_PACK:
        return solve_pack(&m->problem, r);
    case PLACE_MATCH:
        if (m->opt->heuristic || m->problem.n > EXACT_NODES) {
            solve_heuristic(&m->problem, r);
        } else {
            solve_exact(&m->problem, r);
        }
        return r->feasible;
    default:
        return solve_spread(&m->problem, r);
    }
}

static bool feasible_with(struct maker *m, unsigned cpu_scale, unsigned mem_scale)
{
    m->cpu_scale = cpu_scale;
    m->mem_scale = mem_scale;
    problem_make(m);
    return solve_by_policy(m);
}

/* A guest node that is too large for every host node, whatever else there is. */
static bool node_too_large(struct maker *m, unsigned i, uint64_t largest, unsigned at, struct error *err)
{
    const struct host_shape *h = m->host;
    const struct guest_node *g = &m->guest->node[i];
    uint64_t most = 0, size = g->page_size;
    unsigned where = 0;
    char a[32], b[32];
    for (unsigned x = 0; size > 0 && x < h->num_nodes; x++) {
        int k = page_kind_of(h, x, size);
        if (k >= 0 && h->node[x].page_size[k].free > most) {
            most = h->node[x].page_size[k].free;
            where = x;
        }
    }
    uint64_t need = size > 0 ? (g->mem + size - 1) / size : 0;
    if (need > most) {
        error_set(err,
                  "guest node %u needs %llu free hugepages of %llu KiB on one host node, and the most is %llu on P#%u; "
                  "reserve more in /sys/devices/system/node/node%u/hugepages/hugepages-%llukB/nr_hugepages",
                  i, (unsigned long long)need, (unsigned long long)size / 1024, (unsigned long long)most,
                  h->node[where].os_index, h->node[where].os_index, (unsigned long long)size / 1024);
        return true;
    }
    if (size == 0 && !g->told_memory && g->mem > largest && m->opt->policy != PLACE_INTERLEAVE) {
        error_set(err,
                  "guest node %u has %s, more than any host node can hold (the largest room is %s on P#%u); give the "
                  "guest more and smaller nodes, use --place interleave, or add overcommit=on",
                  i, size_text(g->mem, a, sizeof(a)), size_text(largest, b, sizeof(b)), h->node[at].os_index);
        return true;
    }
    return false;
}

/* Each guest node's hugepages fit somewhere, but not all of them together. */
static bool hugepages_short(struct maker *m, struct error *err)
{
    uint64_t size = 0, need = 0;
    char list[256] = "";
    for (unsigned i = 0; i < m->guest->num_nodes; i++) {
        const struct guest_node *g = &m->guest->node[i];
        size = g->page_size > size ? g->page_size : size;
    }
    if (size == 0) {
        return false;
    }
    m->pages_plenty = true;
    bool fits = feasible_with(m, 1, 1);
    m->pages_plenty = false;
    for (unsigned i = 0; i < m->guest->num_nodes; i++) {
        const struct guest_node *g = &m->guest->node[i];
        need += g->page_size == size ? (g->mem + size - 1) / size : 0;
    }
    for (unsigned x = 0; x < m->host->num_nodes; x++) {
        int k = page_kind_of(m->host, x, size);
        size_t at = strlen(list);
        if (k >= 0 && at < sizeof(list)) {
            snprintf(list + at, sizeof(list) - at, "%sP#%u %llu", at > 0 ? ", " : "", m->host->node[x].os_index,
                     (unsigned long long)m->host->node[x].page_size[k].free);
        }
    }
    if (fits) {
        error_set(
            err,
            "the guest needs %llu hugepages of %llu KiB, whole guest nodes on one host node each, and free are: %s; "
            "reserve more in /sys/devices/system/node/node*/hugepages/hugepages-%llukB/nr_hugepages",
            (unsigned long long)need, (unsigned long long)size / 1024, list, (unsigned long long)size / 1024);
    }
    return fits;
}

/* The sentence for a guest that does not fit; finds out what is short by asking for each alone. */
static bool does_not_fit(struct maker *m, struct error *err)
{
    const struct host_shape *h = m->host;
    const struct guest_shape *g = m->guest;
    const unsigned plenty = 1u << 16;
    uint64_t largest = 0;
    unsigned pus = 0, at = 0, vcpus = 0;
    char a[32];
    for (unsigned x = 0; x < h->num_nodes; x++) {
        pus += h->node[x].num_pus;
        if (node_has_memory(&h->node[x]) && node_room(&h->node[x]) > largest) {
            largest = node_room(&h->node[x]);
            at = x;
        }
    }
    for (unsigned i = 0; i < g->num_nodes; i++) {
        vcpus += g->node[i].num_cpus;
        if (node_too_large(m, i, largest, at, err)) {
            return false;
        }
    }
    if (vcpus > pus && !g->single_thread) {
        return error_set(err,
                         "-smp: %u vCPUs are more than the %u PUs that may be used here%s%s; use at most %u, or add "
                         "overcommit=on to --place",
                         vcpus, pus, h->host[0].restriction[0] ? ": " : "", h->host[0].restriction, pus);
    }
    bool distinct = m->problem.distinct;
    m->problem.distinct = false;
    if (distinct && solve_by_policy(m)) {
        return error_set(err,
                         "--place: distinct=on needs a host node for each of the %u guest nodes, and that does not "
                         "work out here; drop distinct=on",
                         g->num_nodes);
    }
    m->unit = UNIT_PUS;
    if (hugepages_short(m, err)) {
        return false;
    }
    if (feasible_with(m, plenty, 1)) {
        return error_set(err,
                         "the guest's nodes do not fit: each host node has too few PUs for a whole guest node's vCPUs; "
                         "use smaller guest nodes, or add overcommit=on to --place");
    }
    if (feasible_with(m, 1, plenty)) {
        return error_set(
            err,
            "the guest's nodes do not fit: the memory of the host's nodes cannot hold them all (the largest "
            "room is %s on P#%u); use less -m, or add overcommit=on to --place",
            size_text(largest, a, sizeof(a)), h->node[at].os_index);
    }
    return error_set(err, "the guest's nodes do not fit into this host's PUs, memory and hugepages together; use a "
                          "smaller guest, or add overcommit=on to --place");
}

static bool told_memory_check(const struct maker *m, struct error *err)
{
    for (unsigned i = 0; i < m->guest->num_nodes; i++) {
        const struct guest_node *g = &m->guest->node[i];
        if (!g->told_memory || g->mem == 0) {
            continue;
        }
        bitmap_for_each(os, &g->told_nodes)
        {
            int x = host_node_by_os(m->host, 0, (unsigned)os);
            if (x < 0) {
                return error_set(
                    err,
                    "guest node %u: host-nodes names node P#%d, which this host does not have; see `numactl "
                    "-H` for those it has",
                    i, os);
            }
            if (m->host->node[x].capacity == 0) {
                return error_set(
                    err, "guest node %u: host-nodes names node P#%d, which has no memory; name one that has", i, os);
            }
            if (!m->host->node[x].memory_allowed) {
                return error_set(err,
                                 "guest node %u: host-nodes names node P#%d, which this process's cpuset.mems does not "
                                 "allow; name another, or widen the cgroup's cpuset.mems",
                                 i, os);
            }
        }
    }
    return true;
}

/* From whole cores to PUs to overcommit, the last only where it was allowed. */
static bool fit(struct maker *m, struct error *err)
{
    m->unit = m->opt->smt ? UNIT_PUS : UNIT_CORES;
    if (feasible_with(m, 1, 1)) {
        return true;
    }
    if (m->unit == UNIT_CORES && m->host->smt) {
        m->unit = UNIT_PUS;
        if (feasible_with(m, 1, 1)) {
            plan_note(m->plan, "there are not enough whole cores, so vCPUs share cores as SMT siblings");
            return true;
        }
    }
    m->unit = UNIT_PUS;
    for (unsigned total = 1; m->opt->overcommit && total <= 512; total *= 2) {
        /* As little as possible: CPUs first, which only cost time; then memory. */
        static const unsigned shape[3][2] = {{1, 0}, {0, 1}, {1, 1}};
        for (unsigned k = 0; k < 3; k++) {
            unsigned cpu = shape[k][0] ? total * 2 : 1, mem = shape[k][1] ? total * 2 : 1;
            if (feasible_with(m, cpu, mem)) {
                if (cpu > 1) {
                    plan_note(m->plan, "overcommit: more vCPUs than PUs, up to %u on one PU", cpu);
                }
                if (mem > 1) {
                    plan_note(m->plan, "overcommit: more guest memory than room on a host node; pages beyond it go "
                                       "elsewhere or the host swaps");
                }
                return true;
            }
        }
    }
    return does_not_fit(m, err);
}

static void weights_make(const struct host_shape *h, struct plan_node *n)
{
    double least = INFINITY, of[PLACE_MAX_HOST_NODES];
    bitmap_for_each(x, &n->host_nodes)
    {
        of[x] = NAN;
        for (unsigned i = 0; h->bandwidth_mbs != NULL && i < h->num_nodes; i++) {
            double v = h->bandwidth_mbs[i * h->num_nodes + (unsigned)x];
            of[x] = !isnan(v) && !(v <= of[x]) ? v : of[x];
        }
        least = of[x] < least ? of[x] : least;
    }
    bitmap_for_each(x, &n->host_nodes)
    {
        double w = isnan(of[x]) || isinf(least) ? 1 : round(of[x] / least);
        n->weight[x] = w < 1 ? 1 : w > 16 ? 16 : (unsigned)w;
    }
}

/* Spreads each node's turns evenly over the cycle, so that every stretch of memory is near the weights. */
static void cycle_make(struct plan_node *n)
{
    int credit[PLACE_MAX_HOST_NODES] = {0}, total = 0;
    bool weighted = false;
    bitmap_for_each(x, &n->host_nodes)
    {
        total += (int)n->weight[x];
        weighted = weighted || n->weight[x] > 1;
    }
    n->cycle_len = weighted && total <= PLACE_MAX_CYCLE ? (unsigned)total : 0;
    for (unsigned s = 0; s < n->cycle_len; s++) {
        int best = -1;
        bitmap_for_each(x, &n->host_nodes)
        {
            credit[x] += (int)n->weight[x];
            best = best < 0 || credit[x] > credit[best] ? x : best;
        }
        credit[best] -= total;
        n->cycle[s] = (uint16_t)best;
    }
}

static void memory_place(struct maker *m, unsigned i)
{
    const struct guest_node *g = &m->guest->node[i];
    struct plan_node *n = &m->plan->node[i];
    n->cpu_node = m->result.cpu[i];
    n->mem_node = m->result.mem[i];
    bitmap_zero(&n->host_nodes);
    n->policy = PMEM_DEFAULT;
    if (g->mem == 0) {
        return;
    }
    if (g->told_memory) {
        static const enum place_mem_policy from[] = {PMEM_DEFAULT, PMEM_PREFERRED, PMEM_BIND, PMEM_INTERLEAVE};
        n->told = true;
        n->policy = from[g->told_policy];
        bitmap_for_each(os, &g->told_nodes)
        {
            bitmap_set(&n->host_nodes, (unsigned)host_node_by_os(m->host, 0, (unsigned)os));
        }
        snprintf(n->reason, sizeof(n->reason), "memory where host-nodes says");
    } else if (m->opt->policy == PLACE_INTERLEAVE) {
        n->policy = PMEM_INTERLEAVE;
        unsigned host = n->cpu_node >= 0 ? m->host->node[n->cpu_node].host : 0;
        for (unsigned x = 0; x < m->host->num_nodes; x++) {
            if (m->host->node[x].host == host && node_has_memory(&m->host->node[x])) {
                bitmap_set(&n->host_nodes, x);
            }
        }
        n->mem_node = bitmap_next(&n->host_nodes, 0);
        weights_make(m->host, n);
        cycle_make(n);
        snprintf(n->reason, sizeof(n->reason), "%s",
                 m->host->bandwidth_mbs != NULL ? "memory over all nodes, weighted by their bandwidth"
                                                : "memory over all nodes in turn");
    } else if (n->mem_node >= 0) {
        n->policy = PMEM_BIND;
        bitmap_set(&n->host_nodes, (unsigned)n->mem_node);
    }
}

static void reason_make(struct maker *m, unsigned i)
{
    struct plan_node *n = &m->plan->node[i];
    const struct host_shape *h = m->host;
    if (n->reason[0] != 0 || n->cpu_node < 0 || n->mem_node < 0) {
        return;
    }
    double local = host_cost(h, (unsigned)n->cpu_node, (unsigned)n->mem_node), most = 0;
    int to = -1;
    for (unsigned j = 0; j < m->guest->num_nodes; j++) {
        if (j != i && m->guest->traffic[i][j] > most && m->plan->node[j].mem_node >= 0) {
            most = m->guest->traffic[i][j];
            to = (int)j;
        }
    }
    int used = snprintf(n->reason, sizeof(n->reason), "%s",
                        n->cpu_node == n->mem_node ? "vCPUs and memory together" : "memory as near as there is room");
    snprintf(n->reason + used, sizeof(n->reason) - (size_t)used, " (cost %.1f)", local);
    if (to >= 0) {
        used = (int)strlen(n->reason);
        snprintf(n->reason + used, sizeof(n->reason) - (size_t)used, ", most remote traffic to guest node %d at %.1f",
                 to, host_cost(h, (unsigned)n->cpu_node, (unsigned)m->plan->node[to].mem_node));
    }
}

static void overcommit_mark(struct maker *m)
{
    uint64_t used[PLACE_MAX_HOST_NODES] = {0};
    for (unsigned i = 0; i < m->plan->num_nodes; i++) {
        int x = m->plan->node[i].mem_node;
        if (x >= 0 && m->plan->node[i].policy == PMEM_BIND && m->guest->node[i].page_size == 0) {
            used[x] += m->guest->node[i].mem;
        }
    }
    for (unsigned i = 0; i < m->plan->num_nodes; i++) {
        struct plan_node *n = &m->plan->node[i];
        n->overcommitted =
            n->mem_node >= 0 && n->policy == PMEM_BIND && used[n->mem_node] > node_room(&m->host->node[n->mem_node]);
    }
}

static void comparison_make(struct maker *m)
{
    struct solve_result simple;
    struct plan *plan = m->plan;
    if (plan->policy != PLACE_MATCH) {
        /* The other policies are compared as if match had been asked for, in the same units and scales. */
        struct place_options as_match = *m->opt;
        as_match.policy = PLACE_MATCH;
        m->opt = &as_match;
        problem_make(m);
        m->opt = NULL;
    }
    plan->cost_pack = solve_pack(&m->problem, &simple) ? simple.cost : -1;
    plan->cost_spread = solve_spread(&m->problem, &simple) ? simple.cost : -1;
    if (plan->policy != PLACE_MATCH) {
        return;
    }
    /* Where one thread runs all vCPUs or memory was told to several nodes, the plan is not the solver's instance. */
    bool same = fabs(m->result.cost - plan->cost) < 1e-6;
    plan->exact = m->result.exact && same;
    plan->bound = same ? m->result.bound : fmin(m->result.bound, plan->cost);
    plan->steps = m->result.steps;
    plan->alternatives_exact = m->result.alternatives_exact;
    plan->num_alternatives = m->result.num_alternatives;
    for (unsigned a = 0; a < plan->num_alternatives; a++) {
        plan->alternative[a].cost = m->result.alternative[a].cost;
        memcpy(plan->alternative[a].cpu_node, m->result.alternative[a].cpu, sizeof(plan->alternative[a].cpu_node));
        memcpy(plan->alternative[a].mem_node, m->result.alternative[a].mem, sizeof(plan->alternative[a].mem_node));
    }
    unsigned used = 0;
    struct bitmap seen = {0};
    for (unsigned i = 0; i < plan->num_nodes; i++) {
        int x = plan->node[i].cpu_node;
        used += x >= 0 && !bitmap_test(&seen, (unsigned)x);
        if (x >= 0) {
            bitmap_set(&seen, (unsigned)x);
        }
    }
    if (plan->num_nodes > 1 && used == 1 && m->host->num_nodes > 1) {
        plan_note(plan,
                  "all guest nodes fit on one host node, where every access is local; distinct=on would give each "
                  "one a host node of its own");
    }
}

static bool plan_fill(struct maker *m, struct error *err)
{
    struct plan *plan = m->plan;
    if (m->opt->policy == PLACE_EXPLICIT) {
        return plan_explicit_apply(plan, m->host, m->guest, m->opt, err);
    }
    if (m->opt->policy == PLACE_NONE) {
        for (unsigned i = 0; i < plan->num_nodes; i++) {
            memset(&m->result, 0xff, sizeof(m->result)); /* no places: -1 everywhere */
            memory_place(m, i);
        }
        plan_threads_float(plan, m->host, m->guest);
        plan_note(plan, "nothing is bound: the host's scheduler and first touch decide");
        return true;
    }
    if (!fit(m, err)) {
        return false;
    }
    for (unsigned i = 0; i < plan->num_nodes; i++) {
        memory_place(m, i);
    }
    for (unsigned i = 0; i < plan->num_nodes; i++) {
        reason_make(m, i);
    }
    overcommit_mark(m);
    plan_threads_place(plan, m->host, m->guest, m->opt, m->unit == UNIT_PUS && m->opt->smt);
    return true;
}

struct plan *placement_plan(const struct host_shape *host, const struct guest_shape *guest,
                            const struct place_options *opt, struct error *err)
{
    struct maker *m = calloc(1, sizeof(*m));
    struct plan *plan = calloc(1, sizeof(*plan));
    if (m == NULL || plan == NULL) {
        free(m);
        free(plan);
        error_set(err, "out of memory while planning the placement");
        return NULL;
    }
    *m = (struct maker){.host = host, .guest = guest, .opt = opt, .plan = plan, .cpu_scale = 1, .mem_scale = 1};
    plan->policy = opt->policy;
    plan->grain = opt->grain;
    plan->num_nodes = guest->num_nodes;
    plan->applied_here = host->num_hosts == 1 && host->host[0].this_system;
    plan->cost_pack = plan->cost_spread = -1;
    for (unsigned i = 0; i < host->num_hosts; i++) {
        if (host->host[i].restriction[0] != 0) {
            plan_note(plan, "%s: %s", host->host[i].name, host->host[i].restriction);
        }
    }
    if (!told_memory_check(m, err) || !plan_fill(m, err)) {
        plan_destroy(&plan);
    } else {
        plan->cost = plan->bound = plan_cost(plan, host, guest);
        if (opt->policy == PLACE_EXPLICIT || opt->policy == PLACE_NONE) {
            m->unit = UNIT_CORES;
            problem_make(m);
        }
        comparison_make(m);
    }
    free(m);
    return plan;
}

void plan_destroy(struct plan **plan)
{
    free(*plan);
    *plan = NULL;
}

const struct plan_thread *plan_thread_find(const struct plan *plan, enum place_thread_kind kind, unsigned index)
{
    for (unsigned i = 0; i < plan->num_threads; i++) {
        if (plan->thread[i].kind == kind && plan->thread[i].index == index) {
            return &plan->thread[i];
        }
    }
    return NULL;
}
