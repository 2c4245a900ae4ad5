/*
 * Random page tables, random accesses, random changes with the fence they need: whatever the TLBs keep, each access
 * must end as a plain walk written here says. WEFT_TEST_SEED replays a run, WEFT_TEST_STEPS makes it longer.
 */
#include "fixture.h"

#include <stdio.h>
#include <string.h>

enum { SPACES = 12, TABLES = 40, LEAVES = 24 };

static uint64_t rng;
static unsigned mode, levels;
static gpa_t root[SPACES], tables[TABLES];
static unsigned num_tables, kernel_tables;

static uint64_t rnd(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dull;
}

static unsigned below(unsigned n)
{
    return (unsigned)(rnd() >> 33) % n;
}

/* ---- the reference ---- */

struct ref {
    bool ok;
    bool access_fault;
    gpa_t gpa;
    gpa_t at;      /* of the leaf, for the A/D update */
    uint64_t bits; /* to set there */
};

static struct ref reference(gva_t va, enum tlb_access kind, unsigned priv, bool sum, bool mxr)
{
    struct ref bad = {0};
    const struct cpu *c = fx.cpu;
    unsigned va_bits = levels == 3 ? 39 : levels == 4 ? 48 : 57;
    uint64_t top = va >> (va_bits - 1);
    if (top != 0 && top != (1ull << (64 - va_bits + 1)) - 1) {
        return bad;
    }
    gpa_t a = (c->satp & 0xfffffffffffull) * 4096;
    for (int i = (int)levels - 1; i >= 0; i--) {
        gpa_t at = a + ((va >> (12 + 9 * i)) % 512) * 8;
        if (at < RAM_BASE || at >= RAM_BASE + RAM_SIZE) {
            bad.access_fault = true;
            return bad;
        }
        uint64_t pte;
        memcpy(&pte, (char *)fx.ram.host + (at - RAM_BASE), 8);
        bool v = pte & 1, r = pte & 2, w = pte & 4, x = pte & 8, u = pte & 16, ab = pte & 64, d = pte & 128;
        bool n = pte >> 63;
        unsigned pbmt = pte >> 61 & 3;
        uint64_t ppn = pte >> 10 & 0xfffffffffffull;
        if (!v || (w && !r) || (pte >> 54 & 0x7f) || (pbmt && !(c->menvcfg >> 62 & 1)) || pbmt == 3) {
            return bad;
        }
        if (!r && !x) {
            if (ab || d || u || n || pbmt) {
                return bad;
            }
            a = ppn * 4096;
            continue;
        }
        bool want_w = kind == ACCESS_STORE || kind == ACCESS_AMO;
        bool type_ok = kind == ACCESS_FETCH ? x : want_w ? w : r || (x && mxr);
        bool user_ok = priv == 0 ? u : !u || (sum && kind != ACCESS_FETCH);
        if (!type_ok || !user_ok) {
            return bad;
        }
        if (n && (i > 0 || ppn % 16 != 8)) {
            return bad;
        }
        uint64_t size = n ? 0x10000 : 4096;
        for (int k = 0; k < i; k++) {
            size *= 512;
        }
        uint64_t base = n ? (ppn - 8) * 4096 : ppn * 4096;
        if (base % size) {
            return bad;
        }
        struct ref good = {.ok = true, .gpa = base + va % size, .at = at};
        good.bits = (ab ? 0 : 64) | (want_w && !d ? 128 : 0);
        if (good.bits && !(c->menvcfg >> 61 & 1)) {
            return bad;
        }
        return good;
    }
    return bad;
}

/* ---- random worlds ---- */

/* A leaf at `level`; one in eight is odd in some way. */
static uint64_t random_leaf(unsigned level, bool kernel)
{
    uint64_t gpa = RAM_BASE + (uint64_t)below(RAM_SIZE / 2 >> 12) * 4096;
    uint64_t flags = PTE_V | (rnd() & (PTE_R | PTE_W | PTE_X | PTE_U)) | PTE_R | PTE_A | PTE_D;
    flags &= below(6) ? ~0ull : ~PTE_A;
    flags &= below(4) ? ~0ull : ~PTE_D;
    if (kernel) {
        flags |= below(3) ? PTE_G : 0;
    }
    if (level > 0 && below(10)) {
        gpa &= level == 1 ? ~0x1fffffull : ~0x3fffffffull;
    }
    switch (below(24)) {
    case 0:
        flags &= ~PTE_V;
        break;
    case 1:
        flags |= 1ull << (54 + below(9));
        break;
    case 2:
        flags &= ~PTE_R;
        break;
    case 3:
        gpa = 0x40000000;
        break;
    default:
        break;
    }
    return gpa >> 12 << 10 | flags;
}

static gpa_t any_table(bool kernel)
{
    return kernel ? tables[below(kernel_tables)] : tables[kernel_tables + below(num_tables - kernel_tables)];
}

/* Tables in use have few live indices, so that accesses meet them. 16 to 31 hold one Svnapot leaf, or anything; above
 * 27 a 1 GiB leaf would show the page tables themselves. */
static unsigned live_index(void)
{
    return below(4) ? below(3) : 16 + below(12);
}

/* A leaf of 64 KiB: all its sixteen entries must be equal, A and D included. */
static void make_napot(gpa_t table, bool kernel)
{
    uint64_t pte = random_leaf(0, kernel) | PTE_N | PTE_A | PTE_D;
    if (below(8)) {
        pte = (pte & ~(15ull << 10)) | 8ull << 10;
    }
    for (unsigned k = 16; k < 32; k++) {
        *pte_host(table + k * 8) = pte;
    }
}

static uint64_t random_pte(unsigned level, bool kernel)
{
    if (level > 0 && below(level < 3 ? 5 : 100)) {
        uint64_t pte = any_table(kernel) >> 12 << 10 | PTE_V;
        pte |= kernel && below(4) == 0 ? PTE_G : 0;
        if (below(40) == 0) {
            pte |= (PTE_A | PTE_D | PTE_U | 1ull << 61) & rnd();
        }
        return below(60) ? pte : 0x10000000 >> 12 << 10 | PTE_V;
    }
    return random_leaf(level > 2 ? 2 : level, kernel);
}

/* Tables are shared between levels and spaces: any table may be met at any level. The upper half of the addresses goes
 * to the kernel's tables in every space, so that global leaves are the same everywhere. */
static void make_world(void)
{
    num_tables = TABLES;
    kernel_tables = TABLES / 3;
    for (unsigned i = 0; i < TABLES; i++) {
        tables[i] = table_new();
    }
    for (unsigned i = 0; i < TABLES; i++) {
        for (unsigned k = 0; k < LEAVES; k++) {
            *pte_host(tables[i] + live_index() * 8) = random_pte(below(3), i < kernel_tables);
        }
        if (below(3) == 0) {
            make_napot(tables[i], i < kernel_tables);
        }
    }
    uint64_t kernel[3];
    for (unsigned k = 0; k < 3; k++) {
        kernel[k] = random_pte(levels - 1, true);
    }
    for (unsigned s = 0; s < SPACES; s++) {
        root[s] = table_new();
        for (unsigned k = 0; k < 3; k++) {
            *pte_host(root[s] + k * 8) = random_pte(levels - 1, false);
            *pte_host(root[s] + (509 + k) * 8) = kernel[k];
        }
    }
}

static gva_t random_va(void)
{
    bool high = below(3) == 0;
    uint64_t va = high ? 509 + below(3) : below(3);
    for (unsigned l = 1; l < levels; l++) {
        va = va << 9 | live_index();
    }
    va = va << 12 | (below(4096) & ~7u);
    if (high) {
        va |= ~0ull << (12 + 9 * levels);
    }
    return below(50) ? va : va ^ 1ull << (38 + below(26));
}

/* Mostly an address that is mapped in the current space. */
static gva_t likely_va(void)
{
    gva_t va = random_va();
    for (unsigned i = 0; i < 40 && !reference(va, ACCESS_LOAD, PRIV_S, true, true).ok; i++) {
        va = random_va();
    }
    return va;
}

/* ---- steps ---- */

static void change_table(void)
{
    bool kernel = below(3) == 0;
    uint64_t *pte = pte_host(any_table(kernel) + live_index() * 8);
    if (!(*pte & PTE_N)) {
        *pte = random_pte(below(3), kernel);
    }
    tlb_flush(fx.cpu, false, 0, false, 0);
}

/* Changes the leaf that va has now in the current space, keeping its place and size, and fences that address alone. */
static void change_leaf(gva_t va)
{
    struct ref r = reference(va, ACCESS_LOAD, va >> 63 ? 1 : 0, true, true);
    if (!r.ok) {
        r = reference(va, ACCESS_LOAD, 1, true, true);
    }
    if (!r.ok) {
        return;
    }
    uint64_t *pte = pte_host(r.at);
    if (*pte & (PTE_G | PTE_N)) {
        return; /* would need more than one fence */
    }
    /* The table may be reached from elsewhere too: a fence on every address it serves is a fence on all. */
    uint64_t flip = PTE_W | (below(2) ? PTE_D : PTE_U) | (below(4) ? 0 : PTE_V);
    if (below(3) == 0) {
        *pte ^= flip;
        tlb_flush(fx.cpu, false, 0, below(2), (uint16_t)(fx.cpu->satp >> 44));
        tlb_flush(fx.cpu, false, 0, false, 0);
        return;
    }
    uint64_t old = *pte;
    *pte = old ^ flip;
    /* Above, a table over the leaf may have made it global. */
    tlb_flush(fx.cpu, true, va, !(va >> 63) && below(2), (uint16_t)(fx.cpu->satp >> 44));
    struct ref now =
        reference(va, ACCESS_LOAD, fx.cpu->priv, fx.cpu->mstatus & MSTATUS_SUM, fx.cpu->mstatus & MSTATUS_MXR);
    uint64_t v;
    bool device = now.ok && !ram_contains(&fx.ram, now.gpa, 8);
    ck_assert_int_eq(tlb_load(fx.cpu, va, 8, &v), now.ok && !device);
    *pte = (*pte & (PTE_A | PTE_D)) | (old & ~(PTE_A | PTE_D));
    tlb_flush(fx.cpu, false, 0, false, 0);
}

static void one_access(gva_t va)
{
    static const uint32_t page_fault[] = {EXC_FETCH_PAGE, EXC_LOAD_PAGE, EXC_STORE_PAGE, EXC_STORE_PAGE};
    static const uint32_t access_fault[] = {EXC_FETCH_ACCESS, EXC_LOAD_ACCESS, EXC_STORE_ACCESS, EXC_STORE_ACCESS};
    enum tlb_access kind = below(4);
    struct cpu *c = fx.cpu;
    struct ref r = reference(va, kind, c->priv, c->mstatus & MSTATUS_SUM, c->mstatus & MSTATUS_MXR);
    bool in_ram = r.ok && ram_contains(&fx.ram, r.gpa, 8);
    uint64_t before = 0, value = rnd(), got = 0;
    if (in_ram) {
        memcpy(&before, ram_ptr(&fx.ram, r.gpa), 8);
    }
    bool ok;
    void *p;
    uint32_t raw = 0;
    struct translation t;
    switch (kind) {
    case ACCESS_FETCH:
        ok = below(2) ? tlb_fetch(c, va, &raw) : tlb_translate(c, va, kind, &t) && t.is_ram;
        break;
    case ACCESS_LOAD:
        ok = tlb_load(c, va, 8, &got);
        ck_assert(!ok || got == before || r.bits);
        break;
    case ACCESS_STORE:
        ok = tlb_store(c, va, 8, value);
        ck_assert(!ok || (in_ram && memcmp(ram_ptr(&fx.ram, r.gpa), &value, 8) == 0));
        break;
    default:
        p = tlb_atomic_ptr(c, va, 8, true);
        ok = p != NULL;
        ck_assert(!ok || (in_ram && p == ram_ptr(&fx.ram, r.gpa)));
    }
    ck_assert_msg(ok == in_ram, "va %lx kind %d priv %u satp %lx mstatus %lx: %d, reference %d", va, kind, c->priv,
                  c->satp, c->mstatus, ok, in_ram);
    if (!ok && (kind != ACCESS_FETCH || !r.ok)) {
        uint32_t cause = r.ok || r.access_fault ? access_fault[kind] : page_fault[kind];
        if (!(r.ok && kind == ACCESS_FETCH)) {
            ck_assert_uint_eq(c->exc_cause, cause);
            ck_assert_uint_eq(c->exc_tval, va);
        }
    }
    if (ok && r.bits) {
        ck_assert_uint_eq(*pte_host(r.at) & r.bits, r.bits);
    }
}

static void random_regime(void)
{
    unsigned s = below(SPACES);
    /* Two spaces share each ASID but the last ones; a switch between such needs a fence. */
    unsigned asid = s < 8 ? s : 8 + (s & 1);
    bool shared = s >= 8;
    fx.cpu->mstatus = (below(2) ? MSTATUS_SUM : 0) | (below(8) ? 0 : MSTATUS_MXR);
    enter_space(satp_of(mode, asid, root[s]), below(2) ? PRIV_U : PRIV_S);
    if (shared) {
        tlb_flush(fx.cpu, false, 0, true, (uint16_t)asid);
    }
}

START_TEST(random_walks)
{
    const char *seed = getenv("WEFT_TEST_SEED"), *steps = getenv("WEFT_TEST_STEPS");
    uint64_t start = (seed ? strtoull(seed, NULL, 0) : 1) * 64 + (uint64_t)_i;
    unsigned long n = steps ? strtoul(steps, NULL, 0) : 40000;
    rng = (start + 1) * 0x9e3779b97f4a7c15ull;
    levels = 3 + (unsigned)_i % 3;
    mode = SATP_SV39 + (unsigned)_i % 3;
    fx.cpu->menvcfg = (_i & 1 ? MENVCFG_ADUE : 0) | MENVCFG_PBMTE;
    make_world();
    random_regime();
    unsigned long good = 0;
    gva_t recent[32] = {0};
    for (unsigned long i = 0; i < n; i++) {
        gva_t va = below(3) ? recent[below(32)] : (recent[below(32)] = below(5) ? likely_va() : random_va());
        va = (va & GUEST_PAGE_MASK) | (below(4096) & ~7u);
        unsigned what = below(200);
        if (what == 0) {
            change_table();
        } else if (what < 4) {
            change_leaf(va);
        } else if (what < 20) {
            random_regime();
        } else {
            one_access(va);
            good += fx.cpu->exc_cause == EXC_NONE;
            fx.cpu->exc_cause = EXC_NONE;
        }
    }
    ck_assert_uint_gt(good, n / 20); /* the worlds are not all faults */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("memory-property");
    TCase *t = tcase_create("property");
    tcase_add_checked_fixture(t, fixture_setup, fixture_teardown);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, random_walks, 0, 24);
    suite_add_tcase(s, t);
    return run_suite(s);
}
