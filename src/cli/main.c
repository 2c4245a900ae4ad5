/* weft VERB [options]. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "cli/verbs.h"

static void usage(FILE *out)
{
    fprintf(out, "Usage: weft VERB [options]\n\nOne guest machine, woven across the NUMA nodes of a host.\n\nVerbs:\n");
    for (const struct verb *v = verbs; v->name; v++) {
        fprintf(out, "  %-10s %s\n", v->name, v->summary);
    }
    fprintf(out, "\nweft VERB --help tells more; weft --version prints the version.\n");
}

static const struct verb *find(const char *name)
{
    for (const struct verb *v = verbs; v->name; v++) {
        if (strcmp(v->name, name) == 0) {
            return v;
        }
    }
    return NULL;
}

static int no_such_verb(const char *word)
{
    struct error err = {0};
    const char *names[32];
    unsigned n = 0;
    for (const struct verb *v = verbs; v->name && n < 31; v++) {
        names[n++] = v->name;
    }
    names[n] = NULL;
    const char *near = kv_nearest(word, names);
    const char *name = word + strspn(word, "-");
    if (word[0] == '-' && option_find(name, strlen(name))) {
        error_set(&err, "%.64s: the verb is missing before it; write weft run %.64s ...", word, word);
    } else if (near) {
        error_set(&err, "%.64s: there is no such verb; did you mean %s?", word, near);
    } else {
        error_set(&err, "%.64s: there is no such verb; weft --help lists them", word);
    }
    error_report(&err);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return 1;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0 || strcmp(word, "-version") == 0 || strcmp(word, "version") == 0) {
        printf("weft %s\n", WEFT_VERSION);
        return 0;
    }
    bool help = strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "-help") == 0 ||
                strcmp(word, "help") == 0;
    if (help && argc == 2) {
        usage(stdout);
        return 0;
    }
    const struct verb *v = find(help ? argv[2] : word);
    if (!v) {
        return no_such_verb(help ? argv[2] : word);
    }
    if (help) {
        char *ask[] = {argv[2], (char *)"--help", NULL};
        return v->run(2, ask);
    }
    return v->run(argc - 1, argv + 1);
}
