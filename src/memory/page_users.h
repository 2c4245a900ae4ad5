/* What page_user.c (harts) and page_dma.c (devices) share: the users of guest pages on this rank. */
#ifndef WEFT_MEMORY_PAGE_USERS_H
#define WEFT_MEMORY_PAGE_USERS_H

#include <pthread.h>

#include "weft/page_user.h"

/* A page that is being given up: the users that have not yet. */
struct page_take {
    uint64_t page;
    unsigned left; /* [L] */
    bool used;     /* since the page came */
};

struct page_hart;

/*
 * Legend: (c) fixed before the harts run  [L] under lock, a leaf: no call out is made under it
 */
struct page_users {
    struct ram *ram;       /* (c) */
    struct page_port port; /* (c) */
    /* [a] Per page: the harts (modulo 64) that may rely on a right of it. A hart sets its bit before it looks at the
     * right; the coherence thread lowers the right before it looks at the bits. */
    _Atomic uint64_t *claims;
    pthread_mutex_t lock;
    unsigned num_harts; /* (c) */
    struct page_hart *hart[WEFT_MAX_HARTS];
    struct page_pin *pins; /* [L] pages that DMA holds */
    struct page_dma *dmas; /* [L] all of this rank */
    struct page_dma *turn; /* [L] the one that may hold pages while it waits */
    uint64_t turn_clock;   /* [L] */
    bool parked, lost;     /* [L] */
};

/* [L] One user is done; the caller finishes the take when true. */
static inline bool page_take_count(struct page_take *take)
{
    return --take->left == 0;
}

/* All users are done. Not under the lock. */
void page_take_finish(struct page_users *users, struct page_take *take);

/* [L] DMA that holds the page beyond `right` is counted into the take, which is over when it lets go. */
void page_pins_take(struct page_users *users, struct page_take *take, enum page_right right);

#endif
