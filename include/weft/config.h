/*
 * What the operator asked for: the result of parsing the command line, checked and completed, before anything is
 * allocated. Filled by src/cli (grammar) and src/machine (shape rules); read by everybody else; constant after start.
 */
#ifndef WEFT_CONFIG_H
#define WEFT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include "weft/bitmap.h"

enum {
    WEFT_MAX_HARTS = 128,
    WEFT_MAX_NODES = 64,
    WEFT_MAX_BACKENDS = 128,
    WEFT_MAX_RANKS = 64,
};

/* -smp, completed: product of the levels == maxcpus. Order from the outermost level to the innermost. */
struct smp_config {
    unsigned cpus, maxcpus;
    unsigned drawers, books, sockets, dies, clusters, modules, cores, threads;
};

enum backend_kind { BACKEND_RAM, BACKEND_FILE, BACKEND_MEMFD };
enum mem_policy { MEM_POLICY_DEFAULT, MEM_POLICY_PREFERRED, MEM_POLICY_BIND, MEM_POLICY_INTERLEAVE };

/* -object memory-backend-{ram,file,memfd} (QEMU qapi/qom.json MemoryBackendProperties). */
struct mem_backend {
    char id[64];
    enum backend_kind kind;
    uint64_t size; /* bytes */
    struct bitmap host_nodes;
    enum mem_policy policy;
    bool prealloc;
    unsigned prealloc_threads; /* 0 = as many as the node has vCPUs */
    bool share, merge, dump, reserve;
    char mem_path[256];    /* file only */
    bool hugetlb;          /* memfd only */
    uint64_t hugetlb_size; /* memfd only; 0 = the default size */
};

/* One guest (vNUMA) node. */
struct node_config {
    struct bitmap cpus;
    uint64_t mem;  /* bytes; may be 0: memoryless node */
    int backend;   /* index into backends, or -1 for plain anonymous memory */
    int initiator; /* node, or -1 */
    int rank;      /* -1 = not told */
};

struct hmat_lb {
    unsigned initiator, target;
    bool is_bandwidth;
    int hierarchy;  /* 0 memory, 1..3 cache levels */
    int data_type;  /* 0 access, 1 read, 2 write */
    uint64_t value; /* ns, or bytes/s */
};

struct hmat_cache {
    unsigned node, level, line;
    uint64_t size;
    int associativity, policy; /* 0 none, 1 direct/write-back, 2 complex/write-through (ACPI 6.5 5.2.28.5) */
};

enum accel_thread { ACCEL_THREAD_MULTI, ACCEL_THREAD_SINGLE };
enum tcg_tier { TCG_TIER_AUTO, TCG_TIER_INTERP, TCG_TIER_T1 };
enum bios_kind { BIOS_BUILTIN, BIOS_FILE, BIOS_NONE };
enum aia_kind { AIA_NONE, AIA_APLIC, AIA_APLIC_IMSIC };
enum serial_kind { SERIAL_STDIO, SERIAL_FILE, SERIAL_UNIX, SERIAL_PTY, SERIAL_NULL };
enum access_matrix_mode { ACCESS_MATRIX_OFF, ACCESS_MATRIX_SAMPLED, ACCESS_MATRIX_EXACT };

/* Guest ISA switches of -cpu rv64,<ext>=on|off. The base IMAFDC (and Zicsr, Zifencei) is always there. */
enum cpu_ext {
    EXT_ZBA,
    EXT_ZBB,
    EXT_ZBS,
    EXT_ZICOND,
    EXT_ZICBOM,
    EXT_ZICBOZ,
    EXT_SSTC,
    EXT_SVINVAL,
    EXT_SVNAPOT,
    EXT_SVPBMT,
    EXT_SVADU,
    EXT_SMAIA,
    EXT_SSAIA,
    EXT_SV48,
    EXT_SV57,
    EXT_ZAWRS,
    EXT_ZIHINTPAUSE,
    EXT_COUNT
};

enum log_item {
    LOG_IN_ASM = 1 << 0,
    LOG_OUT_ASM = 1 << 1,
    LOG_INT = 1 << 2,
    LOG_MMU = 1 << 3,
    LOG_EXEC = 1 << 4,
    LOG_CPU = 1 << 5,
    LOG_GUEST_ERROR = 1 << 6,
    LOG_UNIMP = 1 << 7,
    LOG_SBI = 1 << 8,
    LOG_PLACE = 1 << 9,
};

/* -chardev KIND,id=ID,...: a character back end that -device virtconsole or -serial chardev:ID names. */
struct chardev_config {
    char id[64];
    enum serial_kind kind;
    char path[512];
    bool server, wait; /* SERIAL_UNIX: listen (else connect); wait for the first client before the guest starts */
};

/* -device NAME[,...] */
struct virtio_device_config {
    char driver[32]; /* "virtio-rng-device", "virtio-serial-device", "virtconsole" */
    char id[64], chardev[64];
    char name[64];     /* virtconsole: the port's name, "" = none */
    int chardev_index; /* into machine_config.chardev, -1 = none */
};

enum { IDLE_POLL_DEFAULT_US = 20000, IDLE_POLL_MAX_US = 1000000 };
enum { TIME_DILATION_MAX = 1000 };

struct machine_config {
    unsigned ranks;           /* the guest runs over so many ranks; 1 = this process alone */
    unsigned rank;            /* which of them this is */
    uint64_t idle_poll_us;    /* over ranks: see struct cluster_config */
    const char *command_line; /* must be the same on all ranks; NULL on one */
    struct smp_config smp;
    uint64_t mem_size;  /* bytes, == sum of the nodes' */
    unsigned num_nodes; /* >= 1; UMA = 1 and numa_given == false */
    bool numa_given;
    struct node_config node[WEFT_MAX_NODES];
    uint8_t distance[WEFT_MAX_NODES][WEFT_MAX_NODES]; /* ACPI SLIT values: 10 local, 255 unreachable */
    bool have_distance;
    unsigned num_backends;
    struct mem_backend backend[WEFT_MAX_BACKENDS];
    unsigned num_hmat_lb, num_hmat_cache;
    struct hmat_lb hmat_lb[256];
    struct hmat_cache hmat_cache[WEFT_MAX_NODES * 3];

    enum accel_thread thread;
    bool thread_given;
    enum tcg_tier tier;     /* -accel tcg,tier=auto|interp|t1 */
    unsigned tb_size_mib;   /* -accel tcg,tb-size=MiB; 0 = default */
    unsigned time_dilation; /* 1 to TIME_DILATION_MAX: so many host seconds are a guest second */
    bool icount;
    int icount_shift;  /* ns per instruction = 1 << shift; shift=auto is 3, and stays 3 */
    bool icount_sleep; /* idle virtual time passes as real time; false: it jumps to the next timer */
    bool ext[EXT_COUNT];

    char kernel[512], initrd[512], append[2048], dtb[512], bios[512], dumpdtb[512];
    enum bios_kind bios_kind;
    enum aia_kind aia;
    bool aclint; /* false: the older SiFive CLINT, named so in the FDT */
    bool hmat;   /* -machine hmat=on, or an hmat-lb was given */
    enum serial_kind serial;
    char serial_path[512];
    bool serial_server, serial_wait; /* as in struct chardev_config */
    unsigned num_chardevs;
    struct chardev_config chardev[8];
    bool nographic, no_reboot, start_paused, dry_run, json;
    char name[128], pidfile[512];
    unsigned log_mask;
    char log_file[512];
    enum access_matrix_mode access_matrix;
    char stats_json[512]; /* --stats FILE: the closing report as JSON */
    bool report;          /* closing report on standard error (default on a terminal or when asked) */
    unsigned num_virtio;
    struct virtio_device_config virtio[8];
    char place[512]; /* --place POLICY or FILE (placement room parses it) */
    bool place_strict;
    char place_verify[64];   /* --verify [start][,every=10s][,exact] */
    char system_map[512];    /* --system-map FILE: names for guest addresses in what is told of the cluster */
    char proof_file[512];    /* --proof FILE: the placement's proof as JSON, rewritten at each verification */
    char place_control[108]; /* --control FILE: unix socket for `weft placement` */
};

#endif
