/* weft top: a live view of a running guest's threads and memory on the host's nodes. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/top.h"
#include "cli/verbs.h"

struct top_request {
    pid_t pid;
    double interval; /* seconds */
    unsigned count;  /* samples to show; 0 = until told to end */
    unsigned metrics_port;
    bool json, text;
};

static void help(FILE *out)
{
    fprintf(out,
            "Usage: weft top [PID] [options]\n\n"
            "Shows the threads and the memory of a running weft on this host's nodes. A guest started with --control\n"
            "or --proof also tells which guest node's pages are where.\n\n"
            "  -d SECONDS      between two looks (default 2)\n"
            "  -n COUNT        end after so many\n"
            "  -b              plain text instead of a screen (as top -b)\n"
            "  --json          a JSON object a line instead of a screen\n"
            "  --metrics PORT  serve http://127.0.0.1:PORT/metrics for Prometheus instead of a screen\n"
            "  --help          this page\n\n"
            "Keys: q ends, arrows and page keys scroll.\n");
}

static bool request_parse(int argc, char **argv, struct top_request *r, struct error *err)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        char *end = NULL;
        if (strcmp(argv[i], "-d") == 0) {
            r->interval = strtod(value, &end);
            if (end == value || *end != 0 || !(r->interval >= 0.05 && r->interval <= 3600)) {
                return error_set(err, "weft top -d %s: give seconds from 0.05 to 3600", value);
            }
            i++;
        } else if (strcmp(argv[i], "-n") == 0 || strcmp(argv[i], "--metrics") == 0) {
            unsigned long n = strtoul(value, &end, 10);
            if (end == value || *end != 0 || n == 0 || n > 65535) {
                return error_set(err, "weft top %s %s: give a number from 1 to 65535", argv[i], value);
            }
            *(argv[i][1] == 'n' ? &r->count : &r->metrics_port) = (unsigned)n;
            i++;
        } else if (strcmp(argv[i], "-b") == 0) {
            r->text = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            r->json = true;
        } else {
            long pid = strtol(argv[i], &end, 10);
            if (end == argv[i] || *end != 0 || pid <= 0) {
                return error_set(err, "weft top %s: neither an option nor a process id; see weft top --help", argv[i]);
            }
            r->pid = (pid_t)pid;
        }
    }
    return true;
}

static bool process_choose(struct top_request *r, struct error *err)
{
    pid_t pids[16];
    if (r->pid != 0) {
        return true;
    }
    unsigned n = watch_find(pids, 16);
    if (n == 0) {
        return error_set(err, "no weft runs a guest here; start one with weft run, or name a process id");
    }
    if (n > 1) {
        char list[160] = "";
        for (unsigned i = 0; i < n && i < 16; i++) {
            size_t at = strlen(list);
            snprintf(list + at, sizeof(list) - at, "%s%d", i > 0 ? ", " : "", pids[i]);
        }
        return error_set(err, "%u wefts run here (process ids %s); say which one: weft top PID", n, list);
    }
    r->pid = pids[0];
    return true;
}

/* ---- the loop ------------------------------------------------------------------------------------------------------
 */

static bool look(const struct top_request *r, struct host_shape *host, const struct watch_sample *old,
                 const struct watch_sample *now, unsigned *scroll, bool *end)
{
    host_shape_refresh(host);
    char *text = r->json ? top_json(host, old, now) : top_text(host, old, now);
    bool more = true;
    if (r->json || r->text) {
        fputs(text, stdout);
        fputc('\n', stdout);
        fflush(stdout);
        usleep((useconds_t)(*end ? 0 : r->interval * 1e6));
    } else {
        screen_draw(text, *scroll);
        more = screen_wait(r->interval, text, scroll);
    }
    free(text);
    return more;
}

static bool run(const struct top_request *r, struct host_shape *host, struct error *err)
{
    struct watch_sample old = {0}, now = {0};
    unsigned scroll = 0, shown = 0;
    bool ok = watch_sample(r->pid, &old, err), more = ok;
    if (more) {
        usleep(200000); /* rates need two looks; the first pair is a short one */
    }
    while (more && (r->count == 0 || shown < r->count)) {
        watch_sample_fini(&now);
        more = watch_sample(r->pid, &now, err);
        if (!more) {
            ok = shown > 0; /* that the guest ends is no mistake of ours */
            break;
        }
        shown++;
        bool last = r->count > 0 && shown == r->count;
        more = look(r, host, &old, &now, &scroll, &last);
        struct watch_sample t = old;
        old = now;
        now = t;
    }
    watch_sample_fini(&old);
    watch_sample_fini(&now);
    return ok;
}

int verb_top(int argc, char **argv)
{
    struct error err = {0};
    struct top_request r = {.interval = 2};
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help(stdout);
        return 0;
    }
    struct host_shape *host = NULL;
    bool ok = request_parse(argc, argv, &r, &err) && process_choose(&r, &err);
    host = ok ? host_shape_load(NULL, 0, &err) : NULL;
    ok = host != NULL;
    if (ok && r.metrics_port != 0) {
        ok = top_serve(host, r.pid, r.metrics_port, r.count, &err);
    } else if (ok) {
        bool screen = !r.json && !r.text;
        ok = (!screen || screen_begin(&err)) && run(&r, host, &err);
        if (screen) {
            screen_end();
        }
        if (ok && err.set) {
            fprintf(stderr, "weft top: %s\n", err.text);
            err.set = false;
        }
    }
    if (err.set) {
        error_report(&err);
    }
    host_shape_destroy(&host);
    return ok ? 0 : 1;
}
