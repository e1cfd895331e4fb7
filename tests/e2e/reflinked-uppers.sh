#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# reflinked-uppers.sh [FS...] - a host that overwrites by copying (XFS after a reflink copy,
# Btrfs always) and is full. The server goes on: a write gets ENOSPC and not the end of the
# server, what was acknowledged before stays, and with space again everything works. The
# reflink copy has what was flushed when it was made.
#
# With FS only these: xfs, btrfs.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

require mke2fs nbdkit nbdsh losetup mount fallocate
[ "$(id -u)" = 0 ] || skip "mounting needs root"
[ -c /dev/loop-control ] || skip "this machine has no /dev/loop-control"
make_work

# mount_host FS - an empty file system with reflinks, at $WORK/FS.
mount_host() {
    local size=320M
    [ "$1" != btrfs ] || size=128M
    truncate -s $size "$WORK/$1.img"
    case $1 in
    xfs) mkfs.xfs -q -m reflink=1 "$WORK/xfs.img" ;;
    btrfs) mkfs.btrfs -q -m single "$WORK/btrfs.img" ;;
    esac
    mkdir "$WORK/$1"
    mount -o loop "$WORK/$1.img" "$WORK/$1"
}

# fill DIRECTORY COUNT - until not a block is left; so many blocks have a file each.
fill() {
    local size number
    for number in $(seq "$2"); do
        head -c 4096 /dev/zero >"$1/block.$number"
    done
    sync -f "$1"
    # What a file system reserves for what it has not written is free after the sync.
    for size in 1M 64k 4k 4k 4k 4k; do
        dd if=/dev/zero of="$1/filler" bs=$size oflag=append conv=notrunc status=none \
            2>/dev/null || true
        sync -f "$1"
    done
}

run_case() {
    # XFS refuses until it has a hundred blocks, Btrfs until it has a whole chunk.
    local fs=$1 place=$WORK/$1 blocks=130
    [ "$fs" != btrfs ] || blocks=8
    mke2fs -q -F -t ext2 -b 4096 "$place/lower.img" 16M
    serve disk "$place/lower.img" "$place/upper.img" size=64M checkpoint=never
    PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri disk)" -c - 2>&1 <<END
import errno, glob, os, subprocess

def run(*command):
    subprocess.run(command, check=True)

def errors_of(offsets):
    found = []
    for offset in offsets:
        try:
            h.pwrite(b'x' * 4096, offset)
            found.append(0)
        except nbd.Error as error:
            found.append(error.errnum)
    return found

h.pwrite(b'f' * 4096, 8 << 20)
h.flush()
h.pwrite(b'a' * 4096, 12 << 20)
run("cp", "--reflink=always", "$place/upper.img", "$place/copy.img")
run("bash", "-c", '''$(declare -f fill); fill "$place" $blocks''')
# With each block that is given back a first touch gets further: to its data, to its bit.
touched, refused, done = 13 << 20, 0, 0
for block in sorted(glob.glob("$place/block.*")):
    found = errors_of([touched, 8 << 20])
    assert set(found) <= {0, errno.ENOSPC}, f'errors {found}'
    refused += errno.ENOSPC in found
    done += found[0] == 0
    touched += 4096
    if done == 4:
        break
    os.remove(block)
    run("sync", "-f", "$place")
print(f'{refused} times refused, {done} first touches')
assert refused > 0
assert h.pread(1, 12 << 20) == b'a'
run("bash", "-c", "rm $place/filler $place/block.*; sync -f $place")
assert set(errors_of(range(13 << 20, 15 << 20, 4096))) == {0}
h.flush()
assert h.pread(4096, 14 << 20) == b'x' * 4096
END
    stop_server disk
    serve disk "$place/lower.img" "$place/copy.img" checkpoint=never
    PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri disk)" -c - 2>&1 <<END
assert h.pread(4096, 8 << 20) == b'f' * 4096
assert h.pread(4096, 12 << 20) == bytes(4096)
END
    stop_server disk
    umount "$place"
}

[ $# -gt 0 ] || set -- xfs btrfs
ran=0
for fs; do
    if ! command -v "mkfs.$fs" >/dev/null || ! grep -qw "$fs" /proc/filesystems; then
        step "$fs: this machine has none"
        continue
    fi
    step "$fs: full, after a reflink copy"
    mount_host "$fs"
    run_case "$fs"
    ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || skip "this machine has neither XFS nor Btrfs"
