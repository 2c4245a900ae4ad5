#include "memory/mmu.h"

enum { PMP_CFG_L = 1 << 7, PMP_A_SHIFT = 3, PMP_OFF = 0, PMP_TOR = 1, PMP_NA4 = 2, PMP_NAPOT = 3 };

/* The range [*lo, *last] of entry i; false when it matches nothing. Bounds are inclusive because an entry may end at
 * 2^56 and a NAPOT one of all ones covers everything. */
static bool entry_range(const struct cpu *cpu, unsigned i, uint64_t *lo, uint64_t *last)
{
    const uint64_t addr_mask = (1ull << 54) - 1;
    uint64_t addr = cpu->pmpaddr[i] & addr_mask;
    switch (cpu->pmpcfg[i] >> PMP_A_SHIFT & 3) {
    case PMP_TOR:
        *lo = i > 0 ? (cpu->pmpaddr[i - 1] & addr_mask) << 2 : 0;
        *last = (addr << 2) - 1;
        return *lo < addr << 2;
    case PMP_NA4:
        *lo = addr << 2;
        *last = *lo + 3;
        return true;
    case PMP_NAPOT: {
        uint64_t ones = addr ^ (addr + 1);
        *lo = (addr & ~ones) << 2;
        *last = (addr | ones) << 2 | 3;
        return true;
    }
    default:
        return false;
    }
}

unsigned pmp_rights(const struct cpu *cpu, gpa_t gpa, uint64_t len, uint8_t priv)
{
    if (cpu->pmp_active == 0) {
        return PMP_RWX;
    }
    uint64_t end = gpa + len - 1;
    for (unsigned i = 0; i < cpu->pmp_active; i++) {
        uint64_t lo, last;
        if (!entry_range(cpu, i, &lo, &last) || end < lo || gpa > last) {
            continue;
        }
        if (gpa < lo || end > last) {
            return PMP_MIXED;
        }
        uint8_t cfg = cpu->pmpcfg[i];
        return priv == PRIV_M && !(cfg & PMP_CFG_L) ? PMP_RWX : cfg & PMP_RWX;
    }
    return priv == PRIV_M ? PMP_RWX : 0;
}

bool pmp_allows(const struct cpu *cpu, gpa_t gpa, uint64_t len, uint8_t priv, enum tlb_access kind)
{
    static const uint8_t need[] = {
        [ACCESS_FETCH] = PMP_X, [ACCESS_LOAD] = PMP_R, [ACCESS_STORE] = PMP_W, [ACCESS_AMO] = PMP_R | PMP_W};
    unsigned rights = pmp_rights(cpu, gpa, len, priv);
    return rights != PMP_MIXED && (rights & need[kind]) == need[kind];
}
