#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A server that is killed while it takes snapshots of a disk to which a client writes.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

require mke2fs nbdsh
IMG=$BUILD_DIR/tools/unionfs-img
HERE=$(realpath "$(dirname "$0")")
make_work
cd "$WORK"

disk() { PATH=/usr/bin:$PATH python3 "$HERE/snapshot.py" "$@"; }

truncate -s 20M lower.img
mke2fs -q -t ext2 -b 1024 lower.img
rounds=${ROUNDS:-5}
answered=0
for ((round = 1; round <= rounds; round++)); do
    step "round $round"
    rm -f control.sock writing
    serve disk lower.img upper.img control=control.sock checkpoint=never
    disk check "$(socket_uri disk)" "$answered" >shown
    disk write "$(socket_uri disk)" writing >answered &
    writer=$!
    until [ -e writing ]; do
        kill -0 "$writer" 2>/dev/null || fail "the writer failed"
        sleep 0.02
    done
    sleep 0.1
    "$IMG" --control control.sock snapshot "before-$round" >/dev/null
    # Anywhere in this one: it takes some ten milliseconds.
    "$IMG" --control control.sock snapshot "cut-$round" >/dev/null 2>&1 &
    snapshot=$!
    sleep "0.0$((RANDOM % 6))$((RANDOM % 10))"
    kill_server disk
    wait "$writer" || fail "the writer failed"
    wait "$snapshot" || true
    answered=$(<answered)
done

step "what was answered is there, and each level is one moment"
serve disk lower.img upper.img checkpoint=never
last=$(disk check "$(socket_uri disk)" "$answered")
stop_server disk
[ -z "$(find . -name '.upper.img.snapshot-*')" ] || fail "a hidden file is left"
levels=()
before=0
for ((round = 1; round <= rounds; round++)); do
    for level in "before-$round" "cut-$round"; do
        [ -e "$level" ] || continue
        levels+=("$level")
        serve fork lower.img "${levels[@]}" fork.img checkpoint=never
        now=$(disk check "$(socket_uri fork)" "$before")
        stop_server fork
        rm fork.img
        [ "$now" -le "$last" ] || fail "$level shows $now writes, and the disk $last"
        before=$now
    done
done
[ "${#levels[@]}" -ge "$rounds" ] || fail "there are ${#levels[@]} levels"
step "pass: ${#levels[@]} levels, $last writes"
