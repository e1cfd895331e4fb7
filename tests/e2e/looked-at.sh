#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# An upper that is served is looked at without a lock: while a client writes and comes and
# goes, so that checkpoints happen, no command that looks fails with damage or shows
# anything that is none, and none keeps a server from starting.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
require mke2fs debugfs e2fsck nbdsh nbdcopy python3
make_work

IMG=$BUILD_DIR/tools/unionfs-img
LOWER=$WORK/lower.img
UPPER=$WORK/upper.img

mkdir -p "$WORK/tree/dir"
seq 1 20000 >"$WORK/tree/data"
for number in $(seq 30); do echo "$number" >"$WORK/tree/dir/file-$number"; done
mke2fs -q -t ext2 -b 1024 -d "$WORK/tree" "$LOWER" 16M 2>/dev/null
cp "$LOWER" "$WORK/plain.img"
debugfs -w -f - "$WORK/plain.img" >"$WORK/debugfs.txt" 2>&1 <<END
rm dir/file-7
write $WORK/tree/data dir/new
END
e2fsck -fy "$WORK/plain.img" >/dev/null 2>&1 || [ $? = 1 ]
BLOCKS=$(debugfs -R "blocks /data" "$LOWER" 2>/dev/null)
export BLOCKS

step "a layer"
serve disk lower="$LOWER" upper="$UPPER" size=16M
nbdcopy "$WORK/plain.img" "$(socket_uri disk)"
for _ in $(seq 200); do
    "$IMG" diff --layer -b "$LOWER" "$UPPER" >"$WORK/out"
    ! grep -q '^added .* /dir/new ' "$WORK/out" || break
    sleep 0.1
done
grep -q '^deleted .* /dir/file-7 ' "$WORK/out" || fail "diff of a layer: $(cat "$WORK/out")"

# overwrite - a client that writes into a file, whose owner nothing but a search tells.
overwrite() {
    PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri disk)" -c '
import os, time
end = time.time() + 0.6
while time.time() < end:
    for block in os.environ["BLOCKS"].split()[:12]:
        h.pwrite(os.urandom(1024), int(block) * 1024)
h.flush()'
}

# look COMMAND... - has to succeed; what it says goes to $WORK/out.
look() {
    "$IMG" "$@" -b "$LOWER" "$UPPER" >"$WORK/out" 2>"$WORK/err" ||
        fail "$*: status $?: $(cat "$WORK/err")$(head -n 5 "$WORK/out")"
    ! grep -iE 'corrupt|damaged|wrong checksum' "$WORK/err" "$WORK/out" || fail "$*: told damage"
}

step "looks while a client writes and checkpoints happen"
(while [ ! -e "$WORK/stop" ]; do
    overwrite
    sleep 1.3
done) &
WRITER=$!
first=$("$IMG" info --output=json "$UPPER" | python3 -c 'import json,sys; print(json.load(sys.stdin)["session"]["number"])')
last=$first
end=$((SECONDS + 12))
while [ "$SECONDS" -lt "$end" ] || { [ "$last" -lt $((first + 2)) ] && [ "$SECONDS" -lt $((end + 60)) ]; }; do
    look info
    grep -q '^lower matches: yes' "$WORK/out" || fail "info: $(cat "$WORK/out")"
    last=$(sed -n 's/^session: number \([0-9]*\),.*/\1/p' "$WORK/out")
    look ls --layer -l
    grep -q ' new$' "$WORK/out" || fail "ls: $(cat "$WORK/out")"
    look ls --output=json
    python3 -c 'import json,sys; assert any(e["path"] == "/dir/new" for e in json.load(sys.stdin))' <"$WORK/out"
    look diff --layer
    grep -q '^added .* /dir/new ' "$WORK/out" || fail "diff: $(cat "$WORK/out")"
    look map
    look check
    grep -q ': no violations found$' "$WORK/out" || fail "check: $(cat "$WORK/out")"
    rm -f "$WORK/copy.img"
    "$IMG" convert --live -b "$LOWER" "$UPPER" "$WORK/copy.img" 2>"$WORK/err" ||
        fail "convert: $(cat "$WORK/err")"
    check_clean "$WORK/copy.img"
    # A session that is written to at the moment may be no layer; it is no damage either.
    "$IMG" diff -b "$LOWER" "$UPPER" >"$WORK/out" 2>"$WORK/err" ||
        grep -qE 'may be written to at this moment|is being checkpointed|cannot be read as files' "$WORK/err" ||
        fail "diff: $(cat "$WORK/err")"
done
touch "$WORK/stop"
wait "$WRITER" || fail "the writer failed"
[ "$last" -ge $((first + 2)) ] || fail "only $((last - first)) checkpoints in the time"
! grep -vE ': (created|checkpoint made)' "$WORK/disk.log" | grep -qiE 'error|fail|in use' ||
    fail "the server: $(cat "$WORK/disk.log")"

step "a converted image needs --live while a client may write"
CONVERT="$IMG convert -b $LOWER $UPPER $WORK/refused.img" PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri disk)" -c '
import os, subprocess
h.pwrite(b"x" * 1024, int(os.environ["BLOCKS"].split()[0]) * 1024)
done = subprocess.run([*os.environ["CONVERT"].split()], stderr=subprocess.PIPE)
assert done.returncode == 1 and b"--live" in done.stderr, done' 2>"$WORK/err" || fail "$(cat "$WORK/err")"
stop_server disk

step "who looks keeps nobody from serving"
mkfifo "$WORK/fifo"
"$IMG" convert -b "$LOWER" "$UPPER" - >"$WORK/fifo" 2>"$WORK/err" &
LOOKER=$!
exec 5<"$WORK/fifo"
head -c 1000000 <&5 >/dev/null
serve disk lower="$LOWER" upper="$UPPER"
overwrite
stop_server disk
cat <&5 >/dev/null
exec 5<&-
status=0
wait "$LOOKER" || status=$?
[ "$status" = 1 ] || fail "an image of two layers: status $status"
grep -q 'became another layer' "$WORK/err" || fail "convert: $(cat "$WORK/err")"

step "the standard output gets the image"
"$IMG" convert -b "$LOWER" "$UPPER" "$WORK/whole.img"
"$IMG" convert -b "$LOWER" "$UPPER" - | cmp - "$WORK/whole.img"
step "pass"
