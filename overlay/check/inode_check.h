// SPDX-License-Identifier: BSD-3-Clause
//
// The second stage of a check: the own inodes with their blocks.  It gives
// what a fresh walk over them finds, which is what the layer ought to say.
#ifndef UNIONFS_OVERLAY_CHECK_INODE_CHECK_H
#define UNIONFS_OVERLAY_CHECK_INODE_CHECK_H

#include <map>
#include <set>
#include <vector>

#include "overlay/check/group_check.h"
#include "overlay/check/lower_side.h"

namespace unionfs {

struct CheckedInode {
  uint64_t block_count = 0;  // own blocks, an xattr block among them
  bool is_directory = false;
};

// Refers to the merged image's layout.
struct OwnFiles {
  explicit OwnFiles(const Layout& layout)
      : blocks(layout), directory_counts(layout.group_count()) {}

  std::map<InodeNumber, CheckedInode> inodes;
  BlockSet blocks;                         // that an own inode has
  std::vector<uint32_t> directory_counts;  // own directories, by group
  std::map<BlockNumber, TranslatedBlock> translated;
  std::map<BlockNumber, uint32_t> xattr_users;  // own inodes of each own xattr block
  // Own blocks with another role in the lower that are not whited out.
  std::set<BlockNumber> missing_whiteouts;
  // Whether the blocks of every own inode are known.  Otherwise nobody can say
  // which blocks are free.
  bool has_all_blocks = true;
};

Result<OwnFiles> check_inodes(const CheckSources& sources, const LayerNumbers& numbers,
                              LowerSide& lower, Violations& violations);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_INODE_CHECK_H
