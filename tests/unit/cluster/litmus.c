/*
 * Litmus tests over ranks through the page port, with real threads and real transports.
 *
 *   litmus --loopback N [--rounds N] [--storm]   N ranks as threads of this process
 *   mpirun -n N litmus [--rounds N] [--storm]    N processes over ZeroMQ
 *
 * Without --storm most rounds run on pages that are here, as in a guest; with it each vCPU rests after a round and
 * pages do not stay, so that nearly every round moves pages.
 *
 * MP, CoRR, SB, LB, IRIW, counters by AMO and by LR/SC, each with the two variables on pages of different homes.
 * Writers write 1, 2, 3, ..., so a forbidden outcome shows in the order of what was read, whatever the interleaving.
 * Prints one line per test.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "page_user.h"
#include "weft/cluster.h"

enum { VCPUS = 2, PAGES = 16, LOOP_RANKS = 4, ROUNDS_MAX = 1000000 };

/* What a vCPU saw in a round: two loads. */
struct sample {
    uint64_t first, second;
};

struct rank {
    struct membership members;
    struct cluster *cluster;
    struct page_user user;
    uint8_t *ram;
    sem_t ended;
    int status, lost;
    char sentence[256];
};

static unsigned ranks, rounds = 3000, failures;
static bool loopback, storm, served;
static struct rank rank[LOOP_RANKS];               /* mpirun: [0] is this process */
static struct sample *samples[LOOP_RANKS * VCPUS]; /* by global vCPU; mpirun: gathered */

static void on_end(void *opaque, int status, int lost, const char *sentence)
{
    struct rank *k = opaque;
    k->status = status;
    k->lost = lost;
    snprintf(k->sentence, sizeof(k->sentence), "%s", sentence);
    sem_post(&k->ended);
}

static const struct cluster_ops cluster_ops = {.on_end = on_end};

static void create_rank(struct rank *k, struct transport *transport)
{
    static struct home_range ranges[PAGES];
    for (unsigned p = 0; p < PAGES; p++) {
        ranges[p] = (struct home_range){.first = p, .count = 1, .rank = (uint16_t)(p % ranks)};
    }
    k->ram = mmap(NULL, PAGES * MSG_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(k->ram != MAP_FAILED);
    sem_init(&k->ended, 0, 0);
    page_user_init(&k->user, VCPUS, k->ram);
    struct cluster_config config = {.members = &k->members, .transport = transport, .num_ranges = PAGES};
    config.ranges = ranges;
    config.ram = k->ram;
    config.users = &page_user_ops;
    config.users_opaque = &k->user;
    config.ops = &cluster_ops;
    config.opaque = k;
    config.hold_us = storm ? 1 : 0;
    config.no_hot = storm && !served;
    config.hot_transfers = served ? 2 : 0;
    k->cluster = cluster_create(&config);
    k->user.source = cluster_pages(k->cluster);
    struct error err = {0};
    if (!cluster_start(k->cluster, &err)) {
        error_report(&err);
        exit(1);
    }
}

struct job {
    void (*body)(struct user_vcpu *v, unsigned global, unsigned base);
    struct user_vcpu *vcpu;
    unsigned global, base;
};

static void *run_job(void *opaque)
{
    struct job *j = opaque;
    page_user_run(j->vcpu);
    j->body(j->vcpu, j->global, j->base);
    page_user_rest(j->vcpu);
    return NULL;
}

static void end_round(struct user_vcpu *v)
{
    if (storm) {
        page_user_rest(v);
        usleep(20);
        page_user_run(v);
    }
}

static void check(bool ok)
{
    if (!ok) {
        usleep(200000); /* pages are refused first, the sentence follows */
        for (unsigned r = 0; r < (loopback ? ranks : 1); r++) {
            fprintf(stderr, "litmus: rank %u: %s\n", rank[r].members.self,
                    rank[r].sentence[0] ? rank[r].sentence : "a page was refused, and nothing said why");
        }
        exit(1);
    }
}

/* Runs `body` on every vCPU of every rank; x is page base, y is page base + 1 (homed elsewhere). Gathers the samples.
 */
static void everywhere(void (*body)(struct user_vcpu *, unsigned, unsigned), unsigned base)
{
    struct job jobs[LOOP_RANKS * VCPUS];
    pthread_t threads[LOOP_RANKS * VCPUS];
    unsigned local_ranks = loopback ? ranks : 1, n = 0;
    for (unsigned r = 0; r < local_ranks; r++) {
        for (unsigned i = 0; i < VCPUS; i++, n++) {
            unsigned global = (loopback ? r : rank[0].members.self) * VCPUS + i;
            memset(samples[global], 0, rounds * sizeof(struct sample));
            jobs[n] = (struct job){.body = body, .vcpu = &rank[r].user.vcpu[i], .global = global, .base = base};
        }
    }
    if (!loopback) {
        membership_barrier(&rank[0].members);
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_create(&threads[i], NULL, run_job, &jobs[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
    if (!loopback) {
        struct sample *all = malloc(ranks * rounds * sizeof(*all));
        for (unsigned i = 0; i < VCPUS; i++) {
            membership_exchange(&rank[0].members, samples[rank[0].members.self * VCPUS + i],
                                rounds * sizeof(struct sample), all);
            for (unsigned r = 0; r < ranks; r++) {
                memcpy(samples[r * VCPUS + i], all + (size_t)r * rounds, rounds * sizeof(struct sample));
            }
        }
        free(all);
    }
}

static void report(const char *name, uint64_t forbidden, const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    failures += forbidden > 0;
    if (loopback || rank[0].members.self == 0) {
        printf("%-8s %u rounds over %u ranks on %u hosts in %.2f s: %llu forbidden\n", name, rounds, ranks,
               loopback ? 1 : rank[0].members.hosts,
               (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9,
               (unsigned long long)forbidden);
        fflush(stdout);
    }
}

/* ---- MP and CoRR: vCPU 0 writes x then y; every other vCPU reads y then x, and x twice ---- */

static void mp_body(struct user_vcpu *v, unsigned global, unsigned base)
{
    for (unsigned i = 0; i < rounds; i++) {
        struct sample *s = &samples[global][i];
        if (global == 0) {
            check(page_user_store(v, base, 8, i + 1) && page_user_store(v, base + 1, 16, i + 1));
        } else {
            check(page_user_load(v, base + 1, 16, &s->first) && page_user_load(v, base, 8, &s->second));
        }
        end_round(v);
    }
}

static void test_mp(unsigned base)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    everywhere(mp_body, base);
    uint64_t mp = 0, corr = 0;
    for (unsigned g = 1; g < ranks * VCPUS; g++) {
        for (unsigned i = 0; i < rounds; i++) {
            const struct sample *s = &samples[g][i];
            mp += s->second < s->first;
            corr += i && (s->first < s[-1].first || s->second < s[-1].second);
        }
    }
    report("MP", mp, &start);
    report("CoRR", corr, &start);
}

/* ---- SB: vCPU 0 writes x, reads y; the first vCPU of rank 1 writes y, reads x ---- */

static void sb_body(struct user_vcpu *v, unsigned global, unsigned base)
{
    for (unsigned i = 0; i < rounds && (global == 0 || global == VCPUS); i++) {
        unsigned own = global == 0 ? base : base + 1, other = global == 0 ? base + 1 : base;
        check(page_user_store(v, own, 32, i + 1));
        check(page_user_load(v, other, 32, &samples[global][i].first));
        end_round(v);
    }
}

static void test_sb(unsigned base)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    everywhere(sb_body, base);
    uint64_t forbidden = 0;
    for (unsigned i = 0; i < rounds; i++) {
        /* In round i + 1 thread A did not see B's write number a + 1: then B's round a + 1 must see A's i + 1. */
        uint64_t a = samples[0][i].first;
        forbidden += a < rounds && samples[VCPUS][a].first < i + 1;
    }
    report("SB", forbidden, &start);
}

/* ---- LB: vCPU 0 reads x, writes y; the first vCPU of rank 1 reads y, writes x ---- */

static void lb_body(struct user_vcpu *v, unsigned global, unsigned base)
{
    for (unsigned i = 0; i < rounds && (global == 0 || global == VCPUS); i++) {
        unsigned read = global == 0 ? base : base + 1, write = global == 0 ? base + 1 : base;
        check(page_user_load(v, read, 48, &samples[global][i].first));
        check(page_user_store(v, write, 48, i + 1));
        end_round(v);
    }
}

static void test_lb(unsigned base)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    everywhere(lb_body, base);
    uint64_t forbidden = 0;
    for (unsigned i = 0; i < rounds; i++) {
        /* Round i + 1 of A saw what B wrote in its round a: B's read of that round came before, and before A's write.
         */
        uint64_t a = samples[0][i].first;
        forbidden += a && samples[VCPUS][a - 1].first >= i + 1;
    }
    report("LB", forbidden, &start);
}

/* ---- IRIW: first vCPUs of ranks 0 and 1 write x and y; the second vCPUs of these ranks read both, in opposite orders
 * ---- */

static void iriw_body(struct user_vcpu *v, unsigned global, unsigned base)
{
    for (unsigned i = 0; i < rounds; i++) {
        struct sample *s = &samples[global][i];
        if (global == 0 || global == VCPUS) {
            check(page_user_store(v, global == 0 ? base : base + 1, 40, i + 1));
        } else if (global == 1) {
            check(page_user_load(v, base, 40, &s->first) && page_user_load(v, base + 1, 40, &s->second));
        } else if (global == VCPUS + 1) {
            check(page_user_load(v, base + 1, 40, &s->second) && page_user_load(v, base, 40, &s->first));
        }
        end_round(v);
    }
}

static void test_iriw(unsigned base)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    everywhere(iriw_body, base);
    /* first = x, second = y on both. Forbidden: one sees x new and y old, the other y new and x old. */
    uint64_t forbidden = 0;
    for (unsigned i = 0, j = 0; i < rounds; i++) {
        const struct sample *a = &samples[1][i];
        while (j + 1 < rounds && samples[VCPUS + 1][j + 1].first < a->first) {
            j++;
        }
        const struct sample *b = &samples[VCPUS + 1][j];
        forbidden += b->first < a->first && b->second > a->second;
    }
    report("IRIW", forbidden, &start);
}

/* ---- counters: everybody adds; nothing may be lost or given out twice ---- */

static void add_body(struct user_vcpu *v, unsigned global, unsigned base)
{
    for (unsigned i = 0; i < rounds; i++) {
        check(page_user_add(v, base, 64, 1, &samples[global][i].first));
        if (i % 64 == 0) {
            check(page_user_fetch(v, base + 1));
        }
        end_round(v);
    }
}

/* Each number from 0 on must have been given out once. */
static uint64_t given_out_wrongly(void)
{
    uint64_t wrong = 0;
    size_t total = (size_t)ranks * VCPUS * rounds;
    uint8_t *seen = calloc(total, 1);
    for (unsigned g = 0; g < ranks * VCPUS; g++) {
        for (unsigned i = 0; i < rounds; i++) {
            uint64_t old = samples[g][i].first;
            wrong += old >= total || seen[old]++;
        }
    }
    free(seen);
    return wrong;
}

static void test_add(unsigned base)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    everywhere(add_body, base);
    report("AMO", given_out_wrongly(), &start);
}

/* LR/SC: read, then store one more if nobody stored in between. */
static void lrsc_body(struct user_vcpu *v, unsigned global, unsigned base)
{
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t seen, old;
        do {
            check(page_user_load(v, base, 72, &seen) && page_user_cas(v, base, 72, seen, seen + 1, &old));
        } while (old != seen);
        samples[global][i].first = seen;
        end_round(v);
    }
}

static void test_lrsc(unsigned base)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    everywhere(lrsc_body, base);
    report("LR/SC", given_out_wrongly(), &start);
}

static void print_stats(struct rank *k)
{
    static struct cluster_stats s;
    cluster_stats_get(k->cluster, &s);
    static const char *const kinds[] = {"read", "write", "upgrade", "prefetch"};
    printf("rank %u:", k->members.self);
    for (unsigned f = 0; f < DIR_FAULTS; f++) {
        for (unsigned h = 0; h < 2; h++) {
            const struct cluster_histogram *g = &s.fault[f][h];
            if (g->count) {
                printf(" %s/%u-hop %llu p50 %.0f p99 %.0f us;", kinds[f], h + 2, (unsigned long long)g->count,
                       (double)cluster_percentile_ns(g, 50) / 1000, (double)cluster_percentile_ns(g, 99) / 1000);
            }
        }
    }
    printf(" remote access %llu p50 %.0f us; held %llu\n", (unsigned long long)s.remote_access.count,
           (double)cluster_percentile_ns(&s.remote_access, 50) / 1000, (unsigned long long)s.directory.held);
}

static void run_tests(void)
{
    for (unsigned g = 0; g < LOOP_RANKS * VCPUS; g++) {
        samples[g] = calloc(rounds, sizeof(struct sample));
    }
    /* Base 0: x at rank 0, y at rank 1; base 1: x at rank 1; base 2: with three ranks and more, homes that do not take
     * part. */
    test_mp(0);
    test_sb(0);
    test_lb(0);
    test_iriw(0);
    test_sb(3);
    test_iriw(5);
    test_mp(6);
    test_add(8);
    test_lrsc(10);
    for (unsigned g = 0; g < LOOP_RANKS * VCPUS; g++) {
        free(samples[g]);
    }
}

static void destroy_rank(struct rank *k)
{
    cluster_destroy(&k->cluster);
    page_user_fini(&k->user);
    munmap(k->ram, PAGES * MSG_PAGE_SIZE);
}

static void finish(struct rank *k)
{
    sem_wait(&k->ended);
    if (k->lost >= 0) {
        fprintf(stderr, "litmus: %s\n", k->sentence);
        failures++;
    }
    cluster_stop(k->cluster);
}

static int run_loopback(void)
{
    struct transport_hub *hub = transport_hub_create(ranks);
    for (unsigned r = 0; r < ranks; r++) {
        rank[r].members = (struct membership){.self = r, .ranks = ranks, .session = 1};
        create_rank(&rank[r], transport_loopback(hub, r));
    }
    run_tests();
    for (unsigned r = 0; r < ranks; r++) {
        print_stats(&rank[r]);
    }
    cluster_end(rank[0].cluster, 0, "done");
    for (unsigned r = 0; r < ranks; r++) {
        finish(&rank[r]);
        destroy_rank(&rank[r]);
    }
    transport_hub_destroy(&hub);
    return failures ? 1 : 0;
}

static int run_mpi(void)
{
    struct rank *k = &rank[0];
    struct error err = {0};
    if (!membership_start(&k->members, WEFT_VERSION, "litmus", &err)) {
        error_report(&err);
        return 1;
    }
    ranks = k->members.ranks;
    if (ranks < 2 || ranks > LOOP_RANKS) {
        fprintf(stderr, "litmus: give --loopback N or start 2 to %d ranks with mpirun\n", LOOP_RANKS);
        return 2;
    }
    struct transport *t = transport_join(&k->members, CLUSTER_SILENCE_MS, NULL, 0, &err);
    if (!t) {
        error_report(&err);
        return 1;
    }
    create_rank(k, t);
    run_tests();
    for (unsigned r = 0; r < ranks; r++) {
        membership_barrier(&k->members);
        if (r == k->members.self) {
            print_stats(k);
            fflush(stdout);
        }
    }
    if (k->members.self == 0) {
        cluster_end(k->cluster, 0, "done");
    }
    finish(k);
    membership_barrier(&k->members);
    destroy_rank(k);
    membership_end(&k->members);
    return failures ? 1 : 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--storm") || !strcmp(argv[i], "--served")) {
            storm = true;
            served = served || argv[i][3] == 'e';
        } else if (i + 1 < argc && !strcmp(argv[i], "--loopback")) {
            loopback = true;
            ranks = (unsigned)atoi(argv[++i]);
        } else if (i + 1 < argc && !strcmp(argv[i], "--rounds")) {
            rounds = (unsigned)atoi(argv[++i]);
        }
    }
    if (rounds < 1 || rounds > ROUNDS_MAX || (loopback && (ranks < 2 || ranks > LOOP_RANKS))) {
        fprintf(stderr, "usage: litmus [--loopback 2..%d] [--rounds 1..%d] [--storm | --served]\n", LOOP_RANKS,
                ROUNDS_MAX);
        return 2;
    }
    return loopback ? run_loopback() : run_mpi();
}
