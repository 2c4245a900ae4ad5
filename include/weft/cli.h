/*
 * The command line. `weft VERB [options]`: one file per verb in src/cli, one table of verbs (src/cli/verbs.c), one
 * table of the options that describe a machine (src/cli/options.c).
 *
 * Canonical use: machine_config on the heap (it is large), cli_parse_run(), then machine_run(). Main thread only,
 * before any other thread exists.
 */
#ifndef WEFT_CLI_H
#define WEFT_CLI_H

#include <stdbool.h>
#include <stdio.h>
#include "weft/config.h"
#include "weft/error.h"

/*
 * Fills *cfg from argv[1..argc-1] (argv[0] is the verb): reads, checks and completes everything, files that are named
 * must exist and be readable. Nothing is allocated, created or opened for the guest. Returns false with one sentence
 * that names the option, its value and the way out. What is only doubtful is told through log_warn().
 */
bool cli_parse_run(int argc, char **argv, struct machine_config *cfg, struct error *err);

/* What must be there to start a guest, and need not be for a dry run: something to boot. */
bool cli_check_bootable(const struct machine_config *cfg, struct error *err);

/* The resolved machine: a page of text, or one JSON object (the fields are in weft(1)). */
void cli_print_text(const struct machine_config *cfg, FILE *out);
void cli_print_json(const struct machine_config *cfg, FILE *out);

#endif
