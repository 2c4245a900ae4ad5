/*
 * What virtio devices and their transport share (virtio 1.2). Everything runs under the BQL; a device's queue handlers
 * run on its loop. Nothing the driver puts into a ring is believed: addresses, lengths, indexes and chains are checked,
 * and a queue that breaks the rules stops with DEVICE_NEEDS_RESET.
 */
#ifndef WEFT_DEVICES_VIRTIO_H
#define WEFT_DEVICES_VIRTIO_H

#include "weft/devices.h"

enum { VIRTIO_QUEUE_MAX = 256, VIRTIO_MAX_QUEUES = 8 };

/* A buffer of the driver: segments the device reads come first, then those it writes. */
struct vq_segment {
    gpa_t gpa;
    uint32_t len;
};

struct vq_element {
    uint16_t head;
    unsigned num_out, num_in;
    uint64_t out_len, in_len; /* bytes */
    struct vq_segment seg[VIRTIO_QUEUE_MAX];
};

/* A split virtqueue (virtio 1.2, 2.7). */
struct virtqueue {
    struct ram *ram; /* (c) */
    unsigned num;    /* entries; a power of two up to VIRTIO_QUEUE_MAX */
    bool ready, broken;
    gpa_t desc, driver, device; /* descriptor table, available ring, used ring */
    uint16_t last_avail, used_idx;
    struct page_dma *dma; /* (c) over ranks: what it holds of guest memory; else NULL */
    bool missing;         /* over ranks: this attempt to take a buffer found pages that are not here */
    uint32_t reach; /* (c) over ranks: how much of a buffer's readable, and of its writable part the device uses */
};

/* Takes the next buffer. Returns 1, 0 when there is none, or -1 when the ring is not sound (vq->broken is set). Over
 * ranks a buffer is there when all pages are that it takes to be served: until then it is 0 as well, and queue_ready is
 * called again when they have come. They are let go by vq_push and vq_unpop. */
int vq_pop(struct virtqueue *vq, struct vq_element *e);
/* Puts the last taken buffer back. */
void vq_unpop(struct virtqueue *vq);
/* Gives the buffer back, `written` bytes of it filled. Returns true when the driver wants an interrupt. */
bool vq_push(struct virtqueue *vq, const struct vq_element *e, uint32_t written);
/* Copy from the readable, or to the writable segments, from `offset` on; return how many bytes. */
uint64_t vq_copy_out(const struct virtqueue *vq, const struct vq_element *e, uint64_t offset, void *buf, uint64_t len);
uint64_t vq_copy_in(const struct virtqueue *vq, const struct vq_element *e, uint64_t offset, const void *buf,
                    uint64_t len);

#define VIRTIO_F_VERSION_1 (1ull << 32)

struct virtio_device_ops {
    uint32_t device_id; /* virtio 1.2, chapter 5 */
    unsigned num_queues;
    uint64_t features; /* besides VIRTIO_F_VERSION_1 */
    uint32_t reach;    /* bytes of a buffer that the device reads or writes at most, at least a page */
    unsigned config_size;
    void (*config_read)(struct virtio_device *d, uint8_t *config); /* fills config_size bytes */
    /* The driver added buffers to queue q, or (at DRIVER_OK) may have. Loop thread. */
    void (*queue_ready)(struct virtio_device *d, unsigned q);
    void (*reset)(struct virtio_device *d);
    void (*destroy)(struct virtio_device *d);
};

struct virtio_device {
    const struct virtio_device_ops *ops;
    struct virtio_mmio *transport; /* set by virtio_mmio_create */
};

/* For devices. The queue is NULL while the driver is not ready for it. */
struct virtqueue *virtio_queue(struct virtio_device *d, unsigned q);
/* Gives a buffer back and interrupts the driver if it wants that. */
void virtio_complete(struct virtio_device *d, unsigned q, const struct vq_element *e, uint32_t written);
/* A ring was not sound: DEVICE_NEEDS_RESET. */
void virtio_fail(struct virtio_device *d);

#endif
