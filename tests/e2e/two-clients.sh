#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Several clients of one disk: who may write, and what the log says.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

require mke2fs nbdinfo nbdsh
make_work
cd "$WORK"

declare -A CLIENT=() TO=()

# come NAME SERVER - a process that opens the disk, and writes when it is told to.
come() {
    local fd
    rm -f "$1.in"
    mkfifo "$1.in"
    : >"$1.out"
    (
        # Or who is told to go would be kept by those who came later.
        for fd in "${TO[@]}"; do exec {fd}>&-; done
        PATH=/usr/bin:$PATH exec nbdsh -u "$(socket_uri "$2")" -c '
import sys
print("read-only" if h.is_read_only() else "writable", flush=True)
for line in sys.stdin:
    try:
        h.pwrite(line.encode().ljust(512), 4 << 20)
        print("done", flush=True)
    except nbd.Error as error:
        print(error.errno, flush=True)
'
    ) <"$1.in" >"$1.out" 2>"$1.err" &
    CLIENT[$1]=$!
    exec {fd}>"$1.in"
    TO[$1]=$fd
    answers "$1" 1
}

# answers NAME COUNT - waits for so many lines, and prints the last.
answers() {
    local deadline=$((SECONDS + 60))
    until [ "$(wc -l <"$1.out")" -ge "$2" ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$1 does not answer: $(cat "$1.err")"
        sleep 0.02
    done
    tail -n 1 "$1.out"
}

write() {
    local before
    before=$(wc -l <"$1.out")
    echo "$1" >&"${TO[$1]}"
    answers "$1" $((before + 1))
}

go() {
    local fd=${TO[$1]}
    exec {fd}>&-
    unset "TO[$1]"
    wait "${CLIENT[$1]}" || fail "$1 ended with status $?: $(cat "$1.err")"
}

killed() {
    local fd=${TO[$1]}
    kill -KILL "${CLIENT[$1]}"
    wait "${CLIENT[$1]}" 2>/dev/null || true
    exec {fd}>&-
    unset "TO[$1]"
}

# expect WANTED FOUND WHAT
expect() { [ "$1" = "$2" ] || fail "$3: $2 and not $1"; }

# said COUNT PATTERN - so many lines of the log are like this.
said() {
    expect "$1" "$(grep -cEe "$2" "$WORK/disk.log" || true)" "lines of the log with $2"
}

mkdir tree
echo below >tree/file
truncate -s 20M lower.img
mke2fs -q -t ext2 -b 1024 -d tree lower.img

step "those who look do not disturb, and the first who writes is the writer"
serve disk lower.img upper.img
come one disk >state
expect writable "$(cat state)" "the first"
come two disk >state
expect writable "$(cat state)" "the second, while nobody writes"
nbdinfo --size "$(socket_uri disk)" >/dev/null
expect 'done' "$(write two)" "the first write"
expect EPERM "$(write one)" "a write of another"
expect EPERM "$(write one)" "a write of another"
expect 'done' "$(write two)" "the second write"
nbdinfo --is read-only "$(socket_uri disk)" || fail "a look at a disk in use may write"
said 1 "process ${CLIENT[one]} of user .* may not write, because process ${CLIENT[two]} of user"
said 1 "process .* gets a read-only export, because process ${CLIENT[two]} of user"

step "its claim ends when it has gone"
go two
expect EPERM "$(write one)" "the write of who was refused, and knows what is old"
go one
come one disk >state
expect writable "$(cat state)" "who connects again"
expect 'done' "$(write one)" "its write"
go one

step "a killed client comes back"
come killed disk >state
expect 'done' "$(write killed)" "its write"
killed killed
come again disk >state
expect writable "$(cat state)" "who comes back"
expect 'done' "$(write again)" "its write"
go again
stop_server disk
said 1 'upper.img: created, for a disk of [0-9]* bytes over .*lower.img'
said 1 'upper.img: checkpoint made: [0-9]* blocks .* files .* bytes .* s$'

step "a killed server's session goes on, and one that is unclean stays"
serve disk lower.img upper.img
come client disk >state
expect 'done' "$(write client)" "its write"
kill_server disk
killed client
serve disk lower.img upper.img
PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri disk)" -c 'h.pwrite(b"\0\0", 1024 + 58)'
stop_server disk
said 1 'upper.img: the session of an earlier server, which was killed, goes on with 1 blocks'
said 1 'no checkpoint: .*unionfs-img checkpoint --fsck; nothing is lost'

step "shared=yes lets all of them write"
serve disk lower.img shared.img shared=yes
come one disk >state
come two disk >state
for name in one two one; do expect 'done' "$(write "$name")" "$name of those who share"; done
go one
go two
stop_server disk
said 1 'may not write'
step "pass"
