/* Split virtqueues (virtio 1.2, 2.7), with indirect descriptors. */
#include "virtio.h"

#include <string.h>

#include "weft/page_user.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, AVAIL_NO_INTERRUPT = 1 };

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

/* ---- guest memory: on one rank it is all here, over ranks what vq->dma holds ---- */

/* False: it is to come, or has just come. */
static bool need(struct virtqueue *vq, gpa_t gpa, uint64_t len, bool write)
{
    if (!vq->dma || !ram_contains(vq->ram, gpa, len) ||
        page_dma_need(vq->dma, gpa, len, write ? PAGE_WRITE : PAGE_READ)) {
        return true;
    }
    vq->missing = true;
    return false;
}

static bool fetch(const struct virtqueue *vq, gpa_t gpa, void *buf, uint64_t len)
{
    return vq->dma ? page_dma_read(vq->dma, gpa, buf, len) : ram_dma_read(vq->ram, gpa, buf, len);
}

static bool store(const struct virtqueue *vq, gpa_t gpa, const void *buf, uint64_t len)
{
    return vq->dma ? page_dma_write(vq->dma, gpa, buf, len) : ram_dma_write(vq->ram, gpa, buf, len);
}

static void let_go(const struct virtqueue *vq)
{
    if (vq->dma) {
        page_dma_release(vq->dma);
    }
}

/* Why an attempt failed: what was not here, and has queue_ready called again, or what is not sound. */
static int failed(struct virtqueue *vq)
{
    if (vq->missing) {
        return 0;
    }
    let_go(vq);
    vq->broken = true;
    return -1;
}

/* The parts of a buffer that the device will use, and the used ring. */
static bool need_buffer(struct virtqueue *vq, const struct vq_element *e)
{
    uint64_t left[2] = {vq->reach, vq->reach};
    bool here = need(vq, vq->device, 4 + 8ull * vq->num, true);
    for (unsigned i = 0; vq->dma && i < e->num_out + e->num_in; i++) {
        bool in = i >= e->num_out;
        uint64_t n = e->seg[i].len < left[in] ? e->seg[i].len : left[in];
        here &= need(vq, e->seg[i].gpa, n, in);
        left[in] -= n;
    }
    return here;
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
        gpa_t at = table + index * sizeof(d);
        if (index >= size || !need(vq, at, sizeof(d), false) || !fetch(vq, at, &d, sizeof(d))) {
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
    vq->missing = false;
    if (!need(vq, vq->driver, 6 + 2ull * vq->num, false) || !fetch(vq, vq->driver + 2, &idx, sizeof(idx))) {
        return failed(vq);
    }
    uint16_t waiting = (uint16_t)(idx - vq->last_avail);
    if (waiting == 0) {
        let_go(vq);
        return 0;
    }
    atomic_thread_fence(memory_order_acquire); /* the entries were written before the index */
    gpa_t slot = vq->driver + 4 + 2ull * (vq->last_avail & (vq->num - 1));
    if (waiting > vq->num || !fetch(vq, slot, &head, sizeof(head)) || head >= vq->num) {
        return failed(vq);
    }
    *e = (struct vq_element){.head = head};
    if (!walk(vq, e, vq->desc, vq->num, head, false) || !need_buffer(vq, e)) {
        return failed(vq);
    }
    vq->last_avail++;
    return 1;
}

void vq_unpop(struct virtqueue *vq)
{
    vq->last_avail--;
    let_go(vq);
}

bool vq_push(struct virtqueue *vq, const struct vq_element *e, uint32_t written)
{
    uint32_t entry[2] = {e->head, written};
    uint16_t flags = 0;
    if (!store(vq, vq->device + 4 + 8ull * (vq->used_idx & (vq->num - 1)), entry, sizeof(entry))) {
        failed(vq);
        return false;
    }
    vq->used_idx++;
    atomic_thread_fence(memory_order_release); /* the driver sees the entry before the index */
    if (!store(vq, vq->device + 2, &vq->used_idx, sizeof(vq->used_idx))) {
        failed(vq);
        return false;
    }
    atomic_thread_fence(memory_order_seq_cst); /* index before flags: the driver does it the other way round */
    fetch(vq, vq->driver, &flags, sizeof(flags));
    let_go(vq);
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
        bool ok = to_guest ? store(vq, s->gpa + offset, buf + done, n) : fetch(vq, s->gpa + offset, buf + done, n);
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
