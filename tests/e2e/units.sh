#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The units for systemd are valid, and nbdkit knows the options in them.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

require systemd-analyze nbdkit
make_work
UNITS=$(realpath -- "$(dirname "$0")/../../dist/systemd")

step "units"
found=0
for unit in "$UNITS"/*@.*; do
    name=${unit##*/}
    cp -- "$unit" "$WORK/${name/@./@test.}"
    found=$((found + 1))
done
[ "$found" = 4 ] || fail "$found units and not 4"
cd "$WORK"
systemd-analyze verify --man=no ./*@test.socket ./*@test.service >verified 2>&1 ||
    fail "systemd-analyze: $(cat verified)"
if grep -E 'unionfs.*(Unknown|Failed to parse|ignoring)' verified; then
    fail "systemd-analyze complains"
fi

step "options"
nbdkit --long-options >options
for unit in "$UNITS"/*.service; do
    grep -oE '^ExecStart=.*' "$unit" | grep -oE -- '--[a-z-]+' | while read -r option; do
        grep -qxF -- "$option" options || fail "nbdkit has no option $option"
    done
done
