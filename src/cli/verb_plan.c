/* weft plan: where a guest would be placed, why, and what it would cost; also for hosts that are not here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/verbs.h"
#include "weft/placement.h"

struct plan_request {
    const char *host[PLACE_MAX_HOSTS];
    unsigned num_hosts, iothreads;
    const char *traffic, *out;
    enum placement_format format;
    bool format_given;
    int rest_argc;
    char **rest; /* [argc + 1]: what is left for the options of weft run */
};

static const char *const format_names[] = {"text", "json", "svg", "png", "libvirt", "qemu", "rankfile", NULL};

static void help(FILE *out)
{
    fprintf(out,
            "Usage: weft plan [options of weft run] [options]\n\n"
            "Shows where each thread and the memory of a guest would go, why, and what an access would cost.\n"
            "Nothing is started or bound. The guest is described as for weft run (-smp, -m, -numa, -object).\n\n"
            "  --host-topology WHAT  an lstopo XML file, or a synthetic host such as\n"
            "                        \"numa:4(memory=8GiB) core:8 pu:2\"; distances can follow, a row for each node:\n"
            "                        \"... dist=10,20/20,10\". Repeat it for several hosts. Without it: this machine.\n"
            "  --place POLICY        match, pack, spread, interleave, none (with ,bind=core|pu|node ,smt=on\n"
            "                        ,overcommit=on ,distinct=on ,search=heuristic), a file, or statements:\n"
            "                        \"vcpu 0 0-3,^2; node 0 bind 1; emulator 0; iothread 0 2; default pack\"\n"
            "                        Default here: match.\n"
            "  --traffic FILE        JSON with an access_matrix (who accesses whose memory), as a run's report has it\n"
            "  --iothreads N         plan for N iothreads\n"
            "  --format FORMAT       text, json, svg, png, libvirt, qemu, rankfile; by default from the name of -o\n"
            "  --json                the same as --format json\n"
            "  -o FILE               write there instead of to standard output\n"
            "  --help                this page\n");
}

static bool format_set(struct plan_request *r, const char *name, struct error *err)
{
    for (int i = 0; format_names[i] != NULL; i++) {
        if (strcmp(name, format_names[i]) == 0) {
            r->format = (enum placement_format)i;
            r->format_given = true;
            return true;
        }
    }
    return error_set(err, "--format %s: not known; use text, json, svg, png, libvirt, qemu or rankfile", name);
}

static bool option_take(struct plan_request *r, const char *name, const char *value, struct error *err)
{
    if (strcmp(name, "host-topology") == 0) {
        if (r->num_hosts == PLACE_MAX_HOSTS) {
            return error_set(err, "--host-topology: at most %d hosts can be planned for at once; drop some",
                             PLACE_MAX_HOSTS);
        }
        r->host[r->num_hosts++] = value;
    } else if (strcmp(name, "traffic") == 0) {
        r->traffic = value;
    } else if (strcmp(name, "iothreads") == 0) {
        char *end;
        unsigned long n = strtoul(value, &end, 10);
        if (end == value || *end != 0 || n > PLACE_MAX_IOTHREADS) {
            return error_set(err, "--iothreads %s: give a number from 0 to %d", value, PLACE_MAX_IOTHREADS);
        }
        r->iothreads = (unsigned)n;
    } else if (strcmp(name, "o") == 0) {
        r->out = value;
    } else {
        return format_set(r, value, err);
    }
    return true;
}

/* Takes this verb's own options out of the command line; the rest describes the guest. */
static bool request_parse(int argc, char **argv, struct plan_request *r, struct error *err)
{
    static const char *const own[] = {"host-topology", "traffic", "iothreads", "format", "o", NULL};
    r->rest[r->rest_argc++] = argv[0];
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i] + strspn(argv[i], "-"), *value = NULL;
        char word[32];
        size_t n = strcspn(name, "=");
        snprintf(word, sizeof(word), "%.*s", (int)(n < sizeof(word) ? n : sizeof(word) - 1), name);
        int k = 0;
        while (own[k] != NULL && (argv[i][0] != '-' || strcmp(word, own[k]) != 0)) {
            k++;
        }
        if (own[k] == NULL) {
            r->rest[r->rest_argc++] = argv[i];
            continue;
        }
        value = name[n] == '=' ? name + n + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (value == NULL) {
            return error_set(err, "%s: its value is missing; weft plan --help shows the form", argv[i]);
        }
        if (!option_take(r, own[k], value, err)) {
            return false;
        }
    }
    return true;
}

static void format_guess(struct plan_request *r)
{
    const char *dot = r->out != NULL ? strrchr(r->out, '.') : NULL;
    struct error ignored = {0};
    if (!r->format_given && dot != NULL) {
        format_set(r, strcmp(dot, ".xml") == 0 ? "libvirt" : dot + 1, &ignored);
    }
}

static bool output(const struct plan_request *r, const struct host_shape *host, const struct guest_shape *guest,
                   const struct plan *plan, struct error *err)
{
    if (r->format == PLACE_PNG && r->out == NULL && isatty(STDOUT_FILENO)) {
        return error_set(err, "--format png: a picture is not for a terminal; name a file with -o plan.png");
    }
    FILE *out = r->out != NULL ? fopen(r->out, "w") : stdout;
    if (out == NULL) {
        return error_set_errno(err, errno, "-o %s: it cannot be written; name another file", r->out);
    }
    bool ok = plan_write(host, guest, plan, r->format, out, err);
    bool written = fflush(out) == 0 && !ferror(out);
    if (out != stdout) {
        written = fclose(out) == 0 && written;
    }
    return ok && (written || error_set(err, "-o %s: writing failed; look for space on its disk",
                                       r->out != NULL ? r->out : "(standard output)"));
}

static bool plan_make(const struct plan_request *r, const struct machine_config *cfg, struct error *err)
{
    struct place_options opt;
    struct guest_shape *guest = calloc(1, sizeof(*guest));
    struct host_shape *host = NULL;
    struct plan *plan = NULL;
    if (guest == NULL) {
        return error_set(err, "there is no memory to plan with; free some and try again");
    }
    guest_shape_from_config(guest, cfg, -1);
    guest->num_iothreads = r->iothreads;
    for (unsigned i = 0; i < r->iothreads; i++) {
        snprintf(guest->iothread_name[i], sizeof(guest->iothread_name[i]), "%u", i);
    }
    bool ok = r->traffic == NULL || guest_traffic_load(guest, r->traffic, err);
    if (ok && place_options_parse(&opt, cfg->place[0] != 0 ? cfg->place : "match", err)) {
        host = guest_thp_from_options(guest, &opt, err) ? host_shape_load(r->host, r->num_hosts, err) : NULL;
        plan = host != NULL ? placement_plan(host, guest, &opt, err) : NULL;
        place_options_fini(&opt);
    }
    ok = plan != NULL && output(r, host, guest, plan, err);
    plan_destroy(&plan);
    host_shape_destroy(&host);
    free(guest);
    return ok;
}

int verb_plan(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-help") == 0 || strcmp(argv[i], "-h") == 0) {
            help(stdout);
            return 0;
        }
    }
    struct error err = {0};
    struct plan_request r = {.format = PLACE_TEXT, .rest = calloc((size_t)argc + 1, sizeof(char *))};
    struct machine_config *cfg = calloc(1, sizeof(*cfg));
    bool ok = (r.rest != NULL && cfg != NULL) || error_set(&err, "there is no memory to plan with");
    ok = ok && request_parse(argc, argv, &r, &err) && cli_parse_run(r.rest_argc, r.rest, cfg, &err);
    if (ok) {
        r.format = cfg->json ? PLACE_JSON : r.format;
        r.format_given = r.format_given || cfg->json;
        format_guess(&r);
        ok = plan_make(&r, cfg, &err);
    }
    if (err.set) {
        error_report(&err);
    }
    free(r.rest);
    free(cfg);
    return ok ? 0 : 1;
}
