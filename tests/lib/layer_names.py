#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A layer read by names, and held against the merged image.

layer_names.py compare LOWER UPPER MERGED
    Lists the lower and the layer in UPPER (one without a session), lays the one
    over the other by names and paths with the classic rules of union mounts, and
    compares the tree with that of MERGED, a saved merged image: names, types,
    modes, owners, times, attributes, link counts, targets, device numbers, inode
    numbers, and contents.

layer_names.py self-test LOWER UPPER MERGED [SEED]
    The comparison must be able to fail: damages whiteouts, fallthrus, opaque marks,
    modes and contents of the layer, one at a time and in memory alone, and ends
    with 1 if one of them that must be seen is not.

It shares no code with the program, and knows nothing of the state area. Where our
layers say more than the classic rules can (docs/format.md), it knows this much:

  - A fallthru means that name in the lower directory of the same *inode number*.
    Where the directory is at its old place this is the classic rule; in one that
    was moved, or lies below one, the path leads nowhere.
  - An own directory mentions every name of the lower one at its place, or is
    opaque. The classic rule would show a name without entry; ours does not.
  - A hole in an own regular file is what the lower's regular file of that number
    has there, or a hole after all: which of the two, names cannot say. Such files
    are counted as partly own.
"""

import random
import stat
import struct
import sys

from ext2_reader import FLAGS_OFFSET, OPAQUE_FLAG, ROOT, TYPE_OFFSET, FALLTHRU_TYPE, \
    WHITEOUT_TYPE, Image
from union_trees import classic_union

COMPLAINT_LIMIT = 20
READ_LIMIT_BYTES = 1 << 20
SAMPLE_COUNT = 8


def show(path):
    return "/" + b"/".join(path).decode("ascii", "backslashreplace")


class Mark:
    """A whiteout, fallthru or opaque flag, and whether the tree is another without it."""

    def __init__(self, kind, path, offset, matters):
        self.kind = kind
        self.path = path
        self.offset = offset
        self.matters = matters


class Union:
    """The expected tree, compared with the merged one as it is walked."""

    def __init__(self, lower, upper, merged, wants_contents=lambda number: True):
        self.lower = lower
        self.upper = upper
        self.merged = merged
        self.wants_contents = wants_contents
        self.complaints = []
        self.marks = []
        self.names_of = {}  # (image, inode number): how many names
        self.seen = set()
        self.counts = dict.fromkeys(
            ["names", "own names", "names by number alone", "wholly own files",
             "partly own files", "lower's files"], 0)

    def complain(self, path, text):
        self.complaints.append(f"{show(path)}: {text}")

    def run(self):
        self.compare_inode((), self.upper, self.upper.inode(ROOT))
        self.walk((), self.upper, ROOT, self.lower, ROOT, ROOT)
        for (image, number), count in self.names_of.items():
            links = image.inode(number).links
            if not image.inode(number).is_directory and links != count:
                self.complain((b"inode %d" % number, ), f"has {links} links and {count} names")
            if self.merged.inode(number).links != count:
                self.complain((b"inode %d" % number, ),
                              f"{count} names, merged {self.merged.inode(number).links} links")
        return self.complaints

    def walk(self, path, image, number, below_image, below, found):
        """One directory: `number` of `image`, over `below` if one shows at its path;
        `found` is the merged one."""
        if (image, number) in self.seen:
            self.complain(path, "a directory under two names")
            return
        self.seen.add((image, number))
        if image is self.lower:
            expected = {name: (image, entry.inode, None)
                        for name, entry in image.names(number).items()}
        else:
            expected = self.merge(path, number, below_image.names(below) if below else {}, below)
        actual = self.merged.names(found)
        for name in sorted(expected.keys() | actual.keys()):
            place = path + (name, )
            if name not in actual:
                self.complain(place, "expected, and not in the merged image")
            elif name not in expected:
                self.complain(place, "in the merged image, and not expected")
            elif actual[name].inode != expected[name][1]:
                self.complain(place, f"inode {actual[name].inode}, expected {expected[name][1]}")
            else:
                self.child(place, *expected[name])
        # "." of its own, and ".." of each directory in it; its name is counted there.
        key = (image, number)
        inside = sum(1 for side, child, _ in expected.values() if side.inode(child).is_directory)
        self.names_of[key] = self.names_of.get(key, 1 if path == () else 0) + 1 + inside

    def merge(self, path, number, below_names, below):
        """{name: (image, inode number, lower inode number at the same path)}"""
        entries = self.upper.names(number)
        is_opaque = bool(self.upper.inode(number).flags & OPAQUE_FLAG)
        kinds = {name: entry.kind for name, entry in entries.items()}
        expected = {}
        for name, side in classic_union(below_names, kinds, is_opaque).items():
            if side == "below":
                expected[name] = (self.lower, below_names[name].inode, None)
                if name not in entries:
                    self.complain(path + (name, ), "the layer's directory has no entry for it")
            else:
                shows = name in below_names and not is_opaque
                expected[name] = (self.upper, entries[name].inode,
                                  below_names[name].inode if shows else None)
        # What the same number says: the same as the path, or more.
        home = self.lower.names(number) if self.lower.has_directory(number) else {}
        for name, entry in entries.items():
            place = path + (name, )
            if entry.kind != "real" and name not in home:
                self.complain(place, f"a {entry.kind} of nothing")
            elif entry.kind == "fallthru" and below != number:
                expected[name] = (self.lower, home[name].inode, None)
                self.counts["names by number alone"] += 1
            if entry.kind != "real":
                matters = entry.kind == "fallthru" or (name in below_names and not is_opaque)
                self.marks.append(Mark(entry.kind, place, entry.offset + TYPE_OFFSET, matters))
        if is_opaque:
            self.marks.append(Mark("opaque", path, self.upper.inode(number).offset + FLAGS_OFFSET,
                                   any(name not in entries for name in below_names)))
        self.counts["own names"] += sum(1 for kind in kinds.values() if kind == "real")
        return expected

    def child(self, path, image, number, below):
        self.counts["names"] += 1
        key = (image, number)
        self.names_of[key] = self.names_of.get(key, 0) + 1
        inode = image.inode(number)
        if inode.is_directory:
            self.compare_inode(path, image, inode)
            both = below is not None and self.lower.inode(below).is_directory
            if self.merged.inode(number).is_directory:
                self.walk(path, image, number, self.lower, below if both else None, number)
        elif self.names_of[key] == 1:
            self.compare_inode(path, image, inode)

    def compare_inode(self, path, image, inode):
        merged = self.merged.inode(inode.number)

        def same(what, expected, actual):
            if expected != actual:
                self.complain(path, f"{what} {actual!r}, expected {expected!r}")

        same("mode", oct(inode.mode), oct(merged.mode))
        same("owner", (inode.uid, inode.gid), (merged.uid, merged.gid))
        same("size", inode.size, merged.size)
        same("times", (inode.mtime, inode.ctime, inode.extra_times),
             (merged.mtime, merged.ctime, merged.extra_times))
        same("flags", hex(inode.flags & ~OPAQUE_FLAG), hex(merged.flags))
        same("generation", inode.generation, merged.generation)
        same("attributes", image.xattrs(inode), self.merged.xattrs(merged))
        if inode.mode != merged.mode or inode.size != merged.size:
            return
        if stat.S_ISLNK(inode.mode):
            same("target", image.link_target(inode), self.merged.link_target(merged))
        elif stat.S_ISCHR(inode.mode) or stat.S_ISBLK(inode.mode):
            same("device", inode.pointers[:2], merged.pointers[:2])
        elif inode.is_regular and self.wants_contents(inode.number):
            self.compare_contents(path, image, inode, merged)

    def compare_contents(self, path, image, inode, merged):
        own = image.blocks(inode)
        actual = self.merged.blocks(merged)
        below = {}
        if image is self.lower:
            self.counts["lower's files"] += 1
        else:
            is_partly = actual.keys() - own.keys()
            self.counts["partly own files" if is_partly else "wholly own files"] += 1
            if is_partly and self.lower.has_regular(inode.number):
                below = self.lower.blocks(self.lower.inode(inode.number))
        self.compare_blocks(path, image, own, actual, sorted(own))
        rest = sorted(actual.keys() - own.keys())
        self.compare_blocks(path, self.lower, below, actual, rest)

    def compare_blocks(self, path, image, expected, actual, places):
        """Contents at these places of a file; runs that are contiguous in both at once."""
        position = 0
        while position < len(places):
            first = places[position]
            ours, theirs = expected.get(first, 0), actual.get(first, 0)
            count = 1
            while (ours and theirs and position + count < len(places)
                   and places[position + count] == first + count
                   and expected.get(first + count) == ours + count
                   and actual.get(first + count) == theirs + count
                   and count * image.block_size < READ_LIMIT_BYTES):
                count += 1
            position += count
            if self.content(image, ours, count) != self.content(self.merged, theirs, count):
                self.complain(path, f"other contents in blocks {first} to {first + count - 1}")
                return

    @staticmethod
    def content(image, block, count):
        if block == 0:
            return bytes(image.block_size)
        return image.read(block * image.block_size, count * image.block_size)


class SelfTest:
    """One damage after the other, each to a layer that is right otherwise."""

    def __init__(self, lower, upper_path, merged, seed):
        self.lower = lower
        self.upper_path = upper_path
        self.merged = merged
        self.chance = random.Random(seed)
        self.failures = []
        self.tried = {}

    def sample(self, things):
        things = list(things)
        return self.chance.sample(things, min(SAMPLE_COUNT, len(things)))

    def run(self):
        upper = Image(self.upper_path)
        union = Union(self.lower, upper, self.merged, lambda number: False)
        complaints = union.run()
        if complaints:
            sys.exit("the undamaged layer is objected to:\n" + "\n".join(complaints[:5]))
        types = {"whiteout": WHITEOUT_TYPE, "fallthru": FALLTHRU_TYPE}
        for kind, other in (("whiteout", "fallthru"), ("fallthru", "whiteout")):
            marks = [mark for mark in union.marks if mark.kind == kind]
            for mark in self.sample(mark for mark in marks if mark.matters):
                self.damage(f"{kind} lost", mark.path, mark.offset, b"\0")
            for mark in self.sample(marks):
                self.damage(f"{kind} made {other}", mark.path, mark.offset, bytes([types[other]]))
        for mark in self.sample(m for m in union.marks if m.kind == "opaque" and m.matters):
            flags = struct.unpack("<I", upper.read(mark.offset, 4))[0] & ~OPAQUE_FLAG
            self.damage("opaque lost", mark.path, mark.offset, struct.pack("<I", flags))
        own = sorted({number for image, number in union.names_of if image is upper})
        for number in self.sample(own):
            inode = upper.inode(number)
            self.damage("mode changed", (b"inode %d" % number, ), inode.offset,
                        struct.pack("<H", inode.mode ^ 1))
        self.damage_contents(upper, own)
        upper.close()

    def damage_contents(self, upper, own):
        files = [number for number in own
                 if upper.inode(number).is_regular and upper.blocks(upper.inode(number))]
        for number in self.sample(files):
            blocks = upper.blocks(upper.inode(number))
            block = blocks[self.chance.choice(sorted(blocks))]
            offset = block * upper.block_size + self.chance.randrange(upper.block_size)
            content = bytes([upper.read(offset, 1)[0] ^ 1])
            self.damage("content changed", (b"inode %d" % number, ), offset, content, number)

    def damage(self, what, path, offset, content, number=None):
        self.tried[what] = self.tried.get(what, 0) + 1
        upper = Image(self.upper_path, {offset: content})
        if not Union(self.lower, upper, self.merged, lambda other: other == number).run():
            self.failures.append(f"{what}: {show(path)}: nobody objects")
        upper.close()


def report(lines):
    for line in lines[:COMPLAINT_LIMIT]:
        print(line, file=sys.stderr)
    if len(lines) > COMPLAINT_LIMIT:
        print(f"and {len(lines) - COMPLAINT_LIMIT} more", file=sys.stderr)
    sys.exit(1 if lines else 0)


def main():
    if len(sys.argv) < 5 or sys.argv[1] not in ("compare", "self-test"):
        sys.exit(__doc__)
    lower, merged = Image(sys.argv[2]), Image(sys.argv[4])
    if sys.argv[1] == "compare":
        union = Union(lower, Image(sys.argv[3]), merged)
        complaints = union.run()
        kinds = [mark.kind for mark in union.marks]
        counts = [f"{count} {what}" for what, count in union.counts.items()]
        counts += [f"{kinds.count(kind)} {kind}" for kind in ("whiteout", "fallthru", "opaque")]
        print("by names: " + ", ".join(counts))
        report(complaints)
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else 1
    test = SelfTest(lower, sys.argv[3], merged, seed)
    test.run()
    print(f"seed {seed}: objected to: "
          + ", ".join(f"{what} ({count})" for what, count in sorted(test.tried.items())))
    report(test.failures)


if __name__ == "__main__":
    main()
