# SPDX-License-Identifier: BSD-3-Clause
"""Which files and directories of the merged tree are those of the old lower.

`base` of a directory is the path under which the old and the new lower know it:
its own path, or where it lay before the layer moved it, or None if neither lower
can know it.
"""

from trees import equal, name_of, parent_of, same_content


def may_be_same(old, now):
    """Nothing speaks against it: type, generation and, where both have it, birth."""
    return (old is not None and now is not None and old.type == now.type
            and old.inode == now.inode and old.generation == now.generation
            and (old.birth is None or now.birth is None or old.birth == now.birth))


class Identity:
    def __init__(self, old, merged, named=None):
        self.old = old
        self.merged = merged
        self.named = named
        self.claims = {}  # old path of a directory -> merged path, where it is proven
        self.copies = {}  # merged path -> old path: such a directory, and those that went with it
        self.base = {}
        self.location = {}  # base -> merged path of a directory
        self.moved = {}  # merged path -> old path: directories
        self.consumed = set()  # old paths that are somewhere else now
        self.renamed = {}  # merged path -> old path: anything else
        self.anchors = {}  # merged path of a link that the layer made -> path of the file
        self.touched = set()  # inodes of which the layer changes a name
        self.find_claims()
        self.find_all_bases()
        self.find_files()

    def path_below(self, directory, name):
        """Where the lowers know the name, if they can."""
        base = self.base[directory]
        return None if base is None else f"{base}/{name}"

    def at(self, path):
        return self.path_below(parent_of(path), name_of(path)) if path else ""

    def is_proven(self, old_path, path):
        old, now = self.old.get(old_path), self.merged.get(path)
        if not may_be_same(old, now):
            return False
        if old.generation != 0:
            return True
        if old.is_directory:
            return any(may_be_same(self.old.get(f"{old_path}/{name}"),
                                   self.merged.get(f"{path}/{name}"))
                       for name in self.old.names_in(old_path))
        return same_content(old, now) or bool(old.blocks & now.blocks)

    def find_claims(self):
        for path, now in self.merged.nodes.items():
            if now.is_directory:
                for old_path in self.old.paths_of.get(now.inode, []):
                    if self.is_proven(old_path, path):
                        self.claims[old_path] = path

    def find_all_bases(self):
        """Again without the claims whose old names lead to directories made anew."""
        while True:
            self.base, self.location = {"": ""}, {"": ""}
            self.moved, self.consumed = {}, set()
            self.find_bases("")
            used = [old for old in self.consumed if self.is_made_anew(old)]
            if not used:
                return
            self.find_copies(min(used, key=lambda old: (old.count("/"), old)))  # then the old names below it are others

    def is_made_anew(self, old_path):
        place = self.location.get(parent_of(old_path))
        path = None if place is None else f"{place}/{name_of(old_path)}"
        return self.merged.is_directory(path) and path not in self.moved

    def find_copies(self, old_path):
        """The old name is compared by path, so what went with the directory is new."""
        top = self.claims[old_path]
        for old, path in list(self.claims.items()):
            if f"{old}/".startswith(f"{old_path}/") and path == top + old[len(old_path):]:
                self.copies[path] = old
                del self.claims[old]

    def is_copy(self, path, names):
        """Whether a file went with a directory of which the old name is another one."""
        directory = self.copies.get(parent_of(path))
        return directory is not None and f"{directory}/{name_of(path)}" in names

    def has_copy_its_name(self, old_path):
        """Whether a directory of which the old name is another one has something of its type."""
        for path, old in self.copies.items():
            if old == parent_of(old_path):
                now = self.merged.get(f"{path}/{name_of(old_path)}")
                return now is not None and now.type == self.old.get(old_path).type
        return False

    def find_bases(self, directory):
        for name in self.merged.names_in(directory):
            path = f"{directory}/{name}"
            if not self.merged.is_directory(path):
                continue
            at = self.path_below(directory, name)
            claimed = [old for old, now in self.claims.items() if now == path]
            if claimed and claimed[0] != at:
                self.base[path] = self.moved[path] = claimed[0]
                self.consumed.add(claimed[0])
            elif self.claims.get(at, path) != path:
                # Another directory took the name of one that was moved.
                self.base[path] = None
            else:
                self.base[path] = at
            if self.base[path] is not None:
                self.location[self.base[path]] = path
            self.find_bases(path)

    def is_gone(self, old_path):
        """Whether the merged tree has nothing of its type any more where this name would be."""
        place = self.location.get(parent_of(old_path))
        now = None if place is None else self.merged.get(f"{place}/{name_of(old_path)}")
        return now is None or now.type != self.old.get(old_path).type

    def old_at(self, path):
        """What the old lower has at this place, if it was not moved away."""
        at = self.at(path)
        old = self.old.get(at)
        return None if old is not None and old.is_directory and at in self.consumed else old

    def find_files(self):
        for number, paths in sorted(self.merged.paths_of.items()):
            if self.merged.get(paths[0]).is_directory:
                continue
            names = sorted(self.old.paths_of.get(number, []), key=self.place_in_walk)
            kept = [path for path in paths if self.at(path) in names
                    and may_be_same(self.old.get(self.at(path)), self.merged.get(path))]
            new = [path for path in paths
                   if path not in kept and not self.is_copy(path, names)]
            free = [path for path in new if self.old_at(path) is None]
            # A name that went with such a directory is the copy's, as its further names are; and
            # where another file has taken it there, the file is new wherever it is.
            gone = [name for name in names if self.is_gone(name) and free
                    and not self.has_copy_its_name(name) and self.is_proven(name, free[0])]
            for path, name in zip(free, gone):
                self.renamed[path] = name
                self.consumed.add(name)
            anchors = kept + [path for path in paths if path in self.renamed]
            if anchors:
                for path in new:
                    if path not in self.renamed:
                        self.anchors[path] = anchors[0]
            if any(self.is_touched(path) for path in paths):
                self.touched.add(number)

    def place_in_walk(self, old_path):
        """In the merged tree from the top; a directory's names before what lies below."""
        top = old_path
        while self.location.get(parent_of(top)) is None:
            top = parent_of(top)
        place = self.location[parent_of(top)].split("/")
        return place, name_of(top), old_path.count("/"), old_path.split("/")

    def is_named(self, path):
        return self.named is None or path in self.named

    def looked_over(self, path):
        """A name of a changed inode that the layer does not name itself is left alone."""
        return not self.is_named(path) and may_be_same(self.old.get(self.at(path)),
                                                       self.merged.get(path))

    def ours(self, path):
        return self.old.get(self.at(path)) if self.looked_over(path) else self.merged.get(path)

    def is_changed(self, path):
        """Whether the layer adds, moves or changes this name itself, whatever lies below."""
        if path in self.moved or path in self.renamed or path in self.anchors:
            return True
        old = self.old_at(path)
        return old is None or not equal(old, self.ours(path))

    def is_touched(self, path):
        """Whether the layer names and changes this file itself, be it the times only."""
        return self.is_changed(path) or self.old_at(path).mtime != self.ours(path).mtime

    def is_of_layer(self, path):
        """Whether a file stays one with further names where these come to the same."""
        return self.is_named(path) and self.merged.get(path).inode in self.touched

    def changes_below(self, path):
        """The topmost paths at and below one that the layer adds, moves or changes."""
        if self.is_changed(path):
            yield path
        old = self.old_at(path)
        if path not in self.moved and old is not None and old.is_directory:
            for name in self.merged.names_in(path):
                yield from self.changes_below(f"{path}/{name}")
