# SPDX-License-Identifier: BSD-3-Clause
"""What a rebase must make of three trees, by paths: the rules once more, naively.

It shares no code with the program and knows no blocks, layers or operations. O is
the old lower, M the merged tree (O with the layer), N the new lower. Units, owners
by name, the superblock, limits and rebasing without O are not modelled.

The result of a name is decided from the top down, in the merged tree's directories,
each beside the directory that both lowers have for it (identity.py).

Where the rules leave something open, this is what a user would expect:

  - Two files that changed names with each other are two edits, as both names were
    there before. A file renamed over another one of O is an edit of that one, and
    the deletion of its own name. Directories that change places are renames.
  - Where a directory was moved and another made of its old name, the old name is
    compared by path, and the moved one is new, with all that went with it.
  - A rename that comes to nothing leaves the old name where it is, with the changes.
  - A conflict decides only what both sides changed; other fields are merged.
  - In `rename/delete`, ours is all that the merged tree has there.
  - A conflict within a directory that is decided as a whole is not named.
  - Below a directory that N made a symlink every path of the layer is named; below
    one that N deleted or made a file, the directory is.
  - Other types of conflict than the first are accepted where two rows fit. Files of
    several names may be named by any of these.
  - A file that was replaced may count for its directory's time, as names do. Where a
    conflict decides a name in it, any side's time is right.
"""

import fields
from identity import Identity, may_be_same
from plan import Conflict, Expected, Plan
from trees import Tree, equal, name_of, parent_of

EDIT_EDIT, EDIT_DELETE, DELETE_EDIT = "edit/edit", "edit/delete", "delete/edit"
ADD_ADD, METADATA, TYPE = "add/add", "metadata", "type"
RENAME_DELETE, RENAME_ADD = "rename/delete", "rename/add"


class Model:
    def __init__(self, old, merged, new, policy, named=None):
        self.old, self.merged, self.new = old, merged, new
        self.policy = policy
        self.identity = Identity(old, merged, named)
        self.plan = Plan()
        self.silent = 0
        self.following = 0  # within what is decided as a whole
        self.links = []  # (merged path, resulting path) of names that the layer linked
        self.beside = {}  # inodes of the layer's files that lie beside N's: possible names
        self.result_of = {}  # merged path -> resulting path, if it is another one
        self.loose = set()  # directories in which a conflict was decided
        self.put_moved_alike_back()
        self.root()
        for path, out in self.links:
            self.link(path, out)
        self.put_copies()
        self.plan.part_links()
        self.plan.accept_names_of_links(self.merged)
        self.loosen_times()
        if any(path and parent_of(path) not in self.plan.tree for path in self.plan.tree):
            self.plan.leave_open("a name without its directory")

    def put_moved_alike_back(self):
        """N, as if it had left where they were those directories that both have moved alike."""
        for path, source in sorted(self.identity.moved.items(), key=lambda one: one[1].count("/")):
            at = self.identity.at(path)
            if at is None or not self.new.is_directory(at) or not self.is_moved_alike(source, at) \
                    or not self.new.is_directory(parent_of(source)):
                continue
            nodes = {}
            for place, node in self.new.nodes.items():
                is_in = f"{place}/".startswith(f"{at}/")
                nodes[source + place[len(at):] if is_in else place] = node
            self.new = Tree(nodes)
            # N has changed names in both.
            self.loose |= {parent_of(path), self.identity.location.get(parent_of(source))}

    # What is told and written

    @property
    def is_ours(self):
        return self.policy == "ours"

    @property
    def is_both(self):
        return self.policy == "both"

    def conflict(self, path, *classes, also=(), file=None):
        self.loose.add(parent_of(path))
        conflict = Conflict(set(classes), {path, *also}, path, file)
        if not self.silent:
            self.plan.conflicts.append(conflict)
        elif self.following or classes[0] in (RENAME_DELETE, RENAME_ADD):
            self.plan.optional.append(conflict)

    def put(self, out, node, times, key, file=None, theirs=None):
        if out in self.plan.tree:
            self.plan.leave_open("a name that two want")
        file = key[1] if key[0] == "layer" else file
        self.plan.tree[out] = Expected(node, frozenset(times), key, file, theirs)

    def put_theirs(self, path, out):
        """N's, with all below but what the layer moved elsewhere."""
        node = self.new.get(path)
        self.put(out, node, [node.mtime], ("new", node.inode))
        for name in self.new.names_in(path):
            if f"{path}/{name}" in self.identity.consumed:
                self.loose.add(out)
            else:
                self.put_theirs(f"{path}/{name}", f"{out}/{name}")

    def put_ours(self, path, out, changes_only=False):
        """The merged tree's. A file that the layer moved to here still follows N."""
        self.silent += 1
        node = self.merged.get(path)
        if out != path:
            node = fields.beside(node)
        self.put(out, node, [node.mtime], ("layer", node.inode))
        for name in self.merged.names_in(path):
            below = f"{path}/{name}"
            if changes_only and not any(self.identity.changes_below(below)):
                self.loose.add(out)
            elif below in self.identity.moved or below in self.identity.renamed:
                self.visit_renamed(below, None, f"{out}/{name}")
            elif below in self.identity.anchors:
                self.links.append((below, f"{out}/{name}"))
            else:
                old = self.identity.old_at(below)
                only = changes_only and old is not None and old.is_directory
                self.put_ours(below, f"{out}/{name}", only)
        self.silent -= 1

    def name_beside(self, out):
        """NAME.ours, which neither side has."""
        directory, wanted = parent_of(out), name_of(out) + ".ours"
        taken = set(self.merged.names_in(directory)) | set(self.new.names_in(directory))
        if len(wanted.encode(errors="surrogateescape")) > 255:
            self.plan.leave_open("a name that is cut")
        number, name = 0, wanted
        while name in taken:
            number += 1
            name = f"{wanted}.{number}"
        return f"{directory}/{name}"

    def put_beside(self, path, out):
        """One copy for all names of a file, beside any of them."""
        self.beside.setdefault(self.merged.get(path).inode, set()).add(self.name_beside(out))

    def put_copies(self):
        for number, names in self.beside.items():
            node = fields.beside(self.merged.get(self.merged.paths_of[number][0]))
            if len(names) == 1:
                self.put(min(names), node, [node.mtime], ("beside", number))
            else:
                copy = Expected(node, frozenset([node.mtime]), ("beside", number))
                self.plan.copies.append((names, copy))

    def decide(self, path, at, out, changes_only=False):
        """One whole name goes by the policy: N's, ours, or ours beside."""
        if self.is_ours:
            self.put_ours(path, out, changes_only)
            return
        if self.new.get(at) is not None:
            self.put_theirs(at, out)
        if self.is_both:
            taken = self.new.get(at) is not None
            if taken and not self.merged.is_directory(path):
                self.put_beside(path, out)
            else:
                self.put_ours(path, self.name_beside(out) if taken else out, changes_only)
        else:
            self.silent += 1
            self.give_back_below(path)
            self.silent -= 1

    def give_back_below(self, path):
        """What the layer moved into something that is not taken stays where it was."""
        for name in self.merged.names_in(path):
            below = f"{path}/{name}"
            if self.source_of(below) is None or self.is_lost(below):
                self.give_back_below(below)
            else:
                self.give_back(below)

    def give_back(self, path):
        source = self.source_of(path)
        place = self.identity.location.get(parent_of(source))
        if place is None or f"{place}/{name_of(source)}" in self.merged.nodes:
            self.plan.leave_open("a rename that is given up, and its old name")
            self.plan.optional.append(
                Conflict({ADD_ADD, TYPE, RENAME_ADD}, {source, f"{place}/{name_of(source)}"}))
            if place is None:
                # Then there is something in the directory that ours has removed.
                above = [source[:end] for end, byte in enumerate(source) if byte == "/" and end]
                self.plan.optional.append(Conflict({DELETE_EDIT}, set(above)))
                return
            self.silent += 1
            self.follow(path, f"{place}/{name_of(source)}")
            self.silent -= 1
            return
        self.loose.add(place)
        self.follow(path, f"{place}/{name_of(source)}")

    def source_of(self, path):
        """The old name of what the layer renamed."""
        return self.identity.moved.get(path, self.identity.renamed.get(path))

    def is_lost(self, path):
        theirs = self.new.get(self.source_of(path))
        return theirs is None or theirs.type != self.merged.get(path).type

    # The walk

    def root(self):
        old, ours, theirs = self.old.get(""), self.merged.get(""), self.new.get("")
        self.merge_directory("", "", "", old, ours, theirs)

    def visit_names(self, path, base, out):
        names = set(self.merged.names_in(path)) | set(self.new.names_in(base))
        for name in sorted(names):
            at = None if base is None else f"{base}/{name}"
            self.visit(f"{path}/{name}", at, f"{out}/{name}")

    def holder(self, at):
        """(O's, N's) at a name, without what the layer moved elsewhere."""
        old, theirs = self.old.get(at), self.new.get(at)
        if at not in self.identity.consumed:
            return old, theirs
        follows = theirs is not None and theirs.type == old.type
        return None, None if follows else theirs

    def visit(self, path, at, out):
        ours = self.merged.get(path)
        old, theirs = self.holder(at)
        if ours is None:
            self.visit_without_ours(path, at, out, old, theirs)
        elif path in self.identity.moved or path in self.identity.renamed:
            self.visit_renamed(path, at, out)
        elif path in self.identity.anchors:
            self.links.append((path, out))
        elif ours.is_directory:
            self.visit_directory(path, at, out, old, ours, theirs)
        else:
            ours = self.identity.ours(path)
            self.visit_file(path, at, out, old, ours, theirs)

    def visit_without_ours(self, path, at, out, old, theirs):
        if theirs is None:
            return
        if old is None:
            self.put_theirs(at, out)
        elif not self.is_like_old(at):
            self.conflict(path, DELETE_EDIT, also=[at])
            if not self.is_ours:
                self.put_theirs(at, out)

    def is_like_old(self, at):
        """Whether N has at and below a name what O has, but for what the layer moved away."""
        old, theirs = self.old.get(at), self.new.get(at)
        if at in self.identity.consumed:
            return True
        if old is None or theirs is None:
            return old is theirs
        names = set(self.old.names_in(at)) | set(self.new.names_in(at))
        return equal(old, theirs) and all(self.is_like_old(f"{at}/{name}") for name in names)

    def is_same_tree(self, path, at):
        ours, theirs = self.merged.get(path), self.new.get(at)
        names = set(self.merged.names_in(path)) | set(self.new.names_in(at))
        return (ours is not None and theirs is not None and equal(ours, theirs)
                and all(self.is_same_tree(f"{path}/{name}", f"{at}/{name}") for name in names))

    def visit_directory(self, path, at, out, old, ours, theirs):
        if theirs is None:
            self.visit_directory_alone(path, at, out, old, ours)
        elif theirs.is_directory:
            if (old is None or not old.is_directory) and not equal(ours, theirs):
                self.conflict(path, ADD_ADD, METADATA, TYPE)
                self.plan.leave_open("both added a directory, with unequal metadata")
            self.merge_directory(path, at, out, old, ours, theirs)
        elif old is None:
            self.conflict(path, ADD_ADD, TYPE)
            self.decide(path, at, out)
        elif old.is_directory:
            self.visit_below_no_directory(path, at, out, old, ours, theirs)
        elif equal(old, theirs):
            self.put_ours_here(path, at, out, ours)
        else:
            self.conflict(path, TYPE)
            self.decide(path, at, out)

    def visit_directory_alone(self, path, at, out, old, ours):
        """N has nothing there."""
        if old is None:
            self.put_ours_here(path, at, out, ours)
        elif any(self.identity.changes_below(path)):
            self.conflict(path, EDIT_DELETE, also=[at])
            self.decide(path, at, out, changes_only=old.is_directory)

    def visit_below_no_directory(self, path, at, out, old, ours, theirs):
        """N made a file or a link of the directory."""
        changes = list(self.identity.changes_below(path))
        if not changes:
            self.put_theirs(at, out)
            return
        if changes[0] == path:
            self.conflict(path, TYPE, EDIT_DELETE)
        elif theirs.type == "symlink":
            for change in changes:
                self.conflict(change, EDIT_DELETE)
        else:
            self.conflict(path, EDIT_DELETE, TYPE)
        if self.is_both:
            self.plan.leave_open("ours below a name that N made no directory")
        self.decide(path, at, out, changes_only=True)

    def put_ours_here(self, path, at, out, ours):
        """A directory that only the layer has; what it moved there follows N."""
        self.put(out, ours, [ours.mtime], ("layer", ours.inode))
        base = self.identity.base[path]
        self.visit_names(path, base if self.new.is_directory(base) else None, out)

    def merge_directory(self, path, at, out, old, ours, theirs):
        base = old if old is not None and old.is_directory else theirs
        merge = fields.merge_inodes(base, ours, theirs, self.is_ours)
        if merge.metadata_conflict:
            self.conflict(path, METADATA, also=[at])
            if self.is_both:
                self.plan.leave_open("metadata of a directory, both")
        times = self.directory_times(path, at, base, ours, theirs)
        if base is theirs:
            times |= {ours.mtime, theirs.mtime}
        self.put(out, merge.node, times, ("new", theirs.inode))
        self.visit_names(path, at, out)

    def directory_times(self, path, at, old, ours, theirs):
        """Whether a file in the place of another one counts as a changed name is left open."""
        def nodes(tree, place):
            return [(name, tree.get(f"{place}/{name}").type) for name in tree.names_in(place)]

        has_other_nodes = nodes(self.merged, path) != nodes(self.old, at)
        # A file made anew may have got the number of the old one.
        has_other_files = has_other_nodes or not all(
            may_be_same(self.old.get(f"{at}/{name}"), self.merged.get(f"{path}/{name}"))
            for name in self.merged.names_in(path))
        theirs_changed = nodes(self.new, at) != nodes(self.old, at)
        times = set()
        for ours_changed in (has_other_nodes, has_other_files):
            if ours_changed and theirs_changed:
                times.add(max(ours.mtime, theirs.mtime))
            elif ours_changed or theirs_changed:
                times.add(ours.mtime if ours_changed else theirs.mtime)
            else:
                times.add(fields.merge_times(old.mtime, ours.mtime, theirs.mtime))
        return times

    def visit_file(self, path, at, out, old, ours, theirs):
        """Anything but a directory in the merged tree."""
        if theirs is None:
            if old is None:
                self.put_layer_file(path, out)
            elif not equal(old, ours):
                self.conflict(path, EDIT_DELETE, also=[at])
                self.decide(path, at, out)
        elif old is None or old.type != ours.type:
            self.visit_new_kind(path, at, out, old, ours, theirs)
        elif theirs.type != ours.type:
            if equal(old, ours):
                self.put_theirs(at, out)
            else:
                self.conflict(path, TYPE)
                self.decide(path, at, out)
        else:
            self.merge_file(path, out, old, ours, theirs)

    def visit_new_kind(self, path, at, out, old, ours, theirs):
        """The layer added the name, or changed its type; N has something there."""
        if not ours.is_directory and equal(ours, theirs):
            self.put_merged_file(path, out, ours, theirs, [ours.mtime, theirs.mtime])
        elif old is not None and self.is_like_old(at):
            self.put_layer_file(path, out)
        else:
            self.conflict(path, *([TYPE] if old is not None else
                                  [ADD_ADD] if not theirs.is_directory else [ADD_ADD, TYPE]))
            self.decide(path, at, out)

    def merge_file(self, path, out, old, ours, theirs):
        merge = fields.merge_inodes(old, ours, theirs, self.is_ours)
        if merge.content_conflict or merge.metadata_conflict:
            self.conflict(path, EDIT_EDIT if merge.content_conflict else METADATA,
                          file=(old.inode, ours.inode, theirs.inode))
            if self.is_both:
                self.put_beside(path, out)
        self.put_merged_file(path, out, merge.node, theirs, merge.times)

    def put_layer_file(self, path, out):
        node = self.merged.get(path)
        self.put(out, node, [node.mtime], ("layer", node.inode))

    def put_merged_file(self, path, out, node, theirs, times):
        """N's inode is left alone where nothing changed; else the file is the layer's."""
        untouched = equal(node, theirs) and theirs.mtime in times
        number = self.merged.get(path).inode
        self.result_of[path] = out
        self.put(out, node, times, ("new", theirs.inode) if untouched else ("layer", number),
                 number if self.identity.is_of_layer(path) else None, theirs.inode)

    # Renames and links

    def visit_renamed(self, path, at, out):
        source = self.source_of(path)
        old, theirs = self.holder(at)
        blocked = theirs is not None and not (old is not None and self.is_like_old(at))
        if self.is_lost(path):
            if blocked and self.is_same_tree(path, at):
                self.put_theirs(at, out)
                return
            if blocked and self.is_moved_alike(source, at):
                self.put_moved_alike(path, at, out)
                return
            self.conflict(path, RENAME_DELETE, *([RENAME_ADD] if blocked else []),
                          also=[source])
            self.decide(path, at if blocked else None, out)
        elif blocked:
            self.conflict(path, RENAME_ADD, also=[source])
            if self.is_ours:
                self.follow(path, out)
                return
            self.put_theirs(at, out)
            if self.is_both:
                self.follow(path, self.name_beside(out))
            else:
                self.give_back(path)
        else:
            self.follow(path, out)

    def is_moved_alike(self, source, at):
        """Whether N has at a name just what O has at the old one, and nothing there."""
        def is_like(old_path, path):
            old, theirs = self.old.get(old_path), self.new.get(path)
            if old_path != source and old_path in self.identity.consumed:
                return True
            names = set(self.old.names_in(old_path)) | set(self.new.names_in(path))
            return (old is not None and theirs is not None and equal(old, theirs)
                    and all(is_like(f"{old_path}/{name}", f"{path}/{name}") for name in names))

        return self.new.get(source) is None and is_like(source, at)

    def put_moved_alike(self, path, at, out):
        ours, theirs = self.merged.get(path), self.new.get(at)
        if ours.is_directory:
            self.plan.leave_open("a directory that both moved out of one that N has no more")
        else:
            times = fields.merge_inodes(self.old.get(self.source_of(path)), ours, theirs, True).times
            self.put_merged_file(path, out, ours, theirs, times)

    def follow(self, path, out):
        self.following += 1
        self.follow_source(path, out)
        self.following -= 1

    def follow_source(self, path, out):
        source, ours = self.source_of(path), self.merged.get(path)
        old, theirs = self.old.get(source), self.new.get(source)
        if ours.is_directory:
            self.merge_directory(path, source, out, old, ours, theirs)
        else:
            self.merge_file(path, out, old, ours, theirs)

    def link(self, path, out):
        """A name that the layer gave to a file that O had under another one."""
        anchor = self.identity.anchors[path]
        ours = self.merged.get(path)
        source = self.identity.renamed.get(anchor, self.identity.at(anchor))
        theirs_anchor = self.new.get(source)
        at = self.identity.at(path)
        old, theirs = self.holder(at)
        if old is not None and equal(old, ours):
            # In the place of what is the same; the names of one file are joined afterwards.
            self.visit_file(path, at, out, old, ours, theirs)
            return
        result = self.plan.tree.get(self.result_of.get(anchor, anchor))
        if theirs is not None and equal(ours, theirs):
            # Both have this file there; with one of ours it is one file.
            if theirs_anchor is None:
                self.put_merged_file(path, out, theirs, theirs, [ours.mtime, theirs.mtime])
            elif result is not None and equal(result.node, theirs):
                self.join(out, result, ours)
            else:
                self.plan.leave_open("a link that N has as another file")
        elif theirs is not None and theirs_anchor is not None and result is not None \
                and theirs.inode == theirs_anchor.inode:
            self.join(out, result, ours)  # whatever else became of it, both gave it this name
        elif theirs_anchor is None or theirs_anchor.type != ours.type:
            self.conflict(path, EDIT_DELETE, RENAME_DELETE, also=[anchor, source])
            if theirs is not None:
                self.plan.leave_open("a lost link over a name of N")
            if self.policy in ("ours", "both"):
                self.put_layer_file(path, out)
        elif old is not None and theirs is None:
            self.conflict(path, EDIT_DELETE, also=[at])
            if self.policy in ("ours", "both"):
                self.join(out, result, ours)
        elif theirs is not None and not (old is not None and self.is_like_old(at)):
            self.conflict(path, *([ADD_ADD] if old is None else [EDIT_EDIT, TYPE]))
            self.link_over(path, at, out, result)
        else:
            self.join(out, result, ours)

    def link_over(self, path, at, out, result):
        """N has something else under the name of a link."""
        if self.is_ours:
            self.join(out, result, self.merged.get(path))
            return
        self.put_theirs(at, out)
        if self.is_both:
            self.put_beside(path, out)

    def join(self, out, result, ours):
        """A further name of what the file became; so the layer has changed that, too."""
        if result is None:
            self.plan.leave_open("a link to what is not taken")
            return
        self.plan.tree[out] = result
        if result.key[0] in ("layer", "new"):
            result.file = ours.inode

    # Afterwards

    def loosen_times(self):
        for path in self.loose:
            expected = self.plan.tree.get(path)
            if expected is None or not expected.node.is_directory:
                continue
            sides = [self.old.get(path), self.merged.get(path), self.new.get(path),
                     self.old.get(self.identity.base.get(path)),
                     self.new.get(self.identity.base.get(path))]
            expected.times |= frozenset(side.mtime for side in sides if side is not None)


def rebase(old, merged, new, policy, named=None):
    return Model(old, merged, new, policy, named).plan
