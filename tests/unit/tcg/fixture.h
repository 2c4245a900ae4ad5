/* One hart with RAM and a clock that the test sets; nothing else of a machine. */
#ifndef WEFT_TEST_TCG_FIXTURE_H
#define WEFT_TEST_TCG_FIXTURE_H

#include "tcg/interp.h"
#include "weft/machine.h"

#define RAM_BASE 0x80000000ull
#define RAM_SIZE (1ull << 20)

struct fixture {
    struct machine machine;
    struct cpu *cpu;
    uint64_t now;        /* what guest_ticks returns */
    unsigned sbi_ecalls; /* calls of sbi_ecall */
};
extern struct fixture fx;

void fixture_setup(void);
void fixture_teardown(void);
/* Puts an instruction at pc and steps over it; the result of interp_step. */
enum interp_result run_word(uint32_t word);
enum interp_result run_insn(struct insn in);
/* csrrw x10, csr, x11 and csrrs x10, csr, x0 with x11 = value; x10's new value, and trapped says whether it was
 * illegal. */
uint64_t csr_swap(unsigned csr, uint64_t value);
uint64_t csr_get(unsigned csr);
extern bool trapped;

#endif
