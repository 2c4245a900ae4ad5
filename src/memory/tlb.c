#include "memory/tlb_l2.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include "weft/machine.h"

/* ---- second level ---- */

/* Forgets all names and entries: the names are used up. */
static void names_reset(struct tlb_l2 *l2)
{
    memset(l2->t4k, 0, sizeof(l2->t4k));
    memset(l2->t64k, 0, sizeof(l2->t64k));
    memset(l2->t2m, 0, sizeof(l2->t2m));
    memset(l2->t1g, 0, sizeof(l2->t1g));
    memset(l2->pwc, 0, sizeof(l2->pwc));
    memset(l2->asid_space, 0, sizeof(l2->asid_space));
    l2->has_64k = l2->has_1g = false;
    l2->next_space = l2->floor = 1;
}

static uint64_t name_new(struct tlb_l2 *l2)
{
    assert(l2->next_space <= UINT16_MAX);
    return l2->next_space++;
}

uint64_t l2_space(struct tlb_l2 *l2, uint16_t asid)
{
    uint16_t *name = &l2->asid_space[asid];
    if (*name < l2->floor) {
        if (l2->next_space > UINT16_MAX) {
            names_reset(l2);
            l2->gspace = name_new(l2);
        }
        *name = (uint16_t)name_new(l2);
    }
    return *name;
}

/* Voids every name, and names the global mappings and the current ASID anew. */
static void names_void(struct tlb_l2 *l2)
{
    l2->floor = l2->next_space;
    if (l2->next_space + 2 > UINT16_MAX) {
        names_reset(l2);
    }
    l2->has_64k = l2->has_1g = false;
    l2->split = 0;
    l2->gspace = name_new(l2);
    l2->space = l2_space(l2, SATP_ASID(l2->satp));
}

static void set_insert(struct tlb_l2 *l2, struct l2_set *set, uint64_t key, uint64_t val)
{
    unsigned way = L2_WAYS;
    for (unsigned i = 0; i < L2_WAYS; i++) {
        if (set->key[i] == key) {
            way = i;
            break;
        }
        if (set->key[i] == 0) {
            way = i;
        }
    }
    if (way == L2_WAYS) {
        way = l2->victim++ % L2_WAYS;
    }
    set->key[way] = key;
    set->val[way] = val;
}

void l2_insert(struct tlb_l2 *l2, gva_t va, const struct mmu_leaf *leaf)
{
    uint64_t space = leaf->flags & PTE_G ? l2->gspace : l2->space;
    if (leaf->table != MMU_NO_TABLE) {
        *pwc_slot(l2, va) = (struct pwc_entry){.key = l2_key(va, 21) | l2->space, .table = leaf->table};
    }
    switch (leaf->bits) {
    case 12:
        set_insert(l2, l2_set_4k(l2, va), l2_key(va, 12) | space, leaf->gpa | leaf->flags);
        break;
    case 16:
        l2->has_64k = true;
        set_insert(l2, l2_set_64k(l2, va), l2_key(va, 16) | space, (leaf->gpa & ~0xffffull) | leaf->flags);
        break;
    case 21:
        set_insert(l2, l2_set_2m(l2, va), l2_key(va, 21) | space, (leaf->gpa & ~((1ull << 21) - 1)) | leaf->flags);
        break;
    default: /* 1 GiB; larger leaves are kept in pieces of 1 GiB */
        l2->has_1g = true;
        set_insert(l2, l2_set_1g(l2, va), l2_key(va, 30) | space, (leaf->gpa & ~((1ull << 30) - 1)) | leaf->flags);
        break;
    }
}

static void set_drop(struct l2_set *set, uint64_t key, uint64_t space)
{
    for (unsigned i = 0; i < L2_WAYS; i++) {
        if ((set->key[i] ^ key) >> 16 == 0 && (space == 0 || (set->key[i] & 0xffff) == space)) {
            set->key[i] = 0;
        }
    }
}

void l2_note_split(struct tlb_l2 *l2, gva_t va, unsigned bits)
{
    l2->split |= bits > 30 ? ~0ull : 1ull << (va >> 30 & 63);
}

void l2_drop(struct tlb_l2 *l2, gva_t va, uint64_t space)
{
    if (l2->split >> (va >> 30 & 63) & 1) {
        names_void(l2);
        return;
    }
    set_drop(l2_set_4k(l2, va), l2_key(va, 12), space);
    set_drop(l2_set_64k(l2, va), l2_key(va, 16), space);
    set_drop(l2_set_2m(l2, va), l2_key(va, 21), space);
    set_drop(l2_set_1g(l2, va), l2_key(va, 30), space);
    /* A fence on one address orders leaf entries only, but many guests free a table after no more than that. */
    struct pwc_entry *pwc = pwc_slot(l2, va);
    if ((pwc->key ^ l2_key(va, 21)) >> 16 == 0) {
        pwc->key = 0;
    }
}

void l2_fetch_clear(struct tlb_l2 *l2)
{
    for (unsigned i = 0; i < FETCH_CACHE_SIZE; i++) {
        l2->fetch[i].ctx = NULL;
    }
}

/* ---- create ---- */

void tlb_create(struct cpu *cpu)
{
    void *p = mmap(NULL, sizeof(struct tlb_l2), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(p != MAP_FAILED);
    struct tlb_l2 *l2 = cpu->l2 = p;
    l2->next_space = l2->floor = 1;
    l2->gspace = name_new(l2);
    l2->satp = cpu->satp;
    l2->space = l2_space(l2, SATP_ASID(cpu->satp));
    cpu->super = ctx_create(CTX_SUPER, PRIV_S);
    cpu->machine_ctx = ctx_create(CTX_MACHINE, PRIV_M);
    cpu->super->satp = cpu->satp;
    cpu->super->translate = SATP_MODE(cpu->satp) != SATP_BARE;
    if (cpu->machine && cpu->machine->cfg && cpu->machine->cfg->access_matrix == ACCESS_MATRIX_EXACT) {
        tlb_exact_mode(cpu, true);
    }
    tlb_context_update(cpu);
}

static void destroy_one(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    (void)cpu, (void)arg;
    ctx_destroy(ctx);
}

void tlb_destroy(struct cpu *cpu)
{
    if (!cpu->l2) {
        return;
    }
    ctx_for_each(cpu, destroy_one, NULL);
    munmap(cpu->l2, sizeof(*cpu->l2));
    for (unsigned i = 0; i < TLB_USER_POOL; i++) {
        cpu->user_pool[i] = cpu->sum_pool[i] = NULL;
    }
    cpu->l2 = NULL;
    cpu->ctx = cpu->super = cpu->machine_ctx = cpu->mprv_ctx = NULL;
}

void tlb_exact_mode(struct cpu *cpu, bool on)
{
    cpu->l2->exact = on;
    cpu->count_access = on;
    tlb_flush_all(cpu);
}

/* ---- flushes ---- */

static void flush_or_defer(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    (void)arg;
    if (ctx == cpu->ctx) {
        ctx_flush(ctx);
    } else {
        ctx->stale = true;
    }
}

void tlb_flush_all(struct cpu *cpu)
{
    names_void(cpu->l2);
    l2_fetch_clear(cpu->l2);
    ctx_for_each(cpu, flush_or_defer, NULL);
}

static void flush_code_or_defer(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    (void)arg;
    if (ctx == cpu->ctx) {
        ctx_flush_code(ctx);
    } else {
        ctx->code_stale = true;
    }
}

void tlb_flush_code(struct cpu *cpu)
{
    ctx_for_each(cpu, flush_code_or_defer, NULL);
}

struct flush_args {
    bool has_va, has_asid;
    gva_t va;
    uint16_t asid;
};

/* Does a flush of these arguments concern what the context holds? Global mappings stay through a flush of an ASID, so
 * the supervisor context is concerned by its non-global entries only. */
static bool concerns(const struct tlb_ctx *ctx, const struct flush_args *f)
{
    if (ctx->stale || !ctx->translate) {
        return false;
    }
    if (!f->has_asid) {
        return true;
    }
    return SATP_ASID(ctx->satp) == f->asid && (ctx->kind != CTX_SUPER || ctx->has_nonglobal);
}

/* Drops the first-level entries of the 2 MiB or 1 GiB (bits) around va. */
static void ctx_drop_region(struct tlb_ctx *ctx, gva_t va, unsigned bits)
{
    for (unsigned i = 0; i < TLB_SIZE; i++) {
        if ((ctx->rtag[i] ^ va) >> bits == 0 || (ctx->wtag[i] ^ va) >> bits == 0) {
            ctx->rtag[i] = ctx->wtag[i] = TLB_TAG_NONE(i);
        }
    }
}

/* Drops what leads from the virtual page to code. */
static void ctx_drop_code_page(struct tlb_ctx *ctx, gva_t page)
{
    if (ctx->num_code_ids > TLB_CODE_IDS) {
        ctx_flush_code(ctx);
        return;
    }
    for (unsigned i = 0; i < JC_SIZE; i++) {
        if ((ctx->jc[i].va & GUEST_PAGE_MASK) == page) {
            ctx->jc[i].va = 1;
        }
    }
    for (unsigned i = 0; i < ctx->num_code_ids; i++) {
        if (ctx->code_va[ctx->code_ids[i]] == page) {
            ctx->code_va[ctx->code_ids[i]] = 1;
        }
    }
}

static void ctx_drop_page(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    const struct flush_args *f = arg;
    if (!concerns(ctx, f)) {
        return;
    }
    gva_t page = f->va & GUEST_PAGE_MASK;
    if (ctx->filled) {
        unsigned i = page >> GUEST_PAGE_BITS & (TLB_SIZE - 1);
        if (ctx->huge_filter == ~0ull) {
            flush_or_defer(cpu, ctx, NULL);
            return;
        }
        if (ctx->huge_filter >> (page >> 30 & 63) & 1) {
            ctx_drop_region(ctx, page, 30);
        } else if (filter_test(ctx->large_filter, LARGE_FILTER_WORDS, page >> 21)) {
            ctx_drop_region(ctx, page, 21);
        } else if (ctx->rtag[i] == page || ctx->wtag[i] == page) {
            ctx->rtag[i] = ctx->wtag[i] = TLB_TAG_NONE(i);
        }
    }
    if (ctx->code_stale) {
        return;
    }
    if (ctx->huge_code_filter >> (page >> 30 & 63) & 1 ||
        filter_test(ctx->large_code_filter, LARGE_FILTER_WORDS, page >> 21)) {
        flush_code_or_defer(cpu, ctx, NULL);
    } else if (filter_test(ctx->fetch_filter, FETCH_FILTER_WORDS, page >> GUEST_PAGE_BITS)) {
        ctx_drop_code_page(ctx, page);
    }
}

static void ctx_drop_all(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    if (concerns(ctx, arg)) {
        flush_or_defer(cpu, ctx, NULL);
    }
}

void tlb_flush(struct cpu *cpu, bool has_va, gva_t va, bool has_asid, uint16_t asid)
{
    struct tlb_l2 *l2 = cpu->l2;
    struct flush_args f = {.has_va = has_va, .has_asid = has_asid, .va = va, .asid = asid};
    l2_fetch_clear(l2);
    if (has_va) {
        uint64_t space = 0;
        if (has_asid) {
            space = l2->asid_space[asid];
        }
        if (!has_asid || space >= l2->floor) {
            l2_drop(l2, va, space);
        }
        ctx_for_each(cpu, ctx_drop_page, &f);
        return;
    }
    if (has_asid) {
        l2->asid_space[asid] = 0;
        if (asid == SATP_ASID(l2->satp)) {
            l2->space = l2_space(l2, asid);
        }
    } else {
        names_void(l2);
    }
    ctx_for_each(cpu, ctx_drop_all, &f);
}

/* ---- write rights ---- */

static void ctx_drop_write(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    gpa_t page = *(const gpa_t *)arg;
    if (!ctx->filled || ctx->stale || !filter_test(ctx->write_filter, WRITE_FILTER_WORDS, page >> GUEST_PAGE_BITS)) {
        return;
    }
    uint64_t host = (uintptr_t)ram_ptr(cpu->ram, page);
    for (unsigned i = 0; i < TLB_SIZE; i++) {
        if (ctx->wtag[i] != TLB_TAG_NONE(i) && ctx->wtag[i] + ctx->addend[i] == host) {
            ctx->wtag[i] = TLB_TAG_NONE(i);
        }
    }
}

void tlb_drop_write(struct cpu *cpu, gpa_t page)
{
    page &= GUEST_PAGE_MASK;
    ctx_for_each(cpu, ctx_drop_write, &page);
}

static void ctx_drop_write_code(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    const struct ram *ram = cpu->ram;
    if (!ctx->filled || ctx->stale) {
        return;
    }
    for (unsigned i = 0; i < TLB_SIZE; i++) {
        if (ctx->wtag[i] != TLB_TAG_NONE(i)) {
            uint64_t off = ctx->wtag[i] + ctx->addend[i] - (uintptr_t)ram->host;
            uint8_t flags = atomic_load(&ram->page_flags[off >> GUEST_PAGE_BITS]);
            if ((flags & (PAGE_CODE | PAGE_CODE_DIRTY)) == PAGE_CODE) {
                ctx->wtag[i] = TLB_TAG_NONE(i);
            }
        }
    }
}

void tlb_drop_write_code(struct cpu *cpu)
{
    ctx_for_each(cpu, ctx_drop_write_code, NULL);
}
