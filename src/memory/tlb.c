/* The hart's TLB as a whole: its making, fences, and the dropping of write rights. */
#include "memory/tlb_l2.h"

#include <assert.h>
#include <sys/mman.h>
#include "weft/machine.h"
#include "weft/page_user.h"

/* ---- create ---- */

void tlb_create(struct cpu *cpu)
{
    void *p = mmap(NULL, sizeof(struct tlb_l2), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(p != MAP_FAILED);
    struct tlb_l2 *l2 = cpu->l2 = p;
    const struct ram *ram = cpu->ram;
    l2->flags_of_host = ram->page_flags - ((uintptr_t)ram->host >> GUEST_PAGE_BITS);
    l2->next_space = 1;
    l2->satp = cpu->satp;
    l2_void(l2);
    cpu->super = ctx_create(cpu, CTX_SUPER, PRIV_S);
    cpu->machine_ctx = ctx_create(cpu, CTX_MACHINE, PRIV_M);
    cpu->super->satp = cpu->satp;
    cpu->super->translate = SATP_MODE(cpu->satp) != SATP_BARE;
    ctx_judge(cpu, cpu->super, NULL);
    if (ram->users) {
        page_users_add_hart(ram->users, cpu, tlb_drop_right);
    }
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
    if (cpu->page_user) {
        page_users_remove_hart(cpu->ram->users, cpu);
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
    ctx_for_each(cpu, ctx_judge, NULL);
}

/* ---- fences ---- */

void tlb_flush_all(struct cpu *cpu)
{
    l2_void(cpu->l2);
    l2_fetch_clear(cpu->l2);
    ctx_for_each(cpu, ctx_flush_or_defer, NULL);
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
    bool has_asid;
    uint16_t asid;
    gva_t page;
    unsigned bits; /* log2 of the region around page that goes */
};

/* Does a flush of these arguments concern what the context holds? Global mappings stay through a flush of an ASID, so
 * the supervisor context is concerned by its non-global entries only. */
static inline bool concerns(const struct tlb_ctx *ctx, const struct flush_args *f)
{
    if (ctx->stale || !ctx->translate) {
        return false;
    }
    if (!f->has_asid) {
        return true;
    }
    return SATP_ASID(ctx->satp) == f->asid &&
           (ctx->kind != CTX_SUPER || ctx->half[0] | ctx->code_half[0] | ctx->nonglobal);
}

/* Drops the first-level entries of the 2 MiB or 1 GiB (bits) around va. */
static void ctx_drop_region(struct tlb_ctx *ctx, gva_t va, unsigned bits)
{
    unsigned n = bits == 21 ? 512 / TLB_GROUP_SIZE : TLB_GROUPS;
    unsigned first = bits == 21 ? (va >> 21) * n & (TLB_GROUPS - 1) : 0;
    for (unsigned g = first; g < first + n; g++) {
        for (unsigned i = g * TLB_GROUP_SIZE; ctx->group[g] && i < (g + 1) * TLB_GROUP_SIZE; i++) {
            if ((ctx->rtag[i] ^ va) >> bits == 0 || (ctx->wtag[i] ^ va) >> bits == 0) {
                ctx->rtag[i] = ctx->wtag[i] = TLB_TAG_NONE(i);
            }
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
    struct jc_entry *j = &ctx->jc[page >> 1 & (JC_SIZE - 1)];
    for (unsigned i = 0; i < GUEST_PAGE_SIZE / 2; i++) {
        if ((j[i].va & GUEST_PAGE_MASK) == page) {
            j[i].va = 1;
        }
    }
    for (unsigned i = 0; i < ctx->num_code_ids; i++) {
        if (ctx->code_va[ctx->code_ids[i]] == page) {
            ctx->code_va[ctx->code_ids[i]] = 1;
        }
    }
}

static void ctx_drop_code(struct cpu *cpu, struct tlb_ctx *ctx, const struct flush_args *f)
{
    if (f->bits == GUEST_PAGE_BITS) {
        uint64_t *seen = code_seen_slot(ctx, f->page);
        if (*seen & 1) {
            ctx_drop_code_page(ctx, f->page);
        } else if (*seen == (f->page | 2)) {
            *seen = 0;
            ctx_drop_code_page(ctx, f->page);
        }
        return;
    }
    for (unsigned i = 0; i < CODE_SEEN; i++) {
        if (ctx->code_seen[i] & 1 || (ctx->code_seen[i] && (ctx->code_seen[i] ^ f->page) >> f->bits == 0)) {
            flush_code_or_defer(cpu, ctx, NULL);
            return;
        }
    }
}

static inline void ctx_drop_page(struct cpu *cpu, struct tlb_ctx *ctx, const struct flush_args *f)
{
    unsigned half = f->page >> 63;
    if (!ctx || !(ctx->half[half] | ctx->code_half[half]) || !concerns(ctx, f)) {
        return;
    }
    unsigned i = f->page >> GUEST_PAGE_BITS & (TLB_SIZE - 1);
    if (f->bits != GUEST_PAGE_BITS) {
        ctx_drop_region(ctx, f->page, f->bits);
    } else if (ctx->group[i / TLB_GROUP_SIZE] && (ctx->rtag[i] == f->page || ctx->wtag[i] == f->page)) {
        ctx->rtag[i] = ctx->wtag[i] = TLB_TAG_NONE(i);
    }
    if (ctx->code_half[half] && !ctx->code_stale) {
        ctx_drop_code(cpu, ctx, f);
    }
}

static void ctx_drop_all(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    if (concerns(ctx, arg)) {
        ctx_flush_or_defer(cpu, ctx, NULL);
    }
}

static void flush_page(struct cpu *cpu, struct flush_args *f)
{
    struct tlb_l2 *l2 = cpu->l2;
    uint64_t space = f->has_asid ? l2->asid_space[f->asid] : 0;
    if (f->has_asid && space < l2->floor) {
        return; /* nothing was entered for it since everything of it was flushed */
    }
    f->bits = l2_drop(l2, f->page, space);
    if (f->bits == 64) {
        tlb_flush_all(cpu);
        return;
    }
    struct fetch_entry *e = fetch_slot(l2, f->page);
    if (f->bits != GUEST_PAGE_BITS) {
        l2_fetch_clear(l2);
    } else if (e->page == f->page) {
        e->ctx = NULL;
    }
    for (unsigned i = 0; i < TLB_USER_POOL; i++) {
        ctx_drop_page(cpu, cpu->user_pool[i], f);
        ctx_drop_page(cpu, cpu->sum_pool[i], f);
    }
    ctx_drop_page(cpu, cpu->super, f);
    ctx_drop_page(cpu, cpu->mprv_ctx, f);
}

void tlb_flush(struct cpu *cpu, bool has_va, gva_t va, bool has_asid, uint16_t asid)
{
    struct tlb_l2 *l2 = cpu->l2;
    struct flush_args f = {.has_asid = has_asid, .page = va & GUEST_PAGE_MASK, .asid = asid};
    if (has_va) {
        flush_page(cpu, &f);
        return;
    }
    l2_fetch_clear(l2);
    if (l2_names_full(l2)) {
        tlb_flush_all(cpu);
    } else if (has_asid) {
        l2->asid_space[asid] = 0;
        if (asid == SATP_ASID(l2->satp)) {
            l2->name[SPACE_OWN] = l2_space(l2, asid);
        }
    } else {
        l2_void(l2);
    }
    ctx_for_each(cpu, ctx_drop_all, &f);
}

/* ---- write rights ---- */

/* Takes the write right of the entries of one host page, or (host 0) of all pages with code that are not marked
 * PAGE_CODE_DIRTY. */
static void ctx_drop_write(const struct cpu *cpu, struct tlb_ctx *ctx, uint64_t host)
{
    const _Atomic uint8_t *flags = cpu->l2->flags_of_host;
    for (unsigned g = 0; g < TLB_GROUPS; g++) {
        for (unsigned i = g * TLB_GROUP_SIZE; ctx->group[g] && i < (g + 1) * TLB_GROUP_SIZE; i++) {
            if (ctx->wtag[i] == TLB_TAG_NONE(i)) {
                continue;
            }
            uint64_t at = ctx->wtag[i] + ctx->addend[i];
            bool drop = at == host;
            if (host == 0) {
                uint8_t f = atomic_load_explicit(&flags[at >> GUEST_PAGE_BITS], memory_order_acquire);
                drop = (f & (PAGE_CODE | PAGE_CODE_DIRTY)) == PAGE_CODE;
            }
            if (drop) {
                ctx->wtag[i] = TLB_TAG_NONE(i);
            }
        }
    }
}

static void drop_write(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    uint64_t host = *(const uint64_t *)arg;
    if (!ctx->stale && *write_filter_slot(ctx, host)) {
        ctx_drop_write(cpu, ctx, host);
    }
}

void tlb_drop_write(struct cpu *cpu, gpa_t page)
{
    uint64_t host = (uintptr_t)ram_ptr(cpu->ram, page & GUEST_PAGE_MASK);
    ctx_for_each(cpu, drop_write, &host);
}

static void drop_write_code(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    (void)arg;
    if (!ctx->stale && ctx_filled(ctx)) {
        ctx_drop_write(cpu, ctx, 0);
    }
}

void tlb_drop_write_code(struct cpu *cpu)
{
    ctx_for_each(cpu, drop_write_code, NULL);
}

/* Over ranks the write filter tells of every entry, not only of those that grant write (tlb_enter). */
static void drop_right(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    (void)cpu;
    uint64_t host = *(const uint64_t *)arg;
    if (ctx->stale || !*write_filter_slot(ctx, host)) {
        return;
    }
    for (unsigned g = 0; g < TLB_GROUPS; g++) {
        for (unsigned i = g * TLB_GROUP_SIZE; ctx->group[g] && i < (g + 1) * TLB_GROUP_SIZE; i++) {
            uint64_t tag = ctx->rtag[i] != TLB_TAG_NONE(i) ? ctx->rtag[i] : ctx->wtag[i];
            if (tag + ctx->addend[i] == host) {
                ctx->rtag[i] = ctx->wtag[i] = TLB_TAG_NONE(i);
            }
        }
    }
}

void tlb_drop_right(struct cpu *cpu, gpa_t page, bool keep_read)
{
    if (keep_read) {
        tlb_drop_write(cpu, page);
        return;
    }
    uint64_t host = (uintptr_t)ram_ptr(cpu->ram, page & GUEST_PAGE_MASK);
    l2_fetch_clear(cpu->l2);
    ctx_for_each(cpu, drop_right, &host);
}
