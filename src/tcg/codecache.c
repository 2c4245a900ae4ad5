#include "tcg/codecache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "weft/page_user.h"

struct codecache *codecache_of(const struct machine *m)
{
    return m->tcg_data;
}

static void *map_or_null(void *p)
{
    return p == MAP_FAILED ? NULL : p;
}

bool codecache_create(struct codecache **out, struct machine *m, size_t size, struct error *err)
{
    struct codecache *cc = calloc(1, sizeof(*cc));
    assert(cc);
    cc->size = size;
    cc->region_size = size / CODE_REGIONS;
    int fd = memfd_create("weft-code", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
        int e = errno;
        if (fd >= 0) {
            close(fd);
        }
        free(cc);
        return error_set_errno(
            err, e, "the code cache of %zu MiB cannot be had; give a smaller -accel tcg,tb-size=", size >> 20);
    }
    cc->rw = map_or_null(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    cc->rx = map_or_null(mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
    int e = errno;
    close(fd);
    size_t pages = m->ram.size >> GUEST_PAGE_BITS;
    cc->by_page = map_or_null(mmap(NULL, pages * sizeof(*cc->by_page), PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (!cc->rw || !cc->rx || !cc->by_page) {
        free(cc);
        return error_set_errno(err, e, "the code cache cannot be mapped executable; use -accel tcg,tier=interp");
    }
    cc->next_id = 1;
    pthread_mutex_init(&cc->lock, NULL);
    atomic_store(&cc->epoch, 1);
    atomic_store(&cc->wflush_request, 1);
    *out = cc;
    return true;
}

static void page_free(struct code_page *p)
{
    for (unsigned i = 0; i < SLOT_CHUNKS; i++) {
        free(atomic_load(&p->slots[i]));
    }
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void codecache_destroy(struct codecache **ccp)
{
    struct codecache *cc = *ccp;
    if (!cc) {
        return;
    }
    for (unsigned id = 1; id < CODE_PAGES_MAX; id++) {
        if (atomic_load(&cc->page[id])) {
            page_free(atomic_load(&cc->page[id]));
        }
    }
    munmap(cc->rw, cc->size);
    munmap(cc->rx, cc->size);
    free(cc->dirty);
    free(cc->retired);
    pthread_mutex_destroy(&cc->lock);
    free(cc);
    *ccp = NULL;
}

static void push(struct code_page ***list, _Atomic unsigned *n, unsigned *cap, struct code_page *p)
{
    if (*n == *cap) {
        *cap = *cap ? *cap * 2 : 64;
        *list = realloc(*list, *cap * sizeof(**list));
        assert(*list);
    }
    (*list)[(*n)++] = p;
}

bool codecache_room(struct codecache *cc, struct tcg_cpu *t)
{
    if (t->chunk && (size_t)(t->chunk_end - t->chunk) >= CODE_UNIT_ROOM) {
        return true;
    }
    pthread_mutex_lock(&cc->lock);
    if (cc->region_used + CODE_CHUNK_SIZE > cc->region_size) {
        if (cc->wrapped || cc->region + 1 == CODE_REGIONS) {
            pthread_mutex_unlock(&cc->lock);
            return false;
        }
        cc->region++;
        cc->region_used = 0;
    }
    t->chunk = cc->rw + cc->region * cc->region_size + cc->region_used;
    t->chunk_end = t->chunk + CODE_CHUNK_SIZE;
    t->chunk_region = cc->region;
    cc->region_used += CODE_CHUNK_SIZE;
    bool trim = cc->region_used % CODE_TRIM_EVERY == 0;
    pthread_mutex_unlock(&cc->lock);
    if (trim) {
        /* Code is seldom written again: the writable alias need not stay mapped. The bytes are the memfd's. */
        madvise(cc->rw, cc->size, MADV_DONTNEED);
    }
    return true;
}

/* [L] Takes the page out of use; harts still inside it go on until they flush. */
static void retire(struct codecache *cc, struct machine *m, struct code_page *p)
{
    if (atomic_exchange(&p->retired, true)) {
        return;
    }
    size_t i = (p->gpa - m->ram.base) >> GUEST_PAGE_BITS;
    atomic_store(&cc->by_page[i], NULL);
    /* A hart outside guest code counts as one that has served a request to drop its write rights, and will when it goes
     * on; but then it looks for PAGE_CODE. Whoever translates the page next is to ask again. */
    if (m->num_cpus > 1) {
        atomic_fetch_or(&m->ram.page_flags[i], PAGE_WRITER);
    }
    atomic_fetch_and(&m->ram.page_flags[i], (uint8_t) ~(PAGE_CODE | PAGE_CODE_DIRTY));
    push(&cc->retired, &cc->num_retired, &cc->cap_retired, p);
    atomic_fetch_sub(&cc->num_pages, 1);
    atomic_fetch_add(&cc->epoch, 1);
}

/* [L][X] Frees retired pages; every hart has dropped its jump caches. */
static void free_retired(struct codecache *cc)
{
    for (unsigned i = 0; i < cc->num_retired; i++) {
        struct code_page *p = cc->retired[i];
        atomic_store(&cc->page[p->id], NULL);
        page_free(p);
    }
    cc->num_retired = 0;
}

/* [L][X] Retires the pages that have code in one of the regions of `mask`. */
static void retire_regions(struct codecache *cc, struct machine *m, uint32_t mask)
{
    for (unsigned id = 1; id < cc->next_id; id++) {
        struct code_page *p = atomic_load(&cc->page[id]);
        if (p && (p->regions & mask || mask == ~0u)) {
            retire(cc, m, p);
        }
    }
    unsigned kept = 0;
    for (unsigned i = 0; i < cc->num_dirty; i++) {
        if (!atomic_load(&cc->dirty[i]->retired)) {
            cc->dirty[kept++] = cc->dirty[i];
        }
    }
    cc->num_dirty = kept;
}

/* [L][X] No hart keeps a way into code of the regions of `mask`, or room there. */
static void harts_forget(struct codecache *cc, struct machine *m, uint32_t mask)
{
    for (unsigned i = 0; i < m->num_cpus; i++) {
        struct cpu *cpu = m->cpus[i];
        struct tcg_cpu *t = cpu->tcg;
        tlb_flush_code(cpu);
        memset(t->fetch, 0, sizeof(t->fetch));
        cpu->code_epoch = atomic_load(&cc->epoch);
        if (mask >> t->chunk_region & 1) {
            t->chunk = t->chunk_end = NULL;
        }
    }
}

void codecache_evict(struct machine *m, struct cpu *self)
{
    struct codecache *cc = codecache_of(m);
    tlb_rest_begin(self);
    cpu_exclusive_begin(m, self);
    pthread_mutex_lock(&cc->lock);
    bool all = cc->next_id == CODE_PAGES_MAX;
    /* Another hart may have made room while this one waited for its turn. */
    if (all || cc->region_used + CODE_CHUNK_SIZE > cc->region_size) {
        unsigned r = all ? 0 : (cc->region + 1) % CODE_REGIONS;
        uint32_t mask = all ? ~0u : 1u << r;
        retire_regions(cc, m, mask);
        harts_forget(cc, m, mask);
        free_retired(cc);
        cc->region = r;
        cc->region_used = r == 0 ? cc->base_used : 0;
        cc->wrapped = !all;
        cc->next_id = all ? 1 : cc->next_id;
        cc->evictions++;
    }
    pthread_mutex_unlock(&cc->lock);
    cpu_exclusive_end(m, self);
    tlb_rest_end(self);
}

static struct code_page *page_create(struct codecache *cc, struct cpu *cpu, gpa_t gpa, size_t index)
{
    struct code_page *p = calloc(1, sizeof(*p));
    assert(p);
    p->gpa = gpa;
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_lock(&cc->lock);
    struct code_page *other = atomic_load(&cc->by_page[index]);
    if (other || cc->next_id == CODE_PAGES_MAX) {
        pthread_mutex_unlock(&cc->lock);
        pthread_mutex_destroy(&p->lock);
        free(p);
        return other;
    }
    p->id = cc->next_id++;
    /* The order against the TLB's grant (set PAGE_WRITER, then look at PAGE_CODE) makes sure one side sees the other.
     */
    uint8_t flags = atomic_fetch_or(&cpu->ram->page_flags[index], PAGE_CODE);
    if (flags & PAGE_WRITER) {
        tlb_drop_write(cpu, gpa);
        if (cpu->machine->num_cpus == 1) {
            atomic_fetch_and(&cpu->ram->page_flags[index], (uint8_t)~PAGE_WRITER);
        } else {
            p->armed_epoch = atomic_fetch_add(&cc->wflush_request, 1) + 1;
            p->listed = true;
            push(&cc->dirty, &cc->num_dirty, &cc->cap_dirty, p);
        }
    }
    /* The right is lowered before the flag is looked at, and looked at after the flag is set: one side sees the other.
     */
    if (!page_users_has(cpu, cpu->ram, gpa, PAGE_READ)) {
        p->unsure = true;
        if (!p->listed) {
            p->listed = true;
            push(&cc->dirty, &cc->num_dirty, &cc->cap_dirty, p);
        }
    }
    p->hash = XXH3_64bits(ram_ptr(cpu->ram, gpa), GUEST_PAGE_SIZE);
    atomic_store(&cc->page[p->id], p);
    atomic_store(&cc->by_page[index], p);
    atomic_fetch_add(&cc->num_pages, 1);
    pthread_mutex_unlock(&cc->lock);
    return p;
}

struct code_page *codecache_page_get(struct codecache *cc, struct cpu *cpu, gpa_t gpa)
{
    size_t index = (gpa - cpu->ram->base) >> GUEST_PAGE_BITS;
    struct code_page *p = atomic_load_explicit(&cc->by_page[index], memory_order_acquire);
    return p ? p : page_create(cc, cpu, gpa, index);
}

/* Another hart may have, or get, the right to write the page without being noticed. */
static bool may_be_written(const struct cpu *cpu, const struct code_page *p)
{
    size_t index = (p->gpa - cpu->ram->base) >> GUEST_PAGE_BITS;
    return (atomic_load(&cpu->ram->page_flags[index]) & PAGE_CODE_DIRTY) || p->armed_epoch;
}

const uint8_t *codecache_page_bytes(struct codecache *cc, struct cpu *cpu, struct code_page *p)
{
    struct tcg_cpu *t = cpu->tcg;
    const uint8_t *bytes = ram_ptr(cpu->ram, p->gpa);
    (void)cc;
    if (!may_be_written(cpu, p)) {
        return bytes;
    }
    memcpy(t->copy, bytes, GUEST_PAGE_SIZE);
    if (XXH3_64bits(t->copy, GUEST_PAGE_SIZE) != p->hash) {
        p->unsure = true; /* it is on the dirty list: marked, or armed */
    }
    return t->copy;
}

void codecache_page_read(struct codecache *cc, struct cpu *cpu, struct code_page *p, const uint8_t *bytes)
{
    struct tcg_cpu *t = cpu->tcg;
    if (bytes == t->copy || !may_be_written(cpu, p)) {
        return;
    }
    /* What was read may be changed back before the next fence.i, which would then see nothing. The page cannot have
     * left the list since: this hart has not served a request to drop its rights. */
    pthread_mutex_lock(&cc->lock);
    p->unsure = true;
    if (!p->listed) {
        p->listed = true;
        push(&cc->dirty, &cc->num_dirty, &cc->cap_dirty, p);
    }
    pthread_mutex_unlock(&cc->lock);
}

void code_page_publish(struct code_page *p, unsigned off, uint32_t code)
{
    struct code_slots *s = atomic_load(&p->slots[off >> 7]);
    if (!s) {
        s = calloc(1, sizeof(*s));
        assert(s);
        atomic_store_explicit(&p->slots[off >> 7], s, memory_order_release);
    }
    atomic_store_explicit(&s->code[off >> 1 & 63], code, memory_order_release);
}

static struct machine *the_machine; /* (c) one machine per process; code_page_written has only the RAM */

void codecache_set_machine(struct machine *m)
{
    the_machine = m;
}

void code_page_written(struct ram *ram, gpa_t page)
{
    size_t index = (page - ram->base) >> GUEST_PAGE_BITS;
    if (!the_machine || &the_machine->ram != ram || !codecache_of(the_machine)) {
        return;
    }
    struct codecache *cc = codecache_of(the_machine);
    pthread_mutex_lock(&cc->lock);
    struct code_page *p = atomic_load(&cc->by_page[index]);
    if (p) {
        atomic_fetch_or(&ram->page_flags[index], PAGE_CODE_DIRTY);
        if (!p->listed) {
            p->listed = true;
            push(&cc->dirty, &cc->num_dirty, &cc->cap_dirty, p);
        }
    }
    pthread_mutex_unlock(&cc->lock);
}

/* True when every hart has served the request, or will before it next uses its TLB. */
static bool all_served(struct machine *m, uint64_t epoch)
{
    for (unsigned i = 0; i < m->num_cpus; i++) {
        struct cpu *c = m->cpus[i];
        if (atomic_load(&c->wflush_epoch) < epoch && atomic_load(&c->in_exec)) {
            return false;
        }
    }
    return true;
}

/* [L] Looks at one page of the dirty list; true when it may leave the list. */
static bool check_page(struct codecache *cc, struct machine *m, struct code_page *p)
{
    if (atomic_load(&p->retired)) {
        return true;
    }
    size_t index = (p->gpa - m->ram.base) >> GUEST_PAGE_BITS;
    bool was_dirty = atomic_load(&m->ram.page_flags[index]) & PAGE_CODE_DIRTY;
    bool served = p->armed_epoch == 0 || all_served(m, p->armed_epoch);
    /* What another rank may be writing is not what lies here. */
    bool elsewhere = !page_users_has(cpu_current(), &m->ram, p->gpa, PAGE_READ);
    if (elsewhere || p->unsure || XXH3_64bits(ram_ptr(&m->ram, p->gpa), GUEST_PAGE_SIZE) != p->hash) {
        retire(cc, m, p);
        return true;
    }
    if (was_dirty) {
        atomic_fetch_and(&m->ram.page_flags[index], (uint8_t)~PAGE_CODE_DIRTY);
        p->armed_epoch = atomic_fetch_add(&cc->wflush_request, 1) + 1;
        return false;
    }
    if (served) {
        p->armed_epoch = 0;
        atomic_fetch_and(&m->ram.page_flags[index], (uint8_t)~PAGE_WRITER);
    }
    return served;
}

void tcg_fence_i(struct cpu *cpu)
{
    struct codecache *cc = codecache_of(cpu->machine);
    if (!cc) {
        return;
    }
    if (cc->num_dirty) {
        pthread_mutex_lock(&cc->lock);
        unsigned kept = 0;
        for (unsigned i = 0; i < cc->num_dirty; i++) {
            struct code_page *p = cc->dirty[i];
            if (check_page(cc, cpu->machine, p)) {
                p->listed = false;
            } else {
                cc->dirty[kept++] = p;
            }
        }
        cc->num_dirty = kept;
        pthread_mutex_unlock(&cc->lock);
    }
    uint64_t epoch = atomic_load(&cc->epoch);
    if (cpu->code_epoch != epoch) {
        tlb_flush_code(cpu);
        struct tcg_cpu *t = cpu->tcg;
        memset(t->fetch, 0, sizeof(t->fetch));
        cpu->code_epoch = epoch;
    }
    codecache_serve_wflush(cc, cpu);
}

void codecache_serve_wflush(struct codecache *cc, struct cpu *cpu)
{
    uint64_t want = atomic_load(&cc->wflush_request);
    if (atomic_load_explicit(&cpu->wflush_epoch, memory_order_relaxed) != want) {
        tlb_drop_write_code(cpu);
        atomic_store(&cpu->wflush_epoch, want);
    }
}
