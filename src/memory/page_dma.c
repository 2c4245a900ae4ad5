/* DMA of devices among the users of pages: what it holds keeps a take from ending. */
#include "memory/page_users.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

void page_pins_take(struct page_users *u, struct page_take *take, enum page_right right)
{
    for (struct page_pin *p = u->pins; p; p = p->next) {
        if (p->page == take->page && p->right > right) {
            assert(!p->take);
            p->take = take;
            take->left++;
        }
    }
}

struct dma_wait {
    struct page_request request;
    struct page_users *users;
    struct page_pin *pin;
    enum page_status status;
    sem_t wake;
};

static void pin_add(struct page_users *u, struct page_pin *pin)
{
    pin->take = NULL;
    pin->next = u->pins;
    u->pins = pin;
}

static void pin_remove(struct page_users *u, struct page_pin *pin)
{
    struct page_pin **at = &u->pins;
    while (*at != pin) {
        at = &(*at)->next;
    }
    *at = pin->next;
}

static void dma_done(struct page_request *request, enum page_status status)
{
    struct dma_wait *w = (struct dma_wait *)((char *)request - offsetof(struct dma_wait, request));
    w->status = status;
    if (status == PAGE_GRANTED) {
        pthread_mutex_lock(&w->users->lock);
        pin_add(w->users, w->pin);
        pthread_mutex_unlock(&w->users->lock);
    }
    sem_post(&w->wake);
}

bool page_users_dma_begin(struct page_users *u, struct page_pin *pin, uint64_t page, enum page_right right)
{
    *pin = (struct page_pin){.page = page, .right = right};
    /* take() lowers the right before it looks at the pins. */
    pthread_mutex_lock(&u->lock);
    bool here = page_source_right(u->port.source, page) >= right;
    if (here) {
        pin_add(u, pin);
    }
    pthread_mutex_unlock(&u->lock);
    if (here) {
        return true;
    }
    struct dma_wait w = {.users = u, .pin = pin};
    sem_init(&w.wake, 0, 0);
    do {
        w.request = (struct page_request){.done = dma_done};
        u->port.acquire(u->port.source, &w.request, page, right, true);
        while (sem_wait(&w.wake) != 0) {
            assert(errno == EINTR);
        }
    } while (w.status != PAGE_GRANTED && w.status != PAGE_RANK_LOST);
    sem_destroy(&w.wake);
    return w.status == PAGE_GRANTED;
}

void page_users_dma_end(struct page_users *u, struct page_pin *pin)
{
    if (pin->right == PAGE_WRITE) {
        atomic_fetch_or(&u->ram->page_flags[pin->page], PAGE_MODIFIED);
    }
    pthread_mutex_lock(&u->lock);
    pin_remove(u, pin);
    bool done = pin->take && page_take_count(pin->take);
    pthread_mutex_unlock(&u->lock);
    if (done) {
        page_take_finish(u, pin->take);
    }
}

/* ---- DMA that does not wait ---- */

enum hold_state { HOLD_FREE, HOLD_COMING, HOLD_HELD };

/* A page of a page_dma. Its address is known to the list of pins and to the request: holds are used again, not moved.
 */
struct hold {
    struct page_pin pin;
    struct page_request request;
    struct page_dma *dma;
    struct hold *next;
    enum hold_state state; /* [L] */
    bool wanted;           /* [L] COMING: else nobody cares any more */
};

struct page_dma {
    struct page_users *users;    /* (c) */
    void (*ready)(void *opaque); /* (c) */
    void *opaque;
    struct page_dma *next;
    struct hold *holds;  /* the list by the loop; what is in them [L] */
    unsigned coming;     /* [L] wanted requests under way */
    unsigned requests;   /* [L] all of them */
    uint64_t asked_turn; /* [L] when it had to let go, or 0 */
    bool again;          /* [L] it was refused because of a parking */
};

struct page_dma *page_dma_create(struct page_users *u, void (*ready)(void *opaque), void *opaque)
{
    struct page_dma *d = calloc(1, sizeof(*d));
    assert(d);
    d->users = u;
    d->ready = ready;
    d->opaque = opaque;
    pthread_mutex_lock(&u->lock);
    d->next = u->dmas;
    u->dmas = d;
    pthread_mutex_unlock(&u->lock);
    return d;
}

/* [L] at first; lets go of the lock when takes have to end. */
static void hold_drop(struct page_users *u, struct hold *h)
{
    pin_remove(u, &h->pin);
    h->state = HOLD_FREE;
    struct page_take *take = h->pin.take;
    if (take && page_take_count(take)) {
        pthread_mutex_unlock(&u->lock);
        page_take_finish(u, take);
        pthread_mutex_lock(&u->lock);
    }
}

/* [L] */
static void drop_all(struct page_dma *d)
{
    for (struct hold *h = d->holds; h; h = h->next) {
        if (h->state == HOLD_HELD) {
            hold_drop(d->users, h);
        } else if (h->state == HOLD_COMING) {
            h->wanted = false;
        }
    }
    d->coming = 0;
}

/* [L] The one that has waited longest for the turn gets it. Returns whom to tell, without the lock. */
static struct page_dma *pass_turn(struct page_users *u)
{
    struct page_dma *best = NULL;
    for (struct page_dma *d = u->dmas; d; d = d->next) {
        if (d->asked_turn && (!best || d->asked_turn < best->asked_turn)) {
            best = d;
        }
    }
    u->turn = best;
    if (best) {
        best->asked_turn = 0;
    }
    return best;
}

void page_dma_release(struct page_dma *d)
{
    struct page_users *u = d->users;
    struct page_dma *next = NULL;
    pthread_mutex_lock(&u->lock);
    drop_all(d);
    d->asked_turn = 0;
    d->again = false;
    if (u->turn == d) {
        next = pass_turn(u);
    }
    pthread_mutex_unlock(&u->lock);
    if (next) {
        next->ready(next->opaque);
    }
}

bool page_dma_waiting(struct page_dma *d)
{
    pthread_mutex_lock(&d->users->lock);
    bool waiting = d->coming > 0 || d->asked_turn || d->again;
    pthread_mutex_unlock(&d->users->lock);
    return waiting;
}

static void hold_done(struct page_request *request, enum page_status status)
{
    struct hold *h = (struct hold *)((char *)request - offsetof(struct hold, request));
    struct page_dma *d = h->dma;
    struct page_users *u = d->users;
    bool ready = false;
    pthread_mutex_lock(&u->lock);
    h->state = HOLD_FREE;
    d->requests--;
    u->lost |= status == PAGE_RANK_LOST;
    if (h->wanted) {
        if (status == PAGE_GRANTED) {
            h->state = HOLD_HELD;
            pin_add(u, &h->pin);
        }
        ready = --d->coming == 0 && !u->lost;
    }
    pthread_mutex_unlock(&u->lock);
    if (ready) {
        d->ready(d->opaque);
    }
}

/* The hold of the page, or a free one, which may be new. */
static struct hold *hold_find(struct page_dma *d, uint64_t page)
{
    struct hold *unused = NULL;
    for (struct hold *h = d->holds; h; h = h->next) {
        if (h->state == HOLD_FREE) {
            unused = h;
        } else if (h->pin.page == page && (h->state == HOLD_HELD || h->wanted)) {
            return h;
        }
    }
    if (!unused) {
        unused = calloc(1, sizeof(*unused));
        assert(unused);
        unused->dma = d;
        unused->next = d->holds;
        d->holds = unused;
    }
    return unused;
}

/* [L] True: it is held. *ask: it has to be asked for. */
static bool need_locked(struct page_dma *d, struct hold *h, uint64_t page, enum page_right right, bool *ask)
{
    struct page_users *u = d->users;
    if (h->state == HOLD_HELD && h->pin.right >= right) {
        return true;
    }
    if (h->state == HOLD_COMING || d->asked_turn) {
        return false;
    }
    if (u->parked || u->lost) {
        d->again = true;
        return false;
    }
    if (h->state == HOLD_HELD) {
        hold_drop(u, h); /* an upgrade may have to wait for one of another rank, which waits for this to be let go */
    }
    h->pin = (struct page_pin){.page = page, .right = right};
    if (page_source_right(u->port.source, page) >= right) { /* take() lowers it before it looks at the pins */
        pin_add(u, &h->pin);
        h->state = HOLD_HELD;
        return true;
    }
    if (u->turn && u->turn != d) {
        drop_all(d);
        d->asked_turn = ++u->turn_clock;
        return false;
    }
    u->turn = d;
    h->state = HOLD_COMING;
    h->wanted = true;
    h->request = (struct page_request){.done = hold_done};
    d->coming++;
    d->requests++;
    *ask = true;
    return false;
}

static bool need_page(struct page_dma *d, uint64_t page, enum page_right right)
{
    struct page_users *u = d->users;
    bool ask = false;
    pthread_mutex_lock(&u->lock);
    struct hold *h = hold_find(d, page);
    bool held = need_locked(d, h, page, right, &ask);
    pthread_mutex_unlock(&u->lock);
    if (ask) {
        u->port.acquire(u->port.source, &h->request, page, right, true);
    }
    return held;
}

bool page_dma_need(struct page_dma *d, gpa_t gpa, uint64_t len, enum page_right right)
{
    const struct ram *ram = d->users->ram;
    bool all = true;
    assert(ram_contains(ram, gpa, len));
    if (len > 0) {
        uint64_t last = (gpa + len - 1 - ram->base) >> GUEST_PAGE_BITS;
        for (uint64_t page = (gpa - ram->base) >> GUEST_PAGE_BITS; page <= last; page++) {
            all &= need_page(d, page, right);
        }
    }
    return all;
}

static bool is_held(struct page_dma *d, gpa_t gpa, uint64_t len, enum page_right right)
{
    const struct ram *ram = d->users->ram;
    if (len == 0 || !ram_contains(ram, gpa, len)) {
        return len == 0;
    }
    uint64_t last = (gpa + len - 1 - ram->base) >> GUEST_PAGE_BITS;
    for (uint64_t page = (gpa - ram->base) >> GUEST_PAGE_BITS; page <= last; page++) {
        struct hold *h = d->holds;
        while (h && !(h->state == HOLD_HELD && h->pin.page == page && h->pin.right >= right)) {
            h = h->next;
        }
        if (!h) {
            return false;
        }
    }
    return true;
}

bool page_dma_read(struct page_dma *d, gpa_t gpa, void *buf, uint64_t len)
{
    if (!is_held(d, gpa, len, PAGE_READ)) {
        return false;
    }
    memcpy(buf, ram_ptr(d->users->ram, gpa), len);
    return true;
}

bool page_dma_write(struct page_dma *d, gpa_t gpa, const void *buf, uint64_t len)
{
    struct ram *ram = d->users->ram;
    if (!is_held(d, gpa, len, PAGE_WRITE)) {
        return false;
    }
    memcpy(ram_ptr(ram, gpa), buf, len);
    for (uint64_t at = (gpa - ram->base) & GUEST_PAGE_MASK; len > 0 && at < gpa - ram->base + len;
         at += GUEST_PAGE_SIZE) {
        atomic_fetch_or(&ram->page_flags[at >> GUEST_PAGE_BITS], PAGE_MODIFIED);
    }
    ram_dma_mark(ram, gpa, len);
    return true;
}

void page_users_park(struct page_users *u, bool park)
{
    pthread_mutex_lock(&u->lock);
    u->parked = park;
    for (struct page_dma *d = u->dmas; d; d = d->next) {
        bool waits = d->coming > 0 || d->asked_turn || d->again;
        if (park) {
            drop_all(d);
            d->asked_turn = 0;
            d->again = waits;
        } else if (d->again) {
            d->again = false;
            d->ready(d->opaque);
        }
    }
    u->turn = NULL;
    pthread_mutex_unlock(&u->lock);
}

void page_dma_destroy(struct page_dma **pd)
{
    struct page_dma *d = *pd;
    if (!d) {
        return;
    }
    page_dma_release(d);
    struct page_users *u = d->users;
    pthread_mutex_lock(&u->lock);
    assert(d->requests == 0);
    struct page_dma **at = &u->dmas;
    while (*at != d) {
        at = &(*at)->next;
    }
    *at = d->next;
    pthread_mutex_unlock(&u->lock);
    for (struct hold *h = d->holds, *next; h; h = next) {
        next = h->next;
        free(h);
    }
    free(d);
    *pd = NULL;
}
