#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# apt-upgrade.sh
#
# What a Debian root lives through: apt-get installs a package on the served disk, the root below is
# built anew with all security updates, and the layer is carried over. What was installed works in
# the result, and `apt-get upgrade` there leaves packages that dpkg has nothing against. The time
# of the rebase is printed beside that of installing once more.
set -euo pipefail
# shellcheck source=tests/lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
require debootstrap apt-get chroot
require_kernel_mount
make_work
IMG=$(realpath "$BUILD_DIR/tools/unionfs-img")
cd "$WORK"
MIRROR=$(debian_mirror)
PACKAGES="tmux less"

# in_root DIRECTORY COMMAND... - without this machine's resolver left in the root.
in_root() {
    local root=$1 status=0
    shift
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive \
        ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} \
        chroot "$root" "$@" >"$WORK/in_root.log" 2>&1 || status=$?
    rm -f "$root/etc/resolv.conf"
    [ "$status" = 0 ] || tail -n 20 "$WORK/in_root.log" >&2
    return "$status"
}

# upgrade ROOT - with the security updates as well.
upgrade() {
    local security=${MIRROR%/}
    {
        echo "deb $MIRROR bookworm main"
        echo "deb $MIRROR bookworm-updates main"
        echo "deb ${security%/debian}/debian-security bookworm-security main"
    } >"$1/etc/apt/sources.list"
    in_root "$1" apt-get update
    in_root "$1" apt-get -y upgrade
    tidy "$1"
}
tidy() {
    in_root "$1" apt-get clean
    find "$1/var/lib/apt/lists" -type f -delete
}
install_packages() {
    in_root "$1" apt-get update
    # shellcheck disable=SC2086  # several packages
    in_root "$1" apt-get -y install --no-install-recommends $PACKAGES
    tidy "$1"
}
now() { date +%s%N; }
milliseconds_since() { echo $((($(now) - $1) / 1000000)); }

# on_disk LOWER UPPER COMMAND... - with the served disk at `merged`.
on_disk() {
    serve disk "$1" "$2"
    mount_merged disk "$WORK/merged"
    shift 2
    "$@"
    unmount_merged disk
    stop_server disk
}

[ -n "$MIRROR" ] || skip "this machine's packages are not Debian's"
step "a Debian root"
timeout 900 debootstrap --variant=minbase bookworm "$WORK/root" "$MIRROR" >debootstrap.log 2>&1 ||
    skip "debootstrap cannot make a root here"
tidy root
"$IMG" mkbase dir:root old.img >/dev/null

step "packages are installed on the served disk"
began=$(now)
on_disk old.img upper.img install_packages merged
echo "installation: $(milliseconds_since "$began") ms"

step "the root is built anew, with all updates"
upgrade root
in_root root dpkg-query -W
cp in_root.log new.packages
"$IMG" mkbase dir:root new.img >/dev/null
rm -rf --one-file-system -- root

step "the layer is carried over"
began=$(now)
# The data base of packages is one thing, and changed on both sides.
"$IMG" rebase -b old.img --onto new.img --conflicts=ours upper.img >rebase.out
echo "rebase: $(milliseconds_since "$began") ms"
tail -n 1 rebase.out
began=$(now)
on_disk new.img again.img install_packages merged
echo "installed once more: $(milliseconds_since "$began") ms"

# What dpkg says of itself, after it has been told of the updates.
looked_at() {
    in_root merged tmux -V
    upgrade merged
    in_root merged dpkg --audit
    [ ! -s in_root.log ] || fail "dpkg --audit says: $(cat in_root.log)"
    in_root merged dpkg --verify
    ! grep -v ' c ' in_root.log | grep . || fail "files are not those of their packages"
    in_root merged dpkg-query -W
    cp in_root.log result.packages
}
step "what was installed works, and apt-get upgrade agrees with it"
on_disk new.img upper.img looked_at
"$IMG" check -b new.img upper.img >check.out || fail "check: $(cat check.out)"
# Every package of the new root has its version in the result.
missing=$(grep -vxFf result.packages new.packages || true)
[ -z "$missing" ] || fail "the result has other versions than the new root: $missing"
for package in $PACKAGES; do
    grep -q "^${package}[[:space:]]" result.packages || fail "$package is gone"
done
step "pass"
