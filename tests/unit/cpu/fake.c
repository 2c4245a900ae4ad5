#include "fake.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "weft/placement.h"

struct fake fake;

enum cpu_exit tcg_cpu_exec(struct cpu *cpu, uint64_t quantum)
{
    uint64_t left = quantum;
    for (;;) {
        if (atomic_load(&cpu->exit_request)) {
            return CPU_EXIT_REQUEST;
        }
        uint64_t n = quantum && left < FAKE_SLICE ? left : FAKE_SLICE;
        atomic_store_explicit(&fake.in_guest[cpu->hart], 1, memory_order_relaxed);
        int why = fake.guest(cpu);
        atomic_store_explicit(&fake.in_guest[cpu->hart], 0, memory_order_relaxed);
        cpu->icount_end += n;
        left -= n;
        if (why != FAKE_RUN) {
            return (enum cpu_exit)why;
        }
        if (quantum && left == 0) {
            return CPU_EXIT_QUANTUM;
        }
    }
}

bool cpu_interrupt_pending(struct cpu *cpu)
{
    if (guest_ticks(cpu->machine) >= atomic_load(&cpu->stimecmp)) {
        atomic_fetch_or(&cpu->mip, 1u << IRQ_STI);
    } else {
        atomic_fetch_and(&cpu->mip, ~(uint64_t)(1u << IRQ_STI));
    }
    return atomic_load(&cpu->mip) & cpu->mie;
}

void cpu_reset(struct cpu *cpu, gva_t pc, uint64_t a0, uint64_t a1, uint8_t priv)
{
    cpu->pc = pc;
    cpu->x[10] = a0;
    cpu->x[11] = a1;
    cpu->priv = priv;
}

void machine_request_shutdown(struct machine *m, int exit_status)
{
    atomic_fetch_add(&fake.shutdowns, 1);
}

bool placement_bind_thread(struct placement *p, enum place_thread_kind kind, unsigned index, pid_t tid,
                           const char *name, struct error *err)
{
    return error_set(err, "thread %u has no place", index);
}

void placement_thread_unregister(struct placement *p, pid_t tid)
{
}

void fake_create(unsigned n, fake_guest_fn *guest)
{
    memset(&fake, 0, sizeof(fake));
    fake.guest = guest;
    fake.m.cfg = &fake.cfg;
    fake.m.num_cpus = n;
    fake.m.clock_base_ns = fake_now_ns();
    atomic_store(&fake.m.state, MACHINE_RUNNING);
    for (unsigned i = 0; i < n; i++) {
        struct cpu *cpu = aligned_alloc(64, sizeof(struct cpu));
        ck_assert_ptr_nonnull(cpu);
        memset(cpu, 0, sizeof(*cpu));
        cpu->hart = i;
        cpu->machine = &fake.m;
        cpu->mie = 1u << IRQ_SSI | 1u << IRQ_STI;
        atomic_store(&cpu->stimecmp, UINT64_MAX);
        atomic_store(&cpu->mtimecmp, UINT64_MAX);
        fake.m.cpus[i] = cpu;
    }
}

void fake_start(const struct accel_ops *accel)
{
    struct error err = {0};
    fake.m.accel = accel;
    ck_assert_msg(accel->create_vcpu_threads(&fake.m, &err), "%s", err.text);
}

void fake_destroy(void)
{
    cpu_threads_destroy(&fake.m);
    for (unsigned i = 0; i < fake.m.num_cpus; i++) {
        free(fake.m.cpus[i]);
        fake.m.cpus[i] = NULL;
    }
}

uint64_t fake_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void fake_sleep_ns(uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    nanosleep(&ts, NULL);
}

void fake_await(_Atomic uint64_t *flag, uint64_t value)
{
    while (atomic_load(flag) < value) {
        fake_sleep_ns(200000);
    }
}
