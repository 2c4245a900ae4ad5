/*
 * The refill of the first level from the second. tlb_refill_read and tlb_refill_write are the hot part: they do the
 * common case without a call or a saved register, and leave all else to functions that are not inlined.
 */
#include "memory/tlb_refill.h"

#include <stddef.h>
#include "weft/page_user.h"

/* ---- entering ---- */

/* May a write right be entered, by the page's flags? A load does not announce a writer (PAGE_WRITER): it is granted
 * write only where one is announced already, and then a later setting of PAGE_CODE asks this hart to drop its rights at
 * its next safe point. */
static inline bool flags_grant_write(uint8_t flags)
{
    const unsigned granted =
        1u << PAGE_WRITER | 1u << (PAGE_WRITER | PAGE_CODE_DIRTY) | 1u << (PAGE_WRITER | PAGE_CODE | PAGE_CODE_DIRTY);
    return granted >> (flags & (PAGE_CODE | PAGE_CODE_DIRTY | PAGE_WRITER)) & 1;
}

/* A store announces its writer before PAGE_CODE is looked at, and the translator sets PAGE_CODE before it looks at
 * PAGE_WRITER, both in sequentially consistent order: one of the two sees the other. */
static inline bool write_granted(_Atomic uint8_t *flags, bool store)
{
    uint8_t f = atomic_load_explicit(flags, memory_order_acquire);
    if (!(f & PAGE_WRITER) && store) {
        f = atomic_fetch_or(flags, PAGE_WRITER) | PAGE_WRITER;
    }
    return flags_grant_write(f);
}

static inline void note_entry(struct tlb_ctx *ctx, gva_t page, uint64_t i)
{
    ctx->group[i / TLB_GROUP_SIZE] = true;
    ctx->half[page >> 63] = true;
}

static inline void note_write(struct tlb_ctx *ctx, uint64_t host)
{
    *write_filter_slot(ctx, host) = true;
}

/* What this rank may do with the page; all, on one rank. A right that is entered is noted for tlb_drop_right. */
static void enter_rights(struct cpu *cpu, struct tlb_ctx *ctx, uint64_t host, bool *readable, bool *writable)
{
    gpa_t gpa = cpu->ram->base + (host - (uintptr_t)cpu->ram->host);
    *readable = *readable && page_users_has(cpu, cpu->ram, gpa, PAGE_READ);
    *writable = *writable && page_users_has(cpu, cpu->ram, gpa, PAGE_WRITE);
    if (*writable) {
        atomic_fetch_or(&cpu->l2->flags_of_host[host >> GUEST_PAGE_BITS], PAGE_MODIFIED);
    }
    note_write(ctx, host);
}

bool tlb_enter(struct cpu *cpu, struct tlb_ctx *ctx, gva_t va, gpa_t gpa, uint64_t pte, bool store)
{
    gva_t page = va & GUEST_PAGE_MASK;
    uint64_t host = (uintptr_t)ram_ptr(cpu->ram, gpa & GUEST_PAGE_MASK);
    uint64_t i = page >> GUEST_PAGE_BITS & (TLB_SIZE - 1);
    bool readable = pte & (ctx->mxr ? PTE_R | PTE_X : PTE_R);
    bool writable = (pte & (PTE_W | PTE_D)) == (PTE_W | PTE_D) &&
                    write_granted(&cpu->l2->flags_of_host[host >> GUEST_PAGE_BITS], store);
    if (__builtin_expect(cpu->ram->users != NULL, 0)) {
        enter_rights(cpu, ctx, host, &readable, &writable);
    }
    ctx->rtag[i] = readable ? page : TLB_TAG_NONE(i);
    ctx->wtag[i] = writable ? page : TLB_TAG_NONE(i);
    ctx->addend[i] = host - page;
    if (writable) {
        note_write(ctx, host);
    }
    note_entry(ctx, page, i);
    ctx->nonglobal |= !(pte & PTE_G);
    return store ? writable : readable;
}

/* ---- second-level look-up ---- */

static inline uint64_t set_find(const struct l2_set *set, uint64_t key)
{
    _Static_assert(L2_WAYS == 4 && offsetof(struct l2_set, val) == sizeof(set->key), "four keys, then their values");
    const uint64_t *k = set->key;
    if (*k != key && *++k != key && *++k != key && *++k != key) {
        return 0;
    }
    return k[L2_WAYS];
}

/* An entry always has V set, so 0 says that there is none. */
static bool hit(const struct cpu *cpu, uint64_t val, gva_t va, unsigned bits, struct l2_hit *out)
{
    if (!val) {
        return false;
    }
    uint64_t first = val & ~L2_FLAGS;
    if (!(val & L2_NOT_RAM)) {
        first = cpu->ram->base + (first - (uintptr_t)cpu->ram->host);
    }
    out->gpa = first | (va & ((1ull << bits) - 1) & GUEST_PAGE_MASK);
    out->pte = val & 0xff;
    out->bits = bits;
    return true;
}

bool l2_lookup(struct cpu *cpu, gva_t va, struct l2_hit *out)
{
    struct tlb_l2 *l2 = cpu->l2;
    for (unsigned n = 0; n < 2; n++) {
        uint64_t space = l2->name[n ^ va >> 63];
        if (hit(cpu, set_find(l2_set_4k(l2, va), l2_key(va, 12) | space), va, 12, out)) {
            *l2_hint(l2, va) = false;
            return true;
        }
        if (hit(cpu, set_find(l2_set_2m(l2, va), l2_key(va, 21) | space), va, 21, out)) {
            *l2_hint(l2, va) = true;
            return true;
        }
        if (l2->has_64k && hit(cpu, set_find(l2_set_64k(l2, va), l2_key(va, 16) | space), va, 16, out)) {
            return true;
        }
        if (l2->has_1g && hit(cpu, set_find(l2_set_1g(l2, va), l2_key(va, 30) | space), va, 30, out)) {
            return true;
        }
    }
    return false;
}

/* Reads the leaf of va from a last-level table known from an earlier walk; false when it is not a plain one. */
static bool lookup_table(struct cpu *cpu, gva_t va, struct l2_hit *out)
{
    const struct pwc_entry *pwc = pwc_slot(cpu->l2, va);
    if (pwc->key != (l2_key(va, 21) | cpu->l2->name[SPACE_OWN]) || cpu->pmp_active) {
        return false;
    }
    gpa_t at = pwc->table + (va >> GUEST_PAGE_BITS & 511) * 8;
    if (!page_users_has(cpu, cpu->ram, at, PAGE_READ)) {
        return false;
    }
    uint64_t pte = atomic_load_explicit((_Atomic uint64_t *)ram_ptr(cpu->ram, at), memory_order_acquire);
    const uint64_t plain = PTE_V | PTE_R | PTE_A;
    if ((pte & (plain | PTE_N | PTE_PBMT | PTE_RESERVED)) != plain) {
        return false;
    }
    struct mmu_leaf leaf = {.gpa = (pte & PTE_PPN) >> PTE_PPN_SHIFT << GUEST_PAGE_BITS,
                            .flags = pte & 0xff,
                            .bits = GUEST_PAGE_BITS,
                            .table = MMU_NO_TABLE};
    l2_insert(cpu, va, &leaf);
    *out = (struct l2_hit){.gpa = leaf.gpa, .pte = leaf.flags, .bits = GUEST_PAGE_BITS};
    cpu->stats.miss[MISS_L2]++;
    return true;
}

bool l2_admits(const struct tlb_ctx *ctx, uint64_t pte, enum tlb_access access)
{
    if (access >= ACCESS_STORE && !(pte & PTE_D)) {
        return false;
    }
    struct mmu_access a = {.kind = access, .priv = ctx->priv, .sum = ctx->sum, .mxr = ctx->mxr};
    return mmu_permits(pte, &a);
}

/* ---- refill ---- */

/* All cases but those that are done in line below. */
__attribute__((noinline)) static void *refill_rare(struct cpu *cpu, gva_t va, bool store)
{
    struct tlb_ctx *ctx = cpu->ctx;
    struct l2_hit h = {.gpa = va & GUEST_PAGE_MASK, .pte = 0xff};
    if (cpu->l2->exact) {
        return NULL;
    }
    if (!ctx->translate) {
        if (cpu->pmp_active) {
            return NULL;
        }
    } else if ((!l2_lookup(cpu, va, &h) && !lookup_table(cpu, va, &h)) ||
               !l2_admits(ctx, h.pte, store ? ACCESS_STORE : ACCESS_LOAD)) {
        return NULL;
    }
    if (!ram_contains(cpu->ram, h.gpa, 1)) {
        return NULL;
    }
    cpu->stats.miss[store ? MISS_L1_STORE : MISS_L1_LOAD]++;
    if (!tlb_enter(cpu, ctx, va, h.gpa, h.pte, store)) {
        return NULL;
    }
    return (uint8_t *)ram_ptr(cpu->ram, h.gpa) + (va & ~GUEST_PAGE_MASK);
}

__attribute__((noinline)) static void *refill_rare_read(struct cpu *cpu, gva_t va)
{
    return refill_rare(cpu, va, false);
}

__attribute__((noinline)) static void *refill_rare_write(struct cpu *cpu, gva_t va)
{
    return refill_rare(cpu, va, true);
}

/* The value of the entry for va where it is likely to be: processes map privately, kernels map their half of the
 * addresses globally; and neighbours have pages of the same size. `*addend` is host - va by that entry. 0 when there is
 * none. */
static inline uint64_t likely_entry(struct tlb_l2 *l2, gva_t va, uint64_t *addend)
{
    uint64_t space = l2->name[va >> 63], key, val;
    if (*l2_hint(l2, va)) {
        key = l2_key(va, 21);
        val = set_find(l2_set_2m(l2, va), key | space);
    } else {
        key = l2_key(va, 12);
        val = set_find(l2_set_4k(l2, va), key | space);
    }
    *addend = (val & ~L2_FLAGS) - key;
    return val;
}

void *tlb_refill_read(struct cpu *cpu, gva_t va)
{
    struct tlb_ctx *ctx = cpu->ctx;
    struct tlb_l2 *l2 = cpu->l2;
    uint64_t addend, val = likely_entry(l2, va, &addend);
    if (__builtin_expect((val & ctx->read_mask) != ctx->read_want, 0)) {
        return refill_rare_read(cpu, va);
    }
    gva_t page = va & GUEST_PAGE_MASK;
    uint64_t i = page >> GUEST_PAGE_BITS & (TLB_SIZE - 1), host = page + addend, wtag = TLB_TAG_NONE(i);
    if ((val & (PTE_W | PTE_D)) == (PTE_W | PTE_D) &&
        flags_grant_write(atomic_load_explicit(&l2->flags_of_host[host >> GUEST_PAGE_BITS], memory_order_acquire))) {
        wtag = page;
        note_write(ctx, host);
    }
    ctx->rtag[i] = page;
    ctx->wtag[i] = wtag;
    ctx->addend[i] = addend;
    note_entry(ctx, page, i);
    cpu->stats.miss[MISS_L1_LOAD]++;
    return (void *)(uintptr_t)(va + addend);
}

void *tlb_refill_write(struct cpu *cpu, gva_t va)
{
    struct tlb_ctx *ctx = cpu->ctx;
    struct tlb_l2 *l2 = cpu->l2;
    uint64_t addend, val = likely_entry(l2, va, &addend);
    if (__builtin_expect((val & ctx->write_mask) != ctx->write_want, 0)) {
        return refill_rare_write(cpu, va);
    }
    gva_t page = va & GUEST_PAGE_MASK;
    uint64_t i = page >> GUEST_PAGE_BITS & (TLB_SIZE - 1), host = page + addend;
    if (__builtin_expect(
            !flags_grant_write(atomic_load_explicit(&l2->flags_of_host[host >> GUEST_PAGE_BITS], memory_order_acquire)),
            0)) {
        return refill_rare_write(cpu, va);
    }
    ctx->rtag[i] = page; /* W without R is reserved */
    ctx->wtag[i] = page;
    ctx->addend[i] = addend;
    note_write(ctx, host);
    note_entry(ctx, page, i);
    cpu->stats.miss[MISS_L1_STORE]++;
    return (void *)(uintptr_t)(va + addend);
}
