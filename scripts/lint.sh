#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# lint.sh [--fix] [--no-scripts] [SOURCE...]
#
# What is checked without running anything: clang-format, shellcheck and, by clang,
# the checks of .clang-tidy and who holds which lock. The status is 0 if nothing was
# objected to. With SOURCE... only these C++ sources; --fix lets clang-format change
# them; --no-scripts leaves shellcheck to the test that runs it, too. The first run takes
# minutes, later ones look only at what has changed.
#
# Environment: BUILD_ROOT, where build-lint goes (default: here). Nothing is built there.
set -euo pipefail
cd "$(dirname "$0")/.."

fix=
scripts=1
while :; do
    case "${1:-}" in
    --fix) fix=1 ;;
    --no-scripts) scripts= ;;
    *) break ;;
    esac
    shift
done
case "${1:-}" in
-*)
    sed -n '4,12s/^# \{0,1\}//p' scripts/lint.sh
    [ "$1" = --help ] || [ "$1" = -h ] || exit 2
    exit 0
    ;;
esac
build=$(realpath -- "${BUILD_ROOT:-.}")/build-lint
for tool in clang++ clang-format clang-tidy shellcheck; do
    command -v "$tool" >/dev/null || {
        echo "lint.sh: no $tool here; scripts/install-packages.sh lint installs it" >&2
        exit 1
    }
done

status=0
files=("$@")
if [ "${#files[@]}" = 0 ]; then
    mapfile -t files < <(find fsparse overlay plugin tools tests -name '*.cc' -o -name '*.h' | sort)
fi
if [ -n "$fix" ]; then
    clang-format -i "${files[@]}"
fi
clang-format --dry-run --Werror "${files[@]}" || status=1

if [ "$#" = 0 ]; then
    if [ -n "$scripts" ]; then BUILD_DIR=. bash tests/e2e/scripts.sh || status=1; fi
    python3 scripts/one-name.py || status=1
fi

# The headers that gcc has precompiled are nothing to clang.
options=(-Db_pch=false -Dtests=disabled -Dwerror=false)
if [ -f "$build/build.ninja" ]; then
    # So that sources that have come or gone are known.
    meson setup --reconfigure "$build" . "${options[@]}" >/dev/null
else
    CC=clang CXX=clang++ meson setup "$build" . "${options[@]}" >/dev/null
fi
python3 scripts/tidy.py "$build" "$@" || status=1
exit "$status"
