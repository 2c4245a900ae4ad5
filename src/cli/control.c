#include "cli/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_to(const char *path, struct error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path)) {
        error_set(err, "%.64s...: the name of a socket can have at most %zu characters", path,
                  sizeof(addr.sun_path) - 1);
        return -1;
    }
    memcpy(addr.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
        error_set_errno(err, errno, "%s: no weft answers there; start it with --control %s", path, path);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

json_t *control_ask(const char *path, const char *request, control_progress_fn *progress, char **line,
                    struct error *err)
{
    int fd = connect_to(path, err);
    if (fd < 0) {
        return NULL;
    }
    FILE *f = fdopen(fd, "r+");
    if (!f || dprintf(fd, "%s\n", request) < 0) {
        error_set_errno(err, errno, "the request cannot be sent");
        f ? fclose(f) : close(fd);
        return NULL;
    }
    char *text = NULL;
    size_t size = 0;
    json_t *answer = NULL;
    while (!answer && getline(&text, &size, f) > 0) {
        json_t *reply = json_loads(text, 0, NULL), *step = json_object_get(reply, "progress");
        if (!step) {
            answer = reply ? reply : json_object();
        } else {
            if (progress) {
                progress(step);
            }
            json_decref(reply);
        }
    }
    fclose(f);
    if (!answer) {
        error_set(err, "weft ended before it answered");
    }
    if (line && answer) {
        *line = text;
    } else {
        free(text);
    }
    return answer;
}
