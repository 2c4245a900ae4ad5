/* weft probe: measures what this host's NUMA nodes cost each other; plans prefer it over HMAT and SLIT. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/verbs.h"
#include "weft/placement.h"

struct probe_request {
    struct probe_options opt;
    const char *out;
    bool json;
};

static void help(FILE *out)
{
    fprintf(out,
            "Usage: weft probe [options]\n\n"
            "Measures the latency and bandwidth from each node's CPUs to each node's memory, idle and under load, and\n"
            "what a cache line costs from core to core. The result is kept by topology, and weft plan and weft run\n"
            "prefer it over what the firmware says.\n\n"
            "  --seconds S   for one measurement (default 0.1)\n"
            "  --size MIB    of each buffer (default: four times the largest cache)\n"
            "  --no-cores    leave out core to core\n"
            "  -o FILE       write there instead of into the cache\n"
            "  --json        print in JSON\n"
            "  --help        this page\n");
}

static bool number(const char *option, const char *value, double least, double most, double *out, struct error *err)
{
    char *end = NULL;
    *out = value != NULL ? strtod(value, &end) : 0;
    if (value == NULL || end == value || *end != 0 || !(*out >= least && *out <= most)) {
        return error_set(err, "%s %s: give a number from %g to %g", option, value != NULL ? value : "", least, most);
    }
    return true;
}

static bool request_parse(int argc, char **argv, struct probe_request *r, struct error *err)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        double n;
        if (strcmp(argv[i], "--seconds") == 0) {
            if (!number(argv[i++], value, 0.001, 60, &r->opt.seconds, err)) {
                return false;
            }
        } else if (strcmp(argv[i], "--size") == 0) {
            if (!number(argv[i++], value, 1, 65536, &n, err)) {
                return false;
            }
            r->opt.bytes = (uint64_t)(n * (1 << 20));
        } else if (strcmp(argv[i], "--no-cores") == 0) {
            r->opt.no_cores = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            r->json = true;
        } else if (strcmp(argv[i], "-o") == 0 && value != NULL) {
            r->out = argv[++i];
        } else {
            return error_set(
                err, "weft probe %s: there is no such option, or its value is missing; see weft probe --help", argv[i]);
        }
    }
    return true;
}

static bool progress(void *arg, unsigned done, unsigned total, const char *what)
{
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r\033[K%3u %%  %s", total > 0 ? done * 100 / total : 100, what);
    }
    return true;
}

static void matrix_print(const char *title, const double *m, const struct host_shape *h)
{
    unsigned n = h->num_nodes;
    printf("\n%s\n%9s", title, "P#");
    for (unsigned t = 0; t < n; t++) {
        printf(" %8u", h->node[t].os_index);
    }
    putchar('\n');
    for (unsigned i = 0; i < n; i++) {
        if (h->node[i].num_pus == 0) {
            continue;
        }
        printf("%9u", h->node[i].os_index);
        for (unsigned t = 0; t < n; t++) {
            if (isnan(m[i * n + t])) {
                printf(" %8s", "-");
            } else {
                printf(" %8.*f", m[i * n + t] < 1000 ? 1 : 0, m[i * n + t]);
            }
        }
        putchar('\n');
    }
}

static void cores_print(const struct probe_result *r)
{
    unsigned show = r->cores > 8 ? 8 : r->cores;
    if (r->cores < 2 || isnan(r->core_ns[1])) {
        return;
    }
    printf("\nA cache line from core to core, ns, by CPU%s\n%9s", r->cores > show ? " (all are in the JSON)" : "",
           "P#");
    for (unsigned b = 0; b < show; b++) {
        printf(" %8u", r->core_pu[b]);
    }
    putchar('\n');
    for (unsigned a = 0; a < show; a++) {
        printf("%9u", r->core_pu[a]);
        for (unsigned b = 0; b < show; b++) {
            double ns = r->core_ns[a * r->cores + b];
            isnan(ns) ? (void)printf(" %8s", "-") : (void)printf(" %8.1f", ns);
        }
        putchar('\n');
    }
}

static bool measure(const struct probe_request *req, struct error *err)
{
    struct probe_result r;
    char written[1024];
    struct host_shape *host = host_shape_load(NULL, 0, err);
    if (host == NULL) {
        return false;
    }
    bool ok = placement_probe(host, &req->opt, progress, NULL, &r, err);
    if (isatty(STDERR_FILENO)) {
        fputs("\r\033[K", stderr);
    }
    if (ok) {
        ok = probe_save(&r, req->out, written, sizeof(written), err);
        if (req->json) {
            char *text = probe_to_json(&r);
            puts(text);
            free(text);
        } else {
            printf("Host %s, topology %s; rows: the node whose CPUs access, columns: the node of the memory\n",
                   r.host_name, r.hash);
            matrix_print("Latency of a load, ns, idle", r.latency_ns, host);
            matrix_print("The same while the node's other CPUs stream", r.loaded_ns, host);
            matrix_print("Reading, MB/s, all CPUs of the node", r.read_mbs, host);
            matrix_print("Writing, MB/s, all CPUs of the node", r.write_mbs, host);
            cores_print(&r);
            if (ok) {
                printf("\nWritten to %s\n", written);
            }
        }
        probe_result_fini(&r);
    }
    host_shape_destroy(&host);
    return ok;
}

int verb_probe(int argc, char **argv)
{
    struct error err = {0};
    struct probe_request r = {.json = false};
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help(stdout);
        return 0;
    }
    bool ok = request_parse(argc, argv, &r, &err) && measure(&r, &err);
    if (err.set) {
        error_report(&err);
    }
    return ok ? 0 : 1;
}
