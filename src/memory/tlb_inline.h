/* The probe of the first level, for C code that accesses guest memory often (T0). Own thread only. */
#ifndef WEFT_MEMORY_TLB_INLINE_H
#define WEFT_MEMORY_TLB_INLINE_H

#include "weft/cpu.h"

/* Guest memory is read and written by other harts at the same time and at any alignment: each access is one relaxed
 * atomic access of its size, which on the host is the plain move also where the address is not aligned. */
static inline uint64_t guest_get(const void *p, unsigned size)
{
    switch (size) {
    case 1:
        return __atomic_load_n((const uint8_t *)p, __ATOMIC_RELAXED);
    case 2:
        return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
    case 4:
        return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
    default:
        return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
    }
}

static inline void guest_put(void *p, unsigned size, uint64_t value)
{
    switch (size) {
    case 1:
        __atomic_store_n((uint8_t *)p, (uint8_t)value, __ATOMIC_RELAXED);
        break;
    case 2:
        __atomic_store_n((uint16_t *)p, (uint16_t)value, __ATOMIC_RELAXED);
        break;
    case 4:
        __atomic_store_n((uint32_t *)p, (uint32_t)value, __ATOMIC_RELAXED);
        break;
    default:
        __atomic_store_n((uint64_t *)p, value, __ATOMIC_RELAXED);
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
