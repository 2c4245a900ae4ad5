/* Why the kernel said no, in one sentence with the way out. The text is pure; the facts are looked up apart. */
#include "placement/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const what_call[] = {"mbind", "move_pages", "sched_setaffinity", "prealloc", "set_mempolicy"};

static void refused(char *buf, size_t size, enum place_call call, const struct diagnose_facts *f)
{
    if (call == CALL_MOVE_PAGES && !f->sys_nice && !f->seccomp) {
        snprintf(buf, size,
                 "move_pages: not permitted: some pages are shared with other processes, and moving them needs "
                 "CAP_SYS_NICE; run with it (setcap cap_sys_nice+ep, or docker run --cap-add SYS_NICE)");
    } else if (f->seccomp) {
        snprintf(buf, size,
                 "%s: not permitted: a seccomp filter (a container's default profile) forbids it; allow it with "
                 "--cap-add SYS_NICE or a seccomp profile that has %s, or run with --place none",
                 what_call[call], what_call[call]);
    } else if (!f->sys_nice) {
        snprintf(buf, size,
                 "%s: not permitted: this process lacks CAP_SYS_NICE; give it the capability, or run with "
                 "--place none",
                 what_call[call]);
    } else {
        snprintf(buf, size,
                 "%s: not permitted by a security policy of this host; see its audit log, or run with --place "
                 "none",
                 what_call[call]);
    }
}

static bool nodes_explained(char *buf, size_t size, enum place_call call, const struct diagnose_facts *f)
{
    if (f->host == NULL) {
        return false;
    }
    bitmap_for_each(os, &f->nodes)
    {
        int x = host_node_by_os(f->host, 0, (unsigned)os);
        if (x < 0) {
            snprintf(buf, size, "%s: host node P#%d does not exist or is offline; `numactl -H` lists those there are",
                     what_call[call], os);
            return true;
        }
        if (f->host->node[x].capacity == 0) {
            snprintf(buf, size,
                     "%s: host node P#%d has no memory, so nothing can be bound to it; name a node with memory",
                     what_call[call], os);
            return true;
        }
        if (!f->host->node[x].memory_allowed) {
            snprintf(
                buf, size,
                "%s: host node P#%d is outside this process's cpuset; widen cpuset.mems of its cgroup or name another "
                "node",
                what_call[call], os);
            return true;
        }
    }
    return false;
}

static void shortage(char *buf, size_t size, enum place_call call, const struct diagnose_facts *f)
{
    char nodes[128];
    bitmap_format(&f->nodes, nodes, sizeof(nodes));
    if (f->page_size > 0) {
        snprintf(
            buf, size,
            "%s: not enough hugepages: %llu of %llu KiB are wanted on host node P#%s, %llu are free; reserve more in "
            "/sys/devices/system/node/node%s/hugepages/hugepages-%llukB/nr_hugepages",
            what_call[call], (unsigned long long)f->pages_wanted, (unsigned long long)f->page_size / 1024, nodes,
            (unsigned long long)f->pages_free, nodes, (unsigned long long)f->page_size / 1024);
    } else {
        snprintf(buf, size,
                 "%s: out of memory on host node P#%s; use less guest memory there, another node, or policy=preferred",
                 what_call[call], nodes[0] != 0 ? nodes : "(any)");
    }
}

void placement_diagnose(char *buf, size_t size, enum place_call call, int errnum, const struct diagnose_facts *f)
{
    char list[256];
    switch (errnum) {
    case EPERM:
    case EACCES:
        refused(buf, size, call, f);
        return;
    case ENOSYS:
        snprintf(
            buf, size,
            "%s: this kernel has no NUMA support (or a sandbox hides it), so nothing can be bound; run with --place "
            "none",
            what_call[call]);
        return;
    case EFAULT: /* MADV_POPULATE_WRITE where a touch would be a SIGBUS */
        if (call != CALL_PREALLOC) {
            break;
        }
        shortage(buf, size, call, f);
        return;
    case ENOMEM:
        shortage(buf, size, call, f);
        return;
    case ESRCH:
        snprintf(buf, size, "%s: the thread has ended", what_call[call]);
        return;
    case EINVAL:
    case ENODEV:
        if (call == CALL_SETAFFINITY) {
            snprintf(
                buf, size,
                "sched_setaffinity: none of the PUs P#%s may be used by this process; widen cpuset.cpus of its cgroup "
                "or name other PUs",
                bitmap_format(&f->pus, list, sizeof(list)));
            return;
        }
        if (nodes_explained(buf, size, call, f)) {
            return;
        }
        break;
    default:
        break;
    }
    snprintf(buf, size, "%s: host node P#%s: %s; `weft plan` shows which nodes can be used", what_call[call],
             bitmap_format(&f->nodes, list, sizeof(list)), strerror(errnum));
}

void diagnose_here(struct diagnose_facts *f, const struct host_shape *host)
{
    char text[4096];
    memset(f, 0, sizeof(*f));
    f->host = host;
    if (sysfs_text_read("/proc/thread-self/status", text, sizeof(text)) >= 0) {
        const char *at = strstr(text, "\nSeccomp:"), *cap = strstr(text, "\nCapEff:");
        f->seccomp = at != NULL && strtoul(at + 9, NULL, 10) == 2;
        f->sys_nice = cap != NULL && (strtoull(cap + 8, NULL, 16) >> 23 & 1) != 0;
    }
}
