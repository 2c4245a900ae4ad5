/* -serial, -chardev, -device: what the guest's ports and virtio devices are connected to. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"

const char *const serial_names[] = {"stdio", "file", "unix", "pty", "null", NULL};

static bool copy(char *out, size_t size, const char *value, const char *option, struct error *err)
{
    if (strlen(value) >= size) {
        return error_set(err, "%s %.100s...: that is too long; use at most %zu bytes", option, value, size - 1);
    }
    strcpy(out, value);
    return true;
}

/* unix:PATH[,server=on|off][,wait=on|off] */
static bool serial_unix(struct parse *p, const char *rest, struct error *err)
{
    static const char *const keys[] = {"path", "server", "wait", NULL};
    static const struct kv_rules rules = {.implied = "path", .keys = keys, .short_bool = true};
    struct machine_config *c = p->cfg;
    bool server = false, wait = true;
    if (!kv_parse(&p->kv, "-serial unix:", rest, &rules, err) || !kv_need(&p->kv, "path", "FILE", err) ||
        !kv_string(&p->kv, "path", c->serial_path, sizeof(c->serial_path), err) ||
        !kv_bool(&p->kv, "server", &server, err) || !kv_bool(&p->kv, "wait", &wait, err)) {
        return false;
    }
    if (kv_get(&p->kv, "wait") && !server) {
        return error_set(err, "-serial unix:%.100s,wait=%s: only a server waits; add server=on or leave wait out",
                         c->serial_path, wait ? "on" : "off");
    }
    c->serial_server = server;
    c->serial_wait = server && wait;
    c->serial = SERIAL_UNIX;
    return true;
}

bool opt_serial(struct parse *p, const char *value, struct error *err)
{
    struct machine_config *c = p->cfg;
    if (p->serial_given) {
        return error_set(err, "-serial %.100s: the machine has one serial port and it has its -serial; leave one out",
                         value);
    }
    p->serial_given = true;
    if (strcmp(value, "stdio") == 0 || strcmp(value, "mon:stdio") == 0) {
        c->serial = SERIAL_STDIO;
    } else if (strcmp(value, "pty") == 0) {
        c->serial = SERIAL_PTY;
    } else if (strcmp(value, "null") == 0) {
        c->serial = SERIAL_NULL;
    } else if (strncmp(value, "file:", 5) == 0 && value[5]) {
        c->serial = SERIAL_FILE;
        return copy(c->serial_path, sizeof(c->serial_path), value + 5, "-serial", err);
    } else if (strncmp(value, "unix:", 5) == 0 && value[5]) {
        return serial_unix(p, value + 5, err);
    } else if (strncmp(value, "chardev:", 8) == 0 && value[8]) {
        return copy(p->serial_chardev, sizeof(p->serial_chardev), value + 8, "-serial", err);
    } else {
        return error_set(
            err,
            "-serial %.100s: there is no such port; give stdio, file:FILE, unix:FILE[,server=on], pty, null "
            "or chardev:ID",
            value);
    }
    return true;
}

/* The keys that belong to the kind of a -chardev. */
static bool chardev_path(struct parse *p, struct chardev_config *d, struct error *err)
{
    static const char *const plain[] = {"backend", "id", NULL}, *const mux[] = {"backend", "id", "mux", "signal", NULL},
                             *const file[] = {"backend", "id", "path", NULL}, *const sock[] = {"backend", "id",
                                                                                               "path",    "server",
                                                                                               "wait",    NULL};
    const char *const *keys = d->kind == SERIAL_STDIO  ? mux
                              : d->kind == SERIAL_FILE ? file
                              : d->kind == SERIAL_UNIX ? sock
                                                       : plain;
    bool ignored;
    if (!kv_check_keys(&p->kv, keys, err) || !kv_bool(&p->kv, "mux", &ignored, err) ||
        !kv_bool(&p->kv, "signal", &ignored, err)) {
        return false;
    }
    if (d->kind != SERIAL_FILE && d->kind != SERIAL_UNIX) {
        return true;
    }
    bool wait = true;
    if (!kv_need(&p->kv, "path", "FILE", err) || !kv_string(&p->kv, "path", d->path, sizeof(d->path), err) ||
        !kv_bool(&p->kv, "server", &d->server, err) || !kv_bool(&p->kv, "wait", &wait, err)) {
        return false;
    }
    if (kv_get(&p->kv, "wait") && !d->server) {
        return error_set(err, "-chardev socket,id=%s,wait=%s: only a server waits; add server=on or leave wait out",
                         d->id, wait ? "on" : "off");
    }
    d->wait = d->server && wait;
    return true;
}

static int find_chardev(const struct machine_config *c, const char *id)
{
    for (unsigned i = 0; i < c->num_chardevs; i++) {
        if (strcmp(c->chardev[i].id, id) == 0) {
            return (int)i;
        }
    }
    return -1;
}

bool opt_chardev(struct parse *p, const char *value, struct error *err)
{
    static const char *const kinds[] = {"stdio", "file", "socket", "pty", "null", NULL};
    static const char *const keys[] = {"backend", "id", "path", "server", "wait", "mux", "signal", NULL};
    static const struct kv_rules rules = {.implied = "backend", .keys = keys, .short_bool = true};
    struct machine_config *c = p->cfg;
    struct chardev_config d = {0};
    int kind = 0;
    if (!kv_parse(&p->kv, "-chardev", value, &rules, err) || !kv_need(&p->kv, "backend", "stdio", err) ||
        !kv_enum(&p->kv, "backend", kinds, &kind, err) || !kv_need(&p->kv, "id", "NAME", err) ||
        !kv_string(&p->kv, "id", d.id, sizeof(d.id), err)) {
        return false;
    }
    d.kind = (enum serial_kind)kind;
    if (!chardev_path(p, &d, err)) {
        return false;
    }
    if (find_chardev(c, d.id) >= 0) {
        return error_set(err, "-chardev %s,id=%s: another one has that name; choose another", kinds[kind], d.id);
    }
    if (c->num_chardevs == sizeof(c->chardev) / sizeof(c->chardev[0])) {
        return error_set(err, "-chardev %s,id=%s: there may be 8 of them; leave some out", kinds[kind], d.id);
    }
    c->chardev[c->num_chardevs++] = d;
    return true;
}

static bool device_unknown(const char *driver, const char *const *known, struct error *err)
{
    size_t n = strlen(driver);
    if (n > 4 && strcmp(driver + n - 4, "-pci") == 0) {
        return error_set(
            err, "-device %.64s: the machine has no PCI; use a virtio-mmio device such as virtio-rng-device", driver);
    }
    const char *near = kv_nearest(driver, known);
    return near ? error_set(err, "-device %.64s: there is no such device; did you mean %s?", driver, near)
                : error_set(err, "-device %.64s: there is no such device; -device help lists what there is", driver);
}

bool opt_device(struct parse *p, const char *value, struct error *err)
{
    static const char *const drivers[] = {"virtio-rng-device", "virtio-serial-device", "virtconsole", NULL};
    static const char *const keys[][8] = {{"driver", "id", "rng", NULL},
                                          {"driver", "id", "max_ports", NULL},
                                          {"driver", "id", "chardev", "name", "bus", "nr", NULL}};
    static const struct kv_rules rules = {.implied = "driver"};
    struct machine_config *c = p->cfg;
    struct virtio_device_config d = {.chardev_index = -1};
    if (*value == '{' ? !kv_parse_json(&p->kv, "-device", value, err)
                      : !kv_parse(&p->kv, "-device", value, &rules, err)) {
        return false;
    }
    if (!kv_need(&p->kv, "driver", "virtio-rng-device", err)) {
        return false;
    }
    p->kv.type = kv_get(&p->kv, "driver");
    unsigned which = 0, number = 0;
    while (drivers[which] && strcmp(drivers[which], p->kv.type) != 0) {
        which++;
    }
    if (!drivers[which]) {
        return device_unknown(p->kv.type, drivers, err);
    }
    unsigned room = sizeof(c->virtio) / sizeof(c->virtio[0]);
    if (c->num_virtio == room) {
        return error_set(err, "-device %s: the machine has %u places for virtio devices; leave some out",
                         drivers[which], room);
    }
    char *rng = p->device_rng[c->num_virtio];
    if (!kv_check_keys(&p->kv, keys[which], err) || !kv_string(&p->kv, "driver", d.driver, sizeof(d.driver), err) ||
        !kv_string(&p->kv, "id", d.id, sizeof(d.id), err) ||
        !kv_string(&p->kv, "chardev", d.chardev, sizeof(d.chardev), err) ||
        !kv_string(&p->kv, "name", d.name, sizeof(d.name), err) || !kv_unsigned(&p->kv, "nr", 0, 31, &number, err) ||
        !kv_unsigned(&p->kv, "max_ports", 1, 31, &number, err) ||
        !kv_string(&p->kv, "rng", rng, sizeof(p->device_rng[0]), err)) {
        return false;
    }
    if (which == 2 && !kv_need(&p->kv, "chardev", "ID", err)) {
        return false;
    }
    c->virtio[c->num_virtio++] = d;
    return true;
}

static bool finish_serial(struct parse *p, unsigned users[], struct error *err)
{
    struct machine_config *c = p->cfg;
    if (!p->serial_chardev[0]) {
        return true;
    }
    int i = find_chardev(c, p->serial_chardev);
    if (i < 0) {
        return error_set(err, "-serial chardev:%s: there is no such chardev; add -chardev stdio,id=%s",
                         p->serial_chardev, p->serial_chardev);
    }
    users[i]++;
    c->serial = c->chardev[i].kind;
    strcpy(c->serial_path, c->chardev[i].path);
    c->serial_server = c->chardev[i].server;
    c->serial_wait = c->chardev[i].wait;
    return true;
}

static bool finish_device(struct parse *p, unsigned i, bool *has_bus, unsigned users[], struct error *err)
{
    struct machine_config *c = p->cfg;
    struct virtio_device_config *d = &c->virtio[i];
    const char *rng = p->device_rng[i];
    bool found = rng[0] == '\0';
    for (unsigned r = 0; r < p->num_rngs; r++) {
        found |= strcmp(p->rng[r], rng) == 0;
    }
    if (!found) {
        return error_set(err,
                         "-device virtio-rng-device,rng=%s: there is no such object; add -object rng-builtin,id=%s or "
                         "leave rng out",
                         rng, rng);
    }
    *has_bus |= strcmp(d->driver, "virtio-serial-device") == 0;
    if (strcmp(d->driver, "virtconsole") != 0) {
        return true;
    }
    if (!*has_bus) {
        return error_set(err,
                         "-device virtconsole,chardev=%s: it plugs into a virtio-serial-device; put -device "
                         "virtio-serial-device before it",
                         d->chardev);
    }
    d->chardev_index = find_chardev(c, d->chardev);
    if (d->chardev_index < 0) {
        return error_set(err, "-device virtconsole,chardev=%s: there is no such chardev; add -chardev stdio,id=%s",
                         d->chardev, d->chardev);
    }
    users[d->chardev_index]++;
    return true;
}

bool finish_devices(struct parse *p, struct error *err)
{
    struct machine_config *c = p->cfg;
    unsigned users[sizeof(c->chardev) / sizeof(c->chardev[0])] = {0}, stdio = 0;
    bool has_bus = false;
    if (!finish_serial(p, users, err)) {
        return false;
    }
    for (unsigned i = 0; i < c->num_virtio; i++) {
        if (!finish_device(p, i, &has_bus, users, err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < c->num_chardevs; i++) {
        if (users[i] > 1) {
            return error_set(err, "-chardev id=%s: two devices use it; give each one of its own", c->chardev[i].id);
        }
        stdio += c->chardev[i].kind == SERIAL_STDIO;
    }
    bool port_has_stdio = p->serial_given && c->serial == SERIAL_STDIO && !p->serial_chardev[0];
    if (stdio + port_has_stdio > 1) {
        return error_set(err, "-chardev stdio: there is one standard input and it is taken; use pty, file or socket");
    }
    if (stdio == 1 && !p->serial_given) {
        c->serial = SERIAL_NULL; /* the console took the terminal */
    }
    return true;
}

void list_device(FILE *out)
{
    fprintf(out, "Devices of -device:\n"
                 "  virtio-rng-device[,id=ID][,rng=ID]\n"
                 "  virtio-serial-device[,id=ID]\n"
                 "  virtconsole,chardev=ID[,name=NAME]   on the virtio-serial-device before it\n");
}
