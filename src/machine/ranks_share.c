/*
 * Ranks that share a host without NUMA nodes: each takes its part of the processors.
 *
 * A page travels through four threads of two ranks. Where each rank keeps to its own processors only the step from rank
 * to rank wakes another processor, which in a virtual machine costs more than the step itself: Debian's boot over two
 * ranks on two processors took 13 % less (three pairs of boots). With NUMA nodes the plan decides, and so it does with
 * --place.
 */
#include <numa.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "ranks_state.h"
#include "weft/log.h"

/* What the launcher says about the ranks of this host, before MPI starts. False: nothing. */
static bool local_rank(unsigned *self, unsigned *count)
{
    static const char *const names[][2] = {{"OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
                                           {"MPI_LOCALRANKID", "MPI_LOCALNRANKS"}};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *s = getenv(names[i][0]), *c = getenv(names[i][1]);
        if (s && c) {
            *self = (unsigned)strtoul(s, NULL, 10);
            *count = (unsigned)strtoul(c, NULL, 10);
            return *self < *count;
        }
    }
    return false;
}

struct processor {
    int package, core, index;
};

static int topology(unsigned cpu, const char *what)
{
    char path[96];
    int value = 0;
    snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/topology/%s", cpu, what);
    FILE *f = fopen(path, "re");
    if (f) {
        value = fscanf(f, "%d", &value) == 1 ? value : 0;
        fclose(f);
    }
    return value;
}

/* Threads of a core side by side, cores of a package side by side. */
static int by_core(const void *a, const void *b)
{
    const struct processor *x = a, *y = b;
    int order = x->package != y->package ? x->package - y->package : x->core - y->core;
    return order ? order : x->index - y->index;
}

bool ranks_have_processors(unsigned num_harts)
{
    unsigned self, count;
    cpu_set_t all;
    if (!local_rank(&self, &count)) {
        count = 1;
    }
    return sched_getaffinity(0, sizeof(all), &all) == 0 && (unsigned)CPU_COUNT(&all) / count >= num_harts;
}

void ranks_take_share(const struct machine_config *cfg)
{
    unsigned self, count, have = 0;
    cpu_set_t all, mine;
    struct processor p[CPU_SETSIZE];
    if (cfg->place[0] || !local_rank(&self, &count) || count < 2 ||
        (numa_available() == 0 && numa_num_configured_nodes() > 1) || sched_getaffinity(0, sizeof(all), &all) != 0 ||
        (unsigned)CPU_COUNT(&all) < count) { /* fewer than ranks: they must share */
        return;
    }
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all)) {
            p[have++] = (struct processor){topology(cpu, "physical_package_id"), topology(cpu, "core_id"), (int)cpu};
        }
    }
    qsort(p, have, sizeof(p[0]), by_core);
    CPU_ZERO(&mine);
    for (unsigned i = 0; i < have; i++) {
        if (i * count / have == self) {
            CPU_SET(p[i].index, &mine);
        }
    }
    if (sched_setaffinity(0, sizeof(mine), &mine) != 0) {
        log_warn("this rank could not take its part of the host's processors");
    }
}
