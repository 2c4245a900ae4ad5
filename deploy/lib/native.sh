# shellcheck shell=bash
# The workloads on this host, as the limit of what an engine can reach: the same Debian release's programs for amd64,
# unpacked in the cache and run with their own loader; nothing is installed.   native_ready;  native_run NAME...

NATIVE_DIR=$WEFT_CACHE/native
NATIVE_APT=$WEFT_CACHE/apt-amd64-trixie
NATIVE_PACKAGES=(stress-ng numactl util-linux sysbench linux-perf 7zip openssl zstd xz-utils gzip python3-minimal
    cpp-14-riscv64-linux-gnu lame)
NATIVE_PROGRAMS=(stress-ng sysbench perf 7z openssl zstd xz gzip python3 lame numactl lscpu)

native_make() {
    local name program closure text
    apt_root_open "$NATIVE_APT" amd64 trixie || { [ -d "$NATIVE_DIR/bin" ] && return; } || return 1
    text="$(apt_root_versions "$NATIVE_APT" "${NATIVE_PACKAGES[@]}") $(sha256sum <"${BASH_SOURCE[0]}")"
    [ -r "$NATIVE_DIR/stamp" ] && [ "$(cat "$NATIVE_DIR/stamp")" = "$text" ] && return
    say "fetching the same programs for this host"
    mapfile -t closure < <(apt_root_closure "$NATIVE_APT" "$GUEST_UNWANTED" "${NATIVE_PACKAGES[@]}")
    rm -rf "$NATIVE_DIR.new"
    apt_root_unpack "$NATIVE_APT" "$NATIVE_DIR.new" "${closure[@]}" || return 1
    mkdir -p "$NATIVE_DIR.new/bin"
    for name in "${NATIVE_PROGRAMS[@]}" cc1; do
        case $name in
        cc1) program=$(cd "$NATIVE_DIR.new" && find usr/libexec -name cc1 | head -n 1) ;;
        7z) program=usr/lib/7zip/7z ;;
        python3) program=usr/bin/python3.13 ;;
        *) program=usr/bin/$name ;;
        esac
        cat >"$NATIVE_DIR.new/bin/$name" <<END
#!/bin/sh
d=$NATIVE_DIR/usr
l=\$d/lib/x86_64-linux-gnu
[ $name != python3 ] || export PYTHONHOME=\$d
exec "\$l/ld-linux-x86-64.so.2" --library-path "\$l" "$NATIVE_DIR/$program" "\$@"
END
        chmod +x "$NATIVE_DIR.new/bin/$name"
    done
    printf '%s' "$text" >"$NATIVE_DIR.new/stamp"
    rm -rf "$NATIVE_DIR"
    mv "$NATIVE_DIR.new" "$NATIVE_DIR"
}

native_ready() { [ "$(uname -m)" = x86_64 ] && with_lock native native_make; }

# native_run NAME...: a console like the guest's, with the host's time before each line.
native_run() {
    local line scratch
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/weft-native.XXXXXX")
    PATH=$NATIVE_DIR/bin:$PATH WEFT_SHARE=$GUEST_DIR/share WEFT_SCRATCH=$scratch WEFT_CC1=$NATIVE_DIR/bin/cc1 \
        "$GUEST_SOURCES/bin/weft-workloads" run "$@" 2>&1 </dev/null |
        while IFS= read -r line; do printf '%s %s\n' "$EPOCHREALTIME" "$line"; done
    rm -rf "$scratch"
}
