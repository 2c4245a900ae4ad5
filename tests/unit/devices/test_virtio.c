/* The MMIO transport, rings that are sound and rings that are not, rng and console. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"

enum { RAM_SIZE = 1 << 20 };
#define BASE 0x80000000ull
#define DESC (BASE + 0x1000)
#define AVAIL (BASE + 0x2000)
#define USED (BASE + 0x3000)
#define DATA (BASE + 0x10000)

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };
enum { NEEDS_RESET = 64 };

static struct ram ram;
static uint8_t memory[RAM_SIZE];
static _Atomic uint8_t flags[RAM_SIZE >> 12];
static struct virtio_mmio *dev;

static uint32_t rd(uint64_t off)
{
    return (uint32_t)dev_read(&virtio_mmio_ops, dev, off, 4);
}

static void wr(uint64_t off, uint32_t v)
{
    dev_write(&virtio_mmio_ops, dev, off, v, 4);
}

static void put(gpa_t at, const void *data, uint64_t len)
{
    memcpy(memory + (at - BASE), data, len);
}

static uint16_t get16(gpa_t at)
{
    uint16_t v;
    memcpy(&v, memory + (at - BASE), 2);
    return v;
}

static uint32_t get32(gpa_t at)
{
    uint32_t v;
    memcpy(&v, memory + (at - BASE), 4);
    return v;
}

static void desc(unsigned i, uint64_t addr, uint32_t len, uint16_t fl, uint16_t next)
{
    gpa_t at = DESC + 16 * i;
    put(at, &addr, 8);
    put(at + 8, &len, 4);
    put(at + 12, &fl, 2);
    put(at + 14, &next, 2);
}

static void offer(unsigned slot, uint16_t head, uint16_t idx)
{
    put(AVAIL + 4 + 2 * slot, &head, 2);
    put(AVAIL + 2, &idx, 2);
}

static void queue_setup(unsigned q, unsigned num, gpa_t desc_at, gpa_t avail, gpa_t used)
{
    wr(0x30, q);
    wr(0x38, num);
    wr(0x80, (uint32_t)desc_at);
    wr(0x84, (uint32_t)(desc_at >> 32));
    wr(0x90, (uint32_t)avail);
    wr(0x94, (uint32_t)(avail >> 32));
    wr(0xa0, (uint32_t)used);
    wr(0xa4, (uint32_t)(used >> 32));
    wr(0x44, 1);
}

static void negotiate(void)
{
    wr(0x70, 0);
    wr(0x70, 1);
    wr(0x70, 3);
    wr(0x24, 1);
    wr(0x20, 1); /* VERSION_1 */
    wr(0x70, 11);
    ck_assert_uint_eq(rd(0x70), 11);
}

static void start(struct virtio_device *d)
{
    memset(memory, 0, sizeof(memory));
    ram = (struct ram){.host = memory, .base = BASE, .size = RAM_SIZE, .page_flags = flags};
    dev = virtio_mmio_create(NULL, &ram, d, fake_line());
}

static void rng_setup(void)
{
    fake_reset();
    start(virtio_rng_create());
    negotiate();
    queue_setup(0, 8, DESC, AVAIL, USED);
    wr(0x70, 15);
}

static void teardown(void)
{
    virtio_mmio_destroy(&dev);
}

static void kick(unsigned q)
{
    wr(0x50, q);
    fake_loop_turn();
}

START_TEST(identity)
{
    fake_reset();
    start(NULL);
    ck_assert_uint_eq(rd(0), 0x74726976);
    ck_assert_uint_eq(rd(4), 2);
    ck_assert_uint_eq(rd(8), 0); /* an empty slot */
    wr(0x70, 15);
    wr(0x44, 1);
    kick(0);
    virtio_mmio_destroy(&dev);
    start(virtio_rng_create());
    ck_assert_uint_eq(rd(8), 4);
    wr(0x14, 1);
    ck_assert_uint_eq(rd(0x10), 1);
    ck_assert_uint_eq(rd(0x34), 256);
    wr(0x30, 1);
    ck_assert_uint_eq(rd(0x34), 0);
    /* FEATURES_OK is refused without VERSION_1 and with features that were not offered. */
    wr(0x70, 3);
    wr(0x70, 11);
    ck_assert_uint_eq(rd(0x70), 3);
    wr(0x24, 0);
    wr(0x20, 1u << 5);
    wr(0x24, 1);
    wr(0x20, 1);
    wr(0x70, 11);
    ck_assert_uint_eq(rd(0x70), 3);
    virtio_mmio_destroy(&dev);
}
END_TEST

START_TEST(rng_fills_buffers)
{
    desc(0, DATA, 32, WRITE | NEXT, 1);
    desc(1, DATA + 0x100, 32, WRITE, 0);
    offer(0, 0, 1);
    kick(0);
    ck_assert_uint_eq(get16(USED + 2), 1);
    ck_assert_uint_eq(get32(USED + 4), 0);
    ck_assert_uint_eq(get32(USED + 8), 64);
    ck_assert(fake.level);
    ck_assert_uint_eq(rd(0x60), 1);
    wr(0x64, 1);
    ck_assert(!fake.level);
    unsigned zero = 0;
    for (unsigned i = 0; i < 32; i++) {
        zero += memory[DATA - BASE + i] == 0;
        zero += memory[DATA - BASE + 0x100 + i] == 0;
    }
    ck_assert_uint_lt(zero, 20);
    /* The driver may ask for silence. */
    uint16_t no_interrupt = 1;
    put(AVAIL, &no_interrupt, 2);
    offer(1, 0, 2);
    kick(0);
    ck_assert_uint_eq(get16(USED + 2), 2);
    ck_assert(!fake.level);
}
END_TEST

START_TEST(index_wraps)
{
    desc(3, DATA, 8, WRITE, 0);
    for (unsigned i = 0; i < 70000; i++) {
        offer(i % 8, 3, (uint16_t)(i + 1));
        kick(0);
        ck_assert_uint_eq(get16(USED + 2), (uint16_t)(i + 1));
    }
}
END_TEST

START_TEST(dma_tells_the_translator)
{
    atomic_store(&flags[(DATA - BASE) >> 12], PAGE_CODE);
    desc(0, DATA, 32, WRITE, 0);
    offer(0, 0, 1);
    kick(0);
    ck_assert_uint_ge(fake.code_writes, 1);
    atomic_store(&flags[(DATA - BASE) >> 12], 0);
}
END_TEST

/* Each breaks the rules in its own way; the device stops, and works again after a reset. */
static void check_refused(void)
{
    kick(0);
    ck_assert_msg(rd(0x70) & NEEDS_RESET, "a broken ring was accepted");
    ck_assert_uint_eq(get16(USED + 2), 0);
    kick(0);
    negotiate();
    queue_setup(0, 8, DESC, AVAIL, USED);
    wr(0x70, 15);
    memset(memory, 0, sizeof(memory));
    desc(0, DATA, 4, WRITE, 0);
    offer(0, 0, 1);
    kick(0);
    ck_assert_uint_eq(get16(USED + 2), 1);
}

START_TEST(hostile_chain)
{
    switch (_i) {
    case 0: /* bites its tail */
        desc(0, DATA, 4, WRITE | NEXT, 1);
        desc(1, DATA, 4, WRITE | NEXT, 0);
        break;
    case 1: /* next out of the table */
        desc(0, DATA, 4, WRITE | NEXT, 8);
        break;
    case 2: /* outside RAM */
        desc(0, 0x1000, 4, WRITE, 0);
        break;
    case 3: /* ends outside RAM */
        desc(0, BASE + RAM_SIZE - 4, 8, WRITE, 0);
        break;
    case 4: /* wraps around the address space */
        desc(0, ~0ull - 2, 16, WRITE, 0);
        break;
    case 5: /* readable after writable */
        desc(0, DATA, 4, WRITE | NEXT, 1);
        desc(1, DATA, 4, 0, 0);
        break;
    case 6: /* empty indirect table */
        desc(0, DATA, 0, INDIRECT, 0);
        break;
    case 7: /* odd length of an indirect table */
        desc(0, DATA, 24, INDIRECT, 0);
        break;
    case 8: /* indirect with a successor */
        desc(0, DATA, 16, INDIRECT | NEXT, 1);
        break;
    case 9: /* indirect table outside RAM */
        desc(0, 0x10, 16, INDIRECT, 0);
        break;
    case 10: /* a table in a table */
        desc(0, DESC + 16, 16, INDIRECT, 0);
        desc(1, DESC, 16, INDIRECT, 0);
        break;
    case 11: /* too large a table */
        desc(0, DATA, 16 * 257, INDIRECT, 0);
        break;
    }
    offer(0, 0, 1);
    check_refused();
}
END_TEST

START_TEST(hostile_ring)
{
    desc(0, DATA, 4, WRITE, 0);
    if (_i == 0) {
        offer(0, 8, 1); /* head out of the table */
    } else {
        offer(0, 0, 9); /* more buffers than the queue has entries */
    }
    check_refused();
}
END_TEST

START_TEST(hostile_queue)
{
    static const struct {
        unsigned num;
        gpa_t d, a, u;
    } bad[] = {{0, DESC, AVAIL, USED},      {7, DESC, AVAIL, USED},
               {512, DESC, AVAIL, USED},    {8, DESC + 8, AVAIL, USED},
               {8, DESC, AVAIL + 1, USED},  {8, DESC, AVAIL, USED + 2},
               {8, 0, AVAIL, USED},         {8, DESC, BASE + RAM_SIZE - 8, USED},
               {8, DESC, AVAIL, ~0ull << 2}};
    negotiate();
    queue_setup(0, bad[_i].num, bad[_i].d, bad[_i].a, bad[_i].u);
    ck_assert_uint_eq(rd(0x44), 0);
    ck_assert(rd(0x70) & NEEDS_RESET);
    wr(0x70, 15);
    kick(0);
}
END_TEST

START_TEST(console_both_ways)
{
    fake_reset();
    start(virtio_console_create(NULL, (struct chardev *)&fake));
    ck_assert_uint_eq(rd(8), 3);
    ck_assert_uint_eq(fake_input("early", 5), 5); /* before the driver is there */
    negotiate();
    queue_setup(1, 8, DESC, AVAIL, USED);
    wr(0x70, 15);
    put(DATA, "out", 3);
    put(DATA + 64, "put\n", 4);
    desc(0, DATA, 3, NEXT, 1);
    desc(1, DATA + 64, 4, 0, 0);
    offer(0, 0, 1);
    kick(1);
    ck_assert_str_eq(fake.out, "output\n");
    ck_assert_uint_eq(get16(USED + 2), 1);
    wr(0x30, 1);
    wr(0x44, 0);
    memset(memory + (DESC - BASE), 0, 0x3000);
    queue_setup(0, 8, DESC, AVAIL, USED);
    desc(0, DATA, 3, WRITE, 0);
    desc(1, DATA + 64, 64, WRITE, 0);
    offer(0, 0, 1);
    kick(0);
    ck_assert_mem_eq(memory + (DATA - BASE), "ear", 3);
    offer(1, 1, 2);
    kick(0);
    ck_assert_mem_eq(memory + (DATA + 64 - BASE), "ly", 2);
    ck_assert_uint_eq(get32(USED + 4 + 12), 2);
    virtio_mmio_destroy(&dev);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("virtio");
    TCase *t = tcase_create("rng");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, rng_setup, teardown);
    tcase_add_test(t, rng_fills_buffers);
    tcase_add_test(t, index_wraps);
    tcase_add_test(t, dma_tells_the_translator);
    tcase_add_loop_test(t, hostile_chain, 0, 12);
    tcase_add_loop_test(t, hostile_ring, 0, 2);
    tcase_add_loop_test(t, hostile_queue, 0, 9);
    suite_add_tcase(s, t);
    t = tcase_create("others");
    tcase_add_test(t, identity);
    tcase_add_test(t, console_both_ways);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
