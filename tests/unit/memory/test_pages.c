/* Guest pages that come from other ranks (weft/page_user.h): a source of pages that does what each test tells it. */
#include <pthread.h>
#include <string.h>
#include "fixture.h"
#include "memory/tlb_inline.h"
#include "weft/page_user.h"

#define PAGE(n) (0x100 + (uint64_t)(n))
#define GPA(n) (RAM_BASE + PAGE(n) * GUEST_PAGE_SIZE)

static struct {
    struct page_source ps;
    struct page_users *users;
    unsigned acquires, wholes, operates, takes_done, dirty;
    uint64_t last_page;
    enum page_right last_right;
    struct msg_op last_op;
    enum page_status answer;
    int take_before, take_after; /* the right a page is taken down to around done(), or -1; of page take_page */
    uint64_t take_page;
    bool unserve; /* operate says PAGE_TRY_AGAIN and ends the service */
} src;

static void set_right(uint64_t page, unsigned right)
{
    atomic_store(&src.ps.rights[page], (uint8_t)right);
}

static void take(uint64_t page, enum page_right right)
{
    set_right(page, right);
    page_users_ops.take(src.users, page, right);
}

static void end_request(struct page_request *request, enum page_status status)
{
    request->done(request, status);
    if (request->wake) {
        request->wake(request);
    }
}

static void acquire(struct page_source *ps, struct page_request *request, uint64_t page, enum page_right right,
                    bool whole)
{
    ck_assert_ptr_eq(ps, &src.ps);
    src.acquires++;
    src.wholes += whole;
    src.last_page = page;
    src.last_right = right;
    if (src.take_before >= 0) {
        enum page_right to = (enum page_right)src.take_before;
        src.take_before = -1;
        take(src.take_page, to);
    }
    if (src.answer == PAGE_GRANTED) {
        set_right(page, right);
    }
    end_request(request, src.answer);
    if (src.take_after >= 0) {
        enum page_right to = (enum page_right)src.take_after;
        src.take_after = -1;
        take(src.take_page, to);
    }
}

static void operate(struct page_source *ps, struct page_request *request, uint64_t page, const struct msg_op *op)
{
    src.operates++;
    src.last_page = page;
    src.last_op = *op;
    request->value = 0x1122334455667788;
    if (src.unserve) {
        set_right(page, PAGE_NONE);
    }
    end_request(request, src.unserve ? PAGE_TRY_AGAIN : PAGE_GRANTED);
}

static void taken(struct page_source *ps, uint64_t page, unsigned how)
{
    src.takes_done++;
    src.last_page = page;
    src.dirty += how & TAKEN_DIRTY;
}

static const struct page_port port = {.source = &src.ps, .acquire = acquire, .operate = operate, .taken = taken};

/* As fixture_setup, but the hart is created when pages must be asked for. Tables and all else is here. */
static void setup(void)
{
    fixture_setup();
    tlb_destroy(fx.cpu);
    memset(&src, 0, sizeof(src));
    src.take_before = src.take_after = -1;
    src.answer = PAGE_GRANTED;
    src.ps.pages = RAM_SIZE >> GUEST_PAGE_BITS;
    src.ps.rights = malloc(src.ps.pages);
    memset((void *)src.ps.rights, PAGE_WRITE, src.ps.pages);
    for (unsigned i = 0; i < 64; i++) {
        set_right(PAGE(i), PAGE_NONE);
    }
    src.users = page_users_create(&fx.ram);
    page_users_attach(src.users, &port);
    tlb_create(fx.cpu);
    atomic_store(&fx.cpu->in_exec, 1);
}

static void teardown(void)
{
    tlb_destroy(fx.cpu);
    page_users_destroy(&src.users);
    ck_assert_ptr_null(fx.ram.users);
    free((void *)src.ps.rights);
    fixture_teardown();
}

static uint64_t *word(gpa_t gpa)
{
    return ram_ptr(&fx.ram, gpa);
}

START_TEST(rights_follow)
{
    uint64_t v;
    *word(GPA(1)) = 7;
    ck_assert(tlb_load(fx.cpu, GPA(1), 8, &v));
    ck_assert_uint_eq(v, 7);
    ck_assert_uint_eq(src.acquires, 1);
    ck_assert_int_eq(src.last_right, PAGE_READ);
    ck_assert_uint_eq(src.wholes, 0);
    ck_assert_ptr_nonnull(tlb_probe_read(fx.cpu->ctx, GPA(1), 8));
    ck_assert(tlb_store(fx.cpu, GPA(1) + 8, 8, 9));
    ck_assert_uint_eq(src.acquires, 2);
    ck_assert_int_eq(src.last_right, PAGE_WRITE);
    ck_assert_ptr_nonnull(tlb_probe_write(fx.cpu->ctx, GPA(1), 8));
    /* A page that is only shared: an entry that admits loads alone, though some writer is announced. */
    set_right(PAGE(2), PAGE_READ);
    atomic_fetch_or(&fx.ram.page_flags[PAGE(2)], PAGE_WRITER);
    ck_assert(tlb_load(fx.cpu, GPA(2), 8, &v));
    ck_assert_uint_eq(src.acquires, 2);
    ck_assert_ptr_nonnull(tlb_probe_read(fx.cpu->ctx, GPA(2), 8));
    ck_assert_ptr_null(tlb_probe_write(fx.cpu->ctx, GPA(2), 8));
    /* Taken while guest code runs: given up at the safe point, not before. Only what was asked. */
    take(PAGE(1), PAGE_READ);
    ck_assert_uint_eq(src.takes_done, 0);
    tlb_safe_point(fx.cpu);
    ck_assert_uint_eq(src.takes_done, 1);
    ck_assert_uint_eq(src.dirty, 1);
    ck_assert_ptr_nonnull(tlb_probe_read(fx.cpu->ctx, GPA(1), 8));
    ck_assert_ptr_null(tlb_probe_write(fx.cpu->ctx, GPA(1), 8));
    /* Taken while it does not: done at once, and clean by now. Dropped before guest code runs again. */
    atomic_store(&fx.cpu->in_exec, 0);
    take(PAGE(1), PAGE_NONE);
    ck_assert_uint_eq(src.takes_done, 2);
    ck_assert_uint_eq(src.dirty, 1);
    atomic_store(&fx.cpu->in_exec, 1);
    tlb_safe_point(fx.cpu);
    ck_assert_ptr_null(tlb_probe_read(fx.cpu->ctx, GPA(1), 8));
    ck_assert_ptr_nonnull(tlb_probe_read(fx.cpu->ctx, GPA(2), 8));
    ck_assert_uint_eq(src.takes_done, 2);
}
END_TEST

START_TEST(each_page_does_one_access)
{
    /* A page asked back right after it came is used once, is not entered, and leaves at the next safe point. */
    *word(GPA(3)) = 33;
    uint64_t v;
    src.take_page = PAGE(3);
    src.take_after = PAGE_NONE;
    ck_assert(tlb_load(fx.cpu, GPA(3), 8, &v));
    ck_assert_uint_eq(v, 33);
    ck_assert_uint_eq(src.acquires, 1);
    ck_assert_uint_eq(src.takes_done, 0);
    ck_assert_ptr_null(tlb_probe_read(fx.cpu->ctx, GPA(3), 8));
    tlb_safe_point(fx.cpu);
    ck_assert_uint_eq(src.takes_done, 1);
    src.take_after = PAGE_NONE;
    uint64_t *p = tlb_atomic_ptr(fx.cpu, GPA(3), 8, true);
    ck_assert_ptr_eq(p, word(GPA(3)));
    ck_assert_uint_eq(src.takes_done, 1);
    ck_assert_uint_eq(src.wholes, 1);
    tlb_safe_point(fx.cpu);
    ck_assert_uint_eq(src.takes_done, 2);
    ck_assert_uint_eq(src.dirty, 1);
    /* What is taken while it waits counts at once, and is gone when it goes on. */
    ck_assert(tlb_store(fx.cpu, GPA(4), 8, 1));
    ck_assert_ptr_nonnull(tlb_probe_write(fx.cpu->ctx, GPA(4), 8));
    src.take_page = PAGE(4);
    src.take_before = PAGE_NONE;
    ck_assert(tlb_load(fx.cpu, GPA(5), 8, &v));
    ck_assert_uint_eq(src.takes_done, 3);
    ck_assert_ptr_null(tlb_probe_read(fx.cpu->ctx, GPA(4), 8));
    /* The same in a wait for anything else. */
    ck_assert(tlb_store(fx.cpu, GPA(4), 8, 1));
    tlb_rest_begin(fx.cpu);
    take(PAGE(4), PAGE_NONE);
    ck_assert_uint_eq(src.takes_done, 4);
    tlb_rest_end(fx.cpu);
    ck_assert_ptr_null(tlb_probe_read(fx.cpu->ctx, GPA(4), 8));
}
END_TEST

START_TEST(crossing)
{
    /* The wait for the second page costs the first: both are needed at once. */
    src.take_page = PAGE(6);
    set_right(PAGE(6), PAGE_WRITE);
    src.take_before = PAGE_NONE;
    ck_assert(tlb_store(fx.cpu, GPA(7) - 4, 8, 0x1122334455667788));
    ck_assert_uint_eq(src.acquires, 2); /* the second, and the first again */
    ck_assert_uint_eq(src.wholes, 2);
    uint32_t lo, hi;
    memcpy(&lo, (uint8_t *)word(GPA(7)) - 4, 4);
    memcpy(&hi, word(GPA(7)), 4);
    ck_assert_uint_eq(lo, 0x55667788);
    ck_assert_uint_eq(hi, 0x11223344);
    uint64_t v;
    ck_assert(tlb_load(fx.cpu, GPA(7) - 4, 8, &v));
    ck_assert_uint_eq(v, 0x1122334455667788);
}
END_TEST

START_TEST(served_at_home)
{
    uint64_t v;
    set_right(PAGE(8), PAGE_SERVED);
    ck_assert(tlb_load(fx.cpu, GPA(8) + 24, 8, &v));
    ck_assert_uint_eq(v, 0x1122334455667788);
    ck_assert_uint_eq(src.operates, 1);
    ck_assert_uint_eq(src.last_op.op, REMOTE_LOAD);
    ck_assert_uint_eq(src.last_op.offset, 24);
    ck_assert_uint_eq(src.last_op.size, 8);
    ck_assert_uint_eq(src.last_op.page, PAGE(8));
    ck_assert(tlb_store(fx.cpu, GPA(8) + 6, 2, 0xabcdef));
    ck_assert_uint_eq(src.operates, 2);
    ck_assert_uint_eq(src.last_op.op, REMOTE_STORE);
    ck_assert_uint_eq(src.last_op.value, 0xcdef);
    ck_assert_uint_eq(src.last_op.size, 2);
    ck_assert_uint_eq(src.acquires, 0);
    ck_assert_ptr_null(tlb_probe_read(fx.cpu->ctx, GPA(8), 8));
    /* Told so only when it asks: the same. */
    set_right(PAGE(8), PAGE_NONE);
    src.answer = PAGE_REMOTE;
    ck_assert(tlb_load(fx.cpu, GPA(8), 4, &v));
    ck_assert_uint_eq(src.operates, 3);
    ck_assert_uint_eq(src.acquires, 1);
    src.answer = PAGE_GRANTED;
    /* No longer served when it gets there. */
    set_right(PAGE(8), PAGE_SERVED);
    src.unserve = true;
    *word(GPA(8)) = 88;
    ck_assert(tlb_load(fx.cpu, GPA(8), 8, &v));
    ck_assert_uint_eq(v, 88);
    ck_assert_uint_eq(src.operates, 4);
    ck_assert_uint_eq(src.acquires, 2);
    /* Unaligned accesses, atomics and fetches need the page. */
    set_right(PAGE(9), PAGE_SERVED);
    ck_assert(tlb_load(fx.cpu, GPA(9) + 1, 8, &v));
    set_right(PAGE(10), PAGE_SERVED);
    ck_assert_ptr_nonnull(tlb_atomic_ptr(fx.cpu, GPA(10), 8, true));
    set_right(PAGE(11), PAGE_SERVED);
    uint32_t raw;
    ck_assert(tlb_fetch(fx.cpu, GPA(11), &raw));
    ck_assert_uint_eq(src.operates, 4);
    ck_assert_uint_eq(src.wholes, 3);
}
END_TEST

START_TEST(walks)
{
    /* Tables are read by the walk, and written when it sets A and D. */
    gpa_t root = GPA(20), mid = GPA(21), leaf = GPA(22);
    *word(root) = mid >> 2 | PTE_V;
    *word(mid) = leaf >> 2 | PTE_V;
    *word(leaf + 8) = GPA(23) >> 2 | PTE_V | PTE_R | PTE_W;
    fx.cpu->menvcfg = MENVCFG_ADUE;
    enter_space(satp_of(SATP_SV39, 1, root), PRIV_S);
    uint64_t v;
    ck_assert(tlb_load(fx.cpu, 0x1000, 8, &v));
    ck_assert_uint_eq(src.acquires, 5); /* three tables, the last one for writing, the page */
    ck_assert_uint_eq(src.wholes, 4);
    ck_assert_int_eq(page_source_right(&src.ps, (leaf - fx.ram.base) >> GUEST_PAGE_BITS), PAGE_WRITE);
    ck_assert_int_eq(page_source_right(&src.ps, (mid - fx.ram.base) >> GUEST_PAGE_BITS), PAGE_READ);
    ck_assert(*word(leaf + 8) & PTE_A);
    /* A known table that was taken is asked for again. */
    take(PAGE(22), PAGE_NONE);
    tlb_safe_point(fx.cpu);
    ck_assert_uint_eq(src.dirty, 1);
    *word(leaf + 16) = GPA(24) >> 2 | LEAF_RW;
    ck_assert_ptr_null(tlb_refill_read(fx.cpu, 0x2000));
    ck_assert(tlb_load(fx.cpu, 0x2000, 8, &v));
    ck_assert_uint_eq(src.acquires, 7);
}
END_TEST

START_TEST(code)
{
    uint32_t raw;
    *word(GPA(30)) = 0x13;
    ck_assert(tlb_fetch(fx.cpu, GPA(30), &raw));
    ck_assert_uint_eq(src.acquires, 1);
    atomic_fetch_or(&fx.ram.page_flags[PAGE(30)], PAGE_CODE);
    take(PAGE(30), PAGE_NONE);
    ck_assert_uint_eq(code_writes, 1); /* whoever has it may change it */
    tlb_safe_point(fx.cpu);
    *word(GPA(30)) = 0x93;
    ck_assert(tlb_fetch(fx.cpu, GPA(30), &raw));
    ck_assert_uint_eq(raw, 0x93);
    ck_assert_uint_eq(src.acquires, 2);
    atomic_fetch_and(&fx.ram.page_flags[PAGE(30)], (uint8_t)~PAGE_CODE_DIRTY);
    page_users_ops.changed(src.users, PAGE(30), true);
    ck_assert_uint_eq(code_writes, 2);
    page_users_ops.changed(src.users, PAGE(31), false);
    ck_assert_uint_eq(code_writes, 2);
}
END_TEST

START_TEST(dma)
{
    uint8_t buf[10000];
    memset(buf, 0x5a, sizeof(buf));
    ck_assert(ram_dma_write(&fx.ram, GPA(40) + 100, buf, sizeof(buf)));
    ck_assert_uint_eq(src.acquires, 3);
    ck_assert_uint_eq(src.wholes, 3);
    ck_assert_int_eq(memcmp((uint8_t *)word(GPA(40)) + 100, buf, sizeof(buf)), 0);
    memset(buf, 0, sizeof(buf));
    ck_assert(ram_dma_read(&fx.ram, GPA(40) + 100, buf, sizeof(buf)));
    ck_assert_uint_eq(src.acquires, 3);
    ck_assert_uint_eq(buf[0] & buf[9999], 0x5a);
    /* A page is not given up while it is copied; what it keeps does not matter. */
    atomic_store(&fx.cpu->in_exec, 0);
    struct page_pin a, b;
    ck_assert(page_users_dma_begin(src.users, &a, PAGE(40), PAGE_WRITE));
    ck_assert(page_users_dma_begin(src.users, &b, PAGE(41), PAGE_READ));
    take(PAGE(40), PAGE_READ);
    take(PAGE(41), PAGE_READ);
    ck_assert_uint_eq(src.takes_done, 1);
    ck_assert_uint_eq(src.last_page, PAGE(41));
    page_users_dma_end(src.users, &b);
    page_users_dma_end(src.users, &a);
    ck_assert_uint_eq(src.takes_done, 2);
    ck_assert_uint_eq(src.last_page, PAGE(40));
    ck_assert_uint_eq(src.dirty, 2);
    /* Asked back as it comes: held until the copy is done. */
    src.take_page = PAGE(45);
    src.take_after = PAGE_NONE;
    ck_assert(page_users_dma_begin(src.users, &a, PAGE(45), PAGE_READ));
    ck_assert_uint_eq(src.takes_done, 2);
    page_users_dma_end(src.users, &a);
    ck_assert_uint_eq(src.takes_done, 3);
    src.answer = PAGE_RANK_LOST;
    ck_assert(!ram_dma_read(&fx.ram, GPA(46), buf, 1));
}
END_TEST

START_TEST(lost)
{
    uint64_t v;
    src.answer = PAGE_RANK_LOST;
    ck_assert(!tlb_load(fx.cpu, GPA(50), 8, &v));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_LOAD_ACCESS);
    ck_assert_uint_eq(atomic_load(&fx.cpu->exit_request), 1);
    ck_assert(!tlb_store(fx.cpu, GPA(50), 8, 0));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_STORE_ACCESS);
    ck_assert_ptr_null(tlb_atomic_ptr(fx.cpu, GPA(50), 8, true));
}
END_TEST

/* ---- two ranks that fight for a few pages, with one thread that moves them ---- */

enum { PAGES = 4, ROUNDS = 20000 };

struct rank {
    struct ram ram;
    struct page_source ps;
    struct page_users *users;
    struct cpu *cpu;
};
static struct rank rank[2];
static pthread_mutex_t fight = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static struct page_request *asked[2]; /* under fight */
static bool gone[PAGES], over;        /* under fight: nobody holds the page any more */

static unsigned rank_of(const struct page_source *ps)
{
    return ps == &rank[1].ps;
}

static void fight_acquire(struct page_source *ps, struct page_request *request, uint64_t page, enum page_right right,
                          bool whole)
{
    pthread_mutex_lock(&fight);
    request->page = page;
    asked[rank_of(ps)] = request;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&fight);
}

static void fight_taken(struct page_source *ps, uint64_t page, unsigned how)
{
    pthread_mutex_lock(&fight);
    gone[page] = true;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&fight);
}

/* Gives each page that one rank asks for away from the other, with its bytes. */
static void *mover(void *arg)
{
    pthread_mutex_lock(&fight);
    for (unsigned r = 0; !over; r ^= 1) {
        struct page_request *request = asked[r];
        if (!request) {
            if (!asked[r ^ 1]) {
                pthread_cond_wait(&moved, &fight);
            }
            continue;
        }
        asked[r] = NULL;
        uint64_t page = request->page, off = page << GUEST_PAGE_BITS;
        gone[page] = false;
        pthread_mutex_unlock(&fight);
        atomic_store(&rank[r ^ 1].ps.rights[page], PAGE_NONE);
        page_users_ops.take(rank[r ^ 1].users, page, PAGE_NONE);
        pthread_mutex_lock(&fight);
        while (!gone[page]) {
            pthread_cond_wait(&moved, &fight);
        }
        pthread_mutex_unlock(&fight);
        memcpy(rank[r].ram.host + off, rank[r ^ 1].ram.host + off, GUEST_PAGE_SIZE);
        memset(rank[r ^ 1].ram.host + off, 0xee, GUEST_PAGE_SIZE);
        atomic_store(&rank[r].ps.rights[page], PAGE_WRITE);
        end_request(request, PAGE_GRANTED);
        pthread_mutex_lock(&fight);
    }
    pthread_mutex_unlock(&fight);
    return NULL;
}

static void *hart_thread(void *arg)
{
    struct cpu *cpu = arg;
    unsigned seed = cpu->hart + 1;
    atomic_store(&cpu->in_exec, 1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        seed = seed * 1103515245 + 12345;
        gva_t va = RAM_BASE + (seed >> 16 & (PAGES - 1)) * GUEST_PAGE_SIZE;
        uint64_t *p = tlb_atomic_ptr(cpu, va, 8, true);
        __atomic_fetch_add(p, 1, __ATOMIC_SEQ_CST);
        uint64_t own = va + 8 + 8 * cpu->hart, v;
        if (!tlb_load(cpu, own, 8, &v) || !tlb_store(cpu, own, 8, v + 1)) {
            return (void *)1;
        }
        if (i % 3 == 0) {
            tlb_safe_point(cpu);
        }
    }
    atomic_store(&cpu->in_exec, 0);
    tlb_safe_point(cpu);
    return NULL;
}

START_TEST(two_ranks)
{
    static const struct page_port fight_port[2] = {
        {.source = &rank[0].ps, .acquire = fight_acquire, .taken = fight_taken},
        {.source = &rank[1].ps, .acquire = fight_acquire, .taken = fight_taken},
    };
    struct error err = {0};
    pthread_t move, run[2];
    for (unsigned r = 0; r < 2; r++) {
        struct rank *k = &rank[r];
        ck_assert(ram_create(&k->ram, fx.cfg, RAM_BASE, &err));
        k->ps.rights = calloc(1, RAM_SIZE >> GUEST_PAGE_BITS);
        memset((void *)k->ps.rights, r == 0 ? PAGE_WRITE : PAGE_NONE, PAGES);
        k->users = page_users_create(&k->ram);
        page_users_attach(k->users, &fight_port[r]);
        k->cpu = aligned_alloc(64, sizeof(*k->cpu));
        memset(k->cpu, 0, sizeof(*k->cpu));
        k->cpu->ram = &k->ram;
        k->cpu->hart = r;
        k->cpu->priv = PRIV_M;
        tlb_create(k->cpu);
    }
    over = false;
    ck_assert_int_eq(pthread_create(&move, NULL, mover, NULL), 0);
    for (unsigned r = 0; r < 2; r++) {
        ck_assert_int_eq(pthread_create(&run[r], NULL, hart_thread, rank[r].cpu), 0);
    }
    void *bad;
    for (unsigned r = 0; r < 2; r++) {
        pthread_join(run[r], &bad);
        ck_assert_ptr_null(bad);
    }
    pthread_mutex_lock(&fight);
    over = true;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&fight);
    pthread_join(move, NULL);
    uint64_t sum = 0, own[2] = {0, 0};
    for (unsigned n = 0; n < PAGES; n++) {
        unsigned r = atomic_load(&rank[1].ps.rights[n]) == PAGE_WRITE;
        const uint64_t *p = (const uint64_t *)(rank[r].ram.host + n * GUEST_PAGE_SIZE);
        sum += p[0];
        own[0] += p[1];
        own[1] += p[2];
    }
    ck_assert_uint_eq(sum, 2 * ROUNDS);
    ck_assert_uint_eq(own[0], ROUNDS);
    ck_assert_uint_eq(own[1], ROUNDS);
    for (unsigned r = 0; r < 2; r++) {
        tlb_destroy(rank[r].cpu);
        page_users_destroy(&rank[r].users);
        free(rank[r].cpu);
        free((void *)rank[r].ps.rights);
        ram_destroy(&rank[r].ram);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("memory-pages");
    TCase *t = tcase_create("pages");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, rights_follow);
    tcase_add_test(t, each_page_does_one_access);
    tcase_add_test(t, crossing);
    tcase_add_test(t, served_at_home);
    tcase_add_test(t, walks);
    tcase_add_test(t, code);
    tcase_add_test(t, dma);
    tcase_add_test(t, lost);
    tcase_add_test(t, two_ranks);
    suite_add_tcase(s, t);
    return run_suite(s);
}
