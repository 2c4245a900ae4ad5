/* The bus: look-up, widths, the big lock, and devices behind the TLB. */
#include "fixture.h"

static unsigned narrow_sizes[4], narrow_calls;

static uint64_t narrow_read(void *opaque, uint64_t offset, unsigned size)
{
    ck_assert(!bql_held()); /* lockless */
    narrow_sizes[narrow_calls++ & 3] = size;
    return 0xffffffff00000000ull | (offset << 8) | 0x5a;
}

static const struct mmio_ops narrow = {.read = narrow_read, .min_size = 4, .max_size = 4, .lockless = true};
static const struct mmio_ops wide = {.read = narrow_read, .min_size = 8, .max_size = 8, .lockless = true};

START_TEST(find)
{
    bus_map(&fx.bus, 0x2000, 0x10, &narrow, NULL, "b");
    bus_map(&fx.bus, 0x1000, 0x1000, &narrow, NULL, "a");
    bus_map(&fx.bus, 0x20000000, 0x100, &narrow, NULL, "c");
    ck_assert_ptr_null(bus_find(&fx.bus, 0xfff));
    ck_assert_str_eq(bus_find(&fx.bus, 0x1000)->name, "a");
    ck_assert_str_eq(bus_find(&fx.bus, 0x1fff)->name, "a");
    ck_assert_str_eq(bus_find(&fx.bus, 0x200f)->name, "b");
    ck_assert_ptr_null(bus_find(&fx.bus, 0x2010));
    ck_assert_str_eq(bus_find(&fx.bus, DEV_BASE + 0xfff)->name, "dev");
    ck_assert_str_eq(bus_find(&fx.bus, 0x200000ff)->name, "c");
    ck_assert_ptr_null(bus_find(&fx.bus, 0x20000100));
    ck_assert_ptr_null(bus_find(&fx.bus, ~0ull));
}
END_TEST

START_TEST(widths)
{
    uint64_t v;
    bus_map(&fx.bus, 0x1000, 0x14, &narrow, NULL, "narrow");
    bus_map(&fx.bus, 0x3000, 0x10, &wide, NULL, "wide");
    ck_assert(bus_read(&fx.bus, 0x1004, 4, &v));
    ck_assert_uint_eq(v, 0x45a);
    ck_assert(!bus_read(&fx.bus, 0x1004, 2, &v));
    ck_assert(!bus_read(&fx.bus, 0x1004, 1, &v));
    ck_assert(!bus_read(&fx.bus, 0x1002, 4, &v));
    narrow_calls = 0;
    ck_assert(bus_read(&fx.bus, 0x1008, 8, &v));
    ck_assert_uint_eq(narrow_calls, 2);
    ck_assert_uint_eq(narrow_sizes[0], 4);
    ck_assert_uint_eq(v, 0x0000085aull | 0x00000c5aull << 32);
    ck_assert(!bus_read(&fx.bus, 0x1010, 8, &v)); /* leaves the region */
    ck_assert(!bus_write(&fx.bus, 0x1004, 4, 0)); /* cannot be written */
    ck_assert(bus_read(&fx.bus, 0x3008, 8, &v));
    ck_assert(!bus_read(&fx.bus, 0x3008, 4, &v));
    ck_assert(!bus_read(&fx.bus, 0x5000, 4, &v));
    ck_assert(bus_write(&fx.bus, DEV_BASE + 8, 2, 0x12345678));
    ck_assert_uint_eq(fx.dev_value, 0x5678);
    ck_assert(bus_write(&fx.bus, DEV_BASE + 8, 8, 0x1122334455667788));
    ck_assert_uint_eq(fx.dev_value, 0x11223344);
    ck_assert_uint_eq(fx.dev_offset, 12);
    ck_assert(!bql_held());
}
END_TEST

START_TEST(through_the_tlb)
{
    uint64_t v;
    fx.dev_value = 0x1234;
    ck_assert(tlb_load(fx.cpu, DEV_BASE + 4, 4, &v));
    ck_assert_uint_eq(v, 0x1238);
    ck_assert(tlb_store(fx.cpu, DEV_BASE + 4, 1, 0x77));
    ck_assert(tlb_store(fx.cpu, DEV_BASE + 4, 1, 0x78));
    ck_assert_uint_eq(fx.dev_writes, 2);
    ck_assert_uint_eq(fx.cpu->stats.miss[MISS_MMIO], 3);
    ck_assert(!tlb_load(fx.cpu, DEV_BASE + 2, 4, &v)); /* misaligned */
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_LOAD_ACCESS);
    ck_assert(!tlb_load(fx.cpu, DEV_BASE + 0xffe, 4, &v)); /* over the end */
    ck_assert(!tlb_store(fx.cpu, DEV_BASE + 0x1000, 4, 0));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_STORE_ACCESS);
    ck_assert_uint_eq(fx.cpu->exc_tval, DEV_BASE + 0x1000);
    ck_assert_ptr_null(tlb_atomic_ptr(fx.cpu, DEV_BASE, 4, true));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_STORE_ACCESS);
    ck_assert_ptr_null(tlb_atomic_ptr(fx.cpu, DEV_BASE, 4, false));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_LOAD_ACCESS);
    uint32_t raw;
    fx.dev_value = 0x13;
    ck_assert(tlb_fetch(fx.cpu, DEV_BASE, &raw));
    ck_assert_uint_eq(raw, 0x13 | 0x15 << 16);
    ck_assert(!tlb_fetch(fx.cpu, 0x666000, &raw));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_FETCH_ACCESS);
    ck_assert(!tlb_refill_read(fx.cpu, DEV_BASE));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("memory-bus");
    TCase *t = tcase_create("bus");
    tcase_add_checked_fixture(t, fixture_setup, fixture_teardown);
    tcase_add_test(t, find);
    tcase_add_test(t, widths);
    tcase_add_test(t, through_the_tlb);
    suite_add_tcase(s, t);
    return run_suite(s);
}
