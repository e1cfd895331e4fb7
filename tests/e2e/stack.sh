#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# stack.sh [CASE...] - sealed layers and chains as they are typed: made, served, looked at by
# every command, found by name, and refused with one clear line.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/sessions.sh
. "$(dirname "$0")/../lib/sessions.sh"

require mke2fs e2fsck debugfs nbdkit nbdcopy nbdsh python3
make_work
IMG=$(realpath "$BUILD_DIR/tools/unionfs-img")
UNIONFS_PLUGIN=$(realpath "$UNIONFS_PLUGIN")
cd "$WORK"

# ---- images ------------------------------------------------------------------------

mkdir -p tree/etc tree/dir
seq 1 20000 >tree/etc/numbers
for number in 1 2 3 4 5 6; do echo "$number" >"tree/dir/f$number"; done
echo one >one
seq 5 30000 >two
truncate -s 8M base.img
mke2fs -q -t ext2 -b 1024 -d tree base.img

FIRST=("write $WORK/one /dir/one" 'rm /dir/f1' 'patch /etc/numbers 50000 FIRST')
SECOND=("write $WORK/two /two" 'rm /dir/f2' 'rm /dir/one' 'patch /etc/numbers 90000 SECOND')
THIRD=('mkdir /made' "write $WORK/one /made/one" 'rm /two' 'patch /etc/numbers 50002 3')

# model DIR LEVEL - what that level shows.
model() {
    rm -rf "$1"
    cp -r tree "$1"
    cp one "$1/dir/one"
    rm "$1/dir/f1"
    printf FIRST | dd of="$1/etc/numbers" bs=1 seek=50000 conv=notrunc status=none
    [ "$2" -gt 1 ] || return 0
    cp two "$1/two"
    rm "$1/dir/f2" "$1/dir/one"
    printf SECOND | dd of="$1/etc/numbers" bs=1 seek=90000 conv=notrunc status=none
    [ "$2" -gt 2 ] || return 0
    mkdir "$1/made"
    cp one "$1/made/one"
    rm "$1/two"
    printf 3 | dd of="$1/etc/numbers" bs=1 seek=50002 conv=notrunc status=none
}

# shows IMAGE LEVEL - a plain image has the files of that level.
shows() {
    check_clean "$1"
    model wanted "$2"
    rm -rf shown
    mkdir shown
    debugfs -R 'rdump / shown' "$1" >rdump.log 2>&1
    rmdir shown/lost+found wanted/lost+found 2>/dev/null || true
    diff -r wanted shown || fail "$1 does not have the files of level $2"
}

# said TEXT COMMAND... - it fails, and its last line has the text.
said() {
    local text=$1
    shift
    ! "$@" >out 2>&1 || fail "$* did not fail"
    tail -n 1 out | grep -qF -- "$text" || fail "$* says: $(cat out)"
    [ "$(wc -l <out)" -le 2 ] || fail "$* says more than a line: $(cat out)"
}

# flatten LEVELS... UPPER - as flat.img.
flatten() {
    rm -f flat.img
    "$IMG" convert "$@" flat.img >out
}

serve_once() { (use_sanitizer && exec nbdkit -U - "$UNIONFS_PLUGIN" "$@" --run true </dev/null); }

# ---- three levels, which all cases use ---------------------------------------------

debugfs_session base.img l1.img size=24M -- "${FIRST[@]}"
"$IMG" seal -b base.img l1.img >out || fail "seal: $(cat out)"
grep -q 'l1.img: sealed, chain digest [0-9a-f]\{16\}; .* -b base.img -b l1.img$' out || fail "$(cat out)"
debugfs_session base.img l2.img layer=l1.img -- "${SECOND[@]}"
"$IMG" seal -b base.img -b l1.img l2.img >out
debugfs_session base.img upper.img layer=l1.img layer=l2.img size=32M -- "${THIRD[@]}"
LEVELS=(-b base.img -b l1.img -b l2.img)
"$IMG" checkpoint "${LEVELS[@]}" upper.img >out || fail "checkpoint: $(cat out)"

# ---- cases -------------------------------------------------------------------------

served() {
    serve disk base.img l1.img l2.img upper.img checkpoint=never
    save_image disk flat.img
    stop_server disk
    shows flat.img 3
    # The same without an upper of its own, and the levels below.
    serve disk lower=base.img layer=l1.img layer=l2.img
    save_image disk flat.img
    stop_server disk
    shows flat.img 2
    "$IMG" convert -b base.img l1.img flat1.img
    shows flat1.img 1
    "$IMG" convert "${LEVELS[@]}" upper.img flat3.img
    shows flat3.img 3
    # Two disks over the same levels at once.
    serve one base.img l1.img l2.img new1.img
    serve two base.img l1.img l2.img new2.img
    save_image one flat.img
    stop_server one
    stop_server two
    shows flat.img 2
    [ "$(stat -c %a l1.img)" = 444 ] || fail "l1.img can be written"
}

found_by_name() {
    serve disk base.img upper.img checkpoint=never
    save_image disk flat.img
    stop_server disk
    shows flat.img 3
    "$IMG" ls -b base.img upper.img >names
    "$IMG" ls "${LEVELS[@]}" upper.img >out2
    cmp names out2
    # Only in the upper's own directory, and no link is followed.
    mkdir alone
    cp upper.img alone/upper.img
    said 'stands on the sealed layer "l2.img"' "$IMG" ls -b base.img alone/upper.img
    ln -s "$WORK/l2.img" alone/l2.img
    ln -s "$WORK/l1.img" alone/l1.img
    said 'which is missing' "$IMG" ls -b base.img alone/upper.img
    "$IMG" ls "${LEVELS[@]}" alone/upper.img >out2
    cmp names out2
}

commands() {
    "$IMG" check --content "${LEVELS[@]}" upper.img >out || fail "$(cat out)"
    "$IMG" diff "${LEVELS[@]}" upper.img >out
    grep -q '/made/one' out || fail "diff: $(cat out)"
    ! grep -q '/dir/one\|f1' out || fail "diff tells of a level below: $(cat out)"
    "$IMG" diff -b base.img -b l1.img l2.img >out
    grep -q '/dir/f2' out || fail "diff of a sealed layer: $(cat out)"
    [ "$("$IMG" cat "${LEVELS[@]}" upper.img /dir/f3)" = 3 ] || fail "cat of a file of the lower"
    "$IMG" cat -b base.img -b l1.img l2.img /two | cmp - two
    "$IMG" ls -R "${LEVELS[@]}" upper.img >out
    "$IMG" map "${LEVELS[@]}" upper.img >out
    "$IMG" info "${LEVELS[@]}" upper.img >out
    grep -q 'lower matches: yes' out || fail "info: $(cat out)"
    grep -q 'features: .*parent' out || fail "info: $(cat out)"
    "$IMG" info l1.img >out
    grep -q 'features: .*sealed' out || fail "info: $(cat out)"
    "$IMG" export "${LEVELS[@]}" upper.img layer.tar
    tar tf layer.tar >out
    grep -qx 'made/one' out || fail "export: $(cat out)"
    grep -qx '.wh.two' out || fail "export: $(cat out)"
    "$IMG" import "${LEVELS[@]}" layer.tar imported.img >out
    flatten "${LEVELS[@]}" imported.img
    shows flat.img 3
    "$IMG" create "${LEVELS[@]}" created.img >out
    flatten "${LEVELS[@]}" created.img
    shows flat.img 2
}

rebased() {
    # From three levels to two others.
    cp -r tree tree2
    echo other >tree2/dir/new
    truncate -s 8M base2.img
    mke2fs -q -t ext2 -b 1024 -U random -d tree2 base2.img
    debugfs_session base2.img other.img size=24M -- "write $WORK/two /two" "write $WORK/one /dir/six"
    "$IMG" seal -b base2.img other.img >out
    "$IMG" rebase "${LEVELS[@]}" --onto base2.img --onto other.img --theirs /etc/numbers \
        --verify -o moved.img upper.img >out 2>&1 || fail "rebase: $(cat out)"
    flatten -b base2.img -b other.img moved.img
    check_clean flat.img
    debugfs -R 'cat /made/one' flat.img 2>/dev/null | cmp - one
    debugfs -R 'cat /dir/six' flat.img 2>/dev/null | cmp - one
    ! debugfs -R 'stat /two' flat.img 2>/dev/null | grep -q Inode: || fail "/two is back"
    "$IMG" check -b base2.img -b other.img moved.img >out
}

# All of them to another lower.
chain_rebased() {
    cp -r tree tree3
    echo other >tree3/dir/new
    truncate -s 8M base3.img
    mke2fs -q -t ext2 -b 1024 -U random -d tree3 base3.img
    "$IMG" rebase --chain "${LEVELS[@]}" --onto base3.img -o chain upper.img >out
    cd chain
    [ "$(stat -c %a l2.img)" = 444 ] || fail "l2.img can be written"
    flatten -b ../base3.img -b l1.img -b l2.img upper.img
    cd ..
    [ "$(debugfs -R 'cat /dir/new' chain/flat.img 2>/dev/null)" = other ] || fail "/dir/new is not there"
    cp chain/flat.img flat.img
    debugfs -w -R 'rm /dir/new' flat.img 2>/dev/null
    shows flat.img 3
    "$IMG" check --content -b base3.img -b chain/l1.img -b chain/l2.img chain/upper.img >out
    # The second layer deletes what the new lower has otherwise.
    echo other >tree3/dir/f2
    truncate -s 8M base4.img
    mke2fs -q -t ext2 -b 1024 -U random -d tree3 base4.img
    local status=0
    "$IMG" rebase --chain "${LEVELS[@]}" --onto base4.img -o none upper.img >out 2>&1 || status=$?
    { [ "$status" = 3 ] && grep -q /dir/f2 out; } || fail "rebase: status $status, $(cat out)"
    [ -z "$(find . -name '*none*')" ] || fail "a part of a chain was left"
    "$IMG" rebase --chain "${LEVELS[@]}" --onto base4.img --ours '/dir/*' --dry-run \
        --output json upper.img >out
    grep -q '"done": true' out || fail "rebase: $(cat out)"
    said 'needs -o DIR' "$IMG" rebase --chain "${LEVELS[@]}" --onto base3.img upper.img
}

sealed() {
    cp upper.img top.img
    "$IMG" seal "${LEVELS[@]}" -o copy.img top.img >out
    flatten "${LEVELS[@]}" copy.img
    shows flat.img 3
    [ "$(stat -c %a copy.img)" = 444 ] || fail "copy.img can be written"
    said 'exists already' "$IMG" seal "${LEVELS[@]}" -o copy.img top.img
    said 'is a sealed layer' "$IMG" seal "${LEVELS[@]}" copy.img
    # A session becomes the layer first, but not in a copy.
    debugfs_session base.img open.img size=24M -- "${FIRST[@]}"
    said 'has an open session' "$IMG" seal -b base.img -o copy2.img open.img
    [ ! -e copy2.img ] || fail "a copy was left"
    serve disk base.img open.img checkpoint=never
    said 'is in use by another server' "$IMG" seal -b base.img open.img
    stop_server disk
}

# sealed_upper - a sealed copy of upper.img: its name.
sealed_upper() {
    [ -e l3.img ] || "$IMG" seal "${LEVELS[@]}" -o l3.img upper.img >/dev/null
    echo l3.img
}

squashed() {
    "$IMG" squash "${LEVELS[@]}" --output json squashed.img >out
    { grep -q '"squashed": 2' out && grep -q '"chain-digest"' out; } || fail "squash: $(cat out)"
    [ "$(stat -c %a squashed.img)" = 444 ] || fail "squashed.img can be written"
    flatten -b base.img squashed.img
    shows flat.img 2
    "$IMG" check --content -b base.img squashed.img >out
    # What stood on the two moves onto the one.
    "$IMG" rebase "${LEVELS[@]}" --onto base.img --onto squashed.img --verify -o moved2.img \
        upper.img >out
    flatten -b base.img -b squashed.img moved2.img
    shows flat.img 3
    # The upper ones only.
    "$IMG" squash --keep 1 "${LEVELS[@]}" -b "$(sealed_upper)" l23.img >out
    grep -q 'l23.img: 2 layers as one.*: -b base.img -b l1.img -b l23.img' out || fail "squash: $(cat out)"
    flatten -b base.img -b l1.img l23.img
    shows flat.img 3
    # An upper, which takes changes.
    "$IMG" squash --unsealed "${LEVELS[@]}" writable.img >out
    debugfs_session base.img writable.img -- "${THIRD[@]}"
    flatten -b base.img writable.img
    shows flat.img 3
    # What stands on it, in the same call; the levels are found by name.
    cp upper.img under.img
    "$IMG" squash -b base.img --under under.img l12.img >out
    grep -q 'l12.img: 2 layers as one.*; under.img stands on it now: -b base.img -b l12.img$' out || fail "$(cat out)"
    "$IMG" info under.img | grep -q 'stands on: the sealed layer "l12.img"' || fail "it stands on another"
    flatten -b base.img under.img
    shows flat.img 3
    "$IMG" check --content -b base.img under.img >out
    debugfs_session base.img session2.img layer=l1.img layer=l2.img size=32M -- "${THIRD[@]}"
    said 'session2.img: has an open session' "$IMG" squash -b base.img --under session2.img none.img
    # Before any work: no file may be larger than this, so the work would fail.
    (ulimit -f 64; trap '' XFSZ
        said 'session2.img: has an open session' "$IMG" squash -b base.img --under session2.img none.img)
    "$IMG" checkpoint -b base.img session2.img >out
    serve disk base.img session2.img checkpoint=never
    said 'session2.img: is in use by another server' "$IMG" squash -b base.img --under session2.img none.img
    stop_server disk
    said 'there is nothing to squash' "$IMG" squash -b base.img -b l1.img none.img
    said 'there is nothing to squash' "$IMG" squash --keep 1 "${LEVELS[@]}" none.img
    said 'exists already' "$IMG" squash "${LEVELS[@]}" l2.img
    said 'neither sealed nor frozen' "$IMG" squash "${LEVELS[@]}" -b upper.img none.img
    # No file may be larger than it is allowed to be, as on a full disk.
    (ulimit -f 64; trap '' XFSZ; said 'none.img' "$IMG" squash "${LEVELS[@]}" none.img)
    [ -z "$(find . -name '*none.img*')" ] || fail "a part of a squashed layer was left"
}

# Against each level, with a session and without.
since() {
    "$IMG" diff --since 0 "${LEVELS[@]}" upper.img >out
    "$IMG" squash --unsealed "${LEVELS[@]}" -b "$(sealed_upper)" all.img >/dev/null
    "$IMG" diff -b base.img all.img >wanted.diff
    cmp wanted.diff out || fail "since the lower: $(diff wanted.diff out)"
    { grep -q '^deleted .*/dir/f1 ' out && grep -q '^deleted .*/dir/f2 ' out; } || fail "diff: $(cat out)"
    ! grep -q -e /two -e /dir/one out || fail "what came and went is told: $(cat out)"
    "$IMG" diff --since base.img -b base.img upper.img >out
    cmp wanted.diff out || fail "since a file: $(diff wanted.diff out)"
    "$IMG" diff --since 2 "${LEVELS[@]}" upper.img >out
    "$IMG" diff "${LEVELS[@]}" upper.img | cmp - out
    "$IMG" diff --since l1.img "${LEVELS[@]}" upper.img >out
    grep -q '^deleted .*/dir/f2 ' out || fail "diff: $(cat out)"
    ! grep -q /dir/f1 out || fail "diff tells more: $(cat out)"
    said 'is no level below' "$IMG" diff --since 3 "${LEVELS[@]}" upper.img
    "$IMG" export --since 0 "${LEVELS[@]}" upper.img since.tar
    tar tf since.tar >out
    { grep -qx 'dir/.wh.f1' out && grep -qx 'dir/.wh.f2' out && grep -qx made/one out; } || fail "export: $(cat out)"
    debugfs_session base.img session.img layer=l1.img layer=l2.img size=32M -- "${THIRD[@]}"
    "$IMG" diff --since 0 "${LEVELS[@]}" session.img | grep -v '^metadata' >out
    grep -v '^metadata' wanted.diff | cmp - out || fail "with a session: $(diff wanted.diff out)"
}

refused() {
    said 'is a sealed layer' serve_once base.img l1.img
    said 'is a sealed layer' serve_once base.img l1.img l2.img
    said 'stands on the sealed layer "l1.img"' serve_once base.img l2.img l1.img upper.img
    said 'stands on the sealed layer "l1.img"' "$IMG" ls -b base.img -b l2.img upper.img
    said 'is given as two levels' serve_once base.img l1.img l1.img upper.img
    said 'is given as a level and as the upper' serve_once base.img l1.img upper=l1.img
    said 'neither sealed nor frozen' serve_once base.img l1.img l2.img upper.img more.img
    said 'stands on a plain image' "$IMG" ls -b base.img -b l1.img l1.img
    said 'all layers by their key, or none' serve_once base.img layer=l1.img l2.img upper.img
    cp base.img plain.img
    said 'without a state area' serve_once base.img plain.img upper.img
    # While others read it, too.
    serve disk base.img l1.img l2.img new3.img
    said 'is a sealed layer' serve_once base.img l1.img
    stop_server disk
    # Reading a sealed layer by itself is no writing.
    serve disk -r base.img l1.img
    save_image disk flat.img
    stop_server disk
    shows flat.img 1
}

# Bytes that changed under the seal.
damaged() {
    local at
    mkdir damaged
    cp base.img l1.img l2.img upper.img damaged/
    cd damaged
    chmod u+w l1.img
    at=$(PATH=/usr/bin:$PATH python3 -c 'print(open("l1.img", "rb").read().index(b"one\n" + bytes(1020)))')
    printf Two | dd of=l1.img bs=1 seek="$at" conv=notrunc status=none
    "$IMG" check "${LEVELS[@]}" upper.img >../out || fail "the content was read: $(cat ../out)"
    ! "$IMG" check --content "${LEVELS[@]}" upper.img >../out || fail "the change is not found"
    grep -q 'l1.img: its blocks of files are not those that were sealed' ../out || fail "$(cat ../out)"
    printf one | dd of=l1.img bs=1 seek="$at" conv=notrunc status=none
    "$IMG" check --content "${LEVELS[@]}" upper.img >../out
    printf label | dd of=l1.img bs=1 seek=1144 conv=notrunc status=none
    said 'are not those that were sealed' "$IMG" ls "${LEVELS[@]}" upper.img
    cd ..
}


# There is no layer to carry over, and the message says how there comes to be one.
void_not_rebased() {
    local onto=(--onto ../base.img)
    said 'make one first: unionfs-img checkpoint -b base.img -b l1.img -b l2.img -b monday.img disk.img' \
        "$IMG" rebase "${LEVELS[@]}" -b monday.img "${onto[@]}" disk.img
    said 'make one first: unionfs-img checkpoint -b OLD disk.img' \
        "$IMG" rebase --without-old "${onto[@]}" disk.img
    said 'make one first: unionfs-img checkpoint' \
        "$IMG" rebase --chain -b base.img "${onto[@]}" -o none disk.img
    said 'monday.img: is frozen, so that others can stand on it' \
        "$IMG" rebase "${LEVELS[@]}" "${onto[@]}" monday.img
    cp disk.img void.img
    "$IMG" snapshot -b base.img void.img tuesday.img >../out
    said 'unionfs-img seal -o FILE -b base.img -b l1.img -b l2.img -b monday.img tuesday.img' \
        "$IMG" rebase "${LEVELS[@]}" -b monday.img "${onto[@]}" -o none tuesday.img
    "$IMG" check -b base.img tuesday.img --output json >../out
    grep -q '"that it is void' ../out || fail "check: $(cat ../out)"
    [ -z "$(find . -name '*none*')" ] || fail "a part of an upper was left"
}

# A frozen level, forks of it, and the checkpoint that needs its session no more.
snapshots() {
    local fork
    mkdir snapshots
    cp base.img l1.img l2.img snapshots/
    cp upper.img snapshots/disk.img
    cd snapshots
    "$IMG" snapshot "${LEVELS[@]}" disk.img monday.img >../out
    [ "$(stat -c %a monday.img)" = 444 ] || fail "monday.img can be written"
    said 'monday.img: exists already' "$IMG" snapshot -b base.img disk.img monday.img
    for fork in one two; do
        serve "$fork" base.img l1.img l2.img monday.img "$fork.img" checkpoint=never
    done
    serve disk base.img disk.img checkpoint=never
    PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri one)" -c 'h.pwrite(b"x" * 4096, 3 << 20)'
    save_image two flat.img
    save_image disk flat2.img
    stop_server one
    stop_server two
    stop_server disk
    cmp flat.img flat2.img || fail "a fork sees another's changes"
    shows_here flat.img 3
    "$IMG" cat -b base.img disk.img /made/one | cmp - ../one
    "$IMG" diff -b base.img disk.img >../out
    grep -qx '0 added, .*' ../out || fail "nothing was written, but: $(cat ../out)"
    "$IMG" check -b base.img disk.img >../out || fail "check of a void upper: $(cat ../out)"
    grep -q '^disk.img: checked: that it is void and stands on the frozen level "monday.img"' ../out ||
        fail "check does not say what it looked at: $(cat ../out)"
    grep -q '^disk.img: not checked: the file system' ../out || fail "check: $(cat ../out)"
    void_not_rebased
    "$IMG" checkpoint -b base.img disk.img >../out 2>&1 || fail "checkpoint: $(cat ../out)"
    "$IMG" check -b base.img disk.img >../out || fail "check: $(cat ../out)"
    rm flat.img
    "$IMG" convert -b base.img disk.img flat.img
    shows_here flat.img 3
    cd ..
}

# leave UPPER REQUEST... - what debugfs leaves, with no e2fsck behind it.
leave() {
    local upper=$1 request
    shift
    serve session base.img "$upper" checkpoint=never
    save_image session wanted.img
    for request in "$@"; do debugfs -w -R "$request" wanted.img >>"$WORK/debugfs.txt" 2>&1; done
    WANTED=wanted.img PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri session)" -c "$_WRITE_DIFFERENCES"
    stop_server session
}

# What is told of frozen levels and of what stands on them, in a directory of the case.
looks() {
    local image clean='was mounted when it was frozen, and shows no clean file system; to make a layer'
    # The same as of the one layer, which has the same files.
    for image in tuesday clean.img; do
        "$IMG" diff -b base.img "$image" >"diff.$image"
        "$IMG" ls -l -b base.img "$image" >"ls.$image" 2>ls.txt
        "$IMG" ls -R -b base.img "$image" >"names.$image"
        "$IMG" export -b base.img "$image" "$image.tar"
        tar tf "$image.tar" >"tar.$image"
    done
    for image in diff ls names tar; do
        cmp "$image.tuesday" "$image.clean.img" || fail "$image: $(diff "$image".*)"
    done
    grep -q '^deleted .*/dir/f2 ' diff.tuesday || fail "diff: $(cat diff.tuesday)"
    "$IMG" diff --since 0 -b base.img tuesday | cmp - diff.tuesday
    said 'monday: shows a session of its own, against which no difference can be told; levels up to number 0' \
        "$IMG" diff --since monday -b base.img tuesday
    "$IMG" cat -b base.img tuesday /two | cmp - two
    "$IMG" info -b base.img tuesday | grep -q '^checkpoint: not possible: it is frozen; .*seal -o FILE$' ||
        fail "info of a frozen level"
    "$IMG" info -b base.img wednesday | grep -q "^checkpoint: not possible: wednesday: $clean" ||
        fail "info of a mounted one"
    for image in 'diff' 'ls' 'ls -R' 'diff --since 0'; do
        # shellcheck disable=SC2086
        said "wednesday: $clean" "$IMG" $image -b base.img wednesday
    done
    said "wednesday: $clean" "$IMG" cat -b base.img wednesday /two
    said "wednesday: $clean" "$IMG" export -b base.img wednesday none.tar
    said "wednesday: $clean" "$IMG" extract -C . -b base.img wednesday
    "$IMG" ls --layer -b base.img wednesday | grep -q '^fallthru .*dir' || fail "ls of no layer"
    "$IMG" check -b base.img wednesday >out || fail "check of a void level: $(cat out)"
    grep -q '^wednesday: not checked: the frozen session ([0-9]* blocks written)$' out || fail "check: $(cat out)"
    "$IMG" map -b base.img wednesday | grep -q ' lower .* .*monday$' || fail "map does not name the level"
    rm -f converted.img
    "$IMG" convert -b base.img wednesday converted.img 2>convert.txt
    grep -q 'not cleanly unmounted' convert.txt || fail "convert says: $(cat convert.txt)"
}

# A row of snapshots of a disk that is mounted, as one layer.
frozen() {
    local WORK=$WORK/frozen image
    mkdir "$WORK"
    cp -r base.img tree one two "$WORK"
    cd "$WORK"
    debugfs_session base.img disk.img size=24M -- "${FIRST[@]}"
    "$IMG" snapshot -b base.img disk.img monday >out
    debugfs_session base.img disk.img -- "${SECOND[@]}"
    "$IMG" snapshot -b base.img disk.img tuesday >out
    leave disk.img 'write two /open' 'set_inode_field /open links_count 0' 'unlink /open' 'ssv state 0'
    "$IMG" snapshot -b base.img disk.img wednesday >out
    # While it is clean, nothing more has to be said.
    "$IMG" squash -b base.img -b monday -b tuesday clean.img >out
    "$IMG" seal -b base.img -o sealed.img monday >out
    # When it is not, one line says what there is to say.
    local LEVELS=(-b base.img -b monday -b tuesday -b wednesday)
    said 'wednesday: was mounted when it was frozen; if the guest had frozen its file system, give --frozen, else --fsck' \
        "$IMG" squash "${LEVELS[@]}" all.img
    said 'wednesday: was mounted' "$IMG" seal -b base.img -o all.img wednesday
    said 'wednesday: is a frozen level, which never changes; -o' "$IMG" seal -b base.img wednesday
    said 'a layer never stands on a session; keep 0 levels' "$IMG" squash --keep 1 "${LEVELS[@]}" all.img
    said 'wednesday: is frozen, and what stands on it' "$IMG" squash -b base.img --under disk.img all.img
    said 'disk.img: is not frozen' "$IMG" seal --frozen -b base.img -o all.img disk.img
    said 'l2.img: is a sealed layer, and clean' \
        "$IMG" squash --fsck -b ../base.img -b ../l1.img -b ../l2.img all.img
    "$IMG" squash --frozen "${LEVELS[@]}" all.img >out
    grep -q '; 1 open files without a name are dropped; sealed' out || fail "squash: $(cat out)"
    "$IMG" seal --frozen -b base.img -o frozen.img wednesday >out
    grep -q 'without 1 open files that had no name, .* -b base.img -b frozen.img$' out || fail "seal: $(cat out)"
    "$IMG" squash --fsck "${LEVELS[@]}" fsck.img >out 2>fsck.txt
    grep -q 'Deleted inode' fsck.txt || fail "e2fsck says: $(cat fsck.txt)"
    "$IMG" seal --fsck -b base.img -o fsck2.img wednesday >out 2>&1
    for image in all.img frozen.img fsck.img fsck2.img clean.img; do
        [ "$(stat -c %a "$image")" = 444 ] || fail "$image can be written"
        "$IMG" check --content -b base.img "$image" >out || fail "$image: $(cat out)"
    done
    for image in all.img fsck2.img; do
        flatten -b base.img "$image"
        shows_here flat.img 2
    done
    looks
    # A guest that had frozen nothing.
    leave disk.img 'set_inode_field /two links_count 3'
    "$IMG" snapshot -b base.img disk.img thursday >out
    said 'has 3 links, but 1 names lead to it; so the guest had not frozen it' \
        "$IMG" seal --frozen -b base.img -o none.img thursday
    "$IMG" seal --fsck -b base.img -o mended.img thursday >out 2>&1
    flatten -b base.img mended.img
    shows_here flat.img 2
    # A session that was cut off, on another boot or, as here, in another file.
    debugfs_session base.img cut.img size=24M -- "${FIRST[@]}"
    serve disk base.img cut.img checkpoint=never
    PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri disk)" -c 'h.pwrite(b"x" * 4096, 20 << 20); h.flush()'
    kill_server disk
    cp cut.img copied.img
    "$IMG" snapshot -b base.img copied.img friday >out 2>&1
    for image in --frozen ''; do
        said 'friday: power was lost during its session, so nothing proves what it shows; have it checked: give --fsck' \
            "$IMG" seal -b base.img -o none.img ${image:+"$image"} friday
    done
    "$IMG" seal --fsck -b base.img -o mended2.img friday >out 2>&1
    flatten -b base.img mended2.img
    shows_here flat.img 1
    [ -z "$(find . -name '*none.img*')" ] || fail "a part of a layer was left"
    cd ..
}

# As shows, in a directory of a case.
shows_here() {
    local image
    image=$(realpath "$1")
    (cd "$WORK" && shows "$image" "$2")
}

CASES=(served found_by_name commands rebased chain_rebased sealed squashed since refused damaged snapshots frozen)
[ "$#" -gt 0 ] || set -- "${CASES[@]}"
for case in "$@"; do
    step "$case"
    "$case"
done
