/*
 * What follows what: the kernel's paths (a timer tick, a wake-up, a context switch) touch the same pages in the same
 * order each time, and over ranks each of them is a fault. A fault is named by its context (code and page); the table
 * remembers which fault came after it, and the chain that starts at a fault is asked for together with its page.
 *
 * A guess that was wrong costs a transfer at both ends. So a link is acted upon only after it was seen twice, and
 * forgotten when a page that it brought leaves without having been used.
 */
#include "directory_state.h"

enum { FOLLOW_TRUST = 2, FOLLOW_TRUST_MAX = 3 };

static struct follow *entry_of(struct directory *d, uint32_t context)
{
    return &d->follow[context >> (32 - FOLLOW_BITS)];
}

static void learn(struct directory *d, uint32_t before, uint32_t context, uint64_t page, enum page_right right)
{
    struct follow *f = entry_of(d, before);
    if (f->context == before && f->next == context && f->page == page) {
        f->trust += f->trust < FOLLOW_TRUST_MAX;
        f->right = (uint8_t)right;
    } else if (f->context == before && f->trust > 1) {
        f->trust--;
    } else {
        *f = (struct follow){.context = before, .next = context, .page = page, .right = (uint8_t)right, .trust = 1};
    }
}

void dir_follow_judge(struct directory *d, struct line *l, bool used)
{
    if (!l->foretold) {
        return;
    }
    l->foretold = false;
    if (used) {
        d->stats.follow_used++;
    } else {
        d->stats.follow_wasted++;
        d->follow[l->by].trust = 0;
    }
}

/* The entry that says what follows `context`, if it is to be trusted. */
static const struct follow *foretells(struct directory *d, uint32_t context)
{
    const struct follow *f = entry_of(d, context);
    return f->context == context && f->trust >= FOLLOW_TRUST ? f : NULL;
}

/* Code that reads and then writes faults twice on one page: asking for the higher right at once saves the second. */
static enum page_right right_for(struct directory *d, uint32_t context, uint64_t page, enum page_right right)
{
    const struct follow *f = foretells(d, context);
    return f && f->page == page && f->right > right ? (enum page_right)f->right : right;
}

static void ask(struct directory *d, const struct follow *f, struct dir_actions *out)
{
    struct line *l = &d->lines[f->page];
    enum page_right right = dir_right_to_ask(d, l, right_for(d, f->next, f->page, (enum page_right)f->right));
    if (l->state >= right || l->request || l->take || l->served || d->prefetches == DIR_PREFETCHES) {
        return;
    }
    struct request *r = dir_request_ahead(d, f->page, right, GET_FOLLOW);
    if (r) {
        r->by = (uint16_t)(f - d->follow);
        d->stats.follow_asked++;
        dir_request_send(d, r, out);
    }
}

static bool was_foretold(const struct trail *t, uint32_t context)
{
    for (unsigned i = 0; i < t->length; i++) {
        if (t->context[i] == context) {
            return true;
        }
    }
    return false;
}

void directory_fault(struct directory *d, uint64_t now, uint64_t page, enum page_right right, unsigned flags,
                     unsigned who, uint32_t context, uint64_t cookie, struct dir_actions *out)
{
    struct trail *t = &d->trail[who % DIR_FOLLOWERS];
    bool follows = d->config.follow_depth && !d->lost;
    directory_acquire(d, now, page, follows ? right_for(d, context, page, right) : right, flags, cookie, out);
    if (!follows) {
        return;
    }
    /* What was asked for and has not come yet tells nothing new. */
    if (t->length && !was_foretold(t, context)) {
        learn(d, t->context[t->length - 1], context, page, right);
    }
    t->length = 0;
    t->context[t->length++] = context;
    const struct follow *f;
    while (t->length <= d->config.follow_depth && (f = foretells(d, context))) {
        ask(d, f, out);
        context = f->next;
        t->context[t->length++] = context;
    }
    dir_drain_loop(d, out);
}
