// SPDX-License-Identifier: BSD-3-Clause
//
// The layer's bitmaps, descriptors and superblocks, as bytes of an ext2 image.
#ifndef UNIONFS_OVERLAY_UPPER_LAYER_GROUPS_H
#define UNIONFS_OVERLAY_UPPER_LAYER_GROUPS_H

#include <functional>

#include "overlay/geometry/geometry.h"
#include "overlay/geometry/group_bits.h"
#include "overlay/host/file.h"

namespace unionfs {

// Sets the bits of the group's F-blocks; bits are numbered within the group.
void set_fixed_bits(const Geometry& geometry, GroupNumber group, ByteSpan bits);
void clear_fixed_bits(const Geometry& geometry, GroupNumber group, ByteSpan bits);

// One group of a layer.  A whole block each; padding is set.
struct LayerBitmaps {
  std::vector<std::byte> blocks;
  std::vector<std::byte> inodes;
  ext2::GroupDescriptor descriptor;  // bg_used_dirs_count is 0
};
LayerBitmaps make_layer_bitmaps(const Geometry& geometry, GroupNumber group,
                                const GroupBits& own_blocks, const GroupBits& own_inodes);

// Writes the bitmaps of all groups, and the descriptors and superblocks that
// count them, each with its copies.  `superblock` has everything but counters.
Result<void> write_layer_groups(ByteSink& upper, const Geometry& geometry,
                                const GroupBits& own_blocks, const GroupBits& own_inodes,
                                const std::function<uint32_t(GroupNumber)>& used_dirs_count,
                                ext2::Superblock superblock);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LAYER_GROUPS_H
