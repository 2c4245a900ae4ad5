/*
 * Standard input and output as the guest's console. The terminal goes raw (Ctrl-C belongs to the guest) and comes back
 * at exit, on fatal signals, and raw again after a stop and continue. The descriptors' own flags are never changed:
 * they are shared with the shell that started us, and with standard error.
 */
#include "chardev_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { CTRL_A = 1 };

static struct termios cooked, raw;
static atomic_bool is_raw;

/* A write to the terminal's settings from the background would stop us; blocking SIGTTOU allows it. */
static void set_terminal(const struct termios *t)
{
    sigset_t ttou, old;
    sigemptyset(&ttou);
    sigaddset(&ttou, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &ttou, &old);
    tcsetattr(STDIN_FILENO, TCSANOW, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void restore(void)
{
    if (atomic_exchange(&is_raw, false)) {
        set_terminal(&cooked);
    }
}

/* Signals that end us, with what was installed before. */
static const int fatal[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
enum { NUM_FATAL = sizeof(fatal) / sizeof(fatal[0]) };
static struct sigaction before[NUM_FATAL];

/* Restores the terminal, puts the earlier handler back and raises again: that then ends the process (or reports). */
static void on_fatal(int sig)
{
    restore();
    for (unsigned i = 0; i < NUM_FATAL; i++) {
        if (fatal[i] == sig) {
            sigaction(sig, &before[i], NULL);
        }
    }
    raise(sig);
}

static void on_continue(int sig)
{
    int saved = errno;
    if (atomic_load(&is_raw)) {
        set_terminal(&raw);
    }
    errno = saved;
}

/* Ending signals that somebody else handles already are left to them; faults are chained in any case. */
static void install_handlers(void)
{
    for (unsigned i = 0; i < NUM_FATAL; i++) {
        struct sigaction sa = {.sa_handler = on_fatal};
        sigemptyset(&sa.sa_mask);
        sigaction(fatal[i], NULL, &before[i]);
        bool by_default = !(before[i].sa_flags & SA_SIGINFO) && before[i].sa_handler == SIG_DFL;
        bool fault = fatal[i] == SIGSEGV || fatal[i] == SIGBUS || fatal[i] == SIGFPE || fatal[i] == SIGILL;
        if (by_default || fault) {
            sigaction(fatal[i], &sa, NULL);
        }
    }
    struct sigaction cont = {.sa_handler = on_continue, .sa_flags = SA_RESTART};
    sigemptyset(&cont.sa_mask);
    sigaction(SIGCONT, &cont, NULL);
}

static void go_raw(void)
{
    if (tcgetattr(STDIN_FILENO, &cooked) < 0) {
        return;
    }
    raw = cooked;
    raw.c_iflag &= (tcflag_t) ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_oflag |= OPOST;
    raw.c_lflag &= (tcflag_t) ~(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
    raw.c_cflag = (raw.c_cflag & (tcflag_t) ~(CSIZE | PARENB)) | CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    static bool installed;
    if (!installed) {
        installed = true;
        atexit(restore);
        install_handlers();
    }
    atomic_store(&is_raw, true);
    set_terminal(&raw);
}

/*
 * A way to write to standard output that never blocks: terminals and pipes are opened once more, which gives a
 * descriptor with flags of its own; sockets have a flag per call; files never block. Where the second open is refused
 * (a terminal of another user) each write asks first and is short.
 */
static void open_output(struct chardev *c)
{
    struct stat st;
    c->out_fd = STDOUT_FILENO;
    if (fstat(STDOUT_FILENO, &st) < 0) {
        c->out_fd = -1;
    } else if (S_ISSOCK(st.st_mode)) {
        c->out_socket = true;
    } else if (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)) {
        int fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0) {
            c->out_fd = fd;
        } else {
            c->out_careful = true;
        }
    }
}

bool stdio_open(struct chardev *c, struct error *err)
{
    /* A reader of our output that goes away is no reason to die in the middle of a write. */
    struct sigaction sa;
    if (sigaction(SIGPIPE, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL) {
        signal(SIGPIPE, SIG_IGN);
    }
    c->in_fd = fcntl(STDIN_FILENO, F_GETFL) < 0 ? -1 : STDIN_FILENO;
    open_output(c);
    if (isatty(STDIN_FILENO)) {
        go_raw();
        c->restore_tty = true;
    }
    return true;
}

void stdio_close(struct chardev *c)
{
    if (c->restore_tty) {
        restore();
    }
}

static void help(struct chardev *c)
{
    static const char text[] = "\r\n"
                               "Ctrl-A x       leave: the guest is switched off at once\r\n"
                               "Ctrl-A Ctrl-A  type Ctrl-A itself\r\n"
                               "Ctrl-A h       this list\r\n";
    chardev_write(c, (const uint8_t *)text, sizeof(text) - 1);
}

unsigned stdio_filter(struct chardev *c, uint8_t *buf, unsigned len)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < len; i++) {
        uint8_t ch = buf[i];
        if (!c->escape) {
            if (ch == CTRL_A) {
                c->escape = true;
            } else {
                buf[kept++] = ch;
            }
            continue;
        }
        c->escape = false;
        if (ch == CTRL_A) {
            buf[kept++] = ch;
        } else if (ch == 'x' || ch == 'X') {
            chardev_write(c, (const uint8_t *)"\r\n", 2);
            if (c->quit) {
                c->quit(c->quit_opaque);
            }
        } else if (ch == 'h' || ch == 'H' || ch == '?') {
            help(c);
        }
    }
    return kept;
}
