/* A machine on one rank never comes to any of this. */
#include <check.h>

#include "machine/ranks.h"

unsigned ranks_self(const struct machine *m)
{
    ck_abort_msg("ranks_self on one rank");
}

bool ranks_fence_begin(struct cpu *cpu, const struct bitmap *harts, unsigned work, uint64_t a, uint64_t b)
{
    ck_abort_msg("ranks_fence_begin on one rank");
}

void ranks_fence_wait(struct cpu *cpu)
{
    ck_abort_msg("ranks_fence_wait on one rank");
}

int64_t ranks_hart_start(struct cpu *cpu, unsigned hart, uint64_t addr, uint64_t opaque)
{
    ck_abort_msg("ranks_hart_start on one rank");
}

uint64_t ranks_hart_status(struct cpu *cpu, unsigned hart)
{
    ck_abort_msg("ranks_hart_status on one rank");
}

unsigned ranks_console(struct cpu *cpu, bool write, uint8_t *bytes, unsigned n)
{
    ck_abort_msg("ranks_console on one rank");
}

void ranks_port_enter(struct machine *m)
{
    ck_abort_msg("ranks_port_enter on one rank");
}
