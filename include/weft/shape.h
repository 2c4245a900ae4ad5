/*
 * The guest's shape: what -smp, -numa and -m mean once they are read, and the rules they must keep.
 *
 * Pure functions over the structs below: no I/O, no allocation, no threads, so any thread may call them on data of its
 * own. src/cli reads the words and calls these in the order of this page; the same rules then hold for every other way
 * to describe a machine. The semantics are those of QEMU (qapi/machine.json: SMPConfiguration, NumaOptions), which is
 * where the users of this machine come from.
 */
#ifndef WEFT_SHAPE_H
#define WEFT_SHAPE_H

#include <stdbool.h>
#include <stdint.h>
#include "weft/config.h"
#include "weft/error.h"

/* The levels of a topology, from the outermost to the innermost. */
enum shape_level {
    LEVEL_DRAWER,
    LEVEL_BOOK,
    LEVEL_SOCKET,
    LEVEL_DIE,
    LEVEL_CLUSTER,
    LEVEL_MODULE,
    LEVEL_CORE,
    LEVEL_THREAD,
    LEVEL_COUNT
};

/* "drawer", "book", ... "thread"; the -smp key is the same word with an s. */
const char *shape_level_name(enum shape_level level);

/* What -smp said; 0 = not said. */
struct smp_request {
    unsigned cpus, maxcpus;
    unsigned level[LEVEL_COUNT];
};

/* Where a hart sits: each number counts within the level around it, from 0. */
struct hart_ids {
    unsigned drawer, book, socket, die, cluster, module, core, thread;
};

/* What one -numa node said. */
struct numa_node_request {
    int nodeid; /* -1 = the next free one */
    struct bitmap cpus;
    bool has_mem;
    uint64_t mem;         /* bytes */
    char memdev[64];      /* "" = not said */
    int initiator;        /* -1 = not said */
    unsigned rank_plus_1; /* 0 = not said */
};

/* The -numa options seen so far. Zero it with shape_numa_init(). */
struct shape_numa {
    unsigned count, end; /* nodes seen; highest id + 1 */
    bool present[WEFT_MAX_NODES];
    struct numa_node_request node[WEFT_MAX_NODES];
    int cpu_node[WEFT_MAX_HARTS];                     /* -1 = not given to a node yet */
    uint8_t distance[WEFT_MAX_NODES][WEFT_MAX_NODES]; /* 0 = not said */
    bool have_distance, hmat_required;
};

/*
 * Computes the levels that -smp left out (cores before sockets before threads, as QEMU since 6.2; the other levels
 * are 1) and checks that their product is maxcpus and that there are at most WEFT_MAX_HARTS.
 */
bool shape_smp_complete(const struct smp_request *request, struct smp_config *smp, struct error *err);

/* The count of one level in a completed -smp. */
unsigned shape_smp_level(const struct smp_config *smp, enum shape_level level);

/* Tells where `hart` (< maxcpus) sits. Harts are numbered with the threads of a core next to each other. */
void shape_hart_ids(const struct machine_config *cfg, unsigned hart, struct hart_ids *ids);

/* The guest node that holds `hart`. Valid after shape_numa_finish(). */
unsigned shape_hart_node(const struct machine_config *cfg, unsigned hart);

void shape_numa_init(struct shape_numa *numa);

/* -numa node. cfg->smp must be complete. */
bool shape_numa_node(struct shape_numa *numa, const struct machine_config *cfg, const struct numa_node_request *node,
                     struct error *err);

/*
 * -numa cpu,node-id=N,<level>-id=...: gives every hart whose ids match to node N; ids[level] is -1 where not said.
 * A core-id said alone counts the cores of the whole machine, as QEMU's riscv machine numbers them.
 */
bool shape_numa_cpu(struct shape_numa *numa, const struct machine_config *cfg, unsigned node,
                    const int ids[LEVEL_COUNT], struct error *err);

/* -numa dist. */
bool shape_numa_dist(struct shape_numa *numa, unsigned src, unsigned dst, unsigned val, struct error *err);

/*
 * Fills cfg's nodes from the requests: one node of all memory when there are none; else checks that memory is given
 * in one way and sums to cfg->mem_size, that each backend is used once, spreads the harts nobody named (`warn`, may be
 * NULL, is told which), completes the distances (10 local, 20 remote; the missing direction of a pair is the given
 * one). cfg's smp, mem_size and backends must be complete. node[].cpus holds only harts that start (< smp.cpus).
 */
bool shape_numa_finish(const struct shape_numa *numa, struct machine_config *cfg, void (*warn)(const char *fmt, ...),
                       struct error *err);

/* -numa hmat-lb and -numa hmat-cache: check against the nodes (after shape_numa_finish) and append to cfg. */
bool shape_hmat_lb(struct machine_config *cfg, const struct hmat_lb *lb, struct error *err);
bool shape_hmat_cache(struct machine_config *cfg, const struct hmat_cache *cache, struct error *err);

#endif
