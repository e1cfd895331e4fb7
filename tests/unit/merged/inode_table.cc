// SPDX-License-Identifier: BSD-3-Clause
//
// Inodes of a layer, read some at a time and by whole blocks.
#include <catch2/catch.hpp>

#include <algorithm>
#include <optional>

#include "tests/unit/checkpoint/checkpoint_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// How many parts of so many bytes are not what their block of the inode table has there.
uint64_t parts_unlike_their_block(const Disk& disk, uint32_t part_bytes, uint32_t first_bytes) {
  const Geometry& geometry = disk.geometry();
  const uint32_t block_bytes = geometry.merged().block_size_bytes;
  uint64_t unlike = 0;
  for (uint64_t number = 0; number < geometry.merged().block_count; ++number) {
    const BlockNumber block(number);
    const FixedRange* range = geometry.fixed_at_or_after(block);
    if (range == nullptr || !range->blocks.contains(block) ||
        range->kind != FixedKind::kInodeTable) {
      continue;
    }
    const std::vector<std::byte> whole = read_range(disk, number * block_bytes, block_bytes);
    for (uint32_t at = first_bytes; at < block_bytes; at += part_bytes) {
      const uint32_t length = std::min(part_bytes, block_bytes - at);
      const std::vector<std::byte> part = read_range(disk, number * block_bytes + at, length);
      unlike += std::equal(part.begin(), part.end(), whole.begin() + at) ? 0 : 1;
    }
  }
  return unlike;
}

}  // namespace

TEST_CASE("Inode table: a part is what the block has there", "[inode_table]") {
  for (const uint32_t block_bytes : {1024U, 4096U}) {
    const CheckpointImages& images = CheckpointImages::of(block_bytes);
    const auto layer = images.with_layer();
    const auto disk = open_disk(images.lower(), *layer);
    const uint32_t inode_bytes = disk->geometry().merged().inode_size_bytes;
    INFO(block_bytes << " bytes in a block, " << inode_bytes << " in an inode");
    CHECK(parts_unlike_their_block(*disk, inode_bytes, 0) == 0);
    CHECK(parts_unlike_their_block(*disk, 3 * inode_bytes, inode_bytes) == 0);
    CHECK(parts_unlike_their_block(*disk, inode_bytes / 2, 0) == 0);
    CHECK(parts_unlike_their_block(*disk, inode_bytes, 7) == 0);
  }
}

TEST_CASE("Inode table: own inodes of one block are one read of the upper", "[inode_table]") {
  const CheckpointImages& images = CheckpointImages::of(4096);
  const auto upper = images.with_layer();
  const auto disk = open_disk(images.lower(), *upper);
  const Layout& merged = disk->geometry().merged();
  const Layer& layer = disk->layer().layer();
  // A block of the inode table with several own inodes.
  const auto is_own = [&](uint32_t number) {
    return layer.own_inodes().test(merged.group_of(InodeNumber(number)),
                                   (number - 1) % merged.inodes_per_group);
  };
  std::optional<InodeNumber> first;
  for (uint32_t number = 1; number <= merged.inode_count() && !first;
       number += merged.inodes_per_block()) {
    uint32_t own = 0;
    for (uint32_t i = 0; i < merged.inodes_per_block(); ++i) {
      own += is_own(number + i) ? 1 : 0;
    }
    first = own > 3 ? std::optional(InodeNumber(number)) : std::nullopt;
  }
  REQUIRE(first);
  const uint64_t offset = inode_offset(merged, disk->geometry().groups(), *first);
  const auto reads_of = [&](uint64_t length) {
    upper->reset_counts();
    read_range(*disk, offset, length);
    return upper->count(FileOperation::kRead);
  };
  CHECK(reads_of(merged.block_size_bytes) == 1);
  CHECK(reads_of(2 * merged.inode_size_bytes) <= 1);
}
