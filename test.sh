#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Installs what is missing, builds, runs all tests and counts them.  docs/testing.md
# says what the tests are; `./test.sh --help` what the flags do.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
    cat <<'END'
usage: ./test.sh [--sanitize] [--long] [SUITE...]

Runs the tests.  The last line is "N passed, N failed, N skipped".  The status is
0 if none failed.

  --sanitize   unit and e2e once more with AddressSanitizer and
               UndefinedBehaviorSanitizer, the served disks too, and sessions
               used by many threads with ThreadSanitizer
  --long       the long runs as well (hours)
  SUITE        only these: unit, e2e, guest, docs, fuzz, long

Environment:
  BUILD_ROOT     where the build directories build-test, build-asan and build-tsan go
                 (default: here)
  FUZZ_SECONDS   how long each fuzz target runs (default: a number of inputs;
                 with --long: 7200)
END
}

sanitize=
long=
suites=()
for argument in "$@"; do
    case "$argument" in
    --sanitize) sanitize=1 ;;
    --long) long=1 ;;
    -h | --help)
        usage
        exit 0
        ;;
    unit | e2e | guest | docs | fuzz | long) suites+=("$argument") ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
done
# Named suites run even if the default setup leaves them out, as it does with "long".
if [ -n "$long" ] && [ "${#suites[@]}" = 0 ]; then
    suites=(unit docs e2e guest fuzz long)
fi
is_fuzzing=
chosen=()
for suite in "${suites[@]}"; do
    if [ "$suite" = fuzz ]; then is_fuzzing=1; else chosen+=(--suite "$suite"); fi
done
[ "${#suites[@]}" != 0 ] || is_fuzzing=1
BUILD_ROOT=$(realpath -- "${BUILD_ROOT:-.}")
logs=()

say() { printf '\n=== %s\n' "$*"; }

# configure NAME OPTIONS... - configures the build directory build-NAME.  Files of the
# product are joined to large pieces, which takes a fraction of the time to compile.
configure() {
    local directory=$BUILD_ROOT/build-$1
    shift
    if [ -f "$directory/build.ninja" ]; then
        meson configure "$directory" -Dtests=enabled -Dunity=on "$@"
    else
        meson setup "$directory" . -Dtests=enabled -Dunity=on "$@" >"$directory.log" 2>&1 || {
            cat "$directory.log" >&2
            exit 1
        }
        rm -f -- "$directory.log"
    fi
}

# run_tests NAME FLAGS... - runs tests of build-NAME, building what they need; how
# they went is counted from the log in the end.
run_tests() {
    local name=$1 directory=$BUILD_ROOT/build-$1
    shift
    rm -f -- "$directory/meson-logs/run.json"
    # Tests that failed are counted from the log; but a run that was cut short, by a
    # signal, must not pass for a whole one.
    local status=0
    meson test -C "$directory" --logbase run --num-processes "$(nproc)" \
        --print-errorlogs "$@" </dev/null || status=$?
    if [ "$status" -ge 124 ]; then
        echo "build-$name: meson test ended with status $status" >&2
        exit 1
    fi
    [ -s "$directory/meson-logs/run.json" ] || {
        echo "build-$name: no test was run" >&2
        exit 1
    }
    logs+=("$directory/meson-logs/run.json")
}

# has_fuzzer - whether there is a clang with libFuzzer.
has_fuzzer() {
    clang++ -fsanitize=fuzzer,address -x c++ -o /dev/null - 2>/dev/null <<'END'
extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }
END
}

# configure_sanitized - the build of the fuzz targets, which is that of the tests with
# sanitizers as well: clang takes half of g++'s time for instrumented code.  Not optimized, it
# is compiled in a third of the time, and tests wait for disks most of theirs.  Warnings are
# errors in the normal build only.
configure_sanitized() {
    local cache='' optimization=0
    ! command -v ccache >/dev/null || cache="ccache "
    [ -z "$long" ] || optimization=1
    CC="${cache}clang" CXX="${cache}clang++" configure asan -Dfuzz=enabled \
        "-Doptimization=$optimization" -Ddebug=false -Dwerror=false -Db_sanitize=address,undefined
}

# fuzz - builds the fuzz targets and runs them, or notes why that cannot be.
fuzz() {
    if ! has_fuzzer; then
        mkdir -p "$BUILD_ROOT/build-asan/meson-logs"
        logs+=("$BUILD_ROOT/build-asan/meson-logs/skipped.json")
        printf '{"name": "fuzz", "result": "SKIP", "stdout": "SKIP: no clang++ with libFuzzer"}\n' \
            >"${logs[-1]}"
        return
    fi
    configure_sanitized
    ninja -C "$BUILD_ROOT/build-asan" fuzz-targets
    if [ -n "$long" ]; then
        # What was found is where the next long run begins.
        FUZZ_SECONDS=${FUZZ_SECONDS:-7200} FUZZ_KEEP=$BUILD_ROOT/build-asan/found \
            run_tests asan --suite fuzz --timeout-multiplier 0
    else
        run_tests asan --suite fuzz --timeout-multiplier 0
    fi
    # What follows there has a log of its own.
    mv -- "${logs[-1]}" "$BUILD_ROOT/build-asan/meson-logs/fuzz.json"
    logs[-1]=$BUILD_ROOT/build-asan/meson-logs/fuzz.json
}

say "packages"
scripts/install-packages.sh build
scripts/install-packages.sh test || echo "going on: tests that lack something are skipped"
if [[ " ${suites[*]} " = *" long "* ]]; then scripts/install-packages.sh long || true; fi
if [ -n "$is_fuzzing$sanitize" ]; then scripts/install-packages.sh fuzz || true; fi

if [ "${#suites[@]}" = 0 ] || [ "${#chosen[@]}" != 0 ]; then
    say "a normal build"
    configure test -Dwerror=true
    ninja -C "$BUILD_ROOT/build-test"

    say "its tests"
    # What takes longest and is run with sanitizers below is not run twice; of the kinds of
    # images that random operations are tried with, another one than there.
    once=()
    kinds=
    if [ -n "$sanitize" ] && [ "${#suites[@]}" = 0 ]; then
        once=(--no-suite sanitized)
        kinds="1024/256/^dir_index"
    fi
    KINDS=${KINDS:-$kinds} run_tests test "${chosen[@]}" "${once[@]}"
fi

if [ -n "$is_fuzzing" ]; then
    say "fuzz targets"
    fuzz
fi

if [ -n "$sanitize" ] && { [ "${#suites[@]}" = 0 ] || [ "${#chosen[@]}" != 0 ]; }; then
    say "with AddressSanitizer and UndefinedBehaviorSanitizer"
    # nbdkit is not instrumented itself: the runtimes must be there before the plugin.
    if has_fuzzer; then
        configure_sanitized
        preload=$(clang++ "-print-file-name=libclang_rt.asan-$(uname -m).so")
    else
        configure asan -Doptimization=0 -Dwerror=false -Db_sanitize=address,undefined
        compiler=${CXX:-c++}
        preload="$($compiler -print-file-name=libasan.so) $($compiler -print-file-name=libubsan.so)"
    fi
    ninja -C "$BUILD_ROOT/build-asan"
    preload+=" $BUILD_ROOT/build-asan/tests/libsanitizer-first.so"
    # What documents say and what a virtual machine does was seen above, and what is more of
    # the same.  Of the kinds of images that random operations are tried with, one of seven; of
    # the rounds of a rebase, four of twelve.
    [ "${#suites[@]}" != 0 ] || chosen=(--suite unit --suite e2e --no-suite more)
    KINDS=${KINDS:-4096/256/^filetype} \
        REBASE_ROUNDS=${REBASE_ROUNDS:-4} \
        SANITIZE_PRELOAD=$preload run_tests asan --timeout-multiplier 4 "${chosen[@]}"

    say "with ThreadSanitizer: sessions used by many threads"
    if has_fuzzer; then export CC="${CC:-clang}" CXX="${CXX:-clang++}"; fi
    configure tsan -Doptimization=0 -Ddebug=true -Dwerror=false -Db_sanitize=thread
    run_tests tsan --timeout-multiplier 4 overlay-threads
fi

python3 scripts/count-tests.py "${logs[@]}"
