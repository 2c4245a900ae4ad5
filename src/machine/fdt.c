/* The flattened device tree of `virt`, with the nodes and properties of QEMU's (Devicetree specification 0.4). */
#include <assert.h>
#include <errno.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virt.h"
#include "weft/shape.h"

enum { FDT_SPACE = 1 << 20, UART_CLOCK_HZ = 3686400, CBO_BLOCK_SIZE = 64 };

struct builder {
    void *fdt;
    const struct machine_config *cfg;
    struct virt_groups groups;
    /* phandles */
    uint32_t test, imsic_m, imsic_s, irqchip[VIRT_MAX_GROUPS], aplic_m[VIRT_MAX_GROUPS];
};

static uint32_t cpu_phandle(unsigned hart)
{
    return 1 + 2 * hart;
}

static uint32_t intc_phandle(unsigned hart)
{
    return 2 + 2 * hart;
}

/* The buffer is made large enough for the largest machine, so a failure here is ours. */
static void ok(int r)
{
    assert(r == 0);
}

static void begin(struct builder *b, const char *fmt, ...)
{
    char name[64];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof(name), fmt, ap);
    va_end(ap);
    ok(fdt_begin_node(b->fdt, name));
}

static void end(struct builder *b)
{
    ok(fdt_end_node(b->fdt));
}

static void prop_cells(struct builder *b, const char *name, const uint32_t *cells, unsigned n)
{
    fdt32_t *out;
    ok(fdt_property_placeholder(b->fdt, name, (int)(n * sizeof(fdt32_t)), (void **)&out));
    for (unsigned i = 0; i < n; i++) {
        out[i] = cpu_to_fdt32(cells[i]);
    }
}
#define CELLS(b, name, ...)                                                                                            \
    prop_cells(b, name, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void prop_string(struct builder *b, const char *name, const char *value)
{
    ok(fdt_property_string(b->fdt, name, value));
}
/* A list of strings given as one literal with embedded NULs. */
#define STRINGS(b, name, literal) ok(fdt_property((b)->fdt, name, literal, sizeof(literal)))

static void prop_flag(struct builder *b, const char *name)
{
    ok(fdt_property(b->fdt, name, NULL, 0));
}

static void prop_reg(struct builder *b, uint64_t base, uint64_t size)
{
    CELLS(b, "reg", (uint32_t)(base >> 32), (uint32_t)base, (uint32_t)(size >> 32), (uint32_t)size);
}

/* ---- harts ---- */

/* In the canonical order of the unprivileged specification, chapter "ISA Extension Naming Conventions". */
static const struct {
    const char *name;
    int ext; /* -1: always there */
} isa_extensions[] = {
    {"zicbom", EXT_ZICBOM},
    {"zicboz", EXT_ZICBOZ},
    {"zicntr", -1},
    {"zicond", EXT_ZICOND},
    {"zicsr", -1},
    {"zifencei", -1},
    {"zihintpause", EXT_ZIHINTPAUSE},
    {"zihpm", -1},
    {"zawrs", EXT_ZAWRS},
    {"zba", EXT_ZBA},
    {"zbb", EXT_ZBB},
    {"zbs", EXT_ZBS},
    {"smaia", EXT_SMAIA},
    {"ssaia", EXT_SSAIA},
    {"sstc", EXT_SSTC},
    {"svadu", EXT_SVADU},
    {"svinval", EXT_SVINVAL},
    {"svnapot", EXT_SVNAPOT},
    {"svpbmt", EXT_SVPBMT},
};

static void hart_isa(struct builder *b)
{
    char isa[512] = "rv64imafdc", list[512];
    size_t len = strlen(isa), list_len = 0;
    for (const char *p = "imafdc"; *p; p++) {
        list[list_len++] = *p;
        list[list_len++] = 0;
    }
    for (unsigned i = 0; i < sizeof(isa_extensions) / sizeof(isa_extensions[0]); i++) {
        if (isa_extensions[i].ext >= 0 && !b->cfg->ext[isa_extensions[i].ext]) {
            continue;
        }
        len += (size_t)snprintf(isa + len, sizeof(isa) - len, "_%s", isa_extensions[i].name);
        list_len += (size_t)snprintf(list + list_len, sizeof(list) - list_len, "%s", isa_extensions[i].name) + 1;
        assert(len < sizeof(isa) && list_len < sizeof(list));
    }
    prop_string(b, "riscv,isa", isa);
    prop_string(b, "riscv,isa-base", "rv64i");
    ok(fdt_property(b->fdt, "riscv,isa-extensions", list, (int)list_len));
}

static void hart_node(struct builder *b, unsigned hart)
{
    const bool *ext = b->cfg->ext;
    begin(b, "cpu@%x", hart);
    CELLS(b, "phandle", cpu_phandle(hart));
    if (b->cfg->numa_given) {
        CELLS(b, "numa-node-id", shape_hart_node(b->cfg, hart));
    }
    prop_string(b, "device_type", "cpu");
    CELLS(b, "reg", hart);
    prop_string(b, "status", "okay");
    prop_string(b, "compatible", "riscv");
    if (ext[EXT_ZICBOM]) {
        CELLS(b, "riscv,cbom-block-size", CBO_BLOCK_SIZE);
    }
    if (ext[EXT_ZICBOZ]) {
        CELLS(b, "riscv,cboz-block-size", CBO_BLOCK_SIZE);
    }
    hart_isa(b);
    prop_string(b, "mmu-type", ext[EXT_SV57] ? "riscv,sv57" : ext[EXT_SV48] ? "riscv,sv48" : "riscv,sv39");
    begin(b, "interrupt-controller");
    CELLS(b, "#interrupt-cells", 1);
    prop_flag(b, "interrupt-controller");
    prop_string(b, "compatible", "riscv,cpu-intc");
    CELLS(b, "phandle", intc_phandle(hart));
    end(b);
    end(b);
}

/* The binding knows sockets, clusters, cores and threads: outer and in-between levels are folded into these. */
struct map_place {
    unsigned socket, cluster, core, thread;
};

static void map_place(const struct machine_config *cfg, unsigned hart, struct map_place *p)
{
    const struct smp_config *s = &cfg->smp;
    struct hart_ids ids;
    shape_hart_ids(cfg, hart, &ids);
    p->socket = (ids.drawer * s->books + ids.book) * s->sockets + ids.socket;
    p->cluster = ids.die * s->clusters + ids.cluster;
    p->core = ids.module * s->cores + ids.core;
    p->thread = ids.thread;
}

static void cpu_map(struct builder *b)
{
    struct map_place last = {0}, p;
    begin(b, "cpu-map");
    for (unsigned hart = 0; hart < b->cfg->smp.cpus; hart++) {
        map_place(b->cfg, hart, &p);
        bool socket = hart == 0 || p.socket != last.socket;
        bool cluster = socket || p.cluster != last.cluster, core = cluster || p.core != last.core;
        for (unsigned n = hart == 0 ? 0 : (unsigned)(socket + cluster + core); n > 0; n--) {
            end(b);
        }
        if (socket) {
            begin(b, "socket%u", p.socket);
        }
        if (cluster) {
            begin(b, "cluster%u", p.cluster);
        }
        if (core) {
            begin(b, "core%u", p.core);
        }
        if (b->cfg->smp.threads > 1) {
            begin(b, "thread%u", p.thread);
            CELLS(b, "cpu", cpu_phandle(hart));
            end(b);
        } else {
            CELLS(b, "cpu", cpu_phandle(hart));
        }
        last = p;
    }
    for (unsigned n = 0; n < 4; n++) {
        end(b); /* core, cluster, socket, cpu-map */
    }
}

static void cpus(struct builder *b)
{
    begin(b, "cpus");
    CELLS(b, "#address-cells", 1);
    CELLS(b, "#size-cells", 0);
    CELLS(b, "timebase-frequency", GUEST_TIMEBASE_HZ);
    for (unsigned hart = 0; hart < b->cfg->smp.cpus; hart++) {
        hart_node(b, hart);
    }
    cpu_map(b);
    end(b);
}

/* ---- memory and distances ---- */

static void memory(struct builder *b)
{
    for (unsigned n = 0; n < b->cfg->num_nodes; n++) {
        gpa_t base;
        uint64_t size;
        virt_node_ram(b->cfg, n, &base, &size);
        if (size == 0) {
            continue;
        }
        begin(b, "memory@%llx", (unsigned long long)base);
        prop_string(b, "device_type", "memory");
        prop_reg(b, base, size);
        if (b->cfg->numa_given) {
            CELLS(b, "numa-node-id", n);
        }
        end(b);
    }
}

static void distance_map(struct builder *b)
{
    unsigned n = b->cfg->num_nodes;
    if (!b->cfg->numa_given || !b->cfg->have_distance) {
        return;
    }
    uint32_t *matrix = calloc((size_t)n * n * 3, sizeof(*matrix)), *c = matrix;
    assert(matrix);
    for (unsigned from = 0; from < n; from++) {
        for (unsigned to = 0; to < n; to++) {
            *c++ = from;
            *c++ = to;
            *c++ = b->cfg->distance[from][to];
        }
    }
    begin(b, "distance-map");
    prop_string(b, "compatible", "numa-distance-map-v1");
    prop_cells(b, "distance-matrix", matrix, n * n * 3);
    end(b);
    free(matrix);
}

/* ---- interrupt controllers ---- */

/* interrupts-extended: for each hart of the group its local lines `irqs`. */
static void extended(struct builder *b, unsigned first, unsigned harts, const uint32_t *irqs, unsigned num_irqs)
{
    uint32_t cells[WEFT_MAX_HARTS * 4];
    unsigned n = 0;
    for (unsigned h = first; h < first + harts; h++) {
        for (unsigned i = 0; i < num_irqs; i++) {
            cells[n++] = intc_phandle(h);
            cells[n++] = irqs[i];
        }
    }
    prop_cells(b, "interrupts-extended", cells, n);
}

static void group_node_id(struct builder *b, unsigned g)
{
    if (b->cfg->numa_given && b->groups.per_node) {
        CELLS(b, "numa-node-id", g);
    }
}

static void clint(struct builder *b, unsigned g)
{
    static const uint32_t lines[] = {IRQ_MSI, IRQ_MTI};
    uint64_t base = VIRT_CLINT_BASE + (uint64_t)g * ACLINT_REG_SIZE;
    begin(b, "clint@%llx", (unsigned long long)base);
    STRINGS(b, "compatible", "sifive,clint0\0riscv,clint0");
    prop_reg(b, base, ACLINT_REG_SIZE);
    extended(b, b->groups.first[g], b->groups.harts[g], lines, 2);
    group_node_id(b, g);
    end(b);
}

static void swi(struct builder *b, unsigned g, const char *name, const char *compatible, uint64_t base, uint32_t irq)
{
    begin(b, "%s@%llx", name, (unsigned long long)base);
    prop_string(b, "compatible", compatible);
    prop_reg(b, base, 0x4000);
    extended(b, b->groups.first[g], b->groups.harts[g], &irq, 1);
    prop_flag(b, "interrupt-controller");
    CELLS(b, "#interrupt-cells", 0);
    group_node_id(b, g);
    end(b);
}

static void aclint(struct builder *b, unsigned g)
{
    static const uint32_t timer[] = {IRQ_MTI};
    uint64_t base = VIRT_CLINT_BASE + (uint64_t)g * ACLINT_REG_SIZE, cmp = base + 0x4000, mtime = base + 0xbff8;
    swi(b, g, "mswi", "riscv,aclint-mswi", base, IRQ_MSI);
    begin(b, "mtimer@%llx", (unsigned long long)cmp);
    prop_string(b, "compatible", "riscv,aclint-mtimer");
    CELLS(b, "reg", 0, (uint32_t)mtime, 0, 0x4008, 0, (uint32_t)cmp, 0, 0x7ff8);
    extended(b, b->groups.first[g], b->groups.harts[g], timer, 1);
    group_node_id(b, g);
    end(b);
    swi(b, g, "sswi", "riscv,aclint-sswi", VIRT_SSWI_BASE + (uint64_t)g * ACLINT_SSWI_SIZE, IRQ_SSI);
}

static void plic(struct builder *b, unsigned g)
{
    static const uint32_t lines[] = {IRQ_MEI, IRQ_SEI};
    uint64_t base = VIRT_PLIC_BASE + (uint64_t)g * PLIC_REG_SIZE;
    begin(b, "plic@%llx", (unsigned long long)base);
    STRINGS(b, "compatible", "sifive,plic-1.0.0\0riscv,plic0");
    prop_reg(b, base, PLIC_REG_SIZE);
    extended(b, b->groups.first[g], b->groups.harts[g], lines, 2);
    prop_flag(b, "interrupt-controller");
    CELLS(b, "#interrupt-cells", 1);
    CELLS(b, "#address-cells", 0);
    CELLS(b, "riscv,ndev", VIRT_NUM_SOURCES - 1);
    group_node_id(b, g);
    CELLS(b, "phandle", b->irqchip[g]);
    end(b);
}

/* Firmware in M mode takes the machine-level controllers away from the operating system; the builtin SBI does too. */
static void hide_from_os(struct builder *b)
{
    if (b->cfg->bios_kind == BIOS_BUILTIN) {
        prop_string(b, "status", "disabled");
    }
}

static void aplic_domain(struct builder *b, unsigned g, bool machine)
{
    uint32_t line = machine ? IRQ_MEI : IRQ_SEI;
    uint64_t base = (machine ? VIRT_APLIC_M_BASE : VIRT_APLIC_S_BASE) + (uint64_t)g * APLIC_REG_SIZE;
    begin(b, "aplic@%llx", (unsigned long long)base);
    prop_string(b, "compatible", "riscv,aplic");
    prop_reg(b, base, APLIC_REG_SIZE);
    CELLS(b, "#interrupt-cells", 2);
    prop_flag(b, "interrupt-controller");
    if (b->cfg->aia == AIA_APLIC_IMSIC) {
        CELLS(b, "msi-parent", machine ? b->imsic_m : b->imsic_s);
    } else {
        extended(b, b->groups.first[g], b->groups.harts[g], &line, 1);
    }
    CELLS(b, "riscv,num-sources", VIRT_NUM_SOURCES);
    if (machine) {
        CELLS(b, "riscv,children", b->irqchip[g]);
        CELLS(b, "riscv,delegate", b->irqchip[g], 1, VIRT_NUM_SOURCES);
        CELLS(b, "riscv,delegation", b->irqchip[g], 1, VIRT_NUM_SOURCES);
        hide_from_os(b);
    }
    group_node_id(b, g);
    CELLS(b, "phandle", machine ? b->aplic_m[g] : b->irqchip[g]);
    end(b);
}

static void imsics(struct builder *b, bool machine)
{
    const struct virt_groups *gr = &b->groups;
    uint64_t base = machine ? VIRT_IMSIC_M_BASE : VIRT_IMSIC_S_BASE;
    uint32_t line = machine ? IRQ_MEI : IRQ_SEI, reg[VIRT_MAX_GROUPS * 4];
    unsigned most = 0;
    for (unsigned g = 0; g < gr->count; g++) {
        uint64_t at = base + ((uint64_t)g << VIRT_IMSIC_GROUP_SHIFT);
        most = gr->harts[g] > most ? gr->harts[g] : most;
        reg[g * 4] = 0;
        reg[g * 4 + 1] = (uint32_t)at;
        reg[g * 4 + 2] = 0;
        reg[g * 4 + 3] = gr->harts[g] * IMSIC_PAGE_SIZE;
    }
    begin(b, "imsics@%llx", (unsigned long long)base);
    prop_string(b, "compatible", "riscv,imsics");
    CELLS(b, "#interrupt-cells", 0);
    prop_flag(b, "interrupt-controller");
    prop_flag(b, "msi-controller");
    CELLS(b, "#msi-cells", 0);
    extended(b, 0, b->cfg->smp.cpus, &line, 1);
    prop_cells(b, "reg", reg, gr->count * 4);
    CELLS(b, "riscv,num-ids", IMSIC_NUM_IDS);
    CELLS(b, "riscv,ipi-id", 1);
    CELLS(b, "riscv,hart-index-bits", virt_num_bits(most));
    if (gr->count > 1) {
        CELLS(b, "riscv,group-index-bits", virt_num_bits(gr->count));
        CELLS(b, "riscv,group-index-shift", VIRT_IMSIC_GROUP_SHIFT);
    }
    if (machine) {
        hide_from_os(b);
    }
    CELLS(b, "phandle", machine ? b->imsic_m : b->imsic_s);
    end(b);
}

static void interrupt_controllers(struct builder *b)
{
    if (b->cfg->aia == AIA_APLIC_IMSIC) {
        imsics(b, true);
        imsics(b, false);
    }
    for (unsigned g = 0; g < b->groups.count; g++) {
        if (b->cfg->aclint) {
            aclint(b, g);
        } else {
            clint(b, g);
        }
        if (b->cfg->aia == AIA_NONE) {
            plic(b, g);
        } else {
            aplic_domain(b, g, true);
            aplic_domain(b, g, false);
        }
    }
}

/* ---- the other devices ---- */

static void interrupt(struct builder *b, unsigned group, uint32_t irq)
{
    CELLS(b, "interrupt-parent", b->irqchip[group]);
    if (b->cfg->aia == AIA_NONE) {
        CELLS(b, "interrupts", irq);
    } else {
        CELLS(b, "interrupts", irq, 4); /* level, active high */
    }
}

static void soc(struct builder *b)
{
    begin(b, "soc");
    CELLS(b, "#address-cells", 2);
    CELLS(b, "#size-cells", 2);
    prop_string(b, "compatible", "simple-bus");
    prop_flag(b, "ranges");
    interrupt_controllers(b);
    for (unsigned i = 0; i < VIRT_VIRTIO_COUNT; i++) {
        uint64_t base = VIRT_VIRTIO_BASE + (uint64_t)i * VIRTIO_MMIO_SIZE;
        begin(b, "virtio_mmio@%llx", (unsigned long long)base);
        prop_string(b, "compatible", "virtio,mmio");
        prop_reg(b, base, VIRTIO_MMIO_SIZE);
        interrupt(b, b->groups.count > 1 ? 1 : 0, VIRT_VIRTIO_IRQ + i);
        end(b);
    }
    begin(b, "test@%llx", VIRT_TEST_BASE);
    STRINGS(b, "compatible", "sifive,test1\0sifive,test0\0syscon");
    prop_reg(b, VIRT_TEST_BASE, SYSCON_REG_SIZE);
    CELLS(b, "phandle", b->test);
    end(b);
    begin(b, "serial@%llx", VIRT_UART_BASE);
    prop_string(b, "compatible", "ns16550a");
    prop_reg(b, VIRT_UART_BASE, UART_REG_SIZE);
    CELLS(b, "clock-frequency", UART_CLOCK_HZ);
    interrupt(b, 0, VIRT_UART_IRQ);
    end(b);
    begin(b, "rtc@%llx", VIRT_RTC_BASE);
    prop_string(b, "compatible", "google,goldfish-rtc");
    prop_reg(b, VIRT_RTC_BASE, RTC_REG_SIZE);
    interrupt(b, 0, VIRT_RTC_IRQ);
    end(b);
    end(b);
}

static void syscon_action(struct builder *b, const char *name, const char *compatible, uint32_t value)
{
    begin(b, "%s", name);
    prop_string(b, "compatible", compatible);
    CELLS(b, "regmap", b->test);
    CELLS(b, "offset", 0);
    CELLS(b, "value", value);
    end(b);
}

static void *build(const struct machine_config *cfg)
{
    struct builder b = {.cfg = cfg, .fdt = malloc(FDT_SPACE)};
    uint32_t next = intc_phandle(cfg->smp.cpus);
    char path[64];
    assert(b.fdt);
    virt_groups_init(&b.groups, cfg);
    b.test = next++;
    b.imsic_m = next++;
    b.imsic_s = next++;
    for (unsigned g = 0; g < b.groups.count; g++) {
        b.irqchip[g] = next++;
        b.aplic_m[g] = next++;
    }
    ok(fdt_create(b.fdt, FDT_SPACE));
    ok(fdt_finish_reservemap(b.fdt));
    begin(&b, "%s", "");
    CELLS(&b, "#address-cells", 2);
    CELLS(&b, "#size-cells", 2);
    prop_string(&b, "compatible", "riscv-virtio");
    prop_string(&b, "model", "riscv-virtio,weft");
    begin(&b, "chosen");
    snprintf(path, sizeof(path), "/soc/serial@%llx", VIRT_UART_BASE);
    prop_string(&b, "stdout-path", path);
    end(&b);
    begin(&b, "aliases");
    prop_string(&b, "serial0", path);
    end(&b);
    memory(&b);
    cpus(&b);
    soc(&b);
    syscon_action(&b, "poweroff", "syscon-poweroff", 0x5555);
    syscon_action(&b, "reboot", "syscon-reboot", 0x7777);
    distance_map(&b);
    end(&b);
    ok(fdt_finish(b.fdt));
    return b.fdt;
}

/* ---- -dtb, and /chosen ---- */

static void *load(const char *path, struct error *err)
{
    FILE *f = fopen(path, "rb");
    void *raw = malloc(FDT_SPACE);
    assert(raw);
    size_t n = f ? fread(raw, 1, FDT_SPACE, f) : 0;
    if (!f || ferror(f)) {
        error_set_errno(err, errno, "-dtb %s: cannot be read; name a readable device tree blob", path);
    } else if (fdt_check_full(raw, n) != 0) {
        error_set(err, "-dtb %s: is not a device tree blob; compile the source with dtc -O dtb", path);
    }
    if (f) {
        fclose(f);
    }
    if (err->set) {
        free(raw);
        return NULL;
    }
    return raw;
}

static int set_chosen(void *fdt, const struct machine_config *cfg, const struct virt_chosen *c)
{
    int node = fdt_path_offset(fdt, "/chosen"), r = 0;
    if (node < 0) {
        node = fdt_add_subnode(fdt, 0, "chosen");
    }
    if (node < 0) {
        return node;
    }
    if (cfg->append[0]) {
        r = fdt_setprop_string(fdt, node, "bootargs", cfg->append);
    }
    if (r == 0 && c->initrd_end > c->initrd_start) {
        r = fdt_setprop_u64(fdt, node, "linux,initrd-start", c->initrd_start);
        r = r ? r : fdt_setprop_u64(fdt, node, "linux,initrd-end", c->initrd_end);
    }
    if (r == 0 && c->have_seed) {
        r = fdt_setprop(fdt, node, "rng-seed", c->rng_seed, sizeof(c->rng_seed));
    }
    return r;
}

bool virt_fdt_build(const struct machine_config *cfg, const struct virt_chosen *chosen, void **blob, uint64_t *size,
                    struct error *err)
{
    void *tree = cfg->dtb[0] ? load(cfg->dtb, err) : build(cfg);
    if (!tree) {
        return false;
    }
    int space = (int)fdt_totalsize(tree) + 16384;
    void *out = calloc(1, (size_t)space);
    assert(out);
    int r = fdt_open_into(tree, out, space);
    free(tree);
    r = r ? r : set_chosen(out, cfg, chosen);
    r = r ? r : fdt_pack(out);
    if (r != 0) {
        free(out);
        return error_set(err, "-dtb %s: /chosen cannot be completed (%s); use a sound device tree", cfg->dtb,
                         fdt_strerror(r));
    }
    *blob = out;
    *size = fdt_totalsize(out);
    return true;
}
