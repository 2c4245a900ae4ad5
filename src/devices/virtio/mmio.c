/* Virtio over MMIO, register layout version 2 (virtio 1.2, 4.2.2). */
#include "virtio.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "weft/page_user.h"

enum {
    MAGIC_VALUE = 0x000,
    VERSION = 0x004,
    DEVICE_ID = 0x008,
    VENDOR_ID = 0x00c,
    DEVICE_FEATURES = 0x010,
    DEVICE_FEATURES_SEL = 0x014,
    DRIVER_FEATURES = 0x020,
    DRIVER_FEATURES_SEL = 0x024,
    QUEUE_SEL = 0x030,
    QUEUE_NUM_MAX = 0x034,
    QUEUE_NUM = 0x038,
    QUEUE_READY = 0x044,
    QUEUE_NOTIFY = 0x050,
    INTERRUPT_STATUS = 0x060,
    INTERRUPT_ACK = 0x064,
    STATUS = 0x070,
    QUEUE_DESC_LOW = 0x080,
    QUEUE_DESC_HIGH = 0x084,
    QUEUE_DRIVER_LOW = 0x090,
    QUEUE_DRIVER_HIGH = 0x094,
    QUEUE_DEVICE_LOW = 0x0a0,
    QUEUE_DEVICE_HIGH = 0x0a4,
    SHM_LEN_LOW = 0x0b0,
    SHM_BASE_HIGH = 0x0bc,
    CONFIG_GENERATION = 0x0fc,
    CONFIG = 0x100,
};
enum { MAGIC = 0x74726976, VENDOR = 0x54464557 };
enum { STATUS_FEATURES_OK = 8, STATUS_DRIVER_OK = 4, STATUS_NEEDS_RESET = 64 };
enum { INT_QUEUE = 1, INT_CONFIG = 2 };

struct virtio_mmio {
    /* Under the BQL. */
    uint32_t features_sel, driver_features_sel, queue_sel, status, interrupt;
    uint64_t driver_features;
    struct virtqueue queue[VIRTIO_MAX_QUEUES];
    uint32_t notified; /* bit per queue the bottom half is to look at */
    struct queue_pages {
        struct virtio_mmio *v;
        unsigned q;
    } pages[VIRTIO_MAX_QUEUES]; /* (c) */
    _Atomic uint32_t arrived;   /* [a] over ranks: queues whose pages have come */

    struct virtio_device *dev; /* (c) */
    struct loop_bh *bh;
    struct irq_line irq;
};

static uint64_t offered(const struct virtio_mmio *v)
{
    return v->dev ? v->dev->ops->features | VIRTIO_F_VERSION_1 : 0;
}

static void update_irq(struct virtio_mmio *v)
{
    irq_line_set(&v->irq, v->interrupt != 0);
}

static struct virtqueue *selected(struct virtio_mmio *v)
{
    return v->dev && v->queue_sel < v->dev->ops->num_queues ? &v->queue[v->queue_sel] : NULL;
}

static void serve_queues(void *opaque)
{
    struct virtio_mmio *v = opaque;
    v->notified |= atomic_exchange(&v->arrived, 0);
    while (v->notified) {
        unsigned q = (unsigned)__builtin_ctz(v->notified);
        bool ready = v->status & STATUS_DRIVER_OK; /* when it becomes so, all queues are looked at */
        v->notified &= ~(1u << q);
        if (ready) {
            v->dev->ops->queue_ready(v->dev, q);
        }
        struct page_dma *dma = v->queue[q].dma;
        if (dma && (!ready || (!page_dma_waiting(dma) && !(atomic_load(&v->arrived) >> q & 1)))) {
            page_dma_release(dma); /* its turn may have come when it had nothing to do any more */
        }
    }
}

/* Any thread. */
static void pages_ready(void *opaque)
{
    struct queue_pages *p = opaque;
    atomic_fetch_or(&p->v->arrived, 1u << p->q);
    loop_bh_schedule(p->v->bh);
}

/* As it is at a reset; what it waits for does not concern it any more. */
static void queue_reset(struct virtqueue *vq)
{
    if (vq->dma) {
        page_dma_release(vq->dma);
    }
    *vq = (struct virtqueue){.ram = vq->ram, .dma = vq->dma, .reach = vq->reach};
}

struct virtqueue *virtio_queue(struct virtio_device *d, unsigned q)
{
    struct virtio_mmio *v = d->transport;
    bool live = (v->status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET)) == STATUS_DRIVER_OK;
    return live && v->queue[q].ready ? &v->queue[q] : NULL;
}

void virtio_complete(struct virtio_device *d, unsigned q, const struct vq_element *e, uint32_t written)
{
    struct virtio_mmio *v = d->transport;
    if (vq_push(&v->queue[q], e, written)) {
        v->interrupt |= INT_QUEUE;
        update_irq(v);
    }
    if (v->queue[q].broken) {
        virtio_fail(d);
    }
}

void virtio_fail(struct virtio_device *d)
{
    struct virtio_mmio *v = d->transport;
    v->status |= STATUS_NEEDS_RESET;
    if (v->status & STATUS_DRIVER_OK) {
        v->interrupt |= INT_CONFIG;
        update_irq(v);
    }
}

static uint64_t config_read(struct virtio_mmio *v, uint64_t offset, unsigned size)
{
    uint8_t config[64] = {0};
    uint64_t value = 0;
    if (v->dev->ops->config_read) {
        assert(v->dev->ops->config_size <= sizeof(config));
        v->dev->ops->config_read(v->dev, config);
    }
    if (offset < sizeof(config) && size <= sizeof(config) - offset) {
        memcpy(&value, config + offset, size);
    }
    return value;
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct virtio_mmio *v = opaque;
    struct virtqueue *vq = selected(v);
    if (offset >= CONFIG) {
        return v->dev ? config_read(v, offset - CONFIG, size) : 0;
    }
    if (size != 4) {
        return 0;
    }
    switch (offset) {
    case MAGIC_VALUE:
        return MAGIC;
    case VERSION:
        return 2;
    case DEVICE_ID:
        return v->dev ? v->dev->ops->device_id : 0;
    case VENDOR_ID:
        return VENDOR;
    case DEVICE_FEATURES:
        return v->features_sel < 2 ? (uint32_t)(offered(v) >> (32 * v->features_sel)) : 0;
    case QUEUE_NUM_MAX:
        return vq ? VIRTIO_QUEUE_MAX : 0;
    case QUEUE_READY:
        return vq ? vq->ready : 0;
    case INTERRUPT_STATUS:
        return v->interrupt;
    case STATUS:
        return v->status;
    }
    /* No shared memory regions: their length and base read as all ones (4.2.2.1). */
    return offset >= SHM_LEN_LOW && offset <= SHM_BASE_HIGH ? 0xffffffff : 0;
}

static void set_half(gpa_t *field, uint64_t offset, uint32_t value)
{
    *field = offset & 4 ? (*field & 0xffffffff) | (uint64_t)value << 32 : (*field & ~0xffffffffull) | value;
}

/* A queue becomes ready only where its three parts lie in RAM and are aligned (2.7). */
static bool queue_is_sound(const struct virtqueue *vq)
{
    bool power = vq->num && !(vq->num & (vq->num - 1)) && vq->num <= VIRTIO_QUEUE_MAX;
    return power && !(vq->desc & 15) && !(vq->driver & 1) && !(vq->device & 3) &&
           ram_contains(vq->ram, vq->desc, 16ull * vq->num) && ram_contains(vq->ram, vq->driver, 6 + 2ull * vq->num) &&
           ram_contains(vq->ram, vq->device, 6 + 8ull * vq->num);
}

static void queue_write(struct virtio_mmio *v, struct virtqueue *vq, uint64_t offset, uint32_t value)
{
    if (offset == QUEUE_READY) {
        if (!(value & 1)) {
            queue_reset(vq);
        } else if (queue_is_sound(vq)) {
            vq->ready = true;
        } else {
            virtio_fail(v->dev);
        }
        return;
    }
    if (vq->ready) {
        return; /* not to be changed now (4.2.2.2) */
    }
    switch (offset) {
    case QUEUE_NUM:
        vq->num = value <= VIRTIO_QUEUE_MAX ? value : 0;
        break;
    case QUEUE_DESC_LOW:
    case QUEUE_DESC_HIGH:
        set_half(&vq->desc, offset, value);
        break;
    case QUEUE_DRIVER_LOW:
    case QUEUE_DRIVER_HIGH:
        set_half(&vq->driver, offset, value);
        break;
    case QUEUE_DEVICE_LOW:
    case QUEUE_DEVICE_HIGH:
        set_half(&vq->device, offset, value);
        break;
    }
}

static void notify(struct virtio_mmio *v, uint32_t queues)
{
    v->notified |= queues;
    loop_bh_schedule(v->bh);
}

static void status_write(struct virtio_mmio *v, uint32_t value)
{
    uint32_t set = value & ~v->status;
    if (value == 0) {
        virtio_mmio_reset(v);
        return;
    }
    if ((set & STATUS_FEATURES_OK) &&
        ((v->driver_features & ~offered(v)) || !(v->driver_features & VIRTIO_F_VERSION_1))) {
        value &= ~(uint32_t)STATUS_FEATURES_OK; /* the driver reads it back (3.1.1) */
    }
    v->status = (value & 0xff) | (v->status & STATUS_NEEDS_RESET);
    if (set & STATUS_DRIVER_OK) {
        notify(v, (1u << v->dev->ops->num_queues) - 1);
    }
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value64, unsigned size)
{
    struct virtio_mmio *v = opaque;
    struct virtqueue *vq = selected(v);
    uint32_t value = (uint32_t)value64;
    if (!v->dev || size != 4) {
        return;
    }
    switch (offset) {
    case DEVICE_FEATURES_SEL:
        v->features_sel = value;
        break;
    case DRIVER_FEATURES_SEL:
        v->driver_features_sel = value;
        break;
    case DRIVER_FEATURES:
        if (!(v->status & STATUS_FEATURES_OK) && v->driver_features_sel < 2) {
            set_half(&v->driver_features, v->driver_features_sel ? 4 : 0, value);
        }
        break;
    case QUEUE_SEL:
        v->queue_sel = value;
        break;
    case QUEUE_NOTIFY:
        if (value < v->dev->ops->num_queues) {
            notify(v, 1u << value);
        }
        break;
    case INTERRUPT_ACK:
        v->interrupt &= ~value;
        update_irq(v);
        break;
    case STATUS:
        status_write(v, value);
        break;
    default:
        if (vq) {
            queue_write(v, vq, offset, value);
        }
    }
}

const struct mmio_ops virtio_mmio_ops = {.read = mmio_read, .write = mmio_write, .min_size = 1, .max_size = 8};

struct virtio_mmio *virtio_mmio_create(struct loop *loop, struct ram *ram, struct virtio_device *dev,
                                       struct irq_line irq)
{
    struct virtio_mmio *v = calloc(1, sizeof(*v));
    assert(v && (!dev || dev->ops->num_queues <= VIRTIO_MAX_QUEUES));
    v->dev = dev;
    v->irq = irq;
    v->bh = loop_bh_create(loop, serve_queues, v);
    for (unsigned q = 0; q < VIRTIO_MAX_QUEUES; q++) {
        v->queue[q].ram = ram;
    }
    for (unsigned q = 0; dev && ram->users && q < dev->ops->num_queues; q++) {
        v->pages[q] = (struct queue_pages){.v = v, .q = q};
        v->queue[q].dma = page_dma_create(ram->users, pages_ready, &v->pages[q]);
        v->queue[q].reach = dev->ops->reach;
    }
    if (dev) {
        dev->transport = v;
    }
    return v;
}

void virtio_mmio_reset(struct virtio_mmio *v)
{
    v->features_sel = v->driver_features_sel = v->queue_sel = v->status = v->interrupt = v->notified = 0;
    v->driver_features = 0;
    for (unsigned q = 0; q < VIRTIO_MAX_QUEUES; q++) {
        queue_reset(&v->queue[q]);
    }
    if (v->dev && v->dev->ops->reset) {
        v->dev->ops->reset(v->dev);
    }
    update_irq(v);
}

void virtio_mmio_destroy(struct virtio_mmio **pv)
{
    struct virtio_mmio *v = *pv;
    if (v) {
        for (unsigned q = 0; q < VIRTIO_MAX_QUEUES; q++) {
            page_dma_destroy(&v->queue[q].dma);
        }
        loop_bh_destroy(&v->bh);
        if (v->dev) {
            v->dev->ops->destroy(v->dev);
        }
        free(v);
        *pv = NULL;
    }
}
