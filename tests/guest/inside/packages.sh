# SPDX-License-Identifier: BSD-3-Clause
#
# packages.sh ROOT SEED PHASE - a package manager's way of writing, for busybox
# sh: new files under temporary names, synced and renamed; a database that is
# rewritten for every package, with a backup; links to the old file while it is
# replaced.
#
#   base      the packages of the lower (run on the host)
#   install   what the first boot does: new packages
#   upgrade   what the second boot does: all kinds of packages replaced, removed
#
# Host and guest run it, the outcome must be the same, so nothing here depends on
# time or place.

set -eu
cd "$1"
seed=$2
phase=$3
database=var/lib/packages
# Paths of a package, {} being its name.
layout="usr/share/doc/{}/copyright usr/share/doc/{}/changelog
    usr/lib/{}/plugins/one.so usr/lib/{}/plugins/two.so usr/lib/{}/main
    usr/bin/{} etc/{}/{}.conf etc/default/{} var/lib/{}/state"

content() { # content NAME VERSION
    lines=$((seed % 97 + ${#1} * 7))
    busybox seq "$lines" | busybox sed "s|^|$1 $2 $seed |"
}

paths() { # paths PACKAGE
    echo "$layout" | busybox sed "s/{}/$1/g"
}

set_status() { # set_status PACKAGE LINE; an empty LINE removes it
    busybox sed "/^$1 /d" $database/status >$database/status-new
    [ -z "$2" ] || echo "$1 $2" >>$database/status-new
    busybox sync $database/status-new
    busybox ln -f $database/status $database/status-old
    busybox mv $database/status-new $database/status
    echo "$phase $1 $2" >>var/log/packages.log
}

unpack() { # unpack PACKAGE VERSION
    package=$1
    version=$2
    : >"$database/info/$package.list.new"
    for path in $(paths "$package"); do
        busybox mkdir -p "${path%/*}"
        content "$path" "$version" >"$path.new"
        echo "$path" >>"$database/info/$package.list.new"
    done
    busybox chmod 755 "usr/bin/$package.new" "usr/lib/$package/main.new"
    busybox sync
    for path in $(paths "$package"); do
        [ ! -e "$path" ] || busybox ln "$path" "$path.old"
        busybox mv "$path.new" "$path"
        busybox rm -f "$path.old"
    done
    busybox mv "$database/info/$package.list.new" "$database/info/$package.list"
    set_status "$package" "$version"
}

remove() { # remove PACKAGE
    package=$1
    while read -r path; do
        busybox rm "$path"
        # Directories others still use stay.
        busybox rmdir -p "${path%/*}" 2>/dev/null || true
    done <"$database/info/$package.list"
    busybox rm "$database/info/$package.list"
    set_status "$package" ""
}

case $phase in
base)
    busybox mkdir -p $database/info var/log var/cache/packages etc/alternatives
    : >$database/status
    for package in base kernel shell editor mailer; do
        unpack "$package" 1
    done
    busybox ln -s /usr/bin/editor etc/alternatives/editor
    content index 1 >var/cache/packages/index
    ;;
install)
    content download 1 >var/cache/packages/browser.partial
    busybox mv var/cache/packages/browser.partial var/cache/packages/browser
    for package in browser player library; do
        unpack "$package" 1
    done
    busybox rm var/cache/packages/browser
    echo guest >etc/hostname.new
    busybox mv etc/hostname.new etc/hostname
    ;;
upgrade)
    # One of the lower, one of the first boot, and one that is gone afterwards.
    unpack shell 2
    unpack browser 2
    remove mailer
    remove player
    unpack composer 1
    busybox ln -sf /usr/bin/composer etc/alternatives/editor
    busybox mv var/lib/editor var/lib/editor-saved
    busybox mkdir -p srv/old
    busybox mv usr/lib/kernel srv/old/kernel
    busybox rm var/cache/packages/index
    : >var/log/packages.log
    ;;
*)
    echo "packages.sh: no phase $phase" >&2
    exit 2
    ;;
esac
