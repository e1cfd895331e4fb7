#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Hostile and mistaken input: whatever the two images hold, the server refuses it
# with a message that names the image, or serves it and can be read to the end; it
# never crashes, hangs, eats memory by a number from an image, or touches a file it
# refuses.
#
#   bad-input.sh [GROUP...]    groups of cases: parameters files superblock features
#                              descriptors inodes uppers state; all without any
#
#   BAD_INPUT_VERBOSE=1        prints each message

# shellcheck disable=SC2016 # $uri is nbdkit's

set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/lowers.sh
. "$(dirname "$0")/../lib/lowers.sh"
# shellcheck source=tests/lib/expectations.sh
. "$(dirname "$0")/../lib/expectations.sh"
# shellcheck source=tests/lib/refusals.sh
. "$(dirname "$0")/../lib/refusals.sh"

require nbdkit nbdcopy nbdinfo mke2fs e2fsck genext2fs debugfs setfattr mkfifo
[ "$(id -u)" = 0 ] || skip "device nodes in the test tree need root"
make_sources() {
    step "making the images"
    make_tree "$WORK/tree"
    # Two groups and a half, a resize inode, indirect blocks, xattr blocks.
    _make_fs "$WORK/plain.img" 1024 2600 -g 1024 -N 600 -d "$WORK/tree/plain"
    _make_fs "$WORK/metabg.img" 1024 4000 -g 256 -N 1000 -O meta_bg,^resize_inode \
        -d "$WORK/tree/plain"
    _make_fs "$WORK/sparse2.img" 4096 700 -g 256 -N 400 \
        -O sparse_super2,^sparse_super,^resize_inode -d "$WORK/tree/plain"
    local source
    for source in plain metabg sparse2; do
        rm -f "$WORK/new-upper.img"
        must_serve "undamaged $source.img" "$WORK/$source.img" "$WORK/new-upper.img" \
            "size=$ACCEPT_SIZE"
    done
    rm -f "$WORK/new-upper.img"
}

# ---- parameters ------------------------------------------------------------

group_parameters() {
    local lower=$WORK/plain.img upper=$WORK/new-upper.img size
    step "parameters"
    must_refuse "an unknown parameter" surprise "$lower" "$upper" surprise=1
    must_refuse "a layer that is not there" new-upper.img "$lower" "$upper" "$WORK/extra.img"
    for size in '' garbage 0 1 -1 1025 2599K 8E 9223372036854775807 5T; do
        must_refuse "size=$size" size "$lower" "$upper" "size=$size"
    done
    # No multiple of the block size: rounded or refused.
    for size in 5000001 4194305; do
        rm -f "$upper"
        may_accept "size=$size" size "$lower" "$upper" "size=$size"
    done
    rm -f "$upper"
    # Without an upper changes are gone at exit; nothing is left in its directory.
    must_serve "no upper" "$lower" "size=$ACCEPT_SIZE"
    run_server true
    no_crash "no images"
    [ "$STATUS" != 0 ] || failed "no images: was not refused"
    said_why lower || failed "no images: the message does not say so"
    # What was refused above is refused for the read-only server too.
    NBDKIT_FLAGS=(-r)
    run_server "$READ_ALL" "$lower" "$upper"
    NBDKIT_FLAGS=()
    no_crash "a missing upper, read-only"
    [ ! -e "$upper" ] || failed "a missing upper, read-only: it was created"
}

# ---- files that are no ext2 images at all ----------------------------------

group_files() {
    local plain=$WORK/plain.img bad=$WORK/bad-lower.img upper=$WORK/new-upper.img size number
    step "files that are no lower"
    refuse_it() { must_refuse "lower: $1" bad-lower.img "$bad" "$upper"; }
    refuse_it "missing"
    mkdir "$bad" && refuse_it "a directory" && rmdir "$bad"
    mkfifo "$bad" && refuse_it "a fifo" && rm "$bad"
    ln -s bad-lower.img "$bad" && refuse_it "a symlink to itself" && rm "$bad"
    ln -s /dev/null "$bad" && refuse_it "/dev/null" && rm "$bad"
    ln -s /dev/zero "$bad" && refuse_it "/dev/zero" && rm "$bad"
    must_refuse "lower: in no directory" lower.img "$WORK/no/such/lower.img" "$upper"

    for size in 0 1 1023 1024 1100 1536 2047 2048 3000 100000 1331200 2662399; do
        head -c "$size" "$plain" >"$bad"
        refuse_it "the first $size bytes"
    done
    for number in 1 2 3 4; do
        rm -f "$bad" && truncate -s 1M "$bad"
        "$CORRUPT" "$bad" "at[0].noise[1048576]=$number"
        refuse_it "noise of seed $number"
        # Noise that begins as an ext2 image does.
        "$CORRUPT" "$bad" superblock.s_magic=0xef53
        refuse_it "noise of seed $number with ext2's magic"
    done
    for number in 5 6 7 8 9 10; do
        cp "$plain" "$bad"
        "$CORRUPT" "$bad" "at[$((1024 + 0x3c))].noise[964]=$number"
        refuse_it "a superblock whose second part is noise of seed $number"
    done
    rm -f "$bad" && truncate -s 2M "$bad"
    refuse_it "zeros"
    printf 'XFSB' | dd of="$bad" conv=notrunc status=none
    refuse_it "the magic of xfs"
    rm -f "$bad" && truncate -s 2M "$bad"
    printf '_BHRfS_M' | dd of="$bad" bs=1 seek=65600 conv=notrunc status=none
    refuse_it "the magic of btrfs"
    printf 'QFI\373' | dd of="$bad" conv=notrunc status=none
    refuse_it "the magic of qcow2"

    foreign_fs ext3 && refuse_it "ext3"
    foreign_fs ext4 && refuse_it "ext4"
    foreign_fs ext4 -O 64bit && refuse_it "ext4 with 64bit"
    foreign_fs ext2 -O flex_bg && refuse_it "ext2 with flex_bg"
    foreign_fs ext2 -O extent && refuse_it "ext2 with extent"
    foreign_fs ext2 -O uninit_bg && refuse_it "ext2 with uninit_bg"
    foreign_fs ext2 -O quota && refuse_it "ext2 with quota"
    rm -f "$bad"
}

# foreign_fs TYPE OPTIONS... - bad-lower.img as mke2fs makes it.
foreign_fs() {
    rm -f "$WORK/bad-lower.img"
    truncate -s 8M "$WORK/bad-lower.img"
    mke2fs -q -F -b 1024 -t "$@" "$WORK/bad-lower.img" >"$WORK/said" 2>&1 || failed "mke2fs -t $*"
}

# ---- fields of the lower ---------------------------------------------------

group_superblock() {
    step "every superblock field at its extremes"
    every_field superblock superblock "$WORK/plain.img" damaged_lower
    step "superblock fields that other layouts use"
    local value
    for value in max max-1 sign sign-1 1000; do
        damaged_lower must "$WORK/metabg.img" "superblock.s_first_meta_bg=$value"
        damaged_lower must "$WORK/sparse2.img" "superblock.s_backup_bgs[0]=$value"
        damaged_lower must "$WORK/sparse2.img" "superblock.s_backup_bgs[1]=$value"
    done
    for value in 0 1 2 +1 -1; do
        damaged_lower may "$WORK/metabg.img" "superblock.s_first_meta_bg=$value"
        damaged_lower may "$WORK/sparse2.img" "superblock.s_backup_bgs[0]=$value"
        damaged_lower may "$WORK/sparse2.img" "superblock.s_backup_bgs[1]=$value"
    done
    for value in 0 1 3 6 max; do
        damaged_lower must "$WORK/sparse2.img" "superblock.s_log_block_size=$value"
    done
    damaged_lower must "$WORK/sparse2.img" superblock.s_first_data_block=1
    step "unclean states"
    for value in 0 2 3 4 6 7; do
        damaged_lower must "$WORK/plain.img" "superblock.s_state=$value"
    done
    step "numbers that agree with each other, but not with the image"
    damaged_lower must "$WORK/plain.img" superblock.s_blocks_count=0xffffffff \
        superblock.s_inodes_per_group=1 superblock.s_inodes_count=0x400000
    damaged_lower must "$WORK/plain.img" superblock.s_blocks_per_group=8 \
        superblock.s_clusters_per_group=8 superblock.s_inodes_per_group=8 \
        superblock.s_inodes_count=2600
    damaged_lower must "$WORK/plain.img" superblock.s_inodes_per_group=8192 \
        superblock.s_inodes_count=24576
    damaged_lower may "$WORK/plain.img" superblock.s_rev_level=0 superblock.s_inode_size=128
}

group_features() {
    local bit word allowed
    step "every feature bit"
    for word in compat incompat ro_compat; do
        allowed=$(expectation_of features "$word")
        for bit in $(seq 0 31); do
            if [[ " $allowed " = *" $bit "* ]]; then
                damaged_lower may "$WORK/plain.img" "superblock.s_feature_$word=^$((1 << bit))"
            else
                damaged_lower must "$WORK/plain.img" "superblock.s_feature_$word=^$((1 << bit))"
            fi
        done
    done
}

group_descriptors() {
    local group last_table value table
    step "every descriptor field at its extremes"
    for group in 0 2; do
        every_field "group[$group]" group "$WORK/plain.img" damaged_lower
    done
    step "tables that overlap or run out of the image"
    for table in bg_block_bitmap bg_inode_bitmap bg_inode_table; do
        value=$("$CORRUPT" "$WORK/plain.img" "group[0].$table")
        damaged_lower must "$WORK/plain.img" "group[1].$table=$value"
        damaged_lower must "$WORK/plain.img" "group[2].$table=2600"
        damaged_lower must "$WORK/metabg.img" "group[15].$table=4000"
        damaged_lower must "$WORK/metabg.img" "group[0].$table=max"
    done
    # The last block is a place for a bitmap, but a table runs out of the image.
    damaged_lower must "$WORK/plain.img" "group[2].bg_inode_table=2599"
    damaged_lower may "$WORK/plain.img" "group[2].bg_block_bitmap=2599"
    damaged_lower may "$WORK/plain.img" "group[2].bg_inode_bitmap=2599"
    last_table=$("$CORRUPT" "$WORK/plain.img" 'group[2].bg_inode_table')
    damaged_lower must "$WORK/plain.img" "group[2].bg_block_bitmap=$((last_table + 3))"
    damaged_lower must "$WORK/plain.img" "group[2].bg_inode_bitmap=$((last_table + 3))"
    step "descriptor blocks of noise"
    for value in 1 2 3; do
        damaged_lower must "$WORK/plain.img" "block[2].noise[96]=$value"
        damaged_lower must "$WORK/metabg.img" "block[2].noise[512]=$value"
    done
}

# ---- inodes of the lower ---------------------------------------------------

# clean_when_served - the merged image over damaged-lower.img.
clean_when_served() {
    run_server "nbdcopy \"\$uri\" $WORK/saved.img" "$WORK/damaged-lower.img" \
        "$WORK/new-upper.img"
    [ "$STATUS" = 0 ] || failed "the merged image could not be saved"
    check_clean "$WORK/saved.img"
    rm -f "$WORK/saved.img"
}

group_inodes() {
    local plain=$WORK/plain.img value field table double
    step "the root inode"
    table=$("$CORRUPT" "$plain" 'group[0].bg_inode_table')
    for value in 0 0x81a4 0xa1ff 0x21a4 max; do
        damaged_lower may "$plain" "inode[2].i_mode=$value"
    done
    for field in i_size i_size_high i_blocks i_flags i_links_count i_dtime i_file_acl; do
        for value in 0 1 max max-1 sign sign-1 +1; do
            damaged_lower may "$plain" "inode[2].$field=$value"
        done
    done
    for value in 0 1 max sign 2599 2600 "$table" 3; do
        for field in 0 1 11 12 13 14; do
            damaged_lower may "$plain" "inode[2].i_block[$field]=$value" 'inode[2].i_size=100000'
        done
    done
    # Indirect blocks that lead to themselves: 2500 is a free block.
    damaged_lower may "$plain" 'inode[2].i_block[14]=2500' 'block[2500].u32[0]=2500' \
        'block[2500].u32[1]=2500' 'inode[2].i_size=0x7fffffff'
    damaged_lower may "$plain" 'inode[2].i_block[13]=2500' 'block[2500].u32[0]=2500' \
        'inode[2].i_block[12]=2500' 'inode[2].i_size=0x00ffffff'

    step "the resize inode"
    double=$("$CORRUPT" "$plain" 'inode[7].i_block[13]')
    [ "$double" != 0 ] || fail "plain.img has no resize inode"
    for value in max max-1 sign 2600 0x10000; do
        damaged_lower must "$plain" "inode[7].i_block[13]=$value"
    done
    # The superblock, a bitmap, an inode table and the boot block are no place for it.
    for value in 0 1 2 "$((table - 1))" "$table"; do
        damaged_lower must "$plain" "inode[7].i_block[13]=$value"
    done
    # Its entries are the reserved descriptor blocks, whose places follow from the
    # geometry as well; the first is behind the descriptors. Whoever does not read
    # the entries is not misled by them.
    for value in max sign 2600 1 2 "$((table - 1))" "$table" "$double"; do
        damaged_lower may "$plain" "block[$double].u32[3]=$value"
        [ "$STATUS" != 0 ] || clean_when_served
    done
    for field in i_mode i_size i_size_high i_blocks i_links_count i_flags i_dtime i_file_acl; do
        for value in 0 1 max sign; do
            damaged_lower may "$plain" "inode[7].$field=$value"
        done
    done
    for field in 0 11 12 14; do
        damaged_lower may "$plain" "inode[7].i_block[$field]=max"
        damaged_lower may "$plain" "inode[7].i_block[$field]=$table"
    done
    damaged_lower may "$plain" "block[$double].noise[1024]=1"

    step "other reserved inodes and whole tables of noise"
    for value in 1 3 8 11; do
        damaged_lower may "$plain" "inode[$value].noise[128]=$value"
    done
    damaged_lower may "$plain" "block[$table].noise[1024]=4" 'inode[7].noise[256]=2'
    damaged_lower may "$plain" "block[$((table - 1))].noise[1024]=5"
    damaged_lower may "$plain" "block[$((table - 2))].noise[1024]=6"
}

# ---- the upper -------------------------------------------------------------

group_uppers() {
    local plain=$WORK/plain.img bad=$WORK/bad-upper.img number size
    step "files that are no upper"
    refuse_upper() { must_refuse "upper: $1" bad-upper.img "$plain" "$bad"; }
    mkdir "$bad" && refuse_upper "a directory" && rmdir "$bad"
    mkfifo "$bad" && refuse_upper "a fifo" && rm "$bad"
    ln -s bad-upper.img "$bad" && refuse_upper "a symlink to itself" && rm "$bad"
    ln -s /dev/null "$bad" && refuse_upper "/dev/null" && rm "$bad"
    must_refuse "upper: in no directory" upper.img "$plain" "$WORK/no/such/upper.img"
    must_refuse "upper: below a file" upper.img "$plain" "$plain/upper.img"
    for size in 0 1 1024 1500 2048 100000; do
        head -c "$size" "$plain" >"$bad"
        refuse_upper "the first $size bytes of an ext2 image"
    done
    for number in 1 2; do
        rm -f "$bad" && truncate -s 1M "$bad"
        "$CORRUPT" "$bad" "at[0].noise[1048576]=$number"
        refuse_upper "noise of seed $number"
        "$CORRUPT" "$bad" superblock.s_magic=0xef53
        refuse_upper "noise of seed $number with ext2's magic"
    done
    rm -f "$bad" && truncate -s 2M "$bad"
    refuse_upper "zeros"
    for number in ext2 ext3 ext4; do
        foreign_fs "$number" && mv "$WORK/bad-lower.img" "$bad"
        # Plain ext2 from elsewhere is imported; anything newer is not.
        if [ "$number" = ext2 ]; then
            must_serve "upper: a foreign $number" "$plain" "$bad"
        else
            refuse_upper "a foreign $number"
        fi
    done
    cp "$plain" "$bad" && refuse_upper "a copy of the lower"
    # The feature bit of a union mount, but no state area.
    cp "$plain" "$bad" && "$CORRUPT" "$bad" superblock.s_feature_incompat=^0x20
    must_serve "upper: an ext2 image with the whiteout feature and no state area" "$plain" "$bad"
    rm -f "$bad" "$bad".before-import*

    step "one file in two places"
    must_refuse "lower and upper are the same file" plain.img "$plain" "$plain"
    ln -s plain.img "$bad"
    must_refuse "the upper is a symlink to the lower" .img "$plain" "$bad"
    rm "$bad"
    ln "$plain" "$bad"
    must_refuse "the upper is a hard link of the lower" .img "$plain" "$bad"
    rm "$bad"
    in_use
}

# Another server has the images.
in_use() {
    local plain=$WORK/plain.img upper=$WORK/used-upper.img
    rm -f "$upper" "$WORK/other-upper.img" "$WORK/third-upper.img"
    serve first "$plain" "$upper" "size=$ACCEPT_SIZE"
    nbdinfo "$(socket_uri first)" >/dev/null
    [ -e "$upper" ] || fail "the first server created no upper"
    # The first server may write its upper when it likes, so its content may change;
    # what must not happen is that the second is served.
    refuse_busy() {
        run_server 'nbdinfo "$uri"' "${@:2}"
        no_crash "$1"
        [ "$STATUS" != 0 ] || failed "$1: was not refused"
        said_why used-upper.img || failed "$1: no message that names used-upper.img"
        refused_count=$((refused_count + 1))
    }
    refuse_busy "an upper in use" "$plain" "$upper"
    refuse_busy "an upper in use, with a size" "$plain" "$upper" "size=$ACCEPT_SIZE"
    refuse_busy "an upper in use as lower" "$upper" "$WORK/other-upper.img"
    [ ! -e "$WORK/other-upper.img" ] || fail "an upper was created over a refused lower"
    must_refuse "a lower in use as upper" plain.img "$WORK/metabg.img" "$plain"
    must_serve "a lower in use as lower" "$plain" "$WORK/third-upper.img" "size=$ACCEPT_SIZE"
    "$BUILD_DIR/tests/nbd-read-all" "$(socket_uri first)"
    stop_server first
    must_refuse "an upper as lower" used-upper.img "$upper" "$WORK/other-upper.img"
    must_serve "the upper when it is free again" "$plain" "$upper"
    must_refuse "an upper over another lower" used-upper.img "$WORK/metabg.img" "$upper"
}

# ---- the state area of an upper --------------------------------------------

# damaged_upper EXPECTATION SOURCE CHANGE... - as damaged_lower; the checksum of what
# is changed is made right again, so that the field itself is looked at.
damaged_upper() {
    local expectation=$1 source=$2 status=0 place=${3%%.*}
    shift 2
    cp --sparse=always "$source" "$WORK/damaged-upper.img"
    "$CORRUPT" "$WORK/damaged-upper.img" "$@" || status=$?
    [ "$status" != 3 ] || return 0
    [ "$status" = 0 ] || fail "could not damage: $*"
    if [[ "$place" = header || "$place" = tables ]] && [[ "$1" != *.checksum=* ]]; then
        # A table of a wild length has no checksum.
        "$CORRUPT" "$WORK/damaged-upper.img" "$place.checksum=checksum" 2>/dev/null || true
    fi
    set -- "upper: $*" damaged-upper.img "$WORK/plain.img" "$WORK/damaged-upper.img"
    if [ "$expectation" = must ]; then must_refuse "$@"; else may_accept "$@"; fi
}

group_state() {
    local upper=$WORK/good-upper.img state_offset size cut
    rm -f "$upper"
    must_serve "a new upper" "$WORK/plain.img" "$upper" "size=$ACCEPT_SIZE"
    must_serve "the same upper again" "$WORK/plain.img" "$upper"
    state_offset=$("$CORRUPT" "$upper" mark.state_offset)
    step "the mark"
    every_field mark mark "$upper" damaged_upper
    step "the header of the state area"
    every_field header header "$upper" damaged_upper
    step "the tables of the layer"
    every_field tables tables "$upper" damaged_upper
    every_field stamp stamp "$upper" damaged_upper
    step "both headers, and noise"
    for cut in 1 2 3; do
        damaged_upper must "$upper" "state[0].noise[512]=$cut" "state[4096].noise[512]=$cut"
        damaged_upper must "$upper" "tables.noise[64]=$cut"
        damaged_upper may "$upper" "stamp.noise[64]=$cut"
    done
    step "an upper that was cut"
    size=$(stat -c %s "$upper")
    for cut in "$state_offset" $((state_offset + 1)) $((state_offset + 512)) \
        $((state_offset + 4096)) $((state_offset + 12288)) $((state_offset - 1)) 1024 1500 2048 \
        $((size - 1)) $((size / 2)); do
        [ "$cut" -lt "$size" ] || continue
        cp --sparse=always "$upper" "$WORK/damaged-upper.img"
        truncate -s "$cut" "$WORK/damaged-upper.img"
        must_refuse "an upper cut to $cut of $size bytes" damaged-upper.img \
            "$WORK/plain.img" "$WORK/damaged-upper.img"
    done
    step "the layer's own ext2"
    every_field superblock upper_superblock "$upper" damaged_upper
    every_field 'group[0]' upper_group "$upper" damaged_upper
    for cut in 1 2; do
        damaged_upper may "$upper" "inode[$cut].noise[128]=$cut"
        damaged_upper may "$upper" "block[3].noise[1024]=$cut"
    done
}

make_work
make_sources
if [ $# = 0 ]; then
    set -- parameters files superblock features descriptors inodes uppers state
fi
for group; do
    declare -F "group_$group" >/dev/null || fail "no such group of cases: $group"
    "group_$group"
done
must_serve "the undamaged lower at the end" "$WORK/plain.img" "$WORK/last-upper.img" \
    "size=$ACCEPT_SIZE"
step "$refused_count refused, $served_count served and read, $failure_count failures"
[ "$failure_count" = 0 ] || fail "$failure_count cases went wrong"
