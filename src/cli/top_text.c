/* The page of weft top: host nodes, guest nodes, threads. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/top.h"

/* What happened to a thread between two looks; shares of one PU. */
struct rate {
    double user, system, guest, wait, migrations, switches; /* fractions; the last two a second */
};

static const struct watch_thread *thread_in(const struct watch_sample *s, pid_t tid)
{
    for (unsigned i = 0; i < s->num_threads; i++) {
        if (s->thread[i].tid == tid) {
            return &s->thread[i];
        }
    }
    return NULL;
}

static double more(uint64_t now, uint64_t then)
{
    return now > then ? (double)(now - then) : 0;
}

static struct rate rate_of(const struct watch_sample *old, const struct watch_sample *now, const struct watch_thread *t)
{
    const struct watch_thread *was = thread_in(old, t->tid);
    double seconds = now->at - old->at, tick = (double)sysconf(_SC_CLK_TCK);
    struct rate r = {0};
    if (was == NULL || seconds <= 0) {
        return r;
    }
    double user = more(t->user, was->user) / tick, system = more(t->system, was->system) / tick;
    double guest = more(t->guest, was->guest) / tick, run = more(t->run_ns, was->run_ns) / 1e9;
    /* Ticks are coarse: the exact run time is divided as the ticks are. */
    double ticks = user + system, scale = ticks > 0 ? run / ticks : 0;
    r.user = ticks > 0 ? (user - guest) * scale / seconds : run / seconds;
    r.system = system * scale / seconds;
    r.guest = guest * scale / seconds;
    r.wait = more(t->wait_ns, was->wait_ns) / 1e9 / seconds;
    r.migrations = more(t->migrations, was->migrations) / seconds;
    r.switches = more(t->switches, was->switches) / seconds;
    return r;
}

static double busy(const struct rate *r)
{
    double b = r->user + r->system + r->guest;
    return b > 1 ? 1 : b;
}

/* The vCPU's number of a thread named as QEMU's users know them, or -1. */
static int vcpu_of(const struct watch_thread *t)
{
    unsigned n;
    return sscanf(t->name, "CPU %u/", &n) == 1 ? (int)n : -1;
}

static int host_node_of_pu(const struct host_shape *h, int pu)
{
    const struct host_pu *p = pu >= 0 ? host_pu_by_os(h, 0, (unsigned)pu) : NULL;
    return p != NULL ? (int)p->node : -1;
}

static const char *bytes_text(double bytes, char *buf, size_t size)
{
    snprintf(buf, size,
             bytes >= 10e9      ? "%.0fG"
             : bytes >= 1 << 30 ? "%.1fG"
                                : "%.0fM",
             bytes >= 1 << 30 ? bytes / (1 << 30) : bytes / (1 << 20));
    return buf;
}

static void heading(FILE *out, const struct host_shape *h, const struct watch_sample *now)
{
    char clock[16];
    time_t t = time(NULL);
    struct tm tm;
    strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&t, &tm));
    fprintf(out, "weft top  %s  pid %d%s%.16s  on %.20s  ", clock, now->pid, now->name[0] ? "  " : "", now->name,
            h->host[0].name);
    if (!now->have_proof) {
        fprintf(out, "(no --control or --proof)\n");
    } else if (now->proof.ok) {
        fprintf(out, "%s: as planned\n", now->proof.policy);
    } else {
        fprintf(out, "%s: DEVIATES %llu threads %llu pages\n", now->proof.policy,
                (unsigned long long)now->proof.drift_threads, (unsigned long long)now->proof.drift_pages);
    }
}

/* "########..........": ten marks. */
static const char *bar(double share, char *buf, unsigned width)
{
    unsigned n = (unsigned)(share * width + 0.5);
    for (unsigned i = 0; i < width; i++) {
        buf[i] = i < n ? '#' : '.';
    }
    buf[width] = 0;
    return buf;
}

static void host_table(FILE *out, const struct host_shape *h, const struct watch_sample *old,
                       const struct watch_sample *now)
{
    char a[16], b[16], c[16], list[1024], marks[32];
    double use[PLACE_MAX_HOST_NODES] = {0};
    unsigned threads[PLACE_MAX_HOST_NODES] = {0};
    for (unsigned i = 0; i < now->num_threads; i++) {
        struct rate r = rate_of(old, now, &now->thread[i]);
        int x = host_node_of_pu(h, now->thread[i].last_pu);
        if (x >= 0) {
            use[x] += busy(&r);
            threads[x]++;
        }
    }
    fprintf(out, "host node  PUs P#       memory free   weft   threads busy PUs\n");
    for (unsigned x = 0; x < h->num_nodes; x++) {
        const struct host_node *n = &h->node[x];
        double share = n->num_pus > 0 ? use[x] / n->num_pus : 0;
        bitmap_format(&n->pus, list, sizeof(list));
        list[12] = 0;
        fprintf(out, "L#%-2u P#%-4u %-12s %-6s %-6s %-6s %-7u %6.2f of %-3u %s\n", x, n->os_index,
                list[0] ? list : "none", bytes_text((double)n->capacity, a, sizeof(a)),
                bytes_text((double)n->free, b, sizeof(b)),
                bytes_text((double)now->bytes_on_node[n->os_index], c, sizeof(c)), threads[x], use[x], n->num_pus,
                bar(share > 1 ? 1 : share, marks, 10));
    }
}

/* One character a vCPU, so that 64 of them are seen at a glance: '.' idle, 1 to 9 tenths, '#' full. */
static char load_mark(double share)
{
    int tenths = (int)(share * 10 + 0.05);
    return share < 0.05 ? '.' : tenths >= 10 ? '#' : tenths < 1 ? '1' : (char)('0' + tenths);
}

static void guest_strip(FILE *out, const struct watch_sample *old, const struct watch_sample *now)
{
    char marks[WEFT_MAX_HARTS + 1];
    int last = -1;
    memset(marks, ' ', sizeof(marks));
    for (unsigned i = 0; i < now->num_threads; i++) {
        int v = vcpu_of(&now->thread[i]);
        if (v >= 0 && v < WEFT_MAX_HARTS) {
            struct rate r = rate_of(old, now, &now->thread[i]);
            marks[v] = load_mark(busy(&r));
            last = v > last ? v : last;
        }
    }
    for (int v = 0; v <= last; v += 64) {
        fprintf(out, "vCPU %3d-%-3d %.*s\n", v, last < v + 63 ? last : v + 63, last - v + 1 < 64 ? last - v + 1 : 64,
                marks + v);
    }
}

static void guest_table(FILE *out, const struct watch_sample *now)
{
    if (!now->have_proof) {
        return;
    }
    fprintf(out, "guest node  memory  touched  planned P#  pages are on\n");
    for (unsigned i = 0; i < now->proof.num_ranges; i++) {
        const struct proof_range *r = &now->proof.range[i];
        char a[16], b[16], list[256];
        double touched = r->looked_at > 0 ? (double)r->present / (double)r->looked_at * (double)r->len : 0;
        bitmap_format(&r->wanted, list, sizeof(list));
        list[11] = 0;
        fprintf(out, "%-11u %-7s %-8s %-11s", r->guest_node, bytes_text((double)r->len, a, sizeof(a)),
                bytes_text(touched, b, sizeof(b)), list[0] ? list : "any");
        for (unsigned x = 0; x < PLACE_MAX_HOST_NODES; x++) {
            if (r->on_node[x] > 0 && r->present > 0) {
                fprintf(out, " P#%u %.0f%%", x, 100.0 * (double)r->on_node[x] / (double)r->present);
            }
        }
        fprintf(out, "%s\n", r->ok ? "" : " DEVIATES");
    }
}

/* Shares of a guest node's accesses since the last look: to its own memory, and of all. Returns whether it did any. */
static bool access_shares(const struct watch_sample *old, const struct watch_sample *now, unsigned node, double *local,
                          double *of_all)
{
    double mine = 0, own = 0, all = 0;
    for (unsigned i = 0; i < now->traffic_nodes; i++) {
        for (unsigned j = 0; j < now->traffic_nodes; j++) {
            double d = now->traffic[i][j] - (old->traffic_nodes == now->traffic_nodes ? old->traffic[i][j] : 0);
            all += d;
            mine += i == node ? d : 0;
            own += i == node && j == node ? d : 0;
        }
    }
    *local = mine > 0 ? own / mine : 0;
    *of_all = all > 0 ? mine / all : 0;
    return mine > 0;
}

static void access_line(FILE *out, const struct watch_sample *old, const struct watch_sample *now)
{
    unsigned shown = 0;
    for (unsigned i = 0; i < now->traffic_nodes; i++) {
        double local, of_all;
        if (access_shares(old, now, i, &local, &of_all)) {
            const char *lead = shown == 0 ? "local accesses" : shown % 4 == 0 ? "\n              " : "";
            fprintf(out, "%s  node %u %3.0f%%", lead, i, local * 100);
            shown++;
        }
    }
    fprintf(out, "%s", shown > 0 ? "\n" : "");
}

static int by_name(const void *a, const void *b)
{
    const struct watch_thread *x = *(const struct watch_thread *const *)a, *y = *(const struct watch_thread *const *)b;
    int vx = vcpu_of(x), vy = vcpu_of(y);
    if (vx != vy) { /* vCPUs first, by number */
        return vx < 0 ? 1 : vy < 0 ? -1 : vx - vy;
    }
    return x->tid - y->tid;
}

static void thread_table(FILE *out, const struct host_shape *h, const struct watch_sample *old,
                         const struct watch_sample *now)
{
    const struct watch_thread **order = calloc(now->num_threads, sizeof(*order));
    fprintf(out, "    tid thread         PU node allowed  %%user  %%sys %%gues %%wait migr/s  csw/s\n");
    for (unsigned i = 0; i < now->num_threads; i++) {
        order[i] = &now->thread[i];
    }
    qsort(order, now->num_threads, sizeof(*order), by_name);
    for (unsigned i = 0; i < now->num_threads; i++) {
        const struct watch_thread *t = order[i];
        struct rate r = rate_of(old, now, t);
        char list[1024], node[16] = "-";
        int x = host_node_of_pu(h, t->last_pu);
        bitmap_format(&t->allowed, list, sizeof(list));
        list[8] = 0;
        if (x >= 0) {
            snprintf(node, sizeof(node), "P#%u", h->node[x].os_index);
        }
        fprintf(out, "%7d %-13.13s %3d %4s %-8s %5.1f %5.1f %5.1f %5.1f %6.1f %6.0f\n", t->tid, t->name, t->last_pu,
                node, list, r.user * 100, r.system * 100, r.guest * 100, r.wait * 100, r.migrations, r.switches);
    }
    free(order);
}

char *top_text(const struct host_shape *host, const struct watch_sample *old, const struct watch_sample *now)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    heading(out, host, now);
    host_table(out, host, old, now);
    guest_table(out, now);
    access_line(out, old, now);
    top_ranks_text(out, old, now);
    guest_strip(out, old, now);
    thread_table(out, host, old, now);
    fclose(out);
    return text;
}

char *top_json(const struct host_shape *host, const struct watch_sample *old, const struct watch_sample *now)
{
    json_t *threads = json_array(), *nodes = json_array(), *ranges = json_array();
    for (unsigned i = 0; i < now->num_threads; i++) {
        const struct watch_thread *t = &now->thread[i];
        struct rate r = rate_of(old, now, t);
        char list[1024];
        json_array_append_new(
            threads, json_pack("{s:i, s:s, s:i, s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:f}", "tid", t->tid, "name",
                               t->name, "pu", t->last_pu, "host_node", host_node_of_pu(host, t->last_pu), "allowed",
                               bitmap_format(&t->allowed, list, sizeof(list)), "user", r.user, "system", r.system,
                               "guest", r.guest, "wait", r.wait, "migrations_per_second", r.migrations,
                               "switches_per_second", r.switches));
    }
    for (unsigned x = 0; x < host->num_nodes; x++) {
        const struct host_node *n = &host->node[x];
        json_array_append_new(nodes, json_pack("{s:i, s:i, s:I, s:I, s:I}", "logical", (int)x, "os", (int)n->os_index,
                                               "capacity", (json_int_t)n->capacity, "free", (json_int_t)n->free,
                                               "weft_bytes", (json_int_t)now->bytes_on_node[n->os_index]));
    }
    for (unsigned i = 0; now->have_proof && i < now->proof.num_ranges; i++) {
        const struct proof_range *r = &now->proof.range[i];
        json_t *on = json_object();
        for (unsigned x = 0; x < PLACE_MAX_HOST_NODES; x++) {
            char key[16];
            snprintf(key, sizeof(key), "%u", x);
            if (r->on_node[x] > 0) {
                json_object_set_new(on, key, json_integer((json_int_t)r->on_node[x]));
            }
        }
        json_array_append_new(ranges, json_pack("{s:i, s:I, s:I, s:I, s:I, s:o, s:b}", "guest_node", (int)r->guest_node,
                                                "bytes", (json_int_t)r->len, "looked_at", (json_int_t)r->looked_at,
                                                "present", (json_int_t)r->present, "misplaced",
                                                (json_int_t)r->misplaced, "pages_on_node", on, "ok", (int)r->ok));
    }
    json_t *root = json_pack("{s:i, s:s, s:f, s:o, s:o, s:o}", "pid", now->pid, "name", now->name, "seconds",
                             now->at - old->at, "host_nodes", nodes, "guest_memory", ranges, "threads", threads);
    json_t *access = json_array();
    for (unsigned i = 0; i < now->traffic_nodes; i++) {
        double local, of_all;
        access_shares(old, now, i, &local, &of_all);
        json_array_append_new(
            access, json_pack("{s:i, s:f, s:f}", "guest_node", (int)i, "local", local, "share_of_all", of_all));
    }
    json_object_set_new(root, "accesses", access);
    if (now->cluster) {
        json_object_set_new(root, "ranks", top_ranks_json(old, now));
    }
    if (now->have_proof) {
        json_object_set_new(root, "as_planned", json_boolean(now->proof.ok));
        json_object_set_new(root, "policy", json_string(now->proof.policy));
    }
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(root);
    return text;
}
