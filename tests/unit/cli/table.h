/* Reading the tables of command lines: lines, tab-separated fields, words with '' quotes. */
#ifndef TEST_CLI_TABLE_H
#define TEST_CLI_TABLE_H

#include <stdbool.h>

enum { TABLE_MAX_LINES = 512, TABLE_MAX_FIELDS = 24, TABLE_MAX_WORDS = 64 };

struct table_line {
    unsigned number;
    unsigned num_fields;
    char *field[TABLE_MAX_FIELDS];
};

struct table {
    char *text;
    unsigned count;
    struct table_line line[TABLE_MAX_LINES];
};

/* Loads a table; exits the process with a message if it cannot. */
void table_load(struct table *t, const char *path);

/* Splits a command line into words (a copy in buf): at most TABLE_MAX_WORDS - 1, and a NULL behind. Returns how many.
 */
int table_words(const char *command, char *buf, unsigned size, char **words);

#endif
