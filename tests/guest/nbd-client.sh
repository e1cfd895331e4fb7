#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The kernel's own NBD driver is the client: a guest attaches the export with
# nbd-client over TCP, mounts /dev/nbd0, changes it and detaches.

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

step "a lower"
make_tree "$WORK/tree"
make_lower "$WORK/lower.img" 64M "$WORK/tree"
host_manifest "$WORK/lower.img" "$WORK/lower.manifest"

serve_tcp disk "$WORK/lower.img" "$WORK/upper.img"
size_bytes=$(nbdinfo --size "nbd://127.0.0.1:$TCP_PORT")

cat >"$WORK/guest-script" <<END
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
nbd-client 10.0.2.2 $TCP_PORT /dev/nbd0
[ "\$(blockdev --getsize64 /dev/nbd0)" = $size_bytes ]
mount -t ext2 /dev/nbd0 /mnt
echo "== before" >&3
sh /guest/manifest.sh /mnt >&3
sh /guest/changes.sh /mnt $SEED
sync

# What the guest now sees must have come back over the wire.
umount /mnt
echo 3 >/proc/sys/vm/drop_caches
mount -t ext2 /dev/nbd0 /mnt
echo "== after" >&3
sh /guest/manifest.sh /mnt >&3
umount /mnt
nbd-client -d /dev/nbd0
tries=0
while nbd-client -c /dev/nbd0; do
    tries=\$((tries + 1))
    [ \$tries -lt 100 ]
    sleep 0.1
done
END

step "a guest with the export as /dev/nbd0"
GUEST_FILES=("$GUEST_HERE/inside/manifest.sh" "$GUEST_HERE/inside/changes.sh")
guest_boot disk virtio_pci,virtio_net,nbd,ext4,crc32c_generic "$WORK/guest-script" \
    -nic user,model=virtio-net-pci
check_guest_session disk "$size_bytes"

step "the host finds the same after restarts"
for round in first second; do
    stop_server disk
    check_lower "$WORK/lower.img"
    check_upper "$WORK/upper.img"
    serve disk "$WORK/lower.img" "$WORK/upper.img"
    check_export disk "$WORK/after.manifest" "after the $round restart"
done
stop_server disk
check_lower "$WORK/lower.img"
step "pass"
