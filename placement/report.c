/* Tables for people. Eighty columns; L# and P# are always labelled. */
#include "placement/internal.h"

#include <stdlib.h>
#include <string.h>

static const char *const cost_name[] = {"weft probe", "HMAT", "SLIT", "none known"};

static const char *node_label(const struct host_shape *h, int x, char *buf, size_t size)
{
    if (x < 0) {
        snprintf(buf, size, "-");
    } else if (h->num_hosts > 1) {
        snprintf(buf, size, "%.12s P#%u", h->host[h->node[x].host].name, h->node[x].os_index);
    } else {
        snprintf(buf, size, "L#%d P#%u", x, h->node[x].os_index);
    }
    return buf;
}

/* A list that fits its column: the middle is left out, the table stays a table. */
static const char *list_fit(const struct bitmap *set, char *buf, size_t size, unsigned width)
{
    bitmap_format(set, buf, size);
    size_t n = strlen(buf);
    if (n > width && width > 8) {
        char tail[16];
        snprintf(tail, sizeof(tail), "..(%u)", bitmap_count(set));
        size_t keep = width - strlen(tail);
        while (keep > 0 && buf[keep] != ',') {
            keep--;
        }
        snprintf(buf + keep, size - keep, "%s", tail);
    }
    return buf;
}

static void head_print(FILE *out, const struct host_shape *h, const struct plan *plan)
{
    static const char *const grain[] = {"bound to PUs", "bound to cores", "bound to nodes"};
    fprintf(out, "Placement: %s%s%s\n", place_policy_name(plan->policy), plan->policy == PLACE_NONE ? "" : ", ",
            plan->policy == PLACE_NONE ? "" : grain[plan->grain]);
    for (unsigned i = 0; i < h->num_hosts; i++) {
        unsigned nodes = 0, cores = 0, pus = 0;
        for (unsigned x = 0; x < h->num_nodes; x++) {
            if (h->node[x].host == i) {
                nodes++;
                cores += h->node[x].num_cores;
                pus += h->node[x].num_pus;
            }
        }
        fprintf(out, "Host %s (%s): %u node%s, %u core%s, %u PU%s, topology %s\n", h->host[i].name, h->host[i].source,
                nodes, nodes == 1 ? "" : "s", cores, cores == 1 ? "" : "s", pus, pus == 1 ? "" : "s", h->host[i].hash);
    }
    fprintf(out, "Cost of one access: %.2f (10 = local; distances from %s)", plan->cost, cost_name[h->cost_source]);
    if (plan->policy == PLACE_MATCH) {
        double gap = plan->cost > 0 ? (plan->cost - plan->bound) / plan->cost * 100 : 0;
        if (plan->exact) {
            fprintf(out, "; optimal (%llu steps)", (unsigned long long)plan->steps);
        } else {
            fprintf(out, "; at most %.1f %% above the optimum (bound %.2f)", gap, plan->bound);
        }
    }
    fputc('\n', out);
}

static const char *thp_text(int thp)
{
    return thp < 0 ? "" : thp > 0 ? "  THP on" : "  THP off";
}

static bool over_ranks(const struct guest_shape *g)
{
    bool over = false;
    for (unsigned i = 0; i < g->num_nodes; i++) {
        over = over || g->node[i].rank > 0;
    }
    return over;
}

static void nodes_print(FILE *out, const struct host_shape *h, const struct guest_shape *g, const struct plan *plan)
{
    char a[64], b[64], c[128], d[256], home[24] = "";
    bool ranks = over_ranks(g);
    fprintf(out, "\n%-5s %s%-9s %-11s %-11s %-10s %s\n", "guest", ranks ? "home    " : "", "memory", "on host",
            "vCPUs on", "policy", "vCPUs");
    for (unsigned i = 0; i < plan->num_nodes; i++) {
        const struct plan_node *n = &plan->node[i];
        if (ranks) { /* where the node's pages have their home, and its harts run */
            snprintf(home, sizeof(home), "rank %-2d ", g->node[i].rank);
        }
        if (ranks && g->node[i].mem == 0 && g->node[i].num_cpus == 0) {
            fprintf(out, "%-5u %sthere\n", i, home);
            continue;
        }
        struct bitmap os;
        host_nodes_to_os(h, &n->host_nodes, &os);
        char many[140];
        snprintf(many, sizeof(many), "P#%s", list_fit(&os, c, sizeof(c), 9));
        bool one = bitmap_count(&os) == 1 || n->policy == PMEM_DEFAULT;
        fprintf(out, "%-5u %s%-9s %-11s %-11s %-10s %s%s%s\n", i, home, size_text(g->node[i].mem, a, sizeof(a)),
                n->policy == PMEM_DEFAULT ? "any"
                : one ? node_label(h, n->mem_node >= 0 ? n->mem_node : bitmap_next(&n->host_nodes, 0), b, sizeof(b))
                      : many,
                node_label(h, n->cpu_node, d, sizeof(d)), place_mem_policy_name(n->policy),
                list_fit(&g->node[i].cpus, c, sizeof(c), ranks ? 16 : 24), thp_text(g->node[i].thp),
                n->overcommitted ? "  OVERCOMMITTED" : "");
    }
}

static const struct proof_thread *proof_of(const struct proof *proof, const struct plan_thread *t)
{
    for (unsigned i = 0; proof != NULL && i < proof->num_threads; i++) {
        if (proof->thread[i].kind == t->kind && proof->thread[i].index == t->index) {
            return &proof->thread[i];
        }
    }
    return NULL;
}

/* Main loop's companions mostly have its place; they are then named in one line instead of one each. */
static bool like_main(const struct plan *plan, const struct plan_thread *t)
{
    const struct plan_thread *main_thread = plan_thread_find(plan, PLACE_MAIN, 0);
    return main_thread != NULL && t->kind != PLACE_VCPU && t->kind != PLACE_MAIN && t->kind != PLACE_IOTHREAD &&
           t->bound == main_thread->bound && memcmp(&t->pus, &main_thread->pus, sizeof(t->pus)) == 0;
}

/* L# of the PUs, which are P#, of a thread's host. */
static void logical_pus(const struct host_shape *h, const struct plan_thread *t, struct bitmap *out)
{
    unsigned host = t->host_node >= 0 ? h->node[t->host_node].host : 0;
    bitmap_zero(out);
    bitmap_for_each(p, &t->pus)
    {
        const struct host_pu *pu = host_pu_by_os(h, host, (unsigned)p);
        if (pu != NULL && pu->logical < BITMAP_BITS) {
            bitmap_set(out, pu->logical);
        }
    }
}

static void thread_print(FILE *out, const struct host_shape *h, const struct plan_thread *t, const struct proof *proof)
{
    char a[64], b[256], c[256], guest[16] = "-", line[256];
    const struct proof_thread *f = proof_of(proof, t);
    if (t->guest_node >= 0) {
        snprintf(guest, sizeof(guest), "%d", t->guest_node);
    }
    int n =
        snprintf(line, sizeof(line), "%-14s %-5s %-11s %-18s", t->name, guest,
                 t->bound ? node_label(h, t->host_node, a, sizeof(a)) : "floats", list_fit(&t->pus, b, sizeof(b), 18));
    if (f != NULL) {
        snprintf(line + n, sizeof(line) - (size_t)n, " %-8d %s%s", f->tid,
                 f->gone ? "ended" : list_fit(&f->found, c, sizeof(c), 12),
                 f->gone || !f->bound ? ""
                 : f->ok              ? " as planned"
                                      : " DEVIATES");
    } else if (proof == NULL) {
        struct bitmap logical;
        logical_pus(h, t, &logical);
        snprintf(line + n, sizeof(line) - (size_t)n, " %s", list_fit(&logical, c, sizeof(c), 18));
    }
    fprintf(out, "%s%s\n", line, t->overcommitted ? " (shared)" : "");
}

static void threads_print(FILE *out, const struct host_shape *h, const struct plan *plan, const struct proof *proof)
{
    fprintf(out, "\n%-14s %-5s %-11s %-18s %s\n", "thread", "guest", "host node", "PUs P#",
            proof != NULL ? "tid      read back" : "PUs L#");
    for (unsigned i = 0; i < plan->num_threads; i++) {
        const struct plan_thread *t = &plan->thread[i];
        /* Before a start all kinds are of interest; of a running machine, only the threads there are. */
        if (proof == NULL ? !like_main(plan, t) : proof_of(proof, t) != NULL) {
            thread_print(out, h, t, proof);
        }
    }
    /* Threads beyond those a plan counts: of pools and of libraries. */
    for (unsigned i = 0; proof != NULL && i < proof->num_threads; i++) {
        const struct proof_thread *f = &proof->thread[i];
        const struct plan_thread *like = thread_place(plan, f->kind, f->index);
        if (like != NULL && plan_thread_find(plan, f->kind, f->index) == NULL) {
            struct plan_thread t = *like;
            t.kind = f->kind;
            t.index = f->index;
            snprintf(t.name, sizeof(t.name), "%.14s", f->name);
            thread_print(out, h, &t, proof);
        }
    }
    unsigned n = 0;
    for (unsigned i = 0; proof == NULL && i < plan->num_threads; i++) {
        if (like_main(plan, &plan->thread[i])) {
            fprintf(out, "%s%s", n++ > 0 ? ", " : "", plan->thread[i].name);
        }
    }
    fprintf(out, "%s", n > 0 ? ": as the main loop\n" : "");
}

static void ranges_print(FILE *out, const struct proof *proof)
{
    fprintf(out, "\n%-5s %-10s %-10s %s\n", "guest", "pages", "touched", "found on host nodes");
    for (unsigned i = 0; i < proof->num_ranges; i++) {
        const struct proof_range *r = &proof->range[i];
        fprintf(out, "%-5u %-10llu ", r->guest_node, (unsigned long long)r->pages);
        if (r->looked_at < r->pages) {
            fprintf(out, "%-10.0f ",
                    r->looked_at > 0 ? (double)r->present / (double)r->looked_at * (double)r->pages : 0);
        } else {
            fprintf(out, "%-10llu ", (unsigned long long)r->present);
        }
        for (unsigned x = 0; x < PLACE_MAX_HOST_NODES; x++) {
            if (r->on_node[x] > 0) {
                fprintf(out, "P#%u %.4g %% ", x, 100.0 * (double)r->on_node[x] / (double)r->present);
            }
        }
        fprintf(out, "%s%s\n", r->looked_at < r->pages ? "(sampled) " : "",
                !r->bound                         ? ""
                : r->misplaced > 0                ? "DEVIATES"
                : !r->policy_ok                   ? "NOT BOUND"
                : r->present == 0 && r->pages > 0 ? "bound, untouched"
                                                  : "as planned");
    }
    if (proof->refused[0] != 0) {
        fprintf(out, "pages could not be looked at: %s\n", proof->refused);
    }
}

static void comparison_print(FILE *out, const struct host_shape *h, const struct plan *plan)
{
    if (plan->cost_pack >= 0 || plan->cost_spread >= 0) {
        fprintf(out, "\nFor comparison:");
        if (plan->cost_pack >= 0) {
            fprintf(out, " pack %.2f", plan->cost_pack);
        }
        if (plan->cost_spread >= 0) {
            fprintf(out, "%s spread %.2f", plan->cost_pack >= 0 ? "," : "", plan->cost_spread);
        }
        fputc('\n', out);
    }
    if (plan->num_alternatives > 0) {
        fprintf(out, "%s\n", plan->alternatives_exact ? "Next best plans:" : "Other plans found:");
    }
    for (unsigned a = 0; a < plan->num_alternatives; a++) {
        const struct plan_alternative *alt = &plan->alternative[a];
        fprintf(out, "  %8.2f (%+.1f %%): guest nodes on P#", alt->cost,
                plan->cost > 0 ? (alt->cost - plan->cost) / plan->cost * 100 : 0);
        for (unsigned i = 0; i < plan->num_nodes; i++) {
            int c = alt->cpu_node[i], m = alt->mem_node[i];
            if (i == 12 && plan->num_nodes > 13) {
                fprintf(out, ",...");
                break;
            }
            fprintf(out, "%s", i > 0 ? "," : "");
            if (c >= 0) {
                fprintf(out, "%u", h->node[c].os_index);
            }
            if (m != c && m >= 0) {
                fprintf(out, "(memory %u)", h->node[m].os_index);
            }
        }
        fputc('\n', out);
    }
}

void plan_print(FILE *out, const struct host_shape *h, const struct guest_shape *g, const struct plan *plan,
                const struct proof *proof)
{
    head_print(out, h, plan);
    nodes_print(out, h, g, plan);
    threads_print(out, h, plan, proof);
    if (proof != NULL) {
        ranges_print(out, proof);
    } else {
        fprintf(out, "\nWhy:\n");
        for (unsigned i = 0; i < plan->num_nodes; i++) {
            if (plan->node[i].reason[0] != 0) {
                fprintf(out, "  guest node %u: %s\n", i, plan->node[i].reason);
            }
        }
        fprintf(out, "  traffic: %s\n",
                g->traffic_measured ? "as measured"
                                    : "a model, 80 % of accesses local; give "
                                      "--traffic for a measured one");
        comparison_print(out, h, plan);
    }
    for (unsigned i = 0; i < plan->num_notes; i++) {
        fprintf(out, "Note: %s\n", plan->note[i]);
    }
}

void placement_print(struct placement *p, const struct proof *proof, FILE *out, enum placement_format format)
{
    pthread_mutex_lock(&p->place_lock);
    if (format == PLACE_JSON) {
        json_t *root = json_object();
        json_object_set_new(root, "plan", plan_to_json(p->host, &p->guest, p->plan));
        if (proof != NULL) {
            json_object_set_new(root, "proof", proof_to_json_object(proof));
        }
        json_dumpf(root, out, JSON_INDENT(2));
        fputc('\n', out);
        json_decref(root);
    } else {
        plan_print(out, p->host, &p->guest, p->plan, proof);
    }
    pthread_mutex_unlock(&p->place_lock);
}
