/* What can be seen of another weft from outside: /proc, and what it tells over its control socket or proof file. */
#include "placement/internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CMDLINE = 65536 };

/* The process's arguments, NUL after NUL; returns the length or 0. */
static size_t cmdline_read(pid_t pid, char *buf, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    FILE *f = fopen(path, "r");
    size_t n = f != NULL ? fread(buf, 1, size - 1, f) : 0;
    if (f != NULL) {
        fclose(f);
    }
    buf[n] = 0;
    return n;
}

/* The value of an option on a command line, or NULL. */
static const char *cmdline_option(const char *cmd, size_t len, const char *name)
{
    for (size_t at = 0; at < len; at += strlen(cmd + at) + 1) {
        const char *word = cmd + at, *bare = word + strspn(word, "-");
        size_t n = strlen(name), next = at + strlen(word) + 1;
        if (word[0] == '-' && strncmp(bare, name, n) == 0) {
            if (bare[n] == '=') {
                return bare + n + 1;
            }
            if (bare[n] == 0 && next < len) {
                return cmd + next;
            }
        }
    }
    return NULL;
}

/* A variable of the environment it was started with, as a number; `none` where there is none. */
static long environ_number(pid_t pid, const char *name, long none)
{
    char path[64], *line = NULL;
    size_t size = 0, n = strlen(name);
    long value = none;
    snprintf(path, sizeof(path), "/proc/%d/environ", pid);
    FILE *f = fopen(path, "r");
    while (f != NULL && getdelim(&line, &size, 0, f) > 0) {
        if (strncmp(line, name, n) == 0 && line[n] == '=') {
            value = strtol(line + n + 1, NULL, 10);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    free(line);
    return value;
}

/* The one that started mpirun runs no guest itself, and one rank of a host stands for the others. */
static bool runs_guest(pid_t pid, const char *cmd, size_t len)
{
    const char *ranks = cmdline_option(cmd, len, "ranks");
    long local = environ_number(pid, "OMPI_COMM_WORLD_LOCAL_RANK", -1);
    return local == 0 || (local < 0 && (ranks == NULL || atoi(ranks) <= 1));
}

static bool is_weft_run(const char *cmd, size_t len)
{
    const char *base = strrchr(cmd, '/');
    size_t n = strlen(cmd) + 1;
    return strcmp(base != NULL ? base + 1 : cmd, "weft") == 0 && n < len && strcmp(cmd + n, "run") == 0;
}

unsigned watch_find(pid_t *pids, unsigned most)
{
    unsigned n = 0;
    char *cmd = malloc(CMDLINE);
    DIR *d = opendir("/proc");
    for (struct dirent *e; cmd != NULL && d != NULL && (e = readdir(d)) != NULL;) {
        pid_t pid = (pid_t)atoi(e->d_name);
        size_t len = pid > 0 ? cmdline_read(pid, cmd, CMDLINE) : 0;
        if (len > 0 && is_weft_run(cmd, len) && runs_guest(pid, cmd, len)) {
            if (n < most) {
                pids[n] = pid;
            }
            n++;
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    free(cmd);
    return n;
}

/* ---- threads -------------------------------------------------------------------------------------------------------
 */

static uint64_t after(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    at = at != NULL ? strpbrk(at + strlen(key), "0123456789") : NULL;
    return at != NULL ? strtoull(at, NULL, 10) : 0;
}

/* proc(5), stat: fields from the third on, behind the name, which may hold blanks and brackets. */
static void stat_read(const char *text, struct watch_thread *t)
{
    const char *open = strchr(text, '('), *close = strrchr(text, ')');
    if (open == NULL || close == NULL) {
        return;
    }
    snprintf(t->name, sizeof(t->name), "%.*s", (int)(close - open - 1), open + 1);
    const char *at = close + 1;
    for (int field = 3; at != NULL && *at != 0; field++) {
        char *end;
        at += strspn(at, " ");
        unsigned long long v = strtoull(at, &end, 10);
        if (field == 14) {
            t->user = v;
        } else if (field == 15) {
            t->system = v;
        } else if (field == 39) {
            t->last_pu = (int)v;
        } else if (field == 43) {
            t->guest = v;
        }
        at = strchr(at, ' ');
    }
}

static bool thread_read(pid_t pid, pid_t tid, struct watch_thread *t)
{
    char path[96], text[8192];
    memset(t, 0, sizeof(*t));
    t->tid = tid;
    t->last_pu = -1;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
    if (sysfs_text_read(path, text, sizeof(text)) < 0) {
        return false; /* it has just ended */
    }
    stat_read(text, t);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", pid, tid);
    if (sysfs_text_read(path, text, sizeof(text)) > 0) {
        char *end;
        t->run_ns = strtoull(text, &end, 10);
        t->wait_ns = strtoull(end, NULL, 10);
    }
    snprintf(path, sizeof(path), "/proc/%d/task/%d/sched", pid, tid);
    if (sysfs_text_read(path, text, sizeof(text)) > 0) {
        t->migrations = after(text, "se.nr_migrations");
    }
    snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
    if (sysfs_text_read(path, text, sizeof(text)) > 0) {
        t->switches = after(text, "\nvoluntary_ctxt_switches:") + after(text, "nonvoluntary_ctxt_switches:");
        char *list = strstr(text, "Cpus_allowed_list:");
        if (list != NULL) {
            list += strlen("Cpus_allowed_list:");
            list += strspn(list, " \t");
            list[strcspn(list, "\n")] = 0;
            bitmap_parse(&t->allowed, list, BITMAP_BITS);
        }
    }
    return true;
}

static int by_tid(const void *a, const void *b)
{
    const struct watch_thread *x = a, *y = b;
    return x->tid < y->tid ? -1 : x->tid > y->tid;
}

static bool threads_read(struct watch_sample *s)
{
    char path[64];
    unsigned cap = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", s->pid);
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        pid_t tid = (pid_t)atoi(e->d_name);
        if (s->num_threads == cap) {
            cap = cap * 2 + 64;
            struct watch_thread *more = realloc(s->thread, cap * sizeof(*more));
            if (more == NULL) {
                break;
            }
            s->thread = more;
        }
        s->num_threads += tid > 0 && thread_read(s->pid, tid, &s->thread[s->num_threads]);
    }
    if (d != NULL) {
        closedir(d);
    }
    if (s->num_threads > 0) {
        qsort(s->thread, s->num_threads, sizeof(*s->thread), by_tid);
    }
    return s->num_threads > 0;
}

/* ---- memory --------------------------------------------------------------------------------------------------------
 */

static void numa_maps_read(struct watch_sample *s)
{
    char path[64], *line = NULL;
    size_t size = 0;
    snprintf(path, sizeof(path), "/proc/%d/numa_maps", s->pid);
    FILE *f = fopen(path, "r");
    while (f != NULL && getline(&line, &size, f) > 0) {
        uint64_t page = after(line, "kernelpagesize_kB=") * 1024;
        for (char *at = line; (at = strstr(at, " N")) != NULL; at += 2) {
            char *end;
            unsigned long node = strtoul(at + 2, &end, 10);
            if (isdigit((unsigned char)at[2]) && *end == '=' && node < PLACE_MAX_HOST_NODES) {
                s->bytes_on_node[node] += strtoull(end + 1, NULL, 10) * (page > 0 ? page : 4096);
            }
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    free(line);
}

/* ---- what weft itself tells ----------------------------------------------------------------------------------------
 */

static char *socket_ask(const char *path, const char *request)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 5};
    if (strlen(path) >= sizeof(addr.sun_path)) {
        return NULL;
    }
    memcpy(addr.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return NULL;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)); /* another client may have it for a while */
    char *line = NULL;
    size_t size = 0;
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
        send(fd, request, strlen(request), MSG_NOSIGNAL) > 0) {
        FILE *f = fdopen(fd, "r");
        if (f != NULL) {
            if (getline(&line, &size, f) <= 0) {
                free(line);
                line = NULL;
            }
            fclose(f);
            return line;
        }
    }
    close(fd);
    return line;
}

/* A path as the other process sees it, relative to its folder; ranks but the first add their number to what they
 * write. */
static void path_there(pid_t pid, const char *path, char *out, size_t size)
{
    char folder[32] = "", number[32] = "";
    long rank = environ_number(pid, "OMPI_COMM_WORLD_RANK", 0);
    if (path[0] != '/') {
        snprintf(folder, sizeof(folder), "/proc/%d/cwd/", pid);
    }
    if (rank > 0) {
        snprintf(number, sizeof(number), ".rank%ld", rank);
    }
    snprintf(out, size, "%s%s%s", folder, path, number);
}

static bool proof_from_socket(struct watch_sample *s, const char *path)
{
    struct error ignored = {0};
    char *reply = socket_ask(path, "verify\n");
    json_t *root = reply != NULL ? json_loads(reply, 0, NULL) : NULL;
    char *text = json_dumps(json_object_get(root, "proof"), JSON_COMPACT);
    bool ok = text != NULL && proof_from_json(&s->proof, text, &ignored);
    free(text);
    json_decref(root);
    free(reply);
    return ok;
}

static void traffic_add(struct watch_sample *s, const json_t *rows)
{
    size_t n = json_array_size(rows);
    for (size_t i = 0; i < n && n <= WEFT_MAX_NODES; i++) {
        for (size_t j = 0; j < n; j++) {
            s->traffic[i][j] += json_number_value(json_array_get(json_array_get(rows, i), j));
        }
    }
    s->traffic_nodes = n <= WEFT_MAX_NODES ? (unsigned)n : 0;
}

static void traffic_from_socket(struct watch_sample *s, const char *path)
{
    char *reply = socket_ask(path, "traffic\n");
    json_t *root = reply != NULL ? json_loads(reply, 0, NULL) : NULL;
    traffic_add(s, json_object_get(root, "access_matrix"));
    json_decref(root);
    free(reply);
}

static void cluster_from_socket(struct watch_sample *s, const char *path)
{
    char *reply = socket_ask(path, "info coherence\n");
    json_t *root = reply != NULL ? json_loads(reply, 0, NULL) : NULL;
    if (json_is_true(json_object_get(root, "ok"))) {
        json_t *rank;
        size_t i;
        memset(s->traffic, 0, sizeof(s->traffic)); /* each rank counts for its own harts */
        json_array_foreach(json_object_get(root, "ranks"), i, rank)
        {
            traffic_add(s, json_object_get(rank, "access_matrix"));
        }
        s->cluster = reply;
        reply = NULL;
    }
    json_decref(root);
    free(reply);
}

static bool proof_from_file(struct watch_sample *s, const char *path)
{
    struct error ignored = {0};
    char *text = NULL;
    size_t size = 0;
    FILE *f = fopen(path, "r");
    bool ok = f != NULL && getdelim(&text, &size, 0, f) > 0 && proof_from_json(&s->proof, text, &ignored);
    if (f != NULL) {
        fclose(f);
    }
    free(text);
    return ok;
}

bool watch_sample(pid_t pid, struct watch_sample *s, struct error *err)
{
    memset(s, 0, sizeof(*s));
    struct timespec ts;
    char *cmd = malloc(CMDLINE), path[4200];
    size_t len = cmd != NULL ? cmdline_read(pid, cmd, CMDLINE) : 0;
    s->pid = pid;
    if (len == 0) {
        free(cmd);
        return error_set(err, "process %d does not exist or cannot be looked at", pid);
    }
    clock_gettime(CLOCK_MONOTONIC, &ts);
    s->at = (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
    const char *name = cmdline_option(cmd, len, "name"), *control = cmdline_option(cmd, len, "control");
    const char *file = cmdline_option(cmd, len, "proof");
    snprintf(s->name, sizeof(s->name), "%s", name != NULL ? name : "");
    if (control != NULL) {
        path_there(pid, control, path, sizeof(path));
        s->have_proof = proof_from_socket(s, path);
        if (s->have_proof) {
            traffic_from_socket(s, path);
            cluster_from_socket(s, path);
        }
    }
    if (!s->have_proof && file != NULL) {
        path_there(pid, file, path, sizeof(path));
        s->have_proof = proof_from_file(s, path);
    }
    free(cmd);
    numa_maps_read(s);
    return threads_read(s) || error_set(err, "process %d has ended", pid);
}

void watch_sample_fini(struct watch_sample *s)
{
    free(s->thread);
    free(s->cluster);
    if (s->have_proof) {
        proof_fini(&s->proof);
    }
    memset(s, 0, sizeof(*s));
}
