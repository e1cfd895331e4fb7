// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/geometry/number_sets.h"

#include "tests/unit/support/open_image.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// Reads of this block fail.
void fail_block(OpenImage& open, BlockNumber block) {
  const uint64_t offset = open.volume.layout().offset_of(block);
  open.image.fail(offset, offset + open.volume.layout().block_size_bytes);
}

}  // namespace

TEST_CASE("Used numbers: a bitmap is read once", "[number_sets]") {
  const RealImage real(2048, {});
  const OpenImage open(real.load());
  UsedNumbers used(open.volume);
  CHECK(value_of(used.is_used(BlockNumber(1))));
  CHECK_FALSE(value_of(used.is_used(BlockNumber(2047))));
  CHECK(value_of(used.is_used(kRootDirectory)));
  CHECK(open.image.read_count() == 2);
}

TEST_CASE("Used numbers: those past the end are free", "[number_sets]") {
  const RealImage real(2048, {});
  const OpenImage open(real.load());
  UsedNumbers used(open.volume);
  CHECK_FALSE(value_of(used.is_used(BlockNumber(2048))));
  CHECK_FALSE(value_of(
      used.is_used(InodeNumber(static_cast<uint32_t>(open.volume.layout().inode_count()) + 1))));
  CHECK(open.image.read_count() == 0);
}

TEST_CASE("Used numbers: a bitmap that was not read says nothing", "[number_sets]") {
  const RealImage real(2048, {});
  OpenImage open(real.load());
  UsedNumbers used(open.volume);
  const Group& group = open.volume.group(GroupNumber(0));
  SECTION("of blocks") {
    fail_block(open, group.block_bitmap);
    for (int i = 0; i < 2; ++i) {
      CHECK((expect_error(used.is_used(BlockNumber(1)), {"lower.img"}) == ErrorKind::kSystem));
    }
    open.image.fail(0, 0);
    CHECK(value_of(used.is_used(BlockNumber(1))));
  }
  SECTION("of inodes") {
    fail_block(open, group.inode_bitmap);
    for (int i = 0; i < 2; ++i) {
      CHECK((expect_error(used.is_used(kRootDirectory), {"lower.img"}) == ErrorKind::kSystem));
    }
    open.image.fail(0, 0);
    CHECK(value_of(used.is_used(kRootDirectory)));
  }
}
