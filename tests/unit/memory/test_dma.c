/* Device DMA that never waits (weft/page_user.h, struct page_dma): a source of pages that answers when a test says so.
 */
#include <string.h>
#include "fixture.h"
#include "weft/page_user.h"

enum { FIRST = 0x100, AWAY = 32, MAX_ASKED = 64 };
#define PAGE(n) (FIRST + (uint64_t)(n))
#define GPA(n) (RAM_BASE + PAGE(n) * GUEST_PAGE_SIZE)

static struct {
    struct page_source ps;
    struct page_users *users;
    struct page_request *asked[MAX_ASKED]; /* not yet answered, oldest first */
    uint64_t page[MAX_ASKED];
    unsigned right[MAX_ASKED];
    unsigned num_asked, taken, dirty;
} src;

/* One queue of a device. */
struct user {
    struct page_dma *dma;
    unsigned ready;
} a, b;

static void set_right(uint64_t page, unsigned right)
{
    atomic_store(&src.ps.rights[page], (uint8_t)right);
}

static void acquire(struct page_source *ps, struct page_request *request, uint64_t page, enum page_right right,
                    bool whole)
{
    ck_assert(whole && src.num_asked < MAX_ASKED);
    src.page[src.num_asked] = page;
    src.right[src.num_asked] = right;
    src.asked[src.num_asked++] = request;
}

static void taken(struct page_source *ps, uint64_t page, unsigned how)
{
    src.taken++;
    src.dirty += how & TAKEN_DIRTY ? 1 : 0;
}

static const struct page_port port = {.source = &src.ps, .acquire = acquire, .taken = taken};

/* Answers the oldest request. */
static void answer(enum page_status status)
{
    ck_assert_uint_gt(src.num_asked, 0);
    struct page_request *r = src.asked[0];
    if (status == PAGE_GRANTED) {
        set_right(src.page[0], src.right[0]);
    }
    src.num_asked--;
    memmove(src.asked, src.asked + 1, src.num_asked * sizeof(src.asked[0]));
    memmove(src.page, src.page + 1, src.num_asked * sizeof(src.page[0]));
    memmove(src.right, src.right + 1, src.num_asked * sizeof(src.right[0]));
    r->done(r, status);
    if (r->wake) {
        r->wake(r);
    }
}

static void answer_all(enum page_status status)
{
    while (src.num_asked) {
        answer(status);
    }
}

static void take(uint64_t page, enum page_right right)
{
    set_right(page, right);
    page_users_ops.take(src.users, page, right);
}

static void ready(void *opaque)
{
    ((struct user *)opaque)->ready++;
}

static void setup(void)
{
    fixture_setup();
    tlb_destroy(fx.cpu);
    memset(&src, 0, sizeof(src));
    src.ps.pages = RAM_SIZE >> GUEST_PAGE_BITS;
    src.ps.rights = malloc(src.ps.pages);
    memset((void *)src.ps.rights, PAGE_WRITE, src.ps.pages);
    for (unsigned i = 0; i < AWAY; i++) {
        set_right(PAGE(i), PAGE_NONE);
    }
    src.users = page_users_create(&fx.ram);
    page_users_attach(src.users, &port);
    tlb_create(fx.cpu);
    a = b = (struct user){0};
    a.dma = page_dma_create(src.users, ready, &a);
    b.dma = page_dma_create(src.users, ready, &b);
}

static void teardown(void)
{
    answer_all(PAGE_RANK_LOST);
    page_dma_destroy(&a.dma);
    page_dma_destroy(&b.dma);
    tlb_destroy(fx.cpu);
    page_users_destroy(&src.users);
    free((void *)src.ps.rights);
    fixture_teardown();
}

START_TEST(here)
{
    char text[] = "what is here needs nobody", back[sizeof(text)];
    gpa_t gpa = GPA(AWAY) + GUEST_PAGE_SIZE - 10;               /* on two pages */
    ck_assert(!page_dma_write(a.dma, gpa, text, sizeof(text))); /* not held */
    ck_assert(page_dma_need(a.dma, gpa, sizeof(text), PAGE_WRITE));
    ck_assert(!page_dma_waiting(a.dma));
    ck_assert(page_dma_write(a.dma, gpa, text, sizeof(text)));
    ck_assert(page_dma_read(a.dma, gpa, back, sizeof(back)));
    ck_assert_str_eq(back, text);
    ck_assert_uint_eq(src.num_asked, 0);
    /* What is held is given up at the release, and says that it was written. */
    take(PAGE(AWAY), PAGE_NONE);
    take(PAGE(AWAY + 1), PAGE_READ);
    ck_assert_uint_eq(src.taken, 0);
    ck_assert(page_dma_need(a.dma, gpa, 1, PAGE_WRITE)); /* until then it stays usable */
    page_dma_release(a.dma);
    ck_assert_uint_eq(src.taken, 2);
    ck_assert_uint_eq(src.dirty, 2);
    ck_assert(!page_dma_read(a.dma, gpa, back, sizeof(back)));
}
END_TEST

START_TEST(away)
{
    uint64_t v = 0x1234, got = 0;
    ck_assert(!page_dma_need(a.dma, GPA(0), 3 * GUEST_PAGE_SIZE, PAGE_READ));
    ck_assert(page_dma_waiting(a.dma));
    ck_assert_uint_eq(src.num_asked, 3); /* all at once */
    answer(PAGE_GRANTED);
    answer(PAGE_TRY_AGAIN);
    ck_assert_uint_eq(a.ready, 0);
    answer(PAGE_GRANTED);
    ck_assert_uint_eq(a.ready, 1);
    ck_assert(!page_dma_waiting(a.dma));
    /* The attempt is made again: what came is still there, though another rank has asked for it. */
    take(PAGE(0), PAGE_NONE);
    ck_assert(!page_dma_need(a.dma, GPA(0), 3 * GUEST_PAGE_SIZE, PAGE_READ));
    ck_assert_uint_eq(src.num_asked, 1);
    ck_assert_uint_eq(src.page[0], PAGE(1));
    answer(PAGE_GRANTED);
    ck_assert_uint_eq(a.ready, 2);
    ck_assert(page_dma_need(a.dma, GPA(0), 3 * GUEST_PAGE_SIZE, PAGE_READ));
    ck_assert(page_dma_read(a.dma, GPA(2), &got, sizeof(got)));
    ck_assert(!page_dma_write(a.dma, GPA(2), &v, sizeof(v))); /* only to read */
    ck_assert_uint_eq(src.taken, 0);
    page_dma_release(a.dma);
    ck_assert_uint_eq(src.taken, 1);
    ck_assert_uint_eq(src.dirty, 0);
}
END_TEST

/* A page held for reading is let go before it is asked for to be written: another rank's turn to write may come first.
 */
START_TEST(upgrade)
{
    set_right(PAGE(1), PAGE_READ);
    ck_assert(page_dma_need(a.dma, GPA(1), 8, PAGE_READ));
    take(PAGE(1), PAGE_NONE);
    ck_assert_uint_eq(src.taken, 0);
    ck_assert(!page_dma_need(a.dma, GPA(1), 8, PAGE_WRITE));
    ck_assert_uint_eq(src.taken, 1);
    answer(PAGE_GRANTED);
    ck_assert(page_dma_need(a.dma, GPA(1), 8, PAGE_WRITE));
    ck_assert(page_dma_need(a.dma, GPA(1), 8, PAGE_READ));
}
END_TEST

/* One holds pages while it waits; the other lets go, and goes on when its turn comes. */
START_TEST(turns)
{
    ck_assert(page_dma_need(a.dma, GPA(AWAY), 8, PAGE_WRITE));
    ck_assert(!page_dma_need(a.dma, GPA(0), 8, PAGE_WRITE));
    ck_assert(page_dma_need(b.dma, GPA(AWAY + 1), 8, PAGE_WRITE));
    ck_assert(!page_dma_need(b.dma, GPA(1), 8, PAGE_WRITE));
    ck_assert_uint_eq(src.num_asked, 1);
    ck_assert(page_dma_waiting(b.dma));
    take(PAGE(AWAY + 1), PAGE_NONE);
    ck_assert_uint_eq(src.taken, 1); /* not held any more */
    take(PAGE(AWAY), PAGE_NONE);
    ck_assert_uint_eq(src.taken, 1);
    answer(PAGE_GRANTED);
    ck_assert_uint_eq(a.ready, 1);
    ck_assert_uint_eq(b.ready, 0);
    page_dma_release(a.dma);
    ck_assert_uint_eq(src.taken, 2);
    ck_assert_uint_eq(b.ready, 1);
    ck_assert(!page_dma_need(b.dma, GPA(1), 8, PAGE_WRITE));
    ck_assert_uint_eq(src.num_asked, 1);
    /* What it no longer waits for is not held when it comes. */
    page_dma_release(b.dma);
    answer(PAGE_GRANTED);
    ck_assert_uint_eq(b.ready, 1);
    take(PAGE(1), PAGE_NONE);
    ck_assert_uint_eq(src.taken, 3);
    ck_assert(!page_dma_need(a.dma, GPA(2), 8, PAGE_READ)); /* and the turn is free */
    ck_assert_uint_eq(src.num_asked, 1);
}
END_TEST

/* While the world is stopped nothing is held, and everybody tries again after it. */
START_TEST(parked)
{
    ck_assert(page_dma_need(a.dma, GPA(AWAY), 8, PAGE_WRITE));
    ck_assert(!page_dma_need(a.dma, GPA(0), 8, PAGE_WRITE));
    page_users_park(src.users, true);
    take(PAGE(AWAY), PAGE_NONE);
    ck_assert_uint_eq(src.taken, 1);
    answer(PAGE_GRANTED); /* comes too late: not held */
    ck_assert_uint_eq(a.ready, 0);
    take(PAGE(0), PAGE_NONE);
    ck_assert_uint_eq(src.taken, 2);
    ck_assert(!page_dma_need(b.dma, GPA(1), 8, PAGE_READ));
    ck_assert_uint_eq(src.num_asked, 0);
    page_users_park(src.users, false);
    ck_assert_uint_eq(a.ready, 1);
    ck_assert_uint_eq(b.ready, 1);
    ck_assert(!page_dma_need(a.dma, GPA(0), 8, PAGE_WRITE));
    ck_assert_uint_eq(src.num_asked, 1);
}
END_TEST

START_TEST(lost)
{
    ck_assert(!page_dma_need(a.dma, GPA(0), 8, PAGE_WRITE));
    answer(PAGE_RANK_LOST);
    ck_assert_uint_eq(a.ready, 0);
    ck_assert(!page_dma_need(a.dma, GPA(0), 8, PAGE_WRITE));
    ck_assert_uint_eq(src.num_asked, 0); /* nobody asks for what will not come */
    ck_assert(page_dma_waiting(a.dma));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("memory-dma");
    TCase *t = tcase_create("dma");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, here);
    tcase_add_test(t, away);
    tcase_add_test(t, upgrade);
    tcase_add_test(t, turns);
    tcase_add_test(t, parked);
    tcase_add_test(t, lost);
    suite_add_tcase(s, t);
    return run_suite(s);
}
