# shellcheck shell=bash
# The peers that weft is measured against.  Needs common.sh and apt_root.sh.
#   qemu_ready qemu72 -> the qemu-system-riscv64 that bookworm installs
#   qemu_ready qemu10 -> trixie's, unpacked in the cache beside this machine's own; nothing is installed
# Both set PEER_QEMU to a command.

QEMU10_UNWANTED='adduser|passwd|base-passwd|debconf|login.defs|libpam-.*|libsemanage.*|openssl-provider-legacy'

qemu10_make() {
    local root=$WEFT_CACHE/apt-amd64-trixie dir=$WEFT_CACHE/qemu10 closure version
    if [ -x "$dir/qemu-system-riscv64" ] && [ -z "$(find "$dir/version" -mtime +7 2>/dev/null)" ]; then
        return
    fi
    apt_root_open "$root" amd64 trixie || return 1
    version=$(apt_root_versions "$root" qemu-system-riscv)
    if [ -x "$dir/qemu-system-riscv64" ] && [ "$(cat "$dir/version")" = "$version" ]; then
        touch "$dir/version"
        return
    fi
    say "fetching trixie's QEMU ($version)"
    mapfile -t closure < <(apt_root_closure "$root" "$QEMU10_UNWANTED" qemu-system-riscv)
    rm -rf "$dir.new"
    apt_root_unpack "$root" "$dir.new" "${closure[@]}" || return 1
    # QEMU looks for its loadable modules in one fixed folder and aborts on another build's that it finds there
    # (bookworm's graphics modules).  None is needed: the same number of bytes names a folder that is not there.
    LC_ALL=C sed -i 's|/usr/lib/x86_64-linux-gnu/qemu|/usr/lib/x86_64-linux-gnu/none|g' \
        "$dir.new/usr/bin/qemu-system-riscv64" || return 1
    cat >"$dir.new/qemu-system-riscv64" <<'END'
#!/bin/sh
# Runs this folder's QEMU with this folder's own loader and libraries.
d=$(dirname "$(readlink -f "$0")")/usr
l=$d/lib/x86_64-linux-gnu
exec "$l/ld-linux-x86-64.so.2" --library-path "$l:$l/pulseaudio" "$d/bin/qemu-system-riscv64" \
    -L "$d/share/qemu" -L "$d/lib/riscv64-linux-gnu/opensbi/generic" "$@"
END
    chmod +x "$dir.new/qemu-system-riscv64"
    "$dir.new/qemu-system-riscv64" --version >/dev/null || return 1
    printf '%s\n' "$version" >"$dir.new/version"
    rm -rf "$dir"
    mv "$dir.new" "$dir"
}

qemu_ready() {
    case $1 in
    qemu72) PEER_QEMU=$(command -v qemu-system-riscv64) || die "qemu-system-riscv64 is missing: install qemu-system-misc" ;;
    qemu10)
        with_lock qemu10 qemu10_make || return 1
        PEER_QEMU=$WEFT_CACHE/qemu10/qemu-system-riscv64
        ;;
    *) die "no peer '$1': qemu10 or qemu72" ;;
    esac
    export PEER_QEMU
}
