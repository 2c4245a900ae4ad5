/*
 * Who takes part in this run: ranks, hosts, the session, and one exchange of addresses. Open MPI does it; without
 * mpirun there is one rank and MPI is not started. MPI is used at start and end only, never for data.
 *
 * Call sequence: membership_start() before any other thread and before any ZeroMQ context; membership_exchange();
 * membership_end() when all went well, or membership_abandon() when a rank is gone (MPI would wait for it).
 * Threads: the thread that called membership_start.
 */
#ifndef WEFT_MEMBERSHIP_H
#define WEFT_MEMBERSHIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "weft/config.h"
#include "weft/error.h"

struct member {
    char hostname[64];
    uint32_t host; /* lowest rank on the same host */
    int32_t pid;
};

struct membership {
    unsigned self, ranks, hosts;
    uint32_t session;  /* the same on all ranks, another in each run */
    char run_dir[108]; /* for sockets: one per host, mode 0700 */
    struct member member[WEFT_MAX_RANKS];
    bool mpi;
};

/*
 * Starts MPI if this process was started by mpirun (or Slurm's PMI) and checks that all ranks run the same weft with
 * the same `options` (the text that must agree: the command line without what may differ per rank). On a mismatch every
 * rank gets the same sentence, which names the rank and both values.
 */
bool membership_start(struct membership *m, const char *version, const char *options, struct error *err);

/* Gives every rank's `mine` to all, in order of rank. */
void membership_exchange(const struct membership *m, const void *mine, size_t size, void *all);

/* Returns true on all ranks if `ok` on all; else the sentence of the lowest rank that failed is every rank's error. */
bool membership_agree(const struct membership *m, bool ok, struct error *err);

/* Takes the run directory of this host away, if this is the rank that made it. Once all ranks are connected nobody
 * needs it any more, and so none is left behind however the run ends. */
void membership_remove_run_dir(const struct membership *m);

/* All ranks are done with one another. */
void membership_barrier(const struct membership *m);
void membership_end(struct membership *m);

/* The run is over and a rank is gone: cleans up what is ours and ends the process with `status`, without MPI. */
_Noreturn void membership_abandon(struct membership *m, int status);

#endif
