/* Back ends of the console, from both of their ends. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include "weft/chardev.h"

static struct loop *loop;
static char dir[] = "/tmp/weft-chardev-XXXXXX";
static char path[64];
static struct error err;

/* Longer than any host that is short of CPU makes us wait; only a failing test waits so long. */
#define LONG_NS 40000000000ull

/* A device that takes `room` bytes and keeps what it got. */
static char got[65536];
static unsigned got_len, room;

static unsigned can_receive(void *opaque)
{
    return room;
}

static void receive(void *opaque, const uint8_t *buf, unsigned len)
{
    ck_assert_uint_le(len, room);
    memcpy(got + got_len, buf, len);
    got_len += len;
    room -= len;
}

static const struct chardev_frontend frontend = {can_receive, receive};

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/c", dir);
    loop = loop_create("test", true);
    room = sizeof(got);
}

static void teardown(void)
{
    loop_destroy(&loop);
    unlink(path);
    rmdir(dir);
}

static void stop(void *opaque)
{
    loop_stop(loop);
}

static void run_for(unsigned ms)
{
    struct loop_timer *t = loop_timer_create(loop, stop, NULL);
    loop_timer_arm(t, loop_now_ns() + ms * 1000000ull);
    loop_run(loop);
    loop_timer_destroy(&t);
}

/* Until the device has got `len` bytes in all; it must not get more. */
static void run_until_got(unsigned len)
{
    uint64_t end = loop_now_ns() + LONG_NS;
    while (got_len < len && loop_now_ns() < end) {
        run_for(1);
    }
    ck_assert_uint_eq(got_len, len);
}

static void put(struct chardev *c, const char *text)
{
    chardev_write(c, (const uint8_t *)text, (unsigned)strlen(text));
}

static struct chardev *create(enum serial_kind kind, const char *spec)
{
    struct chardev *c = chardev_create(loop, kind, spec, stop, NULL, &err);
    ck_assert_msg(c != NULL, "%s", err.text);
    chardev_set_frontend(c, &frontend, NULL);
    return c;
}

/* Reads what is to come from fd, and lets the loop run while there is nothing. */
static void expect(int fd, const char *text)
{
    char buf[1024];
    size_t n = 0;
    uint64_t end = loop_now_ns() + LONG_NS;
    while (n < strlen(text)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 0) == 0) {
            ck_assert_msg(loop_now_ns() < end, "nothing came instead of %s", text);
            run_for(1);
            continue;
        }
        ssize_t r = read(fd, buf + n, strlen(text) - n);
        ck_assert_int_gt(r, 0);
        n += (size_t)r;
    }
    ck_assert_mem_eq(buf, text, n);
}

START_TEST(null_takes_all)
{
    struct chardev *c = create(SERIAL_NULL, NULL);
    put(c, "into the void\n");
    chardev_destroy(&c);
    ck_assert_ptr_null(c);
}
END_TEST

START_TEST(file_gets_all)
{
    struct chardev *c = create(SERIAL_FILE, path);
    for (unsigned i = 0; i < 3000; i++) {
        put(c, "x");
    }
    put(c, "end");
    chardev_destroy(&c);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq((int)st.st_size, 3003);
}
END_TEST

/* A byte does not wait for a line's end for long. */
START_TEST(prompt_without_newline)
{
    struct chardev *c = create(SERIAL_FILE, path);
    put(c, "login: ");
    run_for(20);
    int fd = open(path, O_RDONLY);
    expect(fd, "login: ");
    close(fd);
    chardev_destroy(&c);
}
END_TEST

START_TEST(wrong_paths)
{
    static const struct {
        enum serial_kind kind;
        const char *spec, *says;
    } row[] = {
        {SERIAL_FILE, "/nonexistent/x", "file:/nonexistent/x"},
        {SERIAL_UNIX, "/nonexistent/x,server=on,wait=off", "unix:/nonexistent/x"},
        {SERIAL_UNIX, "/nonexistent/x", "server=on"},
        {SERIAL_UNIX, "x,server=maybe", "server=maybe"},
        {SERIAL_UNIX, "x,sever=on", "sever"},
        {SERIAL_UNIX, "", "empty"},
        {SERIAL_UNIX, "/etc/passwd,server=on,wait=off", "no socket"},
    };
    struct error e = {0};
    ck_assert_ptr_null(chardev_create(loop, row[_i].kind, row[_i].spec, NULL, NULL, &e));
    ck_assert_msg(e.set && strstr(e.text, row[_i].says) && strncmp(e.text, "-serial ", 8) == 0, "%s", e.text);
}
END_TEST

static int connect_to(const char *where)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", where);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

START_TEST(unix_server)
{
    char spec[160];
    snprintf(spec, sizeof(spec), "%s,server=on,wait=off", path);
    struct chardev *c = create(SERIAL_UNIX, spec);
    put(c, "nobody hears this\n");
    for (unsigned i = 0; i < 3; i++) { /* clients come and go */
        int fd = connect_to(path);
        run_for(10);
        put(c, "hello\n");
        expect(fd, "hello\n");
        ck_assert_int_eq((int)write(fd, "abc", 3), 3);
        run_until_got(3 * (i + 1));
        close(fd);
        run_for(10);
        put(c, "nobody hears this either\n");
    }
    chardev_destroy(&c);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(unix_client_and_stale_socket)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    struct chardev *c = create(SERIAL_UNIX, path);
    int fd = accept(listener, NULL, NULL);
    put(c, "x\n");
    expect(fd, "x\n");
    chardev_destroy(&c);
    close(fd);
    close(listener); /* leaves the socket file behind */
    char spec[160];
    snprintf(spec, sizeof(spec), "%s,server,nowait", path);
    c = create(SERIAL_UNIX, spec);
    chardev_destroy(&c);
}
END_TEST

/* A peer that does not read: the writer goes on, the queue is bounded, and what it holds arrives in order. */
START_TEST(slow_reader)
{
    char spec[160], line[64];
    snprintf(spec, sizeof(spec), "%s,server=on,wait=off", path);
    struct chardev *c = create(SERIAL_UNIX, spec);
    int fd = connect_to(path);
    run_for(5);
    for (unsigned i = 0; i < 200000; i++) {
        snprintf(line, sizeof(line), "%09u\n", i);
        put(c, line);
    }
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(line, sizeof(line), "%09u\n", i);
        expect(fd, line);
    }
    close(fd);
    run_for(5);
    chardev_destroy(&c);
}
END_TEST

START_TEST(pty)
{
    int out[2];
    ck_assert_int_eq(pipe(out), 0);
    int saved = dup(2);
    dup2(out[1], 2);
    struct chardev *c = create(SERIAL_PTY, NULL);
    dup2(saved, 2);
    char text[256] = "";
    ck_assert_int_gt((int)read(out[0], text, sizeof(text) - 1), 0);
    char *name = strstr(text, "/dev/pts/");
    ck_assert_ptr_nonnull(name);
    name[strcspn(name, "\n")] = '\0';
    for (unsigned i = 0; i < 2; i++) {
        put(c, "nobody there\n");
        int fd = open(name, O_RDWR | O_NOCTTY);
        ck_assert_int_ge(fd, 0);
        run_for(500);
        put(c, "hi\n");
        expect(fd, "hi\n");
        ck_assert_int_eq((int)write(fd, "q\x03", 2), 2); /* raw: a Ctrl-C is a byte */
        run_until_got(2 * (i + 1));
        close(fd);
        run_for(20);
    }
    chardev_destroy(&c);
}
END_TEST

/* ---- the end: what is queued for a pipe that is full ---- */

static int read_end;
static size_t drained;

/* Takes more than one limit's time for all of it, but never rests for so long. */
static void *drain_slowly(void *arg)
{
    static char buf[65536];
    ssize_t n;
    while ((n = read(read_end, buf, sizeof(buf))) != 0) {
        drained += n > 0 ? (size_t)n : 0;
        usleep(drained < 500000 ? 900000 : 1000);
    }
    return NULL;
}

static struct chardev *create_on_full_pipe(void)
{
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    read_end = open(path, O_RDONLY | O_NONBLOCK);
    ck_assert_int_ge(read_end, 0);
    fcntl(read_end, F_SETFL, 0);
    struct chardev *c = create(SERIAL_FILE, path);
    static char block[10000];
    memset(block, 'x', sizeof(block));
    for (unsigned i = 0; i < 100; i++) {
        chardev_write(c, (const uint8_t *)block, sizeof(block));
    }
    return c;
}

START_TEST(slow_reader_at_the_end)
{
    struct chardev *c = create_on_full_pipe();
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, drain_slowly, NULL), 0);
    chardev_destroy(&c);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(drained, 1000000);
    close(read_end);
}
END_TEST

START_TEST(no_reader_at_the_end)
{
    struct chardev *c = create_on_full_pipe();
    int out[2];
    ck_assert_int_eq(pipe(out), 0);
    int saved = dup(2);
    dup2(out[1], 2);
    chardev_destroy(&c);
    dup2(saved, 2);
    char text[256] = "";
    ck_assert_int_gt((int)read(out[0], text, sizeof(text) - 1), 0);
    ck_assert_msg(strstr(text, "-serial: the last ") != NULL && strstr(text, "nothing for 5 s") != NULL, "%s", text);
    close(read_end);
}
END_TEST

/* ---- stdio: a child on a terminal or on pipes ---- */

static int quits;

static void on_quit(void *opaque)
{
    quits++;
    loop_stop(loop);
}

/* The child echoes what it gets in brackets, at most four bytes until a '!' makes room for more. */
static void echo(void *opaque, const uint8_t *buf, unsigned len)
{
    struct chardev *c = *(struct chardev **)opaque;
    chardev_write(c, (const uint8_t *)"[", 1);
    chardev_write(c, buf, len);
    chardev_write(c, (const uint8_t *)"]\n", 2);
    if (memchr(buf, 'S', len)) {
        raise(SIGTERM);
    }
    if (memchr(buf, 'A', len)) {
        abort();
    }
}

static unsigned echo_room(void *opaque)
{
    return 4;
}

static const struct chardev_frontend echo_frontend = {echo_room, echo};

static void child(void)
{
    signal(SIGTERM, SIG_DFL); /* Check has handlers of its own */
    signal(SIGABRT, SIG_DFL);
    loop_destroy(&loop); /* our copy of the parent's: the kernel would let us share it */
    loop = loop_create("child", true);
    struct chardev *c = chardev_create(loop, SERIAL_STDIO, NULL, on_quit, NULL, &err);
    chardev_set_frontend(c, &echo_frontend, &c);
    chardev_write(c, (const uint8_t *)"ready\n", 6);
    loop_run(loop);
    chardev_destroy(&c);
    loop_destroy(&loop);
    exit(quits == 1 ? 7 : 8);
}

struct terminal {
    int master, slave;
    pid_t pid;
    struct termios before;
};

static void start_on_terminal(struct terminal *t)
{
    t->master = posix_openpt(O_RDWR | O_NOCTTY);
    ck_assert_int_eq(grantpt(t->master) | unlockpt(t->master), 0);
    t->slave = open(ptsname(t->master), O_RDWR | O_NOCTTY);
    ck_assert_int_eq(tcgetattr(t->slave, &t->before), 0);
    t->pid = fork();
    if (t->pid == 0) {
        dup2(t->slave, 0);
        dup2(t->slave, 1);
        child();
    }
    expect(t->master, "ready\r\n");
    struct termios now;
    tcgetattr(t->slave, &now);
    ck_assert(!(now.c_lflag & (ICANON | ECHO | ISIG)));
}

static int finish(struct terminal *t)
{
    int status;
    ck_assert_int_eq(waitpid(t->pid, &status, 0), t->pid);
    struct termios now;
    ck_assert_int_eq(tcgetattr(t->slave, &now), 0);
    ck_assert_uint_eq(now.c_lflag, t->before.c_lflag);
    ck_assert_uint_eq(now.c_iflag, t->before.c_iflag);
    ck_assert_int_eq(fcntl(t->slave, F_GETFL) & O_NONBLOCK, 0);
    return status;
}

START_TEST(stdio_escape)
{
    struct terminal t;
    start_on_terminal(&t);
    ck_assert_int_eq((int)write(t.master, "ab\x03", 3), 3);
    expect(t.master, "[ab\x03]\r\n");
    ck_assert_int_eq((int)write(t.master, "\x01\x01", 2), 2);
    expect(t.master, "[\x01]\r\n");
    ck_assert_int_eq((int)write(t.master, "\x01h", 2), 2);
    expect(t.master, "\r\r\nCtrl-A x");
    ck_assert_int_eq((int)write(t.master, "\x01x", 2), 2);
    int status = finish(&t);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}
END_TEST

START_TEST(stdio_restores_on_signals)
{
    struct terminal t;
    start_on_terminal(&t);
    ck_assert_int_eq((int)write(t.master, _i ? "A" : "S", 1), 1);
    int status = finish(&t);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), _i ? SIGABRT : SIGTERM);
}
END_TEST

/* Pipes: input longer than the device takes at once arrives whole; the end of input does not end the machine. */
START_TEST(stdio_pipes)
{
    int in[2], out[2];
    ck_assert_int_eq(pipe(in) | pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        child();
    }
    close(in[0]);
    close(out[1]);
    expect(out[0], "ready\n");
    ck_assert_int_eq((int)write(in[1], "abcdefghij", 10), 10);
    expect(out[0], "[abcd]\n[efgh]\n[ij]\n");
    close(in[1]);
    usleep(50000);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
}
END_TEST

/* Input that the device does not take stays until it asks. */
START_TEST(input_waits)
{
    char spec[160];
    snprintf(spec, sizeof(spec), "%s,server=on,wait=off", path);
    struct chardev *c = create(SERIAL_UNIX, spec);
    room = 0;
    int fd = connect_to(path);
    char block[20000];
    memset(block, 'z', sizeof(block));
    ck_assert_int_eq((int)write(fd, block, sizeof(block)), (int)sizeof(block));
    run_for(20);
    ck_assert_uint_eq(got_len, 0);
    for (unsigned n = 1; n <= 200; n++) {
        room = 100;
        chardev_accept_input(c);
        run_until_got(100 * n);
    }
    close(fd);
    chardev_destroy(&c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chardev");
    TCase *tc = tcase_create("chardev");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, null_takes_all);
    tcase_add_test(tc, file_gets_all);
    tcase_add_test(tc, prompt_without_newline);
    tcase_add_loop_test(tc, wrong_paths, 0, 7);
    tcase_add_test(tc, unix_server);
    tcase_add_test(tc, unix_client_and_stale_socket);
    tcase_add_test(tc, slow_reader);
    tcase_add_test(tc, pty);
    tcase_add_test(tc, slow_reader_at_the_end);
    tcase_add_test(tc, no_reader_at_the_end);
    tcase_add_test(tc, stdio_escape);
    tcase_add_loop_test(tc, stdio_restores_on_signals, 0, 2);
    tcase_add_test(tc, stdio_pipes);
    tcase_add_test(tc, input_waits);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
