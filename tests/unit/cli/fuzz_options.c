/*
 * Fuzzes the reader of command lines: the input is one word a line. Whatever is accepted must be a consistent machine,
 * whatever is refused must have a sentence. With clang this is a libFuzzer target; else a driver of its own mutates the
 * lines of the tables: fuzz_options SECONDS SEED TABLE...
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft/cli.h"
#include "weft/shape.h"

enum { MAX_INPUT = 8192, MAX_WORDS = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_machine(const struct machine_config *c)
{
    const struct smp_config *s = &c->smp;
    assert(s->cpus >= 1 && s->cpus <= s->maxcpus && s->maxcpus <= WEFT_MAX_HARTS);
    assert(s->drawers * s->books * s->sockets * s->dies * s->clusters * s->modules * s->cores * s->threads ==
           s->maxcpus);
    assert(c->num_nodes >= 1 && c->num_nodes <= WEFT_MAX_NODES);
    uint64_t memory = 0;
    unsigned harts = 0;
    struct bitmap used = {{0}};
    for (unsigned n = 0; n < c->num_nodes; n++) {
        const struct node_config *node = &c->node[n];
        memory += node->mem;
        harts += bitmap_count(&node->cpus);
        assert(node->backend < (int)c->num_backends);
        if (node->backend >= 0) {
            assert(!bitmap_test(&used, (unsigned)node->backend));
            bitmap_set(&used, (unsigned)node->backend);
            assert(c->backend[node->backend].size == node->mem);
        }
        for (unsigned m = 0; m < c->num_nodes; m++) {
            assert((n == m) == (c->distance[n][m] == 10) && c->distance[n][m] >= 10);
        }
    }
    assert(memory == c->mem_size && memory % 4096 == 0 && memory > 0);
    assert(harts == s->cpus);
    for (unsigned h = 0; h < s->cpus; h++) {
        assert(bitmap_test(&c->node[shape_hart_node(c, h)].cpus, h));
    }
    assert(!c->icount || c->thread == ACCEL_THREAD_SINGLE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine_config cfg;
    static FILE *sink;
    char text[MAX_INPUT + 1], *words[MAX_WORDS + 1] = {(char *)"run"};
    int n = 1;
    if (!sink) {
        sink = fopen("/dev/null", "w");
        assert(sink);
    }
    size = size < MAX_INPUT ? size : MAX_INPUT;
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *rest = text, *word; n < MAX_WORDS && (word = strsep(&rest, "\n"));) {
        words[n++] = word;
    }
    words[n] = NULL;
    struct error err = {0};
    if (cli_parse_run(n, words, &cfg, &err)) {
        assert(!err.set);
        check_machine(&cfg);
        cli_print_json(&cfg, sink);
        cli_print_text(&cfg, sink);
    } else {
        assert(err.set && strlen(err.text) > 10);
    }
    return 0;
}

#ifndef WEFT_LIBFUZZER
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include "table.h"

static uint8_t input[MAX_INPUT];
static size_t input_size;
static uint64_t state;
static int real_stderr;

static uint32_t rnd(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

/* The input that broke it, for the next person to replay. */
static void crashed(int sig)
{
    static const char text[] = "fuzz_options: it failed on this input:\n";
    if (write(real_stderr, text, sizeof(text) - 1) < 0 || write(real_stderr, input, input_size) < 0) {
        _exit(2);
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

static void append(const char *text, size_t n)
{
    n = n < MAX_INPUT - input_size ? n : MAX_INPUT - input_size;
    memcpy(input + input_size, text, n);
    input_size += n;
}

/* Appends the words of a line of a table, or only some of them. */
static void append_line(const struct table *t)
{
    char buf[8192], *words[TABLE_MAX_WORDS];
    int n = table_words(t->line[rnd(t->count)].field[0], buf, sizeof(buf), words);
    int from = n > 0 && strcmp(words[0], "run") == 0;
    for (int i = from; i < n; i++) {
        if (input_size) {
            append("\n", 1);
        }
        append(words[i], strlen(words[i]));
    }
}

static void mutate(void)
{
    static const char *const pieces[] = {",",
                                         "=",
                                         "0",
                                         "1",
                                         "-",
                                         "=on",
                                         "=off",
                                         "65535",
                                         "18446744073709551615",
                                         "1G",
                                         ",,",
                                         "id=",
                                         "node",
                                         "\n-numa\nnode,mem=64M",
                                         "^",
                                         "{",
                                         "[",
                                         "\"",
                                         "\xff",
                                         "cpus=0-1"};
    size_t at = input_size ? rnd((uint32_t)input_size) : 0;
    switch (rnd(4)) {
    case 0:
        if (input_size) {
            input[at] = (uint8_t)rnd(256);
        }
        break;
    case 1: {
        size_t n = input_size - at < 8 ? input_size - at : rnd(8);
        memmove(input + at, input + at + n, input_size - at - n);
        input_size -= n;
        break;
    }
    default: {
        const char *piece = pieces[rnd(sizeof(pieces) / sizeof(pieces[0]))];
        size_t n = strlen(piece);
        if (input_size + n <= MAX_INPUT) {
            memmove(input + at + n, input + at, input_size - at);
            memcpy(input + at, piece, n);
            input_size += n;
        }
    }
    }
}

int main(int argc, char **argv)
{
    static struct table tables[4];
    if (argc < 4 || argc > 7) {
        fprintf(stderr, "usage: fuzz_options SECONDS SEED TABLE...\n");
        return 1;
    }
    int count = argc - 3;
    for (int i = 0; i < count; i++) {
        table_load(&tables[i], argv[3 + i]);
    }
    state = strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15ull + 1;
    real_stderr = dup(STDERR_FILENO);
    if (!freopen("/dev/null", "w", stderr)) { /* warnings of what is accepted */
        return 1;
    }
    signal(SIGABRT, crashed);
    signal(SIGSEGV, crashed);
    time_t end = time(NULL) + atoi(argv[1]);
    unsigned long runs = 0;
    while (time(NULL) < end) {
        input_size = 0;
        for (unsigned n = 1 + rnd(3); n > 0; n--) {
            append_line(&tables[rnd((uint32_t)count)]);
        }
        for (unsigned n = rnd(4); n > 0; n--) {
            mutate();
        }
        LLVMFuzzerTestOneInput(input, input_size);
        runs++;
    }
    printf("%lu command lines\n", runs);
    return 0;
}
#endif
