#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
#
# /sbin/init of a guest whose disk is forked while it runs, and of the guest that boots from the fork:
# both come to where a prompt would be, and say so. The reporting is described in init.sh.
#
# Kernel arguments: guest.phase= is "running" or "forked".

PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

argument() {
    tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p"
}

# The host writes a word to the second disk when the fork has come up.
wait_for_host() {
    until [ "$(head -c 4 /dev/vdb)" = ends ]; do
        sleep 1
        blockdev --flushbufs /dev/vdb
    done
}

session() {
    set -eux
    mount -o remount,rw /
    if [ "$(argument guest.phase)" = running ]; then
        echo before >/before
        sync
        echo "== prompt" >&3
        wait_for_host
    else
        [ "$(cat /before)" = before ]
        echo after >/forked
        echo "== prompt" >&3
    fi
    sync
    mount -o remount,ro /
}

# In a shell of its own: set -e has no effect inside a condition.
if [ "${1:-}" = session ]; then
    session
    exit
fi
/bin/busybox sh "$0" session 3>/dev/ttyS1
status=$?
echo "guest-status $(argument guest.nonce) $status" >/dev/ttyS1
# Should this fail, the end of process 1 is a panic, and that ends QEMU too.
/bin/busybox poweroff -f
