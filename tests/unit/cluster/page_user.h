/*
 * A user of pages for tests: what an engine does at its soft TLB, in small. vCPUs are threads with a right per page;
 * they keep the promises of weft/page_source.h with one mutex per rank on the slow path and none on the fast one.
 */
#ifndef WEFT_TESTS_PAGE_USER_H
#define WEFT_TESTS_PAGE_USER_H

#include <pthread.h>
#include <semaphore.h>

#include "weft/page_source.h"

enum { USER_VCPUS = 4, USER_PAGES = 64 };

struct user_vcpu {
    struct page_request request; /* first: done() gets this */
    struct page_user *user;
    pthread_t thread;
    sem_t woken;
    enum page_status status;
    atomic_bool kick;        /* look at `drop` at the next safe point */
    bool parked;             /* (m) waits: its rights may be changed by others */
    bool drop[USER_PAGES];   /* (m) */
    uint8_t tlb[USER_PAGES]; /* own thread, or (m) while parked */
    uint64_t faults, remote;
};

struct page_user {
    struct page_source *source;
    uint8_t *ram;
    unsigned num_vcpus;
    struct user_vcpu vcpu[USER_VCPUS];
    pthread_mutex_t mutex;       /* (m) */
    uint8_t right[USER_PAGES];   /* (m) of the take under way */
    uint8_t pending[USER_PAGES]; /* (m) vCPUs that still have more */
};

extern const struct page_user_ops page_user_ops;

void page_user_init(struct page_user *u, unsigned num_vcpus, uint8_t *ram);
void page_user_fini(struct page_user *u);

/* The vCPU's thread starts, or goes on after, running; rests (WFI, end): a rest is one long safe point. */
void page_user_run(struct user_vcpu *v);
void page_user_rest(struct user_vcpu *v);

/* One access of 8 bytes at `offset` of a page; false if a rank was lost. Ends with a safe point. */
bool page_user_load(struct user_vcpu *v, uint64_t page, unsigned offset, uint64_t *value);
bool page_user_store(struct user_vcpu *v, uint64_t page, unsigned offset, uint64_t value);
bool page_user_add(struct user_vcpu *v, uint64_t page, unsigned offset, uint64_t value, uint64_t *old);
/* Stores `value` if `expected` is there: how SC ends what LR began. */
bool page_user_cas(struct user_vcpu *v, uint64_t page, unsigned offset, uint64_t expected, uint64_t value,
                   uint64_t *old);
/* Makes the page itself readable here, as an instruction fetch does. */
bool page_user_fetch(struct user_vcpu *v, uint64_t page);

#endif
