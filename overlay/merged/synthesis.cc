// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/synthesis.h"

#include <algorithm>
#include <cstring>

#include "overlay/merged/directory_synthesis.h"

namespace unionfs {

Synthesis::Synthesis(const Below& below, const Volume& upper, const Geometry& geometry,
                     const Layer& layer)
    : below_(below),
      upper_(upper),
      geometry_(geometry),
      layer_(layer),
      items_(below, upper, geometry, layer) {
  make_groups();
  make_superblock();
  if (below.layer() != nullptr) {
    composed_ =
        std::make_unique<ComposedBlocks>(geometry.merged().block_size_bytes, kMostRememberedBytes);
  }
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

template <typename Compose>
Result<void> Synthesis::remembered(BlockNumber block, ByteSpan out, Compose&& compose) const {
  if (composed_ == nullptr) {
    return compose();
  }
  if (composed_->find(block, out)) {
    return {};
  }
  UNIONFS_TRY(compose());
  composed_->keep(block, out);
  return {};
}

// The others are made of what is in memory.
Result<void> Synthesis::fixed_block(const FixedRange& range, BlockNumber block,
                                    ByteSpan out) const {
  const bool asks_below = range.kind == FixedKind::kBlockBitmap ||
                          range.kind == FixedKind::kInodeBitmap ||
                          range.kind == FixedKind::kInodeTable;
  const auto compose = [&] { return compose_fixed(range, block, out); };
  return asks_below ? remembered(block, out, compose) : compose();
}

Result<void> Synthesis::compose_fixed(const FixedRange& range, BlockNumber block,
                                      ByteSpan out) const {
  switch (range.kind) {
    case FixedKind::kBoot:
      return boot_area(out);
    case FixedKind::kSuperblock:
      return superblock(range.group, block, out);
    case FixedKind::kDescriptors:
      descriptors(range.first_index + static_cast<uint32_t>(block - range.blocks.begin), out);
      return {};
    case FixedKind::kBlockBitmap:
      return items_.used_blocks(range.group, out);
    case FixedKind::kInodeBitmap:
      return items_.used_inodes(range.group, out);
    case FixedKind::kInodeTable:
      return inode_table(range, block, 0, out);
  }
  return corrupt("block {}: no kind of F-block", block);
}

Result<void> Synthesis::boot_area(ByteSpan out) const {
  return (layer_.tables().boot_own ? upper_ : below_.volume()).image().read(0, out);
}

Result<void> Synthesis::superblock(GroupNumber group, BlockNumber block, ByteSpan out) const {
  std::fill(out.begin(), out.end(), std::byte{0});
  size_t offset = 0;
  if (block.value() == 0) {
    // Larger blocks: the boot area shares block 0 with the superblock.
    offset = ext2::kSuperblockOffsetBytes;
    UNIONFS_TRY(boot_area(out.first(offset)));
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
    const ext2::GroupDescriptor raw = raw_descriptor(groups_[number]);
    std::memcpy(out.data() + i * sizeof(raw), &raw, sizeof(raw));
  }
}

bool Synthesis::has_plain_inode_table(GroupNumber group) const {
  return !layer_.own_inodes().has_any(group) && !layer_.inode_whiteouts().has_any(group);
}

bool Synthesis::has_parts(const FixedRange& range, size_t skip, size_t length) const {
  const uint32_t inode_bytes = geometry_.merged().inode_size_bytes;
  return range.kind == FixedKind::kInodeTable && composed_ == nullptr && skip % inode_bytes == 0 &&
         length % inode_bytes == 0;
}

// `out` is the block from `skip` on, or so much of it.
Result<void> Synthesis::inode_table(const FixedRange& range, BlockNumber block, size_t skip,
                                    ByteSpan out) const {
  const Layout& merged = geometry_.merged();
  if (geometry_.is_appended(range.group)) {
    std::fill(out.begin(), out.end(), std::byte{0});
  } else {
    UNIONFS_TRY(below_.volume().image().read(merged.offset_of(block) + skip, out));
  }
  const uint64_t first_slot =
      (block - range.blocks.begin) * merged.inodes_per_block() + skip / merged.inode_size_bytes;
  if (has_plain_inode_table(range.group) || first_slot >= merged.inodes_per_group) {
    return {};
  }
  const uint64_t count = std::min<uint64_t>(out.size() / merged.inode_size_bytes,
                                            merged.inodes_per_group - first_slot);
  const uint64_t first = uint64_t{range.group.value()} * merged.inodes_per_group + first_slot + 1;
  return items_.own_inodes(InodeNumber(static_cast<uint32_t>(first)),
                           out.first(count * merged.inode_size_bytes));
}

Result<void> Synthesis::translated_block(size_t index, ByteSpan out) const {
  const TranslatedBlock& entry = layer_.tables().translated[index];
  return remembered(entry.block, out, [&] { return compose_translated(entry, out); });
}

Result<void> Synthesis::compose_translated(const TranslatedBlock& entry, ByteSpan out) const {
  const bool is_own = entry.kind != TranslatedKind::kXattrCount;
  UNIONFS_TRY((is_own ? upper_ : below_.volume()).read_block(entry.block, out));
  switch (entry.kind) {
    case TranslatedKind::kDirectory:
      return synthesize_directory_block(below_, upper_, layer_.tables().features, entry, out);
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
      return items_.fill_own_pointers(entry, out);
    case TranslatedKind::kSymlink:
      return {};
  }
  return corrupt("{}: translated block {}: unknown kind", upper_.name(), entry.block);
}

}  // namespace unionfs
