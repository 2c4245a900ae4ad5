/* The closing report's part about the cluster; nothing and null on one rank. After ranks_leave. */
#ifndef WEFT_REPORT_RANKS_H
#define WEFT_REPORT_RANKS_H

#include <jansson.h>
#include <stdio.h>

#include "weft/machine.h"

void report_ranks_print(struct machine *m, FILE *f);
json_t *report_ranks_json(struct machine *m);

#endif
