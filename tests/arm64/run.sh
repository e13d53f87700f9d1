#!/usr/bin/env bash
# Runs tests under emulated aarch64 (see README.md in this folder).
#   run.sh                   the tests listed in tests.txt
#   run.sh ARGUMENT...       these pytest paths, node ids and options instead
# Exit status: pytest's own (0 to 5), or 69 when the emulation could not be set up.
# shellcheck disable=SC2317 # build calls its functions by name
set -euo pipefail

python=3.11
debs=("python$python" libstdc++6 zlib1g)                           # and what they depend on
wheels='numpy|numba|llvmlite|pillow|hypothesis|pytest([-_][^=]*)?' # and what they depend on, as in the venv

here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
venv=${VENV:-$repo/.venv}
cache=${ARM64_ROOT:-${HOME:-/root}/.cache/onboard-compress/arm64}

die() {
    echo "arm64: $*" >&2
    exit 69
}

# phase WHAT: prints what has just ended and how long it took.
mark=${EPOCHREALTIME/[.,]/}
phase() {
    local now=${EPOCHREALTIME/[.,]/}
    printf 'arm64: %4d.%d s  %s\n' $(((now - mark) / 1000000)) $(((now - mark) / 100000 % 10)) "$1"
    mark=$now
}

key() { printf '%s\n' "$@" | sha256sum | cut -c 1-12; }

find_qemu() { command -v qemu-aarch64-static || command -v qemu-aarch64; }

# Here and below, an unreachable third-party source must not stop apt-get update: the install that follows is the judge.
install_qemu() {
    apt-get update || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 qemu-user-static
}

# An arm64 Debian tree with Python, from the host's own apt sources; the host's dpkg and apt state stay as they are.
build_tree() {
    local tree=$1 final=$2 apt=$1/.apt deb
    mkdir -p "$apt"/{state/lists,cache/archives}/partial
    : >"$apt/status"
    cat >"$apt/conf" <<CONF
#clear APT::Architectures;
#clear APT::Update;
APT { Architecture "arm64"; Architectures { "arm64"; }; Install-Recommends "0"; Sandbox::User "root"; };
Dir { State "$apt/state"; State::status "$apt/status"; Cache "$apt/cache"; };
CONF
    apt-get -c "$apt/conf" update || true
    apt-get -c "$apt/conf" install -y --download-only "${debs[@]}" || return
    for deb in "$apt"/cache/archives/*.deb; do
        dpkg -x "$deb" "$tree" || return
    done
    rm -rf "$apt"
    # Byte code is the same on both machines; writing it here is much faster.
    "$venv/bin/python" -m compileall -qq "$tree/usr/lib/python$python" || true
    # The emulated Python, on the core of a Raspberry Pi 4. It is sys.executable too, so that tests can start it again.
    cat >"$tree/python" <<PYTHON || return
#!/bin/sh
exec "$qemu" -L "$final" -cpu cortex-a72 -E PYTHONHOME="$final/usr" -0 "$final/python" \
    "$final/usr/bin/python$python" "\$@"
PYTHON
    chmod +x "$tree/python"
}

# The wheels for aarch64; what they depend on is held to the venv's versions too.
build_wheels() {
    mkdir -p "$1/.tmp"
    TMPDIR=$1/.tmp "$venv/bin/python" -m pip install \
        --disable-pip-version-check --root-user-action ignore --no-cache-dir --target "$1" \
        --only-binary :all: --implementation cp --python-version "$python" --abi "cp${python/./}" \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
        --constraint <(echo "$installed") "${pins[@]}" || return
    rm -rf "$1/.tmp"
}

# build WHAT FOLDER: runs build_WHAT on FOLDER.part and renames it, so that FOLDER is whole or absent.
build() {
    [ ! -d "$2" ] || return 0
    rm -rf "$2.part"
    "build_$1" "$2.part" "$2" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "getting the $1 failed (network? not Debian 12?), more in $log"
    }
    mv -T "$2.part" "$2"
}

cd "$repo"
[ -x "$venv/bin/python" ] || die "no $venv/bin/python: make the project's virtual environment first, or set VENV"
{ mkdir -p "$cache" && cache=$(cd "$cache" && pwd) && : >>"$cache/lock"; } ||
    die "cannot write to $cache: set ARM64_ROOT to a folder of yours"
log=$cache/build.log
exec 9>"$cache/lock"
flock -n 9 || { echo "arm64: waiting for another run to finish building" && flock 9; }

if ! qemu=$(find_qemu); then
    { command -v apt-get && [ "$(id -u)" = 0 ]; } >/dev/null ||
        die "qemu-aarch64-static is missing; get it with: sudo apt-get install qemu-user-static"
    install_qemu >"$log" 2>&1 || die "installing qemu-user-static failed, more in $log"
    qemu=$(find_qemu) || die "qemu-user-static is installed but has no qemu-aarch64"
fi
phase "emulator: $("$qemu" --version | head -n 1)"

tree=$cache/tree-$(key "$python" "${debs[@]}" "$(grep CODENAME /etc/os-release)" "$qemu" "$cache")
build tree "$tree"
phase "tree: $tree"

installed=$("$venv/bin/python" -m pip list --format freeze --exclude-editable 2>/dev/null) || die "no pip in $venv"
mapfile -t pins < <(grep -iE "^($wheels)==" <<<"$installed")
site=$cache/site-$(key "$python" "${pins[@]}")
build wheels "$site"
phase "wheels: ${pins[*]}"
exec 9>&- # both are whole: let other runs go on

if [ $# = 0 ]; then
    mapfile -t tests < <(sed -E 's/(^|[[:space:]]+)#.*//; s/[[:space:]]+$//; /^$/d' "$here/tests.txt")
    [ ${#tests[@]} -gt 0 ] || die "tests.txt lists no test"
    set -- "${tests[@]}"
fi

# Timeouts meant for real machines are too short here. The repository stays clean: every cache lies beside the tree.
export EXPECT_MACHINE=aarch64 HYPOTHESIS_PROFILE=${HYPOTHESIS_PROFILE:-arm64} PYTEST_TIMEOUT=${PYTEST_TIMEOUT:-1800}
export NUMBA_CACHE_DIR=$cache/numba-${site##*-} NUMBA_CPU_NAME=cortex-a72 OPENBLAS_NUM_THREADS=1
export HYPOTHESIS_STORAGE_DIRECTORY=$cache/hypothesis
export PYTHONPATH=$site:$repo PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1
status=0
"$tree/python" -m pytest -o cache_dir="$cache/pytest" "$@" || status=$?
phase "tests"
exit $status
