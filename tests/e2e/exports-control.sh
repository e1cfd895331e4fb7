#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The control socket of a server of many disks: what it tells of the open ones, what it has done
# with one of them, and what a snapshot of one leaves in the directory.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/exports.sh
. "$(dirname "$0")/../lib/exports.sh"

require mke2fs nbdsh curl debugfs
IMG=$BUILD_DIR/tools/unionfs-img
HERE=$(realpath "$(dirname "$0")")
make_work
cd "$WORK"

mkdir -p uppers/directory.img
make_lower
"$IMG" create -b lower.img uppers/closed.img >/dev/null

step "every answer"
serve disks lower.img dir=uppers checkpoint=never control=control.sock default-export=closed
wait_for_socket control.sock
PATH=/usr/bin:$PATH python3 "$HERE/exports_control.py" control.sock "$WORK/disks.sock" \
    "$HERE/../../docs/control.openapi.yaml" "$HERE/../../docs/control.md" "$WORK/uppers"

step "unionfs-img asks"
"$IMG" --control control.sock info >said
grep -qE '^  name anna, clients 0, has-upper yes, checkpoints \(made 1, refused 0\)' said || fail "info says $(cat said)"
write_at d%201 first
"$IMG" --control control.sock --export 'd 1' flush | grep -q '^seconds: ' || fail "flush"
"$IMG" --control control.sock --export 'd 1' snapshot 'd 1.monday' >said || fail "snapshot"
write_at d%201 second
deadline=$((SECONDS + 60))
until "$IMG" --control control.sock info | grep -q '^  name d 1, clients 0,'; do
    [ "$SECONDS" -lt "$deadline" ] || fail "the client does not go"
    sleep 0.02
done
"$IMG" --control control.sock --export 'd 1' checkpoint | grep -qx 'done: yes' || fail "checkpoint"
"$IMG" --control control.sock --export 'd 1' info >said
grep -q "^  kind frozen, path $WORK/uppers/d 1.monday, " said || fail "info says $(cat said)"
if "$IMG" --control control.sock --export none info >said 2>&1; then
    fail "an export that is none is told of"
fi
grep -q 'there is no export "none"' said || fail "of no export: $(cat said)"
if "$IMG" --control control.sock checkpoint >said 2>&1; then
    fail "a checkpoint without a name"
fi
grep -q 'say which' said || fail "of a checkpoint without a name: $(cat said)"

step "an upper over a snapshot is an export, beside the one that was frozen"
"$IMG" create -b lower.img -b 'uppers/d 1.monday' uppers/fork.img >/dev/null
read_at fork first
write_at fork third
read_at d%201 second
kill_server disks
serve disks lower.img dir=uppers control=control.sock
read_at fork third
read_at d%201 second
stop_server disks
[ ! -e control.sock ] || fail "the socket is still there"
for name in 'd 1' fork; do
    check_layer_clean "uppers/$name.img" copy.img
done

step "a server that only reads"
NBDKIT_FLAGS=(-r)
serve disks lower.img dir=uppers control=control.sock
NBDKIT_FLAGS=()
wait_for_socket control.sock
read_at fork third
at fork "import subprocess
for what in ('checkpoint', 'snapshot'):
    said = subprocess.run(['curl', '-s', '--unix-socket', 'control.sock', '-d', '{\"name\": \"x\"}',
                           'http://disk/v1/%s?export=fork' % what], capture_output=True).stdout
    assert b'only reads' in said, said"
stop_server disks
step "pass"
