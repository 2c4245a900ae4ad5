/*
 * The vCPUs of this rank as users of pages that other ranks may take away (weft/page_source.h says what they promise).
 *
 * A hart of this rank is away while it rests (WFI, stopped, at a safe point that waits) or waits below for a page or
 * for a device of another rank: what is taken then counts as given up at once, and is dropped from its TLB before it
 * goes on. A wait below is in the middle of an instruction: no work of cpu_run_async is done in it, and who stops the
 * world or fences remotely waits for the instruction's end, which never depends on either.
 *
 * Needs of src/memory: `struct page_source *pages` in struct ram (NULL on one rank), and
 * tlb_take(cpu, gpa, right): drops the first-level and fetch entries of one physical page (READ: the write right only).
 */
#ifndef WEFT_PAGE_USER_H
#define WEFT_PAGE_USER_H

#include "weft/cpu.h"
#include "weft/page_source.h"

/*
 * Gets the right on a page for the access at hand. Own thread, in the middle of an instruction, no lock held; waits.
 * PAGE_GRANTED: the access may be performed now, without another look at page_source_right(), up to the hart's next
 * wait or safe point (a TLB entry needs that look). PAGE_REMOTE: use cpu_page_operate. PAGE_RANK_LOST: the machine is
 * ending. PAGE_TRY_AGAIN is not returned. After a wait pages and entries found before it may be gone.
 */
enum page_status cpu_page_acquire(struct cpu *cpu, uint64_t page, enum page_right right, bool whole);

/* One access at the home of a served page; *old is the old value. PAGE_GRANTED: done; PAGE_TRY_AGAIN: acquire the page.
 */
enum page_status cpu_page_operate(struct cpu *cpu, uint64_t page, const struct msg_op *op, uint64_t *old);

/* For cluster_config.users; users_opaque is the machine. */
extern const struct page_user_ops cpu_page_users;

/* A wait of the same kind for anything else: away until cpu_away_end. cpu_away_begin and cpu_away_wait by the hart's
 * thread, cpu_away_end once for each by the coherence thread. Between begin and wait the hart sends its request. */
void cpu_away_begin(struct cpu *cpu);
void cpu_away_end(struct cpu *cpu);
void cpu_away_wait(struct cpu *cpu);

/* Waits at a safe point (no lock held; not in the middle of an instruction) until *word is not 0: the hart rests, and
 * does work that others may be waiting for. Whoever sets the word calls cpu_rest_wake. */
void cpu_rest_wait(struct cpu *cpu, _Atomic uint32_t *word);
void cpu_rest_wake(_Atomic uint32_t *word);

#endif
