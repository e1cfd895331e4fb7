# shellcheck shell=dash
# SPDX-License-Identifier: BSD-3-Clause
#
# What a /sbin/init of a guest begins and ends with. Its session() does what the guest is for, with
# the report as descriptor 3; as_init "$@" comes last.

PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

argument() {
    tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p"
}

# Runs the session, reports how it ended, as init.sh describes, and goes down.
as_init() {
    local status
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
}
