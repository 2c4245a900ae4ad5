/*
 * Character back ends of serial ports: stdio, file, unix socket, pty, null. Input and output go through the loop;
 * writes that would block are queued (bounded) and flushed when the fd takes them. Under the BQL.
 */
#ifndef WEFT_CHARDEV_H
#define WEFT_CHARDEV_H

#include "weft/config.h"
#include "weft/error.h"
#include "weft/loop.h"

struct chardev;

struct chardev_frontend {
    /* How many bytes the device can take now. */
    unsigned (*can_receive)(void *opaque);
    void (*receive)(void *opaque, const uint8_t *buf, unsigned len);
};

/* Stdio: raw terminal with Ctrl-A x to quit (calls quit), Ctrl-A h for help, Ctrl-A Ctrl-A for itself, as QEMU's
 * -nographic; restored at exit and on fatal signals. */
struct chardev *chardev_create(struct loop *loop, enum serial_kind kind, const char *path, void (*quit)(void *opaque),
                               void *opaque, struct error *err);
void chardev_set_frontend(struct chardev *c, const struct chardev_frontend *fe, void *opaque);
void chardev_write(struct chardev *c, const uint8_t *buf, unsigned len);
/* The device can take input again. */
void chardev_accept_input(struct chardev *c);
void chardev_destroy(struct chardev **c); /* flushes what is queued (bounded wait) */

#endif
