#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A layer that a booted Debian has made is carried over to a root that was built anew, and the
# result boots and works: packages can be upgraded and removed in it.
#
# The first guest installs packages, and edits, renames and deletes files. The root that was built
# anew has another package, a file that was upgraded, and a later time in every file.

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
IMG=$(realpath "$BUILD_DIR/tools/unionfs-img")

# boot LOWER PHASE - a virtual machine with this lower and the upper as its root.
boot() {
    serve root "$WORK/$1.img" "$WORK/upper.img"
    guest_boot_root "$2" virtio_pci,virtio_blk,ext4,crc32c_generic /dev/vda \
        "guest.phase=$2 guest.seed=$SEED" -nic none \
        -blockdev "driver=nbd,node-name=disk,server.type=unix,server.path=$WORK/root.sock,discard=unmap" \
        -device virtio-blk-pci,drive=disk
    stop_server root
}

step "a Debian root, and the same built anew"
make_debian_root "$WORK/old"
add_guest_init "$WORK/old"
cp -a -- "$WORK/old" "$WORK/new"
find "$WORK/new" -exec touch --no-dereference {} +
install -D -m 755 "$(command -v busybox)" "$WORK/new/usr/local/bin/one-more"
printf 'Welcome to the root that was built anew\n' >"$WORK/new/etc/issue"
for root in old new; do
    "$IMG" mkbase "dir:$WORK/$root" "$WORK/$root.img"
done
rm -rf --one-file-system -- "$WORK/old" "$WORK/new"
sha256sum "$WORK/old.img" >"$WORK/old.sha256"

step "a guest works on the old root"
boot old install
"$IMG" diff --stat -b "$WORK/old.img" "$WORK/upper.img"

step "its layer is carried over"
begin=$(date +%s%N)
"$IMG" rebase -b "$WORK/old.img" --onto "$WORK/new.img" --conflicts=ours --verify "$WORK/upper.img"
printf 'rebase: %d ms; upper %s, diff %s\n' "$((($(date +%s%N) - begin) / 1000000))" \
    "$(du -h "$WORK/upper.img" | cut -f1)" "$("$IMG" diff -b "$WORK/new.img" "$WORK/upper.img" | tail -n 1)"
"$IMG" convert -b "$WORK/new.img" "$WORK/upper.img" "$WORK/merged.img"
check_clean "$WORK/merged.img"
"$IMG" cat -b "$WORK/new.img" "$WORK/upper.img" /etc/issue >"$WORK/issue"
grep -q 'built anew' "$WORK/issue" || fail "what the new root changed is not there"
sha256sum --check --quiet "$WORK/old.sha256" || fail "the old lower has changed"

step "the result boots, and packages are upgraded in it"
boot new upgrade
"$IMG" check -b "$WORK/new.img" "$WORK/upper.img"
step "pass"
