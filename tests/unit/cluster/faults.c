/*
 * What happens to the others when a rank is lost. Each rank hammers shared pages and a lock; the runner
 * (tests/unit/cluster/ faults.sh) kills or freezes one. A survivor prints "lost R after MS ms: SENTENCE" and exits 3;
 * nothing may hang.
 *
 *   mpirun -n N faults DIR     each rank writes its process id to DIR/RANK and runs until the end
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "page_user.h"
#include "weft/cluster.h"

enum { VCPUS = 2, PAGES = 16 };

static struct membership members;
static struct cluster *cluster;
static struct page_user user;
static sem_t ended;
static int end_lost = -1, end_status;
static char end_sentence[256];

static void on_end(void *opaque, int status, int lost, const char *sentence)
{
    end_lost = lost;
    end_status = status;
    snprintf(end_sentence, sizeof(end_sentence), "%s", sentence);
    sem_post(&ended);
}

static const struct cluster_ops cluster_ops = {.on_end = on_end};

/* Runs until a page does not come any more. */
static void *hammer(void *opaque)
{
    struct user_vcpu *v = opaque;
    page_user_run(v);
    uint64_t n = 0, value;
    bool ok = true;
    while (ok) {
        uint64_t page = (n * 7 + members.self) % PAGES;
        ok = n % 3 ? page_user_load(v, page, 8, &value) : page_user_add(v, page, 8, 1, &value);
        n++;
    }
    page_user_rest(v);
    return NULL;
}

/* Locks and unlocks until the lock service says that this rank is cut off, or the run ends. */
static atomic_bool over;
static void *lock_hammer(void *opaque)
{
    int lock = cluster_lock_open(cluster, "machine");
    struct lock_fence fence, last = {0};
    while (!atomic_load(&over) && cluster_lock(cluster, lock, LOCK_EXCLUSIVE, &fence)) {
        assert(lock_fence_less(last, fence));
        last = fence;
        usleep(200);
        cluster_unlock(cluster, lock, LOCK_EXCLUSIVE);
    }
    return NULL;
}

static bool start(struct error *err)
{
    if (!membership_start(&members, WEFT_VERSION, "faults", err)) {
        return false;
    }
    struct transport *t = transport_join(&members, CLUSTER_SILENCE_MS, NULL, 0, err);
    if (!t) {
        return false;
    }
    static struct home_range ranges[PAGES];
    for (unsigned p = 0; p < PAGES; p++) {
        ranges[p] = (struct home_range){.first = p, .count = 1, .rank = (uint16_t)(p % members.ranks)};
    }
    uint8_t *ram = mmap(NULL, PAGES * MSG_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page_user_init(&user, VCPUS, ram);
    struct cluster_config c = {.members = &members, .transport = t, .num_ranges = PAGES, .ranges = ranges, .ram = ram};
    c.users = &page_user_ops;
    c.users_opaque = &user;
    c.ops = &cluster_ops;
    cluster = cluster_create(&c);
    user.source = cluster_pages(cluster);
    return cluster_start(cluster, err);
}

int main(int argc, char **argv)
{
    struct error err = {0};
    if (argc != 2 || !start(&err)) {
        error_report(&err);
        return 1;
    }
    membership_barrier(&members);
    sem_init(&ended, 0, 0);
    pthread_t vcpus[VCPUS], locker;
    for (unsigned i = 0; i < VCPUS; i++) {
        pthread_create(&vcpus[i], NULL, hammer, &user.vcpu[i]);
    }
    pthread_create(&locker, NULL, lock_hammer, NULL);
    char path[512];
    snprintf(path, sizeof(path), "%s/%u", argv[1], members.self);
    FILE *f = fopen(path, "w");
    assert(f);
    fprintf(f, "%d\n", (int)getpid());
    fclose(f);
    while (sem_wait(&ended)) {
    }
    for (unsigned i = 0; i < VCPUS; i++) {
        pthread_join(vcpus[i], NULL);
    }
    atomic_store(&over, true);
    snprintf(path, sizeof(path), "%s/%u.end", argv[1], members.self);
    f = fopen(path, "w");
    assert(f);
    fprintf(f, "lost %d: %s\n", end_lost, end_sentence);
    fclose(f);
    /* Locks of the dead come free within the lease; the thread that waits for one is part of what must not hang. */
    if (members.ranks > 2) {
        pthread_join(locker, NULL);
    }
    cluster_stop(cluster);
    membership_abandon(&members, 3);
}
