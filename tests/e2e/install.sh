#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# `meson install`: everything lies below the prefix, the plugin where -Dplugindir says,
# and what was installed and stripped works. Nothing is built.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
require meson nbdkit python3 readelf
make_work
SOURCE=$(realpath -- "$(dirname "$0")/../..")

# destinations OPTIONS... - where a build with these options would install its files.
destinations() {
    rm -rf -- "$WORK/configured"
    meson setup "$WORK/configured" "$SOURCE" -Dtests=disabled "$@" >"$WORK/setup.log" 2>&1 ||
        fail "meson setup $*: $(tail -n 3 "$WORK/setup.log")"
    meson introspect --installed "$WORK/configured" |
        python3 -c 'import json, sys; print(*sorted(json.load(sys.stdin).values()), sep="\n")'
}

step "--prefix and --libdir"
destinations --prefix=/opt/unionfs --libdir=lib64 >"$WORK/places"
! grep -v '^/opt/unionfs/' "$WORK/places" || fail "installed outside the prefix"
for place in bin/unionfs-img lib64/nbdkit/plugins/nbdkit-unionfs-plugin.so; do
    grep -qx "/opt/unionfs/$place" "$WORK/places" || fail "$place is not installed"
done

step "-Dplugindir"
destinations --prefix=/opt/unionfs -Dplugindir=/elsewhere/plugins >"$WORK/places"
grep -qx "/elsewhere/plugins/nbdkit-unionfs-plugin.so" "$WORK/places" ||
    fail "the plugin does not go to plugindir"

step "below DESTDIR, stripped"
DESTDIR=$WORK/root meson install -C "$BUILD_DIR" --no-rebuild --strip >"$WORK/install.log" 2>&1 ||
    fail "meson install: $(tail -n 3 "$WORK/install.log")"
find "$WORK/root" -type f -o -type l >"$WORK/installed"
for name in nbdkit-unionfs-plugin.so nbdkit-unionfs-plugin-plugin.so unionfs-img \
    nbdkit-unionfs-plugin.1 unionfs-img.1; do
    [ "$(grep -c "/$name\$" "$WORK/installed")" = 1 ] || fail "$name is not installed once"
done
plugin=$(grep '/nbdkit-unionfs-plugin.so$' "$WORK/installed")
unionfs_img=$(grep '/unionfs-img$' "$WORK/installed")
for binary in "$plugin" "$unionfs_img"; do
    ! readelf --sections --wide "$binary" | grep -q '\.debug_info' || fail "$binary is not stripped"
done

step "what was installed works"
# By its name, as nbdkit looks for it.
[ "$(realpath -- "${plugin%.so}-plugin.so")" = "$plugin" ] || fail "the plugin's second name leads elsewhere"
(use_sanitizer && exec nbdkit "$plugin" --dump-plugin) >"$WORK/dump" || fail "the plugin cannot be loaded"
grep -q '^unionfs_upper_version=' "$WORK/dump" || fail "--dump-plugin: $(cat "$WORK/dump")"
"$unionfs_img" --version >"$WORK/version" || fail "unionfs-img does not run"
step "pass"
