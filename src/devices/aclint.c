/*
 * RISC-V ACLINT 1.0-rc4: MSWI at 0, MTIMER at 0x4000 (compare registers) and 0xbff8 (mtime), which is also the layout
 * of SiFive's CLINT; SSWI in a region of its own. All state lives in the harts, so no lock is needed.
 */
#include "weft/devices.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "weft/log.h"
#include "weft/machine.h"

enum { MTIMECMP_BASE = 0x4000, MTIME_BASE = 0xbff8 };

struct aclint {
    struct machine *m; /* (c) all */
    unsigned num_harts;
    struct cpu *hart[WEFT_MAX_HARTS];
};

static uint64_t part(uint64_t value, uint64_t offset, unsigned size)
{
    return size == 4 ? (uint32_t)(value >> (offset & 4) * 8) : value;
}

static uint64_t aclint_read(void *opaque, uint64_t offset, unsigned size)
{
    struct aclint *a = opaque;
    if (offset < MTIMECMP_BASE) {
        uint64_t i = offset / 4;
        return size == 4 && i < a->num_harts ? atomic_load(&a->hart[i]->mip) >> IRQ_MSI & 1 : 0;
    }
    if (offset >= MTIME_BASE) {
        return part(guest_ticks(a->m), offset, size);
    }
    uint64_t i = (offset - MTIMECMP_BASE) / 8;
    return i < a->num_harts ? part(atomic_load(&a->hart[i]->mtimecmp), offset, size) : 0;
}

static void write_mtimecmp(struct cpu *cpu, uint64_t offset, uint64_t value, unsigned size)
{
    uint64_t old = atomic_load(&cpu->mtimecmp), new;
    do {
        unsigned shift = (offset & 4) * 8;
        new = size == 4 ? (old & ~(0xffffffffull << shift)) | (value & 0xffffffff) << shift : value;
    } while (!atomic_compare_exchange_weak(&cpu->mtimecmp, &old, new));
    cpu_kick(cpu); /* its thread derives MTIP and its deadline anew */
}

static void aclint_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct aclint *a = opaque;
    if (offset < MTIMECMP_BASE) {
        uint64_t i = offset / 4;
        if (size == 4 && i < a->num_harts) {
            cpu_irq_set(a->hart[i], 1ull << IRQ_MSI, value & 1);
        }
        return;
    }
    if (offset >= MTIME_BASE) {
        if (log_on(LOG_UNIMP)) {
            log_write("aclint: a write of mtime is ignored: the guest has one clock for all harts\n");
        }
        return;
    }
    uint64_t i = (offset - MTIMECMP_BASE) / 8;
    if (i < a->num_harts) {
        write_mtimecmp(a->hart[i], offset, value, size);
    }
}

const struct mmio_ops aclint_ops = {
    .read = aclint_read, .write = aclint_write, .min_size = 4, .max_size = 8, .lockless = true};

/* SETSSIP registers read as zero (ACLINT specification 3). */
static uint64_t sswi_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void sswi_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct aclint *a = opaque;
    if (offset / 4 < a->num_harts && (value & 1)) {
        cpu_irq_set(a->hart[offset / 4], 1ull << IRQ_SSI, true);
    }
}

const struct mmio_ops aclint_sswi_ops = {
    .read = sswi_read, .write = sswi_write, .min_size = 4, .max_size = 4, .lockless = true};

struct aclint *aclint_create(struct machine *m, struct cpu *const *harts, unsigned num_harts)
{
    assert(num_harts <= WEFT_MAX_HARTS);
    struct aclint *a = calloc(1, sizeof(*a));
    assert(a);
    a->m = m;
    a->num_harts = num_harts;
    memcpy(a->hart, harts, num_harts * sizeof(harts[0]));
    aclint_reset(a);
    return a;
}

void aclint_reset(struct aclint *a)
{
    for (unsigned i = 0; i < a->num_harts; i++) {
        atomic_store(&a->hart[i]->mtimecmp, UINT64_MAX);
        cpu_irq_set(a->hart[i], 1ull << IRQ_MSI, false);
    }
}

void aclint_destroy(struct aclint **a)
{
    free(*a);
    *a = NULL;
}
