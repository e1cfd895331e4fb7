#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The control socket of a served disk: what it answers, what it counts, and whom it refuses.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

require mke2fs nbdsh curl setpriv
IMG=$BUILD_DIR/tools/unionfs-img
HERE=$(realpath "$(dirname "$0")")
make_work
cd "$WORK"

# refused MESSAGE ARGS... - nbdkit does not start, and says so.
refused() {
    local message=$1
    shift
    if (use_sanitizer && exec nbdkit -f -U "$WORK/refused.sock" "$UNIONFS_PLUGIN" lower.img "$@") \
        >said 2>&1 </dev/null; then
        fail "$*: was not refused"
    fi
    grep -q -e "$message" said || fail "$*: says $(cat said)"
}

mkdir tree
echo below >tree/file
truncate -s 20M lower.img
mke2fs -q -t ext2 -b 1024 -d tree lower.img

step "what is asked, counted, flushed, and made a layer"
serve disk lower.img upper.img control=control.sock checkpoint=never
wait_for_socket control.sock
[ "$(stat -c %a control.sock)" = 600 ] || fail "the socket has mode $(stat -c %a control.sock)"
PATH=/usr/bin:$PATH python3 "$HERE/control.py" control.sock "$(socket_uri disk)" \
    "$HERE/../../docs/control.openapi.yaml" "$HERE/../../docs/control.md"

step "unionfs-img asks"
"$IMG" --control control.sock info >said
grep -qx 'checkpoint: never' said || fail "info says $(cat said)"
grep -q "^  kind frozen, path $WORK/level-1, merged-size " said || fail "info says $(cat said)"
"$IMG" --control=control.sock info --output=json | python3 -m json.tool >/dev/null || fail "info is no JSON"
"$IMG" --control control.sock metrics | grep -q '^unionfs_clients 0$' || fail "metrics lack clients"
"$IMG" --control control.sock flush | grep -q '^seconds: ' || fail "flush says nothing"
"$IMG" --control control.sock checkpoint >said || fail "checkpoint"
grep -qx 'done: yes' said || fail "checkpoint says $(cat said)"
"$IMG" --control control.sock info >said
[ "$(grep -c '^  kind ' said)" = 3 ] || fail "the checkpoint left the levels $(cat said)"
own=$("$IMG" info upper.img | sed -n 's/^layer: .* \([0-9]*\) own blocks.*/\1/p')
grep -qE "^  kind upper, path $WORK/upper.img, .*, own-blocks $own(,|$)" said ||
    fail "own blocks are $own, and not $(cat said)"
chain=$("$IMG" info upper.img | sed -n 's/^stands on: .* chain digest \([0-9a-f]*\).*/\1/p')
grep -q "^  kind frozen, path $WORK/level-1, .*, digest ${chain:?}" said ||
    fail "it stands on the chain $chain, and not on $(cat said)"
# cannot MESSAGE ARGS... - unionfs-img fails, and says so.
cannot() {
    local message=$1 status=0
    shift
    "$IMG" "$@" >said 2>&1 || status=$?
    [ "$status" = 1 ] || fail "$*: ended with $status"
    grep -q -e "$message" said || fail "$*: says $(cat said)"
}
cannot 'exists already' --control control.sock snapshot level-1
"$IMG" --control control.sock snapshot later >said || fail "snapshot"
grep -qx 'name: later' said || fail "snapshot says $(cat said)"
cannot 'without a slash' --control control.sock snapshot ../before
cannot 'NAME is required' --control control.sock snapshot
cannot 'nonsense' --control control.sock nonsense
cannot 'no server answers there: No such file' --control missing.sock info
cannot 'no server answers there' --control lower.img info
cannot 'this is no control socket' --control disk.sock info

step "another user is refused, whatever the mode"
if [ "$(id -u)" = 0 ]; then
    chmod 711 "$WORK"
    chmod 666 control.sock
    PATH=/usr/bin:$PATH setpriv --reuid=65534 --regid=65534 --clear-groups python3 -c '
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(20)
client.connect(sys.argv[1])  # the mode allows it
try:
    client.send(b"GET /v1/info HTTP/1.1\r\nHost: disk\r\n\r\n")
    sys.exit(client.recv(1) != b"")
except ConnectionError:
    pass
' control.sock || fail "another user is answered"
    chmod 600 control.sock
fi
curl -sf --max-time 20 --unix-socket control.sock http://disk/v1/info >said || fail "curl"

step "one socket, one server"
refused 'another server listens' other.img control=control.sock
refused 'is there, and no socket' other.img control=lower.img
refused 'given twice' other.img control=a.sock control=b.sock
refused "a socket's name has" other.img "control=$(printf 'a%.0s' {1..120})"
refused 'No such file' other.img control=no/such/control.sock
[ ! -e other.img ] || fail "a refused server made an upper"

step "what a killed server left is replaced; the end removes it"
kill_server disk
[ -S control.sock ] || fail "the socket of a killed server is gone"
serve disk lower.img upper.img control=control.sock
deadline=$((SECONDS + 60))
until curl -sf --max-time 20 --unix-socket control.sock http://disk/v1/info >said; do
    [ "$SECONDS" -lt "$deadline" ] || fail "the new server does not answer"
    sleep 0.02
done
stop_server disk
"$IMG" create -b lower.img -b level-1 -b level-2 fork.img >/dev/null
[ ! -w level-1 ] || [ "$(id -u)" = 0 ] || fail "a level can be written"
[ ! -e control.sock ] || fail "the socket is still there"

step "a server that only reads"
NBDKIT_FLAGS=(-r)
serve reader lower.img upper.img control=control.sock
NBDKIT_FLAGS=()
wait_for_socket control.sock
curl -s --max-time 20 --unix-socket control.sock -X POST http://disk/v1/checkpoint >said
grep -q 'only reads' said || fail "a checkpoint of a server that only reads: $(cat said)"
curl -s --max-time 20 --unix-socket control.sock http://disk/v1/info >said
grep -q '"read-only":true' said || fail "info of a server that only reads: $(cat said)"
stop_server reader
step "pass"
