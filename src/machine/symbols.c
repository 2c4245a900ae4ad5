/* A table of symbols by address: lines of "address type name", as System.map, kallsyms and nm have them. */
#include "weft/symbols.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct symbol {
    uint64_t address;
    const char *name;
};

struct symbols {
    char *text; /* names point into it */
    size_t count, cap;
    struct symbol *symbol; /* by address */
    uint64_t start, end;   /* of the kernel: _start or _text, and the last symbol */
    bool have_start;
};

/* Kernel addresses have the top bits set (RISC-V Sv39 and wider, "canonical" upper half). */
static bool is_virtual(uint64_t address)
{
    return address >> 63;
}

/* Marks of the assembler, and the tables that symbols are exported by, name nothing. */
static bool is_noise(const char *name, char type)
{
    return name[0] == '.' || name[0] == '$' || strncmp(name, "__ksymtab", 9) == 0 ||
           strncmp(name, "__kstrtab", 9) == 0 || strncmp(name, "__crc_", 6) == 0 || type == 'a' || type == 'A' ||
           type == 'U';
}

static void add(struct symbols *s, uint64_t address, const char *name)
{
    if (s->count == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 4096;
        s->symbol = realloc(s->symbol, s->cap * sizeof(*s->symbol));
        assert(s->symbol);
    }
    s->symbol[s->count++] = (struct symbol){.address = address, .name = name};
}

/* One line; `line` is cut up. Modules lie elsewhere: their lines end in "[name]". */
static void read_line(struct symbols *s, char *line)
{
    char *end, *save;
    uint64_t address = strtoull(line, &end, 16);
    if (end == line || (*end != ' ' && *end != '\t')) {
        return;
    }
    char *type = strtok_r(end, " \t\r", &save), *name = strtok_r(NULL, " \t\r", &save);
    if (!type || type[1] || !name || strtok_r(NULL, " \t\r", &save)) {
        return;
    }
    /* A kernel begins at a multiple of 2 MiB; its _text comes after a header. */
    if (strcmp(name, "_start") == 0 || (!s->have_start && strcmp(name, "_text") == 0)) {
        s->start = name[1] == 's' ? address : address & ~0x1fffffull;
        s->have_start = true;
    }
    if (!is_noise(name, *type)) {
        add(s, address, name);
    }
}

static int by_address(const void *a, const void *b)
{
    const struct symbol *x = a, *y = b;
    return x->address != y->address ? (x->address < y->address ? -1 : 1) : 0;
}

/* Takes `text`. */
static struct symbols *make(char *text, const char *what, struct error *err)
{
    struct symbols *s = calloc(1, sizeof(*s));
    assert(s && text);
    s->text = text;
    char *save;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        read_line(s, line);
    }
    if (s->count) {
        qsort(s->symbol, s->count, sizeof(*s->symbol), by_address);
        s->end = s->symbol[s->count - 1].address;
        s->start = s->have_start ? s->start : s->symbol[0].address;
    }
    if (s->count == 0) {
        error_set(err,
                  "%s: there is no line of address, type and name in it; give a System.map, or a copy of the guest's "
                  "/proc/kallsyms",
                  what);
    } else if (s->end == 0) {
        error_set(err, "%s: all addresses are hidden; copy the guest's /proc/kallsyms as root, with kptr_restrict at 0",
                  what);
    } else if (is_virtual(s->end) && !s->have_start) {
        error_set(err,
                  "%s: neither _start nor _text is in it, so nobody knows where the kernel begins; give the whole file",
                  what);
    } else {
        return s;
    }
    symbols_destroy(&s);
    return NULL;
}

struct symbols *symbols_parse(const char *text, const char *what, struct error *err)
{
    return make(strdup(text), what, err);
}

struct symbols *symbols_load(const char *path, struct error *err)
{
    char *text = NULL, what[600];
    size_t size = 0;
    FILE *f = fopen(path, "r");
    snprintf(what, sizeof(what), "--system-map %.500s", path);
    errno = 0;
    ssize_t n = f ? getdelim(&text, &size, 0, f) : -1;
    int e = errno;
    if (f) {
        fclose(f);
    }
    if (n <= 0) {
        free(text);
        e ? error_set_errno(err, e, "%s: it cannot be read; name a readable file", what)
          : error_set(err, "%s: it is empty; name a System.map, or a copy of the guest's /proc/kallsyms", what);
        return NULL;
    }
    return make(text, what, err);
}

void symbols_destroy(struct symbols **symbols)
{
    struct symbols *s = *symbols;
    if (s) {
        free(s->text);
        free(s->symbol);
        free(s);
        *symbols = NULL;
    }
}

size_t symbols_count(const struct symbols *s)
{
    return s->count;
}

/* The first symbol at or after the address. */
static size_t lower_bound(const struct symbols *s, uint64_t address)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->symbol[middle].address < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* As many names as fit, then how many are left. */
static void names_of(const struct symbols *s, size_t first, size_t last, char *buf, size_t size)
{
    size_t used = 0, i = first;
    for (; i < last; i++) {
        const char *name = s->symbol[i].name;
        size_t need = strlen(name) + (used ? 2 : 0);
        if (used && used + need + 6 > size) {
            break;
        }
        used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "", name);
        used = used < size ? used : size - 1;
    }
    if (i < last) {
        snprintf(buf + used, size - used, " +%zu", last - i);
    }
}

bool symbols_describe(const struct symbols *s, uint64_t kernel_at, uint64_t gpa, uint64_t page_size, char *buf,
                      size_t size)
{
    uint64_t move = is_virtual(s->start) ? s->start - kernel_at : 0, address = gpa + move;
    buf[0] = 0;
    if (address < s->start || address > s->end) {
        return false;
    }
    size_t first = lower_bound(s, address), last = lower_bound(s, address + page_size);
    if (first < last) {
        names_of(s, first, last, buf, size);
    } else if (first > 0) {
        const struct symbol *in = &s->symbol[first - 1];
        snprintf(buf, size, "%.*s+0x%llx", (int)(size > 24 ? size - 24 : 0), in->name,
                 (unsigned long long)(address - in->address));
    }
    return buf[0] != 0;
}
