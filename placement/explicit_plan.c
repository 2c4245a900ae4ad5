/* An explicit placement as a plan: what was told, checked against the host; the rest by the default policy. Pure. */
#include "placement/internal.h"

#include <string.h>

static bool pus_check(const struct host_shape *host, const struct bitmap *pus, const char *what, struct error *err)
{
    bitmap_for_each(p, pus)
    {
        if (host_pu_by_os(host, 0, (unsigned)p) == NULL) {
            return error_set(
                err,
                "--place: %s names CPU P#%d, which does not exist or may not be used here%s%s; see `lscpu -e` "
                "and the cgroup's cpuset.cpus",
                what, p, host->host[0].restriction[0] != 0 ? ": " : "", host->host[0].restriction);
        }
    }
    return true;
}

static bool nodes_check(const struct host_shape *host, const struct bitmap *nodes, unsigned guest_node,
                        struct error *err)
{
    bitmap_for_each(os, nodes)
    {
        int x = host_node_by_os(host, 0, (unsigned)os);
        const char *why = x < 0                           ? "which this host does not have"
                          : host->node[x].capacity == 0   ? "which has no memory"
                          : !host->node[x].memory_allowed ? "which the cgroup's cpuset.mems does not allow"
                                                          : NULL;
        if (why != NULL) {
            return error_set(err,
                             "--place: node %u names host node P#%d, %s; see `numactl -H` for those that can be used",
                             guest_node, os, why);
        }
    }
    return true;
}

/* The host node of most of these PUs. */
static int node_of_pus(const struct host_shape *host, const struct bitmap *pus)
{
    unsigned count[PLACE_MAX_HOST_NODES] = {0};
    int best = -1;
    for (unsigned i = 0; i < host->num_pus; i++) {
        if (bitmap_test(pus, host->pu[i].os_index)) {
            unsigned x = host->pu[i].node;
            count[x]++;
            best = best < 0 || count[x] > count[best] ? (int)x : best;
        }
    }
    return best;
}

static bool memory_tell(struct plan *plan, const struct host_shape *host, const struct guest_shape *guest,
                        const struct place_explicit *e, struct error *err)
{
    for (unsigned g = 0; g < WEFT_MAX_NODES; g++) {
        if (!e->has_mem[g]) {
            continue;
        }
        if (g >= guest->num_nodes) {
            return error_set(err, "--place: node %u does not exist; the guest has nodes 0-%u", g, guest->num_nodes - 1);
        }
        if (!nodes_check(host, &e->mem[g], g, err)) {
            return false;
        }
        struct plan_node *n = &plan->node[g];
        n->told = true;
        n->policy = e->mem_policy[g];
        bitmap_zero(&n->host_nodes);
        memset(n->weight, 0, sizeof(n->weight));
        n->cycle_len = 0;
        bitmap_for_each(os, &e->mem[g])
        {
            bitmap_set(&n->host_nodes, (unsigned)host_node_by_os(host, 0, (unsigned)os));
        }
        n->mem_node = bitmap_next(&n->host_nodes, 0);
        snprintf(n->reason, sizeof(n->reason), "memory as told");
    }
    return true;
}

static bool thread_tell(struct plan_thread *t, const struct host_shape *host, const struct place_explicit *e,
                        struct error *err)
{
    const struct bitmap *pus = NULL;
    char what[64] = "emulator";
    if (t->kind == PLACE_VCPU) {
        pus = e->has_vcpu[t->index] ? &e->vcpu[t->index] : NULL;
        snprintf(what, sizeof(what), "vcpu %u", t->index);
    } else if (t->kind == PLACE_IOTHREAD && e->has_iothread[t->index]) {
        pus = &e->iothread[t->index];
        snprintf(what, sizeof(what), "iothread %u", t->index);
    } else if (e->has_emulator) {
        pus = &e->emulator;
    }
    if (pus == NULL) {
        return true;
    }
    if (!pus_check(host, pus, what, err)) {
        return false;
    }
    t->pus = *pus;
    t->bound = true;
    t->host_node = node_of_pus(host, pus);
    return true;
}

bool plan_explicit_apply(struct plan *plan, const struct host_shape *host, const struct guest_shape *guest,
                         const struct place_options *opt, struct error *err)
{
    struct place_options rest = *opt;
    rest.policy = opt->base_policy;
    rest.explicit_ = NULL;
    struct plan *base = placement_plan(host, guest, &rest, err);
    if (base == NULL) {
        return false;
    }
    *plan = *base;
    plan_destroy(&base);
    plan->policy = PLACE_EXPLICIT;
    const struct place_explicit *e = opt->explicit_;
    for (unsigned v = 0; v < WEFT_MAX_HARTS; v++) {
        if (e->has_vcpu[v] && v >= guest->num_vcpus) {
            return error_set(err, "--place: vcpu %u does not exist; -smp gives the guest vCPUs 0-%u", v,
                             guest->num_vcpus - 1);
        }
    }
    for (unsigned i = 0; i < PLACE_MAX_IOTHREADS; i++) {
        if (e->has_iothread[i] && i >= guest->num_iothreads) {
            return error_set(err, "--place: iothread %u does not exist; the machine has %u", i, guest->num_iothreads);
        }
    }
    if (!memory_tell(plan, host, guest, e, err)) {
        return false;
    }
    unsigned load[BITMAP_BITS] = {0};
    for (unsigned i = 0; i < plan->num_threads; i++) {
        struct plan_thread *t = &plan->thread[i];
        if (!thread_tell(t, host, e, err)) {
            return false;
        }
        if (t->kind == PLACE_VCPU && t->bound && bitmap_count(&t->pus) == 1) {
            load[bitmap_next(&t->pus, 0)]++;
        }
        if (t->kind == PLACE_VCPU && t->bound && t->guest_node >= 0) {
            plan->node[t->guest_node].cpu_node = t->host_node;
        }
    }
    for (unsigned i = 0; i < plan->num_threads; i++) {
        struct plan_thread *t = &plan->thread[i];
        t->overcommitted = t->overcommitted || (t->kind == PLACE_VCPU && t->bound && bitmap_count(&t->pus) == 1 &&
                                                load[bitmap_next(&t->pus, 0)] > 1);
    }
    return true;
}
