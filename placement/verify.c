/* Reading back from the kernel: where threads may run, where pages are. */
#include "placement/internal.h"

#include <errno.h>
#include <numaif.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLE_ABOVE = 256 << 20, SAMPLES = 65536 };

/* The PU a thread ran on last: field 39 of its stat line, counted from behind the name, which may hold anything. */
static int last_pu(pid_t tid)
{
    char path[64], text[1024];
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
    if (sysfs_text_read(path, text, sizeof(text)) < 0) {
        return -1;
    }
    const char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 39; field++) {
        at = strchr(at + 1, ' ');
    }
    return at != NULL ? atoi(at + 1) : -1;
}

static void thread_verify(const struct placement *p, const struct placed_thread *t, struct proof_thread *out)
{
    const struct plan_thread *place = thread_place(p->plan, t->kind, t->index);
    memset(out, 0, sizeof(*out));
    out->kind = t->kind;
    out->index = t->index;
    out->tid = t->tid;
    memcpy(out->name, t->name, sizeof(out->name));
    out->bound = place != NULL && place->bound;
    out->wanted = out->bound ? place->pus : p->floating;
    out->last_pu = last_pu(t->tid);
    out->gone = thread_affinity_read(t->tid, &out->found) == ESRCH;
    out->ok = out->gone || !out->bound || memcmp(&out->wanted, &out->found, sizeof(out->found)) == 0;
}

struct look {
    const struct placement *p;
    const struct placed_range *range;
    const struct plan_node *node;
    struct bitmap wanted;
    struct proof_range *out;
};

static void page_count(struct look *l, uint64_t page, int where)
{
    struct proof_range *out = l->out;
    out->looked_at++;
    if (where < 0) {
        out->absent++; /* never touched, or swapped out */
        return;
    }
    out->present++;
    if (where < PLACE_MAX_HOST_NODES) {
        out->on_node[where]++;
    }
    if (out->bound && !page_in_place(l->p->host, l->node, l->range, page, &l->wanted, where)) {
        if (out->misplaced++ == 0) {
            out->first_misplaced = (uint64_t)(uintptr_t)l->range->addr + page * l->range->page_size;
            out->first_node = where;
        }
    }
}

/* Asks the kernel for the policy of the range's first page; striped ranges have one for each stripe. */
static bool policy_verify(const struct placed_range *r, const struct plan_node *n, const struct bitmap *wanted)
{
    unsigned long mask[BITMAP_BITS / 64 + 1] = {0};
    int mode = -1;
    if (node_is_striped(n)) {
        return true;
    }
    if (get_mempolicy(&mode, mask, sizeof(mask) * 8, r->addr, MPOL_F_ADDR) != 0) {
        return errno == ENOSYS || errno == EPERM; /* a sandbox that forbids looking; move_pages will tell */
    }
    bool same = memcmp(mask, wanted->w, sizeof(wanted->w)) == 0;
    switch (n->policy) {
    case PMEM_INTERLEAVE:
        return mode == MPOL_INTERLEAVE && same;
    case PMEM_PREFERRED:
        return mode == MPOL_PREFERRED || same;
    default:
        return mode == MPOL_BIND && same;
    }
}

static int range_verify(const struct placement *p, const struct placed_range *r, const struct verify_options *opt,
                        struct proof_range *out)
{
    uint64_t above = opt != NULL && opt->sample_above > 0 ? opt->sample_above : SAMPLE_ABOVE;
    uint64_t most = opt != NULL && opt->max_samples > 0 ? opt->max_samples : SAMPLES;
    uint64_t pages = r->len / r->page_size, stride = 1;
    struct look l = {.p = p, .range = r, .node = &p->plan->node[r->node], .out = out};
    host_nodes_to_os(p->host, &l.node->host_nodes, &l.wanted);
    *out = (struct proof_range){.guest_node = r->node,
                                .addr = (uint64_t)(uintptr_t)r->addr,
                                .len = r->len,
                                .page_size = r->page_size,
                                .pages = pages,
                                .wanted = l.wanted,
                                .bound = l.node->policy != PMEM_DEFAULT && bitmap_count(&l.wanted) > 0,
                                .first_node = -1};
    if (!(opt != NULL && opt->exact) && r->len > above && pages > most) {
        stride = (pages + most - 1) / most;
    }
    int status[PAGES_QUERY_MAX];
    /* A stride that is odd visits all residues of the powers of two in which interleaving and hugepages come. */
    stride += stride > 1 && stride % 2 == 0;
    for (uint64_t at = 0; at < pages;) {
        uint64_t left = (pages - at + stride - 1) / stride;
        unsigned n = left < PAGES_QUERY_MAX ? (unsigned)left : PAGES_QUERY_MAX;
        int e = pages_query(r, at, stride, n, status);
        if (e != 0) {
            return e;
        }
        for (unsigned i = 0; i < n; i++) {
            page_count(&l, at + i * stride, status[i]);
        }
        at += n * stride;
    }
    out->policy_ok = !out->bound || policy_verify(r, l.node, &l.wanted);
    out->ok = (out->misplaced == 0 || l.node->policy == PMEM_PREFERRED) && out->policy_ok;
    return 0;
}

static void proof_head(struct proof *proof, const struct placement *p)
{
    memset(proof, 0, sizeof(*proof));
    memcpy(proof->host_name, p->host->host[0].name, sizeof(proof->host_name));
    memcpy(proof->hash, p->host->host[0].hash, sizeof(proof->hash));
    snprintf(proof->policy, sizeof(proof->policy), "%s", place_policy_name(p->plan->policy));
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(proof->time, sizeof(proof->time), "%Y-%m-%dT%H:%M:%SZ", &tm);
    proof->pid = getpid();
    proof->ok = true;
}

/* An empty registry has no memory at all. */
static void copy(void *to, const void *from, size_t bytes)
{
    if (bytes > 0) {
        memcpy(to, from, bytes);
    }
}

/* [place_lock] */
bool verify_locked(struct placement *p, const struct verify_options *opt, struct proof *proof, struct error *err)
{
    proof_head(proof, p);
    threads_adopt(p);
    pthread_mutex_lock(&p->lock);
    unsigned nt = p->num_threads, nr = p->num_ranges;
    struct placed_thread *threads = malloc(sizeof(*threads) * (nt + 1));
    struct placed_range *ranges = malloc(sizeof(*ranges) * (nr + 1));
    proof->thread = calloc(nt + 1, sizeof(*proof->thread));
    proof->range = calloc(nr + 1, sizeof(*proof->range));
    bool ok = threads != NULL && ranges != NULL && proof->thread != NULL && proof->range != NULL;
    if (ok) {
        copy(threads, p->thread, sizeof(*threads) * nt);
        copy(ranges, p->range, sizeof(*ranges) * nr);
    }
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; ok && i < nt; i++, proof->num_threads++) {
        thread_verify(p, &threads[i], &proof->thread[i]);
        proof->drift_threads += !proof->thread[i].ok;
    }
    for (unsigned i = 0; ok && i < nr; i++, proof->num_ranges++) {
        int e = range_verify(p, &ranges[i], opt, &proof->range[i]);
        if (e != 0) {
            struct diagnose_facts f;
            facts_for_node(p, &f, ranges[i].node);
            placement_diagnose(proof->refused, sizeof(proof->refused), CALL_MOVE_PAGES, e, &f);
            proof->range[i].ok = false;
        }
        proof->drift_pages += proof->range[i].ok ? 0 : proof->range[i].misplaced;
        proof->ok = proof->ok && proof->range[i].ok;
    }
    proof->ok = proof->ok && proof->drift_threads == 0;
    free(threads);
    free(ranges);
    return ok || error_set(err, "out of memory while verifying the placement");
}

bool placement_verify(struct placement *p, const struct verify_options *opt, struct proof *proof, struct error *err)
{
    pthread_mutex_lock(&p->place_lock);
    bool ok = verify_locked(p, opt, proof, err);
    pthread_mutex_unlock(&p->place_lock);
    return ok;
}

void proof_fini(struct proof *proof)
{
    free(proof->thread);
    free(proof->range);
    proof->thread = NULL;
    proof->range = NULL;
    proof->num_threads = proof->num_ranges = 0;
}

unsigned proof_deviations(const struct proof *proof, char *buf, size_t size, unsigned max)
{
    unsigned n = 0;
    size_t at = 0;
    char wanted[128], found[128];
    buf[0] = 0;
    for (unsigned i = 0; i < proof->num_threads; i++) {
        const struct proof_thread *t = &proof->thread[i];
        if (t->ok || n++ >= max || at >= size) {
            continue;
        }
        bitmap_format(&t->wanted, wanted, sizeof(wanted));
        bitmap_format(&t->found, found, sizeof(found));
        at += (size_t)snprintf(buf + at, size - at, "%sthread %s (tid %d) may run on PUs P#%s, the plan says P#%s",
                               at > 0 ? "; " : "", t->name, t->tid, found, wanted);
    }
    for (unsigned i = 0; i < proof->num_ranges; i++) {
        const struct proof_range *r = &proof->range[i];
        if (r->ok || n++ >= max || at >= size) {
            continue;
        }
        bitmap_format(&r->wanted, wanted, sizeof(wanted));
        at +=
            (size_t)snprintf(buf + at, size - at,
                             "%s%llu of %llu pages looked at of guest node %u are not on P#%s, the first at 0x%llx is "
                             "on P#%d",
                             at > 0 ? "; " : "", (unsigned long long)r->misplaced, (unsigned long long)r->looked_at,
                             r->guest_node, wanted, (unsigned long long)r->first_misplaced, r->first_node);
    }
    if (proof->refused[0] != 0 && at < size) {
        snprintf(buf + at, size - at, "%s%s", at > 0 ? "; " : "", proof->refused);
    }
    return n;
}

/* ---- periodically --------------------------------------------------------------------------------------------------
 */

static void *watcher_run(void *arg)
{
    struct placement *p = arg;
    pthread_mutex_lock(&p->lock);
    while (!p->watcher_stop) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        double at = (double)until.tv_nsec / 1e9 + p->watch_seconds;
        until.tv_sec += (time_t)at;
        until.tv_nsec = (long)((at - (double)(time_t)at) * 1e9);
        if (pthread_cond_timedwait(&p->watcher_wake, &p->lock, &until) != ETIMEDOUT) {
            continue;
        }
        pthread_mutex_unlock(&p->lock);
        struct proof proof;
        struct error err = {0};
        struct verify_options opt = {.exact = p->watch_exact};
        if (placement_verify(p, &opt, &proof, &err)) {
            p->watch_cb(p->watch_arg, &proof);
        }
        proof_fini(&proof);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

bool placement_verify_every(struct placement *p, double seconds, bool exact, placement_report_fn *report_cb, void *arg,
                            struct error *err)
{
    if (p->watching) {
        pthread_mutex_lock(&p->lock);
        p->watcher_stop = true;
        pthread_cond_signal(&p->watcher_wake);
        pthread_mutex_unlock(&p->lock);
        pthread_join(p->watcher, NULL);
        p->watching = false;
    }
    if (seconds <= 0) {
        return true;
    }
    p->watch_seconds = seconds;
    p->watch_exact = exact;
    p->watch_cb = report_cb;
    p->watch_arg = arg;
    p->watcher_stop = false;
    int e = pthread_create(&p->watcher, NULL, watcher_run, p);
    p->watching = e == 0;
    return e == 0 || error_set_errno(err, e, "the thread that verifies the placement could not be started");
}
