# shellcheck shell=bash
# What the guest tests share.  Each test is a script that prints "ok - WHAT" or "not ok - WHAT" lines and ends with
# 0, with 1 where one failed, or with 77 where it cannot run here.
#   WEFT_ENGINE=weft|qemu10|qemu72   which engine runs the guests: the tests hold for QEMU too
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib/apt_root.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib/guest.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib/qemu.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib/run.sh"

WEFT_ENGINE=${WEFT_ENGINE:-weft}
failures=0
cases=0

pass() { printf 'ok - %s\n' "$*"; }
fail() {
    printf 'not ok - %s\n' "$*"
    failures=$((failures + 1))
}
skip_all() {
    printf 'skip - %s\n' "$*"
    exit 77
}
finish() { [ "$failures" -eq 0 ]; }

# need_image KIND: fetch or skip.
need_image() {
    guest_image_ready "$1" || skip_all "the guest image '$1' is not in the cache and cannot be fetched"
    engine_command "$WEFT_ENGINE"
    [ -x "${ENGINE[0]}" ] || skip_all "${ENGINE[0]} is not built"
    [ -n "${work:-}" ] || scratch_dir work
}

# boot NAME LIMIT APPEND [OPTION...]: one guest of MACHINE with GUEST_INITRD; its console is in $log, its text in $text.
boot() {
    local name=$1 limit=$2 append=$3
    shift 3
    cases=$((cases + 1))
    log=$work/$cases
    boot_rc=0
    guest_boot "$log" "$limit" "${ENGINE[@]}" "${MACHINE[@]}" "$@" -kernel "$GUEST_KERNEL" -initrd "$GUEST_INITRD" \
        -append "$GUEST_APPEND $append" || boot_rc=$?
    text=$(console_text "$log")
    if [ "$boot_rc" -eq 124 ]; then
        fail "$name: no end after $limit s; the console's last lines follow"
    elif [ "$boot_rc" -ne 0 ]; then
        fail "$name: the engine ended with status $boot_rc"
    elif ! console_ended "$log"; then
        fail "$name: the guest did not end its job well"
        boot_rc=1
    else
        return 0
    fi
    tail -n 15 <<<"$text" | sed 's/^/    /'
    return 1
}

# talk_start OPTION...: MACHINE with these options runs in the background; its console goes to $log.
talk_start() {
    log=$work/talk
    rm -f "$work/keys"
    mkfifo "$work/keys"
    timeout 1200 "${ENGINE[@]}" "${MACHINE[@]}" "$@" <"$work/keys" >"$log" 2>&1 &
    talk_pid=$!
    exec {keys}>"$work/keys"
}
# talk_wait PATTERN [SECONDS]: until a line of the console matches.
talk_wait() {
    local i
    for ((i = 0; i < ${2:-300} * 5; i++)); do
        ! grep -aqE "$1" "$log" || return 0
        kill -0 "$talk_pid" 2>/dev/null || break
        sleep 0.2
    done
    grep -aqE "$1" "$log"
}
# talk_type TEXT: typed on the console.
talk_type() { printf '%b' "$1" >&"$keys"; }
# talk_end [kill]: sets talk_rc to the engine's exit status and $text to the console.
# shellcheck disable=SC2034,SC2120  # talk_rc is the tests'
talk_end() {
    talk_rc=0
    [ "${1:-}" != kill ] || kill "$talk_pid" 2>/dev/null || true
    wait "$talk_pid" || talk_rc=$?
    exec {keys}>&-
    text=$(tr -d '\r' <"$log")
}
# check NAME COMMAND...: passes where COMMAND succeeds.
check() {
    local name=$1
    shift
    if "$@"; then pass "$name"; else fail "$name"; fi
}

# expect NAME PATTERN...: each extended regular expression matches a line of the console.
expect() {
    local name=$1 pattern
    shift
    for pattern; do
        grep -qE -- "$pattern" <<<"$text" || {
            fail "$name: no line matches '$pattern'"
            grep -E '^SHAPE' <<<"$text" | sed 's/^/    /'
            return 1
        }
    done
    pass "$name"
}
