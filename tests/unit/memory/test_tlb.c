/* The soft TLB: fences over pooled contexts, first-level hits, page-crossing accesses, code pages, counting. */
#include "fixture.h"
#include "memory/tlb_inline.h"

#define PA(n) (RAM_BASE + 0x100000 + (uint64_t)(n)*GUEST_PAGE_SIZE)
#define KVA 0xffffffc000005000ull

static uint64_t *word(gpa_t gpa)
{
    return ram_ptr(&fx.ram, gpa);
}

static uint64_t load(gva_t va)
{
    uint64_t v = 0;
    ck_assert_msg(tlb_load(fx.cpu, va, 8, &v), "va %lx: fault %u", va, fx.cpu->exc_cause);
    return v;
}

static bool loads(gva_t va)
{
    uint64_t v;
    return tlb_load(fx.cpu, va, 8, &v);
}

/* A space whose page at 0x1000 * k shows PA(n + k); each page holds its own number. */
static gpa_t space(unsigned n, unsigned pages, uint64_t flags)
{
    gpa_t root = table_new();
    for (unsigned k = 1; k <= pages; k++) {
        map_at(root, 3, k * GUEST_PAGE_SIZE, PA(n + k), flags, 0);
        *word(PA(n + k)) = n + k;
    }
    return root;
}

static uint64_t user_satp(unsigned asid, gpa_t root)
{
    return satp_of(SATP_SV39, asid, root);
}

START_TEST(many_spaces)
{
    /* More spaces than the pool keeps, visited in turn: each shows its own pages and survives a visit elsewhere. */
    gpa_t root[20];
    for (unsigned s = 0; s < 20; s++) {
        root[s] = space(s * 10, 4, LEAF_RW | PTE_U);
    }
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned s = 0; s < 20; s++) {
            enter_space(user_satp(s + 1, root[s]), PRIV_U);
            for (unsigned k = 1; k <= 4; k++) {
                ck_assert_uint_eq(load(k * GUEST_PAGE_SIZE), s * 10 + k);
            }
        }
    }
    /* Two spaces that take turns cost no miss at all. */
    enter_space(user_satp(1, root[0]), PRIV_U);
    load(0x1000);
    enter_space(user_satp(2, root[1]), PRIV_U);
    load(0x1000);
    uint64_t before = fx.cpu->stats.miss[MISS_L1_LOAD];
    for (unsigned i = 0; i < 10; i++) {
        enter_space(user_satp(1 + (i & 1), root[i & 1]), PRIV_U);
        ck_assert_uint_eq(load(0x1000), (i & 1) * 10 + 1);
    }
    ck_assert_uint_eq(fx.cpu->stats.miss[MISS_L1_LOAD], before);
}
END_TEST

/* sfence.vma in its four forms, with entries of two ASIDs and a global one, seen from user, supervisor and SUM. */
static void fence_case(bool has_va, bool has_asid, const bool gone[4])
{
    gpa_t a = space(0, 2, LEAF_RW | PTE_U), b = space(10, 2, LEAF_RW | PTE_U);
    uint64_t sa = user_satp(1, a), sb = user_satp(2, b);
    gpa_t global_at = map_at(a, 3, KVA, PA(50), LEAF_RW | PTE_G, 0);
    *pte_host(b + (KVA >> 30 & 511) * 8) = *pte_host(a + (KVA >> 30 & 511) * 8); /* shared kernel tables */
    *word(PA(50)) = 50;
    const struct {
        uint64_t satp;
        gva_t va;
        gpa_t at;
    } t[4] = {
        {sa, 0x1000, map_at(a, 3, 0x1000, PA(1), LEAF_RW | PTE_U, 0)},
        {sa, 0x2000, map_at(a, 3, 0x2000, PA(2), LEAF_RW | PTE_U, 0)},
        {sb, 0x1000, map_at(b, 3, 0x1000, PA(11), LEAF_RW | PTE_U, 0)},
        {sb, KVA, global_at},
    };
    uint64_t seen[4];
    for (unsigned i = 0; i < 4; i++) {
        bool kernel = t[i].va == KVA;
        enter_space(t[i].satp, PRIV_U);
        set_status(0);
        kernel ? (void)0 : (void)load(t[i].va);
        fx.cpu->priv = PRIV_S;
        set_status(MSTATUS_SUM);
        seen[i] = load(t[i].va);
        set_status(0);
        ck_assert_int_eq(loads(t[i].va), kernel);
    }
    for (unsigned i = 0; i < 4; i++) {
        *pte_host(t[i].at) = PA(60 + i) >> 2 | (t[i].va == KVA ? LEAF_RW | PTE_G : LEAF_RW | PTE_U);
        *word(PA(60 + i)) = 60 + i;
    }
    tlb_flush(fx.cpu, has_va, 0x1008, has_asid, 1);
    for (unsigned i = 0; i < 4; i++) {
        bool kernel = t[i].va == KVA;
        for (unsigned mode = 0; mode < 3; mode++) {
            if (kernel ? mode == 0 : mode == 1) {
                continue;
            }
            enter_space(t[i].satp, mode == 0 ? PRIV_U : PRIV_S);
            set_status(mode == 2 ? MSTATUS_SUM : 0);
            uint64_t v = load(t[i].va);
            if (gone[i]) {
                ck_assert_msg(v == 60 + i, "entry %u seen in mode %u is stale: %lu", i, mode, v);
            } else {
                ck_assert_msg(v == seen[i], "entry %u seen in mode %u was dropped", i, mode);
            }
        }
    }
}

START_TEST(fence_all)
{
    fence_case(false, false, (bool[]){true, true, true, true});
}
END_TEST

START_TEST(fence_asid)
{
    fence_case(false, true, (bool[]){true, true, false, false});
}
END_TEST

START_TEST(fence_va)
{
    fence_case(true, false, (bool[]){true, false, true, false});
}
END_TEST

START_TEST(fence_va_asid)
{
    fence_case(true, true, (bool[]){true, false, false, false});
}
END_TEST

START_TEST(fence_global)
{
    gpa_t a = space(0, 1, LEAF_RW | PTE_U);
    gpa_t at = map_at(a, 3, KVA, PA(50), LEAF_RW | PTE_G, 0);
    *word(PA(50)) = 50;
    *word(PA(51)) = 51;
    enter_space(user_satp(1, a), PRIV_S);
    ck_assert_uint_eq(load(KVA), 50);
    *pte_host(at) = PA(51) >> 2 | LEAF_RW | PTE_G;
    tlb_flush(fx.cpu, true, KVA, true, 1); /* global: stays */
    ck_assert_uint_eq(load(KVA), 50);
    tlb_flush(fx.cpu, true, KVA, false, 0);
    ck_assert_uint_eq(load(KVA), 51);
}
END_TEST

START_TEST(supervisor_nonglobal)
{
    /* Supervisor pages without G belong to one space, though the supervisor context is shared. */
    gpa_t a = space(0, 2, LEAF_RW), b = space(10, 2, LEAF_RW);
    enter_space(user_satp(1, a), PRIV_S);
    ck_assert_uint_eq(load(0x1000), 1);
    enter_space(user_satp(2, b), PRIV_S);
    ck_assert_uint_eq(load(0x1000), 11);
    uint32_t raw;
    map_at(a, 3, 0x9000, PA(70), LEAF_RWX, 0);
    map_at(b, 3, 0x9000, PA(71), LEAF_RWX, 0);
    *word(PA(70)) = 0x13;
    *word(PA(71)) = 0x93;
    ck_assert(tlb_fetch(fx.cpu, 0x9000, &raw));
    ck_assert_uint_eq(raw, 0x93);
    enter_space(user_satp(1, a), PRIV_S);
    ck_assert(tlb_fetch(fx.cpu, 0x9000, &raw));
    ck_assert_uint_eq(raw, 0x13);
    /* Bare and back. */
    enter_space(0, PRIV_S);
    ck_assert(!loads(0x1000));
    *word(PA(0)) = 99;
    ck_assert_uint_eq(load(PA(0)), 99);
    enter_space(user_satp(1, a), PRIV_S);
    ck_assert_uint_eq(load(0x1000), 1);
    ck_assert(!loads(PA(0)));
}
END_TEST

START_TEST(large_pages_flush_whole)
{
    /* One fence inside a large leaf voids every piece of it, at each size, also in the supervisor's other contexts. */
    static const struct {
        unsigned level;
        uint64_t extra, size;
    } t[] = {{0, PTE_N, 64 << 10}, {1, 0, 2 << 20}, {2, 0, 64 << 20}};
    gpa_t r = table_new();
    gva_t va = 0x40000000;
    enter_space(user_satp(1, r), PRIV_S);
    gpa_t at[16];
    unsigned n = t[_i].extra ? 16 : 1;
    for (unsigned i = 0; i < n; i++) {
        uint64_t ppn_bits = t[_i].extra ? 8ull << 10 : 0;
        at[i] = map_at(r, 3, va + i * GUEST_PAGE_SIZE, RAM_BASE, LEAF_RWX | t[_i].extra | ppn_bits, t[_i].level);
    }
    for (unsigned sum = 0; sum < 2; sum++) {
        set_status(sum ? MSTATUS_SUM : 0);
        for (uint64_t off = 0; off < t[_i].size; off += t[_i].size / 16) {
            *word(RAM_BASE + off) = off;
            ck_assert_uint_eq(load(va + off), off);
        }
    }
    uint64_t misses = fx.cpu->stats.miss[MISS_L2];
    for (uint64_t off = 8; off < t[_i].size - 8; off += t[_i].size / 8) {
        ck_assert(loads(va + off)); /* one entry serves all */
    }
    ck_assert_uint_eq(fx.cpu->stats.miss[MISS_L2], misses);
    uint32_t raw;
    ck_assert(tlb_fetch(fx.cpu, va, &raw));
    for (unsigned i = 0; i < n; i++) {
        *pte_host(at[i]) = 0;
    }
    tlb_flush(fx.cpu, true, va + t[_i].size / 2, false, 0);
    for (unsigned sum = 0; sum < 2; sum++) {
        set_status(sum ? MSTATUS_SUM : 0);
        for (uint64_t off = 0; off < t[_i].size; off += t[_i].size / 16) {
            ck_assert_msg(!loads(va + off), "offset %lx survived", off);
        }
        ck_assert(!tlb_fetch(fx.cpu, va, &raw));
    }
}
END_TEST

START_TEST(many_pages_flush)
{
    /* Entries in one group, in several, in most: none outlives a flush. */
    static const unsigned pages[] = {1, TLB_GROUP_SIZE - 1, TLB_GROUP_SIZE, TLB_GROUP_SIZE + 1, 300, 3000};
    gpa_t a = space(0, 3000, LEAF_RW | PTE_U);
    enter_space(user_satp(1, a), PRIV_U);
    for (unsigned round = 0; round < 12; round++) {
        unsigned n = pages[round % 6];
        for (unsigned k = 1; k <= n; k++) {
            ck_assert_uint_eq(load(k * GUEST_PAGE_SIZE), k);
        }
        if (round & 1) {
            tlb_flush(fx.cpu, false, 0, true, 1);
        } else {
            tlb_flush_all(fx.cpu);
        }
        for (unsigned i = 0; i < TLB_SIZE; i++) {
            ck_assert_uint_eq(fx.cpu->ctx->rtag[i], TLB_TAG_NONE(i));
            ck_assert_uint_eq(fx.cpu->ctx->wtag[i], TLB_TAG_NONE(i));
        }
    }
}
END_TEST

START_TEST(second_level_keeps)
{
    /* What a fence does not name stays in the second level too. */
    gpa_t a = space(0, 1, LEAF_RW | PTE_U), b = space(10, 1, LEAF_RW | PTE_U);
    map_at(a, 3, KVA, PA(50), LEAF_RW, 0);
    *pte_host(a + (KVA >> 30 & 511) * 8) |= PTE_G; /* global by its pointer */
    enter_space(user_satp(1, a), PRIV_U);
    load(0x1000);
    enter_space(user_satp(2, b), PRIV_U);
    load(0x1000);
    tlb_flush(fx.cpu, true, 0x1000, true, 2);
    enter_space(user_satp(1, a), PRIV_U);
    fx.cpu->ctx->rtag[1] = TLB_TAG_NONE(1);
    uint64_t walks = fx.cpu->stats.miss[MISS_L2];
    load(0x1000);
    ck_assert_uint_eq(fx.cpu->stats.miss[MISS_L2], walks);
    enter_space(user_satp(1, a), PRIV_S);
    load(KVA);
    ck_assert(!fx.cpu->ctx->nonglobal);
    walks = fx.cpu->stats.miss[MISS_L2];
    tlb_flush(fx.cpu, false, 0, true, 1);
    set_status(MSTATUS_SUM);
    load(KVA);
    ck_assert_uint_eq(fx.cpu->stats.miss[MISS_L2], walks);
}
END_TEST

START_TEST(names_run_out)
{
    /* More flushes than there are names of spaces. */
    gpa_t a = space(0, 1, LEAF_RW | PTE_U);
    gpa_t at = map_at(a, 3, 0x1000, PA(1), LEAF_RW | PTE_U, 0);
    enter_space(user_satp(1, a), PRIV_U);
    for (unsigned i = 0; i < 150000; i++) {
        *pte_host(at) = PA(1 + (i & 1)) >> 2 | LEAF_RW | PTE_U;
        tlb_flush(fx.cpu, false, 0, i % 3 == 0, 1);
        uint64_t v;
        struct translation t;
        ck_assert(tlb_translate(fx.cpu, 0x1000, ACCESS_LOAD, &t));
        ck_assert_uint_eq(t.gpa, PA(1 + (i & 1)));
        ck_assert(tlb_load(fx.cpu, 0x1000, 8, &v));
    }
}
END_TEST

static struct jc_entry *jc_of(struct tlb_ctx *ctx, unsigned k)
{
    return &ctx->jc[(k * GUEST_PAGE_SIZE + 4 * k) >> 1 & (JC_SIZE - 1)];
}

START_TEST(code_is_forgotten)
{
    gpa_t a = space(0, 3, LEAF_RWX | PTE_U);
    enter_space(user_satp(1, a), PRIV_U);
    struct tlb_ctx *ctx = fx.cpu->ctx;
    struct translation t;
    for (unsigned k = 1; k <= 3; k++) {
        /* What the translator does after a fetch. */
        ck_assert(tlb_translate(fx.cpu, k * GUEST_PAGE_SIZE + 4 * k, ACCESS_FETCH, &t));
        tlb_jc_fill(ctx, k * GUEST_PAGE_SIZE + 4 * k, &t);
        ctx->code_va[100 + k] = k * GUEST_PAGE_SIZE;
        ctx->code_ids[ctx->num_code_ids++] = 100 + k;
        ctx->code_filled = true;
    }
    tlb_flush(fx.cpu, true, 0x7000, false, 0); /* not code */
    ck_assert_uint_eq(jc_of(ctx, 1)->va, 0x1004);
    tlb_flush(fx.cpu, true, 0x2abc, true, 2); /* another space */
    ck_assert_uint_eq(jc_of(ctx, 2)->va, 0x2008);
    tlb_flush(fx.cpu, true, 0x2abc, true, 1);
    ck_assert_uint_eq(jc_of(ctx, 1)->va, 0x1004);
    ck_assert_uint_eq(jc_of(ctx, 2)->va, 1);
    ck_assert_uint_eq(ctx->code_va[102], 1);
    ck_assert_uint_eq(ctx->code_va[103], 0x3000);
    enter_space(user_satp(2, a), PRIV_U);
    tlb_flush(fx.cpu, false, 0, true, 1); /* while it is not current */
    enter_space(user_satp(1, a), PRIV_U);
    ck_assert_ptr_eq(fx.cpu->ctx, ctx);
    ck_assert_uint_eq(jc_of(ctx, 1)->va, 1);
    ck_assert_uint_eq(ctx->code_va[103], 1);
    ck_assert_uint_eq(ctx->num_code_ids, 0);
    /* Too many ids to list. */
    for (unsigned id = 0; id < CODE_PAGES_MAX; id++) {
        ctx->code_va[id] = 0x1000;
    }
    ctx->num_code_ids = TLB_CODE_IDS + 1;
    ctx->code_filled = true;
    tlb_flush_code(fx.cpu);
    for (unsigned id = 0; id < CODE_PAGES_MAX; id++) {
        ck_assert_uint_eq(ctx->code_va[id], 1);
    }
    ck_assert(!ctx->code_filled);
}
END_TEST

START_TEST(many_blocks_forgotten)
{
    /* More blocks than the jump cache lists, on pages that share their places among those seen. */
    enum { PAGES = 8 };
    gpa_t a = table_new();
    gva_t page[PAGES];
    for (unsigned k = 0; k < PAGES; k++) {
        page[k] = 0x100000 + (k / 4 * CODE_SEEN + k % 4) * GUEST_PAGE_SIZE;
        map_at(a, 3, page[k], PA(k), LEAF_RWX | PTE_U, 0);
    }
    enter_space(user_satp(1, a), PRIV_U);
    struct tlb_ctx *ctx = fx.cpu->ctx;
    for (unsigned blocks = JC_LIST - 1; blocks <= JC_LIST + 1; blocks++) {
        for (unsigned n = 0; n < blocks; n++) {
            gva_t va = page[n % PAGES] + n % PAGES / 4 * 2048 + n / PAGES * 2;
            struct translation t;
            ck_assert(tlb_translate(fx.cpu, va, ACCESS_FETCH, &t));
            tlb_jc_fill(ctx, va, &t);
        }
        ck_assert_uint_eq(ctx->num_jc, blocks);
        if (blocks == JC_LIST) {
            for (unsigned k = 0; k < PAGES; k++) {
                tlb_flush(fx.cpu, true, page[k], true, 1);
            }
        } else {
            tlb_flush_code(fx.cpu);
        }
        for (unsigned i = 0; i < JC_SIZE; i++) {
            ck_assert_uint_eq(ctx->jc[i].va, 1);
        }
    }
}
END_TEST

START_TEST(evicted_large_pages)
{
    /* Pieces of large leaves stay in the first level when the second has lost the leaf: a fence still finds them. So
     * with many leaves over few GiB, and with leaves that share the places of regions. */
    enum { LEAVES = 40 };
    gpa_t r = table_new();
    gva_t stride = _i == 0 ? 1ull << 29 : 1ull << 30, first = 0x40000000;
    uint64_t probe = (_i == 2) * GUEST_PAGE_SIZE;
    for (unsigned i = 0; i < LEAVES; i++) {
        map_at(r, 3, first + i * stride, RAM_BASE + (i % 8 << 21), LEAF_RWX | PTE_U, 1);
    }
    enter_space(user_satp(1, r), PRIV_U);
    for (unsigned i = 0; i < LEAVES; i++) {
        gva_t va = first + i * stride + (i << GUEST_PAGE_BITS);
        ck_assert(loads(va));
        ck_assert_ptr_nonnull(tlb_probe_read(fx.cpu->ctx, va, 8));
    }
    for (unsigned i = 0; i < LEAVES; i++) {
        gva_t va = first + i * stride + (i << GUEST_PAGE_BITS);
        tlb_flush(fx.cpu, true, first + i * stride + 0x100000 + probe, false, 0);
        ck_assert_ptr_null(tlb_probe_read(fx.cpu->ctx, va, 8));
    }
    /* What lies in none of these regions is not dropped. */
    map_at(r, 3, 0x3000, PA(1), LEAF_RW | PTE_U, 0);
    load(0x3000);
    tlb_flush(fx.cpu, true, 0x4000, false, 0);
    ck_assert_ptr_nonnull(tlb_probe_read(fx.cpu->ctx, 0x3000, 8));
}
END_TEST

START_TEST(fence_touches_little)
{
    /* A fence on one page leaves everything else in the first level of every context, also beside large pages. */
    gpa_t a = space(0, 30, LEAF_RW | PTE_U);
    map_at(a, 3, 0x40000000, RAM_BASE, LEAF_RWX | PTE_U, 1);
    map_at(a, 3, 0xffffffc000000000, RAM_BASE, LEAF_RWX | PTE_G, 2);
    enter_space(user_satp(1, a), PRIV_U);
    for (unsigned k = 1; k <= 30; k++) {
        load(k * GUEST_PAGE_SIZE);
    }
    load(0x40000000);
    struct tlb_ctx *user = fx.cpu->ctx;
    enter_space(user_satp(1, a), PRIV_S);
    load(KVA);
    tlb_flush(fx.cpu, true, 0x5000, false, 0);
    ck_assert_ptr_nonnull(tlb_probe_read(fx.cpu->ctx, KVA, 8));
    for (unsigned k = 1; k <= 30; k++) {
        ck_assert_int_eq(tlb_probe_read(user, k * GUEST_PAGE_SIZE, 8) != NULL, k != 5);
    }
    ck_assert_ptr_nonnull(tlb_probe_read(user, 0x40000000, 8));
    tlb_flush(fx.cpu, true, KVA + (1ull << 29), false, 0);
    ck_assert_ptr_null(tlb_probe_read(fx.cpu->ctx, KVA, 8));
    ck_assert_ptr_nonnull(tlb_probe_read(user, 0x40000000, 8));
}
END_TEST

START_TEST(crossing)
{
    gpa_t a = table_new();
    map_at(a, 3, 0x1000, PA(1), LEAF_RW, 0);
    map_at(a, 3, 0x2000, PA(9), LEAF_RW, 0);
    map_at(a, 3, 0x3000, PA(3), PTE_V | PTE_R | PTE_A, 0);
    map_at(a, 3, 0x6000, DEV_BASE, LEAF_RW, 0);
    map_at(a, 3, 0x5000, PA(5), LEAF_RW, 0);
    enter_space(user_satp(1, a), PRIV_S);
    uint64_t v;
    for (unsigned size = 2; size <= 8; size *= 2) {
        uint64_t mask = size == 8 ? ~0ull : (1ull << size * 8) - 1;
        for (gva_t va = 0x2000 - size + 1; va < 0x2000; va++) {
            for (unsigned again = 0; again < 2; again++) {
                uint64_t x = 0x0123456789abcdefull * (va + again + 1);
                ck_assert(tlb_store(fx.cpu, va, size, x));
                ck_assert(tlb_load(fx.cpu, va, size, &v));
                ck_assert_uint_eq(v, x & mask);
                for (unsigned i = 0; i < size; i++) {
                    gpa_t g = va + i < 0x2000 ? PA(1) + (va + i - 0x1000) : PA(9) + (va + i - 0x2000);
                    ck_assert_uint_eq(*(uint8_t *)ram_ptr(&fx.ram, g), (x >> 8 * i) & 0xff);
                }
            }
        }
    }
    /* A fault on the second page: told there, nothing written to the first. */
    *word(PA(9) + 0xff8) = 0x1111111111111111;
    ck_assert(!tlb_store(fx.cpu, 0x2ffc, 8, ~0ull));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_STORE_PAGE);
    ck_assert_uint_eq(fx.cpu->exc_tval, 0x3000);
    ck_assert_uint_eq(*word(PA(9) + 0xff8), 0x1111111111111111);
    ck_assert(tlb_load(fx.cpu, 0x2ffc, 8, &v)); /* readable */
    ck_assert(!tlb_load(fx.cpu, 0x3ffc, 8, &v));
    ck_assert_uint_eq(fx.cpu->exc_tval, 0x4000);
    ck_assert(!tlb_load(fx.cpu, 0x4ffe, 4, &v)); /* the first page faults */
    ck_assert_uint_eq(fx.cpu->exc_tval, 0x4ffe);
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_LOAD_PAGE);
    *word(PA(5) + 0xff8) = 0;
    ck_assert(!tlb_store(fx.cpu, 0x5ffe, 4, ~0ull)); /* into a device */
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_STORE_ACCESS);
    ck_assert_uint_eq(*word(PA(5) + 0xff8), 0);
    ck_assert_uint_eq(fx.dev_writes, 0);
    /* The end of RAM. */
    enter_space(0, PRIV_M);
    ck_assert(!tlb_load(fx.cpu, RAM_BASE + RAM_SIZE - 4, 8, &v));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_LOAD_ACCESS);
    ck_assert_uint_eq(fx.cpu->exc_tval, RAM_BASE + RAM_SIZE);
    ck_assert(tlb_load(fx.cpu, RAM_BASE + RAM_SIZE - 8, 8, &v));
    ck_assert(!tlb_load(fx.cpu, ~0ull - 3, 8, &v)); /* wraps round */
}
END_TEST

START_TEST(fetch)
{
    gpa_t a = table_new();
    map_at(a, 3, 0x1000, PA(1), LEAF_RWX, 0);
    map_at(a, 3, 0x2000, PA(7), LEAF_RWX, 0);
    map_at(a, 3, 0x3000, PA(8), LEAF_RW, 0);
    enter_space(user_satp(1, a), PRIV_S);
    uint8_t *end = (uint8_t *)ram_ptr(&fx.ram, PA(1)) + 0xffe, *next = ram_ptr(&fx.ram, PA(7));
    uint32_t raw;
    end[0] = 0x13, end[1] = 0x05, next[0] = 0x45, next[1] = 0x01;
    ck_assert(tlb_fetch(fx.cpu, 0x1ffe, &raw));
    ck_assert_uint_eq(raw, 0x01450513);
    uint8_t *end2 = (uint8_t *)ram_ptr(&fx.ram, PA(7)) + 0xffe;
    end2[0] = 0x01, end2[1] = 0x00; /* c.nop: the next page is not looked at */
    ck_assert(tlb_fetch(fx.cpu, 0x2ffe, &raw));
    ck_assert_uint_eq(raw & 0xffff, 1);
    end2[0] = 0x13; /* a page without X follows */
    ck_assert(!tlb_fetch(fx.cpu, 0x2ffe, &raw));
    ck_assert_uint_eq(fx.cpu->exc_cause, EXC_FETCH_PAGE);
    ck_assert_uint_eq(fx.cpu->exc_tval, 0x3000);
    /* Fetches see stores at once, and a flush drops what was remembered. */
    ck_assert(tlb_store(fx.cpu, 0x2000, 4, 0x00100093));
    ck_assert(tlb_fetch(fx.cpu, 0x2000, &raw));
    ck_assert_uint_eq(raw, 0x00100093);
    map_at(a, 3, 0x2000, PA(7), LEAF_RW, 0);
    tlb_flush(fx.cpu, true, 0x2000, false, 0);
    ck_assert(!tlb_fetch(fx.cpu, 0x2000, &raw));
}
END_TEST

static uint8_t flags_of(gpa_t gpa)
{
    return fx.ram.page_flags[(gpa - RAM_BASE) >> 12];
}

START_TEST(code_pages)
{
    gpa_t page = PA(3);
    enter_space(0, PRIV_M);
    ck_assert(tlb_store(fx.cpu, page, 8, 1));
    ck_assert_uint_eq(flags_of(page), PAGE_WRITER);
    load(PA(4));
    ck_assert_uint_eq(flags_of(PA(4)), 0); /* a load announces no writer */
    ck_assert_ptr_null(tlb_probe_write(fx.cpu->ctx, PA(4), 8));
    ck_assert_ptr_nonnull(tlb_probe_write(fx.cpu->ctx, page, 8));
    /* The translator takes the page: sets PAGE_CODE, sees the writer, has the right dropped. */
    uint8_t old = atomic_fetch_or(&fx.ram.page_flags[(page - RAM_BASE) >> 12], PAGE_CODE);
    ck_assert(old & PAGE_WRITER);
    tlb_drop_write(fx.cpu, page + 0x123);
    ck_assert_ptr_null(tlb_probe_write(fx.cpu->ctx, page, 8));
    ck_assert_ptr_nonnull(tlb_probe_read(fx.cpu->ctx, page, 8));
    /* A load does not get the right back, and a refill for a store says no. */
    tlb_flush_all(fx.cpu);
    load(page);
    ck_assert_ptr_null(tlb_probe_write(fx.cpu->ctx, page, 8));
    ck_assert(!tlb_refill_write(fx.cpu, page));
    ck_assert_uint_eq(code_writes, 0);
    /* The first store tells; the next ones run free. */
    ck_assert(tlb_store(fx.cpu, page + 8, 8, 2));
    ck_assert_uint_eq(code_writes, 1);
    ck_assert_uint_eq(code_written_page, page);
    ck_assert_ptr_nonnull(tlb_probe_write(fx.cpu->ctx, page, 8));
    ck_assert(tlb_store(fx.cpu, page + 16, 8, 2));
    ck_assert_uint_eq(code_writes, 1);
    ck_assert_uint_eq(fx.cpu->stats.miss[MISS_CODE_WRITE], 1);
    /* fence.i: the page is clean again, all rights on clean code go. */
    ck_assert(tlb_store(fx.cpu, PA(5), 8, 2));
    atomic_fetch_and(&fx.ram.page_flags[(page - RAM_BASE) >> 12], (uint8_t)~PAGE_CODE_DIRTY);
    tlb_drop_write_code(fx.cpu);
    ck_assert_ptr_null(tlb_probe_write(fx.cpu->ctx, page, 8));
    ck_assert_ptr_nonnull(tlb_probe_write(fx.cpu->ctx, PA(5), 8));
    /* Atomics and page-crossing stores tell as well. */
    ck_assert_ptr_nonnull(tlb_atomic_ptr(fx.cpu, page, 8, true));
    ck_assert_uint_eq(code_writes, 2);
    atomic_fetch_and(&fx.ram.page_flags[(page - RAM_BASE) >> 12], (uint8_t)~PAGE_CODE_DIRTY);
    tlb_drop_write_code(fx.cpu);
    ck_assert(tlb_store(fx.cpu, page - 4, 8, 0));
    ck_assert_uint_eq(code_writes, 3);
    ck_assert_ptr_nonnull(tlb_atomic_ptr(fx.cpu, page, 8, false));
}
END_TEST

START_TEST(drop_write_everywhere)
{
    /* The right goes from contexts that are not current, under every virtual address. */
    gpa_t a = table_new();
    map_at(a, 3, 0x1000, PA(1), LEAF_RW | PTE_U, 0);
    map_at(a, 3, 0x4000, PA(1), LEAF_RW | PTE_U, 0);
    map_at(a, 3, KVA, PA(1), LEAF_RW | PTE_G, 0);
    enter_space(user_satp(1, a), PRIV_U);
    ck_assert(tlb_store(fx.cpu, 0x1000, 8, 1) && tlb_store(fx.cpu, 0x4000, 8, 1));
    struct tlb_ctx *user = fx.cpu->ctx;
    enter_space(user_satp(1, a), PRIV_S);
    ck_assert(tlb_store(fx.cpu, KVA, 8, 1));
    struct tlb_ctx *super = fx.cpu->ctx;
    ck_assert_ptr_ne(user, super);
    tlb_drop_write(fx.cpu, PA(1));
    ck_assert_ptr_null(tlb_probe_write(user, 0x1000, 8));
    ck_assert_ptr_null(tlb_probe_write(user, 0x4000, 8));
    ck_assert_ptr_null(tlb_probe_write(super, KVA, 8));
    ck_assert_ptr_nonnull(tlb_probe_read(super, KVA, 8));
}
END_TEST

START_TEST(refill)
{
    gpa_t a = space(0, 3, LEAF_RW | PTE_U);
    map_at(a, 3, 0x9000, PA(9), PTE_V | PTE_R | PTE_U | PTE_A, 0);
    enter_space(user_satp(1, a), PRIV_U);
    ck_assert(!tlb_refill_read(fx.cpu, 0x1000)); /* nothing known yet */
    load(0x1000);
    tlb_flush_code(fx.cpu);
    /* Its table is known now: the neighbours need no full walk. */
    ck_assert(tlb_refill_read(fx.cpu, 0x2000));
    ck_assert_ptr_nonnull(tlb_probe_read(fx.cpu->ctx, 0x2000, 8));
    ck_assert(tlb_refill_write(fx.cpu, 0x2000));
    ck_assert_ptr_nonnull(tlb_probe_write(fx.cpu->ctx, 0x2000, 8));
    ck_assert(tlb_refill_read(fx.cpu, 0x9000));
    ck_assert(!tlb_refill_write(fx.cpu, 0x9000));
    ck_assert(!tlb_refill_write(fx.cpu, 0x9000));
    ck_assert(!tlb_refill_read(fx.cpu, 0xa000));
    fx.cpu->priv = PRIV_S;
    set_status(0);
    ck_assert(!tlb_refill_read(fx.cpu, 0x2000)); /* a user page without SUM */
    set_status(MSTATUS_SUM);
    ck_assert(tlb_refill_write(fx.cpu, 0x2000));
    /* Unaligned inside the page is admitted, over its end not. */
    ck_assert_ptr_nonnull(tlb_probe_read(fx.cpu->ctx, 0x2ff8, 8));
    ck_assert_ptr_null(tlb_probe_read(fx.cpu->ctx, 0x2ff9, 8));
}
END_TEST

START_TEST(counting)
{
    enter_space(0, PRIV_M);
    tlb_exact_mode(fx.cpu, true);
    for (unsigned i = 0; i < 5; i++) {
        load(RAM_BASE + 8 * i);
        ck_assert(tlb_store(fx.cpu, RAM_BASE + RAM_SIZE / 2 + 8 * i, 8, 0));
    }
    ck_assert_ptr_nonnull(tlb_atomic_ptr(fx.cpu, RAM_BASE, 8, true));
    load(RAM_BASE + RAM_SIZE / 2 - 4);
    ck_assert_uint_eq(fx.cpu->stats.mem_access[0], 7);
    ck_assert_uint_eq(fx.cpu->stats.mem_access[1], 5);
    ck_assert_ptr_null(tlb_probe_read(fx.cpu->ctx, RAM_BASE, 8));
    ck_assert(!tlb_refill_read(fx.cpu, RAM_BASE));
    ck_assert_uint_eq(flags_of(RAM_BASE), PAGE_WRITER); /* stores are announced though nothing is entered */
    atomic_fetch_or(&fx.ram.page_flags[0], PAGE_CODE);
    ck_assert(tlb_store(fx.cpu, RAM_BASE, 8, 0));
    ck_assert_uint_eq(code_writes, 1);
    fx.cpu->stats.mem_access[0]--;
    tlb_exact_mode(fx.cpu, false);
    load(RAM_BASE);
    ck_assert_ptr_nonnull(tlb_probe_read(fx.cpu->ctx, RAM_BASE, 8));
    ck_assert_uint_eq(fx.cpu->stats.mem_access[0], 7);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("memory-tlb");
    TCase *t = tcase_create("tlb");
    tcase_add_checked_fixture(t, fixture_setup, fixture_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, many_spaces);
    tcase_add_test(t, fence_all);
    tcase_add_test(t, fence_asid);
    tcase_add_test(t, fence_va);
    tcase_add_test(t, fence_va_asid);
    tcase_add_test(t, fence_global);
    tcase_add_test(t, supervisor_nonglobal);
    tcase_add_loop_test(t, large_pages_flush_whole, 0, 3);
    tcase_add_test(t, many_pages_flush);
    tcase_add_test(t, second_level_keeps);
    tcase_add_test(t, names_run_out);
    tcase_add_test(t, code_is_forgotten);
    tcase_add_test(t, many_blocks_forgotten);
    tcase_add_loop_test(t, evicted_large_pages, 0, 3);
    tcase_add_test(t, fence_touches_little);
    tcase_add_test(t, crossing);
    tcase_add_test(t, fetch);
    tcase_add_test(t, code_pages);
    tcase_add_test(t, drop_write_everywhere);
    tcase_add_test(t, refill);
    tcase_add_test(t, counting);
    suite_add_tcase(s, t);
    return run_suite(s);
}
