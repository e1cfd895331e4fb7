#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Every kind of lower, grown by sizes of every kind: the merged image is an ext2
# image that stock e2fsck and the kernel take, holds the lower's tree with the
# lower's inode numbers, can be written, and leaves the lower as it was.
#
#   lower-kinds.sh [SLICE/COUNT]     the kinds of one slice, for example 1/2
#
#   LOWER_KINDS   names of kinds to try, or "all" for the full matrix
#   LOWER_SIZES   names of sizes to try with every kind, or "all"; as it is, a kind is
#                 written with one of them and read with another, in turn
#   FILL_MIB      the most that is written in one image, default 24

set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/lowers.sh
. "$(dirname "$0")/../lib/lowers.sh"

require nbdkit nbdcopy nbdinfo mke2fs tune2fs e2fsck dumpe2fs debugfs genext2fs \
    setfattr getfattr tar sha256sum fallocate
require_kernel_mount

SLICE=${1:-1/1}
FILL_MIB=${FILL_MIB:-24}
ALL_SIZES='default few metagroups equal odd tenfold'

# superblock FILE FIELD - a number from dumpe2fs.
superblock() {
    local value
    value=$(dumpe2fs -h "$1" 2>/dev/null | sed -n "s/^$2: *//p")
    [ -n "$value" ] || fail "dumpe2fs finds no '$2' in $1"
    printf '%s' "$value"
}

features_of() {
    dumpe2fs -h "$1" 2>/dev/null | sed -n 's/^Filesystem features: *//p' |
        sed 's/(none)//' | tr -s ' ' '\n' | sed '/^$/d' | sort
}

# requested_size LOWER NAME - the size in bytes; what "default" has to come to.
requested_size() {
    local lower=$1 block_size block_count group_blocks group_count per_block bytes
    block_size=$(superblock "$lower" 'Block size')
    block_count=$(superblock "$lower" 'Block count')
    group_blocks=$(superblock "$lower" 'Blocks per group')
    group_count=$(((block_count + group_blocks - 1) / group_blocks))
    per_block=$((block_size / 32))
    bytes=$((block_count * block_size))
    case $2 in
    default) echo $((bytes + (bytes > 1073741824 ? bytes : 1073741824))) ;;
    equal) echo "$bytes" ;;
    # Too few for a group: they complete the last one or are of no use.
    few) echo $((bytes + 3 * block_size)) ;;
    odd) echo $((bytes * 2 + 77 * block_size)) ;;
    tenfold) echo $((bytes * 10)) ;;
    # Two groups more than the lower's descriptor blocks can hold.
    metagroups)
        group_count=$(((group_count + per_block - 1) / per_block * per_block + 2))
        echo $((group_count * group_blocks * block_size + 4096))
        ;;
    *) fail "no such size: $2" ;;
    esac
}

# describe DIR OUT - all that must be the same in the lower and in the merged image,
# but for the root directory itself and access times.
describe() {
    (
        cd "$1"
        # An image may hold nothing at all, not even lost+found.
        echo 'tree:'
        find . -mindepth 1 -printf '%P|%i|%y|%m|%n|%U:%G|%s|%b|%T@|%C@|%l\n' | sort
        find . \( -type b -o -type c \) -exec stat -c '%n is %t:%T' {} + | sort
        find . -type f -size -1025k -exec sha256sum {} + | sort
        # Far holes are not read: tar asks where the data is and stores that with it.
        find . -type f -size +1024k -print0 | sort -z | while IFS= read -r -d '' file; do
            printf '%s %s\n' "$(tar -c --sparse --format=gnu -- "$file" | sha256sum)" "$file"
        done
        find . -mindepth 1 -print0 | sort -z |
            xargs -0 -r getfattr -h -d -m - -e hex -- 2>/dev/null
    ) >"$2"
}

describe_image() {
    mkdir -p "$WORK/read"
    mount -t ext2 -o loop,ro "$1" "$WORK/read"
    describe "$WORK/read" "$2"
    umount "$WORK/read"
}

same_tree() { same_files "$1" "$2" "$3: the merged tree is not the lower's"; }

same_lower() {
    [ "$(sha256sum <"$LOWER")" = "$LOWER_HASH" ] || fail "$1: the lower was written"
    [ "$(stat -c '%s %Y %Z' "$LOWER")" = "$LOWER_STAT" ] || fail "$1: the lower's times changed"
}

# check_geometry IMAGE SIZE_NAME WHAT - the merged image against what was asked for.
check_geometry() {
    local image=$1 size_name=$2 what=$3 wanted got block_size group_bytes size_bytes
    local extra free_below free_merged
    wanted=$(requested_size "$LOWER" "$size_name")
    size_bytes=$(nbdinfo --size "$(socket_uri merged)")
    block_size=$(superblock "$image" 'Block size')
    group_bytes=$((block_size * $(superblock "$image" 'Blocks per group')))
    got=$((block_size * $(superblock "$image" 'Block count')))
    [ "$got" -le "$size_bytes" ] || fail "$what: the export is shorter than its file system"
    # A longer lower file may count with all of its bytes in the default size.
    if [ "$size_name" = default ]; then
        wanted=$((wanted + $(stat -c %s "$LOWER") - $(requested_size "$LOWER" equal)))
    fi
    if [ "$got" -gt "$wanted" ] || [ "$got" -le $((wanted - group_bytes)) ]; then
        fail "$what: $got bytes instead of $wanted"
    fi

    extra=$(comm -13 "$WORK/lower.features" <(features_of "$image") | grep -vx meta_bg || true)
    [ -z "$extra" ] || fail "$what: features the lower has not: $extra"
    extra=$(comm -23 "$WORK/lower.features" <(features_of "$image") | grep -vx resize_inode || true)
    [ -z "$extra" ] || fail "$what: lost features: $extra"

    free_below=$(superblock "$LOWER" 'Free blocks')
    free_merged=$(superblock "$image" 'Free blocks')
    case $size_name in
    equal) [ "$free_merged" = "$free_below" ] ;;
    few) [ "$free_merged" -ge "$free_below" ] ;;
    *) [ "$free_merged" -gt "$free_below" ] ;;
    esac || fail "$what: $free_merged free blocks, $free_below in the lower"
    [ "$(superblock "$image" 'Inode count')" -ge "$(superblock "$LOWER" 'Inode count')" ] ||
        fail "$what: fewer inodes than the lower"
}

# check_served WHAT SIZE_NAME - all bytes of what the server named "merged" exports.
check_served() {
    save_image merged "$WORK/saved.img"
    check_clean "$WORK/saved.img"
    check_geometry "$WORK/saved.img" "$2" "$1"
    describe_image "$WORK/saved.img" "$WORK/merged.tree"
    same_tree "$WORK/lower.tree" "$WORK/merged.tree" "$1"
    rm -f "$WORK/saved.img"
}

# write_merged DIR - fills most of the free space; leaves DIR/new-filler and DIR/new-many if
# there is room.
write_merged() {
    local place=$1 free_bytes fill_bytes free_inodes
    free_bytes=$(($(stat -f -c '%a * %S' "$place")))
    free_inodes=$(stat -f -c %d "$place")
    fill_bytes=$((free_bytes * 9 / 10))
    [ "$fill_bytes" -le $((FILL_MIB << 20)) ] || fill_bytes=$((FILL_MIB << 20))
    if [ "$free_inodes" -lt 1 ] || [ "$free_bytes" -lt 8192 ]; then
        # Full and not grown: what can be changed is what is there.
        find "$place" -mindepth 1 -maxdepth 1 -type d -exec chmod g+s {} +
        find "$place" -mindepth 1 -maxdepth 1 -type d -exec chmod g-s {} +
        return
    fi
    head -c "$fill_bytes" < <(seq 100000000 1 999999999 || true) >"$place/new-filler"
    if [ "$free_inodes" -gt 100 ] && [ $((free_bytes - fill_bytes)) -gt 400000 ]; then
        mkdir "$place/new-many"
        seq -f "$place/new-many/%g" 1 60 | xargs touch
        ln -s "$(printf '%0200d' 1)" "$place/new-many/long"
    fi
}

# check_attached - a new connection, so that nothing comes from this machine's caches.
check_attached() {
    [ -z "${DEVICE[merged]:-}" ] || detach merged
    attach merged
    check_clean "${DEVICE[merged]}"
}

# check_written WHAT SIZE_NAME - reads, writes, looks at what a second mount finds,
# deletes, reads again.
check_written() {
    local what=$1 place=$WORK/written content=
    check_attached
    check_geometry "${DEVICE[merged]}" "$2" "$what"
    mount_merged merged "$place" ro
    describe "$place" "$WORK/merged.tree"
    same_tree "$WORK/lower.tree" "$WORK/merged.tree" "$what"
    unmount_merged merged

    mount_merged merged "$place"
    write_merged "$place"
    [ ! -e "$place/new-filler" ] || content=$(sha256sum <"$place/new-filler")
    unmount_merged merged
    check_attached
    mount_merged merged "$place"
    if [ -n "$content" ]; then
        [ "$(sha256sum <"$place/new-filler")" = "$content" ] || fail "$what: a written file differs"
    fi
    rm -rf "$place/new-filler" "$place/new-many"
    unmount_merged merged

    check_attached
    mount_merged merged "$place" ro
    describe "$place" "$WORK/merged.tree"
    cp "$WORK/lower.tree" "$WORK/expected.tree"
    if [ -z "$content" ]; then
        # Modes were changed and changed back, which leaves its mark in the ctime.
        sed -i -E 's/^([^|]*\|[0-9]+\|d.*)\|[0-9.-]+\|/\1|/' "$WORK/expected.tree" \
            "$WORK/merged.tree"
    fi
    same_tree "$WORK/expected.tree" "$WORK/merged.tree" "$what, written"
    unmount_merged merged
}

# try_size KIND SIZE_NAME written|read|both
try_size() {
    local what="$1, size $2" arguments=()
    [ "$2" = default ] || arguments=("size=$(requested_size "$LOWER" "$2")")
    rm -f "$WORK/upper.img"
    serve merged "$LOWER" "$WORK/upper.img" "${arguments[@]}"
    [ "$3" = written ] || check_served "$what" "$2"
    [ "$3" = read ] || check_written "$what" "$2"
    stop_server merged
    same_lower "$what"
}

# try_kind KIND NUMBER
try_kind() {
    local sizes size_name mode='written'
    LOWER=$WORK/lower.img
    make_lower "$1" "$LOWER" "$WORK/tree"
    chmod 0444 "$LOWER"
    LOWER_HASH=$(sha256sum <"$LOWER")
    LOWER_STAT=$(stat -c '%s %Y %Z' "$LOWER")
    features_of "$LOWER" >"$WORK/lower.features"
    describe_image "$LOWER" "$WORK/lower.tree"
    same_lower "$1, as it was made"
    read -r -a sizes <<<"$ALL_SIZES $ALL_SIZES"
    [ -z "${LOWER_SIZES:-}" ] || mode='both'
    case ${LOWER_SIZES:-} in
    '') sizes=("${sizes[@]:$(($2 % 6)):2}") ;;
    all) sizes=("${sizes[@]:0:6}") ;;
    *) read -r -a sizes <<<"$LOWER_SIZES" ;;
    esac
    for size_name in "${sizes[@]}"; do
        try_size "$1" "$size_name" "$mode"
        [ "$mode" = both ] || mode='read'
    done
    rm -f "$LOWER"
    printf 'clean: %s (%s)\n' "$1" "${sizes[*]}"
}

make_work
step "making the tree"
make_tree "$WORK/tree"

case ${LOWER_KINDS:-} in
'') mapfile -t kinds < <(lower_kinds) ;;
all) mapfile -t kinds < <(lower_kinds all) ;;
*) read -r -a kinds <<<"$LOWER_KINDS" ;;
esac
slice_number=${SLICE%/*}
slice_count=${SLICE#*/}
served=0
for number in "${!kinds[@]}"; do
    [ $((number % slice_count)) = $((slice_number % slice_count)) ] || continue
    # The slices hold neighbours, so the size turns with both.
    try_kind "${kinds[number]}" $((number + number / 6))
    served=$((served + 1))
done
[ "$served" -gt 0 ] || fail "no kind of lower in slice $SLICE"
step "$served kinds of lowers served clean"
