// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/inode_changes.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "fsparse/bytes.h"
#include "fsparse/paired_walk.h"
#include "fsparse/symlink.h"
#include "fsparse/xattr.h"

namespace unionfs {
namespace {

// Compares data blocks of the merged image with those of the lower, many at a time where they
// follow one another on both sides.
class BlockPairs {
 public:
  BlockPairs(const ChangeSources& sources, InodeDifference& difference)
      : from_(sources),
        block_size_(sources.merged.layout().block_size_bytes),
        difference_(difference) {}

  // None: zeros.
  Result<void> add(std::optional<BlockNumber> now, std::optional<BlockNumber> below) {
    const auto follows = [this](std::optional<BlockNumber> first, std::optional<BlockNumber> next) {
      return first ? next && *next == *first + count_ : !next;
    };
    if (count_ == kMostBlocks || !follows(now_, now) || !follows(below_, below)) {
      UNIONFS_TRY(compare());
    }
    if (count_ == 0) {
      now_ = now;
      below_ = below;
    }
    ++count_;
    return {};
  }

  // What was added since the last time.
  Result<void> compare() {
    const uint64_t count = std::exchange(count_, 0);
    UNIONFS_TRY(read(from_.merged, now_, count, now_bytes_));
    UNIONFS_TRY(read(from_.lower, below_, count, below_bytes_));
    for (uint64_t at = 0; at < count * block_size_; at += block_size_) {
      if (!same_bytes(ByteSpan(now_bytes_).subspan(at, block_size_),
                      ByteSpan(below_bytes_).subspan(at, block_size_))) {
        difference_.is_content = true;
        difference_.changed_bytes += block_size_;
      }
    }
    return {};
  }

 private:
  static constexpr uint64_t kMostBlocks = 32;

  Result<void> read(const Volume& image, std::optional<BlockNumber> first, uint64_t count,
                    std::vector<std::byte>& bytes) const {
    bytes.resize(count * block_size_);
    if (first && count > 0) {
      return image.image().read(image.layout().offset_of(*first), bytes);
    }
    std::fill(bytes.begin(), bytes.end(), std::byte{0});
    return {};
  }

  const ChangeSources& from_;
  const uint32_t block_size_;
  InodeDifference& difference_;
  std::optional<BlockNumber> now_;
  std::optional<BlockNumber> below_;
  uint64_t count_ = 0;
  std::vector<std::byte> now_bytes_;
  std::vector<std::byte> below_bytes_;
};

// Compares what the layer and the lower have in each role of a file.  A hole of
// the layer shows the lower's block, unless that is whited out.
class ContentComparison final : public PairedVisitor {
 public:
  ContentComparison(const ChangeSources& sources, const BlockSet& block_whiteouts,
                    InodeDifference& difference)
      : from_(sources),
        block_size_(sources.merged.layout().block_size_bytes),
        block_whiteouts_(block_whiteouts),
        difference_(difference),
        pairs_(sources, difference) {}

  Result<PairedStep> enter(const PairedBlock& place) override {
    if (place.role.level == 0) {
      UNIONFS_TRY(pairs_.add(place.block, from_.lower.file_block(place.below)));
    }
    return PairedStep::kContinue;
  }

  Result<void> hole(BlockRole role, ClaimedBlock below) override {
    const bool is_whited_out = whited_out(below).has_value();
    difference_.has_blocks_of_lower |= from_.lower.file_block(below) && !is_whited_out;
    if (is_whited_out) {
      difference_.is_content = true;
      uint64_t visits = 0;
      UNIONFS_ASSIGN(const uint64_t gone, count_whited_out(role.level, below, visits));
      difference_.changed_bytes += gone * block_size_;
    }
    return {};
  }

  Result<void> finish() { return pairs_.compare(); }

 private:
  // The block, if it is one of the lower that is whited out.
  std::optional<BlockNumber> whited_out(ClaimedBlock claimed) const {
    const std::optional<BlockNumber> block = from_.lower.file_block(claimed);
    return block && block_whiteouts_.test(*block) ? block : std::nullopt;
  }

  // Data blocks that are whited out at or below this one of the lower.
  Result<uint64_t> count_whited_out(Level level, ClaimedBlock claimed, uint64_t& visits) const {
    const std::optional<BlockNumber> block = whited_out(claimed);
    if (!block) {
      return uint64_t{0};
    }
    if (++visits > from_.lower.layout().block_count) {
      return corrupt("{}: block {}: is an indirect block of more blocks than there are",
                     from_.lower.name(), *block);
    }
    if (level == 0) {
      return uint64_t{1};
    }
    UNIONFS_ASSIGN(const std::vector<ClaimedBlock> pointers, read_pointers(from_.lower, *block));
    uint64_t count = 0;
    for (const ClaimedBlock pointer : pointers) {
      UNIONFS_ASSIGN(const uint64_t here, count_whited_out(level - 1, pointer, visits));
      count += here;
    }
    return count;
  }

  const ChangeSources& from_;
  const uint32_t block_size_;
  const BlockSet& block_whiteouts_;
  InodeDifference& difference_;
  BlockPairs pairs_;
};

// Compares two files of which one has taken the other's name: all of their content.
class ReplacedContent final : public PairedVisitor {
 public:
  ReplacedContent(const ChangeSources& sources, InodeDifference& difference)
      : from_(sources), pairs_(sources, difference) {}

  Result<PairedStep> enter(const PairedBlock& place) override {
    if (place.role.level == 0) {
      UNIONFS_TRY(pairs_.add(place.block, from_.lower.file_block(place.below)));
    }
    return PairedStep::kContinue;
  }

  // What the lower has here reads as zeros now.
  Result<void> hole(BlockRole role, ClaimedBlock below) override {
    const std::optional<BlockNumber> block = from_.lower.file_block(below);
    if (!block) {
      return {};
    }
    if (++visits_ > from_.lower.layout().block_count) {
      return corrupt("{}: block {}: is an indirect block of more blocks than there are",
                     from_.lower.name(), *block);
    }
    if (role.level == 0) {
      return pairs_.add(std::nullopt, block);
    }
    UNIONFS_ASSIGN(const std::vector<ClaimedBlock> pointers, read_pointers(from_.lower, *block));
    for (uint32_t i = 0; i < pointers.size(); ++i) {
      if (!pointers[i].is_none()) {
        UNIONFS_TRY(
            hole(role_of_child(static_cast<uint32_t>(pointers.size()), role, i), pointers[i]));
      }
    }
    return {};
  }

  Result<void> finish() { return pairs_.compare(); }

 private:
  const ChangeSources& from_;
  BlockPairs pairs_;
  uint64_t visits_ = 0;  // of blocks of the lower that stand beside a hole
};

std::vector<std::pair<std::string, std::vector<std::byte>>> sorted_attributes(
    std::vector<Attribute> attributes) {
  std::vector<std::pair<std::string, std::vector<std::byte>>> sorted;
  sorted.reserve(attributes.size());
  for (Attribute& attribute : attributes) {
    sorted.emplace_back(attribute.full_name(), std::move(attribute.value));
  }
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

bool has_other_time(const InodeRecord& below, const InodeRecord& now) {
  const auto below_extra = below.extra();
  const auto now_extra = now.extra();
  return below.raw().i_mtime.value() != now.raw().i_mtime.value() ||
         (below_extra && now_extra &&
          below_extra->i_mtime_extra.value() != now_extra->i_mtime_extra.value());
}

}  // namespace

Result<const InodeDifference*> InodeChanges::difference(InodeNumber below, InodeNumber now,
                                                        bool are_names_changed) {
  const auto key = std::pair(below, now);
  if (const auto known = differences_.find(key); known != differences_.end()) {
    return &known->second;
  }
  InodeDifference difference;
  UNIONFS_ASSIGN(const InodeRecord old_record, read_inode(from_.lower, below));
  UNIONFS_ASSIGN(const InodeRecord new_record, read_inode(from_.merged, now));
  UNIONFS_TRY(compare_content(old_record, new_record, difference));
  UNIONFS_TRY(compare_metadata(old_record, new_record, are_names_changed, difference));
  return &differences_.emplace(key, std::move(difference)).first->second;
}

Result<void> InodeChanges::compare_content(const InodeRecord& below, const InodeRecord& now,
                                           InodeDifference& difference) const {
  if (now.is_symlink()) {
    UNIONFS_ASSIGN(const std::string old_target, read_symlink(from_.lower, below));
    UNIONFS_ASSIGN(const std::string new_target, read_symlink(from_.merged, now));
    difference.is_content = old_target != new_target;
  } else if (now.is_device()) {
    difference.is_content =
        below.pointer(0) != now.pointer(0) || below.pointer(1) != now.pointer(1);
  } else if (now.is_regular()) {
    difference.is_content = below.size_bytes() != now.size_bytes();
    const bool falls_through =
        below.number() == now.number() && !inode_whiteouts_.test(now.number());
    return falls_through ? compare_blocks(below, now, difference)
                         : compare_replaced(below, now, difference);
  }
  return {};
}

Result<void> InodeChanges::compare_blocks(const InodeRecord& below, const InodeRecord& now,
                                          InodeDifference& difference) const {
  UNIONFS_ASSIGN(const InodeRecord own, read_inode(from_.upper, now.number()));
  ContentComparison comparison(from_, block_whiteouts_, difference);
  UNIONFS_TRY(walk_paired(from_.upper, own, from_.lower, slot_pointers(below), comparison));
  return comparison.finish();
}

Result<void> InodeChanges::compare_replaced(const InodeRecord& below, const InodeRecord& now,
                                            InodeDifference& difference) const {
  ReplacedContent comparison(from_, difference);
  UNIONFS_TRY(walk_paired(from_.merged, now, from_.lower, slot_pointers(below), comparison));
  return comparison.finish();
}

// Access and change times do not count, nor does the number of links: a name
// that came or went is a change of its own.
Result<void> InodeChanges::compare_metadata(const InodeRecord& below, const InodeRecord& now,
                                            bool are_names_changed,
                                            InodeDifference& difference) const {
  const auto differs = [&difference](bool is_different, const char* what) {
    if (is_different) {
      difference.metadata.emplace_back(what);
    }
  };
  differs(below.raw().i_mode.value() != now.raw().i_mode.value(), "mode");
  differs(below.user_id() != now.user_id() || below.group_id() != now.group_id(), "owner");
  // Names that came or went give their directory a new time.
  differs(has_other_time(below, now) && !are_names_changed && !difference.is_content, "times");
  constexpr uint32_t kOwnFlags = ext2::kFlagIndex | ext2::kFlagOpaque;
  differs(((below.raw().i_flags ^ now.raw().i_flags) & ~kOwnFlags) != 0, "flags");
  UNIONFS_ASSIGN(std::vector<Attribute> old_attributes, read_attributes(from_.lower, below));
  UNIONFS_ASSIGN(std::vector<Attribute> new_attributes, read_attributes(from_.merged, now));
  differs(
      sorted_attributes(std::move(old_attributes)) != sorted_attributes(std::move(new_attributes)),
      "xattrs");
  return {};
}

}  // namespace unionfs
