# shellcheck shell=bash
# Runs one guest under one engine and reads its console with the host's clock.  Needs common.sh; the command line is
# the same for weft and QEMU (engine_command).  guest_boot LOG LIMIT COMMAND...;  then console_* read LOG.
# shellcheck disable=SC2034  # ENGINE, MACHINE and GUEST_APPEND are the callers'

GUEST_APPEND='console=ttyS0 panic=-1 quiet'

# engine_command NAME: sets ENGINE to the words that start the engine, before the machine's options.
engine_command() {
    case $1 in
    weft) ENGINE=("$WEFT_BIN" run) ;;
    qemu*)
        qemu_ready "$1" || return 1
        ENGINE=("$PEER_QEMU")
        ;;
    *) die "no engine '$1': weft, qemu10 or qemu72" ;;
    esac
}

# machine_options HARTS [NODES] [MEGABYTES]: sets MACHINE.  Harts and memory are spread evenly over the nodes, one
# socket each, a neighbour at distance 21.
machine_options() {
    local harts=$1 nodes=${2:-1} mem=${3:-1024} n m per mode=${WEFT_THREADS:-multi}
    per=$((harts / nodes))
    MACHINE=(-M virt -accel "tcg,thread=$mode" -smp "$harts,sockets=$nodes,cores=$per" -m "${mem}M")
    if [ "$nodes" -gt 1 ]; then
        for ((n = 0; n < nodes; n++)); do
            MACHINE+=(-object "memory-backend-ram,id=m$n,size=$((mem / nodes))M"
                -numa "node,nodeid=$n,cpus=$((n * per))-$((n * per + per - 1)),memdev=m$n")
        done
        for ((n = 0; n < nodes; n++)); do
            for ((m = n + 1; m < nodes; m++)); do MACHINE+=(-numa "dist,src=$n,dst=$m,val=21"); done
        done
    fi
    MACHINE+=(-nographic -no-reboot)
}

# guest_boot LOG LIMIT COMMAND...: run COMMAND without input for at most LIMIT seconds; each line of its console goes
# to LOG after the host's time, and after each marker a line with the engine's CPU time.  With GUEST_RSS=FILE, its memory map at WEFT-READY is copied to FILE.
# Returns COMMAND's exit status, 124 where the time ran out.
guest_boot() {
    local log=$1 limit=$2 line pid child fifo rc=0 hz
    hz=$(getconf CLK_TCK)
    shift 2
    fifo=$(mktemp -u "${TMPDIR:-/tmp}/weft-console.XXXXXX")
    mkfifo "$fifo"
    printf '%s START\n' "$EPOCHREALTIME" >"$log"
    timeout "$limit" "$@" </dev/null >"$fifo" 2>&1 &
    pid=$!
    while IFS= read -r line || [ -n "$line" ]; do
        printf '%s %s\n' "$EPOCHREALTIME" "${line%$'\r'}"
        case $line in
        *WEFT-*)
            read -r child _ <"/proc/$pid/task/$pid/children" || true # it ends without a newline
            # Where the marker is written the engine has used this much: user and system time of all its threads.
            [ ! -r "/proc/$child/stat" ] || awk -v now="$EPOCHREALTIME" -v hz="$hz" \
                '{ sub(/.*\) /, ""); printf "%s CPU %.2f\n", now, ($12 + $13) / hz }' "/proc/$child/stat"
            ;;&
        *WEFT-READY*)
            if [ -n "${GUEST_RSS:-}" ]; then
                cat "/proc/$child/smaps" >"$GUEST_RSS" || warn "the engine's memory map cannot be read"
            fi
            ;;
        esac
    done <"$fifo" >>"$log"
    wait "$pid" || rc=$?
    rm -f "$fifo"
    return "$rc"
}

# console_text LOG: the console as the guest wrote it.
console_text() { sed '/^[0-9.]* CPU [0-9.]*$/d; s/^[0-9.]* //' "$1"; }

# console_boot_seconds LOG: from the start of the engine to the guest's init.
console_boot_seconds() {
    awk '$2 == "START" { a = $1 } /WEFT-READY/ && !b { b = $1 } END { if (!b) exit 1; printf "%.3f\n", b - a }' "$1"
}

# console_boot_cpu LOG: the engine's CPU time until then.
console_boot_cpu() { awk '/WEFT-READY/ { ready = 1 } ready && $2 == "CPU" { print $3; exit }' "$1"; }

# console_ended LOG [RC]: the guest ended its job with exit status RC (0).
console_ended() { grep -q "WEFT-DONE .*rc=${2:-0}\$" "$1"; }

# console_jobs LOG: "NAME HOST-SECONDS GUEST-SECONDS CPU-SECONDS RC SUM" of each workload that ended.
console_jobs() {
    awk '
    function field(name,    i) { for (i = 3; i <= NF; i++) if (index($i, name "=") == 1) return substr($i, length(name) + 2) }
    function out() {
        if (line != "") printf "%s %.2f %s\n", line, (cpu == "" || begun == "" ? 0 : cpu - begun), rest
        line = ""
    }
    $2 == "WEFT-BEGIN" { out(); host[$3] = $1; guest[$3] = field("t"); cpu = begun = "" }
    $2 == "CPU" { if (line == "" && begun == "") begun = $3; else cpu = $3; out() }
    $2 == "WEFT-END" && ($3 in host) {
        line = sprintf("%s %.3f %.2f", $3, $1 - host[$3], field("t") - guest[$3])
        rest = field("rc") " " field("sum")
    }
    END { out() }' "$1"
}

# rss_beyond SMAPS MEGABYTES: "TOTAL BEYOND" MiB resident, in all and without the guest's RAM: mappings of at least
# half of the guest's memory that cannot be executed, nor share their file with one that can (a code cache).
rss_beyond() {
    awk -v half="$(($2 * 512))" '
    /^[0-9a-f]+-[0-9a-f]+ / { perms = $2; inode = $5; if (inode != 0 && perms ~ /x/) code[inode] = 1 }
    $1 == "Size:" { size = $2 }
    $1 == "Rss:" { total += $2; if (size >= half && perms !~ /x/) { n++; rss[n] = $2; file[n] = inode } }
    END {
        for (i = 1; i <= n; i++) if (!(file[i] in code)) ram += rss[i]
        printf "%.0f %.0f\n", total / 1024, (total - ram) / 1024
    }' "$1"
}
