/*
 * What of the machine spans ranks, seen by a guest: harts started, stopped and suspended from another rank, restarts
 * and power-off from any of them, interrupts by every way there is, a virtio device whose rings and buffers lie on
 * several ranks. Two or more harts, one per rank; in S mode under the builtin SBI, or in M mode (-DM_MODE, -bios none).
 * Arguments (-append): do=hsm|restart|rng|console|sswi|msi|aclint|echo|turns|tick, half=BYTES of the first node,
 * irq=plic|aplic|imsic, rounds=N, ask=0 (that hart asks for the restarts), off=HART (turns: who ends the run).
 */
#include "bare.h"

enum { OTHER = 1, PAGE = 4096 };
#define RAM 0x80000000ul
#define SSWI_OTHER 0x2f04000ul /* of the only hart of the second group */
#define CLINT_OTHER 0x2010000ul
#define VIRTIO_RNG 0x10008000ul /* the first device takes the last slot */
#define VIRTIO_SOURCE 8
#define PLIC_OTHER 0xc600000ul
#define APLIC_S_OTHER 0xd008000ul
#define IMSIC_S_OTHER 0x29000000ul

static char bootargs[256];
static uint64_t half;
static unsigned num_harts = 2;
static volatile uint64_t step; /* what hart 0 lets the other do */
static volatile uint64_t told; /* what the other has done */
static volatile uint64_t value;
static const char *doing;

static bool starts(const char *s, const char *with)
{
    while (*with) {
        if (*s++ != *with++) {
            return false;
        }
    }
    return true;
}

static void fence(void)
{
    __asm__ volatile("fence" ::: "memory");
}

static void say(volatile uint64_t *word, uint64_t v)
{
    fence();
    *word = v;
    fence();
}

static void await(volatile uint64_t *word, uint64_t v)
{
    while (*word < v) {
        __asm__ volatile("pause" ::: "memory");
    }
    fence();
}

static void need(bool good, const char *what)
{
    if (!good) {
        print("BAD %s\n", what);
        finish_with(1);
    }
}

static volatile uint32_t *reg(uint64_t address)
{
    return (volatile uint32_t *)address;
}

#ifndef M_MODE
struct answer {
    int64_t error;
    uint64_t value;
};

static struct answer firmware(uint64_t eid, uint64_t fid, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    register uint64_t a0 __asm__("a0") = a;
    register uint64_t a1 __asm__("a1") = b;
    register uint64_t a2 __asm__("a2") = c;
    register uint64_t a3 __asm__("a3") = d;
    register uint64_t a6 __asm__("a6") = fid;
    register uint64_t a7 __asm__("a7") = eid;
    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a3), "r"(a6), "r"(a7) : "memory");
    return (struct answer){.error = (int64_t)a0, .value = a1};
}

enum { HSM = 0x48534d, SRST = 0x53525354, DBCN = 0x4442434e, PMU = 0x504d55, IPI = 0x735049 };
enum { STARTED = 0, STOPPED = 1, SUSPENDED = 4, SHUTDOWN = 0, REBOOT = 1 };

static void start_other(unsigned long hart)
{
    need(firmware(HSM, 0, hart, (uintptr_t)bare_start_other, 0, 0).error == 0, "hart_start");
}

static void await_status(unsigned long hart, uint64_t status)
{
    struct answer r;
    do {
        r = firmware(HSM, 2, hart, 0, 0, 0);
        need(r.error == 0, "hart_status");
    } while (r.value != status);
}

static void system_reset(unsigned type)
{
    firmware(SRST, 0, type, 0, 0, 0);
    need(false, "system_reset came back");
}

/* ---- hart states, IPIs, firmware counters, the debug console ---- */

static char greeting[PAGE + 64] __attribute__((aligned(PAGE)));

static void hsm_other(unsigned long hart)
{
    if (step == 1) { /* the second start finds the stack as at the first */
        say(&told, 1);
        firmware(HSM, 1, 0, 0, 0, 0);
        need(false, "hart_stop came back");
    }
    /* Firmware counter: IPIs received (event 7). */
    need(firmware(PMU, 2, 3, 1, 6, 0xf0007).error == 0, "counter");
    csr_write("sie", 1 << 1);
    say(&told, 2);
    for (unsigned i = 0; i < 10; i++) {
        firmware(HSM, 3, 0, 0, 0, 0); /* retentive: goes on here */
        need(csr_read("sip") & 2, "resumed without an interrupt");
        __asm__ volatile("csrc sip, %0" ::"r"(2ul));
        say(&told, 3 + i);
    }
    need(firmware(PMU, 5, 3, 0, 0, 0).value == 10, "IPIs received are counted where they arrive");
    /* Text that lies on two pages, from the rank that has no console. */
    const char *text = "hart 1 speaks by its own rank's firmware\n";
    unsigned n = 0;
    while (text[n]) {
        greeting[PAGE - 20 + n] = text[n];
        n++;
    }
    uint64_t at = (uintptr_t)greeting + PAGE - 20;
    while (n > 0) {
        struct answer r = firmware(DBCN, 0, n, at, 0, 0);
        need(r.error == 0 && r.value <= n, "console_write");
        n -= (unsigned)r.value;
        at += r.value;
    }
    say(&told, 100);
}

static void hsm_hart0(void)
{
    need(firmware(HSM, 2, OTHER, 0, 0, 0).value == STOPPED, "stopped at first");
    say(&step, 1);
    start_other(OTHER);
    await(&told, 1);
    await_status(OTHER, STOPPED);
    say(&step, 2);
    start_other(OTHER);
    await(&told, 2);
    for (unsigned i = 0; i < 10; i++) {
        await_status(OTHER, SUSPENDED);
        need(firmware(IPI, 0, 1, OTHER, 0, 0).error == 0, "send_ipi");
        await(&told, 3 + i);
    }
    await(&told, 100);
}

/* ---- restarts ---- */

/* Guest memory keeps what it had, but for the images. Behind the program, on the second rank. */
struct kept {
    uint64_t magic, count, time;
};
enum { MAGIC = 0x6b657074 };
static volatile uint64_t image_word = 0x1234;

static volatile struct kept *kept(void)
{
    return (volatile struct kept *)(RAM + half + 16 * PAGE);
}

static void restart(unsigned long hart)
{
    uint64_t rounds = arg_number(bootargs, "rounds", 4);
    volatile struct kept *k = kept();
    uint64_t now = csr_read("time");
    need(now >= k->time, "the time goes back");
    k->count++;
    image_word = k->count; /* the image is put back */
    k->time = csr_read("time");
    fence();
    print("start %u, asked for by hart %u\n", k->count, (uint64_t)hart);
    if (k->count > rounds) {
        print("restarts done\n");
        system_reset(SHUTDOWN);
    }
    system_reset(REBOOT);
}

static void restart_hart0(void)
{
    volatile struct kept *k = kept();
    if (k->magic != MAGIC) {
        k->magic = MAGIC;
        k->count = k->time = 0;
    }
    need(image_word == 0x1234, "the image is as it was changed before the restart");
    need(step == 0 && told == 0, "zeroed memory");
    for (unsigned h = 1; h < num_harts; h++) {
        need(firmware(HSM, 2, h, 0, 0, 0).value == STOPPED, "a hart runs after the restart");
    }
    uint64_t asker = arg_number(bootargs, "ask", OTHER);
    say(&step, 1);
    for (unsigned h = 1; h < num_harts; h++) {
        start_other(h);
    }
    await(&told, 1);
    if (asker == 0) {
        restart(0);
    }
    for (;;) {
        value++; /* keeps pages on their way */
    }
}

static void restart_other(unsigned long hart)
{
    if (hart == 1) {
        say(&told, 1);
    }
    if (hart == arg_number(bootargs, "ask", OTHER)) {
        restart(hart);
    }
    for (;;) {
        value++;
    }
}

/* ---- interrupts of the second hart ---- */

enum { ISELECT_DELIVERY = 0x70, ISELECT_THRESHOLD = 0x72, ISELECT_EIE0 = 0xc0, RNG_ID = 9, IPI_ID = 5 };

static void imsic_write(unsigned select, uint64_t v)
{
    csr_write("0x150", select);
    csr_write("0x151", v);
}

static void imsic_setup(void)
{
    imsic_write(ISELECT_DELIVERY, 1);
    imsic_write(ISELECT_THRESHOLD, 0);
    imsic_write(ISELECT_EIE0, 1ul << RNG_ID | 1ul << IPI_ID);
}

static uint64_t imsic_claim(void)
{
    uint64_t v;
    __asm__ volatile("csrrw %0, 0x15c, zero" : "=r"(v)::"memory");
    return v >> 16;
}

static char irq_way(void)
{
    const char *t = arg_text(bootargs, "irq");
    return t ? *t : 'p';
}

static bool by_imsic(void)
{
    return irq_way() == 'i';
}

/* The virtio device's source goes to this hart. */
static void irq_setup(void)
{
    if (irq_way() == 'p') {
        *reg(PLIC_OTHER + 4 * VIRTIO_SOURCE) = 1;
        *reg(PLIC_OTHER + 0x2000 + 0x80) = 1u << VIRTIO_SOURCE;
        *reg(PLIC_OTHER + 0x200000 + 0x1000) = 0;
    } else {
        *reg(APLIC_S_OTHER + 4 * VIRTIO_SOURCE) = 6; /* level, high */
        *reg(APLIC_S_OTHER + 0x3000 + 4 * VIRTIO_SOURCE) = by_imsic() ? 0u << 18 | RNG_ID : 0u << 18 | 1;
        if (by_imsic()) {
            /* Without a group index in its hart number a message goes to the first group: hart 1 is in the second. */
            *reg(APLIC_S_OTHER + 0x3000 + 4 * VIRTIO_SOURCE) = 1u << 18 | RNG_ID;
            imsic_setup();
        } else {
            *reg(APLIC_S_OTHER + 0x4000) = 1;
        }
        *reg(APLIC_S_OTHER + 0x1edc) = VIRTIO_SOURCE;
        *reg(APLIC_S_OTHER) = 1 << 8;
    }
    csr_write("sie", 1 << 9);
}

static void irq_await(void)
{
    uint64_t source;
    do {
        while (!(csr_read("sip") & 1 << 9)) {
            __asm__ volatile("wfi");
        }
        if (irq_way() == 'p') {
            source = *reg(PLIC_OTHER + 0x200000 + 0x1004);
        } else if (by_imsic()) {
            source = imsic_claim() == RNG_ID ? VIRTIO_SOURCE : 0;
        } else {
            source = *reg(APLIC_S_OTHER + 0x4000 + 0x1c) >> 16;
        }
    } while (source == 0);
    need(source == VIRTIO_SOURCE, "the interrupt's number");
    *reg(VIRTIO_RNG + 0x64) = *reg(VIRTIO_RNG + 0x60);
    if (irq_way() == 'p') {
        *reg(PLIC_OTHER + 0x200000 + 0x1004) = VIRTIO_SOURCE;
    }
}

/* A message interrupt from hart 0, straight to the IMSIC of the other. */
static void msi_other(void)
{
    imsic_setup();
    csr_write("sie", 1 << 9);
    say(&told, 1);
    for (uint64_t i = 0, rounds = arg_number(bootargs, "rounds", 50); i < rounds; i++) {
        while (!(csr_read("sip") & 1 << 9)) {
            __asm__ volatile("wfi");
        }
        need(imsic_claim() == IPI_ID, "the message's identity");
        need(step == i + 1, "what was written before the message is seen after it");
        say(&told, i + 2);
    }
    need(!(csr_read("sip") & 1 << 9), "no more messages than were sent");
}

static void msi_hart0(void)
{
    start_other(OTHER);
    await(&told, 1);
    for (uint64_t i = 0, rounds = arg_number(bootargs, "rounds", 50); i < rounds; i++) {
        say(&step, i + 1);
        *reg(IMSIC_S_OTHER) = IPI_ID;
        await(&told, i + 2);
    }
    need(*reg(IMSIC_S_OTHER) == 0, "an IMSIC page reads as zero");
}

/* ---- software interrupts by ACLINT SSWI ---- */

static void sswi_other(void)
{
    csr_write("sie", 1 << 1);
    say(&told, 1);
    for (unsigned i = 0; i < 50; i++) {
        while (!(csr_read("sip") & 2)) {
            __asm__ volatile("wfi");
        }
        __asm__ volatile("csrc sip, %0" ::"r"(2ul));
        need(step == i + 1, "what was written before the interrupt is seen after it");
        say(&told, i + 2);
    }
}

static void sswi_hart0(void)
{
    start_other(OTHER);
    await(&told, 1);
    for (unsigned i = 0; i < 50; i++) {
        say(&step, i + 1);
        *reg(SSWI_OTHER) = 1;
        await(&told, i + 2);
    }
}

/* ---- virtio: rings and buffers on both ranks, devices on the first ---- */

enum { QUEUE = 16, WRITE = 2, NEXT = 1 };

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};
struct ring {
    volatile struct desc *desc;
    volatile uint16_t *avail, *used;
    uint16_t idx;
};

/* A page of node 0 or 1. */
static uint64_t page_of(unsigned node, unsigned n)
{
    return RAM + (node ? half : 0) + (8ul << 20) + (uint64_t)n * PAGE;
}

static void queue_setup(unsigned q, struct ring *r, unsigned at)
{
    uint64_t desc = page_of(q & 1, at), avail = page_of(1, at + 1), used = page_of(0, at + 2);
    *r = (struct ring){.desc = (volatile struct desc *)desc, .avail = (volatile uint16_t *)avail};
    r->used = (volatile uint16_t *)used;
    memset((void *)desc, 0, PAGE);
    memset((void *)avail, 0, PAGE);
    memset((void *)used, 0, PAGE);
    *reg(VIRTIO_RNG + 0x30) = q;
    need(*reg(VIRTIO_RNG + 0x34) >= QUEUE, "queue size");
    *reg(VIRTIO_RNG + 0x38) = QUEUE;
    *reg(VIRTIO_RNG + 0x80) = (uint32_t)desc;
    *reg(VIRTIO_RNG + 0x84) = (uint32_t)(desc >> 32);
    *reg(VIRTIO_RNG + 0x90) = (uint32_t)avail;
    *reg(VIRTIO_RNG + 0x94) = (uint32_t)(avail >> 32);
    *reg(VIRTIO_RNG + 0xa0) = (uint32_t)used;
    *reg(VIRTIO_RNG + 0xa4) = (uint32_t)(used >> 32);
    *reg(VIRTIO_RNG + 0x44) = 1;
    need(*reg(VIRTIO_RNG + 0x44) == 1, "queue ready");
}

static void device_begin(uint32_t id)
{
    need(*reg(VIRTIO_RNG) == 0x74726976 && *reg(VIRTIO_RNG + 8) == id, "the device is there");
    *reg(VIRTIO_RNG + 0x70) = 0;
    *reg(VIRTIO_RNG + 0x70) = 3;
    *reg(VIRTIO_RNG + 0x24) = 1;
    *reg(VIRTIO_RNG + 0x20) = 1; /* VIRTIO_F_VERSION_1 */
    *reg(VIRTIO_RNG + 0x70) = 11;
    need(*reg(VIRTIO_RNG + 0x70) == 11, "features");
}

static void offer(struct ring *r, unsigned q, unsigned head)
{
    r->avail[2 + r->idx % QUEUE] = (uint16_t)head;
    fence();
    r->avail[1] = ++r->idx;
    fence();
    *reg(VIRTIO_RNG + 0x50) = q;
}

/* Both harts count in the pages of ring and buffers, so these are never where the device wants them for long. */
static void disturb(unsigned hart)
{
    for (unsigned i = 0; i < 3; i++) {
        uint64_t *word = (uint64_t *)(page_of(i == 1, 100 + i) + PAGE - 64 + 8 * hart);
        __atomic_fetch_add(word, 1, __ATOMIC_RELAXED);
    }
    uint64_t *edge = (uint64_t *)(RAM + half - PAGE);
    __atomic_fetch_add(edge + hart, 1, __ATOMIC_RELAXED);
}

static void rng_other(void)
{
    struct ring r;
    unsigned zeroes = 0, at = 100;
    uint64_t rounds = arg_number(bootargs, "rounds", 30);
    irq_setup();
    device_begin(4);
    queue_setup(0, &r, at);
    *reg(VIRTIO_RNG + 0x70) = 15;
    say(&told, 1);
    for (uint64_t i = 0; i < rounds; i++) {
        uint8_t *across = (uint8_t *)(RAM + half - 1000), *own = (uint8_t *)page_of(1, 120 + (unsigned)(i % 4));
        memset(across, 0, 2000); /* the last page of one rank and the first of the other */
        memset(own, 0, 200);
        r.desc[0].addr = (uintptr_t)across;
        r.desc[0].len = 2000;
        r.desc[0].flags = WRITE | NEXT;
        r.desc[0].next = 1;
        r.desc[1].addr = (uintptr_t)own;
        r.desc[1].len = 200;
        r.desc[1].flags = WRITE;
        offer(&r, 0, 0);
        do {
            disturb(1);
            irq_await();
        } while (r.used[1] != r.idx);
        uint32_t len = *(volatile uint32_t *)&r.used[2 + 4 * (i % QUEUE) + 2];
        need(len == 2200, "bytes of entropy");
        for (unsigned b = 0; b < 2000; b++) {
            zeroes += across[b] == 0;
        }
        for (unsigned b = 0; b < 200; b++) {
            zeroes += own[b] == 0;
        }
    }
    /* One byte in 256 is zero by chance. */
    need(zeroes < rounds * 2200 / 64, "the buffers are filled");
    say(&told, 2);
}

static void rng_hart0(void)
{
    start_other(OTHER);
    while (told < 2) {
        disturb(0);
    }
    fence();
}

/* The console device's transmit queue: text from pages of both ranks. */
static void console_other(void)
{
    struct ring in, out;
    irq_setup();
    device_begin(3);
    queue_setup(0, &in, 100);
    queue_setup(1, &out, 110);
    *reg(VIRTIO_RNG + 0x70) = 15;
    uint64_t rounds = arg_number(bootargs, "rounds", 30);
    for (uint64_t i = 0; i < rounds; i++) {
        static const char parts[3][24] = {"line of three parts: ", "home, ", "away, here\n"};
        for (unsigned p = 0; p < 3; p++) {
            unsigned n = 0;
            uint8_t *to = p == 2 ? (uint8_t *)(RAM + half - 5) : (uint8_t *)page_of(p, 120);
            for (; parts[p][n]; n++) {
                to[n] = (uint8_t)parts[p][n];
            }
            out.desc[p].addr = (uintptr_t)to;
            out.desc[p].len = n;
            out.desc[p].flags = p < 2 ? NEXT : 0;
            out.desc[p].next = (uint16_t)(p + 1);
        }
        offer(&out, 1, 0);
        do {
            disturb(1);
            irq_await();
        } while (out.used[1] != out.idx);
    }
    say(&told, 2);
}

/* ---- what is typed comes to a hart of another rank ---- */

static void echo_other(void)
{
    char line[64];
    unsigned n = 0;
    print("type a line\n");
    while (n < sizeof(line) - 1 && (n == 0 || (line[n - 1] != '\n' && line[n - 1] != '\r'))) {
        if (*(volatile uint8_t *)(UART_BASE + 5) & 1) {
            line[n++] = *(volatile char *)UART_BASE;
        }
    }
    line[n - 1] = 0;
    print("hart 1 read: %s\n", line);
    say(&told, 2);
}

/* ---- the harts print in turns, by the UART's registers: nothing is lost and nothing overtakes, also at the end ----
 */

static void turns(unsigned long hart)
{
    uint64_t rounds = arg_number(bootargs, "rounds", 40), last = rounds * num_harts - 1;
    for (uint64_t n = hart; n <= last; n += num_harts) {
        await(&value, n);
        for (uint64_t lines = n % 7; lines; lines--) {
            print("more\n");
        }
        print("turn %u\n", n);
        say(&value, n + 1);
    }
    if (hart == arg_number(bootargs, "off", 0)) {
        await(&value, last + 1);
        system_reset(0);
    }
}

static void turns_hart0(void)
{
    for (unsigned h = 1; h < num_harts; h++) {
        start_other(h);
    }
    turns(0);
    for (;;) {
        __asm__ volatile("wfi");
    }
}

/* ---- one clock for all harts, also when the operator stops and starts them ---- */

/* No hart reads a time that is before one which another had read when it began to read. */
static volatile uint64_t latest;

static uint64_t time_checked(void)
{
    uint64_t before = __atomic_load_n(&latest, __ATOMIC_ACQUIRE), now = csr_read("time"), seen = before;
    need(now >= before, "the time of another hart is ahead");
    while (seen < now && !__atomic_compare_exchange_n(&latest, &seen, now, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    }
    return now;
}

static void tick_hart0(void)
{
    start_other(OTHER);
    await(&told, 1);
    print("ready\n");
    for (;;) {
        uint64_t now = time_checked();
        if (*(volatile uint8_t *)(UART_BASE + 5) & 1) {
            char c = *(volatile char *)UART_BASE;
            if (c == 'q') {
                break;
            }
            print("%s%u ms\n", c == 't' ? "time " : "? ", now / 10000);
        }
    }
    say(&step, 1);
    await(&told, 2);
}

static void tick_other(void)
{
    say(&told, 1);
    while (!step) {
        time_checked();
    }
    say(&told, 2);
}
#else

/* ---- ACLINT of another rank's hart, in M mode ---- */

static void aclint_other(void)
{
    csr_write("mie", 1 << 3 | 1 << 7);
    say(&told, 1);
    for (unsigned i = 0; i < 50; i++) {
        while (!(csr_read("mip") & 1 << 3)) {
            __asm__ volatile("wfi");
        }
        need(step == i + 1, "what was written before the interrupt is seen after it");
        await(&value, i + 1);
        *reg(CLINT_OTHER) = 0;
        need(!(csr_read("mip") & 1 << 3), "its own MSIP is cleared at once");
        say(&told, i + 2);
    }
    for (unsigned i = 0; i < 10; i++) {
        while (!(csr_read("mip") & 1 << 7)) {
            __asm__ volatile("wfi");
        }
        volatile uint64_t *cmp = (volatile uint64_t *)(CLINT_OTHER + 0x4000);
        need(*(volatile uint64_t *)(CLINT_OTHER + 0xbff8) >= *cmp, "the timer fired early");
        *cmp = ~0ull;
        say(&told, 100 + i);
    }
}

static void aclint_hart0(void)
{
    volatile uint64_t *cmp = (volatile uint64_t *)(CLINT_OTHER + 0x4000);
    await(&told, 1);
    for (unsigned i = 0; i < 50; i++) {
        say(&step, i + 1);
        *reg(CLINT_OTHER) = 1;
        while (*reg(CLINT_OTHER) != 1) {
        }
        say(&value, i + 1);
        await(&told, i + 2);
        need(*reg(CLINT_OTHER) == 0, "MSIP of the other hart is clear again");
    }
    for (unsigned i = 0; i < 10; i++) {
        uint64_t when = *(volatile uint64_t *)0x200bff8ul + 20000;
        *reg((uintptr_t)cmp + 4) = (uint32_t)(when >> 32); /* in halves, as 32-bit code does */
        *reg((uintptr_t)cmp) = (uint32_t)when;
        uint64_t now = *cmp;
        need(now == when || now == ~0ull, "mtimecmp reads back");
        await(&told, 100 + i);
    }
}
#endif

static void count_harts(void *opaque, const char *path, const char *name, const void *data, unsigned size)
{
    if (starts(path, "/cpus/cpu@") && starts(name, "reg") && size >= 4) {
        unsigned h = fdt_u32(data);
        num_harts = h + 1 > num_harts ? h + 1 : num_harts;
    }
}

int main_hart0(const void *fdt)
{
    fdt_bootargs(fdt, bootargs, sizeof(bootargs));
    fdt_visit(fdt, count_harts, NULL);
    half = arg_number(bootargs, "half", 32ul << 20);
    doing = arg_text(bootargs, "do");
    need(doing != NULL, "do=");
    fence();
#ifdef M_MODE
    bare_go = 1;
    aclint_hart0();
#else
    if (starts(doing, "hsm")) {
        hsm_hart0();
    } else if (starts(doing, "restart")) {
        restart_hart0();
    } else if (starts(doing, "tick")) {
        tick_hart0();
    } else if (starts(doing, "turns")) {
        turns_hart0();
    } else if (starts(doing, "sswi")) {
        sswi_hart0();
    } else if (starts(doing, "msi")) {
        msi_hart0();
    } else {
        rng_hart0(); /* and the console, and the echo */
    }
#endif
    print("%s done\n", doing);
    return 0;
}

void main_other(unsigned long hart)
{
    fence();
#ifdef M_MODE
    if (hart == OTHER) {
        aclint_other();
    }
#else
    if (starts(doing, "restart")) {
        restart_other(hart);
    } else if (starts(doing, "turns")) {
        turns(hart);
    } else if (hart != OTHER) {
        return;
    } else if (starts(doing, "hsm")) {
        hsm_other(hart);
    } else if (starts(doing, "sswi")) {
        sswi_other();
    } else if (starts(doing, "msi")) {
        msi_other();
    } else if (starts(doing, "console")) {
        console_other();
    } else if (starts(doing, "tick")) {
        tick_other();
    } else if (starts(doing, "echo")) {
        echo_other();
    } else {
        rng_other();
    }
#endif
}
