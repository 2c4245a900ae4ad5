/* --dry-run --json: the resolved machine as one JSON object. Its fields are described in docs/weft.1. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"

/* Text of the operator's; bytes that are no UTF-8 become '?', an empty one null. */
static json_t *text(const char *s)
{
    if (*s == '\0') {
        return json_null();
    }
    json_t *j = json_string(s);
    if (j) {
        return j;
    }
    char clean[2048];
    size_t n = 0;
    for (; s[n] && n < sizeof(clean) - 1; n++) {
        clean[n] = (unsigned char)s[n] < 0x80 ? s[n] : '?';
    }
    clean[n] = '\0';
    return json_string(clean);
}

static json_t *list(const struct bitmap *b)
{
    json_t *a = json_array();
    bitmap_for_each(i, b)
    {
        json_array_append_new(a, json_integer(i));
    }
    return a;
}

static json_t *smp_json(const struct machine_config *c)
{
    json_t *o = json_pack("{s:i, s:i}", "cpus", c->smp.cpus, "maxcpus", c->smp.maxcpus);
    for (int l = 0; l < LEVEL_COUNT; l++) {
        char key[16];
        snprintf(key, sizeof(key), "%ss", shape_level_name((enum shape_level)l));
        json_object_set_new(o, key, json_integer(shape_smp_level(&c->smp, (enum shape_level)l)));
    }
    return o;
}

static json_t *harts_json(const struct machine_config *c)
{
    json_t *a = json_array();
    for (unsigned h = 0; h < c->smp.cpus; h++) {
        struct hart_ids i;
        shape_hart_ids(c, h, &i);
        json_array_append_new(a, json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "hart", h, "node",
                                           shape_hart_node(c, h), "drawer", i.drawer, "book", i.book, "socket",
                                           i.socket, "die", i.die, "cluster", i.cluster, "module", i.module, "core",
                                           i.core, "thread", i.thread));
    }
    return a;
}

static json_t *nodes_json(const struct machine_config *c)
{
    json_t *a = json_array();
    for (unsigned n = 0; n < c->num_nodes; n++) {
        const struct node_config *node = &c->node[n];
        json_array_append_new(a, json_pack("{s:i, s:o, s:I, s:o, s:o}", "id", n, "cpus", list(&node->cpus), "memory",
                                           (json_int_t)node->mem, "memdev",
                                           node->backend >= 0 ? text(c->backend[node->backend].id) : json_null(),
                                           "initiator",
                                           node->initiator >= 0 ? json_integer(node->initiator) : json_null()));
    }
    return a;
}

static json_t *distances_json(const struct machine_config *c)
{
    json_t *rows = json_array();
    for (unsigned a = 0; a < c->num_nodes; a++) {
        json_t *row = json_array();
        for (unsigned b = 0; b < c->num_nodes; b++) {
            json_array_append_new(row, json_integer(c->distance[a][b]));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *backends_json(const struct machine_config *c)
{
    json_t *a = json_array();
    for (unsigned i = 0; i < c->num_backends; i++) {
        const struct mem_backend *b = &c->backend[i];
        json_array_append_new(a, json_pack("{s:s, s:s, s:I, s:o, s:s, s:b, s:i, s:b, s:b, s:b, s:b, s:o, s:b, s:I}",
                                           "id", b->id, "type", backend_names[b->kind], "size", (json_int_t)b->size,
                                           "host-nodes", list(&b->host_nodes), "policy", policy_names[b->policy],
                                           "prealloc", b->prealloc, "prealloc-threads", b->prealloc_threads, "share",
                                           b->share, "merge", b->merge, "dump", b->dump, "reserve", b->reserve,
                                           "mem-path", text(b->mem_path), "hugetlb", b->hugetlb, "hugetlbsize",
                                           (json_int_t)b->hugetlb_size));
    }
    return a;
}

static json_t *hmat_json(const struct machine_config *c)
{
    json_t *lbs = json_array(), *caches = json_array();
    for (unsigned i = 0; i < c->num_hmat_lb; i++) {
        const struct hmat_lb *l = &c->hmat_lb[i];
        json_array_append_new(lbs, json_pack("{s:i, s:i, s:s, s:i, s:i, s:I}", "initiator", l->initiator, "target",
                                             l->target, "what", l->is_bandwidth ? "bandwidth" : "latency", "hierarchy",
                                             l->hierarchy, "data-type", l->data_type, "value", (json_int_t)l->value));
    }
    for (unsigned i = 0; i < c->num_hmat_cache; i++) {
        const struct hmat_cache *h = &c->hmat_cache[i];
        json_array_append_new(caches, json_pack("{s:i, s:i, s:I, s:i, s:i, s:i}", "node", h->node, "level", h->level,
                                                "size", (json_int_t)h->size, "line", h->line, "associativity",
                                                h->associativity, "policy", h->policy));
    }
    return json_pack("{s:b, s:o, s:o}", "on", c->hmat, "lb", lbs, "cache", caches);
}

static json_t *port_json(enum serial_kind kind, const char *path, bool server, bool wait)
{
    return json_pack("{s:s, s:o, s:b, s:b}", "kind", serial_names[kind], "path", text(path), "server", server, "wait",
                     wait);
}

static json_t *devices_json(const struct machine_config *c)
{
    json_t *a = json_array();
    for (unsigned i = 0; i < c->num_virtio; i++) {
        const struct virtio_device_config *d = &c->virtio[i];
        json_array_append_new(a, json_pack("{s:s, s:o, s:o, s:o}", "driver", d->driver, "id", text(d->id), "chardev",
                                           text(d->chardev), "name", text(d->name)));
    }
    return a;
}

static json_t *chardevs_json(const struct machine_config *c)
{
    json_t *a = json_array();
    for (unsigned i = 0; i < c->num_chardevs; i++) {
        const struct chardev_config *d = &c->chardev[i];
        json_t *o = port_json(d->kind, d->path, d->server, d->wait);
        json_object_set_new(o, "id", text(d->id));
        json_array_append_new(a, o);
    }
    return a;
}

static json_t *accel_json(const struct machine_config *c)
{
    json_t *icount =
        c->icount ? json_pack("{s:i, s:b}", "shift", c->icount_shift, "sleep", c->icount_sleep) : json_null();
    return json_pack("{s:s, s:s, s:s, s:i, s:o, s:i}", "name", "tcg", "thread",
                     c->thread == ACCEL_THREAD_MULTI ? "multi" : "single", "tier", tier_names[c->tier], "tb-size",
                     c->tb_size_mib, "icount", icount, "time-dilation", (int)c->time_dilation);
}

static json_t *boot_json(const struct machine_config *c)
{
    json_t *bios =
        c->bios_kind == BIOS_FILE ? text(c->bios) : json_string(c->bios_kind == BIOS_NONE ? "none" : "builtin");
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "bios", bios, "kernel", text(c->kernel), "initrd", text(c->initrd),
                     "append", text(c->append), "dtb", text(c->dtb));
}

static json_t *running_json(const struct machine_config *c)
{
    json_t *items = json_array();
    for (unsigned i = 0; log_names[i]; i++) {
        if (c->log_mask & (1u << i)) {
            json_array_append_new(items, json_string(log_names[i]));
        }
    }
    return json_pack("{s:b, s:b, s:b, s:o, s:o, s:o, s:s, s:o, s:b}", "no-reboot", c->no_reboot, "paused",
                     c->start_paused, "nographic", c->nographic, "pidfile", text(c->pidfile), "log", items, "log-file",
                     text(c->log_file), "access-matrix", matrix_names[c->access_matrix], "stats", text(c->stats_json),
                     "report", c->report);
}

void cli_print_json(const struct machine_config *c, FILE *out)
{
    json_t *ext = json_object();
    for (unsigned i = 0; i < EXT_COUNT; i++) {
        json_object_set_new(ext, ext_names[i], json_boolean(c->ext[i]));
    }
    json_t *o = json_object();
    json_object_set_new(o, "name", text(c->name));
    json_object_set_new(o, "machine",
                        json_pack("{s:s, s:s, s:b, s:o}", "type", "virt", "aia", aia_names[c->aia], "aclint", c->aclint,
                                  "dumpdtb", text(c->dumpdtb)));
    json_object_set_new(o, "cpu", json_pack("{s:s, s:o}", "model", "rv64", "extensions", ext));
    json_object_set_new(o, "accel", accel_json(c));
    json_object_set_new(o, "smp", smp_json(c));
    json_object_set_new(o, "memory", json_integer((json_int_t)c->mem_size));
    json_object_set_new(o, "numa", json_boolean(c->numa_given));
    json_object_set_new(o, "nodes", nodes_json(c));
    bool measured = c->ranks > 1 && !c->have_distance; /* at the start */
    json_object_set_new(o, "distances", measured ? json_null() : distances_json(c));
    json_object_set_new(o, "distances-given", json_boolean(c->have_distance));
    json_object_set_new(o, "backends", backends_json(c));
    json_object_set_new(o, "hmat", hmat_json(c));
    json_object_set_new(o, "harts", harts_json(c));
    json_object_set_new(o, "placement", json_pack("{s:o, s:b}", "policy", text(c->place), "strict", c->place_strict));
    json_object_set_new(o, "boot", boot_json(c));
    json_object_set_new(o, "serial", port_json(c->serial, c->serial_path, c->serial_server, c->serial_wait));
    json_object_set_new(o, "chardevs", chardevs_json(c));
    json_object_set_new(o, "devices", devices_json(c));
    json_object_set_new(o, "running", running_json(c));
    json_dumpf(o, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(o);
}
