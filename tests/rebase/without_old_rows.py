#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The rows of a rebase without the old lower (docs/rebase.md), as rows.py has the others.

without_old_rows.py base|ours|theirs DIRECTORY
without_old_rows.py check KIND POLICY REPORT [DIRECTORY]

KIND says what the new lower is: `rebuilt`, of which no number means anything to the layer's
records, or `copy`, the old lower with something changed in it. A row of which a part can never
be ours begins with `never-`; it is decided for theirs whatever the policy.
"""

import json
import os
import sys

import rows

ROWS = []


def row(name, base, ours, theirs, rebuilt=(), copy=(), /, result=None, **trees):
    """Conflicts of both kinds, and what comes out: `result` whatever the policy and the kind;
    ours, theirs, both differ by the policy where there is a conflict; `proven` is the result of
    the copy, where that has none, and copy_theirs another one than theirs."""
    ROWS.append({"name": name, "base": base, "sides": {"ours": ours, "theirs": theirs},
                 "conflicts": {"rebuilt": list(rebuilt), "copy": list(copy)},
                 "result": result, "trees": trees})


def make_with_number_of(gone, name):
    """Commands that remove one name and make a file that gets its number."""
    return (f"number=$(stat -c %i {gone}); rm -r {gone}; spare=0; "
            f"until echo o >{name} && [ $(stat -c %i {name}) = $number ]; do "
            f"spare=$((spare + 1)); [ $spare -lt 500 ]; mv {name} spare$spare; done; rm -f spare*")


row("added", "", "echo o >f", "", result={"f": "o"})
row("added-alike", "", "echo x >f", "echo x >f", result={"f": "x"})
row("added-by-both", "", "echo o >f", "echo t >f", ["f"], ["f"],
    ours={"f": "o"}, theirs={"f": "t"}, both={"f": "t", "f.ours": "o"})
row("added-beside-theirs", "echo b >f", "echo o >g", "echo t >f; echo t >h",
    result={"f": "t", "g": "o", "h": "t"})
row("written-anew", "echo b >f", "echo o >new; mv new f", "", ["f"],
    ours={"f": "o"}, theirs={"f": "b"}, both={"f": "b", "f.ours": "o"}, proven={"f": "o"})
row("written-over", "echo b >f", "echo o >f", "", ["f"],
    ours={"f": "o"}, theirs={"f": "b"}, both={"f": "b", "f.ours": "o"}, proven={"f": "o"})
row("written-over-and-changed", "echo b >f", "echo o >f", "echo t >f", ["f"], ["f"],
    ours={"f": "o"}, theirs={"f": "t"}, both={"f": "t", "f.ours": "o"})
row("written-over-and-gone", "echo b >f", "echo o >f", "rm f", ["f"], ["f"],
    ours={"f": "o"}, theirs={}, both={"f": "o"})
row("never-a-block", "truncate -s 300K f; echo b >>f; cp f g",
    "printf o | dd of=f bs=1 seek=100000 conv=notrunc status=none", "", ["f"],
    theirs={"large f": -1}, proven={"large f": 100000})
row("never-a-block-of-a-large-file", "yes b | head -c 3M >f",
    "printf o | dd of=f bs=1 seek=100000 conv=notrunc status=none", "", ["f"], ["f"],
    theirs={"large f": -1})
row("never-a-block-and-changed", "yes b | head -c 20000 >f",
    "printf o | dd of=f bs=1 seek=9000 conv=notrunc status=none", "touch -d 2001-01-01 f",
    ["f"], ["f"], theirs={"large f": -1})
row("never-the-mode", "echo b >f", "chmod 600 f", "", ["f"],
    theirs={"f": "b", "mode f": 0o644}, proven={"f": "b", "mode f": 0o600})
row("gone", "echo b >f; echo b >g", "rm f", "", ["f"],
    ours={"g": "b"}, theirs={"f": "b", "g": "b"}, both={"f": "b", "g": "b"}, proven={"g": "b"})
row("gone-and-changed", "echo b >f", "rm f", "echo t >f", ["f"], ["f"],
    ours={}, theirs={"f": "t"}, both={"f": "t"})
row("gone-and-another-changed", "mkdir d; echo b >d/x; echo b >d/y", "rm d/x", "echo t >d/y",
    ["d/x"], ours={"d": None, "d/y": "t"}, theirs={"d": None, "d/x": "b", "d/y": "t"},
    both={"d": None, "d/x": "b", "d/y": "t"}, proven={"d": None, "d/y": "t"})
row("gone-and-another-added", "mkdir d; echo b >d/x; echo b >d/y", "rm d/x", "echo t >d/z",
    ["d/x"], ["d/x"], ours={"d": None, "d/y": "b", "d/z": "t"},
    theirs={"d": None, "d/x": "b", "d/y": "b", "d/z": "t"},
    both={"d": None, "d/x": "b", "d/y": "b", "d/z": "t"})
row("gone-alike", "echo b >f", "rm f", "rm f", result={})
row("directory-gone", "mkdir d; echo b >d/x; mkdir d/e", "rm -r d", "", ["d"],
    ours={}, theirs={"d": None, "d/x": "b", "d/e": None},
    both={"d": None, "d/x": "b", "d/e": None}, proven={})
row("directory-gone-and-added-to", "mkdir d; echo b >d/x", "rm -r d", "echo t >d/y", ["d"], ["d"],
    ours={}, theirs={"d": None, "d/x": "b", "d/y": "t"},
    both={"d": None, "d/x": "b", "d/y": "t"})
row("directory-gone-and-deep-changed", "mkdir -p d/e; echo b >d/e/x", "rm -r d", "echo t >d/e/x",
    ["d"], ["d"], ours={}, theirs={"d": None, "d/e": None, "d/e/x": "t"},
    both={"d": None, "d/e": None, "d/e/x": "t"})
row("directory-new", "", "mkdir -p d/e; echo o >d/e/f", "",
    result={"d": None, "d/e": None, "d/e/f": "o"})
row("directories-added-by-both", "", "mkdir d; echo o >d/f", "mkdir d; echo t >d/g", ["d"], ["d"],
    ours={"d": None, "d/f": "o"}, theirs={"d": None, "d/f": "o", "d/g": "t"},
    both={"d": None, "d/f": "o", "d/g": "t"})
row("directory-made-anew", "mkdir d; echo b >d/x", "rm -r d; mkdir d; echo o >d/new", "", ["d"],
    ours={"d": None, "d/new": "o"}, theirs={"d": None, "d/x": "b", "d/new": "o"},
    both={"d": None, "d/x": "b", "d/new": "o"}, proven={"d": None, "d/new": "o"})
row("directory-mode", "mkdir d; echo b >d/x", "chmod 700 d", "", ["d"],
    ours={"d": None, "d/x": "b", "mode d": 0o700}, theirs={"d": None, "d/x": "b", "mode d": 0o755},
    both={"d": None, "d/x": "b", "mode d": 0o755},
    proven={"d": None, "d/x": "b", "mode d": 0o700})
row("added-to-a-directory-that-is-gone", "mkdir -p d/e; echo b >d/e/x; echo b >d/y",
    "echo o >d/e/new", "rm -r d", ["d"], ["d"],
    ours={"d": None, "d/e": None, "d/e/new": "o"}, theirs={},
    both={"d": None, "d/e": None, "d/e/new": "o"})
row("added-to-a-directory-that-is-a-file", "mkdir d; echo b >d/x", "echo o >d/new",
    "rm -r d; echo t >d", ["d"], ["d"], ours={"d": None, "d/new": "o"}, theirs={"d": "t"},
    both={"d": "t", "d.ours": None, "d.ours/new": "o"})
row("added-to-a-directory-that-is-a-link", "mkdir d e; echo b >e/x", "echo o >d/new",
    "rmdir d; ln -s e d", ["d"], ["d"], ours={"d": None, "d/new": "o", "e": None, "e/x": "b"},
    theirs={"d": "-> e", "e": None, "e/x": "b"},
    both={"d": "-> e", "d.ours": None, "d.ours/new": "o", "e": None, "e/x": "b"})
row("never-a-directory-moved", "mkdir d; echo b >d/x", "mv d e; echo o >e/new", "",
    ["d", "e"], ["d", "e"], theirs={"d": None, "d/x": "b"})
row("directory-moved-whole", "mkdir d", "mv d e; echo o >e/new", "", ["d", "e"], ["d"],
    ours={"e": None, "e/new": "o"}, theirs={"d": None},
    both={"d": None, "e": None, "e/new": "o"}, copy_theirs={"d": None, "e": None, "e/new": "o"})
row("never-a-file-moved", "echo b >f", "mv f g", "", ["f", "g"],
    theirs={"f": "b"}, proven={"g": "b"})
row("never-a-file-moved-and-changed", "echo b >f", "mv f g", "echo t >f", ["f", "g"], ["f", "g"],
    theirs={"f": "t"})
row("type-by-ours", "echo b >f", "rm f; mkdir f; echo o >f/x", "", ["f"],
    ours={"f": None, "f/x": "o"}, theirs={"f": "b"},
    both={"f": "b", "f.ours": None, "f.ours/x": "o"}, proven={"f": None, "f/x": "o"})
row("file-in-the-place-of-a-directory", "mkdir d; echo b >d/x", "rm -r d; echo o >d", "", ["d"],
    ours={"d": "o"}, theirs={"d": None, "d/x": "b"},
    both={"d": None, "d/x": "b", "d.ours": "o"}, proven={"d": "o"})
row("file-in-the-place-of-a-directory-that-changed", "mkdir d; echo b >d/x",
    make_with_number_of("d", "d"), "echo t >d/x", ["d"], ["d"], ours={"d": "o"}, theirs={"d": None, "d/x": "t"},
    both={"d": None, "d/x": "t", "d.ours": "o"})
row("file-with-the-number-of-one-that-theirs-moved", "echo b >f", make_with_number_of("f", "g"),
    "mv f g", ["g"], ["g"], ours={"g": "o"}, theirs={"g": "b"}, both={"g": "b", "g.ours": "o"})
row("type-to-link", "mkdir d; echo b >d/x", "rm -r d; ln -s other d", "", ["d"],
    ours={"d": "-> other"}, theirs={"d": None, "d/x": "b"},
    both={"d": None, "d/x": "b", "d.ours": "-> other"}, proven={"d": "-> other"})
row("link-target", "ln -s b l", "ln -sfn o l", "", ["l"], ours={"l": "-> o"},
    theirs={"l": "-> b"}, both={"l": "-> b", "l.ours": "-> o"}, proven={"l": "-> o"})
row("long-link-target", "", f"ln -s {'o' * 200} l", "", result={"l": "-> " + "o" * 200})
row("device", "", "mknod n c 1 5; mkfifo p", "", result={"n": "device 1 5", "p": "device 0 0"})
row("links", "", "echo o >f; ln f g", "", result={"f": "o", "g": "o", "links f": 2})
row("link-to-what-theirs-has", "", "echo x >f; ln f g", "echo x >f",
    result={"f": "x", "g": "x", "links f": 2})
row("theirs-has-further-links", "echo b >f", "echo o >f", "ln f g", ["f"], ["f"],
    ours={"f": "o", "g": "b"}, theirs={"f": "b", "g": "b", "links f": 2},
    both={"f": "b", "g": "b", "f.ours": "o"})
row("attribute", "", "echo o >f; setfattr -n user.a -v 1 f", "",
    result={"f": "o", "xattr f": {"user.a": "1"}})
row("setuid-beside", "echo b >f", "echo o >f; chmod 4755 f", "echo t >f", ["f"], ["f"],
    ours={"f": "o", "mode f": 0o4755}, theirs={"f": "t"},
    both={"f": "t", "f.ours": "o", "mode f.ours": 0o755})
row("setuid-in-a-directory-beside", "echo b >f",
    "rm f; mkdir f; echo o >f/x; chmod 4755 f/x; ln f/x l", "echo t >f", ["f"], ["f"],
    ours={"f": None, "f/x": "o", "l": "o", "links l": 2, "mode l": 0o4755},
    theirs={"f": "t", "l": "o", "mode l": 0o4755},
    both={"f": "t", "f.ours": None, "f.ours/x": "o", "mode f.ours/x": 0o755, "l": "o",
          "mode l": 0o4755})
row("never-a-database", "echo b >x.db; echo b >x.db-wal", "echo o >x.db-wal", "echo t >x.db",
    ["x.db"], ["x.db"], theirs={"x.db": "t", "x.db-wal": "b"})
row("never-a-database-written-anew", "echo b >x.db; echo b >x.db-wal",
    make_with_number_of("x.db", "x.db") + "; " + make_with_number_of("x.db-wal", "x.db-wal"), "",
    ["x.db"], theirs={"x.db": "b", "x.db-wal": "b"}, proven={"x.db": "o", "x.db-wal": "o"})
row("never-a-database-directory", "mkdir d; echo 14 >d/PG_VERSION; echo b >d/1", "echo o >d/1",
    "echo t >d/2", ["d"], ["d"],
    theirs={"d": None, "d/PG_VERSION": "14", "d/1": "b", "d/2": "t"})
row("database-new", "", "echo o >x.db; echo o >x.db-wal", "", result={"x.db": "o", "x.db-wal": "o"})
row("owner", "", "echo o >f; chown 7:8 f", "", result={"f": "o", "owner f": 7})
row("many-names", "mkdir d; cd d; seq 2000 | xargs touch", "cd d; echo o >new", "cd d; echo t >10",
    result={"count d": 2001, "d/new": "o", "d/10": "t"})


def wanted_of(one, kind, policy):
    if one["result"] is not None:
        return one["result"]
    if not one["conflicts"][kind]:
        return one["trees"]["proven"]
    decided = "theirs" if one["name"].startswith("never-") else policy
    return one["trees"].get(f"{kind}_{decided}", one["trees"][decided])


def check(kind, policy, report_path, directory):
    with open(report_path, encoding="utf-8") as file:
        report = json.load(file)
    wrong = [] if report["old"] is None else ["old is not null"]
    for found in report["conflicts"]:
        never = found["path"].startswith("/never-")
        wanted = None if policy == "fail" else "theirs" if never else policy
        if (found["class"], found["resolution"], found["base"]) != ("needs-old", wanted, None):
            wrong.append(f"{found['path']}: {found['class']}, decided for {found['resolution']}, "
                         f"not {wanted}")
    for one in ROWS:
        top = "/" + one["name"] + "/"
        conflicts = sorted(found["path"].removeprefix(top) for found in report["conflicts"]
                           if found["path"].startswith(top))
        if conflicts != one["conflicts"][kind]:
            wrong.append(f"{one['name']}: conflicts {conflicts}, not {one['conflicts'][kind]}")
        if directory:
            wrong += [f"{one['name']}: {text}" for text in
                      rows.check_tree(wanted_of(one, kind, policy),
                                      os.path.join(directory, one["name"]))]
    others = [found["path"] for found in report["conflicts"]
              if found["path"].split("/")[1:2] not in [[one["name"]] for one in ROWS]]
    return wrong + [f"conflict {path!r} is of no row" for path in others]


def main():
    rows.ROWS = ROWS
    if sys.argv[1] != "check":
        rows.run(sys.argv[1], sys.argv[2])
        return
    kind, policy = sys.argv[2:4]
    wrong = check(kind, policy, sys.argv[4], sys.argv[5] if len(sys.argv) > 5 else None)
    if wrong:
        sys.exit(f"{kind}, policy {policy}:\n" + "\n".join(wrong))
    print(f"{kind}, policy {policy}: {len(ROWS)} rows")


main()
