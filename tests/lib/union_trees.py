#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Trees for unions, and what their union must look like.

union_trees.py generate SEED LOWER UPPER MARKS
    fills two empty directories with random trees that share names, and writes
    the upper's whiteouts, fallthrus and opaque directories, one a line.

union_trees.py merge LOWER UPPER MARKS RESULT
    the union by the classic rules, made of two plain directory trees by names
    alone. It knows nothing of block devices, inode numbers or layers.

Needs root: owners, device nodes and trusted attributes are part of the trees.
"""

import os
import random
import shutil
import stat
import subprocess
import sys

NAMES = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "a-rather-long-name-for-a-file",
         "eta", "theta", "x" * 120]


class Generator:
    """One tree; files of earlier places may get more names."""

    def __init__(self, chance, top):
        self.chance = chance
        self.top = top
        self.files = []
        self.directories = ["."]

    def path(self, relative):
        return os.path.join(self.top, relative)

    def fill(self, relative, depth):
        count = self.chance.randint(2, 8) if depth > 0 else len(NAMES) - 1
        for name in self.chance.sample(NAMES, count):
            place = os.path.normpath(os.path.join(relative, name))
            kind = self.chance.choices(
                ["file", "directory", "symlink", "device", "fifo", "link"],
                [6, 5 if depth < 3 else 0, 2, 1, 1, 2])[0]
            self.make(kind, place, depth)
        self.dress(relative)

    def make(self, kind, place, depth):
        path = self.path(place)
        if kind == "link" and self.files:
            os.link(self.path(self.chance.choice(self.files)), path)
            return
        if kind == "directory":
            os.mkdir(path)
            self.directories.append(place)
            self.fill(place, depth + 1)
            return
        if kind == "symlink":
            os.symlink("t" * self.chance.choice([1, 59, 60, 200, 900]), path)
        elif kind == "device":
            mode = self.chance.choice([stat.S_IFCHR, stat.S_IFBLK])
            os.mknod(path, mode | 0o640, os.makedev(self.chance.choice([1, 300]),
                                                    self.chance.choice([3, 70000])))
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            self.write_file(path)
            self.files.append(place)
        self.dress(place)

    def write_file(self, path):
        with open(path, "wb") as file:
            for _ in range(self.chance.choice([0, 1, 1, 2])):
                file.seek(self.chance.choice([0, 1, 1000, 5000, 60000, 3000000]), os.SEEK_CUR)
                length = self.chance.choice([1, 700, 1024, 4096, 20000, 300000])
                file.write(self.chance.randbytes(length))

    def dress(self, place):
        path = self.path(place)
        os.chown(path, self.chance.choice([0, 1000, 70000]), self.chance.choice([0, 100, 80000]),
                 follow_symlinks=False)
        if not os.path.islink(path):
            os.chmod(path, self.chance.choice([0o644, 0o755, 0o600, 0o4711, 0o1777]))
            # The kernel allows user attributes on files and directories only.
            plain = os.path.isfile(path) or os.path.isdir(path)
            for number in range(self.chance.choice([0, 0, 0, 1, 3])):
                prefix = "user" if plain else "trusted"
                value = self.chance.randbytes(self.chance.choice([0, 5, 60, 200]))
                os.setxattr(path, f"{prefix}.attribute{number}", value)
        when = self.chance.randint(10**9, 2 * 10**9) * 10**9
        os.utime(path, ns=(when, when), follow_symlinks=False)


def generate(seed, lower, upper, marks):
    chance = random.Random(int(seed))
    Generator(chance, lower).fill(".", 0)
    tree = Generator(chance, upper)
    tree.fill(".", 0)
    lines = []
    for directory in tree.directories:
        if not os.path.isdir(tree.path(directory)):
            continue
        taken = set(os.listdir(tree.path(directory)))
        free = [name for name in NAMES + ["no-such-name"] if name not in taken]
        chance.shuffle(free)
        for name in free[:chance.randint(0, 4)]:
            kind = chance.choice(["whiteout", "fallthru"])
            lines.append(f"{kind} {os.path.normpath(os.path.join(directory, name))}")
        if chance.random() < (0.3 if directory != "." else 0.1):
            lines.append(f"opaque {directory}")
    with open(marks, "w", encoding="ascii") as file:
        file.writelines(line + "\n" for line in lines)


def classic_union(below, marks, is_opaque):
    """The classic rule for one directory: {name: "above" or "below"}.

    `below` has the names of the lower directory at this place, if one shows there;
    `marks` says for each name of the upper one what it is: "real", "whiteout" or
    "fallthru".
    """
    shown = {}
    for name in below:
        mark = marks.get(name)
        if mark == "fallthru" or (mark is None and not is_opaque):
            shown[name] = "below"
    for name, mark in marks.items():
        if mark == "real":
            shown[name] = "above"
    return shown


class Model:
    """The union, naively: the lower's tree, changed name by name."""

    def __init__(self, upper, marks, result):
        self.upper = upper
        self.result = result
        self.opaque = set()
        self.marks = {}  # by directory: {name: mark}
        with open(marks, encoding="ascii") as file:
            for line in file:
                words = line.split()
                if len(words) == 2:
                    self.read_mark(*words)
        self.copies = {}

    def read_mark(self, kind, place):
        if kind == "opaque":
            self.opaque.add(place)
        else:
            directory, name = os.path.split(place)
            self.marks.setdefault(directory or ".", {})[name] = kind

    def remove(self, path):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)

    def merge(self, directory, below_shows):
        """`below_shows`: what is in the result at this place is the lower's."""
        target = os.path.normpath(os.path.join(self.result, directory))
        is_opaque = directory in self.opaque
        marks = dict(self.marks.get(directory, {}))
        own_names = sorted(os.listdir(os.path.join(self.upper, directory)))
        marks.update((name, "real") for name in own_names)
        below = os.listdir(target)
        shown = classic_union(below, marks, is_opaque)
        for name in below:
            if name not in shown:
                self.remove(os.path.join(target, name))
        for name in own_names:
            self.lay_over(os.path.normpath(os.path.join(directory, name)),
                          below_shows and not is_opaque)
        self.copy_looks(os.path.join(self.upper, directory), target)

    def lay_over(self, place, below_shows):
        source = os.path.join(self.upper, place)
        target = os.path.join(self.result, place)
        if os.path.isdir(source) and not os.path.islink(source):
            both = below_shows and os.path.isdir(target) and not os.path.islink(target)
            if not both:
                self.remove(target)
                os.mkdir(target)
            self.merge(place, both)
            return
        self.remove(target)
        inode = os.lstat(source).st_ino
        if inode in self.copies:
            os.link(self.copies[inode], target, follow_symlinks=False)
        else:
            subprocess.run(["cp", "-a", "--sparse=always", "--", source, target], check=True)
            self.copies[inode] = target

    def copy_looks(self, source, target):
        status = os.lstat(source)
        os.chown(target, status.st_uid, status.st_gid)
        os.chmod(target, stat.S_IMODE(status.st_mode))
        for name in os.listxattr(target):
            os.removexattr(target, name)
        for name in os.listxattr(source):
            os.setxattr(target, name, os.getxattr(source, name))
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def merge(lower, upper, marks, result):
    subprocess.run(["cp", "-a", "--sparse=always", "-T", "--", lower, result], check=True)
    Model(upper, marks, result).merge(".", True)


def main():
    if len(sys.argv) == 6 and sys.argv[1] == "generate":
        generate(*sys.argv[2:])
    elif len(sys.argv) == 6 and sys.argv[1] == "merge":
        merge(*sys.argv[2:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
