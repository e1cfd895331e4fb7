# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Servers of lowers, and disks over them. Sourced after common.sh; the test is in $WORK.
#
#   lower_up, nbdkit_up, lower_down, uri    a server, and its address
#   said, in_shell, same_disks              of disks that were served

declare -A LOWER_PID=()

# lower_up NAME COMMAND... - a server at the socket NAME.lower, which writes NAME.lower.pid.
lower_up() {
    local name=$1 deadline=$((SECONDS + SERVER_TIMEOUT))
    shift
    rm -f "$name.lower" "$name.lower.pid"
    "$@" >>"$name.lower.log" 2>&1 </dev/null &
    LOWER_PID[$name]=$!
    until [ -s "$name.lower.pid" ]; do
        kill -0 "${LOWER_PID[$name]}" 2>/dev/null || fail "lower_up: $name ended"
        [ "$SECONDS" -lt "$deadline" ] || fail "lower_up: $name did not start"
        sleep 0.02
    done
}

# nbdkit_up NAME ARGS... - the same, of an nbdkit.
nbdkit_up() {
    local name=$1
    shift
    lower_up "$name" nbdkit --exit-with-parent -f -U "$WORK/$name.lower" \
        -P "$WORK/$name.lower.pid" -r "$@"
}

lower_down() {
    kill -KILL "${LOWER_PID[$1]}"
    wait "${LOWER_PID[$1]}" 2>/dev/null || true
    LOWER_PID[$1]=
}

uri() { printf 'nbd+unix:///?socket=%s/%s.lower' "$WORK" "$1"; }

# said NAME PATTERN [COUNT] - waits until the log of a disk has such lines.
said() {
    local deadline=$((SECONDS + 30))
    until [ "$(grep -cE -e "$2" "$1.log")" -ge "${3:-1}" ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "the log of $1 does not say: $2"
        sleep 0.02
    done
}

# in_shell NAME CODE - nbdsh over the disk.
in_shell() (exec env PATH="/usr/bin:$PATH" nbdsh -u "$(socket_uri "$1")" -c "$2")

# same_disks A B
same_disks() {
    save_image "$1" "$1.raw"
    save_image "$2" "$2.raw"
    cmp "$1.raw" "$2.raw" || fail "the disk $1 is not the disk $2"
}
