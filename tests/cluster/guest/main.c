/*
 * Memory order over ranks, on the harts of a real machine: litmus tests, counters, bytes of one page, streams, code
 * that another rank changes. Arguments (-append): rounds=N of each litmus test, hot=N of each on a page that all want
 * at once, work=N for the others, seed=N, only=litmus|counters|time|locks|bytes|stream|
 * code.
 */
#include "ranks.h"

enum { KEEP = 48 << 20, HSM_START = 0, FENCE_I = 0 };

uint8_t *area[MAX_NODES];
unsigned num_nodes, num_harts, failures;
uint8_t node_of[MAX_HARTS];
uint64_t seed;
static char bootargs[256];

/* Read by all, written before the others start. */
static struct {
    uint64_t rounds, hot, work;
    const char *only;
} args;

/* ---- where things are ---- */

static struct {
    char path[48];
    bool is_cpu, is_memory;
    uint64_t base, reg, node;
} current;

static bool starts(const char *s, const char *prefix)
{
    while (*prefix) {
        if (*s++ != *prefix++) {
            return false;
        }
    }
    return true;
}

static void finish_current(void)
{
    if (current.is_cpu && current.reg < MAX_HARTS && current.node < MAX_NODES) {
        node_of[current.reg] = (uint8_t)current.node;
        num_harts = current.reg + 1 > num_harts ? (unsigned)current.reg + 1 : num_harts;
    }
    if (current.is_memory && current.node < MAX_NODES) {
        area[current.node] = (uint8_t *)(current.base + (current.base == 0x80000000 ? KEEP : 0));
        num_nodes = current.node + 1 > num_nodes ? (unsigned)current.node + 1 : num_nodes;
    }
    memset(&current, 0, sizeof(current));
}

static void read_property(void *opaque, const char *path, const char *name, const void *value, unsigned size)
{
    (void)opaque;
    (void)size;
    bool is_cpu = starts(path, "/cpus/cpu@"), is_memory = starts(path, "/memory@");
    if (!is_cpu && !is_memory) {
        return;
    }
    for (const char *p = path + 8; is_cpu && *p; p++) {
        if (*p == '/') {
            return; /* the hart's interrupt controller */
        }
    }
    if (!starts(path, current.path) || !starts(current.path, path)) {
        finish_current();
        for (unsigned i = 0; path[i] && i < sizeof(current.path) - 1; i++) {
            current.path[i] = path[i];
        }
    }
    current.is_cpu = is_cpu;
    current.is_memory = is_memory;
    if (starts(name, "reg") && name[3] == '\0') {
        current.reg = fdt_u32(value);
        current.base = is_memory ? fdt_u64(value) : 0;
    } else if (starts(name, "numa-node-id")) {
        current.node = fdt_u32(value);
    }
}

/* ---- meeting ---- */

static struct {
    volatile uint32_t arrived, generation;
} gate __attribute__((aligned(PAGE)));

void meet(void)
{
    uint32_t g = __atomic_load_n(&gate.generation, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&gate.arrived, 1, __ATOMIC_ACQ_REL) == num_harts) {
        __atomic_store_n(&gate.arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&gate.generation, g + 1, __ATOMIC_RELEASE);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        sbi(SBI_IPI, 0, (1l << num_harts) - 1, 0, 0, NULL);
    }
    while (__atomic_load_n(&gate.generation, __ATOMIC_ACQUIRE) == g) {
        __asm__ volatile("wfi");
        __asm__ volatile("csrc sip, %0" ::"r"(2ul) : "memory");
    }
}

void meet_awake(unsigned harts)
{
    static struct {
        volatile uint32_t arrived, generation;
    } door __attribute__((aligned(PAGE)));
    uint32_t g = __atomic_load_n(&door.generation, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&door.arrived, 1, __ATOMIC_ACQ_REL) == harts) {
        __atomic_store_n(&door.arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&door.generation, g + 1, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(&door.generation, __ATOMIC_ACQUIRE) == g) {
    }
}

void linger(uint64_t *rng, unsigned most)
{
    uint64_t ticks = most ? rng_next(rng) % (most / 100 + 1) : 0, begin = csr_read("time");
    while (csr_read("time") - begin < ticks) {
    }
}

/* ---- all tests ---- */

/* No trap is expected. */
static void __attribute__((aligned(4))) on_trap(void)
{
    print("a trap: cause %x at %x, value %x  WRONG\n", csr_read("scause"), csr_read("sepc"), csr_read("stval"));
    finish_with(1);
}

static bool chosen(const char *name)
{
    return !args.only || (starts(args.only, name));
}

static void run_all(unsigned hart)
{
    csr_write("stvec", on_trap);
    csr_write("sie", 2);
    meet();
    if (chosen("litmus")) {
        test_litmus(hart, args.rounds, args.hot);
    }
    if (chosen("counters")) {
        test_counters(hart, args.work, 1, "on one page");
        test_counters(hart, args.work, 64, "on 64 pages");
    }
    if (chosen("time")) {
        test_clock(hart, args.work);
    }
    if (chosen("locks")) {
        test_locks(hart, args.work / 16);
    }
    if (chosen("bytes")) {
        test_bytes(hart, args.work);
    }
    if (chosen("stream")) {
        test_stream(hart, args.work);
    }
    if (chosen("code")) {
        test_code(hart, args.work, true);
        test_code(hart, args.work, false);
    }
    meet();
}

void main_other(unsigned long hart)
{
    run_all((unsigned)hart);
    sbi(SBI_HSM, 1, 0, 0, 0, NULL);
}

int main_hart0(const void *fdt)
{
    fdt_bootargs(fdt, bootargs, sizeof(bootargs));
    fdt_visit(fdt, read_property, NULL);
    finish_current();
    args.rounds = arg_number(bootargs, "rounds", 32768);
    args.hot = arg_number(bootargs, "hot", args.rounds / 16);
    args.work = arg_number(bootargs, "work", args.rounds);
    seed = arg_number(bootargs, "seed", csr_read("time"));
    args.only = arg_text(bootargs, "only");
    print("%u harts on %u nodes\n", (uint64_t)num_harts, (uint64_t)num_nodes);
    if (num_harts < 2 || num_nodes < 2 || num_harts % num_nodes) {
        print("2 to 4 harts on 2 to 4 nodes, evenly\n");
        return 2;
    }
    for (unsigned h = 1; h < num_harts; h++) {
        if (sbi(SBI_HSM, HSM_START, h, (long)bare_start_other, 0, NULL)) {
            print("hart %u does not start\n", (uint64_t)h);
            return 2;
        }
    }
    run_all(0);
    print("%s\n", failures ? "FAILED" : "nothing forbidden, nothing lost");
    if (!failures) {
        sbi(SBI_SRST, 0, 0, 0, 0, NULL);
    }
    return 1;
}
