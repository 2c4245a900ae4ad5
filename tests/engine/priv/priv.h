/*
 * Tests of the privileged architecture: traps, CSRs, interrupts, paging, protection. The framework: hart 0 stays in M
 * mode, goes down to S or U by lower(), and every trap is written down and skipped.
 */
#ifndef PRIV_H
#define PRIV_H

#define MAGIC 0x4c455645
#define U_ALIAS 0x40000000 /* U mode reaches what lies at A by A + U_ALIAS when paging is on */

#ifndef __ASSEMBLER__
#include "bare.h"

enum { PRV_U = 0, PRV_S = 1, PRV_M = 3 };

struct trap_record {
    uint64_t count, cause, epc, tval, status;
};

struct frame {
    uint64_t x[32], pc;
};

extern volatile struct trap_record m_trap, s_trap;
extern volatile bool back_to_m; /* the next trap into M mode returns to M mode, once */
extern char trap_entry[], s_entry[], vector_table[], trap_stack_top[], one_return[];

/* Runs fn(arg) in S or U mode, with mstatus bits `status` besides; returns what it returns. */
uint64_t lower(unsigned priv, void *fn, uint64_t arg, uint64_t status);
uint64_t enter_lower(uint64_t pc, uint64_t arg, uint64_t sp, uint64_t alias);
bool on_trap(struct frame *f);

/* Runs one CSR instruction, made on the spot, in a mode. op: the instruction's funct3. Returns what was read. */
uint64_t csr_op(unsigned priv, unsigned num, unsigned op, uint64_t value);
enum { OP_RW = 1, OP_RS = 2, OP_RC = 3 };

void check_failed(const char *file, unsigned line, const char *what);
void note_numbers(uint64_t a, uint64_t b);
extern unsigned num_checks;
#define CHECK(c) (num_checks++, (c) ? (void)0 : check_failed(__FILE__, __LINE__, #c))
#define CHECK_EQ(a, b)                                                                                                 \
    do {                                                                                                               \
        uint64_t a_ = (uint64_t)(a), b_ = (uint64_t)(b);                                                               \
        num_checks++;                                                                                                  \
        if (a_ != b_) {                                                                                                \
            note_numbers(a_, b_);                                                                                      \
            check_failed(__FILE__, __LINE__, #a " == " #b);                                                            \
        }                                                                                                              \
    } while (0)
/* Runs a statement and expects exactly one trap into M mode, or none. */
#define EXPECT_TRAP(want, statement)                                                                                   \
    do {                                                                                                               \
        m_trap.count = 0;                                                                                              \
        statement;                                                                                                     \
        CHECK_EQ(m_trap.count, 1);                                                                                     \
        CHECK_EQ(m_trap.cause, want);                                                                                  \
    } while (0)
#define EXPECT_NONE(statement)                                                                                         \
    do {                                                                                                               \
        m_trap.count = 0;                                                                                              \
        statement;                                                                                                     \
        CHECK_EQ(m_trap.count, 0);                                                                                     \
    } while (0)

#define csr_set(name, value) __asm__ volatile("csrs " name ", %0" ::"r"((uint64_t)(value)) : "memory")
#define csr_clear(name, value) __asm__ volatile("csrc " name ", %0" ::"r"((uint64_t)(value)) : "memory")
#define insn(text) __asm__ volatile(text ::: "memory")

#define SIE (1ul << 1)
#define MIE (1ul << 3)
#define SPIE (1ul << 5)
#define MPIE (1ul << 7)
#define SPP (1ul << 8)
#define MPP (3ul << 11)
#define FS (3ul << 13)
#define MPRV (1ul << 17)
#define SUM (1ul << 18)
#define MXR (1ul << 19)
#define TVM (1ul << 20)
#define TW (1ul << 21)
#define TSR (1ul << 22)

/* The parts. */
void test_csrs(void);
void test_traps(void);
void test_interrupts(void);
void test_counters(void);
void test_pmp(void);
void test_paging(void);
void test_code_changes(void);
void test_cache_blocks(void);
void serve_code_changes(void); /* the other hart's side */
#endif
#endif
