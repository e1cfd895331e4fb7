#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The units for systemd, in a container that systemd-nspawn boots: sockets that start a server of
# one disk and of a directory, the sandbox, io_uring allowed and refused, a kill, and the end.
#
# The container's files are those of this machine, below an overlay, so nothing has to be
# downloaded.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

require systemd-nspawn unshare mount losetup mkfs.ext4 mke2fs nbdkit nbdsh debugfs curl nsenter findmnt
[ "$(id -u)" = 0 ] || skip "a container needs root"
[ -c /dev/loop-control ] || skip "this machine has no /dev/loop-control"
HERE=$(realpath "$(dirname "$0")")
UNITS=$HERE/../../dist/systemd
make_work
cd "$WORK"
ROOT=$WORK/root
# This one boots nothing else of the machine.
INSIDE='systemd.unit=unionfs-test.target'

step "a container"
mkdir up work root
mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root 2>mount.err ||
    skip "no overlay can be mounted over / ($(cat mount.err))"
mkdir -p "$ROOT/etc/unionfs" "$ROOT/unionfs-test"
echo 0123456789abcdef0123456789abcdef >"$ROOT/etc/machine-id"
cp "$UNITS"/unionfs* "$ROOT/etc/systemd/system/"
plugins=$(nbdkit --dump-config | sed -n 's/^plugindir=//p')
cp "$UNIONFS_PLUGIN" "$ROOT/${plugins:?}/nbdkit-unionfs-plugin-plugin.so"
chmod 755 "$ROOT/$plugins/nbdkit-unionfs-plugin-plugin.so"
sed -i '/^unionfs:/d' "$ROOT/etc/passwd" "$ROOT/etc/group"
echo 'unionfs:x:987:987::/nonexistent:/usr/sbin/nologin' >>"$ROOT/etc/passwd"
echo 'unionfs:x:987:' >>"$ROOT/etc/group"
# A ring is for what has to be read from a disk, so the lower lies on one.
mkdir tree disk
head -c 65536 /dev/zero | tr '\0' x >tree/file
truncate -s 64m disk.ext4
mkfs.ext4 -q disk.ext4
mount -o loop disk.ext4 disk
mke2fs -q -t ext2 -b 4096 -d tree disk/base.img 16m
chmod 755 disk
chmod 644 disk/base.img
place=$(debugfs -R 'blocks /file' disk/base.img 2>/dev/null | awk '{ print $2 * 4096 }')
printf 'LOWER=/srv/base.img\nUPPER=/var/lib/unionfs/one.img\nMORE=size=64M\n' >"$ROOT/etc/unionfs/one.conf"
printf 'LOWER=/srv/base.img\nMORE=size=64M control=/var/lib/unionfs-dir/many/control\n' >"$ROOT/etc/unionfs/many.conf"
cp "$HERE/units_booted_inside.sh" "$ROOT/unionfs-test/inside.sh"
cat >"$ROOT/etc/systemd/system/unionfs-test.target" <<'END'
[Unit]
Requires=sysinit.target unionfs-test.service
After=sysinit.target
AllowIsolate=yes
END
cat >"$ROOT/etc/systemd/system/unionfs-test.service" <<END
[Unit]
DefaultDependencies=no
Requires=sysinit.target
After=sysinit.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
Environment=PLACE=$place
ExecStart=/bin/bash /unionfs-test/inside.sh
StandardOutput=append:/unionfs-test/out
StandardError=inherit
TimeoutStartSec=200
END

# What nspawn makes below the control group of this test, and leaves there.
left_groups() {
    local own
    own=$(sed -nE 's/^[0-9]+:(name=systemd|)://p' /proc/self/cgroup | head -n 1)
    find /sys/fs/cgroup/{,systemd,unified}"${own%/}"/{payload,supervisor} -depth -type d 2>/dev/null ||
        true
}
before=$(left_groups)

step "what is seen in it"
# nspawn wants a /run that goes with the machine; this one goes with the test.
# shellcheck disable=SC2016  # the other shell's
timeout --kill-after=10 280 unshare --mount --propagation private sh -c '
    mount -t tmpfs tmpfs /run
    exec systemd-nspawn --quiet --directory="$1" --machine=unionfs-test --register=no --keep-unit \
        --private-network --console=pipe --bind="$3:/srv" --boot "$2"' - "$ROOT" "$INSIDE" "$WORK/disk" \
    >console 2>&1 </dev/null || true
if [ -z "$before" ]; then
    left_groups | while read -r group; do rmdir "$group" 2>/dev/null || true; done
fi
[ -s "$ROOT/unionfs-test/out" ] || skip "no container boots here ($(tail -n 3 console | tr '\n' ' '))"
cat "$ROOT/unionfs-test/out"
grep -qx 'all is well' "$ROOT/unionfs-test/out" || fail "in the container"
cp "$ROOT/var/lib/unionfs/one.img" one.img
cp "$ROOT/var/lib/unionfs-dir/many/anna.img" anna.img
umount "$ROOT"
for name in one anna; do check_layer_clean "$name.img" copy.img; done
step "pass"
