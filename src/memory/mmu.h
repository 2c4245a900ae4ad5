/*
 * Page walk and physical memory protection: pure look-ups over guest RAM and CSRs, used by the soft TLB.
 * The hart's own thread only.
 */
#ifndef WEFT_MEMORY_MMU_H
#define WEFT_MEMORY_MMU_H

#include "weft/cpu.h"

/* Page table entry (privileged specification 12.4.1, Svnapot, Svpbmt). */
#define PTE_V (1ull << 0)
#define PTE_R (1ull << 1)
#define PTE_W (1ull << 2)
#define PTE_X (1ull << 3)
#define PTE_U (1ull << 4)
#define PTE_G (1ull << 5)
#define PTE_A (1ull << 6)
#define PTE_D (1ull << 7)
#define PTE_PPN_SHIFT 10
#define PTE_PPN (((1ull << 44) - 1) << PTE_PPN_SHIFT)
#define PTE_RESERVED (0x7full << 54)
#define PTE_PBMT (3ull << 61)
#define PTE_N (1ull << 63)

#define SATP_MODE(satp) ((unsigned)((satp) >> 60))
#define SATP_ASID(satp) ((uint16_t)((satp) >> 44))
#define SATP_PPN(satp) ((satp) & ((1ull << 44) - 1))
enum { SATP_BARE = 0, SATP_SV39 = 8, SATP_SV48 = 9, SATP_SV57 = 10 };

#define MENVCFG_PBMTE (1ull << 62)
#define MENVCFG_ADUE (1ull << 61)

/* How one access is judged. */
struct mmu_access {
    enum tlb_access kind;
    uint8_t priv; /* effective privilege: U or S */
    bool sum, mxr;
};

/* A leaf found by the walk. */
struct mmu_leaf {
    gpa_t gpa;      /* of the 4 KiB page that holds va */
    uint64_t flags; /* low 8 bits of the PTE after the A/D update; G also when inherited from an upper level */
    unsigned bits;  /* log2 of the leaf's size: 12, 16, 21, 30, 39, 48 */
    gpa_t table;    /* the last-level table, when it was reached through non-global pointers only, or MMU_NO_TABLE */
};
#define MMU_NO_TABLE (~0ull)

/* Walks the tables of cpu->satp (MODE is not Bare) for va. `table` is a last-level table known from an earlier walk of
 * the same 2 MiB, or MMU_NO_TABLE. Checks permissions, updates A and D where Svadu is in force. Returns EXC_NONE, or
 * the exception cause. */
uint32_t mmu_walk(struct cpu *cpu, gva_t va, const struct mmu_access *access, gpa_t table, struct mmu_leaf *out);

/* True when the leaf permits the access by R, W, X, U, SUM and MXR (A and D aside). */
bool mmu_permits(uint64_t pte, const struct mmu_access *access);

uint32_t mmu_page_fault(enum tlb_access kind);
uint32_t mmu_access_fault(enum tlb_access kind);

/* Physical memory protection (privileged specification 3.7). */
enum { PMP_R = 1, PMP_W = 2, PMP_X = 4, PMP_RWX = 7, PMP_MIXED = 8 };
/* Rights that privilege `priv` has on all of [gpa, gpa + len), or PMP_MIXED when an entry covers part of it only. */
unsigned pmp_rights(const struct cpu *cpu, gpa_t gpa, uint64_t len, uint8_t priv);
/* One access: every byte must be matched by the same entry and the entry must allow it. */
bool pmp_allows(const struct cpu *cpu, gpa_t gpa, uint64_t len, uint8_t priv, enum tlb_access kind);

#endif
