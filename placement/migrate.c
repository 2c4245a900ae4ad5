/* Moving a running guest's pages to where the plan wants them, in batches small enough to be cancelled in between. */
#include "placement/internal.h"

#include <errno.h>
#include <numaif.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 1024 };

int pages_query(const struct placed_range *r, uint64_t first, uint64_t stride, unsigned n, int *status)
{
    void *page[PAGES_QUERY_MAX];
    for (unsigned i = 0; i < n; i++) {
        page[i] = r->addr + (first + i * stride) * r->page_size;
    }
    return move_pages(0, n, page, NULL, status, 0) >= 0 ? 0 : errno;
}

/* The P# a page should be on: any of `os` if it is on one of them, else this one. */
static int target_of(const struct host_shape *host, const struct plan_node *node, const struct placed_range *r,
                     uint64_t page, const struct bitmap *os)
{
    if (node_is_striped(node)) {
        return (int)host->node[stripe_node(node, page * r->page_size / stripe_bytes(r->len, r->page_size))].os_index;
    }
    unsigned count = bitmap_count(os), pick = node->policy == PMEM_INTERLEAVE ? (unsigned)(page % count) : 0;
    int at = bitmap_next(os, 0);
    for (; pick > 0; pick--) {
        at = bitmap_next(os, (unsigned)at + 1);
    }
    return at;
}

bool page_in_place(const struct host_shape *host, const struct plan_node *node, const struct placed_range *r,
                   uint64_t page, const struct bitmap *os, int where)
{
    if (node_is_striped(node)) {
        return where == target_of(host, node, r, page, os);
    }
    return bitmap_test(os, (unsigned)where);
}

struct batch {
    void *page[BATCH];
    int node[BATCH], status[BATCH];
    unsigned n;
};

/* Moves the batch; pages that are busy or shared with another mapping are tried again harder. */
static int batch_move(struct batch *b, uint64_t *moved)
{
    unsigned before = b->n;
    for (unsigned round = 0; round < 4 && b->n > 0; round++) {
        int flags = round == 0 ? MPOL_MF_MOVE : MPOL_MF_MOVE_ALL;
        if (move_pages(0, b->n, b->page, b->node, b->status, flags) < 0) {
            if (errno == EPERM && flags == MPOL_MF_MOVE_ALL) {
                break; /* without CAP_SYS_NICE, what MPOL_MF_MOVE moves is all there is */
            }
            return errno;
        }
        unsigned left = 0;
        for (unsigned i = 0; i < b->n; i++) {
            if (b->status[i] == -EBUSY || b->status[i] == -EACCES || b->status[i] == -EAGAIN) {
                b->page[left] = b->page[i];
                b->node[left++] = b->node[i];
            } else if (b->status[i] == -ENOMEM) {
                return ENOMEM;
            }
        }
        b->n = left;
    }
    *moved += before - b->n;
    b->n = 0;
    return 0;
}

int memory_migrate(const struct host_shape *host, const struct placed_range *r, const struct plan_node *node,
                   struct migrate_progress *progress)
{
    struct bitmap os;
    struct batch b = {.n = 0};
    host_nodes_to_os(host, &node->host_nodes, &os);
    uint64_t pages = r->len / r->page_size;
    if (node->policy == PMEM_DEFAULT || bitmap_count(&os) == 0) {
        progress->done += r->len;
        return 0;
    }
    int status[PAGES_QUERY_MAX];
    for (uint64_t at = 0; at < pages;) {
        unsigned n = pages - at < PAGES_QUERY_MAX ? (unsigned)(pages - at) : PAGES_QUERY_MAX;
        int e = pages_query(r, at, 1, n, status);
        for (unsigned i = 0; e == 0 && i < n; i++) {
            if (status[i] < 0 || page_in_place(host, node, r, at + i, &os, status[i])) {
                continue;
            }
            b.page[b.n] = r->addr + (at + i) * r->page_size;
            b.node[b.n++] = target_of(host, node, r, at + i, &os);
            if (b.n == BATCH) {
                e = batch_move(&b, &progress->moved_pages);
            }
        }
        e = e == 0 && b.n > 0 ? batch_move(&b, &progress->moved_pages) : e;
        if (e != 0) {
            return e;
        }
        at += n;
        progress->done += n * r->page_size;
        if (progress->fn != NULL && !progress->fn(progress->arg, progress->done, progress->total)) {
            return ECANCELED;
        }
    }
    return 0;
}
