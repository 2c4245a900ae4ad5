/*
 * A bare-metal guest over ranks (S mode, SBI in weft): where memory and harts are, how harts meet, and the tests that
 * main.c runs. All harts run through the same tests; hart 0 reports.
 */
#ifndef RANKS_GUEST_H
#define RANKS_GUEST_H

#include "bare.h"

enum { MAX_HARTS = 4, NUM_REGS = 2, MAX_NODES = 4, PAGE = 4096 };
enum { AREA_PAGES = 1024 };

/* Area of AREA_PAGES pages in the memory of each node; node n's memory is homed on rank n. */
extern uint8_t *area[MAX_NODES];
extern unsigned num_nodes, num_harts;
extern uint8_t node_of[MAX_HARTS];
extern uint64_t seed;

/* Whether a test's counts are right is gathered here; by hart 0 only. */
extern unsigned failures;

/* All harts come together; those who wait sleep (WFI) and are woken by an IPI. */
void meet(void);
/* So many harts come together without sleeping, so that they go on at the same time. */
void meet_awake(unsigned harts);
/* Some nanoseconds, at most `most`, drawn from *rng: harts are not to run in step. */
void linger(uint64_t *rng, unsigned most);

enum { SBI_TIME = 0x54494d45, SBI_IPI = 0x735049, SBI_RFENCE = 0x52464e43, SBI_HSM = 0x48534d, SBI_SRST = 0x53525354 };

/* The tests: every hart calls each of them; `n` is how much to do. */
void test_litmus(unsigned hart, uint64_t rounds, uint64_t hot_rounds);
void test_counters(unsigned hart, uint64_t n, unsigned pages, const char *name);
void test_clock(unsigned hart, uint64_t n);
void test_locks(unsigned hart, uint64_t n);
void test_bytes(unsigned hart, uint64_t n);
void test_stream(unsigned hart, uint64_t n);
void test_code(unsigned hart, uint64_t n, bool remote_fence);

#endif
