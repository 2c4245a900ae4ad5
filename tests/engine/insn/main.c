/* Runs the generated instruction tests. */
#include "bare.h"

extern const uint64_t insn_count;
extern const char *const insn_names[];
void insn_run(void);
void insn_failed(uint64_t test, const uint64_t *row, uint64_t got, uint64_t expected) __attribute__((noreturn));
void trap(void) __attribute__((aligned(4), noreturn));

void insn_failed(uint64_t test, const uint64_t *row, uint64_t got, uint64_t expected)
{
    print("FAIL test %u \"%s\": got %X, expected %X; the table's row:\n", test, insn_names[test], got, expected);
    for (unsigned i = 0; i < 6; i++) {
        print("  %X\n", row[i]);
    }
    finish_with(1);
}

void trap(void)
{
    register uint64_t test __asm__("x1");
    uint64_t n = test, epc = csr_read("mepc"), cause = csr_read("mcause"), tval = csr_read("mtval");
    __asm__ volatile("la sp, trap_stack + 4096");
    print("FAIL trap %u at %x tval %x in test %u \"%s\"\n", cause, epc, tval, n, n < insn_count ? insn_names[n] : "?");
    finish_with(1);
}

uint8_t trap_stack[4096] __attribute__((aligned(16)));

int main_hart0(const void *fdt)
{
    csr_write("mtvec", trap);
    __asm__ volatile("csrs mstatus, %0" ::"r"(3ul << 13));
    insn_run();
    print("%u tests passed\n", insn_count);
    return 0;
}

void main_other(unsigned long hart)
{
}
