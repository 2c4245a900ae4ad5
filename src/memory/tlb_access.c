/* Accesses: the walk behind the refill (tlb_refill.c), and loads, stores and fetches. */
#include "memory/tlb_inline.h"
#include "memory/tlb_refill.h"
#include "weft/log.h"
#include "weft/page_user.h"

/* ---- the whole miss path ---- */

static bool fault(struct cpu *cpu, uint32_t cause, gva_t va)
{
    cpu->exc_cause = cause;
    cpu->exc_tval = va;
    if (log_on(LOG_MMU)) {
        log_write("mmu: hart %u priv %u satp %016lx va %016lx: fault %u\n", cpu->hart, cpu->priv, cpu->satp, va, cause);
    }
    return false;
}

/* What one page is to one access. */
struct page {
    gpa_t gpa;    /* of va */
    uint64_t pte; /* R W X U G D, PMP included */
    unsigned bits;
    bool uniform; /* PMP treats the whole page alike */
};

/* Merges the PMP's rights on the page (and on the access, where they differ inside it) into the page's. */
static bool apply_pmp(struct cpu *cpu, struct page *page, unsigned size, uint8_t priv, enum tlb_access access)
{
    page->uniform = true;
    if (!cpu->pmp_active) {
        return true;
    }
    unsigned rights = pmp_rights(cpu, page->gpa & GUEST_PAGE_MASK, GUEST_PAGE_SIZE, priv);
    if (rights == PMP_MIXED) {
        page->uniform = false;
        return pmp_allows(cpu, page->gpa, size, priv, access);
    }
    if (!(rights & PMP_R)) {
        page->pte &= ~PTE_R;
    }
    if (!(rights & PMP_W)) {
        page->pte &= ~PTE_W;
    }
    if (!(rights & PMP_X)) {
        page->pte &= ~PTE_X;
    }
    return pmp_allows(cpu, page->gpa, size, priv, access);
}

/* Keeps the leaf in the second level: whole where the PMP gives all rights on all of it, else the largest piece around
 * va where it does. */
static void keep(struct cpu *cpu, gva_t va, struct mmu_leaf *leaf)
{
    static const uint8_t sizes[] = {30, 21, GUEST_PAGE_BITS};
    unsigned whole = leaf->bits;
    if (cpu->pmp_active) {
        for (unsigned i = 0;; i++) {
            if (i == sizeof(sizes)) {
                if (whole > GUEST_PAGE_BITS) {
                    l2_note_lost(cpu->l2, va, whole);
                }
                return;
            }
            if (sizes[i] > whole && i + 1 < sizeof(sizes)) {
                continue;
            }
            unsigned bits = whole < 21 ? whole : sizes[i];
            uint64_t bytes = 1ull << bits;
            if (pmp_rights(cpu, leaf->gpa & ~(bytes - 1), bytes, PRIV_S) == PMP_RWX) {
                leaf->bits = bits;
                break;
            }
        }
    }
    l2_insert(cpu, va, leaf);
    if (leaf->bits > 30 || leaf->bits != whole) {
        l2_note_split(cpu->l2, va, whole);
    }
    leaf->bits = whole;
}

/* Finds the page of va for an access of the context's kind; faults are raised. */
static bool find_page(struct cpu *cpu, gva_t va, unsigned size, enum tlb_access access, struct page *out)
{
    const struct tlb_ctx *ctx = cpu->ctx;
    bool as_machine = access == ACCESS_FETCH && ctx->kind == CTX_MPRV;
    uint8_t priv = as_machine ? PRIV_M : ctx->priv;
    if (as_machine || !ctx->translate) {
        *out = (struct page){.gpa = va, .pte = 0xff, .bits = GUEST_PAGE_BITS};
    } else {
        struct l2_hit h;
        if (l2_lookup(cpu, va, &h) && l2_admits(ctx, h.pte, access)) {
            *out = (struct page){.gpa = h.gpa, .pte = h.pte, .bits = h.bits};
        } else {
            struct mmu_access a = {.kind = access, .priv = priv, .sum = ctx->sum, .mxr = ctx->mxr};
            const struct pwc_entry *pwc = pwc_slot(cpu->l2, va);
            bool known = pwc->key == (l2_key(va, 21) | cpu->l2->name[SPACE_OWN]);
            struct mmu_leaf leaf;
            cpu->stats.miss[MISS_L2]++;
            uint32_t cause = mmu_walk(cpu, va, &a, known ? pwc->table : MMU_NO_TABLE, &leaf);
            if (cause != EXC_NONE) {
                return fault(cpu, cause, va);
            }
            keep(cpu, va, &leaf);
            *out = (struct page){.gpa = leaf.gpa, .pte = leaf.flags, .bits = leaf.bits};
        }
        out->gpa |= va & ~GUEST_PAGE_MASK;
    }
    if (!apply_pmp(cpu, out, size, priv, access)) {
        return fault(cpu, mmu_access_fault(access), va);
    }
    if (log_on(LOG_MMU)) {
        log_write("mmu: hart %u priv %u satp %016lx va %016lx -> %016lx size 2^%u access %u\n", cpu->hart, priv,
                  cpu->satp, va, out->gpa, out->bits, access);
    }
    return true;
}

/* Code may be kept for the page in this context from now on. */
static void note_code(struct tlb_ctx *ctx, gva_t page, uint64_t pte)
{
    uint64_t *seen = code_seen_slot(ctx, page);
    *seen = *seen == 0 || *seen == (page | 2) ? page | 2 : page | 3;
    ctx->code_half[page >> 63] = true;
    ctx->nonglobal |= !(pte & PTE_G);
}

/* Over ranks: gets the right that the access needs on the page of out->gpa, or finds that the page is served at its
 * home, if that will do. */
__attribute__((noinline)) static bool get_page(struct cpu *cpu, gva_t va, enum tlb_access access, bool whole,
                                               struct translation *out)
{
    uint64_t page = (out->gpa - cpu->ram->base) >> GUEST_PAGE_BITS;
    bool store = access >= ACCESS_STORE;
    switch (page_users_get(cpu, page, store ? PAGE_WRITE : PAGE_READ, whole)) {
    case PAGE_REACH_LOST:
        return fault(cpu, mmu_access_fault(access), va);
    case PAGE_REACH_SERVED:
        out->served = true;
        return true;
    default:
        if (store) {
            atomic_fetch_or(&cpu->ram->page_flags[page], PAGE_MODIFIED);
        }
        return true;
    }
}

/* Translates va for an access of `size` bytes that does not cross its page, and enters what may be entered. `whole`:
 * the page itself is needed here. *uniform_out (may be NULL): the result holds for the whole page. */
static bool translate(struct cpu *cpu, gva_t va, unsigned size, enum tlb_access access, bool whole,
                      struct translation *out, bool *uniform_out)
{
    struct tlb_ctx *ctx = cpu->ctx;
    bool store = access >= ACCESS_STORE;
    cpu->stats.miss[access == ACCESS_FETCH ? MISS_FETCH : store ? MISS_L1_STORE : MISS_L1_LOAD]++;
    struct page page;
    if (!find_page(cpu, va, size, access, &page)) {
        return false;
    }
    out->gpa = page.gpa;
    out->is_ram = ram_contains(cpu->ram, page.gpa, size);
    out->served = false;
    if (__builtin_expect(cpu->ram->users != NULL, 0) && out->is_ram &&
        (!get_page(cpu, va, access, whole, out) || out->served)) {
        return out->served;
    }
    if (uniform_out) {
        *uniform_out = page.uniform;
    }
    if (access == ACCESS_FETCH) {
        note_code(ctx, va & GUEST_PAGE_MASK, page.pte);
        return true;
    }
    if (!out->is_ram) {
        return true;
    }
    if (store) {
        uint64_t index = (page.gpa - cpu->ram->base) >> GUEST_PAGE_BITS;
        uint8_t flags = atomic_load(&cpu->ram->page_flags[index]);
        if (!(flags & PAGE_WRITER)) {
            /* Announced also where nothing is entered: the caller's store is not done yet. */
            flags = atomic_fetch_or(&cpu->ram->page_flags[index], PAGE_WRITER);
        }
        if ((flags & (PAGE_CODE | PAGE_CODE_DIRTY)) == PAGE_CODE) {
            cpu->stats.miss[MISS_CODE_WRITE]++;
            code_page_written(cpu->ram, page.gpa & GUEST_PAGE_MASK);
        }
    }
    if (page.uniform && !cpu->l2->exact) {
        tlb_enter(cpu, ctx, va, page.gpa, page.pte, store);
    }
    return true;
}

bool tlb_translate(struct cpu *cpu, gva_t va, enum tlb_access access, struct translation *out)
{
    return translate(cpu, va, access == ACCESS_FETCH ? 2 : 1, access, true, out, NULL);
}

/* ---- loads and stores ---- */

static inline void count(struct cpu *cpu, gpa_t gpa)
{
    if (__builtin_expect(cpu->count_access, 0)) {
        cpu->stats.mem_access[ram_node_of(cpu->ram, gpa)]++;
    }
}

static inline gpa_t host_gpa(const struct cpu *cpu, const void *host)
{
    return cpu->ram->base + (uint64_t)((const uint8_t *)host - cpu->ram->host);
}

static bool crosses_page(gva_t va, unsigned size)
{
    return (va & ~GUEST_PAGE_MASK) + size > GUEST_PAGE_SIZE;
}

static bool mmio_load(struct cpu *cpu, gva_t va, gpa_t gpa, unsigned size, uint64_t *value)
{
    cpu->stats.miss[MISS_MMIO]++;
    cpu->stats.mmio++;
    return bus_read(cpu->bus, gpa, size, value) || fault(cpu, EXC_LOAD_ACCESS, va);
}

static bool mmio_store(struct cpu *cpu, gva_t va, gpa_t gpa, unsigned size, uint64_t value)
{
    cpu->stats.miss[MISS_MMIO]++;
    cpu->stats.mmio++;
    return bus_write(cpu->bus, gpa, size, value) || fault(cpu, EXC_STORE_ACCESS, va);
}

/* Translates the two parts of an access that crosses a page; both must be RAM: an access to a device is one access.
 * The first fault wins, and tval tells the part. */
static bool translate_parts(struct cpu *cpu, gva_t va, unsigned size, enum tlb_access access, struct translation *t)
{
    gva_t second = (va & GUEST_PAGE_MASK) + GUEST_PAGE_SIZE;
    unsigned head = (unsigned)(second - va);
    unsigned waits;
    do {
        if (!translate(cpu, va, head, access, true, &t[0], NULL)) {
            return false;
        }
        if (!t[0].is_ram) {
            return fault(cpu, mmu_access_fault(access), va);
        }
        waits = cpu->page_user ? page_users_waits(cpu) : 0;
        if (!translate(cpu, second, size - head, access, true, &t[1], NULL)) {
            return false;
        }
        /* Waiting for the second page may have cost the first. */
    } while (cpu->page_user && page_users_waits(cpu) != waits);
    return t[1].is_ram || fault(cpu, mmu_access_fault(access), second);
}

static bool load_crossing(struct cpu *cpu, gva_t va, unsigned size, uint64_t *value)
{
    struct translation t[2];
    if (!translate_parts(cpu, va, size, ACCESS_LOAD, t)) {
        return false;
    }
    unsigned head = (unsigned)(GUEST_PAGE_SIZE - (va & ~GUEST_PAGE_MASK));
    const uint8_t *p0 = ram_ptr(cpu->ram, t[0].gpa), *p1 = ram_ptr(cpu->ram, t[1].gpa);
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++) {
        v |= guest_get(i < head ? p0 + i : p1 + (i - head), 1) << (8 * i);
    }
    count(cpu, t[0].gpa);
    *value = v;
    return true;
}

static bool store_crossing(struct cpu *cpu, gva_t va, unsigned size, uint64_t value)
{
    struct translation t[2];
    if (!translate_parts(cpu, va, size, ACCESS_STORE, t)) {
        return false;
    }
    unsigned head = (unsigned)(GUEST_PAGE_SIZE - (va & ~GUEST_PAGE_MASK));
    uint8_t *p0 = ram_ptr(cpu->ram, t[0].gpa), *p1 = ram_ptr(cpu->ram, t[1].gpa);
    for (unsigned i = 0; i < size; i++) {
        guest_put(i < head ? p0 + i : p1 + (i - head), 1, value >> (8 * i) & 0xff);
    }
    count(cpu, t[0].gpa);
    return true;
}

/* One access to a page that is served at its home. PAGE_REACH_SERVED: no longer, begin again. */
__attribute__((noinline)) static enum page_reach operate(struct cpu *cpu, gva_t va, gpa_t gpa, struct msg_op *op,
                                                         uint64_t *value)
{
    uint64_t page = (gpa - cpu->ram->base) >> GUEST_PAGE_BITS;
    op->page = page;
    enum page_reach r = page_users_operate(cpu, page, op, value);
    if (r == PAGE_REACH_LOST) {
        fault(cpu, op->op == REMOTE_LOAD ? EXC_LOAD_ACCESS : EXC_STORE_ACCESS, va);
    } else if (r == PAGE_REACH_HERE) {
        count(cpu, gpa);
    }
    return r;
}

/* Generated code has tried tlb_refill_read and tlb_refill_write before it comes here. */
static bool load_miss(struct cpu *cpu, gva_t va, unsigned size, uint64_t *value)
{
    if (crosses_page(va, size)) {
        return load_crossing(cpu, va, size, value);
    }
    struct translation t;
    if (!translate(cpu, va, size, ACCESS_LOAD, va & (size - 1), &t, NULL)) {
        return false;
    }
    if (__builtin_expect(t.served, 0)) {
        struct msg_op op = {.op = REMOTE_LOAD, .offset = va & ~GUEST_PAGE_MASK, .size = (uint8_t)size};
        enum page_reach r = operate(cpu, va, t.gpa, &op, value);
        return r == PAGE_REACH_SERVED ? load_miss(cpu, va, size, value) : r == PAGE_REACH_HERE;
    }
    if (!t.is_ram) {
        return mmio_load(cpu, va, t.gpa, size, value);
    }
    count(cpu, t.gpa);
    *value = guest_get(ram_ptr(cpu->ram, t.gpa), size);
    return true;
}

bool tlb_load(struct cpu *cpu, gva_t va, unsigned size, uint64_t *value)
{
    const void *p = tlb_probe_read(cpu->ctx, va, size);
    if (__builtin_expect(p != NULL, 1)) {
        count(cpu, host_gpa(cpu, p));
        *value = guest_get(p, size);
        return true;
    }
    return load_miss(cpu, va, size, value);
}

static bool store_miss(struct cpu *cpu, gva_t va, unsigned size, uint64_t value)
{
    if (crosses_page(va, size)) {
        return store_crossing(cpu, va, size, value);
    }
    struct translation t;
    if (!translate(cpu, va, size, ACCESS_STORE, va & (size - 1), &t, NULL)) {
        return false;
    }
    if (__builtin_expect(t.served, 0)) {
        uint64_t old, bits = size < 8 ? value & ((1ull << 8 * size) - 1) : value;
        struct msg_op op = {.op = REMOTE_STORE, .offset = va & ~GUEST_PAGE_MASK, .size = (uint8_t)size, .value = bits};
        enum page_reach r = operate(cpu, va, t.gpa, &op, &old);
        return r == PAGE_REACH_SERVED ? store_miss(cpu, va, size, value) : r == PAGE_REACH_HERE;
    }
    if (!t.is_ram) {
        return mmio_store(cpu, va, t.gpa, size, value);
    }
    count(cpu, t.gpa);
    guest_put(ram_ptr(cpu->ram, t.gpa), size, value);
    return true;
}

bool tlb_store(struct cpu *cpu, gva_t va, unsigned size, uint64_t value)
{
    void *p = tlb_probe_write(cpu->ctx, va, size);
    if (__builtin_expect(p != NULL, 1)) {
        count(cpu, host_gpa(cpu, p));
        guest_put(p, size, value);
        return true;
    }
    return store_miss(cpu, va, size, value);
}

void *tlb_atomic_ptr(struct cpu *cpu, gva_t va, unsigned size, bool for_write)
{
    enum tlb_access access = for_write ? ACCESS_AMO : ACCESS_LOAD;
    void *p = for_write ? tlb_probe_write(cpu->ctx, va, size) : tlb_probe_read(cpu->ctx, va, size);
    if (!p) {
        p = for_write ? tlb_refill_write(cpu, va) : tlb_refill_read(cpu, va);
    }
    if (!p) {
        struct translation t;
        if (!translate(cpu, va, size, access, true, &t, NULL)) {
            return NULL;
        }
        if (!t.is_ram) {
            fault(cpu, mmu_access_fault(access), va);
            return NULL;
        }
        p = ram_ptr(cpu->ram, t.gpa);
    }
    count(cpu, host_gpa(cpu, p));
    return p;
}

/* ---- fetch ---- */

/* Two bytes of a device that can be executed from (a boot ROM): by half word, or out of the aligned word. */
static bool fetch_mmio(struct cpu *cpu, gva_t va, gpa_t gpa, uint16_t *half)
{
    uint64_t v;
    if (bus_read(cpu->bus, gpa, 2, &v)) {
        *half = (uint16_t)v;
        return true;
    }
    if (bus_read(cpu->bus, gpa & ~3ull, 4, &v)) {
        *half = (uint16_t)(v >> (gpa & 2) * 8);
        return true;
    }
    return fault(cpu, EXC_FETCH_ACCESS, va);
}

/* Two bytes of an instruction. Remembers the page where it may. */
static bool fetch_half(struct cpu *cpu, gva_t va, uint16_t *half)
{
    struct fetch_entry *e = fetch_slot(cpu->l2, va);
    gva_t page = va & GUEST_PAGE_MASK;
    if (e->ctx != cpu->ctx || e->page != page) {
        struct translation t;
        bool uniform = true;
        if (!translate(cpu, va, 2, ACCESS_FETCH, true, &t, &uniform)) {
            return false;
        }
        if (!t.is_ram) {
            return fetch_mmio(cpu, va, t.gpa, half);
        }
        const uint8_t *host = ram_ptr(cpu->ram, t.gpa & GUEST_PAGE_MASK);
        if (!uniform) {
            *half = (uint16_t)guest_get(host + (va - page), 2);
            return true;
        }
        *e = (struct fetch_entry){.page = page, .ctx = cpu->ctx, .host = host};
    }
    *half = (uint16_t)guest_get(e->host + (va - page), 2);
    return true;
}

bool tlb_fetch(struct cpu *cpu, gva_t va, uint32_t *raw)
{
    const struct fetch_entry *e = fetch_slot(cpu->l2, va);
    gva_t off = va & ~GUEST_PAGE_MASK;
    if (__builtin_expect(e->ctx == cpu->ctx && e->page == va - off && off <= GUEST_PAGE_SIZE - 4, 1)) {
        *raw = (uint32_t)guest_get(e->host + off, 4);
        return true;
    }
    uint16_t lo, hi = 0;
    if (!fetch_half(cpu, va, &lo)) {
        return false;
    }
    if ((lo & 3) == 3 && !fetch_half(cpu, va + 2, &hi)) {
        return false;
    }
    *raw = lo | (uint32_t)hi << 16;
    return true;
}
