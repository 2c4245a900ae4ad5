/*
 * Inside src/cli: the table of options and the state of one parse. The command line is walked once per phase, so that
 * its order does not matter where QEMU's does not: -numa node needs -smp and -object, -numa cpu needs the nodes, ...
 */
#ifndef WEFT_CLI_OPTIONS_H
#define WEFT_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "cli/kv.h"
#include "weft/cli.h"
#include "weft/shape.h"

enum phase { PHASE_BASE, PHASE_NODES, PHASE_CPUS, PHASE_DISTANCES, PHASE_HMAT, PHASE_CACHES, PHASE_COUNT };

/* What is known between options and is not part of the result. */
struct parse {
    struct machine_config *cfg;
    enum phase phase;
    struct smp_request smp;
    bool mem_given, hmat_off, serial_given;
    char machine_backend[64]; /* -machine memory-backend=ID */
    char serial_chardev[64];  /* -serial chardev:ID */
    bool ext_given[EXT_COUNT];
    unsigned num_rngs;
    char rng[8][64];        /* ids of -object rng-* */
    char device_rng[8][64]; /* virtio-rng-device,rng=ID, per device */
    struct shape_numa numa;
    const char *option; /* the name of the one at hand */
    struct kv kv;       /* its scratch */
};

/* What may be true of the file an option names; checked when everything is read. */
enum file_check { FILE_ANY, FILE_READ, FILE_WRITE };

struct option {
    const char *name, *alias; /* without dashes; alias may be NULL */
    const char *arg;          /* how the value looks in the help, or NULL: no value */
    const char *help;
    /* NULL: `offset` says where in machine_config the value goes (text where it takes one, else true). */
    bool (*apply)(struct parse *p, const char *value, struct error *err);
    size_t offset, size;
    enum file_check check;
    bool all_phases;         /* apply looks at p->phase itself */
    bool own;                /* weft's, not QEMU's: written with two dashes */
    void (*list)(FILE *out); /* what `-option help` prints, or NULL */
    const char *section;     /* heading of the help that begins here, or NULL */
};

extern const struct option options[]; /* ends with a NULL name */

/* The option whose name (without dashes, n bytes) this is, or NULL. */
const struct option *option_find(const char *name, size_t n);

/* One option of the command line. */
struct option_word {
    const struct option *option;
    const char *value; /* NULL where it takes none */
};

/* Reads the option at argv[*i] with its value and moves *i behind it. */
bool option_next(int argc, char **argv, int *i, struct option_word *word, struct error *err);

/* The page of `weft run --help`. */
void option_help(FILE *out);

/* Names of the switches of -cpu rv64,<name>=on|off, by enum cpu_ext. */
extern const char *const ext_names[EXT_COUNT];
/* Names of the items of -d, by bit number; NULL-terminated. */
extern const char *const log_names[];
extern const char *const policy_names[],
    *const serial_names[], *const aia_names[], *const tier_names[], *const matrix_names[], *const backend_names[];

/* opt_machine.c */
bool opt_smp(struct parse *p, const char *value, struct error *err);
bool opt_memory(struct parse *p, const char *value, struct error *err);
bool opt_machine(struct parse *p, const char *value, struct error *err);
bool opt_accel(struct parse *p, const char *value, struct error *err);
bool opt_icount(struct parse *p, const char *value, struct error *err);
bool opt_dilation(struct parse *p, const char *value, struct error *err);
bool opt_bios(struct parse *p, const char *value, struct error *err);
bool finish_machine(struct parse *p, struct error *err);
void list_machine(FILE *out);
void list_accel(FILE *out);

/* opt_cpu.c */
bool opt_cpu(struct parse *p, const char *value, struct error *err);
bool finish_cpu(struct parse *p, struct error *err);
void cpu_defaults(struct machine_config *cfg);
void list_cpu(FILE *out);

/* opt_numa.c */
bool opt_numa(struct parse *p, const char *value, struct error *err);

/* opt_object.c */
bool opt_object(struct parse *p, const char *value, struct error *err);
void list_object(FILE *out);

/* opt_device.c */
bool opt_serial(struct parse *p, const char *value, struct error *err);
bool opt_chardev(struct parse *p, const char *value, struct error *err);
bool opt_device(struct parse *p, const char *value, struct error *err);
bool finish_devices(struct parse *p, struct error *err);
void list_device(FILE *out);

/* opt_misc.c */
bool opt_log(struct parse *p, const char *value, struct error *err);
bool opt_name(struct parse *p, const char *value, struct error *err);
bool opt_matrix(struct parse *p, const char *value, struct error *err);
bool opt_none(struct parse *p, const char *value, struct error *err);
bool opt_rtc(struct parse *p, const char *value, struct error *err);
bool opt_ignored(struct parse *p, const char *value, struct error *err);
bool finish_files(struct parse *p, struct error *err);

/* opt_ranks.c */
bool ranks_launched(void); /* by mpirun */
void ranks_defaults(struct machine_config *cfg);
bool opt_ranks(struct parse *p, const char *value, struct error *err);
bool opt_idle_poll(struct parse *p, const char *value, struct error *err);
/* Before and after the nodes are completed. */
bool ranks_nodes(struct parse *p, struct error *err);
bool ranks_finish(struct parse *p, struct error *err);
void list_log(FILE *out);

#endif
