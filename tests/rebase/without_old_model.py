# SPDX-License-Identifier: BSD-3-Clause
"""What a rebase without the old lower must not do, by paths.

The program is shown a layer and a new lower N. The judge sees the old lower O and the merged
tree M as well, and knows so what the layer has changed. It asks of each path that no conflict
covers whether the result R is what a rebase with the old lower would give, and of every file
whether its bytes are those of one side: never a mixture.
"""

from fields import beside
from identity import may_be_same
from trees import equal, name_of, parent_of


def same(one, other):
    return one is other if one is None or other is None else equal(one, other)


class WithoutOldJudge:
    """conflicts: path: how it is decided; of_fields: those that name fields, which say of
    directories nothing of what lies below."""

    def __init__(self, identity, new, conflicts, of_fields, notes):
        self.identity = identity
        self.old, self.merged, self.new = identity.old, identity.merged, new
        self.conflicts, self.of_fields, self.notes = conflicts, of_fields, notes
        self.old_to_merged = {}
        for path in self.merged.nodes:
            at = identity.at(path)
            if at is not None:
                self.old_to_merged.setdefault(at, set()).add(path)

    def names_of(self, path):
        """A path, and those under which the other trees have what it is in M, or was in O."""
        found = {path}
        at = self.identity.at(path) if path in self.merged.nodes else None
        found.update([at] if at is not None else [])
        found.update(self.old_to_merged.get(path, ()))
        if path in self.identity.moved:
            found.add(self.identity.moved[path])
        return found

    def is_covered(self, path):
        return any(self.is_at_or_below_told(name) for name in self.names_of(path))

    def is_at_or_below_told(self, path):
        if path in self.conflicts:
            return True
        while path:
            path = parent_of(path)
            if path and path in self.conflicts and not self.is_of_fields(path):
                return True
        return False

    def is_of_fields(self, path):
        return (path in self.of_fields and self.merged.is_directory(path)
                and self.new.is_directory(path))

    def complaints(self, result):
        trees = (self.old, self.merged, self.new, result)
        for path in sorted(set().union(*(tree.nodes for tree in trees))):
            if path in self.conflicts:
                yield from self.judge_decided(path, result.get(path), result)
            elif not self.is_covered(path) and not self.is_beside(path):
                yield from self.judge_path(path, result.get(path))
        yield from self.mixtures(result)

    def is_beside(self, path):
        """NAME.ours, or something below it."""
        while path:
            if path not in self.new.nodes and path not in self.merged.nodes \
                    and self.conflicts.get(path.rpartition(".ours")[0]) == "both":
                return True
            path = parent_of(path)
        return False

    def judge_decided(self, path, found, result):
        ours, theirs = self.merged.get(path), self.new.get(path)
        if any(one is not None and one.is_directory for one in (ours, theirs, found)):
            return  # of a directory only the names that are in conflict are decided
        decision = self.conflicts[path]
        wanted = ours if decision == "ours" or decision == "both" and theirs is None else theirs
        if not same(wanted, found):
            yield (f"{path}: decided for {decision}, but it is {describe(found)}, not "
                   f"{describe(wanted)}")
        if decision == "both" and ours is not None and theirs is not None \
                and not any(same(beside(ours), one) for one in self.copies_of(path, result)):
            yield f"{path}: ours is not beside it"

    def copies_of(self, path, result):
        """What lies beside any name of the file: one copy is for all of them."""
        for name in self.merged.paths_of[self.merged.get(path).inode]:
            directory = parent_of(name)
            for other in result.names_in(directory):
                if other.startswith(name_of(name) + ".ours"):
                    yield result.get(f"{directory}/{other}")

    def judge_path(self, path, found):
        old, ours, theirs = self.old.get(path), self.merged.get(path), self.new.get(path)
        has_lost = old is not None and theirs is None and "perhaps-not-new" in self.notes
        if same(old, ours) and not (has_lost and self.is_made_anew(path)):
            wanted, why = [theirs], "the layer has not changed it"
        elif same(old, theirs):
            wanted, why = [ours], "only the layer has changed it"
        elif same(ours, theirs):
            wanted, why = [theirs], "both have changed it alike"
        elif has_lost:
            wanted, why = [ours], "N has it no more"
        else:
            yield f"{path}: both have changed it, and no conflict is told"
            return
        if not any(same(found, one) for one in wanted):
            yield f"{path}: {why}, but it is {describe(found)}, not {describe(wanted[0])}"

    def is_made_anew(self, path):
        """Whether the layer names another file there, be it equal."""
        return not may_be_same(self.old.get(path), self.merged.get(path))

    def mixtures(self, result):
        known = {(node.content, node.size) for tree in (self.merged, self.new)
                 for node in tree.nodes.values() if node.type == "file"}
        for path, node in sorted(result.nodes.items()):
            if node.type == "file" and (node.content, node.size) not in known:
                yield f"{path}: its bytes are neither ours nor theirs"


def describe(node):
    return "nothing" if node is None else f"{node.type} {node.permissions:o} {node.size} bytes"
