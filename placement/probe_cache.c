/* Where measured matrices are kept. A damaged or foreign file counts as none. */
#include "placement/probe.h"

#include <jansson.h>
#include <stdio.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "weft/placement.h"

void probe_cache_path(const char *hash, char *buf, size_t size)
{
    const char *dir = getenv("WEFT_PROBE_DIR"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (dir != NULL && dir[0] != 0) {
        snprintf(buf, size, "%s/probe-%s.json", dir, hash);
    } else if (cache != NULL && cache[0] != 0) {
        snprintf(buf, size, "%s/weft/probe-%s.json", cache, hash);
    } else {
        snprintf(buf, size, "%s/.cache/weft/probe-%s.json", home != NULL ? home : "/root", hash);
    }
}

static bool matrix_read(const json_t *m, unsigned n, double *out)
{
    if (!json_is_array(m) || json_array_size(m) != n) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        const json_t *row = json_array_get(m, i);
        if (!json_is_array(row) || json_array_size(row) != n) {
            return false;
        }
        for (unsigned j = 0; j < n; j++) {
            double v = json_number_value(json_array_get(row, j));
            if (v > 0) {
                out[i * n + j] = v;
            }
        }
    }
    return true;
}

bool probe_cache_load(const char *hash, unsigned n, double *latency_ns, double *bandwidth_mbs)
{
    char path[1024];
    probe_cache_path(hash, path, sizeof(path));
    json_t *root = json_load_file(path, 0, NULL);
    const char *of = json_string_value(json_object_get(root, "topology_hash"));
    bool ok = of != NULL && strcmp(of, hash) == 0 && matrix_read(json_object_get(root, "latency_ns"), n, latency_ns);
    if (ok) {
        matrix_read(json_object_get(root, "read_mbs"), n, bandwidth_mbs);
    }
    json_decref(root);
    return ok;
}

static json_t *matrix_json(const double *m, unsigned n)
{
    json_t *rows = json_array();
    for (unsigned i = 0; i < n; i++) {
        json_t *row = json_array();
        for (unsigned j = 0; j < n; j++) {
            double v = m[i * n + j];
            json_array_append_new(row, isnan(v) ? json_null() : json_real(round(v * 100) / 100));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

char *probe_to_json(const struct probe_result *r)
{
    json_t *pus = json_array();
    for (unsigned i = 0; i < r->cores; i++) {
        json_array_append_new(pus, json_integer(r->core_pu[i]));
    }
    json_t *root = json_pack(
        "{s:i, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "weft_probe", 1, "host", r->host_name, "topology_hash",
        r->hash, "time", r->time, "latency_ns", matrix_json(r->latency_ns, r->nodes), "loaded_latency_ns",
        matrix_json(r->loaded_ns, r->nodes), "read_mbs", matrix_json(r->read_mbs, r->nodes), "write_mbs",
        matrix_json(r->write_mbs, r->nodes), "core_pus", pus, "core_to_core_ns", matrix_json(r->core_ns, r->cores));
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    json_decref(root);
    return text;
}

/* Makes the folders a file is to be in, as mkdir -p does. */
static void folders_make(const char *path)
{
    char part[1024];
    for (const char *at = strchr(path + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(at - path), path);
        mkdir(part, 0777);
    }
}

bool probe_save(const struct probe_result *r, const char *path, char *written, size_t size, struct error *err)
{
    char beside[1100];
    if (path != NULL) {
        snprintf(written, size, "%s", path);
    } else {
        probe_cache_path(r->hash, written, size);
        folders_make(written);
    }
    snprintf(beside, sizeof(beside), "%s.new", written);
    char *text = probe_to_json(r);
    FILE *f = fopen(beside, "w");
    bool ok = f != NULL && text != NULL && fputs(text, f) >= 0 && fputc('\n', f) != EOF;
    if (f != NULL) {
        ok = fclose(f) == 0 && ok;
    }
    ok = ok && rename(beside, written) == 0;
    free(text);
    return ok ||
           error_set_errno(err, errno, "weft probe: %s cannot be written; set WEFT_PROBE_DIR or use -o FILE", written);
}
