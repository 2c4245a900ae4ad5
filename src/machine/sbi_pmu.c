/*
 * SBI PMU (SBI 2.0, chapter 11): counters 0 (cycle) and 2 (instret) of the hart, which always run, and firmware
 * counters from 3 on. Counter 1 would be `time` and does not exist, as with other implementations.
 */
#include "sbi.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { CTR_CYCLE = 0, CTR_TIME = 1, CTR_INSTRET = 2, CTR_FW_FIRST = 3, NUM_FW = 16, NUM_CTR = CTR_FW_FIRST + NUM_FW };
enum { EVENT_TYPE_HW = 0, EVENT_TYPE_FW = 15, HW_CPU_CYCLES = 1, HW_INSTRUCTIONS = 2 };
enum { CFG_SKIP_MATCH = 1, CFG_CLEAR_VALUE = 2, CFG_AUTO_START = 4, START_SET_INIT = 1, STOP_RESET = 1 };
enum { A0 = 10, A1, A2, A3, A4 };
#define EVENT_NONE 0xffffffffu

struct counter {
    uint32_t event; /* event_idx, or EVENT_NONE */
    bool started;
    uint64_t base; /* firmware counter: value = running ? base + count of its event : base */
};

/* Per hart. Counters are the own thread's; counts come from any. */
struct sbi_hart {
    struct counter ctr[NUM_CTR];
    _Atomic uint64_t count[FW_EVENTS];
};

struct sbi {
    unsigned num_harts;
    struct sbi_hart hart[];
};

static struct sbi_hart *hart_of(struct cpu *cpu)
{
    return &virt_sbi(cpu->machine)->hart[cpu->hart];
}

struct sbi *sbi_create(struct machine *m)
{
    struct sbi *s = calloc(1, sizeof(*s) + m->num_cpus * sizeof(s->hart[0]));
    assert(s);
    s->num_harts = m->num_cpus;
    sbi_reset(s);
    return s;
}

void sbi_reset(struct sbi *s)
{
    memset(s->hart, 0, s->num_harts * sizeof(s->hart[0]));
    for (unsigned h = 0; h < s->num_harts; h++) {
        for (unsigned c = 0; c < NUM_CTR; c++) {
            s->hart[h].ctr[c].event = EVENT_NONE;
        }
    }
}

void sbi_destroy(struct sbi **s)
{
    free(*s);
    *s = NULL;
}

void sbi_count(struct cpu *cpu, enum sbi_fw_event event)
{
    atomic_fetch_add_explicit(&hart_of(cpu)->count[event], 1, memory_order_relaxed);
}

/* ---- counters ---- */

static bool is_fw(uint64_t ctr)
{
    return ctr >= CTR_FW_FIRST;
}

static uint64_t fw_count(struct sbi_hart *h, uint32_t event)
{
    uint32_t code = event & 0xffff;
    return code < FW_EVENTS ? atomic_load_explicit(&h->count[code], memory_order_relaxed) : 0;
}

static void set_value(struct cpu *cpu, unsigned ctr, uint64_t value)
{
    struct sbi_hart *h = hart_of(cpu);
    if (ctr == CTR_CYCLE) {
        cpu->mcycle_off = (int64_t)(value - cpu_instret(cpu));
    } else if (ctr == CTR_INSTRET) {
        cpu->minstret_off = (int64_t)(value - cpu_instret(cpu));
    } else {
        h->ctr[ctr].base = h->ctr[ctr].started ? value - fw_count(h, h->ctr[ctr].event) : value;
    }
}

static uint64_t fw_value(struct sbi_hart *h, unsigned ctr)
{
    return h->ctr[ctr].base + (h->ctr[ctr].started ? fw_count(h, h->ctr[ctr].event) : 0);
}

static void set_running(struct sbi_hart *h, unsigned ctr, bool on)
{
    if (h->ctr[ctr].started == on) {
        return;
    }
    uint64_t value = fw_value(h, ctr);
    h->ctr[ctr].started = on;
    h->ctr[ctr].base = on ? value - fw_count(h, h->ctr[ctr].event) : value;
}

/* Which counters can count the event: a set of counter numbers, empty if none. */
static uint64_t counters_for(uint32_t event)
{
    uint32_t type = event >> 16 & 15, code = event & 0xffff;
    if (type == EVENT_TYPE_HW) {
        return code == HW_CPU_CYCLES ? 1ull << CTR_CYCLE : code == HW_INSTRUCTIONS ? 1ull << CTR_INSTRET : 0;
    }
    /* Events 0..4 are traps that firmware would emulate; none ever is, so these count truly zero. */
    return type == EVENT_TYPE_FW && code < FW_EVENTS ? ((1ull << NUM_FW) - 1) << CTR_FW_FIRST : 0;
}

static struct sbi_ret config_matching(struct cpu *cpu)
{
    const uint64_t *x = cpu->x;
    struct sbi_hart *h = hart_of(cpu);
    uint64_t base = x[A0], mask = x[A1], flags = x[A2], set;
    uint32_t event = (uint32_t)x[A3];
    if (base >= NUM_CTR || mask == 0 || mask >> (NUM_CTR - base) || (event >> 20) || (flags & ~0xffull)) {
        return sbi_error(SBI_ERR_INVALID_PARAM);
    }
    set = mask << base;
    for (unsigned c = 0; c < NUM_CTR; c++) {
        bool usable = flags & CFG_SKIP_MATCH ? h->ctr[c].event != EVENT_NONE
                                             : h->ctr[c].event == EVENT_NONE && (counters_for(event) >> c & 1);
        if (!(set >> c & 1) || !usable) {
            continue;
        }
        if (!(flags & CFG_SKIP_MATCH)) {
            h->ctr[c].event = event;
            h->ctr[c].started = false;
        }
        if (flags & CFG_CLEAR_VALUE) {
            set_value(cpu, c, 0);
        }
        if (flags & CFG_AUTO_START) {
            set_running(h, c, true);
        }
        return sbi_ok(c);
    }
    return sbi_error(SBI_ERR_NOT_SUPPORTED);
}

/* start (on) and stop (off): x[A0] base, x[A1] mask, x[A2] flags, x[A3] initial value. */
static struct sbi_ret start_stop(struct cpu *cpu, bool on)
{
    const uint64_t *x = cpu->x;
    struct sbi_hart *h = hart_of(cpu);
    uint64_t base = x[A0], mask = x[A1], flags = x[A2];
    struct sbi_ret r = sbi_ok(0);
    if (base >= NUM_CTR || mask == 0 || mask >> (NUM_CTR - base)) {
        return sbi_error(SBI_ERR_INVALID_PARAM);
    }
    for (uint64_t set = mask << base; set; set &= set - 1) {
        unsigned c = (unsigned)__builtin_ctzll(set);
        if (h->ctr[c].event == EVENT_NONE) {
            r = sbi_error(SBI_ERR_INVALID_PARAM);
            continue;
        }
        if (h->ctr[c].started == on) {
            r = sbi_error(on ? SBI_ERR_ALREADY_STARTED : SBI_ERR_ALREADY_STOPPED);
        } else {
            if (on && (flags & START_SET_INIT)) {
                set_value(cpu, c, x[A3]);
            }
            set_running(h, c, on);
        }
        if (!on && (flags & STOP_RESET)) {
            h->ctr[c].event = EVENT_NONE;
        }
    }
    return r;
}

static struct sbi_ret counter_info(uint64_t ctr)
{
    if (ctr >= NUM_CTR || ctr == CTR_TIME) {
        return sbi_error(SBI_ERR_INVALID_PARAM);
    }
    /* Bits 11:0 CSR number, 17:12 width - 1, XLEN-1 firmware. */
    return sbi_ok(is_fw(ctr) ? 1ull << 63 : 63u << 12 | (0xc00 + (uint32_t)ctr));
}

struct sbi_ret sbi_pmu(struct cpu *cpu, uint64_t fid)
{
    uint64_t ctr = cpu->x[A0];
    switch (fid) {
    case 0:
        return sbi_ok(NUM_CTR);
    case 1:
        return counter_info(ctr);
    case 2:
        return config_matching(cpu);
    case 3:
        return start_stop(cpu, true);
    case 4:
        return start_stop(cpu, false);
    case 5: /* fw_read */
    case 6: /* fw_read_hi: always 0 for RV64 */
        if (!is_fw(ctr) || ctr >= NUM_CTR || hart_of(cpu)->ctr[ctr].event == EVENT_NONE) {
            return sbi_error(SBI_ERR_INVALID_PARAM);
        }
        return sbi_ok(fid == 5 ? fw_value(hart_of(cpu), (unsigned)ctr) : 0);
    }
    return sbi_error(SBI_ERR_NOT_SUPPORTED);
}
