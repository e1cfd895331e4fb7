#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Every row of a rebase without the old lower, with every policy: onto a lower that was built
# anew, and onto a copy of the old one in which something was changed.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
require_kernel_mount
require mke2fs e2fsck python3 setfattr mknod
ROWS=$(realpath -- "$(dirname "$0")")/without_old_rows.py
IMG=$BUILD_DIR/tools/unionfs-img
make_work
cd "$WORK"

step "an old lower, two new ones, and a layer"
mkdir old new mnt result
python3 "$ROWS" base old
cp -a old/. new
python3 "$ROWS" theirs new
truncate -s 64M old.img
# Files of the layer are younger than the old lower, also in the same second.
E2FSPROGS_FAKE_TIME=1700000000 mke2fs -q -t ext2 -b 1024 -I 256 -d old old.img
truncate -s 64M rebuilt.img
mke2fs -q -t ext2 -b 4096 -I 128 -d new rebuilt.img
cp old.img copy.img
mount -o loop -t ext2 copy.img mnt
python3 "$ROWS" theirs mnt
umount mnt
serve disk lower=old.img upper=upper.img size=192M
mount_merged disk "$WORK/mnt"
python3 "$ROWS" ours mnt
unmount_merged disk
stop_server disk
rm old.img
sha256sum rebuilt.img copy.img upper.img >before

rebase() {
    status=0
    "$IMG" rebase --without-old --output=json "$@" upper.img >report.json || status=$?
}

# With a sanitizer one policy shows what is to be seen.
policies=(ours theirs both)
[ -z "${SANITIZE_PRELOAD:-}" ] || policies=(both)
for kind in rebuilt copy; do
    step "$kind: nothing is decided, and nothing is changed"
    rebase --onto "$kind.img"
    [ "$status" = 3 ] || fail "status $status"
    python3 "$ROWS" check "$kind" fail report.json
    for policy in "${policies[@]}"; do
        step "$kind: --conflicts=$policy"
        rm -f result.img flat.img
        rebase --onto "$kind.img" --theirs '/never-*/**' --conflicts="$policy" -o result.img --verify
        [ "$status" = 0 ] || fail "status $status: $(cat report.json)"
        "$IMG" check -b "$kind.img" result.img
        "$IMG" convert -b "$kind.img" result.img flat.img
        e2fsck -fn flat.img >fsck.log 2>&1 || fail "e2fsck: $(cat fsck.log)"
        mount -o loop,ro -t ext2 flat.img result
        python3 "$ROWS" check "$kind" "$policy" report.json result
        umount result
    done
    step "$kind: what can never be ours stays undecided"
    rebase --onto "$kind.img" --conflicts=ours
    [ "$status" = 3 ] || fail "status $status"
done
sha256sum --quiet -c before
