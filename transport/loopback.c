/* Ranks as threads of one process: a queue per rank and class, a condition per rank turned into an eventfd. */
#include "weft/transport.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct parcel {
    struct parcel *next;
    size_t length;
    unsigned src;
    uint8_t bytes[];
};

struct inbox {
    struct parcel *first[TRAFFIC_CLASSES], **last[TRAFFIC_CLASSES];
    uint64_t lost; /* ranks to report */
    int event;
};

struct transport_hub {
    unsigned ranks;
    pthread_mutex_t lock; /* all below */
    uint64_t cut;
    struct inbox inbox[WEFT_MAX_RANKS];
};

struct loopback {
    struct transport base;
    struct transport_hub *hub;
    struct parcel *held; /* what receive() returned last */
};

static void wake(struct inbox *in)
{
    uint64_t one = 1;
    ssize_t n = write(in->event, &one, sizeof(one));
    (void)n; /* a full counter is awake already */
}

static int loopback_send(struct transport *t, unsigned rank, enum traffic traffic, const void *head, size_t head_length,
                         const void *tail, size_t tail_length)
{
    struct transport_hub *hub = ((struct loopback *)t)->hub;
    struct parcel *p = malloc(sizeof(*p) + head_length + tail_length);
    assert(p);
    p->next = NULL;
    p->src = t->self;
    p->length = head_length + tail_length;
    memcpy(p->bytes, head, head_length);
    if (tail_length) {
        memcpy(p->bytes + head_length, tail, tail_length);
    }
    pthread_mutex_lock(&hub->lock);
    bool gone = hub->cut >> rank & 1 || hub->cut >> t->self & 1;
    if (!gone) {
        struct inbox *in = &hub->inbox[rank];
        *in->last[traffic] = p;
        in->last[traffic] = &p->next;
        wake(in);
    }
    pthread_mutex_unlock(&hub->lock);
    if (gone) {
        free(p);
        return -EHOSTUNREACH;
    }
    return 0;
}

static ssize_t loopback_receive(struct transport *t, int *src, enum traffic *traffic, const void **bytes)
{
    struct loopback *l = (struct loopback *)t;
    struct inbox *in = &l->hub->inbox[t->self];
    free(l->held);
    l->held = NULL;
    pthread_mutex_lock(&l->hub->lock);
    for (unsigned c = 0; c < TRAFFIC_CLASSES && !l->held; c++) {
        struct parcel *p = in->first[c];
        if (p) {
            in->first[c] = p->next;
            if (!p->next) {
                in->last[c] = &in->first[c];
            }
            l->held = p;
            *traffic = (enum traffic)c;
        }
    }
    pthread_mutex_unlock(&l->hub->lock);
    if (!l->held) {
        return -EAGAIN;
    }
    *src = (int)l->held->src;
    *bytes = l->held->bytes;
    return (ssize_t)l->held->length;
}

static int loopback_wait(struct transport *t, int64_t timeout_ns, struct transport_owner *owner)
{
    struct inbox *in = &((struct loopback *)t)->hub->inbox[t->self];
    struct pollfd fd = {.fd = in->event, .events = POLLIN};
    struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    if (owner) {
        transport_owner_unlock(owner);
    }
    int n = ppoll(&fd, 1, timeout_ns < 0 ? NULL : &ts, NULL), e = errno;
    if (owner) {
        transport_owner_lock(owner);
    }
    if (n > 0) {
        uint64_t count;
        ssize_t got = read(in->event, &count, sizeof(count));
        (void)got;
    }
    return n >= 0 || e == EINTR ? 0 : -e;
}

static void loopback_wake(struct transport *t)
{
    wake(&((struct loopback *)t)->hub->inbox[t->self]);
}

static int loopback_lost(struct transport *t)
{
    struct loopback *l = (struct loopback *)t;
    int rank = -1;
    pthread_mutex_lock(&l->hub->lock);
    uint64_t *lost = &l->hub->inbox[t->self].lost;
    if (*lost) {
        rank = __builtin_ctzll(*lost);
        *lost &= *lost - 1;
    }
    pthread_mutex_unlock(&l->hub->lock);
    return rank;
}

static void loopback_destroy(struct transport *t)
{
    free(((struct loopback *)t)->held);
    free(t);
}

static const struct transport_ops loopback_ops = {.send = loopback_send,
                                                  .receive = loopback_receive,
                                                  .wait = loopback_wait,
                                                  .wake = loopback_wake,
                                                  .lost = loopback_lost,
                                                  .destroy = loopback_destroy};

struct transport *transport_loopback(struct transport_hub *hub, unsigned self)
{
    struct loopback *l = calloc(1, sizeof(*l));
    assert(l);
    l->base = (struct transport){.ops = &loopback_ops, .self = self, .ranks = hub->ranks};
    l->hub = hub;
    return &l->base;
}

struct transport_hub *transport_hub_create(unsigned ranks)
{
    struct transport_hub *hub = calloc(1, sizeof(*hub));
    assert(hub && ranks <= WEFT_MAX_RANKS);
    hub->ranks = ranks;
    pthread_mutex_init(&hub->lock, NULL);
    for (unsigned r = 0; r < ranks; r++) {
        struct inbox *in = &hub->inbox[r];
        in->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        assert(in->event >= 0);
        for (unsigned c = 0; c < TRAFFIC_CLASSES; c++) {
            in->last[c] = &in->first[c];
        }
    }
    return hub;
}

void transport_hub_cut(struct transport_hub *hub, unsigned rank)
{
    pthread_mutex_lock(&hub->lock);
    hub->cut |= 1ull << rank;
    for (unsigned r = 0; r < hub->ranks; r++) {
        hub->inbox[r].lost |= r == rank ? 0 : 1ull << rank;
        wake(&hub->inbox[r]);
    }
    pthread_mutex_unlock(&hub->lock);
}

void transport_hub_destroy(struct transport_hub **hub)
{
    struct transport_hub *h = *hub;
    for (unsigned r = 0; h && r < h->ranks; r++) {
        close(h->inbox[r].event);
        for (unsigned c = 0; c < TRAFFIC_CLASSES; c++) {
            while (h->inbox[r].first[c]) {
                struct parcel *p = h->inbox[r].first[c];
                h->inbox[r].first[c] = p->next;
                free(p);
            }
        }
    }
    if (h) {
        pthread_mutex_destroy(&h->lock);
    }
    free(h);
    *hub = NULL;
}
