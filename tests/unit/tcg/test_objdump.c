/*
 * insn_format and the expansion of compressed instructions against binutils' disassembler. Exit 77 (skipped) where it
 * is not installed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "encode.h"

enum { MAX_WORDS = 70000, LINE = 160 };
static const char objdump[] = "riscv64-linux-gnu-objdump";

static uint32_t word[MAX_WORDS];
static unsigned num_words;
static char line[2][MAX_WORDS][80];

/* "name" and "operands" with one blank between, without comments. */
static void normalise(const char *from, char *to, size_t size)
{
    char copy[LINE], *hash;
    snprintf(copy, sizeof(copy), "%s", from);
    hash = strstr(copy, " #");
    if (hash) {
        *hash = 0;
    }
    char *name = strtok(copy, " \t\n"), *operands = strtok(NULL, "\t\n");
    while (operands && *operands == ' ') {
        operands++;
    }
    snprintf(to, size, "%s%s%s", name ? name : "", operands && *operands ? " " : "", operands ? operands : "");
    for (size_t n = strlen(to); n > 0 && to[n - 1] == ' '; n--) {
        to[n - 1] = 0;
    }
}

/* Disassembles `words` at 4 * index into line[which]. */
static bool disassemble(const uint32_t *words, unsigned n, const char *option, unsigned which)
{
    char path[] = "/tmp/weft-objdump-XXXXXX", command[256], text[LINE];
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, words, n * 4ul) != (ssize_t)(n * 4ul)) {
        return false;
    }
    close(fd);
    snprintf(command, sizeof(command), "%s -D -z -b binary -m riscv:rv64 %s %s", objdump, option, path);
    FILE *p = popen(command, "r");
    while (p && fgets(text, sizeof(text), p)) {
        char *end;
        unsigned long at = strtoul(text, &end, 16);
        char *mnemonic = *end == ':' ? strchr(end + 2, '\t') : NULL;
        if (mnemonic && at % 4 == 0 && at / 4 < n) {
            normalise(mnemonic + 1, line[which][at / 4], sizeof(line[which][0]));
        }
    }
    unlink(path);
    return p && pclose(p) == 0;
}

/* What the installed binutils does not know, or shows in a way of its own. */
static bool comparable(const struct insn *in, const char *theirs)
{
    switch (in->op) {
    case OP_PAUSE:   /* an alias there */
    case OP_FENCE:   /* shows fm only for fence.tso */
    case OP_FENCE_I: /* nothing is shown of its ignored fields */
        return false;
    case OP_CSRRW:
    case OP_CSRRS:
    case OP_CSRRC:
    case OP_CSRRWI:
    case OP_CSRRSI:
    case OP_CSRRCI: { /* names of CSRs that are not implemented here */
        struct insn copy = *in;
        char mine[96];
        insn_format(&copy, 0, mine, sizeof(mine));
        return strstr(mine, "0x") == NULL;
    }
    default:
        return theirs[0] != '.' && strncmp(theirs, "0x", 2) != 0;
    }
}

static int check_words(void)
{
    int bad = 0;
    unsigned compared = 0;
    for (int op = OP_ILLEGAL + 1; op < OP_COUNT; op++) {
        for (int k = 0; k < 150; k++) {
            word[num_words++] = random_word((enum op)op);
        }
    }
    for (int k = 0; k < 10000; k++) {
        uint32_t raw = (uint32_t)random64() | 3;
        word[num_words++] = (raw & 0x1f) == 0x1f ? raw ^ 4 : raw; /* not of more than 32 bits */
    }
    if (!disassemble(word, num_words, "-M no-aliases", 0)) {
        return 77;
    }
    for (unsigned i = 0; i < num_words; i++) {
        struct insn in;
        char mine[96], text[96];
        insn_decode(word[i], ~0ull, &in);
        insn_format(&in, 4ul * i, text, sizeof(text));
        normalise(text, mine, sizeof(mine));
        if (in.op != OP_ILLEGAL && comparable(&in, line[0][i])) {
            compared++;
            if (strcmp(mine, line[0][i]) != 0 && bad++ < 20) {
                fprintf(stderr, "%08x: \"%s\", objdump \"%s\"\n", word[i], mine, line[0][i]);
            }
        }
    }
    printf("%u of %u words compared\n", compared, num_words);
    return bad || compared < 20000;
}

/* Both the 16-bit word and what it expands to, encoded in 32 bits, must disassemble alike (aliases on). */
static int check_compressed(void)
{
    static uint32_t wide[65536];
    static uint16_t source[65536];
    unsigned n = 0;
    int bad = 0;
    for (unsigned raw = 0; raw < 0x10000; raw++) {
        struct insn in;
        insn_decode(raw, 0, &in);
        if ((raw & 3) != 3 && in.op != OP_ILLEGAL) {
            source[n] = (uint16_t)raw;
            word[n] = raw | 0x00010000; /* followed by c.nop */
            wide[n++] = encode(&in);
        }
    }
    if (!disassemble(word, n, "", 0) || !disassemble(wide, n, "", 1)) {
        return 77;
    }
    for (unsigned i = 0; i < n; i++) {
        char *narrow = line[0][i], *full = line[1][i];
        struct insn in;
        insn_decode(source[i], 0, &in);
        bool hint = strncmp(narrow, "c.", 2) == 0 || (in.rd == 0 && narrow[0] != 'j' && narrow[0] != 'b') ||
                    (in.op == OP_ADDI && in.imm == 0);
        bool move = in.op == OP_ADD && in.rs1 == 0; /* "mv" when compressed, "add rd,zero,rs" when not */
        bool jump = in.op == OP_JAL || in.op == OP_JALR;
        if (!hint && !move && !jump && strcmp(narrow, full) != 0 && bad++ < 20) {
            fprintf(stderr, "%04x: \"%s\", expanded \"%s\"\n", source[i], narrow, full);
        }
    }
    printf("%u compressed words compared\n", n);
    return bad != 0;
}

int main(void)
{
    char command[64];
    snprintf(command, sizeof(command), "%s --version >/dev/null 2>&1", objdump);
    if (system(command) != 0) {
        return 77;
    }
    int words = check_words(), compressed = check_compressed();
    return words == 77 || compressed == 77 ? 77 : words || compressed;
}
