#include "memory/tlb_l2.h"

#include <assert.h>
#include <string.h>

/* ---- sets of regions ---- */

static unsigned region_slot(gva_t va)
{
    return (va >> 30) * 0x9e3779b97f4a7c15ull >> 60;
}

static void region_note(struct region_set *set, gva_t va, unsigned bits)
{
    set->any = true;
    if (bits > 30) {
        set->all = true;
        return;
    }
    unsigned s = region_slot(va);
    uint64_t gib = va >> 30 | REGION_USED;
    if (set->gib[s] == 0) {
        set->gib[s] = gib;
    } else if (set->gib[s] != gib) {
        set->gib[s] = REGION_MIXED;
    }
    if (bits > 21) {
        memset(set->map[s], 0xff, sizeof(set->map[s]));
    } else {
        set->map[s][va >> 27 & 7] |= 1ull << (va >> 21 & 63);
    }
}

static bool region_test(const struct region_set *set, gva_t va)
{
    if (!set->any) {
        return false;
    }
    unsigned s = region_slot(va);
    return set->all || ((set->gib[s] == (va >> 30 | REGION_USED) || set->gib[s] == REGION_MIXED) &&
                        set->map[s][va >> 27 & 7] >> (va >> 21 & 63) & 1);
}

void l2_note_lost(struct tlb_l2 *l2, gva_t va, unsigned bits)
{
    /* The pieces of a whole GiB are not told apart: they are dropped by voiding everything. */
    region_note(bits > 21 ? &l2->split : &l2->lost, va, bits);
}

void l2_note_split(struct tlb_l2 *l2, gva_t va, unsigned bits)
{
    region_note(&l2->split, va, bits);
}

/* ---- names ---- */

static uint64_t name_new(struct tlb_l2 *l2)
{
    assert(l2->next_space <= SPACE_MAX);
    return l2->next_space++;
}

uint64_t l2_space(struct tlb_l2 *l2, uint16_t asid)
{
    uint16_t *name = &l2->asid_space[asid];
    if (*name < l2->floor) {
        *name = (uint16_t)name_new(l2);
    }
    return *name;
}

void l2_void(struct tlb_l2 *l2)
{
    if (l2_names_full(l2)) {
        memset(l2->t4k, 0, sizeof(l2->t4k));
        memset(l2->t64k, 0, sizeof(l2->t64k));
        memset(l2->t2m, 0, sizeof(l2->t2m));
        memset(l2->t1g, 0, sizeof(l2->t1g));
        memset(l2->pwc, 0, sizeof(l2->pwc));
        memset(l2->asid_space, 0, sizeof(l2->asid_space));
        l2->next_space = 1;
    }
    l2->floor = l2->next_space;
    l2->has_64k = l2->has_1g = false;
    if (l2->lost.any) {
        memset(&l2->lost, 0, sizeof(l2->lost));
    }
    if (l2->split.any) {
        memset(&l2->split, 0, sizeof(l2->split));
    }
    l2->name[SPACE_GLOBAL] = name_new(l2);
    l2->name[SPACE_OWN] = l2_space(l2, SATP_ASID(l2->satp));
}

/* ---- entries ---- */

/* Returns the key that had to go, or 0. */
static uint64_t set_insert(struct tlb_l2 *l2, struct l2_set *set, uint64_t key, uint64_t val)
{
    unsigned way = L2_WAYS;
    for (unsigned i = 0; i < L2_WAYS; i++) {
        if (set->key[i] == key) {
            set->val[i] = val;
            return 0;
        }
        if (set->key[i] == 0) {
            way = i;
        }
    }
    uint64_t gone = 0;
    if (way == L2_WAYS) {
        way = l2->victim++ % L2_WAYS;
        gone = set->key[way];
    }
    set->key[way] = key;
    set->val[way] = val;
    return gone;
}

static void insert_large(struct tlb_l2 *l2, struct l2_set *set, gva_t va, unsigned bits, uint64_t space, uint64_t val)
{
    uint64_t gone = set_insert(l2, set, l2_key(va, bits) | space, val);
    if ((gone & L2_FLAGS) >= l2->floor) {
        l2_note_lost(l2, gone & ~L2_FLAGS, bits);
    }
}

void l2_insert(struct cpu *cpu, gva_t va, const struct mmu_leaf *leaf)
{
    struct tlb_l2 *l2 = cpu->l2;
    uint64_t space = l2->name[leaf->flags & PTE_G ? SPACE_GLOBAL : SPACE_OWN];
    if (leaf->table != MMU_NO_TABLE) {
        *pwc_slot(l2, va) = (struct pwc_entry){.key = l2_key(va, 21) | space, .table = leaf->table};
    }
    unsigned bits = leaf->bits < 30 ? leaf->bits : 30; /* larger leaves are kept in pieces of 1 GiB */
    gpa_t first = l2_key(leaf->gpa, bits);
    uint64_t val = (leaf->flags & 0xff) |
                   (ram_contains(cpu->ram, first, 1ull << bits) ? (uint64_t)(uintptr_t)ram_ptr(cpu->ram, first)
                                                                : first | L2_NOT_RAM);
    *l2_hint(l2, va) = bits == 21;
    switch (bits) {
    case 12:
        set_insert(l2, l2_set_4k(l2, va), l2_key(va, 12) | space, val);
        break;
    case 16:
        l2->has_64k = true;
        insert_large(l2, l2_set_64k(l2, va), va, 16, space, val);
        break;
    case 21:
        insert_large(l2, l2_set_2m(l2, va), va, 21, space, val);
        break;
    default:
        l2->has_1g = true;
        insert_large(l2, l2_set_1g(l2, va), va, 30, space, val);
        break;
    }
}

/* Drops the address from one set; true when something was there. */
static bool set_drop(struct l2_set *set, uint64_t key, uint64_t space)
{
    bool found = false;
    for (unsigned i = 0; i < L2_WAYS; i++) {
        uint64_t k = set->key[i];
        if ((k ^ key) <= L2_FLAGS && k != 0 && (space == 0 || (k & L2_FLAGS) == space)) {
            set->key[i] = 0;
            found = true;
        }
    }
    return found;
}

unsigned l2_drop(struct tlb_l2 *l2, gva_t va, uint64_t space)
{
    if (region_test(&l2->split, va)) {
        return 64;
    }
    unsigned bits = region_test(&l2->lost, va) ? 21 : GUEST_PAGE_BITS;
    set_drop(l2_set_4k(l2, va), l2_key(va, 12), space);
    if (set_drop(l2_set_2m(l2, va), l2_key(va, 21), space)) {
        bits = 21;
    }
    if (l2->has_64k && set_drop(l2_set_64k(l2, va), l2_key(va, 16), space)) {
        bits = 21;
    }
    if (l2->has_1g && set_drop(l2_set_1g(l2, va), l2_key(va, 30), space)) {
        bits = 30;
    }
    /* A fence on one address orders leaf entries only, but many guests free a table after no more than that. */
    struct pwc_entry *pwc = pwc_slot(l2, va);
    if ((pwc->key ^ l2_key(va, 21)) <= L2_FLAGS) {
        pwc->key = 0;
    }
    return bits;
}

void l2_fetch_clear(struct tlb_l2 *l2)
{
    for (unsigned i = 0; i < FETCH_CACHE_SIZE; i++) {
        l2->fetch[i].ctx = NULL;
    }
}
