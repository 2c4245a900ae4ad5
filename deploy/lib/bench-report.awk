# Reads "ENGINE GROUP NAME SECONDS" lines, many per program, and prints one table: the median of each engine, how many
# times weft is ahead of each peer, and the geometric mean of each group against its floor.
# -v engines="weft qemu10 ..." the columns in order; -v floors="boot=2.5 ..." against the first peer.
function median(key,    n, i, j, t, v) {
    n = split(all[key], v, " ")
    for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}
BEGIN {
    columns = split(engines, engine, " ")
    n = split(floors, f, " ")
    for (i = 1; i <= n; i++) { split(f[i], kv, "="); floor[kv[1]] = kv[2] }
    shown = ""
}
{
    key = $1 SUBSEP $3
    all[key] = all[key] " " $4
    if (!($3 in group)) { group[$3] = $2; order[++programs] = $3 }
    if (!($2 in seen)) { seen[$2] = 1; groups[++ngroups] = $2 }
}
END {
    printf "%-8s %-12s", "group", "program"
    for (c = 1; c <= columns; c++) { printf " %9s", engine[c] " s"; if (c > 1) printf " %7s", "ratio" }
    print ""
    for (g = 1; g <= ngroups; g++) {
        split("", sum); split("", count)
        for (p = 1; p <= programs; p++) {
            name = order[p]
            if (group[name] != groups[g]) continue
            printf "%-8s %-12s", groups[g], name
            mine = 0
            for (c = 1; c <= columns; c++) {
                key = engine[c] SUBSEP name
                if (!(key in all)) { printf " %9s", "-"; if (c > 1) printf " %7s", "-"; continue }
                t = median(key)
                printf " %9.3f", t
                if (c == 1) mine = t
                else if (mine > 0 && t > 0) { printf " %6.2fx", t / mine; sum[c] += log(t / mine); count[c]++ }
                else printf " %7s", "-"
            }
            print ""
        }
        printf "%-8s %-12s %9s", groups[g], "geom. mean", ""
        for (c = 2; c <= columns; c++) {
            if (count[c]) printf " %9s %6.2fx", "", exp(sum[c] / count[c]); else printf " %17s", ""
        }
        if (groups[g] in floor && count[2]) {
            mean = exp(sum[2] / count[2])
            printf "  at least %sx: %s", floor[groups[g]], (mean >= floor[groups[g]] ? "met" : "not met")
        }
        print "\n"
    }
}
