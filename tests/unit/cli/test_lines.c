/*
 * Runs the real binary on every line of the two tables: test_lines WEFT FOLDER_OF_TABLES. Each mistake must end with
 * exit status 1, one sentence on standard error with a way out, nothing on standard output, and no file created.
 */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "table.h"

static char weft[PATH_MAX], folder[] = "/tmp/weft-lines-XXXXXX";
static struct table mistakes, good;
static char out[1 << 20], err[1 << 16];

static void slurp(const char *path, char *buf, size_t size)
{
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    buf[fread(buf, 1, size - 1, f)] = '\0';
    fclose(f);
}

/* Runs weft in the test's folder, filling out and err; returns its exit status, or 128 + the signal. */
static int run(char **words)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int fo = open("../weft-lines-out", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int fe = open("../weft-lines-err", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int in = open("/dev/null", O_RDONLY);
        if (fo < 0 || fe < 0 || in < 0 || dup2(in, 0) < 0 || dup2(fo, 1) < 0 || dup2(fe, 2) < 0) {
            _exit(120);
        }
        alarm(120);
        execv(weft, words);
        _exit(121);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    slurp("../weft-lines-out", out, sizeof(out));
    slurp("../weft-lines-err", err, sizeof(err));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static unsigned count_files(void)
{
    DIR *d = opendir(".");
    ck_assert_ptr_nonnull(d);
    unsigned n = 0;
    while (readdir(d)) {
        n++;
    }
    closedir(d);
    return n;
}

START_TEST(mistake)
{
    const struct table_line *line = &mistakes.line[_i];
    char buf[8192], *words[TABLE_MAX_WORDS + 1];
    words[0] = weft;
    table_words(line->field[0], buf, sizeof(buf), words + 1);
    ck_assert_msg(line->num_fields == 2, "line %u needs one tab", line->number);
    unsigned files = count_files();
    int status = run(words);
    ck_assert_msg(status == 1, "line %u: exit status %d: %s", line->number, status, err);
    ck_assert_msg(out[0] == '\0', "line %u: standard output: %s", line->number, out);
    ck_assert_msg(strstr(err, line->field[1]) != NULL, "line %u: the sentence is %s", line->number, err);
    char *last = strstr(err, "\n");
    ck_assert_msg(strncmp(err, "weft: ", 6) == 0 && last && last[1] == '\0', "line %u: not one sentence: %s",
                  line->number, err);
    ck_assert_msg(strchr(err, ';') || strstr(err, "did you mean") || strstr(err, "not in weft: "),
                  "line %u: no way out: %s", line->number, err);
    ck_assert_msg(count_files() == files, "line %u: it created a file", line->number);
}
END_TEST

/* The value at "nodes.0.cpus", or NULL. */
static json_t *find(json_t *root, char *path)
{
    json_t *at = root;
    for (char *key = strsep(&path, "."); key && at; key = strsep(&path, ".")) {
        at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10)) : json_object_get(at, key);
    }
    return at;
}

START_TEST(right)
{
    const struct table_line *line = &good.line[_i];
    char buf[8192], *words[TABLE_MAX_WORDS + 8] = {weft, (char *)"run", (char *)"--dry-run", (char *)"--json"};
    table_words(line->field[0], buf, sizeof(buf), words + 4);
    unsigned files = count_files();
    int status = run(words);
    ck_assert_msg(status == 0, "line %u: exit status %d: %s", line->number, status, err);
    ck_assert_msg(err[0] == '\0', "line %u: %s", line->number, err);
    ck_assert_uint_eq(count_files(), files);
    json_error_t why;
    json_t *root = json_loads(out, 0, &why);
    ck_assert_msg(root != NULL, "line %u: no JSON: %s", line->number, why.text);
    ck_assert_uint_ge(line->num_fields, 2);
    for (unsigned i = 1; i < line->num_fields; i++) {
        char *field = strdup(line->field[i]), *equals = strchr(field, '=');
        ck_assert_msg(equals != NULL, "line %u: %s", line->number, field);
        *equals = '\0';
        json_t *wanted = json_loads(equals + 1, JSON_DECODE_ANY, &why);
        ck_assert_msg(wanted != NULL, "line %u: %s: %s", line->number, line->field[i], why.text);
        json_t *found = find(root, field);
        char *text = found ? json_dumps(found, JSON_ENCODE_ANY | JSON_COMPACT) : strdup("nothing");
        ck_assert_msg(found && json_equal(found, wanted), "line %u: %s, but it is %s", line->number, line->field[i],
                      text);
        free(text);
        json_decref(wanted);
        free(field);
    }
    json_decref(root);
    words[3] = (char *)"--report"; /* the text form takes every such machine too */
    ck_assert_int_eq(run(words), 0);
    ck_assert_ptr_nonnull(strstr(out, "machine    virt"));
}
END_TEST

/* Command lines that answer instead of running: exit 0, on standard output. */
START_TEST(answers)
{
    static const struct {
        const char *words[5], *text;
    } cases[] = {
        {{"--version"}, "weft 0."},
        {{"--help"}, "Verbs:"},
        {{"run", "--help"}, "-numa node"},
        {{"run", "-h"}, "-numa node"},
        {{"help", "run"}, "-numa node"},
        {{"run", "--version"}, "weft 0."},
        {{"run", "-d", "help"}, "guest_errors"},
        {{"run", "-kernel", "missing", "-cpu", "help"}, "zicboz"},
        {{"run", "-M", "help"}, "virt"},
        {{"run", "-accel", "help"}, "tcg"},
        {{"run", "-device", "help"}, "virtio-rng-device"},
        {{"run", "-object", "help"}, "memory-backend-memfd"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *words[8] = {weft};
        for (unsigned w = 0; w < 5 && cases[i].words[w]; w++) {
            words[w + 1] = (char *)cases[i].words[w];
        }
        ck_assert_int_eq(run(words), 0);
        ck_assert_str_eq(err, "");
        ck_assert_msg(strstr(out, cases[i].text) != NULL, "case %u: %s", i, out);
    }
    char *none[] = {weft, NULL};
    ck_assert_int_eq(run(none), 1);
    ck_assert_ptr_nonnull(strstr(err, "Usage: weft VERB"));
}
END_TEST

/* What is doubtful is told, and does not end the run. */
START_TEST(warnings)
{
    static const struct {
        const char *command, *text;
    } cases[] = {
        {"run --dry-run -smp 4 -m 2G -numa node,mem=1G,cpus=0-1 -numa node,mem=1G,cpus=3",
         "weft: warning: -numa: hart 2 is in no node and goes to the default one"},
        {"run --dry-run -smp 6 -m 2G -numa node,mem=1G,cpus=0 -numa node,mem=1G,cpus=3",
         "harts 1-2,4-5 are in no node"},
        {"run --dry-run -object memory-backend-ram,id=m0,size=1G", "-object memory-backend-ram,id=m0: no node uses it"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char buf[1024], *words[TABLE_MAX_WORDS + 1] = {weft};
        table_words(cases[i].command, buf, sizeof(buf), words + 1);
        ck_assert_int_eq(run(words), 0);
        ck_assert_msg(strstr(err, cases[i].text) != NULL, "case %u: %s", i, err);
    }
}
END_TEST

/* A pid file that a running process holds is refused and left alone. */
START_TEST(pidfile_held)
{
    int fd = open("pid", O_RDWR | O_CREAT | O_EXCL, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "1\n", 2), 2);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    ck_assert_int_eq(lockf(fd, F_TLOCK, 0), 0);
    char *words[] = {weft, (char *)"run", (char *)"-kernel", (char *)"kernel", (char *)"-pidfile", (char *)"pid", NULL};
    ck_assert_int_eq(run(words), 1);
    ck_assert_msg(strstr(err, "-pidfile pid: another process that runs holds it; name another file") != NULL, "%s",
                  err);
    char text[8] = "";
    ck_assert_int_eq(pread(fd, text, sizeof(text) - 1, 0), 2);
    ck_assert_str_eq(text, "1\n");
    close(fd);
    ck_assert_int_eq(unlink("pid"), 0);
}
END_TEST

static void make_folder(void)
{
    if (!mkdtemp(folder)) {
        perror(folder);
        exit(1);
    }
    char inner[sizeof(folder) + 8];
    snprintf(inner, sizeof(inner), "%s/cwd", folder);
    static const char *const names[] = {"kernel", "initrd", "tree.dtb"};
    if (mkdir(inner, 0700) != 0 || chdir(inner) != 0 || mkdir("dir", 0700) != 0) {
        perror(inner);
        exit(1);
    }
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        FILE *f = fopen(names[i], "w");
        if (!f) {
            perror(names[i]);
            exit(1);
        }
        fclose(f);
    }
}

static void remove_folder(void)
{
    static const char *const names[] = {"kernel", "initrd", "tree.dtb", "../weft-lines-out", "../weft-lines-err"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unlink(names[i]);
    }
    rmdir("dir");
    if (chdir("/tmp") == 0) {
        char inner[sizeof(folder) + 8];
        snprintf(inner, sizeof(inner), "%s/cwd", folder);
        rmdir(inner);
        rmdir(folder);
    }
}

int main(int argc, char **argv)
{
    char path[PATH_MAX + 16];
    if (argc != 3 || !realpath(argv[1], weft)) {
        fprintf(stderr, "usage: test_lines WEFT FOLDER_OF_TABLES\n");
        return 1;
    }
    snprintf(path, sizeof(path), "%s/mistakes.tsv", argv[2]);
    table_load(&mistakes, path);
    snprintf(path, sizeof(path), "%s/good.tsv", argv[2]);
    table_load(&good, path);
    if (mistakes.count < 60 || good.count < 25) {
        fprintf(stderr, "the tables have shrunk: %u mistakes, %u good lines\n", mistakes.count, good.count);
        return 1;
    }
    make_folder();
    Suite *s = suite_create("command lines");
    TCase *tc = tcase_create("binary");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, mistake, 0, (int)mistakes.count);
    tcase_add_loop_test(tc, right, 0, (int)good.count);
    tcase_add_test(tc, answers);
    tcase_add_test(tc, warnings);
    tcase_add_test(tc, pidfile_held);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    remove_folder();
    return failed != 0;
}
