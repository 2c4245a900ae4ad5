/* weft placement: talks to a running weft about where its threads and pages are. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/control.h"
#include "cli/options.h"
#include "cli/verbs.h"

static void help(FILE *out)
{
    fprintf(
        out,
        "Usage: weft placement SOCKET show | set POLICY | verify [exact] | traffic | rebalance [traffic] |\n"
        "       stop | cont\n\n"
        "Asks the weft that was started with --control SOCKET.\n\n"
        "  show            the plan\n"
        "  set POLICY      a new plan, as for --place; threads are bound again, pages moved while the guest runs\n"
        "  verify [exact]  reads back where threads and pages are, sampled or every page\n"
        "  traffic         the accesses counted so far, between guest nodes, and the share that was local\n"
        "  rebalance       brings what has drifted back to the plan; traffic: makes the plan anew from the accesses\n"
        "                  that were counted, then moves what is not there\n"
        "  stop, cont      the harts rest, on all ranks, and go on; the guest does not see the time between\n\n"
        "Ctrl-C while pages move ends the move; the new policy stays for pages touched later.\n");
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
    char *line = NULL;
    json_t *reply = control_ask(argv[1], request, progress_show, &line, &err);
    int status = reply ? answer_show(reply, line) : 1;
    json_decref(reply);
    free(line);
    if (err.set) {
        error_report(&err);
    }
    return status;
}
