/* weft run --ranks N: starts mpirun on this host. */
#ifndef WEFT_CLI_LAUNCH_H
#define WEFT_CLI_LAUNCH_H

#include "weft/error.h"

/* Runs the same command line (argv[0] is the verb) under mpirun with so many ranks and waits for its end. The terminal,
 * if there is one, is the guest's meanwhile. Returns the exit status; 1 with a sentence when mpirun cannot be run. */
int launch_ranks(unsigned ranks, int argc, char **argv, struct error *err);

#endif
