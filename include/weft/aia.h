/*
 * How a hart's CSR instructions reach its IMSIC interrupt files (AIA 1.0, chapter 3) without knowing the device.
 *
 * cpu->imsic points to a struct imsic_port, or is NULL when the machine has no IMSIC (then mireg/sireg for selectors
 * 0x70..0xff, mtopei and stopei are illegal instructions). All functions are for the hart's own thread; the device
 * raises and lowers mip.MEIP/SEIP by cpu_irq_set. Guest interrupt files (hypervisor extension) do not exist.
 */
#ifndef WEFT_AIA_H
#define WEFT_AIA_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;

enum imsic_file { IMSIC_FILE_M, IMSIC_FILE_S };

/* Values of miselect/siselect that go to the interrupt file (AIA 1.0, 3.8). */
enum {
    ISELECT_EIDELIVERY = 0x70,
    ISELECT_EITHRESHOLD = 0x72,
    ISELECT_EIP0 = 0x80,
    ISELECT_EIE0 = 0xc0,
    ISELECT_IMSIC_FIRST = 0x70,
    ISELECT_IMSIC_LAST = 0xff,
};

struct imsic_ops {
    /* mireg/sireg for `select` in 0x70..0xff. False: the register does not exist (odd-numbered eip/eie in RV64,
     * reserved numbers): illegal instruction. Inactive 0x71 and 0x73..0x7f read as zero. */
    bool (*reg_read)(void *opaque, enum imsic_file file, unsigned select, uint64_t *value);
    bool (*reg_write)(void *opaque, enum imsic_file file, unsigned select, uint64_t value);
    /* mtopei/stopei: bits 26:16 identity, 10:0 priority (= identity); 0 = nothing pending and enabled. */
    uint32_t (*topei)(void *opaque, enum imsic_file file);
    /* Any write of mtopei/stopei: clears the pending bit of the identity that topei reports now. An instruction that
     * reads and writes calls topei, then claim with that value. */
    void (*claim)(void *opaque, enum imsic_file file, uint32_t topei);
};

struct imsic_port {
    const struct imsic_ops *ops;
    void *opaque;
};

#endif
