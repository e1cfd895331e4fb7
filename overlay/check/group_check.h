// SPDX-License-Identifier: BSD-3-Clause
//
// The first stage of a check: the layer's bitmaps, descriptors and superblock.
// It gives the numbers that they call own or whited out.
#ifndef UNIONFS_OVERLAY_CHECK_GROUP_CHECK_H
#define UNIONFS_OVERLAY_CHECK_GROUP_CHECK_H

#include "overlay/check/check_sources.h"
#include "overlay/check/violations.h"
#include "overlay/geometry/number_sets.h"

namespace unionfs {

// What the layer says of itself.  Refers to the merged image's layout.
struct LayerNumbers {
  LayerNumbers(const Layout& layout, const LayerTables& tables);

  BlockSet own_blocks;  // without F-blocks
  InodeSet own_inodes;  // without reserved ones, but for those that the tables name
  BlockSet block_whiteouts;
  InodeSet inode_whiteouts;
};

Result<LayerNumbers> check_groups(const CheckSources& sources, Violations& violations);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_GROUP_CHECK_H
