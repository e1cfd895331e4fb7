# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Clients of a server of many disks that a test calls "disks".  Sourced after common.sh and
# make_work.
#
# PLACE is where the first block of /file of lower.img lies: a checkpoint keeps what is written
# there.

uri() { printf 'nbd+unix:///%s?socket=%s/disks.sock' "$1" "$WORK"; }

# at NAME COMMANDS - a client of the export.
at() { PATH=/usr/bin:$PATH nbdsh -u "$(uri "$1")" -c "$2"; }

# make_lower - lower.img, with blocks of 4 KiB and one file.
make_lower() {
    mkdir tree
    head -c 65536 /dev/zero | tr '\0' x >tree/file
    mke2fs -q -t ext2 -b 4096 -d tree lower.img 16m
    PLACE=$(debugfs -R 'blocks /file' lower.img 2>/dev/null | awk '{ print $2 * 4096 }')
}

# write_at, read_at NAME TEXT - the export NAME is given the text, or shows it.
write_at() { at "$1" "h.pwrite('$2'.encode().ljust(512), $PLACE); h.flush()"; }
read_at() { at "$1" "assert h.pread(512, $PLACE) == '$2'.encode().ljust(512), '$1 $2'"; }

# refused NAME WHY - it cannot be opened, and the log says why.
refused() {
    if at "$1" 'pass' 2>client.err; then
        fail "the export $1 was opened"
    fi
    grep -qF -- "$2" disks.log || fail "the log says nothing of: $2"
}

# said PATTERN - waits until the log has it.
said() {
    local deadline=$((SECONDS + 60))
    until grep -qE -- "$1" disks.log; do
        [ "$SECONDS" -lt "$deadline" ] || fail "the log does not say: $1"
        sleep 0.02
    done
}
