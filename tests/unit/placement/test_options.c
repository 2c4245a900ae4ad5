/* --place: what is understood, and the sentence for each mistake. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "placement/internal.h"

static const struct {
    const char *text, *part; /* part of the sentence that must be there */
} mistakes[] = {
    {"macth", "neither a policy"},
    {"match,bind=socket", "bind=socket is not known"},
    {"match,smt=yes", "smt=yes is neither on nor off"},
    {"match,overcommit", "option overcommit has no value"},
    {"match,thp=always", "thp=always is neither on nor off"},
    {"node 0 thp", "thp \"\" is neither on nor off"},
    {"node 0 thp maybe", "thp \"maybe\" is neither on nor off"},
    {"spread,color=red", "option color is not known"},
    {"match,search=fast", "search=fast is not known"},
    {"/nonexistent/place.txt", "neither a policy"},
    {"vcpu 0", "is not a list of CPUs"},
    {"vcpu 0 0-", "\"0-\" is not a list of CPUs"},
    {"vcpu 0 ^1", "is not a list of CPUs"},
    {"vcpu 999 0", "\"999\" is not a vCPU number"},
    {"vcpu x 0", "\"x\" is not a vCPU number"},
    {"node 0 glue 1", "memory policy \"glue\" is not known"},
    {"node 0 bind", "is not a host node number"},
    {"node 70 bind 1", "\"70\" is not a guest node number"},
    {"emulator ;", "is not a list of CPUs"},
    {"iothread 0", "is not a list of CPUs"},
    {"pin 0 1", "\"pin\" is not known; the statements are"},
    {"vcpu 0 0 1", "\"1\" is too much after vcpu"},
    {"default nothing", "neither a policy"},
    {"default ; vcpu 0 0", "default needs a policy"},
    {"vcpu 0 0; vcpu 1", "statement 2"},
};

START_TEST(mistake)
{
    struct place_options opt;
    struct error err = {0};
    ck_assert_msg(!place_options_parse(&opt, mistakes[_i].text, &err), "%s was taken", mistakes[_i].text);
    ck_assert(err.set);
    ck_assert_msg(strstr(err.text, mistakes[_i].part) != NULL, "%s: \"%s\" lacks \"%s\"", mistakes[_i].text, err.text,
                  mistakes[_i].part);
    ck_assert_ptr_null(strchr(err.text, '\n'));
    ck_assert_ptr_null(opt.explicit_);
}
END_TEST

START_TEST(good)
{
    struct place_options opt;
    struct error err = {0};
    ck_assert(place_options_parse(&opt, "match,bind=pu,smt=on,overcommit=on,distinct=on,search=heuristic", &err));
    ck_assert(opt.policy == PLACE_MATCH && opt.grain == GRAIN_PU && opt.smt && opt.overcommit && opt.distinct &&
              opt.heuristic);
    ck_assert(place_options_parse(&opt, "pack", &err));
    ck_assert(opt.policy == PLACE_PACK && opt.grain == GRAIN_CORE && !opt.overcommit);
    ck_assert(place_options_parse(&opt, "", &err));
    ck_assert(opt.policy == PLACE_SPREAD && opt.grain == GRAIN_NODE && opt.overcommit);
    ck_assert(place_options_parse(&opt, "vcpupin 0-1,3 2 # a comment; memnode 0 strict 1\nemulatorpin 0", &err));
    ck_assert_ptr_nonnull(opt.explicit_);
    ck_assert(opt.explicit_->has_vcpu[3] && !opt.explicit_->has_vcpu[2]);
    ck_assert(bitmap_test(&opt.explicit_->vcpu[1], 2));
    place_options_fini(&opt);
    ck_assert(place_options_parse(&opt, "node 2 restrictive 0-1", &err));
    ck_assert(opt.explicit_->mem_policy[2] == PMEM_RESTRICTIVE && opt.base_policy == PLACE_NONE);
    place_options_fini(&opt);
}
END_TEST

START_TEST(transparent_hugepages)
{
    static struct guest_shape guest;
    struct place_options opt;
    struct error err = {0};
    memset(&guest, 0, sizeof(guest));
    guest.num_nodes = 3;
    guest.node[2].page_size = 2 << 20;
    guest.node[2].thp = -1;
    ck_assert(place_options_parse(&opt, "pack", &err) && guest_thp_from_options(&guest, &opt, &err));
    ck_assert_int_eq(guest.node[0].thp, -1);
    ck_assert(place_options_parse(&opt, "match,thp=on", &err) && guest_thp_from_options(&guest, &opt, &err));
    ck_assert(guest.node[0].thp == 1 && guest.node[1].thp == 1 && guest.node[2].thp == -1);
    ck_assert(place_options_parse(&opt, "node 1 thp off; node 1 bind 0; default pack,thp=on", &err));
    ck_assert(opt.explicit_->has_mem[1] && guest_thp_from_options(&guest, &opt, &err));
    ck_assert(guest.node[0].thp == 1 && guest.node[1].thp == 0);
    place_options_fini(&opt);
    ck_assert(place_options_parse(&opt, "node 2 thp on", &err) && !guest_thp_from_options(&guest, &opt, &err));
    ck_assert_msg(strstr(err.text, "node 2 thp on: this node's backend has hugepages") != NULL, "%s", err.text);
    place_options_fini(&opt);
    memset(&err, 0, sizeof(err));
    ck_assert(place_options_parse(&opt, "node 3 thp on", &err) && !guest_thp_from_options(&guest, &opt, &err));
    ck_assert_msg(strstr(err.text, "no such node") != NULL, "%s", err.text);
    place_options_fini(&opt);
}
END_TEST

static bool traffic_load(const char *json, struct error *err)
{
    static struct guest_shape guest;
    char path[] = "/tmp/weft-traffic-XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    fputs(json, f);
    fclose(f);
    memset(&guest, 0, sizeof(guest));
    guest.num_nodes = 2;
    bool ok = guest_traffic_load(&guest, path, err);
    remove(path);
    return ok && guest.traffic_measured && guest.traffic[0][1] == 0.25;
}

START_TEST(traffic)
{
    static const char *const bad[] = {"",
                                      "{}",
                                      "[[1,2]]",
                                      "[[1,2],[3]]",
                                      "[[1,2],[3,-4]]",
                                      "[[0,0],[0,0]]",
                                      "[[1,2],[3,\"x\"]]",
                                      "{\"access_matrix\": 3}"};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {0};
        ck_assert_msg(!traffic_load(bad[i], &err), "%s", bad[i]);
        ck_assert(strstr(err.text, "--traffic") != NULL);
    }
    struct error err = {0};
    ck_assert(traffic_load("[[2,2],[0,4]]", &err));
    ck_assert(traffic_load("{\"other\": 1, \"access_matrix\": [[200,200],[0,400]]}", &err));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("options");
    TCase *t = tcase_create("options");
    tcase_add_loop_test(t, mistake, 0, sizeof(mistakes) / sizeof(mistakes[0]));
    tcase_add_test(t, good);
    tcase_add_test(t, transparent_hugepages);
    tcase_add_test(t, traffic);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
