/* What the files of the builtin SBI share. */
#ifndef WEFT_MACHINE_SBI_H
#define WEFT_MACHINE_SBI_H

#include "virt.h"

/* SBI 2.0, 3.2: standard errors. */
enum {
    SBI_ERR_FAILED = -1,
    SBI_ERR_NOT_SUPPORTED = -2,
    SBI_ERR_INVALID_PARAM = -3,
    SBI_ERR_DENIED = -4,
    SBI_ERR_INVALID_ADDRESS = -5,
    SBI_ERR_ALREADY_AVAILABLE = -6,
    SBI_ERR_ALREADY_STARTED = -7,
    SBI_ERR_ALREADY_STOPPED = -8,
};

struct sbi_ret {
    int64_t error;
    uint64_t value;
};

static inline struct sbi_ret sbi_ok(uint64_t value)
{
    return (struct sbi_ret){.error = 0, .value = value};
}

static inline struct sbi_ret sbi_error(int error)
{
    return (struct sbi_ret){.error = error, .value = 0};
}

/* Firmware events (SBI 2.0, 11.5). */
enum sbi_fw_event {
    FW_SET_TIMER = 5,
    FW_IPI_SENT,
    FW_IPI_RECEIVED,
    FW_FENCE_I_SENT,
    FW_FENCE_I_RECEIVED,
    FW_SFENCE_VMA_SENT,
    FW_SFENCE_VMA_RECEIVED,
    FW_SFENCE_VMA_ASID_SENT,
    FW_SFENCE_VMA_ASID_RECEIVED,
    FW_EVENTS
};

/* Counts a firmware event of that hart. Any thread. */
void sbi_count(struct cpu *cpu, enum sbi_fw_event event);
/* What a remote fence has harts do: a name for it that other ranks know, NULL for any other number. */
enum { SBI_WORK_FENCE_I, SBI_WORK_SFENCE };
void (*sbi_work(uint64_t work))(struct cpu *cpu, uint64_t a, uint64_t b);
/* HSM hart_start of a hart of this rank; 0 or an SBI error. Any thread. */
int64_t sbi_start_here(struct cpu *to, uint64_t addr, uint64_t opaque);

/* The PMU extension; own thread. */
struct sbi_ret sbi_pmu(struct cpu *cpu, uint64_t fid);

#endif
