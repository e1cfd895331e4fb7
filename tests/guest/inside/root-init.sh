#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
#
# /sbin/init of a guest whose root file system is the merged disk. Reports what
# it finds, lets packages.sh change it, goes down as a system does, and reports
# what is there then. The reporting is described in init.sh.
#
# Kernel arguments: guest.phase= and guest.seed= are packages.sh's.

tools=/usr/local/lib/guest
# shellcheck source=tests/guest/inside/as-init.sh
. /usr/local/lib/guest/as-init.sh

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

as_init "$@"
