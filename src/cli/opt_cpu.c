/* -cpu rv64[,<extension>=on|off...]. */
#include <string.h>
#include <strings.h>

#include "cli/options.h"

const char *const ext_names[EXT_COUNT] = {
    [EXT_ZBA] = "zba",
    [EXT_ZBB] = "zbb",
    [EXT_ZBS] = "zbs",
    [EXT_ZICOND] = "zicond",
    [EXT_ZICBOM] = "zicbom",
    [EXT_ZICBOZ] = "zicboz",
    [EXT_SSTC] = "sstc",
    [EXT_SVINVAL] = "svinval",
    [EXT_SVNAPOT] = "svnapot",
    [EXT_SVPBMT] = "svpbmt",
    [EXT_SVADU] = "svadu",
    [EXT_SMAIA] = "smaia",
    [EXT_SSAIA] = "ssaia",
    [EXT_SV48] = "sv48",
    [EXT_SV57] = "sv57",
    [EXT_ZAWRS] = "zawrs",
    [EXT_ZIHINTPAUSE] = "zihintpause",
};

/* Always there: saying "on" is right, saying "off" is a mistake. */
static const char *const fixed_on[] = {"i",     "m",        "a",   "f",   "d",    "c",      "g",
                                       "zicsr", "zifencei", "mmu", "pmp", "sv39", "zicntr", NULL};

/* QEMU knows these and this machine does not: saying "off" is right. */
static const char *const fixed_off[] = {
    "v",       "h",      "e",      "b",     "zbc",       "zbkb",   "zbkc",      "zbkx",      "zknd",
    "zkne",    "zknh",   "zkr",    "zksed", "zksh",      "zkt",    "zfh",       "zfhmin",    "zfa",
    "zfbfmin", "zdinx",  "zfinx",  "zhinx", "zacas",     "zabha",  "zama16b",   "zca",       "zcb",
    "zcd",     "zcmp",   "zcmt",   "zmmul", "zihintntl", "zihpm",  "zicbop",    "zimop",     "zcmop",
    "zve32f",  "zve64f", "zve64d", "zvbb",  "zvfh",      "smepmp", "smstateen", "smcntrpmf", "sscofpmf",
    "svade",   "svvptc", "sm",     "ssnpm", "smnpm",     "smmpm",  NULL};

void cpu_defaults(struct machine_config *cfg)
{
    for (unsigned i = 0; i < EXT_COUNT; i++) {
        cfg->ext[i] = i != EXT_SMAIA && i != EXT_SSAIA;
    }
}

static bool in_words(const char *word, const char *const *list)
{
    for (; *list; list++) {
        if (strcasecmp(word, *list) == 0) {
            return true;
        }
    }
    return false;
}

static int find_ext(const char *name)
{
    for (int i = 0; i < EXT_COUNT; i++) {
        if (strcasecmp(name, ext_names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static bool unknown_ext(const char *name, struct error *err)
{
    const char *all[EXT_COUNT + 1];
    memcpy(all, ext_names, sizeof(ext_names));
    all[EXT_COUNT] = NULL;
    const char *near = kv_nearest(name, all);
    return near ? error_set(err, "-cpu rv64,%.64s=: there is no such extension; did you mean %s?", name, near)
                : error_set(err, "-cpu rv64,%.64s=: there is no such extension; -cpu help lists them", name);
}

static bool set_ext(struct parse *p, const char *key, struct error *err)
{
    bool on;
    if (!kv_bool(&p->kv, key, &on, err)) {
        return false;
    }
    int ext = find_ext(key);
    if (ext >= 0) {
        p->cfg->ext[ext] = on;
        p->ext_given[ext] = true;
        return true;
    }
    if (in_words(key, fixed_on)) {
        return on || error_set(err, "-cpu rv64,%s=off: this is part of every hart here; leave it out", key);
    }
    if (in_words(key, fixed_off)) {
        return !on || error_set(err, "-cpu rv64,%s=on: weft's harts do not have this extension; leave it out", key);
    }
    return unknown_ext(key, err);
}

bool opt_cpu(struct parse *p, const char *value, struct error *err)
{
    static const char *const models[] = {"rv64", "max", NULL};
    static const struct kv_rules rules = {.implied = "model"};
    size_t comma = strcspn(value, ",");
    if (value[comma] && (value[comma + 1] == '+' || value[comma + 1] == '-')) {
        const char *word = value + comma + 2;
        return error_set(err, "-cpu %.100s: +name and -name are not read; write %.*s=%s", value,
                         (int)strcspn(word, ","), word, value[comma + 1] == '+' ? "on" : "off");
    }
    int model = 0;
    cpu_defaults(p->cfg); /* the last -cpu counts, all of it */
    memset(p->ext_given, 0, sizeof(p->ext_given));
    if (!kv_parse(&p->kv, "-cpu", value, &rules, err) || !kv_need(&p->kv, "model", "rv64", err) ||
        !kv_enum(&p->kv, "model", models, &model, err)) {
        return false;
    }
    for (unsigned i = 0; i < p->kv.count; i++) {
        if (strcmp(p->kv.item[i].key, "model") != 0 && !set_ext(p, p->kv.item[i].key, err)) {
            return false;
        }
    }
    return true;
}

/* What follows from something else: wider paging from narrower, AIA's CSRs from the machine's IMSIC. */
bool finish_cpu(struct parse *p, struct error *err)
{
    bool *ext = p->cfg->ext;
    if (!ext[EXT_SV48] && ext[EXT_SV57]) {
        if (p->ext_given[EXT_SV57]) {
            return error_set(err, "-cpu rv64,sv48=off,sv57=on: Sv57 includes Sv48; say sv48=on or sv57=off");
        }
        ext[EXT_SV57] = false;
    }
    if (p->cfg->aia == AIA_APLIC_IMSIC) {
        if ((p->ext_given[EXT_SMAIA] && !ext[EXT_SMAIA]) || (p->ext_given[EXT_SSAIA] && !ext[EXT_SSAIA])) {
            return error_set(err,
                             "-cpu rv64,%s=off with -machine aia=aplic-imsic: the IMSIC is reached through it; say on "
                             "or leave it out",
                             p->ext_given[EXT_SMAIA] && !ext[EXT_SMAIA] ? "smaia" : "ssaia");
        }
        ext[EXT_SMAIA] = ext[EXT_SSAIA] = true;
    }
    return true;
}

void list_cpu(FILE *out)
{
    fprintf(out, "Models of -cpu:\n  rv64    RV64GC and the extensions below (max is the same)\n"
                 "Extensions, as NAME=on|off; (*) is on when nothing is said:\n ");
    struct machine_config cfg;
    cpu_defaults(&cfg);
    for (unsigned i = 0; i < EXT_COUNT; i++) {
        fprintf(out, " %s%s", ext_names[i], cfg.ext[i] ? "(*)" : "");
    }
    fprintf(out, "\n");
}
