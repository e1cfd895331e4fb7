# SPDX-License-Identifier: BSD-3-Clause
"""The three-way merge of one inode, field by field."""

import dataclasses

from trees import same_content

SETID = 0o6000
ACCESS_ACL = (2, b"")
CAPABILITY = (6, b"capability")


@dataclasses.dataclass(frozen=True)
class Merge:
    """What one inode becomes; times has every time that the rules allow."""
    node: object
    times: frozenset
    content_conflict: bool
    metadata_conflict: bool


def merge_value(old, ours, theirs, choose_ours):
    """(value, whether both changed it)"""
    if ours == theirs or ours == old:
        return theirs, False
    if theirs == old:
        return ours, False
    return (ours if choose_ours else theirs), True


def merge_times(old, ours, theirs):
    if ours == old:
        return theirs
    return ours if theirs == old else max(ours, theirs)


def merge_permissions(old, ours, theirs, choose_ours):
    """The permission bits and the access ACL, whose mask they are: one field."""
    return merge_value(*[(node.permissions, dict(node.xattrs).get(ACCESS_ACL))
                         for node in (old, ours, theirs)], choose_ours)


def merge_xattrs(old, ours, theirs, choose_ours):
    """All but the access ACL."""
    sides = [dict(node.xattrs) for node in (old, ours, theirs)]
    merged, conflict = {}, False
    for key in set().union(*sides) - {ACCESS_ACL}:
        value, both = merge_value(*[side.get(key) for side in sides], choose_ours)
        conflict |= both
        if value is not None:
            merged[key] = value
    return merged, conflict


def merge_inodes(old, ours, theirs, choose_ours):
    """All three are of one type."""
    fields = {}
    (fields["permissions"], acl), metadata_conflict = merge_permissions(old, ours, theirs,
                                                                        choose_ours)
    for field in ("owner", "group", "flags"):
        fields[field], both = merge_value(getattr(old, field), getattr(ours, field),
                                          getattr(theirs, field), choose_ours)
        metadata_conflict |= both
    xattrs, both = merge_xattrs(old, ours, theirs, choose_ours)
    metadata_conflict |= both
    if acl is not None:
        xattrs[ACCESS_ACL] = acl
    fields["xattrs"] = tuple(sorted(xattrs.items()))
    content_conflict = False
    if same_content(ours, theirs):
        source, mtime = theirs, merge_times(old.mtime, ours.mtime, theirs.mtime)
    elif same_content(ours, old):
        source, mtime = theirs, theirs.mtime
    elif same_content(theirs, old):
        source, mtime = ours, ours.mtime
    else:
        content_conflict = True
        source = ours if choose_ours else theirs
        mtime = source.mtime
    node = dataclasses.replace(theirs, content=source.content, size=source.size, mtime=mtime,
                               **fields)
    return Merge(node, frozenset([mtime]), content_conflict, metadata_conflict)


def beside(node):
    """A copy that lies beside: no set-id bits, no capabilities."""
    if node.type != "file":
        return node
    xattrs = tuple(pair for pair in node.xattrs if pair[0] != CAPABILITY)
    return dataclasses.replace(node, permissions=node.permissions & ~SETID, xattrs=xattrs)
