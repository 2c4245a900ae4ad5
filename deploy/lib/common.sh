# shellcheck shell=bash
# What every command in deploy/ shares: where things are, how to speak, how to lock, how to clean up.
# Sourced, never run.  The caller has set -euo pipefail.

WEFT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Fetched packages and guest images live outside the checkout, shared by all checkouts of one user.
WEFT_CACHE=${WEFT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/weft}
WEFT_BUILD=${WEFT_BUILD:-$WEFT_ROOT/build}
# The engine under test; a bench or a test may name another binary.
WEFT_BIN=${WEFT_BIN:-$WEFT_BUILD/weft}
export WEFT_ROOT WEFT_CACHE WEFT_BUILD WEFT_BIN

say() { printf '== %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Seconds since the epoch, with microseconds, without starting a process.
now() { printf '%s' "$EPOCHREALTIME"; }
# elapsed START [END]: seconds between two now() values, three decimals.
elapsed() { awk -v a="$1" -v b="${2:-$EPOCHREALTIME}" 'BEGIN { printf "%.3f", b - a }'; }

# with_lock NAME COMMAND...: run COMMAND while no other process of this user holds NAME in the cache.
# COMMAND runs in a subshell, so that an error inside it ends only the subshell and is passed back.
with_lock() {
    local name=$1 fd
    shift
    mkdir -p "$WEFT_CACHE"
    exec {fd}>"$WEFT_CACHE/.lock-$name"
    flock "$fd" || die "cannot lock $WEFT_CACHE/.lock-$name"
    local rc=0
    # The child must not inherit the lock: a daemon left behind would hold it for ever.
    ("$@") {fd}>&- || rc=$?
    exec {fd}>&-
    return "$rc"
}

# Directories made by scratch_dir are removed when the command ends, however it ends.
SCRATCH_DIRS=()
scratch_cleanup() { [ ${#SCRATCH_DIRS[@]} -eq 0 ] || rm -rf "${SCRATCH_DIRS[@]}"; }
# scratch_dir VARIABLE: sets VARIABLE to a new empty directory.
scratch_dir() {
    local dir
    dir=$(mktemp -d "${TMPDIR:-/tmp}/weft.XXXXXX")
    SCRATCH_DIRS+=("$dir")
    trap scratch_cleanup EXIT
    printf -v "$1" '%s' "$dir"
}

# A command's options are read by its caller; this one sentence is the same for all.
bad_option() { die "unknown option '$1'; see '${0##*/} --help'"; }
