#include "weft/membership.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPTIONS_MAX = 16384, BARRIER_POLL_US = 500 };

/* What each rank says of itself first. */
struct introduction {
    char version[32];
    char hostname[64];
    uint64_t options_hash;
    uint32_t options_length;
    int32_t pid;
    uint32_t host;
};

static uint64_t hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325ull;
    for (; *text; text++) {
        h = (h ^ (uint8_t)*text) * 0x100000001b3ull;
    }
    return h;
}

/* mpirun and Slurm leave these; a plain start has none of them. */
static bool was_launched(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK") || getenv("PMI_RANK");
}

/* The first word in which two option texts differ. */
static void first_difference(const char *a, const char *b, char *word_a, char *word_b, size_t size)
{
    size_t i = 0, start = 0;
    for (; a[i] && a[i] == b[i]; i++) {
        start = a[i] == ' ' ? i + 1 : start;
    }
    snprintf(word_a, size, "%.*s", (int)strcspn(a + start, " "), a + start);
    snprintf(word_b, size, "%.*s", (int)strcspn(b + start, " "), b + start);
}

/* All ranks find the same rank that differs from rank 0, and make the same sentence of it. */
static bool check_same(const struct membership *m, const struct introduction *all, const char *options,
                       struct error *err)
{
    for (unsigned r = 1; r < m->ranks; r++) {
        if (strcmp(all[r].version, all[0].version)) {
            return error_set(err,
                             "rank %u on %s is weft %s, rank 0 on %s is weft %s: install the same version on all hosts",
                             r, all[r].hostname, all[r].version, all[0].hostname, all[0].version);
        }
        if (all[r].options_hash == all[0].options_hash && all[r].options_length == all[0].options_length) {
            continue;
        }
        char *mine[2] = {calloc(1, OPTIONS_MAX), calloc(1, OPTIONS_MAX)};
        assert(mine[0] && mine[1]);
        snprintf(mine[0], OPTIONS_MAX, "%s", options);
        snprintf(mine[1], OPTIONS_MAX, "%s", options);
        MPI_Bcast(mine[0], OPTIONS_MAX, MPI_CHAR, 0, MPI_COMM_WORLD);
        MPI_Bcast(mine[1], OPTIONS_MAX, MPI_CHAR, (int)r, MPI_COMM_WORLD);
        char a[128], b[128];
        first_difference(mine[0], mine[1], a, b, sizeof(a));
        free(mine[0]);
        free(mine[1]);
        return error_set(
            err,
            "rank %u on %s was started with other options than rank 0: '%s' instead of '%s'; start all ranks "
            "with the same options",
            r, all[r].hostname, b, a);
    }
    return true;
}

/* One directory per host for ipc sockets: made by the lowest rank there, named by the session. */
static bool make_run_dir(struct membership *m, struct error *err)
{
    const char *tmp = getenv("TMPDIR");
    tmp = tmp && *tmp && strlen(tmp) < 64 ? tmp : "/tmp";
    snprintf(m->run_dir, sizeof(m->run_dir), "%s/weft-%08x-%u", tmp, m->session, m->member[m->self].host);
    bool first = m->member[m->self].host == m->self;
    bool ok = !first || mkdir(m->run_dir, 0700) == 0;
    int e = errno;
    struct error here = {0};
    if (!ok) {
        error_set_errno(&here, e, "cannot make %s for the sockets of this run; set TMPDIR to a directory one can write",
                        m->run_dir);
    }
    if (!membership_agree(m, ok, &here)) {
        *err = here;
        return false;
    }
    return true;
}

bool membership_start(struct membership *m, const char *version, const char *options, struct error *err)
{
    *m = (struct membership){.ranks = 1, .hosts = 1};
    struct introduction me = {.pid = (int32_t)getpid()};
    gethostname(me.hostname, sizeof(me.hostname) - 1);
    if (was_launched()) {
        int provided, rank, size;
        MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        MPI_Comm_size(MPI_COMM_WORLD, &size);
        m->mpi = true;
        m->self = (unsigned)rank;
        m->ranks = (unsigned)size;
        if (size > WEFT_MAX_RANKS) {
            return error_set(err, "mpirun started %d ranks, weft takes at most %d: use a smaller -n", size,
                             WEFT_MAX_RANKS);
        }
        MPI_Comm host;
        MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host);
        int lowest;
        MPI_Allreduce(&rank, &lowest, 1, MPI_INT, MPI_MIN, host);
        MPI_Comm_free(&host);
        me.host = (uint32_t)lowest;
    }
    snprintf(me.version, sizeof(me.version), "%s", version);
    me.options_hash = hash(options);
    me.options_length = (uint32_t)strlen(options);
    struct introduction all[WEFT_MAX_RANKS];
    membership_exchange(m, &me, sizeof(me), all);
    uint64_t hosts = 0;
    for (unsigned r = 0; r < m->ranks; r++) {
        memcpy(m->member[r].hostname, all[r].hostname, sizeof(all[r].hostname));
        m->member[r].host = all[r].host;
        m->member[r].pid = all[r].pid;
        hosts |= 1ull << all[r].host;
    }
    m->hosts = (unsigned)__builtin_popcountll(hosts);
    uint32_t session[WEFT_MAX_RANKS], drawn = 0;
    if (getrandom(&drawn, sizeof(drawn), 0) != sizeof(drawn)) {
        drawn = (uint32_t)me.pid;
    }
    membership_exchange(m, &drawn, sizeof(drawn), session);
    m->session = session[0];
    return check_same(m, all, options, err) && (m->ranks == 1 || make_run_dir(m, err));
}

void membership_exchange(const struct membership *m, const void *mine, size_t size, void *all)
{
    if (!m->mpi) {
        memcpy(all, mine, size);
        return;
    }
    MPI_Allgather(mine, (int)size, MPI_BYTE, all, (int)size, MPI_BYTE, MPI_COMM_WORLD);
}

bool membership_agree(const struct membership *m, bool ok, struct error *err)
{
    if (!m->mpi) {
        return ok;
    }
    int mine = ok ? WEFT_MAX_RANKS : (int)m->self, lowest;
    MPI_Allreduce(&mine, &lowest, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (lowest == WEFT_MAX_RANKS) {
        return true;
    }
    MPI_Bcast(err->text, sizeof(err->text), MPI_CHAR, lowest, MPI_COMM_WORLD);
    err->set = true;
    return false;
}

void membership_barrier(const struct membership *m)
{
    if (!m->mpi) {
        return;
    }
    /* Asleep in between: MPI would wait with a core of its own, which the guest may need. */
    MPI_Request request;
    int done = 0;
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    for (;;) {
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        if (done) {
            return;
        }
        usleep(BARRIER_POLL_US);
    }
}

void membership_remove_run_dir(const struct membership *m)
{
    bool ours = m->run_dir[0] && m->member[m->self].host == m->self;
    DIR *d = ours ? opendir(m->run_dir) : NULL;
    if (!d) {
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] != '.') {
            unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    closedir(d);
    rmdir(m->run_dir);
}

void membership_end(struct membership *m)
{
    membership_barrier(m);
    membership_remove_run_dir(m);
    if (m->mpi) {
        MPI_Finalize();
        m->mpi = false;
    }
}

void membership_abandon(struct membership *m, int status)
{
    membership_remove_run_dir(m);
    fflush(NULL);
    _exit(status);
}
