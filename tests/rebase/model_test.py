#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The model of a rebase, row by row of the rules, on trees written by hand."""

import dataclasses
import unittest

from identity import Identity
from model import rebase
from random_rounds import compare_conflicts, compare_trees
from trees import Node, Tree
from without_old_model import WithoutOldJudge

POLICIES = ("fail", "ours", "theirs", "both")


def file(text, inode, **other):
    return Node("file", inode, content=text.encode(), size=len(text), generation=inode, **other)


def link(target, inode, **other):
    return Node("symlink", inode, content=target.encode(), size=len(target), generation=inode,
                **other)


def tree(**nodes):
    """tree(etc_x=file(...)) is /etc/x; directories are made on the way unless given."""
    found = {"": Node("directory", 2)}
    for words, node in nodes.items():
        parts = words.split("_")
        for depth in range(1, len(parts)):
            path = "/" + "/".join(parts[:depth])
            number = 1000 + sum(ord(letter) for letter in path)
            found.setdefault(path, Node("directory", number, permissions=0o755, generation=number))
        found["/" + "/".join(parts)] = node
    return Tree(found)


def directory(number, **other):
    return Node("directory", number, permissions=0o755, generation=number, **other)


class RowsOfTheTable(unittest.TestCase):
    def plan(self, old, merged, new, policy="fail", named=None):
        return rebase(old, merged, new, policy, named)

    def conflicts(self, old, merged, new, named=None):
        """The same whatever the policy; a name of several is the first of them."""
        lists = [[("|".join(sorted(one.classes)), min(one.paths))
                  for one in self.plan(old, merged, new, policy, named).conflicts]
                 for policy in POLICIES]
        for one in lists[1:]:
            self.assertEqual(lists[0], one)
        return lists[0]

    def contents(self, old, merged, new, policy="fail", named=None):
        plan = self.plan(old, merged, new, policy, named)
        self.assertIsNone(plan.open)
        return {path: one.node.content.decode() for path, one in plan.tree.items()
                if not one.node.is_directory}

    def test_l_changed_and_n_left_it_is_ours(self):
        sides = tree(f=file("1", 11)), tree(f=file("2", 11)), tree(f=file("1", 31))
        self.assertEqual(self.conflicts(*sides), [])
        self.assertEqual(self.contents(*sides), {"/f": "2"})

    def test_l_left_it_and_n_changed_is_theirs(self):
        sides = tree(f=file("1", 11)), tree(f=file("1", 11)), tree(f=file("3", 31), g=file("", 32))
        self.assertEqual(self.conflicts(*sides), [])
        self.assertEqual(self.contents(*sides), {"/f": "3", "/g": ""})

    def test_both_the_same_result(self):
        sides = tree(f=file("1", 11)), tree(f=file("2", 12)), tree(f=file("2", 31))
        self.assertEqual(self.conflicts(*sides), [])

    def test_a_name_is_compared_by_path_whatever_the_inode(self):
        sides = tree(f=file("1", 11)), tree(f=file("2", 12)), tree(f=file("3", 31))
        self.assertEqual(self.conflicts(*sides), [("edit/edit", "/f")])

    def test_edit_edit_goes_by_the_policy(self):
        sides = (tree(f=file("1", 11)), tree(f=file("2", 11, permissions=0o4755)),
                 tree(f=file("3", 31)))
        self.assertEqual(self.conflicts(*sides), [("edit/edit", "/f")])
        self.assertEqual(self.contents(*sides, "ours"), {"/f": "2"})
        self.assertEqual(self.contents(*sides, "theirs"), {"/f": "3"})
        self.assertEqual(self.contents(*sides, "both"), {"/f": "3", "/f.ours": "2"})
        copy = self.plan(*sides, "both").tree["/f.ours"].node
        self.assertEqual(copy.permissions, 0o755)

    def test_one_copy_for_all_names(self):
        sides = [tree(f=file(text, number), g=file(text, number)) for text, number in
                 [("1", 11), ("2", 11), ("3", 31)]]
        plan = self.plan(*sides, "both")
        self.assertEqual([names for names, _ in plan.copies], [{"/f.ours", "/g.ours"}])
        self.assertIn("/g.ours", plan.place_copies({"/g.ours"}))
        self.assertNotIn("/f.ours", plan.place_copies({"/g.ours"}))
        self.assertIn("/f.ours", plan.place_copies(set()))

    def test_edit_delete(self):
        sides = tree(f=file("1", 11)), tree(f=file("2", 11)), tree()
        self.assertEqual(self.conflicts(*sides), [("edit/delete", "/f")])
        self.assertEqual(self.contents(*sides, "theirs"), {})
        self.assertEqual(self.contents(*sides, "both"), {"/f": "2"})

    def test_delete_edit(self):
        sides = tree(f=file("1", 11)), tree(), tree(f=file("2", 31))
        self.assertEqual(self.conflicts(*sides), [("delete/edit", "/f")])
        self.assertEqual(self.contents(*sides, "ours"), {})
        self.assertEqual(self.contents(*sides, "both"), {"/f": "2"})

    def test_add_add(self):
        sides = tree(), tree(f=file("1", 11)), tree(f=file("2", 31))
        self.assertEqual(self.conflicts(*sides), [("add/add", "/f")])
        self.assertEqual(self.contents(*sides, "both"), {"/f": "2", "/f.ours": "1"})

    def test_l_deleted_and_n_has_it_no_more(self):
        sides = tree(f=file("1", 11)), tree(), tree()
        self.assertEqual(self.conflicts(*sides), [])

    def test_metadata_against_content_is_merged(self):
        sides = (tree(f=file("1", 11)), tree(f=file("1", 11, permissions=0o600)),
                 tree(f=file("2", 31, owner=7)))
        self.assertEqual(self.conflicts(*sides), [])
        node = self.plan(*sides).tree["/f"].node
        self.assertEqual((node.content, node.permissions, node.owner), (b"2", 0o600, 7))

    def test_one_field_both_ways(self):
        one, other = (((1, b"a"), b"1"), ), (((1, b"a"), b"2"), ((1, b"b"), b"3"))
        sides = tree(f=file("1", 11)), tree(f=file("1", 11, xattrs=one)), \
            tree(f=file("1", 31, xattrs=other))
        self.assertEqual(self.conflicts(*sides), [("metadata", "/f")])
        merged = dict(self.plan(*sides, "ours").tree["/f"].node.xattrs)
        self.assertEqual(merged, {(1, b"a"): b"1", (1, b"b"): b"3"})

    def test_l_changed_the_type(self):
        old, merged = tree(f=file("1", 11)), tree(f=link("t", 12))
        self.assertEqual(self.conflicts(old, merged, tree(f=file("1", 31))), [])
        self.assertEqual(self.conflicts(old, merged, tree(f=file("2", 31))), [("type", "/f")])

    def test_n_made_a_link_of_the_directory(self):
        sides = (tree(bin_a=file("1", 11), bin_b=file("1", 12)),
                 tree(bin_a=file("2", 11), bin_c=file("3", 13)),
                 tree(bin=link("usr/bin", 31), usr_bin_a=file("1", 32)))
        self.assertEqual(self.conflicts(*sides), [("edit/delete", "/bin/a"),
                                                  ("edit/delete", "/bin/c")])
        self.assertEqual(self.contents(*sides, "theirs"), {"/bin": "usr/bin", "/usr/bin/a": "1"})

    def test_n_deleted_the_directory_that_l_adds_to(self):
        sides = (tree(d_e_a=file("1", 11), d_b=file("1", 12)),
                 tree(d_e_a=file("1", 11), d_b=file("1", 12), d_e_c=file("3", 13)), tree())
        self.assertEqual(self.conflicts(*sides), [("edit/delete", "/d")])
        self.assertEqual(self.contents(*sides, "ours"), {"/d/e/c": "3"})
        self.assertEqual(self.contents(*sides, "theirs"), {})

    def test_names_deleted_in_a_directory_that_stays(self):
        sides = (tree(d_a=file("1", 11), d_b=file("1", 12), d_c=file("1", 13)),
                 tree(d_c=file("1", 13)),
                 tree(d_a=file("1", 31), d_b=file("2", 32), d_n=file("4", 33)))
        self.assertEqual(self.conflicts(*sides), [("delete/edit", "/d/b")])
        self.assertEqual(self.contents(*sides, "ours"), {"/d/n": "4"})

    def test_directory_removed_by_l(self):
        old = tree(d_e_a=file("1", 11))
        self.assertEqual(self.conflicts(old, tree(), tree(d_e_a=file("1", 31))), [])
        sides = old, tree(), tree(d_e_a=file("2", 31))
        self.assertEqual(self.conflicts(*sides), [("delete/edit", "/d")])
        self.assertEqual(self.contents(*sides, "theirs"), {"/d/e/a": "2"})

    def test_directory_renamed_by_l_is_followed(self):
        sides = (tree(d=directory(50), d_a=file("1", 11)), tree(e=directory(50), e_a=file("1", 11)),
                 tree(d=directory(60), d_a=file("2", 31), d_b=file("3", 32)))
        self.assertEqual(self.conflicts(*sides), [])
        self.assertEqual(self.contents(*sides), {"/e/a": "2", "/e/b": "3"})

    def test_directory_renamed_and_a_link_left(self):
        sides = (tree(d=directory(50), d_a=file("1", 11)),
                 tree(e=directory(50), e_a=file("1", 11), d=link("e", 70)),
                 tree(d=directory(60), d_b=file("3", 32)))
        self.assertEqual(self.conflicts(*sides), [])
        self.assertEqual(self.contents(*sides), {"/e/b": "3", "/d": "e"})

    def test_file_renamed_by_l_follows(self):
        sides = tree(f=file("1", 11)), tree(g=file("1", 11)), tree(f=file("2", 31))
        self.assertEqual(self.conflicts(*sides), [])
        self.assertEqual(self.contents(*sides), {"/g": "2"})
        both = tree(f=file("1", 11)), tree(g=file("3", 11)), tree(f=file("2", 31))
        self.assertEqual(self.conflicts(*both), [("edit/edit", "/g")])

    def test_old_name_used_again(self):
        sides = (tree(f=file("1", 11)), tree(g=file("1", 11), f=file("1", 12)),
                 tree(f=file("2", 31)))
        self.assertEqual(self.conflicts(*sides), [])
        self.assertEqual(self.contents(*sides), {"/f": "2", "/g": "1"})

    def test_file_renamed_and_another_type_in_its_old_place(self):
        sides = (tree(f=file("1", 11)), tree(g=file("1", 11), f=link("g", 12)),
                 tree(f=file("2", 31)))
        self.assertEqual(self.conflicts(*sides), [])
        self.assertEqual(self.contents(*sides), {"/f": "g", "/g": "2"})

    def test_rename_delete(self):
        sides = tree(f=file("1", 11)), tree(g=file("1", 11)), tree()
        self.assertEqual(self.conflicts(*sides), [("rename/delete", "/f")])
        self.assertEqual(self.contents(*sides, "ours"), {"/g": "1"})

    def test_rename_add(self):
        sides = tree(f=file("1", 11)), tree(g=file("1", 11)), \
            tree(f=file("1", 31), g=file("2", 32))
        self.assertEqual(self.conflicts(*sides), [("rename/add", "/f")])
        self.assertEqual(self.contents(*sides, "theirs"), {"/f": "1", "/g": "2"})
        self.assertEqual(self.contents(*sides, "both"), {"/g": "2", "/g.ours": "1"})

    def test_swapped_directories(self):
        sides = (tree(d=directory(50), d_a=file("1", 11), e=directory(51), e_b=file("1", 12)),
                 tree(e=directory(50), e_a=file("1", 11), d=directory(51), d_b=file("1", 12)),
                 tree(d=directory(60), d_a=file("2", 31), e=directory(61), e_b=file("3", 32)))
        self.assertEqual(self.conflicts(*sides), [])
        self.assertEqual(self.contents(*sides), {"/e/a": "2", "/d/b": "3"})

    def test_directory_moved_and_made_anew(self):
        parts = {"d": directory(20), "d_s": directory(21), "d_x": file("1", 11),
                 "d_s_y": file("1", 12), "z": file("1", 12)}
        moved = {"e": directory(20), "e_s": directory(21), "e_x": file("1", 11),
                 "e_s_y": file("1", 12), "z": file("1", 12), "d": directory(40)}
        bytes_of_l = {"/e/x": "1", "/e/s/y": "1", "/z": "1"}
        new = {**parts, "d_x": file("2", 31)}
        old, merged = tree(**parts), tree(**moved)
        self.assertEqual(self.conflicts(old, merged, tree(**new)), [("delete/edit", "/d/x")])
        self.assertEqual(self.contents(old, merged, tree(**new), "ours"), bytes_of_l)
        self.assertEqual(self.contents(old, merged, tree(**new), "theirs"),
                         {**bytes_of_l, "/d/x": "2"})
        gone = tree(z=file("1", 12), e=directory(50), e_t=file("3", 51))
        self.assertEqual(self.contents(old, merged, gone), {**bytes_of_l, "/e/t": "3"})

    def groups(self, old, merged, new, policy="fail", named=None):
        """Paths by the file that they are names of."""
        found = {}
        for path, one in self.plan(old, merged, new, policy, named).tree.items():
            if not one.node.is_directory:
                found.setdefault(one.key, set()).add(path)
        return sorted(sorted(paths) for paths in found.values())

    def test_names_elsewhere_of_a_file_in_a_directory_made_anew(self):
        parts = {"d": directory(20), "d_x": file("1", 11), "d_y": file("1", 11), "k": file("1", 11)}
        moved = {"e": directory(20), "e_x": file("1", 11), "e_y": file("1", 11), "k": file("1", 11),
                 "d": directory(40)}
        old, merged = tree(**parts), tree(**moved)
        same = tree(**{**parts, **{name: file("1", 31) for name in ("d_x", "d_y", "k")}})
        named = {"/d", "/e", "/e/x", "/e/y"}
        self.assertEqual(self.groups(old, merged, same, named=named | {"/k"}),
                         [["/e/x", "/e/y", "/k"]])
        self.assertEqual(self.groups(old, merged, same, named=named), [["/e/x", "/e/y"], ["/k"]])
        changed = tree(**{**parts, "k": file("2", 33)})
        self.assertEqual(self.groups(old, merged, changed, named=named | {"/k"}),
                         [["/e/x", "/e/y"], ["/k"]])
        touched = tree(**{**parts, "k": file("1", 33, mtime=(7, 0))})
        plan = self.plan(old, merged, touched, named=named | {"/k"})
        self.assertEqual(plan.tree["/k"].key, plan.tree["/e/x"].key)
        self.assertEqual(plan.tree["/e/x"].times, {(0, 0), (7, 0)})

    def test_a_file_made_anew_that_has_another_name(self):
        """`mv f fbak; cp fbak f`: fbak is a name more for what g is."""
        old = tree(f=file("1", 11), g=file("1", 11))
        merged = tree(f=file("3", 12), g=file("1", 11), fbak=file("1", 11))
        new = tree(f=file("1", 31), g=file("2", 32))
        self.assertEqual(self.groups(old, merged, new), [["/f"], ["/fbak", "/g"]])

    def test_parent_moved_into_child(self):
        sides = (tree(d=directory(50), d_e=directory(51), d_e_a=file("1", 11)),
                 tree(e=directory(51), e_d=directory(50), e_a=file("1", 11)),
                 tree(d=directory(60), d_n=file("2", 31), d_e=directory(61), d_e_a=file("3", 32)))
        self.assertEqual(self.conflicts(*sides), [])
        self.assertEqual(self.contents(*sides), {"/e/a": "3", "/e/d/n": "2"})

    def test_links_split_by_a_name_that_l_does_not_name(self):
        old, new = (tree(a=file("1", inode), b=file("1", inode), c=file("1", inode))
                    for inode in (11, 31))
        merged = tree(a=file("2", 11), b=file("2", 11), c=file("2", 11))
        self.assertEqual(self.contents(old, merged, new, named={"/a", "/b"}),
                         {"/a": "2", "/b": "2", "/c": "1"})
        keys = {path: one.key for path, one in
                self.plan(old, merged, new, named={"/a", "/b"}).tree.items()}
        self.assertEqual(keys["/a"], keys["/b"])
        self.assertNotEqual(keys["/a"], keys["/c"])

    def test_links_changed_in_place(self):
        old, new = (tree(a=file("1", inode), b=file("1", inode)) for inode in (11, 31))
        keys = [one.key for path, one in
                self.plan(old, tree(a=file("2", 11), b=file("2", 11)), new).tree.items() if path]
        self.assertEqual(len(set(keys)), 1)

    def test_links_joined(self):
        old, merged = (tree(a=file(text, 11), b=file(text, 11)) for text in "12")
        plan = self.plan(old, merged, tree(a=file("1", 31), b=file("1", 32)))
        self.assertEqual(plan.tree["/a"].key, plan.tree["/b"].key)

    def test_links_that_are_not_joined(self):
        """N split them and changed one; what L changed of both is of each."""
        old = tree(a=file("1", 11), b=file("1", 11))
        merged = tree(a=file("1", 11, owner=5), b=file("1", 11, owner=5))
        plan = self.plan(old, merged, tree(a=file("1", 31), b=file("2", 32)))
        self.assertEqual(plan.conflicts, [])
        self.assertEqual([plan.tree[path].node.owner for path in ("/a", "/b")], [5, 5])
        self.assertNotEqual(plan.tree["/a"].key, plan.tree["/b"].key)

    def test_joined_links_have_the_time_of_any(self):
        old = tree(a=file("1", 11, mtime=(1, 0)), b=file("1", 11, mtime=(1, 0)))
        changed = file("1", 11, owner=5, mtime=(1, 0))
        merged = tree(a=changed, b=changed)
        plan = self.plan(old, merged, tree(a=file("1", 31, mtime=(7, 0))), "ours")
        self.assertEqual(plan.tree["/a"].key, plan.tree["/b"].key)
        self.assertEqual(plan.tree["/b"].times, {(1, 0), (7, 0)})

    def test_what_follows_from_within_a_decided_directory_may_be_told(self):
        old = tree(d=directory(50), d_f=file("1", 11), e=directory(51))
        merged = tree(e=directory(51), e_g=file("2", 11), d=directory(50))
        plan = self.plan(old, merged, tree(d=directory(60), d_f=file("3", 31)))
        self.assertEqual([one.classes for one in plan.conflicts], [{"edit/delete"}])
        self.assertEqual([one.classes for one in plan.optional], [{"edit/edit"}])

    def test_l_linked_a_name_and_n_deleted_the_first(self):
        sides = tree(a=file("1", 11)), tree(a=file("1", 11), b=file("1", 11)), tree()
        self.assertEqual(self.conflicts(*sides), [("edit/delete|rename/delete", "/a")])
        self.assertEqual(self.contents(*sides, "ours"), {"/b": "1"})

    def test_a_link_follows_what_n_changed(self):
        sides = tree(a=file("1", 11)), tree(a=file("1", 11), b=file("1", 11)), tree(a=file("2", 31))
        self.assertEqual(self.contents(*sides), {"/a": "2", "/b": "2"})

    def test_both_linked_the_same_file_and_n_changed_it(self):
        sides = (tree(a=file("1", 11)), tree(a=file("1", 11), b=file("1", 11)),
                 tree(a=file("2", 31), b=file("2", 31)))
        self.assertEqual(self.conflicts(*sides), [])
        self.assertEqual(self.contents(*sides), {"/a": "2", "/b": "2"})

    def test_a_directory_has_the_time_of_the_side_that_changed_a_name(self):
        def times(ours, theirs, ours_seconds, theirs_seconds):
            sides = [tree(d=directory(50, mtime=(seconds, 0)), **files) for seconds, files in
                     [(1, {"d_f": file("1", 11)}), (ours_seconds, ours), (theirs_seconds, theirs)]]
            return self.plan(*sides).tree["/d"].times
        kept, more = {"d_f": file("1", 11)}, {"d_f": file("1", 11), "d_g": file("1", 12)}
        self.assertEqual(times(kept, more, 9, 5), {(5, 0)})
        self.assertEqual(times(more, kept, 5, 9), {(5, 0)})
        self.assertEqual(times(more, more, 9, 5), {(9, 0)})
        self.assertEqual(times(kept, kept, 5, 1), {(5, 0)})
        # Another file that got the number of the old one may count as a changed name.
        anew = {"d_f": dataclasses.replace(file("1", 11), generation=12)}
        self.assertEqual(times(anew, more, 9, 5), {(5, 0), (9, 0)})

    def test_times_go_with_the_content(self):
        def time(old, merged, new, texts="111"):
            sides = [tree(f=file(text, number, mtime=(seconds, 0))) for text, number, seconds in
                     zip(texts, (11, 11, 31), (old, merged, new))]
            return self.plan(*sides).tree["/f"].times
        self.assertEqual(time(1, 1, 5), {(5, 0)})
        self.assertEqual(time(1, 6, 1), {(6, 0)})
        self.assertEqual(time(1, 6, 7), {(7, 0)})
        self.assertEqual(time(1, 3, 7, "121"), {(3, 0)})

    def test_a_number_given_out_again_is_no_rename(self):
        first = Node("file", 11, content=b"1", size=1)
        second = Node("file", 11, content=b"2", size=1)
        self.assertEqual(self.conflicts(tree(f=first), tree(g=second), tree(f=file("1", 31))), [])
        self.assertEqual(self.conflicts(tree(f=first), tree(g=second), tree(f=file("3", 31))),
                         [("delete/edit", "/f")])


class TheComparison(unittest.TestCase):
    """What random_rounds.py says of a result that is not as planned."""

    def setUp(self):
        self.new = tree(a=file("1", 31, mtime=(5, 7)), b=file("1", 31, mtime=(5, 7)),
                        c=file("2", 32))
        self.plan = rebase(self.new, self.new, self.new, "fail")

    def complaints(self, has_nanoseconds=True, **nodes):
        found = Tree({**self.new.nodes, **{"/" + name: node for name, node in nodes.items()}})
        return list(compare_trees(self.plan, found, self.new, has_nanoseconds))

    def test_nothing_where_all_is_as_planned(self):
        self.assertEqual(self.complaints(), [])

    def test_a_path_too_many_and_one_too_few(self):
        self.assertEqual(len(self.complaints(d=file("", 33))), 1)
        del self.new.nodes["/c"]
        self.assertIn("/c: is missing (file, 1 bytes)", self.complaints())

    def test_each_field(self):
        now = self.new.get("/c")
        for field, value in [("content", b"3"), ("size", 2), ("permissions", 0o600), ("owner", 1),
                             ("group", 1), ("flags", 0x40), ("mtime", (1, 0)), ("inode", 40),
                             ("xattrs", (((1, b"a"), b""), ))]:
            changed = dataclasses.replace(now, **{field: value})
            self.assertEqual(len(self.complaints(c=changed)), 1, field)

    def test_links_apart(self):
        apart = dataclasses.replace(self.new.get("/b"), inode=33)
        self.assertIn("no file has just these names: ['/a', '/b']", self.complaints(b=apart))

    def test_nanoseconds_that_do_not_fit(self):
        rounded = dataclasses.replace(self.new.get("/a"), mtime=(5, 0))
        self.assertEqual(self.complaints(False, a=rounded, b=rounded), [])
        self.assertNotEqual(self.complaints(True, a=rounded, b=rounded), [])

    def test_a_conflict_for_each_name(self):
        sides = [tree(f=file(text, number), g=file(text, number)) for text, number in
                 [("1", 11), ("2", 11), ("3", 31)]]
        plan = rebase(*sides, "ours")
        told = [{"class": "edit/edit", "path": path, "resolution": "ours"} for path in ("/f", "/g")]
        for one in told:
            self.assertEqual(list(compare_conflicts(plan, [one], "ours")), [])
        self.assertEqual(len(list(compare_conflicts(plan, told, "ours"))), 1)

    def test_conflicts(self):
        plan = rebase(tree(f=file("1", 11)), tree(), tree(f=file("2", 31)), "ours")
        told = {"class": "delete/edit", "path": "/f", "resolution": "ours"}
        self.assertEqual(list(compare_conflicts(plan, [told], "ours")), [])
        self.assertEqual(len(list(compare_conflicts(plan, [], "ours"))), 1)
        for key, value in [("class", "edit/edit"), ("path", "/g"), ("resolution", None)]:
            self.assertNotEqual(list(compare_conflicts(plan, [{**told, key: value}], "ours")), [])


class WithoutOld(unittest.TestCase):
    """The judge of a rebase without O must complain."""

    def complaints(self, old, merged, new, result, conflicts=None, of_fields=(), notes=()):
        judge = WithoutOldJudge(Identity(old, merged), new, conflicts or {}, set(of_fields),
                                set(notes))
        return list(judge.complaints(result))

    def test_only_the_layer_changed_it(self):
        sides = tree(f=file("1", 11)), tree(f=file("2", 11)), tree(f=file("1", 31))
        self.assertEqual(self.complaints(*sides, sides[1]), [])
        self.assertEqual(len(self.complaints(*sides, sides[2])), 1)
        self.assertEqual(len(self.complaints(*sides, tree())), 1)

    def test_the_layer_has_not_changed_it(self):
        sides = tree(f=file("1", 11)), tree(f=file("1", 11)), tree(f=file("3", 31))
        self.assertEqual(self.complaints(*sides, sides[2]), [])
        self.assertEqual(len(self.complaints(*sides, sides[1])), 1)

    def test_both_changed_it(self):
        sides = tree(f=file("1", 11)), tree(f=file("2", 11)), tree(f=file("3", 31))
        for result in sides[1:]:
            self.assertEqual(len(self.complaints(*sides, result)), 1)
        self.assertEqual(self.complaints(*sides, sides[2], {"/f": "theirs"}), [])
        self.assertEqual(self.complaints(*sides, sides[1], {"/f": "ours"}), [])
        self.assertEqual(len(self.complaints(*sides, sides[1], {"/f": "theirs"})), 1)

    def test_both(self):
        sides = tree(f=file("1", 11)), tree(f=file("2", 11)), tree(f=file("3", 31))
        both = dict(sides[2].nodes)
        self.assertEqual(len(self.complaints(*sides, Tree(both), {"/f": "both"})), 1)
        both["/f.ours"] = file("2", 40)
        self.assertEqual(self.complaints(*sides, Tree(both), {"/f": "both"}), [])
        both["/f.ours"] = file("3", 40)
        self.assertEqual(len(self.complaints(*sides, Tree(both), {"/f": "both"})), 1)

    def test_a_mixture(self):
        sides = tree(f=file("11", 11)), tree(f=file("22", 11)), tree(f=file("33", 31))
        found = self.complaints(*sides, tree(f=file("23", 31)), {"/f": "ours"})
        self.assertIn("/f: its bytes are neither ours nor theirs", found)

    def test_fields_of_a_directory_cover_nothing_below(self):
        sides = (tree(d_f=file("1", 11)), tree(d_f=file("2", 11)), tree(d_f=file("3", 31)))
        self.assertEqual(self.complaints(*sides, sides[2], {"/d": "theirs"}), [])
        self.assertEqual(len(self.complaints(*sides, sides[2], {"/d": "theirs"}, ["/d"])), 1)

    def test_the_root_covers_nothing_below(self):
        sides = tree(f=file("1", 11)), tree(f=file("2", 11)), tree(f=file("3", 31))
        self.assertEqual(len(self.complaints(*sides, sides[2], {"": "theirs"})), 1)


if __name__ == "__main__":
    unittest.main()
