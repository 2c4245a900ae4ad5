/*
 * One guest over several ranks: what of the machine spans them.
 *
 * Every rank maps all of guest RAM and has a struct cpu for every hart; threads run only the harts of its own guest
 * nodes. Rank 0 has the devices; other ranks send accesses to it, and each rank has its harts' ACLINT and IMSIC
 * registers (ranks_bus.c). Pages come through weft/cluster.h and weft/page_user.h. Everything else is a post: an ask of
 * a hart with an answer, or an interrupt line.
 *
 * Call sequence: ranks_begin (before any thread); ranks_join after ram_create, before the harts; ranks_bus_forward
 * after the devices; ranks_ready before the vCPU threads, which start paused; ranks_want WORLD_CONT; ...; ranks_leave
 * when they have ended; ranks_free.
 * All of them on the main thread. On one rank m->ranks is NULL and nothing here is called.
 */
#ifndef WEFT_RANKS_H
#define WEFT_RANKS_H

#include "weft/cluster.h"
#include "weft/machine.h"

/* Starts MPI and checks that all ranks run the same. Sets m->ranks. */
bool ranks_begin(struct machine *m, struct error *err);
/* True if ok on all ranks; else the error of the lowest that failed. */
bool ranks_agree(struct machine *m, bool ok, struct error *err);
bool ranks_join(struct machine *m, struct error *err);
/* From here on accesses to registers that another rank has go there: other ranks' devices stand for those of rank 0. */
void ranks_bus_forward(struct machine *m);
/* A store to a register of a hart of another rank, from anywhere on this one; nobody waits for it. */
void ranks_bus_store(struct machine *m, unsigned hart, gpa_t gpa, unsigned size, uint64_t value);
/* All ranks are there; rank 0 takes its devices' locks. `share`, of at most RANKS_SHARE_MAX bytes, becomes what rank 0
 * has there. */
enum { RANKS_SHARE_MAX = 256 };
bool ranks_ready(struct machine *m, bool ok, void *share, size_t size, struct error *err);
/* Waits for the other ranks' ends, then leaves the cluster. `status` is what the process ends with. */
void ranks_leave(struct machine *m, int status);
/* After the harts are gone, before the RAM and the loop are. MPI goes on until machine_leave (weft/machine.h). */
void ranks_free(struct machine *m);

/* This rank's number. */
unsigned ranks_self(const struct machine *m);
unsigned ranks_of_hart(const struct machine *m, unsigned hart);
/* A change of the machine's state on all ranks, under the lock "machine.state" (ranks_world.c). `status`: of OFF. Any
 * thread; returns at once. */
enum world_op { WORLD_OFF, WORLD_RESET, WORLD_STOP, WORLD_CONT, WORLD_OPS };
void ranks_want(struct machine *m, enum world_op op, int status);
/* Ends the machine on every rank without further ado. Any thread. */
void ranks_shutdown_now(struct machine *m, int status, const char *sentence);
/* -1, or the rank that was lost. */
int ranks_lost(const struct machine *m);

/* ---- for the builtin SBI; the hart's thread, at a safe point ---- */

/* Has the harts of other ranks in the set do `work` (sbi.h), beginning now; the wait comes after the work here. */
bool ranks_fence_begin(struct cpu *cpu, const struct bitmap *harts, unsigned work, uint64_t a, uint64_t b);
void ranks_fence_wait(struct cpu *cpu);
int64_t ranks_hart_start(struct cpu *cpu, unsigned hart, uint64_t addr, uint64_t opaque);
uint64_t ranks_hart_status(struct cpu *cpu, unsigned hart);
/* The console on rank 0; at most RANKS_CONSOLE_MAX bytes, the number taken or read is returned. */
enum { RANKS_CONSOLE_MAX = 160 };
unsigned ranks_console(struct cpu *cpu, bool write, uint8_t *bytes, unsigned n);

/* Takes the BQL when this rank's UART, rank 0's, is not in use by another rank. A hart's thread without the BQL. */
void ranks_port_enter(struct machine *m);

/* What other ranks have sent to the console goes there now. With the BQL, at the end. */
void ranks_console_end(struct machine *m);

/* Counters of this rank for ranks_view.h. */
struct ranks_figures {
    uint64_t irqs_sent, mmio_sent, fences_sent, asks_served;
    uint64_t mmio_ns;
};

#endif
