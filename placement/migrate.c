/* Moving a running guest's pages to where the plan wants them, in batches small enough to be cancelled in between. */
#include "placement/internal.h"

#include <errno.h>
#include <numaif.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = PAGES_QUERY_MAX };

int pages_query(const struct placed_range *r, uint64_t first, uint64_t stride, unsigned n, int *status)
{
    void *page[PAGES_QUERY_MAX];
    for (unsigned i = 0; i < n; i++) {
        page[i] = r->addr + (first + i * stride) * r->page_size;
    }
    return move_pages(0, n, page, NULL, status, 0) >= 0 ? 0 : errno;
}

/*
 * Where misplaced pages go. Pages that are on one of the planned nodes stay, but for interleaving, where a node keeps
 * only its share: what it has beyond that goes to those that have less.
 */
struct aim {
    const struct host_shape *host;
    const struct plan_node *node;
    const struct placed_range *range;
    struct bitmap os;
    bool shared;                          /* interleave, not in stripes */
    uint64_t quota[PLACE_MAX_HOST_NODES]; /* pages each node may still keep or get, by P# */
};

static int stripe_os(const struct host_shape *host, const struct plan_node *node, const struct placed_range *r,
                     uint64_t page)
{
    uint64_t stripe = page * r->page_size / stripe_bytes(r->len, r->page_size);
    return (int)host->node[stripe_node(node, stripe)].os_index;
}

/* The node of most of the block's pages, for which there is still a share; or the one with the largest share left. */
static int aim_share(struct aim *a, const int *status, unsigned n)
{
    unsigned count[PLACE_MAX_HOST_NODES] = {0}, present = 0;
    int best = -1;
    for (unsigned i = 0; i < n; i++) {
        if (status[i] >= 0 && status[i] < PLACE_MAX_HOST_NODES) {
            count[status[i]]++;
            present++;
        }
    }
    bitmap_for_each(os, &a->os)
    {
        bool fits = a->quota[os] >= present, best_fits = best >= 0 && a->quota[best] >= present;
        bool more = best >= 0 && (count[os] != count[best] ? count[os] > count[best] : a->quota[os] > a->quota[best]);
        if (best < 0 || (fits && !best_fits) || (fits == best_fits && (fits ? more : a->quota[os] > a->quota[best]))) {
            best = os;
        }
    }
    a->quota[best] -= a->quota[best] < present ? a->quota[best] : present;
    return best;
}

/*
 * to[i] = the P# to which page first + i, now at status[i], is to go, or -1 if it stays. All pages of one block are
 * treated alike where they are to be shared out: they may be one transparent hugepage, which only moves as a whole.
 */
static void aim_block(struct aim *a, uint64_t first, unsigned n, const int *status, int *to)
{
    int share = a->shared ? aim_share(a, status, n) : -1;
    for (unsigned i = 0; i < n; i++) {
        int want = node_is_striped(a->node)                   ? stripe_os(a->host, a->node, a->range, first + i)
                   : a->shared                                ? share
                   : status[i] < 0                            ? -1
                   : bitmap_test(&a->os, (unsigned)status[i]) ? status[i]
                                                              : bitmap_next(&a->os, 0);
        to[i] = status[i] < 0 || want == status[i] ? -1 : want;
    }
}

static int aim_make(struct aim *a, const struct host_shape *host, const struct plan_node *node,
                    const struct placed_range *r)
{
    *a = (struct aim){.host = host, .node = node, .range = r};
    host_nodes_to_os(host, &node->host_nodes, &a->os);
    unsigned nodes = bitmap_count(&a->os);
    a->shared = node->policy == PMEM_INTERLEAVE && !node_is_striped(node) && nodes > 1;
    if (!a->shared) {
        return 0;
    }
    int status[PAGES_QUERY_MAX];
    uint64_t pages = r->len / r->page_size, present = 0;
    for (uint64_t at = 0; at < pages; at += PAGES_QUERY_MAX) {
        unsigned n = pages - at < PAGES_QUERY_MAX ? (unsigned)(pages - at) : PAGES_QUERY_MAX;
        int e = pages_query(r, at, 1, n, status);
        if (e != 0) {
            return e;
        }
        for (unsigned i = 0; i < n; i++) {
            present += status[i] >= 0;
        }
    }
    bitmap_for_each(os, &a->os)
    {
        /* A little over the even share: pages of a guest that was interleaved all along need not move. */
        a->quota[os] = present / nodes + present / nodes / 16 + 1;
    }
    return 0;
}

bool page_in_place(const struct host_shape *host, const struct plan_node *node, const struct placed_range *r,
                   uint64_t page, const struct bitmap *os, int where)
{
    if (node_is_striped(node)) {
        return where == stripe_os(host, node, r, page);
    }
    return bitmap_test(os, (unsigned)where);
}

struct batch {
    void *page[BATCH];
    int node[BATCH], status[BATCH];
    unsigned n;
};

static void batch_add(struct batch *b, const struct placed_range *r, uint64_t page, int node)
{
    b->page[b->n] = r->addr + page * r->page_size;
    b->node[b->n++] = node;
}

/* Moves the batch; pages that are busy or shared with another mapping are tried again harder. b->n: what is left. */
static int batch_move(struct batch *b)
{
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
    return 0;
}

/* Number of pages from `page` to the end of its 2 MiB block of addresses, at least 1 and at most `most`. */
static unsigned block_pages(const struct placed_range *r, uint64_t page, unsigned most)
{
    uint64_t block = 2ull << 20, at = (uint64_t)(uintptr_t)r->addr + page * r->page_size;
    uint64_t n = r->page_size >= block ? 1 : (block - at % block) / r->page_size;
    return n > most ? most : (unsigned)n;
}

/* Moves what is misplaced of a window of pages: one page of each block first, which may bring a whole hugepage along.
 */
static int window_migrate(struct aim *a, uint64_t first, unsigned n, uint64_t *moved)
{
    const struct placed_range *r = a->range;
    int status[PAGES_QUERY_MAX], to[PAGES_QUERY_MAX];
    struct batch b = {.n = 0};
    unsigned misplaced = 0;
    int e = pages_query(r, first, 1, n, status);
    for (unsigned i = 0, len; e == 0 && i < n; i += len) {
        len = block_pages(r, first + i, n - i);
        aim_block(a, first + i, len, &status[i], &to[i]);
        bool taken = false;
        for (unsigned k = i; k < i + len; k++) {
            misplaced += to[k] >= 0;
            if (to[k] >= 0 && !taken) {
                batch_add(&b, r, first + k, to[k]);
                taken = true;
            }
        }
    }
    if (e != 0 || misplaced == 0) {
        return e;
    }
    e = batch_move(&b);
    e = e == 0 ? pages_query(r, first, 1, n, status) : e;
    b.n = 0;
    for (unsigned i = 0; e == 0 && i < n; i++) {
        if (to[i] >= 0 && status[i] >= 0 && status[i] != to[i]) {
            batch_add(&b, r, first + i, to[i]);
        }
    }
    e = e == 0 && b.n > 0 ? batch_move(&b) : e;
    *moved += misplaced - b.n;
    return e;
}

int memory_migrate(const struct host_shape *host, const struct placed_range *r, const struct plan_node *node,
                   struct migrate_progress *progress)
{
    struct aim aim;
    uint64_t pages = r->len / r->page_size;
    int e = aim_make(&aim, host, node, r);
    if (e != 0) {
        return e;
    }
    if (node->policy == PMEM_DEFAULT || bitmap_count(&aim.os) == 0) {
        progress->done += r->len;
        return 0;
    }
    for (uint64_t at = 0; at < pages; at += BATCH) {
        unsigned n = pages - at < BATCH ? (unsigned)(pages - at) : BATCH;
        e = window_migrate(&aim, at, n, &progress->moved_pages);
        if (e != 0) {
            return e;
        }
        progress->done += n * r->page_size;
        if (progress->fn != NULL && !progress->fn(progress->arg, progress->done, progress->total)) {
            return ECANCELED;
        }
    }
    return 0;
}
