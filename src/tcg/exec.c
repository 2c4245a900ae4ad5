/*
 * The dispatcher: finds or makes the code for a pc, enters it, and deals with why it came back.
 */
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <stdlib.h>
#include <string.h>

#include "tcg/helpers.h"
#include "tcg/interp.h"
#include "weft/log.h"
#include "weft/machine.h"
#include "weft/page_user.h"

/* Instructions between two looks at exit_request and the timer: about 2 microseconds. */
enum { SLICE = 8192, SAMPLE_EVERY = 64, SAMPLE_INSNS = 64 };

static bool host_can_translate(void)
{
#if defined(__x86_64__)
    /* clang 14 does not know "lzcnt" by name: CPUID 80000001h, ECX bit 5. */
    unsigned a, b, c = 0, d;
    bool lzcnt = __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & 1u << 5);
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2") && lzcnt && __builtin_cpu_supports("popcnt");
#else
    return false;
#endif
}

bool tcg_create(struct machine *m, struct error *err)
{
    m->tcg_data = NULL;
    if (m->cfg->tier == TCG_TIER_INTERP) {
        return true;
    }
    if (!host_can_translate()) {
        if (m->cfg->tier == TCG_TIER_T1) {
            return error_set(err, "-accel tcg,tier=t1 needs a host CPU with AVX2, FMA, BMI1 and BMI2; leave tier= out "
                                  "to run by the interpreter");
        }
        log_warn("the host CPU has no AVX2, FMA, BMI1 and BMI2: guest code runs by the interpreter");
        return true;
    }
    size_t mib = m->cfg->tb_size_mib ? m->cfg->tb_size_mib : 64;
    struct codecache *cc;
    if (!codecache_create(&cc, m, mib << 20, err)) {
        return false;
    }
    stubs_create(cc, &tcg_stubs);
    cc->base_used = cc->region_used = CODE_CHUNK_SIZE;
    m->tcg_data = cc;
    codecache_set_machine(m);
    return true;
}

void tcg_destroy(struct machine *m)
{
    struct codecache *cc = codecache_of(m);
    codecache_destroy(&cc);
    m->tcg_data = NULL;
}

bool tcg_cpu_create(struct cpu *cpu, struct error *err)
{
    static const uint64_t fp_const[8] = {1ull << 63, 0, ~(1ull << 63), ~0ull, 1ull << 31, 0, ~(1ull << 31), ~0ull};
    struct tcg_cpu *t = calloc(1, sizeof(*t));
    struct tr *tr = calloc(1, sizeof(*tr));
    if (!t || !tr) {
        free(t);
        free(tr);
        return error_set(err, "no memory for hart %u's translator", cpu->hart);
    }
    memcpy(cpu->fp_const, fp_const, sizeof(fp_const));
    t->cc = codecache_of(cpu->machine);
    t->tr = tr;
    tr->cpu = cpu;
    tr->cc = t->cc;
    tr->stubs = &tcg_stubs;
    cpu->tcg = t;
    return true;
}

void tcg_cpu_destroy(struct cpu *cpu)
{
    struct tcg_cpu *t = cpu->tcg;
    if (t) {
        free(t->tr);
        free(t);
        cpu->tcg = NULL;
    }
}

enum tcg_exit tcg_exit_of(enum interp_result r)
{
    switch (r) {
    case INTERP_WFI:
        return TCG_EXIT_WFI;
    case INTERP_YIELD:
        return TCG_EXIT_YIELD;
    case INTERP_FENCE_I:
        return TCG_EXIT_FENCE_I;
    default:
        return TCG_EXIT_EVENT;
    }
}

/* What to do at a pc. */
enum found { FOUND_CODE, FOUND_FAULT, FOUND_INTERP };

static void remember_page(struct cpu *cpu, struct code_page *p, uint64_t va_page)
{
    struct tcg_cpu *t = cpu->tcg;
    struct tlb_ctx *ctx = cpu->ctx;
    if (ctx->code_va[p->id] != va_page) {
        if (ctx->num_code_ids < TLB_CODE_IDS) {
            ctx->code_ids[ctx->num_code_ids] = p->id;
        }
        if (ctx->num_code_ids <= TLB_CODE_IDS) {
            ctx->num_code_ids++;
        }
        ctx->code_va[p->id] = va_page;
    }
    ctx->code_filled = true;
    struct fetch_entry *f = &t->fetch[va_page >> GUEST_PAGE_BITS & (FETCH_CACHE_SIZE - 1)];
    *f = (struct fetch_entry){.va_page = va_page, .ctx = ctx, .id = p->id};
}

/* The code page that va is in, or NULL with *found saying why there is none. */
static struct code_page *page_at(struct cpu *cpu, gva_t va, enum found *found)
{
    struct codecache *cc = codecache_of(cpu->machine);
    for (;;) {
        struct translation tr;
        *found = FOUND_FAULT;
        if (!tlb_translate(cpu, va, ACCESS_FETCH, &tr)) {
            return NULL;
        }
        *found = FOUND_INTERP;
        if (!tr.is_ram) {
            return NULL;
        }
        struct code_page *p = codecache_page_get(cc, cpu, tr.gpa & GUEST_PAGE_MASK);
        if (p) {
            remember_page(cpu, p, va & GUEST_PAGE_MASK);
            *found = FOUND_CODE;
            return p;
        }
        codecache_evict(cpu->machine, cpu);
    }
}

/* The same for pc; a fault is taken. */
static struct code_page *find_page(struct cpu *cpu, enum found *found)
{
    struct code_page *p = page_at(cpu, cpu->pc, found);
    if (*found == FOUND_FAULT) {
        cpu_take_exception(cpu, cpu->exc_cause, cpu->exc_tval);
    }
    return p;
}

/* Two bytes of the page, whose lock is held; false when it is not in use any more. */
static bool read_half(struct cpu *cpu, struct code_page *p, unsigned off, uint16_t *half)
{
    struct codecache *cc = codecache_of(cpu->machine);
    const uint8_t *bytes = codecache_page_bytes(cc, cpu, p);
    memcpy(half, bytes + off, sizeof(*half));
    codecache_page_read(cc, cpu, p, bytes);
    return !atomic_load(&p->retired);
}

/* Whether an instruction at pc, in page p, goes on in the page behind. */
static bool crosses(const struct cpu *cpu, const struct code_page *p)
{
    uint16_t half;
    memcpy(&half, ram_ptr(cpu->ram, p->gpa) + CODE_CROSS_OFF, sizeof(half));
    return (cpu->pc & ~GUEST_PAGE_MASK) == CODE_CROSS_OFF && insn_length(half) == 4;
}

/* Makes sure that the page of pc has a translation of the instruction at its end for the page that is behind now.
 * FOUND_CODE: *page is that page. Anything odd is left to the interpreter. */
static enum found find_crossing(struct cpu *cpu, struct code_page **page)
{
    struct codecache *cc = codecache_of(cpu->machine);
    struct tcg_cpu *t = cpu->tcg;
    for (;;) {
        enum found found;
        uint16_t low, high;
        uint64_t evictions = cc->evictions;
        struct code_page *behind = page_at(cpu, (cpu->pc & GUEST_PAGE_MASK) + GUEST_PAGE_SIZE, &found);
        if (!behind) {
            return FOUND_INTERP;
        }
        struct code_page *p = find_page(cpu, &found);
        if (!p) {
            return found;
        }
        if (p == behind) {
            return FOUND_INTERP; /* one page mapped twice: code_va has room for one address */
        }
        if (!codecache_room(cc, t)) {
            codecache_evict(cpu->machine, cpu);
        }
        if (cc->evictions != evictions) {
            continue;
        }
        pthread_mutex_lock(&behind->lock);
        bool ok = read_half(cpu, behind, 0, &high), made = false;
        pthread_mutex_unlock(&behind->lock);
        pthread_mutex_lock(&p->lock);
        if (ok && (ok = read_half(cpu, p, CODE_CROSS_OFF, &low)) && insn_length(low) == 4) {
            made = translate_crossing(t->tr, p, behind, low | (uint32_t)high << 16);
        }
        pthread_mutex_unlock(&p->lock);
        if (ok) {
            *page = p;
            return made ? FOUND_CODE : FOUND_INTERP;
        }
    }
}

/* Translates from page offset `off` on, unless another hart has. False: the page is not in use any more. */
static bool translate(struct cpu *cpu, struct code_page *p, unsigned off)
{
    struct codecache *cc = codecache_of(cpu->machine);
    struct tcg_cpu *t = cpu->tcg;
    pthread_mutex_lock(&p->lock);
    bool ok = !atomic_load(&p->retired);
    if (ok && !code_page_find(p, off)) {
        const uint8_t *bytes = codecache_page_bytes(cc, cpu, p);
        translate_unit(t->tr, p, bytes, off);
        codecache_page_read(cc, cpu, p, bytes);
    }
    pthread_mutex_unlock(&p->lock);
    return ok;
}

/* Finds the code for cpu->pc (`plain`: CODE_PLAIN or 0), translating it if need be; sets pc_page. */
static enum found find_code(struct cpu *cpu, unsigned plain, void **code, struct code_page **page)
{
    struct codecache *cc = codecache_of(cpu->machine);
    enum found found = FOUND_CODE;
    unsigned off = (unsigned)(cpu->pc & ~GUEST_PAGE_MASK) | plain;
    if (cpu->ctx->kind == CTX_MPRV) {
        return FOUND_INTERP;
    }
    for (;;) {
        struct code_page *p = find_page(cpu, &found);
        if (p && !plain && crosses(cpu, p)) {
            found = find_crossing(cpu, &p);
        }
        if (found != FOUND_CODE) {
            return found;
        }
        uint32_t at = code_page_find(p, off);
        if (!at) {
            if (!codecache_room(cc, cpu->tcg)) {
                codecache_evict(cpu->machine, cpu);
                continue;
            }
            if (!translate(cpu, p, off) || !(at = code_page_find(p, off))) {
                continue;
            }
        }
        *code = cc->rx + at;
        *page = p;
        cpu->pc_page = cpu->pc & GUEST_PAGE_MASK;
        if (!log_on(TRACING) && !plain) {
            tlb_jc_fill(cpu->ctx, cpu->pc, *code);
        }
        return FOUND_CODE;
    }
}

/* CODE_PLAIN if the site wants the plain translation. */
static unsigned link_plain(const struct link_site *site_rx)
{
    struct link_site s;
    memcpy(&s, site_rx, sizeof(s));
    return s.id & LINK_PLAIN ? CODE_PLAIN : 0;
}

/* Patches the jump that led here so that it goes to `code` by itself. */
static void link_jump(struct cpu *cpu, const struct link_site *site_rx, const void *code, const struct code_page *to)
{
    struct codecache *cc = codecache_of(cpu->machine);
    uint8_t *site = cc->rw + ((const uint8_t *)site_rx - cc->rx);
    struct link_site s;
    memcpy(&s, site, sizeof(s));
    const uint8_t *target = cc->rw + ((const uint8_t *)code - cc->rx);
    uint8_t *patch = site + s.patch;
    int32_t disp = (int32_t)(target - (patch + 4));
    if (!s.guard) {
        if ((s.id & ~LINK_PLAIN) == to->id) {
            __atomic_store_n((int32_t *)patch, disp, __ATOMIC_RELEASE);
        }
        return;
    }
    /* A guarded jump is linked once: its displacement first, then the id that lets it be taken. */
    pthread_mutex_lock(&cc->lock);
    int32_t *guard = (int32_t *)(site + s.guard);
    if (__atomic_load_n(guard, __ATOMIC_RELAXED) == CTX_CODE_VA) {
        __atomic_store_n((int32_t *)patch, disp, __ATOMIC_RELEASE);
        __atomic_store_n(guard, CTX_CODE_VA + (int32_t)to->id * 8, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&cc->lock);
}

static void slice_set(struct cpu *cpu, int64_t n)
{
    cpu->icount_end = cpu_instret(cpu) + (uint64_t)n;
    cpu->budget = n;
}

/* Runs instructions one by one until something ends the run; EXIT_BUDGET when the slice is used up. */
static enum tcg_exit interpret(struct cpu *cpu, uint64_t max)
{
    while (cpu->budget > 0 && max--) {
        if (log_on(TRACING)) {
            tcg_trace(cpu);
        }
        enum interp_result r = interp_step(cpu);
        if (r != INTERP_NEXT) {
            return tcg_exit_of(r);
        }
    }
    return TCG_EXIT_BUDGET;
}

/* Runs translated code from cpu->pc until it leaves for good. */
static enum tcg_exit run_code(struct cpu *cpu)
{
    void *code = tcg_lookup_fast(cpu, cpu->pc);
    struct code_page *page = NULL;
    const struct link_site *site = NULL;
    const struct codecache *cc = codecache_of(cpu->machine);
    for (;;) {
        if (!code || site) {
            uint64_t evictions = cc->evictions;
            enum found f = find_code(cpu, site ? link_plain(site) : 0, &code, &page);
            if (f != FOUND_CODE) {
                if (f == FOUND_INTERP) {
                    return TCG_EXIT_INTERP;
                }
                cpu->budget--; /* not retired, but a loop of traps is to use up its slice */
                cpu->icount_end--;
                return TCG_EXIT_EVENT;
            }
            if (site && !log_on(TRACING) && evictions == cc->evictions) { /* else the site itself may be gone */
                link_jump(cpu, site, code, page);
            }
        }
        cpu->stats.dispatches++;
        if (log_on(TRACING)) {
            tcg_trace(cpu);
        }
        enum tcg_exit r = tcg_stubs.enter(cpu, code);
        site = NULL;
        switch (r) {
        case TCG_EXIT_LOOKUP:
            code = NULL;
            break;
        case TCG_EXIT_LINK:
            memcpy(&site, &cpu->scratch[0], sizeof(site));
            break;
        default:
            return r;
        }
    }
}

/* A new slice begins: the end of the run, or what may be left of it. False: the quantum is used up. */
static bool slice_begin(struct cpu *cpu, uint64_t limit)
{
    uint64_t now = cpu_instret(cpu);
    if (now >= limit) {
        return false;
    }
    uint64_t left = limit - now;
    slice_set(cpu, left < SLICE ? (int64_t)left : SLICE);
    tlb_safe_point(cpu);
    struct codecache *cc = codecache_of(cpu->machine);
    if (cc) {
        codecache_serve_wflush(cc, cpu);
    }
    return true;
}

/* Counts the owner nodes of a few instructions' accesses: one sample in SAMPLE_EVERY slices. */
static enum tcg_exit sample(struct cpu *cpu)
{
    cpu->count_access = 1;
    enum tcg_exit r = interpret(cpu, SAMPLE_INSNS);
    cpu->count_access = 0;
    return r;
}

/* Runs guest code until something happens. `exact`: not an instruction less than the budget. */
static enum tcg_exit run_slice(struct cpu *cpu, bool translated, bool exact)
{
    enum tcg_exit r = translated ? run_code(cpu) : interpret(cpu, UINT64_MAX);
    if (r == TCG_EXIT_INTERP) {
        r = tcg_exit_of(interp_step(cpu));
    } else if (r == TCG_EXIT_BUDGET && cpu->budget > 0) {
        /* The next block is longer than what is left. */
        if (exact) {
            r = interpret(cpu, UINT64_MAX);
        }
        if (r == TCG_EXIT_BUDGET) {
            slice_set(cpu, 0);
        }
    }
    return r;
}

/* Whether a request or an interrupt may be waiting; the timer is looked at when a slice ends. */
static bool wants_attention(struct cpu *cpu)
{
    uint64_t lines = atomic_load_explicit(&cpu->mip, memory_order_relaxed) | cpu->mvip;
    return (lines & cpu->mie) != 0 || atomic_load_explicit(&cpu->exit_request, memory_order_relaxed);
}

static enum cpu_exit run(struct cpu *cpu, uint64_t quantum)
{
    bool translated = codecache_of(cpu->machine) != NULL;
    bool samples = translated && cpu->machine->cfg->access_matrix == ACCESS_MATRIX_SAMPLED;
    uint64_t limit = quantum ? cpu_instret(cpu) + quantum : UINT64_MAX;
    unsigned slices = 0;
    slice_set(cpu, 0);
    for (bool look = true;; look = cpu->budget <= 0 || wants_attention(cpu)) {
        if (look) {
            if (atomic_load_explicit(&cpu->exit_request, memory_order_acquire)) {
                return CPU_EXIT_REQUEST;
            }
            cpu_take_interrupt(cpu);
        }
        enum tcg_exit r = TCG_EXIT_BUDGET;
        if (cpu->budget <= 0) {
            /* Traps do not retire: a loop of them ends by the number of slices. */
            if ((quantum && slices > quantum / SLICE + 8) || !slice_begin(cpu, limit)) {
                return CPU_EXIT_QUANTUM;
            }
            if (++slices % SAMPLE_EVERY == 0 && samples) {
                r = sample(cpu);
            }
        }
        if (r == TCG_EXIT_BUDGET) {
            r = run_slice(cpu, translated, quantum != 0);
        }
        if (r == TCG_EXIT_WFI) {
            return CPU_EXIT_WFI;
        }
        if (r == TCG_EXIT_YIELD) {
            return CPU_EXIT_YIELD;
        }
        if (r == TCG_EXIT_FENCE_I) {
            tcg_fence_i(cpu);
        }
        if (atomic_load_explicit(&cpu->hart_state, memory_order_relaxed) != HART_STARTED) {
            return CPU_EXIT_HALTED;
        }
    }
}

enum cpu_exit tcg_cpu_exec(struct cpu *cpu, uint64_t quantum)
{
    struct codecache *cc = codecache_of(cpu->machine);
    atomic_store(&cpu->in_exec, 1);
    tlb_safe_point(cpu);
    if (cc) {
        codecache_serve_wflush(cc, cpu);
    }
    enum cpu_exit r = run(cpu, quantum);
    slice_set(cpu, 0);
    atomic_store(&cpu->in_exec, 0);
    /* Whoever still saw the hart inside waits for it, and it may sleep long now. */
    tlb_safe_point(cpu);
    return r;
}
