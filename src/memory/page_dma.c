/* DMA of devices among the users of pages: what it holds keeps a take from ending. */
#include "memory/page_users.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <stddef.h>

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
    struct page_pin **at = &u->pins;
    while (*at != pin) {
        at = &(*at)->next;
    }
    *at = pin->next;
    bool done = pin->take && page_take_count(pin->take);
    pthread_mutex_unlock(&u->lock);
    if (done) {
        page_take_finish(u, pin->take);
    }
}
