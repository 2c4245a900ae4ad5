#include "cli/verbs.h"

#include <stddef.h>

const struct verb verbs[] = {
    {"run", "runs a guest; takes QEMU's options", verb_run},
    {"plan", "shows where a guest would be placed, why, and at what cost", verb_plan},
    {"probe", "measures latency and bandwidth between this host's nodes", verb_probe},
    {"placement", "asks or changes the placement of a running guest", verb_placement},
    {"info", "shows what the ranks of a running guest say to one another", verb_info},
    {"proof", "compares proofs of placement", verb_proof},
    {"top", "shows a running guest's threads and memory on the host's nodes", verb_top},
    {NULL, NULL, NULL},
};
