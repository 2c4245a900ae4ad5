/* Measures what the host's nodes cost each other: latency, bandwidth, and cache lines between cores. */
#include "placement/probe.h"

#include <errno.h>
#include <math.h>
#include <numaif.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "placement/internal.h"

enum { LINE = 64, MOST_STREAMS = 32, MOST_CORES = 32, BOUNCES = 20000 /* 2 * BOUNCES < BALL_OUT */ };

struct probe {
    const struct host_shape *host;
    double seconds;
    uint64_t bytes;
    placement_probe_progress_fn *progress;
    void *arg;
    unsigned done, total;
    struct probe_result *out;
    struct error *err;
};

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool step(struct probe *p, const char *what)
{
    return p->progress == NULL || p->progress(p->arg, p->done++, p->total, what) ||
           error_set(p->err, "the probe was cancelled; nothing was written");
}

/* A buffer on one node, of hugepages where the host gives them, so that TLB misses do not count as latency. */
static uint8_t *buffer_on(struct probe *p, unsigned node, uint64_t bytes)
{
    uint8_t *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        error_set_errno(p->err, errno, "weft probe: a buffer of %llu MiB cannot be had",
                        (unsigned long long)(bytes >> 20));
        return NULL;
    }
    madvise(at, bytes, MADV_HUGEPAGE);
    struct plan_node n = {.policy = PMEM_BIND};
    bitmap_set(&n.host_nodes, node);
    int e = memory_policy_apply(p->host, &n, at, bytes, 4096);
    bool cancelled;
    if (e == 0 || p->host->num_nodes == 1) { /* with one node, a kernel that refuses to bind changes nothing */
        e = memory_populate(at, bytes, 0, &p->host->node[node].pus, 0, NULL, NULL, &cancelled);
        if (e == 0) {
            return at;
        }
    }
    struct diagnose_facts f;
    char text[640];
    diagnose_here(&f, p->host);
    bitmap_set(&f.nodes, p->host->node[node].os_index);
    placement_diagnose(text, sizeof(text), CALL_MBIND, e, &f);
    error_set(p->err, "weft probe: %s", text);
    munmap(at, bytes);
    return NULL;
}

/* ---- latency -------------------------------------------------------------------------------------------------------
 */

/* One random cycle through all lines (Sattolo), so that no prefetcher guesses the next one. */
static void chain_make(uint8_t *buf, uint64_t bytes)
{
    uint64_t lines = bytes / LINE, x = 88172645463325252ull;
    uint32_t *order = malloc(lines * sizeof(*order));
    for (uint64_t i = 0; i < lines; i++) {
        order[i] = (uint32_t)i;
    }
    for (uint64_t i = lines - 1; i > 0; i--) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint64_t k = x % i;
        uint32_t t = order[i];
        order[i] = order[k];
        order[k] = t;
    }
    for (uint64_t i = 0; i < lines; i++) {
        *(void **)(buf + (uint64_t)order[i] * LINE) = buf + (uint64_t)order[(i + 1) % lines] * LINE;
    }
    free(order);
}

struct chase {
    uint8_t *buf;
    double seconds, ns;
    unsigned pu;
};

static void *chase_run(void *arg)
{
    struct chase *c = arg;
    struct bitmap one = {0};
    void *volatile *at = (void *volatile *)c->buf;
    bitmap_set(&one, c->pu);
    thread_affinity_apply(0, &one);
    c->ns = INFINITY;
    for (unsigned round = 0; round < 3; round++) { /* the least of three: what disturbs only adds */
        uint64_t loads = 0;
        double start = now(), end = start;
        while (end - start < c->seconds / 3) {
            for (unsigned i = 0; i < 4096; i++) {
                at = (void *volatile *)*at;
            }
            loads += 4096;
            end = now();
        }
        double ns = (end - start) * 1e9 / (double)loads;
        c->ns = ns < c->ns ? ns : c->ns;
    }
    return NULL;
}

static double chase_measure(uint8_t *buf, unsigned pu, double seconds)
{
    struct chase c = {.buf = buf, .seconds = seconds, .pu = pu};
    pthread_t t;
    if (pthread_create(&t, NULL, chase_run, &c) != 0) {
        return NAN;
    }
    pthread_join(t, NULL);
    return c.ns;
}

/* ---- bandwidth -----------------------------------------------------------------------------------------------------
 */

/* (c) before the threads start  [a] atomic */
struct streams {
    atomic_uint ready;    /* [a] */
    atomic_bool go, stop; /* [a] */
    bool write;           /* (c) */
};

struct stream {
    struct streams *all;
    uint8_t *buf;
    uint64_t bytes, moved;
    unsigned pu;
    double seconds;
    pthread_t thread;
    uint64_t sum;
};

static uint64_t stream_read(const uint8_t *buf, uint64_t bytes)
{
    const uint64_t *w = (const uint64_t *)buf;
    uint64_t s[8] = {0};
    for (uint64_t i = 0; i + 8 <= bytes / 8; i += 8) {
        for (unsigned k = 0; k < 8; k++) {
            s[k] += w[i + k];
        }
    }
    return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}

static void *stream_run(void *arg)
{
    struct stream *s = arg;
    struct bitmap one = {0};
    bitmap_set(&one, s->pu);
    thread_affinity_apply(0, &one);
    atomic_fetch_add(&s->all->ready, 1);
    while (!atomic_load(&s->all->go)) {
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
    double start = now();
    const uint64_t piece = 1 << 20;
    /* One piece at least: a thread that comes to run after the end would count as one without any bandwidth. */
    for (uint64_t at = 0; s->moved == 0 || !atomic_load_explicit(&s->all->stop, memory_order_relaxed);
         at = at + piece < s->bytes ? at + piece : 0) {
        uint64_t n = s->bytes - at < piece ? s->bytes - at : piece;
        if (s->all->write) {
            memset(s->buf + at, (int)(s->moved >> 20), n);
        } else {
            s->sum += stream_read(s->buf + at, n);
        }
        s->moved += n;
    }
    s->seconds = now() - start;
    return NULL;
}

/*
 * Starts a stream on each PU of the initiator but the first `skip`; each walks its own part of the buffer.
 */
static unsigned streams_start(struct probe *p, struct streams *all, struct stream *s, unsigned initiator, unsigned skip,
                              uint8_t *buf, uint64_t bytes)
{
    unsigned pu[MOST_STREAMS], n = 0, started = 0;
    bitmap_for_each(os, &p->host->node[initiator].pus)
    {
        if (skip > 0) {
            skip--;
        } else if (n < MOST_STREAMS) {
            pu[n++] = (unsigned)os;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t part = bytes / n / LINE * LINE;
        s[i] = (struct stream){.all = all, .buf = buf + i * part, .bytes = part, .pu = pu[i]};
        if (pthread_create(&s[i].thread, NULL, stream_run, &s[i]) != 0) {
            break;
        }
        started++;
    }
    while (atomic_load(&all->ready) < started) {
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
    atomic_store(&all->go, true);
    return started;
}

static double streams_stop(struct streams *all, struct stream *s, unsigned n)
{
    double mbs = 0;
    atomic_store(&all->stop, true);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(s[i].thread, NULL);
        mbs += s[i].seconds > 0 ? (double)s[i].moved / 1e6 / s[i].seconds : 0;
    }
    return n > 0 ? mbs : NAN;
}

static void pause_for(double seconds)
{
    struct timespec ts = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - floor(seconds)) * 1e9)};
    nanosleep(&ts, NULL);
}

static double bandwidth_measure(struct probe *p, unsigned initiator, uint8_t *buf, bool write)
{
    struct streams all = {.write = write};
    struct stream s[MOST_STREAMS];
    unsigned n = streams_start(p, &all, s, initiator, 0, buf, p->bytes);
    pause_for(p->seconds);
    return streams_stop(&all, s, n);
}

static double loaded_measure(struct probe *p, unsigned initiator, uint8_t *chain, uint8_t *load, unsigned pu)
{
    struct streams all = {.write = false};
    struct stream s[MOST_STREAMS];
    unsigned n = streams_start(p, &all, s, initiator, 1, load, p->bytes);
    double ns = n > 0 ? chase_measure(chain, pu, p->seconds) : NAN;
    streams_stop(&all, s, n);
    return ns;
}

static bool pair_measure(struct probe *p, unsigned i, unsigned t)
{
    const struct host_node *from = &p->host->node[i], *to = &p->host->node[t];
    unsigned at = i * p->host->num_nodes + t, pu = (unsigned)bitmap_next(&from->pus, 0);
    char what[96];
    snprintf(what, sizeof(what), "CPUs of P#%u to memory of P#%u", from->os_index, to->os_index);
    if (!step(p, what)) {
        return false;
    }
    uint8_t *chain = buffer_on(p, t, p->bytes), *load = chain != NULL ? buffer_on(p, t, p->bytes) : NULL;
    if (load != NULL) {
        chain_make(chain, p->bytes);
        p->out->latency_ns[at] = chase_measure(chain, pu, p->seconds);
        p->out->read_mbs[at] = bandwidth_measure(p, i, load, false);
        p->out->write_mbs[at] = bandwidth_measure(p, i, load, true);
        p->out->loaded_ns[at] = loaded_measure(p, i, chain, load, pu);
        munmap(load, p->bytes);
    }
    if (chain != NULL) {
        munmap(chain, p->bytes);
    }
    return load != NULL;
}

/* ---- core to core --------------------------------------------------------------------------------------------------
 */

enum { BALL_OUT = 0xffffffff };

struct bounce {
    _Alignas(128) atomic_uint ball; /* [a] even: the first thread's turn; BALL_OUT: the end */
    _Alignas(128) unsigned pu[2];   /* (c) */
    double limit, ns;               /* (c) seconds; result, written by the first thread */
};

struct player {
    struct bounce *b;
    unsigned which;
};

static void *player_run(void *arg)
{
    struct player *me = arg;
    struct bounce *b = me->b;
    struct bitmap one = {0};
    bitmap_set(&one, b->pu[me->which]);
    thread_affinity_apply(0, &one);
    unsigned warm = BOUNCES / 10, i = 0;
    double start = 0, end = 0;
    for (bool out = false; i < BOUNCES && !out; i++) {
        start = i == warm ? now() : start; /* from here on both are there, and their cores awake */
        unsigned ball;
        while ((ball = atomic_load_explicit(&b->ball, memory_order_acquire)) != 2 * i + me->which && ball != BALL_OUT) {
            __builtin_ia32_pause();
        }
        if (me->which == 0 && i % 64 == 63 && i > warm) {
            end = now();
            out = end - start > b->limit; /* an emulated or a busy host is no reason to wait for ever */
        }
        out = out || ball == BALL_OUT;
        if (ball != BALL_OUT) {
            atomic_store_explicit(&b->ball, out ? BALL_OUT : 2 * i + me->which + 1, memory_order_release);
        }
    }
    if (me->which == 0) {
        b->ns = (now() - start) * 1e9 / (i > warm ? i - warm : 1) / 2;
    }
    return NULL;
}

static double bounce_measure(const struct probe *p, unsigned pu_a, unsigned pu_b)
{
    struct bounce *b = aligned_alloc(128, sizeof(*b));
    struct player player[2] = {{b, 0}, {b, 1}};
    pthread_t t[2];
    double ns = NAN;
    memset(b, 0, sizeof(*b));
    b->pu[0] = pu_a;
    b->pu[1] = pu_b;
    b->limit = p->seconds;
    if (pthread_create(&t[1], NULL, player_run, &player[1]) == 0) {
        bool both = pthread_create(&t[0], NULL, player_run, &player[0]) == 0;
        if (both) {
            pthread_join(t[0], NULL);
            ns = b->ns;
        }
        atomic_store(&b->ball, BALL_OUT);
        pthread_join(t[1], NULL);
    }
    free(b);
    return ns;
}

/* One PU for each core, cores taken from all nodes in turn where there are more than we measure. */
static void cores_choose(struct probe *p)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->host->num_pus; i++) {
        n += p->host->pu[i].smt == 0;
    }
    unsigned stride = (n + MOST_CORES - 1) / MOST_CORES, k = 0;
    p->out->core_pu = calloc(MOST_CORES + 1, sizeof(unsigned));
    for (unsigned i = 0; i < p->host->num_pus && p->out->cores < MOST_CORES; i++) {
        if (p->host->pu[i].smt == 0 && k++ % (stride > 0 ? stride : 1) == 0) {
            p->out->core_pu[p->out->cores++] = p->host->pu[i].os_index;
        }
    }
    p->out->core_ns = malloc(sizeof(double) * MOST_CORES * MOST_CORES);
    for (unsigned i = 0; i < MOST_CORES * MOST_CORES; i++) {
        p->out->core_ns[i] = NAN;
    }
}

static bool cores_measure(struct probe *p)
{
    unsigned n = p->out->cores;
    for (unsigned a = 0; a < n; a++) {
        char what[64];
        snprintf(what, sizeof(what), "cache lines from CPU P#%u to the other cores", p->out->core_pu[a]);
        if (!step(p, what)) {
            return false;
        }
        for (unsigned b = a + 1; b < n; b++) {
            double ns = bounce_measure(p, p->out->core_pu[a], p->out->core_pu[b]);
            p->out->core_ns[a * n + b] = p->out->core_ns[b * n + a] = ns;
        }
    }
    return true;
}

/* ---- all of it -----------------------------------------------------------------------------------------------------
 */

static double *matrix_new(unsigned n)
{
    double *m = malloc(sizeof(double) * n * n);
    for (unsigned i = 0; i < n * n; i++) {
        m[i] = NAN;
    }
    return m;
}

static void result_init(struct probe *p)
{
    struct probe_result *r = p->out;
    memset(r, 0, sizeof(*r));
    r->nodes = p->host->num_nodes;
    memcpy(r->hash, p->host->host[0].hash, sizeof(r->hash));
    memcpy(r->host_name, p->host->host[0].name, sizeof(r->host_name));
    time_t t = time(NULL);
    struct tm tm;
    strftime(r->time, sizeof(r->time), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
    r->latency_ns = matrix_new(r->nodes);
    r->loaded_ns = matrix_new(r->nodes);
    r->read_mbs = matrix_new(r->nodes);
    r->write_mbs = matrix_new(r->nodes);
}

static uint64_t buffer_bytes(const struct host_shape *h)
{
    uint64_t cache = 0, least = UINT64_MAX, want;
    for (unsigned x = 0; x < h->num_nodes; x++) {
        for (unsigned l = 0; l < 4; l++) {
            cache = h->node[x].cache_size[l] > cache ? h->node[x].cache_size[l] : cache;
        }
        if (h->node[x].capacity > 0) {
            uint64_t room = h->node[x].have_free ? h->node[x].free : h->node[x].capacity;
            least = room < least ? room : least;
        }
    }
    want = cache * 4 > (64ull << 20) ? cache * 4 : 64ull << 20;
    want = want > (1ull << 30) ? 1ull << 30 : want;
    want = want > least / 4 ? least / 4 : want; /* two buffers, and the host goes on */
    return want / (2 << 20) * (2 << 20) + (want < (2 << 20) ? 2 << 20 : 0);
}

bool placement_probe(const struct host_shape *host, const struct probe_options *opt,
                     placement_probe_progress_fn *progress, void *arg, struct probe_result *out, struct error *err)
{
    struct probe p = {.host = host, .progress = progress, .arg = arg, .out = out, .err = err};
    memset(out, 0, sizeof(*out));
    if (host->num_hosts != 1 || !host->host[0].this_system) {
        return error_set(err, "weft probe measures this machine only; unset HWLOC_XMLFILE and HWLOC_SYNTHETIC");
    }
    p.seconds = opt->seconds > 0 ? opt->seconds : 0.1;
    p.bytes = opt->bytes > 0 ? (opt->bytes + (2 << 20) - 1) / (2 << 20) * (2 << 20) : buffer_bytes(host);
    result_init(&p);
    cores_choose(&p);
    bool ok = true;
    for (unsigned pass = 0; pass < 2; pass++) { /* first count, then measure */
        for (unsigned i = 0; ok && i < host->num_nodes; i++) {
            for (unsigned t = 0; ok && host->node[i].num_pus > 0 && t < host->num_nodes; t++) {
                if (host->node[t].capacity > 0 && host->node[t].memory_allowed) {
                    p.total += pass == 0;
                    ok = pass == 0 || pair_measure(&p, i, t);
                }
            }
        }
        p.total += pass == 0 && !opt->no_cores ? p.out->cores : 0;
    }
    ok = ok && (opt->no_cores || cores_measure(&p));
    if (!ok) {
        probe_result_fini(out);
    }
    return ok;
}

void probe_result_fini(struct probe_result *r)
{
    free(r->latency_ns);
    free(r->loaded_ns);
    free(r->read_mbs);
    free(r->write_mbs);
    free(r->core_pu);
    free(r->core_ns);
    memset(r, 0, sizeof(*r));
}
