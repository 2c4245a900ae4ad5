# shellcheck shell=bash
# The Debian packages that each command needs on this machine.  Needs common.sh.
# shellcheck disable=SC2034  # the lists are the callers'

# The cross compiler makes the bare-metal guests, which are what a demo without a network has.
PACKAGES_BUILD=(gcc libc6-dev meson ninja-build pkg-config libhwloc-dev libnuma-dev libzmq3-dev libjansson-dev
    libfdt-dev libopenmpi-dev openmpi-bin check gcc-riscv64-linux-gnu libcairo2-dev libncurses-dev libmicrohttpd-dev
    libxxhash-dev)
# To fetch and pack the real guest, and to show where it is placed.
PACKAGES_GUEST=(debian-archive-keyring ca-certificates xz-utils cpio kmod binutils-riscv64-linux-gnu numactl util-linux)
# The oracle, the second compiler, the lab host.
PACKAGES_TEST=(clang libclang-rt-14-dev libc6-dev-riscv64-cross qemu-system-misc
    qemu-system-x86 opensbi u-boot-qemu jq shellcheck clang-format iproute2 spin git python3)
# Ranks: in this host, and on hosts of their own made of network namespaces.
PACKAGES_CLUSTER=(openmpi-bin iproute2 procps)
# A Slurm of two nodes and what checks the manifests: with --all only, for they bring services with them.
PACKAGES_LAUNCH=(slurmctld slurmd slurm-client munge yamllint python3-yaml)
PACKAGES_LAB=(qemu-system-x86 numactl)

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "packages are missing and this is not root: run as root, install sudo, or install ${*: -1} yourself"
    fi
}

# packages_missing PKG...: those not installed, one a line.  Asks dpkg only: 20 ms.
packages_missing() {
    dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null | awk '/^ii / { print $2 }' | sort -u |
        comm -13 - <(printf '%s\n' "$@" | sort -u)
}

packages_install() {
    local -a missing
    mapfile -t missing < <(packages_missing "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    # The lists may be absent (a container) or old, so a first failure is answered by reading them anew.
    packages_apt "${missing[@]}" 2>/dev/null ||
        { as_root apt-get -qq update && packages_apt "${missing[@]}"; } ||
        die "apt-get could not install: ${missing[*]}"
}

packages_apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >/dev/null
}
