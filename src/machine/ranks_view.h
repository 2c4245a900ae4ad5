/*
 * Seeing all ranks from one: each rank tells of itself as a JSON object; any rank can gather them while the guest runs
 * (`weft info`), and at the end they meet at rank 0 (the closing report). Also the round trips that are measured when
 * the ranks have joined, and what follows from them for the guest's node distances.
 *
 * On one rank nothing of this is called, but for ranks_info.
 */
#ifndef WEFT_RANKS_VIEW_H
#define WEFT_RANKS_VIEW_H

#include <jansson.h>

#include "ranks.h"
#include "weft/cluster_report.h"

struct placement;

/* Where the builtin SBI's boot puts a kernel: over ranks there is no other. */
#define RANKS_KERNEL_ADDRESS 0x80200000ull

/* Kinds of posts of this file; smaller ones belong to others. */
enum view_post {
    POST_VIEW_FIRST = 64,
    POST_VIEW_ASK = POST_VIEW_FIRST,
    POST_VIEW_PART,
    POST_TABLE_PART,
    POST_PING,
    POST_PONG
};

/* Main thread. create: with the rest of struct ranks; start: when the main loop is there, before the cluster is
 * started; destroy: when the loop is stopped, before it is destroyed. */
void ranks_view_create(struct ranks *r);
void ranks_view_start(struct ranks *r);
void ranks_view_destroy(struct ranks *r);
/* Reads the operator's table of symbols, if any. Rank 0, before anything of the guest exists. */
bool ranks_view_symbols(struct machine *m, struct error *err);
/* Coherence thread. False: it makes no sense. */
bool ranks_view_post(struct ranks *r, unsigned src, uint32_t kind, const void *bytes, size_t length);

/* ---- round trips and distances; main thread, after cluster_start, before the harts ---- */

/* Measures this rank's round trip to each other one and shares it. False: a rank does not answer. */
bool ranks_measure(struct machine *m, struct error *err);
/*
 * The guest's distances where the operator gave none: between ranks from the round trips, inside a rank from hwloc's
 * distances between the host nodes its guest nodes are on. Rank 0 decides. Puts them into cfg and sets have_distance.
 */
void ranks_distances(struct machine *m, struct machine_config *cfg);
/* Those distances and where they are from, as a table for the start. On rank 0. */
void ranks_distances_print(struct machine *m, FILE *to);
json_t *ranks_distances_json(struct machine *m);
/* Gives rank 0 what this rank has to print at its start; it is printed there, whole. Takes nothing. Any thread. */
void ranks_table_send(struct machine *m, const char *text);

/* ---- views ---- */

/* This rank's object. Any thread but the coherence thread. */
json_t *ranks_view_here(struct machine *m);
/* Meets the others with `mine` (the closing report's object of this rank) when the clusters have stopped; all ranks. */
void ranks_view_exchange(struct ranks *r);
/* After ranks_leave: what each rank told at the end, in the order of ranks; borrowed, or NULL when they did not meet.
 */
json_t *ranks_view_all(struct machine *m);
/* Answers "coherence", "locks" or "ranks" with one line of JSON, to free(). arg: the machine. The control's thread. */
char *ranks_info(void *arg, const char *what);

/* report.c: this rank's object with its harts, for ranks_view_exchange; the accesses of this rank's harts. */
json_t *report_rank_json(struct machine *m);
json_t *report_accesses_json(const struct machine *m);

#endif
