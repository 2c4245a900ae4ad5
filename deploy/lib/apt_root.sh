# shellcheck shell=bash
# Private apt roots: packages of another architecture or release, fetched with apt's own signature checks and
# unpacked without root and without touching the machine's package state.
# Canonical sequence:  apt_root_open DIR ARCH SUITE;  apt_root_fetch DIR PKG...;  dpkg -x

APT_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# The address this machine's own apt gets Debian from, or $WEFT_MIRROR.  Works before any 'apt-get update'
# and for one-line and deb822 sources alike, because apt itself is asked.
apt_mirror() {
    local codename
    if [ -n "${WEFT_MIRROR:-}" ]; then
        printf '%s\n' "${WEFT_MIRROR%/}"
        return
    fi
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    apt-get update --print-uris 2>/dev/null |
        sed -n "s|^'\\(.*\\)/dists/$codename/InRelease'.*|\\1|p" | head -n 1 | grep . ||
        die "no apt source of this machine offers '$codename'; name a Debian mirror in WEFT_MIRROR"
}

# apt_root_tool DIR TOOL ARGS...: apt-get or apt-cache on the private root.
apt_root_tool() {
    local dir=$1 tool=$2
    shift 2
    "$tool" -o "Dir::State=$dir/state" -o "Dir::State::Lists=$dir/lists" \
        -o "Dir::State::status=$dir/state/status" -o "Dir::Cache=$dir/cache" \
        -o "Dir::Etc::sourcelist=$dir/sources.list" -o "Dir::Etc::sourceparts=$dir/none" \
        -o "Dir::Etc::preferencesparts=$dir/none" -o Debug::NoLocking=1 \
        -o "APT::Architecture=$(cat "$dir/arch")" -o "APT::Architectures::=$(cat "$dir/arch")" \
        -o "APT::Sandbox::User=$(id -un)" -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@"
}

# apt_root_open DIR ARCH SUITE: make or refresh the root.  Its package lists are good for a day.
apt_root_open() {
    local dir=$1 arch=$2 suite=$3 mirror
    [ -r "$APT_KEYRING" ] || die "no $APT_KEYRING: install the package debian-archive-keyring"
    if [ -e "$dir/lists/.stamp" ] && [ -z "$(find "$dir/lists/.stamp" -mmin +1440)" ]; then
        return
    fi
    mirror=$(apt_mirror)
    mkdir -p "$dir"/{state,lists/partial,cache/archives/partial,deb,none}
    : >"$dir/state/status"
    printf '%s\n' "$arch" >"$dir/arch"
    printf 'deb [arch=%s signed-by=%s] %s %s main\n' "$arch" "$APT_KEYRING" "$mirror" "$suite" \
        >"$dir/sources.list"
    say "reading the package lists of $suite/$arch"
    apt_root_tool "$dir" apt-get -qq update ||
        { [ -e "$dir/lists/.stamp" ] && warn "no network: keeping the package lists of $suite/$arch"; } ||
        return 1
    touch "$dir/lists/.stamp"
}

# apt_root_closure DIR BLOCK PKG...: PKG and all that they depend on, first alternative each, without the packages
# that match the extended regular expression BLOCK nor what only those need.
apt_root_closure() {
    local dir=$1 block=$2
    shift 2
    apt_root_tool "$dir" apt-cache depends --recurse --important --no-recommends "$@" |
        awk -v block="^(${block:-\$^})\$" -v roots="$*" '
        /^[^ |]/ { pkg = $1; sub(/:.*/, "", pkg); alt = 0; want = ""; next }
        /^    / {                                  # a provider of the virtual package just named
            name = $1; sub(/:.*/, "", name)
            if (want != "" && !(want in chosen)) { chosen[want] = name; deps[pkg] = deps[pkg] " " name; want = "" }
            next
        }
        /Depends:/ {
            name = $NF; sub(/:.*/, "", name); first = !alt; alt = ($0 ~ /^ \|/)
            if (!first) { want = ""; next }
            if (name ~ /^</) { want = name } else { want = ""; deps[pkg] = deps[pkg] " " name }
        }
        END {
            n = split(roots, queue, " ")
            for (i = 1; i <= n; i++) {
                p = queue[i]
                if (p in seen || p ~ block) continue
                seen[p] = 1; print p
                m = split(deps[p], d, " ")
                for (j = 1; j <= m; j++) queue[++n] = d[j]
            }
        }'
}

# apt_root_fetch DIR PKG...: the .deb files of exactly these packages, in DIR/deb; prints their paths.
apt_root_fetch() {
    local dir=$1 pkg version file
    local -a missing=() files=()
    shift
    while read -r pkg version; do
        file=$dir/deb/${pkg}_${version//:/%3a}_
        # A colon is written %3a by apt; which architecture (own or all) follows is left to the glob.
        if compgen -G "$file*.deb" >/dev/null; then
            files+=("$(compgen -G "$file*.deb" | head -n 1)")
        else
            missing+=("$pkg=$version")
        fi
    done < <(apt_root_versions "$dir" "$@")
    if [ ${#missing[@]} -gt 0 ]; then
        (cd "$dir/deb" && apt_root_tool "$dir" apt-get -qq download "${missing[@]}") >&2 || return 1
        for pkg in "${missing[@]}"; do
            version=${pkg#*=}
            files+=("$(compgen -G "$dir/deb/${pkg%%=*}_${version//:/%3a}_*.deb" | head -n 1)")
        done
    fi
    printf '%s\n' "${files[@]}"
}

# apt_root_versions DIR PKG...: "package version" of each candidate.
apt_root_versions() {
    local dir=$1
    shift
    apt_root_tool "$dir" apt-cache show --no-all-versions "$@" |
        awk '/^Package: / { p = $2 } /^Version: / { print p, $2 }'
}

# apt_root_unpack DIR TARGET PKG...: fetch and unpack into TARGET.
apt_root_unpack() {
    local dir=$1 target=$2 list file
    shift 2
    list=$(apt_root_fetch "$dir" "$@") || return 1
    mkdir -p "$target"
    while read -r file; do
        dpkg-deb --fsys-tarfile "$file" |
            tar -x -C "$target" --no-same-owner --keep-directory-symlink --exclude='./usr/share/doc/*' \
                --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/lintian/*' ||
            return 1
    done <<<"$list"
}
