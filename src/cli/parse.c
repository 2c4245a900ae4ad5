/* cli_parse_run: the phases of reading a command line. */
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "weft/log.h"

/* An option without a function of its own: text or a switch at a place of machine_config. */
static bool store(struct machine_config *cfg, const struct option_word *w, struct error *err)
{
    const struct option *o = w->option;
    char *at = (char *)cfg + o->offset;
    if (!o->arg) {
        *(bool *)at = true;
        return true;
    }
    const char *dashes = o->own ? "--" : "-";
    if (strlen(w->value) >= o->size) {
        return error_set(err, "%s%s %.60s...: that is too long; use at most %zu bytes", dashes, o->name, w->value,
                         o->size - 1);
    }
    if (*w->value == '\0' && o->check != FILE_ANY) {
        return error_set(err, "%s%s '': the file name is empty; write %s%s FILE", dashes, o->name, dashes, o->name);
    }
    strcpy(at, w->value);
    return true;
}

static bool walk(struct parse *p, enum phase phase, int argc, char **argv, struct error *err)
{
    p->phase = phase;
    for (int i = 1; i < argc;) {
        struct option_word w;
        if (!option_next(argc, argv, &i, &w, err)) {
            return false;
        }
        if (phase != PHASE_BASE && !w.option->all_phases) {
            continue;
        }
        p->option = w.option->name;
        if (w.option->apply ? !w.option->apply(p, w.value, err) : !store(p->cfg, &w, err)) {
            return false;
        }
    }
    return true;
}

static void set_defaults(struct machine_config *cfg)
{
    memset(cfg, 0, sizeof(*cfg));
    cfg->icount_sleep = true;
    cfg->access_matrix = ACCESS_MATRIX_SAMPLED;
    cfg->idle_poll_us = IDLE_POLL_DEFAULT_US;
    cfg->time_dilation = 1;
    cpu_defaults(cfg);
    ranks_defaults(cfg);
}

/* A backend nobody uses costs nothing here, but is hardly what was meant. */
static void warn_unused(const struct machine_config *cfg)
{
    for (unsigned b = 0; b < cfg->num_backends; b++) {
        bool used = false;
        for (unsigned n = 0; n < cfg->num_nodes; n++) {
            used |= cfg->node[n].backend == (int)b;
        }
        if (!used) {
            log_warn(
                "-object %s,id=%s: no node uses it; name it with -numa node,memdev=%s or -machine memory-backend=%s",
                backend_names[cfg->backend[b].kind], cfg->backend[b].id, cfg->backend[b].id, cfg->backend[b].id);
        }
    }
}

static bool parse(struct parse *p, int argc, char **argv, struct error *err)
{
    shape_numa_init(&p->numa);
    if (!walk(p, PHASE_BASE, argc, argv, err) || !finish_machine(p, err) || !finish_cpu(p, err) ||
        !finish_devices(p, err) || !walk(p, PHASE_NODES, argc, argv, err) || !walk(p, PHASE_CPUS, argc, argv, err) ||
        !walk(p, PHASE_DISTANCES, argc, argv, err)) {
        return false;
    }
    if (p->machine_backend[0] && p->numa.count > 0) {
        return error_set(
            err,
            "-machine memory-backend=%s with -numa node: the nodes say where memory is; use memdev=%s of a "
            "node instead",
            p->machine_backend, p->machine_backend);
    }
    p->numa.hmat_required = p->cfg->hmat;
    if (!ranks_nodes(p, err) || !shape_numa_finish(&p->numa, p->cfg, log_warn, err) || !ranks_finish(p, err) ||
        !walk(p, PHASE_HMAT, argc, argv, err) || !walk(p, PHASE_CACHES, argc, argv, err) || !finish_files(p, err)) {
        return false;
    }
    warn_unused(p->cfg);
    return true;
}

bool cli_parse_run(int argc, char **argv, struct machine_config *cfg, struct error *err)
{
    struct parse *p = calloc(1, sizeof(*p));
    if (!p) {
        return error_set(err, "there is no memory to read the command line; free some and try again");
    }
    set_defaults(cfg);
    p->cfg = cfg;
    bool ok = parse(p, argc, argv, err);
    free(p);
    return ok;
}

bool cli_check_bootable(const struct machine_config *cfg, struct error *err)
{
    if (cfg->kernel[0] || cfg->bios_kind == BIOS_FILE || cfg->dumpdtb[0]) {
        return true;
    }
    return error_set(err, "-kernel is missing: with -bios %s there is nothing to boot; add -kernel FILE or -bios FILE",
                     cfg->bios_kind == BIOS_NONE ? "none" : "builtin");
}
