/*
 * CSR access: look-up, permission, the read-modify-write of one instruction; and the unprivileged CSRs.
 */
#include "tcg/csr.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { NUM_CSRS = 4096, MAX_ROWS = 250, MAX_INDEXED = 128 };

bool csr_write_nothing(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    return true;
}

bool csr_read_zero(struct cpu *cpu, unsigned num, uint64_t *value)
{
    *value = 0;
    return true;
}

static bool read_fp(struct cpu *cpu, unsigned num, uint64_t *value)
{
    uint64_t fflags = fp_fflags(cpu);
    *value = num == CSR_FFLAGS ? fflags : num == CSR_FRM ? cpu->frm : fflags | (uint64_t)cpu->frm << 5;
    return true;
}

static bool write_fp(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    uint8_t fflags = num == CSR_FRM ? fp_fflags(cpu) : u->value & 31;
    uint8_t frm = num == CSR_FFLAGS ? cpu->frm : (num == CSR_FRM ? u->value : u->value >> 5) & 7;
    fp_mark_dirty(cpu);
    fp_set_fcsr(cpu, fflags, frm);
    return true;
}

static bool read_time(struct cpu *cpu, unsigned num, uint64_t *value)
{
    *value = guest_ticks(cpu->machine);
    return true;
}

/* mcycle and minstret both count retired instructions; an inhibited counter stands still at its offset. */
static bool read_counter(struct cpu *cpu, unsigned num, uint64_t *value)
{
    unsigned index = num & 31;
    int64_t offset = index == 0 ? cpu->mcycle_off : cpu->minstret_off;
    *value = (uint64_t)offset + (cpu->mcountinhibit >> index & 1 ? 0 : cpu_instret(cpu));
    return true;
}

/* The writing instruction itself is not counted: what it writes is what the next one reads. */
static bool write_counter(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    unsigned index = num & 31;
    uint64_t base = cpu->mcountinhibit >> index & 1 ? 0 : cpu_instret(cpu) + 1;
    *(index == 0 ? &cpu->mcycle_off : &cpu->minstret_off) = (int64_t)(u->value - base);
    return true;
}

static bool write_countinhibit(struct cpu *cpu, unsigned num, const struct csr_update *u)
{
    uint64_t now = cpu_instret(cpu), changed = (u->value ^ cpu->mcountinhibit) & 5;
    uint64_t shift = u->value & 5 & changed;
    cpu->mcycle_off += (int64_t)(changed & 1 ? (shift & 1 ? now : 0 - now) : 0);
    cpu->minstret_off += (int64_t)(changed & 4 ? (shift & 4 ? now : 0 - now) : 0);
    cpu->mcountinhibit = u->value & 5;
    return true;
}

static const struct csr_row rows_user[] = {
    {0x001, 0, "fflags", CSR_NEEDS_FP, true, .read = read_fp, .write = write_fp},
    {0x002, 0, "frm", CSR_NEEDS_FP, true, .read = read_fp, .write = write_fp},
    {0x003, 0, "fcsr", CSR_NEEDS_FP, true, .read = read_fp, .write = write_fp},
    {0xc00, 0, "cycle", CSR_NEEDS_COUNTER, .read = read_counter},
    {0xc01, 0, "time", CSR_NEEDS_COUNTER, .read = read_time},
    {0xc02, 0, "instret", CSR_NEEDS_COUNTER, .read = read_counter},
    {0xc03, 0xc1f, "hpmcounter%u", CSR_NEEDS_COUNTER, .read = csr_read_zero},
    {0xb00, 0, "mcycle", .read = read_counter, .write = write_counter},
    {0xb02, 0, "minstret", .read = read_counter, .write = write_counter},
    {0xb03, 0xb1f, "mhpmcounter%u", .read = csr_read_zero, .write = csr_write_nothing},
    {0x320, 0, "mcountinhibit", .offset = offsetof(struct cpu, mcountinhibit), .write = write_countinhibit},
    {0x323, 0x33f, "mhpmevent%u", .read = csr_read_zero, .write = csr_write_nothing},
};

/* CSR number -> 1 + index into row_list, 0 = not implemented. Built when the program starts. */
static uint8_t row_of[NUM_CSRS];
static const struct csr_row *row_list[MAX_ROWS];
static unsigned num_rows;
static struct {
    uint16_t num;
    char name[16];
} indexed_name[MAX_INDEXED];
static unsigned num_indexed;

/* Ranges number their registers from the low bits of the CSR number, pmp ones from their base. */
static void name_indexed(const struct csr_row *row, unsigned num)
{
    bool is_pmp = num >= 0x3a0 && num <= 0x3bf;
    assert(num_indexed < MAX_INDEXED);
    indexed_name[num_indexed].num = (uint16_t)num;
    const char *percent = strchr(row->name, '%');
    snprintf(indexed_name[num_indexed].name, sizeof(indexed_name[0].name), "%.*s%u", (int)(percent - row->name),
             row->name, num & (is_pmp ? 15 : 31));
    num_indexed++;
}

static void add_rows(const struct csr_row *rows, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert(num_rows < MAX_ROWS);
        row_list[num_rows++] = &rows[i];
        for (unsigned num = rows[i].num; num <= (rows[i].last ? rows[i].last : rows[i].num); num++) {
            assert(!row_of[num]);
            row_of[num] = (uint8_t)num_rows;
            if (strchr(rows[i].name, '%')) {
                name_indexed(&rows[i], num);
            }
        }
    }
}

__attribute__((constructor)) static void build_table(void)
{
    add_rows(rows_user, sizeof(rows_user) / sizeof(rows_user[0]));
    add_rows(csr_rows_supervisor, csr_num_supervisor);
    add_rows(csr_rows_machine, csr_num_machine);
}

static const struct csr_row *find(unsigned num)
{
    return row_of[num] ? row_list[row_of[num] - 1] : NULL;
}

const char *csr_name(unsigned num)
{
    const struct csr_row *row = num < NUM_CSRS ? find(num) : NULL;
    if (row && strchr(row->name, '%')) {
        for (unsigned i = 0; i < num_indexed; i++) {
            if (indexed_name[i].num == num) {
                return indexed_name[i].name;
            }
        }
    }
    return row ? row->name : NULL;
}

static bool has(const struct cpu *cpu, enum cpu_ext ext)
{
    return cpu->isa_ext >> ext & 1;
}

/* Counters (privileged specification 3.1.11, 12.1.5): mcounteren rules over S and U, scounteren over U besides. */
static bool counter_allowed(const struct cpu *cpu, unsigned index)
{
    return (cpu->priv == PRIV_M || (cpu->mcounteren >> index & 1)) &&
           (cpu->priv != PRIV_U || (cpu->scounteren >> index & 1));
}

static bool available(const struct cpu *cpu, const struct csr_row *row, unsigned num)
{
    switch (row->need) {
    case CSR_NEEDS_FP:
        return (cpu->mstatus & MSTATUS_FS) != 0;
    case CSR_NEEDS_COUNTER:
        return counter_allowed(cpu, num & 31);
    case CSR_NEEDS_SSTC:
        return has(cpu, EXT_SSTC) && (cpu->priv == PRIV_M || ((cpu->menvcfg >> 63 & 1) && counter_allowed(cpu, 1)));
    case CSR_NEEDS_SATP:
        return cpu->priv == PRIV_M || !(cpu->mstatus & MSTATUS_TVM);
    case CSR_NEEDS_SMAIA:
        return has(cpu, EXT_SMAIA);
    case CSR_NEEDS_SSAIA:
        return has(cpu, EXT_SSAIA) || has(cpu, EXT_SMAIA);
    default:
        return true;
    }
}

static uint64_t *field_of(struct cpu *cpu, const struct csr_row *row)
{
    return (uint64_t *)(void *)((char *)cpu + row->offset);
}

bool csr_access(struct cpu *cpu, unsigned num, enum csr_kind kind, uint64_t operand, bool writes, uint64_t *old,
                bool *effect)
{
    const struct csr_row *row = find(num);
    *effect = false;
    /* Bits 9:8 are the lowest privilege, bits 11:10 all ones make it read-only (privileged specification 2.1). */
    if (!row || (num >> 8 & 3) > cpu->priv || (writes && num >> 10 == 3) || !available(cpu, row, num)) {
        return false;
    }
    if (row->read) {
        if (!row->read(cpu, num, old)) {
            return false;
        }
    } else {
        *old = *field_of(cpu, row);
    }
    if (!writes) {
        return true;
    }
    struct csr_update u = {.old = *old, .mask = operand};
    if (kind == CSR_SWAP) {
        u.value = operand;
        u.mask = ~0ull;
    } else {
        u.value = kind == CSR_SET ? *old | operand : *old & ~operand;
    }
    *effect = row->effect;
    if (row->write) {
        return row->write(cpu, num, &u);
    }
    uint64_t *field = field_of(cpu, row);
    *field = (*field & ~row->mask) | (u.value & row->mask);
    return true;
}
