/*
 * The guest of tests/cluster/dilation: whatever tells the time or waits for it agrees with the `time` CSR, and the
 * harts of all ranks agree on that. One hart, or two, the second on another rank; in S mode under the builtin SBI.
 * Arguments (-append): ms=N for each wait; do=keys: tell the time at each 't' that is typed, and end at 'q'.
 */
#include "bare.h"

enum { TICKS_MS = 10000, NS_TICK = 100, TIMER_PENDING = 1 << 5, TIME_EXT = 0x54494d45, HSM_EXT = 0x48534d };
#define MTIME 0x200bff8ul
#define RTC_BASE 0x101000ul

static volatile uint64_t latest; /* of all times that any hart has read */
static volatile uint32_t stop, stopped;
static unsigned num_harts;
static char bootargs[128];

static void need(bool good, const char *what)
{
    if (!good) {
        print("BAD %s\n", what);
        finish_with(1);
    }
}

/* No hart reads a time that is before one which another had read when it began to read. */
static uint64_t now(void)
{
    uint64_t before = __atomic_load_n(&latest, __ATOMIC_ACQUIRE), t = csr_read("time"), seen = before;
    need(t >= before, "the time of another hart is ahead");
    while (seen < t && !__atomic_compare_exchange_n(&latest, &seen, t, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    }
    return t;
}

static volatile uint32_t *rtc(unsigned offset)
{
    return (volatile uint32_t *)(RTC_BASE + offset);
}

static uint64_t date_ns(void)
{
    uint64_t low = *rtc(0); /* latches the high half */
    return (uint64_t)*rtc(4) << 32 | low;
}

static void await_timer(uint64_t due, const char *what)
{
    while (!(csr_read("sip") & TIMER_PENDING)) {
        __asm__ volatile("wfi");
    }
    need(now() >= due, what);
}

static void timers(uint64_t ticks)
{
    csr_write("sie", TIMER_PENDING);
    uint64_t due = now() + ticks;
    need(sbi(TIME_EXT, 0, (long)due, 0, 0, NULL) == 0, "set_timer");
    await_timer(due, "the SBI's timer is early");
    due = now() + ticks;
    csr_write("0x14d", due); /* stimecmp */
    await_timer(due, "stimecmp is early");
    csr_write("0x14d", ~0ull);
    csr_write("sie", 0);
    uint64_t before = now(), mtime = *(volatile uint64_t *)MTIME, after = now();
    need(before <= mtime && mtime <= after, "mtime is not the time");
    for (due = now() + ticks; now() < due;) {
    }
}

/* The alarm rings when the date is there, and the status says so until then. */
static void alarm_rings(uint64_t ticks)
{
    uint64_t due = date_ns() + ticks * NS_TICK;
    *rtc(0x0c) = (uint32_t)(due >> 32);
    *rtc(0x08) = (uint32_t)due;
    while (*rtc(0x18)) {
        now();
    }
    need(date_ns() >= due, "the alarm is early");
}

static void waits(void)
{
    uint64_t ticks = arg_number(bootargs, "ms", 50) * TICKS_MS;
    uint64_t begin = now(), first = date_ns(), begun = now();
    timers(ticks);
    alarm_rings(ticks);
    uint64_t end = now(), last = date_ns(), ended = now();
    /* The date goes on with the time: both were read between two times. */
    need(last - first + NS_TICK >= (end - begun) * NS_TICK, "the date is slower than the time");
    need(last - first <= (ended - begin + 1) * NS_TICK, "the date is faster than the time");
    print("date %u\n", first / 1000000000);
    print("waited %u ms\n", (end - begin) / TICKS_MS);
}

static void keys(void)
{
    print("ready\n");
    for (;;) {
        uint64_t t = now();
        if (*(volatile uint8_t *)(UART_BASE + 5) & 1) {
            char c = *(volatile char *)UART_BASE;
            if (c == 'q') {
                return;
            }
            print("time %u ms\n", t / TICKS_MS);
        }
    }
}

static void count_harts(void *opaque, const char *path, const char *name, const void *data, unsigned size)
{
    static const char cpu[] = "/cpus/cpu@";
    for (unsigned i = 0; cpu[i]; i++) {
        if (path[i] != cpu[i]) {
            return;
        }
    }
    if (memcmp(name, "reg", 4) == 0 && size >= 4) {
        num_harts++;
    }
}

int main_hart0(const void *fdt)
{
    fdt_bootargs(fdt, bootargs, sizeof(bootargs));
    fdt_visit(fdt, count_harts, NULL);
    for (unsigned h = 1; h < num_harts; h++) {
        need(sbi(HSM_EXT, 0, h, (long)(uintptr_t)bare_start_other, 0, NULL) == 0, "hart_start");
    }
    if (arg_text(bootargs, "do")) {
        keys();
    } else {
        waits();
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&stopped, __ATOMIC_ACQUIRE) + 1 < num_harts) {
    }
    print("done on %u harts\n", (uint64_t)num_harts);
    return 0;
}

void main_other(unsigned long hart)
{
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        now();
    }
    __atomic_add_fetch(&stopped, 1, __ATOMIC_RELEASE);
}
