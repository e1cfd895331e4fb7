// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/inode_check.h"

#include <array>

#include "fsparse/xattr.h"

namespace unionfs {
namespace {

// Visits each own block in each of its roles, beside the block that the lower
// has in the same role.
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
  struct Walk {
    InodeNumber inode;
    TranslatedKind data_kind = TranslatedKind::kDirectory;
    bool is_plain_data = false;
  };
  using Slots = std::array<BlockNumber, ext2::kBlockSlots>;

  Result<void> check_inode(InodeNumber inode) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.upper, inode));
    if (!check_record(record)) {
      files_.has_all_blocks = false;
      return {};
    }
    OwnInode& own = files_.inodes[inode];
    own.is_directory = record.is_directory();
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
    const bool is_special = is_bad_blocks(inode);
    if (inode.value() < layout_.first_inode && inode.value() != ext2::kRootInode && !is_special) {
      violations_.add("reserved inode {} is marked own", inode);
      return false;
    }
    if (!record.has_known_type() && !is_special) {
      violations_.add("inode {} is marked own, but its i_mode is {:#o}", inode,
                      record.raw().i_mode);
      return false;
    }
    if (record.raw().i_dtime != 0) {
      violations_.add("inode {} is marked own, but i_dtime is {}", inode, record.raw().i_dtime);
    }
    if (record.is_opaque() && !record.is_directory()) {
      violations_.add("inode {} is marked opaque, but is no directory", inode);
    }
    return true;
  }

  // What is counted before an error stays counted.
  Result<void> check_blocks(const InodeRecord& record, uint64_t& block_count) {
    const Walk walk{record.number(),
                    record.is_symlink() ? TranslatedKind::kSymlink : TranslatedKind::kDirectory,
                    !record.is_directory() && !record.is_symlink()};
    UNIONFS_ASSIGN(const Slots below, slots_below(record));
    for (uint32_t slot = 0; record.has_block_map() && slot < ext2::kBlockSlots; ++slot) {
      if (record.pointer(slot).value() != 0) {
        UNIONFS_TRY(visit(walk, role_of_slot(layout_.pointers_per_block(), slot),
                          record.pointer(slot), below[slot], block_count));
      }
    }
    UNIONFS_TRY(check_xattr_block(record));
    block_count += record.file_acl().value() != 0 ? 1 : 0;
    return {};
  }

  // What the lower has in the slots of the same inode; 0 where it is another file.
  Result<Slots> slots_below(const InodeRecord& record) {
    Slots below = {};
    UNIONFS_ASSIGN(const bool is_below, lower_.is_used(record.number()));
    if (!is_below || numbers_.inode_whiteouts.test(record.number())) {
      return below;
    }
    UNIONFS_ASSIGN(const InodeRecord lower, lower_.inode(record.number()));
    if (lower.type() == record.type() && lower.has_block_map()) {
      for (uint32_t slot = 0; slot < below.size(); ++slot) {
        below[slot] = lower.pointer(slot);
      }
    }
    return below;
  }

  // One own block; `below` is what the lower has in the same role.
  Result<void> visit(const Walk& walk, BlockRole role, BlockNumber block, BlockNumber below,
                     uint64_t& block_count) {
    UNIONFS_TRY(check_pointer(from_.upper, walk.inode, role.level, block));
    if (files_.blocks.test(block)) {
      violations_.add("inode {}: own block {} is used twice", walk.inode, block);
      return {};
    }
    files_.blocks.set(block);
    ++block_count;
    UNIONFS_TRY(check_marks(walk.inode, block, below));
    const auto first = static_cast<uint32_t>(role.first.value());
    if (role.level == 0) {
      if (!walk.is_plain_data) {
        files_.translated[block] = {block, walk.inode, first, walk.data_kind, 0};
      }
      return {};
    }
    files_.translated[block] = {block, walk.inode, first, TranslatedKind::kIndirect,
                                static_cast<uint8_t>(role.level)};
    UNIONFS_ASSIGN(const std::vector<BlockNumber> pointers, read_pointers(from_.upper, block));
    UNIONFS_ASSIGN(const std::vector<BlockNumber> lower_pointers, lower_.pointers(below));
    for (uint32_t i = 0; i < pointers.size(); ++i) {
      if (pointers[i].value() != 0) {
        UNIONFS_TRY(visit(walk, role_of_child(layout_.pointers_per_block(), role, i), pointers[i],
                          lower_pointers[i], block_count));
      }
    }
    return {};
  }

  // Whether the block is marked own, and hides what the lower uses it for.
  Result<void> check_marks(InodeNumber inode, BlockNumber block, BlockNumber below) {
    if (!numbers_.own_blocks.test(block)) {
      violations_.add_mendable("inode {}: block {} is used, but not marked own", inode, block);
    }
    UNIONFS_ASSIGN(const bool used_below, lower_.is_used(block));
    if (used_below && block != below && !numbers_.block_whiteouts.test(block)) {
      files_.missing_whiteouts.insert(block);
      violations_.add_mendable(
          "inode {}: block {} has another role in the lower, but is not whited out", inode, block);
    }
    return {};
  }

  Result<void> check_xattr_block(const InodeRecord& record) {
    const BlockNumber block = record.file_acl();
    if (block.value() == 0) {
      return {};
    }
    UNIONFS_TRY(check_pointer(from_.upper, record.number(), 0, block));
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

uint32_t OwnFiles::directories_in(const Layout& layout, GroupNumber group) const {
  uint32_t count = 0;
  for (const auto& [inode, own] : inodes) {
    count += own.is_directory && layout.group_of(inode) == group ? 1 : 0;
  }
  return count;
}

Result<OwnFiles> check_inodes(const CheckSources& sources, const LayerNumbers& numbers,
                              LowerSide& lower, Violations& violations) {
  return InodeCheck(sources, numbers, lower, violations).run();
}

}  // namespace unionfs
