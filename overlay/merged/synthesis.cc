// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/synthesis.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "fsparse/bitmap.h"
#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "fsparse/inode.h"
#include "overlay/merged/directory_synthesis.h"
#include "overlay/upper/layer_groups.h"

namespace unionfs {
namespace {

// merged = (below and not whited out) or own, in place over the bits of below.
void merge_bits(ByteSpan bits, ConstByteSpan whited_out, ConstByteSpan own) {
  for (size_t i = 0; i < whited_out.size() && i < bits.size(); ++i) {
    bits[i] &= ~whited_out[i];
  }
  for (size_t i = 0; i < own.size() && i < bits.size(); ++i) {
    bits[i] |= own[i];
  }
}

}  // namespace

Synthesis::Synthesis(const Volume& lower, const Volume& upper, const Geometry& geometry,
                     const Layer& layer)
    : lower_(lower), upper_(upper), geometry_(geometry), layer_(layer) {
  make_groups();
  make_superblock();
}

void Synthesis::make_groups() {
  groups_ = geometry_.groups();
  for (const GroupCounters& counters : layer_.tables().counters) {
    Group& group = groups_[counters.group.value()];
    group.free_blocks_count = counters.free_blocks_count;
    group.free_inodes_count = counters.free_inodes_count;
    group.used_dirs_count = counters.used_dirs_count;
  }
}

void Synthesis::make_superblock() {
  const Layout& merged = geometry_.merged();
  const MergedFeatures& features = layer_.tables().features;
  superblock_ = layer_.superblock();
  uint64_t free_blocks = 0;
  uint64_t free_inodes = 0;
  for (const Group& group : groups_) {
    free_blocks += group.free_blocks_count;
    free_inodes += group.free_inodes_count;
  }
  superblock_.s_free_blocks_count = static_cast<uint32_t>(free_blocks);
  superblock_.s_free_inodes_count = static_cast<uint32_t>(free_inodes);
  superblock_.s_rev_level = features.rev_level;
  superblock_.s_feature_compat = features.compat;
  superblock_.s_feature_incompat = features.incompat;
  superblock_.s_feature_ro_compat = features.ro_compat;
  superblock_.s_reserved_gdt_blocks = static_cast<uint16_t>(merged.reserved_gdt_blocks);
  superblock_.s_jnl_blocks = {};  // the mark of an upper
  if (features.rev_level == ext2::kGoodOldRevision) {
    superblock_.s_first_ino = 0;
    superblock_.s_inode_size = 0;
  }
}

Result<void> Synthesis::fixed_block(const FixedRange& range, BlockNumber block,
                                    ByteSpan out) const {
  switch (range.kind) {
    case FixedKind::kBoot:
      return (layer_.tables().boot_own ? upper_ : lower_).image().read(0, out);
    case FixedKind::kSuperblock:
      return superblock(range.group, block, out);
    case FixedKind::kDescriptors:
      descriptors(range.first_index + static_cast<uint32_t>(block - range.blocks.begin), out);
      return {};
    case FixedKind::kBlockBitmap:
      return block_bitmap(range.group, out);
    case FixedKind::kInodeBitmap:
      return inode_bitmap(range.group, out);
    case FixedKind::kInodeTable:
      return inode_table(range, block, out);
  }
  return corrupt("block {}: no kind of F-block", block);
}

Result<void> Synthesis::superblock(GroupNumber group, BlockNumber block, ByteSpan out) const {
  std::fill(out.begin(), out.end(), std::byte{0});
  size_t offset = 0;
  if (block.value() == 0) {
    // Larger blocks: the boot area shares block 0 with the superblock.
    offset = ext2::kSuperblockOffsetBytes;
    const Volume& owner = layer_.tables().boot_own ? upper_ : lower_;
    UNIONFS_TRY(owner.image().read(0, out.first(offset)));
  }
  ext2::Superblock copy = superblock_;
  if (copy.s_rev_level != ext2::kGoodOldRevision) {
    copy.s_block_group_nr = static_cast<uint16_t>(group.value());
  }
  std::memcpy(out.data() + offset, &copy, sizeof(copy));
  return {};
}

void Synthesis::descriptors(uint32_t index, ByteSpan out) const {
  std::fill(out.begin(), out.end(), std::byte{0});
  const uint32_t per_block = geometry_.merged().descriptors_per_block();
  for (uint32_t i = 0; i < per_block; ++i) {
    const size_t number = size_t{index} * per_block + i;
    if (number >= groups_.size()) {
      return;
    }
    const Group& group = groups_[number];
    ext2::GroupDescriptor raw = {};
    raw.bg_block_bitmap = static_cast<uint32_t>(group.block_bitmap.value());
    raw.bg_inode_bitmap = static_cast<uint32_t>(group.inode_bitmap.value());
    raw.bg_inode_table = static_cast<uint32_t>(group.inode_table.value());
    raw.bg_free_blocks_count = static_cast<uint16_t>(group.free_blocks_count);
    raw.bg_free_inodes_count = static_cast<uint16_t>(group.free_inodes_count);
    raw.bg_used_dirs_count = static_cast<uint16_t>(group.used_dirs_count);
    std::memcpy(out.data() + i * sizeof(raw), &raw, sizeof(raw));
  }
}

Result<void> Synthesis::block_bitmap(GroupNumber group, ByteSpan out) const {
  const BlockRange blocks = geometry_.merged().blocks_of(group);
  uint64_t used_below = 0;
  if (geometry_.is_appended(group)) {
    std::fill(out.begin(), out.end(), std::byte{0});
  } else {
    UNIONFS_TRY(lower_.read_block(lower_.group(group).block_bitmap, out));
    // The padding behind a partial last group does not mean used.
    used_below = lower_.layout().blocks_of(group).count();
  }
  clear_bits(out, used_below, out.size() * 8);
  merge_bits(out, layer_.block_whiteouts().of(group), layer_.own_blocks().of(group));
  set_fixed_bits(geometry_, group, out);
  set_bits(out, blocks.count(), out.size() * 8);
  return {};
}

Result<void> Synthesis::inode_bitmap(GroupNumber group, ByteSpan out) const {
  const Layout& merged = geometry_.merged();
  if (geometry_.is_appended(group)) {
    std::fill(out.begin(), out.end(), std::byte{0});
  } else {
    UNIONFS_TRY(lower_.read_block(lower_.group(group).inode_bitmap, out));
  }
  merge_bits(out, layer_.inode_whiteouts().of(group), layer_.own_inodes().of(group));
  // Reserved inodes are always used, whatever became of them.
  set_bits(out, 0, geometry_.reserved_inodes_in(group));
  set_bits(out, merged.inodes_per_group, out.size() * 8);
  return {};
}

bool Synthesis::has_plain_inode_table(GroupNumber group) const {
  return !layer_.own_inodes().has_any(group) && !layer_.inode_whiteouts().has_any(group);
}

Result<void> Synthesis::inode_table(const FixedRange& range, BlockNumber block,
                                    ByteSpan out) const {
  const Layout& merged = geometry_.merged();
  const uint32_t group_first = range.group.value() * merged.inodes_per_group;
  const uint64_t first_slot = (block - range.blocks.begin) * merged.inodes_per_block();
  if (geometry_.is_appended(range.group)) {
    std::fill(out.begin(), out.end(), std::byte{0});
  } else {
    UNIONFS_TRY(lower_.read_block(block, out));
  }
  if (has_plain_inode_table(range.group)) {
    return {};
  }
  for (uint32_t i = 0; i < merged.inodes_per_block(); ++i) {
    const uint64_t slot = first_slot + i;
    if (slot >= merged.inodes_per_group) {
      break;
    }
    const auto bit = static_cast<uint32_t>(slot);
    const ByteSpan bytes =
        out.subspan(size_t{i} * merged.inode_size_bytes, merged.inode_size_bytes);
    if (layer_.own_inodes().test(range.group, bit)) {
      UNIONFS_TRY(own_inode(InodeNumber(group_first + bit + 1), bytes));
    } else if (layer_.inode_whiteouts().test(range.group, bit)) {
      std::fill(bytes.begin(), bytes.end(), std::byte{0});
    }
  }
  return {};
}

Result<void> Synthesis::own_inode(InodeNumber inode, ByteSpan slot) const {
  const uint64_t offset = inode_offset(geometry_.merged(), upper_.groups(), inode);
  UNIONFS_TRY(upper_.image().read(offset, slot));
  ext2::Inode raw;
  std::memcpy(&raw, slot.data(), sizeof(raw));
  if ((raw.i_mode & ext2::kModeTypeMask) == ext2::kModeDirectory) {
    raw.i_flags = raw.i_flags & ~ext2::kFlagOpaque;
  }
  if (const KeptInode* kept = layer_.kept_inode(inode)) {
    raw.i_links_count = static_cast<uint16_t>(kept->links_count);
    raw.i_blocks = kept->block_sectors;
  }
  if ((raw.i_mode & ext2::kModeTypeMask) == ext2::kModeRegular) {
    UNIONFS_ASSIGN(const auto below, regular_below(inode));
    if (below) {
      std::array<BlockNumber, ext2::kBlockSlots> pointers;
      for (uint32_t i = 0; i < pointers.size(); ++i) {
        pointers[i] = below->pointer(i);
      }
      UNIONFS_TRY(fill_holes(raw.i_block, pointers));
    }
  }
  std::memcpy(slot.data(), &raw, sizeof(raw));
  return {};
}

Result<std::optional<InodeRecord>> Synthesis::regular_below(InodeNumber inode) const {
  const GroupNumber group = geometry_.merged().group_of(inode);
  const uint32_t bit = (inode.value() - 1) % geometry_.merged().inodes_per_group;
  if (inode.value() > geometry_.lower().inode_count() ||
      layer_.inode_whiteouts().test(group, bit)) {
    return std::optional<InodeRecord>();
  }
  UNIONFS_ASSIGN(InodeRecord below, read_inode(lower_, inode));
  return below.is_regular() ? std::optional(std::move(below)) : std::optional<InodeRecord>();
}

bool Synthesis::is_whited_out(BlockNumber block) const {
  const GroupNumber group = geometry_.merged().group_of(block);
  const uint64_t bit = block - geometry_.merged().blocks_of(group).begin;
  return layer_.block_whiteouts().test(group, static_cast<uint32_t>(bit));
}

// What the layer's file does not own shows from below, unless the lower's block
// is whited out: then the hole is a hole.
Result<void> Synthesis::fill_holes(std::span<Le32> pointers,
                                   std::span<const BlockNumber> below) const {
  for (size_t i = 0; i < pointers.size(); ++i) {
    const BlockNumber block = below[i];
    if (pointers[i] != 0 || block.value() == 0) {
      continue;
    }
    if (!lower_.is_inside(block)) {
      return corrupt("{}: a block pointer {} is outside the image ({} blocks)", lower_.name(),
                     block, lower_.layout().block_count);
    }
    if (!is_whited_out(block)) {
      pointers[i] = static_cast<uint32_t>(block.value());
    }
  }
  return {};
}

// Own indirect blocks: of a regular file, filled up like its inode; of any
// other type all that they lead to is own.
Result<void> Synthesis::own_indirect(const TranslatedBlock& entry, ByteSpan out) const {
  if (entry.level == 0) {
    return corrupt("{}: state area: translated block {} is an indirect block of level 0",
                   upper_.name(), entry.block);
  }
  UNIONFS_ASSIGN(const auto below, regular_below(entry.inode));
  if (!below) {
    return {};
  }
  ext2::Inode own;
  const uint64_t offset = inode_offset(geometry_.merged(), upper_.groups(), entry.inode);
  UNIONFS_TRY(upper_.image().read(offset, std::as_writable_bytes(std::span(&own, 1))));
  if ((own.i_mode & ext2::kModeTypeMask) != ext2::kModeRegular) {
    return {};
  }
  const BlockRole role{entry.level, FileBlock(entry.file_block)};
  UNIONFS_ASSIGN(const auto block, map_block(lower_, *below, role));
  if (!block) {
    return {};
  }
  UNIONFS_ASSIGN(const std::vector<BlockNumber> pointers, read_pointers(lower_, *block));
  return fill_holes({reinterpret_cast<Le32*>(out.data()), pointers.size()}, pointers);
}

Result<void> Synthesis::translated_block(size_t index, ByteSpan out) const {
  const TranslatedBlock& entry = layer_.tables().translated[index];
  const bool is_own = entry.kind != TranslatedKind::kXattrCount;
  UNIONFS_TRY((is_own ? upper_ : lower_).read_block(entry.block, out));
  switch (entry.kind) {
    case TranslatedKind::kDirectory:
      return synthesize_directory_block(lower_, upper_, layer_.tables().features, entry, out);
    case TranslatedKind::kXattr:
    case TranslatedKind::kXattrCount:
      if (const KeptXattr* kept = layer_.kept_xattr(entry.block)) {
        ext2::XattrHeader header;
        std::memcpy(&header, out.data(), sizeof(header));
        header.h_refcount = kept->refcount;
        std::memcpy(out.data(), &header, sizeof(header));
      }
      return {};
    case TranslatedKind::kIndirect:
      return own_indirect(entry, out);
    case TranslatedKind::kSymlink:
      return {};
  }
  return corrupt("{}: translated block {}: unknown kind", upper_.name(), entry.block);
}

}  // namespace unionfs
