/* Looking after a running machine's placement: at start, periodically, at the end; proofs in a file; strictness. */
#include "placement/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "weft/log.h"

bool verify_request_parse(struct verify_request *r, const char *text, struct error *err)
{
    char copy[128], *save;
    memset(r, 0, sizeof(*r));
    snprintf(copy, sizeof(copy), "%s", text);
    for (char *w = strtok_r(copy, ",", &save); w != NULL; w = strtok_r(NULL, ",", &save)) {
        char *end = w;
        if (strcmp(w, "start") == 0) {
            r->start = true;
        } else if (strcmp(w, "exact") == 0) {
            r->exact = true;
        } else if (strncmp(w, "every=", 6) == 0) {
            r->every = strtod(w + 6, &end);
            double unit = strcmp(end, "ms") == 0 ? 0.001 : strcmp(end, "m") == 0 ? 60 : 1;
            bool known = *end == 0 || strcmp(end, "s") == 0 || unit != 1;
            r->every *= unit;
            if (end == w + 6 || !known || !(r->every >= 0.01 && r->every <= 86400)) {
                return error_set(err, "--verify %s: %s is not a time from 10ms to a day; write for example every=10s",
                                 text, w);
            }
        } else {
            return error_set(err, "--verify %s: %s is not known; use start, every=10s, exact, or several with commas",
                             text, w);
        }
    }
    r->start = r->start || r->every > 0 || r->exact;
    return true;
}

/* Written beside and renamed, so that a reader never sees half a proof. */
static void proof_write(const struct placement *p, const struct proof *proof)
{
    char beside[600];
    if (p->proof_file[0] == 0) {
        return;
    }
    snprintf(beside, sizeof(beside), "%s.new", p->proof_file);
    char *text = proof_to_json(proof);
    FILE *f = fopen(beside, "w");
    bool ok = f != NULL && text != NULL && fputs(text, f) >= 0 && fputc('\n', f) != EOF;
    if (f != NULL) {
        ok = fclose(f) == 0 && ok;
    }
    if (!ok || rename(beside, p->proof_file) != 0) {
        log_warn("--proof %s: it cannot be written: %s", p->proof_file, strerror(errno));
    }
    free(text);
}

static void sentence_make(const struct proof *proof, char *text, size_t size)
{
    char first[800];
    unsigned n = proof_deviations(proof, first, sizeof(first), 4);
    snprintf(text, size, "the placement deviates from the plan in %u point%s: %s%s", n, n == 1 ? "" : "s", first,
             n > 4 ? "; ..." : "");
}

/* Watcher's thread. */
static void watched(void *arg, const struct proof *proof)
{
    struct placement *p = arg;
    proof_write(p, proof);
    if (proof->ok) {
        p->deviated = p->deviated && p->strict; /* strict: once is for ever */
    } else if (!p->deviated) {
        p->deviated = true; /* told once until it is in order again */
        sentence_make(proof, p->deviation, sizeof(p->deviation));
        if (p->strict && p->deviation_cb != NULL) {
            p->deviation_cb(p->deviation_arg, p->deviation);
        } else {
            log_warn("%s", p->deviation);
        }
    }
}

/* The vCPU threads bind themselves as their first act; they have had the processor for it within a moment. */
static void threads_wait(struct placement *p)
{
    for (unsigned i = 0; i < 200; i++) {
        unsigned here = 0, planned = 0;
        pthread_mutex_lock(&p->lock);
        for (unsigned t = 0; t < p->num_threads; t++) {
            here += p->thread[t].kind == PLACE_VCPU;
        }
        for (unsigned t = 0; t < p->plan->num_threads; t++) {
            planned += p->plan->thread[t].kind == PLACE_VCPU;
        }
        pthread_mutex_unlock(&p->lock);
        if (here >= planned) {
            return;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

static bool look(struct placement *p, bool exact, struct error *err)
{
    struct verify_options opt = {.exact = exact};
    struct proof proof;
    if (!placement_verify(p, &opt, &proof, err)) {
        return false;
    }
    proof_write(p, &proof);
    bool ok = true;
    if (!proof.ok) {
        char text[1000];
        sentence_make(&proof, text, sizeof(text));
        if (p->strict) {
            ok = error_set(err, "%s", text);
        } else {
            log_warn("%s", text);
        }
    }
    proof_fini(&proof);
    return ok;
}

bool placement_supervise_start(struct placement *p, const struct machine_config *cfg,
                               placement_deviation_fn *deviation_cb, void *arg, struct error *err)
{
    struct verify_request ask;
    if (!verify_request_parse(&ask, cfg->place_verify, err)) {
        return false;
    }
    p->deviation_cb = deviation_cb;
    p->deviation_arg = arg;
    snprintf(p->proof_file, sizeof(p->proof_file), "%s", cfg->proof_file);
    p->supervised = ask.start || p->strict || p->proof_file[0] != 0;
    p->watch_exact = ask.exact;
    threads_adopt(p); /* those of libraries that started before there was a plan */
    if (p->supervised) {
        threads_wait(p);
        if (!look(p, ask.exact, err)) {
            p->supervised = false; /* said once is enough */
            return false;
        }
    }
    if (ask.every > 0 && !placement_verify_every(p, ask.every, ask.exact, watched, p, err)) {
        return false;
    }
    return cfg->place_control[0] == 0 || placement_control_open(p, cfg->place_control, err);
}

bool placement_supervise_end(struct placement *p, struct error *err)
{
    placement_control_close(p);
    bool stopped = placement_verify_every(p, 0, false, NULL, NULL, err);
    if (p->strict && p->deviated) {
        return error_set(err, "%s", p->deviation);
    }
    return stopped && (!p->supervised || look(p, p->watch_exact, err));
}
