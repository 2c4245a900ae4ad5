/*
 * Devices of the boards: interrupt lines, interrupt controllers, UART, RTC, test finisher, virtio over MMIO.
 *
 * Each device is created by the machine, mapped by the machine on the bus with the ops it exports, and reset by the
 * machine. Register handlers run on vCPU threads under the BQL unless the ops say `lockless`; handlers of the event
 * loop run under the BQL as well. A device never arms a timer or touches a chardev from a vCPU thread: it schedules a
 * bottom half of its loop.
 */
#ifndef WEFT_DEVICES_H
#define WEFT_DEVICES_H

#include "weft/aia.h"
#include "weft/chardev.h"
#include "weft/cpu.h"
#include "weft/loop.h"
#include "weft/memory.h"

/* One interrupt wire. A line without a function is not connected. Under the BQL. */
struct irq_line {
    void (*set)(void *opaque, unsigned n, bool level);
    void *opaque;
    unsigned n;
};

static inline void irq_line_set(const struct irq_line *line, bool level)
{
    if (line->set) {
        line->set(line->opaque, line->n, level);
    }
}

/* ---- 16550A UART, byte registers (National Semiconductor PC16550D data sheet) ---- */

struct uart;
enum { UART_REG_SIZE = 0x100 };
extern const struct mmio_ops uart_ops; /* opaque: struct uart */
/* `console` may be NULL: output is dropped. The UART becomes the console's front end. Main loop thread. */
struct uart *uart_create(struct loop *loop, struct chardev *console, struct irq_line irq);
void uart_reset(struct uart *u);
/* Hands what is still buffered to the chardev (orderly end). Main loop thread. */
void uart_flush(struct uart *u);
/* The firmware's console (SBI) shares the port: puts as many bytes as there is room for, or takes received ones;
 * returns how many. Under the BQL. */
unsigned uart_console_write(struct uart *u, const uint8_t *buf, unsigned len);
unsigned uart_console_read(struct uart *u, uint8_t *buf, unsigned len);
/*
 * Lends the transmitter: whoever has it may write up to UART_LEND_BYTES bytes, and meanwhile each read of LSR would say
 * UART_LSR_EMPTY and change nothing. False where that cannot be promised now. Input waits; it, and nothing else here,
 * calls recall() (perhaps more than once) until the transmitter is back. Under the BQL, as are the calls below.
 */
enum { UART_THR = 0, UART_LSR = 5, UART_LSR_EMPTY = 0x60, UART_LEND_BYTES = 4096 };
bool uart_lend(struct uart *u, void (*recall)(void *opaque), void *opaque);
/* As so many writes to THR. */
void uart_lent_write(struct uart *u, const uint8_t *buf, unsigned len);
void uart_lent_back(struct uart *u);
void uart_destroy(struct uart **u);

/* ---- SiFive/RISC-V PLIC 1.0.0; contexts 2i = M mode of hart i, 2i + 1 = S mode ---- */

struct plic;
enum { PLIC_REG_SIZE = 0x600000, PLIC_MAX_SOURCES = 127 };
extern const struct mmio_ops plic_ops;
struct plic *plic_create(struct cpu *const *harts, unsigned num_harts, unsigned num_sources);
/* Level of source n (1..num_sources). */
void plic_set_irq(void *plic, unsigned n, bool level);
void plic_reset(struct plic *p);
void plic_destroy(struct plic **p);

/* ---- ACLINT 1.0-rc4: MSWI + MTIMER in the layout of the SiFive CLINT, and SSWI. Lockless. ---- */

struct aclint;
enum { ACLINT_REG_SIZE = 0x10000, ACLINT_SSWI_SIZE = 0x4000 };
extern const struct mmio_ops aclint_ops, aclint_sswi_ops; /* opaque of both: struct aclint */
struct aclint *aclint_create(struct machine *m, struct cpu *const *harts, unsigned num_harts);
void aclint_reset(struct aclint *a);
void aclint_destroy(struct aclint **a);

/* ---- IMSIC (AIA 1.0, chapter 3): an M-level and an S-level file for each hart. Lockless. ---- */

struct imsic;
enum { IMSIC_NUM_IDS = 255, IMSIC_PAGE_SIZE = 0x1000 };
/* Sets cpu->imsic. Any thread may send messages; the CSR side is the hart's own thread. */
struct imsic *imsic_create(struct cpu *cpu);
void imsic_reset(struct imsic *s);
void imsic_send(struct imsic *s, enum imsic_file file, uint32_t identity);
struct cpu *imsic_cpu(const struct imsic *s);
void imsic_destroy(struct imsic **s);

/* The pages of all interrupt files of one privilege level: hart h of group g lies at g << group_shift | h << 12. */
struct imsic_bank {
    enum imsic_file file;
    unsigned num_groups, group_shift, harts_of[WEFT_MAX_NODES];
    struct imsic *imsic[WEFT_MAX_HARTS]; /* in order of groups */
};
extern const struct mmio_ops imsic_bank_ops; /* opaque: struct imsic_bank */
/* The hart's IMSIC at this offset of the bank, or NULL. */
struct imsic *imsic_bank_find(const struct imsic_bank *b, uint64_t offset);

/* ---- APLIC (AIA 1.0, chapter 4): one domain; the root domain delegates to its child ---- */

struct aplic;
enum { APLIC_REG_SIZE = 0x8000 };
extern const struct mmio_ops aplic_ops;
struct aplic_config {
    struct aplic *parent; /* NULL: root domain */
    bool machine_level;   /* drives mip.MEIP, else SEIP */
    bool msi;             /* messages through `send`, else direct delivery to harts */
    struct cpu *const *harts;
    unsigned num_harts, num_sources;
    /* Delivers a message to a guest-physical address (an IMSIC page). */
    void (*send)(void *opaque, uint64_t gpa, uint32_t value);
    void *send_opaque;
};
struct aplic *aplic_create(const struct aplic_config *cfg);
void aplic_set_irq(void *root, unsigned n, bool level);
void aplic_reset(struct aplic *a);
/* What M-mode firmware does before it enters S mode: delegates all sources to the child and, with MSIs, tells where the
 * IMSICs are (AIA 1.0, 4.5.3 and 4.5.4). For -bios builtin, on the root domain. */
void aplic_delegate_all(struct aplic *root, uint64_t m_base, uint64_t s_base, unsigned hart_bits, unsigned group_bits,
                        unsigned group_shift);
void aplic_destroy(struct aplic **a);

/* ---- Goldfish RTC and the SiFive test finisher ---- */

struct rtc;
enum { RTC_REG_SIZE = 0x1000, SYSCON_REG_SIZE = 0x1000 };
extern const struct mmio_ops rtc_ops;
/* wall_ns: nanoseconds since the epoch; NULL = the host's clock. Each of them takes `dilation` nanoseconds of the host,
 * which are what an alarm waits for. */
struct rtc *rtc_create(struct loop *loop, struct irq_line irq, uint64_t (*wall_ns)(void *opaque), void *opaque,
                       unsigned dilation);
void rtc_reset(struct rtc *r);
void rtc_destroy(struct rtc **r);

extern const struct mmio_ops syscon_ops; /* opaque: struct machine */

/* ---- virtio 1.2 over MMIO (version 2) ---- */

struct virtio_mmio;
struct virtio_device;
enum { VIRTIO_MMIO_SIZE = 0x1000 };
extern const struct mmio_ops virtio_mmio_ops;
/* `dev` NULL: an empty slot (DeviceID 0). Takes dev. */
struct virtio_mmio *virtio_mmio_create(struct loop *loop, struct ram *ram, struct virtio_device *dev,
                                       struct irq_line irq);
void virtio_mmio_reset(struct virtio_mmio *v);
void virtio_mmio_destroy(struct virtio_mmio **v);

struct virtio_device *virtio_rng_create(void);
/* Becomes the chardev's front end. */
struct virtio_device *virtio_console_create(struct loop *loop, struct chardev *c);

#endif
