#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# random-operations.sh [SEED:KIND ...]
#
# The same long random series of file system operations on the merged image and on
# a plain copy of the lower grown to the same size, both mounted by the kernel.
# Whatever the merged image answers or holds that the plain copy does not is a
# defect: journals and tree dumps are compared with cmp.
#
# It goes in cycles. Each has three parts of the series with two restarts between
# them, one of a server that is stopped with its session open and one of a killed
# server: the disk must be the same to the byte. Then a checkpoint, made in one of
# three ways: now the tree must still be the plain copy's, with the inode numbers
# and times that it had; merged image and layer are clean to stock e2fsck;
# `unionfs-img check` passes; and tests/lib/layer_names.py, which reads the layer
# by names alone, must find the same tree.
#
# A KIND is BLOCK_SIZE/INODE_SIZE/MKE2FS_FEATURES, for example 1024/128/^dir_index.
#
# Environment, besides what tests/lib/common.sh reads:
#   SEEDS        seeds tried with every kind, if there are no arguments (default 1)
#   KINDS        the kinds (default: seven of block size, inode size, dir_index or filetype)
#   CYCLES       cycles of a run (default 3)
#   OPERATIONS   operations of a cycle (default 480)
#   MERGED_MIB   size of the merged image (default 640)
#   FS_EXERCISE, FS_TREE, UNIONFS_IMG
#                the programs (default $BUILD_DIR/tests/fs/..., $BUILD_DIR/tools/...)
#   LAYER_INODES the least number of inodes a checkpointed layer must hold (default 30;
#                0 for a plugin that only keeps its session)
#   STAND_IN     if not empty, serve a second plain copy with UNIONFS_PLUGIN (say,
#                "file"): tests this test where there is no union to test
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

SEEDS=${SEEDS:-1}
KINDS=${KINDS:-1024/128/dir_index 1024/256/^dir_index 2048/256/dir_index \
    2048/128/^dir_index 4096/128/^dir_index 4096/256/dir_index 4096/256/^filetype}
CYCLES=${CYCLES:-3}
OPERATIONS=${OPERATIONS:-480}
MERGED_MIB=${MERGED_MIB:-640}
FS_EXERCISE=${FS_EXERCISE:-$BUILD_DIR/tests/fs/fs-exercise}
FS_TREE=${FS_TREE:-$BUILD_DIR/tests/fs/fs-tree}
UNIONFS_IMG=${UNIONFS_IMG:-$BUILD_DIR/tools/unionfs-img}
STAND_IN=${STAND_IN:-}
LOWER_MIB=64
LAYER_INODES=${LAYER_INODES:-30}
SPACE_LIMIT_MIB=$((MERGED_MIB / 2))
layer_names=$(realpath -- "$(dirname "$0")/../lib/layer_names.py")
total_operations=0
total_calls=0
total_cycles=0

require mke2fs e2fsck resize2fs dumpe2fs nbdcopy nbdinfo nbdkit setfattr sha256sum cmp python3
require_kernel_mount
make_work
lower=$WORK/lower.img upper=$WORK/upper.img plain=$WORK/plain.img
merged_place=$WORK/merged plain_place=$WORK/plain

# Always the same tree: a second run must be able to take the place of a copy.
populate() {
    local top=$1 number
    mkdir -p "$top"/usr/{bin,lib/deep/er/and/deeper,share/doc} "$top"/etc/conf.d "$top"/{dev,many,mixed}
    for number in 1 2 3; do
        seq "$number" 3 $((number * 900000)) >"$top/usr/lib/library.$number"
    done
    seq 1 40000 >"$top/usr/bin/tool"
    for number in one two three four; do
        echo "$number" >"$top/etc/conf.d/$number"
        ln "$top/usr/bin/tool" "$top/usr/bin/tool-$number"
    done
    ln "$top/etc/conf.d/one" "$top/usr/lib/deep/er/one"
    ln -s ../bin/tool "$top/usr/lib/short"
    ln -s "$(printf 'a-long-target/%.0s' 1 2 3 4 5 6 7 8)end" "$top/usr/lib/deep/long"
    mknod "$top/dev/null" c 1 3
    mknod "$top/dev/wide" b 300 70000
    mkfifo "$top/dev/queue"
    truncate -s 70M "$top/usr/share/sparse"
    printf 'far away' | dd of="$top/usr/share/sparse" bs=1 seek=66M conv=notrunc status=none
    setfattr -n user.note -v "of the lower" "$top/etc/conf.d/two" "$top/usr/lib"
    setfattr -n trusted.big -v "$(printf 'x%.0s' {1..800})" "$top/etc/conf.d/three" "$top/etc/conf.d/four"
    chown 1000:70000 "$top/usr/share" "$top/etc/conf.d/four"
    # The names of one directory, in an order that is not that of the names.
    for number in {1..2000}; do
        printf '%s/name-%04d\0' "$top/many" $((number * 787 % 2003))
    done | xargs -0 touch
    "$FS_EXERCISE" --seed 77 --operations 500 --space-limit-mib 24 --inode-limit 3500 \
        "$top/mixed" >"$WORK/populate.journal" 2>&1
}

# Runs mke2fs and fills the image.
make_populated() {
    local image=$1 size_mib=$2 block_size inode_size features
    IFS=/ read -r block_size inode_size features <<<"$3"
    rm -f "$image"
    truncate -s "${size_mib}M" "$image"
    mke2fs -q -F -t ext2 -b "$block_size" -I "$inode_size" -O "$features" \
        -i 8192 "$image" >/dev/null 2>&1
    mkdir -p "$WORK/build"
    mount -t ext2 -o loop,noatime "$image" "$WORK/build"
    populate "$WORK/build"
    umount "$WORK/build"
    check_image "$image"
}

# Sets grown to "yes" if the copy has the very inodes of the lower.
make_plain() {
    cp --sparse=always "$lower" "$plain"
    truncate -s "${MERGED_MIB}M" "$plain"
    # resize2fs itself leaves some layouts (sparse_super2) with a wrong bitmap.
    if resize2fs -f "$plain" >"$WORK/resize.txt" 2>&1 &&
        e2fsck -fn "$plain" >>"$WORK/resize.txt" 2>&1; then
        grown=yes
    else
        grown=no
        make_populated "$plain" "$MERGED_MIB" "$1"
    fi
}

# serve_merged auto|never
serve_merged() {
    if [ -n "$STAND_IN" ]; then
        [ -e "$upper" ] || cp --sparse=always "$plain" "$upper"
        serve merged "$upper"
    else
        serve merged "$lower" "$upper" "size=${MERGED_MIB}M" "checkpoint=$1"
    fi
}

mount_both() {
    mount_merged merged "$merged_place" noatime
    mkdir -p "$plain_place"
    mount -t ext2 -o loop,noatime "$plain" "$plain_place"
}

unmount_both() {
    umount "$plain_place"
    unmount_merged merged
}

fail_here() {
    fail "$where: $1 (again: CYCLES=$CYCLES OPERATIONS=$OPERATIONS MERGED_MIB=$MERGED_MIB $0 '$one')"
}

same() {
    if ! cmp "$1" "$2"; then
        diff "$1" "$2" | head -n 30 >&2 || true
        fail_here "$3"
    fi
}

# exercise_both SEED SKIP OPERATIONS
exercise_both() {
    local kind status=0 pids=() counts
    for kind in merged plain; do
        "$FS_EXERCISE" --seed "$1" --skip "$2" --operations "$3" \
            --space-limit-mib "$SPACE_LIMIT_MIB" "$WORK/$kind" \
            >"$WORK/$kind.journal" 2>"$WORK/$kind.summary" &
        pids+=($!)
    done
    wait "${pids[0]}" || status=$?
    wait "${pids[1]}" || fail_here "the plain copy: $(cat "$WORK/plain.summary")"
    [ "$status" = 0 ] || cat "$WORK/merged.summary" >&2
    same "$WORK/plain.journal" "$WORK/merged.journal" "the journals of seed $1 differ"
    [ "$status" = 0 ] || fail_here "the exercise of the merged image failed"
    counts=$(sed -n 's/.* \([0-9]*\) operations, \([0-9]*\) calls.*/\1 \2/p' "$WORK/merged.summary")
    [ -n "$counts" ] || fail_here "fs-exercise reported no count"
    total_operations=$((total_operations + ${counts% *}))
    total_calls=$((total_calls + ${counts#* }))
}

# The merged tree is the plain tree; keeps the dump with inode numbers and times.
compare_both() {
    "$FS_TREE" "$merged_place" >"$WORK/merged.tree"
    "$FS_TREE" "$plain_place" >"$WORK/plain.tree"
    same "$WORK/plain.tree" "$WORK/merged.tree" "the trees differ $1"
    "$FS_TREE" --times --inodes "$merged_place" >"$WORK/merged.full"
}

# What was kept by compare_both is still so, to the inode number and the nanosecond.
compare_kept() {
    mv "$WORK/merged.full" "$WORK/kept.full"
    compare_both "$1"
    same "$WORK/kept.full" "$WORK/merged.full" "inodes or times are not the same $1"
}

# Without the filetype feature the kernel's driver gives reused blocks to new
# directories as they are: old type bytes stay, on any disk, and e2fsck says so.
check_image() {
    local status=0 rest
    if [ "${one/^filetype/}" = "$one" ]; then
        check_clean "$1"
        return 0
    fi
    e2fsck -fn "$1" >"$WORK/fsck.txt" 2>&1 || status=$?
    rest=$(grep -Ev "^Entry '.*has filetype set\.\$|^Clear\? no\$|^Pass [1-5]: |^e2fsck |^\$|WARNING: Filesystem still|: [0-9]+/[0-9]+ files" \
        "$WORK/fsck.txt" || true)
    if [ $((status & ~4)) != 0 ] || [ -n "$rest" ]; then
        fail_here "e2fsck -fn $1: status $status: $rest"
    fi
}

check_merged_clean() {
    save_image merged "$WORK/saved.img"
    check_image "$WORK/saved.img"
    rm -f "$WORK/saved.img"
}

# The upper as stock tools see it once they do not know of the format's feature bit.
check_layer() {
    [ -z "$STAND_IN" ] || return 0
    local copy=$WORK/layer.img used
    check_layer_clean "$upper" "$copy"
    # A layer without files would mean that no checkpoint ever happened.
    used=$(used_inodes "$copy")
    [ "$used" -ge "$LAYER_INODES" ] || fail_here "the layer has only $used inodes: no checkpoint"
    rm -f "$copy"
}

# A new server, while there is a session: the disk has the same bytes.
# reopen stop_server|kill_server
reopen() {
    save_image merged "$WORK/saved.img"
    "$1" merged
    check_image "$WORK/saved.img"
    serve_merged never
    nbdcopy "$(socket_uri merged)" - | cmp - "$WORK/saved.img" ||
        fail_here "another image after $1"
    rm -f "$WORK/saved.img"
}

# One part of the series: part SEED SKIP OPERATIONS
part() {
    mount_both
    [ ! -e "$WORK/merged.full" ] || compare_kept "after a restart"
    exercise_both "$@"
    compare_both "after operation $(($2 + $3))"
    unmount_both
}

# A server that makes checkpoints, and a client that only looks in.
visit() {
    serve_merged auto
    nbdinfo --size "$(socket_uri merged)" >"$WORK/size.txt"
}

# Ends the server and its session, each cycle in another way.
end_session() {
    stop_server merged
    case $(($1 % 3)) in
    1) # at the server's end
        visit
        stop_server merged
        ;;
    2) # by the tool
        [ -n "$STAND_IN" ] || "$UNIONFS_IMG" checkpoint -b "$lower" "$upper" >"$WORK/checkpoint.txt"
        ;;
    0) # a server killed before, in or after its checkpoint, and what is left of that
        visit
        sleep "1.$((RANDOM % 10))"
        kill_server merged
        visit
        stop_server merged
        ;;
    esac
}

# What the layer is by itself, and the disk that it makes.
check_checkpoint() {
    check_layer
    [ -n "$STAND_IN" ] || "$UNIONFS_IMG" check -b "$lower" "$upper" >"$WORK/check.txt" ||
        fail_here "unionfs-img check: $(head -n 5 "$WORK/check.txt")"
    serve_merged never
    save_image merged "$WORK/saved.img"
    check_image "$WORK/saved.img"
    if [ -z "$STAND_IN" ]; then
        python3 -B "$layer_names" "$1" "$lower" "$upper" "$WORK/saved.img" >"$WORK/names.txt" ||
            fail_here "the layer, read by names, is not the merged image ($1)"
        step "$where: $(cat "$WORK/names.txt")"
    fi
    rm -f "$WORK/saved.img"
}

# cycle SEED NUMBER
cycle() {
    local seed=$1 number=$2 half=$((OPERATIONS / 2)) quarter=$((OPERATIONS / 4))
    where="seed $seed, kind ${one#*:}, cycle $number"
    # Every cycle has a series of its own.
    seed=$((seed + 1000 * number))
    part "$seed" 0 "$half"
    reopen stop_server
    part "$seed" "$half" "$quarter"
    reopen kill_server
    part "$seed" $((half + quarter)) "$quarter"
    end_session "$number"
    check_checkpoint compare
    total_cycles=$((total_cycles + 1))
}

run() {
    local seed=${1%%:*} kind=${1#*:} lower_hash number began=$SECONDS
    where="seed $seed, kind $kind"
    step "$where"
    RANDOM=$seed
    rm -f "$upper" "$WORK/merged.full"
    make_populated "$lower" "$LOWER_MIB" "$kind"
    lower_hash=$(sha256sum <"$lower")
    make_plain "$kind"

    serve_merged never
    check_merged_clean
    mount_both
    compare_both "before any change"
    if [ "$grown" = yes ]; then
        # The lower's inodes as they are, seen through the union.
        "$FS_TREE" --times --inodes "$plain_place" >"$WORK/plain.full"
        same "$WORK/plain.full" "$WORK/merged.full" "the untouched trees differ"
    fi
    unmount_both

    for ((number = 1; number <= CYCLES; number++)); do cycle "$seed" "$number"; done

    mount_both
    compare_kept "after the last checkpoint"
    unmount_both
    stop_server merged
    [ -n "$STAND_IN" ] || "$UNIONFS_IMG" checkpoint -b "$lower" "$upper" >"$WORK/checkpoint.txt"
    check_checkpoint self-test
    stop_server merged
    check_image "$plain"
    [ "$lower_hash" = "$(sha256sum <"$lower")" ] || fail_here "the lower was changed"
    step "$where: passed in $((SECONDS - began)) s"
}

runs=("$@")
if [ $# = 0 ]; then
    for seed in $SEEDS; do
        for kind in $KINDS; do runs+=("$seed:$kind"); done
    done
fi
for one in "${runs[@]}"; do run "$one"; done
step "$total_operations operations ($total_calls changing calls) applied to the merged image in ${#runs[@]} runs, $total_cycles checkpoint cycles"
