# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The images of the block tests, and what must be true of them afterwards. Sourced
# after common.sh. Reads MERGED_MIB and STAND_IN; see block-random-io.sh.
#
# shellcheck disable=SC2034 # what it sets is for the tests that source it

MERGED_MIB=${MERGED_MIB:-320}
STAND_IN=${STAND_IN:-}
LOWER_SIZE=$((48 << 20))
IMAGES=()
# How many times as long a run may take.
SLOWNESS=${SANITIZE_PRELOAD:+4}
SLOWNESS=${SLOWNESS:-1}

# make_images BLOCK_SIZE - a lower full of files, no upper; IMAGES is what to serve.
make_images() {
    local block_size=$1 tree=$WORK/tree number
    LOWER=$WORK/lower.img UPPER=$WORK/upper.img
    rm -f -- "$LOWER" "$UPPER" "$WORK/plain.img"
    if [ ! -d "$tree" ]; then
        mkdir -p "$tree/sub"
        for number in 1 2 3 4; do
            seq "$number" "$number" 900000 >"$tree/big$number"
        done
        for number in $(seq 300); do
            seq "$number" $((number * 9)) >"$tree/sub/small$number"
        done
    fi
    truncate -s "$LOWER_SIZE" "$LOWER"
    mke2fs -q -F -t ext2 -b "$block_size" -I 256 -d "$tree" "$LOWER"
    LOWER_SUM=$(sha256sum <"$LOWER") LOWER_TIMES=$(stat -c '%Y %Z' "$LOWER")
    IMAGES=("$LOWER" "$UPPER" "size=${MERGED_MIB}M")
    if [ -n "$STAND_IN" ]; then
        cp --sparse=always "$LOWER" "$WORK/plain.img"
        truncate -s "${MERGED_MIB}M" "$WORK/plain.img"
        resize2fs "$WORK/plain.img" >/dev/null 2>&1
        IMAGES=("$WORK/plain.img")
    fi
}

# Contract: the lower is never written; not one byte, not a timestamp.
check_lower_untouched() {
    [ "$(sha256sum <"$LOWER")" = "$LOWER_SUM" ] || fail "the lower has changed"
    [ "$(stat -c '%Y %Z' "$LOWER")" = "$LOWER_TIMES" ] || fail "the lower's times have changed"
}

# Contract: whatever a session holds, the layer below it stays clean for a stock e2fsck.
check_layer() { [ -n "$STAND_IN" ] || check_layer_clean "$UPPER" "$WORK/layer.img"; }
