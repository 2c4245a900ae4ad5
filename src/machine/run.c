/*
 * The life of one machine, from its config to its end:
 *
 *   1. read the files the command line names           (mistakes end here, before anything of the guest exists)
 *   2. plan the placement; map RAM, bind it, preallocate it
 *   3. harts, devices, images and FDT
 *   4. vCPU threads; the main loop runs until the guest, the operator or a signal ends it; a reset repeats the rest
 *      of 3 with all harts stopped
 *   5. stop the harts, end their threads, write the report, give everything back
 */
#include <assert.h>
#include <errno.h>
#include <numaif.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "ranks.h"
#include "ranks_state.h"
#include "ranks_view.h"
#include "virt.h"
#include "weft/log.h"
#include "weft/placement.h"

struct run {
    struct machine m; /* first: machine_request_* get from it to the rest */
    struct boot boot;
    struct machine_config cfg;  /* over ranks: a copy, completed by what was measured */
    struct loop_bh *request_bh; /* carries requests to the main loop */
    pthread_mutex_t request_lock;
    pthread_cond_t paused_change;
    bool want_pause, want_run, paused, over; /* under request_lock */
    struct worker_pool *pool;                /* puts images back over ranks */
    int signal_fd;
    sigset_t old_mask;
    uint64_t started_ns;
};

/* ---- requests from anywhere ---- */

static void request(struct machine *m, int state, int status)
{
    struct run *r = (struct run *)m;
    pthread_mutex_lock(&r->request_lock);
    if (atomic_load(&m->state) != MACHINE_SHUTDOWN) { /* the first shutdown stands */
        if (state == MACHINE_SHUTDOWN) {
            m->exit_status = status;
        }
        atomic_store(&m->state, state);
    }
    pthread_mutex_unlock(&r->request_lock);
    loop_bh_schedule(r->request_bh);
}

void machine_request_shutdown(struct machine *m, int exit_status)
{
    if (m->ranks) {
        ranks_want(m, WORLD_OFF, exit_status); /* comes back as machine_ended */
    } else {
        request(m, MACHINE_SHUTDOWN, exit_status);
    }
}

void machine_ended(struct machine *m, int status)
{
    request(m, MACHINE_SHUTDOWN, status);
}

void machine_request_reset(struct machine *m)
{
    if (m->ranks) {
        ranks_want(m, m->cfg->no_reboot ? WORLD_OFF : WORLD_RESET, 0);
    } else {
        request(m, m->cfg->no_reboot ? MACHINE_SHUTDOWN : MACHINE_RESET, 0);
    }
}

static void reset(struct run *r)
{
    struct machine *m = &r->m;
    struct error err = {0};
    cpu_stop_all(m);
    virt_devices_reset(m);
    if (!boot_place(&r->boot, m, &err)) {
        error_report(&err);
        machine_request_shutdown(m, 1);
        return;
    }
    boot_harts(&r->boot, m);
    int was = MACHINE_RESET;
    atomic_compare_exchange_strong(&m->state, &was, MACHINE_RUNNING); /* unless a shutdown came meanwhile */
    cpu_resume_all(m);
}

/* ---- the same over ranks (ranks_world.c says when) ---- */

/* Rank 0 puts the images back, into pages that other ranks may have: a worker waits for those. */
struct reset_job {
    struct run *run;
    void (*done)(struct ranks *ranks, bool ok);
    struct ranks *ranks;
    bool ok;
    struct error err;
};

static void reset_place(void *opaque)
{
    struct reset_job *j = opaque;
    j->ok = boot_place(&j->run->boot, &j->run->m, &j->err);
}

static void reset_placed(void *opaque)
{
    struct reset_job *j = opaque;
    if (j->run->over) { /* the machine ended meanwhile */
        free(j);
        return;
    }
    if (!j->ok) {
        error_report(&j->err);
    } else {
        boot_harts(&j->run->boot, &j->run->m);
    }
    j->done(j->ranks, j->ok);
    free(j);
}

void machine_reset_here(struct machine *m, void (*done)(struct ranks *ranks, bool ok), struct ranks *ranks)
{
    struct run *r = (struct run *)m;
    virt_devices_reset(m);
    if (ranks_self(m) != 0) {
        boot_harts(&r->boot, m);
        done(ranks, true);
        return;
    }
    struct reset_job *j = calloc(1, sizeof(*j));
    assert(j);
    *j = (struct reset_job){.run = r, .done = done, .ranks = ranks};
    if (!r->pool) {
        r->pool = worker_pool_create(1);
    }
    worker_submit(r->pool, m->loop, reset_place, reset_placed, j);
}

/* ---- pause ---- */

void machine_paused(struct machine *m, bool paused)
{
    struct run *r = (struct run *)m;
    pthread_mutex_lock(&r->request_lock);
    r->paused = paused;
    pthread_cond_broadcast(&r->paused_change);
    pthread_mutex_unlock(&r->request_lock);
}

bool machine_pause(struct machine *m, bool stop)
{
    struct run *r = (struct run *)m;
    pthread_mutex_lock(&r->request_lock);
    if (!m->ranks) {
        r->want_pause = stop;
        r->want_run = !stop;
    }
    pthread_mutex_unlock(&r->request_lock);
    if (m->ranks) {
        ranks_want(m, stop ? WORLD_STOP : WORLD_CONT, 0);
    } else {
        loop_bh_schedule(r->request_bh);
    }
    pthread_mutex_lock(&r->request_lock);
    while (r->paused != stop && !r->over) {
        pthread_cond_wait(&r->paused_change, &r->request_lock);
    }
    bool done = r->paused == stop;
    pthread_mutex_unlock(&r->request_lock);
    return done;
}

/* On one rank. */
static void serve_pause(struct run *r)
{
    struct machine *m = &r->m;
    pthread_mutex_lock(&r->request_lock);
    bool stop = r->want_pause, go_on = r->want_run;
    r->want_pause = r->want_run = false;
    pthread_mutex_unlock(&r->request_lock);
    int was = stop ? MACHINE_RUNNING : MACHINE_PAUSED;
    if ((stop || go_on) && atomic_compare_exchange_strong(&m->state, &was, stop ? MACHINE_PAUSED : MACHINE_RUNNING)) {
        (stop ? cpu_stop_all : cpu_resume_all)(m);
    }
    if (stop || go_on) {
        machine_paused(m, atomic_load(&m->state) == MACHINE_PAUSED);
    }
}

/* Nobody is to wait for a pause any more. */
static void end_pauses(struct run *r)
{
    pthread_mutex_lock(&r->request_lock);
    r->over = true;
    pthread_cond_broadcast(&r->paused_change);
    pthread_mutex_unlock(&r->request_lock);
}

static void serve_requests(void *opaque)
{
    struct run *r = opaque;
    serve_pause(r);
    switch (atomic_load(&r->m.state)) {
    case MACHINE_SHUTDOWN:
        loop_stop(r->m.loop);
        break;
    case MACHINE_RESET:
        reset(r);
        break;
    }
}

/* ---- signals ---- */

static void signal_ready(void *opaque, unsigned events)
{
    struct run *r = opaque;
    struct signalfd_siginfo info;
    if (read(r->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        /* SIGUSR1 is how mpirun hands on what the launcher was told (src/cli/launch.c). */
        int told = info.ssi_signo == SIGUSR1 ? SIGTERM : (int)info.ssi_signo;
        machine_request_shutdown(&r->m, 128 + told);
    }
}

/* Blocked before any other thread exists (MPI makes some), so that all inherit the mask and the main loop alone is
 * told. */
static void signals_block(struct run *r, sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, set, &r->old_mask);
}

static void signals_listen(struct run *r, const sigset_t *signals)
{
    sigset_t set = *signals;
    r->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    assert(r->signal_fd >= 0);
    int rc = loop_fd(r->m.loop, r->signal_fd, LOOP_READ, signal_ready, r);
    assert(rc == 0);
}

static void signals_restore(struct run *r)
{
    if (r->signal_fd >= 0) {
        loop_fd(r->m.loop, r->signal_fd, 0, NULL, NULL);
        close(r->signal_fd);
        r->signal_fd = -1;
    }
    pthread_sigmask(SIG_SETMASK, &r->old_mask, NULL);
}

/* ---- memory ---- */

static bool place_memory(struct machine *m, struct error *err)
{
    const struct machine_config *cfg = m->cfg;
    for (unsigned i = 0; i < m->ram.num_ranges; i++) {
        const struct ram_range *range = &m->ram.range[i];
        int backend = cfg->node[range->node].backend;
        if (m->ranks && (unsigned)cfg->node[range->node].rank != ranks_self(m)) {
            continue; /* only copies of what lies on another rank */
        }
        void *addr = ram_ptr(&m->ram, range->base);
        if (!placement_bind_memory(m->placement, range->node, addr, range->size, err)) {
            return false;
        }
        if (backend >= 0 && cfg->backend[backend].prealloc &&
            !placement_prealloc(m->placement, range->node, addr, range->size, cfg->backend[backend].prealloc_threads,
                                placement_progress_line, (void *)"preallocating guest memory", err)) {
            return false;
        }
    }
    return true;
}

/* ---- harts ---- */

static uint64_t hart_bytes(void)
{
    return (sizeof(struct cpu) + GUEST_PAGE_SIZE - 1) & GUEST_PAGE_MASK;
}

static unsigned node_of_hart(const struct machine_config *cfg, unsigned hart)
{
    for (unsigned n = 0; n < cfg->num_nodes; n++) {
        if (bitmap_test(&cfg->node[n].cpus, hart)) {
            return n;
        }
    }
    return 0;
}

static bool create_hart(struct machine *m, unsigned hart, struct error *err)
{
    const struct machine_config *cfg = m->cfg;
    struct cpu *cpu =
        mmap(NULL, hart_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* zero, aligned */
    if (cpu == MAP_FAILED) {
        return error_set_errno(err, errno, "-smp: there is no memory for hart %u", hart);
    }
    m->cpus[hart] = cpu;
    m->num_cpus = hart + 1;
    cpu->hart = hart;
    cpu->node = node_of_hart(cfg, hart);
    for (unsigned e = 0; e < EXT_COUNT; e++) {
        cpu->isa_ext |= (uint64_t)cfg->ext[e] << e;
    }
    cpu->misa_reset = 2ull << 62 | 1 << ('I' - 'A') | 1 << ('M' - 'A') | 1 << ('A' - 'A') | 1 << ('F' - 'A') |
                      1 << ('D' - 'A') | 1 << ('C' - 'A') | 1 << ('S' - 'A') | 1 << ('U' - 'A');
    cpu->builtin_sbi = cfg->bios_kind == BIOS_BUILTIN;
    cpu->remote = m->ranks && ranks_of_hart(m, hart) != ranks_self(m);
    cpu->machine = m;
    cpu->bus = &m->bus;
    cpu->ram = &m->ram;
    atomic_store(&cpu->mtimecmp, UINT64_MAX);
    atomic_store(&cpu->stimecmp, UINT64_MAX);
    atomic_store(&cpu->hart_state, HART_STOPPED);
    tlb_create(cpu);
    if (cpu->remote) {
        page_users_remove_hart(m->ram.users, cpu); /* it will never use a page here */
    }
    return tcg_cpu_create(cpu, err);
}

/*
 * A hart's own data should lie where its thread runs, but the main thread touches it first: so new pages come from that
 * host node meanwhile. A wish, not a demand: a node without memory, or a host that forbids it, is all right.
 */
static void prefer_node_of(struct machine *m, unsigned guest_node)
{
    const struct plan *plan = placement_get_plan(m->placement);
    const struct host_shape *host = placement_get_host(m->placement);
    int node = plan->applied_here ? plan->node[guest_node].cpu_node : -1;
    unsigned long mask[PLACE_MAX_HOST_NODES / (8 * sizeof(unsigned long))] = {0};
    unsigned bits = 8 * sizeof(unsigned long);
    unsigned os = node >= 0 ? host->node[node].os_index : PLACE_MAX_HOST_NODES;
    if (os < PLACE_MAX_HOST_NODES) {
        mask[os / bits] |= 1ul << (os % bits);
        set_mempolicy(MPOL_PREFERRED, mask, PLACE_MAX_HOST_NODES);
    } else {
        set_mempolicy(MPOL_DEFAULT, NULL, 0);
    }
}

static bool create_harts(struct machine *m, struct error *err)
{
    bool done = tcg_create(m, err);
    for (unsigned h = 0; done && h < m->cfg->smp.cpus; h++) {
        prefer_node_of(m, node_of_hart(m->cfg, h));
        done = create_hart(m, h, err);
    }
    set_mempolicy(MPOL_DEFAULT, NULL, 0);
    return done;
}

static void destroy_harts(struct machine *m)
{
    for (unsigned h = 0; h < m->num_cpus; h++) {
        tcg_cpu_destroy(m->cpus[h]);
        tlb_destroy(m->cpus[h]);
        munmap(m->cpus[h], hart_bytes());
        m->cpus[h] = NULL;
    }
    m->num_cpus = 0;
    if (m->tcg_data) {
        tcg_destroy(m);
    }
}

/* ---- start and end ---- */

/* Reads the placement back once all vCPU threads are there: each binds and registers itself as it starts. */
static bool verify_placement(struct machine *m, struct proof *proof, struct error *err)
{
    unsigned vcpus = m->accel == &accel_rr ? 1 : 0;
    for (unsigned h = 0; m->accel != &accel_rr && h < m->num_cpus; h++) {
        vcpus += !m->cpus[h]->remote;
    }
    for (unsigned tries = 0;; tries++) {
        if (!placement_verify(m->placement, NULL, proof, err)) {
            return false;
        }
        unsigned here = 0;
        for (unsigned i = 0; i < proof->num_threads; i++) {
            here += proof->thread[i].kind == PLACE_VCPU;
        }
        if (here >= vcpus || tries == 500) {
            return true;
        }
        proof_fini(proof);
        usleep(2000);
    }
}

/* One table for each rank, in one piece: rank 0 prints them all, its own with what spans the ranks. */
static void print_placement(struct machine *m, const struct proof *proof)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f) {
        return;
    }
    placement_print(m->placement, proof, f, m->cfg->json ? PLACE_JSON : PLACE_TEXT);
    if (m->ranks && ranks_self(m) == 0) {
        ranks_distances_print(m, f);
    }
    fclose(f);
    if (m->ranks && ranks_self(m) != 0) {
        ranks_table_send(m, text);
    } else {
        fputs(text, stderr);
    }
    free(text);
}

/* What the operator asked to see of the placement, read back from the kernel. */
static void show_placement(struct machine *m)
{
    const struct machine_config *cfg = m->cfg;
    struct proof proof;
    struct error err = {0};
    if (!cfg->report && !cfg->json && !(cfg->log_mask & LOG_PLACE)) {
        return;
    }
    if (!verify_placement(m, &proof, &err)) {
        log_warn("the placement cannot be read back: %s", err.text);
        return;
    }
    print_placement(m, &proof);
    proof_fini(&proof);
}

/* --strict: pages or threads are no longer where the plan says. The placement's own thread. */
static void placement_deviated(void *arg, const char *sentence)
{
    machine_request_shutdown(arg, 1);
}

static bool start_memory(struct machine *m, struct error *err)
{
    const struct machine_config *cfg = m->cfg;
    m->placement = placement_create(cfg, m->ranks ? (int)ranks_self(m) : -1, err);
    if (!m->placement) {
        return false;
    }
    placement_bind_thread(m->placement, PLACE_MAIN, 0, 0, "weft", err);
    return !err->set && ram_create(&m->ram, cfg, VIRT_DRAM_BASE, err) && place_memory(m, err);
}

static bool start_board(struct run *r, struct error *err)
{
    struct machine *m = &r->m;
    m->bus.ram = &m->ram;
    m->accel = m->cfg->icount || m->cfg->thread == ACCEL_THREAD_SINGLE ? &accel_rr : &accel_mttcg;
    if (!create_harts(m, err) || !virt_devices_create(m, err)) {
        return false;
    }
    if (!m->ranks) {
        if (!boot_place(&r->boot, m, err)) {
            return false;
        }
        boot_harts(&r->boot, m);
        return true;
    }
    ranks_bus_forward(m);
    return ranks_self(m) != 0 || boot_place(&r->boot, m, err);
}

/* All ranks are there, and know from rank 0 where harts begin. They start paused: rank 0 lets all go at once. */
static bool start_ranks(struct run *r, bool ok, struct error *err)
{
    if (!ranks_ready(&r->m, ok, &r->boot.start, sizeof(r->boot.start), err)) {
        return false;
    }
    boot_harts(&r->boot, &r->m);
    return true;
}

/* stop and cont of the control socket. The placement's own thread. */
static bool pause_cb(void *arg, bool stop)
{
    return machine_pause(arg, stop);
}

static bool start(struct run *r, struct error *err)
{
    struct machine *m = &r->m;
    const struct machine_config *cfg = m->cfg;
    bool ok = start_memory(m, err);
    /* Ranks go on together or not at all. */
    if ((m->ranks ? !ranks_agree(m, ok, err) : !ok) || (m->ranks && (!ranks_join(m, err) || !ranks_measure(m, err)))) {
        return false;
    }
    if (m->ranks && !cfg->have_distance) {
        ranks_distances(m, &r->cfg);
    }
    ok = start_board(r, err);
    m->clock_base_ns = loop_now_ns();
    if (m->ranks ? !start_ranks(r, ok, err) : !ok) {
        return false;
    }
    r->paused = cfg->start_paused || m->ranks;
    atomic_store(&m->state, r->paused ? MACHINE_PAUSED : MACHINE_RUNNING);
    if (cfg->access_matrix != ACCESS_MATRIX_OFF) {
        placement_traffic_source(m->placement, report_accesses, m);
    }
    placement_info_source(m->placement, ranks_info, m);
    placement_pause_source(m->placement, pause_cb, m);
    if (!m->accel->create_vcpu_threads(m, err) ||
        !placement_supervise_start(m->placement, cfg, placement_deviated, m, err)) {
        return false;
    }
    if (m->ranks && ranks_self(m) == 0 && !cfg->start_paused) {
        ranks_want(m, WORLD_CONT, 0);
    }
    return true;
}

/* Stops the harts, reads back where everything was, ends the threads, reports. */
static void end_threads(struct run *r)
{
    struct machine *m = &r->m;
    struct proof proof;
    struct error err = {0};
    cpu_stop_all(m);
    uint64_t run_ns = loop_now_ns() - r->started_ns;
    bql_lock();
    if (m->ranks) {
        ranks_console_end(m);
    }
    virt_devices_flush(m);
    bql_unlock();
    bool report = report_wanted(m), have_proof = report && placement_verify(m->placement, NULL, &proof, &err);
    cpu_threads_destroy(m);
    if (m->ranks) {
        ranks_leave(m, m->exit_status);
    }
    if (report) {
        report_write(m, run_ns, have_proof ? &proof : NULL);
    }
    if (have_proof) {
        proof_fini(&proof);
    }
}

static void finish(struct run *r)
{
    struct machine *m = &r->m;
    end_pauses(r);
    if (m->accel_data) {
        end_threads(r);
    } else if (m->ranks) {
        ranks_leave(m, 1);
    }
    if (r->pool) {
        worker_pool_destroy(&r->pool);
    }
    signals_restore(r);
    if (m->loop) {
        bql_lock();
        virt_devices_destroy(m);
        bql_unlock();
    }
    destroy_harts(m);
    if (m->ranks) {
        ranks_free(m);
    }
    if (m->placement) {
        placement_destroy(&m->placement);
    }
    if (m->ram.host) {
        ram_destroy(&m->ram);
    }
    if (r->request_bh) {
        loop_bh_destroy(&r->request_bh);
    }
    if (m->loop) {
        loop_destroy(&m->loop);
    }
    boot_free(&r->boot);
    pthread_cond_destroy(&r->paused_change);
    pthread_mutex_destroy(&r->request_lock);
}

/* -dumpdtb: writes the tree of this command line and ends, as QEMU does. */
static int dump_dtb(const struct machine_config *cfg, struct error *err)
{
    struct virt_chosen chosen = {0};
    void *blob;
    uint64_t size;
    if (!virt_fdt_build(cfg, &chosen, &blob, &size, err)) {
        return 1;
    }
    FILE *f = fopen(cfg->dumpdtb, "wb");
    bool written = f && fwrite(blob, 1, size, f) == size;
    if (f && fclose(f) != 0) {
        written = false;
    }
    if (!written) {
        error_set_errno(err, errno, "-machine dumpdtb=%s: cannot be written; name a file that can", cfg->dumpdtb);
    }
    free(blob);
    return written ? 0 : 1;
}

/* Over ranks this is where they meet first; only rank 0 has the guest's files. */
static bool read_files(struct run *r, struct error *err)
{
    struct machine *m = &r->m;
    if (m->cfg->ranks <= 1) {
        return boot_load_files(&r->boot, m->cfg, err);
    }
    if (!ranks_begin(m, err)) {
        return false;
    }
    bool ok = ranks_self(m) != 0 || (boot_load_files(&r->boot, m->cfg, err) && ranks_view_symbols(m, err));
    return ranks_agree(m, ok, err);
}

int machine_run(const struct machine_config *cfg, struct error *err)
{
    if (cfg->dumpdtb[0]) {
        return dump_dtb(cfg, err);
    }
    struct run *r = calloc(1, sizeof(*r));
    assert(r);
    struct machine *m = &r->m;
    r->cfg = *cfg;
    m->cfg = &r->cfg;
    m->time_dilation = cfg->time_dilation;
    r->signal_fd = -1;
    pthread_mutex_init(&r->request_lock, NULL);
    pthread_cond_init(&r->paused_change, NULL);
    sigset_t signals;
    signals_block(r, &signals);
    if (!read_files(r, err)) {
        signals_restore(r);
        boot_free(&r->boot);
        pthread_mutex_destroy(&r->request_lock);
        if (m->ranks) {
            ranks_free(m);
        }
        free(r);
        return 1;
    }
    m->loop = loop_create("main", true);
    r->request_bh = loop_bh_create(m->loop, serve_requests, r);
    signals_listen(r, &signals);
    r->started_ns = loop_now_ns();
    int status = 1;
    if (start(r, err)) {
        show_placement(m);
        loop_run(m->loop);
        end_pauses(r);
        status = placement_supervise_end(m->placement, err) ? m->exit_status : 1;
    }
    if (status == 1 && err->set && m->ranks) {
        ranks_shutdown_now(m, 1, err->text); /* the others may be running already */
    }
    finish(r);
    free(r);
    return status;
}
