#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# One server of many disks: the exports of a directory, as clients see them.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/exports.sh
. "$(dirname "$0")/../lib/exports.sh"

require mke2fs debugfs nbdinfo nbdsh e2fsck
make_work
cd "$WORK"

listed() { PATH=/usr/bin:$PATH nbdinfo --list --json "$(uri "")" |
    sed -n 's/.*"export-name": "\(.*\)",/\1/p' | sort | tr '\n' ' '; }

expect() { [ "$1" = "$2" ] || fail "$3: $2 and not $1"; }


step "a directory that is none, and parameters that do not go together"
mkdir uppers
make_lower
WRITE="
h.pwrite(name.encode().ljust(512), $PLACE)
h.flush()
"
READ="
assert h.pread(512, $PLACE) == name.encode().ljust(512), name
"
for words in 'dir=nowhere' 'dir=lower.img' 'dir=uppers upper=u.img' 'dir=uppers control=lower.img' \
    'create=no' 'dir=uppers default-export=a/b' 'dir=uppers max-exports=x' 'dir=uppers create=?'; do
    # shellcheck disable=SC2086  # several words
    if (use_sanitizer && exec nbdkit -f -U "$WORK/none.sock" "$UNIONFS_PLUGIN" lower.img $words) \
        >start.log 2>&1 </dev/null; then
        fail "a server started with $words"
    fi
    [ -s start.log ] || fail "nothing was said of $words"
done
[ -z "$(ls -A uppers)" ] || fail "a server that did not start left $(ls -A uppers)"

step "a name gets a file when it is written"
serve disks lower.img dir=uppers default-export=anna max-exports=3
expect "" "$(listed | tr -d ' ')" "exports of an empty directory"
at anna 'h.pread(4096, 0)'
[ -z "$(ls -A uppers)" ] || fail "a client that read left $(ls -A uppers)"
at anna "name = 'anna'$WRITE"
at bert "name = 'bert'$WRITE"
at "" "name = 'anna'$READ"
at bert "name = 'bert'$READ"
expect "anna.img bert.img " "$(find uppers -type f -printf '%f\n' | sort | tr '\n' ' ')" "files"
expect "anna bert " "$(listed)" "exports"

step "names that leave the directory, or are no text"
refused a%2Fb 'has a slash'
refused .. 'begins with a dot'
refused .hidden 'begins with a dot'
refused a%0Ab 'no plain text'
refused "$(printf '%0250d' 0)" 'longer than 220 bytes'
ln -s anna.img uppers/link.img
refused link 'is not a regular file'
at carl "name = 'carl'$WRITE"
refused dora 'max-exports=3'

step "each has its checkpoint"
said 'anna.img: checkpoint made'
said 'bert.img: checkpoint made'
said 'carl.img: checkpoint made'

step "a server that is killed loses none"
at anna "name = 'anna2'$WRITE"
kill_server disks
serve disks lower.img dir=uppers create=no
at anna "name = 'anna2'$READ"
at bert "name = 'bert'$READ"
refused dora 'create=no'
refused "" 'default-export'
stop_server disks
for name in anna bert carl; do
    check_layer_clean "uppers/$name.img" copy.img
done
[ ! -e uppers/dora.img ] || fail "create=no created"

step "a server that only reads"
NBDKIT_FLAGS=(-r)
serve disks lower.img dir=uppers
at anna "name = 'anna2'$READ
assert h.is_read_only()"
at dora 'assert h.is_read_only()'
stop_server disks
[ ! -e uppers/dora.img ] || fail "a server that only reads created a file"
