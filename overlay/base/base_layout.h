// SPDX-License-Identifier: BSD-3-Clause
//
// The shape of a new image: its groups, and the space between their metadata.  Pure arithmetic.
#ifndef UNIONFS_OVERLAY_BASE_BASE_LAYOUT_H
#define UNIONFS_OVERLAY_BASE_BASE_LAYOUT_H

#include <functional>
#include <vector>

#include "fsparse/groups.h"
#include "overlay/base/make_base.h"

namespace unionfs {

// What two bases share is counted in pieces: aligned parts of the image.
constexpr uint64_t kPieceBytes = 65536;

// A block among those of all whole pieces that no metadata lies in, counted as if nothing lay
// between them.
using DataPosition = Position<struct DataWorld, uint64_t>;

// The value and such a part of the power of two below it at most, so that similar values are
// rounded to the same.  At least a multiple of `least`.  `parts` and `least` are powers of two.
uint64_t round_to_part(uint64_t value, uint64_t parts, uint64_t least);

// Immutable; thread-safe.
class BaseLayout {
 public:
  // The smallest image, or that of the size asked for, with these many inodes (the reserved ones
  // among them) and blocks in pieces.  kInvalid if there is none.
  static Result<BaseLayout> make(const BaseOptions& options, uint64_t inode_count,
                                 DataPosition data_end);

  const Layout& layout() const { return layout_; }
  // Places, and counters of an image without files.
  const std::vector<Group>& groups() const { return groups_; }
  // Blocks of metadata that the group begins with.
  uint64_t metadata_block_count(GroupNumber group) const;
  // Blocks in pieces.
  uint64_t data_block_count() const;
  BlockNumber block_at(DataPosition position) const;
  // Calls visit for the blocks of [begin, end) in order, as few ranges as there are.
  void for_each_range(DataPosition begin, DataPosition end,
                      const std::function<void(BlockRange)>& visit) const;

 private:
  explicit BaseLayout(const Layout& layout) : layout_(layout) {}

  static std::optional<BaseLayout> of_size(const BaseOptions& options, uint64_t inode_count);
  static std::optional<BaseLayout> try_size(const BaseOptions& options, uint64_t block_count,
                                            uint64_t inode_count);
  void place_groups();

  // The pieces of one group; only groups that have some.
  struct PieceRun {
    DataPosition first;
    BlockRange blocks;
  };
  const PieceRun& run_of(DataPosition position) const;

  Layout layout_;
  std::vector<Group> groups_;
  std::vector<PieceRun> runs_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_BASE_BASE_LAYOUT_H
