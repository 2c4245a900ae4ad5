/*
 * Threads that nobody bound: those of libraries (ZeroMQ, MPI) and pools, which start when they like. They are found in
 * /proc/self/task, told apart by their names, and put where the plan has their kind.
 */
#include "placement/internal.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void kind_of(const struct placement *p, const char *name, enum place_thread_kind *kind, int *index)
{
    unsigned n;
    *index = -1;
    if (sscanf(name, "worker-%u", &n) == 1) {
        *kind = PLACE_WORKER;
        *index = (int)(n & 0xffff);
    } else if (strcmp(name, "coherence") == 0 || strcmp(name, "idle poll") == 0) {
        *kind = PLACE_COHERENCE;
    } else if (strncmp(name, "ZMQ", 3) == 0) {
        *kind = PLACE_ZMQ_IO;
    } else if (p->over_ranks && strcmp(name, "placement") != 0) {
        *kind = PLACE_MPI; /* what else starts threads there gives them no name of ours */
    } else {
        *kind = PLACE_MAIN;
    }
}

/* [L] The first number of this kind that no thread has; the main loop's is 0, whether it is registered or not. */
static unsigned index_free(const struct placement *p, enum place_thread_kind kind)
{
    unsigned index = kind == PLACE_MAIN;
    for (unsigned i = 0; i < p->num_threads; i++) {
        if (p->thread[i].kind == kind && p->thread[i].index >= index) {
            index = p->thread[i].index + 1;
        }
    }
    return index;
}

/*
 * [L] The affinity is set under the lock: a vCPU thread that is just starting registers and then binds itself, which
 * thus comes after this, or this does not happen.
 */
static void thread_adopt(struct placement *p, pid_t tid)
{
    char path[64], name[32];
    enum place_thread_kind kind;
    int index;
    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tid);
    if (sysfs_text_read(path, name, sizeof(name)) < 0) {
        return; /* it has just ended */
    }
    kind_of(p, name, &kind, &index);
    unsigned number = index >= 0 ? (unsigned)index : index_free(p, kind);
    const struct plan_thread *place = thread_place(p->plan, kind, number);
    bool bound = place != NULL && place->bound;
    struct placed_thread *t = thread_register_locked(p, kind, number, name, tid, bound);
    t->adopted = true;
    if (bound) {
        thread_affinity_apply(tid, &place->pus); /* what is refused is seen when it is read back */
    }
}

void threads_adopt(struct placement *p)
{
    DIR *d = opendir("/proc/self/task");
    if (d == NULL) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->num_threads; i++) {
        p->thread[i].seen = false;
    }
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        pid_t tid = (pid_t)atoi(e->d_name);
        unsigned i = 0;
        while (i < p->num_threads && p->thread[i].tid != tid) {
            i++;
        }
        if (tid > 0 && i == p->num_threads) {
            thread_adopt(p, tid);
        }
        if (tid > 0 && i < p->num_threads) {
            p->thread[i].seen = true;
        }
    }
    /* Nobody takes these out of the registry when they end. */
    for (unsigned i = p->num_threads; i-- > 0;) {
        if (p->thread[i].adopted && !p->thread[i].seen) {
            p->thread[i] = p->thread[--p->num_threads];
        }
    }
    pthread_mutex_unlock(&p->lock);
    closedir(d);
}
