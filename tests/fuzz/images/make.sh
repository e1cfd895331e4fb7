#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Makes the images that the recipes of fuzz targets begin with, beside tests/golden:
#
#   BUILD_DIR=build tests/fuzz/images/make.sh
#
#   wide-lower.img.xz      1 MiB in groups of 256 blocks, with inodes of 256 bytes: a
#                          directory with an index, attributes in inodes and in a block that
#                          is shared, a file with all levels of indirect blocks, links, devices
#   wide-client-1.img.xz   what a client makes of it, grown to 2 MiB: the first layer
#   wide-client-2.img.xz   what it makes of that: a session
#   foreign.img.xz         an upper that another program made, over the same lower
#   ext4.img.xz            1 MiB of ext4 with extents, one tree of them two levels deep, and inline data
#
# Recipes count the things in them, so a corpus means something else over other images.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../../lib/common.sh"
require mke2fs e2fsck debugfs xz
PLACE=$(realpath -- "$(dirname "$0")")
IMG=$BUILD_DIR/tools/unionfs-img
make_work
export E2FSPROGS_FAKE_TIME=1700000000 E2FSCK_TIME=1700000000
LOWER=$WORK/wide-lower.img
FEATURES=none,filetype,sparse_super,large_file,dir_index,ext_attr

# change IMAGE REQUEST... - by debugfs; what it leaves undone, e2fsck does.
change() {
    local image=$1 status=0
    shift
    printf '%s\n' "$@" | debugfs -w -f - "$image" >"$WORK/debugfs.txt" 2>&1
    e2fsck -fyD "$image" >"$WORK/e2fsck.txt" 2>&1 || status=$?
    [ "$status" -le 1 ] || fail "e2fsck: $(cat "$WORK/e2fsck.txt")"
    check_clean "$image"
}

# make IMAGE BLOCKS TREE OPTIONS... - an image with this tree in it.
make() {
    local image=$1 blocks=$2 tree=$3
    shift 3
    chmod -R u=rwX,go=rX "$tree"
    find "$tree" -exec touch -h -d @1700000000 {} +
    truncate -s "${blocks}K" "$image"
    mke2fs -q -F -t ext2 -b 1024 "$@" -U 00112233-4455-6677-8899-aabbccddeeff -O "$FEATURES" \
        -E root_owner=0:0,hash_seed=00112233-4455-6677-8899-aabbccddeeff \
        -d "$tree" "$image" >"$WORK/mke2fs.txt" 2>&1 || fail "mke2fs: $(cat "$WORK/mke2fs.txt")"
}

keep() { xz -9e -T1 -c "$1" >"$PLACE/$(basename "$1").xz"; }

make_lower() {
    local tree=$WORK/tree number
    mkdir -p "$tree"/{many,dir/inner,gone,moved}
    for number in $(seq 60); do : >"$tree/many/a-rather-long-name-of-a-file-$number"; done
    echo one >"$tree/dir/one"
    echo two >"$tree/dir/two"
    ln "$tree/dir/two" "$tree/dir/inner/again"
    seq -f '%07.0f of these lines' 1 1500 >"$tree/large"
    # Blocks far behind: double and triple indirect ones lead to them.
    printf middle | dd of="$tree/sparse" bs=1024 seek=300 status=none
    printf end | dd of="$tree/sparse" bs=1024 seek=66000 conv=notrunc status=none
    seq 1 800 >"$tree/gone/numbers"
    echo inner >"$tree/moved/inner"
    ln -s short "$tree/link"
    ln -s "$(printf 'long/%.0s' $(seq 18))target" "$tree/dir/link"
    make "$LOWER" 1024 "$tree" -g 256 -N 160 -I 256 -L wide
    printf 'v%.0s' $(seq 300) >"$WORK/value"
    change "$LOWER" 'ea_set /dir/one user.colour blue' "ea_set -f $WORK/value /dir/two user.long" \
        'mknod pipe p' 'mknod null c 1 3' 'ea_set /dir user.kind directory'
    # A second file of the same attributes.
    number=$(debugfs -R 'stat /dir/two' "$LOWER" 2>&1 | sed -n 's/.*File ACL: \([0-9]*\).*/\1/p')
    change "$LOWER" "set_inode_field /large file_acl $number"
}

make_clients() {
    local first=$WORK/wide-client-1.img second=$WORK/wide-client-2.img
    "$IMG" create -s 2M -b "$LOWER" "$WORK/upper.img" >"$WORK/create.txt"
    "$IMG" convert -b "$LOWER" "$WORK/upper.img" "$first"
    seq -f 'new line %.0f' 1 100 >"$WORK/x"
    change "$first" 'mkdir /new' "write $WORK/x /new/x" 'rm /gone/numbers' 'rmdir /gone' \
        'ea_set /dir/one user.colour green' 'ea_set /link user.of a-link' \
        "symlink /new/long $(printf 'far/%.0s' $(seq 20))away" \
        'ln /moved/inner /new/inner' 'unlink /moved/inner' 'rm /many/a-rather-long-name-of-a-file-7' \
        "write $WORK/x /many/new-among-many" 'punch /large 3 5' 'set_inode_field /sparse mode 0100600'
    cp "$first" "$second"
    change "$second" "write $WORK/x /new/y" 'rm /dir/two' 'unlink /dir/inner/again' 'mkdir /dir/sub' \
        'punch /new/x 1' 'cd /new' 'mknod pipe p' 'rm /dir/link' 'set_inode_field /new/x mode 0100640' \
        'set_inode_field /large mtime 20240202000000' 'unlink /many/a-rather-long-name-of-a-file-9' \
        "write $WORK/x /dir/sub/z" 'punch /sparse 300 300'
    keep "$first"
    keep "$second"
}

make_foreign() {
    local tree=$WORK/foreign-tree image=$WORK/foreign.img
    mkdir -p "$tree"/{dir,new/deep,moved}
    echo 'one, but another' >"$tree/dir/one"
    seq 1 900 >"$tree/new/deep/numbers"
    ln "$tree/new/deep/numbers" "$tree/new/again"
    ln -s "$(printf 'long/%.0s' $(seq 18))elsewhere" "$tree/new/link"
    make "$image" 512 "$tree" -N 64 -I 128
    change "$image" 'ea_set /new/again user.colour red' 'cd /new' 'mknod null c 1 3'
    printf '%s\n' 'whiteout gone' 'whiteout dir/two' 'fallthru dir/link' 'opaque moved' feature \
        >"$WORK/marks"
    "$BUILD_DIR/tests/classic-marks" "$image" "$WORK/marks" || fail "classic-marks"
    keep "$image"
}

make_ext4() {
    local tree=$WORK/ext4-tree image=$WORK/ext4.img number
    mkdir -p "$tree"/{many,dir/inner}
    for number in $(seq 40); do : >"$tree/many/a-rather-long-name-of-a-file-$number"; done
    echo 'inline data' >"$tree/small"
    head -c 100 /dev/zero | tr '\0' x >"$tree/in-two-places" # in i_block and an attribute
    seq -f '%07.0f of these lines' 1 1500 >"$tree/large"
    seq -f '%07.0f with holes' 1 3000 >"$tree/holes"
    ln "$tree/large" "$tree/dir/again"
    ln -s "$(printf 'long/%.0s' $(seq 18))target" "$tree/dir/link"
    make "$image" 1024 "$tree" -N 128 -I 256
    number=$(seq 1 2 40 | sed 's|.*|punch /holes & &|')
    change "$image" "$number" 'ea_set /dir user.kind directory' 'mknod null c 1 3' \
        'set_inode_field /large flags 0x80040'
    debugfs -R 'dump_extents /holes' "$image" 2>/dev/null | grep -q '^ *0/ *1' || fail "no deep tree"
    keep "$image"
}

FEATURES+=,extent,inline_data,64bit,flex_bg,huge_file,dir_nlink,extra_isize make_ext4
make_lower
keep "$LOWER"
make_clients
make_foreign
ls -l "$PLACE"
