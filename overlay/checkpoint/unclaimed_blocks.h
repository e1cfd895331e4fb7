// SPDX-License-Identifier: BSD-3-Clause
//
// Written blocks that no changed inode claims: somebody wrote to a file without
// touching its inode.  And blocks that became used and that no changed inode claims: the
// lower's bitmap called a file's block free, and was mended.  Nothing in ext2 leads from a
// block to its owner, so the layer's own tables are asked first, and then the inodes are
// searched.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_UNCLAIMED_BLOCKS_H
#define UNIONFS_OVERLAY_CHECKPOINT_UNCLAIMED_BLOCKS_H

#include <vector>

#include "overlay/checkpoint/inode_queue.h"
#include "overlay/checkpoint/session_changes.h"

namespace unionfs {

struct UnclaimedBlocks {
  // Xattr blocks of which only the count changed, with that count: some user of
  // the block left or came.
  std::vector<KeptXattr> counts;
  uint64_t inodes_searched = 0;
};

// Queues the owners of such blocks.  `claimed` are the blocks of inodes that were
// looked at, all of which the queue has seen.  An error if a block has no owner.
Result<UnclaimedBlocks> find_unclaimed(const LayerSources& from, const SessionChanges& changes,
                                       const BlockSet& claimed, InodeQueue& queue);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_UNCLAIMED_BLOCKS_H
