/* The closing report: what each hart did and what it cost, as text and as JSON. */
#include "report_ranks.h"
#include "virt.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "weft/log.h"
#include "weft/placement.h"

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

static json_t *machine_json(struct machine *m, uint64_t run_ns, const struct proof *proof)
{
    uint64_t matrix[WEFT_MAX_NODES][WEFT_MAX_NODES];
    struct bql_stats bql;
    json_t *root = json_object(), *harts = json_array(), *rows = json_array();
    bql_read_stats(&bql);
    for (unsigned h = 0; h < m->num_cpus; h++) {
        json_array_append_new(harts, hart_json(m->cpus[h]));
    }
    sum_accesses(m, matrix);
    for (unsigned n = 0; n < m->cfg->num_nodes; n++) {
        json_array_append_new(rows, array_of(matrix[n], m->cfg->num_nodes));
    }
    json_object_set_new(root, "version", json_string(WEFT_VERSION));
    json_object_set_new(root, "accel", json_string(m->accel->name));
    json_object_set_new(root, "exit_status", json_integer(m->exit_status));
    json_object_set_new(root, "run_s", json_real((double)run_ns / 1e9));
    json_object_set_new(root, "harts", harts);
    json_object_set_new(root, "access_matrix_mode",
                        json_string(m->cfg->access_matrix == ACCESS_MATRIX_EXACT     ? "exact"
                                    : m->cfg->access_matrix == ACCESS_MATRIX_SAMPLED ? "sampled"
                                                                                     : "off"));
    json_object_set_new(root, "access_matrix", rows);
    json_object_set_new(root, "bql",
                        json_pack("{s:I s:I s:I s:I s:I s:I}", "acquisitions", (json_int_t)bql.acquisitions,
                                  "contended", (json_int_t)bql.contended, "hold_ns", (json_int_t)bql.hold_ns, "wait_ns",
                                  (json_int_t)bql.wait_ns, "max_hold_ns", (json_int_t)bql.max_hold_ns, "max_wait_ns",
                                  (json_int_t)bql.max_wait_ns));
    char *text = proof ? proof_to_json(proof) : NULL;
    json_t *placement = text ? json_loads(text, 0, NULL) : NULL;
    json_object_set_new(root, "placement", placement ? placement : json_null());
    free(text);
    json_object_set_new(root, "cluster", report_ranks_json(m));
    return root;
}

/* ---- text ---- */

static void print_harts(const struct machine *m, FILE *f)
{
    fprintf(f, "%4s %4s %15s %11s %9s %11s %11s %11s %9s %9s %9s %8s %8s %8s\n", "hart", "node", "instructions",
            "interpreted", "blocks", "load miss", "store miss", "fetch miss", "walks", "mmio", "sbi", "user s", "sys s",
            "wfi s");
    for (unsigned h = 0; h < m->num_cpus; h++) {
        const struct cpu *cpu = m->cpus[h];
        const struct cpu_stats *s = &cpu->stats;
        fprintf(f,
                "%4u %4u %15" PRIu64 " %11" PRIu64 " %9" PRIu64 " %11" PRIu64 " %11" PRIu64 " %11" PRIu64 " %9" PRIu64
                " %9" PRIu64 " %9" PRIu64 " %8.2f %8.2f %8.2f\n",
                h, cpu->node, cpu_instret(cpu), s->interp_insns, s->blocks_translated, s->miss[MISS_L1_LOAD],
                s->miss[MISS_L1_STORE], s->miss[MISS_FETCH], s->miss[MISS_L2], s->mmio, s->sbi_calls,
                (double)s->user_us / 1e6, (double)s->sys_us / 1e6, (double)s->wfi_ns / 1e9);
    }
}

static uint64_t sum16(const uint64_t *v)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < 16; i++) {
        n += v[i];
    }
    return n;
}

static void print_exits(const struct machine *m, FILE *f)
{
    fprintf(f, "%4s", "hart");
    for (unsigned i = 0; i < CPU_EXIT_COUNT; i++) {
        fprintf(f, " %11s", exit_names[i]);
    }
    fprintf(f, " %11s %11s %11s\n", "exceptions", "interrupts", "kicks");
    for (unsigned h = 0; h < m->num_cpus; h++) {
        const struct cpu_stats *s = &m->cpus[h]->stats;
        fprintf(f, "%4u", h);
        for (unsigned i = 0; i < CPU_EXIT_COUNT; i++) {
            fprintf(f, " %11" PRIu64, s->exits[i]);
        }
        fprintf(f, " %11" PRIu64 " %11" PRIu64 " %11" PRIu64 "\n", sum16(s->traps), sum16(s->interrupts), s->kicks);
    }
}

static void print_matrix(const struct machine *m, FILE *f)
{
    uint64_t matrix[WEFT_MAX_NODES][WEFT_MAX_NODES], total = 0, local = 0;
    unsigned n = m->cfg->num_nodes;
    if (m->cfg->access_matrix == ACCESS_MATRIX_OFF) {
        return;
    }
    sum_accesses(m, matrix);
    fprintf(f, "accesses (%s), row: node of the hart, column: node of the page\n%6s",
            m->cfg->access_matrix == ACCESS_MATRIX_EXACT ? "exact" : "sampled", "");
    for (unsigned to = 0; to < n; to++) {
        fprintf(f, " %14u", to);
    }
    for (unsigned from = 0; from < n; from++) {
        fprintf(f, "\n%6u", from);
        for (unsigned to = 0; to < n; to++) {
            fprintf(f, " %14" PRIu64, matrix[from][to]);
            total += matrix[from][to];
            local += from == to ? matrix[from][to] : 0;
        }
    }
    fprintf(f, "\nlocal: %.1f %%\n", total ? 100.0 * (double)local / (double)total : 0.0);
}

static void print_text(struct machine *m, uint64_t run_ns, const struct proof *proof, FILE *f)
{
    struct bql_stats b;
    bql_read_stats(&b);
    fprintf(f, "weft: ran %.3f s, %s, exit status %d\n", (double)run_ns / 1e9, m->accel->name, m->exit_status);
    print_harts(m, f);
    print_exits(m, f);
    fprintf(f,
            "big lock: %" PRIu64 " acquisitions, %" PRIu64 " contended; held %.3f ms (longest %.3f), waited %.3f ms "
            "(longest %.3f)\n",
            b.acquisitions, b.contended, (double)b.hold_ns / 1e6, (double)b.max_hold_ns / 1e6, (double)b.wait_ns / 1e6,
            (double)b.max_wait_ns / 1e6);
    print_matrix(m, f);
    report_ranks_print(m, f);
    if (proof) {
        placement_print(m->placement, proof, f, PLACE_TEXT);
    }
}

static void write_json(struct machine *m, uint64_t run_ns, const struct proof *proof)
{
    json_t *root = machine_json(m, run_ns, proof);
    if (json_dump_file(root, m->cfg->stats_json, JSON_INDENT(2)) != 0) {
        log_warn("--stats %s: cannot be written: %s", m->cfg->stats_json, strerror(errno));
    }
    json_decref(root);
}

bool report_wanted(const struct machine *m)
{
    return m->cfg->report || m->cfg->stats_json[0];
}

void report_write(struct machine *m, uint64_t run_ns, const struct proof *proof)
{
    if (m->cfg->report) {
        print_text(m, run_ns, proof, stderr);
    }
    if (m->cfg->stats_json[0]) {
        write_json(m, run_ns, proof);
    }
}
