#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
#
# /sbin/init of a guest whose root file system is the merged disk. Reports what
# it finds, lets packages.sh change it, goes down as a system does, and reports
# what is there then. The reporting is described in init.sh.
#
# Kernel arguments: guest.phase= and guest.seed= are packages.sh's.

PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
tools=/usr/local/lib/guest

argument() {
    tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p"
}

session() {
    set -eux
    phase=$(argument guest.phase)
    mount -o remount,rw /
    mount -t tmpfs tmpfs /run
    # A second view of the root, without what is mounted on it.
    mkdir /run/root
    mount --bind / /run/root

    echo "== before $phase" >&3
    busybox sh $tools/manifest.sh /run/root >&3
    busybox sh $tools/packages.sh / "$(argument guest.seed)" "$phase"
    [ ! -x $tools/dpkg.sh ] || $tools/dpkg.sh "$phase"
    sync
    # Refused if anything is still open for writing.
    mount -o remount,ro /
    echo "== after $phase" >&3
    busybox sh $tools/manifest.sh /run/root >&3
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
