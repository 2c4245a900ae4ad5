#include "fake.h"

#include <stdlib.h>
#include <string.h>

struct fake fake;

struct loop_bh {
    void (*cb)(void *);
    void *opaque;
    bool scheduled;
    struct loop_bh *next;
};

struct loop_timer {
    void (*cb)(void *);
    void *opaque;
    uint64_t deadline;
    struct loop_timer *next;
};

static struct loop_bh *bhs;
static struct loop_timer *timers;

void fake_reset(void)
{
    memset(&fake, 0, sizeof(fake));
    for (unsigned i = 0; i < FAKE_HARTS; i++) {
        fake.cpus[i] = &fake.cpu[i];
        fake.cpu[i].hart = i;
    }
}

void fake_loop_turn(void)
{
    bool again = true;
    while (again) {
        again = false;
        for (struct loop_bh *b = bhs; b; b = b->next) {
            if (b->scheduled) {
                b->scheduled = false;
                b->cb(b->opaque);
                again = true;
            }
        }
        for (struct loop_timer *t = timers; t; t = t->next) {
            if (t->deadline <= fake.now_ns) {
                t->deadline = UINT64_MAX;
                t->cb(t->opaque);
                again = true;
            }
        }
    }
}

struct loop_bh *loop_bh_create(struct loop *loop, void (*cb)(void *), void *opaque)
{
    struct loop_bh *b = calloc(1, sizeof(*b));
    b->cb = cb;
    b->opaque = opaque;
    b->next = bhs;
    bhs = b;
    return b;
}

void loop_bh_schedule(struct loop_bh *bh)
{
    bh->scheduled = true;
}

void loop_bh_destroy(struct loop_bh **bh)
{
    for (struct loop_bh **p = &bhs; *p; p = &(*p)->next) {
        if (*p == *bh) {
            *p = (*bh)->next;
            break;
        }
    }
    free(*bh);
    *bh = NULL;
}

struct loop_timer *loop_timer_create(struct loop *loop, void (*cb)(void *), void *opaque)
{
    struct loop_timer *t = calloc(1, sizeof(*t));
    t->cb = cb;
    t->opaque = opaque;
    t->deadline = UINT64_MAX;
    t->next = timers;
    timers = t;
    return t;
}

void loop_timer_arm(struct loop_timer *t, uint64_t deadline_ns)
{
    t->deadline = deadline_ns;
}

void loop_timer_cancel(struct loop_timer *t)
{
    t->deadline = UINT64_MAX;
}

void loop_timer_destroy(struct loop_timer **t)
{
    for (struct loop_timer **p = &timers; *p; p = &(*p)->next) {
        if (*p == *t) {
            *p = (*t)->next;
            break;
        }
    }
    free(*t);
    *t = NULL;
}

uint64_t loop_now_ns(void)
{
    return fake.now_ns;
}

void chardev_set_frontend(struct chardev *c, const struct chardev_frontend *fe, void *opaque)
{
    fake.fe = fe;
    fake.fe_opaque = opaque;
}

void chardev_write(struct chardev *c, const uint8_t *buf, unsigned len)
{
    unsigned room = sizeof(fake.out) - 1 - fake.out_len;
    len = len < room ? len : room;
    memcpy(fake.out + fake.out_len, buf, len);
    fake.out_len += len;
}

unsigned chardev_write_room(const struct chardev *c)
{
    return fake.stuck ? 0 : sizeof(fake.out);
}

void chardev_accept_input(struct chardev *c)
{
    fake.accepts++;
}

unsigned fake_input(const char *text, unsigned len)
{
    unsigned n = fake.fe->can_receive(fake.fe_opaque);
    n = n < len ? n : len;
    if (n) {
        fake.fe->receive(fake.fe_opaque, (const uint8_t *)text, n);
    }
    return n;
}

void cpu_irq_set(struct cpu *cpu, uint64_t mask, bool level)
{
    if (level) {
        atomic_fetch_or(&cpu->mip, mask);
    } else {
        atomic_fetch_and(&cpu->mip, ~mask);
    }
}

void cpu_kick(struct cpu *cpu)
{
    fake.kicks++;
}

uint64_t guest_ticks(struct machine *m)
{
    return fake.ticks;
}

void machine_request_shutdown(struct machine *m, int exit_status)
{
    fake.shutdowns++;
    fake.last_status = exit_status;
}

void machine_request_reset(struct machine *m)
{
    fake.resets++;
}

void code_page_written(struct ram *ram, gpa_t page)
{
    fake.code_writes++;
}

static void line_set(void *opaque, unsigned n, bool level)
{
    fake.edges += level != fake.level;
    fake.level = level;
}

struct irq_line fake_line(void)
{
    return (struct irq_line){.set = line_set};
}
