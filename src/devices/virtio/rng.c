/* Entropy device (virtio 1.2, 5.4): one queue of buffers to fill. */
#include "virtio.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

enum { MAX_BYTES = 4096 }; /* at a time, whatever the buffer holds */

static void queue_ready(struct virtio_device *d, unsigned q)
{
    struct virtqueue *vq = virtio_queue(d, q);
    struct vq_element e;
    uint8_t bytes[MAX_BYTES];
    /* At most one round of the ring: a driver that refills it for ever does not hold the loop. */
    for (unsigned budget = VIRTIO_QUEUE_MAX; vq && budget > 0; budget--) {
        int r = vq_pop(vq, &e);
        if (r < 0) {
            virtio_fail(d);
        }
        if (r <= 0) {
            return;
        }
        uint64_t want = e.in_len < MAX_BYTES ? e.in_len : MAX_BYTES;
        ssize_t got = want ? getrandom(bytes, want, GRND_NONBLOCK) : 0;
        uint64_t n = got > 0 ? vq_copy_in(vq, &e, 0, bytes, (uint64_t)got) : 0;
        virtio_complete(d, q, &e, (uint32_t)n);
        vq = virtio_queue(d, q);
    }
}

static void destroy(struct virtio_device *d)
{
    free(d);
}

struct virtio_device *virtio_rng_create(void)
{
    static const struct virtio_device_ops ops = {
        .device_id = 4, .num_queues = 1, .reach = MAX_BYTES, .queue_ready = queue_ready, .destroy = destroy};
    struct virtio_device *d = calloc(1, sizeof(*d));
    assert(d);
    d->ops = &ops;
    return d;
}
