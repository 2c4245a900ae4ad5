/*
 * The little that the bare-metal test programs share: console, power-off, device tree, numbers. They run on the machine
 * `virt` of weft and of QEMU alike, in M mode (-bios none) or in S mode (-bios builtin).
 */
#ifndef BARE_H
#define BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UART_BASE 0x10000000ul
#define FINISHER_BASE 0x100000ul

/* Given by the program. */
int main_hart0(const void *fdt);
void main_other(unsigned long hart);

extern volatile uint32_t bare_go; /* set it to let the other harts in */
void bare_start_other(void);      /* entry for harts started by SBI */

/* ---- console (one hart at a time) ---- */
void put_char(char c);
void put_text(const char *s);
void put_hex(uint64_t v, unsigned digits);
void put_dec(uint64_t v);
/* %s %u %x (both 64-bit) %X (16 digits) %% only. */
void print(const char *format, ...);

/* Powers off; the emulator exits with `code`. */
void finish_with(int code) __attribute__((noreturn));

/* ---- device tree (devicetree specification 0.4, chapter 5) ---- */

/* One property. path is the node's, "/cpus/cpu@0". */
typedef void fdt_visitor(void *opaque, const char *path, const char *name, const void *value, unsigned size);
/* Calls `visit` for every property, in order. */
void fdt_visit(const void *fdt, fdt_visitor *visit, void *opaque);
uint32_t fdt_u32(const void *p);
uint64_t fdt_u64(const void *p);
/* Copies /chosen/bootargs; "" when there is none. */
void fdt_bootargs(const void *fdt, char *out, unsigned size);

/* ---- numbers and strings ---- */

/* The value of `key=` in args, or NULL; it ends at a space. */
const char *arg_text(const char *args, const char *key);
uint64_t arg_number(const char *args, const char *key, uint64_t missing);
uint64_t parse_number(const char **s);

static inline uint64_t rng_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* An SBI call (S mode); *value may be NULL. */
static inline long sbi(long extension, long function, long a, long b, long c, long *value)
{
    register long a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c;
    register long a6 __asm__("a6") = function, a7 __asm__("a7") = extension;
    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
    if (value) {
        *value = a1;
    }
    return a0;
}

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#define csr_read(name)                                                                                                 \
    ({                                                                                                                 \
        uint64_t v_;                                                                                                   \
        __asm__ volatile("csrr %0, " name : "=r"(v_)::"memory");                                                       \
        v_;                                                                                                            \
    })
#define csr_write(name, value) __asm__ volatile("csrw " name ", %0" ::"r"((uint64_t)(value)) : "memory")

#endif
