/*
 * The port between guest memory and whoever provides its pages: on one rank nobody (the pointer is NULL and every page
 * is writable), over ranks the cluster. The engine never learns what lies behind it.
 *
 * Pages are numbered from 0 in the order of guest RAM: page = (gpa - ram->base) >> 12.
 *
 * What a user of pages (a vCPU, a DMA transfer) promises
 *   1. Before it makes a page usable for itself (a TLB entry, a host pointer) it reads page_source_right() and makes it
 *      usable only for that. It reads the right between two safe points of its own and uses the page only up to the
 * next.
 *   2. After take(page, right) it gives up, at its next safe point, all it has beyond `right`. A user that waits (for a
 *      page, WFI, a stopped machine) is at a safe point: it counts as done at once, if it gives up before it runs on.
 *   3. A user that waits for a page runs again from the moment its done() callback is called: a take() that comes later
 * waits for its next safe point. It performs the access before that point. So each fetched page does at least one
 *      access of work, and no two ranks can starve each other.
 *
 * Threads
 *   page_source_right               any thread, a relaxed load, no lock
 *   page_source_acquire, _operate   any thread but the coherence thread; never block: done() tells the end
 *   page_source_taken               any thread, once per take(), also from inside take()
 *   struct page_user_ops, done()    called by the coherence thread, or by a thread inside acquire, operate or taken
 * that does its step (also for requests of others); must not block, must not call acquire or operate
 *
 * So whoever calls acquire, operate or taken must not hold a mutex that one of these callbacks takes.
 */
#ifndef WEFT_PAGE_SOURCE_H
#define WEFT_PAGE_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "weft/message.h"

enum {
    PAGE_RIGHT_MASK = 3, /* enum page_right */
    PAGE_SERVED = 4,     /* the page stays at its home for now: page_source_operate() is quicker than acquire */
};

enum page_status {
    PAGE_GRANTED,   /* the right is here (operate: the access was done) */
    PAGE_REMOTE,    /* acquire: the page is served at its home, use page_source_operate() */
    PAGE_TRY_AGAIN, /* operate: the page is no longer served, acquire it. acquire: too much under way, ask again */
    PAGE_RANK_LOST, /* a rank is gone: the machine is ending, the page will not come */
};

/* What the cluster asks of the users of pages on this rank. */
struct page_user_ops {
    /* Bring every user of the page down to `right` (NONE or READ); then page_source_taken(). The right in the array is
     * down already, so no new use beyond it can begin. */
    void (*take)(void *opaque, uint64_t page, enum page_right right);
    /* The bytes of the page were replaced or changed by another rank; nobody here may write or read it at this moment
     * (or, when `remote` is set, it was one access at its home). For translated code: check it at the next fence.i. */
    void (*changed)(void *opaque, uint64_t page, bool remote);
};

/* A request for a page or a remote access. Owned by the caller, who keeps it until done(), or until wake() if it has
 * one. */
struct page_request {
    void (*done)(struct page_request *request, enum page_status status);
    /* NULL, or: wakes the thread that waits. Called soon after done(), without anything the woken thread may want: on
     * the same processor it runs at once. */
    void (*wake)(struct page_request *request);
    uint64_t value; /* operate: the old value */
    /* For directory_follow(): which thread, and where it is. 0: not a thread whose next pages can be foretold. */
    uint32_t context;
    uint16_t who;
    /* (q) private to the cluster until done() */
    struct page_request *next;
    uint64_t page;
    struct msg_op op;
    uint8_t right, flags, is_op;
    _Atomic uint8_t over;
};

struct page_source {
    _Atomic uint8_t *rights; /* [a] per page: right and PAGE_SERVED; written by the coherence thread alone */
    uint64_t pages;
    const struct page_user_ops *users;
    void *opaque;
};

static inline enum page_right page_source_right(const struct page_source *ps, uint64_t page)
{
    return (enum page_right)(atomic_load_explicit(&ps->rights[page], memory_order_acquire) & PAGE_RIGHT_MASK);
}

static inline bool page_source_served(const struct page_source *ps, uint64_t page)
{
    return atomic_load_explicit(&ps->rights[page], memory_order_relaxed) & PAGE_SERVED;
}

/* Asks for a right. `whole`: remote access will not do (instruction fetch, page-table walk, DMA, LR with a long life).
 */
void page_source_acquire(struct page_source *ps, struct page_request *request, uint64_t page, enum page_right right,
                         bool whole);

/* For a thread that has nothing to do until done(): it may receive the answer itself, so that the coherence thread need
 * not wake first. Returns when done() was called, or earlier: the caller waits on. */
void page_source_wait(struct page_source *ps, struct page_request *request);

/* One access of at most 8 bytes at the home of a served page. op: offset, op, size, value, expected. */
void page_source_operate(struct page_source *ps, struct page_request *request, uint64_t page, const struct msg_op *op);

/* Everyone is down to what take() asked. Without TAKEN_DIRTY a rank that still has the old bytes gets the page without
 * data. Writes by other ranks to a served page need not be counted. */
void page_source_taken(struct page_source *ps, uint64_t page, unsigned how);

#endif
