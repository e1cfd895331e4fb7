#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The plugin's manual against the plugin: each parameter that `nbdkit PLUGIN --help`
# names has its item in the manual and the other way round, the examples name no
# other parameter, and the text is valid POD that becomes a manual page.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
require nbdkit podchecker pod2man
make_work

POD=$(dirname "$0")/../../plugin/nbdkit-unionfs-plugin.pod

# plugin ARGS... - nbdkit with the plugin.
plugin() {
    (use_sanitizer && exec nbdkit "$UNIONFS_PLUGIN" "$@")
}

step "parameters"
plugin --help >"$WORK/help"
# "[lower=]<FILE>" and "size=<SIZE>" after the description line.
grep -oE '^ *\[?[a-z][a-z-]*=' "$WORK/help" | tr -d ' []=' | sort -u >"$WORK/in-help"
grep -E '^=item .*B<[a-z][a-z-]*=>' "$POD" | grep -oE 'B<[a-z][a-z-]*=>' |
    sed 's/^B<//; s/=>$//' | sort -u >"$WORK/in-manual"
[ -s "$WORK/in-help" ] || fail "--help names no parameter: $(cat "$WORK/help")"
diff -u "$WORK/in-help" "$WORK/in-manual" ||
    fail "--help (-) and the manual (+) name different parameters"

# What the synopsis and the examples give to the plugin: KEY=... on a line with nbdkit.
sed -n '/^ .*nbdkit .*unionfs/p' "$POD" | grep -oE '[ []([a-z]+)=' |
    tr -d ' []=' | sort -u >"$WORK/in-examples"
[ -z "$(comm -13 "$WORK/in-help" "$WORK/in-examples")" ] ||
    fail "examples use parameters that do not exist: $(comm -13 "$WORK/in-help" "$WORK/in-examples")"

step "each parameter is taken by the plugin"
while read -r name; do
    # It may dislike the value, but must know the name.
    plugin "$name=$WORK/missing" --run true >"$WORK/said" 2>&1 || true
    ! grep -q "unknown parameter" "$WORK/said" || fail "$name= is unknown to the plugin"
done <"$WORK/in-help"
plugin "nonsense=1" --run true >"$WORK/said" 2>&1 || true
grep -q "unknown parameter" "$WORK/said" || fail "nonsense=1 was taken: $(cat "$WORK/said")"

step "the text"
podchecker -warnings -warnings "$POD" >"$WORK/podchecker" 2>&1 || {
    cat "$WORK/podchecker" >&2
    fail "podchecker finds errors"
}
! grep -q WARNING "$WORK/podchecker" || {
    cat "$WORK/podchecker" >&2
    fail "podchecker warns"
}
PAGE=$BUILD_DIR/plugin/nbdkit-unionfs-plugin.1
[ -s "$PAGE" ] || fail "the build made no manual page"
for section in NAME SYNOPSIS DESCRIPTION EXAMPLES PARAMETERS DURABILITY LIMITATIONS FILES \
    "SEE ALSO"; do
    grep -qE "^\\.SH \"?$section\"?\$" "$PAGE" || fail "the manual page has no section $section"
done
step "pass"
