/* A walk over a flattened device tree (devicetree specification 0.4, chapter 5). */
#include "bare.h"

enum { FDT_MAGIC = 0xd00dfeed, FDT_BEGIN_NODE = 1, FDT_END_NODE, FDT_PROP, FDT_NOP, FDT_END = 9, PATH_MAX = 256 };

uint32_t fdt_u32(const void *p)
{
    const uint8_t *b = p;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

uint64_t fdt_u64(const void *p)
{
    return (uint64_t)fdt_u32(p) << 32 | fdt_u32((const uint8_t *)p + 4);
}

static unsigned length(const char *s)
{
    unsigned n = 0;
    while (s[n]) {
        n++;
    }
    return n;
}

static unsigned aligned(unsigned n)
{
    return (n + 3) & ~3u;
}

/* Appends "/name" to path; returns the new length. The root's name is empty. */
static unsigned enter(char *path, unsigned len, const char *name)
{
    if (!*name) {
        return len;
    }
    path[len++] = '/';
    for (; *name && len < PATH_MAX - 1; name++) {
        path[len++] = *name;
    }
    path[len] = 0;
    return len;
}

static unsigned leave(char *path, unsigned len)
{
    while (len && path[len] != '/') {
        len--;
    }
    path[len] = 0;
    return len;
}

void fdt_visit(const void *fdt, fdt_visitor *visit, void *opaque)
{
    const uint8_t *base = fdt;
    char path[PATH_MAX] = "";
    unsigned len = 0;
    if (!fdt || fdt_u32(base) != FDT_MAGIC) {
        return;
    }
    const char *strings = (const char *)base + fdt_u32(base + 12);
    for (const uint8_t *p = base + fdt_u32(base + 8);;) {
        uint32_t token = fdt_u32(p);
        p += 4;
        switch (token) {
        case FDT_BEGIN_NODE:
            len = enter(path, len, (const char *)p);
            p += aligned(length((const char *)p) + 1);
            break;
        case FDT_END_NODE:
            len = leave(path, len);
            break;
        case FDT_PROP:
            visit(opaque, path, strings + fdt_u32(p + 4), p + 8, fdt_u32(p));
            p += 8 + aligned(fdt_u32(p));
            break;
        case FDT_NOP:
            break;
        default:
            return;
        }
    }
}

struct text_out {
    char *out;
    unsigned size;
};

static bool same(const char *a, const char *b)
{
    return length(a) == length(b) && memcmp(a, b, length(a)) == 0;
}

static void take_bootargs(void *opaque, const char *path, const char *name, const void *value, unsigned size)
{
    struct text_out *t = opaque;
    if (same(path, "/chosen") && same(name, "bootargs") && size) {
        unsigned n = size < t->size ? size : t->size;
        memcpy(t->out, value, n);
        t->out[n - 1] = 0;
    }
}

void fdt_bootargs(const void *fdt, char *out, unsigned size)
{
    struct text_out t = {out, size};
    out[0] = 0;
    fdt_visit(fdt, take_bootargs, &t);
}
