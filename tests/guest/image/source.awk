# Writes a C program of many different functions: the input of the compiler among the workloads.
function rnd(n) { seed = (seed * 16807) % 2147483647; return seed % n }
BEGIN {
    seed = 20250101
    print "struct node { struct node *left, *right; long key; double weight; unsigned char name[24]; };"
    print "extern void *take(unsigned long); extern int show(const char *, ...);"
    for (f = 0; f < 8; f++) {
        printf "static __attribute__((noinline)) long work%d(struct node *t, long *v, int n)\n{\n    long s = %d;\n", f, rnd(1000)
        printf "    double w = %d.25;\n", rnd(50)
        for (k = 0; k < 6; k++) {
            c = rnd(5)
            if (c == 0) printf "    for (int i = %d; i < n; i++)\n        s += v[i] * %d - (v[i ^ 1] >> %d);\n", rnd(4), 1 + rnd(99), 1 + rnd(7)
            if (c == 1) printf "    while (t && t->key != s) {\n        w += t->weight * %d.5;\n        t = t->key < s ? t->right : t->left;\n        s ^= %d;\n    }\n", rnd(9), rnd(4096)
            if (c == 2) {
                printf "    switch (s %% %d) {\n", 5 + rnd(6)
                for (j = 0; j < 5; j++) printf "    case %d:\n        s = s * %d + n;\n        v[%d] = s;\n        break;\n", j, 3 + rnd(40), rnd(8)
                print "    default:\n        w *= 1.5;\n    }"
            }
            if (c == 3) printf "    if (w > %d.0 && n > %d) {\n        struct node *m = take(sizeof *m);\n        *m = (struct node){ t, t, s, w, { %d } };\n        t = m;\n    }\n", rnd(100), rnd(10), rnd(200)
            if (c == 4 && f) printf "    s += work%d(t, v + %d, n / %d);\n", rnd(f), rnd(3), 2 + rnd(3)
        }
        print "    return s + (long)w;\n}"
    }
    print "long all(struct node *t, long *v, int n)\n{\n    long s = 0;"
    for (f = 0; f < 8; f++) printf "    s ^= work%d(t, v, n);\n", f
    print "    return s + show(\"%ld\", s);\n}"
}
