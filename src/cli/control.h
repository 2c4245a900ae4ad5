/* A client's end of the control socket: one line asked, lines of JSON answered. */
#ifndef WEFT_CLI_CONTROL_H
#define WEFT_CLI_CONTROL_H

#include <jansson.h>

#include "weft/error.h"

/* Called with each line that comes before the answer while pages move. */
typedef void control_progress_fn(const json_t *progress);

/*
 * Asks the weft at this socket. Returns its answer, and the same as text in *line (free(); line may be NULL). NULL with
 * a sentence when nobody is there or it ends meanwhile; what the answer itself says is left to the caller.
 */
json_t *control_ask(const char *path, const char *request, control_progress_fn *progress, char **line,
                    struct error *err);

#endif
