/*
 * Litmus tests of RVWMO (unprivileged specification, chapter 17) on real harts: small programs whose forbidden outcomes
 * must never be seen, and counters that must lose nothing. Arguments (-append): rounds=N for each test, harts=N.
 *
 * A round is one cell: variables of its own, in cache lines of their own. The harts run through a batch of cells side
 * by side and meet only at its ends, so that they are now ahead of and now behind each other.
 */
#include "bare.h"

enum { MAX_HARTS = 4, BATCH = 2048, NUM_REGS = 2 };

struct cell {
    volatile uint64_t x, pad0[7], y, pad1[7], z, pad2[7];
    uint64_t r[MAX_HARTS][NUM_REGS];
} __attribute__((aligned(64)));

typedef void body(struct cell *c, uint64_t *r);
typedef bool outcome(const struct cell *c);

struct litmus {
    const char *name;
    unsigned harts;
    body *run[MAX_HARTS];
    outcome *seen;  /* the outcome that the test is about */
    bool forbidden; /* else it is allowed, and only counted */
};

static struct cell cells[BATCH];
static uint64_t rounds;
static unsigned num_harts;
static char bootargs[256];

/* ---- meeting points ---- */

static volatile uint32_t arrived, generation;

static void meet(unsigned harts)
{
    uint32_t g = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == harts) {
        __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&generation, g + 1, __ATOMIC_RELEASE);
        return;
    }
    while (__atomic_load_n(&generation, __ATOMIC_ACQUIRE) == g) {
        __asm__ volatile(".4byte 0x0100000f"); /* pause */
    }
}

/* ---- programs: W a store, R a load, F a fence ---- */

#define BODY(name) static void name(struct cell *c, uint64_t *r)
#define W(var, value) __asm__ volatile("sd %0, 0(%1)" ::"r"((uint64_t)(value)), "r"(&c->var) : "memory")
#define R(n, var) __asm__ volatile("ld %0, 0(%1)" : "=r"(r[n]) : "r"(&c->var) : "memory")
#define F(kind) __asm__ volatile("fence " kind ::: "memory")
#define AMO_W(order, var, value)                                                                                       \
    __asm__ volatile("amoswap.d" order " x0, %0, (%1)" ::"r"((uint64_t)(value)), "r"(&c->var) : "memory")
#define AMO_R(order, n, var) __asm__ volatile("amoor.d" order " %0, x0, (%1)" : "=r"(r[n]) : "r"(&c->var) : "memory")
#define LR_R(order, n, var) __asm__ volatile("lr.d" order " %0, (%1)" : "=r"(r[n]) : "r"(&c->var) : "memory")

BODY(mp_w)
{
    W(x, 1);
    W(y, 1);
}
BODY(mp_r)
{
    R(0, y);
    R(1, x);
}
BODY(mp_w_fence)
{
    W(x, 1);
    F("w, w");
    W(y, 1);
}
BODY(mp_r_fence)
{
    R(0, y);
    F("r, r");
    R(1, x);
}
BODY(mp_w_release)
{
    W(x, 1);
    AMO_W(".rl", y, 1);
}
BODY(mp_r_acquire)
{
    AMO_R(".aq", 0, y);
    R(1, x);
}
BODY(mp_r_lr_acquire)
{
    LR_R(".aq", 0, y);
    R(1, x);
}
BODY(mp_w_tso)
{
    W(x, 1);
    __asm__ volatile("fence.tso" ::: "memory");
    W(y, 1);
}
BODY(mp_r_address)
{
    uint64_t a;
    R(0, y);
    __asm__ volatile("xor %1, %2, %2\n add %1, %1, %3\n ld %0, 0(%1)"
                     : "=r"(r[1]), "=&r"(a)
                     : "r"(r[0]), "r"(&c->x)
                     : "memory");
}
BODY(sb_0)
{
    W(x, 1);
    R(0, y);
}
BODY(sb_1)
{
    W(y, 1);
    R(0, x);
}
BODY(sb_0_fence)
{
    W(x, 1);
    F("rw, rw");
    R(0, y);
}
BODY(sb_1_fence)
{
    W(y, 1);
    F("w, r");
    R(0, x);
}
BODY(sb_0_amo)
{
    AMO_W(".aqrl", x, 1);
    AMO_R(".aqrl", 0, y);
}
BODY(sb_1_amo)
{
    AMO_W(".aqrl", y, 1);
    LR_R(".aqrl", 0, x);
}
BODY(lb_0)
{
    R(0, x);
    W(y, 1);
}
BODY(lb_1)
{
    R(0, y);
    W(x, 1);
}
BODY(lb_0_fence)
{
    R(0, x);
    F("r, w");
    W(y, 1);
}
BODY(lb_1_data)
{
    uint64_t v;
    R(0, y);
    __asm__ volatile("xor %0, %1, %1\n ori %0, %0, 1" : "=&r"(v) : "r"(r[0]));
    W(x, v);
}
BODY(lb_1_control)
{
    R(0, y);
    __asm__ volatile("bnez %0, 1f\n 1:" ::"r"(r[0]) : "memory");
    W(x, 1);
}
BODY(w_x)
{
    W(x, 1);
}
BODY(w_y)
{
    W(y, 1);
}
BODY(iriw_2)
{
    R(0, x);
    F("r, r");
    R(1, y);
}
BODY(iriw_3)
{
    R(0, y);
    F("r, r");
    R(1, x);
}
BODY(iriw_2_acquire)
{
    LR_R(".aq", 0, x);
    R(1, y);
}
BODY(iriw_3_acquire)
{
    AMO_R(".aq", 0, y);
    R(1, x);
}
BODY(corr_r)
{
    R(0, x);
    R(1, x);
}
BODY(coww_w)
{
    W(x, 1);
    W(x, 2);
}
BODY(cowr)
{
    W(x, 1);
    R(0, x);
}
BODY(w_x2)
{
    W(x, 2);
}
BODY(corw)
{
    R(0, x);
    W(x, 1);
}
BODY(w2_0)
{
    W(x, 1);
    F("w, w");
    W(y, 2);
}
BODY(w2_1)
{
    W(y, 1);
    F("w, w");
    W(x, 2);
}
BODY(s_0)
{
    W(x, 2);
    F("w, w");
    W(y, 1);
}
BODY(s_1)
{
    R(0, y);
    F("r, w");
    W(x, 1);
}
BODY(r_0)
{
    W(x, 1);
    F("w, w");
    W(y, 1);
}
BODY(r_1)
{
    W(y, 2);
    F("rw, rw");
    R(0, x);
}
BODY(wrc_1)
{
    R(0, x);
    F("rw, rw");
    W(y, 1);
}
BODY(wrc_2)
{
    R(0, y);
    F("r, r");
    R(1, x);
}
BODY(isa2_1)
{
    R(0, y);
    F("rw, rw");
    W(z, 1);
}
BODY(isa2_2)
{
    R(0, z);
    F("r, r");
    R(1, x);
}

/* ---- outcomes ---- */

#define SEEN(name, expression)                                                                                         \
    static bool name(const struct cell *c)                                                                             \
    {                                                                                                                  \
        return expression;                                                                                             \
    }
SEEN(seen_mp, c->r[1][0] == 1 && c->r[1][1] == 0)
SEEN(seen_sb, c->r[0][0] == 0 && c->r[1][0] == 0)
SEEN(seen_lb, c->r[0][0] == 1 && c->r[1][0] == 1)
SEEN(seen_iriw, c->r[2][0] == 1 && c->r[2][1] == 0 && c->r[3][0] == 1 && c->r[3][1] == 0)
SEEN(seen_corr, c->r[1][0] == 1 && c->r[1][1] == 0)
SEEN(seen_coww, c->x != 2 || c->r[1][0] > c->r[1][1])
SEEN(seen_cowr, (c->r[0][0] != 1 && c->r[0][0] != 2) || (c->r[0][0] == 2 && c->x != 2))
SEEN(seen_corw, c->r[0][0] == 1 || (c->r[0][0] == 2 && c->x != 1))
SEEN(seen_2_2w, c->x == 1 && c->y == 1)
SEEN(seen_s, c->r[1][0] == 1 && c->x == 2)
SEEN(seen_r, c->y == 2 && c->r[1][0] == 0)
SEEN(seen_wrc, c->r[1][0] == 1 && c->r[2][0] == 1 && c->r[2][1] == 0)

static const struct litmus tests[] = {
    {"MP", 2, {mp_w, mp_r}, seen_mp, false},
    {"MP+fence.w.w+fence.r.r", 2, {mp_w_fence, mp_r_fence}, seen_mp, true},
    {"MP+amo.rl+amo.aq", 2, {mp_w_release, mp_r_acquire}, seen_mp, true},
    {"MP+amo.rl+lr.aq", 2, {mp_w_release, mp_r_lr_acquire}, seen_mp, true},
    {"MP+fence.tso+addr", 2, {mp_w_tso, mp_r_address}, seen_mp, true},
    {"SB", 2, {sb_0, sb_1}, seen_sb, false},
    {"SB+fence.rw.rw+fence.w.r", 2, {sb_0_fence, sb_1_fence}, seen_sb, true},
    {"SB+amo.aqrl", 2, {sb_0_amo, sb_1_amo}, seen_sb, true},
    {"LB", 2, {lb_0, lb_1}, seen_lb, false},
    {"LB+fence.r.w+data", 2, {lb_0_fence, lb_1_data}, seen_lb, true},
    {"LB+fence.r.w+ctrl", 2, {lb_0_fence, lb_1_control}, seen_lb, true},
    {"IRIW+fence.r.r", 4, {w_x, w_y, iriw_2, iriw_3}, seen_iriw, true},
    {"IRIW+lr.aq+amo.aq", 4, {w_x, w_y, iriw_2_acquire, iriw_3_acquire}, seen_iriw, true},
    {"CoRR", 2, {w_x, corr_r}, seen_corr, true},
    {"CoWW", 2, {coww_w, corr_r}, seen_coww, true},
    {"CoWR", 2, {cowr, w_x2}, seen_cowr, true},
    {"CoRW", 2, {corw, w_x2}, seen_corw, true},
    {"2+2W+fence.w.w", 2, {w2_0, w2_1}, seen_2_2w, true},
    {"S+fence.w.w+fence.r.w", 2, {s_0, s_1}, seen_s, true},
    {"R+fence.w.w+fence.rw.rw", 2, {r_0, r_1}, seen_r, true},
    {"WRC+fence.rw.rw+fence.r.r", 3, {w_x, wrc_1, wrc_2}, seen_wrc, true},
    {"ISA2+fences", 3, {mp_w_fence, isa2_1, isa2_2}, seen_wrc, true},
};
enum { NUM_TESTS = sizeof(tests) / sizeof(tests[0]) };
static uint64_t counts[NUM_TESTS];

static void clear(unsigned batch)
{
    for (struct cell *c = cells; c < cells + batch; c++) {
        c->x = c->y = c->z = 0;
        for (unsigned i = 0; i < MAX_HARTS; i++) {
            c->r[i][0] = c->r[i][1] = 0;
        }
    }
}

static void run_test(unsigned hart, unsigned n)
{
    const struct litmus *t = &tests[n];
    if (t->harts > num_harts || hart >= t->harts) {
        return;
    }
    /* Small batches keep harts close; more harts than the host has cores meet rarely, as they wait a time slice. */
    unsigned batch = t->harts > 2 ? BATCH : 256;
    for (uint64_t done = 0; done < rounds; done += batch) {
        if (hart == 0) {
            clear(batch);
        }
        meet(t->harts);
        body *run = t->run[hart];
        for (unsigned i = 0; i < batch; i++) {
            run(&cells[i], cells[i].r[hart]);
        }
        meet(t->harts);
        if (hart == 0) {
            for (unsigned i = 0; i < batch; i++) {
                counts[n] += t->seen(&cells[i]);
            }
        }
    }
}

/* ---- counters: nothing may be lost ---- */

static struct {
    volatile uint64_t amo, pad0[7], lrsc, pad1[7], by_lock, pad2[7], by_amo_lock, pad3[7], max, pad4[7];
    volatile uint32_t half[2], pad5[14], lock, pad6[15], amo_lock, pad7[15];
    volatile uint32_t amo_w, pad8[15];
} shared __attribute__((aligned(64)));

static void add_lrsc(volatile uint64_t *p)
{
    uint64_t v, failed;
    __asm__ volatile("1: lr.d %0, (%2)\n addi %0, %0, 1\n sc.d %1, %0, (%2)\n bnez %1, 1b"
                     : "=&r"(v), "=&r"(failed)
                     : "r"(p)
                     : "memory");
}

static void add_lrsc_word(volatile uint32_t *p)
{
    uint64_t v, failed;
    __asm__ volatile("1: lr.w.aq %0, (%2)\n addi %0, %0, 1\n sc.w.rl %1, %0, (%2)\n bnez %1, 1b"
                     : "=&r"(v), "=&r"(failed)
                     : "r"(p)
                     : "memory");
}

static void lock_lrsc(volatile uint32_t *lock)
{
    uint64_t v;
    __asm__ volatile("1: lr.w.aq %0, (%1)\n bnez %0, 1b\n li %0, 1\n sc.w %0, %0, (%1)\n bnez %0, 1b"
                     : "=&r"(v)
                     : "r"(lock)
                     : "memory");
}

static void lock_amo(volatile uint32_t *lock)
{
    uint64_t v;
    __asm__ volatile("1: li %0, 1\n amoswap.w.aq %0, %0, (%1)\n bnez %0, 1b" : "=&r"(v) : "r"(lock) : "memory");
}

static void run_counters(unsigned hart)
{
    uint64_t n = rounds / 4;
    meet(num_harts);
    for (uint64_t i = 0; i < n; i++) {
        __asm__ volatile("amoadd.d x0, %0, (%1)" ::"r"(1ul), "r"(&shared.amo) : "memory");
        __asm__ volatile("amoadd.w x0, %0, (%1)" ::"r"(3ul), "r"(&shared.amo_w) : "memory");
        __asm__ volatile("amomaxu.d x0, %0, (%1)" ::"r"(i * num_harts + hart), "r"(&shared.max) : "memory");
        add_lrsc(&shared.lrsc);
        add_lrsc_word(&shared.half[hart & 1]);
    }
    /* Spinning for a lock whose holder is not running costs a time slice: fewer of these. */
    for (uint64_t i = 0; i < n / 16; i++) {
        lock_lrsc(&shared.lock);
        shared.by_lock = shared.by_lock + 1;
        __asm__ volatile("amoswap.w.rl x0, x0, (%0)" ::"r"(&shared.lock) : "memory");
        lock_amo(&shared.amo_lock);
        shared.by_amo_lock = shared.by_amo_lock + 1;
        __asm__ volatile("fence rw, w\n sw x0, 0(%0)" ::"r"(&shared.amo_lock) : "memory");
    }
    meet(num_harts);
}

static unsigned report_counter(const char *name, uint64_t got, uint64_t want)
{
    print("%s %u of %u%s\n", name, got, want, got == want ? "" : "  LOST");
    return got != want;
}

static unsigned report(void)
{
    unsigned bad = 0;
    uint64_t n = rounds / 4, h = num_harts;
    for (unsigned i = 0; i < NUM_TESTS; i++) {
        if (tests[i].harts > num_harts) {
            continue;
        }
        bool wrong = tests[i].forbidden && counts[i];
        print("%s: %u of %u rounds, %s%s\n", tests[i].name, counts[i], rounds,
              tests[i].forbidden ? "forbidden" : "allowed", wrong ? "  SEEN" : "");
        bad += wrong;
    }
    bad += report_counter("amoadd.d", shared.amo, n * h);
    bad += report_counter("amoadd.w", shared.amo_w, (uint32_t)(3 * n * h));
    bad += report_counter("amomaxu.d", shared.max, (n - 1) * h + h - 1);
    bad += report_counter("lr.d/sc.d", shared.lrsc, n * h);
    bad += report_counter("lr.w/sc.w", shared.half[0], n * ((h + 1) / 2));
    bad += report_counter("lr.w/sc.w, the word beside", shared.half[1], n * (h / 2));
    bad += report_counter("under an LR/SC lock", shared.by_lock, n / 16 * h);
    bad += report_counter("under an AMO lock", shared.by_amo_lock, n / 16 * h);
    return bad;
}

static void run_all(unsigned hart)
{
    /* Those with most harts first: who has nothing more to do sleeps and leaves the host's cores to the others. */
    run_counters(hart);
    for (unsigned n = MAX_HARTS; n > 1; n--) {
        for (unsigned i = 0; i < NUM_TESTS; i++) {
            if (tests[i].harts == n) {
                run_test(hart, i);
            }
        }
    }
}

void main_other(unsigned long hart)
{
    if (hart < num_harts) {
        run_all((unsigned)hart);
    }
}

int main_hart0(const void *fdt)
{
    fdt_bootargs(fdt, bootargs, sizeof(bootargs));
    rounds = (arg_number(bootargs, "rounds", 100000) + BATCH - 1) / BATCH * BATCH;
    num_harts = (unsigned)arg_number(bootargs, "harts", 4);
    if (num_harts > MAX_HARTS || num_harts < 2) {
        print("harts=%u: 2 to 4\n", (uint64_t)num_harts);
        return 2;
    }
    __atomic_store_n(&bare_go, 1, __ATOMIC_RELEASE);
    run_all(0);
    unsigned bad = report();
    print("%u tests, %u rounds each: %s\n", (uint64_t)NUM_TESTS, rounds,
          bad ? "FAILED" : "nothing forbidden, none lost");
    return bad != 0;
}
