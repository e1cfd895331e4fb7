#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# No shell script has anything that shellcheck would complain of.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
require shellcheck
cd "$(dirname "$0")/../.."

# What git knows, and what is not committed yet; without git, all there is.
mapfile -t scripts < <(
    { git ls-files --cached --others --exclude-standard 2>/dev/null || find . -type f; } |
        sed 's,^\./,,' | grep -E '(\.sh|^\.ci/run)$' | grep -v '^build' | sort
)
[ "${#scripts[@]}" -gt 10 ] || fail "only ${#scripts[@]} scripts were found"
status=0
for script in "${scripts[@]}"; do
    shell=bash
    # Guests have nothing but busybox.
    [[ $script != tests/guest/inside/* ]] || shell=dash
    shellcheck --external-sources --shell="$shell" "$script" || status=1
done
[ "$status" = 0 ] || fail "shellcheck complains"
step "${#scripts[@]} scripts"
