# SPDX-License-Identifier: BSD-3-Clause
"""What the model says: the conflicts that must be told, and the resulting paths.

`Plan.open` says why the rules do not decide the tree; then only conflicts count.
"""

import dataclasses

from trees import equal


@dataclasses.dataclass
class Conflict:
    """Any of the classes at any of the paths is right.

    file: of a conflict about what is in a file: its inodes in O, the merged tree and N.
    All names that meet the same are one conflict, and name is one of them.
    """
    classes: set
    paths: set
    name: str = None
    file: tuple = None


@dataclasses.dataclass
class Expected:
    """A resulting path; paths of one key are one file. times: those that are right.

    file: the inode of the merged tree that the layer changed, whose names stay one file
    where they come to the same. theirs: the inode of N that it was merged with.
    """
    node: object
    times: frozenset
    key: tuple
    file: int = None
    theirs: int = None


class Plan:
    def __init__(self):
        self.conflicts = []
        self.optional = []  # conflicts that may be told besides
        self.tree = {}
        self.copies = []  # (possible paths, the file that is at one of them)
        self.open = None

    def leave_open(self, reason):
        if self.open is None:
            self.open = reason

    def place_copies(self, found):
        """The tree with each copy at that of its names that is there, or else at the first."""
        tree = dict(self.tree)
        for names, copy in self.copies:
            there = sorted(name for name in names if name in found and name not in tree)
            tree[(there or sorted(names))[0]] = copy
        return tree

    def part_links(self):
        """One file of the layer is one file where it has one result."""
        groups = {}
        for expected in {id(one): one for one in self.tree.values()}.values():
            if expected.file is None or expected.node.is_directory:
                continue
            equals = groups.setdefault(expected.file, [])
            for group in equals:
                if equal(group[0].node, expected.node):
                    group.append(expected)
                    break
            else:
                equals.append([expected])
        for equals in groups.values():
            for number, group in enumerate(equals):
                times = frozenset().union(*(one.times for one in group))
                key = self.key_of_group(group, number)
                for expected in group:
                    expected.times = times
                    expected.key = key

    def key_of_group(self, group, number):
        """Names that come to what N has are N's file, and the others join them."""
        kept = {one.key for one in group if one.key[0] == "new"}
        if len({one.theirs for one in group} - {None}) < 2:
            return kept.pop() if kept else ("layer", group[0].file, number)
        members = {id(one) for one in group}
        if any(one.key in kept and id(one) not in members for one in self.tree.values()):
            self.leave_open("joined links, of which N has further names")
        return ("joined", group[0].file, number)

    def accept_names_of_links(self, merged):
        """One conflict may name a file by any of its names."""
        for conflict in self.conflicts + self.optional:
            for path in list(conflict.paths):
                ours = merged.get(path)
                if ours is not None and not ours.is_directory:
                    conflict.paths.update(merged.paths_of[ours.inode])
