/* Unit tests of what the windows on a guest over ranks are made of: symbols, distances, percentiles, figures. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../../src/cluster/cluster_state.h"
#include "../../../src/machine/distances.h"
#include "weft/cluster_report.h"
#include "weft/symbols.h"
#include "weft/text.h"

static const char system_map[] = "ffffffff80000000 T _start\n"
                                 "ffffffff80000000 t efi_head\n"
                                 "ffffffff80002000 T _stext\n"
                                 "ffffffff80a01010 D init_task\n"
                                 "ffffffff80a01040 d .Lignored\n"
                                 "ffffffff80a01800 D init_mm\n"
                                 "ffffffff80a01900 d $x\n"
                                 "ffffffff80a04000 B jiffies\n"
                                 "ffffffff80b00000 B _end\n"
                                 "0000000000001000 A PECOFF_FILE_ALIGNMENT\n"
                                 "ffffffff02001000 t helper\t[virtio_net]\n"
                                 "no symbol here\n";

/* A kernel's link addresses become guest-physical by where its first byte lies. */
START_TEST(test_symbols_kernel)
{
    struct error err = {0};
    struct symbols *s = symbols_parse(system_map, "System.map", &err);
    char name[64];
    ck_assert_msg(s != NULL, "%s", err.text);
    ck_assert_uint_eq(symbols_count(s), 7);
    ck_assert(symbols_describe(s, 0x80200000, 0x80c01000, 4096, name, sizeof(name)));
    ck_assert_str_eq(name, "init_task, init_mm");
    ck_assert(symbols_describe(s, 0x80200000, 0x80c02000, 4096, name, sizeof(name)));
    ck_assert_str_eq(name, "init_mm+0x800");
    ck_assert(symbols_describe(s, 0x90000000, 0x90a04000, 4096, name, sizeof(name)));
    ck_assert_str_eq(name, "jiffies");
    ck_assert(symbols_describe(s, 0x80200000, 0x80200000, 4096, name, sizeof(name)));
    ck_assert_str_eq(name, "_start, efi_head");
    /* Below and above the kernel, and where a module's address would have been taken for one. */
    ck_assert(!symbols_describe(s, 0x80200000, 0x801ff000, 4096, name, sizeof(name)));
    ck_assert_str_eq(name, "");
    ck_assert(!symbols_describe(s, 0x80200000, 0x80d01000, 4096, name, sizeof(name)));
    symbols_destroy(&s);
    ck_assert_ptr_null(s);
}
END_TEST

/* What does not fit is counted; a long name is cut, never overrun. */
START_TEST(test_symbols_many)
{
    struct error err = {0};
    struct symbols *s = symbols_parse("ffffffff80000000 T _start\nffffffff80001000 d alpha\nffffffff80001008 d beta\n"
                                      "ffffffff80001010 d gamma\nffffffff80001018 d delta\nffffffff80002000 d "
                                      "a_name_that_is_longer_than_any_column_of_a_table_would_ever_be\n"
                                      "ffffffff80009000 B _end\n",
                                      "map", &err);
    char name[24];
    ck_assert(symbols_describe(s, 0, 0x1000, 4096, name, sizeof(name)));
    ck_assert_str_eq(name, "alpha, beta, gamma +1");
    ck_assert(symbols_describe(s, 0, 0x2000, 4096, name, sizeof(name)));
    ck_assert_uint_lt(strlen(name), sizeof(name));
    ck_assert(symbols_describe(s, 0, 0x3000, 4096, name, sizeof(name)));
    ck_assert_uint_lt(strlen(name), sizeof(name));
    symbols_destroy(&s);
}
END_TEST

/* Without _start the kernel begins at the 2 MiB below its _text. */
START_TEST(test_symbols_text)
{
    struct error err = {0};
    struct symbols *s = symbols_parse("ffffffff80002000 T _text\nffffffff80a01010 D init_task\r\n", "map", &err);
    char name[64];
    ck_assert(symbols_describe(s, 0x80200000, 0x80c01000, 4096, name, sizeof(name)));
    ck_assert_str_eq(name, "init_task");
    symbols_destroy(&s);
}
END_TEST

/* A program that was linked to where it lies, as nm prints it. */
START_TEST(test_symbols_physical)
{
    struct error err = {0};
    struct symbols *s = symbols_parse("0000000080200000 T _start\n0000000080203008 b counter\n", "nm", &err);
    char name[64];
    ck_assert(symbols_describe(s, 0x80200000, 0x80203000, 4096, name, sizeof(name)));
    ck_assert_str_eq(name, "counter");
    symbols_destroy(&s);
}
END_TEST

START_TEST(test_symbols_mistakes)
{
    static const struct {
        const char *text, *sentence;
    } row[] = {{"", "no line of address, type and name"},
               {"hello world\n\n0x12\n", "no line of address, type and name"},
               {"0000000000000000 T _start\n0000000000000000 D init_task\n", "addresses are hidden"},
               {"ffffffff80a01010 D init_task\n", "neither _start nor _text"}};
    for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct error err = {0};
        ck_assert_ptr_null(symbols_parse(row[i].text, "map", &err));
        ck_assert_msg(strstr(err.text, row[i].sentence) != NULL, "%s", err.text);
    }
    struct error err = {0};
    ck_assert_ptr_null(symbols_load("/nowhere/System.map", &err));
    ck_assert_msg(strstr(err.text, "--system-map /nowhere/System.map") != NULL, "%s", err.text);
}
END_TEST

/* Steps are wide: a measurement that is half or twice as long gives the same distance. */
START_TEST(test_distances)
{
    enum { US = 1000 };
    static const struct {
        uint64_t rtt_us, nearest_us;
        unsigned distance;
    } row[] = {
        {20, 20, 40},       {90, 90, 40},       {249, 249, 40},   /* one host, or a fast link */
        {300, 300, 60},     {1999, 1999, 60},   {2000, 2000, 80}, /* all ranks far from one another */
        {30, 20, 40},       {39, 20, 40},       {40, 20, 60},     /* farther than the nearest pair */
        {159, 20, 60},      {160, 20, 80},      {2100, 60, 100},  /* 35 times: 32 and more is the third step */
        {3000000, 20, 220}, {60000000, 1, 254}, {20000000, 20000000, 160},
    };
    for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        unsigned d = distance_between_ranks(row[i].rtt_us * US, row[i].nearest_us * US);
        ck_assert_msg(d == row[i].distance, "%lu us, nearest %lu us: %u, not %u", row[i].rtt_us, row[i].nearest_us, d,
                      row[i].distance);
    }
    /* Never nearer for a longer way, always what a SLIT allows. */
    unsigned last = 0;
    for (uint64_t ns = 1; ns < 1ull << 60; ns *= 2) {
        unsigned d = distance_between_ranks(ns, 50000);
        ck_assert_uint_ge(d, last);
        ck_assert_uint_ge(d, DISTANCE_NEAREST);
        ck_assert_uint_le(d, DISTANCE_FARTHEST);
        last = d;
    }
    ck_assert_uint_eq(distance_between_ranks(0, 0), DISTANCE_RANKS);
    ck_assert_uint_eq(distance_inside_rank(10, 10), 11); /* two guest nodes on one host node */
    ck_assert_uint_eq(distance_inside_rank(21, 21), 21);
    ck_assert_uint_eq(distance_inside_rank(16, 17), 17);
    ck_assert_uint_eq(distance_inside_rank(-1, 10), 20);
    ck_assert_uint_eq(distance_inside_rank(1e9, 1e9), 254);
}
END_TEST

/* Percentiles of two ranks together are those of all their durations, not some mean. */
START_TEST(test_percentiles)
{
    static struct cluster_histogram fast, slow;
    for (unsigned i = 0; i < 900; i++) {
        cluster_histogram_add(&fast, 1000);
    }
    for (unsigned i = 0; i < 100; i++) {
        cluster_histogram_add(&slow, 1000000);
    }
    ck_assert_uint_eq(cluster_percentile_ns(&fast, 99), cluster_percentile_ns(&fast, 1));
    cluster_histogram_merge(&fast, &slow);
    ck_assert_uint_eq(fast.count, 1000);
    uint64_t p50 = cluster_percentile_ns(&fast, 50), p90 = cluster_percentile_ns(&fast, 90),
             p99 = cluster_percentile_ns(&fast, 99);
    ck_assert(p50 >= 800 && p50 <= 1200);
    ck_assert_uint_eq(p90, p50);
    ck_assert(p99 >= 800000 && p99 <= 1200000);
}
END_TEST

/* What the ranks told travels as text and is added up: counts, and percentiles of all. */
START_TEST(test_totals)
{
    static const char *const told[] = {
        "{\"rank\":0,\"invalidations\":5,\"faults\":{\"read\":{\"count\":3,\"sum_ns\":30,\"buckets\":[[12,3]]}},"
        "\"peers\":[{\"rank\":1,\"pages_sent\":7,\"bytes_sent\":100}]}",
        "{\"rank\":1,\"invalidations\":6,\"faults\":{\"read\":{\"count\":1,\"sum_ns\":900,\"buckets\":[[40,1],[900,4]]}"
        "},"
        "\"peers\":[{\"rank\":0,\"pages_sent\":1,\"bytes_sent\":11}]}",
    };
    json_t *ranks = json_array();
    for (unsigned i = 0; i < 2; i++) {
        json_array_append_new(ranks, json_loads(told[i], 0, NULL));
    }
    json_t *total = cluster_report_total(ranks), *read = json_object_get(json_object_get(total, "faults"), "read");
    ck_assert_int_eq(json_integer_value(json_object_get(total, "invalidations")), 11);
    ck_assert_int_eq(json_integer_value(json_object_get(total, "pages_sent")), 8);
    ck_assert_int_eq(json_integer_value(json_object_get(total, "bytes_sent")), 111);
    ck_assert_int_eq(json_integer_value(json_object_get(read, "count")), 4);
    ck_assert_int_eq(json_integer_value(json_object_get(read, "sum_ns")), 930);
    ck_assert_int_lt(json_integer_value(json_object_get(read, "p50_ns")), 100);
    ck_assert_int_gt(json_integer_value(json_object_get(read, "p99_ns")), 1000);
    ck_assert_ptr_null(json_object_get(total, "rank"));
    ck_assert_ptr_null(
        json_object_get(json_object_get(json_object_get(json_array_get(ranks, 0), "faults"), "read"), "buckets"));
    json_decref(total);
    json_decref(ranks);
}
END_TEST

START_TEST(test_figures_text)
{
    static const struct {
        uint64_t n;
        const char *count, *us;
    } row[] = {{0, "0", "0.0"},
               {99949, "99949", "99.9"},
               {99999, "99999", "100"},
               {100000, "100k", "100"},
               {999499, "999k", "999"},
               {999500, "1.00M", "1000"},
               {9999499, "10.0M", "9999"},
               {12345678, "12.3M", "12.3ms"},
               {1234567890, "1.23G", "1.23s"},
               {UINT64_MAX, "18.4E", "99999s"}};
    for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        ck_assert_str_eq(text_count(row[i].n).s, row[i].count);
        ck_assert_str_eq(text_us(row[i].n).s, row[i].us);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("windows");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_symbols_kernel);
    tcase_add_test(t, test_symbols_many);
    tcase_add_test(t, test_symbols_text);
    tcase_add_test(t, test_symbols_physical);
    tcase_add_test(t, test_symbols_mistakes);
    tcase_add_test(t, test_distances);
    tcase_add_test(t, test_percentiles);
    tcase_add_test(t, test_totals);
    tcase_add_test(t, test_figures_text);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
