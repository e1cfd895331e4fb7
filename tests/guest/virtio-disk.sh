#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# QEMU itself is the NBD client: a guest has the export as its virtio disk,
# changes it, freezes it while the host takes a snapshot, and trims what it freed.

set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/guest/guest.sh
. "$(dirname "$0")/guest.sh"
# shellcheck source=tests/guest/images.sh
. "$(dirname "$0")/images.sh"
IMG=$BUILD_DIR/tools/unionfs-img
make_work
images_require
guest_prepare
choose_seed

# What the guest writes and deletes again, and how much more the upper may take
# in the end: the other changes are 7 MB, and it has its bitmaps.
ballast_mb=32
left_mb=16

step "a lower"
make_tree "$WORK/tree"
make_lower "$WORK/lower.img" 64M "$WORK/tree"
host_manifest "$WORK/lower.img" "$WORK/lower.manifest"

serve disk "$WORK/lower.img" "$WORK/upper.img" "control=$WORK/control.sock"
size_bytes=$(export_size_bytes disk)
upper_before_kb=$(du -k "$WORK/upper.img" | cut -f 1)

cat >"$WORK/guest-script" <<END
[ "\$(blockdev --getsize64 /dev/vda)" = $size_bytes ]
[ "\$(cat /sys/block/vda/queue/discard_max_bytes)" -gt 0 ]
mount -t ext2 /dev/vda /mnt
echo "== before" >&3
sh /guest/manifest.sh /mnt >&3
sh /guest/changes.sh /mnt $SEED

# The host writes a word to the second disk when it has its snapshot.
echo "== frozen" >&3
sh /guest/manifest.sh /mnt >&3
fsfreeze --freeze /mnt
echo "== waits" >&3
until [ "\$(head -c 4 /dev/vdb)" = thaw ]; do
    sleep 1
    blockdev --flushbufs /dev/vdb
done
fsfreeze --unfreeze /mnt

# On the disk and back again, so that there is something to give back.
yes "ballast $SEED" | head -c $((ballast_mb * 1048576)) >/mnt/ballast
sum=\$(sha256sum </mnt/ballast)
sync
echo 3 >/proc/sys/vm/drop_caches
[ "\$(sha256sum </mnt/ballast)" = "\$sum" ]
rm /mnt/ballast
sync
fstrim /mnt

umount /mnt
mount -t ext2 /dev/vda /mnt
echo "== after" >&3
sh /guest/manifest.sh /mnt >&3
umount /mnt
END

# When the guest waits with its file system frozen, its disk is frozen, too.
snapshot_when_frozen() {
    local deadline=$((SECONDS + GUEST_TIMEOUT))
    until grep -aqs '^== waits' "$WORK/disk.report"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
    "$IMG" --control "$WORK/control.sock" snapshot frozen.img
    printf thaw | dd of="$WORK/signal.img" conv=notrunc status=none
}
truncate -s 1M "$WORK/signal.img"
rm -f "$WORK/disk.report"
snapshot_when_frozen >"$WORK/snapshot.log" 2>&1 &
snapshot=$!

step "a guest with the export as /dev/vda"
GUEST_FILES=("$GUEST_HERE/inside/manifest.sh" "$GUEST_HERE/inside/changes.sh")
guest_boot disk virtio_pci,virtio_blk,ext4,crc32c_generic "$WORK/guest-script" \
    -nic none \
    -blockdev "driver=nbd,node-name=disk,server.type=unix,server.path=$WORK/disk.sock,discard=unmap" \
    -device virtio-blk-pci,drive=disk \
    -blockdev "driver=file,node-name=signal,filename=$WORK/signal.img" \
    -device virtio-blk-pci,drive=signal
wait "$snapshot" || fail "no snapshot"
check_guest_session disk "$size_bytes"

step "the host finds the same, now and after restarts"
check_export disk "$WORK/after.manifest" "with the guest gone"
stop_server disk
check_lower "$WORK/lower.img"
check_upper "$WORK/upper.img"
serve disk "$WORK/lower.img" "$WORK/upper.img"
check_export disk "$WORK/after.manifest" "after a restart"
stop_server disk
check_lower "$WORK/lower.img"

step "what was frozen is what the guest saw then"
guest_section disk frozen >"$WORK/frozen.manifest"
serve fork "$WORK/lower.img" "$WORK/frozen.img" "$WORK/fork.img"
check_export fork "$WORK/frozen.manifest" "from the frozen level"
stop_server fork
check_lower "$WORK/lower.img"

step "deleting and trimming gave the space back"
upper_kb=$(du -k "$WORK/upper.img" | cut -f 1)
grown_kb=$((upper_kb - upper_before_kb))
[ "$grown_kb" -le $((left_mb * 1024)) ] ||
    fail "the upper grew by $grown_kb KiB in spite of the trim"
step "pass"
