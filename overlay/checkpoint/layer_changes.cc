// SPDX-License-Identifier: BSD-3-Clause
//
// What the session changed: inodes whose slots differ in more than the access
// time, inodes and blocks that were freed.
#include <algorithm>
#include <array>
#include <cstring>

#include "overlay/checkpoint/layer_builder.h"

namespace unionfs {
namespace {

// The slot without what a mere read changes.
std::vector<std::byte> without_access_time(ConstByteSpan slot) {
  std::vector<std::byte> copy(slot.begin(), slot.end());
  std::memset(copy.data() + offsetof(ext2::Inode, i_atime), 0, sizeof(Le32));
  constexpr size_t kExtra =
      ext2::kGoodOldInodeSizeBytes + offsetof(ext2::InodeExtra, i_atime_extra);
  if (copy.size() >= kExtra + sizeof(Le32)) {
    std::memset(copy.data() + kExtra, 0, sizeof(Le32));
  }
  return copy;
}

}  // namespace

Result<void> LayerBuilder::collect_written() {
  const BlockNumber end(merged_layout_.block_count);
  BlockNumber block(0);
  while (block < end) {
    const SessionBitmap::BitRun run = from_.bitmap.run_at(block, end);
    if (run.is_set) {
      sort_written({block, run.end});
      figures_.written_blocks += run.end - block;
    }
    block = run.end;
  }
  return {};
}

void LayerBuilder::sort_written(BlockRange range) {
  BlockNumber block = range.begin;
  while (block < range.end) {
    const FixedRange* fixed = from_.geometry.fixed_at_or_after(block);
    if (fixed == nullptr || !fixed->blocks.contains(block)) {
      const BlockNumber end =
          fixed == nullptr ? range.end : std::min(range.end, fixed->blocks.begin);
      written_data_.push_back({block, end});
      block = end;
      continue;
    }
    switch (fixed->kind) {
      case FixedKind::kInodeTable:
        written_tables_.emplace_back(fixed, block);
        break;
      case FixedKind::kInodeBitmap:
        written_inode_bitmaps_.insert(fixed->group);
        written_groups_.insert(fixed->group);
        break;
      case FixedKind::kBlockBitmap:
        written_block_bitmaps_.insert(fixed->group);
        written_groups_.insert(fixed->group);
        break;
      case FixedKind::kDescriptors: {
        const uint32_t index =
            fixed->first_index + static_cast<uint32_t>(block - fixed->blocks.begin);
        const uint32_t per_block = merged_layout_.descriptors_per_block();
        for (uint32_t i = 0; i < per_block; ++i) {
          const uint32_t group = index * per_block + i;
          if (group < merged_layout_.group_count()) {
            written_groups_.insert(GroupNumber(group));
          }
        }
        break;
      }
      case FixedKind::kBoot:
      case FixedKind::kSuperblock:
        break;  // looked at as a whole
    }
    ++block;
  }
}

// A layer shares its numbering with the lower, so what it can express is the
// merged image in its own geometry and no other.
Result<void> LayerBuilder::check_superblock() const {
  if (from_.merged.layout() != merged_layout_) {
    return unsupported(
        "the image was reformatted: its geometry or a feature that goes with it "
        "is not the one that was served");
  }
  for (uint32_t number = 0; number < merged_layout_.group_count(); ++number) {
    const Group& wanted = from_.geometry.groups()[number];
    const Group& found = from_.merged.groups()[number];
    if (found.block_bitmap != wanted.block_bitmap || found.inode_bitmap != wanted.inode_bitmap ||
        found.inode_table != wanted.inode_table) {
      return unsupported("the image was reformatted: group {} has its metadata elsewhere", number);
    }
  }
  if (from_.merged.superblock().raw().s_last_orphan != 0) {
    return unsupported("the image has a list of orphan inodes");
  }
  return {};
}

Result<void> LayerBuilder::find_freed_and_new_inodes() {
  std::vector<std::byte> before(merged_layout_.block_size_bytes);
  std::vector<std::byte> now(merged_layout_.block_size_bytes);
  for (const GroupNumber group : written_inode_bitmaps_) {
    const BlockNumber place = from_.geometry.groups()[group.value()].inode_bitmap;
    UNIONFS_TRY(from_.before.read_block(place, before));
    UNIONFS_TRY(from_.merged.read_block(place, now));
    for (uint32_t bit = 0; bit < merged_layout_.inodes_per_group; ++bit) {
      const InodeNumber inode(group.value() * merged_layout_.inodes_per_group + bit + 1);
      const bool was_used = test_bit(before, bit);
      const bool is_used = test_bit(now, bit);
      if (was_used && !is_used) {
        UNIONFS_TRY(free_inode(inode));
      } else if (!was_used && is_used && queued_.insert(inode).second) {
        queue_.push_back(inode);
      }
    }
  }
  return {};
}

Result<void> LayerBuilder::free_inode(InodeNumber inode) {
  UNIONFS_ASSIGN(const InodeRecord left, read_inode(from_.merged, inode));
  if (left.raw().i_links_count != 0) {
    return corrupt("{}: inode {} is marked free, but has {} links", image(), inode,
                   left.raw().i_links_count);
  }
  UNIONFS_TRY(walk_former(inode));
  UNIONFS_ASSIGN(const bool below, used_below_.is_used(inode));
  if (below) {
    inode_whiteouts_.set(inode);
  }
  if (!was_own(inode)) {
    return {};
  }
  UNIONFS_ASSIGN(const InodeRecord former, read_inode(from_.upper, inode));
  if (former.is_directory()) {
    --directory_changes_[merged_layout_.group_of(inode).value()];
  }
  if (former.file_acl().value() != 0) {
    --xattr_uses_[former.file_acl()];
  }
  own_inodes_.clear(inode);
  kept_inodes_.erase(inode);
  const std::vector<std::byte> empty(merged_layout_.inode_size_bytes);
  return stage_.write(inode_offset(merged_layout_, from_.upper.groups(), inode), empty);
}

Result<void> LayerBuilder::find_changed_inodes() {
  std::vector<std::byte> before(merged_layout_.block_size_bytes);
  std::vector<std::byte> now(merged_layout_.block_size_bytes);
  const uint32_t size = merged_layout_.inode_size_bytes;
  for (const auto& [range, block] : written_tables_) {
    UNIONFS_TRY(from_.before.read_block(block, before));
    UNIONFS_TRY(from_.merged.read_block(block, now));
    const uint64_t first_slot = (block - range->blocks.begin) * merged_layout_.inodes_per_block();
    for (uint32_t i = 0; i < merged_layout_.inodes_per_block(); ++i) {
      const uint64_t slot = first_slot + i;
      if (slot >= merged_layout_.inodes_per_group) {
        break;
      }
      const InodeNumber inode(static_cast<uint32_t>(
          uint64_t{range->group.value()} * merged_layout_.inodes_per_group + slot + 1));
      UNIONFS_ASSIGN(const bool is_used, used_.is_used(inode));
      if (is_used &&
          without_access_time(ConstByteSpan(before).subspan(size_t{i} * size, size)) !=
              without_access_time(ConstByteSpan(now).subspan(size_t{i} * size, size)) &&
          queued_.insert(inode).second) {
        queue_.push_back(inode);
      }
    }
  }
  return {};
}

Result<void> LayerBuilder::find_freed_blocks() {
  std::vector<std::byte> before(merged_layout_.block_size_bytes);
  std::vector<std::byte> now(merged_layout_.block_size_bytes);
  for (const GroupNumber group : written_block_bitmaps_) {
    const BlockNumber place = from_.geometry.groups()[group.value()].block_bitmap;
    UNIONFS_TRY(from_.before.read_block(place, before));
    UNIONFS_TRY(from_.merged.read_block(place, now));
    const BlockRange blocks = merged_layout_.blocks_of(group);
    for (uint64_t bit = 0; bit < blocks.count(); ++bit) {
      if (!test_bit(before, bit) || test_bit(now, bit)) {
        continue;
      }
      const BlockNumber block = blocks.begin + bit;
      const FixedRange* fixed = from_.geometry.fixed_at_or_after(block);
      if (fixed != nullptr && fixed->blocks.contains(block)) {
        return corrupt("{}: group {}: block {} of the metadata is marked free", image(), group,
                       block);
      }
      UNIONFS_ASSIGN(const bool below, used_below_.is_used(block));
      if (below) {
        block_whiteouts_.set(block);
      }
      if (!freed_.empty() && freed_.back().end == block) {
        ++freed_.back().end;
      } else {
        freed_.push_back({block, block + 1});
      }
      own_blocks_.clear(block);
      translated_.erase(block);
      kept_xattrs_.erase(block);
    }
  }
  return {};
}

// Whether the session changed the bytes of a block it wrote.
Result<bool> LayerBuilder::differs(BlockNumber block) const {
  if (!from_.bitmap.test(block)) {
    return false;
  }
  std::array<std::byte, ext2::kMaxBlockSizeBytes> before;
  std::array<std::byte, ext2::kMaxBlockSizeBytes> now;
  const size_t size = merged_layout_.block_size_bytes;
  UNIONFS_TRY(from_.before_view.read(offset_of(block), ByteSpan(before).first(size)));
  UNIONFS_TRY(from_.merged_view.read(offset_of(block), ByteSpan(now).first(size)));
  return std::memcmp(before.data(), now.data(), size) != 0;
}

}  // namespace unionfs
