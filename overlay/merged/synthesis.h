// SPDX-License-Identifier: BSD-3-Clause
//
// Computes blocks of the merged image that exist in neither file as such:
// the superblock, descriptors, bitmaps, inode tables and the layer's
// translated blocks.  A function of lower and layer alone: the session's
// writes do not show here.
#ifndef UNIONFS_OVERLAY_MERGED_SYNTHESIS_H
#define UNIONFS_OVERLAY_MERGED_SYNTHESIS_H

#include <optional>
#include <span>
#include <vector>

#include "fsparse/inode.h"
#include "fsparse/volume.h"
#include "overlay/geometry/geometry.h"
#include "overlay/upper/layer.h"

namespace unionfs {

// Immutable; thread-safe.  Refers to its parts, which must outlive it.
class Synthesis {
 public:
  Synthesis(const Volume& lower, const Volume& upper, const Geometry& geometry, const Layer& layer);

  // An F-block of the range; `out` is one block.
  Result<void> fixed_block(const FixedRange& range, BlockNumber block, ByteSpan out) const;
  // The translated block at this index of the layer's table; `out` is one block.
  Result<void> translated_block(size_t index, ByteSpan out) const;

  // Whether the group's inode table is the lower's, byte for byte (or, in an
  // appended group, all zeros), so that it can be read as it is.
  bool has_plain_inode_table(GroupNumber group) const;

  const Volume& lower() const { return lower_; }
  const Volume& upper() const { return upper_; }
  const Geometry& geometry() const { return geometry_; }
  const Layer& layer() const { return layer_; }

 private:
  void make_groups();
  void make_superblock();

  Result<void> superblock(GroupNumber group, BlockNumber block, ByteSpan out) const;
  void descriptors(uint32_t index, ByteSpan out) const;
  Result<void> block_bitmap(GroupNumber group, ByteSpan out) const;
  Result<void> inode_bitmap(GroupNumber group, ByteSpan out) const;
  Result<void> inode_table(const FixedRange& range, BlockNumber block, ByteSpan out) const;
  Result<void> own_inode(InodeNumber inode, ByteSpan slot) const;
  Result<void> own_indirect(const TranslatedBlock& entry, ByteSpan out) const;
  Result<void> fill_holes(std::span<Le32> pointers, std::span<const BlockNumber> below) const;
  // The lower's inode of that number if a regular file of the layer may have
  // blocks falling through to it.
  Result<std::optional<InodeRecord>> regular_below(InodeNumber inode) const;
  bool is_whited_out(BlockNumber block) const;

  const Volume& lower_;
  const Volume& upper_;
  const Geometry& geometry_;
  const Layer& layer_;
  std::vector<Group> groups_;  // merged places and counters
  ext2::Superblock superblock_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_SYNTHESIS_H
