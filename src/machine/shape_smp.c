/* -smp: the levels of the topology, and where each hart sits in them. */
#include "weft/shape.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const level_names[LEVEL_COUNT] = {
    "drawer", "book", "socket", "die", "cluster", "module", "core", "thread",
};

const char *shape_level_name(enum shape_level level)
{
    assert(level < LEVEL_COUNT);
    return level_names[level];
}

unsigned shape_smp_level(const struct smp_config *smp, enum shape_level level)
{
    const unsigned counts[LEVEL_COUNT] = {smp->drawers,  smp->books,   smp->sockets, smp->dies,
                                          smp->clusters, smp->modules, smp->cores,   smp->threads};
    assert(level < LEVEL_COUNT);
    return counts[level];
}

/* Product of all levels but `except`, where a level not known yet (0) counts as 1. The caller bounds each factor. */
static uint64_t product(const unsigned level[LEVEL_COUNT], int except)
{
    uint64_t p = 1;
    for (int i = 0; i < LEVEL_COUNT; i++) {
        if (i != except && level[i] != 0) {
            p *= level[i];
        }
    }
    return p;
}

/* Writes "sockets (2) * cores (2) * threads (1)": the levels that matter for the sentence. */
static void describe(const unsigned level[LEVEL_COUNT], char *buf, size_t size)
{
    size_t n = 0;
    buf[0] = '\0';
    for (int i = 0; i < LEVEL_COUNT; i++) {
        bool always = i == LEVEL_SOCKET || i == LEVEL_CORE || i == LEVEL_THREAD;
        if (!always && level[i] == 1) {
            continue;
        }
        int r = snprintf(buf + n, size - n, "%s%ss (%u)", n ? " * " : "", level_names[i], level[i]);
        if (r < 0 || (size_t)r >= size - n) {
            return;
        }
        n += (size_t)r;
    }
}

/* Each number must be small enough that no product of all eight can overflow 64 bits: 128^8 = 2^56. */
static bool check_range(const struct smp_request *rq, struct error *err)
{
    if (rq->cpus > WEFT_MAX_HARTS || rq->maxcpus > WEFT_MAX_HARTS) {
        bool is_max = rq->cpus <= WEFT_MAX_HARTS;
        return error_set(err, "-smp %s=%u: the machine has at most %d harts; give %d or fewer",
                         is_max ? "maxcpus" : "cpus", is_max ? rq->maxcpus : rq->cpus, WEFT_MAX_HARTS, WEFT_MAX_HARTS);
    }
    for (int i = 0; i < LEVEL_COUNT; i++) {
        if (rq->level[i] > WEFT_MAX_HARTS) {
            return error_set(err, "-smp %ss=%u: the machine has at most %d harts; give %d or fewer", level_names[i],
                             rq->level[i], WEFT_MAX_HARTS, WEFT_MAX_HARTS);
        }
    }
    return true;
}

/* Sets a level that was left out to what maxcpus leaves for it. */
static void compute(unsigned level[LEVEL_COUNT], int which, unsigned maxcpus)
{
    level[which] = (unsigned)(maxcpus / product(level, which));
}

static void complete_levels(unsigned level[LEVEL_COUNT], unsigned maxcpus)
{
    for (int i = 0; i < LEVEL_COUNT; i++) {
        bool computed = i == LEVEL_SOCKET || i == LEVEL_CORE || i == LEVEL_THREAD;
        if (level[i] == 0 && (!computed || maxcpus == 0)) {
            level[i] = 1;
        }
    }
    if (level[LEVEL_CORE] == 0) {
        level[LEVEL_SOCKET] += level[LEVEL_SOCKET] == 0;
        level[LEVEL_THREAD] += level[LEVEL_THREAD] == 0;
        compute(level, LEVEL_CORE, maxcpus);
    } else if (level[LEVEL_SOCKET] == 0) {
        level[LEVEL_THREAD] += level[LEVEL_THREAD] == 0;
        compute(level, LEVEL_SOCKET, maxcpus);
    } else if (level[LEVEL_THREAD] == 0) {
        compute(level, LEVEL_THREAD, maxcpus);
    }
}

bool shape_smp_complete(const struct smp_request *request, struct smp_config *smp, struct error *err)
{
    if (!check_range(request, err)) {
        return false;
    }
    unsigned level[LEVEL_COUNT];
    memcpy(level, request->level, sizeof(level));
    unsigned maxcpus = request->maxcpus ? request->maxcpus : request->cpus;
    complete_levels(level, maxcpus);

    bool has_zero = false;
    for (int i = 0; i < LEVEL_COUNT; i++) {
        has_zero |= level[i] == 0;
    }
    uint64_t total = has_zero ? 0 : product(level, -1);
    if (maxcpus == 0) {
        maxcpus = total > UINT32_MAX ? UINT32_MAX : (unsigned)total;
    }
    char text[256];
    describe(level, text, sizeof(text));
    if (total > WEFT_MAX_HARTS && request->maxcpus == 0 && request->cpus == 0) {
        return error_set(err, "-smp %s: that makes %llu harts and the machine has at most %d; make a level smaller",
                         text, (unsigned long long)total, WEFT_MAX_HARTS);
    }
    if (total != maxcpus) {
        return error_set(
            err, "-smp maxcpus=%u: the product of the levels, %s, is %llu and not %u; change a level or maxcpus",
            maxcpus, text, (unsigned long long)total, maxcpus);
    }
    unsigned cpus = request->cpus ? request->cpus : maxcpus;
    if (cpus > maxcpus) {
        return error_set(err, "-smp cpus=%u,maxcpus=%u: more harts start than there may be; give maxcpus=%u or more",
                         cpus, maxcpus, cpus);
    }
    *smp = (struct smp_config){
        .cpus = cpus,
        .maxcpus = maxcpus,
        .drawers = level[LEVEL_DRAWER],
        .books = level[LEVEL_BOOK],
        .sockets = level[LEVEL_SOCKET],
        .dies = level[LEVEL_DIE],
        .clusters = level[LEVEL_CLUSTER],
        .modules = level[LEVEL_MODULE],
        .cores = level[LEVEL_CORE],
        .threads = level[LEVEL_THREAD],
    };
    return true;
}

/* Takes the innermost digit of a mixed-radix number off *n. */
static unsigned digit(unsigned *n, unsigned radix)
{
    unsigned d = *n % radix;
    *n /= radix;
    return d;
}

void shape_hart_ids(const struct machine_config *cfg, unsigned hart, struct hart_ids *ids)
{
    const struct smp_config *s = &cfg->smp;
    assert(hart < s->maxcpus);
    ids->thread = digit(&hart, s->threads);
    ids->core = digit(&hart, s->cores);
    ids->module = digit(&hart, s->modules);
    ids->cluster = digit(&hart, s->clusters);
    ids->die = digit(&hart, s->dies);
    ids->socket = digit(&hart, s->sockets);
    ids->book = digit(&hart, s->books);
    ids->drawer = hart;
}
