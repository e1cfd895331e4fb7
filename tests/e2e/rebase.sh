#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# rebase.sh [CASE...] - unionfs-img rebase as it is typed: what it does to files, what it
# says, and that nothing is changed where it does not get to its end. The rules themselves
# have unit tests.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/sessions.sh
. "$(dirname "$0")/../lib/sessions.sh"

require mke2fs e2fsck debugfs dumpe2fs nbdkit nbdcopy nbdsh python3
make_work
IMG=$(realpath "$BUILD_DIR/tools/unionfs-img")
UNIONFS_PLUGIN=$(realpath "$UNIONFS_PLUGIN")
SCHEMA=$(realpath "$(dirname "$0")/../../docs/rebase.schema.json")
cd "$WORK"

# ---- images ------------------------------------------------------------------------

# make_base DIR - what both lowers begin with.
make_base() {
    rm -rf "$1"
    mkdir -p "$1"/{etc,dir/deep,gone,data}
    echo 'setting=1' >"$1/etc/conf"
    echo 'host' >"$1/etc/hostname"
    echo a >"$1/dir/a"
    echo b >"$1/dir/deep/b"
    echo x >"$1/gone/x"
    seq 1 30000 >"$1/data/numbers"
}

# make_image TREE IMAGE [MKE2FS ARGUMENTS]
make_image() {
    local tree=$1 image=$2
    shift 2
    rm -f "$image"
    truncate -s 8M "$image"
    mke2fs -q -F -t ext2 -b 1024 "$@" -d "$tree" "$image"
}

# make_session UPPER - an upper over old.img with an open session.
make_session() {
    rm -f "$1"
    echo 'setting=ours' >ours.conf
    seq 5 20000 >ours.file
    debugfs_session old.img "$1" size=24M -- \
        'rm /etc/conf' "write $WORK/ours.conf /etc/conf" 'mkdir /new' \
        "write $WORK/ours.file /new/file" 'rm /dir/a' 'patch /data/numbers 70000 OURS' \
        'rm /gone/x' 'rmdir /gone' 'symlink /new/link ../etc/conf'
}

# The tree that the layer and a new lower without conflicts give.
make_wanted() {
    make_base "$1"
    more_of_theirs "$1"
    mkdir "$1/new"
    cp ours.conf "$1/etc/conf"
    cp ours.file "$1/new/file"
    ln -s ../etc/conf "$1/new/link"
    rm -r "$1/dir/a" "$1/gone"
    printf OURS | dd of="$1/data/numbers" bs=1 seek=70000 conv=notrunc status=none
}

more_of_theirs() {
    echo 'theirs' >"$1/etc/hostname"
    mkdir -p "$1/dir/added"
    seq 1 5000 >"$1/dir/added/by-theirs"
    rm "$1/dir/deep/b"
}

make_base tree
make_image tree old.img
make_session session.img
cp session.img upper.kept
"$IMG" checkpoint -b old.img upper.kept >out
make_wanted wanted
more_of_theirs tree
# Another layout: the layer's numbers mean nothing there.
make_image tree new.img -b 4096 -N 3000 -I 256
echo 'setting=theirs' >tree/etc/conf
echo c >tree/gone/y
make_image tree clash.img

# ---- what is checked ---------------------------------------------------------------

# fresh - an upper as at the beginning, alone in its directory.
fresh() {
    rm -rf disks
    mkdir disks
    cp upper.kept disks/upper.img
    chmod 640 disks/upper.img
}

# state - all names and bytes.
state() {
    (find disks -printf '%p %m %U %G %n %s\n' | sort && sha256sum old.img new.img clash.img &&
        find disks -type f -print0 | sort -z | xargs -0 -r sha256sum) 2>&1
}

# rebase STATUS ARGUMENTS - what it says is in ./out.
rebase() {
    local wanted=$1 status=0
    shift
    "$IMG" rebase "$@" >out 2>&1 || status=$?
    [ "$status" = "$wanted" ] || fail "rebase $* ended with status $status: $(cat out)"
}

# unchanged STATUS TEXT ARGUMENTS - it says so, and nothing is otherwise than before.
unchanged() {
    local status=$1 text=$2
    shift 2
    state >state.before
    rebase "$status" "$@"
    grep -qe "$text" out || fail "rebase $*: not \"$text\", but: $(cat out)"
    state >state.after
    same_files state.before state.after "rebase $*: something was changed"
}

# check_disk LOWER UPPER TREE - sound by all judges, and these files.
check_disk() {
    "$IMG" check -b "$1" "$2" >out || fail "$2: $(cat out)"
    rm -rf merged.img shown
    "$IMG" convert -b "$1" "$2" merged.img
    check_clean merged.img
    check_layer_clean "$2" layer.img
    mkdir shown
    debugfs -R 'rdump / shown' merged.img >out 2>&1
    rm -rf shown/lost+found
    diff -r --no-dereference "$3" shown >out || fail "$2 shows other files: $(head -n 5 out)"
}

# valid FILE - JSON as the schema says.
valid() {
    PATH=/usr/bin:$PATH python3 - "$SCHEMA" "$1" <<'EOF' || fail "$1: $(cat "$1")"
import json, sys
schema, output = (json.load(open(name)) for name in sys.argv[1:])
try:
    import jsonschema
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(output, schema)
except ImportError:
    print("not held against the schema: python3-jsonschema is missing", file=sys.stderr)
for count, paths in (("applied", "applied_paths"), ("merged", "merged_paths"), ("dropped", "dropped_paths")):
    assert output[count] == len(output[paths]), count
EOF
}

# field FILE PYTHON-EXPRESSION-OF-j - prints it.
field() {
    python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"
}

# ---- cases ---------------------------------------------------------------------------

carried_over() {
    fresh
    unchanged 0 'nothing was changed' -b old.img --onto new.img --dry-run disks/upper.img
    mv out told
    "$IMG" diff -b old.img --against new.img disks/upper.img >out
    cmp told out || fail "diff --against tells something else: $(cat out)"
    setfattr -n user.note -v text disks/upper.img 2>/dev/null || true
    getfattr -d disks/upper.img >attributes 2>/dev/null || true
    rebase 0 -b old.img --onto new.img --verify --output=json disks/upper.img
    mv out done.json
    valid done.json
    [ "$(field done.json 'j["status"], len(j["conflicts"]), j["proof"]["verified_bytes"] > 20000')" = \
        "('done', 0, True)" ] || fail "$(cat done.json)"
    [ "$(stat -c '%a %h' disks/upper.img)" = '640 1' ] || fail "$(stat disks/upper.img)"
    getfattr -d disks/upper.img 2>/dev/null | cmp - attributes || fail "it has lost attributes"
    cmp upper.kept disks/upper.img.before-rebase || fail "the old upper is not what is kept"
    [ "$(find disks -type f | wc -l)" = 2 ] || fail "there is more than two files: $(ls -A disks)"
    check_disk new.img disks/upper.img wanted
    unchanged 1 'before-rebase: exists already.*--no-backup' -b new.img --onto clash.img --conflicts=ours \
        disks/upper.img
    # What would be done is told all the same, and that it would fail.
    unchanged 1 'before-rebase: exists already.*--no-backup' -b new.img --onto clash.img --dry-run \
        disks/upper.img
    grep -q 'edit/edit: 1' out || fail "the dry run tells no conflict: $(cat out)"
    unchanged 0 'nothing to do' -b new.img --onto new.img --no-backup disks/upper.img
    unchanged 0 '"nothing-to-do"' -b new.img --onto new.img --no-backup --output=json disks/upper.img
    valid out
    rebase 0 -b new.img --onto old.img --no-backup --conflicts=theirs disks/upper.img
    cmp upper.kept disks/upper.img.before-rebase || fail "--no-backup has touched the old backup"
    "$IMG" check -b old.img disks/upper.img >out || fail "back over the old lower: $(cat out)"
}

same_bytes() {
    local name
    fresh
    for name in one two; do
        rebase 0 -b old.img --onto new.img -o "disks/$name" disks/upper.img
        grep -q "disks/$name: lies over new.img now" out || fail "$(cat out)"
    done
    cmp upper.kept disks/upper.img || fail "-o has changed the upper"
    "$IMG" diff --output=json -b new.img disks/one >one.json
    "$IMG" diff --output=json -b new.img disks/two >two.json
    cmp one.json two.json || fail "two runs differ"
    check_disk new.img disks/one wanted
    unchanged 1 'exists already' -b old.img --onto new.img -o disks/two disks/upper.img
}

conflicts_stop_it() {
    fresh
    unchanged 3 'edit/edit: 1' -b old.img --onto clash.img disks/upper.img
    grep -q 'unionfs-img rebase -b old.img --onto clash.img --conflicts=theirs disks/upper.img' out ||
        fail "it does not say what to type: $(cat out)"
    unchanged 3 'edit/edit: 1' -b old.img --onto clash.img --dry-run disks/upper.img
    unchanged 3 '"edit/edit"' -b old.img --onto clash.img --output=json disks/upper.img
    valid out
    [ "$(field out '[(c["class"], c["path"], c["resolution"]) for c in j["conflicts"]]')" = \
        "[('edit/edit', '/etc/conf', None), ('delete/edit', '/gone', None)]" ] || fail "$(cat out)"
    unchanged 3 'delete/edit: 1' -b old.img --onto clash.img --ours '/etc/*' disks/upper.img
    unchanged 3 'by --ours' -b old.img --onto clash.img --ours '/etc/*' disks/upper.img
}

# decided OPTIONS -- TEXT-OF-/etc/conf
decided() {
    local options=() text
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    text=$2
    rm -f disks/new.img
    rebase 0 -b old.img --onto clash.img --output=json -o disks/new.img "${options[@]}" disks/upper.img
    valid out
    cp out decided.json
    rm -f merged.img
    "$IMG" convert -b clash.img disks/new.img merged.img
    check_clean merged.img
    [ "$(debugfs -R 'cat /etc/conf' merged.img 2>/dev/null)" = "setting=$text" ] ||
        fail "${options[*]}: /etc/conf is $(debugfs -R 'cat /etc/conf' merged.img 2>/dev/null)"
}

policies() {
    fresh
    decided --conflicts=ours -- ours
    decided --conflicts=theirs -- theirs
    decided --conflicts=both -- theirs
    [ "$(debugfs -R 'cat /etc/conf.ours' merged.img 2>/dev/null)" = setting=ours ] ||
        fail "--conflicts=both keeps no copy of ours"
    [ "$(field decided.json '[c.get("resulting_path") for c in j["conflicts"] if c["path"] == "/etc/conf"]')" = \
        "['/etc/conf.ours']" ] || fail "$(cat decided.json)"
    # One order over both options.
    decided --ours '/etc/*' --theirs '**' -- ours
    decided --theirs '**' --ours '/etc/*' -- theirs
    decided --theirs=conf --ours='/etc/*' --conflicts=ours -- theirs
    decided --theirs /etc/x --ours /etc/c --ours '/et?/[a-d]onf' --conflicts=theirs -- ours
    [ "$(field decided.json '[c["decided_by"] for c in j["conflicts"]]')" = \
        "['--ours /et?/[a-d]onf', '--conflicts=theirs']" ] || fail "$(cat decided.json)"
    decided --ours-tree /etc --conflicts=theirs -- ours
    unchanged 1 'empty pattern' -b old.img --onto clash.img --ours '' disks/upper.img
    unchanged 1 'no path of the image' -b old.img --onto clash.img --ours-tree etc disks/upper.img
}

sessions() {
    fresh
    cp session.img disks/upper.img
    unchanged 0 'open session of .* blocks' -b old.img --onto new.img --dry-run disks/upper.img
    rebase 0 -b old.img --onto new.img disks/upper.img
    check_disk new.img disks/upper.img wanted
    cmp session.img disks/upper.img.before-rebase || fail "the old upper is not what is kept"
    step "one that cannot become a layer"
    fresh
    debugfs_session old.img disks/mounted.img size=24M -- 'rm /dir/a'
    serve torn lower=old.img upper=disks/mounted.img checkpoint=never
    PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri torn)" -c \
        'h.pwrite(b"\x00\x00", 1024 + 58); h.flush()' # s_state: mounted
    stop_server torn
    unchanged 1 'open session that cannot become a layer.*not.*clean' \
        -b old.img --onto new.img disks/mounted.img
}

refused() {
    fresh
    step "what is in use"
    serve disk lower=old.img upper=disks/upper.img
    unchanged 1 'is in use by another server' -b old.img --onto new.img disks/upper.img
    stop_server disk
    step "names"
    ln disks/upper.img disks/another
    unchanged 1 'has another name' -b old.img --onto new.img disks/upper.img
    rm disks/another
    ln -s upper.img disks/link
    rebase 0 -b old.img --onto new.img disks/link
    [ -L disks/link ] || fail "the symlink was replaced"
    check_disk new.img disks/link wanted
    cmp upper.kept disks/upper.img.before-rebase || fail "the backup is not beside the file itself"
    step "images"
    fresh
    unchanged 1 'clash.img: is not the lower that .*unchanged$' -b clash.img --onto new.img disks/upper.img
    unchanged 1 'a layer cannot be a lower' -b old.img --onto disks/upper.img disks/upper.img
    unchanged 1 'is given as a lower and as the upper' -b old.img --onto new.img old.img
    head -c 1M /dev/zero >zero.img
    unchanged 1 'zero.img: ' -b old.img --onto zero.img disks/upper.img
    cp new.img dirty.img
    debugfs -w -R 'ssv state 0' dirty.img 2>/dev/null
    unchanged 1 'dirty.img: .*clean' -b old.img --onto dirty.img disks/upper.img
    unchanged 1 'missing.img: ' -b old.img --onto missing.img disks/upper.img
    make_image tree foreign.img
    cp foreign.img disks/foreign.img
    debugfs -w -R 'feature FEATURE_I5' disks/foreign.img >debugfs.out 2>&1
    unchanged 1 'made elsewhere' -b old.img --onto new.img disks/foreign.img
    unchanged 1 'excludes' -b old.img --onto new.img --no-backup -o disks/x disks/upper.img
}

limits() {
    local free tight
    fresh
    make_image tree tight.img
    free=$(dumpe2fs -h tight.img 2>/dev/null | sed -n 's/^Free blocks: *//p')
    head -c "$((free - 60))K" /dev/zero | tr '\0' x >filler
    debugfs -w -R "write filler filler" tight.img >debugfs.out 2>&1
    tight=(-b old.img --onto tight.img --conflicts=ours)
    unchanged 1 'limit: 1' "${tight[@]}" --size 8M disks/upper.img
    grep -q 'needs at most [0-9]* blocks of 1024 bytes more, and [0-9]* are free' out || fail "$(cat out)"
    unchanged 1 'limit: 1' "${tight[@]}" --size 8M --dry-run disks/upper.img
    unchanged 1 '"limits"' "${tight[@]}" --size 8M --output=json disks/upper.img
    valid out
    rebase 0 "${tight[@]}" disks/upper.img
    "$IMG" check -b tight.img disks/upper.img >out || fail "$(cat out)"
    unchanged 1 'shrunk\|smaller\|less than' -b tight.img --onto new.img --size 1M --no-backup disks/upper.img
}

strange_names() {
    local name=$'\xff\n"\\'
    fresh
    rm -rf strange
    make_base strange
    echo 1 >"strange/$name"
    make_image strange strange.img
    rm -f disks/upper.img
    serve disk lower=strange.img upper=disks/upper.img checkpoint=never size=24M
    save_image disk wanted.img
    rm -rf place && mkdir place
    # debugfs cannot name it: the whole directory's only file is led to another inode's content.
    PATH=/usr/bin:$PATH NAME=$name python3 - <<'EOF'
import os
data = bytearray(open("wanted.img", "rb").read())
at = data.index(b"1\n" + bytes(1022))
data[at:at + 2] = b"2\n"
open("wanted.img", "wb").write(data)
EOF
    WANTED=wanted.img PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri disk)" -c "$_WRITE_DIFFERENCES"
    stop_server disk
    "$IMG" checkpoint -b strange.img disks/upper.img >out
    echo 3 >"strange/$name"
    make_image strange changed.img
    unchanged 3 '/[\]xff[\]x0a"[\][\]$' -b strange.img --onto changed.img disks/upper.img
    unchanged 3 '/[\][\]xff' -b strange.img --onto changed.img --output=json disks/upper.img
    valid out
    [ "$(field out '__import__("base64").b64decode(j["conflicts"][0]["path_base64"])')" = \
        "b'/\\xff\\n\"\\\\'" ] || fail "$(cat out)"
    rebase 0 -b strange.img --onto changed.img --ours '/????' disks/upper.img
    grep -q 'ours, by --ours /????$' out || fail "$(cat out)"
}

killed() {
    local began took round old=0 new=0 status
    fresh
    began=$EPOCHREALTIME
    rebase 0 -b old.img --onto new.img disks/upper.img
    took=$((${EPOCHREALTIME/./} - ${began/./}))
    for round in 1 2 3 4 5 6 7 8 9 10; do
        fresh
        "$IMG" rebase -b old.img --onto new.img disks/upper.img >out 2>&1 &
        sleep "$((took * round / 6 + RANDOM % (took / 6)))e-6"
        kill -9 $! 2>/dev/null || true
        status=0
        wait $! 2>/dev/null || status=$?
        if cmp -s upper.kept disks/upper.img; then
            old=$((old + 1))
            [ "$status" = 137 ] || fail "round $round: it ended with status $status and nothing changed"
            rebase 0 -b old.img --onto new.img disks/upper.img
        else
            new=$((new + 1))
        fi
        cmp upper.kept disks/upper.img.before-rebase || fail "round $round: the old upper is lost"
        check_disk new.img disks/upper.img wanted
        [ "$(find disks -type f | wc -l)" = 2 ] || fail "round $round: leftovers: $(ls -A disks)"
    done
    step "$old rounds left the old upper, $new the new one; a rebase takes $took us"
    step "leftovers of a killed run"
    fresh
    ln disks/upper.img disks/upper.img.before-rebase
    cp upper.kept disks/.upper.img.rebase-0123456789abcdef
    rebase 0 -b old.img --onto new.img disks/upper.img
    cmp upper.kept disks/upper.img.before-rebase || fail "the old upper is lost"
    [ "$(find disks -type f | wc -l)" = 2 ] || fail "leftovers: $(ls -A disks)"
}

no_space() {
    local size used failed=0 done=0
    [ "$(id -u)" = 0 ] || {
        step "no_space takes root"
        return 0
    }
    rm -rf disks && mkdir disks
    mount -t tmpfs -o size=64m tmpfs disks
    cp --sparse=always upper.kept disks/upper.img
    used=$(du -k disks/upper.img | cut -f 1)
    # From no room at all on, until it is enough.
    for ((size = used + 8; done < 2; size += 48)); do
        rm -f disks/* disks/.upper*
        cp --sparse=always upper.kept disks/upper.img
        mount -o "remount,size=${size}k" disks
        state >state.before
        if "$IMG" rebase -b old.img --onto new.img disks/upper.img >out 2>&1; then
            done=$((done + 1))
            check_disk new.img disks/upper.img wanted
        else
            failed=$((failed + 1))
            grep -q 'No space left' out || fail "with $size KiB: $(cat out)"
            state >state.after
            same_files state.before state.after "with $size KiB: something was changed"
        fi
    done
    umount disks
    [ "$failed" -gt 2 ] || fail "only $failed sizes were too small"
    step "$failed sizes were too small"
}

# The rows are those of rebase/without_old_rows.py.
without_old() {
    fresh
    unchanged 1 'give --without-old' --onto clash.img disks/upper.img
    unchanged 1 'no -b can name it' -b old.img --without-old --onto clash.img disks/upper.img
    unchanged 1 'cannot be had with --without-old' --without-old --ours-tree /etc --onto clash.img disks/upper.img
    unchanged 1 'cannot be had with --without-old' --without-old --ids=names --onto clash.img disks/upper.img
    unchanged 3 'rebase --without-old --onto clash.img --conflicts=theirs' --without-old --onto clash.img \
        disks/upper.img
    unchanged 3 '"needs-old"' --without-old --onto clash.img --output=json disks/upper.img
    valid out
    unchanged 0 'nothing to do' --without-old --onto old.img disks/upper.img
    # Of /data/numbers the layer has one block.
    unchanged 3 'it can only be theirs' --without-old --onto new.img --conflicts=ours disks/upper.img
    rebase 0 --without-old --onto new.img --theirs /data/numbers --conflicts=ours --verify disks/upper.img
    cmp upper.kept disks/upper.img.before-rebase || fail "the old upper is not kept"
    rm -rf without
    make_base without
    more_of_theirs without
    mkdir without/new
    cp ours.conf without/etc/conf
    cp ours.file without/new/file
    ln -s ../etc/conf without/new/link
    rm -r without/dir/a without/gone
    check_disk new.img disks/upper.img without
    cp session.img disks/session.img
    unchanged 1 'has an open session of' --without-old --onto clash.img disks/session.img
}

CASES=(carried_over same_bytes conflicts_stop_it policies sessions refused limits strange_names killed
    no_space without_old)
[ "$#" -gt 0 ] || set -- "${CASES[@]}"
for case in "$@"; do
    step "$case"
    "$case"
done
