/*
 * A NUMA guest in a few kilobytes: it tells what the device tree says of nodes, harts, memory and distances, lets each
 * node's harts (started by SBI HSM) work on each node's memory, checks what they did, and powers off. S mode, under the
 * builtin SBI or any other one:
 *     weft run -M virt -smp 4 -m 256M -numa node,mem=128M,cpus=0-1 -numa node,mem=128M,cpus=2-3 -nographic -kernel
 * numa.elf
 */
#include "bare.h"

enum { MAX_HARTS = 128, MAX_NODES = 64, SLICE = 256 * 1024, KEEP_OFF = 32 << 20, KEEP_TOP = 4 << 20 };
enum { SBI_HSM = 0x48534d, SBI_SRST = 0x53525354, HSM_START = 0, HSM_STOP = 1, HSM_STATUS = 2, HSM_STOPPED = 1 };

struct node {
    bool present;
    uint64_t base, size; /* the largest range of it */
    unsigned num_harts;
};

static struct node nodes[MAX_NODES];
static uint8_t node_of[MAX_HARTS], distance[MAX_NODES][MAX_NODES];
static bool hart_present[MAX_HARTS];
static unsigned num_harts, num_nodes;
static struct {
    unsigned from, to; /* nodes: harts of one, memory of the other */
    uint64_t ticks[MAX_HARTS];
    uint64_t errors[MAX_HARTS];
} job;

/* ---- what the device tree says ---- */

static bool starts(const char *s, const char *prefix)
{
    while (*prefix) {
        if (*s++ != *prefix++) {
            return false;
        }
    }
    return true;
}

static bool equals(const char *a, const char *b)
{
    return starts(a, b) && starts(b, a);
}

/* Properties come one by one: what is known of the device node so far. */
static struct {
    char path[64];
    bool is_cpu, is_memory, have_node;
    uint64_t base, size;
    unsigned hart, node;
} current;

static void finish_current(void)
{
    unsigned n = current.have_node ? current.node : 0;
    if (n >= MAX_NODES) {
        return;
    }
    if (current.is_cpu && current.hart < MAX_HARTS) {
        hart_present[current.hart] = true;
        node_of[current.hart] = (uint8_t)n;
        nodes[n].present = true;
        nodes[n].num_harts++;
        num_harts++;
    }
    if (current.is_memory) {
        nodes[n].present = true;
        if (current.size > nodes[n].size) {
            nodes[n].base = current.base;
            nodes[n].size = current.size;
        }
    }
}

static void read_property(void *opaque, const char *path, const char *name, const void *value, unsigned size)
{
    bool is_cpu = starts(path, "/cpus/cpu@"), is_memory = starts(path, "/memory@");
    unsigned len = 0;
    if (starts(path, "/distance-map") && equals(name, "distance-matrix")) {
        for (const uint8_t *p = value; size >= 12; p += 12, size -= 12) {
            unsigned a = fdt_u32(p), b = fdt_u32(p + 4);
            if (a < MAX_NODES && b < MAX_NODES) {
                distance[a][b] = (uint8_t)fdt_u32(p + 8);
            }
        }
    }
    if (!is_cpu && !is_memory) {
        return;
    }
    for (const char *p = path + 8; is_cpu && *p; p++) {
        if (*p == '/') {
            return; /* a node inside the cpu's */
        }
    }
    if (!equals(path, current.path)) {
        finish_current();
        memset(&current, 0, sizeof(current));
        while (path[len] && len < sizeof(current.path) - 1) {
            current.path[len] = path[len];
            len++;
        }
    }
    current.is_cpu = is_cpu;
    current.is_memory = is_memory;
    if (equals(name, "reg")) {
        current.hart = fdt_u32(value);
        if (is_memory) {
            current.base = fdt_u64(value);
            current.size = fdt_u64((const uint8_t *)value + 8);
        }
    } else if (equals(name, "numa-node-id")) {
        current.node = fdt_u32(value);
        current.have_node = true;
    }
}

static void describe(void)
{
    for (unsigned n = 0; n < MAX_NODES; n++) {
        if (!nodes[n].present) {
            continue;
        }
        num_nodes++;
        print("node %u: %u MiB at %x, harts", (uint64_t)n, nodes[n].size >> 20, nodes[n].base);
        for (unsigned h = 0; h < MAX_HARTS; h++) {
            if (hart_present[h] && node_of[h] == n) {
                print(" %u", (uint64_t)h);
            }
        }
        print(nodes[n].num_harts ? "; distances" : " none; distances");
        for (unsigned to = 0; to < MAX_NODES; to++) {
            if (nodes[to].present) {
                print(" %u", (uint64_t)(distance[n][to] ? distance[n][to] : n == to ? 10 : 20));
            }
        }
        put_char('\n');
    }
    print("%u nodes, %u harts\n", (uint64_t)num_nodes, (uint64_t)num_harts);
}

/* ---- the work: each hart fills a slice, checks it, and adds to a counter that all share ---- */

static uint64_t area_of(unsigned n)
{
    return nodes[n].base + (nodes[n].base == 0x80000000 ? KEEP_OFF : 0);
}

/* Whether a node's memory has room for all harts' slices beside this program and the device tree. */
static bool has_room(unsigned n)
{
    uint64_t keep = (nodes[n].base == 0x80000000 ? KEEP_OFF : 0) + KEEP_TOP;
    return nodes[n].size >= keep + (uint64_t)SLICE * (MAX_HARTS + 1);
}

static void work(unsigned hart)
{
    uint64_t *mine = (uint64_t *)(area_of(job.to) + (uint64_t)SLICE * (hart + 1));
    uint64_t *counter = (uint64_t *)area_of(job.to), seed = hart * 77 + job.from, errors = 0;
    uint64_t begin = csr_read("time");
    for (unsigned round = 0; round < 4; round++) {
        uint64_t rng = seed + round;
        for (unsigned i = 0; i < SLICE / 8; i++) {
            mine[i] = rng_next(&rng);
        }
        rng = seed + round;
        for (unsigned i = 0; i < SLICE / 8; i++) {
            errors += mine[i] != rng_next(&rng);
        }
    }
    for (unsigned i = 0; i < 1000; i++) {
        __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
    }
    job.ticks[hart] = csr_read("time") - begin;
    job.errors[hart] = errors;
}

void main_other(unsigned long hart)
{
    work((unsigned)hart);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    sbi(SBI_HSM, HSM_STOP, 0, 0, 0, NULL);
}

static bool run_job(unsigned from, unsigned to, unsigned self)
{
    uint64_t *counter = (uint64_t *)area_of(to), ticks = 0, errors = 0;
    job.from = from;
    job.to = to;
    *counter = 0;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (unsigned h = 0; h < MAX_HARTS; h++) {
        if (hart_present[h] && node_of[h] == from && h != self &&
            sbi(SBI_HSM, HSM_START, h, (long)bare_start_other, 0, NULL) != 0) {
            print("hart %u does not start\n", (uint64_t)h);
            return false;
        }
    }
    if (node_of[self] == from) {
        work(self);
    }
    for (unsigned h = 0; h < MAX_HARTS; h++) {
        if (!hart_present[h] || node_of[h] != from) {
            continue;
        }
        long state = 0;
        while (h != self && (sbi(SBI_HSM, HSM_STATUS, h, 0, 0, &state) || state != HSM_STOPPED)) {
            __asm__ volatile(".4byte 0x0100000f"); /* pause */
        }
        ticks += job.ticks[h];
        errors += job.errors[h];
    }
    uint64_t want = 1000ull * nodes[from].num_harts;
    bool good = errors == 0 && *counter == want;
    uint64_t accesses = nodes[from].num_harts * (8ull * SLICE / 8 + 1000);
    print("harts of node %u on memory of node %u: %s, %u ns/100 accesses\n", (uint64_t)from, (uint64_t)to,
          good ? "right" : "WRONG", ticks * 10000 / accesses);
    return good;
}

int main_hart0(const void *fdt)
{
    bool good = true;
    memset(&current, 0, sizeof(current));
    fdt_visit(fdt, read_property, NULL);
    finish_current();
    print("bare-metal NUMA guest\n");
    describe();
    for (unsigned from = 0; from < MAX_NODES; from++) {
        for (unsigned to = 0; to < MAX_NODES; to++) {
            if (nodes[from].num_harts && nodes[to].size) {
                if (!has_room(to)) {
                    print("node %u: too little memory for the work\n", (uint64_t)to);
                    continue;
                }
                good &= run_job(from, to, 0);
            }
        }
    }
    print("%s\n", good && num_harts ? "all right" : "FAILED");
    if (good && num_harts) {
        sbi(SBI_SRST, 0, 0, 0, 0, NULL);
    }
    return 1;
}
