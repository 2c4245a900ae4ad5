/*
 * --place: a policy with options, or statements in the words of libvirt (vcpupin, emulatorpin, iothreadpin, memnode)
 * and QEMU (host-nodes, policy), in a file or inline.
 */
#include "placement/internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const statements_help =
    "vcpu N CPUS, node N POLICY NODES, node N thp on|off, emulator CPUS, iothread N CPUS, default POLICY";

static int policy_by_name(const char *name)
{
    for (int i = PLACE_MATCH; i < PLACE_EXPLICIT; i++) {
        if (strcmp(name, place_policy_name((enum place_policy)i)) == 0) {
            return i;
        }
    }
    return -1;
}

static bool on_off(const char *value, bool *out)
{
    *out = strcmp(value, "on") == 0;
    return *out || strcmp(value, "off") == 0;
}

static bool option_parse(struct place_options *opt, const char *key, const char *value, struct error *err)
{
    if (strcmp(key, "bind") == 0) {
        static const char *const name[] = {"pu", "core", "node"};
        for (int i = 0; i < 3; i++) {
            if (strcmp(value, name[i]) == 0) {
                opt->grain = (enum place_grain)i;
                return true;
            }
        }
        return error_set(err, "--place: bind=%s is not known; use bind=core, bind=pu or bind=node", value);
    }
    if (strcmp(key, "search") == 0) {
        opt->heuristic = strcmp(value, "heuristic") == 0;
        return opt->heuristic || strcmp(value, "exact") == 0 ||
               error_set(err, "--place: search=%s is not known; use search=exact or search=heuristic", value);
    }
    struct {
        const char *key;
        bool *out;
    } flag[] = {{"smt", &opt->smt}, {"overcommit", &opt->overcommit}, {"distinct", &opt->distinct}, {"thp", &opt->thp}};
    for (unsigned i = 0; i < sizeof(flag) / sizeof(flag[0]); i++) {
        if (strcmp(key, flag[i].key) == 0) {
            opt->has_thp = opt->has_thp || flag[i].out == &opt->thp;
            return on_off(value, flag[i].out) ||
                   error_set(err, "--place: %s=%s is neither on nor off; write %s=on or %s=off", key, value, key, key);
        }
    }
    return error_set(
        err,
        "--place: option %s is not known; the options are bind=core|pu|node, smt=on|off, overcommit=on|off, "
        "distinct=on|off, thp=on|off and search=exact|heuristic",
        key);
}

/* "POLICY[,key=value...]"; text is changed. */
static bool policy_parse(struct place_options *opt, char *text, struct error *err)
{
    char *save, *word = strtok_r(text, ",", &save);
    int policy = word != NULL ? policy_by_name(word) : -1;
    if (policy < 0) {
        return error_set(err,
                         "--place %s: neither a policy (match, pack, spread, interleave, none), nor a file that can be "
                         "read, nor statements such as \"vcpu 0 0-3; node 0 bind 1\"",
                         word != NULL ? word : "");
    }
    opt->policy = (enum place_policy)policy;
    while ((word = strtok_r(NULL, ",", &save)) != NULL) {
        char *eq = strchr(word, '=');
        if (eq == NULL) {
            return error_set(err, "--place: option %s has no value; write it as %s=on", word, word);
        }
        *eq = 0;
        if (!option_parse(opt, word, eq + 1, err)) {
            return false;
        }
    }
    return true;
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

struct statement {
    struct place_options *opt;
    const char *where; /* the file's name, or "--place" */
    unsigned line;
    struct error *err;
};

static bool cpus_parse(const struct statement *s, const char *text, struct bitmap *out)
{
    if (text == NULL || !bitmap_parse(out, text, BITMAP_BITS) || bitmap_count(out) == 0) {
        return error_set(s->err, "%s, statement %u: \"%s\" is not a list of CPUs; write for example 0-3,^2", s->where,
                         s->line, text != NULL ? text : "");
    }
    return true;
}

static bool numbers_parse(const struct statement *s, const char *what, const char *text, unsigned limit,
                          struct bitmap *out)
{
    if (text == NULL || !bitmap_parse(out, text, limit) || bitmap_count(out) == 0) {
        return error_set(s->err, "%s, statement %u: \"%s\" is not a %s number or a list of them below %u", s->where,
                         s->line, text != NULL ? text : "", what, limit);
    }
    return true;
}

static bool vcpu_statement(const struct statement *s, char **word)
{
    struct bitmap which, cpus;
    if (!numbers_parse(s, "vCPU", word[1], WEFT_MAX_HARTS, &which) || !cpus_parse(s, word[2], &cpus)) {
        return false;
    }
    bitmap_for_each(v, &which)
    {
        s->opt->explicit_->has_vcpu[v] = true;
        s->opt->explicit_->vcpu[v] = cpus;
    }
    return true;
}

static bool iothread_statement(const struct statement *s, char **word)
{
    struct bitmap which, cpus;
    if (!numbers_parse(s, "iothread", word[1], PLACE_MAX_IOTHREADS, &which) || !cpus_parse(s, word[2], &cpus)) {
        return false;
    }
    bitmap_for_each(i, &which)
    {
        s->opt->explicit_->has_iothread[i] = true;
        s->opt->explicit_->iothread[i] = cpus;
    }
    return true;
}

static bool emulator_statement(const struct statement *s, char **word)
{
    s->opt->explicit_->has_emulator = true;
    return cpus_parse(s, word[1], &s->opt->explicit_->emulator);
}

/* "node 0-1 thp on": beside a memory policy, not instead of one. */
static bool node_thp_statement(const struct statement *s, const struct bitmap *which, const char *value)
{
    bool on;
    if (value == NULL || !on_off(value, &on)) {
        return error_set(s->err, "%s, statement %u: thp \"%s\" is neither on nor off; write node 0 thp on", s->where,
                         s->line, value != NULL ? value : "");
    }
    bitmap_for_each(n, which)
    {
        s->opt->explicit_->has_thp[n] = true;
        s->opt->explicit_->thp[n] = on;
    }
    return true;
}

static bool node_statement(const struct statement *s, char **word)
{
    static const struct {
        const char *name;
        enum place_mem_policy policy;
    } known[] = {{"bind", PMEM_BIND},
                 {"strict", PMEM_BIND},
                 {"preferred", PMEM_PREFERRED},
                 {"interleave", PMEM_INTERLEAVE},
                 {"restrictive", PMEM_RESTRICTIVE},
                 {"default", PMEM_DEFAULT}};
    struct bitmap which, nodes = {0};
    if (!numbers_parse(s, "guest node", word[1], WEFT_MAX_NODES, &which)) {
        return false;
    }
    if (word[2] != NULL && strcmp(word[2], "thp") == 0) {
        return node_thp_statement(s, &which, word[3]);
    }
    for (unsigned k = 0; k < sizeof(known) / sizeof(known[0]); k++) {
        if (word[2] == NULL || strcmp(word[2], known[k].name) != 0) {
            continue;
        }
        if (known[k].policy != PMEM_DEFAULT && !numbers_parse(s, "host node", word[3], PLACE_MAX_HOST_NODES, &nodes)) {
            return false;
        }
        bitmap_for_each(n, &which)
        {
            s->opt->explicit_->has_mem[n] = true;
            s->opt->explicit_->mem_policy[n] = known[k].policy;
            s->opt->explicit_->mem[n] = nodes;
        }
        return true;
    }
    return error_set(
        s->err,
        "%s, statement %u: memory policy \"%s\" is not known; use bind, preferred, interleave, restrictive, "
        "default, or thp on|off",
        s->where, s->line, word[2] != NULL ? word[2] : "");
}

static bool default_statement(const struct statement *s, char **word)
{
    struct place_options rest = *s->opt;
    if (word[1] == NULL || !policy_parse(&rest, word[1], s->err)) {
        return s->err->set
                   ? false
                   : error_set(s->err, "%s, statement %u: default needs a policy such as spread", s->where, s->line);
    }
    rest.base_policy = rest.policy;
    rest.policy = PLACE_EXPLICIT;
    *s->opt = rest;
    return true;
}

static bool statement_run(const struct statement *s, char *text)
{
    static const struct {
        const char *name, *alias;
        bool (*run)(const struct statement *s, char **word);
        unsigned words;
    } known[] = {{"vcpu", "vcpupin", vcpu_statement, 3},
                 {"node", "memnode", node_statement, 4},
                 {"emulator", "emulatorpin", emulator_statement, 2},
                 {"iothread", "iothreadpin", iothread_statement, 3},
                 {"default", "default", default_statement, 2}};
    char *word[6] = {NULL}, *save, *w = strtok_r(text, " \t\r", &save);
    unsigned n = 0;
    for (; w != NULL && n < 5; w = strtok_r(NULL, " \t\r", &save)) {
        word[n++] = w;
    }
    for (unsigned k = 0; n > 0 && k < sizeof(known) / sizeof(known[0]); k++) {
        if (strcmp(word[0], known[k].name) == 0 || strcmp(word[0], known[k].alias) == 0) {
            if (n > known[k].words) {
                return error_set(s->err, "%s, statement %u: \"%s\" is too much after %s; separate statements by ';'",
                                 s->where, s->line, word[known[k].words], word[0]);
            }
            return known[k].run(s, word);
        }
    }
    return n == 0 || error_set(s->err, "%s, statement %u: \"%s\" is not known; the statements are %s", s->where,
                               s->line, word[0], statements_help);
}

bool place_explicit_parse(struct place_options *opt, const char *text, const char *where, struct error *err)
{
    char *copy = strdup(text);
    struct statement s = {.opt = opt, .where = where, .err = err};
    bool ok = copy != NULL || error_set(err, "out of memory while reading %s", where);
    opt->policy = PLACE_EXPLICIT;
    opt->explicit_ = calloc(1, sizeof(*opt->explicit_));
    ok = ok && (opt->explicit_ != NULL || error_set(err, "out of memory while reading %s", where));
    char *at = copy;
    while (ok && at != NULL) {
        char *end = at + strcspn(at, ";\n"), *next = *end != 0 ? end + 1 : NULL;
        *end = 0;
        char *comment = strchr(at, '#');
        if (comment != NULL) {
            *comment = 0;
        }
        s.line++;
        ok = statement_run(&s, at);
        at = next;
    }
    free(copy);
    return ok;
}

/* ---- a plan as weft plan --json wrote it ------------------------------------------------------------------------- */

static bool json_entry(char *out, size_t size, const json_t *entry)
{
    const char *kind = json_string_value(json_object_get(entry, "kind"));
    const char *pus = json_string_value(json_object_get(entry, "pus"));
    int index = (int)json_integer_value(json_object_get(entry, "index"));
    if (kind == NULL || pus == NULL || !json_is_true(json_object_get(entry, "bound"))) {
        return false;
    }
    if (strcmp(kind, "vcpu") == 0 || strcmp(kind, "iothread") == 0) {
        snprintf(out, size, "%s %d %s", kind, index, pus);
    } else if (strcmp(kind, "main") == 0) {
        snprintf(out, size, "emulator %s", pus);
    } else {
        return false;
    }
    return true;
}

static bool plan_json_parse(struct place_options *opt, const char *text, const char *where, struct error *err)
{
    json_error_t je;
    json_t *root = json_loads(text, 0, &je), *entry;
    size_t i;
    if (root == NULL) {
        return error_set(err, "--place %s: line %d: %s; give a plan as `weft plan --json` prints it", where, je.line,
                         je.text);
    }
    char *all = NULL, line[512];
    size_t len = 0;
    FILE *out = open_memstream(&all, &len);
    json_array_foreach(json_object_get(root, "threads"), i, entry)
    {
        if (json_entry(line, sizeof(line), entry)) {
            fprintf(out, "%s\n", line);
        }
    }
    json_array_foreach(json_object_get(root, "nodes"), i, entry)
    {
        const char *policy = json_string_value(json_object_get(entry, "policy"));
        const char *nodes = json_string_value(json_object_get(entry, "host_nodes"));
        const char *thp = json_string_value(json_object_get(entry, "thp"));
        if (thp != NULL && strcmp(thp, "host") != 0) {
            fprintf(out, "node %d thp %s\n", (int)json_integer_value(json_object_get(entry, "guest_node")), thp);
        }
        if (policy != NULL && nodes != NULL && nodes[0] != 0) {
            fprintf(out, "node %d %s %s\n", (int)json_integer_value(json_object_get(entry, "guest_node")), policy,
                    nodes);
        }
    }
    fclose(out);
    json_decref(root);
    bool ok =
        len > 0
            ? place_explicit_parse(opt, all, where, err)
            : error_set(err, "--place %s: it holds no threads or nodes; give a plan as `weft plan --json` prints it",
                        where);
    free(all);
    return ok;
}

static bool file_parse(struct place_options *opt, const char *path, struct error *err)
{
    enum { MOST = 1 << 20 };
    char *text = malloc(MOST);
    int n = text != NULL ? sysfs_text_read(path, text, MOST) : -ENOMEM;
    bool ok = n >= 0 || error_set_errno(err, -n, "--place %s", path);
    if (ok) {
        const char *at = text;
        while (isspace((unsigned char)*at)) {
            at++;
        }
        ok = *at == '{' ? plan_json_parse(opt, text, path, err) : place_explicit_parse(opt, text, path, err);
    }
    free(text);
    return ok;
}

bool place_options_parse(struct place_options *opt, const char *text, struct error *err)
{
    memset(opt, 0, sizeof(*opt));
    opt->grain = GRAIN_CORE;
    opt->base_policy = PLACE_NONE;
    if (text == NULL || text[0] == 0) {
        opt->policy = PLACE_SPREAD;
        opt->grain = GRAIN_NODE;
        opt->overcommit = true;
        return true;
    }
    char first[64];
    size_t n = strcspn(text, ", ;=");
    snprintf(first, sizeof(first), "%.*s", (int)(n < sizeof(first) ? n : sizeof(first) - 1), text);
    bool ok;
    if (policy_by_name(first) < 0 && access(text, R_OK) == 0) {
        ok = file_parse(opt, text, err);
    } else if (policy_by_name(first) < 0 && strpbrk(text, " ;") != NULL) {
        ok = place_explicit_parse(opt, text, "--place", err);
    } else {
        char *copy = strdup(text);
        ok = copy != NULL && policy_parse(opt, copy, err);
        free(copy);
    }
    if (!ok) {
        place_options_fini(opt);
    }
    return ok;
}

void place_options_fini(struct place_options *opt)
{
    free(opt->explicit_);
    opt->explicit_ = NULL;
}
