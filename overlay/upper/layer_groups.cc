// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/layer_groups.h"

#include <algorithm>
#include <cstring>

#include "fsparse/bitmap.h"

namespace unionfs {
namespace {

// Calls visit(first bit, bit past the end) for the group's runs of F-blocks.
template <typename Visit>
void for_each_fixed(const Geometry& geometry, GroupNumber group, Visit visit) {
  const BlockRange blocks = geometry.merged().blocks_of(group);
  const FixedRange* end = geometry.fixed_ranges().data() + geometry.fixed_ranges().size();
  for (const FixedRange* range = geometry.fixed_at_or_after(blocks.begin);
       range != nullptr && range != end && range->blocks.begin < blocks.end; ++range) {
    visit(range->blocks.begin - blocks.begin, range->blocks.end - blocks.begin);
  }
}

}  // namespace

void set_fixed_bits(const Geometry& geometry, GroupNumber group, ByteSpan bits) {
  for_each_fixed(geometry, group,
                 [&](uint64_t begin, uint64_t end) { set_bits(bits, begin, end); });
}

void clear_fixed_bits(const Geometry& geometry, GroupNumber group, ByteSpan bits) {
  for_each_fixed(geometry, group,
                 [&](uint64_t begin, uint64_t end) { clear_bits(bits, begin, end); });
}

LayerBitmaps make_layer_bitmaps(const Geometry& geometry, GroupNumber group,
                                const GroupBits& own_blocks, const GroupBits& own_inodes) {
  const Layout& merged = geometry.merged();
  const Group& places = geometry.groups()[group.value()];
  const uint64_t block_count = merged.blocks_of(group).count();
  LayerBitmaps made;
  made.blocks.resize(merged.block_size_bytes);
  const ConstByteSpan blocks = own_blocks.of(group);
  std::copy_n(blocks.begin(), std::min(blocks.size(), made.blocks.size()), made.blocks.begin());
  set_fixed_bits(geometry, group, made.blocks);
  const uint64_t used_blocks = count_bits(made.blocks, 0, block_count);
  set_bits(made.blocks, block_count, made.blocks.size() * 8);

  made.inodes.resize(merged.block_size_bytes);
  const ConstByteSpan inodes = own_inodes.of(group);
  std::copy_n(inodes.begin(), std::min(inodes.size(), made.inodes.size()), made.inodes.begin());
  set_bits(made.inodes, 0, geometry.reserved_inodes_in(group));
  const uint64_t used_inodes = count_bits(made.inodes, 0, merged.inodes_per_group);
  set_bits(made.inodes, merged.inodes_per_group, made.inodes.size() * 8);

  ext2::GroupDescriptor& raw = made.descriptor;
  raw = {};
  raw.bg_block_bitmap = static_cast<uint32_t>(places.block_bitmap.value());
  raw.bg_inode_bitmap = static_cast<uint32_t>(places.inode_bitmap.value());
  raw.bg_inode_table = static_cast<uint32_t>(places.inode_table.value());
  raw.bg_free_blocks_count = static_cast<uint16_t>(block_count - used_blocks);
  raw.bg_free_inodes_count = static_cast<uint16_t>(merged.inodes_per_group - used_inodes);
  return made;
}

namespace {

// In appended groups, and mostly below too, the inode bitmap follows the block
// bitmap and one write does for both.
Result<void> write_bitmaps(ByteSink& upper, const Layout& merged, const Group& places,
                           LayerBitmaps& made) {
  if (places.inode_bitmap == places.block_bitmap + 1) {
    made.blocks.insert(made.blocks.end(), made.inodes.begin(), made.inodes.end());
    return upper.write(merged.offset_of(places.block_bitmap), made.blocks);
  }
  UNIONFS_TRY(upper.write(merged.offset_of(places.block_bitmap), made.blocks));
  return upper.write(merged.offset_of(places.inode_bitmap), made.inodes);
}

Result<void> write_copies(ByteSink& upper, const Layout& merged, ConstByteSpan descriptors,
                          ext2::Superblock superblock) {
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    const GroupNumber group(number);
    const Layout::DescriptorCopy copy = merged.descriptor_copy(group);
    if (copy.count > 0) {
      UNIONFS_TRY(
          upper.write(merged.offset_of(copy.first_block),
                      descriptors.subspan(size_t{copy.first_index} * merged.block_size_bytes,
                                          size_t{copy.count} * merged.block_size_bytes)));
    }
    if (merged.has_superblock(group)) {
      superblock.s_block_group_nr = static_cast<uint16_t>(number);
      const uint64_t offset = number == 0 ? ext2::kSuperblockOffsetBytes
                                          : merged.offset_of(merged.blocks_of(group).begin);
      UNIONFS_TRY(upper.write(offset, std::as_bytes(std::span(&superblock, 1))));
    }
  }
  return {};
}

}  // namespace

Result<void> write_layer_groups(ByteSink& upper, const Geometry& geometry,
                                const GroupBits& own_blocks, const GroupBits& own_inodes,
                                const std::function<uint32_t(GroupNumber)>& used_dirs_count,
                                ext2::Superblock superblock) {
  const Layout& merged = geometry.merged();
  std::vector<std::byte> descriptors(size_t{merged.descriptor_block_count()} *
                                     merged.block_size_bytes);
  uint64_t free_blocks = 0;
  uint64_t free_inodes = 0;
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    const GroupNumber group(number);
    LayerBitmaps made = make_layer_bitmaps(geometry, group, own_blocks, own_inodes);
    made.descriptor.bg_used_dirs_count = static_cast<uint16_t>(used_dirs_count(group));
    UNIONFS_TRY(write_bitmaps(upper, merged, geometry.groups()[number], made));
    std::memcpy(descriptors.data() + size_t{number} * sizeof(made.descriptor), &made.descriptor,
                sizeof(made.descriptor));
    free_blocks += made.descriptor.bg_free_blocks_count;
    free_inodes += made.descriptor.bg_free_inodes_count;
  }
  superblock.s_free_blocks_count = static_cast<uint32_t>(free_blocks);
  superblock.s_free_inodes_count = static_cast<uint32_t>(free_inodes);
  return write_copies(upper, merged, descriptors, superblock);
}

}  // namespace unionfs
