#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# checkpoint-cases.sh [PART/PARTS | RULE...]
#
# What a checkpoint makes of blocks, of changes that go past the kernel's driver, and
# of sessions that cannot be a layer: one small test each, as in checkpoint-rules.sh.
# Functions are called by name.
# shellcheck disable=SC2317
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/checkpoint.sh
. "$(dirname "$0")/../lib/checkpoint.sh"

# expect_refusal TEXT - the session stays as it is, byte for byte, and can be read.
expect_refusal() {
    serve_session
    save_image merged "$WORK/before.img"
    stop_server merged
    ! checkpoint || fail "the checkpoint was not refused: $(cat "$WORK/checkpoint.txt")"
    grep -q "$1" "$WORK/checkpoint.txt" ||
        fail "the refusal does not say '$1': $(cat "$WORK/checkpoint.txt")"
    serve_session
    save_image merged "$WORK/after.img"
    stop_server merged
    cmp "$WORK/before.img" "$WORK/after.img" || fail "a refused checkpoint changed the image"
    copy_layer
}

# ---- blocks --------------------------------------------------------------------

rule_one_byte_owns_one_block() {
    merged_mib=192
    numbers "$tree/huge" 2600000 # 57 MB: double indirect at 4 KiB
    new_lower 64 4096 256 dir_index,filetype
    grow_plain
    change() { printf X | dd of="$1/huge" bs=1 seek=40000000 conv=notrunc status=none; }
    session change
    settle
    expect_own_blocks /huge 3
    expect_own_inodes 1
    change_again() { printf Y | dd of="$1/huge" bs=1 seek=40004096 conv=notrunc status=none; }
    session change_again
    settle
    expect_own_blocks /huge 4
}

rule_truncate_and_punch_through_indirect_blocks() {
    usual_lower
    cut() { truncate -s 290000 "$1/a/large"; }
    extend() { truncate -s 720000 "$1/a/large"; }
    fill() { numbers "$WORK/fill" 4000 && dd if="$WORK/fill" of="$1/a/large" bs=1024 seek=400 conv=notrunc status=none; }
    punch() {
        fallocate --punch-hole --offset 20480 --length 262144 "$1/a/large"
        fallocate --punch-hole --offset 1024 --length 3072 "$1/a/middle"
    }
    punch_rest() { fallocate --punch-hole --offset 12288 --length 2000000 "$1/a/large"; }
    session cut
    settle
    session extend
    settle
    session fill
    settle
    session punch
    settle
    session punch_rest
    settle
}

rule_punch_of_an_untouched_file() {
    usual_lower
    # Keeps the double indirect block and one indirect block; the other goes.
    punch() { fallocate --punch-hole --offset 274432 --length 262144 "$1/a/large"; }
    session punch
    settle
    [ "$(own_blocks /a/large)" -le 1 ] || fail "a punched file owns $(own_blocks /a/large) blocks"
    refill() { printf hole | dd of="$1/a/large" bs=1 seek=300000 conv=notrunc status=none; }
    session refill
    settle
}

rule_sparse_files_over_two_gib() {
    merged_mib=96
    usual_tree
    truncate -s 3G "$tree/sparse"
    printf 'in the lower' | dd of="$tree/sparse" bs=1M seek=2900 conv=notrunc status=none
    new_lower 32 4096 256 dir_index,filetype
    grow_plain
    change() {
        printf new | dd of="$1/sparse" bs=1M seek=2500 conv=notrunc status=none
        truncate -s 5G "$1/far"
        printf far | dd of="$1/far" bs=1M seek=4500 conv=notrunc status=none
    }
    session change
    settle
    expect_own_blocks /sparse 3 # the block, its indirect one, the double indirect one
    cut() { truncate -s 2600M "$1/sparse" && truncate -s 100 "$1/far"; }
    session cut
    settle
}

_share_xattrs() {
    mkdir "$1/shared"
    seq -f "$1/shared/file-%04g" 1 1000 | xargs touch
    seq -f "$1/shared/file-%04g" 1 1000 |
        xargs setfattr -n user.same -v "$(printf 'v%.0s' $(seq 300))"
}

rule_xattr_block_of_a_thousand_files() {
    local block
    usual_tree
    new_lower 16 1024 128 dir_index,filetype
    change_lower _share_xattrs
    block=$(field_of "$lower" /shared/file-0001 'File ACL')
    [ "$block" -gt 0 ] || fail "there is no xattr block"
    [ "$block" = "$(field_of "$lower" /shared/file-0900 'File ACL')" ] || fail "nothing is shared"
    grow_plain
    remove() { rm "$1/shared/file-0500"; }
    session remove
    settle
    expect_own_inodes 1
    expect_name /shared file-0500 whiteout
    layer_debugfs "testb $block" | grep -q 'not in use' || fail "the shared block is own"
    chmod_one() { chmod 600 "$1/shared/file-0600"; }
    session chmod_one
    settle
    expect_own_inodes 2
    layer_debugfs "testb $block" | grep -q 'marked in use' || fail "the shared block is not own"
    remove_more() { rm "$1/shared/file-0600" "$1/shared/file-0601" && chmod 600 "$1/shared/file-0700"; }
    session remove_more
    settle
    chmod_back() { setfattr -x user.same "$1/shared/file-0700"; }
    session chmod_back
    settle
}

rule_discard() {
    local full small
    usual_tree
    new_lower 16 1024 128 dir_index,filetype
    grow_plain
    session_options=noatime,discard
    numbers "$WORK/text" 900000 # 20 MB
    fill() { cp "$WORK/text" "$1/text"; }
    delete() { rm "$1/text" "$1/a/large" && echo x >"$1/b/x"; }
    session fill
    settle
    full=$(du -k "$upper" | cut -f1)
    session delete
    small=$(du -k "$upper" | cut -f1)
    [ "$small" -lt $((full - 15000)) ] || fail "discard gave nothing back: $full KiB, now $small"
    settle
    small=$(du -k "$upper" | cut -f1)
    [ "$small" -lt 4000 ] || fail "the layer takes $small KiB after all was deleted"
    trim() { fstrim "$1"; }
    session trim
    # Trimming free blocks is not a change, or one without consequences.
    checkpoint || fail "refused: $(cat "$WORK/checkpoint.txt")"
    copy_layer
    dump_merged after
    compare_to_plain after
}

rule_deleted_blocks_are_given_back() {
    local small
    usual_lower
    fill() { head -c 20M /dev/zero | tr '\0' x >"$1/a/filler"; }
    delete() { rm "$1/a/filler"; }
    session fill
    settle
    session delete
    settle
    small=$(du -k "$upper" | cut -f1)
    [ "$small" -lt 4000 ] || fail "the layer takes $small KiB after all was deleted"
}

# ---- features and places ---------------------------------------------------------

rule_lower_without_filetype() {
    usual_lower 1024 none,sparse_super
    change() {
        rm "$1/b/name-1" && mv "$1/b/name-2" "$1/c/moved" && mkdir "$1/b/sub"
        ln -s x "$1/b/link" && mkfifo "$1/b/fifo" && echo y >>"$1/a/small"
        mv "$1/c/d" "$1/b/sub/d"
    }
    again() { rm "$1/b/fifo" && chmod 600 "$1/b/name-9" && rmdir "$1/empty" && echo z >"$1/empty"; }
    # The driver leaves type bytes in reused blocks of such an image, on any disk.
    check_merged() { e2fsck -fn "$1" >"$WORK/fsck.txt" 2>&1 || grep -q 'has filetype set' "$WORK/fsck.txt" || fail "$(cat "$WORK/fsck.txt")"; }
    session change
    settle
    expect_name /b name-1 whiteout
    expect_name /b name-3 fallthru
    expect_opaque /b/sub/d
    session again
    settle
    expect_name /b name-9 real
    expect_name / empty real
}

_boot_sector() {
    usual_lower "$1"
    write_boot() { head -c 1024 /dev/zero | tr '\0' B | dd of="$1" bs=512 conv=notrunc status=none; }
    on_device write_boot
    settle
    [ "$(dd if="$layer" bs=1 skip=100 count=4 status=none)" = BBBB ] || fail "no boot sector"
    change() { echo x >"$1/x"; }
    session change
    settle
    serve_session
    save_image merged "$WORK/boot.img"
    stop_server merged
    cmp -n 1024 "$WORK/boot.img" "$plain" || fail "the boot sector is another"
}
rule_boot_sector_in_block_0() { _boot_sector 1024; }
rule_boot_sector_before_the_superblock() { _boot_sector 4096; }

rule_size_of_the_lower() {
    usual_tree
    merged_mib=24
    new_lower 24 1024 128 dir_index,filetype,resize_inode
    grow_plain
    change() { rm "$1/b/name-1" && echo x >>"$1/a/large" && mv "$1/c" "$1/b/c"; }
    session change
    settle
    expect_name /b name-1 whiteout
    expect_name /b c real
}

rule_revision_0() {
    usual_tree
    rm -r "${tree:?}/c"
    truncate -s 16M "$lower"
    mke2fs -q -F -t ext2 -r 0 -b 1024 -d "$tree" "$lower" >/dev/null 2>&1
    grow_plain
    check_merged() { e2fsck -fn "$1" >"$WORK/fsck.txt" 2>&1 || grep -q 'has filetype set' "$WORK/fsck.txt" || fail "$(cat "$WORK/fsck.txt")"; }
    change() { rm "$1/b/name-1" && echo x >>"$1/a/large" && mv "$1/empty" "$1/b/sub" && mkdir "$1/new"; }
    session change
    settle
    expect_name /b name-1 whiteout
    expect_name /b sub real
}

rule_bad_blocks_list() {
    local block
    usual_lower
    # One free block of the lower, one of a file, one appended.
    block=$(debugfs -R 'bmap /a/large 300' "$lower" 2>/dev/null)
    printf '%s\n' "$block" 12000 40000 >"$WORK/bad"
    mark() {
        local status=0
        e2fsck -fy -l "$WORK/bad" "$1" >"$WORK/fsck.txt" 2>&1 || status=$?
        [ "$status" -le 1 ] || fail "e2fsck -l: status $status: $(cat "$WORK/fsck.txt")"
    }
    on_device mark
    settle
    [ "$(layer_debugfs 'blocks <1>' | tr ' ' '\n' | grep -cxE "$block|12000|40000")" = 3 ] ||
        fail "the bad blocks are not the layer's: $(layer_debugfs 'blocks <1>')"
    change() { echo x >"$1/x" && rm "$1/a/large"; }
    session change
    settle
    unmark() { e2fsck -fy -L /dev/null "$1" >"$WORK/fsck.txt" 2>&1 || [ $? = 1 ]; }
    on_device unmark
    settle
}

rule_label_and_uuid() {
    usual_lower
    tune() { tune2fs -L 'new label' -U 11111111-2222-3333-4444-555555555555 -c 7 -e remount-ro "$1" >/dev/null; }
    on_device tune
    settle
    serve_session
    save_image merged "$WORK/tuned.img"
    stop_server merged
    dumpe2fs -h "$WORK/tuned.img" 2>/dev/null >"$WORK/tuned"
    grep -q 'volume name: *new label' "$WORK/tuned" || fail "the label is lost"
    grep -q 'UUID: *11111111-2222-3333-4444-555555555555' "$WORK/tuned" || fail "the UUID is lost"
}

# ---- past the driver -------------------------------------------------------------

rule_overwritten_in_place() {
    local direct far target
    usual_lower
    direct=$(debugfs -R 'bmap /a/middle 2' "$lower" 2>/dev/null)
    far=$(debugfs -R 'bmap /a/large 500' "$lower" 2>/dev/null)
    target=$(debugfs -R 'bmap /c/long 0' "$lower" 2>/dev/null)
    overwrite() {
        printf XXXX | dd of="$1" bs=1024 seek="$direct" conv=notrunc status=none
        printf YYYY | dd of="$1" bs=1024 seek="$far" conv=notrunc status=none
        printf elsewhere/ | dd of="$1" bs=1024 seek="$target" conv=notrunc status=none
    }
    on_device overwrite
    settle
    expect_own_blocks /a/middle 1
    expect_own_blocks /a/large 3
    expect_own_blocks /c/long 1
    # The same blocks once more: now they are the layer's.
    overwrite_own() {
        printf xxxx | dd of="$1" bs=1024 seek="$direct" conv=notrunc status=none
        printf yyyy | dd of="$1" bs=1024 seek="$far" conv=notrunc status=none
        printf otherwise/ | dd of="$1" bs=1024 seek="$target" conv=notrunc status=none
    }
    on_device overwrite_own
    settle
    expect_own_blocks /a/large 3
}

rule_written_with_the_same_bytes() {
    usual_lower
    rewrite() { dd if="$1" bs=64K status=none skip=4 count=60 | dd of="$1" bs=64K seek=4 conv=notrunc status=none; }
    on_device rewrite
    checkpoint || fail "refused: $(cat "$WORK/checkpoint.txt")"
    copy_layer
    expect_own_inodes 0
    dump_merged after
    compare_to_plain after
}

rule_mapped_but_never_written() {
    local free
    usual_lower
    free=$(debugfs -R 'ffb 2 12000' "$lower" 2>/dev/null | grep -o '[0-9]*' | head -n 1)
    [ "$free" -ge 12000 ] || fail "no free block found: $free"
    # As after a crash: inodes on the disk, neither bitmaps nor data.
    map_blocks() {
        debugfs -w -f - "$1" >/dev/null 2>&1 <<END
set_inode_field /a/small block[1] $free
set_inode_field /a/small size 1500
set_inode_field /b/name-1 block[1] 45000
set_inode_field /b/name-1 size 2000
END
        e2fsck -fy "$1" >"$WORK/fsck.txt" 2>&1 || [ $? = 1 ]
    }
    on_device map_blocks
    settle
    expect_own_blocks /a/small 1
    expect_own_blocks /b/name-1 1
}

rule_debugfs_edits() {
    usual_lower
    edit() {
        debugfs -w -f - "$1" >/dev/null 2>&1 <<END
ln /a/middle /c/middle-too
set_inode_field /a/middle links_count 2
rm /b/name-1
mkdir /b/made
set_inode_field /b/name-2 mtime 20200101
END
        e2fsck -fy "$1" >"$WORK/fsck.txt" 2>&1 || [ $? = 1 ]
    }
    on_device edit
    settle
    expect_name /c middle-too real
    expect_name /b name-1 whiteout
}

rule_optimized_directories() {
    local number
    mkdir "$tree/many"
    for number in $(seq 600); do echo "$number" >"$tree/many/name-$number"; done
    new_lower 16 1024 128 dir_index,filetype
    grow_plain
    optimize() { e2fsck -fyD "$1" >"$WORK/fsck.txt" 2>&1 || [ $? = 1 ]; }
    on_device optimize
    settle
    change() { rm "$1/many/name-77" && echo x >>"$1/many/name-78"; }
    session change
    settle
    expect_name /many name-77 whiteout
    expect_name /many name-79 fallthru
}

# ---- sessions that stay ------------------------------------------------------------

rule_not_cleanly_unmounted() {
    usual_lower
    serve merged "$lower" "$upper" "size=${merged_mib}M"
    mount_merged merged "$WORK/merged"
    echo survivor >"$WORK/merged/b/survivor"
    rm "$WORK/merged/b/name-1"
    sync -f "$WORK/merged"
    # The client dies; its file system cannot be unmounted any more.
    kill -KILL "${FUSE_PID[merged]}"
    wait "${FUSE_PID[merged]}" 2>/dev/null || true
    umount -l "$WORK/merged" 2>/dev/null || true
    unset 'MOUNT_POINT[merged]'
    losetup -d "${DEVICE[merged]}" 2>/dev/null || true
    umount -l "$WORK/merged.fuse" 2>/dev/null || true
    DEVICE[merged]='' FUSE_PID[merged]=''
    sleep 2
    stop_server merged
    grep -q 'no checkpoint: .*nothing is lost' "$WORK/merged.log" ||
        fail "the log does not say why: $(cat "$WORK/merged.log")"
    copy_layer
    expect_own_inodes 0
    expect_refusal 'unmounted\|not valid\|clean'
    repair() { e2fsck -fy "$1" >"$WORK/fsck.txt" 2>&1 || [ $? = 1 ]; }
    # Both: the same change on the plain copy.
    mount -t ext2 -o loop "$plain" "$place"
    echo survivor >"$place/b/survivor"
    rm "$place/b/name-1"
    umount "$place"
    on_device repair
    settle
    expect_name /b survivor real
    expect_name /b name-1 whiteout
}

rule_checkpoint_never() {
    usual_lower
    change() { echo x >"$1/b/x"; }
    session change # with checkpoint=never
    sleep 1
    copy_layer
    expect_own_inodes 0
    settle
    expect_own_inodes 2
}

rule_checkpoint_by_itself() {
    usual_lower
    serve merged "$lower" "$upper" "size=${merged_mib}M"
    mount_merged merged "$WORK/merged"
    echo x >"$WORK/merged/b/x"
    unmount_merged merged
    local deadline=$((SECONDS + SERVER_TIMEOUT))
    until grep -q 'checkpoint made' "$WORK/merged.log"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "no checkpoint when the last client has gone"
        sleep 0.1
    done
    copy_layer
    expect_own_inodes 2
    # The next client of the same server goes on.
    mount_merged merged "$WORK/merged"
    [ "$(cat "$WORK/merged/b/x")" = x ] || fail "the file is not there after the checkpoint"
    echo y >"$WORK/merged/b/y"
    unmount_merged merged
    stop_server merged
    copy_layer
    expect_own_inodes 3
}

rule_readers_leave_a_session() {
    usual_lower
    change() { echo x >"$1/b/x"; }
    session change # with checkpoint=never
    local before
    before=$(sha256sum <"$upper")
    NBDKIT_FLAGS=(-r)
    serve merged "$lower" "$upper"
    save_image merged "$WORK/first.img"
    PATH=/usr/bin:$PATH nbdsh --uri "$(socket_uri merged)" --command 'h.flush()'
    sleep 2 # when the last client has gone a checkpoint would begin
    save_image merged "$WORK/second.img"
    stop_server merged
    NBDKIT_FLAGS=()
    cmp "$WORK/first.img" "$WORK/second.img"
    [ "$before" = "$(sha256sum <"$upper")" ] || fail "a server that only reads wrote"
    settle
    expect_own_inodes 2
}

rule_left_session_without_a_client() {
    usual_lower
    change() { echo x >"$1/b/x"; }
    session change # with checkpoint=never
    local before
    before=$(sha256sum <"$upper")
    NBDKIT_FLAGS=(-r)
    serve merged "$lower" "$upper"
    sleep 2
    stop_server merged
    NBDKIT_FLAGS=()
    [ "$before" = "$(sha256sum <"$upper")" ] || fail "a server that only reads wrote"
    dump_merged before
    serve merged "$lower" "$upper"
    stop_server merged
    copy_layer
    expect_own_inodes 2
    dump_merged after
    same_files "$WORK/before.full" "$WORK/after.full" "the checkpoint changed the tree"
    compare_to_plain after
}

rule_reformatted() {
    usual_lower
    format() { mke2fs -q -F -t ext2 -b 4096 "$1" >/dev/null 2>&1; }
    on_device format
    expect_refusal 'reformatted\|geometry'
    check_clean "$WORK/after.img"
}

rule_reformatted_in_the_same_geometry() {
    local status=0
    usual_lower
    format() { mke2fs -q -F -t ext2 -b 1024 -I 128 -O dir_index,filetype,^resize_inode -N 8192 "$1" >/dev/null 2>&1; }
    on_device format
    dump_merged before
    checkpoint || status=$?
    # Whether or not a layer can say it: the image is what it was.
    [ "$status" = 0 ] || grep -q 'reformatted' "$WORK/checkpoint.txt" ||
        fail "refused otherwise: $(cat "$WORK/checkpoint.txt")"
    dump_merged after
    same_files "$WORK/before.full" "$WORK/after.full" "the checkpoint changed the tree"
    copy_layer
}

rule_journal_added() {
    usual_lower
    add() { tune2fs -j "$1" >/dev/null 2>&1; }
    on_device add
    expect_refusal 'journal\|feature'
    remove() {
        tune2fs -O ^has_journal "$1" >/dev/null 2>&1
        e2fsck -fy "$1" >/dev/null 2>&1 || [ $? = 1 ]
    }
    on_device remove
    settle
}

run_rules "$@"
