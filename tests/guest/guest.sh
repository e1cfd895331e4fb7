# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Real guests for the shell tests: a stock Debian kernel with a small initramfs,
# booted by QEMU. Sourced after ../lib/common.sh and make_work.
#
# The emulation is always TCG: it is slower than KVM but runs everywhere, also in
# machines that are guests themselves.
#
# Environment:
#   GUEST_CACHE        where kernel and initramfs are kept between tests,
#                      default $BUILD_DIR/guest-cache
#   GUEST_KERNEL_DEB   a linux-image .deb to use instead of downloading one
#   GUEST_TIMEOUT      seconds a guest may run, default 300
#
# What a test may read after guest_boot NAME:
#   $WORK/NAME.serial.log   the guest's console
#   TCP_PORT                set by serve_tcp
#   $WORK/NAME.report       what the guest's script wrote to descriptor 3
#
# What a test may set: GUEST_FILES, an array of host files that a guest finds
# in /guest.

# common.sh's, where the cleaning up looks for processes to end.
declare -gA SERVER_PID

GUEST_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
GUEST_CACHE=${GUEST_CACHE:-$BUILD_DIR/guest-cache}
GUEST_TIMEOUT=${GUEST_TIMEOUT:-300}
GUEST_FILES=()
GUEST_KERNEL=
GUEST_INITRAMFS=
TCP_PORT=

# Everything any test may load; modprobe finds what these depend on. crc32c is
# asked for by ext4 by name at mount time, which no dependency tells.
GUEST_MODULES=(virtio_pci virtio_blk virtio_net virtio_scsi sd_mod nbd ext4
    crc32c_generic mtdram jffs2 overlay)

# What busybox must be able to do inside a guest and, for the same answers, on
# the host.
_GUEST_APPLETS="cut dd find fstrim ip mkfifo mknod modprobe mount poweroff sed
    seq sh sha256sum sort stat stty switch_root umount xargs"

_guest_require() {
    local busybox applets applet
    require qemu-system-x86_64 busybox cpio depmod modprobe nbd-client ldd flock \
        setpriv
    [ "$(uname -m)" = x86_64 ] || skip "the guest kernel needs an x86_64 host"
    busybox=$(command -v busybox)
    # A loader cannot be named for a program that has none.
    if ldd "$busybox" >/dev/null 2>&1; then
        skip "$busybox is not linked statically (busybox-static is needed)"
    fi
    applets=$(busybox --list)
    for applet in $_GUEST_APPLETS; do
        grep -qx "$applet" <<<"$applets" || skip "busybox has no $applet"
    done
}

# The package a machine of today would install, for example
# linux-image-6.1.0-56-amd64; nothing if apt does not know.
_guest_kernel_package() {
    local facts
    facts=$(apt-cache show --no-all-versions linux-image-amd64 2>/dev/null) || return 0
    sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p' <<<"$facts"
}

# Leaves a linux-image .deb in the directory $1.
_guest_fetch_deb() {
    local place=$1 package
    if [ -n "${GUEST_KERNEL_DEB:-}" ]; then
        [ -f "$GUEST_KERNEL_DEB" ] || fail "GUEST_KERNEL_DEB: no file $GUEST_KERNEL_DEB"
        cp -- "$GUEST_KERNEL_DEB" "$place/"
        return
    fi
    require apt-get apt-cache dpkg
    package=$(_guest_kernel_package)
    [ -n "$package" ] || skip "apt knows no linux-image-amd64 (run apt-get update)"
    step "downloading $package"
    (cd "$place" && timeout 600 apt-get -q download "$package") \
        >"$place/apt.log" 2>&1 || {
        cat "$place/apt.log" >&2
        skip "$package cannot be downloaded"
    }
}

# Unpacks the package $1/*.deb into $1/tree and gives it a modules.dep.
_guest_unpack() {
    local place=$1 version unused
    dpkg -x "$place"/*.deb "$place/tree"
    version=$(basename "$place"/tree/lib/modules/*)
    [ -f "$place/tree/boot/vmlinuz-$version" ] ||
        fail "the kernel package holds no vmlinuz-$version"
    # Most of the 400 MB are drivers no virtual machine has.
    for unused in sound drivers/gpu drivers/media drivers/net/wireless \
        drivers/net/ethernet drivers/infiniband drivers/iio drivers/usb; do
        rm -rf -- "$place/tree/lib/modules/$version/kernel/$unused"
    done
    depmod -b "$place/tree" "$version"
    rm -f -- "$place"/*.deb "$place/apt.log"
}

# Copies program $2 with its shared libraries into the root $1, all in their
# own places, as the loader looks for them.
_guest_copy_program() {
    local root=$1 program library
    program=$(command -v "$2")
    install -D -m 755 "$program" "$root/bin/$(basename "$program")"
    ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
        install -D -m 755 "$library" "$root$library"
    done
}

# Copies GUEST_MODULES and what they depend on from the unpacked kernel $1 into
# the root $2.
_guest_copy_modules() {
    local tree=$1 root=$2 version module file
    version=$(basename "$tree"/lib/modules/*)
    for module in "${GUEST_MODULES[@]}"; do
        modprobe -S "$version" -d "$tree" --show-depends "$module" ||
            fail "the guest kernel has no module $module"
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u | while read -r file; do
        install -D -m 644 "$file" "$root${file#"$tree"}"
    done
    cp -- "$tree/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} \
        "$root/lib/modules/$version/"
    depmod -b "$root" "$version"
}

# Everything in the directory $1 as a cpio archive on standard output.
_guest_cpio() {
    (cd "$1" && find . -mindepth 1 | sort | cpio --quiet -o -H newc --owner 0:0)
}

# Writes the initramfs that all tests share to $2, from the kernel unpacked in $1.
_guest_build_initramfs() {
    local root
    # What other recipes and killed tests left.
    rm -rf -- "$GUEST_CACHE"/initramfs*
    root=$(mktemp -d "$GUEST_CACHE/initramfs.XXXXXX")
    mkdir -p "$root"/{bin,sbin,dev,proc,sys,tmp,mnt,guest,lib/modules}
    install -m 755 "$(command -v busybox)" "$root/bin/busybox"
    # The names that kernel and scripts look for; all else the shell finds in
    # busybox itself.
    ln -s ../bin/busybox "$root/sbin/modprobe"
    ln -s busybox "$root/bin/sh"
    install -m 755 "$GUEST_HERE/inside/init.sh" "$root/init"
    _guest_copy_program "$root" nbd-client
    _guest_copy_modules "$1" "$root"
    _guest_cpio "$root" >"$2.new"
    mv -- "$2.new" "$2"
    rm -rf -- "$root"
}

# guest_prepare - a kernel and an initramfs are in the cache; skips if this
# machine cannot have them. Any number of tests may call it at once.
guest_prepare() {
    local lock kernel_place new_place recipe
    _guest_require
    mkdir -p "$GUEST_CACHE"
    GUEST_CACHE=$(realpath -- "$GUEST_CACHE")
    exec {lock}>"$GUEST_CACHE/lock"
    flock -w 900 "$lock" || fail "another test holds $GUEST_CACHE/lock"
    kernel_place=$GUEST_CACHE/kernel
    if [ ! -d "$kernel_place" ]; then
        # Only complete under its final name: a killed test leaves no half kernel.
        new_place=$GUEST_CACHE/kernel.new
        rm -rf -- "$new_place"
        mkdir -p "$new_place"
        _guest_fetch_deb "$new_place"
        _guest_unpack "$new_place"
        mv -- "$new_place" "$kernel_place"
    fi
    # What goes into the initramfs names it, so that a changed recipe is not
    # answered from the cache.
    recipe=$(cat "$GUEST_HERE/guest.sh" "$GUEST_HERE/inside/init.sh" \
        "$(command -v busybox)" "$(command -v nbd-client)" | sha256sum | cut -c 1-16)
    GUEST_INITRAMFS=$GUEST_CACHE/initramfs-$recipe.cpio
    GUEST_KERNEL=$(echo "$kernel_place"/tree/boot/vmlinuz-*)
    [ -s "$GUEST_INITRAMFS" ] ||
        _guest_build_initramfs "$kernel_place/tree" "$GUEST_INITRAMFS"
    exec {lock}>&-
}

# serve_tcp NAME ARGS... - like common.sh's serve, but on 127.0.0.1 at the port it
# leaves in TCP_PORT; ended by stop_server as well.
serve_tcp() {
    local name=$1 pid_file=$WORK/$1.pid log=$WORK/$1.log pid deadline tries
    shift
    for tries in 1 2 3 4 5 6 7 8; do
        # Below the ports that the kernel gives out by itself. Another process
        # may still have this one: then try the next.
        TCP_PORT=$((10000 + RANDOM % 20000))
        rm -f -- "$pid_file"
        (
            use_sanitizer
            exec nbdkit --exit-with-parent -f -P "$pid_file" -i 127.0.0.1 \
                -p "$TCP_PORT" "${NBDKIT_FLAGS[@]}" "$UNIONFS_PLUGIN" "$@"
        ) >"$log" 2>&1 </dev/null &
        pid=$!
        SERVER_PID[$name]=$pid
        deadline=$((SECONDS + SERVER_TIMEOUT))
        # The pid file is written once the server listens.
        while kill -0 "$pid" 2>/dev/null; do
            [ ! -s "$pid_file" ] || return 0
            [ "$SECONDS" -lt "$deadline" ] || fail "serve_tcp: $name did not start in time"
            sleep 0.02
        done
        SERVER_PID[$name]=
        wait "$pid" || true
        grep -q "Address already in use" "$log" || break
    done
    fail "serve_tcp: no server for $name after $tries tries"
}

# _guest_wait PID SECONDS - its exit status; 124 if it had to be killed.
_guest_wait() {
    local pid=$1 deadline=$((SECONDS + $2))
    while kill -0 "$pid" 2>/dev/null; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            kill -KILL "$pid"
            wait "$pid" 2>/dev/null || true
            return 124
        fi
        sleep 0.1
    done
    wait "$pid"
}

# The kernel's own complaints, which no exit status tells.
_guest_check_console() {
    local name=$1 complaint
    complaint=$(grep -aE -m 5 \
        'EXT4-fs error|EXT4-fs warning|I/O error|Kernel panic|BUG:|Oops|Call Trace|blocked for more' \
        "$WORK/$name.serial.log") || return 0
    fail "guest $name: its kernel complains: $complaint"
}

# _guest_start NAME NONCE MODULES ARGUMENTS QEMU_ARGS... - a guest begins to boot; its process is
# SERVER_PID[guest-NAME].
_guest_start() {
    local name=$1 nonce=$2 modules=$3 arguments=$4
    shift 4
    rm -f -- "$WORK/$name.serial.log" "$WORK/$name.report"
    # Console and report have a serial line each, or kernel messages would
    # break the report's lines apart.
    setpriv --pdeathsig KILL qemu-system-x86_64 -accel tcg -cpu max -m 512 \
        -nographic -no-reboot -monitor none \
        -serial "file:$WORK/$name.serial.log" -serial "file:$WORK/$name.report" \
        -kernel "$GUEST_KERNEL" -initrd "$WORK/$name.initramfs" \
        -append "console=ttyS0 loglevel=5 panic=-1 random.trust_cpu=on guest.nonce=$nonce guest.modules=$modules $arguments" \
        "$@" >"$WORK/$name.qemu.log" 2>&1 </dev/null &
    # shellcheck disable=SC2034 # common.sh reads it
    SERVER_PID[guest-$name]=$!
}

# guest_run NAME MODULES ARGUMENTS QEMU_ARGS... - boots a guest and waits for its
# end; fails unless the guest reported status 0. MODULES are loaded before
# anything else (comma-separated); ARGUMENTS are more words for the kernel's
# command line.
guest_run() {
    local name=$1 nonce status=0 last
    shift
    # Only this boot's own init can know it: no leftover is taken for an answer.
    nonce=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
    _guest_start "$name" "$nonce" "$@"
    _guest_wait "${SERVER_PID[guest-$name]}" "$GUEST_TIMEOUT" || status=$?
    unset "SERVER_PID[guest-$name]"
    [ "$status" != 124 ] || fail "guest $name: did not end within $GUEST_TIMEOUT s"
    [ "$status" = 0 ] || fail "guest $name: QEMU ended with status $status"
    last=$(tail -n 1 "$WORK/$name.report" | tr -d '\r')
    case $last in
    "guest-status $nonce 0") ;;
    "guest-status $nonce "*) fail "guest $name: its script ended with status ${last##* }" ;;
    *) fail "guest $name: went down without reporting a status" ;;
    esac
    # The rest of the report is the script's.
    sed -i -e 's/\r$//' -e '$d' "$WORK/$name.report"
    _guest_check_console "$name"
}

# _guest_initramfs NAME - the shared initramfs with GUEST_FILES and the given
# files in /guest; the kernel unpacks archives laid end to end.
_guest_initramfs() {
    local name=$1 place=$WORK/$1.files
    shift
    mkdir -p "$place/guest"
    [ $# = 0 ] || cp -- "$@" "$place/guest/"
    _guest_cpio "$place" | cat "$GUEST_INITRAMFS" - >"$WORK/$name.initramfs"
    rm -rf -- "$place"
}

# guest_boot NAME MODULES SCRIPT QEMU_ARGS... - runs SCRIPT (busybox sh) in a
# guest whose root is the initramfs. SCRIPT writes its results to descriptor 3;
# what else it prints goes to the console.
guest_boot() {
    local name=$1 modules=$2 script=$3
    shift 3
    cp -- "$script" "$WORK/script"
    _guest_initramfs "$name" "${GUEST_FILES[@]}" "$WORK/script"
    guest_run "$name" "$modules" "" "$@"
}

# guest_boot_root NAME MODULES DEVICE ARGUMENTS QEMU_ARGS... - a guest that has
# DEVICE as its root file system and runs /sbin/init from there; that init
# reports as inside/init.sh describes.
guest_boot_root() {
    local name=$1 modules=$2 device=$3 arguments=$4
    shift 4
    _guest_initramfs "$name" "${GUEST_FILES[@]}"
    guest_run "$name" "$modules" "guest.root=$device $arguments" "$@"
}

# guest_boot_to_prompt NAME MODULES DEVICE QEMU_ARGS... - a guest that has DEVICE as its root and
# asks for a login on its console. Then it is cut off, as by pulling the plug.
guest_boot_to_prompt() {
    local name=$1 modules=$2 device=$3 pid deadline=$((SECONDS + GUEST_TIMEOUT))
    shift 3
    _guest_initramfs "$name" "${GUEST_FILES[@]}"
    _guest_start "$name" none "$modules" "guest.root=$device" "$@"
    pid=${SERVER_PID[guest-$name]}
    until grep -aqs ' login: ' "$WORK/$name.serial.log"; do
        kill -0 "$pid" 2>/dev/null || fail "guest $name: ended before its prompt"
        [ "$SECONDS" -lt "$deadline" ] || fail "guest $name: no prompt within $GUEST_TIMEOUT s"
        sleep 0.05
    done
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null || true
    unset "SERVER_PID[guest-$name]"
    _guest_check_console "$name"
}

# guest_section NAME TITLE - what the guest's report has below the line
# "== TITLE", up to the next such line.
guest_section() {
    awk -v title="== $2" '
        /^== / { inside = $0 == title; next }
        inside' "$WORK/$1.report"
}
