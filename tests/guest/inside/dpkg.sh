#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# dpkg.sh PHASE - the real package manager on a merged root: installs a package
# at the first boot, checks it, upgrades it, removes another at the second.

set -eux
export DEBIAN_FRONTEND=noninteractive
case $1 in
install)
    dpkg -i /root/guest-demo-1.deb
    ;;
upgrade)
    # What the first boot installed is whole.
    [ "$(dpkg-query -W -f '${Version} ${db:Status-Status}' guest-demo)" = "1 installed" ]
    dpkg --verify guest-demo
    dpkg -i /root/guest-demo-2.deb
    [ ! -e /opt/guest-demo/version-1 ]
    ;;
esac
dpkg --verify guest-demo
dpkg --audit
