/*
 * CSRs: the instructions' view (csr_access), and helpers shared by trap, csr and interpreter. Own thread only.
 */
#ifndef WEFT_TCG_CSR_H
#define WEFT_TCG_CSR_H

#include "weft/cpu.h"

/* The numbers used outside the tables of csr*.c. */
enum {
    CSR_FFLAGS = 0x001,
    CSR_FRM = 0x002,
    CSR_FCSR = 0x003,
    CSR_SATP = 0x180,
    CSR_CYCLE = 0xc00,
    CSR_TIME = 0xc01,
    CSR_INSTRET = 0xc02,
};

enum csr_kind { CSR_SWAP, CSR_SET, CSR_CLEAR };

/* What a write asks for: bits outside mask keep their value (csrrs and csrrc), which matters where reading a bit does
 * not show what is stored. old is what the instruction read, value what results. */
struct csr_update {
    uint64_t old, value, mask;
};

/* Does one CSR instruction's work: checks, reads into *old, writes if `writes`. False: illegal instruction, nothing
 * changed. *effect: a write happened after which privilege, context, interrupts or FP mode may be different. */
bool csr_access(struct cpu *cpu, unsigned num, enum csr_kind kind, uint64_t operand, bool writes, uint64_t *old,
                bool *effect);

/* The name, or NULL when no such CSR is implemented. */
const char *csr_name(unsigned num);

/* mip as CSR reads show it: lines, timers brought up to date, and the software-written SEIP. */
uint64_t cpu_mip(struct cpu *cpu);
/* Bits of mstatus that software may write. */
void cpu_write_mstatus(struct cpu *cpu, uint64_t value, uint64_t mask);
/* Sets FS to Dirty. */
void fp_mark_dirty(struct cpu *cpu);

/* ---- rows of the CSR table (csr*.c) ---- */

enum csr_need {
    CSR_ALWAYS,
    CSR_NEEDS_FP,      /* mstatus.FS is not Off */
    CSR_NEEDS_COUNTER, /* mcounteren and scounteren allow counter num & 31 */
    CSR_NEEDS_SSTC,
    CSR_NEEDS_SATP, /* not in S mode with TVM */
    CSR_NEEDS_SMAIA,
    CSR_NEEDS_SSAIA,
};

struct csr_row {
    uint16_t num, last; /* num..last (0: only num) share the row */
    const char *name;   /* with %u for the index when it is a range */
    uint8_t need;
    bool effect;
    uint16_t offset; /* without functions: the field of struct cpu, and its writable bits */
    uint64_t mask;
    bool (*read)(struct cpu *cpu, unsigned num, uint64_t *value);
    bool (*write)(struct cpu *cpu, unsigned num, const struct csr_update *u);
};

extern const struct csr_row csr_rows_machine[], csr_rows_supervisor[];
extern const unsigned csr_num_machine, csr_num_supervisor;

bool csr_write_nothing(struct cpu *cpu, unsigned num, const struct csr_update *u);
bool csr_read_zero(struct cpu *cpu, unsigned num, uint64_t *value);

/* AIA (csr_aia.c): num tells the machine- from the supervisor-level register. */
bool csr_read_ireg(struct cpu *cpu, unsigned num, uint64_t *value);
bool csr_write_ireg(struct cpu *cpu, unsigned num, const struct csr_update *u);
bool csr_read_topei(struct cpu *cpu, unsigned num, uint64_t *value);
bool csr_write_topei(struct cpu *cpu, unsigned num, const struct csr_update *u);
bool csr_read_topi(struct cpu *cpu, unsigned num, uint64_t *value);
/* The pending, enabled interrupt of highest priority in `set`, or -1 (privileged specification 3.1.9). */
int cpu_highest_interrupt(uint64_t set);

#endif
