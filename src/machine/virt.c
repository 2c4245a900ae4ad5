/* The `virt` board: which device sits where and whose line goes into which interrupt controller. */
#include "virt.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ranks.h"
#include "weft/log.h"

struct rom {
    uint8_t data[VIRT_ROM_SIZE];
};

struct board {
    struct machine *m;
    struct virt_groups groups;
    struct rom rom;
    struct aclint *aclint[VIRT_MAX_GROUPS];
    struct plic *plic[VIRT_MAX_GROUPS];
    struct aplic *aplic_m[VIRT_MAX_GROUPS], *aplic_s[VIRT_MAX_GROUPS];
    struct imsic *imsic[WEFT_MAX_HARTS];
    struct imsic_bank bank_m, bank_s;
    struct uart *uart;
    struct rtc *rtc;
    uint64_t wall_base_ns; /* under time dilation: the date at guest tick 0; 0 = not yet asked for. Under the BQL */
    struct virtio_mmio *virtio[VIRT_VIRTIO_COUNT];
    struct chardev *chardev[8];
    struct sbi *sbi;
};

/* ---- shape ---- */

static bool node_is_contiguous(const struct bitmap *cpus, unsigned first, unsigned *count)
{
    *count = bitmap_count(cpus);
    for (unsigned i = 0; i < *count; i++) {
        if (!bitmap_test(cpus, first + i)) {
            return false;
        }
    }
    return *count > 0;
}

void virt_groups_init(struct virt_groups *g, const struct machine_config *cfg)
{
    unsigned next = 0;
    memset(g, 0, sizeof(*g));
    bool per_node = cfg->num_nodes <= VIRT_MAX_GROUPS;
    for (unsigned n = 0; per_node && n < cfg->num_nodes; n++) {
        g->first[n] = next;
        per_node = node_is_contiguous(&cfg->node[n].cpus, next, &g->harts[n]);
        next += g->harts[n];
    }
    g->per_node = per_node && next == cfg->smp.cpus;
    g->count = g->per_node ? cfg->num_nodes : 1;
    if (!g->per_node) {
        g->first[0] = 0;
        g->harts[0] = cfg->smp.cpus;
    }
}

unsigned virt_num_bits(unsigned count)
{
    unsigned bits = 0;
    while (1u << bits < count) {
        bits++;
    }
    return bits;
}

void virt_node_ram(const struct machine_config *cfg, unsigned node, gpa_t *base, uint64_t *size)
{
    *base = VIRT_DRAM_BASE;
    for (unsigned n = 0; n < node; n++) {
        *base += cfg->node[n].mem;
    }
    *size = cfg->node[node].mem;
}

/* ---- reset ROM ---- */

static uint64_t rom_read(void *opaque, uint64_t offset, unsigned size)
{
    const struct rom *rom = opaque;
    uint64_t v = 0;
    if (offset + size <= sizeof(rom->data)) {
        memcpy(&v, rom->data + offset, size);
    }
    return v;
}

static void rom_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    if (log_on(LOG_GUEST_ERROR)) {
        log_write("rom: write at offset 0x%llx is ignored\n", (unsigned long long)offset);
    }
}

static const struct mmio_ops rom_ops = {
    .read = rom_read, .write = rom_write, .min_size = 1, .max_size = 8, .lockless = true};

void virt_rom_set(struct machine *m, const void *data, uint64_t size)
{
    struct board *b = m->devices;
    assert(size <= sizeof(b->rom.data));
    memset(b->rom.data, 0, sizeof(b->rom.data));
    memcpy(b->rom.data, data, size);
}

/* ---- what the builtin SBI needs ---- */

struct sbi *virt_sbi(struct machine *m)
{
    return ((struct board *)m->devices)->sbi;
}

struct uart *virt_uart(struct machine *m)
{
    return ((struct board *)m->devices)->uart;
}

/* ---- interrupt controllers ---- */

/* The IMSIC whose page lies there, or NULL. */
static struct imsic *imsic_at(struct board *b, gpa_t gpa, enum imsic_file *file)
{
    const struct imsic_bank *banks[] = {&b->bank_m, &b->bank_s};
    const uint64_t base[] = {VIRT_IMSIC_M_BASE, VIRT_IMSIC_S_BASE};
    for (unsigned i = 0; i < 2; i++) {
        if (gpa >= base[i] && gpa - base[i] < (uint64_t)VIRT_MAX_GROUPS << VIRT_IMSIC_GROUP_SHIFT) {
            *file = banks[i]->file;
            return imsic_bank_find(banks[i], gpa - base[i]);
        }
    }
    return NULL;
}

/* A message to an IMSIC page from an APLIC. Other addresses are the guest's mistake and go nowhere. */
static void send_msi(void *opaque, uint64_t gpa, uint32_t value)
{
    struct board *b = opaque;
    enum imsic_file file;
    struct imsic *s = imsic_at(b, gpa, &file);
    if (s) {
        struct cpu *cpu = imsic_cpu(s);
        if (cpu->remote) {
            ranks_bus_store(b->m, cpu->hart, gpa & GUEST_PAGE_MASK, 4, value);
        } else {
            imsic_send(s, file, value);
        }
        return;
    }
    if (log_on(LOG_GUEST_ERROR)) {
        log_write("aplic: message to 0x%llx, where no IMSIC is\n", (unsigned long long)gpa);
    }
}

static void create_imsics(struct board *b)
{
    struct machine *m = b->m;
    for (unsigned h = 0; h < m->num_cpus; h++) {
        b->imsic[h] = imsic_create(m->cpus[h]);
    }
    struct imsic_bank *banks[] = {&b->bank_m, &b->bank_s};
    for (unsigned i = 0; i < 2; i++) {
        banks[i]->file = i == 0 ? IMSIC_FILE_M : IMSIC_FILE_S;
        banks[i]->num_groups = b->groups.count;
        banks[i]->group_shift = VIRT_IMSIC_GROUP_SHIFT;
        memcpy(banks[i]->harts_of, b->groups.harts, sizeof(b->groups.harts));
        memcpy(banks[i]->imsic, b->imsic, sizeof(b->imsic));
    }
    uint64_t span = (uint64_t)(b->groups.count - 1) << VIRT_IMSIC_GROUP_SHIFT;
    unsigned last = b->groups.harts[b->groups.count - 1];
    bus_map(&m->bus, VIRT_IMSIC_M_BASE, span + (uint64_t)last * IMSIC_PAGE_SIZE, &imsic_bank_ops, &b->bank_m,
            "imsic-m");
    bus_map(&m->bus, VIRT_IMSIC_S_BASE, span + (uint64_t)last * IMSIC_PAGE_SIZE, &imsic_bank_ops, &b->bank_s,
            "imsic-s");
}

static void create_aplics(struct board *b, unsigned g, struct cpu *const *harts)
{
    struct bus *bus = &b->m->bus;
    struct aplic_config c = {
        .machine_level = true,
        .msi = b->m->cfg->aia == AIA_APLIC_IMSIC,
        .harts = harts,
        .num_harts = b->groups.harts[g],
        .num_sources = VIRT_NUM_SOURCES,
        .send = send_msi,
        .send_opaque = b,
    };
    b->aplic_m[g] = aplic_create(&c);
    c.machine_level = false;
    c.parent = b->aplic_m[g];
    b->aplic_s[g] = aplic_create(&c);
    bus_map(bus, VIRT_APLIC_M_BASE + (uint64_t)g * APLIC_REG_SIZE, APLIC_REG_SIZE, &aplic_ops, b->aplic_m[g],
            "aplic-m");
    bus_map(bus, VIRT_APLIC_S_BASE + (uint64_t)g * APLIC_REG_SIZE, APLIC_REG_SIZE, &aplic_ops, b->aplic_s[g],
            "aplic-s");
}

static void create_interrupt_controllers(struct board *b)
{
    struct machine *m = b->m;
    if (m->cfg->aia == AIA_APLIC_IMSIC) {
        create_imsics(b);
    }
    for (unsigned g = 0; g < b->groups.count; g++) {
        struct cpu *const *harts = m->cpus + b->groups.first[g];
        unsigned n = b->groups.harts[g];
        b->aclint[g] = aclint_create(m, harts, n);
        bus_map(&m->bus, VIRT_CLINT_BASE + (uint64_t)g * ACLINT_REG_SIZE, ACLINT_REG_SIZE, &aclint_ops, b->aclint[g],
                "aclint");
        bus_map(&m->bus, VIRT_SSWI_BASE + (uint64_t)g * ACLINT_SSWI_SIZE, ACLINT_SSWI_SIZE, &aclint_sswi_ops,
                b->aclint[g], "sswi");
        if (m->cfg->aia != AIA_NONE) {
            create_aplics(b, g, harts);
            continue;
        }
        b->plic[g] = plic_create(harts, n, VIRT_NUM_SOURCES - 1);
        bus_map(&m->bus, VIRT_PLIC_BASE + (uint64_t)g * PLIC_REG_SIZE, PLIC_REG_SIZE, &plic_ops, b->plic[g], "plic");
    }
}

/* The hart of register number `index` of group g's ACLINT. */
static enum virt_register of_group(const struct board *b, unsigned g, uint64_t index, unsigned *hart)
{
    if (index >= b->groups.harts[g]) {
        return VIRT_OF_ALL;
    }
    *hart = b->groups.first[g] + (unsigned)index;
    return VIRT_OF_HART;
}

/* ACLINT specification: MSIP from 0, 4 bytes each; MTIMECMP from 0x4000, 8 bytes each; MTIME last. */
static enum virt_register aclint_register(const struct board *b, unsigned g, uint64_t offset, unsigned *hart)
{
    enum { COMPARE = 0x4000, TIME = 0xbff8 };
    if (offset >= TIME) {
        return VIRT_OF_ALL;
    }
    return of_group(b, g, offset < COMPARE ? offset / 4 : (offset - COMPARE) / 8, hart);
}

enum virt_register virt_register_at(struct machine *m, gpa_t gpa, unsigned *hart)
{
    struct board *b = m->devices;
    enum imsic_file file;
    uint64_t offset = gpa - VIRT_CLINT_BASE;
    if (offset < (uint64_t)b->groups.count * ACLINT_REG_SIZE) {
        return aclint_register(b, (unsigned)(offset / ACLINT_REG_SIZE), offset % ACLINT_REG_SIZE, hart);
    }
    offset = gpa - VIRT_SSWI_BASE;
    if (offset < (uint64_t)b->groups.count * ACLINT_SSWI_SIZE) {
        return of_group(b, (unsigned)(offset / ACLINT_SSWI_SIZE), offset % ACLINT_SSWI_SIZE / 4, hart);
    }
    if (gpa - VIRT_ROM_BASE < VIRT_ROM_SIZE) {
        return VIRT_OF_ALL;
    }
    if (gpa - VIRT_UART_BASE < UART_REG_SIZE) {
        return VIRT_OF_PORT;
    }
    if (m->cfg->aia != AIA_APLIC_IMSIC || gpa < VIRT_IMSIC_M_BASE ||
        gpa >= VIRT_IMSIC_S_BASE + ((uint64_t)VIRT_MAX_GROUPS << VIRT_IMSIC_GROUP_SHIFT)) {
        return VIRT_OF_DEVICE;
    }
    struct imsic *s = imsic_at(b, gpa, &file);
    if (!s) {
        return VIRT_OF_ALL;
    }
    *hart = imsic_cpu(s)->hart;
    return VIRT_OF_HART;
}

static struct irq_line line(struct board *b, unsigned group, unsigned n)
{
    if (b->m->cfg->aia == AIA_NONE) {
        return (struct irq_line){.set = plic_set_irq, .opaque = b->plic[group], .n = n};
    }
    return (struct irq_line){.set = aplic_set_irq, .opaque = b->aplic_m[group], .n = n};
}

/* ---- virtio ---- */

static struct virtio_device *create_virtio_device(struct board *b, const struct virtio_device_config *d)
{
    const struct machine_config *cfg = b->m->cfg;
    if (strcmp(d->driver, "virtio-rng-device") == 0) {
        return virtio_rng_create();
    }
    if (strcmp(d->driver, "virtio-serial-device") != 0) {
        return NULL; /* a port of a virtio-serial-device */
    }
    for (unsigned i = 0; i < cfg->num_virtio; i++) {
        const struct virtio_device_config *port = &cfg->virtio[i];
        if (strcmp(port->driver, "virtconsole") == 0 && port->chardev_index >= 0) {
            return virtio_console_create(b->m->loop, b->chardev[port->chardev_index]);
        }
    }
    return virtio_console_create(b->m->loop, NULL);
}

/* The first device takes the last slot, as in QEMU. */
static void create_virtio(struct board *b)
{
    const struct machine_config *cfg = b->m->cfg;
    struct virtio_device *dev[VIRT_VIRTIO_COUNT] = {0};
    unsigned slot = VIRT_VIRTIO_COUNT;
    for (unsigned i = 0; i < cfg->num_virtio && slot > 0; i++) {
        struct virtio_device *d = create_virtio_device(b, &cfg->virtio[i]);
        if (d) {
            dev[--slot] = d;
        }
    }
    for (unsigned i = 0; i < VIRT_VIRTIO_COUNT; i++) {
        unsigned group = b->groups.count > 1 ? 1 : 0;
        b->virtio[i] = virtio_mmio_create(b->m->loop, &b->m->ram, dev[i], line(b, group, VIRT_VIRTIO_IRQ + i));
        bus_map(&b->m->bus, VIRT_VIRTIO_BASE + (uint64_t)i * VIRTIO_MMIO_SIZE, VIRTIO_MMIO_SIZE, &virtio_mmio_ops,
                b->virtio[i], "virtio-mmio");
    }
}

static void quit_cb(void *opaque)
{
    machine_request_shutdown(opaque, 0);
}

/* -icount: the same date at every start, and the guest's own time from then on. */
static uint64_t icount_wall_ns(void *opaque)
{
    const uint64_t start_s = 1735689600; /* 2025-01-01 00:00 UTC */
    const struct board *b = opaque;
    return start_s * 1000000000u + guest_ticks(b->m) * (1000000000u / GUEST_TIMEBASE_HZ);
}

/* --time-dilation: the host's date when the guest first asks, and the guest's own time from then on. */
static uint64_t dilated_wall_ns(void *opaque)
{
    struct board *b = opaque;
    uint64_t guest_ns = guest_ticks(b->m) * (1000000000u / GUEST_TIMEBASE_HZ);
    if (b->wall_base_ns == 0) {
        struct timespec ts;
        clock_gettime(CLOCK_REALTIME, &ts);
        b->wall_base_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec - guest_ns;
    }
    return b->wall_base_ns + guest_ns;
}

static struct rtc *create_rtc(struct board *b)
{
    const struct machine_config *cfg = b->m->cfg;
    uint64_t (*wall_ns)(void *opaque) = NULL;
    if (cfg->icount) {
        wall_ns = icount_wall_ns;
    } else if (cfg->time_dilation > 1) {
        wall_ns = dilated_wall_ns;
    }
    return rtc_create(b->m->loop, line(b, 0, VIRT_RTC_IRQ), wall_ns, b, cfg->time_dilation);
}

/* What chardev_create takes: for a socket with its options behind the path. */
static const char *chardev_spec(enum serial_kind kind, const char *path, bool server, bool wait, char *buf, size_t size)
{
    if (kind != SERIAL_UNIX || !server) {
        return path;
    }
    snprintf(buf, size, "%s,server=on,wait=%s", path, wait ? "on" : "off");
    return buf;
}

static bool create_chardevs(struct board *b, struct error *err)
{
    char spec[600];
    const struct machine_config *cfg = b->m->cfg;
    bool here = !b->m->ranks || ranks_self(b->m) == 0; /* other ranks' devices only stand for these */
    const char *console =
        chardev_spec(cfg->serial, cfg->serial_path, cfg->serial_server, cfg->serial_wait, spec, sizeof(spec));
    b->m->console = chardev_create(b->m->loop, here ? cfg->serial : SERIAL_NULL, console, quit_cb, b->m, err);
    for (unsigned i = 0; i < cfg->num_chardevs && !err->set; i++) {
        const struct chardev_config *c = &cfg->chardev[i];
        const char *path = chardev_spec(c->kind, c->path, c->server, c->wait, spec, sizeof(spec));
        b->chardev[i] = chardev_create(b->m->loop, here ? c->kind : SERIAL_NULL, path, quit_cb, b->m, err);
    }
    return !err->set;
}

/* ---- the whole ---- */

bool virt_devices_create(struct machine *m, struct error *err)
{
    struct board *b = calloc(1, sizeof(*b));
    assert(b);
    m->devices = b;
    b->m = m;
    virt_groups_init(&b->groups, m->cfg);
    if (!create_chardevs(b, err)) {
        return false;
    }
    create_interrupt_controllers(b);
    bus_map(&m->bus, VIRT_ROM_BASE, VIRT_ROM_SIZE, &rom_ops, &b->rom, "rom");
    bus_map(&m->bus, VIRT_TEST_BASE, SYSCON_REG_SIZE, &syscon_ops, m, "test");
    b->rtc = create_rtc(b);
    bus_map(&m->bus, VIRT_RTC_BASE, RTC_REG_SIZE, &rtc_ops, b->rtc, "rtc");
    b->uart = uart_create(m->loop, m->console, line(b, 0, VIRT_UART_IRQ));
    bus_map(&m->bus, VIRT_UART_BASE, UART_REG_SIZE, &uart_ops, b->uart, "uart");
    create_virtio(b);
    b->sbi = sbi_create(m);
    virt_devices_reset(m);
    return true;
}

static void reset_interrupt_controllers(struct board *b)
{
    unsigned most = 0;
    for (unsigned h = 0; h < b->m->num_cpus; h++) {
        if (b->imsic[h]) {
            imsic_reset(b->imsic[h]);
        }
    }
    for (unsigned g = 0; g < b->groups.count; g++) {
        most = b->groups.harts[g] > most ? b->groups.harts[g] : most;
    }
    for (unsigned g = 0; g < b->groups.count; g++) {
        aclint_reset(b->aclint[g]);
        if (b->plic[g]) {
            plic_reset(b->plic[g]);
            continue;
        }
        aplic_reset(b->aplic_s[g]);
        aplic_reset(b->aplic_m[g]);
        if (b->m->cfg->bios_kind == BIOS_BUILTIN) {
            aplic_delegate_all(b->aplic_m[g], VIRT_IMSIC_M_BASE, VIRT_IMSIC_S_BASE, virt_num_bits(most),
                               virt_num_bits(b->groups.count), VIRT_IMSIC_GROUP_SHIFT);
        }
    }
}

void virt_devices_reset(struct machine *m)
{
    struct board *b = m->devices;
    reset_interrupt_controllers(b);
    uart_reset(b->uart);
    rtc_reset(b->rtc);
    sbi_reset(b->sbi);
    for (unsigned i = 0; i < VIRT_VIRTIO_COUNT; i++) {
        virtio_mmio_reset(b->virtio[i]);
    }
}

void virt_devices_flush(struct machine *m)
{
    struct board *b = m->devices;
    if (b && b->uart) {
        uart_flush(b->uart);
    }
}

void virt_devices_destroy(struct machine *m)
{
    struct board *b = m->devices;
    if (!b) {
        return;
    }
    for (unsigned i = 0; i < VIRT_VIRTIO_COUNT; i++) {
        virtio_mmio_destroy(&b->virtio[i]);
    }
    uart_destroy(&b->uart);
    rtc_destroy(&b->rtc);
    for (unsigned g = 0; g < VIRT_MAX_GROUPS; g++) {
        plic_destroy(&b->plic[g]);
        aplic_destroy(&b->aplic_s[g]);
        aplic_destroy(&b->aplic_m[g]);
        aclint_destroy(&b->aclint[g]);
    }
    for (unsigned h = 0; h < m->num_cpus; h++) {
        imsic_destroy(&b->imsic[h]);
    }
    for (unsigned i = 0; i < 8; i++) {
        if (b->chardev[i]) {
            chardev_destroy(&b->chardev[i]);
        }
    }
    if (m->console) {
        chardev_destroy(&m->console);
    }
    sbi_destroy(&b->sbi);
    free(b);
    m->devices = NULL;
}
