/* weft top's pages: pure functions from two looks at a process to text. Main thread. */
#ifndef WEFT_CLI_TOP_H
#define WEFT_CLI_TOP_H

#include <jansson.h>

#include "weft/placement.h"

/* A page of at most 80 columns; its first line is the heading. free() */
char *top_text(const struct host_shape *host, const struct watch_sample *old, const struct watch_sample *now);
/* One line of JSON. free() */
char *top_json(const struct host_shape *host, const struct watch_sample *old, const struct watch_sample *now);
/* In Prometheus' text format: totals since the start. free() */
char *top_metrics(const struct host_shape *host, const struct watch_sample *now);
/* Serves top_metrics on 127.0.0.1:port until the process ends, or for `count` requests (0: no limit). */
bool top_serve(const struct host_shape *host, pid_t pid, unsigned port, unsigned count, struct error *err);

/* top_ranks.c: pages between ranks, as lines for the page, as "ranks" of the JSON, as metrics. Nothing on one rank. */
void top_ranks_text(FILE *out, const struct watch_sample *old, const struct watch_sample *now);
json_t *top_ranks_json(const struct watch_sample *old, const struct watch_sample *now);
void top_ranks_metrics(FILE *out, const struct watch_sample *now);

/* The screen: begin, then draw and wait in turn, end. `scroll` is the first line shown below the heading. */
bool screen_begin(struct error *err);
void screen_draw(const char *text, unsigned scroll);
/* Handles keys for so long; false when the user wants to leave. */
bool screen_wait(double seconds, const char *text, unsigned *scroll);
void screen_end(void);

#endif
