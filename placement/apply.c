/* The system calls that bind: threads to PUs, memory to nodes. And why they were refused. */
#include "placement/internal.h"

#include <errno.h>
#include <numaif.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MPOL_PREFERRED_MANY
#define MPOL_PREFERRED_MANY 5
#endif

enum { MASK_BITS = BITMAP_BITS, MASK_WORDS = MASK_BITS / (8 * sizeof(unsigned long)) };

/* A stripe of weighted interleaving: large enough for a hugepage, and few enough that mappings do not run out. */
uint64_t stripe_bytes(uint64_t len, uint64_t page_size)
{
    uint64_t unit = page_size > (2ull << 20) ? page_size : 2ull << 20, most = 4096;
    return (len / most + unit - 1) / unit * unit > unit ? (len / most + unit - 1) / unit * unit : unit;
}

bool node_is_striped(const struct plan_node *n)
{
    return n->policy == PMEM_INTERLEAVE && n->cycle_len > 0;
}

int stripe_node(const struct plan_node *n, uint64_t stripe)
{
    return n->cycle[stripe % n->cycle_len];
}

void host_nodes_to_os(const struct host_shape *host, const struct bitmap *nodes, struct bitmap *os)
{
    bitmap_zero(os);
    bitmap_for_each(x, nodes)
    {
        bitmap_set(os, host->node[x].os_index);
    }
}

static int mbind_nodes(void *addr, size_t len, int mode, const struct bitmap *os)
{
    unsigned long mask[MASK_WORDS];
    memcpy(mask, os->w, sizeof(mask));
    return mbind(addr, len, mode, mask, MASK_BITS + 1, 0) == 0 ? 0 : errno;
}

static int stripes_bind(const struct host_shape *host, const struct plan_node *n, uint8_t *addr, size_t len,
                        uint64_t page_size)
{
    uint64_t stripe = stripe_bytes(len, page_size);
    for (uint64_t at = 0, s = 0; at < len; at += stripe, s++) {
        struct bitmap one = {0};
        bitmap_set(&one, host->node[stripe_node(n, s)].os_index);
        int e = mbind_nodes(addr + at, len - at < stripe ? len - at : stripe, MPOL_BIND, &one);
        if (e != 0) {
            return e;
        }
    }
    return 0;
}

int memory_policy_apply(const struct host_shape *host, const struct plan_node *n, void *addr, size_t len,
                        uint64_t page_size)
{
    struct bitmap os;
    host_nodes_to_os(host, &n->host_nodes, &os);
    unsigned count = bitmap_count(&os);
    if (n->policy == PMEM_DEFAULT || count == 0) {
        return mbind(addr, len, MPOL_DEFAULT, NULL, 0, 0) == 0 ? 0 : errno;
    }
    if (node_is_striped(n)) {
        return stripes_bind(host, n, addr, len, page_size);
    }
    switch (n->policy) {
    case PMEM_PREFERRED: {
        int e = count > 1 ? mbind_nodes(addr, len, MPOL_PREFERRED_MANY, &os) : EINVAL;
        if (e == EINVAL) { /* one node, or a kernel before 5.15: the first node is preferred */
            struct bitmap first = {0};
            bitmap_set(&first, (unsigned)bitmap_next(&os, 0));
            e = mbind_nodes(addr, len, MPOL_PREFERRED, &first);
        }
        return e;
    }
    case PMEM_INTERLEAVE:
        return mbind_nodes(addr, len, MPOL_INTERLEAVE, &os);
    default:
        /* libvirt's "restrictive" is: the kernel's default within these nodes; MPOL_BIND over the set does that. */
        return mbind_nodes(addr, len, MPOL_BIND, &os);
    }
}

int memory_thp_apply(void *addr, size_t len, int thp)
{
    if (thp < 0) {
        return 0;
    }
    return madvise(addr, len, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) == 0 ? 0 : errno;
}

int thread_affinity_apply(pid_t tid, const struct bitmap *pus)
{
    unsigned long mask[MASK_WORDS];
    memcpy(mask, pus->w, sizeof(mask));
    return sched_setaffinity(tid, sizeof(mask), (cpu_set_t *)mask) == 0 ? 0 : errno;
}

int thread_affinity_read(pid_t tid, struct bitmap *pus)
{
    unsigned long mask[MASK_WORDS * 8] = {0}; /* the kernel may know more PUs than we do */
    long n = syscall(SYS_sched_getaffinity, tid, sizeof(mask), mask);
    if (n < 0) {
        return errno;
    }
    bitmap_zero(pus);
    memcpy(pus->w, mask, sizeof(pus->w));
    return 0;
}
