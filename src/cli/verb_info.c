/* weft info: what the ranks of a running guest say to one another, how much and how fast. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/control.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "weft/cluster_report.h"
#include "weft/symbols.h"

struct info_request {
    const char *socket, *what, *map;
    bool json;
};

static void help(FILE *out)
{
    fprintf(out,
            "Usage: weft info SOCKET coherence | locks | ranks [--json] [--system-map FILE]\n\n"
            "Asks the guest over several ranks that was started with --control SOCKET; one rank gathers from all.\n\n"
            "  coherence          page faults by kind with their times, pages and bytes between each two ranks,\n"
            "                     prefetch, served and hot pages, interrupts, fences and device accesses\n"
            "  locks              holders, waiters, hand-offs, waits and fences of the locks between ranks\n"
            "  ranks              the ranks, their hosts, round trips and clocks\n\n"
            "  --json             all of that as one JSON object\n"
            "  --system-map FILE  names for hot pages: the System.map of the guest's kernel, or a copy of its\n"
            "                     /proc/kallsyms (weft run --system-map does it for every asker)\n");
}

static bool request_parse(int argc, char **argv, struct info_request *r, struct error *err)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            r->json = true;
        } else if (strcmp(argv[i], "--system-map") == 0) {
            if (i + 1 == argc) {
                return error_set(err, "weft info --system-map: name a file");
            }
            r->map = argv[++i];
        } else if (argv[i][0] == '-') {
            return error_set(err, "weft info %.64s: there is no such option; see weft info --help", argv[i]);
        } else if (!r->socket) {
            r->socket = argv[i];
        } else if (!r->what) {
            r->what = argv[i];
        } else {
            return error_set(err, "weft info %.64s: one thing at a time; see weft info --help", argv[i]);
        }
    }
    if (!r->what) {
        return error_set(err, "weft info: name a socket, and coherence, locks or ranks; see weft info --help");
    }
    if (strcmp(r->what, "coherence") != 0 && strcmp(r->what, "locks") != 0 && strcmp(r->what, "ranks") != 0) {
        return error_set(err, "weft info %.64s: not known; use coherence, locks or ranks", r->what);
    }
    return true;
}

/* The operator's own table of symbols goes before what the guest was started with. */
static void name_pages(json_t *reply, const struct symbols *s)
{
    uint64_t kernel_at = (uint64_t)json_integer_value(json_object_get(reply, "kernel_address"));
    json_t *rank, *page;
    size_t i, k;
    json_array_foreach(json_object_get(reply, "ranks"), i, rank)
    {
        json_array_foreach(json_object_get(rank, "hot_pages"), k, page)
        {
            char text[SYMBOLS_COLUMN];
            uint64_t at = (uint64_t)json_integer_value(json_object_get(page, "address"));
            if (symbols_describe(s, kernel_at, at, 4096, text, sizeof(text))) {
                json_object_set_new(page, "symbol", json_string(text));
                json_object_set_new(page, "holds", json_string(text));
            }
        }
    }
}

static void print_tables(const struct info_request *r, const json_t *reply)
{
    const json_t *ranks = json_object_get(reply, "ranks"), *missing = json_object_get(reply, "missing"), *rank;
    size_t i;
    if (strcmp(r->what, "coherence") == 0) {
        cluster_print_coherence(ranks, json_object_get(reply, "total"), stdout);
    } else if (strcmp(r->what, "locks") == 0) {
        cluster_print_locks(ranks, stdout);
    } else {
        cluster_print_ranks(ranks, stdout);
    }
    json_array_foreach(missing, i, rank)
    {
        printf("rank %d did not answer\n", (int)json_integer_value(rank));
    }
}

static bool ask(const struct info_request *r, struct error *err)
{
    struct symbols *symbols = r->map ? symbols_load(r->map, err) : NULL;
    if (err->set) {
        return false;
    }
    char request[80];
    snprintf(request, sizeof(request), "info %s", r->what);
    json_t *reply = control_ask(r->socket, request, NULL, NULL, err);
    const char *sentence = json_string_value(json_object_get(reply, "error"));
    if (sentence) {
        error_set(err, "%s", sentence);
    } else if (reply) {
        if (symbols) {
            name_pages(reply, symbols);
        }
        if (r->json) {
            json_dumpf(reply, stdout, JSON_COMPACT);
            putchar('\n');
        } else {
            print_tables(r, reply);
        }
    }
    json_decref(reply);
    symbols_destroy(&symbols);
    return !err->set;
}

int verb_info(int argc, char **argv)
{
    struct error err = {0};
    struct info_request r = {0};
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help(stdout);
        return 0;
    }
    if (request_parse(argc, argv, &r, &err)) {
        ask(&r, &err);
    }
    if (err.set) {
        error_report(&err);
    }
    return err.set ? 1 : 0;
}
