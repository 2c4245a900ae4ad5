/*
 * What a remote page, a lock and an interrupt cost, beside the raw round trips of the same link in the same run.
 *
 *   mpirun --bind-to none -n 3 cluster_rtt [--count N] [--json]
 *
 * Rank 1 asks, rank 0 is the home, rank 2 the third party. Medians and 99th percentiles in microseconds, and the ratio
 * to the raw ZeroMQ round trip of the same size. "raw" is one thread at each end that does nothing else: over ipc where
 * all ranks are on one host, over tcp (not encrypted) where they are not, as the ranks' own messages go.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "weft/cluster.h"

enum { SMALL = 32, PAGES_PER_RANK = 4096, COUNT_MAX = 4000, STRIDE = 1009 };

static struct membership members;
static struct cluster *cluster;
static uint8_t *ram;
static unsigned count = 1000;
static bool json, only_locks;
static double sample[COUNT_MAX];
static double base_small, base_page; /* medians of raw ZeroMQ */
static sem_t ended, pong, turn;

static double now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}

/* Prints `n` samples; returns the median. `base` 0: no ratio. */
static double report(const char *name, unsigned n, double base)
{
    qsort(sample, n, sizeof(sample[0]), by_value);
    double p50 = sample[n / 2], p99 = sample[n * 99 / 100];
    if (json) {
        printf("{\"name\": \"%s\", \"count\": %u, \"p50_us\": %.3f, \"p99_us\": %.3f, \"ratio\": %.2f}\n", name, n, p50,
               p99, base > 0 ? p50 / base : 0);
    } else if (base > 0) {
        printf("%-44s p50 %9.3f  p99 %9.3f us   %.2f x raw\n", name, p50, p99, p50 / base);
    } else {
        printf("%-44s p50 %9.3f  p99 %9.3f us\n", name, p50, p99);
    }
    fflush(stdout);
    return p50;
}

/* ---- raw ---- */

static void raw_zmq(const char *endpoint, const char *name, size_t answer, double *base)
{
    void *context = zmq_ctx_new(), *s = zmq_socket(context, ZMQ_PAIR);
    static char buffer[8192];
    char bound[256] = "", all[WEFT_MAX_RANKS][256];
    size_t size = sizeof(bound);
    if (members.self == 0) {
        int e = zmq_bind(s, endpoint) || zmq_getsockopt(s, ZMQ_LAST_ENDPOINT, bound, &size);
        assert(!e);
    }
    membership_exchange(&members, bound, sizeof(bound), all);
    if (members.self == 1) {
        zmq_connect(s, all[0]);
        for (unsigned i = 0; i < count; i++) {
            double start = now_us();
            zmq_send(s, buffer, SMALL, 0);
            zmq_recv(s, buffer, sizeof(buffer), 0);
            sample[i] = now_us() - start;
        }
        *base = report(name, count, 0);
    } else if (members.self == 0) {
        for (unsigned i = 0; i < count; i++) {
            zmq_recv(s, buffer, sizeof(buffer), 0);
            zmq_send(s, buffer, answer, 0);
        }
    }
    membership_barrier(&members);
    zmq_close(s);
    zmq_ctx_term(context);
}

static void read_all(int fd, void *buffer, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = read(fd, (char *)buffer + done, size - done);
        assert(n > 0);
        done += (size_t)n;
    }
}

/* Where this host is reached: by loopback where all ranks are on it, else by its first address on a network. */
static struct in_addr own_address(void)
{
    struct in_addr found = {htonl(INADDR_LOOPBACK)};
    struct ifaddrs *list = NULL;
    if (members.hosts < 2 || getifaddrs(&list)) {
        return found;
    }
    for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && (i->ifa_flags & IFF_UP) &&
            !(i->ifa_flags & IFF_LOOPBACK)) {
            found = ((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
            break;
        }
    }
    freeifaddrs(list);
    return found;
}

static void raw_tcp(const char *name, size_t answer)
{
    static char buffer[8192];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = own_address()};
    socklen_t length = sizeof(at);
    int listener = -1, fd = -1, yes = 1;
    if (members.self == 0) {
        listener = socket(AF_INET, SOCK_STREAM, 0);
        int e = bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 1);
        assert(!e);
        getsockname(listener, (struct sockaddr *)&at, &length);
    }
    struct sockaddr_in all[WEFT_MAX_RANKS];
    membership_exchange(&members, &at, sizeof(at), all);
    if (members.self == 0) {
        fd = accept(listener, NULL, NULL);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        for (unsigned i = 0; i < count; i++) {
            read_all(fd, buffer, SMALL);
            ssize_t n = write(fd, buffer, answer);
            assert(n == (ssize_t)answer);
        }
    } else if (members.self == 1) {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        int e = connect(fd, (struct sockaddr *)&all[0], sizeof(all[0]));
        assert(!e);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        for (unsigned i = 0; i < count; i++) {
            double start = now_us();
            ssize_t n = write(fd, buffer, SMALL);
            assert(n == SMALL);
            read_all(fd, buffer, answer);
            sample[i] = now_us() - start;
        }
        report(name, count, 0);
    }
    close(fd);
    close(listener);
    membership_barrier(&members);
}

static void bench_raw(void)
{
    char tcp[64], ipc[160], address[INET_ADDRSTRLEN];
    struct in_addr mine = own_address();
    inet_ntop(AF_INET, &mine, address, sizeof(address));
    snprintf(tcp, sizeof(tcp), "tcp://%s:*", address);
    snprintf(ipc, sizeof(ipc), "ipc://%s/bench", members.run_dir);
    if (only_locks) {
        raw_zmq(members.hosts < 2 ? ipc : tcp, "raw ZeroMQ, 32 B there and back", SMALL, &base_small);
        return;
    }
    raw_tcp("raw TCP, 32 B there and back", SMALL);
    raw_tcp("raw TCP, 32 B there, 4 KiB back", MSG_PAGE_SIZE);
    raw_zmq(tcp, "raw ZeroMQ tcp, 32 B there and back", SMALL, &base_small);
    raw_zmq(tcp, "raw ZeroMQ tcp, 32 B there, 4 KiB back", MSG_PAGE_SIZE, &base_page);
    if (members.hosts < 2) {
        raw_zmq(ipc, "raw ZeroMQ ipc, 32 B there and back", SMALL, &base_small);
        raw_zmq(ipc, "raw ZeroMQ ipc, 32 B there, 4 KiB back", MSG_PAGE_SIZE, &base_page);
    }
}

/* ---- pages ---- */

static void take(void *opaque, uint64_t page, enum page_right right)
{
    page_source_taken(cluster_pages(cluster), page, true);
}

static const struct page_user_ops users = {.take = take};

struct waiting {
    struct page_request request;
    sem_t done;
    enum page_status status;
};

static void page_done(struct page_request *r, enum page_status status)
{
    struct waiting *w = (struct waiting *)r;
    w->status = status;
    sem_post(&w->done);
}

/* Asks for `n` pages from `first`, one at a time, in an order that no prefetch takes for a stream. */
static void fetch(uint64_t first, unsigned n, enum page_right right, const char *name, double base)
{
    struct waiting w = {.request.done = page_done};
    sem_init(&w.done, 0, 0);
    for (unsigned i = 0; i < n; i++) {
        double start = now_us();
        page_source_acquire(cluster_pages(cluster), &w.request, first + (uint64_t)i * STRIDE % n, right, true);
        page_source_wait(cluster_pages(cluster), &w.request);
        sem_wait(&w.done);
        sample[i] = now_us() - start;
        assert(w.status == PAGE_GRANTED);
    }
    if (name) {
        report(name, n, base);
    }
}

/* A sequential reader, who finds some of its pages there already. */
static void scan(uint64_t first, unsigned n)
{
    struct waiting w = {.request.done = page_done};
    sem_init(&w.done, 0, 0);
    double start = now_us();
    unsigned faults = 0;
    for (unsigned i = 0; i < n; i++) {
        if (page_source_right(cluster_pages(cluster), first + i) == PAGE_NONE) {
            page_source_acquire(cluster_pages(cluster), &w.request, first + i, PAGE_READ, true);
            page_source_wait(cluster_pages(cluster), &w.request);
            sem_wait(&w.done);
            faults++;
        }
    }
    sample[0] = (now_us() - start) / n;
    report("sequential read with prefetch, per page", 1, base_page);
    if (!json) {
        printf("  (%u faults for %u pages)\n", faults, n);
    }
}

static void bench_pages(void)
{
    if (members.self == 1) {
        fetch(0, count, PAGE_READ, "read fault, page at its home", base_page);
        fetch(0, count, PAGE_WRITE, "upgrade without bytes", base_small);
    }
    membership_barrier(&members);
    if (members.self == 2 && members.ranks > 2) {
        fetch(0, count, PAGE_READ, "read fault, page at a third rank", base_page);
    }
    membership_barrier(&members);
    if (members.self == 1) {
        fetch(0, count, PAGE_WRITE, members.ranks > 2 ? "upgrade, third rank invalidated" : "upgrade again",
              base_small);
    }
    membership_barrier(&members);
    if (members.self == 1) {
        scan(PAGES_PER_RANK / 4, PAGES_PER_RANK / 4);
    }
    membership_barrier(&members);
    if (members.self == 1) {
        fetch(PAGES_PER_RANK / 2, count, PAGE_READ, "read fault, page of zeroes", base_small);
    }
    membership_barrier(&members);
}

/* ---- locks ---- */

/* A lock of this master; each rank finds the same one. */
static int lock_of(unsigned master)
{
    char name[MSG_LOCK_NAME];
    for (unsigned i = 0;; i++) {
        snprintf(name, sizeof(name), "bench%u", i);
        int lock = cluster_lock_open(cluster, name);
        struct lock_view v;
        for (unsigned k = 0; cluster_lock_view(cluster, k, &v); k++) {
            if ((int)k == lock && v.master == master) {
                return lock;
            }
        }
    }
}

static void lock_repeatedly(int lock)
{
    enum { REPEAT = 1000 };
    struct lock_fence fence;
    for (unsigned i = 0; i < 100; i++) {
        double start = now_us();
        for (unsigned k = 0; k < REPEAT; k++) {
            cluster_lock(cluster, lock, LOCK_EXCLUSIVE, &fence);
            cluster_unlock(cluster, lock, LOCK_EXCLUSIVE);
        }
        sample[i] = (now_us() - start) / REPEAT;
    }
    report("lock and unlock, token here", 100, 0);
}

/* Rank 1 and another take turns, so that each finds the token at the other. */
static void take_turns(int lock, unsigned other, const char *name)
{
    struct lock_fence fence;
    if (members.self == 1 || members.self == other) {
        for (unsigned i = 0; i < count; i++) {
            if (i || members.self == other) {
                sem_wait(&turn);
            }
            double start = now_us();
            cluster_lock(cluster, lock, LOCK_EXCLUSIVE, &fence);
            sample[i] = now_us() - start;
            cluster_unlock(cluster, lock, LOCK_EXCLUSIVE);
            cluster_post(cluster, members.self == 1 ? other : 1, 3, "", 0);
        }
    }
    if (members.self == 1) {
        sem_wait(&turn); /* the other's last */
        report(name, count, base_small);
    }
    membership_barrier(&members);
}

static void bench_locks(void)
{
    int lock = lock_of(0);
    if (members.self == 1) {
        lock_repeatedly(lock);
    }
    membership_barrier(&members);
    take_turns(lock, 0, "lock, token at its master");
    if (members.ranks > 2) {
        take_turns(lock, 2, "lock, token at a third rank");
    }
}

/* ---- posts ---- */

static void on_post(void *opaque, unsigned src, uint32_t kind, const void *bytes, size_t length)
{
    if (kind == 1) {
        cluster_post(cluster, src, 2, bytes, length);
    } else {
        sem_post(kind == 2 ? &pong : &turn);
    }
}

static void bench_posts(void)
{
    if (members.self == 1) {
        for (unsigned i = 0; i < count; i++) {
            double start = now_us();
            cluster_post(cluster, 0, 1, "ipi", 4);
            sem_wait(&pong);
            sample[i] = now_us() - start;
        }
        report("post there and back", count, base_small);
    }
    membership_barrier(&members);
}

static void on_end(void *opaque, int status, int lost, const char *sentence)
{
    if (lost >= 0) {
        fprintf(stderr, "cluster_rtt: %s\n", sentence);
    }
    sem_post(&ended);
}

static const struct cluster_ops ops = {.on_post = on_post, .on_end = on_end};

static bool start_cluster(struct error *err)
{
    struct transport *t = transport_join(&members, CLUSTER_SILENCE_MS, NULL, 0, err);
    if (!t) {
        return false;
    }
    static struct home_range ranges[WEFT_MAX_RANKS];
    for (unsigned r = 0; r < members.ranks; r++) {
        ranges[r] =
            (struct home_range){.first = (uint64_t)r * PAGES_PER_RANK, .count = PAGES_PER_RANK, .rank = (uint16_t)r};
    }
    size_t size = (size_t)members.ranks * PAGES_PER_RANK * MSG_PAGE_SIZE;
    ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert(ram != MAP_FAILED);
    /* Half of each rank's pages have content, half are untouched; all are mapped where they will be stored. */
    memset(ram, 0, size);
    for (size_t p = 0; p < PAGES_PER_RANK / 2; p++) {
        memset(ram + ((size_t)members.self * PAGES_PER_RANK + p) * MSG_PAGE_SIZE, (int)(p | 1), MSG_PAGE_SIZE);
    }
    struct cluster_config c = {.members = &members, .transport = t, .num_ranges = members.ranks, .ranges = ranges};
    c.ram = ram;
    c.users = &users;
    c.ops = &ops;
    c.no_hot = true;
    c.hold_us = 1;
    cluster = cluster_create(&c);
    return cluster_start(cluster, err);
}

int main(int argc, char **argv)
{
    struct error err = {0};
    for (int i = 1; i < argc; i++) {
        json = json || !strcmp(argv[i], "--json");
        only_locks = only_locks || !strcmp(argv[i], "--locks");
        if (!strcmp(argv[i], "--count") && i + 1 < argc) {
            count = (unsigned)atoi(argv[++i]);
        }
    }
    count = count < 100 ? 100 : count > PAGES_PER_RANK / 4 ? PAGES_PER_RANK / 4 : count;
    if (!membership_start(&members, WEFT_VERSION, "cluster_rtt", &err)) {
        error_report(&err);
        return 1;
    }
    if (members.ranks < 2) {
        fprintf(stderr, "cluster_rtt: start it with mpirun -n 2 or more\n");
        return 2;
    }
    sem_init(&ended, 0, 0);
    sem_init(&pong, 0, 0);
    sem_init(&turn, 0, 0);
    bench_raw();
    double mine[2] = {base_small, base_page}, all[WEFT_MAX_RANKS][2];
    membership_exchange(&members, mine, sizeof(mine), all);
    base_small = all[1][0];
    base_page = all[1][1];
    if (!start_cluster(&err)) {
        error_report(&err);
        return 1;
    }
    membership_barrier(&members);
    if (!only_locks) {
        bench_pages();
    }
    bench_locks();
    bench_posts();
    if (members.self == 0) {
        cluster_end(cluster, 0, "done");
    }
    sem_wait(&ended);
    cluster_stop(cluster);
    membership_barrier(&members);
    cluster_destroy(&cluster);
    membership_end(&members);
    return 0;
}
