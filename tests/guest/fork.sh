#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A guest runs from the merged disk, its disk is frozen meanwhile, and a second guest boots from a
# fork of that. Prints how long each part takes, up to where the second guest would have its prompt.

set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/guest/guest.sh
. "$(dirname "$0")/guest.sh"
# shellcheck source=tests/guest/images.sh
. "$(dirname "$0")/images.sh"
# shellcheck source=tests/guest/roots.sh
. "$(dirname "$0")/roots.sh"
require debugfs
IMG=$BUILD_DIR/tools/unionfs-img
make_work
images_require
guest_prepare

MODULES=virtio_pci,virtio_blk,ext4,crc32c_generic

# boot NAME QEMU_ARGS... - a guest whose root is the disk that the server of that name serves.
boot() {
    local name=$1
    shift
    guest_boot_root "$name" "$MODULES" /dev/vda "guest.phase=$name" -nic none \
        -blockdev "driver=nbd,node-name=disk,server.type=unix,server.path=$WORK/$name.sock,discard=unmap" \
        -device virtio-blk-pci,drive=disk "$@"
}

# boot_beside NAME QEMU_ARGS... - the same, while this script goes on.
boot_beside() {
    (boot "$@") &
    # shellcheck disable=SC2034 # common.sh reads it
    SERVER_PID[boot-$1]=$!
}

# wait_for_prompt NAME
wait_for_prompt() {
    local deadline=$((SECONDS + GUEST_TIMEOUT))
    until grep -aqs '^== prompt' "$WORK/$1.report"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "guest $1: no prompt within $GUEST_TIMEOUT s"
        kill -0 "${SERVER_PID[boot-$1]}" 2>/dev/null || fail "guest $1: has gone"
        sleep 0.05
    done
}

# end_of NAME - of a guest beside.
end_of() {
    wait "${SERVER_PID[boot-$1]}" || fail "guest $1 failed"
    unset "SERVER_PID[boot-$1]"
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# took PART SINCE - prints the milliseconds since then.
took() { step "$1: $(($(now_ms) - $2)) ms"; }

step "a lower with a busybox root"
make_busybox_root "$WORK/root"
install -D -m 755 "$GUEST_HERE/inside/fork-init.sh" "$WORK/root/sbin/init"
install -D -m 644 "$GUEST_HERE/inside/as-init.sh" "$WORK/root/usr/local/lib/guest/as-init.sh"
make_lower "$WORK/lower.img" 64M "$WORK/root"
truncate -s 1M "$WORK/signal.img"

serve running "$WORK/lower.img" "$WORK/upper.img" "control=$WORK/control.sock"
begin=$(now_ms)
boot_beside running -blockdev "driver=file,node-name=signal,filename=$WORK/signal.img" \
    -device virtio-blk-pci,drive=signal
wait_for_prompt running
took "the first guest, from QEMU's start to its prompt" "$begin"

fork_begin=$(now_ms)
"$IMG" --control "$WORK/control.sock" snapshot frozen.img
took "the snapshot" "$fork_begin"
begin=$(now_ms)
serve forked "$WORK/lower.img" "$WORK/frozen.img" "$WORK/fork.img"
took "the second server, until it listens" "$begin"
begin=$(now_ms)
boot_beside forked
wait_for_prompt forked
took "the second guest, from QEMU's start to its prompt" "$begin"
took "all of that, from the snapshot on" "$fork_begin"
end_of forked
printf ends | dd of="$WORK/signal.img" conv=notrunc status=none
end_of running

step "each has its own disk"
stop_server forked
stop_server running
check_lower "$WORK/lower.img"
serve running "$WORK/lower.img" "$WORK/upper.img" checkpoint=never
serve forked "$WORK/lower.img" "$WORK/frozen.img" "$WORK/fork.img" checkpoint=never
for disk in running forked; do
    save_image "$disk" "$WORK/$disk.img"
    stop_server "$disk"
    [ "$(debugfs -R 'cat /before' "$WORK/$disk.img" 2>/dev/null)" = before ] ||
        fail "$disk: what was written before the snapshot is not there"
done
[ "$(debugfs -R 'cat /forked' "$WORK/forked.img" 2>/dev/null)" = after ] ||
    fail "the fork has not what its guest wrote"
! debugfs -R 'stat /forked' "$WORK/running.img" 2>/dev/null | grep -q Inode: ||
    fail "the first disk has what the fork's guest wrote"
step "pass"
