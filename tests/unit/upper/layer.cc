// SPDX-License-Identifier: BSD-3-Clause
//
// Which blocks a layer owns, where the counts in its descriptors are wrong; and ranges of inodes.
#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "fsparse/group_checksum.h"
#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kBlock = 1024;

// An upper that owns the last block of its last group.
struct CountedUpper {
  CountedUpper() {
    make_own(*upper, geometry, {own, own + 1}, pattern(1, kBlock));
    add_to_superblock(-1);
  }

  uint64_t descriptor_offset(GroupNumber group) const {
    const Layout& merged = geometry.merged();
    const uint32_t per_block = merged.descriptors_per_block();
    return merged.offset_of(merged.primary_descriptor_block(group.value() / per_block)) +
           group.value() % per_block * sizeof(ext2::GroupDescriptor);
  }
  ext2::GroupDescriptor descriptor(GroupNumber group) const {
    return upper->get<ext2::GroupDescriptor>(descriptor_offset(group));
  }
  // To the free blocks that the group's descriptor counts.  Its flags stay.
  void add_to_group(GroupNumber group, int number, bool with_checksum = false) {
    ext2::GroupDescriptor changed = descriptor(group);
    changed.bg_free_blocks_count =
        static_cast<uint16_t>(changed.bg_free_blocks_count.value() + number);
    if (with_checksum) {
      const auto raw = upper->get<ext2::Superblock>(ext2::kSuperblockOffsetBytes);
      changed.bg_checksum = GroupChecksum(raw.s_uuid).of(group, changed);
    }
    upper->put(descriptor_offset(group), changed);
  }
  // Without the bitmaps that only a descriptor tells to be none.
  bool has_bitmap_page(GroupNumber group) const {
    const Group& places = geometry.groups()[group.value()];
    return upper->is_allocated(geometry.merged().offset_of(places.block_bitmap)) ||
           upper->is_allocated(geometry.merged().offset_of(places.inode_bitmap));
  }
  void add_to_superblock(int number) {
    auto raw = upper->get<ext2::Superblock>(ext2::kSuperblockOffsetBytes);
    raw.s_free_blocks_count = static_cast<uint32_t>(raw.s_free_blocks_count + number);
    upper->put(ext2::kSuperblockOffsetBytes, raw);
  }
  void check_owned() const {
    const auto disk = load_disk(lower, *upper);
    const uint64_t bit = own - geometry.merged().blocks_of(last).begin;
    CHECK(disk->layer().layer().own_blocks().test(last, static_cast<uint32_t>(bit)));
    CHECK(read_range(*disk, geometry.merged().offset_of(own), kBlock) == pattern(1, kBlock));
  }

  Lower lower{small_image(kBlock)};
  std::unique_ptr<MemoryFile> upper = make_upper(lower, small_merged_size(kBlock));
  Geometry geometry = value_of(Geometry::grow(lower.volume, small_merged_size(kBlock)));
  GroupNumber last{geometry.merged().group_count() - 1};
  BlockNumber own = geometry.merged().blocks_of(last).end - 1;
};

}  // namespace

TEST_CASE("Layer: counts that are right", "[layer]") {
  CountedUpper().check_owned();
}

TEST_CASE("Layer: a group that claims to be free hides nothing", "[layer]") {
  CountedUpper subject;
  subject.add_to_group(subject.last, 1);
  subject.check_owned();
}

TEST_CASE("Layer: nor if another group's count makes up for it", "[layer]") {
  CountedUpper subject;
  subject.add_to_group(subject.last, 1);
  subject.add_to_group(GroupNumber(0), -1);
  subject.check_owned();
}

TEST_CASE("Layer: a group that nobody touched has no bitmaps", "[layer]") {
  CountedUpper subject;
  const Layout& merged = subject.geometry.merged();
  uint32_t bare_groups = 0;
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    INFO("group " << number);
    const GroupNumber group(number);
    const uint16_t flags = subject.descriptor(group).bg_flags;
    const bool has_own = number == 0 || group == subject.last;  // the root; a block
    const uint16_t no_blocks = has_own ? 0 : ext2::kGroupBlockUninit;
    CHECK((flags & ext2::kGroupBlockUninit) == no_blocks);
    CHECK(((flags & ext2::kGroupInodeUninit) != 0) == (number != 0));
    if (!has_own && merged.descriptor_copy(group).count == 0 && !merged.has_superblock(group)) {
      ++bare_groups;
      CHECK_FALSE(subject.has_bitmap_page(group));
    }
  }
  CHECK(bare_groups > 0);
}

TEST_CASE("Layer: a group without bitmaps owns nothing, whatever its counts say", "[layer]") {
  CountedUpper subject;
  const GroupNumber group(subject.last.value() - 1);
  REQUIRE((subject.descriptor(group).bg_flags & ext2::kGroupBlockUninit) != 0);
  const bool with_checksum = GENERATE(true, false);
  subject.add_to_group(group, -1, with_checksum);
  subject.add_to_superblock(-1);
  subject.check_owned();
  const auto disk = load_disk(subject.lower, *subject.upper);
  const ConstByteSpan bits = disk->layer().layer().own_blocks().of(group);
  CHECK(count_bits(bits, 0, bits.size() * 8) == 0);
}

TEST_CASE("Layer tables: whited-out inodes are ranges that are not beside one another", "[layer]") {
  constexpr uint32_t kEnd = 40;
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::vector<uint32_t> order(kEnd);
    std::iota(order.begin(), order.end(), 1U);
    std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    order.resize(1 + seed % kEnd);
    std::vector<InodeRange> ranges;
    for (const uint32_t inode : order) {
      add_whiteout(ranges, InodeNumber(inode));
      add_whiteout(ranges, InodeNumber(order[0]));  // it is there already
    }
    std::set<uint32_t> found;
    uint32_t least = 0;
    bool are_apart = true;
    for (const InodeRange& range : ranges) {
      are_apart = are_apart && range.begin.value() > least && range.begin < range.end;
      least = range.end.value();
      for (InodeNumber inode = range.begin; inode < range.end; ++inode) {
        found.insert(inode.value());
      }
    }
    INFO("seed " << seed);
    CHECK(are_apart);
    CHECK(found == std::set<uint32_t>(order.begin(), order.end()));
  }
}
