// SPDX-License-Identifier: BSD-3-Clause
//
// The shape of the merged image: the lower's layout with appended groups.
// Pure arithmetic over the lower's superblock and descriptors; nothing else of
// the lower is looked at, but for the one block pointer of its resize inode.
//
// Blocks are of two sorts.  F-blocks are fixed by the geometry: the superblock,
// the descriptors, their backups, the bitmaps, the inode tables and the boot
// block.  All others are D-blocks and belong to whichever inode claims them.
#ifndef UNIONFS_OVERLAY_GEOMETRY_GEOMETRY_H
#define UNIONFS_OVERLAY_GEOMETRY_GEOMETRY_H

#include <cstdint>
#include <optional>
#include <vector>

#include "fsparse/groups.h"
#include "fsparse/volume.h"

namespace unionfs {

enum class FixedKind : uint8_t {
  kBoot,        // block 0 of an image with 1 KiB blocks
  kSuperblock,  // and, in block 0 of larger blocks, the boot area before it
  kDescriptors,
  kBlockBitmap,
  kInodeBitmap,
  kInodeTable,
};

// A run of F-blocks of one kind in one group.
struct FixedRange {
  BlockRange blocks;
  uint64_t first_rank = 0;   // rank of blocks.begin among all F-blocks
  GroupNumber group;         // kBoot: group 0
  uint32_t first_index = 0;  // kDescriptors: which descriptor block; else 0
  FixedKind kind = FixedKind::kBoot;
};

// Immutable once made; thread-safe.
class Geometry {
 public:
  // Grows the lower to `size_bytes` (rounded down to whole blocks, and to the
  // last group that has room for its metadata).  kInvalid when that is
  // smaller than the lower or more than ext2 can count.
  static Result<Geometry> grow(const Volume& lower, uint64_t size_bytes);

  // What a new merged image measures when the user names no size.
  static uint64_t default_size_bytes(const Layout& lower);

  const Layout& lower() const { return lower_; }
  const Layout& merged() const { return merged_; }
  uint64_t size_bytes() const { return merged_.size_bytes(); }
  // Places and counters of every group of an untouched merged image.
  const std::vector<Group>& groups() const { return groups_; }
  bool is_appended(GroupNumber group) const { return group.value() >= lower_.group_count(); }
  bool has_appended_groups() const { return merged_.group_count() > lower_.group_count(); }

  // Blocks of the lower's resize inode, which a grown image cannot keep.
  // Ascending, disjoint; empty when nothing was appended.
  const std::vector<BlockRange>& released() const { return released_; }

  const std::vector<FixedRange>& fixed_ranges() const { return fixed_ranges_; }
  uint64_t fixed_block_count() const { return fixed_block_count_; }
  // The first range that ends after `block`: it holds the block, or lies
  // beyond it; nullptr when there is none.  Constant time.
  const FixedRange* fixed_at_or_after(BlockNumber block) const;

  // How many of the group's blocks are F-blocks.
  uint64_t fixed_blocks_in(GroupNumber group) const;
  // How many of the group's inodes, its first ones, are reserved (below
  // s_first_ino) and so used in every ext2 image.
  uint32_t reserved_inodes_in(GroupNumber group) const;

 private:
  Geometry(const Layout& lower, const Layout& merged) : lower_(lower), merged_(merged) {}

  Result<void> place_groups(const Volume& lower);
  Result<void> find_released(const Volume& lower);
  void list_fixed_ranges();

  Layout lower_;
  Layout merged_;
  std::vector<Group> groups_;
  std::vector<BlockRange> released_;
  std::vector<FixedRange> fixed_ranges_;
  std::vector<uint32_t> first_range_of_group_;  // index into fixed_ranges_
  uint64_t fixed_block_count_ = 0;
};

// The merged layout for a lower grown to about `block_count` blocks: which
// backups, meta groups and last group result.
Result<Layout> grown_layout(const Layout& lower, uint64_t block_count);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_GEOMETRY_GEOMETRY_H
