// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/inode_check.h"

#include "fsparse/paired_walk.h"
#include "fsparse/xattr.h"
#include "overlay/checkpoint/own_xattrs.h"

namespace unionfs {
namespace {

// What the checks of all inodes share.
struct Shared {
  const LayerNumbers& numbers;
  LowerSide& lower;
  Violations& violations;
  OwnFiles& files;
  uint32_t block_size_bytes;

  // Of a block that the lower uses for something else.
  void check_other_role(InodeNumber inode, BlockNumber block) const {
    if (!numbers.block_whiteouts.test(block)) {
      files.missing_whiteouts.insert(block);
      violations.add_mendable(
          "inode {}: block {} has another role in the lower, but is not whited out", inode, block);
    }
  }
};

// Takes each own block of one inode, beside the block that the lower has in the
// same role.
class OwnBlocks final : public PairedVisitor {
 public:
  OwnBlocks(const Shared& shared, const InodeRecord& record, uint64_t& block_count)
      : shared_(shared),
        inode_(record.number()),
        data_kind_(record.is_symlink() ? TranslatedKind::kSymlink : TranslatedKind::kDirectory),
        is_plain_data_(!record.is_directory() && !record.is_symlink()),
        end_(record.is_directory() ? divide_round_up(record.size_bytes(), shared.block_size_bytes)
                                   : UINT64_MAX),
        block_count_(block_count) {}

  Result<PairedStep> enter(const PairedBlock& place) override {
    OwnFiles& files = shared_.files;
    if (files.blocks.test(place.block)) {
      shared_.violations.add("inode {}: own block {} is used twice", inode_, place.block);
      return PairedStep::kSkip;
    }
    files.blocks.set(place.block);
    ++block_count_;
    UNIONFS_TRY(check_marks(place.block, place.below));
    const BlockRole role = place.role;
    if (role.level == 0 && role.first.value() >= end_) {
      // Nobody looks for names there, so whatever it has passes through as it is.
      shared_.violations.add("inode {}: block {} is block {} of a directory of {}", inode_,
                             place.block, role.first, end_);
    } else if (role.level > 0 || !is_plain_data_) {
      files.translated[place.block] = {place.block, inode_,
                                       static_cast<uint32_t>(role.first.value()),
                                       role.level > 0 ? TranslatedKind::kIndirect : data_kind_,
                                       static_cast<uint8_t>(role.level)};
    }
    return PairedStep::kContinue;
  }

 private:
  // Whether the block is marked own, and hides what the lower uses it for.
  Result<void> check_marks(BlockNumber block, ClaimedBlock below) {
    if (!shared_.numbers.own_blocks.test(block)) {
      shared_.violations.add_mendable("inode {}: block {} is used, but not marked own", inode_,
                                      block);
    }
    UNIONFS_ASSIGN(const bool used_below, shared_.lower.is_used(block));
    if (used_below && block != below) {
      shared_.check_other_role(inode_, block);
    }
    return {};
  }

  const Shared& shared_;
  const InodeNumber inode_;
  const TranslatedKind data_kind_;  // of its data blocks
  const bool is_plain_data_;        // which are not translated
  const uint64_t end_;              // how many blocks i_size has; without end but in directories
  uint64_t& block_count_;
};

class InodeCheck {
 public:
  InodeCheck(const CheckSources& sources, const LayerNumbers& numbers, LowerSide& lower,
             Violations& violations)
      : from_(sources),
        layout_(sources.layout()),
        numbers_(numbers),
        lower_(lower),
        violations_(violations),
        files_(layout_) {}

  Result<OwnFiles> run() {
    const uint32_t count = layout_.inodes_per_group;
    for (uint32_t number = 0; number < layout_.group_count(); ++number) {
      const ConstByteSpan bits = numbers_.own_inodes.bits().of(GroupNumber(number));
      const uint64_t end = bits.empty() ? 0 : count;
      for (uint64_t bit = 0; (bit = find_set_bit(bits, bit, end)) < end; ++bit) {
        const InodeNumber inode(static_cast<uint32_t>(uint64_t{number} * count + bit + 1));
        const Result<void> walked = check_inode(inode);
        files_.has_all_blocks = files_.has_all_blocks && walked.has_value();
        UNIONFS_TRY(violations_.take(walked));
      }
    }
    return std::move(files_);
  }

 private:
  Result<void> check_inode(InodeNumber inode) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.upper, inode));
    if (!check_record(record)) {
      files_.has_all_blocks = false;
      return {};
    }
    CheckedInode& own = files_.inodes[inode];
    own.is_directory = record.is_directory();
    if (own.is_directory) {
      ++files_.directory_counts[layout_.group_of(inode).value()];
    }
    UNIONFS_TRY(check_blocks(record, own.block_count));
    const uint64_t sectors = own.block_count * (layout_.block_size_bytes / ext2::kSectorSizeBytes);
    if (record.raw().i_blocks != sectors && !is_bad_blocks(inode)) {
      violations_.add_mendable("inode {}: i_blocks is {}, but it has {} own blocks", inode,
                               record.raw().i_blocks, own.block_count);
    }
    return {};
  }

  static bool is_bad_blocks(InodeNumber inode) { return inode.value() == ext2::kBadBlocksInode; }

  // Whether it is an inode whose blocks can be looked at.
  bool check_record(const InodeRecord& record) {
    const InodeNumber inode = record.number();
    const bool is_reserved = inode.value() < layout_.first_inode && inode != kRootDirectory;
    // Of reserved inodes the layer keeps files, and what is left of them.
    if (is_reserved ? !record.is_regular() && record.type() != 0 : !record.has_known_type()) {
      violations_.add("inode {} is marked own, but its i_mode is {:#o}", inode,
                      record.raw().i_mode);
      return false;
    }
    if (record.raw().i_dtime != 0 && !is_reserved) {
      violations_.add("inode {} is marked own, but i_dtime is {}", inode, record.raw().i_dtime);
    }
    if (record.is_opaque() && !record.is_directory()) {
      violations_.add("inode {} is marked opaque, but is no directory", inode);
    }
    return true;
  }

  // What is counted before an error stays counted.
  Result<void> check_blocks(const InodeRecord& record, uint64_t& block_count) {
    const Shared shared{numbers_, lower_, violations_, files_, layout_.block_size_bytes};
    OwnBlocks blocks(shared, record, block_count);
    UNIONFS_ASSIGN(const SlotPointers below, slots_below(record));
    UNIONFS_TRY(walk_paired(from_.upper, record, from_.lower, below, blocks));
    UNIONFS_TRY(check_xattr_block(record));
    block_count += record.file_acl().is_none() ? 0 : 1;
    return {};
  }

  // What the lower has in the slots of the same inode; none where it is another file.
  Result<SlotPointers> slots_below(const InodeRecord& record) {
    UNIONFS_ASSIGN(const bool is_below, lower_.is_used(record.number()));
    if (!is_below || numbers_.inode_whiteouts.test(record.number())) {
      return SlotPointers{};
    }
    UNIONFS_ASSIGN(const InodeRecord lower, lower_.inode(record.number()));
    return lower.type() == record.type() ? slot_pointers(lower) : SlotPointers{};
  }

  Result<void> check_xattr_block(const InodeRecord& record) {
    if (record.file_acl().is_none()) {
      return {};
    }
    UNIONFS_ASSIGN(const BlockNumber block,
                   check_pointer(from_.upper, record.number(), 0, record.file_acl()));
    if (files_.blocks.test(block) && !xattr_blocks_.contains(block)) {
      violations_.add("inode {}: xattr block {} is used twice", record.number(), block);
      return {};
    }
    if (!numbers_.own_blocks.test(block)) {
      violations_.add_mendable("inode {}: xattr block {} is used, but not marked own",
                               record.number(), block);
    }
    files_.blocks.set(block);
    if (xattr_blocks_.insert(block).second) {
      files_.translated[block] = {block, record.number(), 0, TranslatedKind::kXattr, 0};
      UNIONFS_ASSIGN(const bool used_below, lower_.is_used(block));
      if (used_below) {
        UNIONFS_ASSIGN(const bool was_xattr, is_xattr_block(from_.lower, block));
        if (!was_xattr) {
          Shared{numbers_, lower_, violations_, files_, layout_.block_size_bytes}.check_other_role(
              record.number(), block);
        }
      }
      UNIONFS_TRY(read_attributes(from_.upper, record));
    }
    ++files_.xattr_users[block];
    return {};
  }

  const CheckSources& from_;
  const Layout& layout_;
  const LayerNumbers& numbers_;
  LowerSide& lower_;
  Violations& violations_;
  OwnFiles files_;
  std::set<BlockNumber> xattr_blocks_;  // also those that could not be read
};

}  // namespace

Result<OwnFiles> check_inodes(const CheckSources& sources, const LayerNumbers& numbers,
                              LowerSide& lower, Violations& violations) {
  return InodeCheck(sources, numbers, lower, violations).run();
}

}  // namespace unionfs
