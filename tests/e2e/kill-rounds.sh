#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# kill-rounds.sh [SEED]
#
# kill -9 of the server at random moments: while it makes a new upper, while it opens,
# at the first request, in the middle of traffic, of big writes and of flushes, and when
# all is quiet. What was acknowledged must be there after each, what was in flight must
# have happened or not, sector by sector.
#
# Environment, besides what tests/lib/common.sh reads:
#   BLOCK_SIZES        block sizes of the lowers (default: 1024 4096)
#   ROUNDS             starts of the server per lower (default 13: each kind of moment)
#   CREATIONS          kills during the making of an upper, per lower (default 8)
#   CONNECTIONS        default 4
#   MERGED_MIB         size of the merged image (default 320)
#   BLOCK_KILL_ROUNDS  the program (default $BUILD_DIR/tests/block/block-kill-rounds)
#   STAND_IN           if not empty, serve a plain copy with UNIONFS_PLUGIN (say,
#                      "file"): tests this test where there is no union to test
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/block/images.sh
. "$(dirname "$0")/../block/images.sh"

SEED=${1:-$RANDOM}
BLOCK_SIZES=${BLOCK_SIZES:-1024 4096}
ROUNDS=${ROUNDS:-13}
CREATIONS=${CREATIONS:-8}
CONNECTIONS=${CONNECTIONS:-4}
BLOCK_KILL_ROUNDS=${BLOCK_KILL_ROUNDS:-$BUILD_DIR/tests/block/block-kill-rounds}
# A run that takes longer hangs; it is told before the whole test is cut off.
RUN_TIMEOUT=${RUN_TIMEOUT:-$(((200 + ROUNDS * 15) * SLOWNESS))}

require mke2fs e2fsck resize2fs nbdkit nbdinfo sha256sum timeout
[ -x "$BLOCK_KILL_ROUNDS" ] || fail "there is no program $BLOCK_KILL_ROUNDS"
make_work
echo "seed $SEED"
RANDOM=$SEED

# A server that dies while it makes the upper leaves none or a whole one: the next
# server starts, and the layer is clean. The upper is made when the first client comes.
kill_creations() {
    local creator client status uri="nbd+unix:///?socket=$WORK/creator.sock"
    for _ in $(seq "$CREATIONS"); do
        rm -f -- "$UPPER" "$WORK/creator.sock"
        (
            use_sanitizer
            exec nbdkit --exit-with-parent -f -U "$WORK/creator.sock" "$UNIONFS_PLUGIN" \
                "${IMAGES[@]}"
        ) >>"$WORK/creator.log" 2>&1 </dev/null &
        creator=$!
        while [ ! -S "$WORK/creator.sock" ] && kill -0 "$creator" 2>/dev/null; do sleep 0.002; done
        nbdinfo --size "$uri" >/dev/null 2>&1 &
        client=$!
        sleep "0.0$(printf %02d $((RANDOM % 50)))"
        kill -KILL "$creator" 2>/dev/null || true
        status=0
        wait "$creator" 2>/dev/null || status=$?
        [ "$status" = 137 ] || fail "the server ended with status $status before it was killed"
        wait "$client" || true
        serve disk "${IMAGES[@]}"
        nbdinfo --size "$(socket_uri disk)" >/dev/null || fail "no upper after a killed creation"
        stop_server disk
        check_layer
    done
}

for block_size in $BLOCK_SIZES; do
    step "lower with $block_size-byte blocks: killed while it makes an upper"
    make_images "$block_size"
    kill_creations

    step "killed at work"
    timeout "$RUN_TIMEOUT" "$BLOCK_KILL_ROUNDS" --seed "$SEED" --rounds "$ROUNDS" \
        --connections "$CONNECTIONS" --hot "$LOWER_SIZE" --socket "$WORK/killed.sock" -- \
        nbdkit -f -U "$WORK/killed.sock" "$UNIONFS_PLUGIN" "${IMAGES[@]}"
    check_layer
    check_lower_untouched
done
