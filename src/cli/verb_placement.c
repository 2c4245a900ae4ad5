/* weft placement: talks to a running weft about where its threads and pages are. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/verbs.h"

static void help(FILE *out)
{
    fprintf(
        out,
        "Usage: weft placement SOCKET show | set POLICY | verify [exact] | traffic | rebalance [traffic]\n\n"
        "Asks the weft that was started with --control SOCKET.\n\n"
        "  show            the plan\n"
        "  set POLICY      a new plan, as for --place; threads are bound again, pages moved while the guest runs\n"
        "  verify [exact]  reads back where threads and pages are, sampled or every page\n"
        "  traffic         the accesses counted so far, between guest nodes, and the share that was local\n"
        "  rebalance       brings what has drifted back to the plan; traffic: makes the plan anew from the accesses\n"
        "                  that were counted, then moves what is not there\n\n"
        "Ctrl-C while pages move ends the move; the new policy stays for pages touched later.\n");
}

static int connect_to(const char *path, struct error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path)) {
        error_set(err, "%.64s...: the name of a socket can have at most %zu characters", path,
                  sizeof(addr.sun_path) - 1);
        return -1;
    }
    memcpy(addr.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
        error_set_errno(err, errno, "%s: no weft answers there; start it with --control %s", path, path);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

static bool progress_shown;

static void progress_show(const json_t *p)
{
    double done = json_number_value(json_object_get(p, "done_bytes"));
    double total = json_number_value(json_object_get(p, "total_bytes"));
    if (isatty(STDERR_FILENO)) {
        progress_shown = true;
        fprintf(stderr, "\r%5.1f %% of %.0f MiB looked at", total > 0 ? done / total * 100 : 100, total / (1 << 20));
    }
}

static int answer_show(const json_t *reply, const char *line)
{
    const char *error = json_string_value(json_object_get(reply, "error"));
    if (progress_shown) {
        fputs("\r\033[K", stderr);
    }
    if (isatty(STDOUT_FILENO) && error == NULL) {
        json_t *moved = json_object_get(reply, "moved_bytes");
        if (moved != NULL) {
            printf("moved %.1f MiB in %.3f s, %.0f MiB/s\n", json_number_value(moved) / (1 << 20),
                   json_number_value(json_object_get(reply, "seconds")),
                   json_number_value(json_object_get(reply, "mib_per_second")));
        } else {
            json_dumpf(reply, stdout, JSON_INDENT(2));
            putchar('\n');
        }
    } else if (error == NULL) {
        fputs(line, stdout);
    } else {
        struct error err = {0};
        error_set(&err, "%s", error);
        error_report(&err);
    }
    json_t *proof_ok = json_object_get(json_object_get(reply, "proof"), "ok");
    return json_is_true(json_object_get(reply, "ok")) && !json_is_false(proof_ok) ? 0 : 1;
}

static int ask(int fd, const char *request, struct error *err)
{
    FILE *f = fdopen(fd, "r+");
    char *line = NULL;
    size_t size = 0;
    int status = -1;
    if (f == NULL || dprintf(fd, "%s\n", request) < 0) {
        error_set_errno(err, errno, "the request cannot be sent");
        return 1;
    }
    while (status < 0 && getline(&line, &size, f) > 0) {
        json_t *reply = json_loads(line, 0, NULL), *progress = json_object_get(reply, "progress");
        if (progress != NULL) {
            progress_show(progress);
        } else {
            status = answer_show(reply, line);
        }
        json_decref(reply);
    }
    free(line);
    fclose(f);
    if (status < 0) {
        error_set(err, "weft ended before it answered");
    }
    return status < 0 ? 1 : status;
}

int verb_placement(int argc, char **argv)
{
    struct error err = {0};
    char request[4096] = "";
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help(stdout);
        return 0;
    }
    if (argc < 3) {
        help(stderr);
        return 1;
    }
    for (int i = 2; i < argc; i++) {
        size_t n = strlen(request);
        snprintf(request + n, sizeof(request) - n, "%s%s", n > 0 ? " " : "", argv[i]);
    }
    for (char *c = request; *c != 0; c++) {
        *c = *c == '\n' ? ';' : *c; /* statements of several lines */
    }
    int fd = connect_to(argv[1], &err);
    int status = fd >= 0 ? ask(fd, request, &err) : 1;
    if (err.set) {
        error_report(&err);
    }
    return status;
}
