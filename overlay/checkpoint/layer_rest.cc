// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/layer_rest.h"

namespace unionfs {
namespace {

void append(std::vector<BlockRange>& ranges, BlockNumber block) {
  if (!ranges.empty() && ranges.back().end == block) {
    ranges.back().end = block + 1;
  } else {
    ranges.push_back({block, block + 1});
  }
}

// The bitmaps of a group, and its blocks that changed hands.
void add_group(const LayerSources& from, const WrittenBlocks& written, const LayerSets& sets,
               GroupNumber group, BlockSet& blocks) {
  const Layer& old = from.layer;
  const Group& places = from.geometry.groups()[group.value()];
  const bool same_blocks = same_bits(sets.own_blocks.bits(), old.own_blocks(), group) &&
                           same_bits(sets.block_whiteouts.bits(), old.block_whiteouts(), group);
  const bool same_inodes = same_bits(sets.own_inodes.bits(), old.own_inodes(), group) &&
                           same_bits(sets.inode_whiteouts.bits(), old.inode_whiteouts(), group);
  if (!same_blocks || written.block_bitmaps.contains(group)) {
    blocks.set(places.block_bitmap);
  }
  if (!same_inodes || written.inode_bitmaps.contains(group)) {
    blocks.set(places.inode_bitmap);
  }
  const BlockRange all = from.layout().blocks_of(group);
  for (BlockNumber block = all.begin; !same_blocks && block < all.end; ++block) {
    const auto bit = static_cast<uint32_t>(block - all.begin);
    if (sets.own_blocks.test(block) != old.own_blocks().test(group, bit) ||
        sets.block_whiteouts.test(block) != old.block_whiteouts().test(group, bit)) {
      blocks.set(block);
    }
  }
}

}  // namespace

std::vector<BlockRange> find_dead(const LayerSources& from, const SessionChanges& changes,
                                  const Ownership& own) {
  std::vector<BlockRange> dead;
  for (const BlockRange& range : changes.written.data) {
    for (BlockNumber block = range.begin; block < range.end; ++block) {
      if (!own.sets.own_blocks.test(block)) {
        append(dead, block);
      }
    }
  }
  for (uint32_t number = 0; number < from.layout().group_count(); ++number) {
    const GroupNumber group(number);
    const ConstByteSpan old = from.layer.own_blocks().of(group);
    const BlockRange blocks = from.layout().blocks_of(group);
    if (old.empty() || same_bits(own.sets.own_blocks.bits(), from.layer.own_blocks(), group)) {
      continue;
    }
    for (uint64_t bit = find_set_bit(old, 0, blocks.count()); bit < blocks.count();
         bit = find_set_bit(old, bit + 1, blocks.count())) {
      const BlockNumber block = blocks.begin + bit;
      if (!own.sets.own_blocks.test(block) && !from.bitmap.test(block)) {
        append(dead, block);
      }
    }
  }
  return dead;
}

BlockSet find_blocks_to_prove(const LayerSources& from, const SessionChanges& changes,
                              const Ownership& own, const StagedFile& stage) {
  BlockSet blocks(from.layout());
  for (const BlockRange& range : changes.written.data) {
    for (BlockNumber block = range.begin; block < range.end; ++block) {
      blocks.set(block);
    }
  }
  for (const auto& [table, block] : changes.written.tables) {
    blocks.set(block);
  }
  for (uint32_t number = 0; number < from.layout().group_count(); ++number) {
    add_group(from, changes.written, own.sets, GroupNumber(number), blocks);
  }
  for (const auto& [number, inode] : own.inodes) {
    const uint64_t offset = inode_offset(from.layout(), from.upper.groups(), number);
    blocks.set(BlockNumber(offset / from.layout().block_size_bytes));
  }
  for (const auto& [block, entry] : own.sets.translated) {
    if (from.layer.translated(block) == nullptr || stage.pages().contains(from.offset_of(block))) {
      blocks.set(block);
    }
  }
  return blocks;
}

}  // namespace unionfs
