/* What the files of this room share among themselves. Nothing here is for other rooms. */
#ifndef PLACEMENT_INTERNAL_H
#define PLACEMENT_INTERNAL_H

#include <pthread.h>
#include <jansson.h>
#include "weft/placement.h"

/* topology.c / sysfs.c / probe_cache.c */
struct sysfs_node {
    bool exists, has_cpulist;
    struct bitmap pus;
    uint64_t total, available; /* bytes */
};
void sysfs_node_read(unsigned os_index, struct sysfs_node *out);
void sysfs_hugepages_read(struct host_node *node);
/* Reads a whole small file into buf (terminated, trailing newline cut). Returns its length or -errno. */
int sysfs_text_read(const char *path, char *buf, size_t size);
uint64_t fnv1a(uint64_t h, const void *data, size_t len);

/* plan.c <-> solver: items to place and what is free. All pure. */
enum { SOLVE_NODES = WEFT_MAX_NODES };

/*
 * One instance: guest nodes with a demand on a host node's PUs or cores (for their vCPUs) and on memory. cpu_allowed
 * and mem_allowed say where a node may go at all; told places are a set of one.
 */
struct solve_problem {
    unsigned n, h;
    const double *cost;                       /* [h*h], initiator-major */
    double traffic[SOLVE_NODES][SOLVE_NODES]; /* [cpus of][memory of] */
    unsigned cpu_need[SOLVE_NODES];           /* 0: no vCPUs, nothing to place */
    uint64_t mem_need[SOLVE_NODES];           /* 0: no memory */
    uint64_t page_need[SOLVE_NODES];          /* hugepages, of page_kind */
    int page_kind[SOLVE_NODES];               /* index into pages_free of a host node, or -1 */
    unsigned cpu_free[PLACE_MAX_HOST_NODES];  /* in the unit of cpu_need */
    uint64_t mem_free[PLACE_MAX_HOST_NODES];
    uint64_t pages_free[PLACE_MAX_HOST_NODES][PLACE_MAX_PAGE_SIZES];
    struct bitmap cpu_allowed[SOLVE_NODES], mem_allowed[SOLVE_NODES];
    unsigned group[PLACE_MAX_HOST_NODES]; /* host of the host node: cpus and memory stay in one group */
    bool distinct;                        /* no two guest nodes on one host node */
    uint64_t max_steps;                   /* of the exact search */
};

struct solve_result {
    bool feasible, exact;
    double cost, bound;
    uint64_t steps;
    int16_t cpu[SOLVE_NODES], mem[SOLVE_NODES]; /* host nodes, -1: none */
    unsigned num_alternatives;
    bool alternatives_exact; /* they are the next best of all, not only the next best found */
    struct {
        double cost;
        int16_t cpu[SOLVE_NODES], mem[SOLVE_NODES];
    } alternative[PLACE_MAX_ALTERNATIVES];
};

double solve_cost(const struct solve_problem *p, const int16_t *cpu, const int16_t *mem);
bool solve_feasible(const struct solve_problem *p, const int16_t *cpu, const int16_t *mem);
double solve_root_bound(const struct solve_problem *p);
void solve_exact(const struct solve_problem *p, struct solve_result *r);
void solve_heuristic(const struct solve_problem *p, struct solve_result *r);
bool solve_pack(const struct solve_problem *p, struct solve_result *r);
bool solve_spread(const struct solve_problem *p, struct solve_result *r);

void plan_note(struct plan *plan, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* threads.c: places for threads on the host nodes that were chosen, and what a whole plan costs. Pure. */
void plan_threads_place(struct plan *plan, const struct host_shape *host, const struct guest_shape *guest,
                        const struct place_options *opt, bool siblings_first);
void plan_threads_float(struct plan *plan, const struct host_shape *host, const struct guest_shape *guest);
double plan_cost(const struct plan *plan, const struct host_shape *host, const struct guest_shape *guest);
bool plan_explicit_apply(struct plan *plan, const struct host_shape *host, const struct guest_shape *guest,
                         const struct place_options *opt, struct error *err);

/* explicit.c */
bool place_explicit_parse(struct place_options *opt, const char *text, const char *where, struct error *err);

/* placement.c: a running machine */
struct placed_thread {
    enum place_thread_kind kind;
    unsigned index;
    pid_t tid;
    char name[32];
    bool bound;
    bool adopted, seen; /* adopted: found by threads_adopt(), nobody bound it; seen: by the last such look */
};

struct placed_range {
    unsigned node;
    uint8_t *addr;
    size_t len;
    uint64_t page_size;
    bool bound;
};

/*
 * (c) fixed at create  [L] lock  [R] re-place lock, then lock
 */
struct placement {
    pthread_mutex_t lock;       /* leaf */
    pthread_mutex_t place_lock; /* held over a whole re-placement or verification; before `lock` */
    bool strict, over_ranks;    /* (c) */
    struct host_shape *host;    /* (c) but for the free amounts [R] */
    struct guest_shape guest;   /* (c) but for traffic [R] */
    struct plan *plan;          /* [R] for writing and [L]; readers hold either */
    struct bitmap floating;     /* (c) P# this process was allowed at start */
    unsigned num_threads, cap_threads;
    struct placed_thread *thread; /* [L] */
    unsigned num_ranges, cap_ranges;
    struct placed_range *range;  /* [L] */
    unsigned warned;             /* [L] bit per place_call: the sentence was printed */
    pthread_t watcher;           /* verify every ...; [R] */
    bool watching, watcher_stop; /* [L] */
    pthread_cond_t watcher_wake;
    double watch_seconds;
    bool watch_exact;
    placement_report_fn *watch_cb;
    void *watch_arg;
    /* supervision: (c) after placement_supervise_start, but for `deviated`, which the watcher alone writes */
    bool supervised, deviated;
    char deviation[1000]; /* the sentence */
    char proof_file[512];
    placement_deviation_fn *deviation_cb;
    void *deviation_arg;
    placement_traffic_fn *traffic_fn; /* (c) after placement_traffic_source, or NULL */
    void *traffic_arg;
    placement_info_fn *info_fn; /* (c) after placement_info_source, or NULL */
    void *info_arg;
    placement_pause_fn *pause_fn; /* (c) after placement_pause_source, or NULL */
    void *pause_arg;
    char place[sizeof(((struct machine_config *)0)->place)]; /* [R] what the plan was made from */
    struct control *control;                                 /* the control socket, or NULL */
};

/* apply.c: all return 0 or an errno. */
int memory_policy_apply(const struct host_shape *host, const struct plan_node *n, void *addr, size_t len,
                        uint64_t page_size);
/* thp: 1 on, 0 off, -1 as the host has it. */
int memory_thp_apply(void *addr, size_t len, int thp);
int thread_affinity_apply(pid_t tid, const struct bitmap *pus);
int thread_affinity_read(pid_t tid, struct bitmap *pus);
void host_nodes_to_os(const struct host_shape *host, const struct bitmap *nodes, struct bitmap *os);
/* Interleaving by weight is done in stripes, each bound to one node. */
uint64_t stripe_bytes(uint64_t len, uint64_t page_size);
bool node_is_striped(const struct plan_node *n);
int stripe_node(const struct plan_node *n, uint64_t stripe);

/* diagnose.c */
void diagnose_here(struct diagnose_facts *facts, const struct host_shape *host);

/* prealloc.c */
int memory_populate(void *addr, size_t len, uint64_t page_size, const struct bitmap *pus, unsigned threads,
                    placement_progress_fn *progress, void *arg, bool *cancelled);

/* migrate.c */
enum { PAGES_QUERY_MAX = 1024 };
struct migrate_progress {
    placement_progress_fn *fn; /* or NULL */
    void *arg;
    uint64_t done, total; /* bytes looked at */
    uint64_t moved_pages;
};
/* status[i] = P# of page first + i * stride of the range, or -errno. Returns 0 or an errno. */
int pages_query(const struct placed_range *r, uint64_t first, uint64_t stride, unsigned n, int *status);
bool page_in_place(const struct host_shape *host, const struct plan_node *node, const struct placed_range *r,
                   uint64_t page, const struct bitmap *os, int where);
int memory_migrate(const struct host_shape *host, const struct placed_range *r, const struct plan_node *node,
                   struct migrate_progress *progress);

/* supervise.c: "start,every=10s,exact" */
struct verify_request {
    bool start, exact;
    double every; /* seconds; 0 = not */
};
bool verify_request_parse(struct verify_request *r, const char *text, struct error *err);

/* adopt.c: registers and binds what threads of this process nobody did. Takes the lock. */
void threads_adopt(struct placement *p);

/* placement.c, verify.c */
struct placed_thread *thread_register_locked(struct placement *p, enum place_thread_kind kind, unsigned index,
                                             const char *name, pid_t tid, bool bound);
const struct plan_thread *thread_place(const struct plan *plan, enum place_thread_kind kind, unsigned index);
bool placement_refused(struct placement *p, enum place_call call, int errnum, const struct diagnose_facts *f,
                       const char *whom, struct error *err);
void facts_for_node(struct placement *p, struct diagnose_facts *f, unsigned node);
bool verify_locked(struct placement *p, const struct verify_options *opt, struct proof *proof, struct error *err);

json_t *plan_to_json(const struct host_shape *host, const struct guest_shape *guest, const struct plan *plan);
json_t *host_to_json(const struct host_shape *host);
json_t *proof_to_json_object(const struct proof *proof);
void plan_print(FILE *out, const struct host_shape *h, const struct guest_shape *g, const struct plan *plan,
                const struct proof *proof);
bool plan_draw(const struct host_shape *host, const struct guest_shape *guest, const struct plan *plan, bool png,
               FILE *out, struct error *err);
const char *size_text(uint64_t bytes, char *buf, size_t size);

#endif
