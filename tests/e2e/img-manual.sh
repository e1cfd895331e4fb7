#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The manual of unionfs-img against the program: commands and options that --help
# names are in the manual and the other way round.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
require podchecker
make_work

IMG=$BUILD_DIR/tools/unionfs-img
POD=$(dirname "$0")/../../tools/unionfs-img.pod

step "commands"
"$IMG" --help >"$WORK/help"
sed -n '/^Subcommands:/,$p' "$WORK/help" | sed -nE 's/^ +([a-z]+) .*/\1/p' | sort >"$WORK/in-help"
sed -nE 's/^=head2 ([a-z]+)$/\1/p' "$POD" | sort >"$WORK/in-manual"
[ -s "$WORK/in-help" ] || fail "--help names no command"
diff -u "$WORK/in-help" "$WORK/in-manual" || fail "--help (-) and the manual (+) differ in commands"
sed -nE 's/^ unionfs-img ([a-z]+) .*/\1/p' "$POD" | sort -u >"$WORK/in-synopsis"
diff -u "$WORK/in-help" "$WORK/in-synopsis" || fail "the synopsis lacks commands"

step "options"
# Every word of an option's line of help that begins with a dash.
options_of() { sed -nE 's/^ +(-[-a-zA-Z0-9]+(,-[-a-zA-Z]+)*).*/\1/p' | tr ',' '\n'; }
{
    options_of <"$WORK/help"
    "$IMG" --control none --help | options_of
    while read -r command; do "$IMG" "$command" --help | options_of; done <"$WORK/in-help"
} | sort -u >"$WORK/options-in-help"
grep -E '^=item B<-' "$POD" | grep -oE 'B<-[-a-zA-Z0-9]+>' | sed 's/^B<//; s/>$//' |
    sort -u >"$WORK/options-in-manual"
[ "$(wc -l <"$WORK/options-in-help")" -gt 5 ] || fail "too few options in --help"
diff -u "$WORK/options-in-help" "$WORK/options-in-manual" ||
    fail "--help (-) and the manual (+) name different options"

step "each synopsis line names the options of its command and no other"
while read -r command; do
    # Some have none.
    "$IMG" "$command" --help | options_of | { grep -vE '^(--lower|--size|--long|--recursive|--directory|--null|--output|-h|--help)$' || true; } |
        sort >"$WORK/of-command"
    # A synopsis may go on in the next line.
    awk -v RS= -v command="$command" '/^ unionfs-img / && $2 == command { print; exit }' "$POD" |
        { grep -oE -- '[ []-[-a-zA-Z0-9]+' || true; } | tr -d ' [' | sort >"$WORK/of-synopsis"
    diff -u "$WORK/of-command" "$WORK/of-synopsis" || fail "the synopsis of $command"
done <"$WORK/in-help"

step "the text"
podchecker -warnings -warnings "$POD" >"$WORK/podchecker" 2>&1 || fail "podchecker finds errors"
! grep -q WARNING "$WORK/podchecker" || fail "podchecker warns: $(cat "$WORK/podchecker")"
for section in NAME SYNOPSIS DESCRIPTION COMMANDS OPTIONS EXAMPLES "EXIT STATUS" "SEE ALSO"; do
    grep -qx "=head1 $section" "$POD" || fail "the manual has no section $section"
done
step "pass"
