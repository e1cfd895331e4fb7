// SPDX-License-Identifier: BSD-3-Clause
//
// The first stage of a checkpoint: what the session changed.  It tells from the
// blocks that were written which inodes changed, were made or freed, and which
// blocks were freed.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_SESSION_CHANGES_H
#define UNIONFS_OVERLAY_CHECKPOINT_SESSION_CHANGES_H

#include <set>
#include <vector>

#include "overlay/checkpoint/layer_sources.h"

namespace unionfs {

// The blocks that the session wrote, by what they hold.  Lists ascend.
struct WrittenBlocks {
  struct TableBlock {
    const FixedRange* table;  // the inode table, in the geometry
    BlockNumber block;
  };

  uint64_t count = 0;            // all of them
  std::vector<BlockRange> data;  // no fixed metadata
  std::vector<TableBlock> tables;
  std::set<GroupNumber> inode_bitmaps;
  std::set<GroupNumber> block_bitmaps;
  std::set<GroupNumber> groups;  // a bitmap of the group, or its descriptor
};

struct SessionChanges {
  WrittenBlocks written;
  // Inodes that are used now, and were made or changed in more than the access
  // time.  The new ones come first; none is there twice.
  std::vector<InodeNumber> inodes;
  std::vector<InodeNumber> freed_inodes;  // ascending
  // Slots of free inodes that were free before, whose bytes were not zeros and changed.
  std::vector<InodeNumber> changed_slots;
  std::vector<BlockRange> freed_blocks;  // by the bitmaps; ascending
  BlockSet used_anew;                    // by the bitmaps: free before
  BlockSet given_up;                     // the blocks that the freed inodes had before
};

// An error says why this session cannot be a layer: the image was reformatted,
// it has orphans, or its bitmaps contradict its inodes.
Result<SessionChanges> find_changes(const LayerSources& from);

// Adds the blocks that an inode had before the session, its xattr block among
// them if it is inside the image; nothing for an inode that was free.  What is wrong with
// the inode may be why it changed: a wrong pointer is left out.
Result<void> add_former_blocks(const LayerSources& from, InodeNumber inode, BlockSet& blocks);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_SESSION_CHANGES_H
