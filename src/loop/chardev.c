/*
 * The part that all back ends share: the queue to the peer, the bytes typed ahead, and what the loop watches.
 *
 * A guest writes byte by byte. Bytes gather until a line ends, enough have come, or a millisecond has passed, so that
 * a console costs a system call per line.
 */
#include "chardev_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "weft/log.h"

/* ---- watching ---- */

static void on_ready(void *opaque, unsigned events);

static void hangup(struct chardev *c)
{
    if (c->kind == SERIAL_UNIX) {
        unix_hangup(c);
    } else if (c->kind == SERIAL_PTY) {
        pty_hangup(c);
    } else {
        /* A closed pipe: output goes nowhere from now on. */
        if (c->watched_out) {
            loop_fd(c->loop, c->out_fd, 0, NULL, NULL);
            c->watched_out = 0;
        }
        if (c->out_fd > STDERR_FILENO) {
            close(c->out_fd);
        }
        c->out_fd = -1;
    }
}

void chardev_update(struct chardev *c)
{
    unsigned in = c->in_fd >= 0 && !c->in_eof && c->in_len < CHARDEV_IN_SIZE ? LOOP_READ : 0;
    unsigned out = c->out_fd >= 0 && c->want_out ? LOOP_WRITE : 0;
    if (c->in_fd >= 0 && c->in_fd == c->out_fd) {
        in |= out;
        out = 0;
    }
    if (c->in_fd >= 0 && in != c->watched_in) {
        int r = loop_fd(c->loop, c->in_fd, in, on_ready, c);
        c->watched_in = r == 0 ? in : 0;
    }
    if (c->out_fd >= 0 && c->out_fd != c->in_fd && out != c->watched_out) {
        int r = loop_fd(c->loop, c->out_fd, out, on_ready, c);
        c->watched_out = r == 0 ? out : 0;
    }
}

void chardev_set_fd(struct chardev *c, int fd)
{
    if (c->in_fd >= 0 && c->watched_in) {
        loop_fd(c->loop, c->in_fd, 0, NULL, NULL);
    }
    if (c->out_fd >= 0 && c->watched_out) {
        loop_fd(c->loop, c->out_fd, 0, NULL, NULL);
    }
    c->watched_in = c->watched_out = 0;
    c->want_out = false;
    c->out_start = c->out_len = 0;
    c->in_fd = c->out_fd = fd;
    chardev_update(c);
}

/* ---- input ---- */

static void deliver(struct chardev *c)
{
    while (c->in_len > 0 && c->fe && c->fe->receive) {
        unsigned room = c->fe->can_receive ? c->fe->can_receive(c->fe_opaque) : c->in_len;
        unsigned n = room < c->in_len ? room : c->in_len;
        if (n == 0) {
            break;
        }
        /* The device may call chardev_accept_input from receive: the bytes leave the buffer first. */
        uint8_t piece[64];
        n = n < sizeof(piece) ? n : (unsigned)sizeof(piece);
        memcpy(piece, c->in, n);
        c->in_len -= n;
        memmove(c->in, c->in + n, c->in_len);
        c->fe->receive(c->fe_opaque, piece, n);
    }
}

static void read_input(struct chardev *c)
{
    uint8_t buf[512];
    size_t room = CHARDEV_IN_SIZE - c->in_len;
    ssize_t n = read(c->in_fd, buf, room < sizeof(buf) ? room : sizeof(buf));
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        if (c->kind == SERIAL_STDIO) {
            c->in_eof = true;
            chardev_update(c);
        } else {
            hangup(c);
        }
        return;
    }
    unsigned len = (unsigned)n;
    if (c->kind == SERIAL_STDIO) {
        len = stdio_filter(c, buf, len);
    }
    memcpy(c->in + c->in_len, buf, len);
    c->in_len += len;
    deliver(c);
    chardev_update(c);
}

void chardev_accept_input(struct chardev *c)
{
    if (c->in_len > 0) {
        deliver(c);
        chardev_update(c);
    }
}

void chardev_set_frontend(struct chardev *c, const struct chardev_frontend *fe, void *opaque)
{
    c->fe = fe;
    c->fe_opaque = opaque;
    chardev_accept_input(c);
}

/* ---- output ---- */

/* One attempt that does not block. Returns bytes taken, 0 when the peer takes none now, or -errno. */
static ssize_t write_some(struct chardev *c, const uint8_t *buf, size_t len)
{
    ssize_t n;
    do {
        if (c->out_socket) {
            n = send(c->out_fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        } else if (c->out_careful) {
            struct pollfd p = {.fd = c->out_fd, .events = POLLOUT};
            if (poll(&p, 1, 0) <= 0) {
                return 0;
            }
            n = write(c->out_fd, buf, len < 256 ? len : 256);
        } else {
            n = write(c->out_fd, buf, len);
        }
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN ? 0 : -errno;
    }
    return n;
}

/* Writes what the peer takes. Returns false when it is gone. */
static bool flush(struct chardev *c)
{
    while (c->out_len > 0 && c->out_fd >= 0) {
        ssize_t n = write_some(c, c->out + c->out_start, c->out_len);
        if (n < 0) {
            c->out_start = c->out_len = 0;
            c->want_out = false;
            hangup(c);
            return false;
        }
        if (n == 0) {
            break;
        }
        c->out_start += (size_t)n;
        c->out_len -= (size_t)n;
    }
    if (c->out_len == 0) {
        c->out_start = 0;
    }
    c->want_out = c->out_len > 0;
    chardev_update(c);
    return true;
}

static void on_flush_timer(void *opaque)
{
    struct chardev *c = opaque;
    c->flush_armed = false;
    if (!c->want_out) {
        flush(c);
    }
}

static void on_ready(void *opaque, unsigned events)
{
    struct chardev *c = opaque;
    if ((events & LOOP_WRITE) && !flush(c)) {
        return;
    }
    if ((events & LOOP_READ) && c->in_fd >= 0 && !c->in_eof && c->in_len < CHARDEV_IN_SIZE) {
        read_input(c);
    }
}

/* Makes room for len more bytes behind the queued ones; false when that passes the limit. */
static bool reserve(struct chardev *c, size_t len)
{
    if (c->out_len + len > CHARDEV_OUT_LIMIT) {
        return false;
    }
    if (c->out_start + c->out_len + len <= c->out_room) {
        return true;
    }
    if (c->out_start > 0) {
        memmove(c->out, c->out + c->out_start, c->out_len);
        c->out_start = 0;
    }
    if (c->out_len + len > c->out_room) {
        size_t room = c->out_room ? c->out_room : 4096;
        while (room < c->out_len + len) {
            room *= 2;
        }
        uint8_t *out = realloc(c->out, room);
        if (!out) {
            return false;
        }
        c->out = out;
        c->out_room = room;
    }
    return true;
}

void chardev_write(struct chardev *c, const uint8_t *buf, unsigned len)
{
    if (c->out_fd < 0 || len == 0) {
        return; /* nobody there: as a serial line with nothing plugged in */
    }
    if (!reserve(c, len)) {
        c->lost += len;
        return;
    }
    memcpy(c->out + c->out_start + c->out_len, buf, len);
    c->out_len += len;
    if (c->want_out) {
        return; /* the loop goes on when the peer takes more */
    }
    if (c->out_len >= CHARDEV_OUT_BATCH || memchr(buf, '\n', len)) {
        flush(c);
    } else if (!c->flush_armed) {
        c->flush_armed = true;
        loop_timer_arm(c->flush_timer, loop_now_ns() + CHARDEV_OUT_DELAY_NS);
    }
}

unsigned chardev_write_room(const struct chardev *c)
{
    if (c->out_fd < 0) {
        return UINT_MAX;
    }
    return c->out_len < CHARDEV_OUT_HIGH ? (unsigned)(CHARDEV_OUT_HIGH - c->out_len) : 0;
}

/* ---- life ---- */

static bool file_open(struct chardev *c, const char *path, struct error *err)
{
    c->out_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0644);
    if (c->out_fd < 0) {
        return error_set_errno(err, errno, "-serial file:%s: cannot write that file; name one in a writable directory",
                               path);
    }
    return true;
}

struct chardev *chardev_create(struct loop *loop, enum serial_kind kind, const char *path, void (*quit)(void *opaque),
                               void *opaque, struct error *err)
{
    struct chardev *c = calloc(1, sizeof(*c));
    assert(c);
    c->loop = loop;
    c->kind = kind;
    c->quit = quit;
    c->quit_opaque = opaque;
    c->in_fd = c->out_fd = c->listen_fd = c->pty_fd = -1;
    c->flush_timer = loop_timer_create(loop, on_flush_timer, c);
    bool ok = true;
    switch (kind) {
    case SERIAL_STDIO:
        ok = stdio_open(c, err);
        break;
    case SERIAL_FILE:
        ok = file_open(c, path, err);
        break;
    case SERIAL_UNIX:
        ok = unix_open(c, path, err);
        break;
    case SERIAL_PTY:
        ok = pty_open(c, err);
        break;
    case SERIAL_NULL:
        break;
    }
    if (!ok) {
        chardev_destroy(&c);
        return NULL;
    }
    chardev_update(c);
    return c;
}

/* Waits for the peer as long as it goes on taking what is queued. Returns the bytes that it left. */
static size_t flush_at_end(struct chardev *c)
{
    size_t left = SIZE_MAX;
    uint64_t end = 0;
    while (flush(c) && c->out_len > 0 && c->out_fd >= 0) {
        uint64_t now = loop_now_ns();
        if (c->out_len < left) {
            left = c->out_len;
            end = now + CHARDEV_END_NS;
        } else if (now >= end) {
            return left;
        } else {
            usleep(1000); /* a stopped terminal says that it is ready and takes nothing */
        }
        struct pollfd p = {.fd = c->out_fd, .events = POLLOUT};
        poll(&p, 1, (int)((end - now) / 1000000) + 1);
    }
    return 0;
}

void chardev_destroy(struct chardev **chardev)
{
    struct chardev *c = *chardev;
    if (!c) {
        return;
    }
    *chardev = NULL;
    size_t left = flush_at_end(c);
    int in = c->in_fd, out = c->out_fd;
    chardev_set_fd(c, -1);
    switch (c->kind) {
    case SERIAL_STDIO:
        stdio_close(c);
        if (out > STDERR_FILENO) {
            close(out);
        }
        break;
    case SERIAL_UNIX:
        if (in >= 0) {
            close(in);
        }
        unix_close(c);
        break;
    case SERIAL_PTY:
        if (c->pty_fd >= 0) {
            close(c->pty_fd);
        }
        break;
    default:
        if (out >= 0) {
            close(out);
        }
        break;
    }
    if (left) {
        log_warn("-serial: the last %zu bytes of console output were dropped because the reader took nothing for %u s",
                 left, (unsigned)(CHARDEV_END_NS / 1000000000));
    }
    if (c->lost) {
        log_warn("-serial: %llu bytes of console output were dropped because the reader did not take them",
                 (unsigned long long)c->lost);
    }
    loop_timer_destroy(&c->flush_timer);
    loop_timer_destroy(&c->hup_timer);
    free(c->out);
    free(c->path);
    free(c);
}
