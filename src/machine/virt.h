/*
 * The `virt` board: its address map and the wiring that the FDT, the devices and the boot code have to agree on.
 * Addresses and interrupt numbers are those of QEMU's machine of that name.
 */
#ifndef WEFT_MACHINE_VIRT_H
#define WEFT_MACHINE_VIRT_H

#include "weft/devices.h"
#include "weft/machine.h"

#define VIRT_ROM_BASE 0x1000ull
#define VIRT_ROM_SIZE 0xf000ull
#define VIRT_TEST_BASE 0x100000ull
#define VIRT_RTC_BASE 0x101000ull
#define VIRT_CLINT_BASE 0x2000000ull
#define VIRT_SSWI_BASE 0x2f00000ull
#define VIRT_PLIC_BASE 0xc000000ull
#define VIRT_APLIC_M_BASE 0xc000000ull
#define VIRT_APLIC_S_BASE 0xd000000ull
#define VIRT_UART_BASE 0x10000000ull
#define VIRT_VIRTIO_BASE 0x10001000ull
#define VIRT_IMSIC_M_BASE 0x24000000ull
#define VIRT_IMSIC_S_BASE 0x28000000ull
#define VIRT_DRAM_BASE 0x80000000ull

enum {
    VIRT_UART_IRQ = 10,
    VIRT_RTC_IRQ = 11,
    VIRT_VIRTIO_IRQ = 1,
    VIRT_VIRTIO_COUNT = 8,
    VIRT_NUM_SOURCES = 96,
    VIRT_MAX_GROUPS = 4,
    VIRT_IMSIC_GROUP_SHIFT = 24,
};

/*
 * Interrupt controllers come one per group of harts with consecutive numbers: a guest node each, as in QEMU, or all
 * harts in one where there are more than 4 nodes, or nodes without harts or with scattered ones. The first group's
 * controller serves UART and RTC, the second's (if any) the virtio slots.
 */
struct virt_groups {
    unsigned count;
    bool per_node; /* group g is guest node g */
    unsigned first[VIRT_MAX_GROUPS], harts[VIRT_MAX_GROUPS];
};
void virt_groups_init(struct virt_groups *g, const struct machine_config *cfg);
/* Bits needed to count `count` things, as the IMSIC index fields want it. */
unsigned virt_num_bits(unsigned count);

/* RAM of guest node n: [base, base + size), in the order of nodes; size 0 for a memoryless one. */
void virt_node_ram(const struct machine_config *cfg, unsigned node, gpa_t *base, uint64_t *size);

/* What /chosen tells beyond the board itself. */
struct virt_chosen {
    gpa_t initrd_start, initrd_end; /* equal: none */
    uint8_t rng_seed[32];
    bool have_seed;
};

/*
 * Makes the flattened device tree (Devicetree specification 0.4): the board's own, or the file of -dtb with /chosen
 * completed. Returns it in *blob (free()), its size in *size.
 */
bool virt_fdt_build(const struct machine_config *cfg, const struct virt_chosen *chosen, void **blob, uint64_t *size,
                    struct error *err);

/* Creates the devices, maps them, sets up their lines. Main thread, before the harts start. */
bool virt_devices_create(struct machine *m, struct error *err);
void virt_devices_reset(struct machine *m);
/* Hands buffered console output to the chardev. */
void virt_devices_flush(struct machine *m);
void virt_devices_destroy(struct machine *m);
/* The reset ROM's contents (any part of VIRT_ROM_SIZE). */
void virt_rom_set(struct machine *m, const void *data, uint64_t size);

/* Whose is the register at this address? */
enum virt_register {
    VIRT_OF_DEVICE,
    VIRT_OF_PORT, /* a device whose writer need not know when they took effect: the UART */
    VIRT_OF_HART, /* *hart: of its ACLINT or IMSIC */
    VIRT_OF_ALL,  /* of nobody: the time, the ROM, what is reserved */
};
enum virt_register virt_register_at(struct machine *m, gpa_t gpa, unsigned *hart);

/* ---- boot.c ---- */

struct boot_image {
    void *data; /* mapped file */
    uint64_t size;
};

/* Where the harts begin: over ranks, the same on all. */
struct boot_start {
    gpa_t entry, fdt_addr; /* where the first hart starts; the FDT */
    uint8_t rom[96];       /* the reset ROM */
};

/* Files of the command line, kept for a reset. */
struct boot {
    struct boot_image kernel, initrd, bios;
    struct boot_start start;
};
/* Reads the files. False with a sentence; nothing of the guest is allocated before. */
bool boot_load_files(struct boot *b, const struct machine_config *cfg, struct error *err);
void boot_free(struct boot *b);
/* Copies images and FDT into guest RAM; says where the harts begin. Harts are not running. Over ranks it waits for
 * pages, and only rank 0 does it. Any thread. */
bool boot_place(struct boot *b, struct machine *m, struct error *err);
/* Resets all harts to their start, and the ROM. Harts are not running. */
void boot_harts(const struct boot *b, struct machine *m);

/* ---- sbi.c ---- */

/* State of the builtin SBI beyond the harts' own: counters. */
struct sbi;
struct sbi *sbi_create(struct machine *m);
void sbi_reset(struct sbi *s); /* harts are not running */
void sbi_destroy(struct sbi **s);
struct sbi *virt_sbi(struct machine *m);
struct uart *virt_uart(struct machine *m);

/* ---- report.c ---- */

/* The closing report: text to standard error and/or JSON to cfg->stats_json, as asked. vCPU threads have ended, so
 * their times are final; `proof` was read back while they still existed (NULL: it could not be). */
struct proof;
bool report_wanted(const struct machine *m);
/* The accesses counted so far, from node to node; arg: the machine. Any thread (placement_traffic_fn). */
void report_accesses(void *arg, double *matrix, unsigned n);
void report_write(struct machine *m, uint64_t run_ns, const struct proof *proof);

#endif
