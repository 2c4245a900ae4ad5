/*
 * The outside reader: says from /proc and move_pages(2) alone where another process's threads and pages are, compares
 * that with the plan weft printed, and can disturb them behind weft's back. It shares no code with weft.
 *
 *   outside check PID REPORT       compares; exit 0 = everything as planned, 1 = it is not
 *   outside move PID REPORT NODE   moves a page of guest node 0 that is elsewhere to host node NODE
 *   outside pin PID THREAD CPU     pins the thread of that name
 */
#include <errno.h>
#include <dirent.h>
#include <jansson.h>
#include <numaif.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int wrong;

#define WRONG(...)                                                                                                     \
    do {                                                                                                               \
        printf("WRONG: " __VA_ARGS__);                                                                                 \
        putchar('\n');                                                                                                 \
        wrong++;                                                                                                       \
    } while (0)

/* "0-3,8" as a set of at most 64. */
static uint64_t set_of(const char *text)
{
    uint64_t set = 0;
    while (text != NULL && *text != 0) {
        char *end;
        unsigned long a = strtoul(text, &end, 10), b = *end == '-' ? strtoul(end + 1, &end, 10) : a;
        for (; a <= b && a < 64; a++) {
            set |= 1ull << a;
        }
        text = *end == ',' ? end + 1 : NULL;
    }
    return set;
}

static bool line_of(const char *path, const char *key, char *out, size_t size)
{
    char line[4096];
    FILE *f = fopen(path, "r");
    bool found = false;
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
        found = strncmp(line, key, strlen(key)) == 0;
    }
    if (f != NULL) {
        fclose(f);
    }
    if (found) {
        snprintf(out, size, "%s", line + strlen(key) + strspn(line + strlen(key), " \t"));
        out[strcspn(out, "\n")] = 0;
    }
    return found;
}

/* The thread id of the thread with this name (comm is cut at 15 characters), or 0. */
static int thread_named(int pid, const char *name)
{
    char path[128], comm[64];
    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    DIR *d = opendir(path);
    int tid = 0;
    for (struct dirent *e; d != NULL && tid == 0 && (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof(path), "/proc/%d/task/%.16s/comm", pid, e->d_name);
        if (line_of(path, "", comm, sizeof(comm)) && strncmp(comm, name, 15) == 0) {
            tid = atoi(e->d_name);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return tid;
}

static void threads_check(int pid, const json_t *plan)
{
    size_t i;
    json_t *t;
    json_array_foreach(json_object_get(plan, "threads"), i, t)
    {
        const char *kind = json_string_value(json_object_get(t, "kind"));
        const char *name = json_string_value(json_object_get(t, "name"));
        bool vcpu = strcmp(kind, "vcpu") == 0;
        if ((!vcpu && strcmp(kind, "main") != 0) || !json_is_true(json_object_get(t, "bound"))) {
            continue;
        }
        char path[128], allowed[512];
        int tid = vcpu ? thread_named(pid, name) : pid;
        snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
        if (tid == 0 || !line_of(path, "Cpus_allowed_list:", allowed, sizeof(allowed))) {
            WRONG("thread %s is not there", name);
            continue;
        }
        const char *planned = json_string_value(json_object_get(t, "pus"));
        printf("thread %-14s tid %-5d allowed %s, planned %s\n", name, tid, allowed, planned);
        if (set_of(allowed) != set_of(planned)) {
            WRONG("thread %s may run on %s, the plan says %s", name, allowed, planned);
        }
    }
}

/*
 * numa_maps has a line for each mapping, and neighbours with the same policy are one mapping. Gives the policy of the
 * mapping that holds `at`, and adds up the pages per node of the mappings that begin in [from, to).
 */
static void numa_maps_read(int pid, uint64_t at, uint64_t from, uint64_t to, uint64_t *on, char *policy, size_t size)
{
    char path[64], line[4096];
    snprintf(path, sizeof(path), "/proc/%d/numa_maps", pid);
    FILE *f = fopen(path, "r");
    policy[0] = 0;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        char *end, word[64];
        uint64_t begin = strtoull(line, &end, 16);
        if (begin <= at && sscanf(end, "%63s", word) == 1) {
            snprintf(policy, size, "%s", word);
        }
        char *huge = strstr(end, "kernelpagesize_kB="); /* what a page is in this line; here they are 4 KiB */
        uint64_t unit = huge != NULL ? strtoull(huge + 18, NULL, 10) / 4 : 1;
        for (unsigned n = 0; begin >= from && begin < to && n < 64; n++) {
            char key[16];
            snprintf(key, sizeof(key), " N%u=", n);
            char *v = strstr(end, key);
            on[n] += v != NULL ? strtoull(v + strlen(key), NULL, 10) * unit : 0;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
}

static const json_t *node_of(const json_t *plan, json_int_t guest_node)
{
    return json_array_get(json_object_get(plan, "nodes"), (size_t)guest_node);
}

/* `all` adds up what move_pages(2) says of all ranges. */
static void range_check(int pid, const json_t *plan, const json_t *r, uint64_t *all)
{
    json_int_t g = json_integer_value(json_object_get(r, "guest_node"));
    uint64_t addr = strtoull(json_string_value(json_object_get(r, "address")), NULL, 16);
    uint64_t len = (uint64_t)json_integer_value(json_object_get(r, "bytes"));
    const json_t *node = node_of(plan, g);
    uint64_t planned = set_of(json_string_value(json_object_get(node, "host_nodes")));
    const char *policy = json_string_value(json_object_get(node, "policy"));
    uint64_t pages[64] = {0}, present = 0, misplaced = 0;
    char seen[64];
    enum { N = 512 };
    for (uint64_t at = 0; at < len; at += N * 4096) {
        void *page[N];
        int status[N];
        unsigned n = 0;
        for (; n < N && at + n * 4096 < len; n++) {
            page[n] = (void *)(uintptr_t)(addr + at + n * 4096);
        }
        if (move_pages(pid, n, page, NULL, status, 0) < 0) {
            WRONG("move_pages: %s", strerror(errno));
            return;
        }
        for (unsigned i = 0; i < n; i++) {
            if (status[i] >= 0 && status[i] < 64) {
                pages[status[i]]++;
                all[status[i]]++;
                present++;
                misplaced += planned != 0 && !(planned >> status[i] & 1);
            }
        }
    }
    numa_maps_read(pid, addr, 0, 0, NULL, seen, sizeof(seen));
    printf("guest node %lld: plan %s %s; numa_maps %s; %llu pages present:", (long long)g, policy,
           json_string_value(json_object_get(node, "host_nodes")), seen, (unsigned long long)present);
    for (unsigned n = 0; n < 64; n++) {
        if (pages[n] > 0) {
            printf(" N%u=%llu", n, (unsigned long long)pages[n]);
        }
    }
    printf("\n");
    if (misplaced > 0) {
        WRONG("%llu of %llu pages of guest node %lld are not where the plan says", (unsigned long long)misplaced,
              (unsigned long long)present, (long long)g);
    }
    for (unsigned n = 0; strcmp(policy, "interleave") == 0 && json_object_get(node, "weights") == NULL && n < 64; n++) {
        uint64_t even = present / (uint64_t)__builtin_popcountll(planned);
        if ((planned >> n & 1) != 0 && (pages[n] < even - even / 4 || pages[n] > even + even / 4)) {
            WRONG("guest node %lld is to be interleaved, but %llu of its %llu pages are on N%u", (long long)g,
                  (unsigned long long)pages[n], (unsigned long long)present, n);
        }
    }
    json_t *weights = json_object_get(node, "weights"), *w;
    const char *on;
    double total = 0;
    json_object_foreach(weights, on, w)
    {
        total += json_number_value(w);
    }
    json_object_foreach(weights, on, w)
    {
        double share = json_number_value(w) / total, seen_share = (double)pages[atoi(on) & 63] / (double)(present + 1);
        if (seen_share < share - 0.1 || seen_share > share + 0.1) {
            WRONG("guest node %lld has %.0f %% of its pages on P#%s, by weight it should be %.0f %%", (long long)g,
                  seen_share * 100, on, share * 100);
        }
    }
    /* As numa_maps writes policies; "restrictive" is the kernel's bind over several nodes. */
    char want[64];
    snprintf(want, sizeof(want), "%s",
             weights != NULL                      ? "bind:" /* in stripes, each bound to one node */
             : strcmp(policy, "preferred") == 0   ? "prefer"
             : strcmp(policy, "restrictive") == 0 ? "bind:"
                                                  : policy);
    if (strncmp(seen, want, strlen(want)) != 0) {
        WRONG("guest node %lld has policy %s in numa_maps, the plan says %s", (long long)g, seen, policy);
    }
    if (planned == 0) {
        return; /* nothing was promised, and the host's own balancing may move pages between two looks */
    }
    /* What weft said about the same pages. The guest may have touched more since. */
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(r, "pages_on_node"), key, v)
    {
        if ((uint64_t)json_integer_value(v) > pages[atoi(key) & 63]) {
            WRONG("weft's proof has %lld pages of guest node %lld on P#%s, here there are %llu",
                  (long long)json_integer_value(v), (long long)g, key, (unsigned long long)pages[atoi(key) & 63]);
        }
    }
}

static int check(int pid, const json_t *report)
{
    const json_t *plan = json_object_get(report, "plan");
    json_t *ranges = json_object_get(json_object_get(report, "proof"), "ranges"), *r;
    size_t i;
    uint64_t bytes = 0, planned = 0, from = UINT64_MAX, to = 0, pages[64] = {0}, maps[64] = {0};
    threads_check(pid, plan);
    json_array_foreach(ranges, i, r)
    {
        uint64_t addr = strtoull(json_string_value(json_object_get(r, "address")), NULL, 16);
        uint64_t len = (uint64_t)json_integer_value(json_object_get(r, "bytes"));
        range_check(pid, plan, r, pages);
        from = addr < from ? addr : from;
        to = addr + len > to ? addr + len : to;
        bytes += len;
    }
    char seen[64];
    numa_maps_read(pid, from, from, to, maps, seen, sizeof(seen));
    bool bound = strcmp(json_string_value(json_object_get(plan, "policy")), "none") != 0;
    for (unsigned n = 0; bound && n < 64; n++) {
        if (maps[n] != pages[n] && (maps[n] < pages[n] || maps[n] > pages[n] + pages[n] / 10 + 64)) {
            WRONG("numa_maps counts %llu pages of the guest on N%u, move_pages %llu", (unsigned long long)maps[n], n,
                  (unsigned long long)pages[n]);
        }
    }
    json_array_foreach(json_object_get(plan, "nodes"), i, r)
    {
        planned += (uint64_t)json_integer_value(json_object_get(r, "memory"));
    }
    if (bytes == 0 || bytes < planned) {
        WRONG("the proof covers %llu bytes of the guest's %llu", (unsigned long long)bytes,
              (unsigned long long)planned);
    }
    printf(wrong == 0 ? "outside: everything is where the plan says\n" : "outside: %d deviations\n", wrong);
    return wrong == 0 ? 0 : 1;
}

static int move_one(int pid, const json_t *report, int node)
{
    json_t *r = json_array_get(json_object_get(json_object_get(report, "proof"), "ranges"), 0);
    uint64_t addr = strtoull(json_string_value(json_object_get(r, "address")), NULL, 16);
    uint64_t len = (uint64_t)json_integer_value(json_object_get(r, "bytes"));
    for (uint64_t at = 0; at < len; at += 4096) {
        void *page = (void *)(uintptr_t)(addr + at);
        int status = -1;
        if (move_pages(pid, 1, &page, NULL, &status, 0) == 0 && status >= 0 && status != node &&
            move_pages(pid, 1, &page, &node, &status, MPOL_MF_MOVE_ALL) == 0 && status == node) {
            printf("moved the page at %p to P#%d\n", page, node);
            return 0;
        }
    }
    printf("no page could be moved\n");
    return 1;
}

static int pin(int pid, const char *name, int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    int tid = thread_named(pid, name);
    if (tid == 0 || sched_setaffinity(tid, sizeof(set), &set) != 0) {
        printf("%s cannot be pinned\n", name);
        return 1;
    }
    printf("pinned %s (tid %d) to CPU %d\n", name, tid, cpu);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "pin") == 0) {
        return pin(atoi(argv[2]), argv[3], atoi(argv[4]));
    }
    json_error_t je;
    json_t *report = argc >= 4 ? json_load_file(argv[3], JSON_DISABLE_EOF_CHECK, &je) : NULL;
    if (report == NULL) {
        fprintf(stderr, "usage: outside check PID REPORT | move PID REPORT NODE | pin PID THREAD CPU%s%s\n",
                argc >= 4 ? "\n" : "", argc >= 4 ? je.text : "");
        return 2;
    }
    int status = argc == 5 && strcmp(argv[1], "move") == 0 ? move_one(atoi(argv[2]), report, atoi(argv[4]))
                                                           : check(atoi(argv[2]), report);
    json_decref(report);
    return status;
}
