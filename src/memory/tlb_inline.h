/* The probe of the first level, for C code that accesses guest memory often (T0). Own thread only. */
#ifndef WEFT_MEMORY_TLB_INLINE_H
#define WEFT_MEMORY_TLB_INLINE_H

#include "weft/cpu.h"

/* Guest memory is read and written by other harts at the same time and at any alignment: each access is one volatile
 * access of its size. */
typedef uint16_t guest_u16 __attribute__((aligned(1), may_alias));
typedef uint32_t guest_u32 __attribute__((aligned(1), may_alias));
typedef uint64_t guest_u64 __attribute__((aligned(1), may_alias));

static inline uint64_t guest_get(const void *p, unsigned size)
{
    switch (size) {
    case 1:
        return *(const volatile uint8_t *)p;
    case 2:
        return *(const volatile guest_u16 *)p;
    case 4:
        return *(const volatile guest_u32 *)p;
    default:
        return *(const volatile guest_u64 *)p;
    }
}

static inline void guest_put(void *p, unsigned size, uint64_t value)
{
    switch (size) {
    case 1:
        *(volatile uint8_t *)p = (uint8_t)value;
        break;
    case 2:
        *(volatile guest_u16 *)p = (uint16_t)value;
        break;
    case 4:
        *(volatile guest_u32 *)p = (uint32_t)value;
        break;
    default:
        *(volatile guest_u64 *)p = value;
        break;
    }
}

/* Host address for a read / write of `size` bytes at va, or NULL when the first level does not admit it. */
static inline void *tlb_probe_read(const struct tlb_ctx *ctx, gva_t va, unsigned size)
{
    unsigned i = va >> GUEST_PAGE_BITS & (TLB_SIZE - 1);
    return va - ctx->rtag[i] <= GUEST_PAGE_SIZE - size ? (void *)(uintptr_t)(va + ctx->addend[i]) : NULL;
}

static inline void *tlb_probe_write(const struct tlb_ctx *ctx, gva_t va, unsigned size)
{
    unsigned i = va >> GUEST_PAGE_BITS & (TLB_SIZE - 1);
    return va - ctx->wtag[i] <= GUEST_PAGE_SIZE - size ? (void *)(uintptr_t)(va + ctx->addend[i]) : NULL;
}

/* tlb_load and tlb_store with the hit inlined. */
static inline bool tlb_load_inline(struct cpu *cpu, gva_t va, unsigned size, uint64_t *value)
{
    const void *p = tlb_probe_read(cpu->ctx, va, size);
    if (__builtin_expect(p != NULL && !cpu->count_access, 1)) {
        *value = guest_get(p, size);
        return true;
    }
    return tlb_load(cpu, va, size, value);
}

static inline bool tlb_store_inline(struct cpu *cpu, gva_t va, unsigned size, uint64_t value)
{
    void *p = tlb_probe_write(cpu->ctx, va, size);
    if (__builtin_expect(p != NULL && !cpu->count_access, 1)) {
        guest_put(p, size, value);
        return true;
    }
    return tlb_store(cpu, va, size, value);
}

#endif
