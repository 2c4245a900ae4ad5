#include "tcg/translate.h"

#include <stddef.h>
#include "tcg/helpers.h"

/* The guest registers most used by compiled code live in host registers; callee-saved ones hold sp, s0 and a0. */
const int8_t host_reg[32] = {
    -1,  -1,  R12, -1,  -1, -1, -1,  -1,  /* x0 ra sp gp tp t0 t1 t2 */
    R13, R11, RBX, R10, R9, R8, RDI, RSI, /* s0 s1 a0 a1 a2 a3 a4 a5 */
    -1,  -1,  -1,  -1,  -1, -1, -1,  -1,  -1, -1, -1, -1, -1, -1, -1, -1,
};

const int8_t host_xmm[32] = {
    11, 12, 13, 14, -1, -1, -1, -1, /* ft0-3 */
    15, -1, 3,  4,  5,  6,  7,  8,  /* fs0 fs1 fa0-5 */
    9,  10, -1, -1, -1, -1, -1, -1, /* fa6 fa7 */
    -1, -1, -1, -1, -1, -1, -1, -1,
};

struct stubs tcg_stubs;

static const int8_t callee_saved[] = {RBX, RBP, R12, R13, R14, R15};
static const int8_t live_volatile[] = {RSI, RDI, R8, R9, R10, R11};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct x64_mem cpu_field(int32_t disp)
{
    return x64_at(RBP, disp);
}

static void mxcsr(struct x64 *e, bool load, int32_t disp)
{
    x64_rm(e, false, 0x0fae, load ? 2 : 3, cpu_field(disp));
}

static void save_state(struct x64 *e)
{
    for (int r = 1; r < 32; r++) {
        if (host_reg[r] >= 0) {
            x64_store(e, cpu_field(X_DISP(r)), host_reg[r]);
        }
    }
    for (int r = 0; r < 32; r++) {
        if (host_xmm[r] >= 0) {
            x64_vex_m(e, 3, 1, false, 0x11, host_xmm[r], 0, cpu_field(F_DISP(r)));
        }
    }
    x64_store(e, cpu_field(CPU_DISP(budget)), R14);
    mxcsr(e, false, CPU_DISP(guest_mxcsr));
}

static void load_state(struct x64 *e)
{
    mxcsr(e, true, CPU_DISP(guest_mxcsr));
    x64_load(e, R14, cpu_field(CPU_DISP(budget)));
    for (int r = 1; r < 32; r++) {
        if (host_reg[r] >= 0) {
            x64_load(e, host_reg[r], cpu_field(X_DISP(r)));
        }
    }
    for (int r = 0; r < 32; r++) {
        if (host_xmm[r] >= 0) {
            x64_vex_m(e, 3, 1, false, 0x10, host_xmm[r], 0, cpu_field(F_DISP(r)));
        }
    }
}

static void load_context(struct x64 *e)
{
    x64_load(e, R15, cpu_field(CPU_DISP(ctx)));
    x64_lea(e, R15, x64_at(R15, CTX_BIAS));
}

static void call_c(struct x64 *e, const void *fn)
{
    x64_imm(e, RAX, (int64_t)(uintptr_t)fn);
    x64_rr(e, false, 0xff, 2, RAX);
}

/* rax, edx, rcx = arguments 2 to 4 of fn(cpu, ...); returns rax; guest state is in memory during the call. What the
 * helper does to the flags of MXCSR does not matter: guest_mxcsr is loaded again. It may run in the guest's rounding
 * mode, which only FP arithmetic would notice, and the interpreter's sets its own. */
static const uint8_t *full_call(struct x64 *e, const void *fn)
{
    const uint8_t *at = e->p;
    save_state(e);
    x64_alu_imm(e, true, ALU_SUB, RSP, 8);
    x64_lea(e, RDI, x64_at(RBP, -128));
    x64_mov(e, RSI, RAX);
    call_c(e, fn);
    x64_alu_imm(e, true, ALU_ADD, RSP, 8);
    load_state(e);
    x64_ret(e);
    return at;
}

/* rax = address, edx = info, rcx = value: first fast(cpu, address, value), which leaves vector registers alone; then
 * full(cpu, address, info, value). */
static const uint8_t *memory_stub(struct x64 *e, const void *fast, const void *full)
{
    const uint8_t *slow = full_call(e, full);
    const uint8_t *at = e->p;
    for (unsigned i = 0; i < COUNT(live_volatile); i++) {
        x64_push(e, live_volatile[i]);
    }
    x64_push(e, RCX);
    x64_push(e, RDX);
    x64_push(e, RAX);
    x64_lea(e, RDI, x64_at(RBP, -128));
    x64_mov(e, RSI, RAX);
    x64_mov(e, RDX, RCX);
    call_c(e, fast);
    x64_test(e, false, RDX, RDX);
    uint8_t *miss = x64_jcc8(e, CC_E);
    x64_alu_imm(e, true, ALU_ADD, RSP, 24);
    for (unsigned i = COUNT(live_volatile); i-- > 0;) {
        x64_pop(e, live_volatile[i]);
    }
    x64_ret(e);
    x64_here8(e, miss);
    x64_pop(e, RAX);
    x64_pop(e, RDX);
    x64_pop(e, RCX);
    for (unsigned i = COUNT(live_volatile); i-- > 0;) {
        x64_pop(e, live_volatile[i]);
    }
    x64_jmp_to(e, slow);
    return at;
}

/* Adds the instructions not retired back to the budget and sets pc; edx = info. */
static void set_pc_from_info(struct x64 *e)
{
    x64_mov32(e, RCX, RDX);
    x64_shift_imm(e, false, SH_SHR, RCX, 12);
    x64_alu(e, true, ALU_ADD, R14, RCX);
    x64_alu_imm(e, false, ALU_AND, RDX, 0xfff);
    x64_alu_rm(e, true, ALU_ADD, RDX, cpu_field(CPU_DISP(pc_page)));
    x64_store(e, cpu_field(CPU_DISP(pc)), RDX);
}

static void exit_with(struct x64 *e, const struct stubs *s, enum tcg_exit reason)
{
    x64_imm_keep_flags(e, RAX, reason);
    x64_jmp_to(e, s->exit);
}

static void enter_and_exit(struct x64 *e, struct codecache *cc, struct stubs *s)
{
    uint8_t *enter = e->p;
    for (unsigned i = 0; i < COUNT(callee_saved); i++) {
        x64_push(e, callee_saved[i]);
    }
    x64_alu_imm(e, true, ALU_SUB, RSP, 8);
    x64_lea(e, RBP, x64_at(RDI, 128));
    x64_mov(e, RAX, RSI);
    x64_store(e, cpu_field(CPU_DISP(host_sp)), RSP);
    mxcsr(e, false, CPU_DISP(host_mxcsr));
    load_context(e);
    load_state(e);
    x64_rr(e, false, 0xff, 4, RAX);

    s->exit = e->p;
    save_state(e);
    const uint8_t *tail = e->p;
    mxcsr(e, true, CPU_DISP(host_mxcsr));
    x64_alu_imm(e, true, ALU_ADD, RSP, 8);
    for (unsigned i = COUNT(callee_saved); i-- > 0;) {
        x64_pop(e, callee_saved[i]);
    }
    x64_ret(e);

    uint8_t *leave = e->p;
    x64_lea(e, RBP, x64_at(RDI, 128));
    x64_load(e, RSP, x64_at(RDI, (int32_t)offsetof(struct cpu, host_sp)));
    x64_mov32(e, RAX, RSI);
    x64_jmp_to(e, tail);

    uint8_t *rx = codecache_to_rx(cc, enter);
    memcpy(&s->enter, &rx, sizeof(rx));
    rx = codecache_to_rx(cc, leave);
    memcpy(&s->leave, &rx, sizeof(rx));
}

/* rax = guest pc of an indirect jump that the jump cache does not know. */
static void lookup_stub(struct x64 *e, struct stubs *s)
{
    s->lookup = e->p;
    x64_alu_imm(e, true, ALU_AND, RAX, -2);
    for (unsigned i = 0; i < COUNT(live_volatile); i++) {
        x64_push(e, live_volatile[i]);
    }
    x64_push(e, RAX);
    x64_alu_imm(e, true, ALU_SUB, RSP, 8);
    x64_lea(e, RDI, x64_at(RBP, -128));
    x64_mov(e, RSI, RAX);
    call_c(e, (const void *)tcg_lookup_fast);
    x64_alu_imm(e, true, ALU_ADD, RSP, 8);
    x64_pop(e, RCX);
    for (unsigned i = COUNT(live_volatile); i-- > 0;) {
        x64_pop(e, live_volatile[i]);
    }
    x64_test(e, true, RAX, RAX);
    uint8_t *miss = x64_jcc8(e, CC_E);
    x64_rr(e, false, 0xff, 4, RAX);
    x64_here8(e, miss);
    x64_store(e, cpu_field(CPU_DISP(pc)), RCX);
    exit_with(e, s, TCG_EXIT_LOOKUP);
}

/* rax = instruction, edx = info: a light call (light.c). */
static void light_stub(struct x64 *e, struct stubs *s)
{
    s->light = e->p;
    for (unsigned i = 0; i < COUNT(live_volatile); i++) {
        x64_push(e, live_volatile[i]);
    }
    x64_push(e, RDX);
    x64_push(e, RAX);
    x64_alu_imm(e, true, ALU_SUB, RSP, 8);
    x64_lea(e, RDI, x64_at(RBP, -128));
    x64_mov(e, RSI, RAX);
    call_c(e, (const void *)tcg_light_insn);
    x64_alu_imm(e, true, ALU_ADD, RSP, 8);
    x64_pop(e, RCX);
    x64_pop(e, RDX);
    for (unsigned i = COUNT(live_volatile); i-- > 0;) {
        x64_pop(e, live_volatile[i]);
    }
    load_context(e);
    x64_alu_imm(e, true, ALU_CMP, RAX, LIGHT_FULL);
    uint8_t *more = x64_jcc8(e, CC_A);
    uint8_t *full = x64_jcc8(e, CC_E);
    x64_ret(e);
    x64_here8(e, full);
    x64_mov(e, RAX, RCX);
    x64_jmp_to(e, s->interp);
    x64_here8(e, more);
    x64_alu_imm(e, true, ALU_ADD, RSP, 8); /* the return address */
    x64_alu_imm(e, true, ALU_CMP, RAX, LIGHT_EXIT);
    uint8_t *leave = x64_jcc8(e, CC_E);
    x64_rr(e, false, 0xff, 4, RAX);
    x64_here8(e, leave);
    x64_shift_imm(e, false, SH_SHR, RDX, 12);
    x64_lea(e, R14, x64_idx(R14, RDX, -1)); /* all that is left of the block but this instruction */
    exit_with(e, s, TCG_EXIT_EVENT);
}

/* Called by a link site: edx = page offset of the target; the return address is the struct link_site. */
static void link_stub(struct x64 *e, struct stubs *s)
{
    s->link = e->p;
    x64_pop(e, RCX);
    x64_store(e, cpu_field(CPU_DISP(scratch)), RCX);
    x64_movsxd(e, RDX, RDX);
    x64_alu_rm(e, true, ALU_ADD, RDX, cpu_field(CPU_DISP(pc_page)));
    x64_store(e, cpu_field(CPU_DISP(pc)), RDX);
    exit_with(e, s, TCG_EXIT_LINK);
}

/* A block found the slice used up. Goes on with a new slice while nothing asks for attention: rdtsc against the
 * hart's deadline (0 = always leave). */
static void budget_stub(struct x64 *e, struct stubs *s)
{
    s->budget = e->p;
    set_pc_from_info(e);
    exit_with(e, s, TCG_EXIT_BUDGET);
    s->interp_exit = e->p;
    set_pc_from_info(e);
    exit_with(e, s, TCG_EXIT_INTERP);
}

void stubs_create(struct codecache *cc, struct stubs *s)
{
    static const void *const load_fast[MEM_KINDS] = {tcg_load_fast_u8,  tcg_load_fast_s8,  tcg_load_fast_u16,
                                                     tcg_load_fast_s16, tcg_load_fast_u32, tcg_load_fast_s32,
                                                     tcg_load_fast_64};
    static const void *const load_full[MEM_KINDS] = {tcg_load_u8,  tcg_load_s8,  tcg_load_u16, tcg_load_s16,
                                                     tcg_load_u32, tcg_load_s32, tcg_load_64};
    static const void *const store_fast[4] = {tcg_store_fast_8, tcg_store_fast_16, tcg_store_fast_32,
                                              tcg_store_fast_64};
    static const void *const store_full[4] = {tcg_store_8, tcg_store_16, tcg_store_32, tcg_store_64};
    struct x64 e = {cc->rw};
    enter_and_exit(&e, cc, s);
    for (unsigned k = 0; k < MEM_KINDS; k++) {
        s->load[k] = memory_stub(&e, load_fast[k], load_full[k]);
    }
    for (unsigned k = 0; k < 4; k++) {
        s->store[k] = memory_stub(&e, store_fast[k], store_full[k]);
    }
    s->group[0] = memory_stub(&e, (const void *)tcg_group_fast_read, (const void *)tcg_group_read);
    s->group[1] = memory_stub(&e, (const void *)tcg_group_fast_write, (const void *)tcg_group_write);
    s->interp = full_call(&e, (const void *)tcg_interp_insn);
    light_stub(&e, s);
    lookup_stub(&e, s);
    link_stub(&e, s);
    budget_stub(&e, s);
    s->size = (size_t)(e.p - cc->rw);
    assert(s->size < CODE_CHUNK_SIZE);
}
