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

# unpack_debian_root DIR NAME [PACKAGE...] - a minimal Debian with these packages. The download
# is kept in GUEST_CACHE, as NAME.tar.
unpack_debian_root() {
    local root=$1 lock archive=$GUEST_CACHE/$2.tar place=$WORK/debootstrap mirror more
    shift 2
    more=$(IFS=, && echo "$*")
    require debootstrap tar
    exec {lock}>"$GUEST_CACHE/lock"
    flock -w 900 "$lock" || fail "another test holds $GUEST_CACHE/lock"
    if [ ! -s "$archive" ]; then
        step "debootstrap downloads a root"
        mirror=$(debian_mirror)
        timeout 900 debootstrap --variant=minbase ${more:+"--include=$more"} bookworm "$place" \
            ${mirror:+"$mirror"} >"$WORK/debootstrap.log" 2>&1 || {
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
}

# make_debian_root DIR - a minimal Debian with a package in /root that dpkg.sh
# installs.
make_debian_root() {
    local root=$1
    require dpkg-deb
    unpack_debian_root "$root" debian-root
    install -m 755 "$(command -v busybox)" "$root/bin/busybox"
    _make_demo_package 1 "$root/root/guest-demo-1.deb"
    _make_demo_package 2 "$root/root/guest-demo-2.deb"
    install -D -m 755 "$GUEST_HERE/inside/dpkg.sh" \
        "$root/usr/local/lib/guest/dpkg.sh"
}

# make_debian_system DIR - a minimal Debian that boots by itself, with systemd and a login
# prompt on the console.
make_debian_system() {
    local root=$1
    unpack_debian_root "$root" debian-system systemd-sysv udev
    echo '/dev/vda / ext2 defaults 0 1' >"$root/etc/fstab"
    echo guest >"$root/etc/hostname"
    # With one there is no first boot, which would ask questions.
    echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
}

# make_busybox_system DIR - the same of busybox: before the prompt, "services" read their files.
make_busybox_system() {
    local root=$1 number
    make_busybox_root "$root"
    mkdir -p "$root/etc/init.d" "$root/usr/lib/services"
    for number in $(seq 200); do
        _text "${number}0000" $((number * 997 % 300000 + 5000)) >"$root/usr/lib/services/$number"
    done
    cat >"$root/etc/init.d/rcS" <<'END'
#!/bin/sh
mount -o remount,rw /
number=1
while [ $number -le 200 ]; do
    sha256sum /usr/lib/services/$((number * 73 % 201)) >/run/sum
    number=$((number + 1))
done
END
    chmod 755 "$root/etc/init.d/rcS"
    cat >"$root/etc/inittab" <<'END'
::sysinit:/etc/init.d/rcS
::respawn:/sbin/getty -L ttyS0 9600 vt100
END
    ln -s ../bin/busybox "$root/sbin/init"
    ln -s ../bin/busybox "$root/sbin/getty"
    echo guest >"$root/etc/hostname"
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
    install -D -m 644 "$GUEST_HERE/inside/as-init.sh" "$tools/as-init.sh"
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
