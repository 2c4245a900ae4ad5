/* The control socket for placement: one thread, one client at a time, a line in, a line of JSON out. */
#include "placement/internal.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 8192 };

struct control {
    struct placement *p;
    char path[108];
    int listener, stop; /* stop: an eventfd, readable when the thread is to end */
    pthread_t thread;
};

struct client {
    struct control *c;
    int fd;
    int percent; /* last told */
};

/* Waits for fd; false when the thread is to end. */
static bool readable(const struct control *c, int fd, int timeout_ms, bool *ready)
{
    struct pollfd f[2] = {{.fd = fd, .events = POLLIN}, {.fd = c->stop, .events = POLLIN}};
    *ready = poll(f, 2, timeout_ms) > 0 && f[0].revents != 0;
    return f[1].revents == 0;
}

static bool send_all(int fd, const char *text)
{
    size_t n = strlen(text);
    while (n > 0) {
        ssize_t w = send(fd, text, n, MSG_NOSIGNAL);
        if (w < 0 && errno == EINTR) {
            continue;
        }
        if (w <= 0) {
            return false;
        }
        text += w;
        n -= (size_t)w;
    }
    return true;
}

/* While pages move: tells each percent; a client that has hung up, or the end of the machine, cancels. */
static bool progress(void *arg, uint64_t done, uint64_t total)
{
    struct client *cl = arg;
    int percent = total > 0 ? (int)(done * 100 / total) : 100;
    bool ready;
    char byte;
    if (!readable(cl->c, cl->fd, 0, &ready) || (ready && recv(cl->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)) {
        return false;
    }
    if (percent == cl->percent) {
        return true;
    }
    char line[160];
    cl->percent = percent;
    snprintf(line, sizeof(line), "{\"progress\":{\"done_bytes\":%llu,\"total_bytes\":%llu}}\n",
             (unsigned long long)done, (unsigned long long)total);
    return send_all(cl->fd, line);
}

static bool line_answer(struct client *cl, const char *line)
{
    cl->percent = -1;
    char *reply = placement_command(cl->c->p, line, progress, cl);
    bool ok = reply != NULL && send_all(cl->fd, reply) && send_all(cl->fd, "\n");
    free(reply);
    return ok;
}

/* Serves one client until it hangs up. */
static void client_serve(struct control *c, int fd)
{
    struct client cl = {.c = c, .fd = fd};
    char buf[LINE_MAX_BYTES];
    size_t have = 0;
    bool ready;
    while (readable(c, fd, -1, &ready)) {
        ssize_t n = recv(fd, buf + have, sizeof(buf) - have, 0);
        if (n <= 0) {
            return;
        }
        have += (size_t)n;
        char *end;
        while ((end = memchr(buf, '\n', have)) != NULL) {
            *end = 0;
            if (end > buf && end[-1] == '\r') {
                end[-1] = 0;
            }
            if (!line_answer(&cl, buf)) {
                return;
            }
            size_t used = (size_t)(end + 1 - buf);
            memmove(buf, buf + used, have - used);
            have -= used;
        }
        if (have == sizeof(buf)) {
            send_all(fd, "{\"error\":\"the line is too long\",\"ok\":false}\n");
            return;
        }
    }
}

static void *control_run(void *arg)
{
    struct control *c = arg;
    bool ready;
    pthread_setname_np(pthread_self(), "placement");
    while (readable(c, c->listener, -1, &ready)) {
        int fd = ready ? accept4(c->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0) {
            client_serve(c, fd);
            close(fd);
        }
    }
    return NULL;
}

/* A socket that an earlier weft left behind is replaced; one that answers, or another kind of file, is not. */
static bool stale_remove(const char *path, const struct sockaddr_un *addr, struct error *err)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        return true;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool alive = fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0;
    if (fd >= 0) {
        close(fd);
    }
    if (!S_ISSOCK(st.st_mode) || alive) {
        return error_set(err, "--control %s: %s; name another file", path,
                         alive ? "another weft answers there" : "there is a file of that name that is no socket");
    }
    return unlink(path) == 0 || error_set_errno(err, errno, "--control %s: the old socket cannot be removed", path);
}

bool placement_control_open(struct placement *p, const char *path, struct error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    assert(p->control == NULL);
    if (strlen(path) >= sizeof(addr.sun_path)) {
        return error_set(err, "--control %s: the name of a socket can have at most %zu characters; use a shorter one",
                         path, sizeof(addr.sun_path) - 1);
    }
    memcpy(addr.sun_path, path, strlen(path) + 1);
    if (!stale_remove(path, &addr, err)) {
        return false;
    }
    struct control *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return error_set(err, "out of memory while opening the control socket");
    }
    c->p = p;
    memcpy(c->path, addr.sun_path, sizeof(c->path));
    c->stop = eventfd(0, EFD_CLOEXEC);
    c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    mode_t old = umask(0077); /* whoever may move this guest's pages is its owner */
    bool bound = c->stop >= 0 && c->listener >= 0 && bind(c->listener, (struct sockaddr *)&addr, sizeof(addr)) == 0;
    int e = errno;
    umask(old);
    if (bound && listen(c->listener, 8) == 0 && (e = pthread_create(&c->thread, NULL, control_run, c)) == 0) {
        p->control = c;
        return true;
    }
    if (bound) {
        unlink(path);
    }
    close(c->stop);
    close(c->listener);
    free(c);
    return error_set(err, "--control %s: the socket cannot be made: %s; name a new file in a writable directory", path,
                     strerror(e));
}

void placement_control_close(struct placement *p)
{
    struct control *c = p->control;
    if (c == NULL) {
        return;
    }
    uint64_t one = 1;
    ssize_t n = write(c->stop, &one, sizeof(one));
    assert(n == sizeof(one));
    pthread_join(c->thread, NULL);
    unlink(c->path);
    close(c->listener);
    close(c->stop);
    free(c);
    p->control = NULL;
}
