// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/geometry/geometry.h"

#include <algorithm>

#include "fsparse/inode.h"

namespace unionfs {
namespace {

constexpr uint64_t kGibibyte = uint64_t{1} << 30;

// A last group must have room for its metadata and a few files beside them;
// mke2fs draws the line at the same count.
constexpr uint64_t kMinDataBlocksInLastGroup = 50;

uint64_t head_block_count(const Layout& layout, GroupNumber group) {
  return (layout.has_superblock(group) ? 1U : 0U) + layout.descriptor_copy(group).count;
}

uint64_t metadata_block_count(const Layout& layout, GroupNumber group) {
  return head_block_count(layout, group) + 2 + layout.inode_table_block_count();
}

// Sets what follows from block_count.  Once a group is appended the space
// reserved for more descriptors is given back, as e2fsck would not accept a
// resize inode that does not match the group count; descriptors that do not
// fit in the lower's descriptor blocks go to meta groups.
Layout with_block_count(const Layout& lower, uint64_t block_count) {
  Layout merged = lower;
  merged.block_count = block_count;
  if (merged.group_count() > lower.group_count()) {
    merged.reserved_gdt_blocks = 0;
  }
  if (!lower.has_meta_groups && merged.descriptor_block_count() > lower.descriptor_block_count()) {
    merged.has_meta_groups = true;
    merged.first_meta_group = lower.descriptor_block_count();
  }
  return merged;
}

}  // namespace

Result<Layout> grown_layout(const Layout& lower, uint64_t block_count) {
  if (block_count < lower.block_count) {
    return invalid("size of {} blocks is smaller than the lower's {} blocks of {} bytes",
                   block_count, lower.block_count, lower.block_size_bytes);
  }
  if (block_count > UINT32_MAX) {
    return invalid(
        "size of {} bytes is more than an ext2 image with blocks of {} bytes can have: {}",
        block_count * lower.block_size_bytes, lower.block_size_bytes,
        uint64_t{UINT32_MAX} * lower.block_size_bytes);
  }
  Layout merged = with_block_count(lower, block_count);
  const GroupNumber last(merged.group_count() - 1);
  if (last.value() >= lower.group_count() &&
      merged.blocks_of(last).count() <
          metadata_block_count(merged, last) + kMinDataBlocksInLastGroup) {
    // A full group always has room: the lower's groups of the same make had.
    merged = with_block_count(lower, merged.blocks_of(last).begin.value());
  }
  if (merged.inode_count() > UINT32_MAX) {
    return invalid("size of {} blocks: {} groups of {} inodes are more inodes than ext2 can count",
                   block_count, merged.group_count(), merged.inodes_per_group);
  }
  return merged;
}

uint64_t Geometry::default_size_bytes(const Layout& lower) {
  return lower.size_bytes() + std::max(lower.size_bytes(), kGibibyte);
}

Result<Geometry> Geometry::grow(const Volume& lower, uint64_t size_bytes) {
  const Layout& layout = lower.layout();
  UNIONFS_ASSIGN(const Layout merged, grown_layout(layout, size_bytes / layout.block_size_bytes));
  Geometry geometry(layout, merged);
  UNIONFS_TRY(geometry.place_groups(lower));
  UNIONFS_TRY(geometry.find_released(lower));
  geometry.list_fixed_ranges();
  return geometry;
}

Result<void> Geometry::place_groups(const Volume& lower) {
  groups_ = lower.groups();
  groups_.reserve(merged_.group_count());
  // The lower's last group may be partial; it is completed.
  const GroupNumber last(lower_.group_count() - 1);
  groups_.back().free_blocks_count +=
      static_cast<uint32_t>(merged_.blocks_of(last).count() - lower_.blocks_of(last).count());
  for (uint32_t number = lower_.group_count(); number < merged_.group_count(); ++number) {
    const GroupNumber group_number(number);
    const BlockRange blocks = merged_.blocks_of(group_number);
    const uint64_t metadata = metadata_block_count(merged_, group_number);
    if (metadata > blocks.count()) {
      return unsupported("{}: group {} of {} blocks has no room for its {} blocks of metadata",
                         lower.name(), number, blocks.count(), metadata);
    }
    Group group;
    group.block_bitmap = blocks.begin + head_block_count(merged_, group_number);
    group.inode_bitmap = group.block_bitmap + 1;
    group.inode_table = group.block_bitmap + 2;
    group.free_blocks_count = static_cast<uint32_t>(blocks.count() - metadata);
    group.free_inodes_count = merged_.inodes_per_group;
    groups_.push_back(group);
  }
  return {};
}

Result<void> Geometry::find_released(const Volume& lower) {
  if (!has_appended_groups() || lower_.reserved_gdt_blocks == 0) {
    return {};
  }
  UNIONFS_ASSIGN(const InodeRecord resize, read_inode(lower, InodeNumber(ext2::kResizeInode)));
  const ClaimedBlock claimed = resize.pointer(ext2::kDoubleIndirectSlot);
  const std::optional<BlockNumber> inside = lower.file_block(claimed);
  if (!inside || lower.is_metadata(*inside)) {
    return corrupt(
        "{}: resize inode: its double-indirect block {} is not a block of the image "
        "({} blocks); mend it with: e2fsck -f {}",
        lower.image().name(), claimed, lower_.block_count, lower.image().name());
  }
  const BlockNumber map = *inside;
  released_.push_back({map, map + 1});
  for (uint32_t number = 0; number < lower_.group_count(); ++number) {
    const GroupNumber group(number);
    if (lower_.has_superblock(group)) {
      const Layout::DescriptorCopy copy = lower_.descriptor_copy(group);
      const BlockNumber begin = copy.first_block + copy.count;
      if (map >= begin && map < begin + lower_.reserved_gdt_blocks) {
        return corrupt(
            "{}: resize inode: its double-indirect block {} lies in the space it "
            "reserves; mend it with: e2fsck -f {}",
            lower.image().name(), map, lower.image().name());
      }
      released_.push_back({begin, begin + lower_.reserved_gdt_blocks});
    }
  }
  std::sort(released_.begin(), released_.end(),
            [](const BlockRange& a, const BlockRange& b) { return a.begin < b.begin; });
  for (const BlockRange& range : released_) {
    groups_[merged_.group_of(range.begin).value()].free_blocks_count +=
        static_cast<uint32_t>(range.count());
  }
  return {};
}

void Geometry::list_fixed_ranges() {
  const auto add = [this](FixedKind kind, GroupNumber group, BlockNumber begin, uint64_t count,
                          uint32_t first_index = 0) {
    if (count > 0) {
      fixed_ranges_.push_back({{begin, begin + count}, 0, group, first_index, kind});
    }
  };
  if (merged_.first_data_block == 1) {
    add(FixedKind::kBoot, GroupNumber(0), BlockNumber(0), 1);
  }
  for (uint32_t number = 0; number < merged_.group_count(); ++number) {
    const GroupNumber group(number);
    const size_t first = fixed_ranges_.size();
    // Block 0 belongs to group 0 whether or not a bitmap covers it.
    first_range_of_group_.push_back(static_cast<uint32_t>(number == 0 ? 0 : first));
    if (merged_.has_superblock(group)) {
      add(FixedKind::kSuperblock, group, merged_.blocks_of(group).begin, 1);
    }
    const Layout::DescriptorCopy copy = merged_.descriptor_copy(group);
    add(FixedKind::kDescriptors, group, copy.first_block, copy.count, copy.first_index);
    const Group& places = groups_[number];
    add(FixedKind::kBlockBitmap, group, places.block_bitmap, 1);
    add(FixedKind::kInodeBitmap, group, places.inode_bitmap, 1);
    add(FixedKind::kInodeTable, group, places.inode_table, merged_.inode_table_block_count());
    std::sort(
        fixed_ranges_.begin() + static_cast<ptrdiff_t>(first), fixed_ranges_.end(),
        [](const FixedRange& a, const FixedRange& b) { return a.blocks.begin < b.blocks.begin; });
  }
  for (FixedRange& range : fixed_ranges_) {
    range.first_rank = fixed_block_count_;
    fixed_block_count_ += range.blocks.count();
  }
}

const FixedRange* Geometry::fixed_at_or_after(BlockNumber block) const {
  const uint32_t group =
      block.value() < merged_.first_data_block ? 0 : merged_.group_of(block).value();
  // At most five ranges lie in a group, and every group has at least three.
  for (size_t i = first_range_of_group_[group]; i < fixed_ranges_.size(); ++i) {
    if (block < fixed_ranges_[i].blocks.end) {
      return &fixed_ranges_[i];
    }
  }
  return nullptr;
}

uint64_t Geometry::fixed_blocks_in(GroupNumber group) const {
  return metadata_block_count(merged_, group);
}

uint32_t Geometry::reserved_inodes_in(GroupNumber group) const {
  const uint64_t first = uint64_t{group.value()} * merged_.inodes_per_group + 1;
  if (first >= merged_.first_inode) {
    return 0;
  }
  return static_cast<uint32_t>(
      std::min<uint64_t>(merged_.first_inode - first, merged_.inodes_per_group));
}

}  // namespace unionfs
