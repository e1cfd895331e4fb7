// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/base/base_layout.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

namespace unionfs {
namespace {

constexpr uint64_t kSizeParts = 16;
// As Geometry::grow() and mke2fs have it.
constexpr uint64_t kLeastFreeBlocksInLastGroup = 50;
constexpr uint32_t kLeastInodesPerGroup = 16;

uint64_t head_blocks(const Layout& layout, GroupNumber group) {
  return (layout.has_superblock(group) ? 1U : 0U) + layout.descriptor_copy(group).count;
}

// Whole blocks of inode table and whole bytes of bitmap.
uint64_t round_inodes(uint64_t inodes_per_group, const Layout& layout) {
  return round_up(inodes_per_group,
                  std::max<uint64_t>(layout.inodes_per_block(), ext2::kBitsPerByte));
}

// All that follows from the options alone.
Layout empty_layout(const BaseOptions& options) {
  Layout layout;
  layout.block_size_bytes = options.block_size_bytes;
  layout.first_data_block = options.block_size_bytes == ext2::kMinBlockSizeBytes ? 1 : 0;
  layout.blocks_per_group = options.block_size_bytes * ext2::kBitsPerByte;
  layout.inode_size_bytes = options.inode_size_bytes;
  layout.first_inode = ext2::kGoodOldFirstInode;
  layout.has_sparse_super = true;
  layout.has_file_types = true;
  return layout;
}

}  // namespace

uint64_t round_to_part(uint64_t value, uint64_t parts, uint64_t least) {
  return round_up(value, std::max(least, std::bit_floor(value) / parts));
}

std::optional<BaseLayout> BaseLayout::try_size(const BaseOptions& options, uint64_t block_count,
                                               uint64_t inode_count) {
  Layout layout = empty_layout(options);
  layout.block_count = block_count;
  const uint64_t group_bytes = uint64_t{layout.blocks_per_group} * layout.block_size_bytes;
  const uint64_t needed = round_to_part(divide_round_up(inode_count, layout.group_count()),
                                        kSizeParts, kLeastInodesPerGroup);
  const uint64_t most = uint64_t{layout.block_size_bytes} * ext2::kBitsPerByte;
  const uint64_t inodes_per_group =
      round_inodes(std::max(needed, group_bytes / options.inode_ratio_bytes), layout);
  layout.inodes_per_group = static_cast<uint32_t>(std::min(inodes_per_group, most));
  if (needed > most || layout.inode_count() > UINT32_MAX) {
    return std::nullopt;
  }
  BaseLayout base(layout);
  const GroupNumber last(layout.group_count() - 1);
  if (layout.blocks_of(last).count() <
      base.metadata_block_count(last) + (last.value() == 0 ? 0 : kLeastFreeBlocksInLastGroup)) {
    return std::nullopt;
  }
  base.place_groups();
  return base;
}

// Of the size asked for; none if it makes no image.
std::optional<BaseLayout> BaseLayout::of_size(const BaseOptions& options, uint64_t inode_count) {
  const Layout empty = empty_layout(options);
  const uint64_t blocks = *options.size_bytes / options.block_size_bytes;
  if (blocks <= empty.first_data_block) {
    return std::nullopt;
  }
  std::optional<BaseLayout> base = try_size(options, blocks, inode_count);
  // A last group that is too small goes.
  const uint64_t rest = (blocks - empty.first_data_block) % empty.blocks_per_group;
  if (!base && blocks - rest > empty.first_data_block) {
    base = try_size(options, blocks - rest, inode_count);
  }
  return base;
}

Result<BaseLayout> BaseLayout::make(const BaseOptions& options, uint64_t inode_count,
                                    DataPosition data_end) {
  const uint64_t most_bytes = uint64_t{UINT32_MAX} * options.block_size_bytes;
  if (options.size_bytes && *options.size_bytes > most_bytes) {
    return invalid("a size of {} bytes is more than an image with blocks of {} bytes can have: {}",
                   *options.size_bytes, options.block_size_bytes, most_bytes);
  }
  const auto holds_all = [&](const std::optional<BaseLayout>& base) {
    return base && base->data_block_count() >= data_end.value();
  };
  std::optional<BaseLayout> base;
  if (options.size_bytes && holds_all(base = of_size(options, inode_count))) {
    return *std::move(base);
  }
  const uint64_t least = kPieceBytes / options.block_size_bytes;
  uint64_t blocks = data_end.value();
  do {
    blocks = round_to_part(blocks + 1, kSizeParts, least);
    base = blocks <= UINT32_MAX ? try_size(options, blocks, inode_count) : std::nullopt;
  } while (blocks <= UINT32_MAX && !holds_all(base));
  if (!base) {
    return invalid(
        "the files are too many or too large for an image with blocks of {} bytes, inodes of {} "
        "and an inode for each {}",
        options.block_size_bytes, options.inode_size_bytes, options.inode_ratio_bytes);
  }
  if (options.size_bytes) {
    return invalid("a size of {} bytes is too small for the files; {} are enough",
                   *options.size_bytes, base->layout().size_bytes());
  }
  return *std::move(base);
}

uint64_t BaseLayout::metadata_block_count(GroupNumber group) const {
  return head_blocks(layout_, group) + 2 + layout_.inode_table_block_count();
}

void BaseLayout::place_groups() {
  const uint64_t blocks_per_piece = kPieceBytes / layout_.block_size_bytes;
  DataPosition next;
  for (uint32_t number = 0; number < layout_.group_count(); ++number) {
    const GroupNumber group_number(number);
    const BlockRange blocks = layout_.blocks_of(group_number);
    const uint64_t metadata = metadata_block_count(group_number);
    Group group;
    group.block_bitmap = blocks.begin + head_blocks(layout_, group_number);
    group.inode_bitmap = group.block_bitmap + 1;
    group.inode_table = group.block_bitmap + 2;
    group.free_blocks_count = static_cast<uint32_t>(blocks.count() - metadata);
    group.free_inodes_count = layout_.inodes_per_group;
    groups_.push_back(group);
    const BlockNumber begin(round_up((blocks.begin + metadata).value(), blocks_per_piece));
    const BlockNumber end(blocks.end.value() / blocks_per_piece * blocks_per_piece);
    if (begin < end) {
      runs_.push_back({next, {begin, end}});
      next += end - begin;
    }
  }
}

uint64_t BaseLayout::data_block_count() const {
  return runs_.empty() ? 0 : runs_.back().first.value() + runs_.back().blocks.count();
}

const BaseLayout::PieceRun& BaseLayout::run_of(DataPosition position) const {
  assert(position.value() < data_block_count());
  const auto after =
      std::upper_bound(runs_.begin(), runs_.end(), position,
                       [](DataPosition value, const PieceRun& run) { return value < run.first; });
  return *std::prev(after);
}

BlockNumber BaseLayout::block_at(DataPosition position) const {
  const PieceRun& run = run_of(position);
  return run.blocks.begin + (position - run.first);
}

void BaseLayout::for_each_range(DataPosition begin, DataPosition end,
                                const std::function<void(BlockRange)>& visit) const {
  while (begin < end) {
    const PieceRun& run = run_of(begin);
    const BlockNumber first = run.blocks.begin + (begin - run.first);
    const BlockNumber last = std::min(run.blocks.end, first + (end - begin));
    visit({first, last});
    begin += last - first;
  }
}

}  // namespace unionfs
