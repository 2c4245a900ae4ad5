/* Blocks and units. */
#include "tcg/translate.h"

#include "weft/log.h"
#include "weft/machine.h"

static struct x64_mem cpu_mem(int32_t disp)
{
    return x64_at(RBP, disp);
}

static uint8_t *known_code(struct tr *t, unsigned off)
{
    unsigned i = t->entry_index[off >> 1];
    if (i) {
        return t->entry[i - 1].code;
    }
    uint32_t code = code_page_find(t->page, off);
    return code ? t->cc->rw + code : NULL;
}

static bool ends_block(enum op op)
{
    switch (op) {
    case OP_BEQ ... OP_BGEU:
    case OP_JAL:
    case OP_JALR:
    case OP_ILLEGAL:
    case OP_ECALL:
    case OP_EBREAK:
    case OP_MRET:
    case OP_SRET:
    case OP_WFI:
    case OP_FENCE_I:
    case OP_PAUSE:
    case OP_WRS_NTO:
    case OP_WRS_STO:
    case OP_SFENCE_VMA:
        return true;
    default:
        return false;
    }
}

/* Decodes the block at t->off, `max` instructions at most that do something: up to a jump, known code, or an
 * instruction that crosses the page. */
static void scan_block(struct tr *t, unsigned max)
{
    unsigned off = t->off, work = 0;
    t->dec_n = t->at = 0;
    if (t->crossing) {
        insn_decode(t->crossing, t->cpu->isa_ext, &t->dec[t->dec_n++]);
        return;
    }
    while (t->dec_n < TR_BLOCK_INSNS && work < max && off < GUEST_PAGE_SIZE && (t->dec_n == 0 || !known_code(t, off))) {
        uint32_t raw = 0;
        bool last_half = off + 4 > GUEST_PAGE_SIZE;
        memcpy(&raw, t->bytes + off, last_half ? 2 : 4);
        if (last_half && insn_length(raw) == 4) {
            break;
        }
        struct insn *in = &t->dec[t->dec_n++];
        insn_decode(raw, t->cpu->isa_ext, in);
        off += in->len;
        work += !tr_no_effect(in);
        if (ends_block(in->op)) {
            break;
        }
    }
}

static void block_begin(struct tr *t, unsigned max)
{
    scan_block(t, max);
    t->index = 0;
    t->fp_checked = false;
    t->boxed = 0;
    t->flags_at = t->rax_at = NULL;
    t->bb_cold = t->num_cold;
    /* A jump back to where a plain block starts has groups again; one to a crossing instruction compares the page
     * again. (The page's end is a target like any other.) */
    bool apart = t->plain || t->crossing;
    t->bb_off = apart ? TR_NOWHERE : t->off;
    t->bb = (uint8_t)t->num_entries;
    struct borrow *b = &t->borrow[t->bb];
    tr_choose_borrow(t, b);
    t->entry[t->num_entries].off = (uint16_t)t->off;
    t->entry[t->num_entries++].code = t->e.p;
    t->entry_index[t->off >> 1] = apart ? 0 : (uint8_t)t->num_entries;
    for (unsigned i = 0; i < b->n; i++) {
        x64_store(&t->e, cpu_mem(X_DISP(b->pinned[i])), b->host[i]);
    }
    tr_take_again(t, b);
    t->inner = t->e.p;
    t->bb_long = t->dec_n > INT8_MAX;
    x64_alu_imm(&t->e, true, ALU_SUB, R14, t->bb_long ? INT32_MAX : 0);
    t->bb_sub = t->e.p - (t->bb_long ? 4 : 1);
    struct cold *c = tr_cold(t, COLD_BUDGET);
    c->from[0] = x64_jcc(&t->e, CC_S);
}

/* `index` instructions are in the block: fix its count, and in its cold paths index -> instructions left. */
static void block_end(struct tr *t)
{
    uint32_t n = t->index;
    memcpy(t->bb_sub, &n, t->bb_long ? 4 : 1);
    for (unsigned i = t->bb_cold; i < t->num_cold; i++) {
        struct cold *c = &t->cold[i];
        c->info = INFO(INFO_OFF(c->info), t->index - INFO_LEFT(c->info));
    }
}

static void resolve_direct(struct tr *t)
{
    for (unsigned i = 0; i < t->num_direct; i++) {
        uint8_t *code = known_code(t, t->direct[i].off);
        if (code) {
            x64_patch(t->direct[i].patch, code);
        } else {
            struct cold *c = tr_cold(t, COLD_LINK);
            c->from[0] = t->direct[i].patch;
            c->imm = t->direct[i].off;
        }
    }
}

static void translate_insn(struct tr *t)
{
    if (tr_no_effect(&t->in)) {
        return;
    }
    if (!tr_integer(t) && !tr_memory(t) && !tr_control(t) && !tr_system(t) && !tr_float(t) && !tr_atomic(t) &&
        !tr_bitmanip(t)) {
        tr_interp(t);
    }
}

static void log_unit(struct tr *t, unsigned from, const uint8_t *code, const uint8_t *end)
{
    char text[128];
    if (log_on(LOG_IN_ASM)) {
        log_write("----------------\nIN: page 0x%llx\n", (unsigned long long)t->page->gpa);
        for (unsigned off = from; off < t->off;) {
            uint32_t raw = t->crossing;
            if (!raw) {
                memcpy(&raw, t->bytes + off, off + 4 <= GUEST_PAGE_SIZE ? 4 : 2);
            }
            struct insn in;
            insn_decode(raw, t->cpu->isa_ext, &in);
            insn_format(&in, t->page->gpa + off, text, sizeof(text));
            log_write("0x%08llx:  %08x  %s\n", (unsigned long long)(t->page->gpa + off), in.raw, text);
            off += in.len;
        }
    }
    if (log_on(LOG_OUT_ASM)) {
        log_write("OUT: [size=%ld] page 0x%llx+0x%x at %p\n", (long)(end - code), (unsigned long long)t->page->gpa,
                  from, (const void *)codecache_to_rx(t->cc, code));
        for (const uint8_t *p = code; p < end; p++) {
            log_write("%02x%s", *p, (p - code) % 32 == 31 || p + 1 == end ? "\n" : "");
        }
    }
}

/* The unit can bear one more instruction and what ends a block. */
static bool has_room(const struct tr *t)
{
    const struct tcg_cpu *tc = t->cpu->tcg;
    unsigned cold = t->num_cold + t->num_direct + 8;
    return cold <= TR_MAX_COLD && (size_t)(t->e.p - tc->chunk) + cold * TR_COLD_ROOM + 2048 <= CODE_UNIT_ROOM;
}

bool tr_block(struct tr *t, unsigned max)
{
    block_begin(t, max);
    if (t->dec_n == 0) {
        /* The dispatcher fetches an instruction that crosses the page and has it interpreted. */
        struct cold *c = tr_cold(t, COLD_FP_EXIT);
        c->from[0] = x64_jmp(&t->e);
        t->index = 1;
        block_end(t);
        return false;
    }
    while (t->at < t->dec_n && (t->index == 0 || t->group_open || has_room(t))) {
        t->in = t->dec[t->at++];
        translate_insn(t);
        t->index++;
        t->off += t->in.len;
    }
    bool branch = t->in.op >= OP_BEQ && t->in.op <= OP_BGEU;
    if (!t->end && !branch) {
        tr_leave_to(t, t->off);
    }
    block_end(t);
    return branch;
}

/* A run of blocks in straight line; returns the number of instructions. */
static unsigned translate_run(struct tr *t)
{
    unsigned insns = 0;
    while (tr_block(t, TR_UNIT_INSNS - insns)) {
        insns += t->index;
        bool crosses = t->off + 4 > GUEST_PAGE_SIZE; /* maybe: leave it to a unit of its own */
        if (t->plain || insns >= TR_UNIT_INSNS || crosses || !has_room(t) || known_code(t, t->off)) {
            tr_goto(t, t->off);
            return insns;
        }
    }
    return insns + t->index;
}

void tr_unit_begin(struct tr *t, struct code_page *page, const uint8_t *bytes, unsigned off)
{
    struct tcg_cpu *tc = t->cpu->tcg;
    t->e.p = tc->chunk;
    t->page = page;
    t->bytes = bytes;
    t->off = off & ~CODE_PLAIN;
    t->plain = off & CODE_PLAIN;
    t->crossing = 0;
    t->groups = !t->plain && t->cpu->machine->cfg->access_matrix != ACCESS_MATRIX_EXACT; /* no probe hits there */
    t->end = false;
    t->num_cold = t->num_entries = t->num_direct = 0;
    t->group_open = false;
}

void tr_unit_end(struct tr *t)
{
    struct tcg_cpu *tc = t->cpu->tcg;
    resolve_direct(t);
    for (unsigned i = 0; i < t->num_cold; i++) {
        tr_cold_emit(t, &t->cold[i]);
    }
    assert(t->e.p < tc->chunk_end);
    if (log_mask & (LOG_IN_ASM | LOG_OUT_ASM)) {
        log_unit(t, t->entry[0].off, tc->chunk, t->e.p);
    }
    for (unsigned i = 0; i < t->num_entries; i++) {
        t->entry_index[t->entry[i].off >> 1] = 0;
    }
    t->page->regions |= 1u << tc->chunk_region;
    t->cpu->stats.blocks_translated += t->num_entries;
    t->cpu->stats.code_bytes += (uint64_t)(t->e.p - tc->chunk);
    tc->chunk = t->e.p;
}

void translate_unit(struct tr *t, struct code_page *page, const uint8_t *bytes, unsigned off)
{
    tr_unit_begin(t, page, bytes, off);
    t->cpu->stats.insns_translated += translate_run(t);
    tr_unit_end(t);
    for (unsigned i = 0; i < t->num_entries; i++) {
        code_page_publish(page, t->entry[i].off | (off & CODE_PLAIN), (uint32_t)(t->entry[i].code - t->cc->rw));
    }
}
