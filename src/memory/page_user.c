#include "memory/page_users.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdlib.h>

/* For one hart: give up the page down to `right`. `take` is NULL when the hart was counted as done already. */
struct duty {
    uint64_t page;
    enum page_right right;
    struct page_take *take;
};

struct page_hart {
    struct cpu *cpu;
    page_drop_fn *drop;
    _Atomic bool waiting; /* set by the hart, cleared by done(): at a safe point */
    sem_t wake;
    enum page_status status;
    struct page_request request;
    uint64_t page;     /* it waits for */
    unsigned waits;    /* (o) how often it has waited */
    struct duty *duty; /* [L] */
    unsigned num_duties, cap_duties;
};

struct page_users *page_users_create(struct ram *ram)
{
    struct page_users *u = calloc(1, sizeof(*u));
    assert(u);
    u->ram = ram;
    pthread_mutex_init(&u->lock, NULL);
    return u;
}

void page_users_attach(struct page_users *u, const struct page_port *port)
{
    u->port = *port;
    u->claims = calloc(u->ram->size >> GUEST_PAGE_BITS, sizeof(*u->claims));
    assert(u->claims);
    u->ram->users = u;
}

void page_users_add_hart(struct page_users *u, struct cpu *cpu, page_drop_fn *drop)
{
    assert(u->num_harts < WEFT_MAX_HARTS);
    struct page_hart *h = calloc(1, sizeof(*h));
    assert(h);
    h->cpu = cpu;
    h->drop = drop;
    sem_init(&h->wake, 0, 0);
    pthread_mutex_lock(&u->lock);
    u->hart[u->num_harts++] = h;
    cpu->page_user = h;
    pthread_mutex_unlock(&u->lock);
}

static void hart_free(struct page_hart *h)
{
    sem_destroy(&h->wake);
    free(h->duty);
    free(h);
}

void page_users_remove_hart(struct page_users *u, struct cpu *cpu)
{
    page_users_serve(cpu);
    pthread_mutex_lock(&u->lock);
    for (unsigned i = 0; i < u->num_harts; i++) {
        if (u->hart[i]->cpu == cpu) {
            hart_free(u->hart[i]);
            u->hart[i] = u->hart[--u->num_harts];
            break;
        }
    }
    cpu->page_user = NULL;
    pthread_mutex_unlock(&u->lock);
}

void page_users_destroy(struct page_users **users)
{
    struct page_users *u = *users;
    if (!u) {
        return;
    }
    assert(!u->pins && u->num_harts == 0);
    u->ram->users = NULL;
    pthread_mutex_destroy(&u->lock);
    free((void *)u->claims);
    free(u);
    *users = NULL;
}

static uint64_t claim_bit(const struct cpu *cpu)
{
    return 1ull << (cpu->hart % 64);
}

static void claim(struct page_users *u, const struct cpu *cpu, uint64_t page)
{
    if (!(atomic_load(&u->claims[page]) & claim_bit(cpu))) {
        atomic_fetch_or(&u->claims[page], claim_bit(cpu));
    }
}

bool page_users_claim(struct cpu *cpu, const struct ram *ram, gpa_t gpa, enum page_right right)
{
    struct page_users *u = ram->users;
    uint64_t page = (gpa - ram->base) >> GUEST_PAGE_BITS;
    if (cpu && cpu->page_user) {
        claim(u, cpu, page);
    }
    return page_source_right(u->port.source, page) >= right;
}

/* ---- giving up ---- */

void page_take_finish(struct page_users *u, struct page_take *take)
{
    _Atomic uint8_t *flags = &u->ram->page_flags[take->page];
    unsigned how = atomic_fetch_and(flags, (uint8_t)~PAGE_MODIFIED) & PAGE_MODIFIED ? TAKEN_DIRTY : 0;
    u->port.taken(u->port.source, take->page, how | (take->used ? TAKEN_USED : 0));
    free(take);
}

static void duty_add(struct page_hart *h, struct duty d)
{
    if (h->num_duties == h->cap_duties) {
        h->cap_duties = h->cap_duties ? h->cap_duties * 2 : 16;
        h->duty = realloc(h->duty, h->cap_duties * sizeof(*h->duty));
        assert(h->duty);
    }
    h->duty[h->num_duties++] = d;
}

static void take(void *opaque, uint64_t page, enum page_right right)
{
    struct page_users *u = opaque;
    struct page_take *t = calloc(1, sizeof(*t));
    assert(t);
    t->page = page;
    t->left = 1; /* this function */
    if (right == PAGE_NONE && atomic_load(&u->ram->page_flags[page]) & PAGE_CODE) {
        /* Another rank may change it now: its code is looked at by the next fence.i. */
        code_page_written(u->ram, u->ram->base + (page << GUEST_PAGE_BITS));
    }
    /* Who claims the page later finds the right lowered. */
    uint64_t claims = right == PAGE_NONE ? atomic_exchange(&u->claims[page], 0) : atomic_load(&u->claims[page]);
    t->used = claims != 0;
    pthread_mutex_lock(&u->lock);
    for (unsigned i = 0; i < u->num_harts; i++) {
        struct page_hart *h = u->hart[i];
        if (!(claims & claim_bit(h->cpu))) {
            continue;
        }
        duty_add(h, (struct duty){.page = page, .right = right});
        /* Before the look at what the hart does: it looks at this after it says that it runs, or waits. */
        atomic_store(&h->cpu->page_takes, 1);
        if (atomic_load(&h->cpu->in_exec) && !atomic_load(&h->waiting)) {
            h->duty[h->num_duties - 1].take = t;
            t->left++;
        }
    }
    page_pins_take(u, t, right);
    bool done = page_take_count(t);
    pthread_mutex_unlock(&u->lock);
    if (done) {
        page_take_finish(u, t);
    }
}

static void changed(void *opaque, uint64_t page, bool remote)
{
    (void)remote;
    struct page_users *u = opaque;
    ram_dma_mark(u->ram, u->ram->base + (page << GUEST_PAGE_BITS), GUEST_PAGE_SIZE);
}

const struct page_user_ops page_users_ops = {.take = take, .changed = changed};

/* The next duty of the hart; with `counted` only of those that it was counted as done for. False when there is none. */
static bool duty_next(struct page_users *u, struct page_hart *h, bool counted, struct duty *d)
{
    pthread_mutex_lock(&u->lock);
    unsigned i = h->num_duties;
    while (i > 0 && counted && h->duty[i - 1].take) {
        i--;
    }
    if (i > 0) {
        *d = h->duty[i - 1];
        h->duty[i - 1] = h->duty[--h->num_duties];
    }
    if (h->num_duties == 0) {
        atomic_store(&h->cpu->page_takes, 0);
    }
    pthread_mutex_unlock(&u->lock);
    return i > 0;
}

static void serve(struct cpu *cpu, bool counted)
{
    struct page_users *u = cpu->ram->users;
    struct page_hart *h = cpu->page_user;
    struct duty d = {0};
    while (duty_next(u, h, counted, &d)) {
        h->drop(cpu, u->ram->base + (d.page << GUEST_PAGE_BITS), d.right == PAGE_READ);
        if (d.take) {
            pthread_mutex_lock(&u->lock);
            bool done = page_take_count(d.take);
            pthread_mutex_unlock(&u->lock);
            if (done) {
                page_take_finish(u, d.take);
            }
        }
    }
}

void page_users_serve(struct cpu *cpu)
{
    if (cpu->page_user) {
        serve(cpu, false);
    }
}

void page_users_rest(struct cpu *cpu, bool begin)
{
    struct page_hart *h = cpu->page_user;
    atomic_store(&h->waiting, begin);
    tlb_safe_point(cpu);
}

/* ---- getting ---- */

/* The hart runs again from here on: a later take() waits for its next safe point. */
static void hart_done(struct page_request *request, enum page_status status)
{
    struct page_hart *h = (struct page_hart *)((char *)request - offsetof(struct page_hart, request));
    h->status = status;
    /* A take() in the meantime has cleared the claim. */
    claim(h->cpu->ram->users, h->cpu, h->page);
    atomic_store(&h->waiting, false);
}

static void hart_wake(struct page_request *request)
{
    sem_post(&((struct page_hart *)((char *)request - offsetof(struct page_hart, request)))->wake);
}

/* The same for the same code that faults on the same page; never 0. */
static uint32_t context_of(const struct cpu *cpu, uint64_t page, enum page_right right)
{
    uint64_t x = (cpu->pc >> 1) * 0x9e3779b97f4a7c15u ^ (page * 4 + right) * 0xc2b2ae3d27d4eb4fu;
    return (uint32_t)(x >> 32) | 1;
}

static void hart_wait_begin(struct cpu *cpu, struct page_hart *h, uint64_t page)
{
    h->waits++;
    h->page = page;
    atomic_store(&h->waiting, true);
    tlb_safe_point(cpu);
    h->request = (struct page_request){.done = hart_done, .wake = hart_wake};
}

static enum page_status hart_wait_end(struct cpu *cpu, struct page_hart *h)
{
    const struct page_port *port = &cpu->ram->users->port;
    if (port->wait) {
        port->wait(port->source, &h->request);
    }
    while (sem_wait(&h->wake) != 0) {
        assert(errno == EINTR);
    }
    if (atomic_load(&cpu->page_takes)) {
        /* What was asked while it waited. What was asked since done() has to wait for the access. */
        serve(cpu, true);
    }
    return h->status;
}

static enum page_reach lost(struct cpu *cpu)
{
    atomic_store(&cpu->exit_request, 1);
    return PAGE_REACH_LOST;
}

enum page_reach page_users_get(struct cpu *cpu, uint64_t page, enum page_right right, bool whole)
{
    struct page_users *u = cpu->ram->users;
    struct page_hart *h = cpu->page_user;
    struct page_source *s = u->port.source;
    for (;;) {
        claim(u, cpu, page);
        if (page_source_right(s, page) >= right) {
            return PAGE_REACH_HERE;
        }
        if (!whole && page_source_served(s, page)) {
            return PAGE_REACH_SERVED;
        }
        hart_wait_begin(cpu, h, page);
        h->request.who = (uint16_t)cpu->hart;
        h->request.context = context_of(cpu, page, right);
        u->port.acquire(s, &h->request, page, right, whole);
        switch (hart_wait_end(cpu, h)) {
        case PAGE_GRANTED:
            return PAGE_REACH_HERE; /* even if it is asked back by now */
        case PAGE_RANK_LOST:
            return lost(cpu);
        case PAGE_REMOTE:
            return PAGE_REACH_SERVED;
        default:
            break;
        }
    }
}

unsigned page_users_waits(const struct cpu *cpu)
{
    const struct page_hart *h = cpu->page_user;
    return h->waits;
}

enum page_reach page_users_operate(struct cpu *cpu, uint64_t page, const struct msg_op *op, uint64_t *value)
{
    struct page_users *u = cpu->ram->users;
    struct page_hart *h = cpu->page_user;
    hart_wait_begin(cpu, h, page);
    u->port.operate(u->port.source, &h->request, page, op);
    switch (hart_wait_end(cpu, h)) {
    case PAGE_GRANTED:
        *value = h->request.value;
        return PAGE_REACH_HERE;
    case PAGE_RANK_LOST:
        return lost(cpu);
    default:
        return PAGE_REACH_SERVED;
    }
}
