#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Which lower it is: one that was mounted, checked and labelled is taken, without a
# change of it in between; one that was built anew is not, also where its superblock is
# the same to the last byte.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/sessions.sh
. "$(dirname "$0")/../lib/sessions.sh"
require mke2fs e2fsck tune2fs debugfs nbdkit nbdcopy nbdsh
require_kernel_mount
make_work
IMG=$BUILD_DIR/tools/unionfs-img
LOWER=$WORK/lower.img UPPER=$WORK/upper.img

# build TEXT IMAGE - the same tree with a program of the same size; all that a build can
# fix is fixed.
build() {
    local tree=$WORK/tree name field
    mkdir -p "$tree/dir"
    printf '%s\n' {1..5000} | sed "s/^/$1 /" >"$tree/program"
    echo name >"$tree/dir/name"
    truncate -s 20M "$2"
    E2FSPROGS_FAKE_TIME=1700000000 mke2fs -q -F -t ext2 -U 11111111-2222-3333-4444-555555555555 \
        -E hash_seed=11111111-2222-3333-4444-555555555555 -d "$tree" "$2"
    for name in / /program /dir /dir/name /lost+found; do
        for field in atime ctime mtime crtime atime_extra ctime_extra mtime_extra crtime_extra; do
            echo "set_inode_field $name $field $([[ $field = *extra ]] && echo 0 || echo @1690000000)"
        done
    done | debugfs -w -f - "$2" >"$WORK/out" 2>&1
}

build 'version one' "$LOWER"
build 'version two' "$WORK/rebuilt.img"
cmp <(dd if="$LOWER" bs=1024 count=3 status=none) <(dd if="$WORK/rebuilt.img" bs=1024 count=3 status=none) ||
    fail "the two lowers can be told from their superblocks"
debugfs_session "$LOWER" "$UPPER" size=40M -- 'patch /program 20000 X' 'mkdir /new' 'rm /dir/name'
"$IMG" checkpoint -b "$LOWER" "$UPPER" >"$WORK/checkpoint.txt"
"$IMG" info "$UPPER" | grep -qx 'features: lower_records' || fail "the upper has no records"

step "mounted, read, checked and labelled"
mkdir -p "$WORK/place"
for type in ext2 ext4; do
    cp "$LOWER" "$WORK/used.img"
    mount -t "$type" -o loop,strictatime "$WORK/used.img" "$WORK/place"
    cat "$WORK/place/program" >"$WORK/out"
    ls -lR "$WORK/place" >"$WORK/out"
    umount "$WORK/place"
    ! cmp -s "$LOWER" "$WORK/used.img" || fail "$type: the mount has changed nothing"
    e2fsck -fy "$WORK/used.img" >"$WORK/out" 2>&1
    tune2fs -L label -c 7 "$WORK/used.img" >"$WORK/out"
    "$IMG" check -b "$WORK/used.img" "$UPPER" >"$WORK/out" || fail "$type: $(cat "$WORK/out")"
    serve used -r "lower=$WORK/used.img" "upper=$UPPER"
    save_image used "$WORK/merged.img"
    stop_server used
    check_clean "$WORK/merged.img"
done

# refused IMAGE TEXT - by server and tool, with this difference.
refused() {
    local wanted=".*${1##*/}: is not the lower that .*upper.img was made over: $2"
    ! (use_sanitizer && exec nbdkit -f -r -U "$WORK/refused.sock" "$UNIONFS_PLUGIN" "lower=$1" \
        "upper=$UPPER" --run true) >"$WORK/out" 2>&1 || fail "$1: is served"
    grep -q "$wanted" "$WORK/out" || fail "$1: not \"$wanted\", but: $(cat "$WORK/out")"
    ! "$IMG" check -b "$1" "$UPPER" >"$WORK/out" 2>&1 || fail "$1: passes the check"
    grep -q "$wanted" "$WORK/out" || fail "$1: not \"$wanted\", but: $(cat "$WORK/out")"
    grep -q "; to carry the layer over: unionfs-img rebase -b OLD --onto $1 $UPPER" "$WORK/out" ||
        fail "$1: nothing says how to carry the layer over: $(cat "$WORK/out")"
}

step "built anew, with the same superblock"
refused "$WORK/rebuilt.img" '/program (inode [0-9]*) has other content'

step "changed"
cp "$LOWER" "$WORK/changed.img"
debugfs -w -R 'set_inode_field /dir mtime 20240101000000' "$WORK/changed.img" 2>/dev/null
refused "$WORK/changed.img" '/dir (inode [0-9]*) is another file, or was changed'
cp "$LOWER" "$WORK/changed.img"
debugfs -w -R 'mkdir /more' "$WORK/changed.img" 2>/dev/null
refused "$WORK/changed.img" 'it has [0-9]* free blocks, not [0-9]*; it has .* directories, not '
step "pass"
