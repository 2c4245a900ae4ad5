# shellcheck shell=bash
# Builds weft with meson.  Needs common.sh.

# build_dir DIR [MESON-OPTION...]: configure DIR if it is not, then build all of it, or what BUILD_ONLY names.
# The compiler is CC's; a folder keeps the one it was configured with.
BUILD_ONLY=()
build_dir() {
    local dir=$1
    shift
    [ -e "$dir/build.ninja" ] || meson setup "$dir" "$WEFT_ROOT" "$@" >"$(build_log "$dir")" 2>&1 || {
        cat "$(build_log "$dir")" >&2
        return 1
    }
    ninja -C "$dir" "${BUILD_ONLY[@]}" >"$(build_log "$dir")" 2>&1 || {
        tail -n 40 "$(build_log "$dir")" >&2
        return 1
    }
}
build_log() { printf '%s.log' "${1%/}"; }

# build_release: the binary that demo and bench run.
build_release() {
    say "building ${WEFT_BUILD#"$PWD"/} (release)"
    with_lock "build-$(printf '%s' "$WEFT_BUILD" | cksum | cut -d' ' -f1)" build_dir "$WEFT_BUILD" --buildtype=release ||
        die "the build failed"
    [ -x "$WEFT_BUILD/weft" ] || die "the build left no $WEFT_BUILD/weft"
}
