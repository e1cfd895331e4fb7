#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The programs the file system tests judge with: fs-tree must see every difference
# it promises to see and none else, fs-exercise must do the same on equal trees.
# fs-tree is tried on the file system of $TMPDIR, fs-exercise on small ext2 disks.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

FS_EXERCISE=${FS_EXERCISE:-$BUILD_DIR/tests/fs/fs-exercise}
FS_TREE=${FS_TREE:-$BUILD_DIR/tests/fs/fs-tree}
require setfattr cmp
[ "$(id -u)" = 0 ] || skip "device nodes and trusted attributes need root"
make_work

make_tree() {
    rm -rf "$WORK/tree"
    mkdir -p "$WORK/tree/sub/empty"
    cd "$WORK/tree"
    seq 1 5000 >numbers
    ln numbers sub/numbers
    seq 1 5000 >twin
    printf 'one' >"a b"
    ln -s target pointer
    mknod device c 5 7
    mkfifo queue
    truncate -s 9M sparse
    setfattr -n user.x -v value sub
}

dump() { "$FS_TREE" "$@" "$WORK/tree"; }

# sees OPTIONS COMMAND... - the dump is another one after the command.
sees() {
    local options=$1
    shift
    make_tree
    # shellcheck disable=SC2086 # several options or none
    dump $options >"$WORK/before"
    "$@"
    # shellcheck disable=SC2086
    dump $options >"$WORK/after"
    ! cmp -s "$WORK/before" "$WORK/after" || fail "fs-tree $options does not see: $*"
}

overlooks() {
    make_tree
    dump >"$WORK/before"
    "$@"
    dump >"$WORK/after"
    cmp "$WORK/before" "$WORK/after" || fail "fs-tree should not see: $*"
}

poke() { printf '%s' "$2" | dd of="$1" bs=1 seek="$3" conv=notrunc status=none; }
become() { rm -rf "$1" && "${@:2}"; }

replace_by_copy() { cp -a twin copy && mv copy twin; }
fill_hole_with_zeros() { dd if=/dev/zero of=sparse bs=1M count=2 conv=notrunc status=none; }

setfattr -n user.probe -v 1 "$WORK" 2>/dev/null || skip "no user attributes in $WORK"

step "fs-tree sees"
sees "" touch new
sees "" rm -r sub/empty
sees "" mv sub/empty sub/void
sees "" chmod 600 twin
sees "" chmod u+s twin
sees "" chown 7 queue
sees "" chgrp -h 70000 pointer
sees "" poke twin x 4096
sees "" poke sparse x 9000000
sees "" truncate -s 10M sparse
sees "" truncate -s +1 "a b"
sees "" ln twin other-twin
sees "" become twin ln numbers twin
sees "" become sub/numbers cp --preserve=all numbers sub/numbers
sees "" become device mknod device c 5 8
sees "" become device mknod device b 5 7
sees "" become pointer ln -s targex pointer
sees "" setfattr -n user.x -v valux sub
sees "" setfattr -x user.x sub
sees "" setfattr -h -n trusted.y -v 1 pointer
sees "--times" touch -d @1000000000.5 numbers
sees "--times" touch -h pointer
sees "--inodes" replace_by_copy

step "fs-tree does not see"
overlooks touch -d @1000000000.5 numbers
overlooks replace_by_copy
overlooks fill_hole_with_zeros

step "fs-exercise"
require_kernel_mount
require mke2fs
for name in one other another; do
    truncate -s 160M "$WORK/$name.img"
    mke2fs -q -F -t ext2 -b 1024 -N 12000 "$WORK/$name.img"
    mkdir "$WORK/$name"
    mount -t ext2 -o loop,noatime "$WORK/$name.img" "$WORK/$name"
done
# exercise NAME SEED SKIP OPERATIONS
exercise() {
    "$FS_EXERCISE" --seed "$2" --skip "$3" --operations "$4" --space-limit-mib 40 "$WORK/$1" \
        >>"$WORK/$1.journal"
}
for name in one other; do
    exercise $name 5 0 700
    exercise $name 5 700 300
    "$FS_TREE" "$WORK/$name" >"$WORK/$name.tree"
done
cmp "$WORK/one.journal" "$WORK/other.journal" || fail "one seed, two journals"
cmp "$WORK/one.tree" "$WORK/other.tree" || fail "one seed, two trees"
[ "$(grep -c . "$WORK/one.tree")" -gt 50 ] || fail "hardly anything was done"
exercise another 6 0 700
! head -n 200 "$WORK/another.journal" | cmp -s - <(head -n 200 "$WORK/one.journal") ||
    fail "the seed does not matter"
# A name the exercise cannot know of must not go unnoticed in the next journal.
mkdir "$WORK/other/uninvited"
exercise one 7 0 500
exercise other 7 0 500
! cmp -s "$WORK/one.journal" "$WORK/other.journal" || fail "unequal trees, equal journals"
