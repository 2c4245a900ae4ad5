#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_all(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    long n = ftell(f);
    rewind(f);
    char *text = malloc((size_t)n + 1);
    if (!text || fread(text, 1, (size_t)n, f) != (size_t)n) {
        perror(path);
        exit(1);
    }
    text[n] = '\0';
    fclose(f);
    return text;
}

static void split_fields(struct table_line *line, char *text)
{
    while (text && line->num_fields < TABLE_MAX_FIELDS) {
        line->field[line->num_fields++] = strsep(&text, "\t");
    }
}

void table_load(struct table *t, const char *path)
{
    memset(t, 0, sizeof(*t));
    t->text = read_all(path);
    char *rest = t->text, *text;
    for (unsigned number = 1; (text = strsep(&rest, "\n")); number++) {
        if (*text == '\0' || *text == '#') {
            continue;
        }
        if (t->count == TABLE_MAX_LINES) {
            fprintf(stderr, "%s: more than %d lines\n", path, TABLE_MAX_LINES);
            exit(1);
        }
        struct table_line *line = &t->line[t->count++];
        line->number = number;
        split_fields(line, text);
    }
}

int table_words(const char *command, char *buf, unsigned size, char **words)
{
    int n = 0;
    char *out = buf, *end = buf + size - 1;
    const char *p = command;
    for (;;) {
        p += strspn(p, " ");
        if (*p == '\0' || n == TABLE_MAX_WORDS - 1) {
            break;
        }
        words[n++] = out;
        bool quoted = false;
        for (; *p && (quoted || *p != ' ') && out < end; p++) {
            if (*p == '\'') {
                quoted = !quoted;
            } else {
                *out++ = *p;
            }
        }
        *out++ = '\0';
        if (out >= end) {
            break;
        }
    }
    words[n] = NULL;
    return n;
}
