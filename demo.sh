#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# ./demo.sh [LOWER.img]
#
# Shows what this is for, on an ext2 image of yours or on a small one it makes: the
# image is served with a writable upper over it, changed, and served again; then the
# changes are there, and the image is what it was.  Installs what is missing, builds,
# prints every command it runs, and leaves nothing behind but the build directory.
#
# How the disk is attached depends on the machine, best way first: the kernel's NBD
# client; nbdfuse and a loop device; or, without root, libnbd's tools alone.  ATTACH=
# chooses one: nbd-client, nbdfuse or libnbd.
set -euo pipefail
lower=
[ "$#" = 0 ] || [ "$1" = --help ] || lower=$(realpath -e -- "$1")
cd "$(dirname "$0")"
# Debian's own first: its nbdsh needs its python3.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH

say() { printf '\n# %s\n' "$*"; }

# run COMMAND... - prints it as one would type it, then runs it.  What it prints itself
# may be piped away, the command is shown all the same.
exec 3>&1
run() {
    printf '$ %s\n' "$(quoted "$@")" >&3
    "$@"
}

# Words that need no quotes stay as they are, others get single ones.
quoted() {
    local word line=
    for word in "$@"; do
        case "$word" in
        *\'*) line+=" \"$word\"" ;;
        *[!A-Za-z0-9_./:=,+@%-]* | '') line+=" '$word'" ;;
        *) line+=" $word" ;;
        esac
    done
    printf '%s' "${line# }"
}

if [ "$#" -gt 1 ] || [ "${1:-}" = --help ]; then
    sed -n '4,14s/^# \{0,1\}//p' "${0##*/}"
    [ "${1:-}" = --help ] && exit 0
    exit 2
fi

# ---- building ------------------------------------------------------------------

# Only what is shown is built, in a directory of its own.  Files joined to large pieces
# are compiled sooner, and so is code that is optimized a little and without debug
# information.
say "Packages and build (minutes, the first time)"
run scripts/install-packages.sh build demo
build=${BUILD_DIR:-build-demo}
[ -f "$build/build.ninja" ] ||
    run meson setup "$build" -Dtests=disabled -Doptimization=1 -Ddebug=false \
        -Dunity=on -Db_pch=false >/dev/null
run ninja --quiet -C "$build" plugin/nbdkit-unionfs-plugin.so tools/unionfs-img
source=$PWD
plugin=$(realpath -- "$build/plugin/nbdkit-unionfs-plugin.so")
unionfs_img=$(realpath -- "$build/tools/unionfs-img")

work=$(mktemp -d "${TMPDIR:-/var/tmp}/unionfs-demo.XXXXXX")
uri="nbd+unix:///?socket=demo.sock"
device=
mounted=
server=
fuse=

clean_up() {
    set +e
    [ -z "$mounted" ] || umount mnt
    [ -z "$device" ] || detach
    ! mountpoint -q fuse || umount_fuse
    [ -z "$server" ] || kill "$server" 2>/dev/null
    wait
    cd /
    rm -rf --one-file-system -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
run cd "$work"

# ---- attaching -----------------------------------------------------------------

# The first of the kernel's NBD devices that is not in use.
free_nbd_device() {
    local place
    for place in /dev/nbd[0-9] /dev/nbd[0-9][0-9]; do
        [ -b "$place" ] || continue
        nbd-client -c "$place" >/dev/null || { echo "$place" && return; }
    done
    return 1
}

choose_attach() {
    if [ "$(id -u)" != 0 ]; then
        echo libnbd
    elif { [ -b /dev/nbd0 ] || modprobe nbd 2>/dev/null; } && free_nbd_device >/dev/null; then
        echo nbd-client
    elif [ -c /dev/fuse ] && losetup --find >/dev/null 2>&1; then
        echo nbdfuse
    else
        echo libnbd
    fi
}

# attach - makes the served disk a block device, $device.
attach() {
    if [ "$attach" = nbd-client ]; then
        device=$(free_nbd_device)
        run nbd-client -unix demo.sock "$device"
        return
    fi
    mkdir -p fuse
    printf '$ nbdfuse fuse %s &\n' "'$uri'"
    nbdfuse fuse "$uri" &
    fuse=$!
    until [ -f fuse/nbd ]; do
        kill -0 "$fuse" # or nbdfuse has ended
        sleep 0.1
    done
    echo '$ losetup --find --show fuse/nbd'
    device=$(losetup --find --show fuse/nbd)
    echo "$device"
}

detach() {
    if [ "$attach" = nbd-client ]; then
        run nbd-client -d "$device"
    else
        run losetup -d "$device"
        echo '$ umount fuse'
        umount_fuse
    fi
    device=
}

# The kernel lets go of the file below a loop device a moment after losetup -d.
umount_fuse() {
    local tries
    for tries in $(seq 100); do
        umount fuse 2>/dev/null && break
        [ "$tries" -lt 100 ] || umount -l fuse
        sleep 0.1
    done
    wait "$fuse" || true
}

# serve ARGS... - starts nbdkit with these arguments behind the lower; returns when it can be
# connected to.
serve() {
    rm -f -- demo.pid
    [ ! -e demo.sock ] || run rm demo.sock # nbdkit leaves it, and does not replace it
    printf '$ nbdkit -U demo.sock %s &\n' "$(quoted "$plugin" "$lower" "$@")"
    nbdkit --exit-with-parent --foreground --pidfile demo.pid -U demo.sock \
        "$plugin" "$lower" "$@" &
    server=$!
    until [ -s demo.pid ]; do
        kill -0 "$server" # or nbdkit has ended, and said why
        sleep 0.1
    done
}

stop_serving() {
    printf '$ kill %s # nbdkit\n' "$server"
    kill "$server"
    wait "$server"
    server=
}

# ---- what is shown, with a mounted disk ------------------------------------------

mount_disk() {
    attach
    mkdir -p mnt
    run mount -t ext2 "$device" mnt
    mounted=1
}

unmount_disk() {
    run umount mnt
    mounted=
    detach
}

change_mounted() {
    local mover='' victim=''
    mount_disk
    run ls -l mnt
    run df -h mnt
    # Any two files will do as the ones to move and to delete.
    { read -r mover && read -r victim; } < <(find mnt -xdev -type f -size +0 | sort) || true
    run mkdir mnt/new-directory
    run cp "$source/LICENSE" mnt/new-directory/
    [ -z "$mover" ] || run mv "$mover" mnt/new-directory/moved-file
    [ -z "$victim" ] || [ "$victim" = mnt/numbers ] || run rm "$victim"
    if [ -f mnt/numbers ]; then
        say "One byte of a file of $(stat -c %s mnt/numbers) bytes"
        run dd if="$source/LICENSE" of=mnt/numbers bs=1 count=1 seek=20000000 conv=notrunc status=none
    fi
    unmount_disk
}

show_mounted() {
    mount_disk
    run find mnt/new-directory -ls
    run cmp "$source/LICENSE" mnt/new-directory/LICENSE
    unmount_disk
}

# ---- and without ------------------------------------------------------------------

# Root is needed to mount.  Without it the disk is copied out, changed with debugfs,
# and what has changed is written back.
change_unmounted() {
    run nbdcopy --destination-is-zero "$uri" copy.img
    run cp --sparse=always copy.img before.img
    run debugfs -R "ls -l /" copy.img
    run debugfs -w -R "mkdir new-directory" copy.img
    run debugfs -w -R "write $source/LICENSE new-directory/LICENSE" copy.img
    cat >write-back.py <<'END'
before, after = open("before.img", "rb"), open("copy.img", "rb")
offset = 0
while piece := after.read(4096):
    if before.read(4096) != piece:
        h.pwrite(piece, offset)
    offset += len(piece)
h.flush()
END
    run nbdsh -u "$uri" -c "exec(open('write-back.py').read())"
    rm -f -- before.img copy.img
}

show_unmounted() {
    run nbdcopy --destination-is-zero "$uri" copy.img
    run debugfs -R "ls -l new-directory" copy.img
    run debugfs -R "dump new-directory/LICENSE LICENSE" copy.img
    run cmp "$source/LICENSE" LICENSE
    rm -f -- copy.img
}

# ---- the story ----------------------------------------------------------------------

attach=${ATTACH:-$(choose_attach)}
if [ "$attach" = libnbd ]; then
    way=unmounted
    say "The disk will not be mounted (that needs root, and a kernel with NBD, or FUSE and loop)"
else
    way=mounted
    say "The disk will be attached with $attach and mounted"
fi

if [ -z "$lower" ]; then
    say "A lower: this directory's documents, and a large file"
    lower=lower.img
    mkdir tree
    cp -R "$source/docs" "$source/README.md" tree/
    echo '$ seq 4000000 >tree/numbers'
    seq 4000000 >tree/numbers
    run truncate -s 64M "$lower"
    run mke2fs -q -t ext2 -d tree "$lower"
    rm -rf -- tree
fi
run sha256sum "$lower" | tee lower.sha256

say "It is served with a new upper over it, and changed (nbdkit calls whatever a plugin tells an error)"
serve upper.img
"change_$way"
stop_serving

say "It is served again: the changes are there"
serve upper.img
"show_$way"
run nbdcopy --destination-is-zero "$uri" copy.img
run e2fsck -fn copy.img
stop_serving

say "The upper holds what changed, as files; a fallthru comes from below, a whiteout is gone"
run "$unionfs_img" diff --lower "$lower" upper.img
run "$unionfs_img" ls --long --lower "$lower" upper.img
run "$unionfs_img" check --lower "$lower" upper.img

say "The lower is what it was, and the upper is small"
run sha256sum --check lower.sha256
run ls -lhs "$lower" upper.img
printf '%s\n' "The second number is how long a file is, the first what it takes on disk."

say "The lower is built anew, here with one file more: the changes come along"
run cp --sparse=always "$lower" rebuilt.img
run debugfs -w -R "write $source/LICENSE new-in-the-lower" rebuilt.img
run "$unionfs_img" rebase --lower "$lower" --onto rebuilt.img upper.img
run "$unionfs_img" diff --lower rebuilt.img upper.img
run "$unionfs_img" check --lower rebuilt.img upper.img

say "What the job changed leaves as a layer of a container image ..."
run "$unionfs_img" export --lower rebuilt.img upper.img job.tar.gz
run tar -tzf job.tar.gz | sed -n 1,10p
say "... and comes back as an upper, here over another disk: a base made of a directory"
mkdir -p files/etc
echo 'made of a directory' >files/etc/issue
run "$unionfs_img" mkbase files made.img
run "$unionfs_img" import --lower made.img job.tar.gz imported.img
run "$unionfs_img" diff --stat --lower made.img imported.img
run "$unionfs_img" cat --lower made.img imported.img /etc/issue

say "A disk is frozen while it is served, as it is at one moment: a snapshot, and the disk goes on above it"
lower=rebuilt.img
serve upper.img control=control.sock
[ "$way" = unmounted ] || mount_disk
run "$unionfs_img" --control control.sock snapshot monday.img
if [ "$way" = mounted ]; then
    run cp "$source/README.md" mnt/after-the-snapshot
    unmount_disk
fi
stop_serving
run "$unionfs_img" info --lower rebuilt.img monday.img
run ls -lhs monday.img upper.img

say "One server has many disks: each export is an upper of a directory, made at its first write"
mkdir uppers
serve dir=uppers control=control.sock
for name in anna bert; do
    run nbdsh -u "nbd+unix:///$name?socket=demo.sock" -c 'h.pwrite(h.pread(1024, 1024), 1024)'
done
run nbdinfo --list "$uri" | grep "^export="
run "$unionfs_img" --control control.sock --export anna snapshot anna.monday
stop_serving
run ls -lhs uppers

say "The lower is at another server, and the host keeps what was read of it"
rm -f base.sock
nbdkit --exit-with-parent -f -r -P base.pid -U base.sock file "$lower" &
base_pid=$!
until [ -s base.pid ]; do sleep 0.05; done
lower="nbd+unix:///?socket=$PWD/base.sock"
for start in first second; do
    serve far.img cache=base.cache control=control.sock
    run nbdcopy "$uri" null:
    run "$unionfs_img" --control control.sock metrics | grep '^unionfs_cache_clusters_total'
    stop_serving
    echo "That was the $start start."
done
run ls -lhs base.cache
kill "$base_pid"
wait "$base_pid" 2>/dev/null || true
