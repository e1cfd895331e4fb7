#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Makes the golden uppers of the kind that the program in BUILD_DIR writes:
#
#   BUILD_DIR=build tests/golden/make.sh KIND
#
# KIND is the version of the format (v2), followed by the newest feature (v2-records)
# if the version has had uppers without it.
#
# They are kept for good. So it writes over no file: uppers of a kind are made
# once, by the program of that kind, and what later programs make of them is
# what tests/e2e/golden-uppers.sh asks.
#
#   lower.img.xz         1 MiB, blocks of 1 KiB; the lower of all of them
#   KIND-layer.img.xz    a layer with something of everything, 4 MiB merged
#   KIND-session.img.xz  the same with a session of one more change of everything
#   KIND-journal.img.xz  the same, its checkpoint committed and nothing of it home
#   SHA256SUMS           of the merged image that each of them shows
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/sessions.sh
. "$(dirname "$0")/../lib/sessions.sh"
require mke2fs e2fsck debugfs nbdkit nbdcopy nbdsh strace xz sha256sum
PLACE=$(realpath -- "$(dirname "$0")")
IMG=$BUILD_DIR/tools/unionfs-img
make_work

KIND=${1:?the kind of upper}
VERSION=$(nbdkit --dump-plugin "$UNIONFS_PLUGIN" |
    sed -n 's/^unionfs_upper_version=//p')
[[ "$KIND-" == "v$VERSION-"* ]] || fail "this program writes version $VERSION"
LOWER=$WORK/lower.img

make_lower() {
    local tree=$WORK/tree
    mkdir -p "$tree"/{dir,moved}
    seq -f '%07.0f of these lines' 1 17000 >"$tree/large"
    echo one >"$tree/dir/one"
    echo two >"$tree/dir/two"
    seq 1 2000 >"$tree/gone"
    echo inner >"$tree/moved/inner"
    ln -s "$(printf 'long/%.0s' $(seq 14))target" "$tree/link"
    chmod -R u=rwX,go=rX "$tree"
    find "$tree" -exec touch -h -d @1700000000 {} +
    truncate -s 1M "$LOWER"
    mke2fs -q -F -t ext2 -b 1024 -g 1024 -N 64 -I 128 -L golden \
        -U 00112233-4455-6677-8899-aabbccddeeff \
        -E root_owner=0:0,hash_seed=00112233-4455-6677-8899-aabbccddeeff \
        -O none,filetype,sparse_super,resize_inode,dir_index,ext_attr,large_file \
        -d "$tree" "$LOWER" >"$WORK/mke2fs.txt" 2>&1 || fail "mke2fs: $(cat "$WORK/mke2fs.txt")"
    debugfs -w -R 'ea_set /dir/two user.colour blue' "$LOWER" >"$WORK/debugfs.txt" 2>&1
    check_clean "$LOWER"
}

# The boot of this machine is nobody's business, and no other's bitmap is believed.
forget_boot() {
    local state
    state=$(od -An -tu8 -j 1300 -N 8 "$1" | tr -d ' ')
    dd if=/dev/zero of="$1" bs=4096 seek=$((state / 4096 + 2)) count=1 conv=notrunc status=none
}

checkpoint() { "$IMG" checkpoint -b "$LOWER" "$1" >"$WORK/checkpoint.txt"; }

# The process ends as it is about to make the Nth sync; of these one is behind the
# commit, and finds nothing home.
checkpoint_without_home() {
    local number
    for number in $(seq 1 20); do
        cp --sparse=always "$1" "$2"
        strace -f -o /dev/null -e trace=fdatasync \
            -e "inject=fdatasync:signal=KILL:when=$number" \
            "$IMG" checkpoint -b "$LOWER" "$2" >"$WORK/checkpoint.txt" 2>&1 || true
        ! "$IMG" info "$2" | grep -qx 'journal pending: yes' || return 0
    done
    fail "no checkpoint leaves a journal"
}

# keep IMAGE NAME - compressed, with the hash of what it shows.
keep() {
    local target=$PLACE/$2.img.xz
    [ ! -e "$target" ] || fail "$target is there already"
    xz -9e -T1 -c "$1" >"$target"
    [ "$2" != lower ] || return 0
    serve kept -r "lower=$LOWER" "upper=$1"
    save_image kept "$WORK/merged.img"
    stop_server kept
    check_clean "$WORK/merged.img"
    printf '%s  %s\n' "$(sha256sum <"$WORK/merged.img" | cut -d ' ' -f 1)" "$2" \
        >>"$PLACE/SHA256SUMS"
}

if [ -e "$PLACE/lower.img.xz" ]; then
    xz -dc "$PLACE/lower.img.xz" >"$LOWER"
else
    make_lower
    keep "$LOWER" lower
fi

step "a layer of kind $KIND"
seq -f 'new line %.0f' 1 100 >"$WORK/x"
debugfs_session "$LOWER" "$WORK/layer.img" size=4M -- \
    'mkdir /new' "write $WORK/x /new/x" 'rm /gone' 'ea_set /dir/one user.colour green' \
    "symlink /new/long $(printf 'far/%.0s' $(seq 18))away" \
    'ln /moved/inner /new/inner' 'unlink /moved/inner' \
    'patch /large 300000 PATCHED' 'set_inode_field /large mtime 20240101000000'
checkpoint "$WORK/layer.img"
forget_boot "$WORK/layer.img"
keep "$WORK/layer.img" "$KIND-layer"

step "a session over it"
cp --sparse=always "$WORK/layer.img" "$WORK/session.img"
debugfs_session "$LOWER" "$WORK/session.img" -- \
    "write $WORK/x /new/y" 'rm /dir/two' 'mkdir /dir/sub' 'patch /large 5000 AGAIN' \
    'patch /new/x 20 OVER' 'set_inode_field /new/x mode 0100600' \
    'set_inode_field /large mtime 20240202000000'
forget_boot "$WORK/session.img"
keep "$WORK/session.img" "$KIND-session"

step "its checkpoint, committed and not home"
checkpoint_without_home "$WORK/session.img" "$WORK/journal.img"
forget_boot "$WORK/journal.img"
keep "$WORK/journal.img" "$KIND-journal"

ls -l "$PLACE"
