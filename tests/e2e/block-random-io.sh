#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# block-random-io.sh [SEED]
#
# Random requests at any alignment over several connections, each answer compared
# with a byte model; the server is killed, stopped and started in between, also under
# the running client, and the disk must still be what the model says. Bytes are bytes:
# superblock, bitmaps and inode tables are overwritten like all else. Afterwards the
# layer in the upper must still be clean and the lower the same, byte for byte.
#
# Environment, besides what tests/lib/common.sh reads:
#   BLOCK_SIZES      block sizes of the lowers (default: 1024 2048 4096)
#   OPERATIONS       requests per run, three runs per lower (default 3000)
#   CONNECTIONS      default 4
#   MERGED_MIB       size of the merged image (default 320)
#   BLOCK_RANDOM_IO  the program (default $BUILD_DIR/tests/block/block-random-io)
#   STAND_IN         if not empty, serve a plain copy with UNIONFS_PLUGIN (say,
#                    "file"): tests this test where there is no union to test
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/block/images.sh
. "$(dirname "$0")/../block/images.sh"

SEED=${1:-$RANDOM}
BLOCK_SIZES=${BLOCK_SIZES:-1024 2048 4096}
OPERATIONS=${OPERATIONS:-3000}
CONNECTIONS=${CONNECTIONS:-4}
BLOCK_RANDOM_IO=${BLOCK_RANDOM_IO:-$BUILD_DIR/tests/block/block-random-io}
# A run that takes longer hangs; it is told before the whole test is cut off.
RUN_TIMEOUT=${RUN_TIMEOUT:-$(((200 + OPERATIONS / 30) * SLOWNESS))}

require mke2fs e2fsck resize2fs nbdkit sha256sum timeout
[ -x "$BLOCK_RANDOM_IO" ] || fail "there is no program $BLOCK_RANDOM_IO"
make_work
echo "seed $SEED"
RANDOM=$SEED

# random_io NUMBER OPTIONS... - each run of a lower has its number, so that it goes other
# ways than the runs before it.
random_io() {
    local number=$1
    shift
    timeout "$RUN_TIMEOUT" "$BLOCK_RANDOM_IO" --uri "$(socket_uri disk)" \
        --state "$WORK/state" --seed "$((SEED * 100 + number))" --operations "$OPERATIONS" \
        --connections "$CONNECTIONS" --hot "$LOWER_SIZE" "$@"
}

# The client goes on while the server dies and another takes its place, twice. It waits for
# both deaths, so that each server must die after the client has come to it.
random_io_through_kills() {
    local client status=0 deaths
    : >"$WORK/client.log"
    random_io 3 --resume --reconnect 60 --until-reconnections 2 >"$WORK/client.log" &
    client=$!
    for deaths in 0 1; do
        until grep -q "^connected, $deaths reconnections" "$WORK/client.log"; do
            kill -0 "$client" 2>/dev/null || break 2
            sleep 0.02
        done
        sleep "0.$((RANDOM % 700 + 200))"
        kill_server disk
        serve disk "${IMAGES[@]}"
    done
    wait "$client" || status=$?
    cat "$WORK/client.log"
    [ "$status" = 0 ] || fail "the client that was to carry on ended with status $status"
}

for block_size in $BLOCK_SIZES; do
    step "lower with $block_size-byte blocks: a new session"
    make_images "$block_size"
    serve disk "${IMAGES[@]}"
    random_io 1 --everything

    step "after kill -9"
    kill_server disk
    serve disk "${IMAGES[@]}"
    random_io 2 --verify-only
    random_io 2 --resume

    step "kill -9 under a client that carries on"
    random_io_through_kills

    step "after a clean stop"
    stop_server disk
    serve disk "${IMAGES[@]}"
    random_io 3 --verify-only
    stop_server disk
    check_layer
    check_lower_untouched
done
