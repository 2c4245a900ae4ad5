/*
 * Placement: which thread and which page of the guest goes where on the host, why, and whether it did.
 *
 *   host_shape_load() + guest_shape_from_config()      what there is and what is wanted
 *     -> placement_plan()                              pure: no system call, no clock, no global state
 *     -> placement_bind_thread/_memory/_prealloc()     apply, each thread on itself, memory before its first touch
 *     -> placement_verify()                            read back from the kernel
 *     -> placement_print(), proof_*()                  report
 *
 * Canonical call sequence of a running machine (`struct placement` ties the steps together):
 *
 *   struct placement *p = placement_create(cfg, rank, &err);            main thread, before anything is allocated
 *   for each guest node: addr = mmap(...);  placement_bind_memory(p, node, addr, len, &err);
 *                        if (backend->prealloc) placement_prealloc(p, node, addr, len, 0, progress_cb, arg, &err);
 *   in each new thread:  placement_bind_thread(p, PLACE_VCPU, index, 0, "CPU 0/TCG", &err);
 *   placement_verify(p, NULL, &proof, &err); placement_print(p, stdout, PLACE_TEXT);
 *   placement_destroy(&p);                                              after the threads have ended
 *
 * Host nodes and PUs are named by two indexes, as in hwloc: P# is the operating system's (what `numactl` and `taskset`
 * take), L# the logical one. In this contract `os_index` is P#; a plain `host node` number is an index into
 * host_shape.node[], which is in L# order, host after host.
 */
#ifndef WEFT_PLACEMENT_H
#define WEFT_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include "weft/bitmap.h"
#include "weft/config.h"
#include "weft/error.h"

enum {
    PLACE_MAX_CYCLE = 1024,
    PLACE_MAX_HOST_NODES = 256,
    PLACE_MAX_HOSTS = 32,
    PLACE_MAX_PAGE_SIZES = 4,
    PLACE_MAX_IOTHREADS = 32,
    PLACE_MAX_ALTERNATIVES = 3,
};

/* ---- host shape ------------------------------------------------------------------------------------------------ */

/* Where the cost matrix came from, best first. */
enum cost_source { COST_PROBE, COST_HMAT, COST_SLIT, COST_FLAT };

struct host_page_size {
    uint64_t size;        /* bytes: 2 MiB, 1 GiB, ... (never the base page) */
    uint64_t total, free; /* pages of this size in the node's pool */
};

struct host_node {
    unsigned os_index, host; /* P#, and which of host_shape.host[] it is in */
    uint64_t capacity, free; /* bytes; free is 0 where it is not known (XML, synthetic), see have_free */
    bool have_free;
    bool memory_allowed;  /* false: the cpuset/cgroup of this process excludes the node's memory */
    struct bitmap pus;    /* P# of the PUs local to the node that this process may use */
    unsigned num_pus;     /* of pus */
    unsigned num_cores;   /* cores with at least one PU in pus */
    unsigned pus_offline; /* PUs of the node that exist but are not allowed here */
    char kind[16];        /* "DRAM", "HBM", "CXL", ... or "" */
    unsigned num_page_sizes;
    struct host_page_size page_size[PLACE_MAX_PAGE_SIZES];
    uint64_t cache_size[4]; /* bytes, [level - 1], of one cache of the node; 0 = none */
};

struct host_pu {
    unsigned os_index, logical; /* P#, L# */
    unsigned core, smt;         /* L# of its core (over the whole shape), and which thread of that core it is */
    unsigned node;              /* index into host_shape.node[] */
};

struct host_info {
    char name[64];
    char source[256];      /* "this machine", a file name, or the synthetic string */
    bool this_system;      /* hwloc_topology_is_thissystem: only then may a plan be applied */
    char hash[24];         /* of cores, nodes, capacities, distances; names a probe cache entry and a proof */
    char restriction[256]; /* what a cpuset or cgroup takes away, in words, or "" */
};

/* Constant after load; owned by whoever loaded it. */
struct host_shape {
    unsigned num_hosts, num_nodes, num_pus;
    struct host_info host[PLACE_MAX_HOSTS];
    struct host_node node[PLACE_MAX_HOST_NODES];
    struct host_pu *pu; /* [num_pus], L# order */
    enum cost_source cost_source;
    double *cost;          /* [initiator * num_nodes + target]; local DRAM is 10, as in a SLIT */
    double *latency_ns;    /* the same shape, or NULL: HMAT or probe */
    double *bandwidth_mbs; /* the same shape, or NULL */
    bool smt;              /* some core has more than one allowed PU */
};

/*
 * Loads one or more hosts. `sources` is an array of n strings: NULL or "" = this machine, a name that is a readable
 * file = an lstopo XML, anything else = a synthetic description ("numa:4 core:8 pu:2"). n == 0 means this machine.
 * A host's probe file (weft probe) is preferred over HMAT over SLIT where the cache holds one for its hash.
 * Returns NULL with a sentence when a source cannot be read. Any thread.
 */
struct host_shape *host_shape_load(const char *const *sources, unsigned n, struct error *err);
void host_shape_destroy(struct host_shape **host);
/* Reads free memory and hugepages of this machine's nodes again; the rest of the shape stays. */
void host_shape_refresh(struct host_shape *host);

static inline double host_cost(const struct host_shape *h, unsigned initiator, unsigned target)
{
    return h->cost[initiator * h->num_nodes + target];
}

/* Returns the host node with this P# on that host, or -1. */
int host_node_by_os(const struct host_shape *h, unsigned host, unsigned os_index);
/* Returns the PU with this P# on that host, or NULL. */
const struct host_pu *host_pu_by_os(const struct host_shape *h, unsigned host, unsigned os_index);

/* ---- guest shape ----------------------------------------------------------------------------------------------- */

struct guest_node {
    struct bitmap cpus;
    unsigned num_cpus, num_cores; /* num_cores: guest cores, i.e. groups of threads_per_core vCPUs */
    uint64_t mem;                 /* bytes */
    bool told_memory;             /* the operator named host nodes (P#) and a policy for the memory */
    struct bitmap told_nodes;
    enum mem_policy told_policy;
    uint64_t page_size; /* bytes of the hugepages wanted, or 0: base pages (THP as the host has it) */
    int thp;            /* 1 = MADV_HUGEPAGE, 0 = MADV_NOHUGEPAGE, -1 = as the host has it */
    int rank;           /* or -1 */
    int io_near;        /* iothreads that serve this node; informative */
};

struct guest_shape {
    unsigned num_nodes, num_vcpus, threads_per_core, num_iothreads;
    bool single_thread; /* all vCPUs run in one thread (icount, thread=single) */
    struct guest_node node[WEFT_MAX_NODES];
    uint8_t vcpu_node[WEFT_MAX_HARTS];
    uint16_t vcpu_core[WEFT_MAX_HARTS]; /* guest core, over the whole guest */
    char iothread_name[PLACE_MAX_IOTHREADS][32];
    int iothread_node[PLACE_MAX_IOTHREADS];         /* guest node, or -1 */
    double traffic[WEFT_MAX_NODES][WEFT_MAX_NODES]; /* [cpus of][memory of], shares of all accesses: they sum to 1 */
    bool traffic_measured;                          /* from a file; else the model in docs/placement.md */
};

/* Pure. rank -1: the whole guest; else nodes of other ranks count as having neither CPUs nor memory. */
void guest_shape_from_config(struct guest_shape *guest, const struct machine_config *cfg, int rank);

/*
 * Reads a traffic matrix: {"access_matrix": [[...], ...]} or the bare array (row = accessing node, column = owner of
 * the page; any unit), the form of weft's own closing report. Returns false with a sentence at a mistake.
 */
bool guest_traffic_load(struct guest_shape *guest, const char *path, struct error *err);

/* ---- plan (pure) ----------------------------------------------------------------------------------------------- */

enum place_policy { PLACE_MATCH, PLACE_PACK, PLACE_SPREAD, PLACE_INTERLEAVE, PLACE_NONE, PLACE_EXPLICIT };
enum place_grain { GRAIN_PU, GRAIN_CORE, GRAIN_NODE }; /* what one vCPU thread is bound to */
enum place_thread_kind {
    PLACE_VCPU,
    PLACE_MAIN,
    PLACE_IOTHREAD,
    PLACE_WORKER,
    PLACE_COHERENCE,
    PLACE_ZMQ_IO,
    PLACE_MPI,
    PLACE_VNC,
    PLACE_MIGRATION,
    PLACE_KINDS
};
enum place_mem_policy { PMEM_DEFAULT, PMEM_BIND, PMEM_PREFERRED, PMEM_INTERLEAVE, PMEM_RESTRICTIVE };

/* One line of an explicit placement; P# everywhere. */
struct place_explicit {
    struct bitmap vcpu[WEFT_MAX_HARTS], iothread[PLACE_MAX_IOTHREADS], emulator;
    bool has_vcpu[WEFT_MAX_HARTS], has_iothread[PLACE_MAX_IOTHREADS], has_emulator;
    struct bitmap mem[WEFT_MAX_NODES];
    enum place_mem_policy mem_policy[WEFT_MAX_NODES];
    bool has_mem[WEFT_MAX_NODES];
    bool has_thp[WEFT_MAX_NODES], thp[WEFT_MAX_NODES]; /* transparent hugepages */
};

struct place_options {
    enum place_policy policy;
    enum place_policy base_policy; /* PLACE_EXPLICIT: for what no statement names */
    enum place_grain grain;
    bool smt;          /* use SMT siblings although cores are left */
    bool overcommit;   /* more threads than PUs, or more memory than a node has, is all right */
    bool has_thp, thp; /* transparent hugepages on or off for all nodes without hugepages of their own */
    bool distinct;     /* match: guest nodes go to host nodes of their own while there are enough */
    bool heuristic;    /* match: never exact */
    double seconds;    /* match: time after which the exact search gives up; counted in steps, 0 = the default */
    struct place_explicit *explicit_; /* PLACE_EXPLICIT only; owned */
};

/*
 * Parses --place:
 * "match[,bind=core|pu|node][,smt=on|off][,overcommit=on|off][,distinct=on|off][,search=exact|heuristic]" and likewise
 * pack, spread, interleave, none; the name of a file; or statements separated by ';', the same ones that a file holds
 * one a line: "vcpu 0 0-3,^2; node 0 bind 1; emulator 0; iothread 0 2; default pack". NULL or "" = spread, bound to
 * whole nodes, overcommit allowed (what a machine gets when nothing was asked).
 */
bool place_options_parse(struct place_options *opt, const char *text, struct error *err);
void place_options_fini(struct place_options *opt);
/* Sets guest->node[].thp from thp=on|off and "node N thp on|off"; false with a sentence where that cannot be. Pure. */
bool guest_thp_from_options(struct guest_shape *guest, const struct place_options *opt, struct error *err);

struct plan_thread {
    enum place_thread_kind kind;
    unsigned index;
    char name[32];
    int guest_node, host_node; /* or -1 */
    bool bound;                /* false: it floats over all allowed PUs */
    bool overcommitted;        /* shares its PUs with another vCPU thread */
    struct bitmap pus;         /* P#, of host_node's host */
};

struct plan_node {
    int cpu_node; /* host node of the vCPUs, -1: none or several */
    int mem_node; /* host node of the memory (the first of several), -1: none */
    enum place_mem_policy policy;
    struct bitmap host_nodes;              /* indexes into host_shape.node[], all of one host */
    unsigned weight[PLACE_MAX_HOST_NODES]; /* interleave by bandwidth: share of each; 0 = not used */
    unsigned cycle_len;                    /* > 0: stripe s is on host node cycle[s % cycle_len] */
    uint16_t cycle[PLACE_MAX_CYCLE];
    bool told;          /* as the operator named it */
    bool overcommitted; /* does not fit into what is there */
    char reason[160];
};

struct plan_alternative {
    double cost;
    int16_t cpu_node[WEFT_MAX_NODES], mem_node[WEFT_MAX_NODES]; /* host nodes, -1: none */
};

/* Result of the solver; constant afterwards. */
struct plan {
    enum place_policy policy;
    enum place_grain grain;
    bool applied_here; /* host is this machine: may be applied */
    unsigned num_nodes;
    struct plan_node node[WEFT_MAX_NODES];
    unsigned num_threads;
    struct plan_thread thread[WEFT_MAX_HARTS + PLACE_MAX_IOTHREADS + PLACE_KINDS];
    double cost;                   /* mean cost of one access: sum of traffic x host cost; 10 = everything local */
    double bound;                  /* no plan is cheaper than this */
    bool exact;                    /* bound == cost was proven */
    uint64_t steps;                /* of the search */
    double cost_pack, cost_spread; /* for comparison; < 0: not feasible */
    unsigned num_alternatives;
    bool alternatives_exact;                                     /* they are proven to be the next best */
    struct plan_alternative alternative[PLACE_MAX_ALTERNATIVES]; /* next best, by cost */
    unsigned num_notes;
    char note[16][256]; /* in words: restrictions, overcommit, why this one */
};

/*
 * Makes the plan. Pure and deterministic: the same input gives the same plan on every host. Returns NULL with a
 * sentence if the guest does not fit (and overcommit was not asked for) or what was told cannot be done.
 */
struct plan *placement_plan(const struct host_shape *host, const struct guest_shape *guest,
                            const struct place_options *opt, struct error *err);
void plan_destroy(struct plan **plan);
/* The thread's place, or NULL if the plan has none for it. */
const struct plan_thread *plan_thread_find(const struct plan *plan, enum place_thread_kind kind, unsigned index);

/* ---- apply ----------------------------------------------------------------------------------------------------- */

struct placement; /* a machine's plan, its registered threads and memory; functions are safe from any thread */

/*
 * Loads this machine's shape, makes the plan for cfg (cfg->place) and rank (-1: all nodes). Fails, with nothing
 * allocated for the guest, when the guest does not fit, hugepages are short on a node, or what was told cannot be.
 */
struct placement *placement_create(const struct machine_config *cfg, int rank, struct error *err);
void placement_destroy(struct placement **p);
/* The plan is valid until the next placement_set(); host and guest as long as the placement. */
const struct plan *placement_get_plan(const struct placement *p);
const struct host_shape *placement_get_host(const struct placement *p);
const struct guest_shape *placement_get_guest(const struct placement *p);

/*
 * Binds a thread to its place and registers it. tid 0 = the calling thread (the usual way). A kind or index the plan
 * does not know inherits the place of PLACE_MAIN. name may be NULL (the plan's is used). Binding that the kernel
 * refuses is an error only in strict mode; else it is a warning, once, and the thread runs where it may.
 */
bool placement_bind_thread(struct placement *p, enum place_thread_kind kind, unsigned index, pid_t tid,
                           const char *name, struct error *err);
/* Registers without binding: for threads that libraries made and bound themselves (ZeroMQ, MPI). */
void placement_thread_register(struct placement *p, enum place_thread_kind kind, unsigned index, const char *name,
                               pid_t tid);
void placement_thread_unregister(struct placement *p, pid_t tid);
/* The PUs (P#) a library should bind its own threads to, e.g. for ZMQ_THREAD_AFFINITY_CPU_ADD. */
void placement_thread_pus(const struct placement *p, enum place_thread_kind kind, unsigned index, struct bitmap *pus);

/*
 * Binds [addr, addr+len) to the place of guest node `node` and registers it. Before the first touch: mbind moves
 * nothing that is already there. addr and len are multiples of the page size. Strict mode as above.
 */
bool placement_bind_memory(struct placement *p, unsigned node, void *addr, size_t len, struct error *err);
void placement_memory_unregister(struct placement *p, void *addr);

/* Called from the thread that called placement_prealloc, about ten times a second; return false to cancel. */
typedef bool placement_progress_fn(void *arg, uint64_t done_bytes, uint64_t total_bytes);

/*
 * Touches all pages of the range, which was bound before, by `threads` threads (0 = one per allowed PU of the target
 * node, at most 16) pinned to the node's PUs. Returns false on shortage (a sentence; no SIGBUS) or cancel.
 */
bool placement_prealloc(struct placement *p, unsigned node, void *addr, size_t len, unsigned threads,
                        placement_progress_fn *progress, void *arg, struct error *err);

/* A progress function for people: a line that rewrites itself where standard error is a terminal. arg: what is done. */
bool placement_progress_line(void *arg, uint64_t done_bytes, uint64_t total_bytes);

/*
 * Re-places a running guest: makes a new plan from `text` (as --place), re-binds registered threads and ranges, moves
 * pages in batches. The guest may run on. moved and seconds may be NULL. A cancelled move leaves the new policy set.
 */
bool placement_set(struct placement *p, const char *text, placement_progress_fn *progress, void *arg, uint64_t *moved,
                   double *seconds, struct error *err);
/* Brings pages and threads that drifted back to the plan. */
bool placement_rebalance(struct placement *p, placement_progress_fn *progress, void *arg, uint64_t *moved,
                         double *seconds, struct error *err);
/* As placement_rebalance after placement_set, but the measured access matrix (counts) chooses the plan. */
bool placement_set_traffic(struct placement *p, const double *matrix, unsigned n, struct error *err);

/* Writes the n x n matrix of accesses counted so far (row: node of the vCPU, column: node of the page). Any thread. */
typedef void placement_traffic_fn(void *arg, double *matrix, unsigned n);
/* Where "traffic" and "rebalance traffic" get it from; before placement_supervise_start. */
void placement_traffic_source(struct placement *p, placement_traffic_fn *fn, void *arg);

/* Answers "info WHAT" of the control socket with a line of JSON to free(). The socket's thread. */
typedef char *placement_info_fn(void *arg, const char *what);
/* Who knows; before placement_supervise_start. */
void placement_info_source(struct placement *p, placement_info_fn *fn, void *arg);
/* Who carries out "stop" and "cont" (machine_pause); before placement_supervise_start. False: the machine ended. */
typedef bool placement_pause_fn(void *arg, bool stop);
void placement_pause_source(struct placement *p, placement_pause_fn *fn, void *arg);

/*
 * One line of the control socket: "show", "set TEXT", "verify [exact]", "rebalance [traffic]", "traffic", "info WHAT",
 * "stop", "cont".
 * Returns one line of JSON to free(). progress may be NULL.
 */
char *placement_command(struct placement *p, const char *line, placement_progress_fn *progress, void *arg);

/* ---- verify and report ----------------------------------------------------------------------------------------- */

struct verify_options {
    bool exact;            /* every page */
    uint64_t sample_above; /* bytes of a range above which pages are sampled; 0 = 256 MiB */
    uint64_t max_samples;  /* per range; 0 = 65536 */
};

struct proof_thread {
    enum place_thread_kind kind;
    unsigned index;
    pid_t tid;
    char name[32];
    struct bitmap wanted, found; /* P# */
    bool bound, gone, ok;
    int last_pu; /* P# where it ran last, or -1 */
};

struct proof_range {
    unsigned guest_node;
    uint64_t addr, len, page_size;
    uint64_t pages, looked_at, present, absent,
        misplaced;        /* of pages of page_size; misplaced and absent of looked_at */
    struct bitmap wanted; /* host nodes P# */
    bool bound, ok;
    bool policy_ok; /* the kernel has the policy and nodes that were asked for, whether pages are there or not */
    uint64_t on_node[PLACE_MAX_HOST_NODES]; /* present pages by P# of host node (below the maximum) */
    uint64_t first_misplaced;               /* address, if misplaced > 0 */
    int first_node;                         /* where that page is */
};

struct proof {
    char host_name[64], hash[24], policy[16], time[32]; /* UTC, ISO 8601 */
    pid_t pid;
    unsigned num_threads, num_ranges;
    struct proof_thread *thread;
    struct proof_range *range;
    uint64_t drift_threads, drift_pages; /* in deviation from the plan */
    bool ok;
    char refused[256]; /* the kernel did not let us look, or "" */
};

/* Reads back every registered thread and range. Returns false only if it cannot look at all; see proof->ok. */
bool placement_verify(struct placement *p, const struct verify_options *opt, struct proof *proof, struct error *err);
void proof_fini(struct proof *proof);
/* Writes the first deviations ("thread CPU 1/TCG (tid 71): runs on 0-3, the plan says 2"); returns how many there are.
 */
unsigned proof_deviations(const struct proof *proof, char *buf, size_t size, unsigned max);
char *proof_to_json(const struct proof *proof);                                 /* free() */
bool proof_from_json(struct proof *proof, const char *text, struct error *err); /* proof_fini() */
/* Prints what differs between two proofs; returns the number of differences. */
unsigned proof_diff(FILE *out, const struct proof *a, const struct proof *b);

/* Verifies every `seconds` from a thread of its own until destroyed; `report_cb` is called there. 0 stops. */
typedef void placement_report_fn(void *arg, const struct proof *proof);
bool placement_verify_every(struct placement *p, double seconds, bool exact, placement_report_fn *report_cb, void *arg,
                            struct error *err);

/*
 * Supervision of a running machine, as --verify, --proof, --strict and --control ask for. Start it when the vCPU
 * threads have been created (it waits until they have bound themselves); end it before they are told to go.
 * --strict: false with a sentence naming the first deviations; later ones are given to deviation_cb, from another
 * thread, once. --proof FILE is rewritten whole at each verification.
 */
typedef void placement_deviation_fn(void *arg, const char *sentence);
bool placement_supervise_start(struct placement *p, const struct machine_config *cfg,
                               placement_deviation_fn *deviation_cb, void *arg, struct error *err);
bool placement_supervise_end(struct placement *p, struct error *err);

/*
 * The control socket (a unix socket; one client at a time, others wait): lines as placement_command takes them, each
 * answered by one line of JSON; lines {"progress": ...} come before it while pages move. A client that hangs up
 * cancels the move.
 */
bool placement_control_open(struct placement *p, const char *path, struct error *err);
void placement_control_close(struct placement *p);

enum placement_format { PLACE_TEXT, PLACE_JSON, PLACE_SVG, PLACE_PNG, PLACE_LIBVIRT, PLACE_QEMU, PLACE_RANKFILE };

/* Prints guest node -> host node, threads -> PUs, with what was read back (proof may be NULL). TEXT or JSON. */
void placement_print(struct placement *p, const struct proof *proof, FILE *out, enum placement_format format);
/* Writes a plan in any format. PNG and SVG need a build with cairo; else a sentence says so. */
bool plan_write(const struct host_shape *host, const struct guest_shape *guest, const struct plan *plan,
                enum placement_format format, FILE *out, struct error *err);

const char *place_policy_name(enum place_policy policy);
const char *place_mem_policy_name(enum place_mem_policy policy);
const char *place_kind_name(enum place_thread_kind kind); /* "vcpu", "main", "iothread", ... */

/* ---- diagnosis ------------------------------------------------------------------------------------------------- */

enum place_call { CALL_MBIND, CALL_MOVE_PAGES, CALL_SETAFFINITY, CALL_PREALLOC, CALL_MEMPOLICY };

/*
 * What the sentence needs to know; pure, so that a table can test it. `facts` are looked up by
 * placement_diagnose_here().
 */
struct diagnose_facts {
    bool seccomp, sys_nice, same_user;
    const struct host_shape *host;
    struct bitmap nodes; /* P# of the nodes that were asked for */
    struct bitmap pus;   /* P# of the PUs that were asked for */
    uint64_t page_size, pages_wanted, pages_free;
};
void placement_diagnose(char *buf, size_t size, enum place_call call, int errnum, const struct diagnose_facts *facts);

/* ---- probe ----------------------------------------------------------------------------------------------------- */

struct probe_options {
    double seconds; /* per measurement; 0 = 0.1 */
    uint64_t bytes; /* of the buffer walked through; 0 = four times the last-level cache, at least 64 MiB */
    bool no_cores;  /* leave out core to core */
};

/* Matrices are [initiator * nodes + target] by host node (L#); NAN where there is nothing to measure. */
struct probe_result {
    unsigned nodes, cores;
    char hash[24], host_name[64], time[32];
    double *latency_ns, *loaded_ns; /* a dependent load, idle and while the node's other PUs stream */
    double *read_mbs, *write_mbs;   /* all PUs of the initiator together, in MB (10^6 bytes) a second */
    unsigned *core_pu;              /* [cores] P# of the PU that stood for the core */
    double *core_ns;                /* [cores * cores] one way of a cache line */
};

/* Told before each measurement; return false to cancel. */
typedef bool placement_probe_progress_fn(void *arg, unsigned done, unsigned total, const char *what);

/* Measures this machine. Takes seconds; binds the calling thread's helpers, not the caller. */
bool placement_probe(const struct host_shape *host, const struct probe_options *opt,
                     placement_probe_progress_fn *progress, void *arg, struct probe_result *out, struct error *err);
void probe_result_fini(struct probe_result *r);
char *probe_to_json(const struct probe_result *r); /* free() */
/* Writes where host_shape_load() looks for it (path NULL), or elsewhere; tells where in `written`. */
bool probe_save(const struct probe_result *r, const char *path, char *written, size_t size, struct error *err);

/* ---- watching another process (weft top) ------------------------------------------------------------------------ */

struct watch_thread {
    pid_t tid;
    char name[32];
    int last_pu;                   /* P# */
    uint64_t user, system, guest;  /* clock ticks (sysconf(_SC_CLK_TCK)); guest is part of user */
    uint64_t run_ns, wait_ns;      /* on a PU; ready, but waiting for one */
    uint64_t migrations, switches; /* from PU to PU; voluntary and not. migrations: 0 where the kernel does not tell */
    struct bitmap allowed;         /* P# */
};

struct watch_sample {
    double at; /* seconds, monotonic */
    pid_t pid;
    char name[128]; /* -name of the guest, or "" */
    unsigned num_threads;
    struct watch_thread *thread;                  /* by tid */
    uint64_t bytes_on_node[PLACE_MAX_HOST_NODES]; /* of the whole process, by P# */
    unsigned traffic_nodes; /* guest nodes of the matrix of accesses, told over the control socket; 0: not told */
    double traffic[WEFT_MAX_NODES][WEFT_MAX_NODES]; /* counts since the start; [cpus of][memory of] */
    char *cluster;   /* over ranks: what "info coherence" told over the control socket, JSON; else NULL */
    bool have_proof; /* it was started with --control or --proof */
    struct proof proof;
};

/* Finds guests that run here: `weft run` processes, of one over ranks only the first on this host. Returns how many
 * there are and fills at most `most`. */
unsigned watch_find(pid_t *pids, unsigned most);
/* Looks at a process through /proc, its control socket and its proof file. */
bool watch_sample(pid_t pid, struct watch_sample *out, struct error *err);
void watch_sample_fini(struct watch_sample *s);

#endif
