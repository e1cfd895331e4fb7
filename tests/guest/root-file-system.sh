#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The merged disk is a guest's root file system: the guest boots from it,
# installs packages, shuts down, boots again over the same upper, upgrades and
# removes.
#
# GUEST_ROOT=busybox      the root is busybox and little else (default)
# GUEST_ROOT=debootstrap  the root is a minimal Debian, in which dpkg works too;
#                         the first run downloads it

set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/guest/guest.sh
. "$(dirname "$0")/guest.sh"
# shellcheck source=tests/guest/images.sh
. "$(dirname "$0")/images.sh"
# shellcheck source=tests/guest/roots.sh
. "$(dirname "$0")/roots.sh"
make_work
images_require
guest_prepare
choose_seed

step "a lower with a ${GUEST_ROOT:-busybox} root"
case ${GUEST_ROOT:-busybox} in
busybox)
    make_busybox_root "$WORK/root"
    lower_size=64M
    ;;
debootstrap)
    make_debian_root "$WORK/root"
    lower_size=1G
    ;;
*) fail "GUEST_ROOT=$GUEST_ROOT is neither busybox nor debootstrap" ;;
esac
add_guest_init "$WORK/root"
make_lower "$WORK/lower.img" "$lower_size" "$WORK/root"
rm -rf --one-file-system -- "$WORK/root"
host_manifest "$WORK/lower.img" "$WORK/expected.manifest"

serve root "$WORK/lower.img" "$WORK/upper.img"
size_bytes=$(export_size_bytes root)

for phase in install upgrade; do
    step "a boot that does: $phase"
    guest_boot_root "$phase" virtio_pci,virtio_blk,ext4,crc32c_generic /dev/vda \
        "guest.phase=$phase guest.seed=$SEED" -nic none \
        -blockdev "driver=nbd,node-name=disk,server.type=unix,server.path=$WORK/root.sock,discard=unmap" \
        -device virtio-blk-pci,drive=disk
    guest_section "$phase" "before $phase" >"$WORK/before.manifest"
    guest_section "$phase" "after $phase" >"$WORK/after.manifest"

    step "it found what was there before"
    same_facts "$WORK/expected.manifest" "$WORK/before.manifest" \
        "$phase: the guest booted into another root than was left there"

    step "it left what a plain copy shows after the same changes"
    make_oracle "$WORK/lower.img" "$WORK/oracle.img" "$size_bytes" \
        "$GUEST_HERE/inside/packages.sh" "$SEED" "$phase"
    host_manifest "$WORK/oracle.img" "$WORK/oracle.manifest"
    without_dpkg "$WORK/oracle.manifest" >"$WORK/oracle.packages"
    without_dpkg "$WORK/after.manifest" >"$WORK/after.packages"
    same_tree "$WORK/oracle.packages" "$WORK/after.packages" \
        "$phase: the guest's changes came out differently on a plain copy"

    step "the host finds the same, now and after a restart"
    check_export root "$WORK/after.manifest" "after $phase"
    stop_server root
    check_lower "$WORK/lower.img"
    check_upper "$WORK/upper.img"
    serve root "$WORK/lower.img" "$WORK/upper.img"
    check_export root "$WORK/after.manifest" "after $phase and a restart"
    mv -- "$WORK/after.manifest" "$WORK/expected.manifest"
done
stop_server root
check_lower "$WORK/lower.img"
step "pass"
