# shellcheck shell=sh
# Runs in the lab host (busybox) for nodes: weft with 4 guest nodes of one hart each, as a user would start it.
failed=0
verdict() {
    if [ "$1" -eq 0 ]; then echo "ok - $2"; else
        echo "not ok - $2"
        failed=1
    fi
}
# The machine and its place: guest node n on host node n where the distances agree, or as told.
run() {
    name=$1
    shift
    rm -f console report
    machine="-smp 4,sockets=4,cores=1 -m 32M"
    for n in 0 1 2 3; do
        machine="$machine -object memory-backend-ram,id=m$n,size=8M,prealloc=on -numa node,nodeid=$n,cpus=$n,memdev=m$n"
    done
    # shellcheck disable=SC2086  # a list of words
    weft run $machine -bios none -kernel pattern.elf -serial file:console --json "$@" </dev/null 2>report &
    pid=$!
    i=0
    # Every hart has been round its own node's memory once.
    while ! { grep -q 0 console && grep -q 1 console && grep -q 2 console && grep -q 3 console; } 2>/dev/null; do
        kill -0 $pid 2>/dev/null && [ $i -lt 4000 ] || break
        i=$((i + 1))
        sleep 0.1
    done
    kill -0 $pid 2>/dev/null && [ $i -lt 4000 ]
    verdict $? "$name: the guest works on 4 nodes"
    outside check $pid report >said 2>&1
    code=$?
    cat said
    [ $code -eq 0 ] || cat report
    verdict $code "$name: pages and threads are where the plan says, read from outside"
    ! grep -q BAD console
    verdict $? "$name: the guest found its data"
    kill $pid 2>/dev/null
    wait $pid
}
run "memory bound, threads pinned by default"
run "turned round" --place "vcpu 0 3; vcpu 1 2; vcpu 2 1; vcpu 3 0; node 0 bind 3; node 1 bind 2; node 2 bind 1; node 3 bind 0"
exit $failed
