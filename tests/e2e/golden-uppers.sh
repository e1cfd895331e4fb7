#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Uppers that earlier programs made (tests/golden), each kind (a version of the format,
# and what came to it later) with a layer, with an open session, and with a journal that
# is not home: they show what they showed then; reading and sessions leave them at their
# version; whatever writes a new layer makes them uppers of this program's version, with
# the same tree.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/sessions.sh
. "$(dirname "$0")/../lib/sessions.sh"
require mke2fs e2fsck debugfs nbdkit nbdcopy nbdsh xz sha256sum
require_kernel_mount
GOLDEN=$(realpath -- "$(dirname "$0")/../golden")
make_work

IMG=$BUILD_DIR/tools/unionfs-img
CORRUPT=$BUILD_DIR/tests/image-corrupt
FS_TREE=$BUILD_DIR/tests/fs/fs-tree
KINDS=(v1 v2 v2-records)
LOWER=$WORK/lower.img
UPPER=$WORK/upper.img
NEWEST=$( (use_sanitizer && exec nbdkit --dump-plugin "$UNIONFS_PLUGIN") | sed -n 's/^unionfs_upper_version=//p')

unpack() { xz -dc "$GOLDEN/$1.img.xz" >"$2"; }

expect_version() {
    local line="format: unionfs upper, version $1"
    "$IMG" info -b "$LOWER" "$UPPER" >"$WORK/info"
    grep -qx "$line" "$WORK/info" || fail "not \"$line\", but: $(cat "$WORK/info")"
    # Mark and header say the same.
    [ "$("$CORRUPT" "$UPPER" mark.version)" = "$1" ] || fail "the mark is not of version $1"
}

# read_merged NAME - its bytes in NAME.img, its tree in NAME.tree; writes nothing.
read_merged() {
    local before
    before=$(sha256sum <"$UPPER")
    serve merged -r "lower=$LOWER" "upper=$UPPER"
    save_image merged "$WORK/$1.img"
    stop_server merged
    [ "$before" = "$(sha256sum <"$UPPER")" ] || fail "$1: reading changed the upper"
    check_clean "$WORK/$1.img"
    mkdir -p "$WORK/place"
    mount -t ext2 -o loop,ro "$WORK/$1.img" "$WORK/place"
    "$FS_TREE" --times --inodes "$WORK/place" >"$WORK/$1.tree"
    umount "$WORK/place"
}

expect_sum() {
    local wanted found
    wanted=$(awk -v name="$1" '$2 == name { print $1 }' "$GOLDEN/SHA256SUMS")
    found=$(sha256sum <"$WORK/$2.img" | cut -d ' ' -f 1)
    [ -n "$wanted" ] || fail "SHA256SUMS has no $1"
    [ "$wanted" = "$found" ] || fail "$1: the merged image is not what it was ($found)"
}

# Of this program's version, with the tree that it had, and sound.
expect_new() {
    expect_version "$NEWEST"
    grep -qx 'features: lower_records' "$WORK/info" || fail "$1: $(cat "$WORK/info")"
    read_merged after
    same_files "$WORK/before.tree" "$WORK/after.tree" "$1: the tree is not what it was"
    check_layer_clean "$UPPER" "$WORK/layer.img"
    "$IMG" check -b "$LOWER" "$UPPER" >"$WORK/check" || fail "$1: $(cat "$WORK/check")"
}

checkpoint() { "$IMG" checkpoint -b "$LOWER" "$UPPER" >"$WORK/checkpoint.txt"; }

a_session() { debugfs_session "$LOWER" "$UPPER" -- 'mkdir /more' "write $LOWER /more/file"; }

unpack lower "$LOWER"
lower_sum=$(sha256sum <"$LOWER")
uppers=("$GOLDEN"/v*-*.img.xz)
[ "${#uppers[@]}" = $((3 * ${#KINDS[@]})) ] || fail "tests/golden is not whole: ${uppers[*]}"

for kind in "${KINDS[@]}"; do
    version=${kind:1:1}
    name=$kind-layer
    step "$name: read"
    unpack "$name" "$UPPER"
    expect_version "$version"
    read_merged before
    expect_sum "$name" before
    "$IMG" check -b "$LOWER" "$UPPER" >"$WORK/check" || fail "$name: $(cat "$WORK/check")"
    expect_version "$version"

    step "$name: a session and its checkpoint"
    a_session
    expect_version "$version"
    read_merged before
    checkpoint
    expect_new "$name"

    step "$name: grown"
    unpack "$name" "$UPPER"
    read_merged before
    serve merged "lower=$LOWER" "upper=$UPPER" size=8M
    PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri merged)" -c 'h.pread(512, 0)'
    stop_server merged
    expect_new "$name"
    [ "$(stat -c %s "$WORK/after.img")" = $((8 << 20)) ] || fail "$name: did not grow"

    step "$name: repaired"
    unpack "$name" "$UPPER"
    read_merged before
    "$CORRUPT" "$UPPER" 'group[0].bg_used_dirs_count=+1'
    "$IMG" check --repair -b "$LOWER" "$UPPER" >"$WORK/check" || fail "$name: $(cat "$WORK/check")"
    expect_new "$name"

    name=$kind-session
    step "$name: read, and its checkpoint"
    unpack "$name" "$UPPER"
    expect_version "$version"
    grep -qE '^session: number 2, open, 13 blocks' "$WORK/info" || fail "$name has no session"
    read_merged before
    expect_sum "$name" before
    checkpoint
    expect_new "$name"

    # What is read counts as home, and so does the version.
    name=$kind-journal
    step "$name: read, and brought home"
    unpack "$name" "$UPPER"
    "$IMG" info "$UPPER" | grep -qx 'journal pending: yes' || fail "$name has no journal"
    read_merged before
    expect_sum "$name" before
    serve merged "lower=$LOWER" "upper=$UPPER"
    PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri merged)" -c 'h.pread(512, 0)'
    stop_server merged
    "$IMG" info "$UPPER" | grep -qx 'journal pending: no' || fail "$name: the journal is there"
    read_merged after
    expect_sum "$name" after
    expect_version "$version"
    a_session
    read_merged before
    checkpoint
    expect_new "$name"
done

step "imported: a new upper is of version $NEWEST"
rm "$UPPER"
mkdir -p "$WORK/foreign"
echo foreign >"$WORK/foreign/file"
mke2fs -q -t ext2 -b 1024 -d "$WORK/foreign" "$UPPER" 1M 2>/dev/null
debugfs -w -R 'feature FEATURE_I5' "$UPPER" >"$WORK/debugfs.log" 2>&1
serve merged "lower=$LOWER" "upper=$UPPER" size=4M
PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri merged)" -c 'h.pread(512, 0)'
stop_server merged
expect_version "$NEWEST"

step "unknown features"
name=${KINDS[-1]}-layer
unpack "$name" "$UPPER"
"$CORRUPT" "$UPPER" header.feature_ro_compat=0x10 header.checksum=checksum
read_merged before
expect_sum "$name" before
"$IMG" info "$UPPER" | grep -qx 'features: lower_records, FEATURE_R4' || fail "info does not name the feature"
if (use_sanitizer && exec nbdkit -U - "$UNIONFS_PLUGIN" "lower=$LOWER" "upper=$UPPER" --run true) \
    >"$WORK/start.log" 2>&1 </dev/null; then
    fail "an upper that can only be read was served to write"
fi
grep -q 'can only be read, with -r, because .* not known: FEATURE_R4' "$WORK/start.log" ||
    fail "the server does not name the feature"
read_merged before

[ "$lower_sum" = "$(sha256sum <"$LOWER")" ] || fail "the lower was changed"
step "pass"
