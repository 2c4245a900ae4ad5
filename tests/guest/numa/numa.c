/*
 * The demonstration without a network: a bare-metal guest that reads its nodes from the device tree, has every hart
 * write and check memory of every node, and counts on one word per node with all harts at once. M mode (-bios none).
 * -append "rounds=N": how often each hart goes over its slice of each node.
 */
#include "bare.h"

enum { MAX_NODES = 64, MAX_HARTS = BARE_MAX_HARTS, PAGE = 4096, SLICE_MAX = 1 << 20, MIB = 1 << 20 };

struct node {
    uint64_t base, size;
    bool present;
    volatile uint64_t *counter; /* in this node's memory, added to by all harts */
};

struct hart {
    uint32_t node;
    uint64_t ticks[MAX_NODES]; /* of the timebase, for all rounds on that node's slice */
    uint64_t wrong;
    bool done;
};

/* What the device tree says: filled by hart 0 before the others are let in, only read afterwards (but for the results
 * in each hart's own entry, and in_count). */
static struct {
    struct node nodes[MAX_NODES];
    struct hart harts[MAX_HARTS];
    uint8_t distance[MAX_NODES][MAX_NODES];
    unsigned node_count, hart_count;
    uint64_t timebase, rounds, slice;
} machine;

/* ---- the device tree ---- */

static bool starts(const char *s, const char *with)
{
    while (*with) {
        if (*s++ != *with++) {
            return false;
        }
    }
    return true;
}

static bool same(const char *a, const char *b)
{
    return starts(a, b) && starts(b, a);
}

/* The memory range and the hart whose properties are being visited: they are entered when all are there. */
struct visit {
    uint64_t base, size;
    uint32_t memory_node, hart, hart_node;
    bool has_reg, has_node, cpu_has_reg, cpu_has_node;
};

static void memory_property(struct visit *v, const char *name, const uint8_t *value, unsigned size)
{
    if (same(name, "reg") && size >= 16) {
        v->base = fdt_u64(value);
        v->size = fdt_u64(value + 8);
        v->has_reg = true;
    } else if (same(name, "numa-node-id")) {
        v->memory_node = fdt_u32(value);
        v->has_node = true;
    }
    if (v->has_reg && v->has_node && v->memory_node < MAX_NODES) {
        struct node *n = &machine.nodes[v->memory_node];
        n->base = v->base;
        n->size = v->size;
        n->present = true;
        v->has_reg = v->has_node = false;
    }
}

static void cpu_property(struct visit *v, const char *name, const uint8_t *value, unsigned size)
{
    if (same(name, "reg")) {
        v->hart = size == 8 ? (uint32_t)fdt_u64(value) : fdt_u32(value);
        v->cpu_has_reg = true;
    } else if (same(name, "numa-node-id")) {
        v->hart_node = fdt_u32(value);
        v->cpu_has_node = true;
    }
    if (v->cpu_has_reg && v->cpu_has_node && v->hart < MAX_HARTS && v->hart_node < MAX_NODES) {
        machine.harts[v->hart].node = v->hart_node;
        machine.hart_count++;
        v->cpu_has_reg = v->cpu_has_node = false;
    }
}

static bool is_cpu(const char *path)
{
    if (!starts(path, "/cpus/cpu@")) {
        return false;
    }
    for (const char *p = path + sizeof("/cpus/cpu@") - 1; *p; p++) {
        if (*p == '/') {
            return false;
        }
    }
    return true;
}

static void property(void *opaque, const char *path, const char *name, const void *value, unsigned size)
{
    if (starts(path, "/memory@")) {
        memory_property(opaque, name, value, size);
    } else if (is_cpu(path)) {
        cpu_property(opaque, name, value, size);
    } else if (same(path, "/cpus") && same(name, "timebase-frequency")) {
        machine.timebase = fdt_u32(value);
    } else if (same(path, "/distance-map") && same(name, "distance-matrix")) {
        const uint8_t *p = value;
        for (; size >= 12; size -= 12, p += 12) {
            uint32_t a = fdt_u32(p), b = fdt_u32(p + 4);
            if (a < MAX_NODES && b < MAX_NODES) {
                machine.distance[a][b] = (uint8_t)fdt_u32(p + 8);
            }
        }
    }
}

/* ---- the load ---- */

/* A hart's slice of a node: in the node's middle, away from the program at its start and the boot data at its end. */
static uint64_t *slice_of(const struct node *n, unsigned hart)
{
    return (uint64_t *)(n->base + n->size / 4 + PAGE + hart * machine.slice);
}

static uint64_t go_over(uint64_t *words, uint64_t count, uint64_t seed)
{
    uint64_t wrong = 0, state = seed;
    for (uint64_t i = 0; i < count; i++) {
        words[i] = rng_next(&state);
    }
    state = seed;
    for (uint64_t i = 0; i < count; i++) {
        wrong += words[i] != rng_next(&state);
    }
    return wrong;
}

static void load(unsigned hart)
{
    struct hart *h = &machine.harts[hart];
    for (unsigned n = 0; n < MAX_NODES; n++) {
        struct node *node = &machine.nodes[n];
        if (!node->present) {
            continue;
        }
        uint64_t begun = csr_read("time");
        for (uint64_t r = 0; r < machine.rounds; r++) {
            h->wrong += go_over(slice_of(node, hart), machine.slice / 8, (uint64_t)hart << 32 | n << 16 | r);
            for (unsigned i = 0; i < 1000; i++) {
                __atomic_fetch_add(node->counter, 1, __ATOMIC_RELAXED);
            }
        }
        h->ticks[n] = csr_read("time") - begun;
    }
    __atomic_store_n(&h->done, true, __ATOMIC_RELEASE);
}

void main_other(unsigned long hart)
{
    if (hart < machine.hart_count) {
        load((unsigned)hart);
    }
}

/* ---- what is shown ---- */

static void show_machine(void)
{
    print("\nweft's own NUMA guest, in M mode on bare metal: %u harts, %u nodes\n", (uint64_t)machine.hart_count,
          (uint64_t)machine.node_count);
    for (unsigned n = 0; n < MAX_NODES; n++) {
        if (!machine.nodes[n].present) {
            continue;
        }
        print("node %u: %u MiB at %x, harts", (uint64_t)n, machine.nodes[n].size / MIB, machine.nodes[n].base);
        for (unsigned h = 0; h < machine.hart_count; h++) {
            if (machine.harts[h].node == n) {
                print(" %u", (uint64_t)h);
            }
        }
        print("; distances");
        for (unsigned m = 0; m < MAX_NODES; m++) {
            if (machine.nodes[m].present) {
                print(" %u", (uint64_t)machine.distance[n][m]);
            }
        }
        print("\n");
    }
}

static int show_results(void)
{
    uint64_t wrong = 0;
    for (unsigned h = 0; h < machine.hart_count; h++) {
        struct hart *hart = &machine.harts[h];
        print("hart %u of node %u: %u KiB %u times;", (uint64_t)h, (uint64_t)hart->node, machine.slice / 1024,
              machine.rounds);
        for (unsigned n = 0; n < MAX_NODES; n++) {
            if (machine.nodes[n].present) {
                print(" on node %u %u us", (uint64_t)n, hart->ticks[n] * 1000000 / machine.timebase);
            }
        }
        print("; %u words wrong\n", hart->wrong);
        wrong += hart->wrong;
    }
    for (unsigned n = 0; n < MAX_NODES; n++) {
        if (machine.nodes[n].present) {
            uint64_t want = machine.hart_count * machine.rounds * 1000, got = *machine.nodes[n].counter;
            print("node %u: all harts together counted %u of %u\n", (uint64_t)n, got, want);
            wrong += got != want;
        }
    }
    print(wrong ? "NUMA guest: FAILED\n" : "NUMA guest: every node's memory verified by every hart\n");
    return wrong != 0;
}

/* False where the memory does not hold the slices. */
static bool divide(const void *fdt)
{
    static char args[256];
    uint64_t smallest = UINT64_MAX;
    fdt_bootargs(fdt, args, sizeof(args));
    machine.rounds = arg_number(args, "rounds", 20);
    for (unsigned n = 0; n < MAX_NODES; n++) {
        struct node *node = &machine.nodes[n];
        if (node->present) {
            machine.node_count++;
            smallest = node->size < smallest ? node->size : smallest;
            node->counter = (uint64_t *)(node->base + node->size / 4);
            *node->counter = 0;
        }
    }
    if (!machine.node_count || !machine.hart_count || !machine.timebase) {
        print("the device tree names no node, no hart or no timebase\n");
        return false;
    }
    uint64_t share = (smallest / 2 - PAGE) / machine.hart_count & ~(uint64_t)(PAGE - 1);
    machine.slice = share < SLICE_MAX ? share : SLICE_MAX;
    return machine.slice >= PAGE;
}

int main_hart0(const void *fdt)
{
    struct visit v = {0};
    fdt_visit(fdt, property, &v);
    if (!divide(fdt)) {
        return 2;
    }
    show_machine();
    __atomic_store_n(&bare_go, 1, __ATOMIC_RELEASE);
    load(0);
    for (unsigned h = 1; h < machine.hart_count; h++) {
        while (!__atomic_load_n(&machine.harts[h].done, __ATOMIC_ACQUIRE)) {
        }
    }
    return show_results();
}
