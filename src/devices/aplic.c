/*
 * Advanced platform-level interrupt controller (AIA 1.0, chapter 4). A root domain at machine level may delegate
 * sources to one child domain at supervisor level. Delivery is direct to harts or by MSIs, fixed when it is made.
 */
#include "weft/devices.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SOURCES = 127, SOURCE_WORDS = (MAX_SOURCES + 32) / 32 };

/* Register offsets (AIA 1.0, 4.5). */
enum {
    DOMAINCFG = 0x0000,
    SOURCECFG = 0x0004,
    MMSIADDRCFG = 0x1bc0,
    MMSIADDRCFGH = 0x1bc4,
    SMSIADDRCFG = 0x1bc8,
    SMSIADDRCFGH = 0x1bcc,
    SETIP = 0x1c00,
    SETIPNUM = 0x1cdc,
    IN_CLRIP = 0x1d00,
    CLRIPNUM = 0x1ddc,
    SETIE = 0x1e00,
    SETIENUM = 0x1edc,
    CLRIE = 0x1f00,
    CLRIENUM = 0x1fdc,
    SETIPNUM_LE = 0x2000,
    SETIPNUM_BE = 0x2004,
    GENMSI = 0x3000,
    TARGET = 0x3004,
    IDC = 0x4000,
    IDC_STRIDE = 32,
};
enum { IDC_IDELIVERY = 0, IDC_IFORCE = 4, IDC_ITHRESHOLD = 8, IDC_TOPI = 0x18, IDC_CLAIMI = 0x1c };

enum { SM_INACTIVE = 0, SM_DETACHED = 1, SM_EDGE1 = 4, SM_EDGE0 = 5, SM_LEVEL1 = 6, SM_LEVEL0 = 7 };
enum { DOMAINCFG_IE = 1 << 8, DOMAINCFG_DM = 1 << 2, SOURCECFG_D = 1 << 10 };
#define DOMAINCFG_RO 0x80000000u
#define MSIADDR_LOCK 0x80000000u
#define TARGET_HART(t) ((t) >> 18)
#define TARGET_EIID(t) ((t)&0x7ff)

struct idc {
    bool delivery, force;
    uint32_t threshold;
};

struct aplic {
    /* Under the BQL. */
    uint32_t domaincfg;
    uint32_t sourcecfg[MAX_SOURCES + 1], target[MAX_SOURCES + 1];
    bool wire[MAX_SOURCES + 1], pending[MAX_SOURCES + 1], enabled[MAX_SOURCES + 1];
    uint32_t msiaddr[4]; /* mmsiaddrcfg, mmsiaddrcfgh, smsiaddrcfg, smsiaddrcfgh; root only */
    uint32_t genmsi;
    struct idc idc[WEFT_MAX_HARTS];

    struct aplic_config cfg; /* (c) */
    struct cpu *hart[WEFT_MAX_HARTS];
    struct aplic *child;
};

/* The mode of a source in this domain; SM_INACTIVE where it is delegated away or does not exist. */
static unsigned source_mode(const struct aplic *a, unsigned n)
{
    if (n == 0 || n > a->cfg.num_sources || (a->sourcecfg[n] & SOURCECFG_D)) {
        return SM_INACTIVE;
    }
    return a->sourcecfg[n] & 7;
}

static bool is_level(unsigned mode)
{
    return mode == SM_LEVEL1 || mode == SM_LEVEL0;
}

/* The rectified input (AIA 1.0, 4.5.2). */
static bool rectified(const struct aplic *a, unsigned n)
{
    switch (source_mode(a, n)) {
    case SM_EDGE1:
    case SM_LEVEL1:
        return a->wire[n];
    case SM_EDGE0:
    case SM_LEVEL0:
        return !a->wire[n];
    }
    return false;
}

/* ---- direct delivery (AIA 1.0, 4.8) ---- */

static uint32_t top_interrupt(const struct aplic *a, unsigned hart)
{
    uint32_t best = 0, best_prio = a->idc[hart].threshold ? a->idc[hart].threshold : 256;
    for (unsigned n = 1; n <= a->cfg.num_sources; n++) {
        if (a->pending[n] && a->enabled[n] && TARGET_HART(a->target[n]) == hart) {
            uint32_t prio = a->target[n] & 0xff;
            if (prio < best_prio) {
                best_prio = prio;
                best = n << 16 | prio;
            }
        }
    }
    return best;
}

static void update_hart(struct aplic *a, unsigned hart)
{
    const struct idc *idc = &a->idc[hart];
    bool level = (a->domaincfg & DOMAINCFG_IE) && idc->delivery && (idc->force || top_interrupt(a, hart));
    cpu_irq_set(a->hart[hart], 1ull << (a->cfg.machine_level ? IRQ_MEI : IRQ_SEI), level);
}

/* ---- delivery by MSI (AIA 1.0, 4.9) ---- */

static uint64_t msi_address(const struct aplic *a, uint32_t hart_index, uint32_t guest_index)
{
    const struct aplic *root = a;
    while (root->cfg.parent) {
        root = root->cfg.parent;
    }
    uint32_t mh = root->msiaddr[1], low, high;
    uint32_t hhxs = mh >> 24 & 31, hhxw = mh >> 16 & 7, lhxw = mh >> 12 & 15;
    if (a->cfg.machine_level) {
        low = root->msiaddr[0];
        high = mh;
        guest_index = 0;
    } else {
        low = root->msiaddr[2];
        high = root->msiaddr[3];
    }
    uint32_t lhxs = high >> 20 & 7;
    uint64_t group = hart_index >> lhxw & ((1u << hhxw) - 1), hart = hart_index & ((1u << lhxw) - 1);
    uint64_t page = (uint64_t)(high & 0xfff) << 32 | low;
    page |= group << (hhxs + 12) | hart << lhxs | guest_index;
    return page << 12;
}

static void send_msi(struct aplic *a, uint32_t target)
{
    a->cfg.send(a->cfg.send_opaque, msi_address(a, TARGET_HART(target), target >> 12 & 0x3f), TARGET_EIID(target));
}

static void update_source(struct aplic *a, unsigned n)
{
    if (a->cfg.msi) {
        if ((a->domaincfg & DOMAINCFG_IE) && a->pending[n] && a->enabled[n]) {
            a->pending[n] = false;
            send_msi(a, a->target[n]);
        }
    } else if (TARGET_HART(a->target[n]) < a->cfg.num_harts) {
        update_hart(a, TARGET_HART(a->target[n]));
    }
}

static void update_all(struct aplic *a)
{
    if (a->cfg.msi) {
        for (unsigned n = 1; n <= a->cfg.num_sources; n++) {
            update_source(a, n);
        }
        return;
    }
    for (unsigned h = 0; h < a->cfg.num_harts; h++) {
        update_hart(a, h);
    }
}

/* ---- sources ---- */

static void wire_changed(struct aplic *a, unsigned n, bool before)
{
    bool now = rectified(a, n);
    unsigned mode = source_mode(a, n);
    if (is_level(mode)) {
        /* Direct: pending is the input itself. MSI: set by its rise, cleared by its fall (AIA 1.0, 4.7). */
        if (!a->cfg.msi || now != before) {
            a->pending[n] = now;
        }
    } else if (mode != SM_DETACHED && now && !before) {
        a->pending[n] = true;
    }
    update_source(a, n);
}

void aplic_set_irq(void *opaque, unsigned n, bool level)
{
    for (struct aplic *a = opaque; a; a = a->child) {
        assert(n >= 1 && n <= a->cfg.num_sources);
        bool before = rectified(a, n);
        a->wire[n] = level;
        if (source_mode(a, n) != SM_INACTIVE) {
            wire_changed(a, n, before);
        }
    }
}

static void deactivate(struct aplic *a, unsigned n)
{
    unsigned hart = TARGET_HART(a->target[n]);
    a->sourcecfg[n] = 0;
    a->pending[n] = a->enabled[n] = false;
    a->target[n] = 0;
    if (!a->cfg.msi && hart < a->cfg.num_harts) {
        update_hart(a, hart);
    }
}

static bool delegated_here(const struct aplic *a, unsigned n)
{
    return !a->cfg.parent || (a->cfg.parent->sourcecfg[n] & SOURCECFG_D);
}

static void write_sourcecfg(struct aplic *a, unsigned n, uint32_t value)
{
    if (!delegated_here(a, n)) {
        return; /* read-only zero */
    }
    if (value & SOURCECFG_D) {
        deactivate(a, n);
        a->sourcecfg[n] = a->child ? SOURCECFG_D : 0; /* child index 0 is the only one */
        return;
    }
    if (a->child) {
        deactivate(a->child, n);
    }
    unsigned mode = value & 7;
    if (mode == SM_INACTIVE || mode == 2 || mode == 3) {
        deactivate(a, n);
        return;
    }
    if (source_mode(a, n) == SM_INACTIVE && !a->cfg.msi) {
        a->target[n] = 1; /* iprio is never 0 in direct mode */
    }
    bool before = rectified(a, n);
    a->sourcecfg[n] = mode;
    wire_changed(a, n, before);
}

static void set_pending(struct aplic *a, unsigned n, bool level)
{
    unsigned mode = source_mode(a, n);
    if (mode == SM_INACTIVE || (is_level(mode) && !a->cfg.msi)) {
        return;
    }
    if (level && is_level(mode) && !rectified(a, n)) {
        return; /* a level source can only be made pending while its input is active */
    }
    a->pending[n] = level;
    update_source(a, n);
}

static void set_enabled(struct aplic *a, unsigned n, bool on)
{
    if (source_mode(a, n) != SM_INACTIVE) {
        a->enabled[n] = on;
        update_source(a, n);
    }
}

static void for_word(struct aplic *a, uint64_t offset, uint32_t bits, void (*fn)(struct aplic *, unsigned, bool),
                     bool arg)
{
    for (; bits; bits &= bits - 1) {
        unsigned n = (unsigned)(offset / 4) * 32 + (unsigned)__builtin_ctz(bits);
        if (n <= a->cfg.num_sources) {
            fn(a, n, arg);
        }
    }
}

static uint32_t read_word(const struct aplic *a, uint64_t offset, const bool *array)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < 32; i++) {
        unsigned n = (unsigned)(offset / 4) * 32 + i;
        v |= n <= a->cfg.num_sources && array[n] ? 1u << i : 0;
    }
    return v;
}

static uint32_t read_inputs(const struct aplic *a, uint64_t offset)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < 32; i++) {
        unsigned n = (unsigned)(offset / 4) * 32 + i;
        v |= n <= a->cfg.num_sources && rectified(a, n) ? 1u << i : 0;
    }
    return v;
}

static void write_target(struct aplic *a, unsigned n, uint32_t value)
{
    if (source_mode(a, n) == SM_INACTIVE) {
        return;
    }
    unsigned old = TARGET_HART(a->target[n]);
    if (a->cfg.msi) {
        a->target[n] = value & (a->cfg.machine_level ? 0xfffc07ff : 0xffffffff) & ~(1u << 11);
    } else {
        a->target[n] = (value & 0xfffc00ff) | ((value & 0xff) == 0);
        if (old < a->cfg.num_harts) {
            update_hart(a, old);
        }
    }
    update_source(a, n);
}

/* ---- registers ---- */

static uint32_t idc_read(struct aplic *a, uint64_t offset)
{
    uint64_t hart = offset / IDC_STRIDE;
    if (a->cfg.msi || hart >= a->cfg.num_harts) {
        return 0;
    }
    struct idc *idc = &a->idc[hart];
    switch (offset % IDC_STRIDE) {
    case IDC_IDELIVERY:
        return idc->delivery;
    case IDC_IFORCE:
        return idc->force;
    case IDC_ITHRESHOLD:
        return idc->threshold;
    case IDC_TOPI:
        return top_interrupt(a, (unsigned)hart);
    case IDC_CLAIMI: {
        uint32_t top = top_interrupt(a, (unsigned)hart);
        if (top == 0) {
            idc->force = false;
        } else if (!is_level(source_mode(a, top >> 16))) {
            a->pending[top >> 16] = false;
        }
        update_hart(a, (unsigned)hart);
        return top;
    }
    }
    return 0;
}

static void idc_write(struct aplic *a, uint64_t offset, uint32_t value)
{
    uint64_t hart = offset / IDC_STRIDE;
    if (a->cfg.msi || hart >= a->cfg.num_harts) {
        return;
    }
    struct idc *idc = &a->idc[hart];
    switch (offset % IDC_STRIDE) {
    case IDC_IDELIVERY:
        idc->delivery = value & 1;
        break;
    case IDC_IFORCE:
        idc->force = value & 1;
        break;
    case IDC_ITHRESHOLD:
        idc->threshold = value & 0xff;
        break;
    default:
        return;
    }
    update_hart(a, (unsigned)hart);
}

static bool is_msiaddr(const struct aplic *a, uint64_t offset)
{
    return offset >= MMSIADDRCFG && offset <= SMSIADDRCFGH && a->cfg.msi && !a->cfg.parent;
}

static uint64_t aplic_read(void *opaque, uint64_t offset, unsigned size)
{
    struct aplic *a = opaque;
    uint64_t src_end = SOURCECFG + 4ull * a->cfg.num_sources, tgt_end = TARGET + 4ull * a->cfg.num_sources;
    uint64_t words = 4ull * SOURCE_WORDS;
    if (offset == DOMAINCFG) {
        return DOMAINCFG_RO | a->domaincfg | (a->cfg.msi ? DOMAINCFG_DM : 0);
    }
    if (offset < src_end) {
        return a->sourcecfg[offset / 4];
    }
    if (is_msiaddr(a, offset)) {
        return a->msiaddr[(offset - MMSIADDRCFG) / 4];
    }
    if (offset >= SETIP && offset < SETIP + words) {
        return read_word(a, offset - SETIP, a->pending);
    }
    if (offset >= IN_CLRIP && offset < IN_CLRIP + words) {
        return read_inputs(a, offset - IN_CLRIP);
    }
    if (offset >= SETIE && offset < SETIE + words) {
        return read_word(a, offset - SETIE, a->enabled);
    }
    if (offset == GENMSI) {
        return a->genmsi;
    }
    if (offset >= TARGET && offset < tgt_end) {
        return a->target[(offset - TARGET) / 4 + 1];
    }
    return offset >= IDC ? idc_read(a, offset - IDC) : 0;
}

static void write_msiaddr(struct aplic *a, uint64_t offset, uint32_t value)
{
    static const uint32_t mask[4] = {0xffffffff, 0x9f77ffff, 0xffffffff, 0x00700fff};
    if (!(a->msiaddr[1] & MSIADDR_LOCK)) {
        uint64_t i = (offset - MMSIADDRCFG) / 4;
        a->msiaddr[i] = value & mask[i];
    }
}

static void write_number(struct aplic *a, uint64_t offset, uint32_t n)
{
    if (n == 0 || n > a->cfg.num_sources) {
        return;
    }
    switch (offset) {
    case SETIPNUM_BE:
    case SETIPNUM_LE:
    case SETIPNUM:
        set_pending(a, n, true);
        break;
    case CLRIPNUM:
        set_pending(a, n, false);
        break;
    case SETIENUM:
        set_enabled(a, n, true);
        break;
    case CLRIENUM:
        set_enabled(a, n, false);
        break;
    }
}

static void aplic_write(void *opaque, uint64_t offset, uint64_t value64, unsigned size)
{
    struct aplic *a = opaque;
    uint32_t value = (uint32_t)value64;
    uint64_t src_end = SOURCECFG + 4ull * a->cfg.num_sources, tgt_end = TARGET + 4ull * a->cfg.num_sources;
    uint64_t words = 4ull * SOURCE_WORDS;
    if (offset == DOMAINCFG) {
        a->domaincfg = value & DOMAINCFG_IE;
        update_all(a);
    } else if (offset < src_end) {
        write_sourcecfg(a, (unsigned)offset / 4, value);
    } else if (is_msiaddr(a, offset)) {
        write_msiaddr(a, offset, value);
    } else if (offset >= SETIP && offset < SETIP + words) {
        for_word(a, offset - SETIP, value, set_pending, true);
    } else if (offset >= IN_CLRIP && offset < IN_CLRIP + words) {
        for_word(a, offset - IN_CLRIP, value, set_pending, false);
    } else if (offset >= SETIE && offset < SETIE + words) {
        for_word(a, offset - SETIE, value, set_enabled, true);
    } else if (offset >= CLRIE && offset < CLRIE + words) {
        for_word(a, offset - CLRIE, value, set_enabled, false);
    } else if (offset == GENMSI) {
        if (a->cfg.msi) {
            a->genmsi = value & 0xfffc07ff;
            send_msi(a, a->genmsi);
        }
    } else if (offset >= TARGET && offset < tgt_end) {
        write_target(a, (unsigned)(offset - TARGET) / 4 + 1, value);
    } else if (offset >= IDC) {
        idc_write(a, offset - IDC, value);
    } else {
        write_number(a, offset, offset == SETIPNUM_BE ? __builtin_bswap32(value) : value);
    }
}

const struct mmio_ops aplic_ops = {.read = aplic_read, .write = aplic_write, .min_size = 4, .max_size = 4};

struct aplic *aplic_create(const struct aplic_config *cfg)
{
    assert(cfg->num_sources <= MAX_SOURCES && cfg->num_harts <= WEFT_MAX_HARTS);
    struct aplic *a = calloc(1, sizeof(*a));
    assert(a);
    a->cfg = *cfg;
    memcpy(a->hart, cfg->harts, cfg->num_harts * sizeof(cfg->harts[0]));
    if (cfg->parent) {
        cfg->parent->child = a;
    }
    return a;
}

void aplic_reset(struct aplic *a)
{
    a->domaincfg = a->genmsi = 0;
    memset(a->sourcecfg, 0, sizeof(a->sourcecfg));
    memset(a->target, 0, sizeof(a->target));
    memset(a->pending, 0, sizeof(a->pending));
    memset(a->enabled, 0, sizeof(a->enabled));
    memset(a->msiaddr, 0, sizeof(a->msiaddr));
    memset(a->idc, 0, sizeof(a->idc));
    update_all(a);
}

void aplic_delegate_all(struct aplic *root, uint64_t m_base, uint64_t s_base, unsigned hart_bits, unsigned group_bits,
                        unsigned group_shift)
{
    for (unsigned n = 1; n <= root->cfg.num_sources; n++) {
        write_sourcecfg(root, n, SOURCECFG_D);
    }
    if (root->cfg.msi) {
        uint32_t hhxs = group_bits ? group_shift - 24 : 0;
        root->msiaddr[0] = (uint32_t)(m_base >> 12);
        root->msiaddr[1] = MSIADDR_LOCK | hhxs << 24 | group_bits << 16 | hart_bits << 12 | (uint32_t)(m_base >> 44);
        root->msiaddr[2] = (uint32_t)(s_base >> 12);
        root->msiaddr[3] = (uint32_t)(s_base >> 44) & 0xfff;
    }
}

void aplic_destroy(struct aplic **a)
{
    free(*a);
    *a = NULL;
}
