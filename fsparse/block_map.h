// SPDX-License-Identifier: BSD-3-Clause
//
// Which blocks a file has: i_block and its trees of indirect blocks.
#ifndef UNIONFS_FSPARSE_BLOCK_MAP_H
#define UNIONFS_FSPARSE_BLOCK_MAP_H

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "fsparse/inode.h"
#include "fsparse/volume.h"

namespace unionfs {

// ---- arithmetic ------------------------------------------------------------
// `pointers_per_block` is block size / 4 everywhere: 256, 512 or 1024.

// How far above the data a block is: 0 data, 1 indirect, 2 double, 3 triple.
using Level = uint32_t;
constexpr Level kMaxLevel = 3;

// What a block is to its inode: how far above the data, and the first file
// block it holds or could lead to.
struct BlockRole {
  Level level = 0;
  FileBlock first;

  constexpr auto operator<=>(const BlockRole&) const = default;
};

// Data blocks that one block of this level can lead to.
constexpr uint64_t blocks_below(uint32_t pointers_per_block, Level level) {
  uint64_t count = 1;
  for (Level i = 0; i < level; ++i) {
    count *= pointers_per_block;
  }
  return count;
}

constexpr Level level_of_slot(uint32_t slot) {
  return slot < ext2::kDirectBlocks ? 0 : slot - ext2::kDirectBlocks + 1;
}

// What the block that i_block[slot] points to is.
constexpr BlockRole role_of_slot(uint32_t pointers_per_block, uint32_t slot) {
  if (slot < ext2::kDirectBlocks) {
    return {0, FileBlock(slot)};
  }
  uint64_t first = ext2::kDirectBlocks;
  for (Level level = 1; level < level_of_slot(slot); ++level) {
    first += blocks_below(pointers_per_block, level);
  }
  return {level_of_slot(slot), FileBlock(first)};
}

// What the block that pointer `index` of an indirect block points to is.
constexpr BlockRole role_of_child(uint32_t pointers_per_block, BlockRole parent, uint32_t index) {
  return {parent.level - 1,
          parent.first + index * blocks_below(pointers_per_block, parent.level - 1)};
}

// Blocks a file can have: the first file block that no pointer leads to.
constexpr uint64_t max_file_blocks(uint32_t pointers_per_block) {
  return role_of_slot(pointers_per_block, ext2::kTripleIndirectSlot).first.value() +
         blocks_below(pointers_per_block, kMaxLevel);
}

// The way from an inode to one of its blocks: i_block[slot], then, through
// `depth` indirect blocks, pointer indices[0] .. indices[depth - 1].
struct BlockPath {
  uint32_t slot = 0;
  uint32_t depth = 0;
  std::array<uint32_t, kMaxLevel> indices = {};

  constexpr bool operator==(const BlockPath&) const = default;
};

// Nothing for a file block beyond the maximum, or one that is not the first of
// a block of that level.
constexpr std::optional<BlockPath> path_of(uint32_t pointers_per_block, BlockRole role) {
  if (role.level > kMaxLevel || role.first.value() >= max_file_blocks(pointers_per_block)) {
    return std::nullopt;
  }
  BlockPath path;
  if (role.first.value() < ext2::kDirectBlocks) {
    if (role.level != 0) {
      return std::nullopt;
    }
    path.slot = static_cast<uint32_t>(role.first.value());
    return path;
  }
  path.slot = ext2::kTripleIndirectSlot;
  while (role.first < role_of_slot(pointers_per_block, path.slot).first) {
    --path.slot;
  }
  const Level top_level = level_of_slot(path.slot);
  if (role.level > top_level) {
    return std::nullopt;
  }
  uint64_t rest = role.first - role_of_slot(pointers_per_block, path.slot).first;
  for (Level level = top_level; level > role.level; --level) {
    const uint64_t below = blocks_below(pointers_per_block, level - 1);
    path.indices[path.depth] = static_cast<uint32_t>(rest / below);
    ++path.depth;
    rest %= below;
  }
  if (rest != 0) {
    return std::nullopt;
  }
  return path;
}

constexpr std::optional<BlockPath> path_of(uint32_t pointers_per_block, FileBlock block) {
  return path_of(pointers_per_block, BlockRole{0, block});
}

// ---- reading ---------------------------------------------------------------

// The block of a pointer that is not 0: inside the image, not in the file system's
// own metadata, not kept back for descriptors (those belong to the resize
// inode).  `owner` is for the message and for the exceptions inodes 1 and 7.
Result<BlockNumber> check_pointer(const Volume& volume, InodeNumber owner, Level level,
                                  ClaimedBlock claimed);

// Reads an indirect block as its pointers, none for a hole.
Result<std::vector<ClaimedBlock>> read_pointers(const Volume& volume, BlockNumber block);

enum class WalkStep {
  kContinue,
  kSkipBelow,  // of an indirect block: do not read it, go on behind what it leads to
  kStop,       // end the walk with success
};

using BlockVisitor = std::function<Result<WalkStep>(BlockRole, BlockNumber)>;

// Visits every mapped block in file order, an indirect block before what is
// below it; holes are left out.  Each pointer is checked before it is visited.
// Ends early, with an error, at a wrong pointer, at an indirect block used
// twice, and after more blocks than the image has.  No block for inodes without
// a block map.  An error that the visitor returns ends the walk and is returned.
Result<void> walk_block_map(const Volume& volume, const InodeRecord& inode,
                            const BlockVisitor& visitor);

// The block in one role, checked; nothing for a hole (of any level) and for
// inodes without a block map.  Beyond the maximum: an error.
Result<std::optional<BlockNumber>> map_block(const Volume& volume, const InodeRecord& inode,
                                             BlockRole role);
Result<std::optional<BlockNumber>> map_block(const Volume& volume, const InodeRecord& inode,
                                             FileBlock block);

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_BLOCK_MAP_H
