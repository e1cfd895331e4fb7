#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# How much memory each changed file takes: of `unionfs-img diff`, `export` and `rebase`, by the
# peaks over a small and a larger layer. docs/rebase.md says what they are.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
require mke2fs python3
[ -z "${SANITIZE_PRELOAD:-}" ] || skip "sanitizers take memory of their own"
MEMORY=$(realpath -- "$(dirname "$0")/memory.py")
IMG=$BUILD_DIR/tools/unionfs-img
make_work
cd "$WORK"

# Name, files, and which text each has.
image() {
    rm -rf tree
    python3 "$MEMORY" tree tree "$2" "$3"
    truncate -s 128M "$1"
    mke2fs -q -t ext2 -b 4096 -I 256 -N 16384 -d tree "$1"
}

SMALL=500 LARGE=6500
for count in "$SMALL" "$LARGE"; do
    step "a layer that changes all of $count files"
    image "old.$count" "$count" old
    cp "old.$count" "new.$count"
    debugfs -w -R "write $MEMORY of-theirs" "new.$count" >debugfs.log 2>&1
    debugfs -R "stat /of-theirs" "new.$count" 2>&1 | grep -q 'Type: regular' || fail "$(cat debugfs.log)"
    image "changed.$count" "$count" changed
    "$IMG" import -b "old.$count" "upper:changed.$count" "upper.$count" >import.log
    "$IMG" diff --stat -b "old.$count" "upper.$count" >stat
    grep -q "\b$count modified" stat || fail "not all of $count files are changed: $(cat stat)"
done

# What it is, the most bytes for each file, and its arguments; N is the number of files.
slope() {
    local what=$1 most=$2
    shift 2
    step "$what: at most $most bytes for each file"
    rm -f out.*
    python3 -I -S "$MEMORY" slope "$what" "$most" "$SMALL" "$LARGE" "$IMG" "$@"
}

slope diff 800 diff -b old.N upper.N
slope export 1300 export --format tar -b old.N upper.N out.N
slope rebase 2300 rebase -b old.N --onto new.N -o out.N upper.N
