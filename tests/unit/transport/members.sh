#!/bin/sh
# Ranks that do not fit together are told so, each with the same sentence. usage: members.sh MEMBERS
members=$1
command -v mpirun >/dev/null || exit 77
failed=0

# expect COUNT SENTENCE RANKS ARGUMENTS...: the sentence must come COUNT times.
expect() {
    count=$1
    sentence=$2
    ranks=$3
    shift 3
    out=$(mpirun -n "$ranks" --allow-run-as-root --oversubscribe "$members" "$@" 2>&1)
    found=$(printf '%s\n' "$out" | grep -cF "$sentence")
    if [ "$found" != "$count" ]; then
        echo "expected $count times: $sentence"
        printf '%s\n' "$out"
        failed=1
    fi
}

expect 2 'of 2 ranks on 1 hosts, session the same' 2 0.1 '-m 1G' 0.1 '-m 1G'
expect 3 "rank 2 on $(hostname) was started with other options than rank 0: '1G' instead of '2G'" 3 \
    0.1 '-m 2G -smp 4' 0.1 '-m 2G -smp 4' 0.1 '-m 1G -smp 4'
expect 2 "rank 1 on $(hostname) is weft 0.2, rank 0 on $(hostname) is weft 0.1" 2 0.1 x 0.2 x
out=$("$members" 0.1 '-m 1G') || failed=1
[ "$out" = '0 of 1 ranks on 1 hosts, session the same' ] || { echo "without mpirun: $out"; failed=1; }
exit $failed
