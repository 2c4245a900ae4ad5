# shellcheck shell=bash
# The project's own bare-metal NUMA guest: what can be shown without a network.  Needs common.sh and build.sh.

# bare_ready: sets BARE_GUEST, made by the build where the cross compiler is installed.
bare_ready() {
    BARE_GUEST=${WEFT_BARE_GUEST:-$WEFT_BUILD/tests/guest/bare/numa.elf}
    [ -r "$BARE_GUEST" ] || die "there is no $BARE_GUEST: it is built where gcc-riscv64-linux-gnu is installed"
}
