#include "cli/verbs.h"

#include <stddef.h>

const struct verb verbs[] = {
    {"run", "runs a guest; takes QEMU's options", verb_run},
    {"plan", "shows where a guest would be placed, why, and at what cost", verb_plan},
    {NULL, NULL, NULL},
};
