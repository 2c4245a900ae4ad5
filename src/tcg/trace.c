/* -d exec and -d cpu: what runs, block by block (instruction by instruction on the interpreter tier). */
#include "tcg/helpers.h"
#include "weft/log.h"

static const char *const x_name[32] = {"zero", "ra", "sp", "gp", "tp",  "t0",  "t1", "t2", "s0", "s1", "a0",
                                       "a1",   "a2", "a3", "a4", "a5",  "a6",  "a7", "s2", "s3", "s4", "s5",
                                       "s6",   "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6"};

void tcg_trace(const struct cpu *cpu)
{
    static const char priv[] = "US?M";
    if (log_on(LOG_EXEC)) {
        log_write("Trace %u: [%016llx/%c] icount %llu\n", cpu->hart, (unsigned long long)cpu->pc, priv[cpu->priv & 3],
                  (unsigned long long)cpu_instret(cpu));
    }
    if (log_on(LOG_CPU)) {
        log_write(" pc       %016llx  mstatus %016llx  satp %016llx\n", (unsigned long long)cpu->pc,
                  (unsigned long long)cpu->mstatus, (unsigned long long)cpu->satp);
        for (unsigned i = 0; i < 32; i++) {
            log_write(" x%-2u/%-4s %016llx%s", i, x_name[i], (unsigned long long)cpu->x[i], i % 4 == 3 ? "\n" : "");
        }
    }
}
