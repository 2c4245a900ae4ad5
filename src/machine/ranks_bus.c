/*
 * Device accesses over ranks. A register either belongs to a device, and rank 0 has it, or to one hart (ACLINT, IMSIC),
 * and then that hart's rank has it. A store to a register of a hart of another rank is a message without an answer:
 * this is how an MSI or a software interrupt travels. All else is an ask, for which the hart waits; but of its writes
 * to the UART only for every so many, so that no guest can fill the queue. Who prints has the UART lent: ranks_port.c.
 */
#include "ranks_state.h"

#include <assert.h>

#include "virt.h"
#include "weft/log.h"

enum { PORT_WRITES = 32 };

/* A region of the bus as the board made it. */
struct forwarded {
    struct mmio_ops ops;
    const struct mmio_ops *own;
    void *own_opaque;
    struct machine *m;
    gpa_t base;
};

static struct forwarded forwarded[BUS_MAX_REGIONS]; /* one machine per process */

static uint64_t ask_rank(struct machine *m, unsigned rank, enum ask_what what, gpa_t gpa, unsigned size, uint64_t value)
{
    struct cpu *cpu = cpu_current();
    assert(cpu);
    struct ask ask = {.what = (uint8_t)what, .size = (uint8_t)size, .a = gpa, .b = value};
    struct call *c = ranks_call_begin(cpu, &ask, 1);
    uint64_t start = loop_now_ns();
    cluster_post(m->ranks->cluster, rank, POST_ASK, &ask, sizeof(ask));
    cpu_away_wait(cpu, &c->over);
    ranks_count(&m->ranks->figures.mmio_sent, 1);
    ranks_count(&m->ranks->figures.mmio_ns, loop_now_ns() - start);
    return c->value;
}

/* Whose it is; *rank has it. */
static enum virt_register find_register(struct machine *m, gpa_t gpa, unsigned *hart, unsigned *rank)
{
    enum virt_register kind = virt_register_at(m, gpa, hart);
    struct ranks *r = m->ranks;
    *rank = kind == VIRT_OF_ALL ? r->members.self : kind == VIRT_OF_HART ? r->rank_of_hart[*hart] : 0;
    return kind;
}

static void post_port_write(struct machine *m, gpa_t gpa, unsigned size, uint64_t value)
{
    struct cpu *cpu = cpu_current();
    assert(cpu);
    struct ask ask = {.hart = (uint16_t)cpu->hart, .what = ASK_PORT_WRITE, .size = (uint8_t)size, .a = gpa, .b = value};
    ranks_count(&m->ranks->figures.mmio_sent, 1);
    cluster_post(m->ranks->cluster, 0, POST_ASK, &ask, sizeof(ask));
}

static uint64_t forward_read(void *opaque, uint64_t offset, unsigned size)
{
    struct forwarded *f = opaque;
    unsigned hart, rank;
    enum virt_register kind = find_register(f->m, f->base + offset, &hart, &rank);
    if (rank == f->m->ranks->members.self) {
        return f->own->read(f->own_opaque, offset, size);
    }
    uint64_t value;
    if (kind == VIRT_OF_PORT && ranks_port_read(f->m->ranks, offset, &value)) {
        return value;
    }
    return ask_rank(f->m, rank, ASK_READ, f->base + offset, size, 0);
}

void ranks_bus_store(struct machine *m, unsigned hart, gpa_t gpa, unsigned size, uint64_t value)
{
    struct ranks *r = m->ranks;
    struct store_post p = {.gpa = gpa, .value = value, .size = size};
    ranks_count(&r->figures.irqs_sent, 1);
    cluster_post(r->cluster, r->rank_of_hart[hart], POST_STORE, &p, sizeof(p));
}

static void forward_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct forwarded *f = opaque;
    gpa_t gpa = f->base + offset;
    unsigned hart, rank;
    enum virt_register kind = find_register(f->m, gpa, &hart, &rank);
    if (rank == f->m->ranks->members.self) {
        f->own->write(f->own_opaque, offset, value, size);
    } else if (kind == VIRT_OF_HART) {
        ranks_bus_store(f->m, hart, gpa, size, value);
    } else if (kind == VIRT_OF_PORT && ranks_port_write(f->m->ranks, offset, value)) {
        return;
    } else if (kind == VIRT_OF_PORT && ++f->m->ranks->call[cpu_current()->hart].port_writes % PORT_WRITES) {
        post_port_write(f->m, gpa, size, value);
    } else {
        ask_rank(f->m, 0, ASK_WRITE, gpa, size, value);
    }
}

void ranks_bus_forward(struct machine *m)
{
    for (unsigned i = 0; i < m->bus.num_regions; i++) {
        struct mmio_region *g = &m->bus.region[i];
        unsigned hart;
        if (m->ranks->members.self == 0 && !g->ops->lockless) {
            /* A device, and here it is. */
            if (virt_register_at(m, g->base, &hart) == VIRT_OF_PORT) {
                ranks_port_guard(m->ranks, g);
            }
            continue;
        }
        forwarded[i] = (struct forwarded){.ops = *g->ops, .own = g->ops, .own_opaque = g->opaque, .m = m};
        forwarded[i].base = g->base;
        forwarded[i].ops.read = g->ops->read ? forward_read : NULL;
        forwarded[i].ops.write = g->ops->write ? forward_write : NULL;
        forwarded[i].ops.lockless = true;
        g->ops = &forwarded[i].ops;
        g->opaque = &forwarded[i];
    }
}

/* The access was checked against the same map where it came from, but a message may say anything. */
static const struct mmio_region *checked_region(struct machine *m, gpa_t gpa, unsigned size, bool write)
{
    const struct mmio_region *g = bus_find(&m->bus, gpa);
    if (!g || size < g->ops->min_size || size > g->ops->max_size || size & (size - 1) || gpa & (size - 1) ||
        size > g->size - (gpa - g->base) || (write ? !g->ops->write : !g->ops->read)) {
        return NULL;
    }
    return g;
}

uint64_t ranks_bus_access(struct machine *m, const struct ask *ask)
{
    bool write = ask->what != ASK_READ;
    const struct mmio_region *g = checked_region(m, ask->a, ask->size, write);
    if (!g) {
        return 0;
    }
    if (write) {
        g->ops->write(g->opaque, ask->a - g->base, ask->b, ask->size);
        return 0;
    }
    return g->ops->read(g->opaque, ask->a - g->base, ask->size);
}

/* The region of a register of a hart that runs here. Such regions take no lock. */
static const struct mmio_region *own_register(struct ranks *r, gpa_t gpa, unsigned size, bool write)
{
    unsigned hart;
    if (virt_register_at(r->m, gpa, &hart) != VIRT_OF_HART || r->m->cpus[hart]->remote) {
        return NULL;
    }
    return checked_region(r->m, gpa, size, write);
}

bool ranks_bus_hart_access(struct ranks *r, unsigned src, const struct ask *ask)
{
    if (ask->what != ASK_READ || !own_register(r, ask->a, ask->size, false)) {
        return false;
    }
    ranks_answer(r, src, ask, ranks_bus_access(r->m, ask), NULL, 0);
    return true;
}

bool ranks_bus_stored(struct ranks *r, const struct store_post *p)
{
    const struct mmio_region *g = own_register(r, p->gpa, p->size, true);
    if (g) {
        g->ops->write(g->opaque, p->gpa - g->base, p->value, p->size);
    }
    return g != NULL;
}
