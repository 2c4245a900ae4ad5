/* weft top --metrics: the same figures for Prometheus, over HTTP on the loopback. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/top.h"

static void metric(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void thread_metric(FILE *out, const struct host_shape *h, const struct watch_sample *now, const char *name,
                          const char *help, double (*value)(const struct watch_thread *t))
{
    metric(out, name, "counter", help);
    for (unsigned i = 0; i < now->num_threads; i++) {
        const struct watch_thread *t = &now->thread[i];
        const struct host_pu *pu = t->last_pu >= 0 ? host_pu_by_os(h, 0, (unsigned)t->last_pu) : NULL;
        fprintf(out, "%s{pid=\"%d\",tid=\"%d\",thread=\"%s\",node=\"%d\"} %.6f\n", name, now->pid, t->tid, t->name,
                pu != NULL ? (int)h->node[pu->node].os_index : -1, value(t));
    }
}

static double user_seconds(const struct watch_thread *t)
{
    return (double)t->user / (double)sysconf(_SC_CLK_TCK);
}

static double system_seconds(const struct watch_thread *t)
{
    return (double)t->system / (double)sysconf(_SC_CLK_TCK);
}

static double guest_seconds(const struct watch_thread *t)
{
    return (double)t->guest / (double)sysconf(_SC_CLK_TCK);
}

static double run_seconds(const struct watch_thread *t)
{
    return (double)t->run_ns / 1e9;
}

static double wait_seconds(const struct watch_thread *t)
{
    return (double)t->wait_ns / 1e9;
}

static double migrations(const struct watch_thread *t)
{
    return (double)t->migrations;
}

static double switches(const struct watch_thread *t)
{
    return (double)t->switches;
}

static void proof_metrics(FILE *out, const struct proof *p, pid_t pid)
{
    metric(out, "weft_placement_ok", "gauge", "1 while threads and pages are where the plan says.");
    fprintf(out, "weft_placement_ok{pid=\"%d\",policy=\"%s\"} %d\n", pid, p->policy, p->ok);
    metric(out, "weft_placement_drift_threads", "gauge", "Threads that are not where the plan says.");
    fprintf(out, "weft_placement_drift_threads{pid=\"%d\"} %llu\n", pid, (unsigned long long)p->drift_threads);
    metric(out, "weft_guest_pages", "gauge", "Pages of guest memory, of those looked at, by host node.");
    for (unsigned i = 0; i < p->num_ranges; i++) {
        for (unsigned x = 0; x < PLACE_MAX_HOST_NODES; x++) {
            if (p->range[i].on_node[x] > 0) {
                fprintf(out, "weft_guest_pages{pid=\"%d\",guest_node=\"%u\",node=\"%u\"} %llu\n", pid,
                        p->range[i].guest_node, x, (unsigned long long)p->range[i].on_node[x]);
            }
        }
    }
    metric(out, "weft_guest_pages_misplaced", "gauge", "Pages of those looked at that are not where the plan says.");
    for (unsigned i = 0; i < p->num_ranges; i++) {
        fprintf(out, "weft_guest_pages_misplaced{pid=\"%d\",guest_node=\"%u\"} %llu\n", pid, p->range[i].guest_node,
                (unsigned long long)p->range[i].misplaced);
    }
}

static void access_metrics(FILE *out, const struct watch_sample *now)
{
    metric(out, "weft_accesses_total", "counter", "Counted memory accesses, by node of the vCPU and node of the page.");
    for (unsigned i = 0; i < now->traffic_nodes; i++) {
        for (unsigned j = 0; j < now->traffic_nodes; j++) {
            fprintf(out, "weft_accesses_total{pid=\"%d\",vcpu_node=\"%u\",memory_node=\"%u\"} %.0f\n", now->pid, i, j,
                    now->traffic[i][j]);
        }
    }
    metric(out, "weft_access_share", "gauge", "Share of a node's accesses since the start that went to each node.");
    for (unsigned i = 0; i < now->traffic_nodes; i++) {
        double all = 0;
        for (unsigned j = 0; j < now->traffic_nodes; j++) {
            all += now->traffic[i][j];
        }
        for (unsigned j = 0; all > 0 && j < now->traffic_nodes; j++) {
            fprintf(out, "weft_access_share{pid=\"%d\",vcpu_node=\"%u\",memory_node=\"%u\"} %.6f\n", now->pid, i, j,
                    now->traffic[i][j] / all);
        }
    }
}

char *top_metrics(const struct host_shape *h, const struct watch_sample *now)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    metric(out, "weft_memory_bytes", "gauge", "Memory of the weft process by host node.");
    for (unsigned x = 0; x < h->num_nodes; x++) {
        fprintf(out, "weft_memory_bytes{pid=\"%d\",node=\"%u\"} %llu\n", now->pid, h->node[x].os_index,
                (unsigned long long)now->bytes_on_node[h->node[x].os_index]);
    }
    thread_metric(out, h, now, "weft_thread_user_seconds_total", "User time, guest time included.", user_seconds);
    thread_metric(out, h, now, "weft_thread_system_seconds_total", "System time.", system_seconds);
    thread_metric(out, h, now, "weft_thread_guest_seconds_total", "Time in a KVM guest.", guest_seconds);
    thread_metric(out, h, now, "weft_thread_run_seconds_total", "Time on a CPU.", run_seconds);
    thread_metric(out, h, now, "weft_thread_wait_seconds_total", "Time ready but waiting for a CPU.", wait_seconds);
    thread_metric(out, h, now, "weft_thread_migrations_total", "Moves from CPU to CPU.", migrations);
    thread_metric(out, h, now, "weft_thread_switches_total", "Context switches.", switches);
    if (now->have_proof) {
        proof_metrics(out, &now->proof, now->pid);
    }
    if (now->traffic_nodes > 0) {
        access_metrics(out, now);
    }
    top_ranks_metrics(out, now);
    fclose(out);
    return text;
}

#ifndef HAVE_MICROHTTPD

bool top_serve(const struct host_shape *host, pid_t pid, unsigned port, unsigned count, struct error *err)
{
    return error_set(err, "this weft was built without libmicrohttpd and cannot serve --metrics; install "
                          "libmicrohttpd-dev and build again, or use --json");
}

#else

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdatomic.h>

/* (c) before the server starts  [a] atomic */
struct server {
    const struct host_shape *host; /* (c) */
    pid_t pid;                     /* (c) */
    atomic_uint served;            /* [a] */
    atomic_bool ended;             /* [a] the process is no more */
};

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, char *text)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    MHD_add_response_header(r, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    enum MHD_Result result = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *c, const char *url, const char *method,
                              const char *version, const char *data, size_t *size, void **state)
{
    struct server *s = arg;
    struct watch_sample now;
    struct error err = {0};
    if (strcmp(method, "GET") != 0) {
        return reply(c, MHD_HTTP_METHOD_NOT_ALLOWED, strdup("only GET\n"));
    }
    if (strcmp(url, "/metrics") != 0) {
        return reply(c, MHD_HTTP_NOT_FOUND, strdup("the figures are at /metrics\n"));
    }
    if (!watch_sample(s->pid, &now, &err)) {
        atomic_store(&s->ended, true);
        return reply(c, MHD_HTTP_SERVICE_UNAVAILABLE, strdup("the guest has ended\n"));
    }
    char *text = top_metrics(s->host, &now);
    watch_sample_fini(&now);
    enum MHD_Result result = reply(c, MHD_HTTP_OK, text);
    atomic_fetch_add(&s->served, 1);
    return result;
}

bool top_serve(const struct host_shape *host, pid_t pid, unsigned port, unsigned count, struct error *err)
{
    struct server s = {.host = host, .pid = pid};
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct MHD_Daemon *d =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, (uint16_t)port, NULL, NULL, answer, &s, MHD_OPTION_SOCK_ADDR,
                         &addr, MHD_OPTION_CONNECTION_LIMIT, 8u, MHD_OPTION_END);
    if (d == NULL) {
        return error_set(err, "--metrics %u: the port cannot be listened on; give another one", port);
    }
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d", pid);
    while (!atomic_load(&s.ended) && access(path, F_OK) == 0 && (count == 0 || atomic_load(&s.served) < count)) {
        usleep(200000);
    }
    MHD_stop_daemon(d);
    return true;
}

#endif
