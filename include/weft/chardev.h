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
 * -nographic; restored at exit and on fatal signals.
 * `path`: the file; for a unix socket "PATH[,server=on|off][,wait=on|off]" as QEMU's, where a server that is to wait
 * blocks here until somebody connects; ignored by the others (may be NULL). A pty's name is printed. Returns NULL with
 * a sentence when the operator's path does not serve. Output with nobody connected is dropped. */
struct chardev *chardev_create(struct loop *loop, enum serial_kind kind, const char *path, void (*quit)(void *opaque),
                               void *opaque, struct error *err);
void chardev_set_frontend(struct chardev *c, const struct chardev_frontend *fe, void *opaque);
/* Never blocks. Bytes gather for at most a millisecond; beyond 1 MiB that the peer does not take they are dropped, and
 * the loss is reported at the end. */
void chardev_write(struct chardev *c, const uint8_t *buf, unsigned len);
/* How many bytes a device that can hold its output back should write now: none while much is queued for a slow reader,
 * without bound while nobody is there. */
unsigned chardev_write_room(const struct chardev *c);
/* The device can take input again. */
void chardev_accept_input(struct chardev *c);
/* Waits until the peer has what is queued, however slowly it reads; one that takes nothing for 5 s is given up, and the
 * loss is reported. */
void chardev_destroy(struct chardev **c);

#endif
