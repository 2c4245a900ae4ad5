/* What the back ends of character devices share. */
#ifndef WEFT_CHARDEV_INTERNAL_H
#define WEFT_CHARDEV_INTERNAL_H

#include <sys/types.h>
#include "weft/chardev.h"

enum {
    CHARDEV_IN_SIZE = 4096,          /* typed ahead while the device takes nothing */
    CHARDEV_OUT_LIMIT = 1024 * 1024, /* queued for a peer that does not read */
    CHARDEV_OUT_HIGH = 128 * 1024,   /* devices that can wait are told to from here on */
    CHARDEV_OUT_BATCH = 512,         /* written at once when so much has gathered */
    CHARDEV_OUT_DELAY_NS = 1000000,  /* how long a byte may gather */
};

/* How long the peer may take nothing at the machine's end before it is given up. */
#define CHARDEV_END_NS 5000000000ull

/* All fields: holder of the BQL (before the loop runs: its creator). */
struct chardev {
    struct loop *loop;
    enum serial_kind kind;
    void (*quit)(void *opaque);
    void *quit_opaque;
    const struct chardev_frontend *fe;
    void *fe_opaque;

    int in_fd, out_fd; /* -1: none (no peer); may be the same */
    bool out_socket;   /* write with send(MSG_DONTWAIT): the descriptor's own flags are left alone */
    bool out_careful;  /* a shared blocking descriptor: ask poll first, write little */
    bool in_eof;
    unsigned watched_in, watched_out; /* events asked of the loop on in_fd and, where it differs, on out_fd */
    bool want_out;                    /* the last write did not take everything */

    uint8_t in[CHARDEV_IN_SIZE];
    unsigned in_len;
    uint8_t *out; /* [out_start, out_start + out_len) is to be written */
    size_t out_start, out_len, out_room;
    uint64_t lost; /* bytes that found the queue full */
    struct loop_timer *flush_timer;
    bool flush_armed;

    bool escape;                  /* stdio: Ctrl-A was typed */
    int listen_fd;                /* unix server, else -1 */
    char *path;                   /* unix server: to unlink */
    int pty_fd;                   /* pty: the master, also while nobody has the slave open; else -1 */
    struct loop_timer *hup_timer; /* pty: looks whether somebody opened the slave again */
    bool restore_tty;
};

/* Brings what the loop watches in line with what can be read and written now. */
void chardev_update(struct chardev *c);
/* The peer is there (fd) or gone (-1): sets both directions. */
void chardev_set_fd(struct chardev *c, int fd);
/* Stdio: takes the escape sequences out of buf; returns what is left of len. */
unsigned stdio_filter(struct chardev *c, uint8_t *buf, unsigned len);

bool stdio_open(struct chardev *c, struct error *err);
void stdio_close(struct chardev *c);
bool unix_open(struct chardev *c, const char *spec, struct error *err);
/* The peer closed its end or failed. */
void unix_hangup(struct chardev *c);
void unix_close(struct chardev *c);
bool pty_open(struct chardev *c, struct error *err);
void pty_hangup(struct chardev *c);

#endif
