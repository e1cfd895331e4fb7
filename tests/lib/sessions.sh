# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Sessions without a mount, so without root.  Sourced after common.sh.
#
#   debugfs_session LOWER UPPER ARGS -- REQUEST...
#       serves both with more ARGS, and writes to the disk what the REQUESTs of
#       debugfs change in a copy of it; there is no checkpoint. Blocks have 1 KiB.
#       A request "patch FILE OFFSET TEXT" writes over bytes of a file, and leaves
#       its inode alone.

# Everything that debugfs and e2fsck note is of this moment.
export E2FSPROGS_FAKE_TIME=1700000000 E2FSCK_TIME=1700000000

# The blocks in which the disk differs from the file in $WANTED, one write each.
_WRITE_DIFFERENCES='
import os
wanted = open(os.environ["WANTED"], "rb").read()
for offset in range(0, h.get_size(), 1024):
    block = wanted[offset:offset + 1024]
    if h.pread(len(block), offset) != block:
        h.pwrite(block, offset)
h.flush()
'

_patch() {
    local image=$1 file=$2 offset=$3 text=$4 block
    block=$(debugfs -R "bmap $file $((offset / 1024))" "$image" 2>/dev/null)
    [ "$block" -gt 0 ] || fail "patch: $file has no block at $offset"
    printf '%s' "$text" |
        dd of="$image" bs=1 seek=$((block * 1024 + offset % 1024)) conv=notrunc status=none
}

debugfs_session() {
    local lower=$1 upper=$2 arguments=() request words status=0
    local wanted=$WORK/wanted.img
    shift 2
    while [ "$1" != -- ]; do
        arguments+=("$1")
        shift
    done
    shift
    serve session "lower=$lower" "upper=$upper" checkpoint=never "${arguments[@]}"
    save_image session "$wanted"
    for request in "$@"; do
        if [[ $request == "patch "* ]]; then
            read -ra words <<<"$request"
            _patch "$wanted" "${words[1]}" "${words[2]}" "${words[3]}"
        else
            debugfs -w -R "$request" "$wanted" >>"$WORK/debugfs.txt" 2>&1
        fi
    done
    # debugfs leaves counts of links and directories to e2fsck.
    e2fsck -fy "$wanted" >"$WORK/e2fsck.txt" 2>&1 || status=$?
    [ "$status" -le 1 ] || fail "e2fsck: $(cat "$WORK/e2fsck.txt")"
    check_clean "$wanted"
    WANTED=$wanted PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri session)" -c "$_WRITE_DIFFERENCES"
    stop_server session
}
