/*
 * The users of guest pages on this rank when pages come from others (weft/page_source.h): the harts' TLBs and device
 * DMA. On one rank ram->users is NULL, and each slow path tests that once; the fast paths know nothing of it.
 *
 * A hart's safe points are the begin of each slice and of tcg_cpu_exec (tlb_safe_point), and its waits. What take()
 * asks of a hart is queued for it and done there; a hart that does not run guest code, or waits, counts as done at
 * once, because it serves its queue before it runs on.
 *
 * Call sequence: page_users_create; cluster_create with page_users_ops; page_users_attach; the harts' tlb_create;
 * harts run; harts end; the cluster ends; page_users_destroy.
 */
#ifndef WEFT_PAGE_USER_H
#define WEFT_PAGE_USER_H

#include "weft/cpu.h"
#include "weft/page_source.h"

struct page_users;

/* The calls of weft/page_source.h, as the provider of pages gives them. */
struct page_port {
    struct page_source *source;
    void (*acquire)(struct page_source *source, struct page_request *request, uint64_t page, enum page_right right,
                    bool whole);
    void (*operate)(struct page_source *source, struct page_request *request, uint64_t page, const struct msg_op *op);
    void (*wait)(struct page_source *source, struct page_request *request); /* may be NULL */
    void (*taken)(struct page_source *source, uint64_t page, unsigned how);
};

/* For struct cluster_config: `opaque` of its calls is the struct page_users. Coherence thread. */
extern const struct page_user_ops page_users_ops;

struct page_users *page_users_create(struct ram *ram);
/* From here on rights are asked for: sets ram->users. Before the first hart is created. */
void page_users_attach(struct page_users *users, const struct page_port *port);
/* A hart that uses pages, and what drops (keep_read: the write right of) one page from its TLB. tlb_create and
 * tlb_destroy call these. */
typedef void page_drop_fn(struct cpu *cpu, gpa_t page, bool keep_read);
void page_users_add_hart(struct page_users *users, struct cpu *cpu, page_drop_fn *drop);
void page_users_remove_hart(struct page_users *users, struct cpu *cpu);
/* Sets ram->users to NULL and frees. No user is left. */
void page_users_destroy(struct page_users **users);

enum page_reach {
    PAGE_REACH_HERE,   /* this rank has the right: use it until the next safe point */
    PAGE_REACH_SERVED, /* the page stays at its home: page_users_operate */
    PAGE_REACH_LOST,   /* it will not come: the machine is ending */
};

/* Gets `right` on a page for the hart, waiting for it if need be; waiting is a safe point. `whole`: do not answer
 * PAGE_REACH_SERVED. Own thread, no lock held. */
enum page_reach page_users_get(struct cpu *cpu, uint64_t page, enum page_right right, bool whole);
/* How often the hart has waited: rights it relied on before the number changed are gone. Own thread. */
unsigned page_users_waits(const struct cpu *cpu);
/* One access to a served page. PAGE_REACH_HERE: done, *value holds the old value. PAGE_REACH_SERVED: it is no longer
 * served, get it. Own thread, no lock held. */
enum page_reach page_users_operate(struct cpu *cpu, uint64_t page, const struct msg_op *op, uint64_t *value);
/* Does what take() has queued for the hart. Own thread, at a safe point. */
void page_users_serve(struct cpu *cpu);

/* DMA on one page: gets the right, waiting if need be, and keeps it until the end call. False: it will not come. Not
 * for loops and the coherence thread: for vCPU threads, which rest meanwhile, and workers. */
struct page_pin {
    uint64_t page;
    enum page_right right;
    /* ---- private ---- */
    struct page_pin *next;
    struct page_take *take;
};
bool page_users_dma_begin(struct page_users *users, struct page_pin *pin, uint64_t page, enum page_right right);
void page_users_dma_end(struct page_users *users, struct page_pin *pin);

/*
 * Device DMA that never waits: a struct page_dma is what one queue of a device holds of guest memory. `need` says
 * whether the pages are held, and if not, has them come; ready() is called then, and the device tries again from the
 * start. What is held stays until the release. So a device first needs all that its next buffer takes, then copies,
 * then releases.
 *
 * Only one page_dma of a rank holds pages while it waits for others (its turn); the rest let go and wait for the turn.
 * With devices on one rank only, and harts that hold nothing while they wait, nobody waits in a circle.
 *
 * Threads: calls with the BQL; ready() by any thread (it may schedule a bottom half). Only over ranks.
 */
struct page_dma;
struct page_dma *page_dma_create(struct page_users *users, void (*ready)(void *opaque), void *opaque);
bool page_dma_need(struct page_dma *d, gpa_t gpa, uint64_t len, enum page_right right);
/* Of pages that are held; false if not all of them are. */
bool page_dma_read(struct page_dma *d, gpa_t gpa, void *buf, uint64_t len);
bool page_dma_write(struct page_dma *d, gpa_t gpa, const void *buf, uint64_t len);
/* Pages were needed that are to come: ready() will be called. */
bool page_dma_waiting(struct page_dma *d);
/* Lets go, and waits for nothing any more. */
void page_dma_release(struct page_dma *d);
/* After the cluster has ended, when nothing is under way. */
void page_dma_destroy(struct page_dma **d);
/* While parked no page_dma holds anything or asks for anything: for who stops the world. With the BQL. */
void page_users_park(struct page_users *users, bool park);

/* Has this rank the right on the page of gpa (which is RAM)? Always, on one rank. The hart may rely on it until its
 * next safe point, and is asked from now on when the page is taken. Own thread; any other with cpu NULL, which may not
 * rely on the answer. */
bool page_users_claim(struct cpu *cpu, const struct ram *ram, gpa_t gpa, enum page_right right);
static inline bool page_users_has(struct cpu *cpu, const struct ram *ram, gpa_t gpa, enum page_right right)
{
    return __builtin_expect(!ram->users, 1) || page_users_claim(cpu, ram, gpa, right);
}

/* The hart waits for others, inside tcg_cpu_exec, but uses no page meanwhile: a long safe point. Own thread. */
void page_users_rest(struct cpu *cpu, bool begin);
static inline void tlb_rest_begin(struct cpu *cpu)
{
    if (__builtin_expect(cpu->page_user != NULL, 0)) {
        page_users_rest(cpu, true);
    }
}
static inline void tlb_rest_end(struct cpu *cpu)
{
    if (__builtin_expect(cpu->page_user != NULL, 0)) {
        page_users_rest(cpu, false);
    }
}

/* The hart is outside generated code and holds no host address of a guest page. Own thread. */
static inline void tlb_safe_point(struct cpu *cpu)
{
    if (__builtin_expect(atomic_load(&cpu->page_takes) != 0, 0)) {
        page_users_serve(cpu);
    }
}

#endif
