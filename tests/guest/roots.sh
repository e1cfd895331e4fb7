# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Root file systems for guests. Sourced after guest.sh and images.sh.

# make_busybox_root DIR - enough to boot into.
make_busybox_root() {
    local root=$1 applet
    mkdir -p "$root"/{bin,sbin,etc,dev,proc,sys,run,tmp,root,home,usr/bin,usr/lib,var/lib,var/log}
    install -m 755 "$(command -v busybox)" "$root/bin/busybox"
    while read -r applet; do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done < <(busybox --list)
    echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    echo '/dev/vda / ext2 defaults 0 1' >"$root/etc/fstab"
    echo lower >"$root/etc/hostname"
    chmod 1777 "$root/tmp"
}

# make_debian_root DIR - a minimal Debian with a package in /root that dpkg.sh
# installs. The download is kept in GUEST_CACHE.
make_debian_root() {
    local root=$1 lock archive=$GUEST_CACHE/debian-root.tar place mirror
    require debootstrap dpkg-deb tar
    exec {lock}>"$GUEST_CACHE/lock"
    flock -w 900 "$lock" || fail "another test holds $GUEST_CACHE/lock"
    if [ ! -s "$archive" ]; then
        place=$WORK/debootstrap
        step "debootstrap downloads a root"
        mirror=$(debian_mirror)
        timeout 900 debootstrap --variant=minbase bookworm "$place" ${mirror:+"$mirror"} \
            >"$WORK/debootstrap.log" 2>&1 || {
            tail -n 20 "$WORK/debootstrap.log" >&2
            skip "debootstrap cannot make a root here"
        }
        rm -rf -- "$place"/var/cache/apt/archives/*.deb
        tar -C "$place" --numeric-owner --xattrs -cf "$archive.new" .
        mv -- "$archive.new" "$archive"
        rm -rf --one-file-system -- "$place"
    fi
    exec {lock}>&-
    mkdir -p "$root"
    tar -C "$root" --numeric-owner --xattrs -xpf "$archive"
    install -m 755 "$(command -v busybox)" "$root/bin/busybox"
    _make_demo_package 1 "$root/root/guest-demo-1.deb"
    _make_demo_package 2 "$root/root/guest-demo-2.deb"
    install -D -m 755 "$GUEST_HERE/inside/dpkg.sh" \
        "$root/usr/local/lib/guest/dpkg.sh"
}

# _make_demo_package VERSION DEB - many small files and a conffile below /opt.
_make_demo_package() {
    local version=$1 tree=$WORK/guest-demo number
    rm -rf -- "$tree"
    mkdir -p "$tree/DEBIAN" "$tree/opt/guest-demo/version-$version"
    cat >"$tree/DEBIAN/control" <<END
Package: guest-demo
Version: $version
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: many small files
END
    for number in $(seq 300); do
        echo "$version $number" >"$tree/opt/guest-demo/file-$number"
    done
    _text "$version" 200000 >"$tree/opt/guest-demo/version-$version/large"
    dpkg-deb --root-owner-group -b "$tree" "$2" >"$WORK/dpkg-deb.log"
    rm -rf -- "$tree"
}

# add_guest_init DIR - the scripts that make the root a test's guest, and the
# packages of the lower.
add_guest_init() {
    local root=$1 tools=$1/usr/local/lib/guest
    install -D -m 755 "$GUEST_HERE/inside/root-init.sh" "$root/sbin/init"
    install -D -m 644 "$GUEST_HERE/inside/manifest.sh" "$tools/manifest.sh"
    install -D -m 644 "$GUEST_HERE/inside/packages.sh" "$tools/packages.sh"
    busybox sh "$tools/packages.sh" "$root" "$SEED" base
}

# without_dpkg MANIFEST - the facts about places where dpkg does not write.  It does not run on the
# plain copy, because it would note the time of day.
without_dpkg() {
    [ "${GUEST_ROOT:-busybox}" = debootstrap ] || {
        cat "$1"
        return
    }
    grep -vE '[ |]\./(opt|var/lib/dpkg|var/log/dpkg.log)([/|]|$)' "$1"
}
