// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/volume.h"

#include <utility>

namespace unionfs {

Result<Volume> Volume::open(const Image& image, SuperblockUse use) {
  UNIONFS_ASSIGN(const Superblock superblock, Superblock::read(image, use));
  UNIONFS_ASSIGN(std::vector<Group> groups, read_groups(image, superblock));
  return Volume(image, superblock, std::move(groups));
}

Result<void> Volume::read_block(BlockNumber block, ByteSpan buffer) const {
  if (block.value() >= layout().block_count) {
    return corrupt("{}: block {} is outside the image ({} blocks)", name(), block,
                   layout().block_count);
  }
  if (buffer.size() != layout().block_size_bytes) {
    return invalid("{}: block {} read into {} bytes, not {}", name(), block, buffer.size(),
                   layout().block_size_bytes);
  }
  return image_->read(layout().offset_of(block), buffer);
}

std::optional<BlockNumber> Volume::file_block(ClaimedBlock claimed) const {
  return claimed.value() > layout().first_data_block ? layout().block(claimed) : std::nullopt;
}

bool Volume::is_metadata(BlockNumber block) const {
  const GroupNumber number = layout().group_of(block);
  const Group& own = group(number);
  const Layout::DescriptorCopy descriptors = layout().descriptor_copy(number);
  return BlockRange{layout().blocks_of(number).begin, descriptors.first_block + descriptors.count}
             .contains(block) ||
         block == own.block_bitmap || block == own.inode_bitmap ||
         BlockRange{own.inode_table, own.inode_table + layout().inode_table_block_count()}.contains(
             block);
}

bool Volume::is_reserved_for_descriptors(BlockNumber block) const {
  const GroupNumber number = layout().group_of(block);
  if (!layout().has_superblock(number)) {
    return false;
  }
  const Layout::DescriptorCopy descriptors = layout().descriptor_copy(number);
  const BlockNumber begin = descriptors.first_block + descriptors.count;
  return BlockRange{begin, begin + layout().reserved_gdt_blocks}.contains(block);
}

}  // namespace unionfs
