/*
 * A hart (vCPU): its architectural state, and how its thread is run, kicked and stopped.
 *
 * Layout matters: generated code addresses x[] by 8-bit displacements from &x[16]. The architectural state is valid
 * in memory whenever the hart's thread is outside generated code. Names of CSR fields are those of the RISC-V
 * privileged specification (version 20240411) and AIA 1.0.
 *
 * Keys: (o) own thread only, or any thread while the hart is stopped  [a] atomic  (c) fixed at create
 */
#ifndef WEFT_CPU_H
#define WEFT_CPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "weft/config.h"
#include "weft/memory.h"
#include "weft/tlb.h"

enum priv { PRIV_U = 0, PRIV_S = 1, PRIV_M = 3 };

/* mcause exception codes (privileged specification table 14). */
enum exc {
    EXC_FETCH_MISALIGNED = 0,
    EXC_FETCH_ACCESS = 1,
    EXC_ILLEGAL = 2,
    EXC_BREAKPOINT = 3,
    EXC_LOAD_MISALIGNED = 4,
    EXC_LOAD_ACCESS = 5,
    EXC_STORE_MISALIGNED = 6,
    EXC_STORE_ACCESS = 7,
    EXC_ECALL_U = 8,
    EXC_ECALL_S = 9,
    EXC_ECALL_M = 11,
    EXC_FETCH_PAGE = 12,
    EXC_LOAD_PAGE = 13,
    EXC_STORE_PAGE = 15,
    EXC_NONE = 0xff,
};

/* mip / mie bits. */
enum { IRQ_SSI = 1, IRQ_MSI = 3, IRQ_STI = 5, IRQ_MTI = 7, IRQ_SEI = 9, IRQ_MEI = 11 };

/* mstatus fields (privileged specification 3.1.6). */
#define MSTATUS_SIE (1ull << 1)
#define MSTATUS_MIE (1ull << 3)
#define MSTATUS_SPIE (1ull << 5)
#define MSTATUS_MPIE (1ull << 7)
#define MSTATUS_SPP (1ull << 8)
#define MSTATUS_MPP (3ull << 11)
#define MSTATUS_FS (3ull << 13)
#define MSTATUS_MPRV (1ull << 17)
#define MSTATUS_SUM (1ull << 18)
#define MSTATUS_MXR (1ull << 19)
#define MSTATUS_TVM (1ull << 20)
#define MSTATUS_TW (1ull << 21)
#define MSTATUS_TSR (1ull << 22)
#define MSTATUS_SD (1ull << 63)
/* What sstatus lets be written, and what it shows (with UXL). */
#define SSTATUS_MASK (MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP | MSTATUS_FS | MSTATUS_SUM | MSTATUS_MXR)
#define SSTATUS_READ (SSTATUS_MASK | MSTATUS_SD | 3ull << 32)

/* Why a hart left guest code (statistics, and the vCPU loop's switch). */
enum cpu_exit {
    CPU_EXIT_REQUEST, /* exit_request was set: work, stop, kick */
    CPU_EXIT_QUANTUM, /* the instruction quantum of round robin is used up */
    CPU_EXIT_WFI,     /* wfi with nothing pending: sleep until an interrupt or the timer */
    CPU_EXIT_YIELD,   /* pause hint or a spin: let another hart run (round robin only) */
    CPU_EXIT_HALTED,  /* hart stopped (HSM) */
    CPU_EXIT_COUNT,
};

enum tlb_miss { MISS_L1_LOAD, MISS_L1_STORE, MISS_FETCH, MISS_L2, MISS_MMIO, MISS_CODE_WRITE, MISS_KINDS };

/* Counters; (o), read racily by the report. */
struct cpu_stats {
    uint64_t exits[CPU_EXIT_COUNT];
    uint64_t traps[16], interrupts[16];
    uint64_t miss[MISS_KINDS];
    uint64_t blocks_translated, insns_translated, code_bytes;
    uint64_t dispatches;   /* returns to the block look-up in C */
    uint64_t interp_insns; /* instructions run by the interpreter */
    uint64_t wfi_ns, wfi_count;
    uint64_t mmio, sbi_calls, kicks;
    uint64_t user_us, sys_us;            /* of its thread, by cpu_stats_update; single: the one thread's, at hart 0 */
    uint64_t mem_access[WEFT_MAX_NODES]; /* sampled or exact loads+stores, by the node that owns the page */
};

struct machine;
struct tlb_l2;

enum hart_state {
    HART_STARTED = 0,
    HART_STOPPED = 1,
    HART_START_PENDING = 2,
    HART_STOP_PENDING = 3,
    HART_SUSPENDED = 4
};

struct cpu {
    /* ---- addressed by generated code; do not reorder (o) ---- */
    uint64_t x[32];   /* x[0] stays 0 */
    uint64_t f[32];   /* NaN-boxed */
    uint64_t pc;      /* outside generated code: the next instruction */
    uint64_t pc_page; /* inside generated code: virtual page of the running block */
    struct tlb_ctx *ctx;
    int64_t budget;      /* instructions left of this slice; in a host register inside generated code */
    uint64_t icount_end; /* retired == icount_end - budget, always (outside generated code) */
    uint32_t fp_fast;    /* 1: mstatus.FS is Dirty and frm is 0..3: FP may run on the host's FPU as it is */
    uint32_t host_mxcsr, guest_mxcsr;
    uint32_t in_code;           /* 1 inside generated code */
    void *host_sp;              /* stack of the entry stub, for leaving generated code from a helper */
    uint64_t lr_addr, lr_value; /* reservation of LR; lr_addr = -1: none */
    uint64_t exc_tval;
    uint32_t exc_cause; /* EXC_NONE, or the fault found by a memory access */
    uint32_t exc_pad;
    uint64_t deadline_tsc; /* generated code leaves at a slice's end when the TSC has passed this; 0: always */
    uint64_t scratch[7];
    uint64_t fp_const[8]; /* 16-byte masks for generated code: sign and magnitude of doubles, then of singles */

    /* ---- requests from other threads ---- */
    _Atomic uint32_t exit_request; /* [a] leave guest code soon (checked whenever the budget runs out) */
    _Atomic uint64_t mip;          /* [a] interrupt lines; set by cpu_irq_set */
    _Atomic uint32_t in_exec;      /* [a] 1 while inside tcg_cpu_exec: may use rights of its TLB */

    /* ---- CSRs (o) ---- */
    uint8_t priv;
    uint8_t fflags, frm; /* fflags: sticky flags besides those in guest_mxcsr (read through fp_fflags) */
    bool wfi;            /* executed wfi, waiting */
    uint64_t mstatus, misa, medeleg, mideleg, mie, mtvec, mcounteren, mscratch, mepc, mcause, mtval, menvcfg, mseccfg;
    uint64_t stvec, scounteren, sscratch, sepc, scause, stval, senvcfg, satp;
    _Atomic uint64_t stimecmp; /* guest timer ticks; ~0 = never */
    uint64_t mcountinhibit, mhpmevent[32], mhpmcounter[32];
    int64_t mcycle_off, minstret_off; /* added to the counters by writes to them */
    uint8_t pmpcfg[16];
    uint64_t pmpaddr[16];
    unsigned pmp_active; /* number of leading entries to look at; 0 = no PMP in force */
    uint64_t miselect, siselect, mvien, mvip;
    void *imsic; /* device state of the hart's interrupt files, or NULL */

    /* ---- identity (c) ---- */
    unsigned hart, node;
    uint64_t isa_ext; /* bit per enum cpu_ext */
    uint64_t misa_reset;
    bool builtin_sbi; /* ecall from S goes to the host; the hart starts in S */
    struct machine *machine;
    struct bus *bus;
    struct ram *ram;

    struct tlb_ctx *user_pool[TLB_USER_POOL], *sum_pool[TLB_USER_POOL], *super, *machine_ctx, *mprv_ctx;
    struct tlb_l2 *l2;
    uint64_t code_epoch;           /* (o) last global code epoch this hart has flushed for */
    _Atomic uint64_t wflush_epoch; /* [own writes, others read] last request to drop write rights that was served */
    void *tcg;                     /* translator's per-hart state */

    /* ---- thread (src/cpu) ---- */
    void *thread;           /* struct hart_run, private to src/cpu; NULL before and after the threads */
    _Atomic int hart_state; /* [a] enum hart_state (SBI HSM) */
    uint32_t resets; /* cpu_reset calls: who waits in the middle of an instruction looks whether it still is in one */
    uint64_t start_addr, start_opaque; /* written before START_PENDING is set (cpu_kick after that); and in SUSPENDED,
                                          where start_addr = 0 means a retentive suspend */

    struct cpu_stats stats;

    /* ACLINT MTIMER compare register of this hart (ACLINT specification 2); guest ticks, ~0 = never. mip.MTIP is
     * mtime >= mtimecmp: the hart's own thread derives it as it derives STIP from stimecmp. [a] */
    _Atomic uint64_t mtimecmp;

    bool remote; /* (c) it runs on another rank: here it only stands for it (weft/page_user.h) */

    _Atomic uint32_t page_takes; /* [a] pages are to be given up at the next safe point (weft/page_user.h) */
    void *page_user;             /* (o) its part in that; NULL on one rank */

    uint8_t count_access; /* (o) tlb_load, tlb_store and tlb_atomic_ptr count into stats.mem_access */
} __attribute__((aligned(64)));

/* ---- src/cpu: threads, kicks, work. See docs/locking.md ---- */

/* The thread model behind the vCPUs. */
struct accel_ops {
    const char *name; /* "tcg,thread=multi", "tcg,thread=single" */
    bool (*create_vcpu_threads)(struct machine *m, struct error *err);
    void (*kick)(struct cpu *cpu);
    void (*synchronize)(struct cpu *cpu); /* make the state in memory current (no-op while stopped) */
};
extern const struct accel_ops accel_mttcg, accel_rr;

/* Runs guest code until one of the exits; implemented by src/tcg. `quantum` bounds the instructions (0 = unbounded). */
enum cpu_exit tcg_cpu_exec(struct cpu *cpu, uint64_t quantum);

/* Raises or lowers interrupt line(s) `mask` of mip and wakes or kicks the hart. Any thread, with or without BQL. */
void cpu_irq_set(struct cpu *cpu, uint64_t mask, bool level);
/* Makes the hart leave guest code, or wake from WFI, soon. Any thread. */
void cpu_kick(struct cpu *cpu);
/* Runs fn on the hart's thread at its next safe point (or at once, by the caller, if the hart's thread sleeps at a
 * safe point and `fn` may run anywhere is not assumed: it is always the hart's thread). Asynchronous. */
void cpu_run_async(struct cpu *cpu, void (*fn)(struct cpu *cpu, uint64_t a, uint64_t b), uint64_t a, uint64_t b);
/* Runs fn on every hart in `mask` but the caller and waits until all have. The caller must be a vCPU thread at a safe
 * point (it serves its own requests while it waits) or hold no lock. Remote fences use it. Harts that are asleep or
 * stopped must not be waited for: their work is done before they next run guest code. */
void cpu_run_on_all(struct cpu *self, const struct bitmap *mask, void (*fn)(struct cpu *, uint64_t, uint64_t),
                    uint64_t a, uint64_t b);
/* The same for another rank that asks: does not wait, but calls done() when all harts of this rank in the mask have run
 * fn, or will before they next run guest code. Any thread; done() comes from inside the call or from a hart. */
void cpu_run_counted(const struct bitmap *mask, void (*fn)(struct cpu *, uint64_t, uint64_t), uint64_t a, uint64_t b,
                     void (*done)(void *opaque), void *opaque);
/* Waits for another rank until *word is not 0 (cpu_wait_wake sets it). Own thread, without the BQL. cpu_rest_wait: at a
 * safe point; the hart counts as resting. cpu_away_wait: in the middle of an instruction that uses no page any more; it
 * gives pages up meanwhile, but does no other work. */
void cpu_rest_wait(struct cpu *cpu, _Atomic uint32_t *word);
void cpu_away_wait(struct cpu *cpu, _Atomic uint32_t *word);
void cpu_wait_wake(_Atomic uint32_t *word);
/* Stop the world: returns when no other hart runs guest code or touches guest-visible engine state; nests not.
 * Called by a vCPU thread at a safe point (self != NULL) or by any thread without BQL (self == NULL). */
void cpu_exclusive_begin(struct machine *m, struct cpu *self);
void cpu_exclusive_end(struct machine *m, struct cpu *self);
/* Machine-wide pause (monitor `stop`): asks and waits until all harts rest; resume lets them go on. Main loop thread.
 * The BQL, if held, is released while waiting and taken again. Threads are created paused when m->state is
 * MACHINE_PAUSED or with -S. Guest time stands still meanwhile. */
void cpu_stop_all(struct machine *m);
void cpu_resume_all(struct machine *m);
/* Over ranks, where all must agree on the guest's clock: when this rank's stood still (as guest_clock_ns counts; only
 * while paused), and the resume with m->clock_base_ns as agreed. Main loop thread. */
uint64_t cpu_paused_at_ns(struct machine *m);
void cpu_resume_all_at(struct machine *m, uint64_t clock_base_ns);
/* True while the thread should go on running guest code (used inside waits). Own thread. */
bool cpu_has_work(struct cpu *cpu);
/* The hart whose thread this is (single: that runs now), or NULL. */
struct cpu *cpu_current(void);
/* Brings stats.kicks, user_us and sys_us up to date. Any one thread, for the report. */
void cpu_stats_update(struct cpu *cpu);
/* Ends and joins the vCPU threads (also paused ones) and frees what accel->create_vcpu_threads made. After loop_run;
 * without the BQL. Statistics stay in cpu->stats. */
void cpu_threads_destroy(struct machine *m);

/* The big lock of the rank: devices without an iothread. Short; never across a wait. Recursive locking is an error. */
void bql_lock(void);
void bql_unlock(void);
bool bql_held(void);
struct bql_stats {
    uint64_t acquisitions, contended, hold_ns, wait_ns, max_hold_ns, max_wait_ns;
};
void bql_read_stats(struct bql_stats *out);

/* ---- guest time: ticks of 100 ns (timebase-frequency 10 MHz), never decreasing over harts. What has ns in its name is
 * the host's time: under time dilation N a tick takes N * 100 ns of it ---- */
enum { GUEST_TIMEBASE_HZ = 10000000 };
uint64_t guest_ticks(struct machine *m);                            /* any thread; instruction-derived under -icount */
uint64_t guest_clock_ns(struct machine *m);                         /* what clock_base_ns counts: rank 0's clock */
uint64_t guest_ticks_to_host_ns(struct machine *m, uint64_t ticks); /* CLOCK_MONOTONIC time at which ticks is reached */

/* ---- architectural operations, src/tcg (own thread) ---- */

void cpu_reset(struct cpu *cpu, gva_t pc, uint64_t a0, uint64_t a1, uint8_t priv);
/* Takes exception `cause` at cpu->pc: CSRs, delegation, new pc and priv. With builtin SBI, ecall from S is served. */
void cpu_take_exception(struct cpu *cpu, uint32_t cause, uint64_t tval);
/* Takes the highest-priority enabled pending interrupt, if any (privileged specification 3.1.9); true if taken. */
bool cpu_take_interrupt(struct cpu *cpu);
/* Pending and enabled by mie, whatever mstatus says: what wakes WFI. Also brings mip.STIP/MTIP up to date. */
bool cpu_interrupt_pending(struct cpu *cpu);
static inline uint64_t cpu_instret(const struct cpu *cpu)
{
    return cpu->icount_end - (uint64_t)cpu->budget;
}

/* fence.i of this hart: checks code pages that were written and drops what is stale. Own thread. */
void tcg_fence_i(struct cpu *cpu);

/* fflags as the guest sees them: sticky bits kept in memory plus those in guest_mxcsr. */
uint8_t fp_fflags(const struct cpu *cpu);
void fp_set_fcsr(struct cpu *cpu, uint8_t fflags, uint8_t frm); /* also recomputes guest_mxcsr and fp_fast */
void fp_update_fast(struct cpu *cpu);                           /* after a change of mstatus.FS or frm */

/* Builtin SBI (src/machine/sbi.c): serves the ecall whose registers are in x[10..17]; sets a0, a1 and pc. */
void sbi_ecall(struct cpu *cpu);

#endif
