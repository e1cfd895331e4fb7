# SPDX-License-Identifier: BSD-3-Clause
"""The table of docs/rebase.md, row by row: what each side does, and what comes of it.

All rows lie in one image, so a rebase for each policy tries all of them. A row that gives
a conflict is left out of the check of the policy `fail`'s tree, because nothing is made then.

What a tree is: a dictionary of paths below the row's directory. A text is a file's content,
"-> x" a symlink, None a directory. Further facts ("owner f" and so on) are asked for by fact()
of rows.py.
"""

ROWS = []


def row(name, base="", ours="", theirs="", conflicts=(), result=None, notes=(), following=(),
        **results):
    """`result` is the tree whatever the policy; `ours`, `theirs`, `both` may differ.

    following: conflicts that there are only once the others are decided for theirs.
    """
    ROWS.append({"name": name, "base": base, "sides": {"ours": ours, "theirs": theirs},
                 "conflicts": list(conflicts), "notes": list(notes), "following": list(following),
                 "results": {policy: results.get("with_" + policy, result)
                             for policy in ("ours", "theirs", "both")}})


# The first row, so that the new file gets the number of the old one.
row("written-anew-in-a-directory", "mkdir d; echo b >d/f",
    "rm d/f; echo o >d/f; touch -d @1700000000 d",
    "touch -d @1600000000 d", result={"d": None, "d/f": "o", "time d": 1700000000})
row("directory-touched-and-added-to", "mkdir d; echo b >d/f", "touch -d @1700000000 d",
    "echo t >d/g; touch -d @1600000000 d",
    result={"d": None, "d/f": "b", "d/g": "t", "time d": 1600000000})
row("directory-touched-by-both", "mkdir d; echo b >d/f", "touch -d @1700000000 d",
    "echo t >d/f; touch -d @1600000000 d", result={"d": None, "d/f": "t", "time d": 1700000000})
row("changed-by-ours", "echo b >f", "echo o >f", "", result={"f": "o"})
row("changed-by-theirs", "echo b >f; echo b >g", "echo o >g", "echo t >f",
    result={"f": "t", "g": "o"})
row("changed-alike", "echo b >f", "echo x >f", "echo x >f", result={"f": "x"})
row("both-changed", "echo b >f", "echo o >f", "echo t >f", [("edit/edit", "f")],
    with_ours={"f": "o"}, with_theirs={"f": "t"}, with_both={"f": "t", "f.ours": "o"})
row("link-moved-and-both-changed", "echo b >f; ln f g", "mkdir d; mv g d/g; echo o >f", "echo t >f",
    [("edit/edit", "f"), ("delete/edit", "g")],
    with_ours={"f": "o", "d": None, "d/g": "o", "links f": 2},
    with_theirs={"f": "t", "g": "t", "d": None, "d/g": "t", "links f": 3},
    with_both={"f": "t", "g": "t", "d": None, "d/g": "t", "links f": 3, "f.ours": "o"})
row("emptied-moved-and-its-parent-gone", "mkdir -p p/d; echo b >p/d/f; echo b >p/d/g",
    "rm p/d/f; mv p/d d; rm -r p", "", result={"d": None, "d/g": "b"})
row("written-anew", "echo b >f", "echo o >new; mv new f", "", result={"f": "o"})
row("written-anew-and-changed", "echo b >f", "echo o >new; mv new f", "echo t >f",
    [("edit/edit", "f")], with_ours={"f": "o"}, with_theirs={"f": "t"},
    with_both={"f": "t", "f.ours": "o"})
row("changed-and-gone", "echo b >f", "echo o >f", "rm f", [("edit/delete", "f")],
    with_ours={"f": "o"}, with_theirs={}, with_both={"f": "o"})
row("gone", "echo b >f; echo b >g", "rm f", "", result={"g": "b"})
row("gone-alike", "echo b >f", "rm f", "rm f", result={})
row("gone-and-changed", "echo b >f", "rm f", "echo t >f", [("delete/edit", "f")],
    with_ours={}, with_theirs={"f": "t"}, with_both={"f": "t"})
row("added", "", "echo o >f", "", result={"f": "o"})
row("added-alike", "", "echo x >f", "echo x >f", result={"f": "x"})
row("added-alike-and-linked-by-theirs", "", "echo x >f; touch -d @1700000000 f",
    "echo x >f; ln f g; touch -d @1600000000 f",
    result={"f": "x", "g": "x", "links f": 2, "time f": 1600000000})
row("added-by-both", "", "echo o >f", "echo t >f", [("add/add", "f")],
    with_ours={"f": "o"}, with_theirs={"f": "t"}, with_both={"f": "t", "f.ours": "o"})
row("directories-added-by-both", "", "mkdir d; echo o >d/f", "mkdir d; echo t >d/g",
    result={"d": None, "d/f": "o", "d/g": "t"})
row("mode-by-ours-content-by-theirs", "echo b >f", "chmod 600 f", "echo t >f",
    result={"f": "t", "mode f": 0o600})
row("mode-by-both", "echo b >f; chmod 644 f", "chmod 600 f", "chmod 640 f", [("metadata", "f")],
    with_ours={"f": "b", "mode f": 0o600}, with_theirs={"f": "b", "mode f": 0o640},
    with_both={"f": "b", "mode f": 0o640, "f.ours": "b", "mode f.ours": 0o600})
row("mode-by-ours-owner-by-theirs", "echo b >f", "chmod 600 f", "chown 7 f",
    result={"f": "b", "mode f": 0o600, "owner f": 7})
row("type-by-ours", "echo b >f", "rm f; mkdir f; echo o >f/x", "", result={"f": None, "f/x": "o"})
row("type-by-ours-and-changed", "echo b >f", "rm f; mkdir f; echo o >f/x", "echo t >f",
    [("type", "f")], with_ours={"f": None, "f/x": "o"}, with_theirs={"f": "t"},
    with_both={"f": "t", "f.ours": None, "f.ours/x": "o"})
row("type-by-ours-and-gone", "echo b >f", "rm f; mkdir f; echo o >f/x", "rm f",
    [("edit/delete", "f")], with_ours={"f": None, "f/x": "o"}, with_theirs={},
    with_both={"f": None, "f/x": "o"})
row("type-by-ours-with-a-setuid-file-and-changed", "echo b >f",
    "rm f; mkdir f; echo o >f/x; chmod 4755 f/x; ln f/x l", "echo t >f", [("type", "f")],
    with_ours={"f": None, "f/x": "o", "l": "o", "links l": 2, "mode l": 0o4755},
    with_theirs={"f": "t", "l": "o", "mode l": 0o4755},
    with_both={"f": "t", "f.ours": None, "f.ours/x": "o", "mode f.ours/x": 0o755, "l": "o",
               "mode l": 0o4755})
row("type-by-theirs-and-changed", "echo b >f", "echo o >f", "rm f; ln -s t f", [("type", "f")],
    with_ours={"f": "o"}, with_theirs={"f": "-> t"}, with_both={"f": "-> t", "f.ours": "o"})
row("type-to-link", "mkdir d; echo b >d/x", "rm -r d; ln -s other d", "", result={"d": "-> other"})
row("type-to-link-and-changed", "mkdir d; echo b >d/x", "rm -r d; ln -s other d",
    "echo t >d/y", [("type", "d")], with_ours={"d": "-> other"},
    with_theirs={"d": None, "d/x": "b", "d/y": "t"},
    with_both={"d": None, "d/x": "b", "d/y": "t", "d.ours": "-> other"})
row("link-target-by-both", "ln -s b l", "ln -sfn o l", "ln -sfn t l", [("edit/edit", "l")],
    with_ours={"l": "-> o"}, with_theirs={"l": "-> t"}, with_both={"l": "-> t", "l.ours": "-> o"})
row("directory-gone", "mkdir d; echo b >d/x; mkdir d/e", "rm -r d", "", result={})
row("directory-gone-with-a-name-of-a-file-elsewhere", "mkdir -p d/e; echo b >d/e/x; ln d/e/x k",
    "rm -r d", "touch z", result={"k": "b", "links k": 1, "z": ""})
row("directory-gone-and-changed", "mkdir d; echo b >d/x", "rm -r d", "echo t >d/x",
    [("delete/edit", "d")], with_ours={}, with_theirs={"d": None, "d/x": "t"},
    with_both={"d": None, "d/x": "t"})
row("directory-gone-and-added-to", "mkdir d; echo b >d/x", "rm -r d", "echo t >d/y",
    [("delete/edit", "d")], with_ours={}, with_theirs={"d": None, "d/x": "b", "d/y": "t"},
    with_both={"d": None, "d/x": "b", "d/y": "t"})
row("added-to-a-directory-that-is-gone", "mkdir -p d/e; echo b >d/e/x; echo b >d/y",
    "echo o >d/e/new", "rm -r d", [("edit/delete", "d")],
    with_ours={"d": None, "d/e": None, "d/e/new": "o"}, with_theirs={},
    with_both={"d": None, "d/e": None, "d/e/new": "o"})
row("added-to-a-directory-that-is-a-file", "mkdir d; echo b >d/x", "echo o >d/new",
    "rm -r d; echo t >d", [("edit/delete", "d")], with_ours={"d": None, "d/new": "o"},
    with_theirs={"d": "t"}, with_both={"d": "t", "d.ours": None, "d.ours/new": "o"})
row("below-a-directory-that-is-a-link", "mkdir bin; echo b >bin/a; echo b >bin/b",
    "echo o >bin/a; echo o >bin/c", "mkdir usr; mv bin usr/bin; ln -s usr/bin bin",
    [("edit/delete", "bin/a"), ("edit/delete", "bin/c")],
    with_theirs={"usr": None, "usr/bin": None, "usr/bin/a": "b", "usr/bin/b": "b",
                 "bin": "-> usr/bin"},
    with_both={"usr": None, "usr/bin": None, "usr/bin/a": "b", "usr/bin/b": "b",
               "bin": "-> usr/bin", "bin.ours": None, "bin.ours/a": "o", "bin.ours/c": "o"})
row("touched-directory-that-is-a-file", "mkdir -p d/e; echo b >d/e/x",
    "touch -d @1700000000 d/e", "rm -r d/e; echo t >d/e", result={"d": None, "d/e": "t"})
row("below-a-touched-directory-that-is-a-link", "mkdir bin; echo b >bin/a",
    "echo o >bin/a; touch -d @1700000000 bin", "mkdir usr; mv bin usr/bin; ln -s usr/bin bin",
    [("edit/delete", "bin/a")],
    with_theirs={"usr": None, "usr/bin": None, "usr/bin/a": "b", "bin": "-> usr/bin"},
    with_ours={"usr": None, "usr/bin": None, "usr/bin/a": "b", "bin": None, "bin/a": "o",
               "time bin": 1700000000})
row("names-deleted-in-a-kept-directory", "mkdir d; echo b >d/x; echo b >d/y", "rm d/x",
    "echo t >d/z", result={"d": None, "d/y": "b", "d/z": "t"})
row("directory-made-anew", "mkdir d; echo b >d/x; echo b >d/y",
    "rm -r d; mkdir d; echo o >d/new", "echo t >d/z",
    result={"d": None, "d/new": "o", "d/z": "t"})
row("directory-moved", "mkdir d; echo b >d/x", "mv d e", "", result={"e": None, "e/x": "b"})
row("directory-moved-and-changed", "mkdir d; echo b >d/x; echo b >d/y", "mv d e; echo o >e/y",
    "echo t >d/x; echo t >d/z", result={"e": None, "e/x": "t", "e/y": "o", "e/z": "t"},
    notes=[("followed", "e")])
row("directory-moved-link-left", "mkdir d; echo b >d/x", "mv d old; ln -s old d", "echo t >d/x",
    result={"old": None, "old/x": "t", "d": "-> old"})
row("directory-moved-and-copied-back", "mkdir d; echo b >d/x; echo b >d/y",
    "mv d d.old; mkdir d; cat d.old/x >d/x; echo o >d/y", "echo t >d/x",
    result={"d": None, "d/x": "t", "d/y": "o", "d.old": None, "d.old/x": "b", "d.old/y": "b"})
row("directory-moved-and-copied-back-and-gone",
    "mkdir d p; echo b >d/x; echo b >d/y; echo b >d/z; echo b >p/x",
    "mv d e; cp -a e d; echo o >d/z; mv p q; cp -a q p; echo o >p/o",
    "rm d/x d/y d/z; ln -s t d/y; rm -r p", [("edit/delete", "d/z"), ("edit/delete", "p")],
    with_ours={"d": None, "d/y": "-> t", "d/z": "o", "e": None, "e/x": "b", "e/y": "b", "e/z": "b",
               "p": None, "p/o": "o", "q": None, "q/x": "b"},
    with_theirs={"d": None, "d/y": "-> t", "e": None, "e/x": "b", "e/y": "b", "e/z": "b",
                 "q": None, "q/x": "b"},
    with_both={"d": None, "d/y": "-> t", "d/z": "o", "e": None, "e/x": "b", "e/y": "b",
               "e/z": "b", "p": None, "p/o": "o", "q": None, "q/x": "b"})
row("directory-moved-and-copied-back-by-links", "mkdir d; echo b >d/x; echo b >d/y; ln d/x k; ln d/y l",
    "mv d e; cp -al e d; chmod 600 d/y", "rm d/x; echo t >k",
    result={"d": None, "d/y": "b", "e": None, "e/x": "b", "e/y": "b", "k": "t", "l": "b",
            "links l": 3, "mode l": 0o600}, notes=[("links-split", "k")])
row("directory-moved-and-made-anew-and-changed", "mkdir d; echo b >d/x; echo b >d/y",
    "mv d e; mkdir d", "echo t >d/x", [("delete/edit", "d/x")],
    with_ours={"d": None, "e": None, "e/x": "b", "e/y": "b"},
    with_theirs={"d": None, "d/x": "t", "e": None, "e/x": "b", "e/y": "b"},
    with_both={"d": None, "d/x": "t", "e": None, "e/x": "b", "e/y": "b"})
row("directory-moved-and-made-anew-after-one-in-it", "mkdir -p d/s; echo b >d/x; echo b >d/s/y",
    "mv d/s g; mkdir d/s; mv d e; mkdir d", "echo t >d/s/y",
    result={"d": None, "e": None, "e/s": None, "e/x": "b", "g": None, "g/y": "t"})
row("directory-moved-and-made-anew-after-a-link-of-a-file-in-it", "mkdir d; echo b >d/x; echo k >d/y",
    "ln d/x l; ln d/y k; mv d e; mkdir d; echo other >d/x; ln e/y d/y", "",
    result={"d": None, "d/x": "other", "d/y": "k", "e": None, "e/x": "b", "e/y": "k",
            "l": "b", "links l": 2, "k": "k", "links k": 3})
row("directory-moved-and-made-anew-after-a-link-of-another-name", "mkdir d; echo b >d/x; ln d/x k",
    "ln k l; mv d e; mkdir d", "",
    result={"d": None, "e": None, "e/x": "b", "k": "b", "l": "b", "links k": 3})
row("directory-moved-and-made-anew-with-a-link-elsewhere", "mkdir d; echo b >d/x; ln d/x k",
    "mv d e; mkdir d", "", result={"d": None, "e": None, "e/x": "b", "k": "b"},
    notes=[("links-split", "e/x")])
row("directory-moved-and-made-anew-with-a-link-elsewhere-that-the-layer-has",
    "mkdir d; echo b >d/x; ln d/x k", "ln k t; rm t; mv d e; mkdir d", "",
    result={"d": None, "e": None, "e/x": "b", "k": "b", "links k": 2})
row("directory-moved-and-made-anew-with-a-link-elsewhere-that-theirs-changed",
    "mkdir d; echo b >d/x; ln d/x k", "ln k t; rm t; mv d e; mkdir d",
    "rm d/x k; echo b >d/x; echo t >k",
    result={"d": None, "e": None, "e/x": "b", "k": "t", "links k": 1},
    notes=[("links-split", "k")])
row("directory-moved-and-made-anew-with-a-link-elsewhere-that-is-gone",
    "mkdir d p; echo b >d/x; ln d/x k; ln d/x p/l", "ln k t; rm t; mv d e; mkdir d", "rm -r k p",
    result={"d": None, "e": None, "e/x": "b"})
row("directory-moved-to-the-name-of-one-that-moved-and-made-anew",
    "mkdir a z; echo b >a/x; echo b >z/y", "mv a n; mv z a; mkdir z", "echo t >a/x; echo t >z/y",
    [("delete/edit", "a/x"), ("delete/edit", "z/y")],
    with_ours={"a": None, "a/y": "b", "n": None, "n/x": "b", "z": None},
    with_theirs={"a": None, "a/x": "t", "a/y": "b", "n": None, "n/x": "b", "z": None, "z/y": "t"},
    with_both={"a": None, "a/x": "t", "a/y": "b", "n": None, "n/x": "b", "z": None, "z/y": "t"})
row("moved-into-a-directory-that-was-made-anew", "mkdir -p d p/q; echo b >d/x; echo b >p/q/f",
    "mv d e; mkdir d; mv p e/p; chmod 700 e/p/q", "echo t >p/q/f",
    result={"d": None, "e": None, "e/x": "b", "e/p": None, "e/p/q": None, "e/p/q/f": "t",
            "mode e/p/q": 0o700})
row("directory-moved-and-made-anew-and-its-parent-moved-into-it",
    "mkdir -p p/d; echo b >p/d/x; echo b >p/d/y; echo b >p/f",
    "mv p/d e; mkdir p/d; mv p e/p", "echo t >p/d/x; echo t >p/f",
    [("delete/edit", "p/d/x")],
    with_ours={"e": None, "e/x": "b", "e/y": "b", "e/p": None, "e/p/f": "t", "e/p/d": None},
    with_theirs={"e": None, "e/x": "b", "e/y": "b", "e/p": None, "e/p/f": "t", "e/p/d": None,
                 "e/p/d/x": "t"},
    with_both={"e": None, "e/x": "b", "e/y": "b", "e/p": None, "e/p/f": "t", "e/p/d": None,
               "e/p/d/x": "t"})
row("deleted-in-a-directory-that-moved-and-was-made-anew", "mkdir d; echo b >d/x; echo b >d/y",
    "rm d/x; mv d e; mkdir d; echo o >d/x", "chmod 600 d/x",
    result={"d": None, "d/x": "o", "mode d/x": 0o600, "e": None, "e/y": "b"})
row("directories-moved-and-copied-back",
    "mkdir -p d/s/u; echo b >d/s/x; echo b >d/s/y; echo b >d/s/u/z",
    "mv d e; cp -a e d; echo o >d/s/y", "echo t >d/s/x; echo t >d/s/u/z; echo t >d/s/u/n",
    result={"d": None, "d/s": None, "d/s/x": "t", "d/s/y": "o", "d/s/u": None, "d/s/u/z": "t",
            "d/s/u/n": "t", "e": None, "e/s": None, "e/s/x": "b", "e/s/y": "b", "e/s/u": None,
            "e/s/u/z": "b"})
row("linked-after-it-moved-out-of-a-directory-that-was-made-anew",
    "mkdir d; echo b >d/f; echo b >d/k", "mv d/f g; ln g h; mv d e; mkdir d", "echo t >d/f",
    result={"g": "t", "h": "t", "links g": 2, "d": None, "e": None, "e/k": "b"})
row("directory-moved-after-one-in-it-and-another-that-was-made-anew-took-its-place",
    "mkdir -p d/s e z; echo b >d/x; echo b >d/s/y; echo b >e/f; echo b >z/g",
    "mv d/s n; mv e m; mv d e; mv z d; mkdir z; mkdir e/s", "echo t >d/s/y",
    result={"n": None, "n/y": "t", "m": None, "m/f": "b", "e": None, "e/x": "b", "e/s": None,
            "d": None, "d/g": "b", "z": None})
row("directory-moved-and-made-anew-empty-and-gone", "mkdir d; echo b >d/x", "mv d e; mkdir d",
    "rm -r d", result={"e": None, "e/x": "b"})
row("directory-moved-and-made-anew-unlike-and-gone", "mkdir d; echo b >d/x",
    "mv d e; mkdir -m 700 d", "rm -r d", [("edit/delete", "d")],
    with_ours={"d": None, "mode d": 0o700, "e": None, "e/x": "b"},
    with_theirs={"e": None, "e/x": "b"},
    with_both={"d": None, "mode d": 0o700, "e": None, "e/x": "b"})
row("directory-moved-and-made-anew-and-gone", "mkdir d; echo b >d/x; echo b >d/y; ln d/y z",
    "mv d e; mkdir d; echo o >d/o; echo o >e/x", "rm -r d; mkdir e; echo t >e/t",
    [("edit/delete", "d")],
    with_ours={"d": None, "d/o": "o", "e": None, "e/t": "t", "e/x": "o", "e/y": "b", "z": "b"},
    with_theirs={"e": None, "e/t": "t", "e/x": "o", "e/y": "b", "z": "b"},
    with_both={"d": None, "d/o": "o", "e": None, "e/t": "t", "e/x": "o", "e/y": "b", "z": "b"})
row("directory-moved-and-gone", "mkdir d; echo b >d/x", "mv d e; echo o >e/new", "rm -r d",
    [("rename/delete", "e")], with_ours={"e": None, "e/x": "b", "e/new": "o"}, with_theirs={},
    with_both={"e": None, "e/x": "b", "e/new": "o"})
row("touched-in-a-directory-that-moved-and-is-gone",
    "mkdir -p d/e; echo b >d/x; echo b >d/y; echo b >d/e/z",
    "touch -d @1700000000 d/x d/e; mv d g", "rm -r d", [("rename/delete", "g")],
    with_ours={"g": None, "g/e": None, "g/e/z": "b", "g/x": "b", "g/y": "b",
               "time g/x": 1700000000, "time g/e": 1700000000},
    with_theirs={},
    with_both={"g": None, "g/e": None, "g/e/z": "b", "g/x": "b", "g/y": "b"})
row("linked-before-a-directory-that-moved-and-is-gone", "mkdir d; echo b >d/x", "mv d g; ln g/x a",
    "rm -r d", [("edit/delete", "a"), ("rename/delete", "g")],
    with_ours={"a": "b", "g": None, "g/x": "b", "links a": 2}, with_theirs={},
    with_both={"a": "b", "g": None, "g/x": "b", "links a": 2})
row("directory-moved-and-added-to-alike", "mkdir -p d/s; echo b >d/x; echo b >d/s/y",
    "mv d e; echo n >e/new; echo n >e/s/new; echo e >e/x",
    "mv d e; echo n >e/new; echo n >e/s/new; echo e >e/x; touch -d @1600000000 e e/s",
    result={"e": None, "e/x": "e", "e/new": "n", "e/s": None, "e/s/y": "b", "e/s/new": "n",
            "time e": 1600000000, "time e/s": 1600000000})
row("directory-moved-alike", "mkdir d; echo b >d/x; echo b >d/y", "mv d e; echo o >e/y", "mv d e",
    result={"e": None, "e/x": "b", "e/y": "o"})
row("directory-moved-alike-and-emptied",
    "mkdir -p d/s; echo b >d/x; echo b >d/y; echo b >d/z; echo b >d/s/x; mkdir d/t; echo b >d/t/y",
    "mv d e; rm e/y; rm -r e/s; mv e/z g; mv e/t t; touch -d @1500000000 e/x", "mv d e",
    result={"e": None, "e/x": "b", "time e/x": 1500000000, "g": "b", "t": None, "t/y": "b"})
row("directory-moved-alike-and-emptied-of-what-theirs-changed",
    "mkdir d; echo b >d/x; echo b >d/y; echo b >d/z", "mv d e; rm e/y; mv e/x g",
    "mv d e; echo t >e/y", [("rename/delete", "e"), ("rename/delete", "g")],
    with_ours={"e": None, "e/z": "b", "g": "b"},
    with_theirs={"e": None, "e/x": "b", "e/y": "t", "e/z": "b"},
    with_both={"e": None, "e/x": "b", "e/y": "t", "e/z": "b", "e.ours": None, "e.ours/z": "b",
               "g": "b"})
row("directory-moved-to-another-directory-of-theirs", "mkdir d; echo b >d/x", "mv d e",
    "rm -r d; mkdir e; echo t >e/z", [("rename/delete", "e")],
    with_ours={"e": None, "e/x": "b"}, with_theirs={"e": None, "e/z": "t"},
    with_both={"e": None, "e/z": "t", "e.ours": None, "e.ours/x": "b"})
row("file-moved-to-another-file-of-theirs", "echo b >f", "mv f g", "rm f; echo t >g",
    [("rename/delete", "g")], with_ours={"g": "b"}, with_theirs={"g": "t"},
    with_both={"g": "t", "g.ours": "b"})
row("link-added-to-another-file-of-theirs", "echo b >f", "ln f g", "rm f; echo t >g",
    [("edit/delete", "g")], with_ours={"g": "b"}, with_theirs={"g": "t"},
    with_both={"g": "t", "g.ours": "b"})
row("moved-into-a-directory-that-is-gone", "mkdir d h; echo b >d/x; echo b >h/y; echo b >f",
    "mv h d/h; mv f d/f; echo o >d/h/y", "rm -r d", [("edit/delete", "d")],
    with_ours={"d": None, "d/h": None, "d/h/y": "o", "d/f": "b"},
    with_theirs={"h": None, "h/y": "o", "f": "b"},
    with_both={"d": None, "d/h": None, "d/h/y": "o", "d/f": "b"})
row("moved-from-a-directory-that-is-gone-into-a-file", "mkdir a c; echo b >a/x; echo b >c/y",
    "mv a/x c/x", "rm -r a c; echo t >c", [("edit/delete", "c")],
    with_ours={"c": None, "c/x": "b"}, with_theirs={"c": "t"},
    with_both={"c": "t", "c.ours": None, "c.ours/x": "b"})
row("moved-to-the-name-of-one-that-moved-into-a-directory-that-is-gone",
    "mkdir p a c; echo b >p/x; echo b >a/f; echo b >c/g", "mv c p/c; mv a c", "rm -r p",
    [("edit/delete", "p")], following=[("rename/add", "c")],
    with_ours={"p": None, "p/c": None, "p/c/g": "b", "c": None, "c/f": "b"},
    with_theirs={"a": None, "a/f": "b", "c": None, "c/g": "b"},
    with_both={"p": None, "p/c": None, "p/c/g": "b", "c": None, "c/f": "b"})
row("moved-out-of-a-directory-that-goes-and-gone", "mkdir d; echo b >d/x; echo b >d/y",
    "mv d/x g; rm -r d", "rm d/x", [("rename/delete", "g")], with_ours={"g": "b"}, with_theirs={},
    with_both={"g": "b"})
row("directories-moved-in-turn-and-touched", "mkdir a b; echo b >a/x; echo b >b/y",
    "mv b c; mv a b; mkdir a; touch -d @1500000000 b", "touch -d @1600000000 b",
    result={"a": None, "b": None, "b/x": "b", "c": None, "c/y": "b", "time b": 1500000000})
row("linked-back-and-gone-in-the-copy", "mkdir -p d/s; echo b >d/x; echo b >d/y; echo b >d/s/z",
    "mv d e; cp -al e d; rm e/x e/s/z", "",
    result={"d": None, "d/x": "b", "links d/x": 1, "d/y": "b", "links d/y": 2, "d/s": None,
            "d/s/z": "b", "e": None, "e/y": "b", "e/s": None})
row("linked-back-and-moved-in-the-copy", "mkdir d; echo b >d/x; echo b >d/y",
    "mv d e; cp -al e d; mv e/x a; mv e/y z", "echo t >d/x; echo t >d/y",
    result={"d": None, "d/x": "t", "links d/x": 2, "d/y": "t", "links d/y": 2, "e": None, "a": "t",
            "z": "t"})
row("copied-back-and-moved-in-the-copy", "mkdir d; echo b >d/x; echo b >d/y",
    "mv d e; cp -a e d; mv e/x e/x2", "echo t >d/x",
    result={"d": None, "d/x": "t", "d/y": "b", "e": None, "e/x2": "b", "e/y": "b"})
row("linked-back-and-another-name-gone", "mkdir d g; echo b >d/x; ln d/x g/x; echo b >g/y",
    "mv d e; cp -al e d; rm -r g", "echo t >g/y", [("delete/edit", "g")],
    with_ours={"d": None, "d/x": "b", "links d/x": 2, "e": None, "e/x": "b"},
    with_theirs={"d": None, "d/x": "b", "links d/x": 3, "e": None, "e/x": "b", "g": None,
                 "g/x": "b", "g/y": "t"},
    with_both={"d": None, "d/x": "b", "links d/x": 3, "e": None, "e/x": "b", "g": None,
               "g/x": "b", "g/y": "t"})
row("database-changed-by-both", "echo b >x.db; echo b >x.db-wal", "echo o >x.db-wal",
    "echo t >x.db", [("unit", "x.db")], with_ours={"x.db": "b", "x.db-wal": "o"},
    with_theirs={"x.db": "t", "x.db-wal": "b"})
row("database-changed-by-ours", "echo b >x.db; echo b >x.db-wal", "echo o >x.db-wal", "touch z",
    result={"x.db": "b", "x.db-wal": "o", "z": ""})
row("database-directory-changed-by-both", "mkdir d; echo 14 >d/PG_VERSION; echo b >d/1; echo b >d/2",
    "echo o >d/1", "echo t >d/2; echo t >d/3", [("unit", "d")],
    with_ours={"d": None, "d/PG_VERSION": "14", "d/1": "o", "d/2": "b"},
    with_theirs={"d": None, "d/PG_VERSION": "14", "d/1": "b", "d/2": "t", "d/3": "t"})
row("database-of-another-kind-changed-by-both", "mkdir d; echo b >d/ibdata1; echo b >d/1",
    "echo o >d/1; rm d/ibdata1", "echo t >d/2", [("unit", "d")],
    with_ours={"d": None, "d/1": "o"},
    with_theirs={"d": None, "d/ibdata1": "b", "d/1": "b", "d/2": "t"})
row("database-moved-out-of-and-into-and-changed-by-both",
    "mkdir d; echo 14 >d/PG_VERSION; echo b >d/1; mkdir d/s; echo b >d/s/2; echo b >f",
    "mv d/1 x; mv d/s y; echo o >y/n; mv f d/f", "echo t >d/3", [("unit", "d")],
    with_ours={"d": None, "d/PG_VERSION": "14", "d/f": "b", "x": "b", "y": None, "y/2": "b",
               "y/n": "o"},
    with_theirs={"d": None, "d/PG_VERSION": "14", "d/1": "b", "d/s": None, "d/s/2": "b",
                 "d/3": "t", "f": "b"})
MOVED_INTO_A_DATABASE = ("mkdir d; echo 14 >d/PG_VERSION; echo b >d/1; mkdir d/s; echo b >d/s/2; "
                         "mkdir -p o/q; echo b >o/q/w; echo b >o/q/y; echo b >o/q/z")
row("database-into-which-a-directory-moved-and-changed", MOVED_INTO_A_DATABASE,
    "mv o/q d/q; rm d/q/z; mv d/q/w w; echo o >d/q/y; echo o >d/q/n", "echo t >d/1",
    [("unit", "d")],
    with_ours={"d": None, "d/PG_VERSION": "14", "d/1": "b", "d/s": None, "d/s/2": "b",
               "d/q": None, "d/q/y": "o", "d/q/n": "o", "o": None, "w": "b"},
    with_theirs={"d": None, "d/PG_VERSION": "14", "d/1": "t", "d/s": None, "d/s/2": "b",
                 "o": None, "o/q": None, "o/q/y": "o", "o/q/n": "o", "w": "b"})
row("database-into-which-a-directory-moved-and-left-a-link", MOVED_INTO_A_DATABASE,
    "mv o/q d/q; ln -s ../d/q o/q", "echo t >d/1", [("unit", "d")],
    following=[("add/add", "o/q")],
    with_ours={"d": None, "d/PG_VERSION": "14", "d/1": "b", "d/s": None, "d/s/2": "b",
               "d/q": None, "d/q/w": "b", "d/q/y": "b", "d/q/z": "b", "o": None,
               "o/q": "-> ../d/q"},
    with_theirs={"d": None, "d/PG_VERSION": "14", "d/1": "t", "d/s": None, "d/s/2": "b",
                 "o": None, "o/q": None, "o/q/w": "b", "o/q/y": "b", "o/q/z": "b"})
row("database-of-which-a-directory-moved-and-took-another-in", MOVED_INTO_A_DATABASE,
    "mv d/s e; mv o/q e/q; rm e/q/z; echo o >e/n; rm d/PG_VERSION; echo 15 >d/PG_VERSION",
    "echo t >d/1", [("unit", "d")],
    with_ours={"d": None, "d/PG_VERSION": "15", "d/1": "b", "e": None, "e/2": "b", "e/n": "o",
               "e/q": None, "e/q/w": "b", "e/q/y": "b", "o": None},
    with_theirs={"d": None, "d/PG_VERSION": "14", "d/1": "t", "d/s": None, "d/s/2": "b",
                 "o": None, "o/q": None, "o/q/w": "b", "o/q/y": "b"})
row("database-that-became-a-link-and-changed",
    "mkdir d; echo 14 >d/PG_VERSION; echo b >d/1; mkdir e", "mv d/* e; rmdir d; ln -s e d",
    "echo t >d/2", [("unit", "d")],
    with_ours={"d": "-> e", "e": None, "e/PG_VERSION": "14", "e/1": "b"},
    with_theirs={"d": None, "d/PG_VERSION": "14", "d/1": "b", "d/2": "t", "e": None})
row("database-with-a-name-elsewhere-linked", "mkdir d; echo 14 >d/PG_VERSION; echo b >d/1; ln d/1 k",
    "ln k l", "echo t >d/2", result={"d": None, "d/PG_VERSION": "14", "d/1": "b", "d/2": "t",
                                     "k": "b", "l": "b", "links k": 3})
row("database-without-its-journal", "echo b >x.db; echo b >x.db-wal", "echo o >x.db; rm x.db-wal",
    "echo t >x.db-wal", [("unit", "x.db")], with_ours={"x.db": "o"},
    with_theirs={"x.db": "b", "x.db-wal": "t"})
row("database-with-a-new-journal", "echo b >x.db", "echo o >x.db", "echo t >x.db-journal",
    [("unit", "x.db")], with_ours={"x.db": "o"}, with_theirs={"x.db": "b", "x.db-journal": "t"})
row("database-changed-alike", "echo b >x.db; echo b >x.db-shm", "echo x >x.db; echo x >x.db-shm",
    "echo x >x.db; echo x >x.db-shm", result={"x.db": "x", "x.db-shm": "x"})
# Where the names of rows are those of the image: the databases of packages, and owners.
row("var", "mkdir -p lib/dpkg/info lib/rpm; echo b >lib/dpkg/status; echo b >lib/rpm/Packages",
    "echo o >lib/dpkg/status; echo o >lib/rpm/Packages", "echo t >lib/dpkg/info/t.list",
    [("unit", "lib/dpkg")],
    with_ours={"lib": None, "lib/dpkg": None, "lib/dpkg/info": None, "lib/dpkg/status": "o",
               "lib/rpm": None, "lib/rpm/Packages": "o"},
    with_theirs={"lib": None, "lib/dpkg": None, "lib/dpkg/info": None, "lib/dpkg/status": "b",
                 "lib/dpkg/info/t.list": "t", "lib/rpm": None, "lib/rpm/Packages": "o"})
row("etc", "echo web:x:33:33::/: >passwd; echo mail:x:8: >group; mkdir y; echo b >y/v; echo b >y/w; "
    "chown 33 y/w",
    "echo o >f; chown 33 f; echo o >g; chown 0:8 g; echo o >h; chown 44:44 h; "
    "mv y z; cp -a z y; chown 33 y/v",
    "echo db:x:33:33::/: >passwd; echo web:x:34:34::/: >>passwd; echo mail:x:9: >group",
    [("owner", "f"), ("owner", "g")],
    with_ours={"f": "o", "owner f": 34, "g": "o", "group g": 9, "h": "o", "owner h": 44,
               "passwd": "db:x:33:33::/:\nweb:x:34:34::/:", "group": "mail:x:9:",
               "y": None, "y/v": "b", "owner y/v": 34, "y/w": "b", "owner y/w": 33,
               "z": None, "z/v": "b", "z/w": "b", "owner z/w": 34},
    with_theirs={"f": "o", "owner f": 33, "g": "o", "group g": 8, "h": "o", "owner h": 44,
                 "passwd": "db:x:33:33::/:\nweb:x:34:34::/:", "group": "mail:x:9:",
                 "y": None, "y/v": "b", "owner y/v": 33, "y/w": "b", "owner y/w": 33,
                 "z": None, "z/v": "b", "z/w": "b", "owner z/w": 33})
row("directory-moved-to-a-new-name-of-theirs", "mkdir d; echo b >d/x", "mv d e", "echo t >e",
    [("rename/add", "e")], with_ours={"e": None, "e/x": "b"},
    with_theirs={"d": None, "d/x": "b", "e": "t"},
    with_both={"e": "t", "e.ours": None, "e.ours/x": "b"})
row("directories-swapped-and-one-in-the-other",
    "mkdir -p a/u/w b; echo b >a/u/f; echo b >b/x",
    "mv a/u t; mv b a/u; mv t b; mv a/u b/w/n", "echo t >b/y",
    result={"a": None, "b": None, "b/f": "b", "b/w": None, "b/w/n": None, "b/w/n/x": "b",
            "b/w/n/y": "t"})
row("both-made-a-directory-of-a-file", "echo b >f", "rm f; mkdir f; echo o >f/o",
    "rm f; mkdir f; echo t >f/t", result={"f": None, "f/o": "o", "f/t": "t"})
row("directories-swapped", "mkdir d e; echo b >d/x; echo b >e/y", "mv d t; mv e d; mv t e",
    "echo t >d/x", result={"d": None, "d/y": "b", "e": None, "e/x": "t"})
row("directories-swapped-and-neither-has-a-place",
    "mkdir -p h/w u; echo b >h/w/x; echo b >u/y; echo b >h/z",
    "mv h n; mv u t; mv n/w u; mv t n/w", "rm -r h/w; echo t >h/w",
    [("rename/add", "n/w"), ("rename/delete", "u")],
    with_ours={"n": None, "n/z": "b", "n/w": None, "n/w/y": "b", "u": None, "u/x": "b"},
    with_theirs={"n": None, "n/z": "b", "n/w": "t", "u": None, "u/y": "b"},
    with_both={"n": None, "n/z": "b", "n/w": "t", "n/w.ours": None, "n/w.ours/y": "b",
               "u": None, "u/x": "b"})
row("parent-into-child", "mkdir -p p/c; echo b >p/x; echo b >p/c/y", "mv p/c c; mv p c/p",
    "echo t >p/c/y", result={"c": None, "c/y": "t", "c/p": None, "c/p/x": "b"})
row("file-moved", "echo b >f", "mv f g", "", result={"g": "b"})
row("file-moved-and-changed", "echo b >f", "mv f g", "echo t >f", result={"g": "t"},
    notes=[("followed", "g")])
row("file-moved-changed-by-both", "yes b | head -c 9000 >f",
    "mv f g; printf o | dd of=g conv=notrunc status=none",
    "printf t | dd of=f conv=notrunc status=none", [("edit/edit", "g")],
    with_ours={"begin g": "o", "count .": 1}, with_theirs={"begin g": "t", "count .": 1},
    with_both={"begin g": "t", "begin g.ours": "o", "count .": 2})
row("file-moved-and-all-of-it-rewritten", "echo b >f", "mv f g; echo o >g", "echo t >f",
    [("delete/edit", "f")], with_ours={"g": "o"}, with_theirs={"f": "t", "g": "o"},
    with_both={"f": "t", "g": "o"})
row("file-moved-and-gone", "echo b >f", "mv f g", "rm f", [("rename/delete", "g")],
    with_ours={"g": "b"}, with_theirs={}, with_both={"g": "b"})
row("file-moved-out-and-gone", "mkdir d; echo b >d/f", "mv d/f g; touch -d @1700000000 d",
    "rm d/f; touch -d @1600000000 d", [("rename/delete", "g")],
    with_ours={"d": None, "time d": 1700000000, "g": "b"},
    with_theirs={"d": None, "time d": 1700000000},
    with_both={"d": None, "time d": 1700000000, "g": "b"})
row("directory-moved-out-and-made-a-file", "mkdir -p d/e; echo b >d/e/f",
    "mv d/e g; touch -d @1700000000 d", "rm -r d/e; echo t >d/e; touch -d @1600000000 d",
    [("rename/delete", "g")],
    with_ours={"d": None, "time d": 1700000000, "d/e": "t", "g": None, "g/f": "b"},
    with_theirs={"d": None, "time d": 1700000000, "d/e": "t"},
    with_both={"d": None, "time d": 1700000000, "d/e": "t", "g": None, "g/f": "b"})
row("file-moved-to-a-new-name-of-theirs", "echo b >f", "mv f g", "echo t >g",
    [("rename/add", "g")], with_ours={"g": "b"}, with_theirs={"f": "b", "g": "t"},
    with_both={"g": "t", "g.ours": "b"})
row("file-moved-alike", "echo b >f", "mv f g", "mv f g", result={"g": "b"})
row("file-moved-alike-and-changed", "yes b | head -c 9000 >f",
    "mv f g; printf o | dd of=g conv=notrunc status=none; chmod 600 g", "mv f g",
    result={"begin g": "o", "mode g": 0o600, "count .": 1})
row("file-moved-alike-and-both-changed", "yes b | head -c 9000 >f",
    "mv f g; printf o | dd of=g conv=notrunc status=none", "mv f g; chmod 600 g",
    [("rename/delete", "g")], with_ours={"begin g": "o", "count .": 1},
    with_theirs={"begin g": "b", "mode g": 0o600, "count .": 1},
    with_both={"begin g": "b", "mode g": 0o600, "begin g.ours": "o", "count .": 2})
row("file-moved-and-copied-back", "echo b >f", "mv f f.bak; cp f.bak f; echo o >>f", "echo t >f",
    [("edit/edit", "f")], with_ours={"f": "b\no", "f.bak": "b"},
    with_theirs={"f": "t", "f.bak": "b"}, with_both={"f": "t", "f.ours": "b\no", "f.bak": "b"})
row("files-swapped", "echo 1 >f; echo 2 >g", "mv f t; mv g f; mv t g", "",
    result={"f": "2", "g": "1"})
row("moved-out-of-a-directory-that-goes", "mkdir d; echo b >d/x; echo b >d/y",
    "mv d/x keep; rm -r d", "echo t >d/x", result={"keep": "t"})
# The link is met before the moved one, which has the file's name.
row("file-moved-and-linked-and-both-changed", "mkdir d; yes b | head -c 9000 >f",
    "mv f d/f; ln d/f d-link; printf o | dd of=d/f conv=notrunc status=none",
    "printf t | dd of=f conv=notrunc status=none", [("edit/edit", "d/f")],
    with_ours={"begin d/f": "o", "links d/f": 2, "count d": 1, "count .": 2},
    with_theirs={"begin d/f": "t", "links d/f": 2, "count d": 1, "count .": 2},
    with_both={"begin d/f": "t", "links d/f": 2, "begin d/f.ours": "o", "count d": 2, "count .": 2})
row("file-moved-with-its-directory-and-linked-and-both-changed", "mkdir d; yes b | head -c 9000 >d/f",
    "mv d z; ln z/f a; chmod 600 a", "chmod 640 d/f", [("metadata", "z/f")],
    with_ours={"mode a": 0o600, "links a": 2, "count .": 2},
    with_theirs={"mode a": 0o640, "links a": 2, "count .": 2})
row("links-changed", "echo b >f; ln f g", "echo o >f", "", result={"f": "o", "g": "o",
                                                                   "links f": 2})
row("link-added", "echo b >f", "ln f g", "echo t >f", result={"f": "t", "g": "t", "links f": 2})
row("link-added-and-gone", "echo b >f", "ln f g", "rm f", [("edit/delete", "g")],
    with_ours={"g": "b"}, with_theirs={}, with_both={"g": "b"})
row("link-split", "echo b >f", "echo o >f", "ln f third", result={"f": "o", "third": "b"},
    notes=[("links-split", "f")])
row("link-added-by-both", "echo b >f", "ln f g; echo o >f", "ln f h",
    result={"f": "o", "g": "o", "h": "b", "links f": 2}, notes=[("links-split", "f")])
row("link-changed-added-and-gone", "echo b >f; chmod 644 f; ln f g", "rm f; echo o >g; ln g h",
    "chmod 600 f", [("delete/edit", "f")],
    with_ours={"g": "o", "h": "o", "links g": 2, "mode g": 0o600},
    with_theirs={"f": "b", "mode f": 0o600, "g": "o", "h": "o", "links g": 2, "mode g": 0o600},
    with_both={"f": "b", "g": "o", "h": "o", "links g": 2})
row("link-added-and-such-a-file", "echo b >f", "ln f g", "rm f; echo b >g", result={"g": "b"})
row("links-joined", "echo b >f; echo b >g; touch -d @1600000000 g", "rm g; ln f g", "",
    result={"f": "b", "g": "b", "links f": 2})
row("links-joined-that-theirs-changed", "echo b >f; echo b >g; touch -d @1600000000 g",
    "rm g; ln f g", "echo t >g", result={"f": "b", "g": "t"})
row("link-in-the-place-of-a-file-that-is-gone", "echo b >f; ln f l; echo g >g", "ln -f f g",
    "chmod 600 f; rm g", [("edit/delete", "g")],
    with_ours={"f": "b", "l": "b", "g": "b", "links g": 3, "mode g": 0o600},
    with_theirs={"f": "b", "l": "b", "links f": 2},
    with_both={"f": "b", "l": "b", "g": "b", "links g": 3, "mode g": 0o600})
row("link-in-the-place-of-a-symlink-that-is-gone", "echo b >f; ln -s t l", "ln -f f l",
    "echo t >f; rm l", [("edit/delete", "l")], with_ours={"f": "t", "l": "t", "links f": 2},
    with_theirs={"f": "t"}, with_both={"f": "t", "l": "t", "links f": 2})
# The link is met before the name that its file has now.
row("link-of-a-moved-file-in-the-place-of-another", "echo k >a; mkdir d; echo b >f; chmod 600 f",
    "mv f d/z; ln -f d/z a", "chmod 640 a", [("edit/edit", "a")],
    with_ours={"a": "b", "d": None, "d/z": "b", "links a": 2, "mode a": 0o600},
    with_theirs={"a": "k", "mode a": 0o640, "d": None, "d/z": "b", "links d/z": 1},
    with_both={"a": "k", "mode a": 0o640, "d": None, "d/z": "b", "links d/z": 1, "a.ours": "b"})
row("link-of-a-copy-in-the-place-of-what-it-was", "echo b >f; ln f g",
    "cp -p f t; mv t f; ln f h", "", result={"f": "b", "g": "b", "h": "b", "links f": 3})
row("device", "mknod n c 1 3", "rm n; mknod n c 1 5", "", result={"n": "device 1 5"})
row("attribute", "echo b >f; setfattr -n user.a -v 1 f",
    "setfattr -n user.b -v 2 f", "setfattr -n user.a -v 3 f",
    result={"f": "b", "xattr f": {"user.a": "3", "user.b": "2"}})
row("attribute-by-both", "echo b >f; setfattr -n user.a -v 1 f",
    "setfattr -n user.a -v 2 f", "setfattr -n user.a -v 3 f", [("metadata", "f")],
    with_ours={"f": "b", "xattr f": {"user.a": "2"}},
    with_theirs={"f": "b", "xattr f": {"user.a": "3"}})
row("touched-by-theirs", "echo b >f", "echo o >f", "touch -d 2001-01-01 f", result={"f": "o"})
row("block-of-a-large-file", "truncate -s 300K f; echo b >>f",
    "printf o | dd of=f bs=1 seek=100000 conv=notrunc status=none", "touch f",
    result={"large f": 100000})
row("many-names", "mkdir d; cd d; seq 3000 | xargs touch", "cd d; rm 5 6 7; echo o >new",
    "cd d; rm 100; echo t >10", result={"count d": 2997, "d/new": "o", "d/10": "t"})
