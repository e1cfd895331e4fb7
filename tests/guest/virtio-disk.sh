#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# QEMU itself is the NBD client: a guest has the export as its virtio disk,
# changes it and trims what it freed.

set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/guest/guest.sh
. "$(dirname "$0")/guest.sh"
# shellcheck source=tests/guest/images.sh
. "$(dirname "$0")/images.sh"
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

serve disk "$WORK/lower.img" "$WORK/upper.img"
size_bytes=$(export_size_bytes disk)
upper_before_kb=$(du -k "$WORK/upper.img" | cut -f 1)

cat >"$WORK/guest-script" <<END
[ "\$(blockdev --getsize64 /dev/vda)" = $size_bytes ]
[ "\$(cat /sys/block/vda/queue/discard_max_bytes)" -gt 0 ]
mount -t ext2 /dev/vda /mnt
echo "== before" >&3
sh /guest/manifest.sh /mnt >&3
sh /guest/changes.sh /mnt $SEED

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

step "a guest with the export as /dev/vda"
GUEST_FILES=("$GUEST_HERE/inside/manifest.sh" "$GUEST_HERE/inside/changes.sh")
guest_boot disk virtio_pci,virtio_blk,ext4,crc32c_generic "$WORK/guest-script" \
    -nic none \
    -blockdev "driver=nbd,node-name=disk,server.type=unix,server.path=$WORK/disk.sock,discard=unmap" \
    -device virtio-blk-pci,drive=disk
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

step "deleting and trimming gave the space back"
upper_kb=$(du -k "$WORK/upper.img" | cut -f 1)
grown_kb=$((upper_kb - upper_before_kb))
[ "$grown_kb" -le $((left_mb * 1024)) ] ||
    fail "the upper grew by $grown_kb KiB in spite of the trim"
step "pass"
