#include "weft/log.h"

#include <errno.h>
#include <stdarg.h>

unsigned log_mask;
static FILE *log_file;

int log_open(unsigned mask, const char *path)
{
    if (path && *path) {
        log_file = fopen(path, "w");
        if (!log_file) {
            return -errno;
        }
        setvbuf(log_file, NULL, _IOLBF, 0);
    }
    log_mask = mask;
    return 0;
}

void log_close(void)
{
    if (log_file) {
        fclose(log_file);
        log_file = NULL;
    }
    log_mask = 0;
}

void log_write(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(log_file ? log_file : stderr, fmt, ap);
    va_end(ap);
}

static void say(const char *prefix, const char *fmt, va_list ap)
{
    char line[2048];
    vsnprintf(line, sizeof(line), fmt, ap);
    fprintf(stderr, "%s%s\n", prefix, line);
}

void log_warn(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say("weft: warning: ", fmt, ap);
    va_end(ap);
}

void log_info(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say("weft: ", fmt, ap);
    va_end(ap);
}
