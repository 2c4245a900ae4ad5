/* --dry-run: the resolved machine as a page of text. */
#include <inttypes.h>
#include <string.h>

#include "cli/options.h"
#include "weft/text.h"

/* "1.5 GiB", "64 MiB": as few digits as keep the value. */
static const char *size_text(uint64_t bytes, char *buf, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned u = 0;
    uint64_t whole = bytes;
    while (u + 1 < sizeof(units) / sizeof(units[0]) && whole != 0 && whole % 1024 == 0) {
        whole /= 1024;
        u++;
    }
    snprintf(buf, size, "%" PRIu64 " %s", whole, units[u]);
    return buf;
}

static void print_backend(const struct mem_backend *b, FILE *out)
{
    char list[256];
    fprintf(out, ", %s %s", backend_names[b->kind], b->id);
    if (b->policy != MEM_POLICY_DEFAULT) {
        fprintf(out, ", %s to host nodes %s", policy_names[b->policy],
                bitmap_format(&b->host_nodes, list, sizeof(list)));
    }
    fprintf(out, "%s%s%s%s", b->prealloc ? ", preallocated" : "", b->share ? ", shared" : "",
            b->mem_path[0] ? ", file " : "", b->mem_path);
}

static void print_nodes(const struct machine_config *c, FILE *out)
{
    char list[512], size[32];
    for (unsigned n = 0; n < c->num_nodes; n++) {
        const struct node_config *node = &c->node[n];
        bool has_cpu = bitmap_count(&node->cpus) > 0;
        fprintf(out, "node %-6uharts %s, memory %s", n,
                has_cpu ? bitmap_format(&node->cpus, list, sizeof(list)) : "none",
                size_text(node->mem, size, sizeof(size)));
        if (node->backend >= 0) {
            print_backend(&c->backend[node->backend], out);
        }
        fprintf(out, "\n");
    }
    if (c->num_nodes < 2) {
        return;
    }
    if (c->ranks > 1 && !c->have_distance) {
        fprintf(out, "distances  measured when the ranks have joined\n");
        return;
    }
    fprintf(out, "distances  node");
    for (unsigned b = 0; b < c->num_nodes; b++) {
        fprintf(out, " %3u", b);
    }
    for (unsigned a = 0; a < c->num_nodes; a++) {
        fprintf(out, "\n           %3u:", a);
        for (unsigned b = 0; b < c->num_nodes; b++) {
            fprintf(out, " %3u", c->distance[a][b]);
        }
    }
    fprintf(out, "\n");
}

static void print_smp(const struct machine_config *c, FILE *out)
{
    fprintf(out, "harts      %u", c->smp.cpus);
    if (c->smp.maxcpus != c->smp.cpus) {
        fprintf(out, " of %u", c->smp.maxcpus);
    }
    for (int l = 0; l < LEVEL_COUNT; l++) {
        unsigned n = shape_smp_level(&c->smp, (enum shape_level)l);
        if (n > 1 || l == LEVEL_SOCKET || l == LEVEL_CORE || l == LEVEL_THREAD) {
            fprintf(out, ", %u %s%s", n, shape_level_name((enum shape_level)l), n == 1 ? "" : "s");
        }
    }
    fprintf(out, " (each within the one before)\n");
}

static void print_boot(const struct machine_config *c, FILE *out)
{
    static const char *const bios[] = {"builtin", "", "none"};
    fprintf(out, "bios       %s\n", c->bios_kind == BIOS_FILE ? c->bios : bios[c->bios_kind]);
    const struct {
        const char *label, *value;
    } lines[] = {
        {"kernel", c->kernel}, {"initrd", c->initrd}, {"append", c->append}, {"dtb", c->dtb}, {"dumpdtb", c->dumpdtb}};
    for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (lines[i].value[0]) {
            fprintf(out, "%-10s %s\n", lines[i].label, lines[i].value);
        }
    }
    fprintf(out, "serial     %s%s%s\n", serial_names[c->serial], c->serial_path[0] ? " " : "", c->serial_path);
    for (unsigned i = 0; i < c->num_virtio; i++) {
        fprintf(out, "device     %s%s%s\n", c->virtio[i].driver, c->virtio[i].chardev[0] ? " on " : "",
                c->virtio[i].chardev);
    }
}

void cli_print_text(const struct machine_config *c, FILE *out)
{
    char size[32];
    if (c->name[0]) {
        fprintf(out, "name       %s\n", c->name);
    }
    fprintf(out, "machine    virt, aia %s, %s\n", aia_names[c->aia], c->aclint ? "aclint" : "clint");
    fprintf(out, "cpu        rv64gc");
    for (unsigned i = 0; i < EXT_COUNT; i++) {
        if (c->ext[i]) {
            fprintf(out, " %s", ext_names[i]);
        }
    }
    fprintf(out, "\naccel      tcg, thread %s, tier %s", c->thread == ACCEL_THREAD_MULTI ? "multi" : "single",
            tier_names[c->tier]);
    if (c->icount) {
        fprintf(out, ", icount %u ns an instruction", 1u << c->icount_shift);
    }
    fprintf(out, "\n");
    if (c->time_dilation > 1) {
        fprintf(out, "clock      %s\n", text_dilation(c->time_dilation).s);
    }
    print_smp(c, out);
    fprintf(out, "memory     %s\n", size_text(c->mem_size, size, sizeof(size)));
    print_nodes(c, out);
    fprintf(out, "placement  %s%s\n", c->place[0] ? c->place : "default", c->place_strict ? ", strict" : "");
    print_boot(c, out);
}
