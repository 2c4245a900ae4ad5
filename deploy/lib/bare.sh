# shellcheck shell=bash
# The project's own bare-metal NUMA guest: what can be shown without a network.  Needs common.sh and build.sh.

# bare_ready: sets BARE_GUEST, which the build makes where the cross compiler is installed; another program may be
# named in WEFT_BARE_GUEST.
bare_ready() {
    BARE_GUEST=${WEFT_BARE_GUEST:-$(find "$WEFT_BUILD/tests" -name 'numa.elf' | head -n 1)}
    [ -r "$BARE_GUEST" ] || die "there is no bare-metal guest in $WEFT_BUILD: it is built where gcc-riscv64-linux-gnu is installed"
}
