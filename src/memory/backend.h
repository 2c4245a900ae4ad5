/* Maps one memory backend into the guest's reservation. Start-up only, one thread. */
#ifndef WEFT_MEMORY_BACKEND_H
#define WEFT_MEMORY_BACKEND_H

#include "weft/config.h"
#include "weft/error.h"

/* Size of the backend's pages: the host's page size, or a huge page size (hugetlbfs, memfd with hugetlb). False with a
 * sentence when mem-path cannot be looked at. `backend` NULL is plain anonymous memory. */
bool backend_page_size(const struct mem_backend *backend, uint64_t *size, struct error *err);

/* Maps `size` bytes of the backend at `at` (MAP_FIXED, inside a reservation of the caller's), untouched. */
bool backend_map(const struct mem_backend *backend, unsigned node, void *at, uint64_t size, struct error *err);

#endif
