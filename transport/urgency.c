#include "urgency.h"

#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "weft/transport.h"

/* URGENT_NS: of threads that handle messages. SOON_NS: of all others of a rank: a hart whose page has come shall not
 * wait long for a stranger either. 100 us is the least that Linux takes. */
enum { URGENT_NS = 100000, SOON_NS = 400000, NICER = 5 };

/* sched_setattr(2), which the C library does not declare: the first version of its struct. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static void set_slice(uint64_t ns)
{
    struct attributes a = {0};
    if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) == 0 && a.policy == 0) {
        a.size = sizeof(a);
        a.runtime = ns; /* ignored for this policy by kernels before 6.12 */
        syscall(SYS_sched_setattr, 0, &a, 0);
    }
}

static bool realtime; /* set before there are threads */

void transport_threads_realtime(bool on)
{
    realtime = on;
}

void urgency_begin(struct urgency *before)
{
    before->nice = getpriority(PRIO_PROCESS, 0);
    setpriority(PRIO_PROCESS, 0, before->nice - NICER); /* of this thread alone, on Linux; may be refused */
    set_slice(URGENT_NS);
    if (realtime) {
        struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};
        sched_setscheduler(0, SCHED_FIFO, &lowest); /* may be refused */
    }
}

void urgency_end(const struct urgency *before)
{
    if (realtime) {
        struct sched_param none = {0};
        sched_setscheduler(0, SCHED_OTHER, &none);
    }
    set_slice(SOON_NS);
    setpriority(PRIO_PROCESS, 0, before->nice);
}

void transport_thread_urgent(void)
{
    struct urgency before;
    urgency_begin(&before);
}
