/*
 * What a hostile or broken peer can say. The first byte chooses: the input is one frame as it came from the wire, or
 * a list of messages with good headers, so that the state machines behind the parser are reached. Nothing may crash,
 * assert, or read outside; whatever is refused is refused with a sentence; the clock never goes back, and by nobody's
 * word further ahead than its limit. Local threads ask for pages and locks in between.
 *
 * usage: fuzz_message SECONDS SEED    (libFuzzer brings its own main)
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cluster/clock_sync.h"
#include "weft/directory.h"
#include "weft/lockservice.h"

enum { RANKS = 3, PAGES = 6, SESSION = 5 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct dir_actions pages;
static struct lock_actions locks;
static const struct msg_context context = {.self = 0, .ranks = RANKS, .session = SESSION, .pages = PAGES};

/* Carries out what the directory asks of its users: everyone comes down at once. */
static void answer_takes(struct directory *d, uint64_t now)
{
    uint64_t taken[16];
    unsigned n = 0;
    for (unsigned i = 0; i < pages.count && n < 16; i++) {
        if (pages.at[i].kind == DIR_TAKE) {
            taken[n++] = pages.at[i].page;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        pages.count = 0;
        directory_taken(d, now, taken[i], TAKEN_DIRTY, &pages);
    }
}

struct input {
    const uint8_t *at;
    size_t left;
};

static uint8_t next_byte(struct input *in)
{
    if (!in->left) {
        return 0;
    }
    in->left--;
    return *in->at++;
}

/* Times, too, are what others say: a round trip that is none, a clock that is far ahead. */
static void give_time(struct clock_sync *clock, uint64_t now, const struct message *m)
{
    uint64_t before = clock_sync_now(clock, now);
    const struct msg_beat *b = &m->body.beat;
    if (m->header.type == MSG_TIME) {
        clock_sync_hear(clock, now, m->body.time.ns);
    } else {
        clock_sync_sample(clock, b->sent, b->received, b->echoed, now);
    }
    uint64_t after = clock_sync_now(clock, now);
    assert(after >= before);
    assert(!before || after - before <= (m->header.type == MSG_TIME ? CLOCK_AHEAD_MAX_NS : now / 1000));
}

static void give(struct directory *d, struct lock_service *s, struct clock_sync *clock, uint64_t now,
                 const struct message *m)
{
    unsigned type = m->header.type;
    if (type <= MSG_OP_REPLY) {
        struct page_message p = {.header = m->header, .body = m->body.page};
        pages.count = 0;
        directory_message(d, now, &p, &pages);
        answer_takes(d, now);
    } else if (type <= MSG_LOCK_REPORT_END) {
        struct lock_message l = {.header = m->header, .body = m->body.lock};
        locks.count = 0;
        lock_service_message(s, now, &l, &locks);
    } else {
        give_time(clock, now, m);
    }
}

/* Small fields come from few values, so that messages meet the state they speak of. */
static void fill(struct message *m, struct input *in)
{
    uint8_t bytes[sizeof(union msg_body)] = {0};
    size_t n = m->header.size - sizeof(m->header);
    for (size_t i = 0; i < n && i < 64; i++) {
        bytes[i] = next_byte(in);
    }
    memcpy(&m->body, bytes, n);
    if (m->header.type <= MSG_OP_REPLY) {
        m->body.page.page %= PAGES + 1;
    } else if (m->header.type <= MSG_LOCK_REPORT_END) {
        m->body.lock.dead &= 6;
        m->body.lock.name[1] = '\0';
        m->body.lock.name[0] = m->header.type == MSG_LOCK_REPORT_END ? '\0' : (char)('a' + (m->body.lock.name[0] & 3));
    } else if (m->header.type == MSG_TIME) {
        m->body.time.ns >>= next_byte(in) % 64;
    } else {
        m->body.beat.dead &= 6;
        m->body.beat.sent %= 4096;
        m->body.beat.received >>= next_byte(in) % 64;
        m->body.beat.echoed = m->body.beat.received + m->body.beat.echoed % 256;
    }
}

static void one_of_ours(struct directory *d, struct lock_service *s, uint64_t now, uint8_t what)
{
    pages.count = locks.count = 0;
    if (what & 1) {
        directory_fault(d, now, what / 4 % PAGES, what & 2 ? PAGE_WRITE : PAGE_READ, 0, what & 1, what | 1, 1, &pages);
        answer_takes(d, now);
    } else {
        lock_service_acquire(s, now, (unsigned)(what / 4 % 2), what & 2 ? LOCK_EXCLUSIVE : LOCK_SHARED, 1, &locks);
        for (unsigned i = 0; i < locks.count; i++) {
            if (locks.at[i].kind == LOCK_GRANTED) {
                static struct lock_actions more;
                more.count = 0;
                lock_service_release(s, now, (unsigned)(what / 4 % 2), what & 2 ? LOCK_EXCLUSIVE : LOCK_SHARED, &more);
            }
        }
    }
}

static void converse(struct input *in)
{
    static const struct home_range ranges[RANKS] = {{0, 2, 0}, {2, 2, 1}, {4, 2, 2}};
    struct directory_config dc = {.ranks = RANKS, .num_ranges = RANKS, .ranges = ranges, .hold_ns = 50, .hot_ns = 1000};
    dc.hot_transfers = 4;
    dc.prefetch_depth = 2;
    dc.follow_depth = 4;
    struct lock_service_config lc = {.ranks = RANKS, .lease_ns = 1000000, .margin_ns = 10};
    struct directory *d = directory_create(&dc);
    struct lock_service *s = lock_service_create(&lc, 1);
    struct clock_sync clock;
    clock_sync_init(&clock, in->left % 2);
    lock_service_open(s, "a");
    lock_service_open(s, "b");
    uint64_t now = 1;
    for (unsigned rounds = 0; in->left && rounds < 200; rounds++) {
        uint8_t first = next_byte(in);
        now += first;
        if (first % 4 == 0) {
            one_of_ours(d, s, now, next_byte(in));
            continue;
        }
        struct message m = {0}, out;
        const uint8_t *page;
        unsigned type = MSG_GET + next_byte(in) % (MSG_LOCK_REPORT_END - MSG_GET + 3);
        type = type <= MSG_LOCK_REPORT_END ? type : type == MSG_LOCK_REPORT_END + 1 ? MSG_BEAT_ECHO : MSG_TIME;
        m.header = message_header((enum msg_type)type, 1 + first / 4 % 2, 0);
        m.header.session = SESSION;
        fill(&m, in);
        uint8_t wire[sizeof(m) + MSG_PAGE_SIZE] = {0};
        memcpy(wire, &m, m.header.size);
        bool with_page = type == MSG_GRANT && m.body.page.grant.data == GRANT_PAGE;
        if (!message_invalid(wire, m.header.size + (with_page ? MSG_PAGE_SIZE : 0), &context, &out, &page)) {
            give(d, s, &clock, now, &out);
        }
        if (directory_deadline(d) <= now) {
            pages.count = 0;
            directory_tick(d, now, &pages);
            answer_takes(d, now);
        }
    }
    directory_destroy(&d);
    lock_service_destroy(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) {
        return 0;
    }
    if (data[0] & 1) {
        struct message out;
        const uint8_t *page;
        /* A copy of the exact length, so that a read behind it is seen. */
        uint8_t *copy = malloc(size);
        assert(copy);
        memcpy(copy, data + 1, size - 1);
        for (size_t at = 0; at < size - 1;) {
            size_t extent = message_extent(copy + at, size - 1 - at);
            assert(extent > 0 && extent <= size - 1 - at);
            const char *wrong = message_invalid(copy + at, extent, &context, &out, &page);
            at += extent;
            assert(wrong || (out.header.size <= extent && (!page || page + MSG_PAGE_SIZE == copy + at)));
        }
        free(copy);
    } else {
        struct input in = {.at = data + 1, .left = size - 1};
        converse(&in);
    }
    return 0;
}

#ifndef WEFT_LIBFUZZER
/* Judges exactly `length` bytes at the end of their own memory. */
static const char *judge(const uint8_t *wire, size_t length)
{
    struct message out;
    const uint8_t *page;
    uint8_t *copy = malloc(length + !length);
    assert(copy);
    memcpy(copy, wire, length);
    const char *wrong = message_invalid(copy, length, &context, &out, &page);
    free(copy);
    return wrong;
}

/* A message of each type that may be used, shortened to every length and lengthened by a byte: none of these may be. */
static void truncations(uint64_t seed)
{
    for (unsigned type = MSG_GET; type < MSG_TYPES; type++) {
        uint8_t wire[sizeof(struct message) + MSG_PAGE_SIZE + 1], random[64];
        size_t length = 0;
        for (unsigned tries = 0; !length; tries++) {
            struct message m = {.header = message_header((enum msg_type)type, 1, tries % 16)};
            struct input in = {.at = random, .left = sizeof(random)};
            for (size_t i = 0; i < sizeof(random); i++) {
                seed = seed * 6364136223846793005ull + 1442695040888963407ull;
                random[i] = seed >> 63 ? (uint8_t)(seed >> 56) & 3 : 0; /* many zeroes, and small numbers */
            }
            m.header.session = SESSION;
            if (type <= MSG_LOCK_REPORT_END) {
                fill(&m, &in);
            } else if (type == MSG_POST) {
                m.body.post = (struct msg_post){.kind = 1, .length = tries % 16};
            }
            memset(wire, 0, sizeof(wire));
            memcpy(wire, &m, m.header.size);
            bool with_page = type == MSG_GRANT && m.body.page.grant.data == GRANT_PAGE;
            size_t n = m.header.size + (with_page ? MSG_PAGE_SIZE : 0);
            length = judge(wire, n) ? 0 : n;
            assert(tries < 1000000);
        }
        for (size_t n = 0; n < length; n++) {
            assert(judge(wire, n));
        }
        assert(judge(wire, length + 1));
    }
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    uint64_t state = argc > 2 ? strtoull(argv[2], NULL, 0) : 1, runs = 0;
    truncations(state);
    clock_t end = clock() + (clock_t)(seconds * CLOCKS_PER_SEC);
    static uint8_t data[2048];
    while (clock() < end) {
        uint64_t start = state;
        size_t size = 1 + state % sizeof(data);
        for (size_t i = 0; i < size; i++) {
            state = state * 6364136223846793005ull + 1442695040888963407ull;
            data[i] = (uint8_t)(state >> 56);
        }
        if (runs % 8) {
            data[0] &= 0xfe; /* the conversation is the larger part */
        }
        if (getenv("WEFT_FUZZ_TRACE")) {
            fprintf(stderr, "state %llu\n", (unsigned long long)start);
        }
        LLVMFuzzerTestOneInput(data, size);
        runs++;
    }
    printf("%llu inputs\n", (unsigned long long)runs);
    return 0;
}
#endif
