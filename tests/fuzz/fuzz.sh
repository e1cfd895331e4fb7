#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# fuzz.sh TARGET CORPUS RUNS [BYTES]
#
# Runs a fuzz target: each input of its corpus, and then inputs made of them, up to RUNS of
# both, so that a quick machine does not come farther than others; a slow one stops after a
# minute.  The seed is always the same.  Which inputs are made also depends on the order of
# the corpus on the disk, and on which lines the threads of a session come to in time.
# Inputs have at most BYTES bytes (default: 484, which a recipe has).
# An input that breaks something is kept, and shown in hexadecimal.
#
# Environment:
#   FUZZ_SECONDS      how long, in place of how many
#   FUZZ_KEEP         a directory for inputs that reach more: they are the next run's corpus,
#                     too, in a directory for each target (default: none is kept)
#   FUZZ_FSCK_EVERY   e2fsck is asked about one image of that many (default: 64)
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
target=$1 corpus=$2 runs=$3 most_bytes=${4:-484}
[ -z "${FUZZ_SECONDS:-}" ] || runs=-1
name=$(basename "$target")

work=$(mktemp -d "${TMPDIR:-/var/tmp}/$name.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
kept=${FUZZ_KEEP:+$FUZZ_KEEP/$name}
kept=${kept:-$work/corpus}
broken=$PWD/broken-inputs
mkdir -p "$kept" "$broken"

# An execution takes milliseconds and no more memory than a few images.  Inputs are chosen without
# weights: to keep these, libFuzzer goes through all that inputs reach after each of them, which
# takes longer than the execution.
flags=(-entropic=0 -seed=1 -timeout=25 -rss_limit_mb=1024 -malloc_limit_mb=256 "-max_len=$most_bytes"
    -print_final_stats=1 -reload=0 "-artifact_prefix=$broken/$name-")

run() {
    local status=0
    ASAN_OPTIONS=allocator_may_return_null=0 UBSAN_OPTIONS=print_stacktrace=1 \
        "$target" "${flags[@]}" "$@" >"$work/log" 2>&1 || status=$?
    [ "$status" != 0 ] || return 0
    grep -v -E '^#[0-9]+[[:space:]]' "$work/log" | tail -n 80
    local input
    for input in "$broken/$name"-*; do
        [ "$input" -nt "$work/began" ] || continue
        echo "== $input in hexadecimal; again: $target $input"
        od -An -v -tx1 "$input" | tr -d '\n'
        echo
    done
    return 1
}

touch "$work/began"
echo "corpus: $(find "$corpus" -type f | wc -l) inputs"
run "-max_total_time=${FUZZ_SECONDS:-60}" "-runs=$runs" "$kept" "$corpus"
sed -n 's/^stat::/ /p' "$work/log"
