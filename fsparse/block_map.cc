// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/block_map.h"

#include <cstring>
#include <unordered_set>

namespace unionfs {
namespace {

constexpr const char* kLevelNames[] = {"block", "indirect block", "double indirect block",
                                       "triple indirect block"};

// The state of one walk.  Recursion is at most kMaxLevel deep.
class Walk {
 public:
  Walk(const Volume& volume, const InodeRecord& inode, const BlockVisitor& visitor)
      : volume_(volume),
        inode_(inode),
        visitor_(visitor),
        pointers_per_block_(volume.layout().pointers_per_block()) {}

  Result<void> run() {
    for (uint32_t slot = 0; slot < ext2::kBlockSlots && !stopped_; ++slot) {
      UNIONFS_TRY(visit(role_of_slot(pointers_per_block_, slot), inode_.pointer(slot)));
    }
    return {};
  }

 private:
  Result<void> visit(BlockRole role, ClaimedBlock claimed) {
    if (claimed.is_none()) {
      return {};
    }
    UNIONFS_ASSIGN(const BlockNumber block,
                   check_pointer(volume_, inode_.number(), role.level, claimed));
    if (++visited_count_ > volume_.layout().block_count) {
      return corrupt("{}: inode {}: has more blocks than the image ({})", volume_.name(),
                     inode_.number(), volume_.layout().block_count);
    }
    if (role.level != 0 && !indirect_blocks_.insert(block.value()).second) {
      return corrupt("{}: inode {}: {} {} is used twice", volume_.name(), inode_.number(),
                     kLevelNames[role.level], block);
    }
    UNIONFS_ASSIGN(const WalkStep step, visitor_(role, block));
    if (step == WalkStep::kStop) {
      stopped_ = true;
      return {};
    }
    if (role.level == 0 || step == WalkStep::kSkipBelow) {
      return {};
    }
    return visit_below(role, block);
  }

  Result<void> visit_below(BlockRole role, BlockNumber block) {
    UNIONFS_ASSIGN(const std::vector<ClaimedBlock> pointers, read_pointers(volume_, block));
    for (uint32_t i = 0; i < pointers.size() && !stopped_; ++i) {
      UNIONFS_TRY(visit(role_of_child(pointers_per_block_, role, i), pointers[i]));
    }
    return {};
  }

  const Volume& volume_;
  const InodeRecord& inode_;
  const BlockVisitor& visitor_;
  const uint32_t pointers_per_block_;
  uint64_t visited_count_ = 0;
  std::unordered_set<uint64_t> indirect_blocks_;
  bool stopped_ = false;
};

}  // namespace

Result<BlockNumber> check_pointer(const Volume& volume, InodeNumber owner, Level level,
                                  ClaimedBlock claimed) {
  const std::optional<BlockNumber> inside = volume.layout().block(claimed);
  const char* what = nullptr;
  if (!inside) {
    return corrupt("{}: inode {}: {} {} is outside the image ({} blocks)", volume.name(), owner,
                   kLevelNames[level], claimed, volume.layout().block_count);
  }
  const BlockNumber block = *inside;
  // mke2fs lists bad blocks in backups and tables too; they are never read.
  if (owner.value() == ext2::kBadBlocksInode && level == 0) {
    return block;
  }
  if (volume.is_metadata(block)) {
    what = "the file system's own metadata";
  } else if (owner.value() != ext2::kResizeInode && volume.is_reserved_for_descriptors(block)) {
    what = "reserved for group descriptors";
  }
  if (what != nullptr) {
    return corrupt("{}: inode {}: {} {} is {}", volume.name(), owner, kLevelNames[level], block,
                   what);
  }
  return block;
}

Result<std::vector<ClaimedBlock>> read_pointers(const Volume& volume, BlockNumber block) {
  std::vector<std::byte> bytes(volume.layout().block_size_bytes);
  UNIONFS_TRY(volume.read_block(block, bytes));
  std::vector<ClaimedBlock> pointers;
  pointers.reserve(volume.layout().pointers_per_block());
  for (size_t offset = 0; offset < bytes.size(); offset += sizeof(Le32)) {
    Le32 pointer;
    std::memcpy(&pointer, bytes.data() + offset, sizeof(pointer));
    pointers.emplace_back(pointer.value());
  }
  return pointers;
}

Result<void> walk_block_map(const Volume& volume, const InodeRecord& inode,
                            const BlockVisitor& visitor) {
  if (!inode.has_block_map()) {
    return {};
  }
  return Walk(volume, inode, visitor).run();
}

Result<std::optional<BlockNumber>> map_block(const Volume& volume, const InodeRecord& inode,
                                             BlockRole role) {
  const Layout& layout = volume.layout();
  const std::optional<BlockPath> path = path_of(layout.pointers_per_block(), role);
  if (!path) {
    return invalid("{}: inode {}: file block {} has no place at level {} of a block map",
                   volume.name(), inode.number(), role.first, role.level);
  }
  if (!inode.has_block_map()) {
    return std::nullopt;
  }
  ClaimedBlock claimed = inode.pointer(path->slot);
  for (uint32_t depth = 0;; ++depth) {
    if (claimed.is_none()) {
      return std::nullopt;
    }
    UNIONFS_ASSIGN(
        const BlockNumber block,
        check_pointer(volume, inode.number(), role.level + path->depth - depth, claimed));
    if (depth == path->depth) {
      return block;
    }
    UNIONFS_ASSIGN(
        const Le32 pointer,
        read_structure<Le32>(volume.image(), layout.offset_of(block) +
                                                 uint64_t{path->indices[depth]} * sizeof(Le32)));
    claimed = ClaimedBlock(pointer);
  }
}

Result<std::optional<BlockNumber>> map_block(const Volume& volume, const InodeRecord& inode,
                                             FileBlock block) {
  return map_block(volume, inode, BlockRole{0, block});
}

}  // namespace unionfs
