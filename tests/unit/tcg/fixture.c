#include "fixture.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "encode.h"

struct fixture fx;
bool trapped;

uint64_t guest_ticks(struct machine *m)
{
    return fx.now;
}

void sbi_ecall(struct cpu *cpu)
{
    fx.sbi_ecalls++;
    cpu->pc += 4;
}

void bql_lock(void)
{
}

void bql_unlock(void)
{
}

bool bql_held(void)
{
    return false;
}

struct cpu *cpu_current(void)
{
    return fx.cpu;
}

void cpu_exclusive_begin(struct machine *m, struct cpu *self)
{
}

void cpu_exclusive_end(struct machine *m, struct cpu *self)
{
}

void fixture_setup(void)
{
    static struct machine_config cfg;
    struct ram *ram = &fx.machine.ram;
    memset(&fx, 0, sizeof(fx));
    fx.machine.cfg = &cfg;
    ram->base = RAM_BASE;
    ram->size = RAM_SIZE;
    ram->host = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(ram->host, MAP_FAILED);
    ram->num_ranges = 1;
    ram->range[0] = (struct ram_range){RAM_BASE, RAM_SIZE, 0};
    ram->page_flags = calloc(RAM_SIZE >> GUEST_PAGE_BITS, 1);
    ram->page_node = calloc(1, 1);
    fx.machine.bus.ram = ram;
    fx.cpu = aligned_alloc(64, sizeof(struct cpu));
    memset(fx.cpu, 0, sizeof(struct cpu));
    fx.machine.cpus[0] = fx.cpu;
    fx.machine.num_cpus = 1;
    fx.cpu->machine = &fx.machine;
    fx.cpu->bus = &fx.machine.bus;
    fx.cpu->ram = ram;
    fx.cpu->isa_ext = (1ull << EXT_COUNT) - 1;
    fx.cpu->misa_reset = 0x800000000014112dull;
    tlb_create(fx.cpu);
    cpu_reset(fx.cpu, RAM_BASE, 0, 0, PRIV_M);
}

void fixture_teardown(void)
{
    tlb_destroy(fx.cpu);
    free(fx.cpu);
    free((void *)fx.machine.ram.page_flags);
    free(fx.machine.ram.page_node);
    munmap(fx.machine.ram.host, RAM_SIZE);
}

enum interp_result run_word(uint32_t word)
{
    uint64_t traps = 0;
    for (unsigned i = 0; i < 16; i++) {
        traps -= fx.cpu->stats.traps[i];
    }
    memcpy(ram_ptr(&fx.machine.ram, fx.cpu->pc), &word, sizeof(word));
    enum interp_result result = interp_step(fx.cpu);
    for (unsigned i = 0; i < 16; i++) {
        traps += fx.cpu->stats.traps[i];
    }
    trapped = traps != 0;
    return result;
}

enum interp_result run_insn(struct insn in)
{
    return run_word(encode(&in));
}

uint64_t csr_swap(unsigned csr, uint64_t value)
{
    fx.cpu->x[11] = value;
    run_insn((struct insn){.op = OP_CSRRW, .rd = 10, .rs1 = 11, .imm = (int32_t)csr});
    return fx.cpu->x[10];
}

uint64_t csr_get(unsigned csr)
{
    run_insn((struct insn){.op = OP_CSRRS, .rd = 10, .imm = (int32_t)csr});
    return fx.cpu->x[10];
}
