/*
 * The board: what is wired to what. Only this room knows devices by type.
 *
 * Start-up: machine_run = ram_create, placement, devices and bus, firmware and FDT, harts, threads, main loop; returns
 * when the guest powers off, or on an error.
 */
#ifndef WEFT_MACHINE_H
#define WEFT_MACHINE_H

#include "weft/config.h"
#include "weft/cpu.h"
#include "weft/error.h"
#include "weft/loop.h"
#include "weft/memory.h"

struct placement;
struct ranks;
struct chardev;

enum machine_state { MACHINE_PAUSED, MACHINE_RUNNING, MACHINE_SHUTDOWN, MACHINE_RESET };

/* (c) fixed before the harts start unless said otherwise. */
struct machine {
    const struct machine_config *cfg;
    struct ram ram;
    struct bus bus;
    struct cpu *cpus[WEFT_MAX_HARTS];
    unsigned num_cpus;
    struct loop *loop; /* main loop */
    const struct accel_ops *accel;
    struct placement *placement;
    struct chardev *console;
    _Atomic int state; /* [a] enum machine_state */
    int exit_status;   /* of `weft run`: 0 at power-off; SRST/syscon failure codes; 1 at our own failure */
    bool reset_requested;
    uint64_t clock_base_ns; /* CLOCK_MONOTONIC at guest tick 0 */
    unsigned time_dilation; /* so many host seconds are a guest second; 0 is 1 */
    void *accel_data;       /* src/cpu */
    void *devices;          /* src/machine: the board's devices */
    void *tcg_data;         /* src/tcg: code cache */

    /* Over ranks; all NULL on one rank. */
    struct ranks *ranks;                                            /* src/machine/ranks.h */
    void (*remote_irq)(struct cpu *cpu, uint64_t mask, bool level); /* cpu_irq_set of a hart of another rank */
    uint64_t (*clock_ns)(struct machine *m); /* cluster_time_ns(), if the ranks are on several hosts */
};

/* Ends or restarts the machine; any thread; returns at once (a bottom half of the main loop does it). */
void machine_request_shutdown(struct machine *m, int exit_status);
void machine_request_reset(struct machine *m);

/* Stops all harts, or lets them go on; on all ranks if there are several. Waits until it is so, or the machine ends
 * (false). Not for vCPU threads, loops or the coherence thread. */
bool machine_pause(struct machine *m, bool stop);

/* The whole life of one machine. Returns the process's exit status; operator's errors set err and return 1. */
int machine_run(const struct machine_config *cfg, struct error *err);

/* The last thing the process does when machine_run was called: ends MPI, if there is any. Does not return when a rank
 * was lost. Main thread. */
void machine_leave(int status);

/* Translator's per-machine and per-hart state (src/tcg). */
bool tcg_create(struct machine *m, struct error *err);
void tcg_destroy(struct machine *m);
bool tcg_cpu_create(struct cpu *cpu, struct error *err);
void tcg_cpu_destroy(struct cpu *cpu);

#endif
