/*
 * Incoming MSI controller (AIA 1.0, chapter 3). Messages come from any thread, the CSR side is the hart's own thread:
 * a small mutex per hart orders the change of a pending bit with the change of the interrupt line that follows it, so
 * that an old level never overwrites a newer one. It is a leaf but for what cpu_irq_set takes.
 */
#include "weft/devices.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ID_WORDS = (IMSIC_NUM_IDS + 64) / 64 };

struct interrupt_file {
    uint64_t pending[ID_WORDS], enabled[ID_WORDS]; /* bit = identity; 0 does not exist */
    uint32_t delivery, threshold;
};

struct imsic {
    pthread_mutex_t lock;
    struct interrupt_file file[2]; /* [lock] */
    struct cpu *cpu;               /* (c) */
    struct imsic_port port;        /* (c) */
};

/* The lowest pending and enabled identity below the threshold, or 0 (AIA 1.0, 3.9). */
static uint32_t top_identity(const struct interrupt_file *f)
{
    for (unsigned w = 0; w < ID_WORDS; w++) {
        uint64_t bits = f->pending[w] & f->enabled[w];
        if (bits) {
            uint32_t id = w * 64 + (uint32_t)__builtin_ctzll(bits);
            return f->threshold == 0 || id < f->threshold ? id : 0;
        }
    }
    return 0;
}

static void update_line(struct imsic *s, enum imsic_file file)
{
    struct interrupt_file *f = &s->file[file];
    bool level = f->delivery == 1 && top_identity(f) != 0;
    cpu_irq_set(s->cpu, 1ull << (file == IMSIC_FILE_M ? IRQ_MEI : IRQ_SEI), level);
}

void imsic_send(struct imsic *s, enum imsic_file file, uint32_t identity)
{
    if (identity == 0 || identity > IMSIC_NUM_IDS) {
        return; /* ignored (AIA 1.0, 3.5) */
    }
    pthread_mutex_lock(&s->lock);
    s->file[file].pending[identity / 64] |= 1ull << (identity % 64);
    update_line(s, file);
    pthread_mutex_unlock(&s->lock);
}

struct cpu *imsic_cpu(const struct imsic *s)
{
    return s->cpu;
}

/* Where a selector's value lives, or NULL for one that reads as zero; *exists is false for an illegal one. */
static uint64_t *array_word(struct interrupt_file *f, unsigned select, bool *exists)
{
    unsigned index = select & 0x3f;
    *exists = !(select & 1); /* RV64: the even-numbered registers hold 64 bits each */
    if (!*exists || index / 2 >= ID_WORDS) {
        return NULL;
    }
    return select >= ISELECT_EIE0 ? &f->enabled[index / 2] : &f->pending[index / 2];
}

static bool reg_read(void *opaque, enum imsic_file file, unsigned select, uint64_t *value)
{
    struct imsic *s = opaque;
    struct interrupt_file *f = &s->file[file];
    bool exists = true;
    *value = 0;
    pthread_mutex_lock(&s->lock);
    if (select >= ISELECT_EIP0) {
        uint64_t *word = array_word(f, select, &exists);
        *value = word ? *word : 0;
    } else if (select == ISELECT_EIDELIVERY) {
        *value = f->delivery;
    } else if (select == ISELECT_EITHRESHOLD) {
        *value = f->threshold;
    }
    pthread_mutex_unlock(&s->lock);
    return exists;
}

static bool reg_write(void *opaque, enum imsic_file file, unsigned select, uint64_t value)
{
    struct imsic *s = opaque;
    struct interrupt_file *f = &s->file[file];
    bool exists = true;
    pthread_mutex_lock(&s->lock);
    if (select >= ISELECT_EIP0) {
        uint64_t *word = array_word(f, select, &exists);
        if (word) {
            *word = (select & 0x3f) == 0 ? value & ~1ull : value;
        }
    } else if (select == ISELECT_EIDELIVERY) {
        f->delivery = value & 1;
    } else if (select == ISELECT_EITHRESHOLD) {
        f->threshold = value & IMSIC_NUM_IDS;
    }
    update_line(s, file);
    pthread_mutex_unlock(&s->lock);
    return exists;
}

static uint32_t topei(void *opaque, enum imsic_file file)
{
    struct imsic *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint32_t id = top_identity(&s->file[file]);
    pthread_mutex_unlock(&s->lock);
    return id << 16 | id;
}

static void claim(void *opaque, enum imsic_file file, uint32_t value)
{
    struct imsic *s = opaque;
    uint32_t id = value >> 16;
    if (id == 0 || id > IMSIC_NUM_IDS) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->file[file].pending[id / 64] &= ~(1ull << (id % 64));
    update_line(s, file);
    pthread_mutex_unlock(&s->lock);
}

struct imsic *imsic_create(struct cpu *cpu)
{
    static const struct imsic_ops ops = {.reg_read = reg_read, .reg_write = reg_write, .topei = topei, .claim = claim};
    struct imsic *s = calloc(1, sizeof(*s));
    assert(s);
    pthread_mutex_init(&s->lock, NULL);
    s->cpu = cpu;
    s->port = (struct imsic_port){.ops = &ops, .opaque = s};
    cpu->imsic = &s->port;
    return s;
}

void imsic_reset(struct imsic *s)
{
    pthread_mutex_lock(&s->lock);
    memset(s->file, 0, sizeof(s->file));
    update_line(s, IMSIC_FILE_M);
    update_line(s, IMSIC_FILE_S);
    pthread_mutex_unlock(&s->lock);
}

void imsic_destroy(struct imsic **ps)
{
    struct imsic *s = *ps;
    if (s) {
        s->cpu->imsic = NULL;
        pthread_mutex_destroy(&s->lock);
        free(s);
        *ps = NULL;
    }
}

/* ---- the memory-mapped side: one page per file, seteipnum_le at 0, seteipnum_be at 4 (AIA 1.0, 3.5) ---- */

struct imsic *imsic_bank_find(const struct imsic_bank *b, uint64_t offset)
{
    uint64_t group = b->num_groups > 1 ? offset >> b->group_shift : 0;
    uint64_t hart = (offset - (b->num_groups > 1 ? group << b->group_shift : 0)) / IMSIC_PAGE_SIZE;
    unsigned first = 0;
    if (group >= b->num_groups || hart >= b->harts_of[group]) {
        return NULL;
    }
    for (unsigned g = 0; g < group; g++) {
        first += b->harts_of[g];
    }
    return b->imsic[first + hart];
}

static uint64_t bank_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void bank_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    const struct imsic_bank *b = opaque;
    struct imsic *s = imsic_bank_find(b, offset);
    if (!s) {
        return;
    }
    switch (offset % IMSIC_PAGE_SIZE) {
    case 0:
        imsic_send(s, b->file, (uint32_t)value);
        break;
    case 4:
        imsic_send(s, b->file, __builtin_bswap32((uint32_t)value));
        break;
    }
}

const struct mmio_ops imsic_bank_ops = {
    .read = bank_read, .write = bank_write, .min_size = 4, .max_size = 4, .lockless = true};
