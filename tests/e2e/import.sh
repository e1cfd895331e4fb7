#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# import.sh [CASE...] - unionfs-img import: what somebody else calls a layer becomes an upper. The
# judge is the tree that the kernel, or tar, makes of the same source; what an export gives comes
# back as the same tree. The cases are the functions called case_*.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

require mke2fs e2fsck debugfs nbdkit nbdcopy python3 script tar
make_work
IMG=$(realpath "$BUILD_DIR/tools/unionfs-img")
FS_TREE=$(realpath "$BUILD_DIR/tests/fs/fs-tree")
UNIONFS_PLUGIN=$(realpath "$UNIONFS_PLUGIN")

# ---- help --------------------------------------------------------------------------

# make_lower - lower.img of the tree base.
make_lower() {
    rm -rf base lower.img
    mkdir -p base/{etc,dir/deep,gone}
    echo 'setting=1' >base/etc/conf
    seq 1 30000 >base/dir/numbers
    echo x >base/gone/x
    echo linked >base/etc/one
    ln base/etc/one base/etc/other
    ln -s ../dir/numbers base/etc/link
    truncate -s 16M lower.img
    mke2fs -q -F -t ext2 -b 1024 -d base lower.img
}

# import_to STATUS ARGUMENTS... - what it says is in ./out.
import_to() {
    local wanted=$1 status=0
    shift
    "$IMG" import -b lower.img "$@" >out 2>&1 || status=$?
    [ "$status" = "$wanted" ] || fail "import $* ended with status $status: $(cat out)"
}

# says TEXT - ./out has it.
says() { grep -qF -- "$1" out || fail "it does not say: $1 (but: $(cat out))"; }

# extract_all UPPER DIR - the merged tree, without lost+found.
extract_all() {
    rm -rf "$2"
    mkdir "$2"
    "$IMG" extract -b lower.img "$1" / -C "$2"
    touch -r "$2" stamp
    rm -rf "$2/lost+found"
    touch -r stamp "$2"
}

# shows UPPER TREE - the merged disk is clean and shows this tree, but for lost+found, for times
# of access and change, and for how many links a directory has.
shows() {
    "$IMG" check -b lower.img "$1" >check.txt || fail "$1: $(cat check.txt)"
    "$IMG" convert -b lower.img "$1" merged.img >/dev/null
    check_clean merged.img
    extract_all "$1" shown
    tree_of "$2" >wanted.txt
    tree_of shown >found.txt
    same_files wanted.txt found.txt "$1 shows another tree"
    rm merged.img
}

tree_of() {
    "$FS_TREE" --times "$1" | grep -v '^[^ ]*/*lost+found' |
        sed -E 's/ flags=[0-9a-f]+//; s/^([^ ]+ d .*) nlink=[0-9]+/\1/; s/ ctime=[^ ]+//
                s/( mtime=-?[0-9]+)\.[0-9]+/\1/'
}

# ---- cases -------------------------------------------------------------------------

case_an_oci_layer() {
    mkdir -p layer/etc layer/dir/deep
    cp -a base/. wanted
    echo 'setting=2' | tee layer/etc/conf >wanted/etc/conf
    echo new | tee layer/dir/deep/new >wanted/dir/deep/new
    : >layer/.wh.gone
    : >layer/etc/.wh.link
    rm -r wanted/gone wanted/etc/link
    for path in . etc etc/conf dir dir/deep dir/deep/new; do
        touch -d @1700000000 "layer/$path" "wanted/$path"
    done
    tar -C layer --sort=name -cf layer.tar .
    import_to 0 layer.tar u.img
    says 'added, '
    shows u.img wanted
    # The same through each compression, and from a pipe.
    gzip -k layer.tar
    xz -k layer.tar
    for source in layer.tar.gz layer.tar.xz; do
        import_to 0 "$source" again.img
        cmp u.img again.img || fail "$source gives another upper"
        rm again.img
    done
    import_to 0 - again.img <layer.tar
    cmp u.img again.img || fail "a pipe gives another upper"
}

case_layers_in_order() {
    mkdir -p one two
    echo first >one/file
    echo kept >one/kept
    echo second >two/file
    : >two/.wh.etc
    tar -C one -cf one.tar file kept
    tar -C two -cf two.tar file .wh.etc
    import_to 0 one.tar two.tar u.img
    [ "$("$IMG" cat -b lower.img u.img /file)" = second ] || fail "the second layer is not above"
    [ "$("$IMG" cat -b lower.img u.img /kept)" = kept ] || fail "the first layer is gone"
    "$IMG" ls -R -b lower.img u.img | grep -q '^/etc' && fail "/etc is still there"
    return 0
}

case_one_name_of_a_hard_link() {
    mkdir -p layer/etc
    echo other >layer/etc/one
    tar -C layer -cf layer.tar etc/one
    import_to 0 layer.tar u.img
    [ "$("$IMG" cat -b lower.img u.img /etc/one)" = other ] || fail "the new content is not there"
    [ "$("$IMG" cat -b lower.img u.img /etc/other)" = linked ] || fail "the other name changed with it"
}

case_a_changed_copy() {
    cp lower.img copy.img
    debugfs -w copy.img >/dev/null 2>&1 <<'END'
rm /gone/x
ln /dir/numbers /dir/deep/numbers
unlink /dir/numbers
write base/etc/conf /new
END
    e2fsck -fy copy.img >/dev/null 2>&1 || true
    import_to 0 copy.img u.img
    # The file that moved is the same file: its blocks are the lower's.
    "$IMG" diff -b lower.img u.img >diff.txt
    grep -q '^renamed .*/dir/numbers -> /dir/deep/numbers' diff.txt ||
        fail "the moved file is told otherwise: $(cat diff.txt)"
    says '1.0 KiB written'
    rm -rf wanted
    mkdir wanted
    debugfs -R 'rdump / wanted' copy.img >/dev/null 2>&1
    "$IMG" convert -b lower.img u.img merged.img >/dev/null
    check_clean merged.img
    mkdir shown
    debugfs -R 'rdump / shown' merged.img >/dev/null 2>&1
    diff -r --no-dereference wanted shown || fail "the copy shows other files"
}

# number_of IMAGE PATH - its inode.
number_of() { debugfs -R "stat $2" "$1" 2>/dev/null | sed -n '1s/Inode: \([0-9]*\).*/\1/p'; }

# give_out OLD NEW REMOVAL COMMAND - what debugfs makes in copy.img gets the number of what it has
# just removed, and a generation, as a kernel would draw one.
give_out() {
    local number
    number=$(number_of copy.img "$1")
    printf '%s\n' "$3" "$4" "set_inode_field $2 generation 7" | debugfs -w copy.img >/dev/null 2>&1
    [ "$(number_of copy.img "$2")" = "$number" ] || fail "$2 did not get inode $number of $1"
}

case_a_number_that_was_given_out_again() {
    local block
    debugfs -w lower.img >/dev/null 2>&1 <<'END'
mknod null c 1 3
set_inode_field /etc/conf generation 5
set_inode_field /gone generation 5
END
    cp lower.img copy.img
    give_out /null /y.null 'rm /null' 'mknod y.null c 1 3'
    give_out /etc/conf /etc/y.conf 'rm /etc/conf' 'write base/gone/x /etc/y.conf'
    give_out /etc/link /etc/y.link 'rm /etc/link' 'symlink /etc/y.link ../dir/numbers'
    debugfs -w -R 'rm /gone/x' copy.img >/dev/null 2>&1
    give_out /gone /made 'rmdir /gone' 'mkdir /made'
    # What moves keeps its number, also with one block of another content.
    block=$(debugfs -R 'bmap /dir/numbers 5' copy.img 2>/dev/null)
    head -c 1024 /dev/zero | tr '\0' y | dd of=copy.img bs=1024 seek="$block" conv=notrunc status=none
    debugfs -w copy.img >/dev/null 2>&1 <<'END'
ln /dir/numbers /dir/deep/numbers
unlink /dir/numbers
END
    e2fsck -fy copy.img >/dev/null 2>&1 || true
    import_to 0 copy.img u.img
    says '2.0 KiB written'
    "$IMG" diff -b lower.img u.img >diff.txt
    sed '$d; s/ *([^)]*)//g; s/  */ /g' diff.txt | sort >found.txt
    sort >wanted.txt <<'END'
deleted /null
added /y.null
deleted /etc/conf
added /etc/y.conf
deleted /etc/link
added /etc/y.link
deleted /gone/
deleted /gone/x
added /made/
renamed /dir/numbers -> /dir/deep/numbers
END
    diff -u wanted.txt found.txt || fail "the layer says something else: $(cat diff.txt)"
    "$IMG" check -b lower.img u.img >check.txt || fail "$(cat check.txt)"
    [ "$("$IMG" cat -b lower.img u.img /etc/y.conf)" = x ] || fail "/etc/y.conf has other bytes"
}

case_qcow2_and_nbd() {
    if ! command -v qemu-img >/dev/null || ! command -v qemu-nbd >/dev/null; then
        skip "no qemu-utils"
    fi
    cp lower.img copy.img
    debugfs -w -R 'rm /gone/x' copy.img >/dev/null 2>&1
    e2fsck -fy copy.img >/dev/null 2>&1 || true
    qemu-img convert -O qcow2 copy.img copy.qcow2
    import_to 0 copy.img raw.img
    import_to 0 copy.qcow2 u.img
    cmp raw.img u.img || fail "qcow2 gives another upper"
    nbdkit -U - file copy.img --run "'$IMG' import -b lower.img \"\$uri\" nbd.img" >/dev/null
    cmp raw.img nbd.img || fail "NBD gives another upper"
}

case_round_trip() {
    serve merged lower.img upper.img size=32M
    mount_merged merged "$WORK/mount"
    (
        cd "$WORK/mount"
        echo changed >etc/conf
        rm -r gone
        mkdir -p new/deep
        ln dir/numbers new/deep/linked
        dd if=/dev/zero of=new/sparse bs=1 count=1 seek=3M status=none
        mv dir/deep dir/moved
        mkfifo new/fifo
        setfattr -n user.colour -v blue etc/conf 2>/dev/null || true
    )
    unmount_merged merged
    stop_server merged
    "$IMG" export -b lower.img upper.img layer.tar 2>/dev/null
    import_to 0 layer.tar u.img
    extract_all upper.img first
    shows u.img first
    if [ "$(id -u)" = 0 ]; then
        "$IMG" export -b lower.img --format=overlayfs upper.img directory >/dev/null
        import_to 0 overlayfs:directory o.img
        shows o.img first
    fi
}

# What fuse-overlayfs leaves, as root, in a user namespace, and where it cannot make devices.
case_fuse_overlayfs() {
    if ! command -v fuse-overlayfs >/dev/null || [ "$(id -u)" != 0 ] || [ ! -c /dev/fuse ]; then
        step "fuse-overlayfs: not asked, because this machine has none, or no /dev/fuse for it"
        return
    fi
    cat >change.sh <<'EOF'
set -e
fuse-overlayfs -o lowerdir=base,upperdir=up,workdir=work mount 2>/dev/null
(cd mount && rm etc/link && rm -r gone dir/deep && mkdir dir/deep && echo new >dir/deep/new &&
    mv dir moved && echo 2 >etc/conf)
cp -a mount/. wanted
umount mount
EOF
    local path name
    for how in '' 'unshare -Urm'; do
        # shellcheck disable=SC2086  # it is a command with arguments, or nothing
        if ! $how true 2>/dev/null; then
            step "fuse-overlayfs: not asked in a user namespace, because this machine allows none here"
            continue
        fi
        rm -rf up work mount wanted u.img again.img
        mkdir up work mount wanted
        # shellcheck disable=SC2086  # it is a command with arguments, or nothing
        $how bash change.sh
        import_to 0 up u.img
        says 'as whiteouts of fuse-overlayfs'
        shows u.img wanted
        while read -r path; do
            touch -r "${path%/*}" stamp
            rm "$path"
            name=${path##*/}
            [ "$name" = .wh..opq ] || : >"${path%/*}/.wh.$name"
            touch -r stamp "${path%/*}"
        done < <(find up -type c)
        import_to 0 up again.img
        shows again.img wanted
    done
}

case_refused() {
    tar -C base -cf layer.tar etc
    import_to 0 layer.tar u.img
    import_to 1 layer.tar u.img
    says 'u.img'
    echo nothing >nothing
    import_to 1 nothing new.img
    says 'no archive'
    mke2fs -q -F -t ext2 -d base stranger.img 8M
    import_to 1 stranger.img new.img
    says 'say image:stranger.img'
    import_to 0 image:stranger.img whole.img
    import_to 0 upper:stranger.img part.img
    import_to 1 u.img new.img # one of ours
    import_to 1 --size=16M image:stranger.img missing/new.img
    # A symlink of the lower is not replaced by a directory that only stands on the way.
    mkdir -p way/etc/link
    echo x >way/etc/link/file
    tar -C way -cf way.tar etc/link/file
    import_to 1 way.tar new.img
    says '/etc/link'
    [ ! -e new.img ] || fail "something was left under the name"
    [ -z "$(find . -name '.*new.img*')" ] || fail "something hidden was left: $(find . -name '.*new*')"
}

case_no_room() {
    mkdir layer
    head -c 40M /dev/urandom >layer/large
    tar -C layer -cf layer.tar large
    import_to 1 --size=32M layer.tar u.img
    says 'cannot hold it'
    [ ! -e u.img ] || fail "an upper is left"
    script -qec "$IMG import -b lower.img layer.tar u.img" terminal.txt >/dev/null </dev/null
    grep -q '[0-9.]* MiB read' terminal.txt || fail "a terminal sees no progress: $(cat terminal.txt)"
    ! grep -q ' read' out || fail "progress where there is no terminal: $(cat out)"
    [ "$("$IMG" cat -b lower.img u.img /large | sha256sum)" = "$(sha256sum <layer/large)" ] ||
        fail "the large file is another one"
}

# ---- the cases ---------------------------------------------------------------------

cases=("$@")
if [ "${#cases[@]}" = 0 ]; then
    mapfile -t cases < <(declare -F | sed -n 's/^declare -f case_//p')
fi
for case in "${cases[@]}"; do
    step "$case"
    mkdir "$WORK/$case"
    cd "$WORK/$case"
    make_lower
    "case_$case"
    cd "$WORK"
    rm -rf "${WORK:?}/$case"
done
