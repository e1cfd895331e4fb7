// SPDX-License-Identifier: BSD-3-Clause
//
// The last blocks of a merged image that were composed.  In a chain each costs up to a record of
// every level, and the levels never change, so what was composed once stays right.
#ifndef UNIONFS_OVERLAY_MERGED_COMPOSED_BLOCKS_H
#define UNIONFS_OVERLAY_MERGED_COMPOSED_BLOCKS_H

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "fsparse/image.h"
#include "fsparse/numbers.h"
#include "overlay/host/mutex.h"

namespace unionfs {

// Thread-safe.  A look holds one of many locks for the time of a copy, and never while anything is
// read or composed.
class ComposedBlocks {
 public:
  // Keeps at most about `most_bytes` of blocks; takes their memory when it has such.
  ComposedBlocks(uint32_t block_size_bytes, uint64_t most_bytes);

  // Copies the block to `out`, which has its size; false if it is not there.
  bool find(BlockNumber block, ByteSpan out);
  // Drops another one, which was not asked for the longest time among a few.
  void keep(BlockNumber block, ConstByteSpan bytes);

  // Of blocks, as it is now.
  uint64_t memory_bytes();

 private:
  struct Slot {
    BlockNumber block;
    uint64_t last_use = 0;  // of its set's count; 0: there is none
    std::unique_ptr<std::byte[]> bytes;
  };
  // Blocks whose numbers leave the same rest.
  struct Set {
    Mutex mutex;
    uint64_t uses UNIONFS_GUARDED_BY(mutex) = 0;
    std::array<Slot, 8> slots UNIONFS_GUARDED_BY(mutex);
  };

  Set& set_of(BlockNumber block) { return sets_[block.value() % sets_.size()]; }

  const size_t block_size_;
  std::vector<Set> sets_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_COMPOSED_BLOCKS_H
