// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/paired_walk.h"

#include <unordered_set>
#include <vector>

namespace unionfs {
namespace {

// The state of one walk.  Recursion is at most kMaxLevel deep.
class PairedWalk {
 public:
  PairedWalk(const Volume& volume, InodeNumber inode, const Volume& other, PairedVisitor& visitor)
      : volume_(volume),
        inode_(inode),
        other_(other),
        visitor_(visitor),
        pointers_per_block_(volume.layout().pointers_per_block()) {}

  Result<SlotPointers> run(SlotPointers slots, const SlotPointers& below) {
    for (uint32_t slot = 0; slot < slots.size(); ++slot) {
      UNIONFS_TRY(visit(role_of_slot(pointers_per_block_, slot), slots[slot], below[slot]));
    }
    return slots;
  }

 private:
  // Clears the pointer unless it is kept.
  Result<void> visit(BlockRole role, ClaimedBlock& pointer, ClaimedBlock below) {
    if (pointer.is_none()) {
      return below.is_none() ? Result<void>() : visitor_.hole(role, below);
    }
    UNIONFS_ASSIGN(const BlockNumber block, check_pointer(volume_, inode_, role.level, pointer));
    const PairedBlock place{role, block, below};
    UNIONFS_ASSIGN(const PairedStep step, visitor_.enter(place));
    UNIONFS_TRY(count(place, step));
    if (step == PairedStep::kSkip) {
      return {};
    }
    std::vector<ClaimedBlock> kept;
    if (role.level > 0) {
      UNIONFS_ASSIGN(kept, visit_below(place));
    }
    UNIONFS_ASSIGN(const bool is_kept, visitor_.leave(place, kept));
    if (!is_kept) {
      pointer = ClaimedBlock();
    }
    return {};
  }

  // Returns the pointers in an indirect block that are kept.
  Result<std::vector<ClaimedBlock>> visit_below(const PairedBlock& place) {
    UNIONFS_ASSIGN(std::vector<ClaimedBlock> pointers, read_pointers(volume_, place.block));
    std::vector<ClaimedBlock> below(pointers.size());
    if (const auto other = other_.file_block(place.below)) {
      UNIONFS_ASSIGN(below, read_pointers(other_, *other));
    }
    for (uint32_t i = 0; i < pointers.size(); ++i) {
      UNIONFS_TRY(visit(role_of_child(pointers_per_block_, place.role, i), pointers[i], below[i]));
    }
    return pointers;
  }

  // Bounds the walk.
  Result<void> count(const PairedBlock& place, PairedStep step) {
    if (++visited_count_ > volume_.layout().block_count) {
      return corrupt("{}: inode {}: has more blocks than the image ({})", volume_.name(), inode_,
                     volume_.layout().block_count);
    }
    if (place.role.level > 0 && step == PairedStep::kContinue &&
        !indirect_blocks_.insert(place.block.value()).second) {
      return corrupt("{}: inode {}: indirect block {} is used twice", volume_.name(), inode_,
                     place.block);
    }
    return {};
  }

  const Volume& volume_;
  const InodeNumber inode_;
  const Volume& other_;
  PairedVisitor& visitor_;
  const uint32_t pointers_per_block_;
  uint64_t visited_count_ = 0;
  std::unordered_set<uint64_t> indirect_blocks_;
};

}  // namespace

SlotPointers slot_pointers(const InodeRecord& inode) {
  SlotPointers pointers = {};
  for (uint32_t slot = 0; slot < pointers.size() && inode.has_block_map(); ++slot) {
    pointers[slot] = inode.pointer(slot);
  }
  return pointers;
}

Result<bool> PairedVisitor::leave(const PairedBlock&, std::span<const ClaimedBlock>) {
  return true;
}

Result<void> PairedVisitor::hole(BlockRole, ClaimedBlock) {
  return {};
}

Result<SlotPointers> walk_paired(const Volume& volume, const InodeRecord& inode,
                                 const Volume& other, const SlotPointers& below,
                                 PairedVisitor& visitor) {
  if (!inode.has_block_map()) {
    return SlotPointers{};
  }
  return PairedWalk(volume, inode.number(), other, visitor).run(slot_pointers(inode), below);
}

}  // namespace unionfs
