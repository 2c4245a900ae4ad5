/* What many do to the same pages at once: counters, locks, bytes side by side, pages read in a row, code. */
#include "ranks.h"

enum { COUNTER_PAGE = 128, LOCK_PAGE = 200, BYTE_PAGE = 220, STREAM_PAGE = 256, CODE_PAGE = 400, PER_PAGE = 8 };
enum { MAX_COUNTER_PAGES = 64, STREAM_PAGES = 64, STREAM_STEP = 512, SLOTS = 64, TURNS = 16 };

/* What each hart tells hart 0; read between two meetings. */
struct told {
    uint64_t did[4], seen, wrong;
};
static struct {
    struct told told;
    uint8_t pad[PAGE - sizeof(struct told)];
} page_for[MAX_HARTS] __attribute__((aligned(PAGE)));

static struct told *tell(unsigned hart)
{
    struct told *t = &page_for[hart].told;
    memset(t, 0, sizeof(*t));
    return t;
}

static struct told all_told(void)
{
    struct told sum = {0};
    for (unsigned h = 0; h < num_harts; h++) {
        for (unsigned i = 0; i < 4; i++) {
            sum.did[i] += page_for[h].told.did[i];
        }
        sum.seen += page_for[h].told.seen;
        sum.wrong += page_for[h].told.wrong;
    }
    return sum;
}

static void verdict(const char *name, const char *what, uint64_t rounds, uint64_t interleaved, bool right)
{
    print("%s%s: %u rounds, %u interleaved%s\n", name, what, rounds, interleaved, right ? "" : "  WRONG");
    failures += !right;
}

static volatile void *page_of(unsigned first, unsigned n)
{
    return area[n % num_nodes] + (uint64_t)(first + n) * PAGE;
}

/* ---- counters: nothing is lost, nothing counted twice, none goes back ---- */

struct counter {
    volatile uint64_t amo, lrsc;
    volatile uint32_t amo_w, lrsc_w;
    volatile uint64_t max, pad[4];
};

static uint64_t add_lrsc(volatile uint64_t *p)
{
    uint64_t v, failed;
    __asm__ volatile("1: lr.d %0, (%2)\n addi %1, %0, 1\n sc.d %1, %1, (%2)\n bnez %1, 1b"
                     : "=&r"(v), "=&r"(failed)
                     : "r"(p)
                     : "memory");
    return v;
}

static void add_lrsc_word(volatile uint32_t *p)
{
    uint64_t v, failed;
    __asm__ volatile("1: lr.w.aq %0, (%2)\n addi %0, %0, 1\n sc.w.rl %1, %0, (%2)\n bnez %1, 1b"
                     : "=&r"(v), "=&r"(failed)
                     : "r"(p)
                     : "memory");
}

static struct counter *counter_at(unsigned page, unsigned n)
{
    return (struct counter *)page_of(COUNTER_PAGE, page) + n * (PAGE / PER_PAGE / sizeof(struct counter));
}

static void count(unsigned hart, uint64_t n, unsigned pages, struct told *t)
{
    /* What this hart has had back from each counter: later answers are larger. */
    static uint64_t last[MAX_HARTS][MAX_COUNTER_PAGES * PER_PAGE][2] __attribute__((aligned(PAGE)));
    uint64_t rng = seed * 64 + hart, max = 0;
    memset(last[hart], 0, sizeof(last[hart]));
    for (uint64_t i = 0; i < n; i++) {
        uint64_t v = rng_next(&rng);
        unsigned page = v % pages, k = v >> 8 & (PER_PAGE - 1), kind = v >> 16 & 3;
        struct counter *c = counter_at(page, k);
        uint64_t old, *before = last[hart][page * PER_PAGE + k];
        t->did[kind]++;
        switch (kind) {
        case 0:
        case 1:
            old = kind ? add_lrsc(&c->lrsc) : __atomic_fetch_add(&c->amo, 1, __ATOMIC_RELAXED);
            t->wrong += old < before[kind];
            t->seen += old > before[kind];
            before[kind] = old + 1;
            break;
        case 2:
            __atomic_fetch_add(&c->amo_w, 3, __ATOMIC_ACQ_REL);
            max = i * num_harts + hart;
            __asm__ volatile("amomaxu.d %0, %1, (%2)" : "=r"(old) : "r"(max), "r"(&c->max) : "memory");
            break;
        default:
            add_lrsc_word(&c->lrsc_w);
        }
    }
}

void test_counters(unsigned hart, uint64_t n, unsigned pages, const char *name)
{
    struct told *t = tell(hart);
    if (hart == 0) {
        for (unsigned i = 0; i < pages * PER_PAGE; i++) {
            memset(counter_at(i / PER_PAGE, i % PER_PAGE), 0, sizeof(struct counter));
        }
    }
    meet();
    count(hart, n, pages, t);
    meet();
    if (hart == 0) {
        uint64_t have[4] = {0};
        for (unsigned i = 0; i < pages * PER_PAGE; i++) {
            const struct counter *c = counter_at(i / PER_PAGE, i % PER_PAGE);
            have[0] += c->amo;
            have[1] += c->lrsc;
            have[2] += c->amo_w;
            have[3] += c->lrsc_w;
        }
        struct told sum = all_told();
        sum.did[2] *= 3;
        verdict("counters by AMO and LR/SC, ", name, n * num_harts, sum.seen,
                !sum.wrong && !memcmp(have, sum.did, sizeof(have)));
    }
    meet();
}

/* ---- time: whoever learns of a moment is not before it ---- */

static void clock_verdict(unsigned hart, const char *what, uint64_t rounds)
{
    if (hart == 0) {
        struct told sum = all_told();
        verdict("clocks of all harts", what, rounds, sum.seen, !sum.wrong);
        for (unsigned h = 0; h < num_harts && sum.wrong; h++) {
            print("hart %u was %u ns back\n", (uint64_t)h, page_for[h].told.did[0] * 100);
        }
    }
    meet();
}

/* Each hart in its turn tells the next one its time: no word of it is missed. */
static void test_clock_in_turn(unsigned hart, uint64_t turns)
{
    static struct {
        volatile uint64_t turn, told;
    } baton __attribute__((aligned(PAGE)));
    struct told *t = tell(hart);
    meet();
    for (uint64_t i = 0; i < turns; i++) {
        while (baton.turn % num_harts != hart) {
        }
        __asm__ volatile("fence r, rw" ::: "memory");
        uint64_t told = baton.told, now = csr_read("time"), back = told > now ? told - now : 0;
        t->did[0] = back > t->did[0] ? back : t->did[0];
        t->wrong += back != 0;
        t->seen++;
        baton.told = now;
        __asm__ volatile("fence rw, w" ::: "memory");
        baton.turn++;
    }
    meet();
    clock_verdict(hart, ", in turn", turns * num_harts);
}

void test_clock(unsigned hart, uint64_t n)
{
    static volatile uint64_t latest __attribute__((aligned(PAGE)));
    struct told *t = tell(hart);
    uint64_t before = 0, rng = seed + hart, worst = 0;
    if (hart == 0) {
        latest = 0;
    }
    meet();
    for (uint64_t i = 0; i < n; i++) {
        uint64_t said = latest;
        __asm__ volatile("fence r, rw" ::: "memory");
        uint64_t now = csr_read("time");
        uint64_t back = said > now ? said - now : before > now ? before - now : 0;
        worst = back > worst ? back : worst;
        t->wrong += back != 0;
        t->seen += said > before;
        before = now;
        __asm__ volatile("amomaxu.d.rl x0, %0, (%1)" ::"r"(now), "r"(&latest) : "memory");
        if (i % 64 == 0) {
            linger(&rng, 20000);
        }
    }
    t->did[0] = worst;
    meet();
    clock_verdict(hart, "", n * num_harts);
    test_clock_in_turn(hart, n / 16 < 4096 ? n / 16 : 4096);
}

/* ---- locks: what they guard stays together ---- */

static void lock(volatile uint32_t *word, bool by_lrsc, uint64_t *rng)
{
    for (;;) {
        uint64_t v;
        if (by_lrsc) {
            __asm__ volatile("lr.w.aq %0, (%1)\n bnez %0, 1f\n li %0, 1\n sc.w %0, %0, (%1)\n1:"
                             : "=&r"(v)
                             : "r"(word)
                             : "memory");
        } else {
            __asm__ volatile("li %0, 1\n amoswap.w.aq %0, %0, (%1)" : "=&r"(v) : "r"(word) : "memory");
        }
        if (!v) {
            return;
        }
        linger(rng, 2000);
    }
}

static void unlock(volatile uint32_t *word, bool by_amo)
{
    if (by_amo) {
        __asm__ volatile("amoswap.w.rl x0, x0, (%0)" ::"r"(word) : "memory");
    } else {
        __asm__ volatile("fence rw, w\n sw x0, 0(%0)" ::"r"(word) : "memory");
    }
}

void test_locks(unsigned hart, uint64_t n)
{
    struct told *t = tell(hart);
    volatile uint32_t *words = page_of(LOCK_PAGE, 0);
    uint64_t rng = seed * 64 + hart, mine[4] = {0};
    if (hart == 0) {
        for (unsigned i = 0; i < 4; i++) {
            words[i * 16] = 0;
            *(volatile uint64_t *)page_of(LOCK_PAGE, 1 + i) = *(volatile uint64_t *)page_of(LOCK_PAGE, 5 + i) = 0;
        }
    }
    meet();
    for (uint64_t i = 0; i < n; i++) {
        uint64_t v = rng_next(&rng);
        unsigned k = v & 3;
        /* Each word is taken in one way only, and guards two words on pages of their own. */
        volatile uint64_t *a = page_of(LOCK_PAGE, 1 + k), *b = page_of(LOCK_PAGE, 5 + k);
        lock(&words[k * 16], k & 1, &rng);
        uint64_t old = *a;
        t->wrong += *b != old || old < mine[k];
        t->seen += old > mine[k];
        mine[k] = *a = old + 1;
        *b = old + 1;
        unlock(&words[k * 16], v >> 8 & 1);
    }
    t->did[0] = n;
    meet();
    if (hart == 0) {
        uint64_t have = 0;
        for (unsigned i = 0; i < 4; i++) {
            have += *(volatile uint64_t *)page_of(LOCK_PAGE, 1 + i);
        }
        struct told sum = all_told();
        verdict("locks by AMO and LR/SC", "", n * num_harts, sum.seen, !sum.wrong && have == sum.did[0]);
    }
    meet();
}

/* ---- bytes of one page, each with one writer ---- */

void test_bytes(unsigned hart, uint64_t n)
{
    static uint8_t mine[MAX_HARTS][PAGE] __attribute__((aligned(PAGE))); /* each hart: what it knows of all */
    struct told *t = tell(hart);
    volatile uint8_t *page = page_of(BYTE_PAGE, 0);
    uint64_t rng = seed * 64 + hart;
    memset(mine[hart], 0, PAGE);
    if (hart == 0) {
        memset((void *)page, 0, PAGE);
    }
    meet();
    for (uint64_t i = 0; i < n; i++) {
        uint64_t v = rng_next(&rng);
        unsigned own = (unsigned)(v % (PAGE / MAX_HARTS)) * MAX_HARTS + hart, other = v >> 32 & (PAGE - 1);
        t->wrong += page[own] != mine[hart][own];
        page[own] = ++mine[hart][own];
        if (other % MAX_HARTS != hart) {
            uint8_t now = page[other];
            t->seen += now != mine[hart][other];
            mine[hart][other] = now;
        }
    }
    meet();
    for (unsigned i = hart; i < PAGE; i += MAX_HARTS) {
        t->wrong += page[i] != mine[hart][i];
    }
    meet();
    if (hart == 0) {
        struct told sum = all_told();
        verdict("bytes of one page", "", n * num_harts, sum.seen, !sum.wrong);
    }
    meet();
}

/* ---- pages in a row: one writes them through, then says so; the others read through them ---- */

static struct {
    volatile uint64_t flag;
    volatile uint32_t readers_done;
} stream __attribute__((aligned(PAGE)));

static volatile uint64_t *stream_word(unsigned base, unsigned i)
{
    return (volatile uint64_t *)(area[base] + STREAM_PAGE * PAGE + (uint64_t)i * STREAM_STEP);
}

static void read_through(unsigned base, uint64_t n, struct told *t)
{
    for (uint64_t done = 0; done < n; done += STREAM_PAGES * PAGE / STREAM_STEP) {
        uint64_t flag = __atomic_load_n(&stream.flag, __ATOMIC_ACQUIRE);
        for (unsigned i = 0; i < STREAM_PAGES * PAGE / STREAM_STEP; i++) {
            uint64_t v = *stream_word(base, i);
            t->wrong += v < flag;
            t->seen += v > flag;
            t->did[0]++;
        }
    }
    __atomic_fetch_add(&stream.readers_done, 1, __ATOMIC_RELEASE);
}

void test_stream(unsigned hart, uint64_t n)
{
    uint64_t rounds = 0, seen = 0;
    bool right = true;
    for (unsigned writer = 0; writer < num_harts; writer++) {
        struct told *t = tell(hart);
        unsigned base = (node_of[writer] + writer % 2) % num_nodes; /* homed at the writer or elsewhere */
        if (hart == writer) {
            stream.flag = stream.readers_done = 0;
            memset((void *)stream_word(base, 0), 0, STREAM_PAGES * PAGE);
        }
        meet();
        if (hart != writer) {
            read_through(base, n / num_harts, t);
        }
        for (uint64_t g = 1; hart == writer && stream.readers_done < num_harts - 1; g++) {
            for (unsigned i = 0; i < STREAM_PAGES * PAGE / STREAM_STEP; i++) {
                *stream_word(base, i) = g;
            }
            __atomic_store_n(&stream.flag, g, __ATOMIC_RELEASE);
        }
        meet();
        struct told sum = all_told();
        rounds += sum.did[0];
        seen += sum.seen;
        right &= !sum.wrong;
        meet();
    }
    if (hart == 0) {
        verdict("pages read in a row", "", rounds, seen, right);
    }
}

/* ---- code that another hart changes ---- */

static struct {
    volatile uint32_t flag, followed;
} code __attribute__((aligned(PAGE)));

typedef uint64_t slot_fn(void);

static volatile uint32_t *slot(unsigned base, unsigned i)
{
    return (volatile uint32_t *)(area[base] + CODE_PAGE * PAGE + i * 8ul);
}

static uint64_t call(unsigned base, unsigned i)
{
    return ((slot_fn *)(uintptr_t)slot(base, i))();
}

/* li a0, value */
static uint32_t load_immediate(uint64_t value)
{
    return (uint32_t)(value & 0x7ff) << 20 | 10 << 7 | 0x13;
}

static void change_code(unsigned base, uint64_t g, bool remote_fence)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        *slot(base, i) = load_immediate(g);
    }
    if (remote_fence) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        sbi(SBI_RFENCE, 0, (1l << num_harts) - 1, 0, 0, NULL);
    }
    __atomic_store_n(&code.flag, (uint32_t)g, __ATOMIC_RELEASE);
    while (__atomic_load_n(&code.followed, __ATOMIC_ACQUIRE) != (num_harts - 1) * (uint32_t)g) {
    }
}

/* Until the change is announced, the old code or the new; afterwards the new. */
static void follow_code(unsigned base, uint64_t g, bool remote_fence, struct told *t)
{
    for (unsigned i = 0; __atomic_load_n(&code.flag, __ATOMIC_ACQUIRE) != (uint32_t)g; i = (i + 1) % SLOTS) {
        uint64_t v = call(base, i);
        t->wrong += v != (g & 0x7ff) && v != ((g - 1) & 0x7ff);
        t->seen += v == (g & 0x7ff);
    }
    if (!remote_fence) {
        __asm__ volatile("fence.i" ::: "memory");
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        t->wrong += call(base, i) != (g & 0x7ff);
        t->did[0]++;
    }
    __atomic_fetch_add(&code.followed, 1, __ATOMIC_ACQ_REL);
}

static void code_begin(unsigned base)
{
    code.flag = code.followed = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        *slot(base, i) = load_immediate(0);
        *(slot(base, i) + 1) = 0x00008067; /* ret */
    }
}

void test_code(unsigned hart, uint64_t n, bool remote_fence)
{
    uint64_t rounds = 0, seen = 0;
    bool right = true;
    for (unsigned turn = 0; rounds < n; turn++) {
        struct told *t = tell(hart);
        unsigned writer = turn % num_harts, base = turn / num_harts % num_nodes;
        if (hart == writer) {
            code_begin(base);
        }
        meet();
        __asm__ volatile("fence.i" ::: "memory");
        meet();
        for (uint64_t g = 1; g <= TURNS; g++) {
            if (hart == writer) {
                change_code(base, g, remote_fence);
            } else {
                follow_code(base, g, remote_fence, t);
            }
        }
        meet();
        struct told sum = all_told();
        rounds += sum.did[0];
        seen += sum.seen;
        right &= !sum.wrong;
        meet();
    }
    if (hart == 0) {
        verdict("code changed by another hart, ", remote_fence ? "remote fence.i" : "own fence.i", rounds, seen, right);
    }
}
