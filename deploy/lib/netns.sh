# shellcheck shell=bash
# Hosts on one machine: network namespaces with addresses of their own on a bridge, and an agent in place of ssh.
# Needs root, iproute2, util-linux.   netns_make TAG COUNT DIR;  ... ;  netns_clean
# shellcheck disable=SC2034  # NETNS_NETWORK is the callers'

NETNS_PREFIX=10.204.0
NETNS_NETWORK=$NETNS_PREFIX.0/24
NETNS_TAG=
NETNS_COUNT=0

# netns_make TAG COUNT DIR: hosts 1 to COUNT at 10.204.0.N, and DIR/agent.  False where this machine cannot.
netns_make() {
    local i dir=$3
    NETNS_TAG=$1 NETNS_COUNT=$2
    ip netns add "${NETNS_TAG}sw" || return 1
    ip -n "${NETNS_TAG}sw" link add name br0 type bridge || return 1
    ip -n "${NETNS_TAG}sw" link set br0 up
    for ((i = 1; i <= NETNS_COUNT; i++)); do
        ip netns add "$NETNS_TAG$i" || return 1
        ip -n "$NETNS_TAG$i" link add name eth0 type veth peer name "port$i" netns "${NETNS_TAG}sw" || return 1
        ip -n "${NETNS_TAG}sw" link set "port$i" master br0 up
        ip -n "$NETNS_TAG$i" addr add "$NETNS_PREFIX.$i/24" dev eth0
        ip -n "$NETNS_TAG$i" link set lo up
        ip -n "$NETNS_TAG$i" link set eth0 up
    done
    # "agent 10.204.0.N WORDS" runs WORDS in that host's shell, which sees a host name of its own, and another weft
    # where DIR/other.N is.
    cat >"$dir/agent" <<END
#!/bin/bash
n=\${1##*.}
shift
[[ \$n =~ ^[0-9]+\$ && \$n -ge 1 && \$n -le $NETNS_COUNT ]] || { echo "no route to host" >&2; exit 255; }
export WORDS="\$*"
exec ip netns exec "$NETNS_TAG\$n" unshare --uts --mount bash -c '
    hostname weft-host-'"\$n"'
    [ ! -e "$dir/other.'"\$n"'" ] || mount --bind "$dir/other.'"\$n"'" "$(readlink -f "$WEFT_BIN")"
    eval "\$WORDS"'
END
    chmod +x "$dir/agent"
}

netns_exec() {
    local host=$1
    shift
    ip netns exec "$NETNS_TAG$host" "$@"
}

# netns_kill N: all of host N's processes; they are gone then, and what they had open with them.
netns_kill() {
    local pids tries
    for ((tries = 0; tries < 200; tries++)); do
        pids=$(ip netns pids "$NETNS_TAG$1" 2>/dev/null) || return 0
        [ -n "$pids" ] || return 0
        xargs -r kill -9 <<<"$pids" 2>/dev/null || true
        sleep 0.05
    done
}

netns_clean() {
    local i
    [ -n "$NETNS_TAG" ] || return 0
    for ((i = 1; i <= NETNS_COUNT; i++)); do
        netns_kill "$i"
        ip netns del "$NETNS_TAG$i" 2>/dev/null || true
    done
    ip netns del "${NETNS_TAG}sw" 2>/dev/null || true
}
