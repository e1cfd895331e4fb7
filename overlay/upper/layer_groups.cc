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

// Neither flags nor a checksum.
ext2::GroupDescriptor make_descriptor(const Geometry& geometry, GroupNumber group,
                                      uint64_t free_blocks, uint64_t free_inodes) {
  const Group& places = geometry.groups()[group.value()];
  ext2::GroupDescriptor raw = {};
  raw.bg_block_bitmap = static_cast<uint32_t>(places.block_bitmap.value());
  raw.bg_inode_bitmap = static_cast<uint32_t>(places.inode_bitmap.value());
  raw.bg_inode_table = static_cast<uint32_t>(places.inode_table.value());
  raw.bg_free_blocks_count = static_cast<uint16_t>(free_blocks);
  raw.bg_free_inodes_count = static_cast<uint16_t>(free_inodes);
  return raw;
}

uint64_t free_blocks_without_own(const Geometry& geometry, GroupNumber group) {
  return geometry.merged().blocks_of(group).count() - geometry.fixed_blocks_in(group);
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

  made.descriptor = make_descriptor(geometry, group, block_count - used_blocks,
                                    merged.inodes_per_group - used_inodes);
  return made;
}

DescriptorForm::DescriptorForm(const Geometry& geometry, const ext2::Superblock& layer)
    : geometry_(geometry), has_checksums_(has_group_checksums(layer)), checksum_(layer.s_uuid) {}

// e2fsck wants a block bitmap in the last group, and in a group that has an
// inode bitmap.
void DescriptorForm::finish(GroupNumber group, ext2::GroupDescriptor& descriptor) const {
  if (!has_checksums_) {
    return;
  }
  const Layout& merged = geometry_.merged();
  const bool has_inodes = descriptor.bg_free_inodes_count < merged.inodes_per_group;
  const bool has_blocks =
      descriptor.bg_free_blocks_count < free_blocks_without_own(geometry_, group);
  const bool is_last = group.value() + 1 == merged.group_count();
  uint16_t flags = ext2::kGroupInodeZeroed;
  flags |= has_inodes ? 0 : ext2::kGroupInodeUninit;
  flags |= has_inodes || has_blocks || is_last ? 0 : ext2::kGroupBlockUninit;
  descriptor.bg_flags = flags;
  descriptor.bg_itable_unused =
      has_inodes ? uint16_t{0} : static_cast<uint16_t>(merged.inodes_per_group);
  descriptor.bg_checksum = checksum_.of(group, descriptor);
}

DescriptorForm::NeededBitmaps DescriptorForm::needed_bitmaps(
    const ext2::GroupDescriptor& descriptor, const Group* former) {
  const bool had_blocks = former != nullptr && former->has_block_bitmap;
  const bool had_inodes = former != nullptr && former->has_inode_bitmap;
  return {had_blocks || (descriptor.bg_flags & ext2::kGroupBlockUninit) == 0,
          had_inodes || (descriptor.bg_flags & ext2::kGroupInodeUninit) == 0};
}

// In appended groups, and mostly below too, the inode bitmap follows the block
// bitmap and one write does for both.
Result<void> write_layer_bitmaps(ByteSink& upper, const Geometry& geometry, GroupNumber group,
                                 LayerBitmaps made, DescriptorForm::NeededBitmaps needed) {
  const Layout& merged = geometry.merged();
  const Group& places = geometry.groups()[group.value()];
  if (needed.blocks && needed.inodes && places.inode_bitmap == places.block_bitmap + 1) {
    made.blocks.insert(made.blocks.end(), made.inodes.begin(), made.inodes.end());
    return upper.write(merged.offset_of(places.block_bitmap), made.blocks);
  }
  if (needed.blocks) {
    UNIONFS_TRY(upper.write(merged.offset_of(places.block_bitmap), made.blocks));
  }
  return needed.inodes ? upper.write(merged.offset_of(places.inode_bitmap), made.inodes)
                       : Result<void>();
}

namespace {

// Without own blocks and inodes the geometry has the counters.
ext2::GroupDescriptor count_group(const Geometry& geometry, GroupNumber group,
                                  const GroupBits& own_blocks, const GroupBits& own_inodes) {
  if (own_blocks.has_any(group) || own_inodes.has_any(group)) {
    return make_layer_bitmaps(geometry, group, own_blocks, own_inodes).descriptor;
  }
  return make_descriptor(geometry, group, free_blocks_without_own(geometry, group),
                         geometry.merged().inodes_per_group - geometry.reserved_inodes_in(group));
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
                                ext2::Superblock superblock, const std::vector<Group>& former) {
  const Layout& merged = geometry.merged();
  const DescriptorForm form(geometry, superblock);
  std::vector<std::byte> descriptors(size_t{merged.descriptor_block_count()} *
                                     merged.block_size_bytes);
  uint64_t free_blocks = 0;
  uint64_t free_inodes = 0;
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    const GroupNumber group(number);
    ext2::GroupDescriptor descriptor = count_group(geometry, group, own_blocks, own_inodes);
    descriptor.bg_used_dirs_count = static_cast<uint16_t>(used_dirs_count(group));
    form.finish(group, descriptor);
    const auto needed = DescriptorForm::needed_bitmaps(
        descriptor, number < former.size() ? &former[number] : nullptr);
    if (needed.blocks || needed.inodes) {
      UNIONFS_TRY(write_layer_bitmaps(upper, geometry, group,
                                      make_layer_bitmaps(geometry, group, own_blocks, own_inodes),
                                      needed));
    }
    std::memcpy(descriptors.data() + size_t{number} * sizeof(descriptor), &descriptor,
                sizeof(descriptor));
    free_blocks += descriptor.bg_free_blocks_count;
    free_inodes += descriptor.bg_free_inodes_count;
  }
  superblock.s_free_blocks_count = static_cast<uint32_t>(free_blocks);
  superblock.s_free_inodes_count = static_cast<uint32_t>(free_inodes);
  return write_copies(upper, merged, descriptors, superblock);
}

}  // namespace unionfs
