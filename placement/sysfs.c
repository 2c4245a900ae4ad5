/* What hwloc does not tell about this machine's nodes: memory that is available now, hugepage pools, real CPU lists. */
#include "placement/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int sysfs_text_read(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    size_t n = 0;
    while (n + 1 < size) {
        ssize_t r = read(fd, buf + n, size - 1 - n);
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r <= 0) {
            break;
        }
        n += (size_t)r;
    }
    close(fd);
    while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == ' ')) {
        n--;
    }
    buf[n] = 0;
    return (int)n;
}

static uint64_t meminfo_bytes(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at == NULL ? 0 : strtoull(at + strlen(key), NULL, 10) * 1024;
}

void sysfs_node_read(unsigned os_index, struct sysfs_node *out)
{
    char path[96], text[4096];
    memset(out, 0, sizeof(*out));
    snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/cpulist", os_index);
    if (sysfs_text_read(path, text, sizeof(text)) >= 0) {
        out->exists = true;
        out->has_cpulist = text[0] == 0 || bitmap_parse(&out->pus, text, BITMAP_BITS);
    }
    snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", os_index);
    if (sysfs_text_read(path, text, sizeof(text)) >= 0) {
        out->total = meminfo_bytes(text, "MemTotal:");
        /* Clean page cache and reclaimable slabs make way for the guest; shared memory does not. */
        uint64_t file = meminfo_bytes(text, "FilePages:"), held = meminfo_bytes(text, "Shmem:");
        held += meminfo_bytes(text, "Dirty:");
        out->available = meminfo_bytes(text, "MemFree:") + meminfo_bytes(text, "SReclaimable:");
        out->available += file > held ? file - held : 0;
    }
}

static uint64_t number_read(const char *dir, const char *entry, const char *leaf)
{
    char path[512], text[64];
    snprintf(path, sizeof(path), "%s/%s/%s", dir, entry, leaf);
    return sysfs_text_read(path, text, sizeof(text)) < 0 ? 0 : strtoull(text, NULL, 10);
}

static int by_size(const void *a, const void *b)
{
    const struct host_page_size *x = a, *y = b;
    return x->size < y->size ? -1 : x->size > y->size;
}

void sysfs_hugepages_read(struct host_node *node)
{
    char dir[96];
    snprintf(dir, sizeof(dir), "/sys/devices/system/node/node%u/hugepages", node->os_index);
    node->num_page_sizes = 0;
    DIR *d = opendir(dir);
    if (d == NULL) {
        return;
    }
    for (struct dirent *e; (e = readdir(d)) != NULL && node->num_page_sizes < PLACE_MAX_PAGE_SIZES;) {
        unsigned long long kb;
        if (sscanf(e->d_name, "hugepages-%llukB", &kb) != 1) {
            continue;
        }
        struct host_page_size *ps = &node->page_size[node->num_page_sizes++];
        ps->size = kb * 1024;
        ps->total = number_read(dir, e->d_name, "nr_hugepages");
        ps->free = number_read(dir, e->d_name, "free_hugepages");
    }
    closedir(d);
    qsort(node->page_size, node->num_page_sizes, sizeof(node->page_size[0]), by_size);
}

uint64_t fnv1a(uint64_t h, const void *data, size_t len)
{
    const uint8_t *b = data;
    for (size_t i = 0; i < len; i++) {
        h = (h ^ b[i]) * 1099511628211ull;
    }
    return h;
}

void host_shape_refresh(struct host_shape *host)
{
    for (unsigned i = 0; i < host->num_nodes; i++) {
        struct host_node *n = &host->node[i];
        if (!host->host[n->host].this_system) {
            continue;
        }
        struct sysfs_node now;
        sysfs_node_read(n->os_index, &now);
        n->free = now.available;
        n->have_free = now.exists;
        sysfs_hugepages_read(n);
    }
}
