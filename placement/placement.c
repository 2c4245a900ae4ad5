/* A running machine's placement: its plan, and the threads and memory that were put where the plan says. */
#include "placement/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "weft/log.h"

/* Hugepages of nodes the operator named are counted here; the planner counts those it places itself. */
static bool told_hugepages_check(const struct host_shape *host, const struct guest_shape *guest, struct error *err)
{
    for (unsigned x = 0; x < host->num_nodes; x++) {
        for (unsigned k = 0; k < host->node[x].num_page_sizes; k++) {
            const struct host_page_size *ps = &host->node[x].page_size[k];
            uint64_t need = 0;
            for (unsigned g = 0; g < guest->num_nodes; g++) {
                const struct guest_node *n = &guest->node[g];
                if (n->page_size == ps->size && n->told_memory && n->told_policy == MEM_POLICY_BIND &&
                    bitmap_count(&n->told_nodes) == 1 && bitmap_test(&n->told_nodes, host->node[x].os_index)) {
                    need += (n->mem + ps->size - 1) / ps->size;
                }
            }
            if (need > ps->free) {
                struct diagnose_facts f = {.page_size = ps->size, .pages_wanted = need, .pages_free = ps->free};
                char text[512];
                bitmap_set(&f.nodes, host->node[x].os_index);
                placement_diagnose(text, sizeof(text), CALL_PREALLOC, ENOMEM, &f);
                return error_set(err, "%s", text);
            }
        }
    }
    return true;
}

/* thp=on is a wish that a host can have switched off for all processes. */
static void thp_host_check(const struct guest_shape *guest)
{
    char text[128];
    bool wanted = false;
    for (unsigned i = 0; i < guest->num_nodes; i++) {
        wanted = wanted || guest->node[i].thp == 1;
    }
    if (wanted && sysfs_text_read("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text)) > 0 &&
        strstr(text, "[never]") != NULL) {
        log_warn("--place: thp=on has no effect, because this host has transparent hugepages switched off; write "
                 "madvise to /sys/kernel/mm/transparent_hugepage/enabled");
    }
}

static void capabilities_find(struct placement *p)
{
    struct bitmap now;
    if (thread_affinity_read(0, &now) == 0) {
        p->floating = now;
    }
}

struct placement *placement_create(const struct machine_config *cfg, int rank, struct error *err)
{
    struct placement *p = calloc(1, sizeof(*p));
    struct place_options opt;
    struct verify_request ask;
    if (p == NULL || !verify_request_parse(&ask, cfg->place_verify, err) ||
        !place_options_parse(&opt, cfg->place, err)) {
        free(p);
        return NULL;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->place_lock, NULL);
    pthread_cond_init(&p->watcher_wake, NULL);
    p->strict = cfg->place_strict;
    p->over_ranks = rank >= 0;
    memcpy(p->place, cfg->place, sizeof(p->place));
    capabilities_find(p);
    p->host = host_shape_load(NULL, 0, err);
    if (p->host != NULL && !p->host->host[0].this_system && opt.policy != PLACE_NONE) {
        error_set(err,
                  "the topology is not this machine's (HWLOC_XMLFILE or HWLOC_SYNTHETIC is set), and binding by it "
                  "would bind nothing; unset it, or use `weft plan` for machines that are not here");
    } else if (p->host != NULL) {
        guest_shape_from_config(&p->guest, cfg, rank);
        if (guest_thp_from_options(&p->guest, &opt, err) && told_hugepages_check(p->host, &p->guest, err)) {
            thp_host_check(&p->guest);
            p->plan = placement_plan(p->host, &p->guest, &opt, err);
        }
    }
    place_options_fini(&opt);
    if (p->plan == NULL) {
        placement_destroy(&p);
    }
    return p;
}

void placement_destroy(struct placement **pp)
{
    struct placement *p = *pp;
    if (p == NULL) {
        return;
    }
    struct error ignored = {0};
    placement_control_close(p);
    placement_verify_every(p, 0, false, NULL, NULL, &ignored);
    plan_destroy(&p->plan);
    host_shape_destroy(&p->host);
    pthread_cond_destroy(&p->watcher_wake);
    pthread_mutex_destroy(&p->place_lock);
    pthread_mutex_destroy(&p->lock);
    free(p->thread);
    free(p->range);
    free(p);
    *pp = NULL;
}

const struct plan *placement_get_plan(const struct placement *p)
{
    return p->plan;
}

const struct host_shape *placement_get_host(const struct placement *p)
{
    return p->host;
}

const struct guest_shape *placement_get_guest(const struct placement *p)
{
    return &p->guest;
}

/* ---- threads -------------------------------------------------------------------------------------------------------
 */

const struct plan_thread *thread_place(const struct plan *plan, enum place_thread_kind kind, unsigned index)
{
    const struct plan_thread *t = plan_thread_find(plan, kind, index);
    if (t == NULL && kind != PLACE_VCPU) {
        t = plan_thread_find(plan, kind, 0); /* worker 3 goes where workers go */
    }
    return t != NULL ? t : plan_thread_find(plan, PLACE_MAIN, 0);
}

/* [L] */
struct placed_thread *thread_register_locked(struct placement *p, enum place_thread_kind kind, unsigned index,
                                             const char *name, pid_t tid, bool bound)
{
    struct placed_thread *t = NULL;
    for (unsigned i = 0; i < p->num_threads && t == NULL; i++) {
        t = p->thread[i].tid == tid ? &p->thread[i] : NULL;
    }
    if (t == NULL) {
        if (p->num_threads == p->cap_threads) {
            p->cap_threads = p->cap_threads * 2 + 16;
            p->thread = realloc(p->thread, p->cap_threads * sizeof(*p->thread));
            assert(p->thread != NULL);
        }
        t = &p->thread[p->num_threads++];
        t->adopted = false;
    }
    bool adopted = t->adopted && t->tid == tid && t->kind == kind && t->index == index;
    *t = (struct placed_thread){
        .kind = kind, .index = index, .tid = tid, .bound = bound, .adopted = adopted, .seen = true};
    const struct plan_thread *place = thread_place(p->plan, kind, index);
    snprintf(t->name, sizeof(t->name), "%s", name != NULL ? name : place != NULL ? place->name : "");
    return t;
}

void placement_thread_register(struct placement *p, enum place_thread_kind kind, unsigned index, const char *name,
                               pid_t tid)
{
    pthread_mutex_lock(&p->lock);
    const struct plan_thread *place = thread_place(p->plan, kind, index);
    thread_register_locked(p, kind, index, name, tid, place != NULL && place->bound);
    pthread_mutex_unlock(&p->lock);
}

void placement_thread_unregister(struct placement *p, pid_t tid)
{
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->num_threads; i++) {
        if (p->thread[i].tid == tid) {
            p->thread[i] = p->thread[--p->num_threads];
            break;
        }
    }
    pthread_mutex_unlock(&p->lock);
}

void placement_thread_pus(const struct placement *p, enum place_thread_kind kind, unsigned index, struct bitmap *pus)
{
    struct placement *q = (struct placement *)p; /* only its lock is written */
    pthread_mutex_lock(&q->lock);
    const struct plan_thread *place = thread_place(p->plan, kind, index);
    *pus = place != NULL && place->bound ? place->pus : p->floating;
    pthread_mutex_unlock(&q->lock);
}

/* A refusal is an error in strict mode, else a warning that is given once for each kind of call. */
bool placement_refused(struct placement *p, enum place_call call, int errnum, const struct diagnose_facts *f,
                       const char *whom, struct error *err)
{
    char text[640];
    placement_diagnose(text, sizeof(text), call, errnum, f);
    if (p->strict) {
        return error_set(err, "%s: %s", whom, text);
    }
    pthread_mutex_lock(&p->lock);
    bool first = (p->warned & 1u << call) == 0;
    p->warned |= 1u << call;
    pthread_mutex_unlock(&p->lock);
    if (first) {
        log_warn("%s: %s", whom, text);
    }
    return true;
}

bool placement_bind_thread(struct placement *p, enum place_thread_kind kind, unsigned index, pid_t tid,
                           const char *name, struct error *err)
{
    if (tid == 0) {
        tid = (pid_t)syscall(SYS_gettid);
    }
    pthread_mutex_lock(&p->lock);
    const struct plan_thread *place = thread_place(p->plan, kind, index);
    bool bound = place != NULL && place->bound;
    struct bitmap pus = bound ? place->pus : p->floating;
    thread_register_locked(p, kind, index, name, tid, bound);
    pthread_mutex_unlock(&p->lock);
    /* A floating thread is set free too: it may have inherited the binding of the thread that made it. */
    int e = thread_affinity_apply(tid, &pus);
    if (e == 0 || e == ESRCH || !bound) { /* ESRCH: another thread, which has just ended */
        return true;
    }
    struct diagnose_facts f;
    char whom[64];
    diagnose_here(&f, p->host);
    f.pus = pus;
    snprintf(whom, sizeof(whom), "thread %s", name != NULL ? name : place_kind_name(kind));
    return placement_refused(p, CALL_SETAFFINITY, e, &f, whom, err);
}

/* ---- memory ---------------------------------------------------------------------------------------------------------
 */

static void range_register(struct placement *p, unsigned node, void *addr, size_t len, uint64_t page_size, bool bound)
{
    pthread_mutex_lock(&p->lock);
    if (p->num_ranges == p->cap_ranges) {
        p->cap_ranges = p->cap_ranges * 2 + 8;
        p->range = realloc(p->range, p->cap_ranges * sizeof(*p->range));
        assert(p->range != NULL);
    }
    p->range[p->num_ranges++] =
        (struct placed_range){.node = node, .addr = addr, .len = len, .page_size = page_size, .bound = bound};
    pthread_mutex_unlock(&p->lock);
}

void facts_for_node(struct placement *p, struct diagnose_facts *f, unsigned node)
{
    diagnose_here(f, p->host);
    host_nodes_to_os(p->host, &p->plan->node[node].host_nodes, &f->nodes);
    f->page_size = p->guest.node[node].page_size;
    if (f->page_size > 0) {
        host_shape_refresh(p->host);
        f->pages_wanted = (p->guest.node[node].mem + f->page_size - 1) / f->page_size;
        bitmap_for_each(x, &p->plan->node[node].host_nodes)
        {
            for (unsigned k = 0; k < p->host->node[x].num_page_sizes; k++) {
                const struct host_page_size *ps = &p->host->node[x].page_size[k];
                f->pages_free += ps->size == f->page_size ? ps->free : 0;
            }
        }
    }
}

bool placement_bind_memory(struct placement *p, unsigned node, void *addr, size_t len, struct error *err)
{
    assert(node < p->plan->num_nodes);
    if (len == 0) {
        return true;
    }
    uint64_t page = p->guest.node[node].page_size > 0 ? p->guest.node[node].page_size : (uint64_t)sysconf(_SC_PAGESIZE);
    const struct plan_node *n = &p->plan->node[node];
    bool bound = n->policy != PMEM_DEFAULT && bitmap_count(&n->host_nodes) > 0;
    int thp = memory_thp_apply(addr, len, p->guest.node[node].thp);
    if (thp != 0) {
        log_warn("memory of guest node %u: transparent hugepages cannot be set: %s; this kernel may lack them", node,
                 strerror(thp));
    }
    int e = bound ? memory_policy_apply(p->host, n, addr, len, page) : 0;
    range_register(p, node, addr, len, page, bound);
    if (e == 0) {
        return true;
    }
    struct diagnose_facts f;
    char whom[64];
    facts_for_node(p, &f, node);
    snprintf(whom, sizeof(whom), "memory of guest node %u", node);
    return placement_refused(p, CALL_MBIND, e, &f, whom, err);
}

void placement_memory_unregister(struct placement *p, void *addr)
{
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->num_ranges; i++) {
        if (p->range[i].addr == addr) {
            p->range[i] = p->range[--p->num_ranges];
            break;
        }
    }
    pthread_mutex_unlock(&p->lock);
}

/* The PUs from which a node's memory is touched: its own, or, where it has none, those nearest to it. */
static void touching_pus(const struct placement *p, unsigned node, struct bitmap *pus)
{
    bitmap_zero(pus);
    int m = p->plan->node[node].mem_node, best = -1;
    if (m < 0 || p->plan->policy == PLACE_NONE) {
        return;
    }
    for (unsigned x = 0; x < p->host->num_nodes; x++) {
        if (p->host->node[x].num_pus > 0 &&
            (best < 0 || host_cost(p->host, x, (unsigned)m) < host_cost(p->host, (unsigned)best, (unsigned)m))) {
            best = (int)x;
        }
    }
    if (best >= 0) {
        *pus = p->host->node[best].pus;
    }
}

bool placement_prealloc(struct placement *p, unsigned node, void *addr, size_t len, unsigned threads,
                        placement_progress_fn *progress, void *arg, struct error *err)
{
    struct bitmap pus;
    bool cancelled;
    touching_pus(p, node, &pus);
    if (threads == 0 && bitmap_count(&pus) == 0) {
        threads = bitmap_count(&p->floating);
    }
    int e = memory_populate(addr, len, p->guest.node[node].page_size, &pus, threads, progress, arg, &cancelled);
    if (cancelled) {
        return error_set(err, "prealloc of guest node %u was cancelled", node);
    }
    if (e != 0) {
        struct diagnose_facts f;
        char text[640];
        facts_for_node(p, &f, node);
        placement_diagnose(text, sizeof(text), CALL_PREALLOC, e, &f);
        return error_set(err, "memory of guest node %u: %s", node, text);
    }
    return true;
}
