/*
 * A threaded Linux program that checks itself: one thread for each hart, bound to it. Counters by atomics and under
 * mutexes, pages handed from thread to thread by condition variables and by futex-free flags, a matrix product that all
 * compute together, code that one thread makes and the others run. Prints "threads: right" and ends with 0, or says
 * what is wrong. threads [SCALE]
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_THREADS = 64, PAGE = 4096, SIDE = 64, CODES = 16 };

static unsigned num, scale = 1;
static atomic_ulong wrong;
static pthread_barrier_t barrier;

static void check(int right, const char *what, unsigned self)
{
    if (!right) {
        fprintf(stderr, "threads: thread %u: %s is wrong\n", self, what);
        atomic_fetch_add(&wrong, 1);
    }
}

/* ---- counters ---- */

static atomic_ulong by_atomic;
static unsigned long by_mutex[2];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void counters(unsigned self)
{
    for (unsigned i = 0; i < 200 * scale; i++) {
        atomic_fetch_add(&by_atomic, self + 1);
        if (i % 4 == 0) {
            pthread_mutex_lock(&mutex);
            check(by_mutex[0] == by_mutex[1], "what a mutex guards", self);
            by_mutex[0]++;
            by_mutex[1]++;
            pthread_mutex_unlock(&mutex);
        }
    }
    pthread_barrier_wait(&barrier);
    check(by_atomic == 200ul * scale * num * (num + 1) / 2, "an atomic counter", self);
    check(by_mutex[0] == 50ul * scale * num, "a counter under a mutex", self);
}

/* ---- a page goes round: each adds its number to every word and checks what came before ---- */

static uint64_t ring[PAGE / 8] __attribute__((aligned(PAGE)));
static unsigned long turn;
static pthread_mutex_t turn_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_cond = PTHREAD_COND_INITIALIZER;
static atomic_ulong baton;

static void pass_on(unsigned self, unsigned long t, int by_flag)
{
    if (by_flag) {
        while (atomic_load_explicit(&baton, memory_order_acquire) != t) {
            sched_yield();
        }
    } else {
        pthread_mutex_lock(&turn_mutex);
        while (turn != t) {
            pthread_cond_wait(&turn_cond, &turn_mutex);
        }
        pthread_mutex_unlock(&turn_mutex);
    }
    for (unsigned i = 0; i < PAGE / 8; i++) {
        check(ring[i] == t + i, "a page that goes round", self);
        ring[i]++;
    }
    if (by_flag) {
        atomic_store_explicit(&baton, t + 1, memory_order_release);
    } else {
        pthread_mutex_lock(&turn_mutex);
        turn = t + 1;
        pthread_cond_broadcast(&turn_cond);
        pthread_mutex_unlock(&turn_mutex);
    }
}

static void rounds(unsigned self, int by_flag)
{
    if (self == 0) {
        turn = baton = 0;
        for (unsigned i = 0; i < PAGE / 8; i++) {
            ring[i] = i;
        }
    }
    pthread_barrier_wait(&barrier);
    for (unsigned r = 0; r < 5 * scale; r++) {
        pass_on(self, (unsigned long)r * num + self, by_flag);
    }
    pthread_barrier_wait(&barrier);
}

/* ---- a product of matrices, each thread some rows; then every thread checks all of it ---- */

static double left[SIDE][SIDE], right[SIDE][SIDE], product[SIDE][SIDE];

static void matrices(unsigned self)
{
    for (unsigned i = self; i < SIDE; i += num) {
        for (unsigned k = 0; k < SIDE; k++) {
            left[i][k] = i + k;
            right[i][k] = i == k ? 2 : 0;
        }
    }
    pthread_barrier_wait(&barrier);
    for (unsigned i = self; i < SIDE; i += num) {
        for (unsigned j = 0; j < SIDE; j++) {
            double sum = 0;
            for (unsigned k = 0; k < SIDE; k++) {
                sum += left[i][k] * right[k][j];
            }
            product[i][j] = sum;
        }
    }
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < SIDE; i++) {
        for (unsigned j = 0; j < SIDE; j++) {
            check(product[i][j] == 2.0 * (i + j), "a product of matrices", self);
        }
    }
}

/* ---- code: li a0, N; ret ---- */

static uint32_t *code;

static void run_code(unsigned self)
{
    for (unsigned n = 0; n < 4 * scale; n++) {
        unsigned maker = n % num;
        if (self == maker) {
            for (unsigned i = 0; i < CODES; i++) {
                code[2 * i] = (n + i) % 2048 << 20 | 10 << 7 | 0x13;
                code[2 * i + 1] = 0x00008067;
            }
            __builtin___clear_cache((char *)code, (char *)(code + 2 * CODES));
        }
        pthread_barrier_wait(&barrier);
        for (unsigned i = 0; i < CODES; i++) {
            uint64_t (*f)(void) = (uint64_t(*)(void))(uintptr_t)(code + 2 * i);
            check(f() == (n + i) % 2048, "code that another thread made", self);
        }
        pthread_barrier_wait(&barrier);
    }
}

static void *thread(void *arg)
{
    unsigned self = (unsigned)(uintptr_t)arg;
    cpu_set_t cpu;
    CPU_ZERO(&cpu);
    CPU_SET(self, &cpu);
    check(pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu) == 0, "the binding to a hart", self);
    pthread_barrier_wait(&barrier);
    counters(self);
    rounds(self, 0);
    rounds(self, 1);
    matrices(self);
    run_code(self);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t id[MAX_THREADS];
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    num = online < MAX_THREADS ? (unsigned)online : MAX_THREADS;
    scale = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED || pthread_barrier_init(&barrier, NULL, num)) {
        perror("threads");
        return 2;
    }
    for (unsigned i = 0; i < num; i++) {
        if (pthread_create(&id[i], NULL, thread, (void *)(uintptr_t)i)) {
            perror("threads");
            return 2;
        }
    }
    for (unsigned i = 0; i < num; i++) {
        pthread_join(id[i], NULL);
    }
    printf("threads: %u on %u harts: %s\n", num, num, wrong ? "WRONG" : "right");
    return wrong != 0;
}
