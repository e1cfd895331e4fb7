# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Lower images for the guest tests and what the host checks of the outcome.
# Sourced after guest.sh.
#
# Three views of the merged tree must agree: what the guest saw, what the host
# sees in the image read from the export, and a plain copy of the lower on which
# the host made the same changes itself.

# What the checks below need beyond guest_prepare: loop mounts of ext2.
images_require() {
    require mke2fs e2fsck resize2fs debugfs nbdkit nbdcopy nbdinfo losetup mount umount
    [ "$(id -u)" = 0 ] || skip "mounting needs root"
    [ -c /dev/loop-control ] || skip "this machine has no /dev/loop-control"
    modprobe -q ext4 2>/dev/null || true
    grep -qw ext2 /proc/filesystems || skip "this kernel knows no ext2"
}

# choose_seed - SEED from the environment or new; a failure is replayed with it.
choose_seed() {
    SEED=${SEED:-$((100000 + RANDOM))}
    step "SEED=$SEED"
}

# _text START BYTES - bytes that differ in every block.
_text() {
    # seq is cut off: that is no failure.
    { seq "$((SEED + $1))" "$((SEED + $1 + $2 / 4))" 2>/dev/null || true; } |
        head -c "$2"
}

# make_tree DIR - the tree that inside/changes.sh changes.
make_tree() {
    local tree=$1 number
    mkdir -p "$tree"/{data,documents,photos/album,small,tree/branch/twig,links}
    _text 10 6000000 >"$tree/data/large"
    _text 20 100000 >"$tree/data/medium"
    _text 30 400000 >"$tree/data/shrinks"
    _text 40 3000 >"$tree/data/grows"
    _text 50 700000 >"$tree/data/deleted"
    echo "notes" >"$tree/documents/notes"
    _text 60 25000 >"$tree/documents/report"
    _text 70 200 >"$tree/documents/becomes-directory"
    for number in 1 2 3 4 5; do
        _text "8$number" 50000 >"$tree/photos/album/picture-$number"
    done
    for number in $(seq 60); do
        echo "small file $SEED $number" >"$tree/small/file-$number"
    done
    echo leaf >"$tree/tree/branch/twig/leaf"
    echo stays >"$tree/tree/stays"
    ln -s ../documents/notes "$tree/links/short"
    ln -s "$(seq -s / 200 240)" "$tree/links/long"
    echo "linked" >"$tree/links/first"
    ln "$tree/links/first" "$tree/links/second"
    echo "pair" >"$tree/links/pair-a"
    ln "$tree/links/pair-a" "$tree/links/pair-b"
}

# make_lower FILE SIZE TREE - an ext2 image holding TREE; its hash is kept for
# check_lower.
make_lower() {
    mke2fs -q -t ext2 -F -d "$3" "$1" "$2" >"$WORK/mke2fs.log"
    check_clean "$1"
    sha256sum "$1" >"$1.sha256"
}

# check_lower FILE - not one byte of the lower changed.
check_lower() {
    sha256sum --status -c "$1.sha256" || fail "$1 was written to"
}

# host_manifest IMAGE FILE - what the host's kernel sees in the image.
host_manifest() {
    local place=$WORK/manifest.mount
    mkdir -p "$place"
    mount -t ext2 -o ro,loop "$1" "$place"
    busybox sh "$GUEST_HERE/inside/manifest.sh" "$place" >"$2"
    umount "$place"
}

# make_oracle LOWER IMAGE SIZE_BYTES SCRIPT ARGS... - a plain copy of the lower,
# as large as the merged disk, on which the host runs SCRIPT DIR ARGS. May be
# called again for the same IMAGE to go on from there.
make_oracle() {
    local lower=$1 image=$2 size_bytes=$3 script=$4 place=$WORK/oracle.mount
    shift 4
    mkdir -p "$place"
    if [ ! -e "$image" ]; then
        cp --sparse=always -- "$lower" "$image"
        truncate -s "$size_bytes" "$image"
        resize2fs "$image" >"$WORK/resize2fs.log" 2>&1
    fi
    mount -t ext2 -o loop "$image" "$place"
    busybox sh "$script" "$place" "$@"
    umount "$place"
}

# same_facts GUEST HOST TEXT - two manifests of one image agree in everything.
same_facts() {
    [ -s "$1" ] || fail "$3: no manifest"
    diff -u "$1" "$2" >"$WORK/manifest.diff" || {
        head -n 40 "$WORK/manifest.diff" >&2
        fail "$3"
    }
}

# same_tree A B TEXT - two manifests agree in what two file systems with the same
# history have in common: not in inode numbers, times and sectors used.
same_tree() {
    local side
    for side in "$1" "$2"; do
        awk -F'|' -v OFS='|' '
            $1 == "entry" { NF = 6 }
            $1 == "size" { NF = 3 }
            { print }' "$side" >"$side.tree"
    done
    same_facts "$1.tree" "$2.tree" "$3"
}

# export_size_bytes NAME
export_size_bytes() { nbdinfo --size "$(socket_uri "$1")"; }

# check_export NAME MANIFEST TEXT - the export is a clean image that holds the
# tree of the manifest.
check_export() {
    local name=$1 manifest=$2 text=$3 image=$WORK/$1.saved.img
    save_image "$name" "$image"
    check_clean "$image"
    host_manifest "$image" "$WORK/$name.saved.manifest"
    same_facts "$manifest" "$WORK/$name.saved.manifest" \
        "$text: the image holds something else than the guest saw"
    rm -f -- "$image"
}

# check_upper UPPER - not served any more.
check_upper() {
    step "the upper is a clean ext2 image but for its mark"
    check_layer_clean "$1" "$WORK/layer.img"
}

# check_guest_session NAME SIZE - the guest's manifests, from before and after
# changes.sh: it saw the lower, and its changes are what a plain copy of SIZE bytes
# shows after the same. They stay as before.manifest and after.manifest.
check_guest_session() {
    local name=$1 size=$2
    guest_section "$name" before >"$WORK/before.manifest"
    guest_section "$name" after >"$WORK/after.manifest"

    step "the guest saw the lower's tree"
    same_facts "$WORK/lower.manifest" "$WORK/before.manifest" \
        "the guest saw something else than the lower holds"

    step "its changes are what a plain copy shows after the same changes"
    make_oracle "$WORK/lower.img" "$WORK/oracle.img" "$size" \
        "$GUEST_HERE/inside/changes.sh" "$SEED"
    host_manifest "$WORK/oracle.img" "$WORK/oracle.manifest"
    same_tree "$WORK/oracle.manifest" "$WORK/after.manifest" \
        "the guest's changes came out differently on a plain copy"
}
