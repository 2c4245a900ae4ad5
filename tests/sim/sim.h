/* What both simulators share: a seeded generator, the command line, the words of a failure and of a trace. */
#ifndef WEFT_TESTS_SIM_H
#define WEFT_TESTS_SIM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sim_random {
    uint64_t state;
};

/* splitmix64: every seed, also 0 and 1, gives a good stream. */
static inline uint64_t sim_next(struct sim_random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* 0 .. n-1 */
static inline unsigned sim_below(struct sim_random *r, unsigned n)
{
    return (unsigned)((sim_next(r) >> 32) * n >> 32);
}

static inline bool sim_chance(struct sim_random *r, unsigned percent)
{
    return sim_below(r, 100) < percent;
}

/* The run at hand. A world starts at step 0 and time 0. */
static struct sim {
    const char *name;
    uint64_t seed, steps, now;
    bool trace;
} sim;

static inline void sim_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    printf("FAILED with seed %llu at step %llu: ", (unsigned long long)sim.seed, (unsigned long long)sim.steps);
    vprintf(fmt, ap);
    printf("\nrun again: %s --seed %llu --runs 1 --trace\n", sim.name, (unsigned long long)sim.seed);
    va_end(ap);
    fflush(stdout);
    exit(1);
}

static inline void sim_trace(const char *fmt, ...)
{
    if (sim.trace) {
        va_list ap;
        va_start(ap, fmt);
        printf("%7llu t=%llu ", (unsigned long long)sim.steps, (unsigned long long)sim.now);
        vprintf(fmt, ap);
        putchar('\n');
        va_end(ap);
    }
}

/* Reads the command line and runs one world after another: run makes the world of its seed and returns how many steps
 * of the production state machine it took. Ends the program after a mistake; else prints the figures' beginning. */
static inline void sim_main(int argc, char **argv, const char *name, uint64_t (*run)(void))
{
    uint64_t seed = 1, steps = 1000000, runs = UINT64_MAX, done = 0, n = 0;
    sim.name = name;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--trace")) {
            sim.trace = true;
        } else if (i + 1 < argc && !strcmp(argv[i], "--seed")) {
            seed = strtoull(argv[++i], NULL, 0);
        } else if (i + 1 < argc && !strcmp(argv[i], "--steps")) {
            steps = strtoull(argv[++i], NULL, 0);
        } else if (i + 1 < argc && !strcmp(argv[i], "--runs")) {
            runs = strtoull(argv[++i], NULL, 0);
        } else {
            fprintf(stderr, "usage: %s [--seed N] [--steps N] [--runs N] [--trace]\n", name);
            exit(2);
        }
    }
    for (; n < runs && done < steps; n++) {
        sim.seed = seed + n;
        sim.steps = sim.now = 0;
        done += run();
    }
    printf("%llu steps in %llu worlds: ", (unsigned long long)done, (unsigned long long)n);
}

#endif
