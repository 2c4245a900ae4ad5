/*
 * What ranks say to one another about the machine: asks with answers, and interrupt lines.
 *
 * A hart asks, the other rank's coherence thread receives. Harts' affairs (fences, start, status, their own registers)
 * are begun right there; what needs a device goes through a queue to the main loop of rank 0, because that thread never
 * wants the big lock.
 */
#include "ranks_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ranks_view.h"
#include "sbi.h"
#include "virt.h"
#include "weft/devices.h"
#include "weft/log.h"

/* ---- asking: the hart's thread ---- */

struct call *ranks_call_begin(struct cpu *cpu, struct ask *ask, unsigned answers)
{
    struct ranks *r = cpu->machine->ranks;
    struct call *c = &r->call[cpu->hart];
    c->value = 0;
    c->number++;
    atomic_store(&c->left, answers);
    atomic_store(&c->over, 0);
    ask->hart = (uint16_t)cpu->hart;
    ask->number = c->number;
    if (atomic_load(&r->over)) { /* set before all calls are ended: one of the two is seen */
        atomic_store(&c->over, 1);
    }
    return c;
}

void ranks_calls_fail(struct ranks *r)
{
    atomic_store(&r->over, true);
    for (unsigned h = 0; h < r->m->num_cpus; h++) {
        cpu_wait_wake(&r->call[h].over);
    }
}

/* ---- interrupt lines ---- */

/* Lines belong to devices, which are on rank 0. Other ranks have none to set, but send software interrupts (SBI IPI).
 */
void ranks_remote_irq(struct cpu *cpu, uint64_t mask, bool level)
{
    struct machine *m = cpu->machine;
    struct ranks *r = m->ranks;
    bool ipi = mask == 1ull << IRQ_SSI;
    if (ipi ? !level : r->members.self != 0) {
        return;
    }
    if (!ipi) {
        /* The proxy's mip is the level that was told last. */
        uint64_t before = level ? atomic_fetch_or(&cpu->mip, mask) : atomic_fetch_and(&cpu->mip, ~mask);
        if (level ? !(~before & mask) : !(before & mask)) {
            return;
        }
    }
    struct irq_post p = {.hart = cpu->hart, .level = level, .mask = mask, .fence = ipi ? 0 : r->device_fence};
    ranks_count(&r->figures.irqs_sent, 1);
    cluster_post(r->cluster, r->rank_of_hart[cpu->hart], POST_IRQ, &p, sizeof(p));
}

static bool on_irq(struct ranks *r, unsigned src, const struct irq_post *p)
{
    const uint64_t lines = 1ull << IRQ_MEI | 1ull << IRQ_SEI;
    bool ipi = p->mask == 1ull << IRQ_SSI;
    if (p->hart >= r->m->num_cpus || r->m->cpus[p->hart]->remote) {
        return false;
    }
    /* Any rank's harts send software interrupts; lines belong to the devices, and those are on rank 0. */
    if (ipi ? !p->level : src != 0 || !p->mask || p->mask & ~lines) {
        return false;
    }
    if (!ipi && p->fence < r->device_fence) {
        return false; /* from one who owned the interrupt controllers before */
    }
    if (ipi) {
        sbi_count(r->m->cpus[p->hart], FW_IPI_RECEIVED);
    } else {
        r->device_fence = p->fence;
    }
    cpu_irq_set(r->m->cpus[p->hart], p->mask, p->level);
    return true;
}

/* ---- devices and console: rank 0 ---- */

static void answer(struct ranks *r, unsigned src, const struct ask *ask, uint64_t value, const void *bytes,
                   unsigned length, bool lent)
{
    struct answer a = {.hart = ask->hart, .number = ask->number, .value = value, .length = (uint8_t)length};
    a.lent = lent;
    if (length) {
        memcpy(a.bytes, bytes, length);
    }
    cluster_post(r->cluster, src, POST_ANSWER, &a, offsetof(struct answer, bytes) + length);
}

void ranks_answer(struct ranks *r, unsigned src, const struct ask *ask, uint64_t value, const void *bytes,
                  unsigned length)
{
    answer(r, src, ask, value, bytes, length, false);
}

static void serve_ask(struct ranks *r, struct queued_ask *q)
{
    struct ask *ask = &q->put.ask;
    uint8_t bytes[RANKS_CONSOLE_MAX];
    unsigned n = 0;
    switch (ask->what) {
    case ASK_READ:
    case ASK_WRITE: {
        bool lent = ranks_port_lend(r, q->src, ask); /* then the read finds what was promised */
        answer(r, q->src, ask, ranks_bus_access(r->m, ask), NULL, 0, lent);
        break;
    }
    case ASK_PORT_WRITE:
        ranks_bus_access(r->m, ask);
        break;
    case ASK_PORT_BYTES:
        ranks_port_bytes(r, q->src, ask, q->put.bytes);
        break;
    case ASK_PUT:
        n = uart_console_write(virt_uart(r->m), q->put.bytes, ask->size);
        ranks_answer(r, q->src, ask, n, NULL, 0);
        break;
    default:
        n = uart_console_read(virt_uart(r->m), bytes, ask->size);
        ranks_answer(r, q->src, ask, n, bytes, n);
        break;
    }
}

static struct queued_ask *queue_take(struct ranks *r)
{
    pthread_mutex_lock(&r->queue_lock);
    struct queued_ask *q = r->first;
    r->first = NULL;
    pthread_mutex_unlock(&r->queue_lock);
    return q;
}

/* Rank 0, with the BQL. */
void ranks_serve_asks(void *opaque)
{
    struct ranks *r = opaque;
    struct queued_ask *q = queue_take(r), *turn;
    while (q) {
        struct queued_ask *next = q->next;
        if (!ranks_port_defer(r, q->src, &q->put.ask, q)) {
            serve_ask(r, q);
            free(q);
        }
        while ((turn = ranks_port_deferred(r))) {
            serve_ask(r, turn);
            free(turn);
        }
        q = next;
    }
}

void ranks_console_end(struct machine *m)
{
    ranks_serve_asks(m->ranks);
}

static void free_list(struct queued_ask *q)
{
    while (q) {
        struct queued_ask *next = q->next;
        free(q);
        q = next;
    }
}

void ranks_queue_clear(struct ranks *r)
{
    free_list(queue_take(r));
    free_list(r->owner.deferred);
    r->owner.deferred = NULL;
}

static void enqueue(struct ranks *r, unsigned src, const struct put_ask *put)
{
    struct queued_ask *q = malloc(sizeof(*q));
    assert(q);
    *q = (struct queued_ask){.src = src, .put = *put};
    pthread_mutex_lock(&r->queue_lock);
    struct queued_ask **at = r->first ? r->last : &r->first;
    *at = q;
    r->last = &q->next;
    pthread_mutex_unlock(&r->queue_lock);
    if (put->ask.what == ASK_PORT_BYTES && put->ask.a) {
        ranks_port_wake(r);
    }
    loop_bh_schedule(r->service_bh);
}

unsigned ranks_console(struct cpu *cpu, bool write, uint8_t *bytes, unsigned n)
{
    struct ranks *r = cpu->machine->ranks;
    struct put_ask p = {.ask = {.what = write ? ASK_PUT : ASK_GET}};
    n = n < RANKS_CONSOLE_MAX ? n : RANKS_CONSOLE_MAX;
    p.ask.size = (uint8_t)n;
    if (write) {
        memcpy(p.bytes, bytes, n);
    }
    ranks_port_return(r);
    struct call *c = ranks_call_begin(cpu, &p.ask, 1);
    cluster_post(r->cluster, 0, POST_ASK, &p, sizeof(p.ask) + (write ? n : 0));
    cpu_rest_wait(cpu, &c->over);
    unsigned done = c->value < n ? (unsigned)c->value : n;
    if (!write) {
        memcpy(bytes, c->bytes, done);
    }
    /* At the run's end the console takes everything: nothing may wait for it. */
    return write && atomic_load(&r->over) ? n : done;
}

/* ---- fences ---- */

bool ranks_fence_begin(struct cpu *cpu, const struct bitmap *harts, unsigned work, uint64_t a, uint64_t b)
{
    struct ranks *r = cpu->machine->ranks;
    struct ask ask[WEFT_MAX_RANKS] = {0};
    uint64_t ranks = 0;
    bitmap_for_each(h, harts)
    {
        unsigned rank = r->rank_of_hart[h];
        if (rank != r->members.self) {
            ranks |= 1ull << rank;
            ask[rank].harts[h / 64] |= 1ull << (h % 64);
        }
    }
    if (!ranks) {
        return false;
    }
    struct ask head = {.what = ASK_FENCE, .a = work, .b = a, .c = b};
    ranks_call_begin(cpu, &head, (unsigned)__builtin_popcountll(ranks));
    for (; ranks; ranks &= ranks - 1) {
        unsigned rank = (unsigned)__builtin_ctzll(ranks);
        memcpy(head.harts, ask[rank].harts, sizeof(head.harts));
        cluster_post(r->cluster, rank, POST_ASK, &head, sizeof(head));
        ranks_count(&r->figures.fences_sent, 1);
    }
    return true;
}

void ranks_fence_wait(struct cpu *cpu)
{
    cpu_rest_wait(cpu, &cpu->machine->ranks->call[cpu->hart].over);
}

struct fence_done {
    struct ranks *ranks;
    unsigned src;
    struct ask ask;
};

static void fence_done(void *opaque)
{
    struct fence_done *f = opaque;
    ranks_answer(f->ranks, f->src, &f->ask, 0, NULL, 0);
    free(f);
}

static void serve_fence(struct ranks *r, unsigned src, const struct ask *ask)
{
    struct bitmap mask;
    bitmap_zero(&mask);
    for (unsigned h = 0; h < r->m->num_cpus; h++) {
        if (ask->harts[h / 64] >> (h % 64) & 1 && !r->m->cpus[h]->remote) {
            bitmap_set(&mask, h);
        }
    }
    struct fence_done *f = malloc(sizeof(*f));
    assert(f);
    *f = (struct fence_done){.ranks = r, .src = src, .ask = *ask};
    cpu_run_counted(&mask, sbi_work(ask->a), ask->b, ask->c, fence_done, f);
}

/* ---- harts ---- */

static uint64_t ask_hart(struct cpu *cpu, unsigned hart, struct ask *ask)
{
    struct ranks *r = cpu->machine->ranks;
    ask->a = hart;
    struct call *c = ranks_call_begin(cpu, ask, 1);
    cluster_post(r->cluster, r->rank_of_hart[hart], POST_ASK, ask, sizeof(*ask));
    cpu_rest_wait(cpu, &c->over);
    return c->value;
}

int64_t ranks_hart_start(struct cpu *cpu, unsigned hart, uint64_t addr, uint64_t opaque)
{
    struct ask ask = {.what = ASK_START, .b = addr, .c = opaque};
    return (int64_t)ask_hart(cpu, hart, &ask);
}

uint64_t ranks_hart_status(struct cpu *cpu, unsigned hart)
{
    struct ask ask = {.what = ASK_STATUS};
    return ask_hart(cpu, hart, &ask);
}

static bool serve_hart(struct ranks *r, unsigned src, const struct ask *ask)
{
    if (ask->a >= r->m->num_cpus || r->m->cpus[ask->a]->remote) {
        return false;
    }
    struct cpu *cpu = r->m->cpus[ask->a];
    uint64_t value = ask->what == ASK_START ? (uint64_t)sbi_start_here(cpu, ask->b, ask->c)
                                            : (uint64_t)atomic_load(&cpu->hart_state);
    ranks_answer(r, src, ask, value, NULL, 0);
    return true;
}

/* ---- receiving: the coherence thread ---- */

static bool on_ask(struct ranks *r, unsigned src, const struct put_ask *put, size_t length)
{
    const struct ask *ask = &put->ask;
    if (length < sizeof(*ask) || ask->hart >= r->m->num_cpus || r->rank_of_hart[ask->hart] != src) {
        return false;
    }
    ranks_count(&r->figures.asks_served, 1);
    switch (ask->what) {
    case ASK_FENCE:
        if (!sbi_work(ask->a)) {
            return false;
        }
        serve_fence(r, src, ask);
        return true;
    case ASK_START:
    case ASK_STATUS:
        return serve_hart(r, src, ask);
    case ASK_PUT:
    case ASK_GET:
    case ASK_PORT_BYTES:
        if (ask->size > RANKS_CONSOLE_MAX || (ask->what != ASK_GET && length < sizeof(*ask) + ask->size)) {
            return false;
        }
        break;
    case ASK_READ:
    case ASK_WRITE:
    case ASK_PORT_WRITE:
        if (ranks_bus_hart_access(r, src, ask)) {
            return true;
        }
        break;
    default:
        return false;
    }
    if (r->members.self != 0) {
        return false;
    }
    enqueue(r, src, put);
    return true;
}

static bool on_answer(struct ranks *r, unsigned src, const struct answer *a, size_t length)
{
    if (length < offsetof(struct answer, bytes) || a->length > RANKS_CONSOLE_MAX ||
        length < offsetof(struct answer, bytes) + a->length || a->hart >= r->m->num_cpus ||
        r->m->cpus[a->hart]->remote || (a->lent && src != 0)) {
        return false;
    }
    if (a->lent) {
        ranks_port_lent(r);
    }
    struct call *c = &r->call[a->hart];
    if (a->number != c->number || atomic_load(&c->over)) {
        return true; /* nobody waits for it any more */
    }
    c->value = a->value;
    memcpy(c->bytes, a->bytes, a->length);
    if (atomic_fetch_sub(&c->left, 1) == 1) {
        cpu_wait_wake(&c->over);
    }
    return true;
}

void ranks_on_post(void *opaque, unsigned src, uint32_t kind, const void *bytes, size_t length)
{
    struct ranks *r = opaque;
    union {
        struct put_ask ask;
        struct answer answer;
        struct irq_post irq;
        struct store_post store;
        struct world_post world;
    } u;
    memset(&u, 0, sizeof(u));
    memcpy(&u, bytes, length < sizeof(u) ? length : sizeof(u));
    bool good = false;
    if (kind >= POST_VIEW_FIRST) {
        good = ranks_view_post(r, src, kind, bytes, length);
    } else if (kind == POST_ASK) {
        good = on_ask(r, src, &u.ask, length);
    } else if (kind == POST_ANSWER) {
        good = on_answer(r, src, &u.answer, length);
    } else if (kind == POST_IRQ) {
        good = length == sizeof(u.irq) && on_irq(r, src, &u.irq);
    } else if (kind == POST_STORE) {
        good = length == sizeof(u.store) && ranks_bus_stored(r, &u.store);
    } else if (kind == POST_RECALL) {
        good = src == 0 && length == 0 && r->members.self != 0;
        if (good) {
            ranks_port_return(r);
        }
    } else if (kind == POST_WORLD) {
        good = length == sizeof(u.world) && ranks_world_post(r, src, &u.world);
    }
    if (!good) {
        log_warn("a message of rank %u about the machine makes no sense and was dropped", src);
    }
}
