#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""tidy.py BUILD [SOURCE...]

Looks at the sources of the product, or at those that are named, with the compile commands of
BUILD, which must be clang's.

All of them: clang-tidy looks at the sources of a library joined to a few large pieces, because it
spends most of its time in the headers. Named ones: at each by itself, so that each must include what
it needs. What passed is not looked at again until it, or anything that it includes, or .clang-tidy
has changed.
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
PIECE = 40  # sources that are joined


def run(command, directory):
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, errors="replace")


def words_of(entry):
    """The compile command, without what it writes."""
    words = shlex.split(entry["command"])
    for option, count in (("-o", 2), ("-c", 1), ("-MD", 1), ("-MQ", 2), ("-MF", 2)):
        if option in words:
            del words[words.index(option) : words.index(option) + count]
    return words


def fingerprint(entry):
    """Of all that clang-tidy sees: the preprocessed source, comments and all."""
    seen = run([*words_of(entry), "-E", "-C"], entry["directory"])
    parts = (seen.stdout, seen.stderr, entry["command"], (TOP / ".clang-tidy").read_text())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def source_of(entry):
    return pathlib.Path(entry["directory"], entry["file"]).resolve()


def objections(commands, passed, entry):
    """What clang-tidy says against the source; empty if nothing."""
    source = source_of(entry)
    mark = passed / str(source).replace("/", "+")
    print_of_now = fingerprint(entry)
    if mark.is_file() and mark.read_text() == print_of_now:
        return ""
    done = run(["clang-tidy", "-p", str(commands), "--quiet", str(source)], TOP)
    if done.returncode != 0:
        return done.stdout + done.stderr
    mark.write_text(print_of_now)
    return ""


def must_stay_alone(source):
    """The header of libext2fs gives names of fields to the preprocessor."""
    text = source.read_text()
    return "<ext2fs/" in text or "ext4_channel.h" in text or "ext2_io_manager.h" in text


def joined(build, entries):
    """The sources of each library in pieces, as entries of compile commands of their own."""
    pieces = {}
    for entry in entries:
        source = source_of(entry)
        library = pathlib.Path(entry["output"]).parent
        alone = source if must_stay_alone(source) else None
        pieces.setdefault((library, alone), []).append(entry)
    directory = build / "joined"
    directory.mkdir(exist_ok=True)
    result = []
    for (library, _), members in pieces.items():
        for begin in range(0, len(members), PIECE):
            part = members[begin : begin + PIECE]
            if len(part) == 1:
                result.append(part[0])
                continue
            path = directory / (str(library).replace("/", "+") + f"-{begin}.cc")
            text = "".join(f'#include "{source_of(entry)}"\n' for entry in part)
            if not path.is_file() or path.read_text() != text:
                path.write_text(text)
            words = [word for word in words_of(part[0]) if word != part[0]["file"]]
            result.append({"directory": part[0]["directory"], "file": str(path),
                           "command": shlex.join([*words, "-c", str(path)])})
    (directory / "compile_commands.json").write_text(json.dumps(result))
    return directory, result


def tell(results):
    failed = 0
    for text in results:
        if text:
            failed += 1
            print(text, file=sys.stderr, flush=True)
    return failed


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = {pathlib.Path(name).resolve() for name in sys.argv[2:]}
    entries = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = source_of(entry)
        if source.relative_to(TOP).parts[0] in ROOMS and (not wanted or source in wanted):
            entries[source] = entry
    commands, pieces = build, list(entries.values())
    passed = build / "passed"
    passed.mkdir(exist_ok=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        if not wanted:
            commands, pieces = joined(build, entries.values())
        failed += tell(threads.map(lambda entry: objections(commands, passed, entry), pieces))
    print(f"clang-tidy: {len(entries)} sources, {failed} with objections")
    return 1 if failed or not entries else 0


sys.exit(main())
