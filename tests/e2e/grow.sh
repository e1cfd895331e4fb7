#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# grow.sh - size= makes the merged image of an existing upper grow: by part of a
# group, by groups, past the lower's descriptor blocks, from the lower's own size
# (whose resize inode then goes); the files stay, stock e2fsck finds the merged
# image and the upper clean, a kill in the middle (one hits at least) leaves the old or
# the new size.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

require mke2fs e2fsck nbdcopy nbdinfo cmp prlimit
require_kernel_mount
make_work
lower=$WORK/lower.img upper=$WORK/upper.img

# list FILE - what is in the image: names, inodes, modes, sizes, contents.
list() {
    local place=$WORK/list
    mkdir -p "$place"
    mount -o loop,ro -t ext2 "$1" "$place"
    (cd "$place" && find . -printf '%p %i %m %n %s %T@ %b\n' | sort &&
        find . -type f -print0 | sort -z | xargs -0 sha256sum)
    umount "$place"
}

# check_size BYTES WHAT - serves as it is: that size, clean, the same files.
check_size() {
    local size=$1
    step "$2: $size bytes"
    serve disk "$lower" "$upper"
    [ "$(nbdinfo --size "$(socket_uri disk)")" = "$size" ] || fail "$2: not $size bytes"
    save_image disk "$WORK/merged.img"
    stop_server disk
    check_clean "$WORK/merged.img"
    list "$WORK/merged.img" >"$WORK/list.now"
    cmp "$WORK/list.before" "$WORK/list.now" || fail "$2: the files changed"
    check_layer_clean "$upper" "$WORK/layer.img"
}

# grow SIZE - asks for the size with a client that may write.
grow() {
    serve disk "$lower" "$upper" "size=$1"
    nbdinfo --size "$(socket_uri disk)" >"$WORK/size"
    stop_server disk
}

# start_growing - the upper as it was kept, served, and a client that makes it grow.
start_growing() {
    cp --sparse=always -- "$WORK/upper.kept" "$upper"
    touch "$WORK/copied"
    serve disk "$lower" "$upper" size=16G
    nbdinfo --size "$(socket_uri disk)" >"$WORK/size" 2>/dev/null &
    client=$!
}

# No program is called, so that it returns at the first change.
until_changed() {
    until [ "$upper" -nt "$WORK/copied" ]; do
        kill -0 "$client" 2>/dev/null || [ "$upper" -nt "$WORK/copied" ] ||
            fail "it did not grow"
    done
}

# check_killed WHEN - a kill leaves the old or the new size. While it grows, the upper is
# longer than before, and longer than when it has grown, by its journal.
check_killed() {
    local now
    kill_server disk
    wait "$client" || true
    now=$(stat -c %s "$upper")
    [ "$now" = "$kept_bytes" ] || [ "$now" = "$grown_bytes" ] ||
        killed_growing=$((killed_growing + 1))
    serve disk "$lower" "$upper"
    now=$(nbdinfo --size "$(socket_uri disk)")
    stop_server disk
    [ "$now" = "$old" ] || [ "$now" -gt $((15 << 30)) ] || fail "neither size: $now"
    check_size "$now" "killed $1"
}

for block_size in 1024 4096; do
    step "a lower of $block_size byte blocks, at its own size"
    rm -f -- "$lower" "$upper"
    truncate -s 40M "$lower"
    mkdir -p "$WORK/tree/deep"
    seq 1 50000 >"$WORK/tree/deep/numbers"
    mke2fs -q -t ext2 -b "$block_size" -d "$WORK/tree" "$lower"
    serve disk "$lower" "$upper" size=40M
    mkdir -p "$WORK/mounted"
    mount_merged disk "$WORK/mounted"
    seq 7 9 >"$WORK/mounted/deep/own"
    seq 1 60000 >"$WORK/mounted/deep/numbers"
    rmdir "$WORK/mounted/lost+found"
    unmount_merged disk
    stop_server disk
    serve disk "$lower" "$upper"
    save_image disk "$WORK/merged.img"
    stop_server disk
    list "$WORK/merged.img" >"$WORK/list.before"
    for size in 44M 101M 6G; do
        grow "$size"
        check_size "$(cat "$WORK/size")" "grown to $size"
    done
    if (use_sanitizer && exec nbdkit -U - "$UNIONFS_PLUGIN" "$lower" "$upper" size=1G --run true) \
        2>"$WORK/shrink"; then
        fail "it was shrunk"
    fi
    grep -q 'upper.img.*shrunk' "$WORK/shrink" || fail "no clear message: $(cat "$WORK/shrink")"

    step "no space to grow, and space again"
    cp --sparse=always -- "$upper" "$WORK/upper.kept"
    serve disk "$lower" "$upper" size=16G
    # The limit stands for a full disk: files may not become longer.
    prlimit --pid "${SERVER_PID[disk]}" --fsize="$(stat -c %s "$upper"):"
    for _ in 1 2; do
        ! nbdinfo "$(socket_uri disk)" >"$WORK/info" 2>&1 || fail "it grew without space"
        [ "$(stat -c %s "$upper")" = "$(stat -c %s "$WORK/upper.kept")" ] ||
            fail "a client that was refused left the upper longer"
    done
    prlimit --pid "${SERVER_PID[disk]}" --fsize=unlimited:
    nbdinfo --size "$(socket_uri disk)" >"$WORK/size"
    [ "$(cat "$WORK/size")" -gt $((15 << 30)) ] || fail "not grown: $(cat "$WORK/size")"
    stop_server disk
    check_size "$(cat "$WORK/size")" "grown after all"
    cp --sparse=always -- "$WORK/upper.kept" "$upper"

    step "killed while it grows"
    cp --sparse=always -- "$upper" "$WORK/upper.kept"
    # shellcheck disable=SC2016 # nbdkit's shell expands $uri
    old=$(use_sanitizer && exec nbdkit -U - "$UNIONFS_PLUGIN" "$lower" "$upper" \
        --run 'env -u LD_PRELOAD nbdinfo --size "$uri"')
    kept_bytes=$(stat -c %s "$WORK/upper.kept")
    start_growing
    until_changed
    began=$EPOCHREALTIME
    wait "$client" || fail "it did not grow"
    took=$((${EPOCHREALTIME/./} - ${began/./}))
    grown_bytes=$(stat -c %s "$upper")
    stop_server disk
    killed_growing=0
    start_growing
    check_killed "before or as it begins to grow"
    # As soon as it grows, and later; if none of that was while it grew, as soon again.
    for ((try = 0; try < 4 || killed_growing == 0; try++)); do
        [ "$try" -lt 20 ] || fail "of $try kills none was while it grew"
        delay=$((try < 4 ? took * try / 4 : 0))
        start_growing
        until_changed
        [ "$delay" = 0 ] || sleep "${delay}e-6"
        check_killed "$delay us after it began to grow"
    done
    step "$killed_growing kills were while it grew, which takes $took us"
done
