/*
 * An instruction of four bytes that begins in the last two of its page. Its second half is what the page holds that is
 * mapped behind, so its translation is good only where that version of that page is: it compares code_va as a jump
 * there would. A page has one for each of the pages that it was found in front of lately; they are tried one after
 * another, from a head that stays where it is, for others jump there.
 */
#include "tcg/translate.h"

static void lead(uint8_t *displacement, const uint8_t *to)
{
    __atomic_store_n((int32_t *)displacement, (int32_t)(to - (displacement + 4)), __ATOMIC_RELEASE);
}

static bool is_dead(struct codecache *cc, uint32_t id)
{
    const struct code_page *p = atomic_load(&cc->page[id]);
    return !p || atomic_load(&p->retired);
}

/* Which one to make or to replace: one whose page behind is gone, a new one, or one after another. */
static unsigned choose(struct codecache *cc, const struct code_page *page)
{
    unsigned n = page->num_crossings, i = 0;
    while (i < n && !is_dead(cc, page->crossing[i].id)) {
        i++;
    }
    return i < CODE_CROSSINGS ? i : page->crossings_made % CODE_CROSSINGS;
}

bool translate_crossing(struct tr *t, struct code_page *page, const struct code_page *behind, uint32_t raw)
{
    struct x64 *e = &t->e;
    for (unsigned i = 0; i < page->num_crossings; i++) {
        if (page->crossing[i].id == behind->id) {
            return true;
        }
    }
    if (page->crossings_made == CODE_CROSSINGS_MADE) {
        return false;
    }
    tr_unit_begin(t, page, NULL, CODE_CROSS_OFF);
    t->crossing = raw;
    uint8_t *head = NULL;
    if (!page->num_crossings) {
        tr_align_patch(e, 1);
        head = e->p;
        page->crossing_head = x64_jmp(e);
    }
    struct code_crossing made = {.id = behind->id, .code = e->p};
    tr_compare_page(t, (int64_t)GUEST_PAGE_SIZE, behind->id);
    tr_align_patch(e, 2);
    struct cold *c = tr_cold(t, COLD_CROSSING);
    made.other = c->from[0] = x64_jcc(e, CC_NE);
    if (tr_block(t, 1)) {
        tr_goto(t, t->off);
    }
    tr_unit_end(t);
    t->cpu->stats.insns_translated++;

    unsigned i = choose(t->cc, page);
    if (i + 1 < page->num_crossings) {
        lead(made.other, page->crossing[i + 1].code);
    }
    page->crossing[i] = made;
    page->num_crossings = (uint8_t)(i < page->num_crossings ? page->num_crossings : i + 1);
    page->crossings_made++;
    lead(i ? page->crossing[i - 1].other : page->crossing_head, made.code);
    if (head) {
        code_page_publish(page, CODE_CROSS_OFF, (uint32_t)(head - t->cc->rw));
    }
    return true;
}
