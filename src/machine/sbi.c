/*
 * The builtin SBI (RISC-V Supervisor Binary Interface 2.0): an ecall from S mode is served here, on the hart's own
 * thread and without the BQL but around the console. IPIs and fences are messages to the harts they name.
 * The PMU extension is in sbi_pmu.c.
 */
#include "sbi.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ranks.h"
#include "weft/log.h"
#include "weft/page_user.h"

enum { A0 = 10, A1, A2, A3, A4, A5, A6, A7 };

enum {
    EID_BASE = 0x10,
    EID_TIME = 0x54494d45,
    EID_IPI = 0x735049,
    EID_RFENCE = 0x52464e43,
    EID_HSM = 0x48534d,
    EID_SRST = 0x53525354,
    EID_DBCN = 0x4442434e,
    EID_PMU = 0x504d55,
};

enum { SPEC_VERSION = 2 << 24, IMPL_ID = 0x77, IMPL_VERSION = 1 };

/* ---- sets of harts (SBI 2.0, 3.1: hart list parameter) ---- */

static bool hart_set(struct cpu *cpu, uint64_t mask, uint64_t base, struct bitmap *out)
{
    unsigned n = cpu->machine->num_cpus;
    bitmap_zero(out);
    for (unsigned i = 0; base == UINT64_MAX && i < n; i++) {
        bitmap_set(out, i);
    }
    if (base == UINT64_MAX) {
        return true;
    }
    for (; mask; mask &= mask - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(mask);
        if (base >= n || base + bit >= n) {
            return false;
        }
        bitmap_set(out, (unsigned)base + bit);
    }
    return true;
}

/* The legacy calls point to their mask in virtual memory; a null pointer means all harts. */
static bool legacy_hart_set(struct cpu *cpu, uint64_t va, struct bitmap *out)
{
    uint64_t mask = 0;
    if (va == 0) {
        return hart_set(cpu, 0, UINT64_MAX, out);
    }
    bitmap_zero(out);
    for (unsigned i = 0; i < cpu->machine->num_cpus; i++) {
        if (i % 64 == 0 && !tlb_load(cpu, va + i / 8, 8, &mask)) {
            return false;
        }
        if (mask >> (i % 64) & 1) {
            bitmap_set(out, i);
        }
    }
    return true;
}

/* ---- IPI and remote fences ---- */

static void send_ipi(struct cpu *cpu, const struct bitmap *harts)
{
    sbi_count(cpu, FW_IPI_SENT);
    bitmap_for_each(i, harts)
    {
        struct cpu *to = cpu->machine->cpus[i];
        if (!to->remote) { /* else its own rank counts */
            sbi_count(to, FW_IPI_RECEIVED);
        }
        cpu_irq_set(to, 1ull << IRQ_SSI, true);
    }
}

static void do_fence_i(struct cpu *cpu, uint64_t a, uint64_t b)
{
    sbi_count(cpu, FW_FENCE_I_RECEIVED);
    tcg_fence_i(cpu);
}

/*
 * A range travels in one word, because the caller's stack is gone when a sleeping hart gets to it: the page number in
 * the upper bits, the number of pages below (0 = everything). `b` is the ASID, or ~0 for all.
 */
enum { FLUSH_MAX_PAGES = 64 };

static void do_sfence(struct cpu *cpu, uint64_t a, uint64_t b)
{
    bool has_asid = b != UINT64_MAX;
    uint64_t va = a & GUEST_PAGE_MASK, pages = a & ~GUEST_PAGE_MASK;
    sbi_count(cpu, has_asid ? FW_SFENCE_VMA_ASID_RECEIVED : FW_SFENCE_VMA_RECEIVED);
    if (pages == 0) {
        tlb_flush(cpu, false, 0, has_asid, (uint16_t)b);
    }
    for (uint64_t i = 0; i < pages; i++) {
        tlb_flush(cpu, true, va + i * GUEST_PAGE_SIZE, has_asid, (uint16_t)b);
    }
}

void (*sbi_work(uint64_t work))(struct cpu *cpu, uint64_t a, uint64_t b)
{
    return work == SBI_WORK_FENCE_I ? do_fence_i : work == SBI_WORK_SFENCE ? do_sfence : NULL;
}

static void run_on_harts(struct cpu *cpu, const struct bitmap *harts, unsigned work, uint64_t a, uint64_t b)
{
    bool elsewhere = cpu->machine->ranks && ranks_fence_begin(cpu, harts, work, a, b);
    if (bitmap_test(harts, cpu->hart)) {
        sbi_work(work)(cpu, a, b);
    }
    if (bitmap_count(harts) > (bitmap_test(harts, cpu->hart) ? 1u : 0u)) {
        tlb_rest_begin(cpu);
        cpu_run_on_all(cpu, harts, sbi_work(work), a, b);
        tlb_rest_end(cpu);
    }
    if (elsewhere) {
        ranks_fence_wait(cpu);
    }
}

static void remote_sfence(struct cpu *cpu, const struct bitmap *harts, uint64_t start, uint64_t size, bool has_asid,
                          uint64_t asid)
{
    uint64_t a = 0;
    sbi_count(cpu, has_asid ? FW_SFENCE_VMA_ASID_SENT : FW_SFENCE_VMA_SENT);
    /* start = size = 0, or size = 2^XLEN-1: the full address space (SBI 2.0, 8.3). */
    if (size != UINT64_MAX && !(start == 0 && size == 0)) {
        uint64_t first = start & GUEST_PAGE_MASK, span = size + (start - first);
        uint64_t pages = span < size ? UINT64_MAX : (span + GUEST_PAGE_SIZE - 1) >> GUEST_PAGE_BITS;
        if (pages == 0) {
            pages = 1;
        }
        a = pages <= FLUSH_MAX_PAGES ? first | pages : 0;
    }
    run_on_harts(cpu, harts, SBI_WORK_SFENCE, a, has_asid ? (uint16_t)asid : UINT64_MAX);
}

static struct sbi_ret rfence(struct cpu *cpu, uint64_t fid)
{
    const uint64_t *x = cpu->x;
    struct bitmap harts;
    if (fid > 2) {
        return sbi_error(SBI_ERR_NOT_SUPPORTED); /* hfence: no hypervisor extension */
    }
    if (!hart_set(cpu, x[A0], x[A1], &harts)) {
        return sbi_error(SBI_ERR_INVALID_PARAM);
    }
    if (fid == 0) {
        sbi_count(cpu, FW_FENCE_I_SENT);
        run_on_harts(cpu, &harts, SBI_WORK_FENCE_I, 0, 0);
    } else {
        remote_sfence(cpu, &harts, x[A2], x[A3], fid == 2, x[A4]);
    }
    return sbi_ok(0);
}

static struct sbi_ret ipi(struct cpu *cpu, uint64_t fid)
{
    struct bitmap harts;
    if (fid != 0) {
        return sbi_error(SBI_ERR_NOT_SUPPORTED);
    }
    if (!hart_set(cpu, cpu->x[A0], cpu->x[A1], &harts)) {
        return sbi_error(SBI_ERR_INVALID_PARAM);
    }
    send_ipi(cpu, &harts);
    return sbi_ok(0);
}

/* ---- TIME ---- */

static void set_timer(struct cpu *cpu, uint64_t when)
{
    sbi_count(cpu, FW_SET_TIMER);
    atomic_store(&cpu->stimecmp, when);
    atomic_store(&cpu->exit_request, 1); /* the slice's deadline and STIP are derived anew */
}

/* ---- HSM (SBI 2.0, chapter 9) ---- */

int64_t sbi_start_here(struct cpu *to, uint64_t addr, uint64_t opaque)
{
    /* Of two starters one wins; the hart itself only looks after START_PENDING. */
    static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&start_lock);
    bool stopped = atomic_load(&to->hart_state) == HART_STOPPED;
    if (stopped) {
        to->start_addr = addr;
        to->start_opaque = opaque;
        atomic_store(&to->hart_state, HART_START_PENDING);
    }
    pthread_mutex_unlock(&start_lock);
    if (!stopped) {
        return SBI_ERR_ALREADY_AVAILABLE;
    }
    cpu_kick(to);
    return 0;
}

static struct sbi_ret hart_start(struct cpu *cpu, uint64_t hart, uint64_t addr, uint64_t opaque)
{
    struct machine *m = cpu->machine;
    if (hart >= m->num_cpus) {
        return sbi_error(SBI_ERR_INVALID_PARAM);
    }
    if (!ram_contains(&m->ram, addr, 4) || (addr & 1)) {
        return sbi_error(SBI_ERR_INVALID_ADDRESS);
    }
    struct cpu *to = m->cpus[hart];
    int64_t error = to->remote ? ranks_hart_start(cpu, (unsigned)hart, addr, opaque) : sbi_start_here(to, addr, opaque);
    return (struct sbi_ret){.error = error};
}

static struct sbi_ret hart_status(struct cpu *cpu, uint64_t hart)
{
    struct machine *m = cpu->machine;
    if (hart >= m->num_cpus) {
        return sbi_error(SBI_ERR_INVALID_PARAM);
    }
    if (m->cpus[hart]->remote) {
        return sbi_ok(ranks_hart_status(cpu, (unsigned)hart));
    }
    return sbi_ok((uint64_t)atomic_load(&m->cpus[hart]->hart_state));
}

/*
 * A suspended hart waits as in WFI: an interrupt that is pending and enabled in sie ends it. The non-retentive kind
 * resumes at `addr` in the state of SBI 2.0 table 9.5: satp 0, SIE clear, a0 = hart, a1 = opaque.
 */
static struct sbi_ret hart_suspend(struct cpu *cpu, uint32_t type, uint64_t addr, uint64_t opaque, bool *moved)
{
    bool retentive = !(type & 0x80000000u);
    if ((type & 0x7fffffff) != 0) {
        return sbi_error((type & 0x7fffffff) < 0x10000000 ? SBI_ERR_INVALID_PARAM : SBI_ERR_NOT_SUPPORTED);
    }
    if (!retentive) {
        if (!ram_contains(&cpu->machine->ram, addr, 4) || (addr & 1)) {
            return sbi_error(SBI_ERR_INVALID_ADDRESS);
        }
        cpu->satp = 0;
        cpu->mstatus &= ~MSTATUS_SIE;
        tlb_context_update(cpu);
        cpu->pc = addr;
        cpu->x[A0] = cpu->hart;
        cpu->x[A1] = opaque;
        *moved = true;
    }
    cpu->start_addr = 0; /* goes on with the registers as they are now */
    atomic_store(&cpu->hart_state, HART_SUSPENDED);
    atomic_store(&cpu->exit_request, 1);
    return sbi_ok(0);
}

static void stop_self(struct cpu *cpu)
{
    atomic_store(&cpu->hart_state, HART_STOPPED);
    atomic_store(&cpu->exit_request, 1);
}

static struct sbi_ret hsm(struct cpu *cpu, uint64_t fid, bool *moved)
{
    const uint64_t *x = cpu->x;
    switch (fid) {
    case 0:
        return hart_start(cpu, x[A0], x[A1], x[A2]);
    case 1:
        stop_self(cpu);
        return sbi_error(SBI_ERR_FAILED); /* seen by nobody */
    case 2:
        return hart_status(cpu, x[A0]);
    case 3:
        return hart_suspend(cpu, (uint32_t)x[A0], x[A1], x[A2], moved);
    }
    return sbi_error(SBI_ERR_NOT_SUPPORTED);
}

/* ---- SRST (SBI 2.0, chapter 10) ---- */

static struct sbi_ret system_reset(struct cpu *cpu, uint64_t fid)
{
    uint32_t type = (uint32_t)cpu->x[A0], reason = (uint32_t)cpu->x[A1];
    if (fid != 0) {
        return sbi_error(SBI_ERR_NOT_SUPPORTED);
    }
    if (type > 2 || (reason > 1 && reason < 0xe0000000)) {
        return sbi_error(type > 2 && type >= 0xf0000000 ? SBI_ERR_NOT_SUPPORTED : SBI_ERR_INVALID_PARAM);
    }
    if (type == 0) {
        machine_request_shutdown(cpu->machine, reason == 1 ? 1 : 0);
    } else {
        machine_request_reset(cpu->machine);
    }
    stop_self(cpu); /* the call does not return */
    return sbi_ok(0);
}

/* ---- consoles ---- */

/* The console is where the devices are: on rank 0. Returns how many bytes went. */
static unsigned console(struct cpu *cpu, bool write, uint8_t *bytes, unsigned n)
{
    struct machine *m = cpu->machine;
    if (m->ranks && ranks_self(m) != 0) {
        return ranks_console(cpu, write, bytes, n);
    }
    if (m->ranks) {
        ranks_port_enter(m);
    } else {
        bql_lock();
    }
    n = write ? uart_console_write(virt_uart(m), bytes, n) : uart_console_read(virt_uart(m), bytes, n);
    bql_unlock();
    return n;
}

/* Returns false when the console cannot take the byte now: the ecall is then executed again. */
static bool put_byte(struct cpu *cpu, uint8_t byte)
{
    return console(cpu, true, &byte, 1) == 1;
}

static struct sbi_ret console_copy(struct cpu *cpu, bool write)
{
    const uint64_t *x = cpu->x;
    struct ram *ram = &cpu->machine->ram;
    uint8_t buf[1024];
    unsigned n = x[A0] < sizeof(buf) ? (unsigned)x[A0] : sizeof(buf);
    if (x[A2] != 0 || !ram_contains(ram, x[A1], x[A0])) {
        return sbi_error(SBI_ERR_INVALID_PARAM);
    }
    bool there = true;
    if (write) {
        tlb_rest_begin(cpu);
        there = ram_dma_read(ram, x[A1], buf, n);
        tlb_rest_end(cpu);
    }
    uint32_t life = cpu->resets;
    n = there ? console(cpu, write, buf, n) : 0;
    if (!write && cpu->resets == life) {
        tlb_rest_begin(cpu);
        ram_dma_write(ram, x[A1], buf, n);
        tlb_rest_end(cpu);
    }
    return sbi_ok(n);
}

static struct sbi_ret dbcn(struct cpu *cpu, uint64_t fid, bool *again)
{
    switch (fid) {
    case 0:
        return console_copy(cpu, true);
    case 1:
        return console_copy(cpu, false);
    case 2:
        *again = !put_byte(cpu, (uint8_t)cpu->x[A0]);
        return sbi_ok(0);
    }
    return sbi_error(SBI_ERR_NOT_SUPPORTED);
}

/* ---- BASE (SBI 2.0, chapter 4) ---- */

static bool has_extension(uint64_t eid)
{
    static const uint32_t known[] = {EID_BASE, EID_TIME, EID_IPI, EID_RFENCE, EID_HSM, EID_SRST, EID_DBCN, EID_PMU};
    for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (eid == known[i]) {
            return true;
        }
    }
    return eid <= 8;
}

static struct sbi_ret base(struct cpu *cpu, uint64_t fid)
{
    switch (fid) {
    case 0:
        return sbi_ok(SPEC_VERSION);
    case 1:
        return sbi_ok(IMPL_ID);
    case 2:
        return sbi_ok(IMPL_VERSION);
    case 3:
        return sbi_ok(has_extension(cpu->x[A0]));
    case 4: /* mvendorid, marchid, mimpid: not a registered implementation, as the CSRs say */
    case 5:
    case 6:
        return sbi_ok(0);
    }
    return sbi_error(SBI_ERR_NOT_SUPPORTED);
}

/* ---- legacy extensions (SBI 2.0, chapter 5): only a0 is returned ---- */

static int64_t legacy(struct cpu *cpu, uint64_t eid, bool *again)
{
    const uint64_t *x = cpu->x;
    struct bitmap harts;
    uint8_t byte;
    unsigned n;
    switch (eid) {
    case 0:
        set_timer(cpu, x[A0]);
        return 0;
    case 1:
        *again = !put_byte(cpu, (uint8_t)x[A0]);
        return 0;
    case 2:
        n = console(cpu, false, &byte, 1);
        return n ? byte : -1;
    case 3: {
        int64_t was = (int64_t)(atomic_load(&cpu->mip) >> IRQ_SSI & 1);
        cpu_irq_set(cpu, 1ull << IRQ_SSI, false);
        return was;
    }
    case 8:
        machine_request_shutdown(cpu->machine, 0);
        stop_self(cpu);
        return 0;
    }
    if (!legacy_hart_set(cpu, x[A0], &harts)) {
        return SBI_ERR_INVALID_PARAM;
    }
    if (eid == 4) {
        send_ipi(cpu, &harts);
    } else if (eid == 5) {
        sbi_count(cpu, FW_FENCE_I_SENT);
        run_on_harts(cpu, &harts, SBI_WORK_FENCE_I, 0, 0);
    } else {
        remote_sfence(cpu, &harts, x[A1], x[A2], eid == 7, x[A3]);
    }
    return 0;
}

/* ---- the call ---- */

static struct sbi_ret dispatch(struct cpu *cpu, uint64_t eid, uint64_t fid, bool *again, bool *moved)
{
    switch (eid) {
    case EID_BASE:
        return base(cpu, fid);
    case EID_TIME:
        if (fid != 0) {
            break;
        }
        set_timer(cpu, cpu->x[A0]);
        return sbi_ok(0);
    case EID_IPI:
        return ipi(cpu, fid);
    case EID_RFENCE:
        return rfence(cpu, fid);
    case EID_HSM:
        return hsm(cpu, fid, moved);
    case EID_SRST:
        return system_reset(cpu, fid);
    case EID_DBCN:
        return dbcn(cpu, fid, again);
    case EID_PMU:
        return sbi_pmu(cpu, fid);
    }
    return sbi_error(SBI_ERR_NOT_SUPPORTED);
}

void sbi_ecall(struct cpu *cpu)
{
    uint64_t eid = cpu->x[A7], fid = cpu->x[A6];
    uint32_t life = cpu->resets;
    bool again = false, moved = false;
    if (log_on(LOG_SBI)) {
        log_write("sbi: hart %u eid %llx fid %llu a0 %llx a1 %llx a2 %llx a3 %llx\n", cpu->hart,
                  (unsigned long long)eid, (unsigned long long)fid, (unsigned long long)cpu->x[A0],
                  (unsigned long long)cpu->x[A1], (unsigned long long)cpu->x[A2], (unsigned long long)cpu->x[A3]);
    }
    bool old = eid <= 8; /* of SBI 0.1: no value in a1 */
    struct sbi_ret r = {0};
    if (old) {
        r.error = legacy(cpu, eid, &again);
    } else {
        r = dispatch(cpu, eid, fid, &again, &moved);
    }
    if (again) {
        atomic_store(&cpu->exit_request, 1); /* let the console drain */
        return;
    }
    if (moved || cpu->resets != life) {
        return; /* somewhere else; or it waited for others, and the machine was restarted */
    }
    cpu->x[A0] = (uint64_t)r.error;
    if (!old) {
        cpu->x[A1] = r.value;
    }
    cpu->pc += 4;
}
