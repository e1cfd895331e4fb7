// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/layer.h"

#include <algorithm>

#include "overlay/upper/layer_groups.h"

namespace unionfs {
namespace {

// Sets the bits of a range of blocks that may span groups.
void set_blocks(GroupBits& bits, const Layout& layout, const BlockRange& range) {
  BlockNumber block = range.begin;
  while (block < range.end) {
    const GroupNumber group = layout.group_of(block);
    const BlockRange blocks = layout.blocks_of(group);
    const BlockNumber end = std::min(range.end, blocks.end);
    set_bits(bits.mutable_of(group), block - blocks.begin, end - blocks.begin);
    block = end;
  }
}

}  // namespace

Layer::Layer(const Volume& upper, const Geometry& geometry, LayerTables tables)
    : superblock_(upper.superblock().raw()),
      tables_(std::move(tables)),
      own_blocks_(geometry.merged().group_count(), geometry.merged().blocks_per_group),
      own_inodes_(geometry.merged().group_count(), geometry.merged().inodes_per_group),
      block_whiteouts_(geometry.merged().group_count(), geometry.merged().blocks_per_group),
      inode_whiteouts_(geometry.merged().group_count(), geometry.merged().inodes_per_group) {
  const Layout& merged = geometry.merged();
  for (const BlockRange& range : tables_.block_whiteouts) {
    set_blocks(block_whiteouts_, merged, range);
  }
  for (const InodeNumber inode : tables_.inode_whiteouts) {
    inode_whiteouts_.set(merged.group_of(inode), (inode.value() - 1) % merged.inodes_per_group);
  }
}

Result<Layer> Layer::load(const Volume& upper, const Geometry& geometry, LayerTables tables) {
  Layer layer(upper, geometry, std::move(tables));
  UNIONFS_TRY(layer.load_own(upper, geometry));
  UNIONFS_TRY(layer.check_translated(upper.name(), geometry));
  return layer;
}

Result<void> Layer::load_own(const Volume& upper, const Geometry& geometry) {
  const Layout& merged = geometry.merged();
  std::vector<std::byte> bitmap(merged.block_size_bytes);
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    const GroupNumber group(number);
    const Group& places = upper.group(group);
    const uint64_t block_count = merged.blocks_of(group).count();
    if (places.free_blocks_count + geometry.fixed_blocks_in(group) < block_count) {
      UNIONFS_TRY(upper.read_block(places.block_bitmap, bitmap));
      ByteSpan bits = own_blocks_.mutable_of(group);
      std::copy_n(bitmap.begin(), divide_round_up(block_count, 8), bits.begin());
      clear_bits(bits, block_count, bits.size() * 8);
      clear_fixed_bits(geometry, group, bits);
    }
    const uint32_t reserved = geometry.reserved_inodes_in(group);
    if (places.free_inodes_count + reserved < merged.inodes_per_group) {
      UNIONFS_TRY(upper.read_block(places.inode_bitmap, bitmap));
      ByteSpan bits = own_inodes_.mutable_of(group);
      std::copy_n(bitmap.begin(), divide_round_up(merged.inodes_per_group, 8), bits.begin());
      clear_bits(bits, merged.inodes_per_group, bits.size() * 8);
      clear_bits(bits, 0, reserved);
    }
  }
  for (const TranslatedBlock& entry : tables_.translated) {
    // So that the routing looks for translated blocks in this group.
    own_blocks_.mutable_of(merged.group_of(entry.block));
  }
  for (uint32_t inode = 1; inode < ext2::kGoodOldFirstInode; ++inode) {
    if ((tables_.reserved_inodes_own >> (inode - 1) & 1) != 0) {
      own_inodes_.set(merged.group_of(InodeNumber(inode)), (inode - 1) % merged.inodes_per_group);
    }
  }
  return {};
}

// A translated block is own, or nothing but a count of the lower's block.
Result<void> Layer::check_translated(const std::string& name, const Geometry& geometry) const {
  const Layout& merged = geometry.merged();
  for (const TranslatedBlock& entry : tables_.translated) {
    const GroupNumber group = merged.group_of(entry.block);
    const uint64_t bit = entry.block - merged.blocks_of(group).begin;
    const bool is_own = own_blocks_.test(group, static_cast<uint32_t>(bit));
    if (is_own == (entry.kind == TranslatedKind::kXattrCount)) {
      return corrupt("{}: state area: translated block {} is {}the layer's own", name, entry.block,
                     is_own ? "" : "not ");
    }
  }
  return {};
}

size_t Layer::translated_at_or_after(BlockNumber block) const {
  const auto found = std::lower_bound(
      tables_.translated.begin(), tables_.translated.end(), block,
      [](const TranslatedBlock& entry, BlockNumber wanted) { return entry.block < wanted; });
  return static_cast<size_t>(found - tables_.translated.begin());
}

const TranslatedBlock* Layer::translated(BlockNumber block) const {
  const size_t index = translated_at_or_after(block);
  const bool found = index < tables_.translated.size() && tables_.translated[index].block == block;
  return found ? &tables_.translated[index] : nullptr;
}

const KeptInode* Layer::kept_inode(InodeNumber inode) const {
  const auto found = std::lower_bound(
      tables_.kept_inodes.begin(), tables_.kept_inodes.end(), inode,
      [](const KeptInode& entry, InodeNumber wanted) { return entry.inode < wanted; });
  return found != tables_.kept_inodes.end() && found->inode == inode ? &*found : nullptr;
}

const KeptXattr* Layer::kept_xattr(BlockNumber block) const {
  const auto found = std::lower_bound(
      tables_.kept_xattrs.begin(), tables_.kept_xattrs.end(), block,
      [](const KeptXattr& entry, BlockNumber wanted) { return entry.block < wanted; });
  return found != tables_.kept_xattrs.end() && found->block == block ? &*found : nullptr;
}

}  // namespace unionfs
