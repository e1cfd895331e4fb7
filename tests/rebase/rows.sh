#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# rows.sh OLD-BLOCK OLD-INODE NEW-BLOCK NEW-INODE
#
# Every row of the table of docs/rebase.md, with every policy, over two lowers of these block
# and inode sizes. The layer is made by the kernel's own ext2.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
require_kernel_mount
require mke2fs e2fsck python3 setfattr mknod
ROWS=$(realpath -- "$(dirname "$0")")/rows.py
IMG=$BUILD_DIR/tools/unionfs-img
[ $# = 4 ] || fail "usage: rows.sh OLD-BLOCK OLD-INODE NEW-BLOCK NEW-INODE"
make_work
cd "$WORK"

step "two lowers and a layer"
mkdir old new mnt result
python3 "$ROWS" base old
cp -a old/. new
python3 "$ROWS" theirs new
truncate -s 64M old.img
mke2fs -q -t ext2 -b "$1" -I "$2" -d old old.img
truncate -s 64M new.img
mke2fs -q -t ext2 -b "$3" -I "$4" -d new new.img
serve disk lower=old.img upper=upper.img size=192M
mount_merged disk "$WORK/mnt"
python3 "$ROWS" ours mnt
unmount_merged disk
stop_server disk
chmod 0600 upper.img
sha256sum old.img new.img upper.img >before

rebase() {
    status=0
    "$IMG" rebase -b old.img --onto new.img --output=json "$@" upper.img >report.json || status=$?
}

step "nothing is decided: nothing is changed"
rebase
[ "$status" = 3 ] || fail "status $status"
python3 "$ROWS" check fail report.json
sha256sum --quiet -c before

# With a sanitizer one policy shows what is to be seen.
policies=(ours theirs both)
[ -z "${SANITIZE_PRELOAD:-}" ] || policies=(both)
for policy in "${policies[@]}"; do
    step "--conflicts=$policy"
    rm -f result.img flat.img
    # A unit cannot be both, so somebody has to say what it is.
    unit=()
    [ "$policy" != both ] || unit=(--ours '/database-*/**' --ours '/var/**')
    ids=numbers
    [ "$policy" != ours ] || ids=names
    rebase --conflicts="$policy" --ids="$ids" "${unit[@]}" -o result.img --verify
    [ "$status" = 0 ] || fail "status $status"
    "$IMG" check -b new.img result.img
    "$IMG" convert -b new.img result.img flat.img
    e2fsck -fn flat.img >fsck.log 2>&1 || fail "e2fsck: $(cat fsck.log)"
    mount -o loop,ro -t ext2 flat.img result
    python3 "$ROWS" check "$policy" report.json result
    umount result
done

step "--ours-tree of names whose directories ours has moved"
rm -f result.img flat.img
rebase --conflicts=theirs --ids=numbers --ours-tree /directories-swapped/d \
    --ours-tree /directory-moved-and-changed/d \
    -o result.img --verify
[ "$status" = 0 ] || fail "status $status"
"$IMG" convert -b new.img result.img flat.img
mount -o loop,ro -t ext2 flat.img result
[ "$(cat result/directories-swapped/e/x result/directories-swapped/d/y)" = $'t\nb' ] ||
    fail "what theirs has is not at the new names: $(ls -R result/directories-swapped)"
[ "$(ls result/directory-moved-and-changed/e)" = $'x\ny\nz' ] ||
    fail "names are lost: $(ls -R result/directory-moved-and-changed)"
umount result
sha256sum --quiet -c before
