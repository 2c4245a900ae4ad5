# shellcheck shell=bash
# The lab host: an x86-64 machine with real NUMA nodes, emulated by QEMU, with Debian's own cloud kernel.
# Needs common.sh and apt_root.sh.   lab_ready -> LAB_KERNEL, LAB_BASE;  lab_payload;  lab_run

LAB_APT=$WEFT_CACHE/apt-amd64-bookworm
LAB_DIR=$WEFT_CACHE/lab
LAB_SOURCES=$WEFT_ROOT/tests/guest/lab
LAB_MODULES=(irqbypass kvm kvm-amd kvm-intel virtio_pci virtio_net virtio_blk virtio_console virtio-rng overlay 9p veth
    bridge sch_netem tun vhost_net)

lab_make() {
    local package stamp=$LAB_DIR/stamp text work release
    apt_root_open "$LAB_APT" amd64 bookworm || { [ -s "$LAB_DIR/base.cpio" ] && return; } || return 1
    package=$(apt_root_tool "$LAB_APT" apt-cache depends linux-image-cloud-amd64 |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    text="$package $(cat "$LAB_SOURCES"/* "${BASH_SOURCE[0]}" | sha256sum)"
    [ -r "$stamp" ] && [ "$(cat "$stamp")" = "$text" ] && return
    say "making the lab host ($package)"
    scratch_dir work
    mkdir -p "$LAB_DIR" "$work"/tree/{dev,proc,sys,tmp,run,root,etc,lab} "$work"/tree/usr/{bin,sbin,lib,lib64}
    for path in bin sbin lib lib64; do ln -s "usr/$path" "$work/tree/$path"; done
    apt_root_unpack "$LAB_APT" "$work/kernel" "$package" || return 1
    apt_root_unpack "$LAB_APT" "$work/tree" busybox-static || return 1
    release=$(basename "$work"/kernel/lib/modules/*)
    mkdir -p "$work/tree/usr/lib/modules"
    lab_modules_copy "$work/kernel/lib/modules/$release" "$work/tree/usr/lib/modules/$release"
    lab_copy_program "$work/tree" "$(command -v numactl)" usr/bin
    install -m 755 "$LAB_SOURCES/init" "$work/tree/init"
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$work/tree/etc/passwd"
    printf '127.0.0.1 localhost lab\n' >"$work/tree/etc/hosts"
    lab_cpio "$work/tree" "$LAB_DIR/base.cpio"
    mv "$work/kernel/boot/vmlinuz-$release" "$LAB_DIR/vmlinuz"
    printf '%s' "$text" >"$stamp"
}

lab_modules_copy() {
    local from=$1 to=$2 name release=${1##*/}
    PATH=$PATH:/usr/sbin:/sbin depmod -b "${from%/lib/modules/*}" "$release"
    mkdir -p "$to"
    cp "$from"/modules.{order,builtin,builtin.modinfo} "$to/"
    for name in "${LAB_MODULES[@]}"; do
        { grep -E "/${name//[-_]/[-_]}\\.ko:" "$from/modules.dep" || true; } | tr -d : | tr ' ' '\n'
    done | sort -u | (cd "$from" && xargs cp --parents -t "$to")
    PATH=$PATH:/usr/sbin:/sbin depmod -b "${to%/lib/modules/*}" "$release"
}

lab_cpio() {
    (cd "$1" && find . -print0 | cpio --null --quiet --create --format=newc --owner=0:0) >"$2"
}

# lab_copy_program TREE FILE DEST: FILE into TREE/DEST, with the shared libraries and the loader it needs.
lab_copy_program() {
    local tree=$1 file=$2 dest=$3 lib
    mkdir -p "$tree/$dest"
    cp -L "$file" "$tree/$dest/"
    { ldd "$file" 2>/dev/null || true; } | grep -oE '/[^ )]+' | sort -u | while read -r lib; do
        # The lab's /lib and /lib64 are links, so that libraries go where the links lead.
        case $lib in /lib/* | /lib64/*) dest=usr${lib%/*} ;; *) dest=${lib%/*} ;; esac
        mkdir -p "$tree/$dest"
        [ -e "$tree/$dest/${lib##*/}" ] || cp -L "$lib" "$tree/$dest/"
    done
}

lab_ready() {
    mkdir -p "$LAB_DIR"
    with_lock lab lab_make || die "the lab host's kernel could not be fetched; a network is needed once"
    LAB_KERNEL=$LAB_DIR/vmlinuz
    LAB_BASE=$LAB_DIR/base.cpio
    export LAB_KERNEL LAB_BASE
}

# lab_distances N: -numa dist arguments of N nodes on a line, 10 at home, 10 more per hop and one more for the first.
lab_distances() {
    local n=$1 a b
    for ((a = 0; a < n; a++)); do
        for ((b = a + 1; b < n; b++)); do printf '%s\n' "-numa" "dist,src=$a,dst=$b,val=$((11 + 10 * (b - a)))"; done
    done
}
