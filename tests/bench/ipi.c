/*
 * What an interrupt from one hart to another takes, by the guest's own clock: a bare-metal guest of two harts, in S
 * mode under the builtin SBI. Hart 0 sends an SBI IPI to hart 1, which runs a loop and answers from its trap handler by
 * one to hart 0. With each hart on a rank of its own: weft run --ranks 2 -smp 2 -m 64M -nographic -kernel ipi.elf
 * -append "count=400" prints "ipi one-way p50 N p99 N ns" and "ipi round trip p50 N p99 N ns", and powers off.
 */
#include "bare.h"

enum { COUNT_MAX = 2000, WARM_UP = 20, SIP_SSIP = 1 << 1 };
enum { SBI_IPI = 0x735049, SBI_HSM = 0x48534d, SBI_SRST = 0x53525354 };

/* What a hart writes while it is measured: pages of its own, so that no page moves between the ranks. */
struct hart_area {
    volatile uint64_t received; /* interrupts */
    volatile uint64_t work;
    uint64_t arrived[COUNT_MAX + WARM_UP]; /* clock at each */
} __attribute__((aligned(4096)));

static struct hart_area area[2];
static uint64_t sent[COUNT_MAX + WARM_UP] __attribute__((aligned(4096)));
static struct {
    uint64_t count, ready, over, tick_ns;
} shared __attribute__((aligned(4096)));
static uint64_t pad[512] __attribute__((aligned(4096), used)); /* nothing else in the page of `shared` */

static void note(unsigned hart)
{
    struct hart_area *mine = &area[hart];
    csr_write("sip", csr_read("sip") & ~(uint64_t)SIP_SSIP);
    uint64_t n = mine->received;
    if (n < COUNT_MAX + WARM_UP) {
        mine->arrived[n] = csr_read("time");
    }
    mine->received = n + 1;
}

__attribute__((interrupt("supervisor"), aligned(4))) static void trap0(void)
{
    note(0);
}

__attribute__((interrupt("supervisor"), aligned(4))) static void trap1(void)
{
    note(1);
    sbi(SBI_IPI, 0, 1, 0, 0, NULL);
}

static void interrupts_on(void (*handler)(void))
{
    csr_write("stvec", (uintptr_t)handler);
    csr_write("sie", (uint64_t)SIP_SSIP);
    __asm__ volatile("csrsi sstatus, 2" ::: "memory");
}

/* Hart 1 runs: arithmetic and memory of its own. What it needs of others is in its handler. */
void main_other(unsigned long hart)
{
    interrupts_on(trap1);
    uint64_t until = shared.count;
    __atomic_store_n(&shared.ready, 1, __ATOMIC_RELEASE);
    uint64_t x = 1;
    while (area[1].received < until) {
        for (unsigned i = 0; i < 100; i++) {
            x = x * 6364136223846793005ull + 1442695040888963407ull;
        }
        area[1].work = x;
    }
    __asm__ volatile("csrci sstatus, 2" ::: "memory");
    __atomic_store_n(&shared.over, 1, __ATOMIC_RELEASE);
    for (;;) {
        __asm__ volatile("wfi");
    }
}

static void sort(uint64_t *v, unsigned n)
{
    for (unsigned i = 1; i < n; i++) {
        uint64_t x = v[i];
        unsigned k = i;
        for (; k > 0 && v[k - 1] > x; k--) {
            v[k] = v[k - 1];
        }
        v[k] = x;
    }
}

static void tell(const char *what, uint64_t *ticks, unsigned n)
{
    sort(ticks, n);
    print("ipi %s p50 %u p99 %u ns\n", what, ticks[n / 2] * shared.tick_ns, ticks[n * 99 / 100] * shared.tick_ns);
}

static void find_timebase(void *opaque, const char *path, const char *name, const void *value, unsigned size)
{
    const char *want = "timebase-frequency";
    while (*want && *want == *name) {
        want++;
        name++;
    }
    if (*want == *name) {
        *(uint64_t *)opaque = fdt_u32(value);
    }
}

int main_hart0(const void *fdt)
{
    char args[128];
    uint64_t frequency = 0;
    fdt_bootargs(fdt, args, sizeof(args));
    unsigned count = (unsigned)arg_number(args, "count", 400);
    count = count > COUNT_MAX ? COUNT_MAX : count < 10 ? 10 : count;
    fdt_visit(fdt, find_timebase, &frequency);
    if (frequency == 0 || sbi(SBI_HSM, 0, 1, (long)bare_start_other, 0, NULL) != 0) {
        print("FAILED: needs a clock and a second hart\n");
        return 1;
    }
    shared.tick_ns = 1000000000 / frequency;
    shared.count = count + WARM_UP;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    interrupts_on(trap0);
    while (!__atomic_load_n(&shared.ready, __ATOMIC_ACQUIRE)) {
    }
    for (unsigned i = 0; i < count + WARM_UP; i++) {
        /* A little apart, so that hart 1 is back in its loop. */
        for (uint64_t from = csr_read("time"); csr_read("time") - from < frequency / 5000;) {
        }
        sent[i] = csr_read("time");
        sbi(SBI_IPI, 0, 2, 0, 0, NULL);
        /* Interrupts are taken between the check and wfi only where they are off meanwhile: wfi wakes all the same. */
        __asm__ volatile("csrci sstatus, 2" ::: "memory");
        while (area[0].received <= i) {
            __asm__ volatile("wfi\n\tcsrsi sstatus, 2\n\tcsrci sstatus, 2" ::: "memory");
        }
        __asm__ volatile("csrsi sstatus, 2" ::: "memory");
    }
    while (!__atomic_load_n(&shared.over, __ATOMIC_ACQUIRE)) {
    }
    static uint64_t way[COUNT_MAX], both[COUNT_MAX];
    unsigned backwards = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t there = area[1].arrived[WARM_UP + i], back = area[0].arrived[WARM_UP + i], start = sent[WARM_UP + i];
        /* One clock for all harts: an interrupt that came before it was sent would be a fault of the clock. */
        backwards += there < start || back < there;
        way[i] = there - start;
        both[i] = back - start;
    }
    if (backwards) {
        print("FAILED: %u of %u interrupts arrived before they were sent\n", (uint64_t)backwards, (uint64_t)count);
        return 1;
    }
    tell("one-way", way, count);
    tell("round trip", both, count);
    sbi(SBI_SRST, 0, 0, 0, 0, NULL);
    return 1;
}
