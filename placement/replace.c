/* Re-placing a running guest: a new plan, threads re-bound, pages moved; and the control socket's words for it. */
#include "placement/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* What the guest occupies now counts as free for a new plan of the same guest. */
static void free_memory_refresh(struct placement *p)
{
    struct proof now;
    struct error ignored = {0};
    host_shape_refresh(p->host);
    if (verify_locked(p, NULL, &now, &ignored)) {
        for (unsigned i = 0; i < now.num_ranges; i++) {
            const struct proof_range *r = &now.range[i];
            double scale = r->looked_at > 0 ? (double)r->pages / (double)r->looked_at * (double)r->page_size : 0;
            for (unsigned x = 0; x < p->host->num_nodes; x++) {
                struct host_node *n = &p->host->node[x];
                uint64_t bytes = (uint64_t)((double)r->on_node[n->os_index] * scale);
                if (p->guest.node[r->guest_node].page_size == 0) {
                    n->free += bytes;
                }
                for (unsigned k = 0; k < n->num_page_sizes; k++) {
                    n->page_size[k].free += n->page_size[k].size == r->page_size ? bytes / r->page_size : 0;
                }
            }
        }
    }
    proof_fini(&now);
}

/* [place_lock] Applies the current plan to everything that is registered. */
static bool apply_all(struct placement *p, placement_progress_fn *progress, void *arg, uint64_t *moved, double *seconds,
                      struct error *err)
{
    double start = now_seconds();
    uint64_t moved_bytes = 0;
    struct migrate_progress walk = {.fn = progress, .arg = arg};
    threads_adopt(p);
    pthread_mutex_lock(&p->lock);
    unsigned nt = p->num_threads, nr = p->num_ranges;
    struct placed_thread *threads = calloc(nt + 1, sizeof(*threads));
    struct placed_range *ranges = calloc(nr + 1, sizeof(*ranges));
    for (unsigned i = 0; threads != NULL && i < nt; i++) {
        threads[i] = p->thread[i];
    }
    for (unsigned i = 0; ranges != NULL && i < nr; i++) {
        ranges[i] = p->range[i];
    }
    pthread_mutex_unlock(&p->lock);
    bool ok = threads != NULL && ranges != NULL;
    for (unsigned i = 0; ok && i < nt; i++) {
        ok = placement_bind_thread(p, threads[i].kind, threads[i].index, threads[i].tid, threads[i].name, err);
    }
    for (unsigned i = 0; i < nr; i++) {
        walk.total += ranges[i].len;
    }
    for (unsigned i = 0; ok && i < nr; i++) {
        const struct plan_node *node = &p->plan->node[ranges[i].node];
        uint64_t before = walk.moved_pages;
        enum place_call call = CALL_MBIND;
        int e = memory_policy_apply(p->host, node, ranges[i].addr, ranges[i].len, ranges[i].page_size);
        memory_thp_apply(ranges[i].addr, ranges[i].len, p->guest.node[ranges[i].node].thp);
        if (e == 0) {
            call = CALL_MOVE_PAGES;
            e = memory_migrate(p->host, &ranges[i], node, &walk);
        }
        moved_bytes += (walk.moved_pages - before) * ranges[i].page_size;
        if (e == ECANCELED) {
            ok = error_set(err,
                           "moving pages was cancelled after %llu MiB; the new policy stays set, `placement "
                           "rebalance` moves the rest",
                           (unsigned long long)(moved_bytes >> 20));
        } else if (e != 0) {
            struct diagnose_facts f;
            char whom[64];
            facts_for_node(p, &f, ranges[i].node);
            snprintf(whom, sizeof(whom), "memory of guest node %u", ranges[i].node);
            ok = placement_refused(p, call, e, &f, whom, err);
        }
    }
    free(threads);
    free(ranges);
    if (moved != NULL) {
        *moved = moved_bytes;
    }
    if (seconds != NULL) {
        *seconds = now_seconds() - start;
    }
    return ok;
}

/* [place_lock] */
static bool plan_replace(struct placement *p, const struct place_options *opt, struct error *err)
{
    if (!guest_thp_from_options(&p->guest, opt, err)) {
        return false;
    }
    free_memory_refresh(p);
    struct plan *plan = placement_plan(p->host, &p->guest, opt, err);
    if (plan == NULL) {
        return false;
    }
    pthread_mutex_lock(&p->lock);
    struct plan *old = p->plan;
    p->plan = plan;
    pthread_mutex_unlock(&p->lock);
    plan_destroy(&old);
    return true;
}

bool placement_set(struct placement *p, const char *text, placement_progress_fn *progress, void *arg, uint64_t *moved,
                   double *seconds, struct error *err)
{
    struct place_options opt;
    if (!place_options_parse(&opt, text, err)) {
        return false;
    }
    pthread_mutex_lock(&p->place_lock);
    bool ok = plan_replace(p, &opt, err);
    if (ok) {
        snprintf(p->place, sizeof(p->place), "%s", text);
        ok = apply_all(p, progress, arg, moved, seconds, err);
    }
    pthread_mutex_unlock(&p->place_lock);
    place_options_fini(&opt);
    return ok;
}

bool placement_rebalance(struct placement *p, placement_progress_fn *progress, void *arg, uint64_t *moved,
                         double *seconds, struct error *err)
{
    pthread_mutex_lock(&p->place_lock);
    bool ok = apply_all(p, progress, arg, moved, seconds, err);
    pthread_mutex_unlock(&p->place_lock);
    return ok;
}

static bool traffic_set(struct placement *p, const double *matrix, unsigned n, placement_progress_fn *progress,
                        void *arg, uint64_t *moved, double *seconds, struct error *err)
{
    struct place_options opt;
    double sum = 0;
    for (unsigned i = 0; n == p->guest.num_nodes && i < n * n; i++) {
        sum += matrix[i] >= 0 ? matrix[i] : 0;
    }
    if (sum <= 0) {
        return error_set(err,
                         "the access matrix is empty or not of this guest's %u nodes; let the guest run with "
                         "--access-matrix sampled first",
                         p->guest.num_nodes);
    }
    pthread_mutex_lock(&p->place_lock);
    for (unsigned i = 0; i < n * n; i++) {
        p->guest.traffic[i / n][i % n] = matrix[i] >= 0 ? matrix[i] / sum : 0;
    }
    p->guest.traffic_measured = true;
    bool ok = place_options_parse(&opt, p->place, err);
    if (ok) {
        ok = plan_replace(p, &opt, err) && apply_all(p, progress, arg, moved, seconds, err);
        place_options_fini(&opt);
    }
    pthread_mutex_unlock(&p->place_lock);
    return ok;
}

bool placement_set_traffic(struct placement *p, const double *matrix, unsigned n, struct error *err)
{
    return traffic_set(p, matrix, n, NULL, NULL, NULL, NULL, err);
}

void placement_traffic_source(struct placement *p, placement_traffic_fn *fn, void *arg)
{
    p->traffic_fn = fn;
    p->traffic_arg = arg;
}

void placement_info_source(struct placement *p, placement_info_fn *fn, void *arg)
{
    p->info_fn = fn;
    p->info_arg = arg;
}

void placement_pause_source(struct placement *p, placement_pause_fn *fn, void *arg)
{
    p->pause_fn = fn;
    p->pause_arg = arg;
}

/* The counted accesses, n x n, to free(); NULL with a sentence when nobody counts. */
static double *traffic_read(struct placement *p, struct error *err)
{
    unsigned n = p->guest.num_nodes;
    double *matrix = p->traffic_fn != NULL ? calloc((size_t)n * n, sizeof(*matrix)) : NULL;
    if (matrix == NULL) {
        error_set(err, "accesses are not counted in this guest; start it with --access-matrix sampled");
        return NULL;
    }
    p->traffic_fn(p->traffic_arg, matrix, n);
    return matrix;
}

static void traffic_report(struct placement *p, json_t *root, struct error *err)
{
    unsigned n = p->guest.num_nodes;
    double *matrix = traffic_read(p, err), all = 0, local = 0;
    json_t *rows = json_array();
    for (unsigned i = 0; matrix != NULL && i < n; i++) {
        json_t *row = json_array();
        for (unsigned j = 0; j < n; j++) {
            json_array_append_new(row, json_integer((json_int_t)matrix[i * n + j]));
            all += matrix[i * n + j];
            local += i == j ? matrix[i * n + j] : 0;
        }
        json_array_append_new(rows, row);
    }
    json_object_set_new(root, "access_matrix", rows);
    json_object_set_new(root, "local", json_real(all > 0 ? local / all : 0));
    free(matrix);
}

static char *reply(json_t *root, const struct error *err)
{
    if (err->set) {
        json_object_set_new(root, "error", json_string(err->text));
    }
    json_object_set_new(root, "ok", json_boolean(!err->set));
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static void moved_report(json_t *root, uint64_t moved, double seconds)
{
    json_object_set_new(root, "moved_bytes", json_integer((json_int_t)moved));
    json_object_set_new(root, "seconds", json_real(seconds));
    json_object_set_new(root, "mib_per_second", json_real(seconds > 0 ? (double)moved / (1 << 20) / seconds : 0));
}

char *placement_command(struct placement *p, const char *line, placement_progress_fn *progress, void *arg)
{
    struct error err = {0};
    if (strncmp(line, "info ", 5) == 0 && p->info_fn != NULL) {
        return p->info_fn(p->info_arg, line + 5);
    }
    json_t *root = json_object();
    uint64_t moved = 0;
    double seconds = 0;
    if (strncmp(line, "set ", 4) == 0) {
        placement_set(p, line + 4, progress, arg, &moved, &seconds, &err);
        moved_report(root, moved, seconds);
    } else if (strcmp(line, "rebalance") == 0) {
        placement_rebalance(p, progress, arg, &moved, &seconds, &err);
        moved_report(root, moved, seconds);
    } else if (strcmp(line, "rebalance traffic") == 0) {
        double *matrix = traffic_read(p, &err);
        if (matrix != NULL) {
            traffic_set(p, matrix, p->guest.num_nodes, progress, arg, &moved, &seconds, &err);
        }
        free(matrix);
        moved_report(root, moved, seconds);
    } else if (strcmp(line, "traffic") == 0) {
        traffic_report(p, root, &err);
    } else if (p->pause_fn != NULL && (strcmp(line, "stop") == 0 || strcmp(line, "cont") == 0)) {
        if (!p->pause_fn(p->pause_arg, line[0] == 's')) {
            error_set(&err, "%s: the machine ended first", line);
        }
    } else if (strcmp(line, "show") == 0) {
        pthread_mutex_lock(&p->place_lock);
        json_object_set_new(root, "plan", plan_to_json(p->host, &p->guest, p->plan));
        pthread_mutex_unlock(&p->place_lock);
    } else if (strcmp(line, "verify") == 0 || strcmp(line, "verify exact") == 0) {
        struct verify_options opt = {.exact = line[6] != 0};
        struct proof proof = {0};
        if (placement_verify(p, &opt, &proof, &err)) {
            json_object_set_new(root, "proof", proof_to_json_object(&proof));
        }
        proof_fini(&proof);
    } else {
        error_set(
            &err,
            "placement %s: not known; use show, set POLICY, verify [exact], traffic, rebalance [traffic], stop or "
            "cont",
            line);
    }
    return reply(root, &err);
}
