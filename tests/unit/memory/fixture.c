#include "fixture.h"

#include <assert.h>
#include <string.h>

struct fixture fx;
unsigned code_writes;
gpa_t code_written_page;
static bool locked;

/* The parts of other rooms that memory calls. */
void bql_lock(void)
{
    ck_assert(!locked);
    locked = true;
}

void bql_unlock(void)
{
    ck_assert(locked);
    locked = false;
}

bool bql_held(void)
{
    return locked;
}

void code_page_written(struct ram *ram, gpa_t page)
{
    code_writes++;
    code_written_page = page;
    atomic_fetch_or(&ram->page_flags[(page - ram->base) >> GUEST_PAGE_BITS], PAGE_CODE_DIRTY);
}

static uint64_t dev_read(void *opaque, uint64_t offset, unsigned size)
{
    ck_assert(bql_held());
    fx.dev_reads++;
    fx.dev_offset = offset;
    fx.dev_size = size;
    return fx.dev_value + offset;
}

static void dev_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    ck_assert(bql_held());
    fx.dev_writes++;
    fx.dev_offset = offset;
    fx.dev_size = size;
    fx.dev_value = value;
}

void fixture_setup(void)
{
    static const struct mmio_ops ops = {.read = dev_read, .write = dev_write, .min_size = 1, .max_size = 4};
    struct error err = {0};
    memset(&fx, 0, sizeof(fx));
    code_writes = 0;
    fx.cfg = calloc(1, sizeof(*fx.cfg));
    fx.cfg->mem_size = RAM_SIZE;
    fx.cfg->num_nodes = 2;
    fx.cfg->node[0].mem = fx.cfg->node[1].mem = RAM_SIZE / 2;
    fx.cfg->node[0].backend = fx.cfg->node[1].backend = -1;
    ck_assert_msg(ram_create(&fx.ram, fx.cfg, RAM_BASE, &err), "%s", err.text);
    fx.bus.ram = &fx.ram;
    bus_map(&fx.bus, DEV_BASE, 0x1000, &ops, NULL, "dev");
    fx.cpu = aligned_alloc(64, sizeof(*fx.cpu));
    memset(fx.cpu, 0, sizeof(*fx.cpu));
    fx.cpu->ram = &fx.ram;
    fx.cpu->bus = &fx.bus;
    fx.cpu->isa_ext = 1ull << EXT_SVNAPOT | 1ull << EXT_SVPBMT | 1ull << EXT_SVADU;
    fx.cpu->exc_cause = EXC_NONE;
    fx.cpu->priv = PRIV_M;
    fx.next_table = RAM_BASE + RAM_SIZE - (8ull << 20);
    tlb_create(fx.cpu);
}

void fixture_teardown(void)
{
    tlb_destroy(fx.cpu);
    ram_destroy(&fx.ram);
    free(fx.cpu);
    free(fx.cfg);
}

gpa_t table_new(void)
{
    gpa_t at = fx.next_table;
    fx.next_table += GUEST_PAGE_SIZE;
    ck_assert(fx.next_table <= RAM_BASE + RAM_SIZE);
    memset(ram_ptr(&fx.ram, at), 0, GUEST_PAGE_SIZE);
    return at;
}

uint64_t *pte_host(gpa_t at)
{
    return ram_ptr(&fx.ram, at);
}

gpa_t map_at(gpa_t root, unsigned levels, gva_t va, gpa_t gpa, uint64_t flags, unsigned level)
{
    gpa_t table = root;
    for (unsigned l = levels - 1; l > level; l--) {
        uint64_t *pte = pte_host(table + (va >> (12 + 9 * l) & 511) * 8);
        if (!(*pte & PTE_V)) {
            *pte = table_new() >> 12 << 10 | PTE_V;
        }
        table = (*pte >> 10) << 12;
    }
    gpa_t at = table + (va >> (12 + 9 * level) & 511) * 8;
    *pte_host(at) = gpa >> 12 << 10 | flags;
    return at;
}

uint64_t satp_of(unsigned mode, unsigned asid, gpa_t root)
{
    return (uint64_t)mode << 60 | (uint64_t)asid << 44 | root >> 12;
}

void enter_space(uint64_t satp, uint8_t priv)
{
    fx.cpu->satp = satp;
    fx.cpu->priv = priv;
    tlb_context_update(fx.cpu);
}

void set_status(uint64_t mstatus)
{
    fx.cpu->mstatus = mstatus;
    tlb_context_update(fx.cpu);
}

void expect(gva_t va, enum tlb_access access, uint32_t cause, gpa_t gpa)
{
    struct translation t;
    fx.cpu->exc_cause = EXC_NONE;
    bool ok = tlb_translate(fx.cpu, va, access, &t);
    if (cause == EXC_NONE) {
        ck_assert_msg(ok, "va %lx access %d: fault %u", va, access, fx.cpu->exc_cause);
        ck_assert_uint_eq(t.gpa, gpa);
    } else {
        ck_assert_msg(!ok, "va %lx access %d: no fault", va, access);
        ck_assert_uint_eq(fx.cpu->exc_cause, cause);
        ck_assert_uint_eq(fx.cpu->exc_tval, va);
    }
}

int run_suite(Suite *s)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
