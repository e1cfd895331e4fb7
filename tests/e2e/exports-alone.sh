#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# One server of many disks, where each export is alone with what is its own: the levels that its
# upper stands on, damage, a full file system, and a sync that fails.  Two clients of other exports
# write and flush all the time, and notice nothing.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=tests/lib/exports.sh
. "$(dirname "$0")/../lib/exports.sh"

require mke2fs debugfs nbdsh mount losetup mkfs.ext4
[ "$(id -u)" = 0 ] || skip "mounting needs root"
[ -c /dev/loop-control ] || skip "this machine has no /dev/loop-control"
IMG=$BUILD_DIR/tools/unionfs-img
make_work
cd "$WORK"

# Clients of "one" and "two", until the file "over" is there.
OTHERS='
import os, time
names = ("one", "two")
clients = []
for name in names:
    client = nbd.NBD()
    client.set_export_name(name)
    client.connect_unix("disks.sock")
    clients.append(client)
rounds, slowest = 0, 0
while not os.path.exists("over"):
    begin = time.monotonic()
    rounds += 1
    for name, client in zip(names, clients):
        block = (name * 4096)[:4088].encode() + rounds.to_bytes(8, "little")
        place = (10 << 20) + rounds % 64 * 4096
        client.pwrite(block, place)
        assert client.pread(4096, place) == block, (name, rounds)
        client.flush()
    slowest = max(slowest, time.monotonic() - begin)
    open("rounds", "w").write(str(rounds))
    time.sleep(0.01)
for client in clients:
    client.shutdown()
print("%d rounds of the others, the slowest took %.3f s" % (rounds, slowest))
'
others_go_on() {
    local before deadline=$((SECONDS + 60))
    before=$(cat rounds)
    until [ "$(cat rounds)" -gt $((before + 3)) ]; do
        kill -0 "$others" 2>/dev/null || fail "a client of another export failed"
        [ "$SECONDS" -lt "$deadline" ] || fail "the clients of other exports wait"
        sleep 0.05
    done 2>/dev/null
}

mkdir uppers
make_lower

step "uppers that stand on levels of their own"
serve disks lower.img dir=uppers size=32M
for name in anna tools fred; do write_at "$name" "$name 1"; done
stop_server disks
(
    cd uppers
    "$IMG" snapshot -b ../lower.img anna.img anna.monday
    "$IMG" seal -b ../lower.img tools.img
    mv tools.img tools
    "$IMG" create -b ../lower.img -b tools dora.img
    "$IMG" create -b ../lower.img -b tools emil.img
    "$IMG" snapshot -b ../lower.img fred.img fred.monday
) >/dev/null
serve disks lower.img dir=uppers size=32M
echo 0 >rounds
PATH=/usr/bin:$PATH nbdsh -c "$OTHERS" >others.out 2>&1 &
others=$!
read_at anna 'anna 1'
read_at fred 'fred 1'
for name in dora emil; do read_at "$name" 'tools 1'; done
for name in anna dora fred; do write_at "$name" "$name 2"; done
read_at emil 'tools 1'
for name in anna dora fred; do said "/$name.img: checkpoint made"; done
others_go_on

step "a level with the name of an upper is listed, and refused"
"$IMG" create -b lower.img -b uppers/fred.monday uppers/gina.img >/dev/null
write_at gina 'gina 1'
cp uppers/anna.monday uppers/level.img
PATH=/usr/bin:$PATH nbdsh -c '
names = []
h.set_opt_mode(True)
h.connect_unix("disks.sock")
h.opt_list(lambda name, _: names.append(name))
h.opt_abort()
assert "level" in names and "anna" in names, names
' || fail "the level is not listed"
refused level 'level.img: is a frozen level'
rm -f uppers/level.img

step "a level that is not there, and one that is damaged"
mv uppers/tools tools
"$IMG" create -b lower.img -b tools uppers/hans.img >/dev/null
refused hans 'hans.img: stands on the sealed layer "tools"'
mv tools uppers/tools
read_at hans 'tools 1'
cp uppers/fred.monday uppers/broken
"$IMG" create -b lower.img -b uppers/broken uppers/ida.img >/dev/null
chmod u+w uppers/broken
dd if=/dev/zero of=uppers/broken bs=1024 seek=1 count=1 conv=notrunc status=none
refused ida 'uppers/broken: is not an ext2 image'
others_go_on

step "an upper that is damaged"
write_at john 'john 1'
said '/john.img: checkpoint made'
cp uppers/john.img uppers/kate.img
dd if=/dev/zero of=uppers/kate.img bs=4096 count=1 conv=notrunc status=none
cp uppers/kate.img kate.before
refused kate 'kate.img'
cmp uppers/kate.img kate.before || fail "a damaged upper was changed"
read_at john 'john 1'
others_go_on

# own_file_system NAME - an upper that lies on a file system of its own, at ./NAME.
own_file_system() {
    "$IMG" create -b lower.img -s 32M "$1/$1.img" >/dev/null
    : >"uppers/$1.img"
    mount --bind "$1/$1.img" "uppers/$1.img"
}

step "the file system of one upper is full"
mkdir full
mount -t tmpfs -o size=1m tmpfs full
own_file_system full
write_at full 'full 1'
at full '
import errno
written = 0
try:
    while written < 1024:
        h.pwrite(b"x" * 4096, (12 << 20) + written * 4096)
        written += 1
except nbd.Error as error:
    assert error.errno == "ENOSPC", error
assert 0 < written < 1024, written
assert h.pread(4096, 12 << 20) == b"x" * 4096
h.pwrite(b"y" * 4096, 12 << 20)
assert h.pread(4096, (12 << 20) + 4096) == b"x" * 4096
h.flush()
'
others_go_on
mount -o remount,size=64m full
at full 'h.pwrite(b"z" * (4 << 20), 12 << 20)'
read_at full 'full 1'
said '/full.img: checkpoint made'
others_go_on

step "a sync of one upper fails"
mkdir store sick
mount -t tmpfs -o size=24m tmpfs store
truncate -s 64m store/sick.ext4
mkfs.ext4 -q -O ^has_journal store/sick.ext4
mount -o loop store/sick.ext4 sick
own_file_system sick
write_at sick 'sick 1'
said '/sick.img: checkpoint made'
sync -f sick
head -c 64m /dev/zero 2>/dev/null >store/filler || true
at sick "
h.pwrite(b'x' * (4 << 20), 12 << 20)
try:
    h.flush()
    raise SystemExit('the flush succeeds')
except nbd.Error as error:
    assert error.errno in ('EIO', 'ENOSPC'), error  # as the loop device says it
for request in (lambda: h.pread(512, $PLACE), lambda: h.pwrite(bytes(512), 0), h.flush):
    try:
        request()
        raise SystemExit('a request succeeds')
    except nbd.Error as error:
        assert error.errno == 'EIO', error
"
said 'sick.img: .*every request fails'
others_go_on
rm store/filler
read_at sick 'sick 1'
write_at sick 'sick 3'
others_go_on

step "the end"
touch over
wait "$others" || fail "the clients of other exports: $(cat others.out)"
cat others.out
stop_server disks
for name in one two anna dora fred gina john full sick; do
    check_layer_clean "uppers/$name.img" copy.img
done
serve disks lower.img dir=uppers
for name in anna dora fred; do read_at "$name" "$name 2"; done
read_at gina 'gina 1'
read_at emil 'tools 1'
read_at sick 'sick 3'
stop_server disks
step "pass"
