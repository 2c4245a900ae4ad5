# shellcheck shell=bash
# The real guest: Debian's riscv64 kernel and initramfs images made of Debian's riscv64 packages.
# Needs common.sh and apt_root.sh.  Each *_ready function leaves its result in the cache and a path in a variable:
#   guest_kernel_ready  -> GUEST_KERNEL, GUEST_MODULES
#   guest_image_ready boot|tools|full  -> GUEST_INITRD

GUEST_SUITE=trixie
GUEST_APT=$WEFT_CACHE/apt-riscv64
GUEST_DIR=$WEFT_CACHE/guest
GUEST_SOURCES=$WEFT_ROOT/tests/guest/image

# What the images hold beyond busybox.
GUEST_TOOLS=(dash numactl util-linux stress-ng)
GUEST_WORKLOADS=(sysbench linux-perf 7zip openssl zstd xz-utils gzip python3-minimal cpp-14-riscv64-linux-gnu
    lame libc6-dev linux-libc-dev)
# Packages which nothing here calls, though something here depends on them: graphics drivers behind a dlopen,
# interpreters' libraries, configuration tools.
GUEST_UNWANTED='libegl-mesa0|mesa-libgallium|libllvm.*|libdrm-.*|libx11.*|libxcb.*|debconf|dpkg|tar|perl'
GUEST_UNWANTED+='|perl-.*|python3|python3\.[0-9]+|libpython3\.?[0-9]*-stdlib|ucf|media-types|tzdata|netbase|libpam-.*'
GUEST_UNWANTED+='|init-system-helpers|.*-common|.*-provider-legacy|readline.*|libc-dev-bin|libcrypt-dev|rpcsvc-proto'
GUEST_UNUSED_PATHS=(usr/lib/riscv64-linux-gnu/perl usr/lib/riscv64-linux-gnu/gconv usr/share/perl usr/share/zsh
    usr/lib/python3/dist-packages usr/share/bash-completion usr/share/info usr/share/initramfs-tools usr/share/bug
    usr/lib/systemd usr/share/perf-core usr/libexec/perf-core usr/share/gcc usr/share/doc-base usr/share/menu)

GUEST_VIRTIO_MODULES=(virtio_mmio virtio-rng virtio_blk virtio_net)
GUEST_MORE_MODULES=(virtio_balloon virtio_input ext4 overlay 9p 9pnet_virtio virtiofs vmw_vsock_virtio_transport)

# The applets that init, jobs and a user at the shell call by name.
GUEST_APPLETS='ash awk base64 basename cat chmod chown chrt cksum clear cmp cp cttyhack cut date dd df dirname dmesg du echo
    env expr false find free grep gunzip gzip halt head hexdump hostname id ifconfig insmod ip kill less ln ls lsmod
    md5sum mkdir mkfifo mknod modprobe more mount mv nc nice nproc od ping poweroff printf ps pwd readlink reboot
    renice rm rmdir rmmod sed seq setsid sh sha256sum sha512sum sleep sort stat stty swapoff swapon sync tail tar
    taskset tee test time timeout top touch tr true tty umount uname uniq uptime usleep vi watch wc which xargs xz
    xzcat yes zcat'

guest_apt_ready() {
    with_lock apt-riscv64 apt_root_open "$GUEST_APT" riscv64 "$GUEST_SUITE"
}

# guest_stamp_ok FILE TEXT: FILE exists and says TEXT, so what it stands for need not be made again.
guest_stamp_ok() { [ -r "$1" ] && [ "$(cat "$1")" = "$2" ]; }

guest_kernel_make() {
    local package stamp=$GUEST_DIR/kernel.stamp tmp release
    if [ -r "$stamp" ] && ! guest_apt_ready; then
        warn "the package lists cannot be read: using the kernel in the cache"
        return
    fi
    apt_root_open "$GUEST_APT" riscv64 "$GUEST_SUITE" || return 1
    package=$(apt_root_tool "$GUEST_APT" apt-cache depends linux-image-riscv64 |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    [ -n "$package" ] || return 1
    guest_stamp_ok "$stamp" "$package" && return
    say "fetching $package (about 110 MB)"
    tmp=$GUEST_DIR/kernel.new
    rm -rf "$tmp"
    apt_root_unpack "$GUEST_APT" "$tmp" "$package" || return 1
    release=$(basename "$tmp"/usr/lib/modules/*)
    find "$tmp/usr/lib/modules" -name '*.ko.xz' -exec xz -d {} +
    PATH=$PATH:/usr/sbin:/sbin depmod -b "$tmp/usr" "$release"
    rm -rf "$GUEST_DIR/kernel"
    mkdir -p "$GUEST_DIR/kernel"
    mv "$tmp/boot/vmlinux-$release" "$GUEST_DIR/kernel/Image"
    mv "$tmp/boot/config-$release" "$GUEST_DIR/kernel/config"
    mv "$tmp/usr/lib/modules/$release" "$GUEST_DIR/kernel/modules"
    printf '%s' "$release" >"$GUEST_DIR/kernel/release"
    rm -rf "$tmp"
    printf '%s' "$package" >"$stamp"
}

guest_kernel_ready() {
    mkdir -p "$GUEST_DIR"
    with_lock guest guest_kernel_make || return 1
    GUEST_KERNEL=$GUEST_DIR/kernel/Image
    export GUEST_KERNEL
}

# guest_modules_copy ROOT MODULE...: these modules and what they depend on, for weft.modules=, without debug data.
guest_modules_copy() {
    local root=$1 release name
    shift
    release=$(cat "$GUEST_DIR/kernel/release")
    root+=/usr/lib/modules/$release
    mkdir -p "$root"
    cp "$GUEST_DIR"/kernel/modules/modules.{order,builtin,builtin.modinfo} "$root/"
    for name in "$@"; do
        { grep -E "/${name//[-_]/[-_]}\\.ko:" "$GUEST_DIR/kernel/modules/modules.dep" || true; } | tr -d : | tr ' ' '\n'
    done | sort -u | (cd "$GUEST_DIR/kernel/modules" && xargs cp --parents -t "$root")
    find "$root" -name '*.ko' -exec riscv64-linux-gnu-strip --strip-debug {} +
    PATH=$PATH:/usr/sbin:/sbin depmod -b "${root%/lib/modules/*}" "$release"
}

# guest_tree_make TREE [PKG...]: a root file system with busybox, the given packages and this project's init and jobs.
guest_tree_make() {
    local tree=$1 applet path closure
    shift
    mkdir -p "$tree"/usr/{bin,sbin,lib/modules} "$tree"/{dev,proc,sys,tmp,run,root,etc/weft/jobs}
    for path in bin sbin lib; do ln -sfn "usr/$path" "$tree/$path"; done
    closure=(busybox-static)
    if [ $# -gt 0 ]; then
        mapfile -t closure < <(apt_root_closure "$GUEST_APT" "$GUEST_UNWANTED" busybox-static "$@")
    fi
    apt_root_unpack "$GUEST_APT" "$tree" "${closure[@]}" || return 1
    for path in "${GUEST_UNUSED_PATHS[@]}"; do rm -rf "${tree:?}/$path"; done
    find "$tree" -name '*.a' -delete
    for applet in $GUEST_APPLETS; do
        [ -e "$tree/usr/bin/$applet" ] || [ -e "$tree/usr/sbin/$applet" ] || ln -s busybox "$tree/usr/bin/$applet"
    done
    # Busybox's shell runs its own applets where a program of the same name is installed; dash does not.
    [ ! -e "$tree/usr/bin/dash" ] || ln -sfn dash "$tree/usr/bin/sh"
    install -m 755 "$GUEST_SOURCES/init" "$tree/init"
    cp "$GUEST_SOURCES"/jobs/* "$tree/etc/weft/jobs/"
    install -m 755 "$GUEST_SOURCES"/bin/* "$tree/usr/bin/"
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$tree/etc/passwd"
    printf 'root:x:0:\n' >"$tree/etc/group"
    guest_modules_copy "$tree" "${GUEST_VIRTIO_MODULES[@]}"
    [ $# -eq 0 ] || guest_modules_copy "$tree" "${GUEST_VIRTIO_MODULES[@]}" "${GUEST_MORE_MODULES[@]}"
}

# guest_share_make TREE: the workloads' input, the same on every machine that has the same packages; a copy stays in
# the cache for native runs.
guest_share_make() {
    local share=$1/usr/share/weft
    mkdir -p "$share"
    {
        # head ends the pipe early, which is no error.
        (
            set +o pipefail
            cd "$1/usr/include" || exit
            find . -name '*.h' -type f | LC_ALL=C sort | xargs cat 2>/dev/null | head -c 600000
        )
        head -c 600000 "$1/usr/lib/riscv64-linux-gnu/libcrypto.so.3"
    } >"$share/corpus"
    awk -f "$GUEST_SOURCES/source.awk" >"$share/source.c"
    # Six seconds of two gliding tones, 16 bits at 44.1 kHz.
    perl -e 'for my $i (0 .. 6 * 44100 - 1) { my $t = $i / 44100;
        print pack("s<", 9000 * sin(6.2832 * (220 + 40 * $t) * $t) + 6000 * sin(6.2832 * (1500 - 99 * $t) * $t)) }' \
        >"$share/tone"
    rm -rf "$GUEST_DIR/share"
    cp -r "$share" "$GUEST_DIR/share"
}

# guest_cpio TREE FILE: pack TREE as an uncompressed newc archive.  Uncompressed boots fastest under every
# emulator (docs/bench.md), and the page cache of the host makes its size cheap.
guest_cpio() {
    (cd "$1" && find . -print0 | LC_ALL=C sort -z | cpio --null --quiet --create --format=newc --owner=0:0) >"$2"
}

guest_image_make() {
    local kind=$1 stamp=$GUEST_DIR/$1.stamp text work
    local -a packages=()
    case $kind in
    boot) ;;
    tools) packages=("${GUEST_TOOLS[@]}") ;;
    full) packages=("${GUEST_TOOLS[@]}" "${GUEST_WORKLOADS[@]}") ;;
    *) die "no guest image '$kind': boot, tools or full" ;;
    esac
    text="$(cat "$GUEST_DIR/kernel.stamp") ${packages[*]} $(find "$GUEST_SOURCES" "${BASH_SOURCE[0]}" -type f \
        -exec cat {} + | sha256sum)"
    guest_stamp_ok "$stamp" "$text" && [ -s "$GUEST_DIR/$kind.cpio" ] && return
    guest_apt_ready || return 1
    say "making the guest image '$kind'"
    scratch_dir work
    guest_tree_make "$work/tree" "${packages[@]}" || return 1
    [ "$kind" != full ] || guest_share_make "$work/tree"
    guest_cpio "$work/tree" "$GUEST_DIR/$kind.cpio.new"
    mv "$GUEST_DIR/$kind.cpio.new" "$GUEST_DIR/$kind.cpio"
    printf '%s' "$text" >"$stamp"
}

# guest_image_ready KIND: sets GUEST_INITRD.
guest_image_ready() {
    guest_kernel_ready || return 1
    with_lock "guest-$1" guest_image_make "$1" || return 1
    GUEST_INITRD=$GUEST_DIR/$1.cpio
    export GUEST_INITRD
}
