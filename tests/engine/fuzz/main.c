/*
 * Runs iterations and prints their hashes. Arguments (-append):
 *     seed=N first=I count=N   the iterations I .. I+N-1 of a seed
 *     groups=N                 groups in a stream (at most 500)
 *     ext=zba,zbb,...          extensions to use
 *     step=N                   a line for so many iterations
 *     dump=1                   print everything about each iteration
 *     drop=A-B,C               leave groups out (with count=1)
 *     reps=N                   how often each stream runs, from new registers every time
 *     mode=N                   only this mode
 *     old=1                    hide what QEMU 7.2 does otherwise
 * A line "H first common exact": `common` is what all engines agree on, `exact` adds trap values and the count of
 * retired instructions, which QEMU has otherwise.
 */
#include "fuzz.h"

#define PTE_V 0x01ull
#define PTE_R 0x02ull
#define PTE_W 0x04ull
#define PTE_X 0x08ull
#define PTE_U 0x10ull
#define PTE_A 0x40ull
#define PTE_D 0x80ull
#define STATUS_FS (3ull << 13)
#define STATUS_MPIE (1ull << 7)

enum { MAX_STEPS = 1 << 15, MAX_TRAPS = 200, TABLE = 512, TRAP_PATH = 100 };

/* All that a hart needs of its own. */
struct arena {
    uint8_t code[CODE_PAGES][PAGE];
    uint8_t window[WINDOW_PAGES][PAGE];
    uint64_t table[5][TABLE]; /* levels 0 to 4 */
    struct context ctx;
    struct stream stream;
    uint8_t code_page[CODE_PAGES], window_page[WINDOW_PAGES]; /* virtual page -> physical one */
    uint64_t overhead;                                        /* instructions of the trap handler */
    uint64_t first_status;                                    /* mstatus to enter the stream with */
} __attribute__((aligned(PAGE)));

static struct arena arenas[MAX_HARTS];
static struct {
    uint64_t seed, first, count, groups, step, dump, mode, old, reps;
    uint32_t ext;
    const char *drop;
    unsigned harts;
} opt;
static char bootargs[1024];
static uint64_t common_hash[MAX_STEPS], exact_hash[MAX_STEPS];
static uint64_t made[MAX_HARTS], executed[MAX_HARTS], traps[MAX_HARTS];
static volatile uint32_t finished;

static void mix(uint64_t *h, uint64_t v)
{
    *h = (*h ^ v) * 0x9fb21c651e98df25ull;
    *h ^= *h >> 32;
}

static struct arena *arena_of(struct context *ctx)
{
    return (struct arena *)(void *)((char *)ctx - offsetof(struct arena, ctx));
}

/* The code's byte at a virtual address of the stream, wherever it lies. */
static uint8_t *code_at(struct arena *a, uint64_t va)
{
    uint64_t off = va - (a->stream.mode == MODE_M ? (uint64_t)a->code : VA_CODE);
    return off < sizeof(a->code) ? &a->code[a->code_page[off / PAGE]][off % PAGE] : NULL;
}

bool on_trap(struct context *ctx)
{
    uint64_t start = csr_read("minstret");
    struct arena *a = arena_of(ctx);
    bool interrupt = ctx->cause >> 63;
    if (!interrupt && ctx->pc == ctx->end_pc && ctx->cause >= 8 && ctx->cause <= 11) {
        return true;
    }
    struct trap t = {ctx->cause, ctx->pc - ctx->code_va, ctx->tval};
    if (ctx->num_traps < MAX_LOG) {
        ctx->log[ctx->num_traps] = t;
    }
    ctx->num_traps++;
    /* QEMU up to 7.2 takes the faults of AMOs for loads'. */
    mix(&ctx->trap_hash, !opt.old ? t.cause : t.cause == 4 ? 6 : t.cause == 5 ? 7 : t.cause == 13 ? 15 : t.cause);
    mix(&ctx->trap_hash, t.pc);
    /* Engines differ in which byte of an access they name, and in whether a breakpoint names itself. */
    mix(&ctx->trap_hash, t.cause == 3 ? 0 : t.cause == 2 ? t.tval : t.tval & ~7ull);
    mix(&ctx->exact_hash, t.tval);
    const uint8_t *insn = code_at(a, ctx->pc);
    if (!insn || ctx->run_traps >= MAX_TRAPS) {
        return true;
    }
    if (interrupt) {
        __asm__ volatile("csrc mip, %0" ::"r"(2ul));
    } else {
        ctx->pc += (*insn & 3) == 3 ? 4 : 2;
    }
    ctx->status |= STATUS_FS;
    a->overhead += csr_read("minstret") - start + TRAP_PATH;
    return false;
}

/* ---- memory ---- */

static void shuffle(uint8_t *order, unsigned n, uint64_t *rng)
{
    for (unsigned i = 0; i < n; i++) {
        order[i] = (uint8_t)i;
    }
    for (unsigned i = n; rng && i > 1; i--) {
        unsigned j = (unsigned)(rng_next(rng) % i);
        uint8_t t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}

static uint64_t *window_word(struct arena *a, unsigned off)
{
    return (uint64_t *)(void *)&a->window[a->window_page[off / PAGE]][off % PAGE];
}

static void fill_window(struct arena *a, uint64_t *rng)
{
    for (unsigned b = 1; b < WINDOW_PAGES; b++) {
        for (unsigned off = b * PAGE - HOT_BELOW; off < b * PAGE + HOT_ABOVE; off += 8) {
            *window_word(a, off) = rng_next(rng);
        }
    }
    for (unsigned i = 0; i < NUM_CONSTANTS; i++) {
        *window_word(a, CONSTANTS_AT + 8 * i) = i % 3 ? random_float(rng) : random_integer(rng);
    }
}

static void hash_window(struct arena *a, uint64_t *h)
{
    for (unsigned b = 1; b < WINDOW_PAGES; b++) {
        for (unsigned off = b * PAGE - HOT_BELOW; off < b * PAGE + HOT_ABOVE; off += 8) {
            mix(h, *window_word(a, off));
        }
    }
}

static void map(struct arena *a, uint64_t va, const void *page, uint64_t flags)
{
    a->table[0][va >> 12 & 511] = ((uint64_t)page >> 12) << 10 | PTE_V | PTE_A | PTE_D | flags;
}

static void point(struct arena *a, unsigned level, uint64_t va)
{
    a->table[level][va >> (12 + 9 * level) & 511] = ((uint64_t)a->table[level - 1] >> 12) << 10 | PTE_V;
}

/* One chain of tables serves Sv39, Sv48 and Sv57: only the root differs. At times a page of the window is missing or
 * read-only. */
static void make_tables(struct arena *a, uint64_t *rng)
{
    uint64_t r = rng_next(rng);
    uint64_t u = a->stream.mode & 1 ? 0 : PTE_U;
    for (unsigned level = 4; level; level--) {
        point(a, level, VA_BASE);
    }
    for (unsigned i = 0; i < CODE_PAGES; i++) {
        map(a, VA_CODE + i * PAGE, a->code[a->code_page[i]], PTE_R | PTE_X | u);
        map(a, VA_ALIAS + i * PAGE, a->code[a->code_page[i]], PTE_R | PTE_W | u);
    }
    for (unsigned i = 0; i < WINDOW_PAGES; i++) {
        map(a, VA_WINDOW + i * PAGE, a->window[a->window_page[i]], PTE_R | PTE_W | u);
    }
    uint64_t *pte = &a->table[0][(VA_WINDOW >> 12 & 511) + (r & 3)];
    a->stream.odd_page = (r >> 2 & 15) < 4;
    switch (r >> 2 & 15) {
    case 0:
        *pte &= ~PTE_V;
        break;
    case 1:
        *pte &= ~PTE_W;
        break;
    case 2:
        *pte ^= PTE_U;
        break;
    case 3:
        *pte = (*pte & ~(PTE_R | PTE_W)) | PTE_X;
        break;
    default:
        break;
    }
}

/* ---- one iteration ---- */

static void set_mode(struct arena *a, uint64_t *rng)
{
    static const uint8_t satp_mode[NUM_MODES] = {0, 8, 8, 9, 9, 10, 10};
    static const uint8_t root[NUM_MODES] = {0, 2, 2, 3, 3, 4, 4}, mpp[NUM_MODES] = {3, 1, 0, 1, 0, 1, 0};
    struct stream *s = &a->stream;
    enum mode mode = s->mode;
    bool paged = mode != MODE_M;
    shuffle(a->code_page, CODE_PAGES, paged ? rng : NULL);
    shuffle(a->window_page, WINDOW_PAGES, paged ? rng : NULL);
    make_tables(a, rng);
    s->odd_page = paged && s->odd_page;
    s->window_va = paged ? VA_WINDOW : (uint64_t)a->window;
    s->code_va = paged ? VA_CODE : (uint64_t)a->code;
    s->alias_va = paged ? VA_ALIAS : s->code_va;
    a->first_status = (uint64_t)mpp[mode] << 11 | STATUS_FS | STATUS_MPIE;
    csr_write("satp",
              paged ? (uint64_t)satp_mode[mode] << 60 | (rng_next(rng) & 3) << 44 | (uint64_t)a->table[root[mode]] >> 12
                    : 0);
    __asm__ volatile("sfence.vma" ::: "memory");
    csr_write("mie", paged ? 0 : 2);
}

static void place_code(struct arena *a, unsigned at)
{
    const uint8_t *from = (const uint8_t *)a->stream.code;
    for (unsigned i = 0; i < a->stream.len; i += 2) {
        unsigned off = at + i;
        memcpy(&a->code[a->code_page[off / PAGE]][off % PAGE], from + i, 2);
    }
    __asm__ volatile("fence.i" ::: "memory");
}

static void dump_before(struct arena *a, uint64_t iteration)
{
    struct stream *s = &a->stream;
    print("iteration %u mode %u code %x window %x base x%u groups %u\n", iteration, (uint64_t)s->mode, s->code_va,
          s->window_va, (uint64_t)s->base, (uint64_t)s->num_groups);
    print("code");
    for (unsigned i = 0; i < s->len; i += 2) {
        put_char(' ');
        put_hex(s->code[i / 2], 4);
    }
    put_char('\n');
    for (unsigned i = 0; i < 32; i++) {
        print("before x%u %X f%u %X\n", (uint64_t)i, a->ctx.x[i], (uint64_t)i, a->ctx.f[i]);
    }
}

static void dump_after(struct arena *a)
{
    struct context *c = &a->ctx;
    for (unsigned i = 0; i < c->num_traps && i < MAX_LOG; i++) {
        print("trap %x at +%x tval %x\n", c->log[i].cause, c->log[i].pc, c->log[i].tval);
    }
    for (unsigned i = 0; i < 32; i++) {
        print("x%u %X\nf%u %X\n", (uint64_t)i, c->x[i], (uint64_t)i, c->f[i]);
    }
    print("fcsr %x traps %u\n", c->fcsr, (uint64_t)c->num_traps);
    for (unsigned b = 1; b < WINDOW_PAGES; b++) {
        for (unsigned off = b * PAGE - HOT_BELOW; off < b * PAGE + HOT_ABOVE; off += 8) {
            print("memory +%x %X\n", (uint64_t)off, *window_word(a, off));
        }
    }
}

static enum mode choose_mode(uint64_t *rng)
{
    uint64_t r = rng_next(rng);
    if (opt.mode < NUM_MODES) {
        return (enum mode)opt.mode;
    }
    return r & 1 ? MODE_M : (enum mode)((r >> 8) % NUM_MODES);
}

/* Runs the stream from new register values; returns the instructions retired, the handler's among them. */
static uint64_t run_once(struct arena *a, uint64_t iteration, uint64_t *rng)
{
    struct stream *s = &a->stream;
    struct context *c = &a->ctx;
    for (unsigned i = 0; i < 32; i++) {
        c->x[i] = random_integer(rng);
        c->f[i] = random_float(rng);
    }
    c->x[s->base] = s->window_va;
    c->x[s->count[0]] = c->x[s->count[1]] = c->x[s->tmp] = c->x[0] = 0;
    for (unsigned i = 0; i < 3; i++) {
        c->x[s->ptr[i]] = s->window_va + (1 + i) * PAGE;
    }
    uint64_t fcsr = rng_next(rng);
    c->fcsr = (fcsr & 31) | (fcsr >> 8) % 5 << 5;
    c->pc = c->code_va;
    c->status = a->first_status;
    c->run_traps = 0;
    if (opt.dump) {
        dump_before(a, iteration);
    }
    uint64_t start = csr_read("minstret");
    run_stream(c);
    uint64_t took = csr_read("minstret") - start;
    if (opt.dump) {
        dump_after(a);
    }
    return took;
}

static void hash_registers(const struct context *c, uint64_t *h)
{
    for (unsigned i = 1; i < 32; i++) {
        mix(h, c->x[i]);
    }
    for (unsigned i = 0; i < 32; i++) {
        mix(h, c->f[i]);
    }
    mix(h, c->fcsr);
}

static void iterate(unsigned hart, uint64_t iteration)
{
    struct arena *a = &arenas[hart];
    struct stream *s = &a->stream;
    struct context *c = &a->ctx;
    uint64_t rng = opt.seed * 0x2545f4914f6cdd1dull + iteration * 0x9e3779b97f4a7c15ull;
    rng_next(&rng);
    s->mode = choose_mode(&rng);
    s->ext = opt.ext;
    s->drop = opt.drop;
    set_mode(a, &rng);
    fill_window(a, &rng);
    /* The code starts somewhere in the first page, so that it crosses a page's end anywhere. */
    unsigned at = PAGE - 2 * (unsigned)(rng_next(&rng) % 600);
    s->code_va += at;
    s->alias_va += at;
    s->rng = rng_next(&rng);
    unsigned end = stream_generate(s, (unsigned)opt.groups);
    c->code_va = s->code_va;
    c->end_pc = s->code_va + end;
    c->num_traps = 0;
    c->trap_hash = c->exact_hash = 0;
    a->overhead = 0;
    uint64_t h = 0, retired = 0;
    for (unsigned rep = 0; rep < opt.reps; rep++) {
        place_code(a, at);
        uint64_t took = run_once(a, iteration, &rng);
        retired += took;
        mix(&c->exact_hash, took);
        hash_registers(c, &h);
    }
    mix(&h, c->trap_hash);
    hash_window(a, &h);
    uint64_t step = (iteration - opt.first) / opt.step;
    mix(&common_hash[step], h);
    mix(&exact_hash[step], c->exact_hash);
    made[hart] += s->insns;
    executed[hart] += retired - a->overhead;
    traps[hart] += c->num_traps;
}

/* A hart takes whole steps in turn, so that each step's hash is one hart's work whatever the number of harts. */
static void run_steps(unsigned hart)
{
    uint64_t num_steps = (opt.count + opt.step - 1) / opt.step;
    csr_write("mtvec", trap_entry);
    csr_write("medeleg", 0);
    csr_write("mideleg", 0);
    csr_write("mcounteren", 0);
    csr_write("pmpaddr0", ~0ull >> 10);
    csr_write("pmpcfg0", 0x1f);
    if (opt.ext & (1u << NEED_ZICBOM | 1u << NEED_ZICBOZ)) {
        csr_write("0x30a", 0xf0); /* menvcfg, senvcfg */
        csr_write("0x10a", 0xf0);
    }
    for (uint64_t step = hart; step < num_steps; step += opt.harts) {
        for (uint64_t i = step * opt.step; i < (step + 1) * opt.step && i < opt.count; i++) {
            iterate(hart, opt.first + i);
        }
    }
    __atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
}

void main_other(unsigned long hart)
{
    if (hart < opt.harts) {
        run_steps((unsigned)hart);
    }
}

static uint32_t parse_ext(const char *list)
{
    static const char *const names[] = {"",       "zba",    "zbb",     "zbs",   "zicond",
                                        "zicbom", "zicboz", "svinval", "zawrs", "zihintpause"};
    uint32_t ext = 1;
    for (const char *p = list; p && *p && *p != ' ';) {
        unsigned len = 0;
        while (p[len] && p[len] != ',' && p[len] != ' ') {
            len++;
        }
        for (unsigned i = 1; i < sizeof(names) / sizeof(names[0]); i++) {
            if (memcmp(p, names[i], len) == 0 && !names[i][len]) {
                ext |= 1u << i;
            }
        }
        p += len + (p[len] == ',');
    }
    return ext;
}

int main_hart0(const void *fdt)
{
    fdt_bootargs(fdt, bootargs, sizeof(bootargs));
    opt.seed = arg_number(bootargs, "seed", 1);
    opt.first = arg_number(bootargs, "first", 0);
    opt.count = arg_number(bootargs, "count", 64);
    opt.groups = arg_number(bootargs, "groups", 200);
    opt.step = arg_number(bootargs, "step", 64);
    opt.dump = arg_number(bootargs, "dump", 0);
    opt.reps = arg_number(bootargs, "reps", 4);
    opt.old = arg_number(bootargs, "old", 0);
    opt.mode = arg_number(bootargs, "mode", NUM_MODES);
    opt.harts = (unsigned)arg_number(bootargs, "harts", 1);
    opt.ext = parse_ext(arg_text(bootargs, "ext"));
    opt.drop = arg_text(bootargs, "drop");
    if (opt.groups > 500 || opt.harts > MAX_HARTS || opt.count > opt.step * MAX_STEPS) {
        print("the arguments ask for too much: %s\n", bootargs);
        return 2;
    }
    __atomic_store_n(&bare_go, 1, __ATOMIC_SEQ_CST);
    run_steps(0);
    while (finished != opt.harts) {
        __asm__ volatile("nop");
    }
    uint64_t m = 0, e = 0, t = 0;
    for (unsigned i = 0; i < opt.harts; i++) {
        m += made[i];
        e += executed[i];
        t += traps[i];
    }
    for (uint64_t i = 0; i < (opt.count + opt.step - 1) / opt.step; i++) {
        print("H %u %X %X\n", opt.first + i * opt.step, common_hash[i], exact_hash[i]);
    }
    print("made %u executed %u traps %u\n", m, e, t);
    return 0;
}
