#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A guest's kernel writes jffs2 to flash that is its memory, and overlayfs keeps its upper
# directory there, as OpenWrt has it. What is on the flash then is read here, and must be the
# tree that the guest saw.

set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/guest/guest.sh
. "$(dirname "$0")/guest.sh"
make_work
[ "$(id -u)" = 0 ] || skip "making devices needs root"
guest_prepare
SEED=${SEED:-$((100000 + RANDOM))}
step "SEED=$SEED"

cat >"$WORK/guest-script" <<END
modprobe mtdram total_size=6144 erase_size=64
mount -t jffs2 mtd0 /mnt
cd /mnt
text() { seq \$(($SEED + \$1)) \$(($SEED + \$1 + \$2)); }

# Nodes of many versions, holes, and files that were cut and grew again.
text 1 20000 >rewritten
printf '!' | dd of=rewritten bs=1 seek=5001 conv=notrunc
text 2 3000 | dd of=rewritten bs=1000 seek=7 conv=notrunc
text 3 5000 >>rewritten
text 4 9000 >cut
truncate -s 1000 cut
truncate -s 90000 cut
text 5 100 >>cut
text 6 100 | dd of=hole bs=4096 seek=100
head -c 50000 /dev/zero >zeros
head -c 100000 /dev/urandom >noise
: >empty

# Names that moved, went and came back.
mkdir -p a/b/c old
text 7 10 >a/b/c/file
mv a/b/c old/moved
text 8 10 >goes
rm goes
text 9 10 >comes
rm comes
text 10 20 >comes
text 11 10 >over
text 12 10 >over.new
mv over.new over
mkdir gone
text 13 10 >gone/file
rm -r gone
ln rewritten old/link
ln noise old/other
rm noise
ln -s ../a/b old/symlink
mkfifo fifo
mknod null c 1 3
mknod disk b 259 70000
chmod 6751 cut
chown 1000:2000 empty old
touch -d '2001-02-03 04:05:06' zeros a
rm -r a/b

# Enough to and fro for garbage to be collected.
round=0
while [ \$round -lt 8 ]; do
    head -c 1500000 /dev/urandom >ballast
    sync
    round=\$((round + 1))
done
rm ballast
cd /

# The upper directory of an overlay. This jffs2 cannot leave a whiteout behind a rename, so no
# directory of the lower is deleted.
mkdir -p /tmp/lower/kept /tmp/merged /mnt/upper /mnt/work
echo lower >/tmp/lower/deleted
echo lower >/tmp/lower/kept/inside
echo lower >/tmp/lower/kept/deleted
mount -t overlay overlay -o lowerdir=/tmp/lower,upperdir=/mnt/upper,workdir=/mnt/work,redirect_dir=on \
    /tmp/merged
rm /tmp/merged/deleted /tmp/merged/kept/deleted
mkdir /tmp/merged/fresh
echo upper >/tmp/merged/fresh/new
echo upper >>/tmp/merged/kept/inside
umount /tmp/merged
rm -r /mnt/work

# What a mount reads, and not what is in memory.
umount /mnt
mount -t jffs2 mtd0 /mnt
echo "== tree" >&3
sh /guest/manifest.sh /mnt >&3
umount /mnt
dd if=/dev/mtd0 of=/dev/vda bs=65536
sync
END

step "a guest with flash in its memory"
truncate -s 6M "$WORK/flash.img"
GUEST_FILES=("$GUEST_HERE/inside/manifest.sh")
guest_boot flash virtio_pci,virtio_blk,jffs2,overlay "$WORK/guest-script" \
    -nic none -drive "file=$WORK/flash.img,format=raw,if=virtio"

step "the flash holds the tree that the guest saw"
"$BUILD_DIR/tests/extract-tree" jffs2 "$WORK/flash.img" "$WORK/tree" >"$WORK/marks"
# Inode numbers and links of directories are each file system's own, and whiteouts are marks.
own_facts() {
    sed -E -e '/^entry\|\.\/upper(\/kept)?\/deleted\|2000\|/d' \
        -e 's/^(entry\|.*\|4[0-9a-f]{3}\|[^|]*\|)[0-9]+(\|[^|]*\|)[0-9]+/\1\2/' \
        -e 's/^(entry\|.*\|[^|]*\|[^|]*\|[^|]*\|[^|]*\|)[0-9]+(\|[0-9]+)$/\1\2/' \
        -e 's/^(size\|.*\|[0-9]+)\|[0-9]+$/\1/'
}
guest_section flash tree | own_facts >"$WORK/seen"
sh "$GUEST_HERE/inside/manifest.sh" "$WORK/tree" | own_facts >"$WORK/read"
grep -q "^entry|./rewritten|" "$WORK/seen" || fail "the guest saw nothing"
diff "$WORK/seen" "$WORK/read" || fail "the image says another tree than the guest saw"
[ "$WORK/tree/rewritten" -ef "$WORK/tree/old/link" ] || fail "a hard link is another file"
printf 'whiteout|upper/deleted\nopaque|upper/fresh\nwhiteout|upper/kept/deleted\n' |
    diff - "$WORK/marks" || fail "the marks of overlayfs are others"
step "pass"
