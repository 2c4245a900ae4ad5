/*
 * Guest RAM, the physical address map, and who may write which page.
 *
 * All RAM ranges lie in one contiguous host reservation (host = ram->host + (gpa - ram->base)); each guest node's
 * range is bound to its host node before the first touch. `page_flags` has one byte per 4 KiB page.
 */
#ifndef WEFT_MEMORY_H
#define WEFT_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "weft/config.h"
#include "weft/error.h"

typedef uint64_t gva_t; /* guest virtual address */
typedef uint64_t gpa_t; /* guest physical address */

enum { GUEST_PAGE_BITS = 12 };
#define GUEST_PAGE_SIZE (1ull << GUEST_PAGE_BITS)
#define GUEST_PAGE_MASK (~(GUEST_PAGE_SIZE - 1))

/* page_flags bits; [a] atomic, set and cleared by fetch_or/fetch_and from any vCPU. */
enum {
    PAGE_CODE = 1 << 0,       /* translated code lies here: TLBs grant no write, unless ... */
    PAGE_CODE_DIRTY = 1 << 1, /* ... it was written since: the code is checked at the next fence.i */
    PAGE_WRITER = 1 << 2,     /* some TLB was granted write since the bit was last cleared */
    PAGE_MODIFIED = 1 << 4,   /* over ranks: written since this rank got the write right */
    PAGE_DIRTY = 1 << 3,      /* written since the dirty log was last read (off unless asked) */
};

struct page_users;

struct ram_range {
    gpa_t base;
    uint64_t size;
    unsigned node;
};

struct ram {
    uint8_t *host; /* (c) fixed at create */
    gpa_t base;    /* (c) */
    uint64_t size; /* (c) bytes, sum of the ranges */
    unsigned num_ranges;
    struct ram_range range[WEFT_MAX_NODES];
    _Atomic uint8_t *page_flags; /* [a] size >> 12 entries */
    uint8_t *page_node;          /* (c) node of each 2 MiB chunk: index (gpa - base) >> 21 */
    /* (c) over ranks: those who must ask for pages (weft/page_user.h); NULL on one: slow paths test it, no fast one */
    struct page_users *users;
};

/* Reserves the host range, and for each node maps its backend into it (MAP_FIXED), without touching it. The caller
 * (machine) then lets placement bind and preallocate. False with a sentence when the host cannot give it. */
bool ram_create(struct ram *ram, const struct machine_config *cfg, gpa_t base, struct error *err);
void ram_destroy(struct ram *ram);

static inline bool ram_contains(const struct ram *ram, gpa_t gpa, uint64_t len)
{
    uint64_t off = gpa - ram->base;
    return off < ram->size && len <= ram->size - off;
}

/* Host address of gpa; the caller has checked ram_contains. */
static inline void *ram_ptr(const struct ram *ram, gpa_t gpa)
{
    return ram->host + (gpa - ram->base);
}

/* The guest node that owns gpa (ram_contains holds). */
unsigned ram_node_of(const struct ram *ram, gpa_t gpa);

/* Device DMA: copy between a buffer and guest RAM, honouring code tracking. False when not all of it is RAM. Any
 * thread; on one rank it never blocks, over ranks it waits for pages that are not here. */
bool ram_dma_read(struct ram *ram, gpa_t gpa, void *buf, uint64_t len);
bool ram_dma_write(struct ram *ram, gpa_t gpa, const void *buf, uint64_t len);
/* Says that [gpa, gpa+len) was written by other means (a ring update through ram_ptr). */
void ram_dma_mark(struct ram *ram, gpa_t gpa, uint64_t len);

/* ---- the bus: memory-mapped devices ---- */

struct mmio_ops {
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
    unsigned min_size, max_size; /* bytes, powers of two; other sizes are an access fault */
    bool lockless;               /* called without the BQL: the device synchronises by itself */
};

struct mmio_region {
    gpa_t base;
    uint64_t size;
    const struct mmio_ops *ops;
    void *opaque;
    const char *name;
};

enum { BUS_MAX_REGIONS = 64 };
struct bus {
    struct ram *ram;
    unsigned num_regions; /* (c) fixed before the first vCPU starts; sorted by base */
    struct mmio_region region[BUS_MAX_REGIONS];
};

void bus_map(struct bus *bus, gpa_t base, uint64_t size, const struct mmio_ops *ops, void *opaque, const char *name);
const struct mmio_region *bus_find(const struct bus *bus, gpa_t gpa);
/* One access of size 1, 2, 4 or 8 to a device; takes the BQL around it where the device asks for it. False = access
 * fault (no device there, or a size it does not take). Called by vCPU threads without the BQL. */
bool bus_read(struct bus *bus, gpa_t gpa, unsigned size, uint64_t *value);
bool bus_write(struct bus *bus, gpa_t gpa, unsigned size, uint64_t value);

#endif
