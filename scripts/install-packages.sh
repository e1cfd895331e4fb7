#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# install-packages.sh build|demo|test|long|fuzz|lint...
#
# Installs the Debian packages that building, the demonstration, the tests, those of the suite
# "long", the fuzz targets or scripts/lint.sh need: only what is missing, with apt-get, through sudo
# if not root.
# Without the right to do so it says what is missing and goes on; whether that
# matters shows where the thing is needed.
set -euo pipefail

BUILD_PACKAGES=(g++ meson ninja-build pkgconf perl
    nbdkit nbdkit-plugin-dev libfmt-dev libexpected-dev libxxhash-dev liburing-dev
    libext2fs-dev nlohmann-json3-dev libcli11-dev libarchive-dev libssl-dev
    zlib1g-dev libnbd-dev)
DEMO_PACKAGES=(e2fsprogs kmod mount fuse3 nbdkit nbd-client libnbd-bin python3-libnbd)
TEST_PACKAGES=(catch2 libcli11-dev python3 python3-jsonschema python3-yaml curl
    e2fsprogs genext2fs attr acl libcap2-bin mount fuse3 kmod shellcheck
    nbdkit libnbd-bin python3-libnbd
    qemu-system-x86 nbd-client busybox-static cpio
    fio qemu-utils fuse-overlayfs git util-linux-extra python3-matplotlib
    libarchive-tools umoci skopeo zstd xz-utils mtd-utils xfsprogs btrfs-progs)
LONG_PACKAGES=(debootstrap systemd-container) # beside those of test
FUZZ_PACKAGES=(clang libclang-rt-14-dev e2fsprogs xz-utils)
LINT_PACKAGES=(clang clang-format clang-tidy shellcheck python3)

wanted=()
for set_name in "$@"; do
    case "$set_name" in
    build) wanted+=("${BUILD_PACKAGES[@]}") ;;
    demo) wanted+=("${DEMO_PACKAGES[@]}") ;;
    test) wanted+=("${TEST_PACKAGES[@]}") ;;
    long) wanted+=("${LONG_PACKAGES[@]}") ;;
    fuzz) wanted+=("${FUZZ_PACKAGES[@]}") ;;
    lint) wanted+=("${LINT_PACKAGES[@]}") ;;
    *)
        echo "usage: ${0##*/} build|demo|test|long|fuzz|lint..." >&2
        exit 2
        ;;
    esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This is no Debian system; please install the equivalents of: ${wanted[*]}" >&2
    exit 0
fi

is_installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "Not root and no sudo: cannot install ${missing[*]}" >&2
        exit 0
    fi
    as_root=(sudo)
fi

echo "Installing: ${missing[*]}"
install=(apt-get install --yes --quiet --no-install-recommends "${missing[@]}")
"${as_root[@]}" apt-get update --quiet </dev/null >/dev/null || true # an old list may do
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" </dev/null >/dev/null || {
    echo "apt-get could not install all of: ${missing[*]}" >&2
    exit 1
}
