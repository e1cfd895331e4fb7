// SPDX-License-Identifier: BSD-3-Clause
//
// Which blocks of a partly own file stand for its content that falls through: all of
// them if they are few, else a sample that any program chooses alike.
#ifndef UNIONFS_OVERLAY_UPPER_FALLING_BLOCKS_H
#define UNIONFS_OVERLAY_UPPER_FALLING_BLOCKS_H

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "fsparse/numbers.h"

namespace unionfs {

struct FileBlockPlace {
  FileBlock file_block;
  BlockNumber block;

  auto operator<=>(const FileBlockPlace&) const = default;
};

// Takes the blocks of one file in file order.  Memory does not follow the file.
class FallingBlocks {
 public:
  static constexpr uint64_t kMaxWholeBytes = uint64_t{1} << 20;
  static constexpr size_t kSampledBlocks = 64;
  static constexpr size_t kMaxNeighbours = 16;

  FallingBlocks(InodeNumber inode, uint32_t block_size_bytes)
      : inode_(inode), max_whole_blocks_(kMaxWholeBytes / block_size_bytes) {}

  void add(const FileBlockPlace& place, bool falls_through);

  // Ascending.  Up to 1 MiB all that fall through; else the first, the last, the first
  // 16 beside blocks that do not, and those with the least score, 64 in all.
  std::vector<FileBlockPlace> chosen() const;

 private:
  uint64_t score(FileBlock block) const;

  const InodeNumber inode_;
  const uint64_t max_whole_blocks_;
  uint64_t count_ = 0;                   // that fall through
  std::vector<FileBlockPlace> all_;      // while there are few
  std::optional<FileBlockPlace> first_;  // of those that fall through
  std::optional<FileBlockPlace> last_;
  std::set<FileBlockPlace> neighbours_;
  std::set<std::pair<uint64_t, FileBlockPlace>> least_;  // by score
  std::optional<FileBlockPlace> before_;                 // the block that was added before
  bool before_falls_ = false;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_FALLING_BLOCKS_H
