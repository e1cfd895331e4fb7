// SPDX-License-Identifier: BSD-3-Clause
//
// Whether an ext2 image holds together as a whole: of an image that was frozen under its client,
// no flag says so.
#ifndef UNIONFS_OVERLAY_STACK_STRUCTURE_CHECK_H
#define UNIONFS_OVERLAY_STACK_STRUCTURE_CHECK_H

#include <map>
#include <vector>

#include "overlay/geometry/number_sets.h"
#include "overlay/host/cancellation.h"

namespace unionfs {

// What was found in an image that holds together.
struct Structure {
  explicit Structure(const Layout& layout) : metadata(layout) {}

  std::vector<InodeNumber> orphans;  // used, but without a name: open files; ascending
  // How many of these have it, by xattr block.
  std::map<BlockNumber, uint32_t> orphan_xattrs;
  // Blocks of directories and symlinks, indirect and xattr blocks.
  BlockSet metadata;
};

// Goes through all inodes and directories.  Each used block and inode must be reachable from
// the root, and used by one only, but for orphans and what they have; all counts of links, blocks,
// users and groups must be right.  kCorrupt names the first one that is not.  Takes eight bytes of
// memory an inode, and three bits a block.  The result refers to the volume.
Result<Structure> check_structure(const Volume& volume, const std::atomic<bool>& is_cancelled);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_STRUCTURE_CHECK_H
