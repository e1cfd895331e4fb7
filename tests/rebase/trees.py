# SPDX-License-Identifier: BSD-3-Clause
"""Trees of files by path, read from plain ext2 images by the tests' own reader.

A path is a str that begins with "/"; the root is "". Bytes that are no UTF-8 are
kept by surrogateescape.
"""

import dataclasses
import hashlib
import os
import stat
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from ext2_reader import ROOT, Image  # noqa: E402

USER_FLAGS = 0x000380FF
TYPE_NAMES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
# Where the fields lie in an inode; the extra ones only if i_extra_isize covers them.
MTIME_EXTRA_OFFSET = 136
CRTIME_OFFSET = 144


@dataclasses.dataclass(frozen=True)
class Node:
    """One inode as a path leads to it.

    content is a digest for a regular file, the target of a symlink, the number of a
    device; of other types it is empty. blocks has (index, block number, digest), to
    tell which blocks two images share.
    """
    type: str
    inode: int
    permissions: int = 0o644
    owner: int = 0
    group: int = 0
    flags: int = 0
    xattrs: tuple = ()
    content: bytes = b""
    size: int = 0
    mtime: tuple = (0, 0)
    generation: int = 0
    birth: tuple = None
    blocks: frozenset = frozenset()

    @property
    def is_directory(self):
        return self.type == "directory"


METADATA_FIELDS = ("permissions", "owner", "group", "flags")


def same_content(one, other):
    """Directories have no content of their own: their names are compared one by one."""
    return one.is_directory or (one.content, one.size) == (other.content, other.size)


def equal(one, other):
    """Equal as the rules say it: all but times, numbers and names."""
    return (one.type == other.type and one.xattrs == other.xattrs
            and all(getattr(one, field) == getattr(other, field) for field in METADATA_FIELDS)
            and same_content(one, other))


def parent_of(path):
    return path.rpartition("/")[0]


def name_of(path):
    return path.rpartition("/")[2]


class Tree:
    """{path: Node}, and the names of each directory."""

    def __init__(self, nodes):
        self.nodes = dict(nodes)
        self.names = {path: [] for path, node in self.nodes.items() if node.is_directory}
        self.paths_of = {}
        for path, node in sorted(self.nodes.items()):
            if path:
                self.names[parent_of(path)].append(name_of(path))
            self.paths_of.setdefault(node.inode, []).append(path)

    def get(self, path):
        """None for a path that leads nowhere, and for no path."""
        return None if path is None else self.nodes.get(path)

    def is_directory(self, path):
        node = self.get(path)
        return node is not None and node.is_directory

    def names_in(self, path):
        return self.names.get(path, []) if path is not None else []

    def below(self, path):
        """All paths at and below one."""
        if path in self.nodes:
            yield path
            for name in self.names_in(path):
                yield from self.below(f"{path}/{name}")


def time_of(inode, offset, extra_offset):
    seconds, = struct.unpack_from("<i", inode.raw, offset)
    extra = 0
    if len(inode.raw) > 128 and 128 + inode.raw[128] >= extra_offset + 4:
        extra, = struct.unpack_from("<I", inode.raw, extra_offset)
    return seconds + ((extra & 3) << 32), extra >> 2


def device_of(inode):
    old, new = inode.pointers[:2]
    if old:
        return f"{old >> 8 & 0xFF}:{old & 0xFF}".encode()
    return f"{(new & 0xFFF00) >> 8}:{new & 0xFF | new >> 12 & 0xFFF00}".encode()


def read_node(image, number):
    inode = image.inode(number)
    kind = TYPE_NAMES[stat.S_IFMT(inode.mode)]
    content, size, blocks = b"", 0, []
    if kind == "file":
        content, size, blocks = read_content(image, inode)
    elif kind == "symlink":
        content = image.link_target(inode)
        size = len(content)
    elif kind.endswith("device"):
        content = device_of(inode)
    birth = None
    if len(inode.raw) > 128 and 128 + inode.raw[128] >= CRTIME_OFFSET + 8:
        birth = time_of(inode, CRTIME_OFFSET, CRTIME_OFFSET + 4)
    return Node(type=kind, inode=number, permissions=stat.S_IMODE(inode.mode), owner=inode.uid,
                group=inode.gid, flags=inode.flags & USER_FLAGS,
                xattrs=tuple(((index, name), value)
                             for index, name, value in image.xattrs(inode)),
                content=content, size=size, mtime=time_of(inode, 16, MTIME_EXTRA_OFFSET),
                generation=inode.generation, birth=birth, blocks=frozenset(blocks))


def read_content(image, inode):
    """Digest, size and blocks. A hole and zeros are the same content."""
    whole = bytearray(-(-inode.size // image.block_size) * image.block_size)
    blocks = []
    for index, block in image.blocks(inode).items():
        data = image.read(block * image.block_size, image.block_size)
        whole[index * image.block_size:(index + 1) * image.block_size] = data
        blocks.append((index, block, hashlib.sha1(data).digest()))
    return hashlib.sha1(whole[:inode.size]).digest(), inode.size, blocks


def read_tree(path):
    """The tree of a plain ext2 image."""
    image = Image(path)
    nodes, by_number = {}, {}

    def walk(number, place):
        if number not in by_number:
            by_number[number] = read_node(image, number)
        nodes[place] = by_number[number]
        if nodes[place].is_directory:
            for name, entry in image.names(number).items():
                if entry.kind == "real":
                    walk(entry.inode, f"{place}/{os.fsdecode(name)}")

    walk(ROOT, "")
    image.close()
    return Tree(nodes)


def named_paths(upper):
    """The paths that a layer itself names: entries with an inode, no fallthrus."""
    image = Image(upper)
    found = set()

    def walk(number, place):
        for name, entry in image.names(number).items():
            if entry.kind == "real":
                path = f"{place}/{os.fsdecode(name)}"
                found.add(path)
                if image.inode(entry.inode).is_directory:
                    walk(entry.inode, path)

    walk(ROOT, "")
    image.close()
    return found
