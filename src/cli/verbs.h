/* The table of verbs: a new verb is one file with one function, and one line in verbs.c. */
#ifndef WEFT_CLI_VERBS_H
#define WEFT_CLI_VERBS_H

struct verb {
    const char *name;
    const char *summary;               /* one line of `weft --help` */
    int (*run)(int argc, char **argv); /* argv[0] is the verb; returns the exit status; answers --help itself */
};

extern const struct verb verbs[]; /* ends with a NULL name */

int verb_info(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_plan(int argc, char **argv);
int verb_placement(int argc, char **argv);
int verb_probe(int argc, char **argv);
int verb_proof(int argc, char **argv);
int verb_top(int argc, char **argv);

#endif
