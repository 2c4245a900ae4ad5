#include <assert.h>
#include <string.h>
#include "weft/cpu.h"
#include "weft/memory.h"

void bus_map(struct bus *bus, gpa_t base, uint64_t size, const struct mmio_ops *ops, void *opaque, const char *name)
{
    assert(bus->num_regions < BUS_MAX_REGIONS && size > 0 && base + (size - 1) >= base);
    unsigned at = bus->num_regions;
    while (at > 0 && bus->region[at - 1].base > base) {
        at--;
    }
    assert(at == 0 || bus->region[at - 1].base + (bus->region[at - 1].size - 1) < base);
    assert(at == bus->num_regions || base + (size - 1) < bus->region[at].base);
    memmove(&bus->region[at + 1], &bus->region[at], (bus->num_regions - at) * sizeof(bus->region[0]));
    bus->region[at] = (struct mmio_region){.base = base, .size = size, .ops = ops, .opaque = opaque, .name = name};
    bus->num_regions++;
}

const struct mmio_region *bus_find(const struct bus *bus, gpa_t gpa)
{
    unsigned lo = 0, hi = bus->num_regions;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        const struct mmio_region *r = &bus->region[mid];
        if (gpa < r->base) {
            hi = mid;
        } else if (gpa - r->base >= r->size) {
            lo = mid + 1;
        } else {
            return r;
        }
    }
    return NULL;
}

/* How an access of `size` bytes reaches the device: *width bytes at a time. False when it takes no such access. An
 * access must be aligned and lie inside one region; 8 bytes to a device of 4-byte registers become two accesses, as on
 * the buses these devices come from. */
static bool access_width(const struct mmio_region *r, gpa_t gpa, unsigned size, unsigned *width)
{
    if (!r || gpa & (size - 1) || size > r->size - (gpa - r->base)) {
        return false;
    }
    *width = size == 8 && r->ops->max_size == 4 ? 4 : size;
    return *width >= r->ops->min_size && *width <= r->ops->max_size;
}

bool bus_read(struct bus *bus, gpa_t gpa, unsigned size, uint64_t *value)
{
    const struct mmio_region *r = bus_find(bus, gpa);
    unsigned width;
    if (!access_width(r, gpa, size, &width) || !r->ops->read) {
        return false;
    }
    if (!r->ops->lockless) {
        bql_lock();
    }
    uint64_t offset = gpa - r->base;
    uint64_t v = r->ops->read(r->opaque, offset, width);
    if (width < size) {
        v = (uint32_t)v | r->ops->read(r->opaque, offset + width, width) << 32;
    }
    if (!r->ops->lockless) {
        bql_unlock();
    }
    *value = size < 8 ? v & ((1ull << size * 8) - 1) : v;
    return true;
}

bool bus_write(struct bus *bus, gpa_t gpa, unsigned size, uint64_t value)
{
    const struct mmio_region *r = bus_find(bus, gpa);
    unsigned width;
    if (!access_width(r, gpa, size, &width) || !r->ops->write) {
        return false;
    }
    if (!r->ops->lockless) {
        bql_lock();
    }
    uint64_t offset = gpa - r->base;
    uint64_t mask = width < 8 ? (1ull << width * 8) - 1 : ~0ull;
    r->ops->write(r->opaque, offset, value & mask, width);
    if (width < size) {
        r->ops->write(r->opaque, offset + width, value >> 32, width);
    }
    if (!r->ops->lockless) {
        bql_unlock();
    }
    return true;
}
