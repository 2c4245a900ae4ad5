#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"

/* Register numbers and bits of the PC16550D. */
enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static struct uart *uart;

static uint8_t rd(unsigned reg)
{
    return (uint8_t)dev_read(&uart_ops, uart, reg, 1);
}

static void wr(unsigned reg, uint8_t value)
{
    dev_write(&uart_ops, uart, reg, value, 1);
}

static void setup(void)
{
    fake_reset();
    uart = uart_create(NULL, (struct chardev *)&fake, fake_line());
}

static void teardown(void)
{
    uart_destroy(&uart);
}

START_TEST(reset_values)
{
    ck_assert_uint_eq(rd(LSR), 0x60);
    ck_assert_uint_eq(rd(IIR), 0x01);
    ck_assert_uint_eq(rd(MSR) & 0xf0, 0xb0);
    wr(SCR, 0x5a);
    ck_assert_uint_eq(rd(SCR), 0x5a);
}
END_TEST

START_TEST(divisor_hides_behind_dlab)
{
    wr(LCR, 0x83);
    wr(RBR, 0x34);
    wr(IER, 0x12);
    ck_assert_uint_eq(rd(RBR), 0x34);
    ck_assert_uint_eq(rd(IER), 0x12);
    wr(LCR, 0x03);
    ck_assert_uint_eq(rd(IER), 0);
    fake_loop_turn();
    ck_assert_uint_eq(fake.out_len, 0);
}
END_TEST

START_TEST(output_is_batched_in_order)
{
    for (const char *p = "hello, world\n"; *p; p++) {
        ck_assert(rd(LSR) & 0x20);
        wr(RBR, (uint8_t)*p);
    }
    ck_assert_uint_eq(fake.out_len, 0);
    fake_loop_turn();
    ck_assert_str_eq(fake.out, "hello, world\n");
}
END_TEST

/* A guest that obeys THRE loses nothing, however slowly the loop turns. */
START_TEST(full_ring_takes_thre_away)
{
    unsigned sent = 0;
    wr(IIR, 0x01);
    wr(IER, 0x02);
    while (rd(LSR) & 0x20) {
        wr(RBR, (uint8_t)('a' + sent++ % 26));
        ck_assert_uint_lt(sent, 100000);
    }
    ck_assert_uint_gt(sent, 1000);
    fake_loop_turn();
    ck_assert_uint_eq(fake.out_len, sent);
    for (unsigned i = 0; i < sent; i++) {
        ck_assert_int_eq(fake.out[i], (int)('a' + i % 26));
    }
    ck_assert(rd(LSR) & 0x20);
    ck_assert_uint_eq(rd(IIR) & 0x0f, 0x02);
}
END_TEST

START_TEST(slow_reader_slows_the_guest)
{
    unsigned sent = 0;
    fake.stuck = true;
    while (rd(LSR) & 0x20) {
        wr(RBR, 'x');
        sent++;
        fake_loop_turn();
    }
    ck_assert_uint_eq(fake.out_len, 0);
    fake.now_ns += 10000000;
    fake_loop_turn();
    ck_assert(!(rd(LSR) & 0x20));
    fake.stuck = false;
    fake.now_ns += 10000000;
    fake_loop_turn();
    ck_assert_uint_eq(fake.out_len, sent);
    ck_assert(rd(LSR) & 0x20);
}
END_TEST

START_TEST(thre_interrupt_is_cleared_by_iir)
{
    ck_assert(!fake.level);
    wr(IER, 0x02);
    ck_assert(fake.level);
    ck_assert_uint_eq(rd(IIR) & 0x0f, 0x02);
    ck_assert(!fake.level);
    ck_assert_uint_eq(rd(IIR) & 0x0f, 0x01);
    wr(RBR, 'x');
    ck_assert(fake.level);
    wr(IER, 0x00);
    ck_assert(!fake.level);
}
END_TEST

START_TEST(receive_below_and_at_the_trigger)
{
    wr(IIR, 0x41); /* FIFO on, trigger 4 */
    wr(IER, 0x01);
    ck_assert_uint_eq(fake_input("ab", 2), 2);
    ck_assert(fake.level);
    ck_assert_uint_eq(rd(IIR) & 0x0f, 0x0c);
    ck_assert_uint_eq(fake_input("cd", 2), 2);
    ck_assert_uint_eq(rd(IIR) & 0x0f, 0x04);
    ck_assert_uint_eq(rd(RBR), 'a');
    ck_assert_uint_eq(rd(RBR), 'b');
    ck_assert_uint_eq(rd(RBR), 'c');
    ck_assert(rd(LSR) & 1);
    ck_assert_uint_eq(rd(RBR), 'd');
    ck_assert(!(rd(LSR) & 1));
    ck_assert(!fake.level);
    fake_loop_turn();
    ck_assert_uint_ge(fake.accepts, 1);
}
END_TEST

START_TEST(fifo_bounds_input)
{
    static const char text[] = "0123456789abcdefXYZ";
    ck_assert_uint_eq(fake_input(text, 19), 1); /* FIFO off: one byte */
    ck_assert_uint_eq(fake_input(text, 19), 0);
    wr(IIR, 0x01);
    ck_assert_uint_eq(fake_input(text, 19), 16);
    ck_assert_uint_eq(fake_input(text, 19), 0);
    wr(IIR, 0x03); /* clear */
    ck_assert(!(rd(LSR) & 1));
    ck_assert_uint_eq(fake_input(text, 19), 16);
}
END_TEST

START_TEST(loopback)
{
    wr(MCR, 0x10);
    rd(MSR);
    wr(MCR, 0x12); /* RTS comes back as CTS */
    ck_assert_uint_eq(rd(MSR), 0x11);
    ck_assert_uint_eq(rd(MSR), 0x10);
    wr(RBR, 0x77);
    ck_assert_uint_eq(rd(RBR), 0x77);
    fake_loop_turn();
    ck_assert_uint_eq(fake.out_len, 0);
}
END_TEST

START_TEST(console_shares_the_port)
{
    uint8_t buf[8];
    wr(RBR, '1');
    ck_assert_uint_eq(uart_console_write(uart, (const uint8_t *)"23", 2), 2);
    fake_loop_turn();
    ck_assert_str_eq(fake.out, "123");
    fake_input("q", 1);
    ck_assert_uint_eq(uart_console_read(uart, buf, 8), 1);
    ck_assert_uint_eq(buf[0], 'q');
    ck_assert_uint_eq(uart_console_read(uart, buf, 8), 0);
}
END_TEST

static unsigned recalls;

static void recall(void *opaque)
{
    ck_assert_ptr_eq(opaque, &recalls);
    recalls++;
}

START_TEST(the_transmitter_is_lent)
{
    recalls = 0;
    wr(RBR, '1');
    ck_assert(uart_lend(uart, recall, &recalls));
    ck_assert(!uart_lend(uart, recall, &recalls));
    uart_lent_write(uart, (const uint8_t *)"23", 2);
    fake_loop_turn();
    ck_assert_str_eq(fake.out, "123");
    ck_assert_uint_eq(recalls, 0);
    /* Input waits, and is why it is wanted back. */
    ck_assert_uint_eq(fake_input("q", 1), 0);
    ck_assert_uint_ge(recalls, 1);
    ck_assert_uint_eq(rd(LSR), 0x60);
    unsigned accepts = fake.accepts;
    uart_lent_back(uart);
    fake_loop_turn();
    ck_assert_uint_gt(fake.accepts, accepts);
    ck_assert_uint_eq(fake_input("q", 1), 1);
    ck_assert_uint_eq(rd(LSR), 0x61);
}
END_TEST

/* Only while LSR can say nothing but "empty", and what is written does nothing but go out. */
START_TEST(the_transmitter_is_not_lent)
{
    wr(LCR, 0x83);
    ck_assert(!uart_lend(uart, recall, &recalls));
    wr(LCR, 0x03);
    wr(MCR, 0x10);
    ck_assert(!uart_lend(uart, recall, &recalls));
    wr(MCR, 0);
    wr(IER, 2);
    ck_assert(!uart_lend(uart, recall, &recalls));
    wr(IER, 1);
    fake_input("q", 1);
    ck_assert(!uart_lend(uart, recall, &recalls));
    rd(RBR);
    fake.stuck = true;
    for (unsigned i = 0; i < 16384 - UART_LEND_BYTES; i++) {
        wr(RBR, 'x');
    }
    ck_assert_uint_eq(rd(LSR), 0x60);
    ck_assert(!uart_lend(uart, recall, &recalls));
    fake.stuck = false;
    uart_flush(uart);
    ck_assert(uart_lend(uart, recall, &recalls));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("uart");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, reset_values);
    tcase_add_test(t, divisor_hides_behind_dlab);
    tcase_add_test(t, output_is_batched_in_order);
    tcase_add_test(t, full_ring_takes_thre_away);
    tcase_add_test(t, slow_reader_slows_the_guest);
    tcase_add_test(t, thre_interrupt_is_cleared_by_iir);
    tcase_add_test(t, receive_below_and_at_the_trigger);
    tcase_add_test(t, fifo_bounds_input);
    tcase_add_test(t, loopback);
    tcase_add_test(t, console_shares_the_port);
    tcase_add_test(t, the_transmitter_is_lent);
    tcase_add_test(t, the_transmitter_is_not_lent);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
