/* The rules of -smp and -numa as functions, and the readers of key=value lists. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cli/kv.h"
#include "weft/shape.h"

static struct machine_config cfg;
static struct shape_numa numa;
static struct error err;
static unsigned warned;

__attribute__((format(printf, 1, 2))) static void count_warning(const char *fmt, ...)
{
    warned++;
}

static void setup(void)
{
    memset(&cfg, 0, sizeof(cfg));
    memset(&err, 0, sizeof(err));
    warned = 0;
    shape_numa_init(&numa);
    cfg.smp = (struct smp_config){8, 8, 1, 1, 2, 1, 1, 1, 2, 2};
    cfg.mem_size = 2ull << 30;
}

static struct numa_node_request node_of(const char *cpus, uint64_t mem)
{
    struct numa_node_request n = {.nodeid = -1, .initiator = -1, .has_mem = true, .mem = mem};
    ck_assert(*cpus == '\0' || bitmap_parse(&n.cpus, cpus, BITMAP_BITS));
    return n;
}

/* Over every small request: what is accepted is consistent, and what is refused has a sentence. */
START_TEST(smp_exhaustive)
{
    unsigned accepted = 0;
    for (unsigned bits = 0; bits < 4 * 4 * 4 * 4 * 4 * 2; bits++) {
        struct smp_request rq = {.cpus = bits % 4 * 2, .maxcpus = bits / 4 % 4 * 4};
        rq.level[LEVEL_SOCKET] = bits / 16 % 4;
        rq.level[LEVEL_CORE] = bits / 64 % 4;
        rq.level[LEVEL_THREAD] = bits / 256 % 4;
        rq.level[LEVEL_CLUSTER] = bits / 1024 % 2 * 2;
        struct smp_config s;
        struct error e = {0};
        if (!shape_smp_complete(&rq, &s, &e)) {
            ck_assert(e.set);
            continue;
        }
        accepted++;
        ck_assert_uint_eq(s.drawers * s.books * s.sockets * s.dies * s.clusters * s.modules * s.cores * s.threads,
                          s.maxcpus);
        ck_assert(s.cpus >= 1 && s.cpus <= s.maxcpus && s.maxcpus <= WEFT_MAX_HARTS);
        ck_assert(!rq.cpus || rq.cpus == s.cpus);
        ck_assert(!rq.maxcpus || rq.maxcpus == s.maxcpus);
        ck_assert(!rq.level[LEVEL_SOCKET] || rq.level[LEVEL_SOCKET] == s.sockets);
        ck_assert(!rq.level[LEVEL_CORE] || rq.level[LEVEL_CORE] == s.cores);
        ck_assert(!rq.level[LEVEL_THREAD] || rq.level[LEVEL_THREAD] == s.threads);
    }
    ck_assert_uint_gt(accepted, 100);
}
END_TEST

START_TEST(hart_ids_round_trip)
{
    cfg.smp = (struct smp_config){96, 96, 2, 1, 2, 1, 3, 1, 4, 2};
    for (unsigned hart = 0; hart < 96; hart++) {
        struct hart_ids i;
        shape_hart_ids(&cfg, hart, &i);
        ck_assert(i.thread < 2 && i.core < 4 && i.module == 0 && i.cluster < 3 && i.die == 0 && i.socket < 2 &&
                  i.book == 0 && i.drawer < 2);
        ck_assert_uint_eq((((i.drawer * 2 + i.socket) * 3 + i.cluster) * 4 + i.core) * 2 + i.thread, hart);
    }
}
END_TEST

START_TEST(nodes_by_topology)
{
    struct numa_node_request a = node_of("", 1ull << 30), b = a;
    ck_assert(shape_numa_node(&numa, &cfg, &a, &err) && shape_numa_node(&numa, &cfg, &b, &err));
    int ids[LEVEL_COUNT] = {-1, -1, 1, -1, -1, -1, 0, -1};
    ck_assert(shape_numa_cpu(&numa, &cfg, 0, ids, &err)); /* socket 1, core 0: harts 4 and 5 */
    ck_assert(shape_numa_finish(&numa, &cfg, count_warning, &err));
    ck_assert_uint_eq(warned, 1);
    ck_assert_uint_eq(shape_hart_node(&cfg, 4), 0);
    ck_assert_uint_eq(shape_hart_node(&cfg, 5), 0);
    ck_assert_uint_eq(shape_hart_node(&cfg, 0), 0);
    ck_assert_uint_eq(shape_hart_node(&cfg, 6), 1);
    ck_assert_uint_eq(bitmap_count(&cfg.node[0].cpus) + bitmap_count(&cfg.node[1].cpus), 8);
}
END_TEST

START_TEST(core_alone_counts_over_the_machine)
{
    struct numa_node_request a = node_of("", 1ull << 30), b = a;
    ck_assert(shape_numa_node(&numa, &cfg, &a, &err) && shape_numa_node(&numa, &cfg, &b, &err));
    int ids[LEVEL_COUNT] = {-1, -1, -1, -1, -1, -1, 3, -1};
    ck_assert(shape_numa_cpu(&numa, &cfg, 0, ids, &err)); /* the machine's core 3: harts 6 and 7 */
    ck_assert_int_eq(numa.cpu_node[6], 0);
    ck_assert_int_eq(numa.cpu_node[7], 0);
    ck_assert_int_eq(numa.cpu_node[5], -1);
    ids[LEVEL_CORE] = 4;
    ck_assert(!shape_numa_cpu(&numa, &cfg, 0, ids, &err));
}
END_TEST

START_TEST(harts_that_do_not_start_are_in_no_node)
{
    cfg.smp.cpus = 3;
    struct numa_node_request a = node_of("0-7", 2ull << 30);
    ck_assert(shape_numa_node(&numa, &cfg, &a, &err));
    ck_assert(shape_numa_finish(&numa, &cfg, count_warning, &err));
    ck_assert_uint_eq(bitmap_count(&cfg.node[0].cpus), 3);
    ck_assert_uint_eq(warned, 0);
}
END_TEST

START_TEST(sixty_four_nodes)
{
    cfg.smp = (struct smp_config){128, 128, 1, 1, 1, 1, 1, 1, 128, 1};
    cfg.mem_size = 64ull << 20;
    for (unsigned i = 0; i < 64; i++) {
        struct numa_node_request n = node_of("", 1ull << 20);
        ck_assert(shape_numa_node(&numa, &cfg, &n, &err));
    }
    for (unsigned a = 0; a < 64; a++) {
        for (unsigned b = a + 1; b < 64; b++) {
            ck_assert(shape_numa_dist(&numa, a, b, 11 + (a + b) % 100, &err));
        }
    }
    ck_assert(shape_numa_finish(&numa, &cfg, count_warning, &err));
    ck_assert_uint_eq(cfg.num_nodes, 64);
    for (unsigned a = 0; a < 64; a++) {
        ck_assert_uint_eq(bitmap_count(&cfg.node[a].cpus), 2);
        for (unsigned b = 0; b < 64; b++) {
            ck_assert_uint_eq(cfg.distance[a][b], a == b ? 10 : 11 + (a + b) % 100);
        }
    }
    struct numa_node_request more = node_of("", 0);
    ck_assert(!shape_numa_node(&numa, &cfg, &more, &err));
}
END_TEST

START_TEST(sizes)
{
    static const struct {
        const char *text;
        uint64_t unit, value;
    } right[] = {{"1", 1, 1},
                 {"1", 1 << 20, 1 << 20},
                 {"3k", 1, 3072},
                 {"3K", 1 << 20, 3072},
                 {"0.5G", 1, 1 << 29},
                 {"1.25M", 1, 1310720},
                 {"0x10", 1 << 20, 16 << 20},
                 {"7b", 1 << 20, 7},
                 {"15E", 1, 15ull << 60},
                 {"2T", 1, 2ull << 40}};
    static const char *const wrong[] = {
        "", "G", "1x", "1KK", "1 G", "-1", "+1", "0x", "0x1G", "1.5.5G", "16E", "99999999999999999999", "1e3"};
    uint64_t v;
    for (unsigned i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        ck_assert_msg(kv_parse_size(right[i].text, right[i].unit, &v) == NULL, "%s", right[i].text);
        ck_assert_uint_eq(v, right[i].value);
    }
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ck_assert_msg(kv_parse_size(wrong[i], 1, &v) != NULL, "%s", wrong[i]);
    }
}
END_TEST

START_TEST(lists)
{
    static const char *const keys[] = {"type", "path", "server", "wait", NULL};
    static const struct kv_rules rules = {.implied = "type", .keys = keys, .short_bool = true};
    static struct kv kv;
    ck_assert(kv_parse(&kv, "-x", "a,,b,path=1,,2,path=/t=,,x,server,nowait", &rules, &err));
    ck_assert_str_eq(kv_get(&kv, "type"), "a,b");
    ck_assert_str_eq(kv_get(&kv, "path"), "/t=,x");
    ck_assert_str_eq(kv_get(&kv, "server"), "on");
    ck_assert_str_eq(kv_get(&kv, "wait"), "off");
    char *huge = malloc(KV_MAX_TEXT * 2);
    memset(huge, ',', KV_MAX_TEXT * 2);
    huge[KV_MAX_TEXT * 2 - 1] = '\0';
    ck_assert(!kv_parse(&kv, "-x", huge, &rules, &err));
    err.set = false;
    memset(huge, 'a', KV_MAX_TEXT * 2 - 1);
    ck_assert(!kv_parse(&kv, "-x", huge, &rules, &err));
    free(huge);
}
END_TEST

START_TEST(nearest)
{
    static const char *const words[] = {"kernel", "initrd", "smp", "m", "dry-run", NULL};
    ck_assert_str_eq(kv_nearest("kernle", words), "kernel");
    ck_assert_str_eq(kv_nearest("dryrun", words), "dry-run");
    ck_assert_str_eq(kv_nearest("SMP", words), "smp");
    ck_assert_ptr_null(kv_nearest("x", words));
    ck_assert_ptr_null(kv_nearest("wholly-different", words));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("shape");
    TCase *tc = tcase_create("rules");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, smp_exhaustive);
    tcase_add_test(tc, hart_ids_round_trip);
    tcase_add_test(tc, nodes_by_topology);
    tcase_add_test(tc, core_alone_counts_over_the_machine);
    tcase_add_test(tc, harts_that_do_not_start_are_in_no_node);
    tcase_add_test(tc, sixty_four_nodes);
    tcase_add_test(tc, sizes);
    tcase_add_test(tc, lists);
    tcase_add_test(tc, nearest);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
