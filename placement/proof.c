/* The proof as JSON, and what differs between two of them. */
#include "placement/internal.h"

#include <stdlib.h>
#include <string.h>

static json_t *set_json(const struct bitmap *set)
{
    char text[1024];
    return json_string(bitmap_format(set, text, sizeof(text)));
}

static json_t *range_json(const struct proof_range *r)
{
    json_t *on = json_object();
    for (unsigned x = 0; x < PLACE_MAX_HOST_NODES; x++) {
        if (r->on_node[x] > 0) {
            char key[16];
            snprintf(key, sizeof(key), "%u", x);
            json_object_set_new(on, key, json_integer((json_int_t)r->on_node[x]));
        }
    }
    char addr[32], first[32];
    snprintf(addr, sizeof(addr), "0x%llx", (unsigned long long)r->addr);
    snprintf(first, sizeof(first), "0x%llx", (unsigned long long)r->first_misplaced);
    json_t *o = json_pack("{s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:b, s:b, s:b}", "guest_node",
                          (int)r->guest_node, "address", addr, "bytes", (json_int_t)r->len, "page_size",
                          (json_int_t)r->page_size, "pages", (json_int_t)r->pages, "looked_at",
                          (json_int_t)r->looked_at, "present", (json_int_t)r->present, "absent", (json_int_t)r->absent,
                          "misplaced", (json_int_t)r->misplaced, "wanted_nodes", set_json(&r->wanted), "pages_on_node",
                          on, "bound", (int)r->bound, "policy_ok", (int)r->policy_ok, "ok", (int)r->ok);
    if (r->misplaced > 0) {
        json_object_set_new(o, "first_misplaced", json_string(first));
        json_object_set_new(o, "first_misplaced_on", json_integer(r->first_node));
    }
    return o;
}

json_t *proof_to_json_object(const struct proof *p)
{
    json_t *threads = json_array(), *ranges = json_array();
    for (unsigned i = 0; i < p->num_threads; i++) {
        const struct proof_thread *t = &p->thread[i];
        json_array_append_new(threads, json_pack("{s:s, s:i, s:i, s:s, s:o, s:o, s:b, s:b, s:b, s:i}", "kind",
                                                 place_kind_name(t->kind), "index", (int)t->index, "tid", (int)t->tid,
                                                 "name", t->name, "wanted_pus", set_json(&t->wanted), "found_pus",
                                                 set_json(&t->found), "bound", (int)t->bound, "gone", (int)t->gone,
                                                 "ok", (int)t->ok, "last_pu", t->last_pu));
    }
    for (unsigned i = 0; i < p->num_ranges; i++) {
        json_array_append_new(ranges, range_json(&p->range[i]));
    }
    json_t *root = json_pack("{s:i, s:s, s:s, s:s, s:s, s:i, s:b, s:I, s:I, s:o, s:o}", "weft_proof", 1, "host",
                             p->host_name, "topology_hash", p->hash, "policy", p->policy, "time", p->time, "pid",
                             (int)p->pid, "ok", (int)p->ok, "drift_threads", (json_int_t)p->drift_threads,
                             "drift_pages", (json_int_t)p->drift_pages, "threads", threads, "ranges", ranges);
    if (p->refused[0] != 0) {
        json_object_set_new(root, "refused", json_string(p->refused));
    }
    return root;
}

char *proof_to_json(const struct proof *proof)
{
    json_t *root = proof_to_json_object(proof);
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    return text;
}

static void text_get(const json_t *o, const char *key, char *out, size_t size)
{
    const char *s = json_string_value(json_object_get(o, key));
    snprintf(out, size, "%s", s != NULL ? s : "");
}

static bool set_get(const json_t *o, const char *key, struct bitmap *out)
{
    const char *s = json_string_value(json_object_get(o, key));
    bitmap_zero(out);
    return s != NULL && (s[0] == 0 || bitmap_parse(out, s, BITMAP_BITS));
}

static uint64_t number_get(const json_t *o, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(o, key));
    return v < 0 ? 0 : (uint64_t)v;
}

static bool thread_get(const json_t *o, struct proof_thread *t)
{
    const char *kind = json_string_value(json_object_get(o, "kind"));
    t->kind = PLACE_KINDS;
    for (unsigned k = 0; kind != NULL && k < PLACE_KINDS; k++) {
        t->kind = strcmp(kind, place_kind_name(k)) == 0 ? (enum place_thread_kind)k : t->kind;
    }
    text_get(o, "name", t->name, sizeof(t->name));
    t->index = (unsigned)number_get(o, "index");
    t->tid = (pid_t)number_get(o, "tid");
    t->bound = json_is_true(json_object_get(o, "bound"));
    t->gone = json_is_true(json_object_get(o, "gone"));
    t->ok = json_is_true(json_object_get(o, "ok"));
    t->last_pu = (int)json_integer_value(json_object_get(o, "last_pu"));
    return kind != NULL && set_get(o, "wanted_pus", &t->wanted) && set_get(o, "found_pus", &t->found);
}

static bool range_get(const json_t *o, struct proof_range *r)
{
    const char *key;
    json_t *v, *on = json_object_get(o, "pages_on_node");
    char first[32];
    r->guest_node = (unsigned)number_get(o, "guest_node");
    r->len = number_get(o, "bytes");
    r->page_size = number_get(o, "page_size");
    r->pages = number_get(o, "pages");
    r->looked_at = number_get(o, "looked_at");
    r->present = number_get(o, "present");
    r->absent = number_get(o, "absent");
    r->misplaced = number_get(o, "misplaced");
    r->bound = json_is_true(json_object_get(o, "bound"));
    r->ok = json_is_true(json_object_get(o, "ok"));
    r->policy_ok = json_is_true(json_object_get(o, "policy_ok"));
    r->first_node = (int)json_integer_value(json_object_get(o, "first_misplaced_on"));
    text_get(o, "first_misplaced", first, sizeof(first));
    r->first_misplaced = strtoull(first, NULL, 16);
    text_get(o, "address", first, sizeof(first));
    r->addr = strtoull(first, NULL, 16);
    json_object_foreach(on, key, v)
    {
        unsigned long x = strtoul(key, NULL, 10);
        if (x >= PLACE_MAX_HOST_NODES || !json_is_integer(v)) {
            return false;
        }
        r->on_node[x] = (uint64_t)json_integer_value(v);
    }
    return json_is_object(on) && set_get(o, "wanted_nodes", &r->wanted);
}

bool proof_from_json(struct proof *p, const char *text, struct error *err)
{
    json_error_t je;
    memset(p, 0, sizeof(*p));
    json_t *root = json_loads(text, 0, &je), *e;
    json_t *threads = json_object_get(root, "threads"), *ranges = json_object_get(root, "ranges");
    size_t i;
    if (root == NULL || number_get(root, "weft_proof") != 1 || !json_is_array(threads) || !json_is_array(ranges)) {
        error_set(err, "this is not a placement proof (%s); `weft run --verify` writes one",
                  root == NULL ? je.text : "weft_proof, threads or ranges are missing");
        json_decref(root);
        return false;
    }
    text_get(root, "host", p->host_name, sizeof(p->host_name));
    text_get(root, "topology_hash", p->hash, sizeof(p->hash));
    text_get(root, "policy", p->policy, sizeof(p->policy));
    text_get(root, "time", p->time, sizeof(p->time));
    text_get(root, "refused", p->refused, sizeof(p->refused));
    p->pid = (pid_t)number_get(root, "pid");
    p->ok = json_is_true(json_object_get(root, "ok"));
    p->drift_threads = number_get(root, "drift_threads");
    p->drift_pages = number_get(root, "drift_pages");
    p->thread = calloc(json_array_size(threads) + 1, sizeof(*p->thread));
    p->range = calloc(json_array_size(ranges) + 1, sizeof(*p->range));
    bool ok = p->thread != NULL && p->range != NULL;
    json_array_foreach(threads, i, e)
    {
        ok = ok && thread_get(e, &p->thread[p->num_threads++]);
    }
    json_array_foreach(ranges, i, e)
    {
        ok = ok && range_get(e, &p->range[p->num_ranges++]);
    }
    json_decref(root);
    if (!ok) {
        proof_fini(p);
        return error_set(err, "this placement proof is damaged: a thread or a range in it cannot be read");
    }
    return true;
}

static unsigned differ(FILE *out, const char *what, const char *a, const char *b)
{
    if (strcmp(a, b) == 0) {
        return 0;
    }
    fprintf(out, "%s: %s -> %s\n", what, a, b);
    return 1;
}

static const struct proof_thread *thread_in(const struct proof *p, const struct proof_thread *like)
{
    for (unsigned i = 0; i < p->num_threads; i++) {
        const struct proof_thread *t = &p->thread[i];
        if (t->kind == like->kind && t->index == like->index && strcmp(t->name, like->name) == 0) {
            return t;
        }
    }
    return NULL;
}

static unsigned threads_diff(FILE *out, const struct proof *a, const struct proof *b)
{
    unsigned n = 0;
    char what[96], x[1024], y[1024];
    for (unsigned i = 0; i < a->num_threads; i++) {
        const struct proof_thread *t = &a->thread[i], *u = thread_in(b, t);
        if (u == NULL) {
            fprintf(out, "thread %s: only in the first\n", t->name);
            n++;
            continue;
        }
        snprintf(what, sizeof(what), "thread %s, planned PUs P#", t->name);
        n += differ(out, what, bitmap_format(&t->wanted, x, sizeof(x)), bitmap_format(&u->wanted, y, sizeof(y)));
        snprintf(what, sizeof(what), "thread %s, found PUs P#", t->name);
        n += differ(out, what, bitmap_format(&t->found, x, sizeof(x)), bitmap_format(&u->found, y, sizeof(y)));
    }
    for (unsigned i = 0; i < b->num_threads; i++) {
        if (thread_in(a, &b->thread[i]) == NULL) {
            fprintf(out, "thread %s: only in the second\n", b->thread[i].name);
            n++;
        }
    }
    return n;
}

/* Pages of a guest node, over all its ranges, on each host node; addresses differ from run to run. */
static void node_totals(const struct proof *p, unsigned g, uint64_t *on, uint64_t *misplaced, struct bitmap *wanted)
{
    memset(on, 0, sizeof(*on) * PLACE_MAX_HOST_NODES);
    bitmap_zero(wanted);
    *misplaced = 0;
    for (unsigned i = 0; i < p->num_ranges; i++) {
        if (p->range[i].guest_node != g) {
            continue;
        }
        *wanted = p->range[i].wanted;
        *misplaced += p->range[i].misplaced;
        for (unsigned x = 0; x < PLACE_MAX_HOST_NODES; x++) {
            on[x] += p->range[i].on_node[x];
        }
    }
}

static unsigned ranges_diff(FILE *out, const struct proof *a, const struct proof *b)
{
    unsigned n = 0;
    for (unsigned g = 0; g < WEFT_MAX_NODES; g++) {
        uint64_t x[PLACE_MAX_HOST_NODES], y[PLACE_MAX_HOST_NODES], mx, my;
        struct bitmap wx, wy;
        char what[96], s[1024], t[1024];
        node_totals(a, g, x, &mx, &wx);
        node_totals(b, g, y, &my, &wy);
        snprintf(what, sizeof(what), "guest node %u, planned host nodes P#", g);
        n += differ(out, what, bitmap_format(&wx, s, sizeof(s)), bitmap_format(&wy, t, sizeof(t)));
        if (mx != my) {
            fprintf(out, "guest node %u, misplaced pages: %llu -> %llu\n", g, (unsigned long long)mx,
                    (unsigned long long)my);
            n++;
        }
        for (unsigned h = 0; h < PLACE_MAX_HOST_NODES; h++) {
            if (x[h] != y[h]) {
                fprintf(out, "guest node %u, pages on host node P#%u: %llu -> %llu\n", g, h, (unsigned long long)x[h],
                        (unsigned long long)y[h]);
                n++;
            }
        }
    }
    return n;
}

unsigned proof_diff(FILE *out, const struct proof *a, const struct proof *b)
{
    unsigned n = differ(out, "host", a->host_name, b->host_name);
    n += differ(out, "topology", a->hash, b->hash);
    n += differ(out, "policy", a->policy, b->policy);
    n += threads_diff(out, a, b);
    n += ranges_diff(out, a, b);
    return n + differ(out, "result", a->ok ? "as planned" : "deviates", b->ok ? "as planned" : "deviates");
}
