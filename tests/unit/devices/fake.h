/* What surrounds a device in its tests: harts, a loop that runs when told, a chardev that remembers, a clock. */
#ifndef TESTS_UNIT_DEVICES_FAKE_H
#define TESTS_UNIT_DEVICES_FAKE_H

#include "weft/devices.h"
#include "weft/machine.h"

enum { FAKE_HARTS = 4 };

struct fake {
    struct cpu cpu[FAKE_HARTS];
    struct cpu *cpus[FAKE_HARTS];
    unsigned kicks;
    uint64_t ticks, now_ns;
    /* chardev */
    char out[65536];
    unsigned out_len, accepts;
    bool stuck; /* the reader takes nothing */
    const struct chardev_frontend *fe;
    void *fe_opaque;
    /* machine requests */
    int shutdowns, resets, last_status;
    /* an interrupt line */
    bool level;
    unsigned edges;
    unsigned code_writes; /* code_page_written calls */
};
extern struct fake fake;

void fake_reset(void);
/* Runs scheduled bottom halves and due timers until nothing is left. */
void fake_loop_turn(void);
/* A line that ends in fake.level. */
struct irq_line fake_line(void);
/* Feeds bytes as a chardev would: as many as the device takes; returns how many. */
unsigned fake_input(const char *text, unsigned len);

static inline uint64_t dev_read(const struct mmio_ops *ops, void *dev, uint64_t offset, unsigned size)
{
    return ops->read(dev, offset, size);
}

static inline void dev_write(const struct mmio_ops *ops, void *dev, uint64_t offset, uint64_t value, unsigned size)
{
    ops->write(dev, offset, value, size);
}

#endif
