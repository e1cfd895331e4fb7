#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# against-overlayfs.sh [--json FILE] [--short] [PART...]
#
# What a change to a lower costs with this plugin, and what it costs with the
# kernel's overlayfs on the same machine and storage:
#
#   byte      one byte written into a file of 2 GiB
#   rename    a directory of 50,000 files gets another name
#   install   apt-get install of a package into a debootstrap root
#   write     2 GiB written into a new file; also on a plain image, served the same way
#   open      opening a layer of 100,000 own files
#
# Here: the merged disk, served by nbdkit, attached with nbdfuse and a loop device
# and mounted by the kernel; its checkpoint is made and timed afterwards, by
# `unionfs-img checkpoint`. overlayfs: the same lower image, loop-mounted read-only,
# below a directory of a fresh ext4 in a file beside the upper, also on a loop
# device. Neither cache is dropped: both find the lower in the host's memory.
#
# The time of a change runs until it is made and `sync -f` has returned. Bytes are
# what `du` finds more than before in the upper: after the checkpoint, and (the last
# column) before it, as a session; of overlayfs, in the upper directory, and (the last
# column) in the file of its ext4.
#
# Environment, besides what tests/lib/common.sh reads:
#   REPEAT       how often each is done, from a fresh upper each time (default 3)
#   UPPER_FS     the file system below overlayfs' upper directory (default ext4)
#   APT_PACKAGE  what is installed (default git)
#   MIRROR       for debootstrap (default: the first that apt uses on this machine)
#   BENCH_CACHE  where the root and the packages are kept (default: not kept)
#
# Needs root, a Debian for `install`, and up to 12 GiB below $TMPDIR.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

PARTS=(byte rename install write open)
REPEAT=${REPEAT:-3}
UPPER_FS=${UPPER_FS:-ext4}
APT_PACKAGE=${APT_PACKAGE:-git}
UNIONFS_IMG=${UNIONFS_IMG:-$BUILD_DIR/tools/unionfs-img}
large_mib=2048 rename_files=50000 open_files=100000
json=
parts=()
while [ $# -gt 0 ]; do
    case "$1" in
    --json)
        json=$(realpath -m -- "$2")
        shift
        ;;
    # Only to see that all of it works.
    --short) large_mib=32 rename_files=500 open_files=500 REPEAT=1 ;;
    byte | rename | install | write | open) parts+=("$1") ;;
    *) fail "usage: ${0##*/} [--json FILE] [--short] [${PARTS[*]}]" ;;
    esac
    shift
done
[ "${#parts[@]}" -gt 0 ] || parts=("${PARTS[@]}")

require mke2fs e2fsck nbdkit perl python3 du sync "mkfs.$UPPER_FS"
/usr/bin/python3 -c 'import nbd' 2>/dev/null || skip "this machine has no libnbd for Python"
require_kernel_mount
modprobe -q overlay 2>/dev/null || true
grep -qw overlay /proc/filesystems || skip "this kernel knows no overlayfs"
make_work
lower=$WORK/lower.img upper=$WORK/upper.img ours=$WORK/ours
below=$WORK/below above_image=$WORK/above.img above=$WORK/above union=$WORK/union
samples=$WORK/samples.tsv root_archive=${BENCH_CACHE:-$WORK}/against-overlayfs-$APT_PACKAGE.tar
: >"$samples"

# ---- figures -----------------------------------------------------------------

# record PART SYSTEM FIGURE VALUE
record() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$samples"; }

bytes_of() { du -s --block-size=1 "$1" | cut -f1; }

# seconds_of COMMAND... - its time in $seconds; its output goes to the log.
seconds_of() {
    local began=$EPOCHREALTIME ended
    # A subshell: what fails in it is told where it can be seen.
    ("$@") >>"$WORK/commands.log" 2>&1
    ended=$EPOCHREALTIME
    seconds=$(awk -v began="$began" -v ended="$ended" 'BEGIN { printf "%.4f", ended - began }')
}

# change_and_sync DIRECTORY COMMAND... - the command in the directory, and on the disk.
change_and_sync() {
    cd "$1"
    "${@:2}"
    sync -f .
}

# ---- lowers ------------------------------------------------------------------

# make_lower SIZE COMMAND... - an image that the command fills.
make_lower() {
    local size=$1
    rm -f -- "$lower"
    truncate -s "$size" "$lower"
    mke2fs -q -t ext2 -b 4096 -I 256 "$lower" >"$WORK/mke2fs.log" 2>&1
    mkdir -p "$WORK/build"
    mount -t ext2 -o loop "$lower" "$WORK/build"
    "${@:2}" "$WORK/build"
    umount "$WORK/build"
    sync -f "$lower"
    check_clean "$lower"
}

# Bytes that no host stores as a hole.
stuff() { yes "not a zero in sight" | head -c "$1"M || [ $? = 141 ]; }

fill_large() { stuff "$large_mib" >"$1/large"; }
fill_nothing() { mkdir "$1/directory"; }

# make_files DIRECTORY COUNT
make_files() {
    python3 - "$@" <<'END'
import os, sys
os.makedirs(sys.argv[1])
os.chdir(sys.argv[1])
for number in range(int(sys.argv[2])):
    with open(f"file-{number:06}", "w") as file:
        file.write(f"this is the file number {number}\n" * 3)
END
}

fill_files() { make_files "$1/directory" "$rename_files"; }

fill_root() { tar -C "$1" --numeric-owner --xattrs -xpf "$root_archive"; }

# Without it one part is left out; what the others measure is told all the same.
no_root() { printf 'SKIP: install: %s\n' "$*" >&2; }

# make_root_archive - a root, and the packages beside it, with no word about where they
# came from. If it cannot be made, it says why, and there is none.
make_root_archive() {
    local root=$WORK/root mirror tool
    for tool in debootstrap apt-get tar; do
        command -v "$tool" >/dev/null || {
            no_root "this machine has no $tool"
            return 0
        }
    done
    mirror=${MIRROR:-$(debian_mirror)}
    step "debootstrap makes a root, apt-get downloads $APT_PACKAGE"
    debootstrap --variant=minbase bookworm "$root" ${mirror:+"$mirror"} \
        >"$WORK/debootstrap.log" 2>&1 || {
        no_root "debootstrap cannot make a root here"
        return 0
    }
    mkdir -p "$root/packages/partial"
    apt-get -o Dir::State::Status="$root/var/lib/dpkg/status" \
        -o Dir::Cache::archives="$root/packages" -o APT::Sandbox::User=root \
        --yes --no-install-recommends --download-only \
        install "$APT_PACKAGE" >"$WORK/download.log" 2>&1 || {
        no_root "apt-get cannot download $APT_PACKAGE"
        return 0
    }
    rm -rf -- "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/* \
        "$root/var/log/bootstrap.log" "$root"/etc/{resolv.conf,hostname,apt/sources.list} \
        "$root"/packages/{lock,partial}
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    mkdir -p "${root_archive%/*}"
    tar -C "$root" --numeric-owner --xattrs -cf "$root_archive.new" .
    mv -- "$root_archive.new" "$root_archive"
    rm -rf --one-file-system -- "$root"
}

# ---- the two systems -----------------------------------------------------------

# begin_ours [SIZE] - a fresh upper, mounted.
begin_ours() {
    rm -f -- "$upper"
    "$UNIONFS_IMG" create -b "$lower" ${1:+-s "$1"} "$upper" >>"$WORK/commands.log"
    sync -f "$upper"
    before=$(bytes_of "$upper")
    serve ours "$lower" "$upper" checkpoint=never
    mount_merged ours "$ours" noatime
}

# end_ours PART - the session, the checkpoint, and what is left.
end_ours() {
    unmount_merged ours
    stop_server ours
    record "$1" "this plugin" "bytes of the session" $(($(bytes_of "$upper") - before))
    seconds_of "$UNIONFS_IMG" checkpoint -b "$lower" "$upper"
    record "$1" "this plugin" "seconds of the checkpoint" "$seconds"
    record "$1" "this plugin" "bytes" $(($(bytes_of "$upper") - before))
}

# begin_overlayfs SIZE [OPTIONS] - a fresh upper directory, mounted over the lower.
begin_overlayfs() {
    rm -f -- "$above_image"
    truncate -s "$1" "$above_image"
    "mkfs.$UPPER_FS" -q "$above_image" >"$WORK/mkfs.log" 2>&1
    mkdir -p "$below" "$above" "$union"
    mount -t ext2 -o loop,ro "$lower" "$below"
    # Tables that ext4 makes later, in the background, would count as ours to pay.
    mount -t "$UPPER_FS" -o "loop,noatime$([ "$UPPER_FS" != ext4 ] || echo ,noinit_itable)" \
        "$above_image" "$above"
    mkdir -p "$above/upper" "$above/work"
    mount_overlayfs "${2:-redirect_dir=on}"
    sync -f "$above"
    before=$(bytes_of "$above/upper") before_file=$(bytes_of "$above_image")
}

mount_overlayfs() {
    mount -t overlay -o "lowerdir=$below,upperdir=$above/upper,workdir=$above/work,$1" \
        overlay "$union"
}

# end_overlayfs PART [SYSTEM]
end_overlayfs() {
    local system=${2:-overlayfs}
    record "$1" "$system" "bytes" $(($(bytes_of "$above/upper") - before))
    umount "$union"
    umount "$above"
    umount "$below"
    record "$1" "$system" "bytes of its file system" $(($(bytes_of "$above_image") - before_file))
}

# measure PART SYSTEM DIRECTORY COMMAND...
measure() {
    seconds_of change_and_sync "$3" "${@:4}"
    record "$1" "$2" "seconds" "$seconds"
}

# ---- the parts -----------------------------------------------------------------

write_byte() { printf 'X' | dd of=large bs=1 seek=$((large_mib * 1024 * 512 + 7)) conv=notrunc; }

part_byte() {
    local round
    make_lower "$((large_mib + large_mib / 8))M" fill_large
    for ((round = 0; round < REPEAT; round++)); do
        begin_ours
        measure byte "this plugin" "$ours" write_byte
        end_ours byte
        begin_overlayfs "$((large_mib * 3 / 2 + 64))M"
        measure byte overlayfs "$union" write_byte
        end_overlayfs byte
    done
}

# The one call that programs make; mv would start to copy where it fails.
rename_directory() { perl -e 'rename("directory", "renamed") or die "$!\n"'; }

part_rename() {
    local round system="overlayfs, redirect_dir=off, mv copies"
    make_lower 1G fill_files
    for ((round = 0; round < REPEAT; round++)); do
        begin_ours
        measure rename "this plugin" "$ours" rename_directory
        [ "$(find "$ours/renamed" -type f | wc -l)" = "$rename_files" ] || fail "files are missing"
        end_ours rename
        begin_overlayfs 2G
        measure rename "overlayfs, redirect_dir=on" "$union" rename_directory
        end_overlayfs rename "overlayfs, redirect_dir=on"
        begin_overlayfs 2G redirect_dir=off
        if (cd "$union" && rename_directory) 2>"$WORK/rename.txt"; then
            fail "overlayfs renames a lower directory with redirect_dir=off"
        fi
        grep -q 'cross-device' "$WORK/rename.txt" || fail "rename: $(tail -n 1 "$WORK/rename.txt")"
        measure rename "$system" "$union" mv directory renamed
        end_overlayfs rename "$system"
    done
}

# apt-get is asked for files, so it wants no lists and no network.
install_package() {
    local status=0
    mount -t proc proc proc
    mount --bind /dev dev
    mount --bind /dev/pts dev/pts
    chroot . sh -c 'DEBIAN_FRONTEND=noninteractive apt-get install --yes \
        --no-install-recommends /packages/*.deb' || status=$?
    umount dev/pts dev proc
    [ "$status" = 0 ] || return "$status"
    chroot . dpkg --status "$APT_PACKAGE" | grep -q '^Status: install ok installed'
}

part_install() {
    local round
    [ -s "$root_archive" ] || make_root_archive
    [ -s "$root_archive" ] || return 0
    make_lower 1536M fill_root
    for ((round = 0; round < REPEAT; round++)); do
        begin_ours
        measure install "this plugin" "$ours" install_package
        end_ours install
        begin_overlayfs 2G
        measure install overlayfs "$union" install_package
        end_overlayfs install
    done
}

write_stuff() { dd if="$WORK/stuff" of=directory/new bs=1M; }

# A plain image of the same size on the same way: what of the time is the way's.
write_plainly() {
    local image=$WORK/plain.img
    rm -f -- "$image"
    truncate -s "$((large_mib * 2 + 512))M" "$image"
    mke2fs -q -t ext2 -b 4096 -I 256 "$image" >"$WORK/mke2fs.log" 2>&1
    UNIONFS_PLUGIN='file' serve plain "$image"
    mount_merged plain "$WORK/plain" noatime
    mkdir "$WORK/plain/directory"
    sync -f "$WORK/plain"
    before=$(bytes_of "$image")
    measure write "nbdkit file, no union" "$WORK/plain" write_stuff
    unmount_merged plain
    stop_server plain
    record write "nbdkit file, no union" "bytes" $(($(bytes_of "$image") - before))
    rm -f -- "$image"
}

part_write() {
    local round
    make_lower 256M fill_nothing
    # In the host's memory, so that reading it costs next to nothing.
    stuff "$large_mib" >"$WORK/stuff"
    sync -f "$WORK/stuff"
    for ((round = 0; round < REPEAT; round++)); do
        begin_ours "$((large_mib * 2 + 512))M"
        measure write "this plugin" "$ours" write_stuff
        end_ours write
        begin_overlayfs "$((large_mib * 2 + 512))M"
        measure write overlayfs "$union" write_stuff
        end_overlayfs write
        write_plainly
    done
    rm -f -- "$WORK/stuff" "$above_image"
}

# Seconds from the start of nbdkit until the root directory's inode was answered.
open_seconds() {
    PLUGIN=$UNIONFS_PLUGIN /usr/bin/python3 - "$@" <<'END'
import os, sys, time
import nbd
h = nbd.NBD()
began = time.monotonic()
h.connect_command(["nbdkit", "-s", "--exit-with-parent", os.environ["PLUGIN"], *sys.argv[1:]])
h.pread(4096, 1024)
h.pread(4096, 4 * 4096)
print(f"{time.monotonic() - began:.4f}")
h.shutdown()
END
}

part_open() {
    local round system="this plugin, an empty layer" empty=$WORK/empty.img
    make_lower 256M fill_nothing
    begin_ours 2G
    measure open "making them, this plugin" "$ours" make_files own "$open_files"
    end_ours "open"
    begin_overlayfs 2G
    measure open "making them, overlayfs" "$union" make_files own "$open_files"
    "$UNIONFS_IMG" create -b "$lower" -s 2G "$empty" >>"$WORK/commands.log"
    for ((round = 0; round < REPEAT * 3; round++)); do
        record open "this plugin" "seconds" "$(open_seconds "$lower" "$upper" checkpoint=never)"
        record open "$system" "seconds" "$(open_seconds "$lower" "$empty" checkpoint=never)"
        umount "$union"
        umount "$above"
        seconds_of mount -t "$UPPER_FS" -o loop,noatime "$above_image" "$above"
        record open "overlayfs, mount of its file system" "seconds" "$seconds"
        seconds_of mount_overlayfs redirect_dir=on
        record open "overlayfs" "seconds" "$seconds"
    done
    end_overlayfs open
}

# ---- what is told --------------------------------------------------------------

report() {
    python3 -c '
import json, platform, statistics, sys

samples = {}
for line in open(sys.argv[1]):
    part, system, figure, value = line.rstrip("\n").split("\t")
    samples.setdefault(part, {}).setdefault(system, {}).setdefault(figure, []).append(float(value))

def seconds(values):
    if not values:
        return "-"
    middle = statistics.median(values)
    spread = f" ({min(values):.3f}-{max(values):.3f})" if len(values) > 1 else ""
    return f"{middle:.3f}{spread}"

def size(values):
    if not values:
        return "-"
    middle = statistics.median(values)
    for unit in ("B", "KiB", "MiB"):
        if abs(middle) < 1024:
            break
        middle /= 1024
    else:
        unit = "GiB"
    return f"{middle:.4g} {unit}"

rows = [("part", "system", "seconds", "checkpoint, seconds", "bytes", "session / its file system")]
for part, systems in samples.items():
    for system, figures in systems.items():
        raw = figures.get("bytes of the session") or figures.get("bytes of its file system", [])
        rows.append((part, system, seconds(figures.get("seconds", [])),
                     seconds(figures.get("seconds of the checkpoint", [])),
                     size(figures.get("bytes", [])), size(raw)))
widths = [max(map(len, column)) for column in zip(*rows)]
for row in rows:
    print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
if sys.argv[2]:
    with open(sys.argv[2], "w") as file:
        json.dump({"kernel": platform.release(), "samples": samples}, file, indent=1)
' "$samples" "$json"
}

for part in "${parts[@]}"; do
    step "$part"
    "part_$part"
done
[ -s "$samples" ] || skip "nothing was measured"
step "medians (and ranges) of $REPEAT, $(nproc) CPUs, kernel $(uname -r), $UPPER_FS below overlayfs"
report
