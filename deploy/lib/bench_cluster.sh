# shellcheck shell=bash
# deploy/bench cluster: what one guest over ranks costs, each figure beside its aim.  Needs common, packages, apt_root,
# build, guest, run and netns.sh.  Every step has a limit of time; one that fails or runs out of it says so and the rest
# goes on.

cluster_usage() {
    cat <<END
usage: deploy/bench cluster [OPTION]...

Measures one guest over ranks: pages, locks and interrupts beside raw TCP and ZeroMQ round trips of the same run and
link, Debian's boot over 1, 2 and 4 ranks, and work that needs no other rank.

  --part P      one of: ${cluster_parts[*]} (repeatable; default all)
                  ipc   ranks of this host      tcp   three hosts made of network namespaces, encrypted
                  ipi   an interrupt            boot  Debian to init, also with --time-dilation 10, and the hottest pages
                  load  work at home
  --runs N      how often each part but the last is run, medians are shown (default 3)
  --limit S     seconds that a guest may take to boot (default 180)
  --json        JSON in place of the table
  --keep DIR    keep consoles, statistics and raw lines in DIR
END
}

cluster_parts=(ipc tcp ipi boot load)
# Seconds that a part without Linux may take: it takes 5 on an idle host.
cluster_patience=120

# row PART NAME P50 P99 UNIT [AIM MET]: one line of the result; '-' for what there is not.
row() { printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$5" "${6:--}" "${7:--}" >>"$cluster_rows"; }
# failed PART NAME SENTENCE AIM: what there is no figure for.
failed() {
    warn "$2: $3"
    row "$1" "$2: $3" - - - "${4:--}" no
    cluster_trouble=1
}
# met EXPRESSION: yes or no.
met() { awk "BEGIN { print ($1) ? \"yes\" : \"no\" }"; }
# value PART NAME: the p50 that a row has.
value() { awk -F '\t' -v p="$1" -v n="$2" '$1 == p && $2 == n { print $3; exit }' "$cluster_rows"; }
median() { sort -n | awk '{ v[NR] = $1 } END { if (NR) print v[int((NR + 1) / 2)] }'; }

# ---- pages and locks ----

# rtt_aim NAME: "BASE AIM", the size of the raw ZeroMQ round trip that it is set against, and how many of them it may
# take ('-': any number); of the lock whose token is here, "us MICROSECONDS".
rtt_aim() {
    case $1 in
    'read fault, page at its home') echo 'page 2.0' ;;
    'upgrade without bytes') echo 'small 1.5' ;;
    'read fault, page at a third rank') echo 'page 3.0' ;;
    'lock, token at its master' | 'lock, token at a third rank') echo 'small 1.5' ;;
    'lock and unlock, token here') echo 'us 0.1' ;;
    'sequential read'*) echo 'page -' ;;
    raw*) ;;
    *) echo 'small -' ;;
    esac
}

# rtt_rows PART FILE: the lines of all runs of cluster_rtt become rows; the median of each figure over the runs.
rtt_rows() {
    local part=$1 file=$2 name p50 p99 base aim ratio small='' page=''
    while IFS= read -r name; do
        p50=$(jq -r --arg n "$name" 'select(.name == $n).p50_us' "$file" | median)
        p99=$(jq -r --arg n "$name" 'select(.name == $n).p99_us' "$file" | median)
        case $name in
        "raw ZeroMQ $part, 32 B there and back") small=$p50 ;;
        "raw ZeroMQ $part, 32 B there, 4 KiB back") page=$p50 ;;
        esac
        read -r base aim < <(rtt_aim "$name") || base=''
        case $base in
        small) ratio=$(awk -v a="$p50" -v b="$small" 'BEGIN { printf "%.2f", a / b }') ;;
        page) ratio=$(awk -v a="$p50" -v b="$page" 'BEGIN { printf "%.2f", a / b }') ;;
        esac
        case $base$aim in
        '') row "$part" "$name" "$p50" "$p99" us ;;
        us*) row "$part" "$name" "$p50" "$p99" us "under $aim us" "$(met "$p50 < $aim")" ;;
        *-) row "$part" "$name ($ratio x raw)" "$p50" "$p99" us ;;
        *) row "$part" "$name" "$p50" "$p99" us "$ratio x raw, at most $aim" "$(met "$ratio <= $aim")" ;;
        esac
    done < <(jq -r .name "$file" | awk '!seen[$0]++')
}

# rtt PART WORD...: WORDS start mpirun.
rtt() {
    local part=$1 i out=$cluster_work/rtt.$1
    shift
    : >"$out"
    for ((i = 1; i <= cluster_runs; i++)); do
        progress "$part: run $i of $cluster_runs"
        timeout -k 5 "$cluster_patience" "$@" "$WEFT_BUILD/tests/bench/cluster_rtt" --json </dev/null \
            >"$out.$i" 2>"$out.err" && grep '^{' "$out.$i" >>"$out" ||
            { failed "$part" cluster_rtt "no result: $(tail -n 1 "$out.err")" && return; }
    done
    rtt_rows "$part" "$out"
}

part_ipc() { rtt ipc "${cluster_mpirun[@]}" -n 3; }

part_tcp() {
    if [ "$(id -u)" -ne 0 ] || ! netns_make "weftbench$$" 3 "$cluster_work" 2>"$cluster_work/netns"; then
        failed tcp hosts "network namespaces need root and iproute2"
        return
    fi
    rtt tcp ip netns exec "${NETNS_TAG}1" "${cluster_mpirun[@]}" -n 3 --map-by slot \
        --host "$NETNS_PREFIX.1:1,$NETNS_PREFIX.2:1,$NETNS_PREFIX.3:1" --mca plm_rsh_agent "$cluster_work/agent" \
        --mca pml ob1 --mca btl self,tcp --mca oob_tcp_if_include "$NETNS_NETWORK" \
        --mca btl_tcp_if_include "$NETNS_NETWORK"
    netns_clean
}

# ---- an interrupt ----

part_ipi() {
    local ranks where i out raw trip half=0
    raw=$(value ipc 'raw ZeroMQ ipc, 32 B there and back')
    for ranks in 1 2; do
        where="another rank's"
        [ "$ranks" -gt 1 ] || where="same rank"
        out=$cluster_work/ipi.$ranks
        : >"$out"
        for ((i = 1; i <= cluster_runs; i++)); do
            progress "ipi: $ranks ranks, run $i of $cluster_runs"
            timeout -k 5 "$cluster_patience" "$WEFT_BIN" run --ranks "$ranks" -smp 2 -m 64M -nographic \
                -kernel "$WEFT_BUILD/tests/bench/ipi.elf" -append count=400 </dev/null >"$out.$i" 2>&1 &&
                grep '^ipi ' "$out.$i" >>"$out" ||
                { failed ipi "interrupt, $ranks ranks" "$(tail -n 1 "$out.$i")" && continue 2; }
        done
        for trip in 'one-way' 'round trip'; do
            # "ipi one-way p50 N p99 N ns"
            set -- "$(sed -n "s/^ipi $trip p50 \([0-9]*\).*/\1/p" "$out" | median)" \
                "$(sed -n "s/^ipi $trip.* p99 \([0-9]*\).*/\1/p" "$out" | median)"
            set -- "$(awk -v n="$1" 'BEGIN { print n / 1000 }')" "$(awk -v n="$2" 'BEGIN { print n / 1000 }')"
            if [ "$ranks$trip" = 2one-way ] && [ -n "$raw" ]; then
                half=$(awk -v r="$raw" 'BEGIN { printf "%.1f", r / 2 + 20 }')
                row ipi "interrupt to a running hart, $where, $trip" "$1" "$2" us \
                    "at most $half us: half the raw round trip + 20" "$(met "$1 <= $half")"
            else
                row ipi "interrupt to a running hart, $where, $trip" "$1" "$2" us
            fi
        done
    done
}

# ---- Debian ----

# debian LOG RANKS HARTS INITRD APPEND [OPTION...]: 0 where the guest came to its end.
debian() {
    local log=$1 ranks=$2 harts=$3 initrd=$4 append=$5 nodes=$2
    shift 5
    [ "$nodes" -gt 1 ] || nodes=2
    # One rank has two nodes too, so that only the ranks differ.
    machine_options "$harts" "$nodes" 1024
    guest_boot "$log" "$((cluster_limit + 60))" "$WEFT_BIN" run --ranks "$ranks" "${MACHINE[@]}" --stats "$log.stats" \
        ${cluster_symbols:+--system-map "$cluster_symbols"} -kernel "$GUEST_KERNEL" -initrd "$initrd" \
        -append "$GUEST_APPEND $append" "$@"
}

# The guest's own names for its data, read once from one rank: they say what a hot page holds.
symbols_ready() {
    local file=$GUEST_DIR/kernel/symbols log=$cluster_work/symbols
    [ ! -s "$file" ] || [ "$GUEST_DIR/kernel.stamp" -nt "$file" ] || { cluster_symbols=$file && return; }
    progress "reading the kernel's names"
    machine_options 1
    timeout -k 5 300 "$WEFT_BIN" run "${MACHINE[@]}" -kernel "$GUEST_KERNEL" -initrd "$GUEST_DIR/boot.cpio" \
        -append "$GUEST_APPEND weft.run=\"grep -iE ' [abdr] | _start$| _text$' /proc/kallsyms\"" </dev/null >"$log" 2>&1 || return 0
    tr -d '\r' <"$log" | grep -E $'^[0-9a-f]{16} [a-zA-Z] [^ \t]+$' >"$file.new" || return 0
    mv "$file.new" "$file"
    cluster_symbols=$file
}

# boots DILATION: the boot over 1, 2 and 4 ranks, each beside the one over 1 rank with the same clock.
boots() {
    local dilation=$1 options=() with='' ranks log name seconds one='' aim i
    if [ "$dilation" -gt 1 ]; then
        options=(--time-dilation "$dilation")
        with=" with --time-dilation $dilation"
    fi
    for ranks in 1 2 4; do
        name="Debian to init$with, 4 harts on $ranks ranks"
        [ "$ranks" -gt 1 ] || name=${name%s}
        log=$cluster_work/boot.$ranks
        [ "$dilation" -eq 1 ] || log=$cluster_work/boot-dilated.$ranks
        case $ranks in 2) aim=3 ;; *) aim=6 ;; esac
        : >"$log.times"
        for ((i = 1; i <= cluster_runs; i++)); do
            progress "boot over $ranks ranks$with, run $i of $cluster_runs"
            boot_once "$log" "$ranks" "${options[@]}" || { : >"$log.times" && break; }
        done
        seconds=$(median <"$log.times")
        if [ -z "$seconds" ]; then
            failed boot "$name" "did not boot within $cluster_limit s" \
                "$([ "$ranks" = 1 ] || echo "at most $aim x one rank")"
        elif [ "$ranks" = 1 ]; then
            one=$seconds
            row boot "$name" "$seconds" - s
        elif [ -z "$one" ]; then
            row boot "$name" "$seconds" - s
        else
            set -- "$(awk -v a="$seconds" -v b="$one" 'BEGIN { printf "%.1f", a / b }')"
            row boot "$name" "$seconds" - s "$1 x one rank, at most $aim" "$(met "$1 <= $aim")"
        fi
    done
}

# boot_once LOG RANKS [OPTION...]: adds its seconds to LOG.times.
boot_once() {
    local log=$1 ranks=$2 seconds rc=0
    shift 2
    debian "$log" "$ranks" 4 "$GUEST_DIR/boot.cpio" '' "$@" || rc=$?
    seconds=$(console_boot_seconds "$log") || seconds=
    if [ -z "$seconds" ] || [ "$(met "$seconds > $cluster_limit")" = yes ]; then
        # Not for want of time: what was said first tells why.
        [ "$rc" -eq 124 ] || console_text "$log" | grep -v '^START' | head -n 3 >&2
        return 1
    fi
    echo "$seconds" >>"$log.times"
}

# Times are the host's: with the dilated clock, too.
part_boot() {
    boots 1
    boots 10
}

# The pages that moved most, of the boot over 2 ranks.
hot_pages() {
    local stats=$cluster_work/boot.2.stats
    [ -s "$stats" ] || return 0
    jq -r '[.cluster_ranks[] | .rank as $home | .hot_pages[]? | . + {home: $home}] | sort_by(-(.transfers + .served))[:10][] |
        [.address, .home, .transfers, .served, .holds] | @tsv' "$stats" 2>/dev/null |
        awk -F '\t' '{ printf "0x%x\t%s\t%s\t%s\t%s\n", $1, $2, $3, $4, $5 }'
}

part_load() {
    local ranks log kind first second figures
    local -A dilated=([dilated]="--time-dilation 10") # the times of that are the guest's
    progress "building the guest's load"
    mkdir -p "$cluster_work/tree/usr/bin" "$cluster_work/tree/etc/weft"
    riscv64-linux-gnu-gcc -O2 -static -o "$cluster_work/tree/usr/bin/guest_load" "$WEFT_ROOT/tests/bench/guest_load.c" ||
        { failed load "guest_load" "it cannot be built" && return; }
    printf '#!/bin/sh\nguest_load compute 0; guest_load compute 1; guest_load compute 0 1; guest_load memory 1 16\n' \
        >"$cluster_work/tree/etc/weft/job"
    chmod +x "$cluster_work/tree/etc/weft/job"
    guest_cpio "$cluster_work/tree" "$cluster_work/load.cpio"
    cat "$GUEST_DIR/boot.cpio" "$cluster_work/load.cpio" >"$cluster_work/load-boot.cpio"
    for kind in 1 2 dilated; do
        ranks=${kind/dilated/2}
        progress "load on $ranks ranks${dilated[$kind]:+, dilated}"
        log=$cluster_work/load.$kind
        # shellcheck disable=SC2086 # two words, or none
        if ! debian "$log" "$ranks" 2 "$cluster_work/load-boot.cpio" '' ${dilated[$kind]:-} || ! console_ended "$log"; then
            failed load "work on $ranks ranks" "the guest did not come to its end within $((cluster_limit + 60)) s"
            console_text "$log" | grep -v '^START' | head -n 3 >&2
            return
        fi
        console_text "$log" | sed -n 's/^LOAD //p' >"$log.figures"
    done
    figures=$cluster_work/load
    for kind in 1 2 dilated; do
        set -- "$(awk '$1 == "compute" && $2 == "0" { a = $3 } $1 == "compute" && $2 == "1" { b = $3 }
            $2 == "0,1" { printf "%.3f %.2f", $3, (a + b) / $3 }' "$figures.$kind.figures")"
        read -r first second <<<"$1"
        if [ "$kind" = 1 ]; then row load "two processes at once, 2 harts of one rank ($second x one)" "$first" - s; else
            row load "two processes at once, a hart on each of 2 ranks${dilated[$kind]:+, --time-dilation 10}" "$first" - s \
                "$second x one, at least 1.9" "$(met "$second >= 1.9")"
        fi
    done
    first=$(awk '$1 == "memory" { print $3 }' "$figures.1.figures")
    second=$(awk '$1 == "memory" { print $3 }' "$figures.2.figures")
    row load "16 MiB on the hart's own node, 1 rank" "$first" - s
    kind=$(awk -v a="$second" -v b="$first" 'BEGIN { printf "%.3f", a / b }')
    row load "16 MiB on the hart's own node, the second of 2 ranks" "$second" - s \
        "$kind x one rank, at most 1.05" "$(met "$kind <= 1.05")"
}

# ---- the whole ----

progress() { [ ! -t 2 ] || printf '\r%-60s' "$1" >&2; }

cluster_table() {
    local address home moved served holds
    awk -F '\t' '$1 != part { part = $1; printf "\n%-72s %10s %10s\n", title[part] != "" ? title[part] : part, "p50", "p99" }
        { printf "  %-70s %10s %10s %-2s", $2, $3, $4, $5 == "-" ? "" : $5
          if ($6 != "-") printf "  %s: %s", $6, $7 == "yes" ? "met" : "not met"
          print "" }
        BEGIN {
            title["ipc"] = "3 ranks of this host, ipc"; title["tcp"] = "3 hosts (network namespaces), tcp with CURVE"
            title["ipi"] = "an interrupt, by the guest'\''s clock"; title["boot"] = "Debian'\''s boot, ranks of this host"
            title["load"] = "work that needs no other rank"
        }' "$cluster_rows"
    hot_pages | {
        read -r address home moved served holds || exit 0
        printf '\n%-14s %4s %8s %8s  %s\n' 'hottest pages' home moved served 'of the boot over 2 ranks'
        while printf '%-14s %4s %8s %8s  %s\n' "$address" "$home" "$moved" "$served" "$holds" &&
            IFS=$'\t' read -r address home moved served holds; do :; done
    }
    printf '\nhost: %s cores, load average %s when it began\n' "$(nproc)" "$cluster_load"
}

cluster_json() {
    jq -R -n --arg cores "$(nproc)" --arg load "$cluster_load" --rawfile hot <(hot_pages) '
        def number: if . == "-" then null else tonumber end;
        {host: {cores: ($cores | tonumber), load: ($load | tonumber)},
         figures: [inputs | split("\t") | {part: .[0], name: .[1], p50: (.[2] | number), p99: (.[3] | number),
            unit: (if .[4] == "-" then null else .[4] end), aim: (if .[5] == "-" then null else .[5] end),
            met: (if .[6] == "-" then null else .[6] == "yes" end)}],
         hot_pages: [$hot | split("\n")[] | select(. != "") | split("\t") | {address: .[0], home: (.[1] | tonumber),
            moved: (.[2] | tonumber), served: (.[3] | tonumber), holds: .[4]}]}' "$cluster_rows"
}

# cluster_main OPTION...: what `deploy/bench cluster` does; 1 where a part gave no figure, aims that are not met are told
# and are no failure.
cluster_main() {
    local parts=() json=no keep='' part
    cluster_runs=3 cluster_limit=180 cluster_trouble=0 cluster_symbols='' cluster_work=''
    while [ $# -gt 0 ]; do
        case $1 in
        --part | --runs | --limit | --keep)
            [ $# -ge 2 ] || die "option '$1' needs a value"
            case $1 in
            --part) parts+=("$2") ;;
            --runs) cluster_runs=$2 ;;
            --limit) cluster_limit=$2 ;;
            --keep) keep=$2 ;;
            esac
            shift 2
            ;;
        --json) json=yes && shift ;;
        --help | -h) cluster_usage && exit ;;
        *) die "unknown option '$1'; see 'bench cluster --help'" ;;
        esac
    done
    [ ${#parts[@]} -gt 0 ] || parts=("${cluster_parts[@]}")
    for part in "${parts[@]}"; do
        [[ " ${cluster_parts[*]} " == *" $part "* ]] || die "no part '$part': ${cluster_parts[*]}"
    done
    [[ $cluster_runs =~ ^[1-9][0-9]*$ ]] || die "--runs '$cluster_runs' is not a number of at least 1"
    [[ $cluster_limit =~ ^[1-9][0-9]*$ ]] || die "--limit '$cluster_limit' is not a number of seconds"

    packages_install "${PACKAGES_BUILD[@]}" "${PACKAGES_CLUSTER[@]}" libc6-dev-riscv64-cross jq util-linux
    [ "$WEFT_BIN" != "$WEFT_BUILD/weft" ] || build_release
    read -r cluster_load _ </proc/loadavg
    if [[ " ${parts[*]} " == *" boot "* || " ${parts[*]} " == *" load "* ]]; then
        packages_install "${PACKAGES_GUEST[@]}"
        guest_image_ready boot || die "the guest could not be fetched; a network is needed once"
    fi
    if [ -n "$keep" ]; then mkdir -p "$keep" && cluster_work=$(cd "$keep" && pwd); else scratch_dir cluster_work; fi
    cluster_rows=$cluster_work/rows
    : >"$cluster_rows"
    rm -f "$cluster_work"/*.stats # of an earlier run
    trap 'netns_clean; scratch_cleanup' EXIT
    trap 'exit 130' INT TERM
    cluster_mpirun=(mpirun --oversubscribe --bind-to none)
    [ "$(id -u)" -ne 0 ] || cluster_mpirun+=(--allow-run-as-root)
    [[ " ${parts[*]} " != *" boot "* ]] || symbols_ready
    for part in "${parts[@]}"; do "part_$part"; done
    progress ''
    [ ! -t 2 ] || printf '\r' >&2
    if [ "$json" = yes ]; then cluster_json; else cluster_table; fi
    return "$cluster_trouble"
}
