/* Places for threads and memory on synthetic hosts. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "placement/internal.h"

static struct error err;
static struct guest_shape guest;
static struct host_shape *host;
static struct plan *plan;

static void guest_make(unsigned nodes, unsigned vcpus_per_node, unsigned threads, uint64_t mib)
{
    static struct machine_config cfg;
    memset(&cfg, 0, sizeof(cfg));
    cfg.smp.cpus = cfg.smp.maxcpus = nodes * vcpus_per_node;
    cfg.smp.threads = threads;
    cfg.num_nodes = nodes;
    cfg.mem_size = nodes * mib << 20;
    for (unsigned i = 0; i < nodes; i++) {
        cfg.node[i].backend = -1;
        cfg.node[i].rank = -1;
        cfg.node[i].mem = mib << 20;
        for (unsigned v = 0; v < vcpus_per_node; v++) {
            bitmap_set(&cfg.node[i].cpus, i * vcpus_per_node + v);
        }
    }
    guest_shape_from_config(&guest, &cfg, -1);
}

static void teardown(void)
{
    plan_destroy(&plan);
    host_shape_destroy(&host);
}

static bool plan_make(const char *source, const char *place)
{
    struct place_options opt;
    memset(&err, 0, sizeof(err));
    teardown();
    host = host_shape_load(&source, 1, &err);
    if (host != NULL && place_options_parse(&opt, place, &err)) {
        plan = placement_plan(host, &guest, &opt, &err);
        place_options_fini(&opt);
    }
    return plan != NULL;
}

static const struct plan_thread *vcpu(unsigned v)
{
    const struct plan_thread *t = plan_thread_find(plan, PLACE_VCPU, v);
    ck_assert_ptr_nonnull(t);
    return t;
}

static const char *pus_of(unsigned v)
{
    static char text[8][64];
    static unsigned next;
    next = (next + 1) % 8;
    return bitmap_format(&vcpu(v)->pus, text[next], sizeof(text[next]));
}

#define PLAN(source, place) ck_assert_msg(plan_make(source, place), "%s", err.text)
#define REFUSED(source, place, part)                                                                                   \
    do {                                                                                                               \
        ck_assert(!plan_make(source, place));                                                                          \
        ck_assert_msg(strstr(err.text, part) != NULL, "\"%s\" lacks \"%s\"", err.text, part);                          \
    } while (0)

START_TEST(host_shape)
{
    const char *source = "numa:4(memory=8589934592) core:8 pu:2 dist=10,16,22,32/16,10,32,22/22,32,10,16/32,22,16,10";
    host = host_shape_load(&source, 1, &err);
    ck_assert_msg(host != NULL, "%s", err.text);
    ck_assert_uint_eq(host->num_nodes, 4);
    ck_assert_uint_eq(host->num_pus, 64);
    ck_assert_uint_eq(host->node[2].num_cores, 8);
    ck_assert_uint_eq(host->node[2].num_pus, 16);
    ck_assert(host->node[2].capacity == 8ull << 30);
    ck_assert(host->smt);
    ck_assert(!host->host[0].this_system);
    ck_assert_double_eq(host_cost(host, 0, 3), 32);
    ck_assert_double_eq(host_cost(host, 1, 0), 16);
    ck_assert_int_eq(host->pu[17].smt, 1);
    ck_assert_int_eq(host->pu[17].core, 8);
    char first[24];
    strcpy(first, host->host[0].hash);
    host_shape_destroy(&host);
    source = "numa:4(memory=8589934592) core:8 pu:2 dist=10,16,22,32/16,10,32,22/22,32,10,16/32,22,17,10";
    host = host_shape_load(&source, 1, &err);
    ck_assert_str_ne(first, host->host[0].hash); /* another distance is another topology */
    host_shape_destroy(&host);
    source = "numa:2 core:1 pu:1 dist=10,20/20";
    ck_assert_ptr_null(host_shape_load(&source, 1, &err));
    ck_assert(strstr(err.text, "2 x 2") != NULL);
}
END_TEST

START_TEST(core_before_pu)
{
    guest_make(2, 2, 1, 256);
    PLAN("numa:2 core:2 pu:2", "match,bind=pu");
    ck_assert_str_ne(pus_of(0), pus_of(1));
    for (unsigned v = 0; v < 4; v++) { /* one vCPU a core, on the core's first thread */
        int pu = bitmap_next(&vcpu(v)->pus, 0);
        ck_assert_int_eq(pu % 2, 0);
    }
    PLAN("numa:2 core:2 pu:2", "spread,bind=core");
    ck_assert_str_eq(pus_of(0), "0-1");
    ck_assert_str_eq(pus_of(1), "2-3");
    ck_assert_str_eq(pus_of(2), "4-5");
    PLAN("numa:2 core:2 pu:2", "spread,bind=node");
    ck_assert_str_eq(pus_of(0), "0-3");
    ck_assert_str_eq(pus_of(3), "4-7");
}
END_TEST

START_TEST(siblings_when_short)
{
    guest_make(2, 4, 1, 256);
    PLAN("numa:2 core:2 pu:2", "spread,bind=pu");
    ck_assert_str_eq(pus_of(0), "0"); /* all cores first, then their siblings */
    ck_assert_str_eq(pus_of(1), "2");
    ck_assert_str_eq(pus_of(2), "1");
    ck_assert_str_eq(pus_of(3), "3");
    ck_assert(strstr(plan->note[0], "siblings") != NULL);
    guest_make(2, 2, 1, 256);
    PLAN("numa:2 core:2 pu:2", "spread,bind=pu,smt=on");
    ck_assert_str_eq(pus_of(0), "0");
    ck_assert_str_eq(pus_of(1), "1");
}
END_TEST

START_TEST(guest_core_shares_host_core)
{
    guest_make(1, 4, 2, 256);
    PLAN("numa:1 core:2 pu:2", "match,bind=pu");
    ck_assert_str_eq(pus_of(0), "0");
    ck_assert_str_eq(pus_of(1), "1");
    ck_assert_str_eq(pus_of(2), "2");
    ck_assert_str_eq(pus_of(3), "3");
    PLAN("numa:1 core:2 pu:2", "match,bind=core");
    ck_assert_str_eq(pus_of(1), "0-1");
    ck_assert_str_eq(pus_of(2), "2-3");
}
END_TEST

START_TEST(overcommit_only_when_asked)
{
    guest_make(2, 4, 1, 256);
    REFUSED("numa:2 core:2 pu:1", "match", "8 vCPUs are more than the 4 PUs");
    REFUSED("numa:2 core:2 pu:1", "match", "overcommit=on");
    PLAN("numa:2 core:2 pu:1", "match,overcommit=on");
    ck_assert(vcpu(0)->overcommitted);
    ck_assert(strstr(plan->note[0], "overcommit") != NULL);
    unsigned load[4] = {0};
    for (unsigned v = 0; v < 8; v++) {
        load[bitmap_next(&vcpu(v)->pus, 0)]++;
    }
    for (unsigned p = 0; p < 4; p++) {
        ck_assert_uint_eq(load[p], 2); /* evenly */
    }
    PLAN("numa:2 core:2 pu:1", ""); /* what a machine gets when nothing was asked */
    ck_assert_int_eq(plan->policy, PLACE_SPREAD);
    guest_make(2, 1, 1, 2048);
    REFUSED("numa:2(memory=1073741824) core:2 pu:1", "match", "more than any host node can hold");
    PLAN("numa:2(memory=1073741824) core:2 pu:1", "match,overcommit=on");
    ck_assert(plan->node[0].overcommitted);
    guest_make(2, 3, 1, 256);
    REFUSED("numa:3 core:2 pu:1", "spread", "too few PUs for a whole guest node");
}
END_TEST

START_TEST(told_memory_is_obeyed)
{
    guest_make(2, 1, 1, 256);
    guest.node[0].told_memory = true;
    guest.node[0].told_policy = MEM_POLICY_BIND;
    bitmap_set(&guest.node[0].told_nodes, 3);
    guest.node[1].told_memory = true;
    guest.node[1].told_policy = MEM_POLICY_INTERLEAVE;
    bitmap_set(&guest.node[1].told_nodes, 0);
    bitmap_set(&guest.node[1].told_nodes, 1);
    const char *policies[] = {"match", "pack", "spread", "interleave", "none", ""};
    for (unsigned i = 0; i < 6; i++) {
        PLAN("numa:4 core:2 pu:1", policies[i]);
        char text[32];
        ck_assert_int_eq(plan->node[0].policy, PMEM_BIND);
        ck_assert_str_eq(bitmap_format(&plan->node[0].host_nodes, text, sizeof(text)), "3");
        ck_assert_int_eq(plan->node[1].policy, PMEM_INTERLEAVE);
        ck_assert_str_eq(bitmap_format(&plan->node[1].host_nodes, text, sizeof(text)), "0-1");
    }
    PLAN("numa:4 core:2 pu:1", "match");
    ck_assert_int_eq(plan->node[0].cpu_node, 3); /* the vCPUs follow */
    bitmap_set(&guest.node[1].told_nodes, 7);
    REFUSED("numa:4 core:2 pu:1", "match", "P#7, which this host does not have");
}
END_TEST

START_TEST(memoryless_host_node)
{
    /* Node 1 has CPUs and no memory: guest nodes whose vCPUs are there get memory from the nearest node that has. */
    const char *source = "numa:1(memory=2147483648) core:1 pu:1";
    guest_make(3, 1, 1, 512);
    host = host_shape_load(&source, 1, &err);
    host_shape_destroy(&host);
    source = "numa:3(memory=1073741824) core:1 pu:1 dist=10,20,30/20,10,15/30,15,10";
    host = host_shape_load(&source, 1, &err);
    ck_assert_ptr_nonnull(host);
    host->node[1].capacity = 0;
    struct place_options opt;
    const char *policies[] = {"match", "pack", "spread", "interleave"};
    for (unsigned i = 0; i < 4; i++) {
        ck_assert(place_options_parse(&opt, policies[i], &err));
        plan = placement_plan(host, &guest, &opt, &err);
        ck_assert_msg(plan != NULL, "%s: %s", policies[i], err.text);
        for (unsigned g = 0; g < 3; g++) {
            ck_assert(!bitmap_test(&plan->node[g].host_nodes, 1));
            ck_assert(plan->node[g].policy == PMEM_INTERLEAVE || plan->node[g].cpu_node != 1 ||
                      plan->node[g].mem_node == 2); /* 15 is nearer than 20 */
        }
        plan_destroy(&plan);
        place_options_fini(&opt);
    }
}
END_TEST

START_TEST(explicit_statements)
{
    guest_make(2, 2, 1, 256);
    guest.num_iothreads = 1;
    PLAN("numa:2 core:4 pu:1", "vcpu 0-1 0-3,^2; node 0 bind 1; node 1 interleave 0-1; emulator 7; iothread 0 6");
    ck_assert_str_eq(pus_of(0), "0-1,3");
    ck_assert_str_eq(pus_of(1), "0-1,3");
    ck_assert(vcpu(0)->bound && !vcpu(2)->bound);
    ck_assert_int_eq(plan->node[0].mem_node, 1);
    ck_assert_int_eq(plan->node[1].policy, PMEM_INTERLEAVE);
    ck_assert(bitmap_test(&plan_thread_find(plan, PLACE_MAIN, 0)->pus, 7));
    ck_assert(bitmap_test(&plan_thread_find(plan, PLACE_WORKER, 0)->pus, 7));
    ck_assert(bitmap_test(&plan_thread_find(plan, PLACE_IOTHREAD, 0)->pus, 6));
    PLAN("numa:2 core:4 pu:1", "vcpu 3 0; default pack,bind=pu");
    ck_assert(vcpu(0)->bound);
    ck_assert_str_eq(pus_of(3), "0");
    REFUSED("numa:2 core:4 pu:1", "vcpu 0 9", "CPU P#9");
    REFUSED("numa:2 core:4 pu:1", "vcpu 4 0", "vcpu 4 does not exist");
    REFUSED("numa:2 core:4 pu:1", "node 0 bind 2", "P#2, which this host does not have");
    REFUSED("numa:2 core:4 pu:1", "iothread 3 0", "iothread 3 does not exist");
}
END_TEST

/* A plan printed as JSON is an explicit placement that gives the same plan again. */
START_TEST(json_is_a_placement)
{
    char path[] = "/tmp/weft-plan-XXXXXX", a[2048], b[2048];
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    guest_make(4, 2, 1, 256);
    PLAN("numa:4 core:2 pu:2 dist=10,16,22,32/16,10,32,22/22,32,10,16/32,22,16,10", "match,bind=pu");
    ck_assert(plan_write(host, &guest, plan, PLACE_JSON, f, &err));
    fclose(f);
    a[0] = b[0] = 0;
    for (unsigned v = 0; v < 8; v++) {
        snprintf(a + strlen(a), sizeof(a) - strlen(a), "%s;%d ", pus_of(v), plan->node[v / 2].mem_node);
    }
    double cost = plan->cost;
    PLAN("numa:4 core:2 pu:2 dist=10,16,22,32/16,10,32,22/22,32,10,16/32,22,16,10", path);
    for (unsigned v = 0; v < 8; v++) {
        snprintf(b + strlen(b), sizeof(b) - strlen(b), "%s;%d ", pus_of(v), plan->node[v / 2].mem_node);
    }
    unlink(path);
    ck_assert_str_eq(a, b);
    ck_assert_double_eq_tol(plan->cost, cost, 1e-9);
}
END_TEST

START_TEST(several_hosts)
{
    const char *sources[2] = {"numa:2 core:2 pu:1", "numa:2 core:2 pu:1"};
    struct place_options opt;
    guest_make(4, 2, 1, 256);
    host = host_shape_load(sources, 2, &err);
    ck_assert_uint_eq(host->num_nodes, 4);
    ck_assert_double_gt(host_cost(host, 0, 2), 100);
    ck_assert(place_options_parse(&opt, "match", &err));
    plan = placement_plan(host, &guest, &opt, &err);
    ck_assert_msg(plan != NULL, "%s", err.text);
    ck_assert(!plan->applied_here);
    for (unsigned g = 0; g < 4; g++) {
        ck_assert_int_eq(plan->node[g].cpu_node, plan->node[g].mem_node);
    }
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    ck_assert(plan_write(host, &guest, plan, PLACE_RANKFILE, f, &err));
    fclose(f);
    ck_assert(strstr(text, "rank 0=host0 slot=") != NULL && strstr(text, "=host1 slot=") != NULL);
    free(text);
}
END_TEST

START_TEST(hugepages_are_counted)
{
    guest_make(2, 1, 1, 64);
    guest.node[0].page_size = guest.node[1].page_size = 2 << 20;
    REFUSED("numa:2 core:2 pu:1", "match", "needs 32 free hugepages of 2048 KiB");
    struct place_options opt;
    host_shape_destroy(&host);
    const char *one_each = "numa:2 core:1 pu:1";
    host = host_shape_load(&one_each, 1, &err);
    for (unsigned k = 0; k < 2; k++) {
        host->node[k].num_page_sizes = 1;
        host->node[k].page_size[0] = (struct host_page_size){2 << 20, 64, k == 0 ? 40 : 31};
    }
    memset(&err, 0, sizeof(err));
    ck_assert(place_options_parse(&opt, "match", &err));
    ck_assert_ptr_null(placement_plan(host, &guest, &opt, &err)); /* one fits, two do not */
    ck_assert_msg(strstr(err.text, "needs 64 hugepages of 2048 KiB") != NULL, "%s", err.text);
    ck_assert(strstr(err.text, "P#0 40, P#1 31") != NULL);
    for (unsigned x = 0; x < 2; x++) {
        host_shape_destroy(&host);
        const char *source = "numa:2 core:2 pu:1";
        host = host_shape_load(&source, 1, &err);
        for (unsigned k = 0; k < 2; k++) {
            host->node[k].num_page_sizes = 1;
            host->node[k].page_size[0] = (struct host_page_size){2 << 20, 64, k == x ? 64 : 31};
        }
        ck_assert(place_options_parse(&opt, "spread", &err));
        plan = placement_plan(host, &guest, &opt, &err);
        ck_assert_ptr_nonnull(plan);
        ck_assert_int_eq(plan->node[0].mem_node, (int)x);
        ck_assert_int_eq(plan->node[1].mem_node, (int)x);
        plan_destroy(&plan);
    }
}
END_TEST

START_TEST(single_thread_has_one_place)
{
    guest_make(4, 1, 1, 256);
    guest.single_thread = true;
    PLAN("numa:4 core:2 pu:1", "match");
    ck_assert_ptr_null(plan_thread_find(plan, PLACE_VCPU, 1));
    ck_assert_str_eq(vcpu(0)->name, "ALL CPUs/TCG");
    ck_assert_uint_eq(bitmap_count(&vcpu(0)->pus), 2);
}
END_TEST

/* What holds for every plan, over many shapes: capacity, every thread once, cost between bound and the simple plans. */
START_TEST(properties)
{
    static const char *const hosts[] = {"numa:1 core:2 pu:1",
                                        "numa:2 core:4 pu:2",
                                        "numa:4 core:2 pu:1 dist=10,16,22,32/16,10,32,22/22,32,10,16/32,22,16,10",
                                        "numa:3 core:3 pu:2 dist=10,12,40/12,10,40/40,40,10",
                                        "package:2 numa:2 l3:2 core:2 pu:2",
                                        "numa:16 core:2 pu:1"};
    static const char *const places[] = {
        "match", "pack", "spread", "interleave", "match,search=heuristic", "match,distinct=on"};
    unsigned made = 0;
    for (unsigned h = 0; h < 6; h++) {
        for (unsigned nodes = 1; nodes <= 8; nodes += h < 5 ? 1 : 3) {
            for (unsigned c = 1; c <= 3; c++) {
                guest_make(nodes, c, 1, c == 2 ? 500 : 200);
                for (unsigned k = 0; k < 6; k++) {
                    if (!plan_make(hosts[h], places[k])) {
                        ck_assert_uint_gt(strlen(err.text), 40); /* a sentence */
                        continue;
                    }
                    made++;
                    unsigned on[64] = {0}, users[BITMAP_BITS] = {0};
                    uint64_t bytes[64] = {0};
                    for (unsigned g = 0; g < nodes; g++) {
                        on[plan->node[g].cpu_node] += c;
                        bytes[plan->node[g].mem_node] += plan->node[g].policy == PMEM_BIND ? guest.node[g].mem : 0;
                    }
                    for (unsigned x = 0; x < host->num_nodes; x++) {
                        ck_assert_uint_le(on[x], host->node[x].num_pus);
                        ck_assert(bytes[x] <= host->node[x].capacity);
                    }
                    for (unsigned v = 0; v < nodes * c; v++) {
                        ck_assert(vcpu(v)->bound && !vcpu(v)->overcommitted);
                        ck_assert_int_eq(vcpu(v)->host_node, plan->node[vcpu(v)->guest_node].cpu_node);
                        users[bitmap_next(&vcpu(v)->pus, 0)]++;
                    }
                    for (unsigned p = 0; p < host->num_pus; p++) {
                        ck_assert_uint_le(users[host->pu[p].os_index], 2);
                    }
                    ck_assert_double_ge(plan->cost, plan->bound - 1e-9);
                    ck_assert_double_ge(plan->cost, 10 - 1e-9);
                    if (k == 0) {
                        ck_assert(plan->cost_pack < 0 || plan->cost <= plan->cost_pack + 1e-9);
                        ck_assert(plan->cost_spread < 0 || plan->cost <= plan->cost_spread + 1e-9);
                    }
                }
            }
        }
    }
    ck_assert_uint_gt(made, 150);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("plan");
    TCase *t = tcase_create("plan");
    tcase_set_timeout(t, 100);
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, host_shape);
    tcase_add_test(t, core_before_pu);
    tcase_add_test(t, siblings_when_short);
    tcase_add_test(t, guest_core_shares_host_core);
    tcase_add_test(t, overcommit_only_when_asked);
    tcase_add_test(t, told_memory_is_obeyed);
    tcase_add_test(t, memoryless_host_node);
    tcase_add_test(t, explicit_statements);
    tcase_add_test(t, json_is_a_placement);
    tcase_add_test(t, several_hosts);
    tcase_add_test(t, hugepages_are_counted);
    tcase_add_test(t, single_thread_has_one_place);
    tcase_add_test(t, properties);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
