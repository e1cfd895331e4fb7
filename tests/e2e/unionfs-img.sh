#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Every command of unionfs-img, as text and as JSON, over a layer and over an open
# session that were made through a kernel mount.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
require_kernel_mount
require mke2fs e2fsck debugfs nbdcopy python3 setfattr
make_work

IMG=$BUILD_DIR/tools/unionfs-img
LOWER=$WORK/lower.img
UPPER=$WORK/upper.img

# json EXPRESSION - evaluates it over `j`, the JSON on stdin; must be true.
json() {
    python3 -c 'import json, sys
j = json.load(sys.stdin)
if not eval("(" + sys.argv[1] + ")"):
    sys.exit("not true: %s, of %s" % (sys.argv[1], json.dumps(j)[:2000]))' "$1" ||
        fail "JSON: $1"
}

# has_line FILE REGEX
has_line() { grep -qE "$2" "$1" || fail "no line /$2/ in: $(cat "$1")"; }

# refused STATUS REGEX COMMAND... - fails with that status and message.
refused() {
    local wanted=$1 pattern=$2 status=0
    shift 2
    "$@" >"$WORK/out" 2>"$WORK/err" || status=$?
    [ "$status" = "$wanted" ] || fail "$*: status $status, not $wanted"
    has_line "$WORK/err" "$pattern"
}

step "a lower"
mkdir -p "$WORK/tree"/{etc,many,gone/deep,moved/sub,same}
for number in $(seq 200); do echo "$number" >"$WORK/tree/many/file-$number"; done
echo motd >"$WORK/tree/etc/motd"
echo passwd >"$WORK/tree/etc/passwd"
ln "$WORK/tree/etc/passwd" "$WORK/tree/etc/hard"
seq 1 100000 >"$WORK/tree/data"
seq 1 5000 >"$WORK/tree/gone/deep/file"
echo z >"$WORK/tree/moved/sub/z"
echo x >"$WORK/tree/"$'odd\n\xff name\\'
mke2fs -q -t ext2 -b 1024 -d "$WORK/tree" "$LOWER" 32M 2>/dev/null

step "create"
"$IMG" create -b "$LOWER" -s 100M "$UPPER" >"$WORK/out"
has_line "$WORK/out" "upper.img: created, merged size 100.0 MiB \(104857600 bytes\)"
refused 1 "^unionfs-img: .*upper.img: exists already" "$IMG" create -b "$LOWER" "$UPPER"
refused 1 '^unionfs-img: "1X" is not a size: ' "$IMG" create -b "$LOWER" -s 1X "$WORK/other.img"
refused 1 "^unionfs-img: size of 1024 blocks is smaller than the lower's 32768 blocks" \
    "$IMG" create -b "$LOWER" -s 1M "$WORK/other.img"
[ ! -e "$WORK/other.img" ] || fail "a refused create left a file"
"$IMG" create --output=json -b "$LOWER" -s 65536K "$WORK/other.img" |
    json 'j["merged-size"] == 64 << 20 and j["block-size"] == 1024'
"$IMG" diff --output=json -b "$LOWER" "$UPPER" | json 'j == {"format": 1, "changes": []}'
# Of 2560 groups the upper has descriptors, and hardly any bitmap.
"$IMG" create -b "$LOWER" -s 20G "$WORK/large.img" >"$WORK/out"
space=$(du -k "$WORK/large.img" | cut -f 1)
[ "$space" -le 2048 ] || fail "a new upper of 20 GiB takes $space KiB"
check_layer_clean "$WORK/large.img" "$WORK/large.copy"
"$IMG" check -b "$LOWER" "$WORK/large.img"
rm -- "$WORK/large.img" "$WORK/large.copy"
"$IMG" diff --exit-code -b "$LOWER" "$UPPER" >/dev/null
"$IMG" check -b "$LOWER" "$UPPER" >/dev/null

step "changes"
serve disk lower="$LOWER" upper="$UPPER" checkpoint=never
mount_merged disk "$WORK/mnt"
for command in checkpoint 'check --repair'; do
    # shellcheck disable=SC2086  # a command may have an option
    refused 1 "upper.img: is in use (as|by) another server" \
        "$IMG" $command -b "$LOWER" "$UPPER"
done
for command in info ls 'diff --layer' map check; do
    # shellcheck disable=SC2086
    "$IMG" $command -b "$LOWER" "$UPPER" >/dev/null 2>"$WORK/err" ||
        fail "$command of an upper that is served: $(cat "$WORK/err")"
done
(
    cd "$WORK/mnt"
    echo new >etc/new
    echo more >>etc/passwd
    chmod 600 etc/motd
    rm -r gone
    mv moved etc/renamed
    printf X | dd of=data bs=1 seek=300000 conv=notrunc status=none
    rm many/file-7
    mkdir dir
    echo in >dir/in
    ln etc/motd etc/motd2
    mv many/file-9 many/file-nine
    setfattr -n user.test -v value many/file-11
    : >many/file-12
)
unmount_merged disk
stop_server disk
cp --sparse=always "$UPPER" "$WORK/session.img"

cat >"$WORK/wanted-diff" <<'END'
modified  /data  (588895 bytes, 1024 in changed blocks)
added     /dir/
added     /dir/in  (3 bytes)
modified  /etc/hard  (7 -> 12 bytes, 1024 in changed blocks)
metadata  /etc/motd  (mode)
added     /etc/motd2  (5 bytes, a link)
added     /etc/new  (4 bytes)
modified  /etc/passwd  (7 -> 12 bytes, 1024 in changed blocks)
renamed   /moved/ -> /etc/renamed/
deleted   /gone/
deleted   /gone/deep/
deleted   /gone/deep/file  (23893 bytes)
metadata  /many/file-11  (xattrs)
modified  /many/file-12  (3 -> 0 bytes, 1024 in changed blocks)
deleted   /many/file-7  (2 bytes)
renamed   /many/file-9 -> /many/file-nine
4 added, 4 modified, 2 metadata, 4 deleted, 2 renamed
END

step "an open session"
"$IMG" info -b "$LOWER" "$UPPER" >"$WORK/out"
has_line "$WORK/out" "^format: unionfs upper, version 2$"
has_line "$WORK/out" "^features: lower_records$"
has_line "$WORK/out" "^session: number 1, open, [0-9]+ blocks written"
has_line "$WORK/out" "^lower matches: yes"
has_line "$WORK/out" "^checkpoint: possible"
"$IMG" info --output=json -b "$LOWER" "$UPPER" |
    json 'j["format-version"] == 2 and j["features"] == ["lower_records"] and j["session"]["open"] and j["session"]["written-blocks"] > 0 and
j["lower-matches"] and j["checkpoint"]["possible"] and j["layer"]["own-inodes"] == 1'
cmp "$UPPER" "$WORK/session.img" || fail "looking changed the upper"
"$IMG" diff -b "$LOWER" "$UPPER" >"$WORK/out"
diff -u "$WORK/wanted-diff" "$WORK/out" || fail "diff over a session"
"$IMG" diff --layer --output=json -b "$LOWER" "$UPPER" | json 'j["changes"] == []'
"$IMG" ls -b "$LOWER" "$UPPER" >"$WORK/out" 2>"$WORK/err"
has_line "$WORK/err" "a session is open; this is the layer that it would become"
has_line "$WORK/out" "^own +new"
"$IMG" ls --layer -b "$LOWER" "$UPPER" >"$WORK/out" 2>"$WORK/err"
[ ! -s "$WORK/err" ] || fail "ls --layer: $(cat "$WORK/err")"
! grep -q "^own .* new$" "$WORK/out" || fail "ls --layer shows the session: $(cat "$WORK/out")"
"$IMG" check -b "$LOWER" "$UPPER" >"$WORK/out"
has_line "$WORK/out" "upper.img: not checked: the open session \([0-9]+ blocks written\)"
"$IMG" check --output=json -b "$LOWER" "$UPPER" | json 'len(j["not-checked"]) == 1'
"$IMG" map --output=json -b "$LOWER" "$UPPER" >"$WORK/map"
json 'any(r["owner"] == "state" for r in j)' <"$WORK/map"
"$IMG" convert -b "$LOWER" "$UPPER" "$WORK/session-whole.img"
check_clean "$WORK/session-whole.img"

step "checkpoint"
"$IMG" checkpoint --output=json -b "$LOWER" "$UPPER" |
    json 'j["done"] and j["own-inodes-added"] > 5'
"$IMG" checkpoint -b "$LOWER" "$UPPER" >"$WORK/out"
has_line "$WORK/out" "no session"
refused 1 "missing.img: cannot open: No such file" \
    "$IMG" checkpoint -b "$LOWER" "$WORK/missing.img"
[ ! -e "$WORK/missing.img" ] || fail "checkpoint made an upper"
"$IMG" info --output=json -b "$LOWER" "$UPPER" |
    json 'not j["session"]["open"] and not j["checkpoint"]["possible"] and
j["checkpoint"]["reason"] == "there is no session" and j["session"]["number"] == 2 and
j["layer"]["whiteout-names"] == 4 and j["layer"]["opaque-directories"] == 2 and
j["flags"] == [] and not j["journal-pending"] and j["disk-size"] < 1 << 20'
"$IMG" check -b "$LOWER" "$UPPER" >"$WORK/out" || fail "check: $(cat "$WORK/out")"
"$IMG" check --output=json -b "$LOWER" "$UPPER" |
    json 'j["corruptions"] == 0 and j["violations"] == []'

step "diff"
"$IMG" diff -b "$LOWER" "$UPPER" >"$WORK/out"
diff -u "$WORK/wanted-diff" "$WORK/out" || fail "diff over a layer"
"$IMG" diff --output=json -b "$LOWER" "$UPPER" >"$WORK/diff.json"
json 'j["format"] == 1 and len(j["changes"]) == 16' <"$WORK/diff.json"
# of EXPRESSION - over `c`, the changes by path.
of() { json "(lambda c: $1)({c['path']: c for c in j['changes']})" <"$WORK/diff.json"; }
of 'c["/etc/renamed"]["from"] == "/moved"'
of '[x["metadata"] for x in c.values() if x["change"] == "metadata"] == [["mode"], ["xattrs"]]'
of '(c["/etc/motd"]["old"]["mode"], c["/etc/motd"]["new"]["mode"]) == ("0644", "0600")'
of 'c["/many/file-11"]["new"]["xattrs"] == {"user.test": "dmFsdWU="} and
    "xattrs" not in c["/many/file-11"]["old"]'
of '(c["/etc/passwd"]["old"]["size"], c["/etc/passwd"]["new"]["size"]) == (7, 12)'
of 'c["/etc/passwd"]["new"]["mtime"]["sec"] >= c["/etc/passwd"]["old"]["mtime"]["sec"]'
of 'all((x["old"] is None) == (x["change"] == "added") for x in c.values())'
of 'all((x["new"] is None) == (x["change"] == "deleted") for x in c.values())'
# Names of one file: both were told; only one of two was.
of 'sorted(p for p in c if c[p].get("link_group") == "/etc/hard") == ["/etc/hard", "/etc/passwd"]'
of 'c["/etc/motd2"]["link_of"] == "/etc/motd" and c["/etc/motd2"]["link_group"] == "/etc/motd"'
of '"link_group" not in c["/dir"] and "link_group" not in c["/etc/new"]'

step "diff: paths, exit status, sums, records"
status=0
"$IMG" diff --exit-code -b "$LOWER" "$UPPER" /gone/deep moved many/./file-7/ >"$WORK/out" || status=$?
[ "$status" = 3 ] || fail "diff --exit-code of differences: status $status"
diff -u - "$WORK/out" <<'END' || fail "diff of paths"
renamed   /moved/ -> /etc/renamed/
deleted   /gone/deep/
deleted   /gone/deep/file  (23893 bytes)
deleted   /many/file-7  (2 bytes)
0 added, 0 modified, 0 metadata, 3 deleted, 1 renamed
END
"$IMG" diff --exit-code -b "$LOWER" "$UPPER" /many/file-77 >/dev/null ||
    fail "diff --exit-code of nothing: status $?"
refused 1 '"/many/file-7/x": no such path in .*lower.img' \
    "$IMG" diff --exit-code -b "$LOWER" "$UPPER" /etc /many/file-7/x
refused 1 '"/etc/../etc": a path from the root on has no ".."' \
    "$IMG" diff -b "$LOWER" "$UPPER" /etc/../etc
"$IMG" diff --stat -b "$LOWER" "$UPPER" >"$WORK/out"
diff -u - "$WORK/out" <<'END' || fail "diff --stat"
   ADDED MODIFIED METADATA  DELETED  RENAMED         NEW        GONE  NAME
       0        1        0        0        0     1.0 KiB     0 bytes  /data
       2        0        0        0        0     3 bytes     0 bytes  /dir/
       2        2        1        0        1     1.0 KiB     0 bytes  /etc/
       0        0        0        3        0     0 bytes    23.3 KiB  /gone/
       0        1        1        1        1     1.0 KiB     2 bytes  /many/
4 added, 4 modified, 2 metadata, 4 deleted, 2 renamed: 3.0 KiB new, 23.3 KiB gone
END
"$IMG" diff --stat --output=json -b "$LOWER" "$UPPER" / dir gone |
    json 'j["format"] == 1 and j["total"]["new_bytes"] == 3 * 1024 + 7 and
[(s["path"], s["deleted"], s["gone_bytes"]) for s in j["stat"] if s["deleted"]] ==
[("/gone", 1, 0), ("/gone/deep", 2, 23893), ("/many", 1, 2)]'
"$IMG" diff -0 -b "$LOWER" "$UPPER" / >"$WORK/records"
grep -z '^D ' "$WORK/records" | cut -zc 3- | tr '\0' '\n' >"$WORK/out"
printf '%s\n' /gone /gone/deep /gone/deep/file /many/file-7 | diff -u - "$WORK/out" ||
    fail "the records of deleted names"
grep -zc '^[AMmDR] /' "$WORK/records" >"$WORK/out"
grep -qx 16 "$WORK/out" || fail "$(cat "$WORK/out") records"
tr '\0' '\n' <"$WORK/records" | grep -A 1 '^R /etc/renamed$' | grep -qx 'F /moved' ||
    fail "no old name behind a renamed one"
refused 1 "^unionfs-img: --stat excludes --null" "$IMG" diff -0 --stat -b "$LOWER" "$UPPER"

step "ls"
"$IMG" ls -b "$LOWER" "$UPPER" >"$WORK/out"
# shellcheck disable=SC1003 # that is the end of a name with a backslash
for line in 'own +/' 'own +etc/' 'own +new' 'whiteout +gone' 'whiteout +moved' \
    'opaque +renamed/' 'opaque +dir/' 'fallthru +same' 'fallthru +sub' 'whiteout +file-7' \
    'own +file-nine' 'fallthru +odd\\x0a\\xff name\\\\'; do
    has_line "$WORK/out" "^$line\$"
done
"$IMG" ls -l -b "$LOWER" "$UPPER" >"$WORK/out"
has_line "$WORK/out" '^own +[0-9]+ -rw-r--r-- +588895 +3072 +data$'
has_line "$WORK/out" '^fallthru +[0-9]+ drwxr-xr-x +1024 +0 +same/$'
"$IMG" ls --output=json -b "$LOWER" "$UPPER" |
    json '{e["path"]: e["mark"] for e in j}["/etc/renamed/sub"] == "fallthru" and
{e["path"]: e for e in j}["/data"]["own-bytes"] == 3072'

step "map"
"$IMG" map -b "$LOWER" "$UPPER" >"$WORK/out"
has_line "$WORK/out" ' upper +[0-9]+ +.*upper.img$'
has_line "$WORK/out" ' lower +[0-9]+ +.*lower.img$'
"$IMG" map --output=json --svg "$WORK/map.svg" -b "$LOWER" "$UPPER" |
    json 'sum(r["length"] for r in j) == 100 << 20 and
all(a["start"] + a["length"] == b["start"] for a, b in zip(j, j[1:])) and
{r["owner"] for r in j} == {"lower", "upper", "synthesized", "zero"}'
python3 -c 'import sys, xml.dom.minidom as x
d = x.parse(sys.argv[1])
marks = {r.getAttribute("class") for r in d.getElementsByTagName("rect")}
assert {"lower", "upper", "zero"} <= marks, marks
text = "".join(t.firstChild.data for t in d.getElementsByTagName("text"))
assert "upper: " in text and "zero: " in text, text' "$WORK/map.svg" || fail "the SVG picture"
refused 1 "map.svg: exists already" "$IMG" map --svg "$WORK/map.svg" -b "$LOWER" "$UPPER"
refused 1 "upper.img: exists already" "$IMG" map --svg "$UPPER" -b "$LOWER" "$UPPER"
if command -v script >/dev/null; then
    script -qec "'$IMG' map -b '$LOWER' '$UPPER'" /dev/null </dev/null >"$WORK/out"
    has_line "$WORK/out" '#'
    has_line "$WORK/out" "the layer's own"
fi

step "convert"
"$IMG" convert --output=json -b "$LOWER" "$UPPER" "$WORK/whole.img" |
    json 'j["clean"] and j["size"] == 100 << 20 and j["disk-size"] < 40 << 20'
check_clean "$WORK/whole.img"
refused 1 "whole.img: exists already" "$IMG" convert -b "$LOWER" "$UPPER" "$WORK/whole.img"
serve disk lower="$LOWER" upper="$UPPER" checkpoint=never
save_image disk "$WORK/served.img"
stop_server disk
cmp "$WORK/whole.img" "$WORK/served.img" || fail "convert differs from what is served"
(cd "$WORK" && "$IMG" convert -b "$LOWER" "$UPPER" -) | cmp - "$WORK/served.img"
[ ! -e "$WORK/-" ] || fail "convert made a file of the name -"
refused 1 "the standard output is the image" "$IMG" convert --output=json -b "$LOWER" "$UPPER" -
status=0
python3 -c 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)' \
    "$IMG" convert -b "$LOWER" "$UPPER" - >"$WORK/out" 2>&1 </dev/null || status=$?
[ "$status" = 1 ] || fail "convert to a terminal: status $status"
has_line "$WORK/out" "an image is nothing for a terminal"

step "a listing that fails midway"
python3 - "$UPPER" "$WORK/cut.img" <<'END'
import re, sys
image = bytearray(open(sys.argv[1], "rb").read())
# The name to fall through to is there no more: a fallthru below is renamed.
place = [m.start() for m in re.finditer(rb"\x08[\x00-\xff]file-150", image)]
assert place, "no name to damage"
for at in place:
    image[at + 2 : at + 10] = b"file-\x1b[m"
open(sys.argv[2], "wb").write(image)
END
refused 1 'no name "file-\\x1b\[m" to fall through to' \
    "$IMG" ls --output=json -b "$LOWER" "$WORK/cut.img"
[ ! -s "$WORK/out" ] || fail "a part of an array was printed: $(head -c 200 "$WORK/out")"
refused 1 'no name "file-\\x1b\[m" to fall through to' "$IMG" ls -l -b "$LOWER" "$WORK/cut.img"
serve cut lower="$LOWER" upper="$WORK/cut.img"
! PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri cut)" -c '
for offset in range(0, h.get_size(), 65536):
    h.pread(min(65536, h.get_size() - offset), offset)' 2>/dev/null || fail "a damaged directory was read"
stop_server cut
has_line "$WORK/cut.log" 'no name "file-.x1b.m" to fall through to'
! grep -q $'\x1b' "$WORK/cut.log" || fail "an escape sequence of an image is in the log"
rm "$WORK/cut.log"

step "names that lead to other files"
mkdir -p "$WORK/names"/{replaced,moved}
for name in one two kept replaced/x replaced/y moved/x bak; do seq 1 2000 >"$WORK/names/$name"; done
echo target >"$WORK/names/was-file"
mke2fs -q -t ext2 -b 1024 -I 128 -d "$WORK/names" "$WORK/names.img" 16M 2>/dev/null
cp "$WORK/names.img" "$WORK/names-now.img"
echo new >"$WORK/new"
seq 5 4000 >"$WORK/longer"
# No generation is drawn here, and no birth is noted: a number alone proves nothing.
debugfs -w -f - "$WORK/names-now.img" >"$WORK/debugfs.txt" 2>&1 <<END
rm one
write $WORK/new other
rm two
write $WORK/longer two
ln kept kept-elsewhere
unlink kept
rm replaced/x
rm replaced/y
rmdir replaced
mkdir replaced
write $WORK/new replaced/x
ln moved moved-away
unlink moved
mkdir moved
write $WORK/new moved/z
ln bak bak.old
unlink bak
write $WORK/new bak
rm was-file
symlink was-file one-more
END
e2fsck -fy "$WORK/names-now.img" >/dev/null 2>&1 || [ $? = 1 ]
serve names lower="$WORK/names.img" upper="$WORK/names-upper.img" size=16M checkpoint=never
nbdcopy "$WORK/names-now.img" "$(socket_uri names)"
stop_server names
cat >"$WORK/wanted-names" <<'END'
modified  /bak  (8893 -> 4 bytes, 9216 in changed blocks)
added     /bak.old  (8893 bytes)
renamed   /kept -> /kept-elsewhere
added     /moved/
renamed   /moved/ -> /moved-away/
added     /moved/z  (4 bytes)
deleted   /one  (8893 bytes)
added     /other  (4 bytes)
modified  /replaced/x  (8893 -> 4 bytes, 9216 in changed blocks)
deleted   /replaced/y  (8893 bytes)
modified  /two  (8893 -> 18885 bytes, 19456 in changed blocks)
added     /was-file
deleted   /was-file  (7 bytes)
5 added, 3 modified, 0 metadata, 3 deleted, 2 renamed
END
"$IMG" diff -b "$WORK/names.img" "$WORK/names-upper.img" >"$WORK/out"
diff -u "$WORK/wanted-names" "$WORK/out" || fail "diff of names that lead to other files"

step "another lower"
cp "$LOWER" "$WORK/other-lower.img"
tune2fs -U random "$WORK/other-lower.img" >/dev/null
"$IMG" info -b "$WORK/other-lower.img" "$UPPER" >"$WORK/out"
has_line "$WORK/out" "^lower matches: no: .*other-lower.img: is not the lower that .*upper.img was made over: its UUID is"
refused 1 "other-lower.img: is not the lower that .*upper.img was made over: its UUID is" \
    "$IMG" check -b "$WORK/other-lower.img" "$UPPER"
refused 1 "lower.img: is an ext2 image without a state area" "$IMG" info "$LOWER"
refused 1 "unionfs-img import -b LOWER" "$IMG" info "$LOWER"
refused 1 "only \"$LOWER\" is named" "$IMG" mkbase "$LOWER"
refused 1 "only \"$LOWER\" is named" "$IMG" import -b "$LOWER" "$LOWER"
refused 1 "^unionfs-img: --lower is required$" "$IMG" ls "$UPPER"
refused 1 "^unionfs-img: A subcommand is required$" "$IMG"
refused 1 "^unionfs-img: nonsense is no command$" "$IMG" nonsense

step "where nothing can be printed"
status=0
"$IMG" ls -b "$LOWER" "$UPPER" >/dev/full 2>"$WORK/err" || status=$?
[ "$status" = 1 ] || fail "standard output is full: status $status"
has_line "$WORK/err" "^unionfs-img: cannot write"
status=0
"$IMG" info "$WORK/none.img" 2>&- || status=$?
[ "$status" = 1 ] || fail "standard error is closed: status $status"
status=0
(ulimit -f 100 && "$IMG" create -b "$LOWER" "$WORK/limited.img") 2>"$WORK/err" || status=$?
[ "$status" = 1 ] || fail "file size limit: status $status"
has_line "$WORK/err" "limited.img: .*File too large"

step "an upper made elsewhere"
mkdir "$WORK/elsewhere"
echo elsewhere >"$WORK/elsewhere/new-file"
mke2fs -q -t ext2 -d "$WORK/elsewhere" "$WORK/foreign.img" 8M
refused 1 "foreign.img: .*without the whiteout feature" \
    "$IMG" checkpoint -b "$LOWER" "$WORK/foreign.img"
debugfs -w -R 'feature FEATURE_I5' "$WORK/foreign.img" >"$WORK/debugfs.log" 2>&1
refused 1 "foreign.img: .*to import it" "$IMG" info "$WORK/foreign.img"
refused 1 "foreign.img: .*to import it" "$IMG" check -b "$LOWER" "$WORK/foreign.img"
refused 1 "foreign.img: .*to import it" "$IMG" ls -b "$LOWER" "$WORK/foreign.img"
"$IMG" checkpoint -b "$LOWER" "$WORK/foreign.img" >"$WORK/out"
has_line "$WORK/out" "foreign.img: was made elsewhere, and is an upper of .* now"
"$IMG" check -b "$LOWER" "$WORK/foreign.img"
"$IMG" diff -b "$LOWER" "$WORK/foreign.img" >"$WORK/out"
has_line "$WORK/out" "new-file"
"$IMG" checkpoint -b "$LOWER" "$WORK/foreign.img" >"$WORK/out"
has_line "$WORK/out" "no session: nothing to do"

step "a session that cannot become a layer, and --fsck"
if [ -n "${SANITIZE_PRELOAD:-}" ]; then
    # --fsck starts the nbdkit that it finds.
    mkdir -p "$WORK/bin"
    cat >"$WORK/bin/nbdkit" <<END
#!/bin/sh
LD_PRELOAD='$SANITIZE_PRELOAD' ASAN_OPTIONS=detect_leaks=0 exec '$(command -v nbdkit)' "\$@"
END
    chmod +x "$WORK/bin/nbdkit"
    PATH=$WORK/bin:$PATH
fi
serve disk lower="$LOWER" upper="$UPPER" checkpoint=never
mount_merged disk "$WORK/mnt"
echo crash >"$WORK/mnt/crash"
sync -f "$WORK/mnt/crash"
kill_server disk
umount "$WORK/mnt" 2>/dev/null || umount -l "$WORK/mnt"
unset 'MOUNT_POINT[disk]'
detach disk
"$IMG" info -b "$LOWER" "$UPPER" >"$WORK/out"
has_line "$WORK/out" "^checkpoint: not possible: "
refused 1 "upper.img: a server has it, or was killed: .* --live" \
    "$IMG" convert -b "$LOWER" "$UPPER" "$WORK/live.img"
"$IMG" convert --live -b "$LOWER" "$UPPER" "$WORK/live.img" 2>/dev/null
refused 1 "the session cannot become a layer: merged image: was not cleanly unmounted" \
    "$IMG" checkpoint -b "$LOWER" "$UPPER"
refused 1 "the open session cannot be read as files: .*was not cleanly unmounted" \
    "$IMG" diff -b "$LOWER" "$UPPER"
# Told that the image is not clean, where no stream is open: not in the image.
"$IMG" convert -b "$LOWER" "$UPPER" "$WORK/unclean.img" 2>"$WORK/err"
has_line "$WORK/err" "unclean.img: the file system was not cleanly unmounted"
(exec <&- >&- 2>&- && exec "$IMG" convert -b "$LOWER" "$UPPER" "$WORK/silent.img")
cmp "$WORK/unclean.img" "$WORK/silent.img" || fail "a message went into the image"
# A signal while the image is let go, after e2fsck: the command ends by it.
mkdir -p "$WORK/bin"
cat >"$WORK/bin/fusermount3" <<END
#!/bin/sh
kill -TERM \$PPID
exec '$(command -v fusermount3)' "\$@"
END
chmod +x "$WORK/bin/fusermount3"
status=0
PATH=$WORK/bin:$PATH "$IMG" checkpoint --fsck --plugin "$UNIONFS_PLUGIN" -b "$LOWER" "$UPPER" \
    >"$WORK/out" 2>"$WORK/err" || status=$?
[ "$status" = 143 ] || fail "a signal at the unmount: status $status: $(cat "$WORK/err")"
has_line "$WORK/err" "upper.img: ended by signal 15; the session is no layer yet"
"$IMG" info --output=json "$UPPER" | json 'j["session"]["open"] and not j["journal-pending"]'
rm "$WORK/bin/fusermount3"
"$IMG" checkpoint --fsck --plugin "$UNIONFS_PLUGIN" -b "$LOWER" "$UPPER" >"$WORK/out" 2>"$WORK/err" ||
    fail "checkpoint --fsck: $(cat "$WORK/err")"
has_line "$WORK/out" "became a layer"
"$IMG" diff -b "$LOWER" "$UPPER" >"$WORK/out"
has_line "$WORK/out" "^added +/crash"
"$IMG" check -b "$LOWER" "$UPPER" >"$WORK/out" || fail "check: $(cat "$WORK/out")"
step "pass"
