#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The table of docs/rebase.md: row_table.py has the rows.

rows.py base|ours|theirs DIRECTORY      runs what each row says of a side, in a directory
                                        of its own below DIRECTORY
rows.py check POLICY REPORT [DIRECTORY] compares a report, and where nothing is undecided a
                                        mounted result, with what each row says
"""

import json
import os
import stat
import subprocess
import sys

from row_table import ROWS


def facts_of(directory):
    """Every path below a row's directory: a content, a link's target, None for directories."""
    found = {}
    for place, directories, files in os.walk(directory):
        for name in directories + files:
            path = os.path.join(place, name)
            short = os.path.relpath(path, directory)
            state = os.lstat(path)
            if stat.S_ISLNK(state.st_mode):
                found[short] = "-> " + os.readlink(path)
            elif stat.S_ISDIR(state.st_mode):
                found[short] = None
            elif stat.S_ISREG(state.st_mode):
                with open(path, "rb") as file:
                    found[short] = file.read().decode("latin-1").strip()
            else:
                found[short] = f"device {os.major(state.st_rdev)} {os.minor(state.st_rdev)}"
    return found


def fact(directory, what):
    kind, path = what.split(" ", 1)
    path = os.path.join(directory, path)
    state = os.lstat(path)
    if kind == "mode":
        return stat.S_IMODE(state.st_mode)
    if kind == "owner":
        return state.st_uid
    if kind == "group":
        return state.st_gid
    if kind == "links":
        return state.st_nlink
    if kind == "time":
        return int(state.st_mtime)
    if kind == "count":
        return len(os.listdir(path))
    if kind == "begin":
        with open(path, encoding="latin-1") as file:
            return file.read(1)
    if kind == "large":
        with open(path, "rb") as file:
            return file.read().find(b"o")
    return {name: os.getxattr(path, name).decode() for name in os.listxattr(path)}


def check_tree(wanted, directory):
    """What is wrong with a row's result."""
    wrong = []
    found = facts_of(directory)
    shown = {path: value for path, value in wanted.items() if " " not in path}
    partial = any(path.startswith(("count ", "large ")) for path in wanted)
    for path in sorted(set(shown) | (set() if partial else set(found))):
        if path not in found or path not in shown or found[path] != shown[path]:
            wrong.append(f"{path}: {found.get(path, 'nothing')!r}, "
                         f"not {shown.get(path, 'nothing')!r}")
    for what in (path for path in wanted if " " in path):
        is_there = os.path.lexists(os.path.join(directory, what.split(" ", 1)[1]))
        value = fact(directory, what) if is_there else "nothing"
        if value != wanted[what]:
            wrong.append(f"{what}: {value!r}, not {wanted[what]!r}")
    return wrong


def check(policy, report_path, directory):
    with open(report_path, encoding="utf-8") as file:
        report = json.load(file)
    wrong = []
    for one in ROWS:
        top = "/" + one["name"] + "/"
        conflicts = sorted((found["class"], found["path"].removeprefix(top))
                           for found in report["conflicts"] if found["path"].startswith(top))
        # --ids decides the owners, and then they are none.
        expected = sorted(known for known in one["conflicts"]
                          if policy == "fail" or known[0] != "owner")
        if policy == "theirs":
            expected = sorted(expected + one["following"])
        if conflicts != expected:
            wrong.append(f"{one['name']}: conflicts {conflicts}, not {expected}")
        notes = [(found["kind"], found["path"].removeprefix(top)) for found in report["notes"]]
        for note in one["notes"]:
            if note not in notes:
                wrong.append(f"{one['name']}: no note {note}")
        wanted = one["results"].get(policy)
        if directory and wanted is not None:
            wrong += [f"{one['name']}: {text}"
                      for text in check_tree(wanted, os.path.join(directory, one["name"]))]
    for found in report["conflicts"]:
        # A unit cannot be both; see rows.sh.
        wanted = (None if policy == "fail"
                  else "ours" if policy == "both" and found["class"] == "unit" else policy)
        if found["resolution"] != wanted:
            wrong.append(f"{found['path']}: resolution {found['resolution']}, not {wanted}")
    return wrong


def run(side, directory):
    for one in ROWS:
        place = os.path.join(directory, one["name"])
        os.makedirs(place, exist_ok=True)
        script = one["base"] if side == "base" else one["sides"][side]
        if script:
            subprocess.run(["bash", "-ec", "umask 022\n" + script], cwd=place, check=True)


def main():
    if sys.argv[1] != "check":
        run(sys.argv[1], sys.argv[2])
        return
    wrong = check(sys.argv[2], sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else None)
    if wrong:
        sys.exit(f"policy {sys.argv[2]}:\n" + "\n".join(wrong))
    print(f"policy {sys.argv[2]}: {len(ROWS)} rows")


if __name__ == "__main__":
    main()
