#!/bin/bash
# Ranks on "hosts" with addresses of their own: network namespaces joined by veth, so that traffic goes over tcp with CURVE.
# Runs the litmus tests, then again with 1 ms delay and 0.1 % loss, then cuts the link under the fault test.
# usage: netns.sh LITMUS FAULTS      skips (77) without the right to make namespaces
litmus=$1
faults=$2
command -v mpirun >/dev/null && command -v ip >/dev/null && command -v tc >/dev/null || exit 77
tag=weft$$
scratch=$(mktemp -d)
clean() {
    ip netns pids ${tag}a 2>/dev/null | xargs -r kill -9 2>/dev/null
    ip netns pids ${tag}b 2>/dev/null | xargs -r kill -9 2>/dev/null
    ip netns del ${tag}a 2>/dev/null
    ip netns del ${tag}b 2>/dev/null
    rm -rf "$scratch"
}
trap clean EXIT
ip netns add ${tag}a 2>/dev/null && ip netns add ${tag}b || exit 77
ip -n ${tag}a link add va type veth peer name vb netns ${tag}b 2>/dev/null || exit 77
ip -n ${tag}a addr add 10.203.0.1/24 dev va
ip -n ${tag}b addr add 10.203.0.2/24 dev vb
for ns in a b; do
    ip -n ${tag}$ns link set lo up
    ip -n ${tag}$ns link set v$ns up
done
# Open MPI starts its daemon on the other "host" through this instead of ssh.
cat > "$scratch/agent" <<AGENT
#!/bin/bash
shift
exec ip netns exec ${tag}b /bin/bash -c "\$*"
AGENT
chmod +x "$scratch/agent"

run() {
    ip netns exec ${tag}a mpirun --allow-run-as-root --enable-recovery -n 2 --map-by node \
        --host 10.203.0.1:1,10.203.0.2:1 --mca plm_rsh_agent "$scratch/agent" --mca oob_tcp_if_include 10.203.0.0/24 \
        --mca btl_tcp_if_include 10.203.0.0/24 --mca btl tcp,self "$@"
}

litmus_passes() {
    run "$litmus" --rounds "$1" --storm > "$scratch/out" 2>&1
    local status=$?
    # MP, CoRR, SB, LB, IRIW, SB, IRIW, MP, CoRR, AMO, LR/SC
    if [ $status -ne 0 ] || [ "$(grep -c 'on 2 hosts.*: 0 forbidden' "$scratch/out")" -ne 11 ]; then
        cat "$scratch/out"
        return 1
    fi
    grep -E 'LR/SC|rank 1:' "$scratch/out"
}

litmus_passes 300 || exit 1

# A kernel without netem cannot delay: the rest still counts.
netem=true
for ns in a b; do
    ip netns exec ${tag}$ns tc qdisc add dev v$ns root netem delay 1ms loss 0.1% 2>/dev/null || netem=false
done
if $netem; then
    litmus_passes 20 || exit 1
else
    echo "no netem in this kernel: not run with delay and loss"
fi
for ns in a b; do
    ip netns exec ${tag}$ns tc qdisc del dev v$ns root 2>/dev/null
done

# The link is cut: each side is alone. Rank 0 names rank 1; rank 1 is in the smaller part and ends as well.
files() { find "$scratch/f" -name "$1" -size +0 | wc -l; }
cut() {
    local start
    rm -rf "$scratch/f"
    mkdir "$scratch/f"
    run "$faults" "$scratch/f" > "$scratch/out" 2>&1 &
    for _ in $(seq 900); do
        [ "$(files '[0-9]')" = 2 ] && break
        sleep 0.1
    done
    sleep 0.5
    start=$(date +%s%N)
    ip -n ${tag}b link set vb down
    for _ in $(seq 600); do
        [ "$(files '*.end')" = 2 ] && break
        sleep 0.1
    done
    took=$((($(date +%s%N) - start) / 1000000))
    cat "$scratch"/f/*.end
    grep -q '^lost 1: rank 1 ' "$scratch/f/0.end" && grep -q '^lost 0: rank 0 ' "$scratch/f/1.end" || {
        cat "$scratch/out"
        exit 1
    }
    echo "cut link: both sides ended after $took ms"
    ip netns pids ${tag}a | xargs -r kill -9 2>/dev/null
    ip netns pids ${tag}b | xargs -r kill -9 2>/dev/null
    wait
    ip -n ${tag}b link set vb up
    [ $took -le 5000 ]
}
# One of three must be in time: a loaded host may make more of it once.
cut || cut || cut
