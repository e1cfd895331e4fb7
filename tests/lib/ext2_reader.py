#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A small reader of ext2 images, written apart from the project's own.

It takes a file's bytes for what the ext2 layout says and nothing else: no state
area, no session, no union. Names of inode 0 with the types of union mounts are
listed as they lie; what they mean is the caller's affair.

It believes the image, which e2fsck has called clean: a wrong one gives an
exception, or wrong answers, but no endless walk.
"""

import collections
import os
import stat
import struct

FEATURE_COMPAT_SPARSE_SUPER2 = 0x0200
FEATURE_INCOMPAT_FILETYPE = 0x0002
FEATURE_INCOMPAT_META_BG = 0x0010
FEATURE_RO_COMPAT_SPARSE_SUPER = 0x0001
WHITEOUT_TYPE = 8
FALLTHRU_TYPE = 9
OPAQUE_FLAG = 0x04000000
FLAGS_OFFSET = 32  # of i_flags in an inode
TYPE_OFFSET = 7  # of file_type in a directory entry
XATTR_MAGIC = 0xEA020000
ROOT = 2
DIRECT_COUNT = 12
SECTOR_BYTES = 512

# kind is "real", "whiteout" or "fallthru"; offset is the entry's place in the image.
Entry = collections.namedtuple("Entry", "kind inode offset")


def power_of(number, base):
    while number % base == 0:
        number //= base
    return number == 1


class Inode:
    """The fields of one inode that users can see, and where it lies."""

    def __init__(self, image, number, offset, raw):
        self.number = number
        self.offset = offset
        self.raw = raw
        (self.mode, uid, size, self.atime, self.ctime, self.mtime, self.dtime, gid, self.links,
         self.sectors, self.flags) = struct.unpack_from("<HHIIIIIHHII", raw, 0)
        self.pointers = struct.unpack_from("<15I", raw, 40)
        self.generation, self.xattr_block, size_high = struct.unpack_from("<III", raw, 100)
        uid_high, gid_high = struct.unpack_from("<HH", raw, 120)
        self.uid = uid | uid_high << 16
        self.gid = gid | gid_high << 16
        self.size = size | (size_high << 32 if stat.S_ISREG(self.mode) else 0)
        self.extra_times = b""
        extra = struct.unpack_from("<H", raw, 128)[0] if len(raw) > 128 else 0
        if extra >= 12:
            # i_ctime_extra and i_mtime_extra
            self.extra_times = raw[132:140]
        self.xattr_place = 128 + extra if len(raw) > 128 else len(raw)
        self.data_sectors = self.sectors
        if self.xattr_block:
            self.data_sectors -= image.block_size // SECTOR_BYTES

    @property
    def is_directory(self):
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self):
        return stat.S_ISREG(self.mode)


class Image:
    """One image. `patches` maps places in it to bytes that are read there instead."""

    def __init__(self, path, patches=None):
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY)
        self.patches = patches or {}
        self.inodes = {}
        self.directories = {}
        self.read_superblock()
        self.read_descriptors()

    def close(self):
        os.close(self.descriptor)

    def read(self, offset, length):
        parts = []
        while length > 0:
            part = os.pread(self.descriptor, length, offset)
            if not part:
                raise ValueError(f"{self.path}: byte {offset} is behind the end")
            parts.append(self.patched(offset, part) if self.patches else part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def patched(self, offset, part):
        changed = bytearray(part)
        for place, content in self.patches.items():
            for position, byte in enumerate(content, place - offset):
                if 0 <= position < len(changed):
                    changed[position] = byte
        return bytes(changed)

    def read_superblock(self):
        raw = self.read(1024, 1024)
        (self.inode_count, self.block_count) = struct.unpack_from("<II", raw, 0)
        (self.first_data_block, log_block_size) = struct.unpack_from("<II", raw, 20)
        (self.blocks_per_group, ) = struct.unpack_from("<I", raw, 32)
        (self.inodes_per_group, ) = struct.unpack_from("<I", raw, 40)
        magic, revision = struct.unpack_from("<H18xI", raw, 56)
        if magic != 0xEF53:
            raise ValueError(f"{self.path}: not an ext2 image")
        self.block_size = 1024 << log_block_size
        self.inode_size = 128
        self.compatible = self.incompatible = self.read_only_compatible = 0
        if revision > 0:
            (self.inode_size, ) = struct.unpack_from("<H", raw, 88)
            (self.compatible, self.incompatible,
             self.read_only_compatible) = struct.unpack_from("<III", raw, 92)
        (self.first_meta_bg, ) = struct.unpack_from("<I", raw, 0x104)
        self.backup_groups = struct.unpack_from("<II", raw, 0x24C)
        groups = self.block_count - self.first_data_block
        self.group_count = -(-groups // self.blocks_per_group)

    def has_superblock(self, group):
        if self.compatible & FEATURE_COMPAT_SPARSE_SUPER2:
            return group == 0 or group in self.backup_groups
        if group <= 1 or not self.read_only_compatible & FEATURE_RO_COMPAT_SPARSE_SUPER:
            return True
        return any(power_of(group, base) for base in (3, 5, 7))

    def descriptor_block(self, number):
        if self.incompatible & FEATURE_INCOMPAT_META_BG and number >= self.first_meta_bg:
            group = number * (self.block_size // 32)
            first = self.first_data_block + group * self.blocks_per_group
            return first + (1 if self.has_superblock(group) else 0)
        return self.first_data_block + 1 + number

    def read_descriptors(self):
        per_block = self.block_size // 32
        self.inode_tables = []
        for number in range(-(-self.group_count // per_block)):
            raw = self.read(self.descriptor_block(number) * self.block_size, self.block_size)
            for index in range(min(per_block, self.group_count - number * per_block)):
                self.inode_tables.append(struct.unpack_from("<I", raw, index * 32 + 8)[0])

    def inode(self, number):
        found = self.inodes.get(number)
        if found is None:
            group, index = divmod(number - 1, self.inodes_per_group)
            offset = self.inode_tables[group] * self.block_size + index * self.inode_size
            raw = self.read(offset, self.inode_size)
            found = self.inodes[number] = Inode(self, number, offset, raw)
        return found

    def has_directory(self, number):
        """Whether there is a directory of that number, in an image that may be smaller."""
        if number > self.inode_count:
            return False
        inode = self.inode(number)
        return inode.is_directory and inode.links > 0

    def has_regular(self, number):
        if number > self.inode_count:
            return False
        inode = self.inode(number)
        return inode.is_regular and inode.links > 0

    def blocks(self, inode):
        """Where its blocks lie that are no holes: {number in the file: block}."""
        count = -(-inode.size // self.block_size)
        found = {}
        for index in range(min(DIRECT_COUNT, count)):
            if inode.pointers[index]:
                found[index] = inode.pointers[index]
        first, span = DIRECT_COUNT, 1
        for level in (1, 2, 3):
            self.indirect(inode.pointers[DIRECT_COUNT + level - 1], level, first, count, found)
            span *= self.block_size // 4
            first += span
        return found

    def indirect(self, block, level, first, count, found):
        if not block or first >= count:
            return
        pointers = struct.unpack(f"<{self.block_size // 4}I",
                                 self.read(block * self.block_size, self.block_size))
        span = (self.block_size // 4)**(level - 1)
        for index, pointer in enumerate(pointers):
            place = first + index * span
            if place >= count:
                return
            if not pointer:
                continue
            if level == 1:
                found[place] = pointer
            else:
                self.indirect(pointer, level - 1, place, count, found)

    def names(self, number):
        """The entries of a directory by name, "." and ".." left out."""
        found = self.directories.get(number)
        if found is None:
            found = self.directories[number] = {}
            for _, block in sorted(self.blocks(self.inode(number)).items()):
                self.names_of_block(number, block, found)
        return found

    def names_of_block(self, directory, block, found):
        raw = self.read(block * self.block_size, self.block_size)
        has_types = self.incompatible & FEATURE_INCOMPAT_FILETYPE
        position = 0
        while position < self.block_size:
            inode, size, length, kind = struct.unpack_from("<IHBB", raw, position)
            # The kernel leaves the type byte as it finds it where there are no types;
            # no name is so long that it would be part of the length.
            if not has_types:
                kind = 0
            if size < 8 or position + size > self.block_size or length > size - 8:
                raise ValueError(f"{self.path}: directory {directory}: block {block}: "
                                 f"bad entry at {position}")
            name = raw[position + 8:position + 8 + length]
            place = block * self.block_size + position
            position += size
            if inode:
                entry = Entry("real", inode, place)
            elif kind == WHITEOUT_TYPE:
                entry = Entry("whiteout", 0, place)
            elif kind == FALLTHRU_TYPE:
                entry = Entry("fallthru", 0, place)
            else:
                continue
            if name in (b".", b".."):
                continue
            if name in found:
                raise ValueError(f"{self.path}: directory {directory} has {name!r} twice")
            found[name] = entry

    def link_target(self, inode):
        if inode.data_sectors == 0:
            return struct.pack("<15I", *inode.pointers)[:inode.size]
        blocks = self.blocks(inode)
        whole = b"".join(self.read(block * self.block_size, self.block_size)
                         for _, block in sorted(blocks.items()))
        return whole[:inode.size]

    def xattrs(self, inode):
        """Sorted (index of the prefix, name, value)."""
        found = []
        if inode.xattr_place + 4 <= len(inode.raw):
            body = inode.raw[inode.xattr_place:]
            if struct.unpack_from("<I", body)[0] == XATTR_MAGIC:
                self.xattrs_of(body[4:], 0, found)
        if inode.xattr_block:
            block = self.read(inode.xattr_block * self.block_size, self.block_size)
            if struct.unpack_from("<I", block)[0] != XATTR_MAGIC:
                raise ValueError(f"{self.path}: inode {inode.number}: bad attribute block")
            self.xattrs_of(block, 32, found)
        return sorted(found)

    @staticmethod
    def xattrs_of(area, position, found):
        while position + 4 <= len(area) and area[position:position + 4] != bytes(4):
            length, index, offset, _, size, _ = struct.unpack_from("<BBHIII", area, position)
            name = area[position + 16:position + 16 + length]
            found.append((index, name, area[offset:offset + size]))
            position += 16 + (length + 3) // 4 * 4
