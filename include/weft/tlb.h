/*
 * The soft TLB: what generated code probes, and the one miss path behind it.
 *
 * A context (struct tlb_ctx) is what one translation regime of one hart sees: user of one address space, supervisor,
 * supervisor with SUM, machine. Generated code holds a pointer to the current context in a host register, so a switch
 * of mode or of satp is a switch of that pointer. Only the hart's own thread reads or writes its contexts.
 *
 * Probe (ea = guest virtual address, n = access size):
 *     i = ea >> 12 & (TLB_SIZE - 1);  off = ea - tag[i];  hit if off <= 4096 - n (unsigned);  host = ea + addend[i]
 * so an entry admits unaligned accesses inside its page and a page-crossing access misses. An invalid entry of slot i
 * holds TLB_TAG_NONE(i): a page whose index is not i, so no address that selects slot i can ever match it.
 *
 * An entry grants write (wtag) only if the PTE allows it with D set, no translated code lies in the page (or the page
 * is already marked PAGE_CODE_DIRTY) and, in cluster mode, this rank owns the page. It grants read (rtag) only if this
 * rank is at least a sharer. Devices are never entered. Dirty tracking, self-modifying code and coherence are therefore
 * one slow path.
 */
#ifndef WEFT_TLB_H
#define WEFT_TLB_H

#include "weft/memory.h"

struct cpu;

enum {
    TLB_BITS = 12,
    TLB_SIZE = 1 << TLB_BITS,
    TLB_GROUPS = 64, /* a flush empties whole groups of entries, those in which something was entered */
    TLB_GROUP_SIZE = TLB_SIZE / TLB_GROUPS,
    JC_BITS = 13,
    JC_SIZE = 1 << JC_BITS,
    CODE_PAGES_MAX = 1 << 15, /* ids of code pages alive at once */
    TLB_USER_POOL = 8,        /* address spaces whose tables are kept */
    TLB_CODE_IDS = 512,
    JC_LIST = 2048,
    CODE_SEEN = 1024,
    WRITE_FILTER = 4096,
    TLB_CTX_ALIGN = 1 << 16, /* of a context's address: generated code relies on its low bits */
};

#define TLB_TAG_NONE(i) ((uint64_t)((i) ^ 1) << GUEST_PAGE_BITS)

/* Jump cache: guest virtual pc -> generated code. An empty entry has va = 1 (never a pc). */
struct jc_entry {
    uint64_t va;
    void *code;
};

enum tlb_ctx_kind { CTX_USER, CTX_SUPER, CTX_SUM, CTX_MACHINE, CTX_MPRV };

struct tlb_ctx {
    uint64_t rtag[TLB_SIZE];
    uint64_t wtag[TLB_SIZE];
    uint64_t addend[TLB_SIZE];
    struct jc_entry jc[JC_SIZE];
    uint64_t code_va[CODE_PAGES_MAX]; /* code page id -> the virtual page it is mapped at here (executable), or 1 */

    uint64_t satp; /* key: the satp value it belongs to (CTX_USER, CTX_SUM, CTX_MPRV) */
    enum tlb_ctx_kind kind;
    uint8_t priv;          /* privilege of its data accesses: 0 U, 1 S, 3 M */
    bool translate;        /* satp.MODE != Bare and priv < M */
    bool code_filled;      /* something was entered in jc or code_va */
    unsigned num_code_ids; /* ids set in code_va since the last flush; > TLB_CODE_IDS = too many to list */
    unsigned num_jc;       /* entries of jc filled since the last flush; > JC_LIST = too many to list */

    /* ---- private to src/memory ---- */
    bool stale;      /* must be flushed before it becomes current: a flush of another context only sets this */
    bool code_stale; /* the same for jc and code_va */
    bool sum, mxr;   /* how its data accesses are judged; a change flushes it */
    bool nonglobal;  /* CTX_SUPER: entries of PTEs without G were made in the upper half, or code of such was fetched */
    /* Something was entered since the last flush at addresses with bit 63 clear / set; the same for code. A refill by
     * the short path enters pages of the lower half without, of the upper half with G. */
    bool half[2], code_half[2];
    bool group[TLB_GROUPS]; /* something was entered there since the last flush */
    /* PTE bits (bit 8: not RAM) under the mask must equal the wanted ones for the short refill; a mask of 0 wants 1. */
    uint64_t read_mask, read_want, write_mask, write_want;
    uint64_t last_used;
    bool write_filter[WRITE_FILTER]; /* by host page: false proves that no write was granted */
    /* Pages fetched from, by page number: the page | 2, or | 3 when also others were that share the place. 0 = none. */
    uint64_t code_seen[CODE_SEEN];
    uint32_t code_ids[TLB_CODE_IDS];
    uint16_t jc_list[JC_LIST];
};

/* Enters a block in the jump cache; its page is known to code_va. Own thread. */
static inline void tlb_jc_fill(struct tlb_ctx *ctx, uint64_t va, void *code)
{
    unsigned i = va >> 1 & (JC_SIZE - 1);
    if (ctx->jc[i].va == 1) {
        if (ctx->num_jc < JC_LIST) {
            ctx->jc_list[ctx->num_jc] = (uint16_t)i;
        }
        ctx->num_jc += ctx->num_jc <= JC_LIST;
    }
    ctx->jc[i] = (struct jc_entry){.va = va, .code = code};
    ctx->code_filled = true;
}

enum tlb_access {
    ACCESS_FETCH = 0,
    ACCESS_LOAD = 1,
    ACCESS_STORE = 2,
    ACCESS_AMO = 3 /* a store fault, needs R and W */
};

/* The result of a translation. */
struct translation {
    gpa_t gpa;
    bool is_ram;
    bool served; /* private to src/memory */
};

/* Creates the hart's contexts and second-level TLB. */
void tlb_create(struct cpu *cpu);
void tlb_destroy(struct cpu *cpu);

/* The only function that makes a context current (flushes of other contexts are deferred to it).
 * Sets cpu->ctx (data and fetch context) from priv, mstatus (SUM, MXR, MPRV, MPP) and satp. Call after any change of
 * them. MPRV affects data only: while it is set in M mode, cpu->ctx is CTX_MPRV, and code runs by interpreter. */
void tlb_context_update(struct cpu *cpu);

/* Slow path of every access: translates va for `access` in the current context (second-level TLB, then page walk with
 * PMP), enters the first-level TLB where allowed, counts the miss. On a fault returns false with cpu->exc_cause and
 * cpu->exc_tval set (page fault or access fault of that access kind; guest-page rules of the privileged specification
 * 12.3.2 "Virtual Address Translation Process"). A store or AMO access to a page with code calls code_page_written
 * first: the caller is about to write. A fetch enters no first-level entry; after a successful one the caller may fill
 * jc and code_va of cpu->ctx for that page. Under CTX_MPRV a fetch is one of machine mode. */
bool tlb_translate(struct cpu *cpu, gva_t va, enum tlb_access access, struct translation *out);

/* The short part of the miss path, for generated code with live vector registers: the host address of va when the
 * first level now holds an entry that admits a load / a store or AMO there. NULL says nothing: take tlb_load, tlb_store
 * or tlb_translate then. Use general registers only, call no libc function, take no lock, raise nothing. The caller has
 * checked that the access does not cross its page. */
void *tlb_refill_read(struct cpu *cpu, gva_t va);
void *tlb_refill_write(struct cpu *cpu, gva_t va);

/* Exact access counting: while on, nothing enters the first level, so each access comes to tlb_load, tlb_store or
 * tlb_atomic_ptr and is counted in cpu->stats.mem_access. tlb_create turns it on when the machine's configuration says
 * ACCESS_MATRIX_EXACT. cpu->count_access alone counts those accesses that come here (sampling). */
void tlb_exact_mode(struct cpu *cpu, bool on);

/* Loads and stores as the hart sees them: probe, slow path, page crossing, devices. size 1, 2, 4, 8. On a fault
 * false, exc_cause and exc_tval set. tlb_load zero-extends. A store to a page with code calls code_page_written. */
bool tlb_load(struct cpu *cpu, gva_t va, unsigned size, uint64_t *value);
bool tlb_store(struct cpu *cpu, gva_t va, unsigned size, uint64_t value);
/* Host address for an atomic (va aligned to size); NULL on a fault. *mmio is set when va is a device (no atomics
 * there: AMO access fault) */
void *tlb_atomic_ptr(struct cpu *cpu, gva_t va, unsigned size, bool for_write);
/* Fetches up to 4 bytes at va (2-byte aligned) for decoding; handles an instruction that crosses a page. */
bool tlb_fetch(struct cpu *cpu, gva_t va, uint32_t *raw);

/* sfence.vma rs1/rs2 (privileged specification 12.2.1): has_va / has_asid say whether rs1 / rs2 was not x0. */
void tlb_flush(struct cpu *cpu, bool has_va, gva_t va, bool has_asid, uint16_t asid);
void tlb_flush_all(struct cpu *cpu);  /* everything, also after a PMP change */
void tlb_flush_code(struct cpu *cpu); /* jump caches and code_va of all contexts */
/* Drops the write right of this hart's entries for one physical page / for all pages that hold code and are not
 * PAGE_CODE_DIRTY. Own thread only. */
void tlb_drop_write(struct cpu *cpu, gpa_t page);
void tlb_drop_write_code(struct cpu *cpu);
/* Drops the write right (keep_read), or all that leads to one physical page. Own thread. */
void tlb_drop_right(struct cpu *cpu, gpa_t page, bool keep_read);

/* Implemented by the translator: a page with code was, or is about to be, written (page = gpa & GUEST_PAGE_MASK). Sets
 * PAGE_CODE_DIRTY; from then on writes are granted until the next fence.i checks the page. Any thread. */
void code_page_written(struct ram *ram, gpa_t page);

#endif
