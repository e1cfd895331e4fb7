// SPDX-License-Identifier: BSD-3-Clause
//
// Own inodes and their blocks: each own block is used once, by an own inode,
// and the table of translated blocks says what a fresh walk finds.
#include <array>
#include <cstring>

#include "fsparse/xattr.h"
#include "overlay/check/layer_check.h"

namespace unionfs {

Result<void> LayerCheck::check_inode(InodeNumber inode) {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.upper, inode));
  const bool is_bad_blocks = inode.value() == ext2::kBadBlocksInode;
  if (inode.value() < layout_.first_inode && inode.value() != ext2::kRootInode && !is_bad_blocks) {
    violation("{}: reserved inode {} is marked own", name(), inode);
    has_all_blocks_ = false;
    return {};
  }
  if (!record.has_known_type() && !is_bad_blocks) {
    violation("{}: inode {} is marked own, but its i_mode is {:#o}", name(), inode,
              record.raw().i_mode);
    has_all_blocks_ = false;
    return {};
  }
  Counts& counts = counts_[inode];
  counts.is_directory = record.is_directory();
  if (record.raw().i_dtime != 0) {
    violation("{}: inode {} is marked own, but i_dtime is {}", name(), inode, record.raw().i_dtime);
  }
  if (record.is_opaque() && !record.is_directory()) {
    violation("{}: inode {} is marked opaque, but is no directory", name(), inode);
  }
  Walk walk{inode, record.is_symlink() ? TranslatedKind::kSymlink : TranslatedKind::kDirectory,
            !record.is_directory() && !record.is_symlink()};
  std::array<BlockNumber, ext2::kBlockSlots> below = {};
  UNIONFS_ASSIGN(const bool is_below, used_below_.is_used(inode));
  if (is_below && !inode_whiteouts_.test(inode)) {
    UNIONFS_ASSIGN(const InodeRecord lower, read_inode(from_.lower, inode));
    for (uint32_t slot = 0;
         lower.type() == record.type() && lower.has_block_map() && slot < below.size(); ++slot) {
      below[slot] = lower.pointer(slot);
    }
  }
  for (uint32_t slot = 0; record.has_block_map() && slot < ext2::kBlockSlots; ++slot) {
    if (record.pointer(slot).value() != 0) {
      UNIONFS_TRY(visit(walk, role_of_slot(layout_.pointers_per_block(), slot),
                        record.pointer(slot), below[slot], counts.block_count));
    }
  }
  UNIONFS_TRY(check_xattr_block(record));
  counts.block_count += record.file_acl().value() != 0 ? 1 : 0;
  const uint64_t sectors = counts.block_count * (layout_.block_size_bytes / ext2::kSectorSizeBytes);
  if (record.raw().i_blocks != sectors && !is_bad_blocks) {
    mendable("{}: inode {}: i_blocks is {}, but it has {} own blocks", name(), inode,
             record.raw().i_blocks, counts.block_count);
  }
  return {};
}

// Blocks with their roles; `below` is what the lower has in the same role.
Result<void> LayerCheck::visit(const Walk& walk, BlockRole role, BlockNumber block,
                               BlockNumber below, uint64_t& block_count) {
  UNIONFS_TRY(check_pointer(from_.upper, walk.inode, role.level, block));
  if (claimed_.test(block)) {
    violation("{}: inode {}: own block {} is used twice", name(), walk.inode, block);
    return {};
  }
  claimed_.set(block);
  ++block_count;
  if (!own_blocks_.test(block)) {
    mendable("{}: inode {}: block {} is used, but not marked own", name(), walk.inode, block);
  }
  UNIONFS_ASSIGN(const bool used_below, used_below_.is_used(block));
  if (used_below && block != below && !block_whiteouts_.test(block)) {
    missing_whiteouts_.insert(block);
    mendable("{}: inode {}: block {} has another role in the lower, but is not whited out", name(),
             walk.inode, block);
  }
  const auto first = static_cast<uint32_t>(role.first.value());
  if (role.level == 0) {
    if (!walk.is_plain_data) {
      translated_[block] = {block, walk.inode, first, walk.data_kind, 0};
    }
    return {};
  }
  translated_[block] = {block, walk.inode, first, TranslatedKind::kIndirect,
                        static_cast<uint8_t>(role.level)};
  UNIONFS_ASSIGN(const std::vector<BlockNumber> pointers, read_pointers(from_.upper, block));
  std::vector<BlockNumber> lower_pointers(pointers.size());
  if (below.value() != 0 && from_.lower.is_inside(below)) {
    UNIONFS_ASSIGN(lower_pointers, read_pointers(from_.lower, below));
  }
  for (uint32_t i = 0; i < pointers.size(); ++i) {
    if (pointers[i].value() != 0) {
      UNIONFS_TRY(visit(walk, role_of_child(layout_.pointers_per_block(), role, i), pointers[i],
                        lower_pointers[i], block_count));
    }
  }
  return {};
}

Result<void> LayerCheck::check_xattr_block(const InodeRecord& record) {
  const BlockNumber block = record.file_acl();
  if (block.value() == 0) {
    return {};
  }
  UNIONFS_TRY(check_pointer(from_.upper, record.number(), 0, block));
  if (claimed_.test(block) && !claimed_xattrs_.contains(block)) {
    violation("{}: inode {}: xattr block {} is used twice", name(), record.number(), block);
    return {};
  }
  if (!own_blocks_.test(block)) {
    mendable("{}: inode {}: xattr block {} is used, but not marked own", name(), record.number(),
             block);
  }
  claimed_.set(block);
  if (claimed_xattrs_.insert(block).second) {
    translated_[block] = {block, record.number(), 0, TranslatedKind::kXattr, 0};
    UNIONFS_TRY(read_attributes(from_.upper, record));
  }
  ++xattr_users_[block];
  return {};
}

void LayerCheck::check_claims() {
  for (uint32_t number = 0; number < layout_.group_count(); ++number) {
    const GroupNumber group(number);
    const ConstByteSpan bits = own_blocks_.bits().of(group);
    const BlockRange blocks = layout_.blocks_of(group);
    const uint64_t count = bits.empty() ? 0 : blocks.count();
    for (uint64_t bit = 0; (bit = find_set_bit(bits, bit, count)) < count; ++bit) {
      if (!claimed_.test(blocks.begin + bit)) {
        mendable("{}: block {} is marked own, but no own inode has it", name(), blocks.begin + bit);
      }
    }
    if (from_.upper.group(group).used_dirs_count != directories_in(group)) {
      mendable("{}: group {}: bg_used_dirs_count is {}, but it has {} own directories", name(),
               group, from_.upper.group(group).used_dirs_count, directories_in(group));
    }
  }
}

void LayerCheck::check_translated() {
  std::set<BlockNumber> listed;
  for (const TranslatedBlock& entry : from_.tables.translated) {
    listed.insert(entry.block);
    const auto walked = translated_.find(entry.block);
    if (entry.kind == TranslatedKind::kXattrCount) {
      if (walked != translated_.end() || own_blocks_.test(entry.block)) {
        mendable("{}: translated block {} is listed as a count of the lower's, but is own", name(),
                 entry.block);
      }
      continue;
    }
    if (walked == translated_.end()) {
      mendable("{}: translated block {} of inode {} is listed, but no own inode has it", name(),
               entry.block, entry.inode);
      continue;
    }
    const TranslatedBlock& wanted = walked->second;
    // Any of the inodes that share it may be named.
    const bool is_xattr = wanted.kind == TranslatedKind::kXattr;
    if (entry.kind != wanted.kind || entry.level != wanted.level ||
        entry.file_block != wanted.file_block || (entry.inode != wanted.inode && !is_xattr)) {
      mendable(
          "{}: translated block {}: listed as kind {}, level {}, file block {} of inode {}, "
          "but it is kind {}, level {}, file block {} of inode {}",
          name(), entry.block, static_cast<int>(entry.kind), entry.level, entry.file_block,
          entry.inode, static_cast<int>(wanted.kind), wanted.level, wanted.file_block,
          wanted.inode);
    }
  }
  for (const auto& [block, wanted] : translated_) {
    if (!listed.contains(block)) {
      mendable("{}: translated block {} of inode {} is not listed", name(), block, wanted.inode);
    }
  }
}

Result<void> LayerCheck::check_xattr_counts() {
  for (const auto& [block, users] : xattr_users_) {
    UNIONFS_ASSIGN(const auto header, read_structure<ext2::XattrHeader>(from_.upper.image(),
                                                                        layout_.offset_of(block)));
    if (header.h_refcount != users) {
      mendable("{}: xattr block {}: h_refcount is {}, but {} own inodes have it", name(), block,
               header.h_refcount, users);
    }
  }
  return {};
}

}  // namespace unionfs
