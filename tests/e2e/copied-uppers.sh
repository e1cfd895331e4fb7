#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# copied-uppers.sh - a server is killed while it has acknowledged what it has not flushed, and
# meanwhile its upper was copied. In the upper itself, also after a rename, all of it is there.
# A copy has what was flushed and nothing else, although its machine did not restart, also when
# it takes the place and the inode number of the upper.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

require mke2fs nbdkit nbdsh cp mv
make_work
lower=$WORK/lower.img upper=$WORK/upper.img
mke2fs -q -F -t ext2 -b 4096 "$lower" 16M

run_nbdsh() { PATH=/usr/bin:$PATH nbdsh -u "$(socket_uri disk)" "$@"; }

# check_blocks FILE FLUSHED ACKNOWLEDGED - the first byte of each, as a server of FILE shows it.
check_blocks() {
    serve disk "$lower" "$1" checkpoint=never
    run_nbdsh -c "assert h.pread(1, 8 << 20)[0] == $2, 'what was flushed is not there'" \
        -c "found = h.pread(1, 12 << 20)[0]" \
        -c "assert found == $3, f'{found} where $3 was acknowledged or is old'"
    stop_server disk
}

step "written, flushed, written again, copied, killed"
serve disk "$lower" "$upper" size=64M checkpoint=never
# The server flushes by itself after two seconds, so nothing waits here.
run_nbdsh -c - <<END
import os, subprocess
h.pwrite(b'f' * 4096, 8 << 20)
h.flush()
h.pwrite(b'a' * 4096, 12 << 20)
for copy in "copy", "back":
    subprocess.run(["cp", "--sparse=always", "$upper", "$WORK/" + copy], check=True)
os.kill(${SERVER_PID[disk]}, 9)
END
kill_server disk

step "a copy has what was flushed"
check_blocks "$WORK/copy" 102 0

step "the upper has what was acknowledged, also under another name"
mv -- "$upper" "$WORK/renamed"
check_blocks "$WORK/renamed" 102 97

step "a copy in the place of the upper"
rm -- "$WORK/renamed"
cp --sparse=always -- "$WORK/back" "$upper"
check_blocks "$upper" 102 0
