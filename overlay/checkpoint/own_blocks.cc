// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/own_blocks.h"

#include <algorithm>
#include <array>

#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

// Whether a pointer of the lower's file shows where an own file has a 0 in that role.
// A wrong pointer does, too: a reader must not meet it.
bool shows_through(const LayerSources& from, const LayerSets& sets, InodeNumber inode,
                   BlockRole role, ClaimedBlock below) {
  const auto block = check_pointer(from.lower, inode, role.level, below);
  return !block || !sets.block_whiteouts.test(*block);
}

// The walk over one inode's blocks.
class BlockOwner final : public PairedVisitor {
 public:
  BlockOwner(const LayerSources& from, const InodeRecord& record, bool can_fall_through,
             LayerSets& sets, BlockClaims& claims, StagedFile& stage)
      : from_(from),
        record_(record),
        can_fall_through_(can_fall_through),
        sets_(sets),
        claims_(claims),
        stage_(stage) {}

  uint64_t own_blocks() const { return own_blocks_; }
  bool has_doubtful_holes() const { return has_doubtful_holes_; }

  // Claims the block.
  Result<PairedStep> enter(const PairedBlock& place) override {
    UNIONFS_TRY(check_not_cancelled(from_.is_cancelled));
    const BlockNumber block = place.block;
    if (claims_.now.test(block)) {
      return corrupt("{}: inode {}: block {} is used twice", kMergedImage, record_.number(), block);
    }
    UNIONFS_ASSIGN(const bool is_used, from_.used.is_used(block));
    if (!is_used) {
      return corrupt("{}: inode {}: block {} is marked free", kMergedImage, record_.number(),
                     block);
    }
    claims_.now.set(block);
    if (can_fall_through_ && place.role.level > 0 && !place.below.is_none() &&
        !check_pointer(from_.lower, record_.number(), place.role.level, place.below)) {
      has_doubtful_holes_ = true;
    }
    return PairedStep::kContinue;
  }

  Result<void> hole(BlockRole role, ClaimedBlock below) override {
    if (can_fall_through_ &&
        (role.level > 0 || shows_through(from_, sets_, record_.number(), role, below))) {
      has_doubtful_holes_ = true;
    }
    return {};
  }

  // Decides whether the block is own.
  Result<bool> leave(const PairedBlock& place, std::span<const ClaimedBlock> kept) override {
    const BlockNumber block = place.block;
    const bool owns_below =
        std::any_of(kept.begin(), kept.end(), [](ClaimedBlock b) { return !b.is_none(); });
    UNIONFS_ASSIGN(const bool falls, falls_through(place));
    UNIONFS_ASSIGN(const bool used_below, from_.used_below.is_used(block));
    if (used_below && block != place.below) {
      sets_.block_whiteouts.set(block);  // claimed in another role than the lower's
    }
    if (falls && !owns_below) {
      sets_.own_blocks.clear(block);
      sets_.translated.erase(block);
      return false;
    }
    sets_.own_blocks.set(block);
    ++own_blocks_;
    UNIONFS_TRY(place.role.level > 0 ? own_indirect(place, kept) : own_content(place));
    return true;
  }

 private:
  Result<bool> falls_through(const PairedBlock& place) const {
    if (!can_fall_through_ || place.block != place.below || from_.was_own(place.block) ||
        sets_.block_whiteouts.test(place.block)) {
      return false;
    }
    UNIONFS_ASSIGN(const bool used_below, from_.used_below.is_used(place.block));
    if (!used_below) {
      return false;
    }
    UNIONFS_ASSIGN(const bool is_changed, from_.is_changed(place.block));
    return !is_changed;
  }

  Result<void> own_indirect(const PairedBlock& place, std::span<const ClaimedBlock> kept) {
    translate(place, TranslatedKind::kIndirect);
    std::vector<Le32> raw(kept.size());
    std::transform(kept.begin(), kept.end(), raw.begin(),
                   [](ClaimedBlock pointer) { return Le32(pointer.value()); });
    return stage_.write(from_.offset_of(place.block), std::as_bytes(std::span(raw)));
  }

  // The content of a file lies at the same offset of the upper as in the merged
  // image; only what never lay there has to be brought.
  Result<void> own_content(const PairedBlock& place) {
    const BlockNumber block = place.block;
    if (record_.is_directory() || record_.is_symlink()) {
      translate(place,
                record_.is_symlink() ? TranslatedKind::kSymlink : TranslatedKind::kDirectory);
      return stage_merged(block);
    }
    sets_.translated.erase(block);
    const bool was_translated = from_.layer.translated(block) != nullptr;
    if (!was_translated && (from_.bitmap.test(block) || from_.was_own(block))) {
      return {};
    }
    return stage_merged(block);
  }

  void translate(const PairedBlock& place, TranslatedKind kind) {
    sets_.translated[place.block] = {place.block, record_.number(),
                                     static_cast<uint32_t>(place.role.first.value()), kind,
                                     static_cast<uint8_t>(place.role.level)};
  }

  Result<void> stage_merged(BlockNumber block) {
    std::array<std::byte, ext2::kMaxBlockSizeBytes> bytes;
    const ByteSpan content = ByteSpan(bytes).first(from_.layout().block_size_bytes);
    UNIONFS_TRY(from_.merged.read_block(block, content));
    return stage_.write(from_.offset_of(block), content);
  }

  const LayerSources& from_;
  const InodeRecord& record_;
  const bool can_fall_through_;
  LayerSets& sets_;
  BlockClaims& claims_;
  StagedFile& stage_;
  uint64_t own_blocks_ = 0;
  bool has_doubtful_holes_ = false;
};

// Looks at the holes again, when it is known what is whited out.
class HoleLooker final : public PairedVisitor {
 public:
  HoleLooker(const LayerSources& from, const LayerSets& sets, InodeNumber inode)
      : from_(from), sets_(sets), inode_(inode) {}

  bool are_holes() const { return are_holes_; }

  Result<PairedStep> enter(const PairedBlock& place) override {
    UNIONFS_TRY(check_not_cancelled(from_.is_cancelled));
    if (place.role.level > 0 && !place.below.is_none() &&
        !check_pointer(from_.lower, inode_, place.role.level, place.below)) {
      are_holes_ = false;
    }
    return are_holes_ ? PairedStep::kContinue : PairedStep::kSkip;
  }

  // Also of what hangs below: a level above asks for it by its role alone.
  Result<void> hole(BlockRole role, ClaimedBlock below) override {
    UNIONFS_TRY(check_not_cancelled(from_.is_cancelled));
    const auto block = check_pointer(from_.lower, inode_, role.level, below);
    are_holes_ = are_holes_ && block && sets_.block_whiteouts.test(*block) &&
                 (role.level == 0 || indirect_blocks_.insert(*block).second);
    if (!are_holes_ || role.level == 0) {
      return {};
    }
    UNIONFS_ASSIGN(const std::vector<ClaimedBlock> pointers, read_pointers(from_.lower, *block));
    for (uint32_t i = 0; i < pointers.size(); ++i) {
      if (!pointers[i].is_none()) {
        UNIONFS_TRY(hole(role_of_child(from_.layout().pointers_per_block(), role, i), pointers[i]));
      }
    }
    return {};
  }

 private:
  const LayerSources& from_;
  const LayerSets& sets_;
  const InodeNumber inode_;
  bool are_holes_ = true;
  std::set<BlockNumber> indirect_blocks_;  // of the lower, below holes
};

// What the lower has under the same number.
struct FileBelow {
  SlotPointers slots = {};        // of an inode of the same type; else 0
  bool can_fall_through = false;  // to them
};

Result<FileBelow> file_below(const LayerSources& from, const InodeRecord& record,
                             const LayerSets& sets) {
  FileBelow below;
  UNIONFS_ASSIGN(const bool is_below, from.used_below.is_used(record.number()));
  if (is_below && !sets.inode_whiteouts.test(record.number())) {
    UNIONFS_ASSIGN(const InodeRecord lower, read_inode(from.lower, record.number()));
    if (lower.type() == record.type() && lower.has_block_map()) {
      below = {slot_pointers(lower), record.is_regular()};
    }
  }
  return below;
}

}  // namespace

LayerSets::LayerSets(const LayerSources& from)
    : own_inodes(from.layout(), from.layer.own_inodes()),
      own_blocks(from.layout(), from.layer.own_blocks()),
      inode_whiteouts(from.layout(), from.layer.inode_whiteouts()),
      block_whiteouts(from.layout(), from.layer.block_whiteouts()) {
  for (const TranslatedBlock& entry : from.layer.tables().translated) {
    translated[entry.block] = entry;
  }
  for (const KeptXattr& entry : from.layer.tables().kept_xattrs) {
    kept_xattrs[entry.block] = entry;
  }
}

Result<OwnInode> own_file_blocks(const LayerSources& from, InodeRecord record, LayerSets& sets,
                                 BlockClaims& claims, StagedFile& stage) {
  UNIONFS_ASSIGN(const FileBelow below, file_below(from, record, sets));
  BlockOwner owner(from, record, below.can_fall_through, sets, claims, stage);
  UNIONFS_ASSIGN(const SlotPointers pointers,
                 walk_paired(from.merged, record, from.lower, below.slots, owner));
  const uint64_t own_blocks = owner.own_blocks() + (record.file_acl().is_none() ? 0 : 1);
  return OwnInode{std::move(record), pointers, own_blocks, owner.has_doubtful_holes()};
}

Result<OwnInode> own_file_blocks_again(const LayerSources& from, InodeRecord record,
                                       LayerSets& sets, BlockClaims& claims, StagedFile& stage) {
  UNIONFS_TRY(walk_block_map(from.merged, record,
                             [&claims](BlockRole, BlockNumber block) -> Result<WalkStep> {
                               claims.now.clear(block);
                               return WalkStep::kContinue;
                             }));
  return own_file_blocks(from, std::move(record), sets, claims, stage);
}

Result<bool> keeps_holes(const LayerSources& from, const InodeRecord& record,
                         const LayerSets& sets) {
  UNIONFS_ASSIGN(const FileBelow below, file_below(from, record, sets));
  HoleLooker looker(from, sets, record.number());
  UNIONFS_TRY(walk_paired(from.merged, record, from.lower, below.slots, looker));
  return looker.are_holes();
}

}  // namespace unionfs
