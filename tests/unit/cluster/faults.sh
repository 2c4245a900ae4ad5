#!/bin/bash
# Loses a rank in each way a signal can and looks at the others: they must end within 5 s and name the rank.
# usage: faults.sh FAULTS_BINARY [REPEAT]
binary=$1
repeat=${2:-1}
command -v mpirun >/dev/null || exit 77
failed=0

# wait_for TENTHS COMMAND...: until COMMAND succeeds.
wait_for() {
    local tenths=$1
    shift
    for _ in $(seq "$tenths"); do
        "$@" && return
        sleep 0.1
    done
    "$@"
}
# shellcheck disable=SC2317  # called by wait_for
# shellcheck disable=SC2317 # wait_for calls these
started() { [ "$(find "$dir" -name '[0-9]' -size +0 | wc -l)" = "$ranks" ]; }
# shellcheck disable=SC2317
# shellcheck disable=SC2317
survivors_ended() { [ "$(find "$dir" -name '*.end' -size +0 | wc -l)" -ge $((ranks - 1)) ]; }
# shellcheck disable=SC2317
# shellcheck disable=SC2317
gone() { ! kill -0 "$(cat "$dir/$1")" 2>/dev/null; }
milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# A short freeze is no loss: all go on. Where the host made more than that of it, nothing is shown.
freeze() {
    local begin took
    begin=$(milliseconds)
    kill -STOP "$1"
    sleep 2
    kill -CONT "$1"
    took=$(($(milliseconds) - begin))
    sleep 1.5
    if [ "$(find "$dir" -name '*.end' | wc -l)" != 0 ] && [ "$took" -lt 2500 ]; then
        echo "a pause of $took ms ended the run: $(cat "$dir"/*.end | head -1)"
        failed=1
    fi
}

# attempt RANKS VICTIM SIGNAL: the survivors' .end files must name the victim. Sets took.
attempt() {
    local victim=$2 signal=$3 launcher start r pid
    ranks=$1
    dir=$(mktemp -d)
    # mpirun's own reaction to a dead rank is switched off: what is tested is ours.
    mpirun -n "$ranks" --allow-run-as-root --oversubscribe --enable-recovery "$binary" "$dir" >"$dir/log" 2>&1 &
    launcher=$!
    wait_for 900 started
    sleep 0.$((RANDOM % 10))
    pid=$(cat "$dir/$victim")
    if [ "$signal" = PAUSE ]; then
        freeze "$pid"
        signal=KILL
    fi
    start=$(milliseconds)
    kill -"$signal" "$pid" 2>/dev/null
    wait_for 600 survivors_ended
    took=$(($(milliseconds) - start))
    for r in $(seq 0 $((ranks - 1))); do
        [ "$r" = "$victim" ] && continue
        if ! grep -q "^lost $victim: rank $victim " "$dir/$r.end" 2>/dev/null; then
            echo "rank $r does not name rank $victim after $signal: $(cat "$dir/$r.end" 2>/dev/null)"
            failed=1
        fi
        if ! wait_for 300 gone "$r"; then
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

# fault RANKS VICTIM SIGNAL: one of three attempts must be in time; a loaded host may make more of it once.
fault() {
    for _ in 1 2 3; do
        attempt "$@"
        [ "$took" -gt 5000 ] || return
    done
    echo "survivors of $3 took more than 5 s three times"
    failed=1
}

for _ in $(seq "$repeat"); do
    fault 2 1 KILL
    fault 2 0 KILL
    fault 3 1 KILL
    fault 3 0 STOP
    fault 3 2 PAUSE
done
exit $failed
