#include "memory/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The default huge page size of the host, or 0 when it has none. */
static uint64_t default_huge_size(void)
{
    uint64_t kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    if (!f) {
        return 0;
    }
    char line[256];
    while (fgets(line, sizeof(line), f) && sscanf(line, "Hugepagesize: %" SCNu64 " kB", &kib) != 1) {
    }
    fclose(f);
    return kib << 10;
}

/* File system information of mem-path, or of its folder where the file is still to be made. */
static int path_statfs(const char *path, struct statfs *fs)
{
    if (statfs(path, fs) == 0) {
        return 0;
    }
    if (errno != ENOENT) {
        return -errno;
    }
    char dir[sizeof(((struct mem_backend *)0)->mem_path)];
    snprintf(dir, sizeof(dir), "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash) {
        strcpy(dir, ".");
    } else {
        slash[slash == dir] = '\0';
    }
    return statfs(dir, fs) == 0 ? 0 : -errno;
}

bool backend_page_size(const struct mem_backend *b, uint64_t *size, struct error *err)
{
    *size = (uint64_t)sysconf(_SC_PAGESIZE);
    if (b && b->kind == BACKEND_MEMFD && b->hugetlb) {
        *size = b->hugetlb_size ? b->hugetlb_size : default_huge_size();
        if (*size == 0) {
            return error_set(
                err, "memory-backend-memfd '%s': hugetlb=on, but this host has no huge pages; use hugetlb=off", b->id);
        }
    }
    if (b && b->kind == BACKEND_FILE) {
        struct statfs fs;
        int r = path_statfs(b->mem_path, &fs);
        if (r < 0) {
            return error_set_errno(err, -r,
                                   "memory-backend-file '%s': cannot look at mem-path '%s'; name a file or a "
                                   "folder that exists",
                                   b->id, b->mem_path);
        }
        if ((unsigned long)fs.f_type == HUGETLBFS_MAGIC) {
            *size = (uint64_t)fs.f_bsize;
        }
    }
    return true;
}

/* Opens what mem-path names: a file of at least `size` bytes (made and grown when new), or, in a folder, a file without
 * a name. Returns the descriptor, or -1 with a sentence. */
static int file_open(const struct mem_backend *b, uint64_t size, struct error *err)
{
    struct stat st;
    bool in_folder = stat(b->mem_path, &st) == 0 && S_ISDIR(st.st_mode);
    int fd;
    if (in_folder) {
        char name[sizeof(b->mem_path) + sizeof(b->id) + 32];
        snprintf(name, sizeof(name), "%s/weft-%s-XXXXXX", b->mem_path, b->id);
        fd = mkostemp(name, O_CLOEXEC);
        if (fd >= 0) {
            unlink(name);
        }
    } else {
        fd = open(b->mem_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    }
    if (fd < 0 || fstat(fd, &st) < 0) {
        error_set_errno(err, errno,
                        "memory-backend-file '%s': cannot open mem-path '%s'; name a file or a folder that may "
                        "be written",
                        b->id, b->mem_path);
        goto fail;
    }
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < size) {
        if (st.st_size > 0) {
            error_set(err,
                      "memory-backend-file '%s': mem-path '%s' holds %lld bytes, but size is %" PRIu64
                      "; give a size that fits or a new file",
                      b->id, b->mem_path, (long long)st.st_size, size);
            goto fail;
        }
        if (ftruncate(fd, (off_t)size) < 0) {
            error_set_errno(err, errno,
                            "memory-backend-file '%s': cannot grow mem-path '%s' to %" PRIu64
                            " bytes; free space there or ask for less",
                            b->id, b->mem_path, size);
            goto fail;
        }
    }
    return fd;
fail:
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

static int memfd_open(const struct mem_backend *b, uint64_t size, struct error *err)
{
    uint64_t page;
    if (!backend_page_size(b, &page, err)) {
        return -1;
    }
    unsigned flags = MFD_CLOEXEC;
    if (b->hugetlb) {
        flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll(page) << MAP_HUGE_SHIFT;
    }
    int fd = memfd_create(b->id, flags);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
        error_set_errno(err, errno,
                        "memory-backend-memfd '%s': cannot make %" PRIu64 " bytes of pages of %" PRIu64
                        " KiB; reserve such pages on the host or use hugetlb=off",
                        b->id, size, page >> 10);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

/* Applies merge and dump. Best effort: a kernel built without the feature has nothing to switch. */
static void advise(const struct mem_backend *b, void *at, uint64_t size)
{
    if (b->merge) {
        madvise(at, size, MADV_MERGEABLE);
    }
    if (!b->dump) {
        madvise(at, size, MADV_DONTDUMP);
    }
}

bool backend_map(const struct mem_backend *b, unsigned node, void *at, uint64_t size, struct error *err)
{
    int flags = MAP_FIXED | (b && b->share ? MAP_SHARED : MAP_PRIVATE), fd = -1;
    if (b && !b->reserve) {
        flags |= MAP_NORESERVE;
    }
    if (!b || b->kind == BACKEND_RAM) {
        flags |= MAP_ANONYMOUS;
    } else {
        fd = b->kind == BACKEND_FILE ? file_open(b, size, err) : memfd_open(b, size, err);
        if (fd < 0) {
            return false;
        }
    }
    void *p = mmap(at, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    int e = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (p == MAP_FAILED) {
        if (!b) {
            return error_set_errno(err, e,
                                   "-m: the host has no room for the %" PRIu64
                                   " MiB of node %u; ask for less, or use a memory-backend-ram with reserve=off",
                                   size >> 20, node);
        }
        return error_set_errno(err, e,
                               "-object memory backend '%s': the host cannot map its %" PRIu64
                               " MiB; ask for less, reserve huge pages, or use reserve=off",
                               b->id, size >> 20);
    }
    if (b) {
        advise(b, at, size);
    }
    return true;
}
