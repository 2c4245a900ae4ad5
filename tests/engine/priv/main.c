/* The framework of the privileged tests. */
#include "priv.h"

volatile struct trap_record m_trap, s_trap;
unsigned num_checks;
volatile bool back_to_m;
static uint64_t noted_a, noted_b;
static bool noted;
static uint8_t lower_stack[16384] __attribute__((aligned(16)));
static uint32_t csr_code[4] __attribute__((aligned(16)));

void note_numbers(uint64_t a, uint64_t b)
{
    noted_a = a;
    noted_b = b;
    noted = true;
}

void check_failed(const char *file, unsigned line, const char *what)
{
    csr_write("mie", 0);
    csr_clear("mstatus", MPRV);
    print("FAIL %s:%u: %s\n", file, (uint64_t)line, what);
    if (noted) {
        print("  %X and %X\n", noted_a, noted_b);
    }
    print("  last trap into M: count %u cause %x epc %x tval %x; into S: count %u cause %x epc %x tval %x\n",
          m_trap.count, m_trap.cause, m_trap.epc, m_trap.tval, s_trap.count, s_trap.cause, s_trap.epc, s_trap.tval);
    finish_with(1);
}

bool on_trap(struct frame *f)
{
    uint64_t cause = csr_read("mcause");
    if (f->x[17] == MAGIC && cause < 16) {
        return true;
    }
    m_trap.count++;
    m_trap.cause = cause;
    m_trap.epc = f->pc;
    m_trap.tval = csr_read("mtval");
    m_trap.status = csr_read("mstatus");
    if (m_trap.count > 1000) {
        check_failed(__FILE__, __LINE__, "traps come to an end");
    }
    if (back_to_m) {
        back_to_m = false;
        csr_set("mstatus", MPP);
    }
    if (cause >> 63) {
        csr_write("mie", 0);
    } else if (cause == 0 || cause == 1 || cause == 12) {
        f->pc = f->x[1];
    } else {
        uint64_t status = csr_read("mstatus");
        uint64_t at = f->pc & ~(uint64_t)((status & MPP) == 0 && f->pc >= 0xc0000000 ? U_ALIAS : 0);
        f->pc += (*(const uint8_t *)at & 3) == 3 ? 4 : 2;
    }
    return false;
}

uint64_t lower(unsigned priv, void *fn, uint64_t arg, uint64_t status)
{
    uint64_t alias = priv == PRV_U && csr_read("satp") ? U_ALIAS : 0;
    csr_clear("mstatus", MPP | MPIE | SIE | SPIE | SUM | MXR | TVM | TW | TSR | MPRV);
    csr_set("mstatus", (uint64_t)priv << 11 | status);
    uint64_t pc = (uint64_t)fn;
    /* Functions of this program lie in the identity map; test pages are where they are told to be. */
    bool ours = pc >= 0x80000000 && pc < 0xc0000000;
    uint64_t r =
        enter_lower(pc + (ours ? alias : 0), arg, (uint64_t)(lower_stack + sizeof(lower_stack)) + alias, alias);
    csr_clear("mstatus", SUM | MXR | TVM | TW | TSR | MPRV | SIE);
    return r;
}

uint64_t csr_op(unsigned priv, unsigned num, unsigned op, uint64_t value)
{
    csr_code[0] = num << 20 | 10u << 15 | op << 12 | 10u << 7 | 0x73;
    csr_code[1] = 0x00008067; /* ret */
    insn("fence.i");
    if (priv == PRV_M) {
        return ((uint64_t(*)(uint64_t))(uintptr_t)csr_code)(value);
    }
    return lower(priv, csr_code, value, 0);
}

/* Everything the M mode tests rely on. */
static void set_up(void)
{
    csr_write("mtvec", trap_entry);
    csr_write("mscratch", trap_stack_top);
    csr_write("stvec", s_entry);
    csr_write("medeleg", 0);
    csr_write("mideleg", 0);
    csr_write("mie", 0);
    csr_write("satp", 0);
    csr_write("pmpaddr15", ~0ull >> 10);
    csr_write("pmpcfg2", 0x1full << 56);
    csr_set("mstatus", FS);
}

int main_hart0(const void *fdt)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {
        {"csrs", test_csrs},
        {"traps", test_traps},
        {"interrupts", test_interrupts},
        {"counters", test_counters},
        {"pmp", test_pmp},
        {"paging", test_paging},
        {"code changes", test_code_changes},
        {"cache blocks", test_cache_blocks},
    };
    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        set_up();
        print("%s\n", parts[i].name);
        parts[i].run();
    }
    print("%u checks passed\n", (uint64_t)num_checks);
    return 0;
}

void main_other(unsigned long hart)
{
    if (hart == 1) {
        serve_code_changes();
    }
}
