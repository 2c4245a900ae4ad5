/* PLIC, ACLINT, APLIC, IMSIC, RTC, test finisher. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fake.h"

#define MIP(h) atomic_load(&fake.cpu[h].mip)
#define BIT(n) (1ull << (n))

/* ---- PLIC ---- */

enum { PRIO = 0, PEND = 0x1000, ENABLE = 0x2000, CTX = 0x200000 };

static struct plic *plic;

static uint32_t prd(uint64_t off)
{
    return (uint32_t)dev_read(&plic_ops, plic, off, 4);
}

static void pwr(uint64_t off, uint32_t v)
{
    dev_write(&plic_ops, plic, off, v, 4);
}

static void plic_setup(void)
{
    fake_reset();
    plic = plic_create(fake.cpus, 2, 95);
}

static void plic_teardown(void)
{
    plic_destroy(&plic);
}

START_TEST(plic_claim_and_complete)
{
    pwr(PRIO + 4 * 10, 1);
    pwr(ENABLE + 0x80, 1u << 10); /* hart 0, S */
    plic_set_irq(plic, 10, true);
    ck_assert_uint_eq(prd(PEND), 1u << 10);
    ck_assert_uint_eq(MIP(0), BIT(IRQ_SEI));
    ck_assert_uint_eq(MIP(1), 0);
    ck_assert_uint_eq(prd(CTX + 0x1004), 10);
    ck_assert_uint_eq(MIP(0), 0);
    ck_assert_uint_eq(prd(CTX + 0x1004), 0);
    /* Still active: the gateway forwards it again only after completion. */
    plic_set_irq(plic, 10, true);
    ck_assert_uint_eq(prd(PEND), 0);
    pwr(CTX + 0x1004, 10);
    ck_assert_uint_eq(MIP(0), BIT(IRQ_SEI));
    ck_assert_uint_eq(prd(CTX + 0x1004), 10);
    plic_set_irq(plic, 10, false);
    pwr(CTX + 0x1004, 10);
    ck_assert_uint_eq(MIP(0), 0);
}
END_TEST

START_TEST(plic_priority_threshold_and_order)
{
    pwr(PRIO + 4 * 3, 2);
    pwr(PRIO + 4 * 7, 5);
    pwr(PRIO + 4 * 40, 5);
    pwr(ENABLE + 0x100, (1u << 3) | (1u << 7)); /* hart 1, M */
    pwr(ENABLE + 0x104, 1u << 8);
    pwr(CTX + 0x2000, 2);
    plic_set_irq(plic, 3, true);
    ck_assert_uint_eq(MIP(1), 0); /* not above the threshold */
    plic_set_irq(plic, 40, true);
    plic_set_irq(plic, 7, true);
    ck_assert_uint_eq(MIP(1), BIT(IRQ_MEI));
    ck_assert_uint_eq(prd(CTX + 0x2004), 7); /* a tie goes to the lower number */
    ck_assert_uint_eq(prd(CTX + 0x2004), 40);
    ck_assert_uint_eq(MIP(1), 0);
    ck_assert_uint_eq(prd(CTX + 0x2004), 3); /* a claim ignores the threshold */
}
END_TEST

START_TEST(plic_ignores_what_does_not_exist)
{
    pwr(PRIO, 7);
    ck_assert_uint_eq(prd(PRIO), 0);
    pwr(PRIO + 4 * 96, 7);
    ck_assert_uint_eq(prd(PRIO + 4 * 96), 0);
    pwr(PRIO + 4, 0xffffffff);
    ck_assert_uint_eq(prd(PRIO + 4), 7);
    pwr(ENABLE, 0xffffffff);
    ck_assert_uint_eq(prd(ENABLE), 0xfffffffe);
    pwr(ENABLE + 8, 0xffffffff);
    ck_assert_uint_eq(prd(ENABLE + 8), 0xffffffff);
    pwr(ENABLE + 12, 0xffffffff);
    ck_assert_uint_eq(prd(ENABLE + 12), 0);
    pwr(CTX + 4 * 0x1000, 1); /* context of a third hart */
    ck_assert_uint_eq(prd(CTX + 4 * 0x1000), 0);
    pwr(CTX + 4, 0xffffffff);
    pwr(CTX + 4, 96);
    plic_set_irq(plic, 5, true);
    pwr(PRIO + 4 * 5, 1);
    pwr(CTX + 4, 5); /* completion of what was never claimed */
    ck_assert_uint_eq(prd(CTX + 4), 5);
    for (uint64_t off = 0; off < PLIC_REG_SIZE; off += 0x7fc) {
        prd(off);
    }
}
END_TEST

/* ---- ACLINT ---- */

START_TEST(aclint_registers)
{
    fake_reset();
    struct aclint *a = aclint_create(NULL, fake.cpus, 2);
    dev_write(&aclint_ops, a, 4, 1, 4);
    ck_assert_uint_eq(MIP(1), BIT(IRQ_MSI));
    ck_assert_uint_eq(dev_read(&aclint_ops, a, 4, 4), 1);
    dev_write(&aclint_ops, a, 4, 0, 4);
    ck_assert_uint_eq(MIP(1), 0);
    fake.ticks = 0x123456789a;
    ck_assert_uint_eq(dev_read(&aclint_ops, a, 0xbff8, 8), 0x123456789a);
    ck_assert_uint_eq(dev_read(&aclint_ops, a, 0xbffc, 4), 0x12);
    ck_assert_uint_eq(dev_read(&aclint_ops, a, 0xbff8, 4), 0x3456789a);
    dev_write(&aclint_ops, a, 0x4008, 0x1111222233334444, 8);
    ck_assert_uint_eq(atomic_load(&fake.cpu[1].mtimecmp), 0x1111222233334444);
    dev_write(&aclint_ops, a, 0x400c, 0xaaaabbbb, 4);
    ck_assert_uint_eq(atomic_load(&fake.cpu[1].mtimecmp), 0xaaaabbbb33334444);
    dev_write(&aclint_ops, a, 0x4008, 0x55, 4);
    ck_assert_uint_eq(dev_read(&aclint_ops, a, 0x4008, 8), 0xaaaabbbb00000055);
    ck_assert_uint_eq(fake.kicks, 3);
    dev_write(&aclint_ops, a, 8, 1, 4); /* no such hart */
    dev_write(&aclint_ops, a, 0x4010, 1, 8);
    dev_write(&aclint_sswi_ops, a, 0, 1, 4);
    ck_assert_uint_eq(MIP(0), BIT(IRQ_SSI));
    ck_assert_uint_eq(dev_read(&aclint_sswi_ops, a, 0, 4), 0);
    aclint_reset(a);
    ck_assert_uint_eq(atomic_load(&fake.cpu[1].mtimecmp), UINT64_MAX);
    aclint_destroy(&a);
}
END_TEST

/* ---- IMSIC ---- */

static const struct imsic_port *port(unsigned hart)
{
    return fake.cpu[hart].imsic;
}

static uint64_t ireg(unsigned hart, enum imsic_file f, unsigned select)
{
    uint64_t v;
    ck_assert(port(hart)->ops->reg_read(port(hart)->opaque, f, select, &v));
    return v;
}

static void set_ireg(unsigned hart, enum imsic_file f, unsigned select, uint64_t v)
{
    ck_assert(port(hart)->ops->reg_write(port(hart)->opaque, f, select, v));
}

static uint32_t topei(unsigned hart, enum imsic_file f)
{
    return port(hart)->ops->topei(port(hart)->opaque, f);
}

START_TEST(imsic_delivery)
{
    uint64_t v;
    fake_reset();
    struct imsic *s = imsic_create(&fake.cpu[0]);
    imsic_send(s, IMSIC_FILE_S, 200);
    imsic_send(s, IMSIC_FILE_S, 65);
    imsic_send(s, IMSIC_FILE_S, 0);
    imsic_send(s, IMSIC_FILE_S, 256);
    ck_assert_uint_eq(ireg(0, IMSIC_FILE_S, 0x82), 2);
    ck_assert_uint_eq(topei(0, IMSIC_FILE_S), 0);
    set_ireg(0, IMSIC_FILE_S, 0xc2, 2);
    set_ireg(0, IMSIC_FILE_S, 0xc6, BIT(200 - 192));
    ck_assert_uint_eq(topei(0, IMSIC_FILE_S), 65u << 16 | 65);
    ck_assert_uint_eq(MIP(0), 0); /* eidelivery is off */
    set_ireg(0, IMSIC_FILE_S, 0x70, 1);
    ck_assert_uint_eq(MIP(0), BIT(IRQ_SEI));
    set_ireg(0, IMSIC_FILE_S, 0x72, 65); /* identities from the threshold on are masked */
    ck_assert_uint_eq(topei(0, IMSIC_FILE_S), 0);
    ck_assert_uint_eq(MIP(0), 0);
    set_ireg(0, IMSIC_FILE_S, 0x72, 0);
    port(0)->ops->claim(port(0)->opaque, IMSIC_FILE_S, topei(0, IMSIC_FILE_S));
    ck_assert_uint_eq(topei(0, IMSIC_FILE_S), 200u << 16 | 200);
    port(0)->ops->claim(port(0)->opaque, IMSIC_FILE_S, topei(0, IMSIC_FILE_S));
    ck_assert_uint_eq(MIP(0), 0);
    ck_assert_uint_eq(ireg(0, IMSIC_FILE_M, 0x80), 0);
    ck_assert(!port(0)->ops->reg_read(port(0)->opaque, IMSIC_FILE_S, 0x81, &v));
    ck_assert(!port(0)->ops->reg_write(port(0)->opaque, IMSIC_FILE_S, 0xc1, 1));
    set_ireg(0, IMSIC_FILE_S, 0xc0, ~0ull);
    ck_assert_uint_eq(ireg(0, IMSIC_FILE_S, 0xc0), ~1ull);
    set_ireg(0, IMSIC_FILE_S, 0xff - 1, ~0ull);
    ck_assert_uint_eq(ireg(0, IMSIC_FILE_S, 0xff - 1), 0);
    imsic_destroy(&s);
    ck_assert_ptr_null(fake.cpu[0].imsic);
}
END_TEST

/* Two groups of two harts. */
static struct imsic_bank bank;
static struct imsic *imsics[FAKE_HARTS];

static void bank_create(void)
{
    bank = (struct imsic_bank){.file = IMSIC_FILE_S, .num_groups = 2, .group_shift = 24, .harts_of = {2, 2}};
    for (unsigned h = 0; h < FAKE_HARTS; h++) {
        imsics[h] = bank.imsic[h] = imsic_create(&fake.cpu[h]);
        set_ireg(h, IMSIC_FILE_S, 0x70, 1);
        set_ireg(h, IMSIC_FILE_S, 0xc0, ~0ull);
    }
}

static void bank_destroy(void)
{
    for (unsigned h = 0; h < FAKE_HARTS; h++) {
        imsic_destroy(&imsics[h]);
    }
}

START_TEST(imsic_pages)
{
    fake_reset();
    bank_create();
    dev_write(&imsic_bank_ops, &bank, 0x1001000, 9, 4); /* group 1, hart 1 */
    ck_assert_uint_eq(topei(3, IMSIC_FILE_S), 9u << 16 | 9);
    dev_write(&imsic_bank_ops, &bank, 0x1004, __builtin_bswap32(12), 4);
    ck_assert_uint_eq(topei(1, IMSIC_FILE_S), 12u << 16 | 12);
    dev_write(&imsic_bank_ops, &bank, 0x2000, 9, 4); /* no third hart in a group */
    dev_write(&imsic_bank_ops, &bank, 0x2000000, 9, 4);
    ck_assert_ptr_null(imsic_bank_find(&bank, 0x2000));
    ck_assert_ptr_null(imsic_bank_find(&bank, ~0ull));
    ck_assert_uint_eq(MIP(0) | MIP(2), 0);
    bank_destroy();
}
END_TEST

/* ---- APLIC ---- */

static void send(void *opaque, uint64_t gpa, uint32_t value)
{
    struct imsic *s = gpa >= 0x28000000 ? imsic_bank_find(&bank, gpa - 0x28000000) : NULL;
    ck_assert_ptr_nonnull(s);
    imsic_send(s, IMSIC_FILE_S, value);
}

static struct aplic *root, *child;

static void aplic_pair(bool msi)
{
    struct aplic_config c = {.machine_level = true,
                             .msi = msi,
                             .harts = fake.cpus,
                             .num_harts = FAKE_HARTS,
                             .num_sources = 96,
                             .send = send};
    fake_reset();
    root = aplic_create(&c);
    c.machine_level = false;
    c.parent = root;
    child = aplic_create(&c);
}

static void aplic_pair_destroy(void)
{
    aplic_destroy(&child);
    aplic_destroy(&root);
}

static void awr(struct aplic *a, uint64_t off, uint32_t v)
{
    dev_write(&aplic_ops, a, off, v, 4);
}

static uint32_t ard(struct aplic *a, uint64_t off)
{
    return (uint32_t)dev_read(&aplic_ops, a, off, 4);
}

START_TEST(aplic_direct)
{
    aplic_pair(false);
    /* Not delegated: the child's registers are zero and stay so. */
    awr(child, 4 * 10, 6);
    ck_assert_uint_eq(ard(child, 4 * 10), 0);
    aplic_delegate_all(root, 0, 0, 0, 0, 24);
    ck_assert_uint_eq(ard(root, 4 * 10), 1u << 10);
    awr(child, 4 * 10, 6);                     /* level, active high */
    awr(child, 4 * 11, 4);                     /* rising edge */
    awr(child, 0x3004 + 4 * 9, 1u << 18 | 3);  /* source 10 to hart 1, priority 3 */
    awr(child, 0x3004 + 4 * 10, 1u << 18 | 2); /* source 11 to hart 1, priority 2 */
    awr(child, 0x1e00, 1u << 10 | 1u << 11);   /* enable */
    awr(child, 0x4000 + 32, 1);                /* idelivery of hart 1 */
    aplic_set_irq(root, 10, true);
    ck_assert_uint_eq(MIP(1), 0);
    awr(child, 0, 1u << 8);
    ck_assert_uint_eq(ard(child, 0), 0x80000100);
    ck_assert_uint_eq(MIP(1), BIT(IRQ_SEI));
    ck_assert_uint_eq(ard(child, 0x4000 + 32 + 0x1c), 10u << 16 | 3);
    ck_assert_uint_eq(MIP(1), BIT(IRQ_SEI)); /* a level source stays pending while its input is active */
    aplic_set_irq(root, 11, true);
    aplic_set_irq(root, 11, false);
    ck_assert_uint_eq(ard(child, 0x4000 + 32 + 0x18), 11u << 16 | 2);
    ck_assert_uint_eq(ard(child, 0x4000 + 32 + 0x1c), 11u << 16 | 2); /* edge: claimed */
    awr(child, 0x4000 + 32 + 8, 3);                                   /* threshold 3 masks priority 3 */
    ck_assert_uint_eq(MIP(1), 0);
    awr(child, 0x4000 + 32 + 8, 0);
    aplic_set_irq(root, 10, false);
    ck_assert_uint_eq(MIP(1), 0);
    awr(child, 0x4000 + 32 + 4, 1); /* iforce */
    ck_assert_uint_eq(MIP(1), BIT(IRQ_SEI));
    ck_assert_uint_eq(ard(child, 0x4000 + 32 + 0x1c), 0);
    ck_assert_uint_eq(MIP(1), 0);
    /* Taking a source back from the child clears it there. */
    awr(root, 4 * 10, 6);
    ck_assert_uint_eq(ard(child, 4 * 10), 0);
    ck_assert_uint_eq(ard(child, 0x1e00), 1u << 11);
    aplic_pair_destroy();
}
END_TEST

START_TEST(aplic_msi)
{
    aplic_pair(true);
    bank_create();
    aplic_delegate_all(root, 0x24000000, 0x28000000, 1, 1, 24);
    awr(root, 0x1bc8, 1); /* locked */
    ck_assert_uint_eq(ard(root, 0x1bc8), 0x28000);
    ck_assert_uint_eq(ard(child, 0x1bc8), 0);
    ck_assert_uint_eq(ard(child, 0), 0x80000004);
    awr(child, 0, 1u << 8);
    awr(child, 4 * 10, 6);
    awr(child, 0x3004 + 4 * 9, 3u << 18 | 33); /* hart index 3 = group 1, hart 1 */
    awr(child, 0x1edc, 10);
    aplic_set_irq(root, 10, true);
    ck_assert_uint_eq(ireg(3, IMSIC_FILE_S, 0x80), BIT(33));
    ck_assert_uint_eq(ard(child, 0x1c00), 0); /* sent: no longer pending */
    port(3)->ops->claim(port(3)->opaque, IMSIC_FILE_S, 33u << 16);
    awr(child, 0x2000, 10); /* setipnum_le at the end of a handler: the input is still active */
    ck_assert_uint_eq(ireg(3, IMSIC_FILE_S, 0x80), BIT(33));
    port(3)->ops->claim(port(3)->opaque, IMSIC_FILE_S, 33u << 16);
    aplic_set_irq(root, 10, false);
    awr(child, 0x2000, 10);
    ck_assert_uint_eq(ireg(3, IMSIC_FILE_S, 0x80), 0);
    awr(child, 0x3000, 2u << 18 | 50); /* genmsi */
    ck_assert_uint_eq(ireg(2, IMSIC_FILE_S, 0x80), BIT(50));
    awr(child, 4 * 12, 1); /* detached: only software makes it pending */
    awr(child, 0x3004 + 4 * 11, 7);
    awr(child, 0x1edc, 12);
    aplic_set_irq(root, 12, true);
    ck_assert_uint_eq(ireg(0, IMSIC_FILE_S, 0x80), 0);
    awr(child, 0x2004, __builtin_bswap32(12));
    ck_assert_uint_eq(ireg(0, IMSIC_FILE_S, 0x80), BIT(7));
    bank_destroy();
    aplic_pair_destroy();
}
END_TEST

START_TEST(aplic_survives_any_register)
{
    for (int msi = 0; msi < 2; msi++) {
        aplic_pair(msi);
        bank_create();
        aplic_delegate_all(root, 0x24000000, 0x28000000, 1, 1, 24);
        srand(1);
        for (unsigned i = 0; i < 200000; i++) {
            struct aplic *a = rand() & 1 ? root : child;
            uint64_t off = (uint64_t)(rand() % APLIC_REG_SIZE) & ~3ull;
            /* Messages only where an IMSIC is: genmsi and targets name harts 0..3, the root sends none. */
            uint32_t v = (uint32_t)rand() & (off >= 0x3000 && off < 0x4000 ? 0x000c07ff : 0xffffffff);
            if (a == root && (off == 0x3000 || off == 0)) {
                continue;
            }
            awr(a, off, v);
            ard(a, off);
            aplic_set_irq(root, 1 + (unsigned)rand() % 96, rand() & 1);
        }
        bank_destroy();
        aplic_pair_destroy();
    }
}
END_TEST

/* ---- RTC and test finisher ---- */

START_TEST(rtc_time_and_alarm)
{
    fake_reset();
    struct rtc *r = rtc_create(NULL, fake_line(), NULL, NULL, 1);
    uint64_t lo = dev_read(&rtc_ops, r, 0, 4), t = dev_read(&rtc_ops, r, 4, 4) << 32 | lo;
    ck_assert_int_le(llabs((long long)(t / 1000000000) - (long long)time(NULL)), 1);
    /* Setting the clock: high, then low. */
    uint64_t set = 1000000000ull * 86400 * 365;
    dev_write(&rtc_ops, r, 4, set >> 32, 4);
    dev_write(&rtc_ops, r, 0, set & 0xffffffff, 4);
    lo = dev_read(&rtc_ops, r, 0, 4);
    t = dev_read(&rtc_ops, r, 4, 4) << 32 | lo;
    ck_assert_uint_ge(t, set);
    ck_assert_uint_lt(t, set + 1000000000ull);
    /* An alarm in an hour rings when the timer does, not before. */
    uint64_t at = t + 3600ull * 1000000000;
    dev_write(&rtc_ops, r, 0x10, 1, 4);
    dev_write(&rtc_ops, r, 0x0c, at >> 32, 4);
    dev_write(&rtc_ops, r, 0x08, at & 0xffffffff, 4);
    fake_loop_turn();
    ck_assert(!fake.level);
    ck_assert_uint_eq(dev_read(&rtc_ops, r, 0x18, 4), 1);
    /* One in the past rings at once. */
    dev_write(&rtc_ops, r, 0x0c, 0, 4);
    dev_write(&rtc_ops, r, 0x08, 5, 4);
    fake_loop_turn();
    ck_assert(fake.level);
    ck_assert_uint_eq(dev_read(&rtc_ops, r, 0x18, 4), 0);
    dev_write(&rtc_ops, r, 0x1c, 1, 4);
    ck_assert(!fake.level);
    rtc_destroy(&r);
}
END_TEST

static uint64_t slow_wall_ns(void *opaque)
{
    return *(const uint64_t *)opaque;
}

static void set_alarm(struct rtc *r, uint64_t at)
{
    dev_write(&rtc_ops, r, 0x0c, at >> 32, 4);
    dev_write(&rtc_ops, r, 0x08, at & 0xffffffff, 4);
    fake_loop_turn();
}

/* A clock ten times slower than the host's: so is what an alarm waits for. */
START_TEST(rtc_dilated)
{
    const uint64_t second = 1000000000;
    uint64_t date = 1700000000 * second, at = date + 3 * second;
    fake_reset();
    struct rtc *r = rtc_create(NULL, fake_line(), slow_wall_ns, &date, 10);
    dev_write(&rtc_ops, r, 0x10, 1, 4);
    set_alarm(r, at);
    fake.now_ns += 30 * second - 1; /* the date is not looked at before that */
    date = at;
    fake_loop_turn();
    ck_assert(!fake.level);
    fake.now_ns += 1;
    date = at - 100; /* stands still just before, as in a machine that is paused: no turn without end */
    fake_loop_turn();
    ck_assert(!fake.level);
    date = at;
    fake.now_ns += second;
    fake_loop_turn();
    ck_assert(fake.level);
    dev_write(&rtc_ops, r, 0x1c, 1, 4);
    /* Ages away, more than 64 bits of the host's nanoseconds: it neither rings nor keeps the loop busy. */
    set_alarm(r, UINT64_MAX);
    fake.now_ns += 1000000 * second;
    fake_loop_turn();
    ck_assert(!fake.level);
    ck_assert_uint_eq(dev_read(&rtc_ops, r, 0x18, 4), 1);
    rtc_destroy(&r);
}
END_TEST

START_TEST(finisher)
{
    fake_reset();
    dev_write(&syscon_ops, NULL, 0, 0x5555, 4);
    ck_assert_int_eq(fake.shutdowns, 1);
    ck_assert_int_eq(fake.last_status, 0);
    dev_write(&syscon_ops, NULL, 0, 7 << 16 | 0x3333, 4);
    ck_assert_int_eq(fake.last_status, 7);
    dev_write(&syscon_ops, NULL, 0, 0x7777, 2);
    ck_assert_int_eq(fake.resets, 1);
    dev_write(&syscon_ops, NULL, 0, 0x1234, 4);
    dev_write(&syscon_ops, NULL, 4, 0x5555, 4);
    ck_assert_int_eq(fake.shutdowns, 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("irq");
    TCase *t = tcase_create("plic");
    tcase_add_checked_fixture(t, plic_setup, plic_teardown);
    tcase_add_test(t, plic_claim_and_complete);
    tcase_add_test(t, plic_priority_threshold_and_order);
    tcase_add_test(t, plic_ignores_what_does_not_exist);
    suite_add_tcase(s, t);
    t = tcase_create("others");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, aclint_registers);
    tcase_add_test(t, imsic_delivery);
    tcase_add_test(t, imsic_pages);
    tcase_add_test(t, aplic_direct);
    tcase_add_test(t, aplic_msi);
    tcase_add_test(t, aplic_survives_any_register);
    tcase_add_test(t, rtc_time_and_alarm);
    tcase_add_test(t, rtc_dilated);
    tcase_add_test(t, finisher);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
