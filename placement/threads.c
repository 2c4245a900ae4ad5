/* Places for threads on the host nodes that a plan chose: by core before by PU. And the cost of a whole plan. Pure. */
#include "placement/internal.h"

#include <stdlib.h>
#include <string.h>

static struct plan_thread *thread_add(struct plan *plan, enum place_thread_kind kind, unsigned index)
{
    struct plan_thread *t = &plan->thread[plan->num_threads++];
    memset(t, 0, sizeof(*t));
    t->kind = kind;
    t->index = index;
    t->guest_node = t->host_node = -1;
    return t;
}

static void vcpu_name(struct plan_thread *t, bool single)
{
    if (single) {
        snprintf(t->name, sizeof(t->name), "ALL CPUs/TCG");
    } else {
        snprintf(t->name, sizeof(t->name), "CPU %u/TCG", t->index);
    }
}

/* ---- handing out the PUs of one host node ------------------------------------------------------------------------ */

struct core {
    unsigned first, num; /* PUs of the core: host->pu[first .. first + num) */
    unsigned used;
};

struct pool {
    const struct host_shape *host;
    unsigned num, round; /* round: how often all PUs have been handed out */
    struct core *core;
    unsigned *taken; /* per PU of the shape: threads on it */
};

static void pool_init(struct pool *p, const struct host_shape *host, unsigned node, unsigned *taken)
{
    *p = (struct pool){.host = host, .taken = taken, .core = calloc(host->num_pus, sizeof(struct core))};
    for (unsigned i = 0; i < host->num_pus; i++) {
        if (host->pu[i].node != node) {
            continue;
        }
        struct core *last = p->num > 0 ? &p->core[p->num - 1] : NULL;
        if (last != NULL && host->pu[last->first].core == host->pu[i].core) {
            last->num++;
        } else {
            p->core[p->num++] = (struct core){.first = i, .num = 1};
        }
    }
}

/* The core for `want` more threads of one guest core: an empty one first, or the fullest that still fits. */
static struct core *core_choose(struct pool *p, unsigned want, bool siblings_first)
{
    struct core *best = NULL;
    for (unsigned c = 0; c < p->num; c++) {
        struct core *k = &p->core[c];
        unsigned room = k->num * (p->round + 1) - k->used;
        if (k->num * (p->round + 1) < k->used || room < want) {
            continue;
        }
        if (best == NULL || (siblings_first ? k->used > best->used : k->used < best->used)) {
            best = k;
        }
    }
    return best;
}

static unsigned pu_choose(struct pool *p, const struct core *k)
{
    unsigned best = k->first;
    for (unsigned i = k->first; i < k->first + k->num; i++) {
        best = p->taken[i] < p->taken[best] ? i : best;
    }
    return best;
}

/* Gives the threads of one guest core their PUs. `all` of them share a core if one has room for all. */
static void core_place(struct pool *p, struct plan_thread **thread, unsigned num, enum place_grain grain, bool siblings)
{
    for (unsigned done = 0; done < num;) {
        unsigned together = num - done;
        struct core *k = core_choose(p, together, siblings);
        while (k == NULL && together > 1) {
            k = core_choose(p, --together, siblings);
        }
        if (k == NULL) {
            p->round++;
            continue;
        }
        for (unsigned t = 0; t < together; t++, done++) {
            unsigned pu = pu_choose(p, k);
            p->taken[pu]++;
            k->used++;
            if (grain == GRAIN_PU) {
                bitmap_set(&thread[done]->pus, p->host->pu[pu].os_index);
                continue;
            }
            for (unsigned i = k->first; i < k->first + k->num; i++) {
                bitmap_set(&thread[done]->pus, p->host->pu[i].os_index);
            }
        }
    }
}

static void node_vcpus_place(struct plan *plan, const struct host_shape *host, const struct guest_shape *guest,
                             unsigned x, enum place_grain grain, bool siblings, unsigned *taken)
{
    struct pool pool;
    struct plan_thread *group[WEFT_MAX_HARTS];
    unsigned num = 0, first = plan->num_threads, all = 0;
    pool_init(&pool, host, x, taken);
    for (unsigned v = 0; v < guest->num_vcpus; v++) {
        unsigned g = guest->vcpu_node[v];
        if (!bitmap_test(&guest->node[g].cpus, v) || plan->node[g].cpu_node != (int)x) {
            continue;
        }
        struct plan_thread *t = thread_add(plan, PLACE_VCPU, v);
        vcpu_name(t, false);
        t->guest_node = (int)g;
        t->host_node = (int)x;
        t->bound = true;
        all++;
        if (grain == GRAIN_NODE) {
            t->pus = host->node[x].pus;
            continue;
        }
        if (num > 0 && guest->vcpu_core[group[0]->index] != guest->vcpu_core[v]) {
            core_place(&pool, group, num, grain, siblings);
            num = 0;
        }
        group[num++] = t;
    }
    if (num > 0) {
        core_place(&pool, group, num, grain, siblings);
    }
    for (unsigned i = first; i < plan->num_threads; i++) {
        plan->thread[i].overcommitted = all > host->node[x].num_pus;
    }
    free(pool.core);
}

/* ---- the other threads --------------------------------------------------------------------------------------------
 */

/* PUs of the host node that no vCPU was given, or all of them. */
static void leftover_pus(const struct host_shape *host, unsigned x, const unsigned *taken, struct bitmap *pus)
{
    bitmap_zero(pus);
    for (unsigned i = 0; i < host->num_pus; i++) {
        bool core_free = host->pu[i].node == x;
        for (unsigned k = 0; core_free && k < host->num_pus; k++) {
            core_free = host->pu[k].core != host->pu[i].core || taken[k] == 0;
        }
        if (core_free) {
            bitmap_set(pus, host->pu[i].os_index);
        }
    }
    if (bitmap_count(pus) == 0) {
        *pus = host->node[x].pus;
    }
}

/* The host node of a guest node's vCPUs, or, where it has none, the one with PUs nearest to its memory. */
static int node_for(const struct plan *plan, const struct host_shape *host, int guest_node)
{
    int x = guest_node >= 0 ? plan->node[guest_node].cpu_node : -1, best = -1;
    if (x >= 0) {
        return x;
    }
    int m = guest_node >= 0 ? plan->node[guest_node].mem_node : -1;
    for (unsigned i = 0; i < host->num_nodes; i++) {
        if (host->node[i].num_pus == 0 || (m >= 0 && host->node[i].host != host->node[m].host)) {
            continue;
        }
        if (best < 0 || (m >= 0 && host_cost(host, i, (unsigned)m) < host_cost(host, (unsigned)best, (unsigned)m))) {
            best = (int)i;
        }
    }
    return best;
}

static void service_thread(struct plan *plan, const struct host_shape *host, enum place_thread_kind kind,
                           unsigned index, const char *name, int guest_node, const unsigned *taken)
{
    struct plan_thread *t = thread_add(plan, kind, index);
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->guest_node = guest_node;
    t->host_node = node_for(plan, host, guest_node);
    t->bound = t->host_node >= 0;
    if (t->bound) {
        leftover_pus(host, (unsigned)t->host_node, taken, &t->pus);
    }
}

static void service_threads_place(struct plan *plan, const struct host_shape *host, const struct guest_shape *guest,
                                  const unsigned *taken)
{
    /* Devices without a node of their own live with guest node 0, or the first one that is here. */
    int io = -1;
    for (unsigned i = 0; i < guest->num_nodes && io < 0; i++) {
        io = guest->node[i].num_cpus > 0 || guest->node[i].mem > 0 ? (int)i : -1;
    }
    service_thread(plan, host, PLACE_MAIN, 0, "main loop", io, taken);
    for (unsigned i = 0; i < guest->num_iothreads; i++) {
        char name[40];
        snprintf(name, sizeof(name), "IO %s", guest->iothread_name[i]);
        service_thread(plan, host, PLACE_IOTHREAD, i, name, guest->iothread_node[i] >= 0 ? guest->iothread_node[i] : io,
                       taken);
    }
    service_thread(plan, host, PLACE_WORKER, 0, "workers", io, taken);
    service_thread(plan, host, PLACE_COHERENCE, 0, "coherence", io, taken);
    service_thread(plan, host, PLACE_ZMQ_IO, 0, "ZeroMQ I/O", io, taken);
    service_thread(plan, host, PLACE_MPI, 0, "MPI progress", io, taken);
    service_thread(plan, host, PLACE_VNC, 0, "vnc_worker", io, taken);
    service_thread(plan, host, PLACE_MIGRATION, 0, "migration", io, taken);
}

/* One thread runs all vCPUs: it goes where all accesses together are cheapest. */
static void single_thread_place(struct plan *plan, const struct host_shape *host, const struct guest_shape *guest)
{
    double best = 0;
    struct plan_thread *t = thread_add(plan, PLACE_VCPU, 0);
    vcpu_name(t, true);
    for (unsigned i = 0; i < plan->num_nodes; i++) {
        int x = plan->node[i].cpu_node;
        double sum = 0;
        for (unsigned a = 0; x >= 0 && a < plan->num_nodes; a++) {
            for (unsigned b = 0; b < plan->num_nodes; b++) {
                int m = plan->node[b].mem_node;
                sum += m >= 0 ? guest->traffic[a][b] * host_cost(host, (unsigned)x, (unsigned)m) : 0;
            }
        }
        if (x >= 0 && (t->host_node < 0 || sum < best)) {
            best = sum;
            t->host_node = x;
            t->guest_node = (int)i;
        }
    }
    if (t->host_node >= 0) {
        t->bound = true;
        t->pus = host->node[t->host_node].pus;
        for (unsigned i = 0; i < plan->num_nodes; i++) {
            plan->node[i].cpu_node = guest->node[i].num_cpus > 0 ? t->host_node : -1;
        }
        plan_note(plan,
                  "one thread runs all vCPUs, so it is bound to one host node, the one cheapest for all accesses");
    }
}

static int by_kind_index(const void *a, const void *b)
{
    const struct plan_thread *x = a, *y = b;
    return x->kind != y->kind ? (int)x->kind - (int)y->kind : (int)x->index - (int)y->index;
}

void plan_threads_place(struct plan *plan, const struct host_shape *host, const struct guest_shape *guest,
                        const struct place_options *opt, bool siblings_first)
{
    unsigned *taken = calloc(host->num_pus, sizeof(*taken));
    plan->num_threads = 0;
    if (guest->single_thread) {
        single_thread_place(plan, host, guest);
    } else {
        for (unsigned x = 0; x < host->num_nodes; x++) {
            node_vcpus_place(plan, host, guest, x, opt->grain, siblings_first, taken);
        }
    }
    service_threads_place(plan, host, guest, taken);
    qsort(plan->thread, plan->num_threads, sizeof(plan->thread[0]), by_kind_index);
    free(taken);
}

void plan_threads_float(struct plan *plan, const struct host_shape *host, const struct guest_shape *guest)
{
    unsigned *none = calloc(host->num_pus, sizeof(*none));
    plan->num_threads = 0;
    for (unsigned v = 0; v < (guest->single_thread ? 1 : guest->num_vcpus); v++) {
        unsigned g = guest->vcpu_node[v];
        if (guest->single_thread || bitmap_test(&guest->node[g].cpus, v)) {
            struct plan_thread *t = thread_add(plan, PLACE_VCPU, v);
            vcpu_name(t, guest->single_thread);
            t->guest_node = (int)g;
        }
    }
    service_threads_place(plan, host, guest, none);
    for (unsigned i = 0; i < plan->num_threads; i++) {
        struct plan_thread *t = &plan->thread[i];
        t->bound = false;
        t->host_node = -1;
        bitmap_zero(&t->pus);
        for (unsigned p = 0; p < host->num_pus; p++) {
            if (host->node[host->pu[p].node].host == 0) {
                bitmap_set(&t->pus, host->pu[p].os_index);
            }
        }
    }
    free(none);
}

/* ---- cost ----------------------------------------------------------------------------------------------------------
 */

/* Shares of a guest node's vCPU time on each host node: threads count alike, each evenly over its PUs. */
static void cpu_shares(const struct plan *plan, const struct host_shape *host, const struct guest_shape *guest,
                       unsigned g, double *share)
{
    double sum = 0;
    memset(share, 0, sizeof(*share) * host->num_nodes);
    for (unsigned i = 0; i < plan->num_threads; i++) {
        const struct plan_thread *t = &plan->thread[i];
        if (t->kind != PLACE_VCPU || (!guest->single_thread && t->guest_node != (int)g)) {
            continue;
        }
        unsigned on = t->host_node >= 0 ? host->node[t->host_node].host : 0;
        for (unsigned p = 0; p < host->num_pus; p++) {
            if (host->node[host->pu[p].node].host == on && bitmap_test(&t->pus, host->pu[p].os_index)) {
                double part = 1.0 / bitmap_count(&t->pus);
                share[host->pu[p].node] += part;
                sum += part;
            }
        }
    }
    for (unsigned x = 0; sum > 0 && x < host->num_nodes; x++) {
        share[x] /= sum;
    }
}

static void mem_shares(const struct plan *plan, const struct host_shape *host, unsigned g, const double *cpu_share,
                       double *share)
{
    const struct plan_node *n = &plan->node[g];
    double sum = 0;
    memset(share, 0, sizeof(*share) * host->num_nodes);
    for (unsigned x = 0; x < host->num_nodes; x++) {
        if (n->policy == PMEM_DEFAULT) {
            /* First touch: pages come to be where the vCPUs run, as far as there is memory. */
            share[x] = host->node[x].capacity > 0 && host->node[x].memory_allowed ? cpu_share[x] : 0;
        } else if (bitmap_test(&n->host_nodes, x)) {
            bool even = n->policy == PMEM_INTERLEAVE || n->policy == PMEM_BIND;
            share[x] = n->weight[x] > 0 ? n->weight[x] : even || (int)x == bitmap_next(&n->host_nodes, 0) ? 1 : 0;
        }
        sum += share[x];
    }
    for (unsigned x = 0; x < host->num_nodes; x++) {
        share[x] = sum > 0 ? share[x] / sum : host->node[x].capacity > 0 ? 1.0 / host->num_nodes : 0;
    }
}

double plan_cost(const struct plan *plan, const struct host_shape *host, const struct guest_shape *guest)
{
    unsigned n = plan->num_nodes, h = host->num_nodes;
    double *cpu = calloc((size_t)n * h, sizeof(double)), *mem = calloc((size_t)n * h, sizeof(double)), sum = 0;
    for (unsigned g = 0; g < n; g++) {
        cpu_shares(plan, host, guest, g, &cpu[g * h]);
        mem_shares(plan, host, g, &cpu[g * h], &mem[g * h]);
    }
    for (unsigned i = 0; i < n; i++) {
        /* What one access of guest node i's vCPUs to each host node costs; then over the owners of pages. */
        for (unsigned y = 0; y < h; y++) {
            double to = 0, from = 0;
            for (unsigned x = 0; x < h; x++) {
                to += cpu[i * h + x] > 0 ? cpu[i * h + x] * host_cost(host, x, y) : 0;
            }
            for (unsigned j = 0; j < n; j++) {
                from += guest->traffic[i][j] * mem[j * h + y];
            }
            sum += to * from;
        }
    }
    free(cpu);
    free(mem);
    return sum;
}
