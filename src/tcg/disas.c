/*
 * Writes instructions in the manner of objdump -M no-aliases; compressed ones as what they expand to.
 */
#include "tcg/decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "tcg/csr.h"

static const char *const xname[32] = {"zero", "ra", "sp", "gp", "tp",  "t0",  "t1", "t2", "s0", "s1", "a0",
                                      "a1",   "a2", "a3", "a4", "a5",  "a6",  "a7", "s2", "s3", "s4", "s5",
                                      "s6",   "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6"};
static const char *const fname[32] = {"ft0", "ft1", "ft2", "ft3", "ft4",  "ft5",  "ft6", "ft7", "fs0",  "fs1", "fa0",
                                      "fa1", "fa2", "fa3", "fa4", "fa5",  "fa6",  "fa7", "fs2", "fs3",  "fs4", "fs5",
                                      "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11"};

/* Appends the rounding mode; the dynamic one is not written, nor is RNE of a conversion that is always exact. */
static void add_rm(const struct insn *in, char *buf, size_t size)
{
    static const char *const rm_name[8] = {"rne", "rtz", "rdn", "rup", "rmm", "unknown", "unknown", "dyn"};
    bool exact = in->op == OP_FCVT_D_S || in->op == OP_FCVT_D_W || in->op == OP_FCVT_D_WU;
    if (in->rm != 7 && !(exact && in->rm == 0)) {
        size_t n = strlen(buf);
        snprintf(buf + n, size - n, ",%s", rm_name[in->rm]);
    }
}

static void add_fence_set(unsigned set, char *buf)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (set & 8 >> i) {
            buf[n++] = "iorw"[i];
        }
    }
    buf[n] = 0;
    if (n == 0) {
        strcpy(buf, "unknown");
    }
}

static void format_mem(const struct insn *in, char *buf, size_t size)
{
    const char *const s1 = xname[in->rs1];
    switch (insn_rows[in->op].fmt) {
    case FMT_L:
    case FMT_JR:
        snprintf(buf, size, "%s,%d(%s)", xname[in->rd], in->imm, s1);
        break;
    case FMT_FL:
        snprintf(buf, size, "%s,%d(%s)", fname[in->rd], in->imm, s1);
        break;
    case FMT_S:
        snprintf(buf, size, "%s,%d(%s)", xname[in->rs2], in->imm, s1);
        break;
    case FMT_FS:
        snprintf(buf, size, "%s,%d(%s)", fname[in->rs2], in->imm, s1);
        break;
    case FMT_LR:
        snprintf(buf, size, "%s,(%s)", xname[in->rd], s1);
        break;
    case FMT_AMO:
        snprintf(buf, size, "%s,%s,(%s)", xname[in->rd], xname[in->rs2], s1);
        break;
    default: /* FMT_CBO */
        snprintf(buf, size, "(%s)", s1);
        break;
    }
}

static void format_fp(const struct insn *in, char *buf, size_t size)
{
    const char *const d = fname[in->rd], *const s1 = fname[in->rs1], *const s2 = fname[in->rs2];
    switch (insn_rows[in->op].fmt) {
    case FMT_F4:
        snprintf(buf, size, "%s,%s,%s,%s", d, s1, s2, fname[in->rs3]);
        add_rm(in, buf, size);
        break;
    case FMT_F3:
        snprintf(buf, size, "%s,%s,%s", d, s1, s2);
        add_rm(in, buf, size);
        break;
    case FMT_F3N:
        snprintf(buf, size, "%s,%s,%s", d, s1, s2);
        break;
    case FMT_FCMP:
        snprintf(buf, size, "%s,%s,%s", xname[in->rd], s1, s2);
        break;
    case FMT_F2:
        snprintf(buf, size, "%s,%s", d, s1);
        add_rm(in, buf, size);
        break;
    case FMT_FTOX:
        snprintf(buf, size, "%s,%s", xname[in->rd], s1);
        add_rm(in, buf, size);
        break;
    case FMT_FTOXN:
        snprintf(buf, size, "%s,%s", xname[in->rd], s1);
        break;
    case FMT_XTOF:
        snprintf(buf, size, "%s,%s", d, xname[in->rs1]);
        add_rm(in, buf, size);
        break;
    default: /* FMT_XTOFN */
        snprintf(buf, size, "%s,%s", d, xname[in->rs1]);
        break;
    }
}

static void format_csr(const struct insn *in, char *buf, size_t size)
{
    char number[16];
    const char *name = csr_name((unsigned)in->imm);
    if (!name) {
        snprintf(number, sizeof(number), "0x%x", (unsigned)in->imm);
        name = number;
    }
    if (insn_rows[in->op].fmt == FMT_CSR) {
        snprintf(buf, size, "%s,%s,%s", xname[in->rd], name, xname[in->rs1]);
    } else {
        snprintf(buf, size, "%s,%s,%u", xname[in->rd], name, in->rs1);
    }
}

static void format_operands(const struct insn *in, uint64_t pc, char *buf, size_t size)
{
    const char *const d = xname[in->rd], *const s1 = xname[in->rs1], *const s2 = xname[in->rs2];
    uint64_t target = pc + (uint64_t)(int64_t)in->imm;
    buf[0] = 0;
    switch (insn_rows[in->op].fmt) {
    case FMT_R:
        snprintf(buf, size, "%s,%s,%s", d, s1, s2);
        break;
    case FMT_R2:
        snprintf(buf, size, "%s,%s", d, s1);
        break;
    case FMT_I:
        snprintf(buf, size, "%s,%s,%d", d, s1, in->imm);
        break;
    case FMT_SH:
        snprintf(buf, size, "%s,%s,0x%x", d, s1, (unsigned)in->imm);
        break;
    case FMT_B:
        snprintf(buf, size, "%s,%s,0x%" PRIx64, s1, s2, target);
        break;
    case FMT_U:
        snprintf(buf, size, "%s,0x%x", d, (uint32_t)in->imm >> 12);
        break;
    case FMT_J:
        snprintf(buf, size, "%s,0x%" PRIx64, d, target);
        break;
    case FMT_SFENCE:
        snprintf(buf, size, "%s,%s", s1, s2);
        break;
    case FMT_CSR:
    case FMT_CSRI:
        format_csr(in, buf, size);
        break;
    case FMT_FENCE: {
        char pred[8], succ[8];
        add_fence_set((unsigned)in->imm >> 4 & 15, pred);
        add_fence_set((unsigned)in->imm & 15, succ);
        snprintf(buf, size, "%s,%s", pred, succ);
        break;
    }
    case FMT_NONE:
        break;
    case FMT_L:
    case FMT_JR:
    case FMT_FL:
    case FMT_S:
    case FMT_FS:
    case FMT_LR:
    case FMT_AMO:
    case FMT_CBO:
        format_mem(in, buf, size);
        break;
    default:
        format_fp(in, buf, size);
        break;
    }
}

void insn_format(const struct insn *in, uint64_t pc, char *buf, size_t size)
{
    static const char *const order[4] = {"", ".rl", ".aq", ".aqrl"};
    char name[24], operands[64];
    if (in->op == OP_ILLEGAL) {
        snprintf(buf, size, in->len == 2 ? ".2byte  0x%x" : ".4byte  0x%x", in->raw);
        return;
    }
    unsigned fmt = insn_rows[in->op].fmt;
    bool is_amo = fmt == FMT_LR || fmt == FMT_AMO;
    snprintf(name, sizeof(name), "%s%s", insn_rows[in->op].text, is_amo ? order[in->rm & 3] : "");
    if (in->op == OP_FENCE && in->imm == 0x833) {
        snprintf(buf, size, "fence.tso");
        return;
    }
    format_operands(in, pc, operands, sizeof(operands));
    if (operands[0]) {
        snprintf(buf, size, "%-7s %s", name, operands);
    } else {
        snprintf(buf, size, "%s", name);
    }
}
