/* Starts membership with the version and options that are this rank's in the arguments: members V0 O0 V1 O1 ... */
#include <stdio.h>
#include <stdlib.h>

#include "weft/membership.h"

int main(int argc, char **argv)
{
    struct membership m;
    struct error err = {0};
    /* The launcher tells the rank; membership itself asks MPI. */
    const char *text = getenv("OMPI_COMM_WORLD_RANK");
    int rank = text ? atoi(text) : 0;
    if (argc < 3 + 2 * rank) {
        return 2;
    }
    bool ok = membership_start(&m, argv[1 + 2 * rank], argv[2 + 2 * rank], &err);
    if (ok) {
        printf("%u of %u ranks on %u hosts, session the same\n", m.self, m.ranks, m.hosts);
    } else {
        error_report(&err);
    }
    membership_end(&m);
    return ok ? 0 : 1;
}
