/*
 * Errors an operator can act on.
 *
 * A function that may fail because of what the operator asked for takes a `struct error *` last and returns false
 * after setting it. The text is one sentence that names the option, the value and the way out.
 * Environment errors return -errno; guest errors are traps; our own are assert().
 */
#ifndef WEFT_ERROR_H
#define WEFT_ERROR_H

#include <stdbool.h>
#include <stddef.h>

struct error {
    bool set;
    char text[1024];
};

/* Sets the sentence (printf style). The first error wins; later ones are ignored. Always returns false. */
bool error_set(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* As error_set, and appends ": " and strerror(errnum). */
bool error_set_errno(struct error *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Prints "weft: <sentence>" to standard error. */
void error_report(const struct error *err);

#endif
