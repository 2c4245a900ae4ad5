/* Where measured matrices are kept. A damaged or foreign file counts as none. */
#include "placement/probe.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
