/*
 * Fuzzes the virtio transport and rings: the input is a script of register accesses and of writes to guest memory, as
 * a hostile driver with several harts could make them. Without libFuzzer it takes arguments: seconds, seed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "unit/devices/fake.h"

enum { RAM_SIZE = 1 << 16 };
#define BASE 0x80000000ull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t memory[RAM_SIZE];
static _Atomic uint8_t flags[RAM_SIZE >> 12];

/* The way a sound driver sets a queue up, so that most inputs get as far as the rings. */
static void prepare(struct virtio_mmio *dev, unsigned queues)
{
    static const uint32_t init[][2] = {{0x70, 0}, {0x70, 3}, {0x24, 1}, {0x20, 1}, {0x70, 11}};
    for (unsigned i = 0; i < sizeof(init) / sizeof(init[0]); i++) {
        dev_write(&virtio_mmio_ops, dev, init[i][0], init[i][1], 4);
    }
    for (unsigned q = 0; q < queues; q++) {
        uint32_t at = (uint32_t)BASE + q * 0x1000;
        const uint32_t set[][2] = {{0x30, q}, {0x38, 8}, {0x80, at}, {0x90, at + 0x100}, {0xa0, at + 0x200}, {0x44, 1}};
        for (unsigned i = 0; i < sizeof(set) / sizeof(set[0]); i++) {
            dev_write(&virtio_mmio_ops, dev, set[i][0], set[i][1], 4);
        }
    }
    dev_write(&virtio_mmio_ops, dev, 0x70, 15, 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ram ram = {.host = memory, .base = BASE, .size = RAM_SIZE, .page_flags = flags};
    bool console = size && (data[0] & 1);
    fake_reset();
    memset(memory, 0, sizeof(memory));
    struct virtio_device *d = console ? virtio_console_create(NULL, (struct chardev *)&fake) : virtio_rng_create();
    struct virtio_mmio *dev = virtio_mmio_create(NULL, &ram, d, fake_line());
    prepare(dev, console ? 2 : 1);
    for (size_t i = 1; i + 8 <= size; i += 8) {
        const uint8_t *p = data + i;
        uint32_t value;
        memcpy(&value, p + 4, 4);
        unsigned at = p[1] | p[2] << 8;
        switch (p[0] & 7) {
        case 0:
            dev_write(&virtio_mmio_ops, dev, at & 0xffc, value, 4);
            break;
        case 1:
            dev_read(&virtio_mmio_ops, dev, at & 0xfff, 1u << (p[3] & 3));
            break;
        case 2:
            dev_write(&virtio_mmio_ops, dev, 0x50, p[3] & 3, 4);
            fake_loop_turn();
            break;
        case 3:
            if (console) {
                fake_input((const char *)p, p[3] & 7);
            }
            break;
        case 4: /* a descriptor field */
            memcpy(memory + (p[3] & 1) * 0x1000 + (at & 0x7c), &value, 4);
            break;
        case 5: /* the available ring */
            memcpy(memory + (p[3] & 1) * 0x1000 + 0x100 + (at & 0x1e), &value, 2);
            break;
        default:
            memcpy(memory + (at & (RAM_SIZE - 4)), &value, 4);
        }
    }
    fake_loop_turn();
    virtio_mmio_destroy(&dev);
    return 0;
}

#ifndef WEFT_LIBFUZZER
int main(int argc, char **argv)
{
    time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
    unsigned seed = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    unsigned long runs = 0;
    uint8_t data[1024];
    srand(seed);
    while (time(NULL) < end) {
        for (unsigned k = 0; k < 200; k++, runs++) {
            size_t n = 1 + (size_t)rand() % (sizeof(data) - 1);
            for (size_t i = 0; i < n; i++) {
                data[i] = (uint8_t)(rand() >> 7);
            }
            LLVMFuzzerTestOneInput(data, n);
        }
    }
    printf("%lu scripts, seed %u\n", runs, seed);
    return 0;
}
#endif
