/* What `info coherence`, `info locks` and the closing report show of one rank. Any thread but the coherence thread. */
#ifndef WEFT_CLUSTER_REPORT_H
#define WEFT_CLUSTER_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "weft/cluster.h"

/* Faults by kind with p50/p99, traffic per peer, invalidations, prefetch, served pages, clock. */
void cluster_report_coherence(struct cluster *c, FILE *to);
/* Holders, waiters, hand-offs, wait times of each lock that this rank knows. */
void cluster_report_locks(struct cluster *c, FILE *to);
/* The same as one object. The caller owns the reference. */
json_t *cluster_report_json(struct cluster *c);

#endif
