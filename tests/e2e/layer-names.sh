#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# layer-names.sh [SEED]
#
# A layer with every kind of mark, read by names: tests/lib/layer_names.py must find
# the merged image's tree in it, and must object to each kind of damage.
# random-operations.sh asks the same of layers that came about by chance; here each
# kind of damage is certain to have something to damage.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

layer_names=$(realpath -- "$(dirname "$0")/../lib/layer_names.py")
SEED=${1:-1}
DAMAGES=("whiteout lost" "whiteout made fallthru" "fallthru lost" "fallthru made whiteout"
    "opaque lost" "mode changed" "content changed")

require mke2fs e2fsck nbdcopy nbdkit setfattr python3
require_kernel_mount
make_work
lower=$WORK/lower.img upper=$WORK/upper.img saved=$WORK/saved.img place=$WORK/merged

populate() {
    local top=$1 name number
    mkdir -p "$top"/{removed,left,right,moved/inside,away,names/below}
    for name in removed left right moved moved/inside away names names/below; do
        for number in one two three "only-${name##*/}"; do
            echo "$name $number" >"$top/$name/$number"
        done
    done
    seq 1 300000 >"$top/large"
    ln "$top/large" "$top/names/large"
    ln -s "$(printf 'far/%.0s' {1..40})" "$top/names/link"
    mknod "$top/names/device" c 3 70000
    setfattr -n user.note -v below "$top/large"
    for number in {1..300}; do echo "$number" >"$top/names/name-$number"; done
}

# What each kind of entry comes from.
change() {
    # The same name, another directory, over one whose names must not show.
    rm -r "$place/removed"
    mkdir "$place/removed"
    echo new >"$place/removed/new"
    # Two of them: each has fallthrus that no path leads to.
    mv "$place/left" "$place/between"
    mv "$place/right" "$place/left"
    mv "$place/between" "$place/right"
    echo more >>"$place/left/one"
    # Moved, with an own directory in it that was not.
    mv "$place/moved" "$place/away/moved"
    echo own >"$place/away/moved/inside/own"
    # Partly own, by two names; and new ones of every type.
    printf 'X' | dd of="$place/large" bs=1 seek=700000 conv=notrunc status=none
    rm "$place/names/name-7" "$place/names/name-8" "$place/names/device"
    chmod 600 "$place/names/name-9"
    mv "$place/names/name-10" "$place/names/renamed"
    ln -s short "$place/names/short"
    mkfifo "$place/names/queue"
    mknod "$place/names/block" b 300 7
    seq 1 50000 >"$place/names/new"
    truncate -s 9M "$place/names/new"
    setfattr -n user.note -v own "$place/names/name-9"
}

# check_kind MKE2FS-ARGS...
check_kind() {
    local damage
    rm -f "$lower" "$upper" "$saved"
    truncate -s 48M "$lower"
    mke2fs -q -t ext2 "$@" "$lower" >"$WORK/mke2fs.log" 2>&1
    mkdir -p "$WORK/build"
    mount -t ext2 -o loop "$lower" "$WORK/build"
    populate "$WORK/build"
    umount "$WORK/build"

    serve merged "$lower" "$upper" size=320M
    mount_merged merged "$place"
    change
    unmount_merged merged
    stop_server merged
    NBDKIT_FLAGS=(-r)
    serve merged "$lower" "$upper"
    save_image merged "$saved"
    stop_server merged
    NBDKIT_FLAGS=()
    check_clean "$saved"
    python3 -B "$layer_names" compare "$lower" "$upper" "$saved" ||
        fail "the layer, read by names, is not the merged image"
    python3 -B "$layer_names" self-test "$lower" "$upper" "$saved" "$SEED" >"$WORK/damages.txt" ||
        fail "damage was not seen"
    cat "$WORK/damages.txt"
    for damage in "${DAMAGES[@]}"; do
        grep -qF "$damage (" "$WORK/damages.txt" || fail "nothing to damage: $damage"
    done
    # A layer and the disk of another day.
    if python3 -B "$layer_names" compare "$lower" "$upper" "$lower" >"$WORK/other.txt" 2>&1; then
        fail "the lower alone passes for the merged image"
    fi
}

step "blocks of 1 KiB"
check_kind -b 1024 -I 128 -N 3000
step "blocks of 4 KiB, directories without index"
check_kind -b 4096 -I 256 -N 3000 -O '^dir_index'
step "no file types in the lower"
check_kind -b 2048 -I 256 -N 3000 -O '^filetype'
