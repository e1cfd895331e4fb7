#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Lowers and layers that another server has: the same bytes as over files, whatever becomes of
# that server meanwhile.
#
#   remote-lower.sh [CASE...]
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/remote_lowers.sh
. "$(dirname "$0")/../lib/remote_lowers.sh"

require nbdkit nbdcopy nbdsh nbdinfo mke2fs debugfs
UNIONFS_IMG=${UNIONFS_IMG:-$BUILD_DIR/tools/unionfs-img}
make_work
cd "$WORK"
SIZE=40M

# ---- what all cases have -------------------------------------------------------

make_lower() {
    local i
    mkdir -p tree/d
    for i in $(seq 40); do head -c $((i * 12345)) /dev/urandom >"tree/d/file$i"; done
    printf 'here\n' >tree/name
    mke2fs -q -F -t ext2 -b 1024 -d tree lower.img 24M
    mke2fs -q -F -t ext2 -b 1024 -d tree other.img 20M
}

# change_files NAME... - writes through disks that are the same what makes other files of some:
# block by block, and the parts of blocks that differ.
change_files() {
    local name
    save_image "$1" changed.raw
    cp changed.raw before.raw
    head -c 70000 /dev/urandom >new
    debugfs -w -f - changed.raw >/dev/null 2>&1 <<-END
		rm name
		rm d/file7
		mkdir fresh
		write new fresh/new
		write new d/new
	END
    for name in "$@"; do
        in_shell "$name" '
old = open("before.raw", "rb").read()
new = open("changed.raw", "rb").read()
count = 0
for at in range(0, len(new), 1024):
    if old[at:at + 1024] == new[at:at + 1024]:
        continue
    parts = [i for i in range(1024) if old[at + i] != new[at + i]]
    h.pwrite(new[at + parts[0]:at + parts[-1] + 1], at + parts[0])
    count += 1
h.flush()
assert count > 100
'
        save_image "$name" "$name.raw"
        cmp changed.raw "$name.raw" || fail "$name has not what was written to it"
    done
}

# ---- cases ---------------------------------------------------------------------

# Reads, writes, errors and a checkpoint over nbdkit, beside the same over a file.
case_nbdkit() {
    nbdkit_up base --filter=delay --filter=error file lower.img rdelay=2ms \
        error-pread=EIO error-rate=100% error-file="$WORK/inject"
    serve near lower.img near.img size=$SIZE
    serve far "$(uri base)" far.img size=$SIZE timeout=10
    same_disks near far
    change_files near far
    [ "$(stat -c %a far.img)" = 600 ] || fail "an upper of data of a server is for anyone"
    touch inject
    in_shell far '
try:
    h.pread(2048, 9 << 20)  # where the lower has data
    raise SystemExit("an error of the lower is none of the disk")
except nbd.Error as error:
    assert error.errno == "EIO", error
' >/dev/null
    rm inject
    in_shell far 'h.pread(2048, 9 << 20)' >/dev/null
    stop_server near
    stop_server far
    grep -q 'checkpoint made' near.log || fail "there is no checkpoint over a file"
    grep -q 'checkpoint made' far.log || fail "there is no checkpoint over a remote lower"
    # The layer does not know where its lower was.
    NBDKIT_FLAGS=(-r)
    serve near "$(uri base)" near.img
    serve far lower.img far.img
    NBDKIT_FLAGS=()
    same_disks near far
    stop_server near
    stop_server far
    check_clean far.raw
    debugfs -R 'dump fresh/new new.out' far.raw >/dev/null 2>&1
    cmp new new.out || fail "a file is not what was written"
    "$UNIONFS_IMG" check -b "$(uri base)" far.img >check.out || fail "the layer is damaged"
    local command
    for command in 'ls -R' info diff; do
        # shellcheck disable=SC2086 # words
        "$UNIONFS_IMG" ${command%% *} -b lower.img far.img ${command#"${command%% *}"} >wanted.out
        # shellcheck disable=SC2086
        "$UNIONFS_IMG" ${command%% *} -b "$(uri base)" far.img ${command#"${command%% *}"} >found.out
        same_files wanted.out found.out "$command over an address says something else"
    done
    grep -q 'fresh' found.out || fail "diff over an address shows no change"
    lower_down base
}

# The lower's server dies while the disk is read, and comes back.
case_killed() {
    nbdkit_up base --filter=delay file lower.img rdelay=100ms
    serve near lower.img size=$SIZE
    save_image near near.raw
    stop_server near
    serve far "$(uri base)" far.img size=$SIZE connections=2
    save_image far far.raw &
    local copy=$! deadline=$((SECONDS + 30))
    until [ -s far.raw ] && [ "$(stat -c %b far.raw)" -gt 0 ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "nothing is copied"
        sleep 0.01
    done
    lower_down base
    said far 'connection is lost'
    nbdkit_up base file lower.img
    wait "$copy" || fail "a read fails when the lower comes back in time"
    cmp near.raw far.raw || fail "the disk is another one after its lower came back"
    said far 'is there again, and the same'
    # Another image, for good.
    in_shell far '
import os, time
h.pwrite(b"x" * 1000, 5 << 20)
open("written", "w").close()
while not os.path.exists("replaced"):
    time.sleep(0.02)
for request in [lambda: h.pread(512, 9 << 20), lambda: h.pwrite(b"x" * 1024, 0),
                h.flush]:
    try:
        request()
        raise SystemExit("a request is answered over another lower")
    except nbd.Error as error:
        assert error.errno == "EIO", error
' >/dev/null &
    local client=$!
    until [ -e written ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "nothing is written"
        sleep 0.01
    done
    lower_down base
    nbdkit_up base file other.img
    said far 'every request fails from now on'
    touch replaced
    wait "$client" || fail "a request is not refused as it should be"
    stop_server far
    if grep -q 'checkpoint made' far.log; then fail "there is a checkpoint over another lower"; fi
    lower_down base
}

# A server that is away costs a request its time, and nothing else.
case_timeout() {
    nbdkit_up base file lower.img
    serve far "$(uri base)" far.img size=$SIZE timeout=1
    change_files far
    lower_down base
    in_shell far '
import time
begin = time.monotonic()
try:
    h.pread(3072, 10 << 20)
    raise SystemExit("who has answered?")
except nbd.Error as error:
    assert error.errno == "EIO", error
assert 0.9 < time.monotonic() - begin < 10, time.monotonic() - begin
' >/dev/null
    nbdkit_up base file lower.img
    said far 'is there again, and the same'
    in_shell far 'assert h.pread(3072, 10 << 20) == open("lower.img", "rb").read()[10 << 20:][:3072]'
    # No checkpoint over what cannot be asked, and one when it can.  The lower goes first.
    local made
    in_shell far "
import os
h.pwrite(h.pread(1024, 10 << 20), 10 << 20)
os.kill(${LOWER_PID[base]}, 9)
"
    wait "${LOWER_PID[base]}" 2>/dev/null || true
    made=$(grep -c 'checkpoint made' far.log || true)
    stop_server far
    said far 'no checkpoint: .*; nothing is lost'
    nbdkit_up base file lower.img
    serve far "$(uri base)" far.img
    stop_server far
    said far 'checkpoint made' $((made + 1))
    lower_down base
}

# ends_within SECONDS NAME - told to, with status 0.
ends_within() {
    local begin=$SECONDS
    stop_server "$2"
    [ $((SECONDS - begin)) -le "$1" ] || fail "$2 took $((SECONDS - begin)) s to end"
}

# Nobody waits for ever for a lower that is away: not who is told to end, and not a client for a
# checkpoint.
case_ending() {
    rm -f written away
    nbdkit_up base file lower.img
    serve far "$(uri base)" far.img size=$SIZE timeout=0
    in_shell far '
import os, time
h.pwrite(b"x" * 1000, 20 << 20)
open("written", "w").close()
while not os.path.exists("away"):
    time.sleep(0.02)
try:
    h.pread(1 << 20, 9 << 20)
    raise SystemExit("who has answered?")
except nbd.Error:
    pass
' >/dev/null 2>&1 &
    local client=$! deadline=$((SECONDS + 30))
    until [ -e written ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "nothing is written"
        sleep 0.02
    done
    lower_down base
    said far 'requests wait until'
    touch away
    sleep 0.5
    ends_within 20 far
    wait "$client" || fail "the client has not seen what it should"
    said far 'no checkpoint: .*; nothing is lost'
    nbdkit_up base file lower.img
    serve far "$(uri base)" far.img timeout=0
    change_files far
    step "ending: a client comes while a checkpoint waits"
    lower_down base
    # The checkpoint begins a second after the last client, and needs what nobody has read yet.
    sleep 3
    timeout 20 env PATH="/usr/bin:$PATH" nbdsh -u "$(socket_uri far)" -c 'h.pread(1024, 1024)' ||
        fail "a client waits for a checkpoint"
    nbdkit_up base file lower.img
    said far 'is there again, and the same'
    ends_within 20 far
    grep -q 'checkpoint made' far.log || fail "there is no checkpoint with the lower there again"
    lower_down base
}

# Other forms of a lower, as their servers know them.
case_forms() {
    serve near lower.img size=$SIZE
    if command -v xz >/dev/null && nbdkit --filter=xz null --dump-plugin >/dev/null 2>&1; then
        xz -k -0 --block-size=256KiB lower.img
        nbdkit_up xz --filter=xz file lower.img.xz xz-max-depth=128
        serve far "$(uri xz)" size=$SIZE
        same_disks near far
        stop_server far
        lower_down xz
    else
        step "forms: no xz"
    fi
    if command -v qemu-nbd >/dev/null && command -v qemu-img >/dev/null; then
        qemu-img convert -q -O qcow2 lower.img lower.qcow2
        lower_up qcow2 qemu-nbd -r -f qcow2 --persistent --shared=8 \
            --socket="$WORK/qcow2.lower" --pid-file="$WORK/qcow2.lower.pid" lower.qcow2
        serve far "$(uri qcow2)" size=$SIZE
        same_disks near far
        stop_server far
        lower_down qcow2
    else
        step "forms: no qemu-nbd"
    fi
    stop_server near
}

# A sealed layer, and many disks over both.
case_layers() {
    "$UNIONFS_IMG" create -b lower.img -s $SIZE l1.img >/dev/null
    serve near lower.img l1.img
    change_files near
    stop_server near
    "$UNIONFS_IMG" seal -b lower.img l1.img >/dev/null
    nbdkit_up base --filter=log file lower.img logfile="$WORK/base.requests"
    nbdkit_up layer file l1.img
    serve near lower.img layer=l1.img top.img
    serve far lower="$(uri base)" layer="$(uri layer)" far-top.img
    same_disks near far
    in_shell far 'h.pwrite(b"far" * 100, 30 << 20)'
    stop_server far
    # The name of a layer at a server means nothing.
    if "$UNIONFS_IMG" info -b lower.img far-top.img | grep -q 'lower matches: yes'; then
        fail "a layer that is not given is found"
    fi
    stop_server near
    mkdir disks
    : >base.requests
    serve many lower="$(uri base)" layer="$(uri layer)" dir=disks connections=1
    local name
    for name in anna bert; do
        PATH=/usr/bin:$PATH nbdsh -u "nbd+unix:///$name?socket=$WORK/many.sock" -c "
h.pwrite(b'$name' * 1000, 30 << 20)
h.pread(1 << 20, 3 << 20)
"
    done
    [ "$(grep -c ' Connect ' base.requests)" = 2 ] ||
        fail "each export connects: $(grep -c ' Connect ' base.requests) connections"
    stop_server many
    for name in anna bert; do
        [ -s "disks/$name.img" ] || fail "there is no upper of $name"
    done
    lower_down base
    lower_down layer
}

# layers_up COUNT - the export base.img, and l1.img and so on, each a layer over those before it.
layers_up() {
    local i below=(-b images/base.img)
    mkdir images files
    cp lower.img images/base.img
    for i in $(seq "$1"); do
        head -c 5000 /dev/urandom >"files/new$i"
        touch -d "@$i" "files/new$i"
        tar -C files -cf layer.tar "./new$i"
        "$UNIONFS_IMG" import "${below[@]}" layer.tar "images/l$i.img" >/dev/null
        "$UNIONFS_IMG" seal "${below[@]}" "images/l$i.img" >/dev/null
        below+=(-b "images/l$i.img")
    done
    nbdkit_up images --filter=delay file dir="$WORK/images" rdelay=20ms
}

image_uri() { printf 'nbd+unix:///%s?socket=%s/images.lower' "$1" "$WORK"; }

# start_over NAME COUNT ARGS... - TOOK is how many milliseconds a disk over so many layers takes
# until it answers.
start_over() {
    local name=$1 i levels begin
    levels=(lower="$(image_uri base.img)")
    for i in $(seq "$2"); do levels+=(layer="$(image_uri "l$i.img")"); done
    begin=$(date +%s%N)
    serve "$name" "${levels[@]}" "$name.img" "${@:3}"
    nbdinfo --size "$(socket_uri "$name")" >/dev/null
    TOOK=$((($(date +%s%N) - begin) / 1000000))
}

# Ten levels of a server that is far away take about the time of one, with a cache and without.
case_many_levels() {
    local one kept i levels=(lower=images/base.img) caches
    layers_up 10
    for kept in "" cache="$WORK/kept"; do
        mkdir kept
        start_over one 1 ${kept:+"$kept"}
        one=$TOOK
        stop_server one
        rm -rf kept
        mkdir kept
        start_over ten 10 ${kept:+"$kept"}
        save_image ten ten.raw
        stop_server ten
        caches=$(find kept -name '*.cache' | wc -l)
        [ "$caches" = "${kept:+11}" ] || [ "$caches$kept" = 0 ] || fail "there are $caches caches"
        rm -rf kept one.img ten.img
        step "one layer answers after $one ms, ten after $TOOK ms${kept:+, with caches}"
        [ "$TOOK" -le $((one * 5 / 2)) ] || fail "ten levels start one after another"
    done
    for i in $(seq 10); do levels+=(layer="images/l$i.img"); done
    serve near "${levels[@]}" near.img
    save_image near near.raw
    cmp near.raw ten.raw || fail "the disk over ten exports is another"
    stop_server near
    # Of several errors the lowest level's is told.
    for i in 1 2 3 4 5; do
        if "$UNIONFS_IMG" create -b "$(image_uri base.img)" -b "$(image_uri l1.img)" \
            -b "$(image_uri none2.img)" -b "$(image_uri l2.img)" -b "$(uri nobody)" \
            none.img >/dev/null 2>said; then
            fail "a level that is not there is taken"
        fi
        grep -q 'none2' said || fail "not the first error: $(cat said)"
    done
    lower_down images
}

# A lower that never answers is waited for once, not at each step of the opening.
case_stalls() {
    local begin
    nbdkit_up base --filter=delay file lower.img rdelay=9
    begin=$(date +%s%N)
    if timeout 30 nbdkit -f -U "$WORK/stalls.sock" "$UNIONFS_PLUGIN" "$(uri base)" timeout=3 \
        >stalls.log 2>&1; then
        fail "a lower that does not answer is served"
    fi
    TOOK=$((($(date +%s%N) - begin) / 1000000))
    grep -q 'timed out' stalls.log || fail "another error: $(cat stalls.log)"
    step "stalls: the error comes after $TOOK ms, of 3,000"
    [ "$TOOK" -ge 2900 ] || fail "the error comes early"
    [ "$TOOK" -le 5900 ] || fail "a lower that does not answer is waited for twice"
    lower_down base
}

# With a key that both sides have; its file is named from where the server is started.
case_tls() {
    [ "$(nbdkit --dump-config | sed -n 's/^tls=//p')" = yes ] || {
        step "tls: this nbdkit has none"
        return
    }
    printf 'alice:%s\n' "$(od -An -v -tx1 -N 32 /dev/urandom | tr -d ' \n')" >key.psk
    nbdkit_up base --tls=require --tls-psk="$WORK/key.psk" file lower.img
    local address="nbds+unix://alice@/?socket=base.lower&tls-psk-file=key.psk"
    serve near lower.img size=$SIZE
    serve far "$address" size=$SIZE
    same_disks near far
    stop_server far
    stop_server near
    if "$UNIONFS_IMG" create -b "$(uri base)" tls.img 2>refused; then
        fail "the server takes who has no key"
    fi
    "$UNIONFS_IMG" create -b "$address" tls.img >/dev/null
    lower_down base
}

# refused PATTERN URI - the tool says so in one line.
refused() {
    if "$UNIONFS_IMG" create -b "$2" none.img >/dev/null 2>said; then fail "$2 is taken"; fi
    [ "$(wc -l <said)" = 1 ] || fail "$2: more than a line: $(cat said)"
    grep -qE -e "$1" said || fail "$2: not as expected: $(cat said)"
    [ ! -e none.img ] || fail "$2 has left an upper"
}

case_refused() {
    nbdkit_up base --filter=exportname file lower.img exportname=disk exportname-strict=true
    nbdkit_up zeros null 1M
    refused 'no-such-host.invalid' nbd://no-such-host.invalid/
    refused 'refused' nbd://127.0.0.1:1/
    refused 'No such file' "$(uri nobody)"
    refused 'export' "$(uri base)"
    refused 'is not an ext2 image' "$(uri zeros)"
    "$UNIONFS_IMG" create -b "nbd+unix:///disk?socket=$WORK/base.lower" none.img >/dev/null
    if (
        use_sanitizer
        exec nbdkit -U - "$UNIONFS_PLUGIN" lower.img "$(uri base)" --run true
    ) 2>said; then
        fail "an upper at another server is taken"
    fi
    grep -q 'an upper must be a file' said || fail "not as expected: $(cat said)"
    # Also where a file is needed an address is known, and shown without what is secret in it.
    local address="nbd://alice:secret@127.0.0.1:1/disk" words
    for words in "info $address" "seal -b lower.img -o $address none.img" \
        "convert -b lower.img none.img $address" "import -b lower.img tree.tar $address" \
        "diff -b lower.img --since $address none.img"; do
        read -ra words <<<"$words"
        if "$UNIONFS_IMG" "${words[@]}" >/dev/null 2>said; then fail "${words[*]}: is taken"; fi
        grep -qE 'nbd://alice@127.0.0.1:1/disk(: a file is needed here|" is no level)' said ||
            fail "${words[*]}: not as expected: $(cat said)"
        if grep -q secret said; then fail "${words[*]}: $(cat said)"; fi
    done
    lower_down base
    lower_down zeros
}

make_lower >/dev/null
[ $# -gt 0 ] || set -- nbdkit killed timeout ending forms layers many_levels stalls tls refused
for name in "$@"; do
    step "$name"
    rm -f ./*.log ./*.raw far*.img near*.img none.img
    "case_$name"
done
