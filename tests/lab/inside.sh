#!/bin/sh
# shellcheck disable=SC2317,SC2086,SC2094  # scenarios are called by name; words are split on purpose
# Runs in the lab host (busybox): starts weft with a riscv64 guest, lets the outside reader judge.   inside.sh SCENARIO
failed=0
guest="-bios none -kernel pattern.elf -serial file:console"

note() { echo "-- $*"; }
fail() { echo "FAILED: $*"; failed=1; }

# nodes N CPUS: -smp, -m, -object, -numa for N guest nodes of CPUS vCPUs and 16 MiB, touched before the start
nodes() {
    machine="-smp $(($1 * $2)) -m $(($1 * 16))M"
    n=0
    while [ $n -lt "$1" ]; do
        machine="$machine -object memory-backend-ram,id=m$n,size=16M,prealloc=on"
        machine="$machine -numa node,nodeid=$n,memdev=m$n,cpus=$((n * $2))-$((n * $2 + $2 - 1))"
        n=$((n + 1))
    done
}

# start PLACE [OPTION...]: runs weft in the background and waits until the guest works
start() {
    place=$1 && shift
    rm -f console report proof.json
    # shellcheck disable=SC2086
    weft run $machine $guest --place "$place" --json --proof proof.json "$@" </dev/null 2>report &
    pid=$!
    i=0
    while ! grep -q 0 console 2>/dev/null && [ $i -lt 200 ] && kill -0 $pid 2>/dev/null; do
        i=$((i + 1)) && sleep 0.1
    done
}

stop() {
    grep -q BAD console && fail "the guest found wrong data"
    kill $pid 2>/dev/null
    wait $pid
    code=$?
}

# judge NAME: the outside reader's verdict on the running weft
judge() {
    if outside check $pid report >verdict 2>&1; then
        tail -n 1 verdict
    else
        cat verdict && grep "^weft:" report
        fail "$1"
    fi
}

policies() {
    nodes 4 1
    explicit="vcpu 0 6; vcpu 1 4-5; vcpu 2 0; vcpu 3 3; node 0 bind 3; node 1 preferred 2; node 2 interleave 0-1; node 3 restrictive 1-2; emulator 7"
    for place in "" match match,distinct=on,bind=pu pack spread,bind=pu interleave "$explicit" none; do
        note "${place:-(default)}"
        start "$place" --strict --verify every=1s,exact
        judge "$place"
        stop
    done
}

memoryless() {
    nodes 3 2
    for place in match pack spread interleave; do
        note "memoryless and CPU-less nodes: $place"
        start "$place" --strict --verify start,exact
        judge "$place"
        stop
    done
    note "what cannot be is refused"
    for wrong in "node 0 bind 1" "node 0 bind 7" "vcpu 0 40"; do
        # shellcheck disable=SC2086
        weft run $machine $guest --place "$wrong" </dev/null 2>sentence && fail "$wrong was taken"
        cat sentence
    done
}

hmat() {
    nodes 2 2
    weft plan $machine --place match >plan
    grep -q "distances from HMAT" plan || { cat plan; fail "the HMAT was not used"; }
    for place in match interleave,overcommit=on; do
        note "HMAT: $place"
        start "$place" --strict --verify start,exact
        judge "$place"
        grep -q '"host_nodes": "2"' report && fail "memory was put on the slow node"
        stop
    done
}

injected() {
    nodes 4 1
    note "a page moved behind weft's back"
    start "spread" --strict --verify every=500ms,exact
    judge "before the page is moved"
    outside move $pid report 2 || fail "no page was moved"
    outside check $pid report >/dev/null && fail "the outside reader did not see the moved page"
    sleep 3
    kill -0 $pid 2>/dev/null && fail "weft still runs with a page that is not where the plan says"
    stop
    [ $code -eq 1 ] || fail "strict ended with $code"
    grep "deviates" report || { cat report; fail "the page is not named"; }
    note "a thread's affinity changed"
    start "spread" --strict --verify every=500ms,exact
    outside pin $pid "CPU 2/TCG" 0 || fail "not pinned"
    sleep 3
    kill -0 $pid 2>/dev/null && fail "weft still runs with a thread that is not where the plan says"
    stop
    [ $code -eq 1 ] || fail "strict ended with $code"
    grep "CPU 2/TCG" report | grep "deviates" || fail "the thread is not named"
    note "the same without --strict: told, and mended by rebalance"
    start "spread" --verify every=500ms,exact --control ctl
    outside move $pid report 2
    outside pin $pid "CPU 2/TCG" 0
    sleep 2
    kill -0 $pid 2>/dev/null || fail "weft ended although it is not strict"
    grep -q "deviates" report || fail "not told"
    weft placement ctl rebalance 2>/dev/null | tail -n 1
    judge "after rebalance"
    stop
}

# reserve NODE PAGES: hugepages of 2 MiB
reserve() {
    echo "$2" >"/sys/devices/system/node/node$1/hugepages/hugepages-2048kB/nr_hugepages"
}

hugepages() {
    machine="-smp 2 -m 32M"
    for n in 0 1; do
        machine="$machine -object memory-backend-memfd,id=m$n,size=16M,hugetlb=on,hugetlbsize=2M,prealloc=on"
        machine="$machine -numa node,nodeid=$n,memdev=m$n,cpus=$n"
    done
    note "hugepages on two nodes: the plan goes where they are"
    reserve 1 8 && reserve 3 8
    start match --strict --verify start,exact
    judge "hugepages"
    grep -q '"page_size": 2097152' report || fail "the pages are not huge"
    grep '"host_nodes"' report | sort -u
    stop
    note "too few of them: a sentence before anything is allocated, no SIGBUS"
    reserve 3 5
    weft run $machine $guest --place match </dev/null 2>sentence
    code=$?
    cat sentence
    [ $code -eq 1 ] || fail "exit status $code"
    grep -q "hugepages of 2048 KiB" sentence || fail "hugepages are not named"
    note "shared memory that is mapped twice moves too"
    nodes 2 1
    machine=$(echo "$machine" | sed 's/memory-backend-ram/memory-backend-memfd,share=on/g')
    start "vcpu 0-1 0-1; node 0-1 bind 0; emulator 0" --control ctl
    weft placement ctl set "vcpu 0-1 4; node 0-1 bind 2" >moved 2>/dev/null
    cat moved
    grep -q '"ok":true' moved || fail "set"
    weft placement ctl verify exact | grep -q '"drift_pages":0' || fail "pages did not move"
    stop
}

cpuset() {
    nodes 2 1
    mkdir -p /sys/fs/cgroup
    grep -q ' /sys/fs/cgroup ' /proc/mounts || mount -t cgroup2 none /sys/fs/cgroup
    echo +cpuset >/sys/fs/cgroup/cgroup.subtree_control
    mkdir -p /sys/fs/cgroup/part
    echo 2-5 >/sys/fs/cgroup/part/cpuset.cpus
    echo 1-2 >/sys/fs/cgroup/part/cpuset.mems
    echo $$ >/sys/fs/cgroup/part/cgroup.procs
    note "a cpuset of CPUs 2-5 and nodes 1-2"
    weft plan $machine --place spread >plan
    grep "Note:" plan
    grep -q "only 4 of 8 PUs are allowed here" plan || fail "the restriction of CPUs is not told"
    grep -q "memory of 2 of 4 nodes is not allowed here" plan || fail "the restriction of memory is not told"
    for place in match spread,distinct=on interleave; do
        start "$place" --strict --verify start,exact
        judge "cpuset, $place"
        stop
    done
    note "what the cpuset forbids is refused"
    for wrong in "node 0 bind 3" "vcpu 0 6"; do
        weft run $machine $guest --place "$wrong" </dev/null 2>sentence && fail "$wrong was taken"
        cat sentence
        grep -q "cpuset" sentence || fail "the cpuset is not named"
    done
    echo $$ >/sys/fs/cgroup/cgroup.procs
}

moving() {
    nodes 4 1
    start "vcpu 0-3 0-1; node 0-3 bind 0; emulator 0" --control ctl
    judge "before"
    for place in spread "vcpu 0-3 6-7; node 0-3 bind 3" interleave match pack; do
        note "re-placed under load: $place"
        weft placement ctl set "$place" 2>/dev/null | tail -n 1 | tee moved
        grep -q '"ok":true' moved || fail "$place"
        weft placement ctl verify exact | grep -q '"drift_pages":0' || fail "weft's own proof deviates"
        weft placement ctl show >shown
        # The outside reader takes the new plan and the proof of the same moment.
        weft placement ctl verify exact >proved
        { sed 's/}$//' shown | tr -d '\n' && printf ',' && sed 's/^{//' proved; } >report
        judge "$place"
        before=$(wc -c <console)
        sleep 1
        [ "$(wc -c <console)" -gt "$before" ] || fail "the guest does not go on"
    done
    stop
}

gigapages() {
    pages=/sys/devices/system/node/node1/hugepages/hugepages-1048576kB/nr_hugepages
    if ! grep -q pdpe1gb /proc/cpuinfo || ! [ -w $pages ]; then
        note "this CPU has no pages of 1 GiB: not tried"
        return
    fi
    machine="-smp 1 -m 1G -object memory-backend-memfd,id=m0,size=1G,hugetlb=on,hugetlbsize=1G,prealloc=on"
    machine="$machine -numa node,nodeid=0,memdev=m0,cpus=0"
    guest="-bios none -kernel giga.elf -serial file:console"
    note "none is there: a sentence, no SIGBUS"
    # shellcheck disable=SC2086
    weft run $machine $guest --place match </dev/null 2>sentence && fail "it ran without"
    cat sentence
    grep -q "hugepages of 1048576 KiB" sentence || fail "hugepages are not named"
    echo 1 >$pages
    [ "$(cat $pages)" = 1 ] || { fail "the kernel gives no page of 1 GiB" && return; }
    note "one on node 1: the plan goes there"
    start match --strict --verify start,exact
    judge "a hugepage of 1 GiB"
    grep -q '"page_size": 1073741824' report || fail "the page is not of 1 GiB"
    grep -q '"host_nodes": "1"' report || fail "the plan did not go to node 1"
    grep "hugetlbfs\|memfd" /proc/$pid/numa_maps | grep "kernelpagesize_kB=1048576" || fail "numa_maps has no page of 1 GiB"
    stop
}

# shown KEY: a number of the plan
shown() {
    weft placement ctl show | sed 's/[,{]/\n/g' | sed -n "s/^\"$1\"://p" | head -n 1
}

traffic() {
    nodes 4 1
    guest="-bios none -kernel other.elf -serial file:console"
    note "hart n works in the memory of guest node n ^ 2, which no plan can know beforehand"
    start match --access-matrix exact --control ctl
    judge "before"
    sleep 2
    weft placement ctl traffic >counted
    cat counted
    grep -q '"local":0[.,}]' counted || fail "most accesses should be to another guest node's memory"
    note "rebalance traffic"
    before=$(wc -c <console)
    weft placement ctl rebalance traffic 2>/dev/null | tail -n 1 | tee moved
    grep -q '"ok":true' moved || fail "rebalance traffic"
    grep -q '"moved_bytes":0,' moved && fail "nothing was moved"
    weft placement ctl show >shown
    weft placement ctl verify exact >proved
    grep -q '"drift_pages":0' proved || fail "weft's own proof deviates"
    grep -q '"drift_threads":0' proved || fail "weft's own proof deviates"
    { sed 's/}$//' shown | tr -d '\n' && printf ',' && sed 's/^{//' proved; } >report
    judge "after rebalance traffic"
    note "cost of an access: $(shown cost) (10 = local)"
    case $(shown cost) in 10 | 10.0*) ;; *) fail "the new plan has accesses to another host node" ;; esac
    sleep 1
    [ "$(wc -c <console)" -gt "$before" ] || fail "the guest does not go on"
    stop
}

"$1"
[ $failed -eq 0 ] && echo "$1: passed"
exit $failed
