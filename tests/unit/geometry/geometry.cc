// SPDX-License-Identifier: BSD-3-Clause
//
// Geometry as arithmetic: over many shapes of lowers, grown to many sizes.
#include <algorithm>
#include <chrono>

#include "overlay/geometry/geometry.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"
#include "tests/unit/support/synthetic_lower.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

uint64_t grown_count = 0;
uint64_t refused_count = 0;

// Collects what is wrong; a CHECK for every block of every shape would take
// longer than all that is checked.
class Complaints {
 public:
  template <typename... Args>
  void expect(bool is_true, fmt::format_string<Args...> format, Args&&... args) {
    if (!is_true && count_++ < 10) {
      text_ += fmt::format(format, std::forward<Args>(args)...) + "\n";
    }
  }
  void check(const std::string& where) const {
    INFO(where);
    INFO(text_);
    CHECK(count_ == 0);
  }

 private:
  uint64_t count_ = 0;
  std::string text_;
};

void check_fixed_ranges(const Geometry& geometry, Complaints& complaints) {
  const Layout& merged = geometry.merged();
  uint64_t rank = 0;
  BlockNumber least(0);
  std::vector<uint64_t> in_group(merged.group_count());
  for (const FixedRange& range : geometry.fixed_ranges()) {
    const BlockRange& blocks = range.blocks;
    complaints.expect(!blocks.empty(), "range at {} is empty", blocks.begin);
    complaints.expect(blocks.begin >= least, "range at {} begins before {}", blocks.begin, least);
    complaints.expect(blocks.end.value() <= merged.block_count, "range ends at {}", blocks.end);
    complaints.expect(range.first_rank == rank, "range at {} has rank {}, not {}", blocks.begin,
                      range.first_rank, rank);
    if (range.kind == FixedKind::kBoot) {
      complaints.expect(blocks == BlockRange{BlockNumber(0), BlockNumber(1)}, "boot block");
    } else {
      const BlockRange group = merged.blocks_of(range.group);
      complaints.expect(blocks.begin >= group.begin && blocks.end <= group.end,
                        "range at {} is outside group {}", blocks.begin, range.group);
      in_group[range.group.value()] += blocks.count();
    }
    rank += blocks.count();
    least = blocks.end;
  }
  complaints.expect(rank == geometry.fixed_block_count(), "{} F-blocks, not {}", rank,
                    geometry.fixed_block_count());
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    complaints.expect(in_group[number] == geometry.fixed_blocks_in(GroupNumber(number)),
                      "group {} has {} F-blocks, not {}", number, in_group[number],
                      geometry.fixed_blocks_in(GroupNumber(number)));
  }
}

// Against a walk over all ranges, side by side with the places in ascending order.
void check_search(const Geometry& geometry, Complaints& complaints) {
  std::vector<uint64_t> places = {0, geometry.merged().block_count - 1};
  for (const FixedRange& range : geometry.fixed_ranges()) {
    for (const uint64_t end : {range.blocks.begin.value(), range.blocks.end.value()}) {
      places.insert(places.end(), {end - 1, end, end + 1});
    }
  }
  std::erase_if(places, [&](uint64_t place) { return place >= geometry.merged().block_count; });
  std::sort(places.begin(), places.end());
  const auto& ranges = geometry.fixed_ranges();
  size_t at = 0;
  for (const uint64_t place : places) {
    while (at < ranges.size() && ranges[at].blocks.end.value() <= place) {
      ++at;
    }
    const FixedRange* right = at < ranges.size() ? &ranges[at] : nullptr;
    complaints.expect(geometry.fixed_at_or_after(BlockNumber(place)) == right,
                      "wrong range for block {}", place);
  }
}

void check_groups(const Volume& lower, const Geometry& geometry, Complaints& complaints) {
  const Layout& merged = geometry.merged();
  complaints.expect(geometry.groups().size() == merged.group_count(), "{} groups, not {}",
                    geometry.groups().size(), merged.group_count());
  uint64_t released = 0;
  for (const BlockRange& range : geometry.released()) {
    released += range.count();
    const FixedRange* fixed = geometry.fixed_at_or_after(range.begin);
    complaints.expect(fixed == nullptr || fixed->blocks.begin >= range.end,
                      "released block {} is an F-block", range.begin);
  }
  uint64_t free_before = 0;
  uint64_t fixed_appended = 0;
  uint64_t free_after = 0;
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    const GroupNumber group(number);
    const Group& places = geometry.groups()[number];
    free_after += places.free_blocks_count;
    if (geometry.is_appended(group)) {
      fixed_appended += geometry.fixed_blocks_in(group);
      complaints.expect(
          places.free_inodes_count == merged.inodes_per_group && places.used_dirs_count == 0,
          "group {}: counters", number);
    } else {
      free_before += lower.group(group).free_blocks_count;
      complaints.expect(places.block_bitmap == lower.group(group).block_bitmap &&
                            places.inode_table == lower.group(group).inode_table,
                        "group {} has moved", number);
    }
    complaints.expect(places.free_blocks_count + geometry.fixed_blocks_in(group) <=
                          merged.blocks_of(group).count(),
                      "group {} has more free blocks than blocks", number);
  }
  const uint64_t grown = merged.block_count - lower.layout().block_count;
  complaints.expect(free_after == free_before + grown - fixed_appended + released,
                    "{} free blocks, not {} + {} - {} + {}", free_after, free_before, grown,
                    fixed_appended, released);
}

void check_layout(const Layout& lower, const Geometry& geometry, uint64_t wanted_blocks,
                  Complaints& complaints) {
  const Layout& merged = geometry.merged();
  complaints.expect(merged.block_count >= lower.block_count, "shrunk");
  complaints.expect(merged.block_count <= wanted_blocks, "larger than asked for");
  complaints.expect(wanted_blocks - merged.block_count < merged.blocks_per_group,
                    "{} blocks of {} given up", wanted_blocks - merged.block_count, wanted_blocks);
  const GroupNumber last(merged.group_count() - 1);
  const uint64_t last_count = merged.blocks_of(last).count();
  if (geometry.is_appended(last) && last_count < merged.blocks_per_group) {
    complaints.expect(last_count >= geometry.fixed_blocks_in(last) + 50,
                      "the last group has no room: {} blocks", last_count);
  }
  // Nothing is given up but what a last group would have had no room in.
  if (merged.block_count < wanted_blocks) {
    Layout asked = merged;
    asked.block_count = wanted_blocks;
    complaints.expect(asked.group_count() == merged.group_count() + 1,
                      "gave up more than the last group");
    complaints.expect(last_count == merged.blocks_per_group, "gave up a part of a group");
  }
  complaints.expect(
      merged.descriptor_block_count() <= lower.descriptor_block_count() || merged.has_meta_groups,
      "more descriptor blocks without meta_bg");
  complaints.expect(merged.has_meta_groups || merged.first_meta_group == 0, "first_meta_group");
  complaints.expect(!lower.has_meta_groups || merged.first_meta_group == lower.first_meta_group,
                    "first_meta_group changed");
  // Every descriptor block lies in an F-range of its own, and the first copy
  // where a reader looks for it.
  for (uint32_t index = 0; index < merged.descriptor_block_count(); ++index) {
    const BlockNumber block = merged.primary_descriptor_block(index);
    const FixedRange* range = geometry.fixed_at_or_after(block);
    const bool is_there = range != nullptr && range->blocks.contains(block) &&
                          range->kind == FixedKind::kDescriptors &&
                          range->first_index + (block - range->blocks.begin) == index;
    complaints.expect(is_there, "descriptor block {} is not at {}", index, block);
  }
}

void check_grown(const SyntheticShape& shape, const Volume& lower, uint64_t block_count) {
  const std::string where = fmt::format("{} grown to {}", shape.text(), block_count);
  Complaints complaints;
  const auto grown = Geometry::grow(lower, block_count * shape.block_size_bytes);
  if (!grown) {
    // A shape whose appended groups would be full of metadata is refused.
    INFO(where);
    CHECK_THAT(grown.error().message, Catch::Contains("has no room for its"));
    ++refused_count;
    return;
  }
  ++grown_count;
  check_layout(lower.layout(), *grown, block_count, complaints);
  check_fixed_ranges(*grown, complaints);
  check_search(*grown, complaints);
  check_groups(lower, *grown, complaints);
  complaints.check(where);
}

std::vector<SyntheticShape> variants(SyntheticShape shape) {
  std::vector<SyntheticShape> shapes = {shape};
  const auto groups = static_cast<uint32_t>(shape.block_count / shape.blocks_per_group);
  shape.has_sparse_super = true;
  shapes.push_back(shape);
  shape.reserved_gdt_blocks = 7;
  shapes.push_back(shape);
  shape.reserved_gdt_blocks = 0;
  shape.has_meta_groups = true;
  shapes.push_back(shape);
  shape.first_meta_group = 1;
  shapes.push_back(shape);
  shape.has_meta_groups = false;
  shape.first_meta_group = 0;
  shape.has_sparse_super2 = true;
  for (const std::array<uint32_t, 2> backups :
       {std::array<uint32_t, 2>{0, 0}, {1, 0}, {1, groups - 1}, {groups - 1, 0}}) {
    if (groups > 1 || backups == std::array<uint32_t, 2>{0, 0}) {
      shape.backup_groups = backups;
      shapes.push_back(shape);
    }
  }
  shape.has_meta_groups = true;
  shapes.push_back(shape);
  return shapes;
}

void check_shape(const SyntheticShape& base) {
  for (const SyntheticShape& shape : variants(base)) {
    const SparseImage image = make_synthetic_lower(shape);
    const auto lower = Volume::open(image, SuperblockUse::kLower);
    if (!lower) {
      continue;  // backups and tables that do not fit the last group
    }
    const uint64_t size = shape.block_count;
    const uint64_t group = shape.blocks_per_group;
    for (const uint64_t more :
         {uint64_t{0}, uint64_t{1}, uint64_t{49}, group / 2, group - 1, group, group + 1,
          group + 90, 2 * group, 3 * group + 70, 40 * group + 5, 129 * group, 300 * group + 60}) {
      check_grown(shape, *lower, size + more);
    }
  }
}

}  // namespace

TEST_CASE("A grown geometry holds together in every shape", "[geometry]") {
  size_t shapes = 0;
  for (const uint32_t block_size : {1024U, 2048U, 4096U}) {
    for (const uint32_t blocks_per_group : {256U, block_size * 8}) {
      for (const uint32_t inodes_per_group : {16U, 200U}) {
        for (const uint32_t inode_size : {128U, 256U}) {
          for (const auto& [groups, rest] :
               {std::pair<uint64_t, uint64_t>{1, 0}, std::pair<uint64_t, uint64_t>{0, 200},
                std::pair<uint64_t, uint64_t>{2, 130}, std::pair<uint64_t, uint64_t>{33, 0},
                std::pair<uint64_t, uint64_t>{70, 255}}) {
            SyntheticShape shape;
            shape.block_size_bytes = block_size;
            shape.blocks_per_group = blocks_per_group;
            shape.inodes_per_group = inodes_per_group;
            shape.inode_size_bytes = inode_size;
            shape.block_count = groups * blocks_per_group + rest + (block_size == 1024 ? 1 : 0);
            check_shape(shape);
            ++shapes;
          }
        }
      }
    }
  }
  CHECK(shapes == 120);
  CHECK(grown_count > 10000);
  CHECK(refused_count < grown_count / 20);
}

TEST_CASE("A geometry can be refused", "[geometry]") {
  const SyntheticShape shape;
  const SparseImage image = make_synthetic_lower(shape);
  const Volume lower = value_of(Volume::open(image, SuperblockUse::kLower));
  const uint64_t size = lower.layout().size_bytes();
  CHECK(expect_error(Geometry::grow(lower, size - 1024), {"smaller", "8192", "8193"}) ==
        ErrorKind::kInvalid);
  CHECK(expect_error(Geometry::grow(lower, 0), {"smaller"}) == ErrorKind::kInvalid);
  CHECK(expect_error(Geometry::grow(lower, (uint64_t{1} << 32) * 1024),
                     {"more than an ext2 image"}) == ErrorKind::kInvalid);
  CHECK(expect_error(Geometry::grow(lower, UINT64_MAX), {"more than an ext2 image"}) ==
        ErrorKind::kInvalid);
  CHECK(Geometry::grow(lower, size + 1023));
}

TEST_CASE("More inodes than ext2 can count are refused", "[geometry]") {
  SyntheticShape shape;
  shape.block_size_bytes = 4096;
  shape.blocks_per_group = 4096;
  shape.inodes_per_group = 32768;
  shape.block_count = 8192;
  const SparseImage image = make_synthetic_lower(shape);
  const Volume lower = value_of(Volume::open(image, SuperblockUse::kLower));
  CHECK(expect_error(Geometry::grow(lower, (uint64_t{1} << 30) * 4096), {"inodes"}) ==
        ErrorKind::kInvalid);
}

TEST_CASE("The default size is the lower's and as much again, at least a GiB", "[geometry]") {
  Layout layout;
  layout.block_size_bytes = 4096;
  layout.block_count = 1000;
  CHECK(Geometry::default_size_bytes(layout) == 1000 * 4096 + (uint64_t{1} << 30));
  layout.block_count = uint64_t{1} << 20;
  CHECK(Geometry::default_size_bytes(layout) == uint64_t{8} << 30);
}

TEST_CASE("A resize inode is released with the first appended group", "[geometry]") {
  SyntheticShape shape;
  shape.block_count = 8192 * 4 + 1;
  shape.has_sparse_super = true;
  shape.reserved_gdt_blocks = 20;
  const SparseImage image = make_synthetic_lower(shape);
  const Volume lower = value_of(Volume::open(image, SuperblockUse::kLower));
  CHECK(value_of(Geometry::grow(lower, shape.block_count * 1024)).released().empty());
  const Geometry grown = value_of(Geometry::grow(lower, (shape.block_count + 8192) * 1024));
  // 20 blocks behind the descriptors of groups 0, 1 and 3, and the map itself.
  uint64_t count = 0;
  for (const BlockRange& range : grown.released()) {
    count += range.count();
  }
  CHECK(count == 3 * 20 + 1);
  CHECK(grown.merged().reserved_gdt_blocks == 0);
}

TEST_CASE("Reserved inodes are counted group by group", "[geometry]") {
  SyntheticShape shape;
  shape.inodes_per_group = 8;
  shape.block_count = 8192 * 3 + 1;
  const SparseImage image = make_synthetic_lower(shape);
  const Volume lower = value_of(Volume::open(image, SuperblockUse::kLower));
  const Geometry geometry = value_of(Geometry::grow(lower, shape.block_count * 1024));
  CHECK(geometry.reserved_inodes_in(GroupNumber(0)) == 8);
  CHECK(geometry.reserved_inodes_in(GroupNumber(1)) == 2);
  CHECK(geometry.reserved_inodes_in(GroupNumber(2)) == 0);
}

// ---- against mke2fs ------------------------------------------------------------

namespace {

struct Comparison {
  uint32_t block_size_bytes;
  uint32_t blocks_per_group;
  const char* features;
};

void compare_with_mke2fs(const Comparison& shape, uint64_t lower_groups, uint64_t merged_blocks) {
  constexpr uint64_t kInodesPerGroup = 64;
  const uint64_t first = shape.block_size_bytes == 1024 ? 1 : 0;
  MakeOptions options;
  options.block_size_bytes = shape.block_size_bytes;
  options.features = shape.features;
  // mke2fs spreads the inodes over the groups it keeps.
  const auto make = [&](uint64_t blocks, uint64_t groups) {
    options.more = {"-g", std::to_string(shape.blocks_per_group), "-N",
                    std::to_string(groups * kInodesPerGroup)};
    return std::make_unique<RealImage>(blocks, options);
  };
  const auto small = make(lower_groups * shape.blocks_per_group + first, lower_groups);
  const MemoryImage small_bytes = small->load();
  const Volume lower = value_of(Volume::open(small_bytes, SuperblockUse::kLower));
  const Geometry grown = value_of(Geometry::grow(lower, merged_blocks * shape.block_size_bytes));
  const auto large = make(merged_blocks, grown.merged().group_count());
  const MemoryImage large_bytes = large->load();
  const Volume wanted = value_of(Volume::open(large_bytes, SuperblockUse::kLower));
  INFO(shape.features << ", blocks of " << shape.block_size_bytes << ", " << lower_groups
                      << " groups grown to " << merged_blocks << " blocks");
  REQUIRE(lower.layout().inodes_per_group == wanted.layout().inodes_per_group);
  CHECK(grown.merged() == wanted.layout());
  REQUIRE(grown.groups().size() == wanted.groups().size());
  // dumpe2fs tells the same from the outside.
  CHECK(number_after(large->dumpe2fs(), "Block count:") == grown.merged().block_count);
  for (uint32_t number = 0; number < wanted.groups().size(); ++number) {
    const Group& mine = grown.groups()[number];
    const Group& theirs = wanted.groups()[number];
    INFO("group " << number);
    CHECK(mine.block_bitmap == theirs.block_bitmap);
    CHECK(mine.inode_bitmap == theirs.inode_bitmap);
    CHECK(mine.inode_table == theirs.inode_table);
    // Beside lost+found, which both have in group 0.
    CHECK(mine.free_blocks_count == theirs.free_blocks_count);
    CHECK(mine.free_inodes_count == theirs.free_inodes_count);
  }
}

}  // namespace

TEST_CASE("mke2fs lays a grown image out the same way", "[geometry]") {
  const Comparison shapes[] = {
      {1024, 256, "meta_bg,^sparse_super,^resize_inode"},
      {1024, 256, "meta_bg,sparse_super,^resize_inode"},
      {1024, 512, "^sparse_super,^resize_inode"},
      {1024, 512, "sparse_super,^resize_inode"},
      {2048, 256, "meta_bg,sparse_super,^resize_inode"},
      {4096, 256, "sparse_super,^resize_inode"},
  };
  for (const Comparison& shape : shapes) {
    const bool has_meta_groups = std::string(shape.features).starts_with("meta_bg");
    const uint64_t first = shape.block_size_bytes == 1024 ? 1 : 0;
    const uint64_t group = shape.blocks_per_group;
    // Without meta_bg only as far as the lower's descriptor block reaches.
    for (const uint64_t groups : {uint64_t{4}, has_meta_groups ? 70 : uint64_t{31}}) {
      for (const uint64_t rest : {uint64_t{0}, uint64_t{55}, uint64_t{75}}) {
        if (groups * group + rest > 3 * group) {
          compare_with_mke2fs(shape, 3, groups * group + rest + first);
        }
      }
    }
  }
}
