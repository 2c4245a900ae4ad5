/* A plan and a host shape as JSON. */
#include "placement/internal.h"

#include <math.h>
#include <string.h>

static json_t *set_json(const struct bitmap *set)
{
    char text[1024];
    return json_string(bitmap_format(set, text, sizeof(text)));
}

static json_t *matrix_json(const double *m, unsigned n)
{
    json_t *rows = json_array();
    for (unsigned i = 0; i < n; i++) {
        json_t *row = json_array();
        for (unsigned j = 0; j < n; j++) {
            double v = m[i * n + j];
            json_array_append_new(row, isnan(v) || isinf(v) ? json_null() : json_real(v));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *host_node_json(const struct host_node *n, unsigned x)
{
    json_t *pages = json_array();
    for (unsigned k = 0; k < n->num_page_sizes; k++) {
        json_array_append_new(pages,
                              json_pack("{s:I, s:I, s:I}", "size", (json_int_t)n->page_size[k].size, "total",
                                        (json_int_t)n->page_size[k].total, "free", (json_int_t)n->page_size[k].free));
    }
    json_t *o = json_pack("{s:i, s:i, s:i, s:I, s:b, s:o, s:i, s:i, s:o, s:s}", "logical", (int)x, "os",
                          (int)n->os_index, "host", (int)n->host, "capacity", (json_int_t)n->capacity, "memory_allowed",
                          (int)n->memory_allowed, "pus", set_json(&n->pus), "num_pus", (int)n->num_pus, "num_cores",
                          (int)n->num_cores, "hugepages", pages, "kind", n->kind);
    if (n->have_free) {
        json_object_set_new(o, "free", json_integer((json_int_t)n->free));
    }
    return o;
}

json_t *host_to_json(const struct host_shape *h)
{
    static const char *const source[] = {"probe", "hmat", "slit", "flat"};
    json_t *hosts = json_array(), *nodes = json_array();
    for (unsigned i = 0; i < h->num_hosts; i++) {
        json_array_append_new(hosts,
                              json_pack("{s:s, s:s, s:b, s:s, s:s}", "name", h->host[i].name, "source",
                                        h->host[i].source, "this_system", (int)h->host[i].this_system, "topology_hash",
                                        h->host[i].hash, "restriction", h->host[i].restriction));
    }
    for (unsigned x = 0; x < h->num_nodes; x++) {
        json_array_append_new(nodes, host_node_json(&h->node[x], x));
    }
    json_t *root = json_pack("{s:o, s:o, s:s, s:o}", "hosts", hosts, "nodes", nodes, "cost_source",
                             source[h->cost_source], "cost", matrix_json(h->cost, h->num_nodes));
    if (h->latency_ns != NULL) {
        json_object_set_new(root, "latency_ns", matrix_json(h->latency_ns, h->num_nodes));
    }
    if (h->bandwidth_mbs != NULL) {
        json_object_set_new(root, "bandwidth_mbs", matrix_json(h->bandwidth_mbs, h->num_nodes));
    }
    return root;
}

static json_t *os_or_null(const struct host_shape *h, int x)
{
    return x < 0 ? json_null() : json_integer(h->node[x].os_index);
}

static json_t *plan_node_json(const struct host_shape *h, const struct guest_shape *g, const struct plan *plan,
                              unsigned i)
{
    const struct plan_node *n = &plan->node[i];
    struct bitmap os;
    host_nodes_to_os(h, &n->host_nodes, &os);
    json_t *o = json_pack("{s:i, s:I, s:o, s:o, s:o, s:s, s:o, s:b, s:b, s:s}", "guest_node", (int)i, "memory",
                          (json_int_t)g->node[i].mem, "vcpus", set_json(&g->node[i].cpus), "cpu_node",
                          os_or_null(h, n->cpu_node), "memory_node", os_or_null(h, n->mem_node), "policy",
                          place_mem_policy_name(n->policy), "host_nodes", set_json(&os), "told", (int)n->told,
                          "overcommitted", (int)n->overcommitted, "reason", n->reason);
    json_object_set_new(o, "thp", json_string(g->node[i].thp < 0 ? "host" : g->node[i].thp > 0 ? "on" : "off"));
    if (g->node[i].rank >= 0) { /* over ranks: where its harts run and its pages have their home */
        json_object_set_new(o, "rank", json_integer(g->node[i].rank));
    }
    if (h->num_hosts > 1 && (n->cpu_node >= 0 || n->mem_node >= 0)) {
        int x = n->cpu_node >= 0 ? n->cpu_node : n->mem_node;
        json_object_set_new(o, "host", json_string(h->host[h->node[x].host].name));
    }
    if (node_is_striped(n)) {
        json_t *w = json_object();
        bitmap_for_each(x, &n->host_nodes)
        {
            char key[16];
            snprintf(key, sizeof(key), "%u", h->node[x].os_index);
            json_object_set_new(w, key, json_integer(n->weight[x]));
        }
        json_object_set_new(o, "weights", w);
    }
    return o;
}

static json_t *threads_json(const struct host_shape *h, const struct plan *plan)
{
    json_t *threads = json_array();
    for (unsigned i = 0; i < plan->num_threads; i++) {
        const struct plan_thread *t = &plan->thread[i];
        json_array_append_new(threads,
                              json_pack("{s:s, s:i, s:s, s:o, s:o, s:o, s:b, s:b}", "kind", place_kind_name(t->kind),
                                        "index", (int)t->index, "name", t->name, "guest_node",
                                        t->guest_node < 0 ? json_null() : json_integer(t->guest_node), "host_node",
                                        os_or_null(h, t->host_node), "pus", set_json(&t->pus), "bound", (int)t->bound,
                                        "overcommitted", (int)t->overcommitted));
    }
    return threads;
}

json_t *plan_to_json(const struct host_shape *h, const struct guest_shape *g, const struct plan *plan)
{
    json_t *nodes = json_array(), *alts = json_array(), *notes = json_array(), *traffic = json_array();
    for (unsigned i = 0; i < plan->num_nodes; i++) {
        json_array_append_new(nodes, plan_node_json(h, g, plan, i));
        json_t *row = json_array();
        for (unsigned j = 0; j < plan->num_nodes; j++) {
            json_array_append_new(row, json_real(g->traffic[i][j]));
        }
        json_array_append_new(traffic, row);
    }
    for (unsigned a = 0; a < plan->num_alternatives; a++) {
        json_t *cpu = json_array(), *mem = json_array();
        for (unsigned i = 0; i < plan->num_nodes; i++) {
            json_array_append_new(cpu, os_or_null(h, plan->alternative[a].cpu_node[i]));
            json_array_append_new(mem, os_or_null(h, plan->alternative[a].mem_node[i]));
        }
        json_array_append_new(alts, json_pack("{s:f, s:o, s:o}", "cost", plan->alternative[a].cost, "cpu_nodes", cpu,
                                              "memory_nodes", mem));
    }
    for (unsigned i = 0; i < plan->num_notes; i++) {
        json_array_append_new(notes, json_string(plan->note[i]));
    }
    json_t *root = json_pack("{s:i, s:s, s:f, s:f, s:b, s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "weft_plan", 1,
                             "policy", place_policy_name(plan->policy), "cost", plan->cost, "bound", plan->bound,
                             "optimal", (int)plan->exact, "steps", (json_int_t)plan->steps, "applies_here",
                             (int)plan->applied_here, "nodes", nodes, "threads", threads_json(h, plan), "alternatives",
                             alts, "notes", notes, "traffic", traffic, "host", host_to_json(h));
    json_object_set_new(root, "cost_pack", plan->cost_pack < 0 ? json_null() : json_real(plan->cost_pack));
    json_object_set_new(root, "cost_spread", plan->cost_spread < 0 ? json_null() : json_real(plan->cost_spread));
    return root;
}
