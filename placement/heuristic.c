/*
 * Good plans without search: greedy construction, then moves and swaps until nothing gets better (2-opt), from several
 * starts; and the two simple policies, pack and spread, that every plan is compared with. All deterministic.
 */
#include "placement/solve_state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool cpu_ok(const struct solve_state *s, unsigned i, int c)
{
    return s->p->cpu_need[i] == 0 ? c < 0 : c >= 0 && solve_state_cpu_fits(s, i, (unsigned)c);
}

static bool mem_ok(const struct solve_state *s, unsigned i, int m)
{
    return s->p->mem_need[i] == 0 ? m < 0 : m >= 0 && solve_state_mem_fits(s, i, (unsigned)m);
}

static bool pair_ok(const struct solve_state *s, unsigned i, int c, int m)
{
    return cpu_ok(s, i, c) && mem_ok(s, i, m) && (c < 0 || m < 0 || s->p->group[c] == s->p->group[m]);
}

/*
 * The cheapest place for guest node i as things are. Whole pairs are tried on one host node first; CPU and memory on
 * different ones only where the guest node fits nowhere whole, or where `split` asks (O(h^2) instead of O(h)).
 */
static bool best_place(const struct solve_state *s, unsigned i, bool split, int *best_c, int *best_m, double *best)
{
    const struct solve_problem *p = s->p;
    bool has_cpu = p->cpu_need[i] > 0, has_mem = p->mem_need[i] > 0, found = false;
    *best = INFINITY;
    for (unsigned x = 0; x < p->h; x++) {
        int c = has_cpu ? (int)x : -1, m = has_mem ? (int)x : -1;
        if (!pair_ok(s, i, c, m)) {
            continue;
        }
        double v = solve_state_cost(s, i, c, m);
        if (v < *best - 1e-12) {
            *best = v, *best_c = c, *best_m = m, found = true;
        }
    }
    if (!has_cpu || !has_mem || (found && !split)) {
        return found;
    }
    for (unsigned c = 0; c < p->h; c++) {
        if (!cpu_ok(s, i, (int)c)) {
            continue;
        }
        for (unsigned m = 0; m < p->h; m++) {
            if (c == m || !pair_ok(s, i, (int)c, (int)m)) {
                continue;
            }
            double v = solve_state_cost(s, i, (int)c, (int)m);
            if (v < *best - 1e-12) {
                *best = v, *best_c = (int)c, *best_m = (int)m, found = true;
            }
        }
    }
    return found;
}

static bool greedy(struct solve_state *s, const unsigned *order)
{
    for (unsigned q = 0; q < s->p->n; q++) {
        int c = -1, m = -1;
        double cost;
        if (!best_place(s, order[q], false, &c, &m, &cost)) {
            return false;
        }
        solve_state_put(s, order[q], c, m, 1);
    }
    return true;
}

static bool try_move(struct solve_state *s, unsigned i)
{
    int c = s->cpu[i], m = s->mem[i], nc = c, nm = m;
    double now = solve_state_cost(s, i, c, m), then;
    solve_state_put(s, i, c, m, -1);
    bool better = best_place(s, i, s->p->n * s->p->h <= 1024, &nc, &nm, &then) && then < now - 1e-12;
    solve_state_put(s, i, better ? nc : c, better ? nm : m, 1);
    return better;
}

static bool try_swap(struct solve_state *s, unsigned i, unsigned j)
{
    int ci = s->cpu[i], mi = s->mem[i], cj = s->cpu[j], mj = s->mem[j];
    if ((ci == cj && mi == mj) || (ci < 0) != (cj < 0) || (mi < 0) != (mj < 0)) {
        return false;
    }
    /* The traffic between i and j is counted on one side only, before and after. */
    double before = solve_state_cost(s, j, cj, mj);
    solve_state_put(s, j, cj, mj, -1);
    before += solve_state_cost(s, i, ci, mi);
    solve_state_put(s, i, ci, mi, -1);
    bool ok = pair_ok(s, i, cj, mj);
    if (ok) {
        double after = solve_state_cost(s, i, cj, mj);
        solve_state_put(s, i, cj, mj, 1);
        ok = pair_ok(s, j, ci, mi);
        after += ok ? solve_state_cost(s, j, ci, mi) : 0;
        if (ok && after < before - 1e-12) {
            solve_state_put(s, j, ci, mi, 1);
            return true;
        }
        solve_state_put(s, i, cj, mj, -1);
    }
    solve_state_put(s, i, ci, mi, 1);
    solve_state_put(s, j, cj, mj, 1);
    return false;
}

static void improve(struct solve_state *s, uint64_t *steps)
{
    bool better = true;
    for (unsigned round = 0; better && round < 64; round++) {
        better = false;
        for (unsigned i = 0; i < s->p->n; i++) {
            better |= try_move(s, i);
            for (unsigned j = i + 1; j < s->p->n; j++) {
                better |= try_swap(s, i, j);
                ++*steps;
            }
        }
    }
}

static void keep_better(struct solve_result *r, const struct solve_state *s)
{
    double cost = solve_cost(s->p, s->cpu, s->mem);
    if (!r->feasible || cost < r->cost - 1e-9) {
        if (r->feasible && r->num_alternatives < PLACE_MAX_ALTERNATIVES) {
            r->num_alternatives++;
        }
        for (unsigned a = r->num_alternatives; r->feasible && a-- > 0;) {
            if (a > 0) {
                r->alternative[a] = r->alternative[a - 1];
            } else {
                r->alternative[0].cost = r->cost;
                memcpy(r->alternative[0].cpu, r->cpu, sizeof(r->cpu));
                memcpy(r->alternative[0].mem, r->mem, sizeof(r->mem));
            }
        }
        r->feasible = true;
        r->cost = cost;
        memcpy(r->cpu, s->cpu, sizeof(r->cpu));
        memcpy(r->mem, s->mem, sizeof(r->mem));
    }
}

/* Orders of construction: by size, by index, then shuffled by a fixed generator. */
static void order_make(const struct solve_problem *p, unsigned start, unsigned *order)
{
    uint64_t x = 88172645463325252ull + start;
    for (unsigned i = 0; i < p->n; i++) {
        order[i] = i;
    }
    for (unsigned i = 1; start == 0 && i < p->n; i++) {
        unsigned v = order[i], at = i;
        for (;
             at > 0 && (p->mem_need[order[at - 1]] < p->mem_need[v] ||
                        (p->mem_need[order[at - 1]] == p->mem_need[v] && p->cpu_need[order[at - 1]] < p->cpu_need[v]));
             at--) {
            order[at] = order[at - 1];
        }
        order[at] = v;
    }
    for (unsigned i = p->n; start >= 2 && i > 1; i--) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        unsigned k = (unsigned)(x % i), t = order[i - 1];
        order[i - 1] = order[k];
        order[k] = t;
    }
}

static void result_from(struct solve_result *r, const struct solve_state *s)
{
    r->feasible = true;
    r->cost = solve_cost(s->p, s->cpu, s->mem);
    memcpy(r->cpu, s->cpu, sizeof(r->cpu));
    memcpy(r->mem, s->mem, sizeof(r->mem));
}

/* Places guest node i with its CPUs on x; its memory there too, or as near as there is room. */
static bool put_at(struct solve_state *s, unsigned i, unsigned x)
{
    const struct solve_problem *p = s->p;
    bool has_cpu = p->cpu_need[i] > 0, has_mem = p->mem_need[i] > 0;
    int best = -1, c = has_cpu ? (int)x : -1;
    if (!has_mem) {
        if (pair_ok(s, i, c, -1)) {
            solve_state_put(s, i, c, -1, 1);
            return true;
        }
        return false;
    }
    for (unsigned m = 0; m < p->h; m++) {
        if (!has_cpu && m != x) {
            continue;
        }
        if (pair_ok(s, i, c, (int)m) && (best < 0 || p->cost[x * p->h + m] < p->cost[x * p->h + (unsigned)best])) {
            best = (int)m;
        }
    }
    if (best >= 0) {
        solve_state_put(s, i, c, best, 1);
    }
    return best >= 0;
}

bool solve_spread(const struct solve_problem *p, struct solve_result *r)
{
    struct solve_state s;
    memset(r, 0, sizeof(*r));
    solve_state_init(&s, p);
    unsigned next = 0;
    for (unsigned i = 0; i < p->n; i++) {
        if (p->cpu_need[i] == 0 && p->mem_need[i] == 0) {
            continue;
        }
        /* Nodes where CPUs and memory are both at home come first; a memoryless or CPU-less node is the last resort. */
        bool done = false;
        for (unsigned pass = 0; pass < 2 && !done; pass++) {
            for (unsigned k = 0; k < p->h && !done; k++) {
                unsigned x = (next + k) % p->h;
                bool whole = p->cpu_free[x] > 0 && p->mem_free[x] > 0;
                if (pass == 0 &&
                    (!whole || !pair_ok(&s, i, p->cpu_need[i] > 0 ? (int)x : -1, p->mem_need[i] > 0 ? (int)x : -1))) {
                    continue;
                }
                done = put_at(&s, i, x);
                if (done) {
                    next = x + 1;
                }
            }
        }
        if (!done) {
            return false;
        }
    }
    result_from(r, &s);
    return true;
}

/* Host nodes from `start` outwards, nearest first. */
static void by_distance(const struct solve_problem *p, unsigned start, unsigned *order)
{
    for (unsigned x = 0; x < p->h; x++) {
        unsigned at = x;
        for (; at > 0 && p->cost[start * p->h + order[at - 1]] > p->cost[start * p->h + x]; at--) {
            order[at] = order[at - 1];
        }
        order[at] = x;
    }
}

bool solve_pack(const struct solve_problem *p, struct solve_result *r)
{
    unsigned best_used = ~0u;
    memset(r, 0, sizeof(*r));
    for (unsigned start = 0; start < p->h; start++) {
        if (p->cpu_free[start] == 0) {
            continue;
        }
        unsigned order[PLACE_MAX_HOST_NODES], used = 0;
        struct solve_state s;
        by_distance(p, start, order);
        solve_state_init(&s, p);
        bool all = true;
        for (unsigned i = 0; i < p->n && all; i++) {
            bool done = p->cpu_need[i] == 0 && p->mem_need[i] == 0;
            for (unsigned k = 0; k < p->h && !done; k++) {
                int c = p->cpu_need[i] > 0 ? (int)order[k] : -1, m = p->mem_need[i] > 0 ? (int)order[k] : -1;
                if (pair_ok(&s, i, c, m)) {
                    solve_state_put(&s, i, c, m, 1);
                    done = true;
                }
            }
            for (unsigned k = 0; k < p->h && !done; k++) {
                done = put_at(&s, i, order[k]);
            }
            all = done;
        }
        for (unsigned x = 0; x < p->h; x++) {
            used += s.users[x] > 0;
        }
        double cost = all ? solve_cost(p, s.cpu, s.mem) : 0;
        if (all && (!r->feasible || used < best_used || (used == best_used && cost < r->cost - 1e-9))) {
            best_used = used;
            result_from(r, &s);
        }
    }
    return r->feasible;
}

static void improve_from(const struct solve_problem *p, const struct solve_result *from, struct solve_result *r)
{
    struct solve_state s;
    solve_state_init(&s, p);
    for (unsigned i = 0; i < p->n; i++) {
        solve_state_put(&s, i, from->cpu[i], from->mem[i], 1);
    }
    improve(&s, &r->steps);
    keep_better(r, &s);
}

void solve_heuristic(const struct solve_problem *p, struct solve_result *r)
{
    struct solve_result simple;
    memset(r, 0, sizeof(*r));
    r->bound = solve_root_bound(p);
    /* Starting from both simple policies guarantees that the answer is never worse than either. */
    if (solve_pack(p, &simple)) {
        improve_from(p, &simple, r);
    }
    if (solve_spread(p, &simple)) {
        improve_from(p, &simple, r);
    }
    unsigned starts = p->n <= 16 ? 24 : 8;
    for (unsigned start = 0; start < starts && !(r->feasible && r->cost <= r->bound + 1e-9); start++) {
        unsigned order[SOLVE_NODES];
        struct solve_state s;
        order_make(p, start, order);
        solve_state_init(&s, p);
        if (greedy(&s, order)) {
            improve(&s, &r->steps);
            keep_better(r, &s);
        }
    }
    r->exact = r->feasible && r->cost <= r->bound + 1e-9;
}
