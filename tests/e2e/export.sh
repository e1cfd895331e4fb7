#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# export.sh [CASE...] - what a layer changes, in the forms of others, and judged by them: umoci
# unpacks it, skopeo copies it, the kernel's overlayfs shows it, and what comes out is the
# mounted merged disk. The cases are the functions called case_*.
#
# Environment, besides what tests/lib/common.sh reads:
#   SEEDS  of the random layers (default "1 2 3")
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

SEEDS=${SEEDS:-1 2 3}
require mke2fs e2fsck debugfs nbdkit python3 tar
make_work
IMG=$(realpath "$BUILD_DIR/tools/unionfs-img")
FS_TREE=$(realpath "$BUILD_DIR/tests/fs/fs-tree")
UNIONFS_PLUGIN=$(realpath "$UNIONFS_PLUGIN")
random_rounds=$(realpath "$(dirname "$0")/../rebase/random_rounds.py")

# ---- trees -------------------------------------------------------------------------

# tree_of DIR - all that a layer can say. It has no inode flags, no sockets and whole seconds,
# and how many links a directory has is each file system's own matter.
tree_of() {
    "$FS_TREE" --times "$1" |
        sed -E 's/ flags=[0-9a-f]+//; s/^([^ ]+ d .*) nlink=[0-9]+/\1/; s/ ctime=[^ ]+//
                s/( mtime=-?[0-9]+)\.[0-9]+/\1/; /^[^ ]+ s /d'
}

# same_tree DIR WHAT - what is in it is what ./merged.txt says.
same_tree() {
    tree_of "$1" >found.txt
    same_files merged.txt found.txt "$2 has another tree (seed ${seed:-none})"
}

# export_to STATUS ARGUMENTS... - what it says is in ./out.
export_to() {
    local wanted=$1 status=0
    shift
    "$IMG" export "$@" >out 2>&1 || status=$?
    [ "$status" = "$wanted" ] || fail "export $* ended with status $status: $(cat out)"
}

# make_lower - lower.img of a few files.
make_lower() {
    rm -rf base lower.img upper.img
    mkdir -p base/{etc,dir/deep,gone}
    echo 'setting=1' >base/etc/conf
    seq 1 30000 >base/dir/numbers
    echo x >base/gone/x
    touch base/gone/.wh.marked
    ln -s ../dir/numbers base/etc/link
    truncate -s 16M lower.img
    mke2fs -q -F -t ext2 -b 1024 -d base lower.img
}

# change_by COMMAND - mounts the disk of lower.img and upper.img, runs it there, and takes the
# layer.
change_by() {
    serve merged lower.img upper.img size=32M
    mount_merged merged "$WORK/mount"
    (cd "$WORK/mount" && eval "$1")
    unmount_merged merged
    stop_server merged
}

# ---- cases -------------------------------------------------------------------------

# export_image - merged.txt, of the mounted disk of lower.img and upper.img; the image
# layout/base:new, whose last layer is upper.img. Leaves lower.img mounted on lower.
export_image() {
    mkdir lower layout
    mount -o ro,loop lower.img lower
    serve merged lower.img upper.img
    mount_merged merged "$WORK/mount" ro
    tree_of "$WORK/mount" >merged.txt
    unmount_merged merged
    stop_server merged

    umoci init --layout layout/base
    umoci new --image layout/base:old
    umoci unpack --image layout/base:old bundle >/dev/null 2>&1
    cp -a lower/. bundle/rootfs/
    umoci repack --image layout/base:old bundle >/dev/null 2>&1
    export_to 0 -b lower.img --image layout/base:old --tag new upper.img
}

# judge_layer - lower.img and upper.img: each form against the mounted disk.
judge_layer() {
    mkdir overlay work extracted
    export_image
    umoci unpack --image layout/base:new unpacked >umoci.log 2>&1
    same_tree unpacked/rootfs umoci
    "$IMG" extract -b lower.img -C extracted upper.img
    same_tree extracted extract
    skopeo copy -q oci:layout/base:new dir:copied

    export_to 0 -b lower.img --format=overlayfs upper.img upper
    mount -t overlay overlay -o "lowerdir=lower,upperdir=upper,workdir=work" overlay
    # It still counts the links of a file of the lower that are whited out.
    sed -i 's/ nlink=[0-9]*//' merged.txt
    tree_of overlay | sed 's/ nlink=[0-9]*//' >found.txt
    same_files merged.txt found.txt "overlayfs has another tree (seed $seed)"
    umount overlay lower
}

case_random() {
    require umoci skopeo
    require_kernel_mount
    grep -qw overlay /proc/filesystems || modprobe -q overlay || skip "this kernel has no overlayfs"
    for seed in $SEEDS; do
        step "random layer $seed"
        rm -rf "round.$seed"
        mkdir "round.$seed"
        cd "round.$seed"
        local way checkpoint target
        read -r way checkpoint < <(python3 "$random_rounds" make "$seed" .)
        serve merged old.img upper.img size=24M "checkpoint=$checkpoint"
        if [ "$way" = kernel ]; then
            target=$WORK/mount
            mount_merged merged "$target"
        else
            attach merged
            target=$WORK/merged.fuse/nbd
        fi
        python3 "$random_rounds" change "$seed" . "$target"
        if [ "$way" = kernel ]; then unmount_merged merged; else detach merged; fi
        stop_server merged
        mv old.img lower.img
        judge_layer
        cd ..
        rm -rf "round.$seed"
    done
    unset seed
}

# podman is large, and one test needs it: it is asked where it is.
case_podman() {
    local missing tool
    for tool in podman umoci skopeo; do
        command -v "$tool" >/dev/null || missing="${missing:-} $tool"
    done
    if [ -n "${missing:-}" ]; then
        step "podman: not asked, because this machine has no$missing"
        return
    fi
    require_kernel_mount
    step "podman pulls the image, and saves what mkbase reads"
    make_lower
    debugfs -w -R 'rm /gone/.wh.marked' lower.img 2>/dev/null # umoci takes no such name
    change_by 'rm gone/x; echo 2 >etc/conf; mv dir moved; chown 5:6 etc/conf
               ln etc/conf etc/more; mknod null c 1 3; setfattr -n user.colour -v blue etc/conf'
    export_image
    umount lower
    local id place
    # Without root's own containers, and without a daemon.
    podman_here() {
        podman --root "$PWD/store" --runroot "$PWD/run" --tmpdir "$PWD/tmp" --storage-driver vfs \
            --events-backend none --cgroup-manager cgroupfs "$@" 2>>"$WORK/podman.log"
    }
    id=$(podman_here pull -q oci:layout/base:new) # it makes a name of the path, in lower case
    place=$(podman_here image mount "$id")
    # It unpacks into a directory of its own, whose time stays.
    touch -d "@$(sed -n '1s/.*mtime=//p' merged.txt)" "$place"
    same_tree "$place" podman
    podman_here image unmount "$id" >/dev/null
    podman_here save -q --format docker-archive -o saved.tar "$id"
    "$IMG" mkbase saved.tar saved.img >out
    mkdir saved
    mount -o ro,loop saved.img saved
    same_tree saved "a base of what podman saved"
    umount saved
}

case_same_bytes() {
    require_kernel_mount
    step "the same tar, whatever the environment is"
    make_lower
    # shellcheck disable=SC2016  # it is for the shell in the directory
    change_by 'echo 2 >etc/conf; rm -r gone/x; mv dir moved; touch "$(printf "\303\244\377")"
               ln etc/conf etc/more; mknod null c 1 3; touch -d @1000000000.5 etc/conf'
    export_to 0 -b lower.img upper.img first.tar
    local here=$PWD
    (umask 077 && export LC_ALL=C.UTF-8 TZ=Asia/Tokyo HOME=/none USER=nobody && cd / &&
        "$IMG" export -b "$here/lower.img" "$here/upper.img" - >"$here/second.tar")
    cmp first.tar second.tar
    export_to 0 -b lower.img upper.img first.tar.gz
    export_to 0 -b lower.img --format=tar.zst upper.img first.zst
    gzip -dc first.tar.gz | cmp - first.tar
    zstd -dcq first.zst | cmp - first.tar
    [ "$(stat -c %a first.tar)" = 644 ] || fail "first.tar has mode $(stat -c %a first.tar)"
    "$IMG" export -b lower.img --format=tar.gz upper.img - | cmp - first.tar.gz
    TZ=UTC tar --full-time -tvf first.tar >list 2>/dev/null
    grep -q '2001-09-09 01:46:40 etc/conf$' list || fail "the time of etc/conf: $(cat list)"
    [ "$(grep -c '1970-01-01 00:00:00 \(gone/\)\?.wh.' list)" = 2 ] || fail "whiteouts: $(cat list)"
    SOURCE_DATE_EPOCH=86400 "$IMG" export -b lower.img --nanoseconds upper.img other.tar
    TZ=UTC tar --full-time -tvf other.tar >list 2>/dev/null
    grep -q '01:46:40\.5 *etc/conf$' list || fail "--nanoseconds: $(cat list)"
    grep -q '1970-01-02 00:00:00 *gone/.wh.x$' list || fail "SOURCE_DATE_EPOCH: $(cat list)"
    SOURCE_DATE_EPOCH=soon export_to 1 -b lower.img upper.img no.tar
    grep -q 'SOURCE_DATE_EPOCH is "soon", and not' out || fail "$(cat out)"
}

# refused TEXT ARGUMENTS... - it says so, and leaves nothing.
refused() {
    local text=$1
    shift
    ls -A >before
    export_to 1 "$@"
    grep -qe "$text" out || fail "export $*: not \"$text\", but: $(cat out)"
    ls -A >after
    same_files before after "export $* left something"
}

case_refused() {
    require_kernel_mount
    make_lower
    touch before after out there.tar
    step "arguments"
    "$IMG" create -b lower.img upper.img
    refused 'there.tar: exists already' -b lower.img upper.img there.tar
    refused 'ends neither in .tar' -b lower.img upper.img layer
    refused 'one of OUT and --image' -b lower.img upper.img
    refused 'go together' -b lower.img --image layout upper.img
    refused 'makes a directory' -b lower.img --format=overlayfs upper.img -
    refused 'none/oci-layout' -b lower.img --image none --tag new upper.img
    rm upper.img
    step "names that are marks"
    change_by 'rm gone/.wh.marked'
    refused '"gone/.wh.marked": a layer of OCI cannot have a whiteout of a name' \
        -b lower.img upper.img no.tar
    export_to 0 -b lower.img --format=overlayfs upper.img deleted
    [ -c deleted/gone/.wh.marked ] || fail "no whiteout of gone/.wh.marked"
    rm upper.img
    change_by 'touch dir/.wh.new'
    refused '"dir/.wh.new": a layer of OCI cannot have a name' -b lower.img upper.img no.tar
    rm upper.img
    change_by 'mknod etc/zero c 0 0'
    refused '"etc/zero": is a character device 0/0' -b lower.img --format=overlayfs upper.img no
    export_to 0 -b lower.img upper.img zero.tar
    rm upper.img
    step "attributes that are marks, and sockets"
    change_by 'setfattr -n trusted.overlay.opaque -v y dir
               python3 -c "import socket; socket.socket(socket.AF_UNIX).bind(\"gone/x.socket\")"'
    export_to 0 -b lower.img --format=overlayfs upper.img escaped
    [ "$(getfattr --only-values -n trusted.overlay.overlay.opaque escaped/dir)" = y ] ||
        fail "the attribute is not escaped"
    [ -S escaped/gone/x.socket ] || fail "no socket"
    export_to 0 -b lower.img upper.img socket.tar
    grep -q '"gone/x.socket": is a socket' out || fail "the socket is not told: $(cat out)"
    tar -tf socket.tar | grep -qx 'gone/.wh.x.socket' || fail "the socket's name shows what is below"
}

case_in_memory() {
    require_kernel_mount
    step "an upper in memory, exported beside its server and after it"
    make_lower
    mkdir memory
    mount -t tmpfs none memory
    serve merged lower.img "$PWD/memory/job.img" size=32M
    mount_merged merged "$WORK/mount"
    echo job >"$WORK/mount/etc/conf"
    rm "$WORK/mount/gone/x"
    export_to 1 -b lower.img memory/job.img job.tar
    grep -q -- '--live' out || fail "a disk in use: $(cat out)"
    mount -o remount,ro "$WORK/mount"
    export_to 0 -b lower.img --live memory/job.img live.tar
    unmount_merged merged
    # The server makes the layer a second later.
    local deadline=$((SECONDS + 30))
    until "$IMG" export -b lower.img memory/job.img beside.tar 2>out; do
        [ "$SECONDS" -lt "$deadline" ] || fail "beside the server: $(cat out)"
        sleep 0.1
    done
    stop_server merged
    export_to 0 -b lower.img memory/job.img after.tar
    cmp live.tar beside.tar
    cmp beside.tar after.tar
    tar -xOf after.tar etc/conf | grep -qx job || fail "the job's file is another"
    umount memory
}

case_looking() {
    require_kernel_mount
    step "cat, ls -R and extract"
    make_lower
    change_by 'echo 2 >etc/conf; chown 5:6 etc/conf; chmod 640 etc/conf; rm -r gone
               ln -s /etc/conf dir/deep/up; mknod null c 1 3'
    "$IMG" cat -b lower.img upper.img /dir/deep/up | grep -qx 2 || fail "cat of a changed file"
    "$IMG" cat -b lower.img upper.img etc/link | cmp - base/dir/numbers
    ! "$IMG" cat -b lower.img upper.img /dir 2>out || fail "cat of a directory"
    grep -q '"/dir": is a directory' out || fail "cat of a directory: $(cat out)"
    "$IMG" ls -R -b lower.img upper.img /dir etc >out
    printf '%s\n' /dir /dir/deep /dir/deep/up /dir/numbers /etc /etc/conf /etc/link >wanted
    same_files wanted out "ls -R"
    "$IMG" ls -R -l -b lower.img upper.img /etc/conf | grep -q -- '-rw-r-----     1      5      6' ||
        fail "ls -R -l"
    "$IMG" ls -R --output=json -b lower.img upper.img | python3 -c '
import json, sys
found = {line["path"]: line for line in json.load(sys.stdin)}
assert found["/dir/deep/up"]["target"] == "/etc/conf" and "/gone" not in found'
    mkdir -m 777 mine
    chmod 755 "$WORK" "$WORK"/looking
    chmod 644 lower.img upper.img
    local status=0
    # As somebody else: no owners, no devices, and what the umask leaves.
    (umask 027 && setpriv --reuid 1000 --regid 1000 --clear-groups -- \
        "$IMG" extract -b lower.img -C mine upper.img >out 2>&1) || status=$?
    [ "$status" = 1 ] || fail "extract ended with status $status: $(cat out)"
    grep -q '"null": cannot make the device.*left out' out || fail "the device: $(cat out)"
    [ "$(stat -c '%a %u' mine/etc/conf)" = "640 1000" ] || fail "$(stat -c '%a %u' mine/etc/conf)"
    [ "$(stat -c %a mine/dir/numbers)" = 640 ] || fail "the umask"
    cmp mine/dir/numbers base/dir/numbers
    mkdir part
    "$IMG" extract -b lower.img -C part upper.img dir/numbers
    [ "$(find part | sort | paste -sd' ')" = "part part/dir part/dir/numbers" ] ||
        fail "a part: $(find part)"
}

cases=("$@")
[ "${#cases[@]}" -gt 0 ] || cases=(random podman same_bytes refused in_memory looking)
for one in "${cases[@]}"; do
    declare -F "case_$one" >/dev/null || fail "no case $one"
    mkdir "$WORK/$one"
    cd "$WORK/$one"
    "case_$one"
done
step pass
