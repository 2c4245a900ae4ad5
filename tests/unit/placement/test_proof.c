/* Proofs survive their JSON form, damaged ones are refused, and a diff finds what changed and nothing else. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "placement/internal.h"

static void sample(struct proof *p)
{
    memset(p, 0, sizeof(*p));
    strcpy(p->host_name, "alpha");
    strcpy(p->hash, "0123456789abcdef");
    strcpy(p->policy, "match");
    strcpy(p->time, "2026-01-01T00:00:00Z");
    p->pid = 4711;
    p->ok = true;
    p->num_threads = p->num_ranges = 2;
    p->thread = calloc(2, sizeof(*p->thread));
    p->range = calloc(2, sizeof(*p->range));
    for (unsigned i = 0; i < 2; i++) {
        struct proof_thread *t = &p->thread[i];
        *t = (struct proof_thread){
            .kind = PLACE_VCPU, .index = i, .tid = (pid_t)(100 + i), .bound = true, .ok = true, .last_pu = 1};
        snprintf(t->name, sizeof(t->name), "CPU %u/TCG", i);
        bitmap_set(&t->wanted, i);
        bitmap_set(&t->found, i);
        struct proof_range *r = &p->range[i];
        *r = (struct proof_range){.guest_node = i,
                                  .addr = 0x7f0000000000ull + i * 0x1000000,
                                  .len = 1 << 20,
                                  .page_size = 4096,
                                  .pages = 256,
                                  .looked_at = 256,
                                  .present = 200,
                                  .absent = 56,
                                  .bound = true,
                                  .ok = true,
                                  .first_node = 0};
        bitmap_set(&r->wanted, i);
        r->on_node[i] = 200;
    }
}

static void deviate(struct proof *p)
{
    bitmap_zero(&p->thread[1].found);
    bitmap_set(&p->thread[1].found, 3);
    p->thread[1].ok = p->ok = false;
    p->drift_threads = 1;
    p->range[0].on_node[0] = 197;
    p->range[0].on_node[2] = 3;
    p->range[0].misplaced = p->drift_pages = 3;
    p->range[0].first_misplaced = 0x7f0000003000ull;
    p->range[0].first_node = 2;
    p->range[0].ok = false;
}

static char *diff_text(const struct proof *a, const struct proof *b, unsigned *n)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    *n = proof_diff(f, a, b);
    fclose(f);
    return text;
}

START_TEST(round_trip)
{
    struct proof a, b;
    struct error err = {0};
    unsigned n;
    sample(&a);
    deviate(&a);
    char *json = proof_to_json(&a);
    ck_assert_msg(proof_from_json(&b, json, &err), "%s", err.text);
    char *again = proof_to_json(&b);
    ck_assert_str_eq(json, again);
    char *text = diff_text(&a, &b, &n);
    ck_assert_uint_eq(n, 0);
    ck_assert_str_eq(text, "");
    free(text);
    free(json);
    free(again);
    proof_fini(&a);
    proof_fini(&b);
}
END_TEST

START_TEST(differences)
{
    struct proof a, b;
    unsigned n;
    sample(&a);
    sample(&b);
    deviate(&b);
    b.range[0].addr += 1 << 24; /* another run, another address, another pid: no difference */
    b.pid++;
    b.thread[0].tid++;
    char *text = diff_text(&a, &b, &n);
    ck_assert_uint_eq(n, 5);
    ck_assert(strstr(text, "thread CPU 1/TCG, found PUs P#: 1 -> 3\n") != NULL);
    ck_assert(strstr(text, "guest node 0, pages on host node P#2: 0 -> 3\n") != NULL);
    ck_assert(strstr(text, "guest node 0, misplaced pages: 0 -> 3\n") != NULL);
    ck_assert(strstr(text, "result: as planned -> deviates\n") != NULL);
    free(text);
    proof_fini(&a);
    proof_fini(&b);
}
END_TEST

START_TEST(deviations)
{
    struct proof p;
    char text[1024];
    sample(&p);
    ck_assert_uint_eq(proof_deviations(&p, text, sizeof(text), 8), 0);
    ck_assert_str_eq(text, "");
    deviate(&p);
    ck_assert_uint_eq(proof_deviations(&p, text, sizeof(text), 8), 2);
    ck_assert(strstr(text, "thread CPU 1/TCG (tid 101) may run on PUs P#3, the plan says P#1") != NULL);
    ck_assert(
        strstr(text,
               "3 of 256 pages looked at of guest node 0 are not on P#0, the first at 0x7f0000003000 is on P#2") !=
        NULL);
    ck_assert_uint_eq(proof_deviations(&p, text, sizeof(text), 1), 2);
    ck_assert_ptr_null(strstr(text, "pages looked at"));
    char small[16]; /* never beyond the buffer */
    proof_deviations(&p, small, sizeof(small), 8);
    ck_assert_uint_lt(strlen(small), sizeof(small));
    proof_fini(&p);
}
END_TEST

START_TEST(damaged)
{
    static const char *const bad[] = {"",
                                      "[]",
                                      "{}",
                                      "{\"weft_proof\": 2, \"threads\": [], \"ranges\": []}",
                                      "{\"weft_proof\": 1, \"threads\": [1], \"ranges\": []}",
                                      "{\"weft_proof\": 1, \"threads\": [], \"ranges\": [{}]}",
                                      "{\"weft_proof\": 1, \"threads\": [], \"ranges\": [{\"wanted_nodes\": \"0\", "
                                      "\"pages_on_node\": {\"99999\": 1}}]}",
                                      "{\"weft_proof\": 1, \"threads\": [{\"kind\": \"vcpu\", \"wanted_pus\": \"0-\", "
                                      "\"found_pus\": \"0\"}], \"ranges\": []}"};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct proof p;
        struct error err = {0};
        ck_assert_msg(!proof_from_json(&p, bad[i], &err), "%s", bad[i]);
        ck_assert(strstr(err.text, "placement proof") != NULL);
        ck_assert_ptr_null(p.thread);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proof");
    TCase *t = tcase_create("proof");
    tcase_add_test(t, round_trip);
    tcase_add_test(t, differences);
    tcase_add_test(t, deviations);
    tcase_add_test(t, damaged);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
