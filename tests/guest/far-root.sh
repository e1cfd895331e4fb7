#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# A guest boots from a base that another server has, 10 ms away: without a cache, with an empty one,
# with an empty one and a list of what a boot reads first, and with a full one; beside it from a
# local base, and from a qcow2 overlay of qemu-nbd over the same address. It prints how long each
# takes to the login prompt, and fails only where a guest does not boot, or where the list or the
# cache is of no use.
#
# GUEST_ROOT=debootstrap  the root is a minimal Debian with systemd (default where debootstrap is)
# GUEST_ROOT=busybox      the root is busybox, which reads some files before its prompt
# ROUNDS                  how often each is measured, default 1; the figures are medians

set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/remote_lowers.sh
. "$(dirname "$0")/../lib/remote_lowers.sh"
# shellcheck source=tests/guest/guest.sh
. "$(dirname "$0")/guest.sh"
# shellcheck source=tests/guest/images.sh
. "$(dirname "$0")/images.sh"
# shellcheck source=tests/guest/roots.sh
. "$(dirname "$0")/roots.sh"
require qemu-nbd qemu-img
GUEST_TIMEOUT=${GUEST_TIMEOUT:-600}
make_work
guest_prepare
choose_seed
IMG=$(realpath "$BUILD_DIR/tools/unionfs-img")
ROUNDS=${ROUNDS:-1}
DELAY=10ms
cd "$WORK"

# ---- a boot ----------------------------------------------------------------------

# boot SOCKET - a guest from this disk, up to its prompt.
boot() {
    guest_boot_to_prompt root virtio_pci,virtio_blk,ext4,crc32c_generic /dev/vda -nic none \
        -blockdev "driver=nbd,node-name=disk,server.type=unix,server.path=$1" \
        -device virtio-blk-pci,drive=disk
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# clusters NAME FROM - how many a disk has read so far.
clusters() {
    "$IMG" --control "$1.control" metrics |
        sed -n "s/^unionfs_cache_clusters_total{from=\"$2\"} //p"
}

# measure WAY PARAMETERS... - a guest over a disk with these; the time goes to times.WAY, which
# clusters were read to clusters.WAY.
measure() {
    local way=$1 begun from
    shift
    begun=$(now_ms)
    serve disk "$@" "size=$SIZE" "control=$WORK/disk.control"
    boot "$WORK/disk.sock"
    echo $(($(now_ms) - begun)) >>"times.$way"
    for from in cache server 'another request' 'server, ahead'; do
        clusters disk "$from"
    done | paste -sd' ' >"clusters.$way"
    stop_server disk
}

measure_qcow2() {
    local begun
    rm -f overlay.qcow2
    begun=$(now_ms)
    qemu-img create -q -f qcow2 -F raw -b "$(uri far)" overlay.qcow2
    lower_up qcow2 qemu-nbd --persistent --shared=16 -f qcow2 --socket="$WORK/qcow2.sock" \
        --pid-file="$WORK/qcow2.lower.pid" overlay.qcow2
    boot "$WORK/qcow2.sock"
    echo $(($(now_ms) - begun)) >>times.qcow2
    lower_down qcow2
}

# ---- the base --------------------------------------------------------------------

if [ -z "${GUEST_ROOT:-}" ]; then
    GUEST_ROOT=busybox
    if command -v debootstrap >/dev/null; then GUEST_ROOT=debootstrap; fi
fi
step "a base: $GUEST_ROOT"
case $GUEST_ROOT in
debootstrap) make_debian_system root ;;
busybox) make_busybox_system root ;;
*) fail "GUEST_ROOT=$GUEST_ROOT is neither busybox nor debootstrap" ;;
esac
"$IMG" mkbase dir:root base.img
rm -rf --one-file-system -- root
SIZE=$(stat -c %s base.img)
# A delay for each read stands for the link, because few kernels of test machines have netem. Reads
# wait side by side, as they would on a link, and bandwidth is not limited.
nbdkit_up far --threads=64 --filter=delay file base.img rdelay=$DELAY

# ---- the boots -------------------------------------------------------------------

for round in $(seq "$ROUNDS"); do
    step "round $round: a local base"
    measure local base.img
    step "round $round: a base $DELAY away"
    measure far "$(uri far)"
    step "round $round: with an empty cache"
    rm -f cache
    measure empty "$(uri far)" cache=cache prefetch=off
    step "round $round: with a full cache"
    measure full "$(uri far)" cache=cache prefetch=off
    "$IMG" trace cache >list
    step "round $round: with an empty cache and a list"
    rm -f cache
    measure list "$(uri far)" cache=cache prefetch=list
    step "round $round: a qcow2 overlay of qemu-nbd"
    measure_qcow2
done

# ---- figures ---------------------------------------------------------------------

median() { sort -n "$1" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

local_ms=$(median times.local)
printf '%-34s %8s  %s\n' 'to the login prompt, s' '' 'to local'
while read -r way title; do
    awk -v ms="$(median "times.$way")" -v local="$local_ms" -v title="$title" \
        'BEGIN { printf "%-34s %8.1f  %8.2f\n", title, ms / 1000, ms / local }'
done <<END_OF_WAYS
local a local base
far $DELAY away
empty $DELAY away, empty cache
list $DELAY away, empty cache and a list
full $DELAY away, full cache
qcow2 $DELAY away, qemu-nbd with qcow2
END_OF_WAYS
printf '%-34s %8s %8s %8s %8s\n' 'clusters of 64 KiB read' cache server joined ahead
for way in empty list full; do
    awk -v way="$way" '{ printf "%-34s %8s %8s %8s %8s\n", way, $1, $2, $3, $4 }' "clusters.$way"
done

# awaited WAY - clusters that a request of the guest had to wait for.
awaited() { awk '{ print $2 + $3 }' "clusters.$1"; }
at_first=$(awaited empty)
[ "$at_first" -gt 50 ] || fail "a boot reads nothing: $(cat clusters.empty)"
[ $(($(awaited full) * 20)) -le "$at_first" ] ||
    fail "a full cache asks the server for $(awaited full) clusters of $at_first"
[ $(($(awaited list) * 4)) -le "$at_first" ] ||
    fail "with a list the guest waited for $(awaited list) clusters of $at_first"
step "pass"
