/* Console, power-off, strings. */
#include "bare.h"

#include <stdarg.h>

volatile uint32_t bare_go;

enum { UART_THR = 0, UART_LSR = 5, LSR_THRE = 0x20 };

void put_char(char c)
{
    volatile uint8_t *uart = (volatile uint8_t *)UART_BASE;
    while (!(uart[UART_LSR] & LSR_THRE)) {
    }
    uart[UART_THR] = (uint8_t)c;
}

void put_text(const char *s)
{
    while (*s) {
        put_char(*s++);
    }
}

void put_hex(uint64_t v, unsigned digits)
{
    while (digits--) {
        put_char("0123456789abcdef"[v >> (4 * digits) & 15]);
    }
}

void put_dec(uint64_t v)
{
    char buf[24];
    unsigned n = 0;
    do {
        buf[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    while (n) {
        put_char(buf[--n]);
    }
}

static unsigned hex_digits(uint64_t v)
{
    unsigned n = 1;
    while (v >>= 4) {
        n++;
    }
    return n;
}

void print(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    for (const char *p = format; *p; p++) {
        if (*p != '%') {
            put_char(*p);
            continue;
        }
        switch (*++p) {
        case 's':
            put_text(va_arg(ap, const char *));
            break;
        case 'u':
            put_dec(va_arg(ap, uint64_t));
            break;
        case 'x': {
            uint64_t v = va_arg(ap, uint64_t);
            put_hex(v, hex_digits(v));
            break;
        }
        case 'X':
            put_hex(va_arg(ap, uint64_t), 16);
            break;
        default:
            put_char(*p);
        }
    }
    va_end(ap);
}

void finish_with(int code)
{
    volatile uint32_t *finisher = (volatile uint32_t *)FINISHER_BASE;
    *finisher = code ? (uint32_t)code << 16 | 0x3333 : 0x5555;
    for (;;) {
        __asm__ volatile("wfi");
    }
}

void *memcpy(void *to, const void *from, size_t n)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((((uintptr_t)t | (uintptr_t)f) & 7) == 0) {
        for (; n >= 8; n -= 8, t += 8, f += 8) {
            *(uint64_t *)(void *)t = *(const uint64_t *)(const void *)f;
        }
    }
    while (n--) {
        *t++ = *f++;
    }
    return to;
}

void *memset(void *to, int c, size_t n)
{
    for (uint8_t *t = to; n--;) {
        *t++ = (uint8_t)c;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    for (; n--; x++, y++) {
        if (*x != *y) {
            return *x - *y;
        }
    }
    return 0;
}

uint64_t parse_number(const char **s)
{
    uint64_t v = 0;
    const char *p = *s;
    if (p[0] == '0' && p[1] == 'x') {
        for (p += 2;; p++) {
            unsigned d = *p >= '0' && *p <= '9' ? (unsigned)(*p - '0') : (unsigned)(*p | 32) - 'a' + 10;
            if (d > 15) {
                break;
            }
            v = v * 16 + d;
        }
    } else {
        for (; *p >= '0' && *p <= '9'; p++) {
            v = v * 10 + (uint64_t)(*p - '0');
        }
    }
    *s = p;
    return v;
}

const char *arg_text(const char *args, const char *key)
{
    for (const char *p = args; *p;) {
        const char *k = key;
        while (*k && *p == *k) {
            p++;
            k++;
        }
        if (!*k && *p == '=') {
            return p + 1;
        }
        while (*p && *p != ' ') {
            p++;
        }
        while (*p == ' ') {
            p++;
        }
    }
    return NULL;
}

uint64_t arg_number(const char *args, const char *key, uint64_t missing)
{
    const char *p = arg_text(args, key);
    return p ? parse_number(&p) : missing;
}
