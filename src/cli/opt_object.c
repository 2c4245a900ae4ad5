/* -object memory-backend-ram|file|memfd and rng-*, in the list form and in the JSON form. */
#include <ctype.h>
#include <string.h>

#include "cli/options.h"

const char *const backend_names[] = {"memory-backend-ram", "memory-backend-file", "memory-backend-memfd", NULL};
const char *const policy_names[] = {"default", "preferred", "bind", "interleave", NULL};

/* QEMU's rule for ids: a letter, then letters, digits, '-', '.', '_'. */
static bool id_ok(const char *id)
{
    if (!isalpha((unsigned char)*id)) {
        return false;
    }
    for (; *id; id++) {
        if (!isalnum((unsigned char)*id) && !strchr("-._", *id)) {
            return false;
        }
    }
    return true;
}

static bool id_taken(const struct parse *p, const char *id)
{
    for (unsigned i = 0; i < p->cfg->num_backends; i++) {
        if (strcmp(p->cfg->backend[i].id, id) == 0) {
            return true;
        }
    }
    for (unsigned i = 0; i < p->num_rngs; i++) {
        if (strcmp(p->rng[i], id) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_id(struct parse *p, char *id, size_t size, struct error *err)
{
    if (!kv_need(&p->kv, "id", "NAME", err) || !kv_string(&p->kv, "id", id, size, err)) {
        return false;
    }
    if (!id_ok(id)) {
        return error_set(err,
                         "-object %s,id=%s: a name begins with a letter and goes on with letters, digits, '-', '.' or "
                         "'_'; choose another",
                         p->kv.type, id);
    }
    return !id_taken(p, id) ||
           error_set(err, "-object %s,id=%s: another object has that name; choose another", p->kv.type, id);
}

/* The rules between a backend's keys (QEMU's backends/hostmem.c has the same). */
static bool check_backend(const struct mem_backend *b, const struct kv *kv, struct error *err)
{
    const char *type = backend_names[b->kind];
    unsigned host_nodes = bitmap_count(&b->host_nodes);
    if (b->size == 0 || b->size % 4096 != 0) {
        return error_set(err, "-object %s,id=%s,size=%s: memory comes in pages; give a multiple of 4K above 0", type,
                         b->id, kv_get(kv, "size"));
    }
    if (b->policy == MEM_POLICY_DEFAULT && host_nodes > 0) {
        return error_set(err,
                         "-object %s,id=%s,host-nodes=%s: without a policy they mean nothing; add policy=bind, "
                         "preferred or interleave",
                         type, b->id, kv_get(kv, "host-nodes"));
    }
    if (b->policy != MEM_POLICY_DEFAULT && host_nodes == 0) {
        return error_set(err, "-object %s,id=%s,policy=%s: it does not say where; add host-nodes=0 or the like", type,
                         b->id, policy_names[b->policy]);
    }
    if (b->prealloc && !b->reserve) {
        return error_set(err, "-object %s,id=%s,prealloc=on,reserve=off: these exclude each other; leave one out", type,
                         b->id);
    }
    if (kv_get(kv, "hugetlbsize") && !b->hugetlb) {
        return error_set(err, "-object %s,id=%s,hugetlbsize=%s: that needs huge pages; add hugetlb=on", type, b->id,
                         kv_get(kv, "hugetlbsize"));
    }
    if (b->hugetlb_size & (b->hugetlb_size - 1) || (b->hugetlb_size && b->size % b->hugetlb_size)) {
        return error_set(err,
                         "-object %s,id=%s,hugetlbsize=%s: it is a power of two that divides size=%s; give 2M or 1G",
                         type, b->id, kv_get(kv, "hugetlbsize"), kv_get(kv, "size"));
    }
    return true;
}

static bool read_backend(struct parse *p, struct mem_backend *b, struct error *err)
{
    int policy = MEM_POLICY_DEFAULT;
    bool ignored;
    if (!kv_need(&p->kv, "size", "1G", err) || !kv_size(&p->kv, "size", 1, &b->size, err) ||
        !kv_bitmap(&p->kv, "host-nodes", BITMAP_BITS, &b->host_nodes, err) ||
        !kv_enum(&p->kv, "policy", policy_names, &policy, err) || !kv_bool(&p->kv, "prealloc", &b->prealloc, err) ||
        !kv_unsigned(&p->kv, "prealloc-threads", 1, 256, &b->prealloc_threads, err) ||
        !kv_bool(&p->kv, "share", &b->share, err) || !kv_bool(&p->kv, "merge", &b->merge, err) ||
        !kv_bool(&p->kv, "dump", &b->dump, err) || !kv_bool(&p->kv, "reserve", &b->reserve, err) ||
        !kv_string(&p->kv, "mem-path", b->mem_path, sizeof(b->mem_path), err) ||
        !kv_bool(&p->kv, "hugetlb", &b->hugetlb, err) || !kv_bool(&p->kv, "seal", &ignored, err) ||
        !kv_size(&p->kv, "hugetlbsize", 1, &b->hugetlb_size, err)) {
        return false;
    }
    b->policy = (enum mem_policy)policy;
    if (b->kind == BACKEND_FILE && !kv_need(&p->kv, "mem-path", "FILE", err)) {
        return false;
    }
    return check_backend(b, &p->kv, err);
}

static bool add_backend(struct parse *p, enum backend_kind kind, struct error *err)
{
    static const char *const keys[][20] = {
        [BACKEND_RAM] = {"qom-type", "id", "size", "host-nodes", "policy", "prealloc", "prealloc-threads", "share",
                         "merge", "dump", "reserve", NULL},
        [BACKEND_FILE] = {"qom-type", "id", "size", "host-nodes", "policy", "prealloc", "prealloc-threads", "share",
                          "merge", "dump", "reserve", "mem-path", NULL},
        [BACKEND_MEMFD] = {"qom-type", "id", "size", "host-nodes", "policy", "prealloc", "prealloc-threads", "share",
                           "merge", "dump", "reserve", "hugetlb", "hugetlbsize", "seal", NULL},
    };
    struct machine_config *c = p->cfg;
    struct mem_backend b = {.kind = kind, .merge = true, .dump = true, .reserve = true, .share = kind == BACKEND_MEMFD};
    if (!kv_check_keys(&p->kv, keys[kind], err) || !read_id(p, b.id, sizeof(b.id), err) || !read_backend(p, &b, err)) {
        return false;
    }
    if (c->num_backends == WEFT_MAX_BACKENDS) {
        return error_set(err, "-object %s,id=%s: there may be %d backends; leave some out", p->kv.type, b.id,
                         WEFT_MAX_BACKENDS);
    }
    c->backend[c->num_backends++] = b;
    return true;
}

/* The guest's entropy always comes from the host kernel, which is what these two objects ask for. */
static bool add_rng(struct parse *p, bool has_file, struct error *err)
{
    static const char *const keys[] = {"qom-type", "id", NULL}, *const file_keys[] = {"qom-type", "id", "filename",
                                                                                      NULL};
    char id[64];
    if (!kv_check_keys(&p->kv, has_file ? file_keys : keys, err) || !read_id(p, id, sizeof(id), err)) {
        return false;
    }
    const char *file = kv_get(&p->kv, "filename");
    if (file && strcmp(file, "/dev/urandom") != 0 && strcmp(file, "/dev/random") != 0) {
        return error_set(
            err, "-object rng-random,filename=%.100s: entropy comes from the host's kernel; say /dev/urandom", file);
    }
    if (p->num_rngs == sizeof(p->rng) / sizeof(p->rng[0])) {
        return error_set(err, "-object %s,id=%s: there may be 8 of them; leave some out", p->kv.type, id);
    }
    strcpy(p->rng[p->num_rngs++], id);
    return true;
}

bool opt_object(struct parse *p, const char *value, struct error *err)
{
    static const struct kv_rules rules = {.implied = "qom-type"};
    static const char *const types[] = {"memory-backend-ram", "memory-backend-file", "memory-backend-memfd",
                                        "rng-random",         "rng-builtin",         NULL};
    int type = 0;
    if (*value == '{' ? !kv_parse_json(&p->kv, "-object", value, err)
                      : !kv_parse(&p->kv, "-object", value, &rules, err)) {
        return false;
    }
    if (!kv_need(&p->kv, "qom-type", "memory-backend-ram", err)) {
        return false;
    }
    p->kv.type = kv_get(&p->kv, "qom-type");
    if (!kv_enum(&p->kv, "qom-type", types, &type, err)) {
        return false;
    }
    return type <= BACKEND_MEMFD ? add_backend(p, (enum backend_kind)type, err) : add_rng(p, type == 3, err);
}

void list_object(FILE *out)
{
    fprintf(
        out,
        "Objects of -object:\n"
        "  memory-backend-ram,id=ID,size=SIZE[,host-nodes=LIST][,policy=default|preferred|bind|interleave]\n"
        "      [,prealloc=on|off][,prealloc-threads=N][,share=on|off][,merge=on|off][,dump=on|off][,reserve=on|off]\n"
        "  memory-backend-file    the same, and mem-path=FILE\n"
        "  memory-backend-memfd   the same, and hugetlb=on|off, hugetlbsize=SIZE\n"
        "  rng-random,id=ID[,filename=/dev/urandom], rng-builtin,id=ID\n"
        "or as JSON: {\"qom-type\": \"memory-backend-ram\", \"id\": \"m0\", \"size\": 1073741824, \"host-nodes\": "
        "[0]}\n");
}
