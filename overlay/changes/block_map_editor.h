// SPDX-License-Identifier: BSD-3-Clause
//
// Changes which blocks a file of the merged image has, in ascending order.
#ifndef UNIONFS_OVERLAY_CHANGES_BLOCK_MAP_EDITOR_H
#define UNIONFS_OVERLAY_CHANGES_BLOCK_MAP_EDITOR_H

#include <functional>
#include <optional>
#include <vector>

#include "fsparse/block_map.h"
#include "overlay/changes/merged_files.h"

namespace unionfs {

// Goes through the map of a file, an empty one among them, from its begin to its end: no call
// names a file block before one that was named already.  An indirect block is written once,
// when the way leaves it, if it changed; one that leads to nothing any more is freed.
//
// One user, one thread.  Refers to the record, whose i_block and i_blocks it changes; writing
// the record is the caller's.  Memory: three indirect blocks.
class BlockMapEditor {
 public:
  // Whether a block stays that would be cleared.
  using Keeps = std::function<Result<bool>(BlockNumber)>;

  BlockMapEditor(MergedFiles& files, InodeRecord& record);

  // The block in this place; nothing in a hole.
  Result<std::optional<BlockNumber>> find(FileBlock file_block);
  // A new block in this place, which is a hole.  ENOSPC; EFBIG beyond what pointers lead to.
  Result<BlockNumber> add(FileBlock file_block);
  // Frees the blocks in [begin, end), but for those that `keeps` wants kept.
  Result<void> clear(FileBlock begin, FileBlock end, const Keeps& keeps);
  // Writes the indirect blocks that are left, and i_blocks.
  Result<void> finish();

  // File blocks that a map can have.
  uint64_t end() const { return max_file_blocks(pointers_per_block_); }

 private:
  struct Indirect {
    BlockNumber block;
    uint32_t index = 0;  // in the block above, or slot of i_block
    std::vector<Le32> pointers;
    bool is_changed = false;
  };

  static uint32_t index_at(const BlockPath& path, uint32_t depth) {
    return depth == 0 ? path.slot : path.indices[depth - 1];
  }
  Result<BlockPath> path_to(FileBlock file_block) const;
  Result<std::optional<BlockNumber>> pointer(const BlockPath& path, uint32_t depth) const;
  void set_pointer(uint32_t depth, uint32_t index, uint32_t value);
  Result<BlockNumber> allocate();
  Result<void> give_back(BlockNumber block);
  Result<void> enter(const BlockPath& path, BlockNumber block, bool is_new);
  Result<uint32_t> follow(const BlockPath& path);
  Result<void> leave(size_t depth);

  MergedFiles& files_;
  InodeRecord& record_;
  const uint32_t pointers_per_block_;
  BlockNumber goal_;
  int64_t block_change_ = 0;   // blocks more than the record counts
  std::vector<Indirect> way_;  // from i_block down
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_BLOCK_MAP_EDITOR_H
