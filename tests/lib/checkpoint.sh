# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What the tests of single checkpoint rules share.  Sourced after common.sh.
#
# A rule is a shell function rule_NAME.  It makes a lower and changes the merged
# image and a plain copy of it, grown to the same size, in the same ways; `settle`
# then turns the session into a layer and checks all that holds after every
# checkpoint; what is special about the rule is read from the layer with debugfs.
#
#   new_lower MIB BLOCK_SIZE INODE_SIZE FEATURES   from the tree in $tree
#   change_lower FUNCTION       changes the lower through a kernel mount
#   grow_plain                  the plain copy; ends the making of the lower
#   session FUNCTION            FUNCTION DIR on both, mounted by the kernel
#   on_device FUNCTION          FUNCTION DEVICE on both, not mounted
#   settle                      the checkpoint; leaves the layer in $layer
#   run_rules ARGS...           runs the rules named, or all that the script has

# For scripts that source this file.
# shellcheck disable=SC2034
FS_TREE=${FS_TREE:-$BUILD_DIR/tests/fs/fs-tree}
UNIONFS_IMG=${UNIONFS_IMG:-$BUILD_DIR/tools/unionfs-img}
MERGED_MIB=${MERGED_MIB:-64}
RULE_SECONDS=${RULE_SECONDS:-240}

# ---- making images ---------------------------------------------------------

begin_rule() {
    make_work
    lower=$WORK/lower.img upper=$WORK/upper.img plain=$WORK/plain.img layer=$WORK/layer.img
    tree=$WORK/tree place=$WORK/place
    merged_mib=$MERGED_MIB
    session_options=noatime
    mkdir -p "$tree" "$place"
}

new_lower() {
    rm -f "$lower"
    truncate -s "${1}M" "$lower"
    mke2fs -q -F -t ext2 -b "$2" -I "$3" -O "$4" -d "$tree" "$lower" >"$WORK/mke2fs.txt" 2>&1 ||
        fail "mke2fs: $(cat "$WORK/mke2fs.txt")"
    check_clean "$lower"
}

change_lower() {
    mount -t ext2 -o loop,noatime "$lower" "$place"
    "$1" "$place"
    umount "$place"
    check_clean "$lower"
}

grow_plain() {
    lower_hash=$(sha256sum <"$lower")
    cp --sparse=always "$lower" "$plain"
    truncate -s "${merged_mib}M" "$plain"
    resize2fs -f "$plain" >"$WORK/resize.txt" 2>&1 || fail "resize2fs: $(cat "$WORK/resize.txt")"
    check_clean "$plain"
}

# usual_lower [BLOCK_SIZE [FEATURES]] - a lower with the tree that most rules need.
usual_lower() {
    usual_tree
    new_lower 16 "${1:-1024}" 128 "${2:-dir_index,filetype}"
    grow_plain
}

# numbers FILE LINES - lines of which no two blocks are alike.
numbers() { seq -f '%08.0f of these lines' 1 "$2" >"$1"; }

usual_tree() {
    local number
    mkdir -p "$tree"/{a,b,c/d/e,empty}
    numbers "$tree/a/large" 30000 # 720 KB: double indirect at 1 KiB
    numbers "$tree/a/middle" 2000
    echo small >"$tree/a/small"
    for number in $(seq 40); do echo "$number" >"$tree/b/name-$number"; done
    ln "$tree/a/small" "$tree/b/small-again"
    ln "$tree/a/small" "$tree/c/d/e/small-thrice"
    ln -s a/small "$tree/short"
    ln -s "$(printf 'long/%.0s' $(seq 60))" "$tree/c/long"
    mknod "$tree/c/char" c 5 6
    mkfifo "$tree/c/fifo"
    numbers "$tree/c/d/e/deep" 300
}

# ---- changing both ---------------------------------------------------------

serve_session() { serve merged "$lower" "$upper" "size=${merged_mib}M" checkpoint=never; }

session() {
    serve_session
    mount_merged merged "$WORK/merged" "$session_options"
    "$1" "$WORK/merged"
    unmount_merged merged
    stop_server merged
    mount -t ext2 -o "loop,$session_options" "$plain" "$place"
    "$1" "$place"
    umount "$place"
}

on_device() {
    serve_session
    attach merged
    "$1" "${DEVICE[merged]}"
    blockdev --flushbufs "${DEVICE[merged]}"
    detach merged
    stop_server merged
    "$1" "$plain"
}

# ---- the checkpoint and what holds after it ------------------------------------

# dump_merged NAME - the merged image's bytes, tree and counters.
dump_merged() {
    serve merged "$lower" "$upper" "size=${merged_mib}M" checkpoint=never
    save_image merged "$WORK/$1.img"
    mount_merged merged "$WORK/merged" ro
    "$FS_TREE" --times --inodes "$WORK/merged" >"$WORK/$1.full"
    "$FS_TREE" "$WORK/merged" >"$WORK/$1.tree"
    stat -f -c 'blocks %b free %f inodes %c free %d label %i' "$WORK/merged" >>"$WORK/$1.full"
    unmount_merged merged
    stop_server merged
    check_merged "$WORK/$1.img"
    rm -f "$WORK/$1.img"
}

# A rule may replace it.
check_merged() { check_clean "$1"; }

copy_layer() { check_layer_clean "$upper" "$layer"; }

compare_to_plain() {
    mount -t ext2 -o loop,ro "$plain" "$place"
    "$FS_TREE" "$place" >"$WORK/plain.tree"
    umount_images "$place"
    same_files "$WORK/plain.tree" "$WORK/$1.tree" "the tree is not the plain copy's ($1)"
}

# Whether there is a session; the exit status of the checkpoint.
checkpoint() {
    "$UNIONFS_IMG" checkpoint -b "$lower" "$upper" >"$WORK/checkpoint.txt" 2>&1
}

settle() {
    dump_merged before
    compare_to_plain before
    copy_layer # the old layer, while there is a session
    checkpoint || fail "the checkpoint was refused: $(cat "$WORK/checkpoint.txt")"
    grep -q 'became a layer' "$WORK/checkpoint.txt" ||
        fail "there was no session: $(cat "$WORK/checkpoint.txt")"
    copy_layer
    dump_merged after
    same_files "$WORK/before.full" "$WORK/after.full" "the checkpoint changed the tree"
    compare_to_plain after
    [ "$lower_hash" = "$(sha256sum <"$lower")" ] || fail "the lower was changed"
}

# ---- reading the layer -----------------------------------------------------------

layer_debugfs() { debugfs -R "$1" "$layer" 2>/dev/null; }

# kinds_of DIR NAME - the type numbers of the entries of that name in the layer, also
# of those in free space; those that name an inode as "real TYPE".
kinds_of() {
    layer_debugfs "ls -ld \"$1\"" | awk -v name="$2" '
        $NF == name {
            real = $1 !~ /^</ && $1 != 0
            for (i = 1; i <= NF; ++i) if ($i ~ /^\([0-9]+\)$/) { kind = $i; break }
            gsub(/[()]/, "", kind)
            print (real ? "real " : "") kind
        }'
}

# expect_name DIR NAME KIND - KIND is whiteout, fallthru or real.
expect_name() {
    local wanted found
    found=$(kinds_of "$1" "$2")
    case $3 in
    whiteout) wanted=8 ;;
    fallthru) wanted=9 ;;
    real) wanted='real [1-7]' ;;
    *) fail "no such kind: $3" ;;
    esac
    printf '%s\n' "$found" | grep -qx "$wanted" ||
        fail "$1/$2 is no $3 in the layer, but: ${found:-not there}"
    # Another kind of the same name must not show beside it.
    [ "$(printf '%s\n' "$found" | grep -cxE '8|9|real [1-7]')" = 1 ] ||
        fail "$1/$2 is in the layer as: $found"
}

# in_layer PATH - what is asked of a path means nothing if the layer has no such path.
in_layer() { [ -n "$(inode_of "$layer" "$1")" ] || fail "$1 is not in the layer"; }

layer_flags() { layer_debugfs "stat \"$1\"" | sed -n 's/.*Flags: \(0x[0-9a-f]*\).*/\1/p'; }
is_opaque() {
    in_layer "$1"
    [ $(($(layer_flags "$1") & 0x04000000)) != 0 ]
}
expect_opaque() { is_opaque "$1" || fail "$1 is not opaque in the layer"; }
expect_not_opaque() { ! is_opaque "$1" || fail "$1 is opaque in the layer"; }

# own_blocks PATH - how many blocks the layer's inode maps, indirect ones included;
# an xattr block is not counted.
own_blocks() {
    in_layer "$1"
    layer_debugfs "blocks \"$1\"" | wc -w
}
expect_own_blocks() {
    local found
    found=$(own_blocks "$1")
    [ "$found" = "$2" ] || fail "$1 owns $found blocks in the layer, not $2"
}

# Own inodes above the ten reserved ones; the layer's root is not counted.
own_inode_count() { echo $(($(used_inodes "$layer") - 10)); }
expect_own_inodes() {
    local found
    found=$(own_inode_count)
    [ "$found" = "$1" ] || fail "the layer owns $found inodes, not $1"
}

inode_of() { debugfs -R "stat \"$2\"" "$1" 2>/dev/null | sed -n 's/^Inode: \([0-9]*\).*/\1/p'; }
field_of() { debugfs -R "stat \"$2\"" "$1" 2>/dev/null | sed -n "s/.*$3: \([0-9]*\).*/\1/p"; }

# ---- running ---------------------------------------------------------------------

# run_rules PART/PARTS | RULE... | nothing - each rule in a process of its own, so that
# one that fails leaves nothing behind and keeps no other from running.
run_rules() {
    local rules=() rule failed=0 status log number=0 part=1 parts=1
    if [ "${1:-}" = --one ]; then
        begin_rule
        "rule_$2"
        return 0
    fi
    require mke2fs e2fsck resize2fs dumpe2fs debugfs tune2fs nbdkit nbdcopy nbdsh setfattr sha256sum
    require_kernel_mount
    if [[ ${1:-} == */* ]]; then
        part=${1%/*} parts=${1#*/}
        shift
    fi
    if [ $# = 0 ]; then
        mapfile -t rules < <(declare -F | sed -n 's/^declare -f rule_//p')
    else
        rules=("$@")
    fi
    log=$(mktemp "${TMPDIR:-/var/tmp}/unionfs-rule.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -f '$log'" EXIT
    for rule in "${rules[@]}"; do
        number=$((number + 1))
        [ $((number % parts)) = $((part % parts)) ] || continue
        status=0
        timeout --kill-after=30 "$RULE_SECONDS" bash "$0" --one "$rule" \
            >"$log" 2>&1 || status=$?
        if [ "$status" = 0 ]; then
            printf 'PASS %s\n' "$rule"
        elif [ "$status" = 77 ]; then
            printf 'SKIP %s: %s\n' "$rule" "$(tail -n 1 "$log")"
        else
            printf 'FAIL %s (status %s)\n' "$rule" "$status"
            sed 's/^/    /' "$log"
            failed=$((failed + 1))
        fi
    done
    [ "$failed" = 0 ] || { echo "$failed rules failed" && return 1; }
}
