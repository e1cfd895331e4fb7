// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/groups.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "fsparse/group_checksum.h"

namespace unionfs {
namespace {

struct NamedRange {
  BlockRange blocks;
  const char* what;
};

// Inside the image; check_places() looks for more.
Result<BlockNumber> place(const Image& image, const Layout& layout, GroupNumber number,
                          ClaimedBlock claimed, const char* what) {
  const std::optional<BlockNumber> block = layout.block(claimed);
  if (!block) {
    return corrupt("{}: group {}: {} at block {} is outside its group and the image ({} blocks)",
                   image.name(), number, what, claimed, layout.block_count);
  }
  return *block;
}

Result<Group> decode(const Image& image, const Layout& layout, GroupNumber number,
                     const ext2::GroupDescriptor& raw) {
  const auto place_of = [&](Le32 claimed, const char* what) {
    return place(image, layout, number, ClaimedBlock(claimed), what);
  };
  Group group;
  UNIONFS_ASSIGN(group.block_bitmap, place_of(raw.bg_block_bitmap, "bg_block_bitmap"));
  UNIONFS_ASSIGN(group.inode_bitmap, place_of(raw.bg_inode_bitmap, "bg_inode_bitmap"));
  UNIONFS_ASSIGN(group.inode_table, place_of(raw.bg_inode_table, "bg_inode_table"));
  group.free_blocks_count = raw.bg_free_blocks_count;
  group.free_inodes_count = raw.bg_free_inodes_count;
  group.used_dirs_count = raw.bg_used_dirs_count;
  return group;
}

void take_flags(const GroupChecksum& checksum, GroupNumber number, const ext2::GroupDescriptor& raw,
                Group& group) {
  constexpr uint16_t kBoth = ext2::kGroupBlockUninit | ext2::kGroupInodeUninit;
  if ((raw.bg_flags & kBoth) != 0 && checksum.of(number, raw) == raw.bg_checksum) {
    group.has_block_bitmap = (raw.bg_flags & ext2::kGroupBlockUninit) == 0;
    group.has_inode_bitmap = (raw.bg_flags & ext2::kGroupInodeUninit) == 0;
  }
}

Result<void> check_counters(const Image& image, const Layout& layout, GroupNumber number,
                            const Group& group) {
  const uint64_t block_count = layout.blocks_of(number).count();
  if (group.free_blocks_count > block_count) {
    return corrupt("{}: group {}: bg_free_blocks_count {} is over its {} blocks", image.name(),
                   number, group.free_blocks_count, block_count);
  }
  if (group.free_inodes_count > layout.inodes_per_group) {
    return corrupt("{}: group {}: bg_free_inodes_count {} is over its {} inodes", image.name(),
                   number, group.free_inodes_count, layout.inodes_per_group);
  }
  if (group.used_dirs_count > layout.inodes_per_group - group.free_inodes_count) {
    return corrupt("{}: group {}: bg_used_dirs_count {} is over its {} used inodes", image.name(),
                   number, group.used_dirs_count,
                   layout.inodes_per_group - group.free_inodes_count);
  }
  return {};
}

// ext2 without flex_bg keeps a group's metadata inside the group; so overlaps
// can be looked for group by group.
Result<void> check_places(const Image& image, const Layout& layout, GroupNumber number,
                          const Group& group) {
  const BlockRange inside = layout.blocks_of(number);
  const Layout::DescriptorCopy descriptors = layout.descriptor_copy(number);
  // The resize inode's blocks follow the descriptors of every backup.
  const uint64_t reserved = layout.has_superblock(number) ? layout.reserved_gdt_blocks : 0;
  const BlockNumber after_head = descriptors.first_block + descriptors.count + reserved;
  NamedRange ranges[] = {
      {{inside.begin, after_head}, "superblock and descriptor copy"},
      {{group.block_bitmap, group.block_bitmap + 1}, "bg_block_bitmap"},
      {{group.inode_bitmap, group.inode_bitmap + 1}, "bg_inode_bitmap"},
      {{group.inode_table, group.inode_table + layout.inode_table_block_count()}, "bg_inode_table"},
  };
  for (const NamedRange& range : ranges) {
    if (range.blocks.begin < inside.begin || range.blocks.end > inside.end) {
      return corrupt("{}: group {}: {} at blocks {} to {} is outside its group (blocks {} to {})",
                     image.name(), number, range.what, range.blocks.begin,
                     range.blocks.end.value() - 1, inside.begin, inside.end.value() - 1);
    }
  }
  // A head may be empty; it then begins where the first of the others may.
  std::sort(std::begin(ranges), std::end(ranges), [](const NamedRange& a, const NamedRange& b) {
    return std::pair(a.blocks.begin, a.blocks.end) < std::pair(b.blocks.begin, b.blocks.end);
  });
  for (size_t i = 1; i < std::size(ranges); ++i) {
    if (ranges[i].blocks.begin < ranges[i - 1].blocks.end) {
      return corrupt("{}: group {}: {} and {} overlap at block {}", image.name(), number,
                     ranges[i - 1].what, ranges[i].what, ranges[i].blocks.begin);
    }
  }
  return {};
}

}  // namespace

Result<std::vector<Group>> read_groups(const Image& image, const Superblock& superblock) {
  const Layout& layout = superblock.layout();
  const uint32_t per_block = layout.descriptors_per_block();
  const bool has_flags = has_group_checksums(superblock.raw());
  const GroupChecksum checksum(superblock.raw().s_uuid);
  std::vector<Group> groups;
  // Not reserved at once: a sparse image can claim 2^26 groups and hold none.
  std::vector<std::byte> block(layout.block_size_bytes);
  for (uint32_t index = 0; index < layout.descriptor_block_count(); ++index) {
    const BlockNumber place = layout.primary_descriptor_block(index);
    if (place.value() >= layout.block_count) {
      return corrupt("{}: descriptor block {} at block {} is outside the image ({} blocks)",
                     image.name(), index, place, layout.block_count);
    }
    UNIONFS_TRY(image.read(layout.offset_of(place), block));
    for (uint32_t i = 0; i < per_block && groups.size() < layout.group_count(); ++i) {
      ext2::GroupDescriptor raw;
      std::memcpy(&raw, block.data() + i * sizeof(raw), sizeof(raw));
      const GroupNumber number(static_cast<uint32_t>(groups.size()));
      UNIONFS_ASSIGN(Group group, decode(image, layout, number, raw));
      UNIONFS_TRY(check_places(image, layout, number, group));
      UNIONFS_TRY(check_counters(image, layout, number, group));
      if (has_flags) {
        take_flags(checksum, number, raw, group);
      }
      groups.push_back(group);
    }
  }
  return groups;
}

bool has_group_checksums(const ext2::Superblock& superblock) {
  return superblock.s_rev_level != ext2::kGoodOldRevision &&
         (superblock.s_feature_ro_compat & ext2::kRoCompatGdtCsum) != 0;
}

uint64_t inode_offset(const Layout& layout, const std::vector<Group>& groups, InodeNumber inode) {
  const GroupNumber number = layout.group_of(inode);
  assert(inode.value() != 0 && number.value() < groups.size());
  const uint64_t index = (inode.value() - 1) % layout.inodes_per_group;
  return layout.offset_of(groups[number.value()].inode_table) + index * layout.inode_size_bytes;
}

ext2::GroupDescriptor raw_descriptor(const Group& group) {
  ext2::GroupDescriptor raw = {};
  raw.bg_block_bitmap = static_cast<uint32_t>(group.block_bitmap.value());
  raw.bg_inode_bitmap = static_cast<uint32_t>(group.inode_bitmap.value());
  raw.bg_inode_table = static_cast<uint32_t>(group.inode_table.value());
  raw.bg_free_blocks_count = static_cast<uint16_t>(group.free_blocks_count);
  raw.bg_free_inodes_count = static_cast<uint16_t>(group.free_inodes_count);
  raw.bg_used_dirs_count = static_cast<uint16_t>(group.used_dirs_count);
  return raw;
}

}  // namespace unionfs
