#include "memory/mmu.h"
#include "weft/page_user.h"

uint32_t mmu_page_fault(enum tlb_access kind)
{
    return kind == ACCESS_FETCH ? EXC_FETCH_PAGE : kind == ACCESS_LOAD ? EXC_LOAD_PAGE : EXC_STORE_PAGE;
}

uint32_t mmu_access_fault(enum tlb_access kind)
{
    return kind == ACCESS_FETCH ? EXC_FETCH_ACCESS : kind == ACCESS_LOAD ? EXC_LOAD_ACCESS : EXC_STORE_ACCESS;
}

bool mmu_permits(uint64_t pte, const struct mmu_access *a)
{
    if (pte & PTE_U) {
        if (a->priv != PRIV_U && (a->kind == ACCESS_FETCH || !a->sum)) {
            return false;
        }
    } else if (a->priv == PRIV_U) {
        return false;
    }
    switch (a->kind) {
    case ACCESS_FETCH:
        return pte & PTE_X;
    case ACCESS_LOAD:
        return pte & PTE_R || (a->mxr && pte & PTE_X);
    default:
        return pte & PTE_W; /* W without R is reserved, so AMO's need for R is met */
    }
}

/* Bits that make a PTE invalid for this hart, whatever its level. */
static uint64_t reserved_bits(const struct cpu *cpu)
{
    uint64_t reserved = PTE_RESERVED;
    if (!(cpu->isa_ext >> EXT_SVNAPOT & 1)) {
        reserved |= PTE_N;
    }
    /* The builtin SBI stands for a firmware that has enabled PBMT for S mode. */
    if (!(cpu->isa_ext >> EXT_SVPBMT & 1) || !(cpu->builtin_sbi || cpu->menvcfg & MENVCFG_PBMTE)) {
        reserved |= PTE_PBMT;
    }
    return reserved;
}

/* Fills *out from a leaf at `level`; false when its encoding is reserved or it is a misaligned superpage. */
static bool leaf_decode(uint64_t pte, gva_t va, unsigned level, struct mmu_leaf *out)
{
    uint64_t ppn = (pte & PTE_PPN) >> PTE_PPN_SHIFT;
    out->bits = GUEST_PAGE_BITS + 9 * level;
    if (pte & PTE_N) {
        if (level != 0 || (ppn & 15) != 8) {
            return false;
        }
        ppn &= ~15ull;
        out->bits = 16;
    }
    if ((pte & PTE_PBMT) == PTE_PBMT) {
        return false;
    }
    uint64_t in_leaf = (1ull << (out->bits - GUEST_PAGE_BITS)) - 1;
    if (ppn & in_leaf) {
        return false;
    }
    out->gpa = (ppn | (va >> GUEST_PAGE_BITS & in_leaf)) << GUEST_PAGE_BITS;
    return true;
}

/* Over ranks a table's page must be here before it is read or written. False: it will not come. */
static inline bool table_here(struct cpu *cpu, gpa_t at, enum page_right right)
{
    const struct ram *ram = cpu->ram;
    return __builtin_expect(ram->users == NULL, 1) ||
           page_users_get(cpu, (at - ram->base) >> GUEST_PAGE_BITS, right, true) == PAGE_REACH_HERE;
}

/* Sets A (and D for a store) in the PTE at `at`, which held `pte`. True when done; *fault says access fault else. False
 * with *fault == EXC_NONE: the PTE has changed, look again. */
static bool pte_update(struct cpu *cpu, gpa_t at, uint64_t pte, uint64_t want, enum tlb_access kind, uint32_t *fault)
{
    *fault = EXC_NONE;
    if (!pmp_allows(cpu, at, 8, PRIV_S, ACCESS_STORE) || !table_here(cpu, at, PAGE_WRITE)) {
        *fault = mmu_access_fault(kind);
        return false;
    }
    _Atomic uint64_t *slot = ram_ptr(cpu->ram, at);
    if (!atomic_compare_exchange_strong(slot, &pte, pte | want)) {
        return false;
    }
    ram_dma_mark(cpu->ram, at, 8);
    if (cpu->ram->users) {
        atomic_fetch_or(&cpu->ram->page_flags[(at - cpu->ram->base) >> GUEST_PAGE_BITS], PAGE_MODIFIED);
    }
    return true;
}

uint32_t mmu_walk(struct cpu *cpu, gva_t va, const struct mmu_access *access, gpa_t table, struct mmu_leaf *out)
{
    const struct ram *ram = cpu->ram;
    unsigned levels = SATP_MODE(cpu->satp) - SATP_SV39 + 3;
    unsigned unused = 64 - GUEST_PAGE_BITS - 9 * levels;
    uint32_t page_fault = mmu_page_fault(access->kind);
    if ((uint64_t)((int64_t)(va << unused) >> unused) != va) {
        return page_fault;
    }
    uint64_t reserved = reserved_bits(cpu), inherited = 0;
    unsigned level = levels - 1;
    if (table != MMU_NO_TABLE) {
        level = 0;
    } else {
        table = SATP_PPN(cpu->satp) << GUEST_PAGE_BITS;
    }
    for (;;) {
        gpa_t at = table + (va >> (GUEST_PAGE_BITS + 9 * level) & 511) * 8;
        if (!ram_contains(ram, at, 8) || !pmp_allows(cpu, at, 8, PRIV_S, ACCESS_LOAD) ||
            !table_here(cpu, at, PAGE_READ)) {
            return mmu_access_fault(access->kind);
        }
        uint64_t pte = atomic_load_explicit((_Atomic uint64_t *)ram_ptr(ram, at), memory_order_acquire);
        if (!(pte & PTE_V) || (pte & (PTE_R | PTE_W)) == PTE_W || pte & reserved) {
            return page_fault;
        }
        if (!(pte & (PTE_R | PTE_X))) {
            /* In a pointer D, A, U, PBMT and N are reserved. */
            if (level == 0 || pte & (PTE_D | PTE_A | PTE_U | PTE_PBMT | PTE_N)) {
                return page_fault;
            }
            inherited |= pte & PTE_G;
            table = (pte & PTE_PPN) >> PTE_PPN_SHIFT << GUEST_PAGE_BITS;
            level--;
            continue;
        }
        if (!leaf_decode(pte, va, level, out) || !mmu_permits(pte, access)) {
            return page_fault;
        }
        uint64_t want = PTE_A | (access->kind >= ACCESS_STORE ? PTE_D : 0);
        if (want & ~pte) {
            uint32_t fault;
            if (!(cpu->isa_ext >> EXT_SVADU & 1) || !(cpu->menvcfg & MENVCFG_ADUE)) {
                return page_fault;
            }
            if (!pte_update(cpu, at, pte, want, access->kind, &fault)) {
                if (fault != EXC_NONE) {
                    return fault;
                }
                continue;
            }
            pte |= want;
        }
        out->flags = (pte & 0xff) | inherited;
        out->table = level == 0 && !inherited ? table : MMU_NO_TABLE;
        return EXC_NONE;
    }
}
