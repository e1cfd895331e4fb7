#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# random-rounds.sh [--remake] [--without-old] [--seed S] [--rounds N]
# random-rounds.sh --kept             the seeds below, which have found something once
#
# --remake: the layers move many directories away and make others of their names.
# --without-old: the program is not shown OLD, and without_old_model.py says what it must not do.
#
# Random layers, laid over random rebuilds of their lower, against a model by paths.
# Each round makes OLD, NEW and a layer: through the kernel's mount of the served
# disk, or by debugfs. Then `unionfs-img rebase` goes over it by each policy, and
# model.py, which shares no code with it, says what it must tell and make.
# A round that differs prints its seed, the differences and the changes.
#
# Environment, besides what tests/lib/common.sh reads:
#   REBASE_ROUNDS  how many, where no argument says it (default 12)
#   UNIONFS_IMG    the program (default $BUILD_DIR/tools/unionfs-img)
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

UNIONFS_IMG=${UNIONFS_IMG:-$BUILD_DIR/tools/unionfs-img}
rounds_program=$(realpath -- "$(dirname "$0")/random_rounds.py")
# Rounds that once differed, by what differed: a conflict that was not told, or not due; which
# names are one file; a file that was missing; what went with a directory whose name was made
# anew; a link in the place of another file; what both added alike.  Another actions.py makes other
# rounds of them.
kept=(730590 730078 730404 730122 730171 730329 730116 730446 730515 730501 741004 920023 920223
    920323)
seed=1 rounds=${REBASE_ROUNDS:-12} seeds=()
while [ $# -gt 0 ]; do
    case $1 in
    --kept) seeds=("${kept[@]}") ;;
    --remake) export REBASE_REMAKE=1 ;;
    --without-old) export REBASE_WITHOUT_OLD=1 ;;
    --seed) seed=$2 && shift ;;
    --rounds) rounds=$2 && shift ;;
    *) fail "unknown argument $1" ;;
    esac
    shift
done

require mke2fs e2fsck debugfs nbdkit python3
require_kernel_mount
make_work

# change_layer DIRECTORY WAY CHECKPOINT - serves the disk to the kernel or to debugfs.
change_layer() {
    local place=$1 way=$2 target=$WORK/mount
    serve merged "$place/old.img" "$place/upper.img" size=24M "checkpoint=$3"
    if [ "$way" = kernel ]; then
        mount_merged merged "$target"
    else
        attach merged
        target=$WORK/merged.fuse/nbd
    fi
    python3 "$rounds_program" change "$seed" "$place" "$target"
    if [ "$way" = kernel ]; then unmount_merged merged; else detach merged; fi
    stop_server merged
}

# Names that fill a block are shown short.
shorten() { sed "s/x\{20,\}/x~/g${1:+; s/^/  $1: /}"; }

failed=0
if [ ${#seeds[@]} = 0 ]; then mapfile -t seeds < <(seq "$seed" $((seed + rounds - 1))); fi
for seed in "${seeds[@]}"; do
    place=$WORK/round
    mkdir "$place"
    read -r way checkpoint < <(python3 "$rounds_program" make "$seed" "$place")
    change_layer "$place" "$way" "$checkpoint"
    if ! python3 "$rounds_program" judge "$seed" "$place" "$UNIONFS_IMG" | shorten; then
        failed=$((failed + 1))
        shorten N <"$place/new.txt"
        shorten L <"$place/layer.txt"
    fi
    rm -rf -- "$place"
done
[ "$failed" = 0 ] || fail "$failed of ${#seeds[@]} rounds differ from the model"
