/* -d / -D: what the operator asked to see. Cheap when off: one test of a global mask. Any thread may log. */
#ifndef WEFT_LOG_H
#define WEFT_LOG_H

#include <stdbool.h>
#include <stdio.h>
#include "weft/config.h"

extern unsigned log_mask; /* set once at start */

/* Opens the log (path NULL or "" = standard error). Returns 0 or -errno. */
int log_open(unsigned mask, const char *path);
void log_close(void);
void log_write(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A message to the operator on standard error, "weft: ...". */
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define log_on(item) __builtin_expect((log_mask & (item)) != 0, 0)

#endif
