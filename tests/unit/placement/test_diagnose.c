/* Each refusal of the kernel is one sentence that names the cause and the way out. */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "placement/internal.h"

enum { SECCOMP = 1, SYS_NICE = 2, HUGE = 4, NODE_GONE = 8, NODE_EMPTY = 16, NODE_OUT = 32 };

static const struct {
    enum place_call call;
    int errnum, facts;
    const char *cause, *way_out;
} rows[] = {
    {CALL_MBIND, EPERM, SECCOMP, "seccomp filter", "--cap-add SYS_NICE"},
    {CALL_MBIND, EPERM, SECCOMP | SYS_NICE, "seccomp filter", "mbind"},
    {CALL_MBIND, EPERM, 0, "lacks CAP_SYS_NICE", "--place none"},
    {CALL_MBIND, EPERM, SYS_NICE, "security policy", "audit log"},
    {CALL_MOVE_PAGES, EPERM, 0, "shared with other processes", "setcap cap_sys_nice+ep"},
    {CALL_MOVE_PAGES, EACCES, SECCOMP, "seccomp filter", "seccomp profile"},
    {CALL_MBIND, EINVAL, NODE_EMPTY, "P#1 has no memory", "name a node with memory"},
    {CALL_MBIND, EINVAL, NODE_OUT, "outside this process's cpuset", "widen cpuset.mems"},
    {CALL_MBIND, EINVAL, NODE_GONE, "P#9 does not exist", "numactl -H"},
    {CALL_MOVE_PAGES, ENODEV, NODE_EMPTY, "has no memory", "name a node"},
    {CALL_SETAFFINITY, EINVAL, 0, "none of the PUs P#3,5 may be used", "cpuset.cpus"},
    {CALL_SETAFFINITY, EPERM, 0, "CAP_SYS_NICE", "--place none"},
    {CALL_SETAFFINITY, ESRCH, 0, "thread has ended", ""},
    {CALL_PREALLOC, ENOMEM, HUGE, "512 of 2048 KiB are wanted", "nr_hugepages"},
    {CALL_PREALLOC, EFAULT, HUGE, "100 are free", "nr_hugepages"},
    {CALL_PREALLOC, ENOMEM, 0, "out of memory on host node P#0", "policy=preferred"},
    {CALL_MBIND, ENOSYS, 0, "no NUMA support", "--place none"},
    {CALL_MBIND, EIO, 0, "Input/output error", "weft plan"},
    {CALL_MBIND, EFAULT, 0, "Bad address", "weft plan"},
};

START_TEST(row)
{
    static struct host_shape host;
    struct diagnose_facts f = {.host = &host};
    char text[640];
    memset(&host, 0, sizeof(host));
    host.num_hosts = 1;
    host.num_nodes = 2;
    for (unsigned x = 0; x < 2; x++) {
        host.node[x] = (struct host_node){.os_index = x, .capacity = 1 << 30, .memory_allowed = true};
    }
    int facts = rows[_i].facts;
    f.seccomp = facts & SECCOMP;
    f.sys_nice = facts & SYS_NICE;
    host.node[1].capacity = facts & NODE_EMPTY ? 0 : 1 << 30;
    host.node[1].memory_allowed = !(facts & NODE_OUT);
    bitmap_set(&f.nodes, facts & NODE_GONE ? 9 : facts & (NODE_EMPTY | NODE_OUT) ? 1 : 0);
    bitmap_set(&f.pus, 3);
    bitmap_set(&f.pus, 5);
    if (facts & HUGE) {
        f.page_size = 2 << 20;
        f.pages_wanted = 512;
        f.pages_free = 100;
    }
    placement_diagnose(text, sizeof(text), rows[_i].call, rows[_i].errnum, &f);
    ck_assert_msg(strstr(text, rows[_i].cause) != NULL, "\"%s\" lacks \"%s\"", text, rows[_i].cause);
    ck_assert_msg(strstr(text, rows[_i].way_out) != NULL, "\"%s\" lacks \"%s\"", text, rows[_i].way_out);
    ck_assert_ptr_null(strchr(text, '\n'));
    ck_assert_uint_lt(strlen(text), sizeof(text) - 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("diagnose");
    TCase *t = tcase_create("diagnose");
    tcase_add_loop_test(t, row, 0, sizeof(rows) / sizeof(rows[0]));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
