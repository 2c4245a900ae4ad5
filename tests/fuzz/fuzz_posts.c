/*
 * What a hostile or broken rank can say about the machine: posts of every kind, of every length, with fields near what
 * makes sense. The machine is a husk, of rank 0 or of another: four harts, two of them on other ranks, a bus with a
 * device and a hart's registers. Nothing may crash, assert, or read outside; an access must fit its region, an
 * interrupt its hart and, but for software interrupts, come from rank 0; an answer the call that waits for it.
 *
 * usage: fuzz_posts SECONDS SEED    (libFuzzer brings its own main)
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "machine/ranks_state.h"
#include "machine/ranks_view.h"
#include "machine/virt.h"
#include "weft/loop.h"
#include "weft/machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HARTS = 4, RANKS = 3, LOCAL = 2, DEVICE = 0x10000000, REGISTERS = 0x2000000, REGION = 0x100, PORT_SIZE = 8 };

static struct cpu *harts[HARTS];
static unsigned speaker; /* the rank whose post is handled */
static unsigned done_due;
static struct {
    void (*done)(void *opaque);
    void *opaque;
} due[256];

/* ---- what the posts lead to; the linker puts these in the place of the real ones ---- */

#define WRAP(type, name, ...)                                                                                          \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

WRAP(void, cluster_post, struct cluster *c, unsigned rank, uint32_t kind, const void *bytes, size_t length)
{
    static uint8_t sent[MSG_POST_MAX];
    assert(!c && rank < RANKS && kind && length <= MSG_POST_MAX);
    if (length) {
        memcpy(sent, bytes, length); /* each byte is there */
    }
}
WRAP(void, cpu_irq_set, struct cpu *cpu, uint64_t mask, bool level)
{
    assert(!cpu->remote && mask && (mask == 1ull << IRQ_SSI || speaker == 0));
    level ? atomic_fetch_or(&cpu->mip, mask) : atomic_fetch_and(&cpu->mip, ~mask);
}
WRAP(void, cpu_wait_wake, _Atomic uint32_t *word)
{
    atomic_store(word, 1);
}
WRAP(void, cpu_run_counted, const struct bitmap *mask, void (*fn)(struct cpu *, uint64_t, uint64_t), uint64_t a,
     uint64_t b, void (*done)(void *opaque), void *opaque)
{
    (void)a;
    (void)b;
    assert(fn && done_due < 256);
    bitmap_for_each(h, mask)
    {
        assert(h < LOCAL);
    }
    due[done_due].done = done;
    due[done_due++].opaque = opaque;
}
WRAP(int64_t, sbi_start_here, struct cpu *cpu, uint64_t addr, uint64_t opaque)
{
    (void)addr;
    (void)opaque;
    assert(!cpu->remote);
    return 0;
}
WRAP(void, sbi_count, struct cpu *cpu, unsigned event)
{
    (void)event;
    assert(!cpu->remote);
}
WRAP(struct uart *, virt_uart, struct machine *m)
{
    (void)m;
    return NULL;
}
WRAP(unsigned, uart_console_write, struct uart *u, const uint8_t *bytes, unsigned n)
{
    (void)u;
    (void)bytes;
    assert(n <= RANKS_CONSOLE_MAX);
    return n / 2;
}
WRAP(unsigned, uart_console_read, struct uart *u, uint8_t *bytes, unsigned n)
{
    (void)u;
    assert(n <= RANKS_CONSOLE_MAX);
    memset(bytes, 'x', n);
    return n;
}
/* Lent to one at a time. */
static bool lent;
WRAP(bool, uart_lend, struct uart *u, void (*recall)(void *opaque), void *opaque)
{
    (void)u;
    assert(!lent && recall && opaque);
    return lent = true;
}
WRAP(void, uart_lent_write, struct uart *u, const uint8_t *bytes, unsigned n)
{
    static uint8_t written[RANKS_CONSOLE_MAX];
    (void)u;
    assert(n <= RANKS_CONSOLE_MAX);
    memcpy(written, bytes, n);
}
WRAP(void, uart_lent_back, struct uart *u)
{
    (void)u;
    assert(lent);
    lent = false;
}
WRAP(enum virt_register, virt_register_at, struct machine *m, gpa_t gpa, unsigned *hart)
{
    (void)m;
    if (gpa < REGISTERS || gpa >= REGISTERS + REGION) {
        return gpa - DEVICE < PORT_SIZE ? VIRT_OF_PORT : VIRT_OF_DEVICE;
    }
    *hart = (unsigned)(gpa - REGISTERS) / 4 % HARTS;
    return VIRT_OF_HART;
}
WRAP(void, log_warn, const char *format, ...)
{
    (void)format;
}

static uint64_t region_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)opaque;
    assert(size >= 1 && size <= 4 && offset + size <= REGION && offset % size == 0);
    return offset;
}
static void region_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    (void)value;
    region_read(opaque, offset, size);
}

/* ---- the machine ---- */

static const struct mmio_ops region_ops = {.read = region_read, .write = region_write, .min_size = 1, .max_size = 4};

/* The others, counted from 0. */
static unsigned peer(unsigned self, unsigned i)
{
    return i + (i >= self);
}

static struct ranks *make(unsigned self)
{
    static struct machine m;
    static struct ranks r;
    memset(&r, 0, sizeof(r));
    m = (struct machine){.num_cpus = HARTS, .ranks = &r};
    m.loop = loop_create("fuzz", false);
    m.bus.region[0] = (struct mmio_region){.base = REGISTERS, .size = REGION, .ops = &region_ops};
    m.bus.region[1] = (struct mmio_region){.base = DEVICE, .size = REGION, .ops = &region_ops};
    m.bus.num_regions = 2;
    r.m = &m;
    r.members.ranks = RANKS;
    r.members.self = self;
    for (unsigned h = 0; h < HARTS; h++) {
        harts[h] = harts[h] ? harts[h] : aligned_alloc(4096, (sizeof(struct cpu) + 4095) / 4096 * 4096);
        assert(harts[h]);
        memset(harts[h], 0, sizeof(struct cpu));
        harts[h]->hart = h;
        harts[h]->machine = &m;
        harts[h]->remote = h >= LOCAL;
        m.cpus[h] = harts[h];
        r.rank_of_hart[h] = (uint16_t)(h < LOCAL ? self : peer(self, h - LOCAL));
    }
    pthread_mutex_init(&r.queue_lock, NULL);
    r.service_bh = loop_bh_create(m.loop, ranks_serve_asks, &r);
    lent = false;
    ranks_port_create(&r);
    ranks_view_create(&r);
    ranks_view_start(&r);
    return &r;
}

static void unmake(struct ranks *r)
{
    while (done_due) {
        done_due--;
        due[done_due].done(due[done_due].opaque);
    }
    ranks_queue_clear(r);
    assert(lent == (r->owner.tenant != 0));
    ranks_view_destroy(r);
    loop_bh_destroy(&r->service_bh);
    ranks_port_destroy(r);
    pthread_mutex_destroy(&r->queue_lock);
    loop_destroy(&r->m->loop);
}

/* ---- the posts ---- */

struct input {
    const uint8_t *at;
    size_t left;
};

static uint64_t next(struct input *in, unsigned bytes)
{
    uint64_t v = 0;
    for (; bytes && in->left; bytes--, in->left--) {
        v = v << 8 | *in->at++;
    }
    return v;
}

/* An address near something, or anywhere. */
static uint64_t some_address(struct input *in)
{
    uint64_t v = next(in, 2);
    return v & 1 ? next(in, 8) : (v & 2 ? DEVICE : REGISTERS) + (v >> 8) + (v >> 2 & 1) * (REGION - 4);
}

static size_t fill_ask(struct put_ask *p, unsigned hart, struct input *in)
{
    p->ask.hart = (uint16_t)(next(in, 1) % 8 ? hart : next(in, 2));
    p->ask.what = (uint8_t)(next(in, 1) % (ASK_GET + 2));
    p->ask.size = (uint8_t)next(in, 1);
    p->ask.size = p->ask.size & 1 ? (uint8_t)(1 << (p->ask.size >> 1 & 3)) : p->ask.size;
    p->ask.a = p->ask.what == ASK_READ || p->ask.what == ASK_WRITE || p->ask.what == ASK_PORT_WRITE ? some_address(in)
                                                                                                    : next(in, 1) % 8;
    p->ask.b = next(in, 8);
    p->ask.harts[0] = next(in, 1);
    p->ask.harts[1] = next(in, 1);
    return sizeof(p->ask) + (p->ask.what == ASK_PUT || p->ask.what == ASK_PORT_BYTES ? p->ask.size : 0);
}

/* Our harts use the UART. */
static void use_port(struct ranks *r, unsigned how)
{
    uint64_t value = 0;
    if (r->members.self == 0) {
        assert(ranks_port_recall(r) == lent);
    } else if (how & 1) {
        ranks_port_write(r, how % 32 == 1 ? UART_THR + 1 : UART_THR, how);
    } else if (ranks_port_read(r, how % 32 == 0 ? 0 : UART_LSR, &value)) {
        assert(value == UART_LSR_EMPTY);
    }
}

/* A copy of the exact length, so that a read behind it is seen. */
static void hear(struct ranks *r, unsigned src, unsigned kind, const void *bytes, size_t length)
{
    uint8_t *copy = malloc(length + !length);
    assert(copy);
    memcpy(copy, bytes, length);
    speaker = src;
    ranks_on_post(r, src, kind, copy, length);
    free(copy);
}

static void post(struct ranks *r, struct input *in)
{
    union {
        struct put_ask ask;
        struct answer answer;
        struct irq_post irq;
        struct store_post store;
        uint8_t bytes[MSG_POST_MAX];
    } u;
    unsigned who = (unsigned)next(in, 1) % (RANKS - 1), kind = (unsigned)next(in, 1) % 13;
    unsigned twist = (unsigned)next(in, 1);
    size_t length = next(in, 1) + 1;
    memset(&u, 0, sizeof(u));
    for (size_t i = 0; i < 24; i++) {
        u.bytes[i] = (uint8_t)next(in, 1);
    }
    if (kind == POST_ASK) {
        length = fill_ask(&u.ask, LOCAL + who, in);
    } else if (kind == POST_ANSWER) {
        u.answer.hart %= HARTS + 1;
        u.answer.number = twist & 2 ? r->call[0].number : u.answer.number;
        length = offsetof(struct answer, bytes) + u.answer.length % 64;
    } else if (kind == POST_IRQ) {
        u.irq.hart %= HARTS + 1;
        u.irq.mask = twist & 2 ? 1ull << (u.irq.mask % 16) : u.irq.mask;
        length = sizeof(u.irq);
    } else if (kind == POST_STORE) {
        u.store.gpa = some_address(in);
        u.store.size = twist & 2 ? 4 : (uint32_t)next(in, 1);
        length = sizeof(u.store);
    } else if (kind == POST_WORLD) {
        return; /* only a few bytes, all of which are compared with what is expected */
    } else if (kind == POST_RECALL) {
        length = 0;
    } else {
        kind += POST_VIEW_FIRST - 7;
    }
    if (twist % 16 == 0) {
        length = next(in, 1); /* cut short, or with something behind */
    }
    length = length > MSG_POST_MAX ? MSG_POST_MAX : length;
    hear(r, peer(r->members.self, who), kind, &u, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.at = data, .left = size};
    struct ranks *r = make((unsigned)next(&in, 1) % 2);
    for (unsigned n = 0; in.left && n < 100; n++) {
        unsigned first = (unsigned)next(&in, 1);
        if (first % 8 == 0) {
            struct ask ask = {0};
            ranks_call_begin(harts[first / 8 % LOCAL], &ask, 1 + first / 64); /* one of our harts asks something */
        } else if (first % 8 == 1) {
            ranks_serve_asks(r);
        } else if (first % 8 == 2) {
            use_port(r, first / 8);
        } else {
            post(r, &in);
        }
    }
    unmake(r);
    return 0;
}

#ifndef WEFT_LIBFUZZER
/* Who may raise which lines of a hart of rank 1: the owner of the devices its external interrupts, anyone the software
 * interrupt, and nobody what is not an interrupt from outside. */
static void lines(void)
{
    static const struct {
        unsigned src;
        uint64_t mask;
        bool taken;
    } tries[] = {
        {0, 1ull << IRQ_SEI, true},  {0, 1ull << IRQ_MEI, true},
        {0, 1ull << IRQ_SSI, true},  {0, 1ull << IRQ_STI, false},
        {2, 1ull << IRQ_SEI, false}, {2, 1ull << IRQ_MEI, false},
        {2, 1ull << IRQ_SSI, true},  {0, 0, false},
    };
    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        struct ranks *r = make(1);
        struct irq_post p = {.level = 1, .mask = tries[i].mask, .fence = tries[i].mask == 1ull << IRQ_SSI ? 0 : 7};
        hear(r, tries[i].src, POST_IRQ, &p, sizeof(p));
        assert(atomic_load(&harts[0]->mip) == (tries[i].taken ? tries[i].mask : 0));
        /* What was refused does not count as the word of a later owner either. */
        assert(r->device_fence == (tries[i].taken ? p.fence : 0));
        unmake(r);
    }
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    uint64_t state = argc > 2 ? strtoull(argv[2], NULL, 0) : 1, runs = 0;
    lines();
    clock_t end = clock() + (clock_t)(seconds * CLOCKS_PER_SEC);
    static uint8_t data[4096];
    while (clock() < end) {
        size_t size = 1 + state % sizeof(data);
        for (size_t i = 0; i < size; i++) {
            state = state * 6364136223846793005ull + 1442695040888963407ull;
            data[i] = (uint8_t)(state >> 56);
        }
        LLVMFuzzerTestOneInput(data, size);
        runs++;
    }
    printf("%llu inputs\n", (unsigned long long)runs);
    return 0;
}
#endif
