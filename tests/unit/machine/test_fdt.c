/*
 * The FDT of `virt` against QEMU's for the same options: every node and property of QEMU's that concerns what this
 * machine has must be there with the same value. Phandles are compared by the node they point to.
 * Arguments: the weft binary. Skips (77) without qemu-system-riscv64.
 */
#include <libfdt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failures;
static const char *line_now;

static void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "FAIL [%s]: ", line_now);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    failures++;
}

static void *load(const char *path)
{
    FILE *f = fopen(path, "rb");
    void *buf = malloc(1 << 20);
    size_t n = f ? fread(buf, 1, 1 << 20, f) : 0;
    if (f) {
        fclose(f);
    }
    if (n == 0 || fdt_check_full(buf, n) != 0) {
        free(buf);
        return NULL;
    }
    return buf;
}

static void *dump(const char *command, const char *options, const char *dir)
{
    char shell[4096], path[256];
    snprintf(path, sizeof(path), "%s/x.dtb", dir);
    unlink(path);
    snprintf(shell, sizeof(shell), command, path, options);
    if (system(shell) != 0) {
        return NULL;
    }
    return load(path);
}

static bool has_prefix(const char *s, const char *const *list)
{
    for (; *list; list++) {
        if (strncmp(s, *list, strlen(*list)) == 0) {
            return true;
        }
    }
    return false;
}

/* Devices that this machine does not have, and the topology, which it describes more precisely. */
static bool ignored_node(const char *name)
{
    static const char *const list[] = {"pmu", "fw-cfg@", "flash@", "platform-bus@", "pci@", "cpu-map", NULL};
    return has_prefix(name, list);
}

/* What differs on purpose (the ISA, the name), by version (ndev), or at random. */
static bool ignored_property(const char *name)
{
    static const char *const list[] = {"riscv,isa", "mmu-type", "model",           "riscv,ndev",   "rng-seed",
                                       "phandle",   "riscv,cb", "clock-frequency", "dma-coherent", NULL};
    return has_prefix(name, list);
}

static uint32_t cell(const void *p, int i)
{
    return fdt32_to_cpu(((const fdt32_t *)p)[i]);
}

static bool same_target(const void *q, uint32_t pq, const void *w, uint32_t pw)
{
    char a[256], b[256];
    int nq = fdt_node_offset_by_phandle(q, pq), nw = fdt_node_offset_by_phandle(w, pw);
    return nq >= 0 && nw >= 0 && fdt_get_path(q, nq, a, sizeof(a)) == 0 && fdt_get_path(w, nw, b, sizeof(b)) == 0 &&
           strcmp(a, b) == 0;
}

/* Cells at multiples of `stride` are phandles (0: none). */
static int phandle_stride(const char *name)
{
    static const struct {
        const char *name;
        int stride;
    } list[] = {{"interrupts-extended", 2}, {"interrupt-parent", 1}, {"regmap", 1},          {"msi-parent", 1},
                {"riscv,children", 1},      {"riscv,delegate", 3},   {"riscv,delegation", 3}};
    for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        if (strcmp(name, list[i].name) == 0) {
            return list[i].stride;
        }
    }
    return 0;
}

static bool same_value(const void *q, const void *vq, const void *w, const void *vw, int len, const char *name)
{
    int stride = phandle_stride(name);
    if (stride == 0) {
        return memcmp(vq, vw, (size_t)len) == 0;
    }
    for (int i = 0; i < len / 4; i++) {
        bool same = i % stride == 0 ? same_target(q, cell(vq, i), w, cell(vw, i)) : cell(vq, i) == cell(vw, i);
        if (!same) {
            return false;
        }
    }
    return true;
}

static void compare_node(const void *q, int nq, const void *w, int nw, const char *path)
{
    int p, sub;
    fdt_for_each_property_offset(p, q, nq)
    {
        const char *name;
        int len, wlen;
        const void *vq = fdt_getprop_by_offset(q, p, &name, &len);
        if (ignored_property(name)) {
            continue;
        }
        const void *vw = fdt_getprop(w, nw, name, &wlen);
        if (!vw) {
            fail("%s: no property %s", path, name);
        } else if (wlen != len || !same_value(q, vq, w, vw, len, name)) {
            fail("%s: property %s differs", path, name);
        }
    }
    fdt_for_each_subnode(sub, q, nq)
    {
        const char *name = fdt_get_name(q, sub, NULL);
        char child[256];
        if (ignored_node(name)) {
            continue;
        }
        snprintf(child, sizeof(child), "%s/%s", strcmp(path, "/") ? path : "", name);
        int there = fdt_subnode_offset(w, nw, name);
        if (there < 0) {
            fail("%s: no such node", child);
        } else {
            compare_node(q, sub, w, there, child);
        }
    }
}

#define TWO_NODES                                                                                                      \
    "-m 1G -object memory-backend-ram,id=m0,size=512M -object memory-backend-ram,id=m1,size=512M -numa "               \
    "node,nodeid=0,cpus=0-1,memdev=m0 -numa node,nodeid=1,cpus=2-3,memdev=m1 "

static void against_qemu(const char *weft, const char *dir)
{
    static const struct {
        const char *machine, *options;
    } lines[] = {
        {"virt", "-m 256M"},
        {"virt", "-m 3G -smp 8"},
        {"virt,aclint=on", "-m 1G -smp 4"},
        {"virt", "-smp 4,sockets=2,cores=2 " TWO_NODES},
        {"virt", "-smp 4,sockets=2,cores=2 " TWO_NODES "-numa dist,src=0,dst=1,val=21"},
        {"virt,aclint=on", "-smp 4,sockets=2,cores=2 " TWO_NODES},
        {"virt,aia=aplic", "-smp 3 -m 256M"},
        {"virt,aia=aplic", "-smp 4,sockets=2,cores=2 " TWO_NODES},
        {"virt,aia=aplic-imsic", "-smp 1 -m 256M"},
        {"virt,aia=aplic-imsic", "-smp 5 -m 256M"},
        {"virt,aia=aplic-imsic", "-smp 4,sockets=2,cores=2 " TWO_NODES},
    };
    for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char text[1024], command[2048];
        snprintf(text, sizeof(text), "-machine %s %s", lines[i].machine, lines[i].options);
        line_now = text;
        snprintf(command, sizeof(command), "qemu-system-riscv64 -nographic -machine %s,dumpdtb=%%s %%s 2>/dev/null",
                 lines[i].machine);
        void *q = dump(command, lines[i].options, dir);
        snprintf(command, sizeof(command), "'%s' run -nographic -bios none -machine %s,dumpdtb=%%s %%s", weft,
                 lines[i].machine);
        void *w = dump(command, lines[i].options, dir);
        if (!q || !w) {
            fail("no tree from %s", q ? "weft" : "QEMU");
        } else {
            compare_node(q, 0, w, 0, "/");
        }
        free(q);
        free(w);
    }
}

/* ---- what QEMU does not tell ---- */

static const char *string_at(const void *t, const char *path, const char *name)
{
    int node = fdt_path_offset(t, path), len;
    const char *s = node >= 0 ? fdt_getprop(t, node, name, &len) : NULL;
    return s ? s : "(absent)";
}

static void *own(const char *weft, const char *options, const char *dir)
{
    char command[2048];
    line_now = options;
    snprintf(command, sizeof(command), "'%s' run -nographic -machine virt,dumpdtb=%%s %%s", weft);
    void *t = dump(command, options, dir);
    if (!t) {
        fail("no tree");
        exit(1);
    }
    return t;
}

static void topology(const char *weft, const char *dir)
{
    void *t = own(weft, "-m 256M -smp 16,sockets=2,dies=1,clusters=2,cores=2,threads=2", dir);
    for (unsigned hart = 0; hart < 16; hart++) {
        char path[256];
        int len;
        snprintf(path, sizeof(path), "/cpus/cpu-map/socket%u/cluster%u/core%u/thread%u", hart / 8, hart / 4 % 2,
                 hart / 2 % 2, hart % 2);
        int node = fdt_path_offset(t, path);
        const fdt32_t *cpu = node >= 0 ? fdt_getprop(t, node, "cpu", &len) : NULL;
        int target = cpu ? fdt_node_offset_by_phandle(t, fdt32_to_cpu(*cpu)) : -1;
        const fdt32_t *reg = target >= 0 ? fdt_getprop(t, target, "reg", &len) : NULL;
        if (!reg || fdt32_to_cpu(*reg) != hart) {
            fail("%s does not lead to hart %u", path, hart);
        }
    }
    free(t);
    /* More nodes than the map of interrupt controllers has room for: one for all. */
    char options[2048] = "-m 640M -smp 10";
    for (unsigned n = 0; n < 10; n++) {
        char one[64];
        snprintf(one, sizeof(one), " -numa node,nodeid=%u,cpus=%u,mem=64M", n, n);
        strcat(options, one);
    }
    t = own(weft, options, dir);
    if (fdt_path_offset(t, "/soc/plic@c000000") < 0 || fdt_path_offset(t, "/soc/plic@c600000") >= 0) {
        fail("ten nodes: one PLIC expected");
    }
    if (fdt_path_offset(t, "/memory@a4000000") < 0) {
        fail("ten nodes: the last one's memory is missing");
    }
    free(t);
}

static void extensions(const char *weft, const char *dir)
{
    void *t = own(weft, "-m 256M -cpu rv64,zba=off,svadu=off,sv57=off,sstc=on", dir);
    const char *isa = string_at(t, "/cpus/cpu@0", "riscv,isa");
    int len;
    const char *list = fdt_getprop(t, fdt_path_offset(t, "/cpus/cpu@0"), "riscv,isa-extensions", &len);
    if (strncmp(isa, "rv64imafdc_", 11) || !strstr(isa, "_sstc") || strstr(isa, "zba") || strstr(isa, "svadu")) {
        fail("riscv,isa is %s", isa);
    }
    if (!list || !fdt_stringlist_contains(list, len, "sstc") || !fdt_stringlist_contains(list, len, "m") ||
        fdt_stringlist_contains(list, len, "zba")) {
        fail("riscv,isa-extensions does not follow -cpu");
    }
    if (strcmp(string_at(t, "/cpus/cpu@0", "mmu-type"), "riscv,sv48")) {
        fail("mmu-type is %s", string_at(t, "/cpus/cpu@0", "mmu-type"));
    }
    free(t);
}

static void chosen(const char *weft, const char *dir)
{
    char options[512], command[512];
    snprintf(options, sizeof(options), "-m 256M -smp 2 -kernel '%s' -append 'one two'", weft);
    void *t = own(weft, options, dir);
    if (strcmp(string_at(t, "/chosen", "bootargs"), "one two") ||
        strcmp(string_at(t, "/aliases", "serial0"), "/soc/serial@10000000")) {
        fail("bootargs or aliases are wrong");
    }
    free(t);
    /* The compiler's own checks; its warnings about QEMU's conventions are not errors. */
    snprintf(command, sizeof(command), "dtc -q -I dtb -O dtb -o /dev/null %s/x.dtb", dir);
    if (system("command -v dtc >/dev/null") == 0 && system(command) != 0) {
        fail("dtc rejects the tree");
    }
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/weft-fdt-XXXXXX", path[256];
    if (argc < 2 || !mkdtemp(dir)) {
        return 1;
    }
    topology(argv[1], dir);
    extensions(argv[1], dir);
    chosen(argv[1], dir);
    bool have_qemu = system("command -v qemu-system-riscv64 >/dev/null") == 0;
    if (have_qemu) {
        against_qemu(argv[1], dir);
    }
    snprintf(path, sizeof(path), "%s/x.dtb", dir);
    unlink(path);
    rmdir(dir);
    return failures ? 1 : have_qemu ? 0 : 77;
}
