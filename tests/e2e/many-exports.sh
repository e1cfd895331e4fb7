#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A thousand exports of one server, two hundred of them connected at once, and what that takes
# beside a process for each disk.  It prints what it measured.
#
#   DISKS      how many exports (1000)
#   CONNECTED  how many at once (200)
#   SIZE       of each disk (10G)
#   SINGLE     processes to compare with (20)
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

require mke2fs debugfs nbdsh
make_work
cd "$WORK"
DISKS=${DISKS:-1000}
CONNECTED=${CONNECTED:-200}
SIZE=${SIZE:-10G}
SINGLE=${SINGLE:-20}

# private PID... - what the processes alone have in memory, in KiB.
private() {
    local pid sum=0 one
    for pid in "$@"; do
        one=$(awk '/^Private_(Clean|Dirty):/ { sum += $2 } END { print sum }' \
            "/proc/$pid/smaps_rollup")
        sum=$((sum + one))
    done
    echo "$sum"
}
threads() { awk '/^Threads:/ { print $2 }' "/proc/$1/status"; }
now() { date +%s%N; }
milliseconds_since() { echo $((($(now) - $1) / 1000000)); }

open_files() { find "/proc/${SERVER_PID[disks]}/fd" -mindepth 1 | wc -l; }

# state WHAT - prints how the server does.
state() {
    local pid=${SERVER_PID[disks]}
    printf '%s: %s KiB, %s threads, %s open files\n' "$1" "$(private "$pid")" "$(threads "$pid")" \
        "$(open_files)"
}

# A program for clients: connect(number), and what they write.
CLIENTS='
import os, sys, time
def connect(number):
    client = nbd.NBD()
    client.set_export_name("disk %d" % number)
    client.connect_unix(os.environ["SOCKET"])
    return client
def text(word, number):
    return ("%s %d" % (word, number)).encode().ljust(512)
place = int(os.environ["PLACE"])
begin = time.monotonic()
def took(what):
    print("%s: %d ms" % (what, (time.monotonic() - begin) * 1000), flush=True)
'
clients() { PATH=/usr/bin:$PATH SOCKET=$WORK/disks.sock PLACE=$PLACE nbdsh -c "$CLIENTS$1"; }

step "a lower"
mkdir tree uppers single
head -c 65536 /dev/zero | tr '\0' x >tree/file
mke2fs -q -t ext2 -b 4096 -d tree lower.img 1g
PLACE=$(debugfs -R 'blocks /file' lower.img 2>/dev/null | awk '{ print $2 * 4096 }')

step "the start"
NBDKIT_FLAGS=(-t 4)
begin=$(now)
serve disks lower.img dir=uppers "size=$SIZE"
printf 'the start of one server: %s ms\n' "$(milliseconds_since "$begin")"
state "no client"
without_disks=$(open_files)

step "$DISKS disks are made, one after the other"
clients "
for number in range($DISKS):
    client = connect(number)
    client.pwrite(text('disk', number), place)
    client.shutdown()
took('$DISKS disks made')
"
[ "$(find uppers -name '*.img' | wc -l)" = "$DISKS" ] || fail "not all of them were made"
state "all are open, without clients"

step "$CONNECTED of them at once"
mkfifo go
clients "
clients = [connect(number) for number in range($CONNECTED)]
took('$CONNECTED connected')
for number, client in enumerate(clients):
    assert client.pread(512, place) == text('disk', number), number
    client.pwrite(text('again', number), place)
    client.flush()
took('$CONNECTED have written and flushed')
open('connected', 'w').close()
open('go').read()
for client in clients:
    client.shutdown()
" &
client=$!
deadline=$((SECONDS + SERVER_TIMEOUT))
until [ -e connected ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "the clients do not connect"
    kill -0 "$client" || fail "a client failed"
    sleep 0.1
done
state "$CONNECTED are connected"
connected_kib=$(private "${SERVER_PID[disks]}")
: >go
wait "$client" || fail "a client failed"

step "all are checkpointed, and closed a minute later"
deadline=$((SECONDS + 600))
until [ "$(grep -c 'checkpoint made' disks.log)" -ge $((DISKS + CONNECTED)) ] ||
    [ "$SECONDS" -ge "$deadline" ]; do
    sleep 0.5
done
# A file that got its name once it was made has none in /proc, so they are only counted.
deadline=$((SECONDS + 120))
until [ "$(open_files)" -le $((without_disks + 1)) ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "uppers stay open"
    sleep 0.5
done
state "all are closed"
[ "$(private "${SERVER_PID[disks]}")" -lt $((connected_kib / 2)) ] || fail "closed disks keep their memory"
clients "
for number in range($DISKS):
    client = connect(number)
    word = 'again' if number < $CONNECTED else 'disk'
    assert client.pread(512, place) == text(word, number), number
    client.shutdown()
took('$DISKS looked at')
"
begin=$(now)
stop_server disks
printf 'the end of one server with %s open disks: %s ms\n' "$DISKS" "$(milliseconds_since "$begin")"

step "$SINGLE servers of one disk each"
begin=$(now)
for number in $(seq "$SINGLE"); do
    serve "single$number" lower.img "uppers/disk $number.img" "size=$SIZE"
done
printf 'the start of %s servers: %s ms\n' "$SINGLE" "$(milliseconds_since "$begin")"
pids=()
for number in $(seq "$SINGLE"); do
    PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri "single$number")" -c 'h.pread(512, 0)'
    pids+=("${SERVER_PID[single$number]}")
done
printf '%s servers, without clients: %s KiB\n' "$SINGLE" "$(private "${pids[@]}")"
