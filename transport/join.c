/* From membership to a transport that stands: the one place where MPI and ZeroMQ meet. */
#include "weft/membership.h"
#include "weft/transport.h"

#include "urgency.h"

enum { CONNECT_MS = 10000 };

struct transport *transport_join(const struct membership *m, int silence_ms, const int *io_cpus, unsigned num_io_cpus,
                                 struct error *err)
{
    struct transport_zmq_config config = {.self = m->self,
                                          .ranks = m->ranks,
                                          .host = m->member[m->self].host,
                                          .several_hosts = m->hosts > 1,
                                          .run_dir = m->run_dir,
                                          .io_threads = 1,
                                          .io_cpus = io_cpus,
                                          .num_io_cpus = num_io_cpus,
                                          .silence_ms = silence_ms};
    struct transport_address mine, all[WEFT_MAX_RANKS];
    struct urgency before;
    urgency_begin(&before); /* for ZeroMQ's threads, which begin with the first socket */
    struct transport *t = transport_zmq_bind(&config, &mine, err);
    urgency_end(&before);
    if (!membership_agree(m, t != NULL, err)) {
        transport_destroy(&t);
        return NULL;
    }
    membership_exchange(m, &mine, sizeof(mine), all);
    bool ok = transport_zmq_connect(t, all, CONNECT_MS, err);
    if (!membership_agree(m, ok, err)) {
        transport_destroy(&t);
        return NULL;
    }
    /* Connections are made once: the sockets' names have served. */
    membership_remove_run_dir(m);
    return t;
}
