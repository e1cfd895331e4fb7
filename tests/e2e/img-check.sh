#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# unionfs-img check finds each of a list of single-field corruptions of a layer, by
# name; --repair mends those that can be, so that the merged image is what it was.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
require_kernel_mount
require mke2fs python3 setfattr
make_work

IMG=$BUILD_DIR/tools/unionfs-img
CORRUPT=$BUILD_DIR/tests/image-corrupt
LOWER=$WORK/lower.img
UPPER=$WORK/upper.img
BAD=$WORK/bad.img

step "a layer that has some of everything"
mkdir -p "$WORK/tree"/{a/b,many,gone,moved/sub}
for number in $(seq 300); do echo "$number" >"$WORK/tree/many/a-long-file-name-$number"; done
seq 1 60000 >"$WORK/tree/a/data"
seq 1 9000 >"$WORK/tree/gone/file"
echo kept >"$WORK/tree/a/kept"
echo deleted >"$WORK/tree/a/deleted"
ln "$WORK/tree/a/kept" "$WORK/tree/a/b/link"
for name in one two three; do
    echo "$name" >"$WORK/tree/$name"
    # Too much for the inode: they share an xattr block once the kernel wrote them.
done
# With another seed a name that is changed below may have its place in the same leaf by chance.
mke2fs -q -t ext2 -b 1024 -I 128 -E hash_seed=5ca1ab1e-0000-4000-8000-00000000c0de \
    -d "$WORK/tree" "$LOWER" 24M 2>/dev/null
mkdir "$WORK/mnt"
mount -o loop "$LOWER" "$WORK/mnt"
for name in one two three; do setfattr -n user.shared -v same "$WORK/mnt/$name"; done
umount "$WORK/mnt"

"$IMG" create -b "$LOWER" -s 48M "$UPPER" >/dev/null
serve disk lower="$LOWER" upper="$UPPER" checkpoint=never
mount_merged disk "$WORK/mnt"
(
    cd "$WORK/mnt"
    rm -r gone a/deleted
    mv moved a/renamed
    printf X | dd of=a/data bs=1 seek=200000 conv=notrunc status=none
    echo more >>a/kept
    mkdir new
    seq 1 100000 >new/big
    ln -s "$(printf '%0200d' 1)" new/long-link
    mkdir new/many
    for number in $(seq 300); do : >"new/many/some-quite-long-name-$number"; done
    chmod 600 one
    rm many/a-long-file-name-7
)
unmount_merged disk
stop_server disk
"$IMG" checkpoint -b "$LOWER" "$UPPER" >/dev/null
"$IMG" check -b "$LOWER" "$UPPER" >"$WORK/out" || fail "the layer is not sound: $(cat "$WORK/out")"
"$IMG" convert -b "$LOWER" "$UPPER" "$WORK/whole.img"
check_clean "$WORK/whole.img"

# inode_of PATH, block_of INODE SLOT, offset_of_name BLOCK NAME
inode_of() {
    "$IMG" ls --output=json -b "$LOWER" "$UPPER" | python3 -c 'import json, sys
print([e["inode"] for e in json.load(sys.stdin) if e["path"] == sys.argv[1]][0])' "$1"
}
field() { "$CORRUPT" "$UPPER" "$1"; }
block_of() { field "inode[$1].i_block[$2]"; }
# Of the entry (8 bytes before its name), in the directory's first blocks.
offset_of_name() {
    python3 -c 'import sys
data = open(sys.argv[1], "rb").read()
begin = int(sys.argv[2]) * 1024
place = data.index(sys.argv[3].encode(), begin, begin + 16384)
print(place - 8)' "$UPPER" "$1" "$2"
}

root_block=$(block_of 2 0)
dir_a=$(inode_of /a)
data=$(inode_of /a/data)
kept=$(inode_of /a/kept)
renamed=$(inode_of /a/renamed)
new=$(inode_of /new)
big=$(inode_of /new/big)
long_link=$(inode_of /new/long-link)
many=$(inode_of /new/many)
one=$(inode_of /one)
a_block=$(block_of "$dir_a" 0)
xattr_block=$(field "inode[$one].i_file_acl")
tables=$(field header.layer_tables.offset)
translated=$(field tables.translated_count)
kept_inodes=$(field tables.kept_inode_count)
kept_xattrs=$(field tables.kept_xattr_count)
counters=$(field tables.group_counters_count)
block_whiteouts=$(field tables.block_whiteout_count)
at_kept_inodes=$((tables + 64 + 16 * translated))
at_kept_xattrs=$((at_kept_inodes + 12 * kept_inodes))
at_counters=$((at_kept_xattrs + 8 * kept_xattrs))
at_block_whiteouts=$((at_counters + 16 * counters))
at_inode_whiteouts=$((at_block_whiteouts + 8 * block_whiteouts))
for count in translated kept_inodes kept_xattrs counters block_whiteouts; do
    [ "${!count}" -gt 0 ] || fail "the layer has no $count"
done
entry_kept=$(offset_of_name "$a_block" kept)
entry_deleted=$(offset_of_name "$a_block" deleted)
entry_fallthru=$(offset_of_name "$root_block" two)
entry_new=$(offset_of_name "$root_block" new)

tried=0
# broken REGEX CHANGE... - check names it.
broken() {
    local pattern=$1 status=0 change
    shift
    cp --sparse=always "$UPPER" "$BAD"
    for change in "$@"; do
        "$CORRUPT" "$BAD" "$change" || fail "image-corrupt $change: status $?"
    done
    "$IMG" check -b "$LOWER" "$BAD" >"$WORK/out" 2>&1 || status=$?
    [ "$status" = 2 ] || fail "$pattern: $*: check ended with $status: $(cat "$WORK/out")"
    grep -qE "$pattern" "$WORK/out" || fail "$*: no /$pattern/ in $(cat "$WORK/out")"
    tried=$((tried + 1))
}

# mended REGEX CHANGE... - and --repair gives the same merged image back.
mended() {
    local status=0
    broken "$@"
    "$IMG" check --repair -b "$LOWER" "$BAD" >"$WORK/out" 2>&1 || status=$?
    [ "$status" = 0 ] || fail "$*: --repair ended with $status: $(cat "$WORK/out")"
    grep -q "repaired" "$WORK/out" || fail "$*: --repair says nothing: $(cat "$WORK/out")"
    rm -f "$WORK/bad-whole.img"
    "$IMG" convert -b "$LOWER" "$BAD" "$WORK/bad-whole.img"
    cmp "$WORK/whole.img" "$WORK/bad-whole.img" || fail "$*: repaired to another merged image"
}

# left_alone REGEX CHANGE... - check names it, and --repair does not touch the upper, for
# blocks of the damaged inode would become free.
left_alone() {
    local status=0
    broken "$@"
    cp --sparse=always "$BAD" "$WORK/before-repair.img"
    "$IMG" check --repair -b "$LOWER" "$BAD" >"$WORK/out" 2>&1 || status=$?
    [ "$status" = 1 ] || fail "$*: --repair ended with $status: $(cat "$WORK/out")"
    grep -q "not repaired" "$WORK/out" || fail "$*: --repair says: $(cat "$WORK/out")"
    cmp "$BAD" "$WORK/before-repair.img" || fail "$*: --repair changed the upper"
}

step "bitmaps, counters, superblock"
mended 'group 0: bg_free_blocks_count' 'group[0].bg_free_blocks_count=-1'
mended 'group 0: bg_free_inodes_count' 'group[0].bg_free_inodes_count=-1'
mended 'group 0: bg_used_dirs_count' 'group[0].bg_used_dirs_count=+1'
mended 'superblock: s_free_blocks_count' 'superblock.s_free_blocks_count=-1'
mended 'superblock: s_free_inodes_count' 'superblock.s_free_inodes_count=-1'
# Without the bit it would be some image that does not belong here.
broken 'unsupported features: uninit_bg' 'superblock.s_feature_incompat=^0x20'
broken 'was not cleanly unmounted' 'superblock.s_state=0'
broken 'is for 49152 blocks of 1024 bytes, but the superblock says 49151' \
    'superblock.s_blocks_count=-1'
broken 's_inodes_count is [0-9]+, but 6 groups of 2056 inodes make' \
    'superblock.s_inodes_per_group=+8'
bitmap=$(field 'group[0].bg_block_bitmap')
mended "inode $dir_a: block $a_block is used, but not marked own" \
    "block[$bitmap].u8[$(((a_block - 1) / 8))]=^$((1 << ((a_block - 1) % 8)))"
mended 'group 0: the block bitmap marks blocks of the metadata free' "block[$bitmap].u8[0]=^1"
mended 'block 8001 is marked own, but no own inode has it' "block[$bitmap].u8[1000]=^1"
bitmap=$(field 'group[0].bg_inode_bitmap')
broken "inode $data has 1 links, but is not marked own" \
    "block[$bitmap].u8[$(((data - 1) / 8))]=^$((1 << ((data - 1) % 8)))"
broken 'inode 1601 is marked own, but its i_mode is 0$' "block[$bitmap].u8[200]=^1"

step "inodes"
mended "inode $data: i_blocks is 6, but it has 2 own blocks" "inode[$data].i_blocks=+2"
mended "inode $kept: i_links_count is 3, but it should be 2" "inode[$kept].i_links_count=+1"
mended "inode $dir_a: i_links_count is 5, but it should be 4" "inode[$dir_a].i_links_count=+1"
broken "inode $kept is marked own, but i_dtime is 1" "inode[$kept].i_dtime=1"
broken "inode $kept is marked opaque, but is no directory" "inode[$kept].i_flags=^0x04000000"
broken "inode $renamed is not where the lower has it" "inode[$renamed].i_flags=^0x04000000"
broken "inode $new is not where the lower has it" "inode[$new].i_flags=^0x04000000"
left_alone "inode $kept is marked own, but its i_mode is 070644" "inode[$kept].i_mode=^0xf000"
broken "inode $kept: own block $a_block is used twice" "inode[$kept].i_block[0]=$a_block"
left_alone "inode $kept: block 4294967295 is outside the image" "inode[$kept].i_block[0]=max"
broken "inode $big: i_blocks is 1160, but it has 323 own blocks" "inode[$big].i_block[12]=0"
broken "inode $big: double indirect block 1 is the file system's own metadata" \
    "inode[$big].i_block[13]=1"
broken "inode $dir_a: directory of 1025 bytes, not of blocks of 1024" "inode[$dir_a].i_size=+1"
broken "inode $long_link: i_blocks is 2, but it has 0 own blocks" \
    "inode[$long_link].i_block[0]=0"
broken "block $xattr_block is marked own, but no own inode has it" "inode[$one].i_file_acl=0"
mended "xattr block $xattr_block: h_refcount is 2, but 1 own inodes have it" \
    "block[$xattr_block].u32[1]=+1"
broken "inode $one: xattr block $xattr_block: magic 0x00000000 where 0xea020000 belongs" \
    "block[$xattr_block].u32[0]=0"
indirect=$(block_of "$big" 12)
first=$(field "block[$indirect].u32[0]")
broken "inode $big: own block $first is used twice" "block[$indirect].u32[1]=$first"
broken "inode $big: block 4294967295 is outside the image" "block[$indirect].u32[3]=max"

step "names"
broken "the lower's name \"kept\" is neither real, fallthru nor whiteout" \
    "at[$entry_kept].u32=0"
broken "\"kept\" names inode $((kept + 1000)), which is not own" "at[$entry_kept].u32=+1000"
broken "\"kept\" has type 2, but inode $kept is of type 1" "at[$((entry_kept + 7))].u8=2"
broken "block $a_block: entry at .* rec_len 3 is not a multiple of 4" \
    "at[$((entry_kept + 4))].u16=3"
broken 'fallthru "deleted" to inode [0-9]+, which is whited out' \
    "at[$((entry_deleted + 7))].u8=9"
broken '"deleted" is neither' "at[$((entry_deleted + 7))].u8=0"
broken 'whiteout "eeleted" of a name that the lower does not have' \
    "at[$((entry_deleted + 8))].u8=^1"
broken 'fallthru "uwo" to a name that the lower does not have' \
    "at[$((entry_fallthru + 8))].u8=^1"
broken '"two" is neither' "at[$((entry_fallthru + 7))].u8=0"
broken '"new" names the reserved inode 1' "at[$entry_new].u32=1"
broken "directory inode $dir_a: \"\.\.\" is not inode 2" "block[$a_block].u32[3]=$new"
leaf=$(block_of "$many" 1)
broken 'the name "rome-.*" is not in the leaf of its hash' "block[$leaf].u8[8]=^1"

step "the state area"
sum=tables.checksum=checksum
listed_inode=$(field "at[$((tables + 64 + 4))].u32")
listed_place=$(field "at[$((tables + 64 + 8))].u32")
listed="translated block $(field "at[$((tables + 64))].u32"): listed as kind"
mended "$listed ., level ., file block $listed_place of inode $((listed_inode + 1)), but" \
    "at[$((tables + 64 + 4))].u32=+1" $sum
mended "$listed ., level ., file block $((listed_place + 1)) of inode $listed_inode, but" \
    "at[$((tables + 64 + 8))].u32=+1" $sum
mended "$listed 2, level ., file block $listed_place of inode $listed_inode, but it is kind 1" \
    "at[$((tables + 64 + 12))].u8=2" $sum
mended 'inode 2: the kept counts are 4 sectors and 6 links' \
    "at[$((at_kept_inodes + 4))].u32=+2" $sum
mended 'inode 2: the kept counts are 2 sectors and 7 links' \
    "at[$((at_kept_inodes + 8))].u32=+1" $sum
mended "xattr block $xattr_block: the kept count is 4, but 3 inodes have it" \
    "at[$((at_kept_xattrs + 4))].u32=+1" $sum
counted='group 0: the merged counters are ([0-9]+) free blocks, ([0-9]+) free inodes,'
counted+=' ([0-9]+) directories, but the bitmaps and inodes make'
mended "$counted [0-9]+, \\2, \\3 " "at[$((at_counters + 4))].u32=+1" $sum
mended "$counted \\1, [0-9]+, \\3 " "at[$((at_counters + 8))].u32=+1" $sum
mended "$counted \\1, \\2, [0-9]+ " "at[$((at_counters + 12))].u32=+1" $sum
broken "block [0-9]+ of the lower's resize inode is not whited out" \
    "at[$at_block_whiteouts].u32=+1" $sum
broken "block [0-9]+ is whited out, but the lower has no file's block there" \
    "at[$((at_block_whiteouts + 4))].u32=+1" $sum
broken ": the lower's resize inode is not whited out" "at[$at_inode_whiteouts].u32=+1" $sum
broken 'the reserved inode 8 is whited out' "at[$((at_inode_whiteouts + 4))].u32=+1" $sum
broken 'the root directory is not marked own' tables.reserved_inodes_own=0 $sum
broken 'inode 4 is marked own, but its i_mode is 040755' tables.reserved_inodes_own=^8 \
    'inode[4].i_mode=0x41ed' $sum
broken 'merged image has features that plain ext2 has not: extent$' \
    tables.merged_feature_incompat=^0x40 $sum
broken 'merged image has features that plain ext2 has not: has_journal, orphan_file$' \
    tables.merged_feature_compat=^0x1004 $sum
broken 'merged revision 7 is out of order or out of range' tables.merged_rev_level=7 $sum
broken 'layer tables of [0-9]+ bytes, but their counts make' tables.translated_count=-1
broken 'layer tables of [0-9]+ bytes, but their counts make' tables.translated_count=-1 $sum
broken 'layer tables: checksum is 0x[0-9a-f]+, not 0x' tables.checksum=+1
broken 'layer tables have no magic' tables.magic=0
broken 'features are 0x12, but it has no meta block groups' \
    tables.merged_feature_incompat=^0x10 $sum
broken 'is for 0 blocks of ' header.merged_block_count=0 header.checksum=checksum
broken 'unknown flags 0x100' header.flags=^0x100 header.checksum=checksum
broken 'state area at [0-9]+ says that it lies at' \
    header.state_offset=+4096 header.checksum=checksum
broken 'section translated blocks at .* does not lie between' \
    header.layer_tables.offset=+4096 header.checksum=checksum
broken 'section translated blocks at .* does not lie between' \
    header.translated_blocks.length=+4096 header.checksum=checksum
broken 'section live bitmap at .* does not lie between' \
    header.durable_bitmap.length=+4096 header.checksum=checksum
broken 'version 99 is not known' header.version=99 header.checksum=checksum
broken "is of version 2, but the superblock's mark of version 1" mark.version=1
broken 'reserved byte 0xd4 of the header is 0x1, not 0' header.version=1 header.checksum=checksum
broken 'section lower records at .* does not lie between' \
    header.lower_records.offset=+1048576 header.checksum=checksum
broken 'needs features that are not known: FEATURE_I7, FEATURE_I8' \
    header.feature_incompat=0x180 header.checksum=checksum
broken "the mark's reserved word is 0x1, not 0" mark.reserved=1
broken 'section fixed blocks at .* does not lie between' \
    "header.fixed_blocks.offset=$(field header.live_bitmap.offset)" \
    header.checksum=checksum
broken 'state area at [0-9]+ says that it lies at' mark.state_offset=+4096
broken 'is an ext2 image without a state area' mark.magic=0

step "a repair does not touch an open session"
cp --sparse=always "$UPPER" "$BAD"
serve disk lower="$LOWER" upper="$BAD" checkpoint=never
mount_merged disk "$WORK/mnt"
echo x >"$WORK/mnt/session"
unmount_merged disk
stop_server disk
"$CORRUPT" "$BAD" 'group[0].bg_used_dirs_count=+1'
status=0
"$IMG" check --repair -b "$LOWER" "$BAD" >"$WORK/out" 2>&1 || status=$?
[ "$status" = 1 ] || fail "repair over a session: status $status"
grep -q "a session is open" "$WORK/out" || fail "repair over a session: $(cat "$WORK/out")"
step "pass: $tried corruptions"
