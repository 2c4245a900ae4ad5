/*
 * What deploy/bench cluster runs inside Debian's guest: work of a fixed size, pinned, timed by the guest's clock.
 *   guest_load compute CPU...   arithmetic in one process per CPU, all at once
 *   guest_load memory CPU MIB   a working set of that size, written first by the process on that CPU, read and written
 * Prints "LOAD compute 0,1 SECONDS": the slowest process of the best of three tries.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    TRIES = 3,
    MAX_CPUS = 64,
    COMPUTE_STEPS = 800000000,
    MEMORY_WORDS = 800000000,
    WARM_UP = 100,
    AHEAD_NS = 500000000
};

static volatile uint64_t sink;

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set)) {
        perror("sched_setaffinity");
        exit(1);
    }
}

static void compute(uint64_t steps)
{
    uint64_t x = sink;
    for (uint64_t i = 0; i < steps; i++) {
        x = x * 6364136223846793005ull + (x >> 29) + i;
    }
    sink = x;
}

static void traverse(uint64_t *words, size_t n, uint64_t total)
{
    for (uint64_t done = 0; done < total; done += n) {
        for (size_t i = 0; i < n; i++) {
            words[i] += i ^ done;
        }
    }
}

static void wait_until(int64_t when_ns)
{
    struct timespec ts = {.tv_sec = when_ns / 1000000000, .tv_nsec = when_ns % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

/* One process for each CPU; returns how long the slowest took, in ns. */
static int64_t try_compute(const int *cpu, int n)
{
    int pipes[2];
    int64_t start = now_ns() + AHEAD_NS, slowest = 0, took;
    if (pipe(pipes)) {
        exit(1);
    }
    for (int i = 0; i < n; i++) {
        if (fork() == 0) {
            pin(cpu[i]);
            compute(COMPUTE_STEPS / WARM_UP);
            wait_until(start);
            int64_t begun = now_ns();
            compute(COMPUTE_STEPS);
            took = now_ns() - begun;
            _exit(write(pipes[1], &took, sizeof(took)) != sizeof(took));
        }
    }
    for (int i = 0; i < n; i++) {
        int status;
        if (read(pipes[0], &took, sizeof(took)) != sizeof(took) || wait(&status) < 0 || status) {
            exit(1);
        }
        slowest = took > slowest ? took : slowest;
    }
    close(pipes[0]);
    close(pipes[1]);
    return slowest;
}

static int64_t try_memory(int cpu, size_t bytes)
{
    pin(cpu);
    uint64_t *words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (words == MAP_FAILED) {
        exit(1);
    }
    size_t n = bytes / sizeof(*words);
    traverse(words, n, 2 * n);
    int64_t begun = now_ns();
    traverse(words, n, MEMORY_WORDS);
    int64_t took = now_ns() - begun;
    munmap(words, bytes);
    return took;
}

int main(int argc, char **argv)
{
    int cpu[MAX_CPUS], n = 0;
    int64_t best = INT64_MAX;
    char name[256] = "";
    if (argc < 3) {
        return 2;
    }
    for (int i = 2; i < argc && n < MAX_CPUS; i++) {
        cpu[n++] = atoi(argv[i]);
        snprintf(name + strlen(name), sizeof(name) - strlen(name), "%s%s", n > 1 ? "," : "", argv[i]);
    }
    for (int i = 0; i < TRIES; i++) {
        int64_t took =
            !strcmp(argv[1], "memory") && n == 2 ? try_memory(cpu[0], (size_t)cpu[1] << 20) : try_compute(cpu, n);
        best = took < best ? took : best;
    }
    printf("LOAD %s %s %.4f\n", argv[1], name, (double)best / 1e9);
    return 0;
}
