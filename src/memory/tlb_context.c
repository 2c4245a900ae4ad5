/* The contexts of one hart: their making, their pools, and which of them is current. */
#include "memory/tlb_l2.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * All contexts of all harts begin as private copies of one sealed image of an empty context: a page of code_va that
 * was never used takes no memory of its own, and giving back a used one makes it empty again.
 */
static struct {
    pthread_once_t once;
    int fd;
    const struct tlb_ctx *image;
} empty = {.once = PTHREAD_ONCE_INIT, .fd = -1};

static size_t ctx_bytes(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (sizeof(struct tlb_ctx) + page - 1) & ~(page - 1);
}

static void empty_make(void)
{
    empty.fd = memfd_create("weft-tlb", MFD_CLOEXEC);
    assert(empty.fd >= 0);
    int r = ftruncate(empty.fd, (off_t)ctx_bytes());
    assert(r == 0);
    struct tlb_ctx *ctx = mmap(NULL, ctx_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, empty.fd, 0);
    assert(ctx != MAP_FAILED);
    for (unsigned i = 0; i < TLB_SIZE; i++) {
        ctx->rtag[i] = ctx->wtag[i] = TLB_TAG_NONE(i);
    }
    for (unsigned i = 0; i < JC_SIZE; i++) {
        ctx->jc[i].va = 1;
    }
    for (unsigned i = 0; i < CODE_PAGES_MAX; i++) {
        ctx->code_va[i] = 1;
    }
    r = mprotect(ctx, ctx_bytes(), PROT_READ);
    assert(r == 0);
    empty.image = ctx;
}

/* A PTE admits an access by the short refill if its bits under the mask are those wanted. Modes that are judged by
 * more than that want what no PTE has. */
void ctx_judge(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    (void)arg;
    if (!ctx->translate || ctx->mxr || cpu->l2->exact || cpu->ram->users) {
        ctx->read_mask = ctx->write_mask = 0;
        ctx->read_want = ctx->write_want = 1;
        return;
    }
    uint64_t mask = L2_NOT_RAM | (ctx->sum ? 0 : PTE_U), want = ctx->priv == PRIV_U ? PTE_U : 0;
    ctx->read_mask = mask | PTE_R;
    ctx->read_want = want | PTE_R;
    ctx->write_mask = mask | PTE_W | PTE_D;
    ctx->write_want = want | PTE_W | PTE_D;
}

struct tlb_ctx *ctx_create(struct cpu *cpu, enum tlb_ctx_kind kind, uint8_t priv)
{
    pthread_once(&empty.once, empty_make);
    size_t bytes = ctx_bytes(), room = bytes + TLB_CTX_ALIGN;
    uint8_t *map = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert(map != MAP_FAILED);
    uint8_t *at = map + (-(uintptr_t)map & (TLB_CTX_ALIGN - 1));
    struct tlb_ctx *ctx = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, empty.fd, 0);
    assert(ctx == (void *)at);
    if (at > map) {
        munmap(map, (size_t)(at - map));
    }
    munmap(at + bytes, (size_t)(map + room - (at + bytes)));
    ctx->kind = kind;
    ctx->priv = priv;
    ctx->sum = kind == CTX_SUM;
    ctx_judge(cpu, ctx, NULL);
    return ctx;
}

void ctx_destroy(struct tlb_ctx *ctx)
{
    munmap(ctx, ctx_bytes());
}

void ctx_for_each(struct cpu *cpu, void (*fn)(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg), const void *arg)
{
    for (unsigned i = 0; i < TLB_USER_POOL; i++) {
        if (cpu->user_pool[i]) {
            fn(cpu, cpu->user_pool[i], arg);
        }
        if (cpu->sum_pool[i]) {
            fn(cpu, cpu->sum_pool[i], arg);
        }
    }
    struct tlb_ctx *others[] = {cpu->super, cpu->machine_ctx, cpu->mprv_ctx};
    for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (others[i]) {
            fn(cpu, others[i], arg);
        }
    }
}

/* ---- emptying ---- */

static void code_va_clear(struct tlb_ctx *ctx)
{
    if (ctx->num_code_ids <= TLB_CODE_IDS) {
        for (unsigned i = 0; i < ctx->num_code_ids; i++) {
            ctx->code_va[ctx->code_ids[i]] = 1;
        }
        return;
    }
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t lo = ((uintptr_t)ctx->code_va + page - 1) & ~(page - 1);
    uintptr_t hi = (uintptr_t)(ctx->code_va + CODE_PAGES_MAX) & ~(page - 1);
    for (uint64_t *p = ctx->code_va; (uintptr_t)p < lo; p++) {
        *p = 1;
    }
    for (uint64_t *p = (uint64_t *)hi; p < ctx->code_va + CODE_PAGES_MAX; p++) {
        *p = 1;
    }
    if (madvise((void *)lo, hi - lo, MADV_DONTNEED) != 0) {
        for (uint64_t *p = (uint64_t *)lo; (uintptr_t)p < hi; p++) {
            *p = 1;
        }
    }
}

void ctx_flush_code(struct tlb_ctx *ctx)
{
    if (ctx->code_filled) {
        if (ctx->num_jc <= JC_LIST) {
            for (unsigned n = 0; n < ctx->num_jc; n++) {
                ctx->jc[ctx->jc_list[n]].va = 1;
            }
        } else {
            for (unsigned i = 0; i < JC_SIZE; i++) {
                ctx->jc[i].va = 1;
            }
        }
        code_va_clear(ctx);
        ctx->num_jc = ctx->num_code_ids = 0;
        ctx->code_filled = false;
    }
    if (ctx->code_half[0] | ctx->code_half[1]) {
        memset(ctx->code_seen, 0, sizeof(ctx->code_seen));
        ctx->code_half[0] = ctx->code_half[1] = false;
    }
    ctx->code_stale = false;
}

void ctx_flush(struct tlb_ctx *ctx)
{
    if (ctx_filled(ctx)) {
        for (unsigned g = 0; g < TLB_GROUPS; g++) {
            if (!ctx->group[g]) {
                continue;
            }
            unsigned first = g * TLB_GROUP_SIZE;
            memcpy(&ctx->rtag[first], &empty.image->rtag[first], TLB_GROUP_SIZE * sizeof(ctx->rtag[0]));
            memcpy(&ctx->wtag[first], &empty.image->rtag[first], TLB_GROUP_SIZE * sizeof(ctx->wtag[0]));
        }
        memset(ctx->group, 0, sizeof(ctx->group));
        ctx->half[0] = ctx->half[1] = false;
        memset(ctx->write_filter, 0, sizeof(ctx->write_filter));
    }
    ctx_flush_code(ctx);
    ctx->nonglobal = false;
    ctx->stale = false;
}

void ctx_flush_or_defer(struct cpu *cpu, struct tlb_ctx *ctx, const void *arg)
{
    (void)arg;
    if (ctx == cpu->ctx) {
        ctx_flush(ctx);
    } else {
        ctx->stale = true;
    }
}

/* ---- choice ---- */

/* The pool's context for satp if there is one (and it is worth keeping), else NULL. */
static struct tlb_ctx *pool_find(struct tlb_ctx *const *pool, uint64_t satp)
{
    for (unsigned i = 0; i < TLB_USER_POOL; i++) {
        if (pool[i] && pool[i]->satp == satp) {
            return pool[i];
        }
    }
    return NULL;
}

/* A context for satp: a kept one, a new one while the pool is not full, or the least recently used one. */
static struct tlb_ctx *pool_get(struct cpu *cpu, struct tlb_ctx **pool, enum tlb_ctx_kind kind, uint8_t priv)
{
    struct tlb_ctx *ctx = pool_find(pool, cpu->satp);
    if (!ctx) {
        unsigned best = 0;
        for (unsigned i = 0; i < TLB_USER_POOL; i++) {
            if (!pool[i]) {
                pool[i] = ctx_create(cpu, kind, priv);
                best = i;
                break;
            }
            if (pool[i]->stale > pool[best]->stale ||
                (pool[i]->stale == pool[best]->stale && pool[i]->last_used < pool[best]->last_used)) {
                best = i;
            }
        }
        ctx = pool[best];
        ctx->stale = true;
        l2_fetch_clear(cpu->l2);
        ctx->satp = cpu->satp;
        ctx->translate = SATP_MODE(cpu->satp) != SATP_BARE;
    }
    ctx->last_used = ++cpu->l2->clock;
    return ctx;
}

static void satp_switch(struct cpu *cpu)
{
    struct tlb_l2 *l2 = cpu->l2;
    uint64_t old = l2->satp;
    l2->satp = cpu->satp;
    l2->user = l2->sum = NULL;
    cpu->super->satp = cpu->satp;
    if (SATP_MODE(old) != SATP_MODE(cpu->satp) || l2_names_full(l2)) {
        tlb_flush_all(cpu);
        cpu->super->translate = SATP_MODE(cpu->satp) != SATP_BARE;
        cpu->super->stale = true;
    } else {
        l2->name[SPACE_OWN] = l2_space(l2, SATP_ASID(cpu->satp));
        if (cpu->super->half[0] | cpu->super->code_half[0] | cpu->super->nonglobal) {
            cpu->super->stale = true;
            l2_fetch_clear(l2);
        }
    }
}

/* Machine mode whose data accesses are made as mstatus.MPP says. */
static struct tlb_ctx *mprv_get(struct cpu *cpu)
{
    struct tlb_ctx *ctx = cpu->mprv_ctx;
    if (!ctx) {
        ctx = cpu->mprv_ctx = ctx_create(cpu, CTX_MPRV, PRIV_S);
    }
    uint8_t priv = (cpu->mstatus & MSTATUS_MPP) >> 11;
    bool sum = cpu->mstatus & MSTATUS_SUM;
    if (ctx->satp != cpu->satp || ctx->priv != priv || ctx->sum != sum) {
        ctx->stale = true;
        ctx->satp = cpu->satp;
        ctx->priv = priv;
        ctx->sum = sum;
        ctx->translate = SATP_MODE(cpu->satp) != SATP_BARE;
    }
    return ctx;
}

void tlb_context_update(struct cpu *cpu)
{
    struct tlb_l2 *l2 = cpu->l2;
    if (cpu->satp != l2->satp) {
        satp_switch(cpu);
    }
    struct tlb_ctx *ctx;
    if (cpu->priv == PRIV_U) {
        if (!l2->user) {
            l2->user = pool_get(cpu, cpu->user_pool, CTX_USER, PRIV_U);
        }
        ctx = l2->user;
    } else if (cpu->priv == PRIV_S) {
        if (!(cpu->mstatus & MSTATUS_SUM)) {
            ctx = cpu->super;
        } else {
            if (!l2->sum) {
                l2->sum = pool_get(cpu, cpu->sum_pool, CTX_SUM, PRIV_S);
            }
            ctx = l2->sum;
        }
    } else if (cpu->mstatus & MSTATUS_MPRV && (cpu->mstatus & MSTATUS_MPP) != MSTATUS_MPP) {
        ctx = mprv_get(cpu);
    } else {
        ctx = cpu->machine_ctx;
    }
    bool mxr = cpu->mstatus & MSTATUS_MXR;
    if (__builtin_expect(ctx->stale | ctx->code_stale | (ctx->mxr != mxr), 0)) {
        if (ctx->stale || ctx->mxr != mxr) {
            ctx_flush(ctx);
            ctx->mxr = mxr;
            ctx_judge(cpu, ctx, NULL);
        }
        if (ctx->code_stale) {
            ctx_flush_code(ctx);
        }
    }
    cpu->ctx = ctx;
}
