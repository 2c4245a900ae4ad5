/*
 * Names for guest-physical addresses from a kernel's symbol table: a System.map, a copy of /proc/kallsyms, or what nm
 * prints of a program. Constant after load, then any thread.
 */
#ifndef WEFT_SYMBOLS_H
#define WEFT_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "weft/error.h"

struct symbols;

enum { SYMBOLS_COLUMN = 42 }; /* a buffer for a column of tables */

/* NULL with a sentence when the file cannot be read, has no symbols, or hides their addresses. */
struct symbols *symbols_load(const char *path, struct error *err);
/* From text in memory; `what` names it in errors. */
struct symbols *symbols_parse(const char *text, const char *what, struct error *err);
void symbols_destroy(struct symbols **symbols);
size_t symbols_count(const struct symbols *s);

/*
 * Names what lies in the page at guest-physical `gpa`: the symbols that begin in it, or the one that it is in the
 * middle of: "init_task, init_mm +3", "jiffies+0x1000". `kernel_at` is where the kernel's first byte (its symbol
 * _start) lies; a table of physical addresses needs no move. False where the kernel has nothing: buf is "" then.
 */
bool symbols_describe(const struct symbols *s, uint64_t kernel_at, uint64_t gpa, uint64_t page_size, char *buf,
                      size_t size);

#endif
