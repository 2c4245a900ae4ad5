/*
 * What `weft info` and the closing report show of the cluster. Each rank tells of itself as one JSON object; whoever
 * gathered the objects of all ranks (src/machine/ranks_view.c) adds them up and prints them.
 *
 * Call sequence: cluster_report_json() on each rank; the objects into one array; cluster_report_total() once; then
 * print, or hand out.
 */
#ifndef WEFT_CLUSTER_REPORT_H
#define WEFT_CLUSTER_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "weft/cluster.h"

/*
 * This rank's faults by kind, traffic and faults per peer, prefetch, served and hot pages, locks, clock. Durations in
 * nanoseconds. Any thread but the coherence thread; the caller owns the reference; NULL without memory.
 */
json_t *cluster_report_json(struct cluster *c);

/* ---- pure: an array of such objects, in the order of ranks; a rank that did not tell is left out ---- */

/* Sums and common percentiles over all ranks, as an object of the same keys. Takes the histograms out of `ranks`. */
json_t *cluster_report_total(json_t *ranks);

/* Tables of at most 80 columns. `total` is what cluster_report_total() gave. */
void cluster_print_coherence(const json_t *ranks, const json_t *total, FILE *to);
void cluster_print_locks(const json_t *ranks, FILE *to);
void cluster_print_ranks(const json_t *ranks, FILE *to);
/* The closing report's part: at most 66 columns, for two reports side by side. */
void cluster_print_summary(const json_t *ranks, const json_t *total, FILE *to);

#endif
