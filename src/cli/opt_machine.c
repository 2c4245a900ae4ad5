/* -smp, -m, -machine, -accel, -icount, --time-dilation, -bios. */
#include <inttypes.h>
#include <string.h>

#include "cli/options.h"

const char *const aia_names[] = {"none", "aplic", "aplic-imsic", NULL};
const char *const tier_names[] = {"auto", "interp", "t1", NULL};

enum { DEFAULT_MEM_MIB = 128, MAX_ICOUNT_SHIFT = 10, AUTO_ICOUNT_SHIFT = 3, MAX_TB_MIB = 2048 };
#define MAX_MEM (1ull << 46) /* a host process has 47 bits of addresses, and needs some for itself */

bool opt_smp(struct parse *p, const char *value, struct error *err)
{
    static const char *const keys[] = {"cpus",     "maxcpus", "drawers", "books",   "sockets", "dies",
                                       "clusters", "modules", "cores",   "threads", NULL};
    static const struct kv_rules rules = {.implied = "cpus", .keys = keys};
    if (!kv_parse(&p->kv, "-smp", value, &rules, err)) {
        return false;
    }
    unsigned *const out[] = {&p->smp.cpus,
                             &p->smp.maxcpus,
                             &p->smp.level[LEVEL_DRAWER],
                             &p->smp.level[LEVEL_BOOK],
                             &p->smp.level[LEVEL_SOCKET],
                             &p->smp.level[LEVEL_DIE],
                             &p->smp.level[LEVEL_CLUSTER],
                             &p->smp.level[LEVEL_MODULE],
                             &p->smp.level[LEVEL_CORE],
                             &p->smp.level[LEVEL_THREAD]};
    for (unsigned i = 0; keys[i]; i++) {
        if (!kv_unsigned(&p->kv, keys[i], 1, WEFT_MAX_HARTS, out[i], err)) {
            return false;
        }
    }
    return true;
}

bool opt_memory(struct parse *p, const char *value, struct error *err)
{
    static const char *const keys[] = {"size", "slots", "maxmem", NULL};
    static const struct kv_rules rules = {.implied = "size", .keys = keys};
    if (!kv_parse(&p->kv, "-m", value, &rules, err) || !kv_size(&p->kv, "size", 1 << 20, &p->cfg->mem_size, err)) {
        return false;
    }
    if (kv_get(&p->kv, "slots") || kv_get(&p->kv, "maxmem")) {
        return error_set(err, "-m %.100s: memory cannot be plugged in later; leave slots= and maxmem= out", value);
    }
    uint64_t size = p->cfg->mem_size;
    if (size == 0 || size % 4096 != 0) {
        return error_set(err, "-m %.100s: memory comes in pages; give a multiple of 4K above 0", value);
    }
    if (size > MAX_MEM) {
        return error_set(err, "-m %.100s: a process cannot map that much; give at most 64T", value);
    }
    p->mem_given = true;
    return true;
}

/* "on"/"off" switches of QEMU's machine that have one possible value here. */
static bool only_value(const struct kv *kv, const char *key, bool wanted, struct error *err)
{
    bool v = wanted;
    const char *text = kv_get(kv, key);
    if (text && strcmp(text, "auto") == 0) {
        return true;
    }
    if (!kv_bool(kv, key, &v, err)) {
        return false;
    }
    return v == wanted ||
           error_set(err, "-machine %s=%s: the riscv64 virt machine has no such thing yet; leave it out or say %s=%s",
                     key, text, key, wanted ? "on" : "off");
}

bool opt_machine(struct parse *p, const char *value, struct error *err)
{
    static const char *const keys[] = {"type",           "dumpdtb", "aia",       "aclint",    "hmat",
                                       "memory-backend", "accel",   "graphics",  "mem-merge", "dump-guest-core",
                                       "acpi",           "usb",     "iommu-sys", NULL};
    static const char *const types[] = {"virt", NULL};
    static const struct kv_rules rules = {.implied = "type", .keys = keys};
    struct machine_config *c = p->cfg;
    int type = 0, aia = (int)c->aia;
    bool hmat = c->hmat, ignored;
    if (!kv_parse(&p->kv, "-machine", value, &rules, err) || !kv_enum(&p->kv, "type", types, &type, err) ||
        !kv_enum(&p->kv, "aia", aia_names, &aia, err) || !kv_bool(&p->kv, "aclint", &c->aclint, err) ||
        !kv_bool(&p->kv, "hmat", &hmat, err) || !kv_bool(&p->kv, "mem-merge", &ignored, err) ||
        !kv_bool(&p->kv, "dump-guest-core", &ignored, err) || !only_value(&p->kv, "graphics", false, err) ||
        !only_value(&p->kv, "acpi", false, err) || !only_value(&p->kv, "usb", false, err) ||
        !only_value(&p->kv, "iommu-sys", false, err) ||
        !kv_string(&p->kv, "dumpdtb", c->dumpdtb, sizeof(c->dumpdtb), err) ||
        !kv_string(&p->kv, "memory-backend", p->machine_backend, sizeof(p->machine_backend), err)) {
        return false;
    }
    c->aia = (enum aia_kind)aia;
    c->hmat = hmat;
    p->hmat_off = kv_get(&p->kv, "hmat") ? !hmat : p->hmat_off;
    if (kv_get(&p->kv, "dumpdtb") && !c->dumpdtb[0]) {
        return error_set(err, "-machine dumpdtb=: the file name is empty; write dumpdtb=FILE");
    }
    const char *accel = kv_get(&p->kv, "accel");
    if (accel && strcmp(accel, "tcg") != 0) {
        return error_set(err, "-machine accel=%.100s: a riscv64 guest runs under tcg; say accel=tcg or leave it out",
                         accel);
    }
    return true;
}

bool opt_accel(struct parse *p, const char *value, struct error *err)
{
    static const char *const keys[] = {"accel", "thread", "tier", "tb-size", "split-wx", "one-insn-per-tb", NULL};
    static const char *const accels[] = {"tcg", NULL};
    static const char *const threads[] = {"multi", "single", NULL};
    static const struct kv_rules rules = {.implied = "accel", .keys = keys};
    struct machine_config *c = p->cfg;
    int accel = 0, thread = (int)c->thread, tier = (int)c->tier;
    bool split = true, one = false;
    if (!kv_parse(&p->kv, "-accel", value, &rules, err)) {
        return false;
    }
    const char *name = kv_get(&p->kv, "accel");
    if (name && strcmp(name, "kvm") == 0) {
        return error_set(err, "-accel kvm: this host cannot run riscv64 code itself; use -accel tcg");
    }
    if (!kv_need(&p->kv, "accel", "tcg", err) || !kv_enum(&p->kv, "accel", accels, &accel, err) ||
        !kv_enum(&p->kv, "thread", threads, &thread, err) || !kv_enum(&p->kv, "tier", tier_names, &tier, err) ||
        !kv_unsigned(&p->kv, "tb-size", 1, MAX_TB_MIB, &c->tb_size_mib, err) ||
        !kv_bool(&p->kv, "split-wx", &split, err) || !kv_bool(&p->kv, "one-insn-per-tb", &one, err)) {
        return false;
    }
    if (!split) {
        return error_set(err, "-accel tcg,split-wx=off: generated code is never writable where it runs; leave it out");
    }
    if (one) {
        return error_set(err, "-accel tcg,one-insn-per-tb=on: blocks cannot be cut so short; use tier=interp to step");
    }
    c->thread_given = c->thread_given || kv_get(&p->kv, "thread");
    c->thread = (enum accel_thread)thread;
    c->tier = (enum tcg_tier)tier;
    return true;
}

bool opt_icount(struct parse *p, const char *value, struct error *err)
{
    static const char *const keys[] = {"shift", "align", "sleep", "rr", "rrfile", "rrsnapshot", NULL};
    static const struct kv_rules rules = {.implied = "shift", .keys = keys};
    struct machine_config *c = p->cfg;
    bool align = false;
    if (!kv_parse(&p->kv, "-icount", value, &rules, err) || !kv_bool(&p->kv, "align", &align, err) ||
        !kv_bool(&p->kv, "sleep", &c->icount_sleep, err)) {
        return false;
    }
    const char *shift = kv_get(&p->kv, "shift");
    if (shift && strcmp(shift, "auto") == 0) {
        c->icount_shift = AUTO_ICOUNT_SHIFT;
        if (!c->icount_sleep) {
            return error_set(err, "-icount shift=auto,sleep=off: these exclude each other; give a number for shift");
        }
    } else {
        unsigned v = (unsigned)c->icount_shift;
        if (!kv_unsigned(&p->kv, "shift", 0, MAX_ICOUNT_SHIFT, &v, err)) {
            return false;
        }
        c->icount_shift = (int)v;
    }
    if (align) {
        return error_set(err, "-icount align=on: guest time is not held back to the host's; leave align out");
    }
    if (kv_get(&p->kv, "rr") || kv_get(&p->kv, "rrfile") || kv_get(&p->kv, "rrsnapshot")) {
        return error_set(err, "-icount %.100s: input is not recorded or replayed; leave rr, rrfile and rrsnapshot out",
                         value);
    }
    c->icount = true;
    return true;
}

bool opt_dilation(struct parse *p, const char *value, struct error *err)
{
    if (!kv_parse_decimal(value, 1, TIME_DILATION_MAX, &p->cfg->time_dilation)) {
        return error_set(err,
                         "--time-dilation %.32s: a guest second takes a whole number of host seconds; give one from 1 "
                         "to %d",
                         value, TIME_DILATION_MAX);
    }
    return true;
}

bool opt_bios(struct parse *p, const char *value, struct error *err)
{
    struct machine_config *c = p->cfg;
    c->bios[0] = '\0';
    if (strcmp(value, "builtin") == 0 || strcmp(value, "default") == 0) {
        c->bios_kind = BIOS_BUILTIN;
    } else if (strcmp(value, "none") == 0) {
        c->bios_kind = BIOS_NONE;
    } else if (strlen(value) >= sizeof(c->bios) || *value == '\0') {
        return error_set(err, "-bios %.100s: that is no file name; give builtin, none or a FILE", value);
    } else {
        c->bios_kind = BIOS_FILE;
        strcpy(c->bios, value);
    }
    return true;
}

/* -machine memory-backend=ID: the backend of a machine without -numa. */
static bool finish_backend(struct parse *p, struct error *err)
{
    struct machine_config *c = p->cfg;
    c->node[0].backend = -1;
    if (!p->machine_backend[0]) {
        return true;
    }
    for (unsigned i = 0; i < c->num_backends; i++) {
        if (strcmp(c->backend[i].id, p->machine_backend) != 0) {
            continue;
        }
        if (!p->mem_given) {
            c->mem_size = c->backend[i].size;
        }
        if (c->backend[i].size != c->mem_size) {
            return error_set(
                err, "-machine memory-backend=%s: it has %" PRIu64 " bytes and -m has %" PRIu64 "; make them equal",
                p->machine_backend, c->backend[i].size, c->mem_size);
        }
        c->node[0].backend = (int)i;
        return true;
    }
    return error_set(err,
                     "-machine memory-backend=%s: there is no such backend; add -object "
                     "memory-backend-ram,id=%s,size=...",
                     p->machine_backend, p->machine_backend);
}

bool finish_machine(struct parse *p, struct error *err)
{
    struct machine_config *c = p->cfg;
    const struct smp_request none = {0};
    if (memcmp(&p->smp, &none, sizeof(none)) == 0) {
        p->smp.cpus = 1;
    }
    if (!shape_smp_complete(&p->smp, &c->smp, err)) {
        return false;
    }
    if (!p->mem_given) {
        c->mem_size = (uint64_t)DEFAULT_MEM_MIB << 20;
    }
    if (c->icount && c->thread_given && c->thread == ACCEL_THREAD_MULTI) {
        return error_set(err,
                         "-icount with -accel tcg,thread=multi: counted time needs one thread; say thread=single or "
                         "leave -icount out");
    }
    if (c->icount && c->time_dilation > 1) {
        return error_set(err,
                         "--time-dilation %u with -icount: counted time follows the instructions and not the host's "
                         "clock; leave one of them out",
                         c->time_dilation);
    }
    if (c->icount) {
        c->thread = ACCEL_THREAD_SINGLE;
    }
    if (c->start_paused && !c->place_control[0] && c->ranks <= 1) {
        return error_set(err, "-S: there is nobody to start the harts later; say --control FILE too, and then weft "
                              "placement FILE cont");
    }
    if ((c->initrd[0] || c->append[0]) && !c->kernel[0]) {
        return error_set(err, "-%s %.100s: that goes to a kernel and there is none; add -kernel FILE",
                         c->initrd[0] ? "initrd" : "append", c->initrd[0] ? c->initrd : c->append);
    }
    if (c->dtb[0] && c->dumpdtb[0]) {
        return error_set(err, "-machine dumpdtb=%.100s with -dtb %.100s: the tree is yours already; leave one out",
                         c->dumpdtb, c->dtb);
    }
    return finish_backend(p, err);
}

void list_machine(FILE *out)
{
    fprintf(out, "Machines of -machine (-M):\n"
                 "  virt    riscv64, memory map and devices as QEMU's virt (the default)\n"
                 "Keys: dumpdtb=FILE, aia=none|aplic|aplic-imsic, aclint=on|off, hmat=on|off, memory-backend=ID\n");
}

void list_accel(FILE *out)
{
    fprintf(out, "Accelerators of -accel:\n"
                 "  tcg     translates riscv64 code to host code\n"
                 "Keys: thread=multi|single, tier=auto|interp|t1, tb-size=MIB\n");
}
