#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
#
# /init of the guests. Loads the modules named by guest.modules= and either runs
# /guest/script or, with guest.root=DEVICE, hands over to the init on that
# ext2 file system.
#
# How a guest reports: descriptor 3 of the script is the second serial line, and
# the last line there must be "guest-status NONCE STATUS" with guest.nonce= as
# NONCE. A guest that has its own init writes that line itself. The host takes
# its absence for failure.

PATH=/bin:/sbin
/bin/busybox mount -t proc proc /proc
# From here the shell finds its applets through /proc/self/exe.
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

argument() {
    tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p"
}

# Down at once: nothing of the initramfs is worth an orderly end, and what a
# script mounted it has to unmount itself.
# If poweroff fails, the end of process 1 is a panic, and that ends QEMU too.
nonce=$(argument guest.nonce)
finish() {
    echo "guest-status $nonce $1" >/dev/ttyS1
    /bin/busybox poweroff -f
    exit
}

stty -F /dev/ttyS1 raw

for module in $(argument guest.modules | tr ',' ' '); do
    modprobe "$module" || {
        echo "init: module $module does not load"
        finish 98
    }
done

root=$(argument guest.root)
if [ -n "$root" ]; then
    # Read-only, as a distribution does it: its init makes it writable.
    mount -t ext2 -o ro "$root" /mnt || finish 97
    # Without /proc the shell finds no applets, so all programs are named.
    for place in proc sys dev; do
        /bin/busybox mount --move "/$place" "/mnt/$place" || finish 96
    done
    exec /bin/busybox switch_root /mnt /sbin/init
fi

sh -eux /guest/script 3>/dev/ttyS1
finish $?
