// SPDX-License-Identifier: BSD-3-Clause
//
// The block maps of new files: how many indirect blocks a file needs, and what stands in them.
#ifndef UNIONFS_OVERLAY_BASE_BLOCK_MAP_FORM_H
#define UNIONFS_OVERLAY_BASE_BLOCK_MAP_FORM_H

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "fsparse/block_map.h"

namespace unionfs {

// Counts the indirect blocks of a file whose blocks are named in ascending order.  Each block
// must be one that a file can have.
class IndirectBlockCounter {
 public:
  explicit IndirectBlockCounter(uint32_t pointers_per_block) : pointers_(pointers_per_block) {}

  void add(FileBlock block);
  uint64_t count() const { return count_; }

 private:
  uint32_t pointers_;
  std::optional<BlockPath> last_;
  uint64_t count_ = 0;
};

// Makes the map of one file, whose blocks are named in ascending order.  Memory: three blocks.
class BlockMapForm {
 public:
  using TakeBlock = std::function<Result<BlockNumber>()>;
  using WriteBlock = std::function<Result<void>(BlockNumber, ConstByteSpan)>;

  // `take` gives a place for each indirect block, as often as IndirectBlockCounter counts;
  // `write` gets each of them once.  An error of either is returned.
  BlockMapForm(uint32_t pointers_per_block, TakeBlock take, WriteBlock write);

  Result<void> add(FileBlock block, BlockNumber place);
  // Writes what is left.
  Result<void> finish();
  const std::array<Le32, ext2::kBlockSlots>& slots() const { return slots_; }

 private:
  struct Node {
    BlockNumber place;
    std::vector<Le32> pointers;
  };

  // Writes the nodes of the last path from this depth on.
  Result<void> close_below(uint32_t depth);
  void point(const BlockPath& path, uint32_t depth, BlockNumber place);

  uint32_t pointers_;
  TakeBlock take_;
  WriteBlock write_;
  std::optional<BlockPath> last_;
  std::array<Node, kMaxLevel> nodes_;  // of the last path
  std::array<Le32, ext2::kBlockSlots> slots_ = {};
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_BASE_BLOCK_MAP_FORM_H
