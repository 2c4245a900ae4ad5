/* The closing report: what each hart did and what it cost, as text and as JSON. */
#include "ranks_view.h"
#include "virt.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "weft/log.h"
#include "weft/placement.h"
#include "weft/text.h"

static const char *const exit_names[CPU_EXIT_COUNT] = {
    [CPU_EXIT_REQUEST] = "request", [CPU_EXIT_QUANTUM] = "quantum", [CPU_EXIT_WFI] = "wfi",
    [CPU_EXIT_YIELD] = "yield",     [CPU_EXIT_HALTED] = "halted",
};
static const char *const miss_names[MISS_KINDS] = {
    [MISS_L1_LOAD] = "load", [MISS_L1_STORE] = "store", [MISS_FETCH] = "fetch",
    [MISS_L2] = "walk",      [MISS_MMIO] = "mmio",      [MISS_CODE_WRITE] = "code_write",
};

static json_t *array_of(const uint64_t *v, unsigned n)
{
    json_t *a = json_array();
    for (unsigned i = 0; i < n; i++) {
        json_array_append_new(a, json_integer((json_int_t)v[i]));
    }
    return a;
}

static json_t *named(const uint64_t *v, const char *const *names, unsigned n)
{
    json_t *o = json_object();
    for (unsigned i = 0; i < n; i++) {
        json_object_set_new(o, names[i], json_integer((json_int_t)v[i]));
    }
    return o;
}

static json_t *hart_json(const struct cpu *cpu)
{
    const struct cpu_stats *s = &cpu->stats;
    json_t *o = json_pack(
        "{s:i s:i s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:f s:f}", "hart", (int)cpu->hart, "node", (int)cpu->node,
        "instructions", (json_int_t)cpu_instret(cpu), "interpreted", (json_int_t)s->interp_insns, "blocks",
        (json_int_t)s->blocks_translated, "translated_instructions", (json_int_t)s->insns_translated, "code_bytes",
        (json_int_t)s->code_bytes, "dispatches", (json_int_t)s->dispatches, "mmio", (json_int_t)s->mmio, "sbi_calls",
        (json_int_t)s->sbi_calls, "kicks", (json_int_t)s->kicks, "wfi_count", (json_int_t)s->wfi_count, "wfi_ns",
        (json_int_t)s->wfi_ns, "user_s", (double)s->user_us / 1e6, "system_s", (double)s->sys_us / 1e6);
    json_object_set_new(o, "exits", named(s->exits, exit_names, CPU_EXIT_COUNT));
    json_object_set_new(o, "tlb_misses", named(s->miss, miss_names, MISS_KINDS));
    json_object_set_new(o, "exceptions", array_of(s->traps, 16));
    json_object_set_new(o, "interrupts", array_of(s->interrupts, 16));
    return o;
}

/* Row: node of the accessing harts; column: node that owns the page. */
static void sum_accesses(const struct machine *m, uint64_t matrix[WEFT_MAX_NODES][WEFT_MAX_NODES])
{
    memset(matrix, 0, sizeof(uint64_t[WEFT_MAX_NODES][WEFT_MAX_NODES]));
    for (unsigned h = 0; h < m->num_cpus; h++) {
        for (unsigned n = 0; n < m->cfg->num_nodes; n++) {
            matrix[m->cpus[h]->node][n] += m->cpus[h]->stats.mem_access[n];
        }
    }
}

void report_accesses(void *arg, double *matrix, unsigned n)
{
    uint64_t counts[WEFT_MAX_NODES][WEFT_MAX_NODES];
    sum_accesses(arg, counts);
    for (unsigned i = 0; i < n * n; i++) {
        matrix[i] = (double)counts[i / n][i % n];
    }
}

static json_t *harts_json(const struct machine *m)
{
    json_t *harts = json_array();
    for (unsigned h = 0; h < m->num_cpus; h++) {
        if (!m->cpus[h]->remote) {
            json_array_append_new(harts, hart_json(m->cpus[h]));
        }
    }
    return harts;
}

json_t *report_accesses_json(const struct machine *m)
{
    uint64_t matrix[WEFT_MAX_NODES][WEFT_MAX_NODES];
    json_t *rows = json_array();
    sum_accesses(m, matrix);
    for (unsigned n = 0; n < m->cfg->num_nodes; n++) {
        json_array_append_new(rows, array_of(matrix[n], m->cfg->num_nodes));
    }
    return rows;
}

/* ---- over ranks ---- */

json_t *report_rank_json(struct machine *m)
{
    json_t *o = ranks_view_here(m);
    json_object_set_new(o, "hart_figures", harts_json(m));
    return o;
}

static int by_hart(const void *a, const void *b)
{
    const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
    return (int)json_integer_value(json_object_get(x, "hart")) - (int)json_integer_value(json_object_get(y, "hart"));
}

static json_t *sorted_by_hart(json_t *harts)
{
    json_t *hart[WEFT_MAX_HARTS], *o, *sorted = json_array();
    size_t i, n = 0;
    json_array_foreach(harts, i, o)
    {
        if (n < WEFT_MAX_HARTS) {
            hart[n++] = o;
        }
    }
    qsort(hart, n, sizeof(*hart), by_hart);
    for (i = 0; i < n; i++) {
        json_array_append(sorted, hart[i]);
    }
    json_decref(harts);
    return sorted;
}

static void matrix_add(json_t *to, const json_t *from)
{
    json_t *row, *value;
    size_t i, k;
    json_array_foreach(from, i, row)
    {
        json_array_foreach(row, k, value)
        {
            json_t *sum = json_array_get(json_array_get(to, i), k);
            if (sum) {
                json_integer_set(sum, json_integer_value(sum) + json_integer_value(value));
            }
        }
    }
}

/* What the ranks told when they met goes where one rank's figures are; their own objects follow under "cluster". */
static void put_cluster(struct machine *m, json_t *root)
{
    json_t *all = ranks_view_all(m), *views = all ? json_object_get(all, "ranks") : NULL, *view;
    size_t i;
    if (!m->ranks) {
        json_object_set_new(root, "cluster", json_null());
        return;
    }
    json_object_set_new(root, "cluster", views ? json_incref(json_array_get(views, 0)) : ranks_view_here(m));
    json_array_foreach(views, i, view)
    {
        if (i > 0) {
            json_array_extend(json_object_get(root, "harts"), json_object_get(view, "hart_figures"));
            matrix_add(json_object_get(root, "access_matrix"), json_object_get(view, "access_matrix"));
        }
        json_object_del(view, "hart_figures");
        json_object_del(view, "access_matrix");
    }
    if (views) {
        json_object_set_new(root, "harts", sorted_by_hart(json_incref(json_object_get(root, "harts"))));
        json_object_set(root, "cluster_ranks", views);
        json_object_set(root, "cluster_total", json_object_get(all, "total"));
        json_object_set_new(root, "distances", ranks_distances_json(m));
    }
}

static json_t *machine_json(struct machine *m, uint64_t run_ns, const struct proof *proof)
{
    struct bql_stats bql;
    json_t *root = json_object();
    bql_read_stats(&bql);
    json_object_set_new(root, "version", json_string(WEFT_VERSION));
    json_object_set_new(root, "accel", json_string(m->accel->name));
    json_object_set_new(root, "exit_status", json_integer(m->exit_status));
    json_object_set_new(root, "run_s", json_real((double)run_ns / 1e9));
    json_object_set_new(root, "time_dilation", json_integer(m->cfg->time_dilation));
    json_object_set_new(root, "harts", harts_json(m));
    json_object_set_new(root, "access_matrix_mode",
                        json_string(m->cfg->access_matrix == ACCESS_MATRIX_EXACT     ? "exact"
                                    : m->cfg->access_matrix == ACCESS_MATRIX_SAMPLED ? "sampled"
                                                                                     : "off"));
    json_object_set_new(root, "access_matrix", report_accesses_json(m));
    json_object_set_new(root, "bql",
                        json_pack("{s:I s:I s:I s:I s:I s:I}", "acquisitions", (json_int_t)bql.acquisitions,
                                  "contended", (json_int_t)bql.contended, "hold_ns", (json_int_t)bql.hold_ns, "wait_ns",
                                  (json_int_t)bql.wait_ns, "max_hold_ns", (json_int_t)bql.max_hold_ns, "max_wait_ns",
                                  (json_int_t)bql.max_wait_ns));
    char *text = proof ? proof_to_json(proof) : NULL;
    json_t *placement = text ? json_loads(text, 0, NULL) : NULL;
    json_object_set_new(root, "placement", placement ? placement : json_null());
    free(text);
    put_cluster(m, root);
    return root;
}

/* ---- text: narrow enough for two reports side by side ---- */

static uint64_t number(const json_t *o, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(o, key));
    return n > 0 ? (uint64_t)n : 0;
}

static uint64_t sum_of(const json_t *array)
{
    json_t *v;
    size_t i;
    uint64_t sum = 0;
    json_array_foreach(array, i, v)
    {
        sum += (uint64_t)json_integer_value(v);
    }
    return sum;
}

static void print_harts(const json_t *harts, FILE *f)
{
    json_t *o;
    size_t i;
    fprintf(f, "%4s %4s %6s %8s %8s %8s %6s %6s %6s\n", "hart", "node", "insns", "user s", "sys s", "wfi s", "sbi",
            "excpt", "intr");
    json_array_foreach(harts, i, o)
    {
        fprintf(f, "%4" PRIu64 " %4" PRIu64 " %6s %8.2f %8.2f %8.2f %6s %6s %6s\n", number(o, "hart"),
                number(o, "node"), text_count(number(o, "instructions")).s,
                json_real_value(json_object_get(o, "user_s")), json_real_value(json_object_get(o, "system_s")),
                (double)number(o, "wfi_ns") / 1e9, text_count(number(o, "sbi_calls")).s,
                text_count(sum_of(json_object_get(o, "exceptions"))).s,
                text_count(sum_of(json_object_get(o, "interrupts"))).s);
    }
}

static void print_engine(const json_t *harts, FILE *f)
{
    json_t *o;
    size_t i;
    fprintf(f, "%4s %6s %6s %6s %6s %6s %6s %6s %6s\n", "hart", "intrpd", "blocks", "load", "store", "fetch", "walks",
            "mmio", "kicks");
    json_array_foreach(harts, i, o)
    {
        const json_t *miss = json_object_get(o, "tlb_misses");
        fprintf(f, "%4" PRIu64 " %6s %6s %6s %6s %6s %6s %6s %6s\n", number(o, "hart"),
                text_count(number(o, "interpreted")).s, text_count(number(o, "blocks")).s,
                text_count(number(miss, "load")).s, text_count(number(miss, "store")).s,
                text_count(number(miss, "fetch")).s, text_count(number(miss, "walk")).s,
                text_count(number(o, "mmio")).s, text_count(number(o, "kicks")).s);
    }
}

static void print_matrix(const json_t *root, FILE *f)
{
    const char *mode = json_string_value(json_object_get(root, "access_matrix_mode"));
    json_t *rows = json_object_get(root, "access_matrix"), *row, *v;
    size_t i, k, n = json_array_size(rows);
    uint64_t total = 0, local = 0;
    if (strcmp(mode, "off") == 0) {
        return;
    }
    fprintf(f, "accesses (%s): row, node of the hart; column, of the page\n%4s", mode, "");
    for (i = 0; i < n; i++) {
        fprintf(f, " %6zu", i);
    }
    json_array_foreach(rows, i, row)
    {
        fprintf(f, "\n%4zu", i);
        json_array_foreach(row, k, v)
        {
            uint64_t count = (uint64_t)json_integer_value(v);
            fprintf(f, " %6s", text_count(count).s);
            total += count;
            local += i == k ? count : 0;
        }
    }
    fprintf(f, "\nlocal: %.1f %%\n", total ? 100.0 * (double)local / (double)total : 0.0);
}

static double ms(const json_t *o, const char *key)
{
    return (double)number(o, key) / 1e6;
}

static void print_bql(const json_t *b, FILE *f)
{
    fprintf(f, "big lock: taken %s times, %s contended; held %.3f ms (longest %.3f), waited\n",
            text_count(number(b, "acquisitions")).s, text_count(number(b, "contended")).s, ms(b, "hold_ns"),
            ms(b, "max_hold_ns"));
    fprintf(f, "          %.3f ms (longest %.3f)\n", ms(b, "wait_ns"), ms(b, "max_wait_ns"));
}

/* Over ranks: all of them if they met at the end, else this one alone. */
static void print_cluster(struct machine *m, const json_t *root, FILE *f)
{
    json_t *views = json_object_get(root, "cluster_ranks"), *alone = NULL;
    if (!m->ranks) {
        return;
    }
    if (views) {
        cluster_print_summary(views, json_object_get(root, "cluster_total"), f);
        return;
    }
    fprintf(f, "rank %u of %u alone: the others did not come to the end\n", ranks_self(m), m->cfg->ranks);
    alone = json_pack("[O]", json_object_get(root, "cluster"));
    json_t *total = cluster_report_total(alone);
    cluster_print_summary(alone, total, f);
    json_decref(total);
    json_decref(alone);
}

static void print_text(struct machine *m, const json_t *root, const struct proof *proof, FILE *f)
{
    const json_t *harts = json_object_get(root, "harts");
    fprintf(f, "weft: ran %.3f s, %s, exit status %d", json_real_value(json_object_get(root, "run_s")), m->accel->name,
            m->exit_status);
    if (m->ranks) {
        fprintf(f, ", over %u ranks", m->cfg->ranks);
    }
    fputc('\n', f);
    if (m->cfg->time_dilation > 1) {
        fprintf(f, "%s; times below are the host's\n", text_dilation(m->cfg->time_dilation).s);
    }
    print_harts(harts, f);
    print_engine(harts, f);
    print_bql(json_object_get(root, "bql"), f);
    print_matrix(root, f);
    print_cluster(m, root, f);
    if (proof) {
        placement_print(m->placement, proof, f, PLACE_TEXT);
    }
}

static void write_json(const struct machine *m, const json_t *root)
{
    if (json_dump_file(root, m->cfg->stats_json, JSON_INDENT(2)) != 0) {
        log_warn("--stats %s: cannot be written: %s", m->cfg->stats_json, strerror(errno));
    }
}

bool report_wanted(const struct machine *m)
{
    return m->cfg->report || m->cfg->stats_json[0];
}

void report_write(struct machine *m, uint64_t run_ns, const struct proof *proof)
{
    json_t *root = machine_json(m, run_ns, proof);
    /* Rank 0 tells of all; another rank speaks when that one is gone. */
    if (m->cfg->report && (!m->ranks || ranks_self(m) == 0 || ranks_lost(m) == 0)) {
        print_text(m, root, proof, stderr);
    }
    if (m->cfg->stats_json[0]) {
        write_json(m, root);
    }
    json_decref(root);
}
