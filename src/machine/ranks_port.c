/*
 * The UART over ranks. A kernel that prints asks the line status register before each character whether it may send
 * it, and over ranks that would be a round trip each time. So rank 0, which has the UART, lends its transmitter: with
 * the answer to a read of that register it says that the answer stays so. Until it wants the transmitter back the
 * other rank answers such reads itself and gathers what is written, to be sent in one piece.
 *
 *   lent      only while the register can say nothing else than "empty" to whoever reads it: nothing received, no
 *             error, no interrupt for a transmitter that has room, room for all that one tenure may write
 *   recalled  when somebody else wants to use the UART or input comes; all accesses but the tenant's wait until then
 *   returned  at once when recalled; before the tenant's harts touch another register of it; when enough was written
 *
 * Bytes, returns and asks of a rank go to rank 0 in the order in which they were made, so all accesses to the UART
 * take effect one after the other, as each rank's harts see it through memory, too: who was let in by a lock in
 * memory comes behind the one who left it.
 */
#include "ranks_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "virt.h"
#include "weft/devices.h"

/* How long a byte may lie here. */
#define PORT_FLUSH_NS 1000000ull

/* ---- the tenant: any rank but 0 ---- */

/* [P] Posts what was gathered. Under the lock, so that nothing else of the port can come before it. */
static void post_bytes(struct ranks *r, bool back)
{
    struct port_tenant *t = &r->tenant;
    struct put_ask p = {.ask = {.what = ASK_PORT_BYTES, .size = (uint8_t)t->count, .hart = t->hart, .a = back}};
    memcpy(p.bytes, t->bytes, t->count);
    cluster_post(r->cluster, 0, POST_ASK, &p, sizeof(p.ask) + t->count);
    t->count = 0;
    t->held = !back;
}

void ranks_port_lent(struct ranks *r)
{
    struct port_tenant *t = &r->tenant;
    pthread_mutex_lock(&t->lock);
    t->held = true;
    t->left = UART_LEND_BYTES;
    pthread_mutex_unlock(&t->lock);
}

void ranks_port_return(struct ranks *r)
{
    struct port_tenant *t = &r->tenant;
    if (r->members.self == 0) {
        return;
    }
    pthread_mutex_lock(&t->lock);
    if (t->held) {
        post_bytes(r, true);
    }
    pthread_mutex_unlock(&t->lock);
}

bool ranks_port_read(struct ranks *r, uint64_t offset, uint64_t *value)
{
    struct port_tenant *t = &r->tenant;
    pthread_mutex_lock(&t->lock);
    bool held = t->held;
    if (held && offset == UART_LSR) {
        *value = UART_LSR_EMPTY;
    } else if (held) {
        post_bytes(r, true);
    }
    pthread_mutex_unlock(&t->lock);
    return held && offset == UART_LSR;
}

bool ranks_port_write(struct ranks *r, uint64_t offset, uint64_t value)
{
    struct port_tenant *t = &r->tenant;
    bool arm = false;
    pthread_mutex_lock(&t->lock);
    bool done = t->held && offset == UART_THR;
    if (done) {
        t->bytes[t->count++] = (uint8_t)value;
        bool back = --t->left == 0;
        if (back || t->count == sizeof(t->bytes)) {
            post_bytes(r, back);
        }
        arm = !t->armed;
        t->armed = true;
    } else if (t->held) {
        post_bytes(r, true);
    }
    pthread_mutex_unlock(&t->lock);
    if (arm) {
        loop_bh_schedule(t->arm);
    }
    return done;
}

/* Main loop, with the BQL. */
static void arm(void *opaque)
{
    struct ranks *r = opaque;
    loop_timer_arm(r->tenant.flush, loop_now_ns() + PORT_FLUSH_NS);
}

static void flush(void *opaque)
{
    struct ranks *r = opaque;
    struct port_tenant *t = &r->tenant;
    pthread_mutex_lock(&t->lock);
    t->armed = false;
    if (t->count) {
        post_bytes(r, false);
    }
    pthread_mutex_unlock(&t->lock);
}

/* ---- the owner: rank 0 ---- */

static void recall(void *opaque)
{
    struct ranks *r = opaque;
    struct port_owner *o = &r->owner;
    if (o->tenant && !o->recalled) {
        o->recalled = true;
        cluster_post(r->cluster, o->tenant, POST_RECALL, NULL, 0);
    }
}

bool ranks_port_recall(struct ranks *r)
{
    recall(r);
    return r->owner.tenant != 0;
}

static bool anyone_waits(struct port_owner *o)
{
    for (unsigned i = 0; i < WEFT_MAX_HARTS / 64; i++) {
        if (atomic_load(&o->waiting[i])) {
            return true;
        }
    }
    return false;
}

bool ranks_port_lend(struct ranks *r, unsigned to, const struct ask *ask)
{
    struct port_owner *o = &r->owner;
    unsigned hart;
    if (o->tenant || o->deferred || anyone_waits(o) || ask->what != ASK_READ ||
        virt_register_at(r->m, ask->a, &hart) != VIRT_OF_PORT || (ask->a & (UART_REG_SIZE - 1)) != UART_LSR ||
        !uart_lend(virt_uart(r->m), recall, r)) {
        return false;
    }
    o->tenant = to;
    o->recalled = false;
    return true;
}

bool ranks_port_defer(struct ranks *r, unsigned src, const struct ask *ask, struct queued_ask *q)
{
    struct port_owner *o = &r->owner;
    unsigned hart;
    bool access = ask->what == ASK_READ || ask->what == ASK_WRITE || ask->what == ASK_PORT_WRITE;
    bool port =
        access ? virt_register_at(r->m, ask->a, &hart) == VIRT_OF_PORT : ask->what == ASK_PUT || ask->what == ASK_GET;
    if (!port || !o->tenant || src == o->tenant) {
        return false;
    }
    recall(r);
    *(o->deferred ? o->last : &o->deferred) = q;
    o->last = &q->next;
    q->next = NULL;
    return true;
}

struct queued_ask *ranks_port_deferred(struct ranks *r)
{
    struct port_owner *o = &r->owner;
    struct queued_ask *q = o->tenant ? NULL : o->deferred;
    if (q) {
        o->deferred = q->next;
    }
    return q;
}

void ranks_port_wake(struct ranks *r)
{
    for (unsigned i = 0; i < WEFT_MAX_HARTS / 64; i++) {
        for (uint64_t rest = atomic_load(&r->owner.waiting[i]); rest; rest &= rest - 1) {
            cpu_wait_wake(&r->call[i * 64 + (unsigned)__builtin_ctzll(rest)].over);
        }
    }
}

void ranks_port_bytes(struct ranks *r, unsigned src, const struct ask *ask, const uint8_t *bytes)
{
    struct port_owner *o = &r->owner;
    uart_lent_write(virt_uart(r->m), bytes, ask->size);
    if (ask->a && src == o->tenant) {
        o->tenant = 0;
        uart_lent_back(virt_uart(r->m));
        ranks_world_port_back(r);
    }
}

/* The tenant's answer wakes this thread from the coherence thread, not from the main loop: that may be waiting for this
 * very hart. So whoever comes first takes the answer from the queue. */
void ranks_port_enter(struct machine *m)
{
    struct ranks *r = m->ranks;
    struct cpu *cpu = cpu_current();
    bql_lock();
    while (r->owner.tenant && !atomic_load(&r->over)) {
        _Atomic uint64_t *waiting = &r->owner.waiting[cpu->hart / 64];
        uint64_t bit = 1ull << cpu->hart % 64;
        struct ask none = {0};
        struct call *c = ranks_call_begin(cpu, &none, 1);
        atomic_fetch_or(waiting, bit);
        ranks_serve_asks(r); /* what came before the bit could be seen */
        if (r->owner.tenant) {
            recall(r);
            bql_unlock();
            cpu_away_wait(cpu, &c->over);
            bql_lock();
            ranks_serve_asks(r);
        }
        atomic_fetch_and(waiting, ~bit);
    }
}

/* False: the caller serves another rank's ask, and has the BQL. */
static bool enter_here(struct ranks *r)
{
    if (bql_held()) {
        return false;
    }
    ranks_port_enter(r->m);
    return true;
}

static uint64_t own_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ranks *r = opaque;
    bool entered = enter_here(r);
    uint64_t value = uart_ops.read(virt_uart(r->m), offset, size);
    if (entered) {
        bql_unlock();
    }
    return value;
}

static void own_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ranks *r = opaque;
    bool entered = enter_here(r);
    uart_ops.write(virt_uart(r->m), offset, value, size);
    if (entered) {
        bql_unlock();
    }
}

void ranks_port_guard(struct ranks *r, struct mmio_region *region)
{
    r->owner.ops = uart_ops;
    r->owner.ops.read = own_read;
    r->owner.ops.write = own_write;
    r->owner.ops.lockless = true;
    region->ops = &r->owner.ops;
    region->opaque = r;
}

/* ---- frame ---- */

void ranks_port_create(struct ranks *r)
{
    struct port_tenant *t = &r->tenant;
    pthread_mutex_init(&t->lock, NULL);
    while (r->rank_of_hart[t->hart] != r->members.self) {
        t->hart++;
    }
    t->arm = loop_bh_create(r->m->loop, arm, r);
    t->flush = loop_timer_create(r->m->loop, flush, r);
}

void ranks_port_destroy(struct ranks *r)
{
    if (!r->tenant.arm) {
        return;
    }
    loop_bh_destroy(&r->tenant.arm);
    loop_timer_destroy(&r->tenant.flush);
    pthread_mutex_destroy(&r->tenant.lock);
}
