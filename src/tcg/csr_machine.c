/*
 * Machine-level CSRs and physical memory protection (privileged specification, chapter 3).
 */
#include "tcg/csr.h"

#include <stddef.h>

/* Exceptions that may be delegated: all that exist but ecall from M. */
#define MEDELEG_MASK                                                                                                   \
    (0x1ffull | 1ull << EXC_ECALL_S | 1ull << EXC_FETCH_PAGE | 1ull << EXC_LOAD_PAGE | 1ull << EXC_STORE_PAGE)
#define S_INTERRUPTS (1ull << IRQ_SSI | 1ull << IRQ_STI | 1ull << IRQ_SEI)
#define ALL_INTERRUPTS (S_INTERRUPTS | 1ull << IRQ_MSI | 1ull << IRQ_MTI | 1ull << IRQ_MEI)

#define ENVCFG_STCE (1ull << 63)
#define ENVCFG_PBMTE (1ull << 62)
#define ENVCFG_ADUE (1ull << 61)

void cpu_write_mstatus(struct cpu *cpu, uint64_t value, uint64_t mask)
{
    uint64_t v = (cpu->mstatus & ~mask) | (value & mask);
    if ((v & MSTATUS_MPP) == 2ull << 11) { /* there is no H mode */
        v = (v & ~MSTATUS_MPP) | (cpu->mstatus & MSTATUS_MPP);
    }
    v = (v & MSTATUS_FS) == MSTATUS_FS ? v | MSTATUS_SD : v & ~MSTATUS_SD;
    uint64_t changed = cpu->mstatus ^ v;
    cpu->mstatus = v;
    if (changed & MSTATUS_FS) {
        fp_update_fast(cpu);
    }
    if (changed & (MSTATUS_SUM | MSTATUS_MXR | MSTATUS_MPRV | MSTATUS_MPP)) {
        tlb_context_update(cpu);
    }
}

static bool write_mstatus(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    cpu_write_mstatus(cpu, u->value,
                      MSTATUS_SIE | MSTATUS_MIE | MSTATUS_SPIE | MSTATUS_MPIE | MSTATUS_SPP | MSTATUS_MPP | MSTATUS_FS |
                          MSTATUS_MPRV | MSTATUS_SUM | MSTATUS_MXR | MSTATUS_TVM | MSTATUS_TW | MSTATUS_TSR);
    return true;
}

static bool read_mip(struct cpu *cpu, unsigned num, uint64_t *value)
{
    *value = cpu_mip(cpu);
    return true;
}

/* Writable are SSIP, STIP unless stimecmp drives it, and the software half of SEIP, which lives in mvip: reads show
 * it or-ed with the interrupt controller's line (privileged specification 3.1.9; AIA 5.3 for mvip). */
static bool write_mip(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    uint64_t direct = 1ull << IRQ_SSI, sei = 1ull << IRQ_SEI & u->mask;
    if (!(cpu->menvcfg & ENVCFG_STCE)) {
        direct |= 1ull << IRQ_STI;
    }
    direct &= u->mask;
    atomic_fetch_or(&cpu->mip, u->value & direct);
    atomic_fetch_and(&cpu->mip, ~direct | u->value);
    cpu->mvip = (cpu->mvip & ~sei) | (u->value & sei);
    return true;
}

/* mvip with mvien read-only zero: aliases of the writable bits of mip. */
static bool read_mvip(struct cpu *cpu, unsigned num, uint64_t *value)
{
    uint64_t lines = 1ull << IRQ_SSI | (cpu->menvcfg & ENVCFG_STCE ? 0 : 1ull << IRQ_STI);
    *value = (cpu_mip(cpu) & lines) | (cpu->mvip & 1ull << IRQ_SEI);
    return true;
}

static bool read_misa(struct cpu *cpu, unsigned num, uint64_t *value)
{
    *value = cpu->misa;
    return true;
}

static bool read_mhartid(struct cpu *cpu, unsigned num, uint64_t *value)
{
    *value = cpu->hart;
    return true;
}

/* CBIE (bits 5:4) has no value 2: a write of it leaves the field. */
static bool write_menvcfg(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    uint64_t mask = 1, v = u->value, ext = cpu->isa_ext, old = cpu->menvcfg;
    if (ext >> EXT_ZICBOM & 1) {
        mask |= 0x40 | ((v >> 4 & 3) == 2 ? 0 : 0x30);
    }
    mask |= ext >> EXT_ZICBOZ & 1 ? 0x80 : 0;
    mask |= ext >> EXT_SVADU & 1 ? ENVCFG_ADUE : 0;
    mask |= ext >> EXT_SVPBMT & 1 ? ENVCFG_PBMTE : 0;
    mask |= ext >> EXT_SSTC & 1 ? ENVCFG_STCE : 0;
    cpu->menvcfg = (old & ~mask) | (v & mask);
    if ((cpu->menvcfg ^ old) & (ENVCFG_ADUE | ENVCFG_PBMTE)) {
        tlb_flush_all(cpu);
    }
    if ((cpu->menvcfg ^ old) & ENVCFG_STCE) {
        atomic_fetch_and(&cpu->mip, ~(1ull << IRQ_STI));
    }
    return true;
}

/* ---- PMP: 16 entries, grain 4 bytes ---- */

enum { PMP_R = 1, PMP_W = 2, PMP_A = 0x18, PMP_TOR = 0x08, PMP_L = 0x80, PMP_ENTRIES = 16 };

/* Entries are implemented, so that without a match S and U have no access: at least one entry is looked at, but for
 * the builtin SBI, behind which there is no M mode to set any. */
static void pmp_changed(struct cpu *cpu)
{
    unsigned active = cpu->builtin_sbi ? 0 : 1;
    for (unsigned i = 0; i < PMP_ENTRIES; i++) {
        if (cpu->pmpcfg[i] & PMP_A) {
            active = i + 1;
        }
    }
    cpu->pmp_active = active;
    tlb_flush_all(cpu);
    tlb_context_update(cpu);
}

static bool read_pmpcfg(struct cpu *cpu, unsigned num, uint64_t *value)
{
    unsigned first = (num & 15) * 4;
    *value = 0;
    for (unsigned i = 0; i < 8; i++) {
        *value |= (uint64_t)cpu->pmpcfg[first + i] << (8 * i);
    }
    return true;
}

static bool write_pmpcfg(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    unsigned first = (num & 15) * 4;
    for (unsigned i = 0; i < 8; i++) {
        uint8_t cfg = (uint8_t)(u->value >> (8 * i)) & (PMP_L | PMP_A | 7);
        if (!(cfg & PMP_R)) {
            cfg &= (uint8_t)~PMP_W; /* W without R is reserved */
        }
        if (!(cpu->pmpcfg[first + i] & PMP_L)) {
            cpu->pmpcfg[first + i] = cfg;
        }
    }
    pmp_changed(cpu);
    return true;
}

static bool read_pmpaddr(struct cpu *cpu, unsigned num, uint64_t *value)
{
    *value = cpu->pmpaddr[num & 15];
    return true;
}

/* A locked entry is fixed, and so is the address below a locked TOR entry. */
static bool write_pmpaddr(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    unsigned i = num & 15;
    bool locked = cpu->pmpcfg[i] & PMP_L;
    if (i + 1 < PMP_ENTRIES) {
        uint8_t next = cpu->pmpcfg[i + 1];
        locked |= (next & PMP_L) && (next & PMP_A) == PMP_TOR;
    }
    if (!locked) {
        cpu->pmpaddr[i] = u->value & ((1ull << 54) - 1);
        pmp_changed(cpu);
    }
    return true;
}

#define FIELD(f) .offset = offsetof(struct cpu, f)

const struct csr_row csr_rows_machine[] = {
    {0xf11, 0, "mvendorid", .read = csr_read_zero},
    {0xf12, 0, "marchid", .read = csr_read_zero},
    {0xf13, 0, "mimpid", .read = csr_read_zero},
    {0xf14, 0, "mhartid", .read = read_mhartid},
    {0xf15, 0, "mconfigptr", .read = csr_read_zero},
    /* No debug triggers: tselect stays 0 and tdata1 says type 0 (debug specification 5.7). */
    {0x7a0, 0, "tselect", .read = csr_read_zero, .write = csr_write_nothing},
    {0x7a1, 0x7a3, "tdata%u", .read = csr_read_zero, .write = csr_write_nothing},
    {0x300, 0, "mstatus", .effect = true, FIELD(mstatus), .write = write_mstatus},
    {0x301, 0, "misa", .read = read_misa, .write = csr_write_nothing},
    {0x302, 0, "medeleg", FIELD(medeleg), .mask = MEDELEG_MASK},
    {0x303, 0, "mideleg", .effect = true, FIELD(mideleg), .mask = S_INTERRUPTS},
    {0x304, 0, "mie", .effect = true, FIELD(mie), .mask = ALL_INTERRUPTS},
    {0x306, 0, "mcounteren", FIELD(mcounteren), .mask = 0xffffffff},
    {0x308, 0, "mvien", CSR_NEEDS_SMAIA, .read = csr_read_zero, .write = csr_write_nothing},
    {0x309, 0, "mvip", CSR_NEEDS_SMAIA, true, .read = read_mvip, .write = write_mip},
    {0x30a, 0, "menvcfg", .effect = true, FIELD(menvcfg), .write = write_menvcfg},
    {0x340, 0, "mscratch", FIELD(mscratch), .mask = ~0ull},
    {0x341, 0, "mepc", FIELD(mepc), .mask = ~1ull},
    {0x342, 0, "mcause", FIELD(mcause), .mask = ~0ull},
    {0x343, 0, "mtval", FIELD(mtval), .mask = ~0ull},
    {0x344, 0, "mip", .effect = true, .read = read_mip, .write = write_mip},
    {0x350, 0, "miselect", CSR_NEEDS_SMAIA, FIELD(miselect), .mask = 0xfff},
    {0x351, 0, "mireg", CSR_NEEDS_SMAIA, true, .read = csr_read_ireg, .write = csr_write_ireg},
    {0x35c, 0, "mtopei", CSR_NEEDS_SMAIA, true, .read = csr_read_topei, .write = csr_write_topei},
    {0xfb0, 0, "mtopi", CSR_NEEDS_SMAIA, .read = csr_read_topi},
    {0x3a0, 0, "pmpcfg%u", .effect = true, .read = read_pmpcfg, .write = write_pmpcfg},
    {0x3a2, 0, "pmpcfg%u", .effect = true, .read = read_pmpcfg, .write = write_pmpcfg},
    {0x3b0, 0x3bf, "pmpaddr%u", .effect = true, .read = read_pmpaddr, .write = write_pmpaddr},
};
const unsigned csr_num_machine = sizeof(csr_rows_machine) / sizeof(csr_rows_machine[0]);
