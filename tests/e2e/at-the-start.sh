#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What would stop the first client is an error of the start: the server ends, says why, and
# leaves nothing behind.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

require mke2fs nbdinfo setpriv mount
[ "$(id -u)" = 0 ] || skip "other users and mounts need root"
make_work
cd "$WORK"
chmod 755 .

# Other users may not get to where the build is, as below /root.
mkdir build
read -ra libraries <<<"${SANITIZE_PRELOAD:-}"
cp -- "$UNIONFS_PLUGIN" "${libraries[@]}" build/
UNIONFS_PLUGIN=$WORK/build/${UNIONFS_PLUGIN##*/}
if [ "${#libraries[@]}" -gt 0 ]; then
    libraries=("${libraries[@]##*/}")
    SANITIZE_PRELOAD="${libraries[*]/#/$WORK/build/}"
fi

AS=()

# start ARGS... - one start with one client; leaves STATUS and the file said.
start() {
    STATUS=0
    (
        use_sanitizer
        # shellcheck disable=SC2016 # nbdkit's shell expands $uri
        exec timeout 60 "${AS[@]}" nbdkit "${NBDKIT_FLAGS[@]}" -U - "$UNIONFS_PLUGIN" "$@" \
            --run 'echo started; env -u LD_PRELOAD nbdinfo --size "$uri"'
    ) >said 2>&1 </dev/null || STATUS=$?
}

# refuse PATTERN ARGS... - the server does not start, and says why.
refuse() {
    local pattern=$1
    shift
    start "$@"
    if [ "$STATUS" = 0 ] || grep -q started said || ! grep -qe "$pattern" said; then
        cat said >&2
        fail "$*: was not refused at the start with $pattern"
    fi
}

accept() {
    start "$@"
    [ "$STATUS" = 0 ] || fail "$*: $(cat said)"
}

mkdir -p tree closed full read-only
echo below >tree/file
truncate -s 20M lower.img
mke2fs -q -t ext2 -b 1024 -d tree lower.img
chmod 644 lower.img

step "directories in which nothing can be made"
chmod 555 closed
AS=(setpriv --reuid=65534 --regid=65534 --clear-groups)
refuse 'closed/upper.img: cannot create: Permission denied' "$WORK/lower.img" "$WORK/closed/upper.img"
TMPDIR=$WORK/closed refuse 'cannot create a temporary upper: Permission denied' "$WORK/lower.img"
AS=()
mount -t tmpfs -o size=64k tmpfs full
refuse 'full/upper.img: .*No space left on device' lower.img full/upper.img
TMPDIR=$WORK/full refuse 'temporary upper: .*No space left on device' lower.img
mount -t tmpfs -o size=64M tmpfs read-only
accept lower.img read-only/upper.img size=64M
mount -o remount,ro read-only
refuse 'read-only/other.img: .*Read-only file system' lower.img read-only/other.img
refuse 'read-only/upper.img: .*Read-only file system' lower.img read-only/upper.img

step "no such directory, and a link that leads nowhere"
refuse 'nowhere/upper.img: cannot create' lower.img nowhere/upper.img
TMPDIR=/nonexistent refuse '/nonexistent: cannot create a temporary upper' lower.img
ln -s nowhere/upper.img link
refuse 'link: is a symbolic link that leads to no file' lower.img link

step "a server that only reads needs none of it"
NBDKIT_FLAGS=(-r)
accept lower.img full/upper.img
accept lower.img read-only/upper.img
accept lower.img read-only/other.img
TMPDIR=/nonexistent accept lower.img
NBDKIT_FLAGS=()

[ -z "$(find closed full nowhere -mindepth 1 2>/dev/null)" ] || fail "something was left"
step "pass"
