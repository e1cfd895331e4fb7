# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What the shell tests share: serving images with nbdkit, attaching and mounting
# an export by the kernel, and undoing all of it whatever happens.
#
# A test begins
#
#     set -euo pipefail
#     . "$(dirname "$0")/../lib/common.sh"
#     make_work
#
# Environment:
#   BUILD_DIR         meson's build root (required)
#   UNIONFS_PLUGIN    the plugin to serve with
#   SANITIZE_PRELOAD  put in LD_PRELOAD of nbdkit alone (a sanitizer's runtime)
#   TMPDIR            where scratch goes, /var/tmp unless set
#   KEEP_WORK         if not empty, the scratch directory stays for a post-mortem
#   SERVER_TIMEOUT    seconds a server may take to start or stop, default 120
#
# What a test may read: $WORK, the arrays SERVER_PID, DEVICE and MOUNT_POINT, all
# by the name given to `serve`. What it may set: NBDKIT_FLAGS, an array of more
# flags for nbdkit.

if [ -z "${BUILD_DIR:-}" ]; then
    echo "BUILD_DIR is not set: it must name the meson build directory" >&2
    exit 1
fi
BUILD_DIR=$(realpath -- "$BUILD_DIR")
UNIONFS_PLUGIN=${UNIONFS_PLUGIN:-$BUILD_DIR/plugin/nbdkit-unionfs-plugin.so}
SERVER_TIMEOUT=${SERVER_TIMEOUT:-120}
WORK=
NBDKIT_FLAGS=()
declare -A SERVER_PID=() DEVICE=() MOUNT_POINT=() FUSE_PID=()

export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

step() { printf '== %s\n' "$*"; }

fail() {
    printf 'FAIL: %s\n' "$*" >&2
    exit 1
}

skip() {
    printf 'SKIP: %s\n' "$*" >&2
    exit 77
}

# require TOOL... - a machine without these tools cannot run the test.
require() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || skip "this machine has no $tool"
    done
}

# require_kernel_mount - what attach and mount_merged need of the machine.
require_kernel_mount() {
    require nbdfuse losetup mount umount mountpoint
    [ "$(id -u)" = 0 ] || skip "mounting needs root"
    [ -c /dev/fuse ] || skip "this machine has no /dev/fuse"
    [ -c /dev/loop-control ] || skip "this machine has no /dev/loop-control"
    modprobe -q ext4 2>/dev/null || true
    grep -qw ext2 /proc/filesystems || skip "this kernel knows no ext2"
}

# debian_mirror - where this machine's own packages come from; nothing if it is no Debian 12.
debian_mirror() {
    # shellcheck disable=SC2016  # $(SITE) is for apt-get
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Release: bookworm' \
        'Component: main' 2>/dev/null | head -n 1 || true
}

# Set by the ERR trap: a test that stops at a failing command must say which.
_on_error() {
    printf 'FAIL: %s:%s: command failed: %s\n' "$1" "$2" "$3" >&2
}

make_work() {
    WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/unionfs-test.XXXXXX")
    WORK=$(realpath -- "$WORK")
    set -E
    trap '_on_error "${BASH_SOURCE[0]}" "$LINENO" "$BASH_COMMAND"' ERR
    trap '_undo $?' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# Mount points at or below a directory, deepest first.
_mounts_below() {
    awk -v top="$1" '$5 == top || index($5, top "/") == 1 { print $5 }' \
        /proc/self/mountinfo | tac
}

_loops_below() {
    losetup --list --noheadings --raw --output NAME,BACK-FILE 2>/dev/null |
        awk -v top="$1/" 'index($2, top) == 1 { print $1 }'
}

# Undoes everything the machine shows below $WORK, not only what this library
# did, so that a test may mount and attach things of its own there.
_undo() {
    local status=$1 name place tries
    trap - ERR EXIT
    trap '' HUP INT TERM
    set +e
    if [ "$status" != 0 ] && [ "$status" != 77 ]; then
        for name in "$WORK"/*.log; do
            [ -s "$name" ] || continue
            printf -- '---- the end of %s\n' "${name##*/}" >&2
            tail -n 40 "$name" >&2
        done
    fi
    # What the test still runs in the background keeps its mounts busy.
    for name in $(jobs -p); do
        case " ${SERVER_PID[*]} ${FUSE_PID[*]} " in
        *" $name "*) ;;
        *) kill -KILL "$name" 2>/dev/null && wait "$name" 2>/dev/null ;;
        esac
    done
    for name in "${!MOUNT_POINT[@]}"; do
        umount "${MOUNT_POINT[$name]}" 2>/dev/null ||
            umount -l "${MOUNT_POINT[$name]}" 2>/dev/null
    done
    for tries in 1 2 3; do
        # A loop device keeps its fuse mount busy, a mount keeps its loop device.
        for place in $(_mounts_below "$WORK"); do umount "$place" 2>/dev/null; done
        for place in $(_loops_below "$WORK"); do losetup -d "$place" 2>/dev/null; done
        [ -n "$(_mounts_below "$WORK")" ] || break
        sleep 0.2
    done
    [ -n "$tries" ] # the counter itself is of no use
    for place in $(_mounts_below "$WORK"); do umount -l "$place" 2>/dev/null; done
    for name in "${!SERVER_PID[@]}"; do
        [ -n "${SERVER_PID[$name]}" ] || continue
        kill -KILL "${SERVER_PID[$name]}" 2>/dev/null
        wait "${SERVER_PID[$name]}" 2>/dev/null
    done
    for name in "${!FUSE_PID[@]}"; do
        [ -n "${FUSE_PID[$name]}" ] || continue
        kill -KILL "${FUSE_PID[$name]}" 2>/dev/null
        wait "${FUSE_PID[$name]}" 2>/dev/null
    done
    if [ -n "${KEEP_WORK:-}" ]; then
        printf 'scratch kept in %s\n' "$WORK" >&2
    elif [ -n "$(_mounts_below "$WORK")" ]; then
        # Never delete through a mount that would not go away.
        printf 'FAIL: still mounted below %s\n' "$WORK" >&2
        [ "$status" != 0 ] || status=1
    else
        rm -rf --one-file-system -- "$WORK"
    fi
    exit "$status"
}

_server_log() { printf '%s/%s.log' "$WORK" "$1"; }

# _wait_gone PID SECONDS - true if the child is gone within that time.
_wait_gone() {
    local deadline=$((SECONDS + $2))
    while kill -0 "$1" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.02
    done
}

# use_sanitizer - in the subshell that becomes nbdkit. Leaks are not looked for: told to
# end, nbdkit leaves its connections as they are, and what the plugin has for them.
use_sanitizer() {
    [ -z "${SANITIZE_PRELOAD:-}" ] ||
        export LD_PRELOAD=$SANITIZE_PRELOAD ASAN_OPTIONS=detect_leaks=0
}

# serve NAME ARGS... - returns once the server's socket accepts.
serve() {
    local name=$1 socket=$WORK/$1.sock pid_file=$WORK/$1.pid pid status deadline
    shift
    [ -z "${SERVER_PID[$name]:-}" ] || fail "serve: $name is served already"
    # nbdkit does not take over the socket a killed server left.
    rm -f -- "$socket" "$pid_file"
    (
        use_sanitizer
        exec nbdkit --exit-with-parent -f -P "$pid_file" -U "$socket" \
            "${NBDKIT_FLAGS[@]}" "$UNIONFS_PLUGIN" "$@"
    ) >>"$(_server_log "$name")" 2>&1 </dev/null &
    pid=$!
    SERVER_PID[$name]=$pid
    # The pid file is written after listen(); a probing connection would be seen
    # by the plugin as a client that came and went.
    deadline=$((SECONDS + SERVER_TIMEOUT))
    until [ -s "$pid_file" ]; do
        if ! kill -0 "$pid" 2>/dev/null; then
            status=0
            wait "$pid" || status=$?
            SERVER_PID[$name]=
            fail "serve: nbdkit for $name ended with status $status"
        fi
        [ "$SECONDS" -lt "$deadline" ] || fail "serve: $name did not start in time"
        sleep 0.02
    done
}

# stop_server NAME - SIGTERM; a server that ends otherwise than with 0 is a failure.
stop_server() {
    local name=$1 pid=${SERVER_PID[$1]:-} status=0
    [ -n "$pid" ] || fail "stop_server: $name is not served"
    kill -TERM "$pid" 2>/dev/null || true
    _wait_gone "$pid" "$SERVER_TIMEOUT" || fail "stop_server: $name did not stop in time"
    wait "$pid" || status=$?
    SERVER_PID[$name]=
    [ "$status" = 0 ] || fail "stop_server: the server of $name ended with status $status"
}

# kill_server NAME - SIGKILL; it must have been alive until then.
kill_server() {
    local name=$1 pid=${SERVER_PID[$1]:-} status=0
    [ -n "$pid" ] || fail "kill_server: $name is not served"
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || status=$?
    SERVER_PID[$name]=
    [ "$status" = 137 ] || fail "kill_server: the server of $name had ended with status $status"
}

# wait_for_socket PATH - a control socket comes a moment after its server.
wait_for_socket() {
    local deadline=$((SECONDS + SERVER_TIMEOUT))
    until [ -S "$1" ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$1 does not appear"
        sleep 0.02
    done
}

socket_uri() { printf 'nbd+unix:///?socket=%s/%s.sock' "$WORK" "$1"; }

# attach NAME - a block device of the export; its path is in DEVICE[NAME].
attach() {
    local name=$1 place=$WORK/$1.fuse deadline pid
    [ -z "${DEVICE[$name]:-}" ] || fail "attach: $name is attached already"
    mkdir -p "$place"
    nbdfuse "$place" "$(socket_uri "$name")" >>"$WORK/$name.fuse.log" 2>&1 </dev/null &
    pid=$!
    FUSE_PID[$name]=$pid
    deadline=$((SECONDS + SERVER_TIMEOUT))
    until mountpoint -q "$place" && [ -f "$place/nbd" ]; do
        kill -0 "$pid" 2>/dev/null || fail "attach: nbdfuse for $name ended"
        [ "$SECONDS" -lt "$deadline" ] || fail "attach: nbdfuse for $name did not start"
        sleep 0.02
    done
    DEVICE[$name]=$(losetup --find --show "$place/nbd")
}

# detach NAME - returns once the NBD connection is closed.
detach() {
    local name=$1 place=$WORK/$1.fuse pid=${FUSE_PID[$1]:-} deadline
    if [ -n "${DEVICE[$name]:-}" ]; then
        losetup -d "${DEVICE[$name]}"
        DEVICE[$name]=
    fi
    [ -n "$pid" ] || return 0
    # The kernel lets go of the loop device's backing file a moment later.
    deadline=$((SECONDS + 30))
    until umount "$place" 2>/dev/null || ! mountpoint -q "$place"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "detach: $place stays busy"
        sleep 0.05
    done
    _wait_gone "$pid" "$SERVER_TIMEOUT" || fail "detach: nbdfuse of $name did not end"
    wait "$pid" || true
    FUSE_PID[$name]=
}

# mount_merged NAME DIR [OPTIONS] - mounts the export as ext2, attaching it first
# if it is not; OPTIONS are mount's, for example ro,noatime.
mount_merged() {
    local name=$1 place=$2 options=${3:-rw}
    [ -z "${MOUNT_POINT[$name]:-}" ] || fail "mount_merged: $name is mounted already"
    [ -n "${DEVICE[$name]:-}" ] || attach "$name"
    mkdir -p "$place"
    mount -t ext2 -o "$options" "${DEVICE[$name]}" "$place"
    MOUNT_POINT[$name]=$place
}

unmount_merged() {
    local name=$1
    [ -n "${MOUNT_POINT[$name]:-}" ] || fail "unmount_merged: $name is not mounted"
    umount "${MOUNT_POINT[$name]}"
    unset "MOUNT_POINT[$name]"
    detach "$name"
}

# umount_images PLACE... - of images that were mounted by `mount -o loop`. Who mounts one again
# while somebody still looks at its device, be it another test that lists all of them, gets that
# device as it was: read-only, if it was.
umount_images() {
    local place device backing file deadline
    for place in "$@"; do
        device=$(findmnt -n -o SOURCE --mountpoint "$place")
        backing=/sys/block/${device#/dev/}/loop/backing_file
        file=$(<"$backing")
        umount "$place"
        deadline=$((SECONDS + 30))
        while [ "$(cat "$backing" 2>/dev/null)" = "$file" ]; do
            [ "$SECONDS" -lt "$deadline" ] || fail "umount_images: $device keeps $file"
            sleep 0.02
        done
    done
}

# save_image NAME FILE - the export's bytes in a sparse file.
save_image() {
    rm -f -- "$2"
    nbdcopy --destination-is-zero "$(socket_uri "$1")" "$2"
}

# same_files WANTED FOUND MESSAGE - shows where they begin to differ.
same_files() {
    cmp -s "$1" "$2" && return 0
    diff "$1" "$2" | head -n 30 >&2 || true
    fail "$3"
}

# check_clean FILE - stock e2fsck finds nothing to say against it.
check_clean() {
    local status=0 report
    report=$(e2fsck -fn "$1" 2>&1) || status=$?
    if [ "$status" != 0 ]; then
        printf '%s\n' "$report" | head -n 60 >&2
        fail "check_clean: e2fsck -fn $1 ended with status $status"
    fi
}

# check_layer_clean UPPER COPY - the upper, not served, is marked as one (whiteouts, bit
# 0x20 of s_feature_incompat, at byte 1024 + 96), and stock e2fsck finds nothing to say
# against a copy without the mark. The copy stays, for who wants to look into the layer.
check_layer_clean() {
    local copy=$2 byte
    rm -f -- "$copy"
    cp --sparse=always -- "$1" "$copy"
    byte=$(od -An -tu1 -j 1120 -N 1 "$copy" | tr -d ' ')
    [ $((byte & 0x20)) != 0 ] || fail "check_layer_clean: $1 has no whiteout feature"
    printf '%b' "\\x$(printf '%02x' $((byte & ~0x20)))" |
        dd of="$copy" bs=1 seek=1120 conv=notrunc status=none
    check_clean "$copy"
}

# used_inodes IMAGE - how many, the ten reserved ones among them.
used_inodes() {
    dumpe2fs -h "$1" 2>/dev/null | awk '
        /^Inode count:/ { all = $3 }
        /^Free inodes:/ { free = $3 }
        END { print all - free }'
}
