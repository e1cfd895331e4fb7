// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/support/synthetic_lower.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

namespace unionfs::testing {
namespace {

template <typename T>
void put(SparseImage& image, uint64_t offset, const T& value) {
  image.write(offset, std::as_bytes(std::span(&value, 1)));
}

ext2::Superblock make_superblock(const SyntheticShape& shape) {
  ext2::Superblock raw = {};
  const uint32_t log_block_size =
      static_cast<uint32_t>(std::countr_zero(shape.block_size_bytes)) - 10;
  const uint32_t per_block = shape.block_size_bytes / shape.inode_size_bytes;
  raw.s_magic = ext2::kMagic;
  raw.s_state = ext2::kStateValid;
  raw.s_rev_level = ext2::kDynamicRevision;
  raw.s_first_ino = ext2::kGoodOldFirstInode;
  raw.s_log_block_size = log_block_size;
  raw.s_log_frag_size = log_block_size;
  raw.s_first_data_block = log_block_size == 0 ? 1U : 0U;
  raw.s_blocks_count = static_cast<uint32_t>(shape.block_count);
  raw.s_blocks_per_group = shape.blocks_per_group;
  raw.s_frags_per_group = shape.blocks_per_group;
  raw.s_inodes_per_group = static_cast<uint32_t>(round_up(shape.inodes_per_group, per_block));
  raw.s_inode_size = static_cast<uint16_t>(shape.inode_size_bytes);
  raw.s_feature_compat = (shape.has_sparse_super2 ? ext2::kCompatSparseSuper2 : 0) |
                         (shape.reserved_gdt_blocks != 0 ? ext2::kCompatResizeInode : 0);
  raw.s_feature_incompat = shape.has_meta_groups ? ext2::kIncompatMetaBg : 0;
  raw.s_feature_ro_compat = shape.has_sparse_super ? ext2::kRoCompatSparseSuper : 0;
  raw.s_first_meta_bg = shape.first_meta_group;
  raw.s_backup_bgs = {shape.backup_groups[0], shape.backup_groups[1]};
  raw.s_reserved_gdt_blocks = static_cast<uint16_t>(shape.reserved_gdt_blocks);
  raw.s_inodes_count = static_cast<uint32_t>(layout_of(raw).inode_count());
  return raw;
}

}  // namespace

Result<void> SparseImage::read(uint64_t offset, ByteSpan buffer) const {
  if (offset > size_bytes_ || buffer.size() > size_bytes_ - offset) {
    return corrupt("{}: {} bytes at {} are outside the image", name_, buffer.size(), offset);
  }
  while (!buffer.empty()) {
    const auto piece =
        std::min<size_t>(kPageBytes - static_cast<size_t>(offset % kPageBytes), buffer.size());
    const auto page = pages_.find(offset / kPageBytes);
    if (page == pages_.end()) {
      std::memset(buffer.data(), 0, piece);
    } else {
      std::memcpy(buffer.data(), page->second.data() + offset % kPageBytes, piece);
    }
    offset += piece;
    buffer = buffer.subspan(piece);
  }
  return {};
}

void SparseImage::write(uint64_t offset, ConstByteSpan bytes) {
  while (!bytes.empty()) {
    const auto piece =
        std::min<size_t>(kPageBytes - static_cast<size_t>(offset % kPageBytes), bytes.size());
    auto& page = pages_[offset / kPageBytes];
    std::memcpy(page.data() + offset % kPageBytes, bytes.data(), piece);
    offset += piece;
    bytes = bytes.subspan(piece);
  }
}

std::string SyntheticShape::text() const {
  std::string text =
      fmt::format("{} blocks of {} bytes, {} a group, {} inodes a group of {} bytes", block_count,
                  block_size_bytes, blocks_per_group, inodes_per_group, inode_size_bytes);
  text += has_sparse_super ? ", sparse_super" : "";
  text += has_sparse_super2
              ? fmt::format(", sparse_super2 in {} and {}", backup_groups[0], backup_groups[1])
              : "";
  text += has_meta_groups ? fmt::format(", meta_bg from {}", first_meta_group) : "";
  text += reserved_gdt_blocks != 0 ? fmt::format(", {} reserved", reserved_gdt_blocks) : "";
  return text;
}

SparseImage make_synthetic_lower(const SyntheticShape& shape) {
  const ext2::Superblock raw = make_superblock(shape);
  const Layout layout = layout_of(raw);
  SparseImage image("lower.img", layout.size_bytes());
  put(image, ext2::kSuperblockOffsetBytes, raw);
  for (uint32_t number = 0; number < layout.group_count(); ++number) {
    const GroupNumber group(number);
    const Layout::DescriptorCopy copy = layout.descriptor_copy(group);
    const uint64_t reserved = layout.has_superblock(group) ? layout.reserved_gdt_blocks : 0;
    const BlockNumber bitmap = copy.first_block + copy.count + reserved;
    const BlockNumber table_end = bitmap + 2 + layout.inode_table_block_count();
    const uint64_t dind = number == 0 && reserved != 0 ? 1 : 0;
    ext2::GroupDescriptor descriptor = {};
    descriptor.bg_block_bitmap = static_cast<uint32_t>(bitmap.value());
    descriptor.bg_inode_bitmap = static_cast<uint32_t>(bitmap.value()) + 1;
    descriptor.bg_inode_table = static_cast<uint32_t>(bitmap.value()) + 2;
    descriptor.bg_free_blocks_count =
        static_cast<uint16_t>(layout.blocks_of(group).end - table_end - dind);
    descriptor.bg_free_inodes_count = static_cast<uint16_t>(layout.inodes_per_group);
    const uint32_t per_block = layout.descriptors_per_block();
    put(image,
        layout.offset_of(layout.primary_descriptor_block(number / per_block)) +
            number % per_block * sizeof(descriptor),
        descriptor);
    if (dind != 0) {
      ext2::Inode resize = {};
      resize.i_mode = ext2::kModeRegular;
      resize.i_block[ext2::kDoubleIndirectSlot] = static_cast<uint32_t>(table_end.value());
      put(image, layout.offset_of(bitmap + 2) + (ext2::kResizeInode - 1) * layout.inode_size_bytes,
          resize);
    }
  }
  return image;
}

}  // namespace unionfs::testing
