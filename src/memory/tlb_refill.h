/* Entering the first level, and looking up the second. Own thread only. */
#ifndef WEFT_MEMORY_TLB_REFILL_H
#define WEFT_MEMORY_TLB_REFILL_H

#include "memory/tlb_l2.h"

struct l2_hit {
    gpa_t gpa; /* of va's 4 KiB page */
    uint64_t pte;
    unsigned bits;
};

/* Looks va up in the tables of the second level, whatever the size of its page. */
bool l2_lookup(struct cpu *cpu, gva_t va, struct l2_hit *out);
/* Do the PTE's bits, D included, admit the access in this context? */
bool l2_admits(const struct tlb_ctx *ctx, uint64_t pte, enum tlb_access access);
/* Enters va's page, which lies in RAM at gpa. `pte`: R W X U G D as they hold here, PMP included. True when the entry
 * admits the access. */
bool tlb_enter(struct cpu *cpu, struct tlb_ctx *ctx, gva_t va, gpa_t gpa, uint64_t pte, bool store);

#endif
