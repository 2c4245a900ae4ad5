#include "cli/launch.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static volatile sig_atomic_t child, told;

enum { END_SECONDS = 5 }; /* for an end in order */

/* mpirun kills the ranks when it is told to end, but hands SIGUSR1 on to them: they end in order then, with a report.
 * Who tells us twice, or a rank that does not come to its end, gets mpirun's way. */
static void pass_on(int signal)
{
    bool again = told || signal == SIGALRM;
    told = told ? told : signal;
    if (child > 0) {
        kill((pid_t)child, again ? SIGTERM : SIGUSR1);
    }
    if (!again) {
        alarm(END_SECONDS);
    }
}

/* In the child: `parent` is who started it, `mask` the signals that the parent had blocked before. */
static void run_mpirun(unsigned ranks, int argc, char **argv, pid_t parent, const sigset_t *mask)
{
    static char number[16], self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char **args = calloc((size_t)argc + 16, sizeof(*args));
    if (n <= 0 || !args) {
        _exit(126);
    }
    snprintf(number, sizeof(number), "%u", ranks);
    int k = 0;
    args[k++] = "mpirun";
    if (geteuid() == 0) {
        args[k++] = "--allow-run-as-root";
    }
    /* weft places its threads itself. */
    args[k++] = "--oversubscribe";
    args[k++] = "--bind-to";
    args[k++] = "none";
    args[k++] = "-n";
    args[k++] = number;
    args[k++] = self;
    for (int i = 0; i < argc; i++) {
        args[k++] = argv[i];
    }
    if (isatty(STDERR_FILENO)) { /* the ranks have a pipe there, and would not report by themselves */
        args[k++] = "--report";
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) { /* it died before we asked to be told */
        _exit(126);
    }
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(args[0], args);
    _exit(127);
}

int launch_ranks(unsigned ranks, int argc, char **argv, struct error *err)
{
    struct termios old;
    /* mpirun hands bytes on as they come; the guest's console does its own echo and editing. */
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &old) == 0;
    /* A signal that comes before we can pass it on waits until then. */
    sigset_t ours, before;
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGHUP);
    sigprocmask(SIG_BLOCK, &ours, &before);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        error_set_errno(err, errno, "--ranks %u: cannot start mpirun", ranks);
        return 1;
    }
    if (pid == 0) {
        run_mpirun(ranks, argc, argv, parent, &before);
    }
    child = pid;
    struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (terminal) {
        struct termios raw = old;
        raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
        raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSANOW, &old);
    }
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (told && code != 0) {
        return 128 + told; /* as one rank alone ends; mpirun says 1 */
    }
    if (code == 127) {
        error_set(err, "--ranks %u: mpirun is not there; install Open MPI (openmpi-bin)", ranks);
        return 1;
    }
    return code;
}
