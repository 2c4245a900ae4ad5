/* The host's own latency and bandwidth, measured by `weft probe` and kept by topology hash. */
#ifndef PLACEMENT_PROBE_H
#define PLACEMENT_PROBE_H

#include <stdbool.h>
#include <stddef.h>

/* Reads the cached matrices [n * n] of this topology, if there are any. Unknown entries stay as they are. */
bool probe_cache_load(const char *hash, unsigned n, double *latency_ns, double *bandwidth_mbs);
/* The cache file's name: $WEFT_PROBE_DIR, $XDG_CACHE_HOME/weft or ~/.cache/weft, then probe-HASH.json. */
void probe_cache_path(const char *hash, char *buf, size_t size);

#endif
