/*
 * Litmus tests over ranks (RVWMO: unprivileged specification, chapter 17). A round is one cell: variables x, y, z of
 * its own. Cells are arrays, so that one page holds the variables of hundreds of rounds, and the harts go through a
 * window of cells step by step: the first access of all of them, a fence, the second access of all of them. So whatever
 * the pages do between two steps is done to every round of the window.
 *
 * A batch of cells is laid out anew each time: x, y and z on pages of different homes, or together on one page, or all
 * cells on a single page that everyone wants at once (which is then served at its home). Which hart plays which role,
 * by which instructions, in which order it goes through the windows, and how long it lingers, is drawn at random; the
 * first two roles are on different ranks. Then one of the harts judges, clears, and draws the next batch.
 *
 * A round is told as interleaved when no order of the roles, one after the other, explains what was seen: the proof
 * that the roles did meet.
 */
#include "ranks.h"

enum { CELLS = 4096, HOT_CELLS = 128, MAX_ORDERS = 24, RESULT_PAGE = 64, NOBODY = 255, MAX_STEPS = 2, VARS = 3 };
enum layout { APART, TOGETHER, HOT, LAYOUTS };
enum style { PLAIN, AMO, LRSC, STYLES };
enum { X, Y, Z };

static const char *const layout_name[LAYOUTS] = {"pages apart", "one page", "one hot page"};

/* One access of a role. */
struct step {
    enum { NOTHING, STORE, LOAD } what;
    uint8_t var, value; /* STORE: the value. LOAD: the register */
};

/* What a round came to. */
struct outcome {
    uint8_t r[MAX_HARTS][NUM_REGS], var[VARS];
};

struct litmus {
    const char *name;
    unsigned harts;
    struct step step[MAX_HARTS][MAX_STEPS];
    bool (*forbidden)(const struct outcome *o);
};

#define W(v, n)                                                                                                        \
    {                                                                                                                  \
        STORE, v, n                                                                                                    \
    }
#define R(n, v)                                                                                                        \
    {                                                                                                                  \
        LOAD, v, n                                                                                                     \
    }
#define NEVER(name, expression)                                                                                        \
    static bool name(const struct outcome *o)                                                                          \
    {                                                                                                                  \
        return expression;                                                                                             \
    }
NEVER(never_mp, o->r[1][0] == 1 && o->r[1][1] == 0)
NEVER(never_sb, o->r[0][0] == 0 && o->r[1][0] == 0)
NEVER(never_lb, o->r[0][0] == 1 && o->r[1][0] == 1)
NEVER(never_iriw, o->r[2][0] == 1 && o->r[2][1] == 0 && o->r[3][0] == 1 && o->r[3][1] == 0)
NEVER(never_corr, o->r[1][0] == 1 && o->r[1][1] == 0)
NEVER(never_coww, o->var[X] != 2 || o->r[1][0] > o->r[1][1])
NEVER(never_cowr, o->r[0][0] == 0 || (o->r[0][0] == 2 && o->var[X] != 2))
NEVER(never_corw, o->r[0][0] == 1 || (o->r[0][0] == 2 && o->var[X] != 1))
NEVER(never_2_2w, o->var[X] == 1 && o->var[Y] == 1)
NEVER(never_s, o->r[1][0] == 1 && o->var[X] == 2)
NEVER(never_r, o->var[Y] == 2 && o->r[1][0] == 0)
NEVER(never_wrc, o->r[1][0] == 1 && o->r[2][0] == 1 && o->r[2][1] == 0)

static const struct litmus tests[] = {
    {"MP", 2, {{W(X, 1), W(Y, 1)}, {R(0, Y), R(1, X)}}, never_mp},
    {"SB", 2, {{W(X, 1), R(0, Y)}, {W(Y, 1), R(0, X)}}, never_sb},
    {"LB", 2, {{R(0, X), W(Y, 1)}, {R(0, Y), W(X, 1)}}, never_lb},
    {"IRIW", 4, {{W(X, 1)}, {W(Y, 1)}, {R(0, X), R(1, Y)}, {R(0, Y), R(1, X)}}, never_iriw},
    {"CoRR", 2, {{W(X, 1)}, {R(0, X), R(1, X)}}, never_corr},
    {"CoWW", 2, {{W(X, 1), W(X, 2)}, {R(0, X), R(1, X)}}, never_coww},
    {"CoWR", 2, {{W(X, 1), R(0, X)}, {W(X, 2)}}, never_cowr},
    {"CoRW", 2, {{R(0, X), W(X, 1)}, {W(X, 2)}}, never_corw},
    {"2+2W", 2, {{W(X, 1), W(Y, 2)}, {W(Y, 1), W(X, 2)}}, never_2_2w},
    {"S", 2, {{W(X, 2), W(Y, 1)}, {R(0, Y), W(X, 1)}}, never_s},
    {"R", 2, {{W(X, 1), W(Y, 1)}, {W(Y, 2), R(0, X)}}, never_r},
    {"WRC", 3, {{W(X, 1)}, {R(0, X), W(Y, 1)}, {R(0, Y), R(1, X)}}, never_wrc},
    {"ISA2", 3, {{W(X, 1), W(Y, 1)}, {R(0, Y), W(Z, 1)}, {R(0, Z), R(1, X)}}, never_wrc},
};
enum { NUM_TESTS = sizeof(tests) / sizeof(tests[0]) };

/* What the harts need to know of a batch. Written by the judge of the one before, read by all. */
static struct {
    uint64_t rng, done;
    uint32_t cells, window;
    uint8_t *var[VARS];
    uint32_t stride;
    uint8_t role[MAX_HARTS], judge;
    struct {
        uint32_t multiply, add, linger;
        uint8_t style[MAX_STEPS];
    } way[MAX_HARTS]; /* by role */
} plan __attribute__((aligned(PAGE)));

struct tally {
    uint64_t seen, interleaved;
};
static struct tally tally[NUM_TESTS][LAYOUTS] __attribute__((aligned(PAGE)));

/* What the roles see when they run one after the other. Hart 0 makes it before the others begin the test. */
static struct outcome orders[MAX_ORDERS];
static unsigned num_orders;

/* One byte per register: no program loads more than 2. */
static uint8_t *results(unsigned role)
{
    return area[role % num_nodes] + (RESULT_PAGE + role * 2) * PAGE;
}

/* ---- one after the other ---- */

static void order_add(const struct litmus *t, const uint8_t *sequence)
{
    struct outcome o = {0};
    for (unsigned i = 0; i < t->harts; i++) {
        for (unsigned n = 0; n < MAX_STEPS; n++) {
            const struct step *s = &t->step[sequence[i]][n];
            if (s->what == STORE) {
                o.var[s->var] = s->value;
            } else if (s->what == LOAD) {
                o.r[sequence[i]][s->value] = o.var[s->var];
            }
        }
    }
    for (unsigned i = 0; i < num_orders; i++) {
        if (!memcmp(&orders[i], &o, sizeof(o))) {
            return;
        }
    }
    orders[num_orders++] = o;
}

static void find_orders(const struct litmus *t)
{
    uint8_t s[MAX_HARTS];
    num_orders = 0;
    for (unsigned code = 0; code < 256; code++) {
        unsigned used = 0;
        for (unsigned i = 0; i < t->harts; i++) {
            s[i] = code >> (2 * i) & 3;
            used |= 1u << s[i];
        }
        if (used == (1u << t->harts) - 1 && code >> (2 * t->harts) == 0) {
            order_add(t, s);
        }
    }
}

/* ---- a batch ---- */

static void draw_places(enum layout layout)
{
    unsigned a = (unsigned)(rng_next(&plan.rng) % num_nodes);
    if (layout == APART) {
        plan.stride = 8;
        for (unsigned v = 0; v < VARS; v++) {
            plan.var[v] = area[(a + v) % num_nodes] + v * 8 * PAGE;
        }
    } else {
        plan.stride = 32;
        for (unsigned v = 0; v < VARS; v++) {
            plan.var[v] = area[a] + (layout == HOT ? 63 : 24) * PAGE + v * 8;
        }
    }
}

/* Each hart plays one role at most; roles 0 and 1 are on different ranks. */
static void draw_roles(unsigned roles)
{
    uint8_t player[MAX_HARTS] = {0};
    do {
        for (unsigned i = 0; i < num_harts; i++) {
            unsigned j = (unsigned)(rng_next(&plan.rng) % (i + 1));
            player[i] = player[j];
            player[j] = (uint8_t)i;
        }
    } while (node_of[player[0]] == node_of[player[1]]);
    for (unsigned i = 0; i < num_harts; i++) {
        plan.role[player[i]] = i < roles ? (uint8_t)i : NOBODY;
    }
}

static void draw_plan(const struct litmus *t, enum layout layout)
{
    static const uint32_t lingers[] = {0, 30000, 300000, 3000000};
    plan.cells = layout == HOT ? HOT_CELLS : CELLS;
    plan.window = plan.cells >> (1 + rng_next(&plan.rng) % 4);
    draw_places(layout);
    draw_roles(t->harts);
    plan.judge = (uint8_t)(rng_next(&plan.rng) % num_harts);
    for (unsigned i = 0; i < MAX_HARTS; i++) {
        uint64_t v = rng_next(&plan.rng);
        /* An odd factor: each window comes once. Some go straight, some backwards, so that they meet. */
        plan.way[i].multiply = v & 1 ? 1 : v & 2 ? ~0u : (uint32_t)(v >> 8) | 1;
        plan.way[i].add = v & 4 ? 0 : (uint32_t)(v >> 32);
        plan.way[i].linger = lingers[v >> 4 & 3];
        for (unsigned n = 0; n < MAX_STEPS; n++) {
            unsigned style = v >> (6 + 3 * n) & 7;
            plan.way[i].style[n] = style < STYLES ? (uint8_t)style : PLAIN;
        }
    }
}

static volatile uint64_t *var_at(unsigned var, unsigned i)
{
    return (volatile uint64_t *)(plan.var[var] + (uint64_t)i * plan.stride);
}

static void clear(void)
{
    for (unsigned v = 0; v < VARS; v++) {
        for (unsigned i = 0; i < plan.cells; i++) {
            *var_at(v, i) = 0;
        }
    }
}

#define FOR_WINDOW(text, ...)                                                                                          \
    for (unsigned i = 0; i < window; i++, p += stride, out += 2) {                                                     \
        __asm__ volatile(text __VA_ARGS__ : "memory");                                                                 \
    }                                                                                                                  \
    break

static void store_window(uint8_t *p, unsigned window, unsigned stride, enum style style, uint64_t value)
{
    uint64_t old;
    uint8_t *out = NULL;
    switch (style) {
    case AMO:
        FOR_WINDOW("amoswap.d.aqrl x0, %0, (%1)", ::"r"(value), "r"(p));
    case LRSC:
        FOR_WINDOW("1: lr.d.aq %0, (%2)\n sc.d.rl %0, %1, (%2)\n bnez %0, 1b", : "=&r"(old) : "r"(value), "r"(p));
    default:
        FOR_WINDOW("sd %0, 0(%1)", ::"r"(value), "r"(p));
    }
}

static void load_window(uint8_t *p, unsigned window, unsigned stride, enum style style, uint8_t *out)
{
    uint64_t v;
    switch (style) {
    case AMO:
        FOR_WINDOW("amoor.d.aqrl %0, x0, (%1)\n sb %0, 0(%2)", : "=&r"(v) : "r"(p), "r"(out));
    case LRSC:
        FOR_WINDOW("lr.d.aqrl %0, (%1)\n sb %0, 0(%2)", : "=&r"(v) : "r"(p), "r"(out));
    default:
        FOR_WINDOW("ld %0, 0(%1)\n sb %0, 0(%2)", : "=&r"(v) : "r"(p), "r"(out));
    }
}

static void play(const struct litmus *t, unsigned role, uint64_t *rng)
{
    uint8_t *out = results(role);
    unsigned windows = plan.cells / plan.window;
    for (unsigned w = 0; w < windows; w++) {
        unsigned first = (w * plan.way[role].multiply + plan.way[role].add) % windows * plan.window;
        for (unsigned n = 0; n < MAX_STEPS; n++) {
            const struct step *s = &t->step[role][n];
            uint8_t *p = plan.var[s->var] + (uint64_t)first * plan.stride;
            linger(rng, plan.way[role].linger);
            if (s->what == STORE) {
                store_window(p, plan.window, plan.stride, plan.way[role].style[n], s->value);
            } else if (s->what == LOAD) {
                load_window(p, plan.window, plan.stride, plan.way[role].style[n], out + 2 * first + s->value);
            }
            __asm__ volatile("fence rw, rw" ::: "memory");
        }
    }
}

/* Registers that a role does not load are 0 there. */
static void judge(const struct litmus *t, struct tally *sum)
{
    bool loads[MAX_HARTS][NUM_REGS] = {0};
    for (unsigned h = 0; h < t->harts; h++) {
        for (unsigned n = 0; n < MAX_STEPS; n++) {
            if (t->step[h][n].what == LOAD) {
                loads[h][t->step[h][n].value] = true;
            }
        }
    }
    for (unsigned i = 0; i < plan.cells; i++) {
        struct outcome o = {0};
        for (unsigned v = 0; v < VARS; v++) {
            o.var[v] = (uint8_t)*var_at(v, i);
        }
        for (unsigned h = 0; h < t->harts; h++) {
            for (unsigned n = 0; n < NUM_REGS; n++) {
                o.r[h][n] = loads[h][n] ? results(h)[2 * i + n] : 0;
            }
        }
        sum->seen += t->forbidden(&o);
        unsigned k = 0;
        while (k < num_orders && memcmp(&orders[k], &o, sizeof(o))) {
            k++;
        }
        sum->interleaved += k == num_orders;
    }
}

static void run_test(unsigned hart, unsigned test, enum layout layout, uint64_t rounds)
{
    const struct litmus *t = &tests[test];
    uint64_t rng = seed + hart * 977 + test * 31 + layout, begin = csr_read("time");
    if (hart == 0) {
        plan.done = 0;
        find_orders(t);
        draw_plan(t, layout);
        clear();
    }
    meet();
    while (plan.done < rounds) {
        unsigned chosen = plan.judge; /* who is about to judge draws the next one */
        if (plan.role[hart] != NOBODY) {
            meet_awake(t->harts);
            play(t, plan.role[hart], &rng);
        }
        meet();
        if (hart == chosen) {
            judge(t, &tally[test][layout]);
            plan.done += plan.cells;
            draw_plan(t, layout);
            clear();
        }
        meet();
    }
    if (hart == 0) {
        const struct tally *sum = &tally[test][layout];
        print("%s, %s: %u rounds, %u interleaved, %u forbidden%s, %u ms\n", t->name, layout_name[layout], plan.done,
              sum->interleaved, sum->seen, sum->seen ? "  WRONG" : "", (csr_read("time") - begin) / 10000);
        failures += sum->seen != 0;
    }
    meet();
}

void test_litmus(unsigned hart, uint64_t rounds, uint64_t hot_rounds)
{
    if (hart == 0) {
        plan.rng = seed;
    }
    for (unsigned i = 0; i < NUM_TESTS; i++) {
        if (tests[i].harts > num_harts) {
            continue;
        }
        for (enum layout l = APART; l < LAYOUTS; l++) {
            run_test(hart, i, l, l == HOT ? hot_rounds : rounds);
        }
    }
}
