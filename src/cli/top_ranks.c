/* weft top's view of a guest over ranks: who sends whom how many pages, and how long its threads wait for them. */
#include <stdlib.h>
#include <string.h>

#include "cli/top.h"
#include "weft/text.h"

enum { MATRIX_RANKS = 7 };

static const char *const kinds[] = {"read", "write", "upgrade", "prefetch"};

/* What one sample told; zero where it told nothing. */
struct ranks_sample {
    unsigned count; /* ranks that told */
    unsigned rank[WEFT_MAX_RANKS];
    uint64_t pages[WEFT_MAX_RANKS][WEFT_MAX_RANKS], zero[WEFT_MAX_RANKS][WEFT_MAX_RANKS];
    uint64_t bytes[WEFT_MAX_RANKS][WEFT_MAX_RANKS];
    uint64_t faults[WEFT_MAX_RANKS][4], fault_ns[WEFT_MAX_RANKS];
    uint64_t interrupts[WEFT_MAX_RANKS], invalidations[WEFT_MAX_RANKS];
};

static uint64_t number(const json_t *o, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(o, key));
    return n > 0 ? (uint64_t)n : 0;
}

static void rank_read(struct ranks_sample *s, const json_t *rank)
{
    unsigned from = (unsigned)number(rank, "rank");
    size_t i;
    json_t *peer;
    if (from >= WEFT_MAX_RANKS || s->count == WEFT_MAX_RANKS) {
        return;
    }
    s->rank[s->count++] = from;
    s->interrupts[from] = number(rank, "interrupts_sent");
    s->invalidations[from] = number(rank, "invalidations");
    for (unsigned k = 0; k < 4; k++) {
        const json_t *h = json_object_get(json_object_get(rank, "faults"), kinds[k]);
        s->faults[from][k] = number(h, "count");
        s->fault_ns[from] += number(h, "sum_ns");
    }
    json_array_foreach(json_object_get(rank, "peers"), i, peer)
    {
        uint64_t to = number(peer, "rank");
        if (to < WEFT_MAX_RANKS) {
            s->pages[from][to] = number(peer, "pages_sent");
            s->zero[from][to] = number(peer, "zero_pages_sent");
            s->bytes[from][to] = number(peer, "bytes_sent");
        }
    }
}

/* To free(). */
static struct ranks_sample *sample_read(const struct watch_sample *w)
{
    struct ranks_sample *s = calloc(1, sizeof(*s));
    json_t *root = w->cluster ? json_loads(w->cluster, 0, NULL) : NULL, *rank;
    size_t i;
    json_array_foreach(json_object_get(root, "ranks"), i, rank)
    {
        if (s) {
            rank_read(s, rank);
        }
    }
    json_decref(root);
    return s;
}

static uint64_t rate(uint64_t now, uint64_t then, double seconds)
{
    return now > then && seconds > 0 ? (uint64_t)((double)(now - then) / seconds + 0.5) : 0;
}

static uint64_t faults_of(const struct ranks_sample *s, unsigned rank)
{
    return s->faults[rank][0] + s->faults[rank][1] + s->faults[rank][2] + s->faults[rank][3];
}

static uint64_t sent_by(const struct ranks_sample *s, unsigned from)
{
    uint64_t sum = 0;
    for (unsigned to = 0; to < WEFT_MAX_RANKS; to++) {
        sum += s->pages[from][to];
    }
    return sum;
}

/* Faults a second, and how long each took; of those that ended between the two looks. */
static void faults_print(FILE *out, const struct ranks_sample *was, const struct ranks_sample *is, unsigned rank,
                         double seconds)
{
    uint64_t ended = faults_of(is, rank) - faults_of(was, rank), ns = is->fault_ns[rank] - was->fault_ns[rank];
    if (was->count == 0 || faults_of(is, rank) < faults_of(was, rank)) {
        ended = 0;
    }
    fprintf(out, " %8s %6s\n", text_count(rate(ended, 0, seconds)).s, ended ? text_us(ns / ended).s : "-");
}

static void matrix_print(FILE *out, const struct ranks_sample *was, const struct ranks_sample *is, double seconds)
{
    fprintf(out, "pages/s from");
    for (unsigned i = 0; i < is->count; i++) {
        fprintf(out, "   to %-2u", is->rank[i]);
    }
    fprintf(out, " faults/s     us\n");
    for (unsigned i = 0; i < is->count; i++) {
        unsigned from = is->rank[i];
        fprintf(out, "rank %-7u", from);
        for (unsigned k = 0; k < is->count; k++) {
            unsigned to = is->rank[k];
            fprintf(out, " %7s",
                    from == to ? "." : text_count(rate(is->pages[from][to], was->pages[from][to], seconds)).s);
        }
        faults_print(out, was, is, from, seconds);
    }
}

void top_ranks_text(FILE *out, const struct watch_sample *old, const struct watch_sample *now)
{
    if (!now->cluster) {
        return;
    }
    struct ranks_sample *was = sample_read(old), *is = sample_read(now);
    double seconds = now->at - old->at;
    if (was && is && is->count <= MATRIX_RANKS) {
        matrix_print(out, was, is, seconds);
    } else if (was && is) {
        fprintf(out, "rank  pages/s out faults/s     us\n");
        for (unsigned i = 0; i < is->count; i++) {
            unsigned rank = is->rank[i];
            fprintf(out, "%-5u %11s ", rank, text_count(rate(sent_by(is, rank), sent_by(was, rank), seconds)).s);
            faults_print(out, was, is, rank, seconds);
        }
    }
    free(was);
    free(is);
}

json_t *top_ranks_json(const struct watch_sample *old, const struct watch_sample *now)
{
    json_t *ranks = json_array();
    struct ranks_sample *was = sample_read(old), *is = sample_read(now);
    double seconds = now->at - old->at;
    for (unsigned i = 0; was && is && i < is->count; i++) {
        unsigned from = is->rank[i];
        json_t *to = json_array();
        for (unsigned k = 0; k < is->count; k++) {
            unsigned t = is->rank[k];
            if (t != from) {
                json_array_append_new(to,
                                      json_pack("{s:i, s:I, s:I}", "rank", (int)t, "pages_per_second",
                                                (json_int_t)rate(is->pages[from][t], was->pages[from][t], seconds),
                                                "bytes_per_second",
                                                (json_int_t)rate(is->bytes[from][t], was->bytes[from][t], seconds)));
            }
        }
        json_array_append_new(ranks, json_pack("{s:i, s:I, s:o}", "rank", (int)from, "faults_per_second",
                                               (json_int_t)rate(faults_of(is, from), faults_of(was, from), seconds),
                                               "to", to));
    }
    free(was);
    free(is);
    return ranks;
}

/* ---- metrics ---- */

static void head(FILE *out, const char *name, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s counter\n", name, help, name);
}

static void pair_metric(FILE *out, const struct ranks_sample *s, pid_t pid, const char *name, const char *help,
                        const uint64_t value[WEFT_MAX_RANKS][WEFT_MAX_RANKS])
{
    head(out, name, help);
    for (unsigned i = 0; i < s->count; i++) {
        for (unsigned k = 0; k < s->count; k++) {
            if (i != k) {
                fprintf(out, "%s{pid=\"%d\",from=\"%u\",to=\"%u\"} %llu\n", name, pid, s->rank[i], s->rank[k],
                        (unsigned long long)value[s->rank[i]][s->rank[k]]);
            }
        }
    }
}

static void rank_metric(FILE *out, const struct ranks_sample *s, pid_t pid, const char *name, const char *help,
                        const uint64_t *value)
{
    head(out, name, help);
    for (unsigned i = 0; i < s->count; i++) {
        fprintf(out, "%s{pid=\"%d\",rank=\"%u\"} %llu\n", name, pid, s->rank[i], (unsigned long long)value[s->rank[i]]);
    }
}

void top_ranks_metrics(FILE *out, const struct watch_sample *now)
{
    struct ranks_sample *s = now->cluster ? sample_read(now) : NULL;
    if (!s) {
        return;
    }
    pair_metric(out, s, now->pid, "weft_rank_pages_total", "Pages with contents that a rank sent to another.",
                s->pages);
    pair_metric(out, s, now->pid, "weft_rank_zero_pages_total", "Pages of zeroes that a rank sent to another.",
                s->zero);
    pair_metric(out, s, now->pid, "weft_rank_bytes_total", "Bytes of all messages that a rank sent to another.",
                s->bytes);
    head(out, "weft_rank_faults_total", "Page faults of a rank that another rank had to answer.");
    for (unsigned i = 0; i < s->count; i++) {
        for (unsigned k = 0; k < 4; k++) {
            fprintf(out, "weft_rank_faults_total{pid=\"%d\",rank=\"%u\",kind=\"%s\"} %llu\n", now->pid, s->rank[i],
                    kinds[k], (unsigned long long)s->faults[s->rank[i]][k]);
        }
    }
    head(out, "weft_rank_fault_seconds_total", "Time of these faults.");
    for (unsigned i = 0; i < s->count; i++) {
        fprintf(out, "weft_rank_fault_seconds_total{pid=\"%d\",rank=\"%u\"} %.6f\n", now->pid, s->rank[i],
                (double)s->fault_ns[s->rank[i]] / 1e9);
    }
    rank_metric(out, s, now->pid, "weft_rank_invalidations_total", "Copies that a home had dropped.", s->invalidations);
    rank_metric(out, s, now->pid, "weft_rank_interrupts_total", "Interrupts sent to harts of other ranks.",
                s->interrupts);
    free(s);
}
