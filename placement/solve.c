/*
 * Exact search for the cheapest assignment of guest nodes to host nodes: branch and bound over (CPU place, memory
 * place) pairs, heaviest guest node first.
 *
 * The cost of an assignment is  sum over i, j of traffic[i][j] * cost[cpu(i)][mem(j)].  With some guest nodes placed
 * (A) and the others open (U) it falls into three parts, and the bound adds a lower bound of each:
 *   A x A   known;
 *   A x U   for each open memory k the cheapest place as seen from the placed CPUs, chosen so that no host node holds
 *           more of the open memories than fit (a linear assignment problem);
 *   U x *   for each open CPU j at host node c: the exact cost towards placed memories, and for the open memories the
 *           rearrangement bound: most traffic to the nearest target, each target used at most as often as memories
 *           fit there. These row values again go into an assignment problem over c.
 * This is the Gilmore-Lawler bound of the quadratic assignment problem, widened to capacities.
 */
#include "placement/solve_state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LAP_COLS = 512 };

struct search {
    const struct solve_problem *p;
    struct solve_result *r;
    unsigned order[SOLVE_NODES];                               /* guest nodes, heaviest first */
    uint16_t near[PLACE_MAX_HOST_NODES][PLACE_MAX_HOST_NODES]; /* per initiator: targets, cheapest first */
    uint8_t by_traffic[SOLVE_NODES][SOLVE_NODES];              /* per guest node: columns, most traffic first */
    struct solve_state at;
    bool placed[SOLVE_NODES];
    double rest[SOLVE_NODES + 1]; /* by depth: what the open parts cost at least, even if all were local */
    double known;                 /* the A x A part */
    uint64_t steps, max_steps;
    unsigned keep; /* how many solutions are kept: 1 to prove, more for alternatives */
    bool gave_up;
    double (*lap)[LAP_COLS];
    double fit_cost[SOLVE_NODES][PLACE_MAX_HOST_NODES], row_cost[SOLVE_NODES][PLACE_MAX_HOST_NODES]; /* of open ones */
    /* Kept up by occupy(): what the placed CPUs' accesses to an open memory k at x cost, and what an open CPU j at x
     * pays for the placed memories. */
    double from_placed[SOLVE_NODES][PLACE_MAX_HOST_NODES], to_placed[SOLVE_NODES][PLACE_MAX_HOST_NODES];
};

double solve_cost(const struct solve_problem *p, const int16_t *cpu, const int16_t *mem)
{
    double sum = 0;
    for (unsigned i = 0; i < p->n; i++) {
        for (unsigned j = 0; j < p->n; j++) {
            if (cpu[i] >= 0 && mem[j] >= 0) {
                sum += p->traffic[i][j] * p->cost[(unsigned)cpu[i] * p->h + (unsigned)mem[j]];
            }
        }
    }
    return sum;
}

bool solve_feasible(const struct solve_problem *p, const int16_t *cpu, const int16_t *mem)
{
    for (unsigned x = 0; x < p->h; x++) {
        uint64_t need = 0, bytes = 0, pages[PLACE_MAX_PAGE_SIZES] = {0};
        unsigned users = 0;
        for (unsigned i = 0; i < p->n; i++) {
            need += cpu[i] == (int)x ? p->cpu_need[i] : 0;
            users += cpu[i] == (int)x || mem[i] == (int)x;
            if (mem[i] == (int)x && p->page_kind[i] >= 0) {
                pages[p->page_kind[i]] += p->page_need[i];
            } else if (mem[i] == (int)x) {
                bytes += p->mem_need[i];
            }
        }
        bool ok = need <= p->cpu_free[x] && bytes <= p->mem_free[x] && (!p->distinct || users <= 1);
        for (unsigned k = 0; k < PLACE_MAX_PAGE_SIZES; k++) {
            ok = ok && pages[k] <= p->pages_free[x][k];
        }
        if (!ok) {
            return false;
        }
    }
    for (unsigned i = 0; i < p->n; i++) {
        if ((cpu[i] < 0) != (p->cpu_need[i] == 0) || (mem[i] < 0) != (p->mem_need[i] == 0)) {
            return false;
        }
        if ((cpu[i] >= 0 && !bitmap_test(&p->cpu_allowed[i], (unsigned)cpu[i])) ||
            (mem[i] >= 0 && !bitmap_test(&p->mem_allowed[i], (unsigned)mem[i])) ||
            (cpu[i] >= 0 && mem[i] >= 0 && p->group[cpu[i]] != p->group[mem[i]])) {
            return false;
        }
    }
    return true;
}

/* Takes (sign 1) or gives back (sign -1) what guest node i needs at its place. */
static void occupy(struct search *s, unsigned i, int c, int m, int sign)
{
    const struct solve_problem *p = s->p;
    solve_state_put(&s->at, i, c, m, sign);
    s->placed[i] = sign > 0;
    for (unsigned k = 0; k < p->n; k++) {
        double there = sign * p->traffic[i][k], back = sign * p->traffic[k][i];
        for (unsigned x = 0; c >= 0 && there != 0 && x < p->h; x++) {
            s->from_placed[k][x] += there * p->cost[(unsigned)c * p->h + x];
        }
        for (unsigned x = 0; m >= 0 && back != 0 && x < p->h; x++) {
            s->to_placed[k][x] += back * p->cost[x * p->h + (unsigned)m];
        }
    }
}

/*
 * Least cost of giving each of `rows` rows a column of its own (rows <= cols); the Hungarian method with potentials,
 * O(rows^2 cols). INFINITY entries are forbidden.
 */
static double assignment_cost(double (*a)[LAP_COLS], unsigned rows, unsigned cols)
{
    double u[SOLVE_NODES + 1], v[LAP_COLS + 1], least[LAP_COLS + 1];
    unsigned match[LAP_COLS + 1], way[LAP_COLS + 1];
    bool used[LAP_COLS + 1];
    /* Only what is in use is cleared: this is called for each step of the search. */
    memset(u, 0, sizeof(*u) * (rows + 1));
    memset(v, 0, sizeof(*v) * (cols + 1));
    memset(match, 0, sizeof(*match) * (cols + 1));
    for (unsigned i = 1; i <= rows; i++) {
        for (unsigned j = 0; j <= cols; j++) {
            least[j] = INFINITY;
            used[j] = false;
        }
        unsigned j0 = 0;
        match[0] = i;
        do {
            used[j0] = true;
            unsigned i0 = match[j0], j1 = 0;
            double delta = INFINITY;
            for (unsigned j = 1; j <= cols; j++) {
                if (used[j]) {
                    continue;
                }
                double cur = a[i0 - 1][j - 1] - u[i0] - v[j];
                if (cur < least[j]) {
                    least[j] = cur;
                    way[j] = j0;
                }
                if (least[j] < delta) {
                    delta = least[j];
                    j1 = j;
                }
            }
            if (isinf(delta)) {
                return INFINITY;
            }
            for (unsigned j = 0; j <= cols; j++) {
                if (used[j]) {
                    u[match[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            j0 = j1;
        } while (match[j0] != 0);
        for (; j0 != 0; j0 = way[j0]) {
            match[j0] = match[way[j0]];
        }
    }
    double sum = 0;
    for (unsigned j = 1; j <= cols; j++) {
        sum += match[j] != 0 ? a[match[j] - 1][j - 1] : 0;
    }
    return sum;
}

/* Sum of the rows' cheapest entries, where a column x with times[x] == 0 is closed. */
static double rows_minimum(const struct search *s, double (*cost)[PLACE_MAX_HOST_NODES], const unsigned *rows,
                           unsigned num, const unsigned *times)
{
    double sum = 0;
    for (unsigned i = 0; i < num; i++) {
        double least = INFINITY;
        for (unsigned x = 0; x < s->p->h; x++) {
            least = times[x] > 0 && cost[rows[i]][x] < least ? cost[rows[i]][x] : least;
        }
        sum += least;
    }
    return sum;
}

/*
 * The same where a column x may serve times[x] rows only: an assignment problem, but where its columns would be too
 * many.
 */
static double rows_bound(struct search *s, double (*cost)[PLACE_MAX_HOST_NODES], const unsigned *rows, unsigned num,
                         const unsigned *times)
{
    unsigned cols = 0;
    for (unsigned x = 0; x < s->p->h; x++) {
        cols += times[x] < num ? times[x] : num;
    }
    if (cols > LAP_COLS) {
        return rows_minimum(s, cost, rows, num, times);
    }
    if (cols < num) {
        return INFINITY;
    }
    unsigned col = 0;
    for (unsigned x = 0; x < s->p->h; x++) {
        for (unsigned t = 0; t < times[x] && t < num; t++, col++) {
            for (unsigned i = 0; i < num; i++) {
                s->lap[i][col] = cost[rows[i]][x];
            }
        }
    }
    return assignment_cost(s->lap, num, cols);
}

/* How many of the open guest nodes' memories (or CPUs) can be on host node x at most: as many of the smallest as fit.
 */
static unsigned most_fit(const struct search *s, unsigned x, const unsigned *open, unsigned num, bool memory)
{
    const struct solve_problem *p = s->p;
    uint64_t need[SOLVE_NODES];
    unsigned n = 0;
    for (unsigned o = 0; o < num; o++) {
        unsigned i = open[o];
        if (memory ? !solve_state_mem_fits(&s->at, i, x) : !solve_state_cpu_fits(&s->at, i, x)) {
            continue;
        }
        uint64_t v = memory ? (p->page_kind[i] >= 0 ? 0 : p->mem_need[i]) : p->cpu_need[i];
        unsigned at = n++;
        for (; at > 0 && need[at - 1] > v; at--) {
            need[at] = need[at - 1];
        }
        need[at] = v;
    }
    uint64_t left = memory ? s->at.mem_free[x] : s->at.cpu_free[x];
    unsigned fit = 0;
    while (fit < n && need[fit] <= left) {
        left -= need[fit++];
    }
    return p->distinct && fit > 1 ? 1 : fit;
}

/* Cost of open row j seen from c: towards placed memories exactly, towards open ones by rearrangement. */
static double row_value(const struct search *s, unsigned j, unsigned c, const unsigned *mem_times)
{
    const struct solve_problem *p = s->p;
    double sum = s->to_placed[j][c];
    unsigned near = 0, used = 0;
    for (unsigned q = 0; q < p->n; q++) {
        unsigned k = s->by_traffic[j][q];
        if (s->placed[k] || p->mem_need[k] == 0 || p->traffic[j][k] <= 0) {
            continue;
        }
        while (near < p->h && used >= mem_times[s->near[c][near]]) {
            near++;
            used = 0;
        }
        if (near == p->h) {
            return INFINITY;
        }
        used++;
        sum += p->traffic[j][k] * p->cost[c * p->h + s->near[c][near]];
    }
    return sum;
}

/* At least what the open parts cost; any value from `enough` on is as good as a larger one. */
static double open_bound(struct search *s, double enough)
{
    const struct solve_problem *p = s->p;
    unsigned cpus[SOLVE_NODES] = {0}, mems[SOLVE_NODES] = {0}, nc = 0, nm = 0;
    unsigned cpu_times[PLACE_MAX_HOST_NODES] = {0}, mem_times[PLACE_MAX_HOST_NODES] = {0};
    for (unsigned i = 0; i < p->n; i++) {
        if (!s->placed[i]) {
            cpus[nc] = i;
            nc += p->cpu_need[i] > 0;
            mems[nm] = i;
            nm += p->mem_need[i] > 0;
        }
    }
    for (unsigned x = 0; x < p->h; x++) {
        cpu_times[x] = most_fit(s, x, cpus, nc, false);
        mem_times[x] = most_fit(s, x, mems, nm, true);
    }
    for (unsigned o = 0; o < nm; o++) {
        unsigned k = mems[o];
        for (unsigned x = 0; x < p->h; x++) {
            s->fit_cost[k][x] = solve_state_mem_fits(&s->at, k, x) ? s->from_placed[k][x] : INFINITY;
        }
    }
    for (unsigned o = 0; o < nc; o++) {
        for (unsigned x = 0; x < p->h; x++) {
            s->row_cost[cpus[o]][x] =
                solve_state_cpu_fits(&s->at, cpus[o], x) ? row_value(s, cpus[o], x, mem_times) : INFINITY;
        }
    }
    /* From the cheap bound to the dear one; whoever asks is content as soon as `enough` is reached. */
    double mem_part = rows_minimum(s, s->fit_cost, mems, nm, mem_times);
    double cpu_part = rows_minimum(s, s->row_cost, cpus, nc, cpu_times);
    if (mem_part + cpu_part >= enough) {
        return mem_part + cpu_part;
    }
    mem_part = rows_bound(s, s->fit_cost, mems, nm, mem_times);
    if (mem_part + cpu_part >= enough) {
        return mem_part + cpu_part;
    }
    return mem_part + rows_bound(s, s->row_cost, cpus, nc, cpu_times);
}

static bool same_places(const struct solve_problem *p, const int16_t *c1, const int16_t *m1, const int16_t *c2,
                        const int16_t *m2)
{
    return memcmp(c1, c2, sizeof(*c1) * p->n) == 0 && memcmp(m1, m2, sizeof(*m1) * p->n) == 0;
}

/* The cost that a solution must stay below to be of use. */
static double threshold(const struct search *s)
{
    const struct solve_result *r = s->r;
    if (!r->feasible) {
        return INFINITY;
    }
    if (s->keep == 1) {
        return r->cost;
    }
    return r->num_alternatives == s->keep - 1 ? r->alternative[s->keep - 2].cost : INFINITY;
}

static void solution_keep(struct search *s, double cost)
{
    struct solve_result *r = s->r;
    const struct solve_problem *p = s->p;
    if (!r->feasible || cost < r->cost - 1e-9) {
        r->feasible = true;
        r->cost = cost;
        memcpy(r->cpu, s->at.cpu, sizeof(r->cpu));
        memcpy(r->mem, s->at.mem, sizeof(r->mem));
        return;
    }
    if (s->keep == 1 || same_places(p, r->cpu, r->mem, s->at.cpu, s->at.mem)) {
        return;
    }
    unsigned at = r->num_alternatives;
    for (unsigned a = 0; a < r->num_alternatives; a++) {
        if (same_places(p, r->alternative[a].cpu, r->alternative[a].mem, s->at.cpu, s->at.mem)) {
            return;
        }
    }
    if (at == s->keep - 1) {
        at--; /* the worst one goes */
    } else {
        r->num_alternatives++;
    }
    for (; at > 0 && r->alternative[at - 1].cost > cost; at--) {
        r->alternative[at] = r->alternative[at - 1];
    }
    r->alternative[at].cost = cost;
    memcpy(r->alternative[at].cpu, s->at.cpu, sizeof(r->cpu));
    memcpy(r->alternative[at].mem, s->at.mem, sizeof(r->mem));
}

struct candidate {
    double added;
    int16_t c, m;
};

static int by_added(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->added != y->added) {
        return x->added < y->added ? -1 : 1;
    }
    return x->c != y->c ? x->c - y->c : x->m - y->m;
}

static unsigned candidates_make(const struct search *s, unsigned i, struct candidate *out)
{
    const struct solve_problem *p = s->p;
    bool has_cpu = p->cpu_need[i] > 0, has_mem = p->mem_need[i] > 0;
    unsigned n = 0;
    for (unsigned c = 0; c < (has_cpu ? p->h : 1); c++) {
        if (has_cpu && !solve_state_cpu_fits(&s->at, i, c)) {
            continue;
        }
        for (unsigned m = 0; m < (has_mem ? p->h : 1); m++) {
            if (has_mem && (!solve_state_mem_fits(&s->at, i, m) || (has_cpu && p->group[c] != p->group[m]))) {
                continue;
            }
            int at_c = has_cpu ? (int)c : -1, at_m = has_mem ? (int)m : -1;
            out[n++] = (struct candidate){solve_state_cost(&s->at, i, at_c, at_m), (int16_t)at_c, (int16_t)at_m};
        }
    }
    qsort(out, n, sizeof(*out), by_added);
    return n;
}

static void branch(struct search *s, unsigned depth)
{
    const struct solve_problem *p = s->p;
    if (depth == p->n) {
        solution_keep(s, s->known);
        return;
    }
    unsigned i = s->order[depth];
    struct candidate *list = malloc(sizeof(*list) * p->h * p->h);
    unsigned n = list == NULL ? 0 : candidates_make(s, i, list);
    for (unsigned q = 0; q < n && !s->gave_up; q++) {
        if (++s->steps > s->max_steps) {
            s->gave_up = true;
            break;
        }
        if (s->known + list[q].added + s->rest[depth + 1] >= threshold(s) - 1e-9) {
            break; /* sorted: the others are dearer still */
        }
        occupy(s, i, list[q].c, list[q].m, 1);
        s->known += list[q].added;
        if (s->known + open_bound(s, threshold(s) - 1e-9 - s->known) < threshold(s) - 1e-9) {
            branch(s, depth + 1);
        }
        s->known -= list[q].added;
        occupy(s, i, list[q].c, list[q].m, -1);
    }
    free(list);
}

static double node_weight(const struct solve_problem *p, unsigned i)
{
    double w = 0;
    for (unsigned j = 0; j < p->n; j++) {
        w += p->traffic[i][j] + p->traffic[j][i];
    }
    return w;
}

/* rest[d]: traffic with a guest node that is open at depth d, all of it at the least cost there is. */
static void rest_make(struct search *s)
{
    const struct solve_problem *p = s->p;
    double least = INFINITY;
    for (unsigned x = 0; x < p->h * p->h; x++) {
        least = p->cost[x] < least ? p->cost[x] : least;
    }
    for (unsigned d = 0; d <= p->n; d++) {
        for (unsigned a = 0; a < p->n; a++) {
            for (unsigned b = 0; b < p->n; b++) {
                unsigned i = s->order[a], j = s->order[b];
                if ((a >= d || b >= d) && p->cpu_need[i] > 0 && p->mem_need[j] > 0) {
                    s->rest[d] += p->traffic[i][j] * least;
                }
            }
        }
    }
}

static struct search *search_new(const struct solve_problem *p, struct solve_result *r)
{
    struct search *s = calloc(1, sizeof(*s));
    s->lap = malloc(sizeof(*s->lap) * SOLVE_NODES);
    s->p = p;
    s->r = r;
    s->max_steps = p->max_steps;
    solve_state_init(&s->at, p);
    for (unsigned i = 0; i < p->n; i++) {
        unsigned at = i;
        for (; at > 0 && node_weight(p, s->order[at - 1]) < node_weight(p, i); at--) {
            s->order[at] = s->order[at - 1];
        }
        s->order[at] = i;
        for (unsigned j = 0; j < p->n; j++) {
            unsigned b = j;
            for (; b > 0 && p->traffic[i][s->by_traffic[i][b - 1]] < p->traffic[i][j]; b--) {
                s->by_traffic[i][b] = s->by_traffic[i][b - 1];
            }
            s->by_traffic[i][b] = (uint8_t)j;
        }
    }
    for (unsigned c = 0; c < p->h; c++) {
        for (unsigned x = 0; x < p->h; x++) {
            unsigned at = x;
            for (; at > 0 && p->cost[c * p->h + s->near[c][at - 1]] > p->cost[c * p->h + x]; at--) {
                s->near[c][at] = s->near[c][at - 1];
            }
            s->near[c][at] = (uint16_t)x;
        }
    }
    rest_make(s);
    return s;
}

static void search_free(struct search *s)
{
    free(s->lap);
    free(s);
}

double solve_root_bound(const struct solve_problem *p)
{
    struct solve_result none = {0};
    struct search *s = search_new(p, &none);
    double bound = open_bound(s, INFINITY);
    search_free(s);
    return bound;
}

void solve_exact(const struct solve_problem *p, struct solve_result *r)
{
    /* The heuristic's answer is a threshold to start from; the search then finds better ones or proves there are none.
     */
    solve_heuristic(p, r);
    struct search *s = search_new(p, r);
    s->keep = 1;
    if (!r->feasible || r->cost > r->bound + 1e-9) {
        branch(s, 0);
    }
    r->exact = !s->gave_up;
    r->steps = s->steps;
    if (r->exact) {
        r->bound = r->cost;
    }
    search_free(s);
    if (r->exact && r->feasible) {
        s = search_new(p, r);
        s->keep = PLACE_MAX_ALTERNATIVES + 1;
        s->max_steps = p->max_steps / 3; /* the runners-up are worth less time than the winner */
        r->num_alternatives = 0;
        branch(s, 0);
        r->steps += s->steps;
        r->alternatives_exact = !s->gave_up;
        search_free(s);
    }
}
