#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What is kept on the host of a lower that another server has: what was read once is not asked for
# again, and is right whatever becomes of the lower, the servers and the file.
#
#   remote-cache.sh [CASE...]
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/remote_lowers.sh
. "$(dirname "$0")/../lib/remote_lowers.sh"

require nbdkit nbdcopy nbdsh mke2fs
UNIONFS_IMG=${UNIONFS_IMG:-$BUILD_DIR/tools/unionfs-img}
make_work
cd "$WORK"
SIZE=40M

# make_lower NAME UUID [FILES SIZE] - a lower with files of 4 MiB; two of one UUID differ in nothing
# but their contents.
make_lower() {
    local i
    rm -rf tree
    mkdir tree
    for i in $(seq "${3:-4}"); do head -c 4M /dev/urandom >"tree/file$i"; done
    touch -d @1700000000 tree/* tree
    E2FSPROGS_FAKE_TIME=1700000000 mke2fs -q -F -t ext2 -b 1024 -U "$2" -E hash_seed="$2" \
        -d tree "$1" "${4:-24M}"
    rm -rf tree
}

FIRST=aaaaaaaa-0000-4000-8000-000000000001
SECOND=aaaaaaaa-0000-4000-8000-000000000002

# base_up IMAGE - the server of the lower, which writes down what it is asked for.
base_up() { nbdkit_up base --filter=log file "$1" logfile="$WORK/asked"; }

# asked_bytes - since the file was removed.
asked_bytes() {
    local sum=0 count
    while read -r count; do
        sum=$((sum + count))
    done < <(sed -n 's/.* Read .* count=\(0x[0-9a-f]*\).*/\1/p' asked)
    echo "$sum"
}

# forget - what was asked until now.
forget() { : >asked; }

# disk_over NAME IMAGE - what the disk NAME must have.
disk_over() {
    serve near "$2" "size=$SIZE"
    same_disks near "$1"
    stop_server near
}

# What one server has read, another one finds, and the next, also after a kill.
case_shared() {
    base_up one.img
    serve first "$(uri base)" size=$SIZE cache=cache
    disk_over first one.img
    [ "$(asked_bytes)" -gt $((16 << 20)) ] || fail "the lower is not read from its server"
    [ "$(stat -c %a cache)" = 600 ] || fail "the cache is for anyone"
    forget
    # Each connection compares some clusters with those of the server.
    serve second "$(uri base)" size=$SIZE cache=cache connections=1
    disk_over second one.img
    kill_server first
    kill_server second
    serve third "$(uri base)" size=$SIZE cache=cache connections=1
    disk_over third one.img
    local bytes
    bytes=$(asked_bytes)
    [ "$bytes" -lt $((8 << 20)) ] || fail "$bytes bytes of the lower were read again"
    # The server of the lower may go: what is there is there.
    lower_down base
    said third 'requests wait until it is there again'
    in_shell third 'h.pread(65536, 9 << 20)' >/dev/null
    stop_server third
}

# The contents of the lower are other ones, and nothing else tells.
case_changed() {
    base_up one.img
    serve first "$(uri base)" size=$SIZE cache=cache
    save_image first first.raw
    stop_server first
    lower_down base
    base_up two.img
    serve second "$(uri base)" size=$SIZE cache=cache
    said second 'has something else at offset .* the cache is not used any more'
    disk_over second two.img
    stop_server second
    serve third "$(uri base)" size=$SIZE cache=cache
    said third 'no cache of this image as it is now'
    disk_over third two.img
    stop_server third
    lower_down base
    step "changed: a lower that was built anew"
    base_up other.img
    serve fourth "$(uri base)" size=$SIZE cache=cache
    said fourth 'no cache of this image as it is now'
    disk_over fourth other.img
    stop_server fourth
    lower_down base
}

# A cache that may not grow, and a host without space.
case_small() {
    make_lower large.img $SECOND 24 110M
    base_up large.img
    serve first "$(uri base)" size=120M cache=cache cache-size=70M connections=1
    # What is read again and again stays, and the rest goes.
    local through='
for at in range(0, 110 << 20, 1 << 20):
    h.pread(1 << 20, at)
    h.pread(4096, 9 << 20)'
    in_shell first "$through
import os, time
deadline = time.monotonic() + 30
while os.stat('cache').st_blocks * 512 > 70 << 20:  # its thread makes room
    assert time.monotonic() < deadline, os.stat('cache').st_blocks * 512
    time.sleep(0.02)
" >/dev/null
    # What comes late finds room, sooner or later, and what is read all the time is there.
    local deadline=$((SECONDS + 30))
    until [ "$(asked_bytes)" = 0 ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "nothing more is cached"
        forget
        in_shell first 'h.pread(65536, 9 << 20); h.pread(1 << 20, 90 << 20)' >/dev/null
    done
    in_shell first "$through" >/dev/null
    local bytes
    bytes=$(asked_bytes)
    [ "$bytes" -gt $((20 << 20)) ] || fail "nothing was evicted: $bytes bytes were read again"
    SIZE=120M disk_over first large.img
    stop_server first
    [ "$(($(stat -c %b cache) * 512))" -le $((70 << 20)) ] || fail "the cache is larger than it may be"
    lower_down base
    base_up one.img
    if [ "$(id -u)" != 0 ]; then
        step "small: no root, so no full host"
        lower_down base
        return 0
    fi
    mkdir full
    mount -t tmpfs -o size=6m,mode=0700 none full
    serve second "$(uri base)" size=$SIZE cache=full/cache
    disk_over second one.img
    said second 'nothing more is cached until there is space'
    forget
    disk_over second one.img
    bytes=$(asked_bytes)
    [ "$bytes" -lt $((14 << 20)) ] || fail "nothing was cached: $bytes bytes were read again"
    stop_server second
    umount full
    lower_down base
}

# fetched_ahead - the last of the places that were read first is asked for, though nobody reads.
fetched_ahead() {
    local deadline=$((SECONDS + 30))
    until grep -q 'Read .*offset=0x700000 ' asked; do
        [ "$SECONDS" -lt "$deadline" ] || fail "nothing is fetched ahead"
        sleep 0.02
    done
}

# What was read first is written down, and fetched ahead the next time.
case_trace() {
    base_up one.img
    serve first "$(uri base)" size=$SIZE cache=cache
    in_shell first '
import time
for at in [9 << 20, 5 << 20, 7 << 20]:
    h.pread(4096, at)
time.sleep(5.1)  # a shorter run tells nothing
' >/dev/null
    stop_server first
    "$UNIONFS_IMG" trace cache >list
    grep -E '^(9437184|5242880|7340032) ' list | cut -d' ' -f1 | tr '\n' ' ' >order
    [ "$(cat order)" = "9437184 5242880 7340032 " ] || fail "not the order of reads: $(cat list)"
    # A copy of the file, on another host say: nobody believes its data, but its order of reads is good.
    cp cache copy
    forget
    serve second "$(uri base)" size=$SIZE cache=copy
    said second 'copy: is no cache of this image as it is now'
    fetched_ahead
    stop_server second
    # The order of reads as a list, which can come with the image.
    rm cache copy
    forget
    serve second "$(uri base)" size=$SIZE cache=cache prefetch=list
    fetched_ahead
    stop_server second
    # It can be left out.
    rm cache
    forget
    serve second "$(uri base)" size=$SIZE cache=cache prefetch=off
    in_shell second 'h.pread(4096, 3 << 20)' >/dev/null
    stop_server second
    if grep -q 'Read .*offset=0x700000 ' asked; then fail "prefetch=off fetches ahead"; fi
    forget
    serve third "$(uri base)" size=$SIZE cache=cache
    in_shell third '
for at in [9 << 20, 5 << 20, 7 << 20]:
    h.pread(4096, at)
' >/dev/null
    disk_over third one.img
    stop_server third
    lower_down base
}

# asked_of NAME - bytes of the level NAME that its server was asked for.
asked_of() { mv "asked.$1" asked && asked_bytes && mv asked "asked.$1"; }

# A directory has a cache for each level at another server; one of them is found by another name.
case_directory() {
    local name held
    mkdir tools
    head -c 3M /dev/urandom >tools/tool
    tar -cf tools.tar tools
    "$UNIONFS_IMG" import -b one.img -s $SIZE tools.tar tools.img >/dev/null
    "$UNIONFS_IMG" seal -b one.img tools.img >/dev/null
    nbdkit_up base --filter=log file one.img logfile="$WORK/asked.base"
    nbdkit_up tools --filter=log file tools.img logfile="$WORK/asked.tools"
    mkdir -m 0700 caches
    serve near one.img tools.img top.img
    save_image near near.raw
    stop_server near
    serve first "$(uri base)" "$(uri tools)" first.img cache=caches cache-id=ours \
        control="$WORK/control"
    save_image first first.raw
    cmp near.raw first.raw || fail "not the same disk through caches"
    "$UNIONFS_IMG" --control control metrics | grep -qE '^unionfs_cache_clusters_total{from="server"} [1-9]' ||
        fail "the metrics know nothing of the caches"
    stop_server first
    [ "$(find caches -name '*.cache' -size +20M | wc -l)" = 2 ] || fail "not two caches: $(ls caches)"
    : >asked.base
    : >asked.tools
    # What a server that was killed has left of a cache goes, unless somebody still makes it.
    name=$(basename "$(find caches -name '*.cache' | head -n 1)")
    : >"caches/.0$name.cache-0123456789abcdef"
    : >"caches/.0$name.cache-0123456789abcde"
    : >"caches/.$name.cache-0123456789abcdef"
    exec {held}<"caches/.$name.cache-0123456789abcdef"
    flock -x "$held"
    # Of one cache-id= the address may be another one, and the lower a file of this host.
    mv base.lower elsewhere.lower
    serve second "nbd+unix:///?socket=$WORK/elsewhere.lower" "$(uri tools)" second.img \
        cache=caches/ cache-id=ours connections=1
    save_image second second.raw
    stop_server second
    [ ! -e "caches/.0$name.cache-0123456789abcdef" ] || fail "a file that was left over stays"
    rm "caches/.0$name.cache-0123456789abcde" # which is none
    rm "caches/.$name.cache-0123456789abcdef" # which is in use
    exec {held}<&-
    serve third one.img "$(uri tools)" third.img cache=caches cache-id=ours connections=1
    save_image third third.raw
    stop_server third
    cmp near.raw second.raw || fail "not the same disk of the caches"
    cmp near.raw third.raw || fail "not the same disk over a local lower"
    [ "$(find caches -type f | wc -l)" = 2 ] || fail "not the same caches: $(ls caches)"
    for name in base tools; do
        [ "$(asked_of $name)" -lt $((6 << 20)) ] || fail "$(asked_of $name) bytes of $name were read again"
    done
    # A file that is none is left alone, and the level goes without.
    name=$(find caches -name '*.cache' | head -n 1)
    printf 'mine\n' >"$name"
    serve fourth "nbd+unix:///?socket=$WORK/elsewhere.lower" layer="$(uri tools)" fourth.img \
        cache=caches cache-id=ours
    save_image fourth fourth.raw
    said fourth 'is read without a cache'
    cmp near.raw fourth.raw || fail "not the same disk with one cache of two"
    [ "$(cat "$name")" = mine ] || fail "a file that is no cache was changed"
    stop_server fourth
    refused 'needs no cache' one.img cache=caches
    refused 'no-cache: cannot find' one.img layer="$(uri tools)" cache=no-cache/
    refused 'needs no cache' one.img layer="$(uri tools)" cache=caches prefetch=list
    lower_down base
    lower_down tools
}

# Two images of the same metadata, which only their addresses tell apart.
case_addresses() {
    local name
    mkdir -m 0700 caches
    for name in one two; do
        nbdkit_up $name file $name.img
    done
    for name in one two; do
        serve far "$(uri $name)" far.$name.img size=$SIZE cache=caches
        save_image far far.raw
        stop_server far
        serve near $name.img near.$name.img size=$SIZE
        save_image near near.raw
        stop_server near
        cmp near.raw far.raw || fail "not the disk over $name"
    done
    [ "$(find caches -name '*.cache' | wc -l)" = 2 ] || fail "not two caches: $(ls caches)"
    lower_down one
    lower_down two
}

# refused PATTERN PARAMETERS... - the start is, with a line that says why.
refused() {
    local pattern=$1
    shift
    if (use_sanitizer && exec nbdkit -U - "$UNIONFS_PLUGIN" "$@" --run true) >refused.out 2>&1 \
        </dev/null; then
        fail "started: $*"
    fi
    grep -qE -e "$pattern" refused.out || fail "$*: not as expected: $(cat refused.out)"
}

case_refused() {
    base_up one.img
    local base
    base=$(uri base)
    refused 'needs no cache' one.img cache=cache
    refused 'go with cache=FILE' "$base" cache-size=1G
    refused 'go with cache=FILE' "$base" prefetch=off
    refused 'takes [0-9]+ bytes at least' "$base" cache=cache cache-size=1M
    refused 'cache-size=0' "$base" cache=cache cache-size=0
    refused "unknown parameter 'cache-age'" "$base" cache-age=1
    printf 'mine\n' >mine
    refused 'is no cache, and is left as it is' "$base" cache=mine
    [ "$(cat mine)" = mine ] || fail "a file that is no cache was changed"
    ln -s mine link
    refused 'cannot open' "$base" cache=link
    refused 'nowhere' "$base" cache=nowhere/cache
    refused 'list:2: ' "$base" cache=cache prefetch=list
    mkdir -m 0777 open
    refused 'others may write' "$base" cache=open/cache
    [ ! -e cache ] || fail "a refused start has left a cache"
    lower_down base
}

make_lower one.img $FIRST
make_lower two.img $FIRST
make_lower other.img $SECOND
[ $# -gt 0 ] || set -- shared changed small trace directory refused
for name in "$@"; do
    step "$name"
    rm -f ./*.log ./*.raw cache asked list
    printf '0 1\nno numbers\n' >list
    "case_$name"
done
