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

// The same of inodes.
void set_inodes(GroupBits& bits, const Layout& layout, const InodeRange& range) {
  InodeNumber inode = range.begin;
  while (inode < range.end) {
    const GroupNumber group = layout.group_of(inode);
    const uint32_t first = (inode.value() - 1) % layout.inodes_per_group;
    const uint32_t count = std::min(layout.inodes_per_group - first, range.end - inode);
    set_bits(bits.mutable_of(group), first, first + count);
    inode += count;
  }
}

// Takes a group's bits [begin, end) of a bitmap's block; all others are clear.
void take_bits(GroupBits& bits, GroupNumber group, ByteSpan bitmap, uint64_t begin, uint64_t end) {
  clear_bits(bitmap, 0, begin);
  clear_bits(bitmap, end, bitmap.size() * 8);
  if (count_bits(bitmap, 0, bitmap.size() * 8) > 0) {
    const ByteSpan taken = bits.mutable_of(group);
    std::copy_n(bitmap.begin(), divide_round_up(end, 8), taken.begin());
  }
}

// Whether the descriptors' counts add up to the superblock's.
bool do_counts_agree(const Volume& upper, const Layout& merged) {
  uint64_t free_blocks = 0;
  uint64_t free_inodes = 0;
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    const Group& group = upper.group(GroupNumber(number));
    free_blocks += group.free_blocks_count;
    free_inodes += group.free_inodes_count;
  }
  const ext2::Superblock& raw = upper.superblock().raw();
  return raw.s_free_blocks_count == free_blocks && raw.s_free_inodes_count == free_inodes;
}

}  // namespace

void add_whiteout(std::vector<InodeRange>& ranges, InodeNumber inode) {
  auto behind = std::lower_bound(
      ranges.begin(), ranges.end(), inode,
      [](const InodeRange& range, InodeNumber wanted) { return range.end < wanted; });
  if (behind == ranges.end() || inode + 1 < behind->begin) {
    ranges.insert(behind, {inode, inode + 1});
    return;
  }
  behind->begin = std::min(behind->begin, inode);
  behind->end = std::max(behind->end, inode + 1);
  const auto next = behind + 1;
  if (next != ranges.end() && next->begin == behind->end) {
    behind->end = next->end;
    ranges.erase(next);
  }
}

void set_whiteouts(const LayerTables& tables, const Layout& merged, GroupBits& blocks,
                   GroupBits& inodes) {
  for (const BlockRange& range : tables.block_whiteouts) {
    set_blocks(blocks, merged, range);
  }
  for (const InodeRange& range : tables.inode_whiteouts) {
    set_inodes(inodes, merged, range);
  }
}

Layer::Layer(const Volume& upper, const Geometry& geometry, LayerTables tables)
    : superblock_(upper.superblock().raw()),
      tables_(std::move(tables)),
      own_blocks_(geometry.merged().group_count(), geometry.merged().blocks_per_group),
      own_inodes_(geometry.merged().group_count(), geometry.merged().inodes_per_group),
      block_whiteouts_(geometry.merged().group_count(), geometry.merged().blocks_per_group),
      inode_whiteouts_(geometry.merged().group_count(), geometry.merged().inodes_per_group) {
  set_whiteouts(tables_, geometry.merged(), block_whiteouts_, inode_whiteouts_);
}

Result<Layer> Layer::load(const Volume& upper, const Geometry& geometry, LayerTables tables) {
  Layer layer(upper, geometry, std::move(tables));
  UNIONFS_TRY(layer.load_own(upper, geometry));
  UNIONFS_TRY(layer.check_translated(upper.name(), geometry));
  return layer;
}

// The counts of the descriptors only save reading bitmaps.  Where one is wrong, none is
// believed.
Result<void> Layer::load_own(const Volume& upper, const Geometry& geometry) {
  const Layout& merged = geometry.merged();
  const bool counts_agree = do_counts_agree(upper, merged);
  UNIONFS_ASSIGN(const bool counts_are_right, load_bitmaps(upper, geometry, counts_agree));
  if (counts_agree && !counts_are_right) {
    UNIONFS_TRY(load_bitmaps(upper, geometry, false));
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

// Returns whether the counts are right of all groups whose bitmaps were read.
Result<bool> Layer::load_bitmaps(const Volume& upper, const Geometry& geometry,
                                 bool believes_counts) {
  const Layout& merged = geometry.merged();
  std::vector<std::byte> bitmap(merged.block_size_bytes);
  bool are_right = true;
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    const GroupNumber group(number);
    const Group& places = upper.group(group);
    const uint64_t block_count = merged.blocks_of(group).count();
    const uint32_t inode_count = merged.inodes_per_group;
    const uint32_t reserved = geometry.reserved_inodes_in(group);
    const bool has_blocks =
        places.free_blocks_count + geometry.fixed_blocks_in(group) < block_count;
    if (!places.has_block_bitmap) {
      are_right &= !has_blocks;
    } else if (!believes_counts || has_blocks) {
      UNIONFS_TRY(upper.read_block(places.block_bitmap, bitmap));
      are_right &= count_bits(bitmap, 0, block_count) + places.free_blocks_count == block_count;
      clear_fixed_bits(geometry, group, bitmap);
      take_bits(own_blocks_, group, bitmap, 0, block_count);
    }
    const bool has_inodes = places.free_inodes_count + reserved < inode_count;
    if (!places.has_inode_bitmap) {
      are_right &= !has_inodes && reserved == 0;
    } else if (!believes_counts || has_inodes) {
      UNIONFS_TRY(upper.read_block(places.inode_bitmap, bitmap));
      are_right &= count_bits(bitmap, 0, inode_count) + places.free_inodes_count == inode_count;
      take_bits(own_inodes_, group, bitmap, reserved, inode_count);
    }
  }
  return are_right;
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
