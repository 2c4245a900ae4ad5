/*
 * ZeroMQ between ranks. A rank receives on ROUTER sockets (one per class, for ipc and for tcp) and sends to each peer
 * on a DEALER per class. Sockets belong to the thread that makes the calls; messages are one frame, so no part can be
 * missing.
 *
 * A connection is made once. When it breaks (closed, heartbeat missed) the peer is lost: a reconnect would hide that
 * messages are gone. Monitors of the urgent DEALERs tell.
 */
#include "weft/transport.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

/* PATIENCE: silences until libzmq breaks a connection by itself. */
enum { ROUTERS = TRAFFIC_CLASSES * 2, PATIENCE = 20, IDENTITY = 4, HANDSHAKE_MS = 10000, CONNECT_POLL_US = 1000 };

struct peer {
    void *dealer[TRAFFIC_CLASSES];
    void *monitor[TRAFFIC_CLASSES];
    bool ready[TRAFFIC_CLASSES];
    bool lost, told, remote;
    unsigned admitted; /* of its connections to us, by key */
    char key[TRANSPORT_KEY];
};

/* What an epoll event stands for. */
enum { WATCH_ROUTER, WATCH_MONITOR, WATCH_ZAP, WATCH_WAKE, WATCH_ASSIST };

struct zmq_transport {
    struct transport base;
    struct transport_zmq_config config;
    void *context, *zap;
    void *router[ROUTERS]; /* urgent ipc, bulk ipc, urgent tcp, bulk tcp (NULL on one host) */
    char ipc_path[TRAFFIC_CLASSES][96];
    struct peer peer[WEFT_MAX_RANKS];
    char public_key[TRANSPORT_KEY], secret_key[TRANSPORT_KEY];
    zmq_msg_t held;
    /* We wait on the sockets' descriptors, not by zmq_poll, which asks every socket twice. A descriptor says only that
     * something happened: the socket is then read until it has nothing (ready is cleared). */
    int poll, event;
    /* Of the thread that assists: the routers alone. Both epolls are exclusive waiters, this one was first: while a
     * thread waits here a message wakes only that one. */
    int assist_poll, assist_event;
    bool ready[ROUTERS];
    _Atomic bool asleep; /* set before it sleeps, taken by whoever writes the eventfd */
    _Atomic bool woken;  /* since the last wait */
};

static void *zmq_socket_new(struct zmq_transport *z, int type)
{
    void *s = zmq_socket(z->context, type);
    assert(s);
    int linger = 500, unlimited = 0;
    /* Silence is judged by the beats of whoever uses the transport, who knows when it was held up itself. libzmq does
     * not: when a whole host was paused it looks at its timers before it reads what has come. So it waits much longer,
     * and never asks the peer to watch its time to live, of which libzmq 4.3 keeps 16 bits of milliseconds. */
    int silence = z->config.silence_ms * PATIENCE, interval = silence / 64 > 0 ? silence / 64 : 1, watched = 0;
    zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof(linger));
    /* What may be under way is bounded by the protocol (requests per rank), not by the queue. */
    zmq_setsockopt(s, ZMQ_SNDHWM, &unlimited, sizeof(unlimited));
    zmq_setsockopt(s, ZMQ_RCVHWM, &unlimited, sizeof(unlimited));
    zmq_setsockopt(s, ZMQ_HEARTBEAT_IVL, &interval, sizeof(interval));
    zmq_setsockopt(s, ZMQ_HEARTBEAT_TIMEOUT, &silence, sizeof(silence));
    zmq_setsockopt(s, ZMQ_HEARTBEAT_TTL, &watched, sizeof(watched));
    int64_t limit = TRANSPORT_MESSAGE_MAX;
    zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &limit, sizeof(limit));
    int handshake = HANDSHAKE_MS;
    zmq_setsockopt(s, ZMQ_HANDSHAKE_IVL, &handshake, sizeof(handshake));
    return s;
}

static void watch_fd(int poll, int fd, uint32_t how, unsigned what, unsigned index)
{
    struct epoll_event event = {.events = EPOLLIN | how, .data.u64 = (uint64_t)what << 32 | index};
    int e = epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
    assert(!e);
}

static void watch(struct zmq_transport *z, void *socket, unsigned what, unsigned index)
{
    int fd;
    size_t size = sizeof(fd);
    int e = zmq_getsockopt(socket, ZMQ_FD, &fd, &size);
    assert(!e);
    if (what == WATCH_ROUTER) {
        watch_fd(z->assist_poll, fd, EPOLLEXCLUSIVE, what, index);
    }
    watch_fd(z->poll, fd, what == WATCH_ROUTER ? EPOLLEXCLUSIVE : 0, what, index);
}

/* ---- addresses ---- */

static unsigned prefix_of(const struct sockaddr *mask)
{
    const uint8_t *bytes = mask->sa_family == AF_INET ? (const uint8_t *)&((const struct sockaddr_in *)mask)->sin_addr
                                                      : ((const struct sockaddr_in6 *)mask)->sin6_addr.s6_addr;
    unsigned n = 0, length = mask->sa_family == AF_INET ? 4 : 16;
    for (unsigned i = 0; i < length; i++) {
        n += (unsigned)__builtin_popcount(bytes[i]);
    }
    return n;
}

/* Every address of this host that another host might reach: up, no loopback, no link-local IPv6. */
static void list_addresses(struct transport_address *mine)
{
    struct ifaddrs *list;
    if (getifaddrs(&list)) {
        return;
    }
    for (struct ifaddrs *i = list; i && mine->num_addresses < TRANSPORT_ADDRESSES; i = i->ifa_next) {
        if (!i->ifa_addr || !i->ifa_netmask || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK)) {
            continue;
        }
        unsigned n = mine->num_addresses;
        if (i->ifa_addr->sa_family == AF_INET) {
            mine->addresses[n].family = 4;
            memcpy(mine->addresses[n].address, &((struct sockaddr_in *)i->ifa_addr)->sin_addr, 4);
        } else if (i->ifa_addr->sa_family == AF_INET6 &&
                   !IN6_IS_ADDR_LINKLOCAL(&((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr)) {
            mine->addresses[n].family = 6;
            memcpy(mine->addresses[n].address, &((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr, 16);
        } else {
            continue;
        }
        mine->addresses[n].prefix = (uint8_t)prefix_of(i->ifa_netmask);
        mine->num_addresses++;
    }
    freeifaddrs(list);
}

static bool same_network(const uint8_t *a, const uint8_t *b, unsigned prefix)
{
    unsigned whole = prefix / 8, rest = prefix % 8;
    return !memcmp(a, b, whole) && (!rest || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

/* The peer's address that shares a network with one of ours, else its first one. */
static bool pick_address(const struct transport_address *mine, const struct transport_address *peer, char *text,
                         size_t size)
{
    int best = peer->num_addresses ? 0 : -1;
    for (int p = 0; p < peer->num_addresses; p++) {
        for (int m = 0; m < mine->num_addresses; m++) {
            if (peer->addresses[p].family == mine->addresses[m].family &&
                same_network(peer->addresses[p].address, mine->addresses[m].address, mine->addresses[m].prefix)) {
                best = p;
                p = peer->num_addresses;
                break;
            }
        }
    }
    if (best < 0) {
        return false;
    }
    char plain[INET6_ADDRSTRLEN];
    bool six = peer->addresses[best].family == 6;
    inet_ntop(six ? AF_INET6 : AF_INET, peer->addresses[best].address, plain, sizeof(plain));
    snprintf(text, size, six ? "[%s]" : "%s", plain);
    return true;
}

/* ---- start ---- */

static bool bind_ipc(struct zmq_transport *z, unsigned c, struct transport_address *mine, struct error *err)
{
    void *s = z->router[c] = zmq_socket_new(z, ZMQ_ROUTER);
    int n = snprintf(mine->ipc[c], sizeof(mine->ipc[c]), "ipc://%s/rank%u.%s", z->config.run_dir, z->base.self,
                     c == TRAFFIC_URGENT ? "urgent" : "bulk");
    watch(z, s, WATCH_ROUTER, c);
    z->ready[c] = true;
    if (n < 0 || (size_t)n >= sizeof(mine->ipc[c])) {
        return error_set(err, "the directory for sockets, %s, has too long a name: set TMPDIR to a shorter one",
                         z->config.run_dir);
    }
    snprintf(z->ipc_path[c], sizeof(z->ipc_path[c]), "%s", mine->ipc[c] + strlen("ipc://"));
    if (zmq_bind(s, mine->ipc[c])) {
        return error_set(err, "rank %u cannot listen at %s: %s", z->base.self, mine->ipc[c], zmq_strerror(errno));
    }
    return true;
}

static bool bind_tcp(struct zmq_transport *z, unsigned c, struct transport_address *mine, struct error *err)
{
    void *s = z->router[TRAFFIC_CLASSES + c] = zmq_socket_new(z, ZMQ_ROUTER);
    int yes = 1;
    watch(z, s, WATCH_ROUTER, TRAFFIC_CLASSES + c);
    z->ready[TRAFFIC_CLASSES + c] = true;
    zmq_setsockopt(s, ZMQ_CURVE_SERVER, &yes, sizeof(yes));
    zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, z->secret_key, TRANSPORT_KEY);
    zmq_setsockopt(s, ZMQ_ZAP_DOMAIN, "weft", 4);
    zmq_setsockopt(s, ZMQ_IPV6, &yes, sizeof(yes));
    char at[128];
    size_t size = sizeof(at);
    if (zmq_bind(s, "tcp://*:*") || zmq_getsockopt(s, ZMQ_LAST_ENDPOINT, at, &size)) {
        return error_set(err, "rank %u cannot listen on tcp: %s", z->base.self, zmq_strerror(errno));
    }
    mine->tcp_port[c] = (uint16_t)atoi(strrchr(at, ':') + 1);
    return true;
}

static void zmq_close_all(struct zmq_transport *z)
{
    for (unsigned r = 0; r < z->base.ranks; r++) {
        for (unsigned c = 0; c < TRAFFIC_CLASSES; c++) {
            if (z->peer[r].dealer[c]) {
                zmq_socket_monitor(z->peer[r].dealer[c], NULL, 0);
                zmq_close(z->peer[r].dealer[c]);
            }
            if (z->peer[r].monitor[c]) {
                zmq_close(z->peer[r].monitor[c]);
            }
        }
    }
    for (unsigned i = 0; i < ROUTERS; i++) {
        if (z->router[i]) {
            zmq_close(z->router[i]);
        }
    }
    if (z->zap) {
        zmq_close(z->zap);
    }
}

static void zmq_transport_destroy(struct transport *t)
{
    struct zmq_transport *z = (struct zmq_transport *)t;
    zmq_msg_close(&z->held);
    zmq_close_all(z);
    zmq_ctx_term(z->context);
    close(z->poll);
    close(z->event);
    close(z->assist_poll);
    close(z->assist_event);
    for (unsigned c = 0; c < TRAFFIC_CLASSES; c++) {
        if (z->ipc_path[c][0]) {
            unlink(z->ipc_path[c]);
        }
    }
    explicit_bzero(z->secret_key, sizeof(z->secret_key));
    free(z);
}

static const struct transport_ops zmq_ops;

struct transport *transport_zmq_bind(const struct transport_zmq_config *config, struct transport_address *mine,
                                     struct error *err)
{
    struct zmq_transport *z = calloc(1, sizeof(*z));
    assert(z);
    z->base = (struct transport){.ops = &zmq_ops, .self = config->self, .ranks = config->ranks};
    z->config = *config;
    z->context = zmq_ctx_new();
    assert(z->context);
    zmq_ctx_set(z->context, ZMQ_IO_THREADS, config->io_threads);
    for (unsigned i = 0; i < config->num_io_cpus; i++) {
        zmq_ctx_set(z->context, ZMQ_THREAD_AFFINITY_CPU_ADD, config->io_cpus[i]);
    }
    zmq_msg_init(&z->held);
    z->poll = epoll_create1(EPOLL_CLOEXEC);
    z->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    z->assist_poll = epoll_create1(EPOLL_CLOEXEC);
    z->assist_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert(z->poll >= 0 && z->event >= 0 && z->assist_poll >= 0 && z->assist_event >= 0);
    watch_fd(z->poll, z->event, 0, WATCH_WAKE, 0);
    watch_fd(z->assist_poll, z->assist_event, 0, WATCH_ASSIST, 0);
    memset(mine, 0, sizeof(*mine));
    mine->host = config->host;
    bool ok = true;
    if (config->several_hosts) {
        ok = !zmq_curve_keypair(z->public_key, z->secret_key) ||
             error_set(err,
                       "this build of libzmq has no CURVE, which ranks on several hosts need: install one that has");
        memcpy(mine->public_key, z->public_key, sizeof(mine->public_key));
        list_addresses(mine);
        z->zap = zmq_socket(z->context, ZMQ_REP);
        watch(z, z->zap, WATCH_ZAP, 0);
        ok = ok && (!zmq_bind(z->zap, "inproc://zeromq.zap.01") ||
                    error_set(err, "rank %u cannot answer for CURVE keys: %s", config->self, zmq_strerror(errno)));
    }
    for (unsigned c = 0; c < TRAFFIC_CLASSES && ok; c++) {
        ok = bind_ipc(z, c, mine, err) && (!config->several_hosts || bind_tcp(z, c, mine, err));
    }
    if (!ok) {
        zmq_transport_destroy(&z->base);
        return NULL;
    }
    return &z->base;
}

/* Answers libzmq's question whether a client key may connect (ZeroMQ RFC 27): only keys that came by MPI. */
static bool answer_one_zap(struct zmq_transport *z)
{
    char part[8][256];
    size_t length[8] = {0};
    unsigned parts = 0;
    int more = 1;
    while (more) {
        char spare[256];
        int n = zmq_recv(z->zap, parts < 8 ? part[parts] : spare, sizeof(spare), ZMQ_DONTWAIT);
        if (n < 0) {
            return false;
        }
        if (parts < 8) {
            length[parts++] = (size_t)n < sizeof(spare) ? (size_t)n : sizeof(spare);
        }
        size_t size = sizeof(more);
        zmq_getsockopt(z->zap, ZMQ_RCVMORE, &more, &size);
    }
    bool known = false;
    if (parts == 7 && length[5] == 5 && !memcmp(part[5], "CURVE", 5) && length[6] == 32) {
        char key[TRANSPORT_KEY];
        zmq_z85_encode(key, (const uint8_t *)part[6], 32);
        for (unsigned r = 0; r < z->base.ranks; r++) {
            if (z->peer[r].remote && !strcmp(z->peer[r].key, key)) {
                known = true;
                z->peer[r].admitted++;
            }
        }
    }
    zmq_send(z->zap, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(z->zap, part[1], parts > 1 ? length[1] : 0, ZMQ_SNDMORE);
    zmq_send(z->zap, known ? "200" : "400", 3, ZMQ_SNDMORE);
    zmq_send(z->zap, known ? "OK" : "not a rank of this run", known ? 2 : 22, ZMQ_SNDMORE);
    zmq_send(z->zap, "", 0, ZMQ_SNDMORE);
    zmq_send(z->zap, "", 0, 0);
    return true;
}

static void answer_zap(struct zmq_transport *z)
{
    while (answer_one_zap(z)) {
    }
}

/* Notes what the monitors of a peer's connections tell. */
static void read_monitor(struct zmq_transport *z, unsigned rank, unsigned c)
{
    struct peer *p = &z->peer[rank];
    for (;;) {
        uint8_t event[6];
        int n = zmq_recv(p->monitor[c], event, sizeof(event), ZMQ_DONTWAIT);
        if (n < 0) {
            return;
        }
        char address[256];
        zmq_recv(p->monitor[c], address, sizeof(address), ZMQ_DONTWAIT);
        uint16_t what;
        memcpy(&what, event, sizeof(what));
        if (what == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            p->ready[c] = true;
        } else {
            p->lost = true;
        }
    }
}

static bool connect_peer(struct zmq_transport *z, unsigned rank, const struct transport_address *all, unsigned c,
                         struct error *err)
{
    const struct transport_address *a = &all[rank];
    struct peer *p = &z->peer[rank];
    void *s = p->dealer[c] = zmq_socket_new(z, ZMQ_DEALER);
    char name[IDENTITY + 1], endpoint[192], monitor[64];
    snprintf(name, sizeof(name), "%c%03u", c == TRAFFIC_URGENT ? 'u' : 'b', z->base.self % 1000);
    zmq_setsockopt(s, ZMQ_ROUTING_ID, name, IDENTITY);
    int once = -1, yes = 1;
    zmq_setsockopt(s, ZMQ_RECONNECT_IVL, &once, sizeof(once));
    zmq_setsockopt(s, ZMQ_IMMEDIATE, &yes, sizeof(yes));
    snprintf(endpoint, sizeof(endpoint), "%s", a->ipc[c]);
    if (p->remote) {
        char host[80];
        if (!pick_address(&all[z->base.self], a, host, sizeof(host))) {
            return error_set(err, "rank %u has no network address that rank %u could use: bring an interface up", rank,
                             z->base.self);
        }
        snprintf(endpoint, sizeof(endpoint), "tcp://%s:%u", host, a->tcp_port[c]);
        zmq_setsockopt(s, ZMQ_IPV6, &yes, sizeof(yes));
        zmq_setsockopt(s, ZMQ_CURVE_SERVERKEY, a->public_key, TRANSPORT_KEY);
        zmq_setsockopt(s, ZMQ_CURVE_PUBLICKEY, z->public_key, TRANSPORT_KEY);
        zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, z->secret_key, TRANSPORT_KEY);
    }
    snprintf(monitor, sizeof(monitor), "inproc://monitor.%u.%u", rank, c);
    int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED |
                 ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    p->monitor[c] = zmq_socket(z->context, ZMQ_PAIR);
    watch(z, p->monitor[c], WATCH_MONITOR, rank * TRAFFIC_CLASSES + c);
    if (zmq_socket_monitor(s, monitor, events) || zmq_connect(p->monitor[c], monitor) || zmq_connect(s, endpoint)) {
        return error_set(err, "rank %u cannot connect to rank %u at %s: %s", z->base.self, rank, endpoint,
                         zmq_strerror(errno));
    }
    return true;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Returns a rank that is not connected yet, or -1. Both ways: a peer cannot finish without our answer about its key. */
static int missing(const struct zmq_transport *z)
{
    for (unsigned r = 0; r < z->base.ranks; r++) {
        for (unsigned c = 0; c < TRAFFIC_CLASSES && r != z->base.self; c++) {
            if (!z->peer[r].ready[c]) {
                return (int)r;
            }
        }
        if (r != z->base.self && z->peer[r].remote && z->peer[r].admitted < TRAFFIC_CLASSES) {
            return (int)r;
        }
    }
    return -1;
}

/* Reads all that monitors and the key check have, whatever their descriptors say: a socket that was never read signals
 * nothing. */
static void look_at_monitors(struct zmq_transport *z)
{
    if (z->zap) {
        answer_zap(z);
    }
    for (unsigned r = 0; r < z->base.ranks; r++) {
        for (unsigned c = 0; c < TRAFFIC_CLASSES; c++) {
            if (z->peer[r].monitor[c]) {
                read_monitor(z, r, c);
            }
        }
    }
}

bool transport_zmq_connect(struct transport *t, const struct transport_address *all, int timeout_ms, struct error *err)
{
    struct zmq_transport *z = (struct zmq_transport *)t;
    for (unsigned r = 0; r < t->ranks; r++) {
        z->peer[r].remote = all[r].host != all[t->self].host;
        memcpy(z->peer[r].key, all[r].public_key, TRANSPORT_KEY);
        z->peer[r].key[TRANSPORT_KEY - 1] = '\0';
    }
    for (unsigned r = 0; r < t->ranks; r++) {
        for (unsigned c = 0; c < TRAFFIC_CLASSES && r != t->self; c++) {
            if (!connect_peer(z, r, all, c, err)) {
                return false;
            }
        }
    }
    int64_t deadline = now_ms() + timeout_ms;
    int rank;
    while ((rank = missing(z)) >= 0) {
        int64_t left = deadline - now_ms();
        if (left <= 0 || z->peer[rank].lost) {
            return error_set(err,
                             "rank %u got no connection to rank %d%s: check that the hosts reach one another by tcp",
                             t->self, rank, z->peer[rank].lost ? ", which refused it" : " in time");
        }
        look_at_monitors(z);
        usleep(CONNECT_POLL_US);
    }
    return true;
}

/* ---- traffic ---- */

static int zmq_transport_send(struct transport *t, unsigned rank, enum traffic traffic, const void *head,
                              size_t head_length, const void *tail, size_t tail_length)
{
    struct zmq_transport *z = (struct zmq_transport *)t;
    struct peer *p = &z->peer[rank];
    if (p->lost) {
        return -EHOSTUNREACH;
    }
    zmq_msg_t m;
    if (zmq_msg_init_size(&m, head_length + tail_length)) {
        return -ENOMEM;
    }
    memcpy(zmq_msg_data(&m), head, head_length);
    if (tail_length) {
        memcpy((uint8_t *)zmq_msg_data(&m) + head_length, tail, tail_length);
    }
    if (zmq_msg_send(&m, p->dealer[traffic], ZMQ_DONTWAIT) < 0) {
        int e = errno;
        zmq_msg_close(&m);
        return -e;
    }
    return 0;
}

/* The rank that a connection's routing id names, or -1: we give ids, but what arrives is a claim. */
static int rank_of_id(const struct zmq_transport *z, const zmq_msg_t *id, unsigned c)
{
    const char *text = zmq_msg_data((zmq_msg_t *)id);
    if (zmq_msg_size(id) != IDENTITY || text[0] != (c == TRAFFIC_URGENT ? 'u' : 'b')) {
        return -1;
    }
    int rank = 0;
    for (unsigned i = 1; i < IDENTITY; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }
        rank = rank * 10 + (text[i] - '0');
    }
    return (unsigned)rank < z->base.ranks && (unsigned)rank != z->base.self ? rank : -1;
}

static ssize_t zmq_transport_receive(struct transport *t, int *src, enum traffic *traffic, const void **bytes)
{
    struct zmq_transport *z = (struct zmq_transport *)t;
    static const unsigned order[ROUTERS] = {0, 2, 1, 3}; /* urgent first */
    for (unsigned i = 0; i < ROUTERS; i++) {
        void *s = z->router[order[i]];
        if (!z->ready[order[i]]) {
            continue;
        }
        *traffic = (enum traffic)(order[i] % TRAFFIC_CLASSES);
        /* Identity, then the message. Anything with more parts is none of ours and comes out as a bad message. */
        if (zmq_msg_recv(&z->held, s, ZMQ_DONTWAIT) < 0) {
            z->ready[order[i]] = false;
            continue;
        }
        *src = rank_of_id(z, &z->held, *traffic);
        while (zmq_msg_more(&z->held)) {
            if (zmq_msg_recv(&z->held, s, ZMQ_DONTWAIT) < 0) {
                return -EAGAIN;
            }
        }
        *bytes = zmq_msg_data(&z->held);
        return (ssize_t)zmq_msg_size(&z->held);
    }
    return -EAGAIN;
}

static int wait_events(int poll, struct epoll_event *events, int max, int64_t timeout_ns)
{
    struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    int n = epoll_pwait2(poll, events, max, timeout_ns < 0 ? NULL : &ts, NULL);
    if (n < 0 && errno == ENOSYS) {
        n = epoll_wait(poll, events, max, timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000));
    }
    return n >= 0 ? n : errno == EINTR ? 0 : -errno;
}

static void on_event(struct zmq_transport *z, unsigned what, unsigned index)
{
    uint64_t count;
    ssize_t n;
    switch (what) {
    case WATCH_ROUTER:
        z->ready[index] = true;
        break;
    case WATCH_MONITOR:
        read_monitor(z, index / TRAFFIC_CLASSES, index % TRAFFIC_CLASSES);
        break;
    case WATCH_ZAP:
        answer_zap(z);
        break;
    default:
        n = read(what == WATCH_WAKE ? z->event : z->assist_event, &count, sizeof(count));
        (void)n;
        break;
    }
}

static int zmq_transport_wait(struct transport *t, int64_t timeout_ns, struct transport_owner *owner)
{
    struct zmq_transport *z = (struct zmq_transport *)t;
    struct epoll_event events[16];
    int n = 0;
    atomic_store(&z->asleep, true);
    bool sleep = !atomic_load(&z->woken);
    if (sleep) {
        if (owner) {
            transport_owner_unlock(owner);
        }
        n = wait_events(z->poll, events, 16, timeout_ns);
        if (owner) {
            transport_owner_lock(owner);
        }
    }
    atomic_store(&z->asleep, false);
    atomic_store(&z->woken, false);
    for (int i = 0; i < n; i++) {
        on_event(z, (unsigned)(events[i].data.u64 >> 32), (unsigned)events[i].data.u64);
    }
    if (sleep && n == 0) {
        look_at_monitors(z);
    }
    return n < 0 ? n : 0;
}

static int zmq_transport_assist(struct transport *t, struct transport_owner *owner)
{
    struct zmq_transport *z = (struct zmq_transport *)t;
    struct epoll_event events[4];
    transport_owner_unlock(owner);
    int n = wait_events(z->assist_poll, events, 4, -1);
    transport_owner_lock(owner);
    for (int i = 0; i < n; i++) {
        on_event(z, (unsigned)(events[i].data.u64 >> 32), (unsigned)events[i].data.u64);
    }
    return n < 0 ? n : 0;
}

static void zmq_transport_assist_end(struct transport *t)
{
    uint64_t one = 1;
    ssize_t n = write(((struct zmq_transport *)t)->assist_event, &one, sizeof(one));
    (void)n;
}

static void zmq_transport_wake(struct transport *t)
{
    struct zmq_transport *z = (struct zmq_transport *)t;
    /* The waiter says that it sleeps before it looks: either it sees `woken`, or it is seen asleep. */
    atomic_store(&z->woken, true);
    if (atomic_load(&z->asleep) && atomic_exchange(&z->asleep, false)) {
        uint64_t one = 1;
        ssize_t n = write(z->event, &one, sizeof(one));
        (void)n; /* a full counter wakes as well */
    }
}

static int zmq_transport_lost(struct transport *t)
{
    struct zmq_transport *z = (struct zmq_transport *)t;
    for (unsigned r = 0; r < t->ranks; r++) {
        if (z->peer[r].lost && !z->peer[r].told) {
            z->peer[r].told = true;
            return (int)r;
        }
    }
    return -1;
}

static const struct transport_ops zmq_ops = {.send = zmq_transport_send,
                                             .receive = zmq_transport_receive,
                                             .wait = zmq_transport_wait,
                                             .wake = zmq_transport_wake,
                                             .assist = zmq_transport_assist,
                                             .assist_end = zmq_transport_assist_end,
                                             .lost = zmq_transport_lost,
                                             .destroy = zmq_transport_destroy};
