/*
 * Platform-level interrupt controller (RISC-V PLIC specification 1.0.0) in the layout of SiFive's PLIC. Sources are
 * level-triggered: a gateway forwards one request and waits for its completion before it looks at the wire again.
 */
#include "weft/devices.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "weft/log.h"

enum {
    SOURCE_WORDS = (PLIC_MAX_SOURCES + 32) / 32,
    MAX_CONTEXTS = 2 * WEFT_MAX_HARTS,
    MAX_PRIORITY = 7,
    PENDING_BASE = 0x1000,
    ENABLE_BASE = 0x2000,
    ENABLE_STRIDE = 0x80,
    CONTEXT_BASE = 0x200000,
    CONTEXT_STRIDE = 0x1000,
};

struct plic {
    /* Under the BQL. Bit n % 32 of word n / 32 belongs to source n. */
    uint32_t level[SOURCE_WORDS], pending[SOURCE_WORDS], claimed[SOURCE_WORDS];
    uint8_t priority[PLIC_MAX_SOURCES + 1];
    uint32_t enable[MAX_CONTEXTS][SOURCE_WORDS];
    uint8_t threshold[MAX_CONTEXTS];
    bool asserted[MAX_CONTEXTS]; /* the level last told to the hart */

    unsigned num_sources, num_contexts; /* (c) */
    struct cpu *hart[WEFT_MAX_HARTS];   /* (c) */
};

/* The best pending, enabled source of a context whose priority is above `floor`, or 0. Ties go to the lowest number. */
static unsigned best_source(const struct plic *p, unsigned ctx, unsigned floor)
{
    unsigned best = 0, best_prio = floor;
    for (unsigned w = 0; w < SOURCE_WORDS; w++) {
        uint32_t bits = p->pending[w] & p->enable[ctx][w];
        for (; bits; bits &= bits - 1) {
            unsigned n = w * 32 + (unsigned)__builtin_ctz(bits);
            if (p->priority[n] > best_prio) {
                best = n;
                best_prio = p->priority[n];
            }
        }
    }
    return best;
}

static void update_context(struct plic *p, unsigned ctx)
{
    bool level = best_source(p, ctx, p->threshold[ctx]) != 0;
    if (level != p->asserted[ctx]) {
        p->asserted[ctx] = level;
        cpu_irq_set(p->hart[ctx / 2], 1ull << (ctx & 1 ? IRQ_SEI : IRQ_MEI), level);
    }
}

static void update(struct plic *p)
{
    for (unsigned ctx = 0; ctx < p->num_contexts; ctx++) {
        update_context(p, ctx);
    }
}

void plic_set_irq(void *opaque, unsigned n, bool level)
{
    struct plic *p = opaque;
    assert(n >= 1 && n <= p->num_sources);
    uint32_t bit = 1u << (n % 32), w = n / 32;
    if (!level) {
        p->level[w] &= ~bit;
        return;
    }
    p->level[w] |= bit;
    if (!((p->pending[w] | p->claimed[w]) & bit)) {
        p->pending[w] |= bit;
        update(p);
    }
}

static uint32_t claim(struct plic *p, unsigned ctx)
{
    /* A claim is not affected by the threshold (PLIC specification 8). */
    unsigned n = best_source(p, ctx, 0);
    if (n) {
        p->pending[n / 32] &= ~(1u << (n % 32));
        p->claimed[n / 32] |= 1u << (n % 32);
        update(p);
    }
    return n;
}

static void complete(struct plic *p, unsigned ctx, uint64_t n)
{
    if (n == 0 || n > p->num_sources || !(p->enable[ctx][n / 32] >> (n % 32) & 1)) {
        return; /* ignored, as the specification says */
    }
    uint32_t bit = 1u << (n % 32), w = (uint32_t)n / 32;
    if (p->claimed[w] & bit) {
        p->claimed[w] &= ~bit;
        if (p->level[w] & bit) {
            p->pending[w] |= bit;
        }
        update(p);
    }
}

static uint64_t plic_read(void *opaque, uint64_t offset, unsigned size)
{
    struct plic *p = opaque;
    if (offset < PENDING_BASE) {
        return offset / 4 <= p->num_sources ? p->priority[offset / 4] : 0;
    }
    if (offset < ENABLE_BASE) {
        uint64_t w = (offset - PENDING_BASE) / 4;
        return w < SOURCE_WORDS ? p->pending[w] : 0;
    }
    if (offset < CONTEXT_BASE) {
        uint64_t ctx = (offset - ENABLE_BASE) / ENABLE_STRIDE, w = (offset - ENABLE_BASE) % ENABLE_STRIDE / 4;
        return ctx < p->num_contexts && w < SOURCE_WORDS ? p->enable[ctx][w] : 0;
    }
    uint64_t ctx = (offset - CONTEXT_BASE) / CONTEXT_STRIDE;
    if (ctx < p->num_contexts) {
        switch ((offset - CONTEXT_BASE) % CONTEXT_STRIDE) {
        case 0:
            return p->threshold[ctx];
        case 4:
            return claim(p, (unsigned)ctx);
        }
    }
    return 0;
}

static void write_enable(struct plic *p, uint64_t offset, uint32_t value)
{
    uint64_t ctx = offset / ENABLE_STRIDE, w = offset % ENABLE_STRIDE / 4;
    if (ctx >= p->num_contexts || w > p->num_sources / 32) {
        return;
    }
    if (w == 0) {
        value &= ~1u; /* source 0 does not exist */
    }
    if (w == p->num_sources / 32 && p->num_sources % 32 != 31) {
        value &= (2u << (p->num_sources % 32)) - 1;
    }
    p->enable[ctx][w] = value;
    update_context(p, (unsigned)ctx);
}

static void plic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct plic *p = opaque;
    if (offset < PENDING_BASE) {
        if (offset >= 4 && offset / 4 <= p->num_sources) {
            p->priority[offset / 4] = value & MAX_PRIORITY;
            update(p);
        }
        return;
    }
    if (offset < ENABLE_BASE) {
        return; /* pending bits are read-only */
    }
    if (offset < CONTEXT_BASE) {
        write_enable(p, offset - ENABLE_BASE, (uint32_t)value);
        return;
    }
    uint64_t ctx = (offset - CONTEXT_BASE) / CONTEXT_STRIDE;
    if (ctx >= p->num_contexts) {
        if (log_on(LOG_GUEST_ERROR)) {
            log_write("plic: write to context %llu, which does not exist\n", (unsigned long long)ctx);
        }
        return;
    }
    switch ((offset - CONTEXT_BASE) % CONTEXT_STRIDE) {
    case 0:
        p->threshold[ctx] = value & MAX_PRIORITY;
        update_context(p, (unsigned)ctx);
        break;
    case 4:
        complete(p, (unsigned)ctx, value & 0xffffffff);
        break;
    }
}

const struct mmio_ops plic_ops = {.read = plic_read, .write = plic_write, .min_size = 4, .max_size = 4};

struct plic *plic_create(struct cpu *const *harts, unsigned num_harts, unsigned num_sources)
{
    assert(num_harts <= WEFT_MAX_HARTS && num_sources <= PLIC_MAX_SOURCES);
    struct plic *p = calloc(1, sizeof(*p));
    assert(p);
    memcpy(p->hart, harts, num_harts * sizeof(harts[0]));
    p->num_contexts = 2 * num_harts;
    p->num_sources = num_sources;
    return p;
}

void plic_reset(struct plic *p)
{
    memset(p->pending, 0, sizeof(p->pending));
    memset(p->claimed, 0, sizeof(p->claimed));
    memset(p->priority, 0, sizeof(p->priority));
    memset(p->enable, 0, sizeof(p->enable));
    memset(p->threshold, 0, sizeof(p->threshold));
    memcpy(p->pending, p->level, sizeof(p->level));
    update(p);
}

void plic_destroy(struct plic **p)
{
    free(*p);
    *p = NULL;
}
