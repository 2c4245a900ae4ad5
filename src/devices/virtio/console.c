/* Console device with one port (virtio 1.2, 5.3): queue 0 receives, queue 1 transmits. */
#include "virtio.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { RECEIVEQ = 0, TRANSMITQ = 1, INPUT_SIZE = 4096, OUTPUT_MAX = 1 << 20, RETRY_NS = 2000000 };

struct console {
    struct virtio_device dev;
    struct chardev *chardev;
    struct loop_timer *retry;
    uint8_t input[INPUT_SIZE]; /* from the chardev, not yet in a buffer of the driver; outlives a reset: a
                                * driver begins with one, and typing ahead is no mistake */
    unsigned input_len;
};

static void transmit(struct console *c)
{
    struct virtqueue *vq = virtio_queue(&c->dev, TRANSMITQ);
    struct vq_element e;
    uint8_t bytes[4096];
    for (unsigned budget = VIRTIO_QUEUE_MAX; vq && budget > 0; budget--) {
        if (c->chardev && chardev_write_room(c->chardev) == 0) {
            loop_timer_arm(c->retry, loop_now_ns() + RETRY_NS); /* a slow reader: the buffers wait in the ring */
            return;
        }
        int r = vq_pop(vq, &e);
        if (r < 0) {
            virtio_fail(&c->dev);
        }
        if (r <= 0) {
            return;
        }
        /* A chain may name the same megabytes again and again: only so much of one buffer is output. */
        for (uint64_t at = 0, n; at < e.out_len && at < OUTPUT_MAX; at += n) {
            n = vq_copy_out(vq, &e, at, bytes, sizeof(bytes));
            if (n == 0) {
                break;
            }
            if (c->chardev) {
                chardev_write(c->chardev, bytes, (unsigned)n);
            }
        }
        virtio_complete(&c->dev, TRANSMITQ, &e, 0);
        vq = virtio_queue(&c->dev, TRANSMITQ);
    }
}

static void transmit_again(void *opaque)
{
    transmit(opaque);
}

static void receive_into_guest(struct console *c)
{
    struct virtqueue *vq = virtio_queue(&c->dev, RECEIVEQ);
    struct vq_element e;
    bool was_full = c->input_len == INPUT_SIZE;
    while (vq && c->input_len > 0) {
        int r = vq_pop(vq, &e);
        if (r < 0) {
            virtio_fail(&c->dev);
        }
        if (r <= 0) {
            break;
        }
        unsigned n = (unsigned)vq_copy_in(vq, &e, 0, c->input, c->input_len);
        memmove(c->input, c->input + n, c->input_len - n);
        c->input_len -= n;
        virtio_complete(&c->dev, RECEIVEQ, &e, n);
        if (n == 0) {
            virtio_fail(&c->dev); /* an empty buffer for input: not a driver to go on with */
        }
        vq = virtio_queue(&c->dev, RECEIVEQ);
    }
    if (was_full && c->input_len < INPUT_SIZE && c->chardev) {
        chardev_accept_input(c->chardev);
    }
}

static void queue_ready(struct virtio_device *d, unsigned q)
{
    struct console *c = (struct console *)d;
    if (q == TRANSMITQ) {
        transmit(c);
    } else {
        receive_into_guest(c);
    }
}

static unsigned can_receive(void *opaque)
{
    struct console *c = opaque;
    return INPUT_SIZE - c->input_len;
}

static void receive(void *opaque, const uint8_t *buf, unsigned len)
{
    struct console *c = opaque;
    assert(len <= INPUT_SIZE - c->input_len);
    memcpy(c->input + c->input_len, buf, len);
    c->input_len += len;
    receive_into_guest(c);
}

static void destroy(struct virtio_device *d)
{
    struct console *c = (struct console *)d;
    if (c->chardev) {
        chardev_set_frontend(c->chardev, NULL, NULL);
    }
    loop_timer_destroy(&c->retry);
    free(c);
}

struct virtio_device *virtio_console_create(struct loop *loop, struct chardev *chardev)
{
    static const struct virtio_device_ops ops = {
        .device_id = 3,
        .num_queues = 2,
        .reach = OUTPUT_MAX,
        .config_size = 12, /* cols, rows, max_nr_ports, emerg_wr: none of them offered, all zero */
        .queue_ready = queue_ready,
        .destroy = destroy,
    };
    static const struct chardev_frontend fe = {.can_receive = can_receive, .receive = receive};
    struct console *c = calloc(1, sizeof(*c));
    assert(c);
    c->dev.ops = &ops;
    c->chardev = chardev;
    c->retry = loop_timer_create(loop, transmit_again, c);
    if (chardev) {
        chardev_set_frontend(chardev, &fe, c);
    }
    return &c->dev;
}
