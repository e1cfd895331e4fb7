#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""tidy.py BUILD [SOURCE...]

Runs clang-tidy over the sources of the product, or over those that are named, with the
compile commands of BUILD, which must be clang's. A source that passed is not looked at
again until it, or anything that it includes, or .clang-tidy has changed.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[1]
ROOMS = ("fsparse", "overlay", "plugin", "tools")


def run(command, directory):
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, errors="replace")


def fingerprint(entry):
    """Of all that clang-tidy sees: the preprocessed source, comments and all."""
    words = shlex.split(entry["command"])
    for option, count in (("-o", 2), ("-c", 1), ("-MD", 1), ("-MQ", 2), ("-MF", 2)):
        if option in words:
            del words[words.index(option) : words.index(option) + count]
    seen = run([*words, "-E", "-C"], entry["directory"])
    parts = (seen.stdout, seen.stderr, entry["command"], (TOP / ".clang-tidy").read_text())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def objections(build, entry):
    """What clang-tidy says against the source; empty if nothing."""
    source = pathlib.Path(entry["directory"], entry["file"]).resolve()
    mark = build / "passed" / (str(source.relative_to(TOP)).replace("/", "+"))
    print_of_now = fingerprint(entry)
    if mark.is_file() and mark.read_text() == print_of_now:
        return ""
    done = run(["clang-tidy", "-p", str(build), "--quiet", str(source)], TOP)
    if done.returncode != 0:
        return done.stdout + done.stderr
    mark.parent.mkdir(exist_ok=True)
    mark.write_text(print_of_now)
    return ""


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = {pathlib.Path(name).resolve() for name in sys.argv[2:]}
    entries = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = pathlib.Path(entry["directory"], entry["file"]).resolve()
        if source.relative_to(TOP).parts[0] in ROOMS and (not wanted or source in wanted):
            entries[source] = entry
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        for text in threads.map(lambda entry: objections(build, entry), entries.values()):
            if text:
                failed += 1
                print(text, file=sys.stderr, flush=True)
    print(f"clang-tidy: {len(entries)} sources, {failed} with objections")
    return 1 if failed or not entries else 0


sys.exit(main())
