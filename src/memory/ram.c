#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include "memory/backend.h"
#include "weft/tlb.h"
#include "weft/memory.h"
#include "weft/page_user.h"

enum { NODE_CHUNK_BITS = 21 };
#define GUARD_SIZE (2ull << 20)

static const struct mem_backend *backend_of(const struct machine_config *cfg, unsigned node)
{
    int i = cfg->node[node].backend;
    return i >= 0 ? &cfg->backend[i] : NULL;
}

/* Lays the nodes' ranges out one after the other; *align becomes what the reservation needs for the largest pages. */
static bool lay_out(struct ram *ram, const struct machine_config *cfg, gpa_t base, uint64_t *align, struct error *err)
{
    *ram = (struct ram){.base = base};
    *align = 1ull << NODE_CHUNK_BITS;
    for (unsigned n = 0; n < cfg->num_nodes; n++) {
        uint64_t size = cfg->node[n].mem, page;
        const struct mem_backend *b = backend_of(cfg, n);
        if (size == 0) {
            continue;
        }
        if (!backend_page_size(b, &page, err)) {
            return false;
        }
        if (size % page != 0 || ram->size % page != 0) {
            return error_set(err,
                             "-numa node,nodeid=%u: its memory of %" PRIu64 " KiB behind %" PRIu64
                             " KiB of other nodes "
                             "does not fall on pages of %" PRIu64 " KiB; make the nodes' sizes multiples of that",
                             n, size >> 10, ram->size >> 10, page >> 10);
        }
        *align = page > *align ? page : *align;
        ram->range[ram->num_ranges++] = (struct ram_range){.base = base + ram->size, .size = size, .node = n};
        ram->size += size;
    }
    if (ram->size == 0) {
        return error_set(err, "-m: the machine has no memory; give it some, for example -m 512M");
    }
    return true;
}

/* Reserves address space without memory behind it. The reservation ends in a guard, so that a run past the end of RAM
 * never lands in something else. */
static bool reserve(struct ram *ram, uint64_t align, struct error *err)
{
    uint64_t len = ram->size + align + GUARD_SIZE;
    uint8_t *p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        return error_set_errno(err, errno,
                               "-m: the host cannot reserve %" PRIu64 " MiB of addresses; ask for less or raise "
                               "the limit of address space (ulimit -v)",
                               len >> 20);
    }
    uint8_t *host = (uint8_t *)(((uintptr_t)p + align - 1) & ~(uintptr_t)(align - 1));
    if (host > p) {
        munmap(p, (size_t)(host - p));
    }
    uint8_t *end = host + ram->size + GUARD_SIZE;
    end = (uint8_t *)(((uintptr_t)end + 4095) & ~(uintptr_t)4095);
    if (end < p + len) {
        munmap(end, (size_t)(p + len - end));
    }
    ram->host = host;
    return true;
}

/* Names the node of each chunk: of its first byte, where a chunk lies across two nodes. */
static void name_nodes(struct ram *ram)
{
    unsigned r = 0;
    for (uint64_t off = 0; off < ram->size; off += 1ull << NODE_CHUNK_BITS) {
        while (ram->base + off - ram->range[r].base >= ram->range[r].size) {
            r++;
        }
        ram->page_node[off >> NODE_CHUNK_BITS] = (uint8_t)ram->range[r].node;
    }
}

static uint64_t num_chunks(const struct ram *ram)
{
    return (ram->size + (1ull << NODE_CHUNK_BITS) - 1) >> NODE_CHUNK_BITS;
}

static void *table_map(uint64_t bytes)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

bool ram_create(struct ram *ram, const struct machine_config *cfg, gpa_t base, struct error *err)
{
    uint64_t align;
    if (!lay_out(ram, cfg, base, &align, err) || !reserve(ram, align, err)) {
        ram->host = NULL;
        return false;
    }
    for (unsigned r = 0; r < ram->num_ranges; r++) {
        const struct ram_range *range = &ram->range[r];
        if (!backend_map(backend_of(cfg, range->node), range->node, ram_ptr(ram, range->base), range->size, err)) {
            ram_destroy(ram);
            return false;
        }
    }
    void *flags = table_map(ram->size >> GUEST_PAGE_BITS), *node = table_map(num_chunks(ram));
    ram->page_flags = flags == MAP_FAILED ? NULL : flags;
    ram->page_node = node == MAP_FAILED ? NULL : node;
    if (!ram->page_flags || !ram->page_node) {
        ram_destroy(ram);
        return error_set(err,
                         "-m: the host has no addresses left for the page flags of the guest's memory; ask for less");
    }
    name_nodes(ram);
    return true;
}

void ram_destroy(struct ram *ram)
{
    if (ram->host) {
        munmap(ram->host, (ram->size + GUARD_SIZE + 4095) & ~4095ull);
    }
    if (ram->page_flags) {
        munmap((void *)ram->page_flags, ram->size >> GUEST_PAGE_BITS);
    }
    if (ram->page_node) {
        munmap(ram->page_node, num_chunks(ram));
    }
    *ram = (struct ram){0};
}

unsigned ram_node_of(const struct ram *ram, gpa_t gpa)
{
    /* Ranges are in the order of their nodes, and only memoryless nodes have none. */
    unsigned node = ram->page_node[(gpa - ram->base) >> NODE_CHUNK_BITS];
    unsigned r = node < ram->num_ranges ? node : ram->num_ranges - 1;
    while (ram->range[r].node > node) {
        r--;
    }
    while (gpa - ram->range[r].base >= ram->range[r].size) {
        r++;
    }
    return ram->range[r].node;
}

/* Over ranks: page by page, each held while it is copied. */
static bool dma_pages(struct ram *ram, gpa_t gpa, uint8_t *buf, uint64_t len, enum page_right right)
{
    while (len > 0) {
        struct page_pin pin;
        uint64_t n = GUEST_PAGE_SIZE - (gpa & ~GUEST_PAGE_MASK);
        n = n < len ? n : len;
        if (!page_users_dma_begin(ram->users, &pin, (gpa - ram->base) >> GUEST_PAGE_BITS, right)) {
            return false;
        }
        if (right == PAGE_WRITE) {
            memcpy(ram_ptr(ram, gpa), buf, n);
            ram_dma_mark(ram, gpa, n);
        } else {
            memcpy(buf, ram_ptr(ram, gpa), n);
        }
        page_users_dma_end(ram->users, &pin);
        gpa += n;
        buf += n;
        len -= n;
    }
    return true;
}

bool ram_dma_read(struct ram *ram, gpa_t gpa, void *buf, uint64_t len)
{
    if (!ram_contains(ram, gpa, len)) {
        return false;
    }
    if (__builtin_expect(ram->users != NULL, 0)) {
        return dma_pages(ram, gpa, buf, len, PAGE_READ);
    }
    memcpy(buf, ram_ptr(ram, gpa), len);
    return true;
}

bool ram_dma_write(struct ram *ram, gpa_t gpa, const void *buf, uint64_t len)
{
    if (!ram_contains(ram, gpa, len)) {
        return false;
    }
    if (__builtin_expect(ram->users != NULL, 0)) {
        return dma_pages(ram, gpa, (uint8_t *)(uintptr_t)buf, len, PAGE_WRITE);
    }
    memcpy(ram_ptr(ram, gpa), buf, len);
    ram_dma_mark(ram, gpa, len);
    return true;
}

void ram_dma_mark(struct ram *ram, gpa_t gpa, uint64_t len)
{
    if (len == 0) {
        return;
    }
    assert(ram_contains(ram, gpa, len));
    /* The translator sets PAGE_CODE before it reads the code, we look at PAGE_CODE after we have written: with this
     * fence either it reads what we wrote or we see the flag. */
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t last = (gpa + len - 1 - ram->base) >> GUEST_PAGE_BITS;
    for (uint64_t i = (gpa - ram->base) >> GUEST_PAGE_BITS; i <= last; i++) {
        uint8_t flags = atomic_load_explicit(&ram->page_flags[i], memory_order_relaxed);
        if ((flags & (PAGE_CODE | PAGE_CODE_DIRTY)) == PAGE_CODE) {
            code_page_written(ram, ram->base + (i << GUEST_PAGE_BITS));
        }
    }
}
