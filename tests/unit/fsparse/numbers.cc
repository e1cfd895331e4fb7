// SPDX-License-Identifier: BSD-3-Clause
//
// What an image says, and what may index: two types, and one way between them.
#include "fsparse/numbers.h"

#include <type_traits>

#include "fsparse/superblock.h"
#include "tests/unit/support/expect.h"

using namespace unionfs;

// No field of an image becomes a position, and no claimed number does.
static_assert(!std::is_constructible_v<BlockNumber, Le32>);
static_assert(!std::is_constructible_v<InodeNumber, Le32>);
static_assert(!std::is_constructible_v<GroupNumber, Le16>);
static_assert(!std::is_constructible_v<FileBlock, Le64>);
static_assert(!std::is_constructible_v<BlockNumber, ClaimedBlock>);
static_assert(!std::is_convertible_v<ClaimedBlock, BlockNumber>);
static_assert(!std::is_convertible_v<ClaimedInode, InodeNumber>);
static_assert(!std::is_constructible_v<ClaimedBlock, ClaimedInode>);
static_assert(std::is_constructible_v<ClaimedBlock, Le32>);

TEST_CASE("a claimed number is a position where the image has one", "[fsparse][numbers]") {
  Layout layout;
  layout.block_size_bytes = 1024;
  layout.first_data_block = 1;
  layout.blocks_per_group = 256;
  layout.inodes_per_group = 32;
  layout.block_count = 600;  // three groups, the last one short
  CHECK_FALSE(layout.block(ClaimedBlock(0)));
  CHECK(layout.block(ClaimedBlock(1)) == BlockNumber(1));
  CHECK(layout.block(ClaimedBlock(599)) == BlockNumber(599));
  CHECK_FALSE(layout.block(ClaimedBlock(600)));
  CHECK_FALSE(layout.block(ClaimedBlock(UINT32_MAX)));
  CHECK_FALSE(layout.inode(ClaimedInode(0)));
  CHECK(layout.inode(ClaimedInode(1)) == InodeNumber(1));
  CHECK(layout.inode(ClaimedInode(96)) == InodeNumber(96));
  CHECK_FALSE(layout.inode(ClaimedInode(97)));
  CHECK(layout.group(ClaimedGroup(2)) == GroupNumber(2));
  CHECK_FALSE(layout.group(ClaimedGroup(3)));
  layout.first_data_block = 0;
  layout.block_count = UINT32_MAX;
  CHECK(layout.block(ClaimedBlock(0)) == BlockNumber(0));
  CHECK(layout.block(ClaimedBlock(UINT32_MAX - 1)) == BlockNumber(UINT32_MAX - 1));
  CHECK_FALSE(layout.block(ClaimedBlock(UINT32_MAX)));
}

TEST_CASE("a claimed number compares with the position that it may be", "[fsparse][numbers]") {
  CHECK(ClaimedBlock(7) == BlockNumber(7));
  CHECK(BlockNumber(7) == ClaimedBlock(7));
  CHECK(ClaimedBlock(7) != BlockNumber((uint64_t{1} << 32) + 7));
  CHECK(ClaimedBlock(0).is_none());
  CHECK_FALSE(ClaimedBlock(1).is_none());
  CHECK(fmt::format("{}", ClaimedInode(12)) == "12");
}
