/* weft run: reads the machine from the command line and runs it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/launch.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "weft/log.h"
#include "weft/machine.h"
#include "weft/placement.h"

/* Answers --help, --version and `-option help`, wherever they stand; false if none was asked for. */
static bool answer_help(int argc, char **argv)
{
    struct error ignored = {0};
    struct option_word w;
    for (int i = 1; i < argc && option_next(argc, argv, &i, &w, &ignored);) {
        bool asks = w.value && (strcmp(w.value, "help") == 0 || strcmp(w.value, "?") == 0);
        if (strcmp(w.option->name, "help") == 0) {
            option_help(stdout);
        } else if (strcmp(w.option->name, "version") == 0) {
            printf("weft %s\n", WEFT_VERSION);
        } else if (asks && w.option->list) {
            w.option->list(stdout);
        } else {
            continue;
        }
        return true;
    }
    return false;
}

/*
 * Writes and locks the pid file; the lock lasts as long as the returned descriptor, and tells a second weft apart from
 * a file that an earlier one left behind. Returns -1 after setting the error.
 */
static int pidfile_create(const char *path, struct error *err)
{
    char text[32];
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        error_set_errno(err, errno, "-pidfile %.256s: it cannot be opened; name a file that can be written", path);
        return -1;
    }
    int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (lockf(fd, F_TLOCK, 0) != 0) {
        error_set(err, "-pidfile %.256s: another process that runs holds it; name another file", path);
    } else if (ftruncate(fd, 0) != 0 || write(fd, text, (size_t)n) != n) {
        error_set_errno(err, errno, "-pidfile %.256s: it cannot be written; name another file", path);
    } else {
        return fd;
    }
    close(fd);
    return -1;
}

/* Everything that exists around a machine while it runs. */
static int run(struct machine_config *cfg, struct error *err)
{
    if (!cli_check_bootable(cfg, err)) {
        return 1;
    }
    int pidfile = cfg->pidfile[0] ? pidfile_create(cfg->pidfile, err) : -1;
    if (err->set) {
        return 1;
    }
    int status = 1;
    int r = log_open(cfg->log_mask, cfg->log_file);
    if (r < 0) {
        error_set_errno(err, -r, "-D %.256s: it cannot be opened; name a file that can be written", cfg->log_file);
    } else {
        cfg->report = cfg->report || isatty(STDERR_FILENO);
        status = machine_run(cfg, err);
        log_close();
    }
    if (pidfile >= 0) {
        unlink(cfg->pidfile);
        close(pidfile);
    }
    return status;
}

/* The placement room reads --place itself; asked here so that a dry run finds its mistakes too. */
static bool check_place(const struct machine_config *cfg, struct error *err)
{
    struct place_options options;
    if (!place_options_parse(&options, cfg->place, err)) {
        return false;
    }
    place_options_fini(&options);
    return true;
}

/* The command line as text: all ranks must have the same. */
static int run_rank(int argc, char **argv, struct machine_config *cfg, struct error *err)
{
    char *text = NULL;
    size_t size;
    FILE *f = cfg->ranks > 1 ? open_memstream(&text, &size) : NULL;
    for (int i = 1; f && i < argc; i++) {
        fprintf(f, "%s%s", i > 1 ? " " : "", argv[i]);
    }
    if (f) {
        fclose(f);
    }
    cfg->command_line = text;
    int status = run(cfg, err);
    free(text);
    return status;
}

int verb_run(int argc, char **argv)
{
    if (answer_help(argc, argv)) {
        return 0;
    }
    struct error err = {0};
    struct machine_config *cfg = calloc(1, sizeof(*cfg));
    if (!cfg) {
        error_set(&err, "there is no memory to read the command line; free some and try again");
        error_report(&err);
        return 1;
    }
    int status = 1;
    if (cli_parse_run(argc, argv, cfg, &err) && check_place(cfg, &err)) {
        if (cfg->dry_run) {
            (cfg->json ? cli_print_json : cli_print_text)(cfg, stdout);
            status = 0;
        } else if (cfg->ranks > 1 && !ranks_launched() && !cfg->dumpdtb[0]) {
            status = cli_check_bootable(cfg, &err) ? launch_ranks(cfg->ranks, argc, argv, &err) : 1;
        } else {
            status = run_rank(argc, argv, cfg, &err);
        }
    }
    if (err.set) {
        error_report(&err);
    }
    free(cfg);
    machine_leave(status);
    return status;
}
