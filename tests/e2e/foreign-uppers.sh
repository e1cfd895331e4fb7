#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# foreign-uppers.sh [PART...]: uppers that were not made here.
#
#   trees     random trees with whiteouts, fallthrus and opaque directories, in
#             many geometries, against a model that merges by names
#   empty     uppers with nothing in them: sizes
#   large     directories of thousands of names, over indexed ones
#   kill      kill -9 in the middle of an import
#   refused   what must fail, and leave the upper as it is
#   hostile   uppers with wrong bytes: refused, or served as a clean image
#
# SEED: the first seed of the random trees and of the wrong bytes (default 1).
# ROUNDS: how many uppers with wrong bytes (default 60).
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

library=$(realpath -- "$(dirname "$0")/../lib")
marker=$BUILD_DIR/tests/classic-marks
tree=$BUILD_DIR/tests/fs/fs-tree
trees=$library/union_trees.py
SEED=${SEED:-1}

require mke2fs e2fsck debugfs python3 nbdcopy nbdinfo sha256sum
require_kernel_mount
make_work
cd "$WORK"

# make_image FILE SIZE DIRECTORY MKE2FS-ARGS...
make_image() {
    local file=$1 size=$2 directory=$3
    shift 3
    rm -f "$file"
    truncate -s "$size" "$file"
    mke2fs -q -t ext2 -d "$directory" "$@" "$file"
    check_clean "$file"
}

# dump DIR - the tree without what the ways to make a tree differ in: change
# times, flags, and link counts of directories.
dump() {
    "$tree" --times "$1" |
        sed -e 's/ ctime=[^ ]*//' -e 's/ flags=[^ ]*//' -e '/^[^ ]* d/s/ nlink=[^ ]*//'
}

# mount_image FILE DIR - read-only, where it can write nothing.
mount_image() {
    mkdir -p "$2"
    mount -t ext2 -o ro,loop "$1" "$2"
}

identity_of() { stat -c '%i %s %Y %Z' "$1" && sha256sum <"$1"; }

# set_feature FILE - INCOMPAT_WHITEOUT, by hand.
set_feature() {
    echo feature >"$WORK/feature-mark"
    "$marker" "$1" "$WORK/feature-mark"
}

# compare NAME EXPECTED OPTIONS - what a served disk shows when it is mounted.
compare() {
    mount_merged "$1" "$WORK/merged" "$3"
    dump "$WORK/merged" >"$WORK/seen"
    unmount_merged "$1"
    same_files "$2" "$WORK/seen" "$1: the union ($3) is not what the model says"
}

# check_kept UPPER SUM - what an import has replaced is there, and goes away now.
check_kept() {
    [ "$2" = "$(sha256sum <"$1.before-import")" ] || fail "$1: what was there was not kept"
    rm "$1".before-import*
}

# expect LOWER UPPER MARKS FILE - the dump of the union, by the model; UPPER is
# without the feature bit.
expect() {
    mount_image "$1" below
    mount_image "$2" above
    rm -f result.img
    truncate -s 512M result.img
    mke2fs -q -t ext2 -b 4096 -I 256 -N 60000 result.img
    mkdir -p result
    mount -t ext2 -o loop result.img result
    mkdir result/union
    python3 "$trees" merge below above "$3" result/union
    dump result/union >"$4"
    umount_images result below above
}

# run_case NAME LOWER UPPER MARKS SERVE-ARGS...
run_case() {
    local name=$1 lower=$2 upper=$3 marks=$4 before lower_before sum
    shift 4
    "$marker" "$upper" "$marks"
    # Type 8 and 9 without inode: nothing that stock tools mind.
    check_clean "$upper"
    expect "$lower" "$upper" "$marks" expected
    set_feature "$upper"
    before=$(identity_of "$upper")
    sum=$(sha256sum <"$upper")
    lower_before=$(identity_of "$lower")

    NBDKIT_FLAGS=(-r)
    serve "$name-readonly" "$lower" "$upper" "$@"
    compare "$name-readonly" expected ro
    save_image "$name-readonly" merged.img
    stop_server "$name-readonly"
    check_clean merged.img
    [ "$before" = "$(identity_of "$upper")" ] || fail "$name: -r has touched the upper"

    NBDKIT_FLAGS=()
    serve "$name" "$lower" "$upper" "$@"
    [ "$before" = "$(identity_of "$upper")" ] || fail "$name: starting has touched the upper"
    compare "$name" expected ro
    save_image "$name" again.img
    stop_server "$name"
    check_clean again.img
    check_layer_clean "$upper" cleared.img
    check_kept "$upper" "$sum"
    cmp merged.img again.img || fail "$name: -r shows another image"

    # From now on it is an upper like any other.
    serve "$name-ours" "$lower" "$upper"
    mount_merged "$name-ours" merged
    echo new >merged/a-new-name
    unmount_merged "$name-ours"
    stop_server "$name-ours"
    NBDKIT_FLAGS=(-r)
    serve "$name-last" "$lower" "$upper"
    mount_merged "$name-last" merged ro
    [ "$(cat merged/a-new-name)" = new ] || fail "$name: the new name is lost"
    dump merged >seen
    unmount_merged "$name-last"
    stop_server "$name-last"
    NBDKIT_FLAGS=()
    diff <(grep -v '^\. ' expected) <(grep -ve '^\. ' -e '^a-new-name ' seen) ||
        fail "$name: the union changed with the first session"
    check_layer_clean "$upper" cleared.img
    [ "$lower_before" = "$(identity_of "$lower")" ] || fail "$name: the lower was touched"
    [ -z "$(find . -maxdepth 1 -name ".$upper*")" ] || fail "$name: a hidden file was left"
}

part_trees() {
    local number=0 lower_args upper_args
    while read -r lower_args upper_args; do
        step "seed $((SEED + number)): lower $lower_args, upper $upper_args"
        rm -rf lower-tree upper-tree
        mkdir lower-tree upper-tree
        python3 "$trees" generate $((SEED + number)) lower-tree upper-tree marks
        # shellcheck disable=SC2086 # arguments, joined by colons
        make_image lower.img 160M lower-tree ${lower_args//:/ }
        # shellcheck disable=SC2086
        make_image upper.img 160M upper-tree ${upper_args//:/ }
        run_case "tree$number" lower.img upper.img marks
        number=$((number + 1))
    done <<'END'
-b:1024:-I:128 -b:4096:-I:256
-b:4096:-I:256 -b:1024:-I:128
-b:2048:-I:256 -b:2048:-I:256
-b:1024:-I:256 -b:1024:-I:256:-N:20000
-b:4096:-I:128:-O:^resize_inode -b:2048:-I:128
-b:2048:-I:128:-O:^dir_index -b:4096:-I:128:-N:1500
-b:1024:-I:128:-O:^ext_attr,^large_file -b:4096:-I:256:-O:^dir_index
-b:4096:-I:256:-O:^filetype -b:1024:-I:256
END
}

part_empty() {
    local size blocks merged
    mkdir lower-tree empty-tree
    echo below >lower-tree/file
    make_image lower.img 40M lower-tree -b 1024
    for blocks in 1024 4096; do
        for size in 64M 100M; do
            step "an empty upper of $size with blocks of $blocks"
            rm -f upper.img
            truncate -s "$size" upper.img
            mke2fs -q -t ext2 -b "$blocks" upper.img
            serve "empty$blocks-$size" lower.img upper.img
            merged=$(nbdinfo --size "$(socket_uri "empty$blocks-$size")")
            # The last group may be too small for what belongs in a group.
            if [ "$merged" -gt $(((40 + ${size%M}) << 20)) ] ||
                [ "$merged" -le $(((40 + ${size%M} - 8) << 20)) ]; then
                fail "the merged size is $merged"
            fi
            mount_merged "empty$blocks-$size" merged
            [ "$(cat merged/file)" = below ] || fail "the lower does not show"
            echo above >merged/new
            unmount_merged "empty$blocks-$size"
            save_image "empty$blocks-$size" merged.img
            stop_server "empty$blocks-$size"
            check_clean merged.img
            check_layer_clean upper.img cleared.img
        done
    done
    step "an empty upper with size="
    rm -f upper.img
    truncate -s 64M upper.img
    mke2fs -q -t ext2 upper.img
    serve sized lower.img upper.img size=200M
    merged=$(nbdinfo --size "$(socket_uri sized)")
    [ "$merged" = $((200 << 20)) ] || fail "the merged size is $merged, not 200M"
    stop_server sized
    step "nothing but a whiteout is not empty"
    rm -f upper.img
    truncate -s 64M upper.img
    mke2fs -q -t ext2 upper.img
    echo "whiteout file" >marks
    "$marker" upper.img marks
    set_feature upper.img
    serve whiteout lower.img upper.img
    mount_merged whiteout merged ro
    [ ! -e merged/file ] || fail "the whiteout does not count"
    unmount_merged whiteout
    stop_server whiteout
}

part_large() {
    local number mark
    mkdir -p lower-tree/many lower-tree/gone/deep upper-tree/many upper-tree/new
    for number in $(seq 1700); do
        : >"lower-tree/many/a-name-of-the-lower-$number"
        : >"lower-tree/gone/deep/$number"
        : >"upper-tree/many/a-name-of-the-upper-$number"
        : >"upper-tree/new/another-name-of-the-upper-$number"
    done
    for number in $(seq 1 2 300); do
        echo changed >"upper-tree/many/a-name-of-the-lower-$number"
    done
    {
        for number in $(seq 2 2 300); do
            echo "whiteout many/a-name-of-the-lower-$number"
        done
        echo "whiteout gone"
    } >marks
    for mark in "-b 1024 -I 128" "-b 4096 -I 256"; do
        step "large directories: $mark"
        # shellcheck disable=SC2086 # arguments
        make_image lower.img 200M lower-tree $mark -N 9000
        # Stock e2fsck makes the indexes.
        e2fsck -fyD lower.img >/dev/null 2>&1 || true
        check_clean lower.img
        make_image upper.img 200M upper-tree -b 2048 -N 9000
        run_case "large${mark:3:4}" lower.img upper.img marks
        debugfs -R "stat many" merged.img 2>/dev/null | grep -q 'Flags: 0x1000' ||
            fail "the large directory has lost its index"
        debugfs -R "stat new" merged.img 2>/dev/null | grep -q 'Flags: 0x1000' ||
            fail "the new large directory has no index"
    done
}

part_kill() {
    local round=0 killed=0 before delay client status
    mkdir -p lower-tree upper-tree/files
    echo below >lower-tree/file
    for round in $(seq 3000); do
        echo "$round" >"upper-tree/files/$round"
    done
    head -c 150M /dev/urandom >upper-tree/data
    make_image lower.img 40M lower-tree -b 1024
    make_image original.img 300M upper-tree -b 4096
    : >marks
    expect lower.img original.img marks expected
    set_feature original.img
    cp --sparse=always original.img upper.img
    before=$(sha256sum <upper.img)
    round=0
    while [ "$killed" -lt 6 ] && [ "$round" -lt 40 ]; do
        round=$((round + 1))
        serve "kill$round" lower.img upper.img
        nbdinfo --size "$(socket_uri "kill$round")" >size.log 2>&1 &
        client=$!
        delay=$((round * 73 % 400))
        sleep "0.$(printf %03d "$delay")"
        kill_server "kill$round"
        status=0
        wait "$client" || status=$?
        if [ "$before" = "$(sha256sum <upper.img)" ]; then
            [ "$status" = 0 ] || killed=$((killed + 1))
        else
            check_layer_clean upper.img cleared.img
            [ "$status" != 0 ] || step "round $round: imported before the kill"
            check_kept upper.img "$before"
            cp --sparse=always original.img upper.img
        fi
        [ "$(find . -maxdepth 1 -name '.upper.img*' | wc -l)" -le 1 ] ||
            fail "hidden files are left"
    done
    [ "$killed" -ge 6 ] || fail "only $killed of $round kills came during an import"
    step "$killed of $round kills came during an import"
    serve afterwards lower.img upper.img
    compare afterwards expected ro
    stop_server afterwards
    check_layer_clean upper.img cleared.img
    check_kept upper.img "$before"
}

# refuse PATTERN ARGS... - a server that cannot start, and says why.
refuse() {
    local pattern=$1 status=0
    shift
    (
        use_sanitizer
        exec timeout 60 nbdkit "${NBDKIT_FLAGS[@]}" -f -U - "$UNIONFS_PLUGIN" "$@" --run true
    ) >refuse.log 2>&1 || status=$?
    [ "$status" = 1 ] || fail "$*: nbdkit ended with status $status"
    grep -qe "$pattern" refuse.log || {
        cat refuse.log >&2
        fail "$*: the message does not say: $pattern"
    }
}

# refuse_client PATTERN NAME ARGS... - the server starts, its client is refused.
refuse_client() {
    local pattern=$1 name=$2
    shift 2
    serve "$name" "$@"
    if nbdinfo --size "$(socket_uri "$name")" >client.log 2>&1; then
        fail "$name: the client was served"
    fi
    stop_server "$name"
    grep -qe "$pattern" "$WORK/$name.log" || fail "$name: the log does not say: $pattern"
}

part_refused() {
    local before device number
    mkdir -p lower-tree upper-tree
    echo below >lower-tree/file
    head -c 30M /dev/urandom >upper-tree/data
    make_image lower.img 20M lower-tree -b 1024
    make_image upper.img 60M upper-tree -b 4096
    cp --sparse=always upper.img plain.img
    set_feature upper.img
    before=$(identity_of upper.img)

    step "a base image in the place of the upper"
    refuse 'plain.img: .*without the whiteout feature.*unionfs-img import -b [^ ]*/lower.img upper:[^ ]*/plain.img NEW' lower.img plain.img
    NBDKIT_FLAGS=(-r)
    refuse 'plain.img: .*without the whiteout feature' lower.img plain.img
    NBDKIT_FLAGS=()
    cp lower.img changed.img
    debugfs -w -R 'symlink /other file' changed.img 2>/dev/null
    refuse 'a changed copy of [^ ]*/lower.img, .*import -b [^ ]*/lower.img [^: ]*/changed.img NEW' lower.img changed.img

    step "no name left under which it could be kept"
    touch upper.img.before-import
    for number in $(seq 2 99); do touch "upper.img.before-import.$number"; done
    refuse 'upper.img.before-import and the names up to .* are taken' lower.img upper.img
    rm upper.img.before-import*

    step "mounted by itself"
    touch mounted.img
    mount --bind upper.img mounted.img
    refuse 'mounted.img: is mounted there by itself' lower.img mounted.img
    umount mounted.img

    step "more than the size asked for holds"
    refuse_client 'no free block' full lower.img upper.img size=24M
    [ "$before" = "$(identity_of upper.img)" ] || fail "a failed import has touched the upper"
    [ -z "$(find . -maxdepth 1 -name '.upper.img*')" ] || fail "a hidden file was left"

    step "in use by another server"
    NBDKIT_FLAGS=(-r)
    serve first lower.img upper.img
    nbdinfo --size "$(socket_uri first)" >/dev/null
    NBDKIT_FLAGS=()
    refuse 'in use' lower.img upper.img
    stop_server first

    step "a block device"
    device=$(losetup --find --show "$PWD/upper.img")
    refuse 'not a regular file' lower.img "$device"
    losetup -d "$device"

    step "not cleanly unmounted, an ext3, a name twice"
    cp --sparse=always plain.img other.img
    debugfs -w -R 'set_super_value state 0' other.img 2>/dev/null
    refuse 'not cleanly unmounted' lower.img other.img
    rm -f other.img
    truncate -s 60M other.img
    mke2fs -q -t ext3 other.img
    refuse 'ext3' lower.img other.img
    cp --sparse=always plain.img other.img
    debugfs -w -R 'link data twice' other.img 2>/dev/null
    set_feature other.img
    refuse_client 'more names than' twice lower.img other.img

    step "one of ours that has lost its mark"
    serve ours lower.img ours.img
    mount_merged ours merged
    echo precious >merged/own
    unmount_merged ours
    stop_server ours
    dd if=/dev/zero of=ours.img bs=1 seek=$((1024 + 0x10c)) count=24 conv=notrunc status=none
    refuse 'lost the mark' lower.img ours.img
    [ "$before" = "$(identity_of upper.img)" ] || fail "the upper was touched"

    step "flags, change times and sparse files come with the files"
    mkdir attributes
    truncate -s 3G attributes/far
    echo end >>attributes/far
    echo fixed >attributes/fixed
    make_image upper.img 60M attributes -b 4096 -I 256
    debugfs -w -R 'set_inode_field fixed flags 0x50' upper.img 2>/dev/null
    debugfs -w -R 'set_inode_field fixed ctime 20010203040506' upper.img 2>/dev/null
    set_feature upper.img
    serve attributes lower.img upper.img
    save_image attributes merged.img
    stop_server attributes
    check_clean merged.img
    debugfs -R 'stat fixed' merged.img 2>/dev/null >stat.log
    grep -q 'Flags: 0x50' stat.log || fail "the flags are lost"
    grep -q 'ctime: .*Sat Feb  3 04:05:06 2001' stat.log || fail "the change time is lost"
    debugfs -R 'stat far' merged.img 2>/dev/null >stat.log
    grep -q 'Size: 3221225476' stat.log || fail "the far file has another size"
    [ "$(sed -n 's/.*Blockcount: //p' stat.log)" -lt 100 ] || fail "the holes are gone"
}

# spoil FILE SEED - changes some bytes of sectors that are in use.
spoil() {
    python3 - "$1" "$2" <<'END'
import random, sys
chance = random.Random(int(sys.argv[2]))
with open(sys.argv[1], "r+b") as file:
    data = file.read()
    used = [i for i in range(0, len(data), 512) if any(data[i:i + 512])]
    for _ in range(chance.choice([1, 3, 10])):
        sector = chance.choice(used)
        place = chance.choice([i for i in range(sector, sector + 512)
                               if data[i] or chance.random() < 0.02])
        file.seek(place)
        file.write(bytes([chance.choice([0, 1, 2, 8, 9, 255, chance.randrange(256)])]))
END
}

part_hostile() {
    local round status served=0
    mkdir lower-tree upper-tree
    python3 "$trees" generate "$SEED" lower-tree upper-tree marks
    rm -f lower-tree/*/*/*/*/* 2>/dev/null || true
    find upper-tree -type f -size +4k -exec truncate -s 3000 {} +
    make_image lower.img 100M lower-tree -b 1024
    make_image original.img 30M upper-tree -b 1024 -N 400 -O ^resize_inode
    "$marker" original.img marks
    set_feature original.img
    for round in $(seq "$SEED" $((SEED + ${ROUNDS:-60} - 1))); do
        cp --sparse=always original.img upper.img
        spoil upper.img "$round"
        rm -f merged.img
        status=0
        (
            use_sanitizer
            # shellcheck disable=SC2016 # nbdkit's shell expands $uri
            exec timeout 120 nbdkit -r -f -U - "$UNIONFS_PLUGIN" lower.img upper.img \
                --run 'env -u LD_PRELOAD nbdcopy --destination-is-zero "$uri" merged.img'
        ) >hostile.log 2>&1 || status=$?
        if [ "$status" -ge 124 ]; then
            cat hostile.log >&2
            fail "seed $round: nbdkit ended with status $status"
        elif [ "$status" != 0 ]; then
            sed -n 's/.*error: /  /p' hostile.log
            grep -q 'error: ' hostile.log || fail "seed $round: refused without a word"
        else
            served=$((served + 1))
            check_clean merged.img
        fi
    done
    step "of ${ROUNDS:-60} uppers with wrong bytes $served were served"
}

[ $# -gt 0 ] || set -- trees empty large kill refused hostile
for part in "$@"; do
    mkdir -p "$WORK/$part"
    cd "$WORK/$part"
    "part_$part"
done
