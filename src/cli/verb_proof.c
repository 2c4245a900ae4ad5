/* weft proof: reads proofs of placement (--proof FILE), compares two of them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "cli/verbs.h"
#include "weft/placement.h"

static void help(FILE *out)
{
    fprintf(out, "Usage: weft proof diff FILE FILE\n"
                 "       weft proof check FILE\n\n"
                 "Proofs are written by weft run --proof FILE.\n\n"
                 "  diff   prints what differs between two proofs; exit status 1 if anything does, 2 for a mistake\n"
                 "  check  prints the deviations from the plan that a proof holds; exit status 1 if there are any\n");
}

static bool load(const char *path, struct proof *proof, struct error *err)
{
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        return error_set_errno(err, errno, "%s: it cannot be read; name a file written by --proof", path);
    }
    char *text = NULL;
    size_t size = 0;
    ssize_t n = getdelim(&text, &size, 0, f);
    fclose(f);
    struct error why = {0};
    bool ok = n > 0 && proof_from_json(proof, text, &why);
    free(text);
    return ok || error_set(err, "%s: %s", path, why.set ? why.text : "the file is empty; name one written by --proof");
}

static int diff(const char *a, const char *b, struct error *err)
{
    struct proof first, second;
    if (!load(a, &first, err)) {
        return 2;
    }
    if (!load(b, &second, err)) {
        proof_fini(&first);
        return 2;
    }
    unsigned n = proof_diff(stdout, &first, &second);
    if (n == 0) {
        printf("no difference: %u threads and %u ranges of memory\n", first.num_threads, first.num_ranges);
    }
    proof_fini(&first);
    proof_fini(&second);
    return n > 0;
}

static int check(const char *path, struct error *err)
{
    struct proof proof;
    char text[4096];
    if (!load(path, &proof, err)) {
        return 2;
    }
    unsigned n = proof_deviations(&proof, text, sizeof(text), 16);
    if (n > 0 || !proof.ok) {
        printf("%s: %u deviation%s: %s\n", path, n, n == 1 ? "" : "s", text);
    } else {
        printf("%s: %u threads and %u ranges of memory as the plan (%s) says, %s\n", path, proof.num_threads,
               proof.num_ranges, proof.policy, proof.time);
    }
    bool ok = proof.ok;
    proof_fini(&proof);
    return ok ? 0 : 1;
}

int verb_proof(int argc, char **argv)
{
    struct error err = {0};
    int status = 2;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help(stdout);
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "diff") == 0) {
        status = diff(argv[2], argv[3], &err);
    } else if (argc == 3 && strcmp(argv[1], "check") == 0) {
        status = check(argv[2], &err);
    } else {
        help(stderr);
    }
    if (err.set) {
        error_report(&err);
    }
    return status;
}
