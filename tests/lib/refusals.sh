# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Servers that must refuse their images, or may take them. Sourced after common.sh and
# expectations.sh; the caller makes $WORK and in it plain.img, and looks at
# failure_count in the end.
#
#   must_refuse, may_accept, must_serve     one start of a server
#   damaged_lower                           the same with a damaged copy of a lower
#   every_field                             each field of a place at its extremes

# shellcheck disable=SC2016,SC2034 # $uri is nbdkit's; the caller reads the counts

CORRUPT=$BUILD_DIR/tests/image-corrupt
# The sanitizer that is put before the server does not go before a program that has its own.
READ_ALL="env -u LD_PRELOAD $BUILD_DIR/tests/nbd-read-all \"\$uri\""
for tool in image-corrupt nbd-read-all; do
    [ -x "$BUILD_DIR/tests/$tool" ] || fail "$BUILD_DIR/tests/$tool is not built"
done

MEMORY_KIB=$((2 << 20))
MESSAGE_LIMIT_SECONDS=10
ACCEPT_SIZE=6M
CRASH_WORDS='terminate called|(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:'
CRASH_WORDS+='|killed by signal|Assertion .* failed|stack smashing|malloc\(\)|free\(\)|double free'
CRASH_WORDS+='|std::bad_alloc'
refused_count=0
served_count=0
failure_count=0

# run_server COMMAND LOWER_AND_UPPER... - leaves STATUS and $WORK/said.
run_server() {
    local command=$1
    shift
    STATUS=0
    (
        use_sanitizer
        # A sanitizer's shadow memory is all of the address space.
        [ -n "${SANITIZE_PRELOAD:-}" ] || ulimit -v "$MEMORY_KIB"
        ulimit -c 0
        exec timeout -k 2 "$MESSAGE_LIMIT_SECONDS" \
            nbdkit -U - -t 4 "${NBDKIT_FLAGS[@]}" "$UNIONFS_PLUGIN" "$@" --run "$command"
    ) >"$WORK/said" 2>&1 </dev/null || STATUS=$?
}

# no_crash WHAT - what no input may bring about.
no_crash() {
    case $STATUS in
    124 | 137) failed "$1: no end within $MESSAGE_LIMIT_SECONDS s" ;;
    *) [ "$STATUS" -lt 128 ] || failed "$1: ended by signal $((STATUS - 128))" ;;
    esac
    # nbdkit itself says "killed by signal" if it has forked off the server before.
    ! grep -aqE "$CRASH_WORDS" "$WORK/said" || failed "$1: the server crashed"
}

# One damage does not hide the others: the test goes on and fails in the end.
failed() {
    printf 'FAIL: %s\n' "$1" >&2
    # nbdinfo's own words are about what should not have been served.
    grep -av "^[^ ]*$(printf '\t')\|^    \|^$" "$WORK/said" | head -n 8 | sed 's/^/    /' >&2 || true
    failure_count=$((failure_count + 1))
}

# state_of FILE - changes if the file's content, size or times do.
state_of() {
    if [ -f "$1" ]; then
        printf '%s %s' "$(stat -Lc '%s %Y %Z %i' "$1")" "$(sha256sum <"$1")"
    elif [ -e "$1" ] || [ -L "$1" ]; then
        stat -c '%F %s %Y %i' "$1"
    else
        printf 'absent'
    fi
}

# said_why NAME - a line that names the image and says more than that.
said_why() {
    local line
    line=$(grep -aF -- "$1" "$WORK/said" | head -n 1) || true
    [ "$((${#line} - ${#1}))" -ge 10 ] || return 1
    [ -z "${BAD_INPUT_VERBOSE:-}" ] || printf '    %s\n' "${line//"$WORK/"/}"
}

# must_refuse WHAT NAME_IN_MESSAGE LOWER UPPER [ARGUMENTS...]
must_refuse() {
    local what=$1 name=$2 lower_before upper_before
    shift 2
    lower_before=$(state_of "$1")
    upper_before=$(state_of "$2")
    run_server 'env -u LD_PRELOAD nbdinfo "$uri"' "$@"
    no_crash "$what"
    if [ "$STATUS" = 0 ]; then
        failed "$what: was not refused"
        [ "$upper_before" != absent ] || rm -f "$2"
        return 0
    fi
    said_why "$name" || failed "$what: no message that names $name and a fact"
    [ "$(state_of "$1")" = "$lower_before" ] || failed "$what: the lower was changed"
    [ "$(state_of "$2")" = "$upper_before" ] || failed "$what: the upper was created or changed"
    [ "$upper_before" != absent ] || rm -f "$2"
    refused_count=$((refused_count + 1))
}

# may_accept WHAT NAME_IN_MESSAGE LOWER UPPER [ARGUMENTS...] - refused, or served and
# readable; a read may fail, with a message.
may_accept() {
    local what=$1 name=$2 lower_before
    shift 2
    lower_before=$(state_of "$1")
    run_server "$READ_ALL" "$@"
    no_crash "$what"
    if [ "$STATUS" != 0 ]; then
        said_why "$name" || failed "$what: no message that names $name and a fact"
        refused_count=$((refused_count + 1))
    else
        served_count=$((served_count + 1))
    fi
    [ "$(state_of "$1")" = "$lower_before" ] || failed "$what: the lower was changed"
}

# must_serve WHAT LOWER UPPER [ARGUMENTS...] - the counterpart: what is refused above
# is refused for its damage.
must_serve() {
    local what=$1
    shift
    run_server "$READ_ALL" "$@"
    no_crash "$what"
    [ "$STATUS" = 0 ] || failed "$what: was refused"
    served_count=$((served_count + 1))
}

# damaged_lower EXPECTATION SOURCE CHANGE... - a copy of SOURCE with the changes.
# Expectation: must or may.
damaged_lower() {
    local expectation=$1 source=$2 status=0
    shift 2
    cp --sparse=always "$source" "$WORK/damaged-lower.img"
    "$CORRUPT" "$WORK/damaged-lower.img" "$@" || status=$?
    [ "$status" != 3 ] || return 0 # that value was there already
    [ "$status" = 0 ] || fail "could not damage: $*"
    rm -f "$WORK/new-upper.img"
    set -- "${source##*/}: $*" damaged-lower.img "$WORK/damaged-lower.img" \
        "$WORK/new-upper.img" "size=$ACCEPT_SIZE"
    if [ "$expectation" = must ]; then must_refuse "$@"; else may_accept "$@"; fi
}

# every_field PLACE TABLE SOURCE FUNCTION - each field of the place at each of its
# extremes; TABLE names the fields and the values that must be refused.
every_field() {
    local place=$1 table=$2 source=$3 try=$4 kind=${1%%[*} field width must value
    while read -r field width; do
        [ "$width" -gt 0 ] || fail "field $field has no width"
        must=$(expectation_of "$table" "$field") ||
            fail "no expectation for $field of $kind"
        [ "$must" != skip ] || continue
        for value in 0 1 max max-1 sign sign-1 +1 -1; do
            if [ "$must" = all ] || [[ " $must " = *" $value "* ]]; then
                "$try" must "$source" "$place.$field=$value"
            else
                "$try" may "$source" "$place.$field=$value"
            fi
        done
    done < <("$CORRUPT" --list "$kind")
}
