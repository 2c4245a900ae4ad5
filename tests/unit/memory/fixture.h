/* A hart, some RAM and page tables in it, without an engine: what the tests of src/memory share. */
#ifndef TESTS_MEMORY_FIXTURE_H
#define TESTS_MEMORY_FIXTURE_H

#include <check.h>
#include <stdlib.h>
#include "memory/mmu.h"
#include "weft/cpu.h"

#define RAM_BASE 0x80000000ull
#define RAM_SIZE (64ull << 20)
#define DEV_BASE 0x10000000ull

#define LEAF_RWX (PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D)
#define LEAF_RW (PTE_V | PTE_R | PTE_W | PTE_A | PTE_D)

struct fixture {
    struct machine_config *cfg;
    struct ram ram;
    struct bus bus;
    struct cpu *cpu;
    gpa_t next_table; /* bump allocator of table pages */
    uint64_t dev_value, dev_offset;
    unsigned dev_size, dev_reads, dev_writes;
};
extern struct fixture fx;
extern unsigned code_writes;    /* calls of code_page_written */
extern gpa_t code_written_page; /* its last argument */

void fixture_setup(void);
void fixture_teardown(void);

gpa_t table_new(void);
uint64_t *pte_host(gpa_t at);
/* Writes `flags` | gpa into the entry of va at `level` under `root` (tables of `levels` levels), making the tables
 * above it. Returns the entry's address. */
gpa_t map_at(gpa_t root, unsigned levels, gva_t va, gpa_t gpa, uint64_t flags, unsigned level);
uint64_t satp_of(unsigned mode, unsigned asid, gpa_t root);
/* Makes the hart run in privilege `priv` under satp, as a CSR write does. */
void enter_space(uint64_t satp, uint8_t priv);
void set_status(uint64_t mstatus);

/* Accesses that must end as said; cause EXC_NONE = success. */
void expect(gva_t va, enum tlb_access access, uint32_t cause, gpa_t gpa);
#define expect_ok(va, access, gpa) expect(va, access, EXC_NONE, gpa)
#define expect_fault(va, access, cause) expect(va, access, cause, 0)

int run_suite(Suite *s);

#endif
