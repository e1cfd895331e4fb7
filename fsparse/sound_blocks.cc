// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/sound_blocks.h"

#include <optional>
#include <unordered_set>

namespace unionfs {
namespace {

// The state of one walk.  Recursion is at most kMaxLevel deep.
class SoundWalk {
 public:
  SoundWalk(const Volume& volume, const InodeRecord& inode, const BlockVisitor& visitor)
      : volume_(volume),
        inode_(inode),
        visitor_(visitor),
        left_(volume.layout().block_count),
        pointers_per_block_(volume.layout().pointers_per_block()) {}

  Result<void> run() {
    for (uint32_t slot = 0; slot < ext2::kBlockSlots; ++slot) {
      UNIONFS_TRY(visit(role_of_slot(pointers_per_block_, slot), inode_.pointer(slot)));
    }
    return {};
  }

 private:
  Result<void> visit(BlockRole role, ClaimedBlock claimed) {
    const std::optional<BlockNumber> block = left_ > 0 ? sound(role, claimed) : std::nullopt;
    if (!block) {
      return {};
    }
    --left_;
    UNIONFS_ASSIGN(const WalkStep step, visitor_(role, *block));
    left_ = step == WalkStep::kStop ? 0 : left_;
    if (role.level == 0 || step != WalkStep::kContinue) {
      return {};
    }
    UNIONFS_ASSIGN(const std::vector<ClaimedBlock> pointers, read_pointers(volume_, *block));
    for (uint32_t i = 0; i < pointers.size(); ++i) {
      UNIONFS_TRY(visit(role_of_child(pointers_per_block_, role, i), pointers[i]));
    }
    return {};
  }

  std::optional<BlockNumber> sound(BlockRole role, ClaimedBlock claimed) {
    if (claimed.is_none()) {
      return std::nullopt;
    }
    const auto block = check_pointer(volume_, inode_.number(), role.level, claimed);
    if (!block || (role.level > 0 && !indirect_blocks_.insert(block->value()).second)) {
      return std::nullopt;
    }
    return *block;
  }

  const Volume& volume_;
  const InodeRecord& inode_;
  const BlockVisitor& visitor_;
  uint64_t left_;  // blocks that may still be visited
  const uint32_t pointers_per_block_;
  std::unordered_set<uint64_t> indirect_blocks_;
};

}  // namespace

Result<void> walk_sound_blocks(const Volume& volume, const InodeRecord& inode,
                               const BlockVisitor& visitor) {
  return inode.has_block_map() ? SoundWalk(volume, inode, visitor).run() : Result<void>();
}

}  // namespace unionfs
