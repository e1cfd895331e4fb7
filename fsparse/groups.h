// SPDX-License-Identifier: BSD-3-Clause
//
// The group descriptors of one image, checked.
#ifndef UNIONFS_FSPARSE_GROUPS_H
#define UNIONFS_FSPARSE_GROUPS_H

#include <vector>

#include "fsparse/superblock.h"

namespace unionfs {

// The places of one group's own metadata and its counters.
struct Group {
  BlockNumber block_bitmap;
  BlockNumber inode_bitmap;
  BlockNumber inode_table;  // first of inode_table_block_count() blocks
  uint32_t free_blocks_count = 0;
  uint32_t free_inodes_count = 0;
  uint32_t used_dirs_count = 0;
  // Without it only metadata is used, and the block of the bitmap means
  // nothing.
  bool has_block_bitmap = true;
  // Without it no inode is used, and the block of the bitmap means nothing.
  bool has_inode_bitmap = true;
};

// Reads every descriptor (32 bytes a group) from its primary copy.  Checked:
// each place lies in its own group, overlaps no other metadata, and no counter
// is over what a group holds.  Errors name the image, the group and the field.
// That a group has no bitmaps is believed only if the descriptor's checksum is
// right.
Result<std::vector<Group>> read_groups(const Image& image, const Superblock& superblock);

// Whether the descriptors have flags and checksums.
bool has_group_checksums(const ext2::Superblock& superblock);

// Where an inode's record lies, as byte offset in the image.
uint64_t inode_offset(const Layout& layout, const std::vector<Group>& groups, InodeNumber inode);

// As it is stored, without checksum and flags.
ext2::GroupDescriptor raw_descriptor(const Group& group);

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_GROUPS_H
