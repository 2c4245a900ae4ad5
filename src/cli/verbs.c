#include "cli/verbs.h"

#include <stddef.h>

const struct verb verbs[] = {
    {"run", "runs a guest; takes QEMU's options", verb_run},
    {NULL, NULL, NULL},
};
