/*
 * The short paths out of generated code. Compiled with general registers only: the guest's FP registers are live in
 * the vector registers.
 */
#include "memory/tlb_inline.h"
#include "tcg/helpers.h"
#include "weft/log.h"

/* An access that crosses a page, where the first level admits both parts. */
static struct value_ok load_crossing(struct cpu *cpu, gva_t va, unsigned size)
{
    unsigned head = (unsigned)(GUEST_PAGE_SIZE - (va & ~GUEST_PAGE_MASK));
    const uint8_t *p0 = tlb_probe_read(cpu->ctx, va, 1), *p1 = tlb_probe_read(cpu->ctx, va + head, 1);
    uint64_t v = 0;
    if (!p0 || !p1) {
        return (struct value_ok){0, 0};
    }
    for (unsigned i = 0; i < size; i++) {
        v |= guest_get(i < head ? p0 + i : p1 + (i - head), 1) << (8 * i);
    }
    return (struct value_ok){v, 1};
}

static struct value_ok store_crossing(struct cpu *cpu, gva_t va, unsigned size, uint64_t value)
{
    unsigned head = (unsigned)(GUEST_PAGE_SIZE - (va & ~GUEST_PAGE_MASK));
    uint8_t *p0 = tlb_probe_write(cpu->ctx, va, 1), *p1 = tlb_probe_write(cpu->ctx, va + head, 1);
    if (!p0 || !p1) {
        return (struct value_ok){0, 0};
    }
    for (unsigned i = 0; i < size; i++) {
        guest_put(i < head ? p0 + i : p1 + (i - head), 1, value >> (8 * i) & 0xff);
    }
    return (struct value_ok){0, 1};
}

#define LOAD_FAST(name, type, extended)                                                                                \
    struct value_ok tcg_load_fast_##name(struct cpu *cpu, gva_t va)                                                    \
    {                                                                                                                  \
        if ((va & ~GUEST_PAGE_MASK) > GUEST_PAGE_SIZE - sizeof(type)) {                                                \
            struct value_ok r = load_crossing(cpu, va, sizeof(type));                                                  \
            r.value = (uint64_t)(extended)(type)r.value;                                                               \
            return r;                                                                                                  \
        }                                                                                                              \
        const void *p = tlb_refill_read(cpu, va);                                                                      \
        if (!p) {                                                                                                      \
            return (struct value_ok){0, 0};                                                                            \
        }                                                                                                              \
        type v;                                                                                                        \
        __builtin_memcpy(&v, p, sizeof(v));                                                                            \
        return (struct value_ok){(uint64_t)(extended)v, 1};                                                            \
    }

LOAD_FAST(u8, uint8_t, uint64_t)
LOAD_FAST(s8, int8_t, int64_t)
LOAD_FAST(u16, uint16_t, uint64_t)
LOAD_FAST(s16, int16_t, int64_t)
LOAD_FAST(u32, uint32_t, uint64_t)
LOAD_FAST(s32, int32_t, int64_t)
LOAD_FAST(64, uint64_t, uint64_t)

#define STORE_FAST(name, type)                                                                                         \
    struct value_ok tcg_store_fast_##name(struct cpu *cpu, gva_t va, uint64_t value)                                   \
    {                                                                                                                  \
        if ((va & ~GUEST_PAGE_MASK) > GUEST_PAGE_SIZE - sizeof(type)) {                                                \
            return store_crossing(cpu, va, sizeof(type), value);                                                       \
        }                                                                                                              \
        void *p = tlb_refill_write(cpu, va);                                                                           \
        if (!p) {                                                                                                      \
            return (struct value_ok){0, 0};                                                                            \
        }                                                                                                              \
        type v = (type)value;                                                                                          \
        __builtin_memcpy(p, &v, sizeof(v));                                                                            \
        return (struct value_ok){0, 1};                                                                                \
    }

STORE_FAST(8, uint8_t)
STORE_FAST(16, uint16_t)
STORE_FAST(32, uint32_t)
STORE_FAST(64, uint64_t)

static bool group_fits(gva_t va, uint64_t arg)
{
    return ((va - GROUP_BEFORE(arg)) & ~GUEST_PAGE_MASK) <= GUEST_PAGE_SIZE - GROUP_SPAN_OF(arg);
}

struct value_ok tcg_group_fast_read(struct cpu *cpu, gva_t va, uint64_t arg)
{
    if (!group_fits(va, arg)) {
        return (struct value_ok){0, 1};
    }
    uint64_t p = (uint64_t)(uintptr_t)tlb_refill_read(cpu, va);
    return (struct value_ok){p, p != 0};
}

struct value_ok tcg_group_fast_write(struct cpu *cpu, gva_t va, uint64_t arg)
{
    if (!group_fits(va, arg)) {
        return (struct value_ok){0, 1};
    }
    uint64_t p = (uint64_t)(uintptr_t)tlb_refill_write(cpu, va);
    return (struct value_ok){p, p != 0};
}

void *tcg_lookup_fast(struct cpu *cpu, gva_t va)
{
    struct tcg_cpu *t = cpu->tcg;
    struct codecache *cc = t->cc;
    struct tlb_ctx *ctx = cpu->ctx;
    if (log_on(TRACING)) {
        return NULL; /* every block is to pass the dispatcher */
    }
    uint64_t page = va & GUEST_PAGE_MASK;
    struct jc_entry *j = &ctx->jc[va >> 1 & (JC_SIZE - 1)];
    if (j->va == va) {
        cpu->pc_page = page;
        return j->code;
    }
    struct fetch_entry *f = &t->fetch[va >> GUEST_PAGE_BITS & (FETCH_CACHE_SIZE - 1)];
    if (f->va_page != page || f->ctx != ctx || ctx->code_va[f->id] != page) {
        return NULL;
    }
    struct code_page *p = atomic_load_explicit(&cc->page[f->id], memory_order_acquire);
    if (!p || atomic_load_explicit(&p->retired, memory_order_relaxed)) {
        return NULL;
    }
    uint32_t off = code_page_find(p, va & ~GUEST_PAGE_MASK);
    if (!off) {
        return NULL;
    }
    void *code = cc->rx + off;
    tlb_jc_fill(ctx, va, code);
    cpu->pc_page = page;
    return code;
}
