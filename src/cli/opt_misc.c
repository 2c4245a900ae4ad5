/* -d, -name, --report, --access-matrix, the options that are accepted and change nothing, and the checks of files. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/options.h"

const char *const log_names[] = {"in_asm",       "out_asm", "int", "mmu",   "exec", "cpu",
                                 "guest_errors", "unimp",   "sbi", "place", NULL};
const char *const matrix_names[] = {"off", "sampled", "exact", NULL};

static const char *const log_help[] = {
    "the guest's instructions, as blocks are translated",
    "the host code that was made for them",
    "interrupts and exceptions",
    "page walks, faults and flushes of the TLB",
    "each block that runs",
    "the registers before each block",
    "what the guest does and should not",
    "what the guest asks for and weft does not have",
    "calls to the builtin SBI",
    "where threads and memory were put",
};

bool opt_log(struct parse *p, const char *value, struct error *err)
{
    char word[64];
    for (const char *at = value;;) {
        size_t n = strcspn(at, ",");
        if (n >= sizeof(word) || n == 0) {
            return error_set(err, "-d %.100s: that is no list of items; -d help lists them", value);
        }
        memcpy(word, at, n);
        word[n] = '\0';
        unsigned i = 0;
        while (log_names[i] && strcmp(log_names[i], word) != 0) {
            i++;
        }
        if (!log_names[i]) {
            const char *near = kv_nearest(word, log_names);
            return near ? error_set(err, "-d %s: there is no such item; did you mean %s?", word, near)
                        : error_set(err, "-d %s: there is no such item; -d help lists them", word);
        }
        p->cfg->log_mask |= 1u << i;
        if (at[n] == '\0') {
            return true;
        }
        at += n + 1;
    }
}

void list_log(FILE *out)
{
    fprintf(out, "Items of -d, separated by commas:\n");
    for (unsigned i = 0; log_names[i]; i++) {
        fprintf(out, "  %-14s %s\n", log_names[i], log_help[i]);
    }
}

bool opt_name(struct parse *p, const char *value, struct error *err)
{
    static const char *const keys[] = {"guest", "debug-threads", NULL};
    static const struct kv_rules rules = {.implied = "guest", .keys = keys};
    bool ignored; /* threads always have their names */
    return kv_parse(&p->kv, "-name", value, &rules, err) && kv_bool(&p->kv, "debug-threads", &ignored, err) &&
           kv_string(&p->kv, "guest", p->cfg->name, sizeof(p->cfg->name), err);
}

bool opt_matrix(struct parse *p, const char *value, struct error *err)
{
    for (int i = 0; matrix_names[i]; i++) {
        if (strcmp(value, matrix_names[i]) == 0) {
            p->cfg->access_matrix = (enum access_matrix_mode)i;
            return true;
        }
    }
    return error_set(err, "--access-matrix %.64s: there is no such choice; give off, sampled or exact", value);
}

bool opt_none(struct parse *p, const char *value, struct error *err)
{
    return strcmp(value, "none") == 0 ||
           error_set(err,
                     "-%s %.64s: weft has no display, monitor, network or further port yet, so only 'none' can be said "
                     "there; say none or leave the option out",
                     p->option, value);
}

bool opt_rtc(struct parse *p, const char *value, struct error *err)
{
    return strcmp(value, "base=utc") == 0 || strcmp(value, "utc") == 0 ||
           error_set(err, "-rtc %.64s: the guest's clock is the host's in UTC; say base=utc or leave it out", value);
}

bool opt_ignored(struct parse *p, const char *value, struct error *err)
{
    return true;
}

/* A file that will be read: it must be there. Not opened, since opening a FIFO or a device may have effects. */
static bool check_read(const char *option, const char *path, struct error *err)
{
    struct stat st;
    if (stat(path, &st) != 0 || access(path, R_OK) != 0) {
        return error_set(err, "%s %.256s: %s; name a file that can be read", option, path, strerror(errno));
    }
    return !S_ISDIR(st.st_mode) || error_set(err, "%s %.256s: that is a directory; name a file", option, path);
}

/* A file that will be written: it, or the directory it goes into, must be writable. */
static bool check_write(const char *option, const char *path, struct error *err)
{
    struct stat st;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode)) {
            return error_set(err, "%s %.256s: that is a directory; name a file", option, path);
        }
        return access(path, W_OK) == 0 ||
               error_set(err, "%s %.256s: %s; name a file that can be written", option, path, strerror(errno));
    }
    char directory[1024];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 1;
    memcpy(directory, slash ? path : ".", n);
    directory[n] = '\0';
    if (n == 0) {
        strcpy(directory, "/");
    }
    if (stat(directory, &st) == 0 && !S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
    } else if (access(directory, W_OK | X_OK) == 0) {
        return true;
    }
    return error_set(err, "%s %.256s: it cannot be created in %.256s: %s; name a directory that can be written", option,
                     path, directory, strerror(errno));
}

/* A unix socket to connect to must be there; one to serve is created. */
static bool check_port(const char *option, enum serial_kind kind, const char *path, bool server, struct error *err)
{
    struct stat st;
    if (kind == SERIAL_FILE) {
        return check_write(option, path, err);
    }
    if (kind != SERIAL_UNIX) {
        return true;
    }
    if (strlen(path) > 107) { /* sun_path of sockaddr_un, see unix(7) */
        return error_set(err, "%s %.100s...: a socket's name has at most 107 bytes; choose a shorter path", option,
                         path);
    }
    if (server) {
        return check_write(option, path, err);
    }
    if (stat(path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return error_set(err, "%s %.256s: there is no socket to connect to; start its server first or add server=on",
                         option, path);
    }
    return true;
}

/* The backing file of a memory backend: a file, a directory to make one in, or a name that can be created. */
static bool check_mem_path(const struct mem_backend *b, struct error *err)
{
    char option[160];
    struct stat st;
    snprintf(option, sizeof(option), "-object memory-backend-file,id=%s,mem-path=", b->id);
    if (b->kind != BACKEND_FILE ||
        (stat(b->mem_path, &st) == 0 && S_ISDIR(st.st_mode) && access(b->mem_path, W_OK) == 0)) {
        return true;
    }
    return check_write(option, b->mem_path, err);
}

bool finish_files(struct parse *p, struct error *err)
{
    const struct machine_config *c = p->cfg;
    for (const struct option *o = options; o->name; o++) {
        const char *path = (const char *)c + o->offset;
        char option[64];
        snprintf(option, sizeof(option), "%s%s", o->own ? "--" : "-", o->name);
        if (o->check == FILE_ANY || !*path || (o->check == FILE_READ && c->rank > 0)) { /* rank 0 alone reads */
            continue;
        }
        if (!(o->check == FILE_READ ? check_read : check_write)(option, path, err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < c->num_backends; i++) {
        if (!check_mem_path(&c->backend[i], err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < c->num_chardevs; i++) {
        const struct chardev_config *d = &c->chardev[i];
        if (!check_port("-chardev", d->kind, d->path, d->server, err)) {
            return false;
        }
    }
    return (!c->dumpdtb[0] || check_write("-machine dumpdtb=", c->dumpdtb, err)) &&
           (c->bios_kind != BIOS_FILE || check_read("-bios", c->bios, err)) &&
           check_port("-serial", c->serial, c->serial_path, c->serial_server, err);
}
