/*
 * The CSRs of the Advanced Interrupt Architecture (AIA 1.0, chapters 2, 3 and 5), without the hypervisor's.
 */
#include "tcg/csr.h"

#include "weft/aia.h"

static bool is_machine(unsigned num)
{
    return (num >> 8 & 3) == PRIV_M;
}

static enum imsic_file file_of(unsigned num)
{
    return is_machine(num) ? IMSIC_FILE_M : IMSIC_FILE_S;
}

/* Selectors 0x30..0x3f are the major interrupts' priorities, which read as zero here (only the even ones exist in
 * RV64); 0x70..0xff belong to the IMSIC. */
static bool is_iprio(uint64_t select)
{
    return select >= 0x30 && select <= 0x3f && !(select & 1);
}

static uint64_t select_of(const struct cpu *cpu, unsigned num)
{
    return is_machine(num) ? cpu->miselect : cpu->siselect;
}

static bool is_imsic(const struct cpu *cpu, uint64_t select)
{
    return cpu->imsic && select >= ISELECT_IMSIC_FIRST && select <= ISELECT_IMSIC_LAST;
}

bool csr_read_ireg(struct cpu *cpu, unsigned num, uint64_t *value)
{
    uint64_t select = select_of(cpu, num);
    const struct imsic_port *port = cpu->imsic;
    *value = 0;
    if (is_imsic(cpu, select)) {
        return port->ops->reg_read(port->opaque, file_of(num), (unsigned)select, value);
    }
    return is_iprio(select);
}

bool csr_write_ireg(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    uint64_t select = select_of(cpu, num);
    const struct imsic_port *port = cpu->imsic;
    if (is_imsic(cpu, select)) {
        return port->ops->reg_write(port->opaque, file_of(num), (unsigned)select, u->value);
    }
    return is_iprio(select);
}

bool csr_read_topei(struct cpu *cpu, unsigned num, uint64_t *value)
{
    const struct imsic_port *port = cpu->imsic;
    if (!port) {
        return false;
    }
    *value = port->ops->topei(port->opaque, file_of(num));
    return true;
}

/* Any write claims the interrupt that the instruction's read returned. */
bool csr_write_topei(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    const struct imsic_port *port = cpu->imsic;
    port->ops->claim(port->opaque, file_of(num), (uint32_t)u->old);
    return true;
}

/* The major interrupt that would be taken next at this level: IID in bits 27:16, and 1 as its priority, as is allowed
 * where all priorities are read-only zero. */
bool csr_read_topi(struct cpu *cpu, unsigned num, uint64_t *value)
{
    uint64_t deleg = is_machine(num) ? ~cpu->mideleg : cpu->mideleg;
    int irq = cpu_highest_interrupt(cpu_mip(cpu) & cpu->mie & deleg);
    *value = irq < 0 ? 0 : (uint64_t)irq << 16 | 1;
    return true;
}
