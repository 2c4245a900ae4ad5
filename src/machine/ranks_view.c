/* Views of all ranks from one: asked for while the guest runs, exchanged when it has ended. */
#include "ranks_view_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "virt.h"
#include "weft/log.h"
#include "weft/placement.h"

struct part {
    uint32_t number, offset, total;
    uint8_t bytes[MSG_POST_MAX - 12];
};

_Static_assert(sizeof(struct part) == MSG_POST_MAX, "a part fills its message");

/* ---- texts in parts ---- */

static void text_send(struct ranks *r, unsigned rank, uint32_t kind, uint32_t number, const char *text)
{
    size_t total = strlen(text);
    for (size_t at = 0; at < total;) {
        struct part p = {.number = number, .offset = (uint32_t)at, .total = (uint32_t)total};
        size_t n = total - at < sizeof(p.bytes) ? total - at : sizeof(p.bytes);
        memcpy(p.bytes, text + at, n);
        cluster_post(r->cluster, rank, kind, &p, offsetof(struct part, bytes) + n);
        at += n;
    }
}

/* Returns the text, to free(), with its last part; *good is false for a part that does not fit. Coherence thread. */
static char *text_receive(struct incoming *in, const struct part *p, size_t length, bool *good)
{
    size_t n = length - offsetof(struct part, bytes);
    if (p->offset == 0) {
        free(in->text);
        *in = (struct incoming){.number = p->number, .total = p->total};
        in->text = p->total && p->total <= VIEW_MAX_BYTES ? malloc(p->total + 1) : NULL;
    }
    *good = in->text && p->number == in->number && p->total == in->total && p->offset == in->have &&
            n <= in->total - in->have;
    if (!*good) {
        return NULL;
    }
    memcpy(in->text + in->have, p->bytes, n);
    in->have += n;
    if (in->have < in->total) {
        return NULL;
    }
    char *text = in->text;
    text[in->total] = 0;
    in->text = NULL;
    return text;
}

/* ---- this rank ---- */

static void put(json_t *o, const char *key, uint64_t value)
{
    json_object_set_new(o, key, json_integer((json_int_t)value));
}

static void put_shape(json_t *o, const struct machine *m, unsigned self)
{
    struct bitmap nodes, harts;
    char list[256];
    uint64_t memory = 0;
    bitmap_zero(&nodes);
    bitmap_zero(&harts);
    for (unsigned n = 0; n < m->cfg->num_nodes; n++) {
        const struct node_config *node = &m->cfg->node[n];
        if ((unsigned)node->rank == self) {
            bitmap_set(&nodes, n);
            memory += node->mem;
            bitmap_for_each(h, &node->cpus)
            {
                bitmap_set(&harts, (unsigned)h);
            }
        }
    }
    json_object_set_new(o, "nodes", json_string(bitmap_format(&nodes, list, sizeof(list))));
    json_object_set_new(o, "harts", json_string(bitmap_format(&harts, list, sizeof(list))));
    put(o, "memory", memory);
}

/* Pages become addresses, with the guest node they belong to. */
static void put_addresses(json_t *o, const struct machine *m)
{
    json_t *page;
    size_t i;
    json_array_foreach(json_object_get(o, "hot_pages"), i, page)
    {
        gpa_t at = m->ram.base + ((gpa_t)json_integer_value(json_object_get(page, "page")) << GUEST_PAGE_BITS);
        for (unsigned k = 0; k < m->ram.num_ranges; k++) {
            const struct ram_range *range = &m->ram.range[k];
            if (at - range->base < range->size) {
                put(page, "node", range->node);
            }
        }
        put(page, "address", at);
        json_object_del(page, "page");
    }
}

json_t *ranks_view_here(struct machine *m)
{
    struct ranks *r = m->ranks;
    const struct member *self = &r->members.member[r->members.self];
    json_t *o = cluster_report_json(r->cluster), *rtt = json_array();
    if (!o) {
        return json_object();
    }
    json_object_set_new(o, "host", json_string(self->hostname));
    put(o, "pid", (uint64_t)self->pid);
    put(o, "time_dilation", m->cfg->time_dilation);
    put_shape(o, m, r->members.self);
    put_addresses(o, m);
    for (unsigned k = 0; k < r->members.ranks; k++) {
        json_array_append_new(rtt, json_integer((json_int_t)r->view->rtt_ns[k]));
    }
    json_object_set_new(o, "round_trip_ns", rtt);
    json_object_set_new(o, "access_matrix", report_accesses_json(m));
    const struct ranks_figures *f = &r->figures;
    put(o, "interrupts_sent", __atomic_load_n(&f->irqs_sent, __ATOMIC_RELAXED));
    put(o, "remote_fences", __atomic_load_n(&f->fences_sent, __ATOMIC_RELAXED));
    put(o, "device_accesses", __atomic_load_n(&f->mmio_sent, __ATOMIC_RELAXED));
    put(o, "device_access_ns", __atomic_load_n(&f->mmio_ns, __ATOMIC_RELAXED));
    put(o, "asks_served", __atomic_load_n(&f->asks_served, __ATOMIC_RELAXED));
    return o;
}

/* ---- all ranks ---- */

/* What lies in a hot page, in words: only the rank that has the symbols can tell. */
static void name_pages(struct ranks *r, json_t *rank)
{
    json_t *page;
    size_t i;
    json_array_foreach(json_object_get(rank, "hot_pages"), i, page)
    {
        char text[SYMBOLS_COLUMN];
        gpa_t at = (gpa_t)json_integer_value(json_object_get(page, "address"));
        if (r->view->symbols &&
            symbols_describe(r->view->symbols, RANKS_KERNEL_ADDRESS, at, GUEST_PAGE_SIZE, text, sizeof(text))) {
            json_object_set_new(page, "symbol", json_string(text));
        } else {
            snprintf(text, sizeof(text), "node %lld, guest RAM",
                     (long long)json_integer_value(json_object_get(page, "node")));
        }
        json_object_set_new(page, "holds", json_string(text));
    }
}

/* Takes `ranks`. */
static json_t *views_finish(struct ranks *r, json_t *ranks, json_t *missing)
{
    json_t *rank, *o = json_object();
    size_t i;
    json_array_foreach(ranks, i, rank)
    {
        name_pages(r, rank);
    }
    json_object_set_new(o, "ranks", ranks);
    json_object_set_new(o, "total", cluster_report_total(ranks));
    json_object_set_new(o, "missing", missing);
    json_object_set_new(o, "kernel_address", json_integer((json_int_t)RANKS_KERNEL_ADDRESS));
    return o;
}

/* Waits until all have told; those that have not are missing. Not the coherence thread, not with the BQL. */
static void gather_wait(struct ranks_view *v)
{
    struct ranks *r = v->r;
    struct timespec until;
    for (unsigned ms = 0; ms < VIEW_WAIT_MS && !atomic_load(&r->over); ms += 50) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 50000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&v->lock);
        unsigned told = 0;
        for (unsigned k = 0; k < r->members.ranks; k++) {
            told += v->view[k] != NULL;
        }
        bool all = told + 1 >= r->members.ranks;
        if (!all) {
            pthread_cond_timedwait(&v->told, &v->lock, &until);
        }
        pthread_mutex_unlock(&v->lock);
        if (all) {
            return;
        }
    }
}

static json_t *gather(struct machine *m)
{
    struct ranks *r = m->ranks;
    struct ranks_view *v = r->view;
    json_t *ranks = json_array(), *missing = json_array();
    char *text[WEFT_MAX_RANKS];
    pthread_mutex_lock(&v->gather_lock);
    pthread_mutex_lock(&v->lock);
    uint32_t number = ++v->number;
    pthread_mutex_unlock(&v->lock);
    for (unsigned k = 0; k < r->members.ranks; k++) {
        if (k != r->members.self) {
            cluster_post(r->cluster, k, POST_VIEW_ASK, &number, sizeof(number));
        }
    }
    json_t *here = ranks_view_here(m);
    gather_wait(v);
    pthread_mutex_lock(&v->lock);
    v->number++; /* what comes later is too late */
    memcpy(text, v->view, sizeof(text));
    memset(v->view, 0, sizeof(v->view));
    pthread_mutex_unlock(&v->lock);
    pthread_mutex_unlock(&v->gather_lock);
    for (unsigned k = 0; k < r->members.ranks; k++) {
        json_t *o = k == r->members.self ? here : text[k] ? json_loads(text[k], 0, NULL) : NULL;
        if (o) {
            json_array_append_new(ranks, o);
        } else {
            json_array_append_new(missing, json_integer(k));
        }
        free(text[k]);
    }
    return views_finish(r, ranks, missing);
}

char *ranks_info(void *arg, const char *what)
{
    struct machine *m = arg;
    json_t *o = json_object();
    char *text, sentence[160] = "";
    if (strcmp(what, "coherence") != 0 && strcmp(what, "locks") != 0 && strcmp(what, "ranks") != 0) {
        snprintf(sentence, sizeof(sentence), "info %.64s: not known; use coherence, locks or ranks", what);
    } else if (!m->ranks) {
        snprintf(sentence, sizeof(sentence),
                 "info %s: this guest runs on one rank; start it with --ranks or under mpirun", what);
    } else {
        json_decref(o);
        o = gather(m);
    }
    if (sentence[0]) {
        json_object_set_new(o, "error", json_string(sentence));
    }
    json_object_set_new(o, "ok", json_boolean(!sentence[0]));
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}

/* ---- asked, and told; the coherence thread, then the main loop ---- */

static void view_keep(struct ranks_view *v, unsigned src, uint32_t number, char *text)
{
    pthread_mutex_lock(&v->lock);
    if (number == v->number) {
        free(v->view[src]);
        v->view[src] = text;
        text = NULL;
        pthread_cond_signal(&v->told);
    }
    pthread_mutex_unlock(&v->lock);
    free(text);
}

static bool on_part(struct ranks_view *v, unsigned src, uint32_t kind, const void *bytes, size_t length)
{
    struct part p;
    bool good;
    if (length <= offsetof(struct part, bytes)) {
        return false;
    }
    memcpy(&p, bytes, length);
    char *text = text_receive(&v->incoming[kind == POST_TABLE_PART][src], &p, length, &good);
    if (text && kind == POST_VIEW_PART) {
        view_keep(v, src, p.number, text);
    } else if (text) {
        pthread_mutex_lock(&v->lock);
        free(v->table[src]);
        v->table[src] = text;
        pthread_mutex_unlock(&v->lock);
        loop_bh_schedule(v->bh);
    }
    return good;
}

bool ranks_view_post(struct ranks *r, unsigned src, uint32_t kind, const void *bytes, size_t length)
{
    struct ranks_view *v = r->view;
    uint32_t number;
    switch (kind) {
    case POST_VIEW_ASK:
        if (length != sizeof(number)) {
            return false;
        }
        memcpy(&number, bytes, sizeof(number));
        atomic_store(&v->ask_number[src], number);
        atomic_fetch_or(&v->asked, 1ull << src);
        loop_bh_schedule(v->bh);
        return true;
    case POST_VIEW_PART:
    case POST_TABLE_PART:
        return on_part(v, src, kind, bytes, length);
    default:
        return ranks_measure_post(r, src, kind, bytes, length);
    }
}

/* Main loop. */
static void serve(void *opaque)
{
    struct ranks_view *v = opaque;
    uint64_t asked = atomic_exchange(&v->asked, 0);
    json_t *here = asked ? ranks_view_here(v->r->m) : NULL;
    char *text = here ? json_dumps(here, JSON_COMPACT) : NULL;
    for (; text && asked; asked &= asked - 1) {
        unsigned rank = (unsigned)__builtin_ctzll(asked);
        text_send(v->r, rank, POST_VIEW_PART, atomic_load(&v->ask_number[rank]), text);
    }
    free(text);
    json_decref(here);
    for (unsigned k = 0; k < v->r->members.ranks; k++) {
        pthread_mutex_lock(&v->lock);
        char *table = v->table[k];
        v->table[k] = NULL;
        pthread_mutex_unlock(&v->lock);
        if (table) {
            fputs(table, stderr);
            free(table);
        }
    }
}

void ranks_table_send(struct machine *m, const char *text)
{
    text_send(m->ranks, 0, POST_TABLE_PART, 1, text);
}

/* ---- the end ---- */

void ranks_view_exchange(struct ranks *r)
{
    struct ranks_view *v = r->view;
    json_t *mine = report_rank_json(r->m), *ranks = json_array();
    char *text = json_dumps(mine, JSON_COMPACT);
    json_decref(mine);
    assert(text);
    uint64_t length = strlen(text) + 1, lengths[WEFT_MAX_RANKS], most = 0;
    membership_exchange(&r->members, &length, sizeof(length), lengths);
    for (unsigned k = 0; k < r->members.ranks; k++) {
        most = lengths[k] > most ? lengths[k] : most;
    }
    char *padded = calloc(1, most), *all = calloc(r->members.ranks, most);
    assert(padded && all);
    memcpy(padded, text, length);
    membership_exchange(&r->members, padded, most, all);
    for (unsigned k = 0; k < r->members.ranks && r->members.self == 0; k++) {
        json_t *o = json_loads(all + k * most, 0, NULL);
        json_array_append_new(ranks, o ? o : json_object());
    }
    free(text);
    free(padded);
    free(all);
    json_t *missing = json_array();
    v->all = views_finish(r, ranks, missing);
}

json_t *ranks_view_all(struct machine *m)
{
    return m->ranks && m->ranks->members.self == 0 ? m->ranks->view->all : NULL;
}

/* ---- frame ---- */

void ranks_view_create(struct ranks *r)
{
    struct ranks_view *v = calloc(1, sizeof(*v));
    assert(v);
    r->view = v;
    v->r = r;
    pthread_mutex_init(&v->gather_lock, NULL);
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->told, NULL);
}

bool ranks_view_symbols(struct machine *m, struct error *err)
{
    struct ranks_view *v = m->ranks->view;
    v->symbols = m->cfg->system_map[0] ? symbols_load(m->cfg->system_map, err) : NULL;
    return v->symbols || !m->cfg->system_map[0];
}

void ranks_view_start(struct ranks *r)
{
    r->view->bh = loop_bh_create(r->m->loop, serve, r->view);
}

void ranks_view_destroy(struct ranks *r)
{
    struct ranks_view *v = r->view;
    if (!v) {
        return;
    }
    if (v->bh) {
        loop_bh_destroy(&v->bh);
    }
    for (unsigned k = 0; k < WEFT_MAX_RANKS; k++) {
        free(v->incoming[0][k].text);
        free(v->incoming[1][k].text);
        free(v->view[k]);
        free(v->table[k]);
    }
    json_decref(v->all);
    symbols_destroy(&v->symbols);
    pthread_mutex_destroy(&v->gather_lock);
    pthread_mutex_destroy(&v->lock);
    pthread_cond_destroy(&v->told);
    free(v);
    r->view = NULL;
}
