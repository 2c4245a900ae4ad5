/* The planner's search against brute force, and what must hold for every instance. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "placement/internal.h"

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static unsigned rnd(unsigned below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % below);
}

static double cost_matrix[PLACE_MAX_HOST_NODES * PLACE_MAX_HOST_NODES];

/* A random instance: asymmetric costs, memoryless and CPU-less host nodes, guest nodes without CPUs or memory. */
static void instance(struct solve_problem *p, unsigned n, unsigned h, unsigned tightness)
{
    memset(p, 0, sizeof(*p));
    p->n = n;
    p->h = h;
    p->cost = cost_matrix;
    p->max_steps = 1u << 30;
    p->distinct = rnd(8) == 0;
    for (unsigned i = 0; i < h; i++) {
        for (unsigned j = 0; j < h; j++) {
            cost_matrix[i * h + j] = i == j ? 10 + (rnd(6) == 0 ? 7 : 0) : 11 + rnd(30);
        }
        p->cpu_free[i] = rnd(6) == 0 ? 0 : 1 + rnd(tightness + 1);
        p->mem_free[i] = rnd(6) == 0 ? 0 : 1 + rnd(tightness * 2 + 1);
        p->pages_free[i][0] = rnd(4);
        p->group[i] = rnd(10) == 0;
    }
    for (unsigned g = 0; g < n; g++) {
        p->cpu_need[g] = rnd(8) == 0 ? 0 : 1 + rnd(2);
        p->mem_need[g] = rnd(8) == 0 ? 0 : 1 + rnd(2);
        p->page_kind[g] = p->mem_need[g] > 0 && rnd(6) == 0 ? 0 : -1;
        p->page_need[g] = 1 + rnd(2);
        for (unsigned x = 0; x < h; x++) {
            if (rnd(12) != 0) {
                bitmap_set(&p->cpu_allowed[g], x);
            }
            if (rnd(12) != 0 && p->mem_free[x] > 0) {
                bitmap_set(&p->mem_allowed[g], x);
            }
        }
        for (unsigned o = 0; o < n; o++) {
            p->traffic[g][o] = g == o ? 40 + rnd(60) : rnd(3) == 0 ? 0 : rnd(30);
        }
    }
}

struct brute {
    const struct solve_problem *p;
    int16_t cpu[SOLVE_NODES], mem[SOLVE_NODES];
    double best[PLACE_MAX_ALTERNATIVES + 1]; /* the cheapest costs there are, in order */
};

static void brute_keep(struct brute *b, double cost)
{
    for (unsigned k = 0; k <= PLACE_MAX_ALTERNATIVES; k++) {
        if (cost < b->best[k]) {
            double t = b->best[k];
            b->best[k] = cost;
            cost = t;
        }
    }
}

static void brute_walk(struct brute *b, unsigned g)
{
    const struct solve_problem *p = b->p;
    if (g == p->n) {
        if (solve_feasible(p, b->cpu, b->mem)) {
            brute_keep(b, solve_cost(p, b->cpu, b->mem));
        }
        return;
    }
    for (int c = p->cpu_need[g] > 0 ? 0 : -1; c < (p->cpu_need[g] > 0 ? (int)p->h : 0); c++) {
        for (int m = p->mem_need[g] > 0 ? 0 : -1; m < (p->mem_need[g] > 0 ? (int)p->h : 0); m++) {
            b->cpu[g] = (int16_t)c;
            b->mem[g] = (int16_t)m;
            brute_walk(b, g + 1);
        }
    }
}

static void brute_force(const struct solve_problem *p, struct brute *b)
{
    b->p = p;
    for (unsigned k = 0; k <= PLACE_MAX_ALTERNATIVES; k++) {
        b->best[k] = INFINITY;
    }
    brute_walk(b, 0);
}

START_TEST(exact_is_brute_force)
{
    unsigned feasible = 0, infeasible = 0, alternatives = 0;
    for (unsigned round = 0; round < 1500; round++) {
        unsigned n = 1 + rnd(3), h = 1 + rnd(n == 3 ? 4 : 5);
        struct solve_problem p;
        struct solve_result r;
        static struct brute b;
        instance(&p, n, h, 1 + rnd(4));
        brute_force(&p, &b);
        solve_exact(&p, &r);
        ck_assert_msg(r.feasible == !isinf(b.best[0]), "round %u: feasible %d, brute force %f", round, r.feasible,
                      b.best[0]);
        if (!r.feasible) {
            infeasible++;
            continue;
        }
        feasible++;
        ck_assert(r.exact);
        ck_assert(solve_feasible(&p, r.cpu, r.mem));
        ck_assert_double_eq_tol(solve_cost(&p, r.cpu, r.mem), r.cost, 1e-6);
        ck_assert_msg(fabs(r.cost - b.best[0]) < 1e-6, "round %u: %f, brute force %f", round, r.cost, b.best[0]);
        ck_assert(r.alternatives_exact);
        for (unsigned a = 0; a < PLACE_MAX_ALTERNATIVES; a++) {
            ck_assert_msg((a < r.num_alternatives) == !isinf(b.best[a + 1]), "round %u: %u alternatives", round,
                          r.num_alternatives);
            if (a < r.num_alternatives) {
                ck_assert_double_eq_tol(r.alternative[a].cost, b.best[a + 1], 1e-6);
                ck_assert(solve_feasible(&p, r.alternative[a].cpu, r.alternative[a].mem));
                alternatives++;
            }
        }
    }
    /* The generator must not have made the test empty. */
    ck_assert_uint_gt(feasible, 300);
    ck_assert_uint_gt(infeasible, 100);
    ck_assert_uint_gt(alternatives, 300);
}
END_TEST

/* Whole permutations, where every host node takes just one guest node. */
START_TEST(exact_on_permutations)
{
    for (unsigned round = 0; round < 12; round++) {
        struct solve_problem p;
        struct solve_result r;
        unsigned n = 6, order[6] = {0, 1, 2, 3, 4, 5}, count[7] = {0};
        instance(&p, n, n, 1);
        p.distinct = false;
        for (unsigned i = 0; i < n; i++) {
            p.cpu_need[i] = p.cpu_free[i] = 1;
            p.mem_need[i] = p.mem_free[i] = 1;
            p.page_kind[i] = -1;
            p.group[i] = 0;
            for (unsigned x = 0; x < n; x++) {
                bitmap_set(&p.cpu_allowed[i], x);
                bitmap_set(&p.mem_allowed[i], x);
            }
        }
        solve_exact(&p, &r);
        double best = INFINITY;
        /* Heap's algorithm over all orders, CPU and memory together: an upper bound that the search must reach. */
        for (unsigned i = 0; i < n;) {
            int16_t at[SOLVE_NODES];
            for (unsigned k = 0; k < n; k++) {
                at[k] = (int16_t)order[k];
            }
            double cost = solve_cost(&p, at, at);
            best = cost < best ? cost : best;
            i = 0;
            while (i < n && count[i] >= i) {
                count[i++] = 0;
            }
            if (i < n) {
                unsigned j = i % 2 == 0 ? 0 : count[i], t = order[j];
                order[j] = order[i];
                order[i] = t;
                count[i]++;
            }
        }
        ck_assert(r.feasible && r.exact);
        ck_assert_double_le(r.cost, best + 1e-6);
    }
}
END_TEST

START_TEST(heuristic_properties)
{
    unsigned compared = 0;
    for (unsigned round = 0; round < 400; round++) {
        unsigned n = 2 + rnd(15), h = 2 + rnd(15);
        struct solve_problem p;
        struct solve_result r, pack, spread;
        instance(&p, n, h, 4 + rnd(8));
        solve_heuristic(&p, &r);
        bool packs = solve_pack(&p, &pack), spreads = solve_spread(&p, &spread);
        ck_assert(!packs || solve_feasible(&p, pack.cpu, pack.mem));
        ck_assert(!spreads || solve_feasible(&p, spread.cpu, spread.mem));
        ck_assert(r.feasible || (!packs && !spreads));
        if (!r.feasible) {
            continue;
        }
        compared += packs && spreads;
        ck_assert_msg(solve_feasible(&p, r.cpu, r.mem), "round %u", round);
        ck_assert(!packs || r.cost <= pack.cost + 1e-6);
        ck_assert(!spreads || r.cost <= spread.cost + 1e-6);
        ck_assert_msg(r.bound <= r.cost + 1e-6, "round %u: bound %f above a plan of %f", round, r.bound, r.cost);
    }
    ck_assert_uint_gt(compared, 50);
}
END_TEST

/* The bound of the root must be below the optimum, and the heuristic mostly near it. */
START_TEST(bound_is_a_bound)
{
    for (unsigned round = 0; round < 150; round++) {
        struct solve_problem p;
        struct solve_result exact, quick;
        instance(&p, 2 + rnd(4), 2 + rnd(4), 2 + rnd(3));
        solve_exact(&p, &exact);
        solve_heuristic(&p, &quick);
        if (exact.feasible) {
            ck_assert_double_le(solve_root_bound(&p), exact.cost + 1e-6);
            ck_assert(!quick.feasible || quick.cost >= exact.cost - 1e-6);
        } else {
            ck_assert(!quick.feasible);
        }
    }
}
END_TEST

START_TEST(steps_are_limited)
{
    struct solve_problem p;
    struct solve_result r;
    instance(&p, 10, 16, 3);
    for (unsigned i = 0; i < 16; i++) {
        p.cpu_free[i] = 2;
        p.mem_free[i] = 3;
        p.group[i] = 0;
    }
    p.distinct = false;
    for (unsigned i = 0; i < 10; i++) {
        p.page_kind[i] = -1;
        for (unsigned x = 0; x < 16; x++) {
            bitmap_set(&p.cpu_allowed[i], x);
            bitmap_set(&p.mem_allowed[i], x);
        }
    }
    p.max_steps = 500;
    solve_exact(&p, &r);
    ck_assert(r.feasible);
    ck_assert(!r.exact);
    ck_assert_double_lt(r.bound, r.cost);
    ck_assert_uint_le(r.steps, 501);
}
END_TEST

/* As many guest as host nodes, one for each: what the heuristic is for. */
START_TEST(large_instances)
{
    static struct solve_problem p;
    struct solve_result r;
    const unsigned sizes[] = {16, 32, 64};
    for (unsigned k = 0; k < 3; k++) {
        unsigned n = sizes[k];
        instance(&p, n, n, 1);
        p.distinct = false;
        for (unsigned i = 0; i < n; i++) {
            p.cpu_need[i] = p.cpu_free[i] = 1;
            p.mem_need[i] = p.mem_free[i] = 1;
            p.page_kind[i] = -1;
            p.group[i] = 0;
            for (unsigned x = 0; x < n; x++) {
                bitmap_set(&p.cpu_allowed[i], x);
                bitmap_set(&p.mem_allowed[i], x);
            }
        }
        solve_heuristic(&p, &r);
        ck_assert(r.feasible && solve_feasible(&p, r.cpu, r.mem));
        ck_assert_double_gt(r.bound, 0);
        ck_assert_double_le(r.bound, r.cost + 1e-6);
        ck_assert_double_ge(r.bound, r.cost * 0.6); /* a bound that says something */
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("solve");
    TCase *t = tcase_create("solve");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, exact_is_brute_force);
    tcase_add_test(t, exact_on_permutations);
    tcase_add_test(t, heuristic_properties);
    tcase_add_test(t, bound_is_a_bound);
    tcase_add_test(t, steps_are_limited);
    tcase_add_test(t, large_instances);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
