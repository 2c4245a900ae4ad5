#include "tcg/helpers.h"

#include "memory/tlb_inline.h"
#include "tcg/interp.h"

void tcg_leave(struct cpu *cpu, enum tcg_exit reason)
{
    tcg_stubs.leave(cpu, reason);
}

/* Makes pc and budget those of the instruction at the call site. */
static void at_site(struct cpu *cpu, uint32_t info)
{
    cpu->pc = cpu->pc_page + INFO_OFF(info);
    cpu->budget += INFO_LEFT(info);
}

static void memory_fault(struct cpu *cpu)
{
    /* As take_trap: a slice's worth is used up, but nothing has retired. */
    cpu->icount_end--;
    cpu->budget--;
    cpu_take_exception(cpu, cpu->exc_cause, cpu->exc_tval);
    tcg_leave(cpu, TCG_EXIT_EVENT);
}

static uint64_t load(struct cpu *cpu, gva_t va, uint32_t info, unsigned size)
{
    uint64_t v;
    at_site(cpu, info);
    if (!tlb_load(cpu, va, size, &v)) {
        memory_fault(cpu);
    }
    cpu->budget -= INFO_LEFT(info);
    return v;
}

#define LOAD_FULL(name, size, type)                                                                                    \
    uint64_t tcg_load_##name(struct cpu *cpu, gva_t va, uint32_t info)                                                 \
    {                                                                                                                  \
        return (uint64_t)(type)load(cpu, va, info, size);                                                              \
    }

LOAD_FULL(u8, 1, uint8_t)
LOAD_FULL(s8, 1, int8_t)
LOAD_FULL(u16, 2, uint16_t)
LOAD_FULL(s16, 2, int16_t)
LOAD_FULL(u32, 4, uint32_t)
LOAD_FULL(s32, 4, int32_t)
LOAD_FULL(64, 8, uint64_t)

static void store(struct cpu *cpu, gva_t va, uint32_t info, uint64_t value, unsigned size)
{
    at_site(cpu, info);
    if (!tlb_store(cpu, va, size, value)) {
        memory_fault(cpu);
    }
    cpu->budget -= INFO_LEFT(info);
}

#define STORE_FULL(name, size)                                                                                         \
    void tcg_store_##name(struct cpu *cpu, gva_t va, uint32_t info, uint64_t value)                                    \
    {                                                                                                                  \
        store(cpu, va, info, value, size);                                                                             \
    }

STORE_FULL(8, 1)
STORE_FULL(16, 2)
STORE_FULL(32, 4)
STORE_FULL(64, 8)

uint64_t tcg_group_read(struct cpu *cpu, gva_t va, uint32_t info, uint64_t arg)
{
    (void)arg;
    struct translation tr;
    if (cpu->ram->users) {
        return 0; /* over ranks a page need not come here for a single access */
    }
    at_site(cpu, info);
    if (!tlb_translate(cpu, va, ACCESS_LOAD, &tr)) {
        memory_fault(cpu);
    }
    cpu->budget -= INFO_LEFT(info);
    return (uint64_t)(uintptr_t)tlb_probe_read(cpu->ctx, va, 1);
}

uint64_t tcg_group_write(struct cpu *cpu, gva_t va, uint32_t info, uint64_t arg)
{
    struct translation tr;
    if (cpu->ram->users) {
        return 0;
    }
    at_site(cpu, info);
    if (!tlb_translate(cpu, va, ACCESS_STORE, &tr)) {
        if (GROUP_STORES_FIRST(arg)) {
            memory_fault(cpu);
        }
        cpu->budget -= INFO_LEFT(info);
        return 0;
    }
    cpu->budget -= INFO_LEFT(info);
    return (uint64_t)(uintptr_t)tlb_probe_write(cpu->ctx, va, 1);
}

void tcg_interp_insn(struct cpu *cpu, const struct insn *in, uint32_t info)
{
    at_site(cpu, info);
    cpu->stats.interp_insns++;
    enum interp_result r = interp_exec(cpu, in);
    if (r == INTERP_NEXT) {
        cpu->budget -= INFO_LEFT(info);
        return;
    }
    cpu->budget--;
    tcg_leave(cpu, tcg_exit_of(r));
}
