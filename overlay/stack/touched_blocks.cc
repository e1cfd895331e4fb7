// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/touched_blocks.h"

namespace unionfs {
namespace {

void add_data(const LayerOverLower& layer, GroupNumber group, BlockSet& blocks) {
  const BlockRange range = layer.geometry().merged().blocks_of(group);
  for_each_set_bit(layer.layer().own_blocks().of(group), range.count(),
                   [&](uint64_t bit) { blocks.set(range.begin + bit); });
}

// The blocks of the group's inode table that have inodes of these bits.
void add_table(const LayerOverLower& layer, GroupNumber group, ConstByteSpan inodes,
               BlockSet& blocks) {
  const Layout& layout = layer.geometry().merged();
  const BlockNumber table = layer.geometry().groups()[group.value()].inode_table;
  for_each_set_bit(inodes, layout.inodes_per_group,
                   [&](uint64_t bit) { blocks.set(table + bit / layout.inodes_per_block()); });
}

// The last group of the level below may have got more blocks, and may be no last one any more.
bool ends_below(const LayerOverLower& layer, GroupNumber group) {
  const Layout& below = layer.below().layout();
  return below.block_count != layer.geometry().merged().block_count &&
         group.value() + 1 == below.group_count();
}

// Whether a layer does not have it by itself.
bool is_of_a_group(const Geometry& geometry, BlockNumber block) {
  if (block.value() < geometry.merged().first_data_block) {
    return false;
  }
  const FixedRange* fixed = geometry.fixed_at_or_after(block);
  if (fixed == nullptr || !fixed->blocks.contains(block)) {
    return true;
  }
  return fixed->kind == FixedKind::kBlockBitmap || fixed->kind == FixedKind::kInodeBitmap ||
         fixed->kind == FixedKind::kInodeTable;
}

}  // namespace

void add_touched_blocks(const LayerOverLower& layer, BlockSet& blocks) {
  const Layer& own = layer.layer();
  for (uint32_t number = 0; number < layer.geometry().merged().group_count(); ++number) {
    const GroupNumber group(number);
    const Group& places = layer.geometry().groups()[number];
    const bool has_end = ends_below(layer, group);
    add_data(layer, group, blocks);
    if (own.own_blocks().has_any(group) || own.block_whiteouts().has_any(group) || has_end) {
      blocks.set(places.block_bitmap);
    }
    if (own.own_inodes().has_any(group) || own.inode_whiteouts().has_any(group) || has_end) {
      blocks.set(places.inode_bitmap);
    }
    add_table(layer, group, own.own_inodes().of(group), blocks);
    add_table(layer, group, own.inode_whiteouts().of(group), blocks);
  }
  for (const TranslatedBlock& translated : own.tables().translated) {
    blocks.set(translated.block);  // not all of them are own
  }
}

void add_written_blocks(const MergedView& view, const Geometry& geometry, BlockSet& blocks) {
  const BlockNumber end(geometry.merged().block_count);
  for (BlockNumber block(0); block < end;) {
    const SessionBitmap::BitRun run = view.written_at(block, end);
    for (; run.is_set && block < run.end; ++block) {
      if (is_of_a_group(geometry, block)) {
        blocks.set(block);
      }
    }
    block = run.end;
  }
}

void add_blocks(const BlockSet& added, const Geometry& geometry, BlockSet& blocks) {
  (void)added.for_each([&](BlockNumber block) -> Result<void> {
    if (is_of_a_group(geometry, block)) {
      blocks.set(block);
    }
    return {};
  });
}

}  // namespace unionfs
