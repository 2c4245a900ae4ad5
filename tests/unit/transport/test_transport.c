/* ZeroMQ and loopback transports: order, sizes, loss, and who is let in. Ranks are threads of this process. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "weft/transport.h"

#define MS 1000000ll

static char dir[64];

static void make_dir(void)
{
    snprintf(dir, sizeof(dir), "/tmp/weft-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Waits for one message. */
static ssize_t receive(struct transport *t, int *src, enum traffic *traffic, const void **bytes)
{
    double end = now_s() + 100;
    for (;;) {
        ssize_t n = transport_receive(t, src, traffic, bytes);
        if (n >= 0 || now_s() > end) {
            return n;
        }
        transport_wait(t, 100 * MS, NULL);
    }
}

static struct transport_zmq_config config_of(unsigned self, bool several_hosts)
{
    struct transport_zmq_config c = {.self = self, .ranks = 2, .run_dir = dir, .io_threads = 1, .silence_ms = 20000};
    c.host = several_hosts ? self : 0;
    c.several_hosts = several_hosts;
    return c;
}

struct joining {
    struct transport *t;
    const struct transport_address *all;
    struct error err;
    bool ok;
};

static void *join(void *opaque)
{
    struct joining *j = opaque;
    j->ok = transport_zmq_connect(j->t, j->all, 60000, &j->err);
    return NULL;
}

/* A tcp test inside one host: the address is this machine's own loopback. */
static void use_loopback_address(struct transport_address *a)
{
    a->num_addresses = 1;
    a->addresses[0].family = 4;
    a->addresses[0].prefix = 8;
    inet_pton(AF_INET, "127.0.0.1", a->addresses[0].address);
}

static void open_pair(struct transport *t[2], bool several_hosts)
{
    struct transport_address all[2];
    struct joining j[2] = {0};
    pthread_t thread[2];
    make_dir();
    for (unsigned r = 0; r < 2; r++) {
        struct transport_zmq_config c = config_of(r, several_hosts);
        struct error err = {0};
        t[r] = transport_zmq_bind(&c, &all[r], &err);
        ck_assert_msg(t[r] != NULL, "%s", err.text);
        if (several_hosts) {
            use_loopback_address(&all[r]);
        }
    }
    for (unsigned r = 0; r < 2; r++) {
        j[r] = (struct joining){.t = t[r], .all = all};
        pthread_create(&thread[r], NULL, join, &j[r]);
    }
    for (unsigned r = 0; r < 2; r++) {
        pthread_join(thread[r], NULL);
        ck_assert_msg(j[r].ok, "%s", j[r].err.text);
    }
}

static void close_pair(struct transport *t[2])
{
    transport_destroy(&t[0]);
    transport_destroy(&t[1]);
    ck_assert_int_eq(rmdir(dir), 0); /* nothing is left behind */
}

static void check_traffic(struct transport *t[2])
{
    static uint8_t page[4096];
    int src;
    enum traffic traffic;
    const void *bytes;
    memset(page, 7, sizeof(page));
    for (uint32_t i = 0; i < 200; i++) {
        ck_assert_int_eq(transport_send(t[0], 1, TRAFFIC_BULK, &i, sizeof(i), page, sizeof(page)), 0);
        ck_assert_int_eq(transport_send(t[0], 1, TRAFFIC_URGENT, &i, sizeof(i), NULL, 0), 0);
    }
    uint32_t next[TRAFFIC_CLASSES] = {0};
    for (unsigned i = 0; i < 400; i++) {
        ssize_t n = receive(t[1], &src, &traffic, &bytes);
        uint32_t number;
        ck_assert_int_eq(src, 0);
        ck_assert_int_eq(n, traffic == TRAFFIC_BULK ? 4100 : 4);
        memcpy(&number, bytes, sizeof(number));
        ck_assert_uint_eq(number, next[traffic]++);
    }
    ck_assert_int_eq(transport_receive(t[1], &src, &traffic, &bytes), -EAGAIN);
    ck_assert_int_eq(transport_lost(t[1]), -1);
}

START_TEST(test_ipc)
{
    struct transport *t[2];
    open_pair(t, false);
    check_traffic(t);
    close_pair(t);
}
END_TEST

START_TEST(test_tcp_curve)
{
    struct transport *t[2];
    open_pair(t, true);
    check_traffic(t);
    close_pair(t);
}
END_TEST

/* The other end closes: told once, and sends fail from then on. */
START_TEST(test_lost)
{
    struct transport *t[2];
    open_pair(t, false);
    transport_destroy(&t[1]);
    double end = now_s() + 100;
    int lost = -1;
    while (lost < 0 && now_s() < end) {
        transport_wait(t[0], 50 * MS, NULL);
        lost = transport_lost(t[0]);
    }
    ck_assert_int_eq(lost, 1);
    ck_assert_int_eq(transport_lost(t[0]), -1);
    ck_assert_int_eq(transport_send(t[0], 1, TRAFFIC_URGENT, "x", 1, NULL, 0), -EHOSTUNREACH);
    close_pair(t);
}
END_TEST

/* Who has not one of the run's keys does not get in over tcp: with no CURVE, and with a key of its own. */
START_TEST(test_stranger)
{
    make_dir();
    struct transport_zmq_config c = config_of(0, true);
    struct transport_address mine;
    struct error err = {0};
    struct transport *t = transport_zmq_bind(&c, &mine, &err);
    ck_assert_ptr_nonnull(t);
    void *context = zmq_ctx_new();
    char public_key[41], secret_key[41], endpoint[64];
    zmq_curve_keypair(public_key, secret_key);
    snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%u", mine.tcp_port[TRAFFIC_URGENT]);
    for (unsigned with_key = 0; with_key < 2; with_key++) {
        void *s = zmq_socket(context, ZMQ_DEALER);
        int zero = 0;
        zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
        zmq_setsockopt(s, ZMQ_ROUTING_ID, "u001", 4);
        if (with_key) {
            zmq_setsockopt(s, ZMQ_CURVE_SERVERKEY, mine.public_key, 41);
            zmq_setsockopt(s, ZMQ_CURVE_PUBLICKEY, public_key, 41);
            zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, secret_key, 41);
        }
        ck_assert_int_eq(zmq_connect(s, endpoint), 0);
        zmq_send(s, "let me in", 9, ZMQ_DONTWAIT);
        double end = now_s() + 0.7;
        while (now_s() < end) {
            int src;
            enum traffic traffic;
            const void *bytes;
            transport_wait(t, 50 * MS, NULL);
            ck_assert_int_eq(transport_receive(t, &src, &traffic, &bytes), -EAGAIN);
        }
        zmq_close(s);
    }
    zmq_ctx_term(context);
    transport_destroy(&t);
    rmdir(dir);
}
END_TEST

/* A process on this host that found the ipc socket is no rank: its messages have no source. */
START_TEST(test_nameless)
{
    make_dir();
    struct transport_zmq_config c = config_of(0, false);
    struct transport_address mine;
    struct error err = {0};
    struct transport *t = transport_zmq_bind(&c, &mine, &err);
    ck_assert_ptr_nonnull(t);
    void *context = zmq_ctx_new(), *s = zmq_socket(context, ZMQ_DEALER);
    zmq_setsockopt(s, ZMQ_ROUTING_ID, "u007", 4);
    zmq_connect(s, mine.ipc[TRAFFIC_URGENT]);
    zmq_send(s, "one", 3, ZMQ_SNDMORE);
    zmq_send(s, "two", 3, 0);
    int src = 5;
    enum traffic traffic;
    const void *bytes;
    ck_assert_int_eq(receive(t, &src, &traffic, &bytes), 3);
    ck_assert_int_eq(src, -1);
    zmq_close(s);
    zmq_ctx_term(context);
    transport_destroy(&t);
    rmdir(dir);
}
END_TEST

static void *wake_later(void *opaque)
{
    usleep(20000);
    transport_wake(opaque);
    return NULL;
}

/* A wake before the wait ends it too; one that comes during the wait does not wait for the time to be over. */
START_TEST(test_wake)
{
    struct transport *t[2];
    pthread_t thread;
    open_pair(t, false);
    double start = now_s();
    transport_wake(t[0]);
    transport_wait(t[0], 100000 * MS, NULL);
    pthread_create(&thread, NULL, wake_later, t[0]);
    while (now_s() < start + 0.02) {
        transport_wait(t[0], 100000 * MS, NULL);
    }
    ck_assert(now_s() < start + 90);
    pthread_join(thread, NULL);
    close_pair(t);
}
END_TEST

struct sleeper {
    struct transport *t;
    struct transport_owner owner;
    atomic_bool stop;
};

/* What the coherence thread does: owns, but while it sleeps. */
static void *sleep_on(void *opaque)
{
    struct sleeper *s = opaque;
    transport_owner_lock(&s->owner);
    while (!atomic_load(&s->stop)) {
        transport_wait(s->t, 100000 * MS, &s->owner);
    }
    transport_owner_unlock(&s->owner);
    return NULL;
}

static void *send_later(void *opaque)
{
    usleep(20000);
    ck_assert_int_eq(transport_send(opaque, 0, TRAFFIC_URGENT, "answer", 6, NULL, 0), 0);
    return NULL;
}

/* One thread waits in transport_wait(), another receives in its place; then it is told to end. */
START_TEST(test_assist)
{
    struct transport *t[2];
    open_pair(t, false);
    struct sleeper s = {.t = t[0]};
    pthread_t sleeper, sender;
    pthread_mutex_init(&s.owner.mutex, NULL);
    pthread_create(&sleeper, NULL, sleep_on, &s);
    pthread_create(&sender, NULL, send_later, t[1]);
    int src;
    enum traffic traffic;
    const void *bytes;
    transport_owner_lock(&s.owner);
    ssize_t n;
    double end = now_s() + 100;
    while ((n = transport_receive(t[0], &src, &traffic, &bytes)) < 0 && now_s() < end) {
        ck_assert_int_eq(transport_assist(t[0], &s.owner), 0);
    }
    ck_assert_int_eq(n, 6);
    ck_assert_int_eq(src, 1);
    ck_assert_int_eq(memcmp(bytes, "answer", 6), 0);
    ck_assert_int_eq(transport_receive(t[0], &src, &traffic, &bytes), -EAGAIN);
    transport_assist_end(t[0]);
    ck_assert_int_eq(transport_assist(t[0], &s.owner), 0);
    transport_owner_unlock(&s.owner);
    pthread_join(sender, NULL);
    atomic_store(&s.stop, true);
    transport_wake(t[0]);
    pthread_join(sleeper, NULL);
    pthread_mutex_destroy(&s.owner.mutex);
    close_pair(t);
}
END_TEST

START_TEST(test_loopback)
{
    struct transport_hub *hub = transport_hub_create(2);
    struct transport *t[2] = {transport_loopback(hub, 0), transport_loopback(hub, 1)};
    check_traffic(t);
    transport_hub_cut(hub, 0);
    ck_assert_int_eq(transport_lost(t[1]), 0);
    ck_assert_int_eq(transport_lost(t[1]), -1);
    ck_assert_int_eq(transport_send(t[1], 0, TRAFFIC_URGENT, "x", 1, NULL, 0), -EHOSTUNREACH);
    transport_destroy(&t[0]);
    transport_destroy(&t[1]);
    transport_hub_destroy(&hub);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("transport");
    TCase *c = tcase_create("transport");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_ipc);
    tcase_add_test(c, test_wake);
    tcase_add_test(c, test_assist);
    tcase_add_test(c, test_tcp_curve);
    tcase_add_test(c, test_lost);
    tcase_add_test(c, test_stranger);
    tcase_add_test(c, test_nameless);
    tcase_add_test(c, test_loopback);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
