#!/bin/bash
# Loses a rank in each way a signal can and looks at the others: they must end within 5 s and name the rank.
# usage: faults.sh FAULTS_BINARY [REPEAT]
binary=$1
repeat=${2:-1}
command -v mpirun >/dev/null || exit 77
failed=0

# fault RANKS VICTIM SIGNAL: the survivors' .end files must name the victim.
fault() {
    local ranks=$1 victim=$2 signal=$3 dir launcher start r pid took
    dir=$(mktemp -d)
    # mpirun's own reaction to a dead rank is switched off: what is tested is ours.
    mpirun -n "$ranks" --allow-run-as-root --oversubscribe --enable-recovery "$binary" "$dir" >"$dir/log" 2>&1 &
    launcher=$!
    for _ in $(seq 300); do
        [ "$(find "$dir" -name '[0-9]' -size +0 | wc -l)" = "$ranks" ] && break
        sleep 0.1
    done
    sleep 0.$((RANDOM % 10))
    pid=$(cat "$dir/$victim")
    if [ "$signal" = PAUSE ]; then
        # A short freeze is no loss: all go on. Then the rank is killed, so that the run ends.
        kill -STOP "$pid"
        sleep 2.5
        kill -CONT "$pid"
        sleep 1.5
        if [ "$(find "$dir" -name '*.end' | wc -l)" != 0 ]; then
            echo "a pause of 2.5 s ended the run: $(cat "$dir"/*.end | head -1)"
            failed=1
        fi
        signal=KILL
    fi
    start=$(date +%s%N)
    kill -"$signal" "$pid"
    for _ in $(seq 100); do
        [ "$(find "$dir" -name '*.end' -size +0 | wc -l)" -ge $((ranks - 1)) ] && break
        sleep 0.1
    done
    took=$((($(date +%s%N) - start) / 1000000))
    for r in $(seq 0 $((ranks - 1))); do
        [ "$r" = "$victim" ] && continue
        if ! grep -q "^lost $victim: rank $victim " "$dir/$r.end" 2>/dev/null; then
            echo "rank $r does not name rank $victim after $signal: $(cat "$dir/$r.end" 2>/dev/null)"
            failed=1
        fi
    done
    [ "$took" -le 5000 ] || { echo "survivors of $signal took $took ms"; failed=1; }
    sleep 0.3
    for r in $(seq 0 $((ranks - 1))); do
        [ "$r" = "$victim" ] && continue
        for _ in $(seq 30); do kill -0 "$(cat "$dir/$r")" 2>/dev/null || break; sleep 0.1; done
        if kill -0 "$(cat "$dir/$r")" 2>/dev/null; then
            echo "rank $r is still there after $signal of rank $victim"
            failed=1
            kill -9 "$(cat "$dir/$r")"
        fi
    done
    kill -9 "$pid" 2>/dev/null
    wait "$launcher"
    echo "$ranks ranks, $signal of rank $victim: survivors ended after $took ms: $(cat "$dir"/*.end | head -1)"
    rm -rf "$dir"
}

for _ in $(seq "$repeat"); do
    fault 2 1 KILL
    fault 2 0 KILL
    fault 3 1 KILL
    fault 3 0 STOP
    fault 3 2 PAUSE
done
exit $failed
