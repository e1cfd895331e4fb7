// SPDX-License-Identifier: BSD-3-Clause
//
// Where a layer may show other bytes than the level below it.
#ifndef UNIONFS_OVERLAY_STACK_TOUCHED_BLOCKS_H
#define UNIONFS_OVERLAY_STACK_TOUCHED_BLOCKS_H

#include "overlay/geometry/number_sets.h"
#include "overlay/merged/layer_over_lower.h"

namespace unionfs {

// Adds each block, free ones among them, that the layer may show otherwise than the level
// below it, and those in which the end of that level shows.  `blocks` is at least as large as
// the layer.  Reads nothing.  The superblock and its backups, the descriptors and the boot area
// are not among them: every layer has its own.
void add_touched_blocks(const LayerOverLower& layer, BlockSet& blocks);

// Adds the blocks that the view's own session wrote, of the same kinds: no superblock, no
// descriptors, and no boot area.  `geometry` is the view's.
void add_written_blocks(const MergedView& view, const Geometry& geometry, BlockSet& blocks);
// The same of these blocks.
void add_blocks(const BlockSet& added, const Geometry& geometry, BlockSet& blocks);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_TOUCHED_BLOCKS_H
