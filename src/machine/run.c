/* The life of one machine, from its config to its end. */
#include "weft/machine.h"

int machine_run(const struct machine_config *cfg, struct error *err)
{
    error_set(err, "-kernel %.256s: this build of weft has no board to start it on; add --dry-run to see the machine",
              cfg->kernel);
    return 1;
}
