// SPDX-License-Identifier: BSD-3-Clause
//
// Where a block of a chain's merged image lies, in one look-up: for each group the stretches
// of blocks that one level has.  Level by level, a request would ask each of them.
//
//     level 3   . . . . . . A A . .
//     level 2   . B B B . . B B . .
//     level 1   C C . . . . . . . .      the group's runs: C B B B - - A A - -
//
// docs/stacks.md has the why.
#ifndef UNIONFS_OVERLAY_MERGED_FLAT_RUNS_H
#define UNIONFS_OVERLAY_MERGED_FLAT_RUNS_H

#include <atomic>
#include <cstdint>
#include <vector>

#include "overlay/merged/block_source.h"
#include "overlay/upper/layer.h"

namespace unionfs {

class LayerOverLower;

// Immutable, but for what it remembers of groups that were asked for; thread-safe, without
// a lock.  Refers to the layers, which must outlive it.
class FlatRuns {
 public:
  // Of the merged image of `top`.
  explicit FlatRuns(const LayerOverLower& top);
  ~FlatRuns();
  FlatRuns(const FlatRuns&) = delete;
  FlatRuns& operator=(const FlatRuns&) = delete;

  // begin < end <= s_blocks_count of that image.  Files are told as Source::kLower, because
  // all of this lies below whoever asks.
  BlockSource run_at(BlockNumber begin, BlockNumber end) const;

  // Layers that may stand on one another.
  static constexpr size_t kMaxLayers = 255;

 private:
  struct Level {
    const Layer* layer;
    const Geometry* geometry;
    const ReadableFile* file;
    const Synthesis* synthesis;
  };
  // A number of a level: 0 is the plain image at the bottom, n the n-th layer above it.
  struct GroupRuns {
    // The first block within the group, above 8 bits of the level that has all blocks up to the
    // next one.  Ascending; the first begins at 0.
    std::vector<uint32_t> runs;
    uint8_t inode_table = 0;  // the topmost level that has an inode in it
  };

  const GroupRuns& runs_of(GroupNumber group) const;
  GroupRuns make_runs(GroupNumber group) const;
  BlockSource fixed_run(const FixedRange& range, BlockNumber begin, BlockNumber end) const;
  BlockSource bottom_run(BlockNumber begin, BlockNumber end) const;
  // What the level has itself: own, or translated.
  BlockSource own_run(const Level& level, BlockNumber begin, BlockNumber end) const;

  std::vector<Level> levels_;  // the lowest layer first
  const ReadableFile* bottom_;
  BlockNumber bottom_end_;
  uint32_t block_size_;
  mutable std::vector<std::atomic<const GroupRuns*>> groups_;  // nullptr: not asked for yet
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_FLAT_RUNS_H
