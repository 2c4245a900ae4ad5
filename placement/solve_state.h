/*
 * Where guest nodes have been put so far and what is left of each host node: what the search and the heuristics share.
 * Own thread only; no memory of its own.
 */
#ifndef WEFT_PLACEMENT_SOLVE_STATE_H
#define WEFT_PLACEMENT_SOLVE_STATE_H

#include "placement/internal.h"

#include <string.h>

struct solve_state {
    const struct solve_problem *p;
    int16_t cpu[SOLVE_NODES], mem[SOLVE_NODES]; /* -1: nowhere */
    unsigned cpu_free[PLACE_MAX_HOST_NODES];
    unsigned users[PLACE_MAX_HOST_NODES]; /* guest nodes with anything there */
    uint64_t mem_free[PLACE_MAX_HOST_NODES];
    uint64_t pages_free[PLACE_MAX_HOST_NODES][PLACE_MAX_PAGE_SIZES];
};

static inline void solve_state_init(struct solve_state *s, const struct solve_problem *p)
{
    memset(s, 0, sizeof(*s));
    s->p = p;
    memset(s->cpu, 0xff, sizeof(s->cpu));
    memset(s->mem, 0xff, sizeof(s->mem));
    memcpy(s->cpu_free, p->cpu_free, sizeof(s->cpu_free));
    memcpy(s->mem_free, p->mem_free, sizeof(s->mem_free));
    memcpy(s->pages_free, p->pages_free, sizeof(s->pages_free));
}

/* Takes (sign 1) or gives back (sign -1) what guest node i needs with its CPUs on c and its memory on m; -1 = none. */
static inline void solve_state_put(struct solve_state *s, unsigned i, int c, int m, int sign)
{
    const struct solve_problem *p = s->p;
    if (c >= 0) {
        s->cpu_free[c] -= (unsigned)sign * p->cpu_need[i];
        s->users[c] += (unsigned)sign;
    }
    if (m >= 0) {
        if (p->page_kind[i] >= 0) {
            s->pages_free[m][p->page_kind[i]] -= (uint64_t)sign * p->page_need[i];
        } else {
            s->mem_free[m] -= (uint64_t)sign * p->mem_need[i];
        }
        if (m != c) {
            s->users[m] += (unsigned)sign;
        }
    }
    s->cpu[i] = (int16_t)(sign > 0 ? c : -1);
    s->mem[i] = (int16_t)(sign > 0 ? m : -1);
}

static inline bool solve_state_cpu_fits(const struct solve_state *s, unsigned i, unsigned x)
{
    return s->p->cpu_need[i] <= s->cpu_free[x] && bitmap_test(&s->p->cpu_allowed[i], x) &&
           (!s->p->distinct || s->users[x] == 0);
}

static inline bool solve_state_mem_fits(const struct solve_state *s, unsigned i, unsigned x)
{
    if (!bitmap_test(&s->p->mem_allowed[i], x) || (s->p->distinct && s->users[x] != 0)) {
        return false;
    }
    int k = s->p->page_kind[i];
    return k >= 0 ? s->p->page_need[i] <= s->pages_free[x][k] : s->p->mem_need[i] <= s->mem_free[x];
}

/* What guest node i costs at (c, m) towards all others that have a place, and itself. */
static inline double solve_state_cost(const struct solve_state *s, unsigned i, int c, int m)
{
    const struct solve_problem *p = s->p;
    double sum = c >= 0 && m >= 0 ? p->traffic[i][i] * p->cost[(unsigned)c * p->h + (unsigned)m] : 0;
    for (unsigned k = 0; k < p->n; k++) {
        if (k == i) {
            continue;
        }
        if (c >= 0 && s->mem[k] >= 0) {
            sum += p->traffic[i][k] * p->cost[(unsigned)c * p->h + (unsigned)s->mem[k]];
        }
        if (m >= 0 && s->cpu[k] >= 0) {
            sum += p->traffic[k][i] * p->cost[(unsigned)s->cpu[k] * p->h + (unsigned)m];
        }
    }
    return sum;
}

#endif
