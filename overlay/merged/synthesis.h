// SPDX-License-Identifier: BSD-3-Clause
//
// Computes blocks of the merged image that exist in neither file as such:
// the superblock, descriptors, bitmaps, inode tables and the layer's
// translated blocks.  A function of lower and layer alone: the session's
// writes do not show here.
#ifndef UNIONFS_OVERLAY_MERGED_SYNTHESIS_H
#define UNIONFS_OVERLAY_MERGED_SYNTHESIS_H

#include <memory>
#include <vector>

#include "fsparse/volume.h"
#include "overlay/geometry/geometry.h"
#include "overlay/merged/composed_blocks.h"
#include "overlay/merged/merged_items.h"
#include "overlay/upper/layer.h"

namespace unionfs {

// Immutable, but for the blocks that it remembers over other layers; thread-safe.  Refers to its
// parts, which must outlive it.
class Synthesis {
 public:
  // At most so much is remembered.
  static constexpr uint64_t kMostRememberedBytes = uint64_t{512} << 10;

  Synthesis(const Below& below, const Volume& upper, const Geometry& geometry, const Layer& layer);

  // An F-block of the range; `out` is one block.
  Result<void> fixed_block(const FixedRange& range, BlockNumber block, ByteSpan out) const;
  // Whether so much of a block of the range, from `skip` on, is composed for less than the block:
  // whole inodes, over a plain image.  Then inode_table() does it.
  bool has_parts(const FixedRange& range, size_t skip, size_t length) const;
  Result<void> inode_table(const FixedRange& range, BlockNumber block, size_t skip,
                           ByteSpan out) const;
  // The translated block at this index of the layer's table; `out` is one block.
  Result<void> translated_block(size_t index, ByteSpan out) const;

  // Whether the group's inode table is that of the level below, byte for byte (or, in an
  // appended group, all zeros), so that it can be read as it is.
  bool has_plain_inode_table(GroupNumber group) const;

  const MergedItems& items() const { return items_; }
  // nullptr over a plain image, where a block is composed almost as fast as it is read.
  ComposedBlocks* composed_blocks() const { return composed_.get(); }

 private:
  Result<void> compose_fixed(const FixedRange& range, BlockNumber block, ByteSpan out) const;
  Result<void> compose_translated(const TranslatedBlock& entry, ByteSpan out) const;
  // Calls compose() unless the block is remembered.
  template <typename Compose>
  Result<void> remembered(BlockNumber block, ByteSpan out, Compose&& compose) const;
  void make_groups();
  void make_superblock();

  Result<void> superblock(GroupNumber group, BlockNumber block, ByteSpan out) const;
  void descriptors(uint32_t index, ByteSpan out) const;
  // The first 1024 bytes.
  Result<void> boot_area(ByteSpan out) const;

  const Below& below_;
  const Volume& upper_;
  const Geometry& geometry_;
  const Layer& layer_;
  const MergedItems items_;
  std::vector<Group> groups_;  // merged places and counters
  ext2::Superblock superblock_;
  std::unique_ptr<ComposedBlocks> composed_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_SYNTHESIS_H
