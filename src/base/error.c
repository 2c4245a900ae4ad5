#include "weft/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void set(struct error *err, const char *fmt, va_list ap)
{
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    err->set = true;
}

bool error_set(struct error *err, const char *fmt, ...)
{
    if (!err->set) {
        va_list ap;
        va_start(ap, fmt);
        set(err, fmt, ap);
        va_end(ap);
    }
    return false;
}

bool error_set_errno(struct error *err, int errnum, const char *fmt, ...)
{
    if (!err->set) {
        va_list ap;
        va_start(ap, fmt);
        set(err, fmt, ap);
        va_end(ap);
        size_t n = strlen(err->text);
        snprintf(err->text + n, sizeof(err->text) - n, ": %s", strerror(errnum));
    }
    return false;
}

void error_report(const struct error *err)
{
    fprintf(stderr, "weft: %s\n", err->text);
}
