/*
 * Supervisor-level CSRs (privileged specification, chapter 12).
 */
#include "tcg/csr.h"

#include <stddef.h>

static bool read_sstatus(struct cpu *cpu, unsigned num, uint64_t *value)
{
    *value = cpu->mstatus & SSTATUS_READ;
    return true;
}

static bool write_sstatus(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    cpu_write_mstatus(cpu, u->value, SSTATUS_MASK);
    return true;
}

/* sie and sip show of mie and mip what is delegated. */
static bool read_sie(struct cpu *cpu, unsigned num, uint64_t *value)
{
    *value = cpu->mie & cpu->mideleg;
    return true;
}

static bool write_sie(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    cpu->mie = (cpu->mie & ~cpu->mideleg) | (u->value & cpu->mideleg);
    return true;
}

static bool read_sip(struct cpu *cpu, unsigned num, uint64_t *value)
{
    *value = cpu_mip(cpu) & cpu->mideleg;
    return true;
}

static bool write_sip(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    uint64_t bit = 1ull << IRQ_SSI & cpu->mideleg & u->mask;
    atomic_fetch_or(&cpu->mip, u->value & bit);
    atomic_fetch_and(&cpu->mip, ~bit | u->value);
    return true;
}

/* Only the modes Direct (0) and Vectored (1) exist; a write of another one changes nothing. */
static bool write_tvec(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    if ((u->value & 3) <= 1) {
        *(num == 0x105 ? &cpu->stvec : &cpu->mtvec) = u->value;
    }
    return true;
}

/* FIOM, CBIE (which has no value 2: a write of it leaves the field), CBCFE, CBZE. */
static bool write_senvcfg(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    uint64_t mask = 1;
    if (cpu->isa_ext >> EXT_ZICBOM & 1) {
        mask |= 0x40 | ((u->value >> 4 & 3) == 2 ? 0 : 0x30);
    }
    mask |= cpu->isa_ext >> EXT_ZICBOZ & 1 ? 0x80 : 0;
    cpu->senvcfg = (cpu->senvcfg & ~mask) | (u->value & mask);
    return true;
}

static bool read_stimecmp(struct cpu *cpu, unsigned num, uint64_t *value)
{
    *value = atomic_load_explicit(&cpu->stimecmp, memory_order_relaxed);
    return true;
}

static bool write_stimecmp(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    atomic_store(&cpu->stimecmp, u->value);
    cpu_mip(cpu);
    atomic_store(&cpu->exit_request, 1); /* the slice's end is derived anew */
    return true;
}

/* A mode that the hart does not have leaves satp as it was (privileged specification 12.1.11). */
static bool write_satp(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    unsigned mode = (unsigned)(u->value >> 60);
    bool known = mode == 0 || mode == 8 || (mode == 9 && (cpu->isa_ext >> EXT_SV48 & 1)) ||
                 (mode == 10 && (cpu->isa_ext >> EXT_SV57 & 1));
    if (known) {
        cpu->satp = mode ? u->value : 0;
        tlb_context_update(cpu);
    }
    return true;
}

#define FIELD(f) .offset = offsetof(struct cpu, f)

const struct csr_row csr_rows_supervisor[] = {
    {0x100, 0, "sstatus", .effect = true, .read = read_sstatus, .write = write_sstatus},
    {0x104, 0, "sie", .effect = true, .read = read_sie, .write = write_sie},
    {0x105, 0, "stvec", FIELD(stvec), .write = write_tvec},
    {0x305, 0, "mtvec", FIELD(mtvec), .write = write_tvec},
    {0x106, 0, "scounteren", FIELD(scounteren), .mask = 0xffffffff},
    {0x10a, 0, "senvcfg", FIELD(senvcfg), .write = write_senvcfg},
    {0x140, 0, "sscratch", FIELD(sscratch), .mask = ~0ull},
    {0x141, 0, "sepc", FIELD(sepc), .mask = ~1ull},
    {0x142, 0, "scause", FIELD(scause), .mask = ~0ull},
    {0x143, 0, "stval", FIELD(stval), .mask = ~0ull},
    {0x144, 0, "sip", .effect = true, .read = read_sip, .write = write_sip},
    {0x14d, 0, "stimecmp", CSR_NEEDS_SSTC, true, .read = read_stimecmp, .write = write_stimecmp},
    {0x150, 0, "siselect", CSR_NEEDS_SSAIA, FIELD(siselect), .mask = 0xfff},
    {0x151, 0, "sireg", CSR_NEEDS_SSAIA, true, .read = csr_read_ireg, .write = csr_write_ireg},
    {0x15c, 0, "stopei", CSR_NEEDS_SSAIA, true, .read = csr_read_topei, .write = csr_write_topei},
    {0xdb0, 0, "stopi", CSR_NEEDS_SSAIA, .read = csr_read_topi},
    {0x180, 0, "satp", CSR_NEEDS_SATP, true, FIELD(satp), .write = write_satp},
};
const unsigned csr_num_supervisor = sizeof(csr_rows_supervisor) / sizeof(csr_rows_supervisor[0]);
