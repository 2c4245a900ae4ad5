/*
 * Goldfish RTC: nanoseconds since the epoch, one alarm. Reading TIME_LOW latches TIME_HIGH. The alarm's timer is armed
 * by a bottom half, because registers are written by vCPU threads.
 */
#include "weft/devices.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

/* A clock that stands still just before an alarm, as in a machine that is paused, does not keep the main loop busy. */
enum { ALARM_MIN_NS = 1000000 };

enum {
    TIME_LOW = 0x00,
    TIME_HIGH = 0x04,
    ALARM_LOW = 0x08,
    ALARM_HIGH = 0x0c,
    IRQ_ENABLED = 0x10,
    CLEAR_ALARM = 0x14,
    ALARM_STATUS = 0x18,
    CLEAR_INTERRUPT = 0x1c,
};

struct rtc {
    /* Under the BQL. */
    int64_t offset_ns; /* guest time minus host time */
    uint64_t alarm_ns;
    bool alarm_set, irq_pending, irq_enabled;
    uint32_t time_high, set_high;

    struct irq_line irq;               /* (c) */
    uint64_t (*wall_ns)(void *opaque); /* (c) */
    void *opaque;                      /* (c) */
    unsigned dilation;                 /* (c) */
    struct loop_timer *timer;
    struct loop_bh *bh;
};

static uint64_t host_ns(void *opaque)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t guest_ns(const struct rtc *r)
{
    return r->wall_ns(r->opaque) + (uint64_t)r->offset_ns;
}

static void update_irq(struct rtc *r)
{
    irq_line_set(&r->irq, r->irq_pending && r->irq_enabled);
}

/* When the host's clock has gone on by `ns` of the guest's; for ever where that is too far to count. */
static uint64_t host_deadline(const struct rtc *r, uint64_t ns)
{
    uint64_t now = loop_now_ns(), wait, when;
    if (__builtin_mul_overflow(ns, (uint64_t)r->dilation, &wait)) {
        return UINT64_MAX;
    }
    wait = wait < ALARM_MIN_NS ? ALARM_MIN_NS : wait;
    return __builtin_add_overflow(now, wait, &when) ? UINT64_MAX : when;
}

/* Brings the timer in line with the alarm; fires what is due. Loop thread. */
static void service(void *opaque)
{
    struct rtc *r = opaque;
    if (!r->alarm_set) {
        loop_timer_cancel(r->timer);
        return;
    }
    uint64_t now = guest_ns(r);
    if (now >= r->alarm_ns) {
        r->alarm_set = false;
        r->irq_pending = true;
        update_irq(r);
    } else {
        loop_timer_arm(r->timer, host_deadline(r, r->alarm_ns - now));
    }
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
    struct rtc *r = opaque;
    uint64_t now;
    switch (offset) {
    case TIME_LOW:
        now = guest_ns(r);
        r->time_high = (uint32_t)(now >> 32);
        return (uint32_t)now;
    case TIME_HIGH:
        return r->time_high;
    case ALARM_LOW:
        return (uint32_t)r->alarm_ns;
    case ALARM_HIGH:
        return r->alarm_ns >> 32;
    case IRQ_ENABLED:
        return r->irq_enabled;
    case ALARM_STATUS:
        return r->alarm_set;
    }
    return 0;
}

static void rtc_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct rtc *r = opaque;
    switch (offset) {
    case TIME_LOW:
        r->offset_ns = (int64_t)(((uint64_t)r->set_high << 32 | (uint32_t)value) - r->wall_ns(r->opaque));
        break;
    case TIME_HIGH:
        r->set_high = (uint32_t)value;
        return;
    case ALARM_LOW:
        r->alarm_ns = (r->alarm_ns & ~0xffffffffull) | (uint32_t)value;
        r->alarm_set = true;
        break;
    case ALARM_HIGH:
        r->alarm_ns = (r->alarm_ns & 0xffffffffull) | value << 32;
        return;
    case IRQ_ENABLED:
        r->irq_enabled = value & 1;
        update_irq(r);
        return;
    case CLEAR_ALARM:
        r->alarm_set = false;
        break;
    case CLEAR_INTERRUPT:
        r->irq_pending = false;
        update_irq(r);
        return;
    default:
        return;
    }
    loop_bh_schedule(r->bh);
}

const struct mmio_ops rtc_ops = {.read = rtc_read, .write = rtc_write, .min_size = 4, .max_size = 4};

struct rtc *rtc_create(struct loop *loop, struct irq_line irq, uint64_t (*wall_ns)(void *opaque), void *opaque,
                       unsigned dilation)
{
    struct rtc *r = calloc(1, sizeof(*r));
    assert(r);
    r->irq = irq;
    r->wall_ns = wall_ns ? wall_ns : host_ns;
    r->opaque = opaque;
    r->dilation = dilation;
    r->timer = loop_timer_create(loop, service, r);
    r->bh = loop_bh_create(loop, service, r);
    return r;
}

void rtc_reset(struct rtc *r)
{
    /* The clock itself runs on through a reset. */
    r->alarm_set = r->irq_pending = r->irq_enabled = false;
    r->alarm_ns = 0;
    r->time_high = r->set_high = 0;
    update_irq(r);
}

void rtc_destroy(struct rtc **pr)
{
    struct rtc *r = *pr;
    if (r) {
        loop_timer_destroy(&r->timer);
        loop_bh_destroy(&r->bh);
        free(r);
        *pr = NULL;
    }
}
