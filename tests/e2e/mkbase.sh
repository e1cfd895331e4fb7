#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# unionfs-img mkbase as it is typed: what the kernel finds in a base, that nothing but the content
# decides its bytes, what is refused, and that the server serves and grows it.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

require mke2fs e2fsck dumpe2fs tar gzip zstd python3 setfattr setfacl setcap mknod
require_kernel_mount
make_work
IMG=$(realpath "$BUILD_DIR/tools/unionfs-img")
FS_TREE=$(realpath "${FS_TREE:-$BUILD_DIR/tests/fs/fs-tree}")
UNIONFS_PLUGIN=$(realpath "$UNIONFS_PLUGIN")
cd "$WORK"
# A file system of the test's own: that of $TMPDIR may have no attributes.
truncate -s 64M host.img
mke2fs -q -F -t ext4 -b 4096 host.img
mkdir host
mount -o loop host.img host

step "a directory with everything in it"
mkdir -p host/tree/{dir/deep,empty,many}
cd host/tree
printf 'a few bytes' >dir/small
seq 1 300000 >dir/deep/numbers
ln dir/small dir/deep/second
ln -s ../dir/small dir/short
ln -s "$(printf 'l%.0s' $(seq 200))" long-target
truncate -s 30M sparse
printf x | dd of=sparse bs=1 seek=20000000 conv=notrunc status=none
mknod null c 1 3
mknod large b 300 70000
mkfifo fifo
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
touch "$(printf 'n%.0s' $(seq 255))" $'odd\n\xff\\name' ' ' -- -dash
for index in $(seq 400); do echo "$index" >"many/a name that takes some room $index"; done
chmod 6751 dir/small
chmod 1777 empty
chown 1000:70000 dir dir/deep/numbers
setfattr -n user.small -v value dir/small
setfattr -n user.large -v "$(printf 'v%.0s' $(seq 600))" dir/small
setfattr -n trusted.hidden -v value dir
setfacl -m u:1234:rx,d:g:99:rwx dir
setcap cap_net_raw+ep dir/deep/numbers
touch -h -d '2001-02-03 04:05:06.123456789' dir/short
touch -d '2200-01-01 00:00:00.5' dir/small
touch -d '1950-01-01' empty
cd "$WORK"

# looked_at IMAGE - its tree as the kernel shows it, without lost+found, into IMAGE.tree. Times
# are those of modification, because nobody can set the others in the directory.
looked_at() {
    check_clean "$1"
    mkdir -p place
    mount -t ext2 -o ro,loop "$1" place
    "$FS_TREE" --times place | without_others >"$1.tree"
    umount place
}
without_others() { grep -v '^lost+found ' | sed -E 's/ ctime=[^ ]*//; /^\. /s/ nlink=[0-9]+//'; }

step "the kernel finds all of it in a base"
"$FS_TREE" --times host/tree | without_others >wanted.tree
for options in "" "--block-size 1024 --inode-size 256" "--block-size=2048 --size=200M"; do
    rm -f other.img
    # shellcheck disable=SC2086  # several options
    "$IMG" mkbase $options host/tree other.img >/dev/null
    looked_at other.img
    same_files wanted.tree other.img.tree "mkbase $options"
done
# tar leaves sockets out.
rm host/tree/socket
"$FS_TREE" --times host/tree | without_others >wanted.tree
"$IMG" mkbase host/tree base.img >base.out
grep -q "^base.img: made, .*UUID " base.out || fail "mkbase says: $(cat base.out)"
[ "$(stat -c %s other.img)" = $((200 << 20)) ] || fail "--size is not the size"

step "the same content makes the same bytes"
same_bytes() { cmp base.img "$1" || fail "$2 makes other bytes"; }
all_of=(-C host/tree --xattrs '--xattrs-include=*' --acls --format=posix --numeric-owner)
tar "${all_of[@]}" -cf one.tar .
find host/tree -mindepth 1 -printf './%P\0' | sort -zr |
    tar "${all_of[@]}" --no-recursion --null -T - -cf two.tar
tar "${all_of[@]}" --no-recursion -rf two.tar .
gzip -k one.tar
zstd -q one.tar
cp -a host/tree host/copy
for source in one.tar two.tar one.tar.gz one.tar.zst host/copy; do
    rm -f again.img
    "$IMG" mkbase "$source" again.img >/dev/null
    same_bytes again.img "$source"
done
rm -f again.img
(umask 077 && TZ=Asia/Tokyo LC_ALL=C.UTF-8 "$IMG" mkbase one.tar again.img >/dev/null)
same_bytes again.img "another environment"
[ "$(stat -c %a again.img)" = 600 ] || fail "the umask does not count"
rm -f again.img
"$IMG" mkbase - again.img <one.tar >/dev/null
same_bytes again.img "the standard input"

step "sources over one another, and the time of what has none"
mkdir -p over/dir
printf 'other bytes' >over/dir/small
tar -C over -cf over.tar dir/small
rm -f again.img
SOURCE_DATE_EPOCH=1234567890 "$IMG" mkbase host/tree over.tar --label here \
    --uuid 01234567-89ab-cdef-0123-456789abcdef again.img >/dev/null
check_clean again.img
dumpe2fs -h again.img 2>/dev/null >again.facts
grep -q '^Filesystem volume name: *here$' again.facts || fail "no label"
grep -q '^Filesystem UUID: *01234567-89ab-cdef-0123-456789abcdef$' again.facts || fail "no UUID"
TZ=UTC dumpe2fs -h again.img 2>/dev/null | grep -q '^Filesystem created: *Fri Feb 13 23:31:30 2009' ||
    fail "SOURCE_DATE_EPOCH does not count"
mount -t ext2 -o ro,loop again.img place
[ "$(cat place/dir/small)" = 'other bytes' ] || fail "the second source does not lie over the first"
[ "$(stat -c %u place/dir)" = 1000 ] || fail "a directory that nobody describes loses its owner"
umount place

step "what is refused leaves nothing"
# refused MESSAGE ARGUMENTS...
refused() {
    local message=$1 status=0
    shift
    "$IMG" mkbase "$@" >refused.out 2>&1 || status=$?
    [ "$status" = 1 ] || fail "mkbase $* ends with status $status"
    grep -qF -- "$message" refused.out || fail "mkbase $* says: $(cat refused.out)"
    [ -z "$(find . -maxdepth 1 -name '*new.img*')" ] || fail "mkbase $* leaves a file"
}
refused 'base.img: exists already' host/tree base.img
refused 'name a file' host/tree -
refused 'too small for the files' --size 1M host/tree new.img
refused 'none' host/none new.img
mkdir bad
ln -s "$(printf 'l%.0s' $(seq 1500))" bad/large-target
refused '"large-target": a symbolic link of' --block-size 1024 bad new.img
refused '"dir/deep/second": one of its times' --inode-size 128 host/tree new.img
refused 'is not a UUID' --uuid 01234567 host/tree new.img
SOURCE_DATE_EPOCH=soon refused 'SOURCE_DATE_EPOCH' host/tree new.img

step "the server serves and grows it"
serve base base.img upper.img size=2G
mount_merged base "$WORK/merged"
"$FS_TREE" --times merged | without_others >merged.tree
same_files wanted.tree merged.tree "the served disk"
cp -a host/tree/dir/deep merged/new
unmount_merged base
stop_server base
"$IMG" check -b base.img upper.img >check.out || fail "check: $(cat check.out)"
"$IMG" convert -b base.img upper.img whole.img
check_clean whole.img
[ "$(dumpe2fs -h whole.img 2>/dev/null | awk '/^Block count:/ { print $3 }')" = 524288 ] ||
    fail "the disk did not grow"
umount host
step "pass"
