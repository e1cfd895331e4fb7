// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/superblock.h"

#include <algorithm>

namespace unionfs {
namespace {

// A backup lies in groups 0 and 1 and the powers of 3, 5 and 7.
bool is_power_of(uint32_t base, uint32_t number) {
  while (number > 1 && number % base == 0) {
    number /= base;
  }
  return number == 1;
}

}  // namespace

uint32_t Layout::group_count() const {
  return static_cast<uint32_t>(divide_round_up(block_count - first_data_block, blocks_per_group));
}

uint32_t Layout::descriptors_per_block() const {
  return block_size_bytes / ext2::kGroupDescriptorSizeBytes;
}

uint32_t Layout::descriptor_block_count() const {
  return static_cast<uint32_t>(divide_round_up(group_count(), descriptors_per_block()));
}

uint32_t Layout::inode_table_block_count() const {
  return static_cast<uint32_t>(
      divide_round_up(uint64_t{inodes_per_group} * inode_size_bytes, block_size_bytes));
}

uint64_t Layout::inode_count() const {
  return uint64_t{inodes_per_group} * group_count();
}

std::optional<BlockNumber> Layout::block(ClaimedBlock claimed) const {
  const bool is_inside = claimed.value() >= first_data_block && claimed.value() < block_count;
  return is_inside ? std::optional(BlockNumber(claimed.value())) : std::nullopt;
}

std::optional<InodeNumber> Layout::inode(ClaimedInode claimed) const {
  const bool is_there = claimed.value() >= 1 && claimed.value() <= inode_count();
  return is_there ? std::optional(InodeNumber(claimed.value())) : std::nullopt;
}

std::optional<GroupNumber> Layout::group(ClaimedGroup claimed) const {
  const bool is_there = claimed.value() < group_count();
  return is_there ? std::optional(GroupNumber(claimed.value())) : std::nullopt;
}

BlockRange Layout::blocks_of(GroupNumber group) const {
  const uint64_t begin = first_data_block + uint64_t{group.value()} * blocks_per_group;
  const uint64_t end = std::min<uint64_t>(begin + blocks_per_group, block_count);
  return {BlockNumber(begin), BlockNumber(end)};
}

GroupNumber Layout::group_of(BlockNumber block) const {
  return GroupNumber(static_cast<uint32_t>((block.value() - first_data_block) / blocks_per_group));
}

GroupNumber Layout::group_of(InodeNumber inode) const {
  return GroupNumber((inode.value() - 1) / inodes_per_group);
}

bool Layout::has_superblock(GroupNumber group) const {
  const uint32_t number = group.value();
  if (number == 0) {
    return true;
  }
  if (has_sparse_super2) {
    return number == backup_groups[0] || number == backup_groups[1];
  }
  if (!has_sparse_super || number == 1) {
    return true;
  }
  return is_power_of(3, number) || is_power_of(5, number) || is_power_of(7, number);
}

uint32_t Layout::classic_descriptor_blocks() const {
  return has_meta_groups ? std::min(first_meta_group, descriptor_block_count())
                         : descriptor_block_count();
}

Layout::DescriptorCopy Layout::descriptor_copy(GroupNumber group) const {
  const bool has_copy = has_superblock(group);
  const BlockNumber first_block = blocks_of(group).begin + (has_copy ? 1 : 0);
  const uint32_t index = group.value() / descriptors_per_block();
  const uint32_t classic = classic_descriptor_blocks();
  if (index < classic) {
    return {0, has_copy ? classic : 0, first_block};
  }
  // A meta group keeps its one descriptor block in its first, second and last group.
  const uint32_t place = group.value() % descriptors_per_block();
  const bool keeps_copy = place == 0 || place == 1 || place == descriptors_per_block() - 1;
  return {index, keeps_copy ? 1U : 0U, first_block};
}

BlockNumber Layout::primary_descriptor_block(uint32_t index) const {
  if (index < classic_descriptor_blocks()) {
    return BlockNumber(uint64_t{first_data_block} + 1 + index);
  }
  return descriptor_copy(GroupNumber(index * descriptors_per_block())).first_block;
}

Layout layout_of(const ext2::Superblock& raw) {
  Layout layout;
  layout.block_size_bytes = ext2::kMinBlockSizeBytes << raw.s_log_block_size;
  layout.block_count = raw.s_blocks_count;
  layout.first_data_block = raw.s_first_data_block;
  layout.blocks_per_group = raw.s_blocks_per_group;
  layout.inodes_per_group = raw.s_inodes_per_group;
  if (raw.s_rev_level == ext2::kGoodOldRevision) {
    layout.inode_size_bytes = ext2::kGoodOldInodeSizeBytes;
    layout.first_inode = ext2::kGoodOldFirstInode;
    return layout;
  }
  layout.inode_size_bytes = raw.s_inode_size;
  layout.first_inode = raw.s_first_ino;
  layout.reserved_gdt_blocks = raw.s_reserved_gdt_blocks;
  layout.has_meta_groups = (raw.s_feature_incompat & ext2::kIncompatMetaBg) != 0;
  layout.first_meta_group = layout.has_meta_groups ? raw.s_first_meta_bg.value() : 0;
  layout.has_sparse_super = (raw.s_feature_ro_compat & ext2::kRoCompatSparseSuper) != 0;
  layout.has_sparse_super2 = (raw.s_feature_compat & ext2::kCompatSparseSuper2) != 0;
  layout.has_file_types = (raw.s_feature_incompat & ext2::kIncompatFiletype) != 0;
  if (layout.has_sparse_super2) {
    layout.backup_groups = {raw.s_backup_bgs[0], raw.s_backup_bgs[1]};
  }
  return layout;
}

std::string uuid_text(const std::array<uint8_t, 16>& uuid) {
  std::string text;
  for (size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) {
      text += '-';
    }
    text += fmt::format("{:02x}", uuid[i]);
  }
  return text;
}

}  // namespace unionfs
