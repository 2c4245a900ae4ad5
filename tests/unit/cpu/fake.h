/*
 * A machine without a translator: harts whose guest code is a C function. Each call of it stands for 4096 instructions
 * (or what is left of the quantum), after which exit_request is looked at, as generated code does.
 */
#ifndef WEFT_TEST_CPU_FAKE_H
#define WEFT_TEST_CPU_FAKE_H

#include "weft/cpu.h"
#include "weft/machine.h"

enum { FAKE_RUN = -1, FAKE_SLICE = 4096 };

/* Returns FAKE_RUN to go on, or the enum cpu_exit to leave with. */
typedef int fake_guest_fn(struct cpu *cpu);

struct fake {
    struct machine m;
    struct machine_config cfg;
    fake_guest_fn *guest;
    _Atomic int in_guest[WEFT_MAX_HARTS];
    _Atomic int shutdowns;
};
extern struct fake fake;

/* Makes n harts, all started (`guest`) and, where told, starts the threads. */
void fake_create(unsigned n, fake_guest_fn *guest);
void fake_start(const struct accel_ops *accel);
void fake_destroy(void);
/* Sleeps in steps until *flag is at least `value`; the test's own timeout ends it otherwise. */
void fake_await(_Atomic uint64_t *flag, uint64_t value);
uint64_t fake_now_ns(void);
void fake_sleep_ns(uint64_t ns);

#endif
