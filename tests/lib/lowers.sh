# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The kinds of ext2 images a lower may be. Sourced after common.sh.
#
#   make_tree DIR               a small deterministic content tree
#   lower_kinds [all]           the names of the kinds, one a line
#   make_lower KIND FILE DIR    makes one; DIR is what make_tree made
#
# Most have several groups of a few MiB, the last of them partial.
#
# Every lower is clean by `e2fsck -f` and mountable by the kernel when made.
# Needs root (device nodes, loop mounts).

LOWER_UUID=6b1f2f04-5d7c-4a65-8c7e-1c0ffee15bad

# _text FILE SIZE START - SIZE bytes of lines counting from START: no two blocks
# of it are alike, so that a block read from the wrong place shows.
_text() {
    # seq is cut short by the end of head, which is no failure.
    head -c "$2" < <(seq "$3" 1 9999999 || true) >"$1"
}

# _xattrs FILE COUNT LENGTH - COUNT user attributes of LENGTH bytes each.
_xattrs() {
    local number value
    for number in $(seq "$2"); do
        value=$(printf '%0*d' "$3" "$number")
        setfattr -n "user.attribute$number" -v "$value" "$1" ||
            skip "no user xattrs in $(dirname "$1")"
    done
}

# make_tree DIR - DIR/plain has everything small, DIR/sparse files with far holes.
make_tree() {
    local tree=$1 size number plain=$1/plain sparse=$1/sparse
    mkdir -p "$plain/sizes" "$plain/links" "$plain/nodes" "$plain/names" \
        "$plain/xattrs" "$plain/many" "$plain/deep/a/b/c/d/e/f/g" "$plain/empty" "$sparse"
    # Around the ends of blocks, of the 12 direct pointers and, at 1 KiB, of the
    # single indirect block (12 + 256 blocks).
    for size in 0 1 59 60 1023 1024 1025 2048 4095 4096 4097 12288 12289 24577 49152 \
        49153 274432 274433 300000; do
        _text "$plain/sizes/$size" "$size" "$((1000000 + size))"
    done
    ln -s short "$plain/links/fast"
    ln -s "$(printf '%059d' 1)" "$plain/links/fast-59"
    ln -s "$(printf '%060d' 2)" "$plain/links/slow-60"
    ln -s "$(printf '%0900d' 3)" "$plain/links/slow-900"
    ln "$plain/sizes/4097" "$plain/links/hard"
    ln "$plain/sizes/4097" "$plain/deep/a/hard"
    mknod "$plain/nodes/char" c 1 3
    mknod "$plain/nodes/block" b 7 200
    mknod "$plain/nodes/wide" c 300 70000
    mknod "$plain/nodes/fifo" p
    _text "$plain/names/$(printf 'n%.0s' $(seq 255))" 100 1
    _text "$plain/names/with space and"$'\n'"newline" 100 2
    _text "$plain/names/"$'\xff\xfe not utf-8' 100 3
    _text "$plain/xattrs/one" 10 4
    _xattrs "$plain/xattrs/one" 1 12
    _text "$plain/xattrs/block" 10 5
    _xattrs "$plain/xattrs/block" 6 100
    _xattrs "$plain/xattrs" 2 40
    for number in $(seq 120); do
        ln "$plain/sizes/59" "$plain/many/a-somewhat-longer-name-$number"
    done
    _text "$plain/deep/a/b/c/d/e/f/g/bottom" 5000 7
    chmod 4711 "$plain/sizes/1025"
    chmod 1777 "$plain/empty"
    chown 1234:70001 "$plain/sizes/1024"

    # Holes at every level: at 1 KiB these reach the single, double and triple
    # indirect block (12, 268 and 65804 blocks), the last but one at 2 KiB too.
    for size in 20K 400K 66M 520M; do
        truncate -s "$size" "$sparse/to-$size"
        _text "$sparse/tail" 3000 8
        dd if="$sparse/tail" of="$sparse/to-$size" bs=1M oflag=append conv=notrunc status=none
    done
    _text "$sparse/middle" 5000 9
    dd if="$sparse/middle" of="$sparse/to-66M" bs=1K seek=300 conv=notrunc status=none
    find "$tree" -depth -exec touch -h -d '2001-02-03 04:05:06 UTC' {} +
    touch -h -d '1969-12-24 00:00:00 UTC' "$plain/sizes/1"
}

_matrix_bases='b1024-i128 b1024-i256 b2048-i128 b2048-i256 b4096-i128 b4096-i256'
_matrix_variants='noresize nodirindex nofiletype nosparse sparse2 nolargefile noextattr'

# Without `all`: every base plain, with META_BG and bare, and each other variant
# with two of the bases.
_matrix_kinds() {
    local base variant number=0 all=$1
    for base in $_matrix_bases; do
        printf '%s\n' "$base-default" "$base-metabg" "$base-bare"
    done
    for variant in $_matrix_variants; do
        for base in $_matrix_bases; do
            # 3 of every 6 steps apart: one of 128 and one of 256 bytes, and all
            # block sizes in turn.
            if [ "$all" = 1 ] || [ $((number % 3)) = 0 ]; then
                printf '%s\n' "$base-$variant"
            fi
            number=$((number + 1))
        done
        number=$((number + 1))
    done
}

lower_kinds() {
    local all=0
    [ "${1:-}" != all ] || all=1
    _matrix_kinds "$all"
    cat <<'END'
revision0-b1024
revision0-b4096
inodes512-b4096
inodes1024-b1024
sparse2-no-backup
sparse2-one-backup
sparse2-resize-inode
group256-b1024
group256-b4096
group1032-b1024
group1032-b4096
group8184-b1024
group-default-b1024
group-default-b4096
odd-inode-count
few-inodes
reserved-none
reserved-half
stride
packed
packed-metabg
resize-limit
creator-freebsd
tuned
genext2fs-b1024
genext2fs-b4096
full-blocks
full-inodes
full-both
bad-blocks-mke2fs
bad-blocks-e2fsck
empty
empty-b4096
no-lost-found
tiny-64k
tiny-100k
tiny-1m
group-boundary-b1024
group-boundary-b2048
last-group-shortest
last-group-shortest-b4096
longer-file
triple-indirect-b4096
over-2-gib
htree-b1024
htree-b4096
kernel-written
END
}

# _make_fs FILE BLOCK_SIZE BLOCK_COUNT OPTIONS... - mke2fs writes no further than
# the last table or file, so the file gets its length first.
_make_fs() {
    local file=$1 block_size=$2 block_count=$3
    shift 3
    rm -f -- "$file"
    truncate -s "$((block_size * block_count))" "$file"
    # Of its words only "128-byte inodes are deprecated" comes on success.
    mke2fs -q -F -t ext2 -b "$block_size" -U "$LOWER_UUID" "$@" "$file" "$block_count" \
        >"$file.mke2fs" 2>&1 || fail "mke2fs could not make $file: $(cat "$file.mke2fs")"
    rm -f -- "$file.mke2fs"
}

# _with_mount FILE FUNCTION ARGS... - runs FUNCTION DIR ARGS with FILE mounted.
_with_mount() {
    local file=$1 place=$1.mount
    shift
    mkdir -p "$place"
    mount -t ext2 -o loop,rw "$file" "$place"
    "$1" "$place" "${@:2}"
    umount "$place"
    rmdir "$place"
}

# _repair FILE OPTIONS... - e2fsck may correct what a generator left (status 1).
_repair() {
    local file=$1 status=0
    shift
    e2fsck -fy "$@" "$file" >/dev/null 2>&1 || status=$?
    [ "$status" -le 1 ] || fail "e2fsck could not repair $file (status $status)"
}

_eat_inodes() {
    mkdir -p "$1/eaters"
    seq -f "$1/eaters/name%05g" 1 20000 | xargs touch 2>/dev/null || true
    [ "$(stat -f -c %d "$1")" = 0 ] || fail "$1 still has free inodes"
}

# One big file, then files of one block: the last free blocks are of no use to a
# file that would need an indirect block with them. The names may be there already,
# for there may be no inode left.
_eat_blocks() {
    local number
    mkdir -p "$1/eaters"
    # The end of space is what is wanted.
    head -c 64M /dev/zero 2>/dev/null | tr '\0' e 2>/dev/null >"$1/eaters/name00001" || true
    for number in $(seq 2 40); do
        [ "$(stat -f -c %f "$1")" != 0 ] || return 0
        printf e 2>/dev/null >"$1/eaters/$(printf 'name%05d' "$number")" || true
        sync -f "$1"
    done
    fail "$1 still has free blocks"
}

# Directories of one and two levels of htree by the kernel, with names deleted again so
# that there are free slots in the leaves.
_many_names() {
    local place=$1 count=$2
    mkdir "$place/names"
    seq -f "$place/names/a-name-with-a-few-more-letters-%06g" 1 "$count" | xargs touch
    cp -al "$place/names" "$place/links"
    seq -f "$place/names/a-name-with-a-few-more-letters-%06g" 7 13 "$count" | xargs rm
}

# What the kernel lays out differently from mke2fs: shared xattr blocks, holes made
# by truncate and punch, directories that grew and shrank.
_kernel_content() {
    local place=$1 number
    mkdir "$place/x"
    for number in 1 2 3 4; do
        _text "$place/x/$number" "$((number * 70000))" "$number"
        _xattrs "$place/x/$number" 5 90
    done
    setfattr -n trusted.overlay.opaque -v y "$place/x"
    fallocate --punch-hole --offset 20480 --length 40960 "$place/x/1"
    truncate -s 100000 "$place/x/2"
    rm "$place/x/3"
    seq -f "$place/x/gone%g" 1 200 | xargs touch
    rm "$place"/x/gone*
    ln -s "$(printf '%0500d' 9)" "$place/x/slow"
}

_over_2_gib() {
    _text "$1/part" 10000 11
    dd if="$1/part" of="$1/three-gib" bs=1M seek=3072 conv=notrunc status=none
    dd if="$1/part" of="$1/three-gib" bs=1M seek=2047 conv=notrunc status=none
}

# At 4 KiB the triple indirect block begins at 4 GiB and 4 MiB.
_triple_4k() {
    _text "$1/part" 10000 12
    dd if="$1/part" of="$1/far" bs=1M seek=4101 conv=notrunc status=none
    dd if="$1/part" of="$1/far" bs=1M seek=100 conv=notrunc status=none
}

_make_matrix() {
    local kind=$1 file=$2 tree=$3 block_size inode_size variant features=
    local group_blocks
    IFS=- read -r block_size inode_size variant <<<"$kind"
    block_size=${block_size#b}
    inode_size=${inode_size#i}
    group_blocks=$((4194304 / block_size))
    case $variant in
    default) ;;
    noresize) features=^resize_inode ;;
    nodirindex) features=^dir_index ;;
    nofiletype) features=^filetype ;;
    nosparse) features=^sparse_super,^resize_inode ;;
    sparse2) features=sparse_super2,^sparse_super,^resize_inode ;;
    # LARGE_FILE comes back with a file over 2 GiB, and the resize inode of 4 KiB
    # blocks is one.
    nolargefile) features=^large_file,^resize_inode ;;
    noextattr) features=^ext_attr ;;
    metabg)
        features=meta_bg,^resize_inode
        group_blocks=256
        ;;
    bare) features=none ;;
    *) fail "no such variant: $variant" ;;
    esac
    _make_fs "$file" "$block_size" "$((18 * 1048576 / block_size + 37))" -g "$group_blocks" \
        -I "$inode_size" -d "$tree" ${features:+-O "$features"}
}

make_lower() {
    local kind=$1 file=$2 tree=$3 plain=$3/plain status=0
    case $kind in
    b[124]*-i*-*) _make_matrix "$kind" "$file" "$tree" ;;
    revision0-b*) _make_fs "$file" "${kind#*-b}" $((18874368 / ${kind#*-b})) -r 0 -d "$plain" ;;
    inodes512-b4096) _make_fs "$file" 4096 4000 -I 512 -g 1024 -d "$tree" ;;
    inodes1024-b1024) _make_fs "$file" 1024 18000 -I 1024 -d "$tree" ;;
    sparse2-*) _make_sparse2 "$kind" "$file" "$tree" ;;
    group*-b*) _make_group_layout "$kind" "$file" "$tree" ;;
    last-group-shortest*) _make_group_layout "$kind" "$file" "$tree" ;;
    odd-inode-count) _make_fs "$file" 1024 18001 -N 1237 -d "$tree" ;;
    few-inodes) _make_fs "$file" 1024 40000 -N 80 -d "$plain/deep" ;;
    reserved-none) _make_fs "$file" 1024 18000 -m 0 -d "$tree" ;;
    reserved-half) _make_fs "$file" 4096 5000 -m 50 -d "$plain" ;;
    stride) _make_fs "$file" 1024 40000 -E stride=7,stripe_width=14 -d "$tree" ;;
    packed) _make_fs "$file" 1024 40000 -E packed_meta_blocks=1 -d "$tree" ;;
    packed-metabg)
        _make_fs "$file" 1024 20000 -g 512 -O meta_bg,^resize_inode -E packed_meta_blocks=1 \
            -d "$plain"
        ;;
    resize-limit) _make_fs "$file" 1024 18000 -E resize=200000 -d "$tree" ;;
    creator-freebsd) _make_fs "$file" 1024 18000 -o FreeBSD -d "$plain" ;;
    tuned) _make_tuned "$file" "$tree" ;;
    genext2fs-b*)
        genext2fs -B "${kind#*-b}" -b $((12582912 / ${kind#*-b})) -N 500 -d "$plain" "$file" \
            >/dev/null || fail "genext2fs could not make $file"
        _repair "$file"
        ;;
    full-*) _make_full "$kind" "$file" "$plain" ;;
    bad-blocks-*) _make_bad_blocks "$kind" "$file" "$tree" ;;
    empty) _make_fs "$file" 1024 20000 ;;
    empty-b4096) _make_fs "$file" 4096 8000 ;;
    no-lost-found)
        _make_fs "$file" 1024 5000
        debugfs -w -R 'rmdir lost+found' "$file" >/dev/null 2>&1
        ;;
    tiny-64k) _make_fs "$file" 1024 64 -N 32 -d "$plain/xattrs" ;;
    tiny-100k) _make_fs "$file" 1024 100 -N 32 -O ^resize_inode -d "$plain/deep" ;;
    tiny-1m) _make_fs "$file" 4096 256 -N 64 -d "$plain/deep" ;;
    longer-file)
        _make_fs "$file" 1024 18000 -d "$tree"
        truncate -s +777777 "$file"
        ;;
    triple-indirect-b4096)
        _make_fs "$file" 4096 5000 -d "$tree"
        _with_mount "$file" _triple_4k
        ;;
    over-2-gib)
        _make_fs "$file" 1024 18000 -d "$tree"
        _with_mount "$file" _over_2_gib
        ;;
    htree-b1024)
        _make_fs "$file" 1024 20000 -N 6000
        _with_mount "$file" _many_names 3000
        ;;
    htree-b4096)
        _make_fs "$file" 4096 6000 -N 6000
        _with_mount "$file" _many_names 5000
        ;;
    kernel-written)
        _make_fs "$file" 1024 18000 -I 128 -d "$tree"
        _with_mount "$file" _kernel_content
        ;;
    *) fail "no such kind of lower: $kind" ;;
    esac
    e2fsck -fn "$file" >/dev/null 2>&1 || status=$?
    [ "$status" = 0 ] || fail "the lower $kind is not clean (e2fsck status $status)"
}

_make_sparse2() {
    local kind=$1 file=$2 tree=$3 backup_count=2
    local features=sparse_super2,^sparse_super,^resize_inode
    case $kind in
    sparse2-no-backup) backup_count=0 ;;
    sparse2-one-backup) backup_count=1 ;;
    # Both bits; SPARSE_SUPER2 is the one that counts.
    sparse2-resize-inode) features=sparse_super2 ;;
    *) fail "no such kind of lower: $kind" ;;
    esac
    _make_fs "$file" 1024 40000 -d "$tree" -O "$features" -E num_backup_sb=$backup_count
}

_make_group_layout() {
    local kind=$1 file=$2 tree=$3
    case $kind in
    group256-b1024) _make_fs "$file" 1024 18000 -g 256 -d "$tree" ;;
    group256-b4096) _make_fs "$file" 4096 5000 -g 256 -d "$tree" ;;
    group1032-b1024) _make_fs "$file" 1024 18000 -g 1032 -d "$tree" ;;
    group1032-b4096) _make_fs "$file" 4096 5000 -g 1032 -d "$tree" ;;
    group8184-b1024) _make_fs "$file" 1024 40001 -g 8184 -d "$tree" ;;
    group-default-b1024) _make_fs "$file" 1024 30000 -d "$tree" ;;
    group-default-b4096) _make_fs "$file" 4096 5000 -d "$tree" ;;
    # Block 0 is in no group at 1 KiB.
    group-boundary-b1024) _make_fs "$file" 1024 16385 -d "$tree" ;;
    group-boundary-b2048) _make_fs "$file" 2048 12288 -g 4096 -d "$tree" ;;
    # mke2fs drops a last group with less than 50 blocks beyond its metadata.
    last-group-shortest) _make_shortest "$file" 1024 16385 "$tree" -N 1000 ;;
    last-group-shortest-b4096) _make_shortest "$file" 4096 4096 "$tree" -g 1024 -N 800 ;;
    *) fail "no such layout: $kind" ;;
    esac
}

# _make_shortest FILE BLOCK_SIZE WHOLE_GROUPS TREE OPTIONS... - WHOLE_GROUPS blocks
# end at a group's end; after them comes the shortest group that mke2fs makes.
_make_shortest() {
    local file=$1 block_size=$2 count=$(($3 + 500)) tree=$4 made free
    shift 4
    _make_fs "$file" "$block_size" "$count" "$@"
    free=$(dumpe2fs "$file" 2>/dev/null | sed -n 's/^  \([0-9]*\) free blocks.*/\1/p' | tail -n 1)
    count=$((count - free + 50))
    _make_fs "$file" "$block_size" "$count" "$@" -d "$tree"
    made=$(dumpe2fs -h "$file" 2>/dev/null | sed -n 's/^Block count: *//p')
    [ "$made" = "$count" ] || fail "$file has no short last group ($made blocks of $count)"
}

_make_tuned() {
    local file=$1 tree=$2
    _make_fs "$file" 1024 18000 -L 'a label' -M /mnt/somewhere -d "$tree"
    tune2fs -c 33 -i 90d -u 1000 -g 1000 -e remount-ro -o journal_data,acl -r 77 \
        -E mount_opts=noatime,hash_alg=tea "$file" >/dev/null 2>&1 ||
        fail "tune2fs refused $file"
}

_make_full() {
    local kind=$1 file=$2 plain=$3
    _make_fs "$file" 1024 12000 -N 300 -m 0 -g 4096 -d "$plain"
    [ "$kind" = full-blocks ] || _with_mount "$file" _eat_inodes
    [ "$kind" = full-inodes ] || _with_mount "$file" _eat_blocks
}

_make_bad_blocks() {
    local kind=$1 file=$2 tree=$3
    if [ "$kind" = bad-blocks-mke2fs ]; then
        { seq 9000 9003; echo 12345; seq 17000 3 17900; } >"$file.bad"
        _make_fs "$file" 1024 18000 -l "$file.bad" -d "$tree"
    else
        # e2fsck also moves the content away from blocks in use.
        _make_fs "$file" 4096 5000 -g 1024 -d "$tree"
        { seq 600 603; echo 3000; echo 4999; } >"$file.bad"
        _repair "$file" -l "$file.bad"
    fi
    rm -f -- "$file.bad"
}
