#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What units-booted.sh does in its container.  PLACE is where a file of the lower lies.
set -eEu
trap 'echo "line $LINENO: $BASH_COMMAND"; journalctl --no-pager -o cat -u "unionfs*" | tail -n 30' ERR

one=/run/unionfs/one.sock
many=/run/unionfs-dir/many.sock

# write SOCKET NAME TEXT, and read - a client; NAME is of the export.
write() {
    /usr/bin/python3 -c "
import nbd, sys
client = nbd.NBD()
client.set_export_name(sys.argv[2])
client.connect_unix(sys.argv[1])
client.pwrite(sys.argv[3].encode().ljust(512), $PLACE)
client.pwrite(bytes(4096), $PLACE + 2 * 4096)
client.flush()
client.shutdown()" "$@"
}
read_back() {
    /usr/bin/python3 -c "
import nbd, sys
client = nbd.NBD()
client.set_export_name(sys.argv[2])
client.connect_unix(sys.argv[1])
found = client.pread(512, $PLACE)
assert found == sys.argv[3].encode().ljust(512), found
client.pread(16 * 4096, $PLACE)  # two pieces of the lower
client.shutdown()" "$@"
}
# log UNIT - of its last start.
log() {
    journalctl --sync
    journalctl --no-pager -o cat "_SYSTEMD_INVOCATION_ID=$(systemctl show -p InvocationID --value "$1")"
}
# in_log UNIT TEXT - waits for it.
in_log() {
    for _ in $(seq 100); do
        if log "$1" | grep -qF -- "$2"; then
            return 0
        fi
        sleep 0.1
    done
    echo "the log of $1 does not say: $2"
    return 1
}
# cold - what the lower has must be read from its disk.
cold() {
    sync -f /srv/base.img
    dd if=/srv/base.img iflag=nocache count=0 status=none
}
main_pid() { systemctl show -p MainPID --value "$1"; }
rings() { readlink /proc/"$(main_pid "$1")"/fd/* | grep -qxF 'anon_inode:[io_uring]'; }
status_of() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$(main_pid "$1")/status"; }

echo "systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p'), $(uname -r)"

echo "sockets start the servers"
systemctl start unionfs@one.socket unionfs-dir@many.socket
[ "$(stat -c %a "$one")" = 660 ]
[ "$(systemctl is-active unionfs@one.service || true)" = inactive ]
write "$one" "" 'one 1'
write "$many" anna 'anna 1'
write "$many" bert 'bert 1'
for unit in unionfs@one unionfs-dir@many; do
    [ "$(systemctl is-active "$unit.service")" = active ]
done

echo "the sandbox"
for unit in unionfs@one unionfs-dir@many; do
    pid=$(main_pid "$unit.service")
    [ "$(status_of "$unit.service" Uid | cut -f 1)" = 987 ]
    [ "$(status_of "$unit.service" NoNewPrivs)" = 1 ]
    [ "$(status_of "$unit.service" Seccomp)" = 2 ]
    [ "$(status_of "$unit.service" CapEff)" = 0000000000000000 ]
    [ "$(status_of "$unit.service" CapBnd)" = 0000000000000000 ]
    [ "$(nsenter -t "$pid" -m findmnt -no OPTIONS / | grep -c '^ro')" = 1 ]
    [ "$(nsenter -t "$pid" -n ip -o link 2>/dev/null | wc -l)" -le 1 ]
done
[ "$(stat -c '%U %a' /var/lib/unionfs)" = 'unionfs 700' ]
[ "$(stat -c %U /var/lib/unionfs/one.img)" = unionfs ]
[ "$(stat -c %U /var/lib/unionfs-dir/many/anna.img)" = unionfs ]

echo "the control socket"
curl -s --unix-socket /var/lib/unionfs-dir/many/control http://disk/v1/info | grep -qF '"name":"anna"'

echo "a checkpoint"
in_log unionfs@one.service 'one.img: checkpoint made'
in_log unionfs-dir@many.service 'anna.img: checkpoint made'

echo "io_uring is allowed, and used"
cold
read_back "$one" "" 'one 1'
cold
read_back "$many" anna 'anna 1'
for unit in unionfs@one unionfs-dir@many; do
    if log "$unit.service" | grep io_uring; then
        echo "the container refuses it"
        exit 1
    fi
    rings "$unit.service"
done

echo "a server that is killed is started by the next client"
kill -KILL "$(main_pid unionfs@one.service)"
kill -KILL "$(main_pid unionfs-dir@many.service)"
read_back "$one" "" 'one 1'
read_back "$many" anna 'anna 1'
read_back "$many" bert 'bert 1'

echo "with io_uring refused"
for unit in unionfs@one unionfs-dir@many; do
    mkdir -p "/etc/systemd/system/$unit.service.d"
    printf '[Service]\nSystemCallFilter=~@aio\n' >"/etc/systemd/system/$unit.service.d/aio.conf"
done
systemctl daemon-reload
systemctl stop unionfs@one.service unionfs-dir@many.service
write "$one" "" 'one 2'
write "$many" anna 'anna 2'
cold
read_back "$one" "" 'one 2'
cold
read_back "$many" anna 'anna 2'
for unit in unionfs@one unionfs-dir@many; do
    in_log "$unit.service" io_uring
    if rings "$unit.service"; then
        echo "there is a ring all the same"
        exit 1
    fi
    [ "$(log "$unit.service" | grep -c io_uring)" = 1 ]
done
log unionfs@one.service | grep io_uring

echo "the end makes the last checkpoint"
write "$one" "" 'one 3'
invocation=$(systemctl show -p InvocationID --value unionfs@one.service)
systemctl stop unionfs@one.socket unionfs@one.service unionfs-dir@many.socket unionfs-dir@many.service
journalctl --sync
journalctl --no-pager -o cat "_SYSTEMD_INVOCATION_ID=$invocation" | grep -qF 'one.img: checkpoint made'
[ "$(systemctl show -p Result --value unionfs@one.service)" = success ]
[ "$(systemctl show -p Result --value unionfs-dir@many.service)" = success ]
[ ! -e "$one" ]
[ ! -e "$many" ]
echo "all is well"
