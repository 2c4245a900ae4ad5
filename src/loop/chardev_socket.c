/*
 * unix:PATH[,server=on|off][,wait=on|off] and pty. Output while nobody is connected is dropped, as on a serial line
 * with nothing plugged in. One peer at a time; a server listens again when its peer has gone.
 */
#include "chardev_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>
#include "weft/log.h"

enum { PTY_LOOK_NS = 200000000 };

/* ---- unix ---- */

struct unix_options {
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    bool server, wait;
};

static bool on_off(const char *option, const char *value, bool *out, const char *spec, struct error *err)
{
    *out = !value || strcmp(value, "on") == 0;
    if (!*out && strcmp(value, "off") != 0) {
        return error_set(err, "-serial unix:%s: %s=%s is neither on nor off; write %s=on or %s=off", spec, option,
                         value, option, option);
    }
    return true;
}

static bool parse_unix(const char *spec, struct unix_options *o, struct error *err)
{
    char text[512];
    *o = (struct unix_options){.wait = true};
    if (strlen(spec) >= sizeof(text)) {
        return error_set(err, "-serial unix:%s: the path is too long; a socket's path has at most %zu characters", spec,
                         sizeof(o->path) - 1);
    }
    snprintf(text, sizeof(text), "%s", spec);
    char *rest = text;
    char *path = strsep(&rest, ",");
    if (strlen(path) == 0 || strlen(path) >= sizeof(o->path)) {
        return error_set(err, "-serial unix:%s: the path is %s; a socket's path has 1 to %zu characters", spec,
                         *path ? "too long" : "empty", sizeof(o->path) - 1);
    }
    snprintf(o->path, sizeof(o->path), "%s", path);
    while (rest) {
        char *value = strsep(&rest, ",");
        char *key = strsep(&value, "=");
        if (strcmp(key, "server") == 0) {
            if (!on_off(key, value, &o->server, spec, err)) {
                return false;
            }
        } else if (strcmp(key, "wait") == 0) {
            if (!on_off(key, value, &o->wait, spec, err)) {
                return false;
            }
        } else if (strcmp(key, "nowait") == 0 && !value) {
            o->wait = false;
        } else {
            return error_set(err, "-serial unix:%s: there is no option %s; unix takes server=on|off and wait=on|off",
                             spec, key);
        }
    }
    return true;
}

static void on_connection(void *opaque, unsigned events)
{
    struct chardev *c = opaque;
    int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return; /* the client has gone again */
    }
    loop_fd(c->loop, c->listen_fd, 0, NULL, NULL);
    chardev_set_fd(c, fd);
}

void unix_hangup(struct chardev *c)
{
    int fd = c->in_fd;
    chardev_set_fd(c, -1);
    if (fd >= 0) {
        close(fd);
    }
    if (c->listen_fd >= 0) {
        loop_fd(c->loop, c->listen_fd, LOOP_READ, on_connection, c);
    }
}

static bool listen_at(struct chardev *c, const struct sockaddr_un *addr, struct error *err)
{
    struct stat st;
    if (lstat(addr->sun_path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode)) {
            return error_set(err, "-serial unix:%s: that path exists and is no socket; choose another one",
                             addr->sun_path);
        }
        unlink(addr->sun_path); /* left behind by an earlier run */
    }
    c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->listen_fd < 0 || bind(c->listen_fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ||
        listen(c->listen_fd, 1) < 0) {
        return error_set_errno(err, errno, "-serial unix:%s: cannot listen there; name a path in a writable directory",
                               addr->sun_path);
    }
    c->path = strdup(addr->sun_path);
    return true;
}

bool unix_open(struct chardev *c, const char *spec, struct error *err)
{
    struct unix_options o;
    if (!parse_unix(spec, &o, err)) {
        return false;
    }
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    memcpy(addr.sun_path, o.path, sizeof(o.path));
    c->out_socket = true;
    if (!o.server) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
            error_set_errno(
                err, errno,
                "-serial unix:%s: cannot connect; start the listener first, or add server=on to listen here", o.path);
            if (fd >= 0) {
                close(fd);
            }
            return false;
        }
        fcntl(fd, F_SETFL, O_NONBLOCK);
        chardev_set_fd(c, fd);
        return true;
    }
    if (!listen_at(c, &addr, err)) {
        return false;
    }
    loop_fd(c->loop, c->listen_fd, LOOP_READ, on_connection, c);
    if (o.wait) {
        log_info("-serial: waiting for a connection on unix:%s (wait=off starts without)", o.path);
        while (c->in_fd < 0) {
            struct pollfd p = {.fd = c->listen_fd, .events = POLLIN};
            if (poll(&p, 1, -1) > 0) {
                on_connection(c, LOOP_READ);
            }
        }
    }
    return true;
}

void unix_close(struct chardev *c)
{
    if (c->listen_fd >= 0) {
        loop_fd(c->loop, c->listen_fd, 0, NULL, NULL);
        close(c->listen_fd);
    }
    if (c->path) {
        unlink(c->path);
    }
}

/* ---- pty ---- */

/* While nobody has the slave open, the master is in a permanent hang-up state that a loop must not watch. */
static void look_for_peer(void *opaque)
{
    struct chardev *c = opaque;
    struct pollfd p = {.fd = c->pty_fd, .events = 0};
    if (poll(&p, 1, 0) == 0) {
        chardev_set_fd(c, c->pty_fd);
    } else {
        loop_timer_arm(c->hup_timer, loop_now_ns() + PTY_LOOK_NS);
    }
}

void pty_hangup(struct chardev *c)
{
    chardev_set_fd(c, -1);
    loop_timer_arm(c->hup_timer, loop_now_ns() + PTY_LOOK_NS);
}

bool pty_open(struct chardev *c, struct error *err)
{
    char name[128];
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, name, sizeof(name)) != 0) {
        int errnum = errno;
        if (fd >= 0) {
            close(fd);
        }
        return error_set_errno(err, errnum,
                               "-serial pty: this system gives no pseudo-terminal; use -serial unix:PATH,server=on");
    }
    fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
    int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios t;
    if (slave >= 0 && tcgetattr(slave, &t) == 0) {
        cfmakeraw(&t);
        tcsetattr(slave, TCSANOW, &t);
    }
    if (slave >= 0) {
        close(slave);
    }
    log_info("-serial pty: the console is %s", name);
    c->pty_fd = fd;
    c->hup_timer = loop_timer_create(c->loop, look_for_peer, c);
    look_for_peer(c);
    return true;
}
