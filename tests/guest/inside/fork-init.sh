#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
#
# /sbin/init of a guest whose disk is forked while it runs, and of the guest that boots from the fork:
# both come to where a prompt would be, and say so. The reporting is described in init.sh.
#
# Kernel arguments: guest.phase= is "running" or "forked".

# shellcheck source=tests/guest/inside/as-init.sh
. /usr/local/lib/guest/as-init.sh

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

as_init "$@"
