/*
 * 16550A UART (PC16550D data sheet; register numbers of its table II).
 *
 * The transmitter takes bytes as fast as the guest writes them: they are gathered in a ring and a bottom half hands
 * them to the chardev in one piece. THRE goes away only while that ring is full, so a slow terminal slows the guest
 * down instead of losing output.
 */
#include "weft/devices.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { REG_DATA = UART_THR, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR = UART_LSR, REG_MSR, REG_SCR };
enum { IER_RX = 1, IER_THRE = 2, IER_LINE = 4, IER_MODEM = 8 };
enum { IIR_NONE = 1, IIR_MODEM = 0, IIR_THRE = 2, IIR_RX = 4, IIR_LINE = 6, IIR_TIMEOUT = 12, IIR_FIFO = 0xc0 };
enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4 };
enum { LCR_BREAK = 0x40, LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 16 };
enum { LSR_DR = 1, LSR_OE = 2, LSR_BI = 16, LSR_THRE = 32, LSR_TEMT = 64 };
enum { MSR_CTS = 16, MSR_DSR = 32, MSR_RI = 64, MSR_DCD = 128, MSR_DELTAS = 15 };
enum { RX_FIFO = 16, TX_RING = 16384, TX_ROOM_MIN = 16, RETRY_NS = 2000000 };
_Static_assert((int)UART_LSR_EMPTY == (LSR_THRE | LSR_TEMT), "nothing else");

struct uart {
    /* All under the BQL. */
    uint8_t ier, lcr, mcr, lsr, msr, scr, fcr;
    uint16_t divisor;
    bool thre_pending; /* the transmitter-empty interrupt was not yet seen */
    uint8_t rx[RX_FIFO];
    unsigned rx_head, rx_count;
    uint8_t tx[TX_RING];
    unsigned tx_head, tx_count;
    bool bh_pending, want_input;
    void (*recall)(void *opaque); /* not NULL: the transmitter is lent, and LSR says "empty" until it is back */
    void *recall_opaque;

    struct irq_line irq; /* (c) */
    struct chardev *console;
    struct loop_bh *bh;
    struct loop_timer *retry;
};

static unsigned rx_trigger(const struct uart *u)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* The interrupt of the highest priority (data sheet table IV), as IIR shows it. */
static uint8_t interrupt_id(const struct uart *u)
{
    if ((u->ier & IER_LINE) && (u->lsr & (LSR_OE | LSR_BI))) {
        return IIR_LINE;
    }
    if ((u->ier & IER_RX) && u->rx_count) {
        return u->rx_count >= rx_trigger(u) ? IIR_RX : IIR_TIMEOUT;
    }
    if ((u->ier & IER_THRE) && u->thre_pending) {
        return IIR_THRE;
    }
    if ((u->ier & IER_MODEM) && (u->msr & MSR_DELTAS)) {
        return IIR_MODEM;
    }
    return IIR_NONE;
}

static void update_irq(struct uart *u)
{
    irq_line_set(&u->irq, interrupt_id(u) != IIR_NONE);
}

static bool tx_has_room(const struct uart *u)
{
    return TX_RING - u->tx_count >= TX_ROOM_MIN;
}

static void schedule(struct uart *u)
{
    if (!u->bh_pending) {
        u->bh_pending = true;
        loop_bh_schedule(u->bh);
    }
}

static void rx_push(struct uart *u, uint8_t byte)
{
    unsigned room = u->fcr & FCR_ENABLE ? RX_FIFO : 1;
    if (u->rx_count >= room) {
        u->lsr |= LSR_OE;
        return;
    }
    u->rx[(u->rx_head + u->rx_count++) % RX_FIFO] = byte;
    u->lsr |= LSR_DR;
}

static uint8_t rx_pop(struct uart *u)
{
    if (u->rx_count == 0) {
        return 0;
    }
    uint8_t byte = u->rx[u->rx_head];
    u->rx_head = (u->rx_head + 1) % RX_FIFO;
    if (--u->rx_count == 0) {
        u->lsr &= (uint8_t)~LSR_DR;
        if (u->want_input) {
            schedule(u);
        }
    }
    return byte;
}

static void rx_clear(struct uart *u)
{
    u->rx_head = u->rx_count = 0;
    u->lsr &= (uint8_t) ~(LSR_DR | LSR_BI);
}

/* Hands the ring to the console, as much as `room` allows. */
static void drain(struct uart *u, unsigned room)
{
    while (u->tx_count && room) {
        unsigned n = TX_RING - u->tx_head;
        n = n < u->tx_count ? n : u->tx_count;
        n = n < room ? n : room;
        if (u->console) {
            chardev_write(u->console, u->tx + u->tx_head, n);
        }
        u->tx_head = (u->tx_head + n) % TX_RING;
        u->tx_count -= n;
        room -= n;
    }
    if (!(u->lsr & LSR_THRE) && u->tx_count <= TX_RING / 2) {
        u->lsr |= LSR_THRE | LSR_TEMT;
        u->thre_pending = true;
    }
}

static void tx_push(struct uart *u, uint8_t byte)
{
    u->thre_pending = true;
    if (u->mcr & MCR_LOOP) {
        rx_push(u, byte);
        return;
    }
    if (u->tx_count == TX_RING) {
        /* Written in spite of THRE being clear, as simple programs do: the console takes what it can at once. */
        drain(u, u->console ? chardev_write_room(u->console) : TX_RING);
    }
    if (u->tx_count == TX_RING) {
        return; /* the byte is lost, as on the chip */
    }
    u->tx[(u->tx_head + u->tx_count++) % TX_RING] = byte;
    if (!tx_has_room(u)) {
        u->lsr &= (uint8_t) ~(LSR_THRE | LSR_TEMT);
        u->thre_pending = false;
    }
    schedule(u);
}

void uart_flush(struct uart *u)
{
    drain(u, TX_RING);
}

static void bottom_half(void *opaque)
{
    struct uart *u = opaque;
    u->bh_pending = false;
    drain(u, u->console ? chardev_write_room(u->console) : TX_RING);
    if (u->tx_count) {
        loop_timer_arm(u->retry, loop_now_ns() + RETRY_NS); /* the reader is slow: the guest has to be, too */
    }
    if (u->want_input && u->rx_count == 0) {
        u->want_input = false;
        chardev_accept_input(u->console);
    }
    update_irq(u);
}

/* With MCR_LOOP the modem outputs come back as modem inputs (data sheet 8.6). */
static uint8_t modem_lines(const struct uart *u)
{
    if (!(u->mcr & MCR_LOOP)) {
        return MSR_CTS | MSR_DSR | MSR_DCD;
    }
    return (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) | (u->mcr & MCR_OUT1 ? MSR_RI : 0) |
           (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void update_modem(struct uart *u)
{
    uint8_t now = modem_lines(u), old = u->msr & 0xf0, changed = now ^ old;
    uint8_t delta = changed >> 4;
    if ((changed & MSR_RI) && (now & MSR_RI)) {
        delta &= (uint8_t)~4; /* TERI tells only of the trailing edge */
    }
    u->msr = now | (u->msr & MSR_DELTAS) | delta;
}

static uint64_t uart_read(void *opaque, uint64_t offset, unsigned size)
{
    struct uart *u = opaque;
    uint8_t v;
    switch (offset) {
    case REG_DATA:
        if (u->lcr & LCR_DLAB) {
            return u->divisor & 0xff;
        }
        v = rx_pop(u);
        break;
    case REG_IER:
        return u->lcr & LCR_DLAB ? u->divisor >> 8 : u->ier;
    case REG_IIR_FCR:
        v = interrupt_id(u);
        if (v == IIR_THRE) {
            u->thre_pending = false;
        }
        v |= u->fcr & FCR_ENABLE ? IIR_FIFO : 0;
        break;
    case REG_LCR:
        return u->lcr;
    case REG_MCR:
        return u->mcr;
    case REG_LSR:
        v = u->lsr;
        u->lsr &= (uint8_t) ~(LSR_OE | LSR_BI);
        break;
    case REG_MSR:
        v = u->msr;
        u->msr &= (uint8_t)~MSR_DELTAS;
        break;
    case REG_SCR:
        return u->scr;
    default:
        return 0;
    }
    update_irq(u);
    return v;
}

static void write_fcr(struct uart *u, uint8_t v)
{
    if ((v ^ u->fcr) & FCR_ENABLE) {
        rx_clear(u);
    } else if (v & FCR_CLEAR_RX) {
        rx_clear(u);
    }
    if (v & FCR_CLEAR_TX) {
        u->thre_pending = true;
    }
    u->fcr = v & (FCR_ENABLE | 0xc8);
    if (u->want_input && u->rx_count == 0) {
        schedule(u);
    }
}

static void uart_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct uart *u = opaque;
    uint8_t v = (uint8_t)value;
    switch (offset) {
    case REG_DATA:
        if (u->lcr & LCR_DLAB) {
            u->divisor = (u->divisor & 0xff00) | v;
        } else {
            tx_push(u, v);
        }
        break;
    case REG_IER:
        if (u->lcr & LCR_DLAB) {
            u->divisor = (uint16_t)((u->divisor & 0xff) | v << 8);
            break;
        }
        /* Enabling THRE while the transmitter is empty raises the interrupt at once. */
        if ((v & ~u->ier & IER_THRE) && (u->lsr & LSR_THRE)) {
            u->thre_pending = true;
        }
        u->ier = v & 0x0f;
        break;
    case REG_IIR_FCR:
        write_fcr(u, v);
        break;
    case REG_LCR:
        u->lcr = v;
        break;
    case REG_MCR:
        u->mcr = v & 0x1f;
        update_modem(u);
        break;
    case REG_SCR:
        u->scr = v;
        break;
    default:
        return;
    }
    update_irq(u);
}

const struct mmio_ops uart_ops = {.read = uart_read, .write = uart_write, .min_size = 1, .max_size = 1};

static unsigned can_receive(void *opaque)
{
    struct uart *u = opaque;
    if (u->mcr & MCR_LOOP) {
        return 0;
    }
    unsigned room = u->fcr & FCR_ENABLE ? RX_FIFO : 1;
    unsigned n = room > u->rx_count ? room - u->rx_count : 0;
    if (u->recall) {
        n = 0;
        u->recall(u->recall_opaque);
    }
    if (n == 0) {
        u->want_input = true;
    }
    return n;
}

static void receive(void *opaque, const uint8_t *buf, unsigned len)
{
    struct uart *u = opaque;
    for (unsigned i = 0; i < len; i++) {
        rx_push(u, buf[i]);
    }
    u->want_input = true;
    update_irq(u);
}

unsigned uart_console_write(struct uart *u, const uint8_t *buf, unsigned len)
{
    unsigned n = 0;
    while (n < len && u->tx_count < TX_RING - TX_ROOM_MIN) {
        u->tx[(u->tx_head + u->tx_count++) % TX_RING] = buf[n++];
    }
    schedule(u);
    return n;
}

unsigned uart_console_read(struct uart *u, uint8_t *buf, unsigned len)
{
    unsigned n = 0;
    while (n < len && u->rx_count) {
        buf[n++] = rx_pop(u);
    }
    update_irq(u);
    return n;
}

bool uart_lend(struct uart *u, void (*recall)(void *opaque), void *opaque)
{
    if (u->recall || u->rx_count || u->lsr != UART_LSR_EMPTY || u->ier & IER_THRE || u->lcr & LCR_DLAB ||
        u->mcr & MCR_LOOP || TX_RING - u->tx_count < UART_LEND_BYTES + TX_ROOM_MIN) {
        return false;
    }
    u->recall = recall;
    u->recall_opaque = opaque;
    return true;
}

void uart_lent_write(struct uart *u, const uint8_t *buf, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        tx_push(u, buf[i]);
    }
    update_irq(u);
}

void uart_lent_back(struct uart *u)
{
    u->recall = NULL;
    if (u->want_input) {
        schedule(u);
    }
}

struct uart *uart_create(struct loop *loop, struct chardev *console, struct irq_line irq)
{
    static const struct chardev_frontend fe = {.can_receive = can_receive, .receive = receive};
    struct uart *u = calloc(1, sizeof(*u));
    assert(u);
    u->irq = irq;
    u->console = console;
    u->bh = loop_bh_create(loop, bottom_half, u);
    u->retry = loop_timer_create(loop, bottom_half, u);
    uart_reset(u);
    if (console) {
        chardev_set_frontend(console, &fe, u);
    }
    return u;
}

void uart_reset(struct uart *u)
{
    uart_flush(u);
    u->ier = u->lcr = u->scr = u->fcr = 0;
    u->mcr = MCR_OUT2;
    u->divisor = 12;
    u->thre_pending = false;
    rx_clear(u);
    u->lsr = LSR_THRE | LSR_TEMT;
    u->msr = modem_lines(u);
    update_irq(u);
}

void uart_destroy(struct uart **pu)
{
    struct uart *u = *pu;
    if (!u) {
        return;
    }
    if (u->console) {
        chardev_set_frontend(u->console, NULL, NULL);
    }
    loop_bh_destroy(&u->bh);
    loop_timer_destroy(&u->retry);
    free(u);
    *pu = NULL;
}
