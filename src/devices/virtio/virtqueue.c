/* Split virtqueues (virtio 1.2, 2.7), with indirect descriptors. */
#include "virtio.h"

#include <string.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, AVAIL_NO_INTERRUPT = 1 };

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

static int broken(struct virtqueue *vq)
{
    vq->broken = true;
    return -1;
}

static bool add_segment(struct virtqueue *vq, struct vq_element *e, const struct desc *d)
{
    unsigned n = e->num_out + e->num_in;
    if (n == VIRTIO_QUEUE_MAX || !ram_contains(vq->ram, d->addr, d->len)) {
        return false;
    }
    if (d->flags & DESC_WRITE) {
        e->num_in++;
        e->in_len += d->len;
    } else {
        if (e->num_in) {
            return false; /* device-readable ones come first (2.7.4.2) */
        }
        e->num_out++;
        e->out_len += d->len;
    }
    e->seg[n] = (struct vq_segment){.gpa = d->addr, .len = d->len};
    return true;
}

/* Walks a chain in a table of `size` descriptors. `steps` bounds the walk, so a chain that bites its tail ends. */
static bool walk(struct virtqueue *vq, struct vq_element *e, gpa_t table, unsigned size, unsigned index, bool indirect)
{
    struct desc d;
    for (unsigned steps = 0; steps < size; steps++) {
        if (index >= size || !ram_dma_read(vq->ram, table + index * sizeof(d), &d, sizeof(d))) {
            return false;
        }
        if (d.flags & DESC_INDIRECT) {
            unsigned count = d.len / sizeof(d);
            /* No tables within tables, none with a successor (2.7.5.3.1); at most a queue's worth of entries. */
            if (indirect || (d.flags & DESC_NEXT) || d.len % sizeof(d) || count == 0 || count > VIRTIO_QUEUE_MAX) {
                return false;
            }
            return walk(vq, e, d.addr, count, 0, true);
        }
        if (!add_segment(vq, e, &d)) {
            return false;
        }
        if (!(d.flags & DESC_NEXT)) {
            return true;
        }
        index = d.next;
    }
    return false;
}

int vq_pop(struct virtqueue *vq, struct vq_element *e)
{
    uint16_t idx, head;
    if (!vq->ready || vq->broken) {
        return 0;
    }
    if (!ram_dma_read(vq->ram, vq->driver + 2, &idx, sizeof(idx))) {
        return broken(vq);
    }
    uint16_t waiting = (uint16_t)(idx - vq->last_avail);
    if (waiting == 0) {
        return 0;
    }
    atomic_thread_fence(memory_order_acquire); /* the entries were written before the index */
    gpa_t slot = vq->driver + 4 + 2ull * (vq->last_avail & (vq->num - 1));
    if (waiting > vq->num || !ram_dma_read(vq->ram, slot, &head, sizeof(head)) || head >= vq->num) {
        return broken(vq);
    }
    *e = (struct vq_element){.head = head};
    if (!walk(vq, e, vq->desc, vq->num, head, false)) {
        return broken(vq);
    }
    vq->last_avail++;
    return 1;
}

void vq_unpop(struct virtqueue *vq)
{
    vq->last_avail--;
}

bool vq_push(struct virtqueue *vq, const struct vq_element *e, uint32_t written)
{
    uint32_t entry[2] = {e->head, written};
    uint16_t flags = 0;
    if (!ram_dma_write(vq->ram, vq->device + 4 + 8ull * (vq->used_idx & (vq->num - 1)), entry, sizeof(entry))) {
        broken(vq);
        return false;
    }
    vq->used_idx++;
    atomic_thread_fence(memory_order_release); /* the driver sees the entry before the index */
    if (!ram_dma_write(vq->ram, vq->device + 2, &vq->used_idx, sizeof(vq->used_idx))) {
        broken(vq);
        return false;
    }
    atomic_thread_fence(memory_order_seq_cst); /* index before flags: the driver does it the other way round */
    ram_dma_read(vq->ram, vq->driver, &flags, sizeof(flags));
    return !(flags & AVAIL_NO_INTERRUPT);
}

/* Copies between buf and the segments [first, first + count), from `offset` of them on. */
static uint64_t copy(const struct virtqueue *vq, const struct vq_element *e, unsigned first, unsigned count,
                     uint64_t offset, uint8_t *buf, uint64_t len, bool to_guest)
{
    uint64_t done = 0;
    for (unsigned i = first; i < first + count && done < len; i++) {
        const struct vq_segment *s = &e->seg[i];
        if (offset >= s->len) {
            offset -= s->len;
            continue;
        }
        uint64_t n = s->len - offset < len - done ? s->len - offset : len - done;
        bool ok = to_guest ? ram_dma_write(vq->ram, s->gpa + offset, buf + done, n)
                           : ram_dma_read(vq->ram, s->gpa + offset, buf + done, n);
        if (!ok) {
            break;
        }
        done += n;
        offset = 0;
    }
    return done;
}

uint64_t vq_copy_out(const struct virtqueue *vq, const struct vq_element *e, uint64_t offset, void *buf, uint64_t len)
{
    return copy(vq, e, 0, e->num_out, offset, buf, len, false);
}

uint64_t vq_copy_in(const struct virtqueue *vq, const struct vq_element *e, uint64_t offset, const void *buf,
                    uint64_t len)
{
    return copy(vq, e, e->num_out, e->num_in, offset, (uint8_t *)(uintptr_t)buf, len, true);
}
