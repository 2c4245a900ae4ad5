/* The same plan in the words of other tools: libvirt's domain XML, QEMU's command line, Open MPI's rankfile. */
#include "placement/internal.h"

#include <string.h>

static void libvirt_threads(FILE *out, const struct plan *plan)
{
    char cpus[1024];
    fprintf(out, "  <cputune>\n");
    for (unsigned i = 0; i < plan->num_threads; i++) {
        const struct plan_thread *t = &plan->thread[i];
        if (!t->bound) {
            continue;
        }
        bitmap_format(&t->pus, cpus, sizeof(cpus));
        if (t->kind == PLACE_VCPU) {
            fprintf(out, "    <vcpupin vcpu='%u' cpuset='%s'/>\n", t->index, cpus);
        } else if (t->kind == PLACE_MAIN) {
            fprintf(out, "    <emulatorpin cpuset='%s'/>\n", cpus);
        } else if (t->kind == PLACE_IOTHREAD) { /* libvirt numbers iothreads from 1 */
            fprintf(out, "    <iothreadpin iothread='%u' cpuset='%s'/>\n", t->index + 1, cpus);
        }
    }
    fprintf(out, "  </cputune>\n");
}

static void os_list(const struct host_shape *h, const struct plan_node *n, char *buf, size_t size)
{
    struct bitmap os;
    host_nodes_to_os(h, &n->host_nodes, &os);
    bitmap_format(&os, buf, size);
}

static void libvirt_write(FILE *out, const struct host_shape *h, const struct guest_shape *g, const struct plan *plan)
{
    static const char *const mode[] = {"", "strict", "preferred", "interleave", "restrictive"};
    char list[1024];
    uint64_t mem = 0;
    for (unsigned i = 0; i < plan->num_nodes; i++) {
        mem += g->node[i].mem;
    }
    fprintf(out, "<domain type='qemu'>\n  <memory unit='KiB'>%llu</memory>\n  <vcpu placement='static'>%u</vcpu>\n",
            (unsigned long long)(mem >> 10), g->num_vcpus);
    if (g->num_iothreads > 0) {
        fprintf(out, "  <iothreads>%u</iothreads>\n", g->num_iothreads);
    }
    libvirt_threads(out, plan);
    fprintf(out, "  <numatune>\n");
    for (unsigned i = 0; i < plan->num_nodes; i++) {
        const struct plan_node *n = &plan->node[i];
        os_list(h, n, list, sizeof(list));
        if (n->policy != PMEM_DEFAULT && list[0] != 0) {
            fprintf(out, "    <memnode cellid='%u' mode='%s' nodeset='%s'/>\n", i, mode[n->policy], list);
        }
    }
    fprintf(out, "  </numatune>\n  <cpu>\n    <numa>\n");
    for (unsigned i = 0; i < plan->num_nodes; i++) {
        fprintf(out, "      <cell id='%u' cpus='%s' memory='%llu' unit='KiB'/>\n", i,
                bitmap_format(&g->node[i].cpus, list, sizeof(list)), (unsigned long long)(g->node[i].mem >> 10));
    }
    fprintf(out, "    </numa>\n  </cpu>\n</domain>\n");
}

static void qemu_write(FILE *out, const struct host_shape *h, const struct guest_shape *g, const struct plan *plan)
{
    static const char *const policy[] = {"default", "bind", "preferred", "interleave", "bind"};
    char list[1024];
    uint64_t mem = 0;
    for (unsigned i = 0; i < plan->num_nodes; i++) {
        mem += g->node[i].mem;
    }
    fprintf(out, "-smp %u -m %lluM", g->num_vcpus, (unsigned long long)(mem >> 20));
    for (unsigned i = 0; i < plan->num_nodes; i++) {
        const struct plan_node *n = &plan->node[i];
        os_list(h, n, list, sizeof(list));
        if (g->node[i].mem > 0) {
            fprintf(out, " \\\n  -object memory-backend-ram,id=m%u,size=%lluM", i,
                    (unsigned long long)(g->node[i].mem >> 20));
            if (n->policy != PMEM_DEFAULT && list[0] != 0) {
                /* QEMU's list is one host-nodes.N=FROM-TO for each range. */
                char *save, *part = strtok_r(list, ",", &save);
                for (unsigned k = 0; part != NULL; part = strtok_r(NULL, ",", &save), k++) {
                    fprintf(out, ",host-nodes.%u=%s", k, part);
                }
                fprintf(out, ",policy=%s", policy[n->policy]);
            }
        }
        fprintf(out, " \\\n  -numa node,nodeid=%u", i);
        if (bitmap_count(&g->node[i].cpus) > 0) {
            char *save, *part = strtok_r(bitmap_format(&g->node[i].cpus, list, sizeof(list)), ",", &save);
            for (; part != NULL; part = strtok_r(NULL, ",", &save)) {
                fprintf(out, ",cpus=%s", part);
            }
        }
        if (g->node[i].mem > 0) {
            fprintf(out, ",memdev=m%u", i);
        }
    }
    fprintf(out, "\n# QEMU does not bind its threads itself; with the thread ids of query-cpus-fast:\n");
    for (unsigned i = 0; i < plan->num_threads; i++) {
        const struct plan_thread *t = &plan->thread[i];
        if (t->bound && (t->kind == PLACE_VCPU || t->kind == PLACE_MAIN)) {
            fprintf(out, "# taskset -cp %s TID-OF-%s%u\n", bitmap_format(&t->pus, list, sizeof(list)),
                    t->kind == PLACE_VCPU ? "CPU-" : "MAIN-", t->index);
        }
    }
}

/* One rank for each guest node; its slots are the PUs of all its vCPUs. */
static void rankfile_write(FILE *out, const struct host_shape *h, const struct guest_shape *g, const struct plan *plan)
{
    char list[1024];
    unsigned rank = 0;
    for (unsigned i = 0; i < plan->num_nodes; i++) {
        struct bitmap pus = {0};
        int x = plan->node[i].cpu_node;
        for (unsigned t = 0; t < plan->num_threads; t++) {
            const struct plan_thread *th = &plan->thread[t];
            if (th->kind == PLACE_VCPU && th->guest_node == (int)i) {
                bitmap_for_each(p, &th->pus)
                {
                    bitmap_set(&pus, (unsigned)p);
                }
                x = th->host_node >= 0 ? th->host_node : x;
            }
        }
        if (bitmap_count(&pus) > 0) {
            fprintf(out, "rank %u=%s slot=%s\n", rank++, h->host[x >= 0 ? h->node[x].host : 0].name,
                    bitmap_format(&pus, list, sizeof(list)));
        }
    }
    fprintf(out, "# guest nodes without vCPUs have no rank; run with: mpirun --use-hwthread-cpus --rankfile FILE\n");
}

bool plan_write(const struct host_shape *host, const struct guest_shape *guest, const struct plan *plan,
                enum placement_format format, FILE *out, struct error *err)
{
    switch (format) {
    case PLACE_TEXT:
        plan_print(out, host, guest, plan, NULL);
        return true;
    case PLACE_JSON: {
        json_t *root = plan_to_json(host, guest, plan);
        json_dumpf(root, out, JSON_INDENT(2));
        fputc('\n', out);
        json_decref(root);
        return true;
    }
    case PLACE_LIBVIRT:
        libvirt_write(out, host, guest, plan);
        return true;
    case PLACE_QEMU:
        qemu_write(out, host, guest, plan);
        return true;
    case PLACE_RANKFILE:
        rankfile_write(out, host, guest, plan);
        return true;
    default:
        return plan_draw(host, guest, plan, format == PLACE_PNG, out, err);
    }
}
