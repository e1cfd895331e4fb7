#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# ./demo.sh runs to its end, with the means of this machine and without any, shows what
# it promises to show, and leaves nothing behind.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
require nbdkit nbdcopy nbdsh debugfs mke2fs e2fsck
[ -z "${SANITIZE_PRELOAD:-}" ] || skip "the demonstration is for the plugin as users have it"
make_work

# demonstrate WAY - runs it with ATTACH=WAY.
demonstrate() {
    local line
    step "ATTACH=$1"
    mkdir -p "$WORK/scratch"
    ATTACH=$1 TMPDIR=$WORK/scratch "$(dirname "$0")/../../demo.sh" >"$WORK/demo.log" 2>&1 </dev/null ||
        fail "demo.sh ended with status $?"
    for line in '^\$ nbdkit -U ' 'new-directory/LICENSE' '^lower.img: OK$' '^added +/new-directory' 'upper.img.before-rebase' '^name: monday.img$' '^export="bert"' ' anna.img$'; do
        grep -qE -- "$line" "$WORK/demo.log" || fail "demo.sh did not show $line"
    done
    [ -z "$(ls -A "$WORK/scratch")" ] || fail "demo.sh left $(ls -A "$WORK/scratch")"
}

demonstrate libnbd
if [ "$(id -u)" = 0 ] && [ -c /dev/fuse ] && losetup --find >/dev/null 2>&1; then
    demonstrate nbdfuse
    [ -z "$(losetup --list --noheadings --output BACK-FILE | grep "^$WORK" || true)" ] ||
        fail "demo.sh left a loop device"
fi
step "pass"
